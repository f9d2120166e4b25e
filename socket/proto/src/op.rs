//! What can be asked.

macro_rules! ops {
    ($($(#[$doc:meta])* $name:ident = $n:literal,)*) => {
        /// Operation of a request. "fd" in the texts: the request carries the socket's descriptor. `args`,
        /// `addr` and the payload not named are 0, none and empty.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum Op { $($(#[$doc])* $name = $n,)* }

        impl Op {
            /// Every operation.
            pub const ALL: &'static [Op] = &[$(Op::$name,)*];

            /// The operation with this number.
            pub fn from_raw(n: u16) -> Option<Op> {
                match n {
                    $($n => Some(Op::$name),)*
                    _ => None,
                }
            }
        }
    };
}

ops! {
    /// Opens the session; the first message. args: `iopkt_ctl::VERSION` for who will send [`Op::Ctl`], else 0.
    /// Reply: payload [`crate::Hello`].
    Hello = 1,
    /// socket(2). args: domain, type (with SOCK_NONBLOCK and SOCK_CLOEXEC), protocol, [`sockf`] bits, of a
    /// routing socket the process that it is for (0: the session's own). Reply: fd.
    Socket = 2,
    /// bind(2). fd; addr.
    Bind = 3,
    /// connect(2). fd; addr (none dissolves a datagram socket's association); args: 1 when the program's
    /// descriptor is in blocking mode and the caller is going to wait; 1 for MSG_FASTOPEN: the payload is data for the SYN,
    /// of which `val[0]` bytes were taken. Reply: 0, EINPROGRESS (poll for POLLOUT, then
    /// [`Op::ConnectStatus`]), EALREADY, EISCONN, or the error. With [`crate::repf::REPLACE`] the reply has a
    /// descriptor that the caller must dup2(2) over the socket's number.
    Connect = 4,
    /// How the connect of a stream ended. fd. Reply: 0, EINPROGRESS, ENOTCONN when none was begun, or the error
    /// (once: like SO_ERROR).
    ConnectStatus = 5,
    /// listen(2). fd; args: backlog.
    Listen = 6,
    /// accept4(2). fd; args: flags (SOCK_NONBLOCK, SOCK_CLOEXEC). Reply: fd, addr; EAGAIN when none waits
    /// (poll for POLLIN, ask again).
    Accept = 7,
    /// getsockname(2). fd. Reply: addr.
    Getsockname = 8,
    /// getpeername(2). fd. Reply: addr.
    Getpeername = 9,
    /// setsockopt(2). fd; args: level, name; payload: value (at most [`crate::MAX_SOCKOPT`]).
    Setsockopt = 10,
    /// getsockopt(2). fd; args: level, name, size of the caller's buffer. Reply: payload.
    Getsockopt = 11,
    /// shutdown(2). fd; args: how (0 read, 1 write, 2 both).
    Shutdown = 12,
    /// ioctl(2) with a SIOC* request. fd; args: request, for SIOCGIFCONF the size of the caller's buffer;
    /// payload: the `struct ifreq` (40 bytes) where the request has one. Reply: payload: the `struct ifreq`, or
    /// for SIOCGIFCONF the list of them; `val[0]` is the `int` of requests that answer one and the
    /// full length of a SIOCGIFCONF.
    Ioctl = 13,
    /// Sends one datagram with its errors reported at once. fd; args: MSG_* flags, 1 when the payload begins
    /// with a [`crate::DgramHdr`]; payload. Reply: `val[0]` bytes sent. With MSG_OOB on a stream: payload of
    /// which the last byte is urgent; it goes behind what the program has written before ([`crate::repf::NATIVE`]: nothing was
    /// done). EOPNOTSUPP else on streams: their descriptors send all the rest.
    Send = 14,
    /// Takes (MSG_PEEK: shows) one datagram. fd; args: MSG_* flags, size. Reply: payload: a
    /// [`crate::DgramHdr`] and the datagram, cut to size; `val[0]` its full length. EAGAIN when there is none. With MSG_ERRQUEUE: the
    /// oldest error, as a header with `df::ERROR` (peer: where the datagram went), and what was quoted of it.
    Recv = 15,
    /// A configuration request. Payload: postcard of `iopkt_ctl::Request`. Reply: postcard of
    /// `iopkt_ctl::Reply`, in as many messages as it takes, all but the last with [`crate::repf::MORE`]; it
    /// may come after replies to later requests.
    Ctl = 16,
    /// What this descriptor is. fd. Reply: `val`: domain, type, protocol; args of the socket's mode in
    /// [`crate::repf`] bits; addr: peer. ENOTSOCK when it is none of this server's.
    Info = 17,
    /// open(2) of a device node of the stack. args: open(2) flags (O_NONBLOCK counts), 0, 0, [`sockf`] bits;
    /// payload: the node's documented name (`/dev/bpf`, `/dev/tun0`), or that of a file in [`crate::PROC_NET`], whose text as of
    /// now the descriptor has. Reply: fd; ENXIO without such a node, EBUSY when only
    /// one may have it open.
    Open = 18,
    /// The memory of a packet socket's receive ring (PACKET_RX_RING). fd; args: 1 only makes the descriptor readable if a
    /// frame waits. Reply: fd (mmap(2) it: the ring, and behind it one page, whose bytes 4 to 7 say where in
    /// the ring the status word of the block or frame that was filled last is: while that is not 0, there is something to
    /// read); `val[0]`: length of the ring in bytes.
    Ring = 19,
}

/// `args[3]` of [`Op::Socket`].
pub mod sockf {
    /// Whoever asks will strip and act on [`crate::DgramHdr`]s on every way of reading: asynchronous errors of
    /// connected datagram sockets may then be sent through the pair.
    pub const STRIPS: i32 = 1;
    /// Whoever asks will make of a stream's end of file, and of a write that the pair refuses, what TCP would (SO_ERROR and TCP_INFO
    /// tell): the connection may be joined with another program's past the stack.
    pub const JOINS: i32 = 2;
    /// A routing socket may ask and listen, and change nothing, whoever the session is: the caller of socket(2) has given up the right.
    pub const LOOKS: i32 = 4;
}

/// Files of `/proc/net` (proc(5)) whose text a stack has for [`Op::Open`].
pub const PROC_NET: &[&str] = &[
    "arp",
    "dev",
    "dev_mcast",
    "if_inet6",
    "igmp",
    "igmp6",
    "ipv6_route",
    "raw",
    "raw6",
    "route",
    "snmp6",
    "sockstat",
    "sockstat6",
    "tcp",
    "tcp6",
    "udp",
    "udp6",
];

/// Which of [`PROC_NET`] a path names.
pub fn proc_net(path: &str) -> Option<&'static str> {
    let name = path.strip_prefix("/proc/net/").or_else(|| path.strip_prefix("/proc/self/net/"))?;
    PROC_NET.iter().find(|n| **n == name).copied()
}
