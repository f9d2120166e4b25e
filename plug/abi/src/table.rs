//! Reading a table of the other side, which may be older or newer.

use crate::{ABI_MAJOR, Head};

/// A copy of a table that may be shorter or longer than ours: what it lacks is zero.
///
/// # Safety
/// `p` is null or points to a table that starts with a head that tells its true size. `T` is a table of the
/// ABI: repr(C), starting with a head, valid when all zero.
pub unsafe fn copy_table<T: Copy>(p: *const T) -> Option<T> {
    if p.is_null() || !p.is_aligned() {
        return None;
    }
    // SAFETY: every table starts with a head.
    let head = unsafe { p.cast::<Head>().read() };
    if head.major != ABI_MAJOR || (head.size as usize) < size_of::<Head>() {
        return None;
    }
    let mut out = core::mem::MaybeUninit::<T>::zeroed();
    let n = (head.size as usize).min(size_of::<T>());
    // SAFETY: n is within both tables; the rest of `out` is zero, which T allows.
    unsafe {
        core::ptr::copy_nonoverlapping(p.cast::<u8>(), out.as_mut_ptr().cast(), n);
        Some(out.assume_init())
    }
}
