//! CUBIC (RFC 9438): the window follows a cubic function of the time since the last congestion event.
//!
//! Numbers are `f64` in segments, as the RFC writes them; they are touched once per acknowledgment. Not done:
//! HyStart++ (RFC 9406), which belongs to slow start.

use super::{AckInfo, Controller, Window};
use iopkt_base::{Duration, Instant};

/// Aggressiveness (RFC 9438 section 5).
const C: f64 = 0.4;
/// Multiplicative decrease (RFC 9438 section 4.6). //= RFC9438-4.6
const BETA: f64 = 0.7;
/// Reno-friendly additive increase for that decrease: 3 * (1 - beta) / (1 + beta) (RFC 9438 section 4.3).
const ALPHA: f64 = 3.0 * (1.0 - BETA) / (1.0 + BETA);

/// RFC 9438's state.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cubic {
    /// Window before the last reduction, segments.
    w_max: f64,
    /// Start of this stage of congestion avoidance.
    epoch: Option<Instant>,
    /// Time the function takes to come back to `origin`, seconds.
    k: f64,
    /// The plateau, segments.
    origin: f64,
    /// What Reno would have, segments.
    w_est: f64,
    /// Window at the last reduction, for the switch of alpha to 1.
    cwnd_prior: f64,
    /// Fraction of a byte not yet added to the window.
    carry: f64,
    /// State before the last reduction: cwnd, ssthresh, w_max.
    prior: Option<(u32, u32, f64)>,
}

/// Cube root of a non-negative number, by Newton's method from an estimate by the exponent's third.
fn cbrt(x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    let mut y = f64::from_bits(x.to_bits() / 3 + (0x2a9f_7893_u64 << 32));
    for _ in 0..4 {
        y = (2.0 * y + x / (y * y)) / 3.0;
    }
    y
}

impl Cubic {
    fn begin(&mut self, now: Instant, cwnd: f64) {
        //= RFC9438-4.2
        self.epoch = Some(now);
        if cwnd < self.w_max {
            self.k = cbrt((self.w_max - cwnd) / C);
            self.origin = self.w_max;
        } else {
            self.k = 0.0;
            self.origin = cwnd;
        }
        self.w_est = cwnd;
    }

    fn w_cubic(&self, t: f64) -> f64 {
        let d = t - self.k;
        C * d * d * d + self.origin
    }

    fn reduce(&mut self, w: &mut Window, in_flight: u32) {
        self.prior = Some((w.cwnd, w.ssthresh, self.w_max));
        let mss = f64::from(w.mss);
        let cwnd = f64::from(w.cwnd) / mss;
        //= RFC9438-4.7
        self.w_max = if cwnd < self.w_max { cwnd * (1.0 + BETA) / 2.0 } else { cwnd };
        self.cwnd_prior = cwnd;
        self.epoch = None;
        self.carry = 0.0;
        //= RFC9438-4.6
        w.ssthresh = ((f64::from(in_flight) * BETA) as u32).max(2 * w.mss);
    }
}

impl Controller for Cubic {
    fn on_ack(&mut self, w: &mut Window, a: &AckInfo) {
        let left = if w.in_slow_start() { w.slow_start(a.acked) } else { a.acked };
        if left == 0 {
            return;
        }
        let mss = f64::from(w.mss);
        let cwnd = f64::from(w.cwnd) / mss;
        let epoch = match self.epoch {
            Some(e) => e,
            None => {
                self.begin(a.now, cwnd);
                a.now
            }
        };
        let t = a.now.since(epoch).as_secs_f64();
        let segs = f64::from(left) / mss;
        //= RFC9438-4.3
        let alpha = if self.w_est >= self.cwnd_prior && self.cwnd_prior > 0.0 { 1.0 } else { ALPHA };
        self.w_est += alpha * segs / cwnd;
        let grow = if self.w_cubic(t) < self.w_est {
            (self.w_est - cwnd).max(0.0)
        } else {
            //= RFC9438-4.4
            //= RFC9438-4.5
            let target = self.w_cubic(t + a.srtt.as_secs_f64()).clamp(cwnd, 1.5 * cwnd);
            (target - cwnd) / cwnd * segs
        };
        self.carry += grow * mss;
        let whole = self.carry as u32;
        self.carry -= f64::from(whole);
        w.cwnd = w.cwnd.saturating_add(whole);
    }

    fn on_congestion(&mut self, w: &mut Window, _now: Instant, in_flight: u32) {
        self.reduce(w, in_flight);
    }

    fn on_timeout(&mut self, w: &mut Window, _now: Instant, in_flight: u32) {
        //= RFC9438-4.8
        self.reduce(w, in_flight);
    }

    fn on_idle(&mut self, _w: &mut Window, idle: Duration) {
        // Time without data is no time in which the network showed room (RFC 9438 section 5.8).
        //= RFC9438-5.8
        if let Some(e) = &mut self.epoch {
            *e += idle;
        }
    }

