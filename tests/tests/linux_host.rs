//! Linux's own USB host drivers (vhci-hcd, cdc_ether, cdc_acm) judge the simulated modem.

use iopkt_tests::{Lab, guest};
use std::time::Duration;

#[test]
fn cdc_ether_and_cdc_acm_are_satisfied() {
    guest::with_guest(guest::HOST, |mut g| {
        let mut lab = Lab::new("vhci");
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|l| l.local_addr())
            .expect("a free port")
            .port();
        lab.spawn(&format!("io-usb --foreground -d sim -l 127.0.0.1:{port}"));
        lab.wait(Duration::from_secs(10), "test -S $IO_PKT_ROOT/dev/usb");
        let list = g.run(&format!("usbip --tcp-port {port} list -r 10.0.2.2"));
        assert!(list.contains("1-1"), "{list}");
        let attach =
            g.run(&format!("usbip --tcp-port {port} attach -r 10.0.2.2 -b 1-1; sleep 2; ls /sys/class/net"));
        let name =
            ["usb0", "wwan0"].into_iter().find(|n| attach.contains(n)).unwrap_or_else(|| panic!("{attach}"));
        let up = g.run(&format!("ip link set {name} up; ip addr add 10.0.0.77/24 dev {name}; sleep 1; cat /sys/class/net/{name}/address /sys/class/net/{name}/carrier"));
        assert!(up.contains("02:50:") && up.trim_end().ends_with('1'), "MAC and carrier: {up}");
        let ping = g.run("ping -c 3 -w 10 10.0.0.1");
        assert!(ping.contains("3 packets received"), "{ping}");
        let page = g.run("wget -qO- http://10.0.0.1/bytes/300000 | wc -c");
        assert!(page.contains("300000"), "{page}");
        let at = g.run(
            "stty -F /dev/ttyACM0 raw -echo; (sleep 1; printf 'ATE0+CGMI\\r' >/dev/ttyACM0) & timeout 3 cat /dev/ttyACM0",
        );
        assert!(at.contains("OK"), "{at:?}");
        let log = g.run("dmesg | grep -iE 'error|warn|bug' | grep -viE 'mitigation|acpi|error=0' || true");
        assert!(!log.contains("cdc_"), "Linux's drivers complain: {log}");
    });
}
