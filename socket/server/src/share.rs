//! What one user may have of what there is for all.
//!
//! A quarter of the sessions and of the stack's sockets, so that no user can lock the others out. Root, and the user that
//! the stack runs as, have no such limit. A socket counts for the user whose session made or accepted it, wherever its
//! descriptor goes; connections that nobody has accepted yet are bounded by their listener's backlog.

use crate::Host;
use crate::server::Server;
use iopkt_base::{Errno, Result};
use iopkt_stack::Shard;

/// One part in so many.
const PART: usize = 4;

/// What a user has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Share {
    pub sessions: usize,
    pub sockets: usize,
}

impl<H: Host> Server<H> {
    fn limited(&self, uid: u32) -> bool {
        uid != 0 && uid != self.cfg.uid
    }

    fn share(&self, uid: u32) -> Share {
        self.shares.get(&uid).copied().unwrap_or_default()
    }

    /// Whether a user may have one more socket.
    ///
    /// # Errors
    /// EMFILE.
    pub(crate) fn may_have_socket(&self, shard: &Shard, uid: u32) -> Result<()> {
        let most = (shard.cx.cfg.max_sockets / PART).max(1);
        if self.limited(uid) && self.share(uid).sockets >= most { Err(Errno::EMFILE) } else { Ok(()) }
    }

    /// Whether a user may have one more session.
    pub(crate) fn may_have_session(&self, uid: u32) -> bool {
        !self.limited(uid) || self.share(uid).sessions < self.most_sessions()
    }

    /// Most sessions of a user.
    pub(crate) fn most_sessions(&self) -> usize {
        (self.cfg.max_sessions / PART).max(1)
    }

    /// The user of a session.
    pub(crate) fn user(&self, k: u32) -> u32 {
        self.sessions.get(k as usize).map_or(self.cfg.uid, |s| s.cred.uid)
    }

    /// Counts what a user got.
    pub(crate) fn gain(&mut self, uid: u32, f: impl FnOnce(&mut Share)) {
        f(self.shares.entry(uid).or_default());
    }

    /// Counts what a user gave back; who has nothing is forgotten.
    pub(crate) fn give_back(&mut self, uid: u32, f: impl FnOnce(&mut Share)) {
        if let Some(s) = self.shares.get_mut(&uid) {
            f(s);
            if *s == Share::default() {
                self.shares.remove(&uid);
            }
        }
    }
}
