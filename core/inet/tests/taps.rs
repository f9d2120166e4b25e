//! Taps: what they see, at which place, and that they change nothing.

mod common;

use common::*;
use iopkt_base::{Duration, Errno, Instant};
use iopkt_bpf::{Dialect, Insn, Program};
use iopkt_ctl::{Ifconf, LinkState, Reply, Request, iff};
use iopkt_stack::tap::{Link, Seen, TapConfig, TapId, Towards};
use iopkt_stack::{DevOp, LO0, Why};
use proptest::prelude::*;

const PEER: [u8; 6] = [2, 0, 0, 0, 0, 9];
const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 77];

fn open(h: &mut Host, cfg: TapConfig) -> TapId {
    h.s.tap_open(TapConfig { on: true, ..cfg }).unwrap()
}

fn all(h: &mut Host, t: TapId) -> Vec<(Seen, Vec<u8>)> {
    let tap = h.s.taps.get_mut(t).unwrap();
    let mut v = Vec::new();
    while let Some((s, b)) = tap.first() {
        v.push((*s, b.to_vec()));
        tap.pop();
    }
    v
}

fn echo() -> Vec<u8> {
    frame(
        [2, 0, 0, 0, 0, 1],
        PEER,
        0x800,
        &packet("10.0.0.9", "10.0.0.1", 1, &icmp(8, 0, [0, 1, 0, 1], b"data")),
    )
}

/// Teaches a host where 10.0.0.9 is.
fn meet(h: &mut Host, at: Instant) {
    let arp = iopkt_wire::arp::Packet {
        op: 1,
        sha: PEER,
        spa: [10, 0, 0, 9].into(),
        tha: [0; 6],
        tpa: [10, 0, 0, 1].into(),
    };
    h.feed(at, &frame([0xff; 6], PEER, 0x806, &arp.emit()));
}

fn program(insns: &[(u16, u8, u8, u32)]) -> Program {
    let p = insns.iter().map(|&(code, jt, jf, k)| Insn { code, jt, jf, k }).collect();
    Program::new(p, Dialect::Linux).unwrap()
}

#[test]
fn both_directions_are_seen_as_they_are_on_the_wire() {
    let mut h = Host::new(1);
    let t0 = Instant::from_millis(20_000);
    meet(&mut h, t0);
    let eth = h.eth;
    let both = open(&mut h, TapConfig { ifindex: eth, ..TapConfig::default() });
    let received = open(&mut h, TapConfig { sent: false, ..TapConfig::default() });
    let sent = open(&mut h, TapConfig { received: false, ..TapConfig::default() });
    let elsewhere = open(&mut h, TapConfig { ifindex: LO0, ..TapConfig::default() });
    let off = h.s.tap_open(TapConfig::default()).unwrap();
    let out = h.feed(t0 + Duration::from_millis(5), &echo());
    assert_eq!(out.len(), 1);
    let seen = all(&mut h, both);
    assert_eq!(seen.len(), 2);
    assert_eq!((seen[0].1.clone(), seen[1].1.clone()), (echo(), out[0].clone()));
    assert_eq!((seen[0].0.towards, seen[1].0.towards), (Towards::Host, Towards::Out));
    assert!(
        seen.iter()
            .all(|s| s.0.at == t0 + Duration::from_millis(5) && s.0.ifindex == eth && s.0.protocol == 0x800)
    );
    assert_eq!((seen[0].0.from, seen[1].0.from, seen[0].0.net), (PEER, h.mac, 14));
    assert_eq!(all(&mut h, received).len(), 1);
    assert_eq!(all(&mut h, sent).len(), 1);
    assert_eq!((all(&mut h, elsewhere).len(), all(&mut h, off).len()), (0, 0));
    for t in [both, received, sent, elsewhere, off] {
        h.s.tap_close(t);
    }
    assert!(!h.s.taps.is_open());
    h.end();
}

#[test]
fn frames_of_others_are_seen_and_the_reason_of_a_drop_is_told() {
    let mut h = Host::new(1);
    let t0 = Instant::from_millis(20_000);
    let t = open(&mut h, TapConfig { fate: true, sent: false, ..TapConfig::default() });
    let quiet = open(&mut h, TapConfig { sent: false, ..TapConfig::default() });
    meet(&mut h, t0);
    let mut foreign = echo();
    foreign[..6].copy_from_slice(&OTHER);
    h.feed(t0, &foreign);
    h.feed(t0, &echo());
    h.feed(
        t0,
        &frame([2, 0, 0, 0, 0, 1], PEER, 0x800, &packet("10.0.0.9", "10.0.0.1", 17, &udp(1, 2, b"x"))),
    );
    h.feed(t0, &frame([2, 0, 0, 0, 0, 1], PEER, 0x1234, b"nobody speaks this"));
    h.feed(t0, &[1, 2, 3]);
    let seen = all(&mut h, t);
    let what: Vec<_> = seen.iter().map(|s| (s.0.towards, s.0.why)).collect();
    assert_eq!(
        what,
        [
            (Towards::Broadcast, None),
            (Towards::Other, Some(Why::OtherHost)),
            (Towards::Host, None),
            (Towards::Host, Some(Why::NoSocket)),
            (Towards::Host, Some(Why::UnknownEtherType)),
            (Towards::Host, Some(Why::ShortFrame)),
        ]
    );
    assert!(all(&mut h, quiet).iter().all(|s| s.0.why.is_none()), "only who asks is told");
    h.end();
}

