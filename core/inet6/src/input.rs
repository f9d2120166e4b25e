//! IP input: checks, whose it is, extension headers, delivery.

use crate::ext::Walk;
use crate::ifstats::IfStat;
use crate::{Inet6, Stat6};
use core::net::{IpAddr, Ipv6Addr};
use iopkt_base::zone;
use iopkt_ctl::AddrState;
use iopkt_mbuf::{Mbuf, flags};
use iopkt_stack::{IpInfo, LO0, Layers, Plain, Why};
use iopkt_wire::icmp6::{param, ty, unreach};
use iopkt_wire::ipv6::{Bad, HEADER_LEN, Header, Upper, next};

/// A packet on its way up: its header, with the zones of the link that brought it.
#[derive(Clone, Copy)]
pub(crate) struct Packet {
    /// The header as on the wire.
    pub h: Header,
    /// Source, with its zone.
    pub src: Ipv6Addr,
    /// Destination, with its zone.
    pub dst: Ipv6Addr,
    /// To a group.
    pub group: bool,
    /// It came with a fragment header.
    pub cut: bool,
}

impl Inet6 {
    pub(crate) fn ip6_input(&mut self, l: &mut Layers<'_>, mut m: Mbuf) {
        self.stats.inc(Stat6::Total);
        let h = match Header::parse(m.as_slice()) {
            Ok(h) => h,
            Err(bad) => return self.bad_header(l, m, bad),
        };
        self.stats.header(h.next, 1);
        m.truncate(HEADER_LEN + h.payload_len);
        let i = m.ifindex();
        self.per_if.add(i, IfStat::Received, 1);
        if !self.disabled.is_empty() && self.disabled.contains(&i) {
            return l.cx.drop(m, Why::IfDown);
        }
        let mut p =
            Packet { h, src: zone::embed(h.src, i), dst: zone::embed(h.dst, i), group: false, cut: false };
        if !self.plain.is(l, h.src, h.dst, &m) {
            if !addresses_may_be(l, &p, &m) {
                self.stats.inc(Stat6::BadScope);
                self.per_if.add(i, IfStat::BadAddress, 1);
                return l.cx.drop(m, Why::BadAddress);
            }
            let group_frame = m.flags() & (flags::BCAST | flags::MCAST) != 0;
            let router = || (!group_frame && self.anycast.has(p.dst)).then_some(false);
            match for_us(l, &p, &m).or_else(router) {
                Some(group) => p.group = group,
                None if self.t.forwarding => return self.forward(l, &p, m),
                None => {
                    self.stats.inc(Stat6::CantForward);
                    self.per_if.add(i, IfStat::BadAddress, 1);
                    return l.cx.drop(m, Why::NotForUs);
                }
            }
            // What Neighbour Discovery may say, others may not.
            if !p.group && h.next != next::ICMP6 {
                self.plain = Plain::of(l, h.src, h.dst, &m);
            }
        }
        // Nearly all have no extension header.
        match h.next {
            next::TCP | next::UDP | next::ICMP6 => {
                self.deliver(l, &p, Upper { proto: h.next, at: HEADER_LEN, named_at: 6 }, m);
            }
            _ => match self.walk(l, &p, m) {
                Walk::Upper(upper, m) => self.deliver(l, &p, upper, m),
                Walk::Whole(m) => self.ip6_again(l, m),
                Walk::Ended => {}
            },
        }
    }

    /// A datagram that was put together: it was judged by its pieces, but its headers begin anew.
    fn ip6_again(&mut self, l: &mut Layers<'_>, m: Mbuf) {
        let Ok(h) = Header::parse(m.as_slice()) else { return l.cx.drop(m, Why::BadIpHeader) };
        let i = m.ifindex();
        let (src, dst) = (zone::embed(h.src, i), zone::embed(h.dst, i));
        let p = Packet { h, src, dst, group: h.dst.is_multicast(), cut: true };
        match self.walk(l, &p, m) {
            Walk::Upper(upper, m) => self.deliver(l, &p, upper, m),
            // A fragment in a fragment was cut by somebody who plays.
            Walk::Whole(m) => l.cx.drop(m, Why::BadFragment),
            Walk::Ended => {}
        }
    }

