//! ICMP errors: who gets one, who never does, how many; what those about our packets do.

mod common;
use common::*;
use iopkt_base::{Duration, Errno, Instant};
use iopkt_ctl::{Reply, Request};
use iopkt_stack::{Stat, Why};
use iopkt_wire::icmp4::{ty, unreach};
use iopkt_wire::ipv4::{self, Header};

const ME: [u8; 6] = [2, 0, 0, 0, 0, 1];
const PEER: [u8; 6] = [2, 0, 0, 0, 0, 9];

/// A host that knows 10.0.0.9's address and has nothing more to say.
fn host() -> (Host, Instant) {
    let mut h = Host::new(1);
    for ms in [1000, 2000, 4000] {
        h.turn(Instant::from_millis(ms), &mut vec![]);
    }
    let t = Instant::from_millis(10_000);
    let p = iopkt_wire::arp::Packet {
        op: 1,
        sha: PEER,
        spa: "10.0.0.9".parse().unwrap(),
        tha: [0; 6],
        tpa: "10.0.0.1".parse().unwrap(),
    };
    assert_eq!(h.feed(t, &frame([0xff; 6], PEER, 0x806, &p.emit())).len(), 1);
    (h, t)
}

fn ip(p: &[u8]) -> Vec<u8> {
    frame(ME, PEER, 0x800, p)
}

/// Type, code, rest and quoted packet of the ICMP error in a frame.
fn error(f: &[u8]) -> (u8, u8, [u8; 4], Vec<u8>) {
    let h = Header::parse(&f[14..]).unwrap();
    assert_eq!(h.proto, 1);
    let b = &f[14 + h.header_len..14 + h.total_len];
    let i = iopkt_wire::icmp4::Header::parse(b).unwrap();
    (i.ty, i.code, i.rest, b[8..].to_vec())
}

#[test]
fn closed_ports_and_unknown_protocols_are_unreachable() {
    let (mut h, t) = host();
    let p = packet("10.0.0.9", "10.0.0.1", 17, &udp(1, 9, b"hello"));
    let out = h.feed(t, &ip(&p));
    let (a, b, _, quoted) = error(&out[0]);
    assert_eq!((a, b), (ty::UNREACHABLE, unreach::PORT));
    assert_eq!(quoted, p, "the whole packet is quoted, as it came");
    let p = packet("10.0.0.9", "10.0.0.1", 200, &[9; 1000]);
    let (a, b, _, quoted) = error(&h.feed(t, &ip(&p))[0]);
    assert_eq!((a, b), (ty::UNREACHABLE, unreach::PROTOCOL));
    assert_eq!(quoted[..], p[..576 - 28], "as much as fits 576 bytes");
    assert_eq!((h.drops(Why::NoSocket), h.drops(Why::NoProtocol)), (1, 1));
    h.end();
}

#[test]
fn some_packets_never_cause_an_error() {
    let (mut h, t) = host();
    let u = udp(1, 9, b"hello");
    let bcast = |p: &[u8]| frame([0xff; 6], PEER, 0x800, p);
    let error_about_error = {
        let quoted = packet("10.0.0.1", "10.0.0.9", 17, &u);
        packet("10.0.0.9", "10.0.0.1", 1, &icmp(ty::UNREACHABLE, unreach::PORT, [0; 4], &quoted))
    };
    let silent = [
        bcast(&packet("10.0.0.9", "10.0.0.255", 17, &u)),
        bcast(&packet("10.0.0.9", "255.255.255.255", 17, &u)),
        // RFC 1122 3.3.6: unicast in a link broadcast.
        bcast(&packet("10.0.0.9", "10.0.0.1", 17, &u)),
        frame([1, 0, 0x5e, 0, 0, 1], PEER, 0x800, &packet("10.0.0.9", "224.0.0.1", 17, &u)),
        ip(&packet("0.0.0.0", "10.0.0.1", 17, &u)),
        ip(&packet("224.0.0.1", "10.0.0.1", 17, &u)),
        ip(&packet("255.255.255.255", "10.0.0.1", 17, &u)),
        ip(&packet("10.0.0.255", "10.0.0.1", 17, &u)),
        ip(&packet("127.0.0.1", "10.0.0.1", 17, &u)),
        ip(&packet("10.0.0.1", "10.0.0.1", 17, &u)),
        ip(&packet("240.0.0.1", "10.0.0.1", 17, &u)),
        ip(&error_about_error),
        ip(&packet("10.0.0.9", "10.0.0.77", 17, &u)), // not ours
    ];
    for (i, f) in silent.iter().enumerate() {
        assert!(h.feed(t, f).is_empty(), "packet {i} was answered");
    }
    h.end();
}

