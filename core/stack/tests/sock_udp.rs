//! Datagram sockets: UDP, ports and their sharing, raw and ping sockets, errors, multicast.

mod world;

use core::net::{IpAddr, SocketAddr};
use iopkt_base::Errno;
use iopkt_stack::sockets::{SendOpts, SockType, ev};
use iopkt_stack::{Config, Why};
use world::*;

#[test]
fn echo_between_hosts() {
    let mut w = World::new(1);
    let (c, s) = (w.udp(A), w.udp(B));
    assert_eq!(w.bind(B, s, any(7)), Ok(()));
    assert_eq!(w.send_to(A, c, Some(sa(B, 7)), b"hello"), Ok(()));
    w.settle();
    let d = w.recv_full(B, s).expect("a datagram");
    assert_eq!((d.m.as_slice(), d.to, d.ttl, d.ifindex), (&b"hello"[..], addr(B), 64, 2));
    assert_eq!(d.from.ip(), addr(A));
    assert!((49152..).contains(&d.from.port()));
    assert_eq!(w.send_to(B, s, Some(d.from), b""), Ok(()));
    w.settle();
    assert_eq!(w.recv(A, c), Some((Vec::new(), sa(B, 7))));
    assert!(w.saw(A, c, ev::READ));
    assert_eq!(w.recv(A, c), None);
    drop(d);
    assert_eq!(w.out(), 0);
}

#[test]
fn connected_sockets_hear_only_their_peer() {
    let mut w = World::new(2);
    let (c, s, other) = (w.udp(A), w.udp(B), w.udp(B));
    w.bind(B, s, any(7)).expect("bind");
    assert_eq!(w.connect(A, c, sa(B, 7)), Ok(()));
    let me = w.hosts[A].sockets.local_addr(c).expect("name");
    assert_eq!((me.ip(), w.hosts[A].sockets.peer_addr(c)), (addr(A), Ok(sa(B, 7))));
    assert_eq!(w.send_to(A, c, None, b"1"), Ok(()));
    w.send_to(B, s, Some(me), b"from the peer").expect("send");
    w.send_to(B, other, Some(me), b"from a stranger").expect("send");
    w.settle();
    assert_eq!(w.recv(A, c).map(|d| d.0), Some(b"from the peer".to_vec()));
    assert_eq!(w.recv(A, c), None);
    assert_eq!(w.recv(B, s).map(|d| d.1), Some(me));
    // A new peer, then none.
    assert_eq!(w.connect(A, c, sa(B, 9)), Ok(()));
    assert_eq!(w.hosts[A].sockets.local_addr(c), Ok(me));
    assert_eq!(w.disconnect(A, c), Ok(()));
    assert_eq!(w.hosts[A].sockets.peer_addr(c), Err(Errno::ENOTCONN));
    assert_eq!(w.hosts[A].sockets.local_addr(c), Ok(any(0)), "Linux: the chosen port goes back");
    assert_eq!(w.send_to(A, c, None, b"x"), Err(Errno::EDESTADDRREQ));
}

#[test]
fn errors_reach_connected_sockets_only() {
    let mut w = World::new(3);
    let (c, u) = (w.udp(A), w.udp(A));
    w.connect(A, c, sa(B, 9)).expect("connect");
    w.send_to(A, c, None, b"x").expect("send");
    w.send_to(A, u, Some(sa(B, 9)), b"x").expect("send");
    w.settle();
    assert!(w.saw(A, c, ev::ERROR) && !w.saw(A, u, ev::ERROR));
    assert_eq!(w.send_to(A, c, None, b"y"), Err(Errno::ECONNREFUSED));
    assert_eq!(w.send_to(A, c, None, b"y"), Ok(()));
    w.settle();
    assert_eq!(w.get(A, c, 1, 4), Ok(Errno::ECONNREFUSED.raw()), "SO_ERROR");
    assert_eq!(w.get(A, c, 1, 4), Ok(0));
    // With IP_RECVERR the unconnected one hears too.
    w.set(A, u, 0, 11, 1).expect("IP_RECVERR");
    w.send_to(A, u, Some(sa(B, 9)), b"x").expect("send");
    w.settle();
    assert_eq!(w.err(A, u), Some(Errno::ECONNREFUSED));
}

