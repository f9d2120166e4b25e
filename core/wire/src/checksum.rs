//! The Internet checksum (RFC 1071), its incremental update (RFC 1624), and copying with it.
//!
//! Theory of operation: the sum is commutative and independent of byte order, so words are added as the
//! machine loads them and only the result is put right. Much of it goes through vector registers where the processor has them
//! (`iopkt_wide`). Else, and where it is little, bytes are added as 64-bit words into 128-bit sums, which
//! is an `add` and an `adc` for 8 bytes: that beats what compilers make of vector
//! registers with baseline x86-64 (8 bytes a cycle and lane, two lanes).
//!
//! Not done here: where the checksum field stands in a header. A caller sums a header whose field is zero,
//! or sums the received header with its field and asks [`Sum::is_valid`].

/// Bytes of one turn of the inner loop.
const BLOCK: usize = 32;

/// So many bytes are worth the question whether there are vector registers.
const MANY: usize = 8 * iopkt_wide::BLOCK;

/// Fewer bytes than this are added in a row.
const SHORT: usize = 2 * BLOCK;

/// A running ones'-complement sum.
///
/// ```
/// use iopkt_wire::checksum::Sum;
/// // RFC 1071 section 3's example.
/// let s = Sum::of(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
/// assert_eq!(s.finish(), !0xddf2);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    /// Words in the machine's order, carries not yet folded.
    acc: u64,
    /// An odd number of bytes has been added: what follows is byte-swapped.
    odd: bool,
}

impl Sum {
    /// The sum of nothing.
    pub const ZERO: Sum = Sum { acc: 0, odd: false };

    /// The sum of these bytes.
    #[inline]
    pub fn of(bytes: &[u8]) -> Sum {
        let mut s = Sum::ZERO;
        s.add(bytes);
        s
    }

    /// Adds bytes that follow those added before (also after an odd number of bytes).
    #[inline]
    pub fn add(&mut self, bytes: &[u8]) {
        // Headers, mostly of a length that is known here.
        let s = if bytes.len() < SHORT { rest(bytes) } else { raw_sum(bytes) };
        self.join(s, bytes.len());
    }

    /// Copies `src` to `dst` (of equal length; a longer one's rest stays untouched on either side) and adds
    /// the bytes in the same pass over memory. Returns how many bytes were copied.
    #[inline]
    pub fn copy(&mut self, dst: &mut [u8], src: &[u8]) -> usize {
        let n = dst.len().min(src.len());
        let s = raw_copy(&mut dst[..n], &src[..n]);
        self.join(s, n);
        n
    }

    #[inline]
    fn join(&mut self, s: u64, len: usize) {
        let s = u64::from(fold(s));
        let s = if self.odd { u64::from((s as u16).swap_bytes()) } else { s };
        self.acc += s;
        self.odd ^= len & 1 != 0;
    }

    /// Adds a 16-bit number as it stands in a header (network order on the wire). Only between words, that
    /// is after an even number of bytes.
    #[inline]
    pub fn add_u16(&mut self, v: u16) {
        debug_assert!(!self.odd);
        self.acc += u64::from(v.to_be());
    }

    /// Adds a 32-bit number as it stands in a header; see [`Sum::add_u16`].
    #[inline]
    pub fn add_u32(&mut self, v: u32) {
        debug_assert!(!self.odd);
        self.acc += u64::from(v.to_be());
    }

    /// Adds another sum, of bytes that begin at an even offset.
    #[inline]
    pub fn add_sum(&mut self, o: Sum) {
        debug_assert!(!self.odd);
        self.acc += u64::from(fold(o.acc));
        self.odd = o.odd;
    }

    /// The checksum: complement of the folded sum, as a number to be stored in network order.
    #[inline]
    pub fn finish(self) -> u16 {
        !u16::from_be(fold(self.acc))
    }

    /// The folded sum, not complemented: what a device that completes a checksum expects in the field
    /// (to be stored in network order).
    #[inline]
    pub fn partial(self) -> u16 {
        u16::from_be(fold(self.acc))
    }

    /// Whether bytes that include their checksum field are good: the sum is all ones.
    #[inline]
    pub fn is_valid(self) -> bool {
        fold(self.acc) == 0xffff
    }
}

/// The checksum of bytes (with the checksum field zero), to be stored in network order.
#[inline]
pub fn checksum(bytes: &[u8]) -> u16 {
    Sum::of(bytes).finish()
}

/// The pseudo-header of TCP and UDP over IPv4 (RFC 9293 section 3.1): addresses, protocol, and the length of
/// transport header and payload in bytes.
#[inline]
pub fn pseudo_v4(src: [u8; 4], dst: [u8; 4], proto: u8, len: u32) -> Sum {
    let mut s = Sum::ZERO;
    s.add_u32(u32::from_be_bytes(src));
    s.add_u32(u32::from_be_bytes(dst));
    s.add_u32(u32::from(proto));
    s.add_u32(len);
    s
}

