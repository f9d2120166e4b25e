//! The data calls, as far as they need help: those with an address, control messages or unusual flags, and all on datagram
//! sockets. Everything else is passed to the kernel at once.

use core::ffi::{c_int, c_uint, c_void};

use iopkt_shim::sys::{self, Result};
use iopkt_shim::{ident, ops};
use iopkt_sockproto::{Addr, PairName};
use libc::{iovec, mmsghdr, msghdr, size_t, sockaddr, socklen_t, ssize_t, timespec};

use crate::control::{give_address, sockaddr_bytes};
use crate::ends::{broken, ended, streamed, written};
use crate::{datagram, fresh, length, nodes, real, status};

const UNUSUAL_SEND: c_int = libc::MSG_OOB | libc::MSG_FASTOPEN;
const UNUSUAL_RECV: c_int = libc::MSG_OOB | libc::MSG_ERRQUEUE;

fn one(buf: *const c_void, len: usize) -> iovec {
    iovec { iov_base: buf.cast_mut(), iov_len: len }
}

/// Most bytes that an urgent send, or a connecting one, hands to the stack itself.
const HANDED: usize = 4096;

/// sendto(2) with MSG_FASTOPEN on a stream.
///
/// # Safety
/// As sendmsg(2).
unsafe fn send_connecting(fd: c_int, m: &msghdr, flags: c_int) -> Result<usize> {
    if m.msg_name.is_null() {
        return Err(libc::EINVAL);
    }
    let waits = flags & libc::MSG_DONTWAIT == 0 && !sys::is_nonblocking(fd)?;
    let mut data = [0u8; HANDED];
    // SAFETY: the caller's promise.
    unsafe {
        let to = sockaddr_bytes(m.msg_name.cast(), m.msg_namelen)?;
        let n = gather(m, 0, &mut data);
        let taken = crate::control::connect_sending(fd, to, &data[..n], waits)?;
        if waits { send_part(fd, m, taken, total(m), flags & !libc::MSG_FASTOPEN) } else { Ok(taken) }
    }
}

/// send(2) with MSG_OOB on a stream: the stack takes the end of it, whose last byte is urgent; what is before goes as ever.
///
/// # Safety
/// As sendmsg(2).
unsafe fn send_urgent(fd: c_int, m: &msghdr, flags: c_int) -> Result<usize> {
    let plain = flags & !libc::MSG_OOB;
    let mut data = [0u8; HANDED];
    // SAFETY: the caller's promise.
    unsafe {
        let whole = total(m);
        let before = whole.saturating_sub(HANDED);
        let done = send_part(fd, m, 0, before, plain)?;
        if done < before {
            return Ok(done);
        }
        let n = gather(m, before, &mut data);
        match ops::send_urgent(&mut crate::session::Stack, fd, &data[..n])? {
            Some(n) => Ok(before + n),
            // The pair joins two programs: its own urgent byte.
            None => {
                let last = whole.saturating_sub(1);
                let done = send_part(fd, m, before, last, plain)?;
                if done < last { Ok(done) } else { send_part(fd, m, last, whole, flags) }
            }
        }
    }
}

/// Sends bytes `at..end` of a message through the pair; returns where it stopped: an error only counts when nothing of the
/// message has gone.
///
/// # Safety
/// As sendmsg(2).
unsafe fn send_part(fd: c_int, m: &msghdr, at: usize, end: usize, flags: c_int) -> Result<usize> {
    let mut done = at;
    while done < end {
        // SAFETY: the caller's promise.
        match unsafe { send_from(fd, m, done, end, flags) } {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if done == 0 => return Err(e),
            Err(_) => break,
        }
    }
    Ok(done)
}

/// Bytes of a message.
///
/// # Safety
/// The list of parts must be readable.
unsafe fn total(m: &msghdr) -> usize {
    // SAFETY: the caller's promise.
    (0..m.msg_iovlen).fold(0usize, |n, i| n.saturating_add(unsafe { (*m.msg_iov.add(i)).iov_len }))
}

