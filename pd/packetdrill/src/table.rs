//! The table of packetdrill.h.

use crate::drive::Instance;
use crate::flags::Flags;
use crate::io::{bytes, bytes_mut, give_back, int, iovecs, placeholder, put_name, scatter};
use crate::{hook, msg};
use iopkt_base::{Errno, Result};
use iopkt_world::{Call, World, decode_name};
use libc::{c_char, c_int, c_long, c_longlong, c_ulong, c_void, iovec, size_t, sockaddr, socklen_t, ssize_t};
use std::net::IpAddr;
use std::sync::Arc;

/// `struct packetdrill_interface`: the user data and the calls, in packetdrill's order.
#[repr(C)]
#[allow(missing_docs)] // named after the calls
pub struct Interface {
    pub userdata: *mut c_void,
    pub free: unsafe extern "C" fn(*mut c_void),
    pub socket: unsafe extern "C" fn(*mut c_void, c_int, c_int, c_int) -> c_int,
    pub bind: unsafe extern "C" fn(*mut c_void, c_int, *const sockaddr, socklen_t) -> c_int,
    pub listen: unsafe extern "C" fn(*mut c_void, c_int, c_int) -> c_int,
    pub accept: unsafe extern "C" fn(*mut c_void, c_int, *mut sockaddr, *mut socklen_t) -> c_int,
    pub connect: unsafe extern "C" fn(*mut c_void, c_int, *const sockaddr, socklen_t) -> c_int,
    pub read: unsafe extern "C" fn(*mut c_void, c_int, *mut c_void, size_t) -> ssize_t,
    pub readv: unsafe extern "C" fn(*mut c_void, c_int, *const iovec, c_int) -> ssize_t,
    pub recv: unsafe extern "C" fn(*mut c_void, c_int, *mut c_void, size_t, c_int) -> ssize_t,
    pub recvfrom: unsafe extern "C" fn(
        *mut c_void,
        c_int,
        *mut c_void,
        size_t,
        c_int,
        *mut sockaddr,
        *mut socklen_t,
    ) -> ssize_t,
    pub recvmsg: unsafe extern "C" fn(*mut c_void, c_int, *mut libc::msghdr, c_int) -> ssize_t,
    pub write: unsafe extern "C" fn(*mut c_void, c_int, *const c_void, size_t) -> ssize_t,
    pub writev: unsafe extern "C" fn(*mut c_void, c_int, *const iovec, c_int) -> ssize_t,
    pub send: unsafe extern "C" fn(*mut c_void, c_int, *const c_void, size_t, c_int) -> ssize_t,
    pub sendto: unsafe extern "C" fn(
        *mut c_void,
        c_int,
        *const c_void,
        size_t,
        c_int,
        *const sockaddr,
        socklen_t,
    ) -> ssize_t,
    pub sendmsg: unsafe extern "C" fn(*mut c_void, c_int, *const libc::msghdr, c_int) -> ssize_t,
    pub fcntl: unsafe extern "C" fn(*mut c_void, c_int, c_int, c_long) -> c_int,
    pub ioctl: unsafe extern "C" fn(*mut c_void, c_int, c_ulong, *mut c_int) -> c_int,
    pub close: unsafe extern "C" fn(*mut c_void, c_int) -> c_int,
    pub shutdown: unsafe extern "C" fn(*mut c_void, c_int, c_int) -> c_int,
    pub getsockopt:
        unsafe extern "C" fn(*mut c_void, c_int, c_int, c_int, *mut c_void, *mut socklen_t) -> c_int,
    pub setsockopt: unsafe extern "C" fn(*mut c_void, c_int, c_int, c_int, *const c_void, socklen_t) -> c_int,
    pub poll: unsafe extern "C" fn(*mut c_void, *mut libc::pollfd, libc::nfds_t, c_int) -> c_int,
    pub netdev_send: unsafe extern "C" fn(*mut c_void, *const c_void, size_t) -> c_int,
    pub netdev_receive: unsafe extern "C" fn(*mut c_void, *mut c_void, *mut size_t, *mut c_longlong) -> c_int,
    pub usleep: unsafe extern "C" fn(*mut c_void, libc::useconds_t) -> c_int,
    pub gettimeofday: unsafe extern "C" fn(*mut c_void, *mut libc::timeval, *mut c_void) -> c_int,
    pub epoll_create: unsafe extern "C" fn(*mut c_void, c_int) -> c_int,
    pub epoll_ctl: unsafe extern "C" fn(*mut c_void, c_int, c_int, c_int, *mut libc::epoll_event) -> c_int,
    pub epoll_wait: unsafe extern "C" fn(*mut c_void, c_int, *mut libc::epoll_event, c_int, c_int) -> c_int,
    pub pipe: unsafe extern "C" fn(*mut c_void, *mut c_int) -> c_int,
    pub splice:
        unsafe extern "C" fn(*mut c_void, c_int, *mut i64, c_int, *mut i64, size_t, libc::c_uint) -> c_int,
}

