//! What a process gives up for good: capabilities, writing outside some directories (landlock(7)), and system calls that it
//! has no business with (seccomp(2)). All of it holds for the calling thread and those it makes later, so it is done while
//! there is but one.
//!
//! The filter of system calls names what is refused, not what is allowed: drivers are objects that others write, and a list of what
//! they may need can only be wrong. What is refused changes the machine (modules, mounts, clocks, namespaces, reboot),
//! reaches into other processes, starts programs, or passes by the filter (io_uring, another instruction set's calls).

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Capabilities by number (linux/capability.h).
#[allow(missing_docs)]
pub mod cap {
    pub const CHOWN: u32 = 0;
    pub const DAC_READ_SEARCH: u32 = 2;
    pub const FOWNER: u32 = 3;
    pub const SETGID: u32 = 6;
    pub const SETUID: u32 = 7;
    pub const NET_ADMIN: u32 = 12;
    pub const NET_RAW: u32 = 13;
    pub const IPC_LOCK: u32 = 14;
    pub const SYS_RAWIO: u32 = 17;
    pub const SYS_ADMIN: u32 = 21;
    pub const SYS_NICE: u32 = 23;
}

fn check(r: libc::c_long) -> io::Result<libc::c_long> {
    if r < 0 { Err(io::Error::last_os_error()) } else { Ok(r) }
}

#[repr(C)]
struct CapHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

fn cap_header() -> CapHeader {
    // _LINUX_CAPABILITY_VERSION_3; 0 is the calling thread.
    CapHeader { version: 0x2008_0522, pid: 0 }
}

/// Capabilities that the calling thread has, bit by number.
///
/// # Errors
/// None that is known on a kernel with capabilities.
pub fn capabilities() -> io::Result<u64> {
    let (mut h, mut d) = (cap_header(), [CapData::default(); 2]);
    // SAFETY: header and data are those of version 3: two data words.
    check(unsafe { libc::syscall(libc::SYS_capget, &raw mut h, d.as_mut_ptr()) })?;
    Ok(u64::from(d[0].permitted) | u64::from(d[1].permitted) << 32)
}

/// Keeps of its capabilities those in `keep` and drops the others for good, for the calling thread and those it makes.
/// Returns what it has then.
///
/// # Errors
/// What capset(2) says.
pub fn keep_capabilities(keep: &[u32]) -> io::Result<u64> {
    let have = capabilities()?;
    let left = keep.iter().fold(0u64, |m, c| m | 1 << c) & have;
    if left == have {
        return Ok(have);
    }
    // SAFETY: plain numbers. Dropping from the bounding set needs CAP_SETPCAP; without it nothing can come
    // from there either, since no program is started.
    unsafe {
        for c in (0..64).filter(|c| left & (1 << c) == 0) {
            libc::prctl(libc::PR_CAPBSET_DROP, c, 0, 0, 0);
        }
        libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    }
    let word = |n: u64| CapData { effective: n as u32, permitted: n as u32, inheritable: 0 };
    let (mut h, d) = (cap_header(), [word(left), word(left >> 32)]);
    // SAFETY: as in `capabilities`.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw mut h, d.as_ptr()) })?;
    Ok(left)
}

/// No program that this process starts gets more rights than it has; the two below need it.
///
/// # Errors
/// EINVAL before Linux 3.5.
pub fn no_new_privileges() -> io::Result<()> {
    // SAFETY: plain numbers.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }.into()).map(|_| ())
}

/// Access rights of landlock(7).
mod fs {
    pub const EXECUTE: u64 = 1;
    pub const WRITE_FILE: u64 = 1 << 1;
    pub const READ_FILE: u64 = 1 << 2;
    pub const READ_DIR: u64 = 1 << 3;
    /// Of the first version.
    pub const V1: u64 = (1 << 13) - 1;
    pub const REFER: u64 = 1 << 13;
    pub const TRUNCATE: u64 = 1 << 14;
    pub const IOCTL_DEV: u64 = 1 << 15;
    /// What makes sense for something that is no directory.
    pub const FILE: u64 = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV;
}

