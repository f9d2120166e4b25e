//! Connections between two programs of this stack, whose bytes need not go through it.
//!
//! # Theory of operation
//!
//! A connection to an address of this host is made as every other is: SYN, backlog, accept queue, two sockets of the stack with
//! names, options, states and timers. When the listener's program accepts, and nobody looks at the packets, it is not given a pair of its
//! own but the *server's end of the connecting program's pair*. From then on the two programs have the two ends of one
//! kernel socket pair and their bytes never come here. What is written between connect and accept waits in the pair
//! ([`Join::Held`]), so that it stands there in order.
//!
//! The server has no descriptor of such a pair. It goes on answering for both ends (requests bring their descriptor), carries
//! shutdown(2) out on pair and stack, and is told by the host when an end is closed everywhere ([`HostEvent::Gone`]): then the
//! stack's socket is closed too, so the states, the TIME-WAIT and the ports are those that they would be. A reset by unread bytes is
//! the kernel's own; one by SO_LINGER the kernel does not know: it is remembered for the other side's SO_ERROR, which the preload
//! library asks for at the end of a stream.
//!
//! Not joined: what a tap, a raw socket or a module might want to see when it is accepted, listeners with TCP_DEFER_ACCEPT (data makes
//! their connections), programs whose side does not help (`sockf::JOINS`: the supervisor is not asked when they write or read), connections whose program has shut its writing half or is gone before they are accepted, and
//! everything while `net.inet.tcp.join_local` is 0. A tap that is opened later sees the connection's end only.
//!
//! [`HostEvent::Gone`]: crate::HostEvent::Gone

use crate::Host;
use crate::host::EndId;
use crate::server::Server;
use crate::sock::{Join, Kind, Sock, State};
use core::net::SocketAddr;
use iopkt_base::{Errno, Result};
use iopkt_sockproto::linux::{SO_LINGER, SOL_SOCKET};
use iopkt_stack::Shard;
use iopkt_stack::sockets::SockId;

impl<H: Host> Server<H> {
    /// A connect to `to` has begun: if the connection may be joined, its pair is prepared.
    pub(crate) fn hold(&mut self, shard: &Shard, s: u32, to: SocketAddr, client: &H::Fd) {
        let Some(sk) = self.socks.get_mut(s as usize) else { return };
        sk.join = Join::No;
        let peer = shard.sockets.peer_addr(sk.id).unwrap_or(to);
        if shard.may_join(peer) && self.host.watch_program(sk.end, client).is_ok() {
            sk.join = Join::Held;
        }
    }

    /// Whether what a program wrote before its connection was accepted still waits.
    pub(crate) fn still_held(&self, shard: &Shard, s: u32) -> bool {
        let Some(sk) = self.socks.get(s as usize) else { return false };
        let whole = !sk.hup && !sk.rdhup && !sk.dead && !sk.deaf;
        whole && shard.sockets.peer_addr(sk.id).is_ok_and(|p| shard.may_join(p))
    }

    /// The stack's socket `id` was accepted: if its other side is one of this server's programs, and may be, they are joined.
    pub(crate) fn join(
        &mut self,
        shard: &mut Shard,
        id: SockId,
        uid: u32,
        kind: Kind,
        nonblock: bool,
    ) -> Option<(u32, H::Fd)> {
        let a = *self.by_id.get(&shard.sockets.other_side(id)?)?;
        if self.socks.get(a as usize)?.join != Join::Held {
            return None;
        }
        // It may not have been heard that the handshake has ended.
        self.connected(a);
        let whole = self.still_held(shard, a);
        let sk = self.socks.get_mut(a as usize)?;
        let up = matches!(sk.state, State::Up { .. });
        let entry = self.socks.vacant_key() as u32;
        let sk = self.socks.get_mut(a as usize)?;
        let given = if whole && up && kind.joins {
            self.host.give_away(sk.end, entry, nonblock)
        } else {
            Err(Errno::EAGAIN)
        };
        let Ok(p) = given else {
            sk.join = Join::No;
            self.queue(a);
            return None;
        };
        sk.join = Join::Joined;
        sk.end = EndId::AWAY;
        let sock = Sock {
            join: Join::Joined,
            ..Sock::new(id, EndId::AWAY, p.ino, kind, uid, State::Up { told: true })
        };
        let k = self.enter(sock);
        debug_assert_eq!(k, entry);
        shard.joined();
        Some((k, p.client))
    }

    /// shutdown(2) of a joined connection: of the pair, and of the stack's sockets for who looks at them.
    pub(crate) fn shutdown_joined(&mut self, shard: &mut Shard, how: u8, fd: &H::Fd, s: u32) -> Result<()> {
        self.host.client_shutdown(fd, how);
        let Some(sk) = self.socks.get_mut(s as usize) else { return Err(Errno::ENOTSOCK) };
        sk.deaf |= how != 1;
        sk.fin_sent |= how != 0;
        match shard.sockets.shutdown(&mut shard.cx, sk.id, how) {
            // The other side has left; the pair still had an end to shut.
            Err(Errno::ENOTCONN) => Ok(()),
            r => r,
        }
    }

    /// The program of socket `k` was told to be gone. That is told once, and before the pair's own hang-up: a connection that is
    /// not joined by now is not joined any more, as nobody would tell of its end.
    pub(crate) fn heard_gone(&mut self, k: u32) {
        match self.socks.get_mut(k as usize) {
            Some(sk) if sk.join == Join::Held => {
                sk.join = Join::No;
                self.queue(k);
            }
            _ => self.gone.push(k),
        }
    }

    /// Lets the joined sockets go whose programs are gone; whether there was one.
    pub(crate) fn end_joined(&mut self, shard: &mut Shard) -> bool {
        let mut any = false;
        while let Some(k) = self.gone.pop() {
            let Some(sk) = self.socks.get(k as usize).filter(|s| s.join == Join::Joined) else { continue };
            let (id, fin) = (sk.id, sk.fin_sent);
            if !fin && lingers_not(shard, id) {
                self.tell_reset(shard, id);
            }
            self.retire(shard, k, false, false);
            any = true;
        }
        any
    }

    /// The other side of `id` is to find that it was reset.
    fn tell_reset(&mut self, shard: &Shard, id: SockId) {
        let other = shard.sockets.other_side(id).and_then(|o| self.by_id.get(&o));
        if let Some(sk) = other.and_then(|&k| self.socks.get_mut(k as usize)) {
            sk.err = sk.err.or(Some(Errno::ECONNRESET));
            sk.dead = true;
        }
    }

    /// Before SO_ERROR of a joined socket is answered: what only the kernel and the other side know.
    pub(crate) fn error_of_joined(&mut self, shard: &mut Shard, fd: &H::Fd, s: u32) {
        if self.socks.get(s as usize).is_none_or(|s| s.join != Join::Joined) {
            return;
        }
        self.host.look_for_gone();
        self.hear_host();
        self.end_joined(shard);
        let native = self.host.client_error(fd);
        if let Some(sk) = self.socks.get_mut(s as usize) {
            sk.err = sk.err.or(native);
        }
    }
}

/// Whether close(2) of this socket is a reset: SO_LINGER with no time.
fn lingers_not(shard: &mut Shard, id: SockId) -> bool {
    let mut v = [0; 8];
    let n = shard.sockets.getsockopt(&mut shard.cx, &shard.net, id, SOL_SOCKET, SO_LINGER, &mut v);
    n == Ok(8) && v[..4] != [0; 4] && v[4..] == [0; 4]
}