/// The pseudo-header of upper layers over IPv6 (RFC 8200 section 8.1).
#[inline]
pub fn pseudo_v6(src: [u8; 16], dst: [u8; 16], proto: u8, len: u32) -> Sum {
    let mut s = Sum::ZERO;
    s.add(&src);
    s.add(&dst);
    s.add_u32(len);
    s.add_u32(u32::from(proto));
    s
}

/// The pseudo-header for addresses of either family, as the stack keeps them: a zone in an address is left out. Mixed families are a caller's error; the sum is then
/// that of the bytes, which no packet will match.
pub fn pseudo(src: core::net::IpAddr, dst: core::net::IpAddr, proto: u8, len: u32) -> Sum {
    use core::net::IpAddr::{V4, V6};
    use iopkt_base::zone;
    match (src, dst) {
        (V4(s), V4(d)) => pseudo_v4(s.octets(), d.octets(), proto, len),
        (V6(s), V6(d)) => pseudo_v6(zone::strip(s).octets(), zone::strip(d).octets(), proto, len),
        (V4(s), V6(d)) => pseudo_v6(s.to_ipv6_mapped().octets(), d.octets(), proto, len),
        (V6(s), V4(d)) => pseudo_v6(s.octets(), d.to_ipv6_mapped().octets(), proto, len),
    }
}

/// The checksum after a 16-bit word of the covered bytes changed from `old` to `new` (RFC 1624 equation 3,
/// which has no trouble with the two zeros). All three are numbers as read from network order.
#[inline]
pub fn update16(checksum: u16, old: u16, new: u16) -> u16 {
    // [RFC1624 3]
    let s = u32::from(!checksum) + u32::from(!old) + u32::from(new);
    let s = (s & 0xffff) + (s >> 16);
    !(((s & 0xffff) + (s >> 16)) as u16)
}

/// [`update16`] for a 32-bit field that begins at an even offset (an address, a sequence number).
#[inline]
pub fn update32(checksum: u16, old: u32, new: u32) -> u16 {
    let c = update16(checksum, (old >> 16) as u16, (new >> 16) as u16);
    update16(c, old as u16, new as u16)
}

#[inline]
fn fold(mut s: u64) -> u16 {
    s = (s & 0xffff_ffff) + (s >> 32);
    s = (s & 0xffff_ffff) + (s >> 32);
    s = (s & 0xffff) + (s >> 16);
    s = (s & 0xffff) + (s >> 16);
    s as u16
}

/// Two sums with their carries: lane `i & 1` takes the `i`-th word, so that the additions of neighbours do
/// not wait for each other. The upper half of a `u128` counts carries and weighs 1 modulo 2^16 - 1.
#[derive(Clone, Copy)]
struct Lanes(u128, u128);

impl Lanes {
    #[inline(always)]
    fn block(&mut self, b: &[u8; BLOCK]) {
        let (words, _) = b.as_chunks::<8>();
        let w = |i: usize| u128::from(u64::from_ne_bytes(words[i]));
        self.0 += w(0);
        self.1 += w(1);
        self.0 += w(2);
        self.1 += w(3);
    }

    #[inline(always)]
    fn fold(self) -> u64 {
        let half = |x: u128| {
            let (lo, hi) = (x as u64, (x >> 64) as u64);
            (lo & 0xffff_ffff) + (lo >> 32) + hi
        };
        half(self.0) + half(self.1)
    }
}

/// A few bytes, padded with zeros to whole words.
#[inline]
fn rest(b: &[u8]) -> u64 {
    let (words, last) = b.as_chunks::<4>();
    let mut s = 0u64;
    for w in words {
        s += u64::from(u32::from_ne_bytes(*w));
    }
    if last.is_empty() {
        return s;
    }
    let tail = match *last {
        [a, b, c] => [a, b, c, 0],
        [a, b] => [a, b, 0, 0],
        [a] => [a, 0, 0, 0],
        _ => [0; 4],
    };
    s + u64::from(u32::from_ne_bytes(tail))
}

/// The same, and copies them.
#[inline]
fn rest_copy(dst: &mut [u8], src: &[u8]) -> u64 {
    let (to, to_last) = dst.as_chunks_mut::<4>();
    let (from, from_last) = src.as_chunks::<4>();
    let mut s = 0;
    for (d, w) in to.iter_mut().zip(from) {
        *d = *w;
        s += u64::from(u32::from_ne_bytes(*w));
    }
    if !from_last.is_empty() {
        to_last.copy_from_slice(from_last);
        s += rest(from_last);
    }
    s
}

/// Tails of the vector way are shorter than a block too.
const _: () = assert!(iopkt_wide::BLOCK == BLOCK);

fn raw_sum(bytes: &[u8]) -> u64 {
    if bytes.len() >= MANY {
        let (blocks, tail) = bytes.as_chunks();
        if let Some(s) = iopkt_wide::sum(blocks) {
            return s + rest(tail);
        }
    }
    narrow_sum(bytes)
}

