//! ARP: resolution, holding, time-out, ageing, answers, conflicts, proxy, floods, permanent entries.

mod common;
use common::*;
use iopkt_base::{Duration, Instant};
use iopkt_ctl::{ArpEntry, Reply, Request, iff};
use iopkt_stack::{Config, Note, Stat, Why};
use iopkt_wire::arp::{Packet, REPLY, REQUEST};

const BCAST: [u8; 6] = [0xff; 6];
const PEER: [u8; 6] = [2, 0, 0, 0, 0, 9];
const ME: [u8; 6] = [2, 0, 0, 0, 0, 1];

fn arp(op: u16, sha: [u8; 6], spa: &str, tha: [u8; 6], tpa: &str, to: [u8; 6]) -> Vec<u8> {
    let p = Packet { op, sha, spa: spa.parse().unwrap(), tha, tpa: tpa.parse().unwrap() };
    frame(to, sha, 0x806, &p.emit())
}

fn parse(f: &[u8]) -> Packet {
    assert_eq!(f[12..14], [8, 6], "an ARP frame");
    assert_eq!(f.len(), 60);
    assert!(f[42..].iter().all(|b| *b == 0), "padding is zero");
    Packet::parse(&f[14..]).unwrap()
}

/// A host that has said all about its own address.
fn quiet() -> (Host, Instant) {
    let mut h = Host::new(1);
    for s in 1..10 {
        h.turn(Instant::from_millis(s * 1000), &mut vec![]);
    }
    (h, Instant::from_millis(10_000))
}

fn logs(h: &mut Host) -> Vec<String> {
    let notes: Vec<Note> = h.s.cx.notes.drain(..).collect();
    notes
        .into_iter()
        .filter_map(|n| match n {
            Note::Log(_, t) => Some(t),
            _ => None,
        })
        .collect()
}

#[test]
fn a_new_address_is_probed_and_announced() {
    let mut h = Host::new(1);
    let mut seen = Vec::new();
    for ms in 1000..9000 {
        for f in h.turn(Instant::from_millis(ms), &mut vec![]) {
            assert_eq!(f[..6], BCAST);
            let p = parse(&f);
            assert_eq!((p.op, p.sha, p.tpa), (REQUEST, ME, "10.0.0.1".parse().unwrap()));
            seen.push((ms, p.spa.is_unspecified()));
        }
    }
    assert_eq!(seen, [(1000, true), (2000, false), (4000, false)]);
    assert_eq!(h.s.deadline(), Instant::FAR);
    h.end();
}

#[test]
fn packets_wait_for_the_answer_and_then_go_in_order() {
    let (mut h, t) = quiet();
    let s = h.udp("10.0.0.1:1000");
    for i in 0..3u8 {
        h.send(s, "10.0.0.9:2000", &[i; 100]).unwrap();
    }
    let out = h.turn(t, &mut vec![]);
    assert_eq!(out.len(), 1, "one question for three packets");
    let q = parse(&out[0]);
    assert_eq!((q.op, q.spa, q.tpa), (REQUEST, "10.0.0.1".parse().unwrap(), "10.0.0.9".parse().unwrap()));
    let out = h.feed(t, &arp(REPLY, PEER, "10.0.0.9", ME, "10.0.0.1", ME));
    assert_eq!(out.len(), 3);
    for (i, f) in out.iter().enumerate() {
        assert_eq!((&f[..6], &f[6..12]), (&PEER[..], &ME[..]));
        assert_eq!(f[14 + 28], i as u8);
    }
    h.end();
}

#[test]
fn the_hold_queue_keeps_the_latest() {
    let mut h = Host::with(1, Config { neighbour_hold: 4, ..Config::default() });
    h.addr("10.0.0.1", 24);
    let t = Instant::from_millis(10_000);
    h.turn(t, &mut vec![]);
    let s = h.udp("10.0.0.1:1000");
    for i in 0..10u8 {
        h.send(s, "10.0.0.9:2000", &[i; 100]).unwrap();
        h.turn(t, &mut vec![]);
    }
    assert_eq!(h.drops(Why::HoldQueueFull), 6);
    let out = h.feed(t, &arp(REPLY, PEER, "10.0.0.9", ME, "10.0.0.1", ME));
    assert_eq!(out.iter().map(|f| f[42]).collect::<Vec<_>>(), [6, 7, 8, 9]);
    h.end();
}

