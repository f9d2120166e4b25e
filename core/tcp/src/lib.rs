//! The RFC 9293 machine alone: no sockets, no IP.
//!
//! # Theory of operation
//!
//! A [`Tcb`] is one connection. Its owner (the socket layer) finds it by the ends of a segment, and drives it
//! with these calls; none of them blocks, reads a clock or calls back (except that `output` hands its segments to
//! a [`Sink`]):
//!
//! - [`Tcb::input`]: a segment came. Its payload is an [`Mbuf`](iopkt_mbuf::Mbuf) trimmed to the payload, which
//!   the receive queue keeps without a copy. The [`Outcome`] says what to tell the program.
//! - [`Tcb::input_next`]: more text with the same header came in the same breath.
//! - [`Tcb::tick`]: [`Tcb::deadline`] has come.
//! - user calls: [`Tcb::write`], [`Tcb::peek`] and [`Tcb::consume`], [`Tcb::shutdown_write`], [`Tcb::close`],
//!   [`Tcb::abort`], settings.
//! - [`Tcb::output`]: once per turn after any of these. Everything that is to be sent comes out here, as
//!   [`SegOut`]s whose payload lies in the send buffer: [`SegOut::write`] makes the packet, copying and
//!   checksumming in one pass. A segment may be larger than the MSS where the path cuts it (`tso_max`).
//!
//! A connection is over when an outcome has [`what::CLOSED`]; its owner calls `output` once more (an RST may be
//! owed), lets the program read what is still in the receive queue, and forgets it. Opening: [`Tcb::connect`]; or [`listen::judge`], then [`Tcb::accept`] or
//! [`cookie::syn_ack`] and later [`cookie::check`]. Segments that nobody wants: [`listen::reset`].
//!
//! # Where is what
//!
//! `open` (SYN-SENT, handshake), `fastopen` (data in SYNs), `listen` and `cookie` (no connection yet), `input` (arrivals in RFC 9293's
//! order), `ack` (the ACK field), `recovery`, `rack`, `tlp` and `frto` (loss), `cc` (congestion windows), `ecn`,
//! `rate` and `pace` (how fast), `autotune` (buffers), `mtu` (black holes), `output`, `tick` (timers), `user`
//! (calls), and the parts: `seq`, `segment`, `sendbuf`, `recvbuf`, `scoreboard`, `rtt`, `timers`.
//!
//! # Choices
//!
//! Urgent data always stays in line (SO_OOBINLINE
//! behaviour, as RFC 6093 advises); the mark is kept. Security/precedence of RFC 793 do not exist in RFC 9293.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod ack;
mod autotune;
pub mod cc;
mod chrono;
mod config;
pub mod cookie;
mod ecn;
mod fastopen;
mod frto;
mod input;
pub mod isn;
pub mod listen;
pub mod marks;
mod mtu;
mod open;
mod outcome;
mod output;
mod pace;
mod pieces;
mod rack;
mod rate;
mod recovery;
mod recvbuf;
mod rtt;
mod scoreboard;
mod segment;
mod sendbuf;
mod seq;
mod tcb;
mod tick;
mod timers;
mod tlp;
mod train;
mod user;
mod window;

pub use config::{CcKind, Config, MSS_DEFAULT, MSS_MIN};
pub use ecn::Ecn;
pub use fastopen::{FastOpenFail, Learned};
pub use iopkt_wire::tcp::FastOpen;
pub use marks::{Note, tell};
pub use outcome::{Fate, Outcome, Stats, what};
pub use output::Sink;
pub use pieces::Pieces;
pub use recvbuf::RecvQueue;
pub use segment::{Csum, SegOut, Segment};
pub use seq::Seq;
pub use tcb::{State, Tcb};
pub use user::{Info, Waits};
