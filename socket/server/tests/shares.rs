//! No user takes what there is for all; see `share`.

mod common;
use common::World;
use iopkt_base::Errno;
use iopkt_sockproto::linux::*;
use iopkt_sockproto::{Addr, Op, Req};
use iopkt_sockserver::ServerConfig;
use iopkt_stack::Config;
use std::net::{Ipv4Addr, SocketAddr};

fn world() -> World {
    let stack = Config { max_sockets: 40, ..Config::default() };
    World::with(1, stack, ServerConfig { uid: 7, max_sessions: 20, ..ServerConfig::default() })
}

#[test]
fn a_user_has_a_quarter_of_the_sockets() {
    let mut w = world();
    let (p, q, other) = (w.user(0, 1000), w.user(0, 1000), w.user(0, 1001));
    let mut held = Vec::new();
    for i in 0..10 {
        held.push(w.socket(if i % 2 == 0 { &p } else { &q }, SOCK_DGRAM).unwrap());
    }
    assert_eq!(w.socket(&p, SOCK_STREAM).err(), Some(Errno::EMFILE));
    assert_eq!(w.socket(&q, SOCK_STREAM).err(), Some(Errno::EMFILE));
    assert!(w.socket(&other, SOCK_STREAM).is_ok());
    // What was closed may be had again.
    held.pop();
    w.settle();
    held.push(w.socket(&p, SOCK_DGRAM).unwrap());
    // Root, and the stack's own user, may have everything.
    for uid in [0, 7] {
        let r = w.user(0, uid);
        let all: Vec<_> = (0..25).map(|_| w.socket(&r, SOCK_DGRAM).unwrap()).collect();
        drop((all, r));
        w.settle();
    }
    drop((held, p, q, other));
    w.end();
}

#[test]
fn who_may_not_accept_leaves_the_connection_waiting() {
    let mut w = world();
    let (p, q) = (w.user(0, 1000), w.user(1, 1000));
    let l = w.listener(&q, "10.0.0.2:8080");
    let c = w.socket(&p, SOCK_STREAM).unwrap();
    let to = Req { addr: Addr(Some(common::sa("10.0.0.2:8080"))), ..Req::new(Op::Connect, 1) };
    assert_eq!(w.call(&p, to, &[], Some(&c)).err(), Some(Errno::EINPROGRESS));
    w.until("a connection", |_| l.poll().readable);
    let mut held: Vec<_> = (0..9).map(|_| w.socket(&q, SOCK_DGRAM).unwrap()).collect();
    assert_eq!(w.accept(&q, &l).err(), Some(Errno::EMFILE));
    assert!(l.poll().readable, "it still waits");
    held.pop();
    w.settle();
    let a = w.accept(&q, &l).unwrap();
    assert!(!l.poll().readable);
    drop((a, c, l, held, p, q));
    w.end();
}

#[test]
fn a_user_has_a_quarter_of_the_sessions() {
    let mut w = world();
    let mut of: Vec<_> = (0..5).map(|_| w.user(0, 1000)).collect();
    let refused = w.server(0).host.connect(1000, 1);
    w.settle();
    assert!(refused.ended());
    assert!(w.hosts[0].log.iter().any(|l| l.contains("5 sessions is the limit of a user")));
    let (_other, _root) = (w.user(0, 1001), w.user(0, 0));
    of.pop();
    w.settle();
    of.push(w.user(0, 1000));
    drop((of, refused, _other, _root));
    w.end();
}

#[test]
fn ports_below_1024_are_for_root_and_who_started_the_stack() {
    let mut w = world();
    let bind = |w: &mut World, p: &iopkt_sockserver::mem::Program, ty: i32, port: u16| {
        let s = w.socket(p, ty).unwrap();
        let to = Req {
            addr: Addr(Some(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port))),
            ..Req::new(Op::Bind, 1)
        };
        w.call(p, to, &[], Some(&s)).map(|_| ())
    };
    let (stranger, root, own) = (w.user(0, 1000), w.user(0, 0), w.user(0, 7));
    for ty in [SOCK_STREAM, SOCK_DGRAM] {
        for port in [1, 53, 80, 1023] {
            assert_eq!(bind(&mut w, &stranger, ty, port), Err(Errno::EACCES), "{port}");
            assert_eq!(bind(&mut w, &root, ty, port), Ok(()), "{port}");
            assert_eq!(bind(&mut w, &own, ty, port), Ok(()), "{port}");
        }
        assert_eq!(bind(&mut w, &stranger, ty, 1024), Ok(()));
        assert_eq!(bind(&mut w, &stranger, ty, 0), Ok(()));
    }
    drop((stranger, root, own));
    w.end();
}
