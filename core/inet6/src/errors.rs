//! ICMPv6 errors that we send (RFC 4443 2.4).
//!
//! Never about: an ICMPv6 error or redirect, a source that names no one node, a multicast destination (of IP or of the link) but for
//! "too big" and an option that asks for it. Rate limited as a whole: `net.inet6.icmp6.errppslimit` per second. Quoted: as much of
//! the packet as fits the smallest MTU.

use crate::{Inet6, Stat6};
use core::net::{IpAddr, Ipv6Addr};
use iopkt_base::{Duration, Instant, zone};
use iopkt_mbuf::{Chain, Mbuf, flags};
use iopkt_stack::{Cx, IpOut, Layers};
use iopkt_wire::icmp6::{self, HEADER_LEN, is_error, param, ty};
use iopkt_wire::ipv6::{self, MIN_MTU, next};

/// A window of permissions to send.
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

impl Inet6 {
    /// Sends an error about `m`, which begins with its IP header as on the wire, if the rules allow it. `word`: MTU or pointer.
    pub(crate) fn icmp6_error(&mut self, l: &mut Layers<'_>, m: &Mbuf, ty: u8, code: u8, word: u32) {
        self.stats.inc(Stat6::IcmpErrors);
        let b = m.as_slice();
        let Some(h) = ipv6::Header::parse_unchecked(b) else { return };
        let mut chain = ipv6::Chain::new(b, h.next);
        let whole = chain.by_ref().all(|e| e.is_ok());
        let upper = chain.upper();
        let old = b.get(upper.at).copied();
        // [RFC4443 2.4e1]
        let about_error =
            whole && upper.proto == next::ICMP6 && old.is_none_or(|t| is_error(t) || t == ty::REDIRECT);
        let group = h.dst.is_multicast() || m.flags() & (flags::BCAST | flags::MCAST) != 0;
        // [RFC4443 2.4e2]
        let told_anyway = ty == ty::TOO_BIG || (ty, code) == (ty::PARAM_PROBLEM, param::OPTION);
        // [RFC4443 2.4e3]
        let nobody = h.src.is_unspecified() || h.src.is_multicast();
        if about_error || nobody || (group && !told_anyway) {
            return self.stats.inc(Stat6::IcmpNotSent);
        }
        // [RFC4443 2.4f]
        if !self.limit.allow(l.cx.now, self.t.errppslimit) {
            return self.stats.inc(Stat6::IcmpRateLimited);
        }
        let ifindex = m.ifindex();
        let (src, dst) = (zone::embed(h.src, ifindex), IpAddr::V6(zone::embed(h.dst, ifindex)));
        // [RFC4443 2.2]
        let ours = !group && l.net.is_local(dst, 0) && !self.is_anycast(l, dst);
        let Some(IpAddr::V6(from)) = (if ours { Some(dst) } else { l.net.source_for(ifindex, src.into()) })
        else {
            return;
        };
        self.stats.error(ty, code);
        // [RFC4443 2.4c]
        let quote = b.len().min(MIN_MTU - ipv6::HEADER_LEN - HEADER_LEN);
        let Some(mut e) = l.cx.mbufs.alloc_len(HEADER_LEN + quote) else { return };
        if e.append(HEADER_LEN).is_none() || !e.extend_from_slice(&b[..quote]) {
            return l.cx.mbufs.free(e);
        }
        icmp6::Header { ty, code, rest: word.to_be_bytes() }.emit(e.as_mut_slice(), zone::strip(from), h.src);
        let hops = l.net.default_hops(ifindex, false);
        send(l.cx, from, src, hops, 0, e);
    }
}

/// Queues an ICMPv6 message, its checksum done.
pub(crate) fn send(cx: &mut Cx, src: Ipv6Addr, dst: Ipv6Addr, ttl: u8, oif: u32, m: Mbuf) {
    cx.down.push_back(IpOut {
        src: src.into(),
        dst: dst.into(),
        proto: next::ICMP6,
        ttl,
        tos: 0,
        df: false,
        oif,
        dontroute: false,
        hdrincl: false,
        options: alloc::vec::Vec::new(),
        mcast_loop: false,
        m,
        rest: Chain::default(),
    });
}
