//! AF_NETLINK sockets of NETLINK_ROUTE (netlink(7), rtnetlink(7)): what this stack has, for Linux programs.
//!
//! Served are the questions of getifaddrs(3), if_nameindex(3), `ip` and Go's net package: links, addresses, routes
//! and neighbours, one or all of them, and the multicast groups that tell of changes. Everything else, changes
//! above all, is answered with EOPNOTSUPP: configuration is ifconfig's and route's, with their permission.
//!
//! A dump is made a page at a time, as fast as the program takes it, in messages of less than 4096 bytes (the
//! buffer of glibc and Go).

use crate::Host;
use crate::ioctl::linux_flags;
use crate::server::Server;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use iopkt_base::{Errno, Result};
use iopkt_ctl::{AddrInfo, ArpEntry, IfKind, Ifconf, LinkState, Reply, Request, RouteInfo, iff, rtf};
use iopkt_sockproto::linux::{AF_INET, AF_INET6};
use iopkt_stack::{LO0, RtKind, RtNote, Shard};

/// Bytes of one message to the program.
const DATAGRAM: usize = 3600;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_MULTI: u16 = 2;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const NEWLINK: u16 = 16;
const DELLINK: u16 = 17;
const GETLINK: u16 = 18;
const NEWADDR: u16 = 20;
const DELADDR: u16 = 21;
const GETADDR: u16 = 22;
const NEWROUTE: u16 = 24;
const DELROUTE: u16 = 25;
const GETROUTE: u16 = 26;
const NEWNEIGH: u16 = 28;
const GETNEIGH: u16 = 30;
/// The header, `struct nlmsghdr`.
const HDR: usize = 16;

const GROUP_LINK: u32 = 1;
const GROUP_IPV4_IFADDR: u32 = 0x10;
const GROUP_IPV4_ROUTE: u32 = 0x40;
const GROUP_IPV6_IFADDR: u32 = 0x100;
const GROUP_IPV6_ROUTE: u32 = 0x400;

/// Netlink's part of a routing socket.
#[derive(Debug, Default)]
pub(crate) struct Netlink {
    /// `nl_pid`, 0 until it is bound.
    port: u32,
    groups: u32,
    dump: Option<Dump>,
}

/// A listing under way.
#[derive(Debug)]
struct Dump {
    ty: u16,
    family: u8,
    seq: u32,
    /// Where the next page begins; `None`: the last one was made.
    next: Option<u32>,
    pending: VecDeque<Vec<u8>>,
}

impl Netlink {
    pub fn bind(&mut self, port: u32, groups: u32) {
        (self.port, self.groups) = (if port == 0 { self.port } else { port }, groups);
    }

    /// Address of the socket: who has none gets the number of its process, as the kernel does it.
    pub fn name(&mut self, pid: u32) -> (u32, u32) {
        if self.port == 0 {
            self.port = pid;
        }
        (self.port, self.groups)
    }

    /// setsockopt(2) at SOL_NETLINK.
    pub fn set_option(&mut self, name: i32, v: i32) -> Result<()> {
        let bit = || u32::try_from(v).ok().filter(|v| (1..=32).contains(v)).map(|v| 1u32 << (v - 1));
        match name {
            1 => self.groups |= bit().ok_or(Errno::EINVAL)?,
            2 => self.groups &= !bit().ok_or(Errno::EINVAL)?,
            // PKTINFO, BROADCAST_ERROR, NO_ENOBUFS, CAP_ACK, EXT_ACK: they ask for more than is ever sent.
            3..=5 | 10 | 11 => {}
            _ => return Err(Errno::ENOPROTOOPT),
        }
        Ok(())
    }
}

/// A message under construction.
struct Out(Vec<u8>);

impl Out {
    fn begin(ty: u16, flags: u16, seq: u32, port: u32) -> Out {
        let mut v = Vec::with_capacity(256);
        v.extend_from_slice(&[0; 4]);
        v.extend_from_slice(&ty.to_ne_bytes());
        v.extend_from_slice(&flags.to_ne_bytes());
        v.extend_from_slice(&seq.to_ne_bytes());
        v.extend_from_slice(&port.to_ne_bytes());
        Out(v)
    }

    fn raw(&mut self, b: &[u8]) -> &mut Out {
        self.0.extend_from_slice(b);
        self
    }

    fn attr(&mut self, ty: u16, b: &[u8]) -> &mut Out {
        self.raw(&((4 + b.len()) as u16).to_ne_bytes()).raw(&ty.to_ne_bytes()).raw(b);
        let n = self.0.len().next_multiple_of(4);
        self.0.resize(n, 0);
        self
    }

