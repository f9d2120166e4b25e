//! What a lease does to the stack: addresses, networks for the interfaces behind us, our part of resolv.conf. And how it is undone.

use super::Options;
use crate::resolvconf::{Entry, Part, Place, Source, Told};
use crate::tool::{Failure, Stack, ask, odd};
use iopkt_autoconf::dhcp6::{Action6, Given, Lease6};
use iopkt_ctl::{AddrInfo, AddrLife, AddrState, Ifconf, NdRequest, Reply, Request, in6};
use std::net::{IpAddr, Ipv6Addr};

/// An interface that gets a network of each prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Downstream {
    pub name: String,
    /// Which one; `None`: the next that nobody has.
    pub subnet: Option<u64>,
}

impl Downstream {
    /// `ecm1`, `ecm1:5`, `ecm1:0x1f`.
    pub fn parse(v: &str) -> Option<Downstream> {
        let (name, subnet) = match v.split_once(':') {
            None => (v, None),
            Some((name, n)) => {
                let n = n.strip_prefix("0x").map_or_else(|| n.parse(), |h| u64::from_str_radix(h, 16));
                (name, Some(n.ok()?))
            }
        };
        (!name.is_empty()).then(|| Downstream { name: name.into(), subnet })
    }
}

/// What a lease does to the stack.
pub(super) struct World<'a> {
    pub o: &'a Options,
    held: Lease6,
    /// There is what was asked for.
    pub ready: bool,
    names: Option<Part>,
}

impl World<'_> {
    pub fn new(o: &Options) -> World<'_> {
        World { o, held: Lease6::default(), ready: false, names: None }
    }

    pub fn act(&mut self, s: &mut dyn Stack, a: Action6) -> Result<(), Failure> {
        match a {
            Action6::Bound(l) => {
                let old = std::mem::replace(&mut self.held, l.clone());
                let (before, after) = (self.addresses(&old), self.addresses(&l));
                // What is not in it any more goes.
                for (ifname, a, ..) in &before {
                    if !after.iter().any(|x| (&x.0, x.1) == (ifname, *a)) {
                        remove(s, ifname, *a);
                    }
                }
                for (ifname, a, plen, g) in &after {
                    if let Err(e) = add(s, ifname, *a, *plen, g) {
                        // The interface, or one behind us, may be away: it is looked at often, and has the address with the next renewal.
                        eprintln!("dhcp6c: {}", e.message);
                    }
                }
                self.say(&l);
                self.names(&l);
            }
            Action6::Names(l) => {
                self.held.refresh = l.refresh;
                self.say(&l);
                self.names(&l);
            }
            Action6::Lost(_) => {
                self.undo(s);
            }
            Action6::Send(_) => {}
        }
        Ok(())
    }

    fn say(&mut self, l: &Lease6) {
        self.ready = true;
        if self.o.talk {
            for a in l.addrs.iter().chain(&l.prefixes) {
                eprintln!("dhcp6c: {}: {}/{} for {} s", self.o.interface, a.addr, a.plen, a.valid);
            }
        }
    }

    /// Our part of resolv.conf(5) of this stack.
    fn names(&mut self, l: &Lease6) {
        if self.o.no_resolv || (l.dns.is_empty() && self.names.is_none()) {
            return;
        }
        let server = |a: &Ipv6Addr| Entry::plain(crate::addr::zoned((*a).into(), Some(&self.o.interface)));
        let told = Told {
            servers: l.dns.iter().map(server).collect(),
            domains: l.domains.iter().map(|d| Entry::plain(d.as_str())).collect(),
        };
        let part = match self.names.take() {
            Some(p) => Ok(p),
            None => Part::take(&Place::find(), &self.o.interface, Source::Dhcp6),
        };
        if let Err(e) = part.and_then(|p| self.names.insert(p).tell(told)) {
            eprintln!("dhcp6c: {e}");
        }
    }

    /// What interfaces have of a lease: name, address, length, lifetimes.
    fn addresses(&self, l: &Lease6) -> Vec<(String, Ipv6Addr, u8, Given)> {
        let own = l.addrs.iter().map(|g| (self.o.interface.clone(), g.addr, 128, *g));
        let inner = networks(l, &self.o.downstream).into_iter();
        own.chain(inner.map(|(name, net, g)| (name, Ipv6Addr::from(u128::from(net) | 1), 64, g))).collect()
    }

    /// Time passes: of other people's name servers, too.
    pub fn tick(&mut self) {
        if let Some(Err(e)) = self.names.as_mut().map(Part::tick) {
            eprintln!("dhcp6c: {e}");
        }
    }

    /// The end; what was given is good without us until its time is over.
    pub fn leave(&mut self) {
        let Some(part) = self.names.take().filter(|_| self.ready) else { return };
        let valid = self.held.addrs.iter().chain(&self.held.prefixes).map(|g| g.valid).max();
        let left = match valid {
            Some(u32::MAX) => None,
            // Names alone: until we would have asked again (RFC 8415 21.23).
            v => Some(u64::from(v.unwrap_or(self.held.refresh))),
        };
        if let Err(e) = part.keep(left) {
            eprintln!("dhcp6c: {e}");
        }
    }

    /// Takes everything back.
    pub fn undo(&mut self, s: &mut dyn Stack) {
        self.names = None;
        let l = std::mem::take(&mut self.held);
        for (ifname, a, ..) in self.addresses(&l) {
            remove(s, &ifname, a);
        }
        self.ready = false;
    }

    /// Addresses of the lease that detection found to be somebody else's.
    pub fn duplicated(&self, i: &Ifconf) -> Vec<Ipv6Addr> {
        let bad = |a: &&Given| i.life(&IpAddr::V6(a.addr)).is_some_and(|l| l.flags & in6::DUPLICATED != 0);
        self.held.addrs.iter().filter(bad).map(|a| a.addr).collect()
    }
}

