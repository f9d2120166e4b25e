//! Raw sockets (raw(7)): whole IP packets of one protocol, in and out.
//!
//! Every raw socket whose protocol, addresses and interface fit gets a copy, network header included on IPv4.
//! With IP_HDRINCL (always, for IPPROTO_RAW) the program writes the IP header itself; the domain fills in
//! length, checksum, and a source address or identification left zero, as Linux does. Raw TCP and UDP
//! sockets hear what the protocols also get. A raw ICMP socket may filter by type (ICMP_FILTER).

use super::dgram::{max_transport, real_dst, send, way};
use super::opt_ip6::filtered6;
use super::report::RawStats;
use super::sock::{Body, Sock};
use super::types::{SendOpts, SockId, SockType, proto};
use super::{Sockets, demux};
use crate::cx::Cx;
use crate::net::Net;
use crate::packet::{Family, IcmpErr, IpInfo, IpOut};
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use iopkt_base::{Errno, Result};
use iopkt_mbuf::{Mbuf, flags};
use iopkt_wire::checksum::pseudo;

fn wants(s: &Sock, info: &IpInfo, body: &[u8]) -> bool {
    let addr = |mine: IpAddr, its: IpAddr| mine.is_unspecified() || mine == its;
    if s.proto != info.proto || s.family != Family::of(&info.dst) || !demux::hears(s, info.ifindex) {
        return false;
    }
    if !addr(s.local, info.dst) || s.remote.is_some_and(|r| !addr(r.ip(), info.src)) {
        return false;
    }
    if info.dst.is_multicast() && !s.wants_group(info.dst, info.src, info.ifindex) {
        return false;
    }
    let Body::Dgram(d) = &s.body else { return false };
    let ty = body.first().copied().unwrap_or(0);
    if s.proto == proto::ICMP6 && filtered6(&d.icmp6_filter, ty) {
        return false;
    }
    // ICMP_FILTER knows the types below 32 (raw(7)).
    !(s.proto == proto::ICMP && ty < 32 && d.icmp_filter & (1 << ty) != 0)
}

/// IPV6_CHECKSUM: what does not add up is not for the socket (RFC 3542 section 3.1). `believed`: whoever received it says that it does.
fn sum_is_good(s: &Sock, info: &IpInfo, body: &[u8], believed: bool, stats: &mut RawStats) -> bool {
    if s.opt.v6.checksum.is_none() || believed {
        return true;
    }
    let mut sum = pseudo(info.src, info.dst, s.proto, body.len() as u32);
    sum.add(body);
    stats.summed += 1;
    stats.bad_checksum += u64::from(!sum.is_valid());
    sum.is_valid()
}

/// Writes the checksum of an IPv6 packet where ICMPv6, or IPV6_CHECKSUM, has it.
fn put_sum(s: &Sock, src: IpAddr, dst: IpAddr, m: &mut Mbuf) -> Result<()> {
    let at = match s.proto {
        _ if dst.is_ipv4() => return Ok(()),
        proto::ICMP6 => 2,
        _ => match s.opt.v6.checksum {
            Some(at) => at as usize,
            None => return Ok(()),
        },
    };
    if at + 2 > m.len() {
        return Err(Errno::EINVAL);
    }
    m.as_mut_slice()[at..at + 2].fill(0);
    let mut sum = pseudo(src, dst, s.proto, m.len() as u32);
    sum.add(m.as_slice());
    let c = if sum.finish() == 0 { 0xffff } else { sum.finish() };
    m.as_mut_slice()[at..at + 2].copy_from_slice(&c.to_be_bytes());
    Ok(())
}

/// The protocol, hop limit, traffic class and DF of a packet that a program framed.
///
/// # Errors
/// EINVAL when it has no header.
fn framed(b: &[u8], v4: bool) -> Result<(u8, u8, u8, bool)> {
    match v4 {
        true if b.len() < 20 || b[0] >> 4 != 4 || usize::from(b[0] & 15) * 4 > b.len() || b[0] & 15 < 5 => {
            Err(Errno::EINVAL)
        }
        true => Ok((b[9], b[8], b[1], b[6] & 0x40 != 0)),
        false if b.len() < 40 || b[0] >> 4 != 6 => Err(Errno::EINVAL),
        false => Ok((b[6], b[7], b[0] << 4 | b[1] >> 4, true)),
    }
}

