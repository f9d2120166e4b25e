//! Options at SOL_SOCKET (socket(7)).
//!
//! Choices: SO_SNDBUF and SO_RCVBUF double their value as Linux does, up to [`BUF_MAX`]; SO_MARK is EPERM, for
//! there is no policy routing for it to act on; SO_PRIORITY is kept and returned; QNX's SO_TXPRIO (0x100b, 0 to 7; EOPNOTSUPP
//! without `so_txprio_enable`) orders the queue of the interface: higher ones leave first; SO_RCVTIMEO and SO_SNDTIMEO are kept for the client side, where calls block.

use super::Sockets;
use super::options::{flag, int, put, put_int};
use super::sock::{BUF_MAX, BUF_MIN, Sock};
use super::types::SockId;
use crate::cx::Cx;
use crate::net::Net;
use crate::packet::Family;
use iopkt_base::{Errno, Result};

/// Names (asm-generic/socket.h).
#[allow(missing_docs)]
pub(crate) mod so {
    pub const DEBUG: i32 = 1;
    pub const REUSEADDR: i32 = 2;
    pub const TYPE: i32 = 3;
    pub const ERROR: i32 = 4;
    pub const DONTROUTE: i32 = 5;
    pub const BROADCAST: i32 = 6;
    pub const SNDBUF: i32 = 7;
    pub const RCVBUF: i32 = 8;
    pub const KEEPALIVE: i32 = 9;
    pub const OOBINLINE: i32 = 10;
    pub const NO_CHECK: i32 = 11;
    pub const PRIORITY: i32 = 12;
    pub const LINGER: i32 = 13;
    pub const REUSEPORT: i32 = 15;
    pub const RCVLOWAT: i32 = 18;
    pub const SNDLOWAT: i32 = 19;
    pub const RCVTIMEO: i32 = 20;
    pub const SNDTIMEO: i32 = 21;
    pub const BINDTODEVICE: i32 = 25;
    pub const TIMESTAMP: i32 = 29;
    pub const ACCEPTCONN: i32 = 30;
    pub const SNDBUFFORCE: i32 = 32;
    pub const RCVBUFFORCE: i32 = 33;
    pub const MARK: i32 = 36;
    pub const PROTOCOL: i32 = 38;
    pub const DOMAIN: i32 = 39;
    pub const BINDTOIFINDEX: i32 = 62;
    /// QNX's; Linux has no such option, and no other one with this number.
    pub const TXPRIO: i32 = 0x100b;
}

/// Length of an interface name with its NUL (IFNAMSIZ).
const IFNAMSIZ: usize = 16;

fn timeval(b: &[u8]) -> Result<(i64, i64)> {
    let (s, rest) = b.split_first_chunk::<8>().ok_or(Errno::EINVAL)?;
    let us = rest.first_chunk::<8>().ok_or(Errno::EINVAL)?;
    let (s, us) = (i64::from_ne_bytes(*s), i64::from_ne_bytes(*us));
    match us {
        0..1_000_000 => Ok((s.max(0), if s < 0 { 0 } else { us })),
        _ => Err(Errno::EDOM),
    }
}

fn put_timeval(out: &mut [u8], (s, us): (i64, i64)) -> usize {
    let mut b = [0u8; 16];
    b[..8].copy_from_slice(&s.to_ne_bytes());
    b[8..].copy_from_slice(&us.to_ne_bytes());
    put(out, &b)
}

fn doubled(v: i32) -> u32 {
    (v as u32).min(BUF_MAX / 2).saturating_mul(2).max(BUF_MIN)
}

fn linger(b: &[u8]) -> Result<Option<u32>> {
    let on = flag(b)?;
    let secs = int(b.get(4..).unwrap_or(&[]))?;
    Ok(on.then_some(secs.max(0) as u32))
}

