//! Passive opens: listeners, half-open connections, SYN cookies (RFC 4987), the accept queue.
//!
//! A SYN makes a child connection in SYN-RECEIVED that counts against its listener's backlog. When its
//! handshake ends it moves to the accept queue. When the program does not accept (queue longer than the
//! backlog), SYNs are dropped. When too many children are half-open, no child is made: the SYN-ACK is a
//! cookie, and the ACK that brings it back makes the connection.
//!
//! TCP_DEFER_ACCEPT keeps a finished connection out of the accept queue until its first data (or FIN) comes, or its time is
//! over.

use super::Sockets;
use super::fastopen::Answer;
use super::ports;
use super::sock::{Body, Sock};
use super::tcp::Conn;
use super::tcp_in::Arrived;
use super::types::{SockId, SockType, ev, proto};
use crate::counters::Why;
use crate::cx::Cx;
use crate::net::Net;
use crate::packet::Path;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::SocketAddr;
use iopkt_base::{Duration, Errno, Instant, Result};
use iopkt_mbuf::Mbuf;
use iopkt_tcp::listen::{self, Verdict};
use iopkt_tcp::{Config, Outcome, Seq, Tcb, cookie, what};
use iopkt_wire::tcp::Flags;

/// Half-open connections that any listener may have, however small its backlog.
const MIN_HALF_OPEN: usize = 128;
/// A cookie is good for two ticks of its clock of 64 s.
const COOKIE_LIFE: Duration = Duration::from_secs(128);

/// A listening socket.
#[derive(Default)]
pub(crate) struct Listener {
    pub backlog: usize,
    /// Finished connections, oldest first.
    pub ready: VecDeque<SockId>,
    /// Slots of connections whose handshake goes on.
    pub half: Vec<u32>,
    /// When a cookie was last sent: ACKs are only tried as cookies for a while after.
    pub cookies_at: Option<Instant>,
    /// Connections that are in use before their handshake ended (RFC 7413), and until when those count that were reset.
    pub fast: usize,
    pub fast_resets: VecDeque<Instant>,
}

impl Sockets {
    /// listen(2). The backlog is capped by `somaxconn`; a listening socket may be told a new one.
    ///
    /// # Errors
    /// EOPNOTSUPP for datagram sockets, EINVAL when connected, EADDRINUSE.
    pub fn listen(&mut self, cx: &mut Cx, id: SockId, backlog: u32) -> Result<()> {
        let backlog = backlog.min(cx.cfg.somaxconn) as usize;
        let s = self.table.get_mut(id)?;
        match &mut s.body {
            Body::Dgram(_) => return Err(Errno::EOPNOTSUPP),
            Body::Conn(_) => return Err(Errno::EINVAL),
            Body::Listen(l) => {
                l.backlog = backlog;
                return Ok(());
            }
            Body::Idle => {}
        }
        let s = self.table.get(id)?;
        if s.lport == 0 {
            self.autobind(cx, id).map_err(|_| Errno::EADDRINUSE)?;
        } else if ports::listen_conflicts(&self.demux, &self.table, s) {
            return Err(Errno::EADDRINUSE);
        }
        let s = self.table.get_mut(id)?;
        // [RFC9293 MUST-41]
        s.body = Body::Listen(Box::new(Listener { backlog, ..Listener::default() }));
        Ok(())
    }

