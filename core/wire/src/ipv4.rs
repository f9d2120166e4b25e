//! IPv4's header and options (RFC 791, RFC 1122 section 3.2.1, RFC 6864).

use crate::checksum::{Sum, checksum};
use core::net::Ipv4Addr;

/// Length of the header without options.
pub const HEADER_LEN: usize = 20;
/// Longest header.
pub const MAX_HEADER_LEN: usize = 60;
/// Smallest MTU that every link must carry (RFC 791).
pub const MIN_MTU: usize = 68;
/// Longest packet.
pub const MAX_LEN: usize = 65535;

/// Protocol numbers.
#[allow(missing_docs)]
pub mod proto {
    pub const ICMP: u8 = 1;
    pub const IGMP: u8 = 2;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const RAW: u8 = 255;
}

/// Option kinds, copied flag and class included (RFC 791, RFC 2113).
#[allow(missing_docs)]
pub mod opt {
    pub const END: u8 = 0;
    pub const NOP: u8 = 1;
    pub const RECORD_ROUTE: u8 = 7;
    pub const TIMESTAMP: u8 = 68;
    pub const SECURITY: u8 = 130;
    pub const LSRR: u8 = 131;
    pub const SSRR: u8 = 137;
    pub const ROUTER_ALERT: u8 = 148;
}

/// The fixed part of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Header length in bytes, options included: 20 to 60.
    pub header_len: usize,
    /// Type of service.
    pub tos: u8,
    /// Length of header and payload in bytes.
    pub total_len: usize,
    /// Identification.
    pub id: u16,
    /// Don't fragment.
    pub df: bool,
    /// More fragments.
    pub mf: bool,
    /// Offset of this fragment in bytes: a multiple of 8.
    pub frag: usize,
    /// Time to live.
    pub ttl: u8,
    /// Transport protocol.
    pub proto: u8,
    /// Source.
    pub src: Ipv4Addr,
    /// Destination.
    pub dst: Ipv4Addr,
}

/// What is wrong with a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// Shorter than a header, or a version or header length that cannot be.
    Header,
    /// The checksum does not match.
    Checksum,
    /// The total length exceeds the packet, or is less than the header.
    Length,
}

impl Header {
    /// Reads and checks a header. The packet may be longer than `total_len` (link padding).
    ///
    /// # Errors
    /// What is wrong with it.
    #[inline]
    pub fn parse(b: &[u8]) -> Result<Header, Bad> {
        let h = Header::parse_unchecked(b).ok_or(Bad::Header)?;
        let hdr = b.get(..h.header_len).ok_or(Bad::Header)?;
        if !Sum::of(hdr).is_valid() {
            return Err(Bad::Checksum);
        }
        if h.total_len < h.header_len || h.total_len > b.len() {
            return Err(Bad::Length);
        }
        Ok(h)
    }

    /// Reads a header without checking checksum and total length: the packet quoted by an ICMP error is
    /// cut, and its header was changed on the way. `None` when there is no header or its version or header
    /// length cannot be.
    #[inline]
    pub fn parse_unchecked(b: &[u8]) -> Option<Header> {
        let h: &[u8; HEADER_LEN] = b.first_chunk()?;
        let header_len = usize::from(h[0] & 15) * 4;
        if h[0] >> 4 != 4 || header_len < HEADER_LEN {
            return None;
        }
        let fl = u16::from_be_bytes([h[6], h[7]]);
        Some(Header {
            header_len,
            tos: h[1],
            total_len: usize::from(u16::from_be_bytes([h[2], h[3]])),
            id: u16::from_be_bytes([h[4], h[5]]),
            df: fl & 0x4000 != 0,
            mf: fl & 0x2000 != 0,
            frag: usize::from(fl & 0x1fff) * 8,
            ttl: h[8],
            proto: h[9],
            src: Ipv4Addr::new(h[12], h[13], h[14], h[15]),
            dst: Ipv4Addr::new(h[16], h[17], h[18], h[19]),
        })
    }