#[repr(C)]
struct Ruleset {
    fs: u64,
    net: u64,
    scoped: u64,
}

#[repr(C, packed)]
struct PathBeneath {
    allowed: u64,
    parent: i32,
}

/// Where files may be written and made.
#[derive(Clone, Copy, Debug)]
pub struct Writable<'a> {
    /// Directories below which everything may be done (but for starting programs).
    pub below: &'a [&'a Path],
    /// Devices (or directories of devices) that may be opened for writing.
    pub devices: &'a [&'a Path],
}

/// From now on, files can be written, made and removed only where `w` says, and no program can be started from
/// anywhere; reading stays as it was. Descriptors that are open are not touched. Paths that do not exist are left out. Returns the
/// version of landlock.
///
/// # Errors
/// ENOSYS or EOPNOTSUPP: this kernel has no landlock.
pub fn restrict_files(w: &Writable<'_>) -> io::Result<u32> {
    // SAFETY: the question for the version: no attributes.
    let abi = check(unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, 0usize, 0usize, 1usize) })?;
    let mut handled = fs::V1;
    for (since, right) in [(2, fs::REFER), (3, fs::TRUNCATE), (5, fs::IOCTL_DEV)] {
        if abi >= since {
            handled |= right;
        }
    }
    handled &= !(fs::READ_FILE | fs::READ_DIR);
    // Version 6: no signals to processes outside.
    let rules = Ruleset { fs: handled, net: 0, scoped: if abi >= 6 { 2 } else { 0 } };
    let size: usize = match abi {
        ..4 => 8,
        4 | 5 => 16,
        _ => 24,
    };
    // SAFETY: the attributes are `size` bytes of `rules`, which lives across the call.
    let fd =
        check(unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, &raw const rules, size, 0usize) })?;
    // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
    let set = unsafe { OwnedFd::from_raw_fd(fd as i32) };
    let all = w.below.iter().map(|p| (p, handled & !fs::EXECUTE));
    let devices = w.devices.iter().map(|p| (p, handled & (fs::WRITE_FILE | fs::IOCTL_DEV)));
    for (path, allowed) in all.chain(devices) {
        let Ok(f) = OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_CLOEXEC).open(path)
        else {
            continue;
        };
        let dir = f.metadata().is_ok_and(|m| m.is_dir());
        let allowed = if dir { allowed } else { allowed & fs::FILE };
        let rule = PathBeneath { allowed, parent: f.as_raw_fd() };
        // SAFETY: LANDLOCK_RULE_PATH_BENEATH (1) takes this structure; both descriptors are open.
        check(unsafe {
            libc::syscall(libc::SYS_landlock_add_rule, set.as_raw_fd(), 1usize, &raw const rule, 0usize)
        })?;
    }
    // SAFETY: an open rule set.
    check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, set.as_raw_fd(), 0usize) })?;
    Ok(abi as u32)
}

/// Calls that are refused with EPERM.
const REFUSED: &[libc::c_long] = &[
    // Programs.
    libc::SYS_execve,
    libc::SYS_execveat,
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    // The tree of files.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_open_by_handle_at,
    libc::SYS_quotactl,
    libc::SYS_acct,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    // The kernel.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_reboot,
    libc::SYS_syslog,
    libc::SYS_personality,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // Names and clocks.
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    // Namespaces; for setns(2) see below.
    libc::SYS_unshare,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_fork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vfork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_kexec_file_load,
];

/// Calls that pass by a filter, or cannot be judged by one: as on a kernel that has not got them.
const ABSENT: &[libc::c_long] =
    &[libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register, libc::SYS_clone3];

/// Raw input and output.
#[cfg(target_arch = "x86_64")]
const IO: &[libc::c_long] = &[libc::SYS_iopl, libc::SYS_ioperm];
#[cfg(not(target_arch = "x86_64"))]
const IO: &[libc::c_long] = &[];

