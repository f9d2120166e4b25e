//! ARP for IPv4 over Ethernet (RFC 826), as RFC 5227 uses it.

use crate::ethernet;
use core::net::Ipv4Addr;

/// Length of an ARP packet for Ethernet and IPv4.
pub const LEN: usize = 28;
/// ares_op$REQUEST.
pub const REQUEST: u16 = 1;
/// ares_op$REPLY.
pub const REPLY: u16 = 2;

/// An ARP packet of hardware type 1 and protocol type 0x0800.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Operation, [`REQUEST`] or [`REPLY`]; others are passed through.
    pub op: u16,
    /// Sender hardware address.
    pub sha: [u8; 6],
    /// Sender protocol address; 0.0.0.0 in a probe.
    pub spa: Ipv4Addr,
    /// Target hardware address.
    pub tha: [u8; 6],
    /// Target protocol address.
    pub tpa: Ipv4Addr,
}

impl Packet {
    /// Reads a packet. `None` when it is short or not for Ethernet and IPv4. Bytes after it are padding.
    pub fn parse(b: &[u8]) -> Option<Packet> {
        let p: &[u8; LEN] = b.first_chunk()?;
        // Hardware type 6 (IEEE 802) with 6-byte addresses is the same thing (RFC 1042, Linux accepts it too).
        if (p[..2] != [0, 1] && p[..2] != [0, 6]) || p[2..4] != [8, 0] || p[4..6] != [6, 4] {
            return None;
        }
        Some(Packet {
            op: u16::from_be_bytes([p[6], p[7]]),
            sha: [p[8], p[9], p[10], p[11], p[12], p[13]],
            spa: Ipv4Addr::new(p[14], p[15], p[16], p[17]),
            tha: [p[18], p[19], p[20], p[21], p[22], p[23]],
            tpa: Ipv4Addr::new(p[24], p[25], p[26], p[27]),
        })
    }

    /// The packet as bytes.
    pub fn emit(&self) -> [u8; LEN] {
        let mut p = [0; LEN];
        p[..6].copy_from_slice(&[0, 1, 8, 0, 6, 4]);
        p[7] = 0;
        p[6..8].copy_from_slice(&self.op.to_be_bytes());
        p[8..14].copy_from_slice(&self.sha);
        p[14..18].copy_from_slice(&self.spa.octets());
        p[18..24].copy_from_slice(&self.tha);
        p[24..28].copy_from_slice(&self.tpa.octets());
        p
    }

    /// A probe for `addr` by `mac`: asks who has it, without claiming it (RFC 5227 2.1.1).
    pub fn probe(mac: [u8; 6], addr: Ipv4Addr) -> Packet {
        Packet { op: REQUEST, sha: mac, spa: Ipv4Addr::UNSPECIFIED, tha: [0; 6], tpa: addr }
    }

    /// Whether its sender stands in the way of a probe for `addr`: it uses the address, or probes for it at the same time
    /// (RFC 5227 2.1.1). What the prober sent itself is for the caller to leave out.
    pub fn contests(&self, addr: Ipv4Addr) -> bool {
        self.spa == addr || (self.spa.is_unspecified() && self.tpa == addr && self.op == REQUEST)
    }

    /// The packet as a broadcast Ethernet frame of the least length, zeroes behind it.
    pub fn broadcast(&self) -> [u8; ethernet::MIN_FRAME] {
        let mut f = [0; ethernet::MIN_FRAME];
        let h = ethernet::Header { dst: ethernet::BROADCAST, src: self.sha, ethertype: ethernet::TYPE_ARP };
        h.emit(&mut f);
        f[ethernet::HEADER_LEN..ethernet::HEADER_LEN + LEN].copy_from_slice(&self.emit());
        f
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parse_undoes_emit(op: u16, sha: [u8; 6], spa: u32, tha: [u8; 6], tpa: u32) {
            let p = Packet { op, sha, spa: spa.into(), tha, tpa: tpa.into() };
            prop_assert_eq!(Packet::parse(&p.emit()), Some(p));
        }

        #[test]
        fn a_probe_is_contested_by_users_and_other_probers(mac: [u8; 6], a in 1u32.., other in 1u32.., op: u16) {
            let probe = Packet::probe(mac, a.into());
            prop_assert!(probe.contests(a.into()) && !probe.contests(0x0a00_0001.into()) || a == 0x0a00_0001);
            let uses = Packet { op, sha: mac, spa: a.into(), tha: [0; 6], tpa: other.into() };
            prop_assert!(uses.contests(a.into()));
            prop_assert_eq!(uses.contests(other.into()), a == other);
            let f = uses.broadcast();
            prop_assert_eq!((&f[..6], &f[6..12], &f[12..14]), (&[0xff; 6][..], &mac[..], &[8, 6][..]));
            prop_assert_eq!(Packet::parse(&f[14..]), Some(uses));
        }

        #[test]
        fn any_bytes_are_safe(b in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Some(p) = Packet::parse(&b) {
                prop_assert!(b.len() >= LEN);
                prop_assert_eq!(&p.emit()[6..], &b[6..LEN]);
            }
        }

        #[test]
        fn other_hardware_is_refused(hw: u16, proto: u16, hl: u8, pl: u8) {
            let mut b = Packet { op: 1, sha: [0; 6], spa: 1.into(), tha: [0; 6], tpa: 2.into() }.emit();
            b[..2].copy_from_slice(&hw.to_be_bytes());
            b[2..4].copy_from_slice(&proto.to_be_bytes());
            b[4] = hl;
            b[5] = pl;
            prop_assert_eq!(Packet::parse(&b).is_some(), (hw == 1 || hw == 6) && proto == 0x800 && hl == 6 && pl == 4);
        }
    }
}