/// What the suites take for granted of Linux, where the stack begins with something else.
const AS_LINUX: &[(&str, u32)] = &[
    ("net.inet.tcp.tolerate_missing_ts", 1),
    ("net.inet.tcp.max_ack_delay", 200),
    ("net.inet.tcp.bare_probes", 1),
    ("net.inet.tcp.unreach_ends_syn_received", 1),
    ("net.inet.tcp.sndbuf_overhead", 768),
    ("net.inet.tcp.reduce_cwnd", 1),
];

/// The instance behind `userdata`.
///
/// # Safety
/// `u` is what [`packetdrill_interface_init`] put into the table, not yet freed.
unsafe fn of<'a>(u: *mut c_void) -> &'a Instance {
    // SAFETY: as promised by the caller.
    unsafe { &*u.cast::<Instance>() }
}

/// Fills in the table. `flags` is `--so_flags`, or null.
///
/// # Safety
/// `flags` is null or a C string; `ifc` points to a table that may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn packetdrill_interface_init(flags: *const c_char, ifc: *mut Interface) {
    let text = if flags.is_null() {
        String::new()
    } else {
        // SAFETY: a C string by the caller's promise.
        unsafe { std::ffi::CStr::from_ptr(flags) }.to_string_lossy().into_owned()
    };
    let args: Vec<String> = std::env::args().collect();
    let (f, bad) = Flags::read(&text, &args);
    for b in bad {
        eprintln!(
            "iopkt: --so_flags: \"{b}\" is not understood; local=, plen=, mtu=, seed=, sysctl=on|off, tun=on|off, verbose, NAME.OF.SYSCTL="
        );
    }
    let mut world = match World::new(&f.setup) {
        Ok(w) => w,
        Err(e) => {
            // The interface has no way to refuse; packetdrill itself ends like this.
            eprintln!("iopkt: the stack cannot begin: {e}");
            std::process::exit(1);
        }
    };
    for (name, v) in AS_LINUX {
        world.tunable(name, *v);
    }
    for (name, value) in &f.sysctl {
        if !world.sysctl(name, value) {
            eprintln!("iopkt: --so_flags: {name}={value}: the stack has no such setting, or not this value");
        }
    }
    let i = Arc::new(Instance::new(world, f));
    hook::install(&i);
    let table = table(Arc::into_raw(i).cast_mut().cast());
    // SAFETY: may be written by the caller's promise.
    unsafe { ifc.write(table) };
}

fn table(userdata: *mut c_void) -> Interface {
    Interface {
        userdata,
        free,
        socket,
        bind,
        listen,
        accept,
        connect,
        read,
        readv,
        recv,
        recvfrom,
        recvmsg,
        write,
        writev,
        send,
        sendto,
        sendmsg,
        fcntl,
        ioctl,
        close,
        shutdown,
        getsockopt,
        setsockopt,
        poll,
        netdev_send,
        netdev_receive,
        usleep,
        gettimeofday,
        epoll_create,
        epoll_ctl,
        epoll_wait,
        pipe,
        splice,
    }
}