    /// accept(2): EAGAIN when none waits.
    ///
    /// # Errors
    /// EINVAL when not listening, EOPNOTSUPP for datagram sockets.
    pub fn accept(&mut self, cx: &mut Cx, id: SockId) -> Result<(SockId, SocketAddr)> {
        let _ = cx;
        let s = self.table.get_mut(id)?;
        let l = match &mut s.body {
            Body::Listen(l) => l,
            Body::Dgram(_) => return Err(Errno::EOPNOTSUPP),
            _ => return Err(Errno::EINVAL),
        };
        let (child, more) = (l.ready.pop_front().ok_or(Errno::EAGAIN)?, !l.ready.is_empty());
        if more {
            self.raise(id.index, ev::ACCEPT);
        }
        let s = self.table.get_mut(child)?;
        let peer = s.outward(s.remote.ok_or(Errno::ECONNABORTED)?);
        let Body::Conn(c) = &mut s.body else { return Err(Errno::ECONNABORTED) };
        (c.parent, c.queued) = (None, false);
        let over = c.tcb.state() == iopkt_tcp::State::Closed;
        let mut tell = ev::WRITE;
        if c.tcb.readable() > 0 || c.tcb.at_eof() {
            tell |= ev::READ;
        }
        if over {
            tell |= ev::READ | ev::CLOSED;
        }
        if s.err.is_some() {
            tell |= ev::ERROR;
        }
        self.raise(child.index, tell);
        Ok((child, peer))
    }

    /// Connections that wait to be accepted.
    pub fn accept_waiting(&self, id: SockId) -> usize {
        match self.table.get(id).map(|s| &s.body) {
            Ok(Body::Listen(l)) => l.ready.len(),
            _ => 0,
        }
    }

    /// Whether this is a handshake that may not end because its listener's queue is full.
    pub(super) fn accept_full(&self, slot: u32) -> bool {
        let Some(Sock { body: Body::Conn(c), .. }) = self.table.at(slot) else { return false };
        let Some(parent) = c.parent.filter(|_| !c.queued && c.half_at.is_some()) else { return false };
        matches!(self.table.get(parent).map(|s| &s.body), Ok(Body::Listen(l)) if l.ready.len() > l.backlog)
    }

    /// A segment for a listener (RFC 9293 section 3.10.7.2). `above`: the new connection's numbers must lie above.
    pub(super) fn listener_input(
        &mut self,
        cx: &mut Cx,
        net: &mut Net,
        slot: u32,
        a: &Arrived,
        m: Mbuf,
        above: Option<Seq>,
    ) {
        match listen::judge(&a.seg) {
            Verdict::Drop => return cx.drop(m, Why::TcpBadState),
            Verdict::Ack => return self.cookie_ack(cx, net, slot, a, m),
            Verdict::Syn => {}
        }
        let Some(Sock { body: Body::Listen(l), .. }) = self.table.at(slot) else {
            return cx.drop(m, Why::NoSocket);
        };
        if l.ready.len() > l.backlog {
            self.stats.of(&a.remote.ip()).tcp.listen_overflow += 1;
            return cx.drop(m, Why::ListenOverflow);
        }
        // [RFC4987 3.4]
        let crowded = l.half.len() >= l.backlog.max(MIN_HALF_OPEN);
        match self.policy.syncookies {
            0 if crowded => {
                self.stats.of(&a.remote.ip()).tcp.listen_overflow += 1;
                return cx.drop(m, Why::ListenOverflow);
            }
            1 if crowded => return self.send_cookie(cx, net, slot, a, m),
            2 => return self.send_cookie(cx, net, slot, a, m),
            _ => {}
        }
        let Some((cfg, path)) = self.child_config(cx, net, slot, a) else {
            return cx.drop(m, Why::NoRoute);
        };
        let iss = iopkt_tcp::isn::isn(&cx.secret, cx.now, a.local, a.remote);
        let iss = above.map_or(iss, |x| iss.max(x));
        let tcb = match self.fast_answer(cx.now, slot, a) {
            Answer::Accept(new) => {
                let cfg = Config { fast_open: new, ..cfg };
                return self.fast_child(
                    cx,
                    net,
                    slot,
                    a,
                    Tcb::accept_fast(cx.now, &cfg, iss, &a.seg, m),
                    &path,
                );
            }
            Answer::Offer(c) => {
                let mut t = Tcb::accept(cx.now, &cfg, iss, &a.seg);
                t.offer_cookie(c);
                t
            }
            Answer::Plain => Tcb::accept(cx.now, &cfg, iss, &a.seg),
        };
        match self.child(cx.now, slot, a, tcb, &path) {
            // Data in a SYN is not kept (RFC 9293 allows it): the peer sends it again.
            Ok(_) => cx.drop(m, Why::Handled),
            Err(why) => cx.drop(m, why),
        }
    }

