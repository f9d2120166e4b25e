//! Addresses that an interface gets by itself, echo, datagrams and connections between two hosts.

mod common;

use common::*;
use iopkt_base::zone;
use iopkt_stack::sockets::SockType;
use iopkt_wire::icmp6::ty;
use std::net::{IpAddr, SocketAddr};

#[test]
fn an_interface_that_goes_up_gets_a_link_local_address_that_was_asked_for() {
    // [RFC4862 5.3]
    let mut w = Wire::new(vec![Host::new(1)]);
    assert!(w.hosts[0].addrs().is_empty());
    w.hosts[0].up();
    assert_eq!(w.hosts[0].addrs(), ["fe80::ff:fe00:1/64 tentative"]);
    w.run(3000);
    assert_eq!(w.hosts[0].addrs(), ["fe80::ff:fe00:1/64"]);
    let asked = w.sent(0, ty::NEIGHBOR_SOLICIT);
    assert_eq!(asked.len(), 1);
    // From nobody, to the solicited-node group, with a nonce and without a link-level address (RFC 4862 5.4.2).
    assert_eq!(asked[0][8..24], [0; 16]);
    assert_eq!(asked[0][24..40], a6("ff02::1:ff00:1").octets());
    assert_eq!(asked[0][7], 255);
    assert_eq!((asked[0].len(), asked[0][64]), (72, 14));
    let lo = w.hosts[0].s.net.iface(1).unwrap().addrs.iter().map(|a| zone::strip_ip(a.addr).to_string());
    assert_eq!(lo.collect::<Vec<_>>(), ["127.0.0.1", "::1", "fe80::1"]);
    w.end();
}

#[test]
fn echo_over_link_local_and_global_addresses() {
    // [RFC4443 4.1] [RFC4443 4.2b]
    let mut w = Wire::pair();
    for (i, a) in [(0, "2001:db8::1"), (1, "2001:db8::2")] {
        w.hosts[i].addr(a, 64);
    }
    w.run(2000);
    let far = w.hosts[1].link_local();
    for to in [far, a6("2001:db8::2")] {
        let s = w.hosts[0].socket(SockType::Dgram, 58);
        w.hosts[0].send(s, to, 0, &[128, 0, 0, 0, 0, 0, 0, 7, b'x']).unwrap();
        w.run(100);
        let (from, b) = w.hosts[0].recv(s).expect("a reply");
        assert_eq!((b[0], b[7], b[8]), (ty::ECHO_REPLY, 7, b'x'));
        assert_eq!(zone::strip_ip(from.ip()), IpAddr::V6(zone::strip(to)));
    }
    // All nodes of the link: the other one answers, from an address of its own.
    let s = w.hosts[0].socket(SockType::Dgram, 58);
    w.hosts[0].send(s, zone::embed(a6("ff02::1"), ETH), 0, &[128, 0, 0, 0, 0, 0, 0, 1]).unwrap();
    w.run(100);
    let froms: Vec<SocketAddr> = std::iter::from_fn(|| w.hosts[0].recv(s)).map(|r| r.0).collect();
    assert!(froms.iter().any(|f| *f == outside(far, f.port())), "{froms:?}");
    w.end();
}

#[test]
fn datagrams_large_and_small_arrive_whole() {
    // [RFC4861 7.2.2b]
    // [RFC8200 4.5c] [RFC8200 5b]
    let mut w = Wire::pair();
    let to = w.hosts[1].link_local();
    let (c, s) = (w.hosts[0].udp("[::]:5000"), w.hosts[1].udp("[::]:7"));
    for n in [0, 1, 1232, 1452, 1453, 9000, 40_000] {
        let data: Vec<u8> = (0..n).map(|i| i as u8).collect();
        w.hosts[0].send(c, to, 7, &data).unwrap();
        w.run(100);
        let (from, got) = w.hosts[1].recv(s).unwrap_or_else(|| panic!("{n} bytes"));
        assert!(got == data, "{n}");
        let SocketAddr::V6(from) = from else { panic!("{from}") };
        assert_eq!((from.scope_id(), from.port()), (ETH, 5000));
    }
    // A closed port is told.
    w.hosts[0].send(c, to, 9, b"?").unwrap();
    w.run(100);
    assert_eq!(w.sent(1, ty::UNREACHABLE).len(), 1);
    w.end();
}

#[test]
fn a_connection_over_link_local_addresses() {
    let mut w = Wire::pair();
    let to = w.hosts[1].link_local();
    let l = w.hosts[1].socket(SockType::Stream, 6);
    let h = &mut w.hosts[1].s;
    h.sockets.bind(&mut h.cx, &h.net, l, "[::]:80".parse().unwrap()).unwrap();
    h.sockets.listen(&mut h.cx, l, 5).unwrap();
    let c = w.hosts[0].socket(SockType::Stream, 6);
    let h = &mut w.hosts[0].s;
    let _ = h.sockets.connect(&mut h.cx, &mut h.net, c, Some(outside(to, 80)));
    w.run(100);
    let h = &mut w.hosts[1].s;
    let (s, peer) = h.sockets.accept(&mut h.cx, l).expect("a connection");
    assert_eq!(zone::strip_ip(peer.ip()), IpAddr::V6(a6("fe80::ff:fe00:1")));
    let data: Vec<u8> = (0..50_000u32).map(|i| (i * 7) as u8).collect();
    let (mut sent, mut got) = (0, Vec::new());
    for _ in 0..2000 {
        let h = &mut w.hosts[0].s;
        if sent < data.len() {
            sent += h.sockets.write(&mut h.cx, c, &data[sent..]).unwrap_or(0);
        }
        w.run(2);
        let h = &mut w.hosts[1].s;
        let mut v: [&[u8]; 16] = [&[]; 16];
        let n = h.sockets.peek(s, &mut v).expect("a stream");
        let took: usize = v[..n].iter().map(|b| b.len()).sum();
        v[..n].iter().for_each(|b| got.extend_from_slice(b));
        h.sockets.consume(&mut h.cx, s, took);
        if got.len() == data.len() {
            break;
        }
    }
    assert!(got == data, "{} of {}", got.len(), data.len());
}

#[test]
fn ones_own_addresses_answer_through_loopback() {
    let mut w = Wire::pair();
    w.hosts[0].addr("2001:db8::1", 64);
    w.run(2000);
    let own = w.hosts[0].link_local();
    let frames = w.log.len();
    let s = w.hosts[0].udp("[::]:7");
    for to in [a6("::1"), a6("2001:db8::1"), own, zone::embed(a6("fe80::1"), 1)] {
        let c = w.hosts[0].udp("[::]:0");
        w.hosts[0].send(c, to, 7, b"me").unwrap();
        w.run(10);
        let (from, got) = w.hosts[0].recv(s).unwrap_or_else(|| panic!("{to}"));
        assert_eq!((got, from), (b"me".to_vec(), outside(to, from.port())));
    }
    assert_eq!(w.log.len(), frames, "nothing left the host");
    w.end();
}
