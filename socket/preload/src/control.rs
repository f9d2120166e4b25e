//! The control calls.

use core::ffi::{c_int, c_ulong, c_void};
use core::sync::atomic::{AtomicU64, Ordering};

use iopkt_shim::sys::{self, Result};
use iopkt_shim::{ident, memory, ops};
use iopkt_sockproto::linux::{AF_ROUTE, IFNAMSIZ, IFREQ_LEN, SIOCGIFINDEX, SIOCGIFNAME};
use iopkt_sockproto::{bpf, sockf};
use libc::{sockaddr, socklen_t};

use crate::session::{self, Stack};
use crate::{datagram, fail, fresh, nodes, rings, status, wait};

/// The kernel's own call.
fn native(nr: libc::c_long, args: [usize; 5]) -> c_int {
    // SAFETY: the program's own arguments, as it would have passed them to libc.
    status(unsafe { sys::marked(nr, args) })
}

/// The result of a call on a socket of the stack. One that could not reach the stack is left to the supervisor, if there is
/// one: without the mark it gets the call.
fn settled(r: Result<()>, nr: libc::c_long, args: [usize; 5]) -> c_int {
    match r {
        Ok(()) => 0,
        Err(libc::ENETDOWN) if session::supervised() => {
            let [a, b, c, d, e] = args;
            // SAFETY: the program's own arguments.
            status(unsafe { sys::call(nr, [a, b, c, d, e, 0]) })
        }
        Err(e) => fail(e),
    }
}

/// The bytes of a program's `struct sockaddr`.
///
/// # Safety
/// `addr` must be valid for `len` bytes, as the program says.
pub unsafe fn sockaddr_bytes<'a>(addr: *const c_void, len: socklen_t) -> Result<&'a [u8]> {
    match usize::try_from(len as i32) {
        Ok(0) => Ok(&[]),
        Ok(_) if !memory::plausible(addr) => Err(libc::EFAULT),
        // SAFETY: the caller's promise.
        Ok(n @ 0..=128) => Ok(unsafe { core::slice::from_raw_parts(addr.cast(), n) }),
        _ => Err(libc::EINVAL),
    }
}

/// Hands an address to the program: cut to its room, with the full length.
///
/// # Safety
/// `addr` and `len` must be valid for writing, as the program says, or null.
pub unsafe fn give_address(addr: *mut c_void, len: *mut socklen_t, a: &ops::SockAddr) -> Result<()> {
    if addr.is_null() {
        return Ok(());
    }
    if !memory::plausible(len.cast()) {
        return Err(libc::EFAULT);
    }
    // SAFETY: the caller's promise.
    unsafe {
        let room = usize::try_from(len.read_unaligned() as i32).map_err(|_| libc::EINVAL)?;
        let b = a.bytes();
        if room > 0 && !memory::plausible(addr) {
            return Err(libc::EFAULT);
        }
        core::ptr::copy_nonoverlapping(b.as_ptr(), addr.cast::<u8>(), b.len().min(room));
        len.write_unaligned(b.len() as socklen_t);
    }
    Ok(())
}

/// As [`sockaddr_bytes`], for calls that can afford to ask the kernel whether the memory is there.
///
/// # Safety
/// As [`sockaddr_bytes`].
unsafe fn sockaddr_checked<'a>(addr: *const c_void, len: socklen_t) -> Result<&'a [u8]> {
    // SAFETY: the caller's promise.
    let b = unsafe { sockaddr_bytes(addr, len)? };
    let mut copy = [0; 128];
    // SAFETY: as above; at most 128 bytes.
    unsafe { memory::read(addr, copy.get_mut(..b.len()).unwrap_or(&mut []))? };
    Ok(b)
}

/// As [`give_address`], for calls that can afford to have the kernel write: getsockname(2), getpeername(2), accept(2).
///
/// # Safety
/// As [`give_address`].
unsafe fn give_checked(addr: *mut c_void, len: *mut socklen_t, a: &ops::SockAddr) -> Result<()> {
    // SAFETY: the caller's promise.
    unsafe {
        let room = room_at(len)?;
        let b = a.bytes();
        let told = (b.len() as socklen_t).to_ne_bytes();
        memory::write_both((addr, b.get(..room).unwrap_or(b)), (len.cast(), &told))
    }
}

