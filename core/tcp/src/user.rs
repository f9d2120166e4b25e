//! User calls: SEND, RECEIVE, CLOSE, ABORT, STATUS (RFC 9293 section 3.9.1) and settings.

use crate::cc::Cc;
use crate::config::CcKind;
use crate::fastopen::FastOpenFail;
use crate::outcome::{Outcome, Stats, what};
use crate::recovery::Mode;
use crate::recvbuf::RecvQueue;
use crate::seq::Seq;
use crate::tcb::{State, Tcb, dur, ms};
use crate::timers::Timer;
use iopkt_base::{Duration, Errno, Instant, Result};
use iopkt_mbuf::Mbuf;

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// An acknowledgment, before it sends again.
    Retransmit,
    /// A sign of life.
    Keepalive,
    /// The end of TIME-WAIT, or of an orphan.
    TimeWait,
    /// Room in the peer's window.
    Window,
}

/// What TCP_INFO tells.
#[derive(Clone, Copy, Debug)]
pub struct Info {
    /// State.
    pub state: State,
    /// Timestamps are in use.
    pub timestamps: bool,
    /// SACK is in use.
    pub sack: bool,
    /// ECN is in use; a packet of the peer was ECT or CE.
    pub ecn: (bool, bool),
    /// Window shifts: the peer's, ours.
    pub scale: (u8, u8),
    /// Retransmission time-out now.
    pub rto: Duration,
    /// Smoothed round-trip time, mean deviation, minimum; zero before a sample.
    pub rtt: (Duration, Duration, Duration),
    /// Payload bytes per segment to the peer.
    pub snd_mss: u32,
    /// Largest payload the peer has sent.
    pub rcv_mss: u32,
    /// Congestion window, bytes.
    pub cwnd: u32,
    /// Slow start threshold, bytes; `u32::MAX` before any loss.
    pub ssthresh: u32,
    /// Bytes in flight.
    pub in_flight: u32,
    /// Peer's window, bytes.
    pub snd_wnd: u32,
    /// Window we offer, bytes.
    pub rcv_wnd: u32,
    /// Bytes sent and not acknowledged, bytes not yet sent.
    pub queued: (u32, u32),
    /// Bytes that SACK reported, bytes deemed lost.
    pub sacked_lost: (u32, u32),
    /// Doublings of the retransmission time-out.
    pub backoff: u8,
    /// Retransmission time-outs in a row without progress.
    pub retransmits: u8,
    /// Segments by which the network is known to reorder, 3 at least.
    pub reordering: u32,
    /// Bytes in flight that were sent more than once.
    pub repeated: u32,
    /// How often something arrived out of order.
    pub reorder_seen: u32,
    /// Congestion controller.
    pub cc: &'static str,
    /// Bytes per second: pacing (`u64::MAX` without), its limit, what was delivered lately and whether the program limited that.
    pub rate: (u64, u64, u64, bool),
    /// Bytes delivered so far, modulo 2^32.
    pub delivered: u32,
    /// Time since something was sent, since something was received.
    pub idle: (Duration, Duration),
    /// Time since payload was received; since the beginning when none was.
    pub data_idle: Duration,
    /// Time with something to send or unacknowledged; of it, time limited by the peer's window and by the send buffer.
    pub limits: (Duration, Duration, Duration),
    /// Where congestion control stands, in Linux's numbers: 0 open, 1 disorder (duplicates that prove nothing yet), 2 CWR (a mark),
    /// 3 recovery, 4 loss.
    pub ca_state: u8,
    /// Data in the SYN was taken (RFC 7413), by the peer or by us; if not, why.
    pub fast_open: (bool, FastOpenFail),
    /// What the connection waits for, and how long still.
    pub timer: Option<(Waits, Duration)>,
    /// Counters.
    pub stats: Stats,
}

impl Tcb {
    /// Appends what fits to the send buffer; returns how many bytes that was (0: no room).
    ///
    /// # Errors
    /// EPIPE after [`Tcb::shutdown_write`] or when the connection is over.
    pub fn write(&mut self, data: &[u8]) -> Result<usize> {
        if self.snd.fin || self.state == State::Closed || self.state == State::TimeWait {
            return Err(Errno::EPIPE);
        }
        (self.snd.more, self.snd.hold, self.snd.flush) = (false, false, false);
        Ok(self.out.write(data))
    }

