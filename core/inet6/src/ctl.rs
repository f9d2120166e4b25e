//! Questions and orders about IPv6: what `ndp`, `rtsol`, `ifconfig ... inet6` and `netstat -s` ask.

use crate::policy::Policy;
use crate::select::{Against, Select};
use crate::settings::{MAX_MS, MIN_MS};
use crate::{Inet6, nd, slaac};
use alloc::format;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};
use iopkt_base::{Duration, Errno, Instant, zone};
use iopkt_ctl::{
    AddrInfo, AddrLife, AddrState, IfKind, NdEntry, NdIface, NdReply, NdRequest, NdState, ProtoStats, Reply,
    Request, in6, nd6,
};
use iopkt_stack::variables::Variables;
use iopkt_stack::{HopKind, IfAddr, Layers, Life, Why};

/// Entries in one page of the neighbour cache.
const PAGE: usize = 200;

/// Seconds until `end`; `None` for never.
pub(crate) fn left(now: Instant, end: Instant) -> Option<u32> {
    (end != Instant::FAR).then(|| end.since(now).as_secs().min(u32::MAX.into()) as u32)
}

impl Inet6 {
    pub(crate) fn ctl_request(&mut self, l: &mut Layers<'_>, r: &Request) -> Option<Reply> {
        Some(match r {
            Request::Sysctl { name, value } => {
                return self
                    .secret(name, value.as_deref())
                    .or_else(|| self.sysctl(l, name, value.as_deref()));
            }
            Request::Stats => Reply::Stats(ProtoStats { counters: self.stats.report() }),
            Request::Nd(n) => self.nd_request(l, n),
            _ => return None,
        })
    }

    fn sysctl(&mut self, l: &mut Layers<'_>, name: &str, value: Option<&str>) -> Option<Reply> {
        let was = (self.t.forwarding, self.t.hlim);
        let believed = self.t.accept_rtadv && !was.0;
        let r = self.t.sysctl(name, value);
        self.set_forwarding(l, was.0);
        self.name_groups(l);
        if !believed && self.t.accept_rtadv && !self.t.forwarding {
            self.solicit_all(l);
        }
        if self.t.hlim != was.1 {
            self.set_hops(l);
        }
        let against = Against { deprecated: !self.t.use_deprecated, temporary: !self.t.prefer_tempaddr };
        if against != self.select.against {
            let (policy, told) = (self.select.policy.again(), self.select.told.clone());
            self.choose(l, Select { policy, told, against });
        }
        if name.contains(".nd6_") && value.is_some() {
            let all: Vec<u32> = l.net.interfaces().map(|i| i.index).collect();
            all.into_iter().for_each(|i| self.set_times(l, i));
        }
        match (r, name) {
            (Some(Reply::Sysctl(mut list)), "") => {
                if let Some(Reply::Sysctl(mine)) = self.secret(SECRET, None) {
                    list.extend(mine);
                }
                Some(Reply::Sysctl(list))
            }
            (r, _) => r,
        }
    }

    /// The key of addresses that do not show the link-level one, in the form of an address, as Linux has it; empty: none.
    fn secret(&mut self, name: &str, value: Option<&str>) -> Option<Reply> {
        if name != SECRET {
            return None;
        }
        Some(match value.map(str::trim) {
            // Who knows it can foretell our addresses.
            None => {
                let shown = if self.stable.is_some() { "set" } else { "" };
                Reply::Sysctl(alloc::vec![(SECRET.into(), shown.into())])
            }
            Some("set") if self.stable.is_some() => Reply::Ok,
            Some("") => {
                self.stable = None;
                Reply::Ok
            }
            Some(v) => match v.parse::<Ipv6Addr>() {
                Ok(a) => {
                    self.stable = Some(iopkt_base::Keyed::new(a.octets()));
                    Reply::Ok
                }
                Err(_) => Reply::why(
                    Errno::EINVAL,
                    format!("{SECRET}: a secret is 128 bits in the form of an IPv6 address"),
                ),
            },
        })
    }

