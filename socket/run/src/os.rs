//! The few operating-system helpers that all parts of the runner use.

use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// One line on standard error, with our name.
pub fn say(message: &str) {
    let _ = io::stderr().write_all(format!("io-pkt-run: {message}\n").as_bytes());
}

/// Bytes of a path for a message.
pub fn show(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A C result as an io::Result.
pub fn check(ret: libc::c_int) -> io::Result<libc::c_int> {
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(ret) }
}

/// A connected pair of message sockets, close-on-exec.
pub fn socketpair() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    // SAFETY: two descriptors are written; both are ours.
    unsafe {
        check(libc::socketpair(
            libc::AF_UNIX,
            libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC,
            0,
            fds.as_mut_ptr(),
        ))?;
        Ok((OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])))
    }
}

/// Ancillary space for one descriptor, aligned as `cmsghdr` wants it.
#[repr(C, align(8))]
struct Ancillary([u8; 32]);

/// Sends one byte and a descriptor, past the filter.
pub fn send_fd(socket: RawFd, fd: RawFd) -> io::Result<()> {
    let mut byte = 0u8;
    let mut iov = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let mut space = Ancillary([0; 32]);
    // SAFETY: all-zero is a valid msghdr; the control buffer has room for one descriptor (CMSG_SPACE(4) is 24) and all
    // parts live across the call.
    unsafe {
        let mut msg: libc::msghdr = std::mem::zeroed();
        msg.msg_iov = &raw mut iov;
        msg.msg_iovlen = 1;
        msg.msg_control = (&raw mut space).cast();
        msg.msg_controllen = libc::CMSG_SPACE(4) as usize;
        let c = libc::CMSG_FIRSTHDR(&raw const msg);
        (*c).cmsg_level = libc::SOL_SOCKET;
        (*c).cmsg_type = libc::SCM_RIGHTS;
        (*c).cmsg_len = libc::CMSG_LEN(4) as usize;
        libc::CMSG_DATA(c).cast::<RawFd>().write_unaligned(fd);
        iopkt_shim::sys::sendmsg(socket, &raw const msg, libc::MSG_NOSIGNAL)
            .map_err(io::Error::from_raw_os_error)?;
    }
    Ok(())
}

/// Receives what [`send_fd`] sent; end of file is an error.
pub fn recv_fd(socket: RawFd) -> io::Result<OwnedFd> {
    let mut byte = 0u8;
    let mut iov = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let mut space = Ancillary([0; 32]);
    // SAFETY: as in send_fd; a descriptor that arrives is ours alone.
    unsafe {
        let mut msg: libc::msghdr = std::mem::zeroed();
        msg.msg_iov = &raw mut iov;
        msg.msg_iovlen = 1;
        msg.msg_control = (&raw mut space).cast();
        msg.msg_controllen = 32;
        loop {
            match iopkt_shim::sys::recvmsg(socket, &raw mut msg, libc::MSG_CMSG_CLOEXEC) {
                Err(libc::EINTR) => {}
                Err(e) => return Err(io::Error::from_raw_os_error(e)),
                Ok(_) => break,
            }
        }
        let c = libc::CMSG_FIRSTHDR(&raw const msg);
        if c.is_null() || (*c).cmsg_type != libc::SCM_RIGHTS || (*c).cmsg_len < libc::CMSG_LEN(4) as usize {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(OwnedFd::from_raw_fd(libc::CMSG_DATA(c).cast::<RawFd>().read_unaligned()))
    }
}

/// Makes standard input, output and (unless `keep_stderr`) standard error /dev/null and closes all other descriptors but
/// `keep`, which are moved to fresh numbers: a long-lived helper must not hold the pipes and terminals of the program.
pub fn let_go_of_files(keep: &mut [&mut OwnedFd], keep_stderr: bool) -> io::Result<()> {
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    for fd in 0..if keep_stderr { 2 } else { 3 } {
        // SAFETY: dup2 over the standard descriptors, which nothing in this process owns.
        check(unsafe { libc::dup2(null.as_raw_fd(), fd) })?;
    }
    drop(null);
    // All kept ones go to the lowest numbers from 3 on, in order, by way of numbers above all of them.
    let top = keep.iter().map(|f| f.as_raw_fd()).max().unwrap_or(2) + 1;
    let mut high = Vec::new();
    for f in keep.iter() {
        // SAFETY: duplicating a live descriptor.
        high.push(check(unsafe {
            libc::fcntl(f.as_raw_fd(), libc::F_DUPFD_CLOEXEC, top.max(3 + keep.len() as i32))
        })?);
    }
    for (i, f) in keep.iter_mut().enumerate() {
        let low = 3 + i as i32;
        // SAFETY: whatever stands at `low` is either a kept one, duplicated above, or a file this process has no use for;
        // the OwnedFd is told its new number and forgets the old one, which close_range closes below if it is not low.
        unsafe {
            check(libc::dup3(high[i], low, libc::O_CLOEXEC))?;
            let old = std::mem::replace(*f, OwnedFd::from_raw_fd(low));
            std::mem::forget(old);
        }
    }
    let first = 3 + keep.len() as u32;
    // SAFETY: no descriptor from `first` on is used any more.
    let r = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
    if r < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
