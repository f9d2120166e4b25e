//! The packet socket: packet(7), `<linux/if_packet.h>`.

use iopkt_linuxif::ifreq::{self, Ifreq, ioctl};
use iopkt_linuxif::{netlink, netns, words};
use iopkt_sdk::{Fail, errno};
use std::io::Error;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// Bytes that may wait to be received, and to be sent (in the kernel's count, which includes its own bookkeeping).
const RECEIVE: i32 = 16 << 20;
const SEND: i32 = 4 << 20;

const PACKET_AUXDATA: i32 = 8;
const PACKET_VNET_HDR: i32 = 15;
const PACKET_IGNORE_OUTGOING: i32 = 23;

/// What the options ask for.
pub(crate) struct Wanted<'a> {
    pub(crate) ifname: &'a str,
    pub(crate) netns: Option<&'a str>,
    pub(crate) mtu: Option<u32>,
    pub(crate) up: bool,
    /// Frames to other addresses than the interface's are ours too.
    pub(crate) promisc: bool,
}

/// An open interface.
pub(crate) struct Opened {
    /// Frames, each with a virtio-net header in front; non-blocking.
    pub(crate) sock: OwnedFd,
    /// Any socket in the interface's namespace, for ioctls.
    pub(crate) ctl: OwnedFd,
    /// Link changes of that namespace, non-blocking.
    pub(crate) links: OwnedFd,
    pub(crate) ifname: String,
    pub(crate) ifindex: i32,
    pub(crate) mac: [u8; 6],
    pub(crate) mtu: u32,
    /// The kernel's end is up and has a carrier.
    pub(crate) running: bool,
}

fn set<T>(fd: impl AsFd, level: i32, name: i32, value: &T) -> Result<(), Error> {
    let (p, len) = (std::ptr::from_ref(value), size_of::<T>() as libc::socklen_t);
    // SAFETY: the kernel reads `len` bytes of a plain value that lives through the call.
    let r = unsafe { libc::setsockopt(fd.as_fd().as_raw_fd(), level, name, p.cast(), len) };
    if r < 0 { Err(Error::last_os_error()) } else { Ok(()) }
}

/// Asks the interface for frames: promiscuous, all multicast, or one group; or no more for them. What is asked for ends with the socket.
pub(crate) fn membership(o: &Opened, on: bool, kind: i32, group: [u8; 6]) -> Result<(), Error> {
    let mut r =
        libc::packet_mreq { mr_ifindex: o.ifindex, mr_type: kind as u16, mr_alen: 6, mr_address: [0; 8] };
    r.mr_address[..6].copy_from_slice(&group);
    let name = if on { libc::PACKET_ADD_MEMBERSHIP } else { libc::PACKET_DROP_MEMBERSHIP };
    set(&o.sock, libc::SOL_PACKET, name, &r)
}

/// Opens what the options ask for, on the calling thread, whose namespace is as before afterwards.
pub(crate) fn open(w: &Wanted<'_>) -> Result<Opened, Fail> {
    netns::within(w.netns, || open_here(w))
}

fn open_here(w: &Wanted<'_>) -> Result<Opened, Fail> {
    let name = w.ifname;
    let said = |what: &str, e: Error| {
        Fail::new(e.raw_os_error().unwrap_or(errno::EIO), format!("{name}: {what}: {}", words(&e)))
    };
    if name.len() >= libc::IFNAMSIZ || name.contains(['/', ' ']) {
        let why = format!("option ifname={name}: give an interface name of 1 to 15 characters");
        return Err(Fail::new(errno::EINVAL, why));
    }
    let ctl = ifreq::socket()?;
    let ifindex = ifreq::index(&ctl, name)
        .map_err(|e| said("there is no such interface (ip link shows those that are)", e))?;
    let mut r = Ifreq::new(name, 0);
    ioctl(&ctl, libc::SIOCGIFHWADDR as _, &mut r).map_err(|e| said("cannot read its address", e))?;
    let (kind, mac) = r.address();
    if kind != libc::ARPHRD_ETHER {
        let why = format!(
            "{name}: not an Ethernet interface (hardware type {kind}); this driver carries Ethernet frames"
        );
        return Err(Fail::new(errno::EINVAL, why));
    }
    // Heard of from here on, so that no change is missed.
    let links = netlink::open()?;
    if let Some(mtu) = w.mtu {
        ifreq::set_mtu(&ctl, name, mtu).map_err(|e| said(&format!("the kernel refuses mtu={mtu}"), e))?;
    }
    let mtu = ifreq::mtu(&ctl, name).map_err(|e| said("cannot read its MTU", e))?;
    let mtu = u32::try_from(mtu).unwrap_or(1500).clamp(68, crate::MTU_MAX);
    if w.up {
        ifreq::bring_up(&ctl, name).map_err(|e| said("option up: cannot bring it up", e))?;
    }
    let sock = packet_socket(name)?;
    let o = Opened { sock, ctl, links, ifname: name.to_owned(), ifindex, mac, mtu, running: false };
    if w.promisc {
        membership(&o, true, libc::PACKET_MR_PROMISC, [0; 6])
            .map_err(|e| said("option mac=: cannot make it promiscuous", e))?;
    }
    let running = ifreq::is_running(&o.ctl, name).unwrap_or(false);
    Ok(Opened { running, ..o })
}

