//! Options at SOL_SOCKET (socket(7)).
//!
//! Choices: SO_SNDBUF and SO_RCVBUF double their value as Linux does, up to [`BUF_MAX`]; QNX's SO_TXPRIO (0x100b, 0 to 7; EOPNOTSUPP
//! without `so_txprio_enable`) orders the queue of the interface: higher ones leave first; SO_RCVTIMEO and SO_SNDTIMEO are kept for the
//! client side, where calls block. What there is nothing to act on for here (SO_MARK without policy routing, SO_BUSY_POLL without a
//! device queue of the socket's) is kept and given back, as Linux does. Who may set what is the server's to know.
//! `docs/socket-options.md` has a row for each.

use super::Sockets;
use super::options::{flag, int, put, put_int};
use super::sock::{BUF_MAX, BUF_MIN, Body, SNDBUF_MIN, Sock};
use super::types::{SockId, SockType};
use crate::cx::Cx;
use crate::net::Net;
use crate::packet::Family;
use alloc::sync::Arc;
use core::net::SocketAddr;
use iopkt_base::{Errno, Result};
use iopkt_bpf::{Dialect, Program};

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
    pub const BSDCOMPAT: i32 = 14;
    pub const REUSEPORT: i32 = 15;
    pub const PASSCRED: i32 = 16;
    pub const PEERCRED: i32 = 17;
    pub const RCVLOWAT: i32 = 18;
    pub const SNDLOWAT: i32 = 19;
    pub const RCVTIMEO: i32 = 20;
    pub const SNDTIMEO: i32 = 21;
    pub const BINDTODEVICE: i32 = 25;
    pub const ATTACH_FILTER: i32 = 26;
    pub const DETACH_FILTER: i32 = 27;
    pub const PEERNAME: i32 = 28;
    pub const TIMESTAMP: i32 = 29;
    pub const ACCEPTCONN: i32 = 30;
    pub const SNDBUFFORCE: i32 = 32;
    pub const RCVBUFFORCE: i32 = 33;
    pub const PASSSEC: i32 = 34;
    pub const TIMESTAMPNS: i32 = 35;
    pub const MARK: i32 = 36;
    pub const TIMESTAMPING: i32 = 37;
    pub const PROTOCOL: i32 = 38;
    pub const DOMAIN: i32 = 39;
    pub const RXQ_OVFL: i32 = 40;
    pub const WIFI_STATUS: i32 = 41;
    pub const PEEK_OFF: i32 = 42;
    pub const NOFCS: i32 = 43;
    pub const LOCK_FILTER: i32 = 44;
    pub const SELECT_ERR_QUEUE: i32 = 45;
    pub const BUSY_POLL: i32 = 46;
    pub const MAX_PACING_RATE: i32 = 47;
    pub const BPF_EXTENSIONS: i32 = 48;
    pub const INCOMING_CPU: i32 = 49;
    pub const ATTACH_BPF: i32 = 50;
    pub const ATTACH_REUSEPORT_CBPF: i32 = 51;
    pub const ATTACH_REUSEPORT_EBPF: i32 = 52;
    pub const CNX_ADVICE: i32 = 53;
    pub const MEMINFO: i32 = 55;
    pub const INCOMING_NAPI_ID: i32 = 56;
    pub const COOKIE: i32 = 57;
    pub const PEERGROUPS: i32 = 59;
    pub const ZEROCOPY: i32 = 60;
    pub const TXTIME: i32 = 61;
    pub const BINDTOIFINDEX: i32 = 62;
    pub const TIMESTAMP_NEW: i32 = 63;
    pub const TIMESTAMPNS_NEW: i32 = 64;
    pub const TIMESTAMPING_NEW: i32 = 65;
    pub const DETACH_REUSEPORT_BPF: i32 = 68;
    pub const PREFER_BUSY_POLL: i32 = 69;
    pub const BUSY_POLL_BUDGET: i32 = 70;
    pub const NETNS_COOKIE: i32 = 71;
    pub const BUF_LOCK: i32 = 72;
    pub const RESERVE_MEM: i32 = 73;
    pub const TXREHASH: i32 = 74;
    pub const RCVMARK: i32 = 75;
    pub const PASSPIDFD: i32 = 76;
    pub const PEERPIDFD: i32 = 77;
    pub const PASSRIGHTS: i32 = 83;
    /// QNX's; Linux has no such option, and no other one with this number.
    pub const TXPRIO: i32 = 0x100b;
}

