//! Offloads through the whole of a host: a device that cuts and sums and one that does neither carry the same bytes, and what a
//! driver says wrongly costs a packet and a count, no more.

mod common;

use common::*;
use iopkt_base::{Duration, Instant};
use iopkt_ctl::{IFCAP_LRO, IFCAP_TCP4CSUM, IFCAP_TSO4, IFCAP_UDP4CSUM, IFCAP_USO4, Request};
use iopkt_mbuf::{Mbuf, flags, gso};
use iopkt_stack::sockets::{SockId, SockType};
use iopkt_stack::{DevOp, Family, IfAttach, Why};

const ALL: u32 = IFCAP_TCP4CSUM | IFCAP_UDP4CSUM | IFCAP_TSO4 | IFCAP_LRO | IFCAP_USO4;

/// A host whose device can do all of `caps`, which are on.
fn able(n: u8, caps: u32) -> Host {
    let mut h = Host::new(n);
    let i = h.s.net.iface_mut(h.eth).unwrap();
    (i.caps_rx, i.caps_tx, i.enabled_rx, i.enabled_tx) = (ALL, ALL, caps, caps);
    h
}

/// Two hosts whose frames pass as they are, marks and all: what a pair of devices with offloads does.
struct Pair {
    a: Host,
    b: Host,
    now: Instant,
    /// Frames that went: their lengths, from the first host.
    lens: Vec<usize>,
    /// Changes a frame on its way to the second host.
    spoil: Option<fn(&mut Mbuf)>,
}

impl Pair {
    fn new(a: Host, b: Host) -> Pair {
        Pair { a, b, now: Instant::from_millis(1000), lens: Vec::new(), spoil: None }
    }

    fn go(&mut self, from_a: bool) -> bool {
        let (x, y) = if from_a { (&mut self.a, &mut self.b) } else { (&mut self.b, &mut self.a) };
        x.s.begin(self.now);
        x.s.turn();
        let mut v = Vec::new();
        x.s.take_frames(x.eth, &mut v);
        let some = !v.is_empty();
        let mut over = Vec::new();
        for m in v {
            if from_a {
                self.lens.push(m.len());
            }
            let mut c = y.s.cx.copy(&m).unwrap();
            if let (true, Some(f)) = (from_a && m.len() > 200, self.spoil) {
                f(&mut c);
            }
            over.push(c);
        }
        y.s.begin(self.now);
        y.s.input(y.eth, &mut over);
        some
    }

    /// Until neither has anything to say, timers up to `ms` included.
    fn run(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        loop {
            while self.go(true) | self.go(false) {}
            let next = self.a.s.deadline().min(self.b.s.deadline()).max(self.now);
            if next > end {
                break;
            }
            self.now = next;
        }
        self.now = end;
    }
}

fn connect(p: &mut Pair) -> (SockId, SockId) {
    let l = p.b.s.sockets.socket(&mut p.b.s.cx, Family::V4, SockType::Stream, 6).unwrap();
    p.b.s.sockets.bind(&mut p.b.s.cx, &p.b.s.net, l, sa("0.0.0.0:80")).unwrap();
    p.b.s.sockets.listen(&mut p.b.s.cx, l, 8).unwrap();
    let c = p.a.s.sockets.socket(&mut p.a.s.cx, Family::V4, SockType::Stream, 6).unwrap();
    p.a.s.begin(p.now);
    let _ = p.a.s.sockets.connect(&mut p.a.s.cx, &mut p.a.s.net, c, Some(sa("10.0.0.2:80")));
    p.run(10);
    let s = p.b.s.sockets.accept(&mut p.b.s.cx, l).unwrap().0;
    (c, s)
}

/// Sends `n` bytes from the first to the second and compares them.
fn transfer(p: &mut Pair, n: usize) {
    let (c, s) = connect(p);
    let data: Vec<u8> = (0..n).map(|i| (i % 251) as u8 ^ (i >> 11) as u8).collect();
    let (mut sent, mut got) = (0, Vec::new());
    for _ in 0..100_000 {
        if let Ok(k) = p.a.s.sockets.write(&mut p.a.s.cx, c, &data[sent..]) {
            sent += k;
        }
        p.run(1);
        let mut slices: [&[u8]; 64] = [&[]; 64];
        let k = p.b.s.sockets.peek(s, &mut slices).unwrap_or(0);
        let len = slices[..k]
            .iter()
            .map(|x| {
                got.extend_from_slice(x);
                x.len()
            })
            .sum();
        p.b.s.sockets.consume(&mut p.b.s.cx, s, len);
        if got.len() >= n {
            break;
        }
    }
    assert_eq!(got.len(), n, "sent {sent}");
    assert!(got == data, "the bytes are the bytes that were sent");
    for (h, id) in [(&mut p.a, c), (&mut p.b, s)] {
        h.s.sockets.close(&mut h.s.cx, &mut h.s.net, id, false);
    }
}

