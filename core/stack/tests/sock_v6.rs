//! The same sockets with IPv6 addresses, in a shard that has both families.

mod world;

use core::net::{IpAddr, SocketAddr};
use iopkt_base::{Duration, Errno, zone};
use iopkt_ctl::AddrState;
use iopkt_stack::sockets::{SockId, SockType, ev};
use iopkt_stack::{Family, IfAddr, Life, Why};
use world::*;

fn world() -> World {
    let mut w = World::new(1);
    for i in [A, B] {
        let h = &mut w.hosts[i];
        h.sockets.add_family(Family::V6);
        let addr: IpAddr = format!("fd00::{}", i + 1).parse().unwrap();
        let a = IfAddr {
            addr,
            plen: 64,
            broadcast: None,
            peer: None,
            state: AddrState::Valid,
            life: Life::default(),
        };
        h.net.add_addr(&mut h.cx, 2, a).expect("address");
        h.net.set_addr_state(&mut h.cx, 2, addr, AddrState::Valid);
    }
    w
}

fn socket(w: &mut World, h: usize, ty: SockType, p: u8) -> SockId {
    let h = &mut w.hosts[h];
    h.sockets.socket(&mut h.cx, Family::V6, ty, p).expect("socket")
}

fn sa6(s: &str) -> SocketAddr {
    s.parse().unwrap()
}

#[test]
fn datagrams() {
    let mut w = world();
    let (c, s) = (socket(&mut w, A, SockType::Dgram, 0), socket(&mut w, B, SockType::Dgram, 0));
    w.set(B, s, 41, 26, 1).expect("IPV6_V6ONLY");
    w.bind(B, s, sa6("[::]:7")).expect("bind");
    // The same port of the other family is another one.
    let s4 = w.udp(B);
    assert_eq!(w.bind(B, s4, any(7)), Ok(()));
    assert_eq!(w.bind(B, s4, sa6("[::]:8")), Err(Errno::EAFNOSUPPORT));
    w.send_to(A, c, Some(sa6("[fd00::2]:7")), b"six").expect("send");
    w.settle();
    let (b, from) = w.recv(B, s).expect("a datagram");
    assert_eq!((b, from.ip()), (b"six".to_vec(), "fd00::1".parse().unwrap()));
    assert_eq!(w.recv(B, s4), None);
    w.set(A, c, 41, 26, 1).expect_err("too late: it has a port");
    let only = socket(&mut w, A, SockType::Dgram, 0);
    w.set(A, only, 41, 26, 1).expect("IPV6_V6ONLY");
    assert_eq!(w.send_to(A, only, Some(sa(B, 7)), b"four"), Err(Errno::EAFNOSUPPORT));
    assert_eq!(w.send_to(A, only, Some(sa6("[::ffff:10.0.0.2]:7")), b"four"), Err(Errno::ENETUNREACH));
    // RFC 8200: no datagram without a checksum.
    w.set(A, c, 1, 11, 1).expect("SO_NO_CHECK is for IPv4 only");
    w.send_to(A, c, Some(sa6("[fd00::2]:7")), b"sum").expect("send");
    w.settle();
    assert_eq!(w.recv(B, s).map(|d| d.0), Some(b"sum".to_vec()));
}

#[test]
fn a_datagram_without_checksum_is_refused() {
    let mut w = world();
    let s = socket(&mut w, B, SockType::Dgram, 0);
    w.bind(B, s, sa6("[::]:7")).expect("bind");
    let m = w.mbuf(A, &[0, 9, 0, 7, 0, 9, 0, 0, 1]);
    w.deliver(
        B,
        iopkt_stack::IpOut {
            src: "fd00::1".parse().unwrap(),
            dst: "fd00::2".parse().unwrap(),
            proto: 17,
            ttl: 64,
            tos: 0,
            df: false,
            oif: 0,
            dontroute: false,
            hdrincl: false,
            options: Vec::new(),
            mcast_loop: false,
            m,
            rest: Default::default(),
        },
    );
    assert_eq!(w.recv(B, s), None);
    assert_eq!(w.hosts[B].cx.counters.drops(Why::BadTransportChecksum), 1);
}

