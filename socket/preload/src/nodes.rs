//! Device nodes: `/dev/bpf`, `/dev/tunN`, `/dev/tapN` of the stack; and the files of `/proc/net` that it has.
//!
//! open(2) of one of these names asks the stack; every other name is the kernel's. The descriptor is a real one, of
//! messages: read(2) takes a packet (of a BPF device: a buffer), write(2) sends one, poll(2) works. ioctl(2) is a request.

use core::ffi::{CStr, c_char, c_int, c_void};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use iopkt_shim::ops;
use iopkt_shim::sys::{self, Result};
use iopkt_sockproto::linux::IFREQ_LEN;
use iopkt_sockproto::{MAX_PAYLOAD, PairName, bpf, proc_net, sockf};

use crate::session::Stack;
use crate::{datagram, fail, length, real, status};

/// Whether this process has opened a node.
static OPENED: AtomicBool = AtomicBool::new(false);

/// Lengths of the buffers of BPF devices: number of the pair shifted by 24, and the length.
static BUFFERS: [AtomicU64; 16] = [const { AtomicU64::new(0) }; 16];

fn buffer(p: &PairName) -> &'static AtomicU64 {
    &BUFFERS[(p.number % 16) as usize]
}

/// The length that a read(2) of this descriptor must have, if it is a BPF device's.
pub fn read_length(p: &PairName) -> Option<usize> {
    let v = buffer(p).load(Ordering::Relaxed);
    (v >> 24 == p.number && v != 0).then_some((v & 0xff_ffff) as usize)
}

/// Whether a path is the documented name of a node: `/dev/bpf`, `/dev/bpf0` ..., `/dev/tun0` ..., `/dev/tap`, `/dev/tap0` ...
fn is_node(path: &[u8]) -> bool {
    let Some(name) = path.strip_prefix(b"/dev/") else { return false };
    let Some((kind, unit)) = name.split_at_checked(3) else { return false };
    let digits = unit.len() <= 9 && unit.iter().all(u8::is_ascii_digit);
    digits && (kind == b"bpf" || kind == b"tap" || kind == b"tun" && !unit.is_empty())
}

/// Opens a node; `None`: the name is none.
///
/// # Safety
/// `path` must be a C string, or null.
unsafe fn open_node(path: *const c_char, flags: c_int) -> Option<c_int> {
    if path.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    let name = unsafe { CStr::from_ptr(path) }.to_bytes();
    if core::str::from_utf8(name).ok().and_then(proc_net).is_some() {
        return Some(open_text(name, flags));
    }
    if !is_node(name) {
        return None;
    }
    let fd = match ops::open(&mut Stack, name, flags, sockf::STRIPS) {
        Ok(fd) => fd,
        Err(e) => return Some(fail(e)),
    };
    datagram::notice(fd);
    OPENED.store(true, Ordering::Relaxed);
    if name.starts_with(b"/dev/bpf")
        && let Some(p) = datagram::pair(fd)
    {
        let mut out = [0; 4];
        if ops::ioctl_node(&mut Stack, fd, bpf::BIOCGBLEN, &[], &mut out).is_ok() {
            learn(&p, u32::from_ne_bytes(out));
        }
    }
    if flags & libc::O_CLOEXEC == 0 {
        let _ = sys::fcntl(fd, libc::F_SETFD, 0);
    }
    Some(fd)
}

/// Opens a file of `/proc/net`: what it says is the stack's.
fn open_text(name: &[u8], flags: c_int) -> c_int {
    if flags & libc::O_ACCMODE != libc::O_RDONLY {
        return fail(libc::EACCES);
    }
    match ops::open(&mut Stack, name, flags, 0) {
        Ok(fd) => {
            if flags & libc::O_CLOEXEC == 0 {
                let _ = sys::fcntl(fd, libc::F_SETFD, 0);
            }
            fd
        }
        Err(e) => fail(e),
    }
}

