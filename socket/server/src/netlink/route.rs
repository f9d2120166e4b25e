//! Routes as RTM_NEWROUTE tells them, and what RTM_GETROUTE asks.

use super::msg::{Head, Out, af, byte, find_ip, find_u32, word};
use alloc::vec::Vec;
use core::net::IpAddr;
use iopkt_base::{Errno, Result, zone};
use iopkt_ctl::{Reply, Request, RouteInfo, RouteOrigin, rtf};
use iopkt_stack::{HopKind, LO0, Shard};

/// Length of `struct rtmsg`.
pub(super) const RTMSG: usize = 12;
/// `RTA_*`.
pub(super) mod rta {
    pub const DST: u16 = 1;
    pub const SRC: u16 = 2;
    pub const OIF: u16 = 4;
    pub const GATEWAY: u16 = 5;
    pub const PRIORITY: u16 = 6;
    pub const PREFSRC: u16 = 7;
    pub const METRICS: u16 = 8;
    pub const MULTIPATH: u16 = 9;
    pub const CACHEINFO: u16 = 12;
    pub const TABLE: u16 = 15;
    pub const PREF: u16 = 20;
}
/// `RTN_*`.
pub(super) mod rtn {
    pub const UNSPEC: u8 = 0;
    pub const UNICAST: u8 = 1;
    pub const LOCAL: u8 = 2;
    pub const BROADCAST: u8 = 3;
    pub const MULTICAST: u8 = 5;
    pub const BLACKHOLE: u8 = 6;
    pub const UNREACHABLE: u8 = 7;
}
/// RT_TABLE_MAIN and RT_TABLE_LOCAL.
pub(super) const MAIN: u8 = 254;
pub(super) const LOCAL: u8 = 255;
/// Scopes.
const HOST: u8 = 254;
const LINK: u8 = 253;
/// RTM_F_CLONED: made for one destination; RTM_F_FIB_MATCH: the entry itself is wanted.
const CLONED: u32 = 0x200;
const FIB_MATCH: u32 = 0x2000;
/// Ticks of a second in what user programs are told (USER_HZ).
pub(super) const HZ: u32 = 100;

/// Who put it there: `RTPROT_*`.
fn protocol(r: &RouteInfo) -> u8 {
    match r.origin {
        _ if r.label.0 != 0 => r.label.0,
        RouteOrigin::Redirect => 1,
        RouteOrigin::Static => 4,
        RouteOrigin::Advertised if r.gateway.is_some() => 9,
        _ => 2,
    }
}

/// Linux's metrics of IPv6 routes: who put them there.
pub(crate) fn metric(r: &RouteInfo) -> u32 {
    match r.origin {
        _ if r.label.1 != 0 => r.label.1,
        RouteOrigin::Local => 0,
        RouteOrigin::Connected => 256,
        RouteOrigin::Advertised if r.gateway.is_none() => 256,
        _ => 1024,
    }
}

