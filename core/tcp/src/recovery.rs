//! Loss recovery: fast retransmit by duplicate ACKs (RFC 5681, NewReno RFC 6582), or with SACK by time (RFC 8985,
//! rack.rs) in RFC 6675's frame; and the time after a retransmission time-out.
//!
//! All of them come to the same: records are marked lost on the scoreboard, and output sends lost ones first
//! while `pipe < cwnd`. Without SACK, each duplicate ACK stands for one segment that has left the network
//! (`reno`), which replaces RFC 6582's inflation of the window. The window in
//! [`Mode::Fast`] is PRR's (RFC 6937). Whether a
//! time-out was needless is asked by the echo of timestamps (RFC 3522), by D-SACKs (RFC 3708), and by F-RTO (`frto.rs`).

use crate::cc::{AckInfo, RateSample, Sample};
use crate::frto::Frto;
use crate::seq::Seq;
use crate::tcb::Tcb;
use crate::timers::Timer;
use iopkt_base::{Duration, Instant};

/// Duplicate ACKs that mean loss (RFC 5681).
const DUP_THRESH: u8 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Mode {
    #[default]
    Open,
    /// Fast recovery, until everything sent before it is acknowledged.
    Fast,
    /// A router's mark reduced the window: as [`Mode::Fast`], with nothing lost.
    Cwr,
    /// After a time-out, until everything sent before it is acknowledged.
    Loss,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Recovery {
    pub(crate) mode: Mode,
    /// SND.MAX when recovery began: the end of it. Counts once a recovery has begun.
    pub(crate) point: Seq,
    pub(crate) dupacks: u8,
    /// Bytes that duplicate ACKs say have arrived (without SACK).
    pub(crate) reno: u32,
    /// PRR (RFC 6937): bytes delivered and sent in this recovery, bytes in flight before it.
    delivered: u32,
    pub(crate) sent: u32,
    flight: u32,
    /// Retransmissions of the last recovery that no D-SACK has shown to be needless.
    pub(crate) needless: u32,
    /// Of the needless ones, those that timestamps told of: a D-SACK for each is still to come.
    pub(crate) told: u32,
    /// Whether the last time-out was needless.
    pub(crate) frto: Frto,
    /// The end of the last recovery is known: `point` is valid.
    valid: bool,
    usage: Usage,
}

/// How much of the window the sender used in the present round trip.
#[derive(Clone, Copy, Debug, Default)]
struct Usage {
    /// It was full.
    full: bool,
    /// Most bytes in flight.
    most: u32,
    /// SND.NXT when this was noted.
    until: Seq,
}

/// What one ACK did, for recovery and congestion control.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AckWork {
    /// Bytes acknowledged cumulatively.
    pub(crate) acked: u32,
    /// Of these, and of those newly SACKed: bytes not known to have arrived before.
    pub(crate) fresh: u32,
    /// A duplicate ACK.
    pub(crate) dup: bool,
    /// Bytes in flight before it.
    pub(crate) flight: u32,
    pub(crate) rtt: Option<Duration>,
    /// Retransmitted segments of which the original arrived.
    pub(crate) originals: u32,
    /// Something was acknowledged that was called lost and never sent again; something that was.
    pub(crate) never_again: bool,
    pub(crate) again: bool,
}

impl Tcb {
    /// Bytes believed to be in the network.
    #[inline]
    pub(crate) fn pipe(&self) -> u32 {
        self.sent.pipe(self.outstanding()).saturating_sub(self.rec.reno)
    }

    /// Recovery and congestion control for one acceptable ACK.
    pub(crate) fn after_ack(&mut self, now: Instant, w: &AckWork) {
        let rate = self.rate_sample(now, w.fresh);
        let lost = self.sent.lost_ever();
        self.react(now, w);
        if self.cc.rules() {
            self.tell_ruler(now, w, rate, lost);
        }
    }

