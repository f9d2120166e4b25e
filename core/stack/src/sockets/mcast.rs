//! Multicast membership of sockets, any-source and source-specific (ip(7), RFC 3376 section 2, RFC 3678).
//!
//! A socket remembers the groups it joined, on which interface, and its filter there: which sources it hears (INCLUDE), or
//! which it does not (EXCLUDE; of nothing, for who just joined). Net counts the joins of all sockets; what the filters of
//! all sockets come to is told to it after each change ([`Net::filter_group`]), and IGMPv3 reports it.
//!
//! The forms are Linux's: `ip_mreq`, `ip_mreqn`, `ip_mreq_source`, `ip_msfilter`, and the protocol-independent `group_req`,
//! `group_source_req` and `group_filter` with IPv4 addresses in them. So are the errors.

use super::Sockets;
use super::opt_ip::ip;
use super::types::SockId;
use crate::cx::Cx;
use crate::group::GroupFilter;
use crate::net::Net;
use crate::packet::Family;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};
use iopkt_base::{Errno, Result, zone};

/// Groups a socket may join (Linux's `igmp_max_memberships`).
const MAX: usize = 20;
/// Sources in a filter (Linux's `igmp_max_msf`).
const MAX_SOURCES: usize = 10;
/// `sizeof(struct group_req)`, `group_source_req`, and the parts of `group_filter` and `ip_msfilter` before the list.
pub(super) const GROUP_REQ: usize = 136;
pub(super) const GROUP_SOURCE_REQ: usize = 264;
pub(super) const GROUP_FILTER: usize = 144;
const MSFILTER: usize = 16;
/// `sizeof(struct sockaddr_storage)`.
pub(super) const STORAGE: usize = 128;

/// One membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub group: IpAddr,
    pub ifindex: u32,
    pub filter: GroupFilter,
}

/// A group and an interface by address or index: `ip_mreq`, `ip_mreqn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mreq {
    pub group: Ipv4Addr,
    pub addr: Ipv4Addr,
    pub ifindex: u32,
}

fn ip4(b: &[u8], at: usize) -> Result<Ipv4Addr> {
    let b: [u8; 4] = b.get(at..at + 4).and_then(|b| b.try_into().ok()).ok_or(Errno::EINVAL)?;
    Ok(Ipv4Addr::from(b))
}

pub(super) fn word(b: &[u8], at: usize) -> Result<u32> {
    let b = b.get(at..at + 4).and_then(|b| b.try_into().ok()).ok_or(Errno::EINVAL)?;
    Ok(u32::from_ne_bytes(b))
}

/// The address of a `struct sockaddr_in` at `at`; `None` for other families.
fn sockaddr(b: &[u8], at: usize) -> Option<Ipv4Addr> {
    let family = u16::from_ne_bytes(b.get(at..at + 2)?.try_into().ok()?);
    if family == 2 { ip4(b, at + 4).ok() } else { None }
}

