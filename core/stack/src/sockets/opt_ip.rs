//! Options at IPPROTO_IP (ip(7)).
//!
//! IP_RETOPTS and IP_RECVOPTS are kept, and no control message comes of them: options of received packets
//! end in the IP layer. Multicast is in `mcast`. `docs/socket-options.md` has a row for each.

use super::Sockets;
use super::mcast::Mreq;
use super::options::{int_or_byte, put, put_int_or_byte};
use super::sock::{Sock, pmtudisc};
use super::types::{SockId, SockType};
use crate::cx::Cx;
use crate::net::Net;
use crate::packet::Family;
use core::net::{IpAddr, Ipv4Addr};
use iopkt_base::{Errno, Result};

/// Names at IPPROTO_IP (linux/in.h).
#[allow(missing_docs)]
pub(crate) mod ip {
    pub const TOS: i32 = 1;
    pub const TTL: i32 = 2;
    pub const HDRINCL: i32 = 3;
    pub const OPTIONS: i32 = 4;
    pub const ROUTER_ALERT: i32 = 5;
    pub const RECVOPTS: i32 = 6;
    pub const RETOPTS: i32 = 7;
    pub const PKTINFO: i32 = 8;
    pub const PKTOPTIONS: i32 = 9;
    pub const MTU_DISCOVER: i32 = 10;
    pub const RECVERR: i32 = 11;
    pub const RECVTTL: i32 = 12;
    pub const RECVTOS: i32 = 13;
    pub const MTU: i32 = 14;
    pub const FREEBIND: i32 = 15;
    pub const IPSEC_POLICY: i32 = 16;
    pub const XFRM_POLICY: i32 = 17;
    pub const PASSSEC: i32 = 18;
    pub const TRANSPARENT: i32 = 19;
    pub const RECVORIGDSTADDR: i32 = 20;
    pub const MINTTL: i32 = 21;
    pub const NODEFRAG: i32 = 22;
    pub const CHECKSUM: i32 = 23;
    pub const BIND_ADDRESS_NO_PORT: i32 = 24;
    pub const RECVFRAGSIZE: i32 = 25;
    pub const RECVERR_RFC4884: i32 = 26;
    pub const MULTICAST_IF: i32 = 32;
    pub const MULTICAST_TTL: i32 = 33;
    pub const MULTICAST_LOOP: i32 = 34;
    pub const ADD_MEMBERSHIP: i32 = 35;
    pub const DROP_MEMBERSHIP: i32 = 36;
    pub const UNBLOCK_SOURCE: i32 = 37;
    pub const BLOCK_SOURCE: i32 = 38;
    pub const ADD_SOURCE_MEMBERSHIP: i32 = 39;
    pub const DROP_SOURCE_MEMBERSHIP: i32 = 40;
    pub const MSFILTER: i32 = 41;
    pub const MCAST_JOIN_GROUP: i32 = 42;
    pub const MCAST_BLOCK_SOURCE: i32 = 43;
    pub const MCAST_UNBLOCK_SOURCE: i32 = 44;
    pub const MCAST_LEAVE_GROUP: i32 = 45;
    pub const MCAST_JOIN_SOURCE_GROUP: i32 = 46;
    pub const MCAST_MSFILTER: i32 = 48;
    pub const MULTICAST_ALL: i32 = 49;
    pub const UNICAST_IF: i32 = 50;
    pub const LOCAL_PORT_RANGE: i32 = 51;
    pub const PROTOCOL: i32 = 52;
}

/// Options that are on or off, and kept as bits of [`super::sock::Opts::ip_flags`].
const FLAGS: [i32; 8] = [
    ip::RECVOPTS,
    ip::PASSSEC,
    ip::TRANSPARENT,
    ip::RECVORIGDSTADDR,
    ip::NODEFRAG,
    ip::CHECKSUM,
    ip::RECVFRAGSIZE,
    ip::RECVERR_RFC4884,
];

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

