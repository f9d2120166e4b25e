//! Whether a neighbour can be reached (RFC 4861 7.3), and what follows when it cannot: routers that were given up, redirects that are void,
//! advertisements that say too much.

mod common;

use common::*;
use iopkt_ctl::{NdReply, NdRequest, NdState, Reply, Request, nd6};
use iopkt_stack::sockets::SockType;
use iopkt_wire::icmp6::ty;
use iopkt_wire::nd::{self, AdvertFlags, Preference, RouterAdvert, neighbor_advert, opt, push_link};

const R1: &str = "fe80::a";
const R2: &str = "fe80::b";

fn pair() -> Wire {
    let mut w = Wire::pair();
    w.hosts[0].addr("2001:db8::1", 64);
    w.hosts[1].addr("2001:db8::2", 64);
    w.run(2000);
    w
}

#[test]
fn a_connection_that_moves_on_needs_no_questions() {
    // [RFC4861 7.3.1]
    let mut w = pair();
    let l = w.hosts[1].socket(SockType::Stream, 6);
    let h = &mut w.hosts[1].s;
    h.sockets.bind(&mut h.cx, &h.net, l, "[::]:80".parse().unwrap()).unwrap();
    h.sockets.listen(&mut h.cx, l, 5).unwrap();
    let c = w.hosts[0].socket(SockType::Stream, 6);
    let h = &mut w.hosts[0].s;
    let _ = h.sockets.connect(&mut h.cx, &mut h.net, c, Some(outside(a6("2001:db8::2"), 80)));
    w.run(1000);
    let h = &mut w.hosts[1].s;
    let (child, _) = h.sockets.accept(&mut h.cx, l).unwrap();
    w.log.clear();
    // Each second a write and its acknowledgment, for five minutes: ten reachable times.
    for _ in 0..300 {
        let h = &mut w.hosts[0].s;
        assert_eq!(h.sockets.write(&mut h.cx, c, b"hello"), Ok(5));
        w.run(1000);
        let h = &mut w.hosts[1].s;
        h.sockets.consume(&mut h.cx, child, 5);
    }
    let polls = w.sent(0, ty::NEIGHBOR_SOLICIT).len();
    assert_eq!(polls, 0, "its acknowledgments say that the neighbour is there");
    // Silence is no sign: datagrams that nobody answers are asked for.
    let u = w.hosts[0].udp("[::]:0");
    for _ in 0..60 {
        w.hosts[0].send(u, a6("2001:db8::2"), 9, b"x").unwrap_or(());
        w.run(1000);
    }
    assert!(!w.sent(0, ty::NEIGHBOR_SOLICIT).is_empty());
    w.end();
}

fn host() -> Wire {
    let mut w = Wire::new(vec![Host::new(1)]);
    w.hosts[0].up();
    w.hosts[0].addr("2001:db8::1", 64);
    w.hosts[0].sysctl("net.inet6.ip6.accept_rtadv", "1");
    w.run(3000);
    w.log.clear();
    w
}

fn advertise(w: &mut Wire, from: &str, preference: Preference) {
    let mut b = RouterAdvert { lifetime: 9000, preference, ..RouterAdvert::default() }.emit();
    push_link(&mut b, opt::SOURCE_LINK, [2, 0, 0, 0, 1, a6(from).octets()[15]]);
    w.inject(0, nd([0x33, 0x33, 0, 0, 0, 1], from, "ff02::1", b));
    w.run(10);
}

fn answer(w: &mut Wire, from: &str, f: AdvertFlags, mac: [u8; 6]) {
    let mut b = neighbor_advert(a6(from), f);
    push_link(&mut b, opt::TARGET_LINK, mac);
    let me = iopkt_base::zone::strip(w.hosts[0].link_local()).to_string();
    let to = w.hosts[0].mac;
    w.inject(0, nd(to, from, &me, b));
    w.run(10);
}

fn next(w: &Wire) -> String {
    let h = w.hosts[0].s.net.hop(a6("2001:4860::1").into(), 0, false).unwrap();
    iopkt_base::zone::strip_ip(h.next).to_string()
}

