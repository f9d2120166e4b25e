//! Fragmentation of what we send (RFC 791 section 3.2).

use crate::Inet;
use alloc::vec::Vec;
use iopkt_mbuf::Mbuf;
use iopkt_stack::{Cx, Hop, Layers, Stat, Why};
use iopkt_wire::ipv4::{HEADER_LEN, Header, opt, options};

/// Options of the fragments after the first: those with the copied flag, padded with END.
pub(crate) fn copied_options(first: &[u8]) -> Vec<u8> {
    let mut v = Vec::new();
    for o in options(first).map_while(Result::ok).filter(|o| o.kind & 0x80 != 0) {
        v.extend_from_slice(o.bytes);
    }
    while !v.len().is_multiple_of(4) {
        v.push(opt::END);
    }
    v
}

impl Inet {
    /// Cuts a packet into pieces that fit the hop. All pieces or none: without memory for one, those before it
    /// would be of no use to anybody.
    pub(crate) fn fragment(&mut self, l: &mut Layers<'_>, h: &Hop, hdr: &Header, mut m: Mbuf) {
        Cx::finish_checksum(&mut m);
        let rest_opts = copied_options(&m.as_slice()[HEADER_LEN..hdr.header_len]);
        let mtu = h.mtu as usize;
        let mut pieces: Vec<Mbuf> = Vec::new();
        let (mut at, end) = (0, m.len() - hdr.header_len);
        while at < end {
            let hl = if at == 0 { hdr.header_len } else { HEADER_LEN + rest_opts.len() };
            let room = mtu.saturating_sub(hl) & !7;
            if room == 0 {
                l.cx.counters.inc(Stat::IpCantFragment);
                return discard(l, pieces, m, Why::NeedsFragmenting);
            }
            let n = room.min(end - at);
            let Some(mut p) = l.cx.mbufs.alloc_len(hl + n) else {
                l.cx.counters.inc(Stat::IpOutNoBufs);
                return discard(l, pieces, m, Why::NoMemory);
            };
            p.set_priority(m.priority());
            let fh = Header {
                header_len: hl,
                total_len: hl + n,
                mf: hdr.mf || at + n < end,
                frag: hdr.frag + at,
                ..*hdr
            };
            let b = m.as_slice();
            let opts = if at == 0 { &b[HEADER_LEN..hdr.header_len] } else { &rest_opts[..] };
            let from = hdr.header_len + at;
            let done = match p.append(hl) {
                Some(to) => fh.emit(to, opts).is_some(),
                None => false,
            };
            if !done || !p.extend_from_slice(&b[from..from + n]) {
                return discard(l, pieces, m, Why::NoMemory);
            }
            pieces.push(p);
            at += n;
        }
        l.cx.counters.inc(Stat::IpFragmented);
        l.cx.counters.add(Stat::IpOutFragments, pieces.len() as u64);
        l.cx.mbufs.free(m);
        for p in pieces {
            self.link_output(l, h, p);
        }
    }
}

/// Ends the packet; its pieces are no packets of their own.
fn discard(l: &mut Layers<'_>, pieces: Vec<Mbuf>, m: Mbuf, why: Why) {
    for p in pieces {
        l.cx.mbufs.free(p);
    }
    l.cx.drop(m, why);
}
