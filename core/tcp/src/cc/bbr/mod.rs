//! BBR version 3 (draft-ietf-ccwg-bbr): the rate follows a model of the path instead of its losses.
//!
//! Two numbers are measured: the largest rate at which data was delivered lately, and the smallest round-trip time.
//! Their product is what the path holds without a queue. The connection is paced at the first and keeps about the
//! second's worth in flight; from time to time it sends faster to see whether there is more room (PROBE_BW: DOWN, CRUISE,
//! REFILL, UP), and less to see the round-trip time without its own queue (PROBE_RTT). Loss of more than two in a hundred, while it
//! probes or in a round, bounds what is in flight. `model.rs` measures, `probe.rs` walks the states, this file
//! turns both into window and rate.
//!
//! The names are the draft's. Rates are bytes per second, volumes bytes; counters of delivered bytes wrap.

mod model;
mod probe;
#[cfg(test)]
mod tests;

use super::{AckInfo, Controller, Sample, Window};
use iopkt_base::{Duration, Instant, Rng};

/// Loss that is too much, in hundredths (`BBR.LossThresh`).
const LOSS_THRESH: u64 = 2;
/// What is kept free for others, in hundredths (`BBR.Headroom`).
const HEADROOM: u64 = 15;
/// Segments that any path can hold (`BBR.MinPipeCwnd`).
const MIN_PIPE: u32 = 4;
/// Pacing stays below the estimate by this many hundredths.
const MARGIN: u64 = 1;
const UNBOUNDED: u32 = u32::MAX;

/// States, PROBE_BW's four phases among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Startup,
    Drain,
    Down,
    Cruise,
    Refill,
    Up,
    ProbeRtt,
}

/// What acknowledgments now are the answer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Acks {
    Init,
    Refilling,
    Starting,
    Feedback,
    Stopping,
}

/// What a wrong alarm of loss gives back.
#[derive(Clone, Copy, Debug)]
struct Before {
    bw_short: u64,
    inflight_short: u32,
    inflight_long: u32,
}

/// The model and where it stands.
#[derive(Clone, Debug)]
pub struct Bbr {
    state: State,
    rng: Rng,
    mss: u32,
    // Rates.
    /// The largest of this cycle and of the last: the filter of two.
    max_bw: [u64; 2],
    bw_short: u64,
    bw_latest: u64,
    bw: u64,
    pacing: u64,
    // Volumes.
    inflight_long: u32,
    inflight_short: u32,
    inflight_latest: u32,
    extra: model::MaxFilter,
    extra_since: Instant,
    extra_bytes: u32,
    max_inflight: u32,
    // Time.
    min_rtt: Option<Duration>,
    min_rtt_at: Instant,
    probe_min: Option<Duration>,
    probe_min_at: Instant,
    probe_expired: bool,
    // Rounds.
    delivered: u32,
    round_end: u32,
    rounds: u32,
    round_start: bool,
    loss_round_end: u32,
    loss_round_start: bool,
    loss_in_round: bool,
    /// Detections of loss in this round, bytes lost in it.
    loss_events: u8,
    loss_bytes: u32,
    // STARTUP.
    full_bw: u64,
    full_count: u8,
    full_now: bool,
    full_reached: bool,
    // PROBE_BW.
    cycle_at: Instant,
    wait: Duration,
    rounds_since: u32,
    acks: Acks,
    samples: bool,
    up_rounds: u8,
    up_count: u32,
    up_acked: u32,
    // PROBE_RTT.
    rtt_done: Option<Instant>,
    rtt_round: bool,
    idle_restart: bool,
    // Recovery.
    prior_cwnd: u32,
    conserve: bool,
    recovering: bool,
    before: Option<Before>,
}

