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
    //= RFC8985-6.2-3
    //= RFC8985-6.2-4
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
    //= RFC8985-6.2-5
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
    //= RFC8985-6.2-5
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
    //= RFC3708-3
    //= RFC8985-6.2-4-dsack
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
