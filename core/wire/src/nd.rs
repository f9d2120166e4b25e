//! Neighbour Discovery messages and options (RFC 4861, RFC 4191, RFC 8106, RFC 3971's nonce as RFC 7527 uses it).
//!
//! A message is what stands behind the 8 bytes of the ICMPv6 header; flags and numbers in that header's last word are passed
//! beside it. Readers check lengths and that no option is empty (RFC 4861 7.1: such a message is dropped whole); what addresses
//! and hop limit must be is the domain's matter.

use crate::icmp6;
use alloc::vec::Vec;
use core::net::Ipv6Addr;

/// Option types.
#[allow(missing_docs)]
pub mod opt {
    pub const SOURCE_LINK: u8 = 1;
    pub const TARGET_LINK: u8 = 2;
    pub const PREFIX: u8 = 3;
    pub const REDIRECTED: u8 = 4;
    pub const MTU: u8 = 5;
    pub const NONCE: u8 = 14;
    pub const ROUTE: u8 = 24;
    pub const RDNSS: u8 = 25;
    pub const DNSSL: u8 = 31;
}

/// Lifetimes of this many seconds never end.
pub const INFINITE: u32 = u32::MAX;

/// Preference of a default router or route (RFC 4191 2.1), in the order of worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Preference {
    /// Low.
    Low,
    /// Medium, and what the reserved value means for a router.
    #[default]
    Medium,
    /// High.
    High,
}

impl Preference {
    /// From the two bits; `None` for the reserved value.
    pub const fn from_bits(b: u8) -> Option<Preference> {
        match b & 3 {
            0 => Some(Preference::Medium),
            1 => Some(Preference::High),
            3 => Some(Preference::Low),
            _ => None,
        }
    }

    /// The two bits.
    pub const fn bits(self) -> u8 {
        match self {
            Preference::Medium => 0,
            Preference::High => 1,
            Preference::Low => 3,
        }
    }
}

/// A router advertisement without its options.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouterAdvert {
    /// Hop limit for packets; 0 says nothing.
    pub hop_limit: u8,
    /// M: addresses by DHCPv6.
    pub managed: bool,
    /// O: other things by DHCPv6.
    pub other: bool,
    /// How good a default router it is.
    pub preference: Preference,
    /// Seconds that it is a default router; 0: it is none.
    pub lifetime: u16,
    /// Milliseconds that a neighbour counts as reachable; 0 says nothing.
    pub reachable: u32,
    /// Milliseconds between solicitations; 0 says nothing.
    pub retrans: u32,
}

impl RouterAdvert {
    /// Reads the header's last word and the body; the rest of the body are options.
    pub fn parse(rest: [u8; 4], body: &[u8]) -> Option<(RouterAdvert, &[u8])> {
        // [RFC4191 2.1]
        let (b, options) = body.split_first_chunk::<8>()?;
        Some((
            RouterAdvert {
                hop_limit: rest[0],
                managed: rest[1] & 0x80 != 0,
                other: rest[1] & 0x40 != 0,
                // RFC 4191 2.2: the reserved value is as medium.
                preference: Preference::from_bits(rest[1] >> 3).unwrap_or_default(),
                lifetime: u16::from_be_bytes([rest[2], rest[3]]),
                reachable: u32::from_be_bytes([b[0], b[1], b[2], b[3]]),
                retrans: u32::from_be_bytes([b[4], b[5], b[6], b[7]]),
            },
            options,
        ))
    }

    /// The message without checksum: 16 bytes; options follow.
    pub fn emit(&self) -> Vec<u8> {
        let l = self.lifetime.to_be_bytes();
        let f = u8::from(self.managed) << 7 | u8::from(self.other) << 6 | self.preference.bits() << 3;
        let mut v = head(icmp6::ty::ROUTER_ADVERT, [self.hop_limit, f, l[0], l[1]]);
        v.extend(self.reachable.to_be_bytes());
        v.extend(self.retrans.to_be_bytes());
        v
    }
}

/// Flags of a neighbour advertisement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AdvertFlags {
    /// R: the sender is a router.
    pub router: bool,
    /// S: it answers a solicitation.
    pub solicited: bool,
    /// O: it replaces a link-level address that is known.
    pub over: bool,
}

