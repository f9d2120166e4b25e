//! The way to the USB stack: a stream that speaks USB/IP, local or remote.

use iopkt_usbip::ProtoError;
use iopkt_usbip::op::{self, DeviceInfo};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest wait for an answer of the USB stack while we are not on the packet path.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// Where the USB stack is: what `path=` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bus {
    /// A Unix socket (io-usb).
    Unix(PathBuf),
    /// HOST:PORT of any USB/IP server, such as Linux's usbipd.
    Tcp(String),
}

impl Bus {
    /// Reads `path=`: an absolute name lies under io-pkt's root (or is taken as it stands when there is no
    /// such name but a socket of exactly that name), `HOST:PORT` is a TCP address.
    pub fn parse(path: &str, root: &Path) -> Bus {
        if !path.starts_with('/') && path.contains(':') {
            return Bus::Tcp(path.to_string());
        }
        let below = root.join(path.trim_start_matches('/'));
        let plain = PathBuf::from(path);
        if !below.exists() && path.starts_with('/') && is_socket(&plain) {
            Bus::Unix(plain)
        } else {
            Bus::Unix(below)
        }
    }

    /// Connects, with blocking reads and writes that time out.
    ///
    /// # Errors
    /// What connect(2) says.
    pub fn connect(&self) -> io::Result<Stream> {
        let s = match self {
            Bus::Unix(p) => Stream::Unix(UnixStream::connect(p)?),
            Bus::Tcp(a) => {
                use std::net::ToSocketAddrs;
                let mut last = io::Error::from(io::ErrorKind::NotFound);
                let mut addrs = a.to_socket_addrs()?;
                let found = addrs.find_map(|a| match TcpStream::connect_timeout(&a, TIMEOUT) {
                    Ok(s) => Some(s),
                    Err(e) => {
                        last = e;
                        None
                    }
                });
                let t = found.ok_or(last)?;
                t.set_nodelay(true)?;
                Stream::Tcp(t)
            }
        };
        s.blocking(Some(TIMEOUT))?;
        Ok(s)
    }

    /// The devices that the USB stack has.
    ///
    /// # Errors
    /// No connection, no answer in time, or an answer that is not USB/IP.
    pub fn devices(&self) -> io::Result<Vec<DeviceInfo>> {
        let mut s = self.connect()?;
        s.write_all(&op::request(op::REQ_DEVLIST))?;
        let mut b = Vec::new();
        loop {
            match op::parse_devlist(&b).map_err(bad)? {
                Some((Ok(list), _)) => return Ok(list),
                Some((Err(st), _)) => {
                    return Err(io::Error::other(format!("device list: {}", op::st::text(st))));
                }
                None => fill(&mut s, &mut b)?,
            }
        }
    }
}

impl std::fmt::Display for Bus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Bus::Unix(p) => write!(f, "{}", p.display()),
            Bus::Tcp(a) => f.write_str(a),
        }
    }
}

fn is_socket(p: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    std::fs::metadata(p).is_ok_and(|m| m.file_type().is_socket())
}

/// A protocol error as an I/O error.
pub fn bad(e: ProtoError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the USB stack does not speak USB/IP: {e:?}"))
}

/// Reads some more bytes, bounded; the end of the stream is an error.
pub fn fill(s: &mut Stream, b: &mut Vec<u8>) -> io::Result<()> {
    let mut chunk = [0; 4096];
    if b.len() > (1 << 20) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the USB stack's answer is too long"));
    }
    match s.read(&mut chunk)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        n => {
            b.extend_from_slice(&chunk[..n]);
            Ok(())
        }
    }
}

/// A connection to the USB stack.
#[derive(Debug)]
pub enum Stream {
    /// To io-usb.
    Unix(UnixStream),
    /// To a USB/IP server.
    Tcp(TcpStream),
}

impl Stream {
    /// Blocking with a time-out, or not blocking at all.
    ///
    /// # Errors
    /// What the system says.
    pub fn blocking(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Stream::Unix(s) => {
                s.set_nonblocking(timeout.is_none())?;
                s.set_read_timeout(timeout)?;
                s.set_write_timeout(timeout)
            }
            Stream::Tcp(s) => {
                s.set_nonblocking(timeout.is_none())?;
                s.set_read_timeout(timeout)?;
                s.set_write_timeout(timeout)
            }
        }
    }
}

impl Read for Stream {
    fn read(&mut self, b: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Unix(s) => s.read(b),
            Stream::Tcp(s) => s.read(b),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, b: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Unix(s) => s.write(b),
            Stream::Tcp(s) => s.write(b),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Unix(s) => s.as_fd(),
            Stream::Tcp(s) => s.as_fd(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lie_under_the_root() {
        let root = Path::new("/nonexistent-root");
        assert_eq!(Bus::parse("/dev/usb", root), Bus::Unix("/nonexistent-root/dev/usb".into()));
        assert_eq!(Bus::parse("10.0.0.1:3240", root), Bus::Tcp("10.0.0.1:3240".into()));
        assert_eq!(Bus::parse("/dev/odd:name", root), Bus::Unix("/nonexistent-root/dev/odd:name".into()));
    }
}
