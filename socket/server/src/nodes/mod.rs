//! Descriptors that carry frames instead of a socket's data: packet sockets, BPF devices, the program's end of TUN and
//! TAP interfaces.
//!
//! Like a socket each is one end of a pair of messages; the other end is here, in a [`Node`]. What comes from the program is
//! looked at with everything else in a turn ([`Server::nodes_up`]); what the stack has for programs goes out at the end
//! of it ([`Server::nodes_down`]), when the shard has done what it had to do, so that a tap sees a frame and hands it on in one
//! turn. There are few of them, and none on most stacks: they are walked, not indexed.
//!
//! | File | What |
//! |---|---|
//! | `packet` | packet(7): frames one by one, with `struct sockaddr_ll` |
//! | `ring` | packet(7): PACKET_RX_RING, TPACKET_V2 and TPACKET_V3 |
//! | `bpf` | bpf(4) |
//! | `tun` | tun(4), tap(4) |

mod bpf;
mod packet;
mod ring;
mod tun;

use crate::Host;
use crate::host::{Cred, EndId, pair};
use crate::server::Server;
use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::vec::Vec;
use hashbrown::HashMap;
use iopkt_base::{Errno, Instant, Result};
use iopkt_sockproto::linux::*;
use iopkt_sockproto::{DgramHdr, Op, PairFamily, Rep, Req, df, proc_net, repf, sockf};
use iopkt_stack::Shard;
use iopkt_stack::tap::TapConfig;
use slab::Slab;

/// Marks a node's number in the owner of its pair.
pub(crate) const NODE: u32 = 1 << 31;

/// Messages of one program in a turn.
const BURST: usize = 128;
/// Most nodes.
const MAX_NODES: usize = 512;

/// What a node is.
enum Kind {
    Packet(Box<packet::Packet>),
    Bpf(Box<bpf::Device>),
    Tun(tun::Program),
}

/// What all of them have.
struct Base {
    end: EndId,
    /// Inode number of the program's end; 0: the program connected to the node by its name.
    ino: u64,
    /// The program's side strips headers: errors may be told through the pair.
    strips: bool,
    readable: bool,
    writable: bool,
    hup: bool,
    /// SO_ERROR.
    err: Option<Errno>,
    /// The program was told that its interface is gone.
    told_gone: bool,
}

struct Node {
    base: Base,
    kind: Kind,
}

/// A name in the file system at which programs may connect.
struct Listening {
    ifindex: u32,
    owner: u32,
}

/// All nodes of a server.
pub(crate) struct Nodes {
    list: Slab<Node>,
    by_ino: HashMap<u64, u32>,
    /// [`iopkt_stack::Net::nodes_changed`] when it was last looked at.
    seen: u64,
    listening: Vec<Listening>,
    next_owner: u32,
    /// Listeners somebody has connected to.
    knocked: Vec<u32>,
    /// When [`Server::nodes_down`] wants to be called without other cause.
    deadline: Instant,
}

impl Nodes {
    pub fn new() -> Nodes {
        Nodes {
            list: Slab::new(),
            by_ino: HashMap::new(),
            seen: 0,
            listening: Vec::new(),
            next_owner: 0,
            knocked: Vec::new(),
            deadline: Instant::FAR,
        }
    }

    /// What an event of a pair says.
    pub fn heard(&mut self, n: u32, what: u8) {
        let Some(n) = self.list.get_mut(n as usize) else { return };
        let b = &mut n.base;
        b.readable |= what & (pair::READ | pair::RDHUP | pair::HUP) != 0;
        b.writable |= what & pair::WRITE != 0;
        b.hup |= what & pair::HUP != 0;
    }

    /// Somebody connected to a name.
    pub fn knocked(&mut self, owner: u32) {
        self.knocked.push(owner);
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }
}

impl<H: Host> Server<H> {
    /// When [`Server::turn`] wants to be called without other cause: buffers whose time is over.
    pub fn deadline(&self) -> Instant {
        self.nodes.deadline
    }

    fn privileged(&self, cred: Cred) -> bool {
        cred.uid == 0 || cred.uid == self.cfg.uid
    }

    /// A pair for a node that `make` makes.
    fn make_node(
        &mut self,
        strips: bool,
        nonblock: bool,
        make: impl FnOnce(&mut Self) -> Result<Kind>,
    ) -> Result<H::Fd> {
        if self.nodes.list.len() >= MAX_NODES {
            return Err(Errno::ENFILE);
        }
        let n = self.nodes.list.vacant_key() as u32;
        let p = self.host.pair(false, PairFamily::Inet, NODE | n, nonblock)?;
        let kind = match make(self) {
            Ok(k) => k,
            Err(e) => {
                self.host.close(p.end, false);
                return Err(e);
            }
        };
        self.insert_node(p.end, p.ino, strips, kind);
        self.tombs.forget(p.ino);
        self.nodes.by_ino.insert(p.ino, n);
        Ok(p.client)
    }

