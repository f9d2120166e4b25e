//! Opening a TAP: `/dev/net/tun`, TUNSETIFF and the ioctls of the kernel's end (tun(4), netdevice(7)).

use iopkt_linuxif::ifreq::{self, Ifreq, ioctl};
use iopkt_linuxif::words;
use iopkt_sdk::{Fail, errno};
use rustix::fs::{Mode, OFlags};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// What the options ask for.
pub(crate) struct Wanted<'a> {
    pub(crate) ifname: &'a str,
    pub(crate) netns: Option<&'a str>,
    pub(crate) fd: Option<i32>,
    pub(crate) up: bool,
    pub(crate) mtu: Option<u32>,
    /// Frames with a header in front that says what is left to do with them.
    pub(crate) vnet: bool,
}

/// An open TAP.
pub(crate) struct Opened {
    /// Frames, non-blocking.
    pub(crate) tun: OwnedFd,
    /// Any socket in the interface's namespace, for ioctls.
    pub(crate) ctl: OwnedFd,
    /// Link changes of that namespace, non-blocking.
    pub(crate) links: OwnedFd,
    pub(crate) ifname: String,
    pub(crate) ifindex: i32,
    pub(crate) mtu: u32,
    /// The kernel's end is up and has a carrier.
    pub(crate) running: bool,
    /// What the header in front of each frame is good for; `None`: there is no such header.
    pub(crate) vnet: Option<Vnet>,
}

/// What the kernel knows of offloads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Vnet {
    /// UDP segmentation (Linux 6.2).
    pub(crate) uso: bool,
}

/// What the kernel may leave to us in frames that it sends (TUNSETOFFLOAD).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Takes {
    /// Checksums.
    pub(crate) csum: bool,
    /// TCP super-segments.
    pub(crate) tso: bool,
    /// Super-segments of datagrams.
    pub(crate) uso: bool,
}

/// Tells the kernel; false when it refuses.
pub(crate) fn set_offload(tun: impl AsFd, t: Takes) -> bool {
    let mut bits = 0;
    // Everything else needs the checksum.
    for (on, bit) in [
        (t.csum, libc::TUN_F_CSUM),
        (t.csum && t.tso, libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN),
        (t.csum && t.uso, TUN_F_USO),
    ] {
        if on {
            bits |= bit;
        }
    }
    // SAFETY: TUNSETOFFLOAD takes a number.
    unsafe { libc::ioctl(tun.as_fd().as_raw_fd(), libc::TUNSETOFFLOAD as _, libc::c_ulong::from(bits)) == 0 }
}

/// TUN_F_USO4 and TUN_F_USO6, which go together.
const TUN_F_USO: libc::c_uint = 0x60;

/// Agrees with the kernel on the length of the header, and asks what it knows.
fn vnet(tun: &OwnedFd) -> std::io::Result<Vnet> {
    let mut len = iopkt_linuxif::vnet::LEN as libc::c_int;
    // SAFETY: TUNSETVNETHDRSZ takes a pointer to an int.
    if unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETVNETHDRSZ as _, &raw mut len) } < 0 {
        return Err(std::io::Error::last_os_error());
    }
    let all = Takes { csum: true, tso: true, uso: true };
    let uso = set_offload(tun, all);
    // Nothing until the interface says so.
    set_offload(tun, Takes::default());
    Ok(Vnet { uso })
}

/// Tells the kernel's end whether there is a carrier. Kernels before 5.0 do not know how; no matter.
pub(crate) fn set_carrier(tun: impl AsFd, on: bool) {
    let mut v = libc::c_int::from(on);
    // SAFETY: TUNSETCARRIER takes a pointer to an int.
    unsafe { libc::ioctl(tun.as_fd().as_raw_fd(), libc::TUNSETCARRIER as _, &raw mut v) };
}

/// Opens what the options ask for, on the calling thread, whose namespace is as before afterwards.
pub(crate) fn open(w: &Wanted<'_>) -> Result<Opened, Fail> {
    iopkt_linuxif::netns::within(w.netns, || open_here(w))
}

