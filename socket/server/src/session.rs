//! Sessions: requests in, replies out, nothing in between that waits.
//!
//! A program that does not read its replies is not read either: what is queued for it is bounded by the replies
//! to one request. Garbage ends the session with a line in the log, and only the session: its sockets are
//! the program's descriptors, and others may hold them too.

use crate::Host;
use crate::host::{ConnId, Cred, Incoming};
use crate::server::Server;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::vec::Vec;
use iopkt_base::Errno;
use iopkt_ctl::{Reply, Request};
use iopkt_sockproto::{HDR_LEN, MAX_PAYLOAD, Op, Rep, Req, repf};
use iopkt_stack::Shard;
use iopkt_stack::sockets::SockId;

/// Requests of one session in a turn.
const REQUESTS: usize = 16;
/// Requests to the runtime that one session may have under way.
const MAX_ASKED: usize = 8;

/// Whose request the runtime is to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    session: u32,
    serial: u64,
    id: u32,
}

pub(crate) struct Session<F> {
    conn: ConnId,
    pub cred: Cred,
    /// Tells this session from earlier ones with the same number.
    serial: u64,
    /// In the list of those to serve.
    pub queued: bool,
    /// Has said hello.
    pub greeted: bool,
    /// Requests under way at the runtime.
    asked: usize,
    /// Replies for which there was no room.
    out: VecDeque<Vec<u8>>,
    /// The descriptor that goes with the first of them.
    out_fd: Option<F>,
}

impl<F> Session<F> {
    pub fn new(conn: ConnId, cred: Cred, serial: u64) -> Session<F> {
        Session {
            conn,
            cred,
            serial,
            queued: false,
            greeted: false,
            asked: 0,
            out: VecDeque::new(),
            out_fd: None,
        }
    }
}

impl<H: Host> Server<H> {
    /// Serves a session: first what waits to be sent, then new requests.
    pub(crate) fn serve(&mut self, shard: &mut Shard, k: u32) {
        // The buffer is lent out for the turn, so that requests can be read in place.
        let mut buf = core::mem::take(&mut self.msg);
        let mut n = 0;
        let end = loop {
            if n == REQUESTS {
                self.queue_session(k);
                break None;
            }
            n += 1;
            match self.flush(k) {
                Ok(true) => {}
                Ok(false) => break None,
                Err(e) => break Some(gone(e)),
            }
            let Some(s) = self.sessions.get(k as usize) else { break None };
            match self.host.recv(s.conn, &mut buf) {
                Err(Errno::EAGAIN) => break None,
                Err(e) => break Some(gone(e)),
                Ok(Incoming { len: 0, .. }) => break Some(None),
                Ok(Incoming { truncated: true, .. }) => {
                    break Some(Some(format!("message longer than {} bytes", buf.len())));
                }
                Ok(Incoming { len, fd, .. }) => {
                    if let Err(why) = self.handle(shard, k, &buf[..len], fd) {
                        break Some(Some(why));
                    }
                }
            }
        };
        self.msg = buf;
        if let Some(why) = end {
            self.end_session(shard, k, why);
        }
    }

    fn handle(
        &mut self,
        shard: &mut Shard,
        k: u32,
        msg: &[u8],
        fd: Option<H::Fd>,
    ) -> Result<(), alloc::string::String> {
        let (req, payload) = Req::decode(msg).map_err(|e| format!("{e}"))?;
        let Some(s) = self.sessions.get_mut(k as usize) else { return Ok(()) };
        if !core::mem::replace(&mut s.greeted, true) && req.op != Op::Hello {
            return Err("first message is not a hello".into());
        }
        let cred = s.cred;
        self.request(shard, k, cred, &req, payload, fd);
        Ok(())
    }

    pub(crate) fn end_session(&mut self, shard: &mut Shard, k: u32, why: Option<alloc::string::String>) {
        let Some(s) = self.sessions.try_remove(k as usize) else { return };
        if let Some(why) = why {
            shard.cx.log(4, format!("session of process {} (user {}) ended: {why}", s.cred.pid, s.cred.uid));
        }
        self.host.hang_up(s.conn);
        self.give_back(s.cred.uid, |s| s.sessions -= 1);
        self.asked.retain(|(t, _)| t.serial != s.serial);
        self.outstanding -= s.asked;
        self.accept_again();
    }

    /// Sends what waits. False: there is still no room.
    fn flush(&mut self, k: u32) -> Result<bool, Errno> {
        let Some(s) = self.sessions.get_mut(k as usize) else { return Ok(false) };
        while let Some(m) = s.out.front() {
            match self.host.send(s.conn, m, &[], s.out_fd.as_ref()) {
                Ok(()) => {
                    s.out.pop_front();
                    s.out_fd = None;
                }
                Err(Errno::EAGAIN) => return Ok(false),
                Err(e) => return Err(e),
            }
        }
        Ok(true)
    }