unsafe extern "C" fn free(u: *mut c_void) {
    hook::remove();
    // SAFETY: made by `packetdrill_interface_init`, freed once.
    drop(unsafe { Arc::from_raw(u.cast::<Instance>()) });
}

/// Makes a descriptor with a number of its own, or gives the number back.
fn numbered(make: impl FnOnce(i32) -> Result<i32>) -> Result<i32> {
    let n = placeholder()?;
    make(n).inspect_err(|_| give_back(n))
}

unsafe extern "C" fn socket(u: *mut c_void, domain: c_int, ty: c_int, proto: c_int) -> c_int {
    // SAFETY: `u` is ours.
    let i = unsafe { of(u) };
    let r = numbered(|n| i.with(|s| s.world.socket(Some(n), domain, ty, proto)));
    int(r.map(i64::from)) as c_int
}

/// A name as the caller gave it.
///
/// # Safety
/// `addr` is null or points to `len` bytes.
unsafe fn name(addr: *const sockaddr, len: socklen_t) -> Result<Vec<u8>> {
    // SAFETY: as promised by the caller.
    unsafe { bytes(addr.cast(), len as usize) }.map(<[u8]>::to_vec)
}

unsafe extern "C" fn bind(u: *mut c_void, fd: c_int, addr: *const sockaddr, len: socklen_t) -> c_int {
    // SAFETY: `u` is ours, `addr` as in bind(2).
    let (i, name) = unsafe { (of(u), name(addr, len)) };
    let r = name.and_then(|name| {
        i.with(|s| {
            if let Ok(Some(a)) = decode_name(&name) {
                adopt(s, a.ip());
            }
            s.world.bind(fd, &name)
        })
    });
    int(r.map(i64::from)) as c_int
}

/// An address that a script takes for ours, when nobody has named one.
fn adopt(s: &mut crate::drive::State, a: IpAddr) {
    let a = a.to_canonical();
    let (one, plen) = match a {
        IpAddr::V4(a) => (
            !a.is_unspecified() && !a.is_multicast() && !a.is_broadcast() && !a.is_loopback(),
            s.flags.setup.plen,
        ),
        IpAddr::V6(a) => (!a.is_unspecified() && !a.is_multicast() && !a.is_loopback(), 64),
    };
    if !s.flags.fixed && one && !s.world.has_address(a) && s.world.add_address(a, plen).is_ok() {
        s.flags.fixed = true;
    }
}

unsafe extern "C" fn listen(u: *mut c_void, fd: c_int, backlog: c_int) -> c_int {
    // SAFETY: `u` is ours.
    let i = unsafe { of(u) };
    int(i.with(|s| s.world.listen(fd, backlog)).map(i64::from)) as c_int
}

unsafe extern "C" fn accept(u: *mut c_void, fd: c_int, addr: *mut sockaddr, len: *mut socklen_t) -> c_int {
    // SAFETY: `u` is ours.
    let i = unsafe { of(u) };
    let r = i.call(Call::Accept { fd, flags: 0 }).and_then(|a| {
        let n = numbered(|n| i.with(|s| s.world.renumber(a.ret as i32, n)).map(|()| n))?;
        // SAFETY: as in accept(2).
        unsafe { put_name(&a.name, addr, len) };
        Ok(i64::from(n))
    });
    int(r) as c_int
}

unsafe extern "C" fn connect(u: *mut c_void, fd: c_int, addr: *const sockaddr, len: socklen_t) -> c_int {
    // SAFETY: `u` is ours, `addr` as in connect(2).
    let (i, name) = unsafe { (of(u), name(addr, len)) };
    int(name.and_then(|name| i.call(Call::Connect { fd, name })).map(|a| a.ret)) as c_int
}

