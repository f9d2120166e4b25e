//! Linux's numbers that both sides need (the same on all architectures that this project runs on).
#![allow(missing_docs)] // each is the name and value of a Linux header

pub const AF_UNSPEC: i32 = 0;
pub const AF_INET: i32 = 2;
pub const AF_INET6: i32 = 10;
pub const AF_NETLINK: i32 = 16;
/// QNX's AF_ROUTE (17) would be Linux's AF_PACKET; a routing socket in BSD's layout has a number of its own
/// here (`IOPKT_AF_ROUTE` of `include/iopkt/route.h`).
pub const AF_ROUTE: i32 = 0x4011;
pub const NETLINK_ROUTE: i32 = 0;
/// netlink(7) about sockets (sock_diag(7)).
pub const NETLINK_SOCK_DIAG: i32 = 4;
pub const AF_PACKET: i32 = 17;

pub const SOCK_STREAM: i32 = 1;
pub const SOCK_DGRAM: i32 = 2;
pub const SOCK_RAW: i32 = 3;
pub const SOCK_SEQPACKET: i32 = 5;
pub const SOCK_PACKET: i32 = 10;
/// First number that is no protocol's (linux/in.h).
pub const IPPROTO_MAX: i32 = 263;
pub const SOCK_TYPE_MASK: i32 = 0xf;
pub const SOCK_NONBLOCK: i32 = 0o4000;
pub const SOCK_CLOEXEC: i32 = 0o2000000;

pub const IPPROTO_IP: i32 = 0;
pub const IPPROTO_ICMP: i32 = 1;
pub const IPPROTO_TCP: i32 = 6;
pub const IPPROTO_UDP: i32 = 17;
pub const IPPROTO_IPV6: i32 = 41;
pub const IPPROTO_ICMPV6: i32 = 58;

pub const SOL_SOCKET: i32 = 1;
pub const SOL_NETLINK: i32 = 270;
pub const SOL_PACKET: i32 = 263;
pub const SO_REUSEADDR: i32 = 2;
pub const SO_TYPE: i32 = 3;
pub const SO_ERROR: i32 = 4;
pub const SO_BROADCAST: i32 = 6;
pub const SO_SNDBUF: i32 = 7;
pub const SO_RCVBUF: i32 = 8;
pub const SO_PRIORITY: i32 = 12;
/// QNX's; not one of Linux's.
pub const SO_TXPRIO: i32 = 0x100b;
pub const SO_LINGER: i32 = 13;
pub const SO_PASSCRED: i32 = 16;
pub const SO_OOBINLINE: i32 = 10;
pub const SO_RCVLOWAT: i32 = 18;
pub const SO_SNDLOWAT: i32 = 19;
pub const SO_RCVTIMEO_OLD: i32 = 20;
pub const SO_SNDTIMEO_OLD: i32 = 21;
pub const SO_PEERCRED: i32 = 17;
pub const SO_ATTACH_FILTER: i32 = 26;
pub const SO_DETACH_FILTER: i32 = 27;
pub const SO_TIMESTAMP: i32 = 29;
pub const SO_ACCEPTCONN: i32 = 30;
pub const SO_RCVBUFFORCE: i32 = 33;
pub const SO_TIMESTAMPNS: i32 = 35;
pub const SO_DEBUG: i32 = 1;
pub const SO_SNDBUFFORCE: i32 = 32;
pub const SO_MARK: i32 = 36;
pub const SO_PEEK_OFF: i32 = 42;
pub const SO_BUSY_POLL: i32 = 46;
pub const SO_ATTACH_REUSEPORT_CBPF: i32 = 51;
pub const SO_PREFER_BUSY_POLL: i32 = 69;
pub const SO_BUSY_POLL_BUDGET: i32 = 70;
pub const SO_RCVMARK: i32 = 75;
/// Of our own: which control messages the socket's options ask for ([`wants`]).
pub const SO_WANTS: i32 = 0x6971;
pub const IP_TRANSPARENT: i32 = 19;
pub const IPV6_HOPOPTS: i32 = 54;
pub const IPV6_RTHDRDSTOPTS: i32 = 55;
pub const IPV6_DSTOPTS: i32 = 59;
pub const IPV6_TRANSPARENT: i32 = 75;
pub const IP_MSFILTER: i32 = 41;
pub const MCAST_MSFILTER: i32 = 48;
pub const TCP_NOTSENT_LOWAT: i32 = 25;
pub const SO_PROTOCOL: i32 = 38;
pub const SO_DOMAIN: i32 = 39;
pub const SO_RCVTIMEO_NEW: i32 = 66;
pub const SO_SNDTIMEO_NEW: i32 = 67;

