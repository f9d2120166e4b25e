//! Joining received TCP segments of one connection that come one behind the other.
//!
//! # Theory of operation
//!
//! A device that delivers single frames hands up a batch of them, and in bulk most of a batch are the segments of one
//! connection in order. [`run`] finds such a train by its headers, [`join`] makes one packet of it: the headers of the first, the
//! payload of all. What then climbs through IP and TCP climbs once. The checksum of each is verified in the pass that copies it, so
//! that it costs no second look at the bytes, and the buffers of the batch are free again at once.
//!
//! Off unless [`crate::Shard::gro`] says otherwise: by default the segments of a row go up together in their own buffers (`rows.rs`).
//!
//! Nothing is held back for a later batch and nothing overtakes anything: a train is frames that are neighbours in the batch already.
//! What is joined is what [`crate::gso::cut`] would make of the result, byte by byte (identifications apart, where they have no meaning:
//! RFC 6864): same addresses, TTL, DSCP and ECN marks, ports, ACK, window, options (so the same timestamps), sequence numbers without
//! a gap, equal lengths but for the last, PSH on the last only. A segment with any other flag stands alone.
//! TCP acknowledges a joined packet at once, as it would have every second segment (RFC 9293 section 3.8.6.3).

use crate::ether::HEADER_LEN as L2;
use iopkt_ctl::{IFCAP_TCP4CSUM, IFCAP_TCP6CSUM};
use iopkt_mbuf::{Mbuf, flags, gso};
use iopkt_wire::checksum::{Sum, checksum, pseudo_v4, pseudo_v6};

/// Shorter trains are not worth a copy.
pub const LEAST: usize = 3;
/// Largest network packet.
const MOST: usize = 65_535;

const ACK: u8 = 0x10;
const PSH: u8 = 0x08;
const ECE: u8 = 0x40;

/// A frame that may be part of a train.
#[derive(Clone, Copy)]
struct Part<'a> {
    bytes: &'a [u8],
    /// Start of the TCP header, of the payload, its end.
    l4: usize,
    body: usize,
    end: usize,
    v4: bool,
    /// Its checksum was never computed, and need not be.
    partial: bool,
}

impl<'a> Part<'a> {
    #[inline]
    fn of(m: &'a Mbuf) -> Option<Part<'a>> {
        let b = m.as_slice();
        let (v4, l4, total) = match b.get(12..L2 + 20)? {
            // No options, no fragment, TCP.
            [8, 0, 0x45, _, t0, t1, _, _, f0, 0, _, 6, ..] if f0 & 0xbf == 0 => {
                (true, L2 + 20, usize::from(u16::from_be_bytes([*t0, *t1])))
            }
            [0x86, 0xdd, 0x60..=0x6f, _, _, _, t0, t1, 6, ..] => {
                (false, L2 + 40, 40 + usize::from(u16::from_be_bytes([*t0, *t1])))
            }
            _ => return None,
        };
        let end = L2 + total;
        let h = b.get(l4..end)?.first_chunk::<20>()?;
        let body = l4 + usize::from(h[12] >> 4) * 4;
        let plain = h[13] & !(PSH | ECE) == ACK && h[12] & 0x0f == 0;
        let partial = m.flags() & flags::CSUM_PARTIAL != 0;
        let honest = !partial || (usize::from(m.meta().csum_start), m.meta().csum_offset) == (l4, 16);
        (plain && honest && body >= l4 + 20 && body < end && m.meta().gso_type == gso::NONE).then_some(Part {
            bytes: b,
            l4,
            body,
            end,
            v4,
            partial,
        })
    }

    fn len(&self) -> usize {
        self.end - self.body
    }

    fn flags(&self) -> u8 {
        self.bytes[self.l4 + 13]
    }

    fn u16(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.bytes[at], self.bytes[at + 1]])
    }

    fn seq(&self) -> u32 {
        let s = &self.bytes[self.l4 + 4..self.l4 + 8];
        u32::from_be_bytes([s[0], s[1], s[2], s[3]])
    }

    /// Whether `n` follows it as the next piece of one super-segment.
    #[inline]
    fn leads_to(&self, n: &Part<'_>) -> bool {
        let (a, b) = (self.bytes, n.bytes);
        let same = |from: usize, to: usize| a[from..to] == b[from..to];
        let ip = if self.v4 {
            let df = a[L2 + 6] & 0x40 != 0;
            // Version, DSCP; flags, TTL, protocol; addresses.
            same(L2, L2 + 2)
                && same(L2 + 6, L2 + 10)
                && same(L2 + 12, L2 + 20)
                && (df || n.u16(L2 + 4) == self.u16(L2 + 4).wrapping_add(1))
        } else {
            same(L2, L2 + 4) && same(L2 + 6, L2 + 40)
        };
        let t = self.l4;
        self.v4 == n.v4
            && ip
            && self.body == n.body
            && same(0, L2)
            && same(t, t + 4)
            && n.seq() == self.seq().wrapping_add(self.len() as u32)
            // ACK, length of the header.
            && same(t + 8, t + 13)
            && self.flags() & !PSH == n.flags() & !PSH
            && same(t + 14, t + 16)
            && same(t + 18, self.body)
    }
}

