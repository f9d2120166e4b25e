//! What the server needs of an operating system. `iopkt-sockhost` has the real one, [`crate::mem`] one in memory for
//! tests and the simulator.

use alloc::vec::Vec;
use iopkt_base::{Errno, Instant, Result};
use iopkt_sockproto::PairFamily;

/// Something became ready. Edges: told once per change, so the server looks until there is nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostEvent {
    /// A program wants a session.
    Listener,
    /// Requests wait on a session, or there is room for replies again, or the program is gone.
    Session(u32),
    /// Something about the server's end of a pair; [`pair`] bits.
    Pair(u32, u8),
    /// A program connected to a node ([`Host::node_listen`]).
    Node(u32),
    /// A program's end that is watched ([`Host::watch_program`], [`Host::give_away`]) was closed everywhere.
    Gone(u32),
}

/// Bits of [`HostEvent::Pair`]: they are hints; a hint too many does no harm.
pub mod pair {
    /// There may be something to read.
    pub const READ: u8 = 1;
    /// There may be room to write.
    pub const WRITE: u8 = 2;
    /// The program will write no more (shutdown(2), close(2), or dead).
    pub const RDHUP: u8 = 4;
    /// Both directions are shut: by the program or by both sides together.
    pub const HUP: u8 = 8;
}

/// Who is at the other end of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cred {
    /// Effective user id when it connected.
    pub uid: u32,
    /// Process id when it connected.
    pub pid: u32,
}

/// A fresh pair.
#[derive(Debug)]
pub struct NewPair<F> {
    /// The server's end.
    pub end: EndId,
    /// Identity of the program's end: what [`Host::identify`] says of every copy of it.
    pub ino: u64,
    /// The program's end, to be sent to it.
    pub client: F,
}

/// The server's end of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EndId(pub u32);

impl EndId {
    /// Not the server's any more ([`Host::give_away`]).
    pub const AWAY: EndId = EndId(u32::MAX);
}

/// Memory that is shared with a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RingId(pub u32);

/// A session's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnId(pub u32);

/// A request as it came.
#[derive(Debug)]
pub struct Incoming<F> {
    /// Length of the message in the buffer; 0: the program is gone.
    pub len: usize,
    /// The message did not fit into the buffer.
    pub truncated: bool,
    /// The descriptor that came with it. More than one: the first.
    pub fd: Option<F>,
}

/// Effects on the operating system. Nothing here blocks; EAGAIN means "an event will tell".
///
/// A stream's end always holds one byte that the program has written and that was read already (at first one
/// that the host puts there itself): the kernel then reports ECONNRESET to the program when the server's end is closed, be it
/// on purpose (`reset`) or because the process died. [`Host::read`] never shows it.
pub trait Host {
    /// A descriptor of a program: the copy that came with a request, or one on its way to it. Dropped when
    /// the request is answered: as long as one lives here, the program's death is not seen.
    type Fd;

    /// Moves what became ready since the last call into `out`.
    fn events(&mut self, out: &mut Vec<HostEvent>);

    /// Accepts a session whose events carry `owner`. `Ok(None)`: nobody waits.
    ///
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM: try again when something was closed.
    fn accept(&mut self, owner: u32) -> Result<Option<(ConnId, Cred)>>;

    /// Takes a request.
    ///
    /// # Errors
    /// EAGAIN; anything else ends the session.
    fn recv(&mut self, c: ConnId, buf: &mut [u8]) -> Result<Incoming<Self::Fd>>;

    /// Sends a reply: header, payload, perhaps a descriptor.
    ///
    /// # Errors
    /// EAGAIN when the program does not read its replies; anything else ends the session.
    fn send(&mut self, c: ConnId, head: &[u8], payload: &[u8], fd: Option<&Self::Fd>) -> Result<()>;

    /// Ends a session.
    fn hang_up(&mut self, c: ConnId);

    /// Makes a pair, of bytes or of messages (of `family`). Its events carry `owner`. The program's end is
    /// non-blocking if asked.
    ///
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM.
    fn pair(
        &mut self,
        stream: bool,
        family: PairFamily,
        owner: u32,
        nonblock: bool,
    ) -> Result<NewPair<Self::Fd>>;

    /// Closes the server's end. `reset`: the program is to see ECONNRESET; else everything in its queue, then the
    /// end of file.
    fn close(&mut self, e: EndId, reset: bool);

    /// Ends the server's writing half: the program reads everything, then the end of file.
    fn shutdown(&mut self, e: EndId);

    /// Ends the server's reading half: the program's writes fail (EPIPE), also one that waits; its queue stays to be read.
    fn deafen(&mut self, e: EndId);

