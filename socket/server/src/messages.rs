//! Datagrams: one message of the pair each, with or without a header (see `iopkt_sockproto::DgramHdr`).
//!
//! Who cannot be served waits in the pair (upwards) or in the stack's receive buffer (downwards), both bounded;
//! what the buffer cannot take is dropped there, and counted.

use crate::Host;
use crate::server::Server;
use crate::sock::State;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;
use core::net::SocketAddr;
use iopkt_base::{Errno, Result};
use iopkt_sockproto::linux::{MSG_DONTROUTE, MSG_DONTWAIT, MSG_MORE, MSG_NOSIGNAL, MSG_OOB, MSG_PEEK, wants};
use iopkt_sockproto::{Addr, DGRAM_HDR_LEN, DgramHdr, Rep, Req, df, ext};
use iopkt_stack::Shard;
use iopkt_stack::sockets::{Datagram, Ext6, RecvWants, SendOpts, SockId};

/// Messages that are moved with one system call.
const BATCH: usize = 32;
/// Room for one of them.
const SLOT: usize = DGRAM_HDR_LEN + (u16::MAX as usize).next_multiple_of(1024);
/// Datagrams of one program that the stack takes in a turn.
const BURST: usize = 64;
/// Datagrams that one program is given in a turn: more, since several may have sent to it.
const GIVEN: usize = 256;
/// Messages that a program's queue can hold at most (its buffer size over the least cost of one message, with room).
const QUEUE: usize = 1024;

impl<H: Host> Server<H> {
    pub(crate) fn pump_messages(&mut self, shard: &mut Shard, s: u32) -> bool {
        let up = self.messages_up(shard, s, BURST);
        if self.socks[s as usize].hup {
            let sk = &self.socks[s as usize];
            let unsent = matches!(&sk.state, State::Dgram(m) if !m.unsent.is_empty());
            if !sk.readable && !unsent {
                self.retire(shard, s, false, false);
                return false;
            }
            return up;
        }
        self.tell_error(shard, s);
        let down = self.messages_down(shard, s);
        up || down
    }

    /// Reads everything that the program has sent before it asked for what comes now. What the stack has no room for is
    /// lost, as in a full transmit queue: it must not go where the program sends next.
    pub(crate) fn drain_messages(&mut self, shard: &mut Shard, s: u32) {
        let sk = &mut self.socks[s as usize];
        if let State::Dgram(m) = &mut sk.state {
            for msg in m.unsent.drain(..) {
                let _ = send(shard, sk.id, &msg, self.cfg.key, 0);
            }
        }
        for _ in 0..QUEUE {
            let Ok(Some(n)) = self.host.recv_msg(sk.end, &mut self.buf) else { break };
            match send(shard, sk.id, &self.buf[..n], self.cfg.key, 0) {
                Ok(_) | Err(Errno::ENOBUFS) => {}
                Err(e) => sk.err = Some(e),
            }
        }
        // A hang-up is still to be looked at.
        sk.readable = true;
        self.queue(s);
    }

    fn messages_up(&mut self, shard: &mut Shard, s: u32, burst: usize) -> bool {
        let sk = &mut self.socks[s as usize];
        let State::Dgram(m) = &mut sk.state else { return false };
        if shard.sockets.write_space(sk.id) == 0 {
            return false; // ev::WRITE will tell
        }
        while let Some(msg) = m.unsent.pop_front() {
            match send(shard, sk.id, &msg, self.cfg.key, 0) {
                Ok(_) => {}
                Err(Errno::ENOBUFS) => {
                    // Room, but not enough yet.
                    m.unsent.push_front(msg);
                    return false;
                }
                Err(e) => sk.err = Some(e),
            }
        }
        // Made when it is first wanted; what is never written to costs nothing.
        if self.batch.is_empty() {
            self.batch = vec![0; BATCH * SLOT];
        }
        for _ in 0..burst / BATCH {
            if !sk.readable || shard.sockets.write_space(sk.id) == 0 {
                return false;
            }
            self.lens.clear();
            match self.host.recv_msgs(sk.end, &mut self.batch, SLOT, &mut self.lens) {
                Ok(more) => sk.readable = more,
                Err(_) => {
                    sk.readable = false;
                    sk.hup = true;
                }
            }
            for (msg, &n) in self.batch.chunks_exact(SLOT).zip(&self.lens) {
                let msg = &msg[..n];
                if !m.unsent.is_empty() {
                    m.unsent.push_back(msg.to_vec());
                    continue;
                }
                match send(shard, sk.id, msg, self.cfg.key, 0) {
                    Ok(_) => {}
                    Err(Errno::ENOBUFS) => m.unsent.push_back(msg.to_vec()),
                    Err(e) => sk.err = Some(e),
                }
            }
            if !m.unsent.is_empty() {
                return false; // as above
            }
        }
        sk.readable
    }

