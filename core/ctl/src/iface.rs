//! Interfaces and addresses.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;
use serde::{Deserialize, Serialize};

/// Interface flags, as `ifconfig` prints them (NetBSD's `IFF_*` values).
#[allow(missing_docs)]
pub mod iff {
    pub const UP: u32 = 0x1;
    pub const BROADCAST: u32 = 0x2;
    pub const DEBUG: u32 = 0x4;
    pub const LOOPBACK: u32 = 0x8;
    pub const POINTOPOINT: u32 = 0x10;
    pub const NOTRAILERS: u32 = 0x20;
    pub const RUNNING: u32 = 0x40;
    pub const NOARP: u32 = 0x80;
    pub const PROMISC: u32 = 0x100;
    pub const ALLMULTI: u32 = 0x200;
    pub const OACTIVE: u32 = 0x400;
    pub const SIMPLEX: u32 = 0x800;
    pub const LINK0: u32 = 0x1000;
    pub const LINK1: u32 = 0x2000;
    pub const LINK2: u32 = 0x4000;
    pub const MULTICAST: u32 = 0x8000;
    pub const SHIM: u32 = 0x8000_0000;
    /// Every bit with its name, in the order in which `ifconfig` prints them.
    pub const NAMES: &[(u32, &str)] = &[
        (UP, "UP"),
        (BROADCAST, "BROADCAST"),
        (DEBUG, "DEBUG"),
        (LOOPBACK, "LOOPBACK"),
        (POINTOPOINT, "POINTOPOINT"),
        (NOTRAILERS, "NOTRAILERS"),
        (RUNNING, "RUNNING"),
        (NOARP, "NOARP"),
        (PROMISC, "PROMISC"),
        (ALLMULTI, "ALLMULTI"),
        (OACTIVE, "OACTIVE"),
        (SIMPLEX, "SIMPLEX"),
        (LINK0, "LINK0"),
        (LINK1, "LINK1"),
        (LINK2, "LINK2"),
        (MULTICAST, "MULTICAST"),
        (SHIM, "SHIM"),
    ];
}

/// The flag bits that a user may change.
pub const IFF_USER: u32 =
    iff::UP | iff::DEBUG | iff::NOARP | iff::PROMISC | iff::ALLMULTI | iff::LINK0 | iff::LINK1 | iff::LINK2;

/// Capability: IPv4 header checksum.
pub const IFCAP_IP4CSUM: u32 = 0x1;
/// Capability: TCP over IPv4 checksum.
pub const IFCAP_TCP4CSUM: u32 = 0x2;
/// Capability: UDP over IPv4 checksum.
pub const IFCAP_UDP4CSUM: u32 = 0x4;
/// Capability: TCP over IPv6 checksum.
pub const IFCAP_TCP6CSUM: u32 = 0x8;
/// Capability: UDP over IPv6 checksum.
pub const IFCAP_UDP6CSUM: u32 = 0x10;
/// Capability: TCP segmentation over IPv4.
pub const IFCAP_TSO4: u32 = 0x20;
/// Capability: TCP segmentation over IPv6.
pub const IFCAP_TSO6: u32 = 0x40;
/// Capability: received TCP segments may come joined (FreeBSD's LRO).
pub const IFCAP_LRO: u32 = 0x80;
/// Capability: UDP segmentation over IPv4.
pub const IFCAP_USO4: u32 = 0x100;
/// Capability: UDP segmentation over IPv6.
pub const IFCAP_USO6: u32 = 0x200;
/// Every capability with its name.
pub const IFCAP_NAMES: &[(u32, &str)] = &[
    (IFCAP_IP4CSUM, "IP4CSUM"),
    (IFCAP_TCP4CSUM, "TCP4CSUM"),
    (IFCAP_UDP4CSUM, "UDP4CSUM"),
    (IFCAP_TCP6CSUM, "TCP6CSUM"),
    (IFCAP_UDP6CSUM, "UDP6CSUM"),
    (IFCAP_TSO4, "TSO4"),
    (IFCAP_TSO6, "TSO6"),
    (IFCAP_LRO, "LRO"),
    (IFCAP_USO4, "USO4"),
    (IFCAP_USO6, "USO6"),
];

