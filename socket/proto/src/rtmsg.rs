//! Messages of routing sockets, in NetBSD's layout (route(4), `include/iopkt/route.h` is the same for C).
//!
//! One message of the pair is one routing message: a header that depends on the type, then socket addresses in
//! the order of their bits in the `addrs` field, each padded to a multiple of eight bytes. All numbers are in the byte
//! order of the machine but those inside socket addresses. `u_long` is 64 bits on every machine.

use crate::rw::{get, get_i32, get_u16, get_u32, get_u64, put};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Version of the layout.
pub const RTM_VERSION: u8 = 3;

/// Types of messages (`RTM_*`).
#[allow(missing_docs)]
pub mod rtm {
    pub const ADD: u8 = 0x1;
    pub const DELETE: u8 = 0x2;
    pub const CHANGE: u8 = 0x3;
    pub const GET: u8 = 0x4;
    pub const LOSING: u8 = 0x5;
    pub const REDIRECT: u8 = 0x6;
    pub const MISS: u8 = 0x7;
    pub const LOCK: u8 = 0x8;
    pub const NEWADDR: u8 = 0xc;
    pub const DELADDR: u8 = 0xd;
    pub const IFINFO: u8 = 0xf;
    pub const IFANNOUNCE: u8 = 0x10;
    /// Every type with its name and what `route monitor` says of it.
    pub const NAMES: &[(u8, &str, &str)] = &[
        (ADD, "RTM_ADD", "Add Route"),
        (DELETE, "RTM_DELETE", "Delete Route"),
        (CHANGE, "RTM_CHANGE", "Change Metrics, Flags or Gateway"),
        (GET, "RTM_GET", "Report Metrics"),
        (LOSING, "RTM_LOSING", "Kernel Suspects Partitioning"),
        (REDIRECT, "RTM_REDIRECT", "Told to use different route"),
        (MISS, "RTM_MISS", "Lookup failed on this address"),
        (LOCK, "RTM_LOCK", "fix specified metrics"),
        (NEWADDR, "RTM_NEWADDR", "address being added to iface"),
        (DELADDR, "RTM_DELADDR", "address being removed from iface"),
        (IFINFO, "RTM_IFINFO", "iface status change"),
        (IFANNOUNCE, "RTM_IFANNOUNCE", "iface arrival/departure"),
    ];
}

/// Bits of `addrs` (`RTA_*`).
#[allow(missing_docs)]
pub mod rta {
    pub const DST: u32 = 0x1;
    pub const GATEWAY: u32 = 0x2;
    pub const NETMASK: u32 = 0x4;
    pub const GENMASK: u32 = 0x8;
    pub const IFP: u32 = 0x10;
    pub const IFA: u32 = 0x20;
    pub const AUTHOR: u32 = 0x40;
    pub const BRD: u32 = 0x80;
}

/// AF_INET of socket addresses in messages.
pub const BSD_AF_INET: u8 = 2;
/// AF_LINK.
pub const BSD_AF_LINK: u8 = 18;
/// AF_INET6 as QNX and NetBSD number it.
pub const BSD_AF_INET6: u8 = 24;

/// `ifm_data.ifi_link_state`: the driver cannot tell.
pub const LINK_STATE_UNKNOWN: u32 = 0;
/// No carrier.
pub const LINK_STATE_DOWN: u32 = 1;
/// Active.
pub const LINK_STATE_UP: u32 = 2;

/// Length of `struct rt_msghdr`.
pub const RT_HDR: usize = 120;
/// Length of `struct if_msghdr`.
pub const IF_HDR: usize = 152;
/// Length of `struct ifa_msghdr`.
pub const IFA_HDR: usize = 24;
/// Length of `struct if_announcemsghdr`.
pub const ANN_HDR: usize = 24;
/// Longest message that [`RtMsg::encode`] makes: the longest header and eight addresses.
pub const RT_MAX: usize = IF_HDR + 8 * 32;

