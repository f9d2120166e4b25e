//! Drivers of both kinds and modules, loaded and unloaded again and again while frames flow: nothing is left behind.
//! 100 rounds, 1,000 with IO_PKT_LONG=1.

mod common;

use common::{Stack, build, until};
use devnp_shim as _; // so that it is built
use iopkt_client::UdpSocket;
use iopkt_ctl::{AddrInfo, AddrState, ArpEntry, Reply, Request};
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

fn rounds() -> usize {
    if std::env::var_os("IO_PKT_LONG").is_some_and(|v| v == "1") { 1000 } else { 100 }
}

/// What the process has.
#[derive(Debug, PartialEq, Eq)]
struct Has {
    files: usize,
    threads: usize,
    objects: usize,
    maps: usize,
    rss_kb: u64,
    data_kb: u64,
}

fn has(s: &Stack) -> Has {
    let proc = |f: &str| std::fs::read_to_string(format!("/proc/{}/{f}", s.child.id())).unwrap();
    let (maps, status) = (proc("maps"), proc("status"));
    let kb = |name: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    let object = |l: &&str| ["devn-", "devnp", "lsm-"].iter().any(|p| l.contains(p));
    Has {
        files: s.open_files(),
        threads: s.switches().len(),
        objects: maps.lines().filter(object).count(),
        maps: maps.lines().count(),
        rss_kb: kb("VmRSS:"),
        data_kb: kb("VmData:"),
    }
}

/// Gives an interface the network 10.`n`.0/24 with a neighbour .9 that the device answers for.
fn network(s: &Stack, name: &str, n: u8) {
    let addr = AddrInfo {
        addr: Ipv4Addr::new(10, n, 0, 1).into(),
        prefix_len: 24,
        broadcast: None,
        peer: None,
        state: AddrState::Valid,
    };
    assert_eq!(s.ctl(&Request::AddAddr { name: name.into(), addr, replace: true }), Reply::Ok);
    let e = ArpEntry {
        ip: Ipv4Addr::new(10, n, 0, 9),
        mac: Some([2, 0, 0, 0, 0, 9]),
        ifname: Some(name.into()),
        permanent: true,
        published: false,
        proxy: false,
        expires: None,
    };
    assert_eq!(s.ctl(&Request::AddArp(e)), Reply::Ok);
}

fn packets(s: &Stack, name: &str) -> u64 {
    s.interfaces().iter().find(|i| i.name == name).map_or(0, |i| i.counters.ipackets)
}

fn load(s: &Stack, object: &str, options: &str) -> Vec<String> {
    match s.load(object, options) {
        Reply::Names(n) => n,
        other => panic!("{object} {options}: {other:?} {:?}", s.dir.log()),
    }
}

/// One round: a native driver, one of the older kind, a module; each works, and goes in one of the ways there are.
fn round(s: &Stack, n: usize) {
    let native = load(s, "devnp-sample.so", "name=na,devices=2,beat=1,named").remove(0);
    let old = load(s, "devn-oldsample.so", "beat=1").remove(0);
    assert_eq!(load(s, "lsm-sample.so", &format!("if={native},to=2:0:0:0:0:9,every=1,arp")), [""; 0]);
    network(s, &native, 11);
    network(s, &old, 12);
    until("both have received", || packets(s, &native) > 2 && packets(s, &old) > 2);
    let umount = |what: &str| assert_eq!(s.ctl(&Request::Unload { what: what.into() }), Reply::Ok, "{what}");
    let destroy =
        |what: &str| assert_eq!(s.ctl(&Request::Destroy { name: what.into() }), Reply::Ok, "{what}");
    if n.is_multiple_of(2) {
        umount("lsm-sample.so");
    }
    destroy(&native);
    destroy("na1");
    if n.is_multiple_of(3) {
        destroy(&old)
    } else {
        umount(&old)
    }
    if n % 2 == 1 {
        umount("lsm-sample.so");
    }
}

#[test]
fn nothing_is_left_behind() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    common::drivers();
    build(&root.join("modules/lsm-sample-c/sample.c"), "lsm-sample.so");
    build(&root.join("drivers/devn-sample-c/sample.c"), "devn-oldsample.so");
    // One device stays and carries frames all the time.
    let s = Stack::start("-t2 -d sample name=st,beat=1");
    s.wait_interfaces(2);
    network(&s, "st0", 10);
    s.up("st0");
    let (end, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let session = s.session();
            let u = UdpSocket::bind(&session, "0.0.0.0:0".parse().unwrap()).unwrap();
            while !end.load(Ordering::Relaxed) {
                for net in 10..13 {
                    // To interfaces that come and go: no route is an answer too.
                    if u.send_to(&[7; 900], (Ipv4Addr::new(10, net, 0, 9), 9).into()).is_ok() {
                        sent.fetch_add(1, Ordering::Relaxed);
                    }
                }
                std::thread::sleep(std::time::Duration::from_micros(300));
            }
        });
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| all_rounds(&s, rounds())));
        end.store(true, Ordering::Relaxed);
        if let Err(e) = done {
            std::panic::resume_unwind(e);
        }
    });
    let sent = sent.into_inner();
    let still = packets(&s, "st0");
    assert!(sent > 1000 && still > 1000, "there was traffic all the time: sent {sent}, st0 received {still}");
    println!("{sent} datagrams sent meanwhile, {still} frames received by the interface that stayed");
    let bad: Vec<_> = s
        .dir
        .log()
        .into_iter()
        .filter(|l| l.contains("fault of") || l.contains("still holds") || l.contains("still mapped"))
        .collect();
    assert_eq!(bad, [""; 0]);
}

fn all_rounds(s: &Stack, rounds: usize) {
    // The first ones fill caches and tables that stay.
    (0..rounds / 5).for_each(|n| round(s, n));
    let before = has(s);
    (0..rounds).for_each(|n| round(s, n));
    let mut after = has(s);
    println!("{rounds} rounds: {before:?} -> {after:?}");
    until(&format!("as little as before is open: {before:?} {after:?}"), || {
        after = has(s);
        after.files <= before.files && after.threads <= before.threads && after.objects <= before.objects
    });
    // What the C library's heaps and the log's ring have touched first now; over many rounds a leak of one page in each
    // would show, over few one of three objects' worth.
    let limit = before.rss_kb + 2048 + rounds as u64;
    assert!(after.rss_kb <= limit, "{before:?} {after:?}");
}
