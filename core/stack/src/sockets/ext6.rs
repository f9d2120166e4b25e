//! Extension headers of IPv6 that programs send and receive (RFC 3542 sections 6 to 9), and flow labels.
//!
//! A program gives headers whole; what is next in each is written here. The order is that of RFC 8200 section 4.1; options before a
//! routing header go only with one, and no routing header is sent.

use crate::packet::IpInfo;
use alloc::boxed::Box;
use alloc::vec::Vec;
use iopkt_mbuf::Mbuf;

/// Hop-by-hop options.
pub const HOP: u8 = 0;
/// Destination options before a routing header.
pub const DST_BEFORE: u8 = 1;
/// A routing header.
pub const ROUTING: u8 = 2;
/// Destination options.
pub const DST: u8 = 3;

/// Values of "next header".
const NEXT_HOP: u8 = 0;
const NEXT_ROUTING: u8 = 43;
const NEXT_DST: u8 = 60;
/// In front of the headers in [`crate::IpOut::options`].
const PREFIX: usize = 4;
/// The label in the prefix is to be taken.
const GIVEN: u8 = 0x80;
/// Length of the fixed header.
const FIXED: usize = 40;

/// Extension headers of a packet, and its flow label.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ext6 {
    /// Traffic class and flow label as they stand in the header's first word; `None` for the stack's choice.
    pub flow: Option<u32>,
    /// Which ([`HOP`] to [`DST`]), and the header.
    pub headers: Vec<(u8, Vec<u8>)>,
}

impl Ext6 {
    /// The header of a kind.
    pub fn get(&self, kind: u8) -> Option<&[u8]> {
        self.headers.iter().find(|h| h.0 == kind).map(|h| &h.1[..])
    }
}

/// What goes between fixed header and transport, as [`crate::IpOut::options`] has it: a prefix of 4 bytes (what comes first; the
/// flow label) and the headers. Empty when there is nothing to say. Headers of the call go before those of the socket.
pub(crate) fn wire(sticky: Option<&Ext6>, call: Option<&Ext6>, label: Option<u32>, proto: u8) -> Vec<u8> {
    let get = |k| call.and_then(|e| e.get(k)).or_else(|| sticky.and_then(|e| e.get(k)));
    let label = call.and_then(|e| e.flow).map(|f| f & 0xf_ffff).or(label);
    let list = [(NEXT_HOP, get(HOP)), (NEXT_DST, get(DST))];
    let mut list = list.into_iter().filter_map(|(k, h)| h.map(|h| (k, h))).peekable();
    if list.peek().is_none() && label.is_none() {
        return Vec::new();
    }
    let l = label.unwrap_or(0).to_be_bytes();
    let first = list.peek().map_or(proto, |h| h.0);
    let mut out = Vec::from([first, l[1] | if label.is_some() { GIVEN } else { 0 }, l[2], l[3]]);
    while let Some((_, h)) = list.next() {
        let at = out.len();
        out.extend_from_slice(h);
        out[at] = list.peek().map_or(proto, |h| h.0);
    }
    out
}

/// Bytes of it in the packet.
pub(crate) fn wire_len(w: &[u8]) -> usize {
    w.len().saturating_sub(PREFIX)
}

/// What [`crate::IpOut::options`] says of an IPv6 packet: what follows the fixed header, the flow label if it is given, the headers.
pub fn read_wire(w: &[u8]) -> Option<(u8, Option<u32>, &[u8])> {
    let (p, headers) = w.split_first_chunk::<PREFIX>()?;
    let label = u32::from_be_bytes([0, p[1] & 0xf, p[2], p[3]]);
    Some((p[0], (p[1] & GIVEN != 0).then_some(label), headers))
}

/// The extension headers and the flow label of a received packet, whose buffer begins with the fixed header.
pub(crate) fn received(info: &IpInfo, m: &Mbuf) -> Option<Box<Ext6>> {
    let b = m.as_slice().get(..usize::from(info.hdr_len)).filter(|_| info.dst.is_ipv6())?;
    let first = b.first_chunk::<FIXED>()?;
    let mut e = Ext6 {
        flow: Some(u32::from_be_bytes([first[0] & 0xf, first[1], first[2], first[3]])),
        headers: Vec::new(),
    };
    let (mut next, mut at) = (first[6], FIXED);
    while let Some([n, len, ..]) = b.get(at..) {
        let len = match next {
            // A fragment header.
            44 => 8,
            _ => (usize::from(*len) + 1) * 8,
        };
        let Some(h) = b.get(at..at + len) else { break };
        let kind = match next {
            NEXT_HOP => Some(HOP),
            NEXT_ROUTING => Some(ROUTING),
            NEXT_DST => Some(DST),
            _ => None,
        };
        e.headers.extend(kind.map(|k| (k, h.to_vec())));
        (next, at) = (*n, at + len);
    }
    Some(Box::new(e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_header_names_what_follows() {
        let hop = (HOP, Vec::from([9, 0, 1, 4, 0, 0, 0, 0]));
        let dst = (DST, Vec::from([9, 0, 1, 4, 0, 0, 0, 1]));
        let sticky = Ext6 { flow: None, headers: Vec::from([dst.clone()]) };
        let call = Ext6 { flow: Some(0x0551_2345), headers: Vec::from([hop]) };
        let w = wire(Some(&sticky), Some(&call), None, 17);
        let (first, label, headers) = read_wire(&w).unwrap();
        assert_eq!((first, label), (0, Some(0x1_2345)));
        assert_eq!(headers, [60, 0, 1, 4, 0, 0, 0, 0, 17, 0, 1, 4, 0, 0, 0, 1]);
        assert_eq!(wire_len(&w), 16);
        assert!(wire(None, None, None, 17).is_empty());
        assert_eq!(read_wire(&wire(None, None, Some(0), 6)), Some((6, Some(0), &[][..])));
        assert_eq!(read_wire(&[]), None);
    }
}
