//! The control calls, on one descriptor, as far as they go without waiting.
//!
//! `fd` is the descriptor as the calling process has it: the program's own for the preload library, a duplicate for the
//! supervisor. Addresses are `struct sockaddr` bytes as the program has them.

use core::ffi::c_int;

use iopkt_sockproto::{Addr, DGRAM_HDR_LEN, DgramHdr, LINK_ADDR_LEN, MAX_SOCKOPT, Op, Req, df, ext, repf};

use iopkt_sockproto::linux::{
    AF_NETLINK, AF_PACKET, IFREQ_LEN, IP_MSFILTER, MCAST_MSFILTER, PACKET_HDRLEN, SO_ATTACH_FILTER,
    SO_ATTACH_REUSEPORT_CBPF, SOL_PACKET, SOL_SOCKET,
};

use crate::session::{Answer, Rpc};
use crate::sys::{self, Result};

/// A `struct sockaddr` for the program.
#[derive(Clone, Copy, Debug)]
pub struct SockAddr {
    bytes: [u8; 28],
    len: usize,
}

impl SockAddr {
    /// From the protocol's form.
    pub fn new(a: &Addr) -> SockAddr {
        let (bytes, len) = a.to_sockaddr();
        SockAddr { bytes, len }
    }

    /// A datagram's sender: an IP address, or with [`df::PACKET`] a link-level one.
    pub fn of(h: &DgramHdr) -> SockAddr {
        if h.flags & df::PACKET == 0 { SockAddr::new(&h.peer) } else { SockAddr::raw(&h.link) }
    }

    /// From a structure's bytes.
    fn raw(b: &[u8]) -> SockAddr {
        let mut bytes = [0; 28];
        let len = b.len().min(bytes.len());
        if let (Some(to), Some(from)) = (bytes.get_mut(..len), b.get(..len)) {
            to.copy_from_slice(from);
        }
        SockAddr { bytes, len }
    }

    /// The structure's bytes.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }
}

/// One request whose reply's status is the result.
fn checked(
    rpc: &mut impl Rpc,
    req: Req,
    pass: Option<c_int>,
    payload: [&[u8]; 2],
    out: &mut [u8],
) -> Result<Answer> {
    let a = rpc.rpc(req, pass, payload, out)?;
    if a.rep.status == 0 {
        return Ok(a);
    }
    if let Some(fd) = a.fd {
        sys::close(fd);
    }
    Err(meaning(a.rep.status))
}

/// A descriptor that has a stack's name but is none of this one's belonged to a stack that is gone.
fn meaning(status: c_int) -> c_int {
    if status == libc::ENOTSOCK { libc::ENETDOWN } else { status }
}

fn addr(sockaddr: &[u8]) -> Result<Addr> {
    // The one peer of a netlink socket is the stack.
    if netlink_address(sockaddr)?.is_some() {
        return Ok(Addr::NONE);
    }
    Addr::from_sockaddr(sockaddr).map_err(|e| e.raw())
}

/// Asks about `fd` without payload.
fn ask(rpc: &mut impl Rpc, fd: c_int, op: Op, args: [i32; 5], addr: Addr) -> Result<Answer> {
    let req = Req { args, addr, ..Req::new(op, 0) };
    let a = checked(rpc, req, Some(fd), [&[], &[]], &mut [])?;
    if let Some(fd) = a.fd.filter(|_| op != Op::Accept) {
        sys::close(fd); // not expected; not leaked either
    }
    Ok(a)
}

/// socket(2). The descriptor is close-on-exec; O_NONBLOCK is as `kind` asks. `flags` are `sockf` bits.
pub fn socket(
    rpc: &mut impl Rpc,
    domain: c_int,
    kind: c_int,
    protocol: c_int,
    flags: i32,
    pid: i32,
) -> Result<c_int> {
    let req = Req { args: [domain, kind, protocol, flags, pid], ..Req::new(Op::Socket, 0) };
    let a = checked(rpc, req, None, [&[], &[]], &mut [])?;
    let fd = a.fd.ok_or(libc::EPROTO)?;
    with_mode(fd, kind)
}