    fn nd_request(&mut self, l: &mut Layers<'_>, r: &NdRequest) -> Reply {
        let nd = |r| Reply::Nd(r);
        match r {
            NdRequest::AddAddr { name, addr, life, clear } => self.add_address(l, name, addr, life, *clear),
            NdRequest::Neighbours { cursor } => self.neighbours(l, *cursor as usize),
            NdRequest::Add(e) => self.add_neighbour(l, e),
            NdRequest::Delete { ip, ifname } => self.delete_neighbours(l, *ip, ifname.as_deref()),
            NdRequest::Prefixes => nd(NdReply::Prefixes(self.prefix_list(l))),
            NdRequest::Routers => nd(NdReply::Routers(self.router_list(l))),
            NdRequest::Interfaces { name } => self.nd_interfaces(l, name.as_deref()),
            NdRequest::Set { name, set, clear, base_reachable, retrans, hop_limit } => {
                self.nd_set(l, name, (*set, *clear), (*base_reachable, *retrans), *hop_limit)
            }
            NdRequest::Flush { routers, prefixes } => {
                self.flush(l, *routers, *prefixes);
                Reply::Ok
            }
            NdRequest::Solicit { name } => self.solicit(l, name),
            NdRequest::Dns => nd(NdReply::Dns(self.dns_list(l))),
            NdRequest::Counters { name } => match l.net.ifindex_of(name) {
                0 => Reply::err(Errno::ENXIO),
                i => Reply::Stats(ProtoStats { counters: self.per_if.report(i) }),
            },
            NdRequest::Default { name } => self.default_interface(l, name.as_deref()),
            NdRequest::Policies => nd(NdReply::Policies(self.select.policy.list())),
            NdRequest::SetPolicies(list) => self.set_policy(l, Policy::install(list)),
            NdRequest::AddPolicy(p) => self.set_policy(l, self.select.policy.with(p)),
            NdRequest::DeletePolicy { prefix, prefix_len } => {
                self.set_policy(l, self.select.policy.without(*prefix, *prefix_len))
            }
            NdRequest::Order(list) => nd(NdReply::Order(self.order(l, list))),
        }
    }

    /// `ifconfig IF inet6 ADDR ...`: a new address, or other lifetimes and flags of one that is there.
    fn add_address(
        &mut self,
        l: &mut Layers<'_>,
        name: &str,
        info: &AddrInfo,
        life: &AddrLife,
        clear: u32,
    ) -> Reply {
        let i = l.net.ifindex_of(name);
        let (Some(ifc), IpAddr::V6(_)) = (l.net.iface(i), info.addr) else { return Reply::err(Errno::ENXIO) };
        let over = |a: Option<u32>, b: Option<u32>| b.is_some_and(|b| a.is_none_or(|a| a > b));
        if life.valid == Some(0) {
            return Reply::why(
                Errno::EINVAL,
                "a valid lifetime of 0 would end the address at once: delete it instead",
            );
        }
        if over(life.preferred, life.valid) {
            return Reply::why(Errno::EINVAL, "an address cannot be preferred for longer than it is valid");
        }
        if info.peer.is_some() && ifc.kind != IfKind::PointToPoint {
            let why = format!("{name}: is no point-to-point link, so an address has no peer");
            return Reply::why(Errno::EINVAL, why);
        }
        let own = zone::embed_ip(info.addr, i);
        let now = l.cx.now;
        let end = |s: Option<u32>| s.map_or(Instant::FAR, |s| now.max(now + Duration::from_secs(s.into())));
        let old = ifc.addrs.iter().find(|a| a.addr == own && a.plen == info.prefix_len).copied();
        let was = old.map_or(Life::default(), |a| a.life);
        let flag = |bit: u32, was: bool| (was || life.flags & bit != 0) && clear & bit == 0;
        let deprecated = flag(in6::DEPRECATED, was.deprecated && life.preferred == Some(0));
        let new = Life {
            anycast: flag(in6::ANYCAST, was.anycast),
            nodad: flag(in6::NODAD, was.nodad),
            deprecated: deprecated || life.preferred == Some(0),
            preferred: if deprecated { now } else { end(life.preferred) },
            valid: end(life.valid),
            autoconf: false,
            temporary: false,
            ..was
        };
        if old.is_some() {
            if let Some(a) = l.net.iface_mut(i).and_then(|f| f.addrs.iter_mut().find(|a| a.addr == own)) {
                a.life = new;
            }
            l.net.tell_life(l.cx, i, own);
            if let (true, IpAddr::V6(a)) =
                (life.flags & in6::TENTATIVE != 0 || was.anycast != new.anycast, own)
            {
                self.dad_address(l, i, a);
            }
        } else {
            let gone = l.net.iface(i).is_some_and(|f| f.addrs.iter().any(|a| a.addr == own));
            let a = IfAddr {
                addr: own,
                plen: info.prefix_len,
                broadcast: None,
                peer: info.peer.map(|p| zone::embed_ip(p, i)),
                state: AddrState::Valid,
                life: new,
            };
            if let Err(e) = a.check() {
                return Reply::err(e);
            }
            // Another length of the same address: the network is another one.
            if gone && let Err(e) = l.net.del_addr(l.cx, i, own) {
                return Reply::err(e);
            }
            if let Err(e) = l.net.add_addr(l.cx, i, a) {
                return Reply::err(e);
            }
        }
        self.age(l);
        Reply::Ok
    }

