//! The front: where only an ancestor may look after a process (Yama's `ptrace_scope` 1 without CAP_SYS_PTRACE), the
//! started process cannot become the program; it stays in front of it.
//!
//! Theory of operation. The front forks the supervisor, which becomes the reaper of all that descends from it and forks the
//! program, in the front's process group and session, so the terminal treats front and program alike. The supervisor tells
//! the front what wait(2) says of the program, and the front does the same to itself: exits, stops, or dies by the same
//! signal. Signals that somebody sends to the front alone are sent on; those of the terminal have reached the program
//! already. When the program is gone the front is, too; the supervisor stays as long as a process that the program left
//! behind uses the filter.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use crate::launch::{self, Plan};
use crate::{EX_OSERR, Failure, os, supervise};

/// What the supervisor tells the front, one message each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The program's pid.
    Started(i32),
    /// wait(2)'s status of the program: stopped, or ended.
    Status(i32),
}

impl Event {
    fn encode(self) -> [i32; 2] {
        match self {
            Event::Started(pid) => [0, pid],
            Event::Status(s) => [1, s],
        }
    }

    /// Sends it; a front that is gone is no error.
    pub fn send(self, to: RawFd) {
        let m = self.encode();
        // SAFETY: eight bytes are read from m.
        unsafe { libc::send(to, m.as_ptr().cast(), 8, libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT) };
    }

    fn receive(from: RawFd) -> Option<Event> {
        let mut m = [0i32; 2];
        // SAFETY: eight bytes are written to m.
        let n = unsafe { libc::recv(from, m.as_mut_ptr().cast(), 8, 0) };
        match (n, m[0]) {
            (8, 0) => Some(Event::Started(m[1])),
            (8, 1) => Some(Event::Status(m[1])),
            _ => None,
        }
    }
}

fn all_signals() -> libc::sigset_t {
    // SAFETY: sigfillset initialises the set.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigfillset(&raw mut set);
        set
    }
}

/// Runs the program behind this process. Returns only if it could not be started; else ends as the program ended.
pub fn run(plan: &Plan) -> Failure {
    match start(plan) {
        Ok((events, old)) => mirror(&events, &old),
        Err(e) => Failure(EX_OSERR, format!("cannot start the supervisor: {e}")),
    }
}

fn start(plan: &Plan) -> io::Result<(OwnedFd, libc::sigset_t)> {
    let (events, theirs) = os::socketpair()?;
    let all = all_signals();
    // SAFETY: both sets are valid.
    let old = unsafe {
        let mut old: libc::sigset_t = std::mem::zeroed();
        libc::sigprocmask(libc::SIG_SETMASK, &raw const all, &raw mut old);
        old
    };
    if launch::fork()? == 0 {
        drop(events);
        let status = supervise_descendants(plan, theirs, &old);
        launch::exit_now(status);
    }
    Ok((events, old))
}

/// In the supervisor's process: forks the program, then looks after it.
fn supervise_descendants(plan: &Plan, events: OwnedFd, old: &libc::sigset_t) -> i32 {
    let (handoff, theirs) = match os::socketpair() {
        Ok(p) => p,
        Err(_) => return EX_OSERR,
    };
    // SAFETY: plain integers.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    match launch::fork() {
        Err(_) => EX_OSERR,
        Ok(0) => {
            drop((handoff, events));
            // SAFETY: the mask that io-pkt-run was started with.
            unsafe { libc::sigprocmask(libc::SIG_SETMASK, old, std::ptr::null_mut()) };
            let Failure(status, message) = plan.become_program(theirs);
            os::say(&message);
            status
        }
        Ok(pid) => {
            drop(theirs);
            Event::Started(pid).send(events.as_raw_fd());
            supervise::ancestor(plan, handoff, events, pid)
        }
    }
}

