//! What one layer tells the next about a packet.

use core::net::IpAddr;
use iopkt_base::Errno;
use iopkt_mbuf::{Chain, Mbuf};

/// Address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Family of an address.
    pub fn of(a: &IpAddr) -> Family {
        if a.is_ipv4() { Family::V4 } else { Family::V6 }
    }
}

/// Network-layer facts of a received packet, handed up with its transport payload.
#[derive(Clone, Copy, Debug)]
pub struct IpInfo {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Transport protocol number.
    pub proto: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// TOS or traffic class.
    pub tos: u8,
    /// Interface it came in by.
    pub ifindex: u32,
    /// `dst` is a broadcast or multicast address (or the frame was).
    pub multicast: bool,
    /// Length of the network header in the buffer: raw sockets see it.
    pub hdr_len: u16,
    /// The transport checksum needs no check.
    pub csum_ok: bool,
}

/// A transport packet on its way down; the domain of `dst`'s family adds the network header.
#[derive(Debug)]
pub struct IpOut {
    /// Source address (chosen by the transport through [`crate::Net::path`]).
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Transport protocol number.
    pub proto: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// TOS or traffic class.
    pub tos: u8,
    /// Don't fragment (TCP with path MTU discovery, IP_MTU_DISCOVER).
    pub df: bool,
    /// Send by this interface whatever the routes say (multicast, SO_BINDTODEVICE); 0 for none.
    pub oif: u32,
    /// Ignore gateways (SO_DONTROUTE).
    pub dontroute: bool,
    /// `m` starts with a complete network header (IP_HDRINCL).
    pub hdrincl: bool,
    /// IPv4: options to insert, padded to a multiple of 4 (empty for none). IPv6: extension headers and flow label
    /// ([`crate::sockets::read_wire`]).
    pub options: alloc::vec::Vec<u8>,
    /// Loop a copy back when `dst` is a multicast group we are in.
    pub mcast_loop: bool,
    /// Transport header and payload, checksum done or marked partial.
    pub m: Mbuf,
    /// More of the same: packets that follow `m` and have its network header, but for length and identification (the
    /// pieces of a super-segment). Empty with `hdrincl`.
    pub rest: Chain,
}

/// How a destination is reached: what a transport must know before it sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// Interface.
    pub ifindex: u32,
    /// Source address that a packet by this path gets.
    pub src: IpAddr,
    /// Path MTU in bytes, network header included.
    pub mtu: u32,
    /// Destination is one of our own addresses.
    pub local: bool,
    /// Destination is a broadcast address of the interface.
    pub broadcast: bool,
    /// Destination is on the link (no gateway).
    pub on_link: bool,
    /// Hops of packets whose sender did not say.
    pub hops: u8,
}

/// An error that the network reported about a packet of ours (ICMP), or that the link found (no ARP answer).
#[derive(Clone, Copy, Debug)]
pub struct IcmpErr {
    /// Who the packet was for.
    pub dst: IpAddr,
    /// Our address in it.
    pub src: IpAddr,
    /// Transport protocol of the packet.
    pub proto: u8,
    /// First 8 bytes of its transport header.
    pub head: [u8; 8],
    /// What it means to a program.
    pub errno: Errno,
    /// New path MTU (fragmentation needed), 0 for other errors.
    pub mtu: u32,
    /// RFC 1122 4.2.3.9: hard errors may end a connection, soft ones must not.
    pub hard: bool,
    /// Node that reported it.
    pub from: IpAddr,
    /// ICMP type and code, for error queues.
    pub icmp: (u8, u8),
}
