//! A segment arrives in a synchronized state (or SYN-RECEIVED): RFC 9293 section 3.10.7.4, in its order.

use crate::outcome::{Fate, Outcome, what};
use crate::recvbuf::Stored;
use crate::segment::Segment;
use crate::seq::Seq;
use crate::tcb::{State, Tcb, dur};
use crate::timers::Timer;
use iopkt_base::{Duration, Errno, Instant};
use iopkt_mbuf::Mbuf;
use iopkt_wire::tcp::Flags;

/// TS.Recent is worth nothing after this long. [RFC7323 5.5]
const TS_RECENT_MAX: Duration = Duration::from_secs(24 * 86_400);

impl Tcb {
    /// A segment for this connection. `payload` is trimmed to the payload (and may be empty); when the
    /// connection does not keep it, it comes back in [`Outcome::spare`]. Ends and checksum were checked by the
    /// caller.
    pub fn input(&mut self, now: Instant, seg: &Segment, payload: Mbuf) -> Outcome {
        let mut o = Outcome::default();
        self.stats.segs_in += 1;
        let spare = match self.state {
            State::Closed => {
                o.fate = Fate::BadState;
                Some(payload)
            }
            State::SynSent => self.input_syn_sent(now, seg, payload, &mut o),
            _ => self.input_sync(now, seg, payload, &mut o),
        };
        o.spare = spare;
        if self.owed.ack || self.owed.rst.is_some() || self.owed.abort {
            o.what |= what::OUTPUT;
        }
        o
    }

    fn input_sync(&mut self, now: Instant, seg: &Segment, payload: Mbuf, o: &mut Outcome) -> Option<Mbuf> {
        let mut seg = *seg;
        if self.state == State::SynReceived && seg.flags.has(Flags::SYN) && !self.repeated_syn(&mut seg, o) {
            return Some(payload);
        }
        if !self.check_timestamps(now, &seg, payload.len(), o) {
            return Some(payload);
        }
        let fin = seg.flags.has(Flags::FIN);
        let len = payload.len() as u32 + u32::from(fin) + u32::from(seg.flags.has(Flags::SYN));
        if !self.acceptable(&seg, len) {
            self.input_unacceptable(now, &seg, len, o);
            return Some(payload);
        }
        if let (true, Some(t)) = (self.ts.on, seg.options.timestamps)
            && seg.seq.le(self.rcv.last_ack)
            && t.val.wrapping_sub(self.ts.recent) as i32 >= 0
        {
            // [RFC7323 4.3]
            self.ts.recent = t.val;
            self.ts.recent_at = now;
        }
        if seg.flags.any(Flags::RST | Flags::SYN) {
            if seg.flags.has(Flags::RST) {
                self.input_rst(now, &seg, o);
            } else {
                self.input_stray_syn(now, &seg, o);
            }
            return Some(payload);
        }
        if !seg.flags.has(Flags::ACK) {
            // [RFC9293 3.10.7.4b]
            o.fate = Fate::BadState;
            return Some(payload);
        }
        self.heard(now, &seg);
        if self.state == State::SynReceived && !self.syn_received_ack(now, &seg, o) {
            return Some(payload);
        }
        if !self.input_ack(now, &seg, len, o) {
            o.fate = Fate::BadState;
            return Some(payload);
        }
        // Only here, behind the window's check. [RFC3168 6.1.5b]
        if self.ecn.on && len > 0 {
            self.ecn_data(&seg, o);
        }
        if len == 0 || self.state == State::Closed {
            if seg.flags.has(Flags::URG) {
                self.input_urgent(&seg, o);
            }
            return Some(payload);
        }
        self.input_text(now, &seg, payload, fin, o)
    }

    /// First check: does the segment touch the window? [RFC9293 3.10.7.4a]
    #[inline]
    fn acceptable(&self, seg: &Segment, len: u32) -> bool {
        let (nxt, edge) = (self.rcv.nxt, self.rcv.adv);
        if seg.seq == nxt {
            // [RFC9293 MUST-66]
            // Also with a zero window: what does not fit is cut off, ACK, URG and RST count.
            return true;
        }
        if len == 0 {
            return seg.seq.within(nxt, edge);
        }
        seg.seq.within(nxt, edge) || (seg.seq + (len - 1)).within(nxt, edge)
    }

