//! The IPv6 domain: IP (RFC 8200), ICMPv6 (RFC 4443), Neighbour Discovery (RFC 4861), address autoconfiguration (RFC 4862), source
//! address selection (RFC 6724), MLD (RFC 3810).
//!
//! [`Inet6`] is what a variant's `main` names; everything else is reached through the shard. The way up is `input` (addresses, then
//! the chain of extension headers, `reass` among it) → `deliver` → sockets or `icmp`; the way down is `output` → (`fragment`) →
//! `link_output` → neighbour cache → Ethernet.
//!
//! Addresses of link-local scope carry their zone while they are in the stack ([`iopkt_base::zone`]): it is put in where a packet
//! is read and taken out where a header is written.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod anycast;
mod ctl;
mod dad;
mod dns;
mod errors;
mod ext;
mod forward;
mod fragment;
mod icmp;
mod ifstats;
mod input;
mod link;
mod mld;
mod nd;
mod nodeinfo;
mod order;
mod output;
mod policy;
mod reass;
mod redirect;
mod router;
mod select;
mod settings;
mod slaac;
mod solicit;
mod stats;
mod tunables;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use core::net::{IpAddr, Ipv6Addr};
use dad::Dad;
use errors::ErrorLimit;
use iopkt_base::{Instant, zone};
use iopkt_ctl::{IfKind, Reply, Request, nd6};
use iopkt_mbuf::Mbuf;
use iopkt_stack::neigh::NdTimes;
use iopkt_stack::{Change, Domain, Family, IfAddr, IpOut, LO0, Layers, Life, Plain, Redirects};
use iopkt_wire::ethernet::TYPE_IPV6;
use mld::Mld;
use reass::Fragments;
use router::Routers;
pub use stats::{Stat6, Stats};
pub use tunables::Tunables;

/// All nodes of the link.
pub(crate) const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// All routers of the link.
pub(crate) const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// The IPv6 domain of a shard.
pub struct Inet6 {
    t: Tunables,
    /// Counters, in netstat's words.
    pub stats: Stats,
    /// Counters of each interface.
    per_if: ifstats::PerIf,
    reass: Option<Fragments>,
    limit: ErrorLimit,
    /// Datagrams that were cut.
    ident: u64,
    dad: Dad,
    anycast: anycast::Anycast,
    mld: Mld,
    routers: Routers,
    select: Arc<select::Select>,
    redirects: Redirects,
    nodeinfo: nodeinfo::NodeInfo,
    dns: dns::Dns,
    ifs: BTreeMap<u32, settings::NdIf>,
    /// Interfaces that are `disabled`.
    disabled: BTreeSet<u32>,
    /// Where everybody is when there is no router; 0 for nowhere.
    default_if: u32,
    /// The key of addresses that do not show the link-level one (RFC 7217).
    stable: Option<iopkt_base::Keyed>,
    /// Addresses that were found to be duplicates, by interface and prefix: the next one is another.
    tries: BTreeMap<slaac::Made, u8>,
    /// Who asked last for echoes that may have to be cut on their way back.
    echoed: [Option<Ipv6Addr>; 8],
    plain: Plain<Ipv6Addr>,
    way: iopkt_stack::Way,
    /// Earliest of what its parts wait for, but for reassembly.
    next: Instant,
}

impl Inet6 {
    /// A domain with the default settings.
    pub fn new() -> Inet6 {
        Inet6::with(Tunables::default())
    }

    /// A domain with these settings.
    pub fn with(t: Tunables) -> Inet6 {
        Inet6 {
            t,
            stats: Stats::default(),
            per_if: ifstats::PerIf::default(),
            reass: None,
            limit: ErrorLimit::default(),
            ident: 0,
            dad: Dad::default(),
            anycast: anycast::Anycast::default(),
            mld: Mld::default(),
            routers: Routers::default(),
            select: Arc::default(),
            redirects: Redirects::default(),
            nodeinfo: nodeinfo::NodeInfo::default(),
            dns: dns::Dns::default(),
            ifs: BTreeMap::new(),
            disabled: BTreeSet::new(),
            default_if: 0,
            stable: None,
            tries: BTreeMap::new(),
            echoed: [None; 8],
            plain: Plain::default(),
            way: iopkt_stack::Way::default(),
            next: Instant::FAR,
        }
    }

