//! The control calls.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use iopkt_shim::{ident, ops, sys};
use iopkt_sockproto::linux::{
    AF_ROUTE, IFREQ_LEN, PACKET_RX_RING, SIOCGIFINDEX, SIOCGIFNAME, SIOCINQ, SOCK_TYPE_MASK, SOL_PACKET,
    changes_interface,
};
use iopkt_sockproto::{PairName, sockf};

use super::notif::Call;
use super::target::{self, Errno};
use super::{Job, Outcome, Stray, Supervisor};

/// Longest `struct sockaddr` that is read (`sizeof(struct sockaddr_storage)`).
const MAX_SOCKADDR: usize = 128;
/// Largest SIOCGIFCONF buffer that is filled.
const MAX_IFCONF: usize = 64 << 10;

/// Ports below are for those who may (IPPORT_RESERVED).
const RESERVED: u16 = 1024;
/// Capabilities (linux/capability.h).
const CAP_NET_BIND_SERVICE: u32 = 10;
const CAP_NET_ADMIN: u32 = 12;
const CAP_NET_RAW: u32 = 13;
const IN: u32 = libc::EPOLLIN as u32;
const OUT: u32 = libc::EPOLLOUT as u32;
const HUP: u32 = (libc::EPOLLHUP | libc::EPOLLRDHUP | libc::EPOLLERR) as u32;

/// SO_RCVTIMEO or SO_SNDTIMEO of the descriptor, whichever the wait is about.
pub fn time_limit(fd: RawFd, events: u32) -> Option<Duration> {
    let name = if events & OUT != 0 { libc::SO_SNDTIMEO } else { libc::SO_RCVTIMEO };
    let mut tv = libc::timeval { tv_sec: 0, tv_usec: 0 };
    let mut len = size_of::<libc::timeval>() as libc::socklen_t;
    // SAFETY: tv and len live across the call.
    let r = unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, name, (&raw mut tv).cast(), &raw mut len) };
    let set = r == 0 && (tv.tv_sec > 0 || tv.tv_usec > 0);
    set.then(|| Duration::new(tv.tv_sec as u64, tv.tv_usec as u32 * 1000))
}

/// Whether the call may wait: neither O_NONBLOCK nor MSG_DONTWAIT.
pub fn may_wait(fd: RawFd, flags: i32) -> bool {
    flags & libc::MSG_DONTWAIT == 0 && !sys::is_nonblocking(fd).unwrap_or(true)
}

/// Reads a `struct sockaddr` argument.
pub fn read_sockaddr(tid: i32, addr: u64, len: u64) -> Result<Vec<u8>, Errno> {
    let len = usize::try_from(len as i32).map_err(|_| libc::EINVAL)?;
    if len > MAX_SOCKADDR {
        return Err(libc::EINVAL);
    }
    let mut b = vec![0; len];
    target::read(tid, addr, &mut b)?;
    Ok(b)
}

/// Writes a value-result argument: the bytes cut to the caller's room, and the full length.
pub fn write_sized(tid: i32, addr: u64, len_at: u64, value: &[u8]) -> Result<(), Errno> {
    let mut room = [0; 4];
    target::read(tid, len_at, &mut room)?;
    let room = usize::try_from(i32::from_ne_bytes(room)).map_err(|_| libc::EINVAL)?;
    target::write(tid, addr, &value[..value.len().min(room)])?;
    target::write(tid, len_at, &(value.len() as u32).to_ne_bytes())
}