/// The room that a value-result argument tells.
///
/// # Safety
/// `len` must be valid for reading, as the program says.
unsafe fn room_at(len: *const socklen_t) -> Result<usize> {
    let mut n = [0; 4];
    // SAFETY: the caller's promise.
    unsafe { memory::read(len.cast(), &mut n)? };
    usize::try_from(i32::from_ne_bytes(n)).map_err(|_| libc::EINVAL)
}

/// Descriptors come close-on-exec.
fn inheritable(fd: c_int, flags: c_int) -> c_int {
    if flags & libc::SOCK_CLOEXEC == 0 {
        let _ = sys::fcntl(fd, libc::F_SETFD, 0);
    }
    fd
}

/// socket(2).
#[unsafe(no_mangle)]
pub extern "C" fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int {
    match domain {
        libc::AF_INET | libc::AF_INET6 | libc::AF_PACKET | AF_ROUTE | libc::AF_NETLINK
            if domain != libc::AF_NETLINK
                || matches!(protocol, libc::NETLINK_ROUTE | libc::NETLINK_SOCK_DIAG) =>
        {
            match ops::socket(&mut Stack, domain, kind, protocol, sockf::STRIPS | sockf::JOINS, 0) {
                Ok(fd) => {
                    datagram::notice(fd);
                    if kind & iopkt_sockproto::linux::SOCK_TYPE_MASK == libc::SOCK_STREAM {
                        fresh::made(fd);
                    } else {
                        fresh::gone(fd);
                    }
                    inheritable(fd, kind)
                }
                Err(e) => {
                    let args = [domain as usize, kind as usize, protocol as usize, 0, 0];
                    let fd = settled(Err(e), libc::SYS_socket, args);
                    datagram::notice(fd);
                    fd
                }
            }
        }
        _ => native(libc::SYS_socket, [domain as usize, kind as usize, protocol as usize, 0, 0]),
    }
}

/// bind(2).
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bind(fd: c_int, addr: *const sockaddr, len: socklen_t) -> c_int {
    if ident::pair(fd).is_none() {
        return native(libc::SYS_bind, [fd as usize, addr as usize, len as usize, 0, 0]);
    }
    // SAFETY: the program's address.
    let r = unsafe { sockaddr_checked(addr.cast(), len) }.and_then(|a| ops::bind(&mut Stack, fd, a));
    settled(r, libc::SYS_bind, [fd as usize, addr as usize, len as usize, 0, 0])
}

/// connect(2).
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn connect(fd: c_int, addr: *const sockaddr, len: socklen_t) -> c_int {
    if ident::pair(fd).is_none() {
        return native(libc::SYS_connect, [fd as usize, addr as usize, len as usize, 0, 0]);
    }
    // SAFETY: the program's address.
    let r = unsafe { sockaddr_checked(addr.cast(), len) }.and_then(|a| connect_ours(fd, a));
    settled(r, libc::SYS_connect, [fd as usize, addr as usize, len as usize, 0, 0])
}

fn connect_ours(fd: c_int, addr: &[u8]) -> Result<()> {
    let waits = !sys::is_nonblocking(fd)?;
    let c = match ops::connect(&mut Stack, fd, addr, waits) {
        // A second blocking connect waits for the first one's end.
        Err(libc::EALREADY) if waits => ops::Connected { in_progress: true, replace: None, taken: 0 },
        r => r?,
    };
    datagram::connected(fd);
    let r = finish_connect(fd, &c, waits);
    if matches!(r, Ok(()) | Err(libc::EINPROGRESS | libc::EINTR)) {
        fresh::gone(fd);
    }
    r
}

