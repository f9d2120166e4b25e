//! Streams: connect, the two pumps, the end.
//!
//! # Theory of operation
//!
//! Up (program to stack): while the stack has room, read from the pair and write to the stack. The pair is a bounded
//! buffer in front of the stack's send buffer; when both are full the program blocks in write(2), natively.
//! Down: while the pair has room, show the stack's in-order bytes to the pair and consume what it took, so the
//! window that TCP advertises stays shut as long as program and pair are full.
//!
//! The program's shutdown(SHUT_WR) shows as a hang-up of the reading side; when everything before it is read it becomes a
//! FIN. Its close(2), or death, shows as a full hang-up; with bytes unread in its queue it is a reset, as on Linux.
//! A full hang-up also comes when both sides have shut their writing halves one after the other: the connection
//! has nothing more to say then, so it is let go in the same way and the names are remembered.

use crate::Host;
use crate::host::not_now;
use crate::server::Server;
use crate::sock::{Join, Kind, State};
use iopkt_base::{Errno, Result};
use iopkt_sockproto::{Rep, Req, repf};
use iopkt_stack::Shard;
use iopkt_stack::sockets::ev;

/// Bytes moved for one socket in one turn, each way.
const BUDGET: usize = 512 << 10;
/// Bytes read from a pair for a connection that takes no more.
const LOST: usize = 2048;
/// Pieces of urgent data that wait for the bytes before them.
const URGENT_MAX: usize = 16;
/// Slices of received data shown to the pair at a time.
const SLICES: usize = 128;

impl<H: Host> Server<H> {
    /// connect(2).
    pub(crate) fn connect(
        &mut self,
        shard: &mut Shard,
        k: u32,
        req: &Req,
        payload: &[u8],
        fd: &H::Fd,
        s: u32,
    ) -> Result<()> {
        let sk = &mut self.socks[s as usize];
        match &mut sk.state {
            State::Dgram(_) => {
                self.connect_messages(shard, req.addr.0, fd, s)?;
                self.reply(k, Rep::ok(req), &[], None);
                return Ok(());
            }
            State::Connecting { .. } => return Err(Errno::EALREADY),
            State::Listening(_) | State::Routing(_) => return Err(Errno::EISCONN),
            State::Up { told } => {
                // Linux: the first connect after a finished one reports it.
                if core::mem::replace(told, true) {
                    return Err(Errno::EISCONN);
                }
                self.reply(k, Rep::ok(req), &[], None);
                return Ok(());
            }
            State::Fresh => {}
        }
        let data = (req.args[1] != 0).then_some(payload);
        let rep = match self.begin_connect(shard, req, data, fd, s)? {
            None => Rep::ok(req),
            Some(n) => Rep { val: [n as i32, 0, 0], ..Rep::err(req, Errno::EINPROGRESS) },
        };
        self.reply(k, rep, &[], None);
        Ok(())
    }

    /// Begins a connect, with `data` for its SYN if it is sendto(2) with MSG_FASTOPEN. It goes on by itself: how many bytes
    /// were taken; or by the first write: `None` (TCP_FASTOPEN_CONNECT).
    fn begin_connect(
        &mut self,
        shard: &mut Shard,
        req: &Req,
        data: Option<&[u8]>,
        fd: &H::Fd,
        s: u32,
    ) -> Result<Option<usize>> {
        let to = req.addr.0.ok_or(Errno::EAFNOSUPPORT)?;
        let sk = &mut self.socks[s as usize];
        sk.err = None;
        let id = sk.id;
        let mut open = || match data {
            None => shard.sockets.connect(&mut shard.cx, &mut shard.net, id, Some(to)).map(|()| None),
            Some(d) => shard.sockets.connect_sending(&mut shard.cx, &mut shard.net, id, to, d).map(Some),
        };
        let mut r = open();
        if r == Err(Errno::ECONNABORTED) {
            // The stack tells here, as Linux does, that the last attempt failed; the program knows that already.
            r = open();
        }
        match r {
            // The SYN waits for what comes by the pair.
            Ok(None) => {
                sk.state = State::Up { told: true };
                sk.readable = true;
                self.queue(s);
                Ok(None)
            }
            Ok(Some(_)) | Err(Errno::EINPROGRESS) => {
                sk.state = State::Connecting { wait: req.args[0] != 0 };
                let end = sk.end;
                if data.is_none() && sk.kind.joins {
                    self.hold(shard, s, to, fd);
                }
                // Fails only when the program has filled the pair itself: not writable either.
                let _ = self.host.block(end, fd);
                Ok(Some(r.ok().flatten().unwrap_or(0)))
            }
            Err(e) => Err(e),
        }
    }

