//! Delivery rate samples (draft-ietf-ccwg-bbr section 4.1; TCP_INFO's delivery rate): how fast data reached the peer.
//!
//! Every record in flight carries a [`Stamp`] of what had been delivered when it went. When it is acknowledged, the difference
//! to now is what the network delivered meanwhile, and the longer of the two times (of sending it and of acknowledging
//! it) bounds the rate from below. Numbers are bytes and microseconds that wrap at 2^32: only differences count.

use crate::scoreboard::Lost;
use crate::tcb::Tcb;
use iopkt_base::{Duration, Instant};

/// State when a segment was sent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stamp {
    /// Bytes delivered by then, and when the last of them was.
    pub(crate) delivered: u32,
    pub(crate) delivered_at: u32,
    /// When the flight began that this segment is part of.
    pub(crate) first_at: u32,
    /// Bytes in flight, this segment included.
    pub(crate) flight: u32,
    /// Bytes called lost by then.
    pub(crate) lost: u32,
    /// The program did not fill the window.
    pub(crate) app_limited: bool,
}

/// A connection's counters for it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rate {
    pub(crate) delivered: u32,
    delivered_at: u32,
    first_at: u32,
    /// `delivered` up to which samples are limited by the program.
    app_until: Option<u32>,
    /// The last good sample, for TCP_INFO: bytes, microseconds, limited by the program.
    last: (u32, u32, bool),
}

/// What an acknowledgment says about the rate.
#[derive(Clone, Copy, Debug)]
pub struct RateSample {
    /// Bytes delivered in the interval, which is of this many microseconds.
    pub delivered: u32,
    /// See [`RateSample::delivered`]; at least 1.
    pub interval: u32,
    /// Delivered bytes (modulo 2^32) when the segment was sent.
    pub prior_delivered: u32,
    /// Bytes in flight when the segment was sent.
    pub tx_in_flight: u32,
    /// Bytes lost since it was sent.
    pub lost: u32,
    /// The program did not fill the window then.
    pub app_limited: bool,
}

impl RateSample {
    /// Bytes per second.
    pub fn rate(&self) -> u64 {
        u64::from(self.delivered) * 1_000_000 / u64::from(self.interval.max(1))
    }
}

#[inline]
pub(crate) fn micros(t: Instant) -> u32 {
    // A shift would be cheaper than the division, but for one thing: it is a division by a constant.
    (t.as_nanos() / 1000) as u32
}

impl Rate {
    /// The stamp of a segment that goes now, with `flight` bytes under way before it.
    #[inline]
    pub(crate) fn stamp(&mut self, now: Instant, flight: u32, len: u32, lost: u32) -> Stamp {
        if flight == 0 {
            let t = micros(now);
            (self.first_at, self.delivered_at) = (t, t);
        }
        Stamp {
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            first_at: self.first_at,
            flight: flight + len,
            lost,
            app_limited: self.app_until.is_some(),
        }
    }

    /// `fresh` bytes were delivered; the newest of them went at `sent` with `stamp`.
    #[inline]
    pub(crate) fn sample(
        &mut self,
        now: Instant,
        fresh: u32,
        sent: Instant,
        stamp: &Stamp,
        lost: u32,
        min_rtt: Duration,
    ) -> Option<RateSample> {
        let (t, at) = (micros(now), micros(sent));
        self.delivered = self.delivered.wrapping_add(fresh);
        self.delivered_at = t;
        if self.app_until.is_some_and(|u| self.delivered.wrapping_sub(u) as i32 > 0) {
            self.app_until = None;
        }
        let send = at.wrapping_sub(stamp.first_at);
        let ack = t.wrapping_sub(stamp.delivered_at);
        self.first_at = at;
        let s = RateSample {
            delivered: self.delivered.wrapping_sub(stamp.delivered),
            interval: send.max(ack).max(1),
            prior_delivered: stamp.delivered,
            tx_in_flight: stamp.flight,
            lost: lost.wrapping_sub(stamp.lost),
            app_limited: stamp.app_limited,
        };
        // Less than a round trip is no measurement of one.
        if u64::from(s.interval) < min_rtt.as_micros() as u64 {
            return None;
        }
        let better =
            u64::from(s.delivered) * u64::from(self.last.1) >= u64::from(self.last.0) * u64::from(s.interval);
        if !s.app_limited || better {
            self.last = (s.delivered, s.interval, s.app_limited);
        }
        Some(s)
    }

