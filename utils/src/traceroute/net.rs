//! Probes through the stack: a UDP socket or a raw ICMP one to send, a raw ICMP one to hear.

use super::options::HEADERS;
use super::{Options, Prober};
use crate::dns::{text_of, text_of_if};
use crate::ping::{Message, checksum, packet};
use iopkt_client::{Meta, RawSocket, Session, UdpSocket};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

enum Out {
    Udp(UdpSocket),
    Icmp,
}

/// The sockets.
pub struct Net {
    out: Out,
    icmp: RawSocket,
    to: Ipv4Addr,
    ident: u16,
    port: u16,
    len: usize,
    buf: Vec<u8>,
}

impl Net {
    /// Opens them for these options.
    ///
    /// # Errors
    /// No way to the target, the stack refuses a socket or an option: what, and why.
    pub fn open(session: &Session, o: &Options, to: Ipv4Addr) -> Result<Net, String> {
        let from = SocketAddr::new(o.source.unwrap_or(Ipv4Addr::UNSPECIFIED).into(), 0);
        let bind = |e: io::Error| format!("bind to {}: {}", from.ip(), text_of(&e));
        // What has no route fails here, not three probes later.
        let look = UdpSocket::bind(session, from).map_err(bind)?;
        look.connect(Some(SocketAddr::new(to.into(), o.port)))
            .map_err(|e| format!("{to}: {}", text_of(&e)))?;
        drop(look);
        let icmp = RawSocket::new(session, false, 1).map_err(|e| match e.kind() {
            ErrorKind::PermissionDenied => {
                "raw sockets are for root and the user that io-pkt runs as".to_string()
            }
            _ => format!("socket: {}", text_of(&e)),
        })?;
        let (out, ident) = if o.icmp {
            icmp.bind_to(from).map_err(bind)?;
            settings(o, &mut |l, n, v| icmp.set_option(l, n, v))?;
            (Out::Icmp, std::process::id() as u16 | 0x8000)
        } else {
            let s = UdpSocket::bind(session, from).map_err(bind)?;
            settings(o, &mut |l, n, v| s.set_option(l, n, v))?;
            let port = s.local_addr().map_err(|e| text_of(&e))?.port();
            (Out::Udp(s), port)
        };
        Ok(Net { out, icmp, to, ident, port: o.port, len: o.len - HEADERS, buf: vec![0; 65_536] })
    }
}

/// setsockopt(2) of one of the two kinds of sockets.
type Set<'a> = dyn FnMut(i32, i32, &[u8]) -> io::Result<()> + 'a;

/// Sets what the options ask for.
fn settings(o: &Options, set: &mut Set<'_>) -> Result<(), String> {
    if let Some(i) = &o.interface {
        let r = set(libc::SOL_SOCKET, libc::SO_BINDTODEVICE, i.as_bytes());
        r.map_err(|e| format!("{i}: {}", text_of_if(&e)))?;
    }
    let mut one = |what: &str, level, name, v: &[u8]| {
        set(level, name, v).map_err(|e| format!("{what}: {}", text_of(&e)))
    };
    if let Some(t) = o.tos {
        one("IP_TOS", libc::IPPROTO_IP, libc::IP_TOS, &i32::from(t).to_ne_bytes())?;
    }
    if o.dontroute {
        one("SO_DONTROUTE", libc::SOL_SOCKET, libc::SO_DONTROUTE, &1i32.to_ne_bytes())?;
    }
    let df = if o.df { libc::IP_PMTUDISC_PROBE } else { libc::IP_PMTUDISC_DONT };
    one("IP_MTU_DISCOVER", libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, &df.to_ne_bytes())
}

impl Prober for Net {
    fn send(&mut self, ttl: u8, seq: u16) -> io::Result<()> {
        let data = vec![0; self.len];
        let meta = |port| Meta {
            peer: Some(SocketAddr::new(self.to.into(), port)),
            ttl: Some(ttl),
            ..Meta::default()
        };
        match &self.out {
            Out::Udp(s) => s.send_meta(&data, &meta(self.port.wrapping_add(seq))).map(|_| ()),
            Out::Icmp => {
                let mut p =
                    [&[8, 0, 0, 0][..], &self.ident.to_be_bytes(), &seq.to_be_bytes(), &data].concat();
                let sum = checksum(&p).to_be_bytes();
                p[2..4].copy_from_slice(&sum);
                self.icmp.send_meta(&p, &meta(0)).map(|_| ())
            }
        }
    }

    fn recv(&mut self, wait: Duration) -> io::Result<Option<Message>> {
        if let Out::Udp(s) = &self.out
            && let Some(e) = s.take_error()?
        {
            return Err(e);
        }
        self.icmp.set_read_timeout(Some(wait.max(Duration::from_millis(1))))?;
        match self.icmp.recv_meta(&mut self.buf) {
            Ok((n, m)) => match m.peer.map(|a| a.ip()) {
                Some(IpAddr::V4(from)) => Ok(packet(from, &self.buf[..n])),
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

    fn ident(&self) -> u16 {
        self.ident
    }
}
