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