impl Supervisor {
    /// Runs the job's call. An error is what the call fails with.
    pub(super) fn dispatch(&mut self, job: &mut Job) -> Result<Outcome, Errno> {
        let call = job.call;
        if call.nr == libc::SYS_socket {
            return self.socket(&call);
        }
        if job.fd.is_none() {
            // A descriptor that cannot be had is the kernel's matter, EBADF first of all.
            let Ok(fd) = target::descriptor(call.tid, call.int(0)) else { return Ok(Outcome::GoOn) };
            job.fd = Some(fd);
        }
        let Some(fd) = job.fd.as_ref().map(AsRawFd::as_raw_fd) else { return Ok(Outcome::GoOn) };
        let Some(name) = ident::pair(fd) else { return self.names_of_interfaces(&call, fd) };
        let tid = call.tid;
        match call.nr {
            libc::SYS_bind => {
                let a = read_sockaddr(tid, call.args[1], call.args[2])?;
                let port = a.get(2..4).map_or(0, |p| u16::from_be_bytes([p[0], p[1]]));
                let ip = a.first().is_some_and(|f| [libc::AF_INET, libc::AF_INET6].contains(&i32::from(*f)));
                if ip && (1..RESERVED).contains(&port) && !target::may(tid, CAP_NET_BIND_SERVICE) {
                    return Err(libc::EACCES);
                }
                self.confirm(&call, |s| ops::bind(&mut s.stack, fd, &a))
            }
            libc::SYS_connect => self.connect(job, fd, &name),
            libc::SYS_listen => self.confirm(&call, |s| ops::listen(&mut s.stack, fd, call.int(1))),
            libc::SYS_accept => self.accept(job, fd, &name, 0),
            libc::SYS_accept4 => self.accept(job, fd, &name, call.int(3)),
            libc::SYS_getsockname => {
                let a = ops::getsockname(&mut self.stack, fd)?;
                write_sized(tid, call.args[1], call.args[2], a.bytes()).map(|()| Outcome::Value(0))
            }
            libc::SYS_getpeername => {
                let a = ops::getpeername(&mut self.stack, fd)?;
                write_sized(tid, call.args[1], call.args[2], a.bytes()).map(|()| Outcome::Value(0))
            }
            libc::SYS_setsockopt => self.setsockopt(&call, fd),
            libc::SYS_getsockopt => self.getsockopt(&call, fd),
            libc::SYS_shutdown => self.confirm(&call, |s| ops::shutdown(&mut s.stack, fd, call.int(1))),
            libc::SYS_ioctl => self.ioctl(&call, fd, name.stream),
            libc::SYS_sendto => self.sendto(job, fd, &name),
            libc::SYS_sendmsg => self.sendmsg(job, fd, &name),
            libc::SYS_sendmmsg => self.sendmmsg(job, fd, &name),
            libc::SYS_recvfrom => self.recvfrom(job, fd, &name),
            libc::SYS_recvmsg => self.recvmsg(job, fd, &name),
            libc::SYS_recvmmsg => self.recvmmsg(job, fd, &name),
            _ => Ok(Outcome::GoOn),
        }
    }

    /// Does something that returns 0, if what was read from the caller was the caller's.
    fn confirm(
        &mut self,
        call: &Call,
        f: impl FnOnce(&mut Self) -> Result<(), Errno>,
    ) -> Result<Outcome, Errno> {
        if !self.listener.is_valid(call.id) {
            return Ok(Outcome::Gone);
        }
        f(self).map(|()| Outcome::Value(0))
    }

    fn socket(&mut self, call: &Call) -> Result<Outcome, Errno> {
        let kind = call.int(1);
        // The session is the supervisor's, whose rights the caller may have given up. Everybody may listen to routing sockets.
        // They name the process that asks.
        let (flags, pid) = if matches!(call.int(0), libc::AF_NETLINK | AF_ROUTE) {
            let flags = if target::may(call.tid, CAP_NET_ADMIN) { 0 } else { sockf::LOOKS };
            (flags, target::process(call.tid))
        } else if kind & SOCK_TYPE_MASK == libc::SOCK_RAW && !target::may(call.tid, CAP_NET_RAW) {
            return Err(libc::EPERM);
        } else {
            (0, 0)
        };
        let fd = ops::socket(&mut self.stack, call.int(0), kind, call.int(2), flags, pid)?;
        // SAFETY: a fresh descriptor, ours alone.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Outcome::Fd(fd, kind & libc::SOCK_CLOEXEC != 0))
    }

    fn connect(&mut self, job: &mut Job, fd: RawFd, name: &PairName) -> Result<Outcome, Errno> {
        let call = job.call;
        let waits = may_wait(fd, 0);
        if job.done > 0 {
            return match ops::connect_status(&mut self.stack, fd) {
                Err(libc::EINPROGRESS) => Ok(Outcome::Wait(OUT)),
                r => r.map(|()| Outcome::Value(0)),
            };
        }
        let to = read_sockaddr(call.tid, call.args[1], call.args[2])?;
        if !self.listener.is_valid(call.id) {
            return Ok(Outcome::Gone);
        }
        let begun = self.begun.iter().position(|n| *n == name.number).map(|i| self.begun.swap_remove(i));
        let c = match ops::connect(&mut self.stack, fd, &to, waits) {
            // Its wait was interrupted, and it came up meanwhile: for the caller it is one call.
            Err(libc::EISCONN) if waits && begun.is_some() => return Ok(Outcome::Value(0)),
            // A second blocking connect waits for the first one's end.
            Err(libc::EALREADY) if waits => ops::Connected { in_progress: true, replace: None, taken: 0 },
            r => r?,
        };
        self.replaced(job, &c)?;
        match (c.in_progress, waits) {
            (false, _) => Ok(Outcome::Value(0)),
            (true, false) => Err(libc::EINPROGRESS),
            (true, true) => {
                job.done = 1;
                Ok(Outcome::Wait(OUT))
            }
        }
    }

