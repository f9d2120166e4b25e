//! Routers and what they advertise (RFC 4861 section 6.3, RFC 4191): default routers by preference, prefixes on the link, more
//! specific routes, the link's MTU. Asking for it is [`crate::solicit`].
//!
//! Believed only where `net.inet6.ip6.accept_rtadv` is set, from a link-local address, with hop limit 255. Routes that come of it
//! have the origin `Advertised` and end with their lifetimes. The table is bounded (RFC 6104 3.2: a flood of advertisements must not fill
//! memory): routers, prefixes and routes of an interface each have a limit.

use crate::ctl::left;
use crate::input::Packet;
use crate::nd::HOPS;
use crate::select::{Select, Told};
use crate::solicit::Asking;
use crate::{Inet6, Stat6, slaac};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};
use iopkt_base::{Duration, Instant, zone};
use iopkt_ctl::{NdPrefix, NdRouter, rtf};
use iopkt_mbuf::Mbuf;
use iopkt_stack::route::{Origin, Route};
use iopkt_stack::{Layers, prefix};
use iopkt_wire::icmp6::{HEADER_LEN, Header};
use iopkt_wire::ipv6::MIN_MTU;
use iopkt_wire::nd::{self, INFINITE, Opt, Preference, RouterAdvert};

/// How often routers are asked for that were given up (RFC 4191 3.5: not more than once a minute).
const PROBE_LOST: Duration = Duration::from_secs(60);
/// Most routers that are remembered as those of a prefix.
const MAX_OF_PREFIX: usize = 8;

/// Something that a router told: a way to a prefix. A default router is the way to ::/0.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Way {
    ifindex: u32,
    prefix: Ipv6Addr,
    plen: u8,
    router: Ipv6Addr,
    preference: Preference,
    until: Instant,
    /// M and O of a default router.
    managed: bool,
    other: bool,
    /// Nobody answered there when it was last tried.
    lost: bool,
}

/// A prefix that routers told: its hosts are on the link, addresses may be made of it, or both.
struct Pfx {
    ifindex: u32,
    prefix: Ipv6Addr,
    plen: u8,
    on_link: bool,
    autonomous: bool,
    /// Seconds as told last.
    valid: u32,
    preferred: u32,
    until: Instant,
    routers: Vec<Ipv6Addr>,
    /// None of its routers answers, while one of another prefix of the link does.
    detached: bool,
}

/// All that was advertised.
#[derive(Default)]
pub(crate) struct Routers {
    ways: Vec<Way>,
    prefixes: Vec<Pfx>,
    pub(crate) asking: Asking,
    mtu: BTreeMap<u32, u32>,
    /// When an address or a way ends.
    age: Option<Instant>,
    /// When routers that were given up are asked for.
    probe: Option<Instant>,
}

impl Routers {
    pub fn deadline(&self) -> Instant {
        [self.age, self.probe].into_iter().flatten().fold(self.asking.deadline(), Instant::min)
    }

    pub fn detach(&mut self, ifindex: u32) {
        self.ways.retain(|w| w.ifindex != ifindex);
        self.prefixes.retain(|p| p.ifindex != ifindex);
        self.asking.forget(ifindex);
        self.mtu.remove(&ifindex);
    }
}

impl Inet6 {
    pub(crate) fn routers_tick(&mut self, l: &mut Layers<'_>) {
        self.solicit_tick(l);
        if self.routers.age.is_some_and(|t| t <= l.cx.now) {
            self.age(l);
        }
        if self.routers.probe.is_some_and(|t| t <= l.cx.now) {
            self.probe_lost(l);
        }
    }

