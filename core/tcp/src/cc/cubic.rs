//! CUBIC (RFC 9438): the window follows a cubic function of the time since the last congestion event.
//!
//! Numbers are `f64` in segments, as the RFC writes them. The function is evaluated for an eighth of a window or a
//! millisecond at a time, whatever ends first; between, an acknowledgment costs a multiplication. Slow start is HyStart++'s
//! (`hystart.rs`). Time in which the program, not the window, limited the sender is no time.

use super::hystart::HyStart;
use super::{AckInfo, Controller, Window};
use alloc::boxed::Box;
use iopkt_base::{Duration, Instant};

/// Aggressiveness (RFC 9438 section 5).
const C: f64 = 0.4;
/// Multiplicative decrease. [RFC9438 4.6a]
const BETA: f64 = 0.7;
/// Reno-friendly additive increase for that decrease: 3 * (1 - beta) / (1 + beta). [RFC9438 4.3b]
const ALPHA: f64 = 3.0 * (1.0 - BETA) / (1.0 + BETA);
/// Least growth, of the bytes acknowledged, while no loss is known: a twentieth a round trip.
const BLIND: f32 = 0.05;
/// Longest use of one evaluation.
const STEP: Duration = Duration::from_millis(1);

/// One stage of congestion avoidance.
#[derive(Clone, Copy, Debug, Default)]
struct Curve {
    /// Window before the last reduction, segments; 0 for none (a time-out, or nothing lost yet).
    w_max: f64,
    /// Start of this stage of congestion avoidance; [`Instant::ZERO`]: it has not begun.
    epoch: Instant,
    /// Time the function takes to come back to `origin`, seconds.
    k: f64,
    /// The plateau, segments.
    origin: f64,
    /// What Reno would have, segments.
    w_est: f64,
    /// Window at the last reduction, for the switch of alpha to 1.
    cwnd_prior: f64,
}

/// RFC 9438's state.
#[derive(Clone, Debug, Default)]
pub struct Cubic {
    curve: Curve,
    /// Bytes of window for each byte acknowledged, by the last evaluation.
    slope: f32,
    /// Time and bytes for which it holds.
    until: Instant,
    bytes: u32,
    /// Bytes acknowledged since the last evaluation.
    acked: u32,
    /// Fraction of a byte not yet added to the window.
    carry: f32,
    /// The last acknowledgment.
    seen: Instant,
    hystart: HyStart,
    /// State before the last reduction: cwnd, ssthresh, curve.
    prior: Option<Box<(u32, u32, Curve)>>,
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

impl Curve {
    fn begin(&mut self, now: Instant, cwnd: f64) {
        // [RFC9438 4.2a]
        // No stage begins at the beginning of time.
        self.epoch = now.max(Instant::from_nanos(1));
        if cwnd < self.w_max {
            self.k = cbrt((self.w_max - cwnd) / C);
            self.origin = self.w_max;
        } else {
            // [RFC9438 4.8b]
            self.k = 0.0;
            self.origin = cwnd;
        }
        // [RFC9438 4.3a]
        self.w_est = cwnd;
    }

    fn w_cubic(&self, t: f64) -> f64 {
        let d = t - self.k;
        C * d * d * d + self.origin
    }
}

impl Cubic {
    /// Evaluates the function; `w` may jump to Reno's window.
    fn evaluate(&mut self, w: &mut Window, a: &AckInfo) {
        let (mss, c) = (f64::from(w.mss), &mut self.curve);
        let cwnd = f64::from(w.cwnd) / mss;
        if c.epoch == Instant::ZERO {
            c.begin(a.now, cwnd);
        }
        let t = a.now.since(c.epoch).as_secs_f64();
        // [RFC9438 4.3c]
        let alpha = if c.w_est >= c.cwnd_prior && c.cwnd_prior > 0.0 { 1.0 } else { ALPHA };
        c.w_est += alpha * f64::from(self.acked) / mss / cwnd;
        if c.w_cubic(t) < c.w_est {
            // [RFC9438 4.3a]
            self.carry += ((c.w_est - cwnd).max(0.0) * mss) as f32;
            self.slope = (alpha / cwnd) as f32;
        } else {
            // [RFC9438 4.2b] [RFC9438 4.4a] [RFC9438 4.5a]
            let target = c.w_cubic(t + a.srtt.as_secs_f64()).clamp(cwnd, 1.5 * cwnd);
            self.slope = ((target - cwnd) / cwnd) as f32;
        }
        if c.w_max == 0.0 {
            // No loss says yet how much the path takes: a curve that begins flat would take seconds to find out (Linux does so).
            self.slope = self.slope.max(BLIND);
        }
        self.acked = 0;
        self.until = a.now + STEP;
        self.bytes = w.cwnd / 8;
    }

