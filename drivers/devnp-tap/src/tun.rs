//! Opening a TAP: `/dev/net/tun`, TUNSETIFF and the ioctls of the kernel's end (tun(4), netdevice(7)).

use iopkt_sdk::{Fail, errno};
use rustix::fs::{Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
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
    let mut len = crate::vnet::LEN as libc::c_int;
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

/// `struct ifreq`: the name, then a union of which these drivers' calls use ints and shorts.
#[repr(C)]
struct Ifreq {
    name: [u8; libc::IFNAMSIZ],
    value: [i32; 6],
}

impl Ifreq {
    fn new(name: &str, value: i32) -> Ifreq {
        let mut r = Ifreq { name: [0; libc::IFNAMSIZ], value: [0; 6] };
        let n = name.len().min(libc::IFNAMSIZ - 1);
        r.name[..n].copy_from_slice(&name.as_bytes()[..n]);
        r.value[0] = value;
        r
    }

    fn name(&self) -> String {
        let end = self.name.iter().position(|c| *c == 0).unwrap_or(self.name.len());
        String::from_utf8_lossy(&self.name[..end]).into_owned()
    }

    /// Flags are a short at the union's start.
    fn flags(&self) -> i16 {
        self.value[0] as i16
    }
}

fn ioctl(fd: impl AsFd, req: libc::c_ulong, r: &mut Ifreq) -> std::io::Result<()> {
    // SAFETY: every request used here takes a struct ifreq, of which ours has the full 40 bytes.
    let rc = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), req as _, std::ptr::from_mut(r)) };
    if rc < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

/// Tells the kernel's end whether there is a carrier. Kernels before 5.0 do not know how; no matter.
pub(crate) fn set_carrier(tun: impl AsFd, on: bool) {
    let mut v = libc::c_int::from(on);
    // SAFETY: TUNSETCARRIER takes a pointer to an int.
    unsafe { libc::ioctl(tun.as_fd().as_raw_fd(), libc::TUNSETCARRIER as _, &raw mut v) };
}

/// Whether the kernel's end is up and has a carrier (which we give it, and which takes effect a little later).
pub(crate) fn is_running(ctl: impl AsFd, ifname: &str) -> std::io::Result<bool> {
    let mut r = Ifreq::new(ifname, 0);
    ioctl(ctl, libc::SIOCGIFFLAGS as _, &mut r)?;
    Ok(i32::from(r.flags()) & libc::IFF_RUNNING != 0)
}

/// Sets the MTU of the kernel's end.
pub(crate) fn set_mtu(ctl: impl AsFd, ifname: &str, mtu: u32) -> std::io::Result<()> {
    ioctl(ctl, libc::SIOCSIFMTU as _, &mut Ifreq::new(ifname, mtu as i32))
}

/// Opens what the options ask for, on the calling thread, whose namespace is as before afterwards.
pub(crate) fn open(w: &Wanted<'_>) -> Result<Opened, Fail> {
    let Some(path) = w.netns else { return open_here(w) };
    let named = |e: rustix::io::Errno, what: &str| {
        Fail::new(e.raw_os_error(), format!("option netns={path}: {what}: {}", words(&e.into())))
    };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let there = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| named(e, "cannot open"))?;
    let home = rustix::fs::open("/proc/thread-self/ns/net", flags, Mode::empty())
        .map_err(|e| named(e, "cannot find the way back"))?;
    let net = Some(LinkNameSpaceType::Network);
    move_into_link_name_space(there.as_fd(), net)
        .map_err(|e| named(e, "cannot enter (needs CAP_SYS_ADMIN and a network namespace)"))?;
    let r = open_here(w);
    move_into_link_name_space(home.as_fd(), net).map_err(|e| named(e, "cannot return"))?;
    r
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
    // SAFETY: plain socket(2); the result is checked.
    let ctl = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if ctl < 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    // SAFETY: a fresh descriptor that nobody else owns.
    let ctl = unsafe { OwnedFd::from_raw_fd(ctl) };
    let links = crate::netlink::open()?;
    if let Some(mtu) = w.mtu {
        set_mtu(&ctl, &ifname, mtu).map_err(|e| said(&format!("the kernel refuses mtu={mtu}"), e))?;
    }
    let mut r = Ifreq::new(&ifname, 0);
    ioctl(&ctl, libc::SIOCGIFMTU as _, &mut r).map_err(|e| said("cannot read its MTU", e))?;
    let mtu = u32::try_from(r.value[0]).unwrap_or(1500).clamp(68, crate::MTU_MAX);
    let mut r = Ifreq::new(&ifname, 0);
    ioctl(&ctl, libc::SIOCGIFINDEX as _, &mut r).map_err(|e| said("cannot read its index", e))?;
    let ifindex = r.value[0];
    let mut r = Ifreq::new(&ifname, 0);
    ioctl(&ctl, libc::SIOCGIFFLAGS as _, &mut r).map_err(|e| said("cannot read its flags", e))?;
    if w.up && i32::from(r.flags()) & libc::IFF_UP == 0 {
        let flags = i32::from(r.flags() as u16) | libc::IFF_UP;
        ioctl(&ctl, libc::SIOCSIFFLAGS as _, &mut Ifreq::new(&ifname, flags))
            .map_err(|e| said("option up: cannot bring it up", e))?;
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

/// The system's words, without Rust's "(os error N)".
fn words(e: &std::io::Error) -> String {
    let s = e.to_string();
    s.split(" (os error").next().unwrap_or(&s).to_owned()
}
