//! Every option: what may be set, what comes back, what is refused and how. Names and numbers are Linux's.

mod world;

use iopkt_base::{Duration, Errno};
use iopkt_stack::sockets::{RecvWants, SockType};
use world::*;

const SOL_SOCKET: i32 = 1;
const IP: i32 = 0;
const TCP: i32 = 6;

/// Sets `v` and reads back `want`.
#[track_caller]
fn round(w: &mut World, s: iopkt_stack::sockets::SockId, level: i32, name: i32, v: i32, want: i32) {
    assert_eq!(w.set(A, s, level, name, v), Ok(()), "set level {level} name {name} to {v}");
    assert_eq!(w.get(A, s, level, name), Ok(want), "get level {level} name {name}");
}

#[test]
fn flags_come_back() {
    let mut w = World::new(1);
    for ty in [SockType::Stream, SockType::Dgram] {
        let s = w.socket(A, ty, 0);
        // SO_REUSEADDR, DONTROUTE, BROADCAST, KEEPALIVE, OOBINLINE, NO_CHECK, REUSEPORT, TIMESTAMP.
        for name in [2, 5, 6, 9, 10, 11, 15, 29] {
            assert_eq!(w.get(A, s, SOL_SOCKET, name), Ok(0));
            round(&mut w, s, SOL_SOCKET, name, 7, 1);
            round(&mut w, s, SOL_SOCKET, name, 0, 0);
            assert_eq!(w.set_bytes(A, s, SOL_SOCKET, name, &[1, 0, 0]), Err(Errno::EINVAL));
        }
        // IP_RETOPTS, PKTINFO, RECVERR, RECVTTL, RECVTOS, FREEBIND, BIND_ADDRESS_NO_PORT.
        for name in [7, 8, 11, 12, 13, 15, 24] {
            round(&mut w, s, IP, name, 1, 1);
            assert_eq!(w.set_bytes(A, s, IP, name, &[0]), Ok(()), "one byte will do (ip(7))");
            assert_eq!(w.get(A, s, IP, name), Ok(0));
        }
    }
}

#[test]
fn sizes_double_within_limits() {
    let mut w = World::new(2);
    let s = w.tcp(A);
    for name in [7, 8] {
        assert_eq!(w.get(A, s, SOL_SOCKET, name), Ok(212_992));
        round(&mut w, s, SOL_SOCKET, name, 10_000, 20_000);
        round(&mut w, s, SOL_SOCKET, name, 0, if name == 7 { 4608 } else { 2304 });
        round(&mut w, s, SOL_SOCKET, name, i32::MAX, 8 << 20);
    }
    round(&mut w, s, SOL_SOCKET, 18, 0, 1);
    round(&mut w, s, SOL_SOCKET, 18, 500, 500);
    assert_eq!(w.get(A, s, SOL_SOCKET, 19), Ok(1), "SO_SNDLOWAT");
    assert_eq!(w.set(A, s, SOL_SOCKET, 19, 1), Err(Errno::ENOPROTOOPT));
}

#[test]
fn what_a_socket_is() {
    let mut w = World::new(3);
    for (ty, p, n, q) in [
        (SockType::Stream, 0, 1, 6),
        (SockType::Dgram, 0, 2, 17),
        (SockType::Dgram, 1, 2, 1),
        (SockType::Raw, 89, 3, 89),
    ] {
        let s = w.socket(A, ty, p);
        assert_eq!(w.get(A, s, SOL_SOCKET, 3), Ok(n), "SO_TYPE");
        assert_eq!(w.get(A, s, SOL_SOCKET, 38), Ok(q), "SO_PROTOCOL");
        assert_eq!(w.get(A, s, SOL_SOCKET, 39), Ok(2), "SO_DOMAIN");
        assert_eq!(w.get(A, s, SOL_SOCKET, 30), Ok(0), "SO_ACCEPTCONN");
        assert_eq!(w.get(A, s, SOL_SOCKET, 4), Ok(0), "SO_ERROR");
    }
    let l = w.listener(80, 1);
    assert_eq!(w.get(B, l, SOL_SOCKET, 30), Ok(1), "SO_ACCEPTCONN");
}

