//! The far side of a modem: what its network is.

mod frames;
mod tap;

use frames::FrameSocket;
use iopkt_base::Instant;
use iopkt_gadget::nethost::{Host, HostConfig};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use tap::Tap;

/// What the command line says about a far side.
#[derive(Clone, Debug)]
pub struct FarSpec {
    kind: Kind,
    addr: Ipv4Addr,
    prefix: u8,
    lease: Ipv4Addr,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    None,
    Host,
    Tap(String),
    Connect(PathBuf),
    Listen(PathBuf),
}

impl FarSpec {
    /// The default: a built-in host. The network of the `index`-th modem is 10/8, 11/8 ... so that one stack
    /// can have several.
    pub fn host(index: usize) -> FarSpec {
        let net = 10 + (index % 200) as u8;
        let (addr, lease) = (Ipv4Addr::new(net, 0, 0, 1), Ipv4Addr::new(net, 0, 0, 184));
        FarSpec { kind: Kind::Host, addr, prefix: 8, lease }
    }

    /// `far=`
    pub(crate) fn set_kind(&mut self, v: &str) -> Result<(), String> {
        self.kind = match v.split_once(':') {
            None if v == "host" => Kind::Host,
            None if v == "none" => Kind::None,
            Some(("tap", i)) if !i.is_empty() && i.len() < 16 => Kind::Tap(i.into()),
            Some(("socket", p)) if !p.is_empty() => Kind::Connect(p.into()),
            Some(("listen", p)) if !p.is_empty() => Kind::Listen(p.into()),
            _ => return Err(format!("far={v}: it is host, tap:IFNAME, socket:PATH, listen:PATH or none")),
        };
        Ok(())
    }

    /// `addr=`
    pub(crate) fn set_addr(&mut self, v: &str) -> Result<(), String> {
        let bad = || format!("addr={v}: not an address and a prefix length, such as 10.0.0.1/8");
        let (a, n) = v.split_once('/').ok_or_else(bad)?;
        self.addr = a.parse().map_err(|_| bad())?;
        self.prefix = n.parse().ok().filter(|n| (1..=30).contains(n)).ok_or_else(bad)?;
        Ok(())
    }

    /// `lease=`
    pub(crate) fn set_lease(&mut self, v: &str) -> Result<(), String> {
        self.lease = v.parse().map_err(|_| format!("lease={v}: not an IPv4 address"))?;
        Ok(())
    }

    /// The address that a host behind the modem gets, when it is ours to say.
    pub(crate) fn lease(&self) -> Option<Ipv4Addr> {
        (self.kind == Kind::Host).then_some(self.lease)
    }

    fn host_at(&self, now: Instant) -> io::Result<Host> {
        let mut key = [0; 16];
        iopkt_sys::random::fill(&mut key)?;
        let [a, b, c, d] = self.addr.octets();
        // Locally administered, and another one for each network.
        let mac = [0x02, 0x5f, a, b, c, d];
        let (addr, prefix, lease) = (self.addr, self.prefix, self.lease);
        let cfg = HostConfig { addr, prefix, lease, mac, seed: iopkt_sys::random::u64()?, key };
        Host::new(now, &cfg).map_err(|e| {
            let e = io::Error::from_raw_os_error(e.0);
            io::Error::new(e.kind(), format!("built-in host at {addr}/{prefix}: {e}"))
        })
    }

    /// Opens it.
    ///
    /// # Errors
    /// With a message that names what, why, and what to do.
    pub fn open(&self, now: Instant) -> io::Result<Far> {
        Ok(match &self.kind {
            Kind::None => Far::None,
            Kind::Host => Far::Host(Box::new(self.host_at(now)?), self.addr),
            Kind::Tap(name) => Far::Tap(Tap::open(name)?),
            Kind::Connect(path) => Far::Frames(FrameSocket::connect(path.clone(), now)),
            Kind::Listen(path) => Far::Frames(FrameSocket::listen(path.clone())?),
        })
    }
}

/// An open far side.
#[derive(Debug)]
pub enum Far {
    /// Nobody: frames are lost.
    None,
    /// The built-in host, and its address.
    Host(Box<Host>, Ipv4Addr),
    /// A Linux TAP interface.
    Tap(Tap),
    /// Frames over a Unix socket.
    Frames(FrameSocket),
}

/// What [`Far::receive`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// Nothing is left for now.
    Drained,
    /// The budget is used up; there may be more.
    More,
}

impl Far {
    /// A frame from the modem.
    pub fn transmit(&mut self, frame: &[u8]) {
        match self {
            Far::None => {}
            Far::Host(h, _) => h.input(frame),
            Far::Tap(t) => t.transmit(frame),
            Far::Frames(f) => f.transmit(frame),
        }
    }

    /// Frames to the modem, at most `budget` of them.
    pub fn receive(&mut self, budget: usize, deliver: &mut dyn FnMut(&[u8])) -> Received {
        match self {
            Far::None => Received::Drained,
            Far::Host(h, _) => match h.take(budget, deliver) == budget && h.has_output() {
                true => Received::More,
                false => Received::Drained,
            },
            Far::Tap(t) => t.receive(budget, deliver),
            Far::Frames(f) => f.receive(budget, deliver),
        }
    }

    /// Does what is due, and writes what waits.
    pub fn turn(&mut self, now: Instant) {
        match self {
            Far::None | Far::Tap(_) => {}
            Far::Host(h, _) => {
                if h.deadline() <= now {
                    h.turn(now);
                }
            }
            Far::Frames(f) => f.turn(now),
        }
    }

    /// When [`Far::turn`] is wanted next.
    pub fn deadline(&self) -> Instant {
        match self {
            Far::None | Far::Tap(_) => Instant::FAR,
            Far::Host(h, _) => h.deadline(),
            Far::Frames(f) => f.deadline(),
        }
    }

    /// The descriptor to wait for, whether it should also be waited for to be writable, and a number that
    /// changes when it is another one.
    pub fn fd(&self) -> Option<(BorrowedFd<'_>, bool, u64)> {
        match self {
            Far::None | Far::Host(..) => None,
            Far::Tap(t) => Some((t.fd(), false, 0)),
            Far::Frames(f) => f.fd(),
        }
    }

    /// One line for a list.
    pub fn describe(&self) -> String {
        match self {
            Far::None => "none".into(),
            Far::Host(_, addr) => format!("host {addr}"),
            Far::Tap(t) => t.describe(),
            Far::Frames(f) => f.describe(),
        }
    }
}
