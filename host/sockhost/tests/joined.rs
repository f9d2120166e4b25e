//! Connections between two programs of one stack: joined past it, and when not.

mod common;
use common::{Rig, Watchdog, connected, megabytes_each_way, sa};
use iopkt_client::{Session, TcpListener, TcpStream};
use iopkt_ctl::{Reply, Request};
use iopkt_sockproto::linux::{
    AF_INET, AF_PACKET, SO_ERROR, SOCK_NONBLOCK, SOCK_RAW, SOCK_STREAM, SOL_SOCKET,
};
use iopkt_sockproto::{Addr, Op, Req, sockf};
use iopkt_sys::{Epoll, Interest};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

fn rig() -> (Watchdog, Rig) {
    (Watchdog::new(120), Rig::joining())
}

fn int(s: &TcpStream, level: i32, name: i32) -> i32 {
    i32::from_ne_bytes(s.option(level, name, 4).unwrap().try_into().unwrap())
}

/// States of the connections of a port, as netstat shows them.
fn states(s: &Session, port: u16) -> Vec<String> {
    let Reply::Sockets { list: l, .. } = s.ctl(&Request::Sockets { cursor: 0 }).unwrap() else {
        panic!("no list")
    };
    let of = |a: &Option<std::net::SocketAddr>| a.is_some_and(|a| a.port() == port);
    let mut v: Vec<String> = l
        .iter()
        .filter(|i| of(&i.remote) || of(&Some(i.local)) && i.remote.is_some())
        .map(|i| i.state.clone())
        .collect();
    v.sort();
    v
}

