//! Segments that follow one that was just taken, with the same header but for sequence number and PSH: nothing in them
//! but text that continues. What is left to ask is whether text is wanted, in order, and within the window.

use crate::outcome::{Fate, Outcome, what};
use crate::seq::Seq;
use crate::tcb::{State, Tcb};
use iopkt_base::Instant;
use iopkt_mbuf::Mbuf;

impl Tcb {
    /// Whether [`Tcb::input_next`] may take `len` bytes of text at `seq`, after `o` came of the segment before.
    #[inline]
    pub fn takes_next(&self, seq: Seq, len: usize, o: &Outcome) -> bool {
        matches!(self.state, State::Established | State::FinWait1 | State::FinWait2)
            && o.fate == Fate::Taken
            && o.what & (what::CLOSED | what::REUSE | what::ERROR) == 0
            && self.rcv.nxt == seq
            && self.rcv.fin_at.is_none()
            && self.early.is_empty()
            && !self.orphan
            && !self.rcv.shut
            && len as u32 <= self.rcv.adv.since(self.rcv.nxt)
    }

    /// Takes the text of such a segment; the buffer comes back when it was not kept.
    #[inline]
    pub fn input_next(&mut self, now: Instant, text: Mbuf, o: &mut Outcome) -> Option<Mbuf> {
        self.stats.segs_in += 1;
        self.rcv.pushed |= (text.len() as u32) < self.rcv.seg;
        self.text_in_order(now, text, o)
    }
}
