//! Streams: a socket's side of the TCP machine.
//!
//! A stream socket is `Idle` (fresh, or its connection is over and gone), a listener (see `tcp_listen`), or has
//! a connection: the machine's [`Tcb`] and what the machine does not know, namely where it is indexed, who
//! waits for it, and whether a program still holds it. Segments come in by `tcp_in`; what goes out is asked of
//! the machine once per turn (`tcp_out`), only for connections on the dirty list; timers fire through one
//! heap. So a connection that does nothing costs nothing.
//!
//! A connection whose program is gone is an *orphan*: it ends by itself (the machine's timers), and the number
//! of orphans and of connections in TIME-WAIT is bounded; beyond, the oldest TIME-WAIT is forgotten, and a new
//! orphan is reset.

use super::Sockets;
use super::demux::ConnKey;
use super::dgram::{real_dst, way};
use super::sock::{Body, Sock};
use super::types::{SendOpts, SockId, SockType, ev, proto};
use crate::counters::Why;
use crate::cx::Cx;
use crate::net::Net;
use crate::packet::Path;
use core::net::{IpAddr, SocketAddr};
use iopkt_base::{Duration, Errno, Instant, Result};
use iopkt_tcp::{Fate, Outcome, Seq, State, Tcb, what};

/// Most connections that live on without a program (Linux: `tcp_max_orphans`).
pub(crate) const MAX_ORPHANS: usize = 8192;
/// Most connections in TIME-WAIT (Linux: `tcp_max_tw_buckets`).
pub(crate) const MAX_TIME_WAIT: usize = 32_768;
/// Retransmissions in a row after which routing sockets are told (a quarter of BSD's TCP_MAXRXTSHIFT).
const LOSING: u8 = 3;

/// A connection that has sent nothing for this long gives its buffers' memory back.
const IDLE: Duration = Duration::from_secs(5);

/// By how much the machine's send buffer is larger than the program's.
pub(crate) fn slack(overhead: u16) -> u32 {
    if overhead > 0 { super::linux_room::SLACK } else { 0 }
}

/// A connection.
pub(crate) struct Conn {
    pub tcb: Tcb,
    /// What each buffer costs besides its payload, bytes; 0: the send buffer's size is one of payload.
    pub overhead: u16,
    /// Where the last PSH is, as [`Tcb::stream_at`]; only with an overhead.
    pub pushed: u32,
    /// The peer is this host.
    pub local: bool,
    /// Interface of the path when it was opened.
    pub ifindex: u32,
    /// Hops of its segments where the socket's options do not say, as that interface had it when it was last asked.
    pub hops: u8,
    /// Bytes that the peer had acknowledged and sent when a segment last said so to the neighbour cache (IPv6).
    pub heard: u64,
    /// When the program wrote last, while the machine may hold memory for it.
    pub wrote: Option<Instant>,
    /// The listener that it came by, until a program accepts it.
    pub parent: Option<SockId>,
    /// It waits in the accept queue.
    pub queued: bool,
    /// The program is gone.
    pub orphan: bool,
    /// It is counted among the TIME-WAITs.
    pub time_wait: bool,
    /// It is on the dirty list.
    pub dirty: bool,
    /// connect() was called and its end not yet told (Linux's SS_CONNECTING).
    pub connecting: bool,
    /// A write found no room: tell when there is some.
    pub want_write: bool,
    /// Counted as a user of its port with these flags (SO_REUSEADDR, SO_REUSEPORT); else it is bound to it.
    pub counted: Option<(bool, bool)>,
    /// It is in the demultiplexer.
    pub linked: bool,
    /// The sizes of buffers that the socket's options asked for: another is the program's wish, and ends growth by itself.
    pub buffers: (u32, u32),
    /// The accept is held back until data comes, or until then (TCP_DEFER_ACCEPT).
    pub deferred: Option<Instant>,
    /// Place in the listener's list of half-open connections.
    pub half_at: Option<u32>,
    /// The listener against whose limit of fast opens it counts.
    pub fast_of: Option<SockId>,
}