    fn u32(&mut self, ty: u16, v: u32) -> &mut Out {
        self.attr(ty, &v.to_ne_bytes())
    }

    fn ip(&mut self, ty: u16, a: IpAddr) -> &mut Out {
        match a {
            IpAddr::V4(a) => self.attr(ty, &a.octets()),
            IpAddr::V6(a) => self.attr(ty, &a.octets()),
        }
    }

    fn text(&mut self, ty: u16, s: &str) -> &mut Out {
        let mut b = Vec::from(s.as_bytes());
        b.push(0);
        self.attr(ty, &b)
    }

    fn end(mut self) -> Vec<u8> {
        let n = self.0.len() as u32;
        self.0[..4].copy_from_slice(&n.to_ne_bytes());
        self.0
    }
}

fn af(v4: bool) -> u8 {
    (if v4 { AF_INET } else { AF_INET6 }) as u8
}

fn link(ty: u16, flags: u16, seq: u32, port: u32, i: &Ifconf) -> Vec<u8> {
    let kind: u16 = match i.kind {
        IfKind::Ethernet => 1,
        IfKind::Loopback => 772,
        IfKind::PointToPoint => 512,
    };
    let up = i.flags & iff::UP != 0;
    let carrier = up && i.link != LinkState::Down;
    let lower = if carrier { 0x1_0000 } else { 0 };
    let mut o = Out::begin(ty, flags, seq, port);
    o.raw(&[0, 0]).raw(&kind.to_ne_bytes()).raw(&i.index.to_ne_bytes());
    let running = if carrier { u32::MAX } else { !0x40 };
    o.raw(&((u32::from(linux_flags(i.flags)) & running) | lower).to_ne_bytes()).raw(&[0xff; 4]);
    o.text(3, &i.name).u32(13, 1000).attr(16, &[if carrier { 6 } else { 2 }]).attr(17, &[0]);
    o.u32(4, i.mtu).u32(27, 0).attr(33, &[carrier.into()]).text(6, "noqueue");
    if i.kind == IfKind::Ethernet {
        o.attr(1, &i.mac).attr(2, &[0xff; 6]);
    } else if i.kind == IfKind::Loopback {
        o.attr(1, &[0; 6]).attr(2, &[0; 6]);
    }
    let c = &i.counters;
    let n = [
        c.ipackets,
        c.opackets,
        c.ibytes,
        c.obytes,
        c.ierrors,
        c.oerrors,
        c.iqdrops,
        c.oqdrops,
        c.imcasts,
        c.collisions,
    ];
    let (mut s64, mut s32) = ([0u8; 24 * 8], [0u8; 24 * 4]);
    for (at, v) in n.iter().enumerate() {
        s64[at * 8..][..8].copy_from_slice(&v.to_ne_bytes());
        s32[at * 4..][..4].copy_from_slice(&(*v as u32).to_ne_bytes());
    }
    o.attr(23, &s64).attr(7, &s32);
    o.end()
}

fn addr(ty: u16, flags: u16, seq: u32, port: u32, i: &Ifconf, a: &AddrInfo) -> Vec<u8> {
    // RT_SCOPE_HOST, RT_SCOPE_LINK, RT_SCOPE_UNIVERSE; IFA_F_PERMANENT.
    let scope = match a.addr {
        x if x.is_loopback() => 254,
        IpAddr::V4(x) if x.is_link_local() => 253,
        IpAddr::V6(x) if x.segments()[0] & 0xffc0 == 0xfe80 => 253,
        _ => 0,
    };
    let mut o = Out::begin(ty, flags, seq, port);
    o.raw(&[af(a.addr.is_ipv4()), a.prefix_len, 0x80, scope]).raw(&i.index.to_ne_bytes());
    // IFA_ADDRESS is the peer where there is one.
    o.ip(1, a.peer.unwrap_or(a.addr)).ip(2, a.addr);
    if let Some(b) = a.broadcast {
        o.ip(4, b);
    }
    o.text(3, &i.name).u32(8, 0x80);
    // struct ifa_cacheinfo: for ever.
    o.attr(6, &[[0xff; 8], [0; 8]].concat());
    o.end()
}

