//! Crowds of clients on the loopback of a real io-pkt-v4: many short ones, killed ones, stopped ones beside others that go on. What
//! they had comes back: descriptors and memory of the stack.
//!
//! `IO_PKT_LONG=1` runs fifty times as many.

// kill(2) on processes that the test has started.
#![allow(clippy::undocumented_unsafe_blocks)]

mod support;

use std::process::Stdio;
use std::time::Duration;

use support::FakeStack;

/// For [`support`].
const ON_IO_PKT: bool = true;

/// What memory may grow by between two equal crowds: caches of threads, tables that keep their size. KiB.
const SLACK: u64 = 8 << 10;

fn crowd(mode: &str, way: &str, count: u32) {
    let long = std::env::var_os("IO_PKT_LONG").is_some();
    let count = if long { count * 50 } else { count };
    let limit = Duration::from_secs(if long { 3600 } else { 120 });
    let script = format!("{}/tests/bodies/crowd.py", env!("CARGO_MANIFEST_DIR"));
    let s = FakeStack::start();
    let pid = s.pid().unwrap();
    let fds = || std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
    let memory = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap_or_default().to_string();
        line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0)
    };
    let before = fds();
    let mut used = Vec::new();
    for round in 0..2 {
        let n = if round == 0 { count.min(4).max(count / 4) } else { count };
        let mut c = s.run(&[way, "/usr/bin/python3", &script, mode, &n.to_string()]);
        let child = c.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (out, err, status) = support::finish(child, limit);
        assert!(status.success() && out.trim() == "all good", "{mode} {way}: {status}\n{out}\n{err}");
        // The watch over joined connections is opened when it is first wanted.
        support::eventually(&format!("{before} descriptors, are {}", fds()), || fds() <= before + 1);
        used.push(memory());
    }
    eprintln!("{mode} {way} {count}: {before} descriptors, {used:?} KiB after");
    assert!(used[1] <= used[0] + SLACK, "{mode} {way}: {used:?} KiB");
}

#[test]
fn many_short_clients() {
    crowd("short", "--preload-only", 400);
}

#[test]
fn many_short_clients_under_the_supervisor() {
    crowd("short", "--seccomp-only", 100);
}

#[test]
fn killed_clients() {
    crowd("killed", "--preload-only", 8);
    crowd("killed", "--seccomp-only", 4);
}

#[test]
fn stopped_clients_stop_nobody_else() {
    crowd("stopped", "--preload-only", 4);
    crowd("stopped", "--seccomp-only", 2);
}
