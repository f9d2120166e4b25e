//! Plugging and unplugging under devnp-ecm: names, who takes what, who lets go of what.

use iopkt_tests::{Lab, until};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);

/// io-usb with these devices (`-d sim ...`), and a stack with these options of devnp-ecm.
fn start(lab: &mut Lab, sims: &str, options: &str) {
    lab.spawn(&format!("io-usb --foreground {sims}"));
    lab.wait(LONG, "test -S $IO_PKT_ROOT/dev/usb");
    lab.spawn(&format!("io-pkt-v4-hc --foreground -d ecm {options} -ptcpip"));
    lab.wait(LONG, "test -S $IO_PKT_ROOT/dev/socket/2");
}

/// Waits until exactly these interfaces are there.
#[track_caller]
fn interfaces(lab: &Lab, want: &str) {
    let ok = until(LONG, || {
        let mut l: Vec<String> = lab.sh("ifconfig -l").split_whitespace().map(str::to_string).collect();
        l.sort();
        (l.join(" ") == want).then_some(())
    });
    assert!(ok.is_some(), "wanted {want}, have {}\n{}", lab.sh("ifconfig -l"), lab.log());
}

/// Waits for a line of the log.
#[track_caller]
fn logged(lab: &Lab, text: &str) {
    assert!(until(LONG, || lab.log().contains(text).then_some(())).is_some(), "no {text:?}\n{}", lab.log());
}

#[test]
fn devices_that_are_held_are_not_asked_for_again() {
    let mut lab = Lab::new("held");
    start(&mut lab, "-d sim -d sim", "pnp,verbose");
    interfaces(&lab, "ecm0 ecm1 lo0");
    // What the watch announces first is everything that is there. Another plug event comes behind it.
    lab.sh("io-usb -c unplug 1-2");
    interfaces(&lab, "ecm0 lo0");
    lab.sh("io-usb -c plug 1-2");
    interfaces(&lab, "ecm0 ecm1 lo0");
    let log = lab.log();
    assert!(!log.contains("not given to") && !log.contains("in use"), "{log}");
}

#[test]
fn who_comes_back_gets_his_name_back() {
    let mut lab = Lab::new("again");
    start(&mut lab, "-d sim serial=AAA -d sim serial=BBB -d sim unplugged", "pnp");
    interfaces(&lab, "ecm0 ecm1 lo0");
    let mac = |i: &str| lab.sh(&format!("ifconfig {i} | grep address"));
    let (a, b) = (mac("ecm0"), mac("ecm1"));
    assert_ne!(a, b);
    lab.sh("io-usb -c unplug 1-1 && io-usb -c unplug 1-2");
    interfaces(&lab, "lo0");
    lab.sh("io-usb -c plug 1-2");
    interfaces(&lab, "ecm1 lo0");
    lab.sh("io-usb -c plug 1-1");
    interfaces(&lab, "ecm0 ecm1 lo0");
    assert_eq!((mac("ecm0"), mac("ecm1")), (a, b));
    // The AT ports too.
    lab.wait(LONG, "test -e $IO_PKT_ROOT/dev/serecm0 && test -e $IO_PKT_ROOT/dev/serecm1");
    // A stranger takes the first free number, as ever; the owner of a taken name the next free one.
    lab.sh("io-usb -c unplug 1-1");
    interfaces(&lab, "ecm1 lo0");
    lab.sh("io-usb -c plug 1-3");
    interfaces(&lab, "ecm0 ecm1 lo0");
    lab.sh("io-usb -c plug 1-1");
    interfaces(&lab, "ecm0 ecm1 ecm2 lo0");
    // And traffic runs on one that came back.
    lab.sh("ifconfig ecm2 10.184 && if_up -l -r 100 -m 100 ecm2 && ping -c 1 10.1");
}

#[test]
fn a_destroyed_interface_stays_away_until_its_device_is_plugged_in_anew() {
    let mut lab = Lab::new("left");
    start(&mut lab, "-d sim -d sim", "pnp");
    interfaces(&lab, "ecm0 ecm1 lo0");
    lab.sh("ifconfig ecm1 destroy");
    interfaces(&lab, "ecm0 lo0");
    // The USB stack restarts: it announces everything anew, under new addresses or not.
    lab.sh("io-usb -c replug 1-1");
    interfaces(&lab, "lo0");
    interfaces(&lab, "ecm0 lo0");
    lab.sh("io-usb -c replug 1-2");
    interfaces(&lab, "ecm0 ecm1 lo0");
    // The last one takes the driver with it: nothing is taken any more.
    lab.sh("ifconfig ecm0 destroy && ifconfig ecm1 destroy");
    interfaces(&lab, "lo0");
    lab.sh("io-usb -c replug 1-1");
    lab.sh("waitfor -h >/dev/null 2>&1; io-usb -c list");
    let pid = lab.proc(1).pid();
    let gone = until(LONG, || {
        std::fs::read_to_string(format!("/proc/{pid}/maps")).is_ok_and(|m| !m.contains("devnp")).then_some(())
    });
    assert!(gone.is_some(), "the driver stays mapped\n{}", lab.log());
}

