//! What people set and ask: addresses with lifetimes and flags, neighbours, prefixes, routers, settings of interfaces.

mod common;

use common::*;
use iopkt_base::Errno;
use iopkt_ctl::{
    AddrInfo, AddrLife, AddrState, NdEntry, NdIface, NdReply, NdRequest, NdState, Reply, Request, VARIABLES,
    in6, nd6, shared_name,
};
use iopkt_inet6::Tunables;
use iopkt_wire::icmp6::ty;
use iopkt_wire::nd::{self, Preference, Prefix, RouterAdvert, opt};
use std::net::{IpAddr, Ipv6Addr};

const ALL: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];

fn info(a: &str) -> AddrInfo {
    AddrInfo { addr: a6(a).into(), prefix_len: 64, broadcast: None, peer: None, state: AddrState::Valid }
}

fn add(h: &mut Host, a: &str, flags: u32, clear: u32, life: (Option<u32>, Option<u32>)) -> Reply {
    let life = AddrLife { flags, preferred: life.0, valid: life.1, ..AddrLife::plain(a6(a).into()) };
    h.ctl(Request::Nd(NdRequest::AddAddr { name: "eth0".into(), addr: info(a), life, clear }))
}

/// Flags and lifetimes of an address, as ifconfig gets them.
fn life(h: &mut Host, a: &str) -> Option<AddrLife> {
    match h.ctl(Request::Interfaces { name: Some("eth0".into()) }) {
        Reply::Interfaces(l) => l[0].life(&IpAddr::V6(a6(a))).copied(),
        r => panic!("{r:?}"),
    }
}

fn iface(h: &mut Host) -> NdIface {
    match h.ctl(Request::Nd(NdRequest::Interfaces { name: Some("eth0".into()) })) {
        Reply::Nd(NdReply::Interfaces(mut l)) => l.remove(0),
        r => panic!("{r:?}"),
    }
}

fn set(h: &mut Host, set: u32, clear: u32) {
    let r = NdRequest::Set {
        name: "eth0".into(),
        set,
        clear,
        base_reachable: None,
        retrans: None,
        hop_limit: None,
    };
    assert_eq!(h.ctl(Request::Nd(r)), Reply::Ok);
}

fn neighbours(h: &mut Host) -> Vec<NdEntry> {
    match h.ctl(Request::Nd(NdRequest::Neighbours { cursor: 0 })) {
        Reply::Nd(NdReply::Neighbours { list, next: 0 }) => list,
        r => panic!("{r:?}"),
    }
}

fn one() -> Wire {
    let mut w = Wire::new(vec![Host::new(1)]);
    w.hosts[0].up();
    w.run(3000);
    w
}

fn prefix(p: &str) -> Prefix {
    Prefix { prefix: a6(p), plen: 64, on_link: true, autonomous: true, valid: 7200, preferred: 3600 }
}

fn advertise(w: &mut Wire, from: &str, ra: RouterAdvert, rest: impl Fn(&mut Vec<u8>)) {
    let mut b = ra.emit();
    nd::push_link(&mut b, opt::SOURCE_LINK, [2, 0, 0, 0, 1, a6(from).octets()[15]]);
    rest(&mut b);
    w.inject(0, nd(ALL, from, "ff02::1", b));
    w.run(10);
}

fn router() -> RouterAdvert {
    RouterAdvert { lifetime: 1800, preference: Preference::Medium, ..RouterAdvert::default() }
}

#[test]
fn lifetimes_that_a_person_sets_end_too() {
    let mut w = one();
    assert_eq!(add(&mut w.hosts[0], "2001:db8::1", 0, 0, (Some(10), Some(20))), Reply::Ok);
    w.run(3000);
    let l = life(&mut w.hosts[0], "2001:db8::1").unwrap();
    assert_eq!((l.flags, l.preferred, l.valid), (0, Some(7), Some(17)));
    w.run(8000);
    assert_eq!(life(&mut w.hosts[0], "2001:db8::1").unwrap().flags, in6::DEPRECATED);
    // Giving it again makes it new, without another look for duplicates.
    let asked = w.sent(0, ty::NEIGHBOR_SOLICIT).len();
    assert_eq!(add(&mut w.hosts[0], "2001:db8::1", 0, 0, (None, Some(20))).clone(), {
        Reply::why(Errno::EINVAL, "an address cannot be preferred for longer than it is valid")
    });
    assert_eq!(add(&mut w.hosts[0], "2001:db8::1", 0, in6::DEPRECATED, (Some(5), Some(20))), Reply::Ok);
    assert_eq!(life(&mut w.hosts[0], "2001:db8::1").unwrap().flags, 0);
    w.run(21_000);
    assert_eq!((life(&mut w.hosts[0], "2001:db8::1"), w.hosts[0].addrs().len()), (None, 1));
    assert_eq!(w.sent(0, ty::NEIGHBOR_SOLICIT).len(), asked);
    assert!(matches!(
        add(&mut w.hosts[0], "2001:db8::1", 0, 0, (Some(0), Some(0))),
        Reply::Err { errno: Errno::EINVAL, .. }
    ));
    w.end();
}

