//! What a layer remembers of the packet before holds until something changes, and not a packet longer.

mod common;
use common::*;
use iopkt_base::Errno;
use iopkt_ctl::{Reply, Request, RouteInfo};
use iopkt_stack::sockets::SockId;
use iopkt_wire::ipv4::Header;

fn via(gateway: &str) -> RouteInfo {
    RouteInfo { gateway: Some(ip(gateway)), ..RouteInfo::to(ip("192.168.9.0"), 24) }
}

fn set(h: &mut Host, s: SockId, level: i32, name: i32, value: &[u8]) {
    h.s.sockets.setsockopt(&mut h.s.cx, &mut h.s.net, s, level, name, value).unwrap();
}

/// Sends a datagram that leaves the host; returns the link-level address that it goes to.
fn next_hop(w: &mut Wire, s: SockId, to: &str) -> Vec<u8> {
    let before = w.log.len();
    w.hosts[0].send(s, to, b"datagram").unwrap();
    w.run(10);
    let new = &w.log[before..];
    new.iter().find(|(h, f)| *h == 0 && f[12..14] == [8, 0]).expect("a datagram").1[..6].to_vec()
}

#[test]
fn a_datagram_follows_a_changed_route() {
    let mut w = Wire::new(vec![Host::new(1), Host::new(2), Host::new(3)]);
    let s = w.hosts[0].udp("0.0.0.0:9");
    for _ in 0..2 {
        for n in [2, 3] {
            let r = via(&format!("10.0.0.{n}"));
            assert_eq!(w.hosts[0].ctl(Request::AddRoute(r.clone())), Reply::Ok);
            for _ in 0..3 {
                assert_eq!(next_hop(&mut w, s, "192.168.9.1:7"), w.hosts[n - 1].mac);
            }
            assert_eq!(w.hosts[0].ctl(Request::DelRoute(r)), Reply::Ok);
            assert_eq!(w.hosts[0].send(s, "192.168.9.1:7", b"x"), Err(Errno::ENETUNREACH));
        }
    }
    // Its own address goes, and another one comes.
    w.hosts[0].send(s, "10.0.0.2:7", b"x").unwrap();
    w.run(10);
    let h = &mut w.hosts[0].s;
    h.net.del_addr(&mut h.cx, 2, ip("10.0.0.1")).unwrap();
    assert_eq!(w.hosts[0].send(s, "10.0.0.2:7", b"x"), Err(Errno::ENETUNREACH));
    w.hosts[0].addr("10.0.0.9", 24);
    let got = w.hosts[1].udp("0.0.0.0:7");
    w.run(10);
    w.hosts[0].send(s, "10.0.0.2:7", b"from nine").unwrap();
    w.run(10);
    assert_eq!(w.hosts[1].recv(got), Some((sa("10.0.0.9:9"), b"from nine".to_vec())));
    w.end();
}

