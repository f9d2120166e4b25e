//! What BBR measures: rates, round trips, losses, bursts of acknowledgments.

use super::{Acks, Bbr, Before, LOSS_THRESH, State, UNBOUNDED};
use crate::cc::{Sample, Window};
use crate::rate::RateSample;
use iopkt_base::Duration;

/// Rounds that a burst of acknowledgments is remembered (`BBR.ExtraAckedFilterLen`).
const EXTRA_ROUNDS: u32 = 10;
/// What short-term bounds fall to, in hundredths (`BBR.Beta`).
const BETA: u64 = 70;

/// The largest of the last values, by rounds: this half of the span and the half before.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MaxFilter {
    now: u32,
    last: u32,
    since: u32,
}

impl MaxFilter {
    pub(super) fn max(&self) -> u32 {
        self.now.max(self.last)
    }

    fn update(&mut self, v: u32, round: u32, span: u32) {
        if round.wrapping_sub(self.since) >= span.div_ceil(2) {
            (self.last, self.now, self.since) = (self.now, 0, round);
        }
        self.now = self.now.max(v);
    }
}

impl Bbr {
    /// BBRUpdateModelAndState.
    pub(super) fn update_model(&mut self, w: &mut Window, s: &Sample) {
        self.delivered = s.delivered;
        self.note_lost(w, s);
        self.latest_signals(s);
        self.congestion_signals(w, s);
        self.ack_aggregation(w, s);
        self.check_full_bw(s);
        self.check_startup_done();
        self.check_drain_done(s);
        self.update_phase(w, s);
        self.update_min_rtt(s);
        self.check_probe_rtt(w, s);
        if self.loss_round_start
            && let Some(r) = &s.rate
        {
            (self.bw_latest, self.inflight_latest) = (r.rate(), r.delivered);
        }
        self.bw = self.largest_bw().min(self.bw_short);
    }

    fn latest_signals(&mut self, s: &Sample) {
        self.loss_round_start = false;
        let Some(r) = &s.rate else { return };
        self.bw_latest = self.bw_latest.max(r.rate());
        self.inflight_latest = self.inflight_latest.max(r.delivered);
        if passed(r.prior_delivered, self.loss_round_end) {
            self.loss_round_end = s.delivered;
            self.loss_round_start = true;
        }
    }

    fn congestion_signals(&mut self, w: &Window, s: &Sample) {
        self.round_start = false;
        if let Some(r) = &s.rate {
            if passed(r.prior_delivered, self.round_end) {
                self.start_round();
                self.rounds = self.rounds.wrapping_add(1);
                self.rounds_since = self.rounds_since.saturating_add(1);
                self.round_start = true;
                self.conserve = false;
            }
            let bw = r.rate();
            if bw >= self.largest_bw() || !r.app_limited {
                self.max_bw[0] = self.max_bw[0].max(bw);
            }
        }
        if !self.loss_round_start {
            return;
        }
        self.check_startup_loss();
        let probing = matches!(self.state, State::Startup | State::Refill | State::Up);
        if self.loss_in_round && !probing {
            if self.bw_short == u64::MAX {
                self.bw_short = self.largest_bw();
            }
            if self.inflight_short == UNBOUNDED {
                self.inflight_short = w.cwnd;
            }
            self.bw_short = self.bw_latest.max(self.bw_short * BETA / 100);
            let less = (u64::from(self.inflight_short) * BETA / 100) as u32;
            self.inflight_short = self.inflight_latest.max(less);
        }
        self.loss_in_round = false;
        (self.loss_events, self.loss_bytes) = (0, 0);
    }

    pub(super) fn start_round(&mut self) {
        self.round_end = self.delivered;
    }

    /// A new slot for the filter of two.
    pub(super) fn next_cycle(&mut self) {
        self.max_bw = [0, self.max_bw[0]];
    }

    pub(super) fn reset_congestion_signals(&mut self) {
        (self.loss_in_round, self.bw_latest, self.inflight_latest) = (false, 0, 0);
    }

    pub(super) fn reset_short_term(&mut self) {
        (self.bw_short, self.inflight_short) = (u64::MAX, UNBOUNDED);
    }

    fn ack_aggregation(&mut self, w: &Window, s: &Sample) {
        let interval = s.now.since(self.extra_since).as_micros() as u64;
        let mut expected = u32::try_from(self.bw.saturating_mul(interval) / 1_000_000).unwrap_or(UNBOUNDED);
        if self.extra_bytes <= expected {
            (self.extra_bytes, self.extra_since, expected) = (0, s.now, 0);
        }
        self.extra_bytes = self.extra_bytes.saturating_add(s.acked);
        let extra = self.extra_bytes.saturating_sub(expected).min(w.cwnd);
        self.extra.update(extra, self.rounds, if self.full_reached { EXTRA_ROUNDS } else { 2 });
    }

    // ---- loss ----

