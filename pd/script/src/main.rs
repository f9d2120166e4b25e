//! `io-pkt-drill [-v] SCRIPT.pkt ...`: runs scripts of packetdrill's language against the stack in virtual time.

use iopkt_script::{Options, Variant, run};
use std::process::ExitCode;

const USAGE: &str = "usage: io-pkt-drill [-v] [--seed=N] [--tolerance_usecs=N] [--ip_version=ipv4|ipv6|ipv4-mapped-ipv6] SCRIPT.pkt ...
Runs scripts of packetdrill's language against the stack, in virtual time. A directory stands for all its scripts.
Exit status: 0 when all hold, 1 when one does not, 2 for wrong usage.";

fn main() -> ExitCode {
    let mut opts = Options::default();
    let mut paths = Vec::new();
    for a in std::env::args().skip(1) {
        let ok = match a.split_once('=') {
            _ if a == "-v" => {
                opts.verbose = true;
                true
            }
            Some(("--seed", n)) => n.parse().map(|n| opts.seed = n).is_ok(),
            Some(("--tolerance_usecs", n)) => n.parse().map(|n| opts.tolerance = n).is_ok(),
            Some(("--ip_version", n)) => Variant::named(n).map(|v| opts.variant = v).is_some(),
            _ if a.starts_with('-') => false,
            _ => {
                paths.push(std::path::PathBuf::from(a.clone()));
                true
            }
        };
        if !ok {
            eprintln!("io-pkt-drill: {a}: not an option\n{USAGE}");
            return ExitCode::from(2);
        }
    }
    if paths.is_empty() {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    }
    let mut bad = false;
    for p in paths {
        bad |= !path(&p, &opts);
    }
    ExitCode::from(u8::from(bad))
}

/// Runs a script, or all of a directory; true when they hold.
fn path(p: &std::path::Path, opts: &Options) -> bool {
    if p.is_dir() {
        let mut all: Vec<_> = match std::fs::read_dir(p) {
            Ok(d) => d.filter_map(|e| e.ok().map(|e| e.path())).collect(),
            Err(e) => {
                eprintln!("io-pkt-drill: {}: {e}", p.display());
                return false;
            }
        };
        all.retain(|p| p.is_dir() || p.extension().is_some_and(|e| e == "pkt"));
        all.sort();
        return all.iter().map(|p| path(p, opts)).fold(true, |a, b| a & b);
    }
    let text = match std::fs::read_to_string(p) {
        Ok(t) => t,
        Err(e) => {
            eprintln!("io-pkt-drill: {}: {e}", p.display());
            return false;
        }
    };
    match run(&text, opts) {
        Ok(()) => {
            println!("ok   {}", p.display());
            true
        }
        Err(f) => {
            println!("FAIL {}:{f}", p.display());
            false
        }
    }
}
