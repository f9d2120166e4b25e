//! Sockets: the table, the demultiplexer, UDP, raw, and the TCP machine's place among them.
//!
//! The calls of [`Sockets`] are BSD's, without blocking: who would wait gets EAGAIN or EINPROGRESS and later
//! an [`Event`]. The socket server turns them into descriptors.

use crate::cx::Cx;
use crate::packet::{Family, IcmpErr, IpInfo};
use crate::shard::Net;
use core::net::{IpAddr, SocketAddr};
use iopkt_base::{Errno, Instant, Result};
use iopkt_mbuf::Mbuf;

/// Name of a socket: index and generation, so that a stale one is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SockId {
    /// Slot.
    pub index: u32,
    /// Use of the slot.
    pub generation: u32,
}

/// Socket types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SockType {
    /// TCP.
    Stream,
    /// UDP, or ICMP with protocol IPPROTO_ICMP (Linux's "ping socket").
    Dgram,
    /// Raw IP.
    Raw,
}

/// Something that the owner of a socket should look at. Level, not edge: look, don't count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Socket.
    pub id: SockId,
    /// [`ev`] bits.
    pub what: u8,
}

/// Bits of [`Event::what`].
pub mod ev {
    /// Data (or end of data) to read.
    pub const READ: u8 = 1;
    /// Room to write.
    pub const WRITE: u8 = 2;
    /// A connect ended well.
    pub const CONNECTED: u8 = 4;
    /// A connection waits to be accepted.
    pub const ACCEPT: u8 = 8;
    /// An error is pending; the connection may be gone.
    pub const ERROR: u8 = 16;
    /// The TCP connection is over in both directions (or never came to be).
    pub const CLOSED: u8 = 32;
}

/// A received datagram.
#[derive(Debug)]
pub struct Datagram {
    /// Sender.
    pub from: SocketAddr,
    /// Destination address in it.
    pub to: IpAddr,
    /// Interface.
    pub ifindex: u32,
    /// TTL or hop limit.
    pub ttl: u8,
    /// TOS or traffic class.
    pub tos: u8,
    /// When it arrived.
    pub at: Instant,
    /// Payload (raw sockets: with the network header, as IPv4 has it).
    pub m: Mbuf,
}

/// Per-call settings of a datagram (control messages of sendmsg).
#[derive(Clone, Copy, Debug, Default)]
pub struct SendOpts {
    /// Source address (IP_PKTINFO).
    pub src: Option<IpAddr>,
    /// Interface (IP_PKTINFO), 0 for none.
    pub oif: u32,
    /// TTL.
    pub ttl: Option<u8>,
    /// TOS.
    pub tos: Option<u8>,
    /// MSG_DONTROUTE.
    pub dontroute: bool,
}

/// The socket table of a shard.
pub struct Sockets {}

#[allow(unused_variables, clippy::too_many_arguments)] // the owner of this module fills these in
impl Sockets {
    /// An empty table. `secret` is the shard's ([`Cx::secret`]): the demultiplexer's hash keys derive from it.
    /// `max` is the most sockets that may exist.
    pub fn new(secret: &iopkt_base::Keyed, max: usize) -> Sockets {
        Sockets {}
    }

    /// Says that the shard has a domain of this family; sockets of others are EAFNOSUPPORT.
    pub fn add_family(&mut self, family: Family) {}

    /// Moves what happened to sockets since the last call into `cx.events`; [`Sockets::output`] does it too.
    pub fn flush_events(&mut self, cx: &mut Cx) {}

    /// A transport packet for this host. `m` begins at the network header; its payload starts `info.hdr_len`
    /// bytes in. `None`: taken, or ended with its reason. `Some(m)`: no socket or protocol wants it; the
    /// domain answers with ICMP (port unreachable for UDP, protocol unreachable for the rest, nothing for what
    /// was not unicast) and ends it. For ICMP the domain does its own work and then calls this too: raw and
    /// ping sockets get their copies, and `Some(m)` just comes back.
    pub fn input(&mut self, cx: &mut Cx, net: &mut Net, info: &IpInfo, m: Mbuf) -> Option<Mbuf> {
        Some(m)
    }

    /// An error report about a packet of ours.
    pub fn icmp_error(&mut self, cx: &mut Cx, net: &mut Net, e: &IcmpErr) {}

    /// Does what is due at `cx.now` (TCP timers).
    pub fn tick(&mut self, cx: &mut Cx, net: &mut Net) {}

    /// When [`Sockets::tick`] wants to be called next.
    pub fn deadline(&self) -> Instant {
        Instant::FAR
    }

    /// Sends what sockets have to send: called once per turn, after input, timers and user calls. Appends to
    /// `cx.down`.
    pub fn output(&mut self, cx: &mut Cx, net: &mut Net) {}

