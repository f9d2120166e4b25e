//! Datagrams with more than payload: their header in the pair, and the control messages that programs see.
//!
//! Control messages are those of ip(7), udp(7) and socket(7): IP_PKTINFO, IP_TTL, IP_TOS, IP_RECVERR, IP_ORIGDSTADDR, UDP_SEGMENT, SO_RXQ_OVFL,
//! SO_TIMESTAMP, SO_TIMESTAMPNS and SO_TIMESTAMPING; and those of RFC 3542 at IPPROTO_IPV6.

use core::ffi::c_int;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use iopkt_sockproto::linux::{SO_WANTS, wants};
use iopkt_sockproto::{Addr, DgramHdr, df, ext};

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
///
/// `v6`: the socket is of AF_INET6. Extension headers go into `ext`; the second number is how much of it they are.
pub fn addressed(
    to: &[u8],
    control: &[u8],
    flags: c_int,
    v6: bool,
    ext: &mut [u8],
) -> Result<(DgramHdr, usize)> {
    if to.is_empty() {
        return outgoing(Addr::NONE, control, flags, v6, ext);
    }
    if let Some(link) = ops::link_address(to)? {
        let (h, n) = outgoing(Addr::NONE, control, flags, false, ext)?;
        return Ok((DgramHdr { flags: h.flags | df::PACKET, link, ..h }, n));
    }
    if ops::netlink_address(to)?.is_some() {
        return outgoing(Addr::NONE, control, flags, false, ext);
    }
    outgoing(Addr::from_sockaddr_loose(to).map_err(|e| e.raw())?, control, flags, v6, ext)
}

/// The header for a datagram to `to` with the program's control messages. Unknown ones are EINVAL, those of other levels are passed
/// over, as in Linux: an IPv6 socket has those of IPPROTO_IPV6, but to a mapped address those of IPPROTO_IP and IPV6_PKTINFO.
pub fn outgoing(
    to: Addr,
    control: &[u8],
    flags: c_int,
    v6: bool,
    ext: &mut [u8],
) -> Result<(DgramHdr, usize)> {
    let mut h = DgramHdr { peer: to, ..DgramHdr::default() };
    let mapped = match to.0 {
        Some(SocketAddr::V6(a)) => a.ip().to_ipv4_mapped().is_some(),
        Some(SocketAddr::V4(_)) => true,
        None => false,
    };
    let six = v6 && !mapped;
    let mut ext = ExtWriter { b: ext, len: 0 };
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
        match level {
            libc::IPPROTO_IPV6 if six => apply6(&mut h, &mut ext, kind, data)?,
            libc::IPPROTO_IPV6 if v6 && kind == libc::IPV6_PKTINFO => pktinfo6(&mut h, data)?,
            libc::IPPROTO_IP if six => {}
            _ => apply(&mut h, level, kind, data)?,
        }
        rest = rest.get(len.next_multiple_of(ALIGN)..).unwrap_or(&[]);
    }
    Ok((h, ext.len))
}

/// Extension headers of a datagram, in the form of [`iopkt_sockproto::ext`].
struct ExtWriter<'a> {
    b: &'a mut [u8],
    len: usize,
}

impl ExtWriter<'_> {
    fn begin(&mut self, h: &mut DgramHdr) -> Result<()> {
        if self.len == 0 {
            self.b.get_mut(..ext::HEAD).ok_or(libc::EMSGSIZE)?.fill(0);
            self.len = ext::HEAD;
            h.flags |= df::EXT;
        }
        Ok(())
    }

    fn header(&mut self, h: &mut DgramHdr, tag: u8, data: &[u8]) -> Result<()> {
        // `cmsg_len` and the header's own length must agree.
        let len = data.get(1).map_or(0, |n| (usize::from(*n) + 1) * 8);
        let data = data.get(..len).filter(|d| !d.is_empty()).ok_or(libc::EINVAL)?;
        self.begin(h)?;
        let end = self.len + ext::HEAD + len;
        let to = self.b.get_mut(self.len..end).ok_or(libc::EMSGSIZE)?;
        to[..ext::HEAD].fill(0);
        to[0] = tag;
        to[ext::HEAD..].copy_from_slice(data);
        self.len = end;
        Ok(())
    }
}