#[test]
fn errors_are_limited_per_second() {
    let (mut h, t) = host();
    let f = ip(&packet("10.0.0.9", "10.0.0.1", 17, &udp(1, 9, b"x")));
    let burst = |h: &mut Host, t| (0..500).map(|_| h.feed(t, &f).len()).sum::<usize>();
    assert_eq!(burst(&mut h, t), 100);
    assert_eq!(burst(&mut h, t + Duration::from_millis(999)), 0);
    assert_eq!(burst(&mut h, t + Duration::from_millis(1000)), 100);
    assert_eq!(h.s.cx.counters.get(Stat::IcmpRateLimited), 1300);
    let set = |h: &mut Host, v: &str| {
        let r = Request::Sysctl { name: "net.inet.icmp.errppslimit".into(), value: Some(v.into()) };
        assert_eq!(h.ctl(r), Reply::Ok);
    };
    set(&mut h, "0");
    assert_eq!(burst(&mut h, t + Duration::from_secs(5)), 0);
    set(&mut h, "-1");
    assert_eq!(burst(&mut h, t + Duration::from_secs(6)), 500);
    h.end();
}

#[test]
fn a_refused_datagram_is_heard_by_its_socket() {
    let mut w = Wire::pair();
    let s = w.hosts[0].udp("10.0.0.1:5000");
    let h = &mut w.hosts[0];
    h.s.sockets.connect(&mut h.s.cx, &mut h.s.net, s, Some(sa("10.0.0.2:9"))).unwrap();
    w.hosts[0].send(s, "10.0.0.2:9", b"x").unwrap();
    w.run(50);
    assert_eq!(w.hosts[0].s.sockets.take_error(s), Some(Errno::ECONNREFUSED));
    assert_eq!(w.hosts[0].s.sockets.take_error(s), None);
    w.end();
}

#[test]
fn reports_that_cannot_be_about_us_are_not_believed() {
    let (mut h, t) = host();
    let s = h.udp("10.0.0.1:5000");
    h.s.sockets.connect(&mut h.s.cx, &mut h.s.net, s, Some(sa("10.0.0.9:9"))).unwrap();
    let about = |src: &str, f: fn(&mut Header)| {
        let q = packet_with(src, "10.0.0.9", 17, &udp(5000, 9, b"x"), &[], f);
        ip(&packet("10.0.0.9", "10.0.0.1", 1, &icmp(ty::UNREACHABLE, unreach::PORT, [0; 4], &q)))
    };
    h.feed(t, &about("10.0.0.3", |_| {})); // not our source
    h.feed(t, &about("10.0.0.1", |x| x.frag = 8)); // not a first fragment
    let short = packet("10.0.0.9", "10.0.0.1", 1, &icmp(ty::UNREACHABLE, unreach::PORT, [0; 4], &[0x45; 12]));
    h.feed(t, &ip(&short));
    assert_eq!(h.s.sockets.take_error(s), None);
    h.feed(t, &about("10.0.0.1", |_| {}));
    assert_eq!(h.s.sockets.take_error(s), Some(Errno::ECONNREFUSED));
    h.end();
}

#[test]
fn unanswered_requests_stay_unanswered() {
    // [RFC9293 MUST-55]
    let (mut h, t) = host();
    for k in [ty::MASK_REQUEST, ty::INFO_REQUEST, ty::ROUTER_SOLICIT, ty::SOURCE_QUENCH, 42, 255] {
        assert!(h.feed(t, &ip(&packet("10.0.0.9", "10.0.0.1", 1, &icmp(k, 0, [0; 4], &[0; 28])))).is_empty());
    }
    h.end();
}

