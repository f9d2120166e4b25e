//! Output: what is sent now, decided once per turn (RFC 9293 section 3.8, RFC 1122 section 4.2.3.4).
//!
//! Order: an RST, a SYN, retransmissions, new data, the FIN, a probe, and an ACK if none of them carried it.

use crate::frto::Frto;
use crate::recovery::Mode;
use crate::segment::SegOut;
use crate::seq::Seq;
use crate::tcb::{State, Tcb, dur};
use crate::timers::Timer;
use iopkt_base::{Duration, Instant};
use iopkt_wire::tcp::{Flags, Options, Timestamps};

/// Most records in flight for each KiB of send buffer, and the least: a bound for writers of single bytes.
const RECORDS_PER_KIB: usize = 2;
const RECORDS_MIN: usize = 64;
/// A segment that found no memory is offered again after this long, if nothing else calls output before.
const RETRY: Duration = Duration::from_millis(5);

/// Whoever takes segments: makes a packet of each (see [`SegOut::write`]). False says that there was no
/// memory for it: the machine behaves as if it had never been offered, and tries again next turn.
pub trait Sink {
    /// Takes one segment.
    fn emit(&mut self, seg: &SegOut<'_>) -> bool;
}

impl<F: FnMut(&SegOut<'_>) -> bool> Sink for F {
    fn emit(&mut self, seg: &SegOut<'_>) -> bool {
        self(seg)
    }
}

impl Tcb {
    /// Sends what may be sent now. Call it once per turn after input, ticks and user calls.
    pub fn output(&mut self, now: Instant, sink: &mut impl Sink) {
        self.snd.refused = false;
        self.snd.burst = false;
        // No retransmission begins there.
        self.snd.resent = self.snd.una - 1;
        self.output_all(now, sink);
        self.note_limit(now);
        if self.snd.refused {
            self.timers.set(Timer::Retry, now + RETRY);
        } else if self.timers.is_set(Timer::Retry) {
            self.timers.stop(Timer::Retry);
        }
    }

    fn output_all(&mut self, now: Instant, sink: &mut impl Sink) {
        if !self.output_rst(now, sink) {
            return;
        }
        match self.state {
            State::Closed => return,
            State::SynSent | State::SynReceived => {
                if self.snd.need_syn {
                    if !self.syn_is_held() {
                        self.output_syn(now, sink);
                    }
                    return;
                }
                if self.is_fast_child() && self.tries == 0 {
                    // [RFC7413 4.2.2d] [RFC7413 4.2.2e]
                    while self.paced(now) && self.output_one(now, sink) {}
                }
            }
            State::TimeWait | State::FinWait2 => {}
            _ => {
                let before = self.snd.nxt;
                while self.paced(now) && self.output_one(now, sink) {}
                if self.snd.nxt != before {
                    self.note_usage();
                }
                self.note_app_limited();
                self.arm_persist(now);
                self.arm_probe(now);
            }
        }
        self.output_ack(now, sink);
    }

    /// Whether [`Tcb::output`] would do something (as far as can be told without doing it).
    pub fn wants_output(&self) -> bool {
        let o = &self.owed;
        o.ack
            || o.abort
            || o.probe
            || o.keep
            || o.rst.is_some()
            || self.snd.refused
            || self.snd.need_syn && !self.syn_is_held()
    }

    fn output_rst(&mut self, now: Instant, sink: &mut impl Sink) -> bool {
        if let Some(seq) = self.owed.rst {
            // [RFC9293 3.5.2a]
            if !sink.emit(&bare(seq, Seq(0), Flags::RST)) {
                self.snd.refused = true;
                return false;
            }
            self.owed.rst = None;
            self.stats.segs_out += 1;
        }
        if self.owed.abort {
            // [RFC9293 3.10.5a]
            // [RFC7323 3.2]
            let ts = if self.ts.on {
                Some(Timestamps { val: self.ts_now(now), ecr: self.ts.recent })
            } else {
                None
            };
            let options = Options { timestamps: ts, ..Options::NONE };
            let seg = SegOut { options, ..bare(self.snd.nxt, self.rcv.nxt, Flags::RST | Flags::ACK) };
            if !sink.emit(&seg) {
                self.snd.refused = true;
                return false;
            }
            self.owed.abort = false;
            self.stats.segs_out += 1;
        }
        true
    }

