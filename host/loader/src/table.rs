//! The host's table: what a driver calls. Each function checks its arguments and who is calling, then acts
//! on the port; none trusts the driver further than C makes it necessary.

use crate::device::Device;
use crate::info::Kind;
use crate::port::{Port, RX_MAX};
use crate::shared::Core;
use iopkt_abi as abi;
use iopkt_base::Errno;
use iopkt_mbuf::{Mbuf, MbufHdr};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::offset_of;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub(crate) static HOST: abi::Host = abi::Host {
    head: abi::Head::of::<abi::Host>(),
    log: Some(log),
    now: Some(now),
    stopping: Some(stopping),
    random: Some(random),
    root: Some(root),
    wake: Some(wake),
    mbuf_alloc: Some(mbuf_alloc),
    mbuf_free: Some(mbuf_free),
    depart: Some(depart),
    fd_add: Some(fd_add),
    fd_mod: Some(fd_mod),
    fd_del: Some(fd_del),
    timer: Some(timer),
    attach: Some(attach),
    why: Some(why),
    resident: Some(resident),
    name_add: Some(name_add),
    name_del: Some(name_del),
    receive: Some(receive),
    tx_ready: Some(tx_ready),
    link: Some(link),
    count: Some(count),
};

/// Packets cross as they are: the pool's header is the ABI's.
const _: () = {
    macro_rules! same {
        ($($f:ident),*) => {
            $(assert!(offset_of!(abi::Mbuf, $f) == offset_of!(MbufHdr, $f));)*
        };
    }
    assert!(
        size_of::<abi::Mbuf>() == size_of::<MbufHdr>() && align_of::<abi::Mbuf>() == align_of::<MbufHdr>()
    );
    assert!(abi::BATCH == iopkt_mbuf::BATCH);
    use iopkt_mbuf::{flags, gso};
    assert!(abi::M_BCAST == flags::BCAST && abi::M_MCAST == flags::MCAST && abi::M_CSUM_OK == flags::CSUM_OK);
    assert!(abi::M_CSUM_PARTIAL == flags::CSUM_PARTIAL && abi::M_LOOP == flags::LOOP);
    assert!(abi::M_PROMISC == flags::PROMISC);
    assert!(abi::GSO_NONE == gso::NONE && abi::GSO_TCP4 == gso::TCP4 && abi::GSO_TCP6 == gso::TCP6);
    assert!(abi::GSO_UDP == gso::UDP && abi::GSO_ECN == gso::ECN);
    same!(next, buf, cap, off, len, ifindex, flags, csum_start, csum_offset, gso_size, gso_type, priority);
};

/// The port behind a driver's pointer.
///
/// # Safety
/// `p` is null or came from us to this driver, whose `unload` has not returned.
pub(crate) unsafe fn port<'a>(p: *mut abi::Port) -> Option<&'a Port> {
    // SAFETY: ports live in `Core` until after unload.
    unsafe { p.cast::<Port>().as_ref() }
}

/// `port` and its core.
///
/// # Safety
/// As [`port`].
pub(crate) unsafe fn both<'a>(p: *mut abi::Port) -> Option<(&'a Port, Arc<Core>)> {
    // SAFETY: passed on.
    let port = unsafe { port(p) }?;
    Some((port, port.core.upgrade()?))
}

/// `len` bytes of text.
///
/// # Safety
/// `text` is null or readable for `len` bytes.
unsafe fn lossy(text: *const c_char, len: usize) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: the caller's promise; a line of the log is no longer than this.
    let b = unsafe { std::slice::from_raw_parts(text.cast::<u8>(), len.min(2048)) };
    let s = String::from_utf8_lossy(b);
    s.trim_end().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

pub(crate) fn code(r: Result<(), Errno>) -> c_int {
    r.map_or_else(|e| if e.0 > 0 { e.0 } else { Errno::EIO.0 }, |()| 0)
}

/// The answer to a call from a thread that is not the port's.
pub(crate) fn stranger(p: &Port, call: &str) -> c_int {
    if let Some(core) = p.core.upgrade() {
        core.misuse(p, &format!("{call} called outside a call for this port"));
    }
    Errno::EPERM.0
}

