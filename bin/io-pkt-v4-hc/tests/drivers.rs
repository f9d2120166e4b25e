//! Drivers: loaded, refused, removed, unloaded; two packet threads.

mod common;

use common::{Dir, Stack, drivers, text, until};
use iopkt_client::UdpSocket;
use iopkt_ctl::{AddrInfo, AddrState, ArpEntry, Ifconf, Reply, Request};
use rustix::process::Signal;
use std::net::{IpAddr, Ipv4Addr};

fn destroy(s: &Stack, name: &str) -> Reply {
    s.ctl(&Request::Destroy { name: name.into() })
}

fn names(r: Reply) -> Vec<String> {
    match r {
        Reply::Names(n) => n,
        other => panic!("{other:?}"),
    }
}

fn refusal(r: Reply) -> String {
    match r {
        Reply::Err { why, .. } => why,
        other => panic!("{other:?}"),
    }
}

fn addr(s: &Stack, name: &str, ip: Ipv4Addr) {
    let addr = AddrInfo {
        addr: IpAddr::V4(ip),
        prefix_len: 24,
        broadcast: None,
        peer: None,
        state: AddrState::Valid,
    };
    assert_eq!(s.ctl(&Request::AddAddr { name: name.into(), addr, replace: true }), Reply::Ok);
}

/// A neighbour that needs no asking.
fn neighbour(s: &Stack, ip: Ipv4Addr) {
    let e = ArpEntry {
        ip,
        mac: Some([2, 0, 0, 0, 0, 9]),
        ifname: None,
        permanent: true,
        published: false,
        proxy: false,
        expires: None,
    };
    assert_eq!(s.ctl(&Request::AddArp(e)), Reply::Ok);
}

fn iface(s: &Stack, name: &str) -> Ifconf {
    s.interfaces().into_iter().find(|i| i.name == name).unwrap()
}

#[test]
fn drivers_of_the_command_line_come_in_their_order() {
    let s = Stack::start("-d sample name=en -dsample name=en,devices=2 -d sample name=wan,unit=7");
    assert_eq!(s.wait_interfaces(5), ["lo0", "en0", "en1", "en2", "wan7"]);
    let Reply::Loaded { drivers, modules } = s.ctl(&Request::Loaded) else { panic!() };
    assert_eq!((drivers.len(), modules.len()), (3, 0));
    assert_eq!(
        (drivers[1].options.as_str(), &drivers[1].interfaces[..]),
        ("name=en,devices=2", &["en1".to_owned(), "en2".to_owned()][..])
    );
    assert!(drivers[0].path.ends_with("devnp-sample.so") && drivers[0].name == "sample");
}

#[test]
fn an_interface_is_made_and_destroyed_and_the_object_goes_with_its_last() {
    let s = Stack::start("");
    let made = names(s.load("devnp-sample.so", "devices=2,named"));
    assert_eq!(made.len(), 2);
    assert!(s.maps("devnp-sample.so"));
    assert_eq!(destroy(&s, &made[0]), Reply::Ok);
    assert!(s.maps("devnp-sample.so"), "the other one is still there");
    assert_eq!(s.names(), ["lo0", &made[1]]);
    s.up(&made[1]);
    assert_eq!(destroy(&s, &made[1]), Reply::Ok);
    assert!(!s.maps("devnp-sample.so"), "it is unmapped when destroy is answered");
    assert_eq!(s.names(), ["lo0"]);
    assert!(matches!(destroy(&s, &made[1]), Reply::Err { errno: iopkt_base::Errno::ENXIO, .. }));
    // Again, many times: nothing is left behind.
    let files = s.open_files();
    for _ in 0..20 {
        let made = names(s.load(drivers().join("devnp-sample.so").to_str().unwrap(), "devices=3,named"));
        made.iter().for_each(|n| s.up(n));
        made.iter().for_each(|n| assert_eq!(destroy(&s, n), Reply::Ok));
        assert!(!s.maps("devnp-sample.so"));
    }
    // The sessions of this test end a little later than their answers.
    until("as many descriptors are open as before", || s.open_files() <= files);
}

