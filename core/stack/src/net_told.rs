//! What routing sockets are told of interfaces, addresses and routes.

use crate::ctl_if::{addr_info, ifconf};
use crate::ctl_route::info;
use crate::cx::{Cx, Note};
use crate::iface::{IfAddr, Interface};
use crate::net::Net;
use crate::route::{Origin, Route};
use crate::rtnote::{AddrNote, RtKind, RtNote};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::IpAddr;
use iopkt_ctl::AddrState;

impl Net {
    /// Flags, link, MTU or metric of an interface changed.
    pub(crate) fn tell_ifinfo(&self, cx: &mut Cx, ifindex: u32) {
        cx.note(Note::IfInfo(ifindex));
        if let Some(i) = self.iface(ifindex) {
            let now = cx.now;
            cx.rt.push(|_| RtNote::IfInfo(Box::new(ifconf(i, now))));
        }
    }

    pub(crate) fn announce(&self, cx: &mut Cx, index: u32, arrived: bool) {
        cx.note(Note::IfAnnounce(index, arrived));
        if let Some(name) = self.ifname(index) {
            cx.rt.push(|_| RtNote::IfAnnounce { index, name: name.into(), arrived });
        }
    }

    pub(crate) fn tell_addr(&self, cx: &mut Cx, ifindex: u32, a: &IfAddr, added: bool) {
        cx.note(if added { Note::NewAddr(ifindex) } else { Note::DelAddr(ifindex) });
        self.note_addr(cx, ifindex, a, if added { AddrNote::Added } else { AddrNote::Removed });
    }

    fn note_addr(&self, cx: &mut Cx, ifindex: u32, a: &IfAddr, what: AddrNote) {
        if let Some(i) = self.iface(ifindex) {
            let now = cx.now;
            cx.rt.push(|_| RtNote::Addr { what, iface: Box::new(ifconf(i, now)), addr: addr_info(a) });
        }
    }

    /// Lifetimes or flags of an address are other ones than before.
    pub fn tell_life(&self, cx: &mut Cx, ifindex: u32, a: IpAddr) {
        if let Some(x) = self.iface(ifindex).and_then(|i| i.addrs.iter().find(|x| x.addr == a)) {
            self.note_addr(cx, ifindex, x, AddrNote::Life);
        }
    }

    /// Marks where an address stands with duplicate detection, and tells of its end.
    pub fn set_addr_state(&mut self, cx: &mut Cx, ifindex: u32, a: IpAddr, state: AddrState) {
        let of = |i: &mut Interface| {
            let x = i.addrs.iter_mut().find(|x| x.addr == a)?;
            Some((core::mem::replace(&mut x.state, state), *x))
        };
        if let Some((was, x)) = self.iface_mut(ifindex).and_then(of)
            && was != state
            && state != AddrState::Tentative
        {
            self.note_addr(cx, ifindex, &x, AddrNote::Checked);
        }
    }

    /// Something happened to a route.
    pub fn tell_route(&self, cx: &mut Cx, kind: RtKind, r: &Route, author: Option<IpAddr>) {
        let now = cx.now;
        cx.rt.push(|by| RtNote::Route { kind, route: Box::new(info(self, r, now)), author, by });
    }

    /// A route was looked for and not found.
    pub fn tell_miss(&self, cx: &mut Cx, dst: IpAddr) {
        cx.rt.push(|_| RtNote::Miss(dst));
    }

    /// A connection to `dst` gets no answers: the route may be the reason.
    pub(crate) fn tell_losing(&self, cx: &mut Cx, dst: IpAddr) {
        if cx.rt.wanted
            && let Some(r) = self.routes.lookup(dst, |_| true).route
        {
            self.tell_route(cx, RtKind::Losing, r, None);
        }
    }

    /// Removes routes and tells of each.
    pub fn remove_routes(&mut self, cx: &mut Cx, mut f: impl FnMut(&Route) -> bool) -> usize {
        let (wanted, mut gone) = (cx.rt.wanted, Vec::new());
        let n = self.routes.remove_if(|r| {
            let yes = f(r);
            if yes && wanted {
                gone.push(r.clone());
            }
            yes
        });
        for r in &gone {
            self.tell_route(cx, RtKind::Delete, r, None);
        }
        n
    }

    /// The table before a change that touches many routes; empty when nobody wants to know.
    pub(crate) fn told_routes(&self, cx: &Cx) -> Option<Vec<Route>> {
        cx.rt.wanted.then(|| self.routes.sorted().into_iter().cloned().collect())
    }

    /// Makes the routes of an origin these, in this order; those that stay keep their counts, the difference is told.
    pub fn replace_routes(&mut self, cx: &mut Cx, origin: Origin, want: Vec<Route>) {
        let before = self.told_routes(cx);
        let mut old = Vec::new();
        self.routes.remove_if(|r| {
            let ours = r.origin == origin;
            if ours {
                old.push(r.clone());
            }
            ours
        });
        for mut r in want {
            let was = old.iter().find(|o| key(o) == key(&r));
            r.used = was.map_or(0, |o| o.used);
            // A user's own route to the same place by the same way stays: EEXIST is as it should be.
            let _ = self.routes.add(r);
        }
        self.tell_routes_since(cx, before);
    }

    /// Tells what is different from `before`: what is gone, then what is new.
    pub(crate) fn tell_routes_since(&self, cx: &mut Cx, before: Option<Vec<Route>>) {
        let Some(before) = before else { return };
        let now: Vec<Route> = self.routes.sorted().into_iter().cloned().collect();
        let (old, new) = (by_key(&before), by_key(&now));
        for r in before.iter().filter(|r| new.binary_search(&key(r)).is_err()) {
            self.tell_route(cx, RtKind::Delete, r, None);
        }
        for r in now.iter().filter(|r| old.binary_search(&key(r)).is_err()) {
            self.tell_route(cx, RtKind::Add, r, None);
        }
    }
}

type Key = (IpAddr, u8, Option<IpAddr>, u32, u32);

fn key(r: &Route) -> Key {
    (r.dst, r.plen, r.gateway, r.ifindex, r.flags)
}

fn by_key(list: &[Route]) -> Vec<Key> {
    let mut v: Vec<Key> = list.iter().map(key).collect();
    v.sort_unstable();
    v
}
