//! Sums of bytes with vector registers, where the processor has them; the inner loops of the Internet checksum.
//!
//! # Theory of operation
//!
//! The checksum of RFC 1071 is a sum of 16-bit words modulo 2^16 - 1. There is an instruction that multiplies sixteen pairs of signed
//! words and adds neighbours into eight lanes of 32 bits; with ones as factors it adds words. They become signed by an exclusive or with
//! 2^15, which takes 2^15 from each: given back at the end, once, for all of them. So three instructions take 32 bytes (the first
//! loads them too), where an addition with carry takes 8. A lane has room for 2^14 blocks; sums are taken out long before.
//!
//! What the processor can is asked once. Where it cannot, or on other machines, the answer is `None` and the caller has a way without.
//!
//! One of the two unsafe core crates: intrinsics that load and store take pointers, and calling a function that uses an extension is for
//! those who know that it is there.
#![no_std]

#[cfg(all(target_arch = "x86_64", not(target_os = "none")))]
mod avx2;

/// Bytes that are taken at a time.
pub const BLOCK: usize = 32;

/// The sum of these bytes' 16-bit words in the machine's order.
#[inline]
pub fn sum(blocks: &[[u8; BLOCK]]) -> Option<u64> {
    #[cfg(all(target_arch = "x86_64", not(target_os = "none")))]
    if avx2::have() {
        // SAFETY: the processor has AVX2, and the system keeps its registers.
        return Some(unsafe { avx2::sum(blocks) });
    }
    let _ = blocks;
    None
}

/// The same, and copies `src` to `dst` in the same pass; of the longer one the rest stays untouched.
#[inline]
pub fn copy(dst: &mut [[u8; BLOCK]], src: &[[u8; BLOCK]]) -> Option<u64> {
    #[cfg(all(target_arch = "x86_64", not(target_os = "none")))]
    if avx2::have() {
        // SAFETY: as above.
        return Some(unsafe { avx2::copy(dst, src) });
    }
    let _ = (dst, src);
    None
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec;
    use std::vec::Vec;

    /// Word by word.
    fn plain(b: &[[u8; BLOCK]]) -> u64 {
        b.as_flattened().as_chunks::<2>().0.iter().map(|w| u64::from(u16::from_ne_bytes(*w))).sum()
    }

    #[test]
    fn equal_the_definition_and_copy() {
        let mut x = 1u64;
        let mut byte = || {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (x >> 56) as u8
        };
        for n in 0..70 {
            let random: Vec<[u8; BLOCK]> = (0..n).map(|_| core::array::from_fn(|_| byte())).collect();
            for b in [random, vec![[0xff; BLOCK]; n], vec![[0; BLOCK]; n]] {
                let mut to = vec![[7; BLOCK]; n];
                let (Some(s), Some(c)) = (sum(&b), copy(&mut to, &b)) else {
                    std::eprintln!("skipped: this processor has no AVX2");
                    return;
                };
                assert_eq!((s, c), (plain(&b), plain(&b)), "{n} blocks");
                assert_eq!(to, b);
            }
        }
    }

    /// More than the lanes of 32 bits can add up.
    #[test]
    fn long_runs_do_not_overflow() {
        for byte in [0xff, 0, 0x80] {
            let b = vec![[byte; BLOCK]; 300_000];
            let mut to = vec![[7; BLOCK]; b.len()];
            assert!(sum(&b).is_none_or(|s| s == plain(&b)), "of {byte:#x}");
            assert!(copy(&mut to, &b).is_none_or(|s| s == plain(&b) && to == b), "of {byte:#x}");
        }
    }

    #[test]
    fn the_shorter_one_decides() {
        let mut to = vec![[7; BLOCK]; 3];
        if copy(&mut to, &[[1; BLOCK]; 2]).is_some() {
            assert_eq!(to, [[1; BLOCK], [1; BLOCK], [7; BLOCK]]);
            assert_eq!(copy(&mut to[..1], &[[2; BLOCK]; 2]), sum(&[[2; BLOCK]]));
        }
    }
}
