//! Addresses and masks as BSD tools read and write them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// inet_aton(3): one to four parts, each decimal, octal (`0..`) or hexadecimal (`0x..`); the last part fills
/// the bytes that remain, so `10.184` is 10.0.0.184.
pub fn inet_aton(s: &str) -> Option<Ipv4Addr> {
    let parts: Vec<&str> = s.split('.').collect();
    if parts.is_empty() || parts.len() > 4 {
        return None;
    }
    let mut value = 0u32;
    for (i, p) in parts.iter().enumerate() {
        let n = number(p)?;
        if i + 1 == parts.len() {
            let bits = 8 * (4 - i as u32);
            if bits < 32 && n >> bits != 0 {
                return None;
            }
            value |= n;
        } else {
            value |= u8::try_from(n).ok().map(u32::from)? << (24 - 8 * i);
        }
    }
    Some(Ipv4Addr::from(value))
}

/// A C number: decimal, octal with a leading 0, hexadecimal with 0x.
fn number(p: &str) -> Option<u32> {
    if let Some(h) = p.strip_prefix("0x").or_else(|| p.strip_prefix("0X")) {
        return u32::from_str_radix(h, 16).ok().filter(|_| !h.starts_with('+'));
    }
    if p.is_empty() || !p.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    u32::from_str_radix(p, if p.len() > 1 && p.starts_with('0') { 8 } else { 10 }).ok()
}

/// A network as `route -net` reads it: missing parts are on the right, so `128.32` is 128.32.0.0.
pub fn inet_network(s: &str) -> Option<Ipv4Addr> {
    let mut b = [0u8; 4];
    let parts: Vec<&str> = s.split('.').collect();
    if parts.len() > 4 {
        return None;
    }
    for (i, p) in parts.iter().enumerate() {
        b[i] = u8::try_from(number(p)?).ok()?;
    }
    Some(Ipv4Addr::from(b))
}

/// The mask that an address has by its class (RFC 791), what `ifconfig IF ADDR` uses without a mask.
pub fn class_prefix(a: Ipv4Addr) -> u8 {
    match a.octets()[0] {
        0..=127 => 8,
        128..=191 => 16,
        _ => 24,
    }
}

/// Reads a netmask: `0xff000000`, `255.0.0.0`; must be contiguous.
pub fn netmask(s: &str) -> Option<u8> {
    let m = if s.starts_with("0x") || s.starts_with("0X") {
        u32::from_str_radix(&s[2..], 16).ok()?
    } else {
        u32::from(inet_aton(s)?)
    };
    (m.leading_ones() + m.trailing_zeros() == 32 || m == 0 || m == u32::MAX).then(|| m.leading_ones() as u8)
}

/// The mask of a prefix length.
pub fn mask_of(len: u8) -> u32 {
    if len == 0 { 0 } else { u32::MAX << (32 - u32::from(len.min(32))) }
}

/// The network of an address: its bits behind `len` are zero.
pub fn network6(a: Ipv6Addr, len: u8) -> Ipv6Addr {
    let mask = u128::MAX.checked_shl(128 - u32::from(len.min(128))).unwrap_or(0);
    Ipv6Addr::from_bits(a.to_bits() & mask)
}

/// An address with its zone, if it is of a kind that has one: `fe80::1%ecm0` (RFC 4007 11).
pub fn zoned(a: IpAddr, ifname: Option<&str>) -> String {
    match (a, ifname) {
        (IpAddr::V6(x), Some(n)) if iopkt_base::zone::is_scoped(&x) => format!("{a}%{n}"),
        _ => a.to_string(),
    }
}

/// An IPv6 address and the zone behind it, if there is one.
pub fn parse6(s: &str) -> Option<(Ipv6Addr, Option<&str>)> {
    match s.split_once('%') {
        Some((_, "")) => None,
        Some((a, z)) => a.parse().ok().filter(iopkt_base::zone::is_scoped).map(|a| (a, Some(z))),
        None => s.parse().ok().map(|a| (a, None)),
    }
}

/// Any address: IPv4 in inet_aton's notation, IPv6 in full.
pub fn parse(s: &str) -> Option<IpAddr> {
    inet_aton(s).map(IpAddr::V4).or_else(|| s.parse().ok())
}

/// A link-level address: six hexadecimal bytes with colons.
pub fn parse_mac(s: &str) -> Option<[u8; 6]> {
    let mut m = [0; 6];
    let mut it = s.split(':');
    for b in &mut m {
        *b = u8::from_str_radix(it.next()?, 16).ok()?;
    }
    it.next().is_none().then_some(m)
}

/// Six lower-case hexadecimal bytes with colons.
pub fn mac(m: &[u8; 6]) -> String {
    m.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_forms_fill_from_the_right() {
        for (s, want) in [
            ("10.184", "10.0.0.184"),
            ("10.1", "10.0.0.1"),
            ("127.1", "127.0.0.1"),
            ("1.2.3", "1.2.0.3"),
            ("1.2.65535", "1.2.255.255"),
            ("0x7f.1", "127.0.0.1"),
            ("010.1", "8.0.0.1"),
            ("4294967295", "255.255.255.255"),
            ("0", "0.0.0.0"),
        ] {
            assert_eq!(inet_aton(s).map(|a| a.to_string()).as_deref(), Some(want), "{s}");
        }
        for s in [
            "",
            ".",
            "1.",
            "256.1",
            "1.2.3.256",
            "1.2.65536",
            "a",
            "1.2.3.4.5",
            "-1",
            "+1",
            "0x+1",
            "1.16777216",
        ] {
            assert_eq!(inet_aton(s), None, "{s}");
        }
        assert_eq!(inet_network("128.32").map(|a| a.to_string()).as_deref(), Some("128.32.0.0"));
    }

    #[test]
    fn masks() {
        assert_eq!(netmask("0xff000000"), Some(8));
        assert_eq!(netmask("255.255.255.0"), Some(24));
        assert_eq!(netmask("0xffffffff"), Some(32));
        assert_eq!(netmask("0x0"), Some(0));
        assert_eq!(netmask("255.0.255.0"), None);
        assert_eq!((mask_of(0), mask_of(8), mask_of(32)), (0, 0xff00_0000, u32::MAX));
        assert_eq!(class_prefix(Ipv4Addr::new(10, 0, 0, 1)), 8);
        assert_eq!(class_prefix(Ipv4Addr::new(172, 16, 0, 1)), 16);
        assert_eq!(class_prefix(Ipv4Addr::new(192, 168, 0, 1)), 24);
    }

    #[test]
    fn link_level_addresses() {
        assert_eq!(parse_mac("2:0:0:0:9:1f"), Some([2, 0, 0, 0, 9, 0x1f]));
        assert_eq!(parse_mac("2:0:0:0:9"), None);
        assert_eq!(mac(&[2, 0, 0, 0, 9, 0x1f]), "02:00:00:00:09:1f");
    }
}
