//! Many seeds, one line about the one that failed.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Runs `f` for `count` seeds (or `IO_PKT_SEEDS` of them), or for the one in `IO_PKT_SEED`. A panic is passed on
/// after a line that says how to repeat the run.
///
/// # Panics
/// When `f` does.
pub fn for_seeds(count: u64, f: impl Fn(u64)) {
    if let Some(seed) = number("IO_PKT_SEED") {
        return f(seed);
    }
    for seed in 0..number("IO_PKT_SEEDS").unwrap_or(count) {
        if let Err(e) = catch_unwind(AssertUnwindSafe(|| f(seed))) {
            tell(seed);
            resume_unwind(e);
        }
    }
}

/// The same on all cores; the first seed that fails ends it.
///
/// # Panics
/// When `f` does.
pub fn for_seeds_in_parallel(count: u64, f: impl Fn(u64) + Sync) {
    if let Some(seed) = number("IO_PKT_SEED") {
        return f(seed);
    }
    let count = number("IO_PKT_SEEDS").unwrap_or(count);
    let next = AtomicU64::new(0);
    let failed = Mutex::new(None);
    std::thread::scope(|s| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            s.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= count {
                        return;
                    }
                    if let Err(e) = catch_unwind(AssertUnwindSafe(|| f(seed))) {
                        tell(seed);
                        next.store(count, Ordering::Relaxed);
                        *failed.lock().unwrap_or_else(|e| e.into_inner()) = Some(e);
                    }
                }
            });
        }
    });
    if let Some(e) = failed.into_inner().unwrap_or_else(|e| e.into_inner()) {
        resume_unwind(e);
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn tell(seed: u64) {
    eprintln!("\n*** seed {seed} failed; repeat with IO_PKT_SEED={seed} ***\n");
}
