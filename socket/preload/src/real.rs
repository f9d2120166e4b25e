//! libc's own functions, for calls that may block and are cancellation points.

use core::ffi::{CStr, c_char, c_int, c_void};
use core::sync::atomic::{AtomicPtr, Ordering};

macro_rules! real {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty = $c:literal;)*) => {
        $(
            $(#[$doc])*
            pub unsafe fn $name($($arg: $ty),*) -> $ret {
                static AT: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());
                let f = find(&AT, $c);
                if f.is_null() {
                    return crate::fail(libc::ENOSYS) as $ret;
                }
                // SAFETY: libc's function of this name has this type.
                let f: unsafe extern "C" fn($($ty),*) -> $ret = unsafe { core::mem::transmute(f) };
                // SAFETY: the caller's promise.
                unsafe { f($($arg),*) }
            }
        )*
    };
}

fn find(at: &AtomicPtr<c_void>, name: &CStr) -> *mut c_void {
    let f = at.load(Ordering::Relaxed);
    if !f.is_null() {
        return f;
    }
    // SAFETY: a NUL-terminated name.
    let f = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
    at.store(f, Ordering::Relaxed);
    f
}

real! {
    /// read(2).
    read(fd: c_int, buf: *mut c_void, len: usize) -> libc::ssize_t = c"read";
    /// readv(2).
    readv(fd: c_int, iov: *const libc::iovec, n: c_int) -> libc::ssize_t = c"readv";
    /// recv(2).
    recv(fd: c_int, buf: *mut c_void, len: usize, flags: c_int) -> libc::ssize_t = c"recv";
    /// write(2).
    write(fd: c_int, buf: *const c_void, len: usize) -> libc::ssize_t = c"write";
    /// writev(2).
    writev(fd: c_int, iov: *const libc::iovec, n: c_int) -> libc::ssize_t = c"writev";
    /// poll(2).
    poll(fds: *mut libc::pollfd, n: libc::nfds_t, timeout: c_int) -> c_int = c"poll";
    /// ppoll(2).
    ppoll(fds: *mut libc::pollfd, n: libc::nfds_t, timeout: *const libc::timespec, mask: *const libc::sigset_t) -> c_int = c"ppoll";
    /// select(2).
    select(n: c_int, r: *mut libc::fd_set, w: *mut libc::fd_set, e: *mut libc::fd_set, timeout: *mut libc::timeval) -> c_int = c"select";
    /// pselect(2).
    pselect(n: c_int, r: *mut libc::fd_set, w: *mut libc::fd_set, e: *mut libc::fd_set, timeout: *const libc::timespec, mask: *const libc::sigset_t) -> c_int = c"pselect";
    /// epoll_wait(2).
    epoll_wait(fd: c_int, events: *mut libc::epoll_event, n: c_int, timeout: c_int) -> c_int = c"epoll_wait";
    /// epoll_pwait(2).
    epoll_pwait(fd: c_int, events: *mut libc::epoll_event, n: c_int, timeout: c_int, mask: *const libc::sigset_t) -> c_int = c"epoll_pwait";
    /// send(2).
    send(fd: c_int, buf: *const c_void, len: usize, flags: c_int) -> libc::ssize_t = c"send";
}

macro_rules! streams {
    ($($(#[$doc:meta])* $name:ident = $c:literal;)*) => {
        $(
            $(#[$doc])*
            pub unsafe fn $name(path: *const c_char, mode: *const c_char) -> *mut libc::FILE {
                static AT: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());
                let f = find(&AT, $c);
                if f.is_null() {
                    crate::fail(libc::ENOSYS);
                    return core::ptr::null_mut();
                }
                type Open = unsafe extern "C" fn(*const c_char, *const c_char) -> *mut libc::FILE;
                // SAFETY: libc's function of this name has this type.
                let f: Open = unsafe { core::mem::transmute(f) };
                // SAFETY: the caller's promise.
                unsafe { f(path, mode) }
            }
        )*
    };
}

streams! {
    /// fopen(3).
    fopen = c"fopen";
    /// fopen64(3).
    fopen64 = c"fopen64";
}

/// Looks the functions up, so that no signal handler has to.
pub fn start() {
    // SAFETY: calls with a descriptor that is none: EBADF, and errno is nobody's yet.
    unsafe {
        read(-1, core::ptr::null_mut(), 0);
        readv(-1, core::ptr::null(), 0);
        recv(-1, core::ptr::null_mut(), 0, 0);
        send(-1, core::ptr::null(), 0, 0);
        write(-1, core::ptr::null(), 0);
        writev(-1, core::ptr::null(), 0);
        let (set, none) = (core::ptr::null_mut(), core::ptr::null_mut());
        poll(core::ptr::null_mut(), 0, 0);
        let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        ppoll(core::ptr::null_mut(), 0, &raw const now, core::ptr::null());
        let mut at_once = libc::timeval { tv_sec: 0, tv_usec: 0 };
        select(0, set, set, set, &raw mut at_once);
        pselect(0, set, set, set, &raw const now, core::ptr::null());
        epoll_wait(-1, none, 0, 0);
        epoll_pwait(-1, none, 0, 0, core::ptr::null());
        *libc::__errno_location() = 0;
    }
}