    pub(crate) fn reckon(&mut self) {
        let parts = [
            self.dad.deadline(),
            self.mld.deadline(),
            self.routers.deadline(),
            self.redirects.deadline(),
            self.anycast.deadline(),
        ];
        self.next = parts.into_iter().min().unwrap_or(Instant::FAR);
    }

    /// An interface arrived: what every node listens to, and lo0's own addresses.
    fn attached(&mut self, l: &mut Layers<'_>, i: u32) {
        l.net.set_source6(self.select.clone());
        self.per_if.attached(i);
        let flags = self.first_flags();
        if let Some(x) = l.net.iface_mut(i) {
            x.nd6 = flags;
            x.hops.1 = self.t.hlim;
        }
        self.set_times(l, i);
        // RFC 4291 2.8; the limit of groups is not reached by the first one.
        let _ = l.net.join_group(l.cx, i, zone::embed(ALL_NODES, i).into());
        if self.t.forwarding {
            self.router_groups(l, i, true);
        }
        self.name_groups_of(l, i);
        if i == LO0 {
            let own = |a: Ipv6Addr, plen| IfAddr {
                addr: IpAddr::V6(zone::embed(a, i)),
                plen,
                broadcast: None,
                peer: None,
                state: iopkt_ctl::AddrState::Valid,
                life: Life::default(),
            };
            let _ = l.net.add_addr(l.cx, i, own(Ipv6Addr::LOCALHOST, 128));
            let _ = l.net.add_addr(l.cx, i, own(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1), 64));
        }
    }

    /// An interface or its link went up or down.
    fn link_changed(&mut self, l: &mut Layers<'_>, i: u32) {
        // By the time that an interface is used, the host has its name.
        self.name_groups(l);
        let Some(ifc) = l.net.iface(i) else { return };
        let (usable, ethernet) = (ifc.is_usable(), ifc.kind == IfKind::Ethernet);
        let has = ifc.addrs.iter().any(|a| slaac::is_link_local(&a.addr));
        let auto = ifc.nd6 & nd6::AUTO_LINKLOCAL != 0 && self.t.auto_linklocal;
        if usable && ethernet && !has && auto {
            self.add_link_local(l, i);
        }
        self.dad_link(l, i, usable);
        self.mld_link(l, i, usable);
        self.routers_link(l, i, usable);
    }
}

impl Default for Inet6 {
    fn default() -> Self {
        Inet6::new()
    }
}

impl Domain for Inet6 {
    fn family(&self) -> Family {
        Family::V6
    }

    fn ethertypes(&self) -> &'static [u16] {
        &[TYPE_IPV6]
    }

    fn input(&mut self, l: &mut Layers<'_>, _ethertype: u16, m: Mbuf) {
        self.ip6_input(l, m);
    }

    fn output(&mut self, l: &mut Layers<'_>, o: IpOut) {
        self.ip6_output(l, o);
    }

    fn tick(&mut self, l: &mut Layers<'_>) {
        self.dad_tick(l);
        self.anycast_tick(l);
        self.reass_tick(l);
        self.mld_tick(l);
        self.routers_tick(l);
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
            Change::Attached(i) => self.attached(l, i),
            Change::AddrAdded(i, IpAddr::V6(a)) => {
                self.address_added(l, i, a);
                self.subnet_routers(l);
            }
            Change::AddrRemoved(i, IpAddr::V6(a)) => {
                self.dad_forget(l, i, a);
                self.subnet_routers(l);
            }
            Change::Flags(i) | Change::Link(i) => self.link_changed(l, i),
            Change::Joined(i, IpAddr::V6(g)) => self.mld_joined(l, i, g),
            Change::Left(i, IpAddr::V6(g)) => self.mld_left(l, i, g),
            Change::Detached(i) => {
                self.dad.detach(i);
                self.anycast.detach(i);
                self.mld.detach(i);
                self.routers.detach(i);
                self.dns.detach(i);
                self.ifs.remove(&i);
                self.disabled.remove(&i);
                self.tries.retain(|k, _| k.0 != i);
                l.net.neigh.set_times(i, NdTimes::default());
                if self.default_if == i {
                    self.default_if = 0;
                }
            }
            Change::Filtered(i, IpAddr::V6(g)) => self.mld_filtered(l, i, g),
            Change::AddrAdded(..)
            | Change::AddrRemoved(..)
            | Change::Joined(..)
            | Change::Left(..)
            | Change::Filtered(..) => {}
        }
        self.reckon();
    }
}
