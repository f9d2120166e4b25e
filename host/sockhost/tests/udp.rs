//! Datagram sockets: both forms of message, connect, errors that come later, raw and ping sockets.

mod common;
use common::{Rig, Watchdog, sa};
use iopkt_client::{Meta, RawSocket, UdpSocket};
use iopkt_sockproto::linux::{AF_INET, SOCK_DGRAM, SOCK_NONBLOCK};
use iopkt_sockproto::{Addr, DgramHdr, Op, Req};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::fd::AsFd;
use std::time::Duration;

fn readable(fd: impl AsFd, secs: i64) -> bool {
    let mut p = [PollFd::new(&fd, PollFlags::IN)];
    poll(&mut p, Some(&Timespec { tv_sec: secs, tv_nsec: 0 })).unwrap() > 0
}

#[test]
fn addressed_datagrams_know_their_sender() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    let a = UdpSocket::bind(&s, sa("127.0.0.1:0")).unwrap();
    let b = UdpSocket::bind(&s, sa("127.0.0.1:0")).unwrap();
    for size in [0, 1, 100, 1400, 9000, 65_507] {
        let data = vec![size as u8; size];
        assert_eq!(a.send_to(&data, b.local_addr().unwrap()).unwrap(), size);
        let mut buf = vec![0; 70_000];
        let (n, m) = b.recv_meta(&mut buf).unwrap();
        assert_eq!((n, m.len), (size, size));
        assert_eq!(&buf[..n], &data[..]);
        assert_eq!(m.peer, Some(a.local_addr().unwrap()));
        assert_eq!(m.local, Some("127.0.0.1".parse().unwrap()));
        assert!(m.ttl.is_some() && m.ifindex != 0 && m.stamp != 0);
    }
    drop((a, b, s));
    rig.until_empty();
}

#[test]
fn a_connected_socket_carries_bare_payload() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    let a = UdpSocket::bind(&s, sa("127.0.0.1:0")).unwrap();
    let b = UdpSocket::bind(&s, sa("127.0.0.1:0")).unwrap();
    a.connect(Some(b.local_addr().unwrap())).unwrap();
    assert_eq!(a.peer_addr().unwrap(), b.local_addr().unwrap());
    // read(2) and write(2), nothing else.
    rustix::io::write(&a, b"plain").unwrap();
    let (n, m) = b.recv_meta(&mut [0; 16]).unwrap();
    assert_eq!(n, 5);
    b.send_to(b"back", m.peer.unwrap()).unwrap();
    let mut buf = [0; 16];
    assert_eq!(rustix::io::read(&a, &mut buf).unwrap(), 4);
    assert_eq!(&buf[..4], b"back");
    // An empty datagram is one.
    rustix::net::send(&a, b"", rustix::net::SendFlags::NOSIGNAL).unwrap();
    assert_eq!(b.recv_meta(&mut buf).unwrap().0, 0);
    // Others are not heard.
    let c = UdpSocket::bind(&s, sa("127.0.0.1:0")).unwrap();
    c.send_to(b"stranger", a.local_addr().unwrap()).unwrap();
    b.send_to(b"friend", a.local_addr().unwrap()).unwrap();
    assert_eq!(rustix::io::read(&a, &mut buf).unwrap(), 6);
}

#[test]
fn connect_rewrites_what_is_queued() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    let a = UdpSocket::bind(&s, sa("127.0.0.1:0")).unwrap();
    let b = UdpSocket::bind(&s, sa("127.0.0.1:0")).unwrap();
    let (to_a, to_b) = (a.local_addr().unwrap(), b.local_addr().unwrap());
    for i in 0..50u8 {
        b.send_to(&[i], to_a).unwrap();
    }
    assert!(readable(&a, 10));
    a.connect(Some(to_b)).unwrap();
    let mut buf = [0; 200];
    for i in 0..25u8 {
        assert_eq!(rustix::io::read(&a, &mut buf).unwrap(), 1);
        assert_eq!(buf[0], i);
    }
    // And back: headers again, with the peer as the sender.
    a.connect(None).unwrap();
    for i in 25..50u8 {
        let n = rustix::io::read(&a, &mut buf).unwrap();
        let (h, data) = DgramHdr::decode(&buf[..n], s.hello().key).expect("a header");
        assert_eq!((h.peer, data), (Addr(Some(to_b)), &[i][..]));
    }
}