#[test]
fn programs_choose_and_cut_and_what_finds_no_room_is_counted() {
    let mut h = Host::new(1);
    let t0 = Instant::from_millis(20_000);
    meet(&mut h, t0);
    // ICMP only, 40 bytes of it.
    let p = program(&[
        (0x28, 0, 0, 12),
        (0x15, 0, 3, 0x800),
        (0x30, 0, 0, 23),
        (0x15, 0, 1, 1),
        (6, 0, 0, 40),
        (6, 0, 0, 0),
    ]);
    let t = open(
        &mut h,
        TapConfig { program: Some(p), sent: false, room: 3 * (40 + 64), ..TapConfig::default() },
    );
    let snap = open(&mut h, TapConfig { snap: 7, sent: false, ..TapConfig::default() });
    for _ in 0..5 {
        h.feed(t0, &echo());
        h.feed(
            t0,
            &frame([2, 0, 0, 0, 0, 1], PEER, 0x800, &packet("10.0.0.9", "10.0.0.1", 17, &udp(1, 2, b"x"))),
        );
    }
    let s = h.s.taps.get(t).unwrap().stats;
    assert_eq!((s.seen, s.matched, s.dropped), (10, 5, 2));
    let seen = all(&mut h, t);
    assert!(
        seen.len() == 3 && seen.iter().all(|s| s.1 == echo()[..40] && s.0.wire_len as usize == echo().len())
    );
    // Room again, and the memory is used again.
    for _ in 0..50 {
        h.feed(t0, &echo());
        assert_eq!(all(&mut h, t).len(), 1);
    }
    assert_eq!(h.s.taps.get(t).unwrap().stats.dropped, 2);
    assert!(all(&mut h, snap).iter().all(|s| s.1.len() == 7));
    h.end();
}

#[test]
fn loopback_is_seen_once_in_the_shape_that_a_tap_wants() {
    let mut h = Host::new(1);
    let links = [Link::Own, Link::Null, Link::Ethernet, Link::Cooked];
    let taps = links.map(|link| open(&mut h, TapConfig { ifindex: LO0, link, ..TapConfig::default() }));
    let s = h.udp("127.0.0.1:9");
    h.send(s, "127.0.0.1:9", b"to ourselves").unwrap();
    h.turn(Instant::from_millis(20_000), &mut Vec::new());
    assert_eq!(h.recv(s).unwrap().1, b"to ourselves");
    let heads: [&[u8]; 4] = [&[], &2u32.to_ne_bytes(), &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0], &[]];
    for (t, head) in taps.into_iter().zip(heads) {
        let seen = all(&mut h, t);
        assert_eq!(seen.len(), 1);
        let (s, b) = &seen[0];
        assert_eq!((s.towards, s.net as usize), (Towards::Host, head.len()));
        assert!(b.starts_with(head) && b[head.len()] == 0x45 && b.ends_with(b"to ourselves"), "{b:x?}");
        assert_eq!(s.wire_len as usize, b.len());
    }
    h.end();
}

#[test]
fn promiscuous_mode_lasts_as_long_as_somebody_wants_it() {
    let mut h = Host::new(1);
    let eth = h.eth;
    let flags = |h: &mut Host| match h.ctl(Request::Interfaces { name: Some("eth0".into()) }) {
        Reply::Interfaces(l) => l.first().map(|i: &Ifconf| i.flags & iff::PROMISC != 0).unwrap(),
        r => panic!("{r:?}"),
    };
    let filters = |h: &mut Host| -> Vec<bool> {
        let ops = std::mem::take(&mut h.s.cx.dev_ops);
        ops.iter()
            .filter_map(|o| if let DevOp::Filter { promisc, .. } = o { Some(*promisc) } else { None })
            .collect()
    };
    filters(&mut h);
    let (a, b) = (open(&mut h, TapConfig::default()), open(&mut h, TapConfig::default()));
    for t in [a, b] {
        h.s.tap_attach(t, eth).unwrap();
        h.s.tap_promisc(t, true);
        h.s.tap_promisc(t, true);
    }
    assert_eq!((filters(&mut h), flags(&mut h)), (vec![true], true));
    h.s.tap_close(a);
    assert_eq!((filters(&mut h), flags(&mut h)), (vec![], true));
    h.s.tap_attach(b, LO0).unwrap();
    assert_eq!((filters(&mut h), flags(&mut h)), (vec![false], false));
    assert_eq!(h.s.tap_attach(b, 99), Err(Errno::ENXIO));
    // An interface that goes takes its taps' ears with it.
    h.s.tap_attach(b, eth).unwrap();
    h.s.tap_promisc(b, true);
    h.s.detach(eth).unwrap();
    assert!(h.s.taps.get(b).is_some_and(|t| t.gone && !t.cfg.on));
    h.s.tap_close(b);
    h.end();
}

