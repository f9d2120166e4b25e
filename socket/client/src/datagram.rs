//! Datagrams: UDP, ping and raw sockets.

use crate::Session;
use crate::tcp::{name, take_error, timeval};
use crate::wait::hung_up;
use iopkt_base::Errno;
use iopkt_sockproto::linux::*;
use iopkt_sockproto::{Addr, DGRAM_HDR_LEN, DgramHdr, Op, df, sockf};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, sendmsg};
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What is known of a received datagram, and asked for one to send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// Received: sender. To send: destination (`None`: the connected peer).
    pub peer: Option<SocketAddr>,
    /// Received: destination address in it. To send: source address.
    pub local: Option<IpAddr>,
    /// Interface, 0 for none.
    pub ifindex: u32,
    /// TTL or hop limit; to send: `None` for the socket's.
    pub ttl: Option<u8>,
    /// TOS or traffic class; to send: `None` for the socket's.
    pub tos: Option<u8>,
    /// Received: when, in nanoseconds of the stack's clock (see `Hello::now`).
    pub stamp: u64,
    /// Received: length of the datagram, which may be more than was asked for.
    pub len: usize,
}

#[derive(Debug)]
struct Datagrams {
    fd: OwnedFd,
    session: Session,
    key: u64,
    /// Where a message is taken apart; kept from call to call.
    buf: Mutex<Vec<u8>>,
}

impl Datagrams {
    fn new(session: &Session, domain: i32, ty: i32, proto: i32) -> io::Result<Datagrams> {
        let fd = session.socket(domain, ty, proto, sockf::STRIPS)?;
        let key = session.hello().key;
        let buf = Mutex::new(vec![0; DGRAM_HDR_LEN + 65_536]);
        Ok(Datagrams { fd, session: session.clone(), key, buf })
    }

    fn send(&self, data: &[u8], m: &Meta) -> io::Result<usize> {
        let mut flags = 0;
        flags |= if m.ttl.is_some() { df::TTL } else { 0 };
        flags |= if m.tos.is_some() { df::TOS } else { 0 };
        flags |= if m.local.is_some() || m.ifindex != 0 { df::PKTINFO } else { 0 };
        let h = DgramHdr {
            flags,
            ttl: m.ttl.unwrap_or(0),
            tos: m.tos.unwrap_or(0),
            peer: Addr(m.peer),
            local: Addr(m.local.map(|a| (a, 0).into())),
            ifindex: m.ifindex,
            len: data.len() as u32,
            ..DgramHdr::default()
        };
        self.put(&[IoSlice::new(&h.encode(self.key)), IoSlice::new(data)])?;
        Ok(data.len())
    }

