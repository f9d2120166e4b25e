//! Groups of IPv6 at IPPROTO_IPV6 (RFC 3493 section 5.2, RFC 3678): the forms `ipv6_mreq`, `group_req`, `group_source_req` and
//! `group_filter`. What a membership is, and what of all filters MLDv2 is told, is in `mcast`.

use super::Sockets;
use super::mcast::{GROUP_FILTER, GROUP_REQ, GROUP_SOURCE_REQ, STORAGE, edit, list, read_filter, word};
use super::opt_ip::ip;
use super::opt_ip6::ip6;
use super::types::SockId;
use crate::cx::Cx;
use crate::group::GroupFilter;
use crate::net::Net;
use core::net::{IpAddr, Ipv6Addr};
use iopkt_base::{Errno, Result, zone};

/// `sizeof(struct ipv6_mreq)`.
const MREQ: usize = 20;

/// The address of a `struct sockaddr_in6` at `at`; `None` for other families.
fn sockaddr6(b: &[u8], at: usize) -> Option<Ipv6Addr> {
    let family = u16::from_ne_bytes(b.get(at..at + 2)?.try_into().ok()?);
    let a: [u8; 16] = b.get(at + 8..at + 24)?.try_into().ok()?;
    (family == 10).then_some(Ipv6Addr::from(a))
}

/// A group and an interface's index, 0 for the one that the routes give the group.
struct Mreq6 {
    group: Ipv6Addr,
    ifindex: u32,
}

impl Mreq6 {
    fn at(v: &[u8]) -> Result<Mreq6> {
        Ok(Mreq6 { group: sockaddr6(v, 8).ok_or(Errno::EADDRNOTAVAIL)?, ifindex: word(v, 0)? })
    }

    /// # Errors
    /// EINVAL when it is no group, ENODEV without such an interface.
    fn place(&self, net: &Net) -> Result<(IpAddr, u32)> {
        if !self.group.is_multicast() {
            return Err(Errno::EINVAL);
        }
        let found = match self.ifindex {
            0 => net.path(self.group.into(), None, 0).map_or(0, |p| p.ifindex),
            i => i,
        };
        if net.ifname(found).is_none() {
            return Err(Errno::ENODEV);
        }
        Ok((zone::embed_ip(self.group.into(), found), found))
    }
}

impl Sockets {
    /// IPV6_JOIN_GROUP, IPV6_LEAVE_GROUP, and MCAST_JOIN_GROUP to MCAST_MSFILTER.
    pub(super) fn set_membership6(
        &mut self,
        cx: &mut Cx,
        net: &mut Net,
        id: SockId,
        name: i32,
        v: &[u8],
    ) -> Result<()> {
        let stream = self.is_stream(id)?;
        let least = match name {
            ip6::JOIN_GROUP | ip6::LEAVE_GROUP => MREQ,
            ip::MCAST_JOIN_GROUP | ip::MCAST_LEAVE_GROUP => GROUP_REQ,
            ip::MCAST_MSFILTER => GROUP_FILTER,
            _ => GROUP_SOURCE_REQ,
        };
        if v.len() < least {
            return Err(Errno::EINVAL);
        }
        match name {
            ip6::JOIN_GROUP..=ip6::LEAVE_GROUP | ip::MCAST_JOIN_GROUP | ip::MCAST_LEAVE_GROUP if stream => {
                Err(Errno::EPROTO)
            }
            ip6::JOIN_GROUP | ip6::LEAVE_GROUP => {
                let group: [u8; 16] = v[..16].try_into().map_err(|_| Errno::EINVAL)?;
                let r = Mreq6 { group: group.into(), ifindex: word(v, 16)? };
                self.join_or_leave6(cx, net, id, &r, name == ip6::JOIN_GROUP)
            }
            ip::MCAST_JOIN_GROUP | ip::MCAST_LEAVE_GROUP => {
                let r = Mreq6::at(v)?;
                self.join_or_leave6(cx, net, id, &r, name == ip::MCAST_JOIN_GROUP)
            }
            ip::MCAST_MSFILTER => {
                let (exclude, sources) = (word(v, 136)?, word(v, 140)? as usize);
                let list = list(v, GROUP_FILTER, sources, STORAGE, |b, at| sockaddr6(b, at).map(IpAddr::V6))?;
                let (group, ifindex) = Mreq6::at(v)?.place(net)?;
                self.replace_filter(cx, net, id, group, ifindex, exclude, list)
            }
            _ => {
                let (group, ifindex) = Mreq6::at(v)?.place(net)?;
                let source = sockaddr6(v, 8 + STORAGE).ok_or(Errno::EADDRNOTAVAIL)?;
                let e = edit(name);
                if !e.exclude && e.add {
                    match self.join_filtered(cx, net, id, group, ifindex, GroupFilter::NONE) {
                        Ok(()) | Err(Errno::EADDRINUSE) => {}
                        Err(err) => return Err(err),
                    }
                }
                let source = zone::embed_ip(source.into(), ifindex);
                self.edit_source(cx, net, id, group, ifindex, source, e)
            }
        }
    }

    fn join_or_leave6(
        &mut self,
        cx: &mut Cx,
        net: &mut Net,
        id: SockId,
        r: &Mreq6,
        join: bool,
    ) -> Result<()> {
        if join {
            let (group, ifindex) = r.place(net)?;
            return self.join(cx, net, id, group, ifindex);
        }
        if !r.group.is_multicast() {
            return Err(Errno::EINVAL);
        }
        self.leave(cx, net, id, r.group.into(), r.ifindex)
    }

    /// MCAST_MSFILTER, read. `out` holds what the program asks about.
    pub(super) fn get_msfilter6(&self, net: &Net, id: SockId, out: &mut [u8]) -> Result<usize> {
        if out.len() < GROUP_FILTER {
            return Err(Errno::EINVAL);
        }
        let (group, ifindex) = Mreq6::at(out)?.place(net)?;
        let f = self.filter_of(id, group, ifindex)?;
        Ok(read_filter(f, out, GROUP_FILTER, STORAGE, |b, a| {
            if let IpAddr::V6(a) = a {
                b[..2].copy_from_slice(&10u16.to_ne_bytes());
                b[8..24].copy_from_slice(&zone::strip(a).octets());
            }
        }))
    }
}