/// The segments of a shutdown or close go a moment after it was answered.
#[track_caller]
fn until_states(s: &Session, port: u16, want: &[&str]) {
    let end = std::time::Instant::now() + Duration::from_secs(60);
    loop {
        let v = states(s, port);
        if v == want {
            return;
        }
        assert!(std::time::Instant::now() < end, "{v:?} instead of {want:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// bind(2) without SO_REUSEADDR.
fn bind(s: &Session, to: std::net::SocketAddr) -> std::io::Result<OwnedFd> {
    let fd = s.socket(AF_INET, SOCK_STREAM, 0, sockf::JOINS)?;
    let r = Req { addr: Addr(Some(to)), ..Req::new(Op::Bind, 0) };
    s.call(r, &[], Some(fd.as_fd())).map(|_| fd)
}

#[test]
fn bytes_go_past_the_stack_and_everything_else_is_the_stacks() {
    let (_w, rig) = rig();
    let s = rig.session();
    let (mut a, mut b) = connected(&s);
    assert_eq!(rig.joined(), 1);
    let before = rig.sysctl("net.inet.tcp.joined", None);
    a.write_all(b"there").unwrap();
    let mut buf = [0; 5];
    b.read_exact(&mut buf).unwrap();
    assert_eq!(&buf, b"there");
    b.write_all(b"again").unwrap();
    a.read_exact(&mut buf).unwrap();
    assert_eq!(&buf, b"again");
    assert_eq!(before, rig.sysctl("net.inet.tcp.joined", None));
    assert_eq!(a.peer_addr().unwrap(), b.local_addr().unwrap());
    assert_eq!(b.peer_addr().unwrap(), a.local_addr().unwrap());
    for x in [&a, &b] {
        assert_eq!(int(x, SOL_SOCKET, SO_ERROR), 0);
        x.set_option(libc::IPPROTO_TCP, libc::TCP_NODELAY, &1i32.to_ne_bytes()).unwrap();
        assert_eq!(int(x, libc::IPPROTO_TCP, libc::TCP_NODELAY), 1);
        let info = x.option(libc::IPPROTO_TCP, libc::TCP_INFO, 232).unwrap();
        assert_eq!(info[0], 1, "TCP_ESTABLISHED");
        assert!(s.owns(x));
    }
    let port = b.local_addr().unwrap().port();
    until_states(&s, port, &["ESTABLISHED", "ESTABLISHED"]);
    drop((a, b, s));
    rig.until_empty();
}

#[test]
fn megabytes_each_way_at_once_arrive_whole() {
    let (_w, rig) = rig();
    let s = rig.session();
    let (a, b) = connected(&s);
    megabytes_each_way(&a, &b);
    drop((a, b, s));
    rig.until_empty();
}

#[test]
fn what_is_written_before_accept_comes_first() {
    let (_w, rig) = rig();
    let s = rig.session();
    let l = TcpListener::bind(&s, sa("127.0.0.1:0"), 8).unwrap();
    let mut a = TcpStream::connect(&s, l.local_addr().unwrap()).unwrap();
    let early: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
    a.write_all(&early).unwrap();
    let (mut b, _) = l.accept().unwrap();
    assert_eq!(rig.joined(), 1);
    a.write_all(b"late").unwrap();
    a.shutdown(Shutdown::Write).unwrap();
    let mut got = Vec::new();
    b.read_to_end(&mut got).unwrap();
    assert!(got.starts_with(&early));
    assert_eq!(got[early.len()..], *b"late");
    drop((a, b, l, s));
    rig.until_empty();
}

#[test]
fn what_is_written_before_a_close_before_accept_comes_too() {
    let (_w, rig) = rig();
    let s = rig.session();
    let l = TcpListener::bind(&s, sa("127.0.0.1:0"), 8).unwrap();
    for how in ["close", "shutdown"] {
        let mut a = TcpStream::connect(&s, l.local_addr().unwrap()).unwrap();
        a.write_all(b"gone").unwrap();
        let kept = if how == "close" {
            drop(a);
            None
        } else {
            a.shutdown(Shutdown::Write).unwrap();
            Some(a)
        };
        let (mut b, _) = l.accept().unwrap();
        let mut got = Vec::new();
        b.read_to_end(&mut got).unwrap();
        assert_eq!(got, b"gone", "{how}");
        drop(kept);
    }
    drop((l, s));
    rig.until_empty();
}

#[test]
fn half_close_and_states() {
    let (_w, rig) = rig();
    let s = rig.session();
    let (mut a, mut b) = connected(&s);
    let port = b.local_addr().unwrap().port();
    a.write_all(b"request").unwrap();
    a.shutdown(Shutdown::Write).unwrap();
    let mut got = Vec::new();
    b.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"request");
    until_states(&s, port, &["CLOSE_WAIT", "FIN_WAIT_2"]);
    assert_eq!(a.write(b"x").unwrap_err().raw_os_error(), Some(libc::EPIPE));
    b.write_all(b"answer").unwrap();
    drop(b);
    got.clear();
    a.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"answer");
    // Who closed first waits, as everywhere.
    rig.until("one socket left", |s| s.held.sockets == 1);
    until_states(&s, port, &["TIME_WAIT"]);
    drop((a, s));
    rig.until_empty();
}

fn read_errno(s: &mut TcpStream) -> i32 {
    loop {
        match s.read(&mut [0; 4096]) {
            Ok(0) => return 0,
            Ok(_) => {}
            Err(e) => return e.raw_os_error().unwrap(),
        }
    }
}

#[test]
fn unread_bytes_reset() {
    let (_w, rig) = rig();
    let s = rig.session();
    let (mut a, b) = connected(&s);
    a.write_all(b"never read").unwrap();
    drop(b);
    assert_eq!(read_errno(&mut a), libc::ECONNRESET);
    assert_eq!(a.write(b"y").unwrap_err().raw_os_error(), Some(libc::EPIPE));
    drop((a, s));
    rig.until_empty();
}

#[test]
fn linger_0_resets_and_bytes_before_it_are_read_first() {
    let (_w, rig) = rig();
    let s = rig.session();
    for side in [0, 1] {
        let (a, b) = connected(&s);
        let (mut x, mut y) = if side == 0 { (a, b) } else { (b, a) };
        x.write_all(b"last words").unwrap();
        x.set_abort_on_close(true).unwrap();
        drop(x);
        let mut got = [0; 10];
        y.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"last words");
        assert_eq!(read_errno(&mut y), libc::ECONNRESET);
        assert_eq!(read_errno(&mut y), 0, "once");
    }
    drop(s);
    rig.until_empty();
}

#[test]
fn so_error_shows_a_reset_without_a_read() {
    let (_w, rig) = rig();
    let s = rig.session();
    let (mut a, b) = connected(&s);
    a.write_all(b"never read").unwrap();
    drop(b);
    assert_eq!(int(&a, SOL_SOCKET, SO_ERROR), libc::ECONNRESET);
    assert_eq!(int(&a, SOL_SOCKET, SO_ERROR), 0);
}

#[test]
fn a_socket_pair_has_the_ports_of_a_connection() {
    let (_w, rig) = rig();
    let s = rig.session();
    let l = TcpListener::bind(&s, sa("127.0.0.1:0"), 8).unwrap();
    let at = l.local_addr().unwrap();
    let a = TcpStream::connect(&s, at).unwrap();
    let (b, _) = l.accept().unwrap();
    drop(l);
    assert_eq!(bind(&s, at).unwrap_err().raw_os_error(), Some(libc::EADDRINUSE), "the connection has it");
    let port = at.port();
    // The client closes first: its side is in TIME-WAIT, and the listener's port is free.
    drop(a);
    until_states(&s, port, &["CLOSE_WAIT", "FIN_WAIT_2"]);
    drop(b);
    until_states(&s, port, &["TIME_WAIT"]);
    bind(&s, at).unwrap();
}

