//! Configuration requests about interfaces and their addresses.

use crate::cx::DevOp;
use crate::iface::{IfAddr, Interface, Life};
use crate::packet::Family;
use crate::shard::Shard;
use alloc::format;
use alloc::vec::Vec;
use core::net::IpAddr;
use iopkt_base::{Errno, Instant, zone};
use iopkt_ctl::{AddrInfo, AddrLife, AddrState, IfCounters, Ifconf, Reply, Request, iff, in6};

impl Shard {
    pub(crate) fn ctl_interface(&mut self, r: &Request) -> Reply {
        let name = match r {
            Request::Interfaces { name: None } => {
                let now = self.cx.now;
                return Reply::Interfaces(self.net.interfaces().map(|i| ifconf(i, now)).collect());
            }
            Request::Interfaces { name: Some(n) }
            | Request::SetFlags { name: n, .. }
            | Request::AddAddr { name: n, .. }
            | Request::DelAddr { name: n, .. }
            | Request::SetMtu { name: n, .. }
            | Request::SetMetric { name: n, .. }
            | Request::SetCaps { name: n, .. }
            | Request::SetMedia { name: n, .. }
            | Request::ZeroCounters { name: n } => n,
            _ => return Reply::err(Errno::EOPNOTSUPP),
        };
        let i = self.net.ifindex_of(name);
        let Some(ifc) = self.net.iface_mut(i) else { return Reply::err(Errno::ENXIO) };
        match r {
            Request::SetFlags { set, clear, .. } => done(self.net.set_flags(&mut self.cx, i, *set, *clear)),
            Request::AddAddr { addr, replace, .. } => self.add_addr(i, addr, *replace),
            Request::DelAddr { addr, .. } => {
                let Some(a) = addr.or_else(|| ifc.addrs.iter().map(|a| a.addr).find(IpAddr::is_ipv4)) else {
                    return Reply::err(Errno::EADDRNOTAVAIL);
                };
                done(self.net.del_addr(&mut self.cx, i, zone::embed_ip(a, i)))
            }
            Request::SetMtu { mtu, .. } => self.set_mtu(i, *mtu),
            Request::SetMetric { metric, .. } => {
                if core::mem::replace(&mut ifc.metric, *metric) != *metric {
                    self.net.tell_ifinfo(&mut self.cx, i);
                }
                Reply::Ok
            }
            Request::SetCaps { rx, tx, .. } => {
                if rx & !ifc.caps_rx != 0 || tx & !ifc.caps_tx != 0 {
                    return Reply::why(Errno::EINVAL, format!("{}: the hardware cannot do that", ifc.name));
                }
                if (ifc.enabled_rx, ifc.enabled_tx) != (*rx, *tx) {
                    (ifc.enabled_rx, ifc.enabled_tx) = (*rx, *tx);
                    self.cx.dev_ops.push(DevOp::Caps { ifindex: i, rx: *rx, tx: *tx });
                }
                Reply::Ok
            }
            Request::SetMedia { media, .. } => {
                if !ifc.media_words.contains(media) {
                    let why = format!("{}: the driver does not offer this medium", ifc.name);
                    return Reply::why(Errno::EINVAL, why);
                }
                if ifc.media_now != *media {
                    ifc.media_now = *media;
                    self.cx.dev_ops.push(DevOp::Media(i, *media));
                }
                Reply::Ok
            }
            Request::ZeroCounters { .. } => {
                // Read and zeroed in one step, so that nothing is lost between.
                let shown = ifconf(ifc, self.cx.now);
                ifc.counters = IfCounters::default();
                Reply::Interfaces(alloc::vec![shown])
            }
            _ => Reply::Interfaces(alloc::vec![ifconf(ifc, self.cx.now)]),
        }
    }