    /// For a controller that rules the window: all that this acknowledgment showed.
    fn tell_ruler(&mut self, now: Instant, w: &AckWork, rate: Option<RateSample>, lost: u32) {
        let ever = self.sent.lost_ever();
        let newest = self.sent.take_lost();
        let s = Sample {
            now,
            delivered: self.rate.delivered,
            acked: w.fresh,
            newly_lost: ever.wrapping_sub(lost),
            in_flight: self.pipe(),
            cwnd_limited: w.flight + self.win.mss > self.win.cwnd,
            rtt: w.rtt,
            srtt: self.rtt.srtt(),
            rate,
            lost: newest.map(|l| self.rate.of_lost(&l, ever)),
        };
        self.cc.get().on_sample(&mut self.win, &s);
        self.tune_send();
        self.pace_update();
    }

    fn react(&mut self, now: Instant, w: &AckWork) {
        let mss = self.seg_size();
        if w.originals > 0 && matches!(self.rec.mode, Mode::Fast | Mode::Loss) {
            // [RFC3522 3.2]
            // [RFC4015 3.2]
            let n = w.originals.min(self.rec.needless);
            self.rec.needless -= n;
            self.rec.told += n;
            if n > 0 && self.rec.needless == 0 {
                self.undo();
            }
        }
        if self.rec.mode == Mode::Loss && self.frto_ack(w) {
            return;
        }
        if self.rec.mode != Mode::Open && self.snd.una.ge(self.rec.point) {
            self.leave_recovery();
        }
        match self.rec.mode {
            Mode::Open => self.open_ack(now, w, mss),
            Mode::Fast => {
                let delivered = self.delivered_by(w, mss);
                if w.dup && !self.sack_ok {
                    self.rec.reno = (self.rec.reno + mss).min(self.outstanding());
                }
                if w.acked > 0 && !self.sack_ok {
                    // The hole was filled and the next one begins here. [RFC6582 3.2-3-partial]
                    self.rec.reno =
                        self.rec.reno.saturating_sub(w.acked.saturating_sub(mss)).min(self.outstanding());
                    if self.sent.mark_head(mss) > 0 {
                        self.owed.force_retx = true;
                    }
                }
                let lost = if self.sack_ok { self.rack_detect(now) } else { 0 };
                self.prr(delivered, w.acked > 0 && lost == 0, mss);
            }
            Mode::Cwr => {
                let lost = self.find_loss(now, w, mss);
                if lost > 0 {
                    self.cwr_to_fast();
                }
                self.prr(self.delivered_by(w, mss), w.acked > 0 && lost == 0, mss);
            }
            Mode::Loss => {
                if self.sack_ok {
                    self.rack_detect(now);
                }
                if self.rec.frto != Frto::Second {
                    self.grow(now, w);
                }
            }
        }
    }

    fn open_ack(&mut self, now: Instant, w: &AckWork, mss: u32) {
        // Without SACK, what duplicates told of must not make the window grow again: one segment filled the hole.
        let told = self.rec.reno;
        if self.find_loss(now, w, mss) > 0 && !self.mtu_lost() {
            self.enter_fast(now, w.flight);
            self.prr(self.delivered_by(w, mss), false, mss);
        } else if !self.sack_ok && told > 0 && w.acked > 0 {
            let fresh = w.acked.saturating_sub(told).max(mss).min(w.acked);
            self.grow(now, &AckWork { fresh, ..*w });
        } else {
            self.grow(now, w);
        }
    }

    /// Counts duplicates and looks for losses outside of recovery; bytes found lost.
    fn find_loss(&mut self, now: Instant, w: &AckWork, mss: u32) -> u32 {
        if w.acked > 0 {
            (self.rec.dupacks, self.rec.reno) = (0, 0);
            // The point would be ahead again after half a turn of the circle.
            self.rec.valid &= self.snd.una.le(self.rec.point);
        }
        if w.dup {
            self.rec.dupacks = self.rec.dupacks.saturating_add(1);
            self.stats.dup_acks += 1;
            if !self.sack_ok {
                // Also what lets limited transmit send new data on the first two. [RFC3042 2]
                self.rec.reno = (self.rec.reno + mss).min(self.outstanding());
            }
        }
        // Without anything SACKed, what is cumulatively acknowledged has nothing missing before it.
        let look = self.sack_ok && (self.sent.sacked() > 0 || w.dup || self.timers.is_set(Timer::Reorder));
        let mut lost = if look { self.rack_detect(now) } else { 0 };
        if !self.sack_ok && self.rec.dupacks >= DUP_THRESH && self.may_enter() {
            // [RFC5681 3.2]
            lost = self.sent.mark_head(mss);
        }
        lost
    }

