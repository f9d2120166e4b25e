//! Zones of IPv6 addresses (RFC 4007): an address of link-local scope means something only together with the link it is
//! used on, and every table of the stack (addresses, routes, neighbours, path MTUs, connections) must keep two links apart.
//!
//! As BSD's stacks do, the zone travels *inside* the address while that is in the stack: link-local unicast (fe80::/10) and
//! multicast of interface-local and link-local scope (ff01::/16, ff02::/16) carry the interface's index in their second 16-bit
//! word, which is zero in every such address on the wire (RFC 4291 2.5.6). So a table keyed by address needs no second
//! key, and no caller can forget it. The word is put in where an address enters (a packet, a socket address with a
//! scope id, a configuration request) and taken out where it leaves; a checksum's pseudo-header leaves it out.

use core::net::{IpAddr, Ipv6Addr};

/// Whether addresses of this kind exist once on every link, and so carry a zone. Groups made of a prefix (RFC 3306, flag P) have
/// their prefix length in that word and carry none.
#[inline]
pub const fn is_scoped(a: &Ipv6Addr) -> bool {
    let s = a.segments()[0];
    s & 0xffc0 == 0xfe80 || s & 0xff2f == 0xff01 || s & 0xff2f == 0xff02
}

/// The address as the stack keeps it: with the zone, if it is of a kind that has one. Interface indices are below 65,536; 0
/// leaves the address without a zone.
#[inline]
pub const fn embed(a: Ipv6Addr, ifindex: u32) -> Ipv6Addr {
    if !is_scoped(&a) {
        return a;
    }
    let s = a.segments();
    Ipv6Addr::new(s[0], ifindex as u16, s[2], s[3], s[4], s[5], s[6], s[7])
}

/// The address as it is on the wire and in a socket address.
#[inline]
pub const fn strip(a: Ipv6Addr) -> Ipv6Addr {
    embed(a, 0)
}

/// The zone that an address of the stack carries: an interface's index, 0 for none.
#[inline]
pub const fn of(a: &Ipv6Addr) -> u32 {
    if is_scoped(a) { a.segments()[1] as u32 } else { 0 }
}

/// [`embed`] for either family; IPv4 has no zones.
#[inline]
pub fn embed_ip(a: IpAddr, ifindex: u32) -> IpAddr {
    match a {
        IpAddr::V6(x) => IpAddr::V6(embed(x, ifindex)),
        IpAddr::V4(_) => a,
    }
}

/// [`strip`] for either family.
#[inline]
pub fn strip_ip(a: IpAddr) -> IpAddr {
    embed_ip(a, 0)
}

/// [`of`] for either family.
#[inline]
pub fn of_ip(a: &IpAddr) -> u32 {
    match a {
        IpAddr::V6(x) => of(x),
        IpAddr::V4(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_zone_carries_it_and_nothing_else_does() {
        for a in ["fe80::1", "febf::1", "ff02::1", "ff12::1", "ff01::2", "ff11::5"] {
            let a: Ipv6Addr = a.parse().unwrap();
            assert_eq!(of(&embed(a, 0xffff)), 0xffff);
            assert_eq!(strip(embed(a, 7)), a);
            assert_ne!(embed(a, 7), embed(a, 8));
        }
        for a in
            ["2001:db8::1", "::1", "ff05::1", "ff0e::1", "fec0::1", "ff32:40::1", "fd00::1", "::ffff:1.2.3.4"]
        {
            let a: Ipv6Addr = a.parse().unwrap();
            assert_eq!((embed(a, 7), of(&a)), (a, 0));
        }
        let v4: IpAddr = "169.254.1.1".parse().unwrap();
        assert_eq!((embed_ip(v4, 3), of_ip(&v4)), (v4, 0));
    }
}
