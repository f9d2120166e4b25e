//! What happened: the answers of [`crate::Tcb::input`] and [`crate::Tcb::tick`], and counters.

use iopkt_base::Errno;
use iopkt_mbuf::Mbuf;

/// Bits of [`Outcome::what`].
pub mod what {
    /// In-order data arrived.
    pub const READABLE: u16 = 0x01;
    /// Room appeared in the send buffer.
    pub const WRITABLE: u16 = 0x02;
    /// The handshake ended: the connection is established.
    pub const CONNECTED: u16 = 0x04;
    /// The peer's FIN arrived: end of file follows the data.
    pub const FIN: u16 = 0x08;
    /// The connection ended with [`super::Outcome::error`].
    pub const ERROR: u16 = 0x10;
    /// The connection is CLOSED: its owner may forget it once [`crate::Tcb::wants_output`] is false and the
    /// program has read what is left in the receive queue.
    pub const CLOSED: u16 = 0x20;
    /// TIME-WAIT was entered: both directions are over.
    pub const TIME_WAIT: u16 = 0x40;
    /// There may be something to send: call [`crate::Tcb::output`] this turn.
    pub const OUTPUT: u16 = 0x80;
    /// Urgent data was announced (SIGURG, POLLPRI).
    pub const URGENT: u16 = 0x100;
    /// A SYN for a new connection hit TIME-WAIT and may have the ends: remove this one, and treat the segment
    /// as one for the listener, with an initial sequence number above [`crate::Tcb::snd_max`].
    pub const REUSE: u16 = 0x200;
}

/// What became of the segment itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Fate {
    /// Taken: its payload is queued, or it had none and did its work.
    #[default]
    Taken,
    /// Old, duplicate, or outside the window.
    Old,
    /// Failed the timestamp check (PAWS).
    Paws,
    /// Not acceptable in this state, or a blind attack's likely shape.
    BadState,
    /// Out of order and no room to keep it.
    NoRoom,
}

/// What an event did.
#[derive(Debug, Default)]
pub struct Outcome {
    /// [`what`] bits.
    pub what: u16,
    /// With [`what::ERROR`]: ECONNRESET, ECONNREFUSED, ETIMEDOUT, or what the network said.
    pub error: Option<Errno>,
    /// The buffer, when the connection did not keep it: give it back.
    pub spare: Option<Mbuf>,
    /// The segment's fate.
    pub fate: Fate,
}

impl Outcome {
    /// Whether any of these bits is set.
    #[inline]
    pub fn has(&self, bits: u16) -> bool {
        self.what & bits != 0
    }
}

/// Counters of one connection (TCP_INFO, tests).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Segments received.
    pub segs_in: u64,
    /// Segments sent, retransmissions included (a super-segment is one).
    pub segs_out: u64,
    /// Payload bytes received in order.
    pub bytes_in: u64,
    /// Payload bytes acknowledged by the peer.
    pub bytes_acked: u64,
    /// Segments retransmitted.
    pub retransmits: u32,
    /// Retransmission time-outs.
    pub timeouts: u32,
    /// Tail loss probes (RFC 8985 section 7).
    pub tail_probes: u32,
    /// Fast recoveries.
    pub recoveries: u32,
    /// Reductions of the window that proved needless and were undone.
    pub undos: u32,
    /// Duplicate ACKs received.
    pub dup_acks: u32,
    /// Window probes sent.
    pub probes: u32,
    /// Challenge ACKs sent.
    pub challenges: u32,
    /// Larger segments sent to find out whether they pass, and paths that swallowed segments.
    pub mtu_probes: u32,
    /// See above.
    pub black_holes: u32,
    /// Segments that failed PAWS.
    pub paws: u32,
    /// Segments received out of order.
    pub ooo: u32,
    /// SYN and SYN-ACK retransmissions.
    pub syn_retransmits: u32,
    /// Data segments received with a congestion mark (RFC 3168), and ACKs that echoed one of ours.
    pub ce_in: u32,
    /// See [`Stats::ce_in`].
    pub ece_in: u32,
}
