//! iperf3 through io-pkt-run, beside the kernel: bulk TCP.

use crate::options::Options;
use crate::path::{Kind, Path};
use crate::procfs;
use crate::programs::{self, Skip};
use crate::report::{Better, Row, Stat, Table};
use serde_json::Value;

pub const PORT: u16 = 5201;

#[derive(Clone, Copy)]
pub enum Dir {
    /// The near end, ours, sends.
    Send,
    /// The near end receives.
    Receive,
}

#[derive(Default)]
pub struct Runs {
    pub gbit: Vec<f64>,
    /// CPU of the process in the middle: share of a core, and nanoseconds per KiB of payload.
    pub core: Vec<f64>,
    pub ns_per_kib: Vec<f64>,
    /// Sleeps and preemptions of the middle per MiB.
    pub switches: Vec<f64>,
}

pub fn measure(o: &Options) -> Result<Table, Skip> {
    programs::need(&["ip", "iperf3", "python3", "taskset"])?;
    let kinds = [Kind::Veth, Kind::KernelTap, Kind::Tap, Kind::Ecm];
    let mut paths: Vec<Path> = kinds.iter().map(|k| Path::new(*k, o)).collect();
    for p in &mut paths {
        let echo = programs::echo_server(p);
        programs::verify(p, &echo, 16 << 20);
        p.serve(&p.far_line(&format!("iperf3 -s -p {PORT}")));
    }
    let mut rows = Vec::new();
    for (dir, what) in [(Dir::Send, "sends"), (Dir::Receive, "receives")] {
        let mut runs: Vec<Runs> = kinds.iter().map(|_| Runs::default()).collect();
        // Taken in turns, so that a disturbance of the machine meets all.
        for _ in 0..o.runs {
            for (p, r) in paths.iter().zip(&mut runs) {
                once(p, dir, o.seconds, r);
            }
        }
        let mut runs = runs.into_iter();
        let (veth, ktap) = (next(&mut runs), next(&mut runs));
        for kind in [Kind::Tap, Kind::Ecm] {
            let r = next(&mut runs);
            let note = format!(
                "io-pkt: {:.0}% of a core, {:.0} ns/KiB, {:.0} switches/MiB",
                Stat::new(r.core).median() * 100.0,
                Stat::new(r.ns_per_kib).median(),
                Stat::new(r.switches).median()
            );
            let ours = Stat::new(r.gbit);
            for (k, peer) in [(Kind::KernelTap, &ktap), (Kind::Veth, &veth)] {
                let peer = Stat::new(peer.gbit.clone());
                let note = if k == Kind::KernelTap { note.as_str() } else { "" };
                rows.push(
                    Row::beside(format!("{} {what}", kind.name()), ours.clone(), k.name(), peer).note(note),
                );
            }
        }
    }
    Ok(Table {
        title: "iperf3, one TCP connection".into(),
        unit: "Gbit/s",
        better: Better::Higher,
        conditions: conditions(o),
        rows,
    })
}

fn next(r: &mut impl Iterator<Item = Runs>) -> Runs {
    r.next().expect("as many results as ways")
}

pub fn once(p: &Path, dir: Dir, seconds: u64, r: &mut Runs) {
    let reverse = match dir {
        Dir::Send => "",
        Dir::Receive => "-R",
    };
    let before = p.middle.map(|m| (procfs::cpu_ns(m), procfs::switches(m)));
    let line = format!("iperf3 -c {} -p {PORT} -t {seconds} {reverse} -J", p.far_address());
    let started = std::time::Instant::now();
    // The server may still be busy with the end of the last run.
    let mut out = p.run(&p.near_line(&format!("{line} || true")));
    while out.contains("the server is busy") && started.elapsed().as_secs() < 10 {
        std::thread::sleep(std::time::Duration::from_millis(200));
        out = p.run(&p.near_line(&format!("{line} || true")));
    }
    let v = programs::json(&out, "iperf3");
    assert!(v.get("error").is_none_or(Value::is_null), "{}: {}", p.kind.name(), v["error"]);
    let (sent, got) =
        (programs::number(&v, "/end/sum_sent/bytes"), programs::number(&v, "/end/sum_received/bytes"));
    // What is still in buffers when the time is over may be missing, no more.
    assert!(got > 0.0 && got <= sent && sent - got < 32e6, "{}: sent {sent}, received {got}", p.kind.name());
    r.gbit.push(programs::number(&v, "/end/sum_received/bits_per_second") / 1e9);
    if let (Some(m), Some((cpu, sw))) = (p.middle, before) {
        let cpu = (procfs::cpu_ns(m) - cpu) as f64;
        r.core.push(cpu / (seconds as f64 * 1e9));
        r.ns_per_kib.push(cpu / (got / 1024.0));
        r.switches.push((procfs::switches(m) - sw) as f64 / (got / 1048576.0));
    }
}

fn conditions(o: &Options) -> Vec<String> {
    vec![
        format!("{} s a run, {} runs taken in turns, median (min..max)", o.seconds, o.runs),
        "MTU 1500, socket buffers as each system has them by default, iperf3's default 128 KiB writes".into(),
        "kernel over TAP: two kernels, a TAP each, one process between; no offload between these TAPs, all of them with ours; veth with the kernel's offloads"
            .into(),
        o.pin.words("io-pkt, or the carrier of frames,"),
        "before: 16 MiB of random bytes echoed over each way, SHA-256 compared".into(),
    ]
}
