//! What routers advertise: default routes by preference, prefixes, addresses and their ends, redirects.

mod common;

use common::*;
use iopkt_inet6::Tunables;
use iopkt_wire::icmp6::ty;
use iopkt_wire::nd::{self, Preference, Prefix, RouterAdvert, opt};

const R1: &str = "fe80::a";
const R2: &str = "fe80::b";
const ALL: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];

fn host(t: Tunables) -> Wire {
    let mut w = Wire::new(vec![Host::with(1, Tunables { accept_rtadv: true, ..t })]);
    w.hosts[0].up();
    w.run(3000);
    w
}

fn prefix(p: &str, valid: u32, preferred: u32) -> Prefix {
    Prefix { prefix: a6(p), plen: 64, on_link: true, autonomous: true, valid, preferred }
}

fn advertise(w: &mut Wire, from: &str, lifetime: u16, preference: Preference, rest: impl Fn(&mut Vec<u8>)) {
    let mut b = RouterAdvert { lifetime, preference, ..RouterAdvert::default() }.emit();
    nd::push_link(&mut b, opt::SOURCE_LINK, [2, 0, 0, 0, 1, a6(from).octets()[15]]);
    rest(&mut b);
    w.inject(0, nd(ALL, from, "ff02::1", b));
    w.run(10);
}

#[test]
fn routers_are_asked_for_until_one_answers() {
    // [RFC4861 6.3.7a] [RFC4861 6.3.7d] [RFC7559 2a] [RFC7559 2b] [RFC7559 2.1]
    // RFC 7559: at 0, 4, 12, 28, 60 s, each blurred by a tenth.
    let mut w = host(Tunables::default());
    w.run(80_000);
    let asked = w.sent(0, ty::ROUTER_SOLICIT);
    assert_eq!(asked.len(), 5);
    assert_eq!((asked[0][7], &asked[0][24..40]), (255, &a6("ff02::2").octets()[..]));
    // No default router is none, whatever else it tells.
    advertise(&mut w, R1, 0, Preference::Medium, |_| ());
    w.run(60_000);
    assert_eq!(w.sent(0, ty::ROUTER_SOLICIT).len(), 6);
    // From the beginning when the link comes back; never while it is away.
    w.hosts[0].link(false);
    w.run(4_000_000);
    assert_eq!(w.sent(0, ty::ROUTER_SOLICIT).len(), 6);
    w.hosts[0].link(true);
    w.run(4000);
    assert_eq!(w.sent(0, ty::ROUTER_SOLICIT).len(), 7);
    advertise(&mut w, R1, 1800, Preference::Medium, |_| ());
    w.run(4_000_000);
    assert_eq!(w.sent(0, ty::ROUTER_SOLICIT).len(), 7);
    // One an hour at last, when nobody ever answers.
    w.hosts[0].link(false);
    w.run(100);
    w.hosts[0].link(true);
    w.run(86_400_000);
    let n = w.sent(0, ty::ROUTER_SOLICIT).len() - 7;
    assert!((30..=40).contains(&n), "{n}");
    w.end();
}

#[test]
fn who_begins_to_believe_routers_asks_for_them() {
    // [RFC4861 6.3.7e]
    let mut w = Wire::new(vec![Host::with(
        1,
        Tunables { forwarding: true, accept_rtadv: true, ..Tunables::default() },
    )]);
    w.hosts[0].up();
    w.run(10_000);
    assert_eq!(w.sent(0, ty::ROUTER_SOLICIT).len(), 0, "a router asks nobody");
    w.hosts[0].sysctl("net.inet6.ip6.forwarding", "0");
    w.run(1000);
    assert_eq!(w.sent(0, ty::ROUTER_SOLICIT).len(), 1);
    // And who does not believe any more is silent.
    w.hosts[0].sysctl("net.inet6.ip6.accept_rtadv", "0");
    w.run(60_000);
    assert_eq!(w.sent(0, ty::ROUTER_SOLICIT).len(), 1);
    w.end();
}

