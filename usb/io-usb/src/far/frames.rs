//! Frames over a Unix socket as the far side.
//!
//! On a stream each frame has its length before it, four bytes, big-endian: QEMU's `-netdev stream`. On a
//! seqpacket socket a message is a frame. Who connects tries again, every second, while nobody listens or after
//! the peer went away.

use super::Received;
use iopkt_base::{Duration, Instant};
use iopkt_sys::unix;
use iopkt_usbip::Fifo;
use rustix::net::{RecvFlags, SendFlags, SocketType};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

const RETRY: Duration = Duration::from_secs(1);
/// Most bytes that wait for a slow peer; frames that do not fit are lost.
const MAX_TX: usize = 4 << 20;
/// Longest frame that is believed: more means that the stream is not what we think.
const MAX_FRAME: usize = 65_536;

#[derive(Debug)]
pub struct FrameSocket {
    path: PathBuf,
    listener: Option<OwnedFd>,
    peer: Option<Peer>,
    /// Counts descriptors, so that the loop sees that there is a new one.
    generation: u64,
    retry_at: Instant,
    lost: u64,
}

#[derive(Debug)]
struct Peer {
    fd: OwnedFd,
    packets: bool,
    rx: Fifo,
    tx: Fifo,
}

impl FrameSocket {
    pub(super) fn connect(path: PathBuf, now: Instant) -> FrameSocket {
        FrameSocket { path, listener: None, peer: None, generation: 0, retry_at: now, lost: 0 }
    }

    pub(super) fn listen(path: PathBuf) -> io::Result<FrameSocket> {
        // A name that a dead process left behind is in the way; one that somebody listens on is not ours.
        if path.exists() && unix::connect_to(&path, SocketType::STREAM).is_err() {
            let _ = std::fs::remove_file(&path);
        }
        let listener = Some(unix::listener(&path, SocketType::STREAM, 1, 0o600)?);
        Ok(FrameSocket { path, listener, peer: None, generation: 1, retry_at: Instant::FAR, lost: 0 })
    }

    fn attach(&mut self, fd: OwnedFd, packets: bool) {
        if rustix::io::ioctl_fionbio(&fd, true).is_err() {
            return;
        }
        let rx = if packets { Fifo::new(0) } else { Fifo::new(256 * 1024) };
        self.peer = Some(Peer { fd, packets, rx, tx: Fifo::new(64 * 1024) });
        self.generation += 1;
        self.retry_at = Instant::FAR;
        log::info!("far side {}: connected", self.path.display());
    }

    fn detach(&mut self, why: &str) {
        self.peer = None;
        self.generation += 1;
        self.retry_at = if self.listener.is_some() { Instant::FAR } else { Instant::ZERO };
        log::info!("far side {}: {why}", self.path.display());
    }

    pub(super) fn turn(&mut self, now: Instant) {
        if self.peer.is_none() && self.retry_at <= now {
            self.retry_at = now + RETRY;
            // EPROTOTYPE, which both of these have for the other's listener, tells them apart.
            let (stream, packet) = (SocketType::STREAM, SocketType::SEQPACKET);
            if let Ok(fd) = unix::connect_to(&self.path, stream) {
                self.attach(fd, false);
            } else if let Ok(fd) = unix::connect_to(&self.path, packet) {
                self.attach(fd, true);
            }
        }
        self.flush();
    }

    pub(super) fn deadline(&self) -> Instant {
        if self.peer.is_some() { Instant::FAR } else { self.retry_at }
    }

    pub(super) fn fd(&self) -> Option<(BorrowedFd<'_>, bool, u64)> {
        match (&self.peer, &self.listener) {
            (Some(p), _) => Some((p.fd.as_fd(), !p.tx.is_empty(), self.generation)),
            (None, Some(l)) => Some((l.as_fd(), false, self.generation)),
            (None, None) => None,
        }
    }

    pub(super) fn describe(&self) -> String {
        let how = if self.listener.is_some() { "listen" } else { "socket" };
        let state = if self.peer.is_some() { "connected" } else { "not connected" };
        format!("{how}:{} ({state})", self.path.display())
    }

    pub(super) fn transmit(&mut self, frame: &[u8]) {
        let Some(p) = &mut self.peer else { return };
        if p.packets {
            if rustix::net::send(&p.fd, frame, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).is_err() {
                self.lost += 1;
            }
        } else if p.tx.len() + frame.len() + 4 > MAX_TX {
            self.lost += 1;
        } else {
            p.tx.push(&(frame.len() as u32).to_be_bytes());
            p.tx.push(frame);
        }
    }

    fn flush(&mut self) {
        let Some(p) = &mut self.peer else { return };
        while !p.tx.is_empty() {
            match rustix::net::send(&p.fd, p.tx.data(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(n) => p.tx.consume(n),
                Err(rustix::io::Errno::WOULDBLOCK) => return,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return self.detach("the peer went away"),
            }
        }
    }

    pub(super) fn receive(&mut self, budget: usize, deliver: &mut dyn FnMut(&[u8])) -> Received {
        if self.peer.is_none()
            && let Some(l) = &self.listener
            && let Ok(Some(fd)) = unix::accept(l)
        {
            self.attach(fd, false);
        }
        let Some(p) = &mut self.peer else { return Received::Drained };
        match if p.packets { p.messages(budget, deliver) } else { p.stream(budget, deliver) } {
            Ok(r) => r,
            Err(why) => {
                self.detach(why);
                Received::Drained
            }
        }
    }
}

impl Peer {
    fn messages(&mut self, budget: usize, deliver: &mut dyn FnMut(&[u8])) -> Result<Received, &'static str> {
        for _ in 0..budget {
            let space = self.rx.space(MAX_FRAME);
            match rustix::net::recv(&self.fd, &mut space[..], RecvFlags::DONTWAIT) {
                Ok((0, _)) => return Err("the peer went away"),
                Ok((n, _)) => deliver(&space[..n]),
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(Received::Drained),
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return Err("the peer went away"),
            }
        }
        Ok(Received::More)
    }

    fn stream(&mut self, budget: usize, deliver: &mut dyn FnMut(&[u8])) -> Result<Received, &'static str> {
        let mut left = budget;
        loop {
            while let Some((head, rest)) = self.rx.data().split_first_chunk::<4>() {
                let len = u32::from_be_bytes(*head) as usize;
                if len > MAX_FRAME {
                    return Err("disconnected: what it sends are no frames");
                }
                let Some(frame) = rest.get(..len) else { break };
                if left == 0 {
                    return Ok(Received::More);
                }
                deliver(frame);
                left -= 1;
                self.rx.consume(4 + len);
            }
            match rustix::net::recv(&self.fd, self.rx.space(128 * 1024), RecvFlags::DONTWAIT) {
                Ok((0, _)) => return Err("the peer went away"),
                Ok((n, _)) => self.rx.commit(n),
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(Received::Drained),
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return Err("the peer went away"),
            }
        }
    }
}

impl Drop for FrameSocket {
    fn drop(&mut self) {
        if self.listener.is_some() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
