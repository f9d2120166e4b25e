//! usblauncher with two USB stacks, an ECM and an NCM modem: drivers are mounted and interfaces destroyed as the
//! devices come and go; objects say what is there; rules of one's own.

use iopkt_tests::{Lab, until};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);

/// Waits for a line of a shell to succeed; says what everybody logged when it does not.
#[track_caller]
fn wait(lab: &Lab, what: &str, line: &str) {
    let ok = || lab.sh_for(LONG, line).status.success().then_some(());
    let seen = until(LONG, ok);
    assert!(seen.is_some(), "{what}: `{line}`\n{}\n{}", lab.sh("usblauncher -l; ifconfig -l"), lab.log());
}

#[track_caller]
fn interfaces(lab: &Lab, want: &str) {
    wait(lab, want, &format!("test \"$(ifconfig -l | tr ' ' '\\n' | sort | tr '\\n' ' ')\" = \"{want} \""));
}

fn objects(lab: &Lab) -> Vec<serde_json::Map<String, serde_json::Value>> {
    serde_json::from_str(&lab.sh("usblauncher --json")).expect("a list of objects")
}

#[track_caller]
fn object(lab: &Lab, name: &str) -> serde_json::Map<String, serde_json::Value> {
    let all = objects(lab);
    all.iter().find(|o| o["object"] == name).unwrap_or_else(|| panic!("{name}: {all:?}")).clone()
}

fn start(lab: &mut Lab, launcher: &str) {
    lab.spawn("io-usb --foreground -d sim");
    lab.spawn("io-usb --foreground -n /dev/usb2 -d sim ncm,addr=11.0.0.1/8,lease=11.0.0.184");
    lab.spawn("io-pkt-v4-hc --foreground");
    wait(lab, "all stacks", "test -S $IO_PKT_ROOT/dev/usb && test -S $IO_PKT_ROOT/dev/usb2 && ifconfig -l");
    lab.spawn(launcher);
}

#[test]
fn ecm_and_ncm_come_and_go() {
    let mut lab = Lab::new("launcher");
    start(&mut lab, "usblauncher -bv -n /dev/usb -n /dev/usb2");
    let rounds = if std::env::var_os("IO_PKT_LONG").is_some() { 100 } else { 3 };
    for round in 0..rounds {
        interfaces(&lab, "ecm0 lo0 ncm0");
        wait(&lab, "both are running", "test $(usblauncher -l | grep -c state::running) = 2");
        lab.sh("ifconfig ecm0 10.184 && ifconfig ncm0 11.184 && if_up -al -r 100 -m 100 ecm0 ncm0");
        if round == 0 {
            let d = object(&lab, "usb-1-1");
            let text = |k: &str| d.get(k).and_then(|v| v.as_str()).unwrap_or_default().to_string();
            let have =
                ["bus", "stack", "busno", "devno", "configurations", "device_class", "device_subclass"]
                    .map(text);
            assert_eq!(have, ["usb", "/dev/usb", "0x01", "0x02", "0x01", "0xef", "0x02"]);
            let have = ["device_protocol", "vendor_id", "product_id", "manufacturer", "product", "topology"]
                .map(text);
            assert_eq!(have, ["0x01", "0x1d6b", "0x0104", "io-pkt", "Simulated ECM modem", "1"]);
            let have = ["serial_number", "upstream_port", "upstream_port_speed", "upstream_host_controller"]
                .map(text);
            assert_eq!(have, ["000000000001", "1", "High", "0x01"]);
            let r = object(&lab, "usb2-1-1-driver");
            assert_eq!(r["args"], "busno=0x01,devno=0x02,iface=0x00");
            assert_eq!((&r["ifname"], &r["device"]), (&"ncm0".into(), &"usb2-1-1".into()));
            assert!(
                r["command"].as_str().is_some_and(|c| c.contains("path=/dev/usb2,ign_remove devnp-ncm.so"))
            );
            assert!(lab.sh("nicinfo ncm0").contains("CDC-NCM"));
        }
        for net in [10, 11] {
            let p = lab.sh(&format!("ping -c 2 -i 0.1 {net}.0.0.1"));
            assert!(p.contains("2 packets received"), "round {round}: {p}\n{}", lab.log());
        }
        lab.sh("io-usb -c unplug");
        interfaces(&lab, "lo0 ncm0");
        wait(&lab, "the object goes", "! usblauncher -l | grep -q '^@usb-1-1'");
        lab.sh("io-usb -n /dev/usb2 -c unplug");
        interfaces(&lab, "lo0");
        wait(&lab, "all objects go", "test -z \"$(usblauncher -l)\"");
        lab.sh("io-usb -c plug && io-usb -n /dev/usb2 -c plug");
    }
    interfaces(&lab, "ecm0 lo0 ncm0");
}