#[test]
fn flags_of_an_address() {
    let mut w = one();
    let asked = w.sent(0, ty::NEIGHBOR_SOLICIT).len();
    assert_eq!(add(&mut w.hosts[0], "2001:db8::a", in6::ANYCAST, 0, (None, None)), Reply::Ok);
    assert_eq!(
        add(&mut w.hosts[0], "2001:db8::d", in6::DEPRECATED | in6::NODAD, in6::TENTATIVE, (None, None)),
        Reply::Ok
    );
    w.run(100);
    assert_eq!(w.sent(0, ty::NEIGHBOR_SOLICIT).len(), asked, "neither is looked for");
    assert_eq!(life(&mut w.hosts[0], "2001:db8::a").unwrap().flags, in6::ANYCAST);
    assert_eq!(life(&mut w.hosts[0], "2001:db8::d").unwrap().flags, in6::DEPRECATED | in6::NODAD);
    let source = |w: &Wire| w.hosts[0].s.net.hop(a6("2001:db8::99").into(), 0, false).unwrap().src;
    assert_eq!(
        source(&w),
        Some(a6("2001:db8::d").into()),
        "anycast is no source, deprecated is the last one"
    );
    assert_eq!(add(&mut w.hosts[0], "2001:db8::e", 0, 0, (None, None)), Reply::Ok);
    w.run(3000);
    assert_eq!(source(&w), Some(a6("2001:db8::e").into()));
    // Asked for anew on order; until then it is nobody's.
    assert_eq!(add(&mut w.hosts[0], "2001:db8::e", in6::TENTATIVE, in6::NODAD, (None, None)), Reply::Ok);
    assert_eq!(life(&mut w.hosts[0], "2001:db8::e").unwrap().flags, in6::TENTATIVE);
    w.run(3000);
    assert_eq!(life(&mut w.hosts[0], "2001:db8::e").unwrap().flags, 0);
    // An anycast address that becomes one of ours alone.
    assert_eq!(add(&mut w.hosts[0], "2001:db8::a", 0, in6::ANYCAST, (None, None)), Reply::Ok);
    w.run(3000);
    assert_eq!(life(&mut w.hosts[0], "2001:db8::a").unwrap().flags, 0);
    w.end();
}

#[test]
fn a_link_s_times_are_its_routers() {
    // [RFC4861 6.3.2] [RFC4861 6.3.4a]
    let mut w = one();
    w.hosts[0].sysctl("net.inet6.ip6.accept_rtadv", "1");
    assert_eq!(iface(&mut w.hosts[0]).flags, nd6::NUD | nd6::ACCEPT_RTADV | nd6::AUTO_LINKLOCAL);
    advertise(
        &mut w,
        "fe80::a",
        RouterAdvert { hop_limit: 9, reachable: 20_000, retrans: 250, ..router() },
        |b| nd::push_mtu(b, 1400),
    );
    let i = iface(&mut w.hosts[0]);
    assert_eq!((i.hop_limit, i.base_reachable, i.retrans, i.link_mtu, i.adverts), (9, 20_000, 250, 1400, 1));
    assert!((10_000..30_000).contains(&i.reachable), "{i:?}");
    // What no honest router asks for is kept within bounds; 0 says nothing.
    advertise(&mut w, "fe80::a", RouterAdvert { reachable: 1, retrans: 1, ..router() }, |_| ());
    let i = iface(&mut w.hosts[0]);
    assert_eq!((i.hop_limit, i.base_reachable, i.retrans), (9, 100, 100));
    w.end();
}