#[test]
fn caller_errors() {
    let mut w = World::new(4);
    let u = w.udp(A);
    assert_eq!(w.send_to(A, u, None, b"x"), Err(Errno::EDESTADDRREQ));
    assert_eq!(w.send_to(A, u, Some(sa(B, 0)), b"x"), Err(Errno::EINVAL));
    assert_eq!(w.send_to(A, u, Some("[::1]:5".parse().unwrap()), b"x"), Err(Errno::EAFNOSUPPORT));
    assert_eq!(w.send_to(A, u, Some("192.0.2.1:5".parse().unwrap()), b"x"), Err(Errno::ENETUNREACH));
    assert_eq!(w.send_to(A, u, Some(sa(B, 5)), &[0; 65_508]), Err(Errno::EMSGSIZE));
    assert_eq!(w.send_to(A, u, Some(sa(B, 5)), &[0; 65_507]), Ok(()));
    assert_eq!(w.send_to(A, u, Some("10.0.0.255:5".parse().unwrap()), b"x"), Err(Errno::EACCES));
    w.set(A, u, 1, 6, 1).expect("SO_BROADCAST");
    assert_eq!(w.send_to(A, u, Some("10.0.0.255:5".parse().unwrap()), b"x"), Ok(()));
    let port = w.hosts[A].sockets.local_addr(u).expect("name").port();
    assert_eq!(w.bind(A, u, any(port)), Err(Errno::EINVAL), "bound by the send");
    let v = w.udp(A);
    assert_eq!(w.bind(A, v, "10.0.0.77:5".parse().unwrap()), Err(Errno::EADDRNOTAVAIL));
    w.set(A, v, 0, 15, 1).expect("IP_FREEBIND");
    assert_eq!(w.bind(A, v, "10.0.0.77:5".parse().unwrap()), Ok(()));
    assert_eq!(w.bind(A, v, any(6)), Err(Errno::EINVAL));
    assert_eq!(w.listen(A, v, 1), Err(Errno::EOPNOTSUPP));
    assert_eq!(w.write(A, v, b"x"), Err(Errno::EOPNOTSUPP));
    assert_eq!(w.shutdown(A, v, 1), Err(Errno::ENOTCONN));
    // The path takes 1500: with "do not fragment" a larger one is refused.
    w.set(A, u, 0, 10, 2).expect("IP_MTU_DISCOVER");
    assert_eq!(w.send_to(A, u, Some(sa(B, 5)), &[0; 1473]), Err(Errno::EMSGSIZE));
    assert_eq!(w.send_to(A, u, Some(sa(B, 5)), &[0; 1472]), Ok(()));
    // Stale names.
    w.close(A, u);
    assert_eq!(w.send_to(A, u, Some(sa(B, 5)), b"x"), Err(Errno::EBADF));
    let again = w.udp(A);
    assert_eq!(again.index, u.index);
    assert_ne!(again, u);
}

#[test]
fn the_receive_queue_is_bounded() {
    let mut w = World::new(5);
    let (c, s) = (w.udp(A), w.udp(B));
    w.bind(B, s, any(7)).expect("bind");
    w.set(B, s, 1, 8, 11_520).expect("SO_RCVBUF");
    assert_eq!(w.get(B, s, 1, 8), Ok(23_040));
    for i in 0..100u8 {
        w.send_to(A, c, Some(sa(B, 7)), &[i; 744]).expect("send");
        w.run(iopkt_base::Duration::from_millis(2));
    }
    let got: Vec<u8> = core::iter::from_fn(|| w.recv(B, s)).map(|d| d.0[0]).collect();
    assert_eq!(got, (0..10).collect::<Vec<u8>>(), "the oldest 10, a buffer of 2 KiB each");
    assert_eq!(w.hosts[B].cx.counters.drops(Why::SocketFull), 90);
    assert_eq!(w.out(), 0);
}

#[test]
fn many_small_datagrams_are_kept_in_buffers_of_their_size() {
    let mut w = World::new(5);
    let (c, s) = (w.udp(A), w.udp(B));
    w.bind(B, s, any(7)).expect("bind");
    for i in 0..300u16 {
        w.send_to(A, c, Some(sa(B, 7)), &i.to_be_bytes()).expect("send");
        w.run(iopkt_base::Duration::from_millis(2));
    }
    for i in 0..300u16 {
        assert_eq!(w.recv(B, s).map(|d| d.0), Some(i.to_be_bytes().to_vec()));
    }
    assert_eq!(w.out(), 0);
}