#[test]
fn nobody_answers_three_questions_then_the_packet_ends() {
    let (mut h, t) = quiet();
    let s = h.udp("10.0.0.1:1000");
    h.s.sockets.connect(&mut h.s.cx, &mut h.s.net, s, Some(sa("10.0.0.9:2000"))).unwrap();
    h.send(s, "10.0.0.9:2000", b"x").unwrap();
    let mut asked = Vec::new();
    for ms in (0..6000).step_by(100) {
        for f in h.turn(t + Duration::from_millis(ms), &mut vec![]) {
            parse(&f);
            asked.push(ms);
        }
    }
    assert_eq!(asked, [0, 1000, 2000]);
    assert_eq!(h.drops(Why::NoNeighbour), 1);
    assert_eq!(h.s.cx.counters.get(Stat::ArpTimeouts), 1);
    assert!(h.s.net.neigh.is_empty());
    // A new packet asks anew.
    h.send(s, "10.0.0.9:2000", b"x").unwrap();
    assert_eq!(h.turn(t + Duration::from_secs(7), &mut vec![]).len(), 1);
    h.end();
}

#[test]
fn requests_for_us_are_answered_and_others_are_not() {
    let (mut h, t) = quiet();
    let out = h.feed(t, &arp(REQUEST, PEER, "10.0.0.9", [0; 6], "10.0.0.1", BCAST));
    assert_eq!(out.len(), 1);
    assert_eq!(out[0][..6], PEER);
    let r = parse(&out[0]);
    assert_eq!((r.op, r.sha, r.tha), (REPLY, ME, PEER));
    assert_eq!((r.spa, r.tpa), ("10.0.0.1".parse().unwrap(), "10.0.0.9".parse().unwrap()));
    // The asker is known now: no question of our own.
    let s = h.udp("10.0.0.1:1000");
    h.send(s, "10.0.0.9:2000", b"x").unwrap();
    assert_eq!(h.turn(t, &mut vec![])[0][..6], PEER);
    // A probe (no sender address) is answered, and teaches nothing.
    let out = h.feed(t, &arp(REQUEST, [2, 0, 0, 0, 0, 8], "0.0.0.0", [0; 6], "10.0.0.1", BCAST));
    assert_eq!(parse(&out[0]).tpa.to_string(), "0.0.0.0");
    assert_eq!(h.s.net.neigh.len(), 1);
    for tpa in ["10.0.0.2", "127.0.0.1", "10.0.0.255", "0.0.0.0"] {
        assert!(h.feed(t, &arp(REQUEST, PEER, "10.0.0.9", [0; 6], tpa, BCAST)).is_empty(), "{tpa}");
    }
    h.end();
}

#[test]
fn what_nobody_asked_for_makes_no_entry() {
    let (mut h, t) = quiet();
    h.feed(t, &arp(REPLY, PEER, "10.0.0.9", ME, "10.0.0.1", ME));
    h.feed(t, &arp(REQUEST, PEER, "10.0.0.9", [0; 6], "10.0.0.9", BCAST));
    // Asking from a network that is not on this link.
    assert_eq!(h.feed(t, &arp(REQUEST, PEER, "192.168.7.7", [0; 6], "10.0.0.1", BCAST)).len(), 1);
    assert!(h.s.net.neigh.is_empty());
    h.end();
}