#[test]
fn copies_keep_it_open_and_the_last_one_ends_it() {
    let (_w, rig) = rig();
    let s = rig.session();
    let (a, mut b) = connected(&s);
    let copy: OwnedFd = a.as_fd().try_clone_to_owned().unwrap();
    drop(a);
    let mut a = TcpStream::from_fd(&s, copy);
    a.write_all(b"still here").unwrap();
    let mut got = [0; 10];
    b.read_exact(&mut got).unwrap();
    let copy: OwnedFd = b.as_fd().try_clone_to_owned().unwrap();
    drop(b);
    rig.until("both there", |s| s.held.sockets == 2);
    drop(copy);
    rig.until("one gone", |s| s.held.sockets == 1);
    assert_eq!(read_errno(&mut a), 0);
    drop((a, s));
    rig.until_empty();
}

#[test]
fn a_descriptor_on_its_way_keeps_it_open() {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    let (_w, rig) = rig();
    let s = rig.session();
    let (mut a, b) = connected(&s);
    let (to, from) = std::os::unix::net::UnixStream::pair().unwrap();
    let fds = [b.as_fd()];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
    sendmsg(&to, &[std::io::IoSlice::new(b"x")], &mut control, SendFlags::empty()).unwrap();
    drop(b);
    rig.until("both there", |s| s.held.sockets == 2);
    a.write_all(b"waits").unwrap();
    // Never received: it ends with the message.
    drop((to, from));
    rig.until("one gone", |s| s.held.sockets == 1);
    assert_eq!(read_errno(&mut a), libc::ECONNRESET);
    drop((a, s));
    rig.until_empty();
}

#[test]
fn non_blocking_connect_with_an_edge_and_non_blocking_accept() {
    let (_w, rig) = rig();
    let s = rig.session();
    let l = TcpListener::bind(&s, sa("127.0.0.1:0"), 4).unwrap();
    let fd = s.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0, sockf::JOINS).unwrap();
    let epoll = Epoll::new().unwrap();
    // Before connect, as some programs do; the descriptor stays the same.
    epoll.add(&fd, 1, Interest::BOTH.edge()).unwrap();
    let mut evs = Vec::new();
    epoll.wait(&mut evs, 8, Some(Duration::ZERO)).unwrap();
    evs.clear();
    let mut r = Req::new(Op::Connect, 0);
    r.addr = Addr(Some(l.local_addr().unwrap()));
    let e = s.call(r, &[], Some(fd.as_fd())).unwrap_err();
    assert_eq!(e.raw_os_error(), Some(libc::EINPROGRESS));
    epoll.wait(&mut evs, 8, Some(Duration::from_secs(60))).unwrap();
    assert!(evs[0].write && !evs[0].error && !evs[0].hup, "{evs:?}");
    let mut r = Req::new(Op::Accept, 0);
    r.args[0] = SOCK_NONBLOCK;
    let b = s.call(r, &[], Some(l.as_fd())).unwrap().fd.unwrap();
    assert_eq!(rig.joined(), 1);
    let mut b = TcpStream::from_fd(&s, b);
    let e = b.read(&mut [0]).unwrap_err();
    assert_eq!(e.raw_os_error(), Some(libc::EAGAIN), "the filling is not seen");
    evs.clear();
    b.write_all(b"edge").unwrap();
    epoll.wait(&mut evs, 8, Some(Duration::from_secs(60))).unwrap();
    assert!(evs[0].read, "{evs:?}");
    let mut a = TcpStream::from_fd(&s, fd);
    let mut buf = [0; 4];
    a.read_exact(&mut buf).unwrap();
    // The listener's mode is not inherited.
    let c = TcpStream::connect(&s, l.local_addr().unwrap()).unwrap();
    let (d, _) = l.accept().unwrap();
    assert!(!rustix::fs::fcntl_getfl(&d).unwrap().contains(rustix::fs::OFlags::NONBLOCK));
    drop((c, d));
}

#[test]
fn a_full_pair_blocks_and_goes_on() {
    let (_w, rig) = rig();
    let s = rig.session();
    let (a, mut b) = connected(&s);
    let t = std::thread::spawn(move || (&a).write_all(&vec![7; 8 << 20]));
    let mut n = 0;
    let mut buf = vec![0; 100_000];
    while n < 8 << 20 {
        n += b.read(&mut buf).unwrap();
    }
    t.join().unwrap().unwrap();
}

#[test]
fn refused_and_a_listener_that_leaves() {
    let (_w, rig) = rig();
    let s = rig.session();
    let l = TcpListener::bind(&s, sa("127.0.0.1:0"), 4).unwrap();
    let at = l.local_addr().unwrap();
    let mut a = TcpStream::connect(&s, at).unwrap();
    a.write_all(b"nobody reads it").unwrap();
    drop(l);
    assert_eq!(read_errno(&mut a), libc::ECONNRESET);
    let e = TcpStream::connect(&s, at).unwrap_err();
    assert_eq!(e.raw_os_error(), Some(libc::ECONNREFUSED));
    drop((a, s));
    rig.until_empty();
}