impl AdvertFlags {
    /// From the header's last word.
    pub const fn from_rest(rest: [u8; 4]) -> AdvertFlags {
        AdvertFlags { router: rest[0] & 0x80 != 0, solicited: rest[0] & 0x40 != 0, over: rest[0] & 0x20 != 0 }
    }

    const fn rest(self) -> [u8; 4] {
        [(self.router as u8) << 7 | (self.solicited as u8) << 6 | (self.over as u8) << 5, 0, 0, 0]
    }
}

/// The target that a solicitation, advertisement or redirect begins with, and what follows.
pub fn target(body: &[u8]) -> Option<(Ipv6Addr, &[u8])> {
    let (a, rest) = body.split_first_chunk::<16>()?;
    Some((Ipv6Addr::from(*a), rest))
}

/// A router solicitation without checksum; options follow.
pub fn router_solicit() -> Vec<u8> {
    head(icmp6::ty::ROUTER_SOLICIT, [0; 4])
}

/// A neighbour solicitation without checksum; options follow.
pub fn neighbor_solicit(target: Ipv6Addr) -> Vec<u8> {
    let mut v = head(icmp6::ty::NEIGHBOR_SOLICIT, [0; 4]);
    v.extend(target.octets());
    v
}

/// A neighbour advertisement without checksum; options follow.
pub fn neighbor_advert(target: Ipv6Addr, f: AdvertFlags) -> Vec<u8> {
    let mut v = head(icmp6::ty::NEIGHBOR_ADVERT, f.rest());
    v.extend(target.octets());
    v
}

/// A redirect without checksum; options follow.
pub fn redirect(target: Ipv6Addr, dst: Ipv6Addr) -> Vec<u8> {
    let mut v = head(icmp6::ty::REDIRECT, [0; 4]);
    v.extend(target.octets());
    v.extend(dst.octets());
    v
}

fn head(ty: u8, rest: [u8; 4]) -> Vec<u8> {
    alloc::vec![ty, 0, 0, 0, rest[0], rest[1], rest[2], rest[3]]
}

/// A prefix of a router advertisement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// The prefix; bits behind its length are to be ignored.
    pub prefix: Ipv6Addr,
    /// Its length in bits; over 128 is the sender's error.
    pub plen: u8,
    /// L: hosts of the prefix are on the link.
    pub on_link: bool,
    /// A: addresses may be made of it.
    pub autonomous: bool,
    /// Seconds it is valid.
    pub valid: u32,
    /// Seconds addresses of it are preferred.
    pub preferred: u32,
}

/// An option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opt<'a> {
    /// Link-level address of the sender.
    SourceLink([u8; 6]),
    /// Link-level address of the target.
    TargetLink([u8; 6]),
    /// A prefix.
    Prefix(Prefix),
    /// The start of the packet that was redirected.
    Redirected(&'a [u8]),
    /// The link's MTU.
    Mtu(u32),
    /// RFC 3971 5.3.2.
    Nonce(&'a [u8]),
    /// A more specific route (RFC 4191 2.3); the preference is `None` for the reserved value (to be ignored).
    Route {
        /// The prefix, bits behind its length zero or not.
        prefix: Ipv6Addr,
        /// Its length in bits.
        plen: u8,
        /// Preference.
        preference: Option<Preference>,
        /// Seconds.
        lifetime: u32,
    },
    /// Servers for names (RFC 8106 5.1).
    Rdnss {
        /// Seconds.
        lifetime: u32,
        /// 16 bytes each.
        servers: &'a [u8],
    },
    /// Domains to search (RFC 8106 5.2).
    Dnssl {
        /// Seconds.
        lifetime: u32,
        /// Names as DNS writes them, padded with zeros.
        names: &'a [u8],
    },
    /// Another, or one of these whose length does not fit its kind: to be ignored.
    Other(u8),
}

/// The options of a message; `Err` and the end when one is empty or cut off: then the whole message is to be dropped.
pub fn options(mut b: &[u8]) -> impl Iterator<Item = Result<Opt<'_>, ()>> {
    core::iter::from_fn(move || {
        if b.is_empty() {
            return None;
        }
        let len = b.get(1).map_or(0, |l| usize::from(*l) * 8);
        let Some((o, rest)) = b.split_at_checked(len).filter(|_| len != 0) else {
            b = &[];
            return Some(Err(()));
        };
        b = rest;
        Some(Ok(option(o)))
    })
}

