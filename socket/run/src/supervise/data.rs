//! The data calls that the filter hands over: those with an address, a message header, or unusual flags.
//!
//! A message is looked at (MSG_PEEK), copied to the caller, and taken only when the caller is known to be still there: an
//! interrupted call loses nothing.

use std::os::fd::RawFd;

use iopkt_shim::session::Rpc;
use iopkt_shim::{dgram, ops, sys};
use iopkt_sockproto::{Addr, DGRAM_HDR_LEN, DgramHdr, PairName, TOO_LONG, df, ext};

use super::calls::{may_wait, read_sockaddr, write_sized};
use super::notif::Call;
use super::target::{self, Errno};
use super::{Job, Outcome, Supervisor};

const IN: u32 = libc::EPOLLIN as u32;
const OUT: u32 = libc::EPOLLOUT as u32;
/// Longest message in a pair: a header and an IP datagram, rounded up.
const MAX_MESSAGE: usize = 65_536 + DGRAM_HDR_LEN + ext::MAX;
/// Most bytes of a stream that are moved in one go.
const MAX_STREAM: usize = 256 << 10;
/// Most messages of one sendmmsg or recvmmsg (UIO_MAXIOV).
const MAX_MESSAGES: usize = 1024;
/// What the stack keeps of a datagram that an error is about, and more.
const QUOTE: usize = 1024;
/// Longest control buffer that is read.
const MAX_CONTROL: usize = 4096;
/// Most bytes that an urgent send, or one that connects, hands to the stack itself.
const MAX_URGENT: usize = 4096;
/// Flags that are meant for the pair's own recv.
const NATIVE: i32 = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

/// What was received, still in the socket unless it was an error.
struct Taken {
    bytes: Vec<u8>,
    /// Where the payload begins.
    at: usize,
    head: Option<DgramHdr>,
    /// Its extension headers.
    ext: Vec<u8>,
    /// Length of the payload in the socket.
    full: usize,
}

/// What a message header of the caller leads to.
struct Parts {
    to: Vec<u8>,
    control: Vec<u8>,
    payload: Vec<u8>,
}

