//! Is the kernel's end up, does it see our carrier? rtnetlink(7) tells of each change of a link.

use iopkt_sdk::Fail;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const NLMSG_HDR: usize = 16;
const IFINFO: usize = 16;

/// A socket that hears of link changes in the calling thread's network namespace.
///
/// # Errors
/// The kernel's.
pub fn open() -> Result<OwnedFd, Fail> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: plain socket(2); the result is checked.
    let fd = unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    // SAFETY: a fresh descriptor that nobody else owns.
    let sock = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: sockaddr_nl is plain data; zero is a valid value for all of it.
    let mut a: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    a.nl_family = libc::AF_NETLINK as u16;
    a.nl_groups = libc::RTMGRP_LINK as u32;
    let len = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
    // SAFETY: the address is of that length and lives through the call.
    if unsafe { libc::bind(fd, (&raw const a).cast(), len) } < 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    Ok(sock)
}

/// What the messages waiting on the socket say of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// Nothing of ours.
    None,
    /// Its IFF_RUNNING.
    Running(bool),
    /// It has been deleted.
    Deleted,
    /// Messages were lost: ask.
    Lost,
}

/// Reads what waits (a bounded number of messages) and keeps the last word on interface `ifindex`.
pub fn read(sock: impl AsFd, ifindex: i32) -> News {
    let mut buf = [0u8; 8192];
    let mut news = News::None;
    for _ in 0..16 {
        match rustix::io::read(sock.as_fd(), &mut buf[..]) {
            Ok(n) => match parse(&buf[..n], ifindex) {
                News::None => {}
                n => news = n,
            },
            Err(rustix::io::Errno::NOBUFS) => news = News::Lost,
            Err(_) => break,
        }
    }
    news
}

/// The last word of a datagram of messages on interface `ifindex`.
fn parse(mut b: &[u8], ifindex: i32) -> News {
    let mut news = News::None;
    while b.len() >= NLMSG_HDR {
        let len = u32::from_ne_bytes([b[0], b[1], b[2], b[3]]) as usize;
        let kind = u16::from_ne_bytes([b[4], b[5]]);
        if len < NLMSG_HDR || len > b.len() {
            break;
        }
        if let Some(i) = b[..len].get(NLMSG_HDR..NLMSG_HDR + IFINFO) {
            let index = i32::from_ne_bytes([i[4], i[5], i[6], i[7]]);
            let flags = u32::from_ne_bytes([i[8], i[9], i[10], i[11]]);
            if index == ifindex && kind == RTM_NEWLINK {
                news = News::Running(flags & libc::IFF_RUNNING as u32 != 0);
            } else if index == ifindex && kind == RTM_DELLINK {
                news = News::Deleted;
            }
        }
        b = b.get(len.next_multiple_of(4)..).unwrap_or(&[]);
    }
    news
}

#[cfg(test)]
mod tests {
    use super::*;

    fn msg(kind: u16, index: i32, flags: u32) -> Vec<u8> {
        let mut m = Vec::new();
        m.extend(32u32.to_ne_bytes());
        m.extend(kind.to_ne_bytes());
        m.extend([0; 10]);
        m.extend([0; 4]);
        m.extend(index.to_ne_bytes());
        m.extend(flags.to_ne_bytes());
        m.extend([0; 4]);
        m
    }

    #[test]
    fn the_last_word_on_our_link_counts() {
        let b = [msg(RTM_NEWLINK, 7, 0x41), msg(RTM_NEWLINK, 8, 0x41), msg(RTM_NEWLINK, 7, 1)].concat();
        assert_eq!(parse(&b, 7), News::Running(false));
        assert_eq!(parse(&b, 8), News::Running(true));
        assert_eq!(parse(&b, 9), News::None);
        assert_eq!(parse(&msg(RTM_DELLINK, 7, 0), 7), News::Deleted);
    }

    #[test]
    fn damaged_messages_end_the_walk() {
        let m = msg(RTM_NEWLINK, 7, 0x41);
        for cut in 0..m.len() {
            assert_eq!(parse(&m[..cut], 7), News::None, "cut at {cut}");
        }
        let mut zero = m.clone();
        zero[..4].copy_from_slice(&0u32.to_ne_bytes());
        assert_eq!(parse(&zero, 7), News::None);
        let mut huge = m;
        huge[..4].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert_eq!(parse(&huge, 7), News::None);
    }
}
