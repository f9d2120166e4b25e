//! Routing sockets: BSD's messages, and netlink as Linux programs use it.

mod common;
use common::{Rig, Watchdog};
use iopkt_base::Errno;
use iopkt_client::rtmsg::{Addrs, RouteMsg, RtBody, RtMsg, Sa, rtm};
use iopkt_client::{RouteSocket, Session};
use iopkt_ctl::{AddrInfo, AddrState, Reply, Request, iff, rtf};
use iopkt_sockproto::linux::*;
use iopkt_sockproto::{Addr, Op, Req};
use std::net::IpAddr;
use std::os::fd::AsFd;

fn ip(s: &str) -> IpAddr {
    s.parse().unwrap()
}

fn addr(a: &str, prefix_len: u8) -> AddrInfo {
    AddrInfo { addr: ip(a), prefix_len, broadcast: None, peer: None, state: AddrState::Valid }
}

/// Messages up to the first of this type, with that one.
fn until(s: &mut RouteSocket, ty: u8) -> Vec<RtMsg> {
    let mut v = Vec::new();
    loop {
        let m = s.recv().unwrap();
        v.push(m);
        if m.ty == ty {
            return v;
        }
    }
}

fn ok(s: &Session, r: Request) {
    let reply = s.ctl(&r).unwrap();
    assert!(!matches!(reply, Reply::Err { .. }), "{r:?}: {reply:?}");
}

#[test]
fn the_life_of_an_interface_is_told() {
    let _w = Watchdog::new(120);
    let rig = Rig::new();
    let s = rig.session();
    let mut r = RouteSocket::open(&s).unwrap();
    ok(&s, Request::Create { name: "lo1".into() });
    let RtBody::Announce { index, name, arrived } = until(&mut r, rtm::IFANNOUNCE).pop().unwrap().body else {
        panic!()
    };
    assert_eq!((&name[..4], arrived), (&b"lo1\0"[..], true));
    ok(&s, Request::AddAddr { name: "lo1".into(), addr: addr("10.9.0.1", 24), replace: true });
    let m = until(&mut r, rtm::NEWADDR).pop().unwrap();
    assert_eq!((m.addrs.ifa, m.addrs.netmask), (Some(ip("10.9.0.1")), Some(24)));
    assert_eq!(m.addrs.ifp.unwrap().name(), "lo1");
    // The routes that follow from the address, and the flag that the first address sets.
    let m = until(&mut r, rtm::ADD).pop().unwrap();
    assert!(m.addrs.dst == Some(ip("10.9.0.0")) || m.addrs.dst == Some(ip("10.9.0.1")), "{m:?}");
    let RtBody::IfInfo { index: i, flags, .. } = until(&mut r, rtm::IFINFO).pop().unwrap().body else {
        panic!()
    };
    assert_eq!((i, flags & iff::UP), (index, iff::UP));
    ok(&s, Request::SetMtu { name: "lo1".into(), mtu: 9000 });
    let RtBody::IfInfo { data, .. } = until(&mut r, rtm::IFINFO).pop().unwrap().body else { panic!() };
    assert_eq!(data.numbers[0], 9000);
    ok(&s, Request::Destroy { name: "lo1".into() });
    let gone = until(&mut r, rtm::IFANNOUNCE);
    assert!(gone.iter().any(|m| m.ty == rtm::DELADDR && m.addrs.ifa == Some(ip("10.9.0.1"))), "{gone:?}");
    assert!(gone.iter().any(|m| m.ty == rtm::DELETE && m.addrs.dst == Some(ip("10.9.0.0"))), "{gone:?}");
    assert!(matches!(gone.last().unwrap().body, RtBody::Announce { arrived: false, .. }));
    drop((r, s));
    rig.until_empty();
}

fn request(ty: u8, dst: &str, len: u8, gw: Option<Sa>, seq: i32) -> RtMsg {
    let a = Addrs { dst: Some(ip(dst)), gateway: gw, netmask: Some(len), ..Addrs::default() };
    let flags = rtf::UP | rtf::STATIC | if len == 32 { rtf::HOST } else { 0 };
    RtMsg::route(ty, RouteMsg { flags, seq, ..RouteMsg::default() }, a)
}

/// The answer to request `seq`: its errno and flags, and the message.
fn answer(s: &mut RouteSocket, seq: i32) -> (i32, u32, RtMsg) {
    loop {
        let m = s.recv().unwrap();
        if let RtBody::Route(b) = m.body
            && (b.pid, b.seq) == (std::process::id() as i32, seq)
        {
            return (b.errno, b.flags, m);
        }
    }
}