/// Bits of [`SO_WANTS`].
pub mod wants {
    pub const PKTINFO: u32 = 1;
    pub const TTL: u32 = 2;
    pub const TOS: u32 = 4;
    pub const ORIGDST: u32 = 8;
    pub const DROPS: u32 = 16;
    /// SO_TIMESTAMPING with SOF_TIMESTAMPING_RX_SOFTWARE and SOF_TIMESTAMPING_SOFTWARE.
    pub const STAMPING: u32 = 32;
    /// PACKET_AUXDATA.
    pub const AUXDATA: u32 = 64;
    /// The socket is of AF_INET6.
    pub const V6: u32 = 1 << 29;
    /// The first of those of IPPROTO_IPV6, which follow in this order.
    pub const V6_SHIFT: u32 = 16;
    pub const PKTINFO6: u32 = 1 << 16;
    pub const HOPLIMIT: u32 = 1 << 17;
    pub const TCLASS: u32 = 1 << 18;
    pub const HOPOPTS: u32 = 1 << 19;
    pub const RTHDR: u32 = 1 << 20;
    pub const DSTOPTS: u32 = 1 << 21;
    pub const ORIGDST6: u32 = 1 << 22;
    pub const FLOWINFO: u32 = 1 << 23;
    pub const PKTINFO_OLD: u32 = 1 << 24;
    pub const HOPLIMIT_OLD: u32 = 1 << 25;
    pub const HOPOPTS_OLD: u32 = 1 << 26;
    pub const RTHDR_OLD: u32 = 1 << 27;
    pub const DSTOPTS_OLD: u32 = 1 << 28;
    /// The number of SO_TIMESTAMP or its kin, shifted.
    pub const STAMP_SHIFT: u32 = 8;
}

pub const PACKET_ADD_MEMBERSHIP: i32 = 1;
pub const PACKET_DROP_MEMBERSHIP: i32 = 2;
pub const PACKET_RX_RING: i32 = 5;
pub const PACKET_STATISTICS: i32 = 6;
pub const PACKET_AUXDATA: i32 = 8;
pub const PACKET_VERSION: i32 = 10;
pub const PACKET_HDRLEN: i32 = 11;
pub const PACKET_RESERVE: i32 = 12;
pub const PACKET_IGNORE_OUTGOING: i32 = 23;
/// Of our own: the reasons of drops are told (int).
pub const PACKET_FATE: i32 = 0x6970;
pub const PACKET_MR_MULTICAST: u16 = 0;
pub const PACKET_MR_PROMISC: u16 = 1;
pub const PACKET_MR_ALLMULTI: u16 = 2;
pub const ETH_P_ALL: u16 = 3;

pub const MSG_OOB: i32 = 0x1;
pub const MSG_PEEK: i32 = 0x2;
pub const MSG_DONTROUTE: i32 = 0x4;
pub const MSG_TRUNC: i32 = 0x20;
pub const MSG_DONTWAIT: i32 = 0x40;
pub const MSG_WAITALL: i32 = 0x100;
pub const MSG_CONFIRM: i32 = 0x800;
pub const MSG_ERRQUEUE: i32 = 0x2000;
pub const MSG_NOSIGNAL: i32 = 0x4000;
pub const MSG_MORE: i32 = 0x8000;

