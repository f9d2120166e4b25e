//! The pool of threads for work that may block: loading and unloading drivers, and control requests that wait for
//! something outside. (What does not block never needs one: packets, sockets and answers at once are the packet threads'.)
//!
//! After io-pkt's: `threads_min` threads always wait for work; when none is free, `threads_incr` more are made, up to `threads_max`;
//! at the ceiling the log says so once, and the request waits until a thread is free. Threads beyond the floor end when there has
//! been nothing for them to do for a while.

use iopkt_slog::{Severity, Sink};
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Something to do.
pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// How long a thread beyond the floor waits for work.
const IDLE: Duration = Duration::from_secs(5);
/// What a thread needs on Linux before the first byte that `stacksize` is for: the C library's thread-local data, the
/// dynamic loader, and frames of our own.
pub(crate) const STACK_BASE: usize = 256 << 10;

/// Sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub min: usize,
    pub max: usize,
    pub incr: usize,
    /// Bytes, above [`STACK_BASE`].
    pub stack: usize,
}

struct State {
    queue: VecDeque<Job>,
    threads: usize,
    idle: usize,
    /// The log has been told that there are too few.
    said: bool,
    ending: bool,
}

struct Shared {
    sizes: Sizes,
    sink: &'static Sink,
    state: Mutex<State>,
    wake: Condvar,
}

/// The pool; dropping it lets idle threads end and leaves busy ones alone.
pub(crate) struct Workers(Arc<Shared>);

impl Workers {
    /// A pool with its floor of threads.
    ///
    /// # Errors
    /// What making the first thread says; with fewer than the floor the pool goes on, and the log has a line.
    pub(crate) fn new(sizes: Sizes, sink: &'static Sink) -> io::Result<Workers> {
        let state = State { queue: VecDeque::new(), threads: 0, idle: 0, said: false, ending: false };
        let shared = Arc::new(Shared { sizes, sink, state: Mutex::new(state), wake: Condvar::new() });
        let mut s = shared.lock();
        shared.grow(&mut s, sizes.min)?;
        drop(s);
        Ok(Workers(shared))
    }

    /// Has a thread do it, now or when one is free.
    pub(crate) fn run(&self, job: Job) {
        let mut s = self.0.lock();
        s.queue.push_back(job);
        if s.idle < s.queue.len() {
            let room = self.0.sizes.max.saturating_sub(s.threads);
            let made = self.0.grow(&mut s, self.0.sizes.incr.min(room));
            if (room == 0 || made.is_err()) && !std::mem::replace(&mut s.said, true) {
                let why = match made {
                    Err(e) => format!("cannot make another: {e}"),
                    Ok(()) => format!("threads_max={} is the ceiling", self.0.sizes.max),
                };
                self.0.sink.line(
                    Severity::Warning,
                    &format!(
                        "out of threads: all {} are busy ({why}); what needs one waits until one is free",
                        s.threads
                    ),
                );
            }
        }
        drop(s);
        self.0.wake.notify_one();
    }

    /// Threads, and how many of them wait for work.
    #[cfg(test)]
    fn count(&self) -> (usize, usize) {
        let s = self.0.lock();
        (s.threads, s.idle)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.0.lock().ending = true;
        self.0.wake.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes `n` threads more. They count as idle from now on.
    fn grow(self: &Arc<Shared>, s: &mut State, n: usize) -> io::Result<()> {
        for _ in 0..n {
            let shared = self.clone();
            let thread =
                std::thread::Builder::new().name("pool".into()).stack_size(STACK_BASE + self.sizes.stack);
            thread.spawn(move || shared.work())?;
            s.threads += 1;
            s.idle += 1;
        }
        Ok(())
    }

    fn work(&self) {
        let mut s = self.lock();
        loop {
            if let Some(job) = s.queue.pop_front() {
                s.idle -= 1;
                drop(s);
                // A job that panics is a fault of ours, told by the hook; the thread is as good as before.
                let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
                s = self.lock();
                s.idle += 1;
                continue;
            }
            s.said = false;
            if s.ending {
                return;
            }
            if s.threads <= self.sizes.min {
                s = self.wake.wait(s).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let (guard, r) = self.wake.wait_timeout(s, IDLE).unwrap_or_else(PoisonError::into_inner);
            s = guard;
            if r.timed_out() && s.queue.is_empty() && s.threads > self.sizes.min {
                s.threads -= 1;
                s.idle -= 1;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// How long a test waits for what must happen.
    const PATIENCE: Duration = Duration::from_secs(60);

    fn pool(min: usize, max: usize, incr: usize) -> Workers {
        let sink = iopkt_slog::init("workers", 0, None);
        Workers::new(Sizes { min, max, incr, stack: 4096 }, sink).unwrap()
    }

    /// A job that says that it runs and ends when its sender is dropped.
    fn job(w: &Workers, started: &Sender<()>) -> Sender<()> {
        let (hold, held) = channel::<()>();
        let started = started.clone();
        w.run(Box::new(move || {
            started.send(()).unwrap();
            let _ = held.recv();
        }));
        hold
    }

    fn hear(r: &Receiver<()>, n: usize) {
        for _ in 0..n {
            r.recv_timeout(PATIENCE).unwrap();
        }
    }

    fn until(f: impl Fn() -> bool) {
        let end = std::time::Instant::now() + PATIENCE;
        while !f() {
            assert!(std::time::Instant::now() < end);
            std::thread::yield_now();
        }
    }

    #[test]
    fn it_grows_by_steps_to_its_ceiling_and_then_waits() {
        let w = pool(4, 9, 3);
        assert_eq!(w.count(), (4, 4), "the floor is there from the start");
        let (tx, rx) = channel();
        let mut holds: Vec<_> = (0..4).map(|_| job(&w, &tx)).collect();
        hear(&rx, 4);
        assert_eq!(w.count(), (4, 0));
        holds.push(job(&w, &tx));
        hear(&rx, 1);
        assert_eq!(w.count(), (7, 2), "a step of three");
        holds.extend((0..4).map(|_| job(&w, &tx)));
        hear(&rx, 4);
        assert_eq!(w.count(), (9, 0), "the ceiling cuts the step");
        // The tenth waits until one is free, however long.
        let tenth = job(&w, &tx);
        assert!(w.0.lock().said, "it is said");
        assert_eq!((w.count(), rx.try_recv().is_err()), ((9, 0), true));
        holds.pop();
        hear(&rx, 1);
        assert_eq!(w.count(), (9, 0));
        drop((holds, tenth));
        until(|| w.count().1 == w.count().0 && !w.0.lock().said);
    }

    #[test]
    fn a_job_that_panics_costs_no_thread() {
        let w = pool(4, 4, 1);
        for _ in 0..8 {
            w.run(Box::new(|| panic!("on purpose")));
        }
        until(|| w.count() == (4, 4) && w.0.lock().queue.is_empty());
    }

    #[test]
    fn stacks_have_the_size_asked_for() {
        let sink = iopkt_slog::init("workers", 0, None);
        for stack in [4096, 48_000, 1 << 20] {
            let w = Workers::new(Sizes { min: 4, max: 4, incr: 1, stack }, sink).unwrap();
            let (tx, rx) = channel();
            w.run(Box::new(move || tx.send(iopkt_sys::process::stack_size()).unwrap()));
            let got = rx.recv_timeout(PATIENCE).unwrap().unwrap();
            assert!((STACK_BASE + stack..STACK_BASE + stack + (64 << 10)).contains(&got), "{stack}: {got}");
        }
    }
}
