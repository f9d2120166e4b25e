//! UDP's header (RFC 768).

/// Length of the header.
pub const HEADER_LEN: usize = 8;
/// Offset of the checksum field in the header.
pub const CHECKSUM_OFFSET: usize = 6;

/// A UDP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Source port.
    pub src: u16,
    /// Destination port.
    pub dst: u16,
    /// Length of header and payload in bytes.
    pub len: u16,
    /// Checksum as on the wire; 0 means none (IPv4 only).
    pub checksum: u16,
}

impl Header {
    /// Reads a header; `None` when `b` is short or the length field is impossible for it. Bytes after
    /// `len` are not part of the datagram.
    #[inline]
    pub fn parse(b: &[u8]) -> Option<Header> {
        let h: &[u8; HEADER_LEN] = b.first_chunk()?;
        let n = |i: usize| u16::from_be_bytes([h[i], h[i + 1]]);
        let h = Header { src: n(0), dst: n(2), len: n(4), checksum: n(6) };
        (usize::from(h.len) >= HEADER_LEN && usize::from(h.len) <= b.len()).then_some(h)
    }

    /// Writes the header; a buffer shorter than it is left alone.
    #[inline]
    pub fn emit(&self, b: &mut [u8]) {
        if let Some(h) = b.first_chunk_mut::<HEADER_LEN>() {
            for (i, v) in [self.src, self.dst, self.len, self.checksum].into_iter().enumerate() {
                h[i * 2..i * 2 + 2].copy_from_slice(&v.to_be_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parse_undoes_emit(src: u16, dst: u16, pay in 0u16..50, checksum: u16) {
            let h = Header { src, dst, len: 8 + pay, checksum };
            let mut b = alloc::vec![0; 8 + usize::from(pay)];
            h.emit(&mut b);
            prop_assert_eq!(Header::parse(&b), Some(h));
            b.pop();
            prop_assert_eq!(Header::parse(&b), None);
        }

        #[test]
        fn any_bytes_are_safe(b in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Some(h) = Header::parse(&b) {
                prop_assert!(usize::from(h.len) <= b.len());
            }
        }
    }
}
