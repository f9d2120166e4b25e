//! The scripts that the fuzz targets `stack_calls` and `stack_streams` run, on random bytes: what needs no coverage to be found is
//! found here.

use iopkt_base::Rng;
use iopkt_sim::{for_seeds_in_parallel, script};

fn bytes(seed: u64) -> Vec<u8> {
    let mut r = Rng::new(seed);
    (0..r.below(1500)).map(|_| r.next_u32() as u8).collect()
}

#[test]
fn random_calls_frames_and_time() {
    for_seeds_in_parallel(1000, |seed| script::calls(&bytes(seed)));
}

#[test]
fn random_writes_reads_and_faults() {
    for_seeds_in_parallel(500, |seed| script::streams(&bytes(!seed)));
}
