//! Routes, neighbours, sockets, counters, drivers.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use serde::{Deserialize, Serialize};

/// Route flags (NetBSD's `RTF_*` values).
#[allow(missing_docs)]
pub mod rtf {
    pub const UP: u32 = 0x1;
    pub const GATEWAY: u32 = 0x2;
    pub const HOST: u32 = 0x4;
    pub const REJECT: u32 = 0x8;
    pub const DYNAMIC: u32 = 0x10;
    pub const MODIFIED: u32 = 0x20;
    /// Only in messages of routing sockets: the request was carried out.
    pub const DONE: u32 = 0x40;
    pub const CLONING: u32 = 0x100;
    pub const LLINFO: u32 = 0x400;
    pub const STATIC: u32 = 0x800;
    pub const BLACKHOLE: u32 = 0x1000;
    pub const CLONED: u32 = 0x2000;
    pub const PROTO2: u32 = 0x4000;
    pub const PROTO1: u32 = 0x8000;
    /// The bits that a user may give a route.
    pub const USER: u32 = REJECT | BLACKHOLE | PROTO1 | PROTO2;
    /// Every bit with its name, as `route get` and `route monitor` print them.
    pub const NAMES: &[(u32, &str)] = &[
        (UP, "UP"),
        (GATEWAY, "GATEWAY"),
        (HOST, "HOST"),
        (REJECT, "REJECT"),
        (DYNAMIC, "DYNAMIC"),
        (MODIFIED, "MODIFIED"),
        (DONE, "DONE"),
        (CLONING, "CLONING"),
        (LLINFO, "LLINFO"),
        (STATIC, "STATIC"),
        (BLACKHOLE, "BLACKHOLE"),
        (CLONED, "CLONED"),
        (PROTO2, "PROTO2"),
        (PROTO1, "PROTO1"),
    ];
    /// Every bit with its letter, in `netstat -r`'s order (NetBSD's: `UHLc`, `UGRS`).
    pub const LETTERS: &[(u32, char)] = &[
        (UP, 'U'),
        (GATEWAY, 'G'),
        (HOST, 'H'),
        (REJECT, 'R'),
        (DYNAMIC, 'D'),
        (MODIFIED, 'M'),
        (CLONING, 'C'),
        (LLINFO, 'L'),
        (STATIC, 'S'),
        (CLONED, 'c'),
        (BLACKHOLE, 'B'),
        (PROTO1, '1'),
        (PROTO2, '2'),
    ];
}

/// One route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteInfo {
    /// Destination prefix.
    pub dst: IpAddr,
    /// Its length in bits.
    pub prefix_len: u8,
    /// Next hop, `None` for on-link.
    pub gateway: Option<IpAddr>,
    /// Interface; on a request `None` means "the one that reaches the gateway".
    pub ifname: Option<String>,
    /// [`rtf`] bits.
    pub flags: u32,
    /// Path MTU if fixed, 0 for the interface's.
    pub mtu: u32,
    /// Users of the entry.
    pub refs: u32,
    /// Packets sent by it.
    pub used: u64,
    /// Source address that packets by it get.
    pub src: Option<IpAddr>,
    /// Index of the interface: `link#N` stands in the gateway column of an on-link route. 0 on a request.
    pub ifindex: u32,
    /// Link-level address, for an entry cloned from an on-link route ([`rtf::LLINFO`]). Ignored on a request.
    pub link: Option<[u8; 6]>,
    /// Metrics that the network may not change (`route -lock`): [`RTV_MTU`] or 0.
    pub locks: u32,
    /// The link of a destination of link-local scope, which is not `ifname` where the address is our own (that is on lo0). On a request
    /// `None` means `ifname`.
    pub zone: Option<String>,
    /// Who put it there. Ignored on a request.
    pub origin: RouteOrigin,
    /// Seconds until it ends by itself, `None` for never. Ignored on a request.
    pub expires: Option<u32>,
    /// Who put it there and how much it costs, in the numbers of the program that asked (netlink's RTPROT_* and RTA_PRIORITY); 0: not
    /// said.
    pub label: (u8, u32),
    /// Router preference (RFC 4191): -1 low, 0 medium, 1 high. Ignored on a request.
    pub preference: i8,
}

/// Who put a route into the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RouteOrigin {
    /// An address of an interface: the network that it is in.
    Connected,
    /// An own address.
    Local,
    /// A user or a program.
    #[default]
    Static,
    /// An ICMP redirect.
    Redirect,
    /// A router's advertisement.
    Advertised,
    /// A neighbour of a network ([`rtf::LLINFO`]).
    Neighbour,
}

