//! Address prefixes of both families.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Length of an address of `a`'s family in bits.
#[inline]
pub fn max_len(a: IpAddr) -> u8 {
    if a.is_ipv4() { 32 } else { 128 }
}

/// `a` with the bits behind the first `len` cleared; `len` is capped at the family's.
#[inline]
pub fn mask(a: IpAddr, len: u8) -> IpAddr {
    match a {
        IpAddr::V4(x) => IpAddr::V4(Ipv4Addr::from(u32::from(x) & mask4(len))),
        IpAddr::V6(x) => {
            let m = if len == 0 { 0 } else { u128::MAX << (128 - u32::from(len.min(128))) };
            IpAddr::V6(Ipv6Addr::from(u128::from(x) & m))
        }
    }
}

/// Network mask of an IPv4 prefix length.
#[inline]
pub fn mask4(len: u8) -> u32 {
    if len == 0 { 0 } else { u32::MAX << (32 - u32::from(len.min(32))) }
}

/// Whether `a` lies in `net/len`.
#[inline]
pub fn contains(net: IpAddr, len: u8, a: IpAddr) -> bool {
    net.is_ipv4() == a.is_ipv4() && mask(net, len) == mask(a, len)
}

/// The address with the host part all ones (the broadcast address of an IPv4 network).
pub fn all_ones(a: IpAddr, len: u8) -> IpAddr {
    match a {
        IpAddr::V4(x) => IpAddr::V4(Ipv4Addr::from(u32::from(x) | !mask4(len))),
        IpAddr::V6(_) => a,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(s: &str) -> IpAddr {
        s.parse().unwrap()
    }

    #[test]
    fn masks() {
        assert_eq!(mask(ip("10.1.2.3"), 8), ip("10.0.0.0"));
        assert_eq!(mask(ip("10.1.2.3"), 0), ip("0.0.0.0"));
        assert_eq!(mask(ip("10.1.2.3"), 32), ip("10.1.2.3"));
        assert_eq!(mask(ip("10.1.2.3"), 99), ip("10.1.2.3"));
        assert_eq!(mask(ip("2001:db8::1"), 32), ip("2001:db8::"));
        assert_eq!(mask(ip("2001:db8::1"), 128), ip("2001:db8::1"));
        assert_eq!(all_ones(ip("10.1.2.3"), 24), ip("10.1.2.255"));
        assert!(contains(ip("10.0.0.0"), 8, ip("10.255.0.1")));
        assert!(!contains(ip("10.0.0.0"), 8, ip("::ffff:10.0.0.1")));
    }
}
