//! Randomness as a field.
//!
//! A shard holds one [`Rng`] for what may be seen on the wire (IP identification, jitter) and [`Keyed`]
//! functions for what an attacker must not predict (initial sequence numbers, ports, cookies: RFC 6528,
//! RFC 6056, RFC 4987). Both are seeded by the maker of the shard: from the operating system in a process,
//! from the seed of the run in the simulator.

use core::hash::Hasher;
use siphasher::sip::SipHasher24;

/// A small fast generator (xoshiro256++) for values that need not be secret.
///
/// Its outputs must never be used where predicting them helps an attacker; [`Keyed`] is for those.
#[derive(Clone, Debug)]
pub struct Rng {
    s: [u64; 4],
}

impl Rng {
    /// A generator whose whole output follows from `seed`.
    pub fn new(seed: u64) -> Self {
        // splitmix64 spreads the seed, as the authors of xoshiro advise: the state must not be all zero.
        let mut x = seed;
        let mut next = || {
            x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = x;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        Rng { s: [next(), next(), next(), next()] }
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        let s = &mut self.s;
        let out = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        out
    }

    /// The next 32 bits.
    pub fn next_u32(&mut self) -> u32 {
        (self.next_u64() >> 32) as u32
    }

    /// The next 16 bits.
    pub fn next_u16(&mut self) -> u16 {
        (self.next_u64() >> 48) as u16
    }

    /// A value in `0..n`, every one equally likely up to one part in 2^32; 0 when `n` is 0.
    pub fn below(&mut self, n: u32) -> u32 {
        ((u64::from(self.next_u32()) * u64::from(n)) >> 32) as u32
    }

    /// True with probability `p` (0.0 to 1.0).
    pub fn chance(&mut self, p: f64) -> bool {
        ((self.next_u64() >> 11) as f64) < p * (1u64 << 53) as f64
    }
}

/// A keyed pseudo-random function (SipHash-2-4): the same input gives the same output, and nobody without
/// the key can predict it.
#[derive(Clone)]
pub struct Keyed {
    k: (u64, u64),
}

impl Keyed {
    /// The function that belongs to this 128-bit key.
    pub fn new(key: [u8; 16]) -> Self {
        let w = u128::from_le_bytes(key);
        Keyed { k: (w as u64, (w >> 64) as u64) }
    }

    /// Hash of the concatenated `parts`.
    pub fn hash(&self, parts: &[&[u8]]) -> u64 {
        let mut h = SipHasher24::new_with_keys(self.k.0, self.k.1);
        for p in parts {
            h.write(p);
        }
        h.finish()
    }
}

impl core::fmt::Debug for Keyed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Keyed(..)") // the key never reaches a log
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_one_stream() {
        let (mut a, mut b, mut c) = (Rng::new(7), Rng::new(7), Rng::new(8));
        let xs: [u64; 8] = core::array::from_fn(|_| a.next_u64());
        assert_eq!(xs, core::array::from_fn(|_| b.next_u64()));
        assert_ne!(xs, core::array::from_fn(|_| c.next_u64()));
    }

    #[test]
    fn below_stays_below() {
        let mut r = Rng::new(1);
        assert_eq!(r.below(0), 0);
        assert_eq!(r.below(1), 0);
        let mut seen = [false; 6];
        for _ in 0..1000 {
            seen[r.below(6) as usize] = true;
        }
        assert!(seen.iter().all(|s| *s));
        assert!(!r.chance(0.0) && r.chance(1.0));
    }

    #[test]
    fn keyed_depends_on_key_and_input() {
        let a = Keyed::new([1; 16]);
        assert_eq!(a.hash(&[b"ab", b"c"]), a.hash(&[b"abc"]));
        assert_ne!(a.hash(&[b"abc"]), Keyed::new([2; 16]).hash(&[b"abc"]));
        assert_ne!(a.hash(&[b"abc"]), a.hash(&[b"abd"]));
    }
}