fn route(ty: u16, flags: u16, seq: u32, port: u32, r: &RouteInfo, cloned: bool) -> Vec<u8> {
    let local = r.ifindex == LO0 && r.flags & rtf::HOST != 0 && r.src == Some(r.dst);
    // RT_SCOPE_*, RTN_*, RTPROT_* and the table.
    let (kind, scope, table) = match () {
        () if r.flags & rtf::BLACKHOLE != 0 => (6, 0, 254),
        () if r.flags & rtf::REJECT != 0 => (7, 0, 254),
        () if local => (2, 254, 255),
        () if r.gateway.is_some() => (1, 0, 254),
        () => (1, 253, 254),
    };
    let proto = match () {
        () if r.flags & rtf::DYNAMIC != 0 => 1,
        () if r.flags & rtf::STATIC != 0 => 4,
        () => 2,
    };
    let mut o = Out::begin(ty, flags, seq, port);
    o.raw(&[af(r.dst.is_ipv4()), r.prefix_len, 0, 0, table, proto, scope, kind]);
    o.raw(&(if cloned { 0x200u32 } else { 0 }).to_ne_bytes());
    o.u32(15, table.into());
    if r.prefix_len != 0 {
        o.ip(1, r.dst);
    }
    if let (Some(g), 1) = (r.gateway, kind) {
        o.ip(5, g);
    }
    o.u32(4, r.ifindex);
    if let Some(s) = r.src {
        o.ip(7, s);
    }
    if r.mtu != 0 {
        // RTA_METRICS with RTAX_LOCK and RTAX_MTU.
        let mut m = Out(Vec::new());
        if r.locks != 0 {
            m.u32(1, 1 << 2);
        }
        m.u32(2, r.mtu);
        o.attr(8, &m.0);
    }
    o.end()
}

fn neigh(seq: u32, port: u32, shard: &Shard, e: &ArpEntry) -> Vec<u8> {
    let index = e.ifname.as_deref().map_or(0, |n| shard.net.ifindex_of(n));
    // NUD_PERMANENT, NUD_INCOMPLETE, NUD_REACHABLE.
    let state: u16 = match (e.permanent, e.mac) {
        (true, _) => 0x80,
        (false, None) => 0x01,
        (false, Some(_)) => 0x02,
    };
    let mut o = Out::begin(NEWNEIGH, NLM_F_MULTI, seq, port);
    o.raw(&[af(true), 0, 0, 0]).raw(&index.to_ne_bytes()).raw(&state.to_ne_bytes());
    o.raw(&[if e.published { 8 } else { 0 }, 1]).ip(1, e.ip.into());
    if let Some(m) = &e.mac {
        o.attr(2, m);
    }
    o.end()
}

/// One attribute behind a family header of `at` bytes.
fn find_attr(body: &[u8], at: usize, ty: u16) -> Option<&[u8]> {
    let mut b = body.get(at..)?;
    while b.len() >= 4 {
        let len = usize::from(u16::from_ne_bytes([b[0], b[1]]));
        let v = b.get(4..len)?;
        if u16::from_ne_bytes([b[2], b[3]]) & 0x3fff == ty {
            return Some(v);
        }
        b = b.get(len.next_multiple_of(4)..).unwrap_or(&[]);
    }
    None
}

fn an_ip(b: &[u8]) -> Option<IpAddr> {
    match b.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(b).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(b).ok()?).into()),
        _ => None,
    }
}

fn interfaces(shard: &mut Shard, name: Option<String>) -> Result<Vec<Ifconf>> {
    match shard.ctl(&Request::Interfaces { name }) {
        Some(Reply::Interfaces(l)) => Ok(l),
        _ => Err(Errno::ENODEV),
    }
}

/// The link that a RTM_GETLINK names by index or name.
fn one_link(shard: &mut Shard, body: &[u8]) -> Result<Ifconf> {
    let index = body.get(4..8).map_or(0, |b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]));
    let name = find_attr(body, 16, 3).or_else(|| find_attr(body, 16, 53)).map(|n| {
        let end = n.iter().position(|b| *b == 0).unwrap_or(n.len());
        String::from_utf8_lossy(&n[..end]).into_owned()
    });
    let list = match (index, name) {
        (0, None) => return Err(Errno::EINVAL),
        (0, Some(n)) => interfaces(shard, Some(n))?,
        (i, _) => interfaces(shard, None)?.into_iter().filter(|x| x.index == i).collect(),
    };
    list.into_iter().next().ok_or(Errno::ENODEV)
}

