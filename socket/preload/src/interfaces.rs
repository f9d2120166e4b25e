//! getifaddrs(3) and if_nameindex(3): libc asks on a netlink socket that it opens inside itself, which would be the kernel's. Here the
//! same questions go to a netlink socket of the stack.
//!
//! Both results are blocks of malloc(3) memory, freed by the functions beside them; these two calls may allocate, as libc's do.

use core::ffi::{c_char, c_int, c_uint, c_void};
use core::ptr;

use iopkt_shim::sys;
use libc::{ifaddrs, sockaddr, sockaddr_in, sockaddr_in6, sockaddr_ll};

use crate::{control, fail, passing};

const GETLINK: u16 = 18;
const GETADDR: u16 = 22;
const NEWLINK: u16 = 16;
const NEWADDR: u16 = 20;
const DONE: u16 = 3;
const ERROR: u16 = 2;
/// Room for a datagram of a dump.
const ROOM: usize = 16 << 10;
/// Longest name of an interface, with its end.
const NAME: usize = 16;

fn u16_at(b: &[u8], at: usize) -> u16 {
    b.get(at..at + 2).and_then(|x| x.try_into().ok()).map_or(0, u16::from_ne_bytes)
}

fn u32_at(b: &[u8], at: usize) -> u32 {
    b.get(at..at + 4).and_then(|x| x.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

/// The value of attribute `ty` behind a header of `at` bytes.
fn attr(body: &[u8], at: usize, ty: u16) -> Option<&[u8]> {
    let mut b = body.get(at..)?;
    while b.len() >= 4 {
        let len = usize::from(u16_at(b, 0));
        let v = b.get(4..len)?;
        if u16_at(b, 2) & 0x3fff == ty {
            return Some(v);
        }
        b = b.get(len.next_multiple_of(4)..).unwrap_or(&[]);
    }
    None
}

/// Calls `f` with the type and body of each message of a dump; the errno of a failure.
fn dump(ask: u16, f: &mut impl FnMut(u16, &[u8]) -> Result<(), c_int>) -> Result<(), c_int> {
    let fd = control::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE);
    if fd < 0 {
        // SAFETY: glibc's own errno of this thread.
        return Err(unsafe { *libc::__errno_location() });
    }
    let r = dumped(fd, ask, f);
    sys::close(fd);
    r
}

fn dumped(fd: c_int, ask: u16, f: &mut impl FnMut(u16, &[u8]) -> Result<(), c_int>) -> Result<(), c_int> {
    // A header, NLM_F_REQUEST and NLM_F_DUMP, and an empty `struct rtgenmsg`.
    let mut req = [0u8; 20];
    req[..4].copy_from_slice(&20u32.to_ne_bytes());
    req[4..6].copy_from_slice(&ask.to_ne_bytes());
    req[6..8].copy_from_slice(&0x301u16.to_ne_bytes());
    // SAFETY: the request lives across the call.
    if unsafe { passing::send(fd, req.as_ptr().cast(), req.len(), 0) } < 0 {
        // SAFETY: as above.
        return Err(unsafe { *libc::__errno_location() });
    }
    let mut room = [0u8; ROOM];
    loop {
        // SAFETY: the buffer is ours.
        let n = unsafe { passing::recv(fd, room.as_mut_ptr().cast(), ROOM, 0) };
        let Ok(n) = usize::try_from(n) else {
            // SAFETY: as above.
            return Err(unsafe { *libc::__errno_location() });
        };
        if n == 0 {
            return Err(libc::EPROTO);
        }
        let mut b = room.get(..n).unwrap_or(&[]);
        while b.len() >= 16 {
            let (len, ty) = (u32_at(b, 0) as usize, u16_at(b, 4));
            let Some(body) = b.get(16..len) else { return Err(libc::EPROTO) };
            match ty {
                DONE => return Ok(()),
                ERROR => return Err((u32_at(body, 0) as i32).wrapping_neg()),
                _ => f(ty, body)?,
            }
            b = b.get(len.next_multiple_of(4)..).unwrap_or(&[]);
        }
    }
}

/// A name with its end, cut to what names may have.
fn name_of(attr: &[u8]) -> [u8; NAME] {
    let mut n = [0; NAME];
    let end = attr.iter().position(|c| *c == 0).unwrap_or(attr.len()).min(NAME - 1);
    for (to, from) in n.iter_mut().zip(attr.iter().take(end)) {
        *to = *from;
    }
    n
}

/// Zeroed memory for a `T`.
fn alloc<T>() -> Result<*mut T, c_int> {
    // SAFETY: plain calloc(3).
    let p = unsafe { libc::calloc(1, size_of::<T>()) };
    if p.is_null() { Err(libc::ENOMEM) } else { Ok(p.cast()) }
}

/// An entry of getifaddrs(3) with all that it points to.
#[repr(C)]
struct Entry {
    list: ifaddrs,
    name: [u8; NAME],
    addr: sockaddr_any,
    mask: sockaddr_any,
    other: sockaddr_any,
    /// `struct rtnl_link_stats`.
    stats: [u32; 24],
}

#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
union sockaddr_any {
    v4: sockaddr_in,
    v6: sockaddr_in6,
    link: sockaddr_ll,
}

/// An address of family `af` in `to`; null when the bytes are not one.
fn put(to: *mut sockaddr_any, af: u8, b: &[u8], scope: u32) -> *mut sockaddr {
    // SAFETY: `to` is an element of a fresh entry.
    unsafe {
        match (c_int::from(af), <[u8; 4]>::try_from(b), <[u8; 16]>::try_from(b)) {
            (libc::AF_INET, Ok(a), _) => {
                (*to).v4.sin_family = libc::AF_INET as u16;
                (*to).v4.sin_addr.s_addr = u32::from_ne_bytes(a);
            }
            (libc::AF_INET6, _, Ok(a)) => {
                (*to).v6.sin6_family = libc::AF_INET6 as u16;
                (*to).v6.sin6_addr.s6_addr = a;
                if a[0] == 0xfe && a[1] & 0xc0 == 0x80 || a[0] == 0xff {
                    (*to).v6.sin6_scope_id = scope;
                }
            }
            _ => return ptr::null_mut(),
        }
    }
    to.cast()
}

/// A link-level address.
fn put_link(to: *mut sockaddr_any, index: u32, kind: u16, b: &[u8]) -> *mut sockaddr {
    // SAFETY: `to` is an element of a fresh entry.
    let l = unsafe { &mut (*to).link };
    l.sll_family = libc::AF_PACKET as u16;
    l.sll_ifindex = index as c_int;
    l.sll_hatype = kind;
    l.sll_halen = b.len().min(8) as u8;
    for (to, from) in l.sll_addr.iter_mut().zip(b) {
        *to = *from;
    }
    to.cast()
}

struct List {
    first: *mut Entry,
    last: *mut Entry,
}

impl List {
    fn push(&mut self) -> Result<*mut Entry, c_int> {
        let e: *mut Entry = alloc()?;
        // SAFETY: `e` is fresh; `last` is an entry of this list or null.
        unsafe {
            (*e).list.ifa_name = (&raw mut (*e).name).cast();
            if self.last.is_null() {
                self.first = e;
            } else {
                (*self.last).list.ifa_next = e.cast();
            }
        }
        self.last = e;
        Ok(e)
    }

    fn link(&mut self, body: &[u8]) -> Result<(), c_int> {
        let e = self.push()?;
        let (kind, index) = (u16_at(body, 2), u32_at(body, 4));
        // SAFETY: a fresh entry.
        unsafe {
            (*e).name = name_of(attr(body, 16, 3).unwrap_or(&[]));
            (*e).list.ifa_flags = u32_at(body, 8);
            (*e).list.ifa_addr = put_link(&raw mut (*e).addr, index, kind, attr(body, 16, 1).unwrap_or(&[]));
            if let Some(b) = attr(body, 16, 2) {
                (*e).list.ifa_ifu = put_link(&raw mut (*e).other, index, kind, b);
            }
            if let Some(s) = attr(body, 16, 7) {
                for (to, from) in (*e).stats.iter_mut().zip(s.as_chunks::<4>().0) {
                    *to = u32::from_ne_bytes(*from);
                }
                (*e).list.ifa_data = (&raw mut (*e).stats).cast();
            }
        }
        Ok(())
    }

    /// Flags and name of the link with this index.
    fn link_of(&self, index: u32) -> (c_uint, [u8; NAME]) {
        let mut at = self.first;
        while !at.is_null() {
            // SAFETY: an entry of this list; those of links have a link-level address.
            unsafe {
                let e = &*at;
                let sa = e.list.ifa_addr;
                if !sa.is_null()
                    && c_int::from((*sa).sa_family) == libc::AF_PACKET
                    && (*sa.cast::<sockaddr_ll>()).sll_ifindex as u32 == index
                {
                    return (e.list.ifa_flags, e.name);
                }
                at = e.list.ifa_next.cast();
            }
        }
        (0, [0; NAME])
    }

    fn addr(&mut self, body: &[u8]) -> Result<(), c_int> {
        let [af, prefix, ..] = *body else { return Ok(()) };
        let index = u32_at(body, 4);
        let (flags, name) = self.link_of(index);
        let e = self.push()?;
        let own = attr(body, 8, 2).or_else(|| attr(body, 8, 1)).unwrap_or(&[]);
        let mut mask = [0u8; 16];
        for (i, m) in mask.iter_mut().enumerate() {
            let bits = usize::from(prefix).saturating_sub(i * 8).min(8);
            *m = (0xff00u16 >> bits) as u8;
        }
        // SAFETY: a fresh entry.
        unsafe {
            (*e).name = attr(body, 8, 3).map_or(name, name_of);
            (*e).list.ifa_flags = flags;
            (*e).list.ifa_addr = put(&raw mut (*e).addr, af, own, index);
            (*e).list.ifa_netmask = put(&raw mut (*e).mask, af, mask.get(..own.len()).unwrap_or(&[]), 0);
            // The peer of a point-to-point link, else where broadcasts go.
            let peer = attr(body, 8, 1).filter(|p| *p != own);
            if let Some(o) = peer.or_else(|| attr(body, 8, 4)) {
                (*e).list.ifa_ifu = put(&raw mut (*e).other, af, o, index);
            }
        }
        Ok(())
    }
}

/// getifaddrs(3).
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getifaddrs(out: *mut *mut ifaddrs) -> c_int {
    let mut list = List { first: ptr::null_mut(), last: ptr::null_mut() };
    let r = dump(GETLINK, &mut |ty, b| if ty == NEWLINK { list.link(b) } else { Ok(()) })
        .and_then(|()| dump(GETADDR, &mut |ty, b| if ty == NEWADDR { list.addr(b) } else { Ok(()) }));
    // SAFETY: the program's pointer; the list is whole.
    unsafe {
        match r {
            Ok(()) => {
                *out = list.first.cast();
                0
            }
            Err(e) => {
                freeifaddrs(list.first.cast());
                fail(e)
            }
        }
    }
}

/// freeifaddrs(3).
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn freeifaddrs(mut list: *mut ifaddrs) {
    while !list.is_null() {
        // SAFETY: an entry that getifaddrs made, once.
        unsafe {
            let next = (*list).ifa_next;
            libc::free(list.cast::<c_void>());
            list = next;
        }
    }
}

/// if_nameindex(3).
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn if_nameindex() -> *mut libc::if_nameindex {
    let mut n = 0usize;
    let mut block: *mut libc::if_nameindex = ptr::null_mut();
    let r = dump(GETLINK, &mut |ty, b| {
        if ty != NEWLINK {
            return Ok(());
        }
        // SAFETY: the block grows by one, with room for the end; the name has memory of its own.
        unsafe {
            let name: *mut [u8; NAME] = alloc()?;
            *name = name_of(attr(b, 16, 3).unwrap_or(&[]));
            let grown = libc::realloc(block.cast(), (n + 2) * size_of::<libc::if_nameindex>());
            if grown.is_null() {
                libc::free(name.cast());
                return Err(libc::ENOMEM);
            }
            block = grown.cast();
            block.add(n).write(libc::if_nameindex { if_index: u32_at(b, 4), if_name: name.cast::<c_char>() });
            n += 1;
            block.add(n).write(libc::if_nameindex { if_index: 0, if_name: ptr::null_mut() });
        }
        Ok(())
    });
    if let Err(e) = r {
        // SAFETY: the block is whole, or null.
        unsafe { if_freenameindex(block) };
        fail(e);
        return ptr::null_mut();
    }
    if block.is_null() {
        return alloc().unwrap_or(ptr::null_mut());
    }
    block
}

/// if_freenameindex(3).
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn if_freenameindex(block: *mut libc::if_nameindex) {
    if block.is_null() {
        return;
    }
    // SAFETY: a block that if_nameindex made, once.
    unsafe {
        let mut at = block;
        while !(*at).if_name.is_null() {
            libc::free((*at).if_name.cast());
            at = at.add(1);
        }
        libc::free(block.cast());
    }
}