    /// Puts the descriptor that a connect brought in the place of the caller's.
    pub(super) fn replaced(&mut self, job: &mut Job, c: &ops::Connected) -> Result<(), Errno> {
        let call = job.call;
        if let Some(new) = c.replace {
            // SAFETY: a fresh descriptor, ours alone.
            let new = unsafe { OwnedFd::from_raw_fd(new) };
            let cloexec = target::is_cloexec(call.tid, call.int(0));
            self.listener.replace(call.id, new.as_raw_fd(), call.int(0), cloexec)?;
            job.fd = Some(new);
        }
        Ok(())
    }

    fn accept(&mut self, job: &mut Job, fd: RawFd, name: &PairName, flags: i32) -> Result<Outcome, Errno> {
        let call = job.call;
        if flags & !(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC) != 0 {
            return Err(libc::EINVAL);
        }
        if !self.listener.is_valid(call.id) {
            return Ok(Outcome::Gone);
        }
        let (new, peer) = match self.strays.iter().position(|s| s.listener == name.number) {
            Some(i) => {
                let s = self.strays.swap_remove(i);
                (s.fd, s.peer)
            }
            None => match ops::accept(&mut self.stack, fd, flags) {
                Err(libc::EAGAIN) if job.seen & HUP != 0 => return Err(libc::EINVAL), // shut down
                Err(libc::EAGAIN) if may_wait(fd, 0) => {
                    return Ok(Outcome::Wait(IN | libc::EPOLLRDHUP as u32));
                }
                // SAFETY: a fresh descriptor, ours alone.
                r => r.map(|(new, peer)| (unsafe { OwnedFd::from_raw_fd(new) }, peer))?,
            },
        };
        if call.args[1] != 0 {
            write_sized(call.tid, call.args[1], call.args[2], peer.bytes())?;
        }
        match self.listener.descriptor(call.id, new.as_raw_fd(), flags & libc::SOCK_CLOEXEC != 0) {
            Ok(_) => Ok(Outcome::Answered),
            // Interrupted just now: the connection is for the next accept on this listener.
            Err(libc::ENOENT) => {
                self.strays.push(Stray { listener: name.number, fd: new, peer, since: Instant::now() });
                Ok(Outcome::Gone)
            }
            Err(e) => Err(e),
        }
    }

    fn setsockopt(&mut self, call: &Call, fd: RawFd) -> Result<Outcome, Errno> {
        let (level, name) = (call.int(1), call.int(2));
        if ops::is_native_option(level, name) {
            return Ok(Outcome::GoOn);
        }
        let len = usize::try_from(call.int(4)).map_err(|_| libc::EINVAL)?;
        if (level, name) == (SOL_PACKET, PACKET_RX_RING) {
            // Nobody could map it: that takes the preload library.
            return Err(libc::EOPNOTSUPP);
        }
        if ops::is_program(level, name) {
            return if len == 16 { self.attach_filter(call, fd, name) } else { Err(libc::EINVAL) };
        }
        if len > iopkt_sockproto::MAX_SOCKOPT {
            return Err(libc::EINVAL);
        }
        let mut value = vec![0; len];
        target::read(call.tid, call.args[3], &mut value)?;
        self.confirm(call, |s| ops::setsockopt(&mut s.stack, fd, level, name, &value))
    }

    /// SO_ATTACH_FILTER and SO_ATTACH_REUSEPORT_CBPF: a `struct sock_fprog`, count and pointer.
    fn attach_filter(&mut self, call: &Call, fd: RawFd, name: i32) -> Result<Outcome, Errno> {
        let mut prog = [0; 16];
        target::read(call.tid, call.args[3], &mut prog)?;
        let count = u16::from_ne_bytes([prog[0], prog[1]]);
        let at = u64::from_ne_bytes(prog[8..].try_into().unwrap_or_default());
        let mut insns = vec![0; ops::program_length(count.into())?];
        target::read(call.tid, at, &mut insns)?;
        self.confirm(call, |s| ops::attach_filter(&mut s.stack, fd, name, &insns))
    }

