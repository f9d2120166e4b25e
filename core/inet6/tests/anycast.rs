//! Addresses that several nodes have: a router's of its networks (RFC 4291 2.6.1), answers that wait (RFC 4861 7.2.7), sources of
//! answers (RFC 4443 2.2).

mod common;

use common::*;
use iopkt_base::zone;
use iopkt_ctl::{AddrInfo, AddrLife, AddrState, NdRequest, Reply, Request, in6};
use iopkt_stack::sockets::SockType;
use iopkt_wire::icmp6::ty;
use iopkt_wire::nd::{neighbor_solicit, opt, push_link};
use std::net::Ipv6Addr;

const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 0x77];
const NET: &str = "2001:db8::";

fn router() -> Wire {
    let mut w = Wire::new(vec![Host::new(1)]);
    w.hosts[0].up();
    w.hosts[0].addr("2001:db8::1", 64);
    w.hosts[0].sysctl("net.inet6.ip6.forwarding", "1");
    w.run(3000);
    let h = &mut w.hosts[0].s;
    h.net.neigh.set(&mut h.cx, (ETH, a6("2001:db8::77").into()), OTHER, true, false).unwrap();
    w.log.clear();
    w
}

fn solicited(a: &str) -> (Ipv6Addr, [u8; 6]) {
    let o = a6(a).octets();
    let low = u16::from_be_bytes([o[14], o[15]]);
    let g = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(o[13]), low);
    (g, [0x33, 0x33, 0xff, o[13], o[14], o[15]])
}

fn ask(w: &mut Wire, target: &str) {
    let mut b = neighbor_solicit(a6(target));
    push_link(&mut b, opt::SOURCE_LINK, OTHER);
    let (group, mac) = solicited(target);
    w.inject(0, nd(mac, "2001:db8::77", &group.to_string(), b));
}

fn echo(w: &mut Wire, to: &str) -> Vec<Vec<u8>> {
    let m = summed(vec![128, 0, 0, 0, 0, 1, 0, 2], a6("2001:db8::77"), a6(to));
    let f = frame(w.hosts[0].mac, a6("2001:db8::77"), a6(to), 64, 58, &m);
    w.log.clear();
    w.inject(0, f);
    w.run(10);
    w.sent(0, ty::ECHO_REPLY)
}

#[test]
fn a_router_answers_for_its_networks_after_a_moment() {
    // [RFC4861 7.2.4c]
    let mut w = router();
    assert!(w.hosts[0].s.net.is_member(ETH, zone::embed(solicited(NET).0, ETH).into()), "the group");
    assert_eq!(w.hosts[0].addrs().len(), 2, "it is not listed");
    let start = w.now;
    let mut waits = Vec::new();
    for _ in 0..20 {
        w.log.clear();
        ask(&mut w, NET);
        ask(&mut w, NET);
        let asked = w.now;
        while w.sent(0, ty::NEIGHBOR_ADVERT).is_empty() {
            w.run(1);
            assert!(w.now.since(asked).as_millis() <= 1001, "later than a second");
        }
        waits.push(w.now.since(asked).as_millis());
        w.run(1100);
        assert_eq!(w.sent(0, ty::NEIGHBOR_ADVERT).len(), 1, "once for who asked twice");
        let na = &w.sent(0, ty::NEIGHBOR_ADVERT)[0];
        // Router and solicited, not overriding; the source is a unicast address.
        assert_eq!((na[44] & 0xe0, &na[48..64]), (0xc0, &a6(NET).octets()[..]));
        assert_eq!(na[8..24], a6("2001:db8::1").octets());
    }
    assert!(w.now > start && waits.iter().max() > waits.iter().min().map(|m| m + 100).as_ref(), "{waits:?}");
    let reply = echo(&mut w, NET);
    assert_eq!((reply.len(), &reply[0][8..24]), (1, &a6("2001:db8::1").octets()[..]));
    // A host does not, and a router of two addresses' network neither.
    w.hosts[0].sysctl("net.inet6.ip6.forwarding", "0");
    assert!(!w.hosts[0].s.net.is_member(ETH, zone::embed(solicited(NET).0, ETH).into()));
    assert!(echo(&mut w, NET).is_empty());
    ask(&mut w, NET);
    w.run(1100);
    assert!(w.sent(0, ty::NEIGHBOR_ADVERT).is_empty());
    w.hosts[0].sysctl("net.inet6.ip6.forwarding", "1");
    w.hosts[0].addr("2001:db8:5::1", 127);
    w.run(3000);
    assert!(echo(&mut w, "2001:db8:5::").is_empty());
    assert_eq!(echo(&mut w, NET).len(), 1);
    w.end();
}