#[test]
fn structures() {
    let mut w = World::new(4);
    let s = w.tcp(A);
    let two = |a: i32, b: i32| [a.to_ne_bytes(), b.to_ne_bytes()].concat();
    let mut b = [0u8; 16];
    assert_eq!(w.set_bytes(A, s, SOL_SOCKET, 13, &two(1, 30)), Ok(()));
    assert_eq!(w.get_bytes(A, s, SOL_SOCKET, 13, &mut b), Ok(8));
    assert_eq!(b[..8], two(1, 30));
    assert_eq!(w.set_bytes(A, s, SOL_SOCKET, 13, &two(1, 30)[..7]), Err(Errno::EINVAL));
    let time = |s: i64, us: i64| [s.to_ne_bytes(), us.to_ne_bytes()].concat();
    for name in [20, 21] {
        assert_eq!(w.set_bytes(A, s, SOL_SOCKET, name, &time(3, 500_000)), Ok(()));
        assert_eq!(w.get_bytes(A, s, SOL_SOCKET, name, &mut b), Ok(16));
        assert_eq!(b[..], time(3, 500_000));
        assert_eq!(w.set_bytes(A, s, SOL_SOCKET, name, &time(0, 1_000_000)), Err(Errno::EDOM));
        assert_eq!(w.set_bytes(A, s, SOL_SOCKET, name, &[0; 15]), Err(Errno::EINVAL));
    }
    // A short buffer gets what fits.
    assert_eq!(w.get_bytes(A, s, SOL_SOCKET, 21, &mut b[..5]), Ok(5));
}

#[test]
fn devices() {
    let mut w = World::new(5);
    let s = w.udp(A);
    let mut b = [0u8; 16];
    assert_eq!(w.get_bytes(A, s, SOL_SOCKET, 25, &mut b), Ok(0));
    assert_eq!(w.set_bytes(A, s, SOL_SOCKET, 25, b"en0\0"), Ok(()));
    assert_eq!(w.get_bytes(A, s, SOL_SOCKET, 25, &mut b), Ok(4));
    assert_eq!(&b[..4], b"en0\0");
    assert_eq!(w.get_bytes(A, s, SOL_SOCKET, 25, &mut b[..15]), Err(Errno::EINVAL));
    assert_eq!(w.get(A, s, SOL_SOCKET, 62), Ok(2), "SO_BINDTOIFINDEX");
    assert_eq!(w.set_bytes(A, s, SOL_SOCKET, 25, b"nosuch"), Err(Errno::ENODEV));
    round(&mut w, s, SOL_SOCKET, 62, 99, 99);
    assert_eq!(w.set(A, s, SOL_SOCKET, 62, -1), Err(Errno::EINVAL));
    assert_eq!(w.set_bytes(A, s, SOL_SOCKET, 25, b"\0"), Ok(()));
    assert_eq!(w.get(A, s, SOL_SOCKET, 62), Ok(0));
}