fn option(o: &[u8]) -> Opt<'_> {
    // [RFC4861 6.1.3] [RFC4191 2.3c] [RFC8106 5.3.1a]
    let u32_at = |at: usize| o[at..].first_chunk().map_or(0, |b| u32::from_be_bytes(*b));
    let addr_at =
        |at: usize| o[at..].first_chunk::<16>().map_or(Ipv6Addr::UNSPECIFIED, |b| Ipv6Addr::from(*b));
    match (o[0], o.len()) {
        (opt::SOURCE_LINK, 8) => Opt::SourceLink([o[2], o[3], o[4], o[5], o[6], o[7]]),
        (opt::TARGET_LINK, 8) => Opt::TargetLink([o[2], o[3], o[4], o[5], o[6], o[7]]),
        (opt::PREFIX, 32) => Opt::Prefix(Prefix {
            prefix: addr_at(16),
            plen: o[2],
            on_link: o[3] & 0x80 != 0,
            autonomous: o[3] & 0x40 != 0,
            valid: u32_at(4),
            preferred: u32_at(8),
        }),
        (opt::REDIRECTED, 8..) => Opt::Redirected(&o[8..]),
        (opt::MTU, 8) => Opt::Mtu(u32_at(4)),
        (opt::NONCE, _) => Opt::Nonce(&o[2..]),
        (opt::ROUTE, n @ (8 | 16 | 24)) if o[2] <= 128 && usize::from(o[2]).div_ceil(64) * 8 <= n - 8 => {
            let mut a = [0; 16];
            a[..n - 8].copy_from_slice(&o[8..]);
            Opt::Route {
                prefix: a.into(),
                plen: o[2],
                preference: Preference::from_bits(o[3] >> 3),
                lifetime: u32_at(4),
            }
        }
        (opt::RDNSS, n) if n >= 24 && (n - 8) % 16 == 0 => {
            Opt::Rdnss { lifetime: u32_at(4), servers: &o[8..] }
        }
        (opt::DNSSL, 16..) => Opt::Dnssl { lifetime: u32_at(4), names: &o[8..] },
        (t, _) => Opt::Other(t),
    }
}

/// Appends a link-level address option.
pub fn push_link(v: &mut Vec<u8>, ty: u8, mac: [u8; 6]) {
    v.extend([ty, 1]);
    v.extend(mac);
}

/// Appends a nonce option (RFC 7527 4.2: 6 bytes fill it).
pub fn push_nonce(v: &mut Vec<u8>, nonce: [u8; 6]) {
    v.extend([opt::NONCE, 1]);
    v.extend(nonce);
}

/// Appends a prefix option.
pub fn push_prefix(v: &mut Vec<u8>, p: &Prefix) {
    v.extend([opt::PREFIX, 4, p.plen, u8::from(p.on_link) << 7 | u8::from(p.autonomous) << 6]);
    v.extend(p.valid.to_be_bytes());
    v.extend(p.preferred.to_be_bytes());
    v.extend([0; 4]);
    v.extend(p.prefix.octets());
}

/// Appends an MTU option.
pub fn push_mtu(v: &mut Vec<u8>, mtu: u32) {
    v.extend([opt::MTU, 1, 0, 0]);
    v.extend(mtu.to_be_bytes());
}

/// Appends an option with the servers for names.
pub fn push_rdnss(v: &mut Vec<u8>, lifetime: u32, servers: &[Ipv6Addr]) {
    v.extend([opt::RDNSS, 1 + 2 * servers.len() as u8, 0, 0]);
    v.extend(lifetime.to_be_bytes());
    servers.iter().for_each(|s| v.extend(s.octets()));
}

