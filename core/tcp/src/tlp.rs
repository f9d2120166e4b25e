//! Tail loss probes (RFC 8985 section 7), for connections with SACK.
//!
//! RACK needs something delivered to see what is missing before it. When nothing comes back for two round trips,
//! one segment goes out to be delivered: new data if there is some, else the last segment again. Its SACK shows
//! the hole, and fast recovery does what else the retransmission time-out would have done. When it was the
//! probe itself that repaired the loss, nobody else notices; then the window is reduced here.
//!
//! The RFC probes outside of recovery only. Here a fast recovery whose last retransmission was lost is probed too:
//! it is a tail like any other.

use crate::recovery::Mode;
use crate::seq::Seq;
use crate::tcb::{Tcb, dur};
use crate::timers::Timer;
use iopkt_base::{Duration, Instant};

/// What a timer or a busy receiver may be late by.
const SLACK: Duration = Duration::from_millis(2);
/// Before a round-trip time is known.
const NO_RTT: Duration = Duration::from_secs(1);
/// Most doublings of the probe's time-out; the retransmission time-out bounds it too.
const MAX_PATIENCE: u8 = 6;

/// State of RFC 8985 section 7.1.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tlp {
    /// TLP.end_seq: SND.MAX when the probe went, until its fate is known.
    end: Option<Seq>,
    /// TLP.is_retrans: the probe repeated data, and the window is to be reduced if that was needed.
    retrans: bool,
    /// Doublings of the time-out: probes came too early, and no round-trip time was measured since.
    patience: u8,
    /// Something was sent or delivered since the timer was set.
    pub(crate) rearm: bool,
    /// A probe is to be sent.
    pub(crate) due: bool,
}

impl Tcb {
    /// Sets the probe timer anew, at the end of a turn that sent something or heard of a delivery.
    pub(crate) fn arm_probe(&mut self, now: Instant) {
        if !self.tlp.rearm {
            return;
        }
        self.tlp.rearm = false;
        // [RFC8985 7.2]
        let open = self.tlp.end.is_some_and(|end| self.snd.una.lt(end));
        // A time-out that Karn keeps doubled says that round trips take longer than we know.
        let no = !self.sack_ok || open || self.backoff > 0 || self.rec.mode == Mode::Loss || self.snd.persist;
        // While the reordering timer runs, it is what comes next.
        if no || self.sent.is_empty() || self.timers.is_set(Timer::Reorder) {
            return self.timers.stop(Timer::Probe);
        }
        let srtt = self.rtt.srtt();
        // Two round trips whatever the variance: the retransmission time-out is the bound that counts it.
        let trip = srtt * 2;
        let wait = match () {
            () if srtt.is_zero() => NO_RTT,
            () if self.outstanding() <= self.seg_size() => trip + dur(self.knobs.ack_delay.into()),
            () => trip + SLACK,
        };
        let wait = wait * (1 << self.tlp.patience);
        self.timers.set(Timer::Probe, (now + wait).min(self.timers.at(Timer::Rexmt)));
    }

    /// The probe timer expired.
    pub(crate) fn probe_due(&mut self) {
        // [RFC8985 7.3]
        self.tlp.due = !self.sent.is_empty();
        // What is known to be lost and waits for the window is the best probe.
        self.owed.force_retx |= self.sent.next_lost().is_some();
    }

    /// A probe went out; `again`: it repeats data.
    pub(crate) fn probe_went(&mut self, now: Instant, again: bool) {
        self.tlp.due = false;
        self.tlp.end = Some(self.snd.max);
        self.tlp.retrans = again && self.rec.mode == Mode::Open;
        self.stats.tail_probes += 1;
        // [RFC8985 7.3-rto]
        self.timers.set(Timer::Rexmt, now + self.rtt.rto(self.backoff));
    }

    /// What an ACK says about a probe. [RFC8985 7.4]
    pub(crate) fn probe_ack(&mut self, now: Instant, ack: Seq, flight: u32) {
        let Some(end) = self.tlp.end else { return };
        if ack.lt(end) || (self.tlp.retrans && ack == end) {
            // In the second case the answer to the copy that came second is still to be had.
            return;
        }
        self.tlp.end = None;
        if self.tlp.retrans && self.rec.mode == Mode::Open {
            // [RFC8985 7.4.2]
            let flight = flight.max(self.win.mss).min(self.win.cwnd);
            self.cc.get().on_congestion(&mut self.win, now, flight);
            self.win.cwnd = self.win.ssthresh;
        }
    }

    /// Whether a D-SACK up to `right` is about the probe: the original had arrived.
    pub(crate) fn probe_needless(&mut self, right: Seq) -> bool {
        let hit = self.tlp.retrans && self.tlp.end == Some(right);
        if hit {
            self.tlp.end = None;
            self.tlp.patience = (self.tlp.patience + 1).min(MAX_PATIENCE);
        }
        hit
    }

    /// A round-trip time was measured: once two smoothed ones cover it, what the probe timer is made of is right again.
    #[inline]
    pub(crate) fn probe_learns(&mut self, rtt: Duration) {
        if self.tlp.patience > 0 && rtt <= self.rtt.srtt() * 2 {
            self.tlp.patience = 0;
        }
    }

    /// A recovery begins: it reduces the window, once.
    pub(crate) fn probe_forget(&mut self) {
        self.tlp.retrans = false;
        if self.rec.mode == Mode::Loss {
            (self.tlp.end, self.tlp.due) = (None, false);
            self.timers.stop(Timer::Probe);
        }
    }
}
