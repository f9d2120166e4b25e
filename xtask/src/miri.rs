//! `cargo xtask miri`: the crates with unsafe code that needs no kernel, under Miri.

use crate::{fuzz, sh};

/// What is run: these crates' tests, without those that only measure breadth.
const CRATES: &[&str] = &["iopkt-mbuf", "iopkt-sdk"];

/// Runs the tests under Miri; without it, says how to get it, and fails only where CI asks for it.
pub fn run() -> Result<(), String> {
    let have = fuzz::nightly("cargo").args(["miri", "--version"]).output().is_ok_and(|o| o.status.success());
    if !have {
        let text =
            "miri: not installed; rustup toolchain install nightly --profile minimal -c miri -c rust-src";
        if std::env::var("CI").is_ok_and(|v| v == "true") {
            return Err(text.into());
        }
        eprintln!("{text}\nmiri: skipped");
        return Ok(());
    }
    let mut c = fuzz::nightly("cargo");
    c.args(["miri", "test"]);
    for k in CRATES {
        c.args(["-p", k]);
    }
    // Tests read the clock and the environment (proptest); Miri is slow: a few cases.
    c.env("MIRIFLAGS", "-Zmiri-disable-isolation").env("PROPTEST_CASES", "4");
    c.env("CARGO_TARGET_DIR", sh::target().join("miri"));
    sh::run(&mut c)
}
