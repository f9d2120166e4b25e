//! Super-segments: cutting them, and what the marks of a packet must fulfil.
//!
//! # Theory of operation
//!
//! TCP makes one packet of up to 64 KiB where the path would carry many of one MSS each, so that everything between the send buffer and
//! the device is done once for all of them. Who cuts it is decided as late as possible: a device that can
//! (`IFCAP_TSO4`, `IFCAP_USO4` ...) gets it whole, for all others [`cut`] makes packets on the way into the
//! device's queue ([`crate::Shard::turn`]), and once more for frames that wait there while the user takes the
//! capability away. Taps see the packet whole, as on Linux.
//!
//! A super-segment has its headers once, a checksum that is left partial ([`iopkt_mbuf::flags::CSUM_PARTIAL`], so that `csum_start` says
//! where the transport header is), and in `gso_size` the payload of each piece. The pieces are what Linux makes, byte by byte:
//! IP identifications count up, FIN and PSH are the last one's, CWR is the first one's.
//!
//! What a driver hands up is believed only after [`check`].

use crate::ether;
use iopkt_ctl::{IFCAP_TCP4CSUM, IFCAP_TCP6CSUM, IFCAP_TSO4, IFCAP_TSO6, IFCAP_UDP4CSUM, IFCAP_UDP6CSUM};
use iopkt_ctl::{IFCAP_USO4, IFCAP_USO6};
use iopkt_mbuf::{Mbuf, flags, gso};
use iopkt_wire::checksum::{Sum, checksum, pseudo_v4, pseudo_v6};
use iopkt_wire::ethernet::{TYPE_IPV4, TYPE_IPV6};
use iopkt_wire::tcp::Flags;

/// Most pieces that a received super-segment of datagrams may have: more is a driver's lie (Linux allows 128).
const MAX_PIECES: usize = 1024;

const IP4: usize = iopkt_wire::ipv4::HEADER_LEN;
const IP6: usize = 40;
const TCP: u8 = 6;
const UDP: u8 = 17;
const TCP_SUM: u16 = 16;
const UDP_SUM: u16 = 6;

/// The marks of a packet do not fit its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contradiction;

/// Where the headers of a super-segment are.
#[derive(Clone, Copy, Debug)]
struct Shape {
    /// Start of the IP header.
    l3: usize,
    /// Start of the transport header.
    l4: usize,
    /// Start of the payload.
    body: usize,
    /// End of the payload: what lies behind (padding of the link) is not the packet's.
    end: usize,
    v4: bool,
    tcp: bool,
    /// Payload of a piece.
    size: usize,
}

impl Shape {
    fn of(m: &Mbuf, ether: bool) -> Option<Shape> {
        let (b, meta) = (m.as_slice(), m.meta());
        let l3 = if ether { ether::HEADER_LEN } else { 0 };
        let ip = b.get(l3..)?;
        let v4 = match (ip.first()? >> 4, meta.gso_type & !gso::ECN) {
            (4, gso::TCP4 | gso::UDP) => true,
            (6, gso::TCP6 | gso::UDP) => false,
            _ => return None,
        };
        let (head, proto, total) = if v4 {
            let h = ip.first_chunk::<IP4>()?;
            if u16::from_be_bytes([h[6], h[7]]) & 0x3fff != 0 {
                return None; // pieces of a datagram are no super-segments
            }
            (usize::from(h[0] & 15) * 4, h[9], usize::from(u16::from_be_bytes([h[2], h[3]])))
        } else {
            let h = ip.first_chunk::<IP6>()?;
            (IP6, h[6], IP6 + usize::from(u16::from_be_bytes([h[4], h[5]])))
        };
        let tcp = meta.gso_type & !gso::ECN != gso::UDP;
        if head < IP4 || proto != if tcp { TCP } else { UDP } || (!tcp && meta.gso_type != gso::UDP) {
            return None;
        }
        let (l4, end) = (l3 + head, l3 + total);
        let h = b.get(l4..end)?;
        let len = if tcp { usize::from(h.get(12)? >> 4) * 4 } else { 8 };
        let body = l4 + len;
        let (least, size) = (if tcp { 20 } else { 8 }, usize::from(meta.gso_size));
        (len >= least && body < end && size > 0).then_some(Shape { l3, l4, body, end, v4, tcp, size })
    }

    fn pieces(&self) -> usize {
        (self.end - self.body).div_ceil(self.size)
    }
}

