//! What a port offers inside a call on its thread, whether it is the object's, a device's or a module's.

use crate::Fail;
use crate::handle::{Handle, Ready, host};
use std::marker::PhantomData;
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd};

/// A port, inside a call on its thread. [`crate::Control`], [`crate::Port`] and [`crate::Stack`] are it, each with what
/// is its own.
pub struct Here<'a> {
    pub(crate) handle: Handle,
    _thread: PhantomData<(&'a (), *mut ())>,
}

impl Deref for Here<'_> {
    type Target = Handle;
    fn deref(&self) -> &Handle {
        &self.handle
    }
}

impl Here<'_> {
    pub(crate) fn new(handle: Handle) -> Self {
        Here { handle, _thread: PhantomData }
    }

    /// The port for any thread.
    pub fn handle(&self) -> Handle {
        self.handle
    }

    /// Watches a descriptor; `fd` of the port's owner is called with `cookie`.
    ///
    /// # Errors
    /// EEXIST, ENOSPC (1024 descriptors), what epoll_ctl(2) says.
    pub fn watch(&self, fd: impl AsFd, interest: Ready, cookie: u64) -> Result<(), Fail> {
        self.handle.fd_add(fd.as_fd().as_raw_fd(), interest, cookie)
    }

    /// Changes the interest.
    ///
    /// # Errors
    /// ENOENT.
    pub fn rewatch(&self, fd: impl AsFd, interest: Ready) -> Result<(), Fail> {
        self.handle.fd_mod(fd.as_fd().as_raw_fd(), interest)
    }

    /// Ends the watch; before the descriptor is closed.
    ///
    /// # Errors
    /// ENOENT.
    pub fn unwatch(&self, fd: impl AsFd) -> Result<(), Fail> {
        self.handle.fd_del(fd.as_fd().as_raw_fd())
    }

    /// Runs `timer` of the port's owner once at `deadline` (ns, clock of [`Handle::now`]); `None` for never.
    pub fn timer(&self, deadline: Option<u64>) {
        self.handle.timer(deadline);
    }

    /// Makes `<root><name>` (`/dev/serecm0`) a symbolic link to `target`. It goes with the object at the latest.
    ///
    /// # Errors
    /// EINVAL for a name outside /dev, EEXIST when something else is there.
    pub fn name_add(&self, name: &str, target: &str) -> Result<(), Fail> {
        self.handle.name_add(name, target)
    }

    /// Takes the name away.
    ///
    /// # Errors
    /// ENOENT.
    pub fn name_del(&self, name: &str) -> Result<(), Fail> {
        self.handle.name_del(name)
    }

    /// Explains what is about to fail, a load or a refusal, in one line.
    pub fn why(&self, text: &str) {
        if let Some(f) = host().and_then(|h| h.why) {
            // SAFETY: our port, and text of that length.
            unsafe { f(self.handle.0, text.as_ptr().cast(), text.len()) };
        }
    }
}