#[test]
fn advertisements_are_believed_where_the_flags_say() {
    let mut w = one();
    let heard = |w: &mut Wire| {
        advertise(w, "fe80::a", router(), |_| ());
        iface(&mut w.hosts[0]).adverts
    };
    assert_eq!(heard(&mut w), 0);
    set(&mut w.hosts[0], nd6::OVERRIDE_RTADV, 0);
    w.run(100);
    assert_eq!(w.sent(0, ty::ROUTER_SOLICIT).len(), 1, "asked as soon as it listens");
    assert_eq!(heard(&mut w), 1);
    set(&mut w.hosts[0], 0, nd6::OVERRIDE_RTADV);
    assert_eq!(heard(&mut w), 1);
    w.hosts[0].sysctl("net.inet6.ip6.accept_rtadv", "1");
    assert_eq!(heard(&mut w), 2);
    set(&mut w.hosts[0], 0, nd6::ACCEPT_RTADV);
    assert_eq!(heard(&mut w), 2);
    let r = w.hosts[0].ctl(Request::Nd(NdRequest::Solicit { name: "eth0".into() }));
    assert!(matches!(r, Reply::Err { errno: Errno::EPERM, .. }), "{r:?}");
    w.end();
}

#[test]
fn a_disabled_interface_is_silent() {
    let mut w = Wire::pair();
    let (a, b) = (w.hosts[0].link_local(), w.hosts[1].link_local());
    let (s, to) = (w.hosts[0].udp("[::]:7000"), w.hosts[1].udp("[::]:7001"));
    set(&mut w.hosts[0], nd6::DISABLED, 0);
    let out = w.log.len();
    let _ = w.hosts[0].send(s, b, 7001, b"x");
    w.hosts[1].send(to, a, 7000, b"y").unwrap();
    w.run(100);
    assert!(w.hosts[1].recv(to).is_none() && w.hosts[0].recv(s).is_none());
    assert!(w.log[out..].iter().all(|(h, _)| *h == 1), "it sent something");
    set(&mut w.hosts[0], 0, nd6::DISABLED);
    w.run(3000);
    w.hosts[0].send(s, b, 7001, b"x").unwrap();
    w.run(100);
    assert!(w.hosts[1].recv(to).is_some());
    w.end();
}

#[test]
fn without_nud_nobody_is_polled() {
    for nud in [true, false] {
        let mut w = Wire::pair();
        if !nud {
            set(&mut w.hosts[0], 0, nd6::NUD);
        }
        let b = w.hosts[1].link_local();
        let s = w.hosts[0].udp("[::]:7000");
        for _ in 0..5 {
            w.hosts[0].send(s, b, 9, b"x").unwrap();
            w.run(20_000);
        }
        // One question to everybody; the others are to the neighbour.
        let asked = w.sent(0, ty::NEIGHBOR_SOLICIT).iter().filter(|p| p[8] == 0xfe).count();
        assert_eq!(asked > 1, nud, "{asked}");
        w.end();
    }
}

#[test]
fn neighbours_are_listed_added_and_forgotten() {
    let mut w = Wire::pair();
    let (a, b) = (w.hosts[0].link_local(), w.hosts[1].link_local());
    let s = w.hosts[0].udp("[::]:7000");
    w.hosts[0].send(s, b, 9, b"x").unwrap();
    w.run(100);
    let l = neighbours(&mut w.hosts[0]);
    let of = |a: Ipv6Addr| l.iter().find(|e| e.ip == iopkt_base::zone::strip(a)).cloned().unwrap();
    assert!(of(a).own && of(a).permanent && of(a).mac == Some([2, 0, 0, 0, 0, 1]));
    assert_eq!(
        (of(b).mac, of(b).state, of(b).expires),
        (Some([2, 0, 0, 0, 0, 2]), NdState::Reachable, Some(29))
    );
    w.run(40_000);
    let far = of(b);
    assert!(neighbours(&mut w.hosts[0]).iter().any(|e| e.ip == far.ip && e.state == NdState::Stale));
    let new = NdEntry { ip: a6("fe80::77"), mac: Some([2, 0, 0, 0, 0, 77]), permanent: true, ..far.clone() };
    let nameless = NdEntry { ifname: None, ..new.clone() };
    assert!(matches!(w.hosts[0].ctl(Request::Nd(NdRequest::Add(nameless))), Reply::Err { .. }));
    assert_eq!(w.hosts[0].ctl(Request::Nd(NdRequest::Add(new))), Reply::Ok);
    // All that was learnt goes, what a person set stays until it is named.
    assert_eq!(w.hosts[0].ctl(Request::Nd(NdRequest::Delete { ip: None, ifname: None })), Reply::Ok);
    let left: Vec<_> = neighbours(&mut w.hosts[0]).into_iter().filter(|e| !e.own).map(|e| e.ip).collect();
    assert_eq!(left, [a6("fe80::77")]);
    let gone = NdRequest::Delete { ip: Some(a6("fe80::77")), ifname: Some("eth0".into()) };
    assert_eq!(w.hosts[0].ctl(Request::Nd(gone.clone())), Reply::Ok);
    assert!(matches!(w.hosts[0].ctl(Request::Nd(gone)), Reply::Err { errno: Errno::ESRCH, .. }));
    w.end();
}

