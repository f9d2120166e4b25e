//! The server itself: what it holds, and its turn.

use crate::host::{Host, HostEvent, pair};
use crate::nodes::{NODE, Nodes};
use crate::session::{Session, Ticket};
use crate::share::Share;
use crate::sock::{Sock, State, Tomb, Tombs};
use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;
use hashbrown::HashMap;
use iopkt_base::{Duration, Instant};
use iopkt_ctl::Request;
use iopkt_sockproto::MAX_MSG;
use iopkt_stack::Shard;
use iopkt_stack::sockets::{SockId, ev};
use slab::Slab;

/// Limits and identity.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Which running stack this is (in the names of pairs); random.
    pub instance: u64,
    /// What marks genuine datagram headers; random, secret.
    pub key: u64,
    /// Process id of the server, for `Hello`.
    pub pid: u32,
    /// User id of the server: may change the configuration, as 0 may.
    pub uid: u32,
    /// Most sessions.
    pub max_sessions: usize,
    /// Most dead sockets whose last error and names are remembered.
    pub max_tombs: usize,
    /// Most bytes taken from a program's stream at a time.
    pub recv: usize,
}

impl Default for ServerConfig {
    fn default() -> Self {
        ServerConfig {
            instance: 0,
            key: 0,
            pid: 0,
            uid: 0,
            max_sessions: 4096,
            max_tombs: 4096,
            recv: 65_536,
        }
    }
}

/// Sessions accepted in a turn.
const ACCEPTS: usize = 16;
/// Sessions served in a turn, and requests of each.
const SESSIONS: usize = 64;
/// Sockets looked at in a turn.
const SOCKETS: usize = 256;

/// How long a connection whose program is gone may make no progress.
const LINGER: Duration = Duration::from_secs(120);

/// What the server holds, for tests, limits and `-v`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Sessions.
    pub sessions: usize,
    /// Sockets with a pair.
    pub sockets: usize,
    /// Packet sockets, BPF devices, TUN and TAP that are open.
    pub nodes: usize,
    /// Dead sockets remembered.
    pub tombs: usize,
    /// Requests that wait for the runtime's answer.
    pub asked: usize,
}

/// The socket server of one shard.
pub struct Server<H: Host> {
    /// The operating system.
    pub host: H,
    pub(crate) cfg: ServerConfig,
    pub(crate) sessions: Slab<Session<H::Fd>>,
    pub(crate) socks: Slab<Sock>,
    pub(crate) by_ino: HashMap<u64, u32>,
    pub(crate) by_id: HashMap<SockId, u32>,
    /// Routing sockets.
    pub(crate) routing: Vec<u32>,
    pub(crate) tombs: Tombs,
    /// Packet sockets, BPF devices, TUN and TAP.
    pub(crate) nodes: Nodes,
    /// By user.
    pub(crate) shares: HashMap<u32, Share>,
    pub(crate) asked: VecDeque<(Ticket, Request)>,
    pub(crate) outstanding: usize,
    pub(crate) serial: u64,
    /// Where requests are read.
    pub(crate) msg: Vec<u8>,
    /// One buffer for all data that passes through.
    pub(crate) buf: Vec<u8>,
    /// Where several messages are read at once, and their lengths.
    pub(crate) batch: Vec<u8>,
    pub(crate) lens: Vec<usize>,
    work: VecDeque<u32>,
    /// Sockets whose programs were told to be gone ([`HostEvent::Gone`]).
    pub(crate) gone: Vec<u32>,
    /// Streams whose program is gone with bytes still to be taken by the stack, in order of the time at which that is looked
    /// at next: when, which, its inode number, how much was taken by then.
    lingering: VecDeque<(Instant, u32, u64, u64)>,
    ready: VecDeque<u32>,
    accepting: bool,
    /// An accept failed for want of descriptors or memory.
    starved: bool,
    events: Vec<HostEvent>,
}

impl<H: Host> Server<H> {
    /// A server without sessions.
    pub fn new(host: H, cfg: ServerConfig) -> Server<H> {
        let tombs = Tombs::new(cfg.max_tombs);
        Server {
            host,
            cfg,
            sessions: Slab::new(),
            socks: Slab::new(),
            by_ino: HashMap::new(),
            by_id: HashMap::new(),
            routing: Vec::new(),
            tombs,
            nodes: Nodes::new(),
            shares: HashMap::new(),
            asked: VecDeque::new(),
            outstanding: 0,
            serial: 0,
            msg: vec![0; MAX_MSG],
            buf: vec![0; 128 << 10],
            batch: Vec::new(),
            lens: Vec::new(),
            work: VecDeque::new(),
            gone: Vec::new(),
            lingering: VecDeque::new(),
            ready: VecDeque::new(),
            accepting: false,
            starved: false,
            events: Vec::new(),
        }
    }

