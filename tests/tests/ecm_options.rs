//! What the manual says of devnp-ecm, looked at from outside.

use iopkt_tests::{Lab, modem, until};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);

#[test]
fn the_interface_looks_as_documented() {
    let mut lab = Lab::new("looks");
    modem::start(&mut lab, "io-pkt-v4-hc", "");
    let show = lab.sh("ifconfig ecm0");
    assert!(
        !show.contains("capabilities") && !show.contains("enabled="),
        "CDC-ECM has no checksum offload: {show}"
    );
    assert!(
        show.contains(" mtu 1500\n") && show.contains("\tstatus: active\n") && show.contains("\tmedia: "),
        "{show}"
    );
    lab.sh("io-usb -c network lost");
    let down = until(LONG, || lab.sh("ifconfig ecm0").contains("status: no carrier").then_some(()));
    assert!(down.is_some(), "NETWORK_CONNECTION is followed: {}", lab.sh("ifconfig ecm0"));
    lab.sh("io-usb -c network back; if_up -l -r 100 -m 100 ecm0; ping -c 2 10.1");
    assert!(lab.log().contains("100.0 Mb/s down, 50.0 Mb/s up"), "verbose tells the speed\n{}", lab.log());
    // The first look asks the device for its counters, the second shows them.
    let seen = until(LONG, || {
        let n = lab.sh("nicinfo ecm0");
        (n.contains("Device Frames Transmitted OK")
            && n.contains("Multicast Filter")
            && n.contains("/dev/serecm0"))
        .then_some(n)
    });
    assert!(seen.is_some(), "{}", lab.sh("nicinfo ecm0"));
    lab.sh_fails("ifconfig ecm0 mtu 1501"); // the largest segment bounds it
    lab.sh("ifconfig ecm0 mtu 1400");
}

#[test]
fn path_wait_and_the_numbers_of_urbs() {
    let mut lab = Lab::new("opts");
    lab.spawn("io-pkt-v4-hc --foreground");
    lab.wait(LONG, "test -S $IO_PKT_ROOT/dev/socket/2");
    let (_, err) = lab.sh_fails("mount -T io-pkt -o wait=0 devnp-ecm.so");
    assert!(err.contains("no USB stack at") && err.contains("io-usb -d sim"), "{err}");
    let (_, err) = lab.sh_fails("mount -T io-pkt -o wait=1,path=127.0.0.1:9 devnp-ecm.so");
    assert!(err.contains("no USB stack at 127.0.0.1:9 after 1 s"), "{err}");
    // A stack that comes while it waits; another name; one URB each way is enough.
    lab.spawn("mount -T io-pkt -o wait=60,path=/dev/otg/usb,receive=1,transmit=1,bufsz=64 devnp-ecm.so");
    lab.spawn("io-usb --foreground -n /dev/otg/usb -d sim");
    lab.sh("if_up -p -r 200 -m 100 ecm0; ifconfig ecm0 10.184; if_up -l -r 100 -m 100 ecm0; ping -c 3 -s 1472 10.1");
    assert_eq!(lab.sh("io-pkt-run curl -sS http://10.0.0.1/bytes/50000 | wc -c").trim(), "50000");
}
