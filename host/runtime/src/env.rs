//! What all threads share, and the runtime as drivers see it.

use crate::lanes::Lanes;
use crate::msg::{ToControl, ToPacket};
use crate::workers::Workers;
use iopkt_base::Errno;
use iopkt_ctl::{Reply, Request};
use iopkt_loader::{Bound, Device, DriverId, Host, Inlet};
use iopkt_mbuf::Mbuf;
use iopkt_slog::{Severity, Sink, major};
use iopkt_sys::{Epoll, Waker};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::mpsc::{Sender, SyncSender, sync_channel};

/// A packet thread from outside.
pub(crate) struct Peer {
    pub inbox: Sender<ToPacket>,
    pub waker: Waker,
    pub epoll: Arc<Epoll>,
}

/// Shared by all threads.
pub(crate) struct Env {
    pub sink: &'static Sink,
    pub control: Sender<ToControl>,
    pub control_waker: Waker,
    /// The first has the shard.
    pub packet: Vec<Peer>,
    /// Where devices run.
    pub lanes: Arc<Lanes>,
    /// Threads for what may block.
    pub workers: Workers,
    /// Microseconds that packet threads look before they sleep: what the shard's variable says, for those that do not have the shard.
    pub busy_poll: AtomicU32,
    /// `prefix=`, empty for none.
    pub prefix: String,
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

    /// Asks packet thread 0 and waits; `None` when it has ended. Not from a packet thread.
    fn ask<R>(&self, m: impl FnOnce(SyncSender<R>) -> ToPacket) -> Option<R> {
        let (reply, answer) = sync_channel(1);
        self.tell_packet(0, m(reply)).then(|| answer.recv().ok()).flatten()
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
        let (seat, warning) = self.lanes.deal(device.driver().options().priority);
        if let Some(text) = warning {
            self.log(Severity::Warning, &format!("{}: {text}", device.driver().info().name));
        }
        let (reply, answer) = sync_channel(1);
        if !self.tell_packet(0, ToPacket::Attach { device: Box::new(device), seat, reply }) {
            return Err(Errno::ESHUTDOWN);
        }
        // No answer: the stack is going away, and the device with it.
        answer.recv().unwrap_or(Err(Errno::ESHUTDOWN))
    }

    fn finished(&self, driver: DriverId) {
        self.tell_control(ToControl::Finished { driver });
    }

    fn module(&self, inlet: &Inlet, arrives: bool) {
        self.tell_packet(0, ToPacket::Module { inlet: inlet.clone(), arrives });
    }

    fn ctl(&self, request: Request) -> Reply {
        self.ask(|reply| ToPacket::Ask { request: Box::new(request), reply })
            .unwrap_or_else(|| Reply::err(Errno::ESHUTDOWN))
    }

    fn listen(&self, inlet: &Inlet, ifindex: u32, ethertype: u16, on: bool) -> Result<(), Errno> {
        let inlet = inlet.clone();
        self.ask(|reply| ToPacket::Listen { inlet, ifindex, ethertype, on, reply })
            .unwrap_or(Err(Errno::ESHUTDOWN))
    }

    fn output(&self, inlet: &Inlet, ifindex: u32, frames: Vec<Mbuf>) -> Result<(), Errno> {
        let m = ToPacket::Output { inlet: inlet.clone(), ifindex, frames };
        if self.tell_packet(0, m) { Ok(()) } else { Err(Errno::ESHUTDOWN) }
    }

    fn prefix(&self) -> &str {
        &self.prefix
    }
}
