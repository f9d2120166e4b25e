//! Finding the way: from a destination to interface, next hop, source address, MTU.

use crate::net::{LO0, Net};
use crate::packet::{Family, Path};
use crate::prefix;
use crate::route::{Origin, Route};
use core::net::IpAddr;
use iopkt_base::{Errno, Result, zone};
use iopkt_ctl::{AddrState, IfKind, RTV_MTU, iff, rtf};

/// What kind of delivery a hop is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HopKind {
    /// To one neighbour.
    Unicast,
    /// To everybody on the link.
    Broadcast,
    /// To a group.
    Multicast,
    /// To ourselves, through lo0.
    Local,
    /// Nowhere, silently (a blackhole route).
    Blackhole,
}

/// Where a packet goes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Interface.
    pub ifindex: u32,
    /// Whose link-level address it gets: the gateway or the destination itself.
    pub next: IpAddr,
    /// Source address for a packet that has none.
    pub src: Option<IpAddr>,
    /// MTU of interface, route and path, bytes.
    pub mtu: u32,
    /// Kind.
    pub kind: HopKind,
    /// Prefix length and gateway of the route, for its use count; `None` when no route was needed.
    pub route: Option<(u8, Option<IpAddr>)>,
}

/// The way that the packet before took: the next one usually goes there too.
#[derive(Default)]
pub struct Way {
    version: u64,
    found: Option<((IpAddr, u32, bool), Hop)>,
}

impl Way {
    /// [`Net::hop`], asked anew only for another destination or after a change.
    ///
    /// # Errors
    /// As [`Net::path`].
    #[inline]
    pub fn find(&mut self, net: &Net, dst: IpAddr, oif: u32, dontroute: bool) -> Result<Hop> {
        let (key, version) = ((dst, oif, dontroute), net.version());
        match self.found {
            Some((k, h)) if k == key && self.version == version => Ok(h),
            _ => {
                let h = net.hop(dst, oif, dontroute)?;
                *self = Way { version, found: Some((key, h)) };
                Ok(h)
            }
        }
    }
}

impl Net {
    /// The next hop to `dst`. `oif` forces the interface (0: none); `dontroute` ignores gateways.
    ///
    /// # Errors
    /// As [`Net::path`].
    #[inline]
    pub fn hop(&self, dst: IpAddr, oif: u32, dontroute: bool) -> Result<Hop> {
        let fam = Family::of(&dst);
        // An address with a zone is reached on that link only.
        let oif = if oif == 0 { zone::of_ip(&dst) } else { oif };
        if dst.is_multicast() || matches!(dst, IpAddr::V4(a) if a.is_broadcast()) {
            return self.group_hop(dst, oif);
        }
        if self.is_local(dst, 0) {
            let mtu = self.iface(LO0).map_or(0, |i| i.mtu);
            return Ok(Hop {
                ifindex: LO0,
                next: dst,
                src: Some(dst),
                mtu,
                kind: HopKind::Local,
                route: None,
            });
        }
        let fits = |r: &Route| {
            r.origin != Origin::Local && (oif == 0 || r.ifindex == oif) && !(dontroute && r.gateway.is_some())
        };
        let usable = |r: &Route| fits(r) && self.iface(r.ifindex).is_some_and(|i| i.is_usable());
        let up = |r: &Route| fits(r) && self.iface(r.ifindex).is_some_and(|i| i.is_up());
        // A link that lost its carrier is used only when nothing better is there: its packets are lost, but a
        // connection survives a cable that is pulled for a moment.
        let r = match self.routes.lookup(dst, usable).route {
            Some(r) => r,
            None => match self.routes.lookup(dst, up) {
                f if f.route.is_some() => f.route.ok_or(Errno::ENETUNREACH)?,
                f => return self.no_route(dst, oif, f.refused.is_some_and(fits)),
            },
        };
        if r.flags & rtf::REJECT != 0 {
            return Err(Errno::EHOSTUNREACH);
        }
        let i = self.iface(r.ifindex).ok_or(Errno::ENETUNREACH)?;
        let next = r.gateway.unwrap_or(dst);
        let kind = if r.flags & rtf::BLACKHOLE != 0 {
            HopKind::Blackhole
        } else if fam == Family::V4 && r.gateway.is_none() && self.is_broadcast(dst, r.ifindex) {
            HopKind::Broadcast
        } else {
            HopKind::Unicast
        };
        let mut mtu = if r.mtu == 0 { i.mtu } else { r.mtu.min(i.mtu) };
        if r.locks & RTV_MTU == 0
            && let Some(p) = self.pmtu.get(dst)
        {
            mtu = mtu.min(p);
        }
        let src = match (dst, self.source6()) {
            // The rules of IPv6 look at the destination, not at the gateway, and not at the network's own address.
            (IpAddr::V6(_), Some(rule)) => {
                let set = r.src.filter(|_| r.origin == Origin::Static);
                set.or_else(|| rule.source(self, r.ifindex, Some(next), dst))
            }
            _ => r.src.or_else(|| self.source_for(r.ifindex, next)),
        };
        Ok(Hop { ifindex: r.ifindex, next, src, mtu, kind, route: Some((r.plen, r.gateway)) })
    }

