//! Segments for ports without a connection: LISTEN and CLOSED (RFC 9293 sections 3.10.7.1 and 3.10.7.2).

use crate::output::bare;
use crate::segment::{SegOut, Segment};
use crate::seq::Seq;
use iopkt_wire::tcp::Flags;

/// What a listener does with a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A SYN: make a connection ([`crate::Tcb::accept`]) or answer with a cookie ([`crate::cookie`]).
    Syn,
    /// An ACK: it may complete a handshake by cookie, else answer with [`reset`].
    Ack,
    /// Nothing for a listener.
    Drop,
}

/// First to fourth check in LISTEN.
pub fn judge(seg: &Segment) -> Verdict {
    // [RFC9293 3.10.7.2]
    let f = seg.flags;
    if f.has(Flags::RST) {
        Verdict::Drop
    } else if f.has(Flags::ACK) {
        Verdict::Ack
    } else if f.has(Flags::SYN) {
        Verdict::Syn
    } else {
        Verdict::Drop
    }
}

/// The RST for a segment that no connection wants; `None` for an RST. `payload` is its payload's length.
pub fn reset(seg: &Segment, payload: usize) -> Option<SegOut<'static>> {
    // [RFC9293 3.10.7.1]
    let f = seg.flags;
    if f.has(Flags::RST) {
        return None;
    }
    if f.has(Flags::ACK) {
        return Some(bare(seg.ack, Seq(0), Flags::RST));
    }
    let len = payload as u32 + u32::from(f.has(Flags::SYN)) + u32::from(f.has(Flags::FIN));
    Some(bare(Seq(0), seg.seq + len, Flags::RST | Flags::ACK))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seg(flags: Flags) -> Segment {
        Segment { seq: Seq(100), ack: Seq(7), flags, ..Segment::default() }
    }

    #[test]
    fn verdicts() {
        // [RFC9293 3.10.7.2]
        assert_eq!(judge(&seg(Flags::SYN)), Verdict::Syn);
        assert_eq!(judge(&seg(Flags::SYN | Flags::ACK)), Verdict::Ack);
        assert_eq!(judge(&seg(Flags::ACK | Flags::RST)), Verdict::Drop);
        assert_eq!(judge(&seg(Flags::RST | Flags::SYN)), Verdict::Drop);
        assert_eq!(judge(&seg(Flags::FIN)), Verdict::Drop);
    }

    #[test]
    fn resets_look_as_the_rfc_says() {
        // [RFC9293 3.10.7.1]
        assert!(reset(&seg(Flags::RST), 5).is_none());
        let r = reset(&seg(Flags::ACK), 5).unwrap();
        assert_eq!((r.seq, r.ack, r.flags), (Seq(7), Seq(0), Flags::RST));
        let r = reset(&seg(Flags::SYN | Flags::FIN), 5).unwrap();
        assert_eq!((r.seq, r.ack, r.flags), (Seq(0), Seq(107), Flags::RST | Flags::ACK));
    }
}
