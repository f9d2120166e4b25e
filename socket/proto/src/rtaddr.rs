//! Addresses in messages of routing sockets: BSD's `sockaddr_in`, `sockaddr_in6` and `sockaddr_dl`.

use crate::rw::{get, get_u16, get_u32, put};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use iopkt_base::zone;

/// Bits of `addrs` (`RTA_*`).
#[allow(missing_docs)]
pub mod rta {
    pub const DST: u32 = 0x1;
    pub const GATEWAY: u32 = 0x2;
    pub const NETMASK: u32 = 0x4;
    pub const GENMASK: u32 = 0x8;
    pub const IFP: u32 = 0x10;
    pub const IFA: u32 = 0x20;
    pub const AUTHOR: u32 = 0x40;
    pub const BRD: u32 = 0x80;
}

/// AF_INET of socket addresses in messages.
pub const BSD_AF_INET: u8 = 2;
/// AF_LINK.
pub const BSD_AF_LINK: u8 = 18;
/// AF_INET6 as QNX and NetBSD number it.
pub const BSD_AF_INET6: u8 = 24;

/// `sockaddr_dl`: an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkAddr {
    /// Index.
    pub index: u16,
    /// Type (`IFT_ETHER` 6, `IFT_LOOP` 24, `IFT_PPP` 23).
    pub ty: u8,
    /// Name, filled with zeros.
    pub name: [u8; 16],
    /// Link-level address.
    pub mac: Option<[u8; 6]>,
}

impl LinkAddr {
    /// The name as text.
    pub fn name(&self) -> &str {
        text(&self.name)
    }
}

/// One socket address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sa {
    /// `sockaddr_in`, `sockaddr_in6`.
    Ip(IpAddr),
    /// `sockaddr_dl`.
    Link(LinkAddr),
}

impl Sa {
    /// The IP address.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Sa::Ip(a) => Some(*a),
            Sa::Link(_) => None,
        }
    }
}

/// The addresses of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Addrs {
    /// Destination.
    pub dst: Option<IpAddr>,
    /// Gateway: an address, or the interface of an on-link route.
    pub gateway: Option<Sa>,
    /// Prefix length.
    pub netmask: Option<u8>,
    /// Interface.
    pub ifp: Option<LinkAddr>,
    /// Address of the interface.
    pub ifa: Option<IpAddr>,
    /// Who redirected.
    pub author: Option<IpAddr>,
    /// Broadcast address, or the peer of a point-to-point link.
    pub brd: Option<IpAddr>,
}

/// A text that ends at its first zero byte.
fn text(b: &[u8]) -> &str {
    let end = b.iter().position(|c| *c == 0).unwrap_or(b.len());
    core::str::from_utf8(b.get(..end).unwrap_or(&[])).unwrap_or("")
}

/// A name in a field of 16 bytes, cut to 15.
pub fn if_name(s: &str) -> [u8; 16] {
    let mut b = [0; 16];
    let n = s.len().min(15);
    put(&mut b, 0, s.as_bytes().get(..n).unwrap_or(&[]));
    b
}

/// Takes the addresses behind a header apart.
pub(crate) fn decode_addrs(bits: u32, mut b: &[u8]) -> Option<Addrs> {
    let mut parts: [&[u8]; 8] = [&[]; 8];
    if bits >> 8 != 0 {
        return None;
    }
    for (_, part) in parts.iter_mut().enumerate().filter(|(i, _)| bits >> i & 1 != 0) {
        let len = usize::from(*b.first()?);
        // BSD's ROUNDUP: an address of length 0 (the mask of the default route) takes one unit.
        let room = len.max(1).next_multiple_of(8);
        *part = b.get(..len)?;
        b = b.get(room..).unwrap_or(&[]);
    }
    let has = |bit: u32| bits & bit != 0;
    let at = |bit: u32| parts[bit.trailing_zeros() as usize];
    let ip = |bit: u32| if has(bit) { sa(at(bit)).map(|s| s.ip()) } else { Some(None) };
    let mut a = Addrs { dst: ip(rta::DST)?, ..Addrs::default() };
    a.ifa = ip(rta::IFA)?;
    a.author = ip(rta::AUTHOR)?;
    a.brd = ip(rta::BRD)?;
    if has(rta::GATEWAY) {
        a.gateway = Some(sa(at(rta::GATEWAY))?);
    }
    if has(rta::IFP) {
        a.ifp = match sa(at(rta::IFP))? {
            Sa::Link(l) => Some(l),
            Sa::Ip(_) => None,
        };
    }
    if has(rta::NETMASK) {
        let v4 = a.dst.or(a.ifa).is_none_or(|d| d.is_ipv4());
        a.netmask = Some(mask_len(at(rta::NETMASK), v4)?);
    }
    Some(a)
}

fn sa(b: &[u8]) -> Option<Sa> {
    match (*b.get(1)?, b.len()) {
        (BSD_AF_INET, 8..) => Some(Sa::Ip(IpAddr::V4(Ipv4Addr::from(get::<4>(b, 4))))),
        (BSD_AF_INET6, 24..) => {
            let a = Ipv6Addr::from(get::<16>(b, 8));
            // `sin6_scope_id`, where the address itself does not say its zone.
            let scope = if b.len() >= 28 { get_u32(b, 24) } else { 0 };
            let a = if zone::of(&a) == 0 { zone::embed(a, scope) } else { a };
            Some(Sa::Ip(IpAddr::V6(a)))
        }
        (BSD_AF_LINK, 8..) => {
            let (nlen, alen) = (usize::from(b[5]), usize::from(b[6]));
            let name = b.get(8..8 + nlen)?;
            let mut l = LinkAddr { index: get_u16(b, 2), ty: b[4], ..LinkAddr::default() };
            let n = name.len().min(15);
            put(&mut l.name, 0, name.get(..n)?);
            l.mac = if alen == 6 { b.get(8 + nlen..8 + nlen + 6)?.try_into().ok() } else { None };
            Some(Sa::Link(l))
        }
        _ => None,
    }
}

/// A netmask may be cut behind its last byte that is not zero, and need not have a family (BSD's habit).
fn mask_len(b: &[u8], v4: bool) -> Option<u8> {
    let (at, n) = if v4 { (4, 4) } else { (8, 16) };
    let mut ones = 0;
    let mut ended = false;
    for i in 0..n {
        let byte = b.get(at + i).copied().unwrap_or(0);
        if ended && byte != 0 || byte.leading_ones() + byte.trailing_zeros().min(8) < 8 {
            return None;
        }
        ones += byte.leading_ones() as u8;
        ended |= byte != 0xff;
    }
    Some(ones)
}
