//! What a device (on its packet thread) and its driver (on the control thread) tell each other.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// Shared by the two; plain atomics and a mutex held for a moment.
#[derive(Debug, Default)]
pub struct Shared {
    ended: AtomicBool,
    failed: AtomicBool,
    port_name: Mutex<Option<String>>,
}

impl Shared {
    /// The device's connection is over: it was unplugged, or (`failed`) it does not work any more.
    pub fn end(&self, failed: bool) {
        self.failed.store(failed, Ordering::Relaxed);
        self.ended.store(true, Ordering::Release);
    }

    /// Whether the connection is over.
    pub fn ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Whether it ended because the device failed while it was plugged in.
    pub fn failed(&self) -> bool {
        self.ended() && self.failed.load(Ordering::Relaxed)
    }

    /// The documented name of the AT port, `/dev/serecm0`, once it has one.
    pub fn port_name(&self) -> Option<String> {
        self.port_name.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Gives the AT port its name.
    pub fn set_port_name(&self, name: Option<String>) {
        *self.port_name.lock().unwrap_or_else(PoisonError::into_inner) = name;
    }
}
