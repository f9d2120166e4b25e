//! Tail loss probes: what nothing follows is found without a time-out, and a needless probe costs nothing.

mod common;
use common::{Faults, Net, clean, pattern};
use iopkt_base::Duration;
use iopkt_tcp::Config;

/// Connected, with a round-trip time of 20 ms known, `n` segments sent of which those in `lost` are lost the
/// first time; done within `ms` milliseconds.
fn tail(n: usize, lost: &'static [usize], ms: u64) -> Net {
    let mut net = Net::connected(1, Config::default());
    let mut k = 0;
    net.filter = Some(Box::new(move |from, _, len| {
        k += usize::from(from == 0 && len > 0);
        from == 0 && len > 0 && lost.contains(&(k - 1))
    }));
    let start = net.now;
    let data = pattern(1448 * n, 1);
    net.send(0, &data);
    assert!(net.run_until(Duration::from_secs(5), |n| n.ends[1].got.len() == data.len()));
    assert_eq!(net.ends[1].got, data);
    let t = net.now.since(start);
    assert!(t <= Duration::from_millis(ms), "{t:?}");
    assert_eq!(net.tcb(0).stats().timeouts, 0);
    net.run(Duration::from_secs(1));
    net
}

#[test]
fn a_lost_tail_is_repaired_by_the_probe_and_reduces_the_window() {
    // [RFC8985 7.2]
    // [RFC8985 7.3-last]
    // [RFC8985 7.4.2]
    let mut n = tail(6, &[5], 200);
    let s = *n.tcb(0).stats();
    assert_eq!((s.tail_probes, s.retransmits, s.recoveries), (1, 1, 0));
    let now = n.now;
    assert_eq!(n.tcb(0).info(now).ssthresh, u32::MAX, "nothing says yet which of the two arrived");
    n.send(0, b"more");
    n.run(Duration::from_secs(1));
    let now = n.now;
    assert!(n.tcb(0).info(now).ssthresh < 20_000, "no D-SACK came: it was lost");
}

#[test]
fn a_probe_shows_the_holes_of_a_longer_tail() {
    // [RFC8985 7.3-last]
    let mut n = tail(8, &[4, 5, 6, 7], 200);
    let s = *n.tcb(0).stats();
    assert_eq!((s.tail_probes, s.retransmits, s.recoveries), (1, 4, 1));
}

#[test]
fn a_lost_last_retransmission_is_probed_for() {
    // [RFC8985 7.2]
    // The third of ten, and its retransmission (the eleventh segment).
    let mut n = tail(10, &[2, 10], 150);
    let s = *n.tcb(0).stats();
    assert_eq!((s.recoveries, s.timeouts), (1, 0));
    assert_eq!(n.tcb(0).unsent_or_unacked(), 0);
}

#[test]
fn new_data_is_the_better_probe() {
    // [RFC8985 7.3-new]
    let mut n = Net::connected(2, Config { init_cwnd: 2, ..Config::default() });
    n.filter = Some(Box::new(|from, _, len| from == 0 && len > 0));
    let start = n.now;
    n.send(0, &pattern(1448 * 4, 1));
    n.run(Duration::from_millis(80));
    let sent: Vec<_> = n.seen.iter().filter(|s| s.from == 0 && s.len > 0).collect();
    assert_eq!(sent.len(), 3, "two by the window, a third to probe");
    assert_eq!(sent[2].h.seq, sent[1].h.seq.wrapping_add(1448));
    assert_eq!(sent[2].at.since(start), Duration::from_millis(42), "two round trips and the slack");
    assert_eq!(n.tcb(0).stats().retransmits, 0);
}

#[test]
fn one_probe_then_the_timer() {
    // [RFC8985 7.3]
    // [RFC8985 7.3-rto]
    let mut n = Net::connected(3, Config::default());
    n.links[0].faults.loss = 1.0;
    let start = n.now;
    n.send(0, b"into the void");
    n.run(Duration::from_secs(2));
    let at = n.seen.iter().filter(|s| s.from == 0 && s.len > 0);
    let at: Vec<u64> = at.map(|s| s.at.since(start).as_millis() as u64).collect();
    // Two round trips; a lone segment's ACK may be delayed: 50 ms more. Then the time-out's 220 ms from the probe, doubling.
    assert_eq!(at, [0, 90, 310, 750, 1630]);
    let s = n.tcb(0).stats();
    assert_eq!((s.tail_probes, s.timeouts), (1, 3));
}

#[test]
fn a_needless_probe_reduces_nothing_and_makes_patient() {
    // [RFC8985 7.4]
    let cfg = Config { timestamps: false, ..Config::default() };
    let mut n = Net::connected(4, cfg);
    n.send(0, b"x");
    n.run(Duration::from_secs(1));
    // The path gets longer than two of its old round trips.
    n.set_links(Faults { delay: Duration::from_millis(70), ..clean() });
    for _ in 0..5 {
        n.send(0, b"x");
        n.run(Duration::from_secs(1));
    }
    let now = n.now;
    let i = n.tcb(0).info(now);
    assert_eq!((i.ssthresh, i.stats.timeouts, i.stats.recoveries), (u32::MAX, 0, 0));
    assert_eq!(i.stats.tail_probes, 1, "after the first the second waits longer, and the path is measured");
}

#[test]
fn no_probe_without_sack_and_none_when_acks_come() {
    // [RFC8985 5.1]
    let mut n = Net::connected(5, Config { sack: false, ..Config::default() });
    n.filter = Some(Box::new(|from, _, len| from == 0 && len > 0));
    n.send(0, b"x");
    n.run(Duration::from_millis(150));
    assert_eq!((n.tcb(0).stats().tail_probes, n.count(0, |s| s.len > 0)), (0, 1));
    let mut n = Net::connected(6, Config::default());
    n.send(0, &pattern(1_000_000, 1));
    n.run(Duration::from_secs(10));
    assert_eq!((n.tcb(0).stats().tail_probes, n.ends[1].got.len()), (0, 1_000_000));
}