#[test]
fn programs_hear_what_is_sent_to_the_routers_of_a_network() {
    let mut w = router();
    let u = w.hosts[0].udp("[::]:7");
    let l = w.hosts[0].socket(SockType::Stream, 6);
    let h = &mut w.hosts[0].s;
    h.sockets.bind(&mut h.cx, &h.net, l, "[::]:80".parse().unwrap()).unwrap();
    h.sockets.listen(&mut h.cx, l, 5).unwrap();
    let (src, dst) = (a6("2001:db8::77"), a6(NET));
    let mut d = vec![0, 9, 0, 7, 0, 9, 0, 0, b'x'];
    let mut sum = iopkt_wire::checksum::pseudo(src.into(), dst.into(), 17, 9);
    sum.add(&d);
    d[6..8].copy_from_slice(&sum.finish().to_be_bytes());
    let mac = w.hosts[0].mac;
    w.inject(0, frame(mac, src, dst, 64, 17, &d));
    w.run(10);
    assert_eq!(w.hosts[0].recv(u).expect("a datagram").1, b"x");
    // In a frame to everybody it is nobody's.
    w.inject(0, frame([0x33, 0x33, 0, 0, 0, 1], src, dst, 64, 17, &d));
    w.run(10);
    assert!(w.hosts[0].recv(u).is_none());
    // No error and no reset has it as its source.
    d[3] = 8;
    let mut sum = iopkt_wire::checksum::pseudo(src.into(), dst.into(), 17, 9);
    d[6..8].fill(0);
    sum.add(&d);
    d[6..8].copy_from_slice(&sum.finish().to_be_bytes());
    w.log.clear();
    w.inject(0, frame(mac, src, dst, 64, 17, &d));
    w.run(10);
    let e = w.sent(0, ty::UNREACHABLE);
    assert_eq!((e.len(), &e[0][8..24]), (1, &a6("2001:db8::1").octets()[..]));
    w.end();
}

#[test]
fn answers_to_an_anycast_address_come_from_a_unicast_one() {
    // [RFC4443 2.2] [RFC4443 4.2]
    let mut w = router();
    w.hosts[0].sysctl("net.inet6.ip6.forwarding", "0");
    let a = a6("2001:db8::aa").into();
    let addr = AddrInfo { addr: a, prefix_len: 64, broadcast: None, peer: None, state: AddrState::Valid };
    let life = AddrLife { flags: in6::ANYCAST, ..AddrLife::plain(a) };
    let r = NdRequest::AddAddr { name: "eth0".into(), addr, life, clear: 0 };
    assert_eq!(w.hosts[0].ctl(Request::Nd(r)), Reply::Ok);
    w.run(10);
    let reply = echo(&mut w, "2001:db8::aa");
    assert_eq!((reply.len(), &reply[0][8..24]), (1, &a6("2001:db8::1").octets()[..]));
    let reply = echo(&mut w, "2001:db8::1");
    assert_eq!(reply[0][8..24], a6("2001:db8::1").octets());
    w.log.clear();
    ask(&mut w, "2001:db8::aa");
    w.run(1100);
    let na = w.sent(0, ty::NEIGHBOR_ADVERT);
    assert_eq!((na.len(), na[0][44] & 0x20), (1, 0), "never to replace an answer");
    w.end();
}
