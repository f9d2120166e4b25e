//! One connection.

use iopkt_sys::Interest;
use iopkt_usbip::server::{Limits, Session};
use rustix::net::{RecvFlags, SendFlags};
use std::fmt;
use std::os::fd::OwnedFd;

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A process of this machine.
    Process {
        /// Process id.
        pid: i32,
        /// User id.
        uid: u32,
    },
    /// Somebody on the network.
    Tcp,
}

impl Peer {
    /// Peer of an accepted connection.
    pub fn of(fd: &OwnedFd, tcp: bool) -> Peer {
        if tcp {
            let _ = rustix::net::sockopt::set_tcp_nodelay(fd, true);
            return Peer::Tcp;
        }
        // Larger than the default, so that a turn's replies leave in one call.
        let _ = rustix::net::sockopt::set_socket_send_buffer_size(fd, 1 << 20);
        match rustix::net::sockopt::socket_peercred(fd) {
            Ok(c) => Peer::Process { pid: c.pid.as_raw_nonzero().get(), uid: c.uid.as_raw() },
            Err(_) => Peer::Process { pid: 0, uid: u32::MAX },
        }
    }

    /// Whether it may plug, unplug and break things.
    pub fn may_control(&self) -> bool {
        match self {
            Peer::Process { uid, .. } => *uid == 0 || *uid == rustix::process::geteuid().as_raw(),
            Peer::Tcp => false,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Process { pid, .. } => write!(f, "process {pid}"),
            Peer::Tcp => f.write_str("a TCP client"),
        }
    }
}

/// What a connection has imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The simulated device in this port.
    Port(usize),
    /// The device in this place.
    Place(u64),
}

/// A connection with its session.
#[derive(Debug)]
pub struct Conn {
    /// The socket.
    pub fd: OwnedFd,
    /// Protocol state.
    pub session: Session,
    /// Who it is.
    pub peer: Peer,
    /// Never used again.
    pub id: u64,
    /// The device that it has imported, or waits for.
    pub claim: Option<Claim>,
    /// It waits for an answer from elsewhere: what it sends behind its request is left alone.
    pub waiting: bool,
    /// What the epoll waits for.
    pub interest: Interest,
}

impl Conn {
    /// A connection that was just accepted.
    pub fn new(fd: OwnedFd, peer: Peer, id: u64) -> Conn {
        let (session, interest) = (Session::new(Limits::default()), Interest::READ);
        Conn { fd, session, peer, id, claim: None, waiting: false, interest }
    }

    /// The place that it has.
    pub fn place(&self) -> Option<u64> {
        match self.claim {
            Some(Claim::Place(p)) => Some(p),
            _ => None,
        }
    }

    /// Reads once: the number of bytes, 0 when nothing waits, or why the connection is over.
    pub fn read(&mut self) -> Result<usize, &'static str> {
        loop {
            match rustix::net::recv(&self.fd, self.session.space(), RecvFlags::DONTWAIT) {
                Ok((0, _)) => return Err("closed by the peer"),
                Ok((n, _)) => {
                    self.session.commit(n);
                    return Ok(n);
                }
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(0),
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return Err("reset by the peer"),
            }
        }
    }

    /// Writes what the socket takes.
    pub fn write(&mut self) -> Result<(), &'static str> {
        while !self.session.tx().is_empty() {
            match rustix::net::send(&self.fd, self.session.tx(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(n) => self.session.tx_done(n),
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return Err("closed by the peer"),
            }
        }
        Ok(())
    }

    /// Sends half of what waits, or of a reply when nothing does: the cable goes in the middle of a message.
    pub fn tear(&mut self) {
        if self.session.tx().is_empty() {
            self.session.replies().complete(0, 0, 0, &[]);
        }
        let tx = self.session.tx();
        let half = &tx[..tx.len().div_ceil(2)];
        let half = if half.len().is_multiple_of(48) { &half[..half.len() - 1] } else { half };
        let _ = rustix::net::send(&self.fd, half, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        let n = self.session.tx().len();
        self.session.tx_done(n);
    }
}