/// A route. `cloned`: as the answer about one destination.
pub(super) fn route(h: Head, shard: &Shard, r: &RouteInfo, cloned: bool) -> Vec<u8> {
    let v4 = r.dst.is_ipv4();
    let local = r.origin == RouteOrigin::Local;
    // The network of a loopback interface, which BSD rejects beside its address, is the local table's.
    let inner = local || r.origin == RouteOrigin::Connected && r.flags & rtf::REJECT != 0;
    let (kind, scope) = match () {
        () if r.flags & rtf::BLACKHOLE != 0 => (rtn::BLACKHOLE, 0),
        () if r.flags & rtf::REJECT != 0 => (rtn::UNREACHABLE, 0),
        () if local => (rtn::LOCAL, HOST),
        () if r.dst.is_multicast() && r.prefix_len > 4 => (rtn::MULTICAST, 0),
        () if r.gateway.is_some() => (rtn::UNICAST, 0),
        () => (rtn::UNICAST, LINK),
    };
    let table = if inner { LOCAL } else { MAIN };
    let mut o = Out::begin(h);
    // IPv6 has no scopes of routes.
    let scope = if v4 { scope } else { 0 };
    o.raw(&[af(v4), r.prefix_len, 0, 0, table, protocol(r), scope, kind]);
    o.raw(&(if cloned { CLONED } else { 0 }).to_ne_bytes());
    o.u32(rta::TABLE, table.into());
    if r.prefix_len != 0 {
        o.ip(rta::DST, r.dst);
    }
    if let (Some(g), rtn::UNICAST) = (r.gateway, kind) {
        o.ip(rta::GATEWAY, g);
    }
    // An own address is its interface's, though packets to it go by lo0.
    let zone = r.zone.as_deref().map_or(0, |n| shard.net.ifindex_of(n));
    let own = if local && !cloned { shard.net.if_with_addr(zone::embed_ip(r.dst, zone)) } else { 0 };
    o.u32(rta::OIF, if own == 0 { r.ifindex } else { own });
    if let Some(s) = r.src.filter(|_| v4 || cloned || r.origin == RouteOrigin::Static) {
        o.ip(rta::PREFSRC, s);
    }
    if v4 && r.label.1 != 0 {
        o.u32(rta::PRIORITY, r.label.1);
    }
    if !v4 {
        o.u32(rta::PRIORITY, metric(r));
        o.attr(
            rta::PREF,
            &[match r.preference {
                1.. => 1,
                0 => 0,
                _ => 3,
            }],
        );
    }
    if r.mtu != 0 && !(local && r.locks == 0) {
        // RTAX_LOCK and RTAX_MTU.
        let mut m = Out::nested();
        if r.locks != 0 {
            m.u32(1, 1 << 2);
        }
        m.u32(2, r.mtu);
        o.attr(rta::METRICS, m.inside());
    }
    // struct rta_cacheinfo: what counts here is when it ends.
    let ticks = r.expires.map_or(0, |s| s.min(i32::MAX as u32 / HZ) * HZ);
    if !v4 || ticks != 0 {
        let mut c = [0u8; 32];
        c[..4].copy_from_slice(&r.refs.to_ne_bytes());
        c[8..12].copy_from_slice(&ticks.to_ne_bytes());
        o.attr(rta::CACHEINFO, &c);
    }
    o.end()
}

/// RTM_GETROUTE of one destination: where a packet to it goes.
pub(super) fn lookup(h: Head, shard: &mut Shard, body: &[u8]) -> Result<Vec<u8>> {
    let any = |family: u8| if family == af(true) { IpAddr::from([0u8; 4]) } else { IpAddr::from([0u8; 16]) };
    let dst = match find_ip(body, RTMSG, rta::DST) {
        Some(d) => d,
        None if byte(body, 0) == af(true) || byte(body, 0) == af(false) => any(byte(body, 0)),
        None => return Err(Errno::EINVAL),
    };
    let oif = find_u32(body, RTMSG, rta::OIF).unwrap_or(0);
    if oif != 0 && shard.net.iface(oif).is_none() {
        return Err(Errno::ENODEV);
    }
    let inner = zone::embed_ip(dst, oif);
    if word(body, 8) & FIB_MATCH != 0 {
        return match shard.ctl(&Request::GetRoute { dst: inner }) {
            Some(Reply::Routes { list, .. }) if !list.is_empty() => Ok(route(h, shard, &list[0], false)),
            _ => Err(Errno::ENETUNREACH),
        };
    }
    let hop = shard.net.hop(inner, oif, false)?;
    let full = if dst.is_ipv4() { 32 } else { 128 };
    let asked = find_ip(body, RTMSG, rta::SRC);
    let mut r = RouteInfo::to(dst, full);
    r.ifindex = hop.ifindex;
    r.src = asked.or(hop.src).map(zone::strip_ip);
    r.flags = rtf::UP;
    match hop.kind {
        HopKind::Local => {
            r.origin = RouteOrigin::Local;
            r.ifindex = LO0;
        }
        HopKind::Blackhole => r.flags |= rtf::BLACKHOLE,
        _ => {}
    }
    // What the entry says beyond the way: who made it, when it ends, its metrics.
    if let (Some((plen, gateway)), Some(Reply::Routes { list, .. })) =
        (hop.route, shard.ctl(&Request::GetRoute { dst: inner }))
    {
        r.gateway = gateway.map(zone::strip_ip);
        if let Some(e) = list.iter().find(|e| e.prefix_len == plen && e.gateway == r.gateway) {
            (r.origin, r.expires, r.preference) = (e.origin, e.expires, e.preference);
            r.label = e.label;
            (r.mtu, r.locks) = (e.mtu, e.locks);
        }
    }
    if let Some(p) = shard.net.pmtu.get(inner) {
        r.mtu = if r.mtu == 0 { p } else { r.mtu.min(p) };
    }
    Ok(route(h, shard, &r, true))
}
