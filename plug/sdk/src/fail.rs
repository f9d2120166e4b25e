//! Why something failed: an errno and a line for people.

use std::ffi::c_int;
use std::fmt;

/// POSIX error numbers that drivers use (Linux's values).
#[allow(missing_docs)] // each is the POSIX name of its number
pub mod errno {
    pub const EPERM: i32 = 1;
    pub const ENOENT: i32 = 2;
    pub const EINTR: i32 = 4;
    pub const EIO: i32 = 5;
    pub const ENXIO: i32 = 6;
    pub const EAGAIN: i32 = 11;
    pub const ENOMEM: i32 = 12;
    pub const EACCES: i32 = 13;
    pub const EBUSY: i32 = 16;
    pub const EEXIST: i32 = 17;
    pub const ENODEV: i32 = 19;
    pub const ENOBUFS: i32 = 105;
    pub const EINVAL: i32 = 22;
    pub const EOPNOTSUPP: i32 = 95;
    pub const ETIMEDOUT: i32 = 110;
}

/// A failure. The text should say what, why and what to do; it goes to the log and to whoever asked for the
/// driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fail {
    /// POSIX error number, positive.
    pub errno: i32,
    /// One line; empty when the errno says it all.
    pub why: String,
}

impl Fail {
    /// A failure with an explanation.
    pub fn new(errno: i32, why: impl Into<String>) -> Fail {
        Fail { errno, why: why.into() }
    }

    pub(crate) fn code(&self) -> c_int {
        if self.errno > 0 { self.errno } else { errno::EIO }
    }

    pub(crate) fn check(rc: c_int) -> Result<(), Fail> {
        if rc == 0 { Ok(()) } else { Err(Fail::from(rc)) }
    }
}

impl From<i32> for Fail {
    fn from(errno: i32) -> Fail {
        Fail { errno, why: String::new() }
    }
}

impl From<std::io::Error> for Fail {
    fn from(e: std::io::Error) -> Fail {
        Fail { errno: e.raw_os_error().unwrap_or(errno::EIO), why: e.to_string() }
    }
}

impl fmt::Display for Fail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.why.is_empty() {
            let e = std::io::Error::from_raw_os_error(self.errno).to_string();
            f.write_str(e.split(" (os error").next().unwrap_or(&e))
        } else {
            f.write_str(&self.why)
        }
    }
}

impl std::error::Error for Fail {}
