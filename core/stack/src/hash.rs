//! Hash maps whose keys come from the network: keyed with the shard's secret, so that nobody who cannot read
//! our memory can choose colliding keys.
//!
//! The function is a polynomial in a secret point, modulo the prime 2^61 - 1 (Carter and Wegman, "Universal classes
//! of hash functions", 1979): `w1 k^n + w2 k^(n-1) + ... + wn k + k'`. Two different inputs of at most `n` words,
//! however an attacker chooses them, share the low `b` bits for at most about `n / 2^b` of the keys, and that is
//! proven, not hoped. A table needs no more, because nobody outside ever sees a hash: SipHash, which is made for hashes that
//! are seen, cost 16 % of the packet path where this costs a multiplication a word.
//!
//! What is seen on the wire (ports, sequence numbers, cookies) stays with [`Keyed`], which is SipHash.

use core::hash::{BuildHasher, Hasher};
use iopkt_base::Keyed;

/// 2^61 - 1.
const P: u64 = (1 << 61) - 1;

/// Builder of keyed hashers.
#[derive(Clone)]
pub struct KeyedState {
    point: u64,
    start: u64,
}

impl KeyedState {
    /// A hasher whose key follows from the shard's secret and a label, so that no two tables share one.
    pub fn new(secret: &Keyed, label: &str) -> KeyedState {
        let key = |n: &[u8]| secret.hash(&[label.as_bytes(), n]) % P;
        // Zero is no point: everything would hash alike.
        KeyedState { point: key(b"0").max(2), start: key(b"1") }
    }
}

impl BuildHasher for KeyedState {
    type Hasher = Polynomial;
    #[inline]
    fn build_hasher(&self) -> Polynomial {
        Polynomial { point: self.point, sum: self.start }
    }
}

/// A running polynomial.
#[derive(Clone, Copy)]
pub struct Polynomial {
    point: u64,
    /// Less than 2^62.
    sum: u64,
}

impl Polynomial {
    /// Adds a word of at most 60 bits.
    #[inline]
    pub fn word(&mut self, w: u64) {
        debug_assert!(w < 1 << 60);
        let x = u128::from(self.sum + w) * u128::from(self.point);
        // 2^61 is 1 modulo P, so the upper part is added to the lower; one more folding brings it under 2^61 + 2^3.
        let s = (x as u64 & P) + (x >> 61) as u64;
        self.sum = (s & P) + (s >> 61);
    }
}

impl Hasher for Polynomial {
    fn finish(&self) -> u64 {
        let s = if self.sum >= P { self.sum - P } else { self.sum };
        // Tables take the bucket from the low bits and a tag from the upper seven, where a number under 2^61 has nothing.
        s & (u64::MAX >> 7) | (s >> 54) << 57
    }

    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<4>();
        for w in words {
            self.word(u64::from(u32::from_le_bytes(*w)));
        }
        if !rest.is_empty() {
            let mut last = [0; 4];
            last[..rest.len()].copy_from_slice(rest);
            // The length goes in too: what ends in zeros must not equal what is shorter.
            self.word(u64::from(u32::from_le_bytes(last)) | (rest.len() as u64) << 32);
        }
    }

    #[inline]
    fn write_u8(&mut self, n: u8) {
        self.word(u64::from(n));
    }

    #[inline]
    fn write_u16(&mut self, n: u16) {
        self.word(u64::from(n));
    }

    #[inline]
    fn write_u32(&mut self, n: u32) {
        self.word(u64::from(n));
    }

    #[inline]
    fn write_u64(&mut self, n: u64) {
        self.word(n & 0xffff_ffff);
        self.word(n >> 32);
    }

    /// Lengths and discriminants, which are small; what is not goes in two words.
    #[inline]
    fn write_usize(&mut self, n: usize) {
        let n = n as u64;
        if n < 1 << 32 { self.word(n | 1 << 33) } else { self.write_u64(n) }
    }
}

/// A map with keyed hashing.
pub type KeyedMap<K, V> = hashbrown::HashMap<K, V, KeyedState>;

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;
    use core::net::{IpAddr, Ipv4Addr};
    use proptest::prelude::*;

    fn state(n: u8) -> KeyedState {
        KeyedState::new(&Keyed::new([n; 16]), "test")
    }

    proptest! {
        /// Against the definition, in plain arithmetic.
        #[test]
        fn equals_the_polynomial(words in proptest::collection::vec(0u64..1 << 60, 0..20), key: u8) {
            let s = state(key);
            let (mut h, mut want) = (s.build_hasher(), u128::from(s.start));
            for w in words {
                h.word(w);
                want = (want + u128::from(w)) * u128::from(s.point) % u128::from(P);
            }
            let want = want as u64 % P;
            prop_assert_eq!(h.finish() & (u64::MAX >> 7), want & (u64::MAX >> 7));
            prop_assert_eq!(h.finish() >> 57, want >> 54);
        }

        #[test]
        fn bytes_of_another_length_differ(b in proptest::collection::vec(any::<u8>(), 0..20), key: u8) {
            let s = state(key);
            let mut longer = b.clone();
            longer.push(0);
            let of = |b: &[u8]| { let mut h = s.build_hasher(); h.write(b); h.finish() };
            prop_assert_ne!(of(&b), of(&longer));
        }
    }

    /// Keys in a row, and keys that differ in high bits only (what an attacker has at hand), fill buckets evenly under
    /// every key: no bucket of 1024 holds more of 10,240 than 40.
    #[test]
    fn rows_spread_evenly() {
        for key in 0..40 {
            let s = state(key);
            for step in [1u32, 1 << 8, 1 << 16, 0x0101_0101] {
                let mut n: Vec<u32> = vec![0; 1024];
                for i in 0..10_240u32 {
                    let a = IpAddr::V4(Ipv4Addr::from(i.wrapping_mul(step)));
                    n[(s.hash_one(a) % 1024) as usize] += 1;
                }
                let most = n.iter().max().copied().unwrap_or(0);
                // Steps of 2^16 repeat after 65,536 values: none here.
                assert!(most <= 40, "{most} in one bucket, key {key}, step {step:#x}");
            }
        }
    }

    #[test]
    fn keys_and_labels_matter() {
        let a: IpAddr = "10.0.0.1".parse().unwrap();
        let k = Keyed::new([1; 16]);
        assert_ne!(state(1).hash_one(a), state(2).hash_one(a));
        assert_ne!(KeyedState::new(&k, "a").hash_one(a), KeyedState::new(&k, "b").hash_one(a));
    }
}
