//! Opening: the active side and the synchronizing states (RFC 9293 sections 3.5 and 3.10.7.3).

use crate::cc::Window;
use crate::config::{Config, MAX_WSCALE, MSS_DEFAULT, MSS_MIN};
use crate::outcome::{Fate, Outcome, what};
use crate::segment::Segment;
use crate::seq::Seq;
use crate::tcb::{State, Tcb};
use crate::timers::Timer;
use iopkt_base::{Errno, Instant};
use iopkt_mbuf::Mbuf;
use iopkt_wire::tcp::{Flags, Options, Timestamps};

impl Tcb {
    /// Active open: SYN-SENT, the SYN goes with the next [`Tcb::output`]. `iss` comes from [`crate::isn::isn`].
    pub fn connect(now: Instant, cfg: &Config, iss: Seq) -> Tcb {
        // [RFC9293 3.10.1]
        let mut t = Tcb::new(State::SynSent, now, cfg, iss);
        t.fast_open_prepare(cfg);
        t
    }

    /// Passive open by a SYN that [`crate::listen::judge`] approved: SYN-RECEIVED, the SYN-ACK goes with the
    /// next [`Tcb::output`].
    pub fn accept(now: Instant, cfg: &Config, iss: Seq, syn: &Segment) -> Tcb {
        // [RFC9293 3.10.7.2]
        let mut t = Tcb::new(State::SynReceived, now, cfg, iss);
        t.active = false;
        t.synchronize(now, syn);
        t
    }

    /// Takes the peer's SYN: its number, window and options.
    pub(crate) fn synchronize(&mut self, now: Instant, seg: &Segment) {
        self.rcv.irs = seg.seq;
        self.rcv.nxt = seg.seq + 1;
        self.rcv.last_ack = self.rcv.nxt;
        self.rcv.adv = self.rcv.nxt + self.rcv_free().min(65535);
        self.rcv.last = now;
        self.ecn_negotiate(seg);
        self.take_options(now, &seg.options);
        // A SYN's window is never scaled. [RFC7323 2.2]
        self.snd.wnd = u32::from(seg.window);
        self.snd.max_wnd = self.snd.wnd;
        (self.snd.wl1, self.snd.wl2) = (seg.seq, seg.ack);
    }

    fn take_options(&mut self, now: Instant, o: &Options) {
        // [RFC9293 MUST-14] [RFC9293 MUST-15] [RFC9293 MUST-16]
        self.snd.mss_peer = o.mss.unwrap_or(MSS_DEFAULT).max(MSS_MIN);
        match o.window_scale.filter(|_| self.offer.scaling) {
            // [RFC7323 2.3-14]
            Some(s) => {
                self.snd.scale = s.min(MAX_WSCALE);
                self.offer.peer_scaled = true;
            }
            None => self.rcv.scale = 0,
        }
        if let (Some(t), true) = (o.timestamps, self.offer.timestamps) {
            self.ts.on = true;
            self.ts.recent = t.val;
            self.ts.recent_at = now;
        }
        self.sack_ok = o.sack_permitted && self.offer.sack;
        self.apply_mss();
        self.win = Window::new(self.seg_size(), self.knobs.init_cwnd);
    }

    /// Sets the send MSS from what the peer and the path allow.
    pub(crate) fn apply_mss(&mut self) {
        // [RFC9293 MUST-16]
        let probed = self.mtu.as_ref().map_or(u16::MAX, |m| m.low);
        self.snd.mss =
            self.snd.mss_peer.min(self.snd.mss_path).min(self.snd.mss_user).min(probed).max(MSS_MIN);
        self.win.mss = self.seg_size();
    }

    /// Options of our SYN or SYN-ACK. A SYN-ACK repeats only what the SYN offered.
    pub(crate) fn syn_options(&self, now: Instant) -> Options {
        let first = self.state == State::SynSent;
        let ts = if first { self.offer.timestamps } else { self.ts.on };
        let scaling = if first { self.offer.scaling } else { self.offer.peer_scaled };
        Options {
            // [RFC9293 SHLD-5] [RFC9293 MAY-3] [RFC9293 MUST-65]
            mss: Some(self.rcv.mss),
            window_scale: scaling.then_some(self.rcv.scale),
            sack_permitted: if first { self.offer.sack } else { self.sack_ok },
            timestamps: ts.then(|| Timestamps { val: self.ts_now(now), ecr: self.ts.recent }),
            ..Options::NONE
        }
    }