pub const SIOCATMARK: u32 = 0x8905;
pub const SIOCGSTAMP: u32 = 0x8906;
pub const SIOCGSTAMPNS: u32 = 0x8907;
pub const SIOCOUTQNSD: u32 = 0x894b;
pub const SIOCGIFNAME: u32 = 0x8910;
pub const SIOCGIFCONF: u32 = 0x8912;
pub const SIOCGIFFLAGS: u32 = 0x8913;
pub const SIOCGIFADDR: u32 = 0x8915;
pub const SIOCGIFDSTADDR: u32 = 0x8917;
pub const SIOCGIFBRDADDR: u32 = 0x8919;
pub const SIOCGIFNETMASK: u32 = 0x891b;
pub const SIOCGIFMETRIC: u32 = 0x891d;
pub const SIOCGIFMTU: u32 = 0x8921;
pub const SIOCGIFHWADDR: u32 = 0x8927;
pub const SIOCGIFINDEX: u32 = 0x8933;
pub const SIOCGIFTXQLEN: u32 = 0x8942;
pub const SIOCSIFFLAGS: u32 = 0x8914;
pub const SIOCSIFADDR: u32 = 0x8916;
pub const SIOCSIFDSTADDR: u32 = 0x8918;
pub const SIOCSIFBRDADDR: u32 = 0x891a;
pub const SIOCSIFNETMASK: u32 = 0x891c;
pub const SIOCSIFMETRIC: u32 = 0x891e;
pub const SIOCSIFMTU: u32 = 0x8922;
pub const SIOCADDMULTI: u32 = 0x8931;
pub const SIOCDELMULTI: u32 = 0x8932;
pub const SIOCDIFADDR: u32 = 0x8936;
/// Requests that BSD has and Linux lacks, in Linux's range for those of a protocol (SIOCPROTOPRIVATE);
/// `include/iopkt/ioctl.h` has them for C.
pub const SIOCIFCREATE: u32 = 0x89e0;
pub const SIOCIFDESTROY: u32 = 0x89e1;
pub const SIOCGIFCAP: u32 = 0x89e2;
pub const SIOCSIFCAP: u32 = 0x89e3;
pub const SIOCZIFDATA: u32 = 0x89e4;
pub const SIOCAIFADDR: u32 = 0x89e5;
pub const SIOCGIFMEDIA: u32 = 0x89e6;
pub const SIOCSIFMEDIA: u32 = 0x89e7;
pub const SIOCGIFALIAS: u32 = 0x89e8;
pub const SIOCGIFDATA: u32 = 0x89e9;
pub const SIOCIFGCLONERS: u32 = 0x89ea;
/// FIONREAD too: bytes (of the next datagram) to read.
pub const SIOCINQ: u32 = 0x541b;
/// TIOCOUTQ too: bytes not yet sent and acknowledged.
pub const SIOCOUTQ: u32 = 0x5411;

/// `struct ifreq`: name of 16 bytes, union of 24.
pub const IFREQ_LEN: usize = 40;
pub const IFNAMSIZ: usize = 16;

/// Whether an ioctl(2) changes an interface: root and the user of io-pkt may.
pub const fn changes_interface(what: u32) -> bool {
    matches!(
        what,
        SIOCSIFFLAGS
            | SIOCSIFADDR
            | SIOCSIFDSTADDR
            | SIOCSIFBRDADDR
            | SIOCSIFNETMASK
            | SIOCSIFMETRIC
            | SIOCSIFMTU
            | SIOCDIFADDR
            | SIOCAIFADDR
            | SIOCIFCREATE
            | SIOCIFDESTROY
            | SIOCSIFCAP
            | SIOCSIFMEDIA
            | SIOCZIFDATA
            | SIOCADDMULTI
            | SIOCDELMULTI
    )
}
