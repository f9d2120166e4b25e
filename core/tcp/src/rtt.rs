//! Round-trip time and the retransmission time-out (RFC 6298), in microseconds.

use iopkt_base::{Duration, Instant};

/// Clock granularity G of RFC 6298: the least the variance term may add.
const GRANULARITY_US: u32 = 1_000;
/// RTO before the first sample (RFC 6298 2.1).
const INITIAL_US: u32 = 1_000_000;
/// RTO for data when the SYN's timer expired before a sample was had (RFC 6298 5.7).
const AFTER_SYN_LOSS_US: u32 = 3_000_000;

/// Estimator state.
#[derive(Clone, Copy, Debug)]
pub struct Rtt {
    srtt: u32,
    var: u32,
    rto: u32,
    min_rto: u32,
    max_rto: u32,
    /// Smallest sample of this span of 137 s and of the last; `u32::MAX` for none. [RFC8985 6.2-1]
    min: [u32; 2],
    span: u16,
}

fn us(d: Duration) -> u32 {
    u32::try_from(d.as_micros()).unwrap_or(u32::MAX)
}

impl Rtt {
    /// Without a sample yet. [RFC6298 2.1]
    pub fn new(min_rto: Duration, max_rto: Duration) -> Self {
        let (min_rto, max_rto) = (us(min_rto).max(GRANULARITY_US), us(max_rto));
        let rto = INITIAL_US.min(max_rto);
        Rtt { srtt: 0, var: 0, rto, min_rto, max_rto: max_rto.max(min_rto), min: [u32::MAX; 2], span: 0 }
    }

    /// Takes a sample of a segment that was sent only once (Karn).
    pub fn sample(&mut self, now: Instant, d: Duration) {
        let span = (now.as_nanos() >> 37) as u16;
        if span != self.span {
            let last = if span == self.span.wrapping_add(1) { self.min[0] } else { u32::MAX };
            (self.span, self.min) = (span, [u32::MAX, last]);
        }
        self.min[0] = self.min[0].min(us(d).max(1));
        self.sample_coarse(d);
    }

    /// Takes a sample by timestamps, whose clock is too coarse to find the smallest round-trip time with: by it a
    /// short path takes no time at all, and RACK would forgive no reordering.
    pub fn sample_coarse(&mut self, d: Duration) {
        let r = us(d).max(1);
        if self.srtt == 0 {
            // [RFC6298 2.2]
            self.srtt = r;
            self.var = r / 2;
        } else {
            // [RFC6298 2.3]
            let err = self.srtt.abs_diff(r);
            self.var = (self.var - self.var / 4).saturating_add(err / 4);
            self.srtt = (self.srtt - self.srtt / 8).saturating_add(r / 8).max(1);
        }
        self.rto = self
            .srtt
            // The floor is under the variance, not under the sum (Linux): a delayed ACK on a path with a steady round trip of
            // any length is no time-out. Never less than RFC 6298 would have with this minimum.
            .saturating_add(self.var.saturating_mul(4).max(self.min_rto))
            .min(self.max_rto);
    }

    /// The SYN was lost and there is still no sample.
    pub fn syn_was_lost(&mut self) {
        // [RFC6298 5.7]
        if self.srtt == 0 {
            self.rto = self.rto.max(AFTER_SYN_LOSS_US).min(self.max_rto);
        }
    }

    /// The time-out after `backoff` expiries in a row.
    pub fn rto(&self, backoff: u8) -> Duration {
        // [RFC9293 MUST-19]
        // [RFC6298 5.5]
        // [RFC6298 2.5]
        let v = u64::from(self.rto) << backoff.min(16);
        Duration::from_micros(v.min(u64::from(self.max_rto)))
    }

    /// Smoothed round-trip time; zero before the first sample.
    pub fn srtt(&self) -> Duration {
        Duration::from_micros(u64::from(self.srtt))
    }

    /// Mean deviation.
    pub fn var(&self) -> Duration {
        Duration::from_micros(u64::from(self.var))
    }

    /// Smallest sample of the last minutes; zero without one.
    pub fn min(&self) -> Duration {
        let min = self.min[0].min(self.min[1]);
        Duration::from_micros(if min == u32::MAX { 0 } else { u64::from(min) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_rfc6298() {
        // [RFC6298 2.1]
        let mut r = Rtt::new(Duration::from_millis(200), Duration::from_secs(60));
        assert_eq!(r.rto(0), Duration::from_secs(1));
        // [RFC6298 2.2]
        r.sample(Instant::ZERO, Duration::from_millis(400));
        assert_eq!((r.srtt(), r.var()), (Duration::from_millis(400), Duration::from_millis(200)));
        assert_eq!(r.rto(0), Duration::from_millis(1200));
        // [RFC6298 2.3]
        r.sample(Instant::ZERO, Duration::from_millis(800));
        assert_eq!((r.srtt(), r.var()), (Duration::from_millis(450), Duration::from_millis(250)));
        // [RFC6298 5.5]
        assert_eq!(r.rto(1), r.rto(0) * 2);
        // [RFC6298 2.5]
        assert_eq!(r.rto(30), Duration::from_secs(60));
        for _ in 0..200 {
            r.sample(Instant::ZERO, Duration::from_micros(50));
        }
        // The floor is under the variance: srtt + max(4 * var, 200 ms).
        assert_eq!(r.rto(0), r.srtt() + Duration::from_millis(200));
        assert!(r.srtt() < Duration::from_micros(60), "{:?}", r.srtt());
        assert_eq!(r.min(), Duration::from_micros(50));
    }

    #[test]
    fn a_lost_syn_makes_the_first_data_patient() {
        // [RFC6298 5.7]
        let mut r = Rtt::new(Duration::from_millis(200), Duration::from_secs(60));
        r.syn_was_lost();
        assert_eq!(r.rto(0), Duration::from_secs(3));
        r.sample(Instant::ZERO, Duration::from_millis(10));
        assert_eq!(r.rto(0), Duration::from_millis(210));
    }

    #[test]
    fn the_smallest_is_that_of_the_last_minutes() {
        // [RFC8985 6.2-1]
        let ms = Duration::from_millis;
        let at = |s: u64| Instant::from_millis(s * 1000);
        let mut r = Rtt::new(ms(200), Duration::from_secs(60));
        assert_eq!(r.min(), Duration::ZERO);
        r.sample(at(10), ms(5));
        r.sample(at(100), ms(50));
        assert_eq!(r.min(), ms(5));
        r.sample(at(200), ms(50));
        assert_eq!(r.min(), ms(5), "of the last span");
        r.sample(at(300), ms(60));
        assert_eq!(r.min(), ms(50), "the path has changed");
        r.sample(at(3000), ms(70));
        assert_eq!(r.min(), ms(70));
    }
}