/// IPV6_PKTINFO: a `struct in6_pktinfo`.
fn pktinfo6(h: &mut DgramHdr, data: &[u8]) -> Result<()> {
    let addr: [u8; 16] = data.get(..16).and_then(|b| b.try_into().ok()).ok_or(libc::EINVAL)?;
    let index = data.get(16..20).and_then(int).ok_or(libc::EINVAL)? as u32;
    let addr = Ipv6Addr::from(addr);
    h.ifindex = index;
    if !addr.is_unspecified() {
        h.local = SocketAddr::V6(SocketAddrV6::new(addr, 0, 0, index)).into();
    }
    h.flags |= df::PKTINFO;
    Ok(())
}

/// A number of exactly an int, in a range; -1 is the default and says nothing.
fn given(data: &[u8], max: c_int) -> Result<Option<u8>> {
    let v = data.first_chunk::<4>().filter(|_| data.len() == 4).ok_or(libc::EINVAL)?;
    match c_int::from_ne_bytes(*v) {
        -1 => Ok(None),
        n if (0..=max).contains(&n) => Ok(Some(n as u8)),
        _ => Err(libc::EINVAL),
    }
}

/// Control messages of RFC 3542 section 6.
fn apply6(h: &mut DgramHdr, ext: &mut ExtWriter<'_>, kind: c_int, data: &[u8]) -> Result<()> {
    match kind {
        libc::IPV6_PKTINFO | IPV6_2292PKTINFO => pktinfo6(h, data)?,
        libc::IPV6_HOPLIMIT | IPV6_2292HOPLIMIT => {
            if let Some(n) = given(data, 255)? {
                h.ttl = n;
                h.flags |= df::TTL;
            }
        }
        libc::IPV6_TCLASS => {
            if let Some(n) = given(data, 255)? {
                h.tos = n;
                h.flags |= df::TOS;
            }
        }
        libc::IPV6_DONTFRAG => match given(data, 1)? {
            Some(1) => h.flags |= df::DONTFRAG,
            Some(_) => {}
            None => return Err(libc::EINVAL),
        },
        libc::IPV6_FLOWINFO => {
            let w = data.first_chunk::<4>().ok_or(libc::EINVAL)?;
            ext.begin(h)?;
            let w = u32::from_be_bytes(*w) & 0x0fff_ffff | ext::GIVEN;
            ext.b.get_mut(..4).ok_or(libc::EMSGSIZE)?.copy_from_slice(&w.to_be_bytes());
        }
        libc::IPV6_HOPOPTS | IPV6_2292HOPOPTS => ext.header(h, ext::HOP, data)?,
        libc::IPV6_DSTOPTS | IPV6_2292DSTOPTS => ext.header(h, ext::DST, data)?,
        libc::IPV6_RTHDRDSTOPTS => ext.header(h, ext::DST_BEFORE, data)?,
        // Routing headers are not sent (RFC 5095), as by setsockopt(2).
        _ => return Err(libc::EINVAL),
    }
    Ok(())
}