#[test]
fn an_advertisement_makes_addresses_and_routes_that_end_in_time() {
    // [RFC4861 6.3.4i] [RFC4861 6.3.5]
    let mut w = host(Tunables::default());
    advertise(&mut w, R1, 1800, Preference::Medium, |b| {
        nd::push_prefix(b, &prefix("2001:db8:1::", 100_000, 50_000));
        nd::push_mtu(b, 1400);
    });
    w.run(2000);
    let a = "2001:db8:1::ff:fe00:1/64".to_string();
    assert!(w.hosts[0].addrs().contains(&format!("{a} autoconf")), "{:?}", w.hosts[0].addrs());
    assert_eq!(w.hosts[0].learnt(), ["::/0 via fe80::a", "2001:db8:1::/64 via link"]);
    let hop = w.hosts[0].s.net.hop(a6("2001:4860::1").into(), 0, false).unwrap();
    assert_eq!((hop.mtu, hop.src), (1400, Some(a6("2001:db8:1::ff:fe00:1").into())));
    // The router ends, then the preferred time, then the prefix.
    w.run(1_800_000);
    assert_eq!(w.hosts[0].learnt(), ["2001:db8:1::/64 via link"]);
    w.run(48_500_000);
    assert!(w.hosts[0].addrs().contains(&format!("{a} deprecated autoconf")), "{:?}", w.hosts[0].addrs());
    w.run(50_000_000);
    assert_eq!(w.hosts[0].addrs().len(), 1);
    assert!(w.hosts[0].learnt().is_empty());
    w.end();
}

#[test]
fn nobody_can_take_an_address_away_at_once() {
    // [RFC4862 5.5.3e3]
    let mut w = host(Tunables::default());
    let say = |w: &mut Wire, valid, preferred| {
        advertise(w, R1, 0, Preference::Medium, |b| {
            nd::push_prefix(b, &prefix("2001:db8:1::", valid, preferred))
        });
    };
    say(&mut w, 100_000, 50_000);
    say(&mut w, 1, 0);
    w.run(3_600_000);
    assert_eq!(w.hosts[0].addrs().len(), 2, "two hours (RFC 4862 5.5.3 e)");
    assert!(w.hosts[0].addrs()[1].contains("deprecated"));
    w.run(3_700_000);
    assert_eq!(w.hosts[0].addrs().len(), 1);
    // Preferred longer than valid: a mistake.
    say(&mut w, 10, 20);
    assert_eq!(w.hosts[0].addrs().len(), 1);
    w.end();
}

#[test]
fn the_preferred_router_is_taken_and_another_when_it_does_not_answer() {
    // [RFC4861 6.3.4e]
    let mut w = host(Tunables::default());
    w.hosts[0].addr("2001:db8::1", 64);
    advertise(&mut w, R1, 1800, Preference::Low, |_| ());
    advertise(&mut w, R2, 1800, Preference::High, |_| ());
    assert_eq!(w.hosts[0].learnt(), ["::/0 via fe80::b", "::/0 via fe80::a"]);
    advertise(&mut w, R1, 1800, Preference::High, |b| {
        nd::push_route(b, a6("2001:db8:f::"), 48, Preference::Low, 600);
    });
    let next = |w: &Wire, to: &str| {
        iopkt_base::zone::strip_ip(w.hosts[0].s.net.hop(a6(to).into(), 0, false).unwrap().next)
    };
    assert_eq!(next(&w, "2001:db8:f::1"), a6(R1));
    // Whom nobody hears: used, polled, given up.
    let first = next(&w, "2001:4860::1");
    let s = w.hosts[0].udp("[::]:0");
    w.hosts[0].send(s, a6("2001:4860::1"), 7, b"x").unwrap();
    w.run(9000);
    w.hosts[0].send(s, a6("2001:4860::1"), 7, b"x").unwrap();
    w.run(4000);
    assert_ne!(next(&w, "2001:4860::1"), first);
    // Lifetime 0: no default router any more.
    advertise(&mut w, R1, 0, Preference::High, |_| ());
    assert_eq!(w.hosts[0].learnt(), ["::/0 via fe80::b", "2001:db8:f::/48 via fe80::a"]);
}

