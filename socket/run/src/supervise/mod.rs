//! The supervisor: answers the socket calls that the filter hands over.
//!
//! Theory of operation. One thread, one epoll. A call arrives with the caller's thread id and argument registers; the
//! supervisor takes a duplicate of the descriptor in question (pidfd_getfd), sees whether it is the stack's, and if not lets
//! the call go on. Otherwise it reads what the arguments point to, asks the stack, writes results back, and answers. A call
//! that has to wait (accept, connect, recvfrom in blocking mode) is kept as a [`Job`] whose descriptor stands in the
//! epoll, and runs again when that is ready; the supervisor itself never waits for anything but the stack's immediate
//! replies.
//!
//! Signals. A call that has been received is carried out exactly once and answered, whatever signals arrive meanwhile
//! (`SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`): a datagram is not sent twice, `getsockname` does not fail with EINTR. The price
//! is that a call that waits does not hear of signals either, so the supervisor looks for them ([`target::signals`]) every [`PULSE`], later
//! every [`SLOW_PULSE`], while there are jobs, and ends the wait as the kernel ends one of its own: with ERESTARTSYS, which becomes a
//! restart or EINTR as the handler has it. A caller that was killed is found at the same time, so its descriptors are not kept.
//! Kernels before 5.19 do not have the flag; there a signal may make the program repeat a call that was carried out.
//!
//! It ends when the last process under the filter has ended (the listener hangs up).

mod calls;
mod data;
mod notif;
mod stack;
mod target;
mod trace;

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use iopkt_shim::session::Session;

use crate::front::Event;
use crate::launch::{self, Plan};
use crate::{EX_OSERR, os};
use notif::{Call, Listener};
use stack::Stack;
use target::Errno;

/// How often jobs are checked for callers that a signal waits for, or that are gone: at first, and when none of them is young. In
/// between it is an eighth of the youngest one's age.
const PULSE: Duration = Duration::from_millis(40);
const SLOW_PULSE: Duration = Duration::from_millis(250);
/// Linux's own errno for a call that a signal ended: it never leaves the kernel while a signal is to be delivered.
const ERESTARTSYS: Errno = 512;
/// Most connections whose wait was interrupted that are remembered.
const MAX_BEGUN: usize = 1024;

/// Epoll tokens; jobs count up from [`FIRST_JOB`].
const LISTENER: u64 = 0;
const CHILDREN: u64 = 1;
const FRONT: u64 = 2;
const FIRST_JOB: u64 = 16;

/// What became of a call.
enum Outcome {
    /// Not ours: the kernel does it.
    GoOn,
    /// It returns this.
    Value(i64),
    /// It fails.
    Fail(Errno),
    /// It returns a new descriptor.
    Fd(OwnedFd, bool),
    /// It waits for these epoll events on the job's descriptor.
    Wait(u32),
    /// It has returned already.
    Answered,
    /// The caller no longer waits.
    Gone,
}

/// A call on its way.
struct Job {
    call: Call,
    /// Duplicate of the socket, once it was looked at.
    fd: Option<OwnedFd>,
    /// When it came.
    since: Instant,
    /// When the wait ends (SO_RCVTIMEO, SO_SNDTIMEO).
    deadline: Option<Instant>,
    /// Events that ended the last wait.
    seen: u32,
    /// The call has been begun (connect), or how much of it is done (bytes, messages).
    done: usize,
    /// A send that connects has begun to (MSG_FASTOPEN); what is left goes when the connection is there.
    opening: bool,
}

/// A connection whose accept was interrupted just when it had been taken: the next accept on the listener gets it.
struct Stray {
    /// Number of the listener's pair.
    listener: u64,
    fd: OwnedFd,
    peer: iopkt_shim::ops::SockAddr,
    since: Instant,
}

/// How long nobody may ask for a [`Stray`].
const STRAY_LIFE: Duration = Duration::from_secs(10);

struct Supervisor {
    listener: Listener,
    epoll: OwnedFd,
    stack: Stack,
    jobs: HashMap<u64, Job>,
    next: u64,
    verbose: bool,
    strays: Vec<Stray>,
    /// Pairs whose blocking connect was interrupted: the next connect goes on where that one was.
    begun: Vec<u64>,
}

