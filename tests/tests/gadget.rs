//! Linux's own gadgets, exported over USB/IP from a Debian kernel under QEMU: ECM + ACM driven by devnp-ecm, NCM by
//! devnp-ncm. One boot for both.

use iopkt_tests::guest::{self, Guest};
use iopkt_tests::{Lab, until};
use std::time::Duration;

#[test]
fn enumerate_link_ping_tcp_at_unplug_and_replug() {
    guest::with_guest(guest::GADGET, |mut g| {
        ecm(&mut g);
        ncm(&mut g);
    });
}

fn ecm(g: &mut Guest) {
    let mut lab = Lab::new("gadget");
    lab.spawn(&format!("io-pkt-v4-hc --foreground -d ecm verbose,pnp,path={}", g.addr));
    lab.wait(Duration::from_secs(60), "test -S $IO_PKT_ROOT/dev/socket/2");

    // Enumerate, link.
    lab.sh("if_up -p -r 200 -m 100 ecm0 && ifconfig ecm0 10.9.0.2 netmask 0xffffff00 && if_up -l -r 200 -m 100 ecm0");
    let show = lab.sh("ifconfig ecm0");
    assert!(show.contains("\taddress: 02:00:00:00:09:20\n"), "the gadget's host_addr: {show}");
    assert!(show.contains("\tstatus: active\n"), "{show}");
    let nic = lab.sh("nicinfo ecm0");
    assert!(nic.contains("020000 000920") && nic.contains("ECM and ACM"), "{nic}");

    // Ping: an empty frame, one that fills bulk packets to the last byte (zero-length packet), full MTU.
    for size in [56, 470, 982, 1472] {
        let p = lab.sh(&format!("ping -c 3 -i 0.1 -s {size} 10.9.0.1"));
        assert!(p.contains("3 packets received, 0% packet loss"), "size {size}: {p}");
    }

    // TCP to the guest's stack, both ways by programs that nobody here wrote.
    assert_eq!(lab.sh("io-pkt-run curl -sS http://10.9.0.1/").trim(), "hello from the gadget");
    let want = lab.sh("io-pkt-run curl -sS http://10.9.0.1/blob.md5");
    let got = lab.sh("io-pkt-run curl -sS http://10.9.0.1/blob | md5sum | cut -d' ' -f1");
    assert_eq!(got, want, "a megabyte of random bytes");

    // AT over the gadget's serial function.
    let at = lab.sh("exec 3<>$IO_PKT_ROOT/dev/serecm0; printf 'ATI\\r' >&3; timeout 3 cat <&3 || true");
    assert!(at.contains("Linux gadget") && at.contains("OK"), "{at:?}");

    // Unplug: the interface goes. Replug: it comes back under its name and works.
    g.run("unplug");
    let gone = until(Duration::from_secs(60), || (lab.sh("ifconfig -l").trim() == "lo0").then_some(()));
    assert!(gone.is_some(), "the interface outlived its device:\n{}", lab.log());
    g.run("plug; ip addr add 10.9.0.1/24 dev usb0 2>/dev/null; ip link set usb0 up");
    lab.sh("if_up -p -r 200 -m 100 ecm0 && ifconfig ecm0 10.9.0.2 netmask 0xffffff00 && if_up -l -r 200 -m 100 ecm0");
    let p = lab.sh("ping -c 3 -i 0.2 10.9.0.1");
    assert!(p.contains(" 0% packet loss") || p.contains("2 packets received"), "{p}");

    // Gone for good when the user says so.
    lab.sh("ifconfig ecm0 down && ifconfig ecm0 destroy");
    assert_eq!(lab.sh("ifconfig -l").trim(), "lo0");
}

/// What nicinfo says behind a label, as numbers.
#[track_caller]
fn numbers(lab: &Lab, label: &str) -> Vec<u64> {
    let all = lab.sh("nicinfo ncm0");
    let line =
        all.lines().find(|l| l.trim_start().starts_with(label)).unwrap_or_else(|| panic!("{label}: {all}"));
    line.split(|c: char| !c.is_ascii_digit()).filter_map(|w| w.parse().ok()).collect()
}

