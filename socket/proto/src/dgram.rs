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
    /// Extension headers and a flow label (the form of [`super::ext`]) stand between header and payload; `len` is the payload's.
    pub const EXT: u16 = 512;
    /// To the server: IPV6_DONTFRAG.
    pub const DONTFRAG: u16 = 1024;
    /// To the program: no datagram, but the MTU of the path to `peer`, in `stamp` (IPV6_RECVPATHMTU).
    pub const PATHMTU: u16 = 2048;
    /// To the server: `extra` is the option UDP_SEGMENT's value.
    pub const SEGMENT: u16 = 256;
    /// The datagram is a link-level frame or its payload: [`super::DgramHdr::link`] stands in the place of `local`, and
    /// `peer` is none. To the program `len` is its length on the wire and `extra` what was kept of it (at most 65535), `icmp` whether
    /// its checksum is still to be made, and where its network header begins.
    pub const PACKET: u16 = 64;
}

/// Length of a `struct sockaddr_ll` (packet(7)) in bytes.
pub const LINK_ADDR_LEN: usize = 20;

/// IPv6 extension headers and a flow label, as they stand behind a [`DgramHdr`] with [`df::EXT`]: a word with flow label and traffic
/// class in network byte order (its highest bit says that they are given), a word of zeros, and for each header 8 bytes, the
/// first of which is its tag, and the header itself.
pub mod ext {
    /// Tags: hop-by-hop options.
    pub const HOP: u8 = 0;
    /// Destination options before a routing header.
    pub const DST_BEFORE: u8 = 1;
    /// Routing header.
    pub const ROUTING: u8 = 2;
    /// Destination options.
    pub const DST: u8 = 3;
    /// Longest of all.
    pub const MAX: usize = 1024;
    /// What goes before the first header, and before each.
    pub const HEAD: usize = 8;
    /// The flow label is given.
    pub const GIVEN: u32 = 1 << 31;

    /// The flow label and traffic class, if given.
    pub fn flow(b: &[u8]) -> Option<u32> {
        let w = u32::from_be_bytes(*b.first_chunk::<4>()?);
        (w & GIVEN != 0).then_some(w & !GIVEN)
    }

    /// Tags and headers, each whole; what is cut off ends the list.
    pub fn headers(b: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
        let mut rest = b.get(HEAD..).unwrap_or(&[]);
        core::iter::from_fn(move || {
            let (head, after) = rest.split_first_chunk::<HEAD>()?;
            let len = (usize::from(*after.get(1)?) + 1) * 8;
            let h = after.get(..len)?;
            rest = &after[len..];
            Some((head[0], h))
        })
    }
}

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

    /// Bytes of extension headers among the `after` ones that follow the header.
    pub fn ext_len(&self, after: usize) -> usize {
        if self.flags & df::EXT == 0 { 0 } else { after.saturating_sub(self.len as usize) }
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