    /// A writer found too little room in the send buffer, or there is a good portion again.
    pub fn set_starved(&mut self, yes: bool) {
        self.snd.starved = yes;
    }

    /// A writer waits for the end of the handshake.
    pub fn writer_waits(&mut self) {
        self.rcv.writer = true;
    }

    /// Like [`Tcb::write`]; the last byte is urgent (MSG_OOB) when all are taken. It stays in the stream: RFC 6093.
    ///
    /// # Errors
    /// As for [`Tcb::write`].
    pub fn write_urgent(&mut self, data: &[u8]) -> Result<usize> {
        let n = self.write(data)?;
        if n == data.len() && n > 0 {
            // [RFC9293 MUST-30] [RFC9293 MUST-31]
            self.snd.up = Some(self.data_end());
            if (self.snd.una + self.snd.wnd).le(self.snd.nxt) {
                // The data must wait, the news goes at once.
                self.owed.ack = true;
            }
        }
        Ok(n)
    }

    /// Room in the send buffer, bytes.
    #[inline]
    pub fn write_space(&self) -> usize {
        if self.snd.fin || self.state == State::Closed { 0 } else { self.out.space() }
    }

    /// Bytes written and not yet acknowledged (SIOCOUTQ).
    pub fn unsent_or_unacked(&self) -> usize {
        self.out.len()
    }

    /// Bytes written and not yet sent.
    pub fn unsent(&self) -> u32 {
        self.data_end().since(self.snd.nxt.min(self.data_end()))
    }

    /// Bytes that both windows let go now.
    pub fn sendable(&self) -> u32 {
        let edge = self.snd.una + self.snd.wnd;
        let window = if edge.gt(self.snd.nxt) { edge.since(self.snd.nxt) } else { 0 };
        window.min(self.win.cwnd.saturating_sub(self.pipe()))
    }

    /// The largest window that the peer ever offered, bytes.
    pub fn peer_window(&self) -> u32 {
        self.snd.max_wnd
    }

    /// In-order bytes that wait to be read (FIONREAD).
    #[inline]
    pub fn readable(&self) -> usize {
        self.inq.len()
    }

    /// The first pieces of the in-order data, without removing them; returns how many slots were filled.
    pub fn peek<'a>(&'a self, out: &mut [&'a [u8]]) -> usize {
        self.inq.peek(out)
    }

    /// The in-order data itself, for owners that take buffers whole.
    pub fn input_queue(&mut self) -> &mut RecvQueue {
        &mut self.inq
    }

    /// Removes `n` bytes that were read; emptied buffers go to `free`. The window opens: the answer says
    /// whether [`Tcb::output`] should be called for that.
    pub fn consume(&mut self, n: usize, mut free: impl FnMut(Mbuf)) -> bool {
        self.inq.consume(n, &mut free);
        if self.rcv.up.is_some() && self.urgent_mark().is_none() {
            self.rcv.up = None;
        }
        let read = self.rcv.unacked > 0 && self.rcv.pushed && self.inq.is_empty();
        if read && !self.rcv.talk && self.knobs.quick_acks > 0 {
            // All was read and no more is to be expected: a sender that waits for the acknowledgment (Nagle, a small buffer) would wait
            // for the whole delay, each time. Linux does so, too.
            self.owed.ack = true;
        }
        self.window_opened()
    }

    /// Tells how many bytes are still held downstream of the receive queue (in a program's descriptor): the
    /// window takes account of them. The answer is as for [`Tcb::consume`].
    pub fn set_held(&mut self, bytes: usize) -> bool {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let less = bytes < self.rcv.held;
        self.rcv.held = bytes;
        less && self.window_opened()
    }

    fn window_opened(&mut self) -> bool {
        let receiving = matches!(self.state, State::Established | State::FinWait1 | State::FinWait2);
        // [RFC9293 MUST-39]
        if receiving && !self.rcv.fin && self.window_update_due() {
            self.owed.ack = true;
        }
        self.owed.ack
    }

    /// The peer's FIN has come and everything before it was consumed.
    #[inline]
    pub fn at_eof(&self) -> bool {
        (self.rcv.fin || self.rcv.shut || self.state == State::Closed) && self.inq.is_empty()
    }