    /// socket(2).
    ///
    /// # Errors
    /// EAFNOSUPPORT, EPROTONOSUPPORT, ESOCKTNOSUPPORT, ENFILE at the limit.
    pub fn socket(&mut self, cx: &mut Cx, family: Family, ty: SockType, proto: u8) -> Result<SockId> {
        Err(Errno::EAFNOSUPPORT)
    }

    /// bind(2).
    pub fn bind(&mut self, cx: &mut Cx, net: &Net, id: SockId, addr: SocketAddr) -> Result<()> {
        Err(Errno::EBADF)
    }

    /// connect(2). For TCP: EINPROGRESS, then [`ev::CONNECTED`] or [`ev::ERROR`]. `None` dissolves the
    /// association of a datagram socket (AF_UNSPEC).
    pub fn connect(&mut self, cx: &mut Cx, net: &mut Net, id: SockId, to: Option<SocketAddr>) -> Result<()> {
        Err(Errno::EBADF)
    }

    /// listen(2).
    pub fn listen(&mut self, cx: &mut Cx, id: SockId, backlog: u32) -> Result<()> {
        Err(Errno::EBADF)
    }

    /// accept(2): EAGAIN when none waits.
    pub fn accept(&mut self, cx: &mut Cx, id: SockId) -> Result<(SockId, SocketAddr)> {
        Err(Errno::EBADF)
    }

    /// Room in the send buffer of a stream, bytes.
    pub fn write_space(&self, id: SockId) -> usize {
        0
    }

    /// Appends to a stream; returns what fitted.
    ///
    /// # Errors
    /// ENOTCONN, EPIPE after shutdown, the pending error of the connection.
    pub fn write(&mut self, cx: &mut Cx, id: SockId, data: &[u8]) -> Result<usize> {
        Err(Errno::EBADF)
    }

    /// In-order bytes of a stream that wait for the program, as slices in order (up to `out.len()` of them);
    /// returns how many slices. `Ok(0)` with [`Sockets::at_eof`] is the end of the stream.
    pub fn peek<'a>(&'a self, id: SockId, out: &mut [&'a [u8]]) -> Result<usize> {
        Err(Errno::EBADF)
    }

    /// Removes `n` bytes that [`Sockets::peek`] showed: the window opens.
    pub fn consume(&mut self, cx: &mut Cx, id: SockId, n: usize) {}

    /// Whether the peer has sent its FIN and everything before it was consumed.
    pub fn at_eof(&self, id: SockId) -> bool {
        false
    }

    /// Sends a datagram whose payload is `m` (with headroom for headers); `to` is needed when not connected.
    pub fn send_to(
        &mut self,
        cx: &mut Cx,
        net: &mut Net,
        id: SockId,
        to: Option<SocketAddr>,
        opts: &SendOpts,
        m: Mbuf,
    ) -> Result<()> {
        Err(Errno::EBADF)
    }

    /// Takes the oldest datagram.
    pub fn recv_from(&mut self, cx: &mut Cx, id: SockId) -> Option<Datagram> {
        None
    }

    /// shutdown(2): 0 read, 1 write, 2 both.
    pub fn shutdown(&mut self, cx: &mut Cx, id: SockId, how: u8) -> Result<()> {
        Err(Errno::EBADF)
    }

    /// The program is gone (close(2), or killed): the socket becomes an orphan that ends by itself. `unread`
    /// says that bytes handed to the program's descriptor were never read: the peer gets an RST.
    pub fn close(&mut self, cx: &mut Cx, net: &mut Net, id: SockId, unread: bool) {}

    /// setsockopt(2), with Linux's levels, names and layouts.
    pub fn setsockopt(
        &mut self,
        cx: &mut Cx,
        net: &mut Net,
        id: SockId,
        level: i32,
        name: i32,
        value: &[u8],
    ) -> Result<()> {
        Err(Errno::EBADF)
    }

    /// getsockopt(2), with Linux's levels, names and layouts; returns the length of the value.
    pub fn getsockopt(
        &mut self,
        cx: &mut Cx,
        net: &Net,
        id: SockId,
        level: i32,
        name: i32,
        out: &mut [u8],
    ) -> Result<usize> {
        Err(Errno::EBADF)
    }

    /// getsockname(2).
    pub fn local_addr(&self, id: SockId) -> Result<SocketAddr> {
        Err(Errno::EBADF)
    }

    /// getpeername(2).
    pub fn peer_addr(&self, id: SockId) -> Result<SocketAddr> {
        Err(Errno::EBADF)
    }

    /// SO_ERROR: the pending error, cleared.
    pub fn take_error(&mut self, id: SockId) -> Option<Errno> {
        None
    }
}
