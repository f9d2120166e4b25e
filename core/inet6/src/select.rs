//! Source address selection (RFC 6724 section 5).
//!
//! Candidates are the addresses of the outgoing interface; if none of them fits the destination's scope, those of all others. Rule 4
//! (home addresses) has no meaning here. Rule 5.5 prefers addresses of prefixes that the next hop itself advertised. Labels are in
//! [`crate::policy`], the order of destinations (section 6) in [`crate::order`].

use crate::policy::{Policy, common};
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::net::{IpAddr, Ipv6Addr};
use iopkt_base::zone;
use iopkt_ctl::{AddrState, nd6};
use iopkt_stack::{IfAddr, Net, SourceRule, prefix};

/// What a router told of a prefix of a link: the addresses made of it go with that router.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Told {
    pub ifindex: u32,
    pub prefix: Ipv6Addr,
    pub plen: u8,
    pub routers: Vec<Ipv6Addr>,
}

/// All that the choice needs beside the addresses themselves.
#[derive(Default)]
pub(crate) struct Select {
    pub policy: Policy,
    pub told: Vec<Told>,
    pub against: Against,
}

/// What variables say against kinds of addresses.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Against {
    /// Deprecated ones are no sources at all (`net.inet6.ip6.use_deprecated` is 0).
    pub deprecated: bool,
    /// Temporary ones come after others (`net.inet6.ip6.prefer_tempaddr` is 0).
    pub temporary: bool,
}

/// Whether it is a mapped IPv4 address that does not leave its link.
fn mapped_near(a: &Ipv6Addr) -> bool {
    a.to_ipv4_mapped().is_some_and(|a| a.is_loopback() || a.is_link_local())
}

/// Scope of an address (RFC 6724 3.1): that of a multicast address, or what unicast ones correspond to.
// [RFC6724 3.1]
pub(crate) fn scope(a: &Ipv6Addr) -> u8 {
    let s = a.segments()[0];
    if a.is_multicast() {
        return (s & 15) as u8;
    }
    match s {
        // Loopback is treated as link-local (3.1).
        _ if a.is_loopback() => 2,
        s if s & 0xffc0 == 0xfe80 => 2,
        // IPv4's, mapped (3.2): autoconfigured and loopback ones.
        _ if mapped_near(a) => 2,
        s if s & 0xffc0 == 0xfec0 => 5,
        _ => 14,
    }
}

struct Candidate<'a> {
    addr: Ipv6Addr,
    ifindex: u32,
    /// Its interface's addresses are preferred (`ndp -i IF prefer_source`).
    preferred: bool,
    a: &'a IfAddr,
}

impl SourceRule for Select {
    fn source(&self, net: &Net, oif: u32, next: Option<IpAddr>, dst: IpAddr) -> Option<IpAddr> {
        let IpAddr::V6(dst) = dst else { return None };
        let all = net.interfaces().filter(|i| i.is_up()).flat_map(|i| {
            i.addrs.iter().filter_map(move |a| match a.addr {
                IpAddr::V6(addr) if self.takes(a) && i.nd6 & nd6::DISABLED == 0 => {
                    let preferred = i.nd6 & nd6::PREFER_SOURCE != 0;
                    Some(Candidate { addr, ifindex: i.index, preferred, a })
                }
                _ => None,
            })
        });
        // A link-local destination, or a group of the link, is reached from an address of that link only (RFC 6724 section 4).
        // [RFC6724 4]
        let on_link = zone::is_scoped(&dst);
        let to = To { oif, next, dst };
        all.filter(|c| c.ifindex == oif || !(on_link || zone::is_scoped(&c.addr)))
            .reduce(|best, c| if self.better(&c, &best, &to) == Ordering::Greater { c } else { best })
            .map(|c| IpAddr::V6(c.addr))
    }
}

/// Where a packet goes.
struct To {
    oif: u32,
    next: Option<IpAddr>,
    dst: Ipv6Addr,
}

/// Never an address that may be another's or that several have (RFC 4862 5.4, RFC 4291 2.6).
fn usable(a: &IfAddr) -> bool {
    let state = match a.state {
        AddrState::Valid => true,
        AddrState::Tentative => a.life.optimistic,
        AddrState::Duplicated => false,
    };
    // [RFC6724 4b]
    state && !a.life.anycast
}

/// Whether nothing speaks against new conversations from it. An optimistic address is treated as a deprecated one (RFC 4429 2.1).
pub(crate) fn fresh(a: &IfAddr) -> bool {
    !a.life.deprecated && a.state == AddrState::Valid
}

impl Select {
    fn takes(&self, a: &IfAddr) -> bool {
        usable(a) && !(self.against.deprecated && a.life.deprecated)
    }

    /// Whether the neighbour that gets the packet has advertised the prefix of an address (rule 5.5).
    fn is_next_hops(&self, c: &Candidate<'_>, to: &To) -> bool {
        let Some(IpAddr::V6(next)) = to.next.filter(|_| c.a.life.autoconf && c.ifindex == to.oif) else {
            return false;
        };
        let of = |t: &&Told| t.ifindex == c.ifindex && prefix::contains(t.prefix.into(), t.plen, c.a.addr);
        self.told.iter().filter(of).any(|t| t.routers.contains(&next))
    }

    /// Whether `a` is a better source than `b`: greater when it is.
    fn better(&self, a: &Candidate<'_>, b: &Candidate<'_>, to: &To) -> Ordering {
        // [RFC4862 5.5.4a] [RFC4429 2.1] [RFC8981 3.1]
        let (dst, oif) = (&to.dst, to.oif);
        let yes = |x: bool, y: bool| x.cmp(&y);
        let (sa, sb, sd) = (scope(&a.addr), scope(&b.addr), scope(dst));
        let by_scope = match sa.cmp(&sb) {
            Ordering::Less if sa < sd => Ordering::Less,
            Ordering::Less => Ordering::Greater,
            Ordering::Greater if sb < sd => Ordering::Greater,
            Ordering::Greater => Ordering::Less,
            Ordering::Equal => Ordering::Equal,
        };
        let by_label = || {
            let l = self.policy.label(dst);
            yes(self.policy.label(&a.addr) == l, self.policy.label(&b.addr) == l)
        };
        let matches = |c: &Candidate<'_>| common(&c.addr, dst).min(c.a.plen);
        // [RFC6724 5]
        yes(a.addr == *dst, b.addr == *dst)
            .then(by_scope)
            // One whose network is not there any more: as BSD has it, after all others.
            .then(yes(!a.a.life.detached, !b.a.life.detached))
            .then(yes(fresh(a.a), fresh(b.a)))
            .then(yes(a.preferred, b.preferred))
            .then(yes(a.ifindex == oif, b.ifindex == oif))
            .then_with(|| yes(self.is_next_hops(a, to), self.is_next_hops(b, to)))
            .then_with(by_label)
            .then(yes(
                a.a.life.temporary != self.against.temporary,
                b.a.life.temporary != self.against.temporary,
            ))
            .then(matches(a).cmp(&matches(b)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a(s: &str) -> Ipv6Addr {
        s.parse().unwrap()
    }

    #[test]
    fn scopes() {
        // [RFC6724 3.1]
        for (s, x) in [
            ("fe80::1", 2),
            ("::1", 2),
            ("fec0::1", 5),
            ("2001:db8::1", 14),
            ("::ffff:169.254.0.1", 2),
            ("::ffff:10.0.0.1", 14),
            ("ff02::1", 2),
            ("ff0e::1", 14),
        ] {
            assert_eq!(scope(&a(s)), x, "{s}");
        }
    }
}