    /// Prepares a stream's pair for [`Host::give_away`]: from now on [`HostEvent::Gone`] tells (with the pair's owner) when the
    /// program's end is closed everywhere, whoever has the other, and its name is seen at the other end.
    ///
    /// # Errors
    /// EOPNOTSUPP when this host cannot; what bind(2) and inotify_add_watch(2) say.
    fn watch_program(&mut self, e: EndId, client: &Self::Fd) -> Result<()> {
        let _ = (e, client);
        Err(Errno::EOPNOTSUPP)
    }

    /// Hands the server's own end out, to be a program's: no event but [`HostEvent::Gone`] with `owner` comes of it any more, and
    /// nothing more can be asked about it. What the first program wrote is in it.
    ///
    /// # Errors
    /// EOPNOTSUPP, or what stands against it now; nothing has changed then.
    fn give_away(&mut self, e: EndId, owner: u32, nonblock: bool) -> Result<NewPair<Self::Fd>> {
        let _ = (e, owner, nonblock);
        Err(Errno::EOPNOTSUPP)
    }

    /// Looks for [`HostEvent::Gone`] without waiting for the next event: [`Host::events`] has them then.
    fn look_for_gone(&mut self) {}

    /// The pending error of a program's end itself (SO_ERROR), which is taken by asking.
    fn client_error(&mut self, fd: &Self::Fd) -> Option<Errno> {
        let _ = fd;
        None
    }

    /// Which of these ends (by their places in the list) the programs have closed everywhere, also when no event has told yet.
    fn hung_up(&mut self, ends: &[EndId]) -> Vec<usize>;

    /// Whether the program closed its end with bytes in it that it had not read. Asked once, after a hang-up.
    fn left_unread(&mut self, e: EndId) -> bool;

    /// Reads bytes of a stream; 0 when there are none now. Also whether there may be more at once: if not, an event tells of
    /// more.
    ///
    /// # Errors
    /// What recv(2) says; the pair is of no more use.
    fn read(&mut self, e: EndId, out: &mut [u8]) -> Result<(usize, bool)>;

    /// Does what reading has left to be done when the turn's output is on its way. True: [`Host::events`] has something new.
    fn settle(&mut self) -> bool {
        false
    }

    /// Bytes (of the next message) that wait to be read.
    fn pending(&mut self, e: EndId) -> usize;

    /// Writes bytes to a stream: as many as fit.
    ///
    /// # Errors
    /// EAGAIN when none does, EPIPE when the program reads no more.
    fn write(&mut self, e: EndId, data: &[&[u8]]) -> Result<usize>;

    /// Writes one byte to a stream, marked as urgent where the host can do that.
    ///
    /// # Errors
    /// EAGAIN when there is no room, EPIPE when the program reads no more.
    fn write_urgent(&mut self, e: EndId, byte: u8) -> Result<usize> {
        self.write(e, &[&[byte]])
    }

    /// Whether a program's stream is at the urgent mark (SIOCATMARK).
    fn client_at_mark(&mut self, fd: &Self::Fd) -> bool {
        let _ = fd;
        false
    }

    /// Takes a message of the program; `None` when there is none now.
    ///
    /// # Errors
    /// What recv(2) says; the pair is of no more use.
    fn recv_msg(&mut self, e: EndId, out: &mut [u8]) -> Result<Option<usize>>;

    /// Takes messages of the program, each into a slot of `slot` bytes of `out`, as many as have one; their lengths are appended to `lens`.
    /// Whether there may be more at once.
    ///
    /// # Errors
    /// What recv(2) says; the pair is of no more use.
    fn recv_msgs(&mut self, e: EndId, out: &mut [u8], slot: usize, lens: &mut Vec<usize>) -> Result<bool> {
        for part in out.chunks_exact_mut(slot) {
            match self.recv_msg(e, part) {
                Ok(Some(n)) => lens.push(n),
                Ok(None) => return Ok(false),
                Err(e) if lens.is_empty() => return Err(e),
                Err(_) => break,
            }
        }
        Ok(true)
    }

    /// Puts messages of two parts each into the program's queue, in order; how many went in, at least one.
    ///
    /// # Errors
    /// What stands against the first: EAGAIN, EPIPE, EMSGSIZE.
    fn send_msgs(&mut self, e: EndId, msgs: &[[&[u8]; 2]]) -> Result<usize> {
        for (i, [head, data]) in msgs.iter().enumerate() {
            match self.send_msg(e, head, data) {
                Ok(()) => {}
                Err(e) if i == 0 => return Err(e),
                Err(_) => return Ok(i),
            }
        }
        Ok(msgs.len())
    }

