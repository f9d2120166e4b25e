//! Neighbours of both families as RTM_NEWNEIGH tells them.

use super::msg::{Head, Out, af, byte, find_ip, word};
use super::route::HZ;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};
use iopkt_base::{Errno, Instant, Result, zone};
use iopkt_ctl::{NdReply, NdRequest, NdState, Reply, Request};
use iopkt_stack::Shard;
use iopkt_stack::neigh::Listed;

/// Length of `struct ndmsg`.
pub(super) const NDMSG: usize = 12;
/// NDA_DST and NDA_LLADDR.
pub(super) const DST: u16 = 1;
pub(super) const LLADDR: u16 = 2;
/// NUD_*: what a request says of an entry.
pub(super) const PERMANENT: u16 = 0x80;
pub(super) const NOARP: u16 = 0x40;
const INCOMPLETE: u16 = 0x01;
const REACHABLE: u16 = 0x02;
const STALE: u16 = 0x04;
const DELAY: u16 = 0x08;
const PROBE: u16 = 0x10;
const FAILED: u16 = 0x20;
/// NTF_*.
pub(super) const PROXY: u8 = 0x08;
const ROUTER: u8 = 0x80;

/// Those that advertised themselves as routers, with their interfaces.
pub(super) fn routers(shard: &mut Shard) -> Vec<(u32, Ipv6Addr)> {
    match shard.ctl(&Request::Nd(NdRequest::Routers)) {
        Some(Reply::Nd(NdReply::Routers(l))) => {
            l.into_iter().map(|r| (shard.net.ifindex_of(&r.ifname), r.addr)).collect()
        }
        _ => Vec::new(),
    }
}

fn state(shard: &Shard, n: &Listed) -> u16 {
    let old = shard.cx.now.since(n.confirmed) >= shard.net.neigh.times(n.ifindex).reachable;
    match n.state {
        _ if n.permanent => PERMANENT,
        NdState::Incomplete => INCOMPLETE,
        NdState::Reachable if old => STALE,
        NdState::Reachable => REACHABLE,
        NdState::Stale => STALE,
        NdState::Delay => DELAY,
        NdState::Probe => PROBE,
    }
}

pub(super) fn neigh(h: Head, shard: &Shard, n: &Listed, routers: &[(u32, Ipv6Addr)]) -> Vec<u8> {
    let ip = zone::strip_ip(n.ip);
    let router = matches!(ip, IpAddr::V6(a) if routers.contains(&(n.ifindex, a)));
    let flags = if n.proxy || n.published { PROXY } else { 0 } | if router { ROUTER } else { 0 };
    let mut o = Out::begin(h);
    o.raw(&[af(ip.is_ipv4()), 0, 0, 0]).raw(&n.ifindex.to_ne_bytes());
    o.raw(&state(shard, n).to_ne_bytes()).raw(&[flags, 1]).ip(DST, ip);
    if let Some(m) = &n.mac {
        o.attr(LLADDR, m);
    }
    if !n.proxy {
        // NDA_PROBES, and struct nda_cacheinfo: ticks since it was confirmed, used and changed.
        let ago = |t: Instant| {
            let ticks = shard.cx.now.since(t).as_millis() / u128::from(1000 / HZ);
            ticks.min(u128::from(u32::MAX)) as u32
        };
        let c = [ago(n.confirmed), ago(n.used), ago(n.confirmed), 0];
        o.u32(4, n.asked.into()).attr(3, &c.map(u32::to_ne_bytes).concat());
    }
    o.end()
}

/// One that is gone.
pub(super) fn gone(h: Head, ifindex: u32, ip: IpAddr) -> Vec<u8> {
    let ip = zone::strip_ip(ip);
    let mut o = Out::begin(h);
    o.raw(&[af(ip.is_ipv4()), 0, 0, 0]).raw(&ifindex.to_ne_bytes());
    o.raw(&FAILED.to_ne_bytes()).raw(&[0, 1]).ip(DST, ip);
    o.end()
}

/// All entries of a family (0: both), those that are only answered for only if they are asked for.
pub(super) fn all(shard: &Shard, family: u8, proxies: bool) -> Vec<Listed> {
    let mut l = shard.net.neigh.list();
    l.retain(|n| (family == 0 || family == af(n.ip.is_ipv4())) && n.proxy == proxies);
    l
}

/// RTM_GETNEIGH of one address.
pub(super) fn one(h: Head, shard: &mut Shard, body: &[u8]) -> Result<Vec<u8>> {
    let (index, ip) = (word(body, 4), find_ip(body, NDMSG, DST).ok_or(Errno::EINVAL)?);
    let ip = zone::embed_ip(ip, index);
    let proxy = byte(body, 10) & PROXY != 0;
    let found = all(shard, 0, proxy).into_iter().find(|n| n.ifindex == index && n.ip == ip);
    let routers = routers(shard);
    found.map(|n| neigh(h, shard, &n, &routers)).ok_or(Errno::ENOENT)
}
