//! Stack modules: found, refused, at work between interfaces, unloaded.

mod common;

use common::{Dir, Stack, build, text, until};
use iopkt_ctl::{ModuleInfo, Reply, Request};
use rustix::process::Signal;
use std::path::{Path, PathBuf};

/// The sample module in C.
fn sample() -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../modules/lsm-sample-c/sample.c");
    common::drivers(); // the same directory, on the search path
    build(&source, "lsm-sample.so")
}

fn modules(s: &Stack) -> Vec<ModuleInfo> {
    match s.ctl(&Request::Loaded) {
        Reply::Loaded { modules, .. } => modules,
        other => panic!("{other:?}"),
    }
}

fn logged(s: &Stack, part: &str) {
    until(&format!("the log has '{part}': {:?}", s.dir.log()), || s.dir.logged(part));
}

fn refusal(r: Reply) -> String {
    match r {
        Reply::Err { why, .. } => why,
        other => panic!("{other:?}"),
    }
}

fn umount(s: &Stack, what: &str) -> Reply {
    s.ctl(&Request::Unload { what: what.into() })
}

fn has_addr(s: &Stack, ifname: &str, addr: &str) -> bool {
    let i = s.interfaces().into_iter().find(|i| i.name == ifname).unwrap();
    i.addrs.iter().any(|a| a.addr.to_string() == addr)
}

/// The sample driver sends back what is sent to a station: the module hears its own question as an answer.
const ASK: &str = "if=sam0,to=2:0:0:0:0:9,every=5";

#[test]
fn a_module_of_the_command_line_hears_and_sends_frames() {
    let path = sample();
    for (threads, name) in [(1, "sample".to_owned()), (2, path.display().to_string())] {
        // Named before the driver: it is loaded after it all the same.
        let s = Stack::start(&format!("-t{threads} -p {name} {ASK},named -d sample name=sam"));
        logged(&s, "sample: sam0 is interface 2: at work");
        logged(&s, "sample: first answer");
        logged(&s, "sample: woken");
        assert!(s.interfaces().iter().any(|i| i.name == "sam0" && i.flags & iopkt_ctl::iff::UP != 0));
        until("its load is over", || !modules(&s).is_empty());
        let m = modules(&s);
        assert_eq!((m.len(), m[0].name.as_str(), Path::new(&m[0].path)), (1, "sample", path.as_path()));
        assert!(m[0].options.starts_with("if=sam0"), "{m:?}");
        let link = s.dir.root().path("/dev/lsm-sample");
        assert!(link.symlink_metadata().is_ok());
        let (status, dir) = s.end(Signal::TERM);
        assert_eq!(status.code(), Some(0));
        assert!(dir.logged("sample: ends: asked") && dir.logged("lsm-sample.so unloaded"), "{:?}", dir.log());
        assert!(link.symlink_metadata().is_err());
    }
}

#[test]
fn it_follows_interfaces_and_sets_addresses() {
    sample();
    let s = Stack::start("");
    let r = s.load("lsm-sample.so", "if=sam0,addr=10.4.0.1/24,arp");
    assert_eq!(r, Reply::Names(vec![]));
    assert!(s.maps("lsm-sample.so"));
    for round in 0..3 {
        let _ = s.load("devnp-sample.so", "name=sam");
        until("the module has given the interface its address", || has_addr(&s, "sam0", "10.4.0.1"));
        // The address is announced, the device sends it back, and the module hears it beside the stack.
        if round == 0 {
            logged(&s, "ARP heard");
        }
        assert_eq!(s.ctl(&Request::Destroy { name: "sam0".into() }), Reply::Ok);
        until("the module has seen it go", || {
            s.dir.log().iter().filter(|l| l.ends_with("sam0 is gone")).count() == round + 1
        });
    }
    let _ = s.load("devnp-sample.so", "name=sam");
    until("the address is there", || has_addr(&s, "sam0", "10.4.0.1"));
    assert_eq!(umount(&s, "lsm-sample.so"), Reply::Ok);
    assert!(!has_addr(&s, "sam0", "10.4.0.1"), "it took its address away");
    assert!(!s.maps("lsm-sample.so") && modules(&s).is_empty());
    assert!(refusal(umount(&s, "lsm-sample.so")).contains("no driver or module has this name"));
}

#[test]
fn it_may_ask_for_its_own_end() {
    sample();
    let s = Stack::start("-d sample name=sam");
    s.wait_interfaces(2);
    assert_eq!(s.load("lsm-sample.so", &format!("{ASK},done=50")), Reply::Names(vec![]));
    until("it has gone", || modules(&s).is_empty());
    until("it is unmapped", || !s.maps("lsm-sample.so"));
    assert!(s.dir.logged("sample: done"));
}

#[test]
fn what_is_no_module_or_does_not_fit_is_refused() {
    let path = sample();
    let s = Stack::start("");
    for (object, options, part) in [
        ("lsm-nosuch.so", "", "no lsm-nosuch.so in"),
        ("lsm-sample.so", "bogus", "unknown option bogus; it takes if=IF, type=N"),
        ("lsm-sample.so", "name=en", "unknown option name"),
        ("lsm-sample.so", "type=3", "option type=3: not understood"),
    ] {
        let e = refusal(s.load(object, options));
        assert!(e.contains(part), "{object} {options}: {e}");
        assert_eq!(e.lines().count(), 1);
        assert!(s.dir.logged(&e), "{e}");
        assert!(!s.maps("lsm-") && modules(&s).is_empty());
    }
    drop(s);
    // On the command line: a line in the log, with -v on the console, and the stack goes on.
    let d = Dir::new();
    let driver = path.with_file_name("devnp-sample.so");
    let out = d.run(&format!(
        "-v -p qnet bind=en0 -p avb -p ipx -d {} -p {} -p tcpip random",
        path.display(),
        driver.display()
    ));
    let console = text(&out.stderr);
    assert!(out.status.success(), "{console}");
    for part in [
        "no lsm-qnet.so in",
        "; this io-pkt comes without that module",
        "no lsm-avb.so in",
        "no lsm-ipx.so in",
        "lsm-sample.so: is a stack module, not a driver; load it with -p",
        "devnp-sample.so: is a driver, not a stack module; load it with -d",
    ] {
        assert!(console.contains(part) && d.logged(part), "{part}: {console}");
    }
    assert_eq!(d.session("").ctl(&Request::Shutdown).unwrap(), Reply::Ok);
    until("it has ended", || !d.socket("").exists());
}