impl Sockets {
    /// Copies of a packet for all raw sockets that want it; true if there were any.
    pub(super) fn raw_input(&mut self, cx: &mut Cx, info: &IpInfo, m: &Mbuf) -> bool {
        if self.demux.raws.is_empty() {
            return false;
        }
        let bytes = m.as_slice();
        let body = bytes.get(usize::from(info.hdr_len)..).unwrap_or(&[]);
        let mut slots = core::mem::take(&mut self.scratch);
        slots.clear();
        let table = &self.table;
        slots.extend(
            self.demux.raws.iter().copied().filter(|&i| table.at(i).is_some_and(|s| wants(s, info, body))),
        );
        // RFC 3542: an IPv6 raw socket sees no network header.
        let shown = if info.dst.is_ipv4() { bytes } else { body };
        let raw = &mut self.stats.of(&info.src).raw;
        raw.received += slots.len() as u64;
        if info.dst.is_ipv6() {
            let believed = m.flags() & (flags::CSUM_OK | flags::CSUM_PARTIAL) != 0;
            slots.retain(|&i| self.table.at(i).is_some_and(|s| sum_is_good(s, info, body, believed, raw)));
        }
        let n = self.deliver_copies(cx, &slots, SocketAddr::new(info.src, 0), info, shown, Some(m));
        self.stats.of(&info.src).raw.delivered += n;
        let any = !slots.is_empty();
        self.scratch = slots;
        any
    }

    /// Sends a packet from a raw socket; the common checks are done.
    pub(super) fn raw_send(
        &mut self,
        cx: &mut Cx,
        net: &mut Net,
        id: SockId,
        to: Option<SocketAddr>,
        opts: &SendOpts,
        mut m: Mbuf,
    ) -> Result<()> {
        let s = self.table.get(id)?;
        // Linux: the port of an IPv6 address is a protocol, if it is any.
        match to.filter(|t| t.is_ipv6()).map_or(0, |t| t.port()) {
            p if p > 255 || (p != 0 && s.proto != proto::RAW && p != u16::from(s.proto)) => {
                return Err(Errno::EINVAL);
            }
            _ => {}
        }
        let to = to.or(s.remote).ok_or(Errno::EDESTADDRREQ)?;
        let dst = real_dst(to.ip());
        if m.len() > max_transport(s.family) + if s.opt.hdrincl { 20 } else { 0 } {
            return Err(Errno::EMSGSIZE);
        }
        let path = way(s, cx, net, dst, opts)?;
        if !s.opt.hdrincl {
            put_sum(s, path.src, dst, &mut m)?;
            let sent = send(s, cx, &path, dst, opts, s.proto, m);
            self.stats.of(&dst).raw.sent += u64::from(sent.is_ok());
            if sent == Err(Errno::EMSGSIZE) {
                self.too_long(cx, id, to, path.mtu);
            }
            return sent;
        }
        // Linux does not fragment what the program framed itself.
        m.set_priority(s.opt.txprio);
        let b = m.as_slice();
        if b.len() > path.mtu as usize {
            return Err(Errno::EMSGSIZE);
        }
        let (proto, ttl, tos, df) = framed(b, dst.is_ipv4())?;
        let forced = opts.oif != 0 || s.opt.bound_dev != 0 || dst.is_multicast();
        cx.down.push_back(IpOut {
            src: path.src,
            dst,
            proto,
            ttl,
            tos,
            df,
            oif: if forced { path.ifindex } else { 0 },
            dontroute: opts.dontroute || s.opt.dontroute,
            hdrincl: true,
            options: Vec::new(),
            mcast_loop: dst.is_multicast() && s.opt.loops_groups(dst.is_ipv4()),
            m,
            rest: Default::default(),
        });
        self.stats.of(&dst).raw.sent += 1;
        Ok(())
    }

    /// An ICMP error about a packet of some protocol: told to connected raw sockets, and with IP_RECVERR to
    /// the others. Whether one of them may have sent it.
    pub(super) fn raw_error(&mut self, e: &IcmpErr, quote: &[u8]) -> bool {
        let may = |s: &Sock| {
            s.ty == SockType::Raw
                && (s.proto == e.proto || s.opt.hdrincl || s.proto == proto::RAW)
                && (s.local.is_unspecified() || s.local == e.src)
        };
        let known = self.demux.raws.iter().any(|i| self.table.at(*i).is_some_and(may));
        let hit = |s: &Sock| {
            let (l, r) = (s.local, s.remote);
            s.ty == SockType::Raw
                && s.proto == e.proto
                && (l.is_unspecified() || l == e.src)
                && r.map_or(s.opt.hears_errors(e.dst.is_ipv4()), |r| r.ip() == e.dst)
                && (e.hard || s.opt.hears_errors(e.dst.is_ipv4()))
        };
        for i in 0..self.demux.raws.len() {
            let slot = self.demux.raws[i];
            if let Some(s) = self.table.at_mut(slot).filter(|s| hit(s)) {
                s.put_icmp(e, SocketAddr::new(e.dst, 0), quote);
                self.raise(slot, super::ev::ERROR);
            }
        }
        known
    }
}