    /// connect(2) on a socket whose earlier attempt failed and was shown to the program by closing: a new socket
    /// takes its place.
    pub(crate) fn connect_again(
        &mut self,
        shard: &mut Shard,
        k: u32,
        req: &Req,
        ino: u64,
        kind: Kind,
    ) -> Result<()> {
        if let Some(e) = self.tombs.get(ino).and_then(|t| t.err.take()) {
            // Linux reports the failure of the first attempt before it begins another.
            return Err(e);
        }
        let (s, client) = self.make_socket(shard, self.user(k), kind, State::Fresh, req.args[0] == 0)?;
        // MSG_FASTOPEN on a descriptor that is replaced: the data follows the handshake.
        let data = (req.args[1] != 0).then_some(&[][..]);
        let status = match self.begin_connect(shard, req, data, &client, s) {
            Err(e) => e,
            Ok(Some(_)) => Errno::EINPROGRESS,
            Ok(None) => Errno(0),
        };
        let rep = Rep { flags: repf::REPLACE, ..Rep::err(req, status) };
        self.reply(k, rep, &[], Some(client));
        Ok(())
    }

    /// How a connect ended.
    pub(crate) fn connect_status(&mut self, shard: &mut Shard, s: u32) -> Result<()> {
        let sk = &mut self.socks[s as usize];
        match &mut sk.state {
            State::Connecting { .. } => Err(Errno::EINPROGRESS),
            State::Up { told } => {
                *told = true;
                if sk.dead { Err(sk.err.take().unwrap_or(Errno::ECONNRESET)) } else { Ok(()) }
            }
            _ => {
                let e = sk.err.take().or_else(|| shard.sockets.take_error(sk.id));
                Err(e.unwrap_or(Errno::ENOTCONN))
            }
        }
    }

    /// A connect ended well.
    pub(crate) fn connected(&mut self, s: u32) {
        let sk = &mut self.socks[s as usize];
        if matches!(sk.state, State::Connecting { .. }) {
            sk.state = State::Up { told: false };
            sk.readable = true;
            self.host.unblock(sk.end);
        }
    }

    /// An error, or the end of a connection.
    pub(crate) fn failed(&mut self, shard: &mut Shard, s: u32, what: u8) {
        let Some(sk) = self.socks.get_mut(s as usize) else { return };
        match sk.state {
            State::Connecting { wait } => {
                let e = shard.sockets.take_error(sk.id).unwrap_or(Errno::ECONNREFUSED);
                sk.err = Some(e);
                if wait {
                    // The caller is in poll(2) and asks for the status next: the socket may be used again.
                    sk.state = State::Fresh;
                    self.host.unblock(sk.end);
                } else {
                    self.retire(shard, s, true, false);
                }
            }
            State::Up { .. } if sk.join == Join::Joined => {
                // What the other side's program did was told already, or shows in the pair.
                let e = shard.sockets.take_error(sk.id);
                if !core::mem::replace(&mut sk.dead, true) {
                    sk.err = sk.err.or(e);
                }
            }
            State::Up { .. } => {
                sk.err = shard.sockets.take_error(sk.id).or(sk.err);
                sk.dead |= sk.err.is_some() && what & ev::CLOSED != 0;
            }
            State::Dgram(_) => sk.told_error = true,
            _ => {}
        }
    }

