//! The IPv4 domain: ARP, IP, ICMP, IGMP.
//!
//! [`Inet`] is what a variant's `main` names; everything else is reached through the shard. The way up is
//! `input` → (`reass`) → `deliver` → sockets; the way down is `output` → (`fragment`) → `link_output` →
//! neighbour cache → Ethernet.
//!
//! Not done here yet, and refused by name or counted: forwarding (packets for others end as "not addressed to
//! this host", `net.inet.ip.forwarding` cannot be set), source routing (answered with "source route failed").
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod arp;
mod ctl;
mod errors;
mod fragment;
mod icmp;
mod igmp;
mod input;
mod link;
mod options;
mod output;
mod reass;
mod tunables;

use arp::Arp;
use core::net::{IpAddr, Ipv4Addr};
use errors::ErrorLimit;
use igmp::Igmp;
use iopkt_base::{Instant, Keyed};
use iopkt_ctl::{Reply, Request};
use iopkt_mbuf::Mbuf;
use iopkt_stack::{Change, Domain, Family, IpOut, Layers, Plain, Redirects};
use iopkt_wire::ethernet::{TYPE_ARP, TYPE_IPV4};
use output::Idents;
use reass::Fragments;
pub use tunables::Tunables;

/// All hosts on this subnet (RFC 1112): every interface is a member.
pub(crate) const ALL_HOSTS: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(224, 0, 0, 1));

/// The IPv4 domain of a shard.
pub struct Inet {
    t: Tunables,
    arp: Arp,
    reass: Option<Fragments>,
    idents: Idents,
    limit: ErrorLimit,
    igmp: Igmp,
    redirects: Redirects,
    /// Ends of the packet that came last, if it was a plain one for us.
    plain: Plain<Ipv4Addr>,
    /// The way of the packet that went last.
    way: iopkt_stack::Way,
    /// Earliest of what ARP, IGMP and redirects wait for; reckoned whenever one of them may have changed,
    /// so that asking for it costs nothing per turn.
    next: Instant,
}

impl Inet {
    /// A domain with the default settings.
    pub fn new() -> Inet {
        Inet::with(Tunables::default())
    }

    /// A domain with these settings.
    pub fn with(t: Tunables) -> Inet {
        Inet {
            t,
            arp: Arp::default(),
            reass: None,
            idents: Idents::default(),
            limit: ErrorLimit::default(),
            igmp: Igmp::default(),
            redirects: Redirects::default(),
            plain: Plain::default(),
            way: iopkt_stack::Way::default(),
            next: Instant::FAR,
        }
    }

    fn reckon(&mut self) {
        self.next = self.arp.deadline().min(self.igmp.deadline()).min(self.redirects.deadline());
    }

    /// The reassembly table: made when the first fragment arrives, because only then the shard's secret is
    /// at hand.
    fn reassembly(&mut self, secret: &Keyed) -> &mut Fragments {
        self.reass.get_or_insert_with(|| Fragments::new(secret, "fragments"))
    }
}

impl Default for Inet {
    fn default() -> Self {
        Inet::new()
    }
}

impl Domain for Inet {
    fn family(&self) -> Family {
        Family::V4
    }

    fn ethertypes(&self) -> &'static [u16] {
        &[TYPE_IPV4, TYPE_ARP]
    }

    fn input(&mut self, l: &mut Layers<'_>, ethertype: u16, m: Mbuf) {
        if ethertype == TYPE_ARP {
            self.arp_input(l, m);
            self.reckon();
        } else {
            self.ip_input(l, m);
        }
    }

    fn output(&mut self, l: &mut Layers<'_>, o: IpOut) {
        self.ip_output(l, o);
    }

    fn tick(&mut self, l: &mut Layers<'_>) {
        self.arp_tick(l);
        self.reass_tick(l);
        self.igmp_tick(l);
        self.redirects.tick(l);
        self.neighbours_tick(l);
        self.reckon();
    }

    fn deadline(&self) -> Instant {
        self.reass.as_ref().map_or(Instant::FAR, Fragments::deadline).min(self.next)
    }

    fn ctl(&mut self, l: &mut Layers<'_>, r: &Request) -> Option<Reply> {
        self.ctl_request(l, r)
    }

    fn changed(&mut self, l: &mut Layers<'_>, c: Change) {
        match c {
            Change::Attached(i) => {
                if let Some(x) = l.net.iface_mut(i) {
                    x.hops.0 = self.t.ttl;
                }
                // RFC 1122 3.3.7: a host that can receive multicast is a member of all-hosts.
                let _ = l.net.join_group(l.cx, i, ALL_HOSTS);
            }
            Change::AddrAdded(i, IpAddr::V4(a)) => self.arp_address(l, i, a),
            Change::AddrRemoved(i, IpAddr::V4(a)) => self.arp.forget(i, a),
            Change::Flags(i) | Change::Link(i) => {
                self.arp_link(l, i);
                self.igmp_link(l, i);
            }
            Change::Joined(i, IpAddr::V4(g)) => self.igmp_joined(l, i, g),
            Change::Left(i, IpAddr::V4(g)) => self.igmp_left(l, i, g),
            Change::Filtered(i, IpAddr::V4(g)) => self.igmp_filtered(l, i, g),
            Change::Detached(i) => {
                self.arp.detach(i);
                self.igmp.detach(i);
            }
            Change::AddrAdded(..)
            | Change::AddrRemoved(..)
            | Change::Joined(..)
            | Change::Left(..)
            | Change::Filtered(..) => {}
        }
        self.reckon();
    }
}
