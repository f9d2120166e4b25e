//! Reassembly (RFC 8200 section 4.5, RFC 5722, RFC 6946, RFC 7112).
//!
//! Pieces are kept sorted, as the buffers they came in. A piece that overlaps another ends the whole datagram (RFC 5722); an exact
//! duplicate is only dropped. An atomic fragment is a packet of its own, whatever else is here under its identification
//! (RFC 6946). The first piece must hold the whole chain of headers (RFC 7112). A datagram that is not complete after 60 s ends
//! with "time exceeded" if its first piece is here.
//!
//! Limits: datagrams (`net.inet6.ip6.maxfragpackets` and `Config::max_reassembly`; at the limit the oldest goes), pieces of a
//! datagram, pieces altogether (16 per datagram allowed).

use crate::input::Packet;
use crate::{Inet6, Stat6};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::net::Ipv6Addr;
use iopkt_base::{Duration, Instant, Keyed};
use iopkt_mbuf::{Mbuf, flags};
use iopkt_stack::hash::{KeyedMap, KeyedState};
use iopkt_stack::{Cx, Layers, Why};
use iopkt_wire::icmp6::{param, timxceed, ty};
use iopkt_wire::ipv6::{Chain, FRAGMENT_LEN, Fragment, HEADER_LEN, MAX_LEN, is_extension, next};

/// How long a datagram may take to arrive (RFC 8200 4.5).
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);
/// Most pieces of a datagram: 64 KiB in pieces of the smallest MTU, and some.
const MAX_PIECES: usize = 160;

type Key = (Ipv6Addr, Ipv6Addr, u32);

struct Piece {
    start: usize,
    end: usize,
    m: Mbuf,
    /// Where its fragment header stands, where that is named, and what it names.
    at: usize,
    named_at: usize,
    next: u8,
}

struct Datagram {
    pieces: Vec<Piece>,
    /// Length of the fragmentable part, once the last piece is here.
    len: Option<usize>,
    have: usize,
    until: Instant,
}

/// Datagrams that are not complete.
pub(crate) struct Reassembly {
    map: KeyedMap<Key, Datagram>,
    ages: BTreeSet<(Instant, Key)>,
    pieces: usize,
}

impl Reassembly {
    fn new(secret: &Keyed) -> Reassembly {
        let map = KeyedMap::with_hasher(KeyedState::new(secret, "fragments6"));
        Reassembly { map, ages: BTreeSet::new(), pieces: 0 }
    }

    pub fn deadline(&self) -> Instant {
        self.ages.first().map_or(Instant::FAR, |a| a.0)
    }

    fn take(&mut self, key: &Key) -> Option<Datagram> {
        let d = self.map.remove(key)?;
        self.ages.remove(&(d.until, *key));
        self.pieces -= d.pieces.len();
        Some(d)
    }

    /// Ends a datagram; returns how many pieces it had.
    fn discard(&mut self, cx: &mut Cx, key: &Key, why: Why) -> u64 {
        let pieces = self.take(key).map_or(Vec::new(), |d| d.pieces);
        let n = pieces.len() as u64;
        for p in pieces {
            cx.drop(p.m, why);
        }
        n
    }

    /// Makes sure that one more piece, perhaps of one more datagram, may be kept; `None` when that cannot be, else how many
    /// pieces ended for it.
    fn make_room(&mut self, cx: &mut Cx, key: &Key, max: usize) -> Option<u64> {
        if max == 0 {
            return None;
        }
        let mut ended = 0;
        while (self.map.len() >= max && !self.map.contains_key(key)) || self.pieces >= max.saturating_mul(16)
        {
            let oldest = self.ages.first()?.1;
            ended += self.discard(cx, &oldest, Why::ReassemblyLimit);
        }
        Some(ended)
    }
}