unsafe extern "C" fn log(p: *mut abi::Port, severity: c_int, text: *const c_char, len: usize) {
    // SAFETY: the driver gives a port of its own and `len` bytes of text.
    let (both, text) = unsafe { (both(p), lossy(text, len)) };
    if let Some((port, core)) = both {
        core.pulse.fetch_add(1, Ordering::Relaxed);
        core.host.log(severity.clamp(0, 7) as u8, &port.label(), &text);
    }
}

unsafe extern "C" fn now(p: *mut abi::Port) -> u64 {
    // SAFETY: the driver gives a port of its own.
    match unsafe { both(p) } {
        Some((_, core)) => core.host.now().as_nanos(),
        None => iopkt_sys::clock::monotonic().as_nanos(),
    }
}

unsafe extern "C" fn stopping(p: *mut abi::Port) -> c_int {
    // SAFETY: the driver gives a port of its own.
    unsafe { both(p) }.map_or(1, |(_, core)| {
        core.pulse.fetch_add(1, Ordering::Relaxed);
        c_int::from(core.stopping.load(Ordering::Acquire))
    })
}

unsafe extern "C" fn random(p: *mut abi::Port, buf: *mut c_void, len: usize) {
    // SAFETY: the driver gives a port of its own.
    if let (Some((_, core)), false) = (unsafe { both(p) }, buf.is_null()) {
        // SAFETY: the driver says that `len` bytes are writable; zeroing first makes them initialised.
        let out = unsafe {
            buf.cast::<u8>().write_bytes(0, len);
            std::slice::from_raw_parts_mut(buf.cast::<u8>(), len)
        };
        core.host.random(out);
    }
}

unsafe extern "C" fn root(p: *mut abi::Port) -> *const c_char {
    // SAFETY: the driver gives a port of its own.
    unsafe { both(p) }.map_or(c"/".as_ptr(), |(_, core)| core.root_c.as_ptr())
}

unsafe extern "C" fn wake(p: *mut abi::Port) {
    // SAFETY: the driver gives a port of its own.
    if let Some(port) = unsafe { port(p) } {
        port.woken.store(true, Ordering::Release);
        port.kick();
    }
}

unsafe extern "C" fn mbuf_alloc(p: *mut abi::Port, len: u32, v: *mut *mut abi::Mbuf, n: u32) -> u32 {
    // SAFETY: the driver gives a port of its own.
    let Some((port, core)) = (unsafe { both(p) }) else { return 0 };
    if v.is_null() {
        return 0;
    }
    let len = len as usize;
    let put = |i: u32, m: Mbuf| {
        // SAFETY: the driver says that `v` has room for n pointers, and i < n.
        unsafe { v.add(i as usize).write(m.into_raw().as_ptr().cast()) };
    };
    let from_cache = port.local(|l| {
        let cache = l.cache.as_mut()?;
        let mut got = 0;
        while got < n {
            let Some(m) = cache.alloc_len(len) else { break };
            put(got, m);
            got += 1;
        }
        Some(got)
    });
    let got = from_cache.flatten().unwrap_or_else(|| {
        // A port without a cache, or another thread: straight from the shared pool.
        let mut cache = core.pool.cache(0);
        let mut got = 0;
        while got < n {
            let Some(m) = cache.alloc_len(len) else { break };
            put(got, m);
            got += 1;
        }
        got
    });
    core.out.fetch_add(got as isize, Ordering::Relaxed);
    got
}

/// Takes `n` buffers back from the driver.
///
/// # Safety
/// `v` has n pointers to buffers that the driver owns.
pub(crate) unsafe fn take(core: &Core, v: *mut *mut abi::Mbuf, n: u32, mut each: impl FnMut(Mbuf)) {
    if v.is_null() {
        return;
    }
    let mut taken = 0;
    for i in 0..n as usize {
        // SAFETY: within the n pointers.
        let h = unsafe { v.add(i).replace(std::ptr::null_mut()) };
        if let Some(h) = NonNull::new(h.cast::<MbufHdr>()) {
            taken += 1;
            // SAFETY: the driver owned it and gives it up by this call.
            each(unsafe { Mbuf::from_raw(h) });
        }
    }
    core.out.fetch_sub(taken, Ordering::Relaxed);
}

