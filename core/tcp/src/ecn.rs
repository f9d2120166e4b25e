//! Explicit congestion notification (RFC 3168): routers mark packets instead of losing them.
//!
//! Both ends agree by the flags ECE and CWR of their SYNs. Then new data goes as ECT(0) in the IP header; a mark (CE)
//! that comes with data is echoed as ECE in every ACK until the sender's CWR says that it has slowed down, which it
//! does once per window, as for a loss. Retransmissions, window probes, pure ACKs and SYNs are never ECT.
//!
//! The two bits travel in [`SegOut::ect`](crate::SegOut::ect) and [`Segment::ecn`]; whoever makes the IP header puts them there.

use crate::outcome::{Outcome, what};
use crate::recovery::Mode;
use crate::segment::Segment;
use crate::seq::Seq;
use crate::tcb::Tcb;
use iopkt_base::Instant;
use iopkt_wire::tcp::Flags;

/// What a connection does about ECN (Linux's `tcp_ecn`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Ecn {
    /// Neither asks for it nor agrees to it.
    Off,
    /// Asks for it in its SYN, and agrees.
    Request,
    /// Agrees when the peer asks.
    #[default]
    Accept,
}

/// ECN of one connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EcnState {
    mode: Ecn,
    /// SYNs that ask before one without goes out; 0 once the peer would not hear of it.
    asks: u8,
    /// Our last SYN asked.
    asked: bool,
    /// Both ends agreed.
    pub(crate) on: bool,
    /// A mark came and the sender has not answered with CWR: ACKs carry ECE.
    pub(crate) echo: bool,
    /// The window was reduced: the next new data carries CWR.
    pub(crate) cwr: bool,
    /// SND.MAX at the last reduction: what its CWR rides on lies above.
    reduced: Option<Seq>,
    /// A packet of the peer was ECT or CE.
    pub(crate) seen: bool,
}

const SETUP: Flags = Flags(Flags::ECE.0 | Flags::CWR.0);

impl EcnState {
    pub(crate) fn new(mode: Ecn, asks: u8) -> EcnState {
        // [RFC9293 SHLD-8]
        EcnState { mode, asks, asked: false, on: false, echo: false, cwr: false, reduced: None, seen: false }
    }
}

impl Tcb {
    /// Flags that our SYN (`first`) or SYN-ACK carries for ECN; `tries` have gone unanswered.
    pub(crate) fn ecn_syn(&mut self, first: bool) -> Flags {
        if !first {
            // [RFC3168 6.1.1b]
            return if self.ecn.on { Flags::ECE } else { Flags::NONE };
        }
        // Networks that lose SYNs with these flags exist: after some, one goes without. [RFC3168 6.1.1.1b]
        // [RFC3168 6.1.1a]
        self.ecn.asked = self.ecn.mode == Ecn::Request && self.tries < self.ecn.asks;
        if self.ecn.asked { SETUP } else { Flags::NONE }
    }

    /// The peer's SYN or SYN-ACK says whether it will have ECN.
    pub(crate) fn ecn_negotiate(&mut self, seg: &Segment) {
        let bits = Flags(seg.flags.0 & SETUP.0);
        self.ecn.on = if seg.flags.has(Flags::ACK) {
            // With both flags, somebody reflects ours without understanding them. [RFC3168 6.1.1c]
            self.ecn.asked && bits == Flags::ECE
        } else if self.active {
            // A simultaneous open: both asked.
            self.ecn.asked && bits == SETUP
        } else {
            // A SYN is never ECT: who sends it so does not know what it does. [RFC3168 6.1.1d]
            self.ecn.mode != Ecn::Off && bits == SETUP && seg.ecn == 0
        };
    }

    /// A reset answers our SYN: whether to ask again, without ECN. [RFC3168 6.1.1.1a]
    pub(crate) fn ecn_refused(&mut self) -> bool {
        let again = core::mem::take(&mut self.ecn.asked);
        if again {
            self.ecn.asks = 0;
        }
        again
    }

    /// ECN was agreed on.
    pub fn ecn(&self) -> bool {
        self.ecn.on
    }

    /// Data of an acceptable segment: marks and the answer to our echo. Call it only with `ecn.on`.
    pub(crate) fn ecn_data(&mut self, seg: &Segment, o: &mut Outcome) {
        self.ecn.seen |= seg.ecn != 0;
        if seg.flags.has(Flags::CWR) {
            // [RFC3168 6.1.3b]
            // The sender's window may be a single segment now: it should not wait for us.
            self.ecn.echo = false;
            self.owed.ack = true;
            o.what |= what::OUTPUT;
        }
        if seg.ce() {
            // [RFC3168 6.1.3a]
            self.stats.ce_in += 1;
            if !core::mem::replace(&mut self.ecn.echo, true) {
                self.owed.ack = true;
                o.what |= what::OUTPUT;
            }
        }
    }

    /// An ACK with ECE: congestion, once per window. [RFC3168 6.1.2a]
    pub(crate) fn ecn_echoed(&mut self, now: Instant, flight: u32) {
        self.stats.ece_in += 1;
        // Our CWR has not arrived before something above is acknowledged. [RFC3168 6.1.2b]
        let told = self.ecn.reduced.is_none_or(|r| self.snd.una.gt(r));
        if told && self.rec.mode == Mode::Open {
            self.enter_cwr(now, flight);
        }
    }

    /// The window was reduced, for whatever reason: the peer is told by CWR. [RFC3168 6.1.2c]
    pub(crate) fn ecn_reduced(&mut self) {
        if self.ecn.on {
            (self.ecn.cwr, self.ecn.reduced) = (true, Some(self.snd.max));
        }
    }

    /// ECN bits of the flags of a segment that is not a SYN: `new` says that it has data sent for the first time.
    #[inline]
    pub(crate) fn ecn_flags(&self, new: bool) -> Flags {
        if !self.ecn.on {
            return Flags::NONE;
        }
        let mut f = Flags::NONE;
        if self.ecn.echo {
            // [RFC3168 6.1.3a]
            f |= Flags::ECE;
        }
        if new && self.ecn.cwr {
            // [RFC3168 6.1.2c]
            f |= Flags::CWR;
        }
        f
    }

    /// Whether data that begins at `start` goes as ECT(0): only what is sent for the first time.
    #[inline]
    pub(crate) fn is_ect(&self, start: Seq, probe: bool) -> bool {
        // [RFC3168 5a] [RFC3168 6.1.5a] [RFC3168 6.1.6a]
        self.ecn.on && !probe && start.ge(self.snd.max)
    }
}
