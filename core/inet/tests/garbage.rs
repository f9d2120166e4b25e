//! Anything on the wire: no panic, no leak, every packet ends once, and the host still works afterwards.

mod common;
use common::*;
use iopkt_base::{Duration, Instant, Rng};
use iopkt_stack::Why;
use iopkt_wire::icmp4::ty;
use proptest::prelude::*;

const ME: [u8; 6] = [2, 0, 0, 0, 0, 1];
const PEER: [u8; 6] = [2, 0, 0, 0, 0, 9];

fn works(h: &mut Host, t: Instant) {
    let arp = iopkt_wire::arp::Packet {
        op: 1,
        sha: PEER,
        spa: "10.0.0.9".parse().unwrap(),
        tha: [0; 6],
        tpa: "10.0.0.1".parse().unwrap(),
    };
    h.feed(t, &frame([0xff; 6], PEER, 0x806, &arp.emit()));
    let e = packet("10.0.0.9", "10.0.0.1", 1, &icmp(ty::ECHO, 0, [1, 2, 3, 4], b"alive?"));
    let out = h.feed(t, &frame(ME, PEER, 0x800, &e));
    assert!(
        out.iter().any(|f| f[12..14] == [8, 0] && f[34] == ty::ECHO_REPLY),
        "the host does not answer any more"
    );
}

/// A host with sockets that take things.
fn busy() -> Host {
    let mut h = Host::new(1);
    let s = h.udp("0.0.0.0:7");
    let eth = h.eth;
    h.s.net.join_group(&mut h.s.cx, eth, ip("239.1.2.3")).unwrap();
    h.raw(1);
    h.raw(2);
    h.raw(89);
    let l =
        h.s.sockets
            .socket(&mut h.s.cx, iopkt_stack::Family::V4, iopkt_stack::sockets::SockType::Stream, 6)
            .unwrap();
    h.s.sockets.bind(&mut h.s.cx, &h.s.net, l, sa("0.0.0.0:80")).unwrap();
    h.s.sockets.listen(&mut h.s.cx, l, 5).unwrap();
    let _ = s;
    h
}

#[test]
fn every_truncation_of_good_packets() {
    let mut h = busy();
    let t = Instant::from_millis(20_000);
    let inner = packet_with("10.0.0.1", "10.0.0.9", 17, &udp(7, 7, b"quoted"), &[], |h| h.df = true);
    let good = [
        packet("10.0.0.9", "10.0.0.1", 17, &udp(5, 7, b"hello")),
        packet("10.0.0.9", "10.0.0.1", 1, &icmp(8, 0, [0; 4], b"hello")),
        packet("10.0.0.9", "10.0.0.1", 1, &icmp(3, 4, [0, 0, 3, 0], &inner)),
        packet("10.0.0.9", "10.0.0.1", 1, &icmp(5, 1, [10, 0, 0, 2], &inner)),
        packet_with(
            "10.0.0.9",
            "224.0.0.1",
            2,
            &iopkt_wire::igmp::v3_query(10, [0; 4].into(), 2, 9),
            &[148, 4, 0, 0],
            |h| h.ttl = 1,
        ),
        packet_with(
            "10.0.0.9",
            "10.0.0.1",
            1,
            &icmp(8, 0, [0; 4], b"x"),
            &[68, 12, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0],
            |_| {},
        ),
    ];
    for p in &good {
        for n in 0..=p.len() {
            let mut f = vec![0; 14];
            iopkt_wire::ethernet::Header { dst: ME, src: PEER, ethertype: 0x800 }.emit(&mut f);
            f.extend_from_slice(&p[..n]);
            h.feed(t, &f);
            h.feed(t, &f[..f.len().min(n)]);
        }
    }
    assert!(h.drops(Why::ShortFrame) > 0);
    works(&mut h, t);
    h.end();
}