fn last() -> Errno {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

fn recv(fd: RawFd, buf: &mut [u8], flags: i32) -> Result<usize, Errno> {
    // SAFETY: the buffer is ours.
    let n = unsafe { libc::recv(fd, buf.as_mut_ptr().cast(), buf.len(), flags | NATIVE) };
    usize::try_from(n).map_err(|_| last())
}

fn send(fd: RawFd, parts: [&[u8]; 2]) -> Result<usize, Errno> {
    let iov = parts.map(|p| libc::iovec { iov_base: p.as_ptr().cast_mut().cast(), iov_len: p.len() });
    // SAFETY: all-zero is a valid header; the parts live across the call and are only read.
    let n = unsafe {
        let mut m: libc::msghdr = std::mem::zeroed();
        m.msg_iov = iov.as_ptr().cast_mut();
        m.msg_iovlen = 2;
        libc::sendmsg(fd, &raw const m, NATIVE)
    };
    usize::try_from(n).map_err(|_| last())
}

fn total(iov: &[libc::iovec]) -> usize {
    iov.iter().fold(0usize, |n, v| n.saturating_add(v.iov_len))
}

impl Supervisor {
    /// Looks at what is to be received next. Errors that the stack sent in its place are taken and returned.
    fn peek(&mut self, fd: RawFd, name: &PairName, flags: i32, room: usize) -> Result<Taken, Errno> {
        if flags & libc::MSG_ERRQUEUE != 0 && !name.stream {
            let mut out = vec![0; QUOTE + DGRAM_HDR_LEN];
            let (h, quote, full) = ops::queued_error(&mut self.stack, fd, &mut out)?;
            return Ok(Taken { bytes: quote.to_vec(), at: 0, head: Some(h), ext: Vec::new(), full });
        }
        if flags & libc::MSG_ERRQUEUE != 0 {
            return Err(libc::EAGAIN);
        }
        // Linux's UDP does not look at the flag.
        if flags & libc::MSG_OOB != 0 && name.stream {
            return Err(libc::EINVAL);
        }
        let mut bytes = vec![0; if name.stream { room.min(MAX_STREAM) } else { MAX_MESSAGE }];
        let n = recv(fd, &mut bytes, libc::MSG_PEEK)?;
        bytes.truncate(n);
        if name.stream {
            return Ok(Taken { bytes, at: 0, head: None, ext: Vec::new(), full: n });
        }
        if n == 0 && sys::poll1(fd, 0, 0).is_ok_and(|e| e & libc::POLLHUP != 0) {
            return Err(libc::ECONNRESET); // no datagram: the stack is gone
        }
        let key = self.stack.greeting().map_or(0, |g| g.key);
        let head = DgramHdr::decode(&bytes, key).map(|(h, _)| h);
        if let Some(h) = head.filter(|h| h.flags & df::ERROR != 0) {
            recv(fd, &mut [], 0)?;
            return Err(h.err);
        }
        let (mut at, mut ext) = (0, Vec::new());
        if let Some(h) = &head {
            at = DGRAM_HDR_LEN + h.ext_len(n - DGRAM_HDR_LEN);
            ext.extend_from_slice(&bytes[DGRAM_HDR_LEN..at]);
        }
        Ok(Taken { full: n - at, bytes, at, head, ext })
    }

    /// Takes what was looked at out of the socket; false if the caller is gone and it stays there.
    fn take(&mut self, call: &Call, fd: RawFd, name: &PairName, flags: i32, n: usize) -> bool {
        if !self.listener.is_valid(call.id) {
            return false;
        }
        if flags & (libc::MSG_PEEK | libc::MSG_ERRQUEUE) == 0 {
            let mut sink = vec![0; if name.stream { n } else { 0 }];
            let _ = if name.stream && n == 0 { Ok(0) } else { recv(fd, &mut sink, 0) };
        }
        true
    }

    pub(super) fn recvfrom(&mut self, job: &mut Job, fd: RawFd, name: &PairName) -> Result<Outcome, Errno> {
        let call = job.call;
        let [_, buf, len, flags, addr, addr_len] = call.args;
        let (flags, room) = (flags as i32, len as usize);
        if name.stream && flags & libc::MSG_OOB != 0 {
            // The pair has the urgent byte itself.
            return Ok(Outcome::GoOn);
        }
        let t = match self.peek(fd, name, flags, room) {
            Err(libc::EAGAIN) if flags & libc::MSG_ERRQUEUE == 0 && may_wait(fd, flags) => {
                return Ok(Outcome::Wait(IN));
            }
            r => r?,
        };
        let n = t.full.min(room);
        target::write(call.tid, buf, &t.bytes[t.at..t.at + n])?;
        if addr != 0 {
            let from = self.sender(fd, name, &t)?;
            write_sized(call.tid, addr, addr_len, from.bytes())?;
        }
        if !self.take(&call, fd, name, flags, n) {
            return Ok(Outcome::Gone);
        }
        let whole = flags & libc::MSG_TRUNC != 0 && !name.stream;
        Ok(Outcome::Value(if whole { t.full } else { n } as i64))
    }

    /// The sender's address: in the header, or the peer of a connected datagram socket; none for streams.
    fn sender(&mut self, fd: RawFd, name: &PairName, t: &Taken) -> Result<ops::SockAddr, Errno> {
        match &t.head {
            Some(h) => Ok(ops::SockAddr::of(h)),
            None if name.stream => Ok(ops::SockAddr::new(&Addr::NONE)),
            None => match ops::next_header(&mut self.stack, fd, &mut [0; ext::MAX]) {
                Ok((h, _)) => Ok(ops::SockAddr::of(&h)),
                // A netlink socket: the kernel's address.
                Err(_) => {
                    ops::getpeername(&mut self.stack, fd).or_else(|_| Ok(ops::SockAddr::new(&Addr::NONE)))
                }
            },
        }
    }

    pub(super) fn recvmsg(&mut self, job: &mut Job, fd: RawFd, name: &PairName) -> Result<Outcome, Errno> {
        let call = job.call;
        let flags = call.int(2);
        // SAFETY: any bit pattern is a msghdr of integers and pointers that are not followed here.
        let m: libc::msghdr = unsafe { target::read_struct(call.tid, call.args[1])? };
        let plain = m.msg_name.is_null() && flags & libc::MSG_ERRQUEUE == 0;
        if name.stream && (plain || flags & libc::MSG_OOB != 0) {
            return Ok(Outcome::GoOn);
        }
        match self.receive_into(&call, fd, name, call.args[1], m, flags) {
            Err(libc::EAGAIN) if flags & libc::MSG_ERRQUEUE == 0 && may_wait(fd, flags) => {
                Ok(Outcome::Wait(IN))
            }
            Ok(Some(n)) => Ok(Outcome::Value(n as i64)),
            Ok(None) => Ok(Outcome::Gone),
            Err(e) => Err(e),
        }
    }

    /// One message into the header at `at` of the caller. `None`: the caller is gone.
    fn receive_into(
        &mut self,
        call: &Call,
        fd: RawFd,
        name: &PairName,
        at: u64,
        mut m: libc::msghdr,
        flags: i32,
    ) -> Result<Option<usize>, Errno> {
        let iov = target::read_iovecs(call.tid, m.msg_iov as u64, m.msg_iovlen)?;
        let room = total(&iov);
        let mut t = self.peek(fd, name, flags, room)?;
        if t.head.is_none() && !name.stream && !(m.msg_name.is_null() && m.msg_controllen == 0) {
            let mut room = [0; ext::MAX];
            if let Ok((h, n)) = ops::next_header(&mut self.stack, fd, &mut room) {
                t.head = Some(h);
                t.ext = room[..n].to_vec();
            }
        }
        let n = target::scatter(call.tid, &iov, &t.bytes[t.at..])?;
        if m.msg_name.is_null() {
            m.msg_namelen = 0;
        } else {
            let from = self.sender(fd, name, &t)?;
            let cut = from.bytes().len().min(m.msg_namelen as usize);
            target::write(call.tid, m.msg_name as u64, &from.bytes()[..cut])?;
            m.msg_namelen = from.bytes().len() as u32;
        }
        m.msg_flags = if n < t.full && !name.stream { libc::MSG_TRUNC } else { 0 };
        m.msg_flags |= flags & libc::MSG_ERRQUEUE;
        let room = if m.msg_control.is_null() { 0 } else { m.msg_controllen };
        let mut control = vec![0; room.min(MAX_CONTROL)];
        let mut len = 0;
        if let Some(h) = t.head.as_ref() {
            let cut;
            (len, cut) = if h.flags & df::ERROR != 0 {
                dgram::extended_error(h, &mut control)
            } else {
                let wants = dgram::Wants::ask(&mut self.stack, fd);
                dgram::incoming(h, &t.ext, wants, &self.stack.greeting()?, &mut control)
            };
            m.msg_flags |= if cut { libc::MSG_CTRUNC } else { 0 };
            target::write(call.tid, m.msg_control as u64, &control[..len])?;
        }
        m.msg_controllen = len as _;
        // SAFETY: a msghdr is plain bytes here; its padding is what was read.
        let raw =
            unsafe { std::slice::from_raw_parts((&raw const m).cast::<u8>(), size_of::<libc::msghdr>()) };
        target::write(call.tid, at, raw)?;
        let whole = flags & libc::MSG_TRUNC != 0 && !name.stream;
        Ok(self.take(call, fd, name, flags, n).then_some(if whole { t.full } else { n }))
    }

    pub(super) fn recvmmsg(&mut self, job: &mut Job, fd: RawFd, name: &PairName) -> Result<Outcome, Errno> {
        let call = job.call;
        let flags = call.int(3);
        let count = (call.args[2] as u32 as usize).min(MAX_MESSAGES);
        let size = size_of::<libc::mmsghdr>() as u64;
        let first = job.done;
        for i in first..count {
            let at = call.args[1] + i as u64 * size;
            // SAFETY: any bit pattern is a msghdr of integers and pointers that are not followed here.
            let m: libc::msghdr = unsafe { target::read_struct(call.tid, at)? };
            match self.receive_into(&call, fd, name, at, m, flags & !libc::MSG_WAITFORONE) {
                Ok(Some(n)) => {
                    let len_at = at + std::mem::offset_of!(libc::mmsghdr, msg_len) as u64;
                    target::write(call.tid, len_at, &(n as u32).to_ne_bytes())?;
                    job.done = i + 1;
                }
                Ok(None) => return Ok(Outcome::Gone),
                Err(libc::EAGAIN) if i == 0 && may_wait(fd, flags) => return Ok(Outcome::Wait(IN)),
                Err(e) if i == 0 => return Err(e),
                Err(_) => break,
            }
        }
        Ok(Outcome::Value(job.done as i64))
    }

    /// Sends one datagram; what the pair has no room for is EAGAIN.
    fn send_datagram(
        &mut self,
        fd: RawFd,
        to: &[u8],
        control: &[u8],
        payload: &[u8],
        flags: i32,
    ) -> Result<usize, Errno> {
        if flags & libc::MSG_OOB != 0 {
            return Err(libc::EOPNOTSUPP);
        }
        let key = self.stack.greeting()?.key;
        let v6 = !control.is_empty() && dgram::Wants::ask(&mut self.stack, fd).v6();
        let mut ext = [0; ext::MAX];
        let (mut h, n) = dgram::addressed(to, control, flags, v6, &mut ext)?;
        h.len = payload.len() as u32;
        let mut head = h.encode(key).to_vec();
        head.extend_from_slice(&ext[..n]);
        match ops::send(&mut self.stack, fd, flags, &head, payload) {
            // The stack has no room now: the pair makes the caller wait for it.
            Err(libc::EAGAIN) => send(fd, [&head, payload]).map(|n| n.saturating_sub(head.len())),
            r => r,
        }
    }

    pub(super) fn sendto(&mut self, job: &mut Job, fd: RawFd, name: &PairName) -> Result<Outcome, Errno> {
        let call = job.call;
        let [_, buf, len, flags, addr, addr_len] = call.args;
        let flags = flags as i32;
        let one = [libc::iovec { iov_base: buf as *mut libc::c_void, iov_len: len as usize }];
        if name.stream && addr == 0 && flags & (libc::MSG_OOB | libc::MSG_FASTOPEN) == 0 {
            return Ok(Outcome::GoOn);
        }
        if name.stream && flags & libc::MSG_FASTOPEN == 0 {
            return self.send_stream(job, fd, &one, flags);
        }
        let to = if addr == 0 { Vec::new() } else { read_sockaddr(call.tid, addr, addr_len)? };
        if name.stream {
            return self.send_opening(job, fd, &to, &one, flags);
        }
        // No datagram is longer: the stack says so, and tells the path's MTU by the error queue.
        let len = (len as usize).min(TOO_LONG);
        let payload = target::gather(call.tid, &one, len)?;
        self.deliver(&call, fd, &to, &[], &payload, flags)
    }

    fn deliver(
        &mut self,
        call: &Call,
        fd: RawFd,
        to: &[u8],
        control: &[u8],
        payload: &[u8],
        flags: i32,
    ) -> Result<Outcome, Errno> {
        if !self.listener.is_valid(call.id) {
            return Ok(Outcome::Gone);
        }
        match self.send_datagram(fd, to, control, payload, flags) {
            Err(libc::EAGAIN) if may_wait(fd, flags) => Ok(Outcome::Wait(OUT)),
            r => r.map(|n| Outcome::Value(n as i64)),
        }
    }

    /// send(2) with MSG_OOB: the stack takes all of it, or as much as a message holds (a partial send, then without the mark).
    fn send_urgent(
        &mut self,
        job: &mut Job,
        fd: RawFd,
        iov: &[libc::iovec],
        flags: i32,
    ) -> Result<Outcome, Errno> {
        let call = job.call;
        if total(iov) > MAX_URGENT {
            // Everything but the end goes as ever.
            let mut short = Vec::new();
            let mut left = total(iov) - MAX_URGENT;
            for v in iov {
                let n = v.iov_len.min(left);
                left -= n;
                short.push(libc::iovec { iov_base: v.iov_base, iov_len: n });
            }
            return self.send_stream(job, fd, &short, flags & !libc::MSG_OOB);
        }
        let all = target::gather(call.tid, iov, MAX_URGENT)?;
        if !self.listener.is_valid(call.id) {
            return Ok(Outcome::Gone);
        }
        match ops::send_urgent(&mut self.stack, fd, &all)? {
            Some(n) => Ok(Outcome::Value(n as i64)),
            None => Ok(Outcome::GoOn),
        }
    }

    /// sendto(2) with MSG_FASTOPEN.
    fn send_opening(
        &mut self,
        job: &mut Job,
        fd: RawFd,
        to: &[u8],
        iov: &[libc::iovec],
        flags: i32,
    ) -> Result<Outcome, Errno> {
        let call = job.call;
        let waits = may_wait(fd, flags);
        if job.opening {
            return match ops::connect_status(&mut self.stack, fd) {
                Err(libc::EINPROGRESS) => Ok(Outcome::Wait(OUT)),
                // Told as connected already: the handshake ended, and bytes went after it.
                Ok(()) | Err(libc::EISCONN) => self.send_stream(job, fd, iov, flags & !libc::MSG_FASTOPEN),
                Err(e) if job.done == 0 => Err(e),
                Err(_) => Ok(Outcome::Value(job.done as i64)),
            };
        }
        if to.is_empty() {
            return Err(libc::EINVAL);
        }
        let data = target::gather(call.tid, iov, total(iov).min(MAX_URGENT))?;
        if !self.listener.is_valid(call.id) {
            return Ok(Outcome::Gone);
        }
        let c = ops::connect_sending(&mut self.stack, fd, to, waits, &data)?;
        self.replaced(job, &c)?;
        job.done = c.taken;
        match (c.in_progress, waits) {
            (true, true) => {
                job.opening = true;
                Ok(Outcome::Wait(OUT))
            }
            (true, false) if c.taken == 0 => Err(libc::EINPROGRESS),
            _ => Ok(Outcome::Value(c.taken as i64)),
        }
    }

    /// A stream ignores the address; the bytes go through the pair. In blocking mode until all are sent.
    fn send_stream(
        &mut self,
        job: &mut Job,
        fd: RawFd,
        iov: &[libc::iovec],
        flags: i32,
    ) -> Result<Outcome, Errno> {
        let call = job.call;
        if flags & libc::MSG_OOB != 0 {
            return self.send_urgent(job, fd, iov, flags);
        }
        let all = target::gather(call.tid, iov, total(iov).min(job.done + MAX_STREAM))?;
        if !self.listener.is_valid(call.id) {
            return Ok(Outcome::Gone);
        }
        match send(fd, [all.get(job.done..).unwrap_or(&[]), &[]]) {
            Ok(n) => job.done += n,
            Err(libc::EAGAIN) => {}
            Err(e) if job.done == 0 => return Err(e),
            Err(_) => return Ok(Outcome::Value(job.done as i64)),
        }
        if job.done < total(iov) && may_wait(fd, flags) {
            return Ok(Outcome::Wait(OUT));
        }
        if job.done == 0 && total(iov) > 0 { Err(libc::EAGAIN) } else { Ok(Outcome::Value(job.done as i64)) }
    }

    /// The address, control messages and payload of a message header.
    fn read_message(&self, tid: i32, m: &libc::msghdr) -> Result<Parts, Errno> {
        let to = if m.msg_name.is_null() {
            Vec::new()
        } else {
            read_sockaddr(tid, m.msg_name as u64, u64::from(m.msg_namelen))?
        };
        let len = if m.msg_control.is_null() { 0 } else { m.msg_controllen };
        if len > MAX_CONTROL {
            return Err(libc::ENOBUFS);
        }
        let mut control = vec![0; len];
        target::read(tid, m.msg_control as u64, &mut control)?;
        let iov = target::read_iovecs(tid, m.msg_iov as u64, m.msg_iovlen)?;
        let payload = target::gather(tid, &iov, TOO_LONG)?;
        Ok(Parts { to, control, payload })
    }

    pub(super) fn sendmsg(&mut self, job: &mut Job, fd: RawFd, name: &PairName) -> Result<Outcome, Errno> {
        let call = job.call;
        let flags = call.int(2);
        // SAFETY: any bit pattern is a msghdr of integers and pointers that are not followed here.
        let m: libc::msghdr = unsafe { target::read_struct(call.tid, call.args[1])? };
        let plain = m.msg_name.is_null() && flags & (libc::MSG_OOB | libc::MSG_FASTOPEN) == 0;
        // A datagram to nobody must fail here and now, so all of them go by request.
        if plain && name.stream {
            return Ok(Outcome::GoOn);
        }
        if name.stream {
            let iov = target::read_iovecs(call.tid, m.msg_iov as u64, m.msg_iovlen)?;
            if flags & libc::MSG_FASTOPEN != 0 {
                let null = m.msg_name.is_null();
                let to = if null {
                    Vec::new()
                } else {
                    read_sockaddr(call.tid, m.msg_name as u64, m.msg_namelen.into())?
                };
                return self.send_opening(job, fd, &to, &iov, flags);
            }
            return self.send_stream(job, fd, &iov, flags);
        }
        let Parts { to, control, payload } = self.read_message(call.tid, &m)?;
        self.deliver(&call, fd, &to, &control, &payload, flags)
    }

    pub(super) fn sendmmsg(&mut self, job: &mut Job, fd: RawFd, name: &PairName) -> Result<Outcome, Errno> {
        let call = job.call;
        let flags = call.int(3);
        if name.stream {
            return Ok(Outcome::GoOn);
        }
        let count = (call.args[2] as u32 as usize).min(MAX_MESSAGES);
        let size = size_of::<libc::mmsghdr>() as u64;
        for i in job.done..count {
            let at = call.args[1] + i as u64 * size;
            // SAFETY: any bit pattern is a msghdr of integers and pointers that are not followed here.
            let m: libc::msghdr = unsafe { target::read_struct(call.tid, at)? };
            let Parts { to, control, payload } = self.read_message(call.tid, &m)?;
            let sent = match self.deliver(&call, fd, &to, &control, &payload, flags) {
                Ok(Outcome::Value(n)) => n,
                Ok(Outcome::Wait(_)) if i > 0 => break,
                Err(_) if i > 0 => break,
                other => return other,
            };
            let len_at = at + std::mem::offset_of!(libc::mmsghdr, msg_len) as u64;
            target::write(call.tid, len_at, &(sent as u32).to_ne_bytes())?;
            job.done = i + 1;
        }
        Ok(Outcome::Value(job.done as i64))
    }
}
