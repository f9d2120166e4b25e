//! Multicast listener discovery: source filters in version 2, nothing of them in version 1, queries about sources.

mod common;

use common::*;
use iopkt_base::zone;
use iopkt_stack::GroupFilter;
use iopkt_wire::icmp6::ty;
use iopkt_wire::mld::record;
use std::net::Ipv6Addr;

const GROUP: &str = "ff3e::99";

fn one() -> Wire {
    let mut w = Wire::new(vec![Host::new(1)]);
    w.hosts[0].up();
    w.run(5000);
    w.log.clear();
    w
}

fn group() -> std::net::IpAddr {
    zone::embed(a6(GROUP), ETH).into()
}

fn filter(h: &mut Host, exclude: bool, sources: &[&str]) {
    let sources = sources.iter().map(|s| a6(s).into()).collect();
    h.s.net.filter_group(ETH, group(), GroupFilter { exclude, sources });
    h.s.tell_changes();
}

fn join(h: &mut Host) {
    h.s.net.join_group(&mut h.s.cx, ETH, group()).unwrap();
}

/// Records about the group that were sent since: type, sources.
fn told(w: &mut Wire, ms: u64) -> Vec<(u8, Vec<Ipv6Addr>)> {
    w.run(ms);
    let mut out = Vec::new();
    for p in w.sent(0, ty::MLD2_REPORT) {
        let m = icmp_of(&p).unwrap();
        assert_eq!((p[7], &p[24..40]), (1, &a6("ff02::16").octets()[..]));
        let mut at = 8;
        for _ in 0..u16::from_be_bytes([m[6], m[7]]) {
            let n = usize::from(u16::from_be_bytes([m[at + 2], m[at + 3]]));
            let list = m[at + 20..at + 20 + n * 16].chunks(16);
            let list = list.map(|c| Ipv6Addr::from(<[u8; 16]>::try_from(c).unwrap())).collect();
            if m[at + 4..at + 20] == a6(GROUP).octets() {
                out.push((m[at], list));
            }
            at += 20 + n * 16;
        }
        assert_eq!(at, m.len());
    }
    w.log.clear();
    out
}

/// A query by `fe80::a` about the group and these sources.
fn query(w: &mut Wire, version: u8, sources: &[&str]) {
    let mut b = vec![ty::MLD_QUERY, 0, 0, 0, 0, 100, 0, 0];
    b.extend(a6(GROUP).octets());
    if version == 2 {
        b.extend([2, 125, 0, sources.len() as u8]);
        sources.iter().for_each(|s| b.extend(a6(s).octets()));
    }
    let (src, dst) = (a6("fe80::a"), a6(GROUP));
    let m = summed(b, src, dst);
    // Behind a router alert, with one hop.
    let mut p = vec![58, 0, 5, 2, 0, 0, 1, 0];
    p.extend(m);
    let mac = [0x33, 0x33, 0, 0, 0, 0x99];
    w.inject(0, frame(mac, src, dst, 1, 0, &p));
}

fn list(s: &[&str]) -> Vec<Ipv6Addr> {
    s.iter().map(|s| a6(s)).collect()
}

#[test]
fn changes_of_filters_are_told_twice() {
    // [RFC3810 5b] [RFC3810 6.1a]
    let mut w = one();
    join(&mut w.hosts[0]);
    filter(&mut w.hosts[0], false, &["2001:db8::1"]);
    let r = (record::ALLOW, list(&["2001:db8::1"]));
    assert_eq!(told(&mut w, 5000), [r.clone(), r]);
    filter(&mut w.hosts[0], false, &["2001:db8::2", "2001:db8::3"]);
    let (a, b) =
        ((record::ALLOW, list(&["2001:db8::2", "2001:db8::3"])), (record::BLOCK, list(&["2001:db8::1"])));
    assert_eq!(told(&mut w, 5000), [a.clone(), b.clone(), a, b]);
    filter(&mut w.hosts[0], true, &["2001:db8::4"]);
    let r = (record::TO_EXCLUDE, list(&["2001:db8::4"]));
    assert_eq!(told(&mut w, 5000), [r.clone(), r]);
    let h = &mut w.hosts[0];
    h.s.net.leave_group(&mut h.s.cx, ETH, group());
    h.s.tell_changes();
    let r = (record::TO_INCLUDE, vec![]);
    assert_eq!(told(&mut w, 5000), [r.clone(), r]);
    assert!(told(&mut w, 50_000).is_empty());
    w.end();
}

