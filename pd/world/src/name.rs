//! Socket addresses in Linux's layout (`struct sockaddr_in`, `sockaddr_in6`).

use iopkt_base::{Errno, Result};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

const AF_UNSPEC: u16 = 0;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// Reads a `struct sockaddr`; `None` is AF_UNSPEC.
///
/// # Errors
/// EINVAL when it is too short for its family, EAFNOSUPPORT.
pub fn decode_name(b: &[u8]) -> Result<Option<SocketAddr>> {
    let family = b.first_chunk::<2>().map(|f| u16::from_ne_bytes(*f)).ok_or(Errno::EINVAL)?;
    match family {
        AF_UNSPEC => Ok(None),
        AF_INET => {
            let a = b.first_chunk::<8>().filter(|_| b.len() >= 16).ok_or(Errno::EINVAL)?;
            let ip = Ipv4Addr::new(a[4], a[5], a[6], a[7]);
            Ok(Some((ip, u16::from_be_bytes([a[2], a[3]])).into()))
        }
        AF_INET6 => {
            let a = b.first_chunk::<24>().ok_or(Errno::EINVAL)?;
            let mut ip = [0; 16];
            ip.copy_from_slice(&a[8..24]);
            // RFC 2133's structure ends before the scope.
            let scope = b.get(24..28).and_then(|s| s.try_into().ok()).map_or(0, u32::from_ne_bytes);
            let port = u16::from_be_bytes([a[2], a[3]]);
            Ok(Some(SocketAddrV6::new(Ipv6Addr::from(ip), port, 0, scope).into()))
        }
        _ => Err(Errno::EAFNOSUPPORT),
    }
}

/// Writes a `struct sockaddr_in` or `sockaddr_in6`.
pub fn encode_name(a: SocketAddr) -> Vec<u8> {
    match a {
        SocketAddr::V4(a) => {
            let mut b = vec![0; 16];
            b[..2].copy_from_slice(&AF_INET.to_ne_bytes());
            b[2..4].copy_from_slice(&a.port().to_be_bytes());
            b[4..8].copy_from_slice(&a.ip().octets());
            b
        }
        SocketAddr::V6(a) => {
            let mut b = vec![0; 28];
            b[..2].copy_from_slice(&AF_INET6.to_ne_bytes());
            b[2..4].copy_from_slice(&a.port().to_be_bytes());
            b[8..24].copy_from_slice(&a.ip().octets());
            b[24..28].copy_from_slice(&a.scope_id().to_ne_bytes());
            b
        }
    }
}
