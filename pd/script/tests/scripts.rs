//! All scripts of `scripts/` hold. `IO_PKT_SEEDS=N` runs each with N seeds instead of one.

use iopkt_script::{Options, run};
use std::path::{Path, PathBuf};

fn scripts(dir: &Path, out: &mut Vec<PathBuf>) {
    for e in std::fs::read_dir(dir).expect("a directory").filter_map(Result::ok) {
        let p = e.path();
        if p.is_dir() {
            scripts(&p, out);
        } else if p.extension().is_some_and(|e| e == "pkt") {
            out.push(p);
        }
    }
}

#[test]
fn every_script_holds() {
    let mut all = Vec::new();
    scripts(&Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts"), &mut all);
    all.sort();
    assert!(all.len() >= 60, "only {} scripts", all.len());
    let seeds = std::env::var("IO_PKT_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(1u64);
    let mut bad = Vec::new();
    for p in &all {
        let text = std::fs::read_to_string(p).expect("a script");
        for seed in 1..=seeds {
            if let Err(f) = run(&text, &Options { seed, ..Options::default() }) {
                bad.push(format!("{}:{f} (seed {seed})", p.display()));
            }
        }
    }
    assert!(bad.is_empty(), "{} of {} scripts failed:\n{}", bad.len(), all.len(), bad.join("\n"));
}