impl Conn {
    /// `overhead`: see [`super::linux_room`].
    pub fn new(tcb: Tcb, path: &Path, overhead: u16) -> Conn {
        let mut buffers = tcb.buffers();
        buffers.0 -= slack(overhead).min(buffers.0);
        Conn {
            pushed: tcb.stream_at(true),
            tcb,
            overhead,
            local: path.local,
            ifindex: path.ifindex,
            hops: path.hops,
            heard: 0,
            wrote: None,
            parent: None,
            queued: false,
            orphan: false,
            time_wait: false,
            dirty: false,
            connecting: false,
            want_write: false,
            counted: None,
            linked: false,
            buffers,
            deferred: None,
            half_at: None,
            fast_of: None,
        }
    }
}

impl Conn {
    /// The options' sizes of buffers, in bytes.
    pub fn set_buffers(&mut self, snd: u32, rcv: u32) {
        let old = core::mem::replace(&mut self.buffers, (snd, rcv));
        if old.0 != snd {
            self.tcb.set_sndbuf(snd.saturating_add(slack(self.overhead)));
        }
        if old.1 != rcv {
            self.tcb.set_rcvbuf(rcv);
        }
    }

    /// How much of `len` bytes a stream with TCP_NOTSENT_LOWAT takes (0: none set): a portion at a time, as long as what is not
    /// sent is less than that. A portion is half of the peer's largest window, as Linux has it.
    pub fn portion(&self, lowat: u32, len: usize) -> usize {
        let len = if self.overhead > 0 { self.linux_room(len, |_| ()) } else { len };
        if lowat == 0 {
            return len;
        }
        let (mss, unsent) = (self.tcb.mss().max(1), self.tcb.unsent());
        let goal = (self.tcb.peer_window() / 2).min(65_536) / mss * mss;
        let waits = unsent.saturating_sub(self.tcb.sendable());
        if waits >= lowat {
            return 0;
        }
        let goal = goal.max(mss);
        let most = self.tcb.sendable().saturating_add(lowat.div_ceil(goal).saturating_mul(goal));
        len.min(most.saturating_sub(unsent) as usize)
    }

    /// Whether there is room for a good portion: a third of the send buffer is free, or nothing waits in it (Linux:
    /// `sk_stream_is_writable`). With less, each ACK would fetch its few bytes by itself.
    pub fn roomy(&self, lowat: u32) -> bool {
        let space = self.tcb.write_space();
        // TCP_NOTSENT_LOWAT: less than half of it waits to be sent.
        let few = lowat == 0 || self.tcb.unsent().saturating_mul(2) < lowat;
        if self.overhead > 0 {
            return few && self.linux_roomy();
        }
        space > 0 && few && space >= self.tcb.unsent_or_unacked() / 2
    }
}

/// Whether a connection is in a TIME-WAIT that a new one with the same ends may replace (RFC 6191 from the active
/// side, Linux's `tcp_tw_reuse`): timestamps tell their segments apart, once the clock has moved on.
fn may_give_way(s: &Sock, now: Instant, policy: u8) -> bool {
    let Body::Conn(c) = &s.body else { return false };
    if !(c.time_wait && c.orphan) || policy == 0 || policy == 2 && !c.local {
        return false;
    }
    // [RFC6191 2b]
    let i = c.tcb.info(now);
    i.timestamps && i.idle.1 > Duration::from_secs(1)
}

impl Sockets {
    /// connect(2) of a stream.
    pub(super) fn tcp_connect(&mut self, cx: &mut Cx, net: &Net, id: SockId, to: SocketAddr) -> Result<()> {
        self.tcp_open(cx, net, id, to, None).map(|_| ())
    }

