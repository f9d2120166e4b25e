//! QEMU's own usb-net devices (full speed, 64-byte endpoints, RNDIS configuration first, a notification every 32 ms): by
//! Linux's usbip-host and our driver, by another io-usb in between, and by io-usb on the usbfs of the guest itself. One boot
//! for all.

use iopkt_tests::guest::{self, Guest};
use iopkt_tests::{Lab, until};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);
/// What a failure is understood by, in the guest.
const STATE: &str = "sloginfo | tail -50; nicinfo ecm0 | tail -16; netstat -s | grep -E ' arp|drop|deferred'; ping -c 5 10.8.0.2; \
                     dmesg | tail -20";

#[test]
fn by_usbip_host_by_io_usb_and_by_usbfs_in_the_guest() {
    guest::with_guest(guest::USB_NET, |mut g| {
        let port = serve();
        by_usbip_host(&mut g, port);
        by_an_io_usb_between(&mut g, port);
        by_usbfs_in_the_guest(&mut g, port);
        without_permission(&mut g);
        let log = g.run("dmesg | grep -E 'BUG|Oops|general protection|WARNING' || true");
        assert!(!log.contains("BUG") && !log.contains("Oops"), "the guest's kernel: {log}");
    });
}

/// A page of 300,000 bytes on this machine's loopback, where the devices' networks reach it as their .2; the port.
fn serve() -> u16 {
    let l = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = l.local_addr().expect("address").port();
    std::thread::spawn(move || {
        for s in l.incoming().flatten() {
            let mut r = BufReader::new(s);
            let mut line = String::new();
            while r.read_line(&mut line).is_ok_and(|n| n > 2) {
                line.clear();
            }
            let body: Vec<u8> = (0..300_000u32).map(|i| (i % 251) as u8).collect();
            let head = format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = r.get_mut().write_all(head.as_bytes()).and_then(|()| r.get_mut().write_all(&body));
        }
    });
    port
}

/// What md5sum says of that page.
fn page_sum(lab: &Lab) -> String {
    lab.sh(
        "python3 -c 'import hashlib; print(hashlib.md5(bytes(i % 251 for i in range(300000))).hexdigest())'",
    )
}

fn addressed(lab: &Lab, addr: &str) {
    lab.sh(&format!(
        "if_up -p -r 600 -m 100 ecm0 && ifconfig ecm0 {addr} netmask 0xffffff00 && if_up -l -r 600 -m 100 ecm0"
    ));
}

/// Frames of every kind of length, then a TCP connection of a program that nobody here wrote.
fn traffic(lab: &Lab, far: &str, port: u16) {
    // 22 and 86 bytes of payload fill one and two packets of 64 exactly, 1472 the MTU.
    for size in [56, 22, 86, 1472] {
        let p = lab.sh(&format!("ping -c 3 -i 0.1 -s {size} {far}"));
        assert!(p.contains("3 packets received, 0% packet loss"), "size {size}: {p}\n{}", lab.log());
    }
    let got = lab.sh(&format!("io-pkt-run curl -sS http://{far}:{port}/ | md5sum | cut -d' ' -f1"));
    assert_eq!(got, page_sum(lab), "{}", lab.log());
}

fn by_usbip_host(g: &mut Guest, port: u16) {
    let mut lab = Lab::new("usbip-host");
    lab.spawn(&format!("io-pkt-v4-hc --foreground -d ecm verbose,pnp,path={}", g.addr));
    addressed(&lab, "10.7.0.15");
    let show = lab.sh("ifconfig ecm0");
    assert!(show.contains("\taddress: 52:54:00:07:00:15\n") && show.contains("\tstatus: active\n"), "{show}");
    let nic = lab.sh("nicinfo ecm0");
    assert!(nic.contains("525400 070015") && nic.contains("QEMU"), "{nic}");
    traffic(&lab, "10.7.0.2", port);
    // Pulled out while frames pass.
    lab.spawn("ping -i 0.02 -c 100000 10.7.0.2");
    g.qmp("\"execute\":\"device_del\",\"arguments\":{\"id\":\"un1\"}");
    let gone = until(SOON, || (lab.sh("ifconfig -l").trim() == "lo0").then_some(()));
    assert!(gone.is_some(), "the interface outlived its device:\n{}", lab.log());
}

