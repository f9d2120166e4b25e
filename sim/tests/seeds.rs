//! Chaos in small pieces: each seed is a short life of two hosts on a bad network, with connections that transfer, close,
//! reset, stall, and lose their link, interface or address; thousands of seeds in every run.
//!
//! What holds for all of them: a stream is a prefix of what was written, byte by byte; a flow ends complete or one
//! of its ends was told an error; every frame is accounted for; when the programs are gone, time empties the stack
//! and every buffer comes home.
//!
//! `IO_PKT_SEEDS=N` runs more of them, `IO_PKT_SEED=N` one; one that fails leaves a capture.

#[path = "seeds/life.rs"]
mod life;

use iopkt_sim::family::{Via, again};
use iopkt_sim::for_seeds_in_parallel;
use life::{Life, Tally};
use std::sync::Mutex;

#[test]
fn no_seed_violates_an_invariant() {
    let all = Mutex::new(Tally::default());
    let count = if Via::now() == Via::V4 { 10_000 } else { 1000 };
    for_seeds_in_parallel(count, |seed| {
        let t = Life::new(seed).run();
        all.lock().expect("no seed failed").add(&t);
    });
    let t = all.into_inner().expect("no seed failed");
    println!("{t:?}");
    // It was chaos, and most came through it.
    if std::env::var_os("IO_PKT_SEED").is_none() {
        assert!(t.complete * 10 > t.flows * 7, "{t:?}");
        assert!(t.cut_off > 0 && t.aborted > 0 && t.readdressed > 0 && t.datagrams > 0, "{t:?}");
        assert!(t.starved > 0 && t.replayed > 0, "{t:?}");
    }
}

#[test]
fn over_ipv6_and_by_mapped_addresses() {
    again(&[], &[]);
}
