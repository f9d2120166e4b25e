//! libc's own functions, for calls that may block and are cancellation points.

use core::ffi::{CStr, c_int, c_void};
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
    /// send(2).
    send(fd: c_int, buf: *const c_void, len: usize, flags: c_int) -> libc::ssize_t = c"send";
}

/// Looks the functions up, so that no signal handler has to.
pub fn start() {
    // SAFETY: calls with a descriptor that is none: EBADF, and errno is nobody's yet.
    unsafe {
        read(-1, core::ptr::null_mut(), 0);
        readv(-1, core::ptr::null(), 0);
        recv(-1, core::ptr::null_mut(), 0, 0);
        send(-1, core::ptr::null(), 0, 0);
        *libc::__errno_location() = 0;
    }
}