/// Sets O_NONBLOCK if the flags ask for it.
fn with_mode(fd: c_int, flags: c_int) -> Result<c_int> {
    if flags & libc::SOCK_NONBLOCK != 0 {
        sys::set_nonblocking(fd)?;
    }
    Ok(fd)
}

/// Linux: too short is EINVAL whatever the family; the wildcard may come as AF_UNSPEC.
fn bind_address(b: &[u8]) -> Result<Addr> {
    if b.len() < 16 {
        return Err(libc::EINVAL);
    }
    let a = Addr::from_sockaddr_loose(b).map_err(|e| e.raw())?;
    let unspecified = b.get(..2) == Some(&[0, 0]);
    if unspecified && a.0.is_none_or(|a| !a.ip().is_unspecified()) { Err(libc::EAFNOSUPPORT) } else { Ok(a) }
}

/// bind(2).
pub fn bind(rpc: &mut impl Rpc, fd: c_int, sockaddr: &[u8]) -> Result<()> {
    if let Some(b) = link_address(sockaddr)? {
        // Protocol and interface are all that is bound to.
        let protocol = u16::from_ne_bytes([b[2], b[3]]);
        let ifindex = i32::from_ne_bytes([b[4], b[5], b[6], b[7]]);
        return ask(rpc, fd, Op::Bind, [ifindex, protocol.into(), 0, 0, 0], Addr::NONE).map(drop);
    }
    if let Some((port, groups)) = netlink_address(sockaddr)? {
        return ask(rpc, fd, Op::Bind, [port as i32, groups as i32, 0, 0, 0], Addr::NONE).map(drop);
    }
    let to = if netlink_address(sockaddr)?.is_some() { Addr::NONE } else { bind_address(sockaddr)? };
    ask(rpc, fd, Op::Bind, [0; 5], to).map(drop)
}

/// Port and groups of a `struct sockaddr_nl`, if it is one.
pub fn netlink_address(sockaddr: &[u8]) -> Result<Option<(u32, u32)>> {
    if sockaddr.get(..2) != Some(&(AF_NETLINK as u16).to_ne_bytes()) {
        return Ok(None);
    }
    let int = |at: usize| -> Result<u32> {
        let b = sockaddr.get(at..at + 4).and_then(|b| b.try_into().ok()).ok_or(libc::EINVAL)?;
        Ok(u32::from_ne_bytes(b))
    };
    Ok(Some((int(4)?, int(8)?)))
}

/// The bytes of a `struct sockaddr_ll`, if it is one. As in Linux the link-level address may be cut short.
pub fn link_address(sockaddr: &[u8]) -> Result<Option<[u8; LINK_ADDR_LEN]>> {
    if sockaddr.get(..2) != Some(&(AF_PACKET as u16).to_ne_bytes()) {
        return Ok(None);
    }
    let n = sockaddr.len().min(LINK_ADDR_LEN);
    let mut b = [0; LINK_ADDR_LEN];
    match (b.get_mut(..n), sockaddr.get(..n)) {
        (Some(to), Some(from)) if n >= 12 => to.copy_from_slice(from),
        _ => return Err(libc::EINVAL),
    }
    Ok(Some(b))
}

/// What connect(2) came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connected {
    /// The handshake goes on: POLLOUT and [`connect_status`] tell its end.
    pub in_progress: bool,
    /// A descriptor that takes the place of the socket's.
    pub replace: Option<c_int>,
    /// Bytes that went with the SYN.
    pub taken: usize,
}

/// connect(2). `wait`: the descriptor is in blocking mode and the caller will wait. EALREADY and EISCONN are errors.
pub fn connect(rpc: &mut impl Rpc, fd: c_int, sockaddr: &[u8], wait: bool) -> Result<Connected> {
    begin_connect(rpc, fd, sockaddr, wait, None)
}