/// The first part of sendto(2) with MSG_FASTOPEN: connects; returns how much of `data` has gone with the SYN.
///
/// # Errors
/// EINPROGRESS when the caller does not wait and nothing has gone, and those of connect(2).
pub fn connect_sending(fd: c_int, addr: &[u8], data: &[u8], waits: bool) -> Result<usize> {
    let c = ops::connect_sending(&mut Stack, fd, addr, waits, data)?;
    fresh::gone(fd);
    match finish_connect(fd, &c, waits) {
        Err(libc::EINPROGRESS) if c.taken > 0 => Ok(c.taken),
        r => r.map(|()| c.taken),
    }
}

/// Puts a new descriptor in its place, and waits for the handshake if the caller does.
fn finish_connect(fd: c_int, c: &ops::Connected, waits: bool) -> Result<()> {
    if let Some(new) = c.replace {
        let cloexec = sys::fcntl(fd, libc::F_GETFD, 0)? & libc::FD_CLOEXEC != 0;
        let flags = if cloexec { libc::O_CLOEXEC } else { 0 };
        // SAFETY: plain integers.
        let r = unsafe { sys::call(libc::SYS_dup3, [new as usize, fd as usize, flags as usize, 0, 0, 0]) };
        sys::close(new);
        r?;
    }
    match (c.in_progress, waits) {
        (false, _) => return Ok(()),
        (true, false) => return Err(libc::EINPROGRESS),
        (true, true) => {}
    }
    loop {
        wait::writable(fd).map_err(|e| if e == libc::EAGAIN { libc::EINPROGRESS } else { e })?;
        match ops::connect_status(&mut Stack, fd) {
            Err(libc::EINPROGRESS) => {}
            r => return r,
        }
    }
}

/// listen(2).
#[unsafe(no_mangle)]
pub extern "C" fn listen(fd: c_int, backlog: c_int) -> c_int {
    if ident::pair(fd).is_none() {
        return native(libc::SYS_listen, [fd as usize, backlog as usize, 0, 0, 0]);
    }
    settled(ops::listen(&mut Stack, fd, backlog), libc::SYS_listen, [fd as usize, backlog as usize, 0, 0, 0])
}

/// Listeners whose accept(2) has found nothing before, by the number of their pair. One that is forgotten costs a request.
static LISTENERS: [AtomicU64; 16] = [const { AtomicU64::new(0) }; 16];

/// accept(2).
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn accept(fd: c_int, addr: *mut sockaddr, len: *mut socklen_t) -> c_int {
    // SAFETY: the same promise.
    unsafe { accept4(fd, addr, len, 0) }
}

/// accept4(2).
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn accept4(fd: c_int, addr: *mut sockaddr, len: *mut socklen_t, flags: c_int) -> c_int {
    let Some(pair) = ident::pair(fd) else {
        return native(libc::SYS_accept4, [fd as usize, addr as usize, len as usize, flags as usize, 0]);
    };
    if flags & !(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC) != 0 {
        return fail(libc::EINVAL);
    }
    let listens = LISTENERS.get(pair.number as usize % LISTENERS.len());
    let mut waits = listens.is_some_and(|l| l.load(Ordering::Relaxed) == pair.number ^ pair.instance);
    let mut asked = false;
    loop {
        if waits {
            // A listener is readable exactly while a connection waits: then only is it worth a request.
            match wait::readable(fd) {
                Err(e @ (libc::EAGAIN | libc::EINTR)) => return fail(e),
                Ok(false) if asked => return fail(libc::EINVAL), // shut down
                _ => {}
            }
        }
        match ops::accept(&mut Stack, fd, flags) {
            Ok((new, peer)) => {
                // SAFETY: the program's room for the address; none is asked for with a null pointer.
                let give = || unsafe { give_checked(addr.cast(), len, &peer) };
                if let Some(Err(e)) = (!addr.is_null()).then(give) {
                    sys::close(new);
                    return fail(e);
                }
                fresh::gone(new);
                return inheritable(new, flags);
            }
            Err(libc::EAGAIN) => {
                if let Some(l) = listens {
                    l.store(pair.number ^ pair.instance, Ordering::Relaxed);
                }
                (waits, asked) = (true, true);
            }
            Err(e) => {
                let args = [fd as usize, addr as usize, len as usize, flags as usize, 0];
                return settled(Err(e), libc::SYS_accept4, args);
            }
        }
    }
}