    fn input_unacceptable(&mut self, now: Instant, seg: &Segment, len: u32, o: &mut Outcome) {
        o.fate = Fate::Old;
        if seg.flags.has(Flags::RST) {
            // [RFC5961 3.2b]
            // A peer that resets behind its FIN counts the FIN or not (macOS does not).
            let fin = matches!(self.state, State::CloseWait | State::LastAck | State::Closing);
            if fin && seg.seq + 1 == self.rcv.nxt && seg.seq.ge(self.rcv.nxt - 1) {
                self.reset_by_peer(o);
            }
            return;
        }
        if self.state == State::TimeWait {
            if seg.flags.has(Flags::SYN) {
                return self.input_stray_syn(now, seg, o);
            }
            if seg.flags.has(Flags::FIN) {
                // [RFC9293 3.10.7.4h]
                self.timers.set(Timer::TwoMsl, now + dur(self.knobs.msl) * 2);
            }
        }
        if len > 0 {
            self.report_duplicate(seg, len);
            self.ack_now(o);
        } else {
            // Keepalives come this way; two ends that disagree must not answer each other for ever.
            self.challenge(now, o);
        }
    }

    fn report_duplicate(&mut self, seg: &Segment, len: u32) {
        // [RFC2883 4]
        let end = seg.seq + len;
        // [RFC2883 4-partial]
        if len > 0 && end.le(self.rcv.nxt) && self.sack_ok && !seg.flags.any(Flags::SYN | Flags::FIN) {
            self.rcv.dsack = Some((seg.seq, end));
        }
    }

    /// RFC 7323 section 5: PAWS. False when the segment is to be dropped.
    #[inline]
    fn check_timestamps(&mut self, now: Instant, seg: &Segment, len: usize, o: &mut Outcome) -> bool {
        if !self.ts.on || seg.flags.has(Flags::RST) {
            return true;
        }
        let Some(t) = seg.options.timestamps else {
            // [RFC7323 3.2]
            if self.knobs.missing_ts {
                return true;
            }
            o.fate = Fate::BadState;
            return false;
        };
        let age = t.val.wrapping_sub(self.ts.recent) as i32;
        if age < 0 && now.since(self.ts.recent_at) < TS_RECENT_MAX && !self.may_reuse(seg) {
            // [RFC7323 5.3-R1]
            self.stats.paws += 1;
            o.fate = Fate::Paws;
            if len > 0 || seg.flags.any(Flags::SYN | Flags::FIN) {
                // Usually an original that its retransmission overtook: the sender should know.
                self.report_duplicate(seg, len as u32);
                self.ack_now(o);
            } else {
                self.challenge(now, o);
            }
            return false;
        }
        true
    }

    /// A SYN in SYN-RECEIVED: the peer's SYN again, or the SYN-ACK of a simultaneous open.
    fn repeated_syn(&mut self, seg: &mut Segment, o: &mut Outcome) -> bool {
        if seg.seq != self.rcv.irs {
            return true;
        }
        if seg.flags.has(Flags::ACK) {
            // [RFC9293 MUST-10]
            // Its SYN came twice; the answer tells the peer that we got its answer to ours.
            if self.sack_ok {
                self.rcv.dsack = Some((seg.seq, seg.seq + 1));
            }
            self.ack_now(o);
            seg.seq += 1;
            seg.flags = seg.flags.without(Flags::SYN);
            return true;
        }
        self.snd.need_syn = true;
        o.what |= what::OUTPUT;
        o.fate = Fate::Old;
        false
    }

    /// Second check. [RFC9293 MUST-12]
    fn input_rst(&mut self, now: Instant, seg: &Segment, o: &mut Outcome) {
        // [RFC9293 MAY-12]
        // What a SACK block told the peer it may think of as the end. [RFC5961 3.2c]
        let edge = self.sack_ok && self.early.high() == Some(seg.seq);
        if seg.seq != self.rcv.nxt && !edge {
            // [RFC5961 3.2a]
            self.challenge(now, o);
            o.fate = Fate::BadState;
            return;
        }
        self.reset_by_peer(o);
    }

    fn reset_by_peer(&mut self, o: &mut Outcome) {
        let error = match self.state {
            // [RFC9293 MUST-11]
            State::SynReceived if self.active => Some(Errno::ECONNREFUSED),
            State::TimeWait | State::Closing | State::LastAck => None,
            _ => Some(Errno::ECONNRESET),
        };
        // [RFC9293 SHLD-2]
        self.end(error, o);
    }

