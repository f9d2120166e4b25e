//! The tools' session with a stack: the client crate, in the tools' terms.

use crate::ping::{EchoSocket, Message};
use crate::tool::{Failure, Stack};
use iopkt_client::{Meta, RawSocket, Session};
use iopkt_ctl::{Reply, Request};
use iopkt_sys::paths::{Root, instance_socket};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// An open session.
pub struct Conn(Session);

impl Conn {
    /// Opens a session with the stack that `IO_PKT_ROOT` and `SOCK` choose.
    ///
    /// # Errors
    /// A line for people: where no stack is, and how to start one.
    pub fn open() -> Result<Conn, String> {
        Session::open().map(Conn).map_err(|e| e.to_string())
    }

    /// Opens a session with the stack that answers mount requests of type `io-pktN`.
    ///
    /// # Errors
    /// A line for people: no such instance, and how to start one.
    pub fn open_instance(n: Option<u32>) -> Result<Conn, Failure> {
        let kind = n.map_or_else(|| "io-pkt".to_string(), |n| format!("io-pkt{n}"));
        let root = Root::find();
        let path = instance_socket(&root, &kind).map_err(|e| match e.kind() {
            ErrorKind::NotFound => {
                let start = n.map_or_else(String::new, |n| format!(" -i{n} -ptcpip prefix=/alt{n}"));
                Failure::new(format!(
                    "no {kind} runs under {}; start one: io-pkt-v4-hc{start}",
                    root.dir().display()
                ))
            }
            _ => Failure::new(format!("{kind}: {e}")),
        })?;
        Session::open_at(&path).map(Conn).map_err(|e| Failure::new(e.to_string()))
    }

    /// Opens an ICMP socket of the stack.
    ///
    /// # Errors
    /// What socket(2) says, in words.
    pub fn echo_socket(&self) -> Result<Echo, String> {
        let s = RawSocket::ping(&self.0, false).map_err(|e| format!("socket: {e}"))?;
        Ok(Echo { s, buf: vec![0; 65_536] })
    }
}

impl Stack for Conn {
    fn ask(&mut self, r: &Request) -> Result<Reply, String> {
        self.0.ctl(r).map_err(|e| format!("{}: {e}", self.0.path().display()))
    }
}

/// An ICMP socket.
pub struct Echo {
    s: RawSocket,
    buf: Vec<u8>,
}

impl EchoSocket for Echo {
    fn send(&mut self, to: Ipv4Addr, ttl: Option<u8>, icmp: &[u8]) -> io::Result<()> {
        let m = Meta { peer: Some(SocketAddr::new(to.into(), 0)), ttl, ..Meta::default() };
        self.s.send_meta(icmp, &m).map(|_| ())
    }

    fn recv(&mut self, wait: Duration) -> io::Result<Option<Message>> {
        // A time-out of zero would mean "for ever".
        self.s.set_read_timeout(Some(wait.max(Duration::from_millis(1))))?;
        match self.s.recv_meta(&mut self.buf) {
            Ok((n, m)) => match m.peer.map(|a| a.ip()) {
                Some(IpAddr::V4(from)) => {
                    Ok(Some(Message { from, ttl: m.ttl.unwrap_or(0), icmp: self.buf[..n].to_vec() }))
                }
                _ => Ok(None),
            },
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
