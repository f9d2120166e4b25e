//! Routers and what they advertise (RFC 4861 section 6.3, RFC 4191): default routers by preference, prefixes on the link, more
//! specific routes, the link's MTU; and asking for it.
//!
//! Believed only where `net.inet6.ip6.accept_rtadv` is set, from a link-local address, with hop limit 255. Routes that come of it
//! have the origin `Advertised` and end with their lifetimes. The table is bounded (RFC 6104 3.2: a flood of advertisements must not fill
//! memory): routers, prefixes and routes of an interface each have a limit.

use crate::input::Packet;
use crate::nd::HOPS;
use crate::{ALL_ROUTERS, Inet6, Stat6, slaac};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};
use iopkt_base::{Duration, Instant, zone};
use iopkt_ctl::{IfKind, rtf};
use iopkt_mbuf::Mbuf;
use iopkt_stack::route::{Origin, Route};
use iopkt_stack::{Layers, prefix};
use iopkt_wire::icmp6::{HEADER_LEN, Header};
use iopkt_wire::ipv6::MIN_MTU;
use iopkt_wire::nd::{self, INFINITE, Opt, Preference, RouterAdvert, opt};

/// Solicitations, and the time between them (RFC 4861 section 10).
const SOLICITS: u32 = 3;
const SOLICIT_INTERVAL: Duration = Duration::from_secs(4);
/// Most entries of an interface: default routers and routes, prefixes.
const MAX_ENTRIES: usize = 32;

/// Something that a router told: a way to a prefix. A default router is the way to ::/0.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Way {
    ifindex: u32,
    prefix: Ipv6Addr,
    plen: u8,
    /// `None`: the prefix is on the link.
    router: Option<Ipv6Addr>,
    preference: Preference,
    until: Instant,
    /// Nobody answered there when it was last tried.
    lost: bool,
}

/// Solicitations that an interface still sends.
struct Asking {
    left: u32,
    next: Instant,
}

/// All that was advertised.
#[derive(Default)]
pub(crate) struct Routers {
    ways: Vec<Way>,
    asking: BTreeMap<u32, Asking>,
    mtu: BTreeMap<u32, u32>,
    /// When an address or a way ends.
    age: Option<Instant>,
}

impl Routers {
    pub fn deadline(&self) -> Instant {
        let ask = self.asking.values().map(|a| a.next).min().unwrap_or(Instant::FAR);
        ask.min(self.age.unwrap_or(Instant::FAR))
    }

    pub fn detach(&mut self, ifindex: u32) {
        self.ways.retain(|w| w.ifindex != ifindex);
        self.asking.remove(&ifindex);
        self.mtu.remove(&ifindex);
    }
}

impl Inet6 {
    /// The link-local address of an interface is good: routers may be asked.
    pub(crate) fn solicit_routers(&mut self, l: &mut Layers<'_>, ifindex: u32) {
        let ethernet = l.net.iface(ifindex).is_some_and(|i| i.kind == IfKind::Ethernet);
        if ethernet && self.t.accept_rtadv {
            self.routers.asking.insert(ifindex, Asking { left: SOLICITS, next: l.cx.now });
            self.reckon();
        }
    }

    /// The link came or went: what was told on it may not hold any more, but it is kept for its time.
    pub(crate) fn routers_link(&mut self, l: &mut Layers<'_>, ifindex: u32, usable: bool) {
        if !usable {
            self.routers.asking.remove(&ifindex);
        } else if self.t.dad_count == 0 {
            self.solicit_routers(l, ifindex);
        }
    }

    pub(crate) fn routers_tick(&mut self, l: &mut Layers<'_>) {
        let now = l.cx.now;
        let due: Vec<u32> = self.routers.asking.iter().filter(|a| a.1.next <= now).map(|a| *a.0).collect();
        for ifindex in due {
            self.send_router_solicit(l, ifindex);
        }
        if self.routers.age.is_some_and(|t| t <= now) {
            self.age(l);
        }
    }