/// A packet that is good up to a few changed bytes, with its checksums put right, so that deep code is reached.
fn mutated(r: &mut Rng) -> Vec<u8> {
    let inner = packet_with(
        "10.0.0.1",
        "10.0.0.9",
        [1, 6, 17][r.below(3) as usize],
        &udp(7, 80, &[1; 40]),
        &[],
        |h| h.df = r.chance(0.5),
    );
    let random: Vec<u8> = (0..r.below(200)).map(|_| r.next_u16() as u8).collect();
    let body = match r.below(9) {
        0 => udp(r.next_u16(), 7, &random),
        1 => icmp(r.below(20) as u8, r.below(16) as u8, [r.next_u16() as u8; 4], &inner),
        2 => icmp(8, 0, [0; 4], &random),
        3 => iopkt_wire::igmp::v2(
            [0x11, 0x12, 0x16, 0x17][r.below(4) as usize],
            r.next_u16() as u8,
            (0xe000_0000 | r.next_u32() >> 4).into(),
        )
        .to_vec(),
        4 => iopkt_wire::igmp::v3_query(r.next_u16() as u8, [0; 4].into(), 2, 1).to_vec(),
        5 => {
            let mut tcp = vec![0; 20];
            tcp[..2].copy_from_slice(&r.next_u16().to_be_bytes());
            tcp[3] = 80;
            tcp[12] = (5 + r.below(4) as u8) << 4;
            tcp[13] = r.next_u16() as u8;
            tcp.extend_from_slice(&random);
            tcp
        }
        _ => random,
    };
    let options: Vec<u8> = if r.chance(0.3) {
        (0..4 * (1 + r.below(10)))
            .map(|_| [0, 1, 7, 68, 131, 137, 148, 3, 4, 8, 12, r.next_u16() as u8][r.below(12) as usize])
            .collect()
    } else {
        Vec::new()
    };
    let src = ["10.0.0.9", "10.0.0.1", "0.0.0.0", "127.0.0.1", "10.0.0.255", "192.0.2.1"]
        [if r.chance(0.7) { 0 } else { r.below(6) as usize }];
    let dst = ["10.0.0.1", "224.0.0.1", "239.1.2.3", "10.0.0.255", "255.255.255.255", "10.0.0.77"]
        [if r.chance(0.6) { 0 } else { r.below(6) as usize }];
    let proto = [1, 2, 6, 17, 89, 200][r.below(6) as usize];
    let mut p = packet_with(src, dst, proto, &body, &options, |h| {
        h.id = r.below(3) as u16;
        h.ttl = [0, 1, 64, 255][r.below(4) as usize];
        if r.chance(0.3) {
            (h.mf, h.frag) = (r.chance(0.6), 8 * [0, 1, 2, 10, 100, 8190][r.below(6) as usize]);
        }
    });
    for _ in 0..r.below(3) {
        let at = r.below(p.len() as u32) as usize;
        p[at] = r.next_u16() as u8;
    }
    if r.chance(0.7) {
        let hl = (usize::from(p[0] & 15) * 4).min(p.len());
        if hl >= 20 {
            iopkt_wire::ipv4::set_checksum(&mut p[..hl]);
            if p[9] == 1 && p.len() >= hl + 8 {
                p[hl + 2..hl + 4].copy_from_slice(&[0, 0]);
                let c = iopkt_wire::checksum::checksum(&p[hl..]);
                p[hl + 2..hl + 4].copy_from_slice(&c.to_be_bytes());
            }
        }
    }
    let n = p.len() - if r.chance(0.1) { r.below(p.len() as u32) as usize } else { 0 };
    p.truncate(n);
    p
}

#[test]
fn mutated_packets_for_hours() {
    for seed in 0..30 {
        let mut r = Rng::new(seed);
        let mut h = busy();
        let mut t = Instant::from_millis(20_000);
        for _ in 0..1000 {
            let p = mutated(&mut r);
            let mac = [ME, ME, ME, [0xff; 6], [1, 0, 0x5e, 0, 0, 1], PEER][r.below(6) as usize];
            let ethertype =
                if r.chance(0.95) { 0x800 } else { [0x806, 0x86dd, 0x8100, 60][r.below(4) as usize] };
            let mut f = vec![0; 14];
            iopkt_wire::ethernet::Header { dst: mac, src: PEER, ethertype }.emit(&mut f);
            f.extend_from_slice(&p);
            for out in h.feed(t, &f) {
                assert!(out.len() >= 60 && out.len() <= 1514);
                assert_eq!(out[6..12], ME, "only our own address is used as a source");
            }
            t += Duration::from_millis(r.below(2000).into());
        }
        works(&mut h, t);
        h.end();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn random_frames(frames in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..200), 0usize..4), 1..30)) {
        let mut h = busy();
        let t = Instant::from_millis(20_000);
        for (mut f, kind) in frames {
            if kind > 0 && f.len() >= 14 {
                f[..6].copy_from_slice(if kind == 1 { &[0xff; 6] } else { &ME });
                f[6..12].copy_from_slice(&PEER);
                f[12..14].copy_from_slice(if kind == 3 { &[8, 6] } else { &[8, 0] });
            }
            h.feed(t, &f);
        }
        works(&mut h, t);
        h.end();
    }
}
