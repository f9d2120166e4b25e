//! TCP.

use crate::Session;
use crate::session::nonsense;
use crate::wait::wait;
use iopkt_base::Errno;
use iopkt_sockproto::linux::*;
use iopkt_sockproto::sockf;
use iopkt_sockproto::{Addr, Op, repf};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

fn domain(a: SocketAddr) -> i32 {
    if a.is_ipv4() { AF_INET } else { AF_INET6 }
}

fn is(e: &io::Error, n: Errno) -> bool {
    e.raw_os_error() == Some(n.raw())
}

/// A TCP connection.
#[derive(Debug)]
pub struct TcpStream {
    fd: OwnedFd,
    session: Session,
}

impl TcpStream {
    /// Connects, and waits until that has ended.
    ///
    /// # Errors
    /// ECONNREFUSED, ETIMEDOUT, ENETUNREACH ...
    pub fn connect(session: &Session, to: SocketAddr) -> io::Result<TcpStream> {
        let s = TcpStream {
            fd: session.socket(domain(to), SOCK_STREAM, 0, sockf::JOINS)?,
            session: session.clone(),
        };
        s.finish(to, None)
    }

    /// Connects, and waits at most this long.
    ///
    /// # Errors
    /// As [`TcpStream::connect`], and ETIMEDOUT when the time is over.
    pub fn connect_timeout(session: &Session, to: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
        let s = TcpStream {
            fd: session.socket(domain(to), SOCK_STREAM, 0, sockf::JOINS)?,
            session: session.clone(),
        };
        s.finish(to, Some(timeout))
    }

    /// Begins to connect: the descriptor is non-blocking, and writable when the attempt has ended;
    /// [`TcpStream::connect_status`] says how.
    ///
    /// # Errors
    /// ENETUNREACH ...
    pub fn connect_begin(session: &Session, to: SocketAddr) -> io::Result<TcpStream> {
        let fd = session.socket(domain(to), SOCK_STREAM | SOCK_NONBLOCK, 0, sockf::JOINS)?;
        let s = TcpStream { fd, session: session.clone() };
        match s.session.about(Op::Connect, &s.fd, &[0], Addr(Some(to))) {
            Err(e) if !is(&e, Errno::EINPROGRESS) => Err(e),
            _ => Ok(s),
        }
    }

    fn finish(mut self, to: SocketAddr, timeout: Option<Duration>) -> io::Result<TcpStream> {
        match self.session.about(Op::Connect, &self.fd, &[1], Addr(Some(to))) {
            Ok(a) if a.rep.flags & repf::REPLACE != 0 => {
                self.fd = a.fd.ok_or_else(|| nonsense("no descriptor"))?;
            }
            Ok(_) => return Ok(self),
            Err(e) if !is(&e, Errno::EINPROGRESS) => return Err(e),
            Err(_) => {}
        }
        if !wait(&self.fd, true, timeout)? {
            return Err(io::Error::from_raw_os_error(Errno::ETIMEDOUT.raw()));
        }
        self.connect_status()?;
        Ok(self)
    }

    /// How the attempt to connect ended.
    ///
    /// # Errors
    /// EINPROGRESS, ECONNREFUSED ...
    pub fn connect_status(&self) -> io::Result<()> {
        self.session.about(Op::ConnectStatus, &self.fd, &[], Addr::NONE).map(drop)
    }

    /// getsockname(2).
    ///
    /// # Errors
    /// The session broke.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        name(&self.session, &self.fd, Op::Getsockname)
    }

    /// getpeername(2).
    ///
    /// # Errors
    /// ENOTCONN.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        name(&self.session, &self.fd, Op::Getpeername)
    }

    /// shutdown(2).
    ///
    /// # Errors
    /// ENOTCONN.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        let how = match how {
            Shutdown::Read => 0,
            Shutdown::Write => 1,
            Shutdown::Both => 2,
        };
        self.session.about(Op::Shutdown, &self.fd, &[how], Addr::NONE).map(drop)
    }

    /// Whether the other end may be another program's: a reset by SO_LINGER is then known to the stack only.
    fn may_be_joined(&self) -> bool {
        let name = rustix::net::getsockname(&self.fd).ok();
        let name = name.and_then(|a| rustix::net::SocketAddrUnix::try_from(a).ok());
        name.is_some_and(|n| n.abstract_name().is_some())
    }

    /// SO_ERROR: the pending error, cleared.
    ///
    /// # Errors
    /// The session broke.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        take_error(&self.session, &self.fd)
    }

    /// setsockopt(2), with Linux's levels, names and layouts.
    ///
    /// # Errors
    /// ENOPROTOOPT, EINVAL ...
    pub fn set_option(&self, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
        self.session.setsockopt(&self.fd, level, name, value)
    }

    /// getsockopt(2).
    ///
    /// # Errors
    /// ENOPROTOOPT ...
    pub fn option(&self, level: i32, name: i32, max: usize) -> io::Result<Vec<u8>> {
        self.session.getsockopt(&self.fd, level, name, max)
    }

    /// SO_LINGER with time 0 (`true`): closing resets the connection.
    ///
    /// # Errors
    /// The session broke.
    pub fn set_abort_on_close(&self, on: bool) -> io::Result<()> {
        let v = [i32::from(on).to_ne_bytes(), 0i32.to_ne_bytes()].concat();
        self.set_option(SOL_SOCKET, SO_LINGER, &v)
    }

    /// SO_RCVTIMEO: reads fail with EAGAIN after this time, `None` waits for ever.
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
        Ok(rustix::io::ioctl_fionbio(&self.fd, on)?)
    }

    /// Wraps a descriptor that is a connection of this stack (inherited or received).
    pub fn from_fd(session: &Session, fd: OwnedFd) -> TcpStream {
        TcpStream { fd, session: session.clone() }
    }
}