    fn reduce(&mut self, w: &mut Window, in_flight: u32) {
        // Allocated at a first loss only: most connections have none.
        let prior = (w.cwnd, w.ssthresh, self.curve);
        match &mut self.prior {
            Some(p) => **p = prior,
            p => *p = Some(Box::new(prior)),
        }
        let c = &mut self.curve;
        let cwnd = f64::from(w.cwnd) / f64::from(w.mss);
        // [RFC9438 4.7a]
        c.w_max = if cwnd < c.w_max { cwnd * (1.0 + BETA) / 2.0 } else { cwnd };
        c.cwnd_prior = cwnd;
        c.epoch = Instant::ZERO;
        self.carry = 0.0;
        self.until = Instant::ZERO;
        // [RFC9438 4.6a] [RFC9438 4.6b]
        w.ssthresh = ((f64::from(in_flight) * BETA) as u32).max(2 * w.mss);
    }
}

impl Controller for Cubic {
    fn on_ack(&mut self, w: &mut Window, a: &AckInfo) {
        self.seen = a.now;
        // [RFC9438 4.10a]
        let left = if w.in_slow_start() { self.hystart.grow(w, a) } else { a.acked };
        if left == 0 {
            return;
        }
        if a.now >= self.until || self.acked >= self.bytes || self.curve.epoch == Instant::ZERO {
            self.evaluate(w, a);
        }
        self.acked = self.acked.saturating_add(left);
        self.carry += left as f32 * self.slope;
        let whole = self.carry as u32;
        self.carry -= whole as f32;
        w.cwnd = w.cwnd.saturating_add(whole);
    }

    fn on_congestion(&mut self, w: &mut Window, _now: Instant, in_flight: u32) {
        self.reduce(w, in_flight);
    }

    fn on_timeout(&mut self, w: &mut Window, _now: Instant, in_flight: u32) {
        // [RFC9438 4.8a]
        self.reduce(w, in_flight);
        // The next stage begins where slow start will end. [RFC9438 4.8b]
        self.curve.w_max = 0.0;
    }

    fn on_app_limited(&mut self, now: Instant) {
        // [RFC9438 4.2c]
        if self.curve.epoch != Instant::ZERO {
            self.curve.epoch += now.since(self.seen);
        }
        self.seen = now;
    }

    fn on_idle(&mut self, _w: &mut Window, idle: Duration) {
        // Time without data is no time in which the network showed room. [RFC9438 5.8a]
        if self.curve.epoch != Instant::ZERO {
            self.curve.epoch += idle;
        }
        self.seen += idle;
    }

    fn undo(&mut self, w: &mut Window) {
        // [RFC9438 4.9a]
        if let Some((cwnd, ssthresh, curve)) = self.prior.take().map(|p| *p) {
            w.cwnd = w.cwnd.max(cwnd);
            w.ssthresh = w.ssthresh.max(ssthresh);
            self.curve = curve;
            self.until = Instant::ZERO;
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
            let a = AckInfo { rtt: Some(rtt), srtt: rtt, in_flight: w.cwnd, ..AckInfo::test(now, w.mss) };
            c.on_ack(w, &a);
        }
    }

    #[test]
    fn returns_to_the_plateau_after_k_seconds() {
        // [RFC9438 4.2a] [RFC9438 4.2b] [RFC9438 4.6a] [RFC9438 4.6b]
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
        // [RFC9438 4.4a]
        assert!(at_half > 950_000, "concave: most is regained early ({at_half})");
        // [RFC9438 4.5a]
        let plateau = w.cwnd;
        for _ in 0..100 {
            round(&mut c, &mut w, now, rtt);
            now += rtt;
        }
        assert!(w.cwnd > plateau + 200_000, "convex: it accelerates beyond ({})", w.cwnd);
    }

