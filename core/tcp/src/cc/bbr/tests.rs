//! The model alone, fed with samples; whole connections are in `tests/bbr.rs`.

use super::*;
use crate::rate::RateSample;
use alloc::vec::Vec;

const MSS: u32 = 1000;

/// A path of so many bytes per second and milliseconds; what exceeds it waits in an endless queue.
struct Path {
    b: Bbr,
    w: Window,
    now: Instant,
    delivered: u32,
    rate: u64,
    rtt: u64,
    /// Loss in every round, hundredths of the flight.
    loss: u32,
    states: Vec<State>,
}

impl Path {
    fn new(rate: u64, rtt: u64) -> Path {
        let w = Window::new(MSS, 10);
        Path {
            b: Bbr::new(1),
            w,
            now: Instant::from_millis(1000),
            delivered: 0,
            rate,
            rtt,
            loss: 0,
            states: Vec::new(),
        }
    }

    /// A round trip with the window full: one sample for each portion of it.
    fn round(&mut self) {
        let cwnd = self.w.cwnd;
        let prior = self.delivered;
        let (start, base) = (self.now, Duration::from_millis(self.rtt));
        // What the pipe does not hold waits.
        let drain = Duration::from_micros(u64::from(cwnd) * 1_000_000 / self.rate);
        let took = base.max(drain);
        for i in 1..=4u32 {
            let acked = cwnd / 4;
            self.delivered = self.delivered.wrapping_add(acked);
            self.now = start + took * i / 4;
            let rtt = base + drain.saturating_sub(base) * i / 4;
            let lost = cwnd * self.loss / 100;
            let r = RateSample {
                delivered: cwnd,
                interval: took.as_micros() as u32,
                prior_delivered: if i == 4 { prior } else { prior.wrapping_sub(1) },
                tx_in_flight: cwnd,
                lost,
                app_limited: false,
            };
            let s = Sample {
                now: self.now,
                delivered: self.delivered,
                acked,
                newly_lost: if i == 4 { lost } else { 0 },
                in_flight: self.b.bdp(self.b.bw, 100).min(cwnd),
                cwnd_limited: true,
                rtt: Some(rtt),
                srtt: rtt,
                rate: Some(r),
                lost: (i == 4 && lost > 0).then_some(r),
            };
            self.b.on_sample(&mut self.w, &s);
            self.states.push(self.b.state);
        }
    }
}

#[test]
fn startup_ends_when_the_rate_stops_growing_and_the_model_is_the_path() {
    let mut p = Path::new(1_000_000, 40);
    for _ in 0..30 {
        p.round();
    }
    assert!(p.b.full_reached && p.b.probing_bw_state(), "{:?}", p.b.state);
    let bw = p.b.largest_bw();
    assert!((900_000..=1_100_000).contains(&bw), "{bw}");
    assert!(p.w.cwnd >= 40_000 && p.w.cwnd <= 130_000, "{}", p.w.cwnd);
    let pace = p.b.pacing_rate().expect("paced");
    assert!((850_000..=1_300_000).contains(&pace), "{pace}");
}

#[test]
fn the_phases_of_probing_follow_each_other() {
    let mut p = Path::new(1_000_000, 40);
    for _ in 0..400 {
        p.round();
    }
    for s in [State::Down, State::Cruise, State::Refill, State::Up] {
        assert!(p.states.contains(&s), "{s:?}");
    }
    let refill = p.states.iter().position(|s| *s == State::Refill).expect("one");
    let next = p.states[refill..].iter().find(|s| **s != State::Refill);
    assert_eq!(next, Some(&State::Up), "a full pipe, then more");
}

#[test]
fn round_trip_time_is_probed_with_a_small_window() {
    let mut p = Path::new(1_000_000, 40);
    let mut low = u32::MAX;
    for _ in 0..200 {
        p.round();
        if p.b.state == State::ProbeRtt {
            low = low.min(p.w.cwnd);
        }
    }
    assert!(low <= 25_000, "half of what the path holds: {low}");
    assert_ne!(p.b.state, State::ProbeRtt, "and it ends");
}

#[test]
fn a_path_that_gets_slower_is_noticed() {
    let mut p = Path::new(1_000_000, 40);
    for _ in 0..60 {
        p.round();
    }
    p.rate = 300_000;
    for _ in 0..400 {
        p.round();
    }
    assert!(p.b.largest_bw() < 400_000, "{}", p.b.largest_bw());
}

#[test]
fn much_loss_bounds_what_is_in_flight_and_a_wrong_alarm_gives_it_back() {
    let mut p = Path::new(1_000_000, 40);
    for _ in 0..30 {
        p.round();
    }
    p.loss = 10;
    for _ in 0..30 {
        p.round();
    }
    assert!(p.b.inflight_short < UNBOUNDED || p.b.inflight_long < UNBOUNDED);
    let (w, before) = (p.w.cwnd, p.b.before);
    assert!(before.is_some());
    p.b.undo(&mut p.w);
    assert!(p.w.cwnd >= w && p.b.before.is_none());
    assert!(p.w.cwnd >= MIN_PIPE * MSS);
}