    /// Puts a message into the program's queue.
    ///
    /// # Errors
    /// EAGAIN, EPIPE, EMSGSIZE.
    fn send_msg(&mut self, e: EndId, head: &[u8], data: &[u8]) -> Result<()>;

    /// Whether everything that was written to the program was read by it.
    fn all_read(&mut self, e: EndId) -> bool;

    /// Makes the program's end not writable until [`Host::unblock`] (while a connect is under way).
    ///
    /// # Errors
    /// What send(2) says.
    fn block(&mut self, e: EndId, client: &Self::Fd) -> Result<()>;

    /// Undoes [`Host::block`]: the program sees POLLOUT now, as a fresh edge. What the program wrote meanwhile stays.
    fn unblock(&mut self, e: EndId);

    /// Identity of a descriptor that came with a request, `None` when it is no socket.
    fn identify(&self, fd: &Self::Fd) -> Option<u64>;

    /// Takes the next message out of a program's own queue, or only looks at it: its length and bytes. For a
    /// stream: one token of a listener.
    fn client_recv(&mut self, fd: &Self::Fd, out: &mut [u8], peek: bool) -> Result<Option<usize>>;

    /// Bytes (of the next message) in the program's own queue.
    fn client_pending(&mut self, fd: &Self::Fd) -> usize;

    /// Shuts the program's end down: 0 read, 1 write, 2 both.
    fn client_shutdown(&mut self, fd: &Self::Fd, how: u8);

    /// Sets an option of the program's end itself: SO_RCVTIMEO, SO_SNDTIMEO, SO_RCVLOWAT, SO_OOBINLINE.
    ///
    /// # Errors
    /// EINVAL, EDOM.
    fn client_option(&mut self, fd: &Self::Fd, name: i32, value: &[u8]) -> Result<()>;

    /// The wall clock's time at a time of the stack's clock, nanoseconds since 1970 (UTC).
    fn wall(&self, at: Instant) -> u64 {
        at.as_nanos()
    }

    /// A file with this text, of which the descriptor is at the beginning; `name` is for people.
    ///
    /// # Errors
    /// EOPNOTSUPP when this host has no files, ENOMEM, EMFILE.
    fn text(&mut self, name: &str, text: &[u8]) -> Result<Self::Fd> {
        let _ = (name, text);
        Err(Errno::EOPNOTSUPP)
    }

    /// Memory of `len` bytes, all 0, that can be given to a program. A host that has none says EOPNOTSUPP, and is asked for
    /// nothing else of it.
    ///
    /// # Errors
    /// ENOMEM, EMFILE, EOPNOTSUPP.
    fn ring_new(&mut self, len: usize) -> Result<RingId> {
        let _ = len;
        Err(Errno::EOPNOTSUPP)
    }

    /// A descriptor of it for the program.
    ///
    /// # Errors
    /// EMFILE, EBADF.
    fn ring_fd(&mut self, r: RingId) -> Result<Self::Fd> {
        let _ = r;
        Err(Errno::EBADF)
    }

    /// Writes bytes; what would lie outside is left out.
    fn ring_write(&mut self, r: RingId, at: usize, bytes: &[u8]) {
        let _ = (r, at, bytes);
    }

    /// Reads a word (at a multiple of 4) before everything that is read or written later.
    fn ring_load(&mut self, r: RingId, at: usize) -> u32 {
        let _ = (r, at);
        0
    }

    /// Writes a word (at a multiple of 4) after everything that was written before.
    fn ring_store(&mut self, r: RingId, at: usize, v: u32) {
        let _ = (r, at, v);
    }

    /// Lets go of it; a program that has it mapped keeps it.
    fn ring_free(&mut self, r: RingId) {
        let _ = r;
    }

    /// Makes the name `/dev/<name>` in the stack's name space, to which programs connect; events carry `owner`.
    ///
    /// # Errors
    /// What bind(2) says; EOPNOTSUPP when this host has no names.
    fn node_listen(&mut self, name: &str, owner: u32) -> Result<()> {
        let _ = (name, owner);
        Err(Errno::EOPNOTSUPP)
    }

    /// Takes such a name away.
    fn node_unlisten(&mut self, owner: u32) {
        let _ = owner;
    }

    /// A program that connected: the server's end of a pair of messages whose events carry `pair_owner`.
    ///
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM.
    fn node_accept(&mut self, owner: u32, pair_owner: u32) -> Result<Option<(EndId, Cred)>> {
        let _ = (owner, pair_owner);
        Ok(None)
    }
}

/// EAGAIN as a plain "not now".
pub(crate) fn not_now<T>(r: Result<T>) -> Result<Option<T>> {
    match r {
        Ok(v) => Ok(Some(v)),
        Err(Errno::EAGAIN) => Ok(None),
        Err(e) => Err(e),
    }
}
