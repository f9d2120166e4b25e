//! One socket: what all kinds have in common.

use super::dgram::Dgram;
use super::errqueue::SockErr;
use super::opt_ip6::{Opts6, ip6};
use super::opt_tcp::TcpOpts;
use super::opt_udp::UdpOpts;
use super::tcp::Conn;
use super::tcp_listen::Listener;
use super::types::{SockId, SockType, proto};
use crate::packet::Family;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use iopkt_base::Errno;
use iopkt_bpf::Program;

/// Buffer sizes: Linux's `rmem_default` and `wmem_default`, their largest values, and its smallest.
pub(crate) const BUF_DEFAULT: u32 = 212_992;
pub(crate) const BUF_MAX: u32 = 8 << 20;
pub(crate) const BUF_MIN: u32 = 2304;
/// The least SO_SNDBUF.
pub(crate) const SNDBUF_MIN: u32 = 4608;

/// Options that any socket may carry. Names are those of socket(7) and ip(7), lower-case.
#[derive(Clone, Debug)]
pub(crate) struct Opts {
    pub reuseaddr: bool,
    pub reuseport: bool,
    pub keepalive: bool,
    pub broadcast: bool,
    pub dontroute: bool,
    pub oobinline: bool,
    /// On/off options of SOL_SOCKET that have no field: a bit for each number.
    pub so_flags: u128,
    /// On/off options of IPPROTO_IP that have no field: a bit for each number.
    pub ip_flags: u64,
    /// SO_TIMESTAMP and its kin: the option's number, 0 for none.
    pub timestamp: u8,
    /// SO_TIMESTAMPING's flags.
    pub stamping: u32,
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
    /// SO_LINGER's seconds as they were set last: kept when it is turned off.
    pub linger_secs: u32,
    /// SO_MARK.
    pub mark: u32,
    /// SO_PEEK_OFF: -1 is off.
    pub peek_off: i32,
    /// SO_INCOMING_CPU: -1 for none.
    pub incoming_cpu: i32,
    /// SO_BUSY_POLL, microseconds.
    pub busy_poll: i32,
    /// SO_MAX_PACING_RATE, bytes a second; all ones for none.
    pub max_pacing: u64,
    /// SO_BUF_LOCK: bit 0 the send buffer, bit 1 the receive buffer was set by the program.
    pub buf_lock: u8,
    /// SO_TXREHASH.
    pub txrehash: bool,
    /// SO_ATTACH_FILTER.
    pub filter: Option<Arc<Program>>,
    /// SO_ATTACH_REUSEPORT_CBPF: chooses among the group.
    pub chooser: Option<Arc<Program>>,
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
    /// IP_UNICAST_IF, 0 for none.
    pub unicast_if: u32,
    /// IP_MINTTL.
    pub min_ttl: u8,
    /// IP_LOCAL_PORT_RANGE: first and last port, 0 for the stack's.
    pub port_range: (u16, u16),
    pub udp: UdpOpts,
    /// IP_OPTIONS for every packet sent, padded.
    pub ip_options: Vec<u8>,
    pub tcp: TcpOpts,
    /// Those of IPPROTO_IPV6.
    pub v6: Opts6,
}

/// IP_MTU_DISCOVER's values (ip(7)).
pub(crate) mod pmtudisc {
    pub const DONT: u8 = 0;
    pub const WANT: u8 = 1;
    pub const DO: u8 = 2;
    pub const PROBE: u8 = 3;
    pub const OMIT: u8 = 5;
}

impl Opts {
    /// SO_LOCK_FILTER.
    pub fn locked_filter(&self) -> bool {
        self.so_flags >> super::opt_socket::so::LOCK_FILTER & 1 != 0
    }

    /// IP_FREEBIND, IP_TRANSPARENT.
    pub fn binds_anywhere(&self) -> bool {
        self.freebind || self.ip_flag(super::opt_ip::ip::TRANSPARENT)
    }