/// All calls that receive into one buffer.
///
/// # Safety
/// `buf` points to `len` bytes that may be written.
unsafe fn receive(u: *mut c_void, fd: c_int, buf: *mut c_void, len: size_t, flags: c_int) -> (Vec<u8>, i64) {
    // SAFETY: `u` is ours, `buf` as promised.
    let (i, buf) = unsafe { (of(u), bytes_mut(buf, len)) };
    let r = buf.and_then(|b| {
        let a = i.call(Call::Recv { fd, len, flags, room: 0 })?;
        scatter(&a.data, &mut [b]);
        Ok(a)
    });
    match r {
        Ok(a) => (a.name, a.ret),
        Err(e) => (Vec::new(), int(Err(e))),
    }
}

unsafe extern "C" fn read(u: *mut c_void, fd: c_int, buf: *mut c_void, len: size_t) -> ssize_t {
    // SAFETY: as in read(2).
    unsafe { receive(u, fd, buf, len, 0) }.1 as ssize_t
}

unsafe extern "C" fn recv(u: *mut c_void, fd: c_int, buf: *mut c_void, len: size_t, flags: c_int) -> ssize_t {
    // SAFETY: as in recv(2).
    unsafe { receive(u, fd, buf, len, flags) }.1 as ssize_t
}

unsafe extern "C" fn recvfrom(
    u: *mut c_void,
    fd: c_int,
    buf: *mut c_void,
    len: size_t,
    flags: c_int,
    addr: *mut sockaddr,
    alen: *mut socklen_t,
) -> ssize_t {
    // SAFETY: as in recvfrom(2).
    unsafe {
        let (name, n) = receive(u, fd, buf, len, flags);
        if n >= 0 {
            put_name(&name, addr, alen);
        }
        n as ssize_t
    }
}

unsafe extern "C" fn readv(u: *mut c_void, fd: c_int, iov: *const iovec, n: c_int) -> ssize_t {
    // SAFETY: `u` is ours, the rest as in readv(2).
    let (i, bufs) = unsafe { (of(u), iovecs(iov, n.max(0) as usize)) };
    let r = bufs.and_then(|mut bufs| {
        let len = bufs.iter().map(|b| b.len()).sum();
        let a = i.call(Call::Recv { fd, len, flags: 0, room: 0 })?;
        scatter(&a.data, &mut bufs);
        Ok(a.ret)
    });
    int(r) as ssize_t
}

unsafe extern "C" fn recvmsg(u: *mut c_void, fd: c_int, m: *mut libc::msghdr, flags: c_int) -> ssize_t {
    if m.is_null() {
        return int(Err(Errno::EFAULT)) as ssize_t;
    }
    // SAFETY: `u` is ours, `m` as in recvmsg(2).
    int(unsafe { msg::recv(of(u), fd, &mut *m, flags) }) as ssize_t
}

/// All calls that send from one buffer.
///
/// # Safety
/// `buf` points to `len` bytes, `addr` is null or points to `alen` bytes.
unsafe fn transmit(
    u: *mut c_void,
    fd: c_int,
    buf: *const c_void,
    len: size_t,
    flags: c_int,
    addr: *const sockaddr,
    alen: socklen_t,
) -> ssize_t {
    // SAFETY: `u` is ours, the rest as promised.
    let (i, data, to) = unsafe { (of(u), bytes(buf, len), name(addr, alen)) };
    let r = data.and_then(|data| {
        let to = to?;
        let name = (!addr.is_null()).then_some(to);
        let a = i.call(Call::Send { fd, data: data.to_vec(), flags, name, control: Vec::new() })?;
        Ok(a.ret)
    });
    int(r) as ssize_t
}

unsafe extern "C" fn write(u: *mut c_void, fd: c_int, buf: *const c_void, len: size_t) -> ssize_t {
    // SAFETY: as in write(2).
    unsafe { transmit(u, fd, buf, len, 0, std::ptr::null(), 0) }
}

