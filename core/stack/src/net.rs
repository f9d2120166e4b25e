//! Interfaces, addresses, groups: the tables below both families.

use crate::cx::{Cx, DevOp, Note};
use crate::domain::Change;
use crate::hash::{KeyedMap, KeyedState};
use crate::iface::{IfAddr, IfAttach, Interface, MAX_ADDRS, MAX_GROUPS};
use crate::neigh::Neighbours;
use crate::packet::Family;
use crate::pmtu::PmtuCache;
use crate::route::{Origin, Route, Routes};
use crate::{Why, prefix};
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};
use iopkt_base::{Errno, Keyed, Result};
use iopkt_ctl::{AddrState, IfCounters, IfKind, LinkState, iff, rtf};

/// MTU of lo0, as QNX has it.
pub const LO_MTU: u32 = 33192;
/// Index of lo0, which every shard has.
pub const LO0: u32 = 1;
/// Most interfaces.
pub const MAX_IFS: usize = 1024;

/// Interfaces, routes, neighbours.
pub struct Net {
    ifs: Vec<Option<Interface>>,
    locals: KeyedMap<IpAddr, Vec<u32>>,
    /// Routes of both families.
    pub routes: Routes,
    /// Link-level addresses of others.
    pub neigh: Neighbours,
    /// Path MTUs learnt from the network.
    pub pmtu: PmtuCache,
    /// What the domains have not been told yet.
    pub changes: VecDeque<Change>,
    pub(crate) enmap: bool,
}

impl Net {
    /// Tables with nothing in them but lo0 and its address 127.0.0.1.
    pub fn new(secret: &Keyed, enmap: bool) -> Net {
        let mut n = Net {
            ifs: Vec::new(),
            locals: KeyedMap::with_hasher(KeyedState::new(secret, "locals")),
            routes: Routes::new(secret),
            neigh: Neighbours::new(secret),
            pmtu: PmtuCache::new(secret),
            changes: VecDeque::new(),
            enmap,
        };
        n.insert(loopback(LO0, "lo0".into()));
        n.set_addr_raw(
            LO0,
            IfAddr {
                addr: IpAddr::V4(Ipv4Addr::LOCALHOST),
                plen: 8,
                broadcast: None,
                peer: None,
                state: AddrState::Valid,
            },
        );
        n
    }

    fn insert(&mut self, i: Interface) {
        let at = i.index as usize - 1;
        if self.ifs.len() <= at {
            self.ifs.resize_with(at + 1, || None);
        }
        self.changes.push_back(Change::Attached(i.index));
        self.ifs[at] = Some(i);
    }

    /// An index that nobody has: a fresh one as long as that is cheap, so that a late frame of a device that
    /// is gone does not seem to be another's.
    fn free_index(&self) -> Option<u32> {
        if self.ifs.len() < MAX_IFS {
            return Some(self.ifs.len() as u32 + 1);
        }
        self.ifs.iter().position(Option::is_none).map(|i| i as u32 + 1)
    }

    /// The interface with this index.
    #[inline]
    pub fn iface(&self, ifindex: u32) -> Option<&Interface> {
        self.ifs.get((ifindex as usize).wrapping_sub(1))?.as_ref()
    }

    /// As [`Net::iface`], to change.
    #[inline]
    pub fn iface_mut(&mut self, ifindex: u32) -> Option<&mut Interface> {
        self.ifs.get_mut((ifindex as usize).wrapping_sub(1))?.as_mut()
    }

    /// All interfaces, in order of index.
    pub fn interfaces(&self) -> impl Iterator<Item = &Interface> {
        self.ifs.iter().flatten()
    }

    /// All interfaces, to change.
    pub fn interfaces_mut(&mut self) -> impl Iterator<Item = &mut Interface> {
        self.ifs.iter_mut().flatten()
    }

    /// Index of the interface of this name (or enXX alias), 0 for none.
    pub fn ifindex_of(&self, name: &str) -> u32 {
        if let Some(i) = self.interfaces().find(|i| i.name == name) {
            return i.index;
        }
        match Interface::split_name(name) {
            Some(("en", n)) if self.enmap => {
                self.interfaces().find(|i| i.alias == Some(n)).map_or(0, |i| i.index)
            }
            _ => 0,
        }
    }

    /// Name of an interface.
    pub fn ifname(&self, ifindex: u32) -> Option<&str> {
        self.iface(ifindex).map(|i| i.name.as_str())
    }

