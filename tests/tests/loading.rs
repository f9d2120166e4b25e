//! Drivers, legacy drivers and modules, loaded and unloaded with the tools, as the manuals write it.

use iopkt_tests::Lab;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

/// Compiles one of the samples in C into the lab's library directory.
fn sample(lab: &Lab, dir: &str, name: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let o = Command::new("cc")
        .args(["-std=c11", "-shared", "-fPIC", "-pthread", "-I"])
        .arg(root.join("include"))
        .arg("-o")
        .args([lab.lib().join(name), root.join(dir).join("sample.c")])
        .output()
        .expect("a C compiler (cc)");
    assert!(o.status.success(), "{}", String::from_utf8_lossy(&o.stderr));
}

fn lab(name: &str) -> Lab {
    let lab = Lab::new(name);
    sample(&lab, "drivers/devnp-sample-c", "devnp-sample.so");
    sample(&lab, "drivers/devn-sample-c", "devn-old.so");
    sample(&lab, "modules/lsm-sample-c", "lsm-sample.so");
    lab
}

#[test]
fn the_types_of_mount() {
    let mut lab = lab("mount");
    lab.spawn("io-pkt-v4-hc --foreground");
    lab.spawn("io-pkt-v4-hc --foreground -i1 -p tcpip prefix=/alt");
    lab.wait(MINUTE, "waitfor /dev/socket && SOCK=/alt waitfor /dev/socket");
    // By type: io-pkt and its old names mean the one without a number, io-pkt1 the other.
    for (kind, name) in [("io-pkt", "a"), ("tcpip", "b"), ("io-net", "c")] {
        lab.sh(&format!("mount -T{kind} -o name={name} devnp-sample.so"));
    }
    lab.sh("mount -Tio-pkt1 -o name=d,unit=3 devnp-sample.so");
    let path = lab.lib().join("devnp-sample.so");
    lab.sh(&format!("mount -v -T io-pkt1 -o name=d,unit=-1 {}", path.display()));
    assert_eq!(lab.sh("ifconfig -l"), "lo0 a0 b0 c0\n");
    assert_eq!(lab.sh("SOCK=/alt ifconfig -l"), "lo0 d3 d0\n");
    let (code, e) = lab.sh_fails("mount -T io-pkt7 devnp-sample.so");
    assert!(code == 1 && e.contains("io-pkt7"), "{code} {e}");
    // Modules, by name and by path.
    lab.sh("mount -T io-pkt -o if=a0 lsm-sample.so");
    lab.sh(&format!("mount -T tcpip -o if=b0 {}", lab.lib().join("lsm-sample.so").display()));
    lab.wait(MINUTE, "sloginfo | grep 'a0 is interface' && sloginfo | grep 'b0 is interface'");
    lab.sh("umount lsm-sample.so && umount lsm-sample.so");
    let (code, e) = lab.sh_fails("umount lsm-sample.so");
    assert!(code == 1 && e.contains("no driver or module has this name"), "{e}");
    // What does not fit, in words.
    for (line, part) in [
        ("mount -T io-pkt lsm-qnet.so", "no lsm-qnet.so in"),
        ("mount -T io-pkt -o speed=3 devnp-sample.so", "unknown option speed"),
        ("mount -T io-pkt -o name=a devnp-nosuch.so", "no devnp-nosuch.so in"),
    ] {
        let (code, e) = lab.sh_fails(line);
        assert!(code == 1 && e.contains(part), "{line}: {code} {e}");
    }
}

#[test]
fn legacy_drivers_show_themselves_and_can_be_unmounted() {
    let mut lab = lab("legacy");
    lab.spawn("io-pkt-v4-hc --foreground -d old -d sample");
    // The idiom of old scripts.
    lab.wait(MINUTE, "waitfor /dev/io-net/en0");
    // Drivers are loaded one after the other.
    lab.wait(MINUTE, "ifconfig smp0");
    lab.sh("if_up -p -r 100 -m 100 en0 && ifconfig en0 10.1.2.3/24 up");
    let shown = lab.sh("ifconfig en0");
    let flags = shown.lines().next().unwrap_or_default();
    assert!(flags.starts_with("en0: flags=8000") && flags.contains(",SHIM>"), "{shown}");
    let (code, e) = lab.sh_fails("umount /dev/io-net/smp0");
    assert!(code == 1 && e.contains("ifconfig smp0 destroy"), "{e}");
    lab.sh("umount /dev/io-net/en0");
    assert_eq!(lab.sh("ifconfig -l"), "lo0 smp0\n");
    assert_eq!(lab.sh_fails("waitfor -t 0 /dev/io-net/en0").0, 1);
    // Through the shim by name, and what it does not take.
    lab.sh("mount -T io-pkt -o 'devn-old.so count=2' devnp-shim.so");
    assert_eq!(lab.sh("ifconfig -l"), "lo0 smp0 en0 en1\n");
    let (code, e) = lab.sh_fails("mount -T io-pkt -o name=wan devn-old.so");
    assert!(code == 1 && e.contains("unknown option name"), "{e}");
    lab.sh("ifconfig en0 destroy && umount en1");
    assert_eq!(lab.sh("ifconfig -l"), "lo0 smp0\n");
}