/// getsockname(2).
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getsockname(fd: c_int, addr: *mut sockaddr, len: *mut socklen_t) -> c_int {
    if ident::pair(fd).is_none() {
        return native(libc::SYS_getsockname, [fd as usize, addr as usize, len as usize, 0, 0]);
    }
    // SAFETY: the program's room for the address.
    let r = ops::getsockname(&mut Stack, fd).and_then(|a| unsafe { give_checked(addr.cast(), len, &a) });
    settled(r, libc::SYS_getsockname, [fd as usize, addr as usize, len as usize, 0, 0])
}

/// getpeername(2).
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getpeername(fd: c_int, addr: *mut sockaddr, len: *mut socklen_t) -> c_int {
    if ident::pair(fd).is_none() {
        return native(libc::SYS_getpeername, [fd as usize, addr as usize, len as usize, 0, 0]);
    }
    // SAFETY: the program's room for the address.
    let r = ops::getpeername(&mut Stack, fd).and_then(|a| unsafe { give_checked(addr.cast(), len, &a) });
    settled(r, libc::SYS_getpeername, [fd as usize, addr as usize, len as usize, 0, 0])
}

/// shutdown(2).
#[unsafe(no_mangle)]
pub extern "C" fn shutdown(fd: c_int, how: c_int) -> c_int {
    if ident::pair(fd).is_none() {
        return native(libc::SYS_shutdown, [fd as usize, how as usize, 0, 0, 0]);
    }
    match ops::shutdown(&mut Stack, fd, how) {
        Ok(()) => {
            if how != libc::SHUT_RD {
                crate::ends::ended_here(fd);
            }
            0
        }
        e if session::supervised() => settled(e, libc::SYS_shutdown, [fd as usize, how as usize, 0, 0, 0]),
        // The stack is gone: what is left is the pair.
        Err(libc::ENETDOWN) => native(libc::SYS_shutdown, [fd as usize, how as usize, 0, 0, 0]),
        Err(e) => fail(e),
    }
}

/// setsockopt(2).
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn setsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    len: socklen_t,
) -> c_int {
    let Some(pair) = ident::pair(fd).filter(|_| !ops::is_native_option(level, name)) else {
        return native(
            libc::SYS_setsockopt,
            [fd as usize, level as usize, name as usize, value as usize, len as usize],
        );
    };
    if ops::is_program(level, name) && len != 16 {
        return fail(libc::EINVAL);
    }
    if ops::is_program(level, name) {
        // SAFETY: a `struct sock_fprog` of the program.
        let r = unsafe { counted(value, |count| u32::from(count as u16)) }
            .and_then(|insns| ops::attach_filter(&mut Stack, fd, name, insns));
        let args = [fd as usize, level as usize, name as usize, value as usize, len as usize];
        return settled(r, libc::SYS_setsockopt, args);
    }
    let Some(n) = usize::try_from(len as i32).ok().filter(|&n| n <= iopkt_sockproto::MAX_SOCKOPT) else {
        return fail(libc::EINVAL);
    };
    let mut copy = [0; iopkt_sockproto::MAX_SOCKOPT];
    let bytes = copy.get_mut(..n).unwrap_or(&mut []);
    // SAFETY: the program's value, of the length it says.
    if let Err(e) = unsafe { memory::read(value, bytes) } {
        return fail(e);
    }
    let r = ops::setsockopt(&mut Stack, fd, level, name, bytes);
    datagram::option_set(&pair, level, name);
    if (level, name) == (libc::SOL_PACKET, libc::PACKET_RX_RING) {
        rings::forget(&pair);
    }
    settled(
        r,
        libc::SYS_setsockopt,
        [fd as usize, level as usize, name as usize, value as usize, len as usize],
    )
}

