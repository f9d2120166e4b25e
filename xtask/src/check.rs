//! Everything that is not a test: format, lints, edges, the proof that the core cannot reach the host,
//! licences, instructions.

use crate::{budget, edges, rules, sh};

/// Crates that must build where there is no operating system.
const PURE: &[&str] = &[
    "iopkt-base",
    "iopkt-mbuf",
    "iopkt-wide",
    "iopkt-wire",
    "iopkt-bpf",
    "iopkt-tcp",
    "iopkt-ctl",
    "iopkt-stack",
    "iopkt-inet",
    "iopkt-inet6",
    "iopkt-autoconf",
    "iopkt-sockproto",
    "iopkt-sockserver",
    "iopkt-abi",
    "iopkt-usbip",
    "iopkt-gadget",
];

/// Runs all checks; the first that fails ends it.
pub fn run() -> Result<(), String> {
    sh::run(sh::cargo().args(["fmt", "--all", "--check"]))?;
    let bad = edges::violations(&edges::graph()?);
    if !bad.is_empty() {
        return Err(bad.join("\n"));
    }
    rules::check()?;
    sh::run(sh::cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    no_host()?;
    deny()?;
    budget::run(false)
}

/// The core links for a target that has no operating system: no clock, no threads, no files, no randomness.
fn no_host() -> Result<(), String> {
    const TARGET: &str = "x86_64-unknown-none";
    let have = sh::output(std::process::Command::new("rustup").args(["target", "list", "--installed"]))
        .is_ok_and(|l| l.lines().any(|l| l == TARGET));
    if !have {
        sh::run(std::process::Command::new("rustup").args(["target", "add", TARGET]))?;
    }
    let mut c = sh::cargo();
    c.args(["check", "--target", TARGET]);
    for p in PURE {
        c.args(["-p", p]);
    }
    sh::run(&mut c)
}

fn deny() -> Result<(), String> {
    if !sh::have("cargo-deny") && sh::output(sh::cargo().args(["deny", "--version"])).is_err() {
        eprintln!("+ cargo-deny is not installed: building it, some minutes");
        sh::run(sh::cargo().args(["install", "--locked", "cargo-deny"]))?;
    }
    // The advisory database is fetched from a host that a closed network may not reach; licences, bans and
    // sources need no network.
    sh::run(sh::cargo().args(["deny", "check", "licenses", "bans", "sources"]))
}
