//! Ethernet II frames (RFC 894; IEEE 802.3 clause 3). No FCS: devices add and check it.

/// Length of the header: destination, source, type.
pub const HEADER_LEN: usize = 14;
/// Shortest frame without FCS (IEEE 802.3 clause 4.4: 64 bytes with it).
pub const MIN_FRAME: usize = 60;
/// The broadcast address.
pub const BROADCAST: [u8; 6] = [0xff; 6];

/// IPv4.
pub const TYPE_IPV4: u16 = 0x0800;
/// ARP.
pub const TYPE_ARP: u16 = 0x0806;
/// IEEE 802.1Q tag.
pub const TYPE_VLAN: u16 = 0x8100;
/// IPv6.
pub const TYPE_IPV6: u16 = 0x86dd;
/// Smallest value that is a type and not an 802.3 length.
pub const TYPE_MIN: u16 = 0x0600;

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Destination address.
    pub dst: [u8; 6],
    /// Source address.
    pub src: [u8; 6],
    /// Type, host byte order; below [`TYPE_MIN`] it is an 802.3 length.
    pub ethertype: u16,
}

impl Header {
    /// Reads the header; `None` for a frame that is too short.
    #[inline]
    pub fn parse(b: &[u8]) -> Option<Header> {
        let h: &[u8; HEADER_LEN] = b.first_chunk()?;
        Some(Header {
            dst: [h[0], h[1], h[2], h[3], h[4], h[5]],
            src: [h[6], h[7], h[8], h[9], h[10], h[11]],
            ethertype: u16::from_be_bytes([h[12], h[13]]),
        })
    }

    /// Writes the header into the first [`HEADER_LEN`] bytes; a shorter buffer is left alone.
    #[inline]
    pub fn emit(&self, b: &mut [u8]) {
        if let Some(h) = b.first_chunk_mut::<HEADER_LEN>() {
            h[..6].copy_from_slice(&self.dst);
            h[6..12].copy_from_slice(&self.src);
            h[12..].copy_from_slice(&self.ethertype.to_be_bytes());
        }
    }
}

/// Whether an address is a group address (broadcast included).
#[inline]
pub const fn is_multicast(mac: &[u8; 6]) -> bool {
    mac[0] & 1 != 0
}

/// Link-level address of a multicast group: RFC 1112 section 6.4, RFC 2464 section 7.
pub fn multicast_mac(group: core::net::IpAddr) -> [u8; 6] {
    match group {
        core::net::IpAddr::V4(a) => {
            let o = a.octets();
            [0x01, 0x00, 0x5e, o[1] & 0x7f, o[2], o[3]]
        }
        core::net::IpAddr::V6(a) => {
            let o = a.octets();
            [0x33, 0x33, o[12], o[13], o[14], o[15]]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn groups_map_as_the_rfcs_say() {
        assert_eq!(multicast_mac("224.0.0.251".parse().unwrap()), [1, 0, 0x5e, 0, 0, 0xfb]);
        assert_eq!(multicast_mac("239.255.1.2".parse().unwrap()), [1, 0, 0x5e, 0x7f, 1, 2]);
        assert_eq!(multicast_mac("ff02::1:ff00:17".parse().unwrap()), [0x33, 0x33, 0xff, 0, 0, 0x17]);
        assert!(is_multicast(&BROADCAST) && !is_multicast(&[2, 0, 0, 0, 0, 1]));
    }

    proptest! {
        #[test]
        fn parse_undoes_emit(dst: [u8; 6], src: [u8; 6], ethertype: u16) {
            let h = Header { dst, src, ethertype };
            let mut b = [0; HEADER_LEN];
            h.emit(&mut b);
            prop_assert_eq!(Header::parse(&b), Some(h));
            prop_assert_eq!(Header::parse(&b[..13]), None);
        }
    }
}