#[test]
fn a_turn_sends_no_more_than_the_send_buffer() {
    let mut w = World::new(6);
    let c = w.udp(A);
    w.set(A, c, 1, 7, 11_520).expect("SO_SNDBUF");
    let mut n = 0;
    while w.send_to(A, c, Some(sa(B, 7)), &[0; 744]).is_ok() {
        n += 1;
        assert!(n < 100);
    }
    assert_eq!(n, 10);
    assert_eq!(w.hosts[A].sockets.write_space(c), 0);
    w.settle();
    assert!(w.saw(A, c, ev::WRITE));
    assert_eq!(w.hosts[A].sockets.write_space(c), 23_040);
}

/// Raw bytes of a UDP packet straight into B.
fn inject(w: &mut World, bytes: &[u8]) {
    let m = w.mbuf(A, bytes);
    let o = iopkt_stack::IpOut {
        src: wire(A),
        dst: wire(B),
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
    };
    w.deliver(B, o);
}

#[test]
fn malformed_datagrams_are_counted() {
    let mut w = World::new(7);
    let s = w.udp(B);
    w.bind(B, s, any(7)).expect("bind");
    inject(&mut w, &[0, 9, 0, 7, 0, 8, 0]);
    inject(&mut w, &[0, 9, 0, 7, 0, 7, 0, 0]);
    inject(&mut w, &[0, 9, 0, 7, 0, 10, 0, 0, 1]);
    inject(&mut w, &[0, 9, 0, 7, 0, 9, 0x12, 0x34, 1]);
    assert_eq!(w.recv(B, s), None);
    // Without a checksum, and with padding behind it.
    inject(&mut w, &[0, 9, 0, 7, 0, 9, 0, 0, 1, 99, 99]);
    let v6 = Via::now() == Via::V6;
    // IPv6 has no datagrams without a checksum (RFC 8200 8.1).
    assert_eq!(w.recv(B, s), (!v6).then_some((vec![1], sa(A, 9))));
    let c = &w.hosts[B].cx.counters;
    let drops = [Why::BadTransportHeader, Why::BadLength, Why::BadTransportChecksum].map(|x| c.drops(x));
    assert_eq!(drops, [1, 2, 1 + u64::from(v6)]);
}

#[test]
fn who_may_share_a_port() {
    let mut w = World::new(8);
    let mut two = |a: SocketAddr, b: SocketAddr, opt: Option<(i32, bool)>| {
        let (x, y) = (w.udp(A), w.udp(A));
        if let Some((o, both)) = opt {
            w.set(A, x, 1, o, 1).expect("option");
            w.set(A, y, 1, o, i32::from(both)).expect("option");
        }
        w.bind(A, x, a).expect("the first");
        let r = w.bind(A, y, b);
        w.close(A, x);
        w.close(A, y);
        r
    };
    let lo = SocketAddr::new(Via::now().loopback(), 50);
    let clash = Err(Errno::EADDRINUSE);
    assert_eq!(two(any(50), any(50), None), clash);
    assert_eq!(two(any(50), lo, None), clash);
    assert_eq!(two(sa(A, 50), lo, None), Ok(()));
    assert_eq!(two(any(50), any(51), None), Ok(()));
    for opt in [2, 15] {
        assert_eq!(two(any(50), any(50), Some((opt, true))), Ok(()));
        assert_eq!(two(any(50), any(50), Some((opt, false))), clash);
    }
}

#[test]
fn the_most_specific_socket_wins() {
    let mut w = World::new(9);
    let bind = |w: &mut World, a: SocketAddr| {
        let s = w.udp(B);
        w.set(B, s, 1, 2, 1).expect("SO_REUSEADDR");
        w.bind(B, s, a).expect("bind");
        s
    };
    let old = bind(&mut w, any(7));
    let wild = bind(&mut w, any(7));
    let exact = bind(&mut w, sa(B, 7));
    let conn = bind(&mut w, sa(B, 7));
    let c = w.udp(A);
    w.bind(A, c, sa(A, 1000)).expect("bind");
    w.connect(B, conn, sa(A, 1000)).expect("connect");
    for expect in [conn, exact, wild, old] {
        w.send_to(A, c, Some(sa(B, 7)), b"x").expect("send");
        w.settle();
        assert!(w.recv(B, expect).is_some(), "{expect:?}");
        w.close(B, expect);
    }
    let dev = w.udp(B);
    w.set_bytes(B, dev, 1, 25, b"lo0\0").expect("SO_BINDTODEVICE");
    w.bind(B, dev, any(7)).expect("bind");
    w.send_to(A, c, Some(sa(B, 7)), b"x").expect("send");
    w.settle();
    assert_eq!(w.recv(B, dev), None, "lo0 only");
}