/// What Linux makes of a short value: four bytes are an int, fewer a byte, none is 0.
fn loose(v: &[u8]) -> i32 {
    int_or_byte(v).unwrap_or(0)
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
        if FLAGS.contains(&name) {
            return set_flag(s, name, v);
        }
        let (stream, v6) = (s.ty == SockType::Stream, s.family == Family::V6);
        let o = &mut s.opt;
        match name {
            ip::PKTINFO
            | ip::RETOPTS
            | ip::RECVERR
            | ip::RECVTTL
            | ip::RECVTOS
            | ip::BIND_ADDRESS_NO_PORT => {
                set_known_flag(s, name, loose(v) != 0);
            }
            // The two ECN bits of a stream are the stack's (ip(7)).
            ip::TOS if stream => o.tos = (loose(v) as u8 & !3) | (o.tos & 3),
            ip::TOS => o.tos = loose(v) as u8,
            ip::TTL => o.ttl = ttl(int_or_byte(v)?)?,
            ip::MINTTL => o.min_ttl = byte(int_or_byte(v)?)?,
            ip::HDRINCL if s.ty == SockType::Raw => o.hdrincl = loose(v) != 0,
            ip::OPTIONS => o.ip_options = ip_options(v)?,
            ip::MTU_DISCOVER => o.mtu_discover = discover(loose(v))?,
            ip::FREEBIND => o.freebind = int_or_byte(v)? != 0,
            // Packets of other hosts are not taken from the IP layer to raw sockets.
            ip::ROUTER_ALERT if s.ty == SockType::Raw => return Err(Errno::EOPNOTSUPP),
            ip::ROUTER_ALERT => return Err(Errno::EINVAL),
            // No IPsec.
            ip::IPSEC_POLICY | ip::XFRM_POLICY if v.is_empty() => return Err(Errno::EMSGSIZE),
            ip::IPSEC_POLICY => return Err(Errno::EOPNOTSUPP),
            ip::XFRM_POLICY if v6 => return Err(Errno::EOPNOTSUPP),
            ip::XFRM_POLICY => return Err(Errno::EINVAL),
            ip::UNICAST_IF => return self.set_unicast_if(net, id, v),
            ip::LOCAL_PORT_RANGE => {
                let n = u32::from_ne_bytes(v.try_into().map_err(|_| Errno::EINVAL)?);
                let (lo, hi) = (n as u16, (n >> 16) as u16);
                if lo != 0 && hi != 0 && lo > hi {
                    return Err(Errno::EINVAL);
                }
                o.port_range = (lo, hi);
            }
            ip::MULTICAST_TTL if stream => return Err(Errno::EINVAL),
            ip::MULTICAST_TTL => o.mcast_ttl = mcast_ttl(int_or_byte(v)?)?,
            ip::MULTICAST_LOOP => o.mcast_loop = int_or_byte(v)? != 0,
            ip::MULTICAST_ALL => {
                o.mcast_all = match int_or_byte(v)? {
                    n @ 0..=1 => n == 1,
                    _ => return Err(Errno::EINVAL),
                }
            }
            ip::MULTICAST_IF if stream => return Err(Errno::EINVAL),
            ip::MULTICAST_IF => return self.set_mcast_if(net, id, v),
            ip::ADD_MEMBERSHIP..=ip::MCAST_MSFILTER => return self.set_membership(cx, net, id, name, v),
            _ => return Err(Errno::ENOPROTOOPT),
        }
        self.touch(cx, id);
        Ok(())
    }

    pub(super) fn get_ip(&mut self, net: &Net, id: SockId, name: i32, out: &mut [u8]) -> Result<usize> {
        let s = self.table.get_mut(id)?;
        let o = &s.opt;
        if FLAGS.contains(&name) {
            return Ok(put_int_or_byte(out, i32::from(o.ip_flag(name))));
        }
        let v = match name {
            ip::TOS => i32::from(o.tos),
            ip::TTL => i32::from(o.ttl.unwrap_or_else(|| super::opt_ip6::used_hops(s, net, true))),
            ip::MINTTL => i32::from(o.min_ttl),
            ip::HDRINCL => i32::from(o.hdrincl && s.ty == SockType::Raw),
            ip::OPTIONS => return Ok(put(out, &o.ip_options)),
            ip::RETOPTS => i32::from(o.retopts),
            ip::PKTINFO => i32::from(o.pktinfo),
            ip::PKTOPTIONS if s.ty != SockType::Stream => return Err(Errno::ENOPROTOOPT),
            // Control messages of the SYN: nothing is kept of it.
            ip::PKTOPTIONS => return Ok(0),
            ip::MTU_DISCOVER => i32::from(o.mtu_discover),
            ip::RECVERR => i32::from(o.recverr),
            ip::RECVTTL => i32::from(o.recvttl),
            ip::RECVTOS => i32::from(o.recvtos),
            ip::FREEBIND => i32::from(o.freebind),
            ip::ROUTER_ALERT => 0,
            ip::BIND_ADDRESS_NO_PORT => i32::from(o.bind_no_port),
            ip::UNICAST_IF => o.unicast_if.to_be() as i32,
            ip::LOCAL_PORT_RANGE => i32::from(o.port_range.0) | i32::from(o.port_range.1) << 16,
            // Linux's `inet_num`: the protocol of a raw socket, the port of others.
            ip::PROTOCOL if s.ty == SockType::Raw => i32::from(s.proto),
            ip::PROTOCOL => i32::from(s.lport),
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
            ip::MSFILTER | ip::MCAST_MSFILTER => return self.get_msfilter(net, id, name, out),
            _ => return Err(Errno::ENOPROTOOPT),
        };
        Ok(put_int_or_byte(out, v))
    }

    /// IP_UNICAST_IF: an interface index in network byte order.
    fn set_unicast_if(&mut self, net: &Net, id: SockId, v: &[u8]) -> Result<()> {
        let i = u32::from_be_bytes(v.try_into().map_err(|_| Errno::EINVAL)?);
        let s = self.table.get_mut(id)?;
        if i != 0 && net.ifname(i).is_none() {
            return Err(Errno::EADDRNOTAVAIL);
        }
        if s.opt.bound_dev != 0 && i != 0 && s.opt.bound_dev != i {
            return Err(Errno::EINVAL);
        }
        s.opt.unicast_if = i;
        Ok(())
    }

    /// IP_MTU: of the path to the peer.
    pub(super) fn path_mtu(&self, net: &Net, id: SockId) -> Result<i32> {
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
}