impl Mreq {
    /// # Errors
    /// EINVAL when it is too short for `ip_mreq`, ENODEV for a negative index.
    pub fn parse(b: &[u8]) -> Result<Mreq> {
        let ifindex = match b.len() {
            12.. => u32::try_from(word(b, 8)? as i32).map_err(|_| Errno::ENODEV)?,
            _ => 0,
        };
        Ok(Mreq { group: ip4(b, 0)?, addr: ip4(b, 4)?, ifindex })
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

    fn by_index(group: Ipv4Addr, ifindex: u32) -> Mreq {
        Mreq { group, addr: Ipv4Addr::UNSPECIFIED, ifindex }
    }
}

/// A change of one source in a filter.
#[derive(Clone, Copy)]
pub(super) struct Edit {
    /// The mode that the filter must have: EXCLUDE (block, unblock) or INCLUDE (join, leave).
    pub exclude: bool,
    pub add: bool,
}

/// What an option with one source does.
pub(super) fn edit(name: i32) -> Edit {
    match name {
        ip::BLOCK_SOURCE | ip::MCAST_BLOCK_SOURCE => Edit { exclude: true, add: true },
        ip::UNBLOCK_SOURCE | ip::MCAST_UNBLOCK_SOURCE => Edit { exclude: true, add: false },
        ip::ADD_SOURCE_MEMBERSHIP | ip::MCAST_JOIN_SOURCE_GROUP => Edit { exclude: false, add: true },
        _ => Edit { exclude: false, add: false },
    }
}

impl Sockets {
    /// The multicast options from IP_ADD_MEMBERSHIP to MCAST_MSFILTER.
    pub(super) fn set_membership(
        &mut self,
        cx: &mut Cx,
        net: &mut Net,
        id: SockId,
        name: i32,
        v: &[u8],
    ) -> Result<()> {
        let stream = self.is_stream(id)?;
        match name {
            ip::ADD_MEMBERSHIP | ip::DROP_MEMBERSHIP if stream => Err(Errno::EPROTO),
            ip::ADD_MEMBERSHIP => self.join4(cx, net, id, &Mreq::parse(v)?, GroupFilter::ALL),
            ip::DROP_MEMBERSHIP => self.leave4(cx, net, id, &Mreq::parse(v)?),
            ip::MCAST_JOIN_GROUP | ip::MCAST_LEAVE_GROUP => {
                if v.len() < GROUP_REQ {
                    return Err(Errno::EINVAL);
                }
                let r = Mreq::by_index(sockaddr(v, 8).ok_or(Errno::EINVAL)?, word(v, 0)?);
                match name {
                    _ if stream => Err(Errno::EPROTO),
                    ip::MCAST_JOIN_GROUP => self.join4(cx, net, id, &r, GroupFilter::ALL),
                    _ => self.leave4(cx, net, id, &r),
                }
            }
            ip::UNBLOCK_SOURCE..=ip::DROP_SOURCE_MEMBERSHIP => {
                if v.len() != 12 {
                    return Err(Errno::EINVAL);
                }
                let r = Mreq { group: ip4(v, 0)?, addr: ip4(v, 4)?, ifindex: 0 };
                self.edit_source4(cx, net, id, &r, ip4(v, 8)?, edit(name))
            }
            ip::MSFILTER => {
                let (exclude, sources) = (word(v, 8)?, word(v, 12)? as usize);
                let list = list(v, MSFILTER, sources, 4, |b, at| ip4(b, at).ok().map(IpAddr::V4))?;
                let r = Mreq { group: ip4(v, 0)?, addr: ip4(v, 4)?, ifindex: 0 };
                self.replace_filter4(cx, net, id, &r, exclude, list)
            }
            ip::MCAST_MSFILTER => {
                let (exclude, sources) = (word(v, 136)?, word(v, 140)? as usize);
                let list = list(v, GROUP_FILTER, sources, STORAGE, |b, at| sockaddr(b, at).map(IpAddr::V4))?;
                let r = Mreq::by_index(sockaddr(v, 8).ok_or(Errno::EINVAL)?, word(v, 0)?);
                self.replace_filter4(cx, net, id, &r, exclude, list)
            }
            _ => {
                if v.len() != GROUP_SOURCE_REQ {
                    return Err(Errno::EINVAL);
                }
                let (group, source) = (sockaddr(v, 8), sockaddr(v, 8 + STORAGE));
                let (Some(group), Some(source)) = (group, source) else { return Err(Errno::EADDRNOTAVAIL) };
                self.edit_source4(cx, net, id, &Mreq::by_index(group, word(v, 0)?), source, edit(name))
            }
        }
    }

    fn join4(&mut self, cx: &mut Cx, net: &mut Net, id: SockId, r: &Mreq, f: GroupFilter) -> Result<()> {
        if !r.group.is_multicast() {
            return Err(Errno::EINVAL);
        }
        let ifindex = r.interface(net)?;
        self.join_filtered(cx, net, id, r.group.into(), ifindex, f)
    }

    fn leave4(&mut self, cx: &mut Cx, net: &mut Net, id: SockId, r: &Mreq) -> Result<()> {
        let anywhere = r.ifindex == 0 && r.addr.is_unspecified();
        let ifindex = match r.interface(net) {
            Ok(_) if anywhere => 0,
            Ok(i) => i,
            Err(e) if anywhere => return Err(e),
            Err(_) => return Err(Errno::EADDRNOTAVAIL),
        };
        self.leave(cx, net, id, r.group.into(), ifindex)
    }

    /// Joins a group and hears all of its sources.
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
        self.join_filtered(cx, net, id, group, ifindex, GroupFilter::ALL)
    }