/// sendto(2) with MSG_FASTOPEN: connects with as much of `data` in the SYN as goes. EALREADY and EISCONN are errors.
pub fn connect_sending(
    rpc: &mut impl Rpc,
    fd: c_int,
    sockaddr: &[u8],
    wait: bool,
    data: &[u8],
) -> Result<Connected> {
    begin_connect(rpc, fd, sockaddr, wait, Some(data))
}

fn begin_connect(
    rpc: &mut impl Rpc,
    fd: c_int,
    sockaddr: &[u8],
    wait: bool,
    data: Option<&[u8]>,
) -> Result<Connected> {
    let to = addr(sockaddr)?;
    let args = [wait.into(), data.is_some().into(), 0, 0, 0];
    let req = Req { args, addr: to, ..Req::new(Op::Connect, 0) };
    let a = rpc.rpc(req, Some(fd), [data.unwrap_or(&[]), &[]], &mut [])?;
    let taken = usize::try_from(a.rep.val[0]).unwrap_or(0);
    let replace = a.fd.filter(|_| a.rep.flags & repf::REPLACE != 0);
    if let (Some(fd), None) = (a.fd, replace) {
        sys::close(fd);
    }
    match a.rep.status {
        0 => Ok(Connected { in_progress: false, replace, taken }),
        libc::EINPROGRESS => Ok(Connected { in_progress: true, replace, taken }),
        e => {
            if let Some(fd) = replace {
                sys::close(fd);
            }
            Err(meaning(e))
        }
    }
}

/// How a connect ended; EINPROGRESS while it has not.
pub fn connect_status(rpc: &mut impl Rpc, fd: c_int) -> Result<()> {
    ask(rpc, fd, Op::ConnectStatus, [0; 5], Addr::NONE).map(drop)
}

/// listen(2).
pub fn listen(rpc: &mut impl Rpc, fd: c_int, backlog: c_int) -> Result<()> {
    ask(rpc, fd, Op::Listen, [backlog, 0, 0, 0, 0], Addr::NONE).map(drop)
}

/// accept4(2); EAGAIN when no connection waits. The descriptor is close-on-exec; O_NONBLOCK is as `flags` ask.
pub fn accept(rpc: &mut impl Rpc, fd: c_int, flags: c_int) -> Result<(c_int, SockAddr)> {
    let a = ask(rpc, fd, Op::Accept, [flags, 0, 0, 0, 0], Addr::NONE)?;
    let new = a.fd.ok_or(libc::EPROTO)?;
    Ok((with_mode(new, flags)?, SockAddr::new(&a.rep.addr)))
}

/// An address that the stack knows of a socket. Those of packet and routing sockets are no IP addresses and come as they are.
fn name(rpc: &mut impl Rpc, fd: c_int, op: Op) -> Result<SockAddr> {
    let mut out = [0; LINK_ADDR_LEN];
    let a = checked(rpc, Req::new(op, 0), Some(fd), [&[], &[]], &mut out)?;
    let raw = out.get(..a.len).filter(|b| !b.is_empty());
    Ok(raw.map_or_else(|| SockAddr::new(&a.rep.addr), SockAddr::raw))
}

/// getsockname(2).
pub fn getsockname(rpc: &mut impl Rpc, fd: c_int) -> Result<SockAddr> {
    name(rpc, fd, Op::Getsockname)
}

/// getpeername(2).
pub fn getpeername(rpc: &mut impl Rpc, fd: c_int) -> Result<SockAddr> {
    name(rpc, fd, Op::Getpeername)
}

/// shutdown(2).
pub fn shutdown(rpc: &mut impl Rpc, fd: c_int, how: c_int) -> Result<()> {
    ask(rpc, fd, Op::Shutdown, [how, 0, 0, 0, 0], Addr::NONE).map(drop)
}

/// Whether the kernel's own option of the pair is what is meant: time-outs are kept by the calls that wait on it.
pub fn is_native_option(level: c_int, name: c_int) -> bool {
    const NEW_TIMEOUTS: [c_int; 2] = [66, 67]; // SO_RCVTIMEO_NEW, SO_SNDTIMEO_NEW
    level == libc::SOL_SOCKET
        && (name == libc::SO_RCVTIMEO || name == libc::SO_SNDTIMEO || NEW_TIMEOUTS.contains(&name))
}