#[test]
fn what_cannot_be_believed_changes_nothing() {
    // [RFC4861 6.1.2]
    let mut w = host(Tunables::default());
    let ra = || RouterAdvert { lifetime: 1800, ..RouterAdvert::default() }.emit();
    w.inject(0, nd(ALL, "2001:db8::a", "ff02::1", ra()));
    let (src, dst) = (a6(R1), a6("ff02::1"));
    w.inject(0, frame(ALL, src, dst, 64, 58, &summed(ra(), src, dst)));
    w.inject(0, nd(ALL, R1, "ff02::1", ra()[..12].to_vec()));
    let mut b = ra();
    b.extend([5, 0, 0, 0]);
    w.inject(0, nd(ALL, R1, "ff02::1", b));
    w.run(10);
    assert!(w.hosts[0].learnt().is_empty());
    // And nothing at all without accept_rtadv.
    w.hosts[0].sysctl("net.inet6.ip6.accept_rtadv", "0");
    w.inject(0, nd(ALL, R1, "ff02::1", ra()));
    w.run(10);
    assert!(w.hosts[0].learnt().is_empty());
    w.end();
}

#[test]
fn a_flood_of_routers_and_prefixes_is_bounded() {
    // [RFC4861 6.3.4e]
    let mut w = host(Tunables::default());
    for i in 0..500u32 {
        let net = format!("2001:db8:{i:x}::");
        advertise(&mut w, &format!("fe80::{:x}", i + 16), 1800, Preference::Medium, |b| {
            nd::push_prefix(b, &prefix(&net, 3600, 3600));
        });
    }
    assert!(w.hosts[0].learnt().len() <= 32);
    assert!(w.hosts[0].addrs().len() <= 34, "{}", w.hosts[0].addrs().len());
    w.end();
}

#[test]
fn temporary_addresses_are_sources_and_are_renewed() {
    // [RFC8981 3.5] [RFC8981 3.7a]
    let mut w = host(Tunables { use_tempaddr: true, ..Tunables::default() });
    for _ in 0..48 {
        advertise(&mut w, R1, 9000, Preference::Medium, |b| {
            nd::push_prefix(b, &prefix("2001:db8:1::", 400_000, 300_000))
        });
        w.run(3_600_000);
    }
    let fresh = |w: &Wire| {
        let all = w.hosts[0].addrs();
        let t: Vec<String> =
            all.iter().filter(|a| a.contains("temporary") && !a.contains("deprecated")).cloned().collect();
        assert_eq!(t.len(), 1, "{all:?}");
        (t[0].split('/').next().unwrap().to_string(), all.iter().filter(|a| a.contains("temporary")).count())
    };
    let (now, all) = fresh(&w);
    assert!(all > 1, "two days: one was renewed");
    let hop = w.hosts[0].s.net.hop(a6("2001:4860::1").into(), 0, false).unwrap();
    assert_eq!(hop.src.unwrap().to_string(), now);
    w.end();
}

#[test]
fn a_redirect_from_the_router_in_use_is_followed() {
    // [RFC4861 8.1] [RFC4861 8.2c]
    let mut w = host(Tunables::default());
    w.hosts[0].addr("2001:db8::1", 64);
    w.run(2000);
    advertise(&mut w, R1, 1800, Preference::Medium, |_| ());
    let dst = "2001:4860::1";
    let say = |w: &mut Wire, from: &str, target: &str| {
        let mut b = nd::redirect(a6(target), a6(dst));
        nd::push_link(&mut b, opt::TARGET_LINK, [2, 0, 0, 0, 1, 0x55]);
        let mac = w.hosts[0].mac;
        w.inject(0, nd(mac, from, "2001:db8::1", b));
        w.run(10);
    };
    say(&mut w, R2, R2);
    assert_eq!(w.hosts[0].learnt().len(), 1, "not from another");
    say(&mut w, R1, "2001:db8::2");
    assert_eq!(w.hosts[0].learnt().len(), 1, "not to what is neither a router nor the destination");
    say(&mut w, R1, R2);
    assert!(w.hosts[0].learnt().contains(&format!("{dst}/128 via {R2}")), "{:?}", w.hosts[0].learnt());
    w.run(601_000);
    assert_eq!(w.hosts[0].learnt().len(), 1, "it ends");
    say(&mut w, R1, dst);
    assert!(w.hosts[0].learnt().contains(&format!("{dst}/128 via link")));
    // A router follows none.
    w.run(601_000);
    advertise(&mut w, R1, 1800, Preference::Medium, |_| ());
    w.hosts[0].sysctl("net.inet6.ip6.forwarding", "1");
    say(&mut w, R1, R2);
    assert!(w.hosts[0].learnt().iter().all(|r| !r.starts_with(dst)), "{:?}", w.hosts[0].learnt());
    w.end();
}
