//! Messages of routing sockets, in NetBSD's layout (route(4), `include/iopkt/route.h` is the same for C).
//!
//! One message of the pair is one routing message: a header that depends on the type, then socket addresses in
//! the order of their bits in the `addrs` field, each padded to a multiple of eight bytes. All numbers are in the byte
//! order of the machine but those inside socket addresses. `u_long` is 64 bits on every machine.
//!
//! Link-local addresses of IPv6 have their zone inside, in KAME's form ([`iopkt_base::zone`]), as NetBSD's programs expect it; in a request
//! `sin6_scope_id` says it as well.

use crate::rtaddr::decode_addrs;
pub use crate::rtaddr::{Addrs, BSD_AF_INET, BSD_AF_INET6, BSD_AF_LINK, LinkAddr, Sa, if_name, rta};
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
    /// When it ends by itself, seconds since 1970 (UTC); 0 for never.
    pub expire: u64,
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
        /// What is special about an IPv6 address (`IN6_IFF_*`).
        addr_flags: u32,
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
                put(b, 64, &r.expire.to_ne_bytes());
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
            RtBody::Addr { index, flags, metric, addr_flags } => {
                put(b, 4, &addrs.to_ne_bytes());
                put(b, 8, &flags.to_ne_bytes());
                put(b, 12, &index.to_ne_bytes());
                put(b, 16, &metric.to_ne_bytes());
                put(b, 20, &addr_flags.to_ne_bytes());
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
                    expire: get_u64(m, 64),
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
                let b = RtBody::Addr {
                    index: get_u16(m, 12),
                    flags: get_u32(m, 8),
                    metric: get_u32(m, 16),
                    addr_flags: get_u32(m, 20),
                };
                (b, get_u32(m, 4))
            }
        };
        Some((RtMsg { ty, body, addrs: decode_addrs(addrs, tail)? }, rest))
    }
}
