//! Looking again for a moment instead of sleeping.
//!
//! Waking a thread that sleeps on another CPU costs tens of microseconds: more than everything else that a small request and its
//! response need. So a packet thread that has been woken again and again within a moment looks (epoll_wait(2) with no
//! time) for that moment before it sleeps. Three rules keep it harmless:
//!
//! - **Only when it has paid.** Each wait that ended within the bound adds to a credit, each longer one takes four times as much away. Below
//!   a threshold it sleeps at once: an idle thread, and one with a packet now and then, never look.
//! - **Only on a CPU that nobody else wants.** Between two looks it yields; when it comes back late, others have run here. Then it sleeps, and for
//!   a time that doubles with each such case, up to [`BACK_OFF_MAX`], does not look at all.
//! - **Bounded**, by `net.inet.ip.busy_poll` (microseconds, 0: never), and not at all when the machine has no more CPUs than
//!   packet threads. Who confines io-pkt to a CPU (taskset(1)) of several wants it there: a program that shares that CPU runs
//!   whenever it can, as each look ends with a yield, and nobody has to wake the CPU when a frame comes.
//!
//! The pause between two looks doubles too, so that a wait that does not end soon costs fewer system calls.

use iopkt_base::Instant;
use iopkt_sys::{Epoll, Event, clock};
use std::time::Duration;

/// Credit that it takes to look, and the most that there is.
const ENOUGH: u32 = 8;
const MOST: u32 = 32;
/// Credit that a long wait costs.
const LONG_COSTS: u32 = 4;
/// Nanoseconds between two looks that mean that somebody else had the CPU: less than a scheduler's slice, more than an interrupt
/// takes.
const LATE: u64 = 500_000;
/// For how long nobody looks after that, at first and at most, nanoseconds.
const BACK_OFF_MIN: u64 = 1_000_000;
const BACK_OFF_MAX: u64 = 128_000_000;
/// Most turns of the pause between two looks.
const PAUSE_MAX: u32 = 16;

/// What one packet thread knows of its waits.
#[derive(Debug)]
pub(crate) struct Spin {
    /// There are CPUs besides those of the packet threads.
    allowed: bool,
    /// The bound, nanoseconds.
    bound: u64,
    credit: u32,
    /// Somebody else wanted the CPU: not before this time, and how long the next time.
    not_before: u64,
    back_off: u64,
}

impl Spin {
    /// `cpus` is how many CPUs' time this process has, `mine` how many it may run on, `online` how many there are.
    pub(crate) fn new(threads: usize, cpus: usize, (online, mine): (usize, usize)) -> Spin {
        let confined = cpus == mine && mine >= threads && online > threads;
        Spin {
            allowed: cpus > threads || confined,
            bound: 0,
            credit: 0,
            not_before: 0,
            back_off: BACK_OFF_MIN,
        }
    }

    /// The bound, microseconds.
    pub(crate) fn set_bound(&mut self, us: u32) {
        self.bound = if self.allowed { u64::from(us) * 1000 } else { 0 };
    }

    /// Waits for events, at most as long as `timeout`.
    pub(crate) fn wait(
        &mut self,
        epoll: &Epoll,
        events: &mut Vec<Event>,
        most: usize,
        timeout: Option<Duration>,
    ) -> std::io::Result<()> {
        if self.bound == 0 || timeout == Some(Duration::ZERO) {
            return epoll.wait(events, most, timeout).map(drop);
        }
        let begin = now();
        let mut left = timeout;
        if self.looks(begin) {
            let end = begin + timeout.map_or(self.bound, |t| self.bound.min(t.as_nanos() as u64));
            let (mut at, mut pause) = (begin, 1);
            loop {
                epoll.wait(events, most, Some(Duration::ZERO))?;
                if !events.is_empty() {
                    self.ended(now() - begin);
                    return Ok(());
                }
                for _ in 0..pause {
                    std::hint::spin_loop();
                }
                pause = (pause * 2).min(PAUSE_MAX);
                std::thread::yield_now();
                let t = now();
                if t - at > LATE {
                    self.disturbed(t);
                    break;
                }
                at = t;
                if at >= end {
                    break;
                }
            }
            left = timeout.map(|t| t.saturating_sub(Duration::from_nanos(now() - begin)));
        }
        epoll.wait(events, most, left)?;
        self.ended(now() - begin);
        Ok(())
    }

    fn looks(&self, at: u64) -> bool {
        self.credit >= ENOUGH && at >= self.not_before
    }