/// setsockopt(2), for options that are not native.
pub fn setsockopt(rpc: &mut impl Rpc, fd: c_int, level: c_int, name: c_int, value: &[u8]) -> Result<()> {
    if value.len() > MAX_SOCKOPT {
        return Err(libc::EINVAL);
    }
    let req = Req { args: [level, name, 0, 0, 0], ..Req::new(Op::Setsockopt, 0) };
    checked(rpc, req, Some(fd), [value, &[]], &mut []).map(drop)
}

/// setsockopt(2) with SO_ATTACH_FILTER or SO_ATTACH_REUSEPORT_CBPF: the program's instructions as they lie in memory.
pub fn attach_filter(rpc: &mut impl Rpc, fd: c_int, name: c_int, insns: &[u8]) -> Result<()> {
    let req = Req { args: [SOL_SOCKET, name, 0, 0, 0], ..Req::new(Op::Setsockopt, 0) };
    checked(rpc, req, Some(fd), [insns, &[]], &mut []).map(drop)
}

/// Length in bytes of what a `struct sock_fprog` or `struct bpf_program` counts, EINVAL if it is too long.
pub fn program_length(count: u32) -> Result<usize> {
    const MAX: u32 = 4096;
    if count > MAX { Err(libc::EINVAL) } else { Ok(count as usize * 8) }
}

/// open(2) of a device node, by its documented name. The descriptor is close-on-exec; O_NONBLOCK is as `flags` ask.
pub fn open(rpc: &mut impl Rpc, name: &[u8], flags: c_int, sockf: i32) -> Result<c_int> {
    let req = Req { args: [flags, 0, 0, sockf, 0], ..Req::new(Op::Open, 0) };
    let a = checked(rpc, req, None, [name, &[]], &mut [])?;
    with_mode(a.fd.ok_or(libc::EPROTO)?, flags)
}

/// ioctl(2) of a device node: what goes in, and room for what comes out; returns the length of that.
pub fn ioctl_node(
    rpc: &mut impl Rpc,
    fd: c_int,
    request: u32,
    input: &[u8],
    out: &mut [u8],
) -> Result<usize> {
    let req = Req { args: [request as i32, 0, 0, 0, 0], ..Req::new(Op::Ioctl, 0) };
    checked(rpc, req, Some(fd), [input, &[]], out).map(|a| a.len)
}

/// The memory of a packet socket's ring: a descriptor to map, and the ring's length in bytes.
pub fn ring(rpc: &mut impl Rpc, fd: c_int) -> Result<(c_int, usize)> {
    let a = checked(rpc, Req::new(Op::Ring, 0), Some(fd), [&[], &[]], &mut [])?;
    Ok((a.fd.ok_or(libc::EPROTO)?, usize::try_from(a.rep.val[0]).map_err(|_| libc::EPROTO)?))
}

/// Asks for the descriptor to be readable if something is in the ring.
pub fn ring_look(rpc: &mut impl Rpc, fd: c_int) -> Result<()> {
    ask(rpc, fd, Op::Ring, [1, 0, 0, 0, 0], Addr::NONE).map(drop)
}

