//! A `tun0` of the kernel for the shell commands of scripts.
//!
//! Packetdrill makes a `tun0` when it tests a kernel, and the commands of its suites (`tc qdisc add dev tun0 ...`, in the script that nearly
//! all of them begin with) fail without one. So one is made here where that is allowed and there is none; no packet goes through it,
//! and it has no address. It goes with the descriptor.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;

const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
const IFF_TUN: i16 = 1;
const IFF_NO_PI: i16 = 0x1000;

/// `struct ifreq` with flags.
#[repr(C)]
struct IfReq {
    name: [u8; 16],
    flags: i16,
    rest: [u8; 22],
}

/// Makes the device and sets it up; `None` where that is not possible.
pub(crate) fn make() -> Option<File> {
    let f = OpenOptions::new().read(true).write(true).open("/dev/net/tun").ok()?;
    let mut r = IfReq { name: *b"tun0\0\0\0\0\0\0\0\0\0\0\0\0", flags: IFF_TUN | IFF_NO_PI, rest: [0; 22] };
    // SAFETY: an ifreq of the right size for both requests; the socket is closed at once.
    unsafe {
        if libc::ioctl(f.as_raw_fd(), TUNSETIFF, &raw mut r) != 0 {
            return None;
        }
        let s = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        if s >= 0 {
            r.flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
            libc::ioctl(s, libc::SIOCSIFFLAGS, &raw const r);
            libc::close(s);
        }
    }
    Some(f)
}