    fn output_syn(&mut self, now: Instant, sink: &mut impl Sink) {
        let first = self.state == State::SynSent;
        let flags = if first { Flags::SYN } else { Flags::SYN | Flags::ACK } | self.ecn_syn(first);
        let window = self.rcv_free().min(65535);
        let (fast_open, text) = self.fast_open_syn();
        let seg = SegOut {
            seq: self.snd.iss,
            ack: if first { Seq(0) } else { self.rcv.nxt },
            flags,
            window: window as u16,
            urgent: 0,
            options: Options { fast_open, ..self.syn_options(now) },
            payload: self.out.range(0, text as usize),
            gso_size: 0,
            // [RFC3168 6.1.1e]
            ect: false,
        };
        if !sink.emit(&seg) {
            self.snd.refused = true;
            return;
        }
        self.snd.need_syn = false;
        self.snd.nxt = self.snd.nxt.max(self.snd.iss + 1);
        self.snd.max = self.snd.max.max(self.snd.iss + 1 + text);
        self.snd.last = now;
        if let Some(f) = self.fast.as_mut().filter(|f| f.child) {
            f.syn_at = Some(now);
        }
        if !first {
            self.rcv.adv = self.rcv.adv.max(self.rcv.nxt + window);
            self.rcv.last_ack = self.rcv.nxt;
            self.owed.ack = false;
        }
        self.stats.segs_out += 1;
        if !self.timers.is_set(Timer::Rexmt) {
            self.timers.set(Timer::Rexmt, now + self.rtt.rto(self.backoff));
        }
    }

    /// One data segment; false when there is nothing (more) to send now.
    fn output_one(&mut self, now: Instant, sink: &mut impl Sink) -> bool {
        let options = self.options(now);
        let full = (u32::from(self.snd.mss)).saturating_sub(options.len() as u32).max(1);
        let shut = self.snd.nxt.ge(self.snd.una + self.snd.wnd);
        if self.owed.probe && self.knobs.bare_probes && shut && self.snd.persist && self.sent.is_empty() {
            self.owed.probe = !self.emit_ack(now, self.snd.una - 1, sink);
            self.stats.probes += 1;
            return false;
        }
        if self.owed.probe && self.snd.persist && !self.sent.is_empty() {
            // The last probe was lost or not taken: the same byte again, whatever the congestion window says of it.
            return self.output_hole(now, full, &options, sink);
        }
        if self.rec.frto != Frto::Second
            && let Some((start, end)) = self.sent.next_lost()
        {
            return self.resend(now, start, end.min(start + full), &options, sink);
        }
        let end = self.data_end();
        let record = self.record_end(self.snd.nxt).filter(|r| r.lt(end));
        let avail = record.unwrap_or(end).since(self.snd.nxt);
        let fin = self.snd.fin && self.snd.nxt.le(end) && self.state != State::SynReceived;
        if avail == 0 && !fin {
            if self.tlp.due {
                return self.output_last(now, full, &options, sink);
            }
            return self.output_hole(now, full, &options, sink);
        }
        // [RFC6675 4-NextSeg-2]
        let larger = if self.mtu.is_some() { self.mtu_probe(now, avail, options.len() as u32) } else { None };
        if larger == Some(0) {
            return false;
        }
        let Some(n) = larger.or_else(|| self.how_much(now, avail, full, record.is_some())) else {
            return self.tlp.due && self.output_last(now, full, &options, sink);
        };
        let (start, mut to) = (self.snd.nxt, self.snd.nxt + n);
        if fin && to == end {
            to += 1;
        }
        let push = self.owed.probe && n == avail || self.ends_burst(avail, n, full);
        if to == start || !self.emit_with(start, to, larger.unwrap_or(full), &options, push, sink) {
            return false;
        }
        if larger.is_some() {
            self.mtu_went(start, to);
        }
        self.snd.burst = true;
        self.note_answer(now);
        self.owed.probe = false;
        if self.snd.persist && n <= (self.snd.una + self.snd.wnd).since(start) {
            // Within the window: an ordinary segment again.
            self.snd.persist = false;
            self.backoff = 0;
            self.timers.stop(Timer::Rexmt);
        }
        let again = start.lt(self.snd.max);
        // What repeats data of the SYN is no small segment of the program's.
        if (n < full || n % full != 0) && !again {
            self.snd.small = to;
        }
        let stamp = self.stamp(now, n);
        self.sent.push(start, to, now, (again, push), stamp);
        self.marks_sent(now, to);
        self.snd.nxt = to;
        self.snd.max = self.snd.max.max(to);
        self.snd.last = now;
        self.went(now, n, false);
        if fin && to.gt(end) {
            self.fin_goes();
        }
        // [RFC6298 5.1]
        if !self.timers.is_set(Timer::Rexmt) {
            self.timers.set(Timer::Rexmt, now + self.rtt.rto(self.backoff));
        }
        true
    }