#[test]
fn malformed_packets_are_counted() {
    let (mut h, t) = quiet();
    let good = arp(REQUEST, PEER, "10.0.0.9", [0; 6], "10.0.0.1", BCAST);
    let mut hw = good.clone();
    hw[15] = 7;
    let mut op = good.clone();
    op[21] = 9;
    let bad = [
        hw,
        op,
        good[..40].to_vec(),
        arp(REQUEST, [1, 0, 0, 0, 0, 9], "10.0.0.9", [0; 6], "10.0.0.1", BCAST),
        arp(REQUEST, PEER, "255.255.255.255", [0; 6], "10.0.0.1", BCAST),
        arp(REQUEST, PEER, "224.0.0.5", [0; 6], "10.0.0.1", BCAST),
    ];
    for (i, f) in bad.iter().enumerate() {
        let mut f = f.clone();
        f[6..12].copy_from_slice(&PEER);
        assert!(h.feed(t, &f).is_empty(), "packet {i}");
    }
    assert_eq!(h.drops(Why::BadArp), bad.len() as u64);
    assert!(h.s.net.neigh.is_empty());
    h.end();
}

#[test]
fn a_conflict_is_logged_and_defended_once_in_ten_seconds() {
    let (mut h, t) = quiet();
    logs(&mut h);
    let claim = arp(REQUEST, PEER, "10.0.0.1", [0; 6], "10.0.0.1", BCAST);
    let mut defended = 0;
    for s in 0..30 {
        for f in h.feed(t + Duration::from_secs(s), &claim) {
            let p = parse(&f);
            assert_eq!((p.sha, p.spa, p.tpa), (ME, "10.0.0.1".parse().unwrap(), "10.0.0.1".parse().unwrap()));
            defended += 1;
        }
    }
    assert_eq!(defended, 3);
    let l = logs(&mut h);
    assert_eq!(l.len(), 3);
    assert_eq!(l[0], "duplicate IP address 10.0.0.1 on eth0: sent from link address 02:00:00:00:00:09");
    assert_eq!(h.s.cx.counters.get(Stat::ArpConflicts), 30);
    assert!(h.s.net.neigh.is_empty(), "our own address never gets into the cache");
    h.end();
}

#[test]
fn who_answers_our_probe_keeps_its_place() {
    // RFC 5227: hosts that have the address are not told that it moved.
    let mut h = Host::new(1);
    let t = Instant::from_millis(1000);
    assert!(parse(&h.turn(t, &mut vec![])[0]).spa.is_unspecified());
    let answer = arp(REPLY, PEER, "10.0.0.1", ME, "0.0.0.0", ME);
    assert!(h.feed(t + Duration::from_millis(5), &answer).is_empty());
    assert!(logs(&mut h).iter().any(|l| l.starts_with("duplicate IP address 10.0.0.1")));
    for s in 1..20 {
        assert!(h.turn(t + Duration::from_secs(s), &mut vec![]).is_empty());
    }
    h.end();
}

#[test]
fn a_stale_entry_is_polled_and_a_dead_one_forgotten() {
    let (mut h, t) = quiet();
    let s = h.udp("10.0.0.1:1000");
    h.feed(t, &arp(REQUEST, PEER, "10.0.0.9", [0; 6], "10.0.0.1", BCAST));
    // Fresh: data only. After 30 s of silence: data, and a question to the station itself.
    h.send(s, "10.0.0.9:2000", b"x").unwrap();
    assert_eq!(h.turn(t + Duration::from_secs(29), &mut vec![]).len(), 1);
    h.send(s, "10.0.0.9:2000", b"x").unwrap();
    let t2 = t + Duration::from_secs(31);
    let out = h.turn(t2, &mut vec![]);
    assert_eq!(out.len(), 2);
    let q = out.iter().find(|f| f[12..14] == [8, 6]).unwrap();
    assert_eq!(q[..6], PEER, "unicast poll");
    // It answers: quiet again for 30 s.
    h.feed(t2, &arp(REPLY, PEER, "10.0.0.9", ME, "10.0.0.1", ME));
    h.send(s, "10.0.0.9:2000", b"x").unwrap();
    assert_eq!(h.turn(t2 + Duration::from_secs(5), &mut vec![]).len(), 1);
    // It does not: three polls, then everybody is asked, and packets wait.
    let t3 = t2 + Duration::from_secs(60);
    let mut unicast = 0;
    for s10 in 0..40 {
        h.send(s, "10.0.0.9:2000", b"x").unwrap();
        for f in h.turn(t3 + Duration::from_millis(s10 * 100), &mut vec![]) {
            unicast += usize::from(f[12..14] == [8, 6] && f[..6] == PEER);
        }
    }
    assert_eq!(unicast, 3);
    h.send(s, "10.0.0.9:2000", b"x").unwrap();
    let out = h.turn(t3 + Duration::from_secs(5), &mut vec![]);
    assert!(out.iter().all(|f| f[12..14] == [8, 6] && f[..6] == BCAST), "no data to a dead station");
    h.end();
}

