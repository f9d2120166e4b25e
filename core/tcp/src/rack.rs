//! RACK: loss found by time (RFC 8985), for connections with SACK.
//!
//! Whatever was sent well before something that has been delivered, and has not been delivered itself, is lost.
//! "Well before" is the reordering window: zero until reordering is seen (then three duplicates are waited
//! for, as ever), a quarter of the smallest round-trip time afterwards, more when D-SACKs prove it too small.
//! Retransmissions are judged by the same rule, so one that gets lost needs no time-out.
//!
//! D-SACKs also undo: when every retransmission of a recovery proves to have been needless, so was the
//! reduction of the window (RFC 3708).

use crate::rate::Stamp;
use crate::recovery::Mode;
use crate::seq::Seq;
use crate::tcb::Tcb;
use crate::timers::Timer;
use iopkt_base::{Duration, Instant};

/// Recoveries for which a widened reordering window lasts (RFC 8985 section 7.2 step 4).
const PERSIST: u8 = 16;
/// Widest reordering window in quarters of the smallest round-trip time; the smoothed one bounds it too.
const MULT_MAX: u8 = 64;

/// What was delivered last, by time of sending.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rack {
    /// When the most recently sent of the delivered segments was sent, and its end; counts when `valid`.
    pub(crate) xmit: Instant,
    pub(crate) end: Seq,
    /// Round-trip time of the segment sent last among those that an ACK delivered last, nanoseconds.
    rtt: u64,
    /// When that was sent, in units of 1.024 us, and that it is of this ACK.
    newest: u32,
    timed: bool,
    pub(crate) valid: bool,
    /// Its stamp, and that it is of this acknowledgment.
    pub(crate) stamp: Stamp,
    pub(crate) news: bool,
    /// Something was acknowledged that was called lost and never sent again, since somebody asked.
    pub(crate) never_again: bool,
    /// End of the highest delivered segment.
    fack: Seq,
    /// The same before the present ACK: what one ACK tells of together is not out of order.
    before: Seq,
    /// How often something did, at most once for each ACK.
    pub(crate) seen: u32,
    told: bool,
    /// Something arrived out of order.
    pub(crate) reordered: bool,
    /// By how many bytes at most: from its start to the end of the highest delivered segment then.
    pub(crate) extent: u32,
    mult: u8,
    persist: u8,
    /// D-SACKs before this point count once.
    round: Option<Seq>,
}

impl Rack {
    /// A segment was delivered that was sent at `at`; `again`: it had been retransmitted.
    #[inline]
    pub(crate) fn delivered(
        &mut self,
        (start, end): (Seq, Seq),
        at: Instant,
        stamp: &Stamp,
        again: bool,
        now: Instant,
        min_rtt: Duration,
    ) {
        // [RFC8985 6.2-3]
        if !self.valid || end.gt(self.fack) {
            self.fack = end;
        } else if end.lt(self.before) && !again {
            self.reordered = true;
            self.seen += u32::from(!core::mem::replace(&mut self.told, true));
            self.extent = self.extent.max(self.fack.since(start));
        }
        let rtt = now.since(at);
        if again && rtt < min_rtt {
            // The original arrived, not the retransmission. [RFC8985 6.2-2]
            return;
        }
        // Of what one ACK delivers, that which was sent last, though something sent later was delivered before. [RFC8985 6.2-2]
        let sent = (at.as_nanos() >> 10) as u32;
        if !self.timed || sent.wrapping_sub(self.newest) as i32 >= 0 {
            (self.timed, self.newest, self.rtt) = (true, sent, rtt.as_nanos() as u64);
        }
        if !self.valid || at > self.xmit || (at == self.xmit && end.gt(self.end)) {
            (self.xmit, self.end, self.valid) = (at, end, true);
            self.stamp = *stamp;
            self.news = true;
        }
    }

    /// Round-trip time of what was delivered last.
    #[inline]
    pub(crate) fn rtt(&self) -> Duration {
        Duration::from_nanos(self.rtt)
    }

    /// An ACK comes; `una` is what was acknowledged before.
    #[inline]
    pub(crate) fn ack_begins(&mut self, una: Seq) {
        (self.before, self.told) = (if self.valid { self.fack } else { una }, false);
        self.timed = false;
    }

