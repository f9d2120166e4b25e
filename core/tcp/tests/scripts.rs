//! Random runs described by bytes: what the fuzz target `tcp_two_ends` does, with a fixed number of cases.

mod common;
use iopkt_base::Rng;

fn bytes(seed: u64, n: usize) -> Vec<u8> {
    let mut r = Rng::new(seed);
    (0..n).map(|_| r.next_u32() as u8).collect()
}

#[test]
fn honest_runs_deliver_everything() {
    for seed in 0..1500 {
        common::script::run(&bytes(seed, 40 + (seed as usize * 7) % 600), false);
    }
}

#[test]
fn attacked_runs_neither_panic_nor_leak() {
    for seed in 0..1500 {
        common::script::run(&bytes(seed + 1_000_000, 40 + (seed as usize * 7) % 800), true);
    }
}
