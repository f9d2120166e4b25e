//! `waitfor`: waits until a name exists.
//!
//! Names of io-pkt's (`/dev/socket`, `/dev/bpf`, `/dev/serecm0`, `/dev/io-net/en0` ...) are looked for under its root and
//! never in the system's /dev, whose names are other things. A stack's are below its prefix (SOCK); `/alt/dev/socket`
//! names the prefix itself. `/dev/socket` and what is in it count as there when a stack answers: one that was
//! killed leaves its names behind.

use crate::getopt;
use crate::tool::{Failure, Outcome, print};
use iopkt_client::Session;
use iopkt_sys::paths::Root;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Usage, as `--help` prints it.
pub const USAGE: &str = "usage: waitfor [-t seconds] [-w milliseconds] path [seconds]
Waits until the name exists.
  -t  at most so long (default 5; the operand means the same)
  -w  pause between two looks (default 20)
/dev/socket, /dev/socket/2, /dev/bpf, /dev/pf, /dev/tun0, /dev/tap0, /dev/io-net/en0 are the stack's that SOCK
selects, /dev/usb, /dev/serecm0, /dev/slog lie under the root of io-pkt; a name like /alt/dev/socket means the stack
with that prefix. Others are looked for as they stand. Exit 0 when it is there, 1 when the time is over.";

/// First parts of names below /dev that are a stack's own, below its prefix.
const OF_STACK: &[&str] = &["socket", "bpf", "pf", "tun", "tap", "io-net", "io-pkt", "crypto"];
/// And those that all stacks share.
const OF_ROOT: &[&str] = &["usb", "serecm", "serncm", "slog"];

/// Runs the tool.
///
/// # Errors
/// Usage, the time is over.
pub fn run(args: &[String]) -> Outcome {
    let f = getopt::parse("t:w:", args).map_err(|e| Failure::usage(e, USAGE))?;
    if f.has('?') {
        return print(&format!("{USAGE}\n"));
    }
    let number = |v: &str, what: &str| {
        let n: Option<f64> = v.parse().ok().filter(|n| (0.0..1e6).contains(n));
        n.ok_or_else(|| Failure::usage(format!("{v}: not a number of {what}"), USAGE))
    };
    let (path, seconds) = match (f.rest.as_slice(), f.value('t')) {
        ([p], None) => (p, 5.0),
        ([p], Some(s)) => (p, number(s, "seconds")?),
        ([p, s], None) => (p, number(s, "seconds")?),
        ([_, _], Some(_)) => return Err(Failure::usage("the time is given twice", USAGE)),
        ([], _) => return Err(Failure::usage("a path is needed", USAGE)),
        ([_, _, more, ..], _) => return Err(Failure::usage(format!("{more}: not expected"), USAGE)),
    };
    let pause =
        Duration::from_secs_f64(f.value('w').map_or(Ok(20.0), |v| number(v, "milliseconds"))? / 1000.0);
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let names = places(path, &Root::find(), &std::env::var("SOCK").unwrap_or_default());
    loop {
        if names.iter().any(|n| there(n)) {
            return Ok(0);
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let at = names.last().map_or(String::new(), |n| format!(" ({})", n.display()));
            return Err(Failure::new(format!("{path}: not there after {seconds} seconds{at}")));
        }
        std::thread::sleep(pause.min(left));
    }
}

/// Whose a name below /dev is.
enum Whose {
    Stack,
    Root,
    System,
}

fn whose(path: &Path) -> Whose {
    let rest = path.strip_prefix("/dev").ok().and_then(|r| r.components().next());
    let first = rest.map_or(String::new(), |c| c.as_os_str().to_string_lossy().into_owned());
    let kind = first.trim_end_matches(|c: char| c.is_ascii_digit());
    if OF_STACK.contains(&kind) {
        Whose::Stack
    } else if OF_ROOT.contains(&kind) {
        Whose::Root
    } else {
        Whose::System
    }
}

/// Where a name may be.
fn places(path: &str, root: &Root, prefix: &str) -> Vec<PathBuf> {
    match whose(Path::new(path)) {
        Whose::Stack => vec![root.with_prefix(prefix, path)],
        Whose::Root => vec![root.path(path)],
        Whose::System if path.starts_with('/') => vec![PathBuf::from(path), root.path(path)],
        Whose::System => vec![PathBuf::from(path)],
    }
}

fn there(p: &Path) -> bool {
    let Ok(m) = p.metadata() else { return false };
    let last = |p: &Path, n: &str| p.file_name().is_some_and(|f| f == n);
    if m.is_dir() && last(p, "socket") {
        return Session::open_at(&p.join("2")).is_ok();
    }
    let family = p.parent().is_some_and(|d| last(d, "socket"));
    !family || Session::open_at(p).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &str, prefix: &str) -> Vec<String> {
        places(path, &Root::at("/r"), prefix).iter().map(|p| p.display().to_string()).collect()
    }

    #[test]
    fn names_lie_under_the_root_and_the_prefix() {
        assert_eq!(at("/dev/socket", ""), ["/r/dev/socket"]);
        assert_eq!(at("/dev/socket/2", "/alt"), ["/r/alt/dev/socket/2"]);
        assert_eq!(at("/dev/bpf0", "/alt"), ["/r/alt/dev/bpf0"]);
        assert_eq!(at("/dev/io-net/en0", ""), ["/r/dev/io-net/en0"]);
        assert_eq!(at("/dev/serecm0", "/alt"), ["/r/dev/serecm0"], "not below the prefix (reference 2.4)");
        assert_eq!(at("/dev/usb", ""), ["/r/dev/usb"], "the system has a /dev/usb of its own");
        assert_eq!(at("/alt/dev/socket", ""), ["/alt/dev/socket", "/r/alt/dev/socket"]);
        assert_eq!(at("/dev/ttyUSB0", ""), ["/dev/ttyUSB0", "/r/dev/ttyUSB0"]);
        assert_eq!(at("x", "/alt"), ["x"]);
    }

    #[test]
    fn grammar_and_time() {
        let go = |l: &str| run(&l.split_whitespace().map(str::to_string).collect::<Vec<_>>());
        assert_eq!(go("/"), Ok(0));
        assert_eq!(go("-t 0 -w 1 /"), Ok(0));
        let e = go("/nonexistent 0").unwrap_err();
        assert!(
            e.code == 1 && e.message.starts_with("/nonexistent: not there after 0 seconds"),
            "{}",
            e.message
        );
        for bad in ["", "a b c", "/ x", "-t x /", "-t 1 / 1", "-w -1 /", "-q /"] {
            assert!(go(bad).unwrap_err().message.contains("usage: waitfor"), "{bad}");
        }
    }
}