    /// sendto(2) with MSG_FASTOPEN: connects, with as much of `data` in the SYN as it takes; returns how much that is.
    ///
    /// # Errors
    /// EINPROGRESS: nothing could be taken yet (there was no cookie), the handshake goes on. EOPNOTSUPP when Fast Open is
    /// switched off or for datagram sockets, and those of [`Sockets::connect`].
    pub fn connect_sending(
        &mut self,
        cx: &mut Cx,
        net: &mut Net,
        id: SockId,
        to: SocketAddr,
        data: &[u8],
    ) -> Result<usize> {
        if !self.is_stream(id)? || !self.fast_client() {
            return Err(Errno::EOPNOTSUPP);
        }
        let s = self.table.get(id)?;
        let to = s.inward(to, 0)?;
        self.tcp_open(cx, net, id, to, Some(data))
    }

    fn tcp_open(
        &mut self,
        cx: &mut Cx,
        net: &Net,
        id: SockId,
        to: SocketAddr,
        data: Option<&[u8]>,
    ) -> Result<usize> {
        let s = self.table.get_mut(id)?;
        match &mut s.body {
            Body::Listen(_) => return Err(Errno::EISCONN),
            // connect(2) has promised it already: this write takes the SYN along (TCP_FASTOPEN_CONNECT).
            Body::Conn(c) if c.tcb.syn_is_held() => {
                let data = data.ok_or(Errno::EISCONN)?;
                return self.write(cx, id, data);
            }
            Body::Conn(c) if c.connecting => match c.tcb.state() {
                State::SynSent | State::SynReceived => return Err(Errno::EALREADY),
                State::Closed => {
                    c.connecting = false;
                    return Err(s.err.take().unwrap_or(Errno::ECONNABORTED));
                }
                // Linux: the first call after the handshake says "done", the next ones EISCONN.
                _ => {
                    c.connecting = false;
                    return data.map_or(Ok(0), |d| self.write(cx, id, d));
                }
            },
            Body::Conn(c) if c.tcb.state() != State::Closed => return Err(Errno::EISCONN),
            _ => {}
        }
        self.forget_conn(id);
        let s = self.table.get_mut(id)?;
        s.err = None;
        let dst = real_dst(to.ip());
        // [RFC9293 MUST-46]
        if dst.is_multicast() || matches!(dst, IpAddr::V4(a) if a.is_broadcast()) {
            return Err(Errno::ENETUNREACH);
        }
        if to.port() == 0 {
            return Err(Errno::ECONNREFUSED);
        }
        // [RFC9293 MUST-44]
        let path = way(s, cx, net, dst, &SendOpts::default()).map_err(|e| match e {
            Errno::EACCES => Errno::ENETUNREACH,
            e => e,
        })?;
        let (remote, local) = (SocketAddr::new(dst, to.port()), path.src);
        let bound = s.lport != 0;
        let lport = match s.lport {
            0 => {
                let range = self.ports.range_of(s);
                self.connect_port(cx, local, remote, range)?
            }
            p => p,
        };
        let here = SocketAddr::new(local, lport);
        let iss = self.take_over(cx, here, remote)?;
        let s = self.table.get(id)?;
        let mut cfg = self.tcp_config(cx, s, &path, here, remote);
        let later = data.is_none() && s.opt.tcp.fast.connect && self.fast_client();
        if data.is_some() || later {
            self.fast_config(cx.now, &mut cfg, s.opt.tcp.fast.no_cookie, here, remote);
        }
        let mut c = Conn::new(Tcb::connect(cx.now, &cfg, iss), &path, self.policy.sndbuf_overhead);
        let later = later && c.tcb.hold_syn();
        let room = c.tcb.syn_room();
        let taken = match data {
            Some(d) if room > 0 => c.tcb.write(&d[..d.len().min(room)])?,
            _ => 0,
        };
        c.connecting = !later;
        if taken > 0 {
            c.wrote = Some(cx.now);
        }
        self.stats.of(&local).tcp.active_opens += 1;
        let s = self.table.get_mut(id)?;
        // [RFC9293 MUST-45]
        (s.local, s.lport, s.remote) = (local, lport, Some(remote));
        s.body = Body::Conn(alloc::boxed::Box::new(c));
        self.link(id.index, !bound);
        if later {
            // The SYN goes with the first write.
            self.raise(id.index, ev::WRITE);
            return Ok(0);
        }
        self.dirty(id.index);
        if taken > 0 { Ok(taken) } else { Err(Errno::EINPROGRESS) }
    }

