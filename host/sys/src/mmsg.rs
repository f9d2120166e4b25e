//! Several messages with one system call: recvmmsg(2) and sendmmsg(2).

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd};

/// Most messages of one call.
pub const MOST: usize = 32;

fn result(n: libc::c_int) -> io::Result<usize> {
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}

/// Takes as many messages as wait, into slots of `slot` bytes each of `buf`; what a slot cannot hold is lost. Their lengths go
/// to `lens`. Returns how many, at most [`MOST`]. Never waits.
///
/// # Errors
/// EAGAIN when there is none, and what else recvmmsg(2) says of the first.
pub fn recv_many(fd: impl AsFd, buf: &mut [u8], slot: usize, lens: &mut [usize; MOST]) -> io::Result<usize> {
    let mut iov = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; MOST];
    // SAFETY: all-zero is a valid mmsghdr.
    let mut list: [libc::mmsghdr; MOST] = unsafe { std::mem::zeroed() };
    let mut n = 0;
    for ((v, m), part) in iov.iter_mut().zip(&mut list).zip(buf.chunks_exact_mut(slot.max(1))) {
        *v = libc::iovec { iov_base: part.as_mut_ptr().cast(), iov_len: part.len() };
        m.msg_hdr.msg_iov = v;
        m.msg_hdr.msg_iovlen = 1;
        n += 1;
    }
    let (fd, flags) = (fd.as_fd().as_raw_fd(), libc::MSG_DONTWAIT);
    let got = loop {
        // SAFETY: the first `n` headers name one iovec each, and these disjoint parts of `buf`; all live across the call.
        let r = result(unsafe { libc::recvmmsg(fd, list.as_mut_ptr(), n, flags as _, std::ptr::null_mut()) });
        match r {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            r => break r?,
        }
    };
    for (l, m) in lens.iter_mut().zip(&list[..got]) {
        *l = m.msg_len as usize;
    }
    Ok(got)
}

/// Sends messages of two parts each, at most [`MOST`], as far as there is room; returns how many. Never waits, never raises SIGPIPE.
///
/// # Errors
/// What sendmmsg(2) says of the first: EAGAIN, EPIPE, EMSGSIZE ...
pub fn send_many(fd: impl AsFd, msgs: &[[&[u8]; 2]]) -> io::Result<usize> {
    let mut iov = [[IoSlice::new(&[]), IoSlice::new(&[])]; MOST];
    // SAFETY: all-zero is a valid mmsghdr.
    let mut list: [libc::mmsghdr; MOST] = unsafe { std::mem::zeroed() };
    let n = msgs.len().min(MOST);
    for ((v, m), parts) in iov.iter_mut().zip(&mut list).zip(msgs) {
        *v = parts.map(IoSlice::new);
        // An IoSlice is an iovec; the kernel only reads what these name.
        m.msg_hdr.msg_iov = v.as_mut_ptr().cast();
        m.msg_hdr.msg_iovlen = 2;
    }
    let (fd, flags) = (fd.as_fd().as_raw_fd(), libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL);
    loop {
        // SAFETY: the first `n` headers name two slices each, which live across the call.
        let r = result(unsafe { libc::sendmmsg(fd, list.as_mut_ptr(), n as _, flags as _) });
        match r {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            r => return r,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unix;
    use rustix::net::SocketType;

    #[test]
    fn borders_lengths_and_the_end_of_room() {
        let (a, b) = unix::pair(SocketType::SEQPACKET).unwrap();
        let (mut buf, mut lens) = (vec![0; MOST * 100], [0; MOST]);
        let e = recv_many(&b, &mut buf, 100, &mut lens).unwrap_err();
        assert_eq!(e.raw_os_error(), Some(libc::EAGAIN));
        let long = [7; 150];
        let msgs: [[&[u8]; 2]; 4] = [[b"head", b"body"], [b"", b"x"], [b"", b""], [&long, b""]];
        assert_eq!(send_many(&a, &msgs).unwrap(), 4);
        assert_eq!(recv_many(&b, &mut buf, 100, &mut lens).unwrap(), 4);
        assert_eq!(lens[..4], [8, 1, 0, 100], "what does not fit is cut");
        assert_eq!(buf[..8], *b"headbody");
        assert_eq!((buf[100], &buf[300..400]), (b'x', &[7; 100][..]));
        // More than fits: as many as fit, then EAGAIN; more than a call takes: several calls.
        let many = [[&long[..], &long[..]]; MOST];
        let mut sent = 0;
        while let Ok(n) = send_many(&a, &many) {
            sent += n;
        }
        let mut got = 0;
        while let Ok(n) = recv_many(&b, &mut buf, 100, &mut lens) {
            got += n;
        }
        assert!(sent == got && sent > MOST, "{sent} {got}");
        drop(b);
        assert_eq!(send_many(&a, &msgs).unwrap_err().raw_os_error(), Some(libc::EPIPE));
    }
}
