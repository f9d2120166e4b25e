//! What Neighbour Discovery asks of every host beside what the other files hold: options, what is learned of whom, prefixes of which
//! nothing may be made, duplicates' identifiers.

mod common;

use common::*;
use iopkt_inet6::Tunables;
use iopkt_stack::Life;
use iopkt_wire::icmp6::ty;
use iopkt_wire::nd::{self, AdvertFlags, Preference, Prefix, RouterAdvert, opt};

const ALL: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 0x77];
const ROUTER: &str = "fe80::a";

fn listener() -> Wire {
    let mut w = Wire::new(vec![Host::with(1, Tunables { accept_rtadv: true, ..Tunables::default() })]);
    w.hosts[0].up();
    w.run(3000);
    w
}

fn say(w: &mut Wire, lifetime: u16, options: impl Fn(&mut Vec<u8>)) {
    let mut b = RouterAdvert { lifetime, ..RouterAdvert::default() }.emit();
    options(&mut b);
    w.inject(0, nd(ALL, ROUTER, "ff02::1", b));
    w.run(1500);
}

fn prefix(p: &str) -> Prefix {
    Prefix { prefix: a6(p), plen: 64, on_link: true, autonomous: true, valid: 7200, preferred: 3600 }
}

#[test]
fn options_that_nobody_knows_are_passed_over() {
    // [RFC4861 6.1.3]
    let mut w = listener();
    // An unknown one between the others, one that is known and has no business here, one of a length that is not its own.
    say(&mut w, 1800, |b| {
        b.extend([200, 2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]);
        nd::push_redirected(b, &[0; 48], 100);
        b.extend([opt::MTU, 2, 0, 0, 0, 0, 5, 220, 0, 0, 0, 0, 0, 0, 0, 0]);
        nd::push_prefix(b, &prefix("2001:db8:1::"));
    });
    assert_eq!(w.hosts[0].learnt(), ["::/0 via fe80::a", "2001:db8:1::/64 via link"]);
    assert_eq!(w.hosts[0].s.net.hop(a6("2001:4860::1").into(), 0, false).unwrap().mtu, 1500);
    w.end();
}

#[test]
fn what_a_solicitation_tells_is_learned_and_ours_tell_it() {
    // [RFC4861 7.2.2d] [RFC4861 7.2.3b]
    let mut w = Wire::new(vec![Host::new(1)]);
    w.hosts[0].up();
    w.hosts[0].addr("2001:db8::1", 64);
    w.run(3000);
    let who = a6("2001:db8::77");
    let mut b = nd::neighbor_solicit(a6("2001:db8::1"));
    nd::push_link(&mut b, opt::SOURCE_LINK, OTHER);
    let group = [0x33, 0x33, 0xff, 0, 0, 1];
    w.inject(0, nd(group, "2001:db8::77", "ff02::1:ff00:1", b));
    w.run(10);
    let known = w.hosts[0].s.net.neigh.list().into_iter().find(|l| l.ip == who).expect("an entry");
    // Not taken for reachable: the answer to it has begun to find that out.
    assert_eq!((known.mac, known.state), (Some(OTHER), iopkt_ctl::NdState::Delay));
    // Ours to a group say who we are (a router is asked for: it has none of us).
    let s = w.hosts[0].udp("[::]:0");
    w.hosts[0].send(s, a6("2001:db8::99"), 7, b"x").unwrap();
    w.run(10);
    let asked = w.sent(0, ty::NEIGHBOR_SOLICIT).pop().expect("a question");
    assert_eq!(asked[64..72], [1, 1, 2, 0, 0, 0, 0, 1]);
    w.end();
}

#[test]
fn a_router_that_says_that_it_is_a_host_is_none() {
    // [RFC4861 7.2.5c]
    let mut w = listener();
    w.hosts[0].addr("2001:db8::1", 64);
    say(&mut w, 1800, |b| nd::push_link(b, opt::SOURCE_LINK, OTHER));
    assert_eq!(w.hosts[0].learnt().len(), 1);
    let mut b = nd::neighbor_advert(a6(ROUTER), AdvertFlags { over: true, ..AdvertFlags::default() });
    nd::push_link(&mut b, opt::TARGET_LINK, OTHER);
    w.inject(0, nd(ALL, ROUTER, "ff02::1", b));
    w.run(10);
    assert!(w.hosts[0].learnt().is_empty(), "{:?}", w.hosts[0].learnt());
    w.end();
}

#[test]
fn a_prefix_that_says_nothing_of_the_link_leaves_what_was_said() {
    // [RFC4861 6.3.4f] [RFC4861 6.3.4g]
    let mut w = listener();
    let p = prefix("2001:db8:1::");
    say(&mut w, 0, |b| nd::push_prefix(b, &Prefix { on_link: false, ..p }));
    assert!(w.hosts[0].learnt().is_empty(), "an address, and no route to its network");
    assert_eq!(w.hosts[0].addrs().len(), 2);
    say(&mut w, 0, |b| nd::push_prefix(b, &p));
    say(&mut w, 0, |b| nd::push_prefix(b, &Prefix { on_link: false, ..p }));
    assert_eq!(w.hosts[0].learnt(), ["2001:db8:1::/64 via link"]);
    say(&mut w, 0, |b| nd::push_prefix(b, &Prefix { valid: 0, preferred: 0, ..p }));
    assert!(w.hosts[0].learnt().is_empty());
    w.end();
}