    /// A port to connect from: one that is free, else one whose connection to this peer is in a TIME-WAIT that
    /// may be cut short.
    fn connect_port(&mut self, cx: &Cx, local: IpAddr, remote: SocketAddr, range: (u16, u16)) -> Result<u16> {
        let (ends, now, reuse) = ((local, remote), cx.now, self.policy.tw_reuse);
        let Sockets { ports, demux, table, .. } = self;
        ports
            .for_connect(&cx.secret, demux, table, ends, range, |_| false)
            .or_else(|| {
                ports.for_connect(&cx.secret, demux, table, ends, range, |s| may_give_way(s, now, reuse))
            })
            .ok_or(Errno::EADDRNOTAVAIL)
    }

    /// Sees to it that nobody has these ends; returns the initial sequence number for the new connection.
    fn take_over(&mut self, cx: &Cx, local: SocketAddr, remote: SocketAddr) -> Result<Seq> {
        let iss = iopkt_tcp::isn::isn(&cx.secret, cx.now, local, remote);
        let key = ConnKey::new(proto::TCP, local.ip(), local.port(), remote);
        let Some(old) = self.demux.find_conn(&self.table, key, 0) else { return Ok(iss) };
        match self.table.at(old) {
            Some(s) if may_give_way(s, cx.now, self.policy.tw_reuse) => {}
            _ => return Err(Errno::EADDRNOTAVAIL),
        }
        match self.take_out(old).map(|s| s.body) {
            Some(Body::Conn(c)) => Ok(iss.max(c.tcb.snd_max() + 65_537)),
            _ => Ok(iss),
        }
    }

    /// Enters a connection into the demultiplexer; `count` says that it is not bound to its port.
    pub(super) fn link(&mut self, slot: u32, count: bool) {
        let Some(s) = self.table.at_mut(slot) else { return };
        let (local, lport, flags) = (s.local, s.lport, (s.opt.reuseaddr, s.opt.reuseport));
        let Some(remote) = s.remote else { return };
        let Body::Conn(c) = &mut s.body else { return };
        c.linked = true;
        c.counted = count.then_some(flags);
        self.demux.add_conn(ConnKey::new(proto::TCP, local, lport, remote), slot);
        if count {
            self.demux.add_use(proto::TCP, lport, local, flags.0, flags.1);
        }
    }

    /// Takes a connection out of the demultiplexer: its ends may be used again. The socket keeps its names.
    pub(super) fn unlink(&mut self, slot: u32) {
        self.timers.remove(slot);
        let Some(s) = self.table.at_mut(slot) else { return };
        let (local, lport) = (s.local, s.lport);
        let (Some(remote), Body::Conn(c)) = (s.remote, &mut s.body) else { return };
        if core::mem::take(&mut c.linked) {
            self.demux.del_conn(ConnKey::new(proto::TCP, local, lport, remote), slot);
        }
        if let Some((reuse, rport)) = c.counted.take() {
            self.demux.del_use(proto::TCP, lport, local, reuse, rport);
            s.released = true;
        }
    }

    /// Makes a stream with a dead connection fresh again, so that it may connect once more.
    fn forget_conn(&mut self, id: SockId) {
        self.unlink(id.index);
        let Ok(s) = self.table.get_mut(id) else { return };
        if !matches!(s.body, Body::Conn(_)) {
            return;
        }
        let of = s.local;
        let old = core::mem::replace(&mut s.body, Body::Idle);
        s.remote = None;
        (s.shut_rd, s.shut_wr) = (false, false);
        if core::mem::take(&mut s.released) {
            s.lport = 0;
        }
        if !s.addr_locked {
            s.local = super::sock::unspecified(s.family);
        }
        if let Body::Conn(c) = old {
            self.conn_gone(&c, of);
        }
    }

