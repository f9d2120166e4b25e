//! Routing sockets: what happens to interfaces, addresses and routes, and requests about them in BSD's form.

use crate::Session;
use crate::wait::hung_up;
use iopkt_base::Errno;
use iopkt_sockproto::linux::{AF_ROUTE, SOCK_RAW};
use iopkt_sockproto::rtmsg::RtMsg;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// An AF_ROUTE socket.
#[derive(Debug)]
pub struct RouteSocket {
    fd: OwnedFd,
    buf: Vec<u8>,
}

impl RouteSocket {
    /// Opens one that hears of everything.
    ///
    /// # Errors
    /// What socket(2) says.
    pub fn open(session: &Session) -> io::Result<RouteSocket> {
        let fd = session.socket(AF_ROUTE, SOCK_RAW, 0, 0)?;
        Ok(RouteSocket { fd, buf: vec![0; 4096] })
    }

    /// Waits for the next message. What this build does not understand is skipped.
    ///
    /// # Errors
    /// ECONNRESET when the stack is gone; EAGAIN on a non-blocking socket, EINTR.
    pub fn recv(&mut self) -> io::Result<RtMsg> {
        loop {
            let n = recv(&self.fd, &mut self.buf[..], RecvFlags::empty())?.0;
            if n == 0 && hung_up(&self.fd) {
                return Err(io::Error::from_raw_os_error(Errno::ECONNRESET.raw()));
            }
            if let Some((m, _)) = RtMsg::decode(&self.buf[..n]) {
                return Ok(m);
            }
        }
    }

    /// Sends a request; its answer comes as a message with the same `seq` and the process's `pid`.
    ///
    /// # Errors
    /// ECONNRESET when the stack is gone.
    pub fn send(&self, m: &RtMsg) -> io::Result<()> {
        send(&self.fd, m.encode().bytes(), SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// O_NONBLOCK.
    ///
    /// # Errors
    /// What fcntl(2) says.
    pub fn set_nonblocking(&self, on: bool) -> io::Result<()> {
        Ok(rustix::io::ioctl_fionbio(&self.fd, on)?)
    }
}

impl AsFd for RouteSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