    /// Index of the interface that has this address, 0 for none.
    pub fn if_with_addr(&self, a: IpAddr) -> u32 {
        self.locals.get(&a).and_then(|v| v.first()).copied().unwrap_or(0)
    }

    /// Primary address of this family of an interface.
    pub fn primary_addr(&self, ifindex: u32, family: Family) -> Option<IpAddr> {
        self.iface(ifindex)?.primary(family == Family::V4).map(|a| a.addr)
    }

    /// Whether `a` is an address of this host (of interface `ifindex`, 0 for any). All of 127/8 is, as long
    /// as lo0 has its address.
    #[inline]
    pub fn is_local(&self, a: IpAddr, ifindex: u32) -> bool {
        match self.locals.get(&a) {
            Some(v) => ifindex == 0 || v.contains(&ifindex),
            None => {
                matches!(a, IpAddr::V4(x) if x.is_loopback())
                    && (ifindex == 0 || ifindex == LO0)
                    && self.locals.contains_key(&IpAddr::V4(Ipv4Addr::LOCALHOST))
            }
        }
    }

    /// Whether `a` is a broadcast address of interface `ifindex` (0: of any), 255.255.255.255 included.
    pub fn is_broadcast(&self, a: IpAddr, ifindex: u32) -> bool {
        let IpAddr::V4(v4) = a else { return false };
        if v4.is_broadcast() {
            return true;
        }
        self.interfaces()
            .filter(|i| ifindex == 0 || i.index == ifindex)
            .any(|i| i.flags & iff::BROADCAST != 0 && i.addrs.iter().any(|x| x.broadcast == Some(a)))
    }

    /// Whether interface `ifindex` listens to a group.
    pub fn is_member(&self, ifindex: u32, group: IpAddr) -> bool {
        self.iface(ifindex).is_some_and(|i| i.has_group(group))
    }

    /// Adds an interface by the rules of name= and unit= (reference: unit counted from 0, first free one from
    /// the wanted number on).
    ///
    /// # Errors
    /// EINVAL for a bad name or MTU, ENOSPC at the limit.
    pub fn attach(&mut self, cx: &mut Cx, a: IfAttach) -> Result<u32> {
        let prefix = a.name.as_deref().filter(|n| !n.is_empty()).unwrap_or(&a.prefix);
        let fits = prefix.len() <= 11 && prefix.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if prefix.is_empty() || !fits || prefix.ends_with(|c: char| c.is_ascii_digit()) {
            return Err(Errno::EINVAL);
        }
        if a.mtu < 68 || a.mtu > a.max_mtu || a.max_mtu > 65535 {
            return Err(Errno::EINVAL);
        }
        let taken = |n: &str| self.interfaces().any(|i| i.name == n);
        let name = (a.unit.unwrap_or(0)..)
            .take(MAX_IFS + 1)
            .map(|u| format!("{prefix}{u}"))
            .find(|n| !taken(n))
            .ok_or(Errno::ENOSPC)?;
        let index = self.free_index().ok_or(Errno::ENOSPC)?;
        let alias = (0..).find(|n| !self.interfaces().any(|i| i.alias == Some(*n)));
        let kind_flags = match a.kind {
            IfKind::Ethernet => iff::BROADCAST | iff::SIMPLEX | iff::MULTICAST,
            IfKind::PointToPoint => iff::POINTOPOINT | iff::MULTICAST,
            IfKind::Loopback => iff::LOOPBACK | iff::MULTICAST,
        };
        let i = Interface {
            alias,
            kind: a.kind,
            flags: kind_flags,
            mtu: a.mtu,
            max_mtu: a.max_mtu,
            mac: a.mac,
            caps_rx: a.caps_rx,
            caps_tx: a.caps_tx,
            link: a.link,
            speed_rx: a.speed_rx,
            speed_tx: a.speed_tx,
            media: a.media,
            full_duplex: a.full_duplex,
            driver: a.driver,
            ..loopback(index, name)
        };
        self.insert(i);
        cx.note(Note::IfAnnounce(index, true));
        Ok(index)
    }