fn one_route(shard: &mut Shard, body: &[u8]) -> Result<RouteInfo> {
    let dst = find_attr(body, 12, 1).and_then(an_ip).ok_or(Errno::EINVAL)?;
    match shard.ctl(&Request::GetRoute { dst }) {
        Some(Reply::Routes { list, .. }) => {
            let r = list.into_iter().next().ok_or(Errno::ENETUNREACH)?;
            let src = r.src.or_else(|| shard.net.hop(dst, 0, false).ok()?.src);
            Ok(RouteInfo { dst, prefix_len: if dst.is_ipv4() { 32 } else { 128 }, src, ..r })
        }
        _ => Err(Errno::ENETUNREACH),
    }
}

/// Packs messages into datagrams.
fn pack(list: impl IntoIterator<Item = Vec<u8>>) -> VecDeque<Vec<u8>> {
    let mut out: VecDeque<Vec<u8>> = VecDeque::new();
    for m in list {
        match out.back_mut() {
            Some(last) if last.len() + m.len() <= DATAGRAM => last.extend_from_slice(&m),
            _ => out.push_back(m),
        }
    }
    out
}

impl Dump {
    /// Makes the next page.
    fn page(&mut self, shard: &mut Shard, port: u32) {
        let Some(cursor) = self.next.take() else { return };
        let wanted = |v4: bool| self.family == 0 || self.family == af(v4);
        let (seq, f) = (self.seq, NLM_F_MULTI);
        let list: Vec<Vec<u8>> = match self.ty {
            GETLINK => {
                let l = interfaces(shard, None).unwrap_or_default();
                l.iter().map(|i| link(NEWLINK, f, seq, port, i)).collect()
            }
            GETADDR => interfaces(shard, None)
                .unwrap_or_default()
                .iter()
                .flat_map(|i| i.addrs.iter().map(move |a| (i, a)))
                .filter(|(_, a)| wanted(a.addr.is_ipv4()))
                .map(|(i, a)| addr(NEWADDR, f, seq, port, i, a))
                .collect(),
            GETROUTE => match shard.ctl(&Request::Routes { cursor }) {
                Some(Reply::Routes { list, next }) => {
                    self.next = (next != 0).then_some(next);
                    let main = list.iter().filter(|r| r.flags & rtf::LLINFO == 0 && wanted(r.dst.is_ipv4()));
                    main.map(|r| route(NEWROUTE, f, seq, port, r, false)).collect()
                }
                _ => Vec::new(),
            },
            _ => match shard.ctl(&Request::Arp) {
                Some(Reply::Arp(l)) if wanted(true) => l.iter().map(|e| neigh(seq, port, shard, e)).collect(),
                _ => Vec::new(),
            },
        };
        self.pending = pack(list);
        if self.next.is_none() {
            let mut o = Out::begin(NLMSG_DONE, NLM_F_MULTI, seq, port);
            o.raw(&[0; 4]);
            self.pending.push_back(o.end());
        }
    }
}

impl<H: Host> Server<H> {
    /// What a program wrote: one message or several.
    pub(crate) fn netlink_request(&mut self, shard: &mut Shard, k: u32, mut msg: &[u8]) -> Result<()> {
        while msg.len() >= HDR {
            let len = u32::from_ne_bytes([msg[0], msg[1], msg[2], msg[3]]) as usize;
            // As in Linux, what follows and is no message is left alone: programs send their whole buffer.
            let Some(m) = msg.get(..len).filter(|_| len >= HDR) else { break };
            self.one_netlink(shard, k, m);
            msg = msg.get(len.next_multiple_of(4)..).unwrap_or(&[]);
        }
        Ok(())
    }

    fn one_netlink(&mut self, shard: &mut Shard, k: u32, m: &[u8]) {
        let (ty, flags) = (u16::from_ne_bytes([m[4], m[5]]), u16::from_ne_bytes([m[6], m[7]]));
        let seq = u32::from_ne_bytes([m[8], m[9], m[10], m[11]]);
        let body = &m[HDR..];
        let Some(r) = self.routing_mut(k) else { return };
        let pid = r.pid;
        let Some(n) = &mut r.netlink else { return };
        let (port, _) = n.name(pid);
        // NLMSG_NOOP and what is no request need no answer.
        if ty < 16 {
            return;
        }
        let known = matches!(ty, GETLINK | GETADDR | GETROUTE | GETNEIGH);
        if known && flags & NLM_F_DUMP != 0 {
            if n.dump.is_some() {
                return self.netlink_error(k, m, port, Some(Errno::EBUSY));
            }
            let family = body.first().copied().unwrap_or(0);
            let family =
                if i32::from(family) == AF_INET || i32::from(family) == AF_INET6 { family } else { 0 };
            n.dump = Some(Dump { ty, family, seq, next: Some(0), pending: VecDeque::new() });
            self.continue_dump(shard, k);
            return;
        }
        let answer = match ty {
            GETLINK => one_link(shard, body).map(|i| link(NEWLINK, 0, seq, port, &i)),
            GETROUTE => one_route(shard, body).map(|r| route(NEWROUTE, 0, seq, port, &r, true)),
            _ => Err(Errno::EOPNOTSUPP),
        };
        match answer {
            Ok(b) => {
                self.put_routing(k, &b);
                if flags & NLM_F_ACK != 0 {
                    self.netlink_error(k, m, port, None);
                }
            }
            Err(e) => self.netlink_error(k, m, port, Some(e)),
        }
    }

