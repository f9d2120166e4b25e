//! Devices as the field has them, through the whole product: taken and working, or refused in words.

use iopkt_tests::{Lab, until};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);

fn start(lab: &mut Lab, sims: &str, driver: &str) {
    lab.spawn(&format!("io-usb --foreground {sims}"));
    lab.wait(LONG, "test -S $IO_PKT_ROOT/dev/usb");
    lab.spawn("io-pkt-v4-hc --foreground");
    lab.wait(LONG, "test -S $IO_PKT_ROOT/dev/socket/2");
    std::os::unix::fs::symlink(lab.lib().join("devnp-ecm.so"), lab.lib().join("devnp-ecmplus.so"))
        .expect("the superset's name");
    if !driver.is_empty() {
        lab.sh(&format!("mount -T io-pkt {driver}"));
    }
}

#[test]
fn odd_devices_carry_data() {
    let odd = [
        "mac-lower",
        "mac-colons",
        "mac-short",
        "mac-stall",
        "no-union",
        "wrong-union",
        "no-ethernet",
        "early-descriptors",
        "one-setting",
        "mute+no-filter",
        "huge-segment+zero-segment",
        "no-acm+twice",
    ];
    let sims: Vec<String> = odd.iter().map(|o| format!("-d sim odd={o}")).collect();
    let mut lab = Lab::new("odd");
    start(&mut lab, &sims.join(" "), "-o verbose devnp-ecm.so");
    for (i, what) in odd.iter().enumerate() {
        let n = i + 10;
        // Each modem's network is one of its own.
        lab.sh(&format!("if_up -p -r 100 -m 100 ecm{i}; ifconfig ecm{i} {n}.184"));
        let up = until(LONG, || lab.sh_for(LONG, &format!("ping -c 1 {n}.1")).status.success().then_some(()));
        assert!(up.is_some(), "odd={what}: {}\n{}", lab.sh(&format!("ifconfig ecm{i}")), lab.log());
    }
    let log = lab.log();
    for text in [
        "it has no good MAC address (\"02500000000\" is not 12 hexadecimal digits), using a random one",
        "its string cannot be read",
        "it has no union descriptor; using data interface 1",
        "its union descriptor names interface 9, which has no bulk pair; using 1",
        "it has no Ethernet descriptor",
        "behind the configuration's",
        "refused (status -32); going on without",
    ] {
        assert!(log.contains(text), "{text}\n{log}");
    }
    assert!(lab.sh("ifconfig ecm0").contains("address: 02:50:00:00:00:01"), "lower case is no harm");
    assert!(lab.sh("ifconfig ecm1").contains("address: 02:50:00:00:00:02"), "nor are colons");
}

#[test]
fn what_cannot_work_is_refused_in_words() {
    let mut lab = Lab::new("bad");
    start(
        &mut lab,
        "-d sim odd=no-bulk+no-acm -d sim odd=zero-packet+no-acm -d sim odd=vendor -d sim ncm",
        "",
    );
    for (n, why) in [
        (2, "control interface 0 has no data interface with a bulk pair"),
        (3, "control interface 0 has no data interface with a bulk pair"),
        (4, "no CDC-ECM device with busnum=1,devnum=4"),
        (5, "is CDC-NCM: use devnp-ncm.so"),
    ] {
        let (_, err) = lab.sh_fails(&format!("mount -T io-pkt -o busnum=1,devnum={n} devnp-ecm.so"));
        assert!(err.contains(why), "{n}: {err}");
    }
    for (o, why) in [
        ("cache=1", "nothing to make cacheable"),
        ("prio=10", "rx_prio"),
        ("ext_name", "name= and unit="),
        ("keepalive_timeout=1", "RNDIS"),
        ("classid=ff", "subclassid"),
        ("nonsense=1", "unknown option nonsense"),
        ("wait", "needs a value"),
        ("receive=0", "from 1 to 1024"),
    ] {
        let (_, err) = lab.sh_fails(&format!("mount -T io-pkt -o {o} devnp-ecm.so"));
        assert!(err.contains(why), "{o}: {err}");
    }
}

#[test]
fn the_superset_takes_other_classes_under_its_own_name() {
    let mut lab = Lab::new("plus");
    start(
        &mut lab,
        "-d sim odd=vendor+no-union",
        "-o classid=ff,subclassid=42,ctrlbufsz=512,ctrlrxurb=4,intf=0 devnp-ecmplus.so",
    );
    lab.sh("if_up -p -r 100 -m 100 ecm0; ifconfig ecm0 10.184; if_up -l -r 100 -m 100 ecm0; ping -c 1 10.1");
    let (_, err) = lab.sh_fails(
        "ifconfig ecm0 destroy && mount -T io-pkt -o classid=ff,subclassid=42,intf=1 devnp-ecmplus.so",
    );
    assert!(err.contains("no CDC-ECM device") || err.contains("no device"), "{err}");
}