unsafe extern "C" fn mbuf_free(p: *mut abi::Port, v: *mut *mut abi::Mbuf, n: u32) {
    // SAFETY: the driver gives a port of its own.
    let Some((port, core)) = (unsafe { both(p) }) else { return };
    let mut list: [Option<Mbuf>; abi::BATCH] = [const { None }; abi::BATCH];
    let mut done = 0;
    while done < n {
        let k = (n - done).min(abi::BATCH as u32);
        let mut i = 0;
        // SAFETY: the driver gives n buffers of its own, of which these are k.
        unsafe {
            take(&core, v.add(done as usize), k, |m| {
                list[i] = Some(m);
                i += 1;
            });
        }
        port.local(|l| {
            if let Some(c) = &mut l.cache {
                list.iter_mut().filter_map(Option::take).for_each(|m| c.free(m));
            }
        });
        list.iter_mut().for_each(|m| *m = None);
        done += k;
    }
}

unsafe extern "C" fn depart(p: *mut abi::Port) {
    // SAFETY: the driver gives a port of its own.
    let Some((port, core)) = (unsafe { both(p) }) else { return };
    if port.control {
        // A module asks for its own end.
        if core.info.kind == Kind::Module {
            core.host.finished(core.id);
        }
    } else {
        port.departs.store(true, Ordering::Release);
        port.kick();
    }
}

unsafe extern "C" fn fd_add(p: *mut abi::Port, fd: c_int, interest: u32, cookie: u64) -> c_int {
    // SAFETY: the driver gives a port of its own.
    let Some(port) = (unsafe { port(p) }) else { return Errno::EINVAL.0 };
    port.local(|l| l.fd_add(fd, interest, cookie)).map_or_else(|| stranger(port, "fd_add"), code)
}

unsafe extern "C" fn fd_mod(p: *mut abi::Port, fd: c_int, interest: u32) -> c_int {
    // SAFETY: the driver gives a port of its own.
    let Some(port) = (unsafe { port(p) }) else { return Errno::EINVAL.0 };
    port.local(|l| l.fd_mod(fd, interest)).map_or_else(|| stranger(port, "fd_mod"), code)
}

unsafe extern "C" fn fd_del(p: *mut abi::Port, fd: c_int) -> c_int {
    // SAFETY: the driver gives a port of its own.
    let Some(port) = (unsafe { port(p) }) else { return Errno::EINVAL.0 };
    port.local(|l| l.fd_del(fd)).map_or_else(|| stranger(port, "fd_del"), code)
}

unsafe extern "C" fn timer(p: *mut abi::Port, deadline: u64) {
    // SAFETY: the driver gives a port of its own.
    if let Some(port) = unsafe { port(p) }
        && port.local(|l| l.deadline = deadline).is_none()
    {
        stranger(port, "timer");
    }
}

unsafe extern "C" fn attach(p: *mut abi::Port, d: *const abi::Device, out: *mut abi::Attached) -> c_int {
    // SAFETY: the driver gives a port of its own.
    let Some((port, core)) = (unsafe { both(p) }) else { return Errno::EINVAL.0 };
    if !port.control || !port.is_mine() {
        return stranger(port, "attach");
    }
    if core.info.kind != Kind::Driver {
        core.misuse(port, "attach called by a module");
        return Errno::EPERM.0;
    }
    if core.stopping.load(Ordering::Acquire) {
        return Errno::EINTR.0;
    }
    // SAFETY: the driver gives null or a struct iopkt_device.
    let device = match unsafe { Device::from_raw(&core, d) } {
        Ok(d) => d,
        Err(e) => return code(Err(e)),
    };
    let port = device.port();
    let (name, ifindex) = match core.host.attach(device) {
        Ok(b) => {
            core.attached();
            (b.name, b.ifindex)
        }
        // Bound and then given up: `detach` has run, so for the driver it was attached and has gone.
        Err(_) if port.bound.load(Ordering::Acquire) => (String::new(), 0),
        Err(e) => return code(Err(e)),
    };
    if !out.is_null() {
        let mut text = [0; 16];
        let n = name.len().min(15);
        text[..n].copy_from_slice(&name.as_bytes()[..n]);
        // SAFETY: the driver gives a struct iopkt_attached whose head says how large it is.
        unsafe {
            let size = ((*out).head.size as usize).min(size_of::<abi::Attached>());
            let full = abi::Attached { head: (*out).head, port: port.as_raw(), ifindex, name: text };
            std::ptr::copy_nonoverlapping((&raw const full).cast::<u8>(), out.cast::<u8>(), size);
        }
    }
    0
}

