//! A bad cable between two TAP interfaces, in real time: delays, loses and shapes frames.
//!
//! What is lost is a matter of the seed and of the frame's number since the cable was last silent, so two systems that
//! are measured in turns meet the same schedule.

use crate::forward;
use iopkt_base::Rng;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// The hidden subcommand.
pub const COMMAND: &str = "__carrier";
/// Frames of at least this length, which carry data, may be lost.
const DATA: usize = 200;
/// After this much silence the schedule of the next seed begins.
const SILENCE: Duration = Duration::from_millis(400);
/// Preamble, FCS and gap, bytes.
const GAP: u64 = 24;

/// What the cable does, from the command line.
struct Cable {
    delay: Duration,
    /// In ten thousandths.
    loss: u32,
    /// Bits per second each way, 0 for no limit.
    rate: u64,
    queue: usize,
}

/// One direction.
#[derive(Default)]
struct Way {
    /// When each arrives.
    under_way: VecDeque<(Instant, Vec<u8>)>,
    /// When each of those that wait for the rate has left.
    waiting: VecDeque<Instant>,
}

impl Way {
    fn send(&mut self, c: &Cable, now: Instant, frame: &[u8]) {
        let mut left = now;
        if let Some(ns) = ((frame.len() as u64 + GAP) * 8 * 1_000_000_000).checked_div(c.rate) {
            while self.waiting.front().is_some_and(|t| *t <= now) {
                self.waiting.pop_front();
            }
            if self.waiting.len() >= c.queue {
                return;
            }
            left = self.waiting.back().map_or(now, |t| *t) + Duration::from_nanos(ns);
            self.waiting.push_back(left);
        }
        self.under_way.push_back((left + c.delay, frame.to_vec()));
    }
}

/// Runs until it is ended. Arguments: two ends as `NAMESPACE:INTERFACE`, microseconds each way, loss in ten thousandths,
/// bits per second, frames that may wait, first seed.
pub fn run(args: &[String]) -> Result<std::convert::Infallible, String> {
    let [a, b, rest @ ..] = args else { return Err("give two ends".into()) };
    let n: Vec<u64> =
        rest.iter().map(|v| v.parse().map_err(|e| format!("{v}: {e}"))).collect::<Result<_, _>>()?;
    let [us, loss, rate, queue, mut seed] = n[..] else { return Err("give five numbers".into()) };
    let c = Cable { delay: Duration::from_micros(us), loss: loss as u32, rate, queue: queue as usize };
    let ends = [forward::open(a)?, forward::open(b)?];
    let mut ways = [Way::default(), Way::default()];
    let (mut rng, mut last) = (Rng::new(seed), Instant::now());
    let mut buf = vec![0u8; 65_536];
    loop {
        wait(&ends, &ways)?;
        let now = Instant::now();
        for from in 0..2 {
            while let Some(len) = read(&ends[from], &mut buf)? {
                if now - last > SILENCE {
                    seed += 1;
                    rng = Rng::new(seed);
                }
                last = now;
                if len < DATA || rng.below(10_000) >= c.loss {
                    ways[from].send(&c, now, &buf[..len]);
                }
            }
        }
        for from in 0..2 {
            while let Some((_, f)) = ways[from].under_way.pop_front_if(|f| f.0 <= now) {
                // The other end may be down, or full: a cable loses the frame.
                let _ = rustix::io::write(&ends[1 - from], &f);
            }
        }
    }
}

fn wait(ends: &[OwnedFd; 2], ways: &[Way; 2]) -> Result<(), String> {
    let next = ways.iter().filter_map(|w| w.under_way.front()).map(|f| f.0).min();
    let span = next.map(|t| t.saturating_duration_since(Instant::now()));
    let span = span.map(|d| Timespec { tv_sec: d.as_secs() as i64, tv_nsec: i64::from(d.subsec_nanos()) });
    let mut fds = [PollFd::new(&ends[0], PollFlags::IN), PollFd::new(&ends[1], PollFlags::IN)];
    match poll(&mut fds, span.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(e) => Err(format!("poll: {e}")),
    }
}

fn read(from: &OwnedFd, buf: &mut [u8]) -> Result<Option<usize>, String> {
    match rustix::io::read(from, buf) {
        Ok(n) => Ok(Some(n)),
        // Nothing there, or not up yet.
        Err(Errno::AGAIN | Errno::IO) => Ok(None),
        Err(e) => Err(format!("read: {e}")),
    }
}