    /// Writes the header and, behind it, `options` (a multiple of 4 long, at most 40 bytes), with the
    /// checksum over both. `header_len` is taken from the options, not from the value. Returns the header
    /// length; `None` (and nothing useful written) when `b` is too short or the options do not fit.
    #[inline]
    pub fn emit(&self, b: &mut [u8], options: &[u8]) -> Option<usize> {
        let hl = HEADER_LEN + options.len();
        if hl > MAX_HEADER_LEN || !hl.is_multiple_of(4) {
            return None;
        }
        let b = b.get_mut(..hl)?;
        b[0] = 0x40 | (hl / 4) as u8;
        b[1] = self.tos;
        b[2..4].copy_from_slice(&(self.total_len as u16).to_be_bytes());
        b[4..6].copy_from_slice(&self.id.to_be_bytes());
        let fl = u16::from(self.df) << 14 | u16::from(self.mf) << 13 | (self.frag / 8) as u16 & 0x1fff;
        b[6..8].copy_from_slice(&fl.to_be_bytes());
        b[8] = self.ttl;
        b[9] = self.proto;
        b[10..12].copy_from_slice(&[0, 0]);
        b[12..16].copy_from_slice(&self.src.octets());
        b[16..20].copy_from_slice(&self.dst.octets());
        b[20..].copy_from_slice(options);
        let c = checksum(b);
        b[10..12].copy_from_slice(&c.to_be_bytes());
        Some(hl)
    }

    /// Whether the packet is a fragment.
    #[inline]
    pub fn is_fragment(&self) -> bool {
        self.mf || self.frag != 0
    }
}

/// A header for many packets, which differ in length and identification only: the rest of it is summed once.
#[derive(Clone, Copy, Debug)]
pub struct Template {
    bytes: [u8; MAX_HEADER_LEN],
    len: usize,
    sum: Sum,
}

impl Template {
    /// From a header of at most [`MAX_HEADER_LEN`] bytes, which has at least [`HEADER_LEN`]; `None` for another.
    pub fn of(header: &[u8]) -> Option<Template> {
        let len = header.len();
        let mut bytes = [0; MAX_HEADER_LEN];
        bytes.get_mut(..len).filter(|_| len >= HEADER_LEN)?.copy_from_slice(header);
        bytes[2..6].fill(0);
        bytes[10..12].fill(0);
        Some(Template { bytes, len, sum: Sum::of(&bytes[..len]) })
    }

    /// Length of the header in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never: a header has bytes.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Writes it to the front of `b`; nothing when `b` is shorter.
    #[inline]
    pub fn emit(&self, b: &mut [u8], total_len: u16, id: u16) {
        let Some((h, options)) = b.get_mut(..self.len).and_then(|b| b.split_first_chunk_mut()) else {
            return;
        };
        let (fixed, rest) = self.bytes.split_at(HEADER_LEN);
        let h: &mut [u8; HEADER_LEN] = h;
        h.copy_from_slice(fixed);
        if !options.is_empty() {
            options.copy_from_slice(&rest[..options.len()]);
        }
        let mut s = self.sum;
        s.add_u16(total_len);
        s.add_u16(id);
        [h[2], h[3]] = total_len.to_be_bytes();
        [h[4], h[5]] = id.to_be_bytes();
        [h[10], h[11]] = s.finish().to_be_bytes();
    }
}

/// Computes the checksum of a complete header in place (its field's content is ignored).
pub fn set_checksum(header: &mut [u8]) {
    if header.len() >= HEADER_LEN {
        header[10..12].copy_from_slice(&[0, 0]);
        let c = checksum(header);
        header[10..12].copy_from_slice(&c.to_be_bytes());
    }
}

/// One option as found in a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opt<'a> {
    /// Kind ([`opt`]).
    pub kind: u8,
    /// Where it starts in the options.
    pub at: usize,
    /// The whole option, kind and length bytes included.
    pub bytes: &'a [u8],
}

