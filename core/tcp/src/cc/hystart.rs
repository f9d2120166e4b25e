//! HyStart++ (RFC 9406): leaves slow start when round-trip times say that a queue builds, before it overflows.
//!
//! Each round trip's smallest sample of the first few is compared with the last round's. Once it is higher by a
//! threshold, growth becomes conservative (a quarter) for some rounds; if the delay falls back, the rise was jitter and
//! slow start goes on, else it is over. Only the first slow start of a connection is watched: later ones know a
//! threshold.

use super::{AckInfo, Window};
use crate::seq::Seq;
use core::num::NonZeroU32;

/// RFC 9406 section 4.3. [RFC9406 4.3a]
const MIN_RTT_THRESH: u32 = 4_000;
const MAX_RTT_THRESH: u32 = 16_000;
const MIN_RTT_DIVISOR: u32 = 8;
const N_RTT_SAMPLE: u8 = 8;
const CSS_GROWTH_DIVISOR: u32 = 4;
const CSS_ROUNDS: u8 = 5;

/// State of the first slow start; times in microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct HyStart {
    /// End of this round: SND.NXT at its beginning.
    end: Option<Seq>,
    /// Smallest round-trip time of this round and of the last.
    now: Option<NonZeroU32>,
    last: Option<NonZeroU32>,
    samples: u8,
    /// Conservative slow start: its rounds so far, and the delay that it began with.
    css: Option<(u8, NonZeroU32)>,
    /// Bytes not yet worth a byte of window.
    carry: u8,
    /// The first slow start is over.
    done: bool,
}

impl HyStart {
    /// Slow start's growth for an acknowledgment; returns bytes that are left over when it is over.
    pub fn grow(&mut self, w: &mut Window, a: &AckInfo) -> u32 {
        if self.done || w.ssthresh != u32::MAX {
            // [RFC9406 4.2g]
            self.done = true;
            return w.slow_start(a.acked);
        }
        self.round(a);
        // The acknowledgment that shows the rise still counts in full.
        let css = self.css;
        self.look(a);
        match css {
            None => w.slow_start(a.acked),
            Some((rounds, _)) if rounds >= CSS_ROUNDS => {
                // [RFC9406 4.2f]
                self.done = true;
                w.ssthresh = w.cwnd;
                a.acked
            }
            Some(_) => {
                // [RFC9406 4.2d]
                let sum = a.acked + u32::from(self.carry);
                let n = sum / CSS_GROWTH_DIVISOR;
                self.carry = (sum % CSS_GROWTH_DIVISOR) as u8;
                w.slow_start(n)
            }
        }
    }

    /// A round ends when what was the highest sequence number at its beginning is acknowledged.
    fn round(&mut self, a: &AckInfo) {
        // [RFC9406 4.2a]
        if self.end.is_some_and(|e| a.una.lt(e)) {
            return;
        }
        if self.end.is_some() {
            self.last = self.now;
            if let Some((rounds, _)) = &mut self.css {
                *rounds += 1;
            }
        }
        self.end = Some(a.nxt);
        (self.now, self.samples) = (None, 0);
    }

    fn look(&mut self, a: &AckInfo) {
        let Some(rtt) = a.rtt else { return };
        let us = u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX);
        let rtt = NonZeroU32::new(us).unwrap_or(NonZeroU32::MIN);
        // [RFC9406 4.2b]
        let now = self.now.map_or(rtt, |n| n.min(rtt));
        self.now = Some(now);
        self.samples = self.samples.saturating_add(1);
        if self.samples < N_RTT_SAMPLE {
            return;
        }
        match (self.css, self.last) {
            (None, Some(last)) => {
                // [RFC9406 4.2c]
                let thresh = (last.get() / MIN_RTT_DIVISOR).clamp(MIN_RTT_THRESH, MAX_RTT_THRESH);
                if now >= last.saturating_add(thresh) {
                    self.css = Some((0, now));
                }
            }
            // [RFC9406 4.2e]
            (Some((_, baseline)), _) if now < baseline => self.css = None,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use iopkt_base::{Duration, Instant};

    const MSS: u32 = 1000;

    struct Path {
        h: HyStart,
        w: Window,
        una: Seq,
        rtt: u64,
    }

    impl Path {
        fn new() -> Path {
            Path { h: HyStart::default(), w: Window::new(MSS, 10), una: Seq(0), rtt: 40 }
        }

        /// A round trip: a window goes, an ACK for each segment comes. Returns the growth.
        fn round(&mut self) -> u32 {
            let before = self.w.cwnd;
            for _ in 0..before / MSS {
                self.una += MSS;
                let rtt = Duration::from_millis(self.rtt);
                let now = Instant::ZERO;
                let a = AckInfo {
                    rtt: Some(rtt),
                    una: self.una,
                    nxt: self.una + self.w.cwnd,
                    ..AckInfo::test(now, MSS)
                };
                self.h.grow(&mut self.w, &a);
            }
            self.w.cwnd - before
        }
    }

    #[test]
    fn a_steady_delay_doubles_for_ever() {
        // [RFC9406 4.2a] [RFC9406 4.2b]
        let mut p = Path::new();
        for i in 0..8 {
            assert_eq!(p.round(), 10_000 << i);
        }
    }

    #[test]
    fn a_rising_delay_slows_growth_and_then_ends_it() {
        // [RFC9438 4.10a] [RFC9406 4.2c] [RFC9406 4.2d] [RFC9406 4.2f] [RFC9406 4.3a]
        let mut p = Path::new();
        p.round();
        // 40 / 8 = 5 ms are the threshold.
        p.rtt = 44;
        assert_eq!(p.round(), 20_000, "not enough of a rise");
        p.rtt = 50;
        let before = p.w.cwnd;
        let slow = p.round();
        assert!(slow < before / 2, "a quarter after the eighth sample: {slow} of {before}");
        let mut rounds = 1;
        while p.w.ssthresh == u32::MAX {
            let (before, grown) = (p.w.cwnd, p.round());
            assert!(grown <= before / 4);
            rounds += 1;
            assert!(rounds < 10);
        }
        assert_eq!(rounds, 6, "five rounds of it");
        assert!(!p.w.in_slow_start());
    }

    #[test]
    fn a_delay_that_falls_again_was_jitter() {
        // [RFC9406 4.2e]
        let mut p = Path::new();
        p.round();
        p.rtt = 60;
        p.round();
        p.rtt = 42;
        p.round();
        let before = p.w.cwnd;
        assert_eq!(p.round(), before, "slow start goes on");
    }

    #[test]
    fn later_slow_starts_are_not_watched() {
        // [RFC9406 4.2g]
        let mut p = Path::new();
        p.w.ssthresh = 1_000_000;
        p.round();
        p.rtt = 200;
        assert_eq!(p.round(), 20_000);
        assert!(p.h.done);
    }
}