#[test]
fn what_cannot_be_loaded_is_refused_with_one_line() {
    let s = Stack::start("");
    let file = s.dir.0.join("devnp-text.so");
    std::fs::write(&file, "no object").unwrap();
    for (object, options, part) in [
        ("devnp-nosuch.so", "", "no devnp-nosuch.so in"),
        (file.to_str().unwrap(), "", "not an ELF file"),
        ("devnp-sample.so", "bogus", "unknown option bogus"),
        ("devnp-sample.so", "fail", "devnp-sample.so"),
        ("devnp-sample.so", "nodev", "devnp-sample.so"),
        ("devnp-sample.so", "attachfail", "devnp-sample.so"),
    ] {
        let e = refusal(s.load(object, options));
        assert!(e.contains(part), "{object} {options}: {e}");
        assert_eq!(e.lines().count(), 1);
        assert!(s.dir.logged(&e), "{e}: {:?}", s.dir.log());
        assert!(!s.maps("devnp-"), "{object} {options}");
        assert_eq!(s.names(), ["lo0"]);
    }
}

#[test]
fn errors_of_the_command_line_go_to_the_log_and_with_v_to_the_console() {
    for (flag, console) in [("", false), ("-v ", true)] {
        let d = Dir::new();
        let out = d.run(&format!("{flag}-d sample bogus -d nosuch -d sample name=ok"));
        // The stack goes on without them.
        assert!(out.status.success());
        let on_console = text(&out.stderr);
        for part in ["unknown option bogus", "no devnp-nosuch.so in"] {
            assert!(d.logged(part));
            assert_eq!(on_console.contains(part), console, "{on_console}");
        }
        assert!(
            matches!(d.session("").ctl(&Request::Loaded).unwrap(), Reply::Loaded { drivers, .. } if drivers.len() == 1)
        );
        assert_eq!(d.session("").ctl(&Request::Shutdown).unwrap(), Reply::Ok);
        until("it has ended", || !d.socket("").exists());
    }
}

#[test]
fn umount_is_refused_with_the_hint() {
    let s = Stack::start("-d sample");
    let name = s.wait_interfaces(2).remove(1);
    for what in ["devnp-sample.so", "sample", name.as_str(), &format!("/dev/io-net/{name}")] {
        let e = refusal(s.ctl(&Request::Unload { what: what.into() }));
        assert!(e.contains(&format!("ifconfig {name} destroy")), "{e}");
    }
    assert!(
        refusal(s.ctl(&Request::Unload { what: "nothing".into() }))
            .contains("no driver or module has this name")
    );
    assert_eq!(s.names().len(), 2);
}

#[test]
fn a_device_that_leaves_takes_its_interface_and_its_driver_along() {
    for threads in [1, 2] {
        let s = Stack::start(&format!("-t{threads}"));
        // With two threads the second device is on the second.
        let stays = names(s.load("devnp-sample.so", "name=st")).remove(0);
        let goes = names(s.load("devnp-sample.so", "name=go,depart=20")).remove(0);
        s.up(&goes);
        until("it has gone", || s.names() == ["lo0", &stays]);
        until(
            "its driver is unloaded",
            || matches!(s.ctl(&Request::Loaded), Reply::Loaded { drivers, .. } if drivers.len() == 1),
        );
        assert_eq!(destroy(&s, &stays), Reply::Ok);
        assert!(!s.maps("devnp-sample.so"));
    }
}

#[test]
fn a_driver_that_wants_to_stay_stays() {
    let s = Stack::start("");
    let name = names(s.load("devnp-sample.so", "stay")).remove(0);
    assert_eq!(destroy(&s, &name), Reply::Ok);
    assert_eq!(s.names(), ["lo0"]);
    assert!(s.maps("devnp-sample.so"));
    let Reply::Loaded { drivers, .. } = s.ctl(&Request::Loaded) else { panic!() };
    assert_eq!((drivers.len(), drivers[0].interfaces.len()), (1, 0));
}

#[test]
fn the_hardware_is_described() {
    let s = Stack::start("-t2 -d sample devices=2");
    let names = s.wait_interfaces(3);
    let Reply::NicInfo(all) = s.ctl(&Request::NicInfo { name: None }) else { panic!() };
    let mut got: Vec<_> = all.iter().map(|n| n.ifname.clone()).collect();
    got.sort();
    assert_eq!(got, names[1..]);
    assert!(all.iter().all(|n| !n.description.is_empty() && !n.fields.is_empty()));
    // An alias names the real one.
    let Reply::NicInfo(one) = s.ctl(&Request::NicInfo { name: Some("en1".into()) }) else { panic!() };
    assert_eq!(one[0].ifname, names[2]);
    assert!(refusal(s.ctl(&Request::NicInfo { name: Some("lo0".into()) })).contains("lo0"));
}

