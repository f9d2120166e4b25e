//! Flow control: zero windows and probes, silly windows, scaling.

mod common;
use common::{Faults, Net, clean, pattern};
use iopkt_base::{Duration, Errno};
use iopkt_tcp::{Config, State, what};
use iopkt_wire::tcp::Flags;

fn small() -> Config {
    Config { rcvbuf: 20_000, rcvbuf_max: 20_000, ..Config::default() }
}

#[test]
fn a_full_receiver_stops_the_sender_and_a_read_starts_it() {
    // [RFC9293 MAY-8] [RFC9293 SHLD-14]
    let mut n = Net::connected(1, small());
    n.ends[1].reads = false;
    let data = pattern(100_000, 1);
    n.send(0, &data);
    n.run(Duration::from_secs(3));
    assert_eq!(n.tcb(1).readable(), 20_000);
    let in_flight = n.count(0, |s| s.len > 0);
    n.run(Duration::from_millis(100));
    assert_eq!(n.count(0, |s| s.len > 0), in_flight);
    n.ends[1].reads = true;
    n.read(1, 20_000);
    assert!(n.run_until(Duration::from_secs(60), |n| n.ends[1].got.len() == 100_000));
    assert_eq!(n.ends[1].got, data);
}

#[test]
fn zero_windows_are_probed_with_growing_pauses_for_ever() {
    // [RFC9293 MUST-35] [RFC9293 MUST-36] [RFC9293 SHLD-29] [RFC9293 SHLD-30]
    // [RFC9293 MUST-37]
    let mut n = Net::connected(2, small());
    n.ends[1].reads = false;
    n.send(0, &pattern(50_000, 1));
    n.run(Duration::from_secs(3600 * 4));
    assert_eq!(n.state(0), State::Established, "a peer that answers keeps the connection");
    let probes: Vec<u64> =
        n.seen.iter().filter(|s| s.from == 0 && s.len == 1).map(|s| s.at.as_millis()).collect();
    assert!(probes.len() > 100);
    let gaps: Vec<u64> = probes.windows(2).map(|w| w[1] - w[0]).collect();
    assert!(gaps.is_sorted() && *gaps.last().expect("some") == 60_000, "{gaps:?}");
    // The update got lost: only a probe can find out that the window is open.
    n.filter = Some(Box::new({
        let mut k = 0;
        move |from, _, _| {
            k += u32::from(from == 1);
            from == 1 && k == 1
        }
    }));
    n.ends[1].reads = true;
    n.read(1, 20_000);
    assert!(n.run_until(Duration::from_secs(120), |n| n.ends[1].got.len() == 50_000));
    n.check_prefixes();
}

#[test]
fn probes_without_any_answer_end_it() {
    let mut n = Net::connected(3, small());
    n.ends[1].reads = false;
    n.send(0, &pattern(50_000, 1));
    n.run(Duration::from_secs(10));
    n.links[0].faults = Faults { loss: 1.0, ..clean() };
    n.run(Duration::from_secs(3600));
    assert_eq!(n.ends[0].error, Some(Errno::ETIMEDOUT));
}

#[test]
fn an_orphan_does_not_probe_for_ever() {
    let mut n = Net::connected(4, small());
    n.ends[1].reads = false;
    n.send(0, &pattern(50_000, 1));
    n.run(Duration::from_secs(10));
    n.close(0);
    n.run(Duration::from_secs(3600));
    assert!(n.ends[0].gone);
}

#[test]
fn the_receiver_opens_the_window_in_worthwhile_steps() {
    // [RFC9293 MUST-39]
    let mut n = Net::connected(5, small());
    n.ends[1].reads = false;
    n.send(0, &pattern(100_000, 1));
    n.run(Duration::from_secs(5));
    let before = n.count(1, |_| true);
    for _ in 0..100 {
        n.read(1, 10);
    }
    assert_eq!(n.count(1, |_| true), before, "1000 bytes of room are not announced");
    n.read(1, 3000);
    assert_eq!(n.count(1, |_| true), before + 1);
    n.run(Duration::from_millis(50));
    let sizes: Vec<usize> = n.seen.iter().filter(|s| s.from == 0 && s.len > 1).map(|s| s.len).collect();
    let odd = sizes.iter().filter(|s| **s < 1448).count();
    assert!(odd <= 2, "{sizes:?}");
}

