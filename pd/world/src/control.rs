//! Control messages of recvmsg(2), in Linux's layout on 64 bits (cmsg(3)).

use crate::name::encode_name;
use iopkt_base::Instant;
use iopkt_stack::Family;
use iopkt_stack::sockets::{SockErr, origin};
use std::net::SocketAddr;

const SOL_SOCKET: i32 = 1;
const SOL_IP: i32 = 0;
const SOL_TCP: i32 = 6;
const SCM_TIMESTAMPING: i32 = 37;
const IP_RECVERR: i32 = 11;
const SOL_IPV6: i32 = 41;
const IPV6_RECVERR: i32 = 25;
const TCP_CM_INQ: i32 = 36;

/// Control messages one behind the other.
#[derive(Debug, Default)]
pub(crate) struct Control(pub Vec<u8>);

impl Control {
    /// Appends a message, aligned as CMSG_NXTHDR wants it.
    pub fn put(&mut self, level: i32, kind: i32, data: &[u8]) {
        self.0.resize(self.0.len().next_multiple_of(8), 0);
        self.0.extend_from_slice(&(16 + data.len() as u64).to_ne_bytes());
        self.0.extend_from_slice(&level.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(data);
    }

    /// TCP_INQ: what waits behind the bytes received.
    pub fn inq(&mut self, n: usize) {
        self.put(SOL_TCP, TCP_CM_INQ, &i32::try_from(n).unwrap_or(i32::MAX).to_ne_bytes());
    }

    /// An entry of the error queue of an IPv4 or IPv6 socket; `wall` makes a time of day of a time.
    pub fn error(&mut self, e: &SockErr, family: Family, wall: impl Fn(Instant) -> u64) {
        if let Some(at) = e.at {
            // `struct scm_timestamping`: the software's time, two that are void.
            let us = wall(at);
            let mut t = [0; 48];
            t[..8].copy_from_slice(&(us / 1_000_000).to_ne_bytes());
            t[8..16].copy_from_slice(&(us % 1_000_000 * 1000).to_ne_bytes());
            self.put(SOL_SOCKET, SCM_TIMESTAMPING, &t);
        }
        // `struct sock_extended_err`, and who reported it.
        let mut b = Vec::with_capacity(32);
        b.extend_from_slice(&e.errno.raw().to_ne_bytes());
        b.extend_from_slice(&[e.origin, e.icmp.0, e.icmp.1, 0]);
        b.extend_from_slice(&e.info.to_ne_bytes());
        b.extend_from_slice(&e.data.to_ne_bytes());
        let (level, kind, room) = match family {
            Family::V4 => (SOL_IP, IP_RECVERR, 32),
            Family::V6 => (SOL_IPV6, IPV6_RECVERR, 44),
        };
        match e.offender.filter(|_| matches!(e.origin, origin::ICMP | origin::ICMP6 | origin::LOCAL)) {
            Some(a) => b.extend_from_slice(&encode_name(SocketAddr::new(a, 0))),
            None => b.resize(room, 0),
        }
        self.put(level, kind, &b);
    }
}
