//! TCP's header and options (RFC 9293 section 3.1; options of RFC 7323 and RFC 2018).
//!
//! Parsing checks the length once and never panics. An option with an impossible length ends the parsing of
//! options: what stood before it is kept, what follows is ignored (RFC 9293 MUST-7 asks only to be prepared).
//! Checksums are [`crate::checksum`]'s matter.

use core::fmt;
use core::ops::{BitOr, BitOrAssign};

/// Length of the header without options, bytes.
pub const HEADER_LEN: usize = 20;
/// Most bytes of options.
pub const MAX_OPTIONS: usize = 40;
/// Offset of the checksum field in the header.
pub const CHECKSUM_OFFSET: usize = 16;
/// The protocol's number in IP headers.
pub const PROTO: u8 = 6;

/// Control bits.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(pub u8);

impl Flags {
    /// No more data from the sender.
    pub const FIN: Flags = Flags(0x01);
    /// Synchronise sequence numbers.
    pub const SYN: Flags = Flags(0x02);
    /// Reset the connection.
    pub const RST: Flags = Flags(0x04);
    /// Push.
    pub const PSH: Flags = Flags(0x08);
    /// The acknowledgment field counts.
    pub const ACK: Flags = Flags(0x10);
    /// The urgent pointer counts.
    pub const URG: Flags = Flags(0x20);
    /// ECN echo (RFC 3168).
    pub const ECE: Flags = Flags(0x40);
    /// Congestion window reduced (RFC 3168).
    pub const CWR: Flags = Flags(0x80);
    /// None.
    pub const NONE: Flags = Flags(0);

    /// Whether all bits of `o` are set.
    #[inline]
    pub const fn has(self, o: Flags) -> bool {
        self.0 & o.0 == o.0
    }

    /// Whether any bit of `o` is set.
    #[inline]
    pub const fn any(self, o: Flags) -> bool {
        self.0 & o.0 != 0
    }

    /// These bits without those of `o`.
    #[inline]
    pub const fn without(self, o: Flags) -> Flags {
        Flags(self.0 & !o.0)
    }
}

impl BitOr for Flags {
    type Output = Flags;
    fn bitor(self, o: Flags) -> Flags {
        Flags(self.0 | o.0)
    }
}

impl BitOrAssign for Flags {
    fn bitor_assign(&mut self, o: Flags) {
        self.0 |= o.0;
    }
}

impl fmt::Debug for Flags {
    /// tcpdump's letters: `S`, `F`, `R`, `P`, `U`, `E`, `W`, and `.` for ACK.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const L: [(Flags, char); 8] = [
            (Flags::FIN, 'F'),
            (Flags::SYN, 'S'),
            (Flags::RST, 'R'),
            (Flags::PSH, 'P'),
            (Flags::ACK, '.'),
            (Flags::URG, 'U'),
            (Flags::ECE, 'E'),
            (Flags::CWR, 'W'),
        ];
        f.write_str("[")?;
        for (b, c) in L {
            if self.has(b) {
                write!(f, "{c}")?;
            }
        }
        f.write_str("]")
    }
}

/// Timestamps option (RFC 7323 section 3): the sender's clock and the echoed one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Timestamps {
    /// TSval.
    pub val: u32,
    /// TSecr; counts only with ACK set.
    pub ecr: u32,
}

/// Most SACK blocks that fit into the option space.
pub const MAX_SACK: usize = 4;

/// SACK blocks (RFC 2018 section 3): `[left, right)` in sequence space, as they stand in the option.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct SackBlocks {
    n: u8,
    b: [(u32, u32); MAX_SACK],
}

impl SackBlocks {
    /// No blocks.
    pub const NONE: SackBlocks = SackBlocks { n: 0, b: [(0, 0); MAX_SACK] };

    /// Adds a block; false when there is no room.
    pub fn push(&mut self, left: u32, right: u32) -> bool {
        if usize::from(self.n) == MAX_SACK {
            return false;
        }
        self.b[usize::from(self.n)] = (left, right);
        self.n += 1;
        true
    }

    /// The blocks, first reported first.
    #[inline]
    pub fn as_slice(&self) -> &[(u32, u32)] {
        &self.b[..usize::from(self.n).min(MAX_SACK)]
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.n == 0
    }
}

impl fmt::Debug for SackBlocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.as_slice()).finish()
    }
}

/// Longest Fast Open cookie (RFC 7413 section 4.1.1), bytes.
pub const MAX_COOKIE: usize = 16;
/// Shortest.
pub const MIN_COOKIE: usize = 4;