    /// The neighbour cache, our own addresses among it, as BSD's table has them.
    fn neighbours(&self, l: &Layers<'_>, cursor: usize) -> Reply {
        let now = l.cx.now;
        let mut all: Vec<(u32, NdEntry)> = Vec::new();
        for n in l.net.neigh.list() {
            let IpAddr::V6(ip) = n.ip else { continue };
            let fresh = l.net.neigh.times(n.ifindex).reachable;
            let old = n.state == NdState::Reachable && now.since(n.confirmed) >= fresh;
            let state = if old { NdState::Stale } else { n.state };
            let end = match state {
                NdState::Reachable => n.confirmed + fresh,
                _ => n.expires,
            };
            let e = NdEntry {
                ip: zone::strip(ip),
                mac: n.mac,
                ifname: l.net.ifname(n.ifindex).map(Into::into),
                state,
                permanent: n.permanent,
                proxy: n.proxy || n.published,
                router: self.is_router(n.ifindex, ip),
                own: false,
                expires: if n.permanent { None } else { left(now, end) },
                asked: n.asked,
            };
            all.push((n.ifindex, e));
        }
        for i in l.net.interfaces().filter(|i| i.kind == IfKind::Ethernet) {
            for a in &i.addrs {
                let IpAddr::V6(ip) = a.addr else { continue };
                let e = NdEntry {
                    ip: zone::strip(ip),
                    mac: Some(i.mac),
                    ifname: Some(i.name.clone()),
                    state: NdState::Reachable,
                    permanent: true,
                    proxy: false,
                    router: false,
                    own: true,
                    expires: None,
                    asked: 0,
                };
                all.push((i.index, e));
            }
        }
        all.sort_by_key(|(i, e)| (e.ip, *i));
        let next = if all.len() > cursor + PAGE { (cursor + PAGE) as u32 } else { 0 };
        let list = all.into_iter().skip(cursor).take(PAGE).map(|x| x.1).collect();
        Reply::Nd(NdReply::Neighbours { list, next })
    }