/// `sockaddr_dl`: an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkAddr {
    /// Index.
    pub index: u16,
    /// Type (`IFT_ETHER` 6, `IFT_LOOP` 24, `IFT_PPP` 23).
    pub ty: u8,
    /// Name, filled with zeros.
    pub name: [u8; 16],
    /// Link-level address.
    pub mac: Option<[u8; 6]>,
}

impl LinkAddr {
    /// The name as text.
    pub fn name(&self) -> &str {
        text(&self.name)
    }
}

/// One socket address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sa {
    /// `sockaddr_in`, `sockaddr_in6`.
    Ip(IpAddr),
    /// `sockaddr_dl`.
    Link(LinkAddr),
}

impl Sa {
    /// The IP address.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Sa::Ip(a) => Some(*a),
            Sa::Link(_) => None,
        }
    }
}

/// The addresses of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Addrs {
    /// Destination.
    pub dst: Option<IpAddr>,
    /// Gateway: an address, or the interface of an on-link route.
    pub gateway: Option<Sa>,
    /// Prefix length.
    pub netmask: Option<u8>,
    /// Interface.
    pub ifp: Option<LinkAddr>,
    /// Address of the interface.
    pub ifa: Option<IpAddr>,
    /// Who redirected.
    pub author: Option<IpAddr>,
    /// Broadcast address, or the peer of a point-to-point link.
    pub brd: Option<IpAddr>,
}

/// `struct rt_msghdr`: ADD, DELETE, CHANGE, GET, LOSING, REDIRECT, MISS, LOCK.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouteMsg {
    /// Index of the interface.
    pub index: u16,
    /// `RTF_*` bits.
    pub flags: u32,
    /// Who asked.
    pub pid: i32,
    /// Its number for the request.
    pub seq: i32,
    /// Why it failed, 0 for success.
    pub errno: i32,
    /// Packets sent by it.
    pub used: u32,
    /// Metrics (`RTV_*` bits) that a request sets.
    pub inits: u64,
    /// Metrics that the network may not change.
    pub locks: u64,
    /// MTU in bytes, 0 for the interface's.
    pub mtu: u64,
}

/// `struct if_data` as far as this stack has it, in the order of its fields from `ifi_mtu` on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IfData {
    /// `IFT_*`.
    pub ty: u8,
    /// Length of a link-level address.
    pub addrlen: u8,
    /// Length of a link-level header.
    pub hdrlen: u8,
    /// `LINK_STATE_*`.
    pub link_state: u32,
    /// MTU, metric, baud rate; packets in, errors in, packets out, errors out, collisions; bytes in, bytes out, multicasts in,
    /// multicasts out, drops in, unknown protocol.
    pub numbers: [u64; 14],
}

/// What a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RtBody {
    /// About a route.
    Route(RouteMsg),
    /// IFINFO.
    IfInfo {
        /// Index.
        index: u16,
        /// `IFF_*` bits (BSD's).
        flags: u32,
        /// Type, link state, counters.
        data: IfData,
    },
    /// NEWADDR, DELADDR.
    Addr {
        /// Index of the interface.
        index: u16,
        /// Flags of the address.
        flags: u32,
        /// Metric of the interface.
        metric: u32,
    },
    /// IFANNOUNCE.
    Announce {
        /// Index.
        index: u16,
        /// Name, filled with zeros.
        name: [u8; 16],
        /// Departed otherwise.
        arrived: bool,
    },
}

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtMsg {
    /// [`rtm`] type.
    pub ty: u8,
    /// What it says.
    pub body: RtBody,
    /// Its addresses.
    pub addrs: Addrs,
}

/// A message's bytes.
#[derive(Clone, Copy)]
pub struct RtBytes {
    b: [u8; RT_MAX],
    n: usize,
}

impl RtBytes {
    /// The message.
    pub fn bytes(&self) -> &[u8] {
        self.b.get(..self.n).unwrap_or(&[])
    }