/// getsockopt(2).
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    len: *mut socklen_t,
) -> c_int {
    if ops::is_native_option(level, name) || ident::pair(fd).is_none() {
        return native(
            libc::SYS_getsockopt,
            [fd as usize, level as usize, name as usize, value as usize, len as usize],
        );
    }
    // SAFETY: the program's length.
    let room = match unsafe { room_at(len) } {
        Ok(n) => n.min(iopkt_sockproto::MAX_SOCKOPT),
        Err(e) => return fail(e),
    };
    let mut copy = [0; iopkt_sockproto::MAX_SOCKOPT];
    let out = copy.get_mut(..room).unwrap_or(&mut []);
    if ops::asks_with_value(level, name) {
        // SAFETY: the program's value.
        if let Err(e) = unsafe { memory::read(value, out) } {
            return fail(e);
        }
    }
    let mut got = ops::getsockopt(&mut Stack, fd, level, name, out);
    if (level, name) == (libc::SOL_SOCKET, libc::SO_ERROR)
        && got == Ok(4)
        && out.get(..4) == Some(&[0; 4])
        && let Some(e) = datagram::error_before_data(fd)
        && let Some(to) = out.get_mut(..4)
    {
        to.copy_from_slice(&e.to_ne_bytes());
        got = Ok(4);
    }
    match got {
        Ok(n) => {
            let told = out.get(..n).unwrap_or(&[]);
            // SAFETY: the program's room, of the length it says, and its length.
            let r = unsafe {
                memory::write(value, told)
                    .and_then(|()| memory::write(len.cast(), &(n as socklen_t).to_ne_bytes()))
            };
            match r {
                Ok(()) => 0,
                Err(e) => fail(e),
            }
        }
        Err(e) => {
            let args = [fd as usize, level as usize, name as usize, value as usize, len as usize];
            settled(Err(e), libc::SYS_getsockopt, args)
        }
    }
}

/// The instructions that a `struct sock_fprog` or `struct bpf_program` names: a count, padding, a pointer.
///
/// # Safety
/// `at` must be such a structure, as the program says, or null.
pub unsafe fn counted<'a>(at: *const c_void, count: impl Fn(u32) -> u32) -> Result<&'a [u8]> {
    if at.is_null() {
        return Err(libc::EFAULT);
    }
    // SAFETY: the caller's promise.
    unsafe {
        let n = ops::program_length(count(at.cast::<u32>().read_unaligned()))?;
        let insns = at.cast::<u8>().add(8).cast::<*const u8>().read_unaligned();
        match (n, insns.is_null()) {
            (0, _) => Ok(&[]),
            (_, true) => Err(libc::EFAULT),
            _ => Ok(core::slice::from_raw_parts(insns, n)),
        }
    }
}

/// ioctl(2). The third argument is variadic in C; its register is the same on this project's machines.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ioctl(fd: c_int, request: c_ulong, arg: *mut c_void) -> c_int {
    let r = request as u32;
    let is_socket = r & 0xffff_ff00 == 0x8900;
    let is_queue = r == iopkt_sockproto::linux::SIOCINQ || r == iopkt_sockproto::linux::SIOCOUTQ;
    let ours = if is_socket || is_queue { ident::pair(fd) } else { None };
    if bpf::is_node_request(r)
        && let Some(p) = datagram::pair(fd)
    {
        // SAFETY: the program's argument.
        return status(unsafe { nodes::ioctl(fd, &p, r, arg) }.map(|()| 0));
    }
    match ours {
        // How much of a stream is there to read, the pair knows itself.
        Some(p) if !p.stream && r == iopkt_sockproto::linux::SIOCINQ && !arg.is_null() => {
            // SAFETY: an int of the program.
            status(
                datagram::next_length(fd, &p)
                    .map(|n| unsafe { arg.cast::<c_int>().write_unaligned(n as c_int) })
                    .map(|()| 0),
            )
        }
        // And where its urgent byte is.
        Some(p) if p.stream && r == iopkt_sockproto::linux::SIOCATMARK => {
            native(libc::SYS_ioctl, [fd as usize, request as usize, arg as usize, 0, 0])
        }
        Some(p) if is_socket || !p.stream || r == iopkt_sockproto::linux::SIOCOUTQ => {
            // SAFETY: the program's argument.
            let done = unsafe { ioctl_ours(fd, r, arg) };
            settled(done, libc::SYS_ioctl, [fd as usize, request as usize, arg as usize, 0, 0])
        }
        _ => native(libc::SYS_ioctl, [fd as usize, request as usize, arg as usize, 0, 0]),
    }
}