    /// The interface that a request about an address means.
    fn which(&self, l: &Layers<'_>, ip: Ipv6Addr, ifname: Option<&str>) -> Result<u32, Reply> {
        let i = match ifname {
            Some(n) => l.net.ifindex_of(n),
            None if zone::is_scoped(&ip) => {
                return Err(Reply::why(Errno::EINVAL, "a link-local address needs its interface (%IF)"));
            }
            None => match l.net.hop(ip.into(), 0, true) {
                Ok(h) if h.kind == HopKind::Unicast => h.ifindex,
                _ => {
                    return Err(Reply::why(
                        Errno::ENETUNREACH,
                        "the address is on no network of an interface",
                    ));
                }
            },
        };
        if l.net.iface(i).is_none() { Err(Reply::err(Errno::ENXIO)) } else { Ok(i) }
    }

    fn add_neighbour(&mut self, l: &mut Layers<'_>, e: &NdEntry) -> Reply {
        let Some(mac) = e.mac else { return Reply::err(Errno::EINVAL) };
        let i = match self.which(l, e.ip, e.ifname.as_deref()) {
            Ok(i) => i,
            Err(r) => return r,
        };
        let ip = IpAddr::V6(zone::embed(e.ip, i));
        let ethernet = l.net.iface(i).is_some_and(|f| f.kind == IfKind::Ethernet);
        if !ethernet || mac[0] & 1 != 0 || l.net.is_local(ip, 0) || e.ip.is_multicast() {
            return Reply::err(Errno::EINVAL);
        }
        if e.proxy {
            let known = l.net.neigh.published(i, ip).is_some();
            if !l.net.neigh.set_proxy((i, ip), mac) {
                return Reply::why(Errno::ENOBUFS, "the table of proxies is full");
            }
            if known {
                return Reply::Ok;
            }
            // Questions for it come by its group (RFC 4861 7.2.8).
            let group = zone::embed(nd::solicited_node(e.ip), i);
            return match l.net.join_group(l.cx, i, group.into()) {
                Ok(()) => Reply::Ok,
                Err(e) => {
                    l.net.neigh.remove_proxies(|k| *k == (i, ip));
                    Reply::err(e)
                }
            };
        }
        match l.net.neigh.set(l.cx, (i, ip), mac, e.permanent, false) {
            Some(got) => {
                for m in got.held {
                    self.ether_output(l, i, mac, m);
                }
                Reply::Ok
            }
            None => Reply::why(Errno::ENOBUFS, "the neighbour cache is full"),
        }
    }

    fn delete_neighbours(&mut self, l: &mut Layers<'_>, ip: Option<Ipv6Addr>, ifname: Option<&str>) -> Reply {
        let named = match ifname.map(|n| l.net.ifindex_of(n)) {
            Some(0) => return Reply::err(Errno::ENXIO),
            n => n,
        };
        let fits = |k: &(u32, IpAddr)| {
            let IpAddr::V6(a) = k.1 else { return false };
            ip.is_none_or(|x| x == zone::strip(a)) && named.is_none_or(|n| n == k.0)
        };
        let proxies: Vec<(u32, IpAddr)> =
            l.net.neigh.proxies().filter(|k| ip.is_some() && fits(k)).copied().collect();
        for (i, a) in &proxies {
            if let IpAddr::V6(a) = a {
                l.net.leave_group(l.cx, *i, zone::embed(nd::solicited_node(zone::strip(*a)), *i).into());
            }
        }
        l.net.neigh.remove_proxies(|k| proxies.contains(k));
        let before = l.net.neigh.len();
        // All: what was learnt, as BSD has it; one: that, whoever made it.
        l.net.neigh.remove_if(l.cx, Why::NoNeighbour, |k, permanent| fits(k) && (ip.is_some() || !permanent));
        if ip.is_some() && proxies.is_empty() && l.net.neigh.len() == before {
            return Reply::why(Errno::ESRCH, "no entry");
        }
        Reply::Ok
    }

