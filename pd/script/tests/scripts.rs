//! All scripts of `scripts/` hold over IPv4, over IPv6 and with mapped addresses, but for those that name one. `IO_PKT_SEEDS=N` runs each
//! with N seeds instead of one.

use iopkt_script::run::only;
use iopkt_script::{Options, Variant, run};
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
    let (mut bad, mut runs) = (Vec::new(), 0);
    for p in &all {
        let text = std::fs::read_to_string(p).expect("a script");
        let one = only(&text);
        let variants = Variant::ALL.into_iter().filter(|v| one.is_none_or(|o| o == *v));
        for (variant, seed) in variants.flat_map(|v| (1..=seeds).map(move |s| (v, s))) {
            runs += 1;
            if let Err(f) = run(&text, &Options { seed, variant, ..Options::default() }) {
                bad.push(format!("{}:{f} ({}, seed {seed})", p.display(), variant.name()));
            }
        }
    }
    assert!(runs >= all.len() * 2, "only {runs} runs");
    assert!(bad.is_empty(), "{} of {runs} runs failed:\n{}", bad.len(), bad.join("\n"));
}
