//! Memory of the caller: iovecs, names, results.

use iopkt_base::{Errno, Result};

/// Sets errno and returns -1, or returns the value.
pub(crate) fn int(r: Result<i64>) -> i64 {
    match r {
        Ok(v) => v,
        Err(e) => {
            // SAFETY: errno of this thread always exists.
            unsafe { *libc::__errno_location() = e.raw() };
            -1
        }
    }
}

/// The buffers of an iovec array.
///
/// # Safety
/// `iov` points to `n` iovecs (or `n` is 0), each of valid memory, that nobody else uses while the result lives.
pub(crate) unsafe fn iovecs<'a>(iov: *const libc::iovec, n: usize) -> Result<Vec<&'a mut [u8]>> {
    let mut v = Vec::new();
    for i in 0..n {
        // SAFETY: as promised by the caller.
        let io = unsafe { &*iov.add(i) };
        // SAFETY: as promised by the caller.
        v.push(unsafe { bytes_mut(io.iov_base, io.iov_len) }?);
    }
    Ok(v)
}

/// `n` bytes at `p`.
///
/// # Safety
/// `p` is null or points to `n` valid bytes that nobody else uses while the result lives.
pub(crate) unsafe fn bytes_mut<'a>(p: *mut libc::c_void, n: usize) -> Result<&'a mut [u8]> {
    if n == 0 {
        return Ok(&mut []);
    }
    if p.is_null() {
        return Err(Errno::EFAULT);
    }
    // SAFETY: as promised by the caller.
    Ok(unsafe { std::slice::from_raw_parts_mut(p.cast(), n) })
}

/// `n` bytes at `p`.
///
/// # Safety
/// `p` is null or points to `n` valid bytes that nobody writes while the result lives.
pub(crate) unsafe fn bytes<'a>(p: *const libc::c_void, n: usize) -> Result<&'a [u8]> {
    // SAFETY: as promised by the caller; nothing is written through it.
    unsafe { bytes_mut(p.cast_mut(), n) }.map(|b| &*b)
}

/// Spreads bytes over buffers.
pub(crate) fn scatter(mut from: &[u8], to: &mut [&mut [u8]]) {
    for b in to {
        let n = b.len().min(from.len());
        b[..n].copy_from_slice(&from[..n]);
        from = &from[n..];
    }
}

/// Writes a name as accept(2) does: what fits, and its true length.
///
/// # Safety
/// `addr` and `len` are null or as accept(2) wants them.
pub(crate) unsafe fn put_name(name: &[u8], addr: *mut libc::sockaddr, len: *mut libc::socklen_t) {
    if addr.is_null() || len.is_null() {
        return;
    }
    // SAFETY: not null, valid by the caller's promise.
    let room = unsafe { *len } as usize;
    let n = room.min(name.len());
    // SAFETY: `addr` has room for `room` bytes.
    unsafe {
        std::ptr::copy_nonoverlapping(name.as_ptr(), addr.cast::<u8>(), n);
        *len = name.len() as libc::socklen_t;
    }
}

/// A new descriptor of /dev/null: a number that nobody else gets.
pub(crate) fn placeholder() -> Result<i32> {
    // SAFETY: a constant path.
    let fd = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
    if fd < 0 { Err(Errno::EMFILE) } else { Ok(fd) }
}

/// Gives a placeholder back.
pub(crate) fn give_back(fd: i32) {
    // SAFETY: made by `placeholder`, closed once.
    unsafe { libc::close(fd) };
}