/// Length of an interface name with its NUL (IFNAMSIZ).
const IFNAMSIZ: usize = 16;
/// Largest SO_RCVLOWAT (Linux: half of the largest receive buffer).
const RCVLOWAT_MAX: i32 = 16 << 20;
/// SO_BUF_LOCK's bits.
const LOCK_SND: u8 = 1;
const LOCK_RCV: u8 = 2;
/// SOF_TIMESTAMPING_* (linux/net_tstamp.h): all that there are, and those that Linux looks at more closely.
const STAMPING_ALL: u32 = (1 << 19) - 1;
const STAMPING_OPT_ID: u32 = 1 << 7;
const STAMPING_OPT_TSONLY: u32 = 1 << 11;
const STAMPING_OPT_STATS: u32 = 1 << 12;
const STAMPING_BIND_PHC: u32 = 1 << 15;
const STAMPING_OPT_ID_TCP: u32 = 1 << 16;
/// Classic BPF's ancillary loads end here (`SKF_AD_MAX`).
const BPF_EXTENSIONS: i32 = 64;

/// Options that are on or off, and kept as bits of [`super::sock::Opts::so_flags`].
const FLAGS: [i32; 9] = [
    so::ZEROCOPY,
    so::DEBUG,
    so::RXQ_OVFL,
    so::WIFI_STATUS,
    so::NOFCS,
    so::LOCK_FILTER,
    so::SELECT_ERR_QUEUE,
    so::PREFER_BUSY_POLL,
    so::RCVMARK,
];

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

fn doubled(v: i32, least: u32) -> u32 {
    (v as u32).min(BUF_MAX / 2).saturating_mul(2).max(least)
}

