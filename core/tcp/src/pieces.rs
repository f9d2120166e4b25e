//! A super-segment cut into segments on its way into packets (what Linux calls GSO), for paths whose device does not cut.
//!
//! The header is made once. A piece is a copy of it in which sequence number, control bits and checksum are put right, and
//! its part of the payload, copied and summed in one pass: there is no buffer in which the super-segment is whole.
//! FIN and PSH are the last piece's, CWR is the first one's (RFC 3168 section 6.1.2).

use crate::segment::SegOut;
use iopkt_mbuf::Mbuf;
use iopkt_wire::checksum::Sum;
use iopkt_wire::tcp::{self, Flags, Header};

/// The pieces of a super-segment, in order.
pub struct Pieces<'a> {
    head: [u8; tcp::HEADER_LEN + tcp::MAX_OPTIONS],
    hlen: usize,
    /// Of pseudo-header (length apart) and header (sequence number and control bits apart).
    sum: Sum,
    seq: u32,
    flags: Flags,
    payload: (&'a [u8], &'a [u8]),
    /// Payload that is written already, of all, and in each piece.
    at: usize,
    total: usize,
    size: usize,
}

impl<'a> SegOut<'a> {
    /// Begins to cut. `pseudo` is the pseudo-header's sum for a length of zero. A segment that is not to be cut is one piece.
    pub fn pieces(&self, src_port: u16, dst_port: u16, pseudo: Sum) -> Pieces<'a> {
        let header = Header {
            src_port,
            dst_port,
            seq: 0,
            ack: self.ack.0,
            flags: Flags::NONE,
            window: self.window,
            urgent: self.urgent,
            options: self.options,
        };
        let mut head = [0; tcp::HEADER_LEN + tcp::MAX_OPTIONS];
        // Options never take more than MAX_OPTIONS.
        let hlen = header.emit(&mut head).unwrap_or(tcp::HEADER_LEN);
        let mut sum = pseudo;
        sum.add(&head[..hlen]);
        let total = self.payload_len();
        let size = if self.gso_size == 0 { total } else { usize::from(self.gso_size) };
        Pieces {
            head,
            hlen,
            sum,
            seq: self.seq.0,
            flags: self.flags,
            payload: self.payload,
            at: 0,
            total,
            size,
        }
    }
}

impl Pieces<'_> {
    /// Payload of the next piece in bytes, 0 when there is no more. (A segment without payload is no super-segment.)
    fn next_payload(&self) -> usize {
        (self.total - self.at).min(self.size)
    }

    /// Bytes that the next piece takes, headers included; `None` when there is no more.
    #[inline]
    pub fn next_len(&self) -> Option<usize> {
        Some(self.next_payload()).filter(|n| *n > 0).map(|n| n + self.hlen)
    }

    /// Appends the next piece to `m` (empty, with headroom for lower headers); false, and no change, without room or when
    /// there is no more.
    pub fn write(&mut self, m: &mut Mbuf) -> bool {
        let n = self.next_payload();
        if n == 0 {
            return false;
        }
        let (hlen, first, last) = (self.hlen, self.at == 0, self.at + n == self.total);
        let Some(to) = m.append(hlen + n) else { return false };
        let mut flags = self.flags;
        if !last {
            flags = flags.without(Flags::FIN | Flags::PSH);
        }
        if !first {
            flags = flags.without(Flags::CWR);
        }
        let (head, body) = to.split_at_mut(hlen);
        // A header is whole words: no call for so few bytes.
        for (d, s) in head.as_chunks_mut::<4>().0.iter_mut().zip(self.head.as_chunks::<4>().0) {
            *d = *s;
        }
        head[4..8].copy_from_slice(&self.seq.to_be_bytes());
        head[13] = flags.0;
        let mut sum = self.sum;
        sum.add_u32(self.seq);
        sum.add_u32((hlen + n) as u32);
        sum.add_u16(u16::from(flags.0));
        let (a, b) = self.payload;
        let from_a = n.min(a.len().saturating_sub(self.at));
        let (x, y) = body.split_at_mut(from_a);
        if from_a > 0 {
            sum.copy(x, &a[self.at..self.at + from_a]);
        }
        if from_a < n {
            let at = self.at + from_a - a.len();
            sum.copy(y, &b[at..at + n - from_a]);
        }
        tcp::set_checksum(head, sum.finish());
        self.seq = self.seq.wrapping_add(n as u32);
        self.at += n;
        true
    }
}

#[cfg(test)]
mod tests {
    use crate::segment::{Csum, SegOut};
    use crate::seq::Seq;
    use iopkt_mbuf::{Pool, PoolConfig};
    use iopkt_wire::checksum::pseudo_v4;
    use iopkt_wire::tcp::{Flags, Options, Timestamps};
    use proptest::prelude::*;

    proptest! {
        /// Each piece is, to the byte, the segment that would have been made for it alone.
        #[test]
        fn pieces_are_segments(data in proptest::collection::vec(any::<u8>(), 1..9000), split in 0usize..9000, size in 1u16..1461, seq: u32, bits: u8, ts in any::<Option<(u32, u32)>>()) {
            let pool = Pool::new(PoolConfig::default());
            let mut c = pool.cache(0);
            let (a, b) = data.split_at(split.min(data.len()));
            let options = Options { timestamps: ts.map(|(val, ecr)| Timestamps { val, ecr }), ..Options::NONE };
            let whole = SegOut { seq: Seq(seq), ack: Seq(7), flags: Flags(bits), window: 99, urgent: 3, options, payload: (a, b), gso_size: size, ect: false };
            let (src, dst) = ([10, 0, 0, 1], [10, 0, 0, 2]);
            let mut p = whole.pieces(80, 4000, pseudo_v4(src, dst, 6, 0));
            let mut at = 0;
            for part in data.chunks(usize::from(size)) {
                let (mut flags, end) = (Flags(bits), at + part.len());
                if end < data.len() { flags = flags.without(Flags::FIN | Flags::PSH); }
                if at > 0 { flags = flags.without(Flags::CWR); }
                let one = SegOut { seq: Seq(seq) + at as u32, flags, payload: (part, &[]), gso_size: 0, ..whole };
                let (mut want, mut got) = (c.alloc().unwrap(), c.alloc().unwrap());
                prop_assert!(one.write(80, 4000, &mut want, pseudo_v4(src, dst, 6, one.len() as u32), Csum::Full));
                prop_assert_eq!(p.next_len(), Some(one.len()));
                prop_assert!(p.write(&mut got));
                prop_assert_eq!(got.as_slice(), want.as_slice());
                at = end;
            }
            prop_assert_eq!(p.next_len(), None);
            prop_assert!(!p.write(&mut c.alloc().unwrap()));
        }
    }
}
