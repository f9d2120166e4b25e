//! Becoming the program: environment, filter, exec; and starting the supervisor beside it.

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::args::{Args, Ways};
use crate::{EX_OSERR, Failure, filter, names, os, program, supervise};

/// All that is needed to start the program, made before the first fork.
pub struct Plan {
    /// The program's file.
    pub path: PathBuf,
    /// The stack's socket.
    pub socket: iopkt_shim::path::Path,
    /// `-v`.
    pub verbose: bool,
    /// The stack's resolv.conf, if the program shall see it.
    names: Option<PathBuf>,
    argv: Vec<CString>,
    env: Vec<CString>,
}

fn c(s: &[u8]) -> Result<CString, Failure> {
    CString::new(s).map_err(|_| Failure(EX_OSERR, "an argument holds a NUL byte".into()))
}

impl Plan {
    /// Finds the preload library and puts argument list and environment together.
    pub fn new(
        args: &Args,
        path: PathBuf,
        socket: iopkt_shim::path::Path,
        supervised: bool,
    ) -> Result<Plan, Failure> {
        let mut argv = vec![c(args.program.as_bytes())?];
        for a in &args.args {
            argv.push(c(a.as_bytes())?);
        }
        let mut env: Vec<(OsString, OsString)> = std::env::vars_os()
            .filter(|(k, _)| !["IO_PKT_SOCKET", "IO_PKT_SUPERVISED", "LD_PRELOAD"].iter().any(|n| k == n))
            .collect();
        env.push(("IO_PKT_SOCKET".into(), std::ffi::OsStr::from_bytes(socket.bytes()).to_owned()));
        if supervised {
            env.push(("IO_PKT_SUPERVISED".into(), "1".into()));
        }
        let existing = std::env::var_os("LD_PRELOAD");
        if args.ways.preload() {
            match preload_variable(existing.clone()) {
                Ok(v) => env.push(("LD_PRELOAD".into(), v)),
                Err(e) if args.ways == Ways::Preload => return Err(Failure(EX_OSERR, e)),
                Err(e) => {
                    os::say(&format!("{e}; going on with the supervisor alone"));
                    env.extend(existing.map(|v| ("LD_PRELOAD".into(), v)));
                }
            }
        } else {
            env.extend(existing.map(|v| ("LD_PRELOAD".into(), v)));
        }
        let env = env
            .iter()
            .map(|(k, v)| c(&[k.as_bytes(), b"=", v.as_bytes()].concat()))
            .collect::<Result<Vec<_>, _>>()?;
        let names = if args.system_names { None } else { names::of_stack(socket.bytes()) };
        Ok(Plan { path, socket, verbose: args.verbose, names, argv, env })
    }

    /// Becomes the program. Returns only on failure.
    pub fn exec(&self) -> Failure {
        if let Some(own) = &self.names
            && let Err(e) = names::show(own)
            && self.verbose
        {
            os::say(&format!("{}: not shown as /etc/resolv.conf: {e}", own.display()));
        }
        let Ok(path) = CString::new(self.path.as_os_str().as_bytes()) else {
            return Failure(127, "the path holds a NUL byte".into());
        };
        let env = pointers(&self.env);
        let argv = pointers(&self.argv);
        // SAFETY: NULL-terminated arrays of NUL-terminated strings that outlive the calls.
        let e = unsafe {
            libc::execve(path.as_ptr(), argv.as_ptr(), env.as_ptr());
            io::Error::last_os_error()
        };
        if e.raw_os_error() == Some(libc::ENOEXEC) {
            // A script without `#!`: the shell runs it, as execvp(3) does.
            let sh = c"/bin/sh";
            let mut argv = vec![sh.as_ptr(), path.as_ptr()];
            argv.extend(pointers(&self.argv).into_iter().skip(1));
            // SAFETY: as above.
            unsafe { libc::execve(sh.as_ptr(), argv.as_ptr(), env.as_ptr()) };
        }
        let status = if e.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
        Failure(status, format!("{}: {e}", self.path.display()))
    }

    /// Whether an io-pkt-run above us leads to the same stack.
    fn is_here_already(&self) -> bool {
        std::env::var_os("IO_PKT_SUPERVISED").is_some()
            && std::env::var_os("IO_PKT_SOCKET").is_some_and(|s| s.as_bytes() == self.socket.bytes())
    }

    /// In the process that becomes the program: puts the filter on, hands the listener to the supervisor at the other end
    /// of `handoff`, waits for its answer and execs. Returns only on failure.
    pub fn become_program(&self, handoff: OwnedFd) -> Failure {
        let listener = match install_filter() {
            Ok(l) => l,
            // Under a supervisor of the same stack there is nothing to do.
            Err(e) if e.raw_os_error() == Some(libc::EBUSY) && self.is_here_already() => {
                drop(handoff);
                return self.exec();
            }
            Err(e) if e.raw_os_error() == Some(libc::EBUSY) => {
                return Failure(
                    EX_OSERR,
                    "this process already runs under io-pkt-run on another io-pkt (or under another seccomp supervisor), and the kernel allows one; \
                     --preload-only reaches dynamic programs"
                        .into(),
                );
            }
            Err(e) => return Failure(EX_OSERR, format!("the kernel refuses the seccomp filter: {e}")),
        };
        let sent = os::send_fd(handoff.as_raw_fd(), listener.as_raw_fd());
        drop(listener);
        let mut byte = 0u8;
        // SAFETY: one byte is read; read(2) passes the filter.
        let answered =
            sent.is_ok() && unsafe { libc::read(handoff.as_raw_fd(), (&raw mut byte).cast(), 1) } == 1;
        if !answered {
            return Failure(EX_OSERR, "the supervisor did not start".into());
        }
        drop(handoff);
        self.exec()
    }
}

