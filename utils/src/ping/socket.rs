//! ping's socket: a raw ICMP socket where the stack permits it, else a ping socket (icmp(7)), which hears only answers
//! to its own requests and of errors only that there was one.

use super::text;
use super::{EchoSocket, Message, Options};
use crate::dns::{text_of, text_of_if};
use iopkt_client::{RawSocket, Session};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

const IPPROTO_ICMP: u8 = 1;

/// An ICMP socket.
pub struct Icmp {
    s: RawSocket,
    raw: bool,
    buf: Vec<u8>,
}

/// Sets an int option, or says which could not be set.
pub fn set(s: &RawSocket, what: &str, level: i32, name: i32, v: i32) -> Result<(), String> {
    s.set_option(level, name, &v.to_ne_bytes()).map_err(|e| format!("{what}: {}", text_of(&e)))
}

impl Icmp {
    /// Opens it for these options.
    ///
    /// # Errors
    /// The stack refuses the socket or one of the options: what, and why.
    pub fn open(session: &Session, o: &Options) -> Result<Icmp, String> {
        let (s, raw) = match RawSocket::new(session, false, IPPROTO_ICMP) {
            Ok(s) => (s, true),
            Err(e) if e.kind() == ErrorKind::PermissionDenied => {
                let only = |what| format!("{what}: only root and the user that io-pkt runs as may do that");
                if o.flood || o.preload > 0 {
                    return Err(only(if o.flood { "-f" } else { "-l" }));
                }
                if o.record {
                    return Err(only("-R"));
                }
                (RawSocket::ping(session, false).map_err(|e| format!("socket: {}", text_of(&e)))?, false)
            }
            Err(e) => return Err(format!("socket: {}", text_of(&e))),
        };
        if let Some(a) = o.source {
            s.bind_to(SocketAddr::new(a.into(), 0)).map_err(|e| format!("bind to {a}: {}", text_of(&e)))?;
        }
        if let Some(i) = &o.interface {
            s.set_option(libc::SOL_SOCKET, libc::SO_BINDTODEVICE, i.as_bytes())
                .map_err(|e| format!("{i}: {}", text_of_if(&e)))?;
        }
        set(&s, "SO_BROADCAST", libc::SOL_SOCKET, libc::SO_BROADCAST, 1)?;
        if let Some(t) = o.ttl {
            set(&s, "IP_TTL", libc::IPPROTO_IP, libc::IP_TTL, t.into())?;
            set(&s, "IP_MULTICAST_TTL", libc::IPPROTO_IP, libc::IP_MULTICAST_TTL, t.into())?;
        }
        if let Some(t) = o.tos {
            set(&s, "IP_TOS", libc::IPPROTO_IP, libc::IP_TOS, t.into())?;
        }
        if o.df {
            set(&s, "IP_MTU_DISCOVER", libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DO)?;
        }
        if o.dontroute {
            set(&s, "SO_DONTROUTE", libc::SOL_SOCKET, libc::SO_DONTROUTE, 1)?;
        }
        if o.noloop {
            set(&s, "IP_MULTICAST_LOOP", libc::IPPROTO_IP, libc::IP_MULTICAST_LOOP, 0)?;
        }
        if o.record {
            s.set_option(libc::IPPROTO_IP, libc::IP_OPTIONS, &text::record_route())
                .map_err(|e| format!("IP_OPTIONS: {}", text_of(&e)))?;
        }
        if !raw {
            set(&s, "IP_RECVERR", libc::IPPROTO_IP, libc::IP_RECVERR, 1)?;
            set(&s, "IP_RECVTTL", libc::IPPROTO_IP, libc::IP_RECVTTL, 1)?;
        }
        Ok(Icmp { s, raw, buf: vec![0; 65_536] })
    }
}

impl EchoSocket for Icmp {
    fn hears_all(&self) -> bool {
        self.raw
    }

    fn send(&mut self, to: Ipv4Addr, icmp: &[u8]) -> io::Result<()> {
        self.s.send_to(icmp, SocketAddr::new(to.into(), 0)).map(|_| ())
    }

    fn recv(&mut self, wait: Duration) -> io::Result<Option<Message>> {
        // A time-out of zero would mean "for ever".
        self.s.set_read_timeout(Some(wait.max(Duration::from_millis(1))))?;
        match self.s.recv_meta(&mut self.buf) {
            Ok((n, m)) => {
                let Some(IpAddr::V4(from)) = m.peer.map(|a| a.ip()) else { return Ok(None) };
                let got = &self.buf[..n];
                if !self.raw {
                    return Ok(Some(Message { from, ttl: m.ttl, icmp: got.to_vec(), options: Vec::new() }));
                }
                Ok(packet(from, got))
            }
            Err(e)
                if [ErrorKind::WouldBlock, ErrorKind::TimedOut, ErrorKind::Interrupted]
                    .contains(&e.kind()) =>
            {
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }
}

/// A whole IPv4 packet, as raw sockets hear it.
pub fn packet(from: Ipv4Addr, p: &[u8]) -> Option<Message> {
    let len = usize::from(p.first()? & 15) * 4;
    if len < 20 || p.len() < len {
        return None;
    }
    Some(Message { from, ttl: Some(p[8]), icmp: p[len..].to_vec(), options: p[20..len].to_vec() })
}
