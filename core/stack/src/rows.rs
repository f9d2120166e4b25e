//! Rows on their way in: segments of one connection, and datagrams of one sender to one socket, that arrive one behind the other are
//! looked at once (as with Linux's GRO).
//!
//! # Theory of operation
//!
//! The first segment of a row goes the whole way up: link, IP, connection, the machine's checks. A frame that is the same in every
//! header byte that says anything (only length, identification, sequence number, PSH and checksums differ), begins where the one before
//! ended and has good checksums needs none of that: it waits beside its head in [`crate::Cx::train`], and the
//! connection takes it behind the head's payload, if it is in a state where nothing but "in order, fits the window" is
//! left to ask. What nobody took goes the whole way itself. So a row is never different from its frames one by one, only
//! cheaper, and nothing is copied: payloads stay in their buffers.
//!
//! Datagrams are the same with fewer fields: those with the same ends are for the same socket, which gets each by itself.
//!
//! Only Ethernet is looked at, with IPv4 without options or IPv6 without extension headers; ACKs without data, and anything with other
//! control bits than ACK and PSH, with a mark of congestion or with padding behind, end a row.

use crate::ether;
use iopkt_mbuf::{Mbuf, flags, gso};
use iopkt_wire::checksum::{Sum, pseudo_v4, pseudo_v6};
use iopkt_wire::ethernet::{TYPE_IPV4, TYPE_IPV6};
use iopkt_wire::tcp::{self, Flags};
use iopkt_wire::{ipv4, ipv6};

/// Where the TCP header begins, and where its options do, behind IPv4 and behind IPv6.
const L4_V4: usize = ether::HEADER_LEN + ipv4::HEADER_LEN;
const L4_V6: usize = ether::HEADER_LEN + ipv6::HEADER_LEN;
const FIXED_V4: usize = L4_V4 + tcp::HEADER_LEN;
const FIXED_V6: usize = L4_V6 + tcp::HEADER_LEN;

/// Protocol number of UDP, and length of its header: TCP's fixed header is longer, and what a frame is looked at for.
const UDP: u8 = 17;
const UDP_LEN: usize = 8;

/// The head of a row: what its followers must look like.
pub(crate) struct Head {
    v6: bool,
    /// Datagrams, not segments.
    udp: bool,
    /// Headers without options; IPv4's are shorter.
    fixed: [u8; FIXED_V6],
    options: [u8; tcp::MAX_OPTIONS],
    /// Where the payload begins.
    pub skip: usize,
    /// Sequence number of the next follower.
    next: u32,
    /// Of the pseudo-header, for a length of zero.
    pseudo: Sum,
    flags: u32,
    /// The device has verified the checksums, and is believed.
    verified: bool,
}

/// Payload of a frame that may be part of a row: where it begins and how long it is.
#[inline(always)]
fn payload<const L4: usize>(b: &[u8], udp: bool, frame: usize) -> Option<(usize, usize)> {
    let skip = L4 + if udp { UDP_LEN } else { usize::from(b[L4 + 12] >> 4) * 4 };
    let least = if udp { L4 + UDP_LEN } else { L4 + tcp::HEADER_LEN };
    let end = if L4 == L4_V4 {
        ether::HEADER_LEN + usize::from(u16::from_be_bytes([b[16], b[17]]))
    } else {
        L4_V6 + usize::from(u16::from_be_bytes([b[18], b[19]]))
    };
    (skip >= least && skip < end && end == frame).then(|| (skip, end - skip))
}

#[inline]
fn plain_v4(b: &[u8; FIXED_V4]) -> bool {
    b[12..14] == TYPE_IPV4.to_be_bytes()
        && b[14] == 0x45
        && b[15] & 3 != 3 // congestion was experienced
        && (b[20] & 0xbf) | b[21] == 0 // no fragment
        && matches!(b[23], tcp::PROTO | UDP)
}

#[inline]
fn plain_v6(b: &[u8; FIXED_V6]) -> bool {
    b[12..14] == TYPE_IPV6.to_be_bytes()
        && b[14] >> 4 == 6
        && b[15] & 0x30 != 0x30 // congestion was experienced
        && matches!(b[20], tcp::PROTO | UDP)
}

/// Sequence number of the segment behind a network header.
#[inline(always)]
fn seq<const L4: usize>(b: &[u8]) -> u32 {
    u32::from_be_bytes([b[L4 + 4], b[L4 + 5], b[L4 + 6], b[L4 + 7]])
}

