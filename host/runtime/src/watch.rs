//! Who does not come back: a driver's call that keeps a packet thread, named in the log.
//!
//! A packet thread counts its turns in a word of its own (odd: at work) and says which device it is calling. The
//! control thread looks every second while there is work, and sleeps as long as all packet threads do: the first
//! that wakes up then wakes it. That is all that can be done for such a thread; whoever owns other threads goes on.

use crate::env::Env;
use iopkt_base::{Duration, Instant};
use iopkt_slog::Severity;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Mutex, PoisonError};

/// How often it looks while there is work.
const PERIOD: Duration = Duration::from_secs(1);
/// How long a turn may take before it is worth a line.
const LONG: Duration = Duration::from_secs(5);

struct Lane {
    /// Half turns: odd while at work.
    turn: AtomicU64,
    /// The device that is being called, 0 for none.
    inside: AtomicU32,
}

static LANES: [Lane; crate::cmdline::MAX_THREADS] =
    [const { Lane { turn: AtomicU64::new(0), inside: AtomicU32::new(0) } }; crate::cmdline::MAX_THREADS];
/// Nobody looks: whoever begins to work wakes the control thread.
static ASLEEP: AtomicBool = AtomicBool::new(true);
/// Interface names by the numbers of devices.
static NAMES: Mutex<BTreeMap<u32, String>> = Mutex::new(BTreeMap::new());

thread_local! {
    static ME: Cell<usize> = const { Cell::new(usize::MAX) };
}

fn names<R>(f: impl FnOnce(&mut BTreeMap<u32, String>) -> R) -> R {
    f(&mut NAMES.lock().unwrap_or_else(PoisonError::into_inner))
}

/// A device's name, known here as long as this lives.
#[derive(Debug)]
pub(crate) struct Named(u32);

impl Named {
    pub(crate) fn new(num: u32, name: &str) -> Named {
        names(|n| n.insert(num, name.to_owned()));
        Named(num)
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        names(|n| n.remove(&self.0));
    }
}

/// Packet thread `me` begins a turn.
pub(crate) fn begin(me: usize, env: &Env) {
    ME.set(me);
    step(me);
    // Either the control thread, which falls asleep, sees this turn, or we see that it sleeps.
    fence(Ordering::SeqCst);
    if ASLEEP.load(Ordering::Relaxed) && ASLEEP.swap(false, Ordering::AcqRel) {
        env.control_waker.wake();
    }
}

/// It has ended its turn.
pub(crate) fn end(me: usize) {
    step(me);
}

fn step(me: usize) {
    if let Some(l) = LANES.get(me) {
        // Nobody else writes it.
        l.turn.store(l.turn.load(Ordering::Relaxed) + 1, Ordering::Release);
    }
}

/// Runs `f`, a call into the driver of device `num`.
pub(crate) fn inside<R>(num: u32, f: impl FnOnce() -> R) -> R {
    let Some(l) = LANES.get(ME.get()) else { return f() };
    l.inside.store(num, Ordering::Relaxed);
    let r = f();
    l.inside.store(0, Ordering::Relaxed);
    r
}

/// What the control thread remembers of one packet thread.
#[derive(Clone)]
struct Seen {
    turn: u64,
    since: Instant,
    /// It has been reported, in this call.
    told: Option<String>,
}

/// The one who looks.
pub(crate) struct Watch {
    seen: Vec<Seen>,
    next: Option<Instant>,
}

impl Watch {
    pub(crate) fn new(threads: usize) -> Watch {
        let seen = Seen { turn: 0, since: Instant::ZERO, told: None };
        Watch { seen: vec![seen; threads], next: None }
    }

    /// When [`Watch::look`] is due; `None` while all sleep.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.next
    }

    /// Looks if it is time; says what it sees.
    pub(crate) fn look(&mut self, now: Instant, env: &Env) {
        match self.next {
            None if ASLEEP.load(Ordering::Acquire) => return,
            None => {}
            Some(at) if at > now => return,
            Some(_) => {}
        }
        let mut work = false;
        for (n, s) in self.seen.iter_mut().enumerate() {
            let turn = LANES[n].turn.load(Ordering::Acquire);
            work |= turn % 2 == 1 || turn != s.turn;
            if turn != s.turn || turn.is_multiple_of(2) {
                if let Some(what) = s.told.take() {
                    let text = format!("{what}: it has come back after {} s", now.since(s.since).as_secs());
                    env.log(Severity::Notice, &text);
                }
                (s.turn, s.since) = (turn, now);
            } else if s.told.is_none() && now.since(s.since) >= LONG {
                let name = names(|l| l.get(&LANES[n].inside.load(Ordering::Relaxed)).cloned());
                let what = match name {
                    Some(i) => format!("packet thread {n} in the driver's call for {i}"),
                    None => format!("packet thread {n}"),
                };
                let rest = if n == 0 { "the stack and all its sockets" } else { "its interfaces" };
                let text = format!(
                    "{what}: has not come back for {} s; {rest} stand still until it does",
                    now.since(s.since).as_secs()
                );
                env.log(Severity::Error, &text);
                s.told = Some(what);
            }
        }
        self.next = (work || !sleep()).then(|| now + PERIOD);
    }
}

/// Goes to sleep, unless a packet thread has begun to work meanwhile.
fn sleep() -> bool {
    ASLEEP.store(true, Ordering::Release);
    fence(Ordering::SeqCst);
    let busy = LANES.iter().any(|l| l.turn.load(Ordering::Relaxed) % 2 == 1);
    // If it was that thread that woke us, its message is on the way and does no harm.
    !(busy && ASLEEP.swap(false, Ordering::AcqRel))
}