    /// Moves what can be moved, both ways. True: the budget is used up, there is more.
    pub(crate) fn pump_stream(&mut self, shard: &mut Shard, s: u32) -> bool {
        match self.socks[s as usize].join {
            Join::No => {}
            Join::Joined => return false,
            Join::Held if self.still_held(shard, s) => return false,
            Join::Held => self.socks[s as usize].join = Join::No,
        }
        let down = self.pump_down(shard, s);
        let up = self.pump_up(shard, s);
        let sk = &self.socks[s as usize];
        if sk.hup {
            // Nobody will read what comes now: like Linux, answer it with a reset.
            let lost = self.host.left_unread(sk.end) || has_data(shard, sk.id);
            if lost || sk.fin_sent || sk.dead {
                self.retire(shard, s, false, lost);
                return false;
            }
            self.linger(shard.cx.now, s);
        } else if sk.dead && (!has_data(shard, sk.id) || sk.eof_sent) {
            let reset = sk.err.is_some();
            self.retire(shard, s, reset, false);
            return false;
        } else if sk.dead && !sk.deafened {
            // What came before the end is still to be read; who waits to write hears of the end now.
            let end = sk.end;
            self.socks[s as usize].deafened = true;
            self.host.deafen(end);
            // A full queue would keep poll(2) from saying that write(2) does not wait any more.
            while self.host.read(end, &mut self.buf).is_ok_and(|(n, _)| n > 0) {}
        }
        up || down
    }

    /// send(2) with MSG_OOB: `data`, whose last byte is urgent, goes behind what the program has written before. `None`: the
    /// two programs hold the ends of one pair, whose own send(2) does it.
    pub(crate) fn send_urgent(&mut self, shard: &mut Shard, data: &[u8], s: u32) -> Result<Option<usize>> {
        let sk = &mut self.socks[s as usize];
        match sk.state {
            State::Up { .. } => {}
            State::Connecting { .. } => return Err(Errno::EAGAIN),
            _ => return Err(Errno::EPIPE),
        }
        match sk.join {
            Join::Joined => return Ok(None),
            // The mark cannot wait in the pair for a join.
            Join::Held => sk.join = Join::No,
            Join::No => {}
        }
        if sk.dead || sk.fin_sent || sk.rdhup {
            return Err(sk.err.take().unwrap_or(Errno::EPIPE));
        }
        if sk.urgent.len() >= URGENT_MAX {
            return Err(Errno::ENOBUFS);
        }
        if !data.is_empty() {
            let before = self.host.pending(sk.end);
            let counted: usize = sk.urgent.iter().map(|u| u.0).sum();
            sk.urgent.push_back((before.saturating_sub(counted), data.to_vec()));
            sk.readable |= before > 0;
            self.pump_up(shard, s);
            self.queue(s);
        }
        Ok(Some(data.len()))
    }

    /// Hands urgent data on whose turn it is. False: the stack has no room for it, an event will tell.
    fn urgent_up(&mut self, shard: &mut Shard, s: u32) -> bool {
        let sk = &mut self.socks[s as usize];
        while let Some((0, data)) = sk.urgent.front_mut() {
            match not_now(shard.sockets.write_urgent(&mut shard.cx, sk.id, data)) {
                Ok(Some(n)) => {
                    sk.moved += n as u64;
                    data.drain(..n);
                    if data.is_empty() {
                        sk.urgent.pop_front();
                    }
                }
                Ok(None) => return false,
                Err(e) => {
                    sk.urgent.clear();
                    fail(sk, e);
                }
            }
        }
        true
    }

