//! Fragmentation and reassembly.

mod common;
use common::*;
use iopkt_base::{Duration, Instant, Rng};
use iopkt_ctl::{Reply, Request};
use iopkt_stack::{Config, Stat, Why};
use iopkt_wire::icmp4::ty;
use iopkt_wire::ipv4::Header;

const ME: [u8; 6] = [2, 0, 0, 0, 0, 1];
const PEER: [u8; 6] = [2, 0, 0, 0, 0, 9];

/// A UDP datagram with `n` bytes of payload, cut every `cut` bytes (a multiple of 8).
fn pieces(n: usize, cut: usize, id: u16) -> (Vec<u8>, Vec<Vec<u8>>) {
    let data: Vec<u8> = (0..n).map(|i| (i * 7 + i / 256) as u8).collect();
    let whole = udp(5000, 6000, &data);
    let mut v = Vec::new();
    for (i, c) in whole.chunks(cut).enumerate() {
        let p = packet_with("10.0.0.9", "10.0.0.1", 17, c, &[], |h| {
            (h.id, h.frag, h.mf) = (id, i * cut, (i + 1) * cut < whole.len());
        });
        v.push(frame(ME, PEER, 0x800, &p));
    }
    (data, v)
}

fn host() -> (Host, iopkt_stack::sockets::SockId, Instant) {
    let mut h = Host::new(1);
    let s = h.udp("10.0.0.1:6000");
    let t = Instant::from_millis(10_000);
    for ms in [1000, 2000, 4000] {
        h.turn(Instant::from_millis(ms), &mut vec![]);
    }
    h.turn(t, &mut vec![]);
    (h, s, t)
}

#[test]
fn large_datagrams_cross_a_wire_that_loses_nothing_in_any_order() {
    for seed in 0..10 {
        let mut w = Wire::pair()
            .seeded(seed, Faults { duplicate: 0.3, jitter: Duration::from_millis(20), ..clean() });
        let (a, b) = (w.hosts[0].udp("10.0.0.1:1"), w.hosts[1].udp("10.0.0.2:2"));
        for n in [1472, 1473, 3000, 9000, 40_000, 65_507] {
            let data: Vec<u8> = (0..n).map(|i| (i ^ (i >> 8)) as u8).collect();
            w.hosts[0].send(a, "10.0.0.2:2", &data).unwrap();
            w.run(200);
            let (_, got) = w.hosts[1].recv(b).unwrap_or_else(|| panic!("seed {seed}: {n} bytes lost"));
            assert!(got == data, "{n} bytes differ");
            while let Some((_, again)) = w.hosts[1].recv(b) {
                assert!(again == data, "a duplicate of {n} bytes differs");
            }
        }
        w.end();
    }
}

#[test]
fn fragments_fit_the_mtu_and_are_cut_at_multiples_of_eight() {
    let mut w = Wire::pair();
    let s = w.hosts[0].udp("10.0.0.1:1");
    w.hosts[0].send(s, "10.0.0.2:2", &[1; 5000]).unwrap();
    w.run(100);
    let f: Vec<Header> =
        w.sent(0, 0x800).iter().map(|f| Header::parse(&f[14..]).unwrap()).filter(|h| h.proto == 17).collect();
    assert_eq!(
        f.iter().map(|h| (h.frag, h.total_len, h.mf)).collect::<Vec<_>>(),
        [(0, 1500, true), (1480, 1500, true), (2960, 1500, true), (4440, 588, false)]
    );
    assert!(f.iter().all(|h| h.id == f[0].id && !h.df));
    assert_eq!(w.hosts[0].s.cx.counters.get(Stat::IpOutFragments), 4);
    w.end();
}

#[test]
fn any_order_and_duplicates_give_the_same_datagram() {
    for seed in 0..200 {
        let (mut h, s, t) = host();
        let mut r = Rng::new(seed);
        let n = 10 + r.below(4000) as usize;
        let (data, mut f) = pieces(n, 8 * (1 + r.below(100) as usize), 3);
        for i in (1..f.len()).rev() {
            f.swap(i, r.below(i as u32 + 1) as usize);
        }
        if f.len() > 160 {
            f.truncate(0); // above the limit of pieces; a test of its own
        }
        for (i, x) in f.iter().enumerate() {
            if i + 1 < f.len() && r.chance(0.3) {
                h.feed(t, x);
            }
            h.feed(t, x);
        }
        if !f.is_empty() {
            assert_eq!(h.recv(s).map(|x| x.1), Some(data), "seed {seed}");
        }
        assert_eq!(h.recv(s), None);
        h.end();
    }
}