    fn zero(&mut self, n: usize) {
        self.n = (self.n + n).min(RT_MAX);
    }

    fn ip(&mut self, ip: IpAddr) {
        match ip {
            IpAddr::V4(a) => {
                put(&mut self.b, self.n, &[16, BSD_AF_INET]);
                put(&mut self.b, self.n + 4, &a.octets());
                self.zero(16);
            }
            IpAddr::V6(a) => {
                put(&mut self.b, self.n, &[28, BSD_AF_INET6]);
                put(&mut self.b, self.n + 8, &a.octets());
                self.zero(32);
            }
        }
    }

    fn link(&mut self, l: &LinkAddr) {
        let name = l.name().as_bytes();
        let alen = if l.mac.is_some() { 6 } else { 0 };
        let len = (8 + name.len() + alen).max(20);
        put(&mut self.b, self.n, &[len as u8, BSD_AF_LINK]);
        put(&mut self.b, self.n + 2, &l.index.to_ne_bytes());
        put(&mut self.b, self.n + 4, &[l.ty, name.len() as u8, alen as u8, 0]);
        put(&mut self.b, self.n + 8, name);
        if let Some(m) = &l.mac {
            put(&mut self.b, self.n + 8 + name.len(), m);
        }
        self.zero(len.next_multiple_of(8));
    }

    fn mask(&mut self, len: u8, v4: bool) {
        let bits = u128::MAX.checked_shl(128 - u32::from(len.min(128))).unwrap_or(0);
        self.ip(if v4 {
            IpAddr::V4(Ipv4Addr::from(u32::MAX.checked_shl(32 - u32::from(len.min(32))).unwrap_or(0)))
        } else {
            IpAddr::V6(Ipv6Addr::from(bits))
        });
    }
}

/// A text that ends at its first zero byte.
fn text(b: &[u8]) -> &str {
    let end = b.iter().position(|c| *c == 0).unwrap_or(b.len());
    core::str::from_utf8(b.get(..end).unwrap_or(&[])).unwrap_or("")
}

/// A name in a field of 16 bytes, cut to 15.
pub fn if_name(s: &str) -> [u8; 16] {
    let mut b = [0; 16];
    let n = s.len().min(15);
    put(&mut b, 0, s.as_bytes().get(..n).unwrap_or(&[]));
    b
}

impl RtMsg {
    /// A message about a route.
    pub fn route(ty: u8, msg: RouteMsg, addrs: Addrs) -> RtMsg {
        RtMsg { ty, body: RtBody::Route(msg), addrs }
    }