#[test]
fn a_station_that_moves_is_followed_and_logged() {
    let (mut h, t) = quiet();
    let new = [2, 0, 0, 0, 0, 0x77];
    h.feed(t, &arp(REQUEST, PEER, "10.0.0.9", [0; 6], "10.0.0.1", BCAST));
    logs(&mut h);
    h.feed(t, &arp(REQUEST, new, "10.0.0.9", [0; 6], "10.0.0.9", BCAST));
    assert_eq!(
        logs(&mut h),
        ["arp info overwritten for 10.0.0.9: 02:00:00:00:00:09 by 02:00:00:00:00:77 on eth0"]
    );
    let s = h.udp("10.0.0.1:1000");
    h.send(s, "10.0.0.9:2000", b"x").unwrap();
    assert_eq!(h.turn(t, &mut vec![])[0][..6], new);
    h.end();
}

#[test]
fn permanent_entries_stay_and_published_ones_answer() {
    let (mut h, t) = quiet();
    let e = |ip: &str, mac, published| ArpEntry {
        ip: ip.parse().unwrap(),
        mac: Some(mac),
        ifname: None,
        permanent: true,
        published,
        proxy: false,
        expires: None,
    };
    assert_eq!(h.ctl(Request::AddArp(e("10.0.0.9", PEER, false))), Reply::Ok);
    logs(&mut h);
    h.feed(t, &arp(REQUEST, [2, 0, 0, 0, 0, 0x66], "10.0.0.9", [0; 6], "10.0.0.9", BCAST));
    assert_eq!(logs(&mut h).len(), 1, "the attempt is logged");
    let s = h.udp("10.0.0.1:1000");
    for days in 0..3 {
        h.send(s, "10.0.0.9:2000", b"x").unwrap();
        let out = h.turn(t + Duration::from_secs(days * 86_400), &mut vec![]);
        assert_eq!((out.len(), &out[0][..6]), (1, &PEER[..]));
    }
    let proxy = [2, 0, 0, 0, 0, 0x55];
    assert_eq!(h.ctl(Request::AddArp(e("10.0.0.50", proxy, true))), Reply::Ok);
    let out = h.feed(t, &arp(REQUEST, PEER, "10.0.0.9", [0; 6], "10.0.0.50", BCAST));
    assert_eq!(parse(&out[0]).sha, proxy);
    let Reply::Arp(list) = h.ctl(Request::Arp) else { panic!() };
    assert_eq!(
        list.iter().map(|e| (e.ip.to_string(), e.permanent, e.published)).collect::<Vec<_>>(),
        [("10.0.0.9".into(), true, false), ("10.0.0.50".into(), true, true)]
    );
    assert_eq!(
        h.ctl(Request::DelArp { ip: Some("10.0.0.9".parse().unwrap()), ifname: None, proxy: false }),
        Reply::Ok
    );
    assert!(matches!(
        h.ctl(Request::DelArp { ip: Some("10.0.0.9".parse().unwrap()), ifname: None, proxy: false }),
        Reply::Err { .. }
    ));
    for bad in ["10.0.0.1", "192.168.1.1"] {
        assert!(matches!(h.ctl(Request::AddArp(e(bad, PEER, false))), Reply::Err { .. }), "{bad}");
    }
    h.end();
}

