//! connect(2): in progress, done, refused; blocking and not.

mod common;
use common::{Rig, Watchdog, sa};
use iopkt_client::{Session, TcpListener, TcpStream};
use iopkt_sockproto::linux::{AF_INET, SOCK_NONBLOCK, SOCK_STREAM};
use iopkt_sockproto::{Addr, Op, Rep, Req, repf};
use iopkt_sys::{Epoll, Interest};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

fn errno<T: std::fmt::Debug>(r: std::io::Result<T>) -> i32 {
    r.unwrap_err().raw_os_error().unwrap()
}

fn connect(
    s: &Session,
    fd: impl AsFd,
    to: SocketAddr,
    wait: bool,
) -> std::io::Result<(Rep, Option<OwnedFd>)> {
    let mut r = Req::new(Op::Connect, 0);
    r.args[0] = wait.into();
    r.addr = Addr(Some(to));
    s.call(r, &[], Some(fd.as_fd())).map(|a| (a.rep, a.fd))
}

fn status(s: &Session, fd: impl AsFd) -> std::io::Result<()> {
    s.call(Req::new(Op::ConnectStatus, 0), &[], Some(fd.as_fd())).map(drop)
}

fn events(fd: impl AsFd, timeout: i64) -> PollFlags {
    let mut p = [PollFd::new(&fd, PollFlags::IN | PollFlags::OUT)];
    poll(&mut p, Some(&Timespec { tv_sec: timeout, tv_nsec: 0 })).unwrap();
    p[0].revents()
}

#[test]
fn pollout_comes_exactly_when_connected() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    let l = TcpListener::bind(&s, sa("127.0.0.1:0"), 4).unwrap();
    let fd = s.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0, 0).unwrap();
    let epoll = Epoll::new().unwrap();
    epoll.add(&fd, 1, Interest::WRITE.edge()).unwrap();
    let mut evs = Vec::new();
    // The first look shows that the fresh descriptor is writable; that edge is used up now.
    epoll.wait(&mut evs, 8, Some(Duration::ZERO)).unwrap();
    evs.clear();
    assert_eq!(errno(connect(&s, &fd, l.local_addr().unwrap(), false)), libc::EINPROGRESS);
    // Edge-triggered: a new edge, once.
    epoll.wait(&mut evs, 8, Some(Duration::from_secs(10))).unwrap();
    assert!(evs[0].write && !evs[0].error && !evs[0].hup, "{evs:?}");
    status(&s, &fd).unwrap();
    assert_eq!(errno(connect(&s, &fd, l.local_addr().unwrap(), false)), libc::EISCONN);
    assert!(!events(&fd, 0).contains(PollFlags::IN));
    let (mut b, _) = l.accept().unwrap();
    let mut a = TcpStream::from_fd(&s, fd);
    a.write_all(b"after the filling").unwrap();
    let mut buf = [0; 17];
    b.read_exact(&mut buf).unwrap();
    assert_eq!(&buf, b"after the filling");
}

#[test]
fn while_in_progress_it_is_not_writable_and_says_so() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    // A full queue of a listener that nobody serves leaves the next attempts in SYN_SENT.
    let l = TcpListener::bind(&s, sa("127.0.0.1:0"), 0).unwrap();
    let to = l.local_addr().unwrap();
    let mut fds = Vec::new();
    let stuck = loop {
        let fd = s.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0, 0).unwrap();
        assert_eq!(errno(connect(&s, &fd, to, false)), libc::EINPROGRESS);
        let mut p = [PollFd::new(&fd, PollFlags::OUT)];
        let n = poll(&mut p, Some(&Timespec { tv_sec: 0, tv_nsec: 300_000_000 })).unwrap();
        if n == 0 {
            break fd;
        }
        fds.push(fd);
        assert!(fds.len() < 20, "every connect succeeds");
    };
    assert_eq!(errno(status(&s, &stuck)), libc::EINPROGRESS);
    assert_eq!(errno(connect(&s, &stuck, to, false)), libc::EALREADY);
    assert_eq!(events(&stuck, 0), PollFlags::empty());
    // Room in the queue: the retransmitted SYN gets through.
    for _ in 0..fds.len() {
        l.accept().unwrap();
    }
    assert_eq!(events(&stuck, 20), PollFlags::OUT);
    status(&s, &stuck).unwrap();
}

#[test]
fn refused_without_waiting_shows_as_an_error() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    let c = TcpStream::connect_begin(&s, sa("127.0.0.1:9")).unwrap();
    let ev = events(&c, 10);
    assert!(ev.contains(PollFlags::OUT | PollFlags::ERR | PollFlags::HUP), "{ev:?}");
    let e = c.take_error().unwrap().expect("an error is pending");
    assert_eq!(e.raw_os_error(), Some(libc::ECONNREFUSED));
    assert!(c.take_error().unwrap().is_none(), "told once");
    assert_eq!(errno(c.peer_addr()), libc::ENOTCONN);
    // Another attempt: a new descriptor takes the place of the dead one.
    let l = TcpListener::bind(&s, sa("127.0.0.1:0"), 4).unwrap();
    let to = l.local_addr().unwrap();
    let (rep, fd) = connect(&s, &c, to, false).unwrap();
    assert_eq!(rep.status, libc::EINPROGRESS);
    assert_ne!(rep.flags & repf::REPLACE, 0);
    let fd = fd.unwrap();
    assert_eq!(events(&fd, 10), PollFlags::OUT);
    status(&s, &fd).unwrap();
}

#[test]
fn refused_while_waiting_leaves_the_socket_usable() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    let fd = s.socket(AF_INET, SOCK_STREAM, 0, 0).unwrap();
    for _ in 0..3 {
        assert_eq!(errno(connect(&s, &fd, sa("127.0.0.1:9"), true)), libc::EINPROGRESS);
        let ev = events(&fd, 10);
        assert_eq!(ev, PollFlags::OUT);
        assert_eq!(errno(status(&s, &fd)), libc::ECONNREFUSED);
    }
    let l = TcpListener::bind(&s, sa("127.0.0.1:0"), 4).unwrap();
    assert_eq!(errno(connect(&s, &fd, l.local_addr().unwrap(), true)), libc::EINPROGRESS);
    assert_eq!(events(&fd, 10), PollFlags::OUT);
    status(&s, &fd).unwrap();
    let mut a = TcpStream::from_fd(&s, fd);
    let (mut b, _) = l.accept().unwrap();
    a.write_all(b"x").unwrap();
    b.read_exact(&mut [0]).unwrap();
}

#[test]
fn no_route_is_told_at_once() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    let e = TcpStream::connect(&s, sa("192.0.2.1:80")).unwrap_err();
    assert_eq!(e.raw_os_error(), Some(libc::ENETUNREACH));
}

#[test]
fn an_unconnected_stream_knows_no_peer() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    let fd = s.socket(AF_INET, SOCK_STREAM, 0, 0).unwrap();
    assert_eq!(errno(status(&s, &fd)), libc::ENOTCONN);
    let c = TcpStream::from_fd(&s, fd);
    assert_eq!(errno(c.peer_addr()), libc::ENOTCONN);
    assert_eq!(errno(c.shutdown(std::net::Shutdown::Both)), libc::ENOTCONN);
    drop(c);
    drop(s);
    rig.until_empty();
}

#[test]
fn closing_while_in_progress_leaves_nothing() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    let l = TcpListener::bind(&s, sa("127.0.0.1:0"), 0).unwrap();
    for _ in 0..8 {
        drop(TcpStream::connect_begin(&s, l.local_addr().unwrap()).unwrap());
    }
    drop((l, s));
    rig.until_empty();
}