    /// Whether `n` bytes are the last of several segments that go now, though data waits behind them: the receiver is told
    /// not to wait for more (PSH), for more comes only when it has acknowledged these. Linux marks its large segments
    /// so.
    #[inline]
    fn ends_burst(&self, avail: u32, n: u32, full: u32) -> bool {
        if self.knobs.tso_max > full {
            return n > full;
        }
        let window = (self.snd.una + self.snd.wnd).since(self.snd.nxt);
        let more = avail.min(window).min(self.win.cwnd.saturating_sub(self.pipe())).saturating_sub(n);
        (self.snd.burst || n > full) && more < full && (more < avail - n || more == 0)
    }

    /// Data goes out soon after data came, or after a handshake that a writer waited for: the two take turns.
    #[inline]
    fn note_answer(&mut self, now: Instant) {
        let t = if self.rcv.data_at == Instant::FAR && self.rcv.writer {
            self.rcv.since
        } else {
            self.rcv.data_at
        };
        if t != Instant::FAR && now.since(t) < dur(self.knobs.delack) {
            self.rcv.talk = true;
        }
    }

    fn fin_goes(&mut self) {
        // [RFC9293 3.10.4a]
        self.state = match self.state {
            State::Established => State::FinWait1,
            State::CloseWait => State::LastAck,
            s => s,
        };
    }

    /// New payload bytes that may go in one segment now; `None` for not now. 0 is a bare FIN. `whole`: the record ends with
    /// them, nothing that is written later can join them.
    fn how_much(&mut self, now: Instant, avail: u32, full: u32, whole: bool) -> Option<u32> {
        if self.outstanding() == 0 && avail > 0 {
            self.restart_after_idle(now);
        }
        if avail == 0 {
            return Some(0);
        }
        if self.tlp.due {
            // [RFC8985 7.3-new]
            // [RFC9293 SHLD-15] [RFC9293 MUST-34]
            let window = (self.snd.una + self.snd.wnd).since(self.snd.nxt);
            let n = avail.min(full);
            return (n <= window).then_some(n);
        }
        if self.sent.records() >= RECORDS_MIN.max(self.out.limit() / 1024 * RECORDS_PER_KIB) {
            return None;
        }
        let window = (self.snd.una + self.snd.wnd).since(self.snd.nxt);
        let cwnd = self.win.cwnd.saturating_sub(self.pipe());
        // CWR is for one segment, whatever a device makes of a large one.
        let urgent = self.snd.up.is_some_and(|up| up.gt(self.snd.nxt));
        let large = self.knobs.tso_max > full && !self.ecn.cwr && !urgent;
        let most = if large && avail > full { self.super_size(full) } else { full };
        let n = avail.min(window).min(cwnd).min(most);
        let idle = self.outstanding() == 0;
        // Nagle as Minshall refined it (Linux does the same): a small segment waits for an earlier small one,
        // not for full ones, else the tail of every large write would cost a round trip. [RFC9293 SHLD-7]
        // [RFC9293 MAY-16]
        let corked = self.snd.hold || self.knobs.cork && !self.snd.flush;
        let nagle_ok = whole
            || self.snd.fin
            || !corked
                && (self.knobs.nodelay || idle || self.snd.up.is_some() || self.snd.small.le(self.snd.una));
        // [RFC9293 SHLD-28]
        if n >= full {
            // The short end of what there is goes with the full ones in front of it.
            return Some(if n == avail && nagle_ok { n } else { n - n % full });
        }
        // [RFC9293 MUST-38]
        if n > 0 && ((n == avail && nagle_ok) || n >= (self.snd.max_wnd / 2).max(1) && n >= cwnd.min(window))
        {
            // A window of less than a segment that the network (not the peer) sets is waited for.
            return (n == avail || cwnd > n || idle).then_some(n);
        }
        if self.owed.probe && (idle || self.snd.persist) {
            // [RFC9293 MUST-35] [RFC9293 MUST-36] [RFC9293 SHLD-29] [RFC9293 SHLD-30]
            self.stats.probes += 1;
            return Some(n.max(1));
        }
        None
    }