    /// Bytes from the reading position to the urgent mark, while it is ahead (SIOCATMARK: `Some(0)`). The mark
    /// is after the last urgent byte, as RFC 6093 has it.
    pub fn urgent_mark(&self) -> Option<u32> {
        // [RFC9293 MUST-33]
        let reading = self.rcv.nxt - u32::from(self.rcv.fin) - self.inq.len() as u32;
        // [RFC6093 6a]
        self.rcv.up.filter(|up| up.ge(reading)).map(|up| up.since(reading))
    }

    /// No more data from us: a FIN follows what is buffered (shutdown(SHUT_WR)).
    pub fn shutdown_write(&mut self) {
        // [RFC9293 3.10.4a]
        if self.state != State::Closed {
            self.snd.fin = true;
        }
    }

    /// Nobody will read any more: what is queued and what still comes is taken and forgotten
    /// (shutdown(SHUT_RD), BSD's way).
    pub fn shutdown_read(&mut self, mut free: impl FnMut(Mbuf)) {
        self.rcv.shut = true;
        self.discard_input(&mut free);
        self.window_opened();
    }

    /// close(2): the connection becomes an orphan that ends by itself and answers further data with RST.
    /// With unread data (`unread`, or in the queue) it is reset at once (RFC 9293 section 3.10.4, RFC 2525 2.17).
    /// [`what::CLOSED`] in the answer: forget it after the next [`Tcb::output`].
    pub fn close(&mut self, now: Instant, unread: bool, mut free: impl FnMut(Mbuf)) -> Outcome {
        let mut o = Outcome { what: what::OUTPUT, ..Outcome::default() };
        let unread = unread || !self.inq.is_empty();
        self.discard_input(&mut free);
        self.orphan = true;
        self.rcv.shut = true;
        match self.state {
            State::Closed => o.what |= what::CLOSED,
            State::SynSent => self.end(None, &mut o),
            // [RFC9293 MAY-1]
            _ if unread && self.state != State::TimeWait => {
                // [RFC2525 2.17]
                self.abort_now(&mut o);
            }
            State::FinWait2 => {
                self.snd.fin = true;
                self.timers.set(Timer::TwoMsl, now + dur(self.knobs.fin_wait2));
            }
            _ => self.snd.fin = true,
        }
        self.timers.stop(Timer::Keep);
        o
    }

    /// ABORT: the connection ends now, the peer gets an RST (SO_LINGER with time zero).
    pub fn abort(&mut self, mut free: impl FnMut(Mbuf)) -> Outcome {
        let mut o = Outcome { what: what::OUTPUT, ..Outcome::default() };
        self.discard_input(&mut free);
        self.abort_now(&mut o);
        o
    }

    fn abort_now(&mut self, o: &mut Outcome) {
        // [RFC9293 3.10.5a]
        let tell = matches!(
            self.state,
            State::SynReceived | State::Established | State::FinWait1 | State::FinWait2 | State::CloseWait
        );
        self.end(None, o);
        self.owed.abort = tell;
    }

    /// The network reported an error about a segment of ours with sequence number `seq` (ICMP). `hard`:
    /// RFC 1122's hard errors; they end an attempt to connect only, as RFC 5927 section 6 advises.
    pub fn icmp(&mut self, seq: Seq, errno: Errno, hard: bool) -> Outcome {
        let mut o = Outcome::default();
        // [RFC5927 4.1]
        // [RFC1191 6.5]
        if !(seq.ge(self.snd.una) && seq.lt(self.snd.max)) {
            return o;
        }
        let opening = matches!(self.state, State::SynSent | State::SynReceived);
        // [RFC9293 MUST-54] [RFC9293 MUST-56]
        if hard && opening {
            // [RFC5927 6]
            self.end(Some(errno), &mut o);
        } else {
            self.soft = Some(errno);
        }
        o
    }

    /// Whether a segment that begins with `seq` is sent and not acknowledged: what a network reports of others is made up.
    pub fn is_in_flight(&self, seq: Seq) -> bool {
        seq.ge(self.snd.una) && seq.lt(self.snd.max)
    }

