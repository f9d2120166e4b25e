//! What a program does with an open stream: write, read, shut down, close.

use super::Sockets;
use super::sock::{Body, Sock};
use super::types::{SockId, ev};
use crate::cx::Cx;
use crate::net::Net;
use iopkt_base::{Errno, Result};
use iopkt_tcp::State;

impl Sockets {
    /// Appends to a stream; returns what fitted.
    ///
    /// # Errors
    /// ENOTCONN, EPIPE after shutdown, EAGAIN while connecting or without room, the pending error of the
    /// connection.
    pub fn write(&mut self, cx: &mut Cx, id: SockId, data: &[u8]) -> Result<usize> {
        self.write_to(cx, id, data, false)
    }

    /// Appends to a stream bytes of which the last one is urgent (MSG_OOB); returns what fitted. Only what fits as a
    /// whole has the mark.
    ///
    /// # Errors
    /// As for [`Sockets::write`].
    pub fn write_urgent(&mut self, cx: &mut Cx, id: SockId, data: &[u8]) -> Result<usize> {
        self.write_to(cx, id, data, true)
    }

    /// In-order bytes of a stream up to and with the urgent one, when the peer has announced one and it was not consumed yet;
    /// it may still be on its way.
    pub fn urgent_ahead(&self, id: SockId) -> Option<usize> {
        self.conn(id).ok()?.tcb.urgent_mark().filter(|n| *n > 0).map(|n| n as usize)
    }

    /// A writer is blocked until the connection is there: what it will write can carry the first acknowledgments.
    pub fn writer_waits(&mut self, id: SockId) {
        if let Ok(Sock { body: Body::Conn(c), .. }) = self.table.get_mut(id) {
            c.tcb.writer_waits();
        }
    }

    fn write_to(&mut self, cx: &mut Cx, id: SockId, data: &[u8], urgent: bool) -> Result<usize> {
        let s = self.table.get_mut(id)?;
        let lowat = self.tune.lowat(&s.opt);
        if let Some(e) = s.err.take_if(|_| !matches!(s.body, Body::Dgram(_))) {
            return Err(e);
        }
        let c = match &mut s.body {
            Body::Conn(c) => c,
            Body::Dgram(_) => return Err(Errno::EOPNOTSUPP),
            // Linux: a stream that has no peer cannot be written to, whether it had one or not.
            _ => return Err(Errno::EPIPE),
        };
        match c.tcb.state() {
            _ if s.shut_wr => return Err(Errno::EPIPE),
            State::SynSent if c.tcb.syn_is_held() => {
                let room = data.len().min(c.tcb.syn_room());
                let n = c.tcb.write(&data[..room])?;
                c.tcb.release_syn();
                c.connecting = true;
                if n == 0 {
                    self.dirty(id.index);
                    return Err(Errno::EINPROGRESS);
                }
                c.want_write = true;
                c.wrote = Some(cx.now);
                self.dirty(id.index);
                return Ok(n);
            }
            State::SynReceived if c.tcb.is_fast_child() => {}
            State::SynSent | State::SynReceived => {
                c.want_write = true;
                return Err(Errno::EAGAIN);
            }
            State::Established | State::CloseWait => {}
            _ => return Err(Errno::EPIPE),
        }
        let len = data.len();
        let data = &data[..c.portion(lowat, len)];
        let n = match urgent {
            true => c.tcb.write_urgent(data)?,
            false if c.overhead > 0 => c.linux_write(data)?,
            false => c.tcb.write(data)?,
        };
        c.want_write = n < len;
        c.tcb.set_starved(n < len);
        if n == 0 && len > 0 {
            return Err(Errno::EAGAIN);
        }
        c.wrote = Some(cx.now);
        self.dirty(id.index);
        Ok(n)
    }

    /// How many bytes a stream takes now. 0: none, or too few to be worth it; [`ev::WRITE`] tells of more.
    ///
    /// # Errors
    /// The stream takes nothing: [`Sockets::write`] says why.
    pub fn write_room(&mut self, id: SockId) -> Result<usize> {
        let s = self.table.get_mut(id)?;
        let lowat = self.tune.lowat(&s.opt);
        if let Some(e) = s.err {
            return Err(e);
        }
        match &mut s.body {
            _ if s.shut_wr => Err(Errno::EPIPE),
            Body::Conn(c) => {
                if c.tcb.syn_is_held() {
                    return Ok(c.tcb.syn_room());
                }
                let fast = c.tcb.is_fast_child();
                let may = fast || matches!(c.tcb.state(), State::Established | State::CloseWait);
                let roomy = may && c.roomy(lowat);
                if matches!(c.tcb.state(), State::SynSent | State::SynReceived) || may {
                    c.want_write |= !roomy;
                    c.tcb.set_starved(c.want_write);
                    return Ok(if roomy { c.tcb.write_space() } else { 0 });
                }
                Err(Errno::EPIPE)
            }
            _ => Err(Errno::ENOTCONN),
        }
    }