fn open_here(w: &Wanted<'_>) -> Result<Opened, Fail> {
    let (tun, ifname, has_vnet) = match w.fd {
        Some(fd) => inherited(fd)?,
        None => made(w.ifname, w.vnet)?,
    };
    let said = |what: &str, e: std::io::Error| {
        Fail::new(e.raw_os_error().unwrap_or(errno::EIO), format!("{ifname}: {what}: {}", words(&e)))
    };
    let vnet = match has_vnet {
        true => Some(vnet(&tun).map_err(|e| said("cannot set the length of virtio-net headers", e))?),
        false => None,
    };
    rustix::io::ioctl_fionbio(&tun, true).map_err(|e| Fail::from(std::io::Error::from(e)))?;
    // No carrier before our interface is up.
    set_carrier(&tun, false);
    let ctl = ifreq::socket()?;
    let links = iopkt_linuxif::netlink::open()?;
    if let Some(mtu) = w.mtu {
        ifreq::set_mtu(&ctl, &ifname, mtu).map_err(|e| said(&format!("the kernel refuses mtu={mtu}"), e))?;
    }
    let mtu = ifreq::mtu(&ctl, &ifname).map_err(|e| said("cannot read its MTU", e))?;
    let mtu = u32::try_from(mtu).unwrap_or(1500).clamp(68, crate::MTU_MAX);
    let ifindex = ifreq::index(&ctl, &ifname).map_err(|e| said("cannot read its index", e))?;
    if w.up {
        ifreq::bring_up(&ctl, &ifname).map_err(|e| said("option up: cannot bring it up", e))?;
    }
    Ok(Opened { tun, ctl, links, ifname, ifindex, mtu, running: false, vnet })
}

/// A descriptor that whoever started io-pkt has opened.
fn inherited(fd: i32) -> Result<(OwnedFd, String, bool), Fail> {
    let bad = |e: std::io::Error| {
        Fail::new(errno::EINVAL, format!("option fd={fd}: not an open TAP descriptor: {}", words(&e)))
    };
    // SAFETY: fcntl checks the number; the duplicate is ours. The original stays open: it is not ours, and
    // a second load may name it again once we have gone.
    let dup = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) };
    if dup < 0 {
        return Err(bad(std::io::Error::last_os_error()));
    }
    // SAFETY: a fresh descriptor that nobody else owns.
    let tun = unsafe { OwnedFd::from_raw_fd(dup) };
    let mut r = Ifreq::new("", 0);
    ioctl(&tun, libc::TUNGETIFF as _, &mut r).map_err(bad)?;
    let flags = i32::from(r.flags());
    if flags & libc::IFF_TAP == 0 || flags & libc::IFF_NO_PI == 0 {
        let why = format!("option fd={fd}: {}: must be IFF_TAP | IFF_NO_PI", r.name());
        return Err(Fail::new(errno::EINVAL, why));
    }
    Ok((tun, r.name(), flags & libc::IFF_VNET_HDR != 0))
}

fn made(ifname: &str, vnet: bool) -> Result<(OwnedFd, String, bool), Fail> {
    if ifname.is_empty() || ifname.len() >= libc::IFNAMSIZ || ifname.contains(['/', ' ']) {
        let why = format!("option ifname={ifname}: give an interface name of 1 to 15 characters");
        return Err(Fail::new(errno::EINVAL, why));
    }
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let tun = rustix::fs::open("/dev/net/tun", flags, Mode::empty()).map_err(|e| {
        let hint = match e.raw_os_error() {
            errno::ENOENT | errno::ENODEV | errno::ENXIO => "load the kernel's tun module (modprobe tun)",
            errno::EACCES | errno::EPERM => "run as root or give yourself read and write access to it",
            _ => "see tun(4)",
        };
        Fail::new(e.raw_os_error(), format!("cannot open /dev/net/tun: {}; {hint}", words(&e.into())))
    })?;
    let mut known: libc::c_uint = 0;
    // SAFETY: TUNGETFEATURES takes a pointer to an unsigned int.
    unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNGETFEATURES as _, &raw mut known) };
    let vnet = vnet && known & libc::IFF_VNET_HDR as libc::c_uint != 0;
    let extra = if vnet { libc::IFF_VNET_HDR } else { 0 };
    let mut r = Ifreq::new(ifname, libc::IFF_TAP | libc::IFF_NO_PI | extra);
    ioctl(&tun, libc::TUNSETIFF as _, &mut r).map_err(|e| {
        let n = e.raw_os_error().unwrap_or(errno::EIO);
        let hint = match n {
            errno::EPERM => format!(
                "run as root, or let root make it for you: ip tuntap add dev {ifname} mode tap user $USER"
            ),
            errno::EBUSY => "another program has it; choose another ifname=".to_owned(),
            errno::EINVAL => "an interface of another kind has this name; choose another ifname=".to_owned(),
            _ => "see tun(4)".to_owned(),
        };
        Fail::new(n, format!("cannot get TAP interface {ifname}: {}; {hint}", words(&e)))
    })?;
    Ok((tun, r.name(), vnet))
}