    fn send_router_solicit(&mut self, l: &mut Layers<'_>, ifindex: u32) {
        let Some(a) = self.routers.asking.get_mut(&ifindex) else { return };
        a.left -= 1;
        a.next = l.cx.now + SOLICIT_INTERVAL;
        if a.left == 0 {
            self.routers.asking.remove(&ifindex);
        }
        let to = zone::embed(ALL_ROUTERS, ifindex);
        let Some(mac) = l.net.iface(ifindex).map(|i| i.mac) else { return };
        let Some(IpAddr::V6(from)) = l.net.source_for(ifindex, to.into()) else { return };
        let mut b = nd::router_solicit();
        nd::push_link(&mut b, opt::SOURCE_LINK, mac);
        self.stats.inc(Stat6::RsOut);
        self.nd_send(l, ifindex, from, to, b);
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
        self.stats.inc(Stat6::RaIn);
        let body = &m.as_slice()[hl + HEADER_LEN..];
        let good = p.h.hop_limit == HOPS && h.code == 0 && slaac::is_link_local(&p.src.into());
        let parsed = RouterAdvert::parse(h.rest, body).filter(|_| good);
        let options = parsed.and_then(|(_, o)| nd::options(o).collect::<Result<Vec<_>, ()>>().ok());
        let (Some((ra, _)), Some(options)) = (parsed, options) else {
            self.stats.inc(Stat6::BadRa);
            return false;
        };
        let ifindex = m.ifindex();
        if !self.t.accept_rtadv {
            return true;
        }
        // Whoever advertises need not be asked any more (6.3.7).
        self.routers.asking.remove(&ifindex);
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
        self.told(l, ifindex, Ipv6Addr::UNSPECIFIED, 0, Some(p.src), ra.preference, ra.lifetime.into());
        for o in options {
            match o {
                Opt::Prefix(x) => {
                    let odd =
                        x.plen > 128 || slaac::is_link_local(&x.prefix.into()) || x.prefix.is_multicast();
                    if x.on_link && !odd {
                        self.told(l, ifindex, x.prefix, x.plen, None, Preference::Medium, x.valid);
                    }
                    if x.autonomous {
                        self.autoconf(l, ifindex, &x);
                    }
                }
                // The reserved preference: the option is not to be used (RFC 4191 2.3).
                Opt::Route { prefix, plen, preference: Some(pref), lifetime } => {
                    self.told(l, ifindex, prefix, plen, Some(p.src), pref, lifetime);
                }
                _ => {}
            }
        }
        self.age(l);
        true
    }

    /// One thing that a router told; a lifetime of 0 takes it back.
    #[allow(clippy::too_many_arguments)] // an entry's fields
    fn told(
        &mut self,
        l: &mut Layers<'_>,
        ifindex: u32,
        net: Ipv6Addr,
        plen: u8,
        router: Option<Ipv6Addr>,
        preference: Preference,
        secs: u32,
    ) {
        let IpAddr::V6(net) = prefix::mask(net.into(), plen) else { return };
        let until = if secs == INFINITE { Instant::FAR } else { l.cx.now + Duration::from_secs(secs.into()) };
        let ways = &mut self.routers.ways;
        let same = |w: &Way| (w.ifindex, w.prefix, w.plen, w.router) == (ifindex, net, plen, router);
        if let Some(w) = ways.iter_mut().find(|w| same(w)) {
            (w.preference, w.until, w.lost) = (preference, until, false);
        } else if secs != 0 {
            if ways.iter().filter(|w| w.ifindex == ifindex).count() >= MAX_ENTRIES {
                return self.stats.inc(Stat6::RaDropped);
            }
            ways.push(Way { ifindex, prefix: net, plen, router, preference, until, lost: false });
        }
    }

    /// Ends what is over, and makes the routes anew if something changed.
    fn age(&mut self, l: &mut Layers<'_>) {
        let now = l.cx.now;
        self.routers.ways.retain(|w| w.until > now);
        let ways = self.routers.ways.iter().map(|w| w.until).min().unwrap_or(Instant::FAR);
        let addrs = self.age_addresses(l);
        self.routers.age = Some(ways.min(addrs)).filter(|t| *t != Instant::FAR);
        self.lay(l);
        self.reckon();
    }

    /// Makes the routes: the best way to a prefix first, which is the one that is taken.
    fn lay(&mut self, l: &mut Layers<'_>) {
        let mut ways = self.routers.ways.clone();
        // One that does not answer is worse than any that may (6.3.6).
        ways.sort_by(|a, b| a.lost.cmp(&b.lost).then(b.preference.cmp(&a.preference)));
        let want: Vec<Route> = ways
            .iter()
            .map(|w| {
                let mut r = Route::on_link(w.prefix.into(), w.plen, w.ifindex, None, Origin::Advertised);
                r.mtu = self.routers.mtu.get(&w.ifindex).copied().unwrap_or(0);
                match w.router {
                    Some(g) => {
                        r.gateway = Some(g.into());
                        r.flags |= rtf::GATEWAY | rtf::DYNAMIC;
                    }
                    None => r.flags |= rtf::CLONING,
                }
                r
            })
            .collect();
        l.net.replace_routes(l.cx, Origin::Advertised, want);
    }

    /// A router that was used did not answer.
    pub(crate) fn router_lost(&mut self, l: &mut Layers<'_>, ifindex: u32, who: IpAddr) {
        let IpAddr::V6(who) = who else { return };
        let lost = |w: &&mut Way| w.ifindex == ifindex && w.router == Some(who) && !w.lost;
        let n = self.routers.ways.iter_mut().filter(lost).map(|w| w.lost = true).count();
        if n > 0 {
            self.lay(l);
        }
    }

    /// A router says that it is none any more (7.2.5).
    pub(crate) fn router_is_host(&mut self, l: &mut Layers<'_>, ifindex: u32, who: Ipv6Addr) {
        let before = self.routers.ways.len();
        self.routers.ways.retain(|w| w.ifindex != ifindex || w.router != Some(who));
        if self.routers.ways.len() != before {
            self.age(l);
        }
    }
}