    /// The connection of a stream.
    pub(super) fn conn(&self, id: SockId) -> Result<&Conn> {
        let s = self.table.get(id)?;
        match &s.body {
            Body::Conn(c) => Ok(c),
            Body::Dgram(_) => Err(Errno::EOPNOTSUPP),
            _ => Err(Errno::ENOTCONN),
        }
    }

    /// connect(2) with AF_UNSPEC: a reset, and a fresh socket.
    pub(super) fn tcp_disconnect(&mut self, cx: &mut Cx, id: SockId) -> Result<()> {
        let s = self.table.get_mut(id)?;
        s.err = None;
        match &mut s.body {
            Body::Conn(c) => {
                // What the reset does to the socket is not told: the program asked for it.
                c.tcb.abort(|m| cx.mbufs.free(m));
                self.flush_one(cx, id.index);
                self.forget_conn(id);
            }
            Body::Listen(_) => {
                let Body::Listen(mut l) = core::mem::replace(&mut s.body, Body::Idle) else { return Ok(()) };
                self.close_listener(cx, &mut l);
            }
            _ => {}
        }
        Ok(())
    }

    /// Counts of a connection that is no more.
    pub(super) fn conn_gone(&mut self, c: &Conn, of: IpAddr) {
        if c.orphan && !c.time_wait {
            self.orphans -= 1;
        }
        self.stats.of(&of).tcp.add(c.tcb.stats());
        if let (Some(parent), Some(at)) = (c.parent, c.half_at) {
            self.leave_half(parent, at);
        }
        if let Some(l) = c.fast_of {
            self.fast_leaves(Instant::ZERO, l, false);
        }
    }

    /// Does to a socket what an event of its machine asks for.
    pub(super) fn apply(&mut self, cx: &mut Cx, net: &mut Net, slot: u32, mut out: Outcome) {
        if let Some(m) = out.spare.take() {
            match out.fate {
                Fate::Taken => cx.mbufs.free(m),
                Fate::Old | Fate::Paws => cx.drop(m, Why::TcpOld),
                Fate::BadState => cx.drop(m, Why::TcpBadState),
                Fate::NoRoom => cx.drop(m, Why::SocketFull),
            }
        }
        if out.what & (what::CONNECTED | what::ERROR) != 0 {
            self.fast_over(cx.now, slot, &out);
        }
        let Some(s) = self.table.at_mut(slot) else { return };
        let Body::Conn(c) = &mut s.body else { return };
        let mut tell = 0;
        if out.what & what::CONNECTED != 0 && c.parent.is_none() {
            tell |= ev::CONNECTED | ev::WRITE;
        }
        if out.what & (what::READABLE | what::FIN) != 0 {
            tell |= ev::READ;
        }
        if out.what & what::WRITABLE != 0
            && c.want_write
            && (c.roomy(self.tune.lowat(&s.opt)) || c.tcb.write_space() == 0)
        {
            c.want_write = false;
            c.tcb.set_starved(false);
            tell |= ev::WRITE;
        }
        if out.what & what::ERROR != 0 {
            s.err = out.error;
            tell |= ev::ERROR;
        }
        let (program, child) = (!c.orphan && c.parent.is_none(), c.parent.is_some());
        if program && tell != 0 {
            self.raise(slot, tell);
        }
        self.tell_written(slot);
        if out.what & what::OUTPUT != 0 {
            self.dirty(slot);
        }
        if child && out.what & (what::CONNECTED | what::READABLE | what::FIN) != 0 {
            self.child_ready(slot, out.what);
        }
        if out.what & what::TIME_WAIT != 0 {
            self.enter_time_wait(cx, net, slot);
        }
        if out.what & what::CLOSED != 0 {
            self.conn_closed(cx, net, slot);
        } else {
            self.rearm(slot);
        }
    }