    /// An advertisement. False when it is none to be believed.
    pub(crate) fn ra_input(
        &mut self,
        l: &mut Layers<'_>,
        p: &Packet,
        h: &Header,
        hl: usize,
        m: &Mbuf,
    ) -> bool {
        // [RFC4861 6.1.2] [RFC4861 6.3.4i] [RFC4861 6.3.7d] [RFC4862 5.5.3a] [RFC4191 2.3a] [RFC7559 2b]
        self.stats.inc(Stat6::RaIn);
        let body = &m.as_slice()[hl + HEADER_LEN..];
        let good = p.h.hop_limit == HOPS && h.code == 0 && slaac::is_link_local(&p.src.into());
        let parsed = RouterAdvert::parse(h.rest, body).filter(|_| good);
        let options = parsed.and_then(|(_, o)| nd::options(o).collect::<Result<Vec<_>, ()>>().ok());
        let (Some((ra, _)), Some(options)) = (parsed, options) else {
            self.stats.add(Stat6::NdBadOptions, parsed.is_some().into());
            self.stats.inc(Stat6::BadRa);
            return false;
        };
        let ifindex = m.ifindex();
        if !self.accepts(l, ifindex) {
            return true;
        }
        self.router_found(l, ifindex, p.src);
        if ra.lifetime != 0 {
            // A default router was found (RFC 7559 section 2); others may be wanted still.
            self.routers.asking.forget(ifindex);
        }
        self.link_times(l, ifindex, &ra);
        for o in &options {
            match o {
                Opt::SourceLink(mac) if mac[0] & 1 == 0 => {
                    let got = l.net.neigh.heard(l.cx, ifindex, p.src.into(), *mac);
                    self.learned(l, ifindex, p.src, *mac, got);
                }
                Opt::Mtu(mtu) => {
                    let max = l.net.iface(ifindex).map_or(0, |i| i.mtu);
                    if (MIN_MTU as u32..=max).contains(mtu) {
                        self.routers.mtu.insert(ifindex, *mtu);
                    }
                }
                _ => {}
            }
        }
        let router = Way {
            ifindex,
            prefix: Ipv6Addr::UNSPECIFIED,
            plen: 0,
            router: p.src,
            preference: ra.preference,
            until: l.cx.now,
            managed: ra.managed,
            other: ra.other,
            lost: false,
        };
        self.told(l, router, ra.lifetime.into());
        for o in options {
            match o {
                Opt::Prefix(x) => {
                    self.told_prefix(l, ifindex, p.src, &x);
                    if x.autonomous {
                        self.autoconf(l, ifindex, &x);
                    }
                }
                // The reserved preference: the option is not to be used (RFC 4191 2.3).
                Opt::Route { prefix, plen, preference: Some(pref), lifetime } => {
                    let IpAddr::V6(prefix) = prefix::mask(prefix.into(), plen) else { continue };
                    self.told(l, Way { prefix, plen, preference: pref, ..router }, lifetime);
                }
                Opt::Rdnss { lifetime, servers } => self.dns_servers(l, ifindex, p.src, lifetime, servers),
                Opt::Dnssl { lifetime, names } => self.dns_domains(l, ifindex, p.src, lifetime, names),
                _ => {}
            }
        }
        self.age(l);
        true
    }

    fn entries(&self, ifindex: u32) -> usize {
        let r = &self.routers;
        r.ways.iter().filter(|w| w.ifindex == ifindex).count()
            + r.prefixes.iter().filter(|p| p.ifindex == ifindex).count()
    }

    /// One way that a router told; a lifetime of 0 takes it back.
    fn told(&mut self, l: &mut Layers<'_>, way: Way, secs: u32) {
        // [RFC4861 6.3.4d] [RFC4861 6.3.4e] [RFC4191 2.3b] [RFC4191 3.1]
        let until = if secs == INFINITE { Instant::FAR } else { l.cx.now + Duration::from_secs(secs.into()) };
        let way = Way { until, ..way };
        let key = |w: &Way| (w.ifindex, w.prefix, w.plen, w.router);
        if let Some(w) = self.routers.ways.iter_mut().find(|w| key(w) == key(&way)) {
            *w = way;
        } else if secs != 0 {
            if self.entries(way.ifindex) >= self.t.maxifdefrouters as usize {
                return self.stats.inc(Stat6::RaDropped);
            }
            self.routers.ways.push(way);
        }
    }

