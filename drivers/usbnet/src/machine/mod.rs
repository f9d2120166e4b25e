//! The driver proper: CDC-ECM as a state machine over USB/IP, without I/O.
//!
//! Theory of operation. Bytes from the USB stack go in through [`Machine::space`]/[`Machine::commit`] and
//! [`Machine::process`]; bytes for it wait in [`Machine::tx`]. Everything is asynchronous: control requests queue
//! as [`Job`]s and one is under way at a time (USB has one default pipe); `receive=` bulk-in URBs are kept
//! outstanding while the interface is up; frames to send become bulk-out URBs at once, at most `transmit=` of them.
//!
//! One frame is one bulk transfer that ends with a short packet (ECM 1.2, section 3.3.1): a frame that fills its last packet is
//! followed by a zero-length one. Receive URBs are longer than the longest frame, so that a frame never fills
//! one. Errors: a stalled endpoint is drained, cleared (CLEAR_FEATURE ENDPOINT_HALT) and used again;
//! transient bus errors are retried; [`MAX_ERRORS`] in a row mean that the device has failed.
//!
//! Link: NETWORK_CONNECTION notifications; they may be repeated or come unpaired, so only changes count. A device
//! without a notification endpoint has its link up whenever the interface is up.

mod complete;
mod jobs;
mod ntb;
mod pipes;

use crate::at::At;
use iopkt_usbip::cdc::{Function, filter};
use iopkt_usbip::client::Client;
use iopkt_usbip::status;
use jobs::{Job, MAX_JOBS};
use ntb::Ntb;
pub use ntb::{BLOCK, NtbCounts, NtbSetting};
use pipes::Pipe;
use std::collections::VecDeque;

/// Transient errors in a row on one endpoint after which the device counts as failed.
pub const MAX_ERRORS: u32 = 64;

/// Bus errors that a retry may cure: bit stuffing, CRC, time-out (Linux's error codes for URBs).
const TRANSIENT: [i32; 3] = [status::EPROTO, status::ETIME, -84];

/// What the machine tells its surroundings while it works.
pub trait Up {
    /// A received Ethernet frame; copied before the call returns.
    fn frame(&mut self, bytes: &[u8]);
    /// The link is up or down, with speeds in bits per second (0: unknown).
    fn link(&mut self, up: bool, rx: u64, tx: u64);
    /// Room to send again after [`Machine::send`] refused.
    fn tx_ready(&mut self);
    /// Receive and transmit errors to count.
    fn errors(&mut self, rx: u64, tx: u64);
    /// Something for the log; `detail` only when verbose.
    fn say(&mut self, detail: bool, text: String);
    /// The device has failed for good.
    fn failed(&mut self, why: String);
}

/// What a URB's token means.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum Tok {
    Rx = 1,
    Tx,
    Note,
    Control,
    AtIn,
    AtOut,
    AtNote,
}

const TOKENS: [Tok; 7] = [Tok::Rx, Tok::Tx, Tok::Note, Tok::Control, Tok::AtIn, Tok::AtOut, Tok::AtNote];

/// How the machine is set up.
pub struct Setting {
    /// The ECM function.
    pub ecm: Function,
    /// A serial function beside it.
    pub acm: Option<Function>,
    /// Longest frame, bytes.
    pub max_segment: u16,
    /// Addresses that the multicast filter holds.
    pub mc_filters: u16,
    /// Receive URBs.
    pub receive: usize,
    /// Transmit URBs.
    pub transmit: usize,
    /// Bytes of the AT channel each way.
    pub bufsz: usize,
}

