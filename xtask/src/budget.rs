//! `cargo xtask budget`: instructions that a segment costs, counted by valgrind and held to a committed number.
//!
//! Time says little on a shared machine; a count of instructions is the same each time. What is counted is
//! `bench/src/counted.rs`, in the release profile. The numbers depend on the compiler and on what the processor can, so the file says which;
//! with another one nothing is compared, and a line that nobody can overlook says so.

use crate::sh;
use std::path::PathBuf;
use std::process::Command;

/// More than the committed number by this part of it fails.
const SLACK: f64 = 0.02;
/// The C library's copies in the form that every processor of the kind has; it chooses when the program starts.
const TUNABLES: &str = "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-ERMS,-FSRM,-Prefer_No_AVX512_Probing";

/// Counted work: its name in the file, the function that it is in, what to run, with two numbers of packets; the difference is divided
/// by theirs.
const WORK: &[(&str, &str, &str, [u64; 2])] = &[
    ("segment-sent", "budget_sent", "transfer", [4000, 8000]),
    ("segment-received", "budget_received", "transfer", [4000, 8000]),
];
/// Connections of the two counts of a lookup, and segments of each.
const CONNECTIONS: [u64; 2] = [10, 20_000];
const LOOKUPS: f64 = 2000.0;

fn file() -> PathBuf {
    sh::root().join("bench/budget.txt")
}

fn compiler() -> Result<String, String> {
    Ok(sh::output(Command::new("rustc").arg("--version"))?.trim().to_owned())
}

/// Why nothing can be compared here.
fn missing(want: &str) -> Result<Option<String>, String> {
    if !sh::have("valgrind") {
        return Ok(Some("valgrind is not installed (apt install valgrind)".into()));
    }
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    if !cpu.split_whitespace().any(|w| w == "avx2") {
        return Ok(Some("this processor has no AVX2, the budget was counted with it".into()));
    }
    let here = compiler()?;
    if here != want {
        return Ok(Some(format!(
            "the budget was counted with {want}, here is {here}: cargo xtask budget --bless"
        )));
    }
    Ok(None)
}

/// Instructions inside a function in one run.
fn count(function: &str, work: &str, n: u64) -> Result<f64, String> {
    let mut c = Command::new("valgrind");
    c.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(format!("--toggle-collect=*{function}*"))
        .arg(sh::target().join("release/iopkt-bench"))
        .args(["__counted", work, &n.to_string()])
        .env("GLIBC_TUNABLES", TUNABLES);
    let out = c.output().map_err(|e| format!("valgrind: {e}"))?;
    let text = String::from_utf8_lossy(&out.stderr);
    let n = text.lines().find_map(|l| l.split_once("Collected : ")?.1.trim().parse().ok());
    match n {
        Some(n) if out.status.success() && n > 0.0 => Ok(n),
        _ => Err(format!("{work}: valgrind counted nothing in {function}: {text}")),
    }
}

/// Everything, counted: name and instructions.
fn measure() -> Result<Vec<(String, f64)>, String> {
    sh::run(sh::cargo().args(["build", "--release", "-p", "iopkt-bench"]))?;
    let mut out = Vec::new();
    for (name, function, work, [a, b]) in WORK {
        let per = (count(function, work, *b)? - count(function, work, *a)?) / (b - a) as f64;
        out.push(((*name).to_owned(), per));
    }
    for n in CONNECTIONS {
        let per = count("budget_lookup", "lookup", n)? / LOOKUPS;
        out.push((format!("lookup-{n}"), per));
    }
    Ok(out)
}

/// The file's compiler and numbers.
fn parse(text: &str) -> Option<(String, Vec<(String, f64)>)> {
    let mut lines = text.lines().filter(|l| !l.starts_with('#') && !l.is_empty());
    let compiler = lines.next()?.strip_prefix("compiler ")?.to_owned();
    let rows = lines.map(|l| {
        let (name, n) = l.split_once(' ')?;
        Some((name.to_owned(), n.parse().ok()?))
    });
    Some((compiler, rows.collect::<Option<_>>()?))
}