/// getsockopt(2), for options that are not native; returns the length of the value. `out` also holds what the caller put into
/// it: some options ask with it ([`asks_with_value`]).
pub fn getsockopt(rpc: &mut impl Rpc, fd: c_int, level: c_int, name: c_int, out: &mut [u8]) -> Result<usize> {
    if (level, name) == (SOL_PACKET, PACKET_HDRLEN) {
        let v = out.get(..4).and_then(|b| b.try_into().ok()).map(c_int::from_ne_bytes);
        // `struct tpacket_hdr`, `tpacket2_hdr`, `tpacket3_hdr`.
        let len: c_int = match v.ok_or(libc::EINVAL)? {
            0 | 1 => 32,
            2 => 48,
            _ => return Err(libc::EINVAL),
        };
        out.get_mut(..4).ok_or(libc::EINVAL)?.copy_from_slice(&len.to_ne_bytes());
        return Ok(4);
    }
    let req = Req { args: [level, name, out.len() as i32, 0, 0], ..Req::new(Op::Getsockopt, 0) };
    if asks_with_value(level, name) {
        let mut asked = [0; MAX_SOCKOPT];
        let n = out.len().min(asked.len());
        if let (Some(to), Some(from)) = (asked.get_mut(..n), out.get(..n)) {
            to.copy_from_slice(from);
        }
        return checked(rpc, req, Some(fd), [asked.get(..n).unwrap_or(&[]), &[]], out).map(|a| a.len);
    }
    checked(rpc, req, Some(fd), [&[], &[]], out).map(|a| a.len)
}

/// Whether getsockopt(2) of this option reads the caller's value first.
pub fn asks_with_value(level: c_int, name: c_int) -> bool {
    (level, name) == (SOL_PACKET, PACKET_HDRLEN)
        || level == libc::IPPROTO_IP && [IP_MSFILTER, MCAST_MSFILTER].contains(&name)
        || level == libc::IPPROTO_IPV6 && name == MCAST_MSFILTER
}

/// Whether an option's value is a `struct sock_fprog`: a count, and a pointer to as many instructions.
pub fn is_program(level: c_int, name: c_int) -> bool {
    level == SOL_SOCKET && [SO_ATTACH_FILTER, SO_ATTACH_REUSEPORT_CBPF].contains(&name)
}

/// The header of the datagram that is to be received next, for who reads the payload itself; extension headers go into `ext`, the
/// second number is their length.
pub fn next_header(rpc: &mut impl Rpc, fd: c_int, ext: &mut [u8; ext::MAX]) -> Result<(DgramHdr, usize)> {
    let key = rpc.greeting()?.key;
    let mut out = [0; DGRAM_HDR_LEN + ext::MAX];
    let req = Req { args: [libc::MSG_PEEK, 0, 0, 0, 0], ..Req::new(Op::Recv, 0) };
    let a = checked(rpc, req, Some(fd), [&[], &[]], &mut out)?;
    let (h, rest) = DgramHdr::decode(out.get(..a.len).unwrap_or(&[]), key).ok_or(libc::EPROTO)?;
    let n = if h.flags & df::EXT == 0 { 0 } else { rest.len().min(ext::MAX) };
    ext[..n].copy_from_slice(&rest[..n]);
    Ok((h, n))
}

/// The oldest error of a datagram socket's queue (MSG_ERRQUEUE): its header, with what was quoted of the datagram behind it in
/// `out`, and the length of that. EAGAIN when there is none.
pub fn queued_error<'a>(
    rpc: &mut impl Rpc,
    fd: c_int,
    out: &'a mut [u8],
) -> Result<(DgramHdr, &'a [u8], usize)> {
    let key = rpc.greeting()?.key;
    let room = out.len().saturating_sub(DGRAM_HDR_LEN) as i32;
    let req = Req { args: [libc::MSG_ERRQUEUE, room, 0, 0, 0], ..Req::new(Op::Recv, 0) };
    let a = checked(rpc, req, Some(fd), [&[], &[]], out)?;
    let full = usize::try_from(a.rep.val[0]).unwrap_or(0);
    let (h, quote) = DgramHdr::decode(out.get(..a.len).unwrap_or(&[]), key).ok_or(libc::EPROTO)?;
    Ok((h, quote, full))
}

/// Whether a socket of the stack is neither connected nor being connected (it may listen). False when the stack cannot be asked.
pub fn is_unconnected(rpc: &mut impl Rpc, fd: c_int) -> bool {
    let Ok(a) = checked(rpc, Req::new(Op::Info, 0), Some(fd), [&[], &[]], &mut []) else { return false };
    a.rep.flags & (repf::CONNECTING | repf::CONNECTED) == 0
}