impl Read for &TcpStream {
    fn read(&mut self, b: &mut [u8]) -> io::Result<usize> {
        match rustix::io::read(&self.fd, &mut *b)? {
            0 if !b.is_empty() && self.may_be_joined() => match self.take_error()? {
                Some(e) => Err(e),
                None => Ok(0),
            },
            n => Ok(n),
        }
    }
}

impl Write for &TcpStream {
    fn write(&mut self, b: &[u8]) -> io::Result<usize> {
        Ok(rustix::net::send(&self.fd, b, rustix::net::SendFlags::NOSIGNAL)?)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for TcpStream {
    fn read(&mut self, b: &mut [u8]) -> io::Result<usize> {
        (&*self).read(b)
    }
}

impl Write for TcpStream {
    fn write(&mut self, b: &[u8]) -> io::Result<usize> {
        (&*self).write(b)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for TcpStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<TcpStream> for OwnedFd {
    fn from(s: TcpStream) -> OwnedFd {
        s.fd
    }
}

/// A TCP listener.
#[derive(Debug)]
pub struct TcpListener {
    fd: OwnedFd,
    session: Session,
}

impl TcpListener {
    /// Listens, with SO_REUSEADDR and this backlog.
    ///
    /// # Errors
    /// EADDRINUSE, EADDRNOTAVAIL ...
    pub fn bind(session: &Session, at: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
        let fd = session.socket(domain(at), SOCK_STREAM, 0, sockf::JOINS)?;
        let l = TcpListener { fd, session: session.clone() };
        l.session.setsockopt(&l.fd, SOL_SOCKET, SO_REUSEADDR, &1i32.to_ne_bytes())?;
        l.session.about(Op::Bind, &l.fd, &[], Addr(Some(at)))?;
        l.session.about(Op::Listen, &l.fd, &[backlog], Addr::NONE)?;
        Ok(l)
    }

    /// The next connection; waits for one.
    ///
    /// # Errors
    /// EMFILE, EINVAL when it does not listen any more.
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        loop {
            if let Some(c) = self.try_accept()? {
                return Ok(c);
            }
            wait(&self.fd, false, None)?;
        }
    }

    /// The next connection, if one waits.
    ///
    /// # Errors
    /// As [`TcpListener::accept`].
    pub fn try_accept(&self) -> io::Result<Option<(TcpStream, SocketAddr)>> {
        match self.session.about(Op::Accept, &self.fd, &[SOCK_CLOEXEC], Addr::NONE) {
            Ok(a) => {
                let fd = a.fd.ok_or_else(|| nonsense("no descriptor"))?;
                let from = a.rep.addr.0.ok_or_else(|| nonsense("no address"))?;
                Ok(Some((TcpStream::from_fd(&self.session, fd), from)))
            }
            Err(e) if is(&e, Errno::EAGAIN) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// getsockname(2).
    ///
    /// # Errors
    /// The session broke.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        name(&self.session, &self.fd, Op::Getsockname)
    }
}

impl AsFd for TcpListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

pub(crate) fn name(session: &Session, fd: impl AsFd, op: Op) -> io::Result<SocketAddr> {
    session.about(op, fd, &[], Addr::NONE)?.rep.addr.0.ok_or_else(|| nonsense("no address"))
}

pub(crate) fn take_error(session: &Session, fd: impl AsFd) -> io::Result<Option<io::Error>> {
    let v = session.getsockopt(fd, SOL_SOCKET, SO_ERROR, 4)?;
    let n = i32::from_ne_bytes(v.try_into().map_err(|_| nonsense("SO_ERROR"))?);
    Ok((n != 0).then(|| io::Error::from_raw_os_error(n)))
}

pub(crate) fn timeval(t: Option<Duration>) -> Vec<u8> {
    // 0 means for ever, so the shortest time is a microsecond.
    let t = t.map_or(Duration::ZERO, |t| t.max(Duration::from_micros(1)));
    let secs = i64::try_from(t.as_secs()).unwrap_or(i64::MAX);
    [secs.to_ne_bytes(), i64::from(t.subsec_micros()).to_ne_bytes()].concat()
}