/// A classic BPF program for a socket, from its instructions.
fn program(v: &[u8]) -> Result<Arc<Program>> {
    let p = Program::from_bytes(v, Dialect::Linux).map_err(|_| Errno::EINVAL)?;
    Ok(Arc::new(p))
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
        let messages = self.messages;
        let s = self.table.get_mut(id)?;
        match name {
            so::BINDTODEVICE => return set_device(s, net, v),
            so::ATTACH_FILTER if s.opt.locked_filter() => return Err(Errno::EPERM),
            so::ATTACH_FILTER => {
                s.opt.filter = Some(program(v)?);
                return Ok(());
            }
            so::ATTACH_REUSEPORT_CBPF => return self.set_chooser(id, program(v)?),
            _ => {}
        }
        let n = int(v)?;
        if FLAGS.contains(&name) && name != so::ZEROCOPY {
            return set_flag(s, name, n != 0);
        }
        match name {
            so::REUSEADDR
            | so::REUSEPORT
            | so::KEEPALIVE
            | so::BROADCAST
            | so::DONTROUTE
            | so::OOBINLINE
            | so::NO_CHECK => set_known_flag(s, name, n != 0),
            so::SNDBUF | so::SNDBUFFORCE => {
                s.opt.sndbuf = doubled(n, SNDBUF_MIN);
                s.opt.buf_lock |= LOCK_SND;
            }
            so::RCVBUF | so::RCVBUFFORCE => {
                s.opt.rcvbuf = doubled(n, BUF_MIN);
                s.opt.buf_lock |= LOCK_RCV;
            }
            so::LINGER | so::RCVTIMEO | so::SNDTIMEO => set_times(s, name, v)?,
            so::TXPRIO if !cx.cfg.txprio => return Err(Errno::EOPNOTSUPP),
            so::TIMESTAMPING | so::TIMESTAMPING_NEW => set_stamping(s, n as u32)?,
            so::DETACH_FILTER if s.opt.locked_filter() => return Err(Errno::EPERM),
            so::DETACH_FILTER => drop(s.opt.filter.take().ok_or(Errno::ENOENT)?),
            so::DETACH_REUSEPORT_BPF => return self.clear_chooser(id),
            so::ZEROCOPY if messages && s.ty == SockType::Stream && (0..=1).contains(&n) => {
                return set_flag(s, name, n == 1);
            }
            _ => set_number(s, name, n, v)?,
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
        let cookie = (u64::from(id.generation) << 32 | u64::from(id.index)) + 1;
        let s = self.table.get_mut(id)?;
        let o = &s.opt;
        if FLAGS.contains(&name) {
            return Ok(put_int(out, i32::from(o.so_flags >> name & 1 != 0)));
        }
        let v = match name {
            so::BINDTODEVICE => return get_device(s, net, out),
            so::LINGER => {
                let mut b = [0u8; 8];
                put_int(&mut b, i32::from(o.linger.is_some()));
                put_int(&mut b[4..], o.linger_secs as i32);
                return Ok(put(out, &b));
            }
            so::RCVTIMEO => return Ok(put_timeval(out, o.rcvtimeo)),
            so::SNDTIMEO => return Ok(put_timeval(out, o.sndtimeo)),
            so::COOKIE if out.len() < 8 => return Err(Errno::EINVAL),
            so::COOKIE => return Ok(put(out, &cookie.to_ne_bytes())),
            so::NETNS_COOKIE if out.len() != 8 => return Err(Errno::EINVAL),
            so::NETNS_COOKIE => return Ok(put(out, &1u64.to_ne_bytes())),
            so::MEMINFO => return Ok(put(out, &meminfo(s))),
            // Whose process the other end is, is not known of IP: no process, nobody.
            so::PEERCRED => return Ok(put(out, &[[0; 4], [0xff; 4], [0xff; 4]].concat())),
            so::PEERNAME => return peer_name(s, out),
            so::ATTACH_FILTER => return get_filter(s),
            so::MAX_PACING_RATE if out.len() >= 8 => return Ok(put(out, &o.max_pacing.to_ne_bytes())),
            so::MAX_PACING_RATE => u32::try_from(o.max_pacing).unwrap_or(u32::MAX) as i32,
            // Clock and flags of `struct sock_txtime`: none.
            so::TXTIME => return Ok(put(out, &[0; 8])),
            so::TIMESTAMPING | so::TIMESTAMPING_NEW => {
                // `struct so_timestamping`: flags, and the clock that they are bound to: none.
                return Ok(put(out, &[o.stamping.to_ne_bytes(), [0; 4]].concat()));
            }
            so::TXPRIO if !cx.cfg.txprio => return Err(Errno::EOPNOTSUPP),
            so::ERROR => s.err.take().map_or(0, |e| e.raw()),
            _ => get_number(s, name)?,
        };
        Ok(put_int(out, v))
    }

    /// SO_ATTACH_REUSEPORT_CBPF: for the group that the socket is in, or will be.
    fn set_chooser(&mut self, id: SockId, p: Arc<Program>) -> Result<()> {
        let s = self.table.get_mut(id)?;
        if !s.opt.reuseport || s.ty == SockType::Raw {
            return Err(Errno::EINVAL);
        }
        s.opt.chooser = Some(p.clone());
        for slot in self.reuseport_group(id) {
            if let Some(s) = self.table.at_mut(slot) {
                s.opt.chooser = Some(p.clone());
            }
        }
        Ok(())
    }

    /// SO_DETACH_REUSEPORT_BPF.
    fn clear_chooser(&mut self, id: SockId) -> Result<()> {
        let s = self.table.get_mut(id)?;
        if !s.opt.reuseport {
            return Err(Errno::EINVAL);
        }
        s.opt.chooser.take().ok_or(Errno::ENOENT)?;
        for slot in self.reuseport_group(id) {
            if let Some(s) = self.table.at_mut(slot) {
                s.opt.chooser = None;
            }
        }
        Ok(())
    }
}

fn set_known_flag(s: &mut Sock, name: i32, on: bool) {
    let o = &mut s.opt;
    let place = match name {
        so::REUSEADDR => &mut o.reuseaddr,
        so::REUSEPORT => &mut o.reuseport,
        so::KEEPALIVE => &mut o.keepalive,
        so::BROADCAST => &mut o.broadcast,
        so::DONTROUTE => &mut o.dontroute,
        so::OOBINLINE => &mut o.oobinline,
        _ => &mut o.no_check,
    };
    *place = on;
}

fn set_flag(s: &mut Sock, name: i32, on: bool) -> Result<()> {
    if name == so::LOCK_FILTER && !on && s.opt.locked_filter() {
        return Err(Errno::EPERM);
    }
    let bit = 1u128 << name;
    s.opt.so_flags = if on { s.opt.so_flags | bit } else { s.opt.so_flags & !bit };
    Ok(())
}

fn set_times(s: &mut Sock, name: i32, v: &[u8]) -> Result<()> {
    let o = &mut s.opt;
    match name {
        so::RCVTIMEO => o.rcvtimeo = timeval(v)?,
        so::SNDTIMEO => o.sndtimeo = timeval(v)?,
        _ => {
            let (on, secs) = (flag(v)?, int(v.get(4..).unwrap_or(&[]))?);
            if on {
                o.linger_secs = secs as u32;
            }
            o.linger = on.then_some(secs.max(0) as u32);
        }
    }
    Ok(())
}

