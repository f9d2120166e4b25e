//! Reassembly (RFC 791 section 3.2, RFC 815, RFC 1122 3.3.2).
//!
//! Fragments are kept sorted, as the buffers they came in. A fragment that overlaps another ends the whole
//! datagram (RFC 5722's rule, which Linux applies to IPv4 too); an exact duplicate is only dropped. A datagram
//! that is not complete after 30 s (BSD's `IPFRAGTTL`) ends with "time exceeded" if its first fragment is here.
//!
//! Limits: datagrams (`net.inet.ip.maxfragpackets` and `Config::max_reassembly`; at the limit the oldest
//! goes), fragments per datagram, fragments altogether (16 per datagram allowed).

use crate::Inet;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use iopkt_base::{Duration, Instant, Keyed};
use iopkt_mbuf::{Mbuf, flags};
use iopkt_stack::hash::{KeyedMap, KeyedState};
use iopkt_stack::{Cx, Layers, Stat, Why};
use iopkt_wire::icmp4::{timxceed, ty};
use iopkt_wire::ipv4::{HEADER_LEN, Header, MAX_LEN};

/// How long a datagram may take to arrive.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);
/// Most fragments of a datagram: 64 KiB in pieces of 512 bytes and some.
const MAX_FRAGMENTS: usize = 160;

type Key = (Ipv4Addr, Ipv4Addr, u16, u8);

struct Piece {
    start: usize,
    end: usize,
    m: Mbuf,
    header_len: usize,
}

struct Datagram {
    pieces: Vec<Piece>,
    /// Length of the payload, once the last fragment is here.
    len: Option<usize>,
    have: usize,
    until: Instant,
}

/// Datagrams that are not complete.
pub(crate) struct Reassembly {
    map: KeyedMap<Key, Datagram>,
    ages: BTreeSet<(Instant, Key)>,
    fragments: usize,
}

impl Reassembly {
    pub fn new(secret: &Keyed) -> Reassembly {
        Reassembly {
            map: KeyedMap::with_hasher(KeyedState::new(secret, "fragments")),
            ages: BTreeSet::new(),
            fragments: 0,
        }
    }

    pub fn deadline(&self) -> Instant {
        self.ages.first().map_or(Instant::FAR, |a| a.0)
    }

    fn take(&mut self, key: &Key) -> Option<Datagram> {
        let d = self.map.remove(key)?;
        self.ages.remove(&(d.until, *key));
        self.fragments -= d.pieces.len();
        Some(d)
    }

    fn discard(&mut self, cx: &mut Cx, key: &Key, why: Why) {
        for p in self.take(key).into_iter().flat_map(|d| d.pieces) {
            cx.drop(p.m, why);
            cx.counters.inc(Stat::IpFragDropped);
        }
    }
}

impl Inet {
    /// Takes a fragment; returns the datagram when this one completed it. `m` is exactly the packet.
    pub(crate) fn reassemble(&mut self, l: &mut Layers<'_>, h: &Header, m: Mbuf) -> Option<(Header, Mbuf)> {
        l.cx.counters.inc(Stat::IpFragments);
        let n = h.total_len - h.header_len;
        let (start, end) = (h.frag, h.frag + n);
        // All but the last carry a multiple of 8 bytes, none is empty, none reaches beyond 64 KiB.
        if n == 0 || (h.mf && !n.is_multiple_of(8)) || h.header_len + end > MAX_LEN {
            l.cx.counters.inc(Stat::IpFragMalformed);
            l.cx.drop(m, Why::BadFragment);
            return None;
        }
        let max = match self.t.maxfragpackets {
            n if n < 0 => usize::MAX,
            n => usize::try_from(n).unwrap_or(usize::MAX),
        };
        let max = max.min(l.cx.cfg.max_reassembly);
        let r = self.reassembly(&l.cx.secret);
        let key = (h.src, h.dst, h.id, h.proto);
        if !r.make_room(l.cx, &key, max) {
            l.cx.counters.inc(Stat::IpFragDropped);
            l.cx.drop(m, Why::ReassemblyLimit);
            return None;
        }
        let until = l.cx.now + TIMEOUT;
        if !r.map.contains_key(&key) {
            r.ages.insert((until, key));
            r.map.insert(key, Datagram { pieces: Vec::new(), len: None, have: 0, until });
        }
        let d = r.map.get_mut(&key)?;
        let at = d.pieces.partition_point(|p| p.start < start);
        if d.pieces.get(at).is_some_and(|p| p.start == start && p.end == end) && (h.mf || d.len == Some(end))
        {
            l.cx.counters.inc(Stat::IpFragDropped);
            l.cx.drop(m, Why::BadFragment);
            return None;
        }
        let overlaps =
            at > 0 && d.pieces[at - 1].end > start || d.pieces.get(at).is_some_and(|p| p.start < end);
        let beyond = match d.len {
            Some(len) => end > len || (!h.mf && end != len),
            None => !h.mf && d.pieces.last().is_some_and(|p| p.end > end),
        };
        if overlaps || beyond || d.pieces.len() >= MAX_FRAGMENTS {
            let why = if overlaps || beyond { Why::BadFragment } else { Why::ReassemblyLimit };
            r.discard(l.cx, &key, why);
            l.cx.counters.inc(Stat::IpFragMalformed);
            l.cx.drop(m, why);
            return None;
        }
        if !h.mf {
            d.len = Some(end);
        }
        d.have += n;
        d.pieces.insert(at, Piece { start, end, m, header_len: h.header_len });
        r.fragments += 1;
        // No overlaps and nothing beyond the end: as many bytes as the length says means all of them.
        if d.len == Some(d.have) {
            let d = r.take(&key)?;
            return join(l.cx, d);
        }
        None
    }