#[test]
fn overlaps_end_the_datagram() {
    let over = |frag, mf, n| {
        let p = packet_with("10.0.0.9", "10.0.0.1", 17, &vec![0xee; n], &[], |h| {
            (h.id, h.frag, h.mf) = (3, frag, mf);
        });
        frame(ME, PEER, 0x800, &p)
    };
    let bad = [
        over(400, true, 800),
        over(0, true, 1600),
        over(792, true, 8),
        over(800, false, 800),
        over(1592, true, 16),
    ];
    for (i, bad) in bad.iter().enumerate() {
        let (mut h, s, t) = host();
        let (_, f) = pieces(2000, 800, 3);
        h.feed(t, &f[0]);
        h.feed(t, &f[1]);
        h.feed(t, bad);
        h.feed(t, &f[2]);
        assert!(h.recv(s).is_none(), "case {i}: a mixture must not be delivered");
        assert_eq!(h.drops(Why::BadFragment), 3, "case {i}");
        h.end();
    }
}

#[test]
fn a_piece_beyond_the_end_ends_the_datagram() {
    let (mut h, s, t) = host();
    let (_, f) = pieces(2000, 800, 3);
    h.feed(t, &f[2]); // the last: the length is known
    let p =
        packet_with("10.0.0.9", "10.0.0.1", 17, &[1; 80], &[], |h| (h.id, h.frag, h.mf) = (3, 4000, true));
    h.feed(t, &frame(ME, PEER, 0x800, &p));
    assert_eq!(h.drops(Why::BadFragment), 2);
    h.feed(t, &f[0]);
    h.feed(t, &f[1]);
    assert_eq!(h.recv(s), None);
    h.end();
}

#[test]
fn impossible_fragments_are_refused_one_by_one() {
    let (mut h, _, t) = host();
    let one = |frag, mf, n: usize| {
        let p = packet_with("10.0.0.9", "10.0.0.1", 17, &vec![0; n], &[], |h| {
            (h.id, h.frag, h.mf) = (3, frag, mf)
        });
        frame(ME, PEER, 0x800, &p)
    };
    for f in
        [one(0, true, 0), one(8, false, 0), one(0, true, 15), one(65_528, false, 9), one(65_528, true, 1000)]
    {
        h.feed(t, &f);
    }
    assert_eq!(h.s.cx.counters.get(Stat::IpFragMalformed), 5);
    assert_eq!(h.drops(Why::BadFragment), 5);
    assert_eq!(h.s.deadline(), Instant::FAR, "nothing was kept");
    h.end();
}

#[test]
fn what_is_not_complete_times_out_with_an_answer() {
    let (mut h, s, t) = host();
    let (_, f) = pieces(2000, 800, 3);
    h.feed(t, &f[0]);
    h.feed(t, &f[1]);
    assert!(h.turn(t + Duration::from_millis(29_999), &mut vec![]).is_empty());
    let out = h.turn(t + Duration::from_millis(30_000), &mut vec![]);
    // The peer is asked for first; the error waits for its address.
    assert_eq!(out[0][12..14], [8, 6]);
    assert_eq!(h.drops(Why::ReassemblyTimeout), 2);
    assert_eq!(h.s.cx.counters.icmp_count(ty::TIME_EXCEEDED, true), 1);
    // Without its first fragment nobody is told.
    h.feed(t + Duration::from_secs(40), &f[1]);
    h.turn(t + Duration::from_secs(80), &mut vec![]);
    assert_eq!(h.s.cx.counters.icmp_count(ty::TIME_EXCEEDED, true), 1);
    assert_eq!(h.recv(s), None);
    h.end();
}

#[test]
fn the_limits_hold_and_the_newest_wins() {
    let mut h = Host::with(1, Config { max_reassembly: 8, ..Config::default() });
    h.addr("10.0.0.1", 24);
    let s = h.udp("10.0.0.1:6000");
    let t = Instant::from_millis(10_000);
    h.turn(t, &mut vec![]);
    for id in 0..1000 {
        let (_, f) = pieces(2000, 800, id);
        h.feed(t, &f[0]);
    }
    assert_eq!(h.drops(Why::ReassemblyLimit), 992);
    let (data, f) = pieces(2000, 800, 999);
    h.feed(t, &f[1]);
    h.feed(t, &f[2]);
    assert_eq!(h.recv(s).map(|x| x.1), Some(data));
    // Too many pieces of one datagram.
    let (_, f) = pieces(3000, 8, 5000);
    for x in &f {
        h.feed(t, x);
    }
    assert_eq!(h.recv(s), None);
    // None at all.
    let none = Request::Sysctl { name: "net.inet.ip.maxfragpackets".into(), value: Some("0".into()) };
    assert_eq!(h.ctl(none), Reply::Ok);
    let (_, f) = pieces(2000, 800, 7000);
    for x in &f {
        h.feed(t, x);
    }
    assert_eq!(h.recv(s), None);
    h.end();
}

#[test]
fn different_senders_protocols_and_ids_do_not_mix() {
    let (mut h, s, t) = host();
    let (data, f) = pieces(2000, 800, 3);
    let (_, g) = pieces(2000, 800, 4);
    h.feed(t, &f[0]);
    h.feed(t, &g[1]);
    h.feed(t, &f[2]);
    assert_eq!(h.recv(s), None);
    h.feed(t, &f[1]);
    assert_eq!(h.recv(s).map(|x| x.1), Some(data));
    h.end();
}
