//! `waitfor`: waits until a name exists.

use crate::getopt;
use crate::tool::{Failure, Outcome, print};
use iopkt_sys::paths::Root;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Usage, as `--help` prints it.
pub const USAGE: &str = "usage: waitfor path [seconds]
Waits (5 seconds unless said) until the name exists. /dev/... is looked for under the root of io-pkt,
with the prefix in SOCK, before it is looked for as it stands.";

/// Runs the tool.
///
/// # Errors
/// Usage, the time is over.
pub fn run(args: &[String]) -> Outcome {
    let f = getopt::parse("", args).map_err(|e| Failure::usage(e, USAGE))?;
    if f.has('?') {
        return print(&format!("{USAGE}\n"));
    }
    let (path, seconds) = match f.rest.as_slice() {
        [p] => (p, 5.0),
        [p, s] => {
            let n: Option<f64> = s.parse().ok().filter(|n| (0.0..1e6).contains(n));
            (p, n.ok_or_else(|| Failure::usage(format!("{s}: not a number of seconds"), USAGE))?)
        }
        _ => return Err(Failure::usage("a path is needed", USAGE)),
    };
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let names = places(path, &Root::find(), &std::env::var("SOCK").unwrap_or_default());
    loop {
        if names.iter().any(|n| n.exists()) {
            return Ok(0);
        }
        if Instant::now() >= end {
            return Err(Failure::new(format!("{path}: not there after {seconds} seconds")));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Where a name may be.
fn places(path: &str, root: &Root, prefix: &str) -> Vec<PathBuf> {
    let mut v = vec![PathBuf::from(path)];
    if Path::new(path).starts_with("/dev") {
        v.extend([root.path(path), root.with_prefix(prefix, path)]);
    }
    v
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_names_lie_under_the_root() {
        let p = places("/dev/socket", &Root::at("/r"), "/alt");
        assert!(p.contains(&"/r/alt/dev/socket".into()) && p.contains(&"/r/dev/socket".into()));
        assert_eq!(places("/tmp/x", &Root::at("/r"), "").len(), 1);
        assert!(run(&[]).is_err() && run(&["/nonexistent".into(), "0".into()]).is_err());
        assert_eq!(run(&["/".into()]), Ok(0));
    }
}
