//! Hash maps whose keys come from the network: keyed with the shard's secret, so that nobody who cannot read
//! our memory can choose colliding keys.

use core::hash::BuildHasher;
use iopkt_base::Keyed;
use siphasher::sip::SipHasher13;

/// Builder of keyed hashers.
#[derive(Clone)]
pub struct KeyedState(u64, u64);

impl KeyedState {
    /// A hasher whose key follows from the shard's secret and a label, so that no two tables share one.
    pub fn new(secret: &Keyed, label: &str) -> KeyedState {
        KeyedState(secret.hash(&[label.as_bytes(), b"0"]), secret.hash(&[label.as_bytes(), b"1"]))
    }
}

impl BuildHasher for KeyedState {
    type Hasher = SipHasher13;
    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.0, self.1)
    }
}

/// A map with keyed hashing.
pub type KeyedMap<K, V> = hashbrown::HashMap<K, V, KeyedState>;
