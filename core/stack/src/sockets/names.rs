//! Socket addresses as programs write them, and as the stack keeps them.
//!
//! Outside, an IPv6 socket speaks of IPv6 addresses only: an IPv4 peer is `::ffff:a.b.c.d` (RFC 4291 2.5.5.2, RFC 3493 3.7), a
//! link-local one has its zone in `sin6_scope_id`. Inside, an IPv4 packet has IPv4 addresses whosesoever socket it is, so that
//! one table of connections serves both, and a zone lies in the address ([`iopkt_base::zone`]). What crosses the border passes
//! [`Sock::inward`] or [`Sock::outward`], once.

use super::sock::Sock;
use super::types::{SendOpts, SockType};
use crate::packet::Family;
use core::net::{IpAddr, SocketAddr, SocketAddrV6};
use iopkt_base::{Errno, Result, zone};

impl Sock {
    /// Whether an IPv6 socket serves IPv4 too (IPV6_V6ONLY is off; raw and ping sockets never do).
    pub fn spans(&self) -> bool {
        self.family == Family::V6 && !self.opt.v6only && self.ty != SockType::Raw && !self.is_ping()
    }

    /// Whether this socket's local address and another's could be meant by one packet, this one's being `local`.
    pub fn overlaps(&self, local: IpAddr, other: &Sock) -> bool {
        self.may_mean(local, other.local) || other.may_mean(other.local, local)
    }

    /// Whether a packet to `addr` could be for this socket, bound to `local`; the other way round if `addr` is a wildcard.
    pub fn may_mean(&self, local: IpAddr, addr: IpAddr) -> bool {
        super::ports::overlap(local, addr)
            || (self.spans() && local.is_ipv6() && local.is_unspecified() && addr.is_ipv4())
    }

    /// A program's address as the stack keeps it. `oif` is the interface that the call names besides, 0 for none.
    ///
    /// # Errors
    /// EAFNOSUPPORT for the other family; ENETUNREACH for an IPv4 address on a socket that has IPV6_V6ONLY; EINVAL for a
    /// link-local address without its interface, or with two (ipv6(7)).
    #[inline]
    pub fn inward(&self, a: SocketAddr, oif: u32) -> Result<SocketAddr> {
        match (self.family, a) {
            (Family::V4, SocketAddr::V4(_)) => Ok(a),
            (Family::V6, SocketAddr::V6(x)) => match x.ip().to_ipv4_mapped() {
                Some(_) if !self.spans() => Err(Errno::ENETUNREACH),
                Some(v4) => Ok(SocketAddr::new(v4.into(), x.port())),
                None => Ok(SocketAddr::new(self.zoned(&x, oif)?, x.port())),
            },
            // Linux takes the other family's form of the same thing for datagrams.
            (Family::V6, SocketAddr::V4(_)) if self.spans() && self.ty == SockType::Dgram => Ok(a),
            _ => Err(Errno::EAFNOSUPPORT),
        }
    }

    fn zoned(&self, a: &SocketAddrV6, oif: u32) -> Result<IpAddr> {
        let ip = *a.ip();
        if !zone::is_scoped(&ip) {
            return Ok(ip.into());
        }
        let dev = self.opt.bound_dev;
        let group = if ip.is_multicast() { self.opt.v6.mcast_if } else { 0 };
        let scope = [a.scope_id(), oif, dev, group].into_iter().find(|i| *i != 0).unwrap_or(0);
        let strange = scope > u32::from(u16::MAX) || (dev != 0 && scope != dev);
        if strange || (scope == 0 && !ip.is_multicast()) {
            return Err(Errno::EINVAL);
        }
        Ok(zone::embed(zone::strip(ip), scope).into())
    }

    /// The settings of one call, its source address as the stack keeps it.
    ///
    /// # Errors
    /// As [`Sock::inward`].
    pub fn send_opts(&self, o: &SendOpts) -> Result<SendOpts> {
        let src = o.src.map(|a| self.inward(SocketAddr::new(a, 0), o.oif)).transpose()?;
        Ok(SendOpts { src: src.map(|a| a.ip()), ..o.clone() })
    }

    /// An address of the stack as this socket's program sees it.
    pub fn outward(&self, a: SocketAddr) -> SocketAddr {
        outward(self.family, a)
    }
}

/// An address of the stack as a socket of this family shows it.
pub(crate) fn outward(family: Family, a: SocketAddr) -> SocketAddr {
    match (family, a) {
        (Family::V6, SocketAddr::V4(x)) => SocketAddr::new(x.ip().to_ipv6_mapped().into(), x.port()),
        (Family::V6, SocketAddr::V6(x)) if zone::of(x.ip()) != 0 => {
            SocketAddrV6::new(zone::strip(*x.ip()), x.port(), x.flowinfo(), zone::of(x.ip())).into()
        }
        _ => a,
    }
}
