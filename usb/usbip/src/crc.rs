//! The CRC of Ethernet (IEEE 802.3, 3.2.9), which is zlib's too.

static CRC: [[u32; 256]; 8] = {
    let mut t = [[0; 256]; 8];
    let mut i = 0;
    while i < 256 {
        let mut c = i as u32;
        let mut k = 0;
        while k < 8 {
            c = if c & 1 == 1 { 0xedb8_8320 ^ (c >> 1) } else { c >> 1 };
            k += 1;
        }
        t[0][i] = c;
        i += 1;
    }
    let mut n = 1;
    while n < 8 {
        let mut i = 0;
        while i < 256 {
            let c = t[n - 1][i];
            t[n][i] = t[0][(c & 0xff) as usize] ^ (c >> 8);
            i += 1;
        }
        n += 1;
    }
    t
};

/// CRC-32 of IEEE 802.3 (zlib's) of what was hashed to `crc` (0 at the start) and of `data`; eight bytes at a time.
pub fn crc32(crc: u32, data: &[u8]) -> u32 {
    let mut c = !crc;
    let (words, rest) = data.as_chunks::<8>();
    for w in words {
        let a = c ^ u32::from_le_bytes([w[0], w[1], w[2], w[3]]);
        let b = u32::from_le_bytes([w[4], w[5], w[6], w[7]]);
        let at = |t: usize, v: u32, s: u32| CRC[t][(v >> s & 0xff) as usize];
        c = at(7, a, 0)
            ^ at(6, a, 8)
            ^ at(5, a, 16)
            ^ at(4, a, 24)
            ^ at(3, b, 0)
            ^ at(2, b, 8)
            ^ at(1, b, 16)
            ^ at(0, b, 24);
    }
    for b in rest {
        c = CRC[0][((c ^ u32::from(*b)) & 0xff) as usize] ^ (c >> 8);
    }
    !c
}

#[cfg(test)]
mod tests {
    use super::crc32;

    #[test]
    fn the_check_value_in_one_and_in_two() {
        assert_eq!(crc32(0, b"123456789"), 0xcbf4_3926);
        for n in 0..10 {
            let (a, b) = b"123456789".split_at(n);
            assert_eq!(crc32(crc32(0, a), b), 0xcbf4_3926);
        }
    }
}