    fn add_addr(&mut self, i: u32, a: &AddrInfo, replace: bool) -> Reply {
        let family = Family::of(&a.addr);
        if !self.has_family(family) {
            return Reply::why(Errno::EAFNOSUPPORT, "this variant does not speak the address family");
        }
        if a.broadcast.is_some_and(|b| Family::of(&b) != family)
            || a.peer.is_some_and(|p| Family::of(&p) != family)
        {
            return Reply::err(Errno::EINVAL);
        }
        let own = zone::embed_ip(a.addr, i);
        // IPv6 addresses stand beside each other; none is the primary one.
        let replace = replace && family == Family::V4;
        let new = IfAddr {
            addr: own,
            plen: a.prefix_len,
            broadcast: a.broadcast,
            peer: a.peer.map(|p| zone::embed_ip(p, i)),
            state: AddrState::Valid,
            life: Life::default(),
        };
        // Before anything is removed: a bad request must change nothing.
        if let Err(e) = new.check() {
            return Reply::err(e);
        }
        let Some(ifc) = self.net.iface(i) else { return Reply::err(Errno::ENXIO) };
        if a.peer.is_some() && ifc.flags & iff::POINTOPOINT == 0 {
            let why = format!("{}: is no point-to-point link, so an address has no peer", ifc.name);
            return Reply::why(Errno::EINVAL, why);
        }
        if a.broadcast.is_some() && ifc.flags & iff::BROADCAST == 0 {
            let why = format!("{}: has no broadcast, so an address has no broadcast address", ifc.name);
            return Reply::why(Errno::EINVAL, why);
        }
        let same = ifc.addrs.iter().find(|x| x.addr == own).copied();
        let primary = ifc.addrs.iter().find(|x| Family::of(&x.addr) == family).map(|x| x.addr);
        // Setting the primary address replaces it; giving an address again changes its mask (SIOCAIFADDR).
        let (gone, at_front) = match (same, replace, primary) {
            (Some(s), _, p) => (Some(s.addr), p == Some(s.addr)),
            (None, true, Some(p)) => (Some(p), true),
            _ => (None, replace),
        };
        if let Some(g) = gone
            && let Err(e) = self.net.del_addr(&mut self.cx, i, g)
        {
            return Reply::err(e);
        }
        let r = self.net.add_addr(&mut self.cx, i, new);
        if r.is_ok()
            && at_front
            && let Some(ifc) = self.net.iface_mut(i)
            && let Some(last) = ifc.addrs.pop()
        {
            let at = ifc.addrs.iter().position(|x| Family::of(&x.addr) == family).unwrap_or(ifc.addrs.len());
            ifc.addrs.insert(at, last);
        }
        done(r)
    }

    fn set_mtu(&mut self, i: u32, mtu: u32) -> Reply {
        let Some(ifc) = self.net.iface_mut(i) else { return Reply::err(Errno::ENXIO) };
        if mtu < 68 || mtu > ifc.max_mtu {
            let why = format!("{}: an MTU of {mtu} is outside 68..={}", ifc.name, ifc.max_mtu);
            return Reply::why(Errno::EINVAL, why);
        }
        if ifc.mtu != mtu {
            ifc.mtu = mtu;
            let hardware = !ifc.is_loopback();
            if hardware {
                self.cx.dev_ops.push(DevOp::Mtu(i, mtu));
            }
            self.net.tell_ifinfo(&mut self.cx, i);
        }
        Reply::Ok
    }
}

fn done(r: iopkt_base::Result<()>) -> Reply {
    match r {
        Ok(()) => Reply::Ok,
        Err(e) => Reply::err(e),
    }
}

pub(crate) fn addr_info(a: &IfAddr) -> AddrInfo {
    AddrInfo {
        addr: zone::strip_ip(a.addr),
        prefix_len: a.plen,
        broadcast: a.broadcast,
        peer: a.peer.map(zone::strip_ip),
        state: a.state,
    }
}

/// Seconds until `end`; `None` for never.
fn left(now: Instant, end: Instant) -> Option<u32> {
    (end != Instant::FAR).then(|| end.since(now).as_secs().min(u32::MAX.into()) as u32)
}

/// What is special about an IPv6 address.
fn life(a: &IfAddr, now: Instant) -> Option<AddrLife> {
    if a.addr.is_ipv4() {
        return None;
    }
    let l = &a.life;
    let bits = [
        (l.anycast, in6::ANYCAST),
        (a.state == AddrState::Tentative, in6::TENTATIVE),
        (a.state == AddrState::Duplicated, in6::DUPLICATED),
        (l.detached, in6::DETACHED),
        (l.deprecated, in6::DEPRECATED),
        (l.nodad, in6::NODAD),
        (l.autoconf, in6::AUTOCONF),
        (l.temporary, in6::TEMPORARY),
        (l.optimistic && a.state == AddrState::Tentative, in6::OPTIMISTIC),
    ];
    Some(AddrLife {
        addr: zone::strip_ip(a.addr),
        flags: bits.iter().filter(|b| b.0).fold(0, |f, b| f | b.1),
        preferred: left(now, l.preferred),
        valid: left(now, l.valid),
    })
}

pub(crate) fn ifconf(i: &Interface, now: Instant) -> Ifconf {
    let addrs: Vec<AddrInfo> = i.addrs.iter().map(addr_info).collect();
    Ifconf {
        name: i.name.clone(),
        alias: i.alias.map(|n| format!("en{n}")),
        index: i.index,
        kind: i.kind,
        // As BSD shows it: whoever asked for it.
        flags: if crate::ether::wants_everything(i) { i.flags | iff::PROMISC } else { i.flags },
        mtu: i.mtu,
        metric: i.metric,
        caps_rx: i.caps_rx,
        caps_tx: i.caps_tx,
        enabled_rx: i.enabled_rx,
        enabled_tx: i.enabled_tx,
        mac: i.mac,
        link: i.link,
        speed_rx: i.speed_rx,
        speed_tx: i.speed_tx,
        media: i.media,
        media_words: i.media_words.clone(),
        media_now: i.media_now,
        full_duplex: i.full_duplex,
        driver: i.driver.clone(),
        addrs,
        counters: i.counters,
        lives: i.addrs.iter().filter_map(|a| life(a, now)).collect(),
    }
}
