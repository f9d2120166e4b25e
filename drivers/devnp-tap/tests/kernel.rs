//! devnp-tap.so against Linux's own stack, in network namespaces that the tests make. Needs root (it says so
//! and passes without); runs nothing outside its namespaces.

#[path = "../../../host/loader/tests/common/mod.rs"]
mod common;

use common::{PATIENCE, World, fds, wait};
use iopkt_base::Errno;
use iopkt_loader::{Driver, Error, Unloaded};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::Command;

const US: [u8; 6] = [2, 0, 0, 0, 0, 0x42];

/// The driver as cargo built it.
fn object() -> String {
    let exe = std::env::current_exe().unwrap();
    let deps = exe.parent().unwrap();
    let so: PathBuf = deps.join("libdevnp_tap.so");
    assert!(so.exists(), "{} has been built with the test", so.display());
    so.display().to_string()
}

/// Puts the calling thread, and what it starts, into a network namespace of its own. False without root.
fn alone() -> bool {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root for a network namespace");
        return false;
    }
    // SAFETY: only moves the calling thread into a new namespace.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0, "{}", std::io::Error::last_os_error());
    true
}

fn ip(args: &str) -> String {
    let o = Command::new("ip").args(args.split(' ')).output().expect("ip(8), of package iproute2");
    assert!(o.status.success(), "ip {args}: {}", String::from_utf8_lossy(&o.stderr));
    String::from_utf8(o.stdout).unwrap()
}

fn load(w: &World, options: &str) -> Result<Driver, Error> {
    w.load(&object(), options)
}

fn arp_request(target: [u8; 4]) -> Vec<u8> {
    let mut f = vec![0xff; 6];
    f.extend(US);
    f.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    f.extend(US);
    f.extend([10, 9, 0, 2]);
    f.extend([0; 6]);
    f.extend(target);
    f.resize(60, 0);
    f
}

fn sum(b: &[u8]) -> [u8; 2] {
    let mut s: u32 = b.chunks(2).map(|c| u32::from(c[0]) << 8 | u32::from(*c.get(1).unwrap_or(&0))).sum();
    while s > 0xffff {
        s = (s & 0xffff) + (s >> 16);
    }
    (!(s as u16)).to_be_bytes()
}

fn echo_request(to: [u8; 6], seq: u16, size: usize) -> Vec<u8> {
    let mut icmp = vec![8, 0, 0, 0, 0x12, 0x34];
    icmp.extend(seq.to_be_bytes());
    icmp.extend((0..size).map(|i| (i as u8).wrapping_mul(7).wrapping_add(seq as u8)));
    let s = sum(&icmp);
    icmp[2..4].copy_from_slice(&s);
    let mut h = vec![0x45, 0];
    h.extend((20 + icmp.len() as u16).to_be_bytes());
    h.extend([0, 0, 0x40, 0, 64, 1, 0, 0, 10, 9, 0, 2, 10, 9, 0, 1]);
    let s = sum(&h);
    h[10..12].copy_from_slice(&s);
    [&to[..], &US[..], &[8, 0][..], &h, &icmp].concat()
}

/// Brings our end up, gives the kernel's an address, and makes the two know each other. The kernel's MAC.
fn meet(w: &World, tap: &str) -> [u8; 6] {
    ip(&format!("addr add 10.9.0.1/24 dev {tap}"));
    w.rig.up("tapk0");
    w.rig.until("the link", |s| s.links.last().is_some_and(|l| l.1.up == Some(true)));
    w.rig.send("tapk0", &arp_request([10, 9, 0, 1]));
    let is_reply =
        |f: &[u8]| f.get(12..14) == Some(&[8, 6]) && f[20..22] == [0, 2] && f[28..32] == [10, 9, 0, 1];
    w.rig.until("the kernel's ARP reply", |s| s.frames.iter().any(|f| is_reply(&f.1)));
    let seen = w.rig.seen();
    let reply = &seen.frames.iter().find(|f| is_reply(&f.1)).unwrap().1;
    assert_eq!(reply[..6], US);
    reply[6..12].try_into().unwrap()
}

/// Pings the kernel and compares every byte of every answer.
fn ping(w: &World, mac: [u8; 6], count: u16, size: usize) {
    for seq in 0..count {
        w.rig.send("tapk0", &echo_request(mac, seq, size));
    }
    let is_echo = |f: &[u8]| f.len() > 42 && f[12..14] == [8, 0] && f[23] == 1 && f[34] == 0;
    w.rig
        .until("the kernel's answers", |s| s.frames.iter().filter(|f| is_echo(&f.1)).count() >= count.into());
    let mut seen = w.rig.seen();
    for (_, f) in seen.frames.iter().filter(|f| is_echo(&f.1)) {
        let seq = u16::from_be_bytes([f[40], f[41]]);
        assert_eq!(f[42..], echo_request(mac, seq, size)[42..], "payload of answer {seq}");
    }
    seen.frames.clear();
}

