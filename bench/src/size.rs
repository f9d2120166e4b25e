//! Size on disk and resident memory of the three variants.

use crate::options::Options;
use crate::procfs;
use crate::report::{Better, Row, Stat, Table};
use iopkt_tests::{Lab, lab};
use std::process::Command;

const VARIANTS: [&str; 3] = ["io-pkt-v4", "io-pkt-v4-hc", "io-pkt-v6-hc"];

pub fn measure(o: &Options) -> Vec<Table> {
    let disk = VARIANTS.map(stripped_kib);
    let mut rss = vec![Vec::new(); VARIANTS.len()];
    let mut private = vec![Vec::new(); VARIANTS.len()];
    for _ in 0..o.runs {
        for (i, v) in VARIANTS.iter().enumerate() {
            let (r, p) = resident_kib(v);
            rss[i].push(r);
            private[i].push(p);
        }
    }
    let table = |title: &str, values: Vec<Stat>, condition: &str| Table {
        title: title.into(),
        unit: "KiB",
        better: Better::Lower,
        conditions: vec![condition.into()],
        // Each beside the full variant for one family.
        rows: VARIANTS
            .iter()
            .zip(&values)
            .map(|(v, s)| Row::beside(*v, s.clone(), VARIANTS[1], values[1].clone()))
            .collect(),
    };
    vec![
        table(
            "size of the program, stripped",
            disk.into_iter().map(|k| Stat::new(vec![k])).collect(),
            "release build, strip(1) of binutils; drivers are not in it",
        ),
        table(
            "resident memory, idle",
            rss.into_iter().map(Stat::new).collect(),
            "Rss of smaps_rollup, loopback only, an idle second after the start; the unstripped program",
        ),
        table(
            "private memory, idle",
            private.into_iter().map(Stat::new).collect(),
            "Private_Dirty of smaps_rollup: what one more stack costs",
        ),
    ]
}

fn stripped_kib(variant: &str) -> f64 {
    let from = lab::built().join(variant);
    let to = std::env::temp_dir().join(format!("iopkt-bench-{}-{variant}", std::process::id()));
    let ok = Command::new("strip").arg("-o").args([&to, &from]).status();
    // Without binutils the file as it is: larger, and said so.
    let measured = if ok.is_ok_and(|s| s.success()) {
        &to
    } else {
        eprintln!("NOTE: no strip(1): {variant} is measured with its symbols");
        &from
    };
    let len = std::fs::metadata(measured)
        .map(|m| m.len())
        .unwrap_or_else(|e| panic!("{}: {e}", measured.display()));
    let _ = std::fs::remove_file(&to);
    len as f64 / 1024.0
}

/// Resident and private memory of a variant with nothing but loopback.
fn resident_kib(variant: &str) -> (f64, f64) {
    let mut lab = Lab::new("bench");
    iopkt_tests::modem::loopback(&mut lab, variant);
    std::thread::sleep(std::time::Duration::from_secs(1));
    let pid = lab.proc(0).pid();
    let (r, p) = (procfs::smaps_kib(pid, "Rss"), procfs::smaps_kib(pid, "Private_Dirty"));
    assert!(r > 100.0 && p > 10.0, "{variant} (process {pid}) is not there: {}", lab.proc(0).output());
    (r, p)
}