#[test]
fn all_combinations_of_devices_carry_the_same_bytes() {
    let some = [ALL, 0, IFCAP_TCP4CSUM, ALL & !IFCAP_TSO4];
    for tx in some {
        for rx in some {
            let mut p = Pair::new(able(1, tx), able(2, rx));
            transfer(&mut p, 700_001);
            let most = p.lens.iter().max().copied().unwrap_or(0);
            assert_eq!(most > 1514, tx & IFCAP_TSO4 != 0, "{tx:#x} {rx:#x}: largest frame {most}");
            assert!(most <= 14 + 65_535);
            assert_eq!(p.b.drops(Why::BadOffload) + p.a.drops(Why::BadOffload), 0);
            drop(p);
        }
    }
}

#[test]
fn capabilities_can_change_under_a_connection() {
    let mut p = Pair::new(able(1, ALL), able(2, 0));
    let (c, s) = connect(&mut p);
    let mut total = 0;
    for tx in [ALL, 0, IFCAP_TCP4CSUM, ALL] {
        let r = Request::SetCaps { name: "eth0".into(), rx: 0, tx };
        assert_eq!(p.a.ctl(r), iopkt_ctl::Reply::Ok);
        assert!(p.a.s.cx.dev_ops.contains(&DevOp::Caps { ifindex: p.a.eth, rx: 0, tx }));
        p.a.s.cx.dev_ops.clear();
        total += p.a.s.sockets.write(&mut p.a.s.cx, c, &[9; 50_000]).unwrap();
        p.run(300);
        let mut slices: [&[u8]; 64] = [&[]; 64];
        let k = p.b.s.sockets.peek(s, &mut slices).unwrap();
        let n: usize = slices[..k].iter().map(|x| x.len()).sum();
        p.b.s.sockets.consume(&mut p.b.s.cx, s, n);
        total -= n;
        assert_eq!(total, 0, "with {tx:#x}");
    }
}

#[test]
fn a_device_may_have_them_on_from_the_start() {
    let mut h = Host::bare(1);
    let a = IfAttach {
        caps_rx: ALL,
        caps_tx: IFCAP_TSO4,
        caps_on: true,
        ..IfAttach::ethernet("x", [2, 0, 0, 0, 1, 1])
    };
    let i = h.s.attach(a).unwrap();
    let ifc = h.s.net.iface(i).unwrap();
    assert_eq!((ifc.enabled_rx, ifc.enabled_tx), (ALL, IFCAP_TSO4));
    assert!(
        h.s.cx.dev_ops.contains(&DevOp::Caps { ifindex: i, rx: ALL, tx: IFCAP_TSO4 }),
        "the driver is told"
    );
    h.end();
}

/// A frame with a datagram of `data`, whose checksum field is `sum`.
fn datagram(h: &Host, data: &[u8], sum: u16) -> Vec<u8> {
    let mut u = udp(999, 7, data);
    u[6..8].copy_from_slice(&sum.to_be_bytes());
    frame(h.mac, [2, 0, 0, 0, 0, 9], 0x0800, &packet("10.0.0.9", "10.0.0.1", 17, &u))
}

fn feed(h: &mut Host, b: &[u8], mark: impl FnOnce(&mut Mbuf)) {
    let mut m = h.mbuf(b);
    mark(&mut m);
    h.turn(Instant::from_millis(2000), &mut vec![m]);
}

#[test]
fn a_wrong_checksum_is_believed_only_with_the_mark_and_the_capability() {
    for (caps, mark, good) in [
        (0, 0, false),
        (ALL, 0, false),
        (ALL, flags::CSUM_OK, true),
        (ALL & !IFCAP_UDP4CSUM, flags::CSUM_OK, false),
        (0, flags::CSUM_PARTIAL, true),
    ] {
        let mut h = able(1, caps);
        let s = h.udp("0.0.0.0:7");
        // Odd lengths too.
        for data in [&b"abc"[..], b"abcd", &[7; 1001]] {
            let f = datagram(&h, data, 0x1234);
            feed(&mut h, &f, |m| {
                m.set_csum_partial(34, 6);
                m.clear_flags(flags::CSUM_PARTIAL);
                m.set_flags(mark);
            });
            assert_eq!(h.recv(s).map(|r| r.1), good.then(|| data.to_vec()), "{caps:#x} {mark:#x}");
        }
        assert_eq!(h.drops(Why::BadTransportChecksum), if good { 0 } else { 3 });
        h.end();
    }
}

#[test]
fn a_datagram_without_checksum_needs_no_mark() {
    let mut h = able(1, ALL);
    let s = h.udp("0.0.0.0:7");
    for mark in [0, flags::CSUM_OK] {
        let f = datagram(&h, b"x", 0);
        feed(&mut h, &f, |m| m.set_flags(mark));
        assert_eq!(h.recv(s).unwrap().1, b"x");
    }
    h.end();
}