    /// Without SACK, duplicate ACKs caused by our own retransmissions must not start another recovery.
    fn may_enter(&self) -> bool {
        // [RFC6582 3.2-1]
        !self.rec.valid || self.snd.una.gt(self.rec.point)
    }

    /// What the window let into the network: where it was full in this round trip, all of it (Linux counts so always). What is outstanding now
    /// is less when a late turn finds the acknowledgments of half a window before it may send. [RFC9438 4.6b]
    fn let_out(&self, flight: u32) -> u32 {
        let most = self.win.cwnd.max(self.win.mss);
        if self.rec.usage.full || self.knobs.reduce_cwnd {
            most
        } else {
            flight.max(self.outstanding()).min(most)
        }
    }

    pub(crate) fn enter_fast(&mut self, now: Instant, flight: u32) {
        // All that is outstanding, SACKed or not: that is what the window let into the network. [RFC6675 5]
        let flight = self.let_out(flight);
        self.cc.get().on_congestion(&mut self.win, now, flight);
        // [RFC6582 3.2-2]
        self.prr_begins(Mode::Fast, flight);
        self.recovery_begins();
    }

    /// A router's mark: the window shrinks as for a loss. [RFC3168 6.1.2a]
    pub(crate) fn enter_cwr(&mut self, now: Instant, flight: u32) {
        let flight = self.let_out(flight);
        self.cc.get().on_ecn(&mut self.win, now, flight);
        if self.cc.rules() {
            return self.ecn_reduced();
        }
        if self.outstanding() == 0 {
            // Nothing will come back to clock the window down.
            self.win.cwnd = self.win.ssthresh;
            return self.ecn_reduced();
        }
        self.prr_begins(Mode::Cwr, flight);
        (self.rec.point, self.rec.needless) = (self.snd.max, 0);
    }

    /// The window goes from `flight` to the threshold by the deliveries to come.
    fn prr_begins(&mut self, mode: Mode, flight: u32) {
        // Until the next ACK nothing goes but the first retransmission.
        if !self.cc.rules() {
            self.win.cwnd = self.pipe();
        }
        self.rec.mode = mode;
        (self.rec.delivered, self.rec.sent, self.rec.flight) = (0, 0, flight.max(self.win.mss));
        self.ecn_reduced();
    }

    /// Losses in a flight for which the window was reduced already: they do not reduce it again. [RFC3168 6.1.2b]
    pub(crate) fn cwr_to_fast(&mut self) {
        self.rec.mode = Mode::Fast;
        self.recovery_begins();
    }

    fn recovery_begins(&mut self) {
        self.probe_forget();
        (self.rec.point, self.rec.valid) = (self.snd.max, true);
        self.owed.force_retx = true;
        (self.rec.needless, self.rec.told) = (0, 0);
        self.stats.recoveries += 1;
    }

    /// Bytes that an ACK shows to have arrived; without SACK a duplicate stands for a segment, which the ACK that
    /// covers it later must not count again.
    fn delivered_by(&self, w: &AckWork, mss: u32) -> u32 {
        match (self.sack_ok, w.dup) {
            (true, _) => w.fresh,
            (false, true) => mss,
            (false, false) => w.acked.saturating_sub(self.rec.reno),
        }
    }

    /// Proportional rate reduction (RFC 6937): the window follows the deliveries, so that recovery ends with
    /// `ssthresh` bytes in flight, without a pause before and without a burst after. `safe`: data was acknowledged
    /// and no further loss found.
    fn prr(&mut self, delivered: u32, safe: bool, mss: u32) {
        if self.cc.rules() {
            return;
        }
        let (pipe, ssthresh) = (self.pipe(), self.win.ssthresh);
        let r = &mut self.rec;
        r.delivered = r.delivered.saturating_add(delivered);
        let credit = if pipe > ssthresh {
            // [RFC6937 3]
            let share = u64::from(r.delivered) * u64::from(ssthresh);
            (share.div_ceil(u64::from(r.flight)) as u32).saturating_sub(r.sent)
        } else {
            // [RFC6937 3-bound]
            let kept = r.delivered.saturating_sub(r.sent).max(delivered);
            let may = if safe { kept + mss } else { kept };
            may.min(ssthresh - pipe)
        };
        self.win.cwnd = pipe + credit;
    }

