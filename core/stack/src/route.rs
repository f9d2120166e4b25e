//! The routing table, both families.
//!
//! A table of exact matches per prefix length, asked from the longest length that is in use to the shortest: a
//! host has a handful of lengths, so a lookup is a handful of hash probes whatever the number of routes.
//! (`prefix-trie` would be the natural crate; it needs std.) Several routes to one destination are allowed when
//! their gateways or interfaces differ; a lookup takes them in order of insertion and skips those whose
//! interface is not usable as long as another is.

use crate::hash::{KeyedMap, KeyedState};
use crate::prefix;
use alloc::vec::Vec;
use core::net::IpAddr;
use iopkt_base::{Errno, Instant, Keyed, Result};
use iopkt_ctl::rtf;

/// Most routes in a table.
pub const MAX_ROUTES: usize = 65_536;

/// Who put a route there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// An address of an interface.
    Connected,
    /// An own address, reached through lo0.
    Local,
    /// A user.
    Static,
    /// An ICMP redirect.
    Redirect,
    /// A router's advertisement (RFC 4861).
    Advertised,
}

/// One route.
#[derive(Clone, Debug)]
pub struct Route {
    /// Destination prefix, host bits clear.
    pub dst: IpAddr,
    /// Its length.
    pub plen: u8,
    /// Next hop; `None` for on-link.
    pub gateway: Option<IpAddr>,
    /// Interface.
    pub ifindex: u32,
    /// [`rtf`] bits.
    pub flags: u32,
    /// Fixed path MTU, 0 for the interface's.
    pub mtu: u32,
    /// [`iopkt_ctl::RTV_MTU`]: path MTU discovery does not lower `mtu`.
    pub locks: u32,
    /// Packets sent by it.
    pub used: u64,
    /// Source address that packets by it get.
    pub src: Option<IpAddr>,
    /// Who put it there.
    pub origin: Origin,
    /// When it ends by itself; its maker sees to that.
    pub expires: Instant,
    /// Who put it there and how much it costs, in the numbers of the program that asked (netlink's RTPROT_* and RTA_PRIORITY); 0: not
    /// said. They are kept for it and mean nothing here.
    pub label: (u8, u32),
    /// Router preference (RFC 4191): -1 low, 0 medium, 1 high. The order of insertion is what counts.
    pub preference: i8,
}

/// The table.
pub struct Routes {
    map: KeyedMap<(u8, IpAddr), Vec<Route>>,
    /// Lengths in use with their number of prefixes, longest first: IPv4, IPv6.
    lens: [Vec<(u8, usize)>; 2],
    count: usize,
    /// Counts changes.
    changed: u64,
}

impl Routes {
    /// An empty table.
    pub fn new(secret: &Keyed) -> Routes {
        Routes {
            map: KeyedMap::with_hasher(KeyedState::new(secret, "routes")),
            lens: [Vec::new(), Vec::new()],
            count: 0,
            changed: 0,
        }
    }

    /// A number that grows with each change (use counts apart).
    #[inline]
    pub fn version(&self) -> u64 {
        self.changed
    }

    /// Number of routes.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds a route behind those to the same destination.
    ///
    /// # Errors
    /// EEXIST when there is one with this destination, gateway and interface; ENOBUFS at [`MAX_ROUTES`].
    pub fn add(&mut self, mut r: Route) -> Result<()> {
        r.dst = prefix::mask(r.dst, r.plen);
        if self.count >= MAX_ROUTES {
            return Err(Errno::ENOBUFS);
        }
        let (v6, plen, key) = (usize::from(r.dst.is_ipv6()), r.plen, (r.plen, r.dst));
        let list = self.map.entry(key).or_default();
        if list.iter().any(|o| {
            o.gateway == r.gateway
                && (o.ifindex == r.ifindex || (r.gateway.is_some() && r.origin != Origin::Local))
        }) {
            return Err(Errno::EEXIST);
        }
        let fresh = list.is_empty();
        list.push(r);
        self.changed += 1;
        self.count += 1;
        if fresh {
            let lens = &mut self.lens[v6];
            match lens.iter_mut().find(|l| l.0 == plen) {
                Some(l) => l.1 += 1,
                None => {
                    let at = lens.iter().position(|l| l.0 < plen).unwrap_or(lens.len());
                    lens.insert(at, (plen, 1));
                }
            }
        }
        Ok(())
    }

    /// Routes to exactly this prefix, in order of insertion.
    pub fn exact(&self, dst: IpAddr, plen: u8) -> &[Route] {
        self.map.get(&(plen, prefix::mask(dst, plen))).map_or(&[], Vec::as_slice)
    }

    /// As [`Routes::exact`], to change.
    pub fn exact_mut(&mut self, dst: IpAddr, plen: u8) -> &mut [Route] {
        self.changed += 1;
        self.list_mut(dst, plen)
    }

    fn list_mut(&mut self, dst: IpAddr, plen: u8) -> &mut [Route] {
        self.map.get_mut(&(plen, prefix::mask(dst, plen))).map_or(&mut [], Vec::as_mut_slice)
    }

    /// Removes the routes for which `f` is true; returns how many.
    pub fn remove_if(&mut self, mut f: impl FnMut(&Route) -> bool) -> usize {
        self.changed += 1;
        let (lens, mut gone) = (&mut self.lens, 0);
        self.map.retain(|key, list| {
            let before = list.len();
            list.retain(|r| !f(r));
            gone += before - list.len();
            if list.is_empty() {
                let l = &mut lens[usize::from(key.1.is_ipv6())];
                if let Some(at) = l.iter().position(|x| x.0 == key.0) {
                    l[at].1 -= 1;
                    if l[at].1 == 0 {
                        l.remove(at);
                    }
                }
            }
            !list.is_empty()
        });
        self.count -= gone;
        gone
    }

