//! [`Host`] on Linux.

use crate::end::{End, errno, give, next_message, readable};
use crate::gone::Gone;
use crate::nodes::Nodes;
use iopkt_base::{Errno, Instant, Result};
use iopkt_sockproto::{NAME_PREFIX, PairFamily, PairName};
use iopkt_sockserver::{ConnId, Cred, EndId, Host, HostEvent, Incoming, NewPair, RingId, host::pair};
use iopkt_sys::{mmsg, sockopt, unix};
use rustix::event::epoll;
use rustix::fs::OFlags;
use rustix::net::{
    AddressFamily, RecvFlags, Shutdown, SocketAddrUnix, SocketFlags, SocketType, bind, shutdown, socketpair,
    sockopt as opt,
};
use slab::Slab;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What a token names: bits 54 and 55; below them a generation (22 bits) and an index (32 bits).
const LISTENER: u64 = 0;
const SESSION: u64 = 1;
const PAIR: u64 = 2;
const NODE: u64 = 3;
/// Index of the watch over given-away ends, of the listener's kind.
const WATCH: usize = 1;
const GENERATIONS: u32 = 1 << 22;

/// Send buffer of the program's end of a stream, as the kernel counts it. A quarter of it must be more than the largest
/// packet that the kernel makes of a write: the byte that always stays in our queue (see `Host`) holds the whole of
/// it, and the program's end is writable only while at most a quarter is in use. sendfile(2) makes the largest, 17
/// pages. Twice `wmem_max` of every Linux since 2.6: settable without privilege.
const BUFFER: usize = 425_984;

struct Conn {
    fd: OwnedFd,
    owner: u32,
    generation: u32,
}

/// Sessions, pairs and their readiness.
pub struct SockHost {
    epoll: OwnedFd,
    tag: u64,
    listener: OwnedFd,
    instance: u64,
    pairs: u64,
    generation: u32,
    conns: Slab<Conn>,
    ends: Slab<End>,
    ready: Vec<HostEvent>,
    /// Something was written for a program.
    gave: bool,
    /// Ends with bytes that were delivered by looking at them.
    looked: Vec<u32>,
    fds: Vec<OwnedFd>,
    scratch: Vec<u8>,
    /// Device number of sockets, once known.
    dev: u64,
    nodes: Nodes,
    /// Send buffer of a fresh stream, once known.
    usual: Option<usize>,
    /// Watches over programs' ends; made when the first is wanted. `Err`: there can be none.
    gone: Option<Gone>,
    no_gone: bool,
    /// What the wall clock is ahead of the stack's, nanoseconds.
    epoch: i128,
}

impl SockHost {
    /// A host whose sessions come by `listener` (non-blocking, SEQPACKET) and whose events come by `epoll` with `tag` in
    /// the top byte of their tokens. `instance` goes into the names of pairs.
    ///
    /// # Errors
    /// What dup(2), fstat(2) and epoll_ctl(2) say.
    pub fn new(epoll: impl AsFd, tag: u8, listener: OwnedFd, instance: u64) -> io::Result<SockHost> {
        let epoll = epoll.as_fd().try_clone_to_owned()?;
        let dev = unix::file_id(&listener)?.dev;
        let host = SockHost {
            epoll,
            tag: u64::from(tag) << 56,
            listener,
            instance,
            pairs: 0,
            generation: 0,
            conns: Slab::new(),
            ends: Slab::new(),
            ready: Vec::new(),
            gave: false,
            looked: Vec::new(),
            fds: Vec::new(),
            scratch: vec![0; 64 << 10],
            dev,
            nodes: Nodes::default(),
            usual: None,
            gone: None,
            no_gone: false,
            epoch: epoch(),
        };
        host.watch(&host.listener, LISTENER, 0, 0)?;
        Ok(host)
    }