/// Fast Open option (RFC 7413 section 4.1.1): a cookie, or with none the request for one.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct FastOpen {
    len: u8,
    /// It stands in the experimental option (kind 254 with magic 0xF989, RFC 6994), which some peers know only.
    pub exp: bool,
    bytes: [u8; MAX_COOKIE],
}

impl FastOpen {
    /// The request for a cookie.
    pub const fn request(exp: bool) -> FastOpen {
        FastOpen { len: 0, exp, bytes: [0; MAX_COOKIE] }
    }

    /// A cookie; `None` unless its length is even and between [`MIN_COOKIE`] and [`MAX_COOKIE`].
    pub fn cookie(b: &[u8], exp: bool) -> Option<FastOpen> {
        if !(MIN_COOKIE..=MAX_COOKIE).contains(&b.len()) || !b.len().is_multiple_of(2) {
            return None;
        }
        let mut bytes = [0; MAX_COOKIE];
        bytes[..b.len()].copy_from_slice(b);
        Some(FastOpen { len: b.len() as u8, exp, bytes })
    }

    /// The cookie; empty for a request.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len).min(MAX_COOKIE)]
    }

    /// Whether it asks for a cookie.
    pub fn is_request(&self) -> bool {
        self.len == 0
    }

    /// What stands in an option; lengths that RFC 7413 does not allow make it no option.
    fn parse(b: &[u8], exp: bool) -> Option<FastOpen> {
        // [RFC7413 4.1.1]
        if b.is_empty() { Some(FastOpen::request(exp)) } else { FastOpen::cookie(b, exp) }
    }

    /// Length in a header, padding included.
    fn wire_len(&self) -> usize {
        (if self.exp { 4 } else { 2 } + self.bytes().len()).next_multiple_of(4)
    }
}

impl fmt::Debug for FastOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.exp { "FOEXP " } else { "FO " })?;
        self.bytes().iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// The options that this stack knows; others are skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Options {
    /// Maximum segment size (kind 2), bytes; only in SYNs.
    pub mss: Option<u16>,
    /// Window scale (kind 3), the shift as received (may exceed 14); only in SYNs.
    pub window_scale: Option<u8>,
    /// SACK permitted (kind 4); only in SYNs.
    pub sack_permitted: bool,
    /// Timestamps (kind 8).
    pub timestamps: Option<Timestamps>,
    /// SACK blocks (kind 5).
    pub sack: SackBlocks,
    /// Fast Open (kind 34 or 254); only in SYNs.
    pub fast_open: Option<FastOpen>,
}

const END: u8 = 0;
const NOP: u8 = 1;
const MSS: u8 = 2;
const WSCALE: u8 = 3;
const SACK_OK: u8 = 4;
const SACK: u8 = 5;
const TS: u8 = 8;
const FAST_OPEN: u8 = 34;
const EXPERIMENT: u8 = 254;
/// Which experiment (RFC 6994) Fast Open was.
const FAST_OPEN_ID: [u8; 2] = [0xf9, 0x89];

fn be16(b: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(*b.first_chunk::<2>()?))
}

fn be32(b: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(*b.first_chunk::<4>()?))
}

impl Options {
    /// No options.
    pub const NONE: Options = Options {
        mss: None,
        window_scale: None,
        sack_permitted: false,
        timestamps: None,
        sack: SackBlocks::NONE,
        fast_open: None,
    };

    /// Reads the option bytes of a header.
    #[inline]
    pub fn parse(b: &[u8]) -> Options {
        // RFC 7323 appendix A's layout is what nearly every segment carries.
        if let [NOP, NOP, TS, 10, rest @ ..] = b
            && let (8, Some(val), Some(ecr)) = (rest.len(), be32(rest), rest.get(4..).and_then(be32))
        {
            return Options { timestamps: Some(Timestamps { val, ecr }), ..Options::NONE };
        }
        Options::parse_any(b)
    }