    /// NLMSG_ERROR, which with 0 is the acknowledgement.
    fn netlink_error(&mut self, k: u32, m: &[u8], port: u32, e: Option<Errno>) {
        let seq = u32::from_ne_bytes([m[8], m[9], m[10], m[11]]);
        let mut o = Out::begin(NLMSG_ERROR, 0, seq, port);
        o.raw(&(-e.map_or(0, |e| e.raw())).to_ne_bytes()).raw(&m[..HDR]);
        self.put_routing(k, &o.end());
    }

    /// Sends more of a listing; whether one is under way.
    pub(crate) fn continue_dump(&mut self, shard: &mut Shard, k: u32) -> bool {
        loop {
            let Some(sk) = self.socks.get_mut(k as usize) else { return false };
            let crate::sock::State::Routing(r) = &mut sk.state else { return false };
            let Some(n) = &mut r.netlink else { return false };
            let Some(d) = &mut n.dump else { return false };
            if !sk.writable || !r.out.is_empty() {
                return true;
            }
            let Some(m) = d.pending.front() else {
                if d.next.is_none() {
                    n.dump = None;
                    return false;
                }
                d.page(shard, n.port);
                continue;
            };
            if self.host.send_msg(sk.end, &[], m) == Err(Errno::EAGAIN) {
                sk.writable = false;
            } else {
                d.pending.pop_front();
            }
        }
    }

    /// Tells the members of the groups.
    pub(crate) fn tell_netlink(&mut self, shard: &mut Shard, n: &RtNote) {
        let v = |v4: bool, four, six| if v4 { four } else { six };
        let (group, m) = match n {
            RtNote::IfInfo(i) => (GROUP_LINK, link(NEWLINK, 0, 0, 0, i)),
            RtNote::IfAnnounce { name, arrived: true, .. } => {
                match interfaces(shard, Some(name.clone())).ok().and_then(|l| l.into_iter().next()) {
                    Some(i) => (GROUP_LINK, link(NEWLINK, 0, 0, 0, &i)),
                    None => return,
                }
            }
            RtNote::IfAnnounce { index, name, arrived: false } => {
                let mut o = Out::begin(DELLINK, 0, 0, 0);
                o.raw(&[0; 4]).raw(&index.to_ne_bytes()).raw(&[0; 4]).raw(&[0xff; 4]).text(3, name);
                (GROUP_LINK, o.end())
            }
            RtNote::Addr { what, iface, addr: a } => {
                let ty = if *what == iopkt_stack::AddrNote::Removed { DELADDR } else { NEWADDR };
                let group = v(a.addr.is_ipv4(), GROUP_IPV4_IFADDR, GROUP_IPV6_IFADDR);
                (group, addr(ty, 0, 0, 0, iface, a))
            }
            RtNote::Route { kind, route: r, .. } => {
                let ty = match kind {
                    RtKind::Add | RtKind::Change | RtKind::Redirect | RtKind::Lock => NEWROUTE,
                    RtKind::Delete => DELROUTE,
                    RtKind::Losing => return,
                };
                let group = v(r.dst.is_ipv4(), GROUP_IPV4_ROUTE, GROUP_IPV6_ROUTE);
                (group, route(ty, 0, 0, 0, r, false))
            }
            RtNote::Miss(_) | RtNote::Neigh { .. } => return,
        };
        for k in self.routing.clone() {
            let member =
                self.routing_mut(k).and_then(|r| r.netlink.as_ref()).is_some_and(|n| n.groups & group != 0);
            if member {
                self.put_routing(k, &m);
            }
        }
    }
}
