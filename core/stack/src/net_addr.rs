//! Addresses of interfaces and the routes that follow from them.

use crate::cx::Cx;
use crate::domain::Change;
use crate::iface::{IfAddr, MAX_ADDRS};
use crate::net::{LO0, Net};
use crate::route::{Origin, Route};
use crate::{Why, prefix};
use alloc::vec::Vec;
use core::net::IpAddr;
use iopkt_base::{Errno, Result};
use iopkt_ctl::{IfKind, iff, rtf};

impl Net {
    /// Adds an address. The interface goes up with its first one.
    ///
    /// # Errors
    /// ENXIO, EINVAL for an address that no host can have, EEXIST, ENOSPC at the limit.
    pub fn add_addr(&mut self, cx: &mut Cx, ifindex: u32, mut a: IfAddr) -> Result<()> {
        let i = self.iface(ifindex).ok_or(Errno::ENXIO)?;
        a.check()?;
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
        let before = self.told_routes(cx);
        self.set_addr_raw(ifindex, a);
        self.changes.push_back(Change::AddrAdded(ifindex, a.addr));
        self.tell_addr(cx, ifindex, &a, true);
        self.tell_routes_since(cx, before);
        // The first address starts the interface (reference 4.2).
        self.set_flags(cx, ifindex, iff::UP, 0)
    }

    pub(crate) fn set_addr_raw(&mut self, ifindex: u32, a: IfAddr) {
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
        let before = self.told_routes(cx);
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
        self.tell_routes_since(cx, before);
        self.tell_addr(cx, ifindex, &old, false);
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
                // What is on the link beside an address that was made of an advertised prefix, the advertisement says itself.
                None if a.plen < full && !a.life.autoconf => {
                    let mut r = Route::on_link(a.addr, a.plen, ifindex, Some(a.addr), Origin::Connected);
                    if ethernet {
                        r.flags |= rtf::CLONING;
                    }
                    if lo {
                        r.gateway = Some(a.addr);
                        r.flags |= rtf::GATEWAY | rtf::REJECT | rtf::STATIC;
                    }
                    add(r);
                }
                None => {}
            }
        }
    }
}
