//! Server and host together, as a packet thread uses them.

use crate::SockHost;
use iopkt_base::Instant;
use iopkt_ctl::{Reply, Request};
use iopkt_sockserver::{Held, Server, ServerConfig, Ticket};
use iopkt_stack::Shard;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// Limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceConfig {
    /// Most sessions (client processes).
    pub max_sessions: usize,
    /// Most dead sockets whose last error and names are remembered.
    pub max_tombs: usize,
    /// Most bytes taken from a program's stream at a time (`recv_ctxt`).
    pub recv: usize,
}

impl Default for ServiceConfig {
    fn default() -> Self {
        let d = ServerConfig::default();
        ServiceConfig { max_sessions: d.max_sessions, max_tombs: d.max_tombs, recv: d.recv }
    }
}

/// `/dev/socket`, served.
pub struct Service {
    server: Server<SockHost>,
}

impl Service {
    /// Serves programs that connect to `listener` (`iopkt_sys::unix::listener` with SEQPACKET; the caller holds
    /// the lock of the name and removes it at the end). Events come by `epoll`, in tokens with `tag` as top byte.
    ///
    /// # Errors
    /// What getrandom(2), dup(2) and epoll_ctl(2) say.
    pub fn new(listener: OwnedFd, epoll: impl AsFd, tag: u8, cfg: ServiceConfig) -> io::Result<Service> {
        let instance = iopkt_sys::random::u64()?;
        let host = SockHost::new(epoll, tag, listener, instance)?;
        let cfg = ServerConfig {
            instance,
            key: iopkt_sys::random::u64()?,
            pid: std::process::id(),
            uid: rustix::process::geteuid().as_raw(),
            max_sessions: cfg.max_sessions,
            max_tombs: cfg.max_tombs,
            recv: cfg.recv,
        };
        Ok(Service { server: Server::new(host, cfg) })
    }

    /// An event whose token has the tag.
    pub fn event(&mut self, e: &iopkt_sys::Event) {
        self.server.host.event(e);
    }

    /// One bounded turn, in each turn of the thread, before the shard's own: answers requests and moves
    /// data. True: there is more to do at once. What it gave to the stack leaves with `Shard::turn`; what that raises in
    /// `cx.events` is for the next call (so: while `cx.events` is not empty, do not sleep).
    pub fn turn(&mut self, shard: &mut Shard) -> bool {
        self.server.turn(shard)
    }

    /// Gives programs the frames that the stack has for them (packet sockets, BPF, TUN and TAP): when the shard's turn is
    /// over. True: there is more to do at once.
    pub fn frames(&mut self, shard: &mut Shard) -> bool {
        self.server.nodes_down(shard)
    }

    /// Whether a program was given data since this was last asked: it may have answered already.
    pub fn gave(&mut self) -> bool {
        self.server.host.gave()
    }

    /// When all that a turn has to send is sent. True: there is more to do at once.
    pub fn settle(&mut self) -> bool {
        iopkt_sockserver::Host::settle(&mut self.server.host)
    }

    /// When [`Service::turn`] and [`Service::frames`] want to be called without other cause.
    pub fn deadline(&self) -> Instant {
        self.server.deadline()
    }

    /// Device nodes get names in `dir`, the stack's `/dev`; what an earlier process left there is removed.
    ///
    /// # Errors
    /// What readdir(3) and open(2) say.
    pub fn nodes_in(&mut self, dir: std::path::PathBuf) -> io::Result<()> {
        self.server.host.set_node_dir(dir)
    }

    /// The next request that only the runtime can answer (drivers, the process), with the ticket for
    /// [`Service::answer`]. Permission is checked already.
    pub fn next_asked(&mut self) -> Option<(Ticket, Request)> {
        self.server.next_asked()
    }

    /// The runtime's answer, now or later.
    pub fn answer(&mut self, t: Ticket, reply: &Reply) {
        self.server.answer(t, reply);
    }

    /// What it holds now.
    pub fn held(&self) -> Held {
        self.server.held()
    }
}
