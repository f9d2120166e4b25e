//! Process matters: going to the background, priorities, identity.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The child's half of [`background`]: tells the waiting parent how the start went.
#[derive(Debug)]
pub struct Started(Option<OwnedFd>);

impl Started {
    /// One that has no parent to tell (`--foreground`).
    pub fn nobody() -> Started {
        Started(None)
    }

    /// The start succeeded: the parent ends with 0, and we let go of the terminal (standard input, output
    /// and error become /dev/null).
    ///
    /// # Errors
    /// What opening /dev/null says.
    pub fn ok(&mut self) -> io::Result<()> {
        let Some(fd) = self.0.take() else { return Ok(()) };
        let null = File::options().read(true).write(true).open("/dev/null")?;
        rustix::stdio::dup2_stdin(&null)?;
        rustix::stdio::dup2_stdout(&null)?;
        rustix::stdio::dup2_stderr(&null)?;
        let _ = File::from(fd).write_all(&[0]);
        Ok(())
    }

    /// The start failed: the parent ends with `code` (1 to 255). The message was written by us.
    pub fn failed(&mut self, code: u8) {
        if let Some(fd) = self.0.take() {
            let _ = File::from(fd).write_all(&[code.max(1)]);
        }
    }
}

/// Goes to the background: forks; the parent waits until the child calls [`Started::ok`] or
/// [`Started::failed`] (or dies) and exits with 0 or that code; the child, in a session of its own, returns. It keeps the terminal
/// until [`Started::ok`], so that messages of the start are seen.
///
/// # Errors
/// What pipe(2) and fork(2) say.
///
/// # Panics
/// When the process has more than one thread: only the calling one would live on in the child.
pub fn background() -> io::Result<Started> {
    assert_eq!(threads(), 1, "going to the background needs a process with one thread");
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    // SAFETY: the process has one thread, so nothing is held by a thread that the child lacks.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    if pid > 0 {
        drop(write);
        let mut code = [1u8];
        let got = File::from(read).read(&mut code);
        if !matches!(got, Ok(1)) {
            // The child died before it could say anything: report how.
            let mut status = 0;
            // SAFETY: `pid` is our child and `status` a writable int.
            unsafe { libc::waitpid(pid, &mut status, 0) };
            code[0] = if libc::WIFEXITED(status) { libc::WEXITSTATUS(status).max(1) as u8 } else { 1 };
            if libc::WIFSIGNALED(status) {
                let _ = writeln!(io::stderr(), "start-up ended by signal {}", libc::WTERMSIG(status));
            }
        }
        // SAFETY: _exit ends the process; the child is the one that goes on and flushes what is buffered.
        unsafe { libc::_exit(code[0].into()) };
    }
    drop(read);
    let _ = rustix::process::setsid();
    Ok(Started(Some(write)))
}

/// Threads of this process, by /proc; 1 when that cannot be read.
pub fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count)
}

/// What [`set_priority`] could do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// Real-time round robin with this priority (1 to 99).
    RealTime(i32),
    /// Time sharing with this nice value (-20 to 19).
    Nice(i32),
}

/// Gives the calling thread a QNX priority (1 to 63; 10 is what an ordinary program has, 21 a driver).
///
/// Linux's time sharing covers 10 and below (10 → nice 0, lower → positive nice); above 10, real-time round
/// robin with `prio - 10` is tried, then a negative nice value `(10 - prio)`, at best -20.
///
/// # Errors
/// EPERM or EACCES when neither is permitted (nothing is changed then).
pub fn set_priority(prio: u8) -> io::Result<Priority> {
    let p = i32::from(prio);
    if p > 10 {
        let param = libc::sched_param { sched_priority: p - 10 };
        // SAFETY: 0 names the calling thread; `param` is a valid sched_param.
        if unsafe { libc::sched_setscheduler(0, libc::SCHED_RR | libc::SCHED_RESET_ON_FORK, &param) } == 0 {
            return Ok(Priority::RealTime(p - 10));
        }
    }
    // A thread that was real time goes back to time sharing.
    let plain = libc::sched_param { sched_priority: 0 };
    // SAFETY: 0 names the calling thread; `plain` is a valid sched_param. Failure is told by what follows.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_OTHER | libc::SCHED_RESET_ON_FORK, &plain) };
    let nice = (10 - p).clamp(-20, 19);
    // SAFETY: plain numbers; on Linux PRIO_PROCESS with 0 names the calling thread.
    if unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) } == 0 {
        return Ok(Priority::Nice(nice));
    }
    Err(io::Error::last_os_error())
}

/// Processors that this process may run on.
pub fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Processors of the machine that are in use, and how many of them this process may run on (sched_setaffinity(2), cpusets;
/// a limit of CPU time, which [`cpus`] knows, does not count here).
pub fn processors() -> (usize, usize) {
    // SAFETY: a plain number.
    let online = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    let online = usize::try_from(online).unwrap_or(1).max(1);
    // SAFETY: all-zero is a valid set, which the kernel fills within its size.
    let mine = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        match libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) {
            0 => libc::CPU_COUNT(&set) as usize,
            _ => online,
        }
    };
    (online, mine)
}

/// Becomes ready ([`crate::Interest::CHANGE`]) when the host's name changes. Looking at it (in an epoll) makes it
/// silent until the next change.
#[derive(Debug)]
pub struct HostnameWatch(File);

impl HostnameWatch {
    /// Changes from now on.
    ///
    /// # Errors
    /// There is no /proc.
    pub fn new() -> io::Result<HostnameWatch> {
        let mut f = File::open("/proc/sys/kernel/hostname")?;
        // The kernel counts changes from the first read on.
        let _ = f.read(&mut [0; 256])?;
        Ok(HostnameWatch(f))
    }
}

impl AsFd for HostnameWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The host's name, empty when it cannot be told.
pub fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").map(|s| s.trim().to_owned()).unwrap_or_default()
}

/// Bytes of the calling thread's stack, the guard apart; `None` when that cannot be told.
pub fn stack_size() -> Option<usize> {
    // SAFETY: pthread_attr_t is plain data that pthread_getattr_np fills in, and which is destroyed after use.
    unsafe {
        let mut attr: libc::pthread_attr_t = std::mem::zeroed();
        if libc::pthread_getattr_np(libc::pthread_self(), &mut attr) != 0 {
            return None;
        }
        let mut size = 0;
        let r = libc::pthread_attr_getstacksize(&attr, &mut size);
        libc::pthread_attr_destroy(&mut attr);
        (r == 0).then_some(size)
    }
}

/// The heap grows by at least `bytes` at a time (M_TOP_PAD of mallopt(3)).
pub fn heap_step(bytes: usize) {
    // SAFETY: plain numbers; the call fails without effect for values it does not like.
    unsafe { libc::mallopt(libc::M_TOP_PAD, i32::try_from(bytes).unwrap_or(i32::MAX)) };
}

/// Bytes of a page.
pub fn page_size() -> usize {
    // SAFETY: a question without arguments of ours.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}