/// Sends `n` datagrams to a neighbour behind each interface; the devices loop the frames back.
fn traffic(s: &Stack, names: &[String], n: u64) {
    for (i, name) in names.iter().enumerate() {
        addr(s, name, Ipv4Addr::new(10, 0, i as u8, 1));
        neighbour(s, Ipv4Addr::new(10, 0, i as u8, 9));
    }
    until("the links are up", || names.iter().all(|i| iface(s, i).link == iopkt_ctl::LinkState::Up));
    let before: Vec<_> = names.iter().map(|i| iface(s, i).counters).collect();
    let session = s.session();
    let u = UdpSocket::bind(&session, "0.0.0.0:0".parse().unwrap()).unwrap();
    for k in 0..n {
        for i in 0..names.len() {
            u.send_to(&[k as u8; 200], (Ipv4Addr::new(10, 0, i as u8, 9), 9).into()).unwrap();
        }
        if k % 64 == 63 {
            // Not faster than the rings of the devices: this is about arriving, not about dropping.
            let want = k + 1;
            until("the frames have come back", || {
                names.iter().zip(&before).all(|(i, b)| iface(s, i).counters.ipackets - b.ipackets >= want)
            });
        }
    }
    for (i, b) in names.iter().zip(&before) {
        let c = iface(s, i).counters;
        assert!(c.opackets - b.opackets >= n, "{i}: {c:?}");
        assert_eq!((c.oqdrops, c.iqdrops, c.oerrors), (0, 0, 0), "{i}");
    }
}

#[test]
fn two_devices_on_two_threads_use_both() {
    let s = Stack::start("-t2 -d sample name=a -d sample name=b");
    let names = s.wait_interfaces(3)[1..].to_vec();
    assert!(s.dir.logged("a0: ") && s.dir.logged("(packet thread 0)") && s.dir.logged("(packet thread 1)"));
    let runs = |n: &str| s.switches().iter().find(|t| t.0 == n).map(|t| t.1).unwrap();
    let before = (runs("packet0"), runs("packet1"));
    traffic(&s, &names, 1280);
    let after = (runs("packet0"), runs("packet1"));
    // Each batch needs the second thread at least once, to send and to receive.
    assert!(after.1 - before.1 >= 20, "{before:?} {after:?}");
    assert!(after.0 - before.0 >= 20, "{before:?} {after:?}");
}

#[test]
fn one_thread_serves_many_devices() {
    let s = Stack::start("-t1 -d sample devices=4,slow");
    let names = s.wait_interfaces(5)[1..].to_vec();
    assert_eq!(s.switches().iter().filter(|t| t.0.starts_with("packet")).count(), 1);
    traffic(&s, &names, 256);
}

#[test]
fn it_ends_in_good_order_with_drivers_at_work() {
    let s = Stack::start("-t2 -d sample devices=2,beat=1,named -d sample wait=60");
    let names = s.wait_interfaces(3)[1..].to_vec();
    names.iter().for_each(|n| s.up(n));
    until("frames arrive on both", || names.iter().all(|n| iface(&s, n).counters.ipackets > 10));
    let link = s.dir.root().path("/dev/sample0");
    assert!(link.symlink_metadata().is_ok());
    let (status, dir) = s.end(Signal::TERM);
    assert_eq!(status.code(), Some(0), "{:?}", dir.log());
    assert!(link.symlink_metadata().is_err());
    assert!(dir.logged("ended") && !dir.logged("did not end in time"), "{:?}", dir.log());
}

#[test]
fn a_driver_that_takes_long_does_not_hold_the_start() {
    let d = Dir::new();
    let out = d.run("-d sample wait=3600 -d sample name=b");
    assert!(out.status.success());
    let session = d.session("");
    assert!(d.logged("still loading"), "{:?}", d.log());
    let Reply::Interfaces(l) = session.ctl(&Request::Interfaces { name: None }).unwrap() else { panic!() };
    assert_eq!(l.iter().map(|i| i.name.as_str()).collect::<Vec<_>>(), ["lo0", "b0"]);
    assert_eq!(session.ctl(&Request::Shutdown).unwrap(), Reply::Ok);
    until("it has ended", || !d.socket("").exists());
    let pid = d.pid("");
    until("its process is gone", || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ")
    });
    assert!(!d.logged("did not end in time"), "{:?}", d.log());
}
