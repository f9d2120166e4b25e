//! IPv6's own: what is special about an address, the neighbour cache, routers and prefixes, settings of interfaces.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};
use serde::{Deserialize, Serialize};

/// Bits of an address (NetBSD's `IN6_IFF_*` values).
#[allow(missing_docs)]
pub mod in6 {
    pub const ANYCAST: u32 = 0x1;
    pub const TENTATIVE: u32 = 0x2;
    pub const DUPLICATED: u32 = 0x4;
    pub const DETACHED: u32 = 0x8;
    pub const DEPRECATED: u32 = 0x10;
    pub const NODAD: u32 = 0x20;
    pub const AUTOCONF: u32 = 0x40;
    pub const TEMPORARY: u32 = 0x80;
    /// May be used while duplicate detection runs (RFC 4429); NetBSD has no such bit.
    pub const OPTIMISTIC: u32 = 0x100;
    /// With one of these an address is not to be used (yet): NetBSD's `IN6_IFF_NOTREADY`.
    pub const NOT_READY: u32 = TENTATIVE | DUPLICATED | DETACHED;
    /// Every bit with its word, in the order in which `ifconfig` prints them.
    pub const NAMES: &[(u32, &str)] = &[
        (ANYCAST, "anycast"),
        (TENTATIVE, "tentative"),
        (DUPLICATED, "duplicated"),
        (DETACHED, "detached"),
        (DEPRECATED, "deprecated"),
        (AUTOCONF, "autoconf"),
        (TEMPORARY, "temporary"),
        (OPTIMISTIC, "optimistic"),
    ];
}

/// What is special about an IPv6 address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddrLife {
    /// The address, as in [`crate::AddrInfo`].
    pub addr: IpAddr,
    /// [`in6`] bits.
    pub flags: u32,
    /// Seconds that it is preferred still; `None` for ever.
    pub preferred: Option<u32>,
    /// Seconds that it is valid still; `None` for ever.
    pub valid: Option<u32>,
}

impl AddrLife {
    /// An address for ever, with nothing special about it.
    pub fn plain(addr: IpAddr) -> AddrLife {
        AddrLife { addr, flags: 0, preferred: None, valid: None }
    }
}

/// Settings of an interface that are on or off (NetBSD's `ND6_IFF_*` values).
#[allow(missing_docs)]
pub mod nd6 {
    pub const NUD: u32 = 0x1;
    pub const ACCEPT_RTADV: u32 = 0x2;
    pub const PREFER_SOURCE: u32 = 0x4;
    pub const DISABLED: u32 = 0x8;
    pub const AUTO_LINKLOCAL: u32 = 0x20;
    pub const OVERRIDE_RTADV: u32 = 0x40;
    /// Every bit with its word, in the order in which `ndp -i` prints them.
    pub const NAMES: &[(u32, &str)] = &[
        (NUD, "nud"),
        (DISABLED, "disabled"),
        (ACCEPT_RTADV, "accept_rtadv"),
        (OVERRIDE_RTADV, "override_rtadv"),
        (AUTO_LINKLOCAL, "auto_linklocal"),
        (PREFER_SOURCE, "prefer_source"),
    ];
}

/// Where an entry of the neighbour cache stands (RFC 4861 7.3.2), as `ndp` prints it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NdState {
    /// Asked for.
    Incomplete,
    /// Heard from not long ago.
    Reachable,
    /// Not heard from for a while.
    Stale,
    /// Used while stale; a transport may still confirm it.
    Delay,
    /// Polled.
    Probe,
}

impl NdState {
    /// `ndp`'s letter.
    pub fn letter(self) -> char {
        match self {
            NdState::Incomplete => 'I',
            NdState::Reachable => 'R',
            NdState::Stale => 'S',
            NdState::Delay => 'D',
            NdState::Probe => 'P',
        }
    }
}

/// One neighbour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NdEntry {
    /// Its address.
    pub ip: Ipv6Addr,
    /// Its link-level address, `None` while incomplete.
    pub mac: Option<[u8; 6]>,
    /// Interface; on a request `None` means "the one whose network has the address".
    pub ifname: Option<String>,
    /// Where it stands; ignored on a request.
    pub state: NdState,
    /// Never expires.
    pub permanent: bool,
    /// Answered for, not used (`proxy`).
    pub proxy: bool,
    /// It advertised itself as a router; ignored on a request.
    pub router: bool,
    /// It is an address of this host; ignored on a request.
    pub own: bool,
    /// Seconds until its state changes by itself, `None` for never.
    pub expires: Option<u32>,
    /// Questions that were asked without an answer.
    pub asked: u8,
}

/// One prefix of the prefix list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NdPrefix {
    /// The prefix.
    pub prefix: Ipv6Addr,
    /// Its length in bits.
    pub prefix_len: u8,
    /// Interface.
    pub ifname: String,
    /// Its hosts are on the link (L).
    pub on_link: bool,
    /// Addresses are made of it (A).
    pub autonomous: bool,
    /// No router that answers advertises it any more (D).
    pub detached: bool,
    /// Seconds valid as advertised, `None` for ever.
    pub valid: Option<u32>,
    /// Seconds preferred as advertised, `None` for ever.
    pub preferred: Option<u32>,
    /// Seconds until it ends, `None` for never.
    pub expires: Option<u32>,
    /// Addresses that were made of it.
    pub refs: u32,
    /// Who advertises it.
    pub routers: Vec<Ipv6Addr>,
}

/// One default router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NdRouter {
    /// Its link-local address.
    pub addr: Ipv6Addr,
    /// Interface.
    pub ifname: String,
    /// Addresses are to be had by DHCPv6 (M).
    pub managed: bool,
    /// Other things are to be had by DHCPv6 (O).
    pub other: bool,
    /// `low`, `medium`, `high` (RFC 4191).
    pub preference: String,
    /// Seconds until it is none any more, `None` for never.
    pub expires: Option<u32>,
}

