//! The timers of a connection: a few instants, of which the owner sees the earliest.

use iopkt_base::Instant;

/// Which timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    /// Retransmission, or window probes when nothing is in flight: never both.
    Rexmt = 0,
    /// Delayed acknowledgment.
    DelAck = 1,
    /// Keepalive.
    Keep = 2,
    /// TIME-WAIT, or an orphan's FIN-WAIT-2.
    TwoMsl = 3,
    /// The sink refused a segment: offer it again.
    Retry = 4,
    /// What is overdue by the reordering window is lost.
    Reorder = 5,
    /// Nothing comes back: probe for a lost tail.
    Probe = 6,
    /// Pacing lets the next portion go.
    Pace = 7,
}

const COUNT: usize = 8;

/// Expiry of each timer; [`Instant::FAR`] when stopped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timers {
    at: [Instant; COUNT],
}

impl Timers {
    pub(crate) const fn new() -> Self {
        Timers { at: [Instant::FAR; COUNT] }
    }

    #[inline]
    pub(crate) fn set(&mut self, t: Timer, at: Instant) {
        self.at[t as usize] = at;
    }

    #[inline]
    pub(crate) fn stop(&mut self, t: Timer) {
        self.at[t as usize] = Instant::FAR;
    }

    #[inline]
    pub(crate) fn is_set(&self, t: Timer) -> bool {
        self.at[t as usize] != Instant::FAR
    }

    #[inline]
    pub(crate) fn at(&self, t: Timer) -> Instant {
        self.at[t as usize]
    }

    pub(crate) fn stop_all(&mut self) {
        *self = Timers::new();
    }

    /// Whether it has expired; then it is stopped.
    pub(crate) fn take(&mut self, t: Timer, now: Instant) -> bool {
        let due = self.at[t as usize] <= now;
        if due {
            self.stop(t);
        }
        due
    }

    #[inline]
    pub(crate) fn earliest(&self) -> Instant {
        self.at.iter().copied().min().unwrap_or(Instant::FAR)
    }
}
