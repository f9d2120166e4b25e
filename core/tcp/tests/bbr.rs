//! BBR over whole connections, and pacing.

mod common;
use common::goodput::{Path, measure};
use common::{Faults, Net, clean, pattern};
use iopkt_base::Duration;
use iopkt_tcp::{CcKind, Config};

#[test]
fn random_loss_is_not_taken_for_congestion() {
    for (rtt, loss, least) in [(1_000, 0.01, 60.0), (10_000, 0.01, 50.0), (10_000, 0.0, 70.0)] {
        let p = Path { rtt: Duration::from_micros(rtt), loss, reorder: 0.0, tso: 0, acks: true };
        let f = measure(p, 2 << 20, 0..3, CcKind::Bbr);
        assert!(f.goodput() > least, "{p:?}: {:.1} Mbit/s: {f:?}", f.goodput());
    }
}

#[test]
fn every_kind_of_bad_path_carries_all_bytes() {
    for rtt in [200, 5_000, 50_000] {
        for loss in [0.0, 0.03] {
            for reorder in [0.0, 0.05] {
                let p = Path { rtt: Duration::from_micros(rtt), loss, reorder, tso: 0, acks: true };
                let f = measure(p, 300_000, 0..2, CcKind::Bbr);
                assert!(f.bytes == 600_000, "{f:?}");
            }
        }
    }
}

#[test]
fn a_queue_is_not_filled() {
    let cfg = Config { cc: CcKind::Bbr, sndbuf: 2 << 20, rcvbuf: 2 << 20, ..Config::default() };
    let mut n = Net::connected(3, cfg);
    n.set_links(Faults { rate: 20_000_000, queue: 2000, ..clean() });
    n.send(0, &pattern(8_000_000, 1));
    n.run(Duration::from_millis(2500));
    let now = n.now;
    let i = n.tcb(0).info(now);
    // The path holds 50 kB; CUBIC would fill a queue of two thousand packets.
    assert!(i.rtt.0 < Duration::from_millis(60), "{:?}", i.rtt.0);
    assert_eq!(i.cc, "bbr");
    let (pace, _, delivered, _) = i.rate;
    assert!((1_500_000..4_000_000).contains(&pace), "{pace}");
    assert!((2_000_000..2_700_000).contains(&delivered), "20 Mbit/s: {delivered}");
}

/// Most bytes that went within a span of 10 ms.
fn burst(n: &Net) -> usize {
    let data: Vec<_> = n.seen.iter().filter(|s| s.from == 0 && s.len > 0).collect();
    let within = |i: usize| {
        let end = data[i].at + Duration::from_millis(10);
        data[i..].iter().take_while(|s| s.at < end).map(|s| s.len).sum::<usize>()
    };
    (0..data.len()).map(within).max().unwrap_or(0)
}

#[test]
fn a_pacing_limit_holds_for_any_controller() {
    for cc in [CcKind::Cubic, CcKind::NewReno, CcKind::Bbr] {
        let cfg = Config { cc, max_pacing: 500_000, ..Config::default() };
        let mut n = Net::connected(4, cfg);
        let start = n.now;
        n.send(0, &pattern(500_000, 1));
        assert!(n.run_until(Duration::from_secs(20), |n| n.ends[1].got.len() == 500_000));
        let took = n.now.since(start).as_millis();
        assert!((950..1_600).contains(&took), "{cc:?}: {took} ms");
        // 10 ms are 5000 bytes, and a portion of two segments at either end.
        assert!(burst(&n) <= 5_000 + 4 * 1448, "{cc:?}: {}", burst(&n));
        n.run(Duration::from_secs(1));
        assert_eq!(n.tcb(0).deadline(), iopkt_base::Instant::FAR, "{cc:?}: an idle connection sleeps");
        let s = *n.tcb(0).stats();
        assert_eq!((s.timeouts, s.retransmits), (0, 0), "{cc:?}");
    }
}

#[test]
fn the_limit_may_change_and_the_controller_too() {
    let mut n = Net::connected(5, Config { max_pacing: 100_000, ..Config::default() });
    n.send(0, &pattern(300_000, 1));
    n.run(Duration::from_millis(500));
    assert!(n.ends[1].got.len() < 70_000, "{}", n.ends[1].got.len());
    n.tcb(0).set_max_pacing(u64::MAX);
    n.tcb(0).set_congestion(CcKind::Bbr);
    n.run(Duration::from_millis(700));
    assert_eq!(n.ends[1].got.len(), 300_000);
    n.tcb(0).set_congestion(CcKind::Cubic);
    n.send(0, &pattern(100_000, 1));
    n.run(Duration::from_secs(1));
    assert_eq!(n.ends[1].got.len(), 400_000);
    n.check_prefixes();
}