    fn pump_up(&mut self, shard: &mut Shard, s: u32) -> bool {
        let mut left = BUDGET;
        loop {
            let sk = &self.socks[s as usize];
            if sk.fin_sent || sk.dead || left == 0 {
                break;
            }
            if !sk.urgent.is_empty() && sk.stash.is_empty() && !self.urgent_up(shard, s) {
                return false;
            }
            let sk = &mut self.socks[s as usize];
            if !sk.stash.is_empty() {
                match not_now(shard.sockets.write(&mut shard.cx, sk.id, &sk.stash)) {
                    Ok(Some(w)) => {
                        sk.moved += w as u64;
                        sk.stash.drain(..w);
                    }
                    Ok(None) => return false, // ev::WRITE will tell
                    Err(e) => fail(sk, e),
                }
                continue;
            }
            if !sk.readable {
                break;
            }
            let n = match shard.sockets.write_room(sk.id) {
                Ok(0) => return false, // ev::WRITE will tell
                // Not past the place of urgent data.
                Ok(n) => {
                    let to = sk.urgent.front().map_or(usize::MAX, |u| u.0);
                    n.min(left).min(self.cfg.recv).min(self.buf.len()).min(to)
                }
                // What the program has written shows by its write that the connection is over.
                Err(_) => LOST,
            };
            match self.host.read(sk.end, &mut self.buf[..n]) {
                Ok((0, _)) => sk.readable = false,
                Ok((n, more)) => {
                    sk.readable = more;
                    left = left.saturating_sub(n);
                    if let Some(u) = sk.urgent.front_mut() {
                        u.0 = u.0.saturating_sub(n);
                    }
                    match not_now(shard.sockets.write(&mut shard.cx, sk.id, &self.buf[..n])) {
                        Ok(w) => {
                            let w = w.unwrap_or(0);
                            sk.moved += w as u64;
                            sk.stash.extend_from_slice(&self.buf[w..n]);
                        }
                        Err(e) => fail(sk, e),
                    }
                }
                Err(_) => {
                    sk.readable = false;
                    sk.rdhup = true;
                    sk.hup = true;
                }
            }
        }
        let sk = &mut self.socks[s as usize];
        let all = sk.stash.is_empty() && sk.urgent.is_empty();
        if sk.rdhup && !sk.readable && all && !sk.fin_sent && !sk.dead {
            if self.host.pending(sk.end) > 0 {
                sk.readable = true;
                return true;
            }
            sk.fin_sent = true;
            // ENOTCONN here means that the connection went at the same moment: an event tells.
            let _ = shard.sockets.shutdown(&mut shard.cx, sk.id, 1);
        }
        sk.readable && left == 0
    }

    fn pump_down(&mut self, shard: &mut Shard, s: u32) -> bool {
        let sk = &mut self.socks[s as usize];
        let mut left = BUDGET;
        while (sk.writable || sk.deaf) && left > 0 && !sk.hup {
            let mut slices: [&[u8]; SLICES] = [&[]; SLICES];
            let n = shard.sockets.peek(sk.id, &mut slices).unwrap_or(0);
            if n == 0 {
                // After an error there is no end of file but what closing shows.
                if !sk.eof_sent && !sk.dead && shard.sockets.at_eof(sk.id) {
                    sk.eof_sent = true;
                    self.host.shutdown(sk.end);
                }
                return false;
            }
            if sk.deaf {
                let all = slices[..n].iter().map(|s| s.len()).sum();
                shard.sockets.consume(&mut shard.cx, sk.id, all);
                left = left.saturating_sub(all);
                continue;
            }
            let put = match shard.sockets.urgent_ahead(sk.id) {
                None => self.host.write(sk.end, &slices[..n]),
                // The urgent byte is next; slices have at least one byte.
                Some(1) => self.host.write_urgent(sk.end, slices[0][0]),
                Some(to) => {
                    let n = cut(&mut slices[..n], to - 1);
                    self.host.write(sk.end, &slices[..n])
                }
            };
            match not_now(put) {
                Ok(Some(w)) => {
                    shard.sockets.consume(&mut shard.cx, sk.id, w);
                    left = left.saturating_sub(w);
                }
                Ok(None) => sk.writable = false,
                // The program reads no more (an event tells of a close; this is shutdown(SHUT_RD)).
                Err(_) => sk.deaf = true,
            }
        }
        left == 0
    }
}

/// Shortens slices to `max` bytes in all; returns how many slices are left.
fn cut(slices: &mut [&[u8]], mut max: usize) -> usize {
    for (i, s) in slices.iter_mut().enumerate() {
        if s.len() >= max {
            *s = &s[..max];
            return i + 1;
        }
        max -= s.len();
    }
    slices.len()
}

/// The connection does not take what the program writes: it is over.
fn fail(sk: &mut crate::sock::Sock, e: Errno) {
    sk.dead = true;
    sk.stash.clear();
    sk.err = sk.err.or(Some(e));
}

fn has_data(shard: &Shard, id: iopkt_stack::sockets::SockId) -> bool {
    let mut one: [&[u8]; 1] = [&[]];
    shard.sockets.peek(id, &mut one).is_ok_and(|n| n > 0)
}
