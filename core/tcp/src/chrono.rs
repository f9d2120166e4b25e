//! What keeps a sender waiting (Linux's `tcpi_busy_time`, `tcpi_rwnd_limited`, `tcpi_sndbuf_limited`).
//!
//! While anything is written and not acknowledged the connection is busy; part of that time it waits for the peer's window, part for
//! its program, which found the send buffer full and has nothing more in it. Looked at whenever output was asked for, so a state lasts until the next event.

use crate::tcb::Tcb;
use iopkt_base::{Duration, Instant};

/// States, and the index of each one's sum; `IDLE` has none.
const BUSY: u8 = 0;
const RWND: u8 = 1;
const SNDBUF: u8 = 2;
const IDLE: u8 = 3;

/// Sums in milliseconds, modulo 2^32.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chrono {
    kind: u8,
    since: u32,
    sums: [u32; 3],
}

impl Default for Chrono {
    fn default() -> Chrono {
        Chrono { kind: IDLE, since: 0, sums: [0; 3] }
    }
}

/// Differences of one clock's readings do not add up roundings.
fn millis(now: Instant) -> u32 {
    now.as_millis() as u32
}

impl Chrono {
    fn sums(&self, now: Instant) -> [u32; 3] {
        let mut s = self.sums;
        if let Some(x) = s.get_mut(usize::from(self.kind)) {
            *x = x.wrapping_add(millis(now).wrapping_sub(self.since));
        }
        s
    }

    fn set(&mut self, now: Instant, kind: u8) {
        self.sums = self.sums(now);
        (self.kind, self.since) = (kind, millis(now));
    }

    /// Time that the sender was busy; of it, limited by the peer's window, and by the send buffer.
    pub(crate) fn times(&self, now: Instant) -> (Duration, Duration, Duration) {
        let [busy, rwnd, sndbuf] = self.sums(now).map(u64::from);
        let of = Duration::from_millis;
        (of(busy + rwnd + sndbuf), of(rwnd), of(sndbuf))
    }
}

impl Tcb {
    /// Notes what the sender waits for now.
    #[inline]
    pub(crate) fn note_limit(&mut self, now: Instant) {
        let waiting = self.data_end().gt(self.snd.nxt);
        let kind = match () {
            // A SYN is no data.
            () if !waiting && self.outstanding() == 0 || !self.is_synchronized() => IDLE,
            () if waiting && self.window_is_short() => RWND,
            () if !waiting && self.snd.starved && self.pipe() < self.win.cwnd => SNDBUF,
            () => BUSY,
        };
        if kind != self.chrono.kind {
            self.chrono.set(now, kind);
        }
    }

    /// Whether the peer's window, and not the network's, has no room for the next segment.
    fn window_is_short(&self) -> bool {
        let edge = self.snd.una + self.snd.wnd;
        let room = if edge.gt(self.snd.nxt) { edge.since(self.snd.nxt) } else { 0 };
        room < self.data_end().since(self.snd.nxt).min(self.seg_size()) && self.pipe() < self.win.cwnd
    }
}