#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xC000_00B7;

const LD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const JEQ: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
#[cfg(target_arch = "x86_64")]
const JGE: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const JSET: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const RET: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
const EPERM: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
/// Offset of the low half of an argument (both machines are little-endian).
const fn arg(n: u32) -> u32 {
    16 + 8 * n
}

fn op(code: u16, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

/// Checks the machine and leaves the call's number in the accumulator.
fn prologue() -> Vec<libc::sock_filter> {
    let mut f = vec![
        op(LD, 4, 0, 0),
        op(JEQ, ARCH, 1, 0),
        op(RET, libc::SECCOMP_RET_KILL_PROCESS, 0, 0),
        op(LD, 0, 0, 0),
    ];
    // x32's calls have other numbers.
    #[cfg(target_arch = "x86_64")]
    f.extend([op(JGE, 0x4000_0000, 0, 1), op(RET, ENOSYS, 0, 0)]);
    f
}

fn on(f: &mut Vec<libc::sock_filter>, nr: libc::c_long, then: &[libc::sock_filter]) {
    f.push(op(JEQ, nr as u32, 0, then.len() as u8));
    f.extend_from_slice(then);
}

/// Puts a program on the calling thread, or on all.
fn install(f: &[libc::sock_filter], all: bool) -> io::Result<()> {
    let prog = libc::sock_fprog { len: f.len() as u16, filter: f.as_ptr().cast_mut() };
    let flags = if all { libc::SECCOMP_FILTER_FLAG_TSYNC } else { 0 };
    // SAFETY: the program lives across the call; the kernel checks and copies it.
    let r =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const prog) };
    match check(r)? {
        0 => Ok(()),
        tid => Err(io::Error::other(format!("thread {tid} has another filter"))),
    }
}

/// From now on, the calls above are refused; `raw_io`: iopl(2) and ioperm(2) are left to the kernel's judgement.
///
/// # Errors
/// EACCES without [`no_new_privileges`], ENOSYS or EINVAL: this kernel has no seccomp filters.
pub fn restrict_calls(raw_io: bool) -> io::Result<()> {
    let mut f = prologue();
    for nr in REFUSED.iter().chain(if raw_io { &[] } else { IO }) {
        on(&mut f, *nr, &[op(RET, EPERM, 0, 0)]);
    }
    for nr in ABSENT {
        on(&mut f, *nr, &[op(RET, ENOSYS, 0, 0)]);
    }
    // Threads, but no processes.
    let thread = [
        op(LD, arg(0), 0, 0),
        op(JSET, libc::CLONE_THREAD as u32, 1, 0),
        op(RET, EPERM, 0, 0),
        op(RET, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    on(&mut f, libc::SYS_clone, &thread);
    // Another network namespace (devnp-tap's netns=), and no other kind.
    let net = [
        op(LD, arg(1), 0, 0),
        op(JEQ, libc::CLONE_NEWNET as u32, 1, 0),
        op(RET, EPERM, 0, 0),
        op(RET, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    on(&mut f, libc::SYS_setns, &net);
    f.push(op(RET, libc::SECCOMP_RET_ALLOW, 0, 0));
    install(&f, false)
}

/// From now on, no thread of the process can map memory to be executed: no more code comes into it, so no object can be
/// loaded.
///
/// # Errors
/// As [`restrict_calls`].
pub fn no_more_code() -> io::Result<()> {
    let mut f = prologue();
    for nr in [libc::SYS_mmap, libc::SYS_mprotect, libc::SYS_pkey_mprotect] {
        let exec = [
            op(LD, arg(2), 0, 0),
            op(JSET, libc::PROT_EXEC as u32, 0, 1),
            op(RET, EPERM, 0, 0),
            op(RET, libc::SECCOMP_RET_ALLOW, 0, 0),
        ];
        on(&mut f, nr, &exec);
    }
    f.push(op(RET, libc::SECCOMP_RET_ALLOW, 0, 0));
    install(&f, true)
}
