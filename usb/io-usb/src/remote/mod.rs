//! `-d usbip HOST:PORT`: the devices of another USB/IP server.
//!
//! A thread per server keeps the list of what it has ([`watch`]): by io-usb's own watch operation where the server has it,
//! else by asking for the list every two seconds. An import opens a connection of its own to the server; from then on the loop
//! carries URBs over it ([`iopkt_usbip::relay`]).

pub mod watch;

use crate::usbfs::Failure;
use iopkt_usbip::op::{self, Description, DeviceInfo, st};
use iopkt_usbip::relay::Relay;
use rustix::net::{RecvFlags, SendFlags};
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// An imported device of another server.
pub struct Link {
    fd: OwnedFd,
    /// URBs on their way.
    pub relay: Relay,
}

/// Connects to a server, with reads and writes that end after `timeout`.
///
/// # Errors
/// What connect(2) or the resolver says.
pub fn connect(host: &str, timeout: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for a in host.to_socket_addrs()? {
        match TcpStream::connect_timeout(&a, timeout) {
            Ok(s) => {
                s.set_nodelay(true)?;
                s.set_read_timeout(Some(timeout))?;
                s.set_write_timeout(Some(timeout))?;
                // A server that is switched off says nothing.
                let _ = rustix::net::sockopt::set_socket_keepalive(&s, true);
                let _ = rustix::net::sockopt::set_tcp_keepidle(&s, Duration::from_secs(10));
                let _ = rustix::net::sockopt::set_tcp_keepintvl(&s, Duration::from_secs(5));
                let _ = rustix::net::sockopt::set_tcp_keepcnt(&s, 3);
                return Ok(s);
            }
            Err(e) => last = e,
        }
    }
    Err(last)
}

/// As [`connect`], tried again `retries` times.
fn connect_patiently(host: &str, timeout: Duration, retries: u32) -> io::Result<TcpStream> {
    let mut pause = Duration::from_millis(100);
    for _ in 0..retries {
        match connect(host, timeout) {
            Ok(s) => return Ok(s),
            Err(e) => log::debug!("{host}: {e}"),
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_secs(2));
    }
    connect(host, timeout)
}

/// Reads until `parse` has what it wants; `None` when the server closes before it said anything.
fn answer<T>(
    s: &mut TcpStream,
    parse: impl Fn(&[u8]) -> op::Parsed<T>,
) -> io::Result<Option<Result<T, u32>>> {
    let (mut got, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        let bad = |e| io::Error::new(io::ErrorKind::InvalidData, format!("no USB/IP server: {e}"));
        if let Some((r, _)) = parse(&got).map_err(bad)? {
            return Ok(Some(r));
        }
        match s.read(&mut chunk)? {
            0 if got.is_empty() => return Ok(None),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n if got.len() + n > (1 << 20) => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("an answer of more than {n} bytes"),
                ));
            }
            n => got.extend_from_slice(&chunk[..n]),
        }
    }
}

/// Imports a device; blocks.
///
/// # Errors
/// Why not.
pub fn import(host: &str, busid: &str, timeout: Duration, retries: u32) -> Result<Link, Failure> {
    let failed = |e: io::Error| Failure { status: st::NA, why: format!("{host}: {e}") };
    let mut s = connect_patiently(host, timeout, retries).map_err(failed)?;
    s.write_all(&op::request_busid(op::REQ_IMPORT, busid)).map_err(failed)?;
    // Nothing comes behind the reply until we ask for something: no byte of it can be read too much.
    match answer(&mut s, op::parse_import).map_err(failed)? {
        None => Err(failed(io::ErrorKind::UnexpectedEof.into())),
        Some(Err(status)) => Err(Failure { status, why: format!("{host}: {busid}: {}", st::text(status)) }),
        Some(Ok(info)) => {
            s.set_nonblocking(true).map_err(failed)?;
            Ok(Link { fd: s.into(), relay: Relay::new(info.devid()) })
        }
    }
}

/// Asks an io-usb for the descriptors of a device; blocks.
pub fn describe(host: &str, busid: &str, timeout: Duration) -> Option<Description> {
    let mut s = connect(host, timeout).ok()?;
    s.write_all(&op::request_busid(op::REQ_DESCRIBE, busid)).ok()?;
    answer(&mut s, op::parse_describe).ok()??.ok()
}

/// The devices of a server; blocks.
fn list(s: &mut TcpStream) -> io::Result<Vec<DeviceInfo>> {
    s.write_all(&op::request(op::REQ_DEVLIST))?;
    match answer(s, op::parse_devlist)? {
        Some(Ok(l)) => Ok(l),
        Some(Err(status)) => Err(io::Error::other(format!("device list: {}", st::text(status)))),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

impl Link {
    /// Reads once; the number of bytes, 0 when nothing waits.
    ///
    /// # Errors
    /// The server is gone.
    pub fn read(&mut self) -> Result<usize, &'static str> {
        loop {
            match rustix::net::recv(&self.fd, self.relay.space(), RecvFlags::DONTWAIT) {
                Ok((0, _)) => {
                    return Err("the remote server has closed the connection: unplugged there, or it ended");
                }
                Ok((n, _)) => {
                    self.relay.commit(n);
                    return Ok(n);
                }
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(0),
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return Err("the remote server is gone"),
            }
        }
    }

    /// Writes what the socket takes.
    ///
    /// # Errors
    /// The server is gone.
    pub fn write(&mut self) -> Result<(), &'static str> {
        while !self.relay.tx().is_empty() {
            match rustix::net::send(&self.fd, self.relay.tx(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(n) => self.relay.tx_done(n),
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return Err("the remote server is gone"),
            }
        }
        Ok(())
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