/// fopen(3) of such a file to read it; `None`: it is none, or is to be written.
///
/// # Safety
/// Both must be C strings, or null.
unsafe fn fopen_text(path: *const c_char, mode: *const c_char) -> Option<*mut libc::FILE> {
    if path.is_null() || mode.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    let (name, how) = unsafe { (CStr::from_ptr(path).to_bytes(), CStr::from_ptr(mode).to_bytes()) };
    core::str::from_utf8(name).ok().and_then(proc_net)?;
    if how.first() != Some(&b'r') || how.contains(&b'+') {
        return None;
    }
    let cloexec = if how.contains(&b'e') { libc::O_CLOEXEC } else { 0 };
    let fd = open_text(name, libc::O_RDONLY | cloexec);
    if fd < 0 {
        return Some(core::ptr::null_mut());
    }
    // SAFETY: a descriptor of our own, which the stream takes.
    Some(unsafe { libc::fdopen(fd, mode) })
}

macro_rules! fopens {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        $(
            $(#[$doc])*
            ///
            /// # Safety
            /// As in C.
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn $name(path: *const c_char, mode: *const c_char) -> *mut libc::FILE {
                // SAFETY: the program's arguments.
                unsafe { fopen_text(path, mode).unwrap_or_else(|| real::$name(path, mode)) }
            }
        )*
    };
}

fopens! {
    /// fopen(3): libc's own opens without the open(2) that is seen here.
    fopen;
    /// fopen64(3).
    fopen64;
}

fn learn(p: &PairName, len: u32) {
    buffer(p).store(p.number << 24 | u64::from(len & 0xff_ffff), Ordering::Relaxed);
}

/// openat(2), the kernel's.
///
/// # Safety
/// As openat(2).
unsafe fn native(dir: c_int, path: *const c_char, flags: c_int, mode: libc::mode_t) -> c_int {
    // SAFETY: the program's own arguments.
    status(unsafe {
        sys::call(libc::SYS_openat, [dir as usize, path as usize, flags as usize, mode as usize, 0, 0])
    })
}