    /// A connection that a SYN with a good cookie made: it waits to be accepted at once.
    fn fast_child(
        &mut self,
        cx: &mut Cx,
        net: &mut Net,
        slot: u32,
        a: &Arrived,
        (tcb, mut out): (Tcb, Outcome),
        path: &Path,
    ) {
        let child = match self.child(cx.now, slot, a, tcb, path) {
            Ok(c) => c,
            Err(why) => {
                if let Some(m) = out.spare.take() {
                    cx.drop(m, why);
                }
                return;
            }
        };
        self.stats.of(&a.remote.ip()).tcp.fast_passive += 1;
        let listener = self.table.at_mut(slot).and_then(|s| match &mut s.body {
            Body::Listen(l) => {
                l.fast += 1;
                Some(s.id)
            }
            _ => None,
        });
        if let Some(Sock { body: Body::Conn(c), .. }) = self.table.at_mut(child) {
            c.fast_of = listener;
        }
        self.apply(cx, net, child, out);
        self.child_ready(child, 0);
    }

    /// Settings of a listener's connections with this peer, and the way there; `None` without one.
    fn child_config(&self, cx: &Cx, net: &Net, slot: u32, a: &Arrived) -> Option<(Config, Path)> {
        let l = self.table.at(slot)?;
        let path = net.path(a.remote.ip(), Some(a.local.ip()), l.opt.bound_dev).ok()?;
        Some((self.tcp_config(cx, l, &path, a.local, a.remote), path))
    }

    /// Makes a socket of a connection that came to a listener; returns its slot.
    fn child(
        &mut self,
        now: Instant,
        slot: u32,
        a: &Arrived,
        tcb: Tcb,
        path: &Path,
    ) -> core::result::Result<u32, Why> {
        let l = self.table.at(slot).ok_or(Why::NoSocket)?;
        let (parent, family, opt, pid) = (l.id, l.family, l.opt.clone(), l.pid);
        let Body::Listen(l) = &l.body else { return Err(Why::NoSocket) };
        let mut c = Conn::new(tcb, path, self.policy.sndbuf_overhead);
        c.parent = Some(parent);
        let wait = Duration::from_secs(u64::from(opt.tcp.defer_accept));
        c.deferred = (!wait.is_zero()).then_some(now + wait);
        c.half_at = Some(l.half.len() as u32);
        let body = Body::Conn(Box::new(c));
        let made = self.table.insert(|id| Sock {
            local: a.local.ip(),
            lport: a.local.port(),
            remote: Some(a.remote),
            addr_locked: true,
            port_locked: true,
            opt,
            pid,
            ..Sock::new(id, family, SockType::Stream, proto::TCP, body)
        });
        let id = made.map_err(|_| Why::NoMemory)?;
        if let Some(Sock { body: Body::Listen(l), .. }) = self.table.at_mut(slot) {
            l.half.push(id.index);
        }
        self.link(id.index, true);
        self.dirty(id.index);
        self.rearm(id.index);
        Ok(id.index)
    }

    /// Takes a child off its listener's half-open list.
    pub(super) fn leave_half(&mut self, parent: SockId, at: u32) {
        let moved = match self.table.get_mut(parent).map(|s| &mut s.body) {
            Ok(Body::Listen(l)) if (at as usize) < l.half.len() => {
                l.half.swap_remove(at as usize);
                l.half.get(at as usize).copied()
            }
            _ => None,
        };
        if let Some(Sock { body: Body::Conn(c), .. }) = moved.and_then(|i| self.table.at_mut(i)) {
            c.half_at = Some(at);
        }
    }

