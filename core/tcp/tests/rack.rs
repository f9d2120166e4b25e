//! Loss by time: reordering is no loss, lost retransmissions are found, needless reductions undone.

mod common;
use common::{Faults, Net, clean, pattern};
use iopkt_base::Duration;
use iopkt_tcp::Config;

fn big() -> Config {
    Config { sndbuf: 256 << 10, rcvbuf: 256 << 10, ..Config::default() }
}

#[test]
fn reordering_is_learned_and_then_no_loss() {
    // [RFC8985 6.2-3]
    // [RFC8985 6.2-4]
    let (mut recoveries, mut segments) = (0, 0);
    for seed in 0..5 {
        let mut n = Net::connected(seed, big());
        n.links[0].faults = Faults { jitter: Duration::from_millis(3), rate: 100_000_000, ..clean() };
        n.send(0, &pattern(2_000_000, 1));
        assert!(n.run_until(Duration::from_secs(60), |n| n.ends[1].got.len() == 2_000_000));
        assert!(n.tcb(1).stats().ooo > 300, "the link did reorder");
        let s = n.tcb(0).stats();
        assert_eq!(s.timeouts, 0);
        recoveries += s.recoveries;
        segments += n.count(0, |s| s.len > 0);
    }
    assert!(recoveries <= 15, "{recoveries} recoveries in {segments} segments");
}

#[test]
fn a_lost_retransmission_needs_no_timeout() {
    // [RFC8985 6.2-5]
    let mut n = Net::connected(6, big());
    let mut lost = 0;
    let first = n.ends[0].iss.0.wrapping_add(1 + 1448 * 5);
    n.filter = Some(Box::new(move |from, h, len| {
        let hit = from == 0 && len > 0 && h.seq == first && lost < 3;
        lost += u32::from(hit);
        hit
    }));
    let data = pattern(400_000, 1);
    n.send(0, &data);
    assert!(n.run_until(Duration::from_secs(5), |n| n.ends[1].got.len() == 400_000));
    assert_eq!(n.ends[1].got, data);
    let s = n.tcb(0).stats();
    assert_eq!((s.timeouts, s.retransmits), (0, 3));
}

#[test]
fn a_loss_is_found_after_a_quarter_round_trip_even_with_few_segments_behind() {
    // [RFC8985 6.2-5]
    let mut n = Net::connected(7, big());
    let mut k = 0;
    n.filter = Some(Box::new(move |from, _, len| {
        k += u32::from(from == 0 && len > 0);
        from == 0 && len > 0 && k == 2
    }));
    let start = n.now;
    n.send(0, &pattern(1448 * 3, 1));
    assert!(n.run_until(Duration::from_secs(5), |n| n.ends[1].got.len() == 1448 * 3));
    assert_eq!(n.tcb(0).stats().timeouts, 0);
    let t = n.now.since(start);
    assert!(t < Duration::from_millis(40), "{t:?}");
}

#[test]
fn a_needless_reduction_is_undone() {
    // [RFC2883 4-below]
    // [RFC3708 3]
    // [RFC8985 6.2-4-dsack]
    let mut n = Net::connected(8, big());
    n.send(0, &pattern(60_000, 1));
    n.run(Duration::from_secs(1));
    let now = n.now;
    let before = n.tcb(0).info(now);
    // The first segment takes a detour of 30 ms: far beyond what three duplicates allow for.
    n.links[0].faults.delay = Duration::from_millis(40);
    let burst = pattern(1448 * 12, 2);
    n.tcb(0).write(&burst[..1448]).expect("room");
    n.output(0);
    n.links[0].faults.delay = Duration::from_millis(10);
    n.tcb(0).write(&burst[1448..]).expect("room");
    n.output(0);
    n.run(Duration::from_millis(35));
    let now = n.now;
    assert!(n.tcb(0).info(now).ssthresh < before.ssthresh, "taken for a loss");
    n.run(Duration::from_secs(1));
    let s = *n.tcb(0).stats();
    assert_eq!((s.recoveries, s.undos, s.timeouts), (1, 1, 0));
    let now = n.now;
    let after = n.tcb(0).info(now);
    assert!(after.ssthresh >= before.ssthresh && after.cwnd >= before.cwnd.min(1448 * 10));
}