#[test]
fn a_proxy_answers_for_others() {
    let mut w = Wire::pair();
    let e = NdEntry {
        ip: a6("fe80::99"),
        mac: Some([2, 0, 0, 0, 0, 0x99]),
        ifname: Some("eth0".into()),
        state: NdState::Reachable,
        permanent: true,
        proxy: true,
        router: false,
        own: false,
        expires: None,
        asked: 0,
    };
    assert_eq!(w.hosts[0].ctl(Request::Nd(NdRequest::Add(e))), Reply::Ok);
    w.run(3000);
    let s = w.hosts[1].udp("[::]:7001");
    let to = iopkt_base::zone::embed(a6("fe80::99"), ETH);
    w.hosts[1].send(s, to, 9, b"x").unwrap();
    // Others may answer as well: after a moment.
    w.run(1100);
    let na = w.sent(0, ty::NEIGHBOR_ADVERT);
    let last = icmp_of(na.last().expect("an answer")).unwrap();
    assert_eq!(
        (last[4] & 0x20, &last[8..24]),
        (0, &a6("fe80::99").octets()[..]),
        "never to replace an answer"
    );
    assert!(neighbours(&mut w.hosts[1]).iter().any(|e| e.mac == Some([2, 0, 0, 0, 0, 0x99])));
    let gone = NdRequest::Delete { ip: Some(a6("fe80::99")), ifname: None };
    assert_eq!(w.hosts[0].ctl(Request::Nd(gone)), Reply::Ok);
    assert_eq!(w.hosts[0].s.net.neigh.proxies().count(), 0);
    w.end();
}

#[test]
fn prefixes_of_a_lost_router_are_detached() {
    // [RFC4862 5.6]
    let mut w = one();
    w.hosts[0].sysctl("net.inet6.ip6.accept_rtadv", "1");
    advertise(&mut w, "fe80::a", router(), |b| nd::push_prefix(b, &prefix("2001:db8:a::")));
    advertise(&mut w, "fe80::b", router(), |b| nd::push_prefix(b, &prefix("2001:db8:b::")));
    w.run(3000);
    let (old, new) = ("2001:db8:a::ff:fe00:1", "2001:db8:b::ff:fe00:1");
    assert_eq!(life(&mut w.hosts[0], old).unwrap().flags, in6::AUTOCONF);
    // Nobody answers for the first router: what is sent by it is not confirmed.
    let s = w.hosts[0].udp("[::]:7000");
    for _ in 0..4 {
        let _ = w.hosts[0].send(s, a6("2001:4860::1"), 9, b"x");
        w.run(10_000);
        // The other one speaks.
        advertise(&mut w, "fe80::b", router(), |b| nd::push_prefix(b, &prefix("2001:db8:b::")));
    }
    assert_eq!(life(&mut w.hosts[0], old).unwrap().flags, in6::AUTOCONF | in6::DETACHED);
    assert_eq!(life(&mut w.hosts[0], new).unwrap().flags, in6::AUTOCONF);
    let hop = w.hosts[0].s.net.hop(a6("2001:4860::1").into(), 0, false).unwrap();
    assert_eq!(hop.src, Some(a6(new).into()));
    let Reply::Nd(NdReply::Prefixes(l)) = w.hosts[0].ctl(Request::Nd(NdRequest::Prefixes)) else { panic!() };
    let d: Vec<bool> = l.iter().map(|p| p.detached).collect();
    assert_eq!((d, &l[0].routers, l[0].refs), (vec![true, false], &vec![a6("fe80::a")], 1));
    let Reply::Nd(NdReply::Routers(r)) = w.hosts[0].ctl(Request::Nd(NdRequest::Routers)) else { panic!() };
    assert_eq!(r.iter().map(|r| r.addr).collect::<Vec<_>>(), [a6("fe80::b"), a6("fe80::a")]);
    // It is back.
    advertise(&mut w, "fe80::a", router(), |b| nd::push_prefix(b, &prefix("2001:db8:a::")));
    assert_eq!(life(&mut w.hosts[0], old).unwrap().flags, in6::AUTOCONF);
    let flush = NdRequest::Flush { routers: true, prefixes: true };
    assert_eq!(w.hosts[0].ctl(Request::Nd(flush)), Reply::Ok);
    assert_eq!((w.hosts[0].addrs().len(), w.hosts[0].learnt().len()), (1, 0));
    w.end();
}