fn set_known_flag(s: &mut Sock, name: i32, on: bool) {
    let o = &mut s.opt;
    let place = match name {
        ip::PKTINFO => &mut o.pktinfo,
        ip::RETOPTS => &mut o.retopts,
        ip::RECVERR => &mut o.recverr,
        ip::RECVTTL => &mut o.recvttl,
        ip::RECVTOS => &mut o.recvtos,
        _ => &mut o.bind_no_port,
    };
    *place = on;
    if name == ip::RECVERR && !on {
        s.errors.clear();
    }
}

fn set_flag(s: &mut Sock, name: i32, v: &[u8]) -> Result<()> {
    let raw = s.ty == SockType::Raw;
    let n = loose(v);
    match name {
        ip::TRANSPARENT if v.is_empty() => return Err(Errno::EINVAL),
        ip::NODEFRAG if !raw => return Err(Errno::ENOPROTOOPT),
        ip::RECVFRAGSIZE if s.ty == SockType::Stream => return Err(Errno::EINVAL),
        ip::RECVERR_RFC4884 if !(0..=1).contains(&n) => return Err(Errno::EINVAL),
        _ => {}
    }
    let bit = 1u64 << name;
    s.opt.ip_flags = if n != 0 { s.opt.ip_flags | bit } else { s.opt.ip_flags & !bit };
    Ok(())
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
    // What follows the end of the options is nothing.
    o[at.min(v.len())..].fill(0);
    o.resize(v.len().next_multiple_of(4), 0);
    Ok(o)
}
