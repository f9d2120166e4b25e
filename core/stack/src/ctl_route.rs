//! Configuration requests about routes.

use crate::ctl::PAGE;
use crate::neigh::Listed;
use crate::net::{LO0, Net};
use crate::prefix;
use crate::route::{Origin, Route};
use crate::rtnote::RtKind;
use crate::shard::Shard;
use alloc::format;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};
use iopkt_base::{Errno, Instant, Result, zone};
use iopkt_ctl::{RTV_MTU, Reply, Request, RouteInfo, RouteOrigin, rtf};

impl Shard {
    pub(crate) fn ctl_route(&mut self, r: &Request) -> Reply {
        match r {
            Request::Routes { cursor } => self.list_routes(*cursor as usize),
            Request::AddRoute(i) => answer(self.add_route(i)),
            Request::ChangeRoute(i) => answer(self.change_route(i)),
            Request::DelRoute(i) => self.del_route(i),
            Request::GetRoute { dst } => self.get_route(*dst),
            Request::FlushRoutes => {
                self.net.remove_routes(&mut self.cx, |r| {
                    r.gateway.is_some() && matches!(r.origin, Origin::Static | Origin::Redirect)
                });
                Reply::Ok
            }
            _ => Reply::err(Errno::EOPNOTSUPP),
        }
    }

    /// Routes in order of address, the neighbours of a network behind it as cloned host routes, as BSD's
    /// table has them.
    fn list_routes(&self, cursor: usize) -> Reply {
        let mut all: Vec<RouteInfo> =
            self.net.routes.sorted().into_iter().map(|r| info(&self.net, r, self.cx.now)).collect();
        let neighbours = self.net.neigh.list();
        // BSD's reference count of a network: the host routes that were cloned from it.
        for r in all.iter_mut().filter(|r| r.flags & rtf::CLONING != 0) {
            let of = |n: &&Listed| n.ifindex == r.ifindex && prefix::contains(r.dst, r.prefix_len, n.ip);
            r.refs = neighbours.iter().filter(of).count() as u32;
        }
        for n in neighbours.into_iter().filter(|n| !n.proxy) {
            let Some(name) = self.net.ifname(n.ifindex) else { continue };
            let mut flags = rtf::UP | rtf::HOST | rtf::LLINFO;
            flags |= if n.permanent { rtf::STATIC } else { rtf::CLONED };
            all.push(RouteInfo {
                ifname: Some(name.into()),
                flags,
                ifindex: n.ifindex,
                link: n.mac,
                zone: zone_of(&self.net, n.ip),
                origin: RouteOrigin::Neighbour,
                ..RouteInfo::to(zone::strip_ip(n.ip), prefix::max_len(n.ip))
            });
        }
        all.sort_by_key(|r| (r.dst.is_ipv6(), r.dst, r.prefix_len));
        let next = if all.len() > cursor + PAGE { (cursor + PAGE) as u32 } else { 0 };
        Reply::Routes { list: all.into_iter().skip(cursor).take(PAGE).collect(), next }
    }

    /// A request with the zone of the named interface in its addresses of link-local scope.
    fn zoned(&self, i: &RouteInfo) -> RouteInfo {
        let named = i.ifname.as_deref().map_or(0, |n| self.net.ifindex_of(n));
        let zone = i.zone.as_deref().map_or(named, |n| self.net.ifindex_of(n));
        let to = |a: IpAddr, zone| if zone::of_ip(&a) == 0 { zone::embed_ip(a, zone) } else { a };
        let of = |a: IpAddr| to(a, named);
        RouteInfo { dst: to(i.dst, zone), gateway: i.gateway.map(of), src: i.src.map(of), ..i.clone() }
    }

    /// Checks a request and completes it: the interface follows from the gateway, or from the name.
    fn route_of(&self, i: &RouteInfo) -> Result<Route> {
        if i.prefix_len > prefix::max_len(i.dst) || i.gateway.is_some_and(|g| g.is_ipv4() != i.dst.is_ipv4())
        {
            return Err(Errno::EINVAL);
        }
        let named = match &i.ifname {
            Some(n) => match self.net.ifindex_of(n) {
                0 => return Err(Errno::ENXIO),
                x => x,
            },
            None => 0,
        };
        let dead = i.flags & (rtf::REJECT | rtf::BLACKHOLE) != 0;
        let ifindex = match i.gateway {
            _ if dead && named == 0 => LO0,
            Some(g) if self.net.is_local(g, 0) => {
                // An own address as gateway names its interface (`route add -interface`, BSD's habit).
                if dead || named != 0 { named.max(LO0) } else { self.net.if_with_addr(g).max(LO0) }
            }
            Some(g) => {
                let h = self.net.hop(g, named, true)?;
                if h.kind != crate::path::HopKind::Unicast {
                    return Err(Errno::EINVAL);
                }
                h.ifindex
            }
            None if named != 0 => named,
            None => return Err(Errno::EINVAL),
        };
        let mut r = Route::on_link(i.dst, i.prefix_len, ifindex, i.src, Origin::Static);
        if let Some(s) = i.src
            && !self.net.is_local(s, 0)
        {
            return Err(Errno::EADDRNOTAVAIL);
        }
        r.gateway = i.gateway.filter(|g| dead || !self.net.is_local(*g, 0));
        r.mtu = i.mtu;
        r.label = i.label;
        r.locks = if i.mtu == 0 { 0 } else { i.locks & RTV_MTU };
        r.flags |= rtf::STATIC | (i.flags & rtf::USER);
        if i.gateway.is_some() {
            r.flags |= rtf::GATEWAY;
        }
        if r.gateway.is_none() && i.gateway.is_some() {
            r.flags &= !rtf::GATEWAY;
        }
        Ok(r)
    }

