//! Initial sequence numbers and timestamp offsets by a keyed function (RFC 6528, RFC 7323 section 5.4).

use crate::seq::Seq;
use core::net::SocketAddr;
use iopkt_base::{Instant, Keyed};

/// The two ends of a connection as bytes, for keyed functions: both addresses as IPv6 (mapped), both ports.
pub fn flow_bytes(local: SocketAddr, remote: SocketAddr) -> [u8; 36] {
    let mut b = [0u8; 36];
    let v6 = |a: SocketAddr| match a {
        SocketAddr::V4(a) => a.ip().to_ipv6_mapped().octets(),
        SocketAddr::V6(a) => a.ip().octets(),
    };
    b[..16].copy_from_slice(&v6(local));
    b[16..32].copy_from_slice(&v6(remote));
    b[32..34].copy_from_slice(&local.port().to_be_bytes());
    b[34..].copy_from_slice(&remote.port().to_be_bytes());
    b
}

/// ISN = M + F(local, remote, secret), M a clock of 4 us (RFC 6528 section 3): numbers of one pair of ends
/// only grow, numbers of different pairs have nothing to do with each other.
pub fn isn(secret: &Keyed, now: Instant, local: SocketAddr, remote: SocketAddr) -> Seq {
    // [RFC6528 3a]
    // [RFC9293 MUST-8] [RFC9293 SHLD-1] [RFC9293 MUST-9]
    // [RFC6528 3b] [RFC6528 3c]
    let f = secret.hash(&[b"isn", &flow_bytes(local, remote)]) as u32;
    Seq((now.as_nanos() >> 12) as u32) + f
}

/// Offset of a connection's timestamp clock: hides the host's uptime, and stays the same for one pair of
/// ends, so that a new connection's timestamps are later than the old one's.
pub fn ts_offset(secret: &Keyed, local: SocketAddr, remote: SocketAddr) -> u32 {
    // [RFC7323 5.4]
    secret.hash(&[b"ts", &flow_bytes(local, remote)]) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grow_with_time_and_differ_by_ends_and_key() {
        // [RFC6528 3c]
        // [RFC6528 3b]
        // [RFC9293 MUST-8] [RFC9293 SHLD-1] [RFC9293 MUST-9]
        // [RFC6528 3a]
        let a: SocketAddr = "10.0.0.1:80".parse().unwrap();
        let b: SocketAddr = "10.0.0.2:4000".parse().unwrap();
        let c: SocketAddr = "[2001:db8::1]:4000".parse().unwrap();
        let (k, l) = (Keyed::new([1; 16]), Keyed::new([2; 16]));
        let t = Instant::from_millis(5);
        assert!(isn(&k, t + iopkt_base::Duration::from_millis(1), a, b).gt(isn(&k, t, a, b)));
        assert_ne!(isn(&k, t, a, b), isn(&l, t, a, b));
        assert_ne!(isn(&k, t, a, b), isn(&k, t, a, c));
        assert_ne!(isn(&k, t, a, b), isn(&k, t, b, a));
        // [RFC7323 5.4]
        assert_eq!(ts_offset(&k, a, b), ts_offset(&k, a, b));
        assert_ne!(ts_offset(&k, a, b), ts_offset(&k, a, c));
    }
}
