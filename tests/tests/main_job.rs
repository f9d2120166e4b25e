//! The command lines of the README, typed as they stand there.

use iopkt_tests::{Lab, modem, until};
use std::time::Duration;

#[test]
fn the_documented_session() {
    let mut lab = Lab::new("main");
    modem::start(&mut lab, "io-pkt-v4-hc", "");
    let ping = lab.sh("ping -c 3 10.1");
    assert!(ping.contains("3 packets transmitted, 3 packets received, 0% packet loss"), "{ping}");
    let show = lab.sh("ifconfig ecm0");
    assert!(
        show.starts_with("ecm0: flags=8843<UP,BROADCAST,RUNNING,SIMPLEX,MULTICAST> mtu 1500\n"),
        "{show}"
    );
    assert!(show.contains("\tinet 10.0.0.184 netmask 0xff000000 broadcast 10.255.255.255\n"), "{show}");
    assert!(show.contains("\tstatus: active\n"), "{show}");
    let page = lab.sh("io-pkt-run curl -sS http://10.0.0.1/");
    assert!(page.contains("io-pkt"), "{page}");
    assert_eq!(lab.sh("io-pkt-run curl -sS http://10.0.0.1/bytes/1000000 | wc -c").trim(), "1000000");
    assert!(lab.sh("netstat -rn").lines().any(|l| l.starts_with("10/8")), "the connected route");
    assert!(lab.sh("arp -a").contains("(10.0.0.1) at "), "the far side's address");
    assert!(lab.sh("nicinfo ecm0").contains("Packets Transmitted OK"));
    assert!(lab.sh("usb -v").contains("Vendor                     : 0x"));
    assert!(lab.sh("sloginfo").starts_with("Time             Sev Major Minor Args\n"));
}

#[test]
fn at_commands_through_serecm0() {
    let mut lab = Lab::new("at");
    modem::start(&mut lab, "io-pkt-v4-hc", "");
    let r =
        lab.sh("exec 3<>$IO_PKT_ROOT/dev/serecm0; printf 'ATE0\\rAT+CGMI\\r' >&3; timeout 2 cat <&3 || true");
    assert!(r.contains("OK"), "{r:?}");
    let r = lab.sh("exec 3<>$IO_PKT_ROOT/dev/serecm0; printf 'AT+NOSUCH\\r' >&3; timeout 2 cat <&3 || true");
    assert!(r.contains("ERROR"), "{r:?}");
}

#[test]
fn destroy_unmaps_the_driver() {
    let mut lab = Lab::new("destroy");
    modem::start(&mut lab, "io-pkt-v4-hc", "");
    let pid = lab.proc(1).pid();
    let mapped = || std::fs::read_to_string(format!("/proc/{pid}/maps")).is_ok_and(|m| m.contains("devnp"));
    assert!(mapped(), "the driver is loaded");
    lab.sh("ping -c 1 10.1; ifconfig ecm0 down; ifconfig ecm0 destroy");
    assert!(
        until(Duration::from_secs(60), || (!mapped()).then_some(())).is_some(),
        "the driver's object is still mapped"
    );
    assert_eq!(lab.sh("ifconfig -l").trim(), "lo0");
    // And again, from the tool.
    lab.sh("mount -T io-pkt -o verbose devnp-ecm.so && if_up -p -r 50 -m 100 ecm0 && ifconfig ecm0 10.184 && ping -c 2 10.1");
}

#[test]
fn a_second_instance_under_a_prefix() {
    let mut lab = Lab::new("alt");
    lab.spawn("io-usb --foreground -d sim -d sim");
    lab.wait(Duration::from_secs(60), "test -S $IO_PKT_ROOT/dev/usb");
    lab.spawn("io-pkt-v4-hc --foreground -d ecm verbose,busnum=1,devnum=2");
    lab.spawn("io-pkt-v4 --foreground -i1 -ptcpip prefix=/alt");
    lab.wait(
        Duration::from_secs(10),
        "test -S $IO_PKT_ROOT/dev/socket/2 && test -S $IO_PKT_ROOT/alt/dev/socket/2",
    );
    lab.sh("if_up -p -r 50 -m 100 ecm0 && ifconfig ecm0 10.184");
    lab.sh("SOCK=/alt mount -Tio-pkt1 -o verbose,name=wan devnp-ecm.so");
    let show = lab.sh("SOCK=/alt ifconfig -a");
    assert!(show.contains("wan0: flags="), "{show}");
    assert!(!show.contains("ecm0"), "{show}");
    // Each stack has its own modem, addresses and programs; the modems' networks differ.
    lab.sh("SOCK=/alt ifconfig wan0 11.184 && SOCK=/alt if_up -l -r 50 -m 100 wan0");
    lab.sh("if_up -l -r 50 -m 100 ecm0 && ping -c 2 10.1 && SOCK=/alt ping -c 2 11.1");
    assert!(lab.sh("SOCK=/alt io-pkt-run curl -sS http://11.0.0.1/").contains("io-pkt"));
    assert!(lab.sh("io-pkt-run curl -sS http://10.0.0.1/").contains("io-pkt"));
    assert_eq!(lab.sh("ls $IO_PKT_ROOT/dev | grep -c serecm").trim(), "2", "an AT port each");
    let (code, err) = lab.sh_fails("SOCK=/alt mount -Tio-pkt2 devnp-ecm.so");
    assert!(code == 1 && err.contains("instance number 1"), "{err}");
    // The instance's number alone finds its stack, too.
    let (_, err) = lab.sh_fails("mount -Tio-pkt1 devnp-nothere.so");
    assert!(err.contains("devnp-nothere.so") && !err.contains("no io-pkt1"), "{err}");
    assert!(lab.sh_fails("mount -Tio-pkt7 devnp-ecm.so").1.contains("no io-pkt7 runs"));
    // A modem that somebody has is not taken away from him.
    let (_, err) = lab.sh_fails("mount -T io-pkt -o devnum=3 devnp-ecm.so");
    assert!(err.contains("in use"), "{err}");
}