    fn no_route(&self, dst: IpAddr, oif: u32, refused: bool) -> Result<Hop> {
        // An interface that was named carries to anybody, as if all were on its link (SO_BINDTODEVICE, and a
        // DHCP client that has no address yet).
        if let Some(i) = self.iface(oif) {
            if !i.is_up() {
                return Err(Errno::ENETDOWN);
            }
            let src = self.source_for(oif, dst);
            return Ok(Hop { ifindex: oif, next: dst, src, mtu: i.mtu, kind: HopKind::Unicast, route: None });
        }
        Err(if refused { Errno::ENETDOWN } else { Errno::ENETUNREACH })
    }

    /// Multicast and limited broadcast: by the named interface, else by the route to it, else by the first
    /// interface that can.
    fn group_hop(&self, dst: IpAddr, oif: u32) -> Result<Hop> {
        let fam = Family::of(&dst);
        let (need, kind) = if dst.is_multicast() {
            (iff::MULTICAST, HopKind::Multicast)
        } else {
            (iff::BROADCAST, HopKind::Broadcast)
        };
        let able = |ix: u32| self.iface(ix).filter(|i| i.is_up() && i.flags & need != 0);
        let mut src = None;
        let i = if oif != 0 {
            let i = self.iface(oif).ok_or(Errno::ENXIO)?;
            if !i.is_up() {
                return Err(Errno::ENETDOWN);
            }
            able(oif).ok_or(Errno::ENETUNREACH)?
        } else if let Some(r) = self.routes.lookup(dst, |r| able(r.ifindex).is_some()).route {
            if r.flags & rtf::REJECT != 0 {
                return Err(Errno::EHOSTUNREACH);
            }
            src = r.src;
            able(r.ifindex).ok_or(Errno::ENETUNREACH)?
        } else {
            self.interfaces()
                .find(|i| {
                    able(i.index).is_some() && !i.is_loopback() && i.primary(fam == Family::V4).is_some()
                })
                .ok_or(Errno::ENETUNREACH)?
        };
        let src = src.or_else(|| self.source_for(i.index, dst));
        Ok(Hop { ifindex: i.index, next: dst, src, mtu: i.mtu, kind, route: None })
    }

    /// The address of interface `ifindex` to speak to `next` with: one in the same network, else the primary
    /// one, else (an unnumbered link) the first address of another interface.
    pub fn source_for(&self, ifindex: u32, next: IpAddr) -> Option<IpAddr> {
        if let (IpAddr::V6(_), Some(rule)) = (next, self.source6()) {
            return rule.source(self, ifindex, None, next);
        }
        let i = self.iface(ifindex)?;
        let v4 = next.is_ipv4();
        i.addrs
            .iter()
            .filter(|a| a.addr.is_ipv4() == v4 && a.state != AddrState::Duplicated)
            .find(|a| prefix::contains(a.addr, a.plen, next) || a.peer == Some(next))
            .or_else(|| i.primary(v4))
            .or_else(|| {
                if i.kind != IfKind::PointToPoint {
                    return None;
                }
                self.interfaces().filter(|o| !o.is_loopback()).find_map(|o| o.primary(v4))
            })
            .map(|a| a.addr)
    }

    /// How `dst` is reached: interface, source address, MTU. `oif` forces the interface (0: none), `src`
    /// is the address the socket is bound to, if any.
    ///
    /// # Errors
    /// ENETUNREACH without a route, EHOSTUNREACH for a reject route, ENETDOWN when the interface is down,
    /// EADDRNOTAVAIL when `src` is not ours.
    pub fn path(&self, dst: IpAddr, src: Option<IpAddr>, oif: u32) -> Result<Path> {
        let src = src.filter(|s| !s.is_unspecified());
        if let Some(s) = src
            && !self.is_local(s, 0)
            && !s.is_multicast()
        {
            return Err(Errno::EADDRNOTAVAIL);
        }
        if dst.is_unspecified() {
            return Err(Errno::ENETUNREACH);
        }
        // A multicast or broadcast packet of a socket that is bound to an address leaves by that address's
        // interface.
        let group = dst.is_multicast() || matches!(dst, IpAddr::V4(a) if a.is_broadcast());
        let oif = match src {
            Some(s) if oif == 0 && group && !s.is_loopback() => self.if_with_addr(s),
            _ => oif,
        };
        let h = self.hop(dst, oif, false)?;
        let unspecified = match dst {
            IpAddr::V4(_) => IpAddr::V4(core::net::Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(core::net::Ipv6Addr::UNSPECIFIED),
        };
        Ok(Path {
            ifindex: h.ifindex,
            src: src.or(h.src).unwrap_or(unspecified),
            mtu: h.mtu,
            local: h.kind == HopKind::Local,
            broadcast: h.kind == HopKind::Broadcast,
            on_link: h.next == dst,
            hops: self.default_hops(h.ifindex, dst.is_ipv4()),
        })
    }
}