#[test]
fn requests_are_answered_to_everybody() {
    let _w = Watchdog::new(120);
    let rig = Rig::new();
    let s = rig.session();
    ok(&s, Request::Create { name: "lo1".into() });
    ok(&s, Request::AddAddr { name: "lo1".into(), addr: addr("10.9.0.1", 24), replace: true });
    let (mut a, mut b) = (RouteSocket::open(&s).unwrap(), RouteSocket::open(&s).unwrap());
    // An own address as gateway names its interface.
    let gw = Some(Sa::Ip(ip("10.9.0.1")));
    let is_lo1 = |g: Option<Sa>| matches!(g, Some(Sa::Link(l)) if l.name() == "lo1");
    a.send(&request(rtm::ADD, "192.168.7.0", 24, gw, 1)).unwrap();
    for x in [&mut a, &mut b] {
        let (errno, flags, m) = answer(x, 1);
        assert_eq!((errno, flags & rtf::DONE, m.ty), (0, rtf::DONE, rtm::ADD));
        assert_eq!((m.addrs.dst, m.addrs.netmask), (Some(ip("192.168.7.0")), Some(24)));
        assert!(is_lo1(m.addrs.gateway), "{m:?}");
        assert_eq!(m.addrs.ifp.unwrap().name(), "lo1");
    }
    a.send(&request(rtm::ADD, "192.168.7.0", 24, gw, 2)).unwrap();
    assert_eq!(answer(&mut b, 2).0, Errno::EEXIST.raw());
    a.send(&request(rtm::GET, "192.168.7.9", 32, None, 3)).unwrap();
    let (errno, flags, m) = answer(&mut a, 3);
    assert_eq!((errno, flags & (rtf::DONE | rtf::STATIC)), (0, rtf::DONE | rtf::STATIC));
    assert!(m.addrs.dst == Some(ip("192.168.7.0")) && is_lo1(m.addrs.gateway), "{m:?}");
    // An MTU that path MTU discovery may not touch.
    let mut m = request(rtm::CHANGE, "192.168.7.0", 24, gw, 4);
    if let RtBody::Route(b) = &mut m.body {
        (b.inits, b.mtu) = (1, 1280);
    }
    a.send(&m).unwrap();
    let mut m = request(rtm::LOCK, "192.168.7.0", 24, None, 5);
    if let RtBody::Route(b) = &mut m.body {
        (b.inits, b.locks) = (1, 1);
    }
    a.send(&m).unwrap();
    let (errno, _, m) = answer(&mut a, 5);
    let RtBody::Route(body) = m.body else { panic!() };
    assert_eq!((errno, m.ty, body.mtu, body.locks), (0, rtm::LOCK, 1280, 1));
    a.send(&request(rtm::DELETE, "192.168.7.0", 24, gw, 6)).unwrap();
    assert_eq!((answer(&mut a, 6).0, answer(&mut b, 6).2.ty), (0, rtm::DELETE));
    a.send(&request(rtm::DELETE, "192.168.7.0", 24, gw, 7)).unwrap();
    assert_eq!(answer(&mut a, 7).0, Errno::ESRCH.raw());
    a.send(&request(rtm::GET, "203.0.113.1", 32, None, 8)).unwrap();
    assert_eq!(answer(&mut a, 8).0, Errno::ESRCH.raw());
    // A packet that finds no way is a miss.
    let u = iopkt_client::UdpSocket::bind(&s, "0.0.0.0:0".parse().unwrap()).unwrap();
    u.send_to(b"x", "203.0.113.1:9".parse().unwrap()).unwrap();
    assert_eq!(until(&mut b, rtm::MISS).pop().unwrap().addrs.dst, Some(ip("203.0.113.1")));
}

#[test]
fn who_does_not_read_loses_messages_and_is_told() {
    let _w = Watchdog::new(240);
    let rig = Rig::new();
    let s = rig.session();
    let deaf = RouteSocket::open(&s).unwrap();
    // More than the pair and the queue hold.
    for i in 0..2500u32 {
        ok(&s, Request::SetMtu { name: "lo0".into(), mtu: 9000 + i % 2 });
    }
    let a = s.call(
        Req { args: [SOL_SOCKET, SO_ERROR, 4, 0, 0], ..Req::new(Op::Getsockopt, 0) },
        &[],
        Some(deaf.as_fd()),
    );
    assert_eq!(a.unwrap().payload, Errno::ENOBUFS.raw().to_ne_bytes());
    let held = rig.seen.lock().unwrap().held;
    assert_eq!(held.sockets, 1);
    drop((deaf, s));
    rig.until_empty();
}

