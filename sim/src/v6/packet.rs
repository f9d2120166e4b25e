//! Frames of Neighbour Discovery, read and made by hand.

use iopkt_wire::ethernet::multicast_mac;
use iopkt_wire::icmp6;
use iopkt_wire::ipv6::{self, Chain, next};
use iopkt_wire::nd::{self, Opt};
use std::net::Ipv6Addr;

/// All nodes of a link.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// An IPv6 packet in a frame.
#[derive(Clone, Copy)]
pub struct Packet<'a> {
    /// Its header.
    pub h: ipv6::Header,
    /// Its ICMPv6 message, if it is one.
    pub icmp: Option<&'a [u8]>,
}

impl<'a> Packet<'a> {
    /// Reads a frame; `None` when it is not of IPv6.
    pub fn of(frame: &'a [u8]) -> Option<Packet<'a>> {
        let ip = frame.get(14..).filter(|_| frame[12..14] == [0x86, 0xdd])?;
        let h = ipv6::Header::parse(ip).ok()?;
        let ip = &ip[..ipv6::HEADER_LEN + h.payload_len];
        let mut chain = Chain::new(ip, h.next);
        let whole = chain.by_ref().all(|e| e.is_ok());
        let up = chain.upper();
        let icmp = (whole && up.proto == next::ICMP6).then(|| &ip[up.at..]);
        Some(Packet { h, icmp: icmp.filter(|m| m.len() >= icmp6::HEADER_LEN) })
    }

    /// The type of its ICMPv6 message.
    pub fn ty(&self) -> Option<u8> {
        self.icmp.map(|m| m[0])
    }

    /// What a neighbour solicitation or advertisement is about.
    pub fn target(&self) -> Option<Ipv6Addr> {
        let m = self.icmp.filter(|m| matches!(m[0], 135 | 136))?;
        nd::target(&m[icmp6::HEADER_LEN..]).map(|t| t.0)
    }

    /// The options of a message of Neighbour Discovery.
    pub fn options(&self) -> Vec<Opt<'a>> {
        let Some(m) = self.icmp else { return Vec::new() };
        let at = match m[0] {
            133 => 8,
            134 => 16,
            135 | 136 => 24,
            137 => 40,
            _ => return Vec::new(),
        };
        nd::options(m.get(at..).unwrap_or_default()).map_while(Result::ok).collect()
    }

    /// The nonce of a solicitation (RFC 7527).
    pub fn nonce(&self) -> Option<Vec<u8>> {
        self.options().into_iter().find_map(|o| if let Opt::Nonce(n) = o { Some(n.to_vec()) } else { None })
    }

    /// Whether the sender tells its link-level address.
    pub fn says_link(&self) -> bool {
        self.options().iter().any(|o| matches!(o, Opt::SourceLink(_)))
    }

    /// Whether somebody asks who has the address that it wants itself.
    pub fn is_dad(&self) -> bool {
        self.ty() == Some(135) && self.h.src.is_unspecified()
    }
}

/// A frame with an IPv6 packet; to a group's link-level address where the destination is one.
pub fn frame(mac: [u8; 6], from: [u8; 6], h: &ipv6::Header, payload: &[u8]) -> Vec<u8> {
    let to = if h.dst.is_multicast() { multicast_mac(h.dst.into()) } else { mac };
    let mut f = [&to[..], &from[..], &[0x86, 0xdd]].concat();
    let mut b = [0; ipv6::HEADER_LEN];
    ipv6::Header { payload_len: payload.len(), ..*h }.emit(&mut b);
    f.extend(b);
    f.extend(payload);
    f.resize(f.len().max(60), 0);
    f
}

/// A header of a packet of ICMPv6.
pub fn header(src: Ipv6Addr, dst: Ipv6Addr, hop_limit: u8) -> ipv6::Header {
    ipv6::Header { traffic_class: 0, flow_label: 0, payload_len: 0, next: next::ICMP6, hop_limit, src, dst }
}

/// A frame with a message (checksum zero) of Neighbour Discovery.
///
/// # Panics
/// The message is shorter than its header.
pub fn nd_frame(mac: [u8; 6], from: [u8; 6], src: Ipv6Addr, dst: Ipv6Addr, mut message: Vec<u8>) -> Vec<u8> {
    icmp6::Header::parse_unchecked(&message).expect("a message").emit(&mut message, src, dst);
    frame(mac, from, &header(src, dst, 255), &message)
}

/// The group that is asked for an address.
pub fn solicited_node(a: Ipv6Addr) -> Ipv6Addr {
    let low = u128::from(a) & 0xff_ffff;
    Ipv6Addr::from(u128::from(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0)) | low)
}