    /// A prefix that a router told.
    fn told_prefix(&mut self, l: &mut Layers<'_>, ifindex: u32, router: Ipv6Addr, x: &nd::Prefix) {
        // [RFC4861 6.3.4f] [RFC4861 6.3.4g] [RFC4861 6.3.4h] [RFC4862 5.6]
        let odd = x.plen > 128 || slaac::is_link_local(&x.prefix.into()) || x.prefix.is_multicast();
        let IpAddr::V6(net) = prefix::mask(x.prefix.into(), x.plen.min(128)) else { return };
        if odd || !(x.on_link || x.autonomous) {
            return;
        }
        let until =
            if x.valid == INFINITE { Instant::FAR } else { l.cx.now + Duration::from_secs(x.valid.into()) };
        let room = self.entries(ifindex) < self.t.maxifdefrouters as usize;
        let list = &mut self.routers.prefixes;
        let at = match list.iter().position(|p| (p.ifindex, p.prefix, p.plen) == (ifindex, net, x.plen)) {
            Some(at) => at,
            None if x.valid == 0 => return,
            None if !room => return self.stats.inc(Stat6::RaDropped),
            None => {
                list.push(Pfx {
                    ifindex,
                    prefix: net,
                    plen: x.plen,
                    on_link: false,
                    autonomous: false,
                    valid: 0,
                    preferred: 0,
                    until,
                    routers: Vec::new(),
                    detached: false,
                });
                list.len() - 1
            }
        };
        let p = &mut list[at];
        // Without L nothing is said of where its hosts are (6.3.4): what was said before holds for its time.
        if x.on_link || !p.on_link {
            p.until = until;
        }
        p.on_link |= x.on_link;
        p.autonomous = x.autonomous;
        (p.valid, p.preferred) = (x.valid, x.preferred);
        if !p.routers.contains(&router) && p.routers.len() < MAX_OF_PREFIX {
            p.routers.push(router);
        }
    }

    /// Ends what is over, and makes the routes anew if something changed.
    pub(crate) fn age(&mut self, l: &mut Layers<'_>) {
        // [RFC4861 6.3.5]
        let now = l.cx.now;
        self.routers.ways.retain(|w| w.until > now);
        self.routers.prefixes.retain(|p| p.until > now);
        let ways = self.routers.ways.iter().map(|w| w.until).min().unwrap_or(Instant::FAR);
        let prefixes = self.routers.prefixes.iter().map(|p| p.until).min().unwrap_or(Instant::FAR);
        let dns = self.dns.age(now);
        let addrs = self.age_addresses(l);
        let next = ways.min(prefixes).min(dns).min(addrs);
        self.routers.age = Some(next).filter(|t| *t != Instant::FAR);
        self.lay(l);
        self.reckon();
    }

    /// Finds the prefixes whose routers are all lost while others' are not, and marks the addresses made of them: the link is
    /// another one than it was, or its numbers are.
    fn judge_prefixes(&mut self, l: &mut Layers<'_>) {
        let Routers { ways, prefixes, .. } = &mut self.routers;
        let lost = |i: u32, r: &Ipv6Addr| ways.iter().any(|w| w.ifindex == i && w.router == *r && w.lost);
        let lives = |p: &Pfx| p.routers.is_empty() || p.routers.iter().any(|r| !lost(p.ifindex, r));
        let alive: Vec<u32> = prefixes.iter().filter(|p| lives(p)).map(|p| p.ifindex).collect();
        let mut changed = Vec::new();
        for p in prefixes.iter_mut() {
            let detached = !lives(p) && alive.contains(&p.ifindex);
            if detached != p.detached {
                p.detached = detached;
                changed.push((p.ifindex, p.prefix, p.plen, detached));
            }
        }
        for (i, net, plen, detached) in changed {
            if let Some(ifc) = l.net.iface_mut(i) {
                let of = |a: &&mut iopkt_stack::IfAddr| {
                    a.life.autoconf && prefix::contains(net.into(), plen, a.addr)
                };
                ifc.addrs.iter_mut().filter(of).for_each(|a| a.life.detached = detached);
            }
            let word = if detached { "detached: no router of it answers" } else { "attached again" };
            let line = format!("{}: prefix {net}/{plen} is {word}", l.net.ifname(i).unwrap_or("?"));
            l.cx.log(5, line);
        }
    }

    /// The choice of sources learns who advertised which prefix.
    fn tell_selection(&mut self, l: &mut Layers<'_>) {
        let of =
            |p: &Pfx| Told { ifindex: p.ifindex, prefix: p.prefix, plen: p.plen, routers: p.routers.clone() };
        let told: Vec<Told> = self.routers.prefixes.iter().filter(|p| p.autonomous).map(of).collect();
        if told != self.select.told {
            let policy = self.select.policy.again();
            self.choose(l, Select { policy, told, against: self.select.against });
        }
    }