/// getsockopt(2) of an int.
pub fn getsockopt_int(rpc: &mut impl Rpc, fd: c_int, level: c_int, name: c_int) -> Result<c_int> {
    let mut b = [0u8; 4];
    getsockopt(rpc, fd, level, name, &mut b)?;
    Ok(c_int::from_ne_bytes(b))
}

/// What an ioctl's argument points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoctlShape {
    /// A `struct ifreq`, in and out.
    Ifreq,
    /// A `struct ifconf`.
    Ifconf,
    /// An `int`, out.
    Int,
}

/// The shape of a SIOC* request's argument; `None` for requests that are not carried.
pub fn ioctl_shape(request: u32) -> Option<IoctlShape> {
    match request {
        iopkt_sockproto::linux::SIOCGIFCONF => Some(IoctlShape::Ifconf),
        iopkt_sockproto::linux::SIOCATMARK
        | iopkt_sockproto::linux::SIOCOUTQ
        | iopkt_sockproto::linux::SIOCINQ => Some(IoctlShape::Int),
        0x8910..=0x8990 | 0x89e0..=0x89ef => Some(IoctlShape::Ifreq),
        _ => None,
    }
}

/// ioctl(2) with a `struct ifreq`, which is replaced by the reply's.
pub fn ioctl_ifreq(rpc: &mut impl Rpc, fd: c_int, request: u32, ifreq: &mut [u8; IFREQ_LEN]) -> Result<()> {
    let req = Req { args: [request as i32, 0, 0, 0, 0], ..Req::new(Op::Ioctl, 0) };
    let mut out = [0u8; IFREQ_LEN];
    let a = checked(rpc, req, Some(fd), [&ifreq[..], &[]], &mut out)?;
    if a.len == IFREQ_LEN {
        *ifreq = out;
    }
    Ok(())
}

/// ioctl(2) that answers an int.
pub fn ioctl_int(rpc: &mut impl Rpc, fd: c_int, request: u32) -> Result<c_int> {
    ask(rpc, fd, Op::Ioctl, [request as i32, 0, 0, 0, 0], Addr::NONE).map(|a| a.rep.val[0])
}

/// SIOCGIFCONF: fills `out` with `struct ifreq`s and returns how many bytes that were; without a buffer, how many it takes.
pub fn ioctl_ifconf(rpc: &mut impl Rpc, fd: c_int, out: Option<&mut [u8]>) -> Result<usize> {
    let size = out.as_ref().map_or(-1, |o| i32::try_from(o.len()).unwrap_or(i32::MAX));
    let req =
        Req { args: [iopkt_sockproto::linux::SIOCGIFCONF as i32, size, 0, 0, 0], ..Req::new(Op::Ioctl, 0) };
    let a = checked(rpc, req, Some(fd), [&[], &[]], out.unwrap_or(&mut []))?;
    Ok(usize::try_from(a.rep.val[0]).unwrap_or(0))
}

/// send(2) with MSG_OOB on a stream: the bytes that were taken; `None`: the pair's own send(2) is to do it.
pub fn send_urgent(rpc: &mut impl Rpc, fd: c_int, payload: &[u8]) -> Result<Option<usize>> {
    let req = Req { args: [libc::MSG_OOB, 0, 0, 0, 0], ..Req::new(Op::Send, 0) };
    let a = checked(rpc, req, Some(fd), [payload, &[]], &mut [])?;
    Ok((a.rep.flags & repf::NATIVE == 0).then_some(a.rep.val[0] as usize))
}

/// Sends one datagram by request; its errors are known at once. `head` is an encoded `DgramHdr` or empty.
pub fn send(rpc: &mut impl Rpc, fd: c_int, flags: c_int, head: &[u8], payload: &[u8]) -> Result<usize> {
    let req = Req { args: [flags, i32::from(!head.is_empty()), 0, 0, 0], ..Req::new(Op::Send, 0) };
    checked(rpc, req, Some(fd), [head, payload], &mut []).map(|a| a.rep.val[0] as usize)
}