impl Inet6 {
    /// Takes a fragment whose header stands at `at` and is named at `named_at`; returns the datagram when this one completed it.
    /// `m` is exactly the packet.
    pub(crate) fn reassemble(
        &mut self,
        l: &mut Layers<'_>,
        p: &Packet,
        at: usize,
        named_at: usize,
        mut m: Mbuf,
    ) -> Option<Mbuf> {
        self.stats.inc(Stat6::Fragments);
        let f = Fragment::parse(&m.as_slice()[at..])?;
        // A pending or verified checksum says nothing about a piece.
        m.clear_flags(flags::CSUM_OK | flags::CSUM_PARTIAL);
        let n = m.len() - at - FRAGMENT_LEN;
        let (start, end) = (f.offset, f.offset + n);
        if f.offset == 0 && !f.more {
            self.stats.inc(Stat6::AtomicFragments);
            return without_header(m, at, named_at, f.next);
        }
        // RFC 8200 4.5: all but the last carry a multiple of 8 bytes; the whole may not exceed 65,535.
        if f.more && !n.is_multiple_of(8) {
            self.icmp6_error(l, &m, ty::PARAM_PROBLEM, param::HEADER, 4);
            return self.no_piece(l, m);
        }
        if at - HEADER_LEN + end > MAX_LEN - HEADER_LEN {
            self.icmp6_error(l, &m, ty::PARAM_PROBLEM, param::HEADER, at as u32 + 2);
            return self.no_piece(l, m);
        }
        if n == 0 {
            return self.no_piece(l, m);
        }
        if f.offset == 0 && !has_all_headers(&m.as_slice()[at + FRAGMENT_LEN..], f.next) {
            self.icmp6_error(l, &m, ty::PARAM_PROBLEM, param::FIRST_FRAGMENT, 0);
            return self.no_piece(l, m);
        }
        self.keep(l, (p.src, p.dst, f.id), f.more, Piece { start, end, m, at, named_at, next: f.next })
    }

    fn no_piece(&mut self, l: &mut Layers<'_>, m: Mbuf) -> Option<Mbuf> {
        self.stats.inc(Stat6::FragDropped);
        l.cx.drop(m, Why::BadFragment);
        None
    }

    fn keep(&mut self, l: &mut Layers<'_>, key: Key, more: bool, p: Piece) -> Option<Mbuf> {
        let max = match self.t.maxfragpackets {
            n if n < 0 => usize::MAX,
            n => usize::try_from(n).unwrap_or(usize::MAX),
        };
        let max = max.min(l.cx.cfg.max_reassembly);
        let r = self.reass.get_or_insert_with(|| Reassembly::new(&l.cx.secret));
        let Some(ended) = r.make_room(l.cx, &key, max) else {
            self.stats.inc(Stat6::FragDropped);
            l.cx.drop(p.m, Why::ReassemblyLimit);
            return None;
        };
        self.stats.add(Stat6::FragDropped, ended);
        let until = l.cx.now + TIMEOUT;
        if !r.map.contains_key(&key) {
            r.ages.insert((until, key));
            r.map.insert(key, Datagram { pieces: Vec::new(), len: None, have: 0, until });
        }
        let d = r.map.get_mut(&key)?;
        let at = d.pieces.partition_point(|x| x.start < p.start);
        let same = d.pieces.get(at).is_some_and(|x| x.start == p.start && x.end == p.end);
        if same && (more || d.len == Some(p.end)) {
            self.stats.inc(Stat6::FragDropped);
            l.cx.drop(p.m, Why::BadFragment);
            return None;
        }
        let overlaps =
            at > 0 && d.pieces[at - 1].end > p.start || d.pieces.get(at).is_some_and(|x| x.start < p.end);
        let beyond = match d.len {
            Some(len) => p.end > len || (!more && p.end != len),
            None => !more && d.pieces.last().is_some_and(|x| x.end > p.end),
        };
        if overlaps || beyond || d.pieces.len() >= MAX_PIECES {
            let why = if overlaps || beyond { Why::BadFragment } else { Why::ReassemblyLimit };
            let n = r.discard(l.cx, &key, why);
            self.stats.add(if overlaps { Stat6::FragOverlap } else { Stat6::FragDropped }, n + 1);
            l.cx.drop(p.m, why);
            return None;
        }
        if !more {
            d.len = Some(p.end);
        }
        d.have += p.end - p.start;
        d.pieces.insert(at, p);
        r.pieces += 1;
        // No overlaps and nothing beyond the end: as many bytes as the length says means all of them.
        if d.len != Some(d.have) {
            return None;
        }
        let whole = join(l.cx, r.take(&key)?);
        self.stats.add(Stat6::Reassembled, whole.is_some().into());
        whole
    }

