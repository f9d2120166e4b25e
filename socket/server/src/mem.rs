//! A [`Host`] in memory, for tests and the simulator: programs are plain values, everything is deterministic.
//!
//! It does what the real host does as far as the server and a program can see it, bounds and edges included. With
//! [`MemHost::set_faults`] it also cuts reads and writes short, says EAGAIN without need, and runs out of
//! descriptors, as a seed has it. What a program does is in [`Program`] (its session) and [`MemFd`] (its sockets).

use crate::host::{ConnId, Cred, EndId, Host, HostEvent, Incoming, NewPair, pair};
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;
use iopkt_base::{Errno, Result, Rng};
use iopkt_sockproto::PairFamily;
use slab::Slab;

/// Bytes that a pair holds each way.
pub const PAIR_BYTES: usize = 64 << 10;
/// Messages that a pair, and replies that a session, holds.
pub const QUEUE: usize = 64;

type Ready = Rc<RefCell<Vec<HostEvent>>>;

/// Both ends of a pair.
#[derive(Default)]
struct Pair {
    owner: u32,
    ino: u64,
    stream: bool,
    /// Program to server: bytes, or messages.
    up: VecDeque<u8>,
    up_msgs: VecDeque<Vec<u8>>,
    down: VecDeque<u8>,
    down_msgs: VecDeque<Vec<u8>>,
    /// The program may not write: a connect is under way.
    blocked: bool,
    /// Nothing more comes from the program, from the server.
    up_shut: bool,
    down_shut: bool,
    /// The program reads no more.
    deaf: bool,
    client_closed: bool,
    left_unread: bool,
    server_closed: bool,
    reset: bool,
}

impl Pair {
    fn up_room(&self) -> usize {
        if self.stream { PAIR_BYTES - self.up.len() } else { QUEUE - self.up_msgs.len() }
    }
    fn down_room(&self) -> usize {
        if self.stream { PAIR_BYTES - self.down.len() } else { QUEUE - self.down_msgs.len() }
    }
    fn hup(&self) -> u8 {
        let rd = if self.up_shut || self.client_closed { pair::RDHUP | pair::READ } else { 0 };
        let all = self.client_closed || self.up_shut && self.down_shut;
        rd | if all { pair::HUP } else { 0 }
    }
}

/// The program's end: when the last copy of it goes, it is closed.
struct Client {
    pair: Rc<RefCell<Pair>>,
    ready: Ready,
}

impl Client {
    fn tell(&self, what: u8) {
        let p = self.pair.borrow();
        if !p.server_closed {
            self.ready.borrow_mut().push(HostEvent::Pair(p.owner, what | p.hup()));
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        {
            let mut p = self.pair.borrow_mut();
            p.client_closed = true;
            p.left_unread = !p.down.is_empty() || !p.down_msgs.is_empty();
        }
        self.tell(pair::READ | pair::WRITE);
    }
}

/// A program's descriptor; a clone is a dup(2).
#[derive(Clone)]
pub struct MemFd(Rc<Client>);

impl core::fmt::Debug for MemFd {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "MemFd({})", self.0.pair.borrow().ino)
    }
}

/// What poll(2) says of a [`MemFd`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // POLLIN, POLLOUT, POLLERR, POLLHUP
pub struct Polled {
    pub readable: bool,
    pub writable: bool,
    pub error: bool,
    pub hup: bool,
}

impl MemFd {
    /// What poll(2) says.
    pub fn poll(&self) -> Polled {
        let p = self.0.pair.borrow();
        let end = p.server_closed || p.down_shut || p.deaf;
        Polled {
            readable: !p.down.is_empty() || !p.down_msgs.is_empty() || end,
            writable: p.server_closed || p.up_room() > 0 && !p.blocked,
            error: p.reset,
            hup: p.server_closed || p.down_shut && p.up_shut,
        }
    }

    /// read(2): a stream's bytes or one message; 0 at the end.
    ///
    /// # Errors
    /// EAGAIN, ECONNRESET (once).
    pub fn read(&self, out: &mut [u8]) -> Result<usize> {
        let n = self.take(out)?;
        self.0.tell(pair::WRITE);
        Ok(n)
    }

    fn take(&self, out: &mut [u8]) -> Result<usize> {
        let mut p = self.0.pair.borrow_mut();
        if let Some(m) = p.down_msgs.pop_front() {
            let n = m.len().min(out.len());
            out[..n].copy_from_slice(&m[..n]);
            return Ok(n);
        }
        let n = out.len().min(p.down.len());
        if n > 0 {
            for (o, b) in out.iter_mut().zip(p.down.drain(..n)) {
                *o = b;
            }
            return Ok(n);
        }
        if core::mem::take(&mut p.reset) {
            return Err(Errno::ECONNRESET);
        }
        if p.server_closed || p.down_shut || p.deaf { Ok(0) } else { Err(Errno::EAGAIN) }
    }