    /// The recovery proved needless: the window is what it was, and what else was called lost is in flight.
    pub(crate) fn undo(&mut self) {
        self.cc.get().undo(&mut self.win);
        self.pace_update();
        self.stats.undos += 1;
        self.sent.unmark();
        self.rec.mode = Mode::Open;
        self.owed.force_retx = false;
        (self.rec.needless, self.rec.dupacks, self.rec.reno) = (0, 0, 0);
        self.rec.frto = Frto::Off;
    }

    fn leave_recovery(&mut self) {
        // [RFC6582 3.2-3-full]
        if self.cc.rules() {
            self.cc.get().on_recovered(&mut self.win);
        } else if self.rec.mode != Mode::Loss {
            // What is in flight is near it already: that was PRR's work. [RFC6937 3-end]
            self.win.cwnd = self.win.ssthresh;
        }
        if core::mem::take(&mut self.rec.mode) != Mode::Cwr {
            self.rack_recovered();
        }
        (self.rec.dupacks, self.rec.reno) = (0, 0);
        self.owed.force_retx = false;
    }

    /// The retransmission timer expired.
    pub(crate) fn enter_loss(&mut self, now: Instant) {
        if self.sent.reneged() {
            // [RFC2018 8]
            self.sent.forget_sacks();
        }
        // Another time-out for the same data takes no more from the threshold. [RFC5681 3.1-rto]
        // Nor one within a fast recovery, which took its share of this flight already.
        let taken = matches!(self.rec.mode, Mode::Fast | Mode::Cwr) && !self.cc.rules();
        if self.tries <= 1 && !taken {
            self.ecn_reduced();
            let flight = self.let_out(0);
            self.cc.get().on_timeout(&mut self.win, now, flight);
        }
        self.win.cwnd = self.win.mss;
        // What goes first of what is lost is the earliest. [RFC6298 5.4]
        self.sent.mark_all();
        self.frto_begins();
        self.rec.mode = Mode::Loss;
        self.probe_forget();
        (self.rec.point, self.rec.valid) = (self.snd.max, true);
        (self.rec.dupacks, self.rec.reno, self.rec.needless, self.rec.told) = (0, 0, 0, 0);
        self.timers.stop(Timer::Reorder);
        self.owed.force_retx = true;
    }

    /// Notes how much of the window was used, after something was sent: the most in flight of this round trip, and whether the
    /// window was full (Linux's tcp_cwnd_validate).
    pub(crate) fn note_usage(&mut self) {
        let flight = self.outstanding();
        let full = self.pipe() + self.seg_size() > self.win.cwnd;
        let u = &mut self.rec.usage;
        if self.snd.una.ge(u.until) || full || (!u.full && flight > u.most) {
            *u = Usage { full, most: flight, until: self.snd.nxt };
        }
    }

    fn was_limited(&self, flight: u32) -> bool {
        let u = &self.rec.usage;
        match self.win.in_slow_start() {
            true => u.full || u.most.max(flight).saturating_mul(2) > self.win.cwnd,
            false => u.full || flight + 3 * self.win.mss > self.win.cwnd,
        }
    }

    /// Lets the window grow, when it was what limited us (RFC 7661's concern: an unused window proves nothing).
    fn grow(&mut self, now: Instant, w: &AckWork) {
        // A duplicate says that something arrived, and not that the stream went on.
        // Where the network is known to reorder, what arrives out of order says it as well (Linux's tcp_may_raise_cwnd).
        let reorders = self.rack.extent > u32::from(DUP_THRESH) * self.seg_size();
        if w.fresh == 0 || w.acked == 0 && !reorders {
            return;
        }
        if self.was_limited(w.flight) {
            let info = AckInfo {
                now,
                acked: w.fresh,
                rtt: w.rtt,
                srtt: self.rtt.srtt(),
                in_flight: w.flight,
                una: self.snd.una,
                nxt: self.snd.nxt,
            };
            self.cc.get().on_ack(&mut self.win, &info);
            self.tune_send();
        } else {
            self.cc.get().on_app_limited(now);
        }
    }
}