    /// Makes a loopback interface (`ifconfig lo1 create`).
    ///
    /// # Errors
    /// EEXIST, ENOSPC at the limit.
    pub fn create_lo(&mut self, cx: &mut Cx, name: &str) -> Result<u32> {
        if self.interfaces().any(|i| i.name == name) {
            return Err(Errno::EEXIST);
        }
        let index = self.free_index().ok_or(Errno::ENOSPC)?;
        let mut i = loopback(index, name.into());
        i.flags &= !(iff::UP | iff::RUNNING);
        self.insert(i);
        cx.note(Note::IfAnnounce(index, true));
        Ok(index)
    }

    /// Removes an interface with all that hangs on it.
    ///
    /// # Errors
    /// ENXIO without such an interface, EPERM for lo0.
    pub fn detach(&mut self, cx: &mut Cx, ifindex: u32) -> Result<()> {
        if ifindex == LO0 {
            return Err(Errno::EPERM);
        }
        self.iface(ifindex).ok_or(Errno::ENXIO)?;
        let addrs: Vec<IpAddr> =
            self.iface(ifindex).map_or(Vec::new(), |i| i.addrs.iter().map(|a| a.addr).collect());
        for a in addrs {
            let _ = self.del_addr(cx, ifindex, a);
        }
        self.routes.remove_if(|r| r.ifindex == ifindex);
        self.neigh.remove_if(cx, Why::IfDown, |k, _| k.0 == ifindex);
        if let Some(mut i) = self.ifs[ifindex as usize - 1].take() {
            for m in i.tx.drain(..) {
                cx.drop(m, Why::IfDown);
            }
        }
        self.changes.push_back(Change::Detached(ifindex));
        cx.note(Note::IfAnnounce(ifindex, false));
        Ok(())
    }

    /// What the driver says about its link. `speed`: bits per second towards us and from us, 0 for unknown.
    pub fn link_changed(
        &mut self,
        cx: &mut Cx,
        ifindex: u32,
        link: LinkState,
        speed: (u64, u64),
        full_duplex: bool,
    ) {
        let Some(i) = self.iface_mut(ifindex) else { return };
        (i.speed_rx, i.speed_tx, i.full_duplex) = (speed.0, speed.1, full_duplex);
        if i.link == link {
            return;
        }
        i.link = link;
        let text = match link {
            LinkState::Up => "link up",
            LinkState::Down => "link down",
            LinkState::Unknown => "link state unknown",
        };
        let line = format!("{}: {text}", i.name);
        cx.log(5, line);
        if link == LinkState::Down {
            self.neigh.remove_if(cx, Why::IfDown, |k, permanent| k.0 == ifindex && !permanent);
        }
        self.changes.push_back(Change::Link(ifindex));
        cx.note(Note::IfInfo(ifindex));
    }

    /// Sets and clears flag bits that a user may change.
    ///
    /// # Errors
    /// ENXIO without such an interface.
    pub fn set_flags(&mut self, cx: &mut Cx, ifindex: u32, set: u32, clear: u32) -> Result<()> {
        let i = self.iface_mut(ifindex).ok_or(Errno::ENXIO)?;
        let (set, clear) = (set & iopkt_ctl::IFF_USER, clear & iopkt_ctl::IFF_USER);
        let old = i.flags;
        i.flags = (old & !clear) | set;
        let now = i.flags;
        if now == old {
            return Ok(());
        }
        let hardware = !i.is_loopback();
        if (old ^ now) & iff::UP != 0 {
            if now & iff::UP != 0 {
                i.flags |= iff::RUNNING;
                if hardware {
                    cx.dev_ops.push(DevOp::Start(ifindex));
                }
            } else {
                i.flags &= !iff::RUNNING;
                let tx = core::mem::take(&mut i.tx);
                for m in tx {
                    cx.drop(m, Why::IfDown);
                }
                if hardware {
                    cx.dev_ops.push(DevOp::Stop(ifindex));
                }
                self.neigh.remove_if(cx, Why::IfDown, |k, permanent| k.0 == ifindex && !permanent);
            }
            self.changes.push_back(Change::Flags(ifindex));
        }
        self.push_filter(cx, ifindex);
        cx.note(Note::IfInfo(ifindex));
        Ok(())
    }

