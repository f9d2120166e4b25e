//! Memory that is shared with another process, which is not trusted: it may write what it likes, when it likes.
//!
//! So there is no reference to it, only copies in and out, and single words that are read and written atomically.

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

/// Shared memory of a fixed size.
#[derive(Debug)]
pub struct Shared {
    fd: OwnedFd,
    at: *mut u8,
    len: usize,
}

// SAFETY: the mapping belongs to the value and does not depend on the thread.
unsafe impl Send for Shared {}

impl Shared {
    /// `len` bytes of zeros. The size is sealed: nobody can take the memory away from under us.
    ///
    /// # Errors
    /// ENOMEM, EMFILE, EINVAL for 0 bytes.
    pub fn new(name: &str, len: usize) -> io::Result<Shared> {
        let fd = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&fd, len as u64)?;
        fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        // SAFETY: a fresh mapping at an address that the kernel chooses; it lives until Drop.
        let at = unsafe {
            mmap(std::ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, &fd, 0)?
        };
        Ok(Shared { fd, at: at.cast(), len })
    }

    /// The descriptor that others map.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn word(&self, at: usize) -> Option<&AtomicU32> {
        if !at.is_multiple_of(4) || at.checked_add(4)? > self.len {
            return None;
        }
        // SAFETY: inside the mapping and aligned; shared words are only ever touched as atomics here.
        Some(unsafe { AtomicU32::from_ptr(self.at.add(at).cast()) })
    }

    /// Reads the word at a multiple of 4, before all that is read or written later; 0 outside.
    pub fn load(&self, at: usize) -> u32 {
        self.word(at).map_or(0, |w| w.load(Ordering::Acquire))
    }

    /// Writes the word at a multiple of 4, after all that was written before.
    pub fn store(&self, at: usize, v: u32) {
        if let Some(w) = self.word(at) {
            w.store(v, Ordering::Release);
        }
    }

    /// Copies bytes in, as far as they lie inside.
    pub fn write(&self, at: usize, bytes: &[u8]) {
        let n = bytes.len().min(self.len.saturating_sub(at));
        if n > 0 {
            // SAFETY: inside the mapping; a slice of ours does not overlap it. What another process does to the bytes meanwhile is
            // seen by it alone: nothing here reads them back.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.at.add(at), n) };
        }
    }
}

/// A file in memory with this text, which nobody can change; its offset is 0.
///
/// # Errors
/// ENOMEM, EMFILE.
pub fn text(name: &str, text: &[u8]) -> io::Result<OwnedFd> {
    let fd = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut at = 0;
    while at < text.len() {
        at += rustix::io::pwrite(&fd, &text[at..], at as u64)?;
    }
    fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL)?;
    Ok(fd)
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: our own mapping, and nobody has a reference into it.
        let _ = unsafe { munmap(self.at.cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_seen_by_who_maps_it_and_nothing_outside_is_touched() {
        let s = Shared::new("test", 8192).unwrap();
        s.write(100, b"abc");
        s.store(4096, 7);
        s.write(8190, b"xyz");
        s.write(9000, b"no");
        s.store(8192, 1);
        s.store(2, 1);
        assert_eq!((s.load(4096), s.load(8192), s.load(usize::MAX - 1)), (7, 0, 0));
        let mut b = vec![0; 8192];
        rustix::io::pread(s.fd(), &mut b, 0).unwrap();
        assert_eq!(
            (&b[100..103], &b[4096..4100], &b[8190..]),
            (&b"abc"[..], &7u32.to_ne_bytes()[..], &b"xy"[..])
        );
        assert!(ftruncate(s.fd(), 10).is_err(), "sealed");
    }
}
