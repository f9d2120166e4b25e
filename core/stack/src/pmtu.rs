//! Path MTUs learnt from the network (RFC 1191, RFC 8201), for both families.
//!
//! An entry lowers the MTU towards one destination and expires after ten minutes (RFC 1191 6.3), after which the
//! next large packet finds out again. Bounded: at the limit the entry that would expire first goes.

use crate::hash::{KeyedMap, KeyedState};
use alloc::collections::BTreeSet;
use core::net::IpAddr;
use iopkt_base::{Duration, Instant, Keyed};

/// Age of an entry (RFC 1191 section 6.3: ten minutes).
// [RFC8201 5.3]
pub const AGE: Duration = Duration::from_secs(600);
/// Most entries.
pub const MAX: usize = 4096;

/// The cache.
pub struct PmtuCache {
    // [RFC8201 5.2]
    map: KeyedMap<IpAddr, (u32, Instant)>,
    ages: BTreeSet<(Instant, IpAddr)>,
    /// Counts changes.
    changed: u64,
}

impl PmtuCache {
    /// An empty cache.
    pub fn new(secret: &Keyed) -> PmtuCache {
        PmtuCache {
            map: KeyedMap::with_hasher(KeyedState::new(secret, "pmtu")),
            ages: BTreeSet::new(),
            changed: 0,
        }
    }

    /// A number that grows with each change.
    #[inline]
    pub fn version(&self) -> u64 {
        self.changed
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Path MTU to `dst` in bytes, if one was learnt.
    #[inline]
    pub fn get(&self, dst: IpAddr) -> Option<u32> {
        if self.map.is_empty() {
            return None;
        }
        self.map.get(&dst).map(|e| e.0)
    }

    /// The path to `dst` carries at most `mtu` bytes. Only ever lowers an entry.
    pub fn lower(&mut self, now: Instant, dst: IpAddr, mtu: u32) {
        self.changed += 1;
        let old = self.map.get(&dst).copied();
        if old.is_some_and(|o| o.0 < mtu) {
            return;
        }
        if let Some(o) = old {
            self.ages.remove(&(o.1, dst));
        } else if self.map.len() >= MAX
            && let Some((_, victim)) = self.ages.pop_first()
        {
            self.map.remove(&victim);
        }
        // [RFC1191 6.3]
        let until = now + AGE;
        self.map.insert(dst, (mtu, until));
        self.ages.insert((until, dst));
    }

    /// Forgets what is too old.
    pub fn tick(&mut self, now: Instant) {
        while let Some((at, dst)) = self.ages.first().copied()
            && at <= now
        {
            self.changed += 1;
            self.ages.pop_first();
            self.map.remove(&dst);
        }
    }

    /// When [`PmtuCache::tick`] wants to be called next.
    pub fn deadline(&self) -> Instant {
        self.ages.first().map_or(Instant::FAR, |a| a.0)
    }

    /// Forgets everything (`flush`).
    pub fn clear(&mut self) {
        self.changed += 1;
        self.map.clear();
        self.ages.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lowers_ages_and_is_bounded() {
        // [RFC1191 6.3]
        let mut p = PmtuCache::new(&Keyed::new([1; 16]));
        let a: IpAddr = "10.0.0.1".parse().unwrap();
        p.lower(Instant::ZERO, a, 1400);
        p.lower(Instant::ZERO, a, 1450);
        assert_eq!(p.get(a), Some(1400));
        p.lower(Instant::from_millis(1000), a, 1300);
        assert_eq!(p.get(a), Some(1300));
        p.tick(Instant::from_millis(600_500));
        assert_eq!(p.get(a), Some(1300));
        p.tick(p.deadline());
        assert_eq!(p.get(a), None);
        assert_eq!(p.deadline(), Instant::FAR);
        for i in 0..10_000u32 {
            p.lower(Instant::from_millis(u64::from(i)), IpAddr::V4(i.into()), 576);
        }
        assert_eq!((p.len(), p.ages.len()), (MAX, MAX));
    }
}