    /// Puts a pending error where the program's side finds it without asking.
    fn tell_error(&mut self, shard: &mut Shard, s: u32) {
        let sk = &mut self.socks[s as usize];
        let State::Dgram(m) = &sk.state else { return };
        if !m.strips || sk.err.is_none() && !sk.told_error {
            return;
        }
        sk.told_error = false;
        // One at a time: a program that only sends must not fill its queue with errors.
        if !self.host.all_read(sk.end) {
            return;
        }
        let Some(e) = sk.err.take().or_else(|| shard.sockets.take_error(sk.id)) else { return };
        let h = DgramHdr { flags: df::ERROR, err: e.raw(), peer: Addr(m.peer), ..DgramHdr::default() };
        if self.host.send_msg(sk.end, &h.encode(self.cfg.key), &[]).is_err() {
            sk.err = Some(e);
        }
    }

    fn messages_down(&mut self, shard: &mut Shard, s: u32) -> bool {
        let sk = &mut self.socks[s as usize];
        let State::Dgram(m) = &mut sk.state else { return false };
        for _ in 0..GIVEN / BATCH {
            if !sk.writable {
                return false;
            }
            if let Some(first) = m.first.pop_front() {
                if self.host.send_msg(sk.end, &[], &first) == Err(Errno::EAGAIN) {
                    m.first.push_front(first);
                    sk.writable = false;
                }
                continue;
            }
            while m.held.len() < BATCH
                && let Some(d) = shard.sockets.recv_from(&mut shard.cx, sk.id)
            {
                m.held.push_back(d);
            }
            if m.held.is_empty() {
                return false;
            }
            // Plain reads of who does not strip headers see the payload.
            let bare = !m.strips || m.peer.is_some() && !sk.ancillary;
            let local = shard.sockets.local_addr(sk.id).map_or(0, |a| a.port());
            let mut heads = [[0; DGRAM_HDR_LEN]; BATCH];
            let mut long: Vec<Vec<u8>> = Vec::new();
            if m.held.iter().any(|d| d.ext.is_some()) {
                long.extend(m.held.iter().map(|d| with_ext(d, local, self.cfg.key)));
            }
            let mut msgs: [[&[u8]; 2]; BATCH] = [[&[]; 2]; BATCH];
            for (i, ((msg, head), d)) in msgs.iter_mut().zip(&mut heads).zip(&m.held).enumerate() {
                if bare && (d.mtu == 0 || !m.strips) {
                    *msg = [&[], d.m.as_slice()];
                } else if let Some(l) = long.get(i).filter(|l| !l.is_empty()) {
                    *msg = [l, d.m.as_slice()];
                } else {
                    *head = header(d, local).encode(self.cfg.key);
                    *msg = [head, d.m.as_slice()];
                }
            }
            let done = match self.host.send_msgs(sk.end, &msgs[..m.held.len()]) {
                Ok(n) => n,
                Err(Errno::EAGAIN) => {
                    sk.writable = false;
                    0
                }
                // The pair cannot take it, or nobody reads.
                Err(_) => 1,
            };
            for d in m.held.drain(..done) {
                if !m.strips {
                    // Who asks for more than the payload gets it by request.
                    if m.heads.len() >= QUEUE {
                        m.heads.pop_front();
                    }
                    let ext = d.ext.as_deref().map_or_else(Vec::new, ext_bytes);
                    m.heads.push_back((header(&d, local), ext));
                }
                shard.cx.mbufs.free(d.m);
            }
        }
        true
    }

