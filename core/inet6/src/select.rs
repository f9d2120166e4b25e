//! Source address selection (RFC 6724 section 5) with the default policy table (section 2.1).
//!
//! Candidates are the addresses of the outgoing interface; if none of them fits the destination's scope, those of all others.
//! Rule 4 (home addresses) has no meaning here; rule 5.5 needs the router that an address came from and is not done.

use core::cmp::Ordering;
use core::net::{IpAddr, Ipv6Addr};
use iopkt_base::zone;
use iopkt_ctl::{AddrState, nd6};
use iopkt_stack::{IfAddr, Net};

/// Prefix, its length, precedence, label.
type Policy = (Ipv6Addr, u8, u8, u8);

const POLICY: &[Policy] = &[
    (Ipv6Addr::LOCALHOST, 128, 50, 0),
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96, 35, 4),
    (Ipv6Addr::UNSPECIFIED, 96, 1, 3),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32, 5, 5),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, 30, 2),
    (Ipv6Addr::new(0x3ffe, 0, 0, 0, 0, 0, 0, 0), 16, 1, 12),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, 1, 11),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, 3, 13),
    (Ipv6Addr::UNSPECIFIED, 0, 40, 1),
];

/// Scope of an address (RFC 6724 3.1): that of a multicast address, or what unicast ones correspond to.
fn scope(a: &Ipv6Addr) -> u8 {
    let s = a.segments()[0];
    if a.is_multicast() {
        return (s & 15) as u8;
    }
    match s {
        // Loopback is treated as link-local (3.1).
        _ if a.is_loopback() => 2,
        s if s & 0xffc0 == 0xfe80 => 2,
        s if s & 0xffc0 == 0xfec0 => 5,
        _ => 14,
    }
}

fn label(a: &Ipv6Addr) -> u8 {
    let fits = |p: &&Policy| common(&p.0, a) >= p.1;
    // The table is sorted by length within what can match the same address.
    POLICY.iter().filter(fits).max_by_key(|p| p.1).map_or(1, |p| p.3)
}

/// Bits that two addresses begin with in common.
fn common(a: &Ipv6Addr, b: &Ipv6Addr) -> u8 {
    (u128::from(zone::strip(*a)) ^ u128::from(zone::strip(*b))).leading_zeros() as u8
}

struct Candidate<'a> {
    addr: Ipv6Addr,
    ifindex: u32,
    /// Its interface's addresses are preferred (`ndp -i IF prefer_source`).
    preferred: bool,
    a: &'a IfAddr,
}

/// The source address for a packet to `dst` by interface `oif`.
pub(crate) fn source(net: &Net, oif: u32, dst: IpAddr) -> Option<IpAddr> {
    let IpAddr::V6(dst) = dst else { return None };
    let all = net.interfaces().filter(|i| i.is_up()).flat_map(|i| {
        i.addrs.iter().filter_map(move |a| match a.addr {
            IpAddr::V6(addr) if usable(a) && i.nd6 & nd6::DISABLED == 0 => {
                let preferred = i.nd6 & nd6::PREFER_SOURCE != 0;
                Some(Candidate { addr, ifindex: i.index, preferred, a })
            }
            _ => None,
        })
    });
    // A link-local destination, or a group of the link, is reached from an address of that link only (RFC 6724 section 4).
    let on_link = zone::is_scoped(&dst);
    all.filter(|c| c.ifindex == oif || !(on_link || zone::is_scoped(&c.addr)))
        .reduce(|best, c| if better(&c, &best, oif, &dst) == Ordering::Greater { c } else { best })
        .map(|c| IpAddr::V6(c.addr))
}

/// Never an address that may be another's or that several have (RFC 4862 5.4, RFC 4291 2.6).
fn usable(a: &IfAddr) -> bool {
    let state = match a.state {
        AddrState::Valid => true,
        AddrState::Tentative => a.life.optimistic,
        AddrState::Duplicated => false,
    };
    state && !a.life.anycast
}

/// Whether `a` is a better source than `b`: greater when it is.
fn better(a: &Candidate<'_>, b: &Candidate<'_>, oif: u32, dst: &Ipv6Addr) -> Ordering {
    let yes = |x: bool, y: bool| x.cmp(&y);
    let (sa, sb, sd) = (scope(&a.addr), scope(&b.addr), scope(dst));
    let by_scope = match sa.cmp(&sb) {
        Ordering::Less if sa < sd => Ordering::Less,
        Ordering::Less => Ordering::Greater,
        Ordering::Greater if sb < sd => Ordering::Greater,
        Ordering::Greater => Ordering::Less,
        Ordering::Equal => Ordering::Equal,
    };
    // An optimistic address is treated as a deprecated one (RFC 4429 2.1).
    let fresh = |c: &Candidate<'_>| !c.a.life.deprecated && c.a.state == AddrState::Valid;
    let matches = |c: &Candidate<'_>| common(&c.addr, dst).min(c.a.plen);
    yes(a.addr == *dst, b.addr == *dst)
        .then(by_scope)
        // One whose network is not there any more: as BSD has it, after all others.
        .then(yes(!a.a.life.detached, !b.a.life.detached))
        .then(yes(fresh(a), fresh(b)))
        .then(yes(a.preferred, b.preferred))
        .then(yes(a.ifindex == oif, b.ifindex == oif))
        .then(yes(label(&a.addr) == label(dst), label(&b.addr) == label(dst)))
        .then(yes(a.a.life.temporary, b.a.life.temporary))
        .then(matches(a).cmp(&matches(b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a(s: &str) -> Ipv6Addr {
        s.parse().unwrap()
    }

    #[test]
    fn labels_are_those_of_the_longest_prefix() {
        for (s, l) in [
            ("::1", 0),
            ("2001:db8::1", 1),
            ("2002::1", 2),
            ("::2", 3),
            ("::ffff:1.2.3.4", 4),
            ("2001::1", 5),
            ("fec0::1", 11),
            ("3ffe::1", 12),
            ("fd00::1", 13),
        ] {
            assert_eq!(label(&a(s)), l, "{s}");
        }
    }

    #[test]
    fn scopes() {
        for (s, x) in
            [("fe80::1", 2), ("::1", 2), ("fec0::1", 5), ("2001:db8::1", 14), ("ff02::1", 2), ("ff0e::1", 14)]
        {
            assert_eq!(scope(&a(s)), x, "{s}");
        }
        assert_eq!(common(&a("fe80:5::1"), &a("fe80::1")), 128, "a zone is not part of the address");
    }
}
