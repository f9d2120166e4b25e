//! Unplugged and plugged in again under traffic, over and over: nothing grows, nothing is left, the name stays.
//! A few rounds here; IO_PKT_LONG=1 makes it a thousand.

use iopkt_tests::{Lab, until};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);

/// Resident memory in KiB and open descriptors of a process.
fn size(pid: i32) -> (u64, usize) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let rss = status
        .lines()
        .find_map(|l| l.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.trim().parse().ok());
    let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
    (rss.unwrap_or(0), fds)
}

#[test]
fn unplug_cycles_under_traffic_are_flat() {
    let long = std::env::var_os("IO_PKT_LONG").is_some();
    let rounds: u32 = if long { 2000 } else { 24 };
    let mut lab = Lab::new("cycles");
    lab.spawn("io-usb --foreground -d sim");
    lab.wait(LONG, "test -S $IO_PKT_ROOT/dev/usb");
    lab.spawn("io-pkt-v4-hc --foreground -d ecm pnp -ptcpip");
    lab.wait(LONG, "test -S $IO_PKT_ROOT/dev/socket/2");
    let pids = [lab.proc(0).pid(), lab.proc(1).pid()];
    let (mut base, mut peak) = (None, [0; 2]);
    for i in 0..rounds {
        // Configured, somebody at the AT port, packets on the way; then the plug goes after so many more transfers,
        // also in the middle of one.
        let torn = if i % 2 == 0 { "torn" } else { "" };
        let port = if i % 3 == 0 { "exec 3<>$IO_PKT_ROOT/dev/serecm0; printf 'AT+CLAC\\r' >&3;" } else { "" };
        let up = until(LONG, || {
            let line = "if_up -p -r 20 -m 100 ecm0 && ifconfig ecm0 10.184 && if_up -l -r 40 -m 50 ecm0";
            lab.sh_for(LONG, line).status.success().then_some(())
        });
        assert!(up.is_some(), "round {i}: {}\n{}", lab.sh("ifconfig -l"), lab.log());
        lab.sh(&format!(
            "{port} ping -c 1 10.1 >/dev/null || exit 1
             timeout 0.2 ping -i 0.001 -s 1000 10.1 >/dev/null 2>&1 & p=$!
             io-usb -c fault unplug after={} {torn}; wait $p; io-usb -c unplug >/dev/null 2>&1; true",
            i % 60
        ));
        let gone =
            until(LONG, || lab.sh("ifconfig -l").split_whitespace().all(|n| n != "ecm0").then_some(()));
        assert!(gone.is_some(), "round {i}: the interface outlived its device\n{}", lab.log());
        let quiet = until(LONG, || {
            let links = std::fs::read_dir(lab.root().join("dev")).ok()?;
            links.flatten().all(|e| !e.file_name().to_string_lossy().starts_with("serecm")).then_some(())
        });
        assert!(quiet.is_some(), "round {i}: the AT port outlived its device");
        let now = pids.map(size);
        for (p, n) in peak.iter_mut().zip(now) {
            *p = (*p).max(n.0);
        }
        if long && i % 50 == 0 {
            println!("round {i}: {now:?}");
        }
        // Caches are warm after a while.
        if i == rounds / 4 {
            base = Some(now);
        }
        lab.sh("io-usb -c plug");
    }
    let base = base.expect("rounds");
    lab.sh("io-usb -c unplug");
    let flat = until(LONG, || {
        let now = pids.map(size);
        let same = |i: usize| now[i].1 <= base[i].1 && now[i].0 <= base[i].0 + 1024;
        (same(0) && same(1)).then_some(now)
    });
    let now = pids.map(size);
    assert!(flat.is_some(), "from (KiB, descriptors) {base:?} to {now:?} in {rounds} rounds\n{}", lab.log());
    println!(
        "io-usb and io-pkt, (KiB, descriptors): {base:?} -> {now:?}, peak KiB {peak:?}, {rounds} rounds"
    );
}
