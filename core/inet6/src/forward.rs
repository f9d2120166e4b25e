//! Forwarding (RFC 8200, RFC 4443, RFC 4861 section 8): the plain path, by `net.inet6.ip6.forwarding` or `-p tcpip forward6`.
//!
//! A packet that is nobody's here loses one of its hops and goes on by the route to its destination, whole or not at all: routers cut
//! nothing (RFC 8200 5). What cannot go on is told to its source: no route, beyond the scope of its source, no hops left, too big, a
//! neighbour that does not answer. A source on the link where its packet leaves again hears of the better first hop (redirect).
//! Groups are not forwarded: there is no multicast routing. A router believes neither advertisements nor redirects.

use crate::ext::judge_first;
use crate::ifstats::IfStat;
use crate::input::Packet;
use crate::nd::HOPS;
use crate::{ALL_ROUTERS, Inet6, Stat6};
use core::net::{IpAddr, Ipv6Addr};
use iopkt_base::{Errno, zone};
use iopkt_mbuf::{Mbuf, flags};
use iopkt_stack::{Hop, HopKind, LO0, Layers, Why, gso};
use iopkt_wire::icmp6::{timxceed, ty, unreach};
use iopkt_wire::ipv6::{HEADER_LEN, MIN_MTU, next};
use iopkt_wire::nd::{self, opt};

/// All routers of the site.
const SITE_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 0, 2);

impl Inet6 {
    /// Forwarding was turned on or off, or an interface arrived: routers listen to their groups (RFC 4291 2.8).
    pub(crate) fn router_groups(&mut self, l: &mut Layers<'_>, ifindex: u32, on: bool) {
        // [RFC4861 6.2.2]
        for g in [ALL_ROUTERS, SITE_ROUTERS] {
            let g = IpAddr::V6(zone::embed(g, ifindex));
            if on {
                // At the limit of groups it stays a router that nobody finds.
                let _ = l.net.join_group(l.cx, ifindex, g);
            } else {
                l.net.leave_group(l.cx, ifindex, g);
            }
        }
    }

    /// The variable was written.
    pub(crate) fn set_forwarding(&mut self, l: &mut Layers<'_>, was: bool) {
        let on = self.t.forwarding;
        if on == was {
            return;
        }
        let all: alloc::vec::Vec<u32> = l.net.interfaces().map(|i| i.index).collect();
        for i in all {
            self.router_groups(l, i, on);
        }
        self.subnet_routers(l);
    }

