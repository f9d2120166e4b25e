//! Datagrams with more than payload: their header in the pair, and the control messages that programs see.
//!
//! Control messages are those of ip(7), udp(7) and socket(7): IP_PKTINFO, IP_TTL, IP_TOS, IP_RECVERR, IP_ORIGDSTADDR, UDP_SEGMENT, SO_RXQ_OVFL,
//! SO_TIMESTAMP, SO_TIMESTAMPNS and SO_TIMESTAMPING.

use core::ffi::c_int;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use iopkt_sockproto::linux::{SO_WANTS, wants};
use iopkt_sockproto::{Addr, DgramHdr, df};

use crate::ops;
use crate::session::{Greeting, Rpc};
use crate::sys::Result;

/// `sizeof(struct cmsghdr)`, and the alignment of its parts.
const CMSG_HDR: usize = 16;
const ALIGN: usize = 8;

/// Longest UDP payload over IPv4 (RFC 768, RFC 791): 65535 - 20 - 8.
pub const MAX_UDP: usize = 65507;

fn int(b: &[u8]) -> Option<c_int> {
    match b.len() {
        1 => b.first().map(|&v| c_int::from(v)),
        _ => b.get(..4)?.try_into().ok().map(c_int::from_ne_bytes),
    }
}

/// As [`outgoing`], to a `struct sockaddr` as the program has it (empty: none), IP or link-level.
pub fn addressed(to: &[u8], control: &[u8], flags: c_int) -> Result<DgramHdr> {
    if to.is_empty() {
        return outgoing(Addr::NONE, control, flags);
    }
    if let Some(link) = ops::link_address(to)? {
        let h = outgoing(Addr::NONE, control, flags)?;
        return Ok(DgramHdr { flags: h.flags | df::PACKET, link, ..h });
    }
    if ops::netlink_address(to)?.is_some() {
        return outgoing(Addr::NONE, control, flags);
    }
    outgoing(Addr::from_sockaddr_loose(to).map_err(|e| e.raw())?, control, flags)
}

/// The header for a datagram to `to` with the program's control messages. Unknown ones are EINVAL, as in Linux.
pub fn outgoing(to: Addr, control: &[u8], flags: c_int) -> Result<DgramHdr> {
    let mut h = DgramHdr { peer: to, ..DgramHdr::default() };
    if flags & libc::MSG_DONTROUTE != 0 {
        h.flags |= df::DONTROUTE;
    }
    if flags & libc::MSG_MORE != 0 {
        h.flags |= df::MORE;
    }
    let mut rest = control;
    while rest.len() >= CMSG_HDR {
        let len = rest.get(..8).and_then(|b| b.try_into().ok()).map_or(0, usize::from_ne_bytes);
        let (Some(level), Some(kind)) = (rest.get(8..12).and_then(int), rest.get(12..16).and_then(int))
        else {
            break;
        };
        if len < CMSG_HDR || len > rest.len() {
            return Err(libc::EINVAL);
        }
        let data = rest.get(CMSG_HDR..len).unwrap_or(&[]);
        apply(&mut h, level, kind, data)?;
        rest = rest.get(len.next_multiple_of(ALIGN)..).unwrap_or(&[]);
    }
    Ok(h)
}

fn apply(h: &mut DgramHdr, level: c_int, kind: c_int, data: &[u8]) -> Result<()> {
    match (level, kind) {
        (libc::IPPROTO_IP, libc::IP_TTL) => {
            h.ttl = int(data).and_then(|v| u8::try_from(v).ok()).filter(|&v| v > 0).ok_or(libc::EINVAL)?;
            h.flags |= df::TTL;
        }
        (libc::IPPROTO_IP, libc::IP_TOS) => {
            h.tos = int(data).and_then(|v| u8::try_from(v).ok()).ok_or(libc::EINVAL)?;
            h.flags |= df::TOS;
        }
        (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
            // struct in_pktinfo: interface, local address, header's destination.
            let index = data.get(..4).and_then(int).ok_or(libc::EINVAL)?;
            let spec: [u8; 4] = data.get(4..8).and_then(|b| b.try_into().ok()).ok_or(libc::EINVAL)?;
            h.ifindex = index as u32;
            if spec != [0; 4] {
                h.local = SocketAddr::new(IpAddr::V4(Ipv4Addr::from(spec)), 0).into();
            }
            h.flags |= df::PKTINFO;
        }
        // Credentials and descriptors mean nothing to IP; Linux ignores what is not for its level.
        (libc::SOL_SOCKET, _) => {}
        (libc::SOL_UDP, libc::UDP_SEGMENT) => {
            let b = data.first_chunk::<2>().ok_or(libc::EINVAL)?;
            h.extra = u16::from_ne_bytes(*b);
            h.flags |= df::SEGMENT;
        }
        _ => return Err(libc::EINVAL),
    }
    Ok(())
}

/// Which control messages a socket's options ask for: the bits of `SO_WANTS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wants(pub u32);

