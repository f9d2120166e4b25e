//! Fragmentation of what we send (RFC 8200 section 4.5): only the source does it, and only when the transport did not forbid it.

use crate::ifstats::IfStat;
use crate::reass::has_all_headers;
use crate::{Inet6, Stat6};
use alloc::vec::Vec;
use iopkt_mbuf::Mbuf;
use iopkt_stack::{Cx, Hop, Layers, Why};
use iopkt_wire::ipv6::{FRAGMENT_LEN, Fragment, HEADER_LEN, Header, is_extension, next};

impl Inet6 {
    /// Cuts a packet into pieces that fit the hop. All pieces or none. Hop-by-hop options go with each
    /// piece; routing headers are made by nobody here.
    pub(crate) fn fragment(&mut self, l: &mut Layers<'_>, h: &Hop, hdr: &Header, mut m: Mbuf) {
        Cx::finish_checksum(&mut m);
        // The part that each piece has: its last "next header" names the fragment header.
        let b = m.as_slice();
        let (whole, next) = match (hdr.next, b.get(HEADER_LEN..)) {
            (next::HOP_BY_HOP, Some([next, len, ..])) => (HEADER_LEN + (usize::from(*len) + 1) * 8, *next),
            _ => (HEADER_LEN, hdr.next),
        };
        // [RFC8200 4.5c]
        let room = (h.mtu as usize).saturating_sub(whole + FRAGMENT_LEN) & !7;
        // All headers are in the first piece: who filters by them sees them there (RFC 7112 section 5).
        // [RFC7112 5a] [RFC8200 4.5d]
        let split = is_extension(next)
            && b.get(whole..).is_some_and(|c| c.len() > room && !has_all_headers(&c[..room], next));
        if room == 0 || b.len() < whole || split {
            self.stats.inc(Stat6::CantFragment);
            self.per_if.add(h.ifindex, IfStat::CantFragment, 1);
            return l.cx.drop(m, Why::NeedsFragmenting);
        }
        // Nobody may guess the next one, also who sees others of ours: a keyed function of a counter and the ends (RFC 7739 section 5).
        // [RFC7739 5] [RFC7739 4]
        // [RFC8200 4.5b]
        self.ident = self.ident.wrapping_add(1);
        let (src, dst) = (hdr.src.octets(), hdr.dst.octets());
        let id = l.cx.secret.hash(&[b"fragment", &self.ident.to_be_bytes(), &src, &dst]) as u32;
        let mut pieces: Vec<Mbuf> = Vec::new();
        let end = m.len() - whole;
        for at in (0..end).step_by(room) {
            let n = room.min(end - at);
            let Some(mut p) = l.cx.mbufs.alloc_len(whole + FRAGMENT_LEN + n) else {
                self.stats.inc(Stat6::OutNoBufs);
                return discard(l, pieces, m);
            };
            p.set_priority(m.priority());
            let own = whole - HEADER_LEN;
            let first = if own == 0 { next::FRAGMENT } else { next::HOP_BY_HOP };
            let ph = Header { payload_len: own + FRAGMENT_LEN + n, next: first, ..*hdr };
            let f = Fragment { next, offset: at, more: at + n < end, id };
            let head = p.append(whole).map(|to| {
                ph.emit(to);
                if let Some([first, rest @ ..]) = to.get_mut(HEADER_LEN..) {
                    *first = next::FRAGMENT;
                    rest.copy_from_slice(&m.as_slice()[HEADER_LEN + 1..whole]);
                }
            });
            let from = whole + at;
            let body = &m.as_slice()[from..from + n];
            if head.is_none() || !p.extend_from_slice(&f.emit()) || !p.extend_from_slice(body) {
                l.cx.mbufs.free(p);
                return discard(l, pieces, m);
            }
            pieces.push(p);
        }
        self.stats.inc(Stat6::Fragmented);
        self.stats.add(Stat6::OutFragments, pieces.len() as u64);
        self.per_if.add(h.ifindex, IfStat::Fragmented, 1);
        self.per_if.add(h.ifindex, IfStat::OutFragments, pieces.len() as u64);
        l.cx.mbufs.free(m);
        for p in pieces {
            self.link_output(l, h, p);
        }
    }
}

/// Ends the packet; its pieces are no packets of their own.
fn discard(l: &mut Layers<'_>, pieces: Vec<Mbuf>, m: Mbuf) {
    for p in pieces {
        l.cx.mbufs.free(p);
    }
    l.cx.drop(m, Why::NoMemory);
}
