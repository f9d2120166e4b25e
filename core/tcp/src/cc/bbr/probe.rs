//! BBR's walk through its states.

use super::{Acks, Bbr, State, UNBOUNDED};
use crate::cc::{Sample, Window};
use iopkt_base::Duration;

/// How long PROBE_RTT stays low (`BBR.ProbeRTTDuration`).
const PROBE_RTT: Duration = Duration::from_millis(200);
/// Rounds after which a flow that shares with Reno probes at the latest.
const RENO_ROUNDS: u32 = 63;

impl Bbr {
    pub(super) fn check_startup_done(&mut self) {
        if self.state == State::Startup && self.full_reached {
            self.state = State::Drain;
        }
    }

    pub(super) fn check_drain_done(&mut self, s: &Sample) {
        if self.state == State::Drain && s.in_flight <= self.bdp(self.largest_bw(), 100) {
            self.start_down(s);
        }
    }

    /// PROBE_BW_DOWN: the queue that probing made drains.
    pub(super) fn start_down(&mut self, s: &Sample) {
        self.reset_congestion_signals();
        self.up_count = u32::MAX;
        self.rounds_since = self.rng.below(2);
        self.wait = Duration::from_millis(2000 + u64::from(self.rng.below(1000)));
        self.cycle_at = s.now;
        self.acks = Acks::Stopping;
        self.start_round();
        self.state = State::Down;
    }

    fn start_refill(&mut self) {
        self.reset_short_term();
        (self.up_rounds, self.up_acked) = (0, 0);
        self.acks = Acks::Refilling;
        self.start_round();
        self.state = State::Refill;
    }

    fn start_up(&mut self, w: &Window, s: &Sample) {
        self.acks = Acks::Starting;
        self.start_round();
        self.restart_full_bw(s);
        self.state = State::Up;
        self.raise_slope(w);
    }

    fn restart_full_bw(&mut self, s: &Sample) {
        self.reset_full_bw();
        self.full_bw = s.rate.as_ref().map_or(self.largest_bw(), |r| r.rate());
    }

    pub(super) fn update_phase(&mut self, w: &Window, s: &Sample) {
        if !self.full_reached {
            return;
        }
        self.adapt_long_term(w, s);
        match self.state {
            State::Down => {
                if !self.check_time_to_probe(w, s) && self.check_time_to_cruise(s) {
                    self.state = State::Cruise;
                }
            }
            State::Cruise => {
                self.check_time_to_probe(w, s);
            }
            State::Refill => {
                if self.round_start {
                    self.samples = true;
                    self.start_up(w, s);
                }
            }
            State::Up => {
                if self.check_time_to_go_down(w, s) {
                    self.start_down(s);
                }
            }
            State::Startup | State::Drain | State::ProbeRtt => {}
        }
    }

    fn check_time_to_probe(&mut self, w: &Window, s: &Sample) -> bool {
        let target = self.bdp(self.bw, 100).min(w.cwnd);
        let reno = (target / self.mss.max(1)).min(RENO_ROUNDS);
        let due = s.now.since(self.cycle_at) > self.wait || self.rounds_since >= reno.max(1);
        if due {
            self.start_refill();
        }
        due
    }

    fn check_time_to_cruise(&self, s: &Sample) -> bool {
        s.in_flight <= self.with_headroom() && s.in_flight <= self.bdp(self.largest_bw(), 100)
    }

    fn check_time_to_go_down(&mut self, w: &Window, s: &Sample) -> bool {
        if s.cwnd_limited && w.cwnd >= self.inflight_long {
            // The bound, not the path, keeps the rate from growing.
            self.restart_full_bw(s);
            return false;
        }
        self.full_now
    }

    /// The bound grows faster the longer nothing speaks against it.
    fn raise_slope(&mut self, w: &Window) {
        let growth = u64::from(self.mss) << self.up_rounds;
        self.up_rounds = (self.up_rounds + 1).min(30);
        self.up_count = u32::try_from(u64::from(w.cwnd) * u64::from(self.mss) / growth.max(1))
            .unwrap_or(UNBOUNDED)
            .max(self.mss);
    }

    pub(super) fn probe_upward(&mut self, w: &Window, s: &Sample) {
        if !s.cwnd_limited || w.cwnd < self.inflight_long {
            return;
        }
        // A segment of growth for every `up_count` bytes acknowledged.
        self.up_acked = self.up_acked.saturating_add(s.acked);
        if self.up_acked >= self.up_count {
            let delta = self.up_acked / self.up_count;
            self.up_acked -= delta * self.up_count;
            self.inflight_long = self.inflight_long.saturating_add(delta * self.mss);
        }
        if self.round_start {
            self.raise_slope(w);
        }
    }

    pub(super) fn check_probe_rtt(&mut self, w: &mut Window, s: &Sample) {
        if self.state != State::ProbeRtt && self.probe_expired && !self.idle_restart {
            self.save_cwnd(w);
            self.state = State::ProbeRtt;
            self.rtt_done = None;
            self.acks = Acks::Stopping;
            self.start_round();
        }
        if self.state == State::ProbeRtt {
            self.handle_probe_rtt(w, s);
        }
        if s.acked > 0 {
            self.idle_restart = false;
        }
    }

    fn handle_probe_rtt(&mut self, w: &mut Window, s: &Sample) {
        let Some(done) = self.rtt_done else {
            if s.in_flight <= self.probe_rtt_cwnd() {
                self.rtt_done = Some(s.now + PROBE_RTT);
                self.rtt_round = false;
                self.start_round();
            }
            return;
        };
        self.rtt_round |= self.round_start;
        if self.rtt_round && s.now > done {
            self.probe_min_at = s.now;
            w.cwnd = w.cwnd.max(self.prior_cwnd);
            self.reset_short_term();
            if self.full_reached {
                self.start_down(s);
                self.state = State::Cruise;
            } else {
                self.state = State::Startup;
            }
        }
    }
}