/// Whether a stack answers on `path`; the error is for a message.
pub fn probe(path: &iopkt_shim::path::Path) -> io::Result<()> {
    Session::open(path, 0).map(Session::close).map_err(io::Error::from_raw_os_error)
}

/// The supervisor's process beside a program that is not its descendant. Does not return.
pub fn stranger(plan: &Plan, mut handoff: OwnedFd) -> ! {
    ignore_signals();
    // SAFETY: no arguments; a new session, so that no terminal stops or ends the supervisor.
    unsafe { libc::setsid() };
    let status = match os::let_go_of_files(&mut [&mut handoff], plan.verbose)
        .and_then(|()| Supervisor::start(plan, handoff))
    {
        Ok(mut s) => s.run(None),
        Err(_) => EX_OSERR,
    };
    launch::exit_now(status)
}

/// The supervisor's process as the ancestor of the program `pid`; tells the front what becomes of it.
pub fn ancestor(plan: &Plan, mut handoff: OwnedFd, mut events: OwnedFd, pid: i32) -> i32 {
    ignore_signals();
    // SAFETY: no arguments; the program stays in the front's session.
    unsafe { libc::setsid() };
    if os::let_go_of_files(&mut [&mut handoff, &mut events], plan.verbose).is_err() {
        return EX_OSERR;
    }
    let mut family = match Family::new(events, pid) {
        Ok(f) => f,
        Err(_) => return EX_OSERR,
    };
    match Supervisor::start(plan, handoff) {
        Ok(mut s) => s.run(Some(&mut family)),
        // The program could not be started and has said why; its status is all that is left to tell.
        Err(_) => family.outlive_program(),
    }
}

fn ignore_signals() {
    for s in [
        libc::SIGHUP,
        libc::SIGINT,
        libc::SIGQUIT,
        libc::SIGTERM,
        libc::SIGPIPE,
        libc::SIGTSTP,
        libc::SIGUSR1,
        libc::SIGUSR2,
    ] {
        // SAFETY: no handler is installed.
        unsafe { libc::signal(s, libc::SIG_IGN) };
    }
    // SAFETY: the set is initialised before use.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
        libc::prctl(libc::PR_SET_NAME, c"io-pkt-super".as_ptr());
    }
    let _ = std::env::set_current_dir("/");
}

/// Each call that waits holds a descriptor.
fn raise_descriptor_limit() {
    let mut r = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: r lives across the calls.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut r) == 0 {
            r.rlim_cur = r.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const r);
        }
    }
}

/// The program and whatever it leaves behind, as children.
struct Family {
    events: OwnedFd,
    children: OwnedFd,
    program: i32,
    front_gone: bool,
}

impl Family {
    fn new(events: OwnedFd, program: i32) -> io::Result<Family> {
        // SAFETY: the set is initialised before use; the descriptor is fresh.
        let children = unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut set);
            libc::sigaddset(&raw mut set, libc::SIGCHLD);
            libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
            let fd = os::check(libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK))?;
            OwnedFd::from_raw_fd(fd)
        };
        Ok(Family { events, children, program, front_gone: false })
    }

    /// Takes note of all children that changed.
    fn reap(&mut self) {
        let mut drain = [0u8; 1024];
        // SAFETY: drain is ours.
        while unsafe { libc::read(self.children.as_raw_fd(), drain.as_mut_ptr().cast(), drain.len()) } > 0 {}
        loop {
            let mut status = 0;
            // SAFETY: waits for our own children only.
            let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG | libc::WUNTRACED) };
            if pid <= 0 {
                return;
            }
            if pid == self.program {
                Event::Status(status).send(self.events.as_raw_fd());
                if !libc::WIFSTOPPED(status) {
                    self.program = 0;
                }
            }
        }
    }

    /// The front was killed: whoever did that meant the program.
    fn front_is_gone(&mut self) {
        self.front_gone = true;
        if self.program > 0 {
            // SAFETY: our own child, not yet reaped.
            unsafe { libc::kill(self.program, libc::SIGKILL) };
        }
    }

    fn outlive_program(&mut self) -> i32 {
        while self.program > 0 {
            let mut fd = libc::pollfd { fd: self.children.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: one valid entry.
            unsafe { libc::poll(&raw mut fd, 1, -1) };
            self.reap();
        }
        EX_OSERR
    }
}