#[test]
fn what_was_sent_before_connect_goes_where_it_was_sent() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    let a = UdpSocket::bind(&s, sa("127.0.0.1:0")).unwrap();
    let b = UdpSocket::bind(&s, sa("127.0.0.1:0")).unwrap();
    let c = UdpSocket::bind(&s, sa("127.0.0.1:0")).unwrap();
    a.connect(Some(b.local_addr().unwrap())).unwrap();
    for _ in 0..20 {
        a.send(b"to b").unwrap();
    }
    a.connect(Some(c.local_addr().unwrap())).unwrap();
    a.send(b"to c").unwrap();
    for _ in 0..20 {
        b.recv_meta(&mut [0; 8]).unwrap();
    }
    let mut buf = [0; 8];
    let (n, _) = c.recv_meta(&mut buf).unwrap();
    assert_eq!(&buf[..n], b"to c");
    assert!(!readable(&b, 0));
}

#[test]
fn port_unreachable_is_told_to_a_connected_socket() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    let a = UdpSocket::bind(&s, sa("127.0.0.1:0")).unwrap();
    a.connect(Some(sa("127.0.0.1:9"))).unwrap();
    a.send(b"anybody?").unwrap();
    // The client crate strips headers, so the error comes by itself and poll(2) shows it.
    assert!(readable(&a, 10));
    let e = a.recv_meta(&mut [0; 8]).unwrap_err();
    assert_eq!(e.raw_os_error(), Some(libc::ECONNREFUSED));
    assert!(!readable(&a, 0), "once");
    // Who does not strip finds it in SO_ERROR.
    let fd = s.socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0, 0).unwrap();
    let mut r = Req::new(Op::Connect, 0);
    r.addr = Addr(Some(sa("127.0.0.1:9")));
    s.call(r, &[], Some(fd.as_fd())).unwrap();
    rustix::io::write(&fd, b"anybody?").unwrap();
    let end = std::time::Instant::now() + Duration::from_secs(10);
    loop {
        let v = s.getsockopt(&fd, 1, 4, 4).unwrap();
        if v == libc::ECONNREFUSED.to_ne_bytes() {
            break;
        }
        assert_eq!(v, [0; 4]);
        assert!(std::time::Instant::now() < end);
    }
    assert!(!readable(&fd, 0), "no header where none is expected");
}

#[test]
fn send_and_recv_by_request_report_at_once() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    let a = UdpSocket::bind(&s, sa("127.0.0.1:0")).unwrap();
    let to = a.local_addr().unwrap();
    let send = |to: &str, data: &[u8]| {
        let h = DgramHdr { peer: Addr(Some(sa(to))), ..DgramHdr::default() };
        let mut r = Req::new(Op::Send, 0);
        r.args[1] = 1;
        let msg = [&h.encode(s.hello().key)[..], data].concat();
        s.call(r, &msg, Some(a.as_fd())).map(|x| x.rep.val[0]).map_err(|e| e.raw_os_error().unwrap())
    };
    assert_eq!(send("192.0.2.1:7", b"x"), Err(libc::ENETUNREACH));
    assert_eq!(send(&to.to_string(), b"to myself"), Ok(9));
    assert!(readable(&a, 10));
    let recv = |flags, size: i32| {
        let mut r = Req::new(Op::Recv, 0);
        r.args[..2].copy_from_slice(&[flags, size]);
        let x = s.call(r, &[], Some(a.as_fd())).map_err(|e| e.raw_os_error().unwrap())?;
        let (h, data) = DgramHdr::decode(&x.payload, s.hello().key).expect("a header");
        Ok((h.peer.0.unwrap(), data.to_vec(), x.rep.val[0]))
    };
    assert_eq!(recv(libc::MSG_PEEK, 4), Ok((to, b"to m".to_vec(), 9)));
    assert_eq!(recv(0, 100), Ok((to, b"to myself".to_vec(), 9)));
    assert_eq!(recv(0, 100), Err(libc::EAGAIN));
    assert_eq!(recv(libc::MSG_OOB, 100), Err(libc::EOPNOTSUPP));
}