    /// Notes an event of the packet thread's epoll that has this host's tag.
    pub fn event(&mut self, e: &iopkt_sys::Event) {
        let index = e.token as u32 as usize;
        let generation = (e.token >> 32) as u32 % GENERATIONS;
        match e.token >> 54 & 3 {
            LISTENER if index == WATCH => self.read_gone(),
            LISTENER => self.ready.push(HostEvent::Listener),
            SESSION => {
                if let Some(c) = self.conns.get(index).filter(|c| c.generation == generation) {
                    self.ready.push(HostEvent::Session(c.owner));
                }
            }
            NODE => {
                if let Some(n) = self.nodes.names.get(index).filter(|n| n.generation == generation) {
                    self.ready.push(HostEvent::Node(n.owner));
                }
            }
            _ => {
                let Some(p) = self.ends.get_mut(index).filter(|p| p.generation == generation) else { return };
                if e.write && p.armed && !std::mem::take(&mut p.wanted) {
                    // It was not missed: the program only reads.
                    p.armed = arm(&self.epoll, p, false).is_err();
                }
                let bit = |on, bit| if on { bit } else { 0 };
                let what = bit(e.read, pair::READ)
                    | bit(e.write, pair::WRITE)
                    | bit(e.rdhup, pair::RDHUP)
                    | bit(e.hup, pair::HUP);
                self.ready.push(HostEvent::Pair(p.owner, what));
            }
        }
    }

    /// Names of device nodes go into `dir`, the stack's `/dev`; what an earlier process left there is removed.
    ///
    /// # Errors
    /// What readdir(3) and open(2) say.
    pub fn set_node_dir(&mut self, dir: std::path::PathBuf) -> io::Result<()> {
        self.nodes.set_dir(dir)
    }

    /// Whether something was written for a program since this was last asked.
    pub fn gave(&mut self) -> bool {
        std::mem::take(&mut self.gave)
    }

    /// Descriptors held: sessions and pairs.
    pub fn descriptors(&self) -> (usize, usize) {
        (self.conns.len(), self.ends.len())
    }

    fn watch(&self, fd: &OwnedFd, kind: u64, generation: u32, index: usize) -> io::Result<u64> {
        use epoll::EventFlags as E;
        let token = self.tag | kind << 54 | u64::from(generation) << 32 | index as u64;
        // Room in a pair is told when it was missed: each read of the program makes some.
        let more = match kind {
            SESSION => E::OUT | E::RDHUP,
            PAIR => E::RDHUP,
            _ => E::empty(),
        };
        epoll::add(&self.epoll, fd, epoll::EventData::new_u64(token), E::IN | E::ET | more)?;
        Ok(token)
    }

    /// Room in this pair is to be told from now on: at once if there is some meanwhile.
    fn want_room(&mut self, e: EndId) {
        if let Some(end) = self.ends.get_mut(e.0 as usize) {
            end.wanted = true;
            if !end.armed {
                end.armed = arm(&self.epoll, end, true).is_ok();
            }
        }
    }

    fn next_generation(&mut self) -> u32 {
        self.generation = (self.generation + 1) % GENERATIONS;
        self.generation
    }

    /// A connected pair, ours first, with name and buffers.
    fn make_pair(
        &mut self,
        stream: bool,
        family: PairFamily,
        nonblock: bool,
    ) -> io::Result<(OwnedFd, OwnedFd)> {
        let ty = if stream { SocketType::STREAM } else { SocketType::SEQPACKET };
        let block = if nonblock { SocketFlags::NONBLOCK } else { SocketFlags::empty() };
        let (ours, theirs) = socketpair(AddressFamily::UNIX, ty, SocketFlags::CLOEXEC | block, None)?;
        if !stream {
            // Room for what comes while the program is elsewhere, as large as the kernel gives to anybody.
            if opt::socket_send_buffer_size(&ours)? < BUFFER {
                opt::set_socket_send_buffer_size(&ours, BUFFER / 2)?;
            }
        } else {
            // What the kernel gives to all is the same for all.
            if self.usual.is_none() {
                self.usual = Some(opt::socket_send_buffer_size(&theirs)?);
            }
            if self.usual.is_some_and(|n| n < BUFFER) {
                // The kernel doubles what it is given.
                opt::set_socket_send_buffer_size(&theirs, BUFFER / 2)?;
            }
            // What a program sends with MSG_OOB past its launcher stays in the stream, as RFC 6093 wants it.
            opt::set_socket_oobinline(&ours, true)?;
            give(theirs.as_fd(), &[0]).map_err(|e| io::Error::from_raw_os_error(e.raw()))?;
        }
        self.name(&ours, stream, family)?;
        Ok((ours, theirs))
    }

