//! One network interface: name, flags, addresses, groups, counters, transmit queue.

use crate::group::GroupFilter;
use crate::prefix;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;
use iopkt_base::{Errno, Instant, Result};
use iopkt_ctl::{AddrState, IfCounters, IfKind, LinkState, iff};
use iopkt_mbuf::Mbuf;

/// Most addresses of an interface.
pub const MAX_ADDRS: usize = 256;
/// Most multicast groups of an interface.
pub const MAX_GROUPS: usize = 1024;
/// Frames that wait for a device at most; more are dropped and counted (BSD's `ifq_maxlen`, with room for
/// the bursts of a large TCP window).
pub const TX_LIMIT: usize = 2048;

/// Hops of packets when nobody said anything (IANA's recommended default).
pub const DEFAULT_HOPS: u8 = 64;

/// What a device says of itself when it is attached.
#[derive(Clone, Debug)]
pub struct IfAttach {
    /// The driver's own interface prefix: `ecm`.
    pub prefix: String,
    /// `name=` of the driver's options: replaces the prefix.
    pub name: Option<String>,
    /// `unit=` of the driver's options: the first free number from here on; `None` from 0.
    pub unit: Option<u32>,
    /// Kind.
    pub kind: IfKind,
    /// Link-level address.
    pub mac: [u8; 6],
    /// MTU in bytes.
    pub mtu: u32,
    /// Largest MTU the device can do.
    pub max_mtu: u32,
    /// Capabilities of the hardware ([`iopkt_ctl::IFCAP_IP4CSUM`] ...), receive.
    pub caps_rx: u32,
    /// Capabilities of the hardware, transmit.
    pub caps_tx: u32,
    /// They are enabled from the start.
    pub caps_on: bool,
    /// The driver has media support.
    pub media: bool,
    /// Media words that it can be set to, the one at the start first (NetBSD's `IFM_*`); none: autoselect only.
    pub media_words: Vec<u32>,
    /// A legacy driver stands behind it: the flag SHIM.
    pub shim: bool,
    /// Link state at the start.
    pub link: LinkState,
    /// Bits per second towards us, 0 for unknown.
    pub speed_rx: u64,
    /// Bits per second from us, 0 for unknown.
    pub speed_tx: u64,
    /// Full duplex.
    pub full_duplex: bool,
    /// Driver that makes it.
    pub driver: String,
}

impl IfAttach {
    /// An Ethernet device with an MTU of 1500 and nothing special.
    pub fn ethernet(prefix: &str, mac: [u8; 6]) -> IfAttach {
        IfAttach {
            prefix: prefix.into(),
            name: None,
            unit: None,
            kind: IfKind::Ethernet,
            mac,
            mtu: 1500,
            max_mtu: 1500,
            caps_rx: 0,
            caps_tx: 0,
            caps_on: false,
            media: true,
            media_words: Vec::new(),
            shim: false,
            link: LinkState::Unknown,
            speed_rx: 0,
            speed_tx: 0,
            full_duplex: true,
            driver: prefix.into(),
        }
    }
}

/// One address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IfAddr {
    /// The address.
    pub addr: IpAddr,
    /// Prefix length in bits.
    pub plen: u8,
    /// IPv4 broadcast address, if the network has one.
    pub broadcast: Option<IpAddr>,
    /// Peer of a point-to-point link.
    pub peer: Option<IpAddr>,
    /// Where it stands with duplicate detection.
    pub state: AddrState,
    /// How it came to be and how long it is good.
    pub life: Life,
}

/// Origin and age of an address (RFC 4862 5.5). The default is one that a person set: for ever, and of no special kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// Made from a prefix that a router advertised.
    pub autoconf: bool,
    /// Made to be changed often (RFC 8981).
    pub temporary: bool,
    /// Of a group of which the nearest answers (RFC 4291 2.6): never a source.
    pub anycast: bool,
    /// Its preferred lifetime is over.
    pub deprecated: bool,
    /// May be used while duplicate detection runs (RFC 4429).
    pub optimistic: bool,
    /// Its prefix is advertised by no router that answers, while others are: used when nothing else is there.
    pub detached: bool,
    /// Used without looking for duplicates.
    pub nodad: bool,
    /// From then on it is deprecated: no new connection uses it if there is another.
    pub preferred: Instant,
    /// Then it goes.
    pub valid: Instant,
    /// Of a temporary one: neither is ever later than these, preferred and valid (RFC 8981 3.4).
    pub longest: (Instant, Instant),
}

impl Default for Life {
    fn default() -> Self {
        Life {
            autoconf: false,
            temporary: false,
            anycast: false,
            deprecated: false,
            optimistic: false,
            detached: false,
            nodad: false,
            preferred: Instant::FAR,
            valid: Instant::FAR,
            longest: (Instant::FAR, Instant::FAR),
        }
    }
}