    /// Tells the device which frames are wanted.
    pub(crate) fn push_filter(&self, cx: &mut Cx, ifindex: u32) {
        let Some(i) = self.iface(ifindex) else { return };
        if i.kind != IfKind::Ethernet {
            return;
        }
        let mut groups: Vec<[u8; 6]> =
            i.groups.iter().map(|(g, _)| iopkt_wire::ethernet::multicast_mac(*g)).collect();
        groups.sort_unstable();
        groups.dedup();
        let op = DevOp::Filter {
            ifindex,
            promisc: crate::ether::wants_everything(i),
            allmulti: i.flags & iff::ALLMULTI != 0,
            groups,
        };
        // Only the last one counts: programs that join a thousand groups in a turn make one order.
        cx.dev_ops.retain(|o| !matches!(o, DevOp::Filter { ifindex: x, .. } if *x == ifindex));
        cx.dev_ops.push(op);
    }

    /// One more socket wants multicast group `group` on interface `ifindex`. Calls nest: the group is left
    /// when every join was undone by a [`Net::leave_group`].
    ///
    /// # Errors
    /// ENODEV without such an interface, ENOBUFS at the limit of groups, EINVAL for what is no group.
    pub fn join_group(&mut self, cx: &mut Cx, ifindex: u32, group: IpAddr) -> Result<()> {
        if !group.is_multicast() {
            return Err(Errno::EINVAL);
        }
        let i = self.iface_mut(ifindex).ok_or(Errno::ENODEV)?;
        if let Some(g) = i.groups.iter_mut().find(|g| g.0 == group) {
            g.1 += 1;
            return Ok(());
        }
        if i.groups.len() >= MAX_GROUPS {
            return Err(Errno::ENOBUFS);
        }
        i.groups.push((group, 1));
        self.changes.push_back(Change::Joined(ifindex, group));
        self.push_filter(cx, ifindex);
        Ok(())
    }

    /// Undoes one [`Net::join_group`].
    pub fn leave_group(&mut self, cx: &mut Cx, ifindex: u32, group: IpAddr) {
        let Some(i) = self.iface_mut(ifindex) else { return };
        let Some(at) = i.groups.iter().position(|g| g.0 == group) else { return };
        i.groups[at].1 -= 1;
        if i.groups[at].1 == 0 {
            i.groups.remove(at);
            self.changes.push_back(Change::Left(ifindex, group));
            self.push_filter(cx, ifindex);
        }
    }

    /// Adds an address. The interface goes up with its first one.
    ///
    /// # Errors
    /// ENXIO, EINVAL for an address that no host can have, EEXIST, ENOSPC at the limit.
    pub fn add_addr(&mut self, cx: &mut Cx, ifindex: u32, mut a: IfAddr) -> Result<()> {
        let i = self.iface(ifindex).ok_or(Errno::ENXIO)?;
        if a.plen > prefix::max_len(a.addr) || a.addr.is_multicast() || a.addr.is_unspecified() {
            return Err(Errno::EINVAL);
        }
        if matches!(a.addr, IpAddr::V4(x) if x.is_broadcast() || x.octets()[0] == 0) {
            return Err(Errno::EINVAL);
        }
        if i.addrs.iter().any(|x| x.addr == a.addr) {
            return Err(Errno::EEXIST);
        }
        if i.addrs.len() >= MAX_ADDRS {
            return Err(Errno::ENOSPC);
        }
        let can_broadcast = i.flags & iff::BROADCAST != 0 && a.addr.is_ipv4() && a.plen < 31;
        if !can_broadcast {
            a.broadcast = None;
        } else if a.broadcast.is_none() {
            a.broadcast = Some(prefix::all_ones(a.addr, a.plen));
        }
        if i.flags & iff::POINTOPOINT == 0 {
            a.peer = None;
        }
        self.set_addr_raw(ifindex, a);
        self.changes.push_back(Change::AddrAdded(ifindex, a.addr));
        cx.note(Note::NewAddr(ifindex));
        // The first address starts the interface (reference 4.2).
        self.set_flags(cx, ifindex, iff::UP, 0)
    }

    fn set_addr_raw(&mut self, ifindex: u32, a: IfAddr) {
        if let Some(i) = self.iface_mut(ifindex) {
            i.addrs.push(a);
        }
        self.locals.entry(a.addr).or_default().push(ifindex);
        self.rebuild_connected(ifindex);
    }