#[test]
fn floods_stay_within_the_limits() {
    let mut h = Host::with(1, Config { max_neighbours: 64, ..Config::default() });
    h.addr("10.0.0.1", 8);
    let t = Instant::from_millis(20_000);
    h.turn(t, &mut vec![]);
    let known = |h: &Host, a: &str| h.s.net.neigh.get(h.eth, a.parse().unwrap()).is_some();
    // One that has answered us.
    let s = h.udp("10.0.0.1:1000");
    h.send(s, "10.0.0.9:9", b"x").unwrap();
    h.turn(t, &mut vec![]);
    h.feed(t, &arp(REPLY, PEER, "10.0.0.9", ME, "10.0.0.1", ME));
    // Strangers who ask: at most three quarters of the table.
    for i in 0..1000u32 {
        let spa = std::net::Ipv4Addr::from(0x0a01_0000 + i).to_string();
        h.feed(t, &arp(REQUEST, [2, 1, 0, 0, (i >> 8) as u8, i as u8], &spa, [0; 6], "10.0.0.1", BCAST));
    }
    assert_eq!(h.s.net.neigh.len(), 48);
    assert!(known(&h, "10.1.3.231") && !known(&h, "10.1.0.0"), "the last of them are heard");
    // A program that scans: at most half of it unresolved, the rest of its packets dropped.
    for i in 0..1000u32 {
        let to = std::net::SocketAddr::from((std::net::Ipv4Addr::from(0x0a02_0000 + i), 9)).to_string();
        let _ = h.send(s, &to, b"x");
        h.turn(t, &mut vec![]);
    }
    assert!(h.s.net.neigh.len() <= 64 && h.s.net.neigh.held() <= 32);
    assert!(h.drops(Why::HoldQueueFull) >= 900);
    assert!(known(&h, "10.0.0.9"), "who answered us is not forgotten for strangers");
    // Its latest question is still open.
    h.feed(t, &arp(REPLY, PEER, "10.2.3.231", ME, "10.0.0.1", ME));
    assert!(known(&h, "10.2.3.231"));
    // And it gets over it.
    for s in 1..6 {
        h.turn(t + Duration::from_secs(s), &mut vec![]);
    }
    assert_eq!(h.s.net.neigh.held(), 0);
    h.end();
}

#[test]
fn without_arp_nothing_is_asked_or_answered() {
    let (mut h, t) = quiet();
    assert_eq!(h.ctl(Request::SetFlags { name: "eth0".into(), set: iff::NOARP, clear: 0 }), Reply::Ok);
    assert!(h.feed(t, &arp(REQUEST, PEER, "10.0.0.9", [0; 6], "10.0.0.1", BCAST)).is_empty());
    let s = h.udp("10.0.0.1:1000");
    h.send(s, "10.0.0.9:2000", b"x").unwrap();
    assert!(h.turn(t, &mut vec![]).is_empty());
    // What a link that comes back would have us announce is not said either.
    let eth = h.eth;
    for l in [iopkt_ctl::LinkState::Down, iopkt_ctl::LinkState::Up] {
        h.s.link_changed(eth, l, (0, 0), true);
    }
    for ms in (0..9000).step_by(10) {
        assert!(h.turn(t + Duration::from_millis(ms), &mut vec![]).is_empty());
    }
    h.end();
}

#[test]
fn losing_the_link_forgets_neighbours_and_announces_again() {
    let (mut h, t) = quiet();
    h.feed(t, &arp(REQUEST, PEER, "10.0.0.9", [0; 6], "10.0.0.1", BCAST));
    let eth = h.eth;
    h.s.link_changed(eth, iopkt_ctl::LinkState::Down, (0, 0), true);
    assert!(h.s.net.neigh.is_empty());
    h.turn(t + Duration::from_secs(1), &mut vec![]);
    h.s.begin(t + Duration::from_secs(2));
    h.s.link_changed(eth, iopkt_ctl::LinkState::Up, (0, 0), true);
    let mut n = 0;
    for ms in (2000..9000).step_by(10) {
        n += h.turn(t + Duration::from_millis(ms), &mut vec![]).len();
    }
    assert_eq!(n, 3, "a probe and two announcements");
    h.end();
}