    /// write(2): what fits of a stream, or one message.
    ///
    /// # Errors
    /// EAGAIN, ECONNRESET (once), EPIPE.
    pub fn write(&self, data: &[u8]) -> Result<usize> {
        let n = {
            let mut p = self.0.pair.borrow_mut();
            if core::mem::take(&mut p.reset) {
                return Err(Errno::ECONNRESET);
            }
            if p.server_closed || p.up_shut {
                return Err(Errno::EPIPE);
            }
            if p.blocked || p.up_room() == 0 {
                return Err(Errno::EAGAIN);
            }
            if p.stream {
                let n = data.len().min(p.up_room());
                p.up.extend(&data[..n]);
                n
            } else {
                p.up_msgs.push_back(data.to_vec());
                data.len()
            }
        };
        self.0.tell(pair::READ);
        Ok(n)
    }

    /// shutdown(2), the kernel's: 0 read, 1 write, 2 both.
    pub fn shutdown(&self, how: u8) {
        {
            let mut p = self.0.pair.borrow_mut();
            p.deaf |= how != 1;
            p.up_shut |= how != 0;
        }
        self.0.tell(pair::READ | pair::WRITE);
    }
}

#[derive(Default)]
struct Conn {
    owner: Option<u32>,
    cred: (u32, u32),
    requests: VecDeque<(Vec<u8>, Option<MemFd>)>,
    replies: VecDeque<(Vec<u8>, Option<MemFd>)>,
    program_gone: bool,
    server_gone: bool,
}

/// A program's session; dropping it closes it.
pub struct Program {
    conn: Rc<RefCell<Conn>>,
    ready: Ready,
}

impl Program {
    fn tell(&self) {
        if let Some(owner) = self.conn.borrow().owner {
            self.ready.borrow_mut().push(HostEvent::Session(owner));
        }
    }

    /// Sends a message with perhaps a descriptor.
    ///
    /// # Errors
    /// EAGAIN when the queue is full, EPIPE when the session was ended.
    pub fn send(&self, msg: &[u8], fd: Option<&MemFd>) -> Result<()> {
        {
            let mut c = self.conn.borrow_mut();
            if c.server_gone {
                return Err(Errno::EPIPE);
            }
            if c.requests.len() >= QUEUE {
                return Err(Errno::EAGAIN);
            }
            c.requests.push_back((msg.to_vec(), fd.cloned()));
        }
        self.tell();
        Ok(())
    }

    /// The next reply.
    pub fn recv(&self) -> Option<(Vec<u8>, Option<MemFd>)> {
        let r = self.conn.borrow_mut().replies.pop_front();
        if r.is_some() {
            self.tell();
        }
        r
    }

    /// Whether the server has ended the session.
    pub fn ended(&self) -> bool {
        self.conn.borrow().server_gone
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.conn.borrow_mut().program_gone = true;
        self.tell();
    }
}

/// What goes wrong, each with a chance in 256 of each call.
#[derive(Clone, Debug)]
pub struct Faults {
    /// Where the dice come from.
    pub rng: Rng,
    /// A read or write moves fewer bytes than it could.
    pub short: u8,
    /// EAGAIN although there is room or data.
    pub again: u8,
    /// No descriptor is left.
    pub no_fd: u8,
}

/// Sessions and pairs in memory.
#[derive(Default)]
pub struct MemHost {
    ready: Ready,
    waiting: VecDeque<Rc<RefCell<Conn>>>,
    conns: Slab<Rc<RefCell<Conn>>>,
    ends: Slab<Rc<RefCell<Pair>>>,
    last_ino: u64,
    faults: Option<Faults>,
}

impl MemHost {
    /// An empty host.
    pub fn new() -> MemHost {
        MemHost::default()
    }

    /// Makes things go wrong; `None` stops that.
    pub fn set_faults(&mut self, f: Option<Faults>) {
        self.faults = f;
    }

    /// A program connects.
    pub fn connect(&mut self, uid: u32, pid: u32) -> Program {
        let conn = Rc::new(RefCell::new(Conn { cred: (uid, pid), ..Conn::default() }));
        self.waiting.push_back(conn.clone());
        self.ready.borrow_mut().push(HostEvent::Listener);
        Program { conn, ready: self.ready.clone() }
    }

    /// Sessions and pairs that the server holds.
    pub fn held(&self) -> (usize, usize) {
        (self.conns.len(), self.ends.len())
    }

    /// Whether there is something to tell the server.
    pub fn is_ready(&self) -> bool {
        !self.ready.borrow().is_empty()
    }