/// Appends a route option with the whole prefix.
pub fn push_route(v: &mut Vec<u8>, prefix: Ipv6Addr, plen: u8, preference: Preference, lifetime: u32) {
    v.extend([opt::ROUTE, 3, plen, preference.bits() << 3]);
    v.extend(lifetime.to_be_bytes());
    v.extend(prefix.octets());
}

/// Appends the start of a redirected packet, as much as fits `max` bytes of option.
pub fn push_redirected(v: &mut Vec<u8>, packet: &[u8], max: usize) {
    let n = (packet.len().min(max.saturating_sub(8)) & !7).min(254 * 8);
    v.extend([opt::REDIRECTED, (1 + n / 8) as u8, 0, 0, 0, 0, 0, 0]);
    v.extend_from_slice(&packet[..n]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn options_come_back() {
        let mut v = Vec::new();
        let p = Prefix {
            prefix: "2001:db8::".parse().unwrap(),
            plen: 64,
            on_link: true,
            autonomous: false,
            valid: INFINITE,
            preferred: 1,
        };
        let dns: Ipv6Addr = "2001:db8::53".parse().unwrap();
        push_link(&mut v, opt::SOURCE_LINK, [1, 2, 3, 4, 5, 6]);
        push_nonce(&mut v, [9; 6]);
        push_prefix(&mut v, &p);
        push_mtu(&mut v, 1400);
        push_rdnss(&mut v, 600, &[dns]);
        push_route(&mut v, p.prefix, 32, Preference::High, 5);
        push_redirected(&mut v, &[7; 30], 1000);
        let got: Vec<Opt<'_>> = options(&v).map(Result::unwrap).collect();
        assert_eq!(got[0], Opt::SourceLink([1, 2, 3, 4, 5, 6]));
        assert_eq!(got[1], Opt::Nonce(&[9; 6]));
        assert_eq!(got[2], Opt::Prefix(p));
        assert_eq!(got[3], Opt::Mtu(1400));
        assert_eq!(got[4], Opt::Rdnss { lifetime: 600, servers: &dns.octets() });
        let preference = Some(Preference::High);
        assert_eq!(got[5], Opt::Route { prefix: p.prefix, plen: 32, preference, lifetime: 5 });
        assert_eq!(got[6], Opt::Redirected(&[7; 24]));
        assert_eq!(options(&[5, 0, 0, 0, 0, 0, 0, 0]).collect::<Vec<_>>(), [Err(())]);
        assert_eq!(options(&[5, 2, 0, 0, 0, 0, 0, 0]).collect::<Vec<_>>(), [Err(())]);
        assert_eq!(options(&[99, 1, 0, 0, 0, 0, 0, 0]).collect::<Vec<_>>(), [Ok(Opt::Other(99))]);
    }

    #[test]
    fn a_short_route_option_holds_only_a_short_prefix() {
        // [RFC4191 2.3c]
        let o = [opt::ROUTE, 1, 0, 0x18, 0, 0, 0, 9];
        let Opt::Route { plen: 0, preference: Some(Preference::Low), lifetime: 9, .. } = option(&o) else {
            panic!()
        };
        let o = [opt::ROUTE, 2, 65, 0, 0, 0, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(option(&o), Opt::Other(opt::ROUTE));
    }

    proptest! {
        #[test]
        fn an_advertisement_comes_back(hop_limit: u8, managed: bool, other: bool, p in 0u8..3, lifetime: u16, reachable: u32, retrans: u32) {
            let preference = [Preference::Low, Preference::Medium, Preference::High][usize::from(p)];
            let a = RouterAdvert { hop_limit, managed, other, preference, lifetime, reachable, retrans };
            let b = a.emit();
            let h = icmp6::Header::parse_unchecked(&b).unwrap();
            prop_assert_eq!(RouterAdvert::parse(h.rest, &b[8..]), Some((a, &[][..])));
        }

        #[test]
        fn any_bytes_are_safe(b in proptest::collection::vec(any::<u8>(), 0..300)) {
            let n: usize = options(&b).count();
            prop_assert!(n <= b.len() / 8 + 1);
            let _ = RouterAdvert::parse([0xff; 4], &b);
        }
    }
}