impl Wants {
    /// Marks a value that was asked for (a set that may be empty).
    pub const KNOWN: u32 = 1 << 31;

    /// Asks the stack.
    pub fn ask(rpc: &mut impl Rpc, fd: c_int) -> Wants {
        let bits = ops::getsockopt_int(rpc, fd, libc::SOL_SOCKET, SO_WANTS).unwrap_or(0);
        Wants(bits as u32 | Wants::KNOWN)
    }

    /// Whether setting this option may change the set.
    pub fn concerns(level: c_int, name: c_int) -> bool {
        const TIMES: [c_int; 6] = [
            libc::SO_TIMESTAMP,
            libc::SO_TIMESTAMPNS,
            libc::SO_TIMESTAMPING,
            SO_TIMESTAMP_NEW,
            SO_TIMESTAMPNS_NEW,
            SO_TIMESTAMPING_NEW,
        ];
        match level {
            libc::IPPROTO_IP => {
                [libc::IP_PKTINFO, libc::IP_RECVTTL, libc::IP_RECVTOS, libc::IP_RECVORIGDSTADDR]
                    .contains(&name)
            }
            libc::SOL_SOCKET => name == libc::SO_RXQ_OVFL || TIMES.contains(&name),
            _ => false,
        }
    }

    fn has(self, bit: u32) -> bool {
        self.0 & bit != 0
    }

    /// The number of SO_TIMESTAMP or its kin, 0 for none.
    fn stamp(self) -> c_int {
        (self.0 >> wants::STAMP_SHIFT & 0xff) as c_int
    }
}

const SO_TIMESTAMP_NEW: c_int = 63;
const SO_TIMESTAMPNS_NEW: c_int = 64;
const SO_TIMESTAMPING_NEW: c_int = 65;

/// Writes control messages into a program's buffer.
struct Writer<'a> {
    out: &'a mut [u8],
    len: usize,
    truncated: bool,
}

impl Writer<'_> {
    fn put(&mut self, level: c_int, kind: c_int, parts: [&[u8]; 3]) {
        let data: usize = parts.iter().map(|p| p.len()).sum();
        let end = self.len + CMSG_HDR + data;
        // Linux: one that does not fit is cut short, if its head fits.
        let end = if end > self.out.len() {
            self.truncated = true;
            self.out.len()
        } else {
            end
        };
        let Some(b) = self.out.get_mut(self.len..end).filter(|b| b.len() >= CMSG_HDR) else {
            self.truncated = true;
            return;
        };
        let len = b.len();
        let (head, mut body) = b.split_at_mut(CMSG_HDR);
        head[..8].copy_from_slice(&len.to_ne_bytes());
        head[8..12].copy_from_slice(&level.to_ne_bytes());
        head[12..16].copy_from_slice(&kind.to_ne_bytes());
        for p in parts {
            let n = p.len().min(body.len());
            let (now, later) = body.split_at_mut(n);
            now.copy_from_slice(&p[..n]);
            body = later;
        }
        self.len = end.next_multiple_of(ALIGN).min(self.out.len());
    }
}

/// The control messages of a received datagram, in `out`. Returns their length and whether some did not fit (MSG_CTRUNC).
pub fn incoming(h: &DgramHdr, wants: Wants, g: &Greeting, out: &mut [u8]) -> (usize, bool) {
    let mut w = Writer { out, len: 0, truncated: false };
    let wall = (h.stamp as i64).wrapping_add(g.epoch);
    let (sec, ns) = (wall.div_euclid(1_000_000_000), wall.rem_euclid(1_000_000_000));
    match wants.stamp() {
        0 => {}
        name @ (libc::SO_TIMESTAMP | SO_TIMESTAMP_NEW) => {
            w.put(libc::SOL_SOCKET, name, [&sec.to_ne_bytes(), &(ns / 1000).to_ne_bytes(), &[]]);
        }
        name => w.put(libc::SOL_SOCKET, name, [&sec.to_ne_bytes(), &ns.to_ne_bytes(), &[]]),
    }
    if wants.has(wants::STAMPING) {
        // `struct scm_timestamping`: by software, two that are no more, by hardware.
        w.put(libc::SOL_SOCKET, libc::SO_TIMESTAMPING, [&sec.to_ne_bytes(), &ns.to_ne_bytes(), &[0; 32]]);
    }
    if wants.has(wants::DROPS) && h.err != 0 {
        w.put(libc::SOL_SOCKET, libc::SO_RXQ_OVFL, [&h.err.to_ne_bytes(), &[], &[]]);
    }
    if let (true, Some(IpAddr::V4(dst))) = (wants.has(wants::PKTINFO), h.local.0.map(|a| a.ip())) {
        let dst = dst.octets();
        w.put(libc::IPPROTO_IP, libc::IP_PKTINFO, [&h.ifindex.to_ne_bytes(), &dst, &dst]);
    }
    if wants.has(wants::TTL) {
        w.put(libc::IPPROTO_IP, libc::IP_TTL, [&c_int::from(h.ttl).to_ne_bytes(), &[], &[]]);
    }
    if wants.has(wants::TOS) {
        w.put(libc::IPPROTO_IP, libc::IP_TOS, [&[h.tos], &[], &[]]);
    }
    if wants.has(wants::ORIGDST) {
        w.put(libc::IPPROTO_IP, libc::IP_RECVORIGDSTADDR, [ops::SockAddr::new(&h.local).bytes(), &[], &[]]);
    }
    (w.len, w.truncated)
}