/// A mark says nothing about the whole when it is on a piece.
#[test]
fn fragments_are_summed_whatever_they_say() {
    let mut h = able(1, ALL);
    let s = h.udp("0.0.0.0:7");
    let mut u = udp(999, 7, &[5; 100]);
    u[6..8].copy_from_slice(&[0x12, 0x34]);
    for (at, mf) in [(0, true), (64, false)] {
        let piece = if mf { &u[..64] } else { &u[64..] };
        let p = packet_with("10.0.0.9", "10.0.0.1", 17, piece, &[], |h| (h.mf, h.frag) = (mf, at));
        let f = frame(h.mac, [2, 0, 0, 0, 0, 9], 0x0800, &p);
        feed(&mut h, &f, |m| m.set_flags(flags::CSUM_OK));
    }
    assert_eq!((h.recv(s), h.drops(Why::BadTransportChecksum)), (None, 1));
    h.end();
}

#[test]
fn a_driver_that_lies_is_contained_and_counted() {
    let mut h = able(1, ALL);
    let s = h.udp("0.0.0.0:7");
    let good = datagram(&h, &[1; 300], 0);
    type Lie = fn(&mut Mbuf);
    let lies: [Lie; 8] = [
        |m| m.set_csum_partial(60_000, 6),
        |m| m.set_csum_partial(65_535, 65_535),
        |m| m.set_csum_partial(0, 0),
        |m| {
            m.set_csum_partial(34, 6);
            m.set_gso(gso::UDP, 0)
        },
        |m| {
            m.set_csum_partial(34, 6);
            m.set_gso(gso::TCP4, 100)
        },
        |m| {
            m.set_csum_partial(34, 6);
            m.set_gso(99, 100)
        },
        |m| m.set_gso(gso::UDP, 100),
        |m| {
            m.set_csum_partial(34, 6);
            m.set_gso(gso::UDP, 100);
            m.truncate(40)
        },
    ];
    for (i, lie) in lies.iter().enumerate() {
        feed(&mut h, &good, lie);
        assert_eq!((h.recv(s), h.drops(Why::BadOffload)), (None, i as u64 + 1), "lie {i}");
        assert_eq!(h.s.net.iface(h.eth).unwrap().counters.ierrors, i as u64 + 1);
    }
    feed(&mut h, &good, |_| {});
    assert_eq!(h.recv(s).unwrap().1, [1; 300], "and it goes on");
    // A length in the IP header that is larger than what there is.
    let mut long = good.clone();
    long[16..18].copy_from_slice(&65_535u16.to_be_bytes());
    feed(&mut h, &long, |m| {
        m.set_csum_partial(34, 6);
        m.set_gso(gso::UDP, 10)
    });
    assert_eq!((h.recv(s), h.drops(Why::BadOffload)), (None, 9));
    h.end();
}

#[test]
fn a_super_segment_of_datagrams_arrives_as_datagrams() {
    let mut h = able(1, ALL);
    let s = h.udp("0.0.0.0:7");
    let data: Vec<u8> = (0..2501u32).map(|i| i as u8).collect();
    let f = datagram(&h, &data, 0x1111);
    feed(&mut h, &f, |m| {
        m.set_csum_partial(34, 6);
        m.set_gso(gso::UDP, 1000);
    });
    let got: Vec<Vec<u8>> = std::iter::from_fn(|| h.recv(s)).map(|r| r.1).collect();
    assert_eq!(got, data.chunks(1000).map(<[u8]>::to_vec).collect::<Vec<_>>());
    h.end();
}

/// Segments that came in one batch and were joined must not hide one that was damaged.
#[test]
fn a_damaged_segment_in_a_train_costs_that_segment() {
    fn flip(m: &mut Mbuf) {
        // One in so many bytes of payload decides: deterministic, and rare enough to get through.
        let b = m.as_mut_slice();
        let last = b.len() - 1;
        if b[last].is_multiple_of(64) {
            b[last] ^= 1;
        }
    }
    let mut p = Pair::new(able(1, 0), able(2, 0));
    p.spoil = Some(flip);
    // The retransmission of a spoiled segment ends in the same byte, unless it is cut elsewhere; so stop spoiling then.
    let (c, s) = connect(&mut p);
    let data: Vec<u8> = (0..100_000u32).map(|i| ((i * 7) >> 3) as u8).collect();
    let sent = p.a.s.sockets.write(&mut p.a.s.cx, c, &data).unwrap();
    p.run(5);
    p.spoil = None;
    p.run(5000);
    let mut slices: [&[u8]; 64] = [&[]; 64];
    let k = p.b.s.sockets.peek(s, &mut slices).unwrap();
    let got = slices[..k].concat();
    assert!(got.len() <= sent && got == data[..got.len()], "what is delivered is right");
    assert!(p.b.s.sockets.peek(s, &mut slices).is_ok() && got.len() > 10_000, "and it went on");
}
