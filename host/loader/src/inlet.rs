//! What the stack has for a module: frames that it listens to, changes of interfaces. The packet thread puts it
//! here and never waits; the module's control thread takes it.

use crate::host::DriverId;
use crate::shared::Core;
use iopkt_abi as abi;
use iopkt_mbuf::Mbuf;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Frames that wait for a module at most.
const FRAMES: usize = 512;
/// Frames of a module that wait for the stack at most.
const SENDING: usize = 1024;

#[derive(Default)]
struct Waiting {
    frames: VecDeque<Mbuf>,
    /// By interface: what changed since the module looked.
    changes: BTreeMap<u32, u32>,
    closed: bool,
}

/// The queue itself, in the module's [`Core`].
#[derive(Default)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    sending: AtomicUsize,
}

impl Queue {
    /// What changed, in order of index.
    pub(crate) fn changes(&self) -> BTreeMap<u32, u32> {
        std::mem::take(&mut self.lock().changes)
    }

    /// Up to a batch of frames.
    pub(crate) fn frames(&self) -> Vec<Mbuf> {
        let mut w = self.lock();
        let n = w.frames.len().min(abi::BATCH);
        w.frames.drain(..n).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        let w = self.lock();
        w.frames.is_empty() && w.changes.is_empty()
    }

    /// Takes nothing any more.
    pub(crate) fn close(&self) {
        let mut w = self.lock();
        w.closed = true;
        w.changes.clear();
        w.frames.clear();
    }

    /// Room for `n` more frames on their way to the stack.
    pub(crate) fn may_send(&self, n: usize) -> bool {
        let all = self.sending.fetch_add(n, Ordering::Relaxed) + n;
        if all > SENDING {
            self.sending.fetch_sub(n, Ordering::Relaxed);
        }
        all <= SENDING
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The stack's end of it; it stays good when the module has gone, and then leads nowhere.
#[derive(Clone)]
pub struct Inlet(pub(crate) Arc<Core>);

impl Inlet {
    /// The module's number.
    pub fn id(&self) -> DriverId {
        self.0.id
    }

    /// The module's name.
    pub fn name(&self) -> &str {
        &self.0.info.name
    }

    /// A frame that the module listens to, its `ifindex` set.
    ///
    /// # Errors
    /// The frame comes back when too many wait: the module is slow.
    pub fn deliver(&self, m: Mbuf) -> Result<(), Mbuf> {
        let mut w = self.0.inlet.lock();
        if w.closed {
            return Ok(()); // nobody is left to want it
        }
        if w.frames.len() >= FRAMES {
            return Err(m);
        }
        w.frames.push_back(m);
        let first = w.frames.len() == 1;
        drop(w);
        if first {
            self.0.kick();
        }
        Ok(())
    }

    /// Something changed about an interface (bits of [`crate::changed`]).
    pub fn changed(&self, ifindex: u32, what: u32) {
        let mut w = self.0.inlet.lock();
        if !w.closed {
            *w.changes.entry(ifindex).or_default() |= what;
            drop(w);
            self.0.kick();
        }
    }

    /// `n` frames of the module have reached the stack.
    pub fn sent(&self, n: usize) {
        self.0.inlet.sending.fetch_sub(n, Ordering::Relaxed);
    }
}