    #[test]
    fn is_never_slower_than_reno_where_reno_is_quick() {
        // [RFC9438 4.3a] [RFC9438 4.3b] [RFC9438 4.3c]
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
        // [RFC9438 4.7a]
        let mut w = Window { cwnd: 100_000, ssthresh: 100_000, mss: 1000 };
        let mut c = Cubic::default();
        let flight = w.cwnd;
        c.on_congestion(&mut w, Instant::ZERO, flight);
        w.cwnd = w.ssthresh;
        let flight = w.cwnd;
        c.on_congestion(&mut w, Instant::ZERO, flight);
        assert!((c.curve.w_max - 59.5).abs() < 1e-9);
        c.undo(&mut w);
        // [RFC9438 4.9a]
        assert_eq!((w.cwnd, c.curve.w_max), (70_000, 100.0));
    }

    #[test]
    fn a_timeout_reduces_as_a_loss_does_and_the_curve_begins_anew() {
        // [RFC9438 4.8a] [RFC9438 4.8b]
        let mut w = Window { cwnd: 100_000, ssthresh: 100_000, mss: 1000 };
        let mut c = Cubic::default();
        c.on_timeout(&mut w, Instant::ZERO, 50_000);
        assert_eq!((w.ssthresh, c.curve.w_max), (35_000, 0.0));
        w.cwnd = w.ssthresh;
        round(&mut c, &mut w, Instant::ZERO, Duration::from_millis(100));
        assert_eq!((c.curve.k, c.curve.origin), (0.0, 35.0));
        c.on_timeout(&mut w, Instant::ZERO, 100);
        assert_eq!(w.ssthresh, 2000);
    }

    #[test]
    fn before_a_loss_growth_is_a_twentieth_at_least() {
        let mut w = Window { cwnd: 100_000, ssthresh: 100_000, mss: 1000 };
        let mut c = Cubic::default();
        let rtt = Duration::from_millis(10);
        let mut now = Instant::ZERO;
        for _ in 0..14 {
            round(&mut c, &mut w, now, rtt);
            now += rtt;
        }
        // 1.05 ^ 14 = 1.98. By the curve alone it would be 107 segments.
        assert!((180_000..215_000).contains(&w.cwnd), "{}", w.cwnd);
        // A loss says where the path ends.
        let flight = w.cwnd;
        c.on_congestion(&mut w, now, flight);
        w.cwnd = w.ssthresh;
        let before = w.cwnd;
        round(&mut c, &mut w, now, rtt);
        assert!(w.cwnd < before + 3000, "{}", w.cwnd);
    }

    #[test]
    fn idle_time_is_no_time() {
        // [RFC9438 5.8a]
        let mut w = Window { cwnd: 70_000, ssthresh: 70_000, mss: 1000 };
        let rtt = Duration::from_millis(100);
        let run = |idle: Duration, w: &mut Window| {
            let mut c = Cubic { curve: Curve { w_max: 100.0, ..Curve::default() }, ..Cubic::default() };
            round(&mut c, w, Instant::ZERO, rtt);
            c.on_idle(w, idle);
            round(&mut c, w, Instant::ZERO + idle + rtt, rtt);
            w.cwnd
        };
        let short = run(Duration::ZERO, &mut w.clone());
        assert_eq!(run(Duration::from_secs(100), &mut w), short);
    }

    #[test]
    fn time_limited_by_the_program_is_no_time() {
        // [RFC9438 4.2c]
        let rtt = Duration::from_millis(100);
        let run = |pause: u64| {
            let mut w = Window { cwnd: 70_000, ssthresh: 70_000, mss: 1000 };
            let mut c = Cubic { curve: Curve { w_max: 100.0, ..Curve::default() }, ..Cubic::default() };
            round(&mut c, &mut w, Instant::ZERO, rtt);
            // Acknowledgments come all the time, of less than the window.
            for i in 0..=pause {
                c.on_app_limited(Instant::ZERO + Duration::from_millis(100 * i));
            }
            round(&mut c, &mut w, Instant::ZERO + Duration::from_millis(100 * pause) + rtt, rtt);
            w.cwnd
        };
        assert_eq!(run(200), run(0));
    }
}
