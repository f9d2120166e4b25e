//! Options at IPPROTO_IP (ip(7)) and IPPROTO_IPV6 (ipv6(7)).
//!
//! IP_RECVERR makes errors reach unconnected sockets too (SO_ERROR, next call); there is no queue of extended
//! errors, MSG_ERRQUEUE finds nothing. IP_RETOPTS is kept, and no control message comes of it: options of received packets
//! end in the IP layer. Source-specific multicast, IP_TRANSPARENT and IP_ROUTER_ALERT are
//! ENOPROTOOPT.

use super::Sockets;
use super::mcast::Mreq;
use super::options::{flag, int, int_or_byte, put, put_int, put_int_or_byte};
use super::sock::{DEFAULT_TTL, pmtudisc};
use super::types::{SockId, SockType};
use crate::cx::Cx;
use crate::net::Net;
use crate::packet::Family;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use iopkt_base::{Errno, Result};

/// Names at IPPROTO_IP (linux/in.h).
#[allow(missing_docs)]
mod ip {
    pub const TOS: i32 = 1;
    pub const TTL: i32 = 2;
    pub const HDRINCL: i32 = 3;
    pub const OPTIONS: i32 = 4;
    pub const RETOPTS: i32 = 7;
    pub const PKTINFO: i32 = 8;
    pub const MTU_DISCOVER: i32 = 10;
    pub const RECVERR: i32 = 11;
    pub const RECVTTL: i32 = 12;
    pub const RECVTOS: i32 = 13;
    pub const MTU: i32 = 14;
    pub const FREEBIND: i32 = 15;
    pub const BIND_ADDRESS_NO_PORT: i32 = 24;
    pub const MULTICAST_IF: i32 = 32;
    pub const MULTICAST_TTL: i32 = 33;
    pub const MULTICAST_LOOP: i32 = 34;
    pub const ADD_MEMBERSHIP: i32 = 35;
    pub const DROP_MEMBERSHIP: i32 = 36;
    pub const MULTICAST_ALL: i32 = 49;
}

/// Names at IPPROTO_IPV6 (linux/in6.h).
#[allow(missing_docs)]
mod ip6 {
    pub const UNICAST_HOPS: i32 = 16;
    pub const MULTICAST_IF: i32 = 17;
    pub const MULTICAST_HOPS: i32 = 18;
    pub const MULTICAST_LOOP: i32 = 19;
    pub const JOIN_GROUP: i32 = 20;
    pub const LEAVE_GROUP: i32 = 21;
    pub const MTU_DISCOVER: i32 = 23;
    pub const MTU: i32 = 24;
    pub const RECVERR: i32 = 25;
    pub const V6ONLY: i32 = 26;
    pub const MULTICAST_ALL: i32 = 29;
    pub const RECVPKTINFO: i32 = 49;
    pub const RECVHOPLIMIT: i32 = 51;
    pub const RECVTCLASS: i32 = 66;
    pub const TCLASS: i32 = 67;
}

/// Most bytes of IPv4 options.
const MAX_OPTIONS: usize = 40;

/// A TTL: 1 to 255, or -1 for the default.
fn ttl(v: i32) -> Result<Option<u8>> {
    match v {
        -1 => Ok(None),
        1..=255 => Ok(Some(v as u8)),
        _ => Err(Errno::EINVAL),
    }
}

fn byte(v: i32) -> Result<u8> {
    u8::try_from(v).map_err(|_| Errno::EINVAL)
}

/// IP_MULTICAST_TTL: 0 to 255, -1 for 1.
fn mcast_ttl(v: i32) -> Result<u8> {
    if v == -1 { Ok(1) } else { byte(v) }
}

fn discover(v: i32) -> Result<u8> {
    byte(v).ok().filter(|d| *d <= pmtudisc::OMIT).ok_or(Errno::EINVAL)
}