    fn fault(&mut self, chance: impl Fn(&Faults) -> u8) -> bool {
        match &mut self.faults {
            Some(f) => (f.rng.below(256) as u8) < chance(f),
            None => false,
        }
    }

    fn cut(&mut self, n: usize) -> usize {
        if n > 1 && self.fault(|f| f.short) {
            let f = self.faults.as_mut().map_or(0, |f| f.rng.below(n as u32));
            return (f as usize).max(1);
        }
        n
    }

    fn end(&self, e: EndId) -> Result<Rc<RefCell<Pair>>> {
        self.ends.get(e.0 as usize).cloned().ok_or(Errno::EBADF)
    }

    /// EAGAIN without need: the event that ends it comes at once.
    fn spurious(&mut self, owner: u32) -> bool {
        let yes = self.fault(|f| f.again);
        if yes {
            self.ready.borrow_mut().push(HostEvent::Pair(owner, pair::READ | pair::WRITE));
        }
        yes
    }
}

impl Host for MemHost {
    type Fd = MemFd;

    fn events(&mut self, out: &mut Vec<HostEvent>) {
        out.append(&mut self.ready.borrow_mut());
    }

    fn accept(&mut self, owner: u32) -> Result<Option<(ConnId, Cred)>> {
        if !self.waiting.is_empty() && self.fault(|f| f.no_fd) {
            self.ready.borrow_mut().push(HostEvent::Listener);
            return Err(Errno::EMFILE);
        }
        let Some(c) = self.waiting.pop_front() else { return Ok(None) };
        let (uid, pid) = c.borrow().cred;
        c.borrow_mut().owner = Some(owner);
        Ok(Some((ConnId(self.conns.insert(c) as u32), Cred { uid, pid })))
    }

    fn recv(&mut self, c: ConnId, buf: &mut [u8]) -> Result<Incoming<MemFd>> {
        let conn = self.conns.get(c.0 as usize).ok_or(Errno::EBADF)?;
        let mut conn = conn.borrow_mut();
        match conn.requests.pop_front() {
            Some((m, fd)) => {
                let n = m.len().min(buf.len());
                buf[..n].copy_from_slice(&m[..n]);
                Ok(Incoming { len: n, truncated: n < m.len(), fd })
            }
            None if conn.program_gone => Ok(Incoming { len: 0, truncated: false, fd: None }),
            None => Err(Errno::EAGAIN),
        }
    }

    fn send(&mut self, c: ConnId, head: &[u8], payload: &[u8], fd: Option<&MemFd>) -> Result<()> {
        let again = self.fault(|f| f.again);
        let conn = self.conns.get(c.0 as usize).ok_or(Errno::EBADF)?;
        let mut conn = conn.borrow_mut();
        if conn.program_gone {
            return Err(Errno::EPIPE);
        }
        if again || conn.replies.len() >= QUEUE {
            if let (true, Some(owner)) = (again, conn.owner) {
                self.ready.borrow_mut().push(HostEvent::Session(owner));
            }
            return Err(Errno::EAGAIN);
        }
        conn.replies.push_back(([head, payload].concat(), fd.cloned()));
        Ok(())
    }

    fn hang_up(&mut self, c: ConnId) {
        if let Some(conn) = self.conns.try_remove(c.0 as usize) {
            let mut conn = conn.borrow_mut();
            (conn.server_gone, conn.owner) = (true, None);
            conn.requests.clear();
        }
    }

    fn pair(
        &mut self,
        stream: bool,
        _family: PairFamily,
        owner: u32,
        _nonblock: bool,
    ) -> Result<NewPair<MemFd>> {
        if self.fault(|f| f.no_fd) {
            return Err(Errno::EMFILE);
        }
        self.last_ino += 1;
        let ino = self.last_ino;
        let p = Rc::new(RefCell::new(Pair { owner, ino, stream, ..Pair::default() }));
        let end = EndId(self.ends.insert(p.clone()) as u32);
        Ok(NewPair { end, ino, client: MemFd(Rc::new(Client { pair: p, ready: self.ready.clone() })) })
    }

    fn close(&mut self, e: EndId, reset: bool) {
        let Some(p) = self.ends.try_remove(e.0 as usize) else { return };
        let mut p = p.borrow_mut();
        p.server_closed = true;
        p.reset = reset;
        p.up.clear();
        p.up_msgs.clear();
    }

    fn deafen(&mut self, e: EndId) {
        let Ok(p) = self.end(e) else { return };
        p.borrow_mut().up_shut = true;
    }

    fn shutdown(&mut self, e: EndId) {
        let Ok(p) = self.end(e) else { return };
        let mut p = p.borrow_mut();
        p.down_shut = true;
        let what = p.hup();
        self.ready.borrow_mut().push(HostEvent::Pair(p.owner, what));
    }

