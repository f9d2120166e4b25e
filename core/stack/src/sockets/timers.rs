//! When does which socket want to be looked at? A heap with one entry per socket that has a timer.
//!
//! A connection's deadline moves with nearly every segment, mostly to later. So an entry is only moved when the
//! deadline comes earlier; one that fires too early finds nothing due and is set anew. Each socket has at
//! most one entry, found through `pos`, so nothing stale piles up, and an idle connection costs nothing.

use alloc::vec::Vec;
use iopkt_base::Instant;

const NONE: u32 = u32::MAX;

/// The heap, least instant first.
#[derive(Default)]
pub(crate) struct Timers {
    heap: Vec<(Instant, u32)>,
    /// Place in `heap` of each slot, [`NONE`] for those that have no entry.
    pos: Vec<u32>,
}

impl Timers {
    /// The earliest instant, [`Instant::FAR`] without any.
    pub fn first(&self) -> Instant {
        self.heap.first().map_or(Instant::FAR, |e| e.0)
    }

    /// Sees to it that `slot` fires at `at` or before; [`Instant::FAR`] asks for nothing.
    pub fn at_latest(&mut self, slot: u32, at: Instant) {
        if at == Instant::FAR {
            return;
        }
        let i = slot as usize;
        if self.pos.len() <= i {
            self.pos.resize(i + 1, NONE);
        }
        match self.pos[i] {
            NONE => {
                self.heap.push((at, slot));
                self.pos[i] = (self.heap.len() - 1) as u32;
                self.up(self.heap.len() - 1);
            }
            p if at < self.heap[p as usize].0 => {
                self.heap[p as usize].0 = at;
                self.up(p as usize);
            }
            _ => {}
        }
    }

    /// Forgets a slot.
    pub fn remove(&mut self, slot: u32) {
        let Some(p) = self.pos.get_mut(slot as usize).map(|p| core::mem::replace(p, NONE)) else { return };
        if p == NONE {
            return;
        }
        let p = p as usize;
        let last = self.heap.len() - 1;
        self.heap.swap(p, last);
        self.heap.pop();
        if p < last {
            self.pos[self.heap[p].1 as usize] = p as u32;
            self.down(p);
            self.up(p);
        }
    }

    /// Takes out a slot that is due.
    pub fn pop(&mut self, now: Instant) -> Option<u32> {
        let (at, slot) = *self.heap.first()?;
        if at > now {
            return None;
        }
        self.remove(slot);
        Some(slot)
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        self.pos[self.heap[a].1 as usize] = a as u32;
        self.pos[self.heap[b].1 as usize] = b as u32;
    }

    fn up(&mut self, mut i: usize) {
        while i > 0 && self.heap[i].0 < self.heap[(i - 1) / 2].0 {
            self.swap(i, (i - 1) / 2);
            i = (i - 1) / 2;
        }
    }

    fn down(&mut self, mut i: usize) {
        loop {
            let (l, r) = (2 * i + 1, 2 * i + 2);
            let mut least = i;
            for c in [l, r] {
                if c < self.heap.len() && self.heap[c].0 < self.heap[least].0 {
                    least = c;
                }
            }
            if least == i {
                return;
            }
            self.swap(i, least);
            i = least;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use iopkt_base::Rng;

    #[test]
    fn fires_in_order_and_once() {
        let mut t = Timers::default();
        let mut want = alloc::collections::BTreeMap::new();
        let mut r = Rng::new(11);
        for _ in 0..5000 {
            let slot = r.below(300);
            let at = Instant::from_millis(u64::from(r.below(1000)) + 1);
            match r.below(4) {
                0 => {
                    t.remove(slot);
                    want.remove(&slot);
                }
                _ => {
                    t.at_latest(slot, at);
                    let e = want.entry(slot).or_insert(at);
                    *e = at.min(*e);
                }
            }
            assert_eq!(t.first(), want.values().copied().min().unwrap_or(Instant::FAR));
        }
        let mut last = Instant::ZERO;
        while let Some(s) = t.pop(Instant::FAR) {
            let at = want.remove(&s).expect("one entry per slot");
            assert!(at >= last);
            last = at;
        }
        assert!(want.is_empty());
        assert_eq!(t.first(), Instant::FAR);
    }

    #[test]
    fn later_is_not_moved_and_far_is_nothing() {
        let mut t = Timers::default();
        t.at_latest(3, Instant::FAR);
        assert_eq!(t.first(), Instant::FAR);
        t.at_latest(3, Instant::from_millis(5));
        t.at_latest(3, Instant::from_millis(9));
        assert_eq!(t.first(), Instant::from_millis(5));
        assert_eq!(t.pop(Instant::from_millis(4)), None);
        assert_eq!(t.pop(Instant::from_millis(5)), Some(3));
        t.remove(3);
        t.remove(99);
    }
}