    /// Most payload of a super-segment: what goes in about a millisecond at the rate of the window (more where the round trip is
    /// shorter than that), two segments at least, and half the window, so that the next ACK finds something to do.
    /// Linux sizes its super-segments so.
    fn super_size(&self, full: u32) -> u32 {
        const WHOLE: u64 = 65_536;
        let mut most = u64::from(self.knobs.tso_max.min(self.portion()));
        let srtt = self.rtt.srtt().as_micros() as u64;
        if srtt > 0 && self.pace.as_ref().is_none_or(|p| !p.on()) {
            let gain = if self.win.cwnd < self.win.ssthresh / 2 { 200 } else { 120 };
            let window = u64::from(self.win.cwnd.max(self.outstanding()));
            let rate = window * gain * 10_000 / srtt;
            let near = WHOLE.checked_shr((self.rtt.min().as_micros() >> 9).min(63) as u32).unwrap_or(0);
            most = most.min((rate >> 10) + near);
        }
        let most = most.max(u64::from(self.knobs.min_tso) * u64::from(full)).min(u64::from(self.win.cwnd / 2))
            as u32;
        (most - most % full).max(full)
    }

    /// After an idle time the old window proves nothing. [RFC5681 4.1]
    fn restart_after_idle(&mut self, now: Instant) {
        let idle = now.since(self.snd.last);
        if idle > self.rtt.rto(0) {
            self.cc.get().on_idle(&mut self.win, idle);
            let initial = crate::cc::Window::new(self.win.mss, self.knobs.init_cwnd).cwnd;
            self.win.cwnd = self.win.cwnd.min(initial).max(self.win.mss);
            // Once for one idle time.
            self.snd.last = now;
        }
    }

    fn resend(&mut self, now: Instant, start: Seq, end: Seq, opts: &Options, sink: &mut impl Sink) -> bool {
        let end = self.record_end(start).map_or(end, |r| r.min(end));
        let n = end.since(start);
        // [RFC9293 SHLD-16] [RFC9293 MAY-7]
        if !self.owed.force_retx && self.pipe() + n > self.win.cwnd {
            return false;
        }
        // Two pieces of one super-segment that go again together end like it.
        // So does what the SYN had carried in vain: it is a record of its own.
        let first = self.snd.iss + 1;
        let syn_data =
            self.fast.as_ref().is_some_and(|f| f.sent > 0 && start == first && end == first + f.sent);
        let push = self.snd.resent == start && self.sent.was_pushed(end) || syn_data;
        if !self.emit_with(start, end, n, opts, push, sink) {
            return false;
        }
        self.owed.force_retx = false;
        self.snd.resent = end;
        if self.mtu.is_some() {
            self.mtu_repeats(start);
        }
        let stamp = self.stamp(now, end.since(start));
        self.sent.retransmitted(start, end, now, stamp);
        self.stats.retransmits += 1;
        self.rec.needless += 1;
        self.snd.last = now;
        self.went(now, n, true);
        if !self.timers.is_set(Timer::Rexmt) {
            self.timers.set(Timer::Rexmt, now + self.rtt.rto(self.backoff));
        }
        true
    }

    /// `n` bytes went out, to probe or not; `again`: they repeat data.
    #[inline]
    fn went(&mut self, now: Instant, n: u32, again: bool) {
        self.tlp.rearm = true;
        self.pace_went(now, n);
        if matches!(self.rec.mode, Mode::Fast | Mode::Cwr) {
            self.rec.sent = self.rec.sent.saturating_add(n);
        }
        if self.tlp.due {
            self.probe_went(now, again);
        }
    }

    /// A tail loss probe without new data.
    fn output_last(&mut self, now: Instant, full: u32, opts: &Options, sink: &mut impl Sink) -> bool {
        // [RFC8985 7.3-last]
        let Some((start, end)) = self.sent.last(full) else {
            self.tlp.due = false;
            return false;
        };
        if !self.emit(start, end, full, opts, sink) {
            return false;
        }
        let stamp = self.stamp(now, end.since(start));
        self.sent.retransmitted(start, end, now, stamp);
        self.stats.retransmits += 1;
        self.snd.last = now;
        self.went(now, end.since(start), true);
        true
    }