/// Copies a message's bytes from `at` on; returns how many that was.
///
/// # Safety
/// The message's parts must be readable.
unsafe fn gather(m: &msghdr, mut at: usize, out: &mut [u8]) -> usize {
    let mut n = 0;
    for i in 0..m.msg_iovlen {
        // SAFETY: the caller's promise.
        let v = unsafe { *m.msg_iov.add(i) };
        let skip = at.min(v.iov_len);
        at -= skip;
        let k = (v.iov_len - skip).min(out.len() - n);
        if k > 0 {
            // SAFETY: within the part, and within `out`.
            unsafe {
                let from = v.iov_base.cast::<u8>().add(skip);
                core::ptr::copy_nonoverlapping(from, out[n..].as_mut_ptr(), k);
            }
            n += k;
        }
    }
    n
}

/// Sends bytes `at..end` of a message through the pair, of one part at most; returns how many went.
///
/// # Safety
/// The message's parts must be readable.
unsafe fn send_from(fd: c_int, m: &msghdr, at: usize, end: usize, flags: c_int) -> Result<usize> {
    let mut skip = at;
    for i in 0..m.msg_iovlen {
        // SAFETY: the caller's promise.
        let v = unsafe { *m.msg_iov.add(i) };
        if skip >= v.iov_len {
            skip -= v.iov_len;
            continue;
        }
        let n = (v.iov_len - skip).min(end - at);
        let from = v.iov_base as usize + skip;
        // SAFETY: within the part.
        return unsafe { sys::marked(libc::SYS_sendto, [fd as usize, from, n, flags as usize, 0]) };
    }
    Ok(0)
}

/// Refuses a write to a stream that is not connected, as Linux does; one that connects by the way is let through.
#[inline]
pub fn may_send(fd: c_int, flags: c_int) -> Result<()> {
    if !fresh::maybe(fd) || flags & libc::MSG_FASTOPEN != 0 {
        return Ok(());
    }
    fresh::may_write(fd).inspect_err(|_| {
        if flags & libc::MSG_NOSIGNAL == 0 {
            sys::raise(libc::SIGPIPE);
        }
    })
}

/// An urgent or connecting send on a stream.
///
/// # Safety
/// As sendmsg(2).
unsafe fn send_unusual(fd: c_int, m: &msghdr, flags: c_int) -> Result<usize> {
    // SAFETY: the caller's promise.
    unsafe {
        if flags & libc::MSG_FASTOPEN != 0 {
            send_connecting(fd, m, flags)
        } else {
            send_urgent(fd, m, flags)
        }
    }
}

fn refuse_recv(flags: c_int) -> Result<()> {
    if flags & libc::MSG_ERRQUEUE != 0 { Err(libc::EAGAIN) } else { Ok(()) }
}

/// The result of a call on a datagram socket. One that could not reach the stack is left to the supervisor, if there is one:
/// without the mark it gets the call.
///
/// # Safety
/// The arguments must be those of the call `nr`.
unsafe fn settled(r: Result<usize>, nr: libc::c_long, args: [usize; 6]) -> Result<usize> {
    match r {
        // SAFETY: the caller's promise.
        Err(libc::ENETDOWN) if crate::session::supervised() => unsafe { sys::call(nr, args) },
        r => r,
    }
}

/// recvfrom(2) by the supervisor, which hears of it because of the address.
///
/// # Safety
/// As recvfrom(2).
unsafe fn received(r: Result<usize>, fd: c_int, part: &iovec, flags: c_int) -> Result<usize> {
    let mut from = [0u8; 28];
    let mut len: socklen_t = 28;
    let (addr, len) = (&raw mut from as usize, &raw mut len as usize);
    let args = [fd as usize, part.iov_base as usize, part.iov_len, flags as usize, addr, len];
    // SAFETY: the program's buffer and our own room for an address.
    unsafe { settled(r, libc::SYS_recvfrom, args) }
}

/// send(2).
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn send(fd: c_int, buf: *const c_void, len: size_t, flags: c_int) -> ssize_t {
    // SAFETY: the program's arguments.
    unsafe { sendto(fd, buf, len, flags, core::ptr::null(), 0) }
}