#[test]
fn a_backlog_that_is_full_is_served_in_order() {
    let (_w, rig) = rig();
    let s = rig.session();
    let l = TcpListener::bind(&s, sa("127.0.0.1:0"), 2).unwrap();
    let at = l.local_addr().unwrap();
    let threads: Vec<_> = (0..8u8)
        .map(|i| {
            let s = s.clone();
            std::thread::spawn(move || {
                let mut a = TcpStream::connect(&s, at).unwrap();
                a.write_all(&[i; 1000]).unwrap();
                let mut back = Vec::new();
                a.read_to_end(&mut back).unwrap();
                assert_eq!(back, [i; 1000]);
            })
        })
        .collect();
    for _ in 0..8 {
        let (mut b, _) = l.accept().unwrap();
        let mut buf = [0; 1000];
        b.read_exact(&mut buf).unwrap();
        b.write_all(&buf).unwrap();
    }
    threads.into_iter().for_each(|t| t.join().unwrap());
    assert_eq!(rig.joined(), 8);
    drop((l, s));
    rig.until_empty();
}

#[test]
fn not_joined_while_somebody_looks_or_it_is_switched_off() {
    let (_w, rig) = rig();
    let s = rig.session();
    let tap = s.socket(AF_PACKET, SOCK_RAW, 0x300, 0).unwrap();
    drop(connected(&s));
    assert_eq!(rig.joined(), 0, "a packet socket on all interfaces");
    drop(tap);
    rig.until("the tap is gone", |s| s.held.nodes == 0);
    let raw = s.socket(AF_INET, SOCK_RAW, 6, 0).unwrap();
    drop(connected(&s));
    assert_eq!(rig.joined(), 0, "a raw TCP socket");
    drop(raw);
    rig.until("the raw socket is gone", |s| s.held.sockets == 0);
    rig.join_local(false);
    drop(connected(&s));
    assert_eq!(rig.joined(), 0, "switched off");
    rig.join_local(true);
    drop(connected(&s));
    assert_eq!(rig.joined(), 1);
    // Between connect and accept: what waits then goes by the stack.
    let l = TcpListener::bind(&s, sa("127.0.0.1:0"), 4).unwrap();
    let mut a = TcpStream::connect(&s, l.local_addr().unwrap()).unwrap();
    a.write_all(b"held").unwrap();
    let tap = s.socket(AF_PACKET, SOCK_RAW, 0x300, 0).unwrap();
    let (mut b, _) = l.accept().unwrap();
    let mut buf = [0; 4];
    b.read_exact(&mut buf).unwrap();
    assert_eq!(rig.joined(), 1);
    drop((a, b, l, tap, s));
    rig.until_empty();
}

#[test]
fn data_that_makes_the_connection_is_not_held() {
    let (_w, rig) = rig();
    let s = rig.session();
    let l = TcpListener::bind(&s, sa("127.0.0.1:0"), 4).unwrap();
    let mut r = Req::new(Op::Setsockopt, 0);
    (r.args[0], r.args[1]) = (libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT);
    s.call(r, &600i32.to_ne_bytes(), Some(l.as_fd())).unwrap();
    let mut a = TcpStream::connect(&s, l.local_addr().unwrap()).unwrap();
    a.write_all(b"data").unwrap();
    let (mut b, _) = l.accept().unwrap();
    let mut buf = [0; 4];
    b.read_exact(&mut buf).unwrap();
}

#[test]
fn the_stacks_death_leaves_the_bytes_alone() {
    let (_w, mut rig) = rig();
    let s = rig.session();
    let (mut a, mut b) = connected(&s);
    rig.stop();
    a.write_all(b"alone").unwrap();
    let mut buf = [0; 5];
    b.read_exact(&mut buf).unwrap();
    assert_eq!(&buf, b"alone");
    assert!(a.local_addr().unwrap_err().to_string().contains("is gone"));
}

#[test]
fn many_come_and_go() {
    let (_w, rig) = rig();
    let s = rig.session();
    let l = TcpListener::bind(&s, sa("127.0.0.1:0"), 64).unwrap();
    for i in 0..300u32 {
        let mut a = TcpStream::connect(&s, l.local_addr().unwrap()).unwrap();
        let (mut b, _) = l.accept().unwrap();
        a.write_all(&i.to_ne_bytes()).unwrap();
        let mut buf = [0; 4];
        b.read_exact(&mut buf).unwrap();
        assert_eq!(buf, i.to_ne_bytes());
        if i % 2 == 0 { drop((a, b)) } else { drop((b, a)) }
    }
    assert_eq!(rig.joined(), 300);
    drop((l, s));
    rig.until_empty();
}