    /// What a segment that was lost says; `lost` is the count of lost bytes now.
    pub(crate) fn of_lost(&self, l: &Lost, lost: u32) -> RateSample {
        RateSample {
            delivered: self.delivered.wrapping_sub(l.stamp.delivered),
            interval: 1,
            prior_delivered: l.stamp.delivered,
            tx_in_flight: l.stamp.flight,
            lost: lost.wrapping_sub(l.stamp.lost),
            app_limited: l.stamp.app_limited,
        }
    }

    /// Bytes per second by the last sample (0 before one), and whether the program limited it.
    pub(crate) fn last(&self) -> (u64, bool) {
        match self.last {
            (_, 0, l) => (0, l),
            (d, i, l) => (u64::from(d) * 1_000_000 / u64::from(i), l),
        }
    }
}

impl Tcb {
    /// The stamp of `len` bytes that go now.
    #[inline]
    pub(crate) fn stamp(&mut self, now: Instant, len: u32) -> Stamp {
        let (flight, lost) = (self.pipe(), self.sent.lost_ever());
        self.rate.stamp(now, flight, len, lost)
    }

    /// The sample of an acknowledgment that delivered `fresh` bytes.
    #[inline]
    pub(crate) fn rate_sample(&mut self, now: Instant, fresh: u32) -> Option<RateSample> {
        if fresh == 0 {
            return None;
        }
        if !core::mem::take(&mut self.rack.news) {
            self.rate.delivered = self.rate.delivered.wrapping_add(fresh);
            return None;
        }
        let (sent, stamp) = (self.rack.xmit, self.rack.stamp);
        self.rate.sample(now, fresh, sent, &stamp, self.sent.lost_ever(), self.rtt.min())
    }

    /// The program has nothing to send while the window has room: samples say less than the path can.
    #[inline]
    pub(crate) fn note_app_limited(&mut self) {
        let pipe = self.pipe();
        if pipe < self.win.cwnd && self.data_end() == self.snd.nxt && self.sent.lost_unsent() == 0 {
            self.rate.app_until = Some(self.rate.delivered.wrapping_add(pipe));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_time_bounds_the_rate() {
        let ms = Instant::from_millis;
        let mut r = Rate::default();
        let a = r.stamp(ms(1000), 0, 1000, 0);
        let b = r.stamp(ms(1010), 1000, 1000, 0);
        let s = r.sample(ms(1050), 1000, ms(1000), &a, 0, Duration::ZERO).expect("one");
        assert_eq!((s.delivered, s.interval, s.rate()), (1000, 50_000, 20_000));
        // Both arrived within 50 ms of the first's departure; the second was 10 ms in sending, 50 in coming.
        let s = r.sample(ms(1051), 1000, ms(1010), &b, 0, Duration::ZERO).expect("one");
        assert_eq!((s.delivered, s.interval), (2000, 51_000));
        assert_eq!(r.last(), (39_215, false));
        let c = r.stamp(ms(1060), 0, 1000, 0);
        assert!(r.sample(ms(1061), 1000, ms(1060), &c, 0, Duration::from_millis(40)).is_none(), "too short");
    }

    #[test]
    fn samples_limited_by_the_program_say_so() {
        let ms = Instant::from_millis;
        let mut r = Rate { app_until: Some(1000), ..Rate::default() };
        let a = r.stamp(ms(1), 0, 1000, 0);
        assert!(a.app_limited);
        r.sample(ms(2), 1000, ms(1), &a, 0, Duration::ZERO);
        assert!(r.app_until.is_some());
        r.sample(ms(2), 1, ms(1), &a, 0, Duration::ZERO);
        assert!(r.app_until.is_none());
    }
}
