//! The tools' session with a stack.

use crate::ping::{EchoSocket, Message};
use crate::tool::Stack;
use iopkt_ctl::{Reply, Request};
use iopkt_sockproto::{Addr, DGRAM_HDR_LEN, DgramHdr, Hello, MAX_MSG, Op, Rep, Req, df, repf};
use iopkt_sys::paths::Root;
use iopkt_sys::unix;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::SocketType;
use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

/// An open session.
pub struct Conn {
    fd: OwnedFd,
    path: PathBuf,
    next: u32,
    hello: Hello,
    buf: Vec<u8>,
}

impl Conn {
    /// Opens a session with the stack that `IO_PKT_ROOT` and `SOCK` choose.
    ///
    /// # Errors
    /// A line for people: where no stack is, and how to start one.
    pub fn open() -> Result<Conn, String> {
        let path = Root::find().client_socket();
        let sock = std::env::var("SOCK").unwrap_or_default();
        let fd = unix::connect_to(&path, SocketType::SEQPACKET).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                let start = if sock.is_empty() {
                    "io-pkt-v4-hc".to_string()
                } else {
                    format!("io-pkt-v4-hc -ptcpip prefix={sock}")
                };
                format!("no stack at {} (SOCK={sock:?}); start one: {start}", path.display())
            }
            _ => e.to_string(),
        })?;
        let hello = Hello { instance: 0, key: 0, now: 0, pid: 0 };
        let mut c = Conn { fd, path, next: 1, hello, buf: vec![0; MAX_MSG] };
        let mut r = Req::new(Op::Hello, 0);
        r.args[0] = i32::from(iopkt_ctl::VERSION);
        let (rep, payload, _) = c.call(r, &[], None).map_err(|e| c.broken(&e))?;
        rep.result()
            .map_err(|e| format!("{}: {e}; are this tool and the stack of one build?", c.path.display()))?;
        c.hello = Hello::decode(&payload).ok_or_else(|| format!("{}: odd greeting", c.path.display()))?;
        Ok(c)
    }

    fn broken(&self, e: &io::Error) -> String {
        format!("{}: {e}", self.path.display())
    }

    fn call(
        &mut self,
        mut r: Req,
        payload: &[u8],
        fd: Option<BorrowedFd<'_>>,
    ) -> io::Result<(Rep, Vec<u8>, Vec<OwnedFd>)> {
        r.id = self.next;
        r.len = payload.len() as u32;
        self.next = self.next.wrapping_add(1);
        let head = r.encode();
        unix::send_fds(&self.fd, &[IoSlice::new(&head), IoSlice::new(payload)], fd.as_slice())?;
        let (mut all, mut fds) = (Vec::new(), Vec::new());
        loop {
            let n = unix::recv_fds(&self.fd, &mut self.buf, &mut fds)?.len;
            if n == 0 {
                return Err(io::Error::new(io::ErrorKind::ConnectionReset, "the stack ended the session"));
            }
            let (rep, part) = Rep::decode(&self.buf[..n])
                .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.to_string()))?;
            if rep.id != r.id {
                continue;
            }
            all.extend_from_slice(part);
            if rep.flags & repf::MORE == 0 {
                return Ok((rep, all, fds));
            }
        }
    }

    /// Opens an ICMP socket of the stack.
    ///
    /// # Errors
    /// What socket(2) says, in words.
    pub fn echo_socket(mut self) -> Result<Echo, String> {
        let mut r = Req::new(Op::Socket, 0);
        r.args = [libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_ICMP, iopkt_sockproto::sockf::STRIPS, 0];
        let (rep, _, mut fds) = self.call(r, &[], None).map_err(|e| self.broken(&e))?;
        rep.result().map_err(|e| format!("socket: {e}"))?;
        let fd = fds.pop().ok_or("socket: the stack sent no descriptor")?;
        Ok(Echo { fd, key: self.hello.key, buf: vec![0; DGRAM_HDR_LEN + 65_536], _conn: self })
    }
}

impl Stack for Conn {
    fn ask(&mut self, r: &Request) -> Result<Reply, String> {
        let bytes = postcard::to_allocvec(r).map_err(|e| e.to_string())?;
        let (rep, payload, _) = self.call(Req::new(Op::Ctl, 0), &bytes, None).map_err(|e| self.broken(&e))?;
        match rep.result() {
            Ok(()) => postcard::from_bytes(&payload)
                .map_err(|e| format!("{}: odd answer: {e}", self.path.display())),
            Err(e) => Ok(Reply::err(e)),
        }
    }
}

/// An ICMP socket.
pub struct Echo {
    fd: OwnedFd,
    key: u64,
    buf: Vec<u8>,
    _conn: Conn,
}

impl EchoSocket for Echo {
    fn send(&mut self, to: Ipv4Addr, ttl: Option<u8>, icmp: &[u8]) -> io::Result<()> {
        let h = DgramHdr {
            flags: if ttl.is_some() { df::TTL } else { 0 },
            ttl: ttl.unwrap_or(0),
            peer: Addr::from(SocketAddr::new(to.into(), 0)),
            len: icmp.len() as u32,
            ..DgramHdr::default()
        };
        let head = h.encode(self.key);
        unix::send_fds(&self.fd, &[IoSlice::new(&head), IoSlice::new(icmp)], &[]).map(|_| ())
    }

    fn recv(&mut self, wait: Duration) -> io::Result<Option<Message>> {
        let timeout = rustix::event::Timespec {
            tv_sec: wait.as_secs() as i64,
            tv_nsec: i64::from(wait.subsec_nanos()),
        };
        let fd = self.fd.as_fd();
        match poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(None),
            Ok(_) => {}
            Err(e) => return Err(e.into()),
        }
        let n = unix::recv_fds(&self.fd, &mut self.buf, &mut Vec::new())?.len;
        if n == 0 {
            return Err(io::Error::new(io::ErrorKind::ConnectionReset, "the stack is gone"));
        }
        let Some((h, payload)) = DgramHdr::decode(&self.buf[..n], self.key) else { return Ok(None) };
        if h.flags & df::ERROR != 0 {
            // What a router or our own stack said about a request of ours.
            return Err(io::Error::from_raw_os_error(h.err));
        }
        let Some(std::net::IpAddr::V4(from)) = h.peer.0.map(|a| a.ip()) else { return Ok(None) };
        Ok(Some(Message { from, ttl: h.ttl, icmp: payload.to_vec() }))
    }
}
