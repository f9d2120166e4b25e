//! Asking a USB/IP server for its devices and their descriptors.

use iopkt_sys::paths::Root;
use iopkt_usbip::op::{self, Description, DeviceInfo, Parsed};
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(5);

/// A device with its descriptors, as far as the server tells them.
pub struct Device {
    /// From the device list.
    pub info: DeviceInfo,
    /// Descriptors; empty when the server is not io-usb.
    pub description: Description,
}

/// A connection to a USB stack; reads time out.
pub trait Conn: Read + Write {
    /// How long a read waits; `None` for ever.
    ///
    /// # Errors
    /// What the system says.
    fn patience(&self, d: Option<Duration>) -> io::Result<()>;
}

impl Conn for TcpStream {
    fn patience(&self, d: Option<Duration>) -> io::Result<()> {
        self.set_read_timeout(d)
    }
}

impl Conn for UnixStream {
    fn patience(&self, d: Option<Duration>) -> io::Result<()> {
        self.set_read_timeout(d)
    }
}

/// Connects to HOST:PORT or to a documented name.
///
/// # Errors
/// What connect(2) says.
pub fn connect(path: &str) -> io::Result<Box<dyn Conn>> {
    if !path.starts_with('/') && path.contains(':') {
        let a = path.to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
        let s = TcpStream::connect_timeout(&a, TIMEOUT)?;
        s.set_read_timeout(Some(TIMEOUT))?;
        return Ok(Box::new(s));
    }
    let s = UnixStream::connect(Root::find().path(path))?;
    s.set_read_timeout(Some(TIMEOUT))?;
    Ok(Box::new(s))
}

fn ask<T>(path: &str, request: &[u8], parse: impl Fn(&[u8]) -> Parsed<T>) -> io::Result<Result<T, u32>> {
    let mut s = connect(path)?;
    s.write_all(request)?;
    let (mut b, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        if let Some((r, _)) = parse(&b).map_err(bad)? {
            return Ok(r);
        }
        match s.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => b.extend_from_slice(&chunk[..n]),
        }
    }
}

/// A protocol error as an I/O error.
pub fn bad(e: iopkt_usbip::ProtoError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("no USB/IP server ({e:?})"))
}

/// The device list.
///
/// # Errors
/// No connection, no list.
pub fn list(path: &str) -> io::Result<Vec<DeviceInfo>> {
    ask(path, &op::request(op::REQ_DEVLIST), op::parse_devlist)?
        .map_err(|st| io::Error::other(format!("device list: {}", op::st::text(st))))
}

/// The descriptors of a device; none when the server is not io-usb: a stock one closes the connection on a request
/// that it does not know.
pub fn describe(path: &str, busid: &str) -> Description {
    let d = ask(path, &op::request_busid(op::REQ_DESCRIBE, busid), op::parse_describe);
    d.ok().and_then(Result::ok).unwrap_or_default()
}

/// All devices.
///
/// # Errors
/// A line for people: no USB stack there, and how to start one.
pub fn devices(path: &str) -> Result<Vec<Device>, String> {
    let list = list(path).map_err(|e| match e.kind() {
        io::ErrorKind::PermissionDenied => format!(
            "{path} ({}): {e}: it belongs to the user who started io-usb (or give io-usb -g GROUP)",
            Root::find().path(path).display()
        ),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            format!(
                "no USB stack at {path} ({}): {e}; start one: io-usb -d sim, or -d usbfs",
                Root::find().path(path).display()
            )
        }
        _ => format!("{path}: {e}"),
    })?;
    let described = |info: DeviceInfo| {
        let description = describe(path, &info.busid);
        Device { info, description }
    };
    let mut all: Vec<Device> = list.into_iter().map(described).collect();
    all.sort_by_key(|d| (d.info.busnum, d.info.devnum));
    Ok(all)
}