/// Media word: Ethernet, autoselect (NetBSD's `IFM_ETHER | IFM_AUTO`).
pub const IFM_ETHER: u32 = 0x20;
/// Bits of a media word that are the subtype.
pub const IFM_SUBTYPE: u32 = 0x1f;
/// Media option: full duplex.
pub const IFM_FDX: u32 = 0x0010_0000;
/// Media option: half duplex.
pub const IFM_HDX: u32 = 0x0020_0000;
/// Subtypes of Ethernet with their names in `ifconfig`.
pub const IFM_NAMES: &[(u32, &str)] = &[
    (0, "autoselect"),
    (1, "manual"),
    (2, "none"),
    (3, "10baseT"),
    (4, "10base2"),
    (5, "10base5"),
    (6, "100baseTX"),
    (7, "100baseFX"),
    (8, "100baseT4"),
    (11, "1000baseSX"),
    (14, "1000baseLX"),
    (15, "1000baseCX"),
    (16, "1000baseT"),
];

/// State of the link below an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LinkState {
    /// The driver cannot tell.
    Unknown,
    /// No carrier.
    Down,
    /// Active.
    Up,
}

/// What kind of thing an interface is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IfKind {
    /// Loopback.
    Loopback,
    /// Ethernet from a driver.
    Ethernet,
    /// Point to point, raw IP.
    PointToPoint,
}

/// One address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddrInfo {
    /// The address.
    pub addr: IpAddr,
    /// Prefix length in bits.
    pub prefix_len: u8,
    /// IPv4 broadcast address; `None` on a request means "host part all ones".
    pub broadcast: Option<IpAddr>,
    /// Peer of a point-to-point link.
    pub peer: Option<IpAddr>,
    /// Duplicate-address detection has not ended, or found a duplicate (read only).
    pub state: AddrState,
}

/// Where an address stands with duplicate-address detection (RFC 5227, RFC 4862).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AddrState {
    /// In use.
    #[default]
    Valid,
    /// Being probed.
    Tentative,
    /// Somebody else has it.
    Duplicated,
}

/// Counters of an interface. Bytes count whole link-level frames without FCS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IfCounters {
    /// Packets received.
    pub ipackets: u64,
    /// Bytes received.
    pub ibytes: u64,
    /// Multicast and broadcast packets received.
    pub imcasts: u64,
    /// Receive errors.
    pub ierrors: u64,
    /// Dropped because a queue was full.
    pub iqdrops: u64,
    /// For a protocol that nobody here speaks.
    pub noproto: u64,
    /// Packets sent.
    pub opackets: u64,
    /// Bytes sent.
    pub obytes: u64,
    /// Multicast and broadcast packets sent.
    pub omcasts: u64,
    /// Transmit errors.
    pub oerrors: u64,
    /// Transmit queue drops.
    pub oqdrops: u64,
    /// Collisions.
    pub collisions: u64,
}

/// One interface, as `ifconfig` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ifconf {
    /// Name with unit: `ecm0`.
    pub name: String,
    /// Its enXX alias, if mapping is on and it has one.
    pub alias: Option<String>,
    /// Index, from 1.
    pub index: u32,
    /// Kind.
    pub kind: IfKind,
    /// [`iff`] bits.
    pub flags: u32,
    /// MTU in bytes.
    pub mtu: u32,
    /// Routing metric.
    pub metric: u32,
    /// Capabilities of the hardware, receive.
    pub caps_rx: u32,
    /// Capabilities of the hardware, transmit.
    pub caps_tx: u32,
    /// Enabled capabilities, receive.
    pub enabled_rx: u32,
    /// Enabled capabilities, transmit.
    pub enabled_tx: u32,
    /// Link-level address, all zero for none.
    pub mac: [u8; 6],
    /// Link state.
    pub link: LinkState,
    /// Bits per second towards us, 0 for unknown.
    pub speed_rx: u64,
    /// Bits per second from us, 0 for unknown.
    pub speed_tx: u64,
    /// Whether the driver has media support (a media: line is printed).
    pub media: bool,
    /// Media words that it can be set to ([`IFM_ETHER`] ...); none: autoselect only.
    pub media_words: Vec<u32>,
    /// The one that is selected.
    pub media_now: u32,
    /// Full duplex.
    pub full_duplex: bool,
    /// Driver that made it, empty for built-in ones.
    pub driver: String,
    /// Addresses, primary first.
    pub addrs: Vec<AddrInfo>,
    /// Counters.
    pub counters: IfCounters,
    /// What is special about its IPv6 addresses, one entry each.
    pub lives: Vec<crate::AddrLife>,
}

impl Ifconf {
    /// What is special about an address of it; `None` for one of IPv4.
    pub fn life(&self, a: &IpAddr) -> Option<&crate::AddrLife> {
        self.lives.iter().find(|l| l.addr == *a)
    }
}
