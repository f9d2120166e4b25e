//! What the shard tells, in the form of BSD's routing messages.

use core::net::IpAddr;
use iopkt_base::zone;
use iopkt_ctl::{AddrInfo, IfKind, Ifconf, LinkState, RouteInfo, rtf};
use iopkt_sockproto::rtmsg::*;
use iopkt_stack::{AddrNote, Family, RtKind, RtNote, Shard};

/// A note as a message; `wall` is the time in seconds since 1970.
pub(crate) fn message(shard: &Shard, n: &RtNote, wall: u64) -> Option<RtMsg> {
    Some(match n {
        RtNote::Route { kind, route: r, author, by } => {
            let ty = match kind {
                RtKind::Add => rtm::ADD,
                RtKind::Delete => rtm::DELETE,
                RtKind::Change => rtm::CHANGE,
                RtKind::Losing => rtm::LOSING,
                RtKind::Redirect => rtm::REDIRECT,
                RtKind::Lock => rtm::LOCK,
            };
            let mut m = route(shard, ty, r, *author, wall);
            if let RtBody::Route(b) = &mut m.body {
                (b.pid, b.seq) = (by.pid, by.seq);
                if !matches!(kind, RtKind::Losing) {
                    b.flags |= rtf::DONE;
                }
            }
            m
        }
        RtNote::Miss(dst) => {
            let a = Addrs { dst: Some(*dst), ..Addrs::default() };
            RtMsg::route(rtm::MISS, RouteMsg { flags: rtf::DONE, ..RouteMsg::default() }, a)
        }
        RtNote::IfInfo(i) => RtMsg {
            ty: rtm::IFINFO,
            body: RtBody::IfInfo { index: i.index as u16, flags: i.flags, data: if_data(i) },
            addrs: Addrs { ifp: Some(link_of(i)), ..Addrs::default() },
        },
        RtNote::IfAnnounce { index, name, arrived } => RtMsg {
            ty: rtm::IFANNOUNCE,
            body: RtBody::Announce { index: *index as u16, name: if_name(name), arrived: *arrived },
            addrs: Addrs::default(),
        },
        RtNote::Addr { what, iface, addr } => RtMsg {
            ty: match what {
                AddrNote::Added | AddrNote::Checked => rtm::NEWADDR,
                AddrNote::Removed => rtm::DELADDR,
                // BSD tells of lifetimes to nobody.
                AddrNote::Life => return None,
            },
            body: RtBody::Addr {
                index: iface.index as u16,
                flags: 0,
                metric: iface.metric,
                addr_flags: iface.life(&addr.addr).map_or(0, |l| l.flags),
            },
            addrs: addr_parts(iface, addr),
        },
        RtNote::Neigh { .. } => return None,
    })
}

fn addr_parts(i: &Ifconf, a: &AddrInfo) -> Addrs {
    Addrs {
        netmask: Some(a.prefix_len),
        ifp: Some(link_of(i)),
        ifa: Some(zone::embed_ip(a.addr, i.index)),
        brd: a.peer.or(a.broadcast).map(|b| zone::embed_ip(b, i.index)),
        ..Addrs::default()
    }
}

/// A route as a message of type `ty`. Its link-local addresses have their zones inside.
pub(crate) fn route(shard: &Shard, ty: u8, r: &RouteInfo, author: Option<IpAddr>, wall: u64) -> RtMsg {
    let zone = r.zone.as_deref().map_or(r.ifindex, |n| shard.net.ifindex_of(n));
    let iface = shard.net.iface(r.ifindex);
    let ifp = iface.map(|i| LinkAddr {
        index: r.ifindex as u16,
        ty: if_type(i.kind),
        name: if_name(&i.name),
        mac: (i.kind == IfKind::Ethernet).then_some(i.mac),
    });
    let ifa = r
        .src
        .map(|s| zone::embed_ip(s, zone))
        .or_else(|| shard.net.primary_addr(r.ifindex, Family::of(&r.dst)));
    let gateway = match (r.gateway, r.link) {
        (Some(g), _) => Some(Sa::Ip(zone::embed_ip(g, r.ifindex))),
        (None, mac) => {
            let name = ifp.map_or([0; 16], |l| l.name);
            let ty = ifp.map_or(0, |l| l.ty);
            Some(Sa::Link(LinkAddr { index: r.ifindex as u16, ty, name, mac }))
        }
    };
    let body = RouteMsg {
        index: r.ifindex as u16,
        flags: r.flags,
        used: r.used as u32,
        locks: u64::from(r.locks),
        mtu: u64::from(r.mtu),
        expire: r.expires.map_or(0, |s| wall + u64::from(s)),
        ..RouteMsg::default()
    };
    let netmask = if r.flags & rtf::HOST == 0 { Some(r.prefix_len) } else { None };
    let a = Addrs { dst: Some(zone::embed_ip(r.dst, zone)), gateway, netmask, ifp, ifa, author, brd: None };
    RtMsg::route(ty, body, a)
}

fn link_of(i: &Ifconf) -> LinkAddr {
    LinkAddr {
        index: i.index as u16,
        ty: if_type(i.kind),
        name: if_name(&i.name),
        mac: (i.kind == IfKind::Ethernet).then_some(i.mac),
    }
}

/// `IFT_*` (net/if_types.h).
fn if_type(k: IfKind) -> u8 {
    match k {
        IfKind::Ethernet => 6,
        IfKind::PointToPoint => 23,
        IfKind::Loopback => 24,
    }
}

pub(crate) fn if_data(i: &Ifconf) -> IfData {
    let c = &i.counters;
    IfData {
        ty: if_type(i.kind),
        addrlen: if i.kind == IfKind::Ethernet { 6 } else { 0 },
        hdrlen: if i.kind == IfKind::Ethernet { 14 } else { 0 },
        link_state: match i.link {
            LinkState::Unknown => LINK_STATE_UNKNOWN,
            LinkState::Down => LINK_STATE_DOWN,
            LinkState::Up => LINK_STATE_UP,
        },
        numbers: [
            i.mtu.into(),
            i.metric.into(),
            i.speed_tx,
            c.ipackets,
            c.ierrors,
            c.opackets,
            c.oerrors,
            c.collisions,
            c.ibytes,
            c.obytes,
            c.imcasts,
            c.omcasts,
            c.iqdrops,
            c.noproto,
        ],
    }
}
