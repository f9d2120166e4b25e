//! Node information queries and replies (RFC 4620), both ends.

use alloc::vec::Vec;
use core::net::Ipv6Addr;
use iopkt_base::md5;

/// Length of what a query and a reply have in common: ICMPv6 header (with type of query and flags) and nonce.
pub const HEADER_LEN: usize = 16;

/// What is asked for.
#[allow(missing_docs)]
pub mod qtype {
    pub const NOOP: u16 = 0;
    /// Which types are answered (RFC 4620 took it away again).
    pub const SUPPORTED: u16 = 1;
    pub const NAME: u16 = 2;
    pub const ADDRESSES: u16 = 3;
    pub const ADDRESSES4: u16 = 4;
}

/// Code of a query: what its subject is.
#[allow(missing_docs)]
pub mod subject {
    pub const IPV6: u8 = 0;
    pub const NAME: u8 = 1;
    pub const IPV4: u8 = 2;
}

/// Code of a reply.
#[allow(missing_docs)]
pub mod code {
    pub const GOOD: u8 = 0;
    pub const REFUSED: u8 = 1;
    pub const UNKNOWN: u8 = 2;
}

/// Flags of a question for addresses.
#[allow(missing_docs)]
pub mod flag {
    pub const TRUNCATED: u16 = 0x1;
    pub const ALL: u16 = 0x2;
    pub const COMPATIBLE: u16 = 0x4;
    pub const LINK_LOCAL: u16 = 0x8;
    pub const SITE_LOCAL: u16 = 0x10;
    pub const GLOBAL: u16 = 0x20;
    /// KAME's: anycast addresses instead of others.
    pub const ANYCAST: u16 = 0x40;
}

/// A query or a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// [`crate::icmp6::ty::NODE_QUERY`] or `NODE_REPLY`.
    pub ty: u8,
    /// [`subject`] of a query, [`code`] of a reply.
    pub code: u8,
    /// [`qtype`].
    pub qtype: u16,
    /// [`flag`] bits.
    pub flags: u16,
    /// What a reply repeats.
    pub nonce: [u8; 8],
    /// Subject of a query, answer of a reply.
    pub data: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads a whole ICMPv6 message; `None` when it is shorter than a header.
    pub fn parse(b: &'a [u8]) -> Option<Message<'a>> {
        let (h, data) = b.split_first_chunk::<HEADER_LEN>()?;
        Some(Message {
            ty: h[0],
            code: h[1],
            qtype: u16::from_be_bytes([h[4], h[5]]),
            flags: u16::from_be_bytes([h[6], h[7]]),
            nonce: [h[8], h[9], h[10], h[11], h[12], h[13], h[14], h[15]],
            data,
        })
    }

    /// The message with a checksum of zero.
    pub fn emit(&self) -> Vec<u8> {
        let mut b = Vec::from([self.ty, self.code, 0, 0]);
        b.extend(self.qtype.to_be_bytes());
        b.extend(self.flags.to_be_bytes());
        b.extend(self.nonce);
        b.extend(self.data);
        b
    }
}

/// A name as DNS has it on the wire (RFC 1035 3.1): a length before each label, a zero behind the last. A name of one label, which is
/// none that DNS knows, ends with two (RFC 4620 section 6.2). `None` when a label is too long or empty.
pub fn name(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('.');
    let mut b = Vec::new();
    for l in text.split('.') {
        if l.is_empty() || l.len() > 63 {
            return None;
        }
        b.push(l.len() as u8);
        b.extend(l.bytes());
    }
    b.push(0);
    if !text.contains('.') {
        b.push(0);
    }
    Some(b).filter(|b| b.len() <= 256)
}

/// The group of the nodes whose first label hashes so (RFC 4620 section 5); `old`: with 32 bits of the hash, as KAME has it. `None` for a
/// name without a first label.
pub fn group(host: &str, old: bool) -> Option<Ipv6Addr> {
    let label = host.split('.').next().filter(|l| !l.is_empty() && l.len() <= 63)?;
    let mut b = Vec::from([label.len() as u8]);
    b.extend(label.bytes().map(|c| c.to_ascii_lowercase()));
    let h = md5::short(&b);
    let (hi, lo) = (u16::from_be_bytes([h[0], h[1]]), u16::from_be_bytes([h[2], h[3]]));
    Some(if old {
        Ipv6Addr::new(0xff02, 0, 0, 0, 0, 2, hi, lo)
    } else {
        Ipv6Addr::new(0xff02, 0, 0, 0, 0, 2, 0xff00 | hi >> 8, hi << 8 | lo >> 8)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_on_the_wire() {
        assert_eq!(name("a.bc").unwrap(), b"\x01a\x02bc\0");
        assert_eq!(name("host").unwrap(), b"\x04host\0\0");
        assert_eq!((name(""), name("a..b"), name(&"x".repeat(64))), (None, None, None));
        // The group does not depend on case or domain.
        assert_eq!(group("Host.example.com", false), group("host", false));
        let g = group("host", false).unwrap().segments();
        assert_eq!((g[..6].to_vec(), g[6] >> 8), (Vec::from([0xff02, 0, 0, 0, 0, 2]), 0xff));
        let old = group("host", true).unwrap().segments();
        assert_eq!((g[6] & 0xff, g[7]), (old[6] >> 8, old[6] << 8 | old[7] >> 8));
    }

    proptest! {
        #[test]
        fn parse_undoes_emit(ty: u8, code: u8, qtype: u16, flags: u16, nonce: [u8; 8],
            data in proptest::collection::vec(any::<u8>(), 0..40)) {
            let m = Message { ty, code, qtype, flags, nonce, data: &data };
            let b = m.emit();
            prop_assert_eq!(Message::parse(&b), Some(m));
            prop_assert_eq!(Message::parse(&b[..HEADER_LEN - 1]), None);
        }
    }
}