    /// A packet for this host whose extension headers are done.
    fn deliver(&mut self, l: &mut Layers<'_>, p: &Packet, upper: Upper, m: Mbuf) {
        self.stats.inc(Stat6::Delivered);
        self.per_if.add(m.ifindex(), IfStat::Delivered, 1);
        if p.group {
            self.per_if.add(m.ifindex(), IfStat::Multicast, 1);
        }
        let info = IpInfo {
            src: p.src.into(),
            dst: p.dst.into(),
            proto: upper.proto,
            ttl: p.h.hop_limit,
            tos: p.h.traffic_class,
            ifindex: m.ifindex(),
            multicast: p.group,
            hdr_len: upper.at as u16,
            csum_ok: m.flags() & (flags::CSUM_OK | flags::CSUM_PARTIAL) != 0,
        };
        match upper.proto {
            next::ICMP6 => return self.icmp6_input(l, &info, p, m),
            next::NONE => return l.cx.drop(m, Why::Handled),
            _ => {}
        }
        let behind = l.cx.train.len();
        let left = l.sockets.input(l.cx, l.net, &info, m);
        let with_it = (behind - l.cx.train.len()) as u64;
        if with_it > 0 {
            self.stats.add(Stat6::Total, with_it);
            self.stats.add(Stat6::Delivered, with_it);
            self.stats.header(upper.proto, with_it);
            self.per_if.add(info.ifindex, IfStat::Received, with_it);
            self.per_if.add(info.ifindex, IfStat::Delivered, with_it);
        }
        let Some(m) = left else { return };
        if upper.proto == next::UDP {
            if !p.group {
                // [RFC4443 3.1c]
                self.icmp6_error(l, &m, ty::UNREACHABLE, unreach::PORT, 0);
            }
            return l.cx.drop(m, Why::NoSocket);
        }
        self.per_if.add(m.ifindex(), IfStat::UnknownProto, 1);
        // RFC 8200 section 4: a next header that is not known; the pointer is where it is named.
        // [RFC8200 4b]
        self.icmp6_error(l, &m, ty::PARAM_PROBLEM, param::NEXT_HEADER, upper.named_at as u32);
        l.cx.drop(m, Why::NoProtocol);
    }

    fn bad_header(&mut self, l: &mut Layers<'_>, m: Mbuf, bad: Bad) {
        let (stat, why) = match bad {
            Bad::Length => (Stat6::BadLength, Why::BadLength),
            Bad::Header if m.len() < HEADER_LEN => (Stat6::TooShort, Why::BadIpHeader),
            Bad::Header => (Stat6::BadVersion, Why::BadIpHeader),
        };
        self.stats.inc(stat);
        self.per_if.add(m.ifindex(), IfStat::Received, 1);
        self.per_if.add(m.ifindex(), IfStat::BadHeader, 1);
        l.cx.drop(m, why);
    }
}

/// Whether an honest packet can have these addresses (RFC 4291 2.5.2, 2.5.3, 2.7; RFC 4942 2.2: mapped ones are never on the wire).
fn addresses_may_be(l: &Layers<'_>, p: &Packet, m: &Mbuf) -> bool {
    let ours = m.flags() & flags::LOOP != 0 || m.ifindex() == LO0;
    let dst_scope = p.h.dst.is_multicast().then(|| p.h.dst.segments()[0] & 15);
    if p.h.src.is_multicast() || p.h.dst.is_unspecified() || dst_scope == Some(0) {
        return false;
    }
    if p.h.src.to_ipv4_mapped().is_some() || p.h.dst.to_ipv4_mapped().is_some() {
        return false;
    }
    // A zone that somebody wrote into the address itself: the word must be zero on the wire.
    let written = |a: Ipv6Addr| zone::of(&a) != 0;
    if written(p.h.src) || written(p.h.dst) {
        return false;
    }
    ours || !(p.h.src.is_loopback()
        || p.h.dst.is_loopback()
        || dst_scope == Some(1)
        || l.net.is_local(p.src.into(), 0))
        || is_dad(l, p)
}

/// A packet from our own address that came by the link may be somebody else's who wants it too: Neighbour Discovery must see it.
fn is_dad(l: &Layers<'_>, p: &Packet) -> bool {
    p.h.next == next::ICMP6 && p.h.hop_limit == 255 && l.net.is_local(p.src.into(), 0)
}

/// Whether the packet is for this host: `Some(true)` for a group.
fn for_us(l: &Layers<'_>, p: &Packet, m: &Mbuf) -> Option<bool> {
    // [RFC4862 5.4d]
    let dst = IpAddr::V6(p.dst);
    if p.h.dst.is_multicast() {
        return l.net.is_member(m.ifindex(), dst).then_some(true);
    }
    // A unicast destination in a frame to a group is nobody's (as RFC 1122 3.3.6 has it for IPv4).
    if m.flags() & (flags::BCAST | flags::MCAST) != 0 {
        return None;
    }
    let ix = l.net.if_with_addr(dst);
    if ix == 0 {
        return l.net.is_local(dst, 0).then_some(false);
    }
    // RFC 4862 5.4: a tentative address is nobody's yet; Neighbour Discovery for it comes by its groups.
    let a = l.net.iface(ix)?.addrs.iter().find(|a| a.addr == dst)?;
    let good = match a.state {
        AddrState::Valid => true,
        AddrState::Tentative => a.life.optimistic,
        AddrState::Duplicated => false,
    };
    good.then_some(false)
}