    /// connect(2) of a datagram socket. What was sent before goes by the old association, what was received before
    /// is rewritten to the new form.
    pub(crate) fn connect_messages(
        &mut self,
        shard: &mut Shard,
        to: Option<SocketAddr>,
        fd: &H::Fd,
        s: u32,
    ) -> Result<()> {
        self.drain_messages(shard, s);
        let id = self.socks[s as usize].id;
        shard.sockets.connect(&mut shard.cx, &mut shard.net, id, to)?;
        let sk = &mut self.socks[s as usize];
        let State::Dgram(m) = &mut sk.state else { return Err(Errno::EINVAL) };
        let old = core::mem::replace(&mut m.peer, to);
        if !m.strips || old.is_some() == to.is_some() || self.host.all_read(sk.end) && m.first.is_empty() {
            return Ok(());
        }
        let mut queue: Vec<Vec<u8>> = Vec::new();
        while queue.len() < QUEUE {
            match self.host.client_recv(fd, &mut self.buf, false) {
                Ok(Some(n)) => queue.push(self.buf[..n].to_vec()),
                _ => break,
            }
        }
        queue.extend(m.first.drain(..));
        let key = self.cfg.key;
        for msg in queue {
            let msg = match (DgramHdr::decode(&msg, key), old) {
                // The header stays on errors, and on datagrams when there is no association now.
                (Some((h, rest)), _) if to.is_some() && h.flags & (df::ERROR | df::PATHMTU) == 0 => {
                    rest[h.ext_len(rest.len())..].to_vec()
                }
                (Some(_), _) => msg,
                (None, Some(peer)) if to.is_none() => {
                    let h = DgramHdr { peer: Addr(Some(peer)), len: msg.len() as u32, ..DgramHdr::default() };
                    let mut v = h.encode(key).to_vec();
                    v.extend_from_slice(&msg);
                    v
                }
                (None, _) => msg,
            };
            m.first.push_back(msg);
        }
        self.messages_down(shard, s);
        self.queue(s);
        Ok(())
    }

    /// sendto(2) and sendmsg(2) with the error at once.
    pub(crate) fn send_call(&mut self, shard: &mut Shard, req: &Req, payload: &[u8], s: u32) -> Result<i32> {
        if req.args[0] & MSG_OOB != 0 || self.socks[s as usize].kind.stream() {
            return Err(Errno::EOPNOTSUPP);
        }
        // What was written to the pair before goes first.
        self.drain_messages(shard, s);
        let sk = &mut self.socks[s as usize];
        if let Some(e) = sk.err.take().or_else(|| shard.sockets.take_error(sk.id)) {
            return Err(e);
        }
        if shard.sockets.write_space(sk.id) == 0 {
            return Err(Errno::EAGAIN);
        }
        let key = if req.args[1] != 0 { self.cfg.key } else { !self.cfg.key };
        let n = send(shard, sk.id, payload, key, req.args[0])?;
        Ok(n as i32)
    }

    /// recvmsg(2) with MSG_ERRQUEUE: the oldest error of the socket's queue.
    pub(crate) fn error_call(
        &mut self,
        shard: &mut Shard,
        k: u32,
        req: &Req,
        fd: &H::Fd,
        s: u32,
    ) -> Result<()> {
        let size = usize::try_from(req.args[1]).map_err(|_| Errno::EINVAL)?;
        if self.socks[s as usize].kind.stream() {
            return Err(Errno::EAGAIN);
        }
        self.drain_messages(shard, s);
        let sk = &mut self.socks[s as usize];
        let e = shard.sockets.take_queued_error(sk.id).ok_or(Errno::EAGAIN)?;
        // The same error may wait in the program's queue: there it is told once, not twice.
        let told = self.host.client_recv(fd, &mut self.buf, true);
        if let Ok(Some(n)) = told
            && DgramHdr::decode(&self.buf[..n], self.cfg.key).is_some_and(|(h, _)| h.flags & df::ERROR != 0)
        {
            let _ = self.host.client_recv(fd, &mut self.buf, false);
        }
        sk.err = None;
        let h = DgramHdr {
            flags: df::ERROR,
            err: e.errno.raw(),
            peer: Addr(Some(e.dst)),
            local: Addr(e.offender.map(|a| SocketAddr::new(a, 0))),
            stamp: e.info.into(),
            icmp: e.icmp,
            extra: e.origin.into(),
            len: e.payload.len() as u32,
            ..DgramHdr::default()
        };
        let mut out = h.encode(self.cfg.key).to_vec();
        out.extend_from_slice(&e.payload[..e.payload.len().min(size)]);
        let val = [e.payload.len() as i32, 0, 0];
        self.reply(k, Rep { val, ..Rep::ok(req) }, &out, None);
        self.queue(s);
        Ok(())
    }