    /// Sources are chosen so from now on.
    pub(crate) fn choose(&mut self, l: &mut Layers<'_>, s: Select) {
        self.select = Arc::new(s);
        l.net.set_source6(self.select.clone());
    }

    /// Makes the routes: the best way to a prefix first, which is the one that is taken.
    fn lay(&mut self, l: &mut Layers<'_>) {
        // [RFC4191 3.2a]
        self.judge_prefixes(l);
        self.tell_selection(l);
        let mut ways = self.ranked();
        // One that answers and knows less of the destination is better than one that does not answer (RFC 4191 3.2).
        let all = ways.clone();
        let leads = |w: &Way, to: &Way| {
            w.plen < to.plen && prefix::contains(w.prefix.into(), w.plen, to.prefix.into())
        };
        ways.retain(|w| !w.lost || !all.iter().any(|x| !x.lost && leads(x, w)));
        let mtu = |i: u32| self.routers.mtu.get(&i).copied().unwrap_or(0);
        let on_link = |net: Ipv6Addr, plen: u8, i: u32| {
            let mut r = Route::on_link(net.into(), plen, i, None, Origin::Advertised);
            r.mtu = mtu(i);
            r.flags |= rtf::CLONING;
            r
        };
        let mut want: Vec<Route> = ways
            .iter()
            .map(|w| {
                let mut r = Route::on_link(w.prefix.into(), w.plen, w.ifindex, None, Origin::Advertised);
                r.mtu = mtu(w.ifindex);
                r.gateway = Some(w.router.into());
                r.flags |= rtf::GATEWAY | rtf::DYNAMIC;
                r.expires = w.until;
                r.preference = match w.preference {
                    Preference::Low => -1,
                    Preference::Medium => 0,
                    Preference::High => 1,
                };
                r
            })
            .collect();
        let near = self.routers.prefixes.iter().filter(|p| p.on_link && !p.detached);
        want.extend(near.map(|p| Route { expires: p.until, ..on_link(p.prefix, p.plen, p.ifindex) }));
        // `ndp -I`: without a router everybody is taken to be on that link.
        if self.default_if != 0 && !ways.iter().any(|w| w.plen == 0) {
            want.push(on_link(Ipv6Addr::UNSPECIFIED, 0, self.default_if));
        }
        l.net.replace_routes(l.cx, Origin::Advertised, want);
    }

    /// The ways, best first. One that does not answer is worse than any that may (6.3.6); those are tried in turn, whatever their
    /// preference (RFC 4191 3.2).
    fn ranked(&self) -> Vec<Way> {
        // [RFC4861 6.3.6a] [RFC4191 3.2a]
        let mut ways = self.routers.ways.clone();
        let rank =
            |w: &Way| (w.lost, core::cmp::Reverse(if w.lost { Preference::Medium } else { w.preference }));
        ways.sort_by_key(rank);
        ways
    }

    /// A neighbour that was used did not answer: what a redirect said of it is void (RFC 4861 7.3.3), and as a router it goes behind all
    /// others.
    pub(crate) fn router_lost(&mut self, l: &mut Layers<'_>, ifindex: u32, who: IpAddr) {
        // [RFC4861 6.3.6b]
        let by = |r: &Route| r.gateway.unwrap_or(r.dst);
        l.net.remove_routes(l.cx, |r| r.origin == Origin::Redirect && r.ifindex == ifindex && by(r) == who);
        let IpAddr::V6(who) = who else { return };
        let ways = &mut self.routers.ways;
        let (mut its, others): (Vec<Way>, Vec<Way>) =
            ways.iter().copied().partition(|w| w.ifindex == ifindex && w.router == who);
        if its.is_empty() {
            return;
        }
        its.iter_mut().for_each(|w| w.lost = true);
        *ways = others;
        ways.append(&mut its);
        self.routers.probe.get_or_insert(l.cx.now + PROBE_LOST);
        self.lay(l);
        self.reckon();
    }

