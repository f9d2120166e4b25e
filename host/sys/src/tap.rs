//! Linux TAP interfaces.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

/// Attaches to the TAP interface `name` of this network namespace, making it if it is not there: one Ethernet
/// frame for each read or write, no header before it, non-blocking, closed on exec.
///
/// # Errors
/// With a message that names the interface: EPERM (needs CAP_NET_ADMIN, or an interface made for this user),
/// EBUSY (somebody else is attached), EINVAL (not a TAP interface, or a bad name).
pub fn open(name: &str) -> io::Result<OwnedFd> {
    let named = |e: io::Error| {
        let hint = match e.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => "; it needs root, or `ip tuntap add NAME mode tap user USER`",
            Some(libc::EBUSY) => "; another process is attached to it",
            Some(libc::ENOENT) => "; /dev/net/tun is missing (modprobe tun)",
            _ => "",
        };
        io::Error::new(e.kind(), format!("TAP interface {name}: {e}{hint}"))
    };
    if name.is_empty() || name.len() >= libc::IFNAMSIZ || name.bytes().any(|c| c == 0 || c == b'/') {
        return Err(named(io::Error::from_raw_os_error(libc::EINVAL)));
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open("/dev/net/tun")
        .map_err(named)?;
    // SAFETY: ifreq is plain data, for which all zeroes is a value.
    let mut req: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in req.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    req.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes an ifreq, and `req` is one.
    if unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut req) } < 0 {
        return Err(named(io::Error::last_os_error()));
    }
    Ok(file.into())
}

/// Whether this network namespace has an interface of that name, TAP or other.
pub fn exists(name: &str) -> bool {
    let Ok(name) = std::ffi::CString::new(name) else { return false };
    // SAFETY: `name` is a C string that lives through the call.
    unsafe { libc::if_nametoindex(name.as_ptr()) != 0 }
}
