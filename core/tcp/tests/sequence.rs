//! Sequence numbers that wrap, timestamps that protect them, data out of order.

mod common;
use common::{Net, bad, pattern, plain, raw};
use iopkt_base::{Duration, Instant};
use iopkt_tcp::{Config, Fate, Seq, Tcb};
use iopkt_wire::tcp::{Flags, Timestamps};

#[test]
fn streams_cross_the_wrap() {
    // [RFC9293 3.4]
    for (k, before) in [0u32, 1, 1447, 1448, 5000, 30_000, 59_999].into_iter().enumerate() {
        let mut n = Net::new(k as u64, Config::default(), Config::default());
        n.ends[0].iss = Seq(0u32.wrapping_sub(before));
        n.ends[1].iss = Seq(0x8000_0000u32.wrapping_sub(before));
        n.ends[1].listening = true;
        n.set_links(bad(0.05));
        n.connect(0);
        let (x, y) = (pattern(60_000, 1), pattern(60_000, 2));
        n.send(0, &x);
        n.send(1, &y);
        for e in &mut n.ends {
            e.close_after = true;
        }
        n.ends[1].to_write = y;
        assert!(n.run_until(Duration::from_secs(3600), |n| n.all_read()), "{before}");
        n.check_prefixes();
    }
}

#[test]
fn paws_drops_old_segments_that_fit_the_window() {
    // [RFC7323 5.3-R1]
    let mut n = Net::connected(1, Config::default());
    n.send(1, &pattern(3000, 1));
    n.run(Duration::from_secs(1));
    let last = n.seen.iter().rev().find(|s| s.from == 1).expect("some").h;
    let seq = n.ends[1].iss + 3001;
    let ts = last.options.timestamps.expect("on");
    let mut s = raw(seq, n.ends[0].iss + 1, Flags::ACK | Flags::PSH);
    s.payload = (b"old", &[]);
    s.options.timestamps = Some(Timestamps { val: ts.val.wrapping_sub(1000), ecr: ts.ecr });
    n.inject(1, &s);
    n.run(Duration::from_millis(50));
    assert_eq!(n.ends[0].got.len(), 3000);
    assert_eq!(n.tcb(0).stats().paws, 1);
    s.options.timestamps = Some(Timestamps { val: ts.val.wrapping_add(1), ecr: ts.ecr });
    n.inject(1, &s);
    n.run(Duration::from_millis(50));
    assert_eq!(n.ends[0].got.len(), 3003);
}

#[test]
fn a_timestamp_from_outside_the_window_poisons_nothing() {
    // [RFC7323 4.3]
    let mut n = Net::connected(2, Config::default());
    let mut s = raw(n.ends[1].iss - 100_000, n.ends[0].iss + 1, Flags::ACK);
    s.options.timestamps = Some(Timestamps { val: 0x7000_0000, ecr: 0 });
    n.inject(1, &s);
    n.run(Duration::from_millis(50));
    n.send(1, b"still here");
    n.run(Duration::from_millis(100));
    assert_eq!(n.ends[0].got, b"still here");
}

#[test]
fn segments_without_the_agreed_timestamps_are_dropped() {
    // [RFC7323 3.2]
    let mut n = Net::connected(3, Config::default());
    let mut s = raw(n.ends[1].iss + 1, n.ends[0].iss + 1, Flags::ACK | Flags::PSH);
    s.payload = (b"who?", &[]);
    n.inject(1, &s);
    n.run(Duration::from_millis(50));
    assert!(n.ends[0].got.is_empty());
}

#[test]
fn timestamps_older_than_24_days_count_for_nothing() {
    // [RFC7323 5.5]
    let mut n = Net::connected(4, Config::default());
    n.send(1, b"a");
    n.run(Duration::from_secs(1));
    // 25 days and more later the peer's clock has gone more than half round.
    n.now += Duration::from_secs(40 * 86_400);
    n.send(1, b"b");
    n.run(Duration::from_secs(1));
    assert_eq!(n.ends[0].got, b"ab");
    assert_eq!(n.tcb(0).stats().paws, 0);
}