    /// The wire form.
    pub fn encode(&self) -> RtBytes {
        let mut o = RtBytes { b: [0; RT_MAX], n: 0 };
        let b = &mut o.b;
        b[2] = RTM_VERSION;
        b[3] = self.ty;
        let a = &self.addrs;
        let bit = |on: bool, bit: u32| if on { bit } else { 0 };
        let addrs = bit(a.dst.is_some(), rta::DST)
            | bit(a.gateway.is_some(), rta::GATEWAY)
            | bit(a.netmask.is_some(), rta::NETMASK)
            | bit(a.ifp.is_some(), rta::IFP)
            | bit(a.ifa.is_some(), rta::IFA)
            | bit(a.author.is_some(), rta::AUTHOR)
            | bit(a.brd.is_some(), rta::BRD);
        match &self.body {
            RtBody::Route(r) => {
                put(b, 4, &r.index.to_ne_bytes());
                put(b, 8, &r.flags.to_ne_bytes());
                put(b, 12, &addrs.to_ne_bytes());
                put(b, 16, &r.pid.to_ne_bytes());
                put(b, 20, &r.seq.to_ne_bytes());
                put(b, 24, &r.errno.to_ne_bytes());
                put(b, 28, &r.used.to_ne_bytes());
                put(b, 32, &r.inits.to_ne_bytes());
                put(b, 40, &r.locks.to_ne_bytes());
                put(b, 48, &r.mtu.to_ne_bytes());
                o.n = RT_HDR;
            }
            RtBody::IfInfo { index, flags, data } => {
                put(b, 4, &addrs.to_ne_bytes());
                put(b, 8, &flags.to_ne_bytes());
                put(b, 12, &index.to_ne_bytes());
                put(b, 16, &[data.ty, data.addrlen, data.hdrlen]);
                put(b, 20, &data.link_state.to_ne_bytes());
                for (i, v) in data.numbers.iter().enumerate() {
                    put(b, 24 + 8 * i, &v.to_ne_bytes());
                }
                o.n = IF_HDR;
            }
            RtBody::Addr { index, flags, metric } => {
                put(b, 4, &addrs.to_ne_bytes());
                put(b, 8, &flags.to_ne_bytes());
                put(b, 12, &index.to_ne_bytes());
                put(b, 16, &metric.to_ne_bytes());
                o.n = IFA_HDR;
            }
            RtBody::Announce { index, name, arrived } => {
                put(b, 4, &index.to_ne_bytes());
                put(b, 6, name);
                put(b, 22, &u16::from(!*arrived).to_ne_bytes());
                o.n = ANN_HDR;
            }
        }
        if !matches!(self.body, RtBody::Announce { .. }) {
            self.encode_addrs(&mut o);
        }
        let n = o.n as u16;
        put(&mut o.b, 0, &n.to_ne_bytes());
        o
    }

    fn encode_addrs(&self, o: &mut RtBytes) {
        let a = &self.addrs;
        let v4 = a.dst.or(a.ifa).is_none_or(|d| d.is_ipv4());
        if let Some(d) = a.dst {
            o.ip(d);
        }
        match &a.gateway {
            Some(Sa::Ip(g)) => o.ip(*g),
            Some(Sa::Link(l)) => o.link(l),
            None => {}
        }
        if let Some(n) = a.netmask {
            o.mask(n, v4);
        }
        if let Some(l) = &a.ifp {
            o.link(l);
        }
        for ip in [a.ifa, a.author, a.brd].into_iter().flatten() {
            o.ip(ip);
        }
    }

    /// Reads the first message of a buffer; also what is behind it. `None`: cut short, of another version, of
    /// an unknown type, or with addresses that are none.
    pub fn decode(m: &[u8]) -> Option<(RtMsg, &[u8])> {
        let len = usize::from(get_u16(m, 0));
        if m.len() < 4 || len > m.len() || m[2] != RTM_VERSION {
            return None;
        }
        let (m, rest) = m.split_at(len);
        let ty = *m.get(3)?;
        let hdr = match ty {
            rtm::ADD..=rtm::LOCK => RT_HDR,
            rtm::NEWADDR | rtm::DELADDR => IFA_HDR,
            rtm::IFINFO => IF_HDR,
            rtm::IFANNOUNCE => ANN_HDR,
            _ => return None,
        };
        let tail = m.get(hdr..)?;
        let (body, addrs) = match hdr {
            RT_HDR => {
                let r = RouteMsg {
                    index: get_u16(m, 4),
                    flags: get_u32(m, 8),
                    pid: get_i32(m, 16),
                    seq: get_i32(m, 20),
                    errno: get_i32(m, 24),
                    used: get_u32(m, 28),
                    inits: get_u64(m, 32),
                    locks: get_u64(m, 40),
                    mtu: get_u64(m, 48),
                };
                (RtBody::Route(r), get_u32(m, 12))
            }
            IF_HDR => {
                let mut numbers = [0; 14];
                for (i, v) in numbers.iter_mut().enumerate() {
                    *v = get_u64(m, 24 + 8 * i);
                }
                let [ty, addrlen, hdrlen] = get(m, 16);
                let data = IfData { ty, addrlen, hdrlen, link_state: get_u32(m, 20), numbers };
                (RtBody::IfInfo { index: get_u16(m, 12), flags: get_u32(m, 8), data }, get_u32(m, 4))
            }
            _ if ty == rtm::IFANNOUNCE => {
                let arrived = get_u16(m, 22) == 0;
                (RtBody::Announce { index: get_u16(m, 4), name: get(m, 6), arrived }, 0)
            }
            _ => {
                let b = RtBody::Addr { index: get_u16(m, 12), flags: get_u32(m, 8), metric: get_u32(m, 16) };
                (b, get_u32(m, 4))
            }
        };
        Some((RtMsg { ty, body, addrs: decode_addrs(addrs, tail)? }, rest))
    }
}

