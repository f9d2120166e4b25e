//! The ioctls of an interface (netdevice(7)).

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// `struct ifreq`: the name, then a union of which these drivers' calls use ints, shorts and an address.
#[repr(C)]
pub struct Ifreq {
    name: [u8; libc::IFNAMSIZ],
    /// The union, as ints.
    pub value: [i32; 6],
}

impl Ifreq {
    /// With a name (cut to 15 bytes) and the union's first int.
    pub fn new(name: &str, value: i32) -> Ifreq {
        let mut r = Ifreq { name: [0; libc::IFNAMSIZ], value: [0; 6] };
        let n = name.len().min(libc::IFNAMSIZ - 1);
        r.name[..n].copy_from_slice(&name.as_bytes()[..n]);
        r.value[0] = value;
        r
    }

    /// The name that the kernel has put there.
    pub fn name(&self) -> String {
        let end = self.name.iter().position(|c| *c == 0).unwrap_or(self.name.len());
        String::from_utf8_lossy(&self.name[..end]).into_owned()
    }

    /// Flags are a short at the union's start.
    pub fn flags(&self) -> i16 {
        self.value[0] as i16
    }

    /// The union as a `struct sockaddr`: family, and the six bytes of an Ethernet address.
    pub fn address(&self) -> (u16, [u8; 6]) {
        let b = self.value.map(i32::to_ne_bytes);
        (u16::from_ne_bytes([b[0][0], b[0][1]]), [b[0][2], b[0][3], b[1][0], b[1][1], b[1][2], b[1][3]])
    }
}

/// ioctl(2) with a `struct ifreq`.
///
/// # Errors
/// The kernel's.
pub fn ioctl(fd: impl AsFd, req: libc::c_ulong, r: &mut Ifreq) -> std::io::Result<()> {
    // SAFETY: every request used by these drivers takes a struct ifreq, of which ours has the full 40 bytes.
    let rc = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), req as _, std::ptr::from_mut(r)) };
    if rc < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

/// A socket of the calling thread's network namespace for these calls.
///
/// # Errors
/// The kernel's.
pub fn socket() -> std::io::Result<OwnedFd> {
    // SAFETY: plain socket(2); the result is checked.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: a fresh descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Whether the kernel's end is up and has a carrier.
///
/// # Errors
/// ENODEV: there is no such interface.
pub fn is_running(ctl: impl AsFd, ifname: &str) -> std::io::Result<bool> {
    let mut r = Ifreq::new(ifname, 0);
    ioctl(ctl, libc::SIOCGIFFLAGS as _, &mut r)?;
    Ok(i32::from(r.flags()) & libc::IFF_RUNNING != 0)
}

/// The kernel's MTU.
///
/// # Errors
/// As [`is_running`].
pub fn mtu(ctl: impl AsFd, ifname: &str) -> std::io::Result<i32> {
    let mut r = Ifreq::new(ifname, 0);
    ioctl(ctl, libc::SIOCGIFMTU as _, &mut r)?;
    Ok(r.value[0])
}

/// Sets the MTU of the kernel's end.
///
/// # Errors
/// The kernel's: EINVAL outside what the interface can, EPERM.
pub fn set_mtu(ctl: impl AsFd, ifname: &str, mtu: u32) -> std::io::Result<()> {
    ioctl(ctl, libc::SIOCSIFMTU as _, &mut Ifreq::new(ifname, mtu as i32))
}

/// The interface's index.
///
/// # Errors
/// As [`is_running`].
pub fn index(ctl: impl AsFd, ifname: &str) -> std::io::Result<i32> {
    let mut r = Ifreq::new(ifname, 0);
    ioctl(ctl, libc::SIOCGIFINDEX as _, &mut r)?;
    Ok(r.value[0])
}

/// Brings the kernel's end up.
///
/// # Errors
/// The kernel's.
pub fn bring_up(ctl: impl AsFd, ifname: &str) -> std::io::Result<()> {
    let mut r = Ifreq::new(ifname, 0);
    ioctl(&ctl, libc::SIOCGIFFLAGS as _, &mut r)?;
    let flags = i32::from(r.flags() as u16);
    if flags & libc::IFF_UP != 0 {
        return Ok(());
    }
    ioctl(&ctl, libc::SIOCSIFFLAGS as _, &mut Ifreq::new(ifname, flags | libc::IFF_UP))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses() {
        assert_eq!(Ifreq::new("eth0", 0).name(), "eth0");
        assert_eq!(Ifreq::new("a-name-that-is-too-long", 0).name(), "a-name-that-is-");
        let mut r = Ifreq::new("x", 0);
        r.value[0] = i32::from_ne_bytes([1, 0, 2, 3]);
        r.value[1] = i32::from_ne_bytes([4, 5, 6, 7]);
        assert_eq!(r.address(), (u16::from_ne_bytes([1, 0]), [2, 3, 4, 5, 6, 7]));
    }
}
