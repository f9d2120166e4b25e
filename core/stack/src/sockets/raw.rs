//! Raw sockets (raw(7)): whole IP packets of one protocol, in and out.
//!
//! Every raw socket whose protocol, addresses and interface fit gets a copy, network header included on IPv4.
//! With IP_HDRINCL (always, for IPPROTO_RAW) the program writes the IP header itself; the domain fills in
//! length, checksum, and a source address or identification left zero, as Linux does. Raw TCP and UDP
//! sockets hear what the protocols also get. A raw ICMP socket may filter by type (ICMP_FILTER).

use super::dgram::{max_transport, real_dst, send, way};
use super::sock::{Body, Sock};
use super::types::{SendOpts, SockId, SockType, proto};
use super::{Sockets, demux};
use crate::cx::Cx;
use crate::net::Net;
use crate::packet::{Family, IcmpErr, IpInfo, IpOut};
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use iopkt_base::{Errno, Result};
use iopkt_mbuf::Mbuf;

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
    // ICMP_FILTER knows the types below 32 (raw(7)).
    !(s.proto == proto::ICMP && ty < 32 && d.icmp_filter & (1 << ty) != 0)
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
        self.stats.raw_delivered +=
            self.deliver_copies(cx, &slots, SocketAddr::new(info.src, 0), info, shown);
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
        let dst = real_dst(to.or(s.remote).ok_or(Errno::EDESTADDRREQ)?.ip());
        if m.len() > max_transport(s.family) + if s.opt.hdrincl { 20 } else { 0 } {
            return Err(Errno::EMSGSIZE);
        }
        let path = way(s, cx, net, dst, opts)?;
        if !s.opt.hdrincl {
            return send(s, cx, &path, dst, opts, s.proto, m);
        }
        // Linux does not fragment what the program framed itself.
        m.set_priority(s.opt.txprio);
        let b = m.as_slice();
        if b.len() > path.mtu as usize {
            return Err(Errno::EMSGSIZE);
        }
        if b.len() < 20 || b[0] >> 4 != 4 || usize::from(b[0] & 15) * 4 > b.len() || b[0] & 15 < 5 {
            return Err(Errno::EINVAL);
        }
        let (proto, ttl, tos) = (b[9], b[8], b[1]);
        let forced = opts.oif != 0 || s.opt.bound_dev != 0 || dst.is_multicast();
        cx.down.push_back(IpOut {
            src: path.src,
            dst,
            proto,
            ttl,
            tos,
            df: b[6] & 0x40 != 0,
            oif: if forced { path.ifindex } else { 0 },
            dontroute: opts.dontroute || s.opt.dontroute,
            hdrincl: true,
            options: Vec::new(),
            mcast_loop: dst.is_multicast() && s.opt.mcast_loop,
            m,
            rest: Default::default(),
        });
        Ok(())
    }

    /// An ICMP error about a packet of some protocol: told to connected raw sockets, and with IP_RECVERR to
    /// the others.
    pub(super) fn raw_error(&mut self, e: &IcmpErr, quote: &[u8]) {
        let hit = |s: &Sock| {
            let (l, r) = (s.local, s.remote);
            s.ty == SockType::Raw
                && s.proto == e.proto
                && (l.is_unspecified() || l == e.src)
                && r.map_or(s.opt.recverr, |r| r.ip() == e.dst)
                && (e.hard || s.opt.recverr)
        };
        for i in 0..self.demux.raws.len() {
            let slot = self.demux.raws[i];
            if let Some(s) = self.table.at_mut(slot).filter(|s| hit(s)) {
                s.put_icmp(e, SocketAddr::new(e.dst, 0), quote);
                self.raise(slot, super::ev::ERROR);
            }
        }
    }
}
