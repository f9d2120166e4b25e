//! A driver that crashes: the hardware of all is quieted, the log names the culprit, the process ends.

mod common;

use common::{Stack, build, until};
use devnp_shim as _; // so that it is built
use iopkt_ctl::{AddrInfo, AddrState, Request, iff};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

fn crash(at: &str, flags: &str, and_then: impl FnOnce(&Stack)) -> (Vec<String>, String) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/crash.c");
    let object = build(&source, "devnp-crash.so");
    let mut s = Stack::start(&format!("-t2 {flags}"));
    let session = s.session();
    // The answer may never come.
    let _ =
        session.ctl(&Request::Load { object: object.to_str().unwrap().into(), options: format!("at={at}") });
    and_then(&s);
    let mut status = None;
    until("it has ended", || {
        status = s.child.try_wait().unwrap();
        status.is_some()
    });
    let signal = if at == "abort" { 6 } else { 11 };
    assert_eq!(status.unwrap().signal(), Some(signal), "{:?}", s.dir.log());
    let quiet = std::fs::read_to_string(s.dir.0.join("quiesced")).unwrap_or_default();
    (s.dir.log(), quiet)
}

fn up(s: &Stack, name: &str) {
    let _ = s.session().ctl(&Request::SetFlags { name: name.into(), set: iff::UP, clear: 0 });
}

fn says(log: &[String], parts: &[&str]) {
    assert!(log.iter().any(|l| parts.iter().all(|p| l.contains(p))), "{parts:?} {log:?}");
}

#[test]
fn on_the_control_thread() {
    let (log, quiet) = crash("load", "", |_| {});
    says(&log, &["crash: signal 11 at devnp-crash.so+0x", "in thread crash"]);
    assert_eq!(quiet, "AB");
}

#[test]
fn on_either_packet_thread() {
    let (log, quiet) = crash("start", "", |s| up(s, "cr0"));
    says(&log, &["crash: signal 11 at devnp-crash.so+0x", "in a driver's call for cr0 in thread packet0"]);
    assert_eq!(quiet, "AB");
    let (log, quiet) = crash("start", "", |s| up(s, "cr1"));
    says(&log, &["crash: signal 11 at devnp-crash.so+0x", "in a driver's call for cr1 in thread packet1"]);
    assert_eq!(quiet, "AB");
}

#[test]
fn by_abort() {
    let (log, quiet) = crash("abort", "", |s| up(s, "cr1"));
    says(&log, &["crash: signal 6", "in a driver's call for cr1 in thread packet1"]);
    assert_eq!(quiet, "AB");
}

#[test]
fn in_the_middle_of_traffic() {
    let (log, quiet) = crash("transmit", "", |s| {
        let addr = AddrInfo {
            addr: "10.9.0.1".parse().unwrap(),
            prefix_len: 24,
            broadcast: None,
            peer: None,
            state: AddrState::Valid,
        };
        // The address is announced.
        let _ = s.session().ctl(&Request::AddAddr { name: "cr1".into(), addr, replace: true });
    });
    says(&log, &["crash: signal 11 at devnp-crash.so+0x", "in a driver's call for cr1"]);
    assert_eq!(quiet, "AB");
}

/// Runs until the crash; the log.
fn ends(mut s: Stack) -> Vec<String> {
    let mut status = None;
    until("it has ended", || {
        status = s.child.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().signal(), Some(11), "{:?}", s.dir.log());
    s.dir.log()
}

#[test]
fn in_a_module_and_in_a_legacy_drivers_own_thread() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    common::drivers();
    build(&root.join("modules/lsm-sample-c/sample.c"), "lsm-sample.so");
    let s = Stack::start("");
    // The answer may never come.
    let load = Request::Load { object: "lsm-sample.so".into(), options: "crash=1".into() };
    let _ = s.session().ctl(&load);
    says(&ends(s), &["crash: signal 11 at lsm-sample.so+0x", "in thread sample"]);
    build(&root.join("drivers/devn-sample-c/sample.c"), "devn-oldsample.so");
    let s = Stack::start("-d oldsample crash,beat=1");
    s.wait_interfaces(2);
    up(&s, "en0");
    says(&ends(s), &["crash: signal 11 at devn-oldsample.so+0x", "in thread shim"]);
}

#[test]
fn with_capital_s_nothing_is_touched() {
    let (log, quiet) = crash("start", "-S", |s| up(s, "cr0"));
    assert!(log.iter().all(|l| !l.contains("crash:")), "{log:?}");
    assert_eq!(quiet, "");
}