/// A netlink request with the family byte `family` and what follows the header.
fn netlink(ty: u16, flags: u16, seq: u32, body: &[u8]) -> Vec<u8> {
    let mut m = ((16 + body.len()) as u32).to_ne_bytes().to_vec();
    m.extend(ty.to_ne_bytes());
    m.extend((flags | 1).to_ne_bytes());
    m.extend(seq.to_ne_bytes());
    m.extend([0; 4]);
    m.extend(body);
    m
}

/// Message types with their bodies, up to NLMSG_DONE or an error.
fn answers(fd: impl AsFd, seq: u32) -> Vec<(u16, Vec<u8>)> {
    let (mut v, mut buf) = (Vec::new(), vec![0; 4096]);
    loop {
        let n = rustix::net::recv(&fd, &mut buf[..], rustix::net::RecvFlags::empty()).unwrap().0;
        assert!(n > 0);
        let mut b = &buf[..n];
        while b.len() >= 16 {
            let len = u32::from_ne_bytes(b[..4].try_into().unwrap()) as usize;
            let ty = u16::from_ne_bytes([b[4], b[5]]);
            assert_eq!(u32::from_ne_bytes(b[8..12].try_into().unwrap()), seq);
            v.push((ty, b[16..len].to_vec()));
            if matches!(ty, 2 | 3) {
                return v;
            }
            b = &b[len.next_multiple_of(4)..];
        }
    }
}

#[test]
fn netlink_lists_links_addresses_and_routes() {
    let _w = Watchdog::new(120);
    let rig = Rig::new();
    let s = rig.session();
    // More than one message's worth.
    for i in 1..60 {
        let name = format!("lo{i}");
        ok(&s, Request::Create { name: name.clone() });
        ok(&s, Request::AddAddr { name, addr: addr(&format!("10.{i}.0.1"), 24), replace: true });
    }
    let fd = s.socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE, 0).unwrap();
    let send = |m: &[u8]| rustix::net::send(&fd, m, rustix::net::SendFlags::empty()).unwrap();
    send(&netlink(18, 0x300, 1, &[0; 16]));
    let l = answers(&fd, 1);
    assert_eq!(l.iter().filter(|m| m.0 == 16).count(), 60);
    assert_eq!(l.last().unwrap().0, 3);
    send(&netlink(22, 0x300, 2, &[2, 0, 0, 0, 0, 0, 0, 0]));
    let l = answers(&fd, 2);
    assert_eq!(l.iter().filter(|m| m.0 == 20).count(), 60);
    // IPv6 addresses: none.
    send(&netlink(22, 0x300, 3, &[10, 0, 0, 0, 0, 0, 0, 0]));
    assert_eq!(answers(&fd, 3).len(), 1);
    send(&netlink(26, 0x300, 4, &[0; 12]));
    let l = answers(&fd, 4);
    let nets = l.iter().filter(|m| m.0 == 24 && m.1[1] == 24).count();
    assert_eq!(nets, 59, "a route to each network");
    // A route to nowhere, and one that only an address can bring.
    for (seq, kind, errno) in [(5, 1, Errno::ENODEV), (6, 2, Errno::EOPNOTSUPP)] {
        send(&netlink(24, 0x5, seq, &[2, 0, 0, 0, 254, 3, 0, kind, 0, 0, 0, 0]));
        let l = answers(&fd, seq);
        assert_eq!(i32::from_ne_bytes(l[0].1[..4].try_into().unwrap()), -errno.raw());
    }
    // A group tells of changes.
    let bind = Req { args: [0, 1, 0, 0, 0], addr: Addr::NONE, ..Req::new(Op::Bind, 0) };
    s.call(bind, &[], Some(fd.as_fd())).unwrap();
    ok(&s, Request::Create { name: "lo77".into() });
    let mut buf = [0; 4096];
    let n = rustix::net::recv(&fd, &mut buf[..], rustix::net::RecvFlags::empty()).unwrap().0;
    assert!(n > 32 && u16::from_ne_bytes([buf[4], buf[5]]) == 16);
    assert!(buf[..n].windows(5).any(|w| w == b"lo77\0"));
}