    pub(super) fn note_loss(&mut self) {
        if !self.loss_in_round {
            self.loss_round_end = self.delivered;
            self.before = Some(Before {
                bw_short: self.bw_short,
                inflight_short: self.inflight_short,
                inflight_long: self.inflight_long,
            });
        }
        self.loss_in_round = true;
    }

    /// BBRHandleLostPacket for what this acknowledgment showed to be lost.
    fn note_lost(&mut self, w: &Window, s: &Sample) {
        let Some(l) = &s.lost else { return };
        self.note_loss();
        self.loss_events = self.loss_events.saturating_add(1);
        self.loss_bytes = self.loss_bytes.saturating_add(s.newly_lost);
        if self.samples && too_high(l) {
            // The volume at which loss passed the threshold: lost = thresh * flight is solved for the part before.
            let size = s.newly_lost.min(l.tx_in_flight).min(l.lost);
            let (flight, lost) = (u64::from(l.tx_in_flight - size), u64::from(l.lost - size));
            let prefix = (LOSS_THRESH * flight).saturating_sub(100 * lost) / (100 - LOSS_THRESH);
            let at = u32::try_from(flight + prefix).unwrap_or(UNBOUNDED);
            self.inflight_too_high(w, at, l.app_limited, s);
        }
    }

    fn inflight_too_high(&mut self, w: &Window, at: u32, app_limited: bool, s: &Sample) {
        self.samples = false;
        if !app_limited {
            let target = self.bdp(self.bw, 100).min(w.cwnd);
            self.inflight_long = at.max((u64::from(target) * BETA / 100) as u32).max(self.min_pipe());
        }
        if self.state == State::Up {
            self.start_down(s);
        }
    }

    /// Whether the sample of an acknowledgment shows too much loss; if so, the bound was set.
    pub(super) fn sample_too_high(&mut self, w: &Window, s: &Sample) -> bool {
        let Some(r) = s.rate.as_ref().filter(|r| too_high(r)) else { return false };
        if self.samples {
            self.inflight_too_high(w, r.tx_in_flight, r.app_limited, s);
        }
        true
    }

    // ---- STARTUP ----

    pub(super) fn reset_full_bw(&mut self) {
        (self.full_bw, self.full_count, self.full_now) = (0, 0, false);
    }

    fn check_full_bw(&mut self, s: &Sample) {
        let Some(r) = &s.rate else { return };
        if self.full_now || !self.round_start || r.app_limited {
            return;
        }
        let bw = r.rate();
        if bw >= self.full_bw + self.full_bw / 4 {
            self.reset_full_bw();
            self.full_bw = bw;
            return;
        }
        self.full_count += 1;
        self.full_now = self.full_count >= 3;
        self.full_reached |= self.full_now;
    }

    /// A whole round with much loss in many places ends STARTUP too.
    fn check_startup_loss(&mut self) {
        let held = u64::from(self.inflight_latest);
        if !self.full_reached
            && self.loss_events >= 6
            && u64::from(self.loss_bytes) * 100 > held * LOSS_THRESH
            && held > 0
        {
            self.full_reached = true;
            self.inflight_long = self.bdp(self.largest_bw(), 100).max(self.inflight_latest);
        }
    }

    // ---- round-trip time ----

    fn update_min_rtt(&mut self, s: &Sample) {
        self.probe_expired =
            self.probe_min.is_some() && s.now.since(self.probe_min_at) > Duration::from_secs(5);
        if let Some(rtt) = s.rtt
            && (self.probe_min.is_none_or(|m| rtt < m) || self.probe_expired)
        {
            (self.probe_min, self.probe_min_at) = (Some(rtt), s.now);
        }
        let expired = s.now.since(self.min_rtt_at) > Duration::from_secs(10);
        if let Some(p) = self.probe_min
            && (expired || self.min_rtt.is_none_or(|m| p < m))
        {
            (self.min_rtt, self.min_rtt_at) = (Some(p), self.probe_min_at);
        }
    }

    /// BBRAdaptLongTermModel.
    pub(super) fn adapt_long_term(&mut self, w: &Window, s: &Sample) {
        if self.acks == Acks::Starting && self.round_start {
            self.acks = Acks::Feedback;
        }
        if self.acks == Acks::Stopping && self.round_start {
            self.samples = false;
            self.acks = Acks::Init;
            if self.probing_bw_state() && s.rate.as_ref().is_some_and(|r| !r.app_limited) {
                self.next_cycle();
            }
        }
        if self.sample_too_high(w, s) || self.inflight_long == UNBOUNDED {
            return;
        }
        if let Some(r) = &s.rate {
            self.inflight_long = self.inflight_long.max(r.tx_in_flight);
        }
        if self.state == State::Up {
            self.probe_upward(w, s);
        }
    }
}

/// BBRIsInflightTooHigh.
fn too_high(r: &RateSample) -> bool {
    u64::from(r.lost) * 100 > u64::from(r.tx_in_flight) * LOSS_THRESH
}

/// `at` has reached `end`, both counters that wrap.
fn passed(at: u32, end: u32) -> bool {
    at.wrapping_sub(end) as i32 >= 0
}