unsafe extern "C" fn send(
    u: *mut c_void,
    fd: c_int,
    buf: *const c_void,
    len: size_t,
    flags: c_int,
) -> ssize_t {
    // SAFETY: as in send(2).
    unsafe { transmit(u, fd, buf, len, flags, std::ptr::null(), 0) }
}

unsafe extern "C" fn sendto(
    u: *mut c_void,
    fd: c_int,
    buf: *const c_void,
    len: size_t,
    flags: c_int,
    addr: *const sockaddr,
    alen: socklen_t,
) -> ssize_t {
    // SAFETY: as in sendto(2).
    unsafe { transmit(u, fd, buf, len, flags, addr, alen) }
}

unsafe extern "C" fn writev(u: *mut c_void, fd: c_int, iov: *const iovec, n: c_int) -> ssize_t {
    // SAFETY: `u` is ours, the rest as in writev(2).
    let (i, bufs) = unsafe { (of(u), iovecs(iov, n.max(0) as usize)) };
    let r = bufs
        .and_then(|b| i.call(Call::Send { fd, data: b.concat(), flags: 0, name: None, control: Vec::new() }));
    int(r.map(|a| a.ret)) as ssize_t
}

unsafe extern "C" fn sendmsg(u: *mut c_void, fd: c_int, m: *const libc::msghdr, flags: c_int) -> ssize_t {
    if m.is_null() {
        return int(Err(Errno::EFAULT)) as ssize_t;
    }
    // SAFETY: `u` is ours, `m` as in sendmsg(2).
    int(unsafe { msg::send(of(u), fd, &*m, flags) }) as ssize_t
}

unsafe extern "C" fn fcntl(u: *mut c_void, fd: c_int, cmd: c_int, arg: c_long) -> c_int {
    // SAFETY: `u` is ours.
    let i = unsafe { of(u) };
    int(i.with(|s| s.world.fcntl(fd, cmd, arg)).map(i64::from)) as c_int
}

unsafe extern "C" fn ioctl(u: *mut c_void, fd: c_int, request: c_ulong, arg: *mut c_int) -> c_int {
    // SAFETY: `u` is ours.
    let i = unsafe { of(u) };
    if arg.is_null() {
        return int(Err(Errno::EFAULT)) as c_int;
    }
    // SAFETY: all requests that are understood have a pointer to an int.
    let r = i.with(|s| s.world.ioctl(fd, request, unsafe { *arg }));
    int(r.map(|v| {
        if let Some(v) = v {
            // SAFETY: as above.
            unsafe { *arg = v };
        }
        0
    })) as c_int
}

unsafe extern "C" fn close(u: *mut c_void, fd: c_int) -> c_int {
    // SAFETY: `u` is ours.
    let i = unsafe { of(u) };
    let r = i.with(|s| s.world.close(fd)).inspect(|_| give_back(fd));
    int(r.map(i64::from)) as c_int
}

unsafe extern "C" fn shutdown(u: *mut c_void, fd: c_int, how: c_int) -> c_int {
    // SAFETY: `u` is ours.
    let i = unsafe { of(u) };
    int(i.with(|s| s.world.shutdown(fd, how)).map(i64::from)) as c_int
}

/// getsockopt(2) of an instance.
///
/// # Safety
/// `val` and `len` as in getsockopt(2).
pub(crate) unsafe fn get_option(
    i: &Instance,
    fd: c_int,
    level: c_int,
    name: c_int,
    val: *mut c_void,
    len: *mut socklen_t,
) -> Result<i64> {
    if len.is_null() {
        return Err(Errno::EFAULT);
    }
    // SAFETY: not null, valid by the caller's promise.
    let room = unsafe { *len } as usize;
    // SAFETY: `val` has `*len` bytes.
    let out = unsafe { bytes_mut(val, room) }?;
    let v = i.with(|s| s.world.getsockopt(fd, level, name, room))?;
    let n = v.len().min(out.len());
    out[..n].copy_from_slice(&v[..n]);
    // SAFETY: as above.
    unsafe { *len = n as socklen_t };
    Ok(0)
}

