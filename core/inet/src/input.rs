//! IP input: checks, options, whose it is, reassembly, delivery.

use crate::Inet;
use core::net::{IpAddr, Ipv4Addr};
use iopkt_mbuf::{Mbuf, flags};
use iopkt_stack::{IpInfo, LO0, Layers, Plain, Stat, Why};
use iopkt_wire::icmp4::{ty, unreach};
use iopkt_wire::ipv4::{Bad, HEADER_LEN, Header, proto};

impl Inet {
    pub(crate) fn ip_input(&mut self, l: &mut Layers<'_>, mut m: Mbuf) {
        l.cx.counters.inc(Stat::IpTotal);
        let h = match Header::parse(m.as_slice()) {
            Ok(h) => h,
            Err(bad) => return bad_header(l, m, bad),
        };
        m.truncate(h.total_len);
        let known = self.plain.is(l, h.src, h.dst, &m);
        if !known && let Err(why) = check_addresses(l, &h, &m) {
            l.cx.counters.inc(Stat::IpBadAddress);
            return l.cx.drop(m, why);
        }
        let Some(group) = (if known { Some(false) } else { self.for_us(l, &h, &m) }) else {
            l.cx.counters.inc(Stat::IpCantForward);
            return l.cx.drop(m, Why::NotForUs);
        };
        if !known && !group {
            self.plain = Plain::of(l, h.src, h.dst, &m);
        }
        // Who is above sees none of them. [RFC9293 MUST-50]
        if h.header_len > HEADER_LEN && !self.input_options(l, &h, &mut m) {
            return l.cx.drop(m, Why::BadIpHeader);
        }
        if !h.is_fragment() {
            return self.deliver(l, &h, group, m);
        }
        // A pending or verified checksum says nothing about a piece.
        m.clear_flags(flags::CSUM_OK | flags::CSUM_PARTIAL);
        if let Some((h, m)) = self.reassemble(l, &h, m) {
            self.deliver(l, &h, group, m);
        }
    }

    /// Whether the packet is for this host: `Some(true)` for broadcast and multicast.
    fn for_us(&self, l: &Layers<'_>, h: &Header, m: &Mbuf) -> Option<bool> {
        let dst = IpAddr::V4(h.dst);
        let ifindex = m.ifindex();
        let link_group = m.flags() & (flags::BCAST | flags::MCAST) != 0;
        if h.dst.is_multicast() {
            return l.net.is_member(ifindex, dst).then_some(true);
        }
        if l.net.is_broadcast(dst, ifindex) {
            return Some(true);
        }
        // RFC 1122 3.3.6: a link-layer broadcast with a unicast destination is discarded.
        if link_group {
            return None;
        }
        // The weak model, as BSD: an address of ours is ours by whatever interface it comes.
        l.net.is_local(dst, 0).then_some(false)
    }

    /// A whole packet for this host.
    fn deliver(&mut self, l: &mut Layers<'_>, h: &Header, group: bool, m: Mbuf) {
        l.cx.counters.inc(Stat::IpDelivered);
        let info = IpInfo {
            src: IpAddr::V4(h.src),
            dst: IpAddr::V4(h.dst),
            proto: h.proto,
            ttl: h.ttl,
            tos: h.tos,
            ifindex: m.ifindex(),
            multicast: group,
            hdr_len: h.header_len as u16,
            csum_ok: m.flags() & (flags::CSUM_OK | flags::CSUM_PARTIAL) != 0,
        };
        match h.proto {
            proto::ICMP => return self.icmp_input(l, &info, m),
            proto::IGMP => return self.igmp_input(l, &info, m),
            _ => {}
        }
        let behind = l.cx.train.len();
        let left = l.sockets.input(l.cx, l.net, &info, m);
        let with_it = (behind - l.cx.train.len()) as u64;
        if with_it > 0 {
            l.cx.counters.add(Stat::IpTotal, with_it);
            l.cx.counters.add(Stat::IpDelivered, with_it);
        }
        let Some(m) = left else { return };
        let why = if h.proto == proto::UDP { Why::NoSocket } else { Why::NoProtocol };
        if h.proto != proto::UDP {
            l.cx.counters.inc(Stat::IpNoProto);
        }
        if !group {
            let code = if h.proto == proto::UDP { unreach::PORT } else { unreach::PROTOCOL };
            self.icmp_error(l, &m, ty::UNREACHABLE, code, [0; 4]);
        }
        l.cx.drop(m, why);
    }
}

fn bad_header(l: &mut Layers<'_>, m: Mbuf, bad: Bad) {
    let b = m.as_slice();
    let (stat, why) = match bad {
        Bad::Checksum => (Stat::IpBadChecksum, Why::BadIpChecksum),
        Bad::Length if b.len() >= 4 && usize::from(u16::from_be_bytes([b[2], b[3]])) > b.len() => {
            (Stat::IpBadLength, Why::BadLength)
        }
        Bad::Length => (Stat::IpBadLength, Why::BadIpHeader),
        Bad::Header if b.len() < HEADER_LEN => (Stat::IpTooShort, Why::BadIpHeader),
        Bad::Header if b[0] >> 4 != 4 => (Stat::IpBadVersion, Why::BadIpHeader),
        Bad::Header => (Stat::IpBadHeaderLen, Why::BadIpHeader),
    };
    l.cx.counters.inc(stat);
    l.cx.drop(m, why);
}

/// Addresses that no honest packet has (RFC 1122 3.2.1.3).
fn check_addresses(l: &Layers<'_>, h: &Header, m: &Mbuf) -> Result<(), Why> {
    let src = IpAddr::V4(h.src);
    if h.src.is_multicast() || h.src.is_broadcast() || l.net.is_broadcast(src, m.ifindex()) {
        return Err(Why::BadAddress);
    }
    // Our own packets come back by loopback: what they say of themselves was checked on the way down.
    let ours = m.flags() & flags::LOOP != 0;
    if !ours && m.ifindex() != LO0 && (h.src.is_loopback() || h.dst.is_loopback() || l.net.is_local(src, 0)) {
        return Err(Why::BadAddress);
    }
    if h.dst == Ipv4Addr::UNSPECIFIED {
        return Err(Why::BadAddress);
    }
    Ok(())
}
