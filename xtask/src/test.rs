//! `cargo xtask test`: installs what the tests need, builds what they load, runs them all.

use crate::sh;
use std::process::Command;

/// Debian packages by a program that each brings.
const NEEDS: &[(&str, &str)] = &[
    ("ip", "iproute2"),
    ("ethtool", "ethtool"),
    ("valgrind", "valgrind"),
    ("curl", "curl"),
    ("wget", "wget"),
    ("nc", "netcat-openbsd"),
    ("ssh", "openssh-client"),
    ("sshd", "openssh-server"),
    ("python3", "python3"),
    ("iperf3", "iperf3"),
    ("nginx", "nginx-light"),
    ("redis-server", "redis-server"),
    ("go", "golang-go"),
    ("busybox", "busybox-static"),
    ("tcpdump", "tcpdump"),
    ("ping", "iputils-ping"),
    ("radvd", "radvd"),
    ("dnsmasq", "dnsmasq-base"),
    ("dhcpd", "isc-dhcp-server"),
    ("kea-dhcp6", "kea-dhcp6-server"),
    ("rdisc6", "ndisc6"),
    ("atk6-thcping6", "thc-ipv6"),
    ("tracepath", "iputils-tracepath"),
    ("musl-gcc", "musl-tools"),
    ("scapy", "python3-scapy"),
    ("cc", "gcc"),
    ("make", "make"),
    ("xz", "xz-utils"),
    ("setpriv", "util-linux"),
    ("timeout", "coreutils"),
    ("cpio", "cpio"),
    ("modprobe", "kmod"),
    ("usbipd", "usbip"),
    ("qemu-system-x86_64", "qemu-system-x86"),
];

/// So many failed targets are tried again; more is no accident.
const AGAIN: usize = 3;

/// Runs all tests, or those whose names contain the filter.
///
/// What failed runs once more, alone. If it passes then, the run passes, and a line that nobody can overlook names it: a test that
/// fails now and then is a fault, of the test or of what it tests, and is to be found; but it says nothing against the change at hand.
pub fn run(rest: &[&str]) -> Result<(), String> {
    install()?;
    // Objects and programs that tests load and start lie in target/debug.
    sh::run(sh::cargo().args(["build", "--workspace"]))?;
    let mut c = sh::cargo();
    c.args(["test", "--workspace", "--no-fail-fast"]);
    c.args(rest);
    let (ok, text) = sh::tee(&mut c)?;
    if ok {
        return Ok(());
    }
    let failed = failed(&text);
    if failed.is_empty() || failed.len() > AGAIN {
        return Err(format!("cargo test failed ({} targets)", failed.len()));
    }
    for f in &failed {
        again(f)?;
    }
    for line in failed.iter().flat_map(Failed::names) {
        println!(
            "*** FLAKY: {line}: failed, then passed alone. Find out why; its first output is above. ***"
        );
    }
    Ok(())
}

/// A target of which something failed.
#[derive(Debug, PartialEq, Eq)]
struct Failed {
    /// As cargo wants it: `-p PACKAGE --test NAME`.
    target: String,
    /// Names of the tests; none when the program ended before it could tell.
    tests: Vec<String>,
}

impl Failed {
    /// A line a test, or one for a program that ended before it could tell.
    fn names(&self) -> Vec<String> {
        match self.tests.as_slice() {
            [] => vec![self.target.clone()],
            tests => tests.iter().map(|t| format!("{} {t}", self.target)).collect(),
        }
    }
}

/// What cargo's output tells: lines `test X ... FAILED`, then one that names their target.
fn failed(text: &str) -> Vec<Failed> {
    let (mut all, mut tests) = (Vec::new(), Vec::new());
    for line in text.lines() {
        if let Some(t) = line.strip_prefix("test ").and_then(|l| l.strip_suffix(" ... FAILED")) {
            tests.push(t.trim_end_matches(" - should panic").to_string());
        } else if line.trim_start().starts_with("Running ") {
            tests.clear();
        } else if let Some((_, t)) = line.split_once("error: test failed, to rerun pass `") {
            let target = t.trim_end_matches('`').to_string();
            all.push(Failed { target, tests: std::mem::take(&mut tests) });
        }
    }
    all
}

fn again(f: &Failed) -> Result<(), String> {
    let mut c = sh::cargo();
    c.arg("test").args(f.target.split_whitespace());
    if !f.tests.is_empty() {
        c.args(["--", "--exact"]).args(&f.tests);
    }
    sh::run(&mut c)
}

fn install() -> Result<(), String> {
    let missing: Vec<&str> = NEEDS.iter().filter(|n| !sh::have(n.0)).map(|n| n.1).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !sh::output(Command::new("id").arg("-u")).is_ok_and(|u| u.trim() == "0") {
        eprintln!("xtask: these packages are missing and you are not root: {}", missing.join(" "));
        eprintln!("xtask: the tests that need them say so and fail; install them and run again");
        return Ok(());
    }
    sh::run(Command::new("apt-get").args(["update", "-q"]))?;
    let mut c = Command::new("apt-get");
    c.env("DEBIAN_FRONTEND", "noninteractive");
    c.args(["install", "-y", "-q", "--no-install-recommends"]).args(missing);
    sh::run(&mut c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_read_from_what_cargo_prints() {
        let text = "     Running tests/a.rs (target/debug/deps/a-1)\n\
            test one ... ok\ntest two ... FAILED\ntest three - should panic ... FAILED\n\
            test result: FAILED. 1 passed; 2 failed\n\n\
            error: test failed, to rerun pass `-p iopkt-x --test a`\n     \
            Running tests/b.rs (target/debug/deps/b-1)\nrunning 3 tests\n\
            error: test failed, to rerun pass `-p iopkt-y --lib`\n\n\
            Caused by:\n  process didn't exit successfully (signal: 6, SIGABRT)\n";
        let f = |target: &str, tests: &[&str]| Failed {
            target: target.into(),
            tests: tests.iter().map(|t| (*t).to_string()).collect(),
        };
        assert_eq!(failed(text), [f("-p iopkt-x --test a", &["two", "three"]), f("-p iopkt-y --lib", &[])]);
        assert_eq!(failed("error: could not compile `iopkt-x`"), []);
    }
}
