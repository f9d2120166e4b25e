//! Goodput of CUBIC over a bad cable, beside the kernel's CUBIC over the same cable.

use crate::options::Options;
use crate::path::{Cable, FAR, Path};
use crate::programs::{self, Skip};
use crate::report::{Better, Row, Stat, Table};

const PORT: u16 = 5201;

/// Round-trip time in ms, loss of data frames in ten thousandths, Mbit/s (0: as fast as the machine), queue.
const POINTS: [(u64, u64, u64, u64); 8] = [
    (20, 0, 20, 40),
    (50, 0, 20, 100),
    (10, 10, 0, 0),
    (40, 10, 0, 0),
    (20, 50, 0, 0),
    (20, 100, 0, 0),
    (50, 100, 0, 0),
    (20, 300, 0, 0),
];

pub fn measure(o: &Options) -> Result<Table, Skip> {
    programs::need(&["ip", "iperf3", "taskset"])?;
    let mut rows = Vec::new();
    for (rtt, loss, mbit, queue) in POINTS {
        let cable = Cable { us: rtt * 500, loss, rate: mbit * 1_000_000, queue };
        let mut paths = [Path::lossy(true, cable, o), Path::lossy(false, cable, o)];
        for p in &mut paths {
            p.serve(&p.far_line(&format!("iperf3 -s -p {PORT}")));
        }
        let mut got = [Vec::new(), Vec::new()];
        for _ in 0..o.runs {
            for (p, g) in paths.iter().zip(&mut got) {
                g.push(once(p, o.seconds));
                // The cable takes the next seed.
                std::thread::sleep(std::time::Duration::from_millis(800));
            }
        }
        let [ours, kernel] = got.map(Stat::new);
        let rate = if mbit > 0 { format!(", {mbit} Mbit/s, queue {queue}") } else { String::new() };
        let what = format!("RTT {rtt} ms, loss {:.1} %{rate}", loss as f64 / 100.0);
        rows.push(Row::beside(what, ours, "kernel, cubic", kernel));
    }
    Ok(Table {
        title: "CUBIC over a bad cable: iperf3, one connection, the near end sends".into(),
        unit: "Mbit/s",
        better: Better::Higher,
        conditions: vec![
            format!("{} s a run, {} runs taken in turns, median (min..max)", o.seconds, o.runs),
            "both over one program that delays and loses frames, TAP to TAP; the same seeds for both, frames with data are lost".into(),
            "the far end is the kernel; io-pkt's TAP reaches the cable over a bridge".into(),
        ],
        rows,
    })
}

fn once(p: &Path, seconds: u64) -> f64 {
    let line = format!("iperf3 -c {FAR} -p {PORT} -t {seconds} -C cubic -J");
    for _ in 0..20 {
        let out = p.run(&p.near_line(&format!("{line} || true")));
        // The server may still be busy with the end of the last run, or its first words were lost.
        let Some(v) =
            serde_json::from_str::<serde_json::Value>(&out).ok().filter(|v| v.get("error").is_none())
        else {
            std::thread::sleep(std::time::Duration::from_millis(500));
            continue;
        };
        return programs::number(&v, "/end/sum_received/bits_per_second") / 1e6;
    }
    panic!("iperf3 does not run: {}", p.run(&p.near_line(&format!("{line} || true"))));
}
