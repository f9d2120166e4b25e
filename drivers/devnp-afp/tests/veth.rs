//! devnp-afp.so on one end of a veth, packet sockets of the test's own or Linux's stack on the other, in namespaces that the
//! tests make. Needs root (it says so and passes without); runs nothing outside its namespaces.

#[path = "../../../host/loader/tests/common/mod.rs"]
mod common;

use common::{PATIENCE, World, wait};
use iopkt_loader::{Driver, Error, Unloaded};
use std::path::PathBuf;
use std::process::Command;

/// Puts the calling thread, and what it starts, into a network namespace of its own. False without root.
fn alone() -> bool {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root for a network namespace");
        return false;
    }
    // SAFETY: only moves the calling thread into a new namespace.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0, "{}", std::io::Error::last_os_error());
    for name in ["all", "default"] {
        let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1");
    }
    true
}

fn ip(args: &str) -> String {
    let o = Command::new("ip").args(args.split(' ')).output().expect("ip(8), of package iproute2");
    assert!(o.status.success(), "ip {args}: {}", String::from_utf8_lossy(&o.stderr));
    String::from_utf8(o.stdout).unwrap()
}

fn load(w: &World, options: &str) -> Result<Driver, Error> {
    let exe = std::env::current_exe().unwrap();
    let so: PathBuf = exe.parent().unwrap().join("libdevnp_afp.so");
    assert!(so.exists(), "{} has been built with the test", so.display());
    w.load(&so.display().to_string(), options)
}

/// A cable with the driver's `va` and `vb` at its other end, both up; the driver's link is up.
fn cable(w: &World, extra: &str) -> Driver {
    ip("link add name va address 02:00:00:00:00:0a type veth peer name vb address 02:00:00:00:00:0b");
    ip("link set vb up");
    let d = load(w, &format!("ifname=va,up{extra}")).unwrap();
    w.rig.up("afp0");
    w.rig.until("the link", |s| s.links.last().is_some_and(|l| l.1.up == Some(true)));
    d
}

fn frame(dst: u8, n: u8, len: usize) -> Vec<u8> {
    let mut f = vec![2, 0, 0, 0, 0, dst, 2, 0, 0, 0, 0, 0x0a, 0x88, 0xb5];
    f.extend((0..len).map(|i| (i as u8).wrapping_add(n)));
    f
}

/// A second driver at the other end. Linux drops what is sent before an interface has been seen to run.
fn other(w: &World) -> Driver {
    let d = load(w, "ifname=vb").unwrap();
    w.rig.up("afp1");
    w.rig.until("the other's link", |s| s.links.iter().any(|l| l.0 == "afp1" && l.1.up == Some(true)));
    d
}

#[test]
fn what_goes_in_comes_out_both_ways() {
    if !alone() {
        return;
    }
    let w = World::new("afp-both");
    let mut a = cable(&w, ",verbose");
    assert!(w.rig.logged("afp: attached to the kernel's va"));
    let mut b = other(&w);
    assert_eq!(w.rig.names(), ["afp0", "afp1"]);
    let test: &dyn Fn(&[u8]) -> bool = &|f| f[12..14] == [0x88, 0xb5];
    for (from, to, dst) in [("afp0", "afp1", 0x0b), ("afp1", "afp0", 0x0a)] {
        // More than one system call's worth.
        let sent: Vec<Vec<u8>> = (0..100).map(|n| frame(dst, n, 46 + usize::from(n) * 14)).collect();
        w.rig.send_all(from, sent.clone());
        let at = |s: &common::Seen| {
            s.frames.iter().filter(|f| f.0 == to && test(&f.1)).map(|f| f.1.clone()).collect::<Vec<_>>()
        };
        w.rig.until("all frames", |s| at(s).len() >= 100);
        assert_eq!(at(&w.rig.seen()), sent, "in order, byte for byte, {from} to {to}");
    }
    assert!(
        !w.rig.seen().frames.iter().any(|f| f.0 == "afp0" && f.1[..6] == [2, 0, 0, 0, 0, 0x0b]),
        "nobody hears what he said himself"
    );
    let info = w.rig.dev("afp0", |d| d.dev.nicinfo().unwrap());
    let get = |l: &str| info.iter().find(|x| x.0 == l).map(|x| x.1.as_str()).unwrap_or("none");
    assert_eq!(get("Physical Node ID"), "020000 00000A");
    assert_eq!(get("Active Interface Type"), "packet socket on va");
    assert_eq!(get("Packets Transmitted OK"), "100");
    assert_eq!(get("Promiscuous Mode"), "Off");
    for d in [&mut a, &mut b] {
        assert_eq!(d.unload(PATIENCE).unwrap(), Unloaded::Unmapped);
        assert_eq!(d.buffers_out(), 0);
    }
    assert!(ip("-o link show").contains("va@vb"), "the kernel's interface stays");
}