/// Judges the marks of a packet that a driver hands up; `ether` says whether it begins with an Ethernet header. A
/// mark without need (a super-segment of one piece) is taken away.
///
/// # Errors
/// They contradict the bytes: the packet is to be dropped.
pub fn check(m: &mut Mbuf, ether: bool) -> Result<(), Contradiction> {
    if m.flags() & flags::CSUM_PARTIAL != 0 {
        let (start, offset) = (usize::from(m.meta().csum_start), usize::from(m.meta().csum_offset));
        let least = if ether { ether::HEADER_LEN + IP4 } else { IP4 };
        if start < least || start + offset + 2 > m.len() {
            return Err(Contradiction);
        }
    }
    if m.meta().gso_type == gso::NONE {
        return Ok(());
    }
    if ether && !matches!(ethertype(m), TYPE_IPV4 | TYPE_IPV6) {
        return Ok(()); // nothing that we could look into, nor take
    }
    let s = Shape::of(m, ether).ok_or(Contradiction)?;
    let partial = m.flags() & flags::CSUM_PARTIAL != 0;
    if partial && usize::from(m.meta().csum_start) != s.l4
        || m.flags() & (flags::CSUM_PARTIAL | flags::CSUM_OK) == 0
    {
        return Err(Contradiction);
    }
    let n = s.pieces();
    if !s.tcp && n > MAX_PIECES {
        return Err(Contradiction);
    }
    if n == 1 {
        m.set_gso(gso::NONE, 0);
    }
    Ok(())
}

fn ethertype(m: &Mbuf) -> u16 {
    get16(m.as_slice(), ether::HEADER_LEN - 2)
}

/// The receive capability that a verified checksum of this packet needs.
pub fn verified_cap(m: &Mbuf, ether: bool) -> u32 {
    let at = if ether { ether::HEADER_LEN } else { 0 };
    let ip = m.as_slice().get(at..).unwrap_or(&[]);
    match (ip.first().map(|b| b >> 4), ip.get(6), ip.get(9)) {
        (Some(4), _, Some(&TCP)) => IFCAP_TCP4CSUM,
        (Some(4), _, Some(&UDP)) => IFCAP_UDP4CSUM,
        (Some(6), Some(&TCP), _) => IFCAP_TCP6CSUM,
        (Some(6), Some(&UDP), _) => IFCAP_UDP6CSUM,
        _ => 0,
    }
}

/// The capability that cuts this packet; 0 when it is none to be cut, `u32::MAX` for a kind that no device knows.
pub fn cap(m: &Mbuf, ether: bool) -> u32 {
    let at = if ether { ether::HEADER_LEN } else { 0 };
    match (m.meta().gso_type & !gso::ECN, m.as_slice().get(at).map(|b| b >> 4)) {
        (gso::NONE, _) => 0,
        (gso::TCP4, _) => IFCAP_TSO4,
        (gso::TCP6, _) => IFCAP_TSO6,
        (gso::UDP, Some(4)) => IFCAP_USO4,
        (gso::UDP, Some(6)) => IFCAP_USO6,
        _ => u32::MAX,
    }
}

/// The capability that completes the pending checksum of a frame; 0 when no device does that. The place of
/// the field tells the transport: 6 bytes in for UDP, 16 for TCP.
pub fn checksum_cap(m: &Mbuf, ether: bool) -> u32 {
    let at = if ether { ether::HEADER_LEN } else { 0 };
    match (m.as_slice().get(at).map(|b| b >> 4), m.meta().csum_offset) {
        (Some(4), TCP_SUM) => IFCAP_TCP4CSUM,
        (Some(4), UDP_SUM) => IFCAP_UDP4CSUM,
        (Some(6), TCP_SUM) => IFCAP_TCP6CSUM,
        (Some(6), UDP_SUM) => IFCAP_UDP6CSUM,
        _ => 0,
    }
}

/// Whether a device with these capabilities takes the packet as it is.
#[inline]
pub fn takes(caps: u32, m: &Mbuf, ether: bool) -> bool {
    (m.meta().gso_type == gso::NONE || cap(m, ether) & caps != 0 && cap(m, ether) != u32::MAX)
        && (m.flags() & flags::CSUM_PARTIAL == 0 || caps & checksum_cap(m, ether) != 0)
}

/// Bytes of network packet in the largest piece of a packet that begins at its network header, of `head` bytes.
pub fn unit(m: &Mbuf, head: usize) -> usize {
    let b = m.as_slice();
    let l4 = match m.meta().gso_type & !gso::ECN {
        gso::NONE => return b.len(),
        gso::UDP => 8,
        _ => b.get(head + 12).map_or(60, |x| usize::from(x >> 4) * 4),
    };
    b.len().min(head + l4 + usize::from(m.meta().gso_size))
}

/// About as many pieces as a packet will make, never fewer: for identifications that must not repeat.
pub fn at_most(m: &Mbuf) -> usize {
    match m.meta().gso_type {
        gso::NONE => 1,
        _ => m.len().div_ceil(usize::from(m.meta().gso_size).max(1)).max(1),
    }
}

/// The pieces that [`cut`] makes of a packet.
pub fn whole(m: &Mbuf, ether: bool) -> usize {
    Shape::of(m, ether).map_or(0, |s| s.pieces())
}