    /// The path takes segments of `mss` bytes now (path MTU less fixed IP and TCP headers). With `seq` of a
    /// segment that was too big for it, the segments that are too big go again at once, cut anew, and the congestion
    /// window stays: a too small pipe is no congestion (RFC 8201 section 5.4).
    pub fn set_path_mss(&mut self, mss: u16, seq: Option<Seq>) -> Outcome {
        let mut o = Outcome::default();
        if seq.is_some_and(|s| !self.is_in_flight(s)) {
            return o;
        }
        // [RFC1191 6.4]
        self.snd.mss_path = mss.max(crate::config::MSS_MIN);
        let before = self.snd.mss;
        self.mtu_limited();
        self.apply_mss();
        if self.state == State::SynSent && self.snd.mss < before && self.fast_open_too_long() {
            // The SYN did not pass for the data in it: again at once, without.
            self.rcv.mss = self.rcv.mss.min(self.snd.mss);
            self.snd.need_syn = true;
            self.stats.syn_retransmits += 1;
            o.what |= what::OUTPUT;
            return o;
        }
        if self.snd.mss < before && seq.is_some() && self.sent.mark_bigger(self.seg_size()) > 0 {
            self.owed.force_retx = true;
            o.what |= what::OUTPUT;
        }
        o
    }

    /// TCP_NODELAY.
    pub fn set_nodelay(&mut self, on: bool) {
        // [RFC9293 MUST-17]
        self.knobs.nodelay = on;
    }

    /// TCP_CORK: what is less than a segment waits, until it is turned off or for a retransmission time-out.
    pub fn set_cork(&mut self, on: bool) {
        self.knobs.cork = on;
    }

    /// MSG_MORE: more follows what was just written. What is less than a segment waits for it, at most until something comes from
    /// the peer or for a retransmission time-out.
    pub fn more_follows(&mut self) {
        (self.snd.more, self.snd.hold) = (true, true);
    }

    /// What is there goes now, corked or not (TCP_NODELAY does so when it is set).
    pub fn push(&mut self) {
        (self.snd.hold, self.snd.flush) = (false, true);
    }

    /// Whether Nagle's algorithm is off.
    pub fn nodelay(&self) -> bool {
        self.knobs.nodelay
    }

    /// SO_KEEPALIVE with TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT.
    pub fn set_keepalive(&mut self, now: Instant, on: bool, idle: Duration, interval: Duration, count: u8) {
        // [RFC9293 MUST-24]
        self.knobs.keepalive = on;
        // [RFC9293 MUST-27]
        self.knobs.keep_idle = ms(idle).max(1);
        self.knobs.keep_interval = ms(interval).max(1);
        self.knobs.keep_count = count;
        self.keeps = 0;
        self.arm_keepalive(now);
    }

    /// TCP_USER_TIMEOUT; zero for none.
    pub fn set_user_timeout(&mut self, t: Duration) {
        self.knobs.user_timeout = ms(t);
    }

    /// TCP_MAXSEG: no segment is larger; `None` as large as peer and path allow.
    pub fn set_max_segment(&mut self, mss: Option<u16>) {
        let mss = mss.unwrap_or(u16::MAX);
        if self.snd.mss_user != mss {
            self.snd.mss_user = mss;
            self.mtu_limited();
            self.apply_mss();
        }
    }

    /// TCP_SYNCNT: retransmissions of the SYN before giving up.
    pub fn set_syn_retries(&mut self, n: u8) {
        self.knobs.syn_retries = n;
    }

    /// TCP_LINGER2: how long an orphan may wait in FIN-WAIT-2, from its next wait on.
    pub fn set_fin_wait2(&mut self, t: Duration) {
        self.knobs.fin_wait2 = ms(t);
    }

    /// Longest delay of ACKs; zero acknowledges every segment at once (TCP_QUICKACK).
    pub fn set_delack(&mut self, t: Duration) {
        self.knobs.delack = ms(t);
    }

    /// SO_SNDBUF: the buffer does not grow by itself any more.
    pub fn set_sndbuf(&mut self, bytes: u32) {
        self.auto.snd_max = 0;
        self.out.set_limit(bytes as usize);
    }

    /// SO_RCVBUF: takes effect on the window from the next segment on, up to what the window scale of the
    /// handshake can express, and does not grow by itself any more. A smaller one never takes back what was offered.
    pub fn set_rcvbuf(&mut self, bytes: u32) {
        self.auto.rcv_max = 0;
        self.rcv.limit = bytes;
    }

    /// Buffer limits: send, receive.
    pub fn buffers(&self) -> (u32, u32) {
        (self.out.limit() as u32, self.rcv.limit)
    }