/// The control message of an error (IP_RECVERR): a `struct sock_extended_err` and the offender's address.
pub fn extended_error(h: &DgramHdr, out: &mut [u8]) -> (usize, bool) {
    let mut e = [0u8; 16];
    e[..4].copy_from_slice(&h.err.to_ne_bytes());
    e[4..7].copy_from_slice(&[h.extra as u8, h.icmp.0, h.icmp.1]);
    e[8..12].copy_from_slice(&(h.stamp as u32).to_ne_bytes());
    let offender = ops::SockAddr::new(&h.local);
    // Without one: a `struct sockaddr_in` of zeros, AF_UNSPEC.
    let addr = if h.local.0.is_some() { offender.bytes() } else { &[0; 16][..] };
    let mut w = Writer { out, len: 0, truncated: false };
    w.put(libc::IPPROTO_IP, libc::IP_RECVERR, [&e, addr, &[]]);
    (w.len, w.truncated)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cmsg(level: c_int, kind: c_int, data: &[u8]) -> Vec<u8> {
        let mut v = (CMSG_HDR + data.len()).to_ne_bytes().to_vec();
        v.extend(level.to_ne_bytes());
        v.extend(kind.to_ne_bytes());
        v.extend(data);
        v.resize(v.len().next_multiple_of(ALIGN), 0);
        v
    }

    #[test]
    fn what_a_program_says_of_its_datagram() {
        let mut c = cmsg(libc::IPPROTO_IP, libc::IP_TTL, &7i32.to_ne_bytes());
        c.extend(cmsg(libc::IPPROTO_IP, libc::IP_TOS, &[0x10]));
        c.extend(cmsg(libc::IPPROTO_IP, libc::IP_PKTINFO, &[3, 0, 0, 0, 10, 0, 0, 9, 0, 0, 0, 0]));
        let h = outgoing(Addr::NONE, &c, 0).unwrap();
        assert_eq!((h.ttl, h.tos, h.ifindex), (7, 0x10, 3));
        assert_eq!(h.local.0.unwrap().ip(), IpAddr::from([10, 0, 0, 9]));
        assert_eq!(h.flags, df::TTL | df::TOS | df::PKTINFO);
        assert_eq!(outgoing(Addr::NONE, &cmsg(0, libc::IP_TTL, &0i32.to_ne_bytes()), 0), Err(libc::EINVAL));
        assert_eq!(outgoing(Addr::NONE, &cmsg(0, 999, &[]), 0), Err(libc::EINVAL));
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        for len in [0usize, 15, 17, usize::MAX, 1 << 40] {
            let mut c = cmsg(libc::IPPROTO_IP, libc::IP_TTL, &[]);
            c[..8].copy_from_slice(&len.to_ne_bytes());
            assert_eq!(outgoing(Addr::NONE, &c, 0), Err(libc::EINVAL), "{len}");
        }
        assert!(outgoing(Addr::NONE, &[1; 15], 0).is_ok(), "less than a header is no control message");
    }

    #[test]
    fn what_a_program_is_told() {
        let h = DgramHdr {
            ttl: 64,
            tos: 8,
            ifindex: 2,
            local: SocketAddr::from(([10, 0, 0, 1], 53)).into(),
            stamp: 5,
            ..DgramHdr::default()
        };
        let g = Greeting { epoch: 1_999_999_999, ..Greeting::default() };
        let stamp = (libc::SO_TIMESTAMP as u32) << wants::STAMP_SHIFT;
        let all = Wants(wants::PKTINFO | wants::TTL | wants::TOS | stamp);
        let mut out = [0u8; 256];
        let (n, cut) = incoming(&h, all, &g, &mut out);
        assert!(!cut);
        let want = [
            cmsg(libc::SOL_SOCKET, libc::SO_TIMESTAMP, &[2i64.to_ne_bytes(), 0i64.to_ne_bytes()].concat()),
            cmsg(libc::IPPROTO_IP, libc::IP_PKTINFO, &[2, 0, 0, 0, 10, 0, 0, 1, 10, 0, 0, 1]),
            cmsg(libc::IPPROTO_IP, libc::IP_TTL, &64i32.to_ne_bytes()),
            cmsg(libc::IPPROTO_IP, libc::IP_TOS, &[8]),
        ]
        .concat();
        assert_eq!(out[..n], want);
        let (n, cut) = incoming(&h, all, &g, &mut out[..40]);
        assert!(cut && n <= 40);
        assert_eq!(incoming(&h, Wants(Wants::KNOWN), &g, &mut []), (0, false));
    }
}
