//! What happens on a modem's link: loss, reordering, unplugging, data calls, two modems on two threads.

use iopkt_tests::{Lab, modem, until};
use std::time::Duration;

/// Bytes of a transfer; IO_PKT_LONG=1 makes it the gibibyte that a person would try.
fn size() -> u64 {
    if std::env::var_os("IO_PKT_LONG").is_some() { 1 << 30 } else { 12 << 20 }
}

#[track_caller]
fn fetch(lab: &Lab, limit: u64) -> String {
    let line = format!("io-pkt-run curl -sS http://10.0.0.1/bytes/{} | md5sum | cut -d' ' -f1", size());
    let o = lab.sh_for(Duration::from_secs(limit), &line);
    assert!(o.status.success(), "{}\n{}", String::from_utf8_lossy(&o.stderr), lab.log());
    String::from_utf8_lossy(&o.stdout).trim().to_string()
}

#[test]
fn every_byte_passes_a_bad_link_both_ways() {
    let mut lab = Lab::new("badlink");
    modem::start(&mut lab, "io-pkt-v4-hc", "");
    let want = fetch(&lab, 900);
    lab.sh("io-usb -c fault link drop=0.5 reorder=2 dup=1 corrupt=0.2");
    assert_eq!(fetch(&lab, 900), want, "towards us");
    lab.sh(&format!("head -c {} /dev/urandom > up", size()));
    let answer = lab.sh_for(Duration::from_secs(900), "io-pkt-run curl -sS -T up http://10.0.0.1/sink");
    let answer = String::from_utf8_lossy(&answer.stdout).into_owned();
    assert!(answer.contains(&size().to_string()), "from us: {answer}");
    lab.sh("io-usb -c fault clear");
}

#[test]
fn a_transfer_survives_unplugging() {
    let mut lab = Lab::new("unplug");
    lab.spawn("io-usb --foreground -d sim down=40000000,delay=5");
    lab.wait(Duration::from_secs(60), "test -S $IO_PKT_ROOT/dev/usb");
    lab.spawn("io-pkt-v4-hc --foreground -d ecm pnp");
    lab.wait(Duration::from_secs(60), "if_up -p -r 1 ecm0");
    lab.sh("ifconfig ecm0 10.184 && if_up -l -r 50 -m 100 ecm0");
    let want = fetch(&lab, 300);
    let line = format!("io-pkt-run curl -sS -o got http://10.0.0.1/bytes/{}", size());
    let curl = lab.spawn(&line);
    let begun = || std::fs::metadata(lab_file(&lab)).is_ok_and(|m| m.len() > 1 << 20).then_some(());
    assert!(until(Duration::from_secs(60), begun).is_some(), "the transfer does not begin");
    lab.sh("io-usb -c unplug");
    let gone = until(Duration::from_secs(60), || (lab.sh("ifconfig -l").trim() == "lo0").then_some(()));
    assert!(gone.is_some(), "the interface outlived its device:\n{}", lab.log());
    lab.sh("io-usb -c plug && if_up -p -r 50 -m 100 ecm0 && ifconfig ecm0 10.184");
    let end = lab.proc(curl).wait(Duration::from_secs(300));
    assert!(end.is_some_and(|s| s.success()), "{}\n{}", lab.proc(curl).output(), lab.log());
    assert_eq!(lab.sh("md5sum < got | cut -d' ' -f1").trim(), want);
}

fn lab_file(lab: &Lab) -> std::path::PathBuf {
    lab.work().join("got")
}

#[test]
fn a_data_call_brings_the_link_up_and_its_end_takes_it_down() {
    let mut lab = Lab::new("call");
    lab.spawn("io-usb --foreground -d sim call=manual");
    lab.wait(Duration::from_secs(60), "test -S $IO_PKT_ROOT/dev/usb");
    lab.spawn("io-pkt-v4-hc --foreground -d ecm");
    lab.wait(Duration::from_secs(60), "if_up -p -r 1 ecm0");
    lab.sh("ifconfig ecm0 10.184");
    assert_eq!(lab.sh_fails("ifconfig -s ecm0").0, 1, "no call, no carrier");
    assert!(lab.sh("ifconfig ecm0").contains("status: no carrier"));
    let at = |lab: &Lab, cmd: &str| {
        lab.sh(&format!("exec 3<>$IO_PKT_ROOT/dev/serecm0; printf '{cmd}\\r' >&3; timeout 2 cat <&3 || true"))
    };
    let answer = at(&lab, "ATE0+CPIN?;+CREG?;+CGDCONT=1,\"IP\",\"internet\";+CGACT=1,1");
    assert!(answer.contains("READY") && answer.contains("OK"), "{answer:?}");
    lab.sh("if_up -l -r 50 -m 100 ecm0 && ping -c 2 10.1");
    assert!(at(&lab, "AT+CGACT=0,1").contains("OK"));
    let down = until(Duration::from_secs(60), || {
        lab.sh("ifconfig ecm0").contains("status: no carrier").then_some(())
    });
    assert!(down.is_some(), "{}", lab.sh("ifconfig ecm0"));
}

#[test]
fn usb_faults_under_traffic_are_recovered() {
    let mut lab = Lab::new("faults");
    modem::start(&mut lab, "io-pkt-v4-hc", "");
    let want = fetch(&lab, 120);
    for fault in ["stall ep=0x82", "short count=3", "nozlp count=3", "babble count=2", "late ms=200"] {
        lab.sh(&format!("(sleep 0.05; io-usb -c fault {fault}) & wait"));
        assert_eq!(fetch(&lab, 120), want, "after {fault}");
    }
    assert!(lab.sh("ping -c 2 10.1").contains("2 packets received"));
}

#[test]
fn two_modems_on_two_threads() {
    let mut lab = Lab::new("two");
    lab.spawn("io-usb --foreground -d sim -d sim");
    lab.wait(Duration::from_secs(60), "test -S $IO_PKT_ROOT/dev/usb");
    let stack = lab.spawn("io-pkt-v4-hc --foreground -t 2 -d ecm");
    lab.wait(Duration::from_secs(60), "if_up -ap -r 1 ecm0 ecm1");
    lab.sh("ifconfig ecm0 10.184 && ifconfig ecm1 11.184 && if_up -al -r 50 -m 100 ecm0 ecm1");
    let get = "io-pkt-run curl -sS http://NET.0.0.1/bytes/8000000 | md5sum";
    let both = format!("({}) & ({}); wait", get.replace("NET", "10"), get.replace("NET", "11"));
    let sums: Vec<String> = lab.sh(&both).lines().map(str::to_string).collect();
    assert!(sums.len() == 2 && sums[0] == sums[1], "{sums:?}");
    // Both packet threads have used the processor.
    let pid = lab.proc(stack).pid();
    let mut busy = 0;
    for t in std::fs::read_dir(format!("/proc/{pid}/task")).expect("threads").flatten() {
        let name = std::fs::read_to_string(t.path().join("comm")).unwrap_or_default();
        let stat = std::fs::read_to_string(t.path().join("schedstat")).unwrap_or_default();
        let ns: u64 = stat.split_whitespace().next().and_then(|v| v.parse().ok()).unwrap_or(0);
        busy += u32::from(name.contains("packet") && ns > 1_000_000);
    }
    assert_eq!(busy, 2, "threads: {}", lab.sh(&format!("grep -H . /proc/{pid}/task/*/comm")));
}