/// Cuts a super-segment into packets for a device with these capabilities. `alloc` gives buffers with room for as many bytes;
/// `out` takes the pieces in order. Returns how many there were; fewer than [`whole`] when memory ran out.
///
/// # Errors
/// The packet is not what its marks say; there are no pieces.
pub fn cut(
    m: &Mbuf,
    ether: bool,
    caps: u32,
    mut alloc: impl FnMut(usize) -> Option<Mbuf>,
    mut out: impl FnMut(Mbuf),
) -> Result<usize, Contradiction> {
    let s = Shape::of(m, ether).ok_or(Contradiction)?;
    let b = m.as_slice();
    let (head, body) = (&b[..s.body], &b[s.body..s.end]);
    let partial = caps & checksum_cap_of(s.v4, s.tcp) != 0;
    let base = Base::read(head, &s);
    let n = s.pieces();
    for (i, part) in body.chunks(s.size).enumerate() {
        let Some(mut p) = alloc(head.len() + part.len()) else { return Ok(i) };
        let Some(to) = p.append(head.len() + part.len()) else { return Ok(i) };
        let (h, rest) = to.split_at_mut(head.len());
        h.copy_from_slice(head);
        base.header(h, &s, i, part.len(), i + 1 == n);
        let sum = base.pseudo(h, &s, part.len());
        if partial {
            rest.copy_from_slice(part);
            put16(h, s.sum_at(), sum.partial());
        } else {
            let mut sum = sum;
            sum.add(&h[s.l4..]);
            sum.copy(rest, part);
            let v = sum.finish();
            // RFC 768: zero means "not summed".
            put16(h, s.sum_at(), if v == 0 && !s.tcp { 0xffff } else { v });
        }
        p.set_ifindex(m.ifindex());
        p.set_priority(m.priority());
        p.set_flags(m.flags() & !(flags::CSUM_PARTIAL | flags::CSUM_OK));
        if partial {
            p.set_csum_partial(s.l4 as u16, if s.tcp { TCP_SUM } else { UDP_SUM });
        }
        out(p);
    }
    Ok(n)
}

fn checksum_cap_of(v4: bool, tcp: bool) -> u32 {
    match (v4, tcp) {
        (true, true) => IFCAP_TCP4CSUM,
        (true, false) => IFCAP_UDP4CSUM,
        (false, true) => IFCAP_TCP6CSUM,
        (false, false) => IFCAP_UDP6CSUM,
    }
}

impl Shape {
    fn sum_at(&self) -> usize {
        self.l4 + usize::from(if self.tcp { TCP_SUM } else { UDP_SUM })
    }
}

/// What counts up from piece to piece.
struct Base {
    ident: u16,
    seq: u32,
    flags: u8,
}

impl Base {
    fn read(h: &[u8], s: &Shape) -> Base {
        let ident = if s.v4 { get16(h, s.l3 + 4) } else { 0 };
        match (s.tcp, h.get(s.l4..).and_then(|t| t.first_chunk::<14>())) {
            (true, Some(t)) => {
                Base { ident, seq: u32::from_be_bytes([t[4], t[5], t[6], t[7]]), flags: t[13] }
            }
            _ => Base { ident, seq: 0, flags: 0 },
        }
    }

    /// Makes the copied headers those of piece `i` with `len` bytes of payload, the checksum field zero.
    fn header(&self, h: &mut [u8], s: &Shape, i: usize, len: usize, last: bool) {
        let total = s.body - s.l3 + len;
        if s.v4 {
            put16(h, s.l3 + 2, total as u16);
            put16(h, s.l3 + 4, self.ident.wrapping_add(i as u16));
            put16(h, s.l3 + 10, 0);
            let sum = checksum(&h[s.l3..s.l4]);
            put16(h, s.l3 + 10, sum);
        } else {
            put16(h, s.l3 + 4, (total - IP6) as u16);
        }
        if s.tcp {
            let seq = self.seq.wrapping_add((i * s.size) as u32);
            h[s.l4 + 4..s.l4 + 8].copy_from_slice(&seq.to_be_bytes());
            let mut f = Flags(self.flags);
            if !last {
                f = f.without(Flags::FIN | Flags::PSH);
            }
            if i > 0 {
                f = f.without(Flags::CWR);
            }
            h[s.l4 + 13] = f.0;
        } else {
            put16(h, s.l4 + 4, (8 + len) as u16);
        }
        put16(h, s.sum_at(), 0);
    }

    fn pseudo(&self, h: &[u8], s: &Shape, len: usize) -> Sum {
        let (proto, len) = (if s.tcp { TCP } else { UDP }, (s.body - s.l4 + len) as u32);
        let ip = &h[s.l3..];
        if s.v4 {
            let a = |at: usize| [ip[at], ip[at + 1], ip[at + 2], ip[at + 3]];
            pseudo_v4(a(12), a(16), proto, len)
        } else {
            let a = |at: usize| core::array::from_fn(|i| ip[at + i]);
            pseudo_v6(a(8), a(24), proto, len)
        }
    }
}

fn get16(b: &[u8], at: usize) -> u16 {
    b.get(at..at + 2).map_or(0, |x| u16::from_be_bytes([x[0], x[1]]))
}

fn put16(b: &mut [u8], at: usize, v: u16) {
    if let Some(x) = b.get_mut(at..at + 2) {
        x.copy_from_slice(&v.to_be_bytes());
    }
}