unsafe extern "C" fn getsockopt(
    u: *mut c_void,
    fd: c_int,
    level: c_int,
    name: c_int,
    val: *mut c_void,
    len: *mut socklen_t,
) -> c_int {
    // SAFETY: `u` is ours, the rest as in getsockopt(2).
    int(unsafe { get_option(of(u), fd, level, name, val, len) }) as c_int
}

unsafe extern "C" fn setsockopt(
    u: *mut c_void,
    fd: c_int,
    level: c_int,
    name: c_int,
    val: *const c_void,
    len: socklen_t,
) -> c_int {
    // SAFETY: `u` is ours, `val` as in setsockopt(2).
    let (i, v) = unsafe { (of(u), bytes(val, len as usize)) };
    let r = v.and_then(|v| i.with(|s| s.world.setsockopt(fd, level, name, v)));
    int(r.map(i64::from)) as c_int
}

unsafe extern "C" fn poll(u: *mut c_void, fds: *mut libc::pollfd, n: libc::nfds_t, timeout: c_int) -> c_int {
    // SAFETY: `u` is ours.
    let i = unsafe { of(u) };
    if fds.is_null() && n > 0 {
        return int(Err(Errno::EFAULT)) as c_int;
    }
    let list = match n {
        0 => &mut [][..],
        // SAFETY: as in poll(2).
        n => unsafe { std::slice::from_raw_parts_mut(fds, n as usize) },
    };
    let call = Call::Poll { fds: list.iter().map(|p| (p.fd, p.events)).collect(), timeout };
    let r = i.call(call).map(|a| {
        for (p, r) in list.iter_mut().zip(&a.ready) {
            p.revents = r.0 as i16;
        }
        a.ret
    });
    int(r) as c_int
}

/// Where an IP packet goes.
fn destination(b: &[u8]) -> Option<IpAddr> {
    match b.first()? >> 4 {
        4 => b.get(16..)?.first_chunk::<4>().map(|a| IpAddr::from(*a)),
        6 => b.get(24..)?.first_chunk::<16>().map(|a| IpAddr::from(*a)),
        _ => None,
    }
}

unsafe extern "C" fn netdev_send(u: *mut c_void, buf: *const c_void, n: size_t) -> c_int {
    // SAFETY: `u` is ours, `buf` has `n` bytes.
    let (i, b) = unsafe { (of(u), bytes(buf, n)) };
    let r = b.map(|b| {
        i.with(|s| {
            if let Some(a) = destination(b) {
                adopt(s, a);
            }
            s.world.inject(b);
        });
        0
    });
    int(r) as c_int
}

unsafe extern "C" fn netdev_receive(
    u: *mut c_void,
    buf: *mut c_void,
    n: *mut size_t,
    time_usecs: *mut c_longlong,
) -> c_int {
    if n.is_null() || time_usecs.is_null() {
        return int(Err(Errno::EFAULT)) as c_int;
    }
    // SAFETY: `u` is ours, `buf` has `*n` bytes.
    let (i, b) = unsafe { (of(u), bytes_mut(buf, *n)) };
    let r = b.map(|b| {
        // Nothing: 0 and a count of 0. On -1 packetdrill would ask for ever.
        let (at, p) = i.receive().unwrap_or_else(|| (i.clock(), Vec::new()));
        let k = p.len().min(b.len());
        b[..k].copy_from_slice(&p[..k]);
        // SAFETY: not null, valid by the caller's promise.
        unsafe {
            *n = k;
            *time_usecs = at as c_longlong;
        }
        0
    });
    int(r) as c_int
}

