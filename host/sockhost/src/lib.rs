//! The socket server's host: Unix socket pairs, descriptors, epoll.
//!
//! # Theory of operation
//!
//! [`SockHost`] is [`iopkt_sockserver::Host`] on Linux; [`Service`] is it and the server together, as a packet
//! thread uses them. The thread's own epoll instance watches all descriptors, edge-triggered, under tokens whose top byte
//! is the tag that the thread gave: it hands events with that tag to [`Service::event`], calls
//! [`Service::turn`] in each of its turns, and never waits while that says that there is more.
//!
//! What is relied on (Linux, `net/unix`), each with a test in `tests/`:
//! - A name bound to one end of a connected pair is seen by getpeername(2) on the other.
//! - A stream is writable while at most a quarter of its send buffer is in use; filling more than that through the
//!   program's own end makes it not writable, and reading it back is a fresh edge.
//! - Closing an end with unread bytes in it gives ECONNRESET at the other; the program's closing with unread
//!   bytes gives it to us.
//! - An end's inode number is the same in every process that has it.
//! - inotify(7) tells of the last close of a socket (`gone`).
//! - SEQPACKET pairs keep message borders and show hang-ups (DGRAM pairs do not).
#![forbid(unsafe_code)]

mod end;
mod gone;
mod host;
mod nodes;
mod service;

pub use host::SockHost;
pub use service::{Service, ServiceConfig};
