//! Memory that a program names, when it may name wrong: EFAULT, as the kernel has it, and no signal.
//!
//! The kernel copies (process_vm_readv(2) on the own process), which costs a system call: it is for control calls. Where that call is
//! not to be had (a sandbox of the program's), memory is touched as it is. Data calls look at the address only.

use core::ffi::c_void;

use crate::sys::{self, Result};

/// Addresses below (the page that is never mapped) and from here on (no program's on either machine) are wrong.
const LOWEST: usize = 4096;
const HIGHEST: usize = 1 << 56;

/// Whether an address can be a program's at all.
pub fn plausible(at: *const c_void) -> bool {
    (LOWEST..HIGHEST).contains(&(at as usize))
}

/// Copies between the program's memory at `at` and ours at `ours`. `None`: the kernel does not do that here.
fn copied(nr: libc::c_long, ours: *const u8, at: usize, len: usize) -> Option<Result<()>> {
    let part = |at: usize| [libc::iovec { iov_base: at as *mut c_void, iov_len: len }];
    // SAFETY: `ours` is valid for `len` bytes by the callers.
    unsafe { transfer(nr, &part(ours as usize), &part(at), len) }
}

/// Copies `len` bytes in all between pieces of our memory and the program's.
///
/// # Safety
/// Ours must be valid.
unsafe fn transfer(
    nr: libc::c_long,
    local: &[libc::iovec],
    remote: &[libc::iovec],
    len: usize,
) -> Option<Result<()>> {
    let pid = sys::getpid() as usize;
    let (l, r) = (local.as_ptr() as usize, remote.as_ptr() as usize);
    // SAFETY: so many valid elements each; the kernel checks what the program's name.
    let r = unsafe { sys::call(nr, [pid, l, local.len(), r, remote.len(), 0]) };
    match r {
        Ok(n) if n == len => Some(Ok(())),
        Ok(_) | Err(libc::EFAULT) => Some(Err(libc::EFAULT)),
        Err(_) => None,
    }
}

/// Reads the program's memory.
///
/// # Safety
/// Where the kernel does not check: `at` is valid for reading `out.len()` bytes, as the program says.
pub unsafe fn read(at: *const c_void, out: &mut [u8]) -> Result<()> {
    if out.is_empty() {
        return Ok(());
    }
    if !plausible(at) {
        return Err(libc::EFAULT);
    }
    copied(libc::SYS_process_vm_readv, out.as_mut_ptr(), at as usize, out.len()).unwrap_or_else(|| {
        // SAFETY: the caller's promise.
        unsafe { core::ptr::copy_nonoverlapping(at.cast::<u8>(), out.as_mut_ptr(), out.len()) };
        Ok(())
    })
}

/// Writes to the program's memory.
///
/// # Safety
/// Where the kernel does not check: `at` is valid for writing `bytes.len()` bytes, as the program says.
pub unsafe fn write(at: *mut c_void, bytes: &[u8]) -> Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    if !plausible(at) {
        return Err(libc::EFAULT);
    }
    copied(libc::SYS_process_vm_writev, bytes.as_ptr(), at as usize, bytes.len()).unwrap_or_else(|| {
        // SAFETY: the caller's promise.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), at.cast::<u8>(), bytes.len()) };
        Ok(())
    })
}

/// Writes to two places of the program's memory in one call.
///
/// # Safety
/// As [`write`], for both.
pub unsafe fn write_both(a: (*mut c_void, &[u8]), b: (*mut c_void, &[u8])) -> Result<()> {
    let empty = a.1.is_empty() || b.1.is_empty();
    if empty || !plausible(a.0) || !plausible(b.0) {
        // SAFETY: the caller's promise.
        return unsafe { write(a.0, a.1).and_then(|()| write(b.0, b.1)) };
    }
    let part = |at: *const c_void, len| libc::iovec { iov_base: at.cast_mut(), iov_len: len };
    let local = [part(a.1.as_ptr().cast(), a.1.len()), part(b.1.as_ptr().cast(), b.1.len())];
    let remote = [part(a.0, a.1.len()), part(b.0, b.1.len())];
    // SAFETY: two slices of ours.
    let r = unsafe {
        transfer(libc::SYS_process_vm_writev, &local, &remote, a.1.len().saturating_add(b.1.len()))
    };
    // SAFETY: the caller's promise.
    r.unwrap_or_else(|| unsafe { write(a.0, a.1).and_then(|()| write(b.0, b.1)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_addresses_are_efault_and_good_ones_are_copied() {
        let mut b = [0; 4];
        // SAFETY: the kernel checks; what is checked before it never reaches a copy.
        unsafe {
            let (mut x, mut y) = ([0u8; 2], [0u8; 3]);
            let at = |b: &mut [u8]| b.as_mut_ptr().cast::<c_void>();
            assert_eq!(write_both((at(&mut x), &[1, 2]), (at(&mut y), &[3, 4, 5])), Ok(()));
            assert_eq!((x, y), ([1, 2], [3, 4, 5]));
            assert_eq!(write_both((at(&mut x), &[]), (at(&mut y), &[6])), Ok(()));
            assert_eq!((x, y), ([1, 2], [6, 4, 5]));
            assert_eq!(write_both((at(&mut x), &[7]), (8 as *mut c_void, &[0])), Err(libc::EFAULT));
            for bad in [core::ptr::null(), 8 as *const c_void, usize::MAX as *const c_void] {
                assert_eq!(read(bad, &mut b), Err(libc::EFAULT));
                assert_eq!(write(bad.cast_mut(), &b), Err(libc::EFAULT));
                assert_eq!(read(bad, &mut []), Ok(()));
            }
            let page = libc::mmap(
                core::ptr::null_mut(),
                4096,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            assert_eq!(read(page, &mut b), Err(libc::EFAULT));
            assert_eq!(write(page, &b), Err(libc::EFAULT));
            libc::munmap(page, 4096);
            assert_eq!(read([1u8, 2, 3, 4].as_ptr().cast(), &mut b), Ok(()));
            assert_eq!(b, [1, 2, 3, 4]);
            let mut to = [0u8; 4];
            assert_eq!(write(to.as_mut_ptr().cast(), &b), Ok(()));
            assert_eq!(to, b);
        }
    }
}