#[test]
fn without_pnp_the_driver_goes_with_its_device() {
    let mut lab = Lab::new("nopnp");
    start(&mut lab, "-d sim", "verbose");
    interfaces(&lab, "ecm0 lo0");
    lab.sh("io-usb -c unplug");
    interfaces(&lab, "lo0");
    let pid = lab.proc(1).pid();
    let gone = until(LONG, || {
        std::fs::read_to_string(format!("/proc/{pid}/maps")).is_ok_and(|m| !m.contains("devnp")).then_some(())
    });
    assert!(gone.is_some(), "the driver stays mapped\n{}", lab.log());
    lab.sh("io-usb -c plug");
    // Nothing to load: the driver says what is missing.
    let (_, err) = lab.sh_fails("io-usb -c unplug && mount -T io-pkt devnp-ecm.so");
    assert!(err.contains("no CDC-ECM device") && err.contains("pnp"), "{err}");
}

#[test]
fn ign_remove_leaves_the_interface_to_somebody_else() {
    let mut lab = Lab::new("ignore");
    start(&mut lab, "-d sim", "ign_remove,pnp");
    lab.sh("if_up -p -r 100 -m 100 ecm0 && ifconfig ecm0 10.184 && if_up -l -r 100 -m 100 ecm0 && ping -c 1 10.1");
    lab.sh("io-usb -c unplug");
    logged(&lab, "the interface stays until it is destroyed (ign_remove)");
    let show = lab.sh("ifconfig ecm0");
    assert!(show.contains("status: no carrier") && show.contains("10.0.0.184"), "{show}");
    lab.sh("io-usb -c plug");
    // The name is taken as long as nobody removes the interface.
    interfaces(&lab, "ecm0 lo0");
    lab.sh("ifconfig ecm0 destroy");
    interfaces(&lab, "lo0");
}

#[test]
fn a_launcher_mounts_and_destroys_one_device_at_a_time() {
    let mut lab = Lab::new("launch");
    lab.spawn("io-usb --foreground -d sim -d sim");
    lab.wait(LONG, "test -S $IO_PKT_ROOT/dev/usb");
    lab.spawn("io-pkt-v4-hc --foreground");
    lab.wait(LONG, "test -S $IO_PKT_ROOT/dev/socket/2");
    lab.sh("mount -T io-pkt -o busnum=1,devnum=3,ign_remove devnp-ecm.so");
    interfaces(&lab, "ecm0 lo0");
    assert!(lab.sh("io-usb -c list").lines().any(|l| l.starts_with("1-1:") && l.contains("free")));
    lab.sh("mount -T io-pkt -o busnum=0x1,devnum=0x2,ign_remove devnp-ecm.so");
    interfaces(&lab, "ecm0 ecm1 lo0");
    // NetBSD's spelling means the same; both at once mean nothing.
    let (_, err) = lab.sh_fails("mount -T io-pkt -o vid=0x1d6b,did=0x104,busno=1,devno=2 devnp-ecm.so");
    assert!(err.contains("in use"), "{err}");
    let (_, err) = lab.sh_fails("mount -T io-pkt -o vid=0x1d6b,did=0x105 devnp-ecm.so");
    assert!(err.contains("no CDC-ECM device with vid=0x1d6b,did=0x0105"), "{err}");
    let (_, err) = lab.sh_fails("mount -T io-pkt -o busno=1,devnum=2 devnp-ecm.so");
    assert!(err.contains("two spellings"), "{err}");
    let (_, err) = lab.sh_fails("mount -T io-pkt -o busnum=1,devnum=9 devnp-ecm.so");
    assert!(err.contains("no CDC-ECM device with busnum=1,devnum=9"), "{err}");
    lab.sh("io-usb -c unplug 1-2");
    logged(&lab, "ign_remove");
    lab.sh("ifconfig ecm0 destroy");
    interfaces(&lab, "ecm1 lo0");
    lab.sh("io-usb -c plug 1-2");
    let n = lab.sh("io-usb -c list | sed -n 's/^1-2:.*address \\([0-9]*\\),.*/\\1/p'");
    lab.sh(&format!("mount -T io-pkt -o busnum=1,devnum={},ign_remove devnp-ecm.so", n.trim()));
    interfaces(&lab, "ecm0 ecm1 lo0");
    // A native driver is not umounted; the refusal says what to do instead.
    let (_, err) = lab.sh_fails("umount /dev/io-net/ecm0");
    assert!(err.contains("destroy"), "{err}");
}