/// Does to this process what happens to the program, until it ends.
fn mirror(events: &OwnedFd, old: &libc::sigset_t) -> Failure {
    let lost = || Failure(EX_OSERR, "the supervisor is gone".into());
    let all = all_signals();
    // SAFETY: a valid set; the descriptor is fresh.
    let signals = unsafe {
        let fd = libc::signalfd(-1, &raw const all, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        if fd < 0 {
            return lost();
        }
        OwnedFd::from_raw_fd(fd)
    };
    let_go_of_pipes();
    let mut program: Option<OwnedFd> = None;
    loop {
        let mut fds = [events.as_raw_fd(), signals.as_raw_fd()].map(|fd| libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        });
        // SAFETY: two valid entries.
        unsafe { libc::poll(fds.as_mut_ptr(), 2, -1) };
        if fds[1].revents != 0 {
            while let Some(info) = next_signal(&signals) {
                if let Some(p) = program.as_ref().filter(|_| is_forwarded(&info)) {
                    send_signal(p, info.ssi_signo as i32);
                }
            }
        }
        if fds[0].revents == 0 {
            continue;
        }
        match Event::receive(events.as_raw_fd()) {
            // SAFETY: pidfd_open takes plain integers; the descriptor is fresh.
            Some(Event::Started(pid)) => unsafe {
                let fd = libc::syscall(libc::SYS_pidfd_open, pid, 0) as i32;
                program = (fd >= 0).then(|| OwnedFd::from_raw_fd(fd));
            },
            Some(Event::Status(status)) => {
                if libc::WIFSTOPPED(status) {
                    take_signal(libc::WSTOPSIG(status));
                    // Continued again, perhaps alone.
                    if let Some(p) = &program {
                        send_signal(p, libc::SIGCONT);
                    }
                } else {
                    end_like(status, old);
                }
            }
            None => return lost(),
        }
    }
}

/// The program's standard input and output are not the front's to hold open.
fn let_go_of_pipes() {
    if let Ok(null) = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null") {
        for fd in 0..2 {
            // SAFETY: dup2 over a standard descriptor that nothing here uses.
            unsafe { libc::dup2(null.as_raw_fd(), fd) };
        }
    }
}

fn next_signal(signals: &OwnedFd) -> Option<libc::signalfd_siginfo> {
    // SAFETY: all-zero is valid, and the kernel fills it.
    unsafe {
        let mut info: libc::signalfd_siginfo = std::mem::zeroed();
        let size = size_of::<libc::signalfd_siginfo>();
        let n = libc::read(signals.as_raw_fd(), (&raw mut info).cast(), size);
        (n == size as isize).then_some(info)
    }
}

/// Whether the program has to be told: not of our own children and timers, and not of what the terminal sent to the
/// whole process group (the kernel's own signals: ^C, ^\, ^Z, hang-up, window size).
fn is_forwarded(info: &libc::signalfd_siginfo) -> bool {
    let from_a_process =
        info.ssi_code == libc::SI_USER || info.ssi_code == libc::SI_QUEUE || info.ssi_code == libc::SI_TKILL;
    from_a_process && info.ssi_signo as i32 != libc::SIGCHLD
}

fn send_signal(program: &OwnedFd, signal: i32) {
    // SAFETY: plain integers and a NULL siginfo.
    unsafe { libc::syscall(libc::SYS_pidfd_send_signal, program.as_raw_fd(), signal, 0, 0) };
}

/// Lets `signal` do what it does by default to this process: stop or end it. Returns when it was a stop and is over.
fn take_signal(signal: i32) {
    // SAFETY: the sets are initialised before use; the handler is the default one.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
        let mut one: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut one);
        libc::sigaddset(&raw mut one, signal);
        libc::sigprocmask(libc::SIG_UNBLOCK, &raw const one, std::ptr::null_mut());
        libc::sigprocmask(libc::SIG_BLOCK, &raw const one, std::ptr::null_mut());
    }
}

/// Ends this process as the program ended.
fn end_like(status: i32, old: &libc::sigset_t) -> ! {
    if libc::WIFSIGNALED(status) {
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // One core file is enough: the program's.
        // SAFETY: a valid structure; taking a signal is what is wanted.
        unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) };
        take_signal(libc::WTERMSIG(status));
        // SAFETY: a valid set.
        unsafe { libc::sigprocmask(libc::SIG_SETMASK, old, std::ptr::null_mut()) };
        launch::exit_now(128 + libc::WTERMSIG(status));
    }
    launch::exit_now(libc::WEXITSTATUS(status))
}
