//! IGMP: joining, leaving, answering queries, falling back to older routers.

mod common;
use common::*;
use iopkt_base::{Duration, Instant};
use iopkt_stack::{Stat, Why};
use iopkt_wire::igmp::{self, Message, Record, record, ty};
use iopkt_wire::ipv4::Header;
use std::net::Ipv4Addr;

const G: &str = "239.1.2.3";
const ROUTER: [u8; 6] = [2, 0, 0, 0, 0, 9];

fn mac(g: &str) -> [u8; 6] {
    iopkt_wire::ethernet::multicast_mac(ip(g))
}

/// (destination, message bytes) of the IGMP packets among frames; the packets are checked.
fn told(frames: &[Vec<u8>]) -> Vec<(String, Vec<u8>)> {
    let mut v = Vec::new();
    for f in frames.iter().filter(|f| f[12..14] == [8, 0]) {
        let h = Header::parse(&f[14..]).unwrap();
        if h.proto != 2 {
            continue;
        }
        assert_eq!((h.ttl, h.header_len, h.tos), (1, 24, 0xc0));
        assert_eq!(f[34..38], [148, 4, 0, 0], "router alert");
        assert_eq!(f[..6], mac(&h.dst.to_string()));
        let b = f[14 + 24..14 + h.total_len].to_vec();
        Message::parse(&b).unwrap();
        v.push((h.dst.to_string(), b));
    }
    v
}

fn v3(g: &str, kind: u8) -> (String, Vec<u8>) {
    let mut b = [0; 16];
    igmp::v3_report(&[Record { kind, group: g.parse().unwrap(), sources: &[] }], &mut b).unwrap();
    ("224.0.0.22".into(), b.to_vec())
}

fn v2(t: u8, g: &str, to: &str) -> (String, Vec<u8>) {
    (to.into(), igmp::v2(t, 0, g.parse().unwrap()).to_vec())
}

fn host() -> (Host, Instant) {
    let mut h = Host::new(1);
    for ms in [1000, 2000, 4000] {
        h.turn(Instant::from_millis(ms), &mut vec![]);
    }
    (h, Instant::from_millis(10_000))
}

fn join(h: &mut Host, g: &str) {
    let eth = h.eth;
    h.s.net.join_group(&mut h.s.cx, eth, ip(g)).unwrap();
}

fn leave(h: &mut Host, g: &str) {
    let eth = h.eth;
    h.s.net.leave_group(&mut h.s.cx, eth, ip(g));
}

/// All that is told from `t` on for `secs` seconds.
fn listen(h: &mut Host, t: Instant, secs: u64) -> Vec<(String, Vec<u8>)> {
    (0..secs * 20).flat_map(|i| told(&h.turn(t + Duration::from_millis(i * 50), &mut vec![]))).collect()
}

fn query(h: &mut Host, t: Instant, body: &[u8], dst: &str, ttl: u8) {
    let p = packet_with("10.0.0.9", dst, 2, body, &[148, 4, 0, 0], |x| x.ttl = ttl);
    let out = h.feed(t, &frame(mac(dst), ROUTER, 0x800, &p));
    assert!(told(&out).is_empty(), "answers are delayed");
}

#[test]
fn joining_and_leaving_are_told_twice() {
    let (mut h, t) = host();
    join(&mut h, G);
    join(&mut h, G); // a second user changes nothing
    assert_eq!(listen(&mut h, t, 5), [v3(G, record::CHANGE_TO_EXCLUDE), v3(G, record::CHANGE_TO_EXCLUDE)]);
    leave(&mut h, G);
    let t = t + Duration::from_secs(10);
    assert!(listen(&mut h, t, 2).is_empty());
    leave(&mut h, G);
    let t = t + Duration::from_secs(10);
    assert_eq!(listen(&mut h, t, 5), [v3(G, record::CHANGE_TO_INCLUDE), v3(G, record::CHANGE_TO_INCLUDE)]);
    assert_eq!(h.s.deadline(), Instant::FAR);
    h.end();
}

#[test]
fn version_3_queries_are_answered_in_time() {
    let (mut h, t) = host();
    join(&mut h, G);
    join(&mut h, "239.9.9.9");
    listen(&mut h, t, 5);
    let t = t + Duration::from_secs(10);
    query(&mut h, t, &igmp::v3_query(20, Ipv4Addr::UNSPECIFIED, 2, 125), "224.0.0.1", 1);
    let got = listen(&mut h, t, 2);
    assert_eq!(got.len(), 1, "one report for all groups");
    let list: Vec<_> = igmp::records(&got[0].1).map(|(k, g)| (k, g.to_string())).collect();
    assert_eq!(
        list,
        [(record::MODE_IS_EXCLUDE, G.to_string()), (record::MODE_IS_EXCLUDE, "239.9.9.9".into())]
    );
    // For one group.
    query(&mut h, t + Duration::from_secs(3), &igmp::v3_query(10, G.parse().unwrap(), 2, 125), G, 1);
    assert_eq!(listen(&mut h, t + Duration::from_secs(3), 2), [v3(G, record::MODE_IS_EXCLUDE)]);
    h.end();
}