/// Walks the options of a header; NOPs are skipped, END ends. `Some(Err(at))` once for an option whose length
/// cannot be (`at` is its offset in `options`), then `None`.
pub fn options(options: &[u8]) -> impl Iterator<Item = Result<Opt<'_>, usize>> {
    let mut at = 0;
    core::iter::from_fn(move || {
        loop {
            let kind = *options.get(at)?;
            match kind {
                opt::END => {
                    at = options.len();
                    return None;
                }
                opt::NOP => at += 1,
                _ => {
                    let start = at;
                    let len = options.get(at + 1).map_or(0, |l| usize::from(*l));
                    let Some(bytes) = options.get(at..at + len).filter(|_| len >= 2) else {
                        at = options.len();
                        return Some(Err(start));
                    };
                    at += len;
                    return Some(Ok(Opt { kind, at: start, bytes }));
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_template_makes_the_same_header(mut b in proptest::collection::vec(any::<u8>(), 60), words in 5usize..=15, len: u16, id: u16) {
            b.truncate(words * 4);
            b[0] = 0x40 | words as u8;
            let t = Template::of(&b).unwrap();
            let mut got = b.clone();
            got.fill(9);
            t.emit(&mut got, len, id);
            b[2..4].copy_from_slice(&len.to_be_bytes());
            b[4..6].copy_from_slice(&id.to_be_bytes());
            set_checksum(&mut b);
            prop_assert_eq!(got, b);
            prop_assert_eq!(t.len(), words * 4);
        }
    }

    proptest! {
        #[test]
        fn parse_undoes_emit(tos: u8, id: u16, df: bool, mf: bool, frag in 0usize..8192, ttl: u8, proto: u8, src: u32, dst: u32, words in 0usize..=10, pay in 0usize..100) {
            let opts: Vec<u8> = core::iter::repeat_n(opt::NOP, words * 4).collect();
            let header_len = 20 + opts.len();
            let h = Header { header_len, tos, total_len: header_len + pay, id, df, mf, frag: frag * 8, ttl, proto, src: src.into(), dst: dst.into() };
            let mut b = alloc::vec![0; header_len + pay + 7];
            prop_assert_eq!(h.emit(&mut b, &opts), Some(header_len));
            prop_assert_eq!(Header::parse(&b), Ok(h));
            prop_assert_eq!(Header::parse(&b[..header_len - 1]), Err(Bad::Header));
            if pay > 0 {
                prop_assert_eq!(Header::parse(&b[..header_len + pay - 1]), Err(Bad::Length));
            }
            b[8] ^= 1;
            prop_assert_eq!(Header::parse(&b), Err(Bad::Checksum));
        }

        #[test]
        fn any_bytes_are_safe(b in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Header::parse(&b);
            if let Some(h) = Header::parse_unchecked(&b) {
                prop_assert!((20..=60).contains(&h.header_len));
            }
            let mut seen = 0;
            for o in options(&b) {
                seen += 1;
                if let Ok(o) = o {
                    prop_assert!(o.bytes.len() >= 2 && o.at + o.bytes.len() <= b.len());
                }
            }
            prop_assert!(seen <= b.len());
        }
    }

    #[test]
    fn options_stop_at_the_end_and_at_nonsense() {
        let o = [1, 1, 7, 3, 4, 0, 99];
        let v: Vec<_> = options(&o).collect();
        assert_eq!(v, [Ok(Opt { kind: 7, at: 2, bytes: &o[2..5] })]);
        assert_eq!(options(&[7, 1, 1, 1]).collect::<Vec<_>>(), [Err(0)]);
        assert_eq!(options(&[1, 68, 200, 5]).collect::<Vec<_>>(), [Err(1)]);
        assert_eq!(options(&[1, 1, 1, 68]).collect::<Vec<_>>(), [Err(3)]);
    }
}