#[test]
fn queries_are_answered_with_what_is_heard() {
    // [RFC3810 6.2a] [RFC3810 6.2c]
    let mut w = one();
    join(&mut w.hosts[0]);
    filter(&mut w.hosts[0], false, &["2001:db8::1", "2001:db8::2"]);
    told(&mut w, 5000);
    query(&mut w, 2, &[]);
    assert_eq!(told(&mut w, 1000), [(record::IS_INCLUDE, list(&["2001:db8::1", "2001:db8::2"]))]);
    query(&mut w, 2, &["2001:db8::2", "2001:db8::9"]);
    assert_eq!(told(&mut w, 1000), [(record::IS_INCLUDE, list(&["2001:db8::2"]))]);
    query(&mut w, 2, &["2001:db8::9"]);
    assert!(told(&mut w, 1000).is_empty());
    filter(&mut w.hosts[0], true, &["2001:db8::1"]);
    told(&mut w, 5000);
    query(&mut w, 2, &["2001:db8::1", "2001:db8::9"]);
    assert_eq!(told(&mut w, 1000), [(record::IS_INCLUDE, list(&["2001:db8::9"]))]);
    query(&mut w, 2, &[]);
    assert_eq!(told(&mut w, 1000), [(record::IS_EXCLUDE, list(&["2001:db8::1"]))]);
    w.end();
}

#[test]
fn version_1_knows_no_sources() {
    let mut w = one();
    join(&mut w.hosts[0]);
    w.hosts[0].s.tell_changes();
    told(&mut w, 5000);
    query(&mut w, 1, &[]);
    w.run(1000);
    assert_eq!(w.sent(0, ty::MLD_REPORT).len(), 1);
    filter(&mut w.hosts[0], false, &["2001:db8::1"]);
    assert!(told(&mut w, 60_000).is_empty() && w.sent(0, ty::MLD_REPORT).is_empty());
    let h = &mut w.hosts[0];
    h.s.net.leave_group(&mut h.s.cx, ETH, group());
    h.s.tell_changes();
    w.run(1000);
    assert_eq!(w.sent(0, ty::MLD_DONE).len(), 1);
    w.end();
}

#[test]
fn many_sources_take_several_reports() {
    // [RFC3810 5b]
    let mut w = one();
    join(&mut w.hosts[0]);
    let all: Vec<String> = (1..200).map(|i| format!("2001:db8::{i:x}")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    filter(&mut w.hosts[0], false, &all);
    w.run(1);
    assert!(w.sent(0, ty::MLD2_REPORT).iter().all(|p| p.len() <= 1280));
    let r = told(&mut w, 5000);
    assert!(r.len() >= 6 && r.iter().all(|r| r.0 == record::ALLOW), "{}", r.len());
    assert_eq!(r.iter().map(|r| r.1.len()).sum::<usize>(), 2 * 199);
    w.end();
}

/// A query for all groups by `fe80::a`: what the querier says of its robustness and its interval, and how long the message is.
fn general(w: &mut Wire, robustness: u8, interval: u8, len: usize) {
    let mut b = vec![ty::MLD_QUERY, 0, 0, 0, 0, 100, 0, 0];
    b.extend([0; 16]);
    b.extend([robustness, interval, 0, 0]);
    b.truncate(len);
    let (src, dst) = (a6("fe80::a"), a6("ff02::1"));
    let mut p = vec![58, 0, 5, 2, 0, 0, 1, 0];
    p.extend(summed(b, src, dst));
    w.inject(0, frame([0x33, 0x33, 0, 0, 0, 1], src, dst, 1, 0, &p));
}

#[test]
fn changes_are_told_as_often_as_the_querier_is_robust() {
    // [RFC3810 6.1a] [RFC3810 9.1]
    // RFC 3810 5.1.8.
    let mut w = one();
    general(&mut w, 4, 125, 28);
    told(&mut w, 1000);
    join(&mut w.hosts[0]);
    assert_eq!(told(&mut w, 10_000).len(), 4);
    general(&mut w, 0, 125, 28);
    told(&mut w, 1000);
    let h = &mut w.hosts[0].s;
    h.net.leave_group(&mut h.cx, ETH, group());
    h.tell_changes();
    assert_eq!(told(&mut w, 10_000).len(), 2, "it does not say: two");
    // Neither version's length (8.1).
    join(&mut w.hosts[0]);
    told(&mut w, 10_000);
    general(&mut w, 2, 125, 26);
    assert!(told(&mut w, 10_000).is_empty());
    w.end();
}

#[test]
fn an_older_querier_is_remembered_as_long_as_its_queries_are_apart() {
    // [RFC3810 8.2.1b]
    // RFC 3810 8.2.1, 9.12.
    let mut w = one();
    join(&mut w.hosts[0]);
    told(&mut w, 10_000);
    general(&mut w, 2, 20, 28);
    w.run(10);
    // Version 1 comes before the answer was said: it is not said any more, and the new one in the old version.
    general(&mut w, 0, 0, 24);
    w.run(2000);
    assert!(!w.sent(0, ty::MLD_REPORT).is_empty() && w.sent(0, ty::MLD2_REPORT).is_empty());
    w.log.clear();
    // Twice 20 s, and a tenth of a second for the answer.
    w.run(36_000);
    general(&mut w, 2, 20, 28);
    assert!(told(&mut w, 1000).is_empty(), "version 1 still");
    w.run(5000);
    general(&mut w, 2, 20, 28);
    assert_eq!(told(&mut w, 1000).len(), 1, "version 2 again");
    w.end();
}
