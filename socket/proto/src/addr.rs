//! Socket addresses on the wire of `/dev/socket`.

use crate::linux::{AF_INET, AF_INET6, AF_UNSPEC};
use crate::rw::{get, get_u16, get_u32, put};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use iopkt_base::Errno;

/// A socket address, or none.
///
/// Layout, 28 bytes: family (u16), port (u16, machine order), flow information (u32), scope (u32),
/// address (16 bytes, network order; IPv4 uses the first 4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Addr(pub Option<SocketAddr>);

impl Addr {
    /// Length on the wire in bytes.
    pub const LEN: usize = 28;
    /// No address: AF_UNSPEC in connect.
    pub const NONE: Addr = Addr(None);

    /// The wire form.
    pub fn encode(&self) -> [u8; Addr::LEN] {
        let mut b = [0; Addr::LEN];
        let Some(a) = self.0 else { return b };
        put(&mut b, 2, &a.port().to_ne_bytes());
        match a {
            SocketAddr::V4(a) => {
                put(&mut b, 0, &(AF_INET as u16).to_ne_bytes());
                put(&mut b, 12, &a.ip().octets());
            }
            SocketAddr::V6(a) => {
                put(&mut b, 0, &(AF_INET6 as u16).to_ne_bytes());
                put(&mut b, 4, &a.flowinfo().to_ne_bytes());
                put(&mut b, 8, &a.scope_id().to_ne_bytes());
                put(&mut b, 12, &a.ip().octets());
            }
        }
        b
    }

    /// Reads the wire form.
    ///
    /// # Errors
    /// EINVAL when `b` is too short, EAFNOSUPPORT for another family.
    pub fn decode(b: &[u8]) -> Result<Addr, Errno> {
        if b.len() < Addr::LEN {
            return Err(Errno::EINVAL);
        }
        let port = get_u16(b, 2);
        match i32::from(get_u16(b, 0)) {
            AF_UNSPEC => Ok(Addr::NONE),
            AF_INET => Ok(Addr(Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::from(get::<4>(b, 12))), port)))),
            AF_INET6 => {
                let ip = Ipv6Addr::from(get::<16>(b, 12));
                Ok(Addr(Some(SocketAddrV6::new(ip, port, get_u32(b, 4), get_u32(b, 8)).into())))
            }
            _ => Err(Errno::EAFNOSUPPORT),
        }
    }

    /// Reads a `struct sockaddr` as a program hands it to bind(2) or connect(2).
    ///
    /// # Errors
    /// EINVAL when it is too short for its family (ip(7)), EAFNOSUPPORT for another family and a short IPv6 address.
    pub fn from_sockaddr(b: &[u8]) -> Result<Addr, Errno> {
        if b.len() < 2 {
            return Err(Errno::EINVAL);
        }
        match i32::from(get_u16(b, 0)) {
            AF_UNSPEC => Ok(Addr::NONE),
            AF_INET if b.len() >= 16 => {
                let port = u16::from_be_bytes(get(b, 2));
                Ok(Addr(Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::from(get::<4>(b, 4))), port))))
            }
            // Linux takes sockaddr_in6 without the scope too (RFC 2133's form, 24 bytes).
            AF_INET6 if b.len() >= 24 => {
                let port = u16::from_be_bytes(get(b, 2));
                let ip = Ipv6Addr::from(get::<16>(b, 8));
                // The flow label is in network order in the structure; it is carried as it is.
                Ok(Addr(Some(SocketAddrV6::new(ip, port, get_u32(b, 4), get_u32(b, 24)).into())))
            }
            AF_INET => Err(Errno::EINVAL),
            // A short IPv6 address on an IPv4 socket: Linux looks at the family first.
            _ => Err(Errno::EAFNOSUPPORT),
        }
    }

    /// As [`Addr::from_sockaddr`], where Linux takes AF_UNSPEC for AF_INET: the destination of a datagram, and the wildcard to bind
    /// to.
    ///
    /// # Errors
    /// As there.
    pub fn from_sockaddr_loose(b: &[u8]) -> Result<Addr, Errno> {
        if b.len() >= 16 && i32::from(get_u16(b, 0)) == AF_UNSPEC {
            let port = u16::from_be_bytes(get(b, 2));
            return Ok(Addr(Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::from(get::<4>(b, 4))), port))));
        }
        Addr::from_sockaddr(b)
    }

    /// Writes a `struct sockaddr`; returns it with its length (0 for no address, 16 or 28).
    pub fn to_sockaddr(&self) -> ([u8; 28], usize) {
        let mut b = [0; 28];
        let Some(a) = self.0 else { return (b, 0) };
        put(&mut b, 2, &a.port().to_be_bytes());
        match a {
            SocketAddr::V4(a) => {
                put(&mut b, 0, &(AF_INET as u16).to_ne_bytes());
                put(&mut b, 4, &a.ip().octets());
                (b, 16)
            }
            SocketAddr::V6(a) => {
                put(&mut b, 0, &(AF_INET6 as u16).to_ne_bytes());
                put(&mut b, 4, &a.flowinfo().to_ne_bytes());
                put(&mut b, 8, &a.ip().octets());
                put(&mut b, 24, &a.scope_id().to_ne_bytes());
                (b, 28)
            }
        }
    }
}

impl From<SocketAddr> for Addr {
    fn from(a: SocketAddr) -> Addr {
        Addr(Some(a))
    }
}