fn set_stamping(s: &mut Sock, n: u32) -> Result<()> {
    let asks = |bit| n & bit != 0;
    let connected = matches!(s.body, Body::Conn(_));
    if n & !STAMPING_ALL != 0
        || asks(STAMPING_OPT_ID_TCP) && !asks(STAMPING_OPT_ID)
        || asks(STAMPING_OPT_STATS) && !asks(STAMPING_OPT_TSONLY)
        || asks(STAMPING_OPT_ID) && s.ty == SockType::Stream && !connected
    {
        return Err(Errno::EINVAL);
    }
    if asks(STAMPING_BIND_PHC) {
        return Err(Errno::EOPNOTSUPP);
    }
    let before = core::mem::replace(&mut s.opt.stamping, n);
    s.stamps_begin(before);
    Ok(())
}

fn set_number(s: &mut Sock, name: i32, n: i32, v: &[u8]) -> Result<()> {
    let stream = s.ty == SockType::Stream;
    let udp = plain_udp(s);
    let o = &mut s.opt;
    match name {
        so::TIMESTAMP | so::TIMESTAMPNS | so::TIMESTAMP_NEW | so::TIMESTAMPNS_NEW => {
            o.timestamp = if n != 0 { name as u8 } else { 0 };
        }
        so::RCVLOWAT => {
            let most = if stream { RCVLOWAT_MAX } else { i32::MAX };
            o.rcvlowat = if n < 0 { most } else { n.clamp(1, most) };
        }
        so::PRIORITY => o.priority = n,
        so::TXPRIO if !(0..8).contains(&n) => return Err(Errno::EINVAL),
        so::TXPRIO => o.txprio = n as u8,
        so::MARK => o.mark = n as u32,
        so::BINDTOIFINDEX => o.bound_dev = u32::try_from(n).map_err(|_| Errno::EINVAL)?,
        // Nothing is left of it in Linux either.
        so::BSDCOMPAT | so::CNX_ADVICE => {}
        // What is looked at of a datagram stands behind its header in the program's descriptor.
        so::PEEK_OFF if s.ty != SockType::Stream && (n >= 0 || !udp) => {
            return Err(Errno::EOPNOTSUPP);
        }
        so::PEEK_OFF => o.peek_off = n,
        so::BUSY_POLL => o.busy_poll = u32::try_from(n).map_err(|_| Errno::EINVAL)? as i32,
        so::BUSY_POLL_BUDGET => drop(u16::try_from(n).map_err(|_| Errno::EINVAL)?),
        so::MAX_PACING_RATE => {
            let long = v.first_chunk::<8>().map(|b| u64::from_ne_bytes(*b));
            o.max_pacing = long.unwrap_or(if n == -1 { u64::MAX } else { u64::from(n as u32) });
        }
        so::INCOMING_CPU => o.incoming_cpu = n,
        // No eBPF: what the descriptor is, is not looked at.
        so::ATTACH_BPF | so::ATTACH_REUSEPORT_EBPF if n < 0 => return Err(Errno::EBADF),
        so::ATTACH_BPF | so::ATTACH_REUSEPORT_EBPF => return Err(Errno::EINVAL),
        // A copy is made in any case; EOPNOTSUPP makes programs go without.
        so::ZEROCOPY if s.ty != SockType::Stream && s.proto != 17 => return Err(Errno::EOPNOTSUPP),
        so::ZEROCOPY if !(0..=1).contains(&n) => return Err(Errno::EINVAL),
        so::ZEROCOPY if n == 1 => return Err(Errno::EOPNOTSUPP),
        so::ZEROCOPY => {}
        // Times of departure need a queue that knows them (sch_fq, sch_etf).
        so::TXTIME if v.len() != 8 => return Err(Errno::EINVAL),
        so::TXTIME => return Err(Errno::EOPNOTSUPP),
        so::BUF_LOCK => o.buf_lock = u8::try_from(n).ok().filter(|n| *n <= 3).ok_or(Errno::EINVAL)?,
        so::RESERVE_MEM if n < 0 => return Err(Errno::EINVAL),
        so::PASSCRED | so::PASSSEC | so::PASSPIDFD | so::PASSRIGHTS | so::RESERVE_MEM => {
            return Err(Errno::EOPNOTSUPP);
        }
        so::TXREHASH if !stream => return Err(Errno::EOPNOTSUPP),
        so::TXREHASH if !(-1..=1).contains(&n) => return Err(Errno::EINVAL),
        so::TXREHASH => o.txrehash = n != 0,
        _ => return Err(Errno::ENOPROTOOPT),
    }
    Ok(())
}