#[test]
fn a_path_shorter_than_a_tick_of_the_timestamp_clock_may_reorder() {
    // [RFC8985 6.2-2]
    // Samples by timestamps would say that a round trip takes no time, and forgive no reordering; and an
    // original that comes late behind a queue must not pass for its retransmission.
    for seed in 0..3 {
        let mut n = Net::new(seed, big(), big());
        n.ends[1].listening = true;
        n.set_links(Faults {
            delay: Duration::from_micros(100),
            rate: 100_000_000,
            reorder: 0.02,
            late: Duration::from_millis(1),
            ..Faults::default()
        });
        n.connect(0);
        n.send(0, &pattern(2_000_000, 1));
        assert!(n.run_until(Duration::from_secs(60), |n| n.ends[1].got.len() == 2_000_000));
        let s = *n.tcb(0).stats();
        let segments = n.count(0, |s| s.len > 0) as u32;
        assert_eq!(s.timeouts, 0);
        assert!(s.retransmits * 20 < segments, "{} of {segments} again: {s:?}", s.retransmits);
    }
}

#[test]
fn a_delayed_path_undoes_its_timeout() {
    // [RFC3522 3.2]
    // [RFC4015 3.2]
    let mut n = Net::connected(9, big());
    n.send(0, &pattern(60_000, 1));
    n.run(Duration::from_secs(1));
    let now = n.now;
    let before = n.tcb(0).info(now);
    // Everything takes a third of a second longer, once: the probe and the timer go in vain.
    n.links[0].faults.delay = Duration::from_millis(600);
    n.send(0, &pattern(1448 * 8, 2));
    n.links[0].faults.delay = Duration::from_millis(601);
    n.run(Duration::from_millis(400));
    assert_eq!(n.tcb(0).stats().timeouts, 1);
    n.run(Duration::from_secs(1));
    let now = n.now;
    let after = n.tcb(0).info(now);
    assert_eq!((after.stats.undos, after.ssthresh), (1, before.ssthresh));
    assert!(after.cwnd >= before.cwnd.min(1448 * 10));
    // The probe and the first of the time-out: the other six were not sent again.
    assert_eq!(after.stats.retransmits, 2);
}

#[test]
fn recovery_neither_pauses_nor_bursts() {
    // [RFC6937 3] [RFC6937 3-bound] [RFC6937 3-end]
    let mut n = Net::connected(10, big());
    let mut k = 0;
    n.filter = Some(Box::new(move |from, _, len| {
        k += u32::from(from == 0 && len > 0);
        from == 0 && len > 0 && k == 60
    }));
    n.links[0].faults.rate = 10_000_000;
    n.send(0, &pattern(600_000, 1));
    assert!(n.run_until(Duration::from_secs(5), |n| n.ends[1].got.len() == 600_000));
    let s = *n.tcb(0).stats();
    assert_eq!((s.recoveries, s.retransmits, s.timeouts), (1, 1, 0));
    // From the retransmission on: at the path's 1.2 ms a segment, 0.7 of the pace during the recovery.
    let (mut last, mut worst, mut burst, mut most) = (None, Duration::ZERO, 0, 0);
    let again = n.seen.iter().position(|s| s.dropped).map(|i| n.seen[i].h.seq).expect("one was dropped");
    let from = n.seen.iter().rposition(|s| s.from == 0 && s.h.seq == again).expect("it went again");
    let tail = n.seen.len() - 100;
    for s in n.seen[from..tail].iter().filter(|s| s.from == 0 && s.len > 0) {
        worst = worst.max(last.map_or(Duration::ZERO, |l| s.at.since(l)));
        burst = if last == Some(s.at) { burst + 1 } else { 1 };
        most = most.max(burst);
        last = Some(s.at);
    }
    assert!(worst < Duration::from_millis(10), "a pause of {worst:?}");
    assert!(most <= 4, "a burst of {most}");
}
