//! Places in the stream that matter to the program: ends of records (MSG_EOR), and ends of writes that it wants to hear of
//! when they were sent (SO_TIMESTAMPING) or acknowledged (SO_TIMESTAMPING, MSG_ZEROCOPY).
//!
//! A connection that has none of them has no memory for them. Both lists are bounded and in the order of the stream; what was
//! acknowledged leaves them.

use crate::seq::Seq;
use crate::tcb::Tcb;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use iopkt_base::Instant;

/// Most ends of records, and most notes, that wait at a time.
const MAX: usize = 1024;

/// Bits of [`Note::what`].
pub mod tell {
    /// It was sent for the first time.
    pub const SENT: u8 = 1;
    /// The peer has acknowledged it.
    pub const ACKED: u8 = 2;
    /// It is needed no more: acknowledged, or the connection is over.
    pub const RELEASED: u8 = 4;
}

/// What became of the end of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note {
    /// The program's name for it.
    pub key: u32,
    /// [`tell`]: what the program wants to hear of; when told: what happened.
    pub what: u8,
    /// When told: since when it is so.
    pub at: Instant,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    ends: VecDeque<Seq>,
    notes: VecDeque<(Seq, Note)>,
    told: VecDeque<Note>,
}

impl Tcb {
    fn marks(&mut self) -> &mut Marks {
        self.marks.get_or_insert_with(Box::default)
    }

    /// What was written so far ends a record: no segment has bytes from both sides of its end (MSG_EOR).
    pub fn end_record(&mut self) {
        let end = self.data_end();
        let m = self.marks();
        if m.ends.len() < MAX && m.ends.back() != Some(&end) {
            m.ends.push_back(end);
        }
    }

    /// Asks to be told what becomes of the last byte written so far; false when too many wait already.
    pub fn note(&mut self, key: u32, what: u8, now: Instant) -> bool {
        let end = self.data_end();
        let m = self.marks();
        let room = m.notes.len() < MAX;
        if room {
            m.notes.push_back((end, Note { key, what, at: now }));
        }
        room
    }

    /// Takes the oldest news of what was asked for by [`Tcb::note`].
    #[inline]
    pub fn take_note(&mut self) -> Option<Note> {
        self.marks.as_mut()?.told.pop_front()
    }

    /// Offset of the end of what was written, from the first byte not acknowledged or (`written`) from here on: what names of
    /// bytes are counted from.
    pub fn stream_at(&self, written: bool) -> u32 {
        if written { self.data_end().0 } else { self.snd.una.0 }
    }

    /// The end of the record that has the byte at `start`.
    #[inline]
    pub(crate) fn record_end(&self, start: Seq) -> Option<Seq> {
        self.marks.as_ref()?.ends.iter().copied().find(|e| e.gt(start))
    }

    #[inline]
    pub(crate) fn ends_record(&self, at: Seq) -> bool {
        self.marks.as_ref().is_some_and(|m| m.ends.contains(&at))
    }

    /// Everything before `to` has been sent.
    pub(crate) fn marks_sent(&mut self, now: Instant, to: Seq) {
        let Some(m) = &mut self.marks else { return };
        for (_, n) in m.notes.iter_mut().take_while(|(end, _)| end.le(to)) {
            if n.what & tell::SENT != 0 {
                n.what &= !tell::SENT;
                m.told.push_back(Note { what: tell::SENT, at: now, ..*n });
            }
        }
    }

    /// Everything before `una` is acknowledged; `over`: and nothing more will be.
    pub(crate) fn marks_acked(&mut self, now: Instant, una: Seq, over: bool) {
        let Some(m) = &mut self.marks else { return };
        while m.ends.front().is_some_and(|e| e.le(una)) {
            m.ends.pop_front();
        }
        while let Some((end, n)) = m.notes.front().copied() {
            let acked = end.le(una);
            if !acked && !over {
                break;
            }
            m.notes.pop_front();
            let what = n.what & if acked { tell::ACKED | tell::RELEASED } else { tell::RELEASED };
            if what != 0 {
                m.told.push_back(Note { what, at: now, ..n });
            }
        }
    }
}
