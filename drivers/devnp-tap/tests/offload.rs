//! devnp-tap's offloads against Linux: the kernel cuts a super-segment into what `iopkt_stack::gso` makes of it (both are held to
//! the same definition), sums what was left to be summed, and gives super-segments back. Needs root, says so and passes without.

#[path = "../../../host/loader/tests/common/mod.rs"]
mod common;

use common::{World, wait};
use iopkt_loader::Driver;
use iopkt_mbuf::gso;
use std::path::PathBuf;
use std::process::Command;

const CSUM: u32 = 0x1e;
const TSO: u32 = 0x60;
const LRO: u32 = 0x80;

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

fn run(line: &str) -> Result<(), String> {
    let mut words = line.split(' ');
    let o = Command::new(words.next().unwrap_or_default())
        .args(words)
        .output()
        .map_err(|e| format!("{line}: {e}"))?;
    if o.status.success() { Ok(()) } else { Err(format!("{line}: {}", String::from_utf8_lossy(&o.stderr))) }
}

fn load(w: &World, options: &str) -> Driver {
    let exe = std::env::current_exe().unwrap();
    let so: PathBuf = exe.parent().unwrap().join("libdevnp_tap.so");
    w.load(&so.display().to_string(), options).unwrap()
}

fn sum(parts: &[&[u8]]) -> u16 {
    let all = parts.concat();
    let mut s: u64 = all.chunks(2).map(|c| u64::from(c[0]) << 8 | u64::from(*c.get(1).unwrap_or(&0))).sum();
    while s > 0xffff {
        s = (s & 0xffff) + (s >> 16);
    }
    s as u16
}

const SRC: [u8; 4] = [10, 9, 0, 2];
const DST: [u8; 4] = [10, 9, 0, 77];

/// A packet by the definition, its checksum complete or (as a device that sums gets it) partial.
fn packet(tcp: bool, ident: u16, seq: u32, fl: u8, payload: &[u8], partial: bool) -> Vec<u8> {
    let mut t = vec![0x12, 0x34, 0, 80];
    if tcp {
        t.extend(seq.to_be_bytes());
        t.extend([0, 0, 0, 1, 0x80, fl, 0x20, 0, 0, 0, 0, 0, 1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 7]);
    } else {
        t.extend((8 + payload.len() as u16).to_be_bytes());
        t.extend([0, 0]);
    }
    t.extend(payload);
    let proto = if tcp { 6 } else { 17 };
    let len = t.len() as u16;
    let pseudo = [&SRC[..], &DST, &[0, proto], &len.to_be_bytes()].concat();
    let c = if partial { sum(&[&pseudo]) } else { !sum(&[&pseudo, &t]) };
    let at = if tcp { 16 } else { 6 };
    t[at..at + 2].copy_from_slice(&(if c == 0 && !tcp { 0xffff } else { c }).to_be_bytes());
    let mut h = vec![0x45, 0];
    h.extend((20 + len).to_be_bytes());
    h.extend(ident.to_be_bytes());
    h.extend([0x40, 0, 64, proto, 0, 0]);
    h.extend(SRC);
    h.extend(DST);
    let c = !sum(&[&h]);
    h[10..12].copy_from_slice(&c.to_be_bytes());
    // To an address that the bridge has never heard of: it goes everywhere.
    [&[2, 0, 0, 0, 0, 0x77, 2, 0, 0, 0, 0, 0x42, 8, 0][..], &h, &t].concat()
}

/// Queues a packet with marks.
fn send(w: &World, ifname: &str, bytes: Vec<u8>, csum_offset: u16, kind: u8, size: u16) {
    let pool = w.env.pool.clone();
    w.rig.dev(ifname, move |d| {
        let mut m = pool.cache(0).copy_of(&bytes).unwrap();
        m.set_csum_partial(34, csum_offset);
        m.set_gso(kind, size);
        d.queue.push_back(m);
    });
}

fn caps(w: &World, ifname: &str, rx: u32, tx: u32) {
    w.rig.dev(ifname, move |d| d.dev.set_caps(rx, tx)).unwrap();
}