#[test]
fn the_sender_does_not_fill_crumbs_of_window() {
    // [RFC9293 MUST-38]
    let mut n = Net::connected(6, Config { nodelay: true, ..small() });
    n.ends[1].reads = false;
    n.send(0, &pattern(19_000, 1));
    n.run(Duration::from_secs(1));
    assert_eq!(n.tcb(1).readable(), 19_000);
    // 1000 bytes of window are left, and more data than that: neither a segment nor half the window.
    let before = n.count(0, |s| s.len > 0);
    n.send(0, &pattern(5_000, 2));
    n.run(Duration::from_millis(100));
    assert_eq!(n.count(0, |s| s.len > 0), before);
    // The override timer sends what fits after a while.
    n.run(Duration::from_secs(2));
    assert!(n.count(0, |s| s.len > 0) > before);
}

#[test]
fn large_windows_are_used_with_scaling() {
    // [RFC9293 MUST-1] [RFC9293 REC-1]
    // [RFC7323 2.3]
    let cfg = Config { rcvbuf: 1 << 20, sndbuf: 1 << 20, ..Config::default() };
    let mut n = Net::connected(7, cfg);
    n.set_links(Faults { delay: Duration::from_millis(100), ..clean() });
    n.send(0, &pattern(3 << 20, 1));
    let mut most = 0;
    while n.ends[1].got.len() < 3 << 20 && n.step() {
        let now = n.now;
        most = most.max(n.tcb(0).info(now).queued.0);
    }
    assert!(most > 300_000, "{most} bytes in flight at most");
    let t = n.now;
    assert!(n.tcb(1).info(t).scale.1 == 7);
}

#[test]
fn without_scaling_64_kib_is_the_limit() {
    // [RFC9293 MUST-1]
    let cfg = Config { rcvbuf: 1 << 20, sndbuf: 1 << 20, window_scaling: false, ..Config::default() };
    let mut n = Net::connected(8, cfg);
    n.set_links(Faults { delay: Duration::from_millis(100), ..clean() });
    n.send(0, &pattern(1 << 20, 1));
    let mut most = 0;
    while n.ends[1].got.len() < 1 << 20 && n.step() {
        let now = n.now;
        most = most.max(n.tcb(0).info(now).queued.0);
    }
    assert!((60_000..=65_535).contains(&most), "{most}");
}

#[test]
fn a_huge_shift_counts_as_14() {
    // [RFC7323 2.3-14]
    let mut n = Net::new(9, Config::default(), Config::default());
    n.connect(0);
    n.filter = Some(Box::new(|from, _, _| from == 0));
    let mut s = common::raw(iopkt_tcp::Seq(1), n.ends[0].iss + 1, iopkt_wire::tcp::Flags(0x12));
    s.options.window_scale = Some(200);
    n.inject(1, &s);
    n.run(Duration::from_millis(50));
    let now = n.now;
    assert_eq!(n.tcb(0).info(now).scale.0, 14);
}

#[test]
fn an_old_ack_does_not_change_the_window() {
    // [RFC9293 3.10.7.4e]
    let mut n = Net::connected(11, common::plain());
    n.send(0, &pattern(5_000, 1));
    n.run(Duration::from_secs(1));
    let now = n.now;
    let before = n.tcb(0).info(now).snd_wnd;
    let (seq, ack) = (n.ends[1].iss + 1, n.ends[0].iss + 1);
    let mut s = common::raw(seq, ack + 100, iopkt_wire::tcp::Flags::ACK);
    s.window = 0;
    n.inject(1, &s);
    n.run(Duration::from_millis(50));
    assert_eq!(n.tcb(0).info(now).snd_wnd, before);
    s.ack = ack + 5_000;
    n.inject(1, &s);
    n.run(Duration::from_millis(50));
    assert_eq!(n.tcb(0).info(now).snd_wnd, 0);
}

