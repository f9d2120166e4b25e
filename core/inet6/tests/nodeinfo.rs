//! Node information queries (RFC 4620) between two hosts.

mod common;

use common::*;
use iopkt_base::zone;
use iopkt_stack::sockets::SockType;
use iopkt_wire::icmp6::ty;
use iopkt_wire::nodeinfo::{Message, code, flag, group, name, qtype, subject};
use std::net::Ipv6Addr;

fn named() -> Wire {
    let mut hosts = vec![Host::new(1), Host::new(2)];
    hosts[1].s.cx.cfg.host = vec![("kern.hostname".into(), "probe.example.com".into())];
    let mut w = Wire::new(hosts);
    w.hosts.iter_mut().for_each(Host::up);
    w.run(3000);
    w
}

/// Asks the second host; the reply's code, flags and data.
fn ask(
    w: &mut Wire,
    to: Ipv6Addr,
    code: u8,
    qtype: u16,
    flags: u16,
    data: &[u8],
) -> Option<(u8, u16, Vec<u8>)> {
    let s = w.hosts[0].socket(SockType::Raw, 58);
    let q = Message { ty: ty::NODE_QUERY, code, qtype, flags, nonce: *b"a nonce!", data };
    w.hosts[0].send(s, to, 0, &q.emit()).unwrap();
    w.run(100);
    let replies = std::iter::from_fn(|| w.hosts[0].recv(s)).map(|r| r.1);
    let got: Vec<_> = replies.filter(|b| b[0] == ty::NODE_REPLY).collect();
    let h = &mut w.hosts[0].s;
    h.sockets.close(&mut h.cx, &mut h.net, s, false);
    let r = Message::parse(got.first()?)?;
    assert_eq!((r.qtype, r.nonce), (qtype, *b"a nonce!"));
    Some((r.code, r.flags, r.data.to_vec()))
}

#[test]
fn a_name_is_told_to_who_asks_for_the_host() {
    let mut w = named();
    let to = w.hosts[1].link_local();
    let subject_of = zone::strip(to).octets();
    let reply = [&[0; 4][..], &name("probe.example.com").unwrap()].concat();
    assert_eq!(
        ask(&mut w, to, subject::IPV6, qtype::NAME, 0, &subject_of),
        Some((code::GOOD, 0, reply.clone()))
    );
    // By its group, in either form, and named by its first label.
    for old in [false, true] {
        let g = zone::embed(group("PROBE", old).unwrap(), ETH);
        let asked = name("probe").unwrap();
        assert_eq!(
            ask(&mut w, g, subject::NAME, qtype::NAME, 0, &asked),
            Some((code::GOOD, 0, reply.clone()))
        );
    }
    // KAME's older question has no subject, and its answer a length before the name.
    let (_, _, old) = ask(&mut w, to, subject::NAME, qtype::NAME, 0, b"").unwrap();
    assert_eq!(old[4..], *b"\x11probe.example.com");
    // Others' addresses and names are not answered for.
    let all = zone::embed(a6("ff02::1"), ETH);
    assert_eq!(ask(&mut w, all, subject::IPV6, qtype::NAME, 0, &a6("fe80::77").octets()), None);
    assert_eq!(ask(&mut w, all, subject::NAME, qtype::NAME, 0, &name("other").unwrap()), None);
    assert_eq!(ask(&mut w, to, subject::IPV6, 99, 0, &subject_of).unwrap().0, code::UNKNOWN);
    w.end();
}

#[test]
fn what_is_answered_is_set_by_the_variable() {
    let mut w = named();
    let to = w.hosts[1].link_local();
    let me = zone::strip(to).octets();
    let flags = flag::LINK_LOCAL | flag::GLOBAL;
    let asked = |w: &mut Wire, q| ask(w, to, subject::IPV6, q, flags, &me);
    assert_eq!(asked(&mut w, qtype::ADDRESSES), Some((code::REFUSED, 0, vec![])), "NetBSD's default");
    w.hosts[1].sysctl("net.inet6.icmp6.nodeinfo", "2");
    assert_eq!(asked(&mut w, qtype::NAME).unwrap().0, code::REFUSED);
    w.hosts[1].addr("2001:db8::2", 64);
    w.run(2000);
    let (good, f, data) = asked(&mut w, qtype::ADDRESSES).unwrap();
    assert_eq!((good, f, data.len()), (code::GOOD, flags, 40));
    assert!(data.chunks(20).any(|c| c[..4] == [0xff; 4] && c[4..] == a6("2001:db8::2").octets()), "{data:?}");
    let (.., data) = ask(&mut w, to, subject::IPV6, qtype::ADDRESSES, flag::GLOBAL, &me).unwrap();
    assert_eq!(data.len(), 20);
    w.hosts[1].sysctl("net.inet6.icmp6.nodeinfo", "0");
    assert_eq!(asked(&mut w, qtype::NOOP), None);
    // Nobody listens to the groups of a name that is not told.
    let g = zone::embed(group("probe", false).unwrap(), ETH);
    assert!(!w.hosts[1].s.net.is_member(ETH, g.into()));
    w.hosts[1].sysctl("net.inet6.icmp6.nodeinfo", "1");
    assert!(w.hosts[1].s.net.is_member(ETH, g.into()));
    w.end();
}
