//! `cargo xtask fuzz`: builds the fuzz targets with libFuzzer's coverage and AddressSanitizer, and runs each for
//! a while. The flags are those that cargo-fuzz passes; nothing but a nightly toolchain is needed.

use crate::sh;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// How long a target runs when nothing is said, seconds.
const SECONDS: u32 = 60;

const RUSTFLAGS: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
    "-Zsanitizer=address",
    "-Ccodegen-units=1",
    "-Cdebug-assertions",
    "-Coverflow-checks",
    "--cfg fuzzing",
];

/// What the command line asks for.
struct Asked<'a> {
    seconds: u32,
    target: Option<&'a str>,
    input: Option<PathBuf>,
}

fn parse<'a>(words: &[&'a str]) -> Result<Asked<'a>, String> {
    let mut a = Asked { seconds: SECONDS, target: None, input: None };
    let mut it = words.iter();
    while let Some(w) = it.next() {
        let mut value = || it.next().ok_or_else(|| format!("{w} needs a value"));
        match *w {
            "--seconds" => {
                let v = value()?;
                a.seconds = v
                    .parse()
                    .ok()
                    .filter(|n| *n > 0)
                    .ok_or_else(|| format!("--seconds {v}: a number from 1"))?;
            }
            "--input" => a.input = Some(std::path::absolute(value()?).map_err(|e| e.to_string())?),
            w if !w.starts_with('-') && a.target.is_none() => a.target = Some(w),
            w => {
                return Err(format!(
                    "fuzz: unexpected {w}; usage: cargo xtask fuzz [--seconds N] [TARGET [--input FILE]]"
                ));
            }
        }
    }
    if a.input.is_some() && a.target.is_none() {
        return Err("fuzz: --input needs the TARGET that it is for".into());
    }
    Ok(a)
}

/// Builds and runs all targets, or the one that is named.
pub fn run(words: &[&str]) -> Result<(), String> {
    let asked = parse(words)?;
    let mut targets = targets()?;
    if let Some(t) = asked.target {
        if !targets.iter().any(|x| x == t) {
            return Err(format!("fuzz: no target {t}; there are {}", targets.join(", ")));
        }
        targets.retain(|x| x == t);
    }
    let Some(host) = nightly_host() else {
        let text =
            "fuzz: no nightly toolchain; install one: rustup toolchain install nightly --profile minimal";
        if std::env::var("CI").is_ok_and(|v| v == "true") {
            return Err(text.into());
        }
        eprintln!("{text}\nfuzz: skipped");
        return Ok(());
    };
    let bins = build(&host, asked.target)?;
    if let Some(file) = asked.input {
        return sh::run(Command::new(bins.join(&targets[0])).arg(file).current_dir(sh::root()));
    }
    let mut failed = Vec::new();
    for t in &targets {
        if !fuzz(&bins, t, asked.seconds)? {
            failed.push(t.as_str());
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("fuzz: failed: {}", failed.join(", "))) }
}

/// Names of the targets, sorted.
fn targets() -> Result<Vec<String>, String> {
    let dir = sh::root().join("fuzz/fuzz_targets");
    let entries = std::fs::read_dir(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let mut all: Vec<String> = entries
        .filter_map(|e| e.ok()?.file_name().to_str()?.strip_suffix(".rs").map(str::to_string))
        .collect();
    all.sort();
    Ok(all)
}

/// A program of the nightly toolchain. Cargo's own variables name the toolchain that runs us: they go.
pub fn nightly(program: &str) -> Command {
    let mut c = Command::new("rustup");
    c.args(["run", "nightly", program]).current_dir(sh::root());
    for v in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN"] {
        c.env_remove(v);
    }
    c
}

/// The nightly toolchain's host triple; `None` without such a toolchain.
fn nightly_host() -> Option<String> {
    let o = nightly("rustc").arg("-vV").stderr(Stdio::null()).output().ok().filter(|o| o.status.success())?;
    let text = String::from_utf8_lossy(&o.stdout).into_owned();
    text.lines().find_map(|l| l.strip_prefix("host: ")).map(str::to_string)
}

/// Builds one target or all; returns where they are.
fn build(host: &str, target: Option<&str>) -> Result<PathBuf, String> {
    // A directory of its own: other flags, other toolchain.
    let dir = sh::target().join("fuzz");
    let mut c = nightly("cargo");
    c.args(["build", "--release", "--manifest-path", "fuzz/Cargo.toml", "--target", host]);
    c.env("CARGO_TARGET_DIR", &dir).env("RUSTFLAGS", RUSTFLAGS.join(" "));
    match target {
        Some(t) => c.args(["--bin", t]),
        None => c.arg("--bins"),
    };
    sh::run(&mut c)?;
    Ok(dir.join(host).join("release"))
}