impl Bbr {
    /// For a connection whose initial sequence number is `seed`: the times of probing are random, and need be nothing more.
    pub fn new(seed: u64) -> Bbr {
        Bbr {
            state: State::Startup,
            rng: Rng::new(seed),
            mss: 1460,
            max_bw: [0; 2],
            bw_short: u64::MAX,
            bw_latest: 0,
            bw: 0,
            pacing: 0,
            inflight_long: UNBOUNDED,
            inflight_short: UNBOUNDED,
            inflight_latest: 0,
            extra: model::MaxFilter::default(),
            extra_since: Instant::ZERO,
            extra_bytes: 0,
            max_inflight: 0,
            min_rtt: None,
            min_rtt_at: Instant::ZERO,
            probe_min: None,
            probe_min_at: Instant::ZERO,
            probe_expired: false,
            delivered: 0,
            round_end: 0,
            rounds: 0,
            round_start: false,
            loss_round_end: 0,
            loss_round_start: false,
            loss_in_round: false,
            loss_events: 0,
            loss_bytes: 0,
            full_bw: 0,
            full_count: 0,
            full_now: false,
            full_reached: false,
            cycle_at: Instant::ZERO,
            wait: Duration::ZERO,
            rounds_since: 0,
            acks: Acks::Init,
            samples: false,
            up_rounds: 0,
            up_count: u32::MAX,
            up_acked: 0,
            rtt_done: None,
            rtt_round: false,
            idle_restart: false,
            prior_cwnd: 0,
            conserve: false,
            recovering: false,
            before: None,
        }
    }

    /// Gains of the state in hundredths: pacing, window.
    fn gains(&self) -> (u64, u64) {
        match self.state {
            State::Startup => (277, 200),
            State::Drain => (50, 200),
            State::Down => (90, 200),
            State::Cruise | State::Refill => (100, 200),
            State::Up => (125, 225),
            State::ProbeRtt => (100, 50),
        }
    }

    fn probing_bw_state(&self) -> bool {
        matches!(self.state, State::Down | State::Cruise | State::Refill | State::Up)
    }

    fn largest_bw(&self) -> u64 {
        self.max_bw[0].max(self.max_bw[1])
    }

    /// `gain` hundredths of what the path holds at `bw`.
    fn bdp(&self, bw: u64, gain: u64) -> u32 {
        let Some(rtt) = self.min_rtt else { return UNBOUNDED };
        let v = u128::from(bw) * rtt.as_nanos() * u128::from(gain) / 100_000_000_000;
        u32::try_from(v).unwrap_or(UNBOUNDED)
    }

    fn min_pipe(&self) -> u32 {
        MIN_PIPE * self.mss
    }

    /// BBRInflight: with room for portions, and something to probe with.
    fn quantized(&self, volume: u32) -> u32 {
        let portion = u32::try_from(self.pacing / 1000).unwrap_or(65_536).clamp(2 * self.mss, 65_536);
        let v = volume.max(3 * portion.min(4 * self.mss)).max(self.min_pipe());
        if self.state == State::Up { v.saturating_add(2 * self.mss) } else { v }
    }

    fn probe_rtt_cwnd(&self) -> u32 {
        self.bdp(self.bw, 50).max(self.min_pipe())
    }

    fn with_headroom(&self) -> u32 {
        if self.inflight_long == UNBOUNDED {
            return UNBOUNDED;
        }
        let free = (u64::from(self.inflight_long) * HEADROOM / 100).max(u64::from(self.mss)) as u32;
        self.inflight_long.saturating_sub(free).max(self.min_pipe())
    }

    fn set_pacing(&mut self, w: &Window, srtt: Duration) {
        let (gain, _) = self.gains();
        if self.bw == 0 {
            // Nothing measured: the initial window in a round trip, or in a millisecond.
            let rtt = if srtt.is_zero() { Duration::from_millis(1) } else { srtt };
            self.pacing = u64::from(w.cwnd) * 1_000_000 / (rtt.as_micros() as u64).max(1) * gain / 100;
            return;
        }
        let rate = self.bw * gain / 100 * (100 - MARGIN) / 100;
        if self.full_reached || rate > self.pacing {
            self.pacing = rate;
        }
    }

