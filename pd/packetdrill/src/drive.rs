//! Who moves the clock, and who waits.

use crate::flags::Flags;
use crate::nstat::Nstat;
use crate::settings::Settings;
use iopkt_base::{Duration, Errno, Instant, Result};
use iopkt_world::{Answer, Call, Pending, World};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

/// Virtual time after which nothing is expected any more: longer than the longest keepalive.
const LONG: Duration = Duration::from_secs(3 * 3600);
/// Real time for a thread whose call was answered to look at the clock; then the clock goes on without it.
const STAMP: std::time::Duration = std::time::Duration::from_secs(2);
/// Real time for the thread of a call that was answered to take packetdrill's lock.
const HANDOVER: std::time::Duration = std::time::Duration::from_millis(20);
/// What looking at the clock takes: packetdrill spins until it shows the time of the next line.
const LOOK: Duration = Duration::from_micros(1);
/// Microseconds since the epoch at the clock's zero.
pub(crate) const EPOCH: u64 = 1_700_000_000_000_000;

/// A thread whose call blocks.
struct Waiter {
    thread: ThreadId,
    pending: Pending,
    answer: Option<Result<Answer>>,
}

pub(crate) struct State {
    pub world: World,
    pub flags: Flags,
    settings: Settings,
    pub nstat: Nstat,
    waiters: Vec<Waiter>,
    /// Threads whose call was answered and who have not looked at the clock since.
    unstamped: Vec<ThreadId>,
    /// A call was answered, and its thread may still have to tell packetdrill so.
    fresh: bool,
}

/// Everything behind `userdata`.
pub(crate) struct Instance {
    main: ThreadId,
    state: Mutex<State>,
    answered: Condvar,
    stamped: Condvar,
    /// The kernel's `tun0`, while this lives.
    _tun: Option<std::fs::File>,
}

/// The state, locked.
pub(crate) type Guard<'a> = MutexGuard<'a, State>;

impl Instance {
    /// An instance whose first thread is the present one.
    pub fn new(world: World, flags: Flags) -> Instance {
        let tun = if flags.tun { crate::tun::make() } else { None };
        let state = State {
            world,
            flags,
            settings: Settings::default(),
            nstat: Nstat::default(),
            waiters: Vec::new(),
            unstamped: Vec::new(),
            fresh: false,
        };
        let i = Instance {
            main: std::thread::current().id(),
            state: Mutex::new(state),
            answered: Condvar::new(),
            stamped: Condvar::new(),
            _tun: tun,
        };
        i.with(|_| ());
        i
    }

    fn lock(&self) -> Guard<'_> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something that does not wait, then lets those go on for whom it made a difference.
    pub fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        let mut s = self.lock();
        s.refresh();
        let r = f(&mut s);
        drop(self.wake(s));
        r
    }

    /// Answers the waiting calls that have an answer now, and waits until their threads have taken it and looked at the clock.
    fn wake<'a>(&'a self, mut s: Guard<'a>) -> Guard<'a> {
        let st = &mut *s;
        let mut any = false;
        for w in st.waiters.iter_mut().filter(|w| w.answer.is_none()) {
            w.answer = st.world.attempt(&mut w.pending);
            if w.answer.is_some() {
                any = true;
                st.unstamped.push(w.thread);
            }
        }
        if any {
            st.fresh = true;
            self.answered.notify_all();
            let me = std::thread::current().id();
            let r = self.stamped.wait_timeout_while(s, STAMP, |s| s.unstamped.iter().any(|t| *t != me));
            s = r.unwrap_or_else(PoisonError::into_inner).0;
            s.unstamped.clear();
        }
        s
    }

    /// A call that may block.
    pub fn call(&self, call: Call) -> Result<Answer> {
        let mut s = self.lock();
        s.refresh();
        let mut p = s.world.begin(call);
        if let Some(r) = s.world.attempt(&mut p) {
            drop(self.wake(s));
            return r;
        }
        if std::thread::current().id() == self.main {
            return self.call_here(s, p);
        }
        let thread = std::thread::current().id();
        s.waiters.push(Waiter { thread, pending: p, answer: None });
        loop {
            let at = s.waiters.iter().position(|w| w.thread == thread && w.answer.is_some());
            if let Some(at) = at {
                return s.waiters.remove(at).answer.unwrap_or(Err(Errno::EINTR));
            }
            s = self.answered.wait(s).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The first thread blocks: nobody else moves the clock, so the call does.
    fn call_here<'a>(&'a self, mut s: Guard<'a>, mut p: Pending) -> Result<Answer> {
        let end = p.until.min(s.world.now() + LONG);
        loop {
            let more = s.world.step(end);
            s = self.wake(s);
            if let Some(r) = s.world.attempt(&mut p) {
                return r;
            }
            if !more {
                eprintln!("iopkt: {:?} would block for ever; it is given up", p.call);
                return Err(Errno::EINTR);
            }
        }
    }

    /// Lets the clock run to `end`, or until `stop`.
    fn run(&self, end: Instant, mut stop: impl FnMut(&mut World) -> bool) -> bool {
        let mut s = self.lock();
        loop {
            if stop(&mut s.world) {
                return true;
            }
            let due = s.waiters.iter().filter(|w| w.answer.is_none()).map(|w| w.pending.until).min();
            let to = due.map_or(end, |d| d.min(end));
            let more = s.world.step(to);
            s = self.wake(s);
            if !more && s.world.now() >= end {
                return stop(&mut s.world);
            }
        }
    }

    /// usleep(3).
    pub fn sleep(&self, us: u64) {
        let fresh = std::mem::take(&mut self.lock().fresh);
        if fresh && std::thread::current().id() == self.main {
            // Packetdrill has given up its lock for the sleep: the other thread needs real time to take it.
            std::thread::sleep(HANDOVER);
        }
        let end = self.lock().world.now() + Duration::from_micros(us);
        self.run(end, |_| false);
    }

    /// The next packet of the stack, and when it was sent; waits for it in virtual time.
    pub fn receive(&self) -> Option<(u64, Vec<u8>)> {
        self.with(|_| ());
        let end = self.lock().world.now() + LONG;
        self.run(end, |w| w.has_sent());
        let (at, p) = self.lock().world.sent()?;
        Some((wall(at), p))
    }

    /// The time of day in microseconds, as the calling thread sees it.
    pub fn clock(&self) -> u64 {
        let mut s = self.lock();
        let me = std::thread::current().id();
        if s.unstamped.contains(&me) {
            s.unstamped.retain(|t| *t != me);
            self.stamped.notify_all();
            return wall(s.world.now());
        }
        // Time goes on under the waiting, too: not beyond what they wait for.
        s.world.tick(LOOK);
        let now = s.world.now();
        if me == self.main {
            s = self.wake(s);
        }
        drop(s);
        wall(now)
    }
}

fn wall(t: Instant) -> u64 {
    EPOCH + t.as_micros()
}

impl State {
    fn refresh(&mut self) {
        if !self.flags.kernel_sysctl {
            return;
        }
        for v in self.settings.refresh(&mut self.world) {
            if self.flags.verbose {
                eprintln!("iopkt: {v}: the stack has no such setting, or not this value");
            }
        }
    }
}
