//! Pacing: segments leave at a rate instead of in bursts.
//!
//! The rate is the controller's (BBR) or the program's (SO_MAX_PACING_RATE), whichever is less. What goes at once is
//! about a millisecond's worth, so that neither timers nor packets come by ones at high rates; then a timer of the
//! connection says when the next may go. Without a rate nothing here runs.

use crate::tcb::Tcb;
use crate::timers::Timer;
use alloc::boxed::Box;
use iopkt_base::{Duration, Instant};

/// Largest portion that goes at once, bytes.
const QUANTUM_MAX: u32 = 65_536;

/// Pacing state; a connection has some once there is a rate to keep.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Most bytes per second that the program allows; `u64::MAX` for no limit.
    pub(crate) max: u64,
    /// Bytes per second now; `u64::MAX` for no pacing.
    pub(crate) rate: u64,
    /// Nanoseconds a byte, times 2^16.
    cost: u64,
    /// Bytes that go at once.
    quantum: u32,
    /// When the next portion may go.
    next: Instant,
    /// Bytes left of this portion.
    left: u32,
}

impl Pace {
    pub(crate) fn new(max: u64) -> Pace {
        let mut p = Pace { max, rate: u64::MAX, cost: 0, quantum: 0, next: Instant::ZERO, left: 0 };
        p.set(u64::MAX, 1460);
        p
    }

    /// Whether there is a rate to keep.
    #[inline]
    pub(crate) fn on(&self) -> bool {
        self.rate != u64::MAX
    }

    /// What may go in one super-segment.
    #[inline]
    fn portion(&self) -> u32 {
        if self.on() { self.left } else { u32::MAX }
    }

    /// The controller's rate; the division is done when it changes.
    pub(crate) fn set(&mut self, rate: u64, mss: u32) {
        let rate = rate.min(self.max).max(1);
        if rate != self.rate {
            self.rate = rate;
            self.cost = (1_000_000_000u64 << 16) / rate;
            let ms = u32::try_from(rate / 1000).unwrap_or(QUANTUM_MAX);
            self.quantum = ms.clamp(2 * mss, QUANTUM_MAX.max(2 * mss));
        }
    }

    /// Whether something may go now, else when.
    #[inline]
    fn may(&mut self, now: Instant) -> Result<(), Instant> {
        if self.left > 0 {
            return Ok(());
        }
        if self.next > now {
            return Err(self.next);
        }
        self.left = self.quantum;
        Ok(())
    }

    /// `n` bytes went.
    #[inline]
    fn went(&mut self, now: Instant, n: u32) {
        self.left = self.left.saturating_sub(n);
        let cost = ((u128::from(self.cost) * u128::from(n)) >> 16) as u64;
        self.next = self.next.max(now) + Duration::from_nanos(cost);
    }
}

impl Default for Pace {
    fn default() -> Pace {
        Pace::new(u64::MAX)
    }
}

impl Tcb {
    /// What may go in one super-segment.
    #[inline]
    pub(crate) fn portion(&self) -> u32 {
        self.pace.as_ref().map_or(u32::MAX, |p| p.portion())
    }

    /// Bytes per second now, and the most that the program allows; `u64::MAX` for no limit.
    pub(crate) fn pace_rates(&self) -> (u64, u64) {
        self.pace.as_ref().map_or((u64::MAX, u64::MAX), |p| (p.rate, p.max))
    }

    /// Whether pacing lets data go now; else a timer is set for when it does.
    #[inline]
    pub(crate) fn paced(&mut self, now: Instant) -> bool {
        if self.pace.is_none() || (self.data_end() == self.snd.nxt && self.sent.lost_unsent() == 0) {
            return true;
        }
        let Some(pace) = self.pace.as_mut().filter(|p| p.on()) else { return true };
        match pace.may(now) {
            Ok(()) => true,
            Err(at) => {
                self.timers.set(Timer::Pace, at);
                false
            }
        }
    }

    /// `n` bytes of data went out.
    #[inline]
    pub(crate) fn pace_went(&mut self, now: Instant, n: u32) {
        if let Some(p) = self.pace.as_mut().filter(|p| p.on()) {
            p.went(now, n);
        }
    }

    /// Takes the controller's rate.
    pub(crate) fn pace_update(&mut self) {
        let rate = self.cc.get().pacing_rate().unwrap_or(u64::MAX);
        if self.pace.is_some() || rate != u64::MAX {
            self.pace.get_or_insert_with(Box::default).set(rate, self.win.mss);
        }
    }

    /// SO_MAX_PACING_RATE: most bytes per second; `u64::MAX` for no limit.
    pub fn set_max_pacing(&mut self, rate: u64) {
        if self.pace.is_some() || rate != u64::MAX {
            self.pace.get_or_insert_with(Box::default).max = rate.max(1);
            self.pace_update();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_portion_goes_and_the_next_waits_for_its_time() {
        let mut p = Pace::new(u64::MAX);
        assert!(!p.on());
        p.set(1_000_000, 1000);
        let t = Instant::from_millis(5);
        assert_eq!(p.may(t), Ok(()));
        p.went(t, 1000);
        assert_eq!(p.may(t), Ok(()), "two segments at least");
        p.went(t, 1000);
        // A megabyte per second is a byte per microsecond.
        let next = t + Duration::from_millis(2);
        let at = p.may(t).expect_err("later");
        assert!(next.since(at) < Duration::from_micros(1), "{at:?}");
        assert_eq!(p.may(next), Ok(()));
        p.set(0, 1000);
        assert_eq!(p.rate, 1, "a rate of nothing would never end");
    }
}