unsafe extern "C" fn usleep(u: *mut c_void, us: libc::useconds_t) -> c_int {
    // SAFETY: `u` is ours.
    unsafe { of(u) }.sleep(us.into());
    0
}

unsafe extern "C" fn gettimeofday(u: *mut c_void, tv: *mut libc::timeval, _zone: *mut c_void) -> c_int {
    // SAFETY: `u` is ours.
    let us = unsafe { of(u) }.clock();
    if !tv.is_null() {
        let t = libc::timeval { tv_sec: (us / 1_000_000) as i64, tv_usec: (us % 1_000_000) as i64 };
        // SAFETY: not null, valid by the caller's promise.
        unsafe { *tv = t };
    }
    0
}

unsafe extern "C" fn epoll_create(u: *mut c_void, size: c_int) -> c_int {
    // SAFETY: `u` is ours.
    let i = unsafe { of(u) };
    int(numbered(|n| i.with(|s| s.world.epoll_create(Some(n), size))).map(i64::from)) as c_int
}

unsafe extern "C" fn epoll_ctl(
    u: *mut c_void,
    epfd: c_int,
    op: c_int,
    fd: c_int,
    event: *mut libc::epoll_event,
) -> c_int {
    // SAFETY: `u` is ours.
    let i = unsafe { of(u) };
    let (events, data) = match event.is_null() {
        true if op != libc::EPOLL_CTL_DEL => return int(Err(Errno::EFAULT)) as c_int,
        true => (0, 0),
        // SAFETY: as in epoll_ctl(2).
        false => unsafe { ((*event).events, (*event).u64) },
    };
    int(i.with(|s| s.world.epoll_ctl(epfd, op, fd, events, data)).map(i64::from)) as c_int
}

unsafe extern "C" fn epoll_wait(
    u: *mut c_void,
    epfd: c_int,
    events: *mut libc::epoll_event,
    max: c_int,
    timeout: c_int,
) -> c_int {
    // SAFETY: `u` is ours.
    let i = unsafe { of(u) };
    let max = max.max(0) as usize;
    if events.is_null() && max > 0 {
        return int(Err(Errno::EFAULT)) as c_int;
    }
    let r = i.call(Call::EpollWait { fd: epfd, max, timeout }).map(|a| {
        for (k, (events_ready, data)) in a.ready.iter().enumerate() {
            // SAFETY: there is room for `max` events, and no more are told.
            unsafe { events.add(k).write(libc::epoll_event { events: *events_ready, u64: *data }) };
        }
        a.ret
    });
    int(r) as c_int
}

unsafe extern "C" fn pipe(u: *mut c_void, fds: *mut c_int) -> c_int {
    // SAFETY: `u` is ours.
    let i = unsafe { of(u) };
    if fds.is_null() {
        return int(Err(Errno::EFAULT)) as c_int;
    }
    let r = numbered(|a| {
        numbered(|b| i.with(|s| s.world.pipe([Some(a), Some(b)])).map(|_| b)).map(|b| {
            // SAFETY: room for two.
            unsafe {
                *fds = a;
                *fds.add(1) = b;
            }
            0
        })
    });
    int(r.map(i64::from)) as c_int
}

unsafe extern "C" fn splice(
    u: *mut c_void,
    from: c_int,
    from_at: *mut i64,
    to: c_int,
    to_at: *mut i64,
    len: size_t,
    flags: libc::c_uint,
) -> c_int {
    // SAFETY: `u` is ours.
    let i = unsafe { of(u) };
    // splice(2): neither pipes nor sockets have an offset. Packetdrill points to a 0 where its script says 0 (no pointer).
    // SAFETY: null or valid.
    let none = |p: *mut i64| p.is_null() || unsafe { *p } == 0;
    if !none(from_at) || !none(to_at) {
        return int(Err(Errno(libc::ESPIPE))) as c_int;
    }
    int(i.call(Call::Splice { from, to, len, flags }).map(|a| a.ret)) as c_int
}
