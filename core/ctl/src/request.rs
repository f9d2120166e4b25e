//! Requests, and the shape of every reply.

use crate::{
    AddrInfo, ArpEntry, DriverInfo, GroupInfo, Ifconf, ModuleInfo, NdReply, NdRequest, NicInfo, ProtoStats,
    RouteInfo, SockInfo, StackInfo,
};
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};
use iopkt_base::Errno;
use serde::{Deserialize, Serialize};

/// What a tool asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Variant, version, limits, uptime.
    Stack,
    /// All interfaces, or the one of this name (an enXX alias is accepted).
    Interfaces {
        /// `None` for all.
        name: Option<String>,
    },
    /// Names of the interface cloners (`ifconfig -C`).
    Cloners,
    /// Sets and clears flag bits (only those a user may change; see [`crate::IFF_USER`]).
    SetFlags {
        /// Interface.
        name: String,
        /// Bits to set.
        set: u32,
        /// Bits to clear.
        clear: u32,
    },
    /// Adds an address, or with `replace` sets the primary one.
    AddAddr {
        /// Interface.
        name: String,
        /// The address with its mask.
        addr: AddrInfo,
        /// True for `ifconfig IF ADDR` without `alias`.
        replace: bool,
    },
    /// Removes an address; `None` removes the first IPv4 one.
    DelAddr {
        /// Interface.
        name: String,
        /// The address.
        addr: Option<IpAddr>,
    },
    /// Sets the MTU in bytes.
    SetMtu {
        /// Interface.
        name: String,
        /// Bytes of network-layer packet.
        mtu: u32,
    },
    /// Sets the routing metric.
    SetMetric {
        /// Interface.
        name: String,
        /// Metric.
        metric: u32,
    },
    /// Enables and disables capabilities ([`crate::IFCAP_IP4CSUM`] ...), receive and transmit apart.
    SetCaps {
        /// Interface.
        name: String,
        /// New enabled set, receive.
        rx: u32,
        /// New enabled set, transmit.
        tx: u32,
    },
    /// Makes a pseudo-interface (`ifconfig lo1 create`).
    Create {
        /// Name with unit.
        name: String,
    },
    /// Removes an interface; the object of its driver is unloaded with its last one.
    Destroy {
        /// Interface.
        name: String,
    },
    /// Reads and zeroes the counters of an interface (`ifconfig -z`).
    ZeroCounters {
        /// Interface.
        name: String,
    },
    /// The routing table, from entry `cursor` on.
    Routes {
        /// 0 to begin.
        cursor: u32,
    },
    /// Adds a route.
    AddRoute(RouteInfo),
    /// Changes the gateway or interface of a route.
    ChangeRoute(RouteInfo),
    /// Deletes a route; the gateway must match when several exist.
    DelRoute(RouteInfo),
    /// The route that a packet to this address would take.
    GetRoute {
        /// Destination.
        dst: IpAddr,
    },
    /// Deletes all routes that have a gateway.
    FlushRoutes,
    /// The ARP table.
    Arp,
    /// Adds a permanent (or `temp`orary) entry.
    AddArp(ArpEntry),
    /// Deletes one entry, or with `None` all that are not permanent for local addresses.
    DelArp {
        /// Address.
        ip: Option<Ipv4Addr>,
        /// On this interface, `None` for all.
        ifname: Option<String>,
        /// Only what is answered for others without being used.
        proxy: bool,
    },
    /// Sockets, from entry `cursor` on.
    Sockets {
        /// 0 to begin.
        cursor: u32,
    },
    /// Protocol counters (`netstat -s`) and drop reasons.
    Stats,
    /// What a driver knows of its hardware.
    NicInfo {
        /// Interface, `None` for all.
        name: Option<String>,
    },
    /// Loads a driver or module (`mount -T io-pkt`). Answered when the load has ended.
    Load {
        /// Bare file name or full path.
        object: String,
        /// Option list, as after `-d`.
        options: String,
    },
    /// Unloads a legacy driver (`umount`); native drivers refuse with a hint.
    Unload {
        /// What the user named.
        what: String,
    },
    /// Loaded drivers and modules.
    Loaded,
    /// A variable of the sysctl tree: `None` value reads, else writes. Name `""` lists all.
    Sysctl {
        /// Dotted name.
        name: String,
        /// New value.
        value: Option<String>,
    },
    /// Stops the stack in good order (SIGTERM's way, for tests and scripts).
    Shutdown,
    /// Multicast groups that the interfaces listen to.
    Groups,
    /// Selects a medium, one of [`Ifconf::media_words`].
    SetMedia {
        /// Interface.
        name: String,
        /// Media word.
        media: u32,
    },
    /// About IPv6.
    Nd(NdRequest),
}

/// What comes back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// Done.
    Ok,
    /// Failed; `why` names what, why and what to do, or is empty where the errno says it all.
    Err {
        /// POSIX error.
        errno: Errno,
        /// Explanation for people.
        why: String,
    },
    /// [`Request::Stack`].
    Stack(StackInfo),
    /// [`Request::Interfaces`].
    Interfaces(Vec<Ifconf>),
    /// [`Request::Cloners`], [`Request::Create`] (the name made), [`Request::Load`] (interfaces made).
    Names(Vec<String>),
    /// [`Request::Routes`], [`Request::GetRoute`]; `next` is the cursor for more, 0 at the end.
    Routes {
        /// Entries.
        list: Vec<RouteInfo>,
        /// Cursor.
        next: u32,
    },
    /// [`Request::Arp`].
    Arp(Vec<ArpEntry>),
    /// [`Request::Sockets`].
    Sockets {
        /// Entries.
        list: Vec<SockInfo>,
        /// Cursor, 0 at the end.
        next: u32,
    },
    /// [`Request::Stats`].
    Stats(ProtoStats),
    /// [`Request::NicInfo`].
    NicInfo(Vec<NicInfo>),
    /// [`Request::Loaded`].
    Loaded {
        /// Drivers.
        drivers: Vec<DriverInfo>,
        /// Stack modules.
        modules: Vec<ModuleInfo>,
    },
    /// [`Request::Sysctl`].
    Sysctl(Vec<(String, String)>),
    /// [`Request::Groups`].
    Groups(Vec<GroupInfo>),
    /// [`Request::Nd`].
    Nd(NdReply),
}

impl Reply {
    /// A failure that needs no more words than its errno.
    pub fn err(errno: Errno) -> Reply {
        Reply::Err { errno, why: String::new() }
    }

    /// A failure with an explanation.
    pub fn why(errno: Errno, why: impl Into<String>) -> Reply {
        Reply::Err { errno, why: why.into() }
    }
}
