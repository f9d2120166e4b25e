//! The words in which sockets are spoken of: names, events, datagrams.

use super::ext6::Ext6;
use alloc::boxed::Box;
use core::net::{IpAddr, SocketAddr};
use iopkt_base::Instant;
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

impl SockType {
    /// Linux's SOCK_* number.
    pub fn raw(self) -> i32 {
        match self {
            SockType::Stream => 1,
            SockType::Dgram => 2,
            SockType::Raw => 3,
        }
    }
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
    /// Datagrams that the socket had no room for before it.
    pub drops: u32,
    /// When it arrived.
    pub at: Instant,
    /// Its extension headers and flow label, if the socket asked for any.
    pub ext: Option<Box<Ext6>>,
    /// No datagram: the MTU of the path to `from` (IPV6_RECVPATHMTU). Else 0.
    pub mtu: u32,
    /// Payload (raw sockets: with the network header, as IPv4 has it).
    pub m: Mbuf,
}

/// Per-call settings of a datagram (control messages of sendmsg).
#[derive(Clone, Debug, Default)]
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
    /// MSG_MORE: the datagram goes on.
    pub more: bool,
    /// UDP_SEGMENT: payload bytes of a datagram.
    pub segment: Option<u16>,
    /// IPV6_DONTFRAG.
    pub dontfrag: bool,
    /// Extension headers and flow label.
    pub ext: Option<Box<Ext6>>,
}

impl SendOpts {
    /// Whether the call says nothing of the way that a datagram goes, nor of its headers.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        let SendOpts { src, oif, ttl, tos, dontroute, more: _, segment: _, dontfrag, ext } = self;
        src.is_none()
            && *oif == 0
            && ttl.is_none()
            && tos.is_none()
            && !dontroute
            && !dontfrag
            && ext.is_none()
    }
}

/// Protocol numbers (IANA).
pub(crate) mod proto {
    pub const ICMP: u8 = 1;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const ICMP6: u8 = 58;
    /// UDP-Lite (RFC 3828).
    pub const UDPLITE: u8 = 136;
    /// "Raw": send only, the program writes the IP header.
    pub const RAW: u8 = 255;
}