#[test]
fn streams() {
    let mut w = world();
    let l = socket(&mut w, B, SockType::Stream, 0);
    w.bind(B, l, sa6("[::]:80")).expect("bind");
    w.listen(B, l, 5).expect("listen");
    let c = socket(&mut w, A, SockType::Stream, 0);
    assert_eq!(w.connect(A, c, sa6("[fd00::2]:80")), Err(Errno::EINPROGRESS));
    w.settle();
    assert!(w.saw(A, c, ev::CONNECTED));
    let (s, peer) = w.accept(B, l).expect("accept");
    assert_eq!(Ok(peer), w.hosts[A].sockets.local_addr(c));
    let (mut sent, mut got) = (0, 0);
    assert!(w.run_until(Duration::from_secs(60), |w| {
        sent += w.write(A, c, &vec![1; 200_000 - sent]).unwrap_or(0);
        got += w.read(B, s).len();
        got == 200_000
    }));
    assert_eq!(w.get(A, c, 6, 2), Ok(1500 - 60 - 12), "TCP_MAXSEG");
    let c = socket(&mut w, A, SockType::Stream, 0);
    let _ = w.connect(A, c, sa6("[fd00::2]:81"));
    w.settle();
    assert_eq!(w.err(A, c), Some(Errno::ECONNREFUSED));
}

#[test]
fn options() {
    let mut w = world();
    let (u, u4) = (socket(&mut w, A, SockType::Dgram, 0), w.udp(A));
    assert_eq!(w.get(A, u, 1, 39), Ok(10), "SO_DOMAIN");
    for (name, v) in
        [(16, 9), (18, 3), (19, 0), (23, 2), (25, 1), (49, 1), (51, 1), (66, 1), (67, 0x2e), (17, 2)]
    {
        assert_eq!(w.set(A, u, 41, name, v), Ok(()), "IPPROTO_IPV6 {name}");
        assert_eq!(w.get(A, u, 41, name), Ok(v), "IPPROTO_IPV6 {name}");
        assert_eq!(w.set(A, u4, 41, name, v), Err(Errno::ENOPROTOOPT));
    }
    for v in [0, 1, 0] {
        assert_eq!(w.set(A, u, 41, 26, v), Ok(()), "IPV6_V6ONLY");
        assert_eq!(w.get(A, u, 41, 26), Ok(v));
    }
    let mreq =
        ["ff02::5".parse::<core::net::Ipv6Addr>().unwrap().octets().to_vec(), 2i32.to_ne_bytes().to_vec()];
    assert_eq!(w.set_bytes(A, u, 41, 20, &mreq.concat()), Ok(()));
    assert!(w.hosts[A].net.is_member(2, zone::embed_ip("ff02::5".parse().unwrap(), 2)));
    assert_eq!(w.set_bytes(A, u, 41, 21, &mreq.concat()), Ok(()));
    assert!(!w.hosts[A].net.is_member(2, zone::embed_ip("ff02::5".parse().unwrap(), 2)));
}

/// An IPv4 address as an IPv6 socket writes it.
fn mapped(a: SocketAddr) -> SocketAddr {
    let IpAddr::V4(ip) = a.ip() else { panic!("{a}") };
    SocketAddr::new(ip.to_ipv6_mapped().into(), a.port())
}

