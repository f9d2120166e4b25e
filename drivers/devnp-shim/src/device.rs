//! An interface of a legacy driver.
//!
//! Its frames come from whatever thread the driver has; they are copied into a queue, and the packet thread, woken,
//! copies them into packets: the switch of threads that the manual speaks of.

use crate::legacy::{FRAME_MAX, If};
use iopkt_sdk::{Count, Device, Fail, Filter, Handle, Link, Port, TxQueue, errno};
use std::collections::VecDeque;
use std::ffi::{c_int, c_void};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Frames from the driver that wait for the packet thread at most.
const QUEUE: usize = 512;

#[derive(Default)]
struct Inbox {
    frames: VecDeque<Vec<u8>>,
    dropped: u64,
    bad: u64,
    tx_ready: bool,
    link: Option<Link>,
    /// The device's port, while there is one.
    port: Option<Handle>,
}

/// A registration: what the driver's threads and the packet thread share.
#[derive(Default)]
pub(crate) struct Reg {
    inbox: Mutex<Inbox>,
    /// Goes with `inbox`.
    closed: Condvar,
}

impl Reg {
    fn with<R>(&self, f: impl FnOnce(&mut Inbox) -> R) -> R {
        f(&mut self.inbox.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the inbox, and wakes the packet thread if that is news.
    fn tell(&self, f: impl FnOnce(&mut Inbox) -> bool) {
        let port = self.with(|i| if f(i) { i.port } else { None });
        if let Some(p) = port {
            p.wake();
        }
    }

    /// Takes the interface away, and waits until the packet thread has done it; false when it does not.
    pub(crate) fn remove(&self) -> bool {
        if let Some(p) = self.with(|i| i.port) {
            p.depart();
        }
        let i = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        let patience = std::time::Duration::from_secs(5);
        let r = self.closed.wait_timeout_while(i, patience, |i| i.port.is_some());
        !r.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// A frame from the driver.
    pub(crate) fn rx(&self, frame: &[u8]) {
        self.tell(|i| {
            match i.frames.len() {
                _ if !(14..=FRAME_MAX).contains(&frame.len()) => i.bad += 1,
                QUEUE.. => i.dropped += 1,
                // Nobody is there to take it: the interface is not bound any more.
                _ if i.port.is_none() => {}
                _ => i.frames.push_back(frame.to_vec()),
            }
            i.frames.len() <= 1 // else it has been woken already
        });
    }

    /// The driver takes frames again.
    pub(crate) fn tx_ready(&self) {
        self.tell(|i| {
            i.tx_ready = true;
            true
        });
    }

    /// The driver's link changed.
    pub(crate) fn link(&self, l: Link) {
        self.tell(|i| {
            i.link = Some(l);
            true
        });
    }
}

/// The device of a registration.
pub(crate) struct Legacy {
    pub(crate) reg: Arc<Reg>,
    pub(crate) calls: If,
    pub(crate) up: bool,
}

// SAFETY: the driver's pointer is only handed to its functions, which by the header run on a packet thread, one at a
// time.
unsafe impl Send for Legacy {}

fn rc(rc: c_int) -> Result<(), Fail> {
    match rc {
        0 => Ok(()),
        e if e > 0 => Err(Fail::from(e)),
        _ => Err(Fail::from(errno::EIO)),
    }
}

impl Device for Legacy {
    fn bind(&mut self, port: &Port<'_>) -> Result<(), Fail> {
        self.reg.tell(|i| {
            i.port = Some(port.handle());
            true // it may have spoken already
        });
        Ok(())
    }

    fn start(&mut self, _port: &Port<'_>) -> Result<(), Fail> {
        // SAFETY: the driver's function with the driver's handle, on the packet thread.
        self.calls.up.map_or(Ok(()), |f| rc(unsafe { f(self.calls.hdl) }))?;
        self.up = true;
        Ok(())
    }

    fn stop(&mut self, _port: &Port<'_>) {
        self.up = false;
        if let Some(f) = self.calls.down {
            // SAFETY: as in start.
            unsafe { f(self.calls.hdl) };
        }
        self.reg.with(|i| i.frames.clear());
    }

    fn transmit(&mut self, port: &Port<'_>, q: &mut TxQueue<'_>) {
        let Some(tx) = self.calls.tx else { return };
        while let Some(frame) = q.peek() {
            if frame.len() > FRAME_MAX {
                port.count(Count::OutErrors, 1);
            } else {
                // SAFETY: as in start; the frame lives through the call.
                match unsafe { tx(self.calls.hdl, frame.as_ptr().cast::<c_void>(), frame.len()) } {
                    0 => {}
                    errno::EAGAIN => return,
                    _ => port.count(Count::OutErrors, 1),
                }
            }
            drop(q.pop());
        }
    }

    fn wake(&mut self, port: &Port<'_>) {
        let (frames, dropped, bad, tx_ready, link) = self.reg.with(|i| {
            let frames = std::mem::take(&mut i.frames);
            let counts = (std::mem::take(&mut i.dropped), std::mem::take(&mut i.bad));
            (frames, counts.0, counts.1, std::mem::take(&mut i.tx_ready), i.link.take())
        });
        port.count(Count::InDrops, dropped);
        port.count(Count::InErrors, bad);
        if let Some(l) = link {
            port.link(l);
        }
        if tx_ready {
            port.tx_ready();
        }
        let mut batch = port.batch();
        for f in frames.iter().filter(|_| self.up) {
            match port.alloc(f.len()) {
                Some(mut m) if m.tailroom() >= f.len() => {
                    m.extend_from_slice(f);
                    let _ = batch.push(m); // sent off below before it is full
                }
                _ => port.count(Count::InDrops, 1),
            }
            if batch.is_full() {
                port.receive(&mut batch);
            }
        }
        port.receive(&mut batch);
    }

    fn filter(&mut self, _port: &Port<'_>, f: &Filter<'_>) -> Result<(), Fail> {
        // SAFETY: as in start.
        self.calls.promisc.map_or(Ok(()), |call| rc(unsafe { call(self.calls.hdl, c_int::from(f.promisc)) }))
    }

    fn detach(&mut self, _port: &Port<'_>) {
        if let Some(f) = self.calls.close {
            // SAFETY: as in start; the last call for this interface.
            unsafe { f(self.calls.hdl) };
        }
        self.reg.with(|i| {
            i.port = None;
            i.frames.clear();
        });
        self.reg.closed.notify_all();
    }
}
