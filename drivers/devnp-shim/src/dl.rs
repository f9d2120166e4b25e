//! A shared object of a legacy driver.
//!
//! dlopen(3) of a file that is mapped already gives the image that is there, and two drivers would share their
//! variables; so the second gets a copy of the file in memory of its own.

use std::ffi::{CStr, CString, c_void};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::ptr::NonNull;

pub(crate) struct Library(NonNull<c_void>);

// SAFETY: a handle of dlopen may be used by any thread.
unsafe impl Send for Library {}

fn dlerror() -> String {
    // SAFETY: dlerror gives null or a C string that stays until the next dl call of this thread.
    let s = unsafe { libc::dlerror() };
    if s.is_null() {
        return "unknown error".into();
    }
    // SAFETY: as above.
    unsafe { CStr::from_ptr(s) }.to_string_lossy().into_owned()
}

fn open(path: &str, flags: i32) -> Option<Library> {
    let path = CString::new(path).ok()?;
    // SAFETY: a C string; that the object's initialisers behave is what loading a driver means.
    NonNull::new(unsafe { libc::dlopen(path.as_ptr(), flags) }).map(Library)
}

impl Library {
    /// Maps the file.
    pub(crate) fn open(path: &str) -> Result<Library, String> {
        let flags = libc::RTLD_NOW | libc::RTLD_LOCAL;
        if open(path, flags | libc::RTLD_NOLOAD).is_none() {
            return open(path, flags).ok_or_else(dlerror);
        }
        let (_file, copy) = private_copy(path).map_err(|e| e.to_string())?;
        open(&copy, flags).ok_or_else(dlerror)
    }

    /// Address of a symbol.
    pub(crate) fn data<T>(&self, name: &CStr) -> Option<*const T> {
        // SAFETY: our handle and a C string.
        let p = unsafe { libc::dlsym(self.0.as_ptr(), name.as_ptr()) };
        (!p.is_null() && p.cast::<T>().is_aligned()).then_some(p.cast_const().cast())
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        // SAFETY: our handle, given up.
        unsafe { libc::dlclose(self.0.as_ptr()) };
    }
}

/// The file's content in memory, and a path to it that no image that is mapped has: each loaded shim stands
/// elsewhere, and where it stands is written into the path.
fn private_copy(path: &str) -> io::Result<(File, String)> {
    static HERE: u8 = 1;
    let name = CString::new(path.rsplit('/').next().unwrap_or("devn").as_bytes()).unwrap_or_default();
    // SAFETY: a C string; the result is checked.
    let fd = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor of our own.
    let mut copy = unsafe { File::from_raw_fd(fd) };
    io::copy(&mut File::open(path)?, &mut copy)?;
    let here = (&raw const HERE as usize) >> 12;
    let mut out = String::from("/proc/self/fd");
    for bit in 0..36 {
        out.push_str(if here >> bit & 1 == 1 { "/." } else { "/" });
    }
    out.push_str(&format!("/{}", copy.as_raw_fd()));
    Ok((copy, out))
}
