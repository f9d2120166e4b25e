//! setsockopt(2) and getsockopt(2): which level goes where, and how values are read and written.
//!
//! Levels, names, layouts and errnos are Linux's, because unmodified Linux programs call. An option that does
//! nothing here is not accepted in silence: it is ENOPROTOOPT, or the errno that Linux has for "not you".

use super::Sockets;
use super::sock::Body;
use super::types::{SockId, SockType, proto};
use crate::cx::Cx;
use crate::net::Net;
use crate::packet::Family;
use iopkt_base::{Errno, Result};

/// Levels.
pub(crate) mod level {
    pub const IP: i32 = 0;
    pub const SOCKET: i32 = 1;
    pub const TCP: i32 = 6;
    pub const UDP: i32 = 17;
    pub const UDPLITE: i32 = 136;
    pub const IPV6: i32 = 41;
    pub const RAW: i32 = 255;
    pub const ICMPV6: i32 = 58;
}

/// ICMP_FILTER at SOL_RAW (linux/icmp.h).
const ICMP_FILTER: i32 = 1;
/// ICMP6_FILTER at IPPROTO_ICMPV6 (linux/icmpv6.h).
const ICMP6_FILTER: i32 = 1;
const CHECKSUM6: i32 = super::opt_ip6::ip6::CHECKSUM;

/// A `struct icmp_filter`; what a short one leaves out is 0 (Linux copies what is there).
fn icmp_filter(v: &[u8]) -> u32 {
    let mut b = [0; 4];
    put(&mut b, v);
    u32::from_ne_bytes(b)
}

/// A C `int`.
///
/// # Errors
/// EINVAL when it is too short.
pub(crate) fn int(b: &[u8]) -> Result<i32> {
    b.first_chunk::<4>().map(|c| i32::from_ne_bytes(*c)).ok_or(Errno::EINVAL)
}

/// A C `int` as a truth value.
pub(crate) fn flag(b: &[u8]) -> Result<bool> {
    int(b).map(|v| v != 0)
}

/// A C `int` or, as many IP options allow, one byte.
pub(crate) fn int_or_byte(b: &[u8]) -> Result<i32> {
    match b {
        [] => Err(Errno::EINVAL),
        [x, ..] if b.len() < 4 => Ok(i32::from(*x)),
        _ => int(b),
    }
}

/// Writes as much of a value as there is room for; returns how much.
pub(crate) fn put(out: &mut [u8], v: &[u8]) -> usize {
    let n = out.len().min(v.len());
    out[..n].copy_from_slice(&v[..n]);
    n
}

/// Writes a C `int`.
pub(crate) fn put_int(out: &mut [u8], v: i32) -> usize {
    put(out, &v.to_ne_bytes())
}

/// Writes a C `int`, or one byte when there is no room for more (ip(7)).
pub(crate) fn put_int_or_byte(out: &mut [u8], v: i32) -> usize {
    if out.len() < 4 && (0..256).contains(&v) { put(out, &[v as u8]) } else { put_int(out, v) }
}

impl Sockets {
    /// setsockopt(2), with Linux's levels, names and layouts.
    ///
    /// # Errors
    /// ENOPROTOOPT for what is not there, EINVAL for a value out of range or too short, and those of the option.
    pub fn setsockopt(
        &mut self,
        cx: &mut Cx,
        net: &mut Net,
        id: SockId,
        level: i32,
        name: i32,
        value: &[u8],
    ) -> Result<()> {
        let s = self.table.get_mut(id)?;
        match level {
            level::SOCKET => self.set_socket(cx, net, id, name, value),
            level::IP if s.is_raw6() => Err(Errno::ENOPROTOOPT),
            level::IP => self.set_ip(cx, net, id, name, value),
            level::TCP if s.ty == SockType::Stream => self.set_tcp(cx, id, name, value),
            level::IPV6 if s.family == Family::V6 => self.set_ip6(cx, net, id, name, value),
            level::UDP | level::UDPLITE if s.is_udp_at(level) => self.set_udp(cx, net, id, name, value),
            // IPV6_CHECKSUM, as RFC 2292 had it: of ICMPv6, too, whose sum has its place (ping -N).
            level::RAW
                if s.is_raw6()
                    && s.proto == proto::ICMP6
                    && name == CHECKSUM6
                    && value == 2i32.to_ne_bytes() =>
            {
                Ok(())
            }
            level::RAW if s.is_raw6() && name == CHECKSUM6 => self.set_ip6(cx, net, id, name, value),
            level::ICMPV6 if s.is_raw6() && s.proto == proto::ICMP6 && name == ICMP6_FILTER => {
                super::opt_ip6::set_filter6(s, value)
            }
            level::ICMPV6 if s.is_raw6() && s.proto != proto::ICMP6 => Err(Errno::EOPNOTSUPP),
            level::RAW if s.is_raw6() => int(value).and(Err(Errno::ENOPROTOOPT)),
            level::RAW if s.ty == SockType::Raw && s.proto == proto::ICMP && name == ICMP_FILTER => {
                s.dgram()?.icmp_filter = icmp_filter(value);
                Ok(())
            }
            level::RAW if s.ty == SockType::Raw && name == ICMP_FILTER => Err(Errno::EOPNOTSUPP),
            _ => Err(Errno::ENOPROTOOPT),
        }
    }

