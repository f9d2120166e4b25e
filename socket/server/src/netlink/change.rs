//! Requests that change something, as the configuration requests of ifconfig, route, arp and ndp.

use super::link::{self, interfaces, name_in};
use super::msg::{byte, find_attr, find_ip, find_u32, word};
use super::neigh::{self, NDMSG};
use super::route::{LOCAL, MAIN, RTMSG, rta, rtn};
use super::{DELADDR, DELNEIGH, DELROUTE, NEWADDR, NEWLINK, NEWNEIGH, NEWROUTE, SETLINK};
use crate::netlink::addr::ifa_f;
use alloc::string::String;
use core::net::IpAddr;
use iopkt_base::{Errno, zone};
use iopkt_ctl::{
    AddrInfo, AddrLife, AddrState, ArpEntry, IFF_USER, IfKind, Ifconf, NdEntry, NdRequest, NdState, RTV_MTU,
    Reply, Request, RouteInfo, iff, in6, rtf,
};
use iopkt_stack::Shard;

/// What a request's flags ask: NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE.
const REPLACE: u16 = 0x100;
const EXCL: u16 = 0x200;
const CREATE: u16 = 0x400;
/// Length of `struct ifaddrmsg`.
const IFADDR: usize = 8;

/// Why a request was not carried out.
#[derive(Debug)]
pub(super) struct Failure {
    pub errno: Errno,
    /// For people; may be empty.
    pub why: String,
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Failure {
        Failure { errno, why: String::new() }
    }
}

fn why(errno: Errno, why: &str) -> Failure {
    Failure { errno, why: why.into() }
}

type Done = Result<(), Failure>;

pub(super) fn is_one(ty: u16) -> bool {
    matches!(ty, NEWLINK | SETLINK | NEWADDR | DELADDR | NEWROUTE | DELROUTE | NEWNEIGH | DELNEIGH)
}

/// Carries a request out.
pub(super) fn change(shard: &mut Shard, ty: u16, flags: u16, body: &[u8]) -> Done {
    match ty {
        NEWLINK | SETLINK => set_link(shard, body),
        NEWADDR => new_addr(shard, flags, body),
        DELADDR => del_addr(shard, body),
        NEWROUTE | DELROUTE => change_route(shard, ty, flags, body),
        _ => change_neigh(shard, ty, flags, body),
    }
}

fn ask(shard: &mut Shard, r: &Request) -> Done {
    match shard.ctl(r) {
        Some(Reply::Ok) => Ok(()),
        Some(Reply::Err { errno, why }) => Err(Failure { errno, why }),
        _ => Err(Errno::EOPNOTSUPP.into()),
    }
}

/// The interface with this index.
fn indexed(shard: &mut Shard, index: u32) -> Result<Ifconf, Failure> {
    let list = interfaces(shard, None)?;
    list.into_iter().find(|i| i.index == index).ok_or(Errno::ENODEV.into())
}

/// `ip link set`: up, down, mtu, promisc, allmulticast, arp. What else Linux can change stays as it is, with EOPNOTSUPP.
fn set_link(shard: &mut Shard, body: &[u8]) -> Done {
    let i = link::one(shard, body)?;
    if word(body, 4) != 0 && name_in(body).is_some_and(|n| n != i.name) {
        return Err(why(
            Errno::EOPNOTSUPP,
            "interfaces are not renamed: give a driver name= when it is loaded",
        ));
    }
    const KNOWN: [(u32, u32); 5] = [
        (0x1, iff::UP),
        (0x4, iff::DEBUG),
        (0x80, iff::NOARP),
        (0x100, iff::PROMISC),
        (0x200, iff::ALLMULTI),
    ];
    let (to, mut mask) = (word(body, 8), word(body, 12));
    if mask == 0 && to != 0 {
        mask = u32::MAX;
    }
    let bits = |f: u32| KNOWN.iter().filter(|(l, _)| f & mask & l != 0).fold(0, |a, (_, b)| a | b) & IFF_USER;
    // IFLA_MTU; link-level addresses, masters and the rest are not changed.
    let mtu = find_u32(body, link::IFINFO, 4);
    if [1, 10, 18, 19].iter().any(|a| find_attr(body, link::IFINFO, *a).is_some()) {
        return Err(why(Errno::EOPNOTSUPP, "only flags and MTU of an interface can be changed"));
    }
    if let Some(mtu) = mtu {
        ask(shard, &Request::SetMtu { name: i.name.clone(), mtu })?;
    }
    let (set, clear) = (bits(to), bits(!to));
    if set | clear != 0 {
        ask(shard, &Request::SetFlags { name: i.name, set, clear })?;
    }
    Ok(())
}

