//! Listeners: a finished connection is a byte in the listener's pair.
//!
//! The server puts one byte (a token) into the pair for each connection that waits in the stack, and takes one back
//! through the program's own descriptor when accept(2) is called. So the descriptor is readable exactly
//! while somebody waits, every new connection is a new edge for epoll, and any number of processes may share
//! the listener.

use crate::Host;
use crate::server::Server;
use crate::sock::{Join, Listening, State};
use iopkt_base::{Errno, Result};
use iopkt_sockproto::linux::{SO_OOBINLINE, SOCK_CLOEXEC, SOCK_NONBLOCK, SOL_SOCKET};
use iopkt_sockproto::{Addr, Rep, Req};
use iopkt_stack::Shard;

/// Most tokens in a pair: it has room for about 270 of them.
const TOKENS: usize = 128;

impl<H: Host> Server<H> {
    /// listen(2).
    pub(crate) fn listen(&mut self, shard: &mut Shard, s: u32, backlog: i32) -> Result<()> {
        let sk = &mut self.socks[s as usize];
        // Linux: a negative backlog is a very large one.
        let backlog = u32::try_from(backlog).unwrap_or(u32::MAX);
        match &mut sk.state {
            State::Fresh | State::Listening(_) => {}
            State::Dgram(_) => return Err(Errno::EOPNOTSUPP),
            _ => return Err(Errno::EINVAL),
        }
        shard.sockets.listen(&mut shard.cx, sk.id, backlog)?;
        if matches!(sk.state, State::Fresh) {
            sk.state = State::Listening(Listening::default());
        }
        self.queue(s);
        Ok(())
    }

    /// accept4(2).
    pub(crate) fn accept_call(
        &mut self,
        shard: &mut Shard,
        k: u32,
        req: &Req,
        fd: &H::Fd,
        s: u32,
    ) -> Result<()> {
        let pid = self.sessions.get(k as usize).map_or(0, |s| s.cred.pid);
        if req.args[0] & !(SOCK_NONBLOCK | SOCK_CLOEXEC) != 0 {
            return Err(Errno::EINVAL);
        }
        if matches!(self.socks[s as usize].state, State::Listening(_)) {
            // What waits goes on waiting.
            self.may_have_socket(shard, self.user(k))?;
        }
        let sk = &mut self.socks[s as usize];
        let kind = sk.kind;
        let State::Listening(l) = &mut sk.state else {
            return Err(if kind.stream() { Errno::EINVAL } else { Errno::EOPNOTSUPP });
        };
        let uid = self.sessions.get(k as usize).map_or(self.cfg.uid, |s| s.cred.uid);
        let got = match l.spare.take() {
            Some(c) => Ok(c),
            None => shard.sockets.accept(&mut shard.cx, sk.id),
        };
        // The token goes whatever comes of it, else a connection that failed would leave the listener readable.
        // What is in the pair counts, not what was put in: the program may have read some itself.
        let left = shard.sockets.accept_waiting(sk.id);
        l.tokens = self.host.client_pending(fd);
        let mut token = [0];
        while l.tokens > left && matches!(self.host.client_recv(fd, &mut token, false), Ok(Some(_))) {
            l.tokens -= 1;
        }
        let (id, from) = got?;
        let nonblock = req.args[0] & SOCK_NONBLOCK != 0;
        let made = match self.join(shard, id, uid, kind, nonblock) {
            Some(joined) => Ok(joined),
            None => self.attach(id, uid, kind, State::Up { told: true }, nonblock),
        };
        self.queue(s);
        match made {
            Ok((_, client)) => {
                self.inherit(shard, id, &client);
                let _ = shard.sockets.set_owner(id, pid);
                self.reply(k, Rep { addr: Addr(Some(from)), ..Rep::ok(req) }, &[], Some(client));
                Ok(())
            }
            Err(e) => {
                // Still there for whoever has a descriptor free.
                if let State::Listening(l) = &mut self.socks[s as usize].state {
                    l.spare = Some((id, from));
                }
                Err(e)
            }
        }
    }

    /// What the kernel does for a program on its end of the pair, an accepted socket has from its listener.
    fn inherit(&mut self, shard: &mut Shard, id: iopkt_stack::sockets::SockId, client: &H::Fd) {
        let mut v = [0; 4];
        let got = shard.sockets.getsockopt(&mut shard.cx, &shard.net, id, SOL_SOCKET, SO_OOBINLINE, &mut v);
        // The end of a pair that joins two programs was the server's, which had it in line.
        let was_ours = self
            .by_id
            .get(&id)
            .and_then(|&k| self.socks.get(k as usize))
            .is_some_and(|s| s.join == Join::Joined);
        if got == Ok(4) && (was_ours || v != [0; 4]) {
            // A pair that does not know it keeps the byte out of line: recv(2) with MSG_OOB still has it.
            let _ = self.host.client_option(client, SO_OOBINLINE, &v);
        }
    }

    /// Puts tokens into the pair.
    fn put_tokens(&mut self, shard: &mut Shard, s: u32) {
        let sk = &mut self.socks[s as usize];
        let State::Listening(l) = &mut sk.state else { return };
        let waiting = shard.sockets.accept_waiting(sk.id) + usize::from(l.spare.is_some());
        while l.tokens < waiting.min(TOKENS) && self.host.write(sk.end, &[&[0]]).is_ok() {
            l.tokens += 1;
        }
    }

    /// Looks after a listener. Its end is the end of everything that waits.
    pub(crate) fn look_listener(&mut self, shard: &mut Shard, s: u32) -> bool {
        if self.socks[s as usize].hup {
            self.retire(shard, s, false, false);
            return false;
        }
        self.put_tokens(shard, s);
        false
    }

    /// shutdown(2).
    pub(crate) fn shutdown_call(&mut self, shard: &mut Shard, how: i32, fd: &H::Fd, s: u32) -> Result<()> {
        let how = u8::try_from(how).ok().filter(|h| *h <= 2).ok_or(Errno::EINVAL)?;
        let sk = &mut self.socks[s as usize];
        match &sk.state {
            State::Fresh | State::Routing(_) => return Err(Errno::ENOTCONN),
            State::Connecting { .. } | State::Listening(_) => {
                // Linux: ends the attempt, or the listening; who polls sees a hang-up.
                if how != 1 {
                    self.retire(shard, s, true, false);
                }
            }
            State::Up { .. } if sk.join == Join::Joined => self.shutdown_joined(shard, how, fd, s)?,
            State::Up { .. } => {
                if how != 1 {
                    sk.deaf = true;
                    if !core::mem::replace(&mut sk.eof_sent, true) {
                        self.host.shutdown(sk.end);
                    }
                    shard.sockets.shutdown(&mut shard.cx, sk.id, 0)?;
                }
                if how != 0 {
                    // What the program wrote before goes first: the hang-up shows behind it in the pair.
                    self.host.client_shutdown(fd, 1);
                    self.socks[s as usize].rdhup = true;
                    self.socks[s as usize].readable = true;
                }
                self.queue(s);
            }
            State::Dgram(_) => {
                self.drain_messages(shard, s);
                let id = self.socks[s as usize].id;
                shard.sockets.shutdown(&mut shard.cx, id, how)?;
                self.host.client_shutdown(fd, how);
            }
        }
        Ok(())
    }
}
