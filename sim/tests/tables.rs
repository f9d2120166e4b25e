//! Tables of what connections make of a path, kept as snapshots: a change of the transport shows as a diff of
//! `sim/snapshots/*.txt`. Virtual time and one seed a run, so they are the same to the digit on every machine.
//!
//! Each table has bounds too, wide ones, that no blessing lifts.

#[path = "tables/bench.rs"]
mod bench;

use bench::{Lane, available, in_parallel, jain, long, one};
use iopkt_base::Duration;
use iopkt_sim::{Faults, snapshot};
use std::fmt::Write;

const RATE: u64 = 50_000_000;

fn ms(x: f64) -> Duration {
    Duration::from_secs_f64(x / 1e3)
}

#[test]
fn throughput_over_loss_delay_reordering_and_queue() {
    let mut rows = Vec::new();
    for loss in [0.0, 0.1, 1.0, 3.0] {
        for rtt in [1.0, 20.0, 100.0] {
            for reorder in [0.0, 2.0] {
                for queue in [20, 200] {
                    rows.push((loss, rtt, reorder, queue));
                }
            }
        }
    }
    let lines = in_parallel(&rows, |&(loss, rtt, reorder, queue)| {
        let f = Faults {
            delay: ms(rtt / 2.0),
            loss: loss / 100.0,
            reorder: reorder / 100.0,
            late: ms(rtt / 4.0),
            rate: RATE,
            queue,
            ..Faults::default()
        };
        let r = one(f, 2 << 20, 0..3, 0);
        // The model of Mathis et al. (1997) for a window that halves at each loss, a quarter of it.
        let model = 1448.0 * 8.0 / 1e3 / rtt * (1.5 / (loss / 100.0)).sqrt();
        assert!(loss == 0.0 || r.goodput > 0.25 * model.min(25.0), "{loss} {rtt} {reorder} {queue}: {r:?}");
        format!(
            "{loss:4.1}% {rtt:5.0} ms {reorder:5.0}%  {queue:5}   {:8.3}  {:6} {:6} {:5}",
            r.goodput, r.lost, r.again, r.timeouts
        )
    });
    let head = "One connection at 50 Mbit/s, three transfers of 2 MiB, loss and reordering (by up to a quarter RTT) each way.\n\
                lost: frames both ways; again: data segments sent again; RTO: time-outs.\n\n loss      RTT reorder  queue     Mbit/s    lost  again   RTO\n";
    snapshot("throughput", &format!("{head}{}\n", lines.join("\n")));
}

#[test]
fn throughput_over_socket_buffers() {
    let mut rows = Vec::new();
    for rtt in [1.0, 20.0, 100.0] {
        for buffer in [16u32 << 10, 64 << 10, 256 << 10, 1 << 20, 0] {
            rows.push((rtt, buffer));
        }
    }
    let lines = in_parallel(&rows, |&(rtt, buffer)| {
        let f = Faults { delay: ms(rtt / 2.0), rate: RATE, queue: 400, ..Faults::default() };
        let r = one(f, 4 << 20, 0..1, buffer);
        let name = if buffer == 0 { "default".into() } else { format!("{} KiB", buffer >> 10) };
        format!("{rtt:5.0} ms  {name:>8}   {:8.3}", r.goodput)
    });
    let head = "One connection at 50 Mbit/s, 4 MiB, queue 400, no loss; SO_SNDBUF and SO_RCVBUF.\n\n     RTT    buffer     Mbit/s\n";
    snapshot("buffers", &format!("{head}{}\n", lines.join("\n")));
}

/// 10 Mbit/s, and a queue of one bandwidth-delay product of 40 ms.
const NECK: Faults = Faults {
    delay: Duration::ZERO,
    jitter: Duration::ZERO,
    loss: 0.0,
    reorder: 0.0,
    late: Duration::ZERO,
    duplicate: 0.0,
    corrupt: 0.0,
    rate: 10_000_000,
    queue: 33,
    max_frame: 0,
};