/// Takes the addresses behind a header apart.
fn decode_addrs(bits: u32, mut b: &[u8]) -> Option<Addrs> {
    let mut parts: [&[u8]; 8] = [&[]; 8];
    if bits >> 8 != 0 {
        return None;
    }
    for (i, part) in parts.iter_mut().enumerate().filter(|(i, _)| bits >> i & 1 != 0) {
        let _ = i;
        let len = usize::from(*b.first()?);
        // BSD's ROUNDUP: an address of length 0 (the mask of the default route) takes one unit.
        let room = len.max(1).next_multiple_of(8);
        *part = b.get(..len)?;
        b = b.get(room..).unwrap_or(&[]);
    }
    let has = |bit: u32| bits & bit != 0;
    let at = |bit: u32| parts[bit.trailing_zeros() as usize];
    let ip = |bit: u32| if has(bit) { sa(at(bit)).map(|s| s.ip()) } else { Some(None) };
    let mut a = Addrs { dst: ip(rta::DST)?, ..Addrs::default() };
    a.ifa = ip(rta::IFA)?;
    a.author = ip(rta::AUTHOR)?;
    a.brd = ip(rta::BRD)?;
    if has(rta::GATEWAY) {
        a.gateway = Some(sa(at(rta::GATEWAY))?);
    }
    if has(rta::IFP) {
        a.ifp = match sa(at(rta::IFP))? {
            Sa::Link(l) => Some(l),
            Sa::Ip(_) => None,
        };
    }
    if has(rta::NETMASK) {
        let v4 = a.dst.or(a.ifa).is_none_or(|d| d.is_ipv4());
        a.netmask = Some(mask_len(at(rta::NETMASK), v4)?);
    }
    Some(a)
}

fn sa(b: &[u8]) -> Option<Sa> {
    match (*b.get(1)?, b.len()) {
        (BSD_AF_INET, 8..) => Some(Sa::Ip(IpAddr::V4(Ipv4Addr::from(get::<4>(b, 4))))),
        (BSD_AF_INET6, 24..) => Some(Sa::Ip(IpAddr::V6(Ipv6Addr::from(get::<16>(b, 8))))),
        (BSD_AF_LINK, 8..) => {
            let (nlen, alen) = (usize::from(b[5]), usize::from(b[6]));
            let name = b.get(8..8 + nlen)?;
            let mut l = LinkAddr { index: get_u16(b, 2), ty: b[4], ..LinkAddr::default() };
            let n = name.len().min(15);
            put(&mut l.name, 0, name.get(..n)?);
            l.mac = if alen == 6 { b.get(8 + nlen..8 + nlen + 6)?.try_into().ok() } else { None };
            Some(Sa::Link(l))
        }
        _ => None,
    }
}

/// A netmask may be cut behind its last byte that is not zero, and need not have a family (BSD's habit).
fn mask_len(b: &[u8], v4: bool) -> Option<u8> {
    let (at, n) = if v4 { (4, 4) } else { (8, 16) };
    let mut ones = 0;
    let mut ended = false;
    for i in 0..n {
        let byte = b.get(at + i).copied().unwrap_or(0);
        if ended && byte != 0 || byte.leading_ones() + byte.trailing_zeros().min(8) < 8 {
            return None;
        }
        ones += byte.leading_ones() as u8;
        ended |= byte != 0xff;
    }
    Some(ones)
}