    /// Tells the timer heap of the machine's next deadline.
    pub(super) fn rearm(&mut self, slot: u32) {
        if let Some(Sock { body: Body::Conn(c), .. }) = self.table.at(slot) {
            let idle = c.wrote.filter(|_| c.tcb.unsent_or_unacked() == 0).map(|t| t + IDLE);
            let other = c.deferred.into_iter().chain(idle).min().unwrap_or(Instant::FAR);
            self.timers.at_latest(slot, c.tcb.deadline().min(other));
        }
    }

    /// The connection is CLOSED: its ends are free, and if nobody has it, it goes.
    fn conn_closed(&mut self, cx: &mut Cx, net: &mut Net, slot: u32) {
        // A reset that the machine still owes is sent before the connection goes.
        self.flush_one(cx, slot);
        self.unlink(slot);
        let Some(s) = self.table.at_mut(slot) else { return };
        let Body::Conn(c) = &s.body else { return };
        match c.parent {
            None if c.orphan => self.discard(cx, net, slot),
            None => {
                s.shut_wr = true;
                self.raise(slot, ev::CLOSED | ev::READ | ev::WRITE);
            }
            // Reset while it waits to be accepted: Linux hands it out all the same.
            Some(_) if c.queued => {}
            Some(_) => self.discard(cx, net, slot),
        }
    }

    /// Counts a TIME-WAIT; at the limit the oldest one goes.
    fn enter_time_wait(&mut self, cx: &mut Cx, net: &mut Net, slot: u32) {
        let Some(s) = self.table.at_mut(slot) else { return };
        let id = s.id;
        let Body::Conn(c) = &mut s.body else { return };
        if core::mem::replace(&mut c.time_wait, true) {
            return;
        }
        if c.orphan {
            self.orphans -= 1;
        } else {
            self.raise(slot, ev::CLOSED | ev::READ);
        }
        while self.time_waits.front().is_some_and(|i| self.table.get(*i).is_err()) {
            self.time_waits.pop_front();
        }
        self.time_waits.push_back(id);
        while self.time_waits.len() > self.policy.max_tw as usize {
            let Some(old) = self.time_waits.pop_front() else { break };
            let gone = |s: &&Sock| matches!(&s.body, Body::Conn(c) if c.orphan && c.time_wait);
            if let Some(of) = self.table.get(old).ok().filter(gone).map(|s| s.local) {
                self.stats.of(&of).tcp.time_wait_overflow += 1;
                self.discard(cx, net, old.index);
            }
        }
    }

    /// Looks at the connections whose time has come.
    pub(super) fn tcp_tick(&mut self, cx: &mut Cx, net: &mut Net) {
        // Bounded: what is left over is due at once, in the next turn.
        for _ in 0..4096 {
            let Some(slot) = self.timers.pop(cx.now) else { break };
            let Some(s) = self.table.at_mut(slot) else { continue };
            let Body::Conn(c) = &mut s.body else { continue };
            if c.deferred.is_some_and(|t| t <= cx.now) {
                c.deferred = None;
                self.child_ready(slot, 0);
            }
            let Some(Sock { body: Body::Conn(c), remote, .. }) = self.table.at_mut(slot) else { continue };
            if c.wrote.is_some_and(|t| t + IDLE <= cx.now) && c.tcb.unsent_or_unacked() == 0 {
                c.wrote = None;
                c.tcb.shrink();
            }
            if c.tcb.deadline() > cx.now {
                self.rearm(slot);
                continue;
            }
            let before = c.tcb.backoff();
            let out = c.tcb.tick(cx.now);
            // [RFC9293 SHLD-9] [RFC9293 SHLD-10]
            // BSD's in_losing: a quarter of the tries without an answer.
            if let Some(to) = remote
                && before == LOSING
                && c.tcb.backoff() > LOSING
            {
                net.tell_losing(cx, to.ip());
            }
            self.dirty(slot);
            self.apply(cx, net, slot, out);
        }
    }

    /// Whether a socket is a stream.
    pub(super) fn is_stream(&self, id: SockId) -> Result<bool> {
        Ok(self.table.get(id)?.ty == SockType::Stream)
    }
}