#[test]
fn flows_share_a_queue_fairly() {
    let mut rows = Vec::new();
    for cc in available() {
        for n in [2, 4, 8, 16] {
            rows.push((cc, n));
        }
    }
    let lines = in_parallel(&rows, |&(cc, n)| {
        let lanes: Vec<Lane> = (0..n).map(|_| Lane { cc, delay: ms(20.0) }).collect();
        let r = long(NECK, &lanes, 1);
        let (j, sum) = (jain(&r.goodput), r.goodput.iter().sum::<f64>());
        let (min, max) = (
            r.goodput.iter().fold(f64::MAX, |a, b| a.min(*b)),
            r.goodput.iter().fold(0.0f64, |a, b| a.max(*b)),
        );
        assert!(j > 0.6 && sum > 7.0, "{cc} {n}: {r:?}");
        format!("{cc:>8} {n:5}   {j:6.4}   {sum:7.3}   {min:7.3} {max:7.3}")
    });
    let head = "Flows of one kind, RTT 40 ms, through 10 Mbit/s with a queue of 33; 60 s after 20 s, starts 200 ms apart. Jain's index.\n\n      cc flows     Jain   Mbit/s     least    most\n";
    snapshot("fairness", &format!("{head}{}\n", lines.join("\n")));
}

#[test]
fn controllers_coexist() {
    let all = available();
    let mut rows = Vec::new();
    for (i, a) in all.iter().enumerate() {
        for b in &all[i + 1..] {
            for rtt in [10.0, 40.0, 100.0] {
                for queue in [33, 132] {
                    rows.push((*a, *b, rtt, queue));
                }
            }
        }
    }
    let lines = in_parallel(&rows, |&(a, b, rtt, queue)| {
        let lanes: Vec<Lane> =
            (0..4).map(|i| Lane { cc: if i % 2 == 0 { a } else { b }, delay: ms(rtt / 2.0) }).collect();
        let r = long(Faults { queue, ..NECK }, &lanes, 1);
        let of = |k: usize| r.goodput.iter().skip(k).step_by(2).sum::<f64>();
        assert!(of(0) + of(1) > 6.0, "{a} {b} {rtt} {queue}: {r:?}");
        format!(
            "{a:>8} {b:>8} {rtt:5.0} ms {queue:6}   {:7.3} {:7.3}   {:5.3}",
            of(0),
            of(1),
            of(0) / (of(0) + of(1))
        )
    });
    let head = "Two flows of each kind through 10 Mbit/s; 60 s after 20 s. share: of the first.\n\n   first   second      RTT  queue     first  second   share\n";
    snapshot("coexistence", &format!("{head}{}\n", lines.join("\n")));
}

#[test]
fn a_longer_way_gets_its_part() {
    let mut rows = Vec::new();
    for cc in available() {
        for long in [20.0, 40.0, 80.0, 160.0] {
            rows.push((cc, long));
        }
    }
    let lines = in_parallel(&rows, |&(cc, far)| {
        let lanes = [Lane { cc, delay: ms(5.0) }, Lane { cc, delay: ms(far / 2.0) }];
        let r = long(NECK, &lanes, 1);
        let g = &r.goodput;
        assert!(g[0] + g[1] > 7.0, "{cc} {far}: {r:?}");
        format!("{cc:>8}   10 ms {far:4.0} ms   {:7.3} {:7.3}   {:6.2}", g[0], g[1], g[0] / g[1])
    });
    let head = "Two flows with different RTT through 10 Mbit/s with a queue of 33; 60 s after 20 s. Mbit/s and their ratio.\n\n      cc    near     far      near     far    ratio\n";
    snapshot("rtt_fairness", &format!("{head}{}\n", lines.join("\n")));
}

#[test]
fn a_deep_queue_is_filled_and_shows() {
    let mut rows = Vec::new();
    for cc in available() {
        for queue in [8, 33, 132, 1000] {
            rows.push((cc, queue));
        }
    }
    let lines = in_parallel(&rows, |&(cc, queue)| {
        let r = long(Faults { queue, ..NECK }, &[Lane { cc, delay: ms(20.0) }], 1);
        assert!(r.goodput[0] > if queue < 33 { 4.0 } else { 7.0 }, "{cc} {queue}: {r:?}");
        format!(
            "{cc:>8} {queue:6}   {:7.3}   {:8.2} {:8.2}   {:6}",
            r.goodput[0], r.mean_wait, r.longest_wait, r.lost
        )
    });
    let head = "One flow, RTT 40 ms, through 10 Mbit/s; 60 s after 20 s. Wait of frames in the queue in ms, frames lost in it.\n\n      cc  queue    Mbit/s       mean  longest     lost\n";
    let mut text = String::new();
    let _ = writeln!(text, "{head}{}", lines.join("\n"));
    snapshot("bufferbloat", &text);
}
