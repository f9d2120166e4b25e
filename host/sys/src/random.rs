//! Randomness from the kernel (getrandom(2)).

use std::io;

/// Fills `out`. Blocks only while the kernel's generator has never been seeded (early boot).
///
/// # Errors
/// What getrandom(2) says; EINTR is retried.
pub fn fill(out: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while done < out.len() {
        let rest = &mut out[done..];
        // SAFETY: pointer and length name the writable slice `rest`, which lives through the call.
        let n = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        if n < 0 {
            let e = io::Error::last_os_error();
            if e.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            return Err(e);
        }
        done += n as usize;
    }
    Ok(())
}

/// Eight random bytes as a number.
///
/// # Errors
/// As [`fill`].
pub fn u64() -> io::Result<u64> {
    let mut b = [0; 8];
    fill(&mut b)?;
    Ok(u64::from_ne_bytes(b))
}