/// Whether this kernel and this place allow a supervisor; the error says why not.
pub fn seccomp_possible() -> Result<(), String> {
    let action: u32 = libc::SECCOMP_RET_USER_NOTIF;
    // SAFETY: SECCOMP_GET_ACTION_AVAIL reads one u32.
    let r = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) };
    if r != 0 {
        return Err(
            "this kernel has no seccomp user notification (Linux 5.9 or later, CONFIG_SECCOMP_FILTER)".into(),
        );
    }
    match yama_scope() {
        2 if !may_trace() => Err("/proc/sys/kernel/yama/ptrace_scope is 2: only root may supervise".into()),
        s if s >= 3 => Err("/proc/sys/kernel/yama/ptrace_scope is 3: nobody may supervise".into()),
        _ => Ok(()),
    }
}

fn preload_variable(existing: Option<OsString>) -> Result<OsString, String> {
    let library = program::preload_library(std::env::var_os("IO_PKT_PRELOAD"), std::env::current_exe())?;
    program::ld_preload(existing, &library)
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
}

/// Puts the filter on the calling thread (the only one) and returns its listener.
fn install_filter() -> io::Result<OwnedFd> {
    let code = filter::program();
    let prog = libc::sock_fprog { len: code.len() as u16, filter: code.as_ptr().cast_mut() };
    let try_with = |flags: libc::c_ulong| {
        // SAFETY: the program lives across the call; the kernel copies it.
        let r = unsafe {
            libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const prog)
        };
        os::check(r as i32)
    };
    let install = || {
        let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
        try_with(flags | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV).or_else(|e| match e.raw_os_error() {
            Some(libc::EINVAL) => try_with(flags), // before Linux 5.19
            _ => Err(e),
        })
    };
    let fd = install().or_else(|e| {
        if e.raw_os_error() != Some(libc::EACCES) {
            return Err(e);
        }
        // Without CAP_SYS_ADMIN a filter needs the promise that setuid programs gain nothing from now on.
        // SAFETY: plain integers.
        os::check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
        install()
    })?;
    // SAFETY: a fresh descriptor, ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `/proc/sys/kernel/yama/ptrace_scope`; 0 where there is no Yama.
fn yama_scope() -> i32 {
    std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope")
        .ok()
        .and_then(|s| s.trim().parse().ok())
        .unwrap_or(0)
}

/// Whether this process has CAP_SYS_PTRACE in effect.
fn may_trace() -> bool {
    const CAP_SYS_PTRACE: u32 = 19;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let eff = status.lines().find_map(|l| l.strip_prefix("CapEff:"));
    eff.and_then(|v| u64::from_str_radix(v.trim(), 16).ok()).is_some_and(|v| v & (1 << CAP_SYS_PTRACE) != 0)
}

/// Whether a process that is not the program's ancestor may look after it (Yama, `admin-guide/LSM/Yama.rst`).
pub fn strangers_may_look() -> bool {
    yama_scope() == 0 || may_trace()
}

/// fork(2). The process has one thread, so the child may do anything.
pub fn fork() -> io::Result<libc::pid_t> {
    // SAFETY: single-threaded.
    os::check(unsafe { libc::fork() })
}

/// Starts the supervisor as a stranger (twice forked, so that the program never sees a child it did not start) and becomes
/// the program in this process: pid, exit status, signals, terminal and parent are the program's own.
pub fn in_place(plan: &Plan) -> Failure {
    let failed = |e: io::Error| Failure(EX_OSERR, format!("cannot start the supervisor: {e}"));
    let (ours, theirs) = match os::socketpair() {
        Ok(p) => p,
        Err(e) => return failed(e),
    };
    match fork() {
        Err(e) => return failed(e),
        Ok(0) => {
            drop(ours);
            if let Ok(0) = fork() {
                supervise::stranger(plan, theirs);
            }
            exit_now(0);
        }
        Ok(pid) => {
            drop(theirs);
            let mut status = 0;
            // SAFETY: waits for our own child.
            while unsafe { libc::waitpid(pid, &raw mut status, 0) } < 0
                && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
            {}
        }
    }
    plan.become_program(ours)
}

/// _exit(2).
pub fn exit_now(status: i32) -> ! {
    // SAFETY: ends the process without running anything that belongs to the parent's copy.
    unsafe { libc::_exit(status) }
}

/// Receives the listener from the program's side of the hand-off and answers.
pub fn receive_listener(handoff: &OwnedFd) -> io::Result<OwnedFd> {
    os::recv_fd(handoff.as_raw_fd())
}

/// Tells the program's side that the supervisor is at work.
pub fn answer(handoff: RawFd) -> io::Result<()> {
    // SAFETY: one byte is sent.
    let n = unsafe { libc::send(handoff, [1u8].as_ptr().cast(), 1, libc::MSG_NOSIGNAL) };
    if n == 1 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