/// sendto(2).
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sendto(
    fd: c_int,
    buf: *const c_void,
    len: size_t,
    flags: c_int,
    addr: *const sockaddr,
    addr_len: socklen_t,
) -> ssize_t {
    // SAFETY: the program's arguments.
    unsafe {
        if let Err(e) = may_send(fd, flags) {
            return length(Err(e));
        }
        if addr.is_null() && flags & UNUSUAL_SEND == 0 {
            let Some(p) = datagram::pair(fd) else {
                let n = real::send(fd, buf, len, flags | libc::MSG_NOSIGNAL);
                return if n < 0 && *libc::__errno_location() == libc::EPIPE {
                    length(broken(fd, flags, len))
                } else {
                    n
                };
            };
            return length(datagram::send(fd, &p, &one(buf, len), 1, &[], &[], flags));
        }
        length(sendto_addressed(fd, one(buf, len), flags, addr, addr_len))
    }
}

/// # Safety
/// As sendto(2).
unsafe fn sendto_addressed(
    fd: c_int,
    part: iovec,
    flags: c_int,
    addr: *const sockaddr,
    addr_len: socklen_t,
) -> Result<usize> {
    // SAFETY: the program's arguments.
    unsafe {
        let mut m: msghdr = core::mem::zeroed();
        m.msg_iov = (&raw const part).cast_mut();
        m.msg_iovlen = 1;
        match ident::pair(fd) {
            Some(p) if p.stream && flags & UNUSUAL_SEND != 0 => {
                m.msg_name = addr.cast_mut().cast();
                m.msg_namelen = addr_len;
                return send_unusual(fd, &m, flags);
            }
            Some(p) if p.stream => {}
            Some(p) => {
                let to = if addr.is_null() { &[][..] } else { sockaddr_bytes(addr.cast(), addr_len)? };
                let r = datagram::send(fd, &p, &part, 1, to, &[], flags);
                let (at, n) = (part.iov_base as usize, part.iov_len);
                let args = [fd as usize, at, n, flags as usize, addr as usize, addr_len as usize];
                return settled(r, libc::SYS_sendto, args);
            }
            None => {
                m.msg_name = addr.cast_mut().cast();
                m.msg_namelen = addr_len;
            }
        }
        unbroken(fd, &m, flags)
    }
}

/// sendmsg(2) on what may be a stream: see [`broken`].
///
/// # Safety
/// As sendmsg(2).
unsafe fn unbroken(fd: c_int, m: &msghdr, flags: c_int) -> Result<usize> {
    // SAFETY: the program's message.
    match unsafe { sys::sendmsg(fd, m, flags | libc::MSG_NOSIGNAL) } {
        // SAFETY: as above.
        Err(libc::EPIPE) => broken(fd, flags, unsafe { total(m) }),
        r => r,
    }
}

/// writev(2).
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn writev(fd: c_int, iov: *const iovec, n: c_int) -> ssize_t {
    if let Err(e) = may_send(fd, 0) {
        return length(Err(e));
    }
    // SAFETY: the program's arguments.
    unsafe {
        let r = real::writev(fd, iov, n);
        if r >= 0 {
            return r;
        }
        let parts = core::slice::from_raw_parts(iov, if iov.is_null() { 0 } else { n.max(0) as usize });
        written(fd, r, parts.iter().fold(0usize, |n, v| n.saturating_add(v.iov_len)))
    }
}

/// # Safety
/// As sendmsg(2).
unsafe fn send_message(fd: c_int, m: *const msghdr, flags: c_int) -> Result<usize> {
    may_send(fd, flags)?;
    // SAFETY: the program's message.
    unsafe {
        let h = &*m;
        let plain = h.msg_name.is_null() && flags & UNUSUAL_SEND == 0;
        let p = if plain { datagram::pair(fd) } else { ident::pair(fd) };
        match p {
            None => unbroken(fd, h, flags),
            Some(p) if p.stream && flags & UNUSUAL_SEND != 0 => send_unusual(fd, h, flags),
            Some(p) if p.stream => {
                let mut bare = *h;
                bare.msg_name = core::ptr::null_mut();
                bare.msg_namelen = 0;
                unbroken(fd, &bare, flags)
            }
            Some(p) => {
                let to =
                    if h.msg_name.is_null() { &[][..] } else { sockaddr_bytes(h.msg_name, h.msg_namelen)? };
                let control = match h.msg_controllen {
                    0 => &[][..],
                    _ if h.msg_control.is_null() => &[][..],
                    n => core::slice::from_raw_parts(h.msg_control.cast::<u8>(), n),
                };
                let r = datagram::send(fd, &p, h.msg_iov, h.msg_iovlen, to, control, flags);
                settled(r, libc::SYS_sendmsg, [fd as usize, m as usize, flags as usize, 0, 0, 0])
            }
        }
    }
}

