//! Measurements beside a peer in the same run, as ratios.
//!
//! Absolute numbers of a shared machine say little; a ratio to something that everybody knows, measured in turns with
//! it, says more. Each measurement checks its results (bytes, digests) before it reports, and states its conditions.
//! Every process and namespace that it makes ends with it.

mod bulk;
mod carrier;
mod connections;
mod counted;
mod datagrams;
mod families;
mod forward;
mod idle;
mod instructions;
mod latency;
mod local;
mod lossy;
mod memory;
mod options;
mod ours;
mod path;
mod procfs;
mod programs;
mod report;
mod size;
mod smol;
mod smol_tap;
mod start;
mod tcp;
mod threads;

use options::Options;
use programs::Skip;
use report::Table;
use std::process::{Command, ExitCode};

/// The product's packages.
const PRODUCT: [&str; 10] = [
    "io-pkt-v4",
    "io-pkt-v4-hc",
    "io-pkt-v6-hc",
    "io-usb",
    "io-pkt-run",
    "iopkt-utils",
    "devnp-ecm",
    "devnp-tap",
    "devnp-afp",
    "iopkt-preload",
];

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    match args.next().as_deref() {
        Some(forward::COMMAND) => {
            let Err(e) = forward::run(&args.collect::<Vec<_>>());
            eprintln!("iopkt-bench: {e}");
            return ExitCode::FAILURE;
        }
        Some(smol_tap::STACK) => {
            let Err(e) = smol_tap::stack(&args.collect::<Vec<_>>());
            eprintln!("iopkt-bench: {e}");
            return ExitCode::FAILURE;
        }
        Some(smol_tap::CLIENT) => match smol_tap::client(&args.collect::<Vec<_>>()) {
            Ok(gbit) => {
                println!("{gbit}");
                return ExitCode::SUCCESS;
            }
            Err(e) => {
                eprintln!("iopkt-bench: {e}");
                return ExitCode::FAILURE;
            }
        },
        Some(connections::SERVER) => {
            let Err(e) = connections::serve(&args.collect::<Vec<_>>());
            eprintln!("iopkt-bench: {e}");
            return ExitCode::FAILURE;
        }
        Some(connections::CLIENT) => {
            let r = connections::connect(&args.collect::<Vec<_>>());
            return r.map_or_else(
                |e| {
                    eprintln!("iopkt-bench: {e}");
                    ExitCode::FAILURE
                },
                |()| ExitCode::SUCCESS,
            );
        }
        Some(carrier::COMMAND) => {
            let Err(e) = carrier::run(&args.collect::<Vec<_>>());
            eprintln!("iopkt-bench: {e}");
            return ExitCode::FAILURE;
        }
        // For `cargo xtask budget`.
        Some("__counted") => {
            let what = args.next().unwrap_or_default();
            match (what.as_str(), args.next().and_then(|n| n.parse().ok())) {
                ("transfer", Some(n)) => counted::transfer(n),
                ("lookup", Some(n)) => counted::lookup(n),
                _ => return ExitCode::from(2),
            }
            return ExitCode::SUCCESS;
        }
        // For valgrind: one side of `memory` alone, so many packets.
        Some("__once") => {
            let what = args.next().unwrap_or_else(|| "ours".into());
            let n = args.next().and_then(|n| n.parse().ok()).unwrap_or(20_000);
            return match instructions::once(&what, n) {
                Some(t) => {
                    println!("{n} packets in {t:.3} s");
                    ExitCode::SUCCESS
                }
                None => ExitCode::from(2),
            };
        }
        _ => {}
    }
    let o = match options::parse(std::env::args_os().skip(1)) {
        Ok(Some(o)) => o,
        Ok(None) => {
            print!("{}", options::USAGE);
            return ExitCode::SUCCESS;
        }
        Err(e) => {
            eprintln!("iopkt-bench: {e}; --help lists the options");
            return ExitCode::from(2);
        }
    };
    if o.build && o.what.iter().any(|w| w != "memory" && w != "instructions") && !build() {
        eprintln!("iopkt-bench: the product does not build");
        return ExitCode::FAILURE;
    }
    let machine = machine();
    if !o.json {
        println!("{machine}");
    }
    let (mut tables, mut skipped) = (Vec::new(), Vec::new());
    for what in &o.what {
        match measure(what, &o) {
            Ok(new) => {
                if !o.json {
                    new.iter().for_each(Table::print);
                }
                tables.extend(new);
            }
            Err(Skip(why)) => {
                eprintln!("SKIPPED {what}: {why}");
                skipped.push(format!("{what}: {why}"));
            }
        }
    }
    if o.json {
        let all: Vec<_> = tables.iter().map(Table::json).collect();
        println!("{:#}", serde_json::json!({ "machine": machine, "tables": all, "skipped": skipped }));
    }
    if skipped.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(3) }
}

fn measure(what: &str, o: &Options) -> Result<Vec<Table>, Skip> {
    Ok(match what {
        "memory" => memory::measure(o),
        "instructions" => vec![instructions::measure()?],
        "size" => size::measure(o),
        "start" => vec![start::measure(o)?],
        "idle" => vec![idle::measure(o)?],
        "tcp" => vec![tcp::measure(o)?],
        "bulk" => vec![bulk::measure(o)?],
        "connections" => vec![connections::measure(o)?],
        "families" => families::measure(o)?,
        "local" => local::measure(o)?,
        options::LOSSY => vec![lossy::measure(o)?],
        _ => latency::measure(o)?,
    })
}

/// Builds the product in this program's own profile, so that all of it is of one state.
fn build() -> bool {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut c = Command::new(cargo);
    c.arg("build").current_dir(env!("CARGO_MANIFEST_DIR"));
    if !cfg!(debug_assertions) {
        c.arg("--release");
    }
    for p in PRODUCT {
        c.args(["-p", p]);
    }
    c.status().is_ok_and(|s| s.success())
}

/// The machine in a line.
fn machine() -> String {
    let read = |p: &str| std::fs::read_to_string(p).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model =
        info.lines().find_map(|l| l.strip_prefix("model name")?.split_once(": ")).map_or("?", |x| x.1);
    let release = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or("?");
    let profile = if cfg!(debug_assertions) { "debug build" } else { "release build" };
    format!("{model}, {} CPUs, Linux {}, load {load}, {profile}", iopkt_sys::process::cpus(), release.trim())
}