    fn undo(&mut self, w: &mut Window) {
        //= RFC9438-4.9
        if let Some((cwnd, ssthresh, w_max)) = self.prior.take() {
            w.cwnd = w.cwnd.max(cwnd);
            w.ssthresh = w.ssthresh.max(ssthresh);
            self.w_max = w_max;
            self.epoch = None;
        }
    }

    fn name(&self) -> &'static str {
        "cubic"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cube_roots() {
        for x in [1e-9, 0.001, 1.0, 8.0, 27.0, 1e6, 12345.678] {
            let y = cbrt(x);
            assert!(((y * y * y - x) / x).abs() < 1e-9, "{x} {y}");
        }
        assert_eq!(cbrt(0.0), 0.0);
    }

    /// One round trip's worth of acknowledgments.
    fn round(c: &mut Cubic, w: &mut Window, now: Instant, rtt: Duration) {
        for _ in 0..(w.cwnd / w.mss) {
            let a = AckInfo { now, acked: w.mss, rtt: Some(rtt), srtt: rtt, in_flight: w.cwnd };
            c.on_ack(w, &a);
        }
    }

    #[test]
    fn returns_to_the_plateau_after_k_seconds() {
        //= RFC9438-4.2
        //= RFC9438-4.6
        let mut w = Window { cwnd: 1_000_000, ssthresh: 1_000_000, mss: 1000 };
        let mut c = Cubic::default();
        let rtt = Duration::from_millis(100);
        let flight = w.cwnd;
        c.on_congestion(&mut w, Instant::ZERO, flight);
        assert_eq!(w.ssthresh, 700_000);
        w.cwnd = w.ssthresh;
        // K = cbrt(300 / 0.4) = 9.09 s.
        let mut now = Instant::ZERO;
        let mut at_half = 0;
        for i in 0..91 {
            round(&mut c, &mut w, now, rtt);
            now += rtt;
            if i == 45 {
                at_half = w.cwnd;
            }
        }
        assert!((960_000..=1_010_000).contains(&w.cwnd), "{}", w.cwnd);
        //= RFC9438-4.4
        assert!(at_half > 950_000, "concave: most is regained early ({at_half})");
        //= RFC9438-4.5
        let plateau = w.cwnd;
        for _ in 0..100 {
            round(&mut c, &mut w, now, rtt);
            now += rtt;
        }
        assert!(w.cwnd > plateau + 200_000, "convex: it accelerates beyond ({})", w.cwnd);
    }

    #[test]
    fn is_never_slower_than_reno_where_reno_is_quick() {
        //= RFC9438-4.3
        let mut w = Window { cwnd: 20_000, ssthresh: 20_000, mss: 1000 };
        let mut c = Cubic::default();
        let flight = w.cwnd;
        c.on_congestion(&mut w, Instant::ZERO, flight);
        w.cwnd = w.ssthresh;
        let rtt = Duration::from_millis(1);
        let mut now = Instant::ZERO;
        for _ in 0..40 {
            round(&mut c, &mut w, now, rtt);
            now += rtt;
        }
        // In 40 ms the cubic function does not move; Reno's line does: 14 + 0.53 * 40 = 35 segments at most.
        assert!(w.cwnd > 25_000, "{}", w.cwnd);
    }

    #[test]
    fn fast_convergence_releases_room() {
        //= RFC9438-4.7
        let mut w = Window { cwnd: 100_000, ssthresh: 100_000, mss: 1000 };
        let mut c = Cubic::default();
        let flight = w.cwnd;
        c.on_congestion(&mut w, Instant::ZERO, flight);
        w.cwnd = w.ssthresh;
        let flight = w.cwnd;
        c.on_congestion(&mut w, Instant::ZERO, flight);
        assert!((c.w_max - 59.5).abs() < 1e-9);
        c.undo(&mut w);
        //= RFC9438-4.9
        assert_eq!((w.cwnd, c.w_max), (70_000, 100.0));
    }

    #[test]
    fn a_timeout_reduces_as_a_loss_does() {
        //= RFC9438-4.8
        let mut w = Window { cwnd: 100_000, ssthresh: 100_000, mss: 1000 };
        let mut c = Cubic::default();
        c.on_timeout(&mut w, Instant::ZERO, 50_000);
        assert_eq!((w.ssthresh, c.w_max), (35_000, 100.0));
        c.on_timeout(&mut w, Instant::ZERO, 100);
        assert_eq!(w.ssthresh, 2000);
    }

    #[test]
    fn idle_time_is_no_time() {
        //= RFC9438-5.8
        let mut w = Window { cwnd: 70_000, ssthresh: 70_000, mss: 1000 };
        let rtt = Duration::from_millis(100);
        let run = |idle: Duration, w: &mut Window| {
            let mut c = Cubic { w_max: 100.0, ..Cubic::default() };
            round(&mut c, w, Instant::ZERO, rtt);
            c.on_idle(w, idle);
            round(&mut c, w, Instant::ZERO + idle + rtt, rtt);
            w.cwnd
        };
        let short = run(Duration::ZERO, &mut w.clone());
        assert_eq!(run(Duration::from_secs(100), &mut w), short);
    }
}
