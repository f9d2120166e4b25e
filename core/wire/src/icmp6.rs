//! ICMP for IPv6 (RFC 4443).

use crate::checksum::pseudo_v6;
use crate::ipv6::next;
use core::net::Ipv6Addr;

/// Length of the header that all types share (the last 4 bytes differ in meaning).
pub const HEADER_LEN: usize = 8;

/// Types (RFC 4443, 4861, 2710, 3810, 4286, 4620).
#[allow(missing_docs)]
pub mod ty {
    pub const UNREACHABLE: u8 = 1;
    pub const TOO_BIG: u8 = 2;
    pub const TIME_EXCEEDED: u8 = 3;
    pub const PARAM_PROBLEM: u8 = 4;
    pub const ECHO: u8 = 128;
    pub const ECHO_REPLY: u8 = 129;
    pub const MLD_QUERY: u8 = 130;
    pub const MLD_REPORT: u8 = 131;
    pub const MLD_DONE: u8 = 132;
    pub const ROUTER_SOLICIT: u8 = 133;
    pub const ROUTER_ADVERT: u8 = 134;
    pub const NEIGHBOR_SOLICIT: u8 = 135;
    pub const NEIGHBOR_ADVERT: u8 = 136;
    pub const REDIRECT: u8 = 137;
    pub const NODE_QUERY: u8 = 139;
    pub const NODE_REPLY: u8 = 140;
    pub const MLD2_REPORT: u8 = 143;
}

/// Codes of [`ty::UNREACHABLE`].
#[allow(missing_docs)]
pub mod unreach {
    pub const NO_ROUTE: u8 = 0;
    pub const PROHIBITED: u8 = 1;
    pub const SCOPE: u8 = 2;
    pub const ADDRESS: u8 = 3;
    pub const PORT: u8 = 4;
    pub const POLICY: u8 = 5;
    pub const REJECT: u8 = 6;
}

/// Codes of [`ty::TIME_EXCEEDED`].
#[allow(missing_docs)]
pub mod timxceed {
    pub const HOP_LIMIT: u8 = 0;
    pub const REASSEMBLY: u8 = 1;
}

/// Codes of [`ty::PARAM_PROBLEM`] (3: RFC 7112).
#[allow(missing_docs)]
pub mod param {
    pub const HEADER: u8 = 0;
    pub const NEXT_HEADER: u8 = 1;
    pub const OPTION: u8 = 2;
    pub const FIRST_FRAGMENT: u8 = 3;
}

/// An ICMPv6 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Type ([`ty`]).
    pub ty: u8,
    /// Code.
    pub code: u8,
    /// The 4 bytes after the checksum: identifier and sequence number, MTU, pointer, flags.
    pub rest: [u8; 4],
}

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// Shorter than a header.
    Short,
    /// The checksum does not match.
    Checksum,
}

impl Header {
    /// Reads the header of a whole message and checks the checksum, which covers the addresses (as on the wire).
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(message: &[u8], src: Ipv6Addr, dst: Ipv6Addr) -> Result<Header, Bad> {
        let h = Header::parse_unchecked(message).ok_or(Bad::Short)?;
        let mut s = pseudo_v6(src.octets(), dst.octets(), next::ICMP6, message.len() as u32);
        s.add(message);
        if s.is_valid() { Ok(h) } else { Err(Bad::Checksum) }
    }

    /// Reads a header whose message may be cut; `None` when it is itself.
    pub fn parse_unchecked(message: &[u8]) -> Option<Header> {
        let h: &[u8; HEADER_LEN] = message.first_chunk()?;
        Some(Header { ty: h[0], code: h[1], rest: [h[4], h[5], h[6], h[7]] })
    }

    /// Writes the header into the start of a whole message, whose rest is already there, and sums it all with the
    /// addresses. A buffer shorter than a header is left alone.
    pub fn emit(&self, message: &mut [u8], src: Ipv6Addr, dst: Ipv6Addr) {
        let Some(h) = message.first_chunk_mut::<HEADER_LEN>() else { return };
        *h = [self.ty, self.code, 0, 0, self.rest[0], self.rest[1], self.rest[2], self.rest[3]];
        let mut s = pseudo_v6(src.octets(), dst.octets(), next::ICMP6, message.len() as u32);
        s.add(message);
        message[2..4].copy_from_slice(&s.finish().to_be_bytes());
    }

    /// The last four bytes as a number: MTU of "too big", pointer of "parameter problem".
    pub fn word(&self) -> u32 {
        u32::from_be_bytes(self.rest)
    }

    /// Identifier of an echo message.
    pub fn id(&self) -> u16 {
        u16::from_be_bytes([self.rest[0], self.rest[1]])
    }
}

/// Whether a type is an error message (RFC 4443 2.1): it quotes a packet, and no error is sent about it.
pub const fn is_error(t: u8) -> bool {
    t < 128
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parse_undoes_emit(ty: u8, code: u8, rest: [u8; 4], src: [u8; 16], dst: [u8; 16],
            data in proptest::collection::vec(any::<u8>(), 0..100), flip in 0usize..800) {
            let (src, dst) = (Ipv6Addr::from(src), Ipv6Addr::from(dst));
            let h = Header { ty, code, rest };
            let mut b = alloc::vec![0; 8];
            b.extend_from_slice(&data);
            h.emit(&mut b, src, dst);
            prop_assert_eq!(Header::parse(&b, src, dst), Ok(h));
            let bit = flip % (b.len() * 8);
            b[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Header::parse(&b, src, dst), Err(Bad::Checksum));
        }

        #[test]
        fn any_bytes_are_safe(b in proptest::collection::vec(any::<u8>(), 0..40)) {
            let a = Ipv6Addr::LOCALHOST;
            prop_assert_eq!(Header::parse(&b, a, a) == Err(Bad::Short), b.len() < 8);
        }
    }
}
