//! Reassembly (RFC 791 section 3.2, RFC 815, RFC 1122 3.3.2).
//!
//! The table is [`iopkt_stack::reassembly`] (a fragment that overlaps another ends the whole datagram: RFC 5722's rule, which Linux
//! applies to IPv4 too); `net.inet.ip.maxfragpackets` limits it. A datagram that is not complete after 30 s (BSD's `IPFRAGTTL`)
//! ends with "time exceeded" if its first fragment is here.

use crate::Inet;
use core::net::Ipv4Addr;
use iopkt_base::Duration;
use iopkt_mbuf::{Mbuf, flags};
use iopkt_stack::reassembly::{Datagram, Piece, Put, Reassembly};
use iopkt_stack::{Cx, Layers, Stat, Why};
use iopkt_wire::icmp4::{timxceed, ty};
use iopkt_wire::ipv4::{HEADER_LEN, Header, MAX_LEN};

/// How long a datagram may take to arrive.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);
/// Source, destination, identification, protocol.
type Key = (Ipv4Addr, Ipv4Addr, u16, u8);
/// Of each piece: the length of its header.
pub(crate) type Fragments = Reassembly<Key, usize>;

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
        let (until, limit) = (l.cx.now + TIMEOUT, self.t.maxfragpackets);
        let r = self.reassembly(&l.cx.secret);
        let p = Piece { start, end, m, head: h.header_len };
        let (ended, put) = r.put(l.cx, (h.src, h.dst, h.id, h.proto), limit, until, h.mf, p);
        l.cx.counters.add(Stat::IpFragDropped, ended);
        match put {
            Put::Waits => {}
            Put::Whole(d) => return join(l.cx, d),
            Put::NoRoom | Put::Duplicate => l.cx.counters.inc(Stat::IpFragDropped),
            Put::Bad { others, .. } => {
                l.cx.counters.add(Stat::IpFragDropped, others);
                l.cx.counters.inc(Stat::IpFragMalformed);
            }
        }
        None
    }

    pub(crate) fn reass_tick(&mut self, l: &mut Layers<'_>) {
        while let Some(d) = self.reass.as_mut().and_then(|r| r.expired(l.cx.now)) {
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

/// Puts the pieces together: the header is the first one's.
fn join(cx: &mut Cx, d: Datagram<usize>) -> Option<(Header, Mbuf)> {
    let len = d.len.unwrap_or(0);
    let hl = d.pieces.first().map_or(HEADER_LEN, |p| p.head);
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
        out.extend_from_slice(if i == 0 { b } else { &b[p.head..] });
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
