//! Echo: answered for own addresses, not for broadcasts; over the wire and over loopback; idle when done.

mod common;
use common::*;
use iopkt_base::{Duration, Instant};
use iopkt_stack::Stat;
use iopkt_wire::icmp4::ty;

fn echo(seq: u16, data: &[u8]) -> Vec<u8> {
    let s = seq.to_be_bytes();
    icmp(ty::ECHO, 0, [0x12, 0x34, s[0], s[1]], data)
}

#[test]
fn a_ping_is_answered_over_the_wire() {
    let mut w = Wire::pair();
    let s = w.hosts[0].raw(1);
    let data: Vec<u8> = (0..56).collect();
    w.hosts[0].send(s, "10.0.0.2:0", &echo(1, &data)).unwrap();
    w.run(100);
    // A raw ICMP socket sees replies with their IP header.
    let (from, b) = w.hosts[0].recv(s).expect("a reply");
    assert_eq!(from.ip(), ip("10.0.0.2"));
    assert_eq!(b[20], ty::ECHO_REPLY);
    assert_eq!(&b[24..28], [0x12, 0x34, 0, 1]);
    assert_eq!(&b[28..], &data[..]);
    assert_eq!(w.hosts[1].s.cx.counters.icmp_count(ty::ECHO, false), 1);
    w.end();
}

#[test]
fn a_ping_to_ourselves_goes_over_loopback() {
    let mut w = Wire::pair();
    w.run(5000);
    let before = w.log.len();
    for to in ["127.0.0.1:0", "10.0.0.1:0", "127.9.9.9:0"] {
        let s = w.hosts[0].raw(1);
        w.hosts[0].send(s, to, &echo(1, b"x")).unwrap();
        w.run(10);
        let mut kinds = Vec::new();
        while let Some((from, b)) = w.hosts[0].recv(s) {
            assert_eq!(from.ip(), sa(to).ip());
            kinds.push(b[20]);
        }
        // The socket sees the request too: it arrives at the same host.
        assert_eq!(kinds, [ty::ECHO, ty::ECHO_REPLY]);
    }
    assert_eq!(w.log.len(), before, "nothing leaves the host");
    w.end();
}

#[test]
fn broadcast_and_multicast_echo_is_ignored_by_default() {
    let mut w = Wire::pair();
    w.run(5000);
    let n = w.log.len();
    for dst in ["10.0.0.255", "255.255.255.255", "224.0.0.1"] {
        let mac = if dst.starts_with("224") { [1, 0, 0x5e, 0, 0, 1] } else { [0xff; 6] };
        let f = frame(mac, [2, 0, 0, 0, 0, 9], 0x800, &packet("10.0.0.9", dst, 1, &echo(1, b"hello")));
        let now = w.now;
        assert!(w.hosts[0].feed(now, &f).is_empty());
    }
    assert_eq!(w.hosts[0].s.cx.counters.get(Stat::IcmpBcastEcho), 3);
    assert_eq!(w.log.len(), n);
    w.end();
}

#[test]
fn bad_checksums_and_short_messages_are_not_answered() {
    let mut h = Host::new(1);
    let t = Instant::from_millis(9000);
    h.turn(t, &mut vec![]);
    let mut bad = echo(1, b"hello");
    bad[9] ^= 1;
    for p in [bad, vec![8, 0, 0, 0], vec![]] {
        let f = frame([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 9], 0x800, &packet("10.0.0.9", "10.0.0.1", 1, &p));
        assert!(h.feed(t, &f).is_empty());
    }
    assert_eq!(h.drops(iopkt_stack::Why::BadIcmp), 3);
    h.end();
}

#[test]
fn an_idle_network_goes_idle() {
    let mut w = Wire::pair();
    let s = w.hosts[0].raw(1);
    w.hosts[0].send(s, "10.0.0.2:0", &echo(1, b"x")).unwrap();
    w.run(3_600_000);
    for h in &w.hosts {
        assert_eq!(h.s.deadline(), Instant::FAR);
        assert!(h.s.net.neigh.is_empty(), "unused neighbours are forgotten");
    }
    let n = w.log.len();
    w.run(3_600_000);
    assert_eq!(w.log.len(), n);
    w.end();
}

#[test]
fn pings_survive_a_bad_wire() {
    for seed in 0..20 {
        let mut w = Wire::pair()
            .seeded(seed, Faults { loss: 0.2, duplicate: 0.2, jitter: Duration::from_millis(30), ..clean() });
        let s = w.hosts[0].raw(1);
        let mut got = 0;
        for i in 0..50 {
            let _ = w.hosts[0].send(s, "10.0.0.2:0", &echo(i, &[7; 1000]));
            w.run(200);
            while let Some((_, b)) = w.hosts[0].recv(s) {
                assert_eq!((b[20], &b[28..]), (ty::ECHO_REPLY, &[7u8; 1000][..]));
                got += 1;
            }
        }
        assert!(got > 10, "seed {seed}: {got} replies");
        w.end();
    }
}