    /// recvfrom(2) and recvmsg(2) for who has no other way.
    pub(crate) fn recv_call(&mut self, k: u32, req: &Req, fd: &H::Fd, s: u32) -> Result<()> {
        let known = MSG_PEEK | MSG_DONTWAIT | MSG_NOSIGNAL;
        let sk = &self.socks[s as usize];
        let State::Dgram(m) = &sk.state else { return Err(Errno::EOPNOTSUPP) };
        if req.args[0] & !known != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        let size = usize::try_from(req.args[1]).map_err(|_| Errno::EINVAL)?;
        let peer = m.peer;
        let pending = self.host.client_pending(fd);
        let mut buf = core::mem::take(&mut self.buf);
        let got = self.host.client_recv(fd, &mut buf, req.args[0] & MSG_PEEK != 0);
        let r = match got {
            Ok(Some(n)) => {
                let none = DgramHdr { peer: Addr(peer), len: n as u32, ..DgramHdr::default() };
                let (h, ext, data) = match DgramHdr::decode(&buf[..n], self.cfg.key) {
                    Some((h, rest)) => {
                        let (ext, data) = rest.split_at(h.ext_len(rest.len()));
                        (h, ext, data)
                    }
                    None => {
                        let kept = head_of(&m.heads, pending, n);
                        kept.map_or((none, &[][..], &buf[..n]), |(h, ext)| (*h, &ext[..], &buf[..n]))
                    }
                };
                if h.flags & df::ERROR != 0 {
                    Err(Errno(h.err))
                } else {
                    let mut out = vec![0; 0];
                    out.extend_from_slice(&h.encode(self.cfg.key));
                    out.extend_from_slice(ext);
                    out.extend_from_slice(&data[..data.len().min(size)]);
                    let val = [data.len() as i32, 0, 0];
                    self.reply(k, Rep { val, ..Rep::ok(req) }, &out, None);
                    Ok(())
                }
            }
            Ok(None) => Err(Errno::EAGAIN),
            Err(e) => Err(e),
        };
        self.buf = buf;
        self.queue(s);
        r
    }
}

/// The header of a datagram, and its extension headers.
pub(crate) type Kept = (DgramHdr, Vec<u8>);

/// The header of the message at the front of a program's queue. The headers are of all messages that were put into it, the
/// newest last; what is still there is `pending` bytes long in all, the first of it `n`.
fn head_of(heads: &VecDeque<Kept>, pending: usize, n: usize) -> Option<&Kept> {
    let mut rest = pending;
    let mut found = None;
    for h in heads.iter().rev() {
        let len = h.0.len as usize;
        if len > rest || (found.is_some() && len > 0) {
            break;
        }
        rest -= len;
        // Empty ones before the front may have been read or not.
        if rest == 0 && len == n {
            found = Some(h);
            if n > 0 {
                break;
            }
        }
    }
    found
}

/// The bits of SO_WANTS.
pub(crate) fn wants(w: &RecvWants) -> u32 {
    let bits = [
        (w.pktinfo, wants::PKTINFO),
        (w.ttl, wants::TTL),
        (w.tos, wants::TOS),
        (w.origdst, wants::ORIGDST),
        (w.drops, wants::DROPS),
        (w.stamping, wants::STAMPING),
    ];
    let set = bits.iter().filter(|(on, _)| *on).fold(0, |all, (_, bit)| all | bit);
    set | u32::from(w.timestamp) << wants::STAMP_SHIFT | w.v6 << wants::V6_SHIFT
}

