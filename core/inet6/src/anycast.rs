//! Addresses that several nodes have (RFC 4291 2.6): the one that every router has on its networks, and answers that wait a little.
//!
//! A node that forwards answers `prefix::` of each network of an interface (RFC 4291 2.6.1), not of networks of two addresses (RFC 6164
//! section 5). Such an address is never a source and is not listed. Who is asked for an address that others may answer for as well waits up
//! to a second (RFC 4861 7.2.7, 7.2.8: MAX_ANYCAST_DELAY_TIME), so that not all answer at once.

use crate::Inet6;
use crate::nd::solicited_node;
use alloc::collections::{BTreeSet, VecDeque};
use core::net::{IpAddr, Ipv6Addr};
use iopkt_base::{Duration, Instant, zone};
use iopkt_ctl::IfKind;
use iopkt_stack::{Layers, prefix};
use iopkt_wire::nd::AdvertFlags;

/// Longest wait, milliseconds.
const MAX_DELAY_MS: u32 = 1000;
/// Most answers that wait; what would be one more goes at once.
const MAX_LATE: usize = 128;

/// An advertisement that waits.
pub(crate) struct Late {
    at: Instant,
    ifindex: u32,
    target: Ipv6Addr,
    to: Ipv6Addr,
    mac: [u8; 6],
    flags: AdvertFlags,
}

/// The addresses of this router's networks, and the answers that wait.
#[derive(Default)]
pub(crate) struct Anycast {
    routers: BTreeSet<(u32, Ipv6Addr)>,
    late: VecDeque<Late>,
}

impl Anycast {
    pub fn deadline(&self) -> Instant {
        self.late.iter().map(|x| x.at).min().unwrap_or(Instant::FAR)
    }

    /// Whether this router answers for `a`, which carries its zone.
    pub fn has(&self, a: Ipv6Addr) -> bool {
        self.routers.iter().any(|x| x.1 == a)
    }

    /// The same, on one link.
    pub fn is_on(&self, ifindex: u32, a: Ipv6Addr) -> bool {
        self.routers.contains(&(ifindex, a))
    }

    pub fn detach(&mut self, ifindex: u32) {
        self.routers.retain(|x| x.0 != ifindex);
        self.late.retain(|x| x.ifindex != ifindex);
    }
}

impl Inet6 {
    /// Whether others may have `a` as well: no answer has it as its source (RFC 4443 2.2).
    pub(crate) fn is_anycast(&self, l: &Layers<'_>, a: IpAddr) -> bool {
        let IpAddr::V6(v6) = a else { return false };
        let i = l.net.iface(l.net.if_with_addr(a));
        self.anycast.has(v6) || i.is_some_and(|i| i.addrs.iter().any(|x| x.addr == a && x.life.anycast))
    }

    /// Addresses changed, or forwarding was turned on or off.
    pub(crate) fn subnet_routers(&mut self, l: &mut Layers<'_>) {
        let mut want = BTreeSet::new();
        for i in l.net.interfaces().filter(|i| self.t.forwarding && i.kind == IfKind::Ethernet) {
            // A prefix that addresses share is one network.
            let of = |a: &iopkt_stack::IfAddr| (a.plen < 127).then(|| prefix::mask(a.addr, a.plen));
            for net in i.addrs.iter().filter_map(of) {
                if let IpAddr::V6(net) = net
                    && !i.addrs.iter().any(|a| a.addr == IpAddr::V6(net))
                {
                    want.insert((i.index, net));
                }
            }
        }
        let old = core::mem::replace(&mut self.anycast.routers, want.clone());
        for (i, a) in old.difference(&want) {
            l.net.leave_group(l.cx, *i, group(*a, *i));
        }
        for (i, a) in want.difference(&old) {
            // At the limit of groups nobody finds it; what is sent to it is taken all the same.
            let _ = l.net.join_group(l.cx, *i, group(*a, *i));
        }
    }

    /// Answers after a moment for an address that others may answer for as well.
    pub(crate) fn advertise_later(
        &mut self,
        l: &mut Layers<'_>,
        ifindex: u32,
        target: Ipv6Addr,
        to: Ipv6Addr,
        mac: [u8; 6],
        flags: AdvertFlags,
    ) {
        // [RFC4861 7.2.4c]
        let same = |x: &Late| (x.ifindex, x.target, x.to) == (ifindex, target, to);
        if self.anycast.late.iter().any(same) {
            return;
        }
        if self.anycast.late.len() >= MAX_LATE {
            return self.advertise(l, ifindex, target, to, mac, flags);
        }
        let at = l.cx.now + Duration::from_millis(l.cx.rng.below(MAX_DELAY_MS).into());
        self.anycast.late.push_back(Late { at, ifindex, target, to, mac, flags });
        self.reckon();
    }

    /// Sends the answers whose time has come.
    pub(crate) fn anycast_tick(&mut self, l: &mut Layers<'_>) {
        while let Some(at) = self.anycast.late.iter().position(|x| x.at <= l.cx.now) {
            let Some(x) = self.anycast.late.remove(at) else { return };
            // Taken away meanwhile: nothing is said of it any more.
            let a = IpAddr::V6(x.target);
            let ours = l.net.is_local(a, x.ifindex)
                || self.anycast.is_on(x.ifindex, x.target)
                || l.net.neigh.published(x.ifindex, a).is_some();
            if ours {
                self.advertise(l, x.ifindex, x.target, x.to, x.mac, x.flags);
            }
        }
    }
}

fn group(a: Ipv6Addr, ifindex: u32) -> IpAddr {
    IpAddr::V6(zone::embed(solicited_node(a), ifindex))
}