#[test]
fn refusals() {
    let mut w = World::new(6);
    let (t, u, r) = (w.tcp(A), w.udp(A), w.socket(A, SockType::Raw, 89));
    let nope = Err(Errno::ENOPROTOOPT);
    let set = [
        (SOL_SOCKET, 16, Errno::EOPNOTSUPP), // SO_PASSCRED
        (SOL_SOCKET, 26, Errno::EINVAL),     // SO_ATTACH_FILTER: no program
        (SOL_SOCKET, 27, Errno::ENOENT),     // SO_DETACH_FILTER
        (SOL_SOCKET, 50, Errno::EINVAL),     // SO_ATTACH_BPF
        (SOL_SOCKET, 60, Errno::EOPNOTSUPP), // SO_ZEROCOPY
        (SOL_SOCKET, 61, Errno::EINVAL),     // SO_TXTIME
        (SOL_SOCKET, 73, Errno::EOPNOTSUPP), // SO_RESERVE_MEM
        (SOL_SOCKET, 1000, Errno::ENOPROTOOPT),
        (IP, 3, Errno::ENOPROTOOPT),  // IP_HDRINCL
        (IP, 5, Errno::EINVAL),       // IP_ROUTER_ALERT
        (IP, 9, Errno::ENOPROTOOPT),  // IP_PKTOPTIONS
        (IP, 16, Errno::EOPNOTSUPP),  // IP_IPSEC_POLICY
        (IP, 17, Errno::EINVAL),      // IP_XFRM_POLICY
        (IP, 22, Errno::ENOPROTOOPT), // IP_NODEFRAG
        (IP, 35, Errno::EPROTO),      // IP_ADD_MEMBERSHIP
        (TCP, 14, Errno::EINVAL),     // TCP_MD5SIG
        (TCP, 19, Errno::EPERM),      // TCP_REPAIR
        (TCP, 21, Errno::EINVAL),     // TCP_QUEUE_SEQ
        (TCP, 27, Errno::EOPNOTSUPP), // TCP_SAVE_SYN
        (TCP, 31, Errno::ENOENT),     // TCP_ULP
        (TCP, 36, Errno::EOPNOTSUPP), // TCP_INQ
        (TCP, 37, Errno::EOPNOTSUPP), // TCP_TX_DELAY
        (99, 1, Errno::ENOPROTOOPT),
    ];
    for (level, name, e) in set {
        assert_eq!(w.set(A, t, level, name, 1), Err(e), "level {level} name {name}");
    }
    for (level, name) in [(99, 1), (17, 1), (41, 26), (255, 1)] {
        assert_eq!(w.get(A, t, level, name).map(|_| ()), Err(Errno::EOPNOTSUPP), "level {level}");
    }
    // TCP's options on UDP, IPv6's on IPv4, IP_HDRINCL unless raw, UDP_ENCAP.
    for (s, level, name) in [(u, TCP, 1), (u, 41, 26), (u, IP, 3), (u, 17, 100), (t, 17, 103)] {
        assert_eq!(w.set(A, s, level, name, 1), nope, "level {level} name {name}");
    }
    assert_eq!(w.set(A, t, SOL_SOCKET, 61, 1), Err(Errno::EINVAL), "SO_TXTIME of a wrong length");
    assert_eq!(w.set_bytes(A, u, SOL_SOCKET, 61, &[0; 8]), Err(Errno::EOPNOTSUPP), "SO_TXTIME");
    round(&mut w, r, IP, 3, 1, 1);
}

#[test]
fn ip_values() {
    let mut w = World::new(7);
    let (t, u) = (w.tcp(A), w.udp(A));
    round(&mut w, u, IP, 1, 0x2e, 0x2e);
    round(&mut w, t, IP, 1, 0x13, 0x10);
    assert_eq!(w.get(A, u, IP, 2), Ok(64));
    round(&mut w, u, IP, 2, 255, 255);
    round(&mut w, u, IP, 2, -1, 64);
    for bad in [0, 256, -2] {
        assert_eq!(w.set(A, u, IP, 2, bad), Err(Errno::EINVAL));
    }
    round(&mut w, u, IP, 33, 0, 0);
    round(&mut w, u, IP, 33, -1, 1);
    assert_eq!(w.set(A, u, IP, 33, 256), Err(Errno::EINVAL));
    assert_eq!(w.set(A, t, IP, 33, 2), Err(Errno::EINVAL));
    for v in 0..=5 {
        round(&mut w, u, IP, 10, v, v);
    }
    assert_eq!(w.set(A, u, IP, 10, 6), Err(Errno::EINVAL));
    assert_eq!(w.get(A, u, IP, 14), Err(Errno::ENOTCONN));
    w.connect(A, u, sa(B, 9)).expect("connect");
    assert_eq!(w.get(A, u, IP, 14), Ok(1500));
    // A buffer of one byte gets one byte (ip(7)).
    let mut one = [0u8; 1];
    assert_eq!(w.get_bytes(A, u, IP, 2, &mut one), Ok(1));
    assert_eq!(one, [64]);
}

#[test]
fn ip_options_travel_and_are_checked() {
    let mut w = World::new(8);
    let u = w.udp(A);
    let mut b = [0u8; 40];
    assert_eq!(w.get_bytes(A, u, IP, 4, &mut b), Ok(0));
    assert_eq!(w.set_bytes(A, u, IP, 4, &[0x94, 4, 0, 0, 1]), Ok(()));
    assert_eq!(w.get_bytes(A, u, IP, 4, &mut b), Ok(8));
    assert_eq!(b[..8], [0x94, 4, 0, 0, 1, 0, 0, 0]);
    for bad in [&[7u8, 1][..], &[7, 9, 0], &[7], &[1; 41]] {
        assert_eq!(w.set_bytes(A, u, IP, 4, bad), Err(Errno::EINVAL));
    }
    assert_eq!(w.set_bytes(A, u, IP, 4, &[131, 7, 4, 1, 2, 3, 4]), Err(Errno::EPERM), "source routes");
    w.send_to(A, u, Some(sa(B, 9)), b"x").expect("send");
    let h = &mut w.hosts[A];
    assert_eq!(h.cx.down.pop_front().expect("a packet").options, b[..8]);
    assert_eq!(w.set_bytes(A, u, IP, 4, &[]), Ok(()));
    assert_eq!(w.get_bytes(A, u, IP, 4, &mut b), Ok(0));
}