    fn add_route(&mut self, i: &RouteInfo) -> Result<()> {
        let r = self.route_of(&self.zoned(i))?;
        self.net.routes.add(r.clone())?;
        self.net.tell_route(&mut self.cx, RtKind::Add, &r, None);
        Ok(())
    }

    fn change_route(&mut self, i: &RouteInfo) -> Result<()> {
        let i = &self.zoned(i);
        let new = self.route_of(i)?;
        let list = self.net.routes.exact_mut(i.dst, i.prefix_len);
        if list.is_empty() {
            return Err(Errno::ESRCH);
        }
        // The one by this gateway, else the first one that a user may change; the place in the order is kept.
        let users = |r: &&Route| matches!(r.origin, Origin::Static | Origin::Redirect);
        let same = |r: &Route| users(&r) && r.gateway == new.gateway && r.ifindex == new.ifindex;
        let at = list.iter().position(same).or_else(|| list.iter().position(|r| users(&r)));
        let Some(r) = at.and_then(|at| list.get_mut(at)) else { return Err(Errno::EPERM) };
        let used = r.used;
        *r = Route { used, ..new };
        let now = r.clone();
        self.net.tell_route(&mut self.cx, RtKind::Change, &now, None);
        Ok(())
    }

    fn del_route(&mut self, i: &RouteInfo) -> Reply {
        let i = &self.zoned(i);
        let named = i.ifname.as_deref().map_or(0, |n| self.net.ifindex_of(n));
        let dst = prefix::mask(i.dst, i.prefix_len);
        // An own address as gateway names its interface, as it does when a route is added.
        let own = i.gateway.filter(|g| self.net.is_local(*g, 0)).map(|g| self.net.if_with_addr(g).max(LO0));
        let fits = |r: &Route| {
            let by_gateway = match (i.gateway, own) {
                (None, _) => true,
                (_, Some(x)) if r.gateway.is_none() && r.ifindex == x => true,
                (g, _) => r.gateway == g,
            };
            by_gateway && (named == 0 || r.ifindex == named)
        };
        let list = self.net.routes.exact(dst, i.prefix_len);
        match list.iter().filter(|r| fits(r)).count() {
            0 => return Reply::why(Errno::ESRCH, "not in table"),
            1 => {}
            _ => {
                let why = format!("{dst}/{}: several routes; name the gateway", i.prefix_len);
                return Reply::why(Errno::EINVAL, why);
            }
        }
        if list.iter().any(|r| fits(r) && r.origin == Origin::Local) {
            return Reply::why(Errno::EPERM, "a route to an own address goes with the address");
        }
        self.net.remove_routes(&mut self.cx, |r| r.dst == dst && r.plen == i.prefix_len && fits(r));
        Reply::Ok
    }

    fn get_route(&self, dst: IpAddr) -> Reply {
        if self.net.is_local(dst, 0) {
            let full = prefix::max_len(dst);
            let local = Route::on_link(dst, full, LO0, Some(dst), Origin::Local);
            let r = self.net.routes.exact(dst, full).first().unwrap_or(&local);
            return Reply::Routes { list: alloc::vec![info(&self.net, r, self.cx.now)], next: 0 };
        }
        let up = |r: &Route| self.net.iface(r.ifindex).is_some_and(|i| i.is_up());
        match self.net.routes.lookup(dst, up).route {
            Some(r) => Reply::Routes { list: alloc::vec![info(&self.net, r, self.cx.now)], next: 0 },
            None => Reply::why(Errno::ESRCH, "not in table"),
        }
    }
}

fn answer(r: Result<()>) -> Reply {
    match r {
        Ok(()) => Reply::Ok,
        Err(Errno::ENETUNREACH) => {
            Reply::why(Errno::ENETUNREACH, "the gateway is not on a network of an interface")
        }
        Err(Errno::ESRCH) => Reply::why(Errno::ESRCH, "not in table"),
        Err(e) => Reply::err(e),
    }
}

pub(crate) fn info(net: &Net, r: &Route, now: Instant) -> RouteInfo {
    RouteInfo {
        dst: zone::strip_ip(r.dst),
        prefix_len: r.plen,
        gateway: match (r.gateway, r.origin) {
            // BSD shows lo0's address as the gateway of what is ours.
            (None, Origin::Local) if r.dst.is_ipv4() => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            (g, _) => g.map(zone::strip_ip),
        },
        ifname: net.ifname(r.ifindex).map(Into::into),
        flags: r.flags,
        mtu: if r.mtu == 0 && r.ifindex == LO0 { net.iface(LO0).map_or(0, |i| i.mtu) } else { r.mtu },
        refs: 0,
        used: r.used,
        src: r.src.map(zone::strip_ip),
        ifindex: r.ifindex,
        link: None,
        locks: r.locks,
        zone: zone_of(net, r.dst),
        origin: match r.origin {
            Origin::Connected => RouteOrigin::Connected,
            Origin::Local => RouteOrigin::Local,
            Origin::Static => RouteOrigin::Static,
            Origin::Redirect => RouteOrigin::Redirect,
            Origin::Advertised => RouteOrigin::Advertised,
        },
        expires: (r.expires != Instant::FAR)
            .then(|| r.expires.since(now).as_secs().min(u32::MAX.into()) as u32),
        label: r.label,
        preference: r.preference,
    }
}

/// The name of the interface that an address's zone is.
fn zone_of(net: &Net, a: IpAddr) -> Option<alloc::string::String> {
    net.ifname(zone::of_ip(&a)).map(Into::into)
}