macro_rules! opens {
    ($($(#[$doc:meta])* $name:ident($($dir:ident)? ; $($mode:ident)?);)*) => {
        $(
            $(#[$doc])*
            ///
            /// # Safety
            /// As in C. What is variadic there has the same register on this project's machines.
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn $name($($dir: c_int,)? path: *const c_char, flags: c_int $(, $mode: libc::mode_t)?) -> c_int {
                #[allow(unused_mut, unused_assignments)]
                let (mut at, mut bits) = (libc::AT_FDCWD, 0);
                $(at = $dir;)?
                $(bits = $mode;)?
                // SAFETY: the program's arguments.
                unsafe { open_node(path, flags).unwrap_or_else(|| native(at, path, flags, bits)) }
            }
        )*
    };
}

opens! {
    /// open(2).
    open(; mode);
    /// open64(3).
    open64(; mode);
    /// openat(2).
    openat(dir; mode);
    /// openat64(3).
    openat64(dir; mode);
    /// open(2) of programs built with _FORTIFY_SOURCE.
    __open_2(;);
    /// open64(3) of programs built with _FORTIFY_SOURCE.
    __open64_2(;);
    /// openat(2) of programs built with _FORTIFY_SOURCE.
    __openat_2(dir;);
    /// openat64(3) of programs built with _FORTIFY_SOURCE.
    __openat64_2(dir;);
}

/// write(2). A node's first packet goes by request, so that what is wrong with the node is known at once.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn write(fd: c_int, buf: *const c_void, len: usize) -> libc::ssize_t {
    // SAFETY: the program's arguments.
    unsafe {
        if let Err(e) = crate::passing::may_send(fd, 0) {
            return length(Err(e));
        }
        if !OPENED.load(Ordering::Relaxed) {
            return crate::ends::written(fd, real::write(fd, buf, len), len);
        }
        match datagram::pair(fd) {
            None => crate::ends::written(fd, real::write(fd, buf, len), len),
            // Of a BPF device each one: few are sent, and every error counts.
            Some(p) if read_length(&p).is_some() => {
                if len > MAX_PAYLOAD {
                    return length(Err(libc::EMSGSIZE));
                }
                let bytes = if len == 0 { &[][..] } else { core::slice::from_raw_parts(buf.cast(), len) };
                length(ops::send(&mut Stack, fd, 0, &[], bytes))
            }
            Some(p) => {
                let part = libc::iovec { iov_base: buf.cast_mut(), iov_len: len };
                length(datagram::send(fd, &p, &raw const part, 1, &[], &[], 0))
            }
        }
    }
}

/// ioctl(2) of a node.
///
/// # Safety
/// `arg` must be what the request wants.
pub unsafe fn ioctl(fd: c_int, p: &PairName, request: u32, arg: *mut c_void) -> Result<()> {
    let (len, goes_in, comes_out) = bpf::shape(request);
    if len > 0 && arg.is_null() {
        return Err(libc::EFAULT);
    }
    // SAFETY: the program's argument, of the length that the request's number says.
    unsafe {
        match request {
            bpf::BIOCSETF => {
                let insns = crate::control::counted(arg, |n| n)?;
                ops::ioctl_node(&mut Stack, fd, request, insns, &mut [])?;
            }
            bpf::BIOCGDLTLIST => dlt_list(fd, arg)?,
            _ => {
                let mut out = [0u8; bpf::BPF_STAT_LEN];
                if len > out.len() {
                    return Err(libc::ENOTTY);
                }
                let input =
                    if goes_in { core::slice::from_raw_parts(arg.cast::<u8>(), len) } else { &[][..] };
                let n = ops::ioctl_node(&mut Stack, fd, request, input, &mut out)?;
                if comes_out {
                    core::ptr::copy_nonoverlapping(out.as_ptr(), arg.cast::<u8>(), n.min(len));
                }
                if request == bpf::BIOCSBLEN {
                    learn(p, u32::from_ne_bytes([out[0], out[1], out[2], out[3]]));
                }
            }
        }
    }
    Ok(())
}

/// `struct bpf_dltlist`: how many there is room for, and where; without a place only the count is told.
///
/// # Safety
/// `arg` must be such a structure.
unsafe fn dlt_list(fd: c_int, arg: *mut c_void) -> Result<()> {
    let mut out = [0u8; 64];
    let n = ops::ioctl_node(&mut Stack, fd, bpf::BIOCGDLTLIST, &[], &mut out)?;
    let count = u32::from_ne_bytes([out[0], out[1], out[2], out[3]]);
    // SAFETY: the caller's promise.
    unsafe {
        let room = arg.cast::<u32>().read_unaligned();
        let list = arg.cast::<u8>().add(8).cast::<*mut u8>().read_unaligned();
        arg.cast::<u32>().write_unaligned(count);
        if !list.is_null() {
            if room < count {
                return Err(libc::ENOMEM);
            }
            let bytes = out.get(4..n).unwrap_or(&[]);
            core::ptr::copy_nonoverlapping(bytes.as_ptr(), list, bytes.len());
        }
    }
    Ok(())
}

const _: () = assert!(IFREQ_LEN <= bpf::BPF_STAT_LEN);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_nodes() {
        for yes in ["/dev/bpf", "/dev/bpf0", "/dev/tun0", "/dev/tap", "/dev/tap17"] {
            assert!(is_node(yes.as_bytes()), "{yes}");
        }
        for no in
            ["/dev/tun", "/dev/net/tun", "/dev/tap0x", "/dev/null", "/dev/tty1", "dev/bpf", "", "/dev/bp"]
        {
            assert!(!is_node(no.as_bytes()), "{no}");
        }
    }
}
