//! Which connections of this host with itself need not be carried as packets.
//!
//! The socket server may hand the two programs of such a connection the two ends of one descriptor pair (see its module
//! `join`); the stack says when nobody would miss the packets, and counts.

use crate::shard::Shard;
use core::net::SocketAddr;

/// The variables of it.
#[derive(Debug)]
pub(crate) struct JoinTune {
    /// `net.inet.tcp.join_local`.
    pub on: bool,
    /// Connections that were joined (`net.inet.tcp.joined`).
    pub count: u64,
}

impl Default for JoinTune {
    fn default() -> Self {
        JoinTune { on: true, count: 0 }
    }
}

impl Shard {
    /// Whether a connection to `to` may go past the stack: it is one of this host's addresses, a listener is there that does not wait
    /// for data, and no tap, raw socket or module would see its packets.
    pub fn may_join(&self, to: SocketAddr) -> bool {
        self.joins.on
            && self.net.is_local(to.ip(), 0)
            && self.sockets.accepts_at_once(to)
            && !self.taps.see_loopback(&self.net)
            && !self.sockets.raw_sees_tcp()
            && self.listeners.is_empty()
    }

    /// Counts one that was joined.
    pub fn joined(&mut self) {
        self.joins.count += 1;
    }
}