impl Sockets {
    pub(super) fn set_ip(
        &mut self,
        cx: &mut Cx,
        net: &mut Net,
        id: SockId,
        name: i32,
        v: &[u8],
    ) -> Result<()> {
        let s = self.table.get_mut(id)?;
        let raw = s.ty == SockType::Raw;
        let stream = s.ty == SockType::Stream;
        let o = &mut s.opt;
        let truth = || int_or_byte(v).map(|v| v != 0);
        match name {
            // The two ECN bits of a stream are the stack's (ip(7)).
            ip::TOS if stream => o.tos = (int_or_byte(v)? as u8 & !3) | (o.tos & 3),
            ip::TOS => o.tos = int_or_byte(v)? as u8,
            ip::TTL => o.ttl = ttl(int_or_byte(v)?)?,
            ip::HDRINCL if raw => o.hdrincl = truth()?,
            ip::OPTIONS => o.ip_options = ip_options(v)?,
            ip::RETOPTS => o.retopts = truth()?,
            ip::PKTINFO => o.pktinfo = truth()?,
            ip::MTU_DISCOVER => o.mtu_discover = discover(int_or_byte(v)?)?,
            ip::RECVERR => o.recverr = truth()?,
            ip::RECVTTL => o.recvttl = truth()?,
            ip::RECVTOS => o.recvtos = truth()?,
            ip::FREEBIND => o.freebind = truth()?,
            ip::BIND_ADDRESS_NO_PORT => o.bind_no_port = truth()?,
            ip::MULTICAST_TTL if stream => return Err(Errno::EINVAL),
            ip::MULTICAST_TTL => o.mcast_ttl = mcast_ttl(int_or_byte(v)?)?,
            ip::MULTICAST_LOOP => o.mcast_loop = truth()?,
            ip::MULTICAST_ALL => o.mcast_all = truth()?,
            ip::MULTICAST_IF if stream => return Err(Errno::EINVAL),
            ip::MULTICAST_IF => return self.set_mcast_if(net, id, v),
            ip::ADD_MEMBERSHIP => {
                let r = Mreq::parse(v)?;
                if !r.group.is_multicast() {
                    return Err(Errno::EINVAL);
                }
                let ifindex = r.interface(net)?;
                return self.join(cx, net, id, r.group.into(), ifindex);
            }
            ip::DROP_MEMBERSHIP => {
                let r = Mreq::parse(v)?;
                let anywhere = r.ifindex == 0 && r.addr.is_unspecified();
                let ifindex = if anywhere { 0 } else { r.interface(net)? };
                return self.leave(cx, net, id, r.group.into(), ifindex);
            }
            _ => return Err(Errno::ENOPROTOOPT),
        }
        self.touch(cx, id);
        Ok(())
    }

    pub(super) fn get_ip(&mut self, net: &Net, id: SockId, name: i32, out: &mut [u8]) -> Result<usize> {
        let s = self.table.get_mut(id)?;
        let o = &s.opt;
        let v = match name {
            ip::TOS => i32::from(o.tos),
            ip::TTL => i32::from(o.ttl.unwrap_or(DEFAULT_TTL)),
            ip::HDRINCL if s.ty == SockType::Raw => i32::from(o.hdrincl),
            ip::OPTIONS => return Ok(put(out, &o.ip_options)),
            ip::RETOPTS => i32::from(o.retopts),
            ip::PKTINFO => i32::from(o.pktinfo),
            ip::MTU_DISCOVER => i32::from(o.mtu_discover),
            ip::RECVERR => i32::from(o.recverr),
            ip::RECVTTL => i32::from(o.recvttl),
            ip::RECVTOS => i32::from(o.recvtos),
            ip::FREEBIND => i32::from(o.freebind),
            ip::BIND_ADDRESS_NO_PORT => i32::from(o.bind_no_port),
            ip::MULTICAST_TTL => i32::from(o.mcast_ttl),
            ip::MULTICAST_LOOP => i32::from(o.mcast_loop),
            ip::MULTICAST_ALL => i32::from(o.mcast_all),
            ip::MULTICAST_IF => {
                let a = match o.mcast_addr {
                    Some(IpAddr::V4(a)) => a,
                    _ => Ipv4Addr::UNSPECIFIED,
                };
                return Ok(put(out, &a.octets()));
            }
            ip::MTU => self.path_mtu(net, id)?,
            _ => return Err(Errno::ENOPROTOOPT),
        };
        Ok(put_int_or_byte(out, v))
    }

    /// IP_MTU: of the path to the peer.
    fn path_mtu(&self, net: &Net, id: SockId) -> Result<i32> {
        let s = self.table.get(id)?;
        let r = s.remote.ok_or(Errno::ENOTCONN)?;
        let p = net.path(r.ip(), Some(s.local), s.opt.bound_dev).map_err(|_| Errno::ENOTCONN)?;
        Ok(p.mtu as i32)
    }

    /// IP_MULTICAST_IF: an address, an `ip_mreq` (its interface part) or an `ip_mreqn`.
    fn set_mcast_if(&mut self, net: &Net, id: SockId, v: &[u8]) -> Result<()> {
        let (addr, index) = match v.len() {
            0..4 => return Err(Errno::EINVAL),
            4..8 => (Ipv4Addr::new(v[0], v[1], v[2], v[3]), 0),
            _ => Mreq::parse(v).map(|r| (r.addr, r.ifindex))?,
        };
        let ifindex = match (index, addr.is_unspecified()) {
            (0, true) => 0,
            (0, false) => match net.if_with_addr(addr.into()) {
                0 => return Err(Errno::EADDRNOTAVAIL),
                i => i,
            },
            (i, _) if net.ifname(i).is_none() => return Err(Errno::EADDRNOTAVAIL),
            (i, _) => i,
        };
        let s = self.table.get_mut(id)?;
        if s.opt.bound_dev != 0 && ifindex != 0 && s.opt.bound_dev != ifindex {
            return Err(Errno::EINVAL);
        }
        s.opt.mcast_if = ifindex;
        let own = || net.primary_addr(ifindex, Family::V4).filter(|_| ifindex != 0);
        s.opt.mcast_addr = if addr.is_unspecified() { own() } else { Some(addr.into()) };
        Ok(())
    }