impl IfAddr {
    /// Whether a host can have such an address.
    ///
    /// # Errors
    /// EINVAL when not.
    pub fn check(&self) -> Result<()> {
        let bad = self.plen > prefix::max_len(self.addr)
            || self.addr.is_multicast()
            || self.addr.is_unspecified()
            || matches!(self.addr, IpAddr::V4(x) if x.is_broadcast() || x.octets()[0] == 0);
        if bad { Err(Errno::EINVAL) } else { Ok(()) }
    }
}

/// A network interface.
#[derive(Debug)]
pub struct Interface {
    /// Index, from 1.
    pub index: u32,
    /// Name with unit.
    pub name: String,
    /// Number of its enXX alias, if it is hardware.
    pub alias: Option<u32>,
    /// Kind.
    pub kind: IfKind,
    /// [`iff`] bits.
    pub flags: u32,
    /// MTU in bytes.
    pub mtu: u32,
    /// Largest MTU.
    pub max_mtu: u32,
    /// Routing metric.
    pub metric: u32,
    /// Link-level address, all zero for none.
    pub mac: [u8; 6],
    /// Hardware capabilities, receive.
    pub caps_rx: u32,
    /// Hardware capabilities, transmit.
    pub caps_tx: u32,
    /// Enabled capabilities, receive.
    pub enabled_rx: u32,
    /// Enabled capabilities, transmit.
    pub enabled_tx: u32,
    /// Link state; down while the user has taken the interface down.
    pub link: LinkState,
    /// What the driver last said of its link, while the user has taken the interface down.
    pub link_below: Option<LinkState>,
    /// Bits per second towards us.
    pub speed_rx: u64,
    /// Bits per second from us.
    pub speed_tx: u64,
    /// The driver has media support.
    pub media: bool,
    /// Media words that it can be set to; none: autoselect only.
    pub media_words: Vec<u32>,
    /// The one that is selected.
    pub media_now: u32,
    /// Full duplex.
    pub full_duplex: bool,
    /// Driver, empty for built-in interfaces.
    pub driver: String,
    /// Addresses; the first of a family is its primary one.
    pub addrs: Vec<IfAddr>,
    /// Multicast groups with the number of users.
    pub groups: Vec<(IpAddr, u32)>,
    /// What the users of a group hear of it all together, where that is not everybody.
    pub filters: Vec<(IpAddr, GroupFilter)>,
    /// Counters.
    pub counters: IfCounters,
    /// Sockets and taps that want promiscuous mode, beside the user's flag.
    pub promisc_users: u32,
    /// Complete frames for the device.
    pub tx: VecDeque<Mbuf>,
    /// Its device is a program.
    pub node: Option<crate::tun::Node>,
    /// Settings of Neighbour Discovery ([`iopkt_ctl::nd6`]).
    pub nd6: u32,
    /// Hops of unicast packets whose sender did not say: IPv4, IPv6. The domains put their settings here.
    pub hops: (u8, u8),
}

impl Interface {
    /// Administratively up.
    #[inline]
    pub fn is_up(&self) -> bool {
        self.flags & iff::UP != 0
    }

    /// The loopback interface.
    #[inline]
    pub fn is_loopback(&self) -> bool {
        self.flags & iff::LOOPBACK != 0
    }

    /// Up, and the link not known to be down.
    pub fn is_usable(&self) -> bool {
        self.is_up() && self.link != LinkState::Down
    }

    /// Hops of packets by it whose sender did not say.
    #[inline]
    pub fn default_hops(&self, v4: bool) -> u8 {
        if v4 { self.hops.0 } else { self.hops.1 }
    }

    /// Primary address of a family.
    pub fn primary(&self, v4: bool) -> Option<&IfAddr> {
        self.addrs
            .iter()
            .find(|a| a.addr.is_ipv4() == v4 && a.state == AddrState::Valid)
            .or_else(|| self.addrs.iter().find(|a| a.addr.is_ipv4() == v4))
    }

    /// Whether it listens to a group.
    pub fn has_group(&self, g: IpAddr) -> bool {
        self.groups.iter().any(|(x, _)| *x == g)
    }

    /// Whether a frame to this group address is wanted.
    pub fn wants_group_mac(&self, mac: &[u8; 6]) -> bool {
        self.flags & (iff::ALLMULTI | iff::PROMISC) != 0
            || self.groups.iter().any(|(g, _)| iopkt_wire::ethernet::multicast_mac(*g) == *mac)
    }

    /// Splits a name into prefix and unit: `ecm0` → (`ecm`, 0). `None` without a number, with a leading
    /// zero, or without a prefix.
    pub fn split_name(name: &str) -> Option<(&str, u32)> {
        let at = name.len() - name.bytes().rev().take_while(u8::is_ascii_digit).count();
        let (p, n) = name.split_at(at);
        if p.is_empty() || n.is_empty() || (n.len() > 1 && n.starts_with('0')) {
            return None;
        }
        Some((p, n.parse().ok()?))
    }
}