fn get_number(s: &Sock, name: i32) -> Result<i32> {
    let o = &s.opt;
    Ok(match name {
        so::REUSEADDR => i32::from(o.reuseaddr),
        so::REUSEPORT => i32::from(o.reuseport),
        so::KEEPALIVE => i32::from(o.keepalive),
        so::BROADCAST => i32::from(o.broadcast),
        so::DONTROUTE => i32::from(o.dontroute),
        so::OOBINLINE => i32::from(o.oobinline),
        so::NO_CHECK => i32::from(o.no_check),
        so::TIMESTAMP | so::TIMESTAMPNS | so::TIMESTAMP_NEW | so::TIMESTAMPNS_NEW => {
            i32::from(i32::from(o.timestamp) == name)
        }
        so::SNDBUF => o.sndbuf as i32,
        so::RCVBUF => o.rcvbuf as i32,
        so::RCVLOWAT => o.rcvlowat,
        so::SNDLOWAT => 1,
        so::PRIORITY => o.priority,
        so::TXPRIO => o.txprio.into(),
        so::MARK => o.mark as i32,
        so::TYPE => s.ty.raw(),
        so::PROTOCOL => i32::from(s.proto),
        so::DOMAIN => af(s.family),
        so::ACCEPTCONN => i32::from(s.is_listening()),
        so::BINDTOIFINDEX => o.bound_dev as i32,
        so::BSDCOMPAT | so::RESERVE_MEM | so::INCOMING_NAPI_ID => 0,
        so::PEEK_OFF if s.ty != SockType::Stream && !plain_udp(s) => return Err(Errno::EOPNOTSUPP),
        so::PEEK_OFF => o.peek_off,
        so::BUSY_POLL => o.busy_poll,
        so::BPF_EXTENSIONS => BPF_EXTENSIONS,
        so::INCOMING_CPU => o.incoming_cpu,
        so::BUF_LOCK => i32::from(o.buf_lock),
        so::TXREHASH if s.ty == SockType::Stream => i32::from(o.txrehash),
        so::PASSCRED | so::PASSSEC | so::PASSPIDFD | so::PASSRIGHTS | so::TXREHASH => {
            return Err(Errno::EOPNOTSUPP);
        }
        so::PEERGROUPS | so::PEERPIDFD => return Err(Errno::ENODATA),
        _ => return Err(Errno::ENOPROTOOPT),
    })
}

/// SO_MEMINFO: what `SK_MEMINFO_*` count (linux/sock_diag.h): receive buffer used and its size, send buffer used and its
/// size, then what has no counterpart here: reserved, queued for output, options, backlog; last the drops.
fn meminfo(s: &Sock) -> [u8; 36] {
    let (rx, tx) = match &s.body {
        Body::Dgram(d) => (d.rx_bytes, 0),
        Body::Conn(c) => (c.tcb.readable(), c.tcb.unsent_or_unacked()),
        _ => (0, 0),
    };
    let words = [rx as u32, s.opt.rcvbuf, tx as u32, s.opt.sndbuf, 0, tx as u32, 0, 0, 0];
    let mut b = [0; 36];
    for (to, w) in b.chunks_exact_mut(4).zip(words) {
        to.copy_from_slice(&w.to_ne_bytes());
    }
    b
}

/// SO_PEERNAME: the peer's `struct sockaddr_in`; it must fit.
fn peer_name(s: &Sock, out: &mut [u8]) -> Result<usize> {
    let Some(SocketAddr::V4(a)) = s.remote else { return Err(Errno::ENOTCONN) };
    let mut b = [0; 16];
    b[..2].copy_from_slice(&2u16.to_ne_bytes());
    b[2..4].copy_from_slice(&a.port().to_be_bytes());
    b[4..8].copy_from_slice(&a.ip().octets());
    if out.len() > b.len() { Err(Errno::EINVAL) } else { Ok(put(out, &b)) }
}

/// SO_GET_FILTER: nothing without a filter. One that is there is not shown: the option counts in instructions, values of
/// the socket protocol in bytes.
fn get_filter(s: &Sock) -> Result<usize> {
    if s.opt.filter.is_some() { Err(Errno::EOPNOTSUPP) } else { Ok(0) }
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

/// UDP and UDP-Lite: what is neither a ping socket nor a raw one.
fn plain_udp(s: &Sock) -> bool {
    s.ty == SockType::Dgram && matches!(s.proto, 17 | 136)
}