#[test]
fn the_kernel_answers() {
    if !alone() {
        return;
    }
    let w = World::new("tap-answers");
    let mut d = load(&w, "mac=020000000042,up,verbose").unwrap();
    assert_eq!(w.rig.names(), ["tapk0"]);
    assert!(w.rig.logged("tap: connected to the kernel's tap0"));
    let mac = meet(&w, "tap0");
    ping(&w, mac, 300, 1000);
    let info = w.rig.dev("tapk0", |d| d.dev.nicinfo().unwrap());
    let get = |l: &str| info.iter().find(|x| x.0 == l).map(|x| x.1.as_str()).unwrap_or("none");
    assert_eq!(get("Physical Node ID"), "020000 000042");
    assert_eq!(get("Current Operation Rate"), "10000.00 Mb/s full-duplex");
    assert_eq!(get("Active Interface Type"), "TAP tap0");
    assert_eq!(get("Packets Transmitted OK"), "301");
    assert_eq!(get("Broadcast Packets Transmitted OK"), "1");
    assert_eq!(d.unload(PATIENCE).unwrap(), Unloaded::Unmapped);
    assert_eq!(d.buffers_out(), 0);
    assert!(!ip("-o link show").contains("tap0"), "the kernel's end goes with ours");
}

#[test]
fn jumbo_frames_and_a_changed_mtu() {
    if !alone() {
        return;
    }
    let w = World::new("tap-jumbo");
    let mut d = load(&w, "mac=020000000042,up,mtu=9000").unwrap();
    assert!(ip("-o link show tap0").contains("mtu 9000"));
    let mac = meet(&w, "tap0");
    ping(&w, mac, 50, 8900);
    w.rig.dev("tapk0", |d| d.dev.set_mtu(1400)).unwrap();
    assert!(ip("-o link show tap0").contains("mtu 1400"));
    ping(&w, mac, 50, 1300);
    // The kernel's user widens it behind our back: frames that no longer fit are counted, not cut.
    ip("link set tap0 mtu 4000");
    let before = w.rig.seen().errors;
    w.rig.send("tapk0", &echo_request(mac, 1, 3000));
    w.rig.until("the error", |s| s.errors > before);
    ping(&w, mac, 1, 1000);
    d.unload(PATIENCE).unwrap();
}

#[test]
fn carrier_goes_both_ways() {
    if !alone() {
        return;
    }
    let w = World::new("tap-carrier");
    let mut d = load(&w, "mac=020000000042").unwrap();
    let links = || w.rig.seen().links.iter().map(|l| l.1.up).collect::<Vec<_>>();
    w.rig.up("tapk0");
    w.rig.until("our link down", |s| s.links.last().is_some_and(|l| l.1.up == Some(false)));
    ip("link set tap0 up");
    w.rig.until("our link up", |s| s.links.last().is_some_and(|l| l.1.up == Some(true)));
    wait("the kernel's carrier", || ip("-o link show tap0").contains("LOWER_UP"));
    w.rig.dev("tapk0", |d| d.dev.stop());
    wait("the kernel's carrier to go", || ip("-o link show tap0").contains("NO-CARRIER"));
    w.rig.up("tapk0");
    wait("the kernel's carrier", || ip("-o link show tap0").contains("LOWER_UP"));
    ip("link set tap0 down");
    w.rig.until("our link down", |s| s.links.last().is_some_and(|l| l.1.up == Some(false)));
    let errors = w.rig.seen().errors;
    w.rig.send("tapk0", &arp_request([10, 9, 0, 1]));
    w.rig.until("a transmit error", |s| s.errors > errors);
    assert!(links().len() >= 4, "{:?}", links());
    d.unload(PATIENCE).unwrap();
    assert_eq!(d.buffers_out(), 0);
}

#[test]
fn an_interface_deleted_under_us_departs() {
    if !alone() {
        return;
    }
    let w = World::new("tap-deleted");
    let mut d = load(&w, "ifname=wire%d,up").unwrap();
    w.rig.up("tapk0");
    ip("link del wire0");
    w.rig.until("the departure", |s| s.departed == ["tapk0"]);
    w.rig.until("finished", |s| s.finished == [d.id()]);
    assert!(w.rig.logged("tapk0: the kernel's wire0 has gone"));
    assert_eq!(d.unload(PATIENCE).unwrap(), Unloaded::Unmapped);
}

