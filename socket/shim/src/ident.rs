//! Which descriptors are the stack's.

use core::ffi::c_int;

use iopkt_sockproto::PairName;

use crate::sys;

/// What the kernel's getpeername(2) shows of the pair that `fd` is an end of; `None` if it is no socket of a stack.
///
/// The name stays readable when the stack is dead, and dup, fork, exec and passing do not change it.
#[inline]
pub fn pair(fd: c_int) -> Option<PairName> {
    name(fd, libc::SYS_getpeername)
}

/// The name of `fd` itself, if it has one of a stack's: it is, or may become, one end of a joined connection, whose other end another
/// program has.
pub fn joined(fd: c_int) -> Option<PairName> {
    name(fd, libc::SYS_getsockname).filter(|n| n.stream)
}

fn name(fd: c_int, call: libc::c_long) -> Option<PairName> {
    // SAFETY: all-zero is a valid sockaddr_un.
    let mut sun: libc::sockaddr_un = unsafe { core::mem::zeroed() };
    let mut len = size_of::<libc::sockaddr_un>() as libc::socklen_t;
    // SAFETY: sun and len live across the call.
    unsafe {
        sys::marked(call, [fd as usize, &raw mut sun as usize, &raw mut len as usize, 0, 0]).ok()?;
    }
    if sun.sun_family != libc::AF_UNIX as libc::sa_family_t {
        return None;
    }
    let n = (len as usize).checked_sub(core::mem::offset_of!(libc::sockaddr_un, sun_path))?;
    // SAFETY: c_char and u8 have the same layout; the slice lies within sun_path.
    let path =
        unsafe { core::slice::from_raw_parts(sun.sun_path.as_ptr().cast::<u8>(), n.min(sun.sun_path.len())) };
    PairName::decode(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_seen_through_dup_and_after_the_servers_death() {
        for kind in [libc::SOCK_STREAM, libc::SOCK_SEQPACKET, libc::SOCK_DGRAM] {
            let mut fds = [0; 2];
            let name = PairName {
                instance: 0x1234 << 40 | std::process::id() as u64,
                stream: true,
                family: iopkt_sockproto::PairFamily::Inet,
                number: kind as u64,
            };
            let (path, n) = name.encode();
            // SAFETY: a socket pair of our own, bound to a name in the abstract space.
            unsafe {
                assert_eq!(libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()), 0);
                assert_eq!(pair(fds[1]), None);
                let mut sun: libc::sockaddr_un = core::mem::zeroed();
                sun.sun_family = libc::AF_UNIX as u16;
                for (d, s) in sun.sun_path.iter_mut().zip(&path[..n]) {
                    *d = *s as libc::c_char;
                }
                assert_eq!(libc::bind(fds[0], (&raw const sun).cast(), 2 + n as u32), 0);
                let dup = libc::dup(fds[1]);
                assert_eq!(pair(dup), Some(name));
                assert_eq!(pair(fds[0]), None);
                libc::close(fds[0]);
                assert_eq!(pair(dup), Some(name));
                libc::close(dup);
                libc::close(fds[1]);
            }
        }
        assert_eq!(pair(0), None);
        assert_eq!(pair(-1), None);
    }
}
