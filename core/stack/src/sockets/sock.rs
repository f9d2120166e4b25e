//! One socket: what all kinds have in common.

use super::dgram::Dgram;
use super::opt_tcp::TcpOpts;
use super::tcp::Conn;
use super::tcp_listen::Listener;
use super::types::{SockId, SockType, proto};
use crate::packet::Family;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use iopkt_base::Errno;

/// Buffer sizes: Linux's `rmem_default` and `wmem_default`, their largest values, and its smallest.
pub(crate) const BUF_DEFAULT: u32 = 212_992;
pub(crate) const BUF_MAX: u32 = 8 << 20;
pub(crate) const BUF_MIN: u32 = 2304;

/// Options that any socket may carry. Names are those of socket(7) and ip(7), lower-case.
#[derive(Clone, Debug)]
pub(crate) struct Opts {
    pub reuseaddr: bool,
    pub reuseport: bool,
    pub keepalive: bool,
    pub broadcast: bool,
    pub dontroute: bool,
    pub oobinline: bool,
    pub timestamp: bool,
    pub hdrincl: bool,
    pub retopts: bool,
    pub pktinfo: bool,
    pub recvttl: bool,
    pub recvtos: bool,
    pub recverr: bool,
    pub freebind: bool,
    pub bind_no_port: bool,
    pub v6only: bool,
    pub no_check: bool,
    /// Seconds; `None` is off.
    pub linger: Option<u32>,
    /// Bytes, already doubled as Linux does.
    pub sndbuf: u32,
    pub rcvbuf: u32,
    pub rcvlowat: i32,
    /// Seconds and microseconds.
    pub rcvtimeo: (i64, i64),
    pub sndtimeo: (i64, i64),
    /// Interface of SO_BINDTODEVICE, 0 for none.
    pub bound_dev: u32,
    pub priority: i32,
    /// SO_TXPRIO: priority of what it sends in the queue of an interface.
    pub txprio: u8,
    pub ttl: Option<u8>,
    pub tos: u8,
    /// IP_PMTUDISC_*.
    pub mtu_discover: u8,
    pub mcast_ttl: u8,
    pub mcast_loop: bool,
    pub mcast_all: bool,
    pub mcast_if: u32,
    pub mcast_addr: Option<IpAddr>,
    /// IP_OPTIONS for every packet sent, padded.
    pub ip_options: Vec<u8>,
    pub tcp: TcpOpts,
}

/// IP_MTU_DISCOVER's values (ip(7)).
pub(crate) mod pmtudisc {
    pub const DONT: u8 = 0;
    pub const WANT: u8 = 1;
    pub const DO: u8 = 2;
    pub const PROBE: u8 = 3;
    pub const OMIT: u8 = 5;
}

impl Default for Opts {
    fn default() -> Opts {
        Opts {
            reuseaddr: false,
            reuseport: false,
            keepalive: false,
            broadcast: false,
            dontroute: false,
            oobinline: false,
            timestamp: false,
            hdrincl: false,
            retopts: false,
            pktinfo: false,
            recvttl: false,
            recvtos: false,
            recverr: false,
            freebind: false,
            bind_no_port: false,
            v6only: true,
            no_check: false,
            linger: None,
            sndbuf: BUF_DEFAULT,
            rcvbuf: BUF_DEFAULT,
            rcvlowat: 1,
            rcvtimeo: (0, 0),
            sndtimeo: (0, 0),
            bound_dev: 0,
            priority: 0,
            txprio: 0,
            ttl: None,
            tos: 0,
            mtu_discover: pmtudisc::WANT,
            mcast_ttl: 1,
            mcast_loop: true,
            mcast_all: true,
            mcast_if: 0,
            mcast_addr: None,
            ip_options: Vec::new(),
            tcp: TcpOpts::default(),
        }
    }
}

/// What a socket is besides.
pub(crate) enum Body {
    /// UDP, raw, ping.
    Dgram(Dgram),
    /// A stream that is neither listening nor connected.
    Idle,
    /// A listener.
    Listen(Box<Listener>),
    /// A connection, from SYN-SENT to CLOSED.
    Conn(Box<Conn>),
}

/// A socket.
pub(crate) struct Sock {
    pub id: SockId,
    pub family: Family,
    pub ty: SockType,
    pub proto: u8,
    /// Local address, unspecified for a wildcard.
    pub local: IpAddr,
    /// Local port (ping sockets: the ICMP identifier), 0 while not bound.
    pub lport: u16,
    pub remote: Option<SocketAddr>,
    /// bind() named the address, or the port: connect and disconnect leave them alone.
    pub addr_locked: bool,
    pub port_locked: bool,
    pub opt: Opts,
    /// SO_ERROR.
    pub err: Option<Errno>,
    /// Bits of [`super::ev`] that wait to be told.
    pub ev: u8,
    pub shut_rd: bool,
    pub shut_wr: bool,
    /// A connection gave back the port that connect chose for it.
    pub released: bool,
    /// Process that made it, for listings.
    pub pid: u32,
    pub body: Body,
}

/// The wildcard of a family.
pub(crate) fn unspecified(f: Family) -> IpAddr {
    match f {
        Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

impl Sock {
    pub fn new(id: SockId, family: Family, ty: SockType, proto: u8, body: Body) -> Sock {
        Sock {
            id,
            family,
            ty,
            proto,
            local: unspecified(family),
            lport: 0,
            remote: None,
            addr_locked: false,
            port_locked: false,
            opt: Opts::default(),
            err: None,
            ev: 0,
            shut_rd: false,
            shut_wr: false,
            released: false,
            pid: 0,
            body,
        }
    }

    /// Its own address and port.
    pub fn local_sa(&self) -> SocketAddr {
        SocketAddr::new(self.local, self.lport)
    }

    /// Whether it is a listening TCP socket.
    pub fn is_listening(&self) -> bool {
        matches!(self.body, Body::Listen(_))
    }

    /// Whether it is a ping socket.
    pub fn is_ping(&self) -> bool {
        self.ty == SockType::Dgram && matches!(self.proto, proto::ICMP | proto::ICMP6)
    }

    /// The datagram part.
    ///
    /// # Errors
    /// EOPNOTSUPP for streams.
    pub fn dgram(&mut self) -> Result<&mut Dgram, Errno> {
        match &mut self.body {
            Body::Dgram(d) => Ok(d),
            _ => Err(Errno::EOPNOTSUPP),
        }
    }

    /// Whether a packet to `group` that came by `ifindex` is for this socket: it joined the group there, or it
    /// has IP_MULTICAST_ALL (Linux's default).
    pub fn wants_group(&self, group: IpAddr, ifindex: u32) -> bool {
        match &self.body {
            Body::Dgram(d) => {
                self.opt.mcast_all || d.groups.iter().any(|g| g.group == group && g.ifindex == ifindex)
            }
            _ => false,
        }
    }

    /// Effective TTL for a destination.
    pub fn ttl_for(&self, dst: IpAddr) -> u8 {
        if dst.is_multicast() { self.opt.mcast_ttl } else { self.opt.ttl.unwrap_or(DEFAULT_TTL) }
    }
}

/// `net.inet.ip.ttl`.
pub(crate) const DEFAULT_TTL: u8 = 64;