    /// What it holds now.
    pub fn held(&self) -> Held {
        Held {
            sessions: self.sessions.len(),
            sockets: self.socks.len(),
            nodes: self.nodes.len(),
            tombs: self.tombs.len(),
            asked: self.outstanding,
        }
    }

    /// One bounded turn: looks at what became ready on both sides, answers requests, moves data. Returns
    /// whether there is more to do at once. What it gave to the stack leaves with the next `Sockets::output`.
    pub fn turn(&mut self, shard: &mut Shard) -> bool {
        self.hear_host();
        self.end_joined(shard);
        self.hear_stack(shard);
        self.accept_sessions(shard);
        self.end_lingering(shard);
        for _ in 0..self.ready.len().min(SESSIONS) {
            let Some(k) = self.ready.pop_front() else { break };
            let Some(s) = self.sessions.get_mut(k as usize) else { continue };
            s.queued = false;
            self.serve(shard, k);
        }
        for _ in 0..self.work.len().min(SOCKETS) {
            let Some(k) = self.work.pop_front() else { break };
            let Some(s) = self.socks.get_mut(k as usize) else { continue };
            s.queued = false;
            if self.look(shard, k) {
                self.queue(k);
            }
        }
        self.tell_routing(shard);
        let nodes = self.nodes_up(shard);
        nodes
            || self.accepting
            || !self.ready.is_empty()
            || !self.work.is_empty()
            || !shard.cx.events.is_empty()
    }

    pub(crate) fn hear_host(&mut self) {
        let mut evs = core::mem::take(&mut self.events);
        self.host.events(&mut evs);
        for e in evs.drain(..) {
            match e {
                HostEvent::Listener => self.accepting = true,
                HostEvent::Session(k) => self.queue_session(k),
                HostEvent::Node(owner) => self.nodes.knocked(owner),
                HostEvent::Gone(k) => self.heard_gone(k),
                HostEvent::Pair(k, what) if k & NODE != 0 => self.nodes.heard(k & !NODE, what),
                HostEvent::Pair(k, what) => {
                    let Some(s) = self.socks.get_mut(k as usize) else { continue };
                    s.readable |= what & (pair::READ | pair::RDHUP | pair::HUP) != 0;
                    s.writable |= what & pair::WRITE != 0;
                    s.rdhup |= what & (pair::RDHUP | pair::HUP) != 0;
                    s.hup |= what & pair::HUP != 0;
                    self.queue(k);
                }
            }
        }
        self.events = evs;
    }

    fn hear_stack(&mut self, shard: &mut Shard) {
        while let Some(e) = shard.cx.events.pop_front() {
            // Not ours yet (waiting to be accepted), or not ours any more.
            let Some(&k) = self.by_id.get(&e.id) else { continue };
            if e.what & ev::CONNECTED != 0 {
                self.connected(k);
            }
            if e.what & (ev::ERROR | ev::CLOSED) != 0 {
                self.failed(shard, k, e.what);
            }
            if e.what & ev::READ != 0
                && let Some(s) = self.socks.get_mut(k as usize)
            {
                // The kernel tells of room in a full queue when three quarters of it are free. Datagrams that come cannot wait
                // for that: there may be room for one.
                s.writable |= matches!(s.state, State::Dgram(_));
            }
            self.queue(k);
        }
    }

    fn accept_sessions(&mut self, shard: &mut Shard) {
        for _ in 0..ACCEPTS {
            if !self.accepting {
                return;
            }
            let entry = self.sessions.vacant_entry();
            let k = entry.key() as u32;
            match self.host.accept(k) {
                Ok(None) => self.accepting = false,
                Ok(Some((conn, cred))) => {
                    self.serial += 1;
                    entry.insert(Session::new(conn, cred, self.serial));
                    let full = self.sessions.len() > self.cfg.max_sessions;
                    if full || !self.may_have_session(cred.uid) {
                        let (most, of) = if full {
                            (self.cfg.max_sessions, "")
                        } else {
                            (self.most_sessions(), " of a user")
                        };
                        shard.cx.log(
                            4,
                            alloc::format!(
                                "session of process {} (user {}) refused: {most} sessions is the limit{of}",
                                cred.pid,
                                cred.uid
                            ),
                        );
                        self.sessions.remove(k as usize);
                        self.host.hang_up(conn);
                    } else {
                        self.gain(cred.uid, |s| s.sessions += 1);
                        self.queue_session(k);
                    }
                }
                Err(e) => {
                    // The listener stays ready; the next session that ends makes room and looks again.
                    shard.cx.log(3, alloc::format!("cannot accept a session: {e}"));
                    self.accepting = false;
                    self.starved = true;
                }
            }
        }
    }