#[test]
fn bytes_held_downstream_count_against_the_window() {
    let mut n = Net::connected(10, small());
    n.send(0, &pattern(10_000, 1));
    n.run(Duration::from_secs(1));
    n.tcb(1).set_held(10_000);
    n.send(0, &pattern(30_000, 2));
    n.ends[1].reads = false;
    n.run(Duration::from_millis(800));
    assert!(n.tcb(1).readable() <= 20_000, "what was offered before may still come");
    n.read(1, 20_000);
    n.run(Duration::from_millis(100));
    let now = n.now;
    assert!(n.tcb(1).info(now).rcv_wnd <= 10_000);
    assert!(n.tcb(1).set_held(0), "the window opens");
    n.output(1);
    n.run(Duration::from_millis(100));
    assert_eq!(n.ends[1].what & what::ERROR, 0);
    n.ends[1].reads = true;
    n.read(1, 30_000);
    assert!(n.run_until(Duration::from_secs(60), |n| n.ends[1].got.len() == 40_000));
}

#[test]
fn a_window_that_shrinks_is_survived() {
    // [RFC9293 MUST-34] [RFC9293 SHLD-15] [RFC9293 SHLD-16] [RFC9293 SHLD-17] [RFC9293 MAY-7]
    let mut n = Net::connected(31, Config { window_scaling: false, ..common::plain() });
    let last = n.seen.iter().rev().find(|s| s.from == 0).unwrap().h;
    // The real peer hears nothing; what it says is forged.
    n.filter = Some(Box::new(|from, _, _| from == 0));
    let data = common::pattern(50_000, 1);
    n.send(0, &data);
    let shrunk = |n: &mut Net, window: u16| {
        let mut s = common::raw(iopkt_tcp::Seq(last.ack), iopkt_tcp::Seq(last.seq), Flags::ACK);
        s.window = window;
        n.inject(1, &s);
        n.run(Duration::from_millis(11));
    };
    let sent = n
        .seen
        .iter()
        .filter(|s| s.from == 0 && s.len > 0)
        .map(|s| s.h.seq.wrapping_sub(last.seq))
        .max()
        .unwrap();
    assert!(sent > 3000);
    for _ in 0..5 {
        // The window ends in the middle of what is in flight: it goes again, and nothing new does.
        shrunk(&mut n, 3000);
        n.run(Duration::from_secs(10));
    }
    assert!(n.tcb(0).stats().retransmits > 0);
    for _ in 0..60 {
        // It ends before all that is in flight: the peer is asked again and again, and not given up.
        shrunk(&mut n, 0);
        n.run(Duration::from_secs(61));
    }
    assert_ne!(n.state(0), State::Closed);
    let most = n
        .seen
        .iter()
        .filter(|s| s.from == 0 && s.len > 0)
        .map(|s| s.h.seq.wrapping_sub(last.seq))
        .max()
        .unwrap();
    assert_eq!(most, sent, "nothing new");
    n.filter = None;
    shrunk(&mut n, 65_535);
    assert!(n.run_until(Duration::from_secs(300), |n| n.ends[1].got.len() == data.len()));
    assert_eq!(n.ends[1].got, data);
}

#[test]
fn a_lost_window_probe_is_repeated_not_followed_by_the_next_byte() {
    let mut n = Net::connected(1, Config::default());
    n.ends[1].reads = false;
    n.send(0, &pattern(600_000, 1));
    n.run(Duration::from_secs(5));
    let from = n.seen.len();
    n.filter = Some(Box::new(|from, _, len| from == 0 && len > 0));
    n.run(Duration::from_secs(20));
    let probes: Vec<u32> =
        n.seen[from..].iter().filter(|s| s.from == 0 && s.len > 0).map(|s| s.h.seq).collect();
    assert!(probes.len() > 3 && probes.iter().all(|p| *p == probes[0]), "{probes:?}");
    // Once it gets through, and there is room, all goes on.
    n.filter = None;
    n.ends[1].reads = true;
    n.read(1, usize::MAX);
    assert!(n.run_until(Duration::from_secs(120), Net::all_read));
    n.check_prefixes();
}
