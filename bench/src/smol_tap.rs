//! A peer: smoltcp on a TAP interface, in the shape of its own `benchmark` example: one listener that writes for ever (1234) and one
//! that reads for ever (1235), the application inside the stack's process, a frame with each system call.

use crate::forward::open;
use rustix::event::{PollFd, PollFlags, poll};
use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// The hidden subcommands: the stack, and the kernel's end of it.
pub const STACK: &str = "__smoltcp";
pub const CLIENT: &str = "__drain";

/// Port that sends, port that receives (from smoltcp's side).
pub const SENDS: u16 = 1234;
pub const RECEIVES: u16 = 1235;

const MTU: usize = 1514;

struct Tap {
    fd: OwnedFd,
    buf: Vec<u8>,
}

struct Rx<'a>(&'a mut [u8]);
struct Tx<'a>(&'a OwnedFd);

impl RxToken for Rx<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

impl TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut b = [0; MTU];
        let r = f(&mut b[..len]);
        // A TAP that is full or down loses the frame, as a cable does.
        let _ = rustix::io::write(self.0, &b[..len]);
        r
    }
}

impl Device for Tap {
    type RxToken<'a> = Rx<'a>;
    type TxToken<'a> = Tx<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Rx<'_>, Tx<'_>)> {
        let n = rustix::io::read(&self.fd, &mut self.buf[..]).ok()?;
        Some((Rx(&mut self.buf[..n]), Tx(&self.fd)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Tx<'_>> {
        Some(Tx(&self.fd))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut c = DeviceCapabilities::default();
        c.medium = Medium::Ethernet;
        c.max_transmission_unit = MTU;
        c
    }
}

/// Runs until it is ended: `NAMESPACE:INTERFACE ADDRESS BUFFER`.
pub fn stack(args: &[String]) -> Result<std::convert::Infallible, String> {
    let [end, addr, buffer] = args else { return Err("give an end, an address and a buffer size".into()) };
    let buffer: usize = buffer.parse().map_err(|e| format!("{buffer}: {e}"))?;
    let addr: std::net::Ipv4Addr = addr.parse().map_err(|e| format!("{addr}: {e}"))?;
    let mut dev = Tap { fd: open(end)?, buf: vec![0; 2048] };
    let started = std::time::Instant::now();
    let now = || Instant::from_micros(started.elapsed().as_micros() as i64);
    let mac = HardwareAddress::Ethernet(EthernetAddress([2, 0, 0, 0, 0, 2]));
    let mut i = Interface::new(Config::new(mac), &mut dev, now());
    i.update_ip_addrs(|a| {
        a.push(IpCidr::new(IpAddress::Ipv4(addr), 24)).expect("room for one address");
    });
    let mut set = SocketSet::new(Vec::new());
    let buf = || tcp::SocketBuffer::new(vec![0; buffer]);
    let ends = [SENDS, RECEIVES].map(|p| (p, set.add(tcp::Socket::new(buf(), buf()))));
    loop {
        let t = now();
        i.poll(t, &mut dev, &mut set);
        for (port, h) in ends {
            let s = set.get_mut::<tcp::Socket<'_>>(h);
            if !s.is_open() {
                s.listen(port).map_err(|e| format!("listen: {e:?}"))?;
            }
            while port == SENDS && s.can_send() {
                s.send(|b| (b.len(), ())).map_err(|e| format!("send: {e:?}"))?;
            }
            while s.can_recv() {
                s.recv(|b| (b.len(), ())).map_err(|e| format!("receive: {e:?}"))?;
            }
            if s.may_send() && !s.may_recv() {
                s.close();
            }
        }
        let wait = i.poll_delay(now(), &set).map(|d| Duration::from_micros(d.total_micros()));
        if wait != Some(Duration::ZERO) {
            let t = wait.and_then(|d| rustix::event::Timespec::try_from(d).ok());
            let mut fds = [PollFd::new(&dev.fd, PollFlags::IN)];
            let _ = poll(&mut fds, t.as_ref());
        }
    }
}

/// The kernel's end: `ADDRESS PORT SECONDS`. Sends to the port that receives, receives from the other; prints Gbit/s.
pub fn client(args: &[String]) -> Result<f64, String> {
    let [addr, port, seconds] = args else { return Err("give an address, a port and seconds".into()) };
    let port: u16 = port.parse().map_err(|e| format!("{port}: {e}"))?;
    let seconds: u64 = seconds.parse().map_err(|e| format!("{seconds}: {e}"))?;
    let mut s = TcpStream::connect((addr.as_str(), port)).map_err(|e| format!("connect: {e}"))?;
    let limit = Duration::from_secs(seconds);
    let mut b = vec![0; 128 << 10];
    let start = std::time::Instant::now();
    let mut total = 0;
    while start.elapsed() < limit {
        total += match port {
            SENDS => s.read(&mut b),
            _ => s.write(&b),
        }
        .map_err(|e| format!("port {port}: {e}"))?;
    }
    Ok(total as f64 * 8e-9 / start.elapsed().as_secs_f64())
}
