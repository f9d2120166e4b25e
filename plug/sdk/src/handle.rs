//! What any thread may ask of the host.

use iopkt_abi as abi;
use std::ffi::CStr;
use std::path::PathBuf;
use std::sync::OnceLock;

/// The host's table, the same for all loads of this image. What an older host lacks is null: not supported.
static HOST: OnceLock<abi::Host> = OnceLock::new();

/// Remembers the host; false when its table is none of ours.
///
/// # Safety
/// `h` is what the host gave to `load`.
pub(crate) unsafe fn set_host(h: *const abi::Host) -> bool {
    // SAFETY: the caller's promise; a table of the ABI that may be null.
    match unsafe { abi::copy_table(h) } {
        Some(h) => {
            let _ = HOST.set(h);
            true
        }
        None => false,
    }
}

/// The host's table. `None` only in code that runs before `load`, such as unit tests.
pub(crate) fn host() -> Option<&'static abi::Host> {
    HOST.get()
}

/// Severity of a log line (slogger's).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Severity {
    Shutdown = 0,
    Critical = 1,
    Error = 2,
    Warning = 3,
    Notice = 4,
    Info = 5,
    Debug1 = 6,
    Debug2 = 7,
}

/// Interest in, or readiness of, a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready(pub u32);

impl Ready {
    /// Nothing but errors and hang-ups.
    pub const NONE: Ready = Ready(0);
    /// Reading.
    pub const READ: Ready = Ready(abi::FD_READ);
    /// Writing.
    pub const WRITE: Ready = Ready(abi::FD_WRITE);
    /// Both.
    pub const BOTH: Ready = Ready(abi::FD_READ | abi::FD_WRITE);

    /// Can be read, or has an end or error to be read.
    pub fn is_read(self) -> bool {
        self.0 & (abi::FD_READ | abi::FD_ERROR | abi::FD_HANGUP) != 0
    }
    /// Can be written.
    pub fn is_write(self) -> bool {
        self.0 & abi::FD_WRITE != 0
    }
    /// An error or hang-up is pending.
    pub fn is_end(self) -> bool {
        self.0 & (abi::FD_ERROR | abi::FD_HANGUP) != 0
    }
}

/// A port as any thread may use it. Of the object, or of a device; good until the object is unloaded, and
/// without effect once the device has been detached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handle(pub(crate) *mut abi::Port);

// SAFETY: the functions here are those that the ABI allows from any thread.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

impl Handle {
    /// Writes a line to the log; the host adds who says it.
    pub fn log(self, severity: Severity, text: &str) {
        if let Some(f) = host().and_then(|h| h.log) {
            // SAFETY: our port, and text of that length.
            unsafe { f(self.0, severity as i32, text.as_ptr().cast(), text.len()) };
        }
    }

    /// Logs at [`Severity::Error`].
    pub fn error(self, text: &str) {
        self.log(Severity::Error, text);
    }
    /// Logs at [`Severity::Warning`].
    pub fn warn(self, text: &str) {
        self.log(Severity::Warning, text);
    }
    /// Logs at [`Severity::Info`].
    pub fn info(self, text: &str) {
        self.log(Severity::Info, text);
    }

    /// Monotonic time in ns.
    pub fn now(self) -> u64 {
        // SAFETY: our port.
        host().and_then(|h| h.now).map_or(0, |f| unsafe { f(self.0) })
    }

    /// The object is to end: waits should end, `load` should return.
    pub fn stopping(self) -> bool {
        // SAFETY: our port.
        host().and_then(|h| h.stopping).is_none_or(|f| unsafe { f(self.0) != 0 })
    }

    /// Fills `out` with unpredictable bytes.
    pub fn random(self, out: &mut [u8]) {
        if let Some(f) = host().and_then(|h| h.random) {
            // SAFETY: our port, and a writable slice of that length.
            unsafe { f(self.0, out.as_mut_ptr().cast(), out.len()) };
        }
    }