    /// Records of what is in flight: about as many as segments and super-segments that went.
    pub fn records(&self) -> usize {
        self.sent.records()
    }

    /// Largest payload of a segment to the peer with the options that every segment carries, bytes.
    pub fn segment_size(&self) -> u32 {
        self.seg_size()
    }

    /// Largest payload of a segment to the peer, bytes, options not yet subtracted.
    pub fn mss(&self) -> u32 {
        u32::from(self.snd.mss)
    }

    /// Largest super-segment, bytes; 0 for none.
    pub fn set_tso_max(&mut self, bytes: u32) {
        self.knobs.tso_max = bytes;
    }

    /// TCP_CONGESTION: changes the controller; the window stays.
    pub fn set_congestion(&mut self, kind: CcKind) {
        self.cc = Cc::new(kind, u64::from(self.snd.iss.0));
        self.pace_update();
    }

    /// The last error the network reported that did not end the connection.
    pub fn soft_error(&self) -> Option<Errno> {
        self.soft
    }

    /// The timer that a person wants to see: what is sent again, before what only asks whether anybody is there.
    fn waits(&self, now: Instant) -> Option<(Waits, Duration)> {
        let again = [Timer::Rexmt, Timer::Reorder, Timer::Probe].map(|t| self.timers.at(t)).into_iter().min();
        let again = again.filter(|t| *t != Instant::FAR);
        let (what, at) = match again {
            Some(t) if self.outstanding() == 0 => (Waits::Window, t),
            Some(t) => (Waits::Retransmit, t),
            None if self.timers.is_set(Timer::TwoMsl) => (Waits::TimeWait, self.timers.at(Timer::TwoMsl)),
            None if self.timers.is_set(Timer::Keep) => (Waits::Keepalive, self.timers.at(Timer::Keep)),
            None => return None,
        };
        Some((what, at.since(now)))
    }

    /// TCP_INFO.
    pub fn info(&self, now: Instant) -> Info {
        Info {
            state: self.state,
            timestamps: self.ts.on,
            sack: self.sack_ok,
            ecn: (self.ecn.on, self.ecn.seen),
            scale: (self.snd.scale, self.rcv.scale),
            rto: self.rtt.rto(self.backoff),
            timer: self.waits(now),
            rtt: (self.rtt.srtt(), self.rtt.var(), self.rtt.min()),
            snd_mss: self.seg_size(),
            rcv_mss: self.rcv.seg,
            cwnd: self.win.cwnd,
            ssthresh: self.win.ssthresh,
            in_flight: self.pipe(),
            snd_wnd: self.snd.wnd,
            rcv_wnd: self.rcv.adv.since(self.rcv.nxt),
            queued: (self.outstanding(), self.data_end().since(self.snd.nxt)),
            sacked_lost: (self.sent.sacked(), self.sent.lost()),
            backoff: self.backoff,
            retransmits: self.tries,
            reordering: self.rack.extent.div_ceil(self.seg_size()).clamp(3, 300),
            repeated: self.sent.repeated(),
            reorder_seen: self.rack.seen,
            cc: self.cc.name(),
            rate: (self.pace_rates().0, self.pace_rates().1, self.rate.last().0, self.rate.last().1),
            delivered: self.rate.delivered,
            idle: (now.since(self.snd.last), now.since(self.rcv.last)),
            data_idle: now.since(if self.rcv.data_at == Instant::FAR {
                self.rcv.since
            } else {
                self.rcv.data_at
            }),
            limits: self.chrono.times(now),
            ca_state: self.ca_state(),
            fast_open: self.fast_open_info(),
            stats: self.stats,
        }
    }

    fn ca_state(&self) -> u8 {
        match self.rec.mode {
            Mode::Open if self.sent.sacked() > 0 || self.rec.dupacks > 0 => 1,
            Mode::Open => 0,
            Mode::Cwr => 2,
            Mode::Fast => 3,
            Mode::Loss => 4,
        }
    }

    /// Counters.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Our FIN was sent and acknowledged.
    pub fn fin_is_acked(&self) -> bool {
        self.fin_sent() && self.snd.una == self.snd.max
    }

    /// Gives back memory that buffers hold without need; worth a call when a connection has been idle.
    pub fn shrink(&mut self) {
        self.out.shrink();
        self.sent.shrink();
        if self.inq.is_empty() {
            self.inq.shrink();
        }
    }
}