/// Runs one target for a while on its seeds; says whether it went well.
fn fuzz(bins: &Path, t: &str, seconds: u32) -> Result<bool, String> {
    let make = |d: PathBuf| {
        std::fs::create_dir_all(&d).map_err(|e| format!("{}: {e}", d.display()))?;
        Ok::<_, String>(d)
    };
    // New inputs stay under target/ and are used again; the seeds are only read.
    let grown = make(sh::target().join("fuzz/corpus").join(t))?;
    let artifacts = make(sh::target().join("fuzz/artifacts").join(t))?;
    let tmp = make(sh::target().join("fuzz/tmp"))?;
    let log = sh::target().join("fuzz").join(format!("{t}.log"));
    let out = std::fs::File::create(&log).map_err(|e| format!("{}: {e}", log.display()))?;
    let mut c = Command::new(bins.join(t));
    c.arg(format!("-max_total_time={seconds}"));
    c.arg(format!("-artifact_prefix={}/", artifacts.display()));
    c.args(["-print_final_stats=1", "-timeout=20", "-rss_limit_mb=3072", "-max_len=4096"]).arg(&grown);
    let seeds = sh::root().join("fuzz/corpus").join(t);
    if seeds.is_dir() {
        c.arg(seeds);
    }
    // What the code under test prints is no part of it.
    c.env("TMPDIR", &tmp);
    c.stdin(Stdio::null()).stdout(Stdio::null()).stderr(out);
    let status = c.status().map_err(|e| format!("{t}: {e}"))?;
    let _ = std::fs::remove_dir_all(&tmp);
    let text = String::from_utf8_lossy(&std::fs::read(&log).unwrap_or_default()).into_owned();
    let (runs, cov) = summary(&text);
    if status.success() {
        println!("fuzz: {t:<16} {runs:>9} runs, coverage {cov}");
        return Ok(true);
    }
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.iter().position(|l| l.contains("panicked at") || l.contains("ERROR:")).unwrap_or(0);
    for l in lines[from..].iter().take(40) {
        eprintln!("{l}");
    }
    println!("fuzz: {t:<16} FAILED ({status}); all it said: {}", log.display());
    if let Some(file) = artifact(&text) {
        println!("fuzz: repeat it with: cargo xtask fuzz {t} --input {file}");
    }
    Ok(false)
}

/// Runs and coverage (edges) as libFuzzer's last lines tell them.
fn summary(text: &str) -> (u64, u64) {
    let after =
        |l: &str, key: &str| -> Option<u64> { l.split_once(key)?.1.split_whitespace().next()?.parse().ok() };
    let last = |key: &str| text.lines().rev().find_map(|l| after(l, key)).unwrap_or(0);
    (last("stat::number_of_executed_units:"), last(" cov: "))
}

/// The file with the input that failed.
fn artifact(text: &str) -> Option<&str> {
    text.lines().rev().find_map(|l| Some(l.split_once("Test unit written to ")?.1.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_libfuzzer_says_is_understood() {
        let text = "#2\tINITED cov: 41 ft: 50 corp: 1/1b\n#9000\tDONE   cov: 312 ft: 800 corp: 90/3Kb\n\
                    stat::number_of_executed_units: 9000\n";
        assert_eq!(summary(text), (9000, 312));
        let text = "artifact_prefix='/a/'; Test unit written to /a/crash-00\nBase64: AA==\n";
        assert_eq!(artifact(text), Some("/a/crash-00"));
    }

    #[test]
    fn the_command_line_is_checked() {
        let a = parse(&["--seconds", "5", "tcp_header"]).expect("good");
        assert_eq!((a.seconds, a.target), (5, Some("tcp_header")));
        for bad in [&["--seconds"][..], &["--seconds", "0"], &["a", "b"], &["--what"], &["--input", "f"]] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn every_target_is_in_the_manifest() {
        let manifest = std::fs::read_to_string(sh::root().join("fuzz/Cargo.toml")).expect("the manifest");
        let all = targets().expect("targets");
        assert!(all.len() > 10);
        for t in all {
            assert!(manifest.contains(&format!("name = \"{t}\"")), "{t} is not in fuzz/Cargo.toml");
        }
    }
}
