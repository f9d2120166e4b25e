//! ping's command line.

use crate::getopt;
use crate::tool::Failure;
use std::time::Duration;

/// Usage, as `--help` prints it.
pub const USAGE: &str =
    "usage: ping [-nqv] [-c count] [-i seconds] [-s bytes] [-t ttl] [-W seconds] [-w seconds] host
SOCK=/prefix selects the stack.";

/// What the user asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// Requests, `None` for ever.
    pub count: Option<u64>,
    /// Time between two.
    pub interval: Duration,
    /// Data bytes.
    pub size: usize,
    /// Time to live.
    pub ttl: Option<u8>,
    /// How long to wait for the last answer.
    pub wait: Duration,
    /// How long to run at most.
    pub deadline: Option<Duration>,
    /// Only the summary.
    pub quiet: bool,
    /// Whom to ask.
    pub host: String,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            count: None,
            interval: Duration::from_secs(1),
            size: 56,
            ttl: None,
            wait: Duration::from_secs(2),
            deadline: None,
            quiet: false,
            host: String::new(),
        }
    }
}

impl Options {
    /// Reads the command line; `None` when help was asked for.
    ///
    /// # Errors
    /// Wrong usage.
    pub fn parse(args: &[String]) -> Result<Option<Options>, Failure> {
        let f = getopt::parse("c:i:nqs:t:vW:w:", args).map_err(usage)?;
        if f.has('?') {
            return Ok(None);
        }
        let mut o = Options { quiet: f.has('q'), ..Options::default() };
        for (c, v) in &f.flags {
            let v = v.as_deref().unwrap_or("");
            let bad = || usage(format!("-{c} {v}: bad value"));
            let seconds = || {
                v.parse::<f64>()
                    .ok()
                    .filter(|s| s.is_finite() && (0.0..1e6).contains(s))
                    .map(Duration::from_secs_f64)
                    .ok_or_else(bad)
            };
            match c {
                'c' => o.count = Some(v.parse().ok().filter(|n| *n > 0).ok_or_else(bad)?),
                'i' => o.interval = seconds()?.max(Duration::from_millis(1)),
                's' => o.size = v.parse().ok().filter(|n| *n <= 65_507).ok_or_else(bad)?,
                't' => o.ttl = Some(v.parse().ok().filter(|n| *n > 0).ok_or_else(bad)?),
                'W' => o.wait = seconds()?,
                'w' => o.deadline = Some(seconds()?),
                _ => {}
            }
        }
        match f.rest.as_slice() {
            [h] => o.host.clone_from(h),
            [] => return Err(usage("no host")),
            [_, more, ..] => return Err(usage(format!("{more}: not expected"))),
        }
        Ok(Some(o))
    }
}

fn usage(why: impl std::fmt::Display) -> Failure {
    Failure { code: 2, ..Failure::usage(why, USAGE) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options() {
        let p = |s: &str| Options::parse(&s.split_whitespace().map(str::to_string).collect::<Vec<_>>());
        let o = p("-c3 -i 0.2 -s 1000 -t 5 -q 10.1").expect("good").expect("no help");
        assert_eq!(
            (o.count, o.size, o.ttl, o.quiet, o.host.as_str()),
            (Some(3), 1000, Some(5), true, "10.1")
        );
        assert_eq!(o.interval, Duration::from_millis(200));
        for bad in ["", "-c 0 x", "-s 65508 x", "-t 256 x", "-i nan x", "a b", "-z x"] {
            assert_eq!(p(bad).map(|_| ()).unwrap_err().code, 2, "{bad}");
        }
        assert!(p("--help").expect("good").is_none());
    }
}