/// Sends one message of a program: with a header if it has one.
fn send(shard: &mut Shard, id: SockId, msg: &[u8], key: u64, msg_flags: i32) -> Result<usize> {
    let (to, mut opts, payload) = match DgramHdr::decode(msg, key) {
        None => (None, SendOpts::default(), msg),
        Some((h, rest)) => {
            let (ext, payload) = rest.split_at(h.ext_len(rest.len()));
            let given = |bit| h.flags & bit != 0;
            let opts = SendOpts {
                src: h.local.0.map(|a| a.ip()).filter(|_| given(df::PKTINFO)),
                oif: if given(df::PKTINFO) { h.ifindex } else { 0 },
                ttl: given(df::TTL).then_some(h.ttl),
                tos: given(df::TOS).then_some(h.tos),
                dontroute: given(df::DONTROUTE),
                more: given(df::MORE),
                segment: given(df::SEGMENT).then_some(h.extra),
                dontfrag: given(df::DONTFRAG),
                ext: given(df::EXT).then(|| Box::new(read_ext(ext))),
            };
            (h.peer.0, opts, payload)
        }
    };
    opts.dontroute |= msg_flags & MSG_DONTROUTE != 0;
    opts.more |= msg_flags & MSG_MORE != 0;
    if payload.len() > usize::from(u16::MAX) {
        return Err(shard.sockets.no_datagram(&mut shard.cx, &shard.net, id, to, &opts));
    }
    let m = shard.cx.mbufs.copy_of(payload).ok_or(Errno::ENOMEM)?;
    shard.sockets.send_to(&mut shard.cx, &mut shard.net, id, to, &opts, m)?;
    Ok(payload.len())
}

/// Extension headers of a program's datagram.
fn read_ext(b: &[u8]) -> Ext6 {
    Ext6 { flow: ext::flow(b), headers: ext::headers(b).map(|(tag, h)| (tag, h.to_vec())).collect() }
}

/// Extension headers for a program: as many as there is room for.
fn ext_bytes(e: &Ext6) -> Vec<u8> {
    let mut v = vec![0; ext::HEAD];
    if let Some(f) = e.flow {
        v[..4].copy_from_slice(&(f | ext::GIVEN).to_be_bytes());
    }
    for (tag, h) in &e.headers {
        if v.len() + ext::HEAD + h.len() <= ext::MAX {
            v.extend_from_slice(&[*tag, 0, 0, 0, 0, 0, 0, 0]);
            v.extend_from_slice(h);
        }
    }
    v
}

/// The header of a datagram with extension headers, and these; empty if it has none.
fn with_ext(d: &Datagram, local_port: u16, key: u64) -> Vec<u8> {
    let Some(e) = &d.ext else { return Vec::new() };
    let mut v = header(d, local_port).encode(key).to_vec();
    v.extend_from_slice(&ext_bytes(e));
    v
}

/// What a program is told of a datagram.
fn header(d: &Datagram, local_port: u16) -> DgramHdr {
    let told = if d.mtu == 0 { 0 } else { df::PATHMTU };
    let ext = if d.ext.is_some() { df::EXT } else { 0 };
    DgramHdr {
        flags: df::TTL | df::TOS | told | ext,
        ttl: d.ttl,
        tos: d.tos,
        peer: Addr(Some(d.from)),
        local: Addr(Some(SocketAddr::new(d.to, local_port))),
        ifindex: d.ifindex,
        err: d.drops as i32,
        stamp: if d.mtu == 0 { d.at.as_nanos() } else { d.mtu.into() },
        len: d.m.len() as u32,
        ..DgramHdr::default()
    }
}

const _: () = assert!(DGRAM_HDR_LEN + u16::MAX as usize <= iopkt_sockproto::MAX_PAYLOAD);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_found_by_what_is_still_unread() {
        let heads: VecDeque<Kept> = [(5, 1), (3, 2), (0, 3), (7, 4)]
            .map(|(len, ifindex)| (DgramHdr { len, ifindex, ..Default::default() }, Vec::new()))
            .into();
        let who = |pending, n| head_of(&heads, pending, n).map(|h| h.0.ifindex);
        assert_eq!(who(15, 5), Some(1));
        assert_eq!(who(10, 3), Some(2));
        assert_eq!(who(7, 0), Some(3));
        assert_eq!(who(7, 7), Some(4));
        assert_eq!(who(8, 3), None, "not of these");
        assert_eq!(head_of(&VecDeque::new(), 4, 4), None);
    }
}
