//! ICMP errors that we send (RFC 792, RFC 1122 3.2.2, RFC 1812 4.3.2).
//!
//! Never about: an ICMP error, a fragment other than the first, a broadcast or multicast (of the link or of
//! IP), a source that does not name one host. Rate limited as a whole: `net.inet.icmp.errppslimit` per second.
//! Quoted: as much of the packet as fits 576 bytes.

use crate::Inet;
use alloc::vec::Vec;
use core::net::IpAddr;
use iopkt_base::{Duration, Instant};
use iopkt_mbuf::{Mbuf, flags};
use iopkt_stack::{Cx, IpOut, Layers, Stat};
use iopkt_wire::icmp4::{self, HEADER_LEN, is_error};
use iopkt_wire::ipv4::{self, proto};

/// Longest error message with its IP header (RFC 1812 4.3.2.3).
const MAX_ERROR: usize = 576;

/// A bucket of permissions to send.
#[derive(Default)]
pub(crate) struct ErrorLimit {
    window: Option<Instant>,
    sent: i64,
}

impl ErrorLimit {
    /// BSD's `ppsratecheck`: at most `limit` in each second; negative: no limit.
    pub fn allow(&mut self, now: Instant, limit: i64) -> bool {
        if limit < 0 {
            return true;
        }
        match self.window {
            Some(w) if now.since(w) < Duration::from_secs(1) => {}
            _ => {
                self.window = Some(now);
                self.sent = 0;
            }
        }
        self.sent += 1;
        self.sent <= limit
    }
}

impl Inet {
    /// Sends an error about `m`, which begins with its IP header, if the rules allow it.
    pub(crate) fn icmp_error(&mut self, l: &mut Layers<'_>, m: &Mbuf, ty: u8, code: u8, rest: [u8; 4]) {
        l.cx.counters.inc(Stat::IcmpErrors);
        let b = m.as_slice();
        let Some(h) = ipv4::Header::parse_unchecked(b) else { return };
        if h.proto == proto::ICMP && h.frag == 0 && b.get(h.header_len).is_none_or(|t| is_error(*t)) {
            return l.cx.counters.inc(Stat::IcmpNoOld);
        }
        let (src, dst) = (IpAddr::V4(h.src), IpAddr::V4(h.dst));
        let group = m.flags() & (flags::BCAST | flags::MCAST) != 0
            || h.dst.is_multicast()
            || l.net.is_broadcast(dst, m.ifindex());
        let nobody = h.src.is_unspecified()
            || h.src.is_multicast()
            || h.src.is_broadcast()
            || h.src.octets()[0] >= 240
            || l.net.is_broadcast(src, 0)
            || (h.src.is_loopback() && m.flags() & flags::LOOP == 0);
        if h.frag != 0 || group || nobody {
            return l.cx.counters.inc(Stat::IcmpNotSent);
        }
        if !self.limit.allow(l.cx.now, self.t.errppslimit) {
            return l.cx.counters.inc(Stat::IcmpRateLimited);
        }
        let from = if l.net.is_local(dst, 0) { Some(dst) } else { l.net.source_for(m.ifindex(), src) };
        let Some(from) = from else { return };
        let quote = b.len().min(MAX_ERROR - ipv4::HEADER_LEN - HEADER_LEN);
        let Some(mut e) = l.cx.mbufs.alloc_len(HEADER_LEN + quote) else { return };
        if e.append(HEADER_LEN).is_none() || !e.extend_from_slice(&b[..quote]) {
            return l.cx.mbufs.free(e);
        }
        // A checksum that was left for a device is not what the sender will look for; it looks at ports.
        icmp4::Header { ty, code, rest }.emit(e.as_mut_slice());
        l.cx.counters.icmp(ty, true);
        // RFC 1812 4.3.2.5: precedence 6 for errors.
        send(l.cx, from, src, self.t.ttl, 0xc0, Vec::new(), e);
    }
}

/// Queues an ICMP message.
pub(crate) fn send(cx: &mut Cx, src: IpAddr, dst: IpAddr, ttl: u8, tos: u8, options: Vec<u8>, m: Mbuf) {
    cx.down.push_back(IpOut {
        src,
        dst,
        proto: proto::ICMP,
        ttl,
        tos,
        df: false,
        oif: 0,
        dontroute: false,
        hdrincl: false,
        options,
        mcast_loop: false,
        m,
        rest: Default::default(),
    });
}