fn receiver(cfg: &Config) -> (Net, Tcb) {
    let n = Net::new(5, *cfg, *cfg);
    let syn = iopkt_tcp::Segment { seq: Seq(999), flags: Flags::SYN, window: 65535, ..Default::default() };
    let mut t = Tcb::accept(n.now, cfg, Seq(0), &syn);
    t.output(n.now, &mut |_: &iopkt_tcp::SegOut<'_>| true);
    (n, t)
}

fn feed(n: &mut Net, t: &mut Tcb, seq: u32, data: &[u8]) -> iopkt_tcp::Outcome {
    let s = iopkt_tcp::Segment {
        seq: Seq(seq),
        ack: Seq(1),
        flags: Flags::ACK,
        window: 65535,
        ..Default::default()
    };
    let m = n.cache.copy_of(data).expect("memory");
    let o = t.input(n.now, &s, m);
    t.output(n.now, &mut |_: &iopkt_tcp::SegOut<'_>| true);
    o
}

#[test]
fn any_order_and_overlap_gives_the_same_stream() {
    for seed in 0..200u64 {
        let (mut n, mut t) = receiver(&plain());
        let data = pattern(5000, seed);
        let mut r = iopkt_base::Rng::new(seed);
        let mut got = 0;
        for round in 0..4000 {
            let from = (r.below(5200) as usize).saturating_sub(200);
            let len = 1 + r.below(900) as usize;
            let to = (from + len).min(5000);
            feed(&mut n, &mut t, 1000 + from as u32, &data[from..to]);
            got = t.readable();
            if got == 5000 || round == 3999 {
                break;
            }
        }
        assert_eq!(got, 5000, "seed {seed}");
        let mut slots: [&[u8]; 512] = [&[]; 512];
        let k = t.peek(&mut slots);
        assert_eq!(slots[..k].concat(), data, "seed {seed}");
    }
}

#[test]
fn sack_blocks_report_the_newest_first() {
    // [RFC2018 3-first]
    // [RFC2018 4]
    let cfg = plain();
    let n = Net::new(5, cfg, cfg);
    let mut syn =
        iopkt_tcp::Segment { seq: Seq(999), flags: Flags::SYN, window: 65535, ..Default::default() };
    syn.options.sack_permitted = true;
    let mut t = Tcb::accept(n.now, &cfg, Seq(0), &syn);
    t.output(n.now, &mut |_: &iopkt_tcp::SegOut<'_>| true);
    let mut n = n;
    let mut last = |from: u32, len: usize| {
        let s = iopkt_tcp::Segment {
            seq: Seq(from),
            ack: Seq(1),
            flags: Flags::ACK,
            window: 65535,
            ..Default::default()
        };
        let m = n.cache.copy_of(&[1; 100][..len]).expect("memory");
        t.input(n.now, &s, m);
        let mut blocks = Vec::new();
        t.output(n.now, &mut |s: &iopkt_tcp::SegOut<'_>| {
            blocks = s.options.sack.as_slice().to_vec();
            true
        });
        blocks
    };
    assert_eq!(last(1100, 50), [(1100, 1150)]);
    assert_eq!(last(1300, 50), [(1300, 1350), (1100, 1150)]);
    assert_eq!(last(1200, 50), [(1200, 1250), (1300, 1350), (1100, 1150)]);
    // A block that grows is the newest, and carries its whole range.
    assert_eq!(last(1150, 20), [(1100, 1170), (1200, 1250), (1300, 1350)]);
    assert_eq!(last(1170, 30), [(1100, 1250), (1300, 1350)]);
    assert_eq!(last(1000, 100), [(1300, 1350)]);
}

#[test]
fn what_is_kept_out_of_order_is_bounded() {
    let cfg = Config { rcvbuf: 64 * 1024, rcvbuf_max: 64 * 1024, ..plain() };
    let (mut n, mut t) = receiver(&cfg);
    let mut refused = 0;
    for i in 0..30_000u32 {
        // Every second byte: nothing can be joined.
        let o = feed(&mut n, &mut t, 1001 + 2 * i, &[i as u8]);
        refused += u32::from(o.fate == Fate::NoRoom);
    }
    n.cache = n.pool.cache(0);
    assert!(refused > 25_000);
    assert!(n.pool.stats().out <= 72, "{} buffers", n.pool.stats().out);
}

#[test]
fn a_stream_of_single_bytes_pins_few_buffers() {
    let cfg = Config { rcvbuf: 64 * 1024, rcvbuf_max: 64 * 1024, ..plain() };
    let (mut n, mut t) = receiver(&cfg);
    for i in 0..60_000u32 {
        feed(&mut n, &mut t, 1000 + i, &[i as u8]);
    }
    assert_eq!(t.readable(), 60_000);
    n.cache = n.pool.cache(0);
    assert!(n.pool.stats().out < 60, "{} buffers", n.pool.stats().out);
}

#[test]
fn more_than_the_window_is_cut_off() {
    // [RFC9293 3.10.7.4f]
    let cfg = Config { rcvbuf: 1000, rcvbuf_max: 1000, ..plain() };
    let (mut n, mut t) = receiver(&cfg);
    feed(&mut n, &mut t, 1000, &[1; 1460]);
    assert_eq!(t.readable(), 1000);
    feed(&mut n, &mut t, 2000, &[1; 100]);
    assert_eq!(t.readable(), 1000);
}

#[test]
fn data_outside_the_window_is_answered_but_not_kept() {
    // [RFC9293 3.10.7.4a]
    let (mut n, mut t) = receiver(&plain());
    feed(&mut n, &mut t, 1000, b"abc");
    for seq in [900, 1003 + (1 << 20), 1000] {
        let s = iopkt_tcp::Segment {
            seq: Seq(seq),
            ack: Seq(1),
            flags: Flags::ACK,
            window: 65535,
            ..Default::default()
        };
        let m = n.cache.copy_of(b"xyz").expect("memory");
        let o = t.input(n.now, &s, m);
        assert_eq!(o.fate, Fate::Old);
        assert!(o.spare.is_some());
        let mut acks = Vec::new();
        t.output(n.now, &mut |s: &iopkt_tcp::SegOut<'_>| {
            acks.push(s.ack);
            true
        });
        assert_eq!(acks, [Seq(1003)]);
    }
    assert_eq!(t.readable(), 3);
}

#[test]
fn a_fin_out_of_order_waits_for_what_is_missing() {
    let (mut n, mut t) = receiver(&plain());
    let s = iopkt_tcp::Segment {
        seq: Seq(1003),
        ack: Seq(1),
        flags: Flags::ACK | Flags::FIN,
        window: 65535,
        ..Default::default()
    };
    let m = n.cache.copy_of(b"def").expect("memory");
    t.input(n.now, &s, m);
    assert!(!t.at_eof());
    let o = feed(&mut n, &mut t, 1000, b"abc");
    assert!(o.has(iopkt_tcp::what::FIN | iopkt_tcp::what::READABLE));
    t.consume(6, drop);
    assert!(t.at_eof());
}

#[test]
fn long_streams_keep_their_marks() {
    // More than 2^32 bytes without a loss, then a loss: marks of old must not look like the future.
    let cfg = Config {
        sndbuf: 8 << 20,
        rcvbuf: 8 << 20,
        rcvbuf_max: 8 << 20,
        tso_max: 64_000,
        mss_in: 65_483,
        mss_path: 65_483,
        ..Config::default()
    };
    let (mut a, mut b) = (Tcb::connect(Instant::ZERO, &cfg, Seq(1)), None::<Tcb>);
    let mut n = Net::new(7, cfg, cfg);
    let chunk = vec![7u8; 1 << 20];
    let (mut now, mut total, mut lost) = (Instant::ZERO, 0u64, false);
    let seg = |s: &iopkt_tcp::SegOut<'_>| iopkt_tcp::Segment {
        seq: s.seq,
        ack: s.ack,
        flags: s.flags,
        window: s.window,
        options: s.options,
        ..Default::default()
    };
    while total < (5 << 30) {
        now += Duration::from_millis(1);
        let _ = a.write(&chunk);
        let mut to_b = Vec::new();
        a.output(now, &mut |s: &iopkt_tcp::SegOut<'_>| {
            to_b.push((seg(s), s.payload_len()));
            true
        });
        if total > (4 << 30) + (1 << 29) && to_b.len() > 4 && !lost {
            to_b.remove(0);
            lost = true;
        }
        for (s, len) in to_b {
            let mut m = n.cache.alloc_len(len).expect("memory");
            m.append(len);
            match &mut b {
                None => b = Some(Tcb::accept(now, &cfg, Seq(9), &s)),
                Some(b) => {
                    let o = b.input(now, &s, m);
                    if let Some(m) = o.spare {
                        n.cache.free(m);
                    }
                }
            }
        }
        let Some(b) = &mut b else { continue };
        let r = b.readable();
        total += r as u64;
        b.consume(r, drop);
        let mut to_a = Vec::new();
        b.output(now, &mut |s: &iopkt_tcp::SegOut<'_>| {
            to_a.push(seg(s));
            true
        });
        for s in to_a {
            let m = n.cache.alloc().expect("memory");
            a.input(now, &s, m);
        }
        for t in [&mut a, b] {
            if t.deadline() <= now {
                t.tick(now);
            }
        }
    }
    assert!(a.stats().retransmits > 0 && a.stats().timeouts == 0, "{:?}", a.stats());
}
