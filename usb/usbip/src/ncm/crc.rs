//! The CRC of Ethernet (IEEE 802.3, 3.2.9), which CRC mode appends to datagrams.

const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut t = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut v = i as u32;
        let mut bit = 0;
        while bit < 8 {
            v = if v & 1 != 0 { v >> 1 ^ 0xedb8_8320 } else { v >> 1 };
            bit += 1;
        }
        t[i] = v;
        i += 1;
    }
    t
}

/// CRC-32 of `b`, sent little-endian.
pub fn crc32(b: &[u8]) -> u32 {
    !b.iter().fold(!0, |c, v| TABLE[((c ^ u32::from(*v)) & 0xff) as usize] ^ c >> 8)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_check_value() {
        assert_eq!(super::crc32(b"123456789"), 0xcbf4_3926);
    }
}