    fn hung_up(&mut self, ends: &[EndId]) -> Vec<usize> {
        let gone = |e: &EndId| self.end(*e).is_ok_and(|p| p.borrow().client_closed);
        (0..ends.len()).filter(|i| gone(&ends[*i])).collect()
    }

    fn left_unread(&mut self, e: EndId) -> bool {
        self.end(e).is_ok_and(|p| p.borrow().left_unread)
    }

    fn read(&mut self, e: EndId, out: &mut [u8]) -> Result<(usize, bool)> {
        let p = self.end(e)?;
        let owner = p.borrow().owner;
        let n = p.borrow().up.len().min(out.len());
        if n == 0 || self.spurious(owner) {
            return Ok((0, false));
        }
        let n = self.cut(n);
        for (o, b) in out.iter_mut().zip(p.borrow_mut().up.drain(..n)) {
            *o = b;
        }
        let more = !p.borrow().up.is_empty();
        Ok((n, more))
    }

    fn pending(&mut self, e: EndId) -> usize {
        self.end(e).map_or(0, |p| {
            let p = p.borrow();
            p.up.len() + p.up_msgs.front().map_or(0, Vec::len)
        })
    }

    fn write(&mut self, e: EndId, data: &[&[u8]]) -> Result<usize> {
        let p = self.end(e)?;
        let (owner, room) = (p.borrow().owner, p.borrow().down_room());
        if p.borrow().client_closed || p.borrow().deaf {
            return Err(Errno::EPIPE);
        }
        if room == 0 || self.spurious(owner) {
            return Err(Errno::EAGAIN);
        }
        let n = data.iter().map(|d| d.len()).sum::<usize>().min(room);
        let n = self.cut(n);
        p.borrow_mut().down.extend(data.iter().flat_map(|d| d.iter()).take(n));
        Ok(n)
    }

    fn recv_msg(&mut self, e: EndId, out: &mut [u8]) -> Result<Option<usize>> {
        let p = self.end(e)?;
        let owner = p.borrow().owner;
        if !p.borrow().up_msgs.is_empty() && self.spurious(owner) {
            return Ok(None);
        }
        let Some(m) = p.borrow_mut().up_msgs.pop_front() else { return Ok(None) };
        let n = m.len().min(out.len());
        out[..n].copy_from_slice(&m[..n]);
        Ok(Some(n))
    }

    fn send_msg(&mut self, e: EndId, head: &[u8], data: &[u8]) -> Result<()> {
        let p = self.end(e)?;
        let owner = p.borrow().owner;
        if p.borrow().client_closed {
            return Err(Errno::EPIPE);
        }
        if p.borrow().down_room() == 0 || self.spurious(owner) {
            return Err(Errno::EAGAIN);
        }
        p.borrow_mut().down_msgs.push_back([head, data].concat());
        Ok(())
    }

    fn all_read(&mut self, e: EndId) -> bool {
        self.end(e).is_ok_and(|p| p.borrow().down.is_empty() && p.borrow().down_msgs.is_empty())
    }

    fn block(&mut self, e: EndId, _client: &MemFd) -> Result<()> {
        self.end(e)?.borrow_mut().blocked = true;
        Ok(())
    }

    fn unblock(&mut self, e: EndId) {
        if let Ok(p) = self.end(e) {
            p.borrow_mut().blocked = false;
        }
    }

    fn identify(&self, fd: &MemFd) -> Option<u64> {
        Some(fd.0.pair.borrow().ino)
    }

    fn client_recv(&mut self, fd: &MemFd, out: &mut [u8], peek: bool) -> Result<Option<usize>> {
        let mut p = fd.0.pair.borrow_mut();
        if p.stream {
            let n = p.down.len().min(out.len());
            for (o, b) in out.iter_mut().zip(&p.down) {
                *o = *b;
            }
            if !peek {
                p.down.drain(..n);
            }
            return Ok(if n > 0 { Some(n) } else { None });
        }
        let Some(m) = p.down_msgs.front() else { return Ok(None) };
        let n = m.len().min(out.len());
        out[..n].copy_from_slice(&m[..n]);
        if !peek {
            p.down_msgs.pop_front();
        }
        Ok(Some(n))
    }

    fn client_pending(&mut self, fd: &MemFd) -> usize {
        let p = fd.0.pair.borrow();
        p.down.len() + p.down_msgs.iter().map(Vec::len).sum::<usize>()
    }

    fn client_shutdown(&mut self, fd: &MemFd, how: u8) {
        fd.shutdown(how);
    }

    fn client_option(&mut self, _fd: &MemFd, _name: i32, _value: &[u8]) -> Result<()> {
        Ok(())
    }
}
