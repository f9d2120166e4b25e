//! The CRC that CRC mode appends to datagrams: Ethernet's.

/// CRC-32 of `b`, sent little-endian.
pub fn crc32(b: &[u8]) -> u32 {
    crate::crc::crc32(0, b)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_check_value() {
        assert_eq!(super::crc32(b"123456789"), 0xcbf4_3926);
    }
}