#[test]
fn nobody_to_send_to_is_an_error() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    let a = UdpSocket::bind(&s, sa("127.0.0.1:0")).unwrap();
    a.send(b"whereto?").unwrap();
    let e = a.recv_meta(&mut [0; 8]).unwrap_err();
    assert_eq!(e.raw_os_error(), Some(libc::EDESTADDRREQ));
}

#[test]
fn per_datagram_ttl_and_tos_arrive() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    let a = UdpSocket::bind(&s, sa("127.0.0.1:0")).unwrap();
    let b = UdpSocket::bind(&s, sa("127.0.0.1:0")).unwrap();
    let m = Meta { peer: Some(b.local_addr().unwrap()), ttl: Some(7), tos: Some(0x10), ..Meta::default() };
    a.send_meta(b"x", &m).unwrap();
    let (_, got) = b.recv_meta(&mut [0; 8]).unwrap();
    assert_eq!((got.ttl, got.tos), (Some(7), Some(0x10)));
}

#[test]
fn a_receiver_that_does_not_read_loses_datagrams_and_nothing_else() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    let a = UdpSocket::bind(&s, sa("127.0.0.1:0")).unwrap();
    let deaf = UdpSocket::bind(&s, sa("127.0.0.1:0")).unwrap();
    let b = UdpSocket::bind(&s, sa("127.0.0.1:0")).unwrap();
    for _ in 0..5000 {
        a.send_to(&[0; 1000], deaf.local_addr().unwrap()).unwrap();
    }
    a.send_to(b"through", b.local_addr().unwrap()).unwrap();
    b.recv_meta(&mut [0; 8]).unwrap();
    deaf.set_nonblocking(true).unwrap();
    let mut n = 0;
    while readable(&deaf, 1) {
        deaf.recv_meta(&mut [0; 2000]).unwrap();
        n += 1;
    }
    assert!((150..5000).contains(&n), "pair and receive buffer full, the rest lost: {n}");
    drop((a, b, deaf, s));
    rig.until_empty();
    rig.until("no packet memory held", |s| s.pool.is_some_and(|p| p.big_bytes == 0));
}

#[test]
fn ping_sockets_get_their_answers() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    let p = RawSocket::ping(&s, false).unwrap();
    p.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let echo = [8, 0, 0, 0, 0, 0, 0, 1, b'p', b'i', b'n', b'g'];
    p.send_to(&echo, sa("127.0.0.1:0")).unwrap();
    let mut buf = [0; 64];
    let (n, m) = p.recv_meta(&mut buf).unwrap();
    assert_eq!(m.peer.unwrap().ip().to_string(), "127.0.0.1");
    assert_eq!((buf[0], &buf[8..n]), (0, &b"ping"[..]));
}

#[test]
fn raw_sockets_see_the_header() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    let r = RawSocket::new(&s, false, 253).unwrap();
    r.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    r.send_to(b"experiment", sa("127.0.0.1:0")).unwrap();
    let mut buf = [0; 64];
    let (n, _) = r.recv_meta(&mut buf).unwrap();
    assert_eq!((buf[0] >> 4, buf[9], &buf[20..n]), (4, 253, &b"experiment"[..]));
}

#[test]
fn a_burst_of_large_datagrams_meets_no_error() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    let a = UdpSocket::bind(&s, sa("127.0.0.1:0")).unwrap();
    let b = UdpSocket::bind(&s, sa("127.0.0.1:0")).unwrap();
    let to = b.local_addr().unwrap();
    // Much more than a turn's worth; what the receiver has no room for is lost, silently.
    for _ in 0..300 {
        a.send_to(&[3; 40_000], to).unwrap();
    }
    a.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert_eq!(a.recv_meta(&mut [0; 8]).unwrap_err().raw_os_error(), Some(libc::EAGAIN));
    assert!(a.take_error().unwrap().is_none());
    let mut buf = vec![0; 50_000];
    assert_eq!(b.recv_meta(&mut buf).unwrap().0, 40_000);
}