    /// getsockopt(2), with Linux's levels, names and layouts; returns the length of the value.
    ///
    /// # Errors
    /// ENOPROTOOPT for what is not there, EINVAL, ENOTCONN (IP_MTU).
    pub fn getsockopt(
        &mut self,
        cx: &mut Cx,
        net: &Net,
        id: SockId,
        level: i32,
        name: i32,
        out: &mut [u8],
    ) -> Result<usize> {
        let s = self.table.get_mut(id)?;
        match level {
            level::SOCKET => self.get_socket(cx, net, id, name, out),
            level::IP if s.is_raw6() => Err(Errno::ENOPROTOOPT),
            level::IP => self.get_ip(net, id, name, out),
            level::TCP if s.ty == SockType::Stream => self.get_tcp(cx, net, id, name, out),
            level::IPV6 if s.family == Family::V6 => self.get_ip6(net, id, name, out),
            level::UDP | level::UDPLITE if s.is_udp_at(level) => super::opt_udp::get_udp(s, name, out),
            level::RAW if s.is_raw6() && name == CHECKSUM6 => self.get_ip6(net, id, name, out),
            level::ICMPV6 if s.is_raw6() && s.proto == proto::ICMP6 && name == ICMP6_FILTER => {
                Ok(put(out, &s.dgram()?.icmp6_filter))
            }
            level::ICMPV6 if s.is_raw6() && s.proto != proto::ICMP6 => Err(Errno::EOPNOTSUPP),
            level::RAW if s.is_raw6() => Err(Errno::ENOPROTOOPT),
            level::RAW if s.ty == SockType::Raw && s.proto == proto::ICMP && name == ICMP_FILTER => {
                Ok(put_int(out, s.dgram()?.icmp_filter as i32))
            }
            level::RAW if s.ty == SockType::Raw && name != ICMP_FILTER => Err(Errno::ENOPROTOOPT),
            // Linux: a level that the socket does not have.
            _ if s.family == Family::V6 => Err(Errno::ENOPROTOOPT),
            _ => Err(Errno::EOPNOTSUPP),
        }
    }

    /// SO_ERROR: the pending error, cleared.
    pub fn take_error(&mut self, id: SockId) -> Option<Errno> {
        self.table.get_mut(id).ok()?.err.take()
    }

    /// Whether an error is pending, which stays so.
    pub fn has_error(&self, id: SockId) -> bool {
        self.table.get(id).is_ok_and(|s| s.err.is_some())
    }

    /// Which control messages a program wants with its datagrams.
    pub fn recv_wants(&self, id: SockId) -> RecvWants {
        let Ok(s) = self.table.get(id) else { return RecvWants::default() };
        let stream = !matches!(s.body, Body::Dgram(_));
        RecvWants {
            pktinfo: s.opt.pktinfo && !stream,
            ttl: s.opt.recvttl && !stream,
            tos: s.opt.recvtos && !stream,
            timestamp: if stream { 0 } else { s.opt.timestamp },
            stamping: s.opt.stamping & STAMPS_RX == STAMPS_RX && !stream,
            origdst: s.opt.ip_flag(super::opt_ip::ip::RECVORIGDSTADDR) && !stream,
            drops: s.opt.so_flags >> super::opt_socket::so::RXQ_OVFL & 1 != 0 && !stream,
            inq: s.opt.tcp.inq && stream,
            v6: if s.family == Family::V6 && !stream { s.opt.v6.asks() } else { 0 },
        }
    }
}

/// SOF_TIMESTAMPING_RX_SOFTWARE, SOF_TIMESTAMPING_SOFTWARE.
const STAMPS_RX: u32 = 8 | 16;

/// Control messages that a program asked for by IP_PKTINFO, IP_RECVTTL, IP_RECVTOS, SO_TIMESTAMP, IP_RECVORIGDSTADDR,
/// SO_RXQ_OVFL, SO_TIMESTAMPING.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // named after the options
pub struct RecvWants {
    pub pktinfo: bool,
    pub ttl: bool,
    pub tos: bool,
    /// The option's number, 0 for none.
    pub timestamp: u8,
    pub stamping: bool,
    pub origdst: bool,
    pub drops: bool,
    /// TCP_INQ, of a stream.
    pub inq: bool,
    /// Those of IPPROTO_IPV6, a bit each: RECVPKTINFO, RECVHOPLIMIT, RECVTCLASS, RECVHOPOPTS, RECVRTHDR, RECVDSTOPTS, RECVORIGDSTADDR,
    /// FLOWINFO, and RFC 2292's PKTINFO, HOPLIMIT, HOPOPTS, RTHDR, DSTOPTS.
    pub v6: u32,
}
