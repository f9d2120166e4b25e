//! A driver that does not come back from a call: it is named in the log, and everything that is not behind it goes on.

mod common;

use common::{Stack, build, until};
use iopkt_ctl::{Reply, Request, iff};
use rustix::process::Signal;
use std::path::{Path, PathBuf};

fn object() -> PathBuf {
    common::drivers();
    build(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hang.c"), "devnp-hang.so")
}

fn logged(s: &Stack, part: &str) {
    until(&format!("the log has '{part}'"), || s.dir.logged(part));
}

/// What works as long as packet thread 0 does: requests, loads, interfaces.
fn goes_on(s: &Stack, name: &str) {
    let r = s.load("devnp-sample.so", &format!("name={name}"));
    assert_eq!(r, Reply::Names(vec![format!("{name}0")]));
    s.up(&format!("{name}0"));
    assert_eq!(s.ctl(&Request::Destroy { name: format!("{name}0") }), Reply::Ok);
}

#[test]
fn in_load() {
    object();
    // For ever, as far as this test is concerned: the start goes on, and so does all else, the end too.
    let s = Stack::start("-d hang at=load,ms=600000 -d sample name=st");
    logged(&s, "driver hang is still loading");
    logged(&s, "devnp-hang.so: its load hangs: no word for 5 s");
    goes_on(&s, "go");
    until("the next driver of the command line is there", || s.names().contains(&"st0".to_owned()));
    let (status, dir) = s.end(Signal::TERM);
    assert_eq!(status.code(), Some(0));
    assert!(dir.logged("driver hang did not end in time; ending without it"), "{:?}", dir.log());
}

#[test]
fn in_a_call_on_the_second_packet_thread() {
    object();
    // Devices are dealt in turn: st0 to thread 0, ha0 to thread 1.
    let s = Stack::start("-t2 -d sample name=st -d hang at=start,ms=14000");
    s.wait_interfaces(3);
    let r = s.ctl(&Request::SetFlags { name: "ha0".into(), set: iff::UP, clear: 0 });
    assert_eq!(r, Reply::Ok);
    logged(&s, "packet thread 1 in the driver's call for ha0: has not come back for");
    assert!(!s.dir.logged("it has come back"), "the stack answers while the other thread hangs");
    // Attaching more devices is dealt to the thread that has fewest, so this one may have to wait; requests do not.
    assert_eq!(s.names(), ["lo0", "st0", "ha0"]);
    s.up("st0");
    logged(&s, "packet thread 1 in the driver's call for ha0: it has come back after");
    assert_eq!(s.ctl(&Request::Destroy { name: "ha0".into() }), Reply::Ok);
    assert!(!s.maps("devnp-hang.so"));
}

#[test]
fn in_a_call_on_the_stacks_own_thread() {
    object();
    // The worst case: nothing answers; the log tells why, and all is as before when it comes back.
    let s = Stack::start("-t1 -d hang at=bind,ms=9000");
    logged(&s, "packet thread 0 in the driver's call for ha0: has not come back for");
    assert!(s.dir.logged("the stack and all its sockets stand still"), "{:?}", s.dir.log());
    logged(&s, "packet thread 0 in the driver's call for ha0: it has come back after");
    assert_eq!(s.wait_interfaces(2), ["lo0", "ha0"]);
    goes_on(&s, "go");
}

#[test]
fn what_other_threads_receive_meanwhile_is_kept_or_counted() {
    object();
    // st0 is on thread 1 and receives a frame each millisecond; the ring to the stack holds 1,024.
    let s = Stack::start("-t2 -d hang at=start,ms=9000 -d sample name=st,beat=1");
    s.wait_interfaces(3);
    s.up("st0");
    let counters = || s.interfaces().into_iter().find(|i| i.name == "st0").unwrap().counters;
    until("frames come", || counters().ipackets > 10);
    assert_eq!(counters().iqdrops, 0);
    s.up("ha0");
    logged(&s, "packet thread 0 in the driver's call for ha0: it has come back after");
    until("the drops are counted", || counters().iqdrops > 1000);
    let c = counters();
    assert!(c.ipackets > 1024, "{c:?}");
}

#[test]
fn in_unload() {
    object();
    let s = Stack::start("-d hang at=unload,ms=600000");
    s.wait_interfaces(2);
    let r = s.ctl(&Request::Destroy { name: "ha0".into() });
    match r {
        Reply::Err { why, .. } => {
            assert!(why.contains("devnp-hang.so: has not come back from a call yet"), "{why}")
        }
        other => panic!("{other:?}"),
    }
    goes_on(&s, "go");
    // Loading it once more gets an image of its own.
    assert_eq!(s.load("devnp-hang.so", "at=none,ms=0"), Reply::Names(vec!["ha0".into()]));
    assert_eq!(s.ctl(&Request::Destroy { name: "ha0".into() }), Reply::Ok);
}