/// How many frames at the front of `batch` are a train; 1 when the first stands alone (or is no such frame).
pub fn run(batch: &[Mbuf]) -> usize {
    let Some(first) = batch.first().and_then(Part::of) else { return 1 };
    let (mut last, mut n, mut total) = (first, 1, first.end - L2);
    // A PSH or a short one ends it.
    while last.flags() & PSH == 0 && last.len() == first.len() {
        let Some(next) = batch.get(n).and_then(Part::of) else { break };
        if next.len() > first.len() || total + next.len() > MOST || !last.leads_to(&next) {
            break;
        }
        total += next.len();
        last = next;
        n += 1;
    }
    n
}

/// Makes one packet of a train that [`run`] has found, received with these capabilities; `alloc` gives a buffer with room for so many
/// bytes. `None`: no memory, or a checksum is wrong (whose, the stack finds out when it looks at each).
pub fn join(train: &[Mbuf], caps: u32, alloc: impl FnOnce(usize) -> Option<Mbuf>) -> Option<Mbuf> {
    let first = train.first().and_then(Part::of)?;
    let last = train.last().and_then(Part::of)?;
    let total = first.body + first.len() * (train.len() - 1) + last.len();
    let mut m = alloc(total)?;
    let out = m.append(total)?;
    let (head, mut rest) = out.split_at_mut(first.body);
    for f in train {
        let p = Part::of(f)?;
        let (to, behind) = rest.split_at_mut(p.len());
        rest = behind;
        if p.v4 && !Sum::of(&p.bytes[L2..p.l4]).is_valid() {
            return None;
        }
        let cap = if p.v4 { IFCAP_TCP4CSUM } else { IFCAP_TCP6CSUM };
        if p.partial || f.flags() & flags::CSUM_OK != 0 && caps & cap != 0 {
            to.copy_from_slice(&p.bytes[p.body..p.end]);
            continue;
        }
        let mut sum = pseudo(&p, p.end - p.l4);
        sum.add(&p.bytes[p.l4..p.body]);
        sum.copy(to, &p.bytes[p.body..p.end]);
        if !sum.is_valid() {
            return None;
        }
    }
    head.copy_from_slice(&first.bytes[..first.body]);
    let (l3, l4) = (total - L2, first.l4);
    if first.v4 {
        head[L2 + 2..L2 + 4].copy_from_slice(&(l3 as u16).to_be_bytes());
        head[L2 + 10..L2 + 12].fill(0);
        let sum = checksum(&head[L2..l4]);
        head[L2 + 10..L2 + 12].copy_from_slice(&sum.to_be_bytes());
    } else {
        head[L2 + 4..L2 + 6].copy_from_slice(&((l3 - 40) as u16).to_be_bytes());
    }
    head[l4 + 13] |= last.flags() & PSH;
    // What a device would be given to cut.
    let partial = pseudo(&first, total - l4).partial();
    head[l4 + 16..l4 + 18].copy_from_slice(&partial.to_be_bytes());
    m.set_csum_partial(l4 as u16, 16);
    m.set_gso(if first.v4 { gso::TCP4 } else { gso::TCP6 }, first.len() as u16);
    m.set_ifindex(train.first()?.ifindex());
    Some(m)
}

fn pseudo(p: &Part<'_>, len: usize) -> Sum {
    let ip = &p.bytes[L2..];
    if p.v4 {
        let a = |at: usize| [ip[at], ip[at + 1], ip[at + 2], ip[at + 3]];
        pseudo_v4(a(12), a(16), 6, len as u32)
    } else {
        let a = |at: usize| core::array::from_fn(|i| ip[at + i]);
        pseudo_v6(a(8), a(24), 6, len as u32)
    }
}
