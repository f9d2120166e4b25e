//! Clocks.

use iopkt_base::{Duration, Instant};
use rustix::time::{ClockId, clock_gettime};

/// CLOCK_MONOTONIC: the time that a turn of the stack sees. Its origin is the start of the machine.
pub fn monotonic() -> Instant {
    let t = clock_gettime(ClockId::Monotonic);
    Instant::from_nanos((t.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(t.tv_nsec as u64))
}

/// CLOCK_BOOTTIME: as [`monotonic`], and goes on while the machine sleeps.
pub fn boottime() -> Instant {
    let t = clock_gettime(ClockId::Boottime);
    Instant::from_nanos((t.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(t.tv_nsec as u64))
}

/// CLOCK_REALTIME: time since 1970-01-01 00:00 UTC, zero when the clock is set before that.
pub fn realtime() -> Duration {
    let t = clock_gettime(ClockId::Realtime);
    Duration::new(u64::try_from(t.tv_sec).unwrap_or(0), u32::try_from(t.tv_nsec).unwrap_or(0))
}
