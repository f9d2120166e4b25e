//! Interfaces, addresses, groups: the tables below both families.

use crate::Why;
use crate::cx::{Cx, DevOp};
use crate::domain::Change;
use crate::hash::{KeyedMap, KeyedState};
use crate::iface::{DEFAULT_HOPS, IfAddr, IfAttach, Interface, Life, MAX_GROUPS};
use crate::neigh::Neighbours;
use crate::packet::Family;
use crate::pmtu::PmtuCache;
use crate::route::Routes;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};
use iopkt_base::{Errno, Keyed, Result};
use iopkt_ctl::{AddrState, IfCounters, IfKind, LinkState, iff};

/// MTU of lo0, as QNX has it.
pub const LO_MTU: u32 = 33192;
/// Index of lo0, which every shard has.
pub const LO0: u32 = 1;
/// Most interfaces.
pub const MAX_IFS: usize = 1024;

/// Chooses source addresses.
pub trait SourceRule: Send + Sync {
    /// The address to speak to `dst` from, by interface `oif`; `next` is the neighbour that gets the packet, if that is known.
    fn source(&self, net: &Net, oif: u32, next: Option<IpAddr>, dst: IpAddr) -> Option<IpAddr>;
}

/// Interfaces, routes, neighbours.
pub struct Net {
    ifs: Vec<Option<Interface>>,
    pub(crate) locals: KeyedMap<IpAddr, Vec<u32>>,
    /// Routes of both families.
    pub routes: Routes,
    /// Link-level addresses of others.
    pub neigh: Neighbours,
    /// Path MTUs learnt from the network.
    pub pmtu: PmtuCache,
    /// What the domains have not been told yet.
    pub changes: VecDeque<Change>,
    pub(crate) enmap: bool,
    /// Counts changes of interfaces and addresses.
    changed: u64,
    /// Counts how often an interface with a node came or went.
    pub nodes_changed: u64,
    /// How IPv6 chooses source addresses: its domain brings the rule, so that a variant without it does not carry it.
    source6: Option<Arc<dyn SourceRule>>,
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
            changed: 0,
            nodes_changed: 0,
            source6: None,
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
                life: Life::default(),
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
        self.changed += 1;
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

    /// As [`Net::iface`], to change. What was concluded from the old state is void ([`Net::version`]): for counters and
    /// queues there is [`Net::iface_io`].
    #[inline]
    pub fn iface_mut(&mut self, ifindex: u32) -> Option<&mut Interface> {
        self.changed += 1;
        self.iface_io(ifindex)
    }

    /// As [`Net::iface_mut`], to change counters and queues only: nothing that decides where packets go.
    #[inline]
    pub fn iface_io(&mut self, ifindex: u32) -> Option<&mut Interface> {
        self.ifs.get_mut((ifindex as usize).wrapping_sub(1))?.as_mut()
    }

    /// Chooses IPv6's source addresses from now on.
    pub fn set_source6(&mut self, rule: Arc<dyn SourceRule>) {
        self.changed += 1;
        self.source6 = Some(rule);
    }

    /// How IPv6 chooses source addresses, in a variant that has it.
    #[inline]
    pub(crate) fn source6(&self) -> Option<&dyn SourceRule> {
        self.source6.as_deref()
    }

    /// A number that changes whenever interfaces, addresses, routes or path MTUs do (counters and queues apart): a
    /// conclusion that was drawn from them holds as long as this number is the same.
    #[inline]
    pub fn version(&self) -> u64 {
        self.changed + self.routes.version() + self.pmtu.version()
    }

    /// All interfaces, in order of index.
    pub fn interfaces(&self) -> impl Iterator<Item = &Interface> {
        self.ifs.iter().flatten()
    }

