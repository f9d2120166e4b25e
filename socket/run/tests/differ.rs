//! The same program on the kernel's sockets and on ours, by both ways into a program: what differs is listed, and nothing else
//! does. The programs are `bodies/differ/*.py`, the list is `bodies/differ/differences.txt`.
//!
//! The kernel's part runs in a network namespace of its own, with the settings that the stack has.

// kill(2) on processes that the test has started.
#![allow(clippy::undocumented_unsafe_blocks)]

mod support;

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::Duration;

use support::FakeStack;

/// For [`support`].
const ON_IO_PKT: bool = true;

/// The kernel whose answers the table of options tells; older ones lack options.
const KERNEL: (u32, u32) = (6, 16);
const WAYS: [&str; 2] = ["--preload-only", "--seccomp-only"];
const LIMIT: Duration = Duration::from_secs(240);
const SETTINGS: &str =
    "ip link set lo up && sysctl -qw net.ipv4.ping_group_range='0 2147483647' && exec \"$@\"";

fn body(name: &str) -> String {
    format!("{}/tests/bodies/differ/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Why this cannot run here.
fn obstacle() -> Option<String> {
    if unsafe { libc::geteuid() } != 0 {
        return Some("needs root for a network namespace".into());
    }
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut n = release.split(['.', '-']).map(|w| w.parse::<u32>().unwrap_or(0));
    let version = (n.next().unwrap_or(0), n.next().unwrap_or(0));
    if version < KERNEL {
        return Some(format!("kernel {} answers otherwise than {}.{}", release.trim(), KERNEL.0, KERNEL.1));
    }
    let mut c = Command::new("unshare");
    c.args(["-n", "sh", "-c", SETTINGS, "sh", "true"]).stdin(Stdio::null());
    match c.output() {
        Ok(o) if o.status.success() => None,
        Ok(o) => Some(format!("no network namespace: {}", String::from_utf8_lossy(&o.stderr).trim())),
        Err(e) => Some(format!("unshare: {e}")),
    }
}

/// The lines of a program's output: what was asked (a number behind what is asked again), and what came.
fn answers(out: &str) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for line in out.lines() {
        let (key, value) = line.split_once(": ").unwrap_or((line, ""));
        let mut name = key.to_string();
        let mut n = 1;
        while all.contains_key(&name) {
            n += 1;
            name = format!("{key} #{n}");
        }
        all.insert(name, value.to_string());
    }
    all
}

/// Whether `*` in a pattern, for any characters, makes it fit.
fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut open = false;
    for part in parts {
        open = part.is_empty();
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.is_empty() || open
}

/// The listed differences: the way they are of, and what is asked.
fn listed() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(body("differences.txt")).unwrap();
    let lines = text.lines().filter(|l| !l.is_empty() && !l.starts_with('#'));
    lines.map(|l| l.split_once(' ').unwrap()).map(|(w, k)| (w.to_string(), k.to_string())).collect()
}

fn run(mut c: Command) -> BTreeMap<String, String> {
    let child = c.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
    let (out, err, status) = support::finish(child, LIMIT);
    assert!(status.success(), "{c:?} ended with {status}\n{err}\nlast: {:?}", out.lines().last());
    answers(&out)
}

/// Compares a program's answers. `still`: none of them hangs on timing, so that what is listed must differ.
fn compare(program: &str, still: bool) {
    if let Some(why) = obstacle() {
        eprintln!("SKIPPED: {why}");
        return;
    }
    let script = body(program);
    let mut c = Command::new("unshare");
    c.args(["-n", "sh", "-c", SETTINGS, "sh", "/usr/bin/python3", &script]);
    let kernel = run(c);
    assert!(kernel.len() > 500, "{} answers", kernel.len());
    let listed = listed();
    let mut wrong = Vec::new();
    let mut met = vec![false; 2 * listed.len()];
    for (nth, way) in WAYS.into_iter().enumerate() {
        let s = FakeStack::of("io-pkt-v6-hc");
        let ours = run(s.run(&[way, "/usr/bin/python3", &script]));
        let short = way.trim_start_matches("--").trim_end_matches("-only");
        for key in kernel.keys().chain(ours.keys().filter(|k| !kernel.contains_key(*k))) {
            let (k, o) = (kernel.get(key), ours.get(key));
            if k == o {
                continue;
            }
            let mut known = false;
            for (i, (w, p)) in listed.iter().enumerate() {
                let w = w.trim_end_matches('?');
                if (w == "both" || w == short) && fits(p, key) {
                    (known, met[2 * i + nth]) = (true, true);
                }
            }
            if !known {
                let show = |v: Option<&String>| v.map_or("(not asked)", |v| v.as_str()).to_string();
                wrong.push(format!("{short} {key}: kernel {}, here {}", show(k), show(o)));
            }
        }
    }
    // What no longer differs is not to be listed. Which program asks it, its lines tell.
    for (i, (w, p)) in listed.iter().enumerate().filter(|(_, (w, _))| still && !w.ends_with('?')) {
        for (nth, short) in ["preload", "seccomp"].into_iter().enumerate() {
            if (w == "both" || w == short) && !met[2 * i + nth] && kernel.keys().any(|k| fits(p, k)) {
                wrong.push(format!("{short} {p}: listed, and does not differ"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} answers differ and are not listed:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn options_are_the_kernels() {
    compare("options.py", true);
}

#[test]
fn calls_are_the_kernels() {
    compare("calls.py", false);
}

#[test]
fn patterns() {
    assert!(
        fits("a*c", "abc") && fits("a*c", "ac") && fits("a*", "a") && fits("*x*", "axb") && fits("a", "a")
    );
    assert!(!fits("a*c", "ab") && !fits("a", "ab") && !fits("a*b*c", "acb"));
}
