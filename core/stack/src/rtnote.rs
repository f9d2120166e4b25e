//! What routing sockets are told (BSD's rtsock), as values; the socket server gives them their form.
//!
//! Nothing is made while nobody listens. The queue is bounded: who lists the tables again after a loss has
//! everything, which is why a loss is reported (ENOBUFS) and not waited for.

use crate::neigh::Listed;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use core::net::IpAddr;
use iopkt_ctl::{AddrInfo, Ifconf, RouteInfo};

/// Messages that may wait for the socket server.
const LIMIT: usize = 1024;

/// What happened to a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RtKind {
    /// It was added.
    Add,
    /// It was deleted.
    Delete,
    /// Its gateway, interface or flags changed.
    Change,
    /// A connection that uses it gets no answers.
    Losing,
    /// A gateway named a better one.
    Redirect,
    /// Its metrics were locked or unlocked.
    Lock,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RtNote {
    /// About a route.
    Route {
        /// What.
        kind: RtKind,
        /// The route as it is (or was, when deleted).
        route: Box<RouteInfo>,
        /// Who caused it, for redirects.
        author: Option<IpAddr>,
        /// On whose request.
        by: By,
    },
    /// There is no route to this address.
    Miss(IpAddr),
    /// Flags, link state, MTU or metric of an interface changed; the interface as it is now.
    IfInfo(Box<Ifconf>),
    /// A neighbour is new, changed, or is gone (`None`).
    Neigh {
        /// Interface.
        ifindex: u32,
        /// Its address, with its zone.
        ip: IpAddr,
        /// As it is now.
        now: Option<Listed>,
    },
    /// An interface arrived or departed.
    IfAnnounce {
        /// Its index.
        index: u32,
        /// Its name.
        name: String,
        /// Departed otherwise.
        arrived: bool,
    },
    /// Something happened to an address of an interface.
    Addr {
        /// What.
        what: AddrNote,
        /// The interface as it is now.
        iface: Box<Ifconf>,
        /// The address.
        addr: AddrInfo,
    },
}

/// What happened to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddrNote {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// Duplicate detection ended.
    Checked,
    /// Its lifetimes or flags are other ones.
    Life,
}

/// Whose request a change follows from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct By {
    /// Process, 0 for the stack itself.
    pub pid: i32,
    /// Its number for the request.
    pub seq: i32,
    /// By a message on a routing socket, which is its own confirmation.
    pub message: bool,
}

/// Messages on their way to routing sockets.
#[derive(Debug, Default)]
pub struct RtQueue {
    /// Whether any routing socket is open; set by the socket server.
    pub wanted: bool,
    /// Who asked for what is being done now; set around a request.
    pub by: By,
    queue: VecDeque<RtNote>,
    lost: u64,
}

impl RtQueue {
    /// Queues a message, if anybody listens.
    pub fn push(&mut self, n: impl FnOnce(By) -> RtNote) {
        if !self.wanted {
            return;
        }
        if self.queue.len() >= LIMIT {
            self.lost += 1;
            return;
        }
        let n = n(self.by);
        self.queue.push_back(n);
    }

    /// The oldest message.
    pub fn pop(&mut self) -> Option<RtNote> {
        self.queue.pop_front()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.lost == 0
    }

    /// Messages lost since the last call.
    pub fn take_lost(&mut self) -> u64 {
        core::mem::take(&mut self.lost)
    }

    /// Nobody listens any more.
    pub fn stop(&mut self) {
        *self = RtQueue { by: self.by, ..RtQueue::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_kept_for_nobody_and_a_flood_is_bounded() {
        let ip = IpAddr::from([10, 0, 0, 1]);
        let mut q = RtQueue::default();
        q.push(|_| RtNote::Miss(ip));
        assert!(q.is_empty() && q.pop().is_none());
        q.wanted = true;
        for _ in 0..LIMIT + 7 {
            q.push(|_| RtNote::Miss(ip));
        }
        assert_eq!((q.queue.len(), q.take_lost()), (LIMIT, 7));
        assert_eq!(q.take_lost(), 0);
        q.stop();
        assert!(q.is_empty() && !q.wanted);
    }
}