/// What is wrong with these counts.
fn judge(budget: &[(String, f64)], now: &[(String, f64)]) -> Vec<String> {
    let mut bad = Vec::new();
    for (name, n) in now {
        match budget.iter().find(|b| b.0 == *name) {
            Some((_, b)) if *n > b * (1.0 + SLACK) => {
                bad.push(format!(
                    "{name}: {n:.1} instructions, {:+.1} % of the budget of {b:.1}",
                    (n / b - 1.0) * 100.0
                ));
            }
            Some(_) => {}
            None => bad.push(format!("{name} is not in bench/budget.txt")),
        }
    }
    let of = |n: u64| now.iter().find(|x| x.0 == format!("lookup-{n}")).map(|x| x.1);
    if let [Some(few), Some(many)] = CONNECTIONS.map(of)
        && many > few * (1.0 + SLACK)
    {
        bad.push(format!(
            "a lookup is not flat: {few:.1} instructions of {}, {many:.1} of {} connections",
            CONNECTIONS[0], CONNECTIONS[1]
        ));
    }
    bad
}

/// Counts and compares; with `bless` the counts become the budget.
pub fn run(bless: bool) -> Result<(), String> {
    let text = std::fs::read_to_string(file()).unwrap_or_default();
    let (compiler_then, budget) = parse(&text).unwrap_or_default();
    let want = if bless { compiler()? } else { compiler_then };
    if let Some(why) = missing(&want)? {
        println!("*** SKIPPED: instruction budget: {why} ***");
        return Ok(());
    }
    let now = measure()?;
    for (name, n) in &now {
        let was =
            budget.iter().find(|b| b.0 == *name).map_or(String::new(), |b| format!(", budget {:.1}", b.1));
        println!("{name}: {n:.1} instructions{was}");
    }
    if !bless {
        let bad = judge(&budget, &now);
        return if bad.is_empty() {
            Ok(())
        } else {
            Err(format!(
                "{}\nmake it cheaper, or say why not in the commit that runs: cargo xtask budget --bless",
                bad.join("\n")
            ))
        };
    }
    let rows: String = now.iter().map(|(n, v)| format!("{n} {v:.1}\n")).collect();
    let head = "# Instructions of a packet (callgrind), by cargo xtask budget --bless; CI allows 2 % more. docs/performance.md\n";
    std::fs::write(file(), format!("{head}compiler {want}\n{rows}"))
        .map_err(|e| format!("bench/budget.txt: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(v: &[(&str, f64)]) -> Vec<(String, f64)> {
        v.iter().map(|x| (x.0.to_owned(), x.1)).collect()
    }

    #[test]
    fn two_per_cent_and_no_more() {
        let (c, b) = parse("# words\ncompiler rustc 1 (x)\nsegment-sent 100.0\n").expect("good");
        assert_eq!((c.as_str(), &b), ("rustc 1 (x)", &rows(&[("segment-sent", 100.0)])));
        assert!(judge(&b, &rows(&[("segment-sent", 101.9)])).is_empty());
        assert_eq!(judge(&b, &rows(&[("segment-sent", 102.1)])).len(), 1);
        assert_eq!(judge(&b, &rows(&[("new", 1.0)])).len(), 1, "what has no budget is not forgotten");
        assert!(parse("").is_none() && parse("compiler x\nbroken").is_none());
    }

    #[test]
    fn a_lookup_must_be_flat() {
        let name = |i: usize| format!("lookup-{}", CONNECTIONS[i]);
        let now = |many: f64| vec![(name(0), 100.0), (name(1), many)];
        assert!(judge(&now(200.0), &now(101.0)).is_empty());
        assert_eq!(judge(&now(200.0), &now(103.0)).len(), 1);
    }

    #[test]
    fn the_committed_budget_can_be_read() {
        let text = std::fs::read_to_string(file()).expect("bench/budget.txt");
        let (_, rows) = parse(&text).expect("in good form");
        assert_eq!(rows.len(), WORK.len() + CONNECTIONS.len());
    }
}