#[test]
fn multicast_interface() {
    let mut w = World::new(9);
    let u = w.udp(A);
    let mut b = [0u8; 4];
    assert_eq!(w.set_bytes(A, u, IP, 32, &[10, 0, 0, 1]), Ok(()));
    assert_eq!(w.get_bytes(A, u, IP, 32, &mut b), Ok(4));
    assert_eq!(b, [10, 0, 0, 1]);
    assert_eq!(w.set_bytes(A, u, IP, 32, &[10, 0, 0, 9]), Err(Errno::EADDRNOTAVAIL));
    assert_eq!(w.set_bytes(A, u, IP, 32, &[0; 3]), Err(Errno::EINVAL));
    let n = [[0u8; 4], [0; 4], 2i32.to_ne_bytes()].concat();
    assert_eq!(w.set_bytes(A, u, IP, 32, &n), Ok(()));
    assert_eq!(w.get_bytes(A, u, IP, 32, &mut b), Ok(4));
    assert_eq!(b, [10, 0, 0, 1], "the interface's address");
    assert_eq!(w.set_bytes(A, u, IP, 32, &[0; 4]), Ok(()));
    assert_eq!(w.get_bytes(A, u, IP, 32, &mut b), Ok(4));
    assert_eq!(b, [0; 4]);
}

#[test]
fn tcp_values() {
    let mut w = World::new(10);
    let t = w.tcp(A);
    for (name, v, want) in [
        (1, 1, 1),
        (3, 1, 1),
        (4, 60, 60),
        (5, 10, 10),
        (6, 4, 4),
        (7, 3, 3),
        (8, 500, 120),
        (8, -1, -1),
        (8, 0, 60),
        (9, 4, 7),
        (9, 0, 0),
        (10, 1, 1152),
        (16, 1, 1),
        (17, 1, 0),
        (25, 16_384, 16_384),
        (12, 0, 0),
        (9, 3, 3),
        (10, 5000, 5000),
        (12, 1, 1),
        (18, 9000, 9000),
    ] {
        round(&mut w, t, TCP, name, v, want);
    }
    for (name, bad) in [(2, 87), (2, 32_768), (4, 0), (4, 32_768), (5, 0), (6, 128), (7, 0), (18, -1)] {
        assert_eq!(w.set(A, t, TCP, name, bad), Err(Errno::EINVAL), "name {name}");
    }
    assert_eq!(w.get(A, t, TCP, 2), Ok(536), "TCP_MAXSEG before the handshake");
    let mut b = [0u8; 16];
    assert_eq!(w.get_bytes(A, t, TCP, 13, &mut b), Ok(16));
    assert_eq!(&b[..6], b"cubic\0");
    assert_eq!(w.set_bytes(A, t, TCP, 13, b"reno"), Ok(()));
    assert_eq!(w.get_bytes(A, t, TCP, 13, &mut b), Ok(16));
    assert_eq!(&b[..5], b"reno\0");
    assert_eq!(w.set_bytes(A, t, TCP, 13, b"bbr"), Ok(()));
    assert_eq!(w.set_bytes(A, t, TCP, 13, b"vegas"), Err(Errno::ENOENT));
}

#[test]
fn maxseg_limits_the_segments() {
    let mut w = World::new(11);
    let l = w.listener(80, 1);
    w.set(B, l, TCP, 2, 500).expect("TCP_MAXSEG");
    let (c, s) = w.pair(l, 80);
    for (h, x) in [(A, c), (B, s)] {
        assert_eq!(w.get(h, x, TCP, 2), Ok(488), "500 less timestamps");
    }
}