/// # Safety
/// `arg` must be what the request wants.
unsafe fn ioctl_ours(fd: c_int, request: u32, arg: *mut c_void) -> Result<()> {
    let shape = ops::ioctl_shape(request).ok_or(libc::ENOTTY)?;
    if arg.is_null() {
        return Err(libc::EFAULT);
    }
    match shape {
        ops::IoctlShape::Ifreq => {
            // SAFETY: a `struct ifreq` of the program.
            let ifreq = unsafe { &mut *arg.cast::<[u8; IFREQ_LEN]>() };
            ops::ioctl_ifreq(&mut Stack, fd, request, ifreq)
        }
        ops::IoctlShape::Int => {
            let v = ops::ioctl_int(&mut Stack, fd, request)?;
            // SAFETY: an int of the program.
            unsafe { arg.cast::<c_int>().write_unaligned(v) };
            Ok(())
        }
        ops::IoctlShape::Ifconf => {
            // struct ifconf: length, padding, pointer (null asks for the length only).
            // SAFETY: a `struct ifconf` of the program, and the buffer it names.
            unsafe {
                let size = usize::try_from(arg.cast::<c_int>().read_unaligned()).map_err(|_| libc::EINVAL)?;
                let buf = arg.cast::<u8>().add(8).cast::<*mut u8>().read_unaligned();
                let out = (!buf.is_null()).then(|| core::slice::from_raw_parts_mut(buf, size));
                let len = ops::ioctl_ifconf(&mut Stack, fd, out)?;
                arg.cast::<c_int>().write_unaligned(len as c_int);
            }
            Ok(())
        }
    }
}

/// One interface request on a socket made for it: glibc asks on a Unix socket, which only the kernel answers.
fn about_interface(request: u32, ifr: &mut [u8; IFREQ_LEN]) -> Result<()> {
    let fd = socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
    if fd < 0 {
        return Err(libc::ENETDOWN);
    }
    // SAFETY: the structure has the length that the request says.
    let r = unsafe { ioctl_ours(fd, request, ifr.as_mut_ptr().cast()) };
    sys::close(fd);
    r
}

/// if_nametoindex(3).
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn if_nametoindex(name: *const core::ffi::c_char) -> core::ffi::c_uint {
    let mut ifr = [0; IFREQ_LEN];
    // SAFETY: the program's string.
    let name = unsafe { core::ffi::CStr::from_ptr(name) }.to_bytes();
    let fits = ifr.get_mut(..name.len()).filter(|_| name.len() < IFNAMSIZ);
    let r = match fits {
        None => Err(libc::ENODEV),
        Some(to) => {
            to.copy_from_slice(name);
            about_interface(SIOCGIFINDEX, &mut ifr)
        }
    };
    match r {
        Ok(()) => {
            ifr.get(IFNAMSIZ..IFNAMSIZ + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_ne_bytes)
        }
        Err(e) => {
            fail(e);
            0
        }
    }
}

/// if_indextoname(3).
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn if_indextoname(
    index: core::ffi::c_uint,
    name: *mut core::ffi::c_char,
) -> *mut core::ffi::c_char {
    let mut ifr = [0; IFREQ_LEN];
    if let Some(to) = ifr.get_mut(IFNAMSIZ..IFNAMSIZ + 4) {
        to.copy_from_slice(&index.to_ne_bytes());
    }
    match about_interface(SIOCGIFNAME, &mut ifr) {
        Ok(()) => {
            // SAFETY: the program's room, IF_NAMESIZE bytes by definition; the stack ends names with a zero.
            unsafe { core::ptr::copy_nonoverlapping(ifr.as_ptr(), name.cast::<u8>(), IFNAMSIZ) };
            name
        }
        Err(e) => {
            fail(if e == libc::ENODEV { libc::ENXIO } else { e });
            core::ptr::null_mut()
        }
    }
}
