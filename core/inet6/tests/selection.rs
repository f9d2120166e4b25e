//! Which source is taken, and which destination is tried first (RFC 6724), with the policy table as it is and as a person set it.

mod common;

use common::*;
use iopkt_ctl::{NdPolicy, NdReply, NdRequest, Reply, Request};
use iopkt_stack::{IfAddr, Life};
use iopkt_wire::nd::{self, Preference, Prefix, RouterAdvert, opt};
use std::net::IpAddr;

fn ip(s: &str) -> IpAddr {
    s.parse().unwrap()
}

fn ask(w: &mut Wire, r: NdRequest) -> Reply {
    w.hosts[0].ctl(Request::Nd(r))
}

fn order(w: &mut Wire, list: &[&str]) -> Vec<String> {
    match ask(w, NdRequest::Order(list.iter().map(|s| ip(s)).collect())) {
        Reply::Nd(NdReply::Order(l)) => l.iter().map(IpAddr::to_string).collect(),
        r => panic!("{r:?}"),
    }
}

fn source(w: &Wire, dst: &str) -> String {
    w.hosts[0].s.net.path(ip(dst), None, 0).unwrap().src.to_string()
}

fn host() -> Wire {
    let mut w = Wire::new(vec![Host::new(1)]);
    w.hosts[0].up();
    w.hosts[0].sysctl("net.inet6.ip6.accept_rtadv", "1");
    w.run(3000);
    w
}

fn addr4(w: &mut Wire, a: &str, plen: u8) {
    let h = &mut w.hosts[0].s;
    let a = IfAddr {
        addr: ip(a),
        plen,
        broadcast: None,
        peer: None,
        state: iopkt_ctl::AddrState::Valid,
        life: Life::default(),
    };
    h.net.add_addr(&mut h.cx, ETH, a).unwrap();
    h.tell_changes();
    let route = iopkt_ctl::RouteInfo {
        gateway: Some(ip("192.0.2.254")),
        ..iopkt_ctl::RouteInfo::to(ip("0.0.0.0"), 0)
    };
    assert_eq!(w.hosts[0].ctl(Request::AddRoute(route)), Reply::Ok);
}

fn advertise(w: &mut Wire, id: u8, preference: Preference, net: &str, preferred: u32) {
    let mut b = RouterAdvert { lifetime: 1800, preference, ..RouterAdvert::default() }.emit();
    nd::push_link(&mut b, opt::SOURCE_LINK, [2, 0, 0, 0, 1, id]);
    let p = Prefix { prefix: a6(net), plen: 64, on_link: true, autonomous: true, valid: 90_000, preferred };
    nd::push_prefix(&mut b, &p);
    w.inject(0, nd([0x33, 0x33, 0, 0, 0, 1], &format!("fe80::{id:x}"), "ff02::1", b));
    w.run(2000);
}

#[test]
fn a_source_is_of_the_prefix_that_the_next_hop_advertised() {
    // [RFC6724 5]
    let mut w = host();
    let (a, b) = ("2001:db8:a::ff:fe00:1", "2001:db8:b::ff:fe00:1");
    advertise(&mut w, 0xa, Preference::High, "2001:db8:a::", 80_000);
    advertise(&mut w, 0xb, Preference::Medium, "2001:db8:b::", 80_000);
    assert_eq!(source(&w, "2001:4860::1"), a);
    advertise(&mut w, 0xb, Preference::High, "2001:db8:b::", 80_000);
    advertise(&mut w, 0xa, Preference::Low, "2001:db8:a::", 80_000);
    assert_eq!(source(&w, "2001:4860::1"), b, "rule 5.5");
    // Both have advertised it: the prefix decides nothing.
    advertise(&mut w, 0xb, Preference::High, "2001:db8:a::", 80_000);
    assert_eq!(source(&w, "2001:db8:ffff::1"), a);
    // Rule 3 comes before: one that is deprecated.
    advertise(&mut w, 0xb, Preference::High, "2001:db8:b::", 0);
    assert_eq!(source(&w, "2001:db8:b:1::1"), a);
    // On the link itself the longest prefix decides (rule 8).
    assert_eq!(source(&w, "2001:db8:a::99"), a);
    w.end();
}