    fn parse_any(mut b: &[u8]) -> Options {
        let mut o = Options::NONE;
        loop {
            let (kind, body) = match *b {
                // [RFC9293 MUST-5]
                [] | [END, ..] => return o,
                [NOP, ..] => {
                    b = &b[1..];
                    continue;
                }
                // [RFC9293 MUST-64]
                [kind, len, ..] => {
                    // [RFC9293 MUST-7]
                    let Some(body) = b.get(2..usize::from(len)) else { return o };
                    b = &b[usize::from(len)..];
                    (kind, body)
                }
                [_] => return o,
            };
            match (kind, body.len()) {
                // [RFC9293 MUST-4]
                (MSS, 2) => o.mss = be16(body),
                (WSCALE, 1) => o.window_scale = body.first().copied(),
                (SACK_OK, 0) => o.sack_permitted = true,
                (TS, 8) => {
                    if let (Some(val), Some(ecr)) = (be32(body), body.get(4..).and_then(be32)) {
                        o.timestamps = Some(Timestamps { val, ecr });
                    }
                }
                (SACK, n) if n % 8 == 0 => {
                    for c in body.chunks_exact(8).take(MAX_SACK) {
                        if let (Some(l), Some(r)) = (be32(c), be32(&c[4..])) {
                            o.sack.push(l, r);
                        }
                    }
                }
                (FAST_OPEN, _) => o.fast_open = FastOpen::parse(body, false),
                (EXPERIMENT, 2..) if body.starts_with(&FAST_OPEN_ID) => {
                    o.fast_open = FastOpen::parse(&body[2..], true);
                }
                // [RFC9293 MUST-6]
                _ => {}
            }
        }
    }

    /// Writes the options, padded to a multiple of 4 with NOPs in front as RFC 7323 appendix A advises, in Linux's order.
    /// SACK blocks that find no room are left out (the first reported stay, RFC 2018 section 4).
    /// Returns the length, which is at most [`MAX_OPTIONS`].
    pub fn emit(&self, out: &mut [u8; MAX_OPTIONS]) -> usize {
        let mut w = Writer { out, at: 0 };
        let mut put = |bytes: &[u8]| w.put(bytes);
        if let Some(m) = self.mss {
            let m = m.to_be_bytes();
            // [RFC9293 MUST-68]
            put(&[MSS, 4, m[0], m[1]]);
        }
        match (self.sack_permitted, self.timestamps) {
            (true, None) => put(&[NOP, NOP, SACK_OK, 2]),
            (ok, Some(t)) => {
                put(if ok { &[SACK_OK, 2, TS, 10] } else { &[NOP, NOP, TS, 10] });
                put(&t.val.to_be_bytes());
                put(&t.ecr.to_be_bytes());
            }
            (false, None) => {}
        }
        if let Some(s) = self.window_scale {
            put(&[NOP, WSCALE, 3, s]);
        }
        // Two NOPs, kind and length take 4 bytes in front of the blocks.
        let fit = ((MAX_OPTIONS - w.at).saturating_sub(4) / 8).min(self.sack.as_slice().len());
        if fit > 0 {
            let mut b = [0u8; MAX_OPTIONS];
            b[..4].copy_from_slice(&[NOP, NOP, SACK, 2 + 8 * fit as u8]);
            for (c, (l, r)) in b[4..].chunks_exact_mut(8).zip(&self.sack.as_slice()[..fit]) {
                c[..4].copy_from_slice(&l.to_be_bytes());
                c[4..].copy_from_slice(&r.to_be_bytes());
            }
            w.put(&b[..4 + 8 * fit]);
        }
        if let Some(f) = self.fast_open.filter(|f| f.wire_len() <= MAX_OPTIONS - w.at) {
            w.fast_open(&f);
        }
        w.at
    }

    /// Length that [`Options::emit`] will write.
    #[inline]
    pub fn len(&self) -> usize {
        let mut n = 0;
        n += if self.mss.is_some() { 4 } else { 0 };
        n += if self.window_scale.is_some() { 4 } else { 0 };
        n += match (self.sack_permitted, self.timestamps.is_some()) {
            (_, true) => 12,
            (true, false) => 4,
            (false, false) => 0,
        };
        let k = self.sack.as_slice().len();
        if k > 0 {
            let room = (MAX_OPTIONS - n).saturating_sub(4) / 8;
            let k = k.min(room);
            n += if k > 0 { 4 + 8 * k } else { 0 };
        }
        if let Some(f) = self.fast_open {
            let k = f.wire_len();
            n += if k <= MAX_OPTIONS - n { k } else { 0 };
        }
        n
    }

    /// Whether nothing would be written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

struct Writer<'a> {
    out: &'a mut [u8; MAX_OPTIONS],
    at: usize,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) {
        if let Some(d) = self.out.get_mut(self.at..self.at + bytes.len()) {
            d.copy_from_slice(bytes);
            self.at += bytes.len();
        }
    }

    fn fast_open(&mut self, f: &FastOpen) {
        let end = self.at + f.wire_len();
        let n = f.bytes().len() as u8;
        if f.exp {
            self.put(&[EXPERIMENT, 4 + n, FAST_OPEN_ID[0], FAST_OPEN_ID[1]]);
        } else {
            self.put(&[FAST_OPEN, 2 + n]);
        }
        self.put(f.bytes());
        while self.at < end {
            // [RFC9293 MUST-69]
            self.put(&[NOP]);
        }
    }
}