    pub(super) fn set_ip6(
        &mut self,
        cx: &mut Cx,
        net: &mut Net,
        id: SockId,
        name: i32,
        v: &[u8],
    ) -> Result<()> {
        let s = self.table.get_mut(id)?;
        let o = &mut s.opt;
        match name {
            ip6::UNICAST_HOPS => o.ttl = ttl(int(v)?)?,
            ip6::MULTICAST_HOPS => o.mcast_ttl = mcast_ttl(int(v)?)?,
            ip6::MULTICAST_LOOP => o.mcast_loop = flag(v)?,
            ip6::MULTICAST_ALL => o.mcast_all = flag(v)?,
            ip6::MTU_DISCOVER => o.mtu_discover = discover(int(v)?)?,
            ip6::RECVERR => o.recverr = flag(v)?,
            // Mapped IPv4 peers come with the IPv6 domain; until then every socket is of one family.
            ip6::V6ONLY if !flag(v)? => return Err(Errno::EINVAL),
            ip6::V6ONLY if s.lport != 0 => return Err(Errno::EINVAL),
            ip6::V6ONLY => o.v6only = true,
            ip6::RECVPKTINFO => o.pktinfo = flag(v)?,
            ip6::RECVHOPLIMIT => o.recvttl = flag(v)?,
            ip6::RECVTCLASS => o.recvtos = flag(v)?,
            ip6::TCLASS => o.tos = if int(v)? == -1 { 0 } else { byte(int(v)?)? },
            ip6::MULTICAST_IF => {
                let i = u32::try_from(int(v)?).map_err(|_| Errno::EINVAL)?;
                if i != 0 && net.ifname(i).is_none() {
                    return Err(Errno::ENODEV);
                }
                o.mcast_if = i;
            }
            ip6::JOIN_GROUP | ip6::LEAVE_GROUP => {
                let (group, rest) = v.split_first_chunk::<16>().ok_or(Errno::EINVAL)?;
                let group = IpAddr::V6(Ipv6Addr::from(*group));
                let asked = int(rest)? as u32;
                if name == ip6::LEAVE_GROUP {
                    return self.leave(cx, net, id, group, asked);
                }
                let found =
                    if asked == 0 { net.path(group, None, 0).map_or(0, |p| p.ifindex) } else { asked };
                if net.ifname(found).is_none() {
                    return Err(Errno::ENODEV);
                }
                return self.join(cx, net, id, group, found);
            }
            _ => return Err(Errno::ENOPROTOOPT),
        }
        Ok(())
    }

    pub(super) fn get_ip6(&mut self, net: &Net, id: SockId, name: i32, out: &mut [u8]) -> Result<usize> {
        let s = self.table.get_mut(id)?;
        let o = &s.opt;
        let v = match name {
            ip6::UNICAST_HOPS => i32::from(o.ttl.unwrap_or(DEFAULT_TTL)),
            ip6::MULTICAST_HOPS => i32::from(o.mcast_ttl),
            ip6::MULTICAST_LOOP => i32::from(o.mcast_loop),
            ip6::MULTICAST_ALL => i32::from(o.mcast_all),
            ip6::MULTICAST_IF => o.mcast_if as i32,
            ip6::MTU_DISCOVER => i32::from(o.mtu_discover),
            ip6::RECVERR => i32::from(o.recverr),
            ip6::V6ONLY => i32::from(o.v6only),
            ip6::RECVPKTINFO => i32::from(o.pktinfo),
            ip6::RECVHOPLIMIT => i32::from(o.recvttl),
            ip6::RECVTCLASS => i32::from(o.recvtos),
            ip6::TCLASS => i32::from(o.tos),
            ip6::MTU => self.path_mtu(net, id)?,
            _ => return Err(Errno::ENOPROTOOPT),
        };
        Ok(put_int(out, v))
    }
}

/// IP_OPTIONS: checked for well-formed lengths, padded to a multiple of 4.
fn ip_options(v: &[u8]) -> Result<alloc::vec::Vec<u8>> {
    if v.len() > MAX_OPTIONS {
        return Err(Errno::EINVAL);
    }
    let mut at = 0;
    while at < v.len() {
        at += match v[at] {
            0 => break,
            1 => 1,
            // Source routes would change where a packet goes without the routes knowing: refused.
            131 | 137 => return Err(Errno::EPERM),
            _ => match v.get(at + 1) {
                Some(&n) if n >= 2 && at + usize::from(n) <= v.len() => usize::from(n),
                _ => return Err(Errno::EINVAL),
            },
        };
    }
    let mut o = v.to_vec();
    o.resize(v.len().next_multiple_of(4), 0);
    Ok(o)
}