/// A packet socket that no interface feeds yet.
fn packet_socket(name: &str) -> Result<OwnedFd, Fail> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: plain socket(2); the result is checked. Protocol 0: nothing is received before bind.
    let fd = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
    if fd < 0 {
        let e = Error::last_os_error();
        let n = e.raw_os_error().unwrap_or(errno::EIO);
        let hint = match n {
            errno::EPERM | errno::EACCES => "it takes CAP_NET_RAW: run as root",
            libc::EAFNOSUPPORT => "this kernel has no packet sockets (CONFIG_PACKET, modprobe af_packet)",
            _ => "see packet(7)",
        };
        let why = format!("cannot open a packet socket for {name}: {}; {hint}", words(&e));
        return Err(Fail::new(n, why));
    }
    // SAFETY: a fresh descriptor that nobody else owns.
    let sock = unsafe { OwnedFd::from_raw_fd(fd) };
    for (option, what) in [
        (PACKET_VNET_HDR, "headers for checksums and segments (PACKET_VNET_HDR)"),
        (
            PACKET_IGNORE_OUTGOING,
            "leaving out what the kernel sends itself (PACKET_IGNORE_OUTGOING, Linux 4.20)",
        ),
        (PACKET_AUXDATA, "VLAN tags (PACKET_AUXDATA)"),
    ] {
        set(&sock, libc::SOL_PACKET, option, &1i32).map_err(|e| {
            let n = e.raw_os_error().unwrap_or(errno::EIO);
            Fail::new(n, format!("{name}: this kernel refuses {what}: {}", words(&e)))
        })?;
    }
    // As much as we may have; less only means that bursts are lost earlier.
    for (force, plain, size) in
        [(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, RECEIVE), (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, SEND)]
    {
        if set(&sock, libc::SOL_SOCKET, force, &size).is_err() {
            let _ = set(&sock, libc::SOL_SOCKET, plain, &size);
        }
    }
    Ok(sock)
}

/// Frames of the interface come from here on (`on`), or no more.
pub(crate) fn feed(o: &Opened, on: bool) -> Result<(), Error> {
    // SAFETY: sockaddr_ll is plain data; zero is a valid value for all of it.
    let mut a: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    a.sll_family = libc::AF_PACKET as u16;
    a.sll_ifindex = o.ifindex;
    // The kernel takes protocol 0 for "as it was": one that nobody speaks stands for none.
    let none = 0xffff_u16;
    a.sll_protocol = if on { (libc::ETH_P_ALL as u16).to_be() } else { none.to_be() };
    let len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the address is of that length and lives through the call.
    let r = unsafe { libc::bind(o.sock.as_raw_fd(), (&raw const a).cast(), len) };
    if r < 0 { Err(Error::last_os_error()) } else { Ok(()) }
}

/// Bits per second that the interface says it does; 0: it does not say.
pub(crate) fn speed(o: &Opened) -> u64 {
    const ETHTOOL_GSET: u32 = 1;
    // `struct ethtool_cmd`: its number; speed in Mbit/s, low half at byte 12, high half at 28.
    let mut cmd = [0u8; 44];
    cmd[..4].copy_from_slice(&ETHTOOL_GSET.to_ne_bytes());
    let mut r = Ifreq::new(&o.ifname, 0);
    let p = (&raw mut cmd as usize as u64).to_ne_bytes();
    r.value[0] = i32::from_ne_bytes([p[0], p[1], p[2], p[3]]);
    r.value[1] = i32::from_ne_bytes([p[4], p[5], p[6], p[7]]);
    if ioctl(&o.ctl, libc::SIOCETHTOOL as _, &mut r).is_err() {
        return 0;
    }
    let half = |at: usize| u32::from(u16::from_ne_bytes([cmd[at], cmd[at + 1]]));
    match half(28) << 16 | half(12) {
        u32::MAX | 0xffff => 0,
        mbit => u64::from(mbit) * 1_000_000,
    }
}