    pub(super) fn join_filtered(
        &mut self,
        cx: &mut Cx,
        net: &mut Net,
        id: SockId,
        group: IpAddr,
        ifindex: u32,
        filter: GroupFilter,
    ) -> Result<()> {
        let s = self.table.get_mut(id)?;
        let group = zone::embed_ip(group, ifindex);
        if !group.is_multicast() || (Family::of(&group) != s.family && !s.spans()) {
            return Err(Errno::EINVAL);
        }
        let d = s.dgram().map_err(|_| Errno::EPROTO)?;
        if d.groups.iter().any(|g| g.group == group && g.ifindex == ifindex) {
            return Err(Errno::EADDRINUSE);
        }
        if d.groups.len() >= MAX {
            return Err(Errno::ENOBUFS);
        }
        net.join_group(cx, ifindex, group)?;
        d.groups.push(Member { group, ifindex, filter });
        self.refilter(net, ifindex, group);
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
        let at = d.groups.iter().position(|g| {
            g.group == zone::embed_ip(group, g.ifindex) && (ifindex == 0 || g.ifindex == ifindex)
        });
        let g = d.groups.remove(at.ok_or(Errno::EADDRNOTAVAIL)?);
        self.left(cx, net, &g);
        Ok(())
    }

    /// A membership is no more: Net is told, and of what is left.
    pub(super) fn left(&mut self, cx: &mut Cx, net: &mut Net, g: &Member) {
        net.leave_group(cx, g.ifindex, g.group);
        self.refilter(net, g.ifindex, g.group);
    }

    fn edit_source4(
        &mut self,
        cx: &mut Cx,
        net: &mut Net,
        id: SockId,
        r: &Mreq,
        source: Ipv4Addr,
        e: Edit,
    ) -> Result<()> {
        if !e.exclude && e.add {
            match self.join4(cx, net, id, r, GroupFilter::NONE) {
                Ok(()) | Err(Errno::EADDRINUSE) => {}
                Err(err) => return Err(err),
            }
        }
        if !r.group.is_multicast() {
            return Err(Errno::EINVAL);
        }
        self.edit_source(cx, net, id, r.group.into(), r.interface(net)?, source.into(), e)
    }

    /// Adds a source to a filter or takes it out.
    #[allow(clippy::too_many_arguments)] // who, where, what
    pub(super) fn edit_source(
        &mut self,
        cx: &mut Cx,
        net: &mut Net,
        id: SockId,
        group: IpAddr,
        ifindex: u32,
        source: IpAddr,
        e: Edit,
    ) -> Result<()> {
        let d = self.table.get_mut(id)?.dgram().map_err(|_| Errno::EINVAL)?;
        let m = d.groups.iter_mut().find(|m| m.group == group && m.ifindex == ifindex);
        let f = &mut m.ok_or(Errno::EINVAL)?.filter;
        if f.exclude != e.exclude {
            // Only an empty filter changes its mode by the way.
            if !f.sources.is_empty() {
                return Err(Errno::EINVAL);
            }
            f.exclude = e.exclude;
        }
        let at = f.sources.iter().position(|s| *s == source);
        match (e.add, at) {
            (true, Some(_)) | (false, None) => return Err(Errno::EADDRNOTAVAIL),
            (true, None) if f.sources.len() >= MAX_SOURCES => return Err(Errno::ENOBUFS),
            (true, None) => f.sources.push(source),
            // Nothing is heard any more: that is no membership.
            (false, Some(_)) if !e.exclude && f.sources.len() == 1 => {
                return self.leave(cx, net, id, group, ifindex);
            }
            (false, Some(at)) => drop(f.sources.remove(at)),
        }
        self.refilter(net, ifindex, group);
        Ok(())
    }

    fn replace_filter4(
        &mut self,
        cx: &mut Cx,
        net: &mut Net,
        id: SockId,
        r: &Mreq,
        mode: u32,
        sources: Vec<IpAddr>,
    ) -> Result<()> {
        if !r.group.is_multicast() || mode > 1 {
            return Err(Errno::EINVAL);
        }
        self.replace_filter(cx, net, id, r.group.into(), r.interface(net)?, mode, sources)
    }

    /// IP_MSFILTER and MCAST_MSFILTER: another filter.
    #[allow(clippy::too_many_arguments)] // who, where, what
    pub(super) fn replace_filter(
        &mut self,
        cx: &mut Cx,
        net: &mut Net,
        id: SockId,
        group: IpAddr,
        ifindex: u32,
        mode: u32,
        sources: Vec<IpAddr>,
    ) -> Result<()> {
        if mode > 1 {
            return Err(Errno::EINVAL);
        }
        let exclude = mode == 0;
        if !exclude && sources.is_empty() {
            return self.leave(cx, net, id, group, ifindex);
        }
        let d = self.table.get_mut(id)?.dgram().map_err(|_| Errno::EINVAL)?;
        let m = d.groups.iter_mut().find(|m| m.group == group && m.ifindex == ifindex);
        m.ok_or(Errno::EINVAL)?.filter = GroupFilter { exclude, sources };
        self.refilter(net, ifindex, group);
        Ok(())
    }

