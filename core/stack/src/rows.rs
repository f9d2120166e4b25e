//! Rows on their way in: segments of one connection that arrive one behind the other are looked at once (as with Linux's GRO).
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
//! Only Ethernet and IPv4 without options are looked at; ACKs without data, and anything with other control bits than ACK
//! and PSH, with a mark of congestion or with padding behind, end a row.

use crate::ether;
use iopkt_mbuf::{Mbuf, flags, gso};
use iopkt_wire::checksum::{Sum, pseudo_v4};
use iopkt_wire::ethernet::TYPE_IPV4;
use iopkt_wire::ipv4;
use iopkt_wire::tcp::{self, Flags};

/// Where the TCP header begins.
const L4: usize = ether::HEADER_LEN + ipv4::HEADER_LEN;
/// Headers without options.
const FIXED: usize = L4 + tcp::HEADER_LEN;

/// The head of a row: what its followers must look like.
pub(crate) struct Head {
    fixed: [u8; FIXED],
    options: [u8; tcp::MAX_OPTIONS],
    /// Where the payload begins.
    pub skip: usize,
    /// Sequence number of the next follower.
    next: u32,
    flags: u32,
    /// The device has verified the checksums, and is believed.
    verified: bool,
}

/// Payload of a frame that may be part of a row: where it begins and how long it is.
#[inline]
fn payload(b: &[u8; FIXED], frame: usize) -> Option<(usize, usize)> {
    let skip = L4 + usize::from(b[L4 + 12] >> 4) * 4;
    let end = ether::HEADER_LEN + usize::from(u16::from_be_bytes([b[16], b[17]]));
    (skip >= FIXED && skip < end && end == frame).then(|| (skip, end - skip))
}

#[inline]
fn plain(m: &Mbuf, b: &[u8; FIXED]) -> bool {
    let bits = Flags(b[L4 + 13]);
    b[12..14] == TYPE_IPV4.to_be_bytes()
        && b[14] == 0x45
        && b[15] & 3 != 3 // congestion was experienced
        && (b[20] & 0xbf) | b[21] == 0 // no fragment
        && b[23] == tcp::PROTO
        && bits.without(Flags::PSH) == Flags::ACK
        && m.flags() & flags::CSUM_PARTIAL == 0
        && m.meta().gso_type == gso::NONE
}

impl Head {
    /// Of a frame with an Ethernet header; `None` when it cannot begin a row. `believed`: the device may say that a checksum
    /// is good.
    #[inline]
    pub fn of(m: &Mbuf, believed: bool) -> Option<Head> {
        let b = m.as_slice();
        let fixed: &[u8; FIXED] = b.first_chunk()?;
        if !plain(m, fixed) {
            return None;
        }
        let (skip, len) = payload(fixed, b.len())?;
        let mut options = [0; tcp::MAX_OPTIONS];
        options[..skip - FIXED].copy_from_slice(&b[FIXED..skip]);
        let seq = u32::from_be_bytes([fixed[38], fixed[39], fixed[40], fixed[41]]);
        let verified = believed && m.flags() & flags::CSUM_OK != 0;
        let next = seq.wrapping_add(len as u32);
        Some(Head { fixed: *fixed, options, skip, next, flags: m.flags(), verified })
    }

    /// Whether a frame is the next of the row, checksums included.
    #[inline]
    pub fn takes(&mut self, m: &Mbuf) -> bool {
        let b = m.as_slice();
        let Some(f) = b.first_chunk::<FIXED>() else { return false };
        let h = &self.fixed;
        let seq = u32::from_be_bytes([f[38], f[39], f[40], f[41]]);
        let same = f[..16] == h[..16] // link header, version, type of service
            && f[20..24] == h[20..24] // fragment, time to live, protocol
            && f[26..38] == h[26..38] // addresses, ports
            && seq == self.next
            && f[42..47] == h[42..47] // acknowledgment, length
            && Flags(f[47]).without(Flags::PSH) == Flags::ACK
            && f[48..50] == h[48..50] // window
            && f[52..54] == h[52..54]
            && m.flags() == self.flags
            && m.meta().gso_type == gso::NONE;
        if !same {
            return false;
        }
        let Some((skip, len)) = payload(f, b.len()) else { return false };
        if b[FIXED..skip] != self.options[..skip - FIXED] || !Sum::of(&b[ether::HEADER_LEN..L4]).is_valid() {
            return false;
        }
        if !self.verified {
            let a = |at: usize| [f[at], f[at + 1], f[at + 2], f[at + 3]];
            let mut sum = pseudo_v4(a(26), a(30), tcp::PROTO, (skip + len - L4) as u32);
            sum.add(&b[L4..skip + len]);
            if !sum.is_valid() {
                return false;
            }
        }
        self.next = seq.wrapping_add(len as u32);
        true
    }
}
