//! Streams: the calls that only TCP has.

use super::Sockets;
use super::types::SockId;
use crate::cx::Cx;
use core::net::SocketAddr;
use iopkt_base::{Errno, Result};

impl Sockets {
    /// listen(2).
    ///
    /// # Errors
    /// EOPNOTSUPP for datagram sockets.
    pub fn listen(&mut self, cx: &mut Cx, id: SockId, backlog: u32) -> Result<()> {
        let _ = (cx, backlog);
        self.table.get(id).and(Err(Errno::EOPNOTSUPP))
    }

    /// accept(2): EAGAIN when none waits.
    ///
    /// # Errors
    /// EINVAL when not listening, EOPNOTSUPP for datagram sockets.
    pub fn accept(&mut self, cx: &mut Cx, id: SockId) -> Result<(SockId, SocketAddr)> {
        let _ = cx;
        self.table.get(id).and(Err(Errno::EOPNOTSUPP))
    }

    /// Appends to a stream; returns what fitted.
    ///
    /// # Errors
    /// ENOTCONN, EPIPE after shutdown, the pending error of the connection.
    pub fn write(&mut self, cx: &mut Cx, id: SockId, data: &[u8]) -> Result<usize> {
        let _ = (cx, data);
        self.table.get(id).and(Err(Errno::EOPNOTSUPP))
    }

    /// In-order bytes of a stream that wait for the program, as slices in order (up to `out.len()` of them);
    /// returns how many slices. `Ok(0)` with [`Sockets::at_eof`] is the end of the stream.
    ///
    /// # Errors
    /// ENOTCONN.
    pub fn peek<'a>(&'a self, id: SockId, out: &mut [&'a [u8]]) -> Result<usize> {
        let _ = out;
        self.table.get(id).and(Err(Errno::EOPNOTSUPP))
    }

    /// Removes `n` bytes that [`Sockets::peek`] showed: the window opens.
    pub fn consume(&mut self, cx: &mut Cx, id: SockId, n: usize) {
        let _ = (cx, id, n);
    }

    /// Whether the peer has sent its FIN and everything before it was consumed.
    pub fn at_eof(&self, id: SockId) -> bool {
        let _ = id;
        false
    }
}
