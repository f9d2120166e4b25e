//! Reassembly (RFC 8200 section 4.5, RFC 5722, RFC 6946, RFC 7112).
//!
//! The table is [`iopkt_stack::reassembly`], limited by `net.inet6.ip6.maxfragpackets`. An atomic fragment is a packet of its own, whatever else is here under its identification
//! (RFC 6946). The first piece must hold the whole chain of headers (RFC 7112). A datagram that is not complete after 60 s ends
//! with "time exceeded" if its first piece is here.

use crate::ifstats::IfStat;
use crate::input::Packet;
use crate::{Inet6, Stat6};
use core::net::Ipv6Addr;
use iopkt_base::Duration;
use iopkt_mbuf::{Mbuf, flags};
use iopkt_stack::reassembly::{Datagram, Piece, Put, Reassembly};
use iopkt_stack::{Cx, Layers, Why};
use iopkt_wire::icmp6::{param, timxceed, ty};
use iopkt_wire::ipv6::{Chain, FRAGMENT_LEN, Fragment, HEADER_LEN, MAX_LEN, is_extension, next};

/// How long a datagram may take to arrive (RFC 8200 4.5).
// [RFC8200 4.5f]
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);
/// Source, destination, identification.
// [RFC8200 4.5e]
type Key = (Ipv6Addr, Ipv6Addr, u32);
pub(crate) type Fragments = Reassembly<Key, Head>;

/// Of each piece: where its fragment header stands, where that is named, and what it names.
pub(crate) struct Head {
    at: usize,
    named_at: usize,
    next: u8,
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
        self.per_if.add(m.ifindex(), IfStat::Fragments, 1);
        let f = Fragment::parse(&m.as_slice()[at..])?;
        // RFC 8200 section 4: hop-by-hop options stand right behind the fixed header or nowhere.
        if f.offset == 0 && f.next == next::HOP_BY_HOP {
            self.icmp6_error(l, &m, ty::PARAM_PROBLEM, param::NEXT_HEADER, at as u32);
            return self.no_piece(l, m);
        }
        // A pending or verified checksum says nothing about a piece.
        m.clear_flags(flags::CSUM_OK | flags::CSUM_PARTIAL);
        let n = m.len() - at - FRAGMENT_LEN;
        let (start, end) = (f.offset, f.offset + n);
        // [RFC8200 4.5l] [RFC6946 4]
        if f.offset == 0 && !f.more {
            self.stats.inc(Stat6::AtomicFragments);
            return without_header(m, at, named_at, f.next);
        }
        // RFC 8200 4.5: all but the last carry a multiple of 8 bytes; the whole may not exceed 65,535.
        // [RFC8200 4.5g]
        if f.more && !n.is_multiple_of(8) {
            self.icmp6_error(l, &m, ty::PARAM_PROBLEM, param::HEADER, 4);
            return self.no_piece(l, m);
        }
        // [RFC8200 4.5h]
        if at - HEADER_LEN + end > MAX_LEN - HEADER_LEN {
            self.icmp6_error(l, &m, ty::PARAM_PROBLEM, param::HEADER, at as u32 + 2);
            return self.no_piece(l, m);
        }
        if n == 0 {
            return self.no_piece(l, m);
        }
        if f.offset == 0 && !has_all_headers(&m.as_slice()[at + FRAGMENT_LEN..], f.next) {
            // [RFC8200 4.5i] [RFC7112 5b]
            self.icmp6_error(l, &m, ty::PARAM_PROBLEM, param::FIRST_FRAGMENT, 0);
            return self.no_piece(l, m);
        }
        self.keep(
            l,
            (p.src, p.dst, f.id),
            f.more,
            Piece { start, end, m, head: Head { at, named_at, next: f.next } },
        )
    }

    fn no_piece(&mut self, l: &mut Layers<'_>, m: Mbuf) -> Option<Mbuf> {
        self.stats.inc(Stat6::FragDropped);
        l.cx.drop(m, Why::BadFragment);
        None
    }

    fn keep(&mut self, l: &mut Layers<'_>, key: Key, more: bool, p: Piece<Head>) -> Option<Mbuf> {
        let r = self.reass.get_or_insert_with(|| Fragments::new(&l.cx.secret, "fragments6").strict());
        let until = l.cx.now + TIMEOUT;
        let (ended, put) = r.put(l.cx, key, self.t.maxfragpackets, until, more, p);
        self.stats.add(Stat6::FragDropped, ended);
        match put {
            Put::Waits => {}
            Put::Whole(d) => {
                let whole = join(l.cx, d);
                if let Some(m) = &whole {
                    self.stats.inc(Stat6::Reassembled);
                    self.per_if.add(m.ifindex(), IfStat::Reassembled, 1);
                }
                return whole;
            }
            // [RFC8200 4.5k]
            Put::NoRoom | Put::Duplicate => self.stats.inc(Stat6::FragDropped),
            // [RFC8200 4.5j] [RFC5722 4]
            Put::Bad { others, overlaps: true } => self.stats.add(Stat6::FragOverlap, others + 1),
            Put::Bad { others, overlaps: false } => self.stats.add(Stat6::FragDropped, others + 1),
        }
        None
    }

    pub(crate) fn reass_tick(&mut self, l: &mut Layers<'_>) {
        while let Some(d) = self.reass.as_mut().and_then(|r| r.expired(l.cx.now)) {
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
pub(crate) fn has_all_headers(content: &[u8], first: u8) -> bool {
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
fn join(cx: &mut Cx, d: Datagram<Head>) -> Option<Mbuf> {
    let len = d.len.unwrap_or(0);
    let head = d.pieces.first().map_or(HEADER_LEN, |p| p.head.at);
    // [RFC8200 5b]
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
            out.extend_from_slice(&b[..p.head.at]);
            out.set_ifindex(p.m.ifindex());
            out.set_flags(p.m.flags() & (flags::BCAST | flags::MCAST | flags::LOOP));
            out.as_mut_slice()[p.head.named_at] = p.head.next;
        }
        out.extend_from_slice(&b[p.head.at + FRAGMENT_LEN..]);
        cx.mbufs.free(p.m);
    }
    let b = out.as_mut_slice();
    b[4..6].copy_from_slice(&((head - HEADER_LEN + len) as u16).to_be_bytes());
    if ce {
        b[1] |= 0x30; // RFC 3168 5.3
    }
    Some(out)
}