/// The kernel takes tags off; a cable would not have.
#[test]
fn a_vlan_tag_is_where_it_was() {
    if !alone() {
        return;
    }
    let w = World::new("afp-vlan");
    let mut a = cable(&w, "");
    let mut b = other(&w);
    let mut f = frame(0x0a, 1, 60);
    f.splice(12..12, [0x81, 0, 0x60, 7]);
    w.rig.send("afp1", &f);
    w.rig.until("the frame", |s| s.frames.iter().any(|x| x.0 == "afp0" && x.1 == f));
    for d in [&mut a, &mut b] {
        d.unload(PATIENCE).unwrap();
        assert_eq!(d.buffers_out(), 0);
    }
}

#[test]
fn the_link_is_the_kernels_and_its_end_is_ours() {
    if !alone() {
        return;
    }
    let w = World::new("afp-link");
    let mut d = cable(&w, "");
    ip("link set vb down");
    w.rig.until("link down", |s| s.links.last().is_some_and(|l| l.1.up == Some(false)));
    ip("link set va down");
    ip("link set va up");
    ip("link set vb up");
    w.rig.until("link up", |s| s.links.last().is_some_and(|l| l.1.up == Some(true)));
    w.rig.dev("afp0", |d| d.dev.set_mtu(1400)).unwrap();
    assert!(ip("-o link show va").contains("mtu 1400"));
    let r = w.rig.dev("afp0", |d| d.dev.set_caps(0, 0)).unwrap_err();
    assert_eq!(r, iopkt_base::Errno::EOPNOTSUPP, "the kernel's super-segments cannot be refused");
    ip("link del va");
    w.rig.until("departure", |s| !s.departed.is_empty());
    let _ = d.unload(PATIENCE);
    assert_eq!(d.buffers_out(), 0);
}

#[test]
fn another_address_makes_it_promiscuous() {
    if !alone() {
        return;
    }
    let w = World::new("afp-mac");
    let mut d = cable(&w, ",mac=020000000042");
    wait("promiscuity 1", || ip("-d link show va").contains("promiscuity 1"));
    d.unload(PATIENCE).unwrap();
    wait("promiscuity 0", || ip("-d link show va").contains("promiscuity 0"));
}

#[test]
fn errors_say_what_to_do() {
    if !alone() {
        return;
    }
    let w = World::new("afp-errors");
    ip("link add name d0 type veth peer name d1");
    ip("tuntap add dev t0 mode tun");
    for (options, part) in [
        ("", "ifname= is missing"),
        ("ifname=nowhere", "there is no such interface"),
        ("ifname=a-name-that-is-too-long", "1 to 15 characters"),
        ("ifname=lo,mtu=10", "mtu"),
        ("ifname=t0", "not an Ethernet interface"),
        ("ifname=d0,netns=/nowhere", "option netns=/nowhere: cannot open"),
    ] {
        let e = load(&w, options).err().unwrap_or_else(|| panic!("{options} is refused")).to_string();
        assert!(e.contains(part), "{options}: {e}");
    }
}

#[test]
fn rounds_leave_nothing() {
    if !alone() {
        return;
    }
    let w = World::new("afp-rounds");
    ip("link add name va type veth peer name vb");
    ip("link set vb up");
    let round = || {
        let mut d = load(&w, "ifname=va,up").unwrap();
        w.rig.up("afp0");
        w.rig.send("afp0", &frame(0x0b, 1, 100));
        d.unload(PATIENCE).unwrap();
        assert_eq!(d.buffers_out(), 0);
    };
    round();
    // Other tests open descriptors of their own meanwhile: a leak would be of each round.
    let packet = || common::fds().iter().filter(|f| f.starts_with("socket")).count();
    let before = packet();
    for _ in 0..60 {
        round();
    }
    assert!(packet() < before + 50, "{before} sockets before, {} after 60 rounds", packet());
}