fn remove(s: &mut dyn Stack, name: &str, a: Ipv6Addr) {
    // One that a person took away meanwhile is gone, too.
    let _ = s.ask(&Request::DelAddr { name: name.into(), addr: Some(a.into()) });
}

/// The networks of 64 bits of each prefix that interfaces get: the subnet that is named, else the first that nobody has. What a server
/// excludes (RFC 6603) nobody gets.
fn networks(l: &Lease6, inner: &[Downstream]) -> Vec<(String, Ipv6Addr, Given)> {
    let mut out = Vec::new();
    for p in l.prefixes.iter().filter(|p| p.plen <= 64) {
        let mask = if p.plen == 0 { 0 } else { u128::MAX << (128 - u32::from(p.plen)) };
        let base = u128::from(p.addr) & mask;
        let most = 1u128 << (64 - u32::from(p.plen));
        let excluded = |n: u64| {
            p.excluded.is_some_and(|(x, len)| {
                let len = u32::from(len.min(64));
                (base | u128::from(n) << 64) >> (128 - len) == u128::from(x) >> (128 - len)
            })
        };
        let mut taken: Vec<u64> = inner.iter().filter_map(|d| d.subnet).collect();
        for d in inner {
            let all = most.min(1 << 20) as u64;
            let free = || (0..all).find(|n| !taken.contains(n) && !excluded(*n));
            let good = |n: &u64| u128::from(*n) < most && !excluded(*n);
            let Some(n) = d.subnet.or_else(free).filter(good) else {
                eprintln!("dhcp6c: {}: {}/{} has no subnet for it", d.name, p.addr, p.plen);
                continue;
            };
            taken.push(n);
            out.push((d.name.clone(), Ipv6Addr::from(base | u128::from(n) << 64), *p));
        }
    }
    out
}

fn add(s: &mut dyn Stack, name: &str, a: Ipv6Addr, prefix_len: u8, g: &Given) -> Result<(), Failure> {
    let some = |n: u32| (n != u32::MAX).then_some(n);
    let addr = AddrInfo { addr: a.into(), prefix_len, broadcast: None, peer: None, state: AddrState::Valid };
    let life = AddrLife { preferred: some(g.preferred), valid: some(g.valid), ..AddrLife::plain(a.into()) };
    match ask(
        s,
        name,
        &Request::Nd(NdRequest::AddAddr { name: name.into(), addr, life, clear: in6::DEPRECATED }),
    )? {
        Reply::Ok => Ok(()),
        r => Err(odd(&r)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use iopkt_base::Instant;

    fn prefix(a: &str, plen: u8) -> Given {
        let addr = a.parse().expect("address");
        Given { addr, plen, preferred: 1, valid: 2, iaid: 1, until: Instant::FAR, excluded: None }
    }

    fn cut(prefixes: Vec<Given>, inner: &str) -> Vec<String> {
        let l = Lease6 { prefixes, ..Lease6::default() };
        let inner: Vec<Downstream> = inner.split(' ').map(|d| Downstream::parse(d).expect("good")).collect();
        networks(&l, &inner).into_iter().map(|(n, a, _)| format!("{n} {a}")).collect()
    }

    #[test]
    fn a_prefix_is_cut_into_networks() {
        let p = prefix("2001:db8:ff00::", 63);
        assert_eq!(cut(vec![p], "a b c"), ["a 2001:db8:ff00::", "b 2001:db8:ff00:1::"], "a /63 has two");
        let p = prefix("2001:db8:5500::", 56);
        assert_eq!(
            cut(vec![p], "a b:0 c:0x1f d"),
            ["a 2001:db8:5500:1::", "b 2001:db8:5500::", "c 2001:db8:5500:1f::", "d 2001:db8:5500:2::"]
        );
        assert_eq!(cut(vec![p], "a:256"), [] as [String; 0]);
        let q = prefix("2001:db8:6600::", 60);
        assert_eq!(cut(vec![p, q], "a:3"), ["a 2001:db8:5500:3::", "a 2001:db8:6600:3::"]);
        assert_eq!(cut(vec![prefix("2001:db8::", 65)], "a"), [] as [String; 0]);
    }

    #[test]
    fn what_is_excluded_nobody_gets() {
        let mut p = prefix("2001:db8:5500::", 56);
        p.excluded = Some(("2001:db8:5500::".parse().expect("address"), 64));
        assert_eq!(cut(vec![p], "a b:0 c"), ["a 2001:db8:5500:1::", "c 2001:db8:5500:2::"]);
        p.excluded = Some(("2001:db8:5500::".parse().expect("address"), 60));
        assert_eq!(cut(vec![p], "a:15 b:16 c"), ["b 2001:db8:5500:10::", "c 2001:db8:5500:11::"]);
    }
}