/// sendmsg(2).
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sendmsg(fd: c_int, m: *const msghdr, flags: c_int) -> ssize_t {
    // SAFETY: the program's message.
    length(unsafe { send_message(fd, m, flags) })
}

/// sendmmsg(2).
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sendmmsg(fd: c_int, list: *mut mmsghdr, n: c_uint, flags: c_int) -> c_int {
    // SAFETY: the program's messages.
    unsafe {
        if ident::pair(fd).is_none() {
            let a = [fd as usize, list as usize, n as usize, flags as usize, 0];
            return status(sys::marked(libc::SYS_sendmmsg, a));
        }
        let mut done = 0;
        while done < n {
            let m = list.add(done as usize);
            match send_message(fd, &raw const (*m).msg_hdr, flags) {
                Ok(len) => (*m).msg_len = len as c_uint,
                Err(e) if done == 0 => return crate::fail(e),
                Err(_) => break,
            }
            done += 1;
        }
        done as c_int
    }
}

/// recv(2).
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn recv(fd: c_int, buf: *mut c_void, len: size_t, flags: c_int) -> ssize_t {
    // SAFETY: the program's arguments.
    unsafe { recvfrom(fd, buf, len, flags, core::ptr::null_mut(), core::ptr::null_mut()) }
}

/// recvfrom(2).
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn recvfrom(
    fd: c_int,
    buf: *mut c_void,
    len: size_t,
    flags: c_int,
    addr: *mut sockaddr,
    addr_len: *mut socklen_t,
) -> ssize_t {
    // SAFETY: the program's arguments.
    unsafe {
        if let Err(e) = fresh::may_read(fd) {
            return length(Err(e));
        }
        if addr.is_null() && flags & UNUSUAL_RECV == 0 && datagram::pair(fd).is_none() {
            return streamed(fd, real::recv(fd, buf, len, flags), len);
        }
        length(recvfrom_addressed(fd, one(buf, len), flags, addr, addr_len))
    }
}

/// # Safety
/// As recvfrom(2).
unsafe fn recvfrom_addressed(
    fd: c_int,
    part: iovec,
    flags: c_int,
    addr: *mut sockaddr,
    addr_len: *mut socklen_t,
) -> Result<usize> {
    // SAFETY: the program's arguments.
    unsafe {
        match ident::pair(fd) {
            Some(p) if p.stream => {
                refuse_recv(flags)?;
                let a = [fd as usize, part.iov_base as usize, part.iov_len, flags as usize, 0];
                let mut n = sys::marked(libc::SYS_recvfrom, a)?;
                if n == 0 && part.iov_len > 0 {
                    n = ended(fd)?;
                }
                give_address(addr.cast(), addr_len, &ops::SockAddr::new(&Addr::NONE))?;
                Ok(n)
            }
            Some(p) => {
                let r = match datagram::receive(fd, &p, &part, 1, flags) {
                    Err(e) if addr.is_null() => return received(Err(e), fd, &part, flags),
                    Err(e) => {
                        let (at, n) = (part.iov_base as usize, part.iov_len);
                        let args = [fd as usize, at, n, flags as usize, addr as usize, addr_len as usize];
                        return settled(Err(e), libc::SYS_recvfrom, args);
                    }
                    Ok(r) => r,
                };
                if !addr.is_null() {
                    give_address(addr.cast(), addr_len, &r.sender(fd))?;
                }
                Ok(r.returned(flags))
            }
            None => {
                let mut m: msghdr = core::mem::zeroed();
                m.msg_iov = (&raw const part).cast_mut();
                m.msg_iovlen = 1;
                if !addr.is_null() && !addr_len.is_null() {
                    m.msg_name = addr.cast();
                    m.msg_namelen = *addr_len;
                }
                let n = sys::recvmsg(fd, &raw mut m, flags)?;
                if !addr_len.is_null() {
                    *addr_len = m.msg_namelen;
                }
                Ok(n)
            }
        }
    }
}