    /// Sends a reply, or keeps it until there is room.
    pub(crate) fn reply(&mut self, k: u32, mut rep: Rep, payload: &[u8], fd: Option<H::Fd>) {
        let Some(s) = self.sessions.get_mut(k as usize) else { return };
        rep.len = payload.len() as u32;
        rep.flags |= if fd.is_some() { repf::FD } else { 0 };
        let head = rep.encode();
        if s.out.is_empty() {
            match self.host.send(s.conn, &head, payload, fd.as_ref()) {
                Err(Errno::EAGAIN) => {}
                // An error shows again on the next read, which ends the session.
                _ => return,
            }
        }
        let mut m = Vec::with_capacity(HDR_LEN + payload.len());
        m.extend_from_slice(&head);
        m.extend_from_slice(payload);
        // Only the first reply that found no room can have a descriptor: no request is read before it is gone.
        if s.out.is_empty() {
            s.out_fd = fd;
        }
        s.out.push_back(m);
    }

    /// A configuration request.
    pub(crate) fn control(&mut self, shard: &mut Shard, k: u32, cred: Cred, req: &Req, payload: &[u8]) {
        let Ok(r) = postcard::from_bytes::<Request>(payload) else {
            let why = "this is no request that this stack knows: use tools and stack of one build";
            return self.control_reply(k, req.id, &Reply::why(Errno::EPROTO, why));
        };
        if changes(&r) && !self.trusts(cred.uid) {
            let why =
                format!("only root and user {} may change the configuration of this stack", self.cfg.uid);
            return self.control_reply(k, req.id, &Reply::why(Errno::EPERM, why));
        }
        shard.cx.rt.by = iopkt_stack::By { pid: cred.pid as i32, ..Default::default() };
        let reply = shard.ctl(&r);
        shard.cx.rt.by = Default::default();
        let reply = reply.map(|r| self.with_descriptors(r));
        if let Some(reply) = reply {
            return self.control_reply(k, req.id, &reply);
        }
        let Some(s) = self.sessions.get_mut(k as usize) else { return };
        if s.asked >= MAX_ASKED {
            let why = format!("{MAX_ASKED} requests of this program are under way already");
            return self.control_reply(k, req.id, &Reply::why(Errno::EBUSY, why));
        }
        s.asked += 1;
        self.outstanding += 1;
        self.asked.push_back((Ticket { session: k, serial: s.serial, id: req.id }, r));
    }

    /// Says of listed sockets which descriptor and user they belong to.
    pub(crate) fn with_descriptors(&self, mut r: Reply) -> Reply {
        if let Reply::Sockets { list, .. } = &mut r {
            for i in list {
                let id = SockId { index: i.id as u32, generation: (i.id >> 32) as u32 };
                if let Some(sk) = self.by_id.get(&id).and_then(|k| self.socks.get(*k as usize)) {
                    (i.ino, i.uid) = (sk.ino, sk.uid);
                }
            }
        }
        r
    }

    /// The next request that only the runtime can answer; [`Server::answer`] takes the answer.
    pub fn next_asked(&mut self) -> Option<(Ticket, Request)> {
        self.asked.pop_front()
    }

    /// The runtime's answer. Goes nowhere when the program is gone.
    pub fn answer(&mut self, t: Ticket, reply: &Reply) {
        let Some(s) = self.sessions.get_mut(t.session as usize).filter(|s| s.serial == t.serial) else {
            return;
        };
        s.asked = s.asked.saturating_sub(1);
        self.outstanding = self.outstanding.saturating_sub(1);
        self.control_reply(t.session, t.id, reply);
        // Whatever found no room goes out as soon as there is some.
        self.queue_session(t.session);
    }

    fn control_reply(&mut self, k: u32, id: u32, reply: &Reply) {
        let bytes = postcard::to_allocvec(reply).unwrap_or_default();
        let mut rep = Rep::ok(&Req::new(Op::Ctl, id));
        let mut chunks = bytes.chunks(CHUNK).peekable();
        while let Some(c) = chunks.next() {
            rep.flags = if chunks.peek().is_some() { repf::MORE } else { 0 };
            self.reply(k, rep, c, None);
        }
    }
}

/// Payload of one message of a long reply: several fit into the queue of a session.
const CHUNK: usize = if MAX_PAYLOAD < 32 << 10 { MAX_PAYLOAD } else { 32 << 10 };

/// An error that only says that the program is gone is no news.
fn gone(e: Errno) -> Option<alloc::string::String> {
    match e {
        Errno::ECONNRESET | Errno::EPIPE => None,
        e => Some(format!("{e}")),
    }
}

/// Whether a request changes something.
fn changes(r: &Request) -> bool {
    if let Request::Nd(n) = r {
        return !n.only_looks();
    }
    !matches!(
        r,
        Request::Stack
            | Request::Interfaces { .. }
            | Request::Cloners
            | Request::Routes { .. }
            | Request::GetRoute { .. }
            | Request::Arp
            | Request::Sockets { .. }
            | Request::Stats
            | Request::NicInfo { .. }
            | Request::Loaded
            | Request::Groups
            | Request::Sysctl { value: None, .. }
    )
}
