//! Broadcast and multicast: sending, looping back, filtering.

mod common;
use common::*;
use iopkt_base::Instant;
use iopkt_ctl::{Reply, Request, iff};
use iopkt_stack::sockets::SockId;
use iopkt_stack::{DevOp, Why};

const G: &str = "239.1.2.3";

fn broadcast_ok(h: &mut Host, s: SockId) {
    // SOL_SOCKET, SO_BROADCAST
    h.s.sockets.setsockopt(&mut h.s.cx, &mut h.s.net, s, 1, 6, &1i32.to_ne_bytes()).unwrap();
}

/// IP_ADD_MEMBERSHIP by address.
fn join(h: &mut Host, s: SockId, group: &str, ifaddr: &str) {
    let o = |a: &str| a.parse::<std::net::Ipv4Addr>().unwrap().octets();
    let mreq = [o(group), o(ifaddr)].concat();
    h.s.sockets.setsockopt(&mut h.s.cx, &mut h.s.net, s, 0, 35, &mreq).unwrap();
}

#[test]
fn a_broadcast_reaches_everybody_ourselves_too() {
    for to in ["10.0.0.255:7", "255.255.255.255:7"] {
        let mut w = Wire::new((1..4).map(Host::new).collect());
        let socks: Vec<_> = w.hosts.iter_mut().map(|h| h.udp("0.0.0.0:7")).collect();
        broadcast_ok(&mut w.hosts[0], socks[0]);
        w.hosts[0].send(socks[0], to, b"all").unwrap();
        w.run(50);
        for (h, s) in w.hosts.iter_mut().zip(&socks) {
            assert_eq!(h.recv(*s), Some((sa("10.0.0.1:7"), b"all".to_vec())), "{to}");
            assert_eq!(h.recv(*s), None);
        }
        let sent = w.sent(0, 0x800);
        assert_eq!(sent[0][..6], [0xff; 6]);
        w.end();
    }
}

#[test]
fn members_hear_a_group_and_others_do_not() {
    let mut w = Wire::new((1..4).map(Host::new).collect());
    let socks: Vec<_> = w.hosts.iter_mut().map(|h| h.udp("0.0.0.0:7")).collect();
    join(&mut w.hosts[0], socks[0], G, "10.0.0.1");
    join(&mut w.hosts[1], socks[1], G, "0.0.0.0");
    w.run(5000);
    w.hosts[0].send(socks[0], &format!("{G}:7"), b"some").unwrap();
    w.run(50);
    assert!(w.hosts[0].recv(socks[0]).is_some(), "the sender is a member and hears itself");
    assert!(w.hosts[1].recv(socks[1]).is_some());
    assert!(w.hosts[2].recv(socks[2]).is_none());
    assert!(w.hosts[2].drops(Why::OtherHost) > 0, "its filter refused the frame");
    // TTL 1 by default, and it does not come back when IP_MULTICAST_LOOP is off.
    let f = *w.sent(0, 0x800).last().unwrap();
    assert_eq!((&f[..6], f[14 + 8]), (&[1, 0, 0x5e, 1, 2, 3][..], 1));
    let h = &mut w.hosts[0];
    h.s.sockets.setsockopt(&mut h.s.cx, &mut h.s.net, socks[0], 0, 34, &0i32.to_ne_bytes()).unwrap();
    w.hosts[0].send(socks[0], &format!("{G}:7"), b"more").unwrap();
    w.run(50);
    assert!(w.hosts[0].recv(socks[0]).is_none());
    assert!(w.hosts[1].recv(socks[1]).is_some());
    w.end();
}

#[test]
fn the_devices_filter_follows_the_memberships() {
    let mut h = Host::new(1);
    h.turn(Instant::from_millis(1000), &mut vec![]);
    let groups = |h: &mut Host| {
        let mut f = h.s.cx.dev_ops.drain(..).filter_map(|o| match o {
            DevOp::Filter { promisc, allmulti, groups, .. } => Some((promisc, allmulti, groups)),
            _ => None,
        });
        f.next_back()
    };
    let all_hosts = [1, 0, 0x5e, 0, 0, 1];
    assert_eq!(groups(&mut h), Some((false, false, vec![all_hosts])));
    let s = h.udp("0.0.0.0:7");
    join(&mut h, s, G, "10.0.0.1");
    assert_eq!(groups(&mut h), Some((false, false, vec![all_hosts, [1, 0, 0x5e, 1, 2, 3]])));
    h.s.sockets.close(&mut h.s.cx, &mut h.s.net, s, false);
    h.turn(Instant::from_millis(1001), &mut vec![]);
    assert_eq!(groups(&mut h), Some((false, false, vec![all_hosts])), "a closed socket leaves its groups");
    let set = Request::SetFlags { name: "eth0".into(), set: iff::PROMISC | iff::ALLMULTI, clear: 0 };
    assert_eq!(h.ctl(set), Reply::Ok);
    assert_eq!(groups(&mut h).map(|g| (g.0, g.1)), Some((true, true)));
    h.end();
}

#[test]
fn frames_of_others_are_not_taken_even_in_promiscuous_mode() {
    let mut h = Host::new(1);
    let s = h.udp("0.0.0.0:7");
    let set = Request::SetFlags { name: "eth0".into(), set: iff::PROMISC, clear: 0 };
    assert_eq!(h.ctl(set), Reply::Ok);
    let f = frame(
        [2, 0, 0, 0, 0, 0x42],
        [2, 0, 0, 0, 0, 9],
        0x800,
        &packet("10.0.0.9", "10.0.0.1", 17, &udp(1, 7, b"x")),
    );
    h.feed(Instant::from_millis(9000), &f);
    assert_eq!(h.recv(s), None);
    assert_eq!(h.drops(Why::OtherHost), 1);
    h.end();
}

#[test]
fn multicast_on_loopback_stays_there() {
    let mut h = Host::bare(1);
    let s = h.udp("0.0.0.0:7");
    join(&mut h, s, G, "127.0.0.1");
    // IP_MULTICAST_IF
    let lo = [127, 0, 0, 1];
    h.s.sockets.setsockopt(&mut h.s.cx, &mut h.s.net, s, 0, 32, &lo).unwrap();
    h.send(s, &format!("{G}:7"), b"me").unwrap();
    assert!(h.turn(Instant::from_millis(2000), &mut vec![]).is_empty());
    assert_eq!(h.recv(s).map(|x| x.1), Some(b"me".to_vec()));
    assert_eq!(h.recv(s), None, "once");
    h.end();
}
