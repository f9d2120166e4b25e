//! F-RTO (RFC 5682): was a retransmission time-out needless?
//!
//! After a time-out only the first segment goes again. If the next answers acknowledge what was never sent again, the originals were only
//! late: the time-out is undone. Without SACK the second answer decides, and in between new data goes instead of
//! retransmissions, so that a duplicate ACK still means something. With timestamps the echo tells before
//! (`recovery.rs`).

use crate::recovery::{AckWork, Mode};
use crate::tcb::Tcb;

/// How far the question has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Frto {
    /// Not asked, or answered.
    #[default]
    Off,
    /// The first segment went again, no answer yet.
    First,
    /// It was acknowledged; new data goes until the second answer.
    Second,
}

impl Tcb {
    /// A time-out in this mode of recovery: whether the question may be asked.
    pub(crate) fn frto_begins(&mut self) {
        // [RFC5682 2.1-1]
        let fresh = matches!(self.rec.mode, Mode::Open | Mode::Cwr);
        let again = self.rec.mode == Mode::Loss && self.rec.frto == Frto::First;
        self.rec.frto = if fresh || again { Frto::First } else { Frto::Off };
    }

    /// What an ACK after a time-out says; true when the time-out was needless (and is undone).
    pub(crate) fn frto_ack(&mut self, w: &AckWork) -> bool {
        let at = self.rec.frto;
        if at == Frto::Off {
            return false;
        }
        // [RFC5682 3.1]
        let proved = self.sack_ok && w.never_again;
        // [RFC5682 2.1-3b]
        let advanced = at == Frto::Second && !self.sack_ok && w.acked > 0 && w.never_again && !w.again;
        if proved || advanced {
            // [RFC5682 4]
            self.undo();
            // What answered was the original, not the copy that RACK took the time of.
            self.rack.valid = false;
            return true;
        }
        self.rec.frto = match at {
            // [RFC5682 2.1-2b] [RFC5682 2.1-new]
            Frto::First if w.acked > 0 && !w.dup && self.may_send_new() => {
                self.win.cwnd = self.pipe() + 2 * self.win.mss;
                Frto::Second
            }
            Frto::First if w.acked == 0 && !w.dup => Frto::First,
            // [RFC5682 2.1-2a] [RFC5682 2.1-3a]
            _ => Frto::Off,
        };
        false
    }

    fn may_send_new(&self) -> bool {
        let edge = self.snd.una + self.snd.wnd;
        self.data_end().gt(self.snd.nxt) && edge.since(self.snd.nxt) >= self.seg_size()
    }
}
