//! Linux's own ECM + ACM gadget, exported over USB/IP from a Debian kernel under QEMU, driven by devnp-ecm.

use iopkt_tests::{Lab, guest, until};
use std::time::Duration;

#[test]
fn enumerate_link_ping_tcp_at_unplug_and_replug() {
    guest::with_guest(guest::GADGET, |mut g| {
        let mut lab = Lab::new("gadget");
        lab.spawn(&format!("io-pkt-v4-hc --foreground -d ecm verbose,pnp,path={}", g.addr));
        lab.wait(Duration::from_secs(20), "test -S $IO_PKT_ROOT/dev/socket/2");

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
        let gone = until(Duration::from_secs(10), || (lab.sh("ifconfig -l").trim() == "lo0").then_some(()));
        assert!(gone.is_some(), "the interface outlived its device:\n{}", lab.log());
        g.run("plug; ip addr add 10.9.0.1/24 dev usb0 2>/dev/null; ip link set usb0 up");
        lab.sh("if_up -p -r 200 -m 100 ecm0 && ifconfig ecm0 10.9.0.2 netmask 0xffffff00 && if_up -l -r 200 -m 100 ecm0");
        let p = lab.sh("ping -c 3 -i 0.2 10.9.0.1");
        assert!(p.contains(" 0% packet loss") || p.contains("2 packets received"), "{p}");

        // Gone for good when the user says so.
        lab.sh("ifconfig ecm0 down && ifconfig ecm0 destroy");
        assert_eq!(lab.sh("ifconfig -l").trim(), "lo0");
    });
}