/// `ip addr add`, `change`, `replace`.
fn new_addr(shard: &mut Shard, flags: u16, body: &[u8]) -> Done {
    let i = indexed(shard, word(body, 4))?;
    let (local, address) = (find_ip(body, IFADDR, 2), find_ip(body, IFADDR, 1));
    let own = local.or(address).ok_or(why(Errno::EINVAL, "no address"))?;
    let there = i.addrs.iter().any(|a| a.addr == own && a.prefix_len == byte(body, 1));
    if there && flags & REPLACE == 0 {
        return Err(why(Errno::EEXIST, "address already assigned"));
    }
    if !there && flags & CREATE == 0 && flags & REPLACE != 0 {
        return Err(why(Errno::ENOENT, "address not found"));
    }
    if there && own.is_ipv4() {
        // It is as it was: IPv4's addresses have no lifetimes here that could be set anew.
        return Ok(());
    }
    let addr = AddrInfo {
        addr: own,
        prefix_len: byte(body, 1),
        broadcast: find_ip(body, IFADDR, 4).filter(|_| i.flags & iff::BROADCAST != 0),
        peer: address.filter(|a| *a != own),
        state: AddrState::Valid,
    };
    if own.is_ipv4() {
        return ask(shard, &Request::AddAddr { name: i.name, addr, replace: false });
    }
    // struct ifa_cacheinfo: preferred and valid lifetime, all ones for ever.
    let secs = |at: usize| {
        let c = find_attr(body, IFADDR, 6)?;
        let s = c.get(at..)?.first_chunk().map(|b| u32::from_ne_bytes(*b))?;
        (s != u32::MAX).then_some(s)
    };
    let f = find_u32(body, IFADDR, 8).unwrap_or(byte(body, 2).into());
    let mut life = AddrLife { preferred: secs(0), valid: secs(4), ..AddrLife::plain(own) };
    if f & ifa_f::NODAD != 0 {
        life.flags |= in6::NODAD;
    }
    ask(shard, &Request::Nd(NdRequest::AddAddr { name: i.name, addr, life, clear: in6::DEPRECATED }))
}

fn del_addr(shard: &mut Shard, body: &[u8]) -> Done {
    let i = indexed(shard, word(body, 4))?;
    let own = find_ip(body, IFADDR, 2).or_else(|| find_ip(body, IFADDR, 1)).ok_or(Errno::EINVAL)?;
    if !i.addrs.iter().any(|a| a.addr == own && (byte(body, 1) == 0 || a.prefix_len == byte(body, 1))) {
        return Err(why(Errno::EADDRNOTAVAIL, "address not found"));
    }
    ask(shard, &Request::DelAddr { name: i.name, addr: Some(own) })
}

/// The route that a request describes.
fn route_in(shard: &Shard, body: &[u8]) -> Result<RouteInfo, Failure> {
    let v4 = byte(body, 0) == super::af(true);
    let table = find_u32(body, RTMSG, rta::TABLE).unwrap_or(byte(body, 4).into());
    if table != 0 && table != u32::from(MAIN) && table != u32::from(LOCAL) {
        return Err(why(Errno::EOPNOTSUPP, "there is one table of routes, main"));
    }
    if byte(body, 2) != 0 || find_attr(body, RTMSG, rta::MULTIPATH).is_some() {
        return Err(why(
            Errno::EOPNOTSUPP,
            "routes by source, and with several hops in one, are not known: add one route a gateway",
        ));
    }
    // RTA_EXPIRES.
    if find_attr(body, RTMSG, 23).is_some() {
        return Err(why(Errno::EOPNOTSUPP, "only routes of advertisements and redirects end by themselves"));
    }
    let any = if v4 { IpAddr::from([0u8; 4]) } else { IpAddr::from([0u8; 16]) };
    let dst = find_ip(body, RTMSG, rta::DST).unwrap_or(any);
    if dst.is_ipv4() != v4 {
        return Err(Errno::EINVAL.into());
    }
    let mut r = RouteInfo::to(dst, byte(body, 1));
    let oif = find_u32(body, RTMSG, rta::OIF).unwrap_or(0);
    if oif != 0 {
        r.ifname = Some(shard.net.ifname(oif).ok_or(Errno::ENODEV)?.into());
    }
    r.gateway = find_ip(body, RTMSG, rta::GATEWAY);
    r.src = find_ip(body, RTMSG, rta::PREFSRC).map(|s| zone::embed_ip(s, oif));
    r.flags = rtf::UP | rtf::STATIC;
    r.label = (byte(body, 5), find_u32(body, RTMSG, rta::PRIORITY).unwrap_or(0));
    match byte(body, 7) {
        rtn::UNSPEC | rtn::UNICAST => {}
        rtn::BLACKHOLE => r.flags |= rtf::BLACKHOLE,
        // Prohibited ones are unreachable ones here.
        rtn::UNREACHABLE | 8 => r.flags |= rtf::REJECT,
        rtn::LOCAL | rtn::BROADCAST | rtn::MULTICAST => {
            return Err(why(Errno::EOPNOTSUPP, "such routes come and go with addresses"));
        }
        _ => return Err(Errno::EOPNOTSUPP.into()),
    }
    if let Some(m) = find_attr(body, RTMSG, rta::METRICS) {
        r.mtu = find_u32(m, 0, 2).unwrap_or(0);
        if find_u32(m, 0, 1).is_some_and(|l| l & 1 << 2 != 0) {
            r.locks = RTV_MTU;
        }
    }
    Ok(r)
}

