//! What all threads share, and the runtime as drivers see it.

use crate::msg::{ToControl, ToPacket};
use iopkt_base::Errno;
use iopkt_loader::{Bound, Device, DriverId, Host};
use iopkt_slog::{Severity, Sink, major};
use iopkt_sys::{Epoll, Waker};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, sync_channel};

/// A packet thread from outside.
pub(crate) struct Peer {
    pub inbox: Sender<ToPacket>,
    pub waker: Waker,
    pub epoll: Arc<Epoll>,
}

/// Shared by all threads; nothing in it changes.
pub(crate) struct Env {
    pub sink: &'static Sink,
    pub control: Sender<ToControl>,
    pub control_waker: Waker,
    /// The first has the shard.
    pub packet: Vec<Peer>,
    /// Devices are dealt to the packet threads in turn.
    pub next_thread: AtomicUsize,
}

impl Env {
    /// Sends to the control thread.
    pub(crate) fn tell_control(&self, m: ToControl) {
        if self.control.send(m).is_ok() {
            self.control_waker.wake();
        }
    }

    /// Sends to packet thread `n`; false when it has ended.
    pub(crate) fn tell_packet(&self, n: usize, m: ToPacket) -> bool {
        let Some(p) = self.packet.get(n) else { return false };
        let ok = p.inbox.send(m).is_ok();
        p.waker.wake();
        ok
    }

    /// One log line.
    pub(crate) fn log(&self, severity: Severity, text: &str) {
        self.sink.line(severity, text);
    }
}

impl Host for Env {
    fn log(&self, severity: u8, who: &str, text: &str) {
        self.sink.write(Severity::of(severity), major::NETWORK, 0, &format!("{who}: {text}"));
    }

    fn attach(&self, device: Device) -> Result<Bound, Errno> {
        let thread = self.next_thread.fetch_add(1, Ordering::Relaxed) % self.packet.len();
        let (reply, answer) = sync_channel(1);
        if !self.tell_packet(0, ToPacket::Attach { device: Box::new(device), thread, reply }) {
            return Err(Errno::ESHUTDOWN);
        }
        // No answer: the stack is going away, and the device with it.
        answer.recv().unwrap_or(Err(Errno::ESHUTDOWN))
    }

    fn finished(&self, driver: DriverId) {
        self.tell_control(ToControl::Finished { driver });
    }
}