    fn nd_interfaces(&self, l: &Layers<'_>, name: Option<&str>) -> Reply {
        let only = name.map(|n| l.net.ifindex_of(n));
        if only == Some(0) {
            return Reply::err(Errno::ENXIO);
        }
        let of = |i: &iopkt_stack::Interface| {
            let s = self.ifs.get(&i.index).copied().unwrap_or_default();
            NdIface {
                ifname: i.name.clone(),
                link_mtu: self.link_mtu(i.index).unwrap_or(i.mtu),
                max_mtu: i.mtu,
                hop_limit: i.default_hops(false),
                base_reachable: s.base,
                reachable: s.reachable,
                retrans: s.retrans,
                flags: i.nd6,
                adverts: s.adverts,
            }
        };
        let list = l.net.interfaces().filter(|i| only.is_none_or(|o| o == i.index)).map(of).collect();
        Reply::Nd(NdReply::Interfaces(list))
    }

    fn nd_set(
        &mut self,
        l: &mut Layers<'_>,
        name: &str,
        (set, clear): (u32, u32),
        (base, retrans): (Option<u32>, Option<u32>),
        hop_limit: Option<u8>,
    ) -> Reply {
        let i = l.net.ifindex_of(name);
        let known = nd6::NAMES.iter().fold(0, |f, n| f | n.0);
        if l.net.iface(i).is_none() {
            return Reply::err(Errno::ENXIO);
        }
        if (set | clear) & !known != 0 {
            return Reply::err(Errno::EINVAL);
        }
        for (what, v) in [("basereachable", base), ("retrans", retrans)] {
            if v.is_some_and(|v| !(MIN_MS..=MAX_MS).contains(&v)) {
                let why = format!("{what}: from {MIN_MS} to {MAX_MS} milliseconds");
                return Reply::why(Errno::EINVAL, why);
            }
        }
        let s = self.ifs.entry(i).or_default();
        (s.base, s.retrans) = (base.unwrap_or(s.base), retrans.unwrap_or(s.retrans));
        s.hop_limit = hop_limit.unwrap_or(s.hop_limit);
        if base.is_some() || retrans.is_some() {
            self.set_times(l, i);
        }
        if hop_limit.is_some() {
            self.set_hops(l);
        }
        self.set_flags(l, i, set, clear);
        Reply::Ok
    }

    fn solicit(&mut self, l: &mut Layers<'_>, name: &str) -> Reply {
        let i = l.net.ifindex_of(name);
        let Some(ifc) = l.net.iface(i) else { return Reply::err(Errno::ENXIO) };
        if ifc.kind != IfKind::Ethernet {
            return Reply::why(Errno::EINVAL, "routers are asked on Ethernet only");
        }
        if !ifc.is_up() {
            return Reply::why(Errno::ENETDOWN, "the interface is down");
        }
        if !self.accepts(l, i) {
            return Reply::why(
                Errno::EPERM,
                "advertisements are not believed there: sysctl -w net.inet6.ip6.accept_rtadv=1, and ndp -i IF accept_rtadv",
            );
        }
        // One that is looked for still is asked for when that has ended (RFC 4861 6.3.7).
        let good = |a: &IfAddr| slaac::is_link_local(&a.addr) && a.state == AddrState::Valid;
        if ifc.addrs.iter().any(good) {
            self.solicit_routers(l, i);
            self.routers_tick(l);
        }
        Reply::Ok
    }

    fn set_policy(&mut self, l: &mut Layers<'_>, p: Result<Policy, Reply>) -> Reply {
        match p {
            Ok(policy) => {
                self.choose(
                    l,
                    Select { policy, told: self.select.told.clone(), against: self.select.against },
                );
                Reply::Ok
            }
            Err(r) => r,
        }
    }

    fn default_interface(&mut self, l: &mut Layers<'_>, name: Option<&str>) -> Reply {
        match name {
            None => {
                let n = l.net.ifname(self.default_if).unwrap_or_default().into();
                return Reply::Nd(NdReply::Default(n));
            }
            Some("") => self.default_if = 0,
            Some(n) => match l.net.ifindex_of(n) {
                0 => return Reply::err(Errno::ENXIO),
                i => self.default_if = i,
            },
        }
        self.age(l);
        Reply::Ok
    }
}

const SECRET: &str = "net.inet6.ip6.stable_secret";
