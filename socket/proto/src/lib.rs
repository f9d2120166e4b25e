//! The words of `/dev/socket`: what a program's side (preload library, seccomp runner, client crate) and the
//! socket server say to each other.
//!
//! # Theory of operation
//!
//! A program's side holds one Unix SEQPACKET socket to the server, its *session*. Each message on it is one
//! request or one reply: a fixed header ([`Req`], [`Rep`], 64 bytes each) and a payload. A request about an
//! existing socket carries that very descriptor (SCM_RIGHTS): having it is the permission to use it. A reply
//! that makes a descriptor carries it the same way. Everything is answered at once; who must wait polls the
//! descriptor.
//!
//! A program's socket is one end of a Unix socket pair whose other end the server holds. Bytes of a stream
//! travel through the pair as they are. Messages of a datagram socket travel as one message each, in one of
//! two forms: bare payload (connected sockets), or [`DgramHdr`] and payload (see there).
//!
//! All numbers are in the byte order of the machine, since both ends run on it, except where a text says
//! otherwise. Nothing here allocates or panics: encoders write to arrays, decoders check the length first.
//! docs/sockets.md tells the whole story.
#![no_std]
#![forbid(unsafe_code)]

mod addr;
mod dgram;
mod msg;
mod name;
mod op;
mod rw;

pub mod bpf;
pub mod linux;
mod rtaddr;
pub mod rtmsg;

pub use addr::Addr;
pub use dgram::{DGRAM_HDR_LEN, DgramHdr, LINK_ADDR_LEN, df, ext};
pub use msg::{BadMsg, HDR_LEN, Hello, MAX_MSG, MAX_PAYLOAD, MAX_SOCKOPT, Rep, Req, TOO_LONG, repf};
pub use name::{NAME_LEN, NAME_PREFIX, PairFamily, PairName};
pub use op::{Op, PROC_NET, proc_net, sockf};

/// Version of the message layouts. Both sides must have the same; the server refuses others with EPROTO and
/// a log line that names both numbers.
pub const VERSION: u16 = 1;