#[test]
fn reuseport_shares_unicast_by_flow_unless_told_to_fan_out() {
    for fan in [false, true] {
        let mut w = World::with(10, Config { reuseport_unicast: fan, ..Config::default() });
        let ss: Vec<_> = (0..3)
            .map(|_| {
                let s = w.udp(B);
                w.set(B, s, 1, 15, 1).expect("SO_REUSEPORT");
                w.bind(B, s, any(7)).expect("bind");
                s
            })
            .collect();
        for port in 0..60 {
            let c = w.udp(A);
            w.bind(A, c, any(2000 + port)).expect("bind");
            w.send_to(A, c, Some(sa(B, 7)), b"1").expect("send");
            w.send_to(A, c, Some(sa(B, 7)), b"2").expect("send");
        }
        w.settle();
        let mut seen = 0;
        for s in ss {
            let from: Vec<_> = core::iter::from_fn(|| w.recv(B, s)).map(|d| d.1.port()).collect();
            assert!(from.chunks(2).all(|p| p[0] == p[1]) && !from.is_empty(), "a flow stays together");
            seen += from.len();
        }
        assert_eq!(seen, if fan { 360 } else { 120 });
    }
}

#[test]
fn broadcast_goes_to_everybody() {
    let mut w = World::new(11);
    let all: Vec<_> = (0..3)
        .map(|_| {
            let s = w.udp(B);
            w.set(B, s, 1, 2, 1).expect("SO_REUSEADDR");
            w.bind(B, s, any(7)).expect("bind");
            s
        })
        .collect();
    let c = w.udp(A);
    w.set(A, c, 1, 6, 1).expect("SO_BROADCAST");
    w.send_to(A, c, Some("10.0.0.255:7".parse().unwrap()), b"all").expect("send");
    w.settle();
    for s in all {
        assert_eq!(w.recv(B, s).map(|d| d.0), Some(b"all".to_vec()));
    }
}

#[test]
fn multicast_membership() {
    let mut w = World::new(12);
    let group: SocketAddr = "239.1.2.3:7".parse().unwrap();
    let mreq = |g: [u8; 4], i: [u8; 4]| [g, i].concat();
    let (joined, strict, c) = (w.udp(B), w.udp(B), w.udp(A));
    for s in [joined, strict] {
        w.set(B, s, 1, 2, 1).expect("SO_REUSEADDR");
        w.bind(B, s, any(7)).expect("bind");
    }
    w.set(B, strict, 0, 49, 0).expect("IP_MULTICAST_ALL");
    let m = mreq([239, 1, 2, 3], [10, 0, 0, 2]);
    assert_eq!(w.set_bytes(B, joined, 0, 35, &m), Ok(()));
    assert_eq!(w.set_bytes(B, joined, 0, 35, &m), Err(Errno::EADDRINUSE));
    assert_eq!(w.set_bytes(B, joined, 0, 35, &mreq([10, 1, 2, 3], [0; 4])), Err(Errno::EINVAL));
    assert_eq!(w.set_bytes(B, joined, 0, 35, &mreq([239, 1, 2, 3], [9, 9, 9, 9])), Err(Errno::ENODEV));
    assert_eq!(w.set_bytes(B, joined, 0, 35, &m[..7]), Err(Errno::EINVAL));
    assert!(w.hosts[B].net.is_member(2, group.ip()));
    w.set_bytes(A, c, 0, 32, &[10, 0, 0, 1]).expect("IP_MULTICAST_IF");
    w.send_to(A, c, Some(group), b"group").expect("send");
    w.settle();
    let d = w.recv_full(B, joined).expect("a member hears");
    assert_eq!((d.ttl, d.to), (1, group.ip()));
    assert_eq!(w.recv(B, strict), None);
    // ip_mreqn, by index.
    let n = [&m[..4], &[0; 4], &2i32.to_ne_bytes()[..]].concat();
    assert_eq!(w.set_bytes(B, strict, 0, 35, &n), Ok(()));
    assert_eq!(w.set_bytes(B, joined, 0, 36, &m), Ok(()));
    assert_eq!(w.set_bytes(B, joined, 0, 36, &m), Err(Errno::EADDRNOTAVAIL));
    assert!(w.hosts[B].net.is_member(2, group.ip()), "one user is left");
    w.close(B, strict);
    assert!(!w.hosts[B].net.is_member(2, group.ip()));
}

