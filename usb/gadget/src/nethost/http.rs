//! An HTTP/1.1 server (RFC 9110, RFC 9112) to move data with.
//!
//! | request | answer |
//! | --- | --- |
//! | GET `/` | a page |
//! | GET `/bytes/N` | N bytes; byte `i` is `i % 251` |
//! | PUT or POST `/sink` | takes any body; `bytes N crc32 XXXXXXXX` and a newline |
//!
//! HEAD works wherever GET does. Connections persist, requests may be pipelined, bodies may be chunked,
//! `Expect: 100-continue` is answered. Limits: [`MAX_CONNS`] connections, 16 KiB of request head, 60 s of silence.

mod conn;
mod request;

use crate::nethost::http::conn::Conn;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use iopkt_base::{Instant, Result};
use iopkt_stack::sockets::{Event, SockId, SockType};
use iopkt_stack::{Family, Shard};

pub use iopkt_usbip::crc::crc32;

/// Server port.
pub const PORT: u16 = 80;
/// Most connections; more wait in the listener's queue.
pub const MAX_CONNS: usize = 512;
const BACKLOG: u32 = 128;

/// The server.
#[derive(Debug)]
pub struct Server {
    listener: SockId,
    conns: Vec<Conn>,
    next: Instant,
}

impl Server {
    /// A server on port 80 of every address of the host.
    ///
    /// # Errors
    /// The port is taken.
    pub fn new(shard: &mut Shard) -> Result<Server> {
        let s = shard.sockets.socket(&mut shard.cx, Family::V4, SockType::Stream, 0)?;
        let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), PORT);
        shard.sockets.bind(&mut shard.cx, &shard.net, s, any)?;
        shard.sockets.listen(&mut shard.cx, s, BACKLOG)?;
        Ok(Server { listener: s, conns: Vec::new(), next: Instant::FAR })
    }

    /// Something happened to one of the server's sockets.
    pub fn event(&mut self, shard: &mut Shard, e: &Event) {
        if e.id == self.listener {
            return self.accept(shard);
        }
        if let Some(i) = self.conns.iter().position(|c| c.id() == e.id) {
            self.run(shard, i);
        }
    }

    fn accept(&mut self, shard: &mut Shard) {
        while self.conns.len() < MAX_CONNS {
            let Ok((id, _)) = shard.sockets.accept(&mut shard.cx, self.listener) else { return };
            self.conns.push(Conn::new(id, shard.cx.now));
            self.run(shard, self.conns.len() - 1);
        }
    }

    fn run(&mut self, shard: &mut Shard, i: usize) {
        if self.conns[i].run(shard) {
            self.next = self.next.min(self.conns[i].deadline());
        } else {
            self.end(shard, i);
        }
    }

    fn end(&mut self, shard: &mut Shard, i: usize) {
        let c = self.conns.swap_remove(i);
        let unread = c.has_unread(shard);
        shard.sockets.close(&mut shard.cx, &mut shard.net, c.id(), unread);
        self.accept(shard);
    }

    /// Ends connections that were silent for too long.
    pub fn tick(&mut self, shard: &mut Shard) {
        if self.next > shard.cx.now {
            return;
        }
        while let Some(i) = self.conns.iter().position(|c| c.deadline() <= shard.cx.now) {
            self.end(shard, i);
        }
        self.next = self.conns.iter().map(Conn::deadline).min().unwrap_or(Instant::FAR);
    }

    /// When [`Server::tick`] is wanted.
    pub fn deadline(&self) -> Instant {
        self.next
    }

    /// Connections now.
    pub fn connections(&self) -> usize {
        self.conns.len()
    }
}
