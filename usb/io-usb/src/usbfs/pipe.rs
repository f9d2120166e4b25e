//! `nusb`'s endpoints as pipes, and its errors as URB status.

use super::queue::{Ended, Pipe, Transfer};
use iopkt_sys::Waker;
use iopkt_usbip::hdr::status;
use nusb::transfer::{Buffer, BulkOrInterrupt, EndpointDirection, TransferError};
use nusb::{Endpoint, MaybeFuture};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake};
use std::time::{Duration, Instant};

/// Set, and the loop woken, by `nusb`'s thread when a transfer of the device has ended.
pub struct Alarm {
    ringing: AtomicBool,
    waker: Waker,
}

impl Alarm {
    /// One that wakes the loop of `waker`. It rings: what has ended before anybody subscribed is not missed.
    pub fn new(waker: Waker) -> Alarm {
        Alarm { ringing: AtomicBool::new(true), waker }
    }

    /// Makes the loop look again.
    pub fn ring(&self) {
        if !self.ringing.swap(true, Ordering::AcqRel) {
            self.waker.wake();
        }
    }

    /// Whether it rang; it is silent afterwards.
    pub fn take(&self) -> bool {
        self.ringing.swap(false, Ordering::AcqRel)
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.ring();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
    }
}

/// URB status of an error. `nusb` does not tell babble (EOVERFLOW), CRC and time-out errors apart: all are EPROTO.
pub fn status_of(e: TransferError) -> i32 {
    match e {
        TransferError::Cancelled => status::ECONNRESET,
        TransferError::Stall => status::EPIPE,
        TransferError::Disconnected => status::ESHUTDOWN,
        TransferError::Fault => status::EPROTO,
        TransferError::InvalidArgument => status::EINVAL,
        TransferError::Unknown(e) => i32::try_from(e).map_or(status::EPROTO, |e| -e),
    }
}

/// What can be done with a halted endpoint, on another thread.
pub type ClearHalt = Box<dyn FnOnce() -> Result<(), nusb::Error> + Send>;

/// An endpoint of any kind.
pub trait Raw: Pipe {
    /// What clears its halt; blocks.
    fn clear_halt(&mut self) -> ClearHalt;
    /// Cancels all and waits for the ends, so that the interface can be let go; blocks for at most `limit`.
    fn drain(&mut self, limit: Duration);
}

/// An endpoint that rings an alarm.
pub struct Ringing<T: BulkOrInterrupt, D: EndpointDirection> {
    ep: Endpoint<T, D>,
    waker: std::task::Waker,
}

impl<T: BulkOrInterrupt, D: EndpointDirection> Ringing<T, D> {
    /// `ep` rings `alarm`.
    pub fn new(ep: Endpoint<T, D>, alarm: &Arc<Alarm>) -> Ringing<T, D> {
        Ringing { ep, waker: alarm.clone().into() }
    }
}

impl<T: BulkOrInterrupt, D: EndpointDirection> Pipe for Ringing<T, D> {
    fn submit(&mut self, t: Transfer) {
        self.ep.submit(match t {
            Transfer::Out(data) => Buffer::from(data),
            Transfer::In(len) => Buffer::new(len),
        });
    }

    fn next(&mut self) -> Option<Ended> {
        match self.ep.poll_next_complete(&mut Context::from_waker(&self.waker)) {
            Poll::Pending => None,
            Poll::Ready(c) => {
                let status = c.status.map_or_else(status_of, |()| status::OK);
                let (actual, data) = (c.actual_len, c.buffer.into_vec());
                Some(Ended { status, actual, data })
            }
        }
    }

    fn cancel_all(&mut self) {
        self.ep.cancel_all();
    }
}

impl<T: BulkOrInterrupt + 'static, D: EndpointDirection + 'static> Raw for Ringing<T, D> {
    fn clear_halt(&mut self) -> ClearHalt {
        let f = self.ep.clear_halt();
        Box::new(move || f.wait())
    }

    fn drain(&mut self, limit: Duration) {
        let end = Instant::now() + limit;
        self.ep.cancel_all();
        while self.ep.pending() > 0 && Instant::now() < end {
            let _ = self.ep.wait_next_complete(Duration::from_millis(100));
        }
    }
}

impl Pipe for Box<dyn Raw> {
    fn submit(&mut self, t: Transfer) {
        (**self).submit(t);
    }

    fn next(&mut self) -> Option<Ended> {
        (**self).next()
    }

    fn cancel_all(&mut self) {
        (**self).cancel_all();
    }
}
