//! Addresses as RTM_NEWADDR tells them: with what IPv6 knows of their age.

use super::msg::{Head, Out, af};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};
use iopkt_ctl::{AddrInfo, IfKind, Ifconf, Reply, Request, in6};
use iopkt_stack::Shard;

/// `IFA_F_*` of linux/if_addr.h.
pub(crate) mod ifa_f {
    pub const TEMPORARY: u32 = 0x01;
    pub const NODAD: u32 = 0x02;
    pub const OPTIMISTIC: u32 = 0x04;
    pub const DADFAILED: u32 = 0x08;
    pub const DEPRECATED: u32 = 0x20;
    pub const TENTATIVE: u32 = 0x40;
    pub const PERMANENT: u32 = 0x80;
    pub const MANAGETEMPADDR: u32 = 0x100;
    pub const STABLE_PRIVACY: u32 = 0x800;
}

/// Whether identifiers of addresses are made from a key (RFC 7217), not from link-level addresses.
pub(crate) fn stable(shard: &mut Shard) -> bool {
    let r = Request::Sysctl { name: "net.inet6.ip6.stable_secret".into(), value: None };
    matches!(shard.ctl(&r), Some(Reply::Sysctl(l)) if l.first().is_some_and(|v| !v.1.is_empty()))
}

fn is_link_local(a: &Ipv6Addr) -> bool {
    a.segments()[0] & 0xffc0 == 0xfe80
}

/// Whether the identifier of an address is that of the interface's link-level address (modified EUI-64).
fn shows_mac(i: &Ifconf, a: &Ipv6Addr) -> bool {
    let m = i.mac;
    a.octets()[8..] == [m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]]
}

/// `IFA_F_*` bits of an address.
pub(crate) fn flags(i: &Ifconf, a: &AddrInfo, stable: bool) -> u32 {
    let (IpAddr::V6(ip), Some(l)) = (a.addr, i.life(&a.addr)) else { return ifa_f::PERMANENT };
    let has = |bit: u32| l.flags & bit != 0;
    let made = (has(in6::AUTOCONF) || is_link_local(&ip)) && !has(in6::TEMPORARY);
    let private = stable && made && i.kind == IfKind::Ethernet && !shows_mac(i, &ip);
    let all = [
        (has(in6::TEMPORARY), ifa_f::TEMPORARY),
        (has(in6::NODAD), ifa_f::NODAD),
        (has(in6::OPTIMISTIC), ifa_f::OPTIMISTIC),
        (has(in6::TENTATIVE), ifa_f::TENTATIVE),
        (has(in6::DUPLICATED), ifa_f::DADFAILED | ifa_f::TENTATIVE),
        // Of a prefix that no router answers for: used when nothing else is there, as what is deprecated.
        (has(in6::DEPRECATED | in6::DETACHED), ifa_f::DEPRECATED),
        (l.valid.is_none(), ifa_f::PERMANENT),
        (has(in6::AUTOCONF) && !has(in6::TEMPORARY), ifa_f::MANAGETEMPADDR),
        (private, ifa_f::STABLE_PRIVACY),
    ];
    all.iter().filter(|x| x.0).fold(0, |f, x| f | x.1)
}

pub(super) fn addr(h: Head, i: &Ifconf, a: &AddrInfo, stable: bool) -> Vec<u8> {
    // RT_SCOPE_HOST, RT_SCOPE_LINK, RT_SCOPE_UNIVERSE.
    let scope = match a.addr {
        x if x.is_loopback() => 254,
        IpAddr::V4(x) if x.is_link_local() => 253,
        IpAddr::V6(x) if is_link_local(&x) => 253,
        _ => 0,
    };
    let f = flags(i, a, stable);
    let mut o = Out::begin(h);
    o.raw(&[af(a.addr.is_ipv4()), a.prefix_len, f as u8, scope]).raw(&i.index.to_ne_bytes());
    // IFA_ADDRESS is the peer where there is one; Linux says IFA_LOCAL and a label of IPv4 addresses, or beside a peer.
    o.ip(1, a.peer.unwrap_or(a.addr));
    if a.addr.is_ipv4() || a.peer.is_some() {
        o.ip(2, a.addr);
    }
    if let Some(b) = a.broadcast {
        o.ip(4, b);
    }
    if a.addr.is_ipv4() {
        o.text(3, &i.name);
    }
    let life = i.life(&a.addr);
    // struct ifa_cacheinfo: preferred and valid seconds; when it was made and changed is not kept.
    let secs = |s: Option<Option<u32>>| s.flatten().unwrap_or(u32::MAX).to_ne_bytes();
    let preferred = if f & ifa_f::DEPRECATED != 0 { [0; 4] } else { secs(life.map(|l| l.preferred)) };
    o.u32(8, f).attr(6, &[preferred, secs(life.map(|l| l.valid)), [0; 4], [0; 4]].concat());
    // IFA_PROTO: the loopback's own, made of an advertisement, the link-local one that every interface has.
    let by = match a.addr {
        x if x.is_loopback() => Some(1),
        _ if life.is_some_and(|l| l.flags & in6::AUTOCONF != 0) => Some(2),
        IpAddr::V6(x) if is_link_local(&x) && i.kind == IfKind::Ethernet => Some(3),
        _ => None,
    };
    if let Some(p) = by {
        o.attr(11, &[p]);
    }
    o.end()
}