/// The state of one device, owned by its packet thread.
pub struct Machine {
    set: Setting,
    client: Client,
    /// The connection is good.
    alive: bool,
    /// The interface is to be up.
    up: bool,
    /// The data interface is in its working setting.
    open: bool,
    rx: Pipe,
    tx: Pipe,
    /// [`Up::tx_ready`] is owed.
    tx_owed: bool,
    note_out: bool,
    at_note_out: bool,
    jobs: VecDeque<Job>,
    /// The job under way.
    busy: Option<Job>,
    connected: bool,
    speed: (u64, u64),
    told: Option<(bool, u64, u64)>,
    bits: u16,
    groups: Vec<u8>,
    /// The AT channel.
    pub at: At,
    rx_len: usize,
    /// Frames travel in blocks.
    ntb: Option<Ntb>,
}

impl Machine {
    /// A machine for a configured device whose data interface is still off.
    pub fn new(client: Client, set: Setting) -> Machine {
        let mps = usize::from(set.ecm.bulk_in.max_packet());
        // Longer than any frame, in whole packets: the device cannot overrun it with a legal frame.
        let rx_len = (usize::from(set.max_segment) + 1).next_multiple_of(mps);
        let at_mps = set.acm.map_or(0, |a| usize::from(a.bulk_in.max_packet()));
        Machine {
            at: At::new(set.bufsz, at_mps),
            set,
            client,
            alive: true,
            up: false,
            open: false,
            rx: Pipe::default(),
            tx: Pipe::default(),
            tx_owed: false,
            note_out: false,
            at_note_out: false,
            jobs: VecDeque::new(),
            busy: None,
            connected: false,
            speed: (0, 0),
            told: None,
            bits: filter::DIRECTED | filter::BROADCAST,
            groups: Vec::new(),
            rx_len,
            ntb: None,
        }
    }

    /// First work, on the packet thread: listen for notifications, open the AT channel.
    pub fn begin(&mut self, up: &mut dyn Up) {
        if self.set.acm.is_some() {
            self.jobs.push_back(Job::LineCoding);
            self.jobs.push_back(Job::LineState);
        }
        self.kick(up);
    }

    /// The interface goes up.
    pub fn start(&mut self, up: &mut dyn Up) {
        self.up = true;
        self.negotiate();
        if self.set.ecm.has_alts {
            self.want(Job::Alt(self.set.ecm.data_alt));
        } else {
            self.open = true;
        }
        self.want(Job::Filter(self.bits));
        self.kick(up);
    }

    /// The interface goes down: nothing is received any more, what is queued is dropped, the link goes down.
    pub fn stop(&mut self, up: &mut dyn Up) {
        self.up = false;
        self.open = false;
        self.flush();
        self.client.unlink(|t, _, _| t == Tok::Rx as u32 || t == Tok::Tx as u32);
        if self.set.ecm.has_alts {
            self.jobs.retain(|j| !matches!(j, Job::Alt(_) | Job::Ntb(_)));
            self.jobs.push_back(Job::Alt(u8::from(self.set.ecm.data_alt == 0)));
        }
        self.kick(up);
    }

    /// New receive filter.
    pub fn filter(&mut self, promisc: bool, allmulti: bool, groups: &[[u8; 6]], up: &mut dyn Up) {
        let mut bits = filter::DIRECTED | filter::BROADCAST;
        let list: Vec<u8> = groups.concat();
        if promisc {
            bits |= filter::PROMISCUOUS;
        }
        if allmulti || groups.len() > usize::from(self.set.mc_filters) {
            bits |= filter::ALL_MULTICAST;
        } else if !groups.is_empty() {
            bits |= filter::MULTICAST;
        }
        if bits & filter::MULTICAST != 0 && list != self.groups {
            self.jobs.retain(|j| !matches!(j, Job::Groups(_)));
            self.jobs.push_back(Job::Groups(list.clone()));
        }
        self.groups = list;
        if bits != self.bits {
            self.bits = bits;
            if self.up {
                self.want(Job::Filter(bits));
            }
        }
        self.kick(up);
    }