impl Supervisor {
    fn start(plan: &Plan, handoff: OwnedFd) -> io::Result<Supervisor> {
        let listener = Listener::new(launch::receive_listener(&handoff)?);
        // SAFETY: a plain flag; the descriptor is fresh.
        let epoll = unsafe { OwnedFd::from_raw_fd(os::check(libc::epoll_create1(libc::EPOLL_CLOEXEC))?) };
        let s = Supervisor {
            listener,
            epoll,
            stack: Stack::new(plan.socket),
            jobs: HashMap::new(),
            next: FIRST_JOB,
            verbose: plan.verbose,
            strays: Vec::new(),
            begun: Vec::new(),
        };
        raise_descriptor_limit();
        s.watch(s.listener.raw(), libc::EPOLLIN as u32, LISTENER)?;
        launch::answer(handoff.as_raw_fd())?;
        Ok(s)
    }

    fn watch(&self, fd: RawFd, events: u32, token: u64) -> io::Result<()> {
        let mut e = libc::epoll_event { events, u64: token };
        // SAFETY: e lives across the call.
        os::check(unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &raw mut e) })
            .map(drop)
    }

    fn unwatch(&self, fd: RawFd) {
        // SAFETY: removal takes no event.
        unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), libc::EPOLL_CTL_DEL, fd, std::ptr::null_mut()) };
    }

    /// Until nobody is under the filter any more. Returns the exit status.
    fn run(&mut self, mut family: Option<&mut Family>) -> i32 {
        if let Some(f) = &family {
            let watched = self
                .watch(f.children.as_raw_fd(), libc::EPOLLIN as u32, CHILDREN)
                .and_then(|()| self.watch(f.events.as_raw_fd(), libc::EPOLLRDHUP as u32, FRONT));
            if watched.is_err() {
                return EX_OSERR;
            }
        }
        let mut swept = Instant::now();
        let mut unused = false;
        loop {
            if let Some(f) = &mut family {
                f.reap();
            }
            // The program's status has to be told even when nothing is left to supervise.
            if unused && family.as_ref().is_none_or(|f| f.program == 0) {
                return 0;
            }
            let mut events = [libc::epoll_event { events: 0, u64: 0 }; 32];
            // SAFETY: 32 entries are ours.
            let n =
                unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), events.as_mut_ptr(), 32, self.patience()) };
            for e in events.iter().take(usize::try_from(n).unwrap_or(0)) {
                match (e.u64, e.events) {
                    (LISTENER, seen) if seen & libc::EPOLLIN as u32 != 0 => self.next_call(),
                    (LISTENER, _) => {
                        unused = true;
                        self.unwatch(self.listener.raw());
                        self.jobs.clear();
                    }
                    (FRONT, _) => {
                        if let Some(f) = family.as_mut().filter(|f| !f.front_gone) {
                            self.unwatch(f.events.as_raw_fd());
                            f.front_is_gone();
                        }
                    }
                    (CHILDREN, _) => {}
                    (token, seen) => self.resume(token, seen),
                }
            }
            if self.is_waiting() && swept.elapsed() >= self.pulse().min(self.nearest()) {
                self.sweep();
                swept = Instant::now();
            }
        }
    }

    fn nearest(&self) -> Duration {
        let now = Instant::now();
        self.jobs
            .values()
            .filter_map(|j| j.deadline)
            .map(|d| d.saturating_duration_since(now))
            .min()
            .unwrap_or(SLOW_PULSE)
    }

    /// When the jobs are to be checked next. A server that waits in accept(2) all day costs four looks a second.
    fn pulse(&self) -> Duration {
        let youngest = self.jobs.values().map(|j| j.since).max();
        (youngest.map_or(SLOW_PULSE, |t| t.elapsed()) / 8).clamp(PULSE, SLOW_PULSE)
    }

    fn is_waiting(&self) -> bool {
        !self.jobs.is_empty() || !self.strays.is_empty()
    }

    /// epoll_wait's time-out, milliseconds: for ever when nothing waits.
    fn patience(&self) -> i32 {
        if !self.is_waiting() { -1 } else { self.pulse().min(self.nearest()).as_millis() as i32 + 1 }
    }

    fn next_call(&mut self) {
        if let Ok(Some(call)) = self.listener.receive() {
            // The same thread calls again: what it waited for before is taken back.
            let old: Vec<u64> =
                self.jobs.iter().filter(|(_, j)| j.call.tid == call.tid).map(|(t, _)| *t).collect();
            for t in old {
                self.forget(t);
            }
            self.work(Job {
                call,
                since: Instant::now(),
                fd: None,
                deadline: None,
                seen: 0,
                done: 0,
                opening: false,
            });
        }
    }

    fn forget(&mut self, token: u64) -> Option<Job> {
        let job = self.jobs.remove(&token)?;
        if let Some(fd) = &job.fd {
            self.unwatch(fd.as_raw_fd());
        }
        Some(job)
    }

    fn resume(&mut self, token: u64, seen: u32) {
        if let Some(mut job) = self.forget(token) {
            job.seen = seen;
            if self.listener.is_valid(job.call.id) {
                self.work(job);
            }
        }
    }

    /// Drops jobs whose callers are gone and ends those whose time is over or that a signal waits for.
    fn sweep(&mut self) {
        let now = Instant::now();
        self.strays.retain(|s| now.duration_since(s.since) < STRAY_LIFE);
        let over: Vec<(u64, Errno)> = self
            .jobs
            .iter()
            .filter_map(|(t, j)| {
                if !self.listener.is_valid(j.call.id) {
                    return Some((*t, 0));
                }
                if j.deadline.is_some_and(|d| d <= now) {
                    let connects = j.call.nr == libc::SYS_connect;
                    return Some((*t, if connects { libc::EINPROGRESS } else { libc::EAGAIN }));
                }
                let end = target::signals(j.call.tid)?;
                // signal(7): a call with a time-out is never restarted.
                let restarts = end == target::Signals::Surely && j.deadline.is_none();
                Some((*t, if restarts { ERESTARTSYS } else { libc::EINTR }))
            })
            .collect();
        for (t, e) in over {
            let Some(job) = self.forget(t) else { continue };
            match job.call.nr {
                _ if e == 0 => {}
                libc::SYS_connect => {
                    self.remember(&job);
                    self.finish(&job, Outcome::Fail(e));
                }
                // The rest of a send, or of a vector of messages, is the caller's business.
                _ if job.done > 0 => self.finish(&job, Outcome::Value(job.done as i64)),
                _ => self.finish(&job, Outcome::Fail(e)),
            }
        }
    }

    /// The connection that this job began goes on without it.
    fn remember(&mut self, job: &Job) {
        if let Some(name) = job.fd.as_ref().and_then(|fd| iopkt_shim::ident::pair(fd.as_raw_fd())) {
            if self.begun.len() >= MAX_BEGUN {
                self.begun.remove(0);
            }
            self.begun.push(name.number);
        }
    }

    /// Runs a call as far as it goes.
    fn work(&mut self, mut job: Job) {
        let outcome = self.dispatch(&mut job).unwrap_or_else(Outcome::Fail);
        let Outcome::Wait(events) = outcome else { return self.finish(&job, outcome) };
        let Some(fd) = job.fd.as_ref().map(AsRawFd::as_raw_fd) else {
            return self.finish(&job, Outcome::Fail(libc::EIO));
        };
        if job.deadline.is_none() {
            job.deadline = calls::time_limit(fd, events).map(|d| Instant::now() + d);
        }
        let token = self.next;
        self.next += 1;
        if self.watch(fd, events | libc::EPOLLONESHOT as u32, token).is_err() {
            return self.finish(&job, Outcome::Fail(libc::ENOMEM));
        }
        self.jobs.insert(token, job);
    }

    fn finish(&mut self, job: &Job, outcome: Outcome) {
        if self.verbose {
            trace::line(&job.call, &outcome);
        }
        let id = job.call.id;
        match outcome {
            Outcome::GoOn => drop(self.listener.go_on(id)),
            Outcome::Value(v) => drop(self.listener.value(id, v)),
            Outcome::Fail(e) => drop(self.listener.errno(id, e)),
            Outcome::Fd(fd, cloexec) => {
                if let Err(e) = self.listener.descriptor(id, fd.as_raw_fd(), cloexec) {
                    self.listener.errno(id, e);
                }
            }
            Outcome::Wait(_) | Outcome::Answered | Outcome::Gone => {}
        }
    }
}