unsafe extern "C" fn why(p: *mut abi::Port, text: *const c_char, len: usize) {
    // SAFETY: the driver gives a port of its own and `len` bytes of text.
    let (both, text) = unsafe { (both(p), lossy(text, len)) };
    if let Some((_, core)) = both {
        *core.why.lock().unwrap_or_else(|e| e.into_inner()) = text;
    }
}

unsafe extern "C" fn resident(p: *mut abi::Port, stay: u32) {
    // SAFETY: the driver gives a port of its own.
    if let Some((_, core)) = unsafe { both(p) } {
        core.stay.store(stay, Ordering::Release);
    }
}

/// A C string argument.
///
/// # Safety
/// `s` is null or a C string.
pub(crate) unsafe fn cstr<'a>(s: *const c_char) -> Result<&'a str, Errno> {
    if s.is_null() {
        return Err(Errno::EINVAL);
    }
    // SAFETY: the driver gives a C string.
    unsafe { CStr::from_ptr(s) }.to_str().map_err(|_| Errno::EINVAL)
}

unsafe extern "C" fn name_add(p: *mut abi::Port, name: *const c_char, target: *const c_char) -> c_int {
    // SAFETY: the driver gives a port of its own and two C strings.
    let (both, name, target) = unsafe { (both(p), cstr(name), cstr(target)) };
    let Some((port, core)) = both else { return Errno::EINVAL.0 };
    code(name.and_then(|n| core.name_add(port, n, target?)))
}

unsafe extern "C" fn name_del(p: *mut abi::Port, name: *const c_char) -> c_int {
    // SAFETY: the driver gives a port of its own and a C string.
    let (both, name) = unsafe { (both(p), cstr(name)) };
    let Some((_, core)) = both else { return Errno::EINVAL.0 };
    code(name.and_then(|n| core.name_del(n)))
}

unsafe extern "C" fn receive(p: *mut abi::Port, v: *mut *mut abi::Mbuf, n: u32) {
    // SAFETY: the driver gives a port of its own.
    let Some((port, core)) = (unsafe { both(p) }) else { return };
    let mine = port.is_mine() && !port.control;
    // SAFETY: the driver gives n buffers of its own.
    unsafe {
        take(&core, v, n, |mut m| {
            if !mine {
                return; // dropped: gives the buffer back
            }
            port.local(|l| {
                if !m.is_sane() || m.is_empty() {
                    l.fx.ierrors += 1;
                } else if l.fx.rx.len() >= RX_MAX {
                    l.fx.iqdrops += 1;
                } else {
                    m.set_ifindex(l.ifindex);
                    l.fx.rx.push(m);
                }
            });
        });
    }
    if !mine {
        stranger(port, "receive");
    }
}

unsafe extern "C" fn tx_ready(p: *mut abi::Port) {
    // SAFETY: the driver gives a port of its own.
    if let Some(port) = unsafe { port(p) }
        && port.local(|l| l.fx.tx_ready = true).is_none()
    {
        stranger(port, "tx_ready");
    }
}

unsafe extern "C" fn link(p: *mut abi::Port, l: *const abi::Link) {
    // SAFETY: the driver gives a port of its own and a struct iopkt_link.
    let (port, new) = unsafe { (port(p), iopkt_abi::copy_table(l)) };
    let (Some(port), Some(new)) = (port, new) else { return };
    if port.local(|l| l.fx.link = Some((&new).into())).is_none() {
        stranger(port, "link");
    }
}

unsafe extern "C" fn count(p: *mut abi::Port, what: u32, n: u64) {
    // SAFETY: the driver gives a port of its own.
    let Some(port) = (unsafe { port(p) }) else { return };
    let done = port.local(|l| {
        let c = match what {
            abi::COUNT_IERRORS => &mut l.fx.ierrors,
            abi::COUNT_IQDROPS => &mut l.fx.iqdrops,
            abi::COUNT_OERRORS => &mut l.fx.oerrors,
            abi::COUNT_COLLISIONS => &mut l.fx.collisions,
            _ => return,
        };
        *c = c.saturating_add(n);
    });
    if done.is_none() {
        stranger(port, "count");
    }
}
