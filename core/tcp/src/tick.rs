//! Timers expire.

use crate::outcome::{Outcome, what};
use crate::tcb::{State, Tcb, dur};
use crate::timers::Timer;
use iopkt_base::{Errno, Instant};

impl Tcb {
    /// Does what is due at `now`. Call it when [`Tcb::deadline`] has come, then [`Tcb::output`].
    pub fn tick(&mut self, now: Instant) -> Outcome {
        let mut o = Outcome::default();
        if self.timers.take(Timer::TwoMsl, now) {
            // TIME-WAIT is over, or an orphan waited long enough for a FIN.
            self.finish();
            o.what |= what::CLOSED;
            return o;
        }
        if self.timers.take(Timer::Retry, now) {
            o.what |= what::OUTPUT;
        }
        if self.timers.take(Timer::Pace, now) {
            o.what |= what::OUTPUT;
        }
        if self.timers.take(Timer::DelAck, now) {
            // [RFC9293 SHLD-18] [RFC9293 MUST-40]
            self.rcv.talk = false;
            self.ack_now(&mut o);
        }
        if self.timers.take(Timer::Keep, now) {
            self.keepalive_due(now, &mut o);
        }
        if self.timers.take(Timer::Reorder, now) {
            self.reorder_due(now);
            o.what |= what::OUTPUT;
        }
        if self.timers.take(Timer::Probe, now) {
            self.probe_due();
            if self.tlp.due && self.timers.at(Timer::Rexmt) <= now {
                // It takes the time-out's place, once.
                self.timers.set(Timer::Rexmt, now + self.rtt.rto(self.backoff));
            }
            o.what |= what::OUTPUT;
        }
        if self.state != State::Closed && self.timers.take(Timer::Rexmt, now) {
            self.rexmt_due(now, &mut o);
        }
        o
    }

    fn rexmt_due(&mut self, now: Instant, o: &mut Outcome) {
        o.what |= what::OUTPUT;
        let syn = matches!(self.state, State::SynSent | State::SynReceived);
        if self.sent.is_empty() && !self.snd.persist && !syn {
            return;
        }
        if self.tries == 0 {
            self.stalled = self.sent.front().map_or(self.snd.last, |s| s.at).min(now);
        }
        if self.gives_up(now, syn) {
            // [RFC9293 MUST-20]
            if self.state == State::SynReceived || self.orphan {
                self.owed.abort = self.is_synchronized();
                let told = self.active || self.is_fast_child() && !self.orphan;
                return self.end(told.then_some(Errno::ETIMEDOUT), o);
            }
            self.owed.abort = !syn;
            return self.end(Some(self.soft.unwrap_or(Errno::ETIMEDOUT)), o);
        }
        self.backoff = self.backoff.saturating_add(1);
        self.tries = self.tries.saturating_add(1);
        self.silent = self.silent.saturating_add(1);
        if syn {
            self.snd.need_syn = true;
            self.stats.syn_retransmits += 1;
            return;
        }
        if self.snd.persist {
            self.owed.probe = true;
        } else {
            self.stats.timeouts += 1;
            self.mtu_suspect();
            self.enter_loss(now);
        }
        // [RFC6298 5.5]
        // [RFC6298 5.6]
        self.timers.set(Timer::Rexmt, now + self.rtt.rto(self.backoff));
        if self.knobs.user_timeout > 0 {
            let end = self.stalled + dur(self.knobs.user_timeout);
            let at = self.timers.at(Timer::Rexmt).min(end.max(now + dur(1)));
            self.timers.set(Timer::Rexmt, at);
        }
    }

    /// R2 of RFC 9293 section 3.8.3, or the user time-out.
    fn gives_up(&self, now: Instant, syn: bool) -> bool {
        if self.knobs.user_timeout > 0 && !syn {
            // [RFC5482 3.1]
            // [RFC9293 MUST-21]
            return now.since(self.stalled) >= dur(self.knobs.user_timeout) && self.tries > 0;
        }
        if syn {
            // [RFC9293 MUST-22] [RFC9293 MUST-23]
            return self.tries >= self.knobs.syn_retries;
        }
        if self.snd.persist || self.snd.wnd == 0 {
            // [RFC9293 SHLD-17] [RFC9293 MAY-8]
            // A peer that answers may keep its window shut for ever, except when nobody waits any more.
            // [RFC9293 MUST-37]
            let tries = if self.orphan { self.tries } else { self.silent };
            return tries >= self.knobs.retries;
        }
        self.tries >= self.knobs.retries
    }

    fn keepalive_due(&mut self, now: Instant, o: &mut Outcome) {
        let idle = dur(self.knobs.keep_idle);
        let quiet = now.since(self.rcv.last);
        if quiet < idle || self.outstanding() > 0 {
            // Heard of the peer meanwhile, or the retransmission timer watches it.
            let at = (self.rcv.last + idle).max(now + dur(self.knobs.keep_interval.max(1)));
            let at = if quiet < idle { self.rcv.last + idle } else { at };
            self.timers.set(Timer::Keep, at);
            return;
        }
        // [RFC9293 MUST-29]
        // A user time-out decides alone (Linux's TCP_USER_TIMEOUT does). [RFC5482 4.1]
        let user = dur(self.knobs.user_timeout);
        let over = if user.is_zero() {
            self.keeps >= self.knobs.keep_count
        } else {
            self.keeps > 0 && quiet >= user
        };
        if over {
            // [RFC9293 MAY-5] [RFC9293 MUST-26]
            self.owed.abort = true;
            return self.end(Some(self.soft.unwrap_or(Errno::ETIMEDOUT)), o);
        }
        self.keeps = self.keeps.saturating_add(1);
        self.owed.keep = true;
        o.what |= what::OUTPUT;
        self.timers.set(Timer::Keep, Tcb::after(now, self.knobs.keep_interval));
    }
}