#[test]
fn names_are_told_and_end() {
    // [RFC8106 5.2]
    let mut w = one();
    w.hosts[0].sysctl("net.inet6.ip6.accept_rtadv", "1");
    let dns = |h: &mut Host| match h.ctl(Request::Nd(NdRequest::Dns)) {
        Reply::Nd(NdReply::Dns(l)) => l,
        r => panic!("{r:?}"),
    };
    advertise(&mut w, "fe80::a", router(), |b| {
        nd::push_rdnss(b, 100, &[a6("2001:db8::53"), a6("ff02::1")]);
        b.extend([opt::DNSSL, 2, 0, 0, 0, 0, 0, 50, 3, b'l', b'a', b'n', 0, 0, 0, 0]);
    });
    let l = dns(&mut w.hosts[0]);
    assert_eq!((l.len(), l[0].server, l[1].domain.as_deref()), (2, Some(a6("2001:db8::53")), Some("lan")));
    w.run(60_000);
    assert_eq!(dns(&mut w.hosts[0]).len(), 1);
    // Taken back at once; and no flood of them is kept.
    advertise(&mut w, "fe80::a", router(), |b| nd::push_rdnss(b, 0, &[a6("2001:db8::53")]));
    assert!(dns(&mut w.hosts[0]).is_empty());
    let many: Vec<Ipv6Addr> = (1..100).map(|i| Ipv6Addr::from(u128::from(a6("2001:db8::")) + i)).collect();
    advertise(&mut w, "fe80::a", router(), |b| nd::push_rdnss(b, 100, &many));
    assert_eq!(dns(&mut w.hosts[0]).len(), 8);
    w.end();
}

#[test]
fn stable_addresses_show_nothing_and_come_again() {
    // [RFC7217 5a] [RFC7217 5b] [RFC7217 5c]
    let addrs = |secret: &str| {
        let mut w = Wire::new(vec![Host::with(1, Tunables { accept_rtadv: true, ..Tunables::default() })]);
        w.hosts[0].sysctl("net.inet6.ip6.stable_secret", secret);
        w.hosts[0].up();
        w.run(3000);
        advertise(&mut w, "fe80::a", router(), |b| {
            nd::push_prefix(b, &prefix("2001:db8:a::"));
            nd::push_prefix(b, &prefix("2001:db8:b::"));
        });
        w.run(3000);
        let l = w.hosts[0].addrs();
        w.end();
        l
    };
    let (a, b) = (addrs("2001:db8::1"), addrs("2001:db8::2"));
    assert_eq!(a, addrs("2001:db8::1"));
    let low = |s: &String| u128::from(a6(s.split('/').next().unwrap())) as u64;
    let mut all: Vec<u64> = a.iter().chain(&b).map(low).collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 6, "other prefix or key, other identifier: {a:?} {b:?}");
    let mut w = one();
    let r = Request::Sysctl { name: "net.inet6.ip6.stable_secret".into(), value: Some("x".into()) };
    assert!(matches!(w.hosts[0].ctl(r), Reply::Err { errno: Errno::EINVAL, .. }));
    w.end();
}

#[test]
fn made_addresses_that_are_taken_are_made_anew() {
    // [RFC7217 6a] [RFC7217 6b] [RFC8981 3.4c]
    let t = Tunables { accept_rtadv: true, use_tempaddr: true, ..Tunables::default() };
    let mut w = Wire::new(vec![Host::with(1, t)]);
    w.hosts[0].sysctl("net.inet6.ip6.stable_secret", "2001:db8::1");
    w.hosts[0].up();
    w.run(3000);
    advertise(&mut w, "fe80::a", router(), |b| nd::push_prefix(b, &prefix("2001:db8:a::")));
    let tentative = |w: &Wire| -> Vec<Ipv6Addr> {
        let l = w.hosts[0].addrs();
        l.iter().filter(|a| a.contains("tentative")).map(|a| a6(a.split('/').next().unwrap())).collect()
    };
    let first = tentative(&w);
    assert_eq!(first.len(), 2);
    // Somebody has both, and whatever comes after them, four times.
    for _ in 0..4 {
        for a in tentative(&w) {
            let f = nd::AdvertFlags { over: true, ..nd::AdvertFlags::default() };
            let mut b = nd::neighbor_advert(a, f);
            nd::push_link(&mut b, opt::TARGET_LINK, [2, 0, 0, 0, 0, 0xee]);
            w.inject(0, nd(ALL, &a.to_string(), "ff02::1", b));
        }
        w.run(100);
    }
    let l = w.hosts[0].addrs();
    assert!(l.iter().all(|a| !first.iter().any(|f| a.starts_with(&format!("{f}/")))), "{l:?}");
    assert!(tentative(&w).is_empty() && l.iter().filter(|a| a.contains("duplicated")).count() == 2, "{l:?}");
    w.end();
}