    /// Directory under which io-pkt's names live.
    pub fn root(self) -> PathBuf {
        // SAFETY: our port; the host answers with a C string that it keeps.
        let s = host().and_then(|h| h.root).map(|f| unsafe { CStr::from_ptr(f(self.0)) });
        PathBuf::from(s.map_or("/".into(), |s| s.to_string_lossy().into_owned()))
    }

    /// Where the documented name `name` (`/dev/usb`) really is: below the root, whatever it contains.
    pub fn resolve(self, name: &str) -> PathBuf {
        let mut p = self.root();
        p.extend(name.split('/').filter(|c| !matches!(*c, "" | "." | "..")));
        p
    }

    /// Runs `wake` of the port's owner soon, on its thread. Several calls may become one.
    pub fn wake(self) {
        if let Some(f) = host().and_then(|h| h.wake) {
            // SAFETY: our port.
            unsafe { f(self.0) };
        }
    }

    /// Of a device: it is no more; asks for its removal, which follows (stop, then the device is dropped).
    pub fn depart(self) {
        if let Some(f) = host().and_then(|h| h.depart) {
            // SAFETY: our port.
            unsafe { f(self.0) };
        }
    }

    /// An empty buffer with room for `len` bytes behind the usual headroom; `None` when packet memory is at
    /// its limit.
    pub fn alloc(self, len: usize) -> Option<crate::Mbuf> {
        let mut b = crate::Batch::new(self);
        b.fill(1, len);
        b.pop()
    }

    /// Interest in a descriptor, on the port's thread; [`crate::Here`] makes it public.
    pub(crate) fn fd_add(self, fd: i32, interest: Ready, cookie: u64) -> Result<(), crate::Fail> {
        let f = host().and_then(|h| h.fd_add).ok_or(crate::Fail::from(crate::errno::ENXIO))?;
        // SAFETY: our port; the host checks the descriptor.
        crate::Fail::check(unsafe { f(self.0, fd, interest.0, cookie) })
    }

    pub(crate) fn fd_mod(self, fd: i32, interest: Ready) -> Result<(), crate::Fail> {
        let f = host().and_then(|h| h.fd_mod).ok_or(crate::Fail::from(crate::errno::ENXIO))?;
        // SAFETY: as above.
        crate::Fail::check(unsafe { f(self.0, fd, interest.0) })
    }

    pub(crate) fn fd_del(self, fd: i32) -> Result<(), crate::Fail> {
        let f = host().and_then(|h| h.fd_del).ok_or(crate::Fail::from(crate::errno::ENXIO))?;
        // SAFETY: as above.
        crate::Fail::check(unsafe { f(self.0, fd) })
    }

    pub(crate) fn timer(self, deadline: Option<u64>) {
        if let Some(f) = host().and_then(|h| h.timer) {
            // SAFETY: our port.
            unsafe { f(self.0, deadline.unwrap_or(abi::NEVER)) };
        }
    }

    pub(crate) fn name_add(self, name: &str, target: &str) -> Result<(), crate::Fail> {
        let bad = |_| crate::Fail::from(crate::errno::EINVAL);
        let n = std::ffi::CString::new(name).map_err(bad)?;
        let t = std::ffi::CString::new(target).map_err(bad)?;
        let f = host().and_then(|h| h.name_add).ok_or(crate::Fail::from(crate::errno::ENXIO))?;
        // SAFETY: our port and two C strings that live through the call.
        crate::Fail::check(unsafe { f(self.0, n.as_ptr(), t.as_ptr()) })
    }

    pub(crate) fn name_del(self, name: &str) -> Result<(), crate::Fail> {
        let n = std::ffi::CString::new(name).map_err(|_| crate::Fail::from(crate::errno::EINVAL))?;
        let f = host().and_then(|h| h.name_del).ok_or(crate::Fail::from(crate::errno::ENXIO))?;
        // SAFETY: our port and a C string that lives through the call.
        crate::Fail::check(unsafe { f(self.0, n.as_ptr()) })
    }
}