/// Whose a port is changes with every bind, connect, option and close.
#[test]
fn a_datagram_goes_to_whom_fits_now() {
    let mut w = Wire::pair();
    let from = w.hosts[0].udp("0.0.0.0:9");
    let all = w.hosts[1].udp("0.0.0.0:7");
    let ask = |w: &mut Wire| {
        for _ in 0..2 {
            w.hosts[0].send(from, "10.0.0.2:7", b"?").unwrap();
        }
        w.run(10);
    };
    let got = |w: &mut Wire, s| std::iter::from_fn(|| w.hosts[1].recv(s)).count();
    ask(&mut w);
    ask(&mut w);
    assert_eq!(got(&mut w, all), 4);
    // Only what comes over lo0 from now on.
    set(&mut w.hosts[1], all, 1, 25, b"lo0\0");
    ask(&mut w);
    assert_eq!(got(&mut w, all), 0);
    set(&mut w.hosts[1], all, 1, 25, b"\0");
    ask(&mut w);
    assert_eq!(got(&mut w, all), 2);
    // A better fit, and one that is connected to the sender.
    for s in [all, w.hosts[1].udp("127.0.0.1:8")] {
        set(&mut w.hosts[1], s, 1, 2, &1i32.to_ne_bytes());
    }
    let h = &mut w.hosts[1].s;
    let id = h
        .sockets
        .socket(&mut h.cx, iopkt_stack::Family::V4, iopkt_stack::sockets::SockType::Dgram, 17)
        .unwrap();
    set(&mut w.hosts[1], id, 1, 2, &1i32.to_ne_bytes());
    let h = &mut w.hosts[1].s;
    h.sockets.bind(&mut h.cx, &h.net, id, sa("10.0.0.2:7")).unwrap();
    ask(&mut w);
    assert_eq!((got(&mut w, all), got(&mut w, id)), (0, 2));
    let h = &mut w.hosts[1].s;
    h.sockets.close(&mut h.cx, &mut h.net, id, false);
    ask(&mut w);
    assert_eq!(got(&mut w, all), 2);
    let h = &mut w.hosts[1].s;
    h.sockets.connect(&mut h.cx, &mut h.net, all, Some(sa("10.0.0.1:10"))).unwrap();
    ask(&mut w);
    assert_eq!(got(&mut w, all), 0, "it is another's peer now");
    let other = w.hosts[0].udp("0.0.0.0:10");
    for _ in 0..3 {
        w.hosts[0].send(other, "10.0.0.2:7", b"!").unwrap();
        w.run(10);
        assert_eq!(got(&mut w, all), 1);
    }
    w.end();
}

/// Datagrams that wait to go down one behind the other share what is the same for them, and nothing else.
#[test]
fn datagrams_in_a_row_keep_what_is_theirs() {
    let mut w = Wire::pair();
    let s = w.hosts[0].udp("0.0.0.0:9");
    w.hosts[0].send(s, "10.0.0.2:7", b"first, asks for the neighbour").unwrap();
    w.run(10);
    let before = w.log.len();
    // Kind, port, payload. Of the kinds, 1 has another time to live, 2 may be cut.
    let few = [
        (0, 7, 10),
        (0, 7, 1472),
        (0, 8, 30),
        (1, 7, 40),
        (1, 7, 0),
        (0, 7, 1),
        (1, 7, 3),
        (0, 7, 2),
        (2, 7, 5),
        (2, 7, 1472),
    ];
    let sent: Vec<(usize, u16, usize)> =
        few.into_iter().chain((0..40).map(|n| (n / 2 % 3, 7, 100 + n))).collect();
    for (kind, port, len) in &sent {
        let ttl = if *kind == 1 { 5i32 } else { 64 };
        set(&mut w.hosts[0], s, 0, 2, &ttl.to_ne_bytes());
        set(&mut w.hosts[0], s, 0, 10, &i32::from(*kind != 2).to_ne_bytes());
        w.hosts[0].send(s, &format!("10.0.0.2:{port}"), &vec![*kind as u8; *len]).unwrap();
    }
    w.settle();
    let frames: Vec<Vec<u8>> = w.log[before..].iter().filter(|(h, _)| *h == 0).map(|x| x.1.clone()).collect();
    assert_eq!(frames.len(), sent.len());
    let mut ids = Vec::new();
    for (f, (kind, port, len)) in frames.iter().zip(&sent) {
        assert_eq!(f[..14], [&w.hosts[1].mac[..], &w.hosts[0].mac, &[8, 0]].concat());
        let h = Header::parse(&f[14..]).expect("a good header, its checksum too");
        assert_eq!((h.total_len, h.ttl, h.df), (28 + len, if *kind == 1 { 5 } else { 64 }, *kind != 2));
        let udp = &f[34..34 + 8 + len];
        assert_eq!(udp[..4], [&9u16.to_be_bytes()[..], &port.to_be_bytes()].concat());
        let mut sum = iopkt_wire::checksum::pseudo_v4([10, 0, 0, 1], [10, 0, 0, 2], 17, udp.len() as u32);
        sum.add(udp);
        assert!(sum.is_valid() && udp[8..].iter().all(|b| *b == *kind as u8));
        if *kind == 2 {
            ids.push(h.id);
        }
    }
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all, "what may be cut has its own identification");
    w.run(10);
    w.end();
}
