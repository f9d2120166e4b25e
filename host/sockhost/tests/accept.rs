//! Listeners: readable exactly while a connection waits.

mod common;
use common::{Rig, Watchdog, sa};
use iopkt_client::{TcpListener, TcpStream};
use iopkt_sockproto::linux::{AF_INET, SOCK_DGRAM, SOCK_STREAM};
use iopkt_sockproto::{Op, Req};
use iopkt_sys::{Epoll, Interest};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

fn readable(fd: impl AsFd, secs: i64) -> bool {
    let mut p = [PollFd::new(&fd, PollFlags::IN)];
    poll(&mut p, Some(&Timespec { tv_sec: secs, tv_nsec: 0 })).unwrap() > 0
}

#[test]
fn readable_exactly_while_somebody_waits() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    let l = TcpListener::bind(&s, sa("127.0.0.1:0"), 10).unwrap();
    let to = l.local_addr().unwrap();
    assert!(!readable(&l, 0));
    assert!(l.try_accept().unwrap().is_none());
    let _c: Vec<_> = (0..3).map(|_| TcpStream::connect(&s, to).unwrap()).collect();
    for _ in 0..3 {
        assert!(readable(&l, 10));
        assert!(l.try_accept().unwrap().is_some());
    }
    assert!(!readable(&l, 0));
    assert!(l.try_accept().unwrap().is_none());
}

#[test]
fn every_connection_is_an_edge() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    let l = TcpListener::bind(&s, sa("127.0.0.1:0"), 10).unwrap();
    let epoll = Epoll::new().unwrap();
    epoll.add(&l, 1, Interest::READ.edge()).unwrap();
    let mut evs = Vec::new();
    let mut held = Vec::new();
    for _ in 0..3 {
        // None is accepted in between: the edge must come all the same.
        held.push(TcpStream::connect(&s, l.local_addr().unwrap()).unwrap());
        evs.clear();
        epoll.wait(&mut evs, 4, Some(Duration::from_secs(10))).unwrap();
        assert_eq!(evs.len(), 1);
    }
}

#[test]
fn more_than_there_is_room_for_tokens() {
    let _w = Watchdog::new(120);
    let rig = Rig::new();
    let s = rig.session();
    let l = TcpListener::bind(&s, sa("127.0.0.1:0"), 1000).unwrap();
    let to = l.local_addr().unwrap();
    let _c: Vec<_> = (0..400).map(|_| TcpStream::connect(&s, to).unwrap()).collect();
    for _ in 0..400 {
        assert!(readable(&l, 10));
        l.try_accept().unwrap().expect("one waits");
    }
    assert!(!readable(&l, 0));
}

#[test]
fn data_that_came_before_accept_is_there() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    let l = TcpListener::bind(&s, sa("127.0.0.1:0"), 10).unwrap();
    let mut c = TcpStream::connect(&s, l.local_addr().unwrap()).unwrap();
    c.write_all(b"early").unwrap();
    drop(c);
    let mut got = Vec::new();
    l.accept().unwrap().0.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"early");
}

#[test]
fn closing_the_listener_ends_those_that_wait() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    let l = TcpListener::bind(&s, sa("127.0.0.1:0"), 10).unwrap();
    let to = l.local_addr().unwrap();
    let mut c = TcpStream::connect(&s, to).unwrap();
    drop(l);
    let e = c.read(&mut [0; 8]).unwrap_err();
    assert_eq!(e.raw_os_error(), Some(libc::ECONNRESET));
    drop(c);
    drop(s);
    rig.until_empty();
}

#[test]
fn a_copy_in_another_session_accepts_too() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let (s, other) = (rig.session(), rig.session());
    let l = TcpListener::bind(&s, sa("127.0.0.1:0"), 10).unwrap();
    let to = l.local_addr().unwrap();
    let copy = l.as_fd().try_clone_to_owned().unwrap();
    let _a = TcpStream::connect(&s, to).unwrap();
    let mut r = Req::new(Op::Accept, 0);
    r.args[0] = 0;
    let got = other.call(r, &[], Some(copy.as_fd())).unwrap();
    assert!(got.fd.is_some());
    assert!(l.try_accept().unwrap().is_none());
}

#[test]
fn what_cannot_accept_says_why() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    let errno = |ty, op| {
        let fd = s.socket(AF_INET, ty, 0, 0).unwrap();
        s.call(Req::new(op, 0), &[], Some(fd.as_fd())).unwrap_err().raw_os_error().unwrap()
    };
    assert_eq!(errno(SOCK_STREAM, Op::Accept), libc::EINVAL);
    assert_eq!(errno(SOCK_DGRAM, Op::Accept), libc::EOPNOTSUPP);
    assert_eq!(errno(SOCK_DGRAM, Op::Listen), libc::EOPNOTSUPP);
}

#[test]
fn a_program_that_reads_its_listener_hurts_nobody() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    let l = TcpListener::bind(&s, sa("127.0.0.1:0"), 10).unwrap();
    let to = l.local_addr().unwrap();
    let _c: Vec<_> = (0..3).map(|_| TcpStream::connect(&s, to).unwrap()).collect();
    assert!(readable(&l, 10));
    rustix::io::read(&l, &mut [0; 64]).unwrap();
    for _ in 0..3 {
        l.try_accept().unwrap().expect("one waits");
    }
    let _d = TcpStream::connect(&s, to).unwrap();
    assert!(readable(&l, 10));
}