impl RouteInfo {
    /// A route to this prefix of which nothing else is said.
    pub fn to(dst: IpAddr, prefix_len: u8) -> RouteInfo {
        RouteInfo {
            dst,
            prefix_len,
            gateway: None,
            ifname: None,
            flags: 0,
            mtu: 0,
            refs: 0,
            used: 0,
            src: None,
            ifindex: 0,
            link: None,
            locks: 0,
            zone: None,
            origin: RouteOrigin::Static,
            expires: None,
            label: (0, 0),
            preference: 0,
        }
    }
}

/// The one metric of a route that this stack keeps (NetBSD's `RTV_MTU`).
pub const RTV_MTU: u32 = 0x1;

/// One multicast group that an interface listens to (`netstat -g`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupInfo {
    /// Interface.
    pub ifname: String,
    /// Group.
    pub group: IpAddr,
    /// Memberships of sockets and of the stack itself.
    pub refs: u32,
    /// What is heard of it, all users together: all but `sources`, or with false these alone (RFC 3376, RFC 3810).
    pub exclude: bool,
    /// See `exclude`.
    pub sources: Vec<IpAddr>,
}

/// One ARP entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArpEntry {
    /// IPv4 address.
    pub ip: Ipv4Addr,
    /// Link-level address, `None` while incomplete.
    pub mac: Option<[u8; 6]>,
    /// Interface; on a request `None` means "the one whose network has the address".
    pub ifname: Option<String>,
    /// Never expires.
    pub permanent: bool,
    /// Answered for others (proxy).
    pub published: bool,
    /// Only answered for others, not used by this stack (`pub pro`).
    pub proxy: bool,
    /// Seconds until it expires, `None` for never.
    pub expires: Option<u32>,
}

/// One socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SockInfo {
    /// `tcp`, `udp`, `icmp`, `raw`.
    pub proto: String,
    /// 4 or 6.
    pub family: u8,
    /// Bytes waiting for the program.
    pub recv_q: u64,
    /// Bytes not yet acknowledged.
    pub send_q: u64,
    /// Local address.
    pub local: SocketAddr,
    /// Remote address, if connected.
    pub remote: Option<SocketAddr>,
    /// TCP state in netstat's words, empty for others.
    pub state: String,
    /// Process that made it, 0 for the stack itself.
    pub pid: u32,
    /// Its name in this stack (`netstat -A`).
    pub id: u64,
    /// Inode number of the programs' descriptor of it, 0 when there is none (any more).
    pub ino: u64,
    /// User that made it.
    pub uid: u32,
    /// The link of its addresses of link-local scope, if it has any.
    pub zone: Option<String>,
}

/// One named counter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    /// Group: `ip`, `icmp`, `tcp`, `udp`, `arp`, `igmp`, `drop`, `mbuf`, `socket`.
    pub group: String,
    /// What it counts, in netstat's words with `{}` where the number goes ("{} packets received").
    pub text: String,
    /// The count.
    pub value: u64,
}

/// All protocol counters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProtoStats {
    /// In the order in which they are printed.
    pub counters: Vec<Counter>,
}

/// What a driver says of its hardware; the order of `fields` is the order of printing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NicInfo {
    /// Interface.
    pub ifname: String,
    /// One line: what it is.
    pub description: String,
    /// Label and value; an empty label is a blank line.
    pub fields: Vec<(String, String)>,
}

/// A loaded driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriverInfo {
    /// `ecm`.
    pub name: String,
    /// File it was loaded from.
    pub path: String,
    /// Version text of its author.
    pub version: String,
    /// Option list it was given.
    pub options: String,
    /// Its interfaces.
    pub interfaces: Vec<String>,
}

/// A loaded stack module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleInfo {
    /// `pf-v4`.
    pub name: String,
    /// File it was loaded from.
    pub path: String,
    /// Its author's version text.
    pub version: String,
    /// Option list it was loaded with.
    pub options: String,
}

/// The stack as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackInfo {
    /// `io-pkt-v4-hc`.
    pub variant: String,
    /// Version of the program.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// Instance number of `-i`, if given.
    pub instance: Option<u32>,
    /// Prefix of `prefix=`.
    pub prefix: String,
    /// Seconds since the start.
    pub uptime: u64,
    /// Packet threads.
    pub threads: u32,
    /// Limits in force, by name.
    pub limits: Vec<(String, String)>,
}