    /// The connection is over, by an error when there is one.
    pub(crate) fn end(&mut self, error: Option<Errno>, o: &mut Outcome) {
        self.finish();
        o.what |= what::CLOSED;
        if let Some(e) = error {
            o.what |= what::ERROR;
            o.error = Some(e);
        }
    }

    /// Fourth check: a SYN in a synchronized state is challenged, except where TIME-WAIT may give way.
    fn input_stray_syn(&mut self, now: Instant, seg: &Segment, o: &mut Outcome) {
        o.fate = Fate::BadState;
        if self.may_reuse(seg) {
            o.what |= what::REUSE;
            return;
        }
        // [RFC5961 4.2]
        self.challenge(now, o);
    }

    /// A SYN that cannot be an old one may end TIME-WAIT. [RFC6191 2a] [RFC9293 MAY-2] [RFC9293 SHLD-4]
    fn may_reuse(&self, seg: &Segment) -> bool {
        if self.state != State::TimeWait
            || !seg.flags.has(Flags::SYN)
            || seg.flags.any(Flags::ACK | Flags::RST)
        {
            return false;
        }
        match seg.options.timestamps {
            Some(t) if self.ts.on && t.val != self.ts.recent => t.val.wrapping_sub(self.ts.recent) as i32 > 0,
            _ => seg.seq.gt(self.rcv.nxt),
        }
    }

    /// The peer lives.
    #[inline]
    fn heard(&mut self, now: Instant, _seg: &Segment) {
        self.rcv.last = now;
        self.keeps = 0;
    }

    /// Fifth check in SYN-RECEIVED. [RFC9293 3.10.7.4c]
    fn syn_received_ack(&mut self, now: Instant, seg: &Segment, o: &mut Outcome) -> bool {
        if !(seg.ack.gt(self.snd.una) && seg.ack.le(self.snd.max)) {
            self.owed.rst = Some(seg.ack);
            o.what |= what::OUTPUT;
            o.fate = Fate::BadState;
            return false;
        }
        self.establish(now, seg, o);
        true
    }

    /// Sixth check. Urgent data stays in line (RFC 6093 section 6); the mark is remembered.
    pub(crate) fn input_urgent(&mut self, seg: &Segment, o: &mut Outcome) {
        // [RFC9293 MUST-32]
        // A pointer of 0 means the first byte, as Linux has it. [RFC9293 MUST-62] [RFC6093 3.1]
        let up = seg.seq + u32::from(seg.urgent.max(1));
        // [RFC9293 MUST-32]
        if up.gt(self.rcv.nxt) && self.rcv.up.is_none_or(|old| up.gt(old)) {
            self.rcv.up = Some(up);
            o.what |= what::URGENT;
        }
    }

    /// Seventh and eighth check: text and FIN.
    pub(crate) fn input_text(
        &mut self,
        now: Instant,
        seg: &Segment,
        mut payload: Mbuf,
        mut fin: bool,
        o: &mut Outcome,
    ) -> Option<Mbuf> {
        if !matches!(self.state, State::Established | State::FinWait1 | State::FinWait2) {
            // The peer's FIN came already: text after it is nonsense, the FIN again a repetition.
            o.fate = Fate::Old;
            self.ack_now(o);
            return Some(payload);
        }
        if seg.flags.has(Flags::URG) {
            self.input_urgent(seg, o);
        }
        let mut seq = seg.seq;
        if seq.lt(self.rcv.nxt) {
            let dup = self.rcv.nxt.since(seq).min(payload.len() as u32);
            payload.trim_front(dup as usize);
            seq += dup;
            self.ack_now(o);
        }
        let room = self.rcv.adv.since(seq);
        if payload.len() as u32 > room {
            // [RFC9293 3.10.7.4f]
            payload.truncate(room as usize);
            fin = false;
            self.ack_now(o);
        }
        if !payload.is_empty() && self.orphan {
            // Nobody will ever read it, and the peer should know. [RFC9293 SHLD-3]
            self.owed.rst = Some(seg.ack);
            self.end(None, o);
            return Some(payload);
        }
        let end = seq + payload.len() as u32;
        if fin {
            self.rcv.fin_at = Some(end);
        }
        let spare = if payload.is_empty() {
            Some(payload)
        } else if seq == self.rcv.nxt {
            self.rcv.pushed |= seg.flags.has(Flags::PSH) || (payload.len() as u32) < self.rcv.seg;
            self.tune_receive(now, seg);
            self.text_in_order(now, payload, o)
        } else {
            self.text_early(seq, payload, o)
        };
        if self.rcv.fin_at == Some(self.rcv.nxt) && !self.rcv.fin {
            self.input_fin(now, o);
        } else if fin {
            self.ack_now(o);
        }
        spare
    }