    /// Nothing new to send: in SACK recovery, holes not yet deemed lost may go again; a probe repeats the
    /// byte that the window has no room for.
    fn output_hole(&mut self, now: Instant, full: u32, opts: &Options, sink: &mut impl Sink) -> bool {
        if self.owed.probe {
            self.owed.probe = false;
            let Some(s) = self.sent.front() else { return false };
            let (start, end) = (s.start, s.end.min(s.start + full));
            if self.emit(start, end, full, opts, sink) {
                let stamp = self.stamp(now, end.since(start));
                self.sent.retransmitted(start, end, now, stamp);
                self.stats.probes += 1;
            }
            return false;
        }
        if self.rec.mode != Mode::Fast || !self.sack_ok {
            return false;
        }
        match self.sent.next_hole() {
            Some((start, end)) => self.resend(now, start, end.min(start + full), opts, sink),
            None => false,
        }
    }

    /// Emits `[start, end)`, the FIN included when it lies in there.
    fn emit(&mut self, start: Seq, end: Seq, full: u32, options: &Options, sink: &mut impl Sink) -> bool {
        self.emit_with(start, end, full, options, false, sink)
    }

    /// As [`Tcb::emit`], with PSH whatever comes behind.
    fn emit_with(
        &mut self,
        start: Seq,
        end: Seq,
        full: u32,
        options: &Options,
        push: bool,
        sink: &mut impl Sink,
    ) -> bool {
        let data_end = self.data_end();
        let text = end.min(data_end).since(start);
        let mut flags = Flags::ACK;
        if end.gt(data_end) {
            flags |= Flags::FIN;
        }
        if (push || end.ge(data_end) && !self.snd.more || self.ends_record(end)) && text > 0 {
            // [RFC9293 MUST-61]
            // [RFC9293 SHLD-27] [RFC9293 MUST-60]
            flags |= Flags::PSH;
        }
        let (urg, urgent) = self.urgent_field(start);
        flags |= urg;
        let new = text > 0 && start.ge(self.snd.max);
        flags |= self.ecn_flags(new);
        let (window, adv) = self.window();
        let seg = SegOut {
            seq: start,
            ack: self.rcv.nxt,
            flags,
            window,
            urgent,
            options: *options,
            payload: self.out.range(start.since(self.snd.data) as usize, text as usize),
            gso_size: if text > full { full as u16 } else { 0 },
            ect: text > 0 && self.is_ect(start, self.owed.probe),
        };
        if !sink.emit(&seg) {
            self.snd.refused = true;
            return false;
        }
        self.ecn.cwr &= !new;
        self.ack_went(adv);
        self.stats.segs_out += u64::from(text.saturating_sub(1) / full.max(1));
        true
    }

    /// URG and the urgent pointer of a segment that begins at `start`: at the byte behind the urgent one, or as far as it
    /// reaches.
    #[inline]
    pub(crate) fn urgent_field(&self, start: Seq) -> (Flags, u16) {
        match self.snd.up {
            // [RFC9293 MUST-62] [RFC6093 3.1] [RFC6093 3.4]
            Some(up) if up.gt(start) => (Flags::URG, up.since(start).min(65535) as u16),
            _ => (Flags::NONE, 0),
        }
    }

    /// Data waits, nothing is in flight, and the peer's window is why: probe it from time to time.
    fn arm_persist(&mut self, now: Instant) {
        self.owed.probe = false;
        let waits = self.data_end().gt(self.snd.nxt) && self.outstanding() == 0;
        if waits && !self.timers.is_set(Timer::Rexmt) {
            // [RFC9293 MUST-35] [RFC9293 MUST-36] [RFC9293 SHLD-29] [RFC9293 SHLD-30]
            self.snd.persist = true;
            self.timers.set(Timer::Rexmt, now + self.rtt.rto(self.backoff));
        }
        debug_assert!(self.state == State::Closed || self.sent.is_consistent(self.snd.una, self.snd.nxt));
    }

    /// Delay until a timer of `ms` milliseconds from `now`.
    pub(crate) fn after(now: Instant, ms: u32) -> Instant {
        now + dur(ms)
    }
}

/// A segment without payload and options.
pub(crate) fn bare(seq: Seq, ack: Seq, flags: Flags) -> SegOut<'static> {
    let options = Options::NONE;
    SegOut { seq, ack, flags, window: 0, urgent: 0, options, payload: (&[], &[]), gso_size: 0, ect: false }
}
