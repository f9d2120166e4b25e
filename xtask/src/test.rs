//! `cargo xtask test`: installs what the tests need, builds what they load, runs them all.

use crate::sh;
use std::process::Command;

/// Debian packages by a program that each brings.
const NEEDS: &[(&str, &str)] = &[
    ("ip", "iproute2"),
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

/// Runs all tests, or those whose names contain the filter.
pub fn run(rest: &[&str]) -> Result<(), String> {
    install()?;
    // Objects and programs that tests load and start lie in target/debug.
    sh::run(sh::cargo().args(["build", "--workspace"]))?;
    let mut c = sh::cargo();
    c.args(["test", "--workspace", "--no-fail-fast"]);
    c.args(rest);
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