    #[inline]
    pub(crate) fn text_in_order(&mut self, now: Instant, payload: Mbuf, o: &mut Outcome) -> Option<Mbuf> {
        let n = payload.len() as u32;
        let from = self.rcv.nxt;
        self.rcv.seg = self.rcv.seg.max(n.min(u32::from(self.rcv.mss)));
        self.rcv.nxt += n;
        let spare = if self.rcv.shut { Some(payload) } else { self.inq.push(payload) };
        if !self.early.is_empty() {
            // [RFC9293 MUST-59]
            // A filled gap is reported at once. [RFC5681 4.2]
            self.rcv.nxt = self.early.advance(self.rcv.nxt, &mut self.inq, &mut drop);
            self.ack_now(o);
            if self.rcv.shut {
                self.discard_input(&mut drop);
            }
        }
        self.stats.bytes_in += u64::from(self.rcv.nxt.since(from));
        self.rcv.unacked += n;
        o.what |= what::READABLE;
        self.quicken(now);
        let quick = self.rcv.quick > 0 && !self.rcv.talk;
        // [RFC9293 SHLD-18] [RFC9293 MUST-40]
        // [RFC9293 SHLD-19] [RFC9293 MUST-58]
        // [RFC5681 4.2-second]
        if self.rcv.unacked >= 2 * self.rcv.seg || self.knobs.delack == 0 || quick {
            self.ack_now(o);
        } else if !self.owed.ack && !self.timers.is_set(Timer::DelAck) {
            self.timers.set(Timer::DelAck, now + dur(self.knobs.delack));
        }
        spare
    }

    /// The first data, or the first after a pause, finds a peer with a small window: its ACKs are not delayed for a
    /// while, as long as we do not answer with data that would carry them.
    #[inline]
    fn quicken(&mut self, now: Instant) {
        let fresh = self.rcv.data_at == Instant::FAR || now.since(self.rcv.data_at) > self.rtt.rto(0);
        if fresh {
            let segments = self.rcv.limit / (2 * self.rcv.seg.max(536));
            self.rcv.quick = (segments.clamp(2, 255) as u8).min(self.knobs.quick_acks);
        }
        self.rcv.data_at = now;
    }

    fn text_early(&mut self, seq: Seq, payload: Mbuf, o: &mut Outcome) -> Option<Mbuf> {
        // [RFC5681 4.2-ooo]
        self.stats.ooo += 1;
        if self.owed.ack && !self.sack_ok {
            self.owed.dups = self.owed.dups.saturating_add(1).min(8);
        }
        self.ack_now(o);
        let (end, max) = (seq + payload.len() as u32, self.early_max());
        // [RFC9293 SHLD-31] [RFC9293 MAY-13]
        match self.early.insert(seq, payload, max) {
            Stored::Kept => None,
            Stored::Duplicate(m) => {
                if self.sack_ok {
                    self.rcv.dsack = Some((seq, end));
                }
                o.fate = Fate::Old;
                Some(m)
            }
            Stored::Full(m) => {
                o.fate = Fate::NoRoom;
                Some(m)
            }
        }
    }

    /// Most buffers held out of order: as many as the receive buffer has kibibytes, and some.
    fn early_max(&self) -> usize {
        (self.rcv.limit / 1024 + 8) as usize
    }

    /// The peer's FIN, everything before it received. [RFC9293 3.10.7.4g]
    fn input_fin(&mut self, now: Instant, o: &mut Outcome) {
        self.rcv.nxt += 1;
        self.rcv.fin = true;
        self.ack_now(o);
        o.what |= what::FIN | what::READABLE;
        match self.state {
            State::Established => self.state = State::CloseWait,
            State::FinWait1 => self.state = State::Closing,
            State::FinWait2 => self.enter_time_wait(now, o),
            _ => {}
        }
    }

    pub(crate) fn enter_time_wait(&mut self, now: Instant, o: &mut Outcome) {
        // [RFC9293 MUST-13]
        self.state = State::TimeWait;
        self.timers.stop_all();
        self.timers.set(Timer::TwoMsl, now + dur(self.knobs.msl) * 2);
        self.sent.clear();
        self.out.shrink();
        o.what |= what::TIME_WAIT;
    }
}
