//! Networks of IPv6, by seeds: what happens on a link, and what holds all the while (`iopkt_sim::v6`).
//!
//! `IO_PKT_LONG=1` takes twenty times the seeds; `IO_PKT_SEED=N` repeats one.

#[path = "v6/dad.rs"]
mod dad;
#[path = "v6/floods.rs"]
mod floods;
#[path = "v6/mld.rs"]
mod mld;
#[path = "v6/paths.rs"]
mod paths;
#[path = "v6/renumber.rs"]
mod renumber;
#[path = "v6/routers.rs"]
mod routers;

use iopkt_base::{Duration, Rng};
use iopkt_sim::{Faults, for_seeds_in_parallel};

/// Runs a test for so many seeds.
fn seeds(count: u64, f: impl Fn(u64) + Sync) {
    let long = std::env::var_os("IO_PKT_LONG").is_some();
    for_seeds_in_parallel(if long { count * 20 } else { count }, f);
}

/// A link that is only slow.
fn clean(rng: &mut Rng) -> Faults {
    Faults {
        delay: Duration::from_micros(u64::from(rng.below(20_000))),
        jitter: Duration::from_micros(u64::from(rng.below(2_000))),
        ..Faults::default()
    }
}

/// A link that doubles and overtakes, but brings everything.
fn busy(rng: &mut Rng) -> Faults {
    let reorder = f64::from(rng.below(100)) / 1000.0;
    Faults { duplicate: f64::from(rng.below(100)) / 1000.0, reorder, ..clean(rng) }
}

/// One that loses too, up to this share of the frames.
fn lossy(rng: &mut Rng, most: f64) -> Faults {
    Faults { loss: f64::from(rng.below(1001)) / 1000.0 * most, ..busy(rng) }
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}
