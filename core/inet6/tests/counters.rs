//! `netstat -s`: each block of IPv6 counts what passed, and IPv4's blocks count none of it.

mod common;

use common::*;
use iopkt_ctl::{Counter, NdRequest, Reply, Request};
use iopkt_stack::sockets::SockType;
use iopkt_wire::icmp6::ty;

fn stats(h: &mut Host) -> Vec<Counter> {
    match h.ctl(Request::Stats) {
        Reply::Stats(s) => s.counters,
        r => panic!("{r:?}"),
    }
}

/// What a counter of a group has counted; nothing when it has no line.
fn of(l: &[Counter], group: &str, text: &str) -> u64 {
    l.iter().filter(|c| c.group == group && c.text == text).map(|c| c.value).sum()
}

#[test]
fn messages_are_counted_by_type_both_ways() {
    let mut w = Wire::pair();
    let to = w.hosts[1].link_local();
    let s = w.hosts[0].socket(SockType::Dgram, 58);
    for n in 0..3 {
        w.hosts[0].send(s, to, 0, &[ty::ECHO, 0, 0, 0, 0, 0, 0, n]).unwrap();
        w.run(100);
    }
    let (a, b) = (stats(&mut w.hosts[0]), stats(&mut w.hosts[1]));
    for (l, way, other) in [(&a, "output", "input"), (&b, "input", "output")] {
        assert_eq!(of(l, "icmp6", &format!("{way} histogram: echo: {{}}")), 3);
        assert_eq!(of(l, "icmp6", &format!("{other} histogram: echo reply: {{}}")), 3);
    }
    assert_eq!(of(&b, "icmp6", "{} message responses generated"), 3);
    // The other one, for duplicates, went to a group that nobody here listens to.
    assert_eq!(of(&b, "icmp6", "input histogram: neighbor solicitation: {}"), 1);
    assert_eq!(of(&a, "icmp6", "output histogram: neighbor solicitation: {}"), w.sent(0, 135).len() as u64);
    assert_eq!(of(&a, "icmp6", "output histogram: MLDv2 listener report: {}"), w.sent(0, 143).len() as u64);
    assert!(of(&b, "ip6", "input histogram: ICMP6: {}") >= 3);
    assert!(a.iter().all(|c| c.group != "icmp" || c.value == 0), "none of it is IPv4's");
    w.end();
}

#[test]
fn errors_are_counted_by_what_they_say() {
    let mut w = Wire::pair();
    let to = w.hosts[1].link_local();
    let s = w.hosts[0].udp("[::]:5000");
    w.hosts[0].send(s, to, 9, b"nobody is there").unwrap();
    w.run(100);
    let (a, b) = (stats(&mut w.hosts[0]), stats(&mut w.hosts[1]));
    assert_eq!(of(&b, "icmp6", "histogram of error messages to be generated: port unreachable: {}"), 1);
    assert_eq!(of(&b, "icmp6", "output histogram: unreach: {}"), 1);
    assert_eq!(of(&a, "icmp6", "input histogram: unreach: {}"), 1);
    assert_eq!(
        (of(&b, "udp6", "{} dropped due to no socket"), of(&b, "udp", "{} datagrams received")),
        (1, 0)
    );
    assert_eq!((of(&a, "udp6", "{} datagrams output"), of(&a, "udp", "{} datagrams output")), (1, 0));
    // A message whose options do not fit into it, and a question for routers that breaks the rules.
    let bad =
        [135, 0, 0, 0, 0, 0, 0, 0].into_iter().chain(to.octets()).chain([1, 9, 0, 0, 0, 0, 0, 0]).collect();
    w.inject(1, nd([2, 0, 0, 0, 0, 2], "fe80::9", "ff02::1:ff00:2", bad));
    w.run(10);
    let b = stats(&mut w.hosts[1]);
    assert_eq!(of(&b, "icmp6", "{} messages with bad ND options"), 1);
    assert_eq!(of(&b, "icmp6", "{} bad neighbor solicitation messages"), 1);
    w.end();
}

#[test]
fn a_router_learns_from_solicitations_and_counts_bad_ones() {
    // [RFC4861 6.1.1] [RFC4861 6.2.6b]
    let mut w = Wire::pair();
    w.hosts[0].sysctl("net.inet6.ip6.forwarding", "1");
    let good = vec![133, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 0, 0, 0, 0, 0x77];
    w.inject(0, nd([0x33, 0x33, 0, 0, 0, 2], "fe80::77", "ff02::2", good.clone()));
    // From nobody nothing may be said of the link-level address (RFC 4861 6.1.1).
    w.inject(0, nd([0x33, 0x33, 0, 0, 0, 2], "::", "ff02::2", good));
    w.run(10);
    let who = iopkt_base::zone::embed(a6("fe80::77"), ETH);
    assert_eq!(w.hosts[0].s.net.neigh.get(ETH, who.into()), Some([2, 0, 0, 0, 0, 0x77]));
    assert_eq!(of(&stats(&mut w.hosts[0]), "icmp6", "{} bad router solicitation messages"), 1);
    w.end();
}

#[test]
fn raw_sockets_have_a_block_of_their_own() {
    let mut w = Wire::pair();
    let to = w.hosts[1].link_local();
    let (a, b) = (w.hosts[0].socket(SockType::Raw, 200), w.hosts[1].socket(SockType::Raw, 200));
    w.hosts[0].send(a, to, 0, b"one").unwrap();
    w.run(100);
    assert_eq!(w.hosts[1].recv(b).map(|r| r.1), Some(b"one".to_vec()));
    let (l, r) = (stats(&mut w.hosts[0]), stats(&mut w.hosts[1]));
    assert_eq!(of(&l, "raw6", "{} datagrams output"), 1);
    assert_eq!((of(&r, "raw6", "{} messages received"), of(&r, "raw6", "{} delivered")), (1, 1));
    assert_eq!(of(&r, "ip6", "input histogram: #200: {}"), 1);
    w.end();
}

#[test]
fn interfaces_have_counters_of_their_own() {
    let mut w = Wire::pair();
    let to = w.hosts[1].link_local();
    let s = w.hosts[0].socket(SockType::Dgram, 58);
    w.hosts[0].send(s, to, 0, &[ty::ECHO, 0, 0, 0, 0, 0, 0, 1]).unwrap();
    w.run(100);
    let mut on =
        |h: usize, name: &str| match w.hosts[h].ctl(Request::Nd(NdRequest::Counters { name: name.into() })) {
            Reply::Stats(s) => s.counters,
            r => panic!("{r:?}"),
        };
    let (a, b, lo) = (on(0, "eth0"), on(1, "eth0"), on(1, "lo0"));
    assert_eq!(of(&a, "ip6", "{} datagrams sent from an upper layer protocol"), 1);
    assert_eq!(of(&a, "icmp6", "output histogram: echo: {}"), 1);
    assert_eq!(of(&b, "icmp6", "input histogram: echo: {}"), 1);
    assert_eq!(of(&b, "icmp6", "output histogram: neighbor advertisement: {}"), 1);
    // The echo and a solicitation, which went to a group.
    assert!(of(&b, "ip6", "{} total input datagrams") >= 2);
    assert!(of(&b, "ip6", "{} multicast datagrams received") >= 1);
    assert_eq!(of(&lo, "ip6", "{} total input datagrams"), 0);
    let r = w.hosts[0].ctl(Request::Nd(NdRequest::Counters { name: "nope0".into() }));
    assert!(matches!(r, Reply::Err { .. }));
    w.end();
}