    /// Whether a segment was sent after the most recently sent delivered one.
    #[inline]
    pub(crate) fn is_before(&self, at: Instant, end: Seq) -> bool {
        at > self.xmit || (at == self.xmit && end.gt(self.end))
    }
}

impl Tcb {
    /// The reordering window. [RFC8985 6.2-4]
    fn reo_wnd(&self) -> Duration {
        if !self.rack.reordered {
            let dups = self.rec.dupacks >= 3 || self.sent.sacked() > 2 * self.seg_size();
            if matches!(self.rec.mode, Mode::Fast | Mode::Loss) || dups {
                return Duration::ZERO;
            }
        }
        let quarters = u32::from(self.rack.mult.max(1));
        (self.rtt.min() / 4 * quarters).min(self.rtt.srtt())
    }

    /// Marks what must be lost by now; returns its bytes. Sets a timer for what may be. [RFC8985 6.2-5]
    // [RFC8985 5.1]
    pub(crate) fn rack_detect(&mut self, now: Instant) -> u32 {
        if !self.rack.valid || self.sent.is_empty() {
            self.timers.stop(Timer::Reorder);
            return 0;
        }
        let wait = self.rack.rtt() + self.reo_wnd();
        let (lost, later) = self.sent.mark_by_time(now, &self.rack, wait);
        match later {
            Some(d) => self.timers.set(Timer::Reorder, now + d),
            None => self.timers.stop(Timer::Reorder),
        }
        lost
    }

    /// The reordering timer expired.
    pub(crate) fn reorder_due(&mut self, now: Instant) {
        if self.rack_detect(now) > 0 {
            match self.rec.mode {
                Mode::Open => {
                    if !self.mtu_lost() {
                        self.enter_fast(now, self.pipe());
                    }
                }
                Mode::Cwr => self.cwr_to_fast(),
                Mode::Fast | Mode::Loss => {}
            }
        }
    }

    /// The peer reports that it got `[left, right)` twice.
    pub(crate) fn input_dsack(&mut self, left: Seq, right: Seq) {
        if self.probe_needless(right) {
            return;
        }
        // [RFC8985 6.2-4-dsack]
        if self.rack.round.is_none_or(|r| self.snd.una.ge(r)) {
            self.rack.mult = (self.rack.mult.max(1) + 1).min(MULT_MAX);
            self.rack.round = Some(self.snd.nxt);
        }
        self.rack.persist = PERSIST;
        // [RFC3708 3]
        let segs = right.since(left).div_ceil(self.seg_size()).max(1);
        let known = segs.min(self.rec.told);
        self.rec.told -= known;
        let segs = segs - known;
        if segs > 0 && self.rec.needless > 0 && self.rec.mode != Mode::Cwr {
            self.rec.needless = self.rec.needless.saturating_sub(segs);
            if self.rec.needless == 0 {
                self.undo();
            }
        }
    }

    /// A recovery ended: a wide reordering window does not last for ever.
    pub(crate) fn rack_recovered(&mut self) {
        self.rack.persist = self.rack.persist.saturating_sub(1);
        if self.rack.persist == 0 {
            self.rack.mult = 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_too_quick_for_a_retransmission_is_the_originals() {
        // [RFC8985 6.2-2]
        let (ms, min) = (Instant::from_millis, Duration::from_millis(20));
        let mut r = Rack::default();
        r.delivered((Seq(50), Seq(100)), ms(0), &Stamp::default(), false, ms(25), min);
        assert_eq!((r.xmit, r.end, r.rtt()), (ms(0), Seq(100), Duration::from_millis(25)));
        // Sent again at 30, delivered at 35: in 5 ms nothing comes back.
        r.delivered((Seq(150), Seq(200)), ms(30), &Stamp::default(), true, ms(35), min);
        assert_eq!((r.xmit, r.end), (ms(0), Seq(100)));
        r.delivered((Seq(150), Seq(200)), ms(30), &Stamp::default(), true, ms(55), min);
        assert_eq!((r.xmit, r.end), (ms(30), Seq(200)));
        assert!(!r.reordered);
        // [RFC8985 6.2-3]
        r.ack_begins(Seq(50));
        r.delivered((Seq(100), Seq(150)), ms(1), &Stamp::default(), false, ms(56), min);
        assert!(r.reordered);
        assert_eq!(r.xmit, ms(30), "sent earlier: no news about time");
    }
}