    /// Asks for routers that were given up (RFC 4191 3.5).
    fn probe_lost(&mut self, l: &mut Layers<'_>) {
        // [RFC4191 3.5a] [RFC4191 3.5b]
        let lost: Vec<(u32, Ipv6Addr)> =
            self.routers.ways.iter().filter(|w| w.lost).map(|w| (w.ifindex, w.router)).collect();
        self.routers.probe = (!lost.is_empty()).then_some(l.cx.now + PROBE_LOST);
        for (i, r) in lost {
            l.net.neigh.ask(l.cx, (i, r.into()));
        }
        self.send_solicits(l);
    }

    /// A router answered, or spoke: it is there.
    pub(crate) fn router_found(&mut self, l: &mut Layers<'_>, ifindex: u32, who: Ipv6Addr) {
        let lost = |w: &&mut Way| w.ifindex == ifindex && w.router == who && w.lost;
        if self.routers.ways.iter_mut().filter(lost).map(|w| w.lost = false).count() > 0 {
            self.lay(l);
        }
    }

    /// A router says that it is none any more (7.2.5).
    pub(crate) fn router_is_host(&mut self, l: &mut Layers<'_>, ifindex: u32, who: Ipv6Addr) {
        // [RFC4861 7.2.5c]
        let before = self.routers.ways.len();
        self.routers.ways.retain(|w| w.ifindex != ifindex || w.router != who);
        if self.routers.ways.len() != before {
            self.age(l);
        }
    }

    /// Whether this neighbour told that it is a router.
    pub(crate) fn is_router(&self, ifindex: u32, who: Ipv6Addr) -> bool {
        self.routers.ways.iter().any(|w| w.ifindex == ifindex && w.router == who)
    }

    /// What routers say of a link's MTU.
    pub(crate) fn link_mtu(&self, ifindex: u32) -> Option<u32> {
        self.routers.mtu.get(&ifindex).copied()
    }

    /// Forgets what was told by hand's order; addresses made of the prefixes go with them.
    pub(crate) fn flush(&mut self, l: &mut Layers<'_>, routers: bool, prefixes: bool) {
        if routers {
            self.routers.ways.clear();
        }
        if prefixes {
            self.routers.prefixes.clear();
            let gone: Vec<(u32, IpAddr)> = l
                .net
                .interfaces()
                .flat_map(|i| i.addrs.iter().filter(|a| a.life.autoconf).map(move |a| (i.index, a.addr)))
                .collect();
            for (i, a) in gone {
                let _ = l.net.del_addr(l.cx, i, a);
            }
        }
        self.age(l);
    }

    pub(crate) fn prefix_list(&self, l: &Layers<'_>) -> Vec<NdPrefix> {
        let now = l.cx.now;
        let some = |s: u32| (s != INFINITE).then_some(s);
        let of = |p: &Pfx| {
            let i = l.net.iface(p.ifindex)?;
            let made = |a: &&iopkt_stack::IfAddr| {
                a.life.autoconf && prefix::contains(p.prefix.into(), p.plen, a.addr)
            };
            Some(NdPrefix {
                prefix: p.prefix,
                prefix_len: p.plen,
                ifname: i.name.clone(),
                on_link: p.on_link,
                autonomous: p.autonomous,
                detached: p.detached,
                valid: some(p.valid),
                preferred: some(p.preferred),
                expires: left(now, p.until),
                refs: i.addrs.iter().filter(made).count() as u32,
                routers: p.routers.iter().map(|r| zone::strip(*r)).collect(),
            })
        };
        self.routers.prefixes.iter().filter_map(of).collect()
    }

    /// The default routers, the one in use first.
    pub(crate) fn router_list(&self, l: &Layers<'_>) -> Vec<NdRouter> {
        let ways = self.ranked().into_iter().filter(|w| w.plen == 0);
        let of = |w: Way| {
            let preference = match w.preference {
                Preference::Low => "low",
                Preference::Medium => "medium",
                Preference::High => "high",
            };
            Some(NdRouter {
                addr: zone::strip(w.router),
                ifname: l.net.ifname(w.ifindex)?.into(),
                managed: w.managed,
                other: w.other,
                preference: preference.into(),
                expires: left(l.cx.now, w.until),
            })
        };
        ways.filter_map(of).collect()
    }
}
