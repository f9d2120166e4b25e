//! Many seeds, one line about the one that failed.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Runs `f` for `count` seeds (or `IO_PKT_SEEDS` of them), or for the one in `IO_PKT_SEED`. A panic is passed on
/// after a line that says how to repeat the run.
///
/// # Panics
/// When `f` does.
pub fn for_seeds(count: u64, f: impl Fn(u64)) {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    if let Some(seed) = number("IO_PKT_SEED") {
        return f(seed);
    }
    for seed in 0..number("IO_PKT_SEEDS").unwrap_or(count) {
        if let Err(e) = catch_unwind(AssertUnwindSafe(|| f(seed))) {
            eprintln!("\n*** seed {seed} failed; repeat with IO_PKT_SEED={seed} ***\n");
            resume_unwind(e);
        }
    }
}