    /// Gives an end the name that shows at the other one.
    fn name(&mut self, end: &OwnedFd, stream: bool, family: PairFamily) -> io::Result<()> {
        // Somebody may have taken the name of a pair to annoy us: try others.
        for _ in 0..16 {
            self.pairs += 1;
            let name = PairName { instance: self.instance, stream, family, number: self.pairs };
            let (path, len) = name.encode();
            debug_assert!(path.starts_with(NAME_PREFIX));
            match bind(end, &SocketAddrUnix::new_abstract_name(&path[1..len])?) {
                Ok(()) => return Ok(()),
                Err(rustix::io::Errno::ADDRINUSE) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Err(rustix::io::Errno::ADDRINUSE.into())
    }

    /// The watches.
    fn gone(&mut self) -> Result<&mut Gone> {
        if self.gone.is_none() && !self.no_gone {
            self.gone = Gone::new().ok().filter(|g| self.watch(g.fd(), LISTENER, 0, WATCH).is_ok());
            self.no_gone = self.gone.is_none();
        }
        self.gone.as_mut().ok_or(Errno::EOPNOTSUPP)
    }

    fn read_gone(&mut self) {
        let ready = &mut self.ready;
        if let Some(g) = &mut self.gone {
            g.read(|owner| ready.push(HostEvent::Gone(owner)));
        }
    }
}

/// Whether the epoll instance tells of room in a pair.
fn arm(epoll: &OwnedFd, end: &End, on: bool) -> rustix::io::Result<()> {
    use epoll::EventFlags as E;
    let out = if on { E::OUT } else { E::empty() };
    epoll::modify(epoll, &end.fd, epoll::EventData::new_u64(end.token), E::IN | E::ET | E::RDHUP | out)
}

fn pure(e: &io::Error) -> Errno {
    iopkt_sys::errno(e)
}

impl Host for SockHost {
    type Fd = OwnedFd;

    fn events(&mut self, out: &mut Vec<HostEvent>) {
        out.append(&mut self.ready);
    }

    fn accept(&mut self, owner: u32) -> Result<Option<(ConnId, Cred)>> {
        loop {
            let Some(fd) = unix::accept(&self.listener).map_err(|e| pure(&e))? else { return Ok(None) };
            // A program that is dead already has no credentials to show: on to the next.
            let Ok(who) = unix::peer_cred(&fd) else { continue };
            let generation = self.next_generation();
            let index = self.conns.vacant_key();
            self.watch(&fd, SESSION, generation, index).map_err(|e| pure(&e))?;
            self.conns.insert(Conn { fd, owner, generation });
            return Ok(Some((ConnId(index as u32), Cred { uid: who.uid, pid: who.pid })));
        }
    }

    fn recv(&mut self, c: ConnId, buf: &mut [u8]) -> Result<Incoming<OwnedFd>> {
        let conn = self.conns.get(c.0 as usize).ok_or(Errno::EBADF)?;
        let got = unix::recv_fds(&conn.fd, buf, &mut self.fds);
        let fd = if self.fds.is_empty() { None } else { Some(self.fds.swap_remove(0)) };
        self.fds.clear();
        let got = got.map_err(|e| pure(&e))?;
        Ok(Incoming { len: got.len, truncated: got.truncated, fd })
    }

    fn send(&mut self, c: ConnId, head: &[u8], payload: &[u8], fd: Option<&OwnedFd>) -> Result<()> {
        let conn = self.conns.get(c.0 as usize).ok_or(Errno::EBADF)?;
        let fds: [BorrowedFd<'_>; 1];
        let fds: &[BorrowedFd<'_>] = match fd {
            Some(fd) => {
                fds = [fd.as_fd()];
                &fds
            }
            None => &[],
        };
        let data = [IoSlice::new(head), IoSlice::new(payload)];
        unix::send_fds(&conn.fd, &data, fds).map(drop).map_err(|e| pure(&e))
    }

    fn hang_up(&mut self, c: ConnId) {
        self.conns.try_remove(c.0 as usize);
    }

    fn pair(
        &mut self,
        stream: bool,
        family: PairFamily,
        owner: u32,
        nonblock: bool,
    ) -> Result<NewPair<OwnedFd>> {
        let make = |host: &mut SockHost| -> io::Result<NewPair<OwnedFd>> {
            let (fd, client) = host.make_pair(stream, family, nonblock)?;
            let ino = unix::file_id(&client)?.ino;
            let generation = host.next_generation();
            let index = host.ends.vacant_key();
            let token = host.watch(&fd, PAIR, generation, index)?;
            host.ends.insert(End::new(fd, owner, stream, generation, token));
            Ok(NewPair { end: EndId(index as u32), ino, client })
        };
        make(self).map_err(|e| pure(&e))
    }

    fn close(&mut self, e: EndId, reset: bool) {
        let Some(end) = self.ends.try_remove(e.0 as usize) else { return };
        if let (Some(wd), Some(g)) = (end.watch, &mut self.gone) {
            g.forget(wd);
        }
        if !reset {
            end.empty(&mut self.scratch);
        }
    }

    fn deafen(&mut self, e: EndId) {
        if let Some(end) = self.ends.get(e.0 as usize) {
            let _ = shutdown(&end.fd, Shutdown::Read);
        }
    }

    fn shutdown(&mut self, e: EndId) {
        if let Some(end) = self.ends.get(e.0 as usize) {
            // Fails only when the program is gone, which its hang-up tells.
            let _ = shutdown(&end.fd, Shutdown::Write);
        }
    }

    fn hung_up(&mut self, ends: &[EndId]) -> Vec<usize> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let fd = |e: &EndId| self.ends.get(e.0 as usize).map(|end| end.fd.as_fd());
        let (places, mut fds): (Vec<usize>, Vec<PollFd<'_>>) = ends
            .iter()
            .enumerate()
            .filter_map(|(i, e)| fd(e).map(|fd| (i, PollFd::from_borrowed_fd(fd, PollFlags::empty()))))
            .unzip();
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        if poll(&mut fds, Some(&now)).is_err() {
            return Vec::new();
        }
        let hup = |f: &PollFd<'_>| f.revents().contains(PollFlags::HUP);
        places.into_iter().zip(&fds).filter(|(_, f)| hup(f)).map(|(i, _)| i).collect()
    }

    fn left_unread(&mut self, e: EndId) -> bool {
        let Some(end) = self.ends.get(e.0 as usize) else { return false };
        matches!(opt::socket_error(&end.fd), Ok(Err(rustix::io::Errno::CONNRESET)))
    }

    fn read(&mut self, e: EndId, out: &mut [u8]) -> Result<(usize, bool)> {
        let end = self.ends.get_mut(e.0 as usize).ok_or(Errno::EBADF)?;
        let r = end.read(out);
        if end.seen > 0 {
            self.looked.push(e.0);
        }
        r
    }

    fn settle(&mut self) -> bool {
        let before = self.ready.len();
        for e in self.looked.drain(..) {
            // One that was closed meanwhile may have a successor, which is asked in vain.
            let Some(end) = self.ends.get_mut(e as usize).filter(|end| end.seen > 0) else { continue };
            // An error shows again at the next read.
            if end.settle() != Ok(false) {
                self.ready.push(HostEvent::Pair(end.owner, pair::READ));
            }
        }
        self.ready.len() > before
    }

    fn pending(&mut self, e: EndId) -> usize {
        self.ends.get(e.0 as usize).map_or(0, End::pending)
    }

    fn write(&mut self, e: EndId, data: &[&[u8]]) -> Result<usize> {
        let r = self.ends.get(e.0 as usize).ok_or(Errno::EBADF)?.write(data);
        self.gave = true;
        if r == Err(Errno::EAGAIN) {
            self.want_room(e);
        }
        r
    }

    fn recv_msg(&mut self, e: EndId, out: &mut [u8]) -> Result<Option<usize>> {
        self.ends.get(e.0 as usize).ok_or(Errno::EBADF)?.message(out)
    }

    fn recv_msgs(&mut self, e: EndId, out: &mut [u8], slot: usize, lens: &mut Vec<usize>) -> Result<bool> {
        self.ends.get(e.0 as usize).ok_or(Errno::EBADF)?.messages(out, slot, lens)
    }

    fn send_msgs(&mut self, e: EndId, msgs: &[[&[u8]; 2]]) -> Result<usize> {
        let end = self.ends.get(e.0 as usize).ok_or(Errno::EBADF)?;
        let r = mmsg::send_many(&end.fd, msgs).map_err(|e| pure(&e));
        self.gave = true;
        if r.as_ref().map_or_else(|e| *e == Errno::EAGAIN, |n| *n < msgs.len()) {
            self.want_room(e);
        }
        r
    }

    fn send_msg(&mut self, e: EndId, head: &[u8], data: &[u8]) -> Result<()> {
        let end = self.ends.get(e.0 as usize).ok_or(Errno::EBADF)?;
        let r = end.send(&[IoSlice::new(head), IoSlice::new(data)]).map(drop);
        if r == Err(Errno::EAGAIN) {
            self.want_room(e);
        }
        r
    }

    fn all_read(&mut self, e: EndId) -> bool {
        let Some(end) = self.ends.get(e.0 as usize) else { return true };
        let all = sockopt::unread_by_peer(&end.fd).is_ok_and(|n| n == 0);
        if !all {
            self.want_room(e);
        }
        all
    }

    fn block(&mut self, e: EndId, client: &OwnedFd) -> Result<()> {
        let end = self.ends.get_mut(e.0 as usize).ok_or(Errno::EBADF)?;
        let mut want = opt::socket_send_buffer_size(client).unwrap_or(BUFFER) / 4 + 4096;
        while want > 0 {
            let n = give(client.as_fd(), &self.scratch[..want.min(self.scratch.len())])?;
            end.filling += n;
            want -= n;
        }
        // The last byte stays behind when the rest is read: alone, it holds no large packet.
        end.filling += give(client.as_fd(), &[0]).unwrap_or(0);
        Ok(())
    }

    fn unblock(&mut self, e: EndId) {
        if let Some(end) = self.ends.get_mut(e.0 as usize) {
            let _ = end.drop_filling(&mut self.scratch);
        }
    }

    fn watch_program(&mut self, e: EndId, client: &OwnedFd) -> Result<()> {
        let end = self.ends.get(e.0 as usize).ok_or(Errno::EBADF)?;
        if end.watch.is_some() {
            return Ok(());
        }
        let owner = end.owner;
        let wd = self.gone()?.watch(client, owner)?;
        if let Some(end) = self.ends.get_mut(e.0 as usize) {
            end.watch = Some(wd);
        }
        // EINVAL: it has one since an earlier attempt.
        match self.name(client, true, PairFamily::Inet) {
            Err(e) if e.raw_os_error() != Some(rustix::io::Errno::INVAL.raw_os_error()) => Err(pure(&e)),
            _ => Ok(()),
        }
    }

    fn give_away(&mut self, e: EndId, owner: u32, nonblock: bool) -> Result<NewPair<OwnedFd>> {
        let end = self.ends.get_mut(e.0 as usize).ok_or(Errno::EBADF)?;
        if end.watch.is_none() || !end.drop_filling(&mut self.scratch)? {
            return Err(Errno::EAGAIN);
        }
        let copy = end.fd.try_clone().map_err(|e| pure(&e))?;
        let ino = unix::file_id(&copy).map_err(|e| pure(&e))?.ino;
        let mode = rustix::fs::fcntl_getfl(&copy).map_err(errno)?;
        let wanted = if nonblock { mode | OFlags::NONBLOCK } else { mode - OFlags::NONBLOCK };
        self.gone()?.watch(&copy, owner)?;
        let Some(mut end) = self.ends.try_remove(e.0 as usize) else { return Err(Errno::EBADF) };
        // Both programs write into buffers of one size. Neither of these can fail for a socket of our own.
        let _ = opt::set_socket_send_buffer_size(&copy, BUFFER / 2);
        let _ = rustix::fs::fcntl_setfl(&copy, wanted);
        let _ = epoll::delete(&self.epoll, &end.fd);
        end.take_delivered();
        Ok(NewPair { end: EndId::AWAY, ino, client: copy })
    }

    fn look_for_gone(&mut self) {
        self.read_gone();
    }

    fn client_error(&mut self, fd: &OwnedFd) -> Option<Errno> {
        opt::socket_error(fd).ok()?.err().map(errno)
    }

    fn identify(&self, fd: &OwnedFd) -> Option<u64> {
        unix::file_id(fd).ok().filter(|id| id.dev == self.dev).map(|id| id.ino)
    }

    fn client_recv(&mut self, fd: &OwnedFd, out: &mut [u8], peek: bool) -> Result<Option<usize>> {
        let flags = if peek { RecvFlags::PEEK } else { RecvFlags::empty() };
        next_message(fd.as_fd(), out, flags)
    }

    fn client_pending(&mut self, fd: &OwnedFd) -> usize {
        readable(fd)
    }

    fn client_shutdown(&mut self, fd: &OwnedFd, how: u8) {
        let how = match how {
            0 => Shutdown::Read,
            1 => Shutdown::Write,
            _ => Shutdown::Both,
        };
        let _ = shutdown(fd, how);
    }

    fn client_option(&mut self, fd: &OwnedFd, name: i32, value: &[u8]) -> Result<()> {
        sockopt::set_raw(fd, iopkt_sockproto::linux::SOL_SOCKET, name, value).map_err(|e| pure(&e))
    }

    fn write_urgent(&mut self, e: EndId, byte: u8) -> Result<usize> {
        let end = self.ends.get(e.0 as usize).ok_or(Errno::EBADF)?;
        end.write_urgent(byte)
    }

    fn client_at_mark(&mut self, fd: &OwnedFd) -> bool {
        sockopt::at_mark(fd)
    }

    fn wall(&self, at: Instant) -> u64 {
        (i128::from(at.as_nanos()) + self.epoch).clamp(0, u64::MAX.into()) as u64
    }

    fn text(&mut self, name: &str, text: &[u8]) -> Result<OwnedFd> {
        iopkt_sys::shared::text(name, text).map_err(|e| pure(&e))
    }

    fn ring_new(&mut self, len: usize) -> Result<RingId> {
        // A clock that was set while nobody captured is noticed here.
        self.epoch = epoch();
        self.nodes.ring(len).map_err(|e| pure(&e))
    }

    fn ring_fd(&mut self, r: RingId) -> Result<OwnedFd> {
        let s = self.nodes.shared(r).ok_or(Errno::EBADF)?;
        s.fd().try_clone_to_owned().map_err(|e| pure(&e))
    }

    fn ring_write(&mut self, r: RingId, at: usize, bytes: &[u8]) {
        if let Some(s) = self.nodes.shared(r) {
            s.write(at, bytes);
        }
    }

    fn ring_load(&mut self, r: RingId, at: usize) -> u32 {
        self.nodes.shared(r).map_or(0, |s| s.load(at))
    }

    fn ring_store(&mut self, r: RingId, at: usize, v: u32) {
        if let Some(s) = self.nodes.shared(r) {
            s.store(at, v);
        }
    }

    fn ring_free(&mut self, r: RingId) {
        self.nodes.free(r);
    }

    fn node_listen(&mut self, name: &str, owner: u32) -> Result<()> {
        let generation = self.next_generation();
        let n = self.nodes.listen(name, owner, generation).map_err(|e| pure(&e))?;
        let index = self.nodes.names.vacant_key();
        self.watch(&n.fd, NODE, generation, index).map_err(|e| pure(&e))?;
        self.nodes.names.insert(n);
        Ok(())
    }

    fn node_unlisten(&mut self, owner: u32) {
        self.nodes.names.retain(|_, n| n.owner != owner);
    }

    fn node_accept(&mut self, owner: u32, pair_owner: u32) -> Result<Option<(EndId, Cred)>> {
        let Some((_, n)) = self.nodes.names.iter().find(|(_, n)| n.owner == owner) else { return Ok(None) };
        loop {
            let Some(fd) = unix::accept(&n.fd).map_err(|e| pure(&e))? else { return Ok(None) };
            // A program that is dead already has no credentials to show: on to the next.
            let Ok(who) = unix::peer_cred(&fd) else { continue };
            let generation = self.next_generation();
            let index = self.ends.vacant_key();
            let token = self.watch(&fd, PAIR, generation, index).map_err(|e| pure(&e))?;
            self.ends.insert(End::new(fd, pair_owner, false, generation, token));
            return Ok(Some((EndId(index as u32), Cred { uid: who.uid, pid: who.pid })));
        }
    }
}

fn epoch() -> i128 {
    use iopkt_sys::clock;
    clock::realtime().as_nanos() as i128 - i128::from(clock::monotonic().as_nanos())
}