/// Address, link; pings of every kind of length; bytes both ways, compared.
fn ncm_carries(lab: &Lab, g: &mut Guest, mtu: u32) {
    lab.sh("if_up -p -r 200 -m 100 ncm0 && ifconfig ncm0 10.8.0.2 netmask 0xffffff00 && if_up -l -r 200 -m 100 ncm0");
    lab.sh(&format!("ifconfig ncm0 mtu {mtu}"));
    for size in [56, 470, 982, mtu - 28] {
        let p = lab.sh(&format!("ping -c 3 -i 0.1 -s {size} 10.8.0.1"));
        assert!(p.contains("3 packets received, 0% packet loss"), "size {size}: {p}\n{}", lab.log());
    }
    let want = lab.sh("io-pkt-run curl -sS http://10.8.0.1/blob.md5");
    let got = lab.sh("io-pkt-run curl -sS http://10.8.0.1/blob | md5sum | cut -d' ' -f1");
    assert_eq!(got, want, "a megabyte from the gadget\n{}", lab.log());
    g.run("rm -f /tmp/up; nc -l -p 5001 >/tmp/up &");
    g.run("while ! netstat -lnt | grep -q :5001; do sleep 0.1; done");
    lab.sh("head -c 700000 /dev/urandom >up && timeout 60 io-pkt-run nc -N 10.8.0.1 5001 <up");
    let there = g.run("wait $!; md5sum </tmp/up | cut -d' ' -f1");
    let sum = lab.sh("md5sum <up | cut -d' ' -f1");
    assert!(there.contains(sum.trim()), "bytes to the gadget: {sum} {there}\n{}", lab.log());
}

fn ncm(g: &mut Guest) {
    let mut lab = Lab::new("ncm-gadget");
    lab.spawn(&format!("io-pkt-v4-hc --foreground -d ncm verbose,pnp,path={}", g.addr));
    lab.wait(Duration::from_secs(60), "test -S $IO_PKT_ROOT/dev/socket/2");
    ncm_carries(&lab, g, 1500);
    let show = lab.sh("ifconfig ncm0");
    assert!(show.contains("\taddress: 02:00:00:00:09:40\n") && show.contains("\tstatus: active\n"), "{show}");
    let nic = lab.sh("nicinfo ncm0");
    assert!(nic.contains("CDC-NCM, io-pkt NCM alone") && nic.contains("Ntb16, up to 16384 bytes"), "{nic}");
    // Frames that were queued together went together, both ways.
    let (tx, rx) = (numbers(&lab, "Blocks Transmitted"), numbers(&lab, "Blocks Received"));
    assert!(tx[1] > tx[0] && tx[2] > 3, "blocks, frames, most: {tx:?}");
    assert!(rx[1] > rx[0] && rx[2] > 3, "blocks, frames, most: {rx:?}");
    assert_eq!(numbers(&lab, "Bad Blocks Received"), [0]);
    assert_eq!(numbers(&lab, "Block Sequence Gaps"), [0]);

    // Unplug: the interface goes. Replug: it comes back under its name and works.
    g.run("ncm_unplug");
    let gone = until(Duration::from_secs(60), || (lab.sh("ifconfig -l").trim() == "lo0").then_some(()));
    assert!(gone.is_some(), "the interface outlived its device:\n{}", lab.log());
    g.run("ncm_plug");
    ncm_carries(&lab, g, 1500);
    lab.sh("ifconfig ncm0 destroy");
    assert_eq!(lab.sh("ifconfig -l").trim(), "lo0");

    // The other form: numbers of 32 bits, and a CRC behind each frame, which Linux checks (and counts into the
    // longest frame that it takes).
    drop(lab);
    let mut lab = Lab::new("ncm-gadget-crc");
    lab.spawn(&format!("io-pkt-v4-hc --foreground -d ncm verbose,ntb32,crc,npkt=4,path={}", g.addr));
    lab.wait(Duration::from_secs(60), "test -S $IO_PKT_ROOT/dev/socket/2");
    ncm_carries(&lab, g, 1496);
    let nic = lab.sh("nicinfo ncm0");
    assert!(nic.contains("Ntb32, CRC, up to 16384 bytes"), "{nic}\n{}", lab.log());
    let tx = numbers(&lab, "Blocks Transmitted");
    assert!(tx[1] > tx[0] && tx[2] == 4, "blocks, frames, most: {tx:?}");
    assert_eq!(numbers(&lab, "Bad Frames in Blocks"), [0]);
}