    fn getsockopt(&mut self, call: &Call, fd: RawFd) -> Result<Outcome, Errno> {
        let (level, name) = (call.int(1), call.int(2));
        if ops::is_native_option(level, name) {
            return Ok(Outcome::GoOn);
        }
        let mut room = [0; 4];
        target::read(call.tid, call.args[4], &mut room)?;
        let room = usize::try_from(i32::from_ne_bytes(room)).map_err(|_| libc::EINVAL)?;
        let mut value = [0u8; iopkt_sockproto::MAX_SOCKOPT];
        let room = room.min(value.len());
        if ops::asks_with_value(level, name) {
            target::read(call.tid, call.args[3], &mut value[..room])?;
        }
        let n = ops::getsockopt(&mut self.stack, fd, level, name, &mut value[..room])?;
        target::write(call.tid, call.args[3], &value[..n])?;
        target::write(call.tid, call.args[4], &(n as u32).to_ne_bytes())?;
        Ok(Outcome::Value(0))
    }

    /// if_nametoindex(3) and if_indextoname(3) ask on a Unix socket, which only the kernel would answer.
    fn names_of_interfaces(&mut self, call: &Call, fd: RawFd) -> Result<Outcome, Errno> {
        let request = call.args[1] as u32;
        if call.nr != libc::SYS_ioctl || ![SIOCGIFINDEX, SIOCGIFNAME].contains(&request) || !is_unix(fd) {
            return Ok(Outcome::GoOn);
        }
        let asked =
            ops::socket(&mut self.stack, libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0, 0, 0)?;
        // SAFETY: a fresh descriptor, ours alone.
        let asked = unsafe { OwnedFd::from_raw_fd(asked) };
        self.ioctl(call, asked.as_raw_fd(), false)
    }

    fn ioctl(&mut self, call: &Call, fd: RawFd, stream: bool) -> Result<Outcome, Errno> {
        let request = call.args[1] as u32;
        if stream && (request == SIOCINQ || request == iopkt_sockproto::linux::SIOCATMARK) {
            // The pair of a stream knows that itself.
            return Ok(Outcome::GoOn);
        }
        let (tid, at) = (call.tid, call.args[2]);
        if changes_interface(request) && !target::may(tid, CAP_NET_ADMIN) {
            return Err(libc::EPERM);
        }
        match ops::ioctl_shape(request) {
            Some(ops::IoctlShape::Ifreq) => {
                let mut ifreq = [0u8; IFREQ_LEN];
                target::read(tid, at, &mut ifreq)?;
                if !self.listener.is_valid(call.id) {
                    return Ok(Outcome::Gone);
                }
                ops::ioctl_ifreq(&mut self.stack, fd, request, &mut ifreq)?;
                target::write(tid, at, &ifreq)?;
            }
            Some(ops::IoctlShape::Int) => {
                let v = ops::ioctl_int(&mut self.stack, fd, request)?;
                target::write(tid, at, &v.to_ne_bytes())?;
            }
            Some(ops::IoctlShape::Ifconf) => {
                // struct ifconf: length, padding, pointer (NULL asks for the length only).
                let mut ifconf = [0u8; 16];
                target::read(tid, at, &mut ifconf)?;
                let [size, buf] = [&ifconf[..8], &ifconf[8..]]
                    .map(|b| u64::from_ne_bytes(b.try_into().unwrap_or_default()));
                let size = usize::try_from(size as u32 as i32).map_err(|_| libc::EINVAL)?;
                let mut list = vec![0u8; if buf == 0 { 0 } else { size.min(MAX_IFCONF) }];
                let len = ops::ioctl_ifconf(&mut self.stack, fd, (buf != 0).then_some(&mut list[..]))?;
                if buf != 0 {
                    target::write(tid, buf, list.get(..len).ok_or(libc::EIO)?)?;
                }
                target::write(tid, at, &(len as i32).to_ne_bytes())?;
            }
            None => return Err(libc::ENOTTY),
        }
        Ok(Outcome::Value(0))
    }
}

/// Whether this is a Unix socket of the kernel's.
fn is_unix(fd: RawFd) -> bool {
    let (mut v, mut len) = (0i32, 4u32);
    // SAFETY: room for an int.
    let r =
        unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_DOMAIN, (&raw mut v).cast(), &raw mut len) };
    r == 0 && v == libc::AF_UNIX
}