    /// A child's handshake ended, or its first data came: it may move to the accept queue.
    pub(super) fn child_ready(&mut self, slot: u32, happened: u16) {
        let Some(s) = self.table.at_mut(slot) else { return };
        let (id, local) = (s.id, s.local);
        let Body::Conn(c) = &mut s.body else { return };
        if happened & (what::READABLE | what::FIN) != 0 {
            c.deferred = None;
        }
        let Some(parent) = c.parent.filter(|_| !c.queued && c.deferred.is_none()) else { return };
        if !c.tcb.is_synchronized() && !c.tcb.is_fast_child() {
            return;
        }
        c.queued = true;
        let half = c.half_at.take();
        if let Some(at) = half {
            self.leave_half(parent, at);
        }
        if let Ok(Sock { body: Body::Listen(l), .. }) = self.table.get_mut(parent) {
            l.ready.push_back(id);
            self.stats.of(&local).tcp.accepts += 1;
            self.raise(parent.index, ev::ACCEPT);
        }
    }

    /// Answers a SYN without remembering it.
    fn send_cookie(&mut self, cx: &mut Cx, net: &Net, slot: u32, a: &Arrived, m: Mbuf) {
        cx.drop(m, Why::Handled);
        let Some((cfg, path)) = self.child_config(cx, net, slot, a) else { return };
        let mut hops = path.hops;
        if let Some(Sock { body: Body::Listen(l), opt, .. }) = self.table.at_mut(slot) {
            l.cookies_at = Some(cx.now);
            hops = opt.hop_limit(a.local.is_ipv4()).unwrap_or(hops);
        }
        self.stats.of(&a.remote.ip()).tcp.cookies_sent += 1;
        let seg = cookie::syn_ack(&cx.secret, cx.now, &cfg, a.local, a.remote, &a.seg);
        self.bare(cx, a, &seg, hops);
    }

    /// An ACK that belongs to no connection: a cookie that comes back makes one, anything else is reset.
    fn cookie_ack(&mut self, cx: &mut Cx, net: &mut Net, slot: u32, a: &Arrived, m: Mbuf) {
        let Some(Sock { body: Body::Listen(l), .. }) = self.table.at(slot) else {
            return cx.drop(m, Why::NoSocket);
        };
        let full = l.ready.len() > l.backlog;
        // Cookies are only guessed at while some may be under way.
        if l.cookies_at.is_none_or(|t| cx.now.since(t) > COOKIE_LIFE) {
            return self.no_connection(cx, net, a, m);
        }
        let Some((cfg, path)) = self.child_config(cx, net, slot, a) else {
            return cx.drop(m, Why::NoRoute);
        };
        let Some((tcb, out)) = cookie::check(&cx.secret, cx.now, &cfg, a.local, a.remote, &a.seg) else {
            self.stats.of(&a.remote.ip()).tcp.cookies_bad += 1;
            return self.no_connection(cx, net, a, m);
        };
        if full {
            self.stats.of(&a.remote.ip()).tcp.listen_overflow += 1;
            return cx.drop(m, Why::ListenOverflow);
        }
        let child = match self.child(cx.now, slot, a, tcb, &path) {
            Ok(c) => c,
            Err(why) => return cx.drop(m, why),
        };
        self.stats.of(&a.remote.ip()).tcp.cookies_good += 1;
        self.apply(cx, net, child, out);
        if m.is_empty() && !a.seg.flags.has(Flags::FIN) {
            return cx.mbufs.free(m);
        }
        let Some(Sock { body: Body::Conn(c), .. }) = self.table.at_mut(child) else {
            return cx.drop(m, Why::NoSocket);
        };
        let out = c.tcb.input(cx.now, &a.seg, m);
        self.apply(cx, net, child, out);
    }

    /// The listener goes: its unfinished and unaccepted connections are reset.
    pub(super) fn close_listener(&mut self, cx: &mut Cx, l: &mut Listener) {
        let ready: Vec<u32> = l.ready.drain(..).map(|id| id.index).collect();
        for slot in ready.into_iter().chain(core::mem::take(&mut l.half)) {
            if let Some(Sock { body: Body::Conn(c), .. }) = self.table.at_mut(slot) {
                c.tcb.abort(|m| cx.mbufs.free(m));
            }
            self.flush_one(cx, slot);
            self.take_out(slot);
        }
    }
}