impl Sockets {
    pub(super) fn set_socket(
        &mut self,
        cx: &mut Cx,
        net: &Net,
        id: SockId,
        name: i32,
        v: &[u8],
    ) -> Result<()> {
        let s = self.table.get_mut(id)?;
        let o = &mut s.opt;
        match name {
            so::BINDTODEVICE => return set_device(s, net, v),
            so::LINGER => o.linger = linger(v)?,
            so::RCVTIMEO => o.rcvtimeo = timeval(v)?,
            so::SNDTIMEO => o.sndtimeo = timeval(v)?,
            so::REUSEADDR => o.reuseaddr = flag(v)?,
            so::REUSEPORT => o.reuseport = flag(v)?,
            so::KEEPALIVE => o.keepalive = flag(v)?,
            so::BROADCAST => o.broadcast = flag(v)?,
            so::DONTROUTE => o.dontroute = flag(v)?,
            so::OOBINLINE => o.oobinline = flag(v)?,
            so::TIMESTAMP => o.timestamp = flag(v)?,
            so::NO_CHECK => o.no_check = flag(v)?,
            so::SNDBUF | so::SNDBUFFORCE => o.sndbuf = doubled(int(v)?),
            so::RCVBUF | so::RCVBUFFORCE => o.rcvbuf = doubled(int(v)?),
            so::RCVLOWAT => {
                let n = int(v)?;
                o.rcvlowat = if n < 0 { i32::MAX } else { n.max(1) };
            }
            so::PRIORITY => match int(v)? {
                // Linux: more takes CAP_NET_ADMIN.
                n @ 0..=6 => o.priority = n,
                _ => return Err(Errno::EPERM),
            },
            so::TXPRIO if !cx.cfg.txprio => return Err(Errno::EOPNOTSUPP),
            so::TXPRIO => match int(v)? {
                n @ 0..=7 => o.txprio = n as u8,
                _ => return Err(Errno::EINVAL),
            },
            so::MARK => return Err(Errno::EPERM),
            so::DEBUG if flag(v)? => return Err(Errno::EACCES),
            so::DEBUG => {}
            so::BINDTOIFINDEX => {
                let i = u32::try_from(int(v)?).map_err(|_| Errno::EINVAL)?;
                if i != 0 && net.ifname(i).is_none() {
                    return Err(Errno::ENODEV);
                }
                o.bound_dev = i;
            }
            _ => return Err(Errno::ENOPROTOOPT),
        }
        self.touch(cx, id);
        Ok(())
    }

    pub(super) fn get_socket(
        &mut self,
        cx: &Cx,
        net: &Net,
        id: SockId,
        name: i32,
        out: &mut [u8],
    ) -> Result<usize> {
        let s = self.table.get_mut(id)?;
        let o = &s.opt;
        let v = match name {
            so::BINDTODEVICE => return get_device(s, net, out),
            so::LINGER => {
                let mut b = [0u8; 8];
                put_int(&mut b, i32::from(o.linger.is_some()));
                put_int(&mut b[4..], o.linger.unwrap_or(0) as i32);
                return Ok(put(out, &b));
            }
            so::RCVTIMEO => return Ok(put_timeval(out, o.rcvtimeo)),
            so::SNDTIMEO => return Ok(put_timeval(out, o.sndtimeo)),
            so::REUSEADDR => i32::from(o.reuseaddr),
            so::REUSEPORT => i32::from(o.reuseport),
            so::KEEPALIVE => i32::from(o.keepalive),
            so::BROADCAST => i32::from(o.broadcast),
            so::DONTROUTE => i32::from(o.dontroute),
            so::OOBINLINE => i32::from(o.oobinline),
            so::TIMESTAMP => i32::from(o.timestamp),
            so::NO_CHECK => i32::from(o.no_check),
            so::SNDBUF => o.sndbuf as i32,
            so::RCVBUF => o.rcvbuf as i32,
            so::RCVLOWAT => o.rcvlowat,
            so::SNDLOWAT => 1,
            so::PRIORITY => o.priority,
            so::TXPRIO if !cx.cfg.txprio => return Err(Errno::EOPNOTSUPP),
            so::TXPRIO => o.txprio.into(),
            so::MARK | so::DEBUG => 0,
            so::TYPE => s.ty.raw(),
            so::PROTOCOL => i32::from(s.proto),
            so::DOMAIN => af(s.family),
            so::ACCEPTCONN => i32::from(s.is_listening()),
            so::BINDTOIFINDEX => o.bound_dev as i32,
            so::ERROR => s.err.take().map_or(0, |e| e.raw()),
            _ => return Err(Errno::ENOPROTOOPT),
        };
        Ok(put_int(out, v))
    }
}

/// Linux's AF_* number of a family.
pub(crate) fn af(f: Family) -> i32 {
    match f {
        Family::V4 => 2,
        Family::V6 => 10,
    }
}

fn set_device(s: &mut Sock, net: &Net, v: &[u8]) -> Result<()> {
    let v = &v[..v.len().min(IFNAMSIZ - 1)];
    let name = v.split(|b| *b == 0).next().unwrap_or(&[]);
    let name = core::str::from_utf8(name).map_err(|_| Errno::ENODEV)?;
    s.opt.bound_dev = match name {
        "" => 0,
        n => match net.ifindex_of(n) {
            0 => return Err(Errno::ENODEV),
            i => i,
        },
    };
    Ok(())
}

fn get_device(s: &Sock, net: &Net, out: &mut [u8]) -> Result<usize> {
    let Some(name) = net.ifname(s.opt.bound_dev) else { return Ok(0) };
    if out.len() < IFNAMSIZ {
        return Err(Errno::EINVAL);
    }
    let mut b = [0u8; IFNAMSIZ];
    let n = name.len().min(IFNAMSIZ - 1);
    b[..n].copy_from_slice(&name.as_bytes()[..n]);
    Ok(put(out, &b[..n + 1]))
}
