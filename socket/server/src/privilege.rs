//! Options that only root and the user of the stack may set: those for which Linux asks for CAP_NET_ADMIN or CAP_NET_RAW.

use iopkt_base::{Errno, Result};
use iopkt_sockproto::linux::*;

/// Whether a user without privileges may give an option this value.
///
/// # Errors
/// What Linux says if not: EPERM, and EACCES for SO_DEBUG.
pub(crate) fn may_set(level: i32, name: i32, value: &[u8]) -> Result<()> {
    let n = value.first_chunk::<4>().map_or(0, |b| i32::from_ne_bytes(*b));
    match (level, name) {
        (SOL_SOCKET, SO_DEBUG) if n != 0 => Err(Errno::EACCES),
        (SOL_SOCKET, SO_PRIORITY) if !(0..=6).contains(&n) => Err(Errno::EPERM),
        (SOL_SOCKET, SO_PREFER_BUSY_POLL | SO_BUSY_POLL | SO_BUSY_POLL_BUDGET) if n > 0 => Err(Errno::EPERM),
        (SOL_SOCKET, SO_MARK | SO_RCVMARK | SO_SNDBUFFORCE | SO_RCVBUFFORCE) => Err(Errno::EPERM),
        (IPPROTO_IP, IP_TRANSPARENT) | (IPPROTO_IPV6, IPV6_TRANSPARENT) if n != 0 => Err(Errno::EPERM),
        (IPPROTO_IPV6, IPV6_HOPOPTS | IPV6_DSTOPTS | IPV6_RTHDRDSTOPTS) => Err(Errno::EPERM),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_not_hears_what_linux_says() {
        let one = 1i32.to_ne_bytes();
        assert_eq!(may_set(SOL_SOCKET, SO_DEBUG, &one), Err(Errno::EACCES));
        assert_eq!(may_set(SOL_SOCKET, SO_DEBUG, &[0; 4]), Ok(()));
        assert_eq!(may_set(SOL_SOCKET, SO_MARK, &one), Err(Errno::EPERM));
        assert_eq!(may_set(SOL_SOCKET, SO_PRIORITY, &6i32.to_ne_bytes()), Ok(()));
        assert_eq!(may_set(SOL_SOCKET, SO_PRIORITY, &7i32.to_ne_bytes()), Err(Errno::EPERM));
        assert_eq!(may_set(IPPROTO_IP, IP_TRANSPARENT, &one), Err(Errno::EPERM));
        assert_eq!(may_set(SOL_SOCKET, SO_REUSEADDR, &one), Ok(()));
    }
}