    pub(crate) fn reass_tick(&mut self, l: &mut Layers<'_>) {
        loop {
            let Some(r) = self.reass.as_mut() else { return };
            let Some((at, key)) = r.ages.first().copied().filter(|a| a.0 <= l.cx.now) else { return };
            debug_assert!(at <= l.cx.now);
            let Some(d) = r.take(&key) else {
                r.ages.remove(&(at, key));
                continue;
            };
            for (i, p) in d.pieces.into_iter().enumerate() {
                l.cx.counters.inc(Stat::IpFragTimeout);
                if i == 0 && p.start == 0 {
                    self.icmp_error(l, &p.m, ty::TIME_EXCEEDED, timxceed::REASSEMBLY, [0; 4]);
                }
                l.cx.drop(p.m, Why::ReassemblyTimeout);
            }
        }
    }
}

impl Reassembly {
    /// Makes sure that one more fragment, perhaps of one more datagram, may be kept.
    fn make_room(&mut self, cx: &mut Cx, key: &Key, max: usize) -> bool {
        if max == 0 {
            return false;
        }
        while (self.map.len() >= max && !self.map.contains_key(key))
            || self.fragments >= max.saturating_mul(16)
        {
            let Some((_, oldest)) = self.ages.first().copied() else { return false };
            self.discard(cx, &oldest, Why::ReassemblyLimit);
        }
        true
    }
}

/// Puts the pieces together: the header is the first one's.
fn join(cx: &mut Cx, d: Datagram) -> Option<(Header, Mbuf)> {
    let len = d.len.unwrap_or(0);
    let hl = d.pieces.first().map_or(HEADER_LEN, |p| p.header_len);
    let whole = if hl + len <= MAX_LEN { cx.mbufs.alloc_len(hl + len) } else { None };
    let Some(mut out) = whole else {
        for p in d.pieces {
            cx.drop(p.m, Why::NoMemory);
        }
        return None;
    };
    let mut ce = false;
    for (i, p) in d.pieces.into_iter().enumerate() {
        let b = p.m.as_slice();
        ce |= b[1] & 3 == 3;
        out.extend_from_slice(if i == 0 { b } else { &b[p.header_len..] });
        if i == 0 {
            out.set_ifindex(p.m.ifindex());
            out.set_flags(p.m.flags() & (flags::BCAST | flags::MCAST | flags::LOOP));
        }
        cx.mbufs.free(p.m);
    }
    let mut h = Header::parse_unchecked(out.as_slice())?;
    (h.mf, h.frag, h.total_len) = (false, 0, hl + len);
    if ce {
        h.tos |= 3; // RFC 3168 5.3
    }
    let mut opts = [0; 40];
    let opts = &mut opts[..hl - HEADER_LEN];
    opts.copy_from_slice(&out.as_slice()[HEADER_LEN..hl]);
    h.emit(out.as_mut_slice(), opts)?;
    cx.counters.inc(Stat::IpReassembled);
    Some((h, out))
}
