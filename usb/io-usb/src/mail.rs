//! What other threads tell the loop: results of blocking work, lists of remote buses, "look at your URBs".
//!
//! The loop never blocks. What can (opening and claiming a device, settings, connecting) runs on a thread made for it,
//! which posts its result here and ends; an eventfd wakes the loop.

use crate::remote::Link;
use crate::usbfs::{Back, Device, Failure};
use iopkt_sys::Waker;
use iopkt_usbip::op::{Description, DeviceInfo};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::{Receiver, Sender, channel};

/// A message to the loop.
pub enum Mail {
    /// The host's device in this place was opened and claimed, or not.
    Opened(u64, Result<Box<Device>, Failure>),
    /// Its settings were changed (or not): what the request took comes back.
    Settled(u64, Box<Back>),
    /// What it took from the kernel was given back.
    Closed(u64),
    /// The remote device in this place was imported, or not.
    Linked(u64, Result<Box<Link>, Failure>),
    /// What a remote bus has now.
    List(usize, Vec<DeviceInfo>),
    /// Whether a remote bus has io-usb's own operations.
    Extended(usize, bool),
    /// An answer to a request for descriptors, for this connection.
    Described(u64, Option<Description>),
}

/// The loop's end.
pub struct Mailbox {
    rx: Receiver<Mail>,
    post: Post,
}

/// The other end; clones post to the same box.
#[derive(Clone)]
pub struct Post {
    tx: Sender<Mail>,
    waker: Waker,
}

impl Mailbox {
    /// An empty box.
    ///
    /// # Errors
    /// No descriptors are left.
    pub fn new() -> io::Result<Mailbox> {
        let (tx, rx) = channel();
        Ok(Mailbox { rx, post: Post { tx, waker: Waker::new()? } })
    }

    /// The other end.
    pub fn post(&self) -> Post {
        self.post.clone()
    }

    /// Makes the descriptor silent again.
    pub fn quiet(&self) {
        self.post.waker.drain();
    }

    /// The next message.
    pub fn take(&self) -> Option<Mail> {
        self.rx.try_recv().ok()
    }
}

impl AsFd for Mailbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.post.waker.as_fd()
    }
}

impl Post {
    /// Posts; the loop may be gone, which is fine.
    pub fn send(&self, m: Mail) {
        let _ = self.tx.send(m);
        self.waker.wake();
    }

    /// What wakes the loop.
    pub fn waker(&self) -> &Waker {
        &self.waker
    }
}

/// A thread that does one thing. What it would have posted is lost when no thread can be made; `f` is then run here.
pub fn spawn(name: &str, priority: Option<u8>, f: impl FnOnce() + Send + 'static) {
    // A thread that cannot be made would take `f` with it: it travels in a box that stays here until it is taken.
    let job = std::sync::Arc::new(std::sync::Mutex::new(Some(f)));
    let theirs = job.clone();
    let body = move || {
        if let Some(p) = priority {
            let _ = iopkt_sys::process::set_priority(p);
        }
        let f = theirs.lock().ok().and_then(|mut j| j.take());
        if let Some(f) = f {
            f();
        }
    };
    if let Err(e) = std::thread::Builder::new().name(name.into()).spawn(body) {
        log::warn!("no thread for {name}: {e}; everything waits for it");
        let f = job.lock().ok().and_then(|mut j| j.take());
        if let Some(f) = f {
            f();
        }
    }
}