impl Head {
    /// Of a frame with an Ethernet header; `None` when it cannot begin a row. `believed`: the device may say that a checksum
    /// is good.
    #[inline]
    pub fn of(m: &Mbuf, believed: bool) -> Option<Head> {
        let b = m.as_slice();
        if m.flags() & flags::CSUM_PARTIAL != 0 || m.meta().gso_type != gso::NONE {
            return None;
        }
        if let Some(f) = b.first_chunk().filter(|f| plain_v4(f)) {
            let a = |at: usize| [f[at], f[at + 1], f[at + 2], f[at + 3]];
            let pseudo = pseudo_v4(a(26), a(30), f[23], 0);
            return Head::begin::<L4_V4, FIXED_V4>(m, f[23] == UDP, pseudo, believed);
        }
        let f: &[u8; FIXED_V6] = b.first_chunk().filter(|f| plain_v6(f))?;
        let a = |at: usize| f[at..].first_chunk().copied().unwrap_or_default();
        Head::begin::<L4_V6, FIXED_V6>(m, f[20] == UDP, pseudo_v6(a(22), a(38), f[20], 0), believed)
    }

    fn begin<const L4: usize, const FIXED: usize>(
        m: &Mbuf,
        udp: bool,
        pseudo: Sum,
        believed: bool,
    ) -> Option<Head> {
        let b = m.as_slice();
        if !udp && Flags(b[L4 + 13]).without(Flags::PSH) != Flags::ACK {
            return None;
        }
        let (skip, len) = payload::<L4>(b, udp, b.len())?;
        let (mut fixed, mut options) = ([0; FIXED_V6], [0; tcp::MAX_OPTIONS]);
        fixed[..FIXED].copy_from_slice(&b[..FIXED]);
        if !udp {
            options[..skip - FIXED].copy_from_slice(&b[FIXED..skip]);
        }
        let verified = believed && m.flags() & flags::CSUM_OK != 0;
        let next = seq::<L4>(b).wrapping_add(len as u32);
        Some(Head { v6: L4 == L4_V6, udp, fixed, options, skip, next, pseudo, flags: m.flags(), verified })
    }

    /// Whether a frame is the next of the row, checksums included.
    #[inline]
    pub fn takes(&mut self, m: &Mbuf) -> bool {
        if self.v6 { self.follows::<L4_V6, FIXED_V6>(m) } else { self.follows::<L4_V4, FIXED_V4>(m) }
    }

    #[inline(always)]
    fn follows<const L4: usize, const FIXED: usize>(&mut self, m: &Mbuf) -> bool {
        let b = m.as_slice();
        let (Some(f), Some(h)) = (b.first_chunk::<FIXED>(), self.fixed.first_chunk::<FIXED>()) else {
            return false;
        };
        let same_network = if L4 == L4_V4 {
            f[..16] == h[..16] // link header, version, type of service
                && f[20..24] == h[20..24] // fragment, time to live, protocol
                && f[26..34] == h[26..34] // addresses
        } else {
            f[..18] == h[..18] // link header, version, traffic class, flow label
                && f[20..54] == h[20..54] // protocol, hop limit, addresses
        };
        let same_ends = same_network
            && f[L4..L4 + 4] == h[L4..L4 + 4] // ports
            && m.flags() == self.flags
            && m.meta().gso_type == gso::NONE;
        if !same_ends {
            return false;
        }
        let Some((skip, len)) = payload::<L4>(f, self.udp, b.len()) else { return false };
        if L4 == L4_V4 && !Sum::of(&f[ether::HEADER_LEN..L4_V4]).is_valid() {
            return false;
        }
        let good = if self.udp {
            // A datagram that is as long as its packet, and summed.
            f[L4 + 4..L4 + 6] == ((UDP_LEN + len) as u16).to_be_bytes() && f[L4 + 6..L4 + 8] != [0, 0]
        } else {
            self.segment_follows::<L4, FIXED>(b, f, h, skip)
        };
        if !good {
            return false;
        }
        if !self.verified {
            let mut sum = self.pseudo;
            sum.add_u32((skip + len - L4) as u32);
            sum.add(&b[L4..skip + len]);
            if !sum.is_valid() {
                return false;
            }
        }
        self.next = self.next.wrapping_add(len as u32);
        true
    }

    #[inline(always)]
    fn segment_follows<const L4: usize, const FIXED: usize>(
        &self,
        b: &[u8],
        f: &[u8; FIXED],
        h: &[u8; FIXED],
        skip: usize,
    ) -> bool {
        seq::<L4>(f) == self.next
            && f[L4 + 8..L4 + 13] == h[L4 + 8..L4 + 13] // acknowledgment, length
            && Flags(f[L4 + 13]).without(Flags::PSH) == Flags::ACK
            && f[L4 + 14..L4 + 16] == h[L4 + 14..L4 + 16] // window
            && f[L4 + 18..L4 + 20] == h[L4 + 18..L4 + 20] // urgent pointer
            && b[FIXED..skip] == self.options[..skip - FIXED]
    }
}