    /// IP_MSFILTER and MCAST_MSFILTER, read. `out` holds what the program asks about.
    pub(super) fn get_msfilter(&self, net: &Net, id: SockId, name: i32, out: &mut [u8]) -> Result<usize> {
        let (r, head, each) = if name == ip::MSFILTER {
            (Mreq { group: ip4(out, 0)?, addr: ip4(out, 4)?, ifindex: 0 }, MSFILTER, 4)
        } else {
            if out.len() < GROUP_FILTER {
                return Err(Errno::EINVAL);
            }
            let group = sockaddr(out, 8).ok_or(Errno::EINVAL)?;
            (Mreq::by_index(group, word(out, 0)?), GROUP_FILTER, STORAGE)
        };
        if out.len() < head || !r.group.is_multicast() {
            return Err(Errno::EINVAL);
        }
        let (group, ifindex) = (IpAddr::V4(r.group), r.interface(net)?);
        let f = self.filter_of(id, group, ifindex)?;
        Ok(read_filter(f, out, head, each, |b, a| {
            let IpAddr::V4(a) = a else { return };
            let at = if each == 4 { 0 } else { 4 };
            if at > 0 {
                b[..2].copy_from_slice(&2u16.to_ne_bytes());
            }
            b[at..at + 4].copy_from_slice(&a.octets());
        }))
    }

    /// A socket's filter of a group.
    ///
    /// # Errors
    /// EADDRNOTAVAIL when it is not a member.
    pub(super) fn filter_of(&self, id: SockId, group: IpAddr, ifindex: u32) -> Result<&GroupFilter> {
        let s = self.table.get(id)?;
        let super::sock::Body::Dgram(d) = &s.body else { return Err(Errno::EADDRNOTAVAIL) };
        let m = d.groups.iter().find(|m| m.group == group && m.ifindex == ifindex);
        m.map(|m| &m.filter).ok_or(Errno::EADDRNOTAVAIL)
    }

    /// Tells Net what the filters of all sockets on a group come to (RFC 3376 section 3.2). Who is counted there and is no
    /// socket hears everything.
    fn refilter(&self, net: &mut Net, ifindex: u32, group: IpAddr) {
        let mut users = 0;
        let mut sum: Option<GroupFilter> = None;
        for s in self.table.iter() {
            let super::sock::Body::Dgram(d) = &s.body else { continue };
            for m in d.groups.iter().filter(|m| m.group == group && m.ifindex == ifindex) {
                users += 1;
                sum = Some(sum.map_or_else(|| m.filter.clone(), |f| f.and(&m.filter)));
            }
        }
        let others = net.group_users(ifindex, group) > users;
        net.filter_group(ifindex, group, sum.filter(|_| !others).unwrap_or(GroupFilter::ALL));
    }
}

/// Writes mode, number and sources of a filter behind the `head` bytes that asked for it; returns how long all is.
pub(super) fn read_filter(
    f: &GroupFilter,
    out: &mut [u8],
    head: usize,
    each: usize,
    put: impl Fn(&mut [u8], IpAddr),
) -> usize {
    let (fmode, all) = (u32::from(!f.exclude), f.sources.len());
    let fit = all.min((out.len() - head) / each);
    out[head - 8..head - 4].copy_from_slice(&fmode.to_ne_bytes());
    out[head - 4..head].copy_from_slice(&(all as u32).to_ne_bytes());
    for (b, a) in out[head..].chunks_exact_mut(each).zip(&f.sources) {
        b.fill(0);
        put(b, *a);
    }
    head + fit * each
}

/// The sources of an `ip_msfilter` or `group_filter`.
pub(super) fn list(
    v: &[u8],
    head: usize,
    n: usize,
    each: usize,
    one: impl Fn(&[u8], usize) -> Option<IpAddr>,
) -> Result<Vec<IpAddr>> {
    if n > MAX_SOURCES {
        return Err(Errno::ENOBUFS);
    }
    if v.len() < head + n * each {
        return Err(Errno::EINVAL);
    }
    (0..n).map(|i| one(v, head + i * each).ok_or(Errno::EADDRNOTAVAIL)).collect()
}
