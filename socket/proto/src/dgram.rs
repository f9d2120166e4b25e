//! The header of a datagram in a pair.
//!
//! # Theory of operation
//!
//! A connected datagram socket's pair carries bare payload both ways, so that read(2), write(2), send(2) and
//! recv(2) need no help. Everything that does not fit into that (the address of sendto(2), the sender for
//! recvfrom(2), control messages, an asynchronous error) puts a [`DgramHdr`] in front. Program to server, a
//! header is understood in every state of the socket. Server to program, a message has one exactly when the socket was not
//! connected when the message was written (connect(2) rewrites what is queued), or when it reports an error.
//! The header begins with a magic number and the session's 64-bit key ([`crate::Hello::key`]), which no remote
//! host knows: a message that begins with both has a header, any other has none.

use crate::Addr;
use crate::rw::{get_i32, get_u16, get_u32, get_u64, put};

/// Length of a [`DgramHdr`] in bytes.
pub const DGRAM_HDR_LEN: usize = 96;

const MAGIC: u32 = 0x6470_6f69;

/// Bits of [`DgramHdr::flags`].
pub mod df {
    /// To the server: `ttl` is given. To the program: always set.
    pub const TTL: u16 = 1;
    /// To the server: `tos` is given. To the program: always set.
    pub const TOS: u16 = 2;
    /// To the server: send from `local` and by `ifindex` (IP_PKTINFO, IPV6_PKTINFO); either may be unset.
    pub const PKTINFO: u16 = 4;
    /// To the server: MSG_DONTROUTE.
    pub const DONTROUTE: u16 = 8;
    /// To the program: no datagram, but the errno in `err`, about `peer`: what recvmsg(2) is to fail with.
    pub const ERROR: u16 = 16;
    /// To the program: the datagram was longer than the pair could carry.
    pub const TRUNC: u16 = 32;
    /// To the server: MSG_MORE.
    pub const MORE: u16 = 128;
    /// To the server: `extra` is the option UDP_SEGMENT's value.
    pub const SEGMENT: u16 = 256;
    /// The datagram is a link-level frame or its payload: [`super::DgramHdr::link`] stands in the place of `local`, and
    /// `peer` is none.
    pub const PACKET: u16 = 64;
}

/// Length of a `struct sockaddr_ll` (packet(7)) in bytes.
pub const LINK_ADDR_LEN: usize = 20;

/// What goes with one datagram.
///
/// Layout, 96 bytes: magic u32, flags u16, ttl u8, tos u8, key u64, peer [`Addr`], local [`Addr`], ifindex u32, err
/// i32, stamp u64, payload length u32, ICMP type u8, ICMP code u8, extra u16. With [`df::PACKET`] a `struct sockaddr_ll` of 20 bytes stands in local's place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DgramHdr {
    /// [`df`] bits.
    pub flags: u16,
    /// TTL or hop limit.
    pub ttl: u8,
    /// TOS or traffic class.
    pub tos: u8,
    /// To the server: destination (none: the connected peer). To the program: sender.
    pub peer: Addr,
    /// To the server: source address (port 0). To the program: destination address and port of the datagram.
    pub local: Addr,
    /// Interface, 0 for none.
    pub ifindex: u32,
    /// With [`df::ERROR`]: the errno. Else, to the program: datagrams that the socket had no room for before this one.
    pub err: i32,
    /// When it arrived, nanoseconds of the server's clock (see [`crate::Hello::now`]). With [`df::ERROR`]: `ee_info`.
    pub stamp: u64,
    /// Length of the payload that follows, bytes.
    pub len: u32,
    /// With [`df::ERROR`]: ICMP type and code it came from.
    pub icmp: (u8, u8),
    /// To the server with [`df::SEGMENT`]: payload bytes of each datagram. To the program with [`df::ERROR`]: `ee_origin`;
    /// `local` is the offender then.
    pub extra: u16,
    /// With [`df::PACKET`]: the `struct sockaddr_ll` as it lies in memory.
    pub link: [u8; LINK_ADDR_LEN],
}

impl DgramHdr {
    /// The wire form.
    pub fn encode(&self, key: u64) -> [u8; DGRAM_HDR_LEN] {
        let mut b = [0; DGRAM_HDR_LEN];
        put(&mut b, 0, &MAGIC.to_ne_bytes());
        put(&mut b, 4, &self.flags.to_ne_bytes());
        b[6] = self.ttl;
        b[7] = self.tos;
        put(&mut b, 8, &key.to_ne_bytes());
        put(&mut b, 16, &self.peer.encode());
        if self.flags & df::PACKET != 0 {
            put(&mut b, 44, &self.link);
        } else {
            put(&mut b, 44, &self.local.encode());
        }
        put(&mut b, 72, &self.ifindex.to_ne_bytes());
        put(&mut b, 76, &self.err.to_ne_bytes());
        put(&mut b, 80, &self.stamp.to_ne_bytes());
        put(&mut b, 88, &self.len.to_ne_bytes());
        b[92] = self.icmp.0;
        b[93] = self.icmp.1;
        put(&mut b, 94, &self.extra.to_ne_bytes());
        b
    }

    /// Whether a message begins with a header of this key; the first 16 bytes decide.
    pub fn is_at(msg: &[u8], key: u64) -> bool {
        msg.len() >= DGRAM_HDR_LEN && get_u32(msg, 0) == MAGIC && get_u64(msg, 8) == key
    }

    /// Takes a message apart. `None`: it has no header and is all payload. The length field is not believed:
    /// the payload is what is there.
    pub fn decode(msg: &[u8], key: u64) -> Option<(DgramHdr, &[u8])> {
        if !DgramHdr::is_at(msg, key) {
            return None;
        }
        let packet = get_u16(msg, 4) & df::PACKET != 0;
        let mut link = [0; LINK_ADDR_LEN];
        if packet {
            link.copy_from_slice(&msg[44..44 + LINK_ADDR_LEN]);
        }
        let h = DgramHdr {
            flags: get_u16(msg, 4),
            ttl: msg[6],
            tos: msg[7],
            peer: Addr::decode(&msg[16..]).unwrap_or_default(),
            local: if packet { Addr::NONE } else { Addr::decode(&msg[44..]).unwrap_or_default() },
            ifindex: get_u32(msg, 72),
            err: get_i32(msg, 76),
            stamp: get_u64(msg, 80),
            len: get_u32(msg, 88),
            icmp: (msg[92], msg[93]),
            extra: get_u16(msg, 94),
            link,
        };
        Some((h, &msg[DGRAM_HDR_LEN..]))
    }
}