/// One datagram into a program's message header.
///
/// # Safety
/// As recvmsg(2).
unsafe fn receive_message(fd: c_int, p: &PairName, m: *mut msghdr, flags: c_int) -> Result<usize> {
    // SAFETY: the program's message.
    unsafe {
        let h = &mut *m;
        let r = datagram::receive(fd, p, h.msg_iov, h.msg_iovlen, flags)?;
        if h.msg_name.is_null() {
            h.msg_namelen = 0;
        } else {
            let from = r.sender(fd);
            let room = (h.msg_namelen as usize).min(from.bytes().len());
            core::ptr::copy_nonoverlapping(from.bytes().as_ptr(), h.msg_name.cast::<u8>(), room);
            h.msg_namelen = from.bytes().len() as socklen_t;
        }
        h.msg_flags = (if r.len < r.full { libc::MSG_TRUNC } else { 0 }) | (flags & libc::MSG_ERRQUEUE);
        let room = if h.msg_control.is_null() { 0 } else { h.msg_controllen };
        let out = if room == 0 {
            &mut [][..]
        } else {
            core::slice::from_raw_parts_mut(h.msg_control.cast::<u8>(), room)
        };
        let (len, cut) = r.control(fd, p, out);
        h.msg_controllen = len as _;
        if cut {
            h.msg_flags |= libc::MSG_CTRUNC;
        }
        Ok(r.returned(flags))
    }
}

/// # Safety
/// As recvmsg(2).
unsafe fn receive_any(fd: c_int, m: *mut msghdr, flags: c_int) -> Result<usize> {
    // SAFETY: the program's message.
    unsafe {
        if let Some(p) = datagram::pair(fd) {
            let r = receive_message(fd, &p, m, flags);
            return settled(r, libc::SYS_recvmsg, [fd as usize, m as usize, flags as usize, 0, 0, 0]);
        }
        let named = !(*m).msg_name.is_null();
        if (named || flags & UNUSUAL_RECV != 0) && ident::pair(fd).is_some() {
            // A stream: no address, no control messages.
            refuse_recv(flags)?;
            let name = (*m).msg_name;
            (*m).msg_name = core::ptr::null_mut();
            let r = sys::recvmsg(fd, m, flags);
            (*m).msg_name = name;
            (*m).msg_namelen = 0;
            return if r == Ok(0) { ended(fd) } else { r };
        }
        let r = sys::recvmsg(fd, m, flags);
        if r == Ok(0) {
            ended(fd)?;
        }
        if r.is_ok() && (*m).msg_controllen > 0 && !(*m).msg_control.is_null() {
            notice_passed(m);
        }
        r
    }
}

/// Descriptors may have come with a message.
///
/// # Safety
/// `m` must be a message that recvmsg(2) has filled.
unsafe fn notice_passed(m: *const msghdr) {
    // SAFETY: the kernel wrote the control messages.
    unsafe {
        let mut c = libc::CMSG_FIRSTHDR(m);
        while !c.is_null() {
            if (*c).cmsg_level == libc::SOL_SOCKET && (*c).cmsg_type == libc::SCM_RIGHTS {
                let n = ((*c).cmsg_len as usize).saturating_sub(libc::CMSG_LEN(0) as usize) / 4;
                for i in 0..n {
                    datagram::notice(libc::CMSG_DATA(c).cast::<c_int>().add(i).read_unaligned());
                }
            }
            c = libc::CMSG_NXTHDR(m, c);
        }
    }
}

/// recvmsg(2).
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn recvmsg(fd: c_int, m: *mut msghdr, flags: c_int) -> ssize_t {
    // SAFETY: the program's message.
    let r = fresh::may_read(fd).and_then(|()| unsafe {
        // Linux looks at the length before it waits.
        if !(*m).msg_name.is_null() && ((*m).msg_namelen as i32) < 0 && ident::pair(fd).is_some() {
            return Err(libc::EINVAL);
        }
        receive_any(fd, m, flags)
    });
    length(r)
}