fn narrow_sum(bytes: &[u8]) -> u64 {
    let (blocks, tail) = bytes.as_chunks::<BLOCK>();
    let mut lanes = Lanes(0, 0);
    for b in blocks {
        lanes.block(b);
    }
    lanes.fold() + rest(tail)
}

#[inline]
fn raw_copy(dst: &mut [u8], src: &[u8]) -> u64 {
    if src.len() >= MANY {
        let ((db, dt), (sb, st)) = (dst.as_chunks_mut(), src.as_chunks());
        if let Some(s) = iopkt_wide::copy(db, sb) {
            return s + rest_copy(dt, st);
        }
    }
    narrow_copy(dst, src)
}

#[inline]
fn narrow_copy(dst: &mut [u8], src: &[u8]) -> u64 {
    let (db, dt) = dst.as_chunks_mut::<BLOCK>();
    let (sb, st) = src.as_chunks::<BLOCK>();
    let mut lanes = Lanes(0, 0);
    for (d, b) in db.iter_mut().zip(sb) {
        *d = *b;
        lanes.block(b);
    }
    dt.copy_from_slice(st);
    lanes.fold() + rest(st)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    /// RFC 1071's definition, word by word.
    fn plain(bytes: &[u8]) -> u16 {
        let mut s = 0u32;
        for c in bytes.chunks(2) {
            s += u32::from(c[0]) << 8 | c.get(1).map_or(0, |b| u32::from(*b));
            s = (s & 0xffff) + (s >> 16);
        }
        !(s as u16)
    }

    #[test]
    fn ipv4_header_example() {
        let h = [
            0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0, 0, 0xc0, 0xa8, 0x00, 0x01, 0xc0,
            0xa8, 0x00, 0xc7,
        ];
        assert_eq!(checksum(&h), 0xb861);
        let mut g = h;
        g[10..12].copy_from_slice(&0xb861u16.to_be_bytes());
        assert!(Sum::of(&g).is_valid());
        g[3] ^= 1;
        assert!(!Sum::of(&g).is_valid());
    }

    #[test]
    fn rfc1624_example() {
        // [RFC1624 3]
        // Section 4: HC = 0xdd2f, m = 0x5555, m' = 0x3285 gives 0x0000.
        assert_eq!(update16(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    proptest! {
        #[test]
        fn equals_the_definition(b in proptest::collection::vec(any::<u8>(), 0..4000)) {
            prop_assert_eq!(checksum(&b), plain(&b));
        }

        #[test]
        fn any_split_gives_the_same(b in proptest::collection::vec(any::<u8>(), 0..400), x in 0usize..400, y in 0usize..400) {
            let (x, y) = (x.min(b.len()), y.min(b.len()));
            let (x, y) = (x.min(y), x.max(y));
            let mut s = Sum::of(&b[..x]);
            s.add(&b[x..y]);
            s.add(&b[y..]);
            prop_assert_eq!(s.finish(), plain(&b));
        }

        #[test]
        fn copy_copies_and_sums(b in proptest::collection::vec(any::<u8>(), 0..4000), x in 0usize..4000) {
            let x = x.min(b.len());
            let mut to: Vec<u8> = vec![0; b.len()];
            let mut s = Sum::ZERO;
            let (l, r) = to.split_at_mut(x);
            s.copy(l, &b[..x]);
            s.copy(r, &b[x..]);
            prop_assert_eq!(&to, &b);
            prop_assert_eq!(s.finish(), plain(&b));
        }

        #[test]
        fn updates_equal_recomputing(mut b in proptest::collection::vec(any::<u8>(), 8..100), at in 0usize..90, new: u32) {
            let at = (at % (b.len() - 4)) & !1;
            let old = u32::from_be_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]);
            let before = checksum(&b);
            b[at..at + 4].copy_from_slice(&new.to_be_bytes());
            let after = update32(before, old, new);
            // 0x0000 and 0xffff are the same number; a receiver accepts either only when the data is not
            // all zero, which is why equation 3 is used. Compare as numbers modulo 0xffff.
            prop_assert_eq!(after % 0xffff, checksum(&b) % 0xffff);
        }

        #[test]
        fn pseudo_headers_equal_their_bytes(s: [u8; 16], d: [u8; 16], p: u8, len: u32) {
            let mut v = Vec::new();
            v.extend_from_slice(&s);
            v.extend_from_slice(&d);
            v.extend_from_slice(&len.to_be_bytes());
            v.extend_from_slice(&[0, 0, 0, p]);
            prop_assert_eq!(pseudo_v6(s, d, p, len).finish(), plain(&v));
            let (s4, d4) = ([s[0], s[1], s[2], s[3]], [d[0], d[1], d[2], d[3]]);
            let mut v = Vec::new();
            v.extend_from_slice(&s4);
            v.extend_from_slice(&d4);
            v.extend_from_slice(&[0, p]);
            v.extend_from_slice(&(len as u16).to_be_bytes());
            prop_assert_eq!(pseudo_v4(s4, d4, p, u32::from(len as u16)).finish(), plain(&v));
        }
    }
}