    /// A packet that is for nobody here.
    pub(crate) fn forward(&mut self, l: &mut Layers<'_>, p: &Packet, mut m: Mbuf) {
        let not_on = p.h.dst.is_multicast()
            || m.flags() & (flags::BCAST | flags::MCAST | flags::LOOP) != 0
            || zone::is_scoped(&p.dst)
            || p.h.dst.is_loopback()
            || p.h.src.is_loopback()
            || p.h.src.is_unspecified();
        if not_on {
            self.stats.inc(Stat6::CantForward);
            return l.cx.drop(m, Why::NotForUs);
        }
        // [RFC8200 3a] [RFC4443 3.3a]
        if p.h.hop_limit <= 1 {
            self.icmp6_error(l, &m, ty::TIME_EXCEEDED, timxceed::HOP_LIMIT, 0);
            return l.cx.drop(m, Why::TtlExpired);
        }
        // Options for every node of the way are for us too (RFC 8200 4.3).
        if p.h.next == next::HOP_BY_HOP
            // [RFC8200 4.3]
            && let Err(stop) = judge_first(m.as_slice(), p.h.next)
        {
            return self.stopped(l, p, m, stop);
        }
        let h = match l.net.hop(p.dst.into(), 0, false) {
            Ok(h) if h.kind == HopKind::Unicast && h.ifindex != LO0 => h,
            Ok(h) if h.kind == HopKind::Blackhole => return l.cx.drop(m, Why::NoRoute),
            // A tentative address of ours, or what is reached through lo0: nobody is there.
            Ok(_) => return self.no_way_on(l, unreach::ADDRESS, m),
            Err(Errno::EHOSTUNREACH) => return self.no_way_on(l, unreach::REJECT, m),
            Err(_) => return self.no_way_on(l, unreach::NO_ROUTE, m),
        };
        // A link-local source has no meaning behind its link (RFC 4291 2.5.6).
        if zone::is_scoped(&p.src) && h.ifindex != m.ifindex() {
            self.stats.inc(Stat6::BadScope);
            return self.no_way_on(l, unreach::SCOPE, m);
        }
        // [RFC4443 3.2a] [RFC8200 4.5a]
        if gso::unit(&m, HEADER_LEN) > h.mtu as usize {
            self.icmp6_error(l, &m, ty::TOO_BIG, 0, h.mtu);
            self.stats.inc(Stat6::CantForward);
            self.per_if.add(m.ifindex(), IfStat::TooBig, 1);
            return l.cx.drop(m, Why::NeedsFragmenting);
        }
        if h.ifindex == m.ifindex() && self.t.redirect {
            self.redirect(l, p, &h, &m);
        }
        // [RFC6437 3d]
        m.as_mut_slice()[7] -= 1;
        m.clear_flags(flags::CSUM_OK);
        self.stats.inc(Stat6::Forwarded);
        self.per_if.add(h.ifindex, IfStat::Forwarded, 1);
        if let Some((plen, gw)) = h.route {
            l.net.routes.count_use(h.next, plen, gw, h.ifindex, 1);
        }
        self.link_output(l, &h, m);
    }

    // [RFC4443 3.1a]
    fn no_way_on(&mut self, l: &mut Layers<'_>, code: u8, m: Mbuf) {
        self.stats.inc(Stat6::CantForward);
        self.per_if.add(m.ifindex(), IfStat::NoRoute, 1);
        self.icmp6_error(l, &m, ty::UNREACHABLE, code, 0);
        l.cx.drop(m, Why::NoRoute);
    }

    /// Tells a neighbour of the better first hop for its packet (RFC 4861 8.2).
    fn redirect(&mut self, l: &mut Layers<'_>, p: &Packet, h: &Hop, m: &Mbuf) {
        // [RFC4861 8.2a] [RFC4861 8.2b]
        let IpAddr::V6(target) = h.next else { return };
        let on_link = target == p.dst;
        let neighbour = l.net.hop(p.src.into(), 0, false).is_ok_and(|x| {
            x.kind == HopKind::Unicast && x.ifindex == h.ifindex && x.next == IpAddr::V6(p.src)
        });
        // A router is known to hosts by its link-local address only.
        if !neighbour || !(on_link || zone::is_scoped(&target)) {
            return;
        }
        let own = l.net.iface(h.ifindex).and_then(|i| {
            i.addrs.iter().find_map(|a| match a.addr {
                IpAddr::V6(x) if crate::slaac::is_link_local(&a.addr) => Some(x),
                _ => None,
            })
        });
        let Some(from) = own else { return };
        if !self.limit.allow(l.cx.now, self.t.errppslimit) {
            return self.stats.inc(Stat6::IcmpRateLimited);
        }
        let mut b = nd::redirect(zone::strip(target), zone::strip(p.dst));
        if let Some(mac) = l.net.neigh.get(h.ifindex, h.next) {
            nd::push_link(&mut b, opt::TARGET_LINK, mac);
        }
        let room = MIN_MTU - HEADER_LEN - b.len();
        nd::push_redirected(&mut b, m.as_slice(), room);
        self.stats.inc(Stat6::RedirectsOut);
        self.stats.error(ty::REDIRECT, 0);
        debug_assert_eq!(HOPS, 255);
        self.nd_send(l, h.ifindex, from, p.src, b);
    }
}