#[test]
fn a_port_is_free_at_once_after_close() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    let at = UdpSocket::bind(&s, sa("127.0.0.1:0")).unwrap().local_addr().unwrap();
    let tcp = sa("127.0.0.1:7171");
    for _ in 0..1000 {
        drop(UdpSocket::bind(&s, at).unwrap());
        drop(iopkt_client::TcpListener::bind(&s, tcp, 1).unwrap());
    }
    drop(s);
    rig.until_empty();
}

#[test]
fn a_burst_arrives_in_order_whatever_room_there_is() {
    let _w = Watchdog::new(120);
    let rig = Rig::new();
    let s = rig.session();
    let (a, b) =
        (UdpSocket::bind(&s, sa("127.0.0.1:0")).unwrap(), UdpSocket::bind(&s, sa("127.0.0.1:0")).unwrap());
    let to = b.local_addr().unwrap();
    // The least send buffer: a turn takes a few of a batch, the rest waits in the server.
    a.set_option(1, libc::SO_SNDBUF, &1i32.to_ne_bytes()).unwrap();
    a.connect(Some(to)).unwrap();
    let message = |i: u32| [&i.to_ne_bytes()[..], &vec![i as u8; (i as usize * 37) % 1400]].concat();
    const N: u32 = 1500;
    let t = std::thread::spawn(move || {
        for i in 0..N {
            rustix::io::write(&a, &message(i)).unwrap();
            // As many as the receiver's buffer surely holds.
            if i % 64 == 63 {
                assert_eq!(rustix::io::read(&a, &mut [0; 8]).unwrap(), 4);
            }
        }
        // Its close comes behind them.
    });
    let mut buf = [0; 2000];
    for i in 0..N {
        let (n, m) = b.recv_meta(&mut buf).unwrap();
        assert_eq!(buf[..n], message(i), "message {i}");
        if i % 64 == 63 {
            b.send_to(b"more", m.peer.unwrap()).unwrap();
        }
    }
    t.join().unwrap();
    drop((b, s));
    rig.until_empty();
}

#[test]
fn who_does_not_strip_reads_payloads_and_learns_senders_by_request() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    let fd = s.socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0, 0).unwrap();
    let mut r = Req::new(Op::Bind, 0);
    r.addr = Addr(Some(sa("127.0.0.1:0")));
    s.call(r, &[], Some(fd.as_fd())).unwrap();
    let at = s.call(Req::new(Op::Getsockname, 0), &[], Some(fd.as_fd())).unwrap().rep.addr.0.unwrap();
    let senders: Vec<UdpSocket> = (0..3).map(|_| UdpSocket::bind(&s, sa("127.0.0.1:0")).unwrap()).collect();
    let names: Vec<_> = senders.iter().map(|u| u.local_addr().unwrap()).collect();
    for (u, data) in senders.iter().zip([&b"one"[..], b"", b"three"]) {
        u.connect(Some(at)).unwrap();
        u.send(data).unwrap();
    }
    // All are there before the first is read.
    let end = std::time::Instant::now() + Duration::from_secs(60);
    while rustix::io::ioctl_fionread(&fd).unwrap() < 8 {
        assert!(std::time::Instant::now() < end, "never eight bytes");
    }
    // Of three senders nobody says who is first.
    let mut left: Vec<_> = names.iter().copied().zip([&b"one"[..], b"", b"three"]).collect();
    while !left.is_empty() {
        let mut r = Req::new(Op::Recv, 0);
        r.args[..2].copy_from_slice(&[libc::MSG_PEEK, 100]);
        let x = s.call(r, &[], Some(fd.as_fd())).unwrap();
        let (h, told) = DgramHdr::decode(&x.payload, s.hello().key).expect("a header");
        let at = left.iter().position(|l| (Some(l.0), l.1) == (h.peer.0, told));
        let (_, data) = left.remove(at.unwrap_or_else(|| panic!("{told:?} from {:?}", h.peer.0)));
        let mut buf = [0; 200];
        let n = rustix::io::read(&fd, &mut buf).unwrap();
        assert_eq!(&buf[..n], data, "plain");
    }
}