fn change_route(shard: &mut Shard, ty: u16, flags: u16, body: &[u8]) -> Done {
    let mut r = route_in(shard, body)?;
    let dead = r.flags & (rtf::REJECT | rtf::BLACKHOLE) != 0;
    if ty == DELROUTE {
        r.src = None;
        let kind = rtf::REJECT | rtf::BLACKHOLE;
        if dead
            && !shard.net.routes.exact(r.dst, r.prefix_len).iter().any(|x| x.flags & kind == r.flags & kind)
        {
            return Err(Errno::ESRCH.into());
        }
        if dead {
            r.ifname = None;
        }
        return ask(shard, &Request::DelRoute(r));
    }
    if r.gateway.is_none() && r.ifname.is_none() && !dead {
        return Err(why(Errno::ENODEV, "a route needs a gateway or an interface"));
    }
    if dead && r.gateway.is_none() {
        r.ifname = shard.net.ifname(iopkt_stack::LO0).map(Into::into);
    }
    if flags & REPLACE != 0 {
        match ask(shard, &Request::ChangeRoute(r.clone())) {
            Err(f) if f.errno == Errno::ESRCH && flags & CREATE != 0 => {}
            Err(f) if f.errno == Errno::ESRCH => return Err(Errno::ENOENT.into()),
            done => return done,
        }
    }
    // `add` refuses a second route to a destination, `append` puts it behind.
    let other = |x: &iopkt_stack::route::Route| x.origin == iopkt_stack::route::Origin::Static;
    let dst = zone::embed_ip(r.dst, r.ifname.as_deref().map_or(0, |n| shard.net.ifindex_of(n)));
    if flags & EXCL != 0 && shard.net.routes.exact(dst, r.prefix_len).iter().any(other) {
        return Err(Errno::EEXIST.into());
    }
    ask(shard, &Request::AddRoute(r))
}

/// `ip neigh add`, `change`, `replace`, `delete`, with `proxy` too.
fn change_neigh(shard: &mut Shard, ty: u16, flags: u16, body: &[u8]) -> Done {
    let i = indexed(shard, word(body, 4))?;
    let ip = find_ip(body, NDMSG, neigh::DST).ok_or(why(Errno::EINVAL, "no address"))?;
    let proxy = byte(body, 10) & neigh::PROXY != 0;
    let name = Some(i.name.clone());
    if ty == DELNEIGH {
        let r = match ip {
            IpAddr::V4(ip) => Request::DelArp { ip: Some(ip), ifname: name, proxy },
            IpAddr::V6(ip) => Request::Nd(NdRequest::Delete { ip: Some(ip), ifname: name }),
        };
        return match ask(shard, &r) {
            Err(f) if f.errno == Errno::ESRCH => Err(Errno::ENOENT.into()),
            done => done,
        };
    }
    if i.kind != IfKind::Ethernet {
        return Err(why(Errno::EINVAL, "the interface has no neighbours"));
    }
    let key = (i.index, zone::embed_ip(ip, i.index));
    let there = shard.net.neigh.list().iter().any(|n| (n.ifindex, n.ip) == key && n.proxy == proxy);
    match (there, flags & EXCL != 0, flags & CREATE != 0) {
        (true, true, _) => return Err(Errno::EEXIST.into()),
        (false, _, false) => return Err(Errno::ENOENT.into()),
        _ => {}
    }
    let given = find_attr(body, NDMSG, neigh::LLADDR).and_then(|b| <[u8; 6]>::try_from(b).ok());
    // Who is only answered for needs no address of its own: it is ours.
    let mac = given.or(proxy.then_some(i.mac)).ok_or(why(Errno::EINVAL, "no link-level address"))?;
    let state = u16::from_ne_bytes([byte(body, 8), byte(body, 9)]);
    let permanent = proxy || state & (neigh::PERMANENT | neigh::NOARP) != 0;
    let r = match ip {
        IpAddr::V4(ip) => Request::AddArp(ArpEntry {
            ip,
            mac: Some(mac),
            ifname: name,
            permanent,
            published: proxy,
            proxy,
            expires: None,
        }),
        IpAddr::V6(ip) => Request::Nd(NdRequest::Add(NdEntry {
            ip,
            mac: Some(mac),
            ifname: name,
            state: NdState::Stale,
            permanent,
            proxy,
            router: false,
            own: false,
            expires: None,
            asked: 0,
        })),
    };
    ask(shard, &r)
}
