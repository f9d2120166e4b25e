//! The ACK field: RFC 9293 section 3.10.7.4, fifth check.

use crate::outcome::{Outcome, what};
use crate::recovery::{AckWork, Mode};
use crate::segment::Segment;
use crate::tcb::{State, Tcb};
use crate::timers::Timer;
use iopkt_base::{Duration, Instant};
use iopkt_wire::tcp::Flags;

impl Tcb {
    /// Handles ACK, window and SACK of a segment in a synchronized state; false when the segment is to be
    /// dropped. `len` is the sequence space that the segment takes.
    #[inline]
    pub(crate) fn input_ack(&mut self, now: Instant, seg: &Segment, len: u32, o: &mut Outcome) -> bool {
        let ack = seg.ack;
        if ack.gt(self.snd.max) {
            // [RFC9293 3.10.7.4d]
            self.challenge(now, o);
            return false;
        }
        if ack.lt(self.snd.una - self.snd.max_wnd.max(1)) {
            // [RFC5961 5.2]
            self.challenge(now, o);
            return false;
        }
        let before = self.snd.wnd;
        self.snd.hold = false;
        self.rack.ack_begins(self.snd.una);
        self.update_window(seg);
        self.silent = 0;
        let mut w = AckWork { flight: self.pipe(), ..AckWork::default() };
        if self.sack_ok && !seg.options.sack.is_empty() {
            w.fresh = self.take_sacks(now, seg);
            w.dup = w.fresh > 0 && ack.le(self.snd.una);
        }
        if ack.gt(self.snd.una) {
            self.advance_una(now, seg, &mut w, o);
        } else if ack == self.snd.una {
            // [RFC5681 2-duplicate]
            w.dup |= !self.sack_ok && len == 0 && self.outstanding() > 0 && before == self.snd.wnd;
        }
        if self.ecn.on && seg.flags.has(Flags::ECE) && ack.ge(self.snd.una) {
            self.ecn_echoed(now, w.flight);
        }
        if w.acked > 0 || w.dup || w.fresh > 0 {
            self.tlp.rearm = true;
            w.never_again = core::mem::take(&mut self.rack.never_again);
            self.probe_ack(now, ack, w.flight);
            self.after_ack(now, &w);
            o.what |= what::OUTPUT;
        }
        if self.snd.wnd != before {
            self.window_changed(now, before, o);
        }
        true
    }

    fn update_window(&mut self, seg: &Segment) {
        // [RFC9293 3.10.7.4e]
        let newer = self.snd.wl1.lt(seg.seq) || (self.snd.wl1 == seg.seq && self.snd.wl2.le(seg.ack));
        if seg.ack.ge(self.snd.una) && newer {
            // [RFC9293 MUST-1] [RFC9293 REC-1]
            // [RFC7323 2.3]
            self.snd.wnd = u32::from(seg.window) << self.snd.scale;
            self.snd.max_wnd = self.snd.max_wnd.max(self.snd.wnd);
            (self.snd.wl1, self.snd.wl2) = (seg.seq, seg.ack);
        }
    }

    /// The peer's window moved: an end of probing may be due.
    fn window_changed(&mut self, now: Instant, before: u32, o: &mut Outcome) {
        o.what |= what::OUTPUT;
        if before == 0 && !self.snd.persist && self.outstanding() > 0 {
            // While it was shut, time-outs only probed it: they said nothing of the path, nor of a peer that does not answer.
            self.backoff = 0;
            self.tries = if self.orphan { self.tries } else { 0 };
            self.timers.set(Timer::Rexmt, now + self.rtt.rto(0));
        }
        if self.snd.persist && self.snd.wnd > 0 {
            self.snd.persist = false;
            (self.backoff, self.tries) = (0, 0);
            self.timers.stop(Timer::Rexmt);
            // A probe byte that was not taken counts as never sent.
            if self.snd.nxt.gt(self.snd.una) {
                self.sent.unsend(self.snd.una);
                self.snd.nxt = self.snd.una;
            }
        }
    }

    fn take_sacks(&mut self, now: Instant, seg: &Segment) -> u32 {
        // [RFC2018 5]
        let (mut fresh, mut min) = (0, self.rtt.min());
        if self.rec.mode == Mode::Fast {
            // With a queue on the path, the smallest round-trip time is no longer what tells a retransmission from
            // its original; but no answer comes in half the time of its neighbour's. [RFC8985 6.2-2]
            min = min.max(self.rack.rtt() / 2);
        }
        let (blocks, mss) = (seg.options.sack.as_slice(), self.seg_size());
        for (i, (l, r)) in blocks.iter().enumerate() {
            let (l, r) = (crate::Seq(*l), crate::Seq(*r));
            if l.ge(r) {
                continue;
            }
            // [RFC2883 4]
            // [RFC2883 4-below]
            let inside = |o: &(u32, u32)| crate::Seq(o.0).le(l) && crate::Seq(o.1).ge(r);
            if i == 0 && (r.le(seg.ack) || blocks.get(1).is_some_and(inside)) {
                if l.ge(self.snd.una - self.snd.max_wnd) && r.le(self.snd.max) {
                    self.input_dsack(l, r);
                }
            } else if l.ge(self.snd.una) && l.gt(seg.ack) && r.le(self.snd.nxt) {
                fresh += self.sent.sack(l, r, mss, &mut self.rack, now, min);
            }
        }
        fresh
    }