#[test]
fn frames_are_sent_as_they_are_given() {
    let mut h = Host::new(1);
    let eth = h.eth;
    let t = open(&mut h, TapConfig::default());
    h.s.inject(eth, &echo()).unwrap();
    // Beside what the host has to say of its new address.
    let mut out = h.turn(Instant::from_millis(20_000), &mut Vec::new());
    out.retain(|f| f.starts_with(&echo()));
    assert!(out.len() == 1 && out[0].len() == 60, "{out:x?}");
    assert!(all(&mut h, t).iter().any(|s| s.1 == out[0] && s.0.towards == Towards::Out));
    for (bytes, why) in [(vec![0; 13], Errno::EINVAL), (vec![0; 1515], Errno::EMSGSIZE)] {
        assert_eq!(h.s.inject(eth, &bytes), Err(why));
    }
    assert_eq!(h.s.inject(77, &echo()), Err(Errno::ENXIO));
    h.ctl(Request::SetFlags { name: "eth0".into(), set: 0, clear: iff::UP });
    assert_eq!(h.s.inject(eth, &echo()), Err(Errno::ENETDOWN));
    h.end();
}

#[test]
fn a_tun_interface_has_a_carrier_while_its_node_is_open() {
    let mut h = Host::bare(1);
    let made = h.ctl(Request::Create { name: "tun3".into() });
    assert_eq!(made, Reply::Names(vec!["tun3".into()]));
    for (bad, why) in [("tun3", Errno::EEXIST), ("tun", Errno::EINVAL), ("tunnel0", Errno::EINVAL)] {
        let r = h.ctl(Request::Create { name: bad.into() });
        assert!(matches!(r, Reply::Err { errno, .. } if errno == why), "{bad}: {r:?}");
    }
    let i = h.s.net.ifindex_of("tun3");
    let mut a = addr_info("10.7.0.1", 32);
    a.peer = Some(ip("10.7.0.2"));
    assert_eq!(h.ctl(Request::AddAddr { name: "tun3".into(), addr: a, replace: true }), Reply::Ok);
    let s = h.udp("0.0.0.0:5");
    let turn = |h: &mut Host| h.turn(Instant::from_millis(20_000), &mut Vec::new());
    let _ = h.send(s, "10.7.0.2:5", b"early");
    turn(&mut h);
    assert!(h.s.net.iface(i).is_some_and(|i| i.tx.is_empty() && i.link == LinkState::Down));
    h.s.node_opened(i, true);
    h.send(s, "10.7.0.2:5", b"now").unwrap();
    turn(&mut h);
    assert_eq!(h.s.net.iface(i).unwrap().tx.len(), 1);
    // What nobody will read any more is dropped, and counted.
    let before = h.drops(Why::IfDown);
    h.s.node_opened(i, false);
    assert_eq!((h.s.net.iface(i).unwrap().tx.len(), h.drops(Why::IfDown)), (0, before + 1));
    assert_eq!(h.ctl(Request::Destroy { name: "tun3".into() }), Reply::Ok);
    assert_eq!(h.s.net.ifindex_of("tun3"), 0);
    h.end();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// A host that is looked at does what it does when nobody looks.
    #[test]
    fn taps_change_nothing(frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..90), 1..30), k in 0u32..200) {
        let run = |looked_at: bool| {
            let mut h = Host::new(1);
            let t0 = Instant::from_millis(20_000);
            if looked_at {
                open(&mut h, TapConfig { fate: true, ..TapConfig::default() });
                let p = program(&[(0x30, 0, 0, k % 60), (6, 0, 0, k)]);
                open(&mut h, TapConfig { program: Some(p), link: Link::Cooked, room: 500, ..TapConfig::default() });
            }
            meet(&mut h, t0);
            let mut out = Vec::new();
            for (n, f) in frames.iter().enumerate() {
                let mut f = f.clone();
                if n % 2 == 0 && f.len() > 34 {
                    f[..6].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
                    f[12..16].copy_from_slice(&[8, 0, 0x45, 0]);
                }
                out.push(h.feed(t0, &f));
                out.push(h.feed(t0, &echo()));
            }
            let drops: Vec<u64> = Why::ALL.iter().map(|w| h.drops(w.0)).collect();
            h.end();
            (out, drops)
        };
        prop_assert_eq!(run(false), run(true));
    }
}
