//! One direction of a link.

use iopkt_base::{Duration, Instant, Rng};
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// What a link does to frames. Chances are in `0.0..=1.0`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Faults {
    /// Every frame takes this long.
    pub delay: Duration,
    /// Up to this much longer, frame by frame.
    pub jitter: Duration,
    /// Lost.
    pub loss: f64,
    /// Held back for up to `late`, so that others overtake it.
    pub reorder: f64,
    /// Zero: eight times the delay, at least 8 ms.
    pub late: Duration,
    /// Delivered twice.
    pub duplicate: f64,
    /// One bit changed.
    pub corrupt: f64,
    /// Bits per second, 0 for no limit. Frames queue for it.
    pub rate: u64,
    /// Frames that may queue for the rate, 0 for no limit.
    pub queue: usize,
    /// Longest frame that passes, 0 for no limit.
    pub max_frame: usize,
}

/// What a link carries: frames, or what a layer's own harness hands about.
pub trait Item: Clone {
    /// Bytes on the link.
    fn size(&self) -> usize;
    /// Changes bit `bit` (0..8) of byte `at`, below [`Item::size`].
    fn damage(&mut self, at: usize, bit: u32);
}

impl Item for Vec<u8> {
    fn size(&self) -> usize {
        self.len()
    }
    fn damage(&mut self, at: usize, bit: u32) {
        self[at] ^= 1 << bit;
    }
}

/// An item under way; ordered by arrival, then by number.
struct Flight<T> {
    at: Instant,
    order: u64,
    item: T,
}

impl<T> Flight<T> {
    fn key(&self) -> (Instant, u64) {
        (self.at, self.order)
    }
}

impl<T> PartialEq for Flight<T> {
    fn eq(&self, o: &Self) -> bool {
        self.key() == o.key()
    }
}

impl<T> Eq for Flight<T> {}

impl<T> PartialOrd for Flight<T> {
    fn partial_cmp(&self, o: &Self) -> Option<Ordering> {
        Some(self.cmp(o))
    }
}

impl<T> Ord for Flight<T> {
    fn cmp(&self, o: &Self) -> Ordering {
        self.key().cmp(&o.key())
    }
}

/// One direction of a link: items go in at a time and come out at theirs. The one model of a faulty link: every
/// harness has it, over whatever its layer sends.
pub struct Link<T = Vec<u8>> {
    /// What it does; may be changed at any time.
    pub faults: Faults,
    /// Unplugged: everything sent is lost.
    pub down: bool,
    rng: Rng,
    flights: BinaryHeap<Reverse<Flight<T>>>,
    order: u64,
    /// When the last queued frame has left.
    free_at: Instant,
    waiting: std::collections::VecDeque<Instant>,
    /// Frames that were put on it, those it lost included.
    pub sent: u64,
    /// Frames that the link lost, for whatever reason.
    pub lost: u64,
    /// Frames that it delivered twice.
    pub doubled: u64,
    /// Frames that came out.
    pub delivered: u64,
    /// How long frames waited for its rate, their own time on the wire included: all together.
    pub waited: Duration,
    /// And the longest.
    pub longest: Duration,
}

impl<T: Item> Link<T> {
    /// A link with its own stream of chances.
    pub fn new(faults: Faults, seed: u64) -> Link<T> {
        Link {
            faults,
            down: false,
            rng: Rng::new(seed),
            flights: BinaryHeap::new(),
            order: 0,
            free_at: Instant::ZERO,
            waiting: Default::default(),
            sent: 0,
            lost: 0,
            doubled: 0,
            delivered: 0,
            waited: Duration::ZERO,
            longest: Duration::ZERO,
        }
    }

    /// Puts a frame on the link; false when it is lost.
    pub fn send(&mut self, now: Instant, item: T) -> bool {
        let f = self.faults;
        self.sent += 1;
        let too_long = f.max_frame > 0 && item.size() > f.max_frame;
        if self.down || too_long || self.rng.chance(f.loss) {
            self.lost += 1;
            return false;
        }
        let Some(left) = self.depart(now, item.size()) else {
            self.lost += 1;
            return false;
        };
        if self.rng.chance(f.duplicate) {
            self.doubled += 1;
            self.launch(left, item.clone());
        }
        self.launch(left, item);
        true
    }