    /// In-order bytes of a stream that wait for the program, as slices in order (up to `out.len()` of them);
    /// returns how many slices. `Ok(0)` with [`Sockets::at_eof`] is the end of the stream.
    ///
    /// # Errors
    /// ENOTCONN.
    pub fn peek<'a>(&'a self, id: SockId, out: &mut [&'a [u8]]) -> Result<usize> {
        Ok(self.conn(id)?.tcb.peek(out))
    }

    /// Removes `n` bytes that [`Sockets::peek`] showed: the window opens.
    pub fn consume(&mut self, cx: &mut Cx, id: SockId, n: usize) {
        let Ok(s) = self.table.get_mut(id) else { return };
        let Body::Conn(c) = &mut s.body else { return };
        let update = c.tcb.consume(n, |m| cx.mbufs.free(m));
        if update {
            self.dirty(id.index);
        }
    }

    /// Tells how many consumed bytes still wait in the program's descriptor: the advertised window leaves
    /// them out (SO_RCVBUF bounds both together).
    pub fn set_held(&mut self, id: SockId, bytes: u32) {
        let Ok(s) = self.table.get_mut(id) else { return };
        let Body::Conn(c) = &mut s.body else { return };
        if c.tcb.set_held(bytes as usize) {
            self.dirty(id.index);
        }
    }

    /// Whether the peer has sent its FIN and everything before it was consumed (or nobody may read any more).
    pub fn at_eof(&self, id: SockId) -> bool {
        self.table.get(id).is_ok_and(|s| match &s.body {
            Body::Conn(c) => c.tcb.at_eof() || (s.shut_rd && c.tcb.readable() == 0),
            Body::Dgram(_) => false,
            _ => s.shut_rd,
        })
    }

    /// Bytes of a stream that wait for the program (FIONREAD), and that the peer has not acknowledged
    /// (SIOCOUTQ). For datagram sockets: of the next datagram, and 0.
    pub fn queued(&self, id: SockId) -> (usize, usize) {
        match self.table.get(id).map(|s| &s.body) {
            Ok(Body::Conn(c)) => (c.tcb.readable(), c.tcb.unsent_or_unacked()),
            Ok(Body::Dgram(d)) => (d.rx.front().map_or(0, |g| g.m.len()), 0),
            _ => (0, 0),
        }
    }

    /// shutdown(2) of a stream.
    pub(super) fn tcp_shutdown(&mut self, cx: &mut Cx, id: SockId, how: u8) -> Result<()> {
        let s = self.table.get_mut(id)?;
        let c = match &mut s.body {
            Body::Conn(c) if c.tcb.state() != State::Closed => c,
            // Linux: a listener that is shut down for reading stops to listen.
            Body::Listen(_) if how != 1 => {
                let Body::Listen(mut l) = core::mem::replace(&mut s.body, Body::Idle) else { return Ok(()) };
                self.close_listener(cx, &mut l);
                return Ok(());
            }
            Body::Listen(_) => return Ok(()),
            _ => return Err(Errno::ENOTCONN),
        };
        s.shut_rd |= how != 1;
        if how != 0 && !s.shut_wr {
            s.shut_wr = true;
            c.tcb.shutdown_write();
            c.tcb.release_syn();
            self.dirty(id.index);
        }
        if how != 1 {
            self.raise(id.index, ev::READ);
        }
        Ok(())
    }

    /// close(2) of a stream: data that was never read, or SO_LINGER with 0, is a reset; else the rest goes out,
    /// then a FIN, and the connection ends by itself.
    pub(super) fn tcp_close(&mut self, cx: &mut Cx, net: &mut Net, id: SockId, unread: bool) {
        let Ok(s) = self.table.get_mut(id) else { return };
        let local = s.local;
        let Body::Conn(c) = &mut s.body else { return self.discard(cx, net, id.index) };
        let state = c.tcb.state();
        let full = self.orphans >= self.policy.max_orphans as usize;
        let hard = s.opt.linger == Some(0) || unread || c.tcb.readable() > 0;
        c.connecting = false;
        s.ev = 0;
        if state == State::Closed || state == State::SynSent || !c.linked {
            return self.discard(cx, net, id.index);
        }
        c.orphan = true;
        if c.time_wait {
            return;
        }
        if hard || full {
            self.stats.of(&local).tcp.aborted_on_close += 1;
        }
        let now = cx.now;
        let free = |m| cx.mbufs.free(m);
        let out = if hard || full { c.tcb.abort(free) } else { c.tcb.close(now, false, free) };
        self.orphans += 1;
        self.apply(cx, net, id.index, out);
    }
}