    fn insert_node(&mut self, end: EndId, ino: u64, strips: bool, kind: Kind) {
        let base = Base {
            end,
            ino,
            strips,
            readable: true,
            writable: true,
            hup: false,
            err: None,
            told_gone: false,
        };
        self.nodes.list.insert(Node { base, kind });
    }

    /// socket(2) with AF_PACKET.
    pub(crate) fn make_packet(&mut self, shard: &mut Shard, cred: Cred, req: &Req) -> Result<H::Fd> {
        if !self.privileged(cred) {
            return Err(Errno::EPERM);
        }
        let raw = match req.args[1] & SOCK_TYPE_MASK {
            SOCK_RAW => true,
            SOCK_DGRAM => false,
            _ => return Err(Errno::ESOCKTNOSUPPORT),
        };
        let protocol = u16::from_be(req.args[2] as u16);
        let nonblock = req.args[1] & SOCK_NONBLOCK != 0;
        self.make_node(req.args[3] & sockf::STRIPS != 0, nonblock, |_| {
            let p = packet::Packet::new(shard, raw, protocol)?;
            Ok(Kind::Packet(Box::new(p)))
        })
    }

    /// open(2) of a device node, or of a file of `/proc/net`.
    pub(crate) fn open(&mut self, shard: &mut Shard, cred: Cred, req: &Req, name: &[u8]) -> Result<H::Fd> {
        let file = core::str::from_utf8(name).ok().and_then(proc_net);
        match file.and_then(|n| Some((n, self.proc_net(shard, n)?))) {
            Some((n, text)) => self.host.text(n, text.as_bytes()),
            None => self.open_node(shard, cred, req, name),
        }
    }