#[test]
fn another_namespace_by_path() {
    if !alone() {
        return;
    }
    // The far end's namespace: of a thread that keeps it alive.
    let (tx, rx) = std::sync::mpsc::channel();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let t = std::thread::spawn(move || {
        assert!(alone());
        // SAFETY: plain gettid(2).
        tx.send(unsafe { libc::gettid() }).unwrap();
        let _ = ended.recv();
        ip("-o link show far0")
    });
    let tid = rx.recv().unwrap();
    let w = World::new("tap-netns");
    let mut d = load(&w, &format!("netns=/proc/self/task/{tid}/ns/net,ifname=far0,up")).unwrap();
    assert!(!ip("-o link show").contains("far0"), "not here");
    w.rig.up("tapk0");
    w.rig.until("the link", |s| s.links.last().is_some_and(|l| l.1.up == Some(true)));
    drop(end);
    assert!(t.join().unwrap().contains("far0"), "but there");
    d.unload(PATIENCE).unwrap();
    for (options, says) in [
        ("netns=/no/such", "option netns=/no/such: cannot open: No such file or directory"),
        ("netns=/etc/passwd", "option netns=/etc/passwd: cannot enter"),
    ] {
        let e = load(&w, options).err().unwrap();
        assert!(e.text.contains(says), "{e}");
    }
}

#[test]
fn errors_say_what_to_do() {
    if !alone() {
        return;
    }
    let w = World::new("tap-errors");
    let mut first = load(&w, "ifname=only0").unwrap();
    let bad = |options: &str, errno: i32, says: &str| {
        let e = load(&w, options).err().unwrap_or_else(|| panic!("{options} was taken"));
        assert!(e.text.starts_with("libdevnp_tap.so: ") && e.text.contains(says), "{options}: {e}");
        assert_eq!(e.errno, Errno(errno), "{e}");
    };
    bad("ifname=only0", libc::EBUSY, "another program has it; choose another ifname=");
    bad("ifname=lo", libc::EINVAL, "an interface of another kind has this name");
    bad("ifname=", libc::EINVAL, "option ifname needs a value");
    bad("ifname=averyveryverylongname", libc::EINVAL, "1 to 15 characters");
    bad("mac=010000000000", libc::EINVAL, "multicast");
    bad("mtu=67", libc::EINVAL, "option mtu=67: give a number from 68 to 65521");
    bad("fd=0", libc::EINVAL, "option fd=0: give a number from 3");
    bad("fd=999999", libc::EINVAL, "not an open TAP descriptor: Bad file descriptor");
    let null = std::fs::File::open("/dev/null").unwrap();
    bad(&format!("fd={}", null.as_raw_fd()), libc::EINVAL, "not an open TAP descriptor");
    bad("fd=3,ifname=x", libc::EINVAL, "leave ifname= and netns= out");
    bad("colour=red", libc::EINVAL, "unknown option colour");
    assert_eq!(w.rig.names(), ["tapk0"]);
    first.unload(PATIENCE).unwrap();
}

#[test]
fn a_descriptor_opened_by_somebody_else() {
    if !alone() {
        return;
    }
    let w = World::new("tap-fd");
    let tun = std::fs::OpenOptions::new().read(true).write(true).open("/dev/net/tun").unwrap();
    let mut req = [0u8; 40];
    req[..5].copy_from_slice(b"lent0");
    let set = |flags: i32, req: &mut [u8; 40]| {
        req[16..18].copy_from_slice(&(flags as i16).to_ne_bytes());
        // SAFETY: TUNSETIFF takes a struct ifreq of 40 bytes.
        assert_eq!(unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETIFF as _, req.as_mut_ptr()) }, 0);
    };
    set(libc::IFF_TAP | libc::IFF_NO_PI, &mut req);
    let mut d = load(&w, &format!("fd={},mac=020000000042,up", tun.as_raw_fd())).unwrap();
    let mac = meet(&w, "lent0");
    ping(&w, mac, 10, 100);
    d.unload(PATIENCE).unwrap();
    assert!(ip("-o link show").contains("lent0"), "still there: the descriptor is not ours to close");
}

#[test]
fn rounds_leave_nothing() {
    if !alone() {
        return;
    }
    let w = World::new("tap-rounds");
    load(&w, "up").unwrap().unload(PATIENCE).unwrap();
    let mine = |l: &[String]| l.iter().filter(|f| f.contains("tun")).count();
    for round in 0..30 {
        let mut d = load(&w, "mac=020000000042,up").unwrap();
        let mac = meet(&w, "tap0");
        ping(&w, mac, 20, 500);
        assert_eq!(d.unload(PATIENCE).unwrap(), Unloaded::Unmapped, "round {round}");
        w.rig.seen().links.clear();
        w.rig.seen().frames.clear();
        assert!(!ip("-o link show").contains("tap0"), "round {round}: {} descriptors", mine(&fds()));
    }
}