#[test]
fn tcp_info_has_linux_layout() {
    let mut w = World::new(12);
    let l = w.listener(80, 1);
    let (c, s) = w.pair(l, 80);
    w.write(A, c, &[1; 5000]).expect("write");
    w.settle();
    assert_eq!(w.read(B, s).len(), 5000);
    w.settle();
    let mut b = [0u8; 512];
    let n = w.get_bytes(A, c, TCP, 11, &mut b).expect("TCP_INFO");
    assert_eq!(n, 280, "as of Linux 6.18");
    let u32_at = |at: usize| u32::from_ne_bytes(b[at..at + 4].try_into().unwrap());
    let u64_at = |at: usize| u64::from_ne_bytes(b[at..at + 8].try_into().unwrap());
    use core::mem::offset_of;
    use libc::tcp_info as T;
    assert_eq!(b[offset_of!(T, tcpi_state)], 1, "ESTABLISHED");
    assert_eq!(b[offset_of!(T, tcpi_options)], 7);
    assert_eq!(u32_at(offset_of!(T, tcpi_snd_mss)) as usize, 1468 - Via::now().header());
    assert_eq!(u32_at(offset_of!(T, tcpi_unacked)), 0);
    let rtt = u32_at(offset_of!(T, tcpi_rtt));
    assert!((2000..50_000).contains(&rtt), "microseconds: {rtt}");
    assert!(u32_at(offset_of!(T, tcpi_snd_cwnd)) >= 10);
    assert!(u32_at(offset_of!(T, tcpi_rto)) >= 200_000);
    assert_eq!(u64_at(offset_of!(T, tcpi_bytes_acked)), 5000);
    w.get_bytes(B, l, TCP, 11, &mut b).expect("TCP_INFO");
    assert_eq!(b[0], 10, "LISTEN");
    // The short form that old programs ask for.
    assert_eq!(w.get_bytes(A, c, TCP, 11, &mut b[..104]), Ok(104));
}

#[test]
fn options_are_inherited_from_the_listener() {
    let mut w = World::new(13);
    let l = w.listener(80, 1);
    w.set(B, l, TCP, 1, 1).expect("TCP_NODELAY");
    w.set(B, l, SOL_SOCKET, 9, 1).expect("SO_KEEPALIVE");
    w.set(B, l, SOL_SOCKET, 8, 50_000).expect("SO_RCVBUF");
    let (_c, s) = w.pair(l, 80);
    assert_eq!(w.get(B, s, TCP, 1), Ok(1));
    assert_eq!(w.get(B, s, SOL_SOCKET, 9), Ok(1));
    assert_eq!(w.get(B, s, SOL_SOCKET, 8), Ok(100_000));
}

#[test]
fn nodelay_acts_and_cork_overrides_it() {
    let mut w = World::new(14);
    w.set_links(Faults { delay: Duration::from_millis(50), ..clean() });
    let l = w.listener(80, 1);
    let (c, s) = w.pair(l, 80);
    w.set(A, c, TCP, 1, 1).expect("TCP_NODELAY");
    let small = |w: &mut World| {
        for _ in 0..3 {
            w.write(A, c, b"x").expect("write");
            w.run(Duration::from_millis(1));
        }
        w.run(Duration::from_millis(60));
        let n = w.read(B, s).len();
        w.run(Duration::from_millis(400));
        let rest = w.read(B, s).len();
        (n, rest)
    };
    assert_eq!(small(&mut w), (3, 0));
    w.set(A, c, TCP, 3, 1).expect("TCP_CORK");
    assert_eq!(small(&mut w), (0, 3), "held back until the cork's time is over");
}

#[test]
fn control_messages_wanted() {
    let mut w = World::new(15);
    let u = w.udp(A);
    assert_eq!(w.hosts[A].sockets.recv_wants(u), RecvWants::default());
    for (level, name) in [(IP, 8), (IP, 12), (IP, 13), (SOL_SOCKET, 29)] {
        w.set(A, u, level, name, 1).expect("option");
    }
    let all = RecvWants { pktinfo: true, ttl: true, tos: true, timestamp: 29, ..RecvWants::default() };
    assert_eq!(w.hosts[A].sockets.recv_wants(u), all);
}

#[test]
fn over_ipv6_and_by_mapped_addresses() {
    // What sockets of IPv4 say and refuse; options of IPv4's header.
    let both = ["refusals", "what_a_socket_is"];
    again(
        &[&both[..], &["ip_options_travel", "multicast_interface", "flags_come_back", "ip_values"]].concat(),
        &both,
    );
}