    /// A wait took so many nanoseconds.
    fn ended(&mut self, took: u64) {
        self.credit = if took <= self.bound {
            (self.credit + 1).min(MOST)
        } else {
            self.credit.saturating_sub(LONG_COSTS)
        };
    }

    /// Somebody else had the CPU.
    fn disturbed(&mut self, at: u64) {
        // Long after the last time it begins anew.
        if at.saturating_sub(self.not_before) > BACK_OFF_MAX {
            self.back_off = BACK_OFF_MIN;
        }
        self.not_before = at + self.back_off;
        self.back_off = (self.back_off * 2).min(BACK_OFF_MAX);
    }
}

/// Whether it pays to look for programs' answers before what the stack has to send leaves. A program on this CPU, and a quick one on
/// another, has often answered when the data has just been given to it: acknowledgment, answer and the end of the
/// connection are then one segment.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    credit: u32,
    /// Times that nobody looked.
    passed: u32,
}

/// One look in so many is tried although none has paid.
const TRIAL: u32 = 32;

impl Answers {
    /// Whether to look now.
    pub(crate) fn looks(&mut self) -> bool {
        self.passed += 1;
        let now = self.credit > 0 || self.passed >= TRIAL;
        if now {
            self.passed = 0;
        }
        now
    }

    /// Whether a look has found something.
    pub(crate) fn found(&mut self, any: bool) {
        self.credit = if any { (self.credit + 2).min(MOST) } else { self.credit.saturating_sub(1) };
    }
}

fn now() -> u64 {
    clock::monotonic().since(Instant::ZERO).as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spin() -> Spin {
        let mut s = Spin::new(1, 2, (2, 2));
        s.set_bound(50);
        s
    }

    #[test]
    fn it_looks_only_when_short_waits_were_many() {
        let mut s = spin();
        assert!(!s.looks(0));
        (0..ENOUGH).for_each(|_| s.ended(20_000));
        assert!(s.looks(0));
        (0..1000).for_each(|_| s.ended(20_000));
        // A few long waits end it, however long it went well before.
        (0..MOST / LONG_COSTS).for_each(|_| s.ended(10_000_000));
        assert!(!s.looks(0));
        s.ended(20_000);
        assert!(!s.looks(0));
    }

    #[test]
    fn others_on_the_cpu_end_it_for_longer_and_longer() {
        let mut s = spin();
        (0..MOST).for_each(|_| s.ended(1000));
        let mut at = 1000;
        let mut last = 0;
        for _ in 0..12 {
            s.disturbed(at);
            assert!(!s.looks(at) && s.looks(s.not_before));
            let gap = s.not_before - at;
            assert!(gap >= last && gap <= BACK_OFF_MAX);
            (last, at) = (gap, s.not_before);
        }
        assert_eq!(last, BACK_OFF_MAX);
        // After a quiet time it is a short one again.
        s.disturbed(at + 2 * BACK_OFF_MAX);
        assert_eq!(s.back_off, 2 * BACK_OFF_MIN);
    }

    #[test]
    fn answers_are_looked_for_while_it_pays() {
        let mut a = Answers::default();
        let tries =
            |a: &mut Answers, any| (0..320).filter(|_| a.looks().then(|| a.found(any)).is_some()).count();
        assert_eq!(tries(&mut a, false), 10);
        // The first that pays is a trial.
        assert_eq!(tries(&mut a, true), 320 - TRIAL as usize + 1);
        assert_eq!(tries(&mut a, false), MOST as usize + (320 - MOST as usize) / TRIAL as usize);
    }

    #[test]
    fn no_cpu_to_spare_and_no_bound_mean_never() {
        let bound = |threads, cpus, processors| {
            let mut s = Spin::new(threads, cpus, processors);
            s.set_bound(50);
            s.bound
        };
        assert_eq!(bound(2, 2, (2, 2)), 0);
        assert_eq!(bound(1, 1, (1, 1)), 0);
        // Confined to one of two CPUs; one CPU's time of two CPUs; two threads on one CPU.
        assert_eq!(bound(1, 1, (2, 1)), 50_000);
        assert_eq!(bound(1, 1, (2, 2)), 0);
        assert_eq!(bound(2, 1, (4, 1)), 0);
        let mut s = spin();
        s.set_bound(0);
        let (epoll, mut events) = (Epoll::new().expect("epoll"), Vec::new());
        (0..100).for_each(|_| s.ended(0));
        s.wait(&epoll, &mut events, 1, Some(Duration::from_nanos(1))).expect("wait");
        assert!(events.is_empty());
    }
}