#[test]
fn optimistic_addresses_are_used_at_once() {
    // [RFC4429 2.1]
    let mut w = Wire::new(vec![Host::with(
        1,
        Tunables { accept_rtadv: true, optimistic: true, ..Tunables::default() },
    )]);
    w.hosts[0].up();
    w.run(3000);
    advertise(&mut w, "fe80::a", router(), |b| nd::push_prefix(b, &prefix("2001:db8:a::")));
    let a = "2001:db8:a::ff:fe00:1";
    assert_eq!(life(&mut w.hosts[0], a).unwrap().flags, in6::AUTOCONF | in6::TENTATIVE | in6::OPTIMISTIC);
    let asked = w.sent(0, ty::NEIGHBOR_SOLICIT).len();
    let s = w.hosts[0].udp("[::]:7000");
    w.hosts[0].send(s, a6("2001:db8:a::9"), 9, b"x").unwrap();
    w.run(10);
    let ns = w.sent(0, ty::NEIGHBOR_SOLICIT);
    let last = &ns[asked..].iter().find(|p| p[8..24] == a6(a).octets()).expect("asked from it");
    assert_eq!(icmp_of(last).unwrap().len(), 24, "and nothing is said of who has it (RFC 4429 3.3)");
    w.run(3000);
    assert_eq!(life(&mut w.hosts[0], a).unwrap().flags, in6::AUTOCONF);
    w.end();
}

#[test]
fn without_a_router_everybody_is_on_the_default_interface() {
    let mut w = one();
    w.hosts[0].sysctl("net.inet6.ip6.accept_rtadv", "1");
    let order =
        |h: &mut Host, n: Option<&str>| h.ctl(Request::Nd(NdRequest::Default { name: n.map(Into::into) }));
    assert_eq!(order(&mut w.hosts[0], Some("eth0")), Reply::Ok);
    assert_eq!(w.hosts[0].learnt(), ["::/0 via link"]);
    assert_eq!(order(&mut w.hosts[0], None), Reply::Nd(NdReply::Default("eth0".into())));
    advertise(&mut w, "fe80::a", router(), |_| ());
    assert_eq!(w.hosts[0].learnt(), ["::/0 via fe80::a"]);
    assert_eq!(order(&mut w.hosts[0], Some("")), Reply::Ok);
    w.run(2_000_000);
    assert!(w.hosts[0].learnt().is_empty());
    w.end();
}

#[test]
fn every_variable_is_described() {
    let mut h = Host::new(1);
    let Reply::Sysctl(l) = h.ctl(Request::Sysctl { name: String::new(), value: None }) else { panic!() };
    let six = |n: &&str| n.starts_with("net.inet6.");
    let have: Vec<&str> = l.iter().map(|v| v.0.as_str()).filter(six).collect();
    // What both versions share has IPv6's name too.
    let mut known: Vec<String> = VARIABLES.iter().map(|v| v.name).filter(six).map(Into::into).collect();
    known.extend(
        VARIABLES.iter().filter(|v| v.name.starts_with("net.inet.")).filter_map(|v| shared_name(v.name)),
    );
    known.sort_unstable();
    assert_eq!(have, known);
    for v in VARIABLES.iter().filter(|v| six(&v.name) && v.number) {
        let now = l.iter().find(|x| x.0 == v.name).unwrap().1.clone();
        let mut write = |x: &str| h.ctl(Request::Sysctl { name: v.name.into(), value: Some(x.into()) });
        assert_eq!(write(&now), Reply::Ok, "{}", v.name);
        let refused = matches!(write("77777777777"), Reply::Err { errno: Errno::EPERM, .. });
        assert_eq!(refused, !v.writable, "{}", v.name);
    }
}