    /// All interfaces, to change.
    pub fn interfaces_mut(&mut self) -> impl Iterator<Item = &mut Interface> {
        self.changed += 1;
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

    /// Hops of packets by an interface whose sender did not say.
    #[inline]
    pub fn default_hops(&self, ifindex: u32, v4: bool) -> u8 {
        self.iface(ifindex).map_or(DEFAULT_HOPS, |i| i.default_hops(v4))
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
            flags: kind_flags | if a.shim { iff::SHIM } else { 0 },
            mtu: a.mtu,
            max_mtu: a.max_mtu,
            mac: a.mac,
            caps_rx: a.caps_rx,
            caps_tx: a.caps_tx,
            enabled_rx: if a.caps_on { a.caps_rx } else { 0 },
            enabled_tx: if a.caps_on { a.caps_tx } else { 0 },
            link: a.link,
            speed_rx: a.speed_rx,
            speed_tx: a.speed_tx,
            media: a.media,
            media_now: a.media_words.first().copied().unwrap_or(iopkt_ctl::IFM_ETHER),
            media_words: a.media_words,
            full_duplex: a.full_duplex,
            driver: a.driver,
            ..loopback(index, name)
        };
        if i.enabled_rx | i.enabled_tx != 0 {
            cx.dev_ops.push(DevOp::Caps { ifindex: index, rx: i.enabled_rx, tx: i.enabled_tx });
        }
        self.insert(i);
        self.announce(cx, index, true);
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
        self.announce(cx, index, true);
        Ok(index)
    }

    /// Removes an interface with all that hangs on it.
    ///
    /// # Errors
    /// ENXIO without such an interface, EPERM for lo0.
    pub fn detach(&mut self, cx: &mut Cx, ifindex: u32) -> Result<()> {
        self.changed += 1;
        if ifindex == LO0 {
            return Err(Errno::EPERM);
        }
        self.iface(ifindex).ok_or(Errno::ENXIO)?;
        let addrs: Vec<IpAddr> =
            self.iface(ifindex).map_or(Vec::new(), |i| i.addrs.iter().map(|a| a.addr).collect());
        for a in addrs {
            let _ = self.del_addr(cx, ifindex, a);
        }
        self.remove_routes(cx, |r| r.ifindex == ifindex);
        self.announce(cx, ifindex, false);
        self.neigh.remove_if(cx, Why::IfDown, |k, _| k.0 == ifindex);
        self.neigh.remove_proxies(|k| k.0 == ifindex);
        if let Some(mut i) = self.ifs[ifindex as usize - 1].take() {
            for m in i.tx.drain(..) {
                cx.drop(m, Why::IfDown);
            }
            self.nodes_changed += u64::from(i.node.is_some());
        }
        self.changes.push_back(Change::Detached(ifindex));
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
        match &mut i.link_below {
            Some(below) => *below = link,
            None => self.set_link(cx, ifindex, link),
        }
    }

    /// The link as everybody above sees it.
    fn set_link(&mut self, cx: &mut Cx, ifindex: u32, link: LinkState) {
        let Some(i) = self.iface_mut(ifindex).filter(|i| i.link != link) else { return };
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
        self.tell_ifinfo(cx, ifindex);
    }

    /// `down` takes the physical link down too (reference 4.2), whatever the driver says of it; `up` gives back
    /// what the driver says. A link that no driver knows anything of stays unknown.
    fn hold_link(&mut self, cx: &mut Cx, ifindex: u32, down: bool) {
        let Some(i) = self.iface_mut(ifindex) else { return };
        if down && i.link != LinkState::Unknown {
            i.link_below = Some(i.link);
            self.set_link(cx, ifindex, LinkState::Down);
        } else if let Some(l) = i.link_below.take_if(|_| !down) {
            self.set_link(cx, ifindex, l);
        }
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
                self.hold_link(cx, ifindex, false);
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
                self.hold_link(cx, ifindex, true);
            }
            self.changes.push_back(Change::Flags(ifindex));
        }
        let drivers = iff::DEBUG | iff::LINK0 | iff::LINK1 | iff::LINK2;
        if (old ^ now) & drivers != 0 && hardware {
            cx.dev_ops.push(DevOp::Flags(ifindex, now & drivers));
        }
        self.push_filter(cx, ifindex);
        self.tell_ifinfo(cx, ifindex);
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
        i.filters.retain(|f| f.0 != group);
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
            i.filters.retain(|f| f.0 != group);
            self.changes.push_back(Change::Left(ifindex, group));
            self.push_filter(cx, ifindex);
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
        link_below: None,
        speed_rx: 0,
        speed_tx: 0,
        media: false,
        media_words: Vec::new(),
        media_now: 0,
        full_duplex: false,
        driver: String::new(),
        addrs: Vec::new(),
        groups: Vec::new(),
        filters: Vec::new(),
        counters: IfCounters::default(),
        promisc_users: 0,
        tx: VecDeque::new(),
        node: None,
        nd6: 0,
        hops: (DEFAULT_HOPS, DEFAULT_HOPS),
    }
}
