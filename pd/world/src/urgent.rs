//! Urgent data as Linux's tcp(7) has it: one byte, taken out of the stream unless SO_OOBINLINE is set.
//!
//! The stack keeps the byte in the stream (RFC 6093) and knows where it is. A read never crosses it: it ends before the byte, and the
//! next one begins with it (SO_OOBINLINE) or behind it. MSG_OOB fetches it, as soon as it is here and as long as no read has passed it.

use crate::calls::Answer;
use crate::stack::World;
use iopkt_base::{Errno, Result};
use iopkt_stack::sockets::SockId;
use std::collections::HashSet;

const SOL_SOCKET: i32 = 1;
const SO_OOBINLINE: i32 = 10;

/// Urgent bytes of sockets.
#[derive(Debug, Default)]
pub(crate) struct Urgent {
    /// Fetched, and still in the stream.
    fetched: HashSet<SockId>,
}

impl Urgent {
    pub fn forget(&mut self, id: SockId) {
        self.fetched.remove(&id);
    }
}

impl World {
    fn in_line(&mut self, id: SockId) -> bool {
        let mut v = [0; 4];
        let s = &mut self.shard;
        let n = s.sockets.getsockopt(&mut s.cx, &s.net, id, SOL_SOCKET, SO_OOBINLINE, &mut v);
        n.is_ok() && v != [0; 4]
    }

    /// The byte at this place of what waits to be read.
    fn byte_at(&self, id: SockId, mut at: usize) -> Option<u8> {
        let mut slices: [&[u8]; 64] = [&[]; 64];
        let n = self.shard.sockets.peek(id, &mut slices).ok()?;
        for s in &slices[..n] {
            match s.get(at) {
                Some(b) => return Some(*b),
                None => at -= s.len(),
            }
        }
        None
    }

    /// How far a read may go: to the urgent byte. One that is the next, and out of line, is taken out first.
    pub(crate) fn up_to_mark(&mut self, id: SockId) -> usize {
        match self.shard.sockets.urgent_ahead(id) {
            None => usize::MAX,
            Some(1) if self.in_line(id) => usize::MAX,
            Some(1) => {
                if self.byte_at(id, 0).is_none() {
                    return usize::MAX;
                }
                self.fds.urgent.fetched.remove(&id);
                let s = &mut self.shard;
                s.sockets.consume(&mut s.cx, id, 1);
                usize::MAX
            }
            Some(n) => n - 1,
        }
    }

    /// Whether the next byte is the urgent one (SIOCATMARK).
    pub(crate) fn at_mark(&self, id: SockId) -> bool {
        self.shard.sockets.urgent_ahead(id) == Some(1)
    }

    /// Whether MSG_OOB would have something (POLLPRI).
    pub(crate) fn has_urgent(&self, id: SockId) -> bool {
        let ahead = self.shard.sockets.urgent_ahead(id);
        !self.fds.urgent.fetched.contains(&id) && ahead.is_some_and(|n| self.byte_at(id, n - 1).is_some())
    }

    /// recv(2) with MSG_OOB; it never waits.
    pub(crate) fn recv_urgent(&mut self, id: SockId, len: usize, peek: bool) -> Result<Answer> {
        if self.in_line(id) {
            return Err(Errno::EINVAL);
        }
        let ahead = self.shard.sockets.urgent_ahead(id).filter(|_| !self.fds.urgent.fetched.contains(&id));
        let byte = self.byte_at(id, ahead.ok_or(Errno::EINVAL)? - 1).ok_or(Errno::EAGAIN)?;
        if !peek {
            self.fds.urgent.fetched.insert(id);
        }
        const MSG_OOB: i32 = 1;
        let data = if len == 0 { Vec::new() } else { vec![byte] };
        Ok(Answer { ret: data.len() as i64, data, msg_flags: MSG_OOB, ..Answer::default() })
    }
}
