//! ICMP for IPv4 (RFC 792, RFC 950, RFC 1122 section 3.2.2, RFC 1191).

use crate::checksum::{Sum, checksum};

/// Length of the header that all types share (the last 4 bytes differ in meaning).
pub const HEADER_LEN: usize = 8;

/// Types.
#[allow(missing_docs)]
pub mod ty {
    pub const ECHO_REPLY: u8 = 0;
    pub const UNREACHABLE: u8 = 3;
    pub const SOURCE_QUENCH: u8 = 4;
    pub const REDIRECT: u8 = 5;
    pub const ECHO: u8 = 8;
    pub const ROUTER_ADVERT: u8 = 9;
    pub const ROUTER_SOLICIT: u8 = 10;
    pub const TIME_EXCEEDED: u8 = 11;
    pub const PARAM_PROBLEM: u8 = 12;
    pub const TIMESTAMP: u8 = 13;
    pub const TIMESTAMP_REPLY: u8 = 14;
    pub const INFO_REQUEST: u8 = 15;
    pub const INFO_REPLY: u8 = 16;
    pub const MASK_REQUEST: u8 = 17;
    pub const MASK_REPLY: u8 = 18;
}

/// Codes of [`ty::UNREACHABLE`].
#[allow(missing_docs)]
pub mod unreach {
    pub const NET: u8 = 0;
    pub const HOST: u8 = 1;
    pub const PROTOCOL: u8 = 2;
    pub const PORT: u8 = 3;
    pub const NEED_FRAG: u8 = 4;
    pub const SRC_ROUTE: u8 = 5;
    pub const NET_UNKNOWN: u8 = 6;
    pub const HOST_UNKNOWN: u8 = 7;
    pub const ISOLATED: u8 = 8;
    pub const NET_PROHIB: u8 = 9;
    pub const HOST_PROHIB: u8 = 10;
    pub const TOS_NET: u8 = 11;
    pub const TOS_HOST: u8 = 12;
    pub const FILTER_PROHIB: u8 = 13;
    pub const HOST_PRECEDENCE: u8 = 14;
    pub const PRECEDENCE_CUTOFF: u8 = 15;
}

/// Codes of [`ty::TIME_EXCEEDED`].
#[allow(missing_docs)]
pub mod timxceed {
    pub const TTL: u8 = 0;
    pub const REASSEMBLY: u8 = 1;
}

/// An ICMP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Type ([`ty`]).
    pub ty: u8,
    /// Code.
    pub code: u8,
    /// The 4 bytes after the checksum: identifier and sequence number, gateway, unused and MTU, pointer.
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
    /// Reads the header of a whole message and checks the checksum.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(message: &[u8]) -> Result<Header, Bad> {
        let h: &[u8; HEADER_LEN] = message.first_chunk().ok_or(Bad::Short)?;
        if !Sum::of(message).is_valid() {
            return Err(Bad::Checksum);
        }
        Ok(Header { ty: h[0], code: h[1], rest: [h[4], h[5], h[6], h[7]] })
    }

    /// Writes the header into the start of a whole message, whose rest is already there, and sums it all.
    /// A buffer shorter than a header is left alone.
    pub fn emit(&self, message: &mut [u8]) {
        let Some(h) = message.first_chunk_mut::<HEADER_LEN>() else { return };
        *h = [self.ty, self.code, 0, 0, self.rest[0], self.rest[1], self.rest[2], self.rest[3]];
        let c = checksum(message);
        message[2..4].copy_from_slice(&c.to_be_bytes());
    }

    /// Identifier of an echo or timestamp message.
    pub fn id(&self) -> u16 {
        u16::from_be_bytes([self.rest[0], self.rest[1]])
    }

    /// Sequence number of an echo or timestamp message.
    pub fn seq(&self) -> u16 {
        u16::from_be_bytes([self.rest[2], self.rest[3]])
    }

    /// Next-hop MTU of "fragmentation needed" (RFC 1191 section 4); 0 from an old router.
    pub fn mtu(&self) -> u16 {
        self.seq()
    }
}

/// Whether a type is an error message: it quotes a packet, and no error is sent about it (RFC 1122 3.2.2).
pub const fn is_error(t: u8) -> bool {
    matches!(t, ty::UNREACHABLE | ty::SOURCE_QUENCH | ty::REDIRECT | ty::TIME_EXCEEDED | ty::PARAM_PROBLEM)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parse_undoes_emit(ty: u8, code: u8, rest: [u8; 4], data in proptest::collection::vec(any::<u8>(), 0..100), flip in 0usize..800) {
            let h = Header { ty, code, rest };
            let mut b = alloc::vec![0; 8];
            b.extend_from_slice(&data);
            h.emit(&mut b);
            prop_assert_eq!(Header::parse(&b), Ok(h));
            let bit = flip % (b.len() * 8);
            b[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Header::parse(&b), Err(Bad::Checksum));
        }

        #[test]
        fn any_bytes_are_safe(b in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(Header::parse(&b) == Err(Bad::Short), b.len() < 8);
        }
    }
}
