//! ping6's socket: a ping socket (icmp(7)), which any user may have and which hears the answers to its own requests, and of errors that
//! there was one; or a raw one, which hears all, for what the other cannot send or must see.

use super::options::{Kind, Options};
use crate::dns::{text_of, text_of_if};
use crate::ping::set;
use iopkt_client::RawSocket;
use iopkt_client::Session;
use std::io::ErrorKind;
use std::net::SocketAddr;

/// An open socket, and whether it is raw.
pub struct Socket {
    /// The socket.
    pub s: RawSocket,
    /// It hears all ICMPv6; identifiers are ours.
    pub raw: bool,
}

impl Socket {
    /// Opens it for these options.
    ///
    /// # Errors
    /// The stack refuses the socket or one of the options: what, and why.
    pub fn open(session: &Session, o: &Options, zone: Option<&str>) -> Result<Socket, String> {
        let why = match o.kind {
            Kind::Query(..) => Some("node information queries"),
            _ if o.flood => Some("-f"),
            _ if o.preload > 0 => Some("-l"),
            _ if o.verbose => Some("-v"),
            Kind::Echo => None,
        };
        let s = match why {
            None => RawSocket::ping(session, true).map_err(|e| format!("socket: {}", text_of(&e)))?,
            Some(what) => RawSocket::new(session, true, libc::IPPROTO_ICMPV6 as u8).map_err(|e| {
                if e.kind() == ErrorKind::PermissionDenied {
                    format!("{what}: only root and the user that io-pkt runs as may do that")
                } else {
                    format!("socket: {}", text_of(&e))
                }
            })?,
        };
        options(&s, o, zone)?;
        Ok(Socket { s, raw: why.is_some() })
    }
}

fn options(s: &RawSocket, o: &Options, zone: Option<&str>) -> Result<(), String> {
    if let Some(i) = o.interface.as_deref().or(zone) {
        s.set_option(libc::SOL_SOCKET, libc::SO_BINDTODEVICE, i.as_bytes())
            .map_err(|e| format!("{i}: {}", text_of_if(&e)))?;
    }
    if let Some(a) = o.source {
        // Bound to an interface, a link-local address is that interface's.
        s.bind_to(SocketAddr::new(a.into(), 0)).map_err(|e| format!("bind to {a}: {}", text_of(&e)))?;
    }
    let hops = o.hops.map(i32::from);
    let (v6, sock) = (libc::IPPROTO_IPV6, libc::SOL_SOCKET);
    let wanted = [
        ("IPV6_UNICAST_HOPS", v6, libc::IPV6_UNICAST_HOPS, hops),
        ("IPV6_MULTICAST_HOPS", v6, libc::IPV6_MULTICAST_HOPS, hops),
        ("IPV6_TCLASS", v6, libc::IPV6_TCLASS, o.class.map(i32::from)),
        ("IPV6_DONTFRAG", v6, libc::IPV6_DONTFRAG, o.df.then_some(1)),
        ("IPV6_RECVHOPLIMIT", v6, libc::IPV6_RECVHOPLIMIT, Some(1)),
        ("IPV6_RECVERR", v6, libc::IPV6_RECVERR, Some(1)),
        ("SO_DEBUG", sock, libc::SO_DEBUG, o.debug.then_some(1)),
        ("SO_SNDBUF", sock, libc::SO_SNDBUF, o.buffers),
        ("SO_RCVBUF", sock, libc::SO_RCVBUF, o.buffers),
    ];
    for (what, level, name, v) in wanted {
        if let Some(v) = v {
            set(s, what, level, name, v)?;
        }
    }
    Ok(())
}