/// recvmmsg(2). The time-out is looked at, as in Linux, only between two messages.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn recvmmsg(
    fd: c_int,
    list: *mut mmsghdr,
    n: c_uint,
    flags: c_int,
    timeout: *mut timespec,
) -> c_int {
    // SAFETY: the program's messages.
    unsafe {
        let Some(p) = ident::pair(fd).filter(|p| !p.stream) else {
            let a = [fd as usize, list as usize, n as usize, flags as usize, timeout as usize];
            return status(sys::marked(libc::SYS_recvmmsg, a));
        };
        let end = if timeout.is_null() {
            u64::MAX
        } else {
            let t = *timeout;
            sys::realtime().saturating_add((t.tv_sec as u64).saturating_mul(1_000_000_000) + t.tv_nsec as u64)
        };
        let mut flags_now = flags & !libc::MSG_WAITFORONE;
        let mut done = 0;
        while done < n {
            let m = list.add(done as usize);
            match receive_message(fd, &p, &raw mut (*m).msg_hdr, flags_now) {
                Ok(len) => (*m).msg_len = len as c_uint,
                Err(e) if done == 0 => return crate::fail(e),
                Err(_) => break,
            }
            done += 1;
            if flags & libc::MSG_WAITFORONE != 0 {
                flags_now |= libc::MSG_DONTWAIT;
            }
            if sys::realtime() >= end {
                break;
            }
        }
        done as c_int
    }
}

/// read(2).
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn read(fd: c_int, buf: *mut c_void, len: size_t) -> ssize_t {
    // SAFETY: the program's arguments.
    unsafe {
        match datagram::pair(fd) {
            None if fresh::maybe(fd) && fresh::may_read(fd).is_err() => length(Err(libc::ENOTCONN)),
            None => streamed(fd, real::read(fd, buf, len), len),
            // bpf(4): a read is of the buffer's length.
            Some(p) if nodes::read_length(&p).is_some_and(|n| n != len) => length(Err(libc::EINVAL)),
            Some(p) => {
                let part = one(buf, len);
                length(received(datagram::receive(fd, &p, &part, 1, 0).map(|r| r.len), fd, &part, 0))
            }
        }
    }
}

/// readv(2).
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn readv(fd: c_int, iov: *const iovec, n: c_int) -> ssize_t {
    // SAFETY: the program's arguments.
    unsafe {
        match datagram::pair(fd) {
            Some(p) if n >= 0 => length(datagram::receive(fd, &p, iov, n as usize, 0).map(|r| r.len)),
            _ if fresh::may_read(fd).is_err() => length(Err(libc::ENOTCONN)),
            _ => streamed(fd, real::readv(fd, iov, n), 1),
        }
    }
}

/// Ends the program when a fortified call's buffer is too small, as glibc does.
fn fortified(len: size_t, room: size_t) {
    if len > room {
        // SAFETY: ends the process.
        unsafe { libc::abort() }
    }
}

/// read(2) of programs built with _FORTIFY_SOURCE.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __read_chk(fd: c_int, buf: *mut c_void, len: size_t, room: size_t) -> ssize_t {
    fortified(len, room);
    // SAFETY: the program's arguments.
    unsafe { read(fd, buf, len) }
}

/// recv(2) of programs built with _FORTIFY_SOURCE.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __recv_chk(
    fd: c_int,
    buf: *mut c_void,
    len: size_t,
    room: size_t,
    flags: c_int,
) -> ssize_t {
    fortified(len, room);
    // SAFETY: the program's arguments.
    unsafe { recv(fd, buf, len, flags) }
}

/// recvfrom(2) of programs built with _FORTIFY_SOURCE.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __recvfrom_chk(
    fd: c_int,
    buf: *mut c_void,
    len: size_t,
    room: size_t,
    flags: c_int,
    addr: *mut sockaddr,
    addr_len: *mut socklen_t,
) -> ssize_t {
    fortified(len, room);
    // SAFETY: the program's arguments.
    unsafe { recvfrom(fd, buf, len, flags, addr, addr_len) }
}
