//! F-RTO (RFC 5682): a needless time-out is noticed without timestamps, with SACK and without; a real one is not undone.

mod common;
use common::{Faults, Net, clean, pattern, plain};
use iopkt_base::Duration;
use iopkt_tcp::Config;

fn cfg(sack: bool) -> Config {
    Config { sack, sndbuf: 256 << 10, rcvbuf: 256 << 10, ..plain() }
}

/// Connected, with a window of some 40 segments and a round trip of 20 ms known.
fn grown(seed: u64, sack: bool) -> Net {
    let mut n = Net::connected(seed, cfg(sack));
    n.send(0, &pattern(100_000, 1));
    n.run(Duration::from_millis(400));
    assert_eq!(n.ends[1].got.len(), 100_000);
    n
}

/// The path takes much longer, for a moment: the time-out comes before the answers.
fn spike(n: &mut Net, bytes: usize) {
    n.links[0].faults.delay = Duration::from_millis(700);
    n.send(0, &pattern(bytes, 2));
    n.links[0].faults.delay = Duration::from_millis(10);
}

#[test]
fn a_needless_timeout_is_undone_without_timestamps() {
    // [RFC5682 2.1-1] [RFC5682 2.1-2b] [RFC5682 2.1-3b] [RFC5682 3.1] [RFC5682 4]
    for sack in [true, false] {
        let mut n = grown(1, sack);
        let now = n.now;
        let before = n.tcb(0).info(now);
        // More than fits the window: new data is there when F-RTO wants some. Probe and retransmission are late too.
        n.links[0].faults.delay = Duration::from_millis(700);
        n.send(0, &pattern(60_000, 2));
        n.run(Duration::from_millis(650));
        assert!(n.tcb(0).stats().timeouts >= 1, "sack {sack}");
        // It stays long, so that nothing overtakes what is on its way.
        assert!(n.run_until(Duration::from_secs(20), |n| n.ends[1].got.len() == 160_000));
        n.run(Duration::from_secs(1));
        let now = n.now;
        let after = n.tcb(0).info(now);
        assert_eq!(after.stats.undos, 1, "sack {sack}: {:?}", after.stats);
        assert!(after.ssthresh >= before.ssthresh, "sack {sack}");
        assert!(after.stats.retransmits <= 4, "sack {sack}: {:?}", after.stats);
    }
}

#[test]
fn a_real_timeout_is_not_undone() {
    // [RFC5682 2.1-2a] [RFC5682 2.1-3a] [RFC5682 2.1-new]
    for sack in [true, false] {
        let mut n = grown(2, sack);
        // All of a flight is lost.
        n.links[0].faults = Faults { loss: 1.0, ..clean() };
        n.send(0, &pattern(60_000, 2));
        n.run(Duration::from_millis(50));
        n.links[0].faults = clean();
        assert!(n.run_until(Duration::from_secs(30), |n| n.ends[1].got.len() == 160_000));
        n.check_prefixes();
        let now = n.now;
        let i = n.tcb(0).info(now);
        assert_eq!(i.stats.undos, 0, "sack {sack}: {:?}", i.stats);
        assert!(i.ssthresh < 60_000, "sack {sack}: {}", i.ssthresh);
    }
}

#[test]
fn the_first_of_a_flight_lost_with_few_behind_it_is_a_real_loss() {
    // [RFC5682 2.1-2a]
    let mut n = grown(3, false);
    let mut k = 0;
    n.filter = Some(Box::new(move |from, _, len| {
        k += u32::from(from == 0 && len > 0);
        from == 0 && len > 0 && (k == 1 || k == 2)
    }));
    // Two duplicates only: the timer has to do it.
    n.send(0, &pattern(1460 * 4, 2));
    assert!(n.run_until(Duration::from_secs(5), |n| n.ends[1].got.len() == 100_000 + 1460 * 4));
    let s = *n.tcb(0).stats();
    assert_eq!((s.timeouts, s.undos), (1, 0));
}

#[test]
fn spikes_of_any_length_lose_no_byte() {
    for seed in 0..20 {
        let mut n = grown(10 + seed, seed % 2 == 0);
        for i in 0..5 {
            spike(&mut n, 3_000 + 7_000 * i);
            n.run(Duration::from_millis(100 + 90 * seed));
        }
        assert!(n.run_until(Duration::from_secs(60), |n| n.all_read()), "seed {seed}");
        n.check_prefixes();
    }
}