    /// open(2) of a device node.
    fn open_node(&mut self, shard: &mut Shard, cred: Cred, req: &Req, name: &[u8]) -> Result<H::Fd> {
        if !self.privileged(cred) {
            return Err(Errno::EACCES);
        }
        let name =
            core::str::from_utf8(name).ok().and_then(|n| n.strip_prefix("/dev/")).ok_or(Errno::ENXIO)?;
        let nonblock = req.args[0] & SOCK_NONBLOCK != 0;
        let strips = req.args[3] & sockf::STRIPS != 0;
        if name.strip_prefix("bpf").is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit())) {
            return self.make_node(strips, nonblock, |_| {
                let tap = shard.tap_open(TapConfig::default())?;
                Ok(Kind::Bpf(Box::new(bpf::Device::new(tap, nonblock))))
            });
        }
        let own = name == "tap";
        let ifindex = if own { tun::free_tap(shard)? } else { shard.net.ifindex_of(name) };
        let made = self.make_node(strips, nonblock, |me| {
            let mut p = me.claim(shard, ifindex)?;
            p.own = own;
            Ok(Kind::Tun(p))
        });
        if own && made.is_err() {
            let _ = shard.detach(ifindex);
        }
        made
    }

    /// The node of an interface, if nobody has it open.
    fn claim(&mut self, shard: &mut Shard, ifindex: u32) -> Result<tun::Program> {
        let i = shard.net.iface(ifindex).ok_or(Errno::ENXIO)?;
        let node = i.node.ok_or(Errno::ENXIO)?;
        let taken = |n: &Node| matches!(&n.kind, Kind::Tun(p) if p.ifindex == ifindex);
        if self.nodes.list.iter().any(|(_, n)| taken(n)) {
            return Err(Errno::EBUSY);
        }
        shard.node_opened(ifindex, true);
        Ok(tun::Program::new(ifindex, node))
    }

    /// A request about a node; false: the descriptor is none.
    pub(crate) fn node_request(
        &mut self,
        shard: &mut Shard,
        k: u32,
        req: &Req,
        payload: &[u8],
        fd: &H::Fd,
        ino: u64,
    ) -> bool {
        let Some(&n) = self.nodes.by_ino.get(&ino) else { return false };
        if let Err(e) = self.about_node(shard, k, req, payload, fd, n) {
            self.reply(k, Rep::err(req, e), &[], None);
        }
        true
    }

    fn about_node(
        &mut self,
        shard: &mut Shard,
        k: u32,
        req: &Req,
        payload: &[u8],
        fd: &H::Fd,
        n: u32,
    ) -> Result<()> {
        if req.op == Op::Send {
            // What was written before goes first.
            self.node_up(shard, n);
        }
        let key = self.cfg.key;
        let Server { nodes, host, .. } = self;
        let node = nodes.list.get_mut(n as usize).ok_or(Errno::EBADF)?;
        let mut rep = Rep::ok(req);
        let mut out = Vec::new();
        let mut pass = None;
        match (req.op, &mut node.kind) {
            (Op::Bind, Kind::Packet(p)) => p.bind(shard, req.args[0] as u32, req.args[1] as u16)?,
            (Op::Getsockname, Kind::Packet(p)) => out.extend(p.name(shard)),
            (Op::Getpeername | Op::Connect | Op::Listen | Op::Accept, Kind::Packet(_)) => {
                return Err(Errno::EOPNOTSUPP);
            }
            (Op::Setsockopt, Kind::Packet(p)) => p.set(shard, host, req.args[0], req.args[1], payload)?,
            (Op::Getsockopt, Kind::Packet(p)) => {
                if (req.args[0], req.args[1]) == (SOL_SOCKET, SO_ERROR) {
                    out.extend(node.base.err.take().map_or(0, |e| e.raw()).to_ne_bytes());
                } else {
                    out = p.get(shard, req.args[0], req.args[1])?;
                }
                out.truncate(usize::try_from(req.args[2]).map_err(|_| Errno::EINVAL)?);
            }
            (Op::Ring, Kind::Packet(p)) => {
                let ring = p.ring.as_mut().ok_or(Errno::EINVAL)?;
                if req.args[0] == 0 {
                    (rep.val, pass) = (ring.shape(), Some(host.ring_fd(ring.id)?));
                } else if ring.waits(host) {
                    node.base.token(host);
                }
            }
            (Op::Ioctl, Kind::Packet(_)) => {
                out = crate::ioctl::interface(shard, req.args[0] as u32, payload)?;
            }
            (Op::Ioctl, Kind::Bpf(d)) => {
                out = d.ioctl(shard, host, &mut node.base, fd, req.args[0] as u32, payload)?;
            }
            (Op::Ioctl, Kind::Tun(p)) => out = p.ioctl(shard, req.args[0] as u32, payload)?,
            (Op::Send, kind) => {
                if req.args[0] & MSG_OOB != 0 {
                    return Err(Errno::EOPNOTSUPP);
                }
                let key = if req.args[1] != 0 { key } else { !key };
                rep.val[0] = send(kind, shard, payload, key)? as i32;
            }
            (Op::Info, kind) => {
                rep.val = match kind {
                    Kind::Packet(p) => p.numbers(),
                    _ => [0; 3],
                };
                rep.flags |= repf::CONNECTED;
            }
            (Op::Shutdown, _) => return Err(Errno::ENOTCONN),
            (Op::Bind | Op::Getsockname | Op::Getsockopt | Op::Setsockopt, _) => return Err(Errno::ENOTSOCK),
            _ => return Err(Errno::EOPNOTSUPP),
        }
        self.reply(k, rep, &out, pass);
        Ok(())
    }

    /// What programs have written, and who is gone.
    pub(crate) fn nodes_up(&mut self, shard: &mut Shard) -> bool {
        self.sync_names(shard);
        if self.nodes.list.is_empty() {
            return false;
        }
        let mut more = false;
        let all: Vec<u32> = self.nodes.list.iter().map(|(n, _)| n as u32).collect();
        for n in all {
            more |= self.node_up(shard, n);
            if self.nodes.list.get(n as usize).is_some_and(|x| x.base.hup && !x.base.readable) {
                self.end_node(shard, n);
            }
        }
        more
    }

    fn node_up(&mut self, shard: &mut Shard, n: u32) -> bool {
        let Server { nodes, host, buf, cfg, .. } = self;
        let Some(Node { base, kind }) = nodes.list.get_mut(n as usize) else { return false };
        for _ in 0..BURST {
            if !base.readable {
                return false;
            }
            match host.recv_msg(base.end, buf) {
                Ok(Some(len)) => {
                    if let Err(e) = send(kind, shard, &buf[..len], cfg.key) {
                        base.err = Some(e);
                    }
                }
                Ok(None) => base.readable = false,
                Err(_) => (base.readable, base.hup) = (false, true),
            }
        }
        base.readable
    }

    /// Ends a node on both sides.
    fn end_node(&mut self, shard: &mut Shard, n: u32) {
        let Some(node) = self.nodes.list.try_remove(n as usize) else { return };
        self.nodes.by_ino.remove(&node.base.ino);
        match node.kind {
            Kind::Packet(p) => p.end(shard, &mut self.host),
            Kind::Bpf(d) => shard.tap_close(d.tap),
            Kind::Tun(p) => p.end(shard),
        }
        self.host.close(node.base.end, false);
        self.accept_again();
    }

    /// Gives programs what the stack has for them. Called when the shard's turn is over; true: there is more to do at once.
    pub fn nodes_down(&mut self, shard: &mut Shard) -> bool {
        if self.nodes.list.is_empty() {
            return false;
        }
        let now = shard.cx.now;
        self.nodes.deadline = Instant::FAR;
        let mut gone = Vec::new();
        let key = self.cfg.key;
        let Server { nodes, host, .. } = self;
        for (n, node) in &mut nodes.list {
            let Node { base, kind } = node;
            let (at, lost) = match kind {
                Kind::Packet(p) => p.down(shard, host, base, key, now),
                Kind::Bpf(d) => d.down(shard, host, base, now),
                Kind::Tun(p) => p.down(shard, host, base),
            };
            nodes.deadline = nodes.deadline.min(at);
            if let Some(e) = lost
                && !core::mem::replace(&mut base.told_gone, true)
            {
                base.err = Some(e);
                // Who maps a ring looks at poll(2) only; who connected by name has no other way to hear of it; and
                // without its interface the node of one is nothing.
                let ring = matches!(kind, Kind::Packet(p) if p.ring.is_some());
                if ring || base.ino == 0 || matches!(kind, Kind::Tun(_)) {
                    gone.push(n as u32);
                }
            }
            base.tell(host, key);
        }
        for n in gone {
            self.end_node(shard, n);
        }
        false
    }

    /// Names in the file system for the interfaces that have a node.
    fn sync_names(&mut self, shard: &mut Shard) {
        if self.nodes.seen != shard.net.nodes_changed {
            self.nodes.seen = shard.net.nodes_changed;
            let Server { nodes, host, .. } = self;
            nodes.listening.retain(|l| {
                let there = shard.net.iface(l.ifindex).is_some_and(|i| i.node.is_some());
                if !there {
                    host.node_unlisten(l.owner);
                }
                there
            });
            let new: Vec<(u32, alloc::string::String)> = shard
                .net
                .interfaces()
                .filter(|i| i.node.is_some() && !nodes.listening.iter().any(|l| l.ifindex == i.index))
                .map(|i| (i.index, i.name.to_string()))
                .collect();
            for (ifindex, name) in new {
                nodes.next_owner += 1;
                let owner = nodes.next_owner;
                match host.node_listen(&name, owner) {
                    Ok(()) => nodes.listening.push(Listening { ifindex, owner }),
                    Err(Errno::EOPNOTSUPP) => {}
                    Err(e) => shard.cx.log(3, alloc::format!("{name}: no node /dev/{name}: {e}")),
                }
            }
        }
        for owner in core::mem::take(&mut self.nodes.knocked) {
            self.admit(shard, owner);
        }
    }

    /// Programs that connected to a node by its name.
    fn admit(&mut self, shard: &mut Shard, owner: u32) {
        let Some(ifindex) = self.nodes.listening.iter().find(|l| l.owner == owner).map(|l| l.ifindex) else {
            return;
        };
        loop {
            let n = self.nodes.list.vacant_key() as u32;
            let Ok(Some((end, cred))) = self.host.node_accept(owner, NODE | n) else { return };
            let name = shard.net.ifname(ifindex).unwrap_or("?").to_string();
            let refused = if !self.privileged(cred) {
                Some(Errno::EACCES)
            } else {
                match self.claim(shard, ifindex) {
                    Ok(p) => {
                        self.insert_node(end, 0, false, Kind::Tun(p));
                        None
                    }
                    Err(e) => Some(e),
                }
            };
            if let Some(e) = refused {
                let text =
                    alloc::format!("/dev/{name}: process {} (user {}) refused: {e}", cred.pid, cred.uid);
                shard.cx.log(4, text);
                self.host.close(end, true);
            }
        }
    }
}

/// One message of a program: bytes taken.
fn send(kind: &mut Kind, shard: &mut Shard, msg: &[u8], key: u64) -> Result<usize> {
    // Who puts a header in front of everything says nothing with it here.
    let bare = DgramHdr::decode(msg, key).map_or(msg, |(_, payload)| payload);
    match kind {
        Kind::Packet(p) => p.send(shard, msg, key),
        Kind::Bpf(d) => d.write(shard, bare),
        Kind::Tun(p) => p.write(shard, bare),
    }
}

impl Base {
    /// Makes the descriptor readable, once.
    fn token<H: Host>(&mut self, host: &mut H) {
        if host.all_read(self.end) {
            let _ = host.send_msg(self.end, &[], &[]);
        }
    }

    /// Puts a pending error where the program finds it when it reads.
    fn tell<H: Host>(&mut self, host: &mut H, key: u64) {
        if self.err.is_none() || !self.strips || !host.all_read(self.end) {
            return;
        }
        let Some(e) = self.err.take() else { return };
        let h = DgramHdr { flags: df::ERROR, err: e.raw(), ..DgramHdr::default() };
        if host.send_msg(self.end, &h.encode(key), &[]).is_err() {
            self.err = Some(e);
        }
    }
}