#[test]
fn ping_sockets() {
    let mut w = World::new(13);
    let p = w.socket(A, SockType::Dgram, 1);
    assert_eq!(w.bind(A, p, sa(A, 0x4242)), Ok(()));
    assert_eq!(w.send_to(A, p, Some(sa(B, 0)), &[0, 0, 0, 0, 0, 0, 0, 1]), Err(Errno::EINVAL));
    let heard = w.socket(B, SockType::Raw, 1);
    assert_eq!(w.send_to(A, p, Some(sa(B, 0)), &[8, 0, 0, 0, 9, 9, 0, 1, 7]), Ok(()));
    w.settle();
    let (echo, from) = w.recv(B, heard).expect("the raw socket hears the request");
    assert_eq!(from.ip(), addr(A));
    assert_eq!(echo[20..22], [8, 0]);
    assert_eq!(echo[24..], [0x42, 0x42, 0, 1, 7], "the identifier is the port");
    let mut reply = echo[20..].to_vec();
    reply[0] = 0;
    let other = w.socket(A, SockType::Dgram, 1);
    w.bind(A, other, sa(A, 7)).expect("bind");
    w.send_to(B, heard, Some(sa(A, 0)), &reply).expect("send");
    w.settle();
    assert_eq!(w.recv(A, p), Some((reply, sa(B, 0))));
    assert_eq!(w.recv(A, other), None);
}

#[test]
fn raw_sockets_filter_and_frame() {
    let mut w = World::new(14);
    let r = w.socket(B, SockType::Raw, 89);
    let icmp = w.socket(B, SockType::Raw, 1);
    w.set(B, icmp, 255, 1, !(1 << 8)).expect("ICMP_FILTER");
    assert_eq!(w.set(B, r, 255, 1, 0), Err(Errno::EOPNOTSUPP));
    let c = w.socket(A, SockType::Raw, 89);
    w.send_to(A, c, Some(sa(B, 0)), b"ospf").expect("send");
    let i = w.socket(A, SockType::Raw, 1);
    w.send_to(A, i, Some(sa(B, 0)), &[8, 0, 0, 0]).expect("send");
    w.send_to(A, i, Some(sa(B, 0)), &[13, 0, 0, 0]).expect("send");
    w.settle();
    assert_eq!(w.recv(B, r).map(|d| d.0[20..].to_vec()), Some(b"ospf".to_vec()));
    assert_eq!(w.recv(B, icmp).map(|d| d.0[20]), Some(8));
    assert_eq!(w.recv(B, icmp), None, "filtered");
    assert_eq!(w.hosts[B].sockets.local_addr(r).map(|a| a.port()), Ok(89));
    // IPPROTO_RAW: the program's own header.
    let h = w.socket(A, SockType::Raw, 255);
    assert_eq!(w.get(A, h, 0, 3), Ok(1), "IP_HDRINCL");
    assert_eq!(w.send_to(A, h, Some(sa(B, 0)), &[0x45; 19]), Err(Errno::EINVAL));
    let mut p = [0u8; 24];
    (p[0], p[8], p[9]) = (0x45, 3, 89);
    assert_eq!(w.send_to(A, h, Some(sa(B, 0)), &p), Ok(()));
    let h = &mut w.hosts[A];
    h.sockets.output(&mut h.cx, &mut h.net);
    let o = h.cx.down.pop_front().expect("a packet");
    assert!(o.hdrincl && o.proto == 89 && o.ttl == 3 && o.m.len() == 24);
}