/// Two TAPs on a bridge of the kernel: what goes in at tapk0 with marks comes out at tapk1 as a wire would carry it.
fn bridged(w: &World) -> Option<(Driver, Driver)> {
    let d =
        (load(w, "mac=020000000042,ifname=big,up"), load(w, "mac=020000000043,ifname=small,up,nooffload"));
    for line in [
        "ip link add br0 type bridge",
        "ip link set big master br0",
        "ip link set small master br0",
        "ip link set br0 up",
    ] {
        if let Err(e) = run(line) {
            eprintln!("skipped: {e}");
            return None;
        }
    }
    w.rig.up("tapk0");
    w.rig.up("tapk1");
    caps(w, "tapk0", CSUM | LRO, CSUM | TSO);
    // A bridge's port forwards when its carrier has been seen.
    for port in ["big", "small"] {
        let state = format!("/sys/class/net/{port}/brport/state");
        if !PathBuf::from(&state).exists() {
            // /sys shows the namespace in which it was mounted.
            break;
        }
        wait("the bridge's ports", || std::fs::read_to_string(&state).is_ok_and(|s| s.trim() == "3"));
    }
    Some(d)
}

fn of_ours(f: &[u8]) -> bool {
    f.len() > 34 && f[..6] == [2, 0, 0, 0, 0, 0x77] && f[12..14] == [8, 0]
}