    fn set_cwnd(&mut self, w: &mut Window, s: &Sample) {
        let (_, gain) = self.gains();
        let volume = self.bdp(self.bw, gain);
        let volume = if volume == UNBOUNDED { volume } else { volume.saturating_add(self.extra.max()) };
        self.max_inflight = self.quantized(volume);
        if s.newly_lost > 0 && self.recovering {
            w.cwnd = w.cwnd.saturating_sub(s.newly_lost).max(self.mss);
        }
        if self.conserve {
            w.cwnd = w.cwnd.max(s.in_flight.saturating_add(s.acked));
        } else if self.full_reached {
            w.cwnd = w.cwnd.saturating_add(s.acked).min(self.max_inflight);
        } else if w.cwnd < self.max_inflight || self.min_rtt.is_none() {
            w.cwnd = w.cwnd.saturating_add(s.acked);
        }
        w.cwnd = w.cwnd.max(self.min_pipe());
        if self.state == State::ProbeRtt {
            w.cwnd = w.cwnd.min(self.probe_rtt_cwnd());
        }
        let cap = match self.state {
            State::Down | State::Refill | State::Up => self.inflight_long,
            State::Cruise | State::ProbeRtt => self.with_headroom(),
            State::Startup | State::Drain => UNBOUNDED,
        };
        w.cwnd = w.cwnd.min(cap.min(self.inflight_short).max(self.min_pipe()));
    }

    fn save_cwnd(&mut self, w: &Window) {
        let now = if self.recovering || self.state == State::ProbeRtt { self.prior_cwnd } else { 0 };
        self.prior_cwnd = w.cwnd.max(now);
    }
}

impl Controller for Bbr {
    fn on_ack(&mut self, _w: &mut Window, _a: &AckInfo) {}

    fn on_sample(&mut self, w: &mut Window, s: &Sample) {
        self.mss = w.mss;
        self.update_model(w, s);
        self.set_pacing(w, s.srtt);
        self.set_cwnd(w, s);
    }

    fn on_congestion(&mut self, w: &mut Window, _now: Instant, in_flight: u32) {
        self.save_cwnd(w);
        self.recovering = true;
        self.conserve = true;
        w.cwnd = in_flight.max(w.mss);
        self.start_round();
    }

    fn on_ecn(&mut self, _w: &mut Window, _now: Instant, _in_flight: u32) {
        // A mark of RFC 3168 counts as a loss does: the short-term bounds shrink at the end of the round.
        self.note_loss();
    }

    fn on_timeout(&mut self, w: &mut Window, _now: Instant, _in_flight: u32) {
        self.save_cwnd(w);
        self.recovering = true;
        self.conserve = false;
    }

    fn on_recovered(&mut self, w: &mut Window) {
        if core::mem::take(&mut self.recovering) {
            self.conserve = false;
            w.cwnd = w.cwnd.max(self.prior_cwnd);
        }
    }

    fn on_idle(&mut self, _w: &mut Window, idle: Duration) {
        self.idle_restart = true;
        self.extra_since += idle;
        if self.probing_bw_state() {
            self.pacing = self.bw * (100 - MARGIN) / 100;
        }
    }

    fn undo(&mut self, w: &mut Window) {
        self.recovering = false;
        self.conserve = false;
        self.loss_in_round = false;
        w.cwnd = w.cwnd.max(self.prior_cwnd);
        if let Some(b) = self.before.take() {
            self.bw_short = self.bw_short.max(b.bw_short);
            self.inflight_short = self.inflight_short.max(b.inflight_short);
            self.inflight_long = self.inflight_long.max(b.inflight_long);
        }
        self.reset_full_bw();
    }

    fn rules(&self) -> bool {
        true
    }

    fn pacing_rate(&self) -> Option<u64> {
        (self.pacing > 0).then_some(self.pacing)
    }

    fn name(&self) -> &'static str {
        "bbr"
    }
}
