//! What every segment carries back: our ACK, the window, SACK blocks, the timestamp; and the ACKs that go alone
//! (RFC 9293 sections 3.8.6 and 3.8.6.2.2, RFC 2018, RFC 7323).

use crate::output::{Sink, bare};
use crate::segment::SegOut;
use crate::seq::Seq;
use crate::tcb::Tcb;
use crate::timers::Timer;
use iopkt_base::Instant;
use iopkt_wire::tcp::{Flags, Options, SackBlocks, Timestamps};

impl Tcb {
    /// The options of a segment other than a SYN.
    #[inline]
    pub(crate) fn options(&self, now: Instant) -> Options {
        let mut o = Options::NONE;
        if self.ts.on {
            // [RFC7323 3.2]
            o.timestamps = Some(Timestamps { val: self.ts_now(now), ecr: self.ts.recent });
        }
        // [RFC2018 2] [RFC2018 4-all]
        if self.sack_ok && (self.rcv.dsack.is_some() || !self.early.is_empty()) {
            o.sack = self.sack_blocks();
        }
        o
    }

    fn sack_blocks(&self) -> SackBlocks {
        let early = self.early.sack();
        let Some((l, r)) = self.rcv.dsack else { return early };
        // [RFC2883 4]
        let mut b = SackBlocks::NONE;
        b.push(l.0, r.0);
        for (l, r) in early.as_slice() {
            b.push(*l, *r);
        }
        b
    }

    /// The window field for a segment sent now, and the right edge it promises.
    #[inline]
    pub(crate) fn window(&self) -> (u16, Seq) {
        let most = 65535u32 << self.rcv.scale;
        // [RFC9293 SHLD-14]
        let (offered, free) = (self.rcv.adv.since(self.rcv.nxt), self.rcv_free().min(most));
        // Receiver's silly window avoidance: the edge moves by worthwhile steps. [RFC9293 MUST-39]
        let step = (self.rcv.limit / 2).min(u32::from(self.rcv.mss));
        let wnd = if free >= offered.saturating_add(step) || free == most { free } else { offered.min(most) };
        let field = wnd >> self.rcv.scale;
        (field as u16, self.rcv.nxt + (field << self.rcv.scale))
    }

    /// Whether a window update is worth a segment of its own: half the buffer, or two segments when the
    /// window has become narrow. Else the next ACK carries it.
    pub(crate) fn window_update_due(&self) -> bool {
        let edge = self.rcv.nxt + self.rcv_free().min(65535 << self.rcv.scale);
        let (gain, offered) = (edge.since(self.rcv.adv), self.rcv.adv.since(self.rcv.nxt));
        let (limit, mss) = (self.rcv.limit.max(2), u32::from(self.rcv.mss));
        let narrow = gain >= limit / 4 || offered <= limit / 8 || limit <= 8 * mss;
        gain >= limit / 2 || (gain >= 2 * mss && narrow)
    }

    /// A segment that carries our ACK and window went out.
    #[inline]
    pub(crate) fn ack_went(&mut self, adv: Seq) {
        self.rcv.adv = self.rcv.adv.max(adv);
        self.rcv.last_ack = self.rcv.nxt;
        if self.rcv.unacked > 0 {
            self.rcv.quick = self.rcv.quick.saturating_sub(1);
        }
        self.rcv.unacked = 0;
        self.rcv.pushed = false;
        self.rcv.dsack = None;
        self.owed.ack = false;
        self.timers.stop(Timer::DelAck);
        self.stats.segs_out += 1;
    }

    pub(crate) fn output_ack(&mut self, now: Instant, sink: &mut impl Sink) {
        if self.owed.keep {
            // [RFC9293 MAY-5] [RFC9293 MUST-26]
            // [RFC9293 SHLD-12]
            if !self.emit_ack(now, self.snd.una - 1, sink) {
                return;
            }
            self.owed.keep = false;
        }
        if !self.owed.ack {
            return;
        }
        for _ in 0..=self.owed.dups {
            if !self.emit_ack(now, self.snd.nxt, sink) {
                return;
            }
        }
        self.owed.dups = 0;
    }

    pub(crate) fn emit_ack(&mut self, now: Instant, seq: Seq, sink: &mut impl Sink) -> bool {
        let (window, adv) = self.window();
        // Never ECT: a lost ACK would not be noticed. [RFC3168 6.1.4a]
        let (urg, urgent) = self.urgent_field(seq);
        let flags = Flags::ACK | self.ecn_flags(false) | urg;
        let seg = SegOut { window, urgent, options: self.options(now), ..bare(seq, self.rcv.nxt, flags) };
        if !sink.emit(&seg) {
            self.snd.refused = true;
            return false;
        }
        self.ack_went(adv);
        true
    }
}