    fn put(&self, iov: &[IoSlice<'_>]) -> io::Result<usize> {
        match sendmsg(&self.fd, iov, &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL) {
            Err(rustix::io::Errno::PIPE) => Err(rustix::io::Errno::CONNRESET.into()),
            r => Ok(r?),
        }
    }

    fn recv(&self, out: &mut [u8]) -> io::Result<(usize, Meta)> {
        let mut buf = self.buf.lock().unwrap_or_else(PoisonError::into_inner);
        let n = recv(&self.fd, &mut buf[..], RecvFlags::empty())?.0;
        if n == 0 && hung_up(&self.fd) {
            return Err(io::Error::from_raw_os_error(Errno::ECONNRESET.raw()));
        }
        let (h, data) = DgramHdr::decode(&buf[..n], self.key).unwrap_or((DgramHdr::default(), &buf[..n]));
        if h.flags & df::ERROR != 0 {
            return Err(io::Error::from_raw_os_error(h.err));
        }
        let m = Meta {
            peer: h.peer.0,
            local: h.local.0.map(|a| a.ip()),
            ifindex: h.ifindex,
            ttl: (h.flags & df::TTL != 0).then_some(h.ttl),
            tos: (h.flags & df::TOS != 0).then_some(h.tos),
            stamp: h.stamp,
            len: data.len(),
        };
        let n = data.len().min(out.len());
        out[..n].copy_from_slice(&data[..n]);
        Ok((n, m))
    }
}

macro_rules! common {
    ($ty:ident) => {
        impl $ty {
            /// bind(2).
            ///
            /// # Errors
            /// EADDRINUSE, EADDRNOTAVAIL ...
            pub fn bind_to(&self, at: SocketAddr) -> io::Result<()> {
                self.0.session.about(Op::Bind, &self.0.fd, &[], Addr(Some(at))).map(drop)
            }

            /// connect(2); `None` dissolves the association.
            ///
            /// # Errors
            /// ENETUNREACH ...
            pub fn connect(&self, to: Option<SocketAddr>) -> io::Result<()> {
                self.0.session.about(Op::Connect, &self.0.fd, &[1], Addr(to)).map(drop)
            }

            /// Sends a datagram. Errors of the network show at a later call, as on any datagram socket; those of
            /// routing do too.
            ///
            /// # Errors
            /// EMSGSIZE; ECONNRESET when the stack is gone.
            pub fn send_to(&self, data: &[u8], to: SocketAddr) -> io::Result<usize> {
                self.0.send(data, &Meta { peer: Some(to), ..Meta::default() })
            }

            /// Sends a datagram with what `m` asks for.
            ///
            /// # Errors
            /// As `send_to`.
            pub fn send_meta(&self, data: &[u8], m: &Meta) -> io::Result<usize> {
                self.0.send(data, m)
            }

            /// Sends a datagram to the connected peer.
            ///
            /// # Errors
            /// As `send_to`.
            pub fn send(&self, data: &[u8]) -> io::Result<usize> {
                self.0.put(&[IoSlice::new(data)])
            }

            /// Receives a datagram: what fits, and what is known of it (`peer` only when not connected).
            ///
            /// # Errors
            /// ECONNREFUSED and other errors that earlier datagrams met; EAGAIN after the time-out;
            /// ECONNRESET when the stack is gone.
            pub fn recv_meta(&self, out: &mut [u8]) -> io::Result<(usize, Meta)> {
                self.0.recv(out)
            }

            /// getsockname(2).
            ///
            /// # Errors
            /// The session broke.
            pub fn local_addr(&self) -> io::Result<SocketAddr> {
                name(&self.0.session, &self.0.fd, Op::Getsockname)
            }

            /// getpeername(2).
            ///
            /// # Errors
            /// ENOTCONN.
            pub fn peer_addr(&self) -> io::Result<SocketAddr> {
                name(&self.0.session, &self.0.fd, Op::Getpeername)
            }

            /// SO_ERROR: the pending error, cleared.
            ///
            /// # Errors
            /// The session broke.
            pub fn take_error(&self) -> io::Result<Option<io::Error>> {
                take_error(&self.0.session, &self.0.fd)
            }

            /// setsockopt(2), with Linux's levels, names and layouts.
            ///
            /// # Errors
            /// ENOPROTOOPT, EINVAL ...
            pub fn set_option(&self, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
                self.0.session.setsockopt(&self.0.fd, level, name, value)
            }

            /// getsockopt(2).
            ///
            /// # Errors
            /// ENOPROTOOPT ...
            pub fn option(&self, level: i32, name: i32, max: usize) -> io::Result<Vec<u8>> {
                self.0.session.getsockopt(&self.0.fd, level, name, max)
            }

            /// SO_RCVTIMEO: receiving fails with EAGAIN after this time, `None` waits for ever.
            ///
            /// # Errors
            /// The session broke.
            pub fn set_read_timeout(&self, t: Option<Duration>) -> io::Result<()> {
                self.set_option(SOL_SOCKET, SO_RCVTIMEO_OLD, &timeval(t))
            }

            /// O_NONBLOCK.
            ///
            /// # Errors
            /// What fcntl(2) says.
            pub fn set_nonblocking(&self, on: bool) -> io::Result<()> {
                Ok(rustix::io::ioctl_fionbio(&self.0.fd, on)?)
            }
        }

        impl AsFd for $ty {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.0.fd.as_fd()
            }
        }
    };
}

/// A UDP socket.
#[derive(Debug)]
pub struct UdpSocket(Datagrams);

impl UdpSocket {
    /// A UDP socket with this address.
    ///
    /// # Errors
    /// EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT ...
    pub fn bind(session: &Session, at: SocketAddr) -> io::Result<UdpSocket> {
        let domain = if at.is_ipv4() { AF_INET } else { AF_INET6 };
        let s = UdpSocket(Datagrams::new(session, domain, SOCK_DGRAM, 0)?);
        s.bind_to(at)?;
        Ok(s)
    }
}

/// A raw socket, or a ping socket.
#[derive(Debug)]
pub struct RawSocket(Datagrams);

impl RawSocket {
    /// A raw socket for this protocol, IPv4 or (`v6`) IPv6. IPv4 packets are received with their header.
    ///
    /// # Errors
    /// EPERM for users other than root and the stack's, EAFNOSUPPORT ...
    pub fn new(session: &Session, v6: bool, protocol: u8) -> io::Result<RawSocket> {
        let domain = if v6 { AF_INET6 } else { AF_INET };
        Ok(RawSocket(Datagrams::new(session, domain, SOCK_RAW, i32::from(protocol))?))
    }

    /// A ping socket (icmp(7): SOCK_DGRAM with IPPROTO_ICMP): sends ICMP echo requests and receives the answers
    /// to them; needs no privilege.
    ///
    /// # Errors
    /// EAFNOSUPPORT ...
    pub fn ping(session: &Session, v6: bool) -> io::Result<RawSocket> {
        let (domain, proto) = if v6 { (AF_INET6, IPPROTO_ICMPV6) } else { (AF_INET, IPPROTO_ICMP) };
        Ok(RawSocket(Datagrams::new(session, domain, SOCK_DGRAM, proto)?))
    }
}

common!(UdpSocket);
common!(RawSocket);