    /// New data is acknowledged.
    fn advance_una(&mut self, now: Instant, seg: &Segment, w: &mut AckWork, o: &mut Outcome) {
        let ack = seg.ack;
        w.acked = ack.since(self.snd.una);
        let min = self.rtt.min();
        let echo = self.echo_end(now, seg);
        let gone = self.sent.ack(ack, &mut self.rack, now, min, echo);
        (w.originals, w.again) = (gone.originals, gone.retx);
        w.fresh += gone.fresh;
        w.rtt = self.rtt_sample(now, seg, gone.sent_at, gone.retx);
        // Bytes leave the buffer; the SYN and the FIN are not among them.
        let n = ack.since(self.snd.data).min(self.out.len() as u32);
        if n > 0 {
            self.out.consume(n as usize);
            self.snd.data += n;
            self.stats.bytes_acked += u64::from(n);
            o.what |= what::WRITABLE;
        }
        self.snd.una = ack;
        self.marks_acked(now, ack, false);
        self.snd.small = self.snd.small.max(ack);
        if self.snd.nxt.lt(ack) {
            self.snd.nxt = ack;
        }
        if self.mtu.is_some() {
            self.mtu_acked();
        }
        if self.snd.up.is_some_and(|up| up.le(ack)) {
            self.snd.up = None;
        }
        self.tries = 0;
        if w.rtt.is_some() || self.snd.persist {
            // [RFC6298 5-karn]
            self.backoff = 0;
        }
        // [RFC6298 5.2]
        // [RFC6298 5.3]
        if self.outstanding() == 0 {
            self.timers.stop(Timer::Rexmt);
            self.snd.persist = false;
        } else {
            // At each partial ACK too: slow but steady. [RFC6582 4-timer]
            self.timers.set(Timer::Rexmt, now + self.rtt.rto(self.backoff));
        }
        let fin_acked = self.snd.fin && self.out.is_empty() && ack.gt(self.snd.data);
        if fin_acked {
            self.fin_acked(now, o);
        }
    }

    /// What was sent at this time or later did not cause this ACK: its timestamp echoes something older.
    #[inline]
    fn echo_end(&self, now: Instant, seg: &Segment) -> Instant {
        let Some(t) = seg.options.timestamps.filter(|t| self.ts.on && t.ecr != 0) else {
            return Instant::FAR;
        };
        let age = self.ts_now(now).wrapping_sub(t.ecr);
        let tick = (now.as_nanos() >> 20) + 1;
        if age >= 1 << 24 { Instant::FAR } else { Instant::from_nanos(tick.saturating_sub(age.into()) << 20) }
    }

    fn rtt_sample(
        &mut self,
        now: Instant,
        seg: &Segment,
        sent_at: Option<Instant>,
        retx: bool,
    ) -> Option<Duration> {
        // [RFC9293 MUST-18]
        // [RFC6298 3]
        if let (Some(at), false) = (sent_at, retx) {
            let r = now.since(at);
            self.rtt.sample(now, r);
            self.probe_learns(r);
            return Some(r);
        }
        // [RFC7323 4.1]
        let t = seg.options.timestamps.filter(|t| self.ts.on && t.ecr != 0)?;
        let ticks = self.ts_now(now).wrapping_sub(t.ecr);
        if ticks >= 1 << 24 {
            return None;
        }
        let r = Duration::from_nanos(u64::from(ticks.max(1)) << 20);
        self.rtt.sample_coarse(r);
        Some(r)
    }

    /// Our FIN is acknowledged.
    fn fin_acked(&mut self, now: Instant, o: &mut Outcome) {
        // [RFC9293 3.10.7.4g]
        match self.state {
            State::FinWait1 => {
                self.state = State::FinWait2;
                if self.orphan {
                    self.timers.set(Timer::TwoMsl, now + crate::tcb::dur(self.knobs.fin_wait2));
                }
            }
            State::Closing => self.enter_time_wait(now, o),
            State::LastAck => {
                self.finish();
                o.what |= what::CLOSED;
            }
            _ => {}
        }
    }

    /// An ACK that asks the peer to prove itself, or that answers an ACK outside the window: both together at most one in a
    /// while, so that two ends that disagree do not answer each other for ever. The limit is this connection's own: it
    /// tells nobody about others.
    pub(crate) fn challenge(&mut self, now: Instant, o: &mut Outcome) {
        // [RFC5961 7a] [RFC5961 7b] [RFC5961 10]
        let pause = crate::tcb::dur(self.knobs.invalid_pause);
        if self.challenge_at == Instant::FAR || now.since(self.challenge_at) >= pause {
            self.challenge_at = now;
            self.stats.challenges += 1;
            self.owed.ack = true;
            o.what |= what::OUTPUT;
        }
    }

    /// An ACK goes out this turn.
    #[inline]
    pub(crate) fn ack_now(&mut self, o: &mut Outcome) {
        self.owed.ack = true;
        o.what |= what::OUTPUT;
    }
}