    /// Removes an address.
    ///
    /// # Errors
    /// ENXIO without such an interface, EADDRNOTAVAIL when it does not have the address.
    pub fn del_addr(&mut self, cx: &mut Cx, ifindex: u32, a: IpAddr) -> Result<()> {
        let i = self.iface_mut(ifindex).ok_or(Errno::ENXIO)?;
        let at = i.addrs.iter().position(|x| x.addr == a).ok_or(Errno::EADDRNOTAVAIL)?;
        let old = i.addrs.remove(at);
        if let Some(v) = self.locals.get_mut(&a) {
            v.retain(|x| *x != ifindex);
            if v.is_empty() {
                self.locals.remove(&a);
            }
        }
        self.rebuild_connected(ifindex);
        // Gateways and neighbours that were reached through this network are not reached any more.
        let left: Vec<(IpAddr, u8)> =
            self.iface(ifindex).map_or(Vec::new(), |i| i.addrs.iter().map(|x| (x.addr, x.plen)).collect());
        let cut = |ip: IpAddr| {
            prefix::contains(old.addr, old.plen, ip)
                && !left.iter().any(|(n, l)| prefix::contains(*n, *l, ip))
        };
        self.routes.remove_if(|r| {
            r.ifindex == ifindex
                && matches!(r.origin, Origin::Static | Origin::Redirect)
                && (r.gateway.is_some_and(cut) || r.src == Some(a))
        });
        self.neigh.remove_if(cx, Why::NoNeighbour, |k, _| k.0 == ifindex && cut(k.1));
        self.changes.push_back(Change::AddrRemoved(ifindex, a));
        cx.note(Note::DelAddr(ifindex));
        Ok(())
    }

    /// Makes the connected and local routes of an interface anew from its addresses.
    fn rebuild_connected(&mut self, ifindex: u32) {
        let Some(i) = self.iface(ifindex) else { return };
        let (addrs, lo, ethernet) = (i.addrs.clone(), i.is_loopback(), i.kind == IfKind::Ethernet);
        let mut kept: Vec<Route> = Vec::new();
        self.routes.remove_if(|r| {
            let ours = (r.origin == Origin::Connected && r.ifindex == ifindex)
                || (r.origin == Origin::Local
                    && r.gateway.is_none()
                    && r.src.is_some_and(|s| addrs.iter().any(|a| a.addr == s)))
                || (r.origin == Origin::Local && !self.locals.contains_key(&r.dst));
            if ours {
                kept.push(r.clone());
            }
            ours
        });
        for a in &addrs {
            let full = prefix::max_len(a.addr);
            let mut add = |mut r: Route| {
                if let Some(old) =
                    kept.iter().find(|k| k.dst == r.dst && k.plen == r.plen && k.gateway == r.gateway)
                {
                    r.used = old.used;
                }
                // Two addresses in one network share one route: EEXIST is as it should be.
                let _ = self.routes.add(r);
            };
            add(Route::on_link(a.addr, full, LO0, Some(a.addr), Origin::Local));
            match a.peer {
                Some(p) => add(Route::on_link(p, full, ifindex, Some(a.addr), Origin::Connected)),
                None if a.plen < full => {
                    let mut r = Route::on_link(a.addr, a.plen, ifindex, Some(a.addr), Origin::Connected);
                    if ethernet {
                        r.flags |= rtf::CLONING;
                    }
                    if lo {
                        r.gateway = Some(a.addr);
                        r.flags |= rtf::GATEWAY | rtf::REJECT;
                    }
                    add(r);
                }
                None => {}
            }
        }
    }

    /// Marks where an address stands with duplicate detection.
    pub fn set_addr_state(&mut self, ifindex: u32, a: IpAddr, state: AddrState) {
        if let Some(i) = self.iface_mut(ifindex)
            && let Some(x) = i.addrs.iter_mut().find(|x| x.addr == a)
        {
            x.state = state;
        }
    }
}

fn loopback(index: u32, name: String) -> Interface {
    Interface {
        index,
        name,
        alias: None,
        kind: IfKind::Loopback,
        flags: iff::UP | iff::LOOPBACK | iff::RUNNING | iff::MULTICAST,
        mtu: LO_MTU,
        max_mtu: 65535,
        metric: 0,
        mac: [0; 6],
        caps_rx: 0,
        caps_tx: 0,
        enabled_rx: 0,
        enabled_tx: 0,
        link: LinkState::Unknown,
        speed_rx: 0,
        speed_tx: 0,
        media: false,
        full_duplex: false,
        driver: String::new(),
        addrs: Vec::new(),
        groups: Vec::new(),
        counters: IfCounters::default(),
        promisc_users: 0,
        tx: VecDeque::new(),
    }
}