const IPV6_2292PKTINFO: c_int = 2;
const IPV6_2292HOPOPTS: c_int = 3;
const IPV6_2292DSTOPTS: c_int = 4;
const IPV6_2292RTHDR: c_int = 5;
const IPV6_2292HOPLIMIT: c_int = 8;
const IPV6_PATHMTU: c_int = 61;
const IPV6_RECVORIGDSTADDR: c_int = 74;

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
        (libc::IPPROTO_IP | libc::SOL_UDP, _) => return Err(libc::EINVAL),
        _ => {}
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
            // Most of them are.
            libc::IPPROTO_IPV6 => true,
            libc::SOL_SOCKET => name == libc::SO_RXQ_OVFL || TIMES.contains(&name),
            libc::SOL_PACKET => name == libc::PACKET_AUXDATA,
            _ => false,
        }
    }

    /// Whether the socket is of AF_INET6.
    pub fn v6(self) -> bool {
        self.has(wants::V6)
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

/// `struct tpacket_auxdata`: of a frame whose checksum its sender left to a card that was not there, programs that sum it up
/// themselves (DHCP clients) must know. No VLAN tag is ever taken out.
fn auxdata(h: &DgramHdr) -> [u8; 20] {
    const USER: u32 = 1;
    const CSUMNOTREADY: u32 = 8;
    let status = if h.icmp.0 != 0 { USER | CSUMNOTREADY } else { USER };
    let mut b = [0; 20];
    b[..4].copy_from_slice(&status.to_ne_bytes());
    b[4..8].copy_from_slice(&h.len.to_ne_bytes());
    b[8..12].copy_from_slice(&u32::from(h.extra).to_ne_bytes());
    b[14..16].copy_from_slice(&u16::from(h.icmp.1).to_ne_bytes());
    b
}

/// The control messages of a received datagram, in `out`. Returns their length and whether some did not fit (MSG_CTRUNC).
pub fn incoming(h: &DgramHdr, ext: &[u8], wants: Wants, g: &Greeting, out: &mut [u8]) -> (usize, bool) {
    let mut w = Writer { out, len: 0, truncated: false };
    if h.flags & df::PATHMTU != 0 {
        // A `struct ip6_mtuinfo`: destination and MTU.
        let mut to = [0; 28];
        let a = ops::SockAddr::new(&h.peer);
        let n = a.bytes().len().min(28);
        to[..n].copy_from_slice(&a.bytes()[..n]);
        w.put(libc::IPPROTO_IPV6, IPV6_PATHMTU, [&to, &(h.stamp as u32).to_ne_bytes(), &[]]);
        return (w.len, w.truncated);
    }
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
    if h.flags & df::PACKET != 0 {
        if wants.has(wants::AUXDATA) {
            w.put(libc::SOL_PACKET, libc::PACKET_AUXDATA, [&auxdata(h), &[], &[]]);
        }
        return (w.len, w.truncated);
    }
    if wants.has(wants::DROPS) && h.err != 0 {
        w.put(libc::SOL_SOCKET, libc::SO_RXQ_OVFL, [&h.err.to_ne_bytes(), &[], &[]]);
    }
    // Of IPv4 packets an IPv6 socket is told at IPPROTO_IP; their destination at IPPROTO_IPV6 too.
    let local = h.local.0.map(|a| a.ip());
    let dst4 = match local {
        Some(IpAddr::V4(a)) => Some(a),
        Some(IpAddr::V6(a)) => a.to_ipv4_mapped(),
        None => None,
    };
    let v4 = !wants.v6() || dst4.is_some();
    if let (true, Some(IpAddr::V6(dst))) = (wants.has(wants::PKTINFO6), local) {
        w.put(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, [&dst.octets(), &h.ifindex.to_ne_bytes(), &[]]);
    }
    if !v4 {
        return told6(w, h, ext, wants);
    }
    if let (true, Some(dst)) = (wants.has(wants::PKTINFO), dst4) {
        let dst = dst.octets();
        w.put(libc::IPPROTO_IP, libc::IP_PKTINFO, [&h.ifindex.to_ne_bytes(), &dst, &dst]);
    }
    if wants.has(wants::TTL) {
        w.put(libc::IPPROTO_IP, libc::IP_TTL, [&c_int::from(h.ttl).to_ne_bytes(), &[], &[]]);
    }
    if wants.has(wants::TOS) {
        w.put(libc::IPPROTO_IP, libc::IP_TOS, [&[h.tos], &[], &[]]);
    }
    if let (true, Some(dst)) = (wants.has(wants::ORIGDST), dst4) {
        let port = h.local.0.map_or(0, |a| a.port());
        let a = ops::SockAddr::new(&SocketAddr::new(dst.into(), port).into());
        w.put(libc::IPPROTO_IP, libc::IP_RECVORIGDSTADDR, [a.bytes(), &[], &[]]);
    }
    (w.len, w.truncated)
}

/// Those of an IPv6 packet (RFC 3542), in Linux's order.
fn told6(mut w: Writer<'_>, h: &DgramHdr, ext: &[u8], wants: Wants) -> (usize, bool) {
    const LEVEL: c_int = libc::IPPROTO_IPV6;
    let hops = c_int::from(h.ttl).to_ne_bytes();
    if wants.has(wants::HOPLIMIT) {
        w.put(LEVEL, libc::IPV6_HOPLIMIT, [&hops, &[], &[]]);
    }
    if wants.has(wants::TCLASS) {
        w.put(LEVEL, libc::IPV6_TCLASS, [&c_int::from(h.tos).to_ne_bytes(), &[], &[]]);
    }
    if let (true, Some(flow)) = (wants.has(wants::FLOWINFO), ext::flow(ext).filter(|f| *f != 0)) {
        w.put(LEVEL, libc::IPV6_FLOWINFO, [&flow.to_be_bytes(), &[], &[]]);
    }
    let kinds = [
        (ext::HOP, wants::HOPOPTS, libc::IPV6_HOPOPTS),
        (ext::DST, wants::DSTOPTS, libc::IPV6_DSTOPTS),
        (ext::ROUTING, wants::RTHDR, libc::IPV6_RTHDR),
        (ext::HOP, wants::HOPOPTS_OLD, IPV6_2292HOPOPTS),
        (ext::DST, wants::DSTOPTS_OLD, IPV6_2292DSTOPTS),
        (ext::ROUTING, wants::RTHDR_OLD, IPV6_2292RTHDR),
    ];
    for new in [true, false] {
        if !new {
            if let (true, Some(IpAddr::V6(dst))) = (wants.has(wants::PKTINFO_OLD), h.local.0.map(|a| a.ip()))
            {
                w.put(LEVEL, IPV6_2292PKTINFO, [&dst.octets(), &h.ifindex.to_ne_bytes(), &[]]);
            }
            if wants.has(wants::HOPLIMIT_OLD) {
                w.put(LEVEL, IPV6_2292HOPLIMIT, [&hops, &[], &[]]);
            }
        }
        // As they stand in the packet.
        for (tag, header) in ext::headers(ext) {
            let half = if new { &kinds[..3] } else { &kinds[3..] };
            for (_, _, name) in half.iter().filter(|(t, bit, _)| *t == tag && wants.has(*bit)) {
                w.put(LEVEL, *name, [header, &[], &[]]);
            }
        }
    }
    if wants.has(wants::ORIGDST6) {
        w.put(LEVEL, IPV6_RECVORIGDSTADDR, [ops::SockAddr::new(&h.local).bytes(), &[], &[]]);
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
    let v6 = matches!(h.peer.0, Some(SocketAddr::V6(_)));
    // Without one: a `struct sockaddr_in` or `sockaddr_in6` of zeros, AF_UNSPEC.
    let none = &[0; 28][..if v6 { 28 } else { 16 }];
    let addr = if h.local.0.is_some() { offender.bytes() } else { none };
    let mut w = Writer { out, len: 0, truncated: false };
    let (level, name) =
        if v6 { (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) } else { (libc::IPPROTO_IP, libc::IP_RECVERR) };
    w.put(level, name, [&e, addr, &[]]);
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
        let (h, _) = outgoing(Addr::NONE, &c, 0, false, &mut []).unwrap();
        assert_eq!((h.ttl, h.tos, h.ifindex), (7, 0x10, 3));
        assert_eq!(h.local.0.unwrap().ip(), IpAddr::from([10, 0, 0, 9]));
        assert_eq!(h.flags, df::TTL | df::TOS | df::PKTINFO);
        let bad = |c: &[u8]| outgoing(Addr::NONE, c, 0, false, &mut []).map(|h| h.0);
        assert_eq!(bad(&cmsg(0, libc::IP_TTL, &0i32.to_ne_bytes())), Err(libc::EINVAL));
        assert_eq!(bad(&cmsg(0, 999, &[])), Err(libc::EINVAL));
        assert_eq!(bad(&cmsg(99, 1, &[])), Ok(DgramHdr::default()), "another level's");
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        for len in [0usize, 15, 17, usize::MAX, 1 << 40] {
            let mut c = cmsg(libc::IPPROTO_IP, libc::IP_TTL, &[]);
            c[..8].copy_from_slice(&len.to_ne_bytes());
            assert!(outgoing(Addr::NONE, &c, 0, false, &mut []) == Err(libc::EINVAL), "{len}");
        }
        assert!(
            outgoing(Addr::NONE, &[1; 15], 0, false, &mut []).is_ok(),
            "less than a header is no control message"
        );
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
        let (n, cut) = incoming(&h, &[], all, &g, &mut out);
        assert!(!cut);
        let want = [
            cmsg(libc::SOL_SOCKET, libc::SO_TIMESTAMP, &[2i64.to_ne_bytes(), 0i64.to_ne_bytes()].concat()),
            cmsg(libc::IPPROTO_IP, libc::IP_PKTINFO, &[2, 0, 0, 0, 10, 0, 0, 1, 10, 0, 0, 1]),
            cmsg(libc::IPPROTO_IP, libc::IP_TTL, &64i32.to_ne_bytes()),
            cmsg(libc::IPPROTO_IP, libc::IP_TOS, &[8]),
        ]
        .concat();
        assert_eq!(out[..n], want);
        let (n, cut) = incoming(&h, &[], all, &g, &mut out[..40]);
        assert!(cut && n <= 40);
        assert_eq!(incoming(&h, &[], Wants(Wants::KNOWN), &g, &mut []), (0, false));
    }

    #[test]
    fn what_a_program_is_told_of_a_frame() {
        let h = DgramHdr { flags: df::PACKET, len: 342, icmp: (1, 14), extra: 96, ..DgramHdr::default() };
        let mut out = [0u8; 64];
        let w = Wants(wants::AUXDATA | Wants::KNOWN);
        let (n, cut) = incoming(&h, &[], w, &Greeting::default(), &mut out);
        let want = [&9u32.to_ne_bytes()[..], &342u32.to_ne_bytes(), &96u32.to_ne_bytes(), &[0, 0]].concat();
        let want = [&want[..], &14u16.to_ne_bytes(), &[0; 4]].concat();
        assert!(!cut && out[..n] == cmsg(libc::SOL_PACKET, libc::PACKET_AUXDATA, &want), "{:?}", &out[..n]);
        assert_eq!(incoming(&h, &[], Wants(Wants::KNOWN), &Greeting::default(), &mut out), (0, false));
    }

    #[test]
    fn control_messages_of_ipv6() {
        const SIX: c_int = libc::IPPROTO_IPV6;
        let hop = [0, 0, 1, 4, 0, 0, 0, 0];
        let mut c = cmsg(SIX, libc::IPV6_HOPLIMIT, &7i32.to_ne_bytes());
        c.extend(cmsg(SIX, libc::IPV6_TCLASS, &(-1i32).to_ne_bytes()));
        c.extend(cmsg(libc::IPPROTO_IP, libc::IP_TOS, &[0x10]));
        c.extend(cmsg(SIX, libc::IPV6_HOPOPTS, &hop));
        c.extend(cmsg(SIX, libc::IPV6_FLOWINFO, &0x0001_2345u32.to_be_bytes()));
        let mut room = [0; 64];
        let (h, n) = outgoing(Addr::NONE, &c, 0, true, &mut room).unwrap();
        assert_eq!((h.flags, h.ttl), (df::TTL | df::EXT, 7));
        assert_eq!(ext::flow(&room[..n]), Some(0x1_2345));
        assert_eq!(ext::headers(&room[..n]).collect::<Vec<_>>(), [(ext::HOP, &hop[..])]);
        assert_eq!(outgoing(Addr::NONE, &c, 0, true, &mut [0; 8]), Err(libc::EMSGSIZE));
        // To a mapped address those of IPv4 count.
        let to: SocketAddr = "[::ffff:10.0.0.1]:5".parse().unwrap();
        let (h, n) = outgoing(to.into(), &c, 0, true, &mut room).unwrap();
        assert_eq!((h.flags, h.tos, n), (df::TOS, 0x10, 0));
        for bad in [256i32, -2] {
            let c = cmsg(SIX, libc::IPV6_HOPLIMIT, &bad.to_ne_bytes());
            assert_eq!(outgoing(Addr::NONE, &c, 0, true, &mut room), Err(libc::EINVAL));
        }
        let c = cmsg(SIX, libc::IPV6_HOPLIMIT, &[1]);
        assert_eq!(outgoing(Addr::NONE, &c, 0, true, &mut room), Err(libc::EINVAL));
        assert!(outgoing(Addr::NONE, &c, 0, false, &mut room).is_ok(), "another level's");
    }

    #[test]
    fn what_a_program_is_told_of_ipv6() {
        let dst: SocketAddr = "[fd00::1]:53".parse().unwrap();
        let h = DgramHdr { ttl: 9, tos: 3, ifindex: 2, local: dst.into(), ..DgramHdr::default() };
        let mut e = [0u8; 32];
        e[..4].copy_from_slice(&(0x5u32 | ext::GIVEN).to_be_bytes());
        let dest = [17, 0, 1, 4, 0, 0, 0, 0];
        e[8] = ext::DST;
        e[16..24].copy_from_slice(&dest);
        let bits = wants::V6 | wants::PKTINFO6 | wants::HOPLIMIT | wants::TCLASS | wants::DSTOPTS;
        let mut out = [0u8; 256];
        let g = Greeting::default();
        let (n, cut) = incoming(&h, &e[..24], Wants(bits | wants::FLOWINFO | wants::TTL), &g, &mut out);
        assert!(!cut);
        let SocketAddr::V6(a) = dst else { panic!() };
        let info = [&a.ip().octets()[..], &2i32.to_ne_bytes()].concat();
        let want = [
            cmsg(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info),
            cmsg(libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT, &9i32.to_ne_bytes()),
            cmsg(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &3i32.to_ne_bytes()),
            cmsg(libc::IPPROTO_IPV6, libc::IPV6_FLOWINFO, &5u32.to_be_bytes()),
            cmsg(libc::IPPROTO_IPV6, libc::IPV6_DSTOPTS, &dest),
        ];
        assert_eq!(out[..n], want.concat());
    }
}