/// Sends until it comes out (a bridge forwards only some time after it is up), and compares.
fn expect(w: &World, go: impl Fn(), want: &[Vec<u8>]) {
    let end = std::time::Instant::now() + common::PATIENCE;
    loop {
        w.rig.seen().frames.clear();
        go();
        let t = std::time::Instant::now();
        while t.elapsed().as_millis() < 500 {
            let n = w.rig.seen().frames.iter().filter(|f| f.0 == "tapk1" && of_ours(&f.1)).count();
            if n >= want.len() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        let seen = w.rig.seen();
        let got: Vec<&Vec<u8>> =
            seen.frames.iter().filter(|f| f.0 == "tapk1" && of_ours(&f.1)).map(|f| &f.1).collect();
        // A busy machine may mix the tail of one attempt into the next: only a whole one counts.
        if got.len() == want.len() {
            for (i, (g, x)) in got.iter().zip(want).enumerate() {
                assert_eq!(*g, x, "packet {i}");
            }
            return;
        }
        assert!(std::time::Instant::now() < end, "{} packets of {} came out", got.len(), want.len());
    }
}

#[test]
fn the_kernel_cuts_and_sums_as_we_do() {
    if !alone() {
        return;
    }
    let w = World::new("tap-cuts");
    let Some(_d) = bridged(&w) else { return };
    let payload: Vec<u8> = (0..40_001u32).map(|i| ((i * 31) >> 3) as u8).collect();
    // FIN and PSH are the last one's; the identification runs over.
    let pieces = |size: usize| -> Vec<Vec<u8>> {
        let n = payload.len().div_ceil(size);
        let of = |(i, p): (usize, &[u8])| {
            let fl = if i + 1 == n { 0x19 } else { 0x10 };
            packet(
                true,
                65_530u16.wrapping_add(i as u16),
                (u32::MAX - 5000).wrapping_add((i * size) as u32),
                fl,
                p,
                false,
            )
        };
        payload.chunks(size).enumerate().map(of).collect()
    };
    for size in [1448u16, 1001] {
        let whole = packet(true, 65_530, u32::MAX - 5000, 0x19, &payload, true);
        expect(&w, || send(&w, "tapk0", whole.clone(), 16, gso::TCP4, size), &pieces(size.into()));
    }
    // Odd lengths, datagrams, and one whose sum comes out as zero.
    let mut zero = vec![0, 0, 7];
    let c = u16::from_be_bytes(packet(false, 1, 0, 0, &zero, false)[40..42].try_into().unwrap());
    zero[..2].copy_from_slice(&c.to_be_bytes());
    for data in [&zero[..], b"a", &payload[..999], &payload[..1000]] {
        let want = packet(false, 1, 0, 0, data, false);
        expect(&w, || send(&w, "tapk0", packet(false, 1, 0, 0, data, true), 6, 0, 0), &[want]);
    }
    assert_eq!(packet(false, 1, 0, 0, &zero, false)[40..42], [0xff, 0xff], "zero is sent as all ones");
}

/// The kernel's view of a lie is EINVAL: counted, and the next packet goes.
#[test]
fn marks_that_the_kernel_refuses_are_counted() {
    if !alone() {
        return;
    }
    let w = World::new("tap-refuses");
    let Some(_d) = bridged(&w) else { return };
    let ok = packet(false, 1, 0, 0, b"good", false);
    expect(
        &w,
        || send(&w, "tapk0", packet(false, 1, 0, 0, b"good", true), 6, 0, 0),
        std::slice::from_ref(&ok),
    );
    let before = w.rig.seen().errors;
    send(&w, "tapk0", packet(true, 1, 1, 0x10, &[1; 3000], true), 16, gso::TCP4, 0);
    w.rig.until("the error", |s| s.errors > before);
    expect(&w, || send(&w, "tapk0", packet(false, 1, 0, 0, b"good", true), 6, 0, 0), &[ok]);
}

/// Whatever `ethtool -K` says of the kernel's end, it leaves to us only what was asked for.
#[test]
fn a_kernel_with_every_setting_leaves_only_what_was_asked_for() {
    if !alone() {
        return;
    }
    let w = World::new("tap-ethtool");
    let _d = load(&w, "mac=020000000042,ifname=far,up");
    w.rig.up("tapk0");
    run("ip addr add 10.9.0.1/24 dev far").unwrap();
    let have = run("ethtool -K far tso on").is_ok();
    if !have {
        eprintln!("skipped in part: needs ethtool (on Debian: apt-get install ethtool)");
    }
    let settings = ["tx on tso on gso on", "tso off gso off", "tx off"];
    for caps_rx in [CSUM | LRO, CSUM, 0] {
        caps(&w, "tapk0", caps_rx, CSUM | TSO);
        for s in settings {
            if have {
                // What the driver has not asked for cannot be turned on: no matter.
                let _ = run(&format!("ethtool -K far {s}"));
            }
            let (sizes, marks) = stream(&w);
            let large = sizes.iter().any(|n| *n > 1514);
            let may = caps_rx & LRO != 0;
            assert!(
                may || !large,
                "rx={caps_rx:#x} {s}: a frame of {:?} that nobody asked for",
                sizes.iter().max()
            );
            assert!(caps_rx & CSUM != 0 || !marks, "rx={caps_rx:#x} {s}: a checksum left to us");
        }
    }
}

/// The kernel sends datagrams to nobody through `far`; they are checked as the stack would. Lengths, and whether one was left partial.
fn stream(w: &World) -> (Vec<usize>, bool) {
    // Our end of the wire answers for 10.9.0.77: a static entry, so no ARP.
    run("ip neigh replace 10.9.0.77 lladdr 02:00:00:00:00:77 dev far nud permanent").unwrap();
    w.rig.seen().frames.clear();
    let s = std::net::UdpSocket::bind("10.9.0.1:0").unwrap();
    let end = std::time::Instant::now() + common::PATIENCE;
    let sizes = [1usize, 2, 999, 1000, 1472, 4000];
    loop {
        for n in sizes {
            // ENETDOWN and the like until the carrier is there.
            let _ = s.send_to(&vec![n as u8; n], "10.9.0.77:9");
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
        if w.rig.seen().frames.iter().filter(|f| of_ours(&f.1)).count() >= 8 {
            break;
        }
        assert!(std::time::Instant::now() < end, "nothing comes out");
    }
    let seen = w.rig.seen();
    let (mut lens, mut partial) = (Vec::new(), false);
    for f in seen.frames.iter().map(|f| &f.1).filter(|f| of_ours(f)) {
        lens.push(f.len());
        let whole = f[20] & 0x3f == 0 && f[21] == 0;
        if whole && f[23] == 17 {
            let len = usize::from(u16::from_be_bytes([f[38], f[39]]));
            let good = sum(&[&f[26..34], &[0, 17], &f[38..40], &f[34..34 + len]]) == 0xffff;
            partial |= !good;
        }
    }
    (lens, partial)
}

#[test]
fn a_descriptor_with_headers_can_be_handed_over() {
    if !alone() {
        return;
    }
    let f = std::fs::File::options().read(true).write(true).open("/dev/net/tun").unwrap();
    let mut req = [0u8; 40];
    req[..4].copy_from_slice(b"hand");
    // IFF_TAP | IFF_NO_PI | IFF_VNET_HDR
    req[16..18].copy_from_slice(&0x5002u16.to_ne_bytes());
    let fd = std::os::fd::AsRawFd::as_raw_fd(&f);
    // SAFETY: TUNSETIFF takes a struct ifreq, which has 40 bytes.
    assert_eq!(unsafe { libc::ioctl(fd, libc::TUNSETIFF as _, req.as_mut_ptr()) }, 0);
    let w = World::new("tap-handed");
    let _d = load(&w, &format!("mac=020000000042,fd={fd},up"));
    let both = w.rig.dev("tapk0", |d| {
        (d.dev.description().caps_rx, d.dev.description().caps_tx, d.dev.description().caps_on)
    });
    assert!(both.0 & CSUM == CSUM && both.1 & TSO == TSO && both.2, "{both:?}");
}