fn plug(g: &mut Guest, n: u8) {
    g.qmp(&format!(
        "\"execute\":\"device_add\",\"arguments\":{{\"driver\":\"usb-net\",\"bus\":\"x.0\",\"port\":\"{n}\",\
         \"netdev\":\"n{n}\",\"id\":\"un{n}\",\"mac\":\"52:54:00:0{}:00:15\"}}",
        n + 6
    ));
}

/// The same device again, given on by an io-usb that polls the stock server.
fn by_an_io_usb_between(g: &mut Guest, port: u16) {
    let mut lab = Lab::new("usbip-bus");
    lab.spawn(&format!("io-usb --foreground -d sim -d usbip,host={}", g.addr));
    lab.wait(SOON, "test -S $IO_PKT_ROOT/dev/usb");
    plug(g, 1);
    let bound = g.run("await '[ -d $d/1-1 ]' && export_one 1-1");
    // io-usb's bus 1 is the simulated one; the guest's bus 1 is another number here, and comes by itself.
    let came = until(SOON, || lab.sh("usb --json").contains("\"busid\": \"2-1\"").then_some(()));
    assert!(came.is_some(), "{bound}\n{}\n{}", lab.sh("io-usb -c list"), lab.log());
    lab.spawn("io-pkt-v4-hc --foreground -d ecm verbose,busnum=2");
    addressed(&lab, "10.7.0.15");
    traffic(&lab, "10.7.0.2", port);
    let list = lab.sh("io-usb -c list");
    assert!(list.contains("2-1: 0525:a4a2") && list.contains("used by process"), "{list}");
    // What passed is known: a stock server shows no descriptors.
    let usb = lab.sh("usb -vv -b 2");
    assert!(usb.contains("Max Packet Size: 64") && usb.contains("(QEMU)"), "{usb}");
}

fn by_usbfs_in_the_guest(g: &mut Guest, port: u16) {
    // The kernel's driver has the device; io-usb lists it and takes nothing until somebody imports it.
    let before = g.run("await '[ -n \"$(kernel_if 1-2)\" ]'; kernel_if 1-2; cat $d/1-2/bConfigurationValue");
    assert!(before.contains("usb"), "{before}");
    let list = g.run("io-usb -d usbfs -l 0.0.0.0:3241; io-usb -c list; kernel_if 1-2");
    assert!(list.contains("1-2: 0525:a4a2 address") && list.contains("usbfs /dev/bus/usb/001/"), "{list}");
    assert!(list.lines().any(|l| l.trim().starts_with("usb")), "taken before anybody asked: {list}");
    let tree = g.run("usb -t; usb -v -b 1 -d 3");
    assert!(tree.contains("0525:a4a2") && tree.contains("Upstream Port Speed        : Full"), "{tree}");

    // The stack inside the guest, over the guest's own usbfs.
    g.run("io-pkt-v4-hc -d ecm verbose,pnp");
    let up = "if_up -p -r 600 -m 100 ecm0 && ifconfig ecm0 10.8.0.15 netmask 0xffffff00 && if_up -l -r 600 -m 100 ecm0";
    let state =
        g.run(&format!("{up}; ifconfig ecm0; [ -z \"$(kernel_if 1-2)\" ] && echo taken; io-usb -c list"));
    assert!(state.contains("address: 52:54:00:08:00:15") && state.contains("status: active"), "{state}");
    assert!(state.contains("taken") && state.contains("used by process"), "{state}");
    for size in [56, 22, 86, 1472] {
        let p = g.run(&format!("ping -c 3 -i 0.1 -s {size} 10.8.0.2"));
        assert!(p.contains("3 packets received"), "size {size}: {p}\n{}", g.run(STATE));
    }
    let page = g.run(&format!("io-pkt-run busybox wget -qO- http://10.8.0.2:{port}/ | wc -c"));
    assert!(page.contains("300000"), "{page}\n{}", g.run("sloginfo | tail -50"));
    // Usbip-host's device is refused politely, and said once for each stay (its release from afar may reset it), not
    // each time that the driver asks.
    let log = g.run("sloginfo | grep -c 'belongs to the kernel.s usbip-host'");
    assert!(["1", "2", "3"].contains(&log.trim()), "{log}: {}", g.run("sloginfo | tail -50"));

    // Pulled out with URBs in flight and frames passing; plugged in again it is ecm0 again.
    // Not the shell's function of that name: its number would be that of a shell.
    g.run("/opt/bin/ping -i 0.02 -c 100000 10.8.0.2 >/dev/null 2>&1 & echo $! >/tmp/ping.pid");
    g.qmp("\"execute\":\"device_del\",\"arguments\":{\"id\":\"un2\"}");
    let gone =
        g.run("await '! ifconfig -l | grep -q ecm0' && echo went; kill $(cat /tmp/ping.pid); io-usb -c list");
    assert!(gone.contains("went") && !gone.contains("1-2:"), "{gone}\n{}", g.run("sloginfo | tail -50"));
    plug(g, 2);
    let back = g.run(&format!("{up} && ping -c 3 -i 0.1 10.8.0.2"));
    assert!(back.contains("3 packets received"), "{back}\n{}", g.run(STATE));

    // Let go, the device is the kernel's again, as it was.
    let after = g.run(
        "ifconfig ecm0 down; ifconfig ecm0 destroy; await '[ -n \"$(kernel_if 1-2)\" ]' && io-usb -c list",
    );
    assert!(
        after.contains("1-2: 0525:a4a2") && after.contains("free"),
        "{after}\n{}",
        g.run("sloginfo | tail -50")
    );

    // Imported from this machine, through the guest's io-usb on its usbfs and one here.
    let mut lab = Lab::new("usbfs-far");
    lab.spawn(&format!("io-usb --foreground -d usbip,host={}", g.second));
    let there = until(SOON, || lab.sh("usb --json 2>/dev/null || true").contains("\"1-2\"").then_some(()));
    assert!(there.is_some(), "{}", lab.log());
    let usb = lab.sh("usb -vv -d 4 || usb -vv");
    assert!(usb.contains("Configurations             : 2") && usb.contains("RNDIS/QEMU"), "{usb}");
    lab.spawn("io-pkt-v4-hc --foreground -d ecm verbose");
    addressed(&lab, "10.8.0.15");
    traffic(&lab, "10.8.0.2", port);
    // The end of io-usb gives everything back.
    let end = g.run("io-usb -c stop; await '[ -n \"$(kernel_if 1-2)\" ]' && echo given back; pidof io-usb");
    assert!(end.contains("given back"), "{end}\n{}", g.run("sloginfo | tail -50"));
}