#[test]
fn a_timestamp_is_answered_in_its_own_units() {
    let (mut h, t) = host();
    let m = icmp(ty::TIMESTAMP, 0, [1, 2, 3, 4], &[9; 12]);
    let out = h.feed(t, &ip(&packet("10.0.0.9", "10.0.0.1", 1, &m)));
    let (k, _, rest, times) = error(&out[0]);
    assert_eq!((k, rest), (ty::TIMESTAMP_REPLY, [1, 2, 3, 4]));
    assert_eq!(times[..4], [9; 4], "originate comes back");
    assert_eq!(times[4..8], (10_000u32 | 0x8000_0000).to_be_bytes());
    assert!(h.feed(t, &ip(&packet("10.0.0.9", "10.0.0.1", 1, &m[..8]))).is_empty());
    h.end();
}

#[test]
fn malformed_options_point_at_the_fault_and_source_routes_fail() {
    let (mut h, t) = host();
    let e = icmp(ty::ECHO, 0, [0; 4], b"hello");
    let ask = |h: &mut Host, o: &[u8]| {
        let p = packet_with("10.0.0.9", "10.0.0.1", 1, &e, o, |_| {});
        error(&h.feed(t, &ip(&p))[0])
    };
    let (a, b, rest, _) = ask(&mut h, &[7, 39, 4, 0]);
    assert_eq!((a, b, rest[0]), (ty::PARAM_PROBLEM, 0, 21));
    let (a, _, rest, _) = ask(&mut h, &[7, 4, 1, 0]);
    assert_eq!((a, rest[0]), (ty::PARAM_PROBLEM, 22));
    for kind in [131, 137] {
        let (a, b, ..) = ask(&mut h, &[kind, 7, 4, 10, 0, 0, 7, 0]);
        assert_eq!((a, b), (ty::UNREACHABLE, unreach::SRC_ROUTE));
        // Used up: the packet has come the whole way.
        assert_eq!(ask(&mut h, &[kind, 7, 8, 10, 0, 0, 7, 0]).0, ty::ECHO_REPLY);
    }
    for fine in [[148, 4, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0], [0x99, 4, 1, 2]] {
        assert_eq!(ask(&mut h, &fine).0, ty::ECHO_REPLY, "{fine:?}");
    }
    h.end();
}

#[test]
fn record_route_and_timestamp_come_back_filled_in() {
    let (mut h, t) = host();
    let e = icmp(ty::ECHO, 0, [0; 4], b"hello");
    let ask = |h: &mut Host, o: &[u8]| {
        let p = packet_with("10.0.0.9", "10.0.0.1", 1, &e, o, |_| {});
        let out = h.feed(t, &ip(&p));
        let hd = Header::parse(&out[0][14..]).unwrap();
        assert_eq!(error(&out[0]).0, ty::ECHO_REPLY);
        out[0][14 + 20..14 + hd.header_len].to_vec()
    };
    assert_eq!(ask(&mut h, &[7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]), [7, 11, 8, 10, 0, 0, 1, 0, 0, 0, 0, 0]);
    assert_eq!(ask(&mut h, &[7, 7, 8, 1, 2, 3, 4, 0]), [7, 7, 8, 1, 2, 3, 4, 0], "full");
    let stamp = (10_000u32 | 0x8000_0000).to_be_bytes();
    let got = ask(&mut h, &[68, 12, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(got, [&[68, 12, 13, 1, 10, 0, 0, 1][..], &stamp].concat());
    assert_eq!(
        ask(&mut h, &[68, 8, 9, 0x20, 1, 2, 3, 4]),
        [68, 8, 9, 0x30, 1, 2, 3, 4],
        "one more found no room"
    );
    // Prespecified: only the address that it names.
    let not_me = [68, 12, 5, 3, 10, 0, 0, 5, 0, 0, 0, 0];
    assert_eq!(ask(&mut h, &not_me), not_me);
    assert_eq!(ask(&mut h, &[68, 12, 5, 3, 10, 0, 0, 1, 0, 0, 0, 0])[2], 13);
    h.end();
}

#[test]
fn an_error_never_quotes_memory_beyond_the_packet() {
    let (mut h, t) = host();
    let p = packet("10.0.0.9", "10.0.0.1", 17, &udp(1, 9, b""));
    let out = h.feed(t, &ip(&p));
    let (.., quoted) = error(&out[0]);
    assert_eq!(quoted.len(), ipv4::HEADER_LEN + 8, "link padding is not part of the packet");
    h.end();
}