#[test]
fn ephemeral_ports_run_out_and_come_back() {
    let mut w = World::new(15);
    assert!(w.hosts[A].sockets.set_port_range(60_000, 60_099));
    assert!(!w.hosts[A].sockets.set_port_range(60_000, 59_999));
    let mut ports = Vec::new();
    let mut socks = Vec::new();
    for _ in 0..100 {
        let u = w.udp(A);
        w.bind(A, u, any(0)).expect("bind");
        ports.push(w.hosts[A].sockets.local_addr(u).expect("name").port());
        socks.push(u);
    }
    let drawn = ports.clone();
    ports.sort_unstable();
    assert_eq!(ports, (60_000..60_100).collect::<Vec<u16>>());
    assert_ne!(drawn, ports, "not in order");
    let u = w.udp(A);
    assert_eq!(w.bind(A, u, any(0)), Err(Errno::EADDRINUSE));
    assert_eq!(w.send_to(A, u, Some(sa(B, 1)), b"x"), Err(Errno::EAGAIN));
    // TCP has its own ports; connections to different peers share them.
    let _ = (w.listener(80, 1000), w.listener(81, 1000));
    for port in [80, 81] {
        for _ in 0..100 {
            let c = w.tcp(A);
            assert_eq!(w.connect(A, c, sa(B, port)), Err(Errno::EINPROGRESS));
        }
        let c = w.tcp(A);
        assert_eq!(w.connect(A, c, sa(B, port)), Err(Errno::EADDRNOTAVAIL));
    }
    w.close(A, socks[40]);
    assert_eq!(w.bind(A, u, any(0)), Ok(()));
    assert_eq!(w.hosts[A].sockets.local_addr(u).expect("name").port(), drawn[40]);
}

#[test]
fn per_call_options_and_unspecified_destination() {
    let mut w = World::new(16);
    let (c, s) = (w.udp(A), w.udp(B));
    w.bind(B, s, any(7)).expect("bind");
    let o = SendOpts { ttl: Some(9), tos: Some(0x10), src: Some(addr(A)), oif: 2, ..SendOpts::default() };
    w.send_opts(A, c, Some(sa(B, 7)), b"x", &o).expect("send");
    w.settle();
    let d = w.recv_full(B, s).expect("a datagram");
    assert_eq!((d.ttl, d.tos, d.from.ip()), (9, 0x10, addr(A)));
    let bad = SendOpts { src: Some("10.0.0.77".parse::<IpAddr>().unwrap()), ..SendOpts::default() };
    assert_eq!(w.send_opts(A, c, Some(sa(B, 7)), b"x", &bad), Err(Errno::EADDRNOTAVAIL));
    // 0.0.0.0 means this host.
    let l = w.udp(A);
    w.bind(A, l, any(9)).expect("bind");
    w.send_to(A, l, Some(any(9)), b"self").expect("send");
    w.settle();
    assert_eq!(w.recv(A, l).map(|d| d.0), Some(b"self".to_vec()));
}

#[test]
fn limits_and_families() {
    let mut w = World::with(17, Config { max_sockets: 3, ..Config::default() });
    let h = &mut w.hosts[A];
    let mut make = |f, t, p| h.sockets.socket(&mut h.cx, f, t, p);
    use iopkt_stack::Family::{V4, V6};
    assert_eq!(make(V6, SockType::Dgram, 0), Err(Errno::EAFNOSUPPORT));
    assert_eq!(make(V4, SockType::Stream, 17), Err(Errno::EPROTONOSUPPORT));
    assert_eq!(make(V4, SockType::Dgram, 6), Err(Errno::EPROTONOSUPPORT));
    assert_eq!(make(V4, SockType::Raw, 0), Err(Errno::EPROTONOSUPPORT));
    for _ in 0..3 {
        assert!(make(V4, SockType::Dgram, 0).is_ok());
    }
    assert_eq!(make(V4, SockType::Dgram, 0), Err(Errno::ENFILE));
}

#[test]
fn over_ipv6_and_by_mapped_addresses() {
    // Errors of the wrong family, broadcast, and IPv4's own multicast, ping and raw sockets: sock_v6 and core/inet6 have IPv6's.
    let both = [
        "caller_errors",
        "limits_and_families",
        "multicast_membership",
        "per_call_options",
        "ping_sockets",
        "raw_sockets",
    ];
    again(&[&both[..], &["broadcast_goes_to_everybody"]].concat(), &both);
}