/// Why a segment's header is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Fewer bytes than the smallest header.
    Short,
    /// The data offset is under 5 or points past the end.
    DataOffset,
}

/// A segment's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Header {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number.
    pub ack: u32,
    /// Control bits.
    pub flags: Flags,
    /// Window as it stands there, not scaled.
    pub window: u16,
    /// Urgent pointer.
    pub urgent: u16,
    /// Options.
    pub options: Options,
}

impl Header {
    /// Reads the header at the start of a segment; also returns its length, where the payload begins.
    ///
    /// # Errors
    /// [`Malformed`]: the segment is to be dropped.
    #[inline]
    pub fn parse(b: &[u8]) -> Result<(Header, usize), Malformed> {
        let h = b.first_chunk::<HEADER_LEN>().ok_or(Malformed::Short)?;
        let len = usize::from(h[12] >> 4) * 4;
        let options = b.get(HEADER_LEN..len).ok_or(Malformed::DataOffset)?;
        let header = Header {
            src_port: u16::from_be_bytes([h[0], h[1]]),
            dst_port: u16::from_be_bytes([h[2], h[3]]),
            seq: u32::from_be_bytes([h[4], h[5], h[6], h[7]]),
            ack: u32::from_be_bytes([h[8], h[9], h[10], h[11]]),
            flags: Flags(h[13]),
            window: u16::from_be_bytes([h[14], h[15]]),
            urgent: u16::from_be_bytes([h[18], h[19]]),
            options: if options.is_empty() { Options::NONE } else { Options::parse(options) },
        };
        Ok((header, len))
    }

    /// Length of the header with its options, bytes.
    #[inline]
    pub fn len(&self) -> usize {
        HEADER_LEN + self.options.len()
    }

    /// A header is never empty; here for the usual pair with [`Header::len`].
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Writes the header with a zero checksum; returns its length, or `None` when `out` is too short
    /// ([`Header::len`] bytes are needed).
    #[inline]
    pub fn emit(&self, out: &mut [u8]) -> Option<usize> {
        let mut o = [0u8; MAX_OPTIONS];
        let n = self.options.emit(&mut o);
        let len = HEADER_LEN + n;
        let (h, rest) = out.get_mut(..len)?.split_first_chunk_mut::<HEADER_LEN>()?;
        h[0..2].copy_from_slice(&self.src_port.to_be_bytes());
        h[2..4].copy_from_slice(&self.dst_port.to_be_bytes());
        h[4..8].copy_from_slice(&self.seq.to_be_bytes());
        h[8..12].copy_from_slice(&self.ack.to_be_bytes());
        h[12] = ((len / 4) as u8) << 4;
        h[13] = self.flags.0;
        h[14..16].copy_from_slice(&self.window.to_be_bytes());
        h[16..18].copy_from_slice(&[0, 0]);
        h[18..20].copy_from_slice(&self.urgent.to_be_bytes());
        rest.copy_from_slice(&o[..n]);
        Some(len)
    }
}

