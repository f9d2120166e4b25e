//! Multicast membership of sockets (ip(7), RFC 3376's host interface without source filters).
//!
//! A socket remembers the groups it joined; Net counts joins of all sockets and reports them with IGMP.
//! Source-specific membership (IP_ADD_SOURCE_MEMBERSHIP and its kin) is refused with ENOPROTOOPT.

use super::Sockets;
use super::types::SockId;
use crate::cx::Cx;
use crate::net::Net;
use crate::packet::Family;
use core::net::{IpAddr, Ipv4Addr};
use iopkt_base::{Errno, Result};

/// Groups a socket may join (Linux's `igmp_max_memberships`).
const MAX: usize = 20;

/// One membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub group: IpAddr,
    pub ifindex: u32,
}

/// A request in one of Linux's layouts: `ip_mreq` (group, interface address) or `ip_mreqn` (group, address,
/// index).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mreq {
    pub group: Ipv4Addr,
    pub addr: Ipv4Addr,
    pub ifindex: u32,
}

impl Mreq {
    /// # Errors
    /// EINVAL when it is too short for `ip_mreq`, ENODEV for a negative index.
    pub fn parse(b: &[u8]) -> Result<Mreq> {
        let a = |b: &[u8; 4]| Ipv4Addr::new(b[0], b[1], b[2], b[3]);
        let (group, rest) = b.split_first_chunk::<4>().ok_or(Errno::EINVAL)?;
        let (addr, rest) = rest.split_first_chunk::<4>().ok_or(Errno::EINVAL)?;
        let index = rest.first_chunk::<4>().map_or(0, |b| i32::from_ne_bytes(*b));
        let ifindex = u32::try_from(index).map_err(|_| Errno::ENODEV)?;
        Ok(Mreq { group: a(group), addr: a(addr), ifindex })
    }

    /// The interface it means: by index, by address, or the one that the routes give the group.
    pub fn interface(&self, net: &Net) -> Result<u32> {
        let found = match self {
            Mreq { ifindex: i, .. } if *i != 0 => *i,
            Mreq { addr, .. } if !addr.is_unspecified() => net.if_with_addr((*addr).into()),
            _ => net.path(self.group.into(), None, 0).map_or(0, |p| p.ifindex),
        };
        if found == 0 || net.ifname(found).is_none() { Err(Errno::ENODEV) } else { Ok(found) }
    }
}

impl Sockets {
    /// Joins a group.
    ///
    /// # Errors
    /// EINVAL when it is no group, EADDRINUSE when already joined, ENOBUFS at the limit, ENODEV.
    pub(super) fn join(
        &mut self,
        cx: &mut Cx,
        net: &mut Net,
        id: SockId,
        group: IpAddr,
        ifindex: u32,
    ) -> Result<()> {
        let s = self.table.get_mut(id)?;
        if !group.is_multicast() || Family::of(&group) != s.family {
            return Err(Errno::EINVAL);
        }
        let member = Member { group, ifindex };
        let d = s.dgram().map_err(|_| Errno::EPROTO)?;
        if d.groups.contains(&member) {
            return Err(Errno::EADDRINUSE);
        }
        if d.groups.len() >= MAX {
            return Err(Errno::ENOBUFS);
        }
        net.join_group(cx, ifindex, group)?;
        d.groups.push(member);
        Ok(())
    }

    /// Leaves a group; `ifindex` 0 means on whatever interface it was joined.
    ///
    /// # Errors
    /// EADDRNOTAVAIL when it is not a member.
    pub(super) fn leave(
        &mut self,
        cx: &mut Cx,
        net: &mut Net,
        id: SockId,
        group: IpAddr,
        ifindex: u32,
    ) -> Result<()> {
        let d = self.table.get_mut(id)?.dgram().map_err(|_| Errno::EPROTO)?;
        let at = d.groups.iter().position(|g| g.group == group && (ifindex == 0 || g.ifindex == ifindex));
        let g = d.groups.swap_remove(at.ok_or(Errno::EADDRNOTAVAIL)?);
        net.leave_group(cx, g.ifindex, g.group);
        Ok(())
    }
}