    /// Sends a frame; false when the queue is full ([`Up::tx_ready`] follows). While the device cannot send (down, unplugged)
    /// frames are taken and counted as errors, as a cable that was pulled would do.
    pub fn send(&mut self, frame: &[u8], up: &mut dyn Up) -> bool {
        if !self.alive || !self.up {
            up.errors(0, 1);
            return true;
        }
        if self.ntb.is_some() {
            return self.send_in_block(frame, up);
        }
        let mps = usize::from(self.set.ecm.bulk_out.max_packet());
        let zlp = frame.len().is_multiple_of(mps);
        let room = self.tx.out + usize::from(zlp) < self.set.transmit.max(2);
        // A zero-length packet is a URB of its own: every server understands that, whatever it makes of flags.
        if self.tx.halted || !room || !self.client.has_room(frame.len() + 2 * iopkt_usbip::hdr::HDR_LEN) {
            self.tx_owed = true;
            return false;
        }
        let ep = self.set.ecm.bulk_out;
        if self.client.submit_out(&ep, Tok::Tx as u32, frame, 0).is_err() {
            self.tx_owed = true;
            return false;
        }
        self.tx.out += 1;
        if zlp && self.client.submit_out(&ep, Tok::Tx as u32, &[], 0).is_ok() {
            self.tx.out += 1;
        }
        true
    }

    /// Room for bytes from the USB stack.
    pub fn space(&mut self) -> &mut [u8] {
        self.client.space()
    }

    /// `n` bytes were read into [`Machine::space`].
    pub fn commit(&mut self, n: usize) {
        self.client.commit(n);
    }

    /// Bytes for the USB stack.
    pub fn tx(&self) -> &[u8] {
        self.client.tx()
    }

    /// The first `n` of them were written.
    pub fn tx_done(&mut self, n: usize) {
        self.client.tx_done(n);
    }

    /// Submits everything that can be submitted now, tells what changed.
    fn kick(&mut self, up: &mut dyn Up) {
        if !self.alive {
            self.tell_link(up);
            return;
        }
        self.flush();
        let bulk_in = self.set.ecm.bulk_in;
        while self.open && !self.rx.halted && self.rx.out < self.set.receive {
            if self.client.submit_in(&bulk_in, Tok::Rx as u32, self.rx_len).is_err() {
                break;
            }
            self.rx.out += 1;
        }
        self.recover();
        self.listen();
        self.pump_at();
        while self.busy.is_none() {
            let Some(job) = self.jobs.pop_front() else { break };
            if self.submit_job(&job).is_err() {
                self.jobs.push_front(job);
                break;
            }
            self.busy = Some(job);
        }
        debug_assert!(self.jobs.len() <= MAX_JOBS, "control requests are bounded");
        if self.tx_owed && !self.tx.halted && self.tx.out <= self.set.transmit / 2 {
            self.tx_owed = false;
            up.tx_ready();
        }
        self.tell_link(up);
    }

    fn tell_link(&mut self, up: &mut dyn Up) {
        let on = self.alive && self.open && (self.connected || self.set.ecm.notify.is_none());
        let now = (on, self.speed.0, self.speed.1);
        if self.told != Some(now) {
            self.told = Some(now);
            up.link(now.0, now.1, now.2);
        }
    }

    /// The AT channel has bytes to send or room again.
    pub fn at_changed(&mut self, up: &mut dyn Up) {
        self.kick(up);
    }

    /// The connection is over: every URB ends, the link goes down.
    pub fn gone(&mut self, up: &mut dyn Up) {
        self.alive = false;
        self.open = false;
        self.client.abort(|_| {});
        (self.rx.out, self.tx.out, self.busy) = (0, 0, None);
        self.jobs.clear();
        if std::mem::take(&mut self.tx_owed) {
            up.tx_ready(); // so that what waits is taken, and counted as lost
        }
        self.tell_link(up);
    }

    /// Whether the connection is still good.
    pub fn alive(&self) -> bool {
        self.alive
    }

    /// Whether the device receives everything.
    pub fn promiscuous(&self) -> bool {
        self.bits & filter::PROMISCUOUS != 0
    }
}
