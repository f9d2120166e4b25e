//! Programs' way to a running stack, in Rust: what the tools use, and who writes a program for the stack.
//!
//! [`Session`] finds the stack by the rules of `SOCK` and the root directory, and carries configuration requests
//! ([`Session::ctl`]). [`TcpStream`], [`TcpListener`], [`UdpSocket`] and [`RawSocket`] own real descriptors: they may
//! be polled, passed on and inherited like any other; reading and writing a stream involves the stack's process
//! only through the kernel's buffers. The blocking calls here wait with poll(2).
#![forbid(unsafe_code)]

mod datagram;
mod packet;
mod route;
mod session;
mod tcp;
mod wait;

pub use datagram::{Meta, RawSocket, UdpSocket};
pub use iopkt_sockproto::rtmsg;
pub use packet::{Frame, PacketSocket};
pub use route::RouteSocket;
pub use session::{Answer, Session};
pub use tcp::{TcpListener, TcpStream};