/// Neighbour Discovery on one interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NdIface {
    /// Interface.
    pub ifname: String,
    /// MTU of packets, what routers say counted in.
    pub link_mtu: u32,
    /// MTU of the interface.
    pub max_mtu: u32,
    /// Hop limit of packets.
    pub hop_limit: u8,
    /// Milliseconds from which the time is drawn that a neighbour counts as reachable.
    pub base_reachable: u32,
    /// Milliseconds that a neighbour counts as reachable.
    pub reachable: u32,
    /// Milliseconds between solicitations.
    pub retrans: u32,
    /// [`nd6`] bits.
    pub flags: u32,
    /// Router advertisements that were believed.
    pub adverts: u64,
}

/// What a router said of names (RFC 8106).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NdDns {
    /// Interface.
    pub ifname: String,
    /// Who said it.
    pub router: Ipv6Addr,
    /// A server, or
    pub server: Option<Ipv6Addr>,
    /// a domain to search.
    pub domain: Option<String>,
    /// Seconds that it is good still, `None` for ever.
    pub expires: Option<u32>,
}

/// A row of the policy table of address selection (RFC 6724 section 2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NdPolicy {
    /// Prefix, host bits clear.
    pub prefix: Ipv6Addr,
    /// Its length.
    pub prefix_len: u8,
    /// The higher, the sooner such a destination is tried.
    pub precedence: u32,
    /// Source and destination should have the same one.
    pub label: u32,
    /// How often it was the row of an address (read only).
    pub used: u64,
}

/// A question or order about IPv6.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NdRequest {
    /// Adds an address, or changes lifetimes and flags of one that is there.
    AddAddr {
        /// Interface.
        name: String,
        /// The address with its length.
        addr: crate::AddrInfo,
        /// Lifetimes and flags: ANYCAST, DEPRECATED, NODAD, TENTATIVE (look again for duplicates).
        life: AddrLife,
        /// Flags that are to be taken away.
        clear: u32,
    },
    /// The neighbour cache, from entry `cursor` on.
    Neighbours {
        /// 0 to begin.
        cursor: u32,
    },
    /// Adds a neighbour.
    Add(NdEntry),
    /// Deletes one entry, or with `None` all that were learnt.
    Delete {
        /// Address.
        ip: Option<Ipv6Addr>,
        /// On this interface, `None` for all.
        ifname: Option<String>,
    },
    /// The prefix list.
    Prefixes,
    /// The default routers.
    Routers,
    /// Settings of interfaces.
    Interfaces {
        /// `None` for all.
        name: Option<String>,
    },
    /// Changes settings of an interface.
    Set {
        /// Interface.
        name: String,
        /// [`nd6`] bits to set.
        set: u32,
        /// Bits to clear.
        clear: u32,
        /// New base of the reachable time, milliseconds.
        base_reachable: Option<u32>,
        /// New time between solicitations, milliseconds.
        retrans: Option<u32>,
        /// New hop limit of packets.
        hop_limit: Option<u8>,
    },
    /// Forgets all routers, or all prefixes with the addresses made of them.
    Flush {
        /// Routers.
        routers: bool,
        /// Prefixes.
        prefixes: bool,
    },
    /// Asks for routers anew (`rtsol`).
    Solicit {
        /// Interface.
        name: String,
    },
    /// Servers and domains that routers told.
    Dns,
    /// Counters of one interface; answered with [`crate::Reply::Stats`].
    Counters {
        /// Interface.
        name: String,
    },
    /// The interface on whose link everybody is who cannot be reached otherwise (`ndp -I`).
    Default {
        /// `None` reads; an empty name takes it away.
        name: Option<String>,
    },
    /// The policy table.
    Policies,
    /// Makes the policy table these rows; none: nothing is preferred.
    SetPolicies(Vec<NdPolicy>),
    /// One more row.
    AddPolicy(NdPolicy),
    /// Deletes the row of a prefix.
    DeletePolicy {
        /// Prefix.
        prefix: Ipv6Addr,
        /// Its length.
        prefix_len: u8,
    },
    /// Puts destinations of either family into the order in which they should be tried (RFC 6724 section 6). Link-local addresses
    /// carry no zone here: they are judged by the routes.
    Order(Vec<core::net::IpAddr>),
}

impl NdRequest {
    /// It changes nothing: anybody may ask it.
    pub fn only_looks(&self) -> bool {
        matches!(
            self,
            NdRequest::Neighbours { .. }
                | NdRequest::Prefixes
                | NdRequest::Routers
                | NdRequest::Interfaces { .. }
                | NdRequest::Dns
                | NdRequest::Counters { .. }
                | NdRequest::Default { name: None }
                | NdRequest::Policies
                | NdRequest::Order(_)
        )
    }
}

/// An answer about IPv6.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NdReply {
    /// [`NdRequest::Neighbours`].
    Neighbours {
        /// Entries.
        list: Vec<NdEntry>,
        /// Cursor for more, 0 at the end.
        next: u32,
    },
    /// [`NdRequest::Prefixes`].
    Prefixes(Vec<NdPrefix>),
    /// [`NdRequest::Routers`].
    Routers(Vec<NdRouter>),
    /// [`NdRequest::Interfaces`].
    Interfaces(Vec<NdIface>),
    /// [`NdRequest::Dns`].
    Dns(Vec<NdDns>),
    /// [`NdRequest::Default`]; empty for none.
    Default(String),
    /// [`NdRequest::Policies`].
    Policies(Vec<NdPolicy>),
    /// [`NdRequest::Order`].
    Order(Vec<core::net::IpAddr>),
}