    /// Something was closed: looks at the listener again if it failed before.
    pub(crate) fn accept_again(&mut self) {
        self.accepting |= core::mem::take(&mut self.starved);
    }

    pub(crate) fn queue(&mut self, k: u32) {
        if let Some(s) = self.socks.get_mut(k as usize)
            && !core::mem::replace(&mut s.queued, true)
        {
            self.work.push_back(k);
        }
    }

    pub(crate) fn queue_session(&mut self, k: u32) {
        if let Some(s) = self.sessions.get_mut(k as usize)
            && !core::mem::replace(&mut s.queued, true)
        {
            self.ready.push_back(k);
        }
    }

    /// Begins to watch a stream whose program is gone.
    pub(crate) fn linger(&mut self, now: Instant, k: u32) {
        let Some(s) = self.socks.get_mut(k as usize) else { return };
        if !core::mem::replace(&mut s.lingers, true) {
            self.lingering.push_back((now + LINGER, k, s.ino, s.moved));
        }
    }

    /// Resets connections whose program is gone and whose peer takes nothing. No timer of its own: the stack probes the closed
    /// window of each of them, so there is a turn now and then.
    fn end_lingering(&mut self, shard: &mut Shard) {
        while let Some(&(at, k, ino, moved)) = self.lingering.front() {
            if at > shard.cx.now {
                return;
            }
            self.lingering.pop_front();
            let Some(s) = self.socks.get_mut(k as usize).filter(|s| s.ino == ino) else { continue };
            if s.moved == moved {
                self.retire(shard, k, false, true);
            } else {
                self.lingering.push_back((shard.cx.now + LINGER, k, ino, s.moved));
            }
        }
    }

    /// Does what there is to do for one socket; whether there is more.
    pub(crate) fn look(&mut self, shard: &mut Shard, k: u32) -> bool {
        let Some(s) = self.socks.get(k as usize) else { return false };
        match s.state {
            State::Fresh | State::Connecting { .. } if s.hup => {
                self.retire(shard, k, false, false);
                false
            }
            State::Fresh | State::Connecting { .. } => false,
            State::Up { .. } => self.pump_stream(shard, k),
            State::Listening(_) => self.look_listener(shard, k),
            State::Dgram(_) => self.pump_messages(shard, k),
            State::Routing(_) => self.pump_routing(shard, k),
        }
    }

    /// Ends a socket on both sides: the pair's end is closed (`reset`: so that the program sees ECONNRESET), the
    /// stack's socket becomes an orphan (`lost`: with received bytes that the program never read), and what may
    /// still be asked about it is remembered.
    pub(crate) fn retire(&mut self, shard: &mut Shard, k: u32, reset: bool, lost: bool) {
        let Some(mut s) = self.socks.try_remove(k as usize) else { return };
        self.by_ino.remove(&s.ino);
        self.by_id.remove(&s.id);
        self.give_back(s.uid, |s| s.sockets -= 1);
        let tomb = Tomb {
            kind: s.kind,
            err: s.err,
            local: shard.sockets.local_addr(s.id).ok(),
            // Linux forgets the peer of a connection that was reset.
            peer: if reset { None } else { shard.sockets.peer_addr(s.id).ok() },
        };
        self.tombs.bury(s.ino, tomb);
        match &mut s.state {
            State::Listening(l) => {
                if let Some((id, _)) = l.spare.take() {
                    shard.sockets.close(&mut shard.cx, &mut shard.net, id, true);
                }
            }
            State::Dgram(m) => {
                for d in m.held.drain(..) {
                    shard.cx.mbufs.free(d.m);
                }
            }
            _ => {}
        }
        shard.sockets.close(&mut shard.cx, &mut shard.net, s.id, lost);
        self.host.close(s.end, reset);
        self.accept_again();
    }
}
