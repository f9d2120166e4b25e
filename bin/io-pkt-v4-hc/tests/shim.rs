//! Drivers of the older kind, through the shim.

mod common;

use common::{Dir, Stack, address_and_neighbour, build, text, until};
use devnp_shim as _; // so that it is built
use iopkt_client::UdpSocket;
use iopkt_ctl::{Ifconf, Reply, Request, iff};
use rustix::process::Signal;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// The sample of the older kind, in the directory that is searched.
fn sample() -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../drivers/devn-sample-c/sample.c");
    common::drivers();
    // No devnp- of that name stands in the way.
    build(&source, "devn-oldsample.so")
}

fn refusal(r: Reply) -> String {
    match r {
        Reply::Err { why, .. } => why,
        other => panic!("{other:?}"),
    }
}

fn iface(s: &Stack, name: &str) -> Ifconf {
    s.interfaces().into_iter().find(|i| i.name == name).unwrap_or_else(|| panic!("{name}: {:?}", s.dir.log()))
}

fn umount(s: &Stack, what: &str) -> Reply {
    s.ctl(&Request::Unload { what: what.into() })
}

/// Sends `n` datagrams; the driver sends the frames back.
fn traffic(s: &Stack, name: &str, n: u64) {
    address_and_neighbour(s, name, Ipv4Addr::new(10, 7, 0, 1), Ipv4Addr::new(10, 7, 0, 9));
    let before = iface(s, name).counters;
    let session = s.session();
    let u = UdpSocket::bind(&session, "0.0.0.0:0".parse().unwrap()).unwrap();
    for k in 0..n {
        u.send_to(&[k as u8; 700], (Ipv4Addr::new(10, 7, 0, 9), 9).into()).unwrap();
    }
    until("the frames have come back", || iface(s, name).counters.ipackets - before.ipackets >= n);
    let c = iface(s, name).counters;
    assert_eq!((c.oqdrops, c.iqdrops, c.oerrors, c.ierrors), (0, 0, 0, 0));
    assert!(c.opackets - before.opackets >= n);
}

#[test]
fn a_bare_name_a_file_name_a_path_and_the_shim_itself() {
    let path = sample();
    let s = Stack::start("-d oldsample verbose");
    assert_eq!(s.wait_interfaces(2), ["lo0", "en0"]);
    let by = [
        ("devn-oldsample.so", "count=2".to_owned()),
        (path.to_str().unwrap(), String::new()),
        ("devnp-shim.so", "devn-oldsample.so verbose,depth=3".to_owned()),
        ("devnp-shim.so", path.to_str().unwrap().to_owned()),
    ];
    let mut made = Vec::new();
    for (object, options) in &by {
        match s.load(object, options) {
            Reply::Names(n) => made.extend(n),
            other => panic!("{object}: {other:?}"),
        }
    }
    assert_eq!(made, ["en1", "en2", "en3", "en4", "en5"]);
    assert!(s.dir.logged("devn-oldsample.so: at work"));
    let mut drivers = Vec::new();
    until("all five loads are over", || {
        let Reply::Loaded { drivers: d, .. } = s.ctl(&Request::Loaded) else { panic!() };
        drivers = d;
        drivers.len() == 5
    });
    assert!(
        drivers.iter().all(|d| d.name == "shim" && d.options.starts_with(path.to_str().unwrap())),
        "{drivers:?}"
    );
    assert_eq!(drivers[0].options, format!("{} verbose", path.display()));
    let (status, dir) = s.end(Signal::TERM);
    assert_eq!(status.code(), Some(0));
    assert!(dir.logged("devn-oldsample.so: shut down") && !dir.logged("still mapped"), "{:?}", dir.log());
    // From the command line, as the manual writes it.
    let s = {
        let dir = Dir::new();
        let child =
            dir.command("--foreground -d shim").arg("devn-oldsample.so verbose,count=1").spawn().unwrap();
        Stack::of(child, dir)
    };
    assert_eq!(s.wait_interfaces(2), ["lo0", "en0"]);
}