#[test]
fn one_listener_serves_both_families() {
    let mut w = world();
    let l = socket(&mut w, B, SockType::Stream, 0);
    w.bind(B, l, sa6("[::]:80")).expect("bind");
    w.listen(B, l, 5).expect("listen");
    let (c4, c6) = (w.tcp(A), socket(&mut w, A, SockType::Stream, 0));
    assert_eq!(w.connect(A, c4, sa(B, 80)), Err(Errno::EINPROGRESS));
    w.settle();
    let (s, peer) = w.accept(B, l).expect("accept");
    assert_eq!(peer, mapped(w.hosts[A].sockets.local_addr(c4).unwrap()));
    assert_eq!(w.hosts[B].sockets.local_addr(s), Ok(mapped(sa(B, 80))));
    assert_eq!(w.hosts[B].sockets.peer_addr(s), Ok(peer));
    assert_eq!(w.write(B, s, b"four"), Ok(4));
    w.settle();
    assert_eq!(w.read(A, c4), b"four");
    // The other way round: an IPv6 socket that connects to an IPv4 address.
    assert_eq!(w.connect(A, c6, mapped(sa(B, 80))), Err(Errno::EINPROGRESS));
    w.settle();
    assert!(w.accept(B, l).is_ok());
    assert_eq!(w.hosts[A].sockets.peer_addr(c6), Ok(mapped(sa(B, 80))));
    assert_eq!(w.get(A, c6, 6, 2), Ok(1500 - 40 - 12), "TCP_MAXSEG as IPv4 has it");
}

#[test]
fn datagrams_of_mapped_addresses() {
    let mut w = world();
    let (s, c) = (socket(&mut w, B, SockType::Dgram, 0), w.udp(A));
    w.bind(B, s, sa6("[::]:7")).expect("bind");
    w.send_to(A, c, Some(sa(B, 7)), b"four").expect("send");
    w.settle();
    let (b, from) = w.recv(B, s).expect("a datagram");
    assert_eq!((b, from), (b"four".to_vec(), mapped(SocketAddr::new(addr(A), from.port()))));
    w.send_to(B, s, Some(from), b"back").expect("send");
    w.settle();
    assert_eq!(w.recv(A, c), Some((b"back".to_vec(), sa(B, 7))));
    // The port is taken for both, unless the socket is for IPv6 only.
    let s4 = w.udp(B);
    assert_eq!(w.bind(B, s4, any(7)), Err(Errno::EADDRINUSE));
    assert_eq!(w.bind(B, s4, any(8)), Ok(()));
    let t = socket(&mut w, B, SockType::Dgram, 0);
    assert_eq!(w.bind(B, t, sa6("[::]:8")), Err(Errno::EADDRINUSE));
    assert_eq!(w.set(B, t, 41, 26, 1), Ok(()));
    assert_eq!(w.bind(B, t, sa6("[::ffff:10.0.0.2]:9")), Err(Errno::EINVAL));
    assert_eq!(w.bind(B, t, sa6("[::]:8")), Ok(()));
}

#[test]
fn link_local_addresses_need_their_interface() {
    let mut w = world();
    for i in [A, B] {
        let h = &mut w.hosts[i];
        let a: IpAddr = format!("fe80::{}", i + 1).parse().unwrap();
        let addr = zone::embed_ip(a, 2);
        let life = Life::default();
        let a = IfAddr { addr, plen: 64, broadcast: None, peer: None, state: AddrState::Valid, life };
        h.net.add_addr(&mut h.cx, 2, a).expect("address");
        h.net.set_addr_state(&mut h.cx, 2, addr, AddrState::Valid);
    }
    let (s, c) = (socket(&mut w, B, SockType::Dgram, 0), socket(&mut w, A, SockType::Dgram, 0));
    assert_eq!(w.bind(B, s, sa6("[fe80::2]:7")), Err(Errno::EINVAL));
    assert_eq!(w.bind(B, s, sa6("[fe80::2%3]:7")), Err(Errno::EADDRNOTAVAIL));
    assert_eq!(w.bind(B, s, sa6("[fe80::2%2]:7")), Ok(()));
    assert_eq!(w.hosts[B].sockets.local_addr(s), Ok(sa6("[fe80::2%2]:7")));
    assert_eq!(w.send_to(A, c, Some(sa6("[fe80::2]:7")), b"x"), Err(Errno::EINVAL));
    assert_eq!(w.connect(A, c, sa6("[fe80::2%2]:7")), Ok(()));
    assert_eq!(w.hosts[A].sockets.peer_addr(c), Ok(sa6("[fe80::2%2]:7")));
    assert_eq!(w.hosts[A].sockets.local_addr(c).map(|a| a.ip()), Ok("fe80::1".parse().unwrap()));
}