    fn launch(&mut self, left: Instant, mut item: T) {
        let f = self.faults;
        if self.rng.chance(f.corrupt) && item.size() > 0 {
            let at = self.rng.below(item.size() as u32) as usize;
            item.damage(at, self.rng.below(8));
        }
        let mut at = left + f.delay + part(&mut self.rng, f.jitter);
        if self.rng.chance(f.reorder) {
            let late = if f.late.is_zero() { (f.delay * 8).max(Duration::from_millis(8)) } else { f.late };
            at += part(&mut self.rng, late);
        }
        self.order += 1;
        self.flights.push(Reverse(Flight { at, order: self.order, item }));
    }

    /// Frames under way.
    pub fn under_way(&self) -> usize {
        self.flights.len()
    }

    /// Takes everything off it.
    pub fn clear(&mut self) {
        self.lost += self.flights.len() as u64;
        self.flights.clear();
    }

    /// When a frame of this length has left the sender; `None` when the queue is full.
    fn depart(&mut self, now: Instant, len: usize) -> Option<Instant> {
        let f = self.faults;
        if f.rate == 0 {
            return Some(now);
        }
        while self.waiting.front().is_some_and(|t| *t <= now) {
            self.waiting.pop_front();
        }
        if f.queue > 0 && self.waiting.len() >= f.queue {
            return None;
        }
        // Preamble, FCS and gap are 24 bytes that the frame does not show.
        let ns = (len as u64 + 24) * 8 * 1_000_000_000 / f.rate;
        self.free_at = self.free_at.max(now) + Duration::from_nanos(ns);
        self.waiting.push_back(self.free_at);
        let wait = self.free_at.since(now);
        self.waited += wait;
        self.longest = self.longest.max(wait);
        Some(self.free_at)
    }

    /// The next frame that has arrived by `now`.
    pub fn recv(&mut self, now: Instant) -> Option<T> {
        if self.flights.peek().is_none_or(|f| f.0.at > now) {
            return None;
        }
        self.delivered += 1;
        self.flights.pop().map(|f| f.0.item)
    }

    /// When the next frame arrives, [`Instant::FAR`] when none is under way.
    pub fn deadline(&self) -> Instant {
        self.flights.peek().map_or(Instant::FAR, |f| f.0.at)
    }
}

/// A random part of a span.
fn part(rng: &mut Rng, of: Duration) -> Duration {
    Duration::from_nanos((of.as_nanos() as u64 / 1000).min(u64::from(u32::MAX)) * u64::from(rng.below(1001)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_shapes_and_a_queue_bounds() {
        // 1 Mbit/s: a frame of 101 bytes (125 on the wire) takes a millisecond.
        let mut l = Link::new(Faults { rate: 1_000_000, queue: 3, ..Faults::default() }, 1);
        for _ in 0..5 {
            l.send(Instant::ZERO, vec![0; 101]);
        }
        assert_eq!(l.lost, 2);
        for ms in 1..=3 {
            assert!(l.recv(Instant::from_nanos(ms * 1_000_000 - 1)).is_none());
            assert!(l.recv(Instant::from_millis(ms)).is_some());
        }
        assert_eq!(l.deadline(), Instant::FAR);
    }

    #[test]
    fn one_seed_one_fate() {
        let run = |seed| {
            let f = Faults {
                loss: 0.3,
                reorder: 0.3,
                duplicate: 0.2,
                corrupt: 0.1,
                jitter: Duration::from_millis(3),
                ..Faults::default()
            };
            let mut l = Link::new(f, seed);
            for i in 0..50u8 {
                l.send(Instant::from_millis(i.into()), vec![i; 20]);
            }
            assert_eq!(l.sent - l.lost + l.doubled, l.under_way() as u64);
            std::iter::from_fn(|| l.recv(Instant::FAR)).collect::<Vec<_>>()
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
        assert!(run(7).windows(2).any(|w| w[0] > w[1]), "some overtake others");
    }

    #[test]
    fn down_loses_everything() {
        let mut l: Link = Link::new(Faults::default(), 1);
        l.down = true;
        assert!(!l.send(Instant::ZERO, vec![1]));
        assert_eq!((l.lost, l.deadline()), (1, Instant::FAR));
    }
}
