//! Measurements beside a peer in the same run, as ratios.

mod ours;
mod smol;

/// Median of the seconds that `f` takes, over an odd number of runs.
fn median(runs: usize, mut f: impl FnMut() -> f64) -> f64 {
    let mut v: Vec<f64> = (0..runs).map(|_| f()).collect();
    v.sort_by(f64::total_cmp);
    v[runs / 2]
}

fn main() {
    if std::env::args().nth(1).as_deref() == Some("once") {
        // For callgrind: our side alone, once.
        ours::transfer(32 << 20, 262_144);
        return;
    }
    let runs = 5;
    let total = 256 << 20;
    println!(
        "TCP between two stacks in memory, one thread, MTU 1500, checksums on, {} MiB, median of {runs}",
        total >> 20
    );
    for buffer in [65_535, 262_144, 1 << 20] {
        let (mut o, mut s) = (Vec::new(), Vec::new());
        // Taken in turns, so that a disturbance of the machine meets both.
        for _ in 0..runs {
            o.push(ours::transfer(total, buffer));
            s.push(smol::transfer(total, buffer));
        }
        let mut it = o.into_iter();
        let ours = median(runs, || it.next().unwrap_or(0.0));
        let mut it = s.into_iter();
        let peer = median(runs, || it.next().unwrap_or(0.0));
        let rate = |t: f64| total as f64 * 8e-9 / t;
        println!(
            "  buffers {:>7}: io-pkt {:6.2} Gbit/s, smoltcp {:6.2} Gbit/s, ratio {:.2}",
            buffer,
            rate(ours),
            rate(peer),
            peer / ours
        );
    }
}
