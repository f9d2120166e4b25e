//! A port is free as soon as the program has closed the socket that had it, although the server has not heard of that yet.

mod common;
use common::{World, sa};
use iopkt_base::Errno;
use iopkt_sockproto::linux::*;
use iopkt_sockproto::{Addr, Op, Rep, Req};
use iopkt_sockserver::mem::{MemFd, Program};

/// Sends a request whose reply is looked at later: what follows happens before the server's next turn.
fn post(p: &Program, op: Op, args: [i32; 5], at: Option<&str>, fd: &MemFd) {
    let r = Req { args, addr: Addr(at.map(sa)), ..Req::new(op, 1) };
    p.send(&r.encode(), Some(fd)).unwrap();
}

fn status(w: &mut World, p: &Program) -> Errno {
    w.settle();
    let (m, _) = p.recv().expect("a reply");
    Errno(Rep::decode(&m).unwrap().0.status)
}

const OK: Errno = Errno(0);
const AT: &str = "10.0.0.1:7000";

/// A stream socket bound to [`AT`] with SO_REUSEADDR: several may be.
fn sharing(w: &mut World, p: &Program) -> MemFd {
    let s = w.socket(p, SOCK_STREAM).unwrap();
    let r = Req { args: [SOL_SOCKET, SO_REUSEADDR, 0, 0, 0], ..Req::new(Op::Setsockopt, 1) };
    w.call(p, r, &1i32.to_ne_bytes(), Some(&s)).unwrap();
    w.at(p, Op::Bind, AT, &s).unwrap();
    s
}

#[test]
fn bind_after_close() {
    for ty in [SOCK_STREAM, SOCK_DGRAM] {
        let mut w = World::new(1);
        let p = w.program(0);
        let mut old = w.socket(&p, ty).unwrap();
        w.at(&p, Op::Bind, AT, &old).unwrap();
        for round in 0..50 {
            let new = w.socket(&p, ty).unwrap();
            post(&p, Op::Bind, [0; 5], Some(AT), &new);
            assert_eq!(status(&mut w, &p), Errno::EADDRINUSE, "{round}");
            drop(old);
            post(&p, Op::Bind, [0; 5], Some(AT), &new);
            assert_eq!(status(&mut w, &p), OK, "{round}");
            old = new;
        }
        drop((old, p));
        w.end();
    }
}

#[test]
fn bind_after_close_of_a_listener() {
    let mut w = World::new(2);
    let p = w.program(0);
    let old = w.listener(&p, AT);
    let new = w.socket(&p, SOCK_STREAM).unwrap();
    drop(old);
    post(&p, Op::Bind, [0; 5], Some(AT), &new);
    post(&p, Op::Listen, [5, 0, 0, 0, 0], None, &new);
    assert_eq!(status(&mut w, &p), OK);
    assert_eq!(status(&mut w, &p), OK);
    drop((new, p));
    w.end();
}

#[test]
fn listen_after_close() {
    let mut w = World::new(3);
    let p = w.program(0);
    let (old, new) = (sharing(&mut w, &p), sharing(&mut w, &p));
    w.ask(&p, Op::Listen, &[5], &old).unwrap();
    post(&p, Op::Listen, [5, 0, 0, 0, 0], None, &new);
    assert_eq!(status(&mut w, &p), Errno::EADDRINUSE);
    drop(old);
    post(&p, Op::Listen, [5, 0, 0, 0, 0], None, &new);
    assert_eq!(status(&mut w, &p), OK);
    drop((new, p));
    w.end();
}

#[test]
fn connect_from_a_bound_port_after_close() {
    let mut w = World::new(4);
    let p = w.program(0);
    let (old, new) = (sharing(&mut w, &p), sharing(&mut w, &p));
    let to = Some("10.0.0.77:80"); // nobody answers
    post(&p, Op::Connect, [0; 5], to, &old);
    assert_eq!(status(&mut w, &p), Errno::EINPROGRESS);
    post(&p, Op::Connect, [0; 5], to, &new);
    assert_eq!(status(&mut w, &p), Errno::EADDRNOTAVAIL);
    drop(old);
    post(&p, Op::Connect, [0; 5], to, &new);
    assert_eq!(status(&mut w, &p), Errno::EINPROGRESS);
    drop((new, p));
    w.end();
}

#[test]
fn what_a_closed_datagram_socket_wrote_goes_out_under_its_name() {
    let mut w = World::new(5);
    let (p, q) = (w.program(0), w.program(1));
    let to = w.socket(&q, SOCK_DGRAM).unwrap();
    w.at(&q, Op::Bind, "10.0.0.2:9", &to).unwrap();
    let mut old = w.socket(&p, SOCK_DGRAM).unwrap();
    w.at(&p, Op::Bind, AT, &old).unwrap();
    // Neighbours know each other: nothing is lost while they ask.
    w.at(&p, Op::Connect, "10.0.0.2:9", &old).unwrap();
    old.write(b"hello").unwrap();
    w.until("hello", |_| to.read(&mut [0; 200]).is_ok());
    let mut got = 0;
    for round in 0..10u8 {
        w.at(&p, Op::Connect, "10.0.0.2:9", &old).unwrap();
        let new = w.socket(&p, SOCK_DGRAM).unwrap();
        // A few datagrams go in a turn.
        let r = Req { args: [SOL_SOCKET, 7, 0, 0, 0], ..Req::new(Op::Setsockopt, 1) };
        w.call(&p, r, &5000i32.to_ne_bytes(), Some(&old)).unwrap();
        let mut wrote = 0;
        while old.write(&[round; 1000]).is_ok() {
            wrote += 1;
        }
        drop(old);
        post(&p, Op::Bind, [0; 5], Some(AT), &new);
        assert_eq!(status(&mut w, &p), OK);
        old = new;
        let mut buf = [0; 9000];
        w.until("all datagrams", |_| {
            while let Ok(n) = to.read(&mut buf) {
                let (h, data) = iopkt_sockproto::DgramHdr::decode(&buf[..n], common::KEY).unwrap();
                assert_eq!((h.peer.0, data.len(), data[0]), (Some(sa(AT)), 1000, round));
                (got, wrote) = (got + 1, wrote - 1);
            }
            wrote == 0
        });
    }
    assert!(got > 0);
    drop((old, to, p, q));
    w.end();
}