#[test]
fn a_usb_stack_that_ends_takes_its_interfaces_along_and_comes_back() {
    let mut lab = Lab::new("launcher-lost");
    let usb = lab.spawn("io-usb --foreground -d sim");
    lab.spawn("io-pkt-v4-hc --foreground");
    let launcher = lab.spawn("usblauncher -bv");
    interfaces(&lab, "ecm0 lo0");
    let other = lab.sh_fails("usblauncher -b");
    assert!(other.1.contains("publishes in"), "a second launcher: {other:?}");
    lab.proc(usb).signal(15);
    assert!(lab.proc(usb).wait(LONG).is_some(), "io-usb ends");
    interfaces(&lab, "lo0");
    lab.spawn("io-usb --foreground -d sim");
    interfaces(&lab, "ecm0 lo0");
    // A launcher that ends leaves what it started, and nothing published.
    wait(&lab, "it is running", "usblauncher -l | grep -q state::running");
    lab.proc(launcher).signal(15);
    assert!(lab.proc(launcher).wait(LONG).is_some_and(|s| s.success()), "usblauncher ends");
    assert_eq!(lab.sh("usblauncher -l; ifconfig -l"), "lo0 ecm0\n");
}

#[test]
fn rules_of_ones_own() {
    let mut lab = Lab::new("launcher-rules");
    std::fs::write(
        lab.work().join("rules.conf"),
        "# nothing for the first, two for the second\n\
         device vendor=0x1d6b stack=/dev/usb\n\
         device name=*NCM*\n\
         \x20   insert echo \"in $(busno) $(devno) $(vendor_id):$(product_id) $(iface) $USB_PRODUCT\" >>log; echo up: if7\n\
         \x20   remove echo \"out $(ifname) $$HOME\" | sed \"s,$HOME,home,\" >>log\n\
         \x20   continue\n\
         interface class=10 protocol=1\n\
         \x20   retry 1\n\
         \x20   insert echo \"try $(iface)\" >>log; exit 3\n\
         \x20   remove echo never >>log\n",
    )
    .expect("rules");
    start(&mut lab, "usblauncher -bv -c rules.conf -m /objects -n /dev/usb -n /dev/usb2");
    wait(&lab, "the second rule gives up", "usblauncher -l -m /objects | grep -q state::failed");
    let list = lab.sh("usblauncher -l -m /objects");
    assert!(list.contains("@usb-1-1\n") && !list.contains("@usb-1-1-driver"), "{list}");
    lab.sh("io-usb -n /dev/usb2 -c unplug");
    wait(&lab, "removed", "grep -q out log");
    let log = lab.sh("cat log");
    let want = "in 0x01 0x02 0x1d6b:0x0104 0x00 Simulated NCM modem\ntry 0x01\ntry 0x01\nout if7 home\n";
    assert_eq!(log, want);
    std::fs::write(lab.work().join("bad.conf"), "device vendor=0x1d6b\n  insert mount $(nothing)\n")
        .expect("rules");
    let (code, text) = lab.sh_fails("usblauncher -b -c bad.conf");
    assert!(code == 1 && text.contains("bad.conf: line 2: $(nothing): no such variable"), "{text}");
}

/// A stock USB/IP server: a list of devices and nothing else. One device, with an ECM and a data interface, while `shown`.
fn stock_server(shown: Arc<AtomicBool>) -> u16 {
    let l = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = l.local_addr().expect("address").port();
    std::thread::spawn(move || {
        for s in l.incoming() {
            let Ok(mut s) = s else { return };
            let mut request = [0; 8];
            let devlist = s.read_exact(&mut request).is_ok() && request[2..4] == [0x80, 0x05];
            if !devlist {
                continue; // closed, as usbipd does
            }
            let n = u8::from(shown.load(Ordering::SeqCst));
            let mut b = vec![0x01, 0x11, 0x00, 0x05, 0, 0, 0, 0, 0, 0, 0, n];
            if n == 1 {
                let at = b.len();
                b.resize(at + 312, 0);
                b[at + 256..at + 259].copy_from_slice(b"1-1");
                b[at + 291] = 1; // busnum
                b[at + 295] = 9; // devnum
                b[at + 299] = 3; // high speed
                b[at + 300..at + 304].copy_from_slice(&[0x1d, 0x6b, 0x01, 0x04]);
                b[at + 309..at + 312].copy_from_slice(&[1, 1, 2]);
                b.extend([2, 6, 0, 0, 10, 0, 0, 0]);
            }
            let _ = s.write_all(&b);
        }
    });
    port
}

/// Such a list does not show a device that is in use: that it went is known when it is there again.
#[test]
fn a_server_that_only_has_a_list() {
    let mut lab = Lab::new("launcher-stock");
    let shown = Arc::new(AtomicBool::new(true));
    let port = stock_server(shown.clone());
    let rules = "device vendor=0x1d6b\n  insert echo in $(devnum) >>log\n  remove echo out >>log\n";
    std::fs::write(lab.work().join("rules.conf"), rules).expect("rules");
    lab.spawn(&format!("usblauncher -bv -c rules.conf -n 127.0.0.1:{port}"));
    wait(&lab, "inserted", "grep -q 'in 9' log");
    assert_eq!(object(&lab, &format!("127.0.0.1:{port}-1-1"))["interfaces"], "1.0:02/06/00 1.1:0a/00/00");
    shown.store(false, Ordering::SeqCst);
    // Longer than two looks at the list: it stays.
    std::thread::sleep(Duration::from_millis(1200));
    assert_eq!(lab.sh("cat log"), "in 9\n");
    shown.store(true, Ordering::SeqCst);
    wait(&lab, "taken for a new one", "test \"$(tail -n 2 log)\" = \"$(printf 'out\\nin 9')\"");
}
