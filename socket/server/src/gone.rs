//! Sockets that their programs have closed a moment ago.
//!
//! A close shows as a hang-up of the pair, in the next look at the events. A program may well close a socket and
//! bind its port again before that, and on the host that works. So a call that finds its port taken makes sure that who has
//! it is still there.

use crate::Host;
use crate::host::EndId;
use crate::server::Server;
use crate::sock::State;
use alloc::vec::Vec;
use iopkt_base::{Errno, Result};
use iopkt_stack::Shard;

/// Users of a port that are looked at. They are asked about in one call.
const ASKED: usize = 512;
/// Portions of what a closed socket still has to send that are moved at once.
const PORTIONS: usize = 8;

impl<H: Host> Server<H> {
    /// Runs a call of socket `s` that wants `port` (0: the one that it is bound to). When that is taken: once again, after the
    /// sockets there whose programs are gone have left.
    pub(crate) fn with_port<T>(
        &mut self,
        shard: &mut Shard,
        s: u32,
        port: u16,
        mut call: impl FnMut(&mut Self, &mut Shard) -> Result<T>,
    ) -> Result<T> {
        match call(self, shard) {
            Err(Errno::EADDRINUSE | Errno::EADDRNOTAVAIL) if self.leave_port(shard, s, port) => {
                call(self, shard)
            }
            r => r,
        }
    }

    /// Lets the sockets go that have the port and whose programs are gone; whether there was one.
    fn leave_port(&mut self, shard: &mut Shard, s: u32, port: u16) -> bool {
        let Some(me) = self.socks.get(s as usize) else { return false };
        let here = |id| shard.sockets.local_addr(id).map_or(0, |a| a.port());
        let (ty, port) = (me.kind.ty, if port != 0 { port } else { here(me.id) });
        if port == 0 {
            return false;
        }
        let users: Vec<(u32, EndId)> = self
            .socks
            .iter()
            .filter(|(k, o)| *k != s as usize && o.kind.ty == ty && here(o.id) == port)
            .map(|(k, o)| (k as u32, o.end))
            .take(ASKED)
            .collect();
        let ends: Vec<EndId> = users.iter().map(|u| u.1).collect();
        self.host.look_for_gone();
        self.hear_host();
        let mut any = self.end_joined(shard);
        for k in self.host.hung_up(&ends).into_iter().filter_map(|i| users.get(i)).map(|u| u.0) {
            any = true;
            let Some(o) = self.socks.get_mut(k as usize) else { continue };
            (o.readable, o.rdhup, o.hup) = (true, true, true);
            let (id, datagrams) = (o.id, matches!(o.state, State::Dgram(_)));
            for _ in 0..PORTIONS {
                let there = self.socks.get(k as usize).is_some_and(|o| o.id == id);
                if !there || !self.look(shard, k) {
                    break;
                }
            }
            if datagrams {
                // Still there if it has more to send than goes in a turn.
                shard.sockets.release_port(id);
            }
        }
        any
    }
}