/// Stores a checksum in a segment's header; no effect on fewer than [`HEADER_LEN`] bytes.
#[inline]
pub fn set_checksum(segment: &mut [u8], checksum: u16) {
    if let Some(f) = segment.get_mut(CHECKSUM_OFFSET..CHECKSUM_OFFSET + 2) {
        f.copy_from_slice(&checksum.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn arb_options() -> impl Strategy<Value = Options> {
        (
            any::<Option<u16>>(),
            any::<Option<u8>>(),
            any::<bool>(),
            any::<Option<(u32, u32)>>(),
            proptest::collection::vec(any::<(u32, u32)>(), 0..=4),
            any::<Option<(bool, [u8; 16], u8)>>(),
        )
            .prop_map(|(mss, window_scale, sack_permitted, ts, blocks, fo)| {
                let mut sack = SackBlocks::NONE;
                for (l, r) in blocks {
                    sack.push(l, r);
                }
                let timestamps = ts.map(|(val, ecr)| Timestamps { val, ecr });
                let fast_open = fo.and_then(|(exp, b, n)| match n % 8 {
                    0 => Some(FastOpen::request(exp)),
                    n => FastOpen::cookie(&b[..2 + 2 * usize::from(n)], exp),
                });
                Options { mss, window_scale, sack_permitted, timestamps, sack, fast_open }
            })
    }

    proptest! {
        #[test]
        fn parse_never_panics(b in proptest::collection::vec(any::<u8>(), 0..120)) {
            if let Ok((h, len)) = Header::parse(&b) {
                prop_assert!(len >= HEADER_LEN && len <= b.len());
                let mut out = [0u8; HEADER_LEN + MAX_OPTIONS];
                let n = h.emit(&mut out).unwrap();
                let (again, m) = Header::parse(&out[..n]).unwrap();
                prop_assert_eq!((again, m), (h, n));
            }
        }

        #[test]
        fn options_survive(o in arb_options()) {
            // [RFC9293 MUST-68] [RFC9293 MUST-69]
            let mut b = [0u8; MAX_OPTIONS];
            let n = o.emit(&mut b);
            prop_assert_eq!(n, o.len());
            prop_assert_eq!(n % 4, 0);
            let back = Options::parse(&b[..n]);
            prop_assert_eq!(back.mss, o.mss);
            prop_assert_eq!(back.window_scale, o.window_scale);
            prop_assert_eq!(back.sack_permitted, o.sack_permitted);
            prop_assert_eq!(back.timestamps, o.timestamps);
            prop_assert!(o.sack.as_slice().starts_with(back.sack.as_slice()));
            prop_assert!(back.fast_open == o.fast_open || back.fast_open.is_none() && !o.sack.is_empty());
            if o.mss.is_none() && o.window_scale.is_none() && !o.sack_permitted {
                let fit = if o.timestamps.is_some() { 3 } else { 4 };
                prop_assert_eq!(back.sack.as_slice().len(), o.sack.as_slice().len().min(fit));
            }
        }

        #[test]
        fn both_option_parsers_agree(val: u32, ecr: u32) {
            let mut b = [0u8; MAX_OPTIONS];
            let o = Options { timestamps: Some(Timestamps { val, ecr }), ..Options::NONE };
            let n = o.emit(&mut b);
            prop_assert_eq!(Options::parse(&b[..n]), Options::parse_any(&b[..n]));
        }
    }

    #[test]
    fn impossible_option_lengths_end_the_options() {
        // [RFC9293 MUST-7]
        for bad in [0u8, 1, 200] {
            let o = Options::parse(&[2, 4, 0x05, 0xb4, 3, bad, 7, 0]);
            assert_eq!((o.mss, o.window_scale), (Some(1460), None));
        }
        assert_eq!(Options::parse(&[NOP, NOP, NOP, MSS]).mss, None);
    }

    #[test]
    fn unknown_options_are_skipped() {
        // [RFC9293 MUST-64]
        // [RFC9293 MUST-5]
        // [RFC9293 MUST-6]
        let o = Options::parse(&[254, 4, 9, 9, NOP, 3, 3, 7, 0, 2, 4, 1]);
        assert_eq!((o.mss, o.window_scale), (None, Some(7)));
    }

    #[test]
    fn fast_open_cookies_have_even_lengths_from_4_to_16() {
        // [RFC7413 4.1.1]
        assert_eq!(Options::parse(&[34, 2, NOP, NOP]).fast_open, Some(FastOpen::request(false)));
        let o = Options::parse(&[34, 6, 1, 2, 3, 4, NOP, NOP]).fast_open.unwrap();
        assert_eq!((o.bytes(), o.exp), (&[1u8, 2, 3, 4][..], false));
        let o = Options::parse(&[254, 8, 0xf9, 0x89, 1, 2, 3, 4]).fast_open.unwrap();
        assert_eq!((o.bytes(), o.exp), (&[1u8, 2, 3, 4][..], true));
        for bad in
            [&[34u8, 4, 1, 2][..], &[34, 7, 1, 2, 3, 4, 5], &[254, 6, 0xf9, 0x89, 1, 2], &[254, 4, 1, 2]]
        {
            assert_eq!(Options::parse(bad).fast_open, None, "{bad:?}");
        }
        let mut long = [7; 20];
        long[..2].copy_from_slice(&[34, 20]);
        assert_eq!(Options::parse(&long).fast_open, None);
    }

    #[test]
    fn short_headers_are_refused() {
        assert_eq!(Header::parse(&[0; 19]), Err(Malformed::Short));
        let mut b = [0u8; 24];
        b[12] = 4 << 4;
        assert_eq!(Header::parse(&b), Err(Malformed::DataOffset));
        b[12] = 7 << 4;
        assert_eq!(Header::parse(&b), Err(Malformed::DataOffset));
        b[12] = 6 << 4;
        assert!(Header::parse(&b).is_ok());
    }
}