#[test]
fn a_router_that_was_given_up_is_asked_for_and_taken_again() {
    // [RFC4191 3.5a] [RFC4191 3.5b]
    let mut w = host();
    advertise(&mut w, R1, Preference::High);
    advertise(&mut w, R2, Preference::Low);
    let s = w.hosts[0].udp("[::]:7000");
    let use_it = |w: &mut Wire, ms: u64| {
        let _ = w.hosts[0].send(s, a6("2001:4860::1"), 9, b"x");
        w.run(ms);
    };
    assert_eq!(next(&w), R1);
    use_it(&mut w, 9000);
    assert_eq!(next(&w), R2, "nobody answers for the better one");
    // None answers: each has its turn (6.3.6).
    use_it(&mut w, 9000);
    assert_eq!(next(&w), R1);
    use_it(&mut w, 9000);
    assert_eq!(next(&w), R2);
    w.log.clear();
    w.run(65_000);
    let asked = w.sent(0, ty::NEIGHBOR_SOLICIT);
    assert!(asked.iter().any(|p| p[48..64] == a6(R1).octets()), "asked for once a minute (RFC 4191 3.5)");
    assert!(asked.len() <= 6, "{}", asked.len());
    // It answers the next time.
    w.log.clear();
    for _ in 0..70 {
        w.run(1000);
        if w.sent(0, ty::NEIGHBOR_SOLICIT).iter().any(|p| p[48..64] == a6(R1).octets()) {
            break;
        }
    }
    answer(&mut w, R1, AdvertFlags { router: true, solicited: true, over: true }, [2, 0, 0, 0, 1, 0xa]);
    assert_eq!(next(&w), R1);
    w.end();
}

#[test]
fn a_redirect_to_whom_nobody_answers_for_is_void() {
    let mut w = host();
    advertise(&mut w, R1, Preference::Medium);
    let mut b = nd::redirect(a6(R2), a6("2001:4860::1"));
    push_link(&mut b, opt::TARGET_LINK, [2, 0, 0, 0, 1, 0x55]);
    let mac = w.hosts[0].mac;
    w.inject(0, nd(mac, R1, "2001:db8::1", b));
    w.run(10);
    assert_eq!(next(&w), R2);
    let s = w.hosts[0].udp("[::]:7000");
    let _ = w.hosts[0].send(s, a6("2001:4860::1"), 9, b"x");
    w.run(9000);
    assert_eq!(next(&w), R1, "7.3.3: the next hop is determined anew");
    w.end();
}

#[test]
fn who_contradicts_without_the_right_to_is_not_believed_in_anything() {
    // [RFC4861 7.2.5b]
    let mut w = host();
    let f = |router, over| AdvertFlags { router, solicited: true, over };
    advertise(&mut w, R1, Preference::Medium);
    // No override flag and another address: not even that it is no router (7.2.5).
    answer(&mut w, R1, f(false, false), [2, 0, 0, 0, 9, 9]);
    assert_eq!(next(&w), R1);
    let Reply::Nd(NdReply::Neighbours { list, .. }) =
        w.hosts[0].ctl(Request::Nd(NdRequest::Neighbours { cursor: 0 }))
    else {
        panic!()
    };
    let e = list.iter().find(|e| e.ip == a6(R1)).unwrap();
    assert_eq!((e.mac, e.state), (Some([2, 0, 0, 0, 1, 0xa]), NdState::Stale));
    // With the right to: it is a host now.
    answer(&mut w, R1, f(false, true), [2, 0, 0, 0, 1, 0xa]);
    assert!(w.hosts[0].learnt().is_empty());
    w.end();
}

#[test]
fn two_stations_with_one_link_level_address_do_not_speak() {
    // [RFC4862 5.4.5b]
    // RFC 4862 5.4.5.
    let mut w = Wire::new(vec![Host::new(1)]);
    w.hosts[0].up();
    w.run(200);
    let f = AdvertFlags { over: true, ..AdvertFlags::default() };
    let mut b = neighbor_advert(a6("fe80::ff:fe00:1"), f);
    push_link(&mut b, opt::TARGET_LINK, [2, 0, 0, 0, 0, 1]);
    w.inject(0, nd([0x33, 0x33, 0, 0, 0, 1], "fe80::ff:fe00:1", "ff02::1", b));
    w.run(3000);
    assert_eq!(w.hosts[0].addrs(), ["fe80::ff:fe00:1/64 duplicated"]);
    let Reply::Nd(NdReply::Interfaces(l)) =
        w.hosts[0].ctl(Request::Nd(NdRequest::Interfaces { name: Some("eth0".into()) }))
    else {
        panic!()
    };
    assert_ne!(l[0].flags & nd6::DISABLED, 0);
    // A person's own address that is another's too is only that.
    let mut w = host();
    w.hosts[0].addr("2001:db8::5", 64);
    w.run(200);
    let mut b = neighbor_advert(a6("2001:db8::5"), f);
    push_link(&mut b, opt::TARGET_LINK, [2, 0, 0, 0, 0, 9]);
    w.inject(0, nd([0x33, 0x33, 0, 0, 0, 1], "2001:db8::5", "ff02::1", b));
    w.run(3000);
    let i = w.hosts[0].s.net.iface(ETH).unwrap();
    assert_eq!(i.nd6 & nd6::DISABLED, 0);
    w.end();
}