/// As another user: what to do is said, a client is told why, and the right makes it work.
fn without_permission(g: &mut Guest) {
    let su = |line: &str| format!("su -s /bin/sh nobody -c 'export IO_PKT_ROOT=/tmp/nob; {line}'");
    g.run("mkdir -p /tmp/nob; chown nobody /tmp/nob");
    let start = g.run(&su("io-usb -d usbfs 2>&1; io-usb -c list"));
    for word in
        ["permission denied for user 65534", "60-io-pkt-usb.rules", "udevadm", "setfacl", "(not permitted)"]
    {
        assert!(start.contains(word), "{word}: {start}");
    }
    // Without a device the stack goes on alone; it is ended by its number.
    let stack = "io-pkt-v4-hc --foreground -d ecm verbose,pnp >/tmp/nob/out 2>&1 & echo $! >/tmp/nob/pid";
    g.run(&su(stack));
    let refused = g.run("await 'grep -q \"udev rule\" /tmp/nob/out || IO_PKT_ROOT=/tmp/nob /opt/bin/sloginfo | grep -q \"udev rule\"' && \
         echo told; kill $(cat /tmp/nob/pid)");
    assert!(refused.contains("told"), "{refused}\n{}", g.run("cat /tmp/nob/out"));
    // What a udev rule would do.
    let node = "/dev/bus/usb/001/$(printf %03d $(cat $d/1-2/devnum))";
    let list = g.run(&format!("chown nobody {node}; {}", su("io-usb -c list")));
    let line = list.lines().find(|l| l.contains("1-2:")).unwrap_or_default();
    assert!(!line.contains("not permitted"), "{list}");
    let up = su("/opt/bin/if_up -p -r 600 -m 100 ecm0; /opt/bin/ifconfig ecm0");
    g.run(&format!("await '! [ -e /proc/$(cat /tmp/nob/pid) ]'; {}", su(stack)));
    let show = g.run(&up);
    assert!(show.contains("52:54:00:08:00:15"), "{show}\n{}", g.run(&su("/opt/bin/sloginfo | tail -50")));
    g.run(&format!("kill $(cat /tmp/nob/pid); {}", su("io-usb -c stop")));
}