#[test]
fn labels_that_a_person_sets_choose_sources_and_destinations() {
    // [RFC6724 2.1] [RFC6724 5] [RFC6724 6]
    let mut w = host();
    w.hosts[0].addr("2001:db8:1::1", 64);
    w.hosts[0].addr("2001:db8:2::1", 64);
    let r =
        iopkt_ctl::RouteInfo { gateway: Some(ip("2001:db8:1::ff")), ..iopkt_ctl::RouteInfo::to(ip("::"), 0) };
    assert_eq!(w.hosts[0].ctl(Request::AddRoute(r)), Reply::Ok);
    w.run(3000);
    assert_eq!(source(&w, "2001:db8:1:8::1"), "2001:db8:1::1", "the longest prefix (rule 8)");
    let row = |prefix: &str, prefix_len, precedence, label| NdPolicy {
        prefix: a6(prefix),
        prefix_len,
        precedence,
        label,
        used: 0,
    };
    for r in [row("2001:db8:1:8::", 64, 20, 77), row("2001:db8:2::", 64, 40, 77)] {
        assert_eq!(ask(&mut w, NdRequest::AddPolicy(r)), Reply::Ok);
    }
    assert_eq!(source(&w, "2001:db8:1:8::1"), "2001:db8:2::1", "the same label (rule 6)");
    // A lower precedence: tried later.
    assert_eq!(order(&mut w, &["2001:db8:1:8::1", "2001:4860::1"]), ["2001:4860::1", "2001:db8:1:8::1"]);
    let Reply::Nd(NdReply::Policies(l)) = ask(&mut w, NdRequest::Policies) else { panic!() };
    assert_eq!(l.len(), 11);
    assert!(l.iter().find(|p| p.label == 77).unwrap().used > 0, "{l:?}");
    let gone = NdRequest::DeletePolicy { prefix: a6("2001:db8:1:8::"), prefix_len: 64 };
    assert_eq!(ask(&mut w, gone.clone()), Reply::Ok);
    assert!(matches!(ask(&mut w, gone), Reply::Err { .. }));
    assert_eq!(source(&w, "2001:db8:1:8::1"), "2001:db8:1::1");
    assert_eq!(ask(&mut w, NdRequest::SetPolicies(Vec::new())), Reply::Ok);
    let Reply::Nd(NdReply::Policies(l)) = ask(&mut w, NdRequest::Policies) else { panic!() };
    assert!(l.is_empty());
    w.end();
}

#[test]
fn destinations_are_tried_in_the_order_of_the_rules() {
    // [RFC6724 6]
    let mut w = host();
    addr4(&mut w, "192.0.2.1", 24);
    // No way to IPv6: what can be reached comes first (rule 1).
    assert_eq!(order(&mut w, &["2001:4860::1", "198.51.100.1"]), ["198.51.100.1", "2001:4860::1"]);
    advertise(&mut w, 0xa, Preference::Medium, "2001:db8:a::", 80_000);
    // Precedence (rule 6): IPv6, then IPv4, then what is of other uses.
    assert_eq!(
        order(&mut w, &["198.51.100.1", "fd00::1", "2001:4860::1"]),
        ["2001:4860::1", "198.51.100.1", "fd00::1"]
    );
    // Longest common prefix (rule 9), and the order as it was (rule 10).
    assert_eq!(
        order(&mut w, &["2001:4860::1", "2600::1", "2001:db8:a:1::1"]),
        ["2001:db8:a:1::1", "2001:4860::1", "2600::1"]
    );
    let four = ["198.51.100.9", "192.0.2.77", "203.0.113.1", "198.51.100.1"];
    assert_eq!(order(&mut w, &four), ["192.0.2.77", "198.51.100.9", "203.0.113.1", "198.51.100.1"]);
    // The source is deprecated (rule 3): IPv4 first.
    advertise(&mut w, 0xa, Preference::Medium, "2001:db8:a::", 0);
    assert_eq!(order(&mut w, &["2001:4860::1", "198.51.100.1"]), ["198.51.100.1", "2001:4860::1"]);
    // A long list keeps all of its members, nonsense among them.
    let many: Vec<String> = (1..100).map(|n| format!("2001:db8:{n:x}::1")).chain(["::".into()]).collect();
    let list: Vec<&str> = many.iter().map(String::as_str).collect();
    let mut out = order(&mut w, &list);
    out.sort();
    let mut want = many.clone();
    want.sort();
    assert_eq!(out, want);
    w.end();
}

#[test]
fn a_link_s_destinations_have_a_link_s_sources_and_nobody_s_address_is_one() {
    // [RFC6724 4] [RFC6724 4b]
    let mut w = host();
    w.hosts[0].addr("2001:db8:1::1", 64);
    w.run(3000);
    let near = iopkt_base::zone::embed(a6("fe80::99"), ETH);
    let own = w.hosts[0].link_local();
    assert_eq!(w.hosts[0].s.net.path(near.into(), None, 0).unwrap().src, IpAddr::V6(own));
    // An anycast address in the destination's own network: no source.
    let h = &mut w.hosts[0].s;
    let life = Life { anycast: true, ..Life::default() };
    let a = IfAddr {
        addr: ip("2001:db8:2::1"),
        plen: 64,
        broadcast: None,
        peer: None,
        state: iopkt_ctl::AddrState::Valid,
        life,
    };
    h.net.add_addr(&mut h.cx, ETH, a).unwrap();
    h.tell_changes();
    assert_eq!(source(&w, "2001:db8:2::99"), "2001:db8:1::1");
    w.end();
}
