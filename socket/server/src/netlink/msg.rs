//! The form of netlink's messages (netlink(7)): headers, attributes, numbers.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use iopkt_sockproto::linux::{AF_INET, AF_INET6};

/// Bytes of one datagram to the program: below 4096, the buffer of glibc and Go.
const DATAGRAM: usize = 3600;

/// The header, `struct nlmsghdr`.
pub(crate) const HDR: usize = 16;
pub(crate) const NLMSG_ERROR: u16 = 2;
pub(crate) const NLMSG_DONE: u16 = 3;
pub(crate) const NLM_F_MULTI: u16 = 2;
pub(crate) const NLM_F_ACK: u16 = 4;
pub(crate) const NLM_F_DUMP: u16 = 0x300;
/// In an error: the request is not quoted beyond its header.
pub(crate) const NLM_F_CAPPED: u16 = 0x100;
/// In an error: attributes follow.
pub(crate) const NLM_F_ACK_TLVS: u16 = 0x200;

/// What a message begins with, its length apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub ty: u16,
    pub flags: u16,
    pub seq: u32,
    pub port: u32,
}

impl Head {
    /// Of a notification, which nobody asked for.
    pub fn told(ty: u16) -> Head {
        Head { ty, flags: 0, seq: 0, port: 0 }
    }
}

/// A message under construction.
pub(crate) struct Out(Vec<u8>);

impl Out {
    pub fn begin(h: Head) -> Out {
        let mut v = Vec::with_capacity(256);
        v.extend_from_slice(&[0; 4]);
        v.extend_from_slice(&h.ty.to_ne_bytes());
        v.extend_from_slice(&h.flags.to_ne_bytes());
        v.extend_from_slice(&h.seq.to_ne_bytes());
        v.extend_from_slice(&h.port.to_ne_bytes());
        Out(v)
    }

    /// Attributes inside an attribute.
    pub fn nested() -> Out {
        Out(Vec::new())
    }

    pub fn raw(&mut self, b: &[u8]) -> &mut Out {
        self.0.extend_from_slice(b);
        self
    }

    pub fn attr(&mut self, ty: u16, b: &[u8]) -> &mut Out {
        self.raw(&((4 + b.len()) as u16).to_ne_bytes()).raw(&ty.to_ne_bytes()).raw(b);
        let n = self.0.len().next_multiple_of(4);
        self.0.resize(n, 0);
        self
    }

    pub fn u32(&mut self, ty: u16, v: u32) -> &mut Out {
        self.attr(ty, &v.to_ne_bytes())
    }

    pub fn ip(&mut self, ty: u16, a: IpAddr) -> &mut Out {
        match a {
            IpAddr::V4(a) => self.attr(ty, &a.octets()),
            IpAddr::V6(a) => self.attr(ty, &a.octets()),
        }
    }

    pub fn text(&mut self, ty: u16, s: &str) -> &mut Out {
        let mut b = Vec::from(s.as_bytes());
        b.push(0);
        self.attr(ty, &b)
    }

    /// What was put in, without a header's length.
    pub fn inside(&self) -> &[u8] {
        &self.0
    }

    /// The whole message, its length filled in.
    pub fn end(mut self) -> Vec<u8> {
        let n = self.0.len() as u32;
        self.0[..4].copy_from_slice(&n.to_ne_bytes());
        self.0
    }
}

/// The family's number.
pub(crate) fn af(v4: bool) -> u8 {
    (if v4 { AF_INET } else { AF_INET6 }) as u8
}

/// One attribute behind a family header of `at` bytes.
pub(crate) fn find_attr(body: &[u8], at: usize, ty: u16) -> Option<&[u8]> {
    let mut b = body.get(at..)?;
    while b.len() >= 4 {
        let len = usize::from(u16::from_ne_bytes([b[0], b[1]]));
        let v = b.get(4..len)?;
        // Without the marks of nesting and byte order.
        if u16::from_ne_bytes([b[2], b[3]]) & 0x3fff == ty {
            return Some(v);
        }
        b = b.get(len.next_multiple_of(4)..).unwrap_or(&[]);
    }
    None
}

/// An attribute that is a number of 32 bits.
pub(crate) fn find_u32(body: &[u8], at: usize, ty: u16) -> Option<u32> {
    find_attr(body, at, ty).and_then(|b| b.first_chunk().copied()).map(u32::from_ne_bytes)
}

/// An attribute that is an address.
pub(crate) fn find_ip(body: &[u8], at: usize, ty: u16) -> Option<IpAddr> {
    let b = find_attr(body, at, ty)?;
    match b.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(b).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(b).ok()?).into()),
        _ => None,
    }
}

/// A number of 32 bits in a family header.
pub(crate) fn word(body: &[u8], at: usize) -> u32 {
    body.get(at..).and_then(|b| b.first_chunk().copied()).map_or(0, u32::from_ne_bytes)
}

/// A byte of a family header.
pub(crate) fn byte(body: &[u8], at: usize) -> u8 {
    body.get(at).copied().unwrap_or(0)
}

/// Packs messages into datagrams.
pub(crate) fn pack(list: impl IntoIterator<Item = Vec<u8>>) -> VecDeque<Vec<u8>> {
    let mut out: VecDeque<Vec<u8>> = VecDeque::new();
    for m in list {
        match out.back_mut() {
            Some(last) if last.len() + m.len() <= DATAGRAM => last.extend_from_slice(&m),
            _ => out.push_back(m),
        }
    }
    out
}
