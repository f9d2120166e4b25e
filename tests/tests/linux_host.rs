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
        lab.wait(Duration::from_secs(60), "test -S $IO_PKT_ROOT/dev/usb");
        let list = g.run(&format!("usbip --tcp-port {port} list -r 10.0.2.2"));
        assert!(list.contains("1-1"), "{list}");
        let attach =
            g.run(&format!("usbip --tcp-port {port} attach -r 10.0.2.2 -b 1-1; sleep 2; ls /sys/class/net"));
        let name =
            ["usb0", "wwan0"].into_iter().find(|n| attach.contains(n)).unwrap_or_else(|| panic!("{attach}"));
        let up = g.run(&format!("ip link set {name} up; ip addr add 10.0.0.77/24 dev {name}; sleep 1; cat /sys/class/net/{name}/address /sys/class/net/{name}/carrier"));
        assert!(up.contains("02:50:") && up.trim_end().ends_with('1'), "MAC and carrier: {up}");
        let ping = g.run("ping -i 0.2 -c 3 -w 10 10.0.0.1");
        assert!(ping.contains("3 packets received"), "{ping}");
        let page = g.run("wget -qO- http://10.0.0.1/bytes/300000 | wc -c");
        assert!(page.contains("300000"), "{page}");
        let at = g.run(
            "stty -F /dev/ttyACM0 raw -echo; (sleep 1; printf 'ATE0+CGMI\\r' >/dev/ttyACM0) & timeout 3 cat /dev/ttyACM0",
        );
        assert!(at.contains("OK"), "{at:?}");
        // Down and up: cdc_ether unlinks every URB that waits, and goes on with new ones.
        let again = g.run(&format!(
            "for i in 1 2 3; do ip link set {name} down; ip link set {name} up; done; ip addr add 10.0.0.77/24 dev {name} 2>/dev/null; \
             sleep 1; ping -i 0.2 -c 3 -w 20 10.0.0.1"
        ));
        assert!(again.contains("3 packets received"), "after down and up: {again}");
        // Every frame length around the packet size of 512, where a zero-length packet is needed and where not.
        let sizes = g.run("for s in 469 470 471 981 982 983 1472; do ping -c 1 -w 10 -s $s 10.0.0.1 | grep -c 'bytes from'; done");
        assert_eq!(sizes.lines().filter(|l| l.trim() == "1").count(), 7, "{sizes}");
        // A modem that halts an endpoint, and one that loses its network.
        lab.sh("io-usb -c fault stall ep=0x81");
        let stalled = g.run("ping -i 0.2 -c 3 -w 20 10.0.0.1");
        assert!(!stalled.contains(" 0 packets received"), "a halted endpoint stays halted: {stalled}");
        let carrier = |g: &mut guest::Guest, want: char| {
            let line = format!(
                "n=0; until grep -q {want} /sys/class/net/{name}/carrier || [ $n = 100 ]; do n=$((n+1)); sleep 0.1; done; \
                 cat /sys/class/net/{name}/carrier"
            );
            let now = g.run(&line);
            assert!(now.trim_end().ends_with(want), "carrier {want}: {now}");
        };
        lab.sh("io-usb -c network lost");
        carrier(&mut g, '0');
        lab.sh("io-usb -c network back; io-usb -c at AT+CGACT=1,1");
        carrier(&mut g, '1');
        // A dialogue over cdc_acm: a call, by hand.
        let dial = g.run(
            "stty -F /dev/ttyACM0 raw -echo; (for c in ATE0 AT+CSQ 'AT+CGDCONT=1,\"IP\",\"internet\"' AT+CGACT?; do printf \"$c\\r\"; \
             sleep 0.3; done >/dev/ttyACM0) & timeout 4 cat /dev/ttyACM0",
        );
        assert!(dial.contains("+CSQ:") && dial.contains("+CGACT: 1,1"), "{dial:?}");
        // Unplugged under its drivers, both let go; plugged in and attached again, both come back.
        lab.sh("io-usb -c unplug");
        let gone = g.run(&format!(
            "n=0; while [ -e /sys/class/net/{name} -o -e /dev/ttyACM0 ] && [ $n -lt 300 ]; do n=$((n+1)); sleep 0.1; done; \
             [ -e /sys/class/net/{name} -o -e /dev/ttyACM0 ] || echo went"
        ));
        assert!(gone.contains("went"), "{gone}");
        lab.sh("io-usb -c plug");
        let back = g.run(&format!(
            "usbip --tcp-port {port} attach -r 10.0.2.2 -b 1-1; n=0; until [ -e /sys/class/net/{name} -a -e /dev/ttyACM0 ] || [ $n = 300 ]; do \
             n=$((n+1)); sleep 0.1; done; ip link set {name} up; ip addr add 10.0.0.77/24 dev {name}; sleep 1; ping -i 0.2 -c 3 -w 20 10.0.0.1"
        ));
        assert!(back.contains("3 packets received"), "{back}");
        let log = g.run("dmesg | grep -iE 'error|warn|bug' | grep -viE 'mitigation|acpi|error=0' || true");
        assert!(!log.contains("cdc_"), "Linux's drivers complain: {log}");
    });
}