    /// A segment arrives in SYN-SENT. // RFC 9293 section 3.10.7.3
    pub(crate) fn input_syn_sent(
        &mut self,
        now: Instant,
        seg: &Segment,
        payload: Mbuf,
        o: &mut Outcome,
    ) -> Option<Mbuf> {
        let f = seg.flags;
        let ack_ok = seg.ack.gt(self.snd.iss) && seg.ack.le(self.snd.max);
        if f.has(Flags::ACK) && !ack_ok {
            // [RFC9293 3.10.7.3b]
            o.fate = Fate::BadState;
            if !f.has(Flags::RST) {
                self.owed.rst = Some(seg.ack);
            }
            return Some(payload);
        }
        if !f.has(Flags::RST) && f.has(Flags::ACK) && self.echo_is_strange(now, seg) {
            // An answer to another connection's SYN between the same ends.
            o.fate = Fate::Paws;
            self.owed.rst = Some(seg.ack);
            return Some(payload);
        }
        if f.has(Flags::RST) {
            // [RFC9293 3.10.7.3c]
            if f.has(Flags::ACK) && self.ecn_refused() {
                self.snd.need_syn = true;
                o.what |= what::OUTPUT;
            } else if f.has(Flags::ACK) {
                self.end(Some(Errno::ECONNREFUSED), o);
            } else {
                o.fate = Fate::BadState;
            }
            return Some(payload);
        }
        if !f.has(Flags::SYN) {
            o.fate = Fate::BadState;
            return Some(payload);
        }
        self.synchronize(now, seg);
        if !f.has(Flags::ACK) {
            // [RFC9293 MUST-10]
            self.state = State::SynReceived;
            self.snd.need_syn = true;
            o.what |= what::OUTPUT;
            return Some(payload);
        }
        self.establish(now, seg, o);
        if self.rcv.writer {
            // The data that will come carries the ACK.
            self.timers.set(Timer::DelAck, now + crate::tcb::dur(self.knobs.delack));
        } else {
            self.ack_now(o);
        }
        let fin = f.has(Flags::FIN);
        if payload.is_empty() && !fin && !f.has(Flags::URG) {
            return Some(payload);
        }
        // Other controls and text are handled as in any segment. [RFC9293 3.10.7.3a]
        let rest = Segment { seq: seg.seq + 1, flags: f.without(Flags::SYN), ..*seg };
        if payload.is_empty() && !fin {
            self.input_urgent(&rest, o);
            return Some(payload);
        }
        self.input_text(now, &rest, payload, fin, o)
    }

    /// Whether a SYN-ACK echoes a timestamp that none of our SYNs had.
    fn echo_is_strange(&self, now: Instant, seg: &Segment) -> bool {
        let Some(t) = seg.options.timestamps.filter(|t| self.offer.timestamps && t.ecr != 0) else {
            return false;
        };
        let first = self.ts_now(self.rcv.since);
        t.ecr.wrapping_sub(first) > self.ts_now(now).wrapping_sub(first)
    }

    /// Our SYN is acknowledged: ESTABLISHED.
    pub(crate) fn establish(&mut self, now: Instant, seg: &Segment, o: &mut Outcome) {
        if self.tries == 0 {
            let sent = self.fast.as_ref().and_then(|f| f.syn_at).unwrap_or(self.snd.last);
            self.rtt.sample(now, now.since(sent));
        } else if let Some(t) = seg.options.timestamps.filter(|t| self.ts.on && t.ecr != 0) {
            let ticks = self.ts_now(now).wrapping_sub(t.ecr);
            if ticks < 1 << 24 {
                self.rtt.sample_coarse(iopkt_base::Duration::from_nanos(u64::from(ticks.max(1)) << 20));
            }
        }
        if self.tries > 0 {
            self.rtt.syn_was_lost();
            // A lost SYN is congestion too: one segment to begin with. [RFC5681 3.1-syn-lost]
            self.win.cwnd = self.win.mss;
        }
        self.state = State::Established;
        self.rcv.since = now;
        if self.knobs.mtu_probing == 2 {
            self.mtu_start();
        }
        self.snd.una = self.snd.iss + 1;
        self.snd.nxt = self.snd.nxt.max(self.snd.una);
        self.snd.need_syn = false;
        if seg.flags.has(Flags::SYN) {
            self.fast_open_answered(now, seg, o);
        }
        (self.backoff, self.tries) = (0, 0);
        if self.outstanding() > 0 {
            // Data that went before the handshake ended.
            self.timers.set(Timer::Rexmt, now + self.rtt.rto(0));
        } else {
            self.timers.stop(Timer::Rexmt);
        }
        if !seg.flags.has(Flags::SYN) {
            self.snd.wnd = u32::from(seg.window) << self.snd.scale;
            self.snd.max_wnd = self.snd.max_wnd.max(self.snd.wnd);
        }
        (self.snd.wl1, self.snd.wl2) = (seg.seq, seg.ack);
        self.arm_keepalive(now);
        o.what |= what::CONNECTED | what::WRITABLE | what::OUTPUT;
    }
}