#[test]
fn it_shows_shim_and_a_node_and_carries_frames() {
    sample();
    for (threads, prefix) in [(1, ""), (2, "/alt")] {
        let tcpip = if prefix.is_empty() { String::new() } else { format!("-i1 -p tcpip prefix={prefix}") };
        let s = Stack::start(&format!("-t{threads} {tcpip} -d oldsample depth=8"));
        s.wait_interfaces(2);
        assert_ne!(iface(&s, "en0").flags & iff::SHIM, 0);
        let node = s.dir.root().with_prefix(prefix, "/dev/io-net/en0");
        until("waitfor would succeed", || node.exists());
        s.up("en0");
        traffic(&s, "en0", 200);
        assert_eq!(iface(&s, "en0").speed_tx, 100_000_000);
        assert!(matches!(
            s.ctl(&Request::SetMedia { name: "en0".into(), media: 0x26 }),
            Reply::Err { errno: iopkt_base::Errno::EINVAL, .. }
        ));
        assert!(matches!(s.ctl(&Request::SetMtu { name: "en0".into(), mtu: 1501 }), Reply::Err { .. }));
        // Both ways out.
        if threads == 1 {
            assert_eq!(umount(&s, "/dev/io-net/en0"), Reply::Ok);
        } else {
            assert_eq!(s.ctl(&Request::Destroy { name: "en0".into() }), Reply::Ok);
        }
        assert_eq!(s.names(), ["lo0"]);
        assert!(!s.maps("devn-oldsample.so") && !s.maps("libdevnp_shim.so"));
        assert!(node.symlink_metadata().is_err());
    }
}

#[test]
fn a_killed_stack_leaves_no_node_to_the_next() {
    sample();
    let s = Stack::start("-d oldsample");
    s.wait_interfaces(2);
    let node = s.dir.root().path("/dev/io-net/en0");
    until("the node is there", || node.exists());
    let (_, dir) = s.end(Signal::KILL);
    assert!(node.symlink_metadata().is_ok(), "the kernel takes no names away");
    let s = Stack::start_in(dir, "");
    assert!(node.symlink_metadata().is_err());
    let (status, _dir) = s.end(Signal::TERM);
    assert_eq!(status.code(), Some(0));
}

#[test]
fn umount_takes_the_whole_driver_and_native_ones_refuse() {
    sample();
    let s = Stack::start("-d oldsample count=2,beat=1 -d sample");
    s.wait_interfaces(4);
    ["en0", "en1"].iter().for_each(|n| s.up(n));
    until("frames come", || iface(&s, "en1").counters.ipackets > 5);
    for what in ["smp0", "devnp-sample.so"] {
        assert!(refusal(umount(&s, what)).contains("ifconfig smp0 destroy"));
    }
    // By its own file's name; or by an interface: all of that driver's go.
    assert_eq!(umount(&s, "devn-oldsample.so"), Reply::Ok);
    assert_eq!(s.names(), ["lo0", "smp0"]);
    let r = s.load("devn-oldsample.so", "count=2");
    assert!(matches!(r, Reply::Names(_)), "{r:?}");
    assert_eq!(umount(&s, "en1"), Reply::Ok);
    assert_eq!(s.names(), ["lo0", "smp0"]);
    assert!(!s.maps("devn-oldsample.so"));
}

#[test]
fn what_does_not_fit_is_refused() {
    let path = sample();
    let s = Stack::start("");
    let text_file = path.with_file_name("devn-text.so");
    std::fs::write(&text_file, "no object").unwrap();
    let native = common::drivers().join("devnp-sample.so");
    let as_old = path.with_file_name("devn-native.so");
    std::fs::copy(&native, &as_old).unwrap();
    let old = "devn-oldsample.so";
    for (object, options, part) in [
        (old, "name=wan", "unknown option name; it takes verbose,count=,"),
        (old, "verbose,unit=3", "unknown option unit"),
        (old, "bogus", "unknown option bogus"),
        (old, "count", "option count needs a value"),
        (old, "fail", "failed to load: No such device or address"),
        (old, "none", "found no device"),
        (old, "count=9", "failed to load"),
        ("devnp-shim.so", "", "name the driver"),
        ("devnp-shim.so", "devn-nosuch.so x", "no devn-nosuch.so in"),
        (text_file.to_str().unwrap(), "", "cannot load"),
        (as_old.to_str().unwrap(), "", "exports no devn_entry"),
    ] {
        let e = refusal(s.load(object, options));
        assert!(e.contains(part), "{object} {options}: {e}");
        assert_eq!(e.lines().count(), 1);
        assert!(s.dir.logged(&e), "{e}");
        assert!(!s.maps("devn-") && !s.maps("devnp_shim"), "{object} {options}");
        assert_eq!(s.names(), ["lo0"]);
    }
    drop(s);
    // On the command line: in the log, and with -v on the console.
    let d = Dir::new();
    let out = d.run("-v -d oldsample name=wan");
    assert!(
        out.status.success() && text(&out.stderr).contains("unknown option name"),
        "{}",
        text(&out.stderr)
    );
    assert_eq!(d.session("").ctl(&Request::Shutdown).unwrap(), Reply::Ok);
    until("it has ended", || !d.socket("").exists());
}
