//! Goodput over bad paths of 100 Mbit/s, ours to ours, in virtual time (the machine's load plays no part):
//! `cargo run --release -p iopkt-tcp --example goodput [MiB] [seeds] [reno/bbr/cubic] [bytes of a
//! super-segment]`. With super-segments only data gets lost, as in `iopkt-bench lossy`.
//!
//! One line for each path: loss and reordering hold for each direction. `spurious` are retransmissions of
//! segments that the path had not lost.

#[path = "../tests/common/mod.rs"]
mod common;

use common::goodput::{Path, measure};
use iopkt_base::Duration;
use iopkt_tcp::CcKind;

fn main() {
    let arg = |i: usize, d: u64| std::env::args().nth(i).and_then(|a| a.parse().ok()).unwrap_or(d);
    let (mib, seeds) = (arg(1, 4), arg(2, 5));
    let cc = match std::env::args().nth(3).as_deref() {
        Some("reno") => CcKind::NewReno,
        Some("bbr") => CcKind::Bbr,
        _ => CcKind::Cubic,
    };
    let tso = arg(4, 0) as u32;
    println!("{seeds} transfers of {mib} MiB each");
    println!(" loss    RTT reorder   Mbit/s     lost  again  spurious  RTO  recoveries  undone  probes");
    for loss in [0.0, 0.1, 1.0, 2.0, 5.0] {
        for rtt in [0.2, 1.0, 10.0, 20.0, 50.0] {
            for reorder in [0.0, 2.0] {
                let path = Path {
                    rtt: Duration::from_secs_f64(rtt / 1e3),
                    loss: loss / 100.0,
                    reorder: reorder / 100.0,
                    tso,
                    acks: tso == 0,
                };
                let f = measure(path, (mib << 20) as usize, 0..seeds, cc);
                println!(
                    "{loss:4.1}% {rtt:4}ms {reorder:5.0}%  {:8.2}  {:6} {:6}  {:8} {:4}  {:10}  {:6}  {:6}",
                    f.goodput(),
                    f.lost,
                    f.retransmits,
                    f.spurious(),
                    f.timeouts,
                    f.recoveries,
                    f.undos,
                    f.probes
                );
            }
        }
    }
}