#[test]
fn an_old_router_is_spoken_to_in_its_version_until_it_is_gone() {
    let (mut h, t) = host();
    query(&mut h, t, &igmp::v2(ty::QUERY, 100, Ipv4Addr::UNSPECIFIED), "224.0.0.1", 1);
    // The interface listens to nothing but all-hosts: nothing to tell. Joining later speaks version 2.
    join(&mut h, G);
    assert_eq!(listen(&mut h, t, 20), [v2(ty::V2_REPORT, G, G), v2(ty::V2_REPORT, G, G)]);
    query(
        &mut h,
        t + Duration::from_secs(30),
        &igmp::v2(ty::QUERY, 50, Ipv4Addr::UNSPECIFIED),
        "224.0.0.1",
        1,
    );
    assert_eq!(listen(&mut h, t + Duration::from_secs(30), 6), [v2(ty::V2_REPORT, G, G)]);
    leave(&mut h, G);
    assert_eq!(listen(&mut h, t + Duration::from_secs(40), 6), [v2(ty::V2_LEAVE, G, "224.0.0.2")]);
    join(&mut h, G);
    listen(&mut h, t + Duration::from_secs(50), 20);
    // Version 1: reports of its kind, silent leaving.
    query(
        &mut h,
        t + Duration::from_secs(80),
        &igmp::v2(ty::QUERY, 0, Ipv4Addr::UNSPECIFIED),
        "224.0.0.1",
        1,
    );
    assert_eq!(listen(&mut h, t + Duration::from_secs(80), 12), [v2(ty::V1_REPORT, G, G)]);
    leave(&mut h, G);
    assert!(listen(&mut h, t + Duration::from_secs(100), 6).is_empty());
    // 260 s after the last old query it is version 3 again.
    join(&mut h, G);
    assert!(listen(&mut h, t + Duration::from_secs(400), 5).contains(&v3(G, record::CHANGE_TO_EXCLUDE)));
    h.end();
}

#[test]
fn in_version_2_another_hosts_report_spares_ours() {
    let (mut h, t) = host();
    join(&mut h, G);
    listen(&mut h, t, 5);
    let t = t + Duration::from_secs(10);
    query(&mut h, t, &igmp::v2(ty::QUERY, 100, Ipv4Addr::UNSPECIFIED), "224.0.0.1", 1);
    let (_, report) = v2(ty::V2_REPORT, G, G);
    let p = packet_with("10.0.0.7", G, 2, &report, &[148, 4, 0, 0], |x| x.ttl = 1);
    h.feed(t, &frame(mac(G), [2, 0, 0, 0, 0, 7], 0x800, &p));
    assert!(listen(&mut h, t, 12).is_empty());
    assert_eq!(h.s.cx.counters.get(Stat::IgmpOurReports), 1);
    // And who was not the last to report leaves silently.
    leave(&mut h, G);
    assert!(listen(&mut h, t + Duration::from_secs(20), 5).is_empty());
    h.end();
}

#[test]
fn queries_from_afar_and_broken_ones_are_ignored() {
    let (mut h, t) = host();
    join(&mut h, G);
    listen(&mut h, t, 5);
    let t = t + Duration::from_secs(10);
    query(&mut h, t, &igmp::v3_query(10, Ipv4Addr::UNSPECIFIED, 2, 125), "224.0.0.1", 64);
    query(&mut h, t, &igmp::v3_query(10, Ipv4Addr::UNSPECIFIED, 2, 125), G, 1);
    let mut bad = igmp::v3_query(10, Ipv4Addr::UNSPECIFIED, 2, 125);
    bad[9] ^= 1;
    query(&mut h, t, &bad, "224.0.0.1", 1);
    query(&mut h, t, &bad[..5], "224.0.0.1", 1);
    assert!(listen(&mut h, t, 5).is_empty());
    assert_eq!(h.drops(Why::BadIgmp), 2);
    h.end();
}

#[test]
fn the_link_coming_back_tells_all_again() {
    let (mut h, t) = host();
    join(&mut h, G);
    listen(&mut h, t, 5);
    let eth = h.eth;
    h.s.link_changed(eth, iopkt_ctl::LinkState::Down, (0, 0), true);
    let t = t + Duration::from_secs(10);
    h.turn(t, &mut vec![]);
    h.s.link_changed(eth, iopkt_ctl::LinkState::Up, (0, 0), true);
    assert_eq!(listen(&mut h, t, 5).len(), 2);
    h.end();
}