    /// Whether an on/off option of IPPROTO_IP is on.
    pub fn ip_flag(&self, name: i32) -> bool {
        self.ip_flags >> name & 1 != 0
    }
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
            so_flags: 0,
            ip_flags: 0,
            timestamp: 0,
            stamping: 0,
            hdrincl: false,
            retopts: false,
            pktinfo: false,
            recvttl: false,
            recvtos: false,
            recverr: false,
            freebind: false,
            bind_no_port: false,
            v6only: false,
            no_check: false,
            linger: None,
            linger_secs: 0,
            mark: 0,
            peek_off: -1,
            incoming_cpu: -1,
            busy_poll: 0,
            max_pacing: u64::MAX,
            buf_lock: 0,
            txrehash: true,
            filter: None,
            chooser: None,
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
            unicast_if: 0,
            min_ttl: 0,
            port_range: (0, 0),
            udp: UdpOpts::default(),
            ip_options: Vec::new(),
            tcp: TcpOpts::default(),
            v6: Opts6::default(),
        }
    }
}

/// What a socket is besides.
pub(crate) enum Body {
    /// UDP, raw, ping.
    Dgram(Box<Dgram>),
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
    /// Errors that wait for recvmsg(2) with MSG_ERRQUEUE.
    pub errors: VecDeque<SockErr>,
    /// Number of the next write with MSG_ZEROCOPY; where SO_TIMESTAMPING counts bytes from.
    pub zero_next: u32,
    pub tx_base: u32,
    /// Bits of [`super::ev`] that wait to be told.
    pub ev: u8,
    pub shut_rd: bool,
    pub shut_wr: bool,
    /// A connection gave back the port that connect chose for it.
    pub released: bool,
    /// Process that made it, for listings.
    pub pid: u32,
    pub body: Body,
    /// Counts how often somebody could have changed it, queues apart ([`super::table::Table::get_mut`]): a conclusion from its
    /// settings holds as long as this number is the same.
    pub changed: u64,
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
            errors: VecDeque::new(),
            zero_next: 0,
            tx_base: 0,
            ev: 0,
            shut_rd: false,
            shut_wr: false,
            released: false,
            pid: 0,
            body,
            changed: 0,
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

    /// Whether it is a raw IPv6 socket.
    pub fn is_raw6(&self) -> bool {
        self.ty == SockType::Raw && self.family == Family::V6
    }

    /// Whether it is a ping socket.
    pub fn is_ping(&self) -> bool {
        self.ty == SockType::Dgram && matches!(self.proto, proto::ICMP | proto::ICMP6)
    }

    /// Whether it is a UDP or UDP-Lite socket, and the level its own.
    pub fn is_udp_at(&self, level: i32) -> bool {
        self.ty == SockType::Dgram
            && !self.is_ping()
            && (level == i32::from(self.proto) || level == i32::from(proto::UDP))
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

    /// Whether a packet of `source` to `group` that came by `ifindex` is for this socket: it joined the group there and its
    /// filter hears the source; one that did not join goes by IP_MULTICAST_ALL (Linux's default).
    pub fn wants_group(&self, group: IpAddr, source: IpAddr, ifindex: u32) -> bool {
        let Body::Dgram(d) = &self.body else { return false };
        let joined = d.groups.iter().find(|g| g.group == group && g.ifindex == ifindex);
        let all = match group {
            IpAddr::V4(_) => self.opt.mcast_all,
            IpAddr::V6(_) => self.opt.v6.flag(ip6::MULTICAST_ALL),
        };
        joined.map_or(all, |g| g.filter.hears(source))
    }

    /// Effective TTL for a destination; `default` where no option says.
    pub fn ttl_for(&self, dst: IpAddr, default: u8) -> u8 {
        match (dst.is_multicast(), dst.is_ipv4()) {
            (true, true) => self.opt.mcast_ttl,
            (true, false) => self.opt.v6.mcast_hops,
            (false, v4) => self.opt.hop_limit(v4).unwrap_or(default),
        }
    }
}