#[test]
fn of_some_prefixes_no_address_is_made() {
    // [RFC4861 6.3.4h] [RFC4862 5.5.3a] [RFC4862 5.5.3b] [RFC4862 5.5.3c] [RFC4862 5.5.3d]
    let mut w = listener();
    let p = prefix("2001:db8:1::");
    for odd in [
        Prefix { autonomous: false, ..p },
        prefix("fe80::"),
        Prefix { valid: 10, preferred: 20, ..p },
        Prefix { plen: 63, ..p },
        Prefix { plen: 129, ..p },
        Prefix { valid: 0, preferred: 0, ..p },
    ] {
        say(&mut w, 0, |b| nd::push_prefix(b, &odd));
        assert_eq!(w.hosts[0].addrs(), ["fe80::ff:fe00:1/64"], "{odd:?}");
    }
    say(&mut w, 0, |b| nd::push_prefix(b, &p));
    assert_eq!(w.hosts[0].addrs().len(), 2);
    w.end();
}

#[test]
fn a_route_or_router_of_the_reserved_preference() {
    // [RFC4191 2.1] [RFC4191 2.3a] [RFC4191 3.1]
    let mut w = listener();
    // A router's is as medium, an option's makes the option void, and ::/0 in an option is the router's own.
    let mut b = RouterAdvert { lifetime: 1800, ..RouterAdvert::default() }.emit();
    b[5] |= 2 << 3;
    nd::push_route(&mut b, a6("2001:db8:f::"), 48, Preference::High, 600);
    let at = b.len() - 24 + 3;
    b[at] = 2 << 3;
    w.inject(0, nd(ALL, ROUTER, "ff02::1", b));
    w.run(10);
    assert_eq!(w.hosts[0].learnt(), ["::/0 via fe80::a"]);
    say(&mut w, 1800, |b| nd::push_route(b, a6("::"), 0, Preference::Low, 60));
    w.run(61_000);
    assert!(w.hosts[0].learnt().is_empty(), "what the option says holds");
    w.end();
}

#[test]
fn addresses_of_a_person_are_looked_for_unless_they_are_anycast_and_never_optimistic() {
    // [RFC4862 5.4a] [RFC4862 5.4b] [RFC4429 3.1]
    let mut w = Wire::new(vec![Host::with(1, Tunables { optimistic: true, ..Tunables::default() })]);
    w.hosts[0].up();
    w.run(3000);
    w.hosts[0].addr("2001:db8::1", 64);
    assert_eq!(w.hosts[0].addrs()[1], "2001:db8::1/64 tentative");
    let s = w.hosts[0].udp("[2001:db8::1]:0");
    let before = w.log.len();
    let _ = w.hosts[0].send(s, a6("2001:db8::77"), 7, b"x");
    w.run(500);
    assert!(w.log[before..].iter().all(|f| f.1[22..38] != a6("2001:db8::1").octets()), "it speaks");
    w.run(2000);
    let n = w.sent(0, ty::NEIGHBOR_SOLICIT).len();
    let life = Life { anycast: true, ..Life::default() };
    let h = &mut w.hosts[0];
    let addr = iopkt_stack::IfAddr {
        addr: a6("2001:db8::2").into(),
        plen: 64,
        broadcast: None,
        peer: None,
        state: iopkt_ctl::AddrState::Valid,
        life,
    };
    h.s.net.add_addr(&mut h.s.cx, ETH, addr).unwrap();
    h.s.tell_changes();
    w.run(3000);
    assert_eq!(w.sent(0, ty::NEIGHBOR_SOLICIT).len(), n, "several may have an anycast address");
    w.end();
}

#[test]
fn names_that_cannot_be_are_not_believed() {
    // [RFC8106 5.3.1a] [RFC8106 5.3.1b]
    let mut w = listener();
    say(&mut w, 0, |b| {
        nd::push_rdnss(b, 600, &[a6("ff02::1"), a6("::"), a6("::1"), a6("2001:db8::53")]);
        // Of a length that holds no whole address; of one that holds no name.
        b.extend([opt::RDNSS, 2, 0, 0, 0, 0, 1, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
        b.extend([opt::DNSSL, 1, 0, 0, 0, 0, 1, 0]);
    });
    use iopkt_ctl::{NdReply, NdRequest, Reply, Request};
    let Reply::Nd(NdReply::Dns(l)) = w.hosts[0].ctl(Request::Nd(NdRequest::Dns)) else { panic!() };
    assert_eq!(l.iter().map(|d| d.server).collect::<Vec<_>>(), [Some(a6("2001:db8::53"))]);
    w.end();
}