    /// The best route to `dst` among those that `usable` allows: longest prefix, then insertion. Where no
    /// route of the longest matching prefix is usable the search goes on with shorter ones. `fallback` of the
    /// result is a route that matched but was not usable, for a better error.
    pub fn lookup(&self, dst: IpAddr, usable: impl Fn(&Route) -> bool) -> Found<'_> {
        let mut refused = None;
        for (len, _) in &self.lens[usize::from(dst.is_ipv6())] {
            if let Some(list) = self.map.get(&(*len, prefix::mask(dst, *len))) {
                if let Some(r) = list.iter().find(|r| usable(r)) {
                    return Found { route: Some(r), refused };
                }
                refused = refused.or(list.first());
            }
        }
        Found { route: None, refused }
    }

    /// Counts `n` packets sent by this route.
    pub fn count_use(&mut self, dst: IpAddr, plen: u8, gateway: Option<IpAddr>, ifindex: u32, n: u64) {
        if let Some(r) =
            self.list_mut(dst, plen).iter_mut().find(|r| r.gateway == gateway && r.ifindex == ifindex)
        {
            r.used += n;
        }
    }

    /// All routes, in order of family, address, length, insertion.
    pub fn sorted(&self) -> Vec<&Route> {
        let mut keys: Vec<_> = self.map.keys().collect();
        keys.sort_unstable_by_key(|(len, a)| (a.is_ipv6(), *a, *len));
        keys.into_iter().flat_map(|k| self.map[k].iter()).collect()
    }
}

/// Result of [`Routes::lookup`].
pub struct Found<'a> {
    /// The route to take.
    pub route: Option<&'a Route>,
    /// A longer match that was not usable.
    pub refused: Option<&'a Route>,
}

impl Route {
    /// An on-link route.
    pub fn on_link(dst: IpAddr, plen: u8, ifindex: u32, src: Option<IpAddr>, origin: Origin) -> Route {
        let host = plen == prefix::max_len(dst);
        Route {
            dst: prefix::mask(dst, plen),
            plen,
            gateway: None,
            ifindex,
            flags: rtf::UP | if host { rtf::HOST } else { 0 },
            mtu: 0,
            locks: 0,
            used: 0,
            src,
            origin,
            expires: Instant::FAR,
            label: (0, 0),
            preference: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ip(s: &str) -> IpAddr {
        s.parse().unwrap()
    }
    fn table() -> Routes {
        Routes::new(&Keyed::new([3; 16]))
    }
    fn via(dst: &str, plen: u8, gw: &str) -> Route {
        let mut r = Route::on_link(ip(dst), plen, 2, None, Origin::Static);
        r.gateway = Some(ip(gw));
        r
    }

    #[test]
    fn duplicates_by_gateway_in_order() {
        let mut t = table();
        t.add(via("0.0.0.0", 0, "10.0.0.1")).unwrap();
        t.add(via("0.0.0.0", 0, "10.0.0.2")).unwrap();
        assert_eq!(t.add(via("0.0.0.0", 0, "10.0.0.2")), Err(Errno::EEXIST));
        assert_eq!(t.lookup(ip("8.8.8.8"), |_| true).route.unwrap().gateway, Some(ip("10.0.0.1")));
        assert_eq!(t.remove_if(|r| r.gateway == Some(ip("10.0.0.1"))), 1);
        assert_eq!(t.lookup(ip("8.8.8.8"), |_| true).route.unwrap().gateway, Some(ip("10.0.0.2")));
        assert_eq!(t.len(), 1);
    }

    #[test]
    fn families_do_not_mix() {
        let mut t = table();
        t.add(via("::", 0, "fe80::1")).unwrap();
        assert!(t.lookup(ip("1.2.3.4"), |_| true).route.is_none());
        assert!(t.lookup(ip("2001:db8::1"), |_| true).route.is_some());
    }

    proptest! {
        /// Against the definition: scan all routes, take the longest that contains the address.
        #[test]
        fn equals_a_linear_scan(nets in proptest::collection::vec((any::<u32>(), 0u8..=32), 0..40), asks in proptest::collection::vec(any::<u32>(), 1..40), remove in any::<u32>()) {
            let mut t = table();
            let mut all: Vec<(IpAddr, u8)> = Vec::new();
            for (a, len) in nets {
                // A small space, so that prefixes nest.
                let a = prefix::mask(IpAddr::V4((a & 0xe0e0_e0ff).into()), len);
                if t.add(Route::on_link(a, len, 1, None, Origin::Static)).is_ok() {
                    all.push((a, len));
                }
            }
            let cut = |r: (IpAddr, u8)| u32::from(r.1) % 3 == remove % 3;
            t.remove_if(|r| cut((r.dst, r.plen)));
            all.retain(|r| !cut(*r));
            prop_assert_eq!(t.len(), all.len());
            for a in asks {
                let a = IpAddr::V4((a & 0xe0e0_e0ff).into());
                let want = all.iter().filter(|(n, l)| prefix::contains(*n, *l, a)).max_by_key(|r| r.1);
                let got = t.lookup(a, |_| true).route.map(|r| (r.dst, r.plen));
                prop_assert_eq!(got.as_ref(), want);
            }
        }
    }
}
