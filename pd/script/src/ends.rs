//! The two ends of a script's packets, by variant.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses that a script runs with, as packetdrill's `--ip_version`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Variant {
    /// `ipv4`: sockets and packets of IPv4.
    #[default]
    V4,
    /// `ipv6`: both of IPv6, with an MTU that is 20 bytes larger, so that segments have the same size.
    V6,
    /// `ipv4-mapped-ipv6`: sockets of IPv6 with mapped addresses (RFC 3493 section 3.7), packets of IPv4.
    Mapped,
}

impl Variant {
    /// All of them.
    pub const ALL: [Variant; 3] = [Variant::V4, Variant::V6, Variant::Mapped];

    /// By packetdrill's name.
    pub fn named(name: &str) -> Option<Variant> {
        Variant::ALL.into_iter().find(|v| v.name() == name)
    }

    /// Packetdrill's name.
    pub fn name(self) -> &'static str {
        match self {
            Variant::V4 => "ipv4",
            Variant::V6 => "ipv6",
            Variant::Mapped => "ipv4-mapped-ipv6",
        }
    }

    /// AF_INET or AF_INET6.
    pub(crate) fn domain(self) -> i32 {
        if self == Variant::V4 { 2 } else { 10 }
    }

    /// An address of [`Ends`] as a socket of this variant has it.
    pub(crate) fn socket_address(self, a: IpAddr) -> IpAddr {
        match a {
            IpAddr::V4(a) if self == Variant::Mapped => a.to_ipv6_mapped().into(),
            a => a,
        }
    }

    pub(crate) fn ends(self) -> Ends {
        match self {
            Variant::V6 => Ends {
                local: Ipv6Addr::new(0xfd3d, 0xa0b, 0x17d6, 0, 0, 0, 0, 1).into(),
                remote: Ipv6Addr::new(0xfd3d, 0xfa7b, 0xd17d, 0, 0, 0, 0, 1).into(),
            },
            _ => Ends {
                local: Ipv4Addr::new(192, 168, 0, 1).into(),
                remote: Ipv4Addr::new(192, 0, 2, 1).into(),
            },
        }
    }
}

/// Addresses on the wire.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    /// The stack's.
    pub local: IpAddr,
    /// The peer's.
    pub remote: IpAddr,
}
