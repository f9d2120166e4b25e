//! ioctl(2) requests that change something, as the configuration requests that they stand for.

use alloc::string::String;
use core::net::{IpAddr, Ipv4Addr};
use iopkt_base::{Errno, Result};
use iopkt_ctl::{AddrInfo, AddrState, IFF_USER, Ifconf, Reply, Request, iff};
use iopkt_sockproto::linux::*;
use iopkt_stack::Shard;

/// Linux's interface flags (netdevice(7)) that a user may change, in BSD's numbers.
const FLAGS: [(u16, u32); 5] =
    [(0x1, iff::UP), (0x4, iff::DEBUG), (0x80, iff::NOARP), (0x100, iff::PROMISC), (0x200, iff::ALLMULTI)];

fn name_of(ifr: &[u8; IFREQ_LEN]) -> Result<String> {
    let end = ifr[..IFNAMSIZ].iter().position(|b| *b == 0).ok_or(Errno::EINVAL)?;
    Ok(core::str::from_utf8(&ifr[..end]).map_err(|_| Errno::ENODEV)?.into())
}

fn int(ifr: &[u8; IFREQ_LEN], at: usize) -> u32 {
    let at = IFNAMSIZ + 4 * at;
    u32::from_ne_bytes([ifr[at], ifr[at + 1], ifr[at + 2], ifr[at + 3]])
}

/// The `struct sockaddr_in` of the union.
fn ip(ifr: &[u8; IFREQ_LEN]) -> Result<Ipv4Addr> {
    let u = &ifr[IFNAMSIZ..];
    if u16::from_ne_bytes([u[0], u[1]]) != AF_INET as u16 {
        return Err(Errno::EAFNOSUPPORT);
    }
    Ok(Ipv4Addr::new(u[4], u[5], u[6], u[7]))
}

/// Length of a contiguous mask.
fn mask_len(m: Ipv4Addr) -> Result<u8> {
    let m = u32::from(m);
    if m.leading_ones() + m.trailing_zeros() >= 32 { Ok(m.leading_ones() as u8) } else { Err(Errno::EINVAL) }
}

/// The length that an address has by its class, as SIOCSIFADDR gives it.
fn class_len(a: Ipv4Addr) -> u8 {
    match a.octets()[0] {
        0..=127 => 8,
        128..=191 => 16,
        _ => 24,
    }
}

fn interface(shard: &mut Shard, name: &str) -> Result<Ifconf> {
    match shard.ctl(&Request::Interfaces { name: Some(name.into()) }) {
        Some(Reply::Interfaces(l)) => l.into_iter().next().ok_or(Errno::ENODEV),
        _ => Err(Errno::ENODEV),
    }
}

/// The primary IPv4 address, to be set again with something changed.
fn primary(shard: &mut Shard, name: &str) -> Result<AddrInfo> {
    interface(shard, name)?.addrs.into_iter().find(|a| a.addr.is_ipv4()).ok_or(Errno::EADDRNOTAVAIL)
}

fn address(addr: Ipv4Addr, prefix_len: u8) -> AddrInfo {
    AddrInfo { addr: IpAddr::V4(addr), prefix_len, broadcast: None, peer: None, state: AddrState::Valid }
}

/// What a request stands for.
///
/// # Errors
/// ENODEV, EADDRNOTAVAIL, EAFNOSUPPORT, EINVAL.
pub(crate) fn request(shard: &mut Shard, what: u32, ifr: &[u8; IFREQ_LEN]) -> Result<Request> {
    let name = name_of(ifr)?;
    if !matches!(what, SIOCIFCREATE) {
        interface(shard, &name)?;
    }
    let add = |name: String, addr: AddrInfo, replace| Request::AddAddr { name, addr, replace };
    Ok(match what {
        SIOCSIFFLAGS => {
            let f = u16::from_ne_bytes([ifr[IFNAMSIZ], ifr[IFNAMSIZ + 1]]);
            let set = FLAGS.iter().filter(|(l, _)| f & l != 0).fold(0, |a, (_, b)| a | b);
            let known = FLAGS.iter().fold(0, |a, (_, b)| a | b);
            Request::SetFlags { name, set: set & IFF_USER, clear: known & !set & IFF_USER }
        }
        SIOCSIFADDR => {
            let a = ip(ifr)?;
            // As in Linux, 0.0.0.0 takes the address away.
            if a.is_unspecified() {
                let old = primary(shard, &name)?.addr;
                return Ok(Request::DelAddr { name, addr: Some(old) });
            }
            add(name, address(a, class_len(a)), true)
        }
        SIOCAIFADDR => {
            let a = ip(ifr)?;
            let len = ifr[IFNAMSIZ + 8];
            add(name, address(a, if len == 0 { class_len(a) } else { len }), false)
        }
        SIOCDIFADDR => Request::DelAddr { name, addr: Some(IpAddr::V4(ip(ifr)?)) },
        SIOCSIFNETMASK => {
            let len = mask_len(ip(ifr)?)?;
            let p = primary(shard, &name)?;
            add(name, AddrInfo { prefix_len: len, broadcast: None, ..p }, true)
        }
        SIOCSIFBRDADDR => {
            let b = ip(ifr)?;
            let p = primary(shard, &name)?;
            add(name, AddrInfo { broadcast: Some(b.into()), ..p }, true)
        }
        SIOCSIFDSTADDR => {
            let d = ip(ifr)?;
            let p = primary(shard, &name)?;
            add(name, AddrInfo { peer: Some(d.into()), ..p }, true)
        }
        SIOCSIFMETRIC => Request::SetMetric { name, metric: int(ifr, 0) },
        SIOCSIFMTU => Request::SetMtu { name, mtu: int(ifr, 0) },
        SIOCSIFCAP => Request::SetCaps { name, rx: int(ifr, 2), tx: int(ifr, 3) },
        SIOCSIFMEDIA => Request::SetMedia { name, media: int(ifr, 0) },
        SIOCZIFDATA => Request::ZeroCounters { name },
        SIOCIFCREATE => Request::Create { name },
        SIOCIFDESTROY => Request::Destroy { name },
        _ => return Err(Errno::EOPNOTSUPP),
    })
}

/// SIOCADDMULTI and SIOCDELMULTI, with a `struct sockaddr_in` of the group as BSD has it. The membership is the
/// interface's: it outlives the program.
///
/// # Errors
/// ENODEV, EAFNOSUPPORT for a link-level address, EINVAL for what is no group, ENOBUFS, EADDRNOTAVAIL.
pub(crate) fn group(shard: &mut Shard, what: u32, ifr: &[u8; IFREQ_LEN]) -> Result<()> {
    let i = interface(shard, &name_of(ifr)?)?.index;
    let g = IpAddr::V4(ip(ifr)?);
    if what == SIOCADDMULTI {
        shard.net.join_group(&mut shard.cx, i, g)?;
    } else if shard.net.is_member(i, g) {
        shard.net.leave_group(&mut shard.cx, i, g);
    } else {
        return Err(Errno::EADDRNOTAVAIL);
    }
    shard.tell_changes();
    Ok(())
}
