//! Goodput over bad paths does not fall far below what a window that halves at each loss can have. The example
//! of the same name prints the whole table.

mod common;
use common::goodput::{Figures, Path, RATE, measure};
use iopkt_base::Duration;
use iopkt_tcp::CcKind;

/// Mbit/s by the model of Mathis et al. (1997): MSS / RTT * sqrt(3 / 2p), or the path's rate when that is less.
fn model(p: &Path) -> f64 {
    let rate = RATE as f64 * 8.0 / 1e6;
    let m = 1448.0 * 8.0 / 1e6 / p.rtt.as_secs_f64() * (1.5 / p.loss).sqrt();
    if p.loss > 0.0 { m.min(rate) } else { rate }
}

fn run(rtt_us: u64, loss: f64, reorder: f64, share: f64, cc: CcKind) -> Figures {
    let p = Path { rtt: Duration::from_micros(rtt_us), loss, reorder, tso: 0, acks: true };
    let f = measure(p, 1 << 20, 0..3, cc);
    let (g, m) = (f.goodput(), model(&p));
    assert!(g > share * m, "{p:?} {cc:?}: {g:.2} of {m:.2} Mbit/s: {f:?}");
    assert!(f.spurious() < f.segments / 10, "{p:?} {cc:?}: {f:?}");
    f
}

#[test]
fn short_paths_are_filled() {
    // [RFC9293 MAY-18]
    for cc in [CcKind::Cubic, CcKind::NewReno] {
        for rtt in [200, 1000] {
            for reorder in [0.0, 0.02] {
                let f = run(rtt, 0.0, reorder, 0.5, cc);
                assert_eq!(f.timeouts, 0);
                run(rtt, 0.001, reorder, 0.5, cc);
            }
        }
    }
}

#[test]
fn losses_are_repaired_by_recovery_not_by_timeouts() {
    for cc in [CcKind::Cubic, CcKind::NewReno] {
        for rtt in [200, 1000, 10_000, 50_000] {
            for reorder in [0.0, 0.02] {
                for loss in [0.01, 0.02] {
                    let f = run(rtt, loss, reorder, 0.35, cc);
                    assert!(f.timeouts <= 2 + f.recoveries / 50, "{rtt} us, {loss}, {reorder}: {f:?}");
                }
            }
        }
    }
}

#[test]
fn one_in_twenty_lost_is_still_a_connection() {
    for rtt in [200, 1000, 10_000, 50_000] {
        for reorder in [0.0, 0.02] {
            let f = run(rtt, 0.05, reorder, 0.15, CcKind::Cubic);
            assert!(f.timeouts <= 2 + f.recoveries / 15, "{rtt} us, {reorder}: {f:?}");
        }
    }
}

#[test]
fn super_segments_change_nothing() {
    // What a device cuts gets lost by pieces, and is repaired by pieces.
    for (rtt, loss) in [(20, 0.01), (50, 0.01), (20, 0.03)] {
        let path = |tso| Path { rtt: Duration::from_millis(rtt), loss, reorder: 0.0, tso, acks: false };
        let [one, many] = [0, 64_000].map(|tso| measure(path(tso), 1 << 20, 0..6, CcKind::Cubic));
        assert!(many.goodput() > 0.9 * one.goodput(), "{rtt} ms, {loss}: {many:?} {one:?}");
        assert_eq!((many.spurious(), many.timeouts), (0, 0), "{many:?}");
    }
}