    pub(crate) fn reass_tick(&mut self, l: &mut Layers<'_>) {
        loop {
            let Some(r) = self.reass.as_mut() else { return };
            let Some((at, key)) = r.ages.first().copied().filter(|a| a.0 <= l.cx.now) else { return };
            let Some(d) = r.take(&key) else {
                r.ages.remove(&(at, key));
                continue;
            };
            for p in d.pieces {
                self.stats.inc(Stat6::FragTimeout);
                if p.start == 0 {
                    self.icmp6_error(l, &p.m, ty::TIME_EXCEEDED, timxceed::REASSEMBLY, 0);
                }
                l.cx.drop(p.m, Why::ReassemblyTimeout);
            }
        }
    }
}

/// Whether the first piece's content holds every header up to the transport's own (RFC 7112): that one's first 8 bytes, or what
/// there is of it for protocols without ports.
fn has_all_headers(content: &[u8], first: u8) -> bool {
    // The walk wants a fixed header in front; offsets do not matter here.
    let mut b = alloc::vec![0; HEADER_LEN];
    b.extend_from_slice(&content[..content.len().min(2048)]);
    let mut chain = Chain::new(&b, first);
    if chain.by_ref().any(|e| e.is_err()) {
        return false;
    }
    let u = chain.upper();
    let need = match u.proto {
        next::TCP => 20,
        next::UDP | next::ICMP6 => 8,
        next::NONE => 0,
        _ => 1,
    };
    !is_extension(u.proto) && b.len() >= u.at + need
}

/// The packet without its fragment header: the header before it names what followed.
fn without_header(mut m: Mbuf, at: usize, named_at: usize, next: u8) -> Option<Mbuf> {
    let b = m.as_mut_slice();
    b[named_at] = next;
    b.copy_within(at + FRAGMENT_LEN.., at);
    let len = b.len() - FRAGMENT_LEN;
    b[4..6].copy_from_slice(&((len - HEADER_LEN) as u16).to_be_bytes());
    m.truncate(len);
    Some(m)
}

/// Puts the pieces together: the headers before the fragment header are the first one's.
fn join(cx: &mut Cx, d: Datagram) -> Option<Mbuf> {
    let len = d.len.unwrap_or(0);
    let head = d.pieces.first().map_or(HEADER_LEN, |p| p.at);
    let whole = if head + len <= MAX_LEN { cx.mbufs.alloc_len(head + len) } else { None };
    let Some(mut out) = whole else {
        for p in d.pieces {
            cx.drop(p.m, Why::NoMemory);
        }
        return None;
    };
    let mut ce = false;
    for (i, p) in d.pieces.into_iter().enumerate() {
        let b = p.m.as_slice();
        ce |= b[1] >> 4 & 3 == 3;
        if i == 0 {
            out.extend_from_slice(&b[..p.at]);
            out.set_ifindex(p.m.ifindex());
            out.set_flags(p.m.flags() & (flags::BCAST | flags::MCAST | flags::LOOP));
            out.as_mut_slice()[p.named_at] = p.next;
        }
        out.extend_from_slice(&b[p.at + FRAGMENT_LEN..]);
        cx.mbufs.free(p.m);
    }
    let b = out.as_mut_slice();
    b[4..6].copy_from_slice(&((head - HEADER_LEN + len) as u16).to_be_bytes());
    if ce {
        b[1] |= 0x30; // RFC 3168 5.3
    }
    Some(out)
}
