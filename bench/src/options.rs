//! The command line.

use lexopt::prelude::{Long, Short, Value, ValueExt};

pub const USAGE: &str = "\
usage: iopkt-bench [options] all|memory|instructions|size|start|idle|tcp|bulk|latency|connections|families|local ...

  memory    TCP and UDP between two of our shards in memory, beside smoltcp
  instructions  the same, counted by valgrind
  size      size and resident memory of the three variants
  start     from exec to the first frame on the wire
  idle      CPU and wake-ups of a stack that has nothing to do
  tcp       iperf3 over TAP and over ecm, beside the kernel over TAP and veth
  bulk      iperf3 over TAP with and without offloads, beside the kernel over veth, gVisor, slirp4netns and smoltcp
  latency   64-byte request and response, redis, ping
  connections  how many a second, 64 bytes each, beside the kernel over veth and gVisor
  families  IPv6 beside IPv4 over TAP, and over the kernel's veth: iperf3, request and response, connections, local programs
  local     two programs on one stack over lo0: iperf3, TCP and UDP, beside the kernel's lo
  lossy     CUBIC over a cable that delays and loses, beside the kernel's (not in all)
  all       all of them

options:
  --runs N     runs of each measurement, taken in turns with the peer's (default 5)
  --seconds N  length of an iperf3 run and of the idle measurement (default 2)
  --pin[=HOW]  where processes run (default: the scheduler chooses); two kernels over veth have a program on each CPU
               apart (also without HOW): the stack on CPU 0, both programs on CPU 1
               together: the stack and its program on CPU 0, the kernel's program on CPU 1
  --no-build   do not build the product first
  --json       JSON on standard output
  -h, --help   this text

Builds the product in the profile that it was built in itself: use cargo run --release.
All but memory, instructions and size need root (network namespaces). Exit status: 0 measured, 1 failed, 2 command line, 3 something was skipped.
";

/// Where processes run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    /// Where the scheduler wants.
    Free,
    /// The stack on CPU 0, all else on CPU 1.
    Apart,
    /// The stack and the program that it serves on CPU 0, the other end on CPU 1: as two kernels have it, where a program and
    /// its stack share a CPU too.
    Together,
}

impl Pin {
    /// CPU of the program at the stack's end.
    pub fn near(self) -> usize {
        usize::from(self == Pin::Apart)
    }

    /// What to put in front of a command line.
    pub fn on(self, cpu: usize) -> String {
        if self == Pin::Free { String::new() } else { format!("taskset -c {cpu}") }
    }

    /// In words, for the conditions of a table; `stack`: what stands in the middle.
    pub fn words(self, stack: &str) -> String {
        match self {
            Pin::Free => "pinning: none, the scheduler chooses".into(),
            Pin::Apart => {
                format!(
                    "pinning: {stack} on CPU 0, both programs (and io-usb) on CPU 1; over veth one on each"
                )
            }
            Pin::Together => format!(
                "pinning: {stack} and the program of its end on CPU 0, the kernel's program (and io-usb) on CPU 1; over \
                 veth one on each"
            ),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Options {
    pub what: Vec<String>,
    pub runs: usize,
    pub seconds: u64,
    pub pin: Pin,
    pub build: bool,
    pub json: bool,
}

const ALL: [&str; 11] = [
    "memory",
    "instructions",
    "size",
    "start",
    "idle",
    "tcp",
    "bulk",
    "latency",
    "connections",
    "families",
    "local",
];

/// Takes minutes, so only who names it gets it.
pub const LOSSY: &str = "lossy";

/// `None`: help was asked for.
pub fn parse(args: impl Iterator<Item = std::ffi::OsString>) -> Result<Option<Options>, String> {
    let mut o = Options { what: vec![], runs: 5, seconds: 2, pin: Pin::Free, build: true, json: false };
    let mut p = lexopt::Parser::from_args(args);
    while let Some(a) = p.next().map_err(|e| e.to_string())? {
        match a {
            Long("runs") => o.runs = number(&mut p, "--runs", 99)?,
            Long("seconds") => o.seconds = number(&mut p, "--seconds", 60)? as u64,
            Long("pin") => {
                let how = p.optional_value();
                o.pin = match how.as_ref().map(|h| h.to_str()) {
                    None | Some(Some("apart")) => Pin::Apart,
                    Some(Some("together")) => Pin::Together,
                    _ => return Err("--pin is apart or together".into()),
                };
            }
            Long("no-build") => o.build = false,
            Long("json") => o.json = true,
            Short('h') | Long("help") => return Ok(None),
            Value(v) => match v.to_str() {
                Some("all") => o.what.extend(ALL.map(String::from)),
                Some(w) if ALL.contains(&w) || w == LOSSY => o.what.push(w.into()),
                _ => return Err(format!("{}: not one of all, {LOSSY}, {}", v.display(), ALL.join(", "))),
            },
            other => return Err(other.unexpected().to_string()),
        }
    }
    if o.what.is_empty() {
        return Err(format!("say what to measure: all, {}", ALL.join(", ")));
    }
    // An even number of runs has no middle one.
    o.runs |= 1;
    Ok(Some(o))
}

fn number(p: &mut lexopt::Parser, name: &str, max: usize) -> Result<usize, String> {
    let n: usize = p.value().and_then(|v| v.parse()).map_err(|e| format!("{name}: {e}"))?;
    if (1..=max).contains(&n) { Ok(n) } else { Err(format!("{name}: {n} is not between 1 and {max}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Result<Option<Options>, String> {
        parse(line.split_whitespace().map(Into::into))
    }

    #[test]
    fn good_and_bad_lines() {
        let o = of("--runs 4 --json all").expect("good").expect("no help");
        assert_eq!((o.runs, o.json, o.what.len()), (5, true, ALL.len()));
        assert!(of("-h").expect("good").is_none());
        let pin = |l: &str| of(l).expect("good").expect("no help").pin;
        assert_eq!(
            [pin("all"), pin("--pin all"), pin("--pin=together all")],
            [Pin::Free, Pin::Apart, Pin::Together]
        );
        for bad in ["", "speed", "--pin=x all", "--runs 0 all", "--runs x all", "--fast all"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }
}
