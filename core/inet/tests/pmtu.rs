//! Path MTU discovery: learning, believing, ageing.

mod common;
use common::*;
use iopkt_base::{Duration, Instant};
use iopkt_ctl::{Reply, Request, RouteInfo};
use iopkt_stack::Stat;
use iopkt_wire::icmp4::{ty, unreach};

const ME: [u8; 6] = [2, 0, 0, 0, 0, 1];
const GW: [u8; 6] = [2, 0, 0, 0, 0, 254];

fn default_route(gw: &str) -> RouteInfo {
    RouteInfo { gateway: Some(ip(gw)), ..RouteInfo::to(ip("0.0.0.0"), 0) }
}

/// A host with a socket whose port is 5000.
fn host() -> (Host, Instant) {
    let (mut h, t) = bare();
    h.udp("10.0.0.1:5000");
    (h, t)
}

fn bare() -> (Host, Instant) {
    let mut h = Host::new(1);
    assert_eq!(h.ctl(Request::AddRoute(default_route("10.0.0.254"))), Reply::Ok);
    let t = Instant::from_millis(10_000);
    h.turn(t, &mut vec![]);
    (h, t)
}

fn too_big(mtu: u16, len: usize, df: bool, src: &str, dst: &str) -> Vec<u8> {
    let q = packet_with(src, dst, 17, &udp(5000, 9, b"x"), &[], |h| (h.df, h.total_len) = (df, len));
    let m = mtu.to_be_bytes();
    let e = icmp(ty::UNREACHABLE, unreach::NEED_FRAG, [0, 0, m[0], m[1]], &q);
    frame(ME, GW, 0x800, &packet("10.0.0.254", "10.0.0.1", 1, &e))
}

fn mtu(h: &Host, to: &str) -> u32 {
    h.s.net.path(ip(to), None, 0).unwrap().mtu
}

#[test]
fn a_path_learns_and_forgets() {
    let (mut h, t) = host();
    assert_eq!(mtu(&h, "192.0.2.7"), 1500);
    h.feed(t, &too_big(1400, 1500, true, "10.0.0.1", "192.0.2.7"));
    assert_eq!((mtu(&h, "192.0.2.7"), mtu(&h, "192.0.2.8")), (1400, 1500));
    h.feed(t, &too_big(1450, 1500, true, "10.0.0.1", "192.0.2.7"));
    assert_eq!(mtu(&h, "192.0.2.7"), 1400, "reports only lower it");
    assert_eq!(h.s.cx.counters.get(Stat::IcmpPmtuChanges), 1);
    h.turn(t + Duration::from_secs(599), &mut vec![]);
    assert_eq!(mtu(&h, "192.0.2.7"), 1400);
    h.turn(t + Duration::from_secs(600), &mut vec![]);
    assert_eq!(mtu(&h, "192.0.2.7"), 1500, "ten minutes later it is tried again");
    h.end();
}

#[test]
fn about_what_no_socket_sent_nothing_is_believed() {
    let (mut h, t) = bare();
    let e = too_big(1400, 1500, true, "10.0.0.1", "192.0.2.7");
    h.feed(t, &e);
    assert_eq!((mtu(&h, "192.0.2.7"), h.s.net.pmtu.len()), (1500, 0), "forged");
    h.udp("10.0.0.1:5001");
    h.feed(t, &e);
    assert_eq!(h.s.net.pmtu.len(), 0, "another port");
    h.udp("10.0.0.1:5000");
    h.feed(t, &e);
    assert_eq!(mtu(&h, "192.0.2.7"), 1400);
    h.end();
}

#[test]
fn what_is_not_plausible_is_not_believed() {
    let (mut h, t) = host();
    h.feed(t, &too_big(1400, 1500, false, "10.0.0.1", "192.0.2.7")); // it could have been cut
    h.feed(t, &too_big(1400, 1500, true, "10.0.0.7", "192.0.2.7")); // not ours
    h.feed(t, &too_big(9000, 1500, true, "10.0.0.1", "192.0.2.7")); // larger than the link
    assert_eq!(mtu(&h, "192.0.2.7"), 1500);
    // Absurdly small: as small as we let anybody make us.
    h.feed(t, &too_big(68, 1500, true, "10.0.0.1", "192.0.2.7"));
    assert_eq!(mtu(&h, "192.0.2.7"), 552);
    let off = Request::Sysctl { name: "net.inet.ip.mtudisc".into(), value: Some("0".into()) };
    assert_eq!(h.ctl(off), Reply::Ok);
    h.feed(t, &too_big(1400, 1500, true, "10.0.0.1", "192.0.2.9"));
    assert_eq!(mtu(&h, "192.0.2.9"), 1500);
    h.end();
}

#[test]
fn a_router_that_does_not_say_gives_the_next_plateau() {
    // [RFC1191 5]
    let (mut h, t) = host();
    for (sent, want) in [(1500, 1492), (1492, 1006), (1006, 552)] {
        h.feed(t, &too_big(0, sent, true, "10.0.0.1", "192.0.2.7"));
        assert_eq!(mtu(&h, "192.0.2.7"), want);
    }
    h.end();
}

#[test]
fn datagrams_are_cut_to_the_path() {
    let (mut h, t) = bare();
    let s = h.udp("10.0.0.1:5000");
    h.feed(t, &too_big(600, 1500, true, "10.0.0.1", "192.0.2.7"));
    let e = iopkt_ctl::ArpEntry {
        ip: "10.0.0.254".parse().unwrap(),
        mac: Some(GW),
        ifname: None,
        permanent: true,
        published: false,
        proxy: false,
        expires: None,
    };
    assert_eq!(h.ctl(Request::AddArp(e)), Reply::Ok);
    // What a socket asks not to be cut is up to it; by default a datagram larger than the path is cut.
    h.send(s, "192.0.2.7:9", &[1; 1400]).unwrap();
    let out = h.turn(t + Duration::from_secs(1), &mut vec![]);
    let data: Vec<_> = out.iter().filter(|f| f[12..14] == [8, 0]).collect();
    assert!(
        data.len() == 3 && data.iter().all(|f| f.len() <= 614),
        "{:?}",
        data.iter().map(|f| f.len()).collect::<Vec<_>>()
    );
    h.end();
}
