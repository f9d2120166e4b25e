//! The driver proper: CDC-ECM as a state machine over USB/IP, without I/O.
//!
//! Theory of operation. Bytes from the USB stack go in through [`Machine::space`]/[`Machine::commit`] and
//! [`Machine::process`]; bytes for it wait in [`Machine::tx`]. Everything is asynchronous: control requests queue
//! as jobs and one is under way at a time (USB has one default pipe); `receive=` bulk-in URBs are kept
//! outstanding while the interface is up; frames to send become bulk-out URBs at once, at most `transmit=` of them.
//!
//! One frame is one bulk transfer that ends with a short packet (ECM 1.2, section 3.3.1): a frame that fills its last packet is
//! followed by a zero-length one, or by a byte of padding for a device that takes no zero-length packets. Receive
//! URBs are longer than the longest frame, so that a frame never fills one.
//!
//! Errors. A stalled endpoint is drained, cleared (CLEAR_FEATURE ENDPOINT_HALT) and used again. A control request
//! without an answer is cancelled after `control_timeout`. A data path that is dead (nothing was sent for
//! [`TX_TIMEOUT`], [`MAX_ERRORS`] errors in a row) is set up anew in steps, see [`recover`]: its setting, then the
//! whole device by a port reset; when that does not help either, the device has failed.
//!
//! Link: NETWORK_CONNECTION notifications; they may be repeated or come unpaired, so only changes count. A device
//! without a notification endpoint has its link up whenever the interface is up, and so has one that has an
//! endpoint and never says a word ([`LINK_GRACE`]).
//!
//! Time is an argument, in nanoseconds on any clock that does not go back.

mod complete;
mod jobs;
mod link;
mod multicast;
mod ntb;
mod pipes;
mod recover;
mod setting;
mod statistics;

use crate::at::At;
use iopkt_usbip::cdc::filter;
use iopkt_usbip::client::Client;
use iopkt_usbip::status;
use jobs::{Job, MAX_JOBS};
use link::Carrier;
use multicast::Multicast;
use ntb::Ntb;
pub use ntb::{BLOCK, NtbCounts, NtbSetting};
use pipes::{Note, Pipe};
use recover::Recovery;
pub use setting::Setting;
pub use statistics::Statistics;
use std::collections::VecDeque;

/// Errors in a row on one endpoint after which the data path counts as dead.
pub const MAX_ERRORS: u32 = 64;
/// How long a frame may take to leave before the transmitter counts as hung (Linux's usbnet has the same 5 s).
pub const TX_TIMEOUT: u64 = 5_000_000_000;
/// How long a device with a notification endpoint may be silent about its link before that is taken as up.
pub const LINK_GRACE: u64 = 3_000_000_000;
/// No deadline.
pub const NEVER: u64 = u64::MAX;

/// Bus errors that a retry may cure: bit stuffing, CRC, time-out (Linux's error codes for URBs).
const TRANSIENT: [i32; 3] = [status::EPROTO, status::ETIME, -84];

/// What the machine tells its surroundings while it works.
pub trait Up {
    /// A received Ethernet frame; copied before the call returns. `dst` is to replace its destination address.
    fn frame(&mut self, bytes: &[u8], dst: Option<[u8; 6]>);
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
    /// The zero-length packet behind a frame.
    Zlp,
}

const TOKENS: [Tok; 8] =
    [Tok::Rx, Tok::Tx, Tok::Note, Tok::Control, Tok::AtIn, Tok::AtOut, Tok::AtNote, Tok::Zlp];

/// The state of one device, owned by its packet thread.
pub struct Machine {
    set: Setting,
    client: Client,
    /// Time of the call that runs.
    now: u64,
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
    note: Note,
    at_note: Note,
    jobs: VecDeque<Job>,
    /// The job under way.
    busy: Option<Job>,
    /// When it is cancelled; when the device is given up because that is not answered either.
    busy_until: u64,
    busy_cancelled: bool,
    recovery: Recovery,
    carrier: Carrier,
    bits: u16,
    multicast: Multicast,
    statistics: Statistics,
    /// The AT channel.
    pub at: At,
    at_errors: u32,
    /// Endpoints of the serial function that are stalled.
    at_halted: Vec<u8>,
    /// Encapsulated responses that were announced and not asked for yet.
    responses: usize,
    /// Packet filters refused so far.
    refusals: u8,
    /// Oversized frames logged so far.
    oversize: u32,
    rx_len: usize,
    /// A frame with its padding or checksum, for devices that want them.
    scratch: Vec<u8>,
    /// Frames travel in blocks.
    ntb: Option<Ntb>,
}

impl Machine {
    /// A machine for a configured device whose data interface is still off.
    pub fn new(client: Client, set: Setting) -> Machine {
        let mps = usize::from(set.ecm.bulk_in.max_packet()).max(1);
        // Longer than any frame, in whole packets: the device cannot overrun it with a legal frame.
        let rx_len = (set.longest() + 1).next_multiple_of(mps);
        let at_mps = set.acm.map_or(0, |a| usize::from(a.bulk_in.max_packet()));
        Machine {
            at: At::new(set.bufsz, at_mps),
            statistics: Statistics::new(set.statistics),
            set,
            client,
            now: 0,
            alive: true,
            up: false,
            open: false,
            rx: Pipe::default(),
            tx: Pipe::default(),
            tx_owed: false,
            note: Note::default(),
            at_note: Note::default(),
            jobs: VecDeque::new(),
            busy: None,
            busy_until: NEVER,
            busy_cancelled: false,
            recovery: Recovery::default(),
            carrier: Carrier::default(),
            bits: filter::DIRECTED | filter::BROADCAST,
            multicast: Multicast::default(),
            at_errors: 0,
            at_halted: Vec::new(),
            responses: 0,
            refusals: 0,
            oversize: 0,
            rx_len,
            scratch: Vec::new(),
            ntb: None,
        }
    }

    /// First work, on the packet thread: listen for notifications, open the AT channel.
    pub fn begin(&mut self, now: u64, up: &mut dyn Up) {
        self.now = now;
        self.open_serial();
        self.kick(up);
    }

    /// The interface goes up.
    pub fn start(&mut self, now: u64, up: &mut dyn Up) {
        self.now = now;
        self.up = true;
        self.recovery = Recovery::default();
        if self.set.power_filters > 0 {
            self.want(Job::Power(false));
        }
        self.open_data();
        self.kick(up);
    }

    /// The interface goes down: nothing is received any more, what is queued is dropped, the link goes down.
    pub fn stop(&mut self, now: u64, up: &mut dyn Up) {
        self.now = now;
        self.up = false;
        self.close_data();
        if self.set.ecm.has_alts {
            self.jobs.retain(|j| !matches!(j, Job::Alt(_) | Job::Ntb(_)));
            self.jobs.push_back(Job::Alt(self.set.off()));
        }
        if self.set.power_filters > 0 {
            self.want(Job::Power(true));
        }
        self.kick(up);
    }

    /// New receive filter.
    pub fn filter(&mut self, now: u64, promisc: bool, allmulti: bool, groups: &[[u8; 6]], up: &mut dyn Up) {
        self.now = now;
        self.multicast.want(promisc || allmulti, groups);
        let mut bits = filter::DIRECTED | filter::BROADCAST;
        if promisc {
            bits |= filter::PROMISCUOUS;
        }
        if allmulti || groups.len() > usize::from(self.set.mc_filters) {
            bits |= filter::ALL_MULTICAST;
        } else if !groups.is_empty() {
            bits |= filter::MULTICAST;
        }
        if bits & filter::MULTICAST != 0 && self.multicast.program() {
            self.want_groups();
        }
        if bits != self.bits {
            self.bits = bits;
            if self.up {
                self.want(Job::Filter(bits));
            }
        }
        self.kick(up);
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

    /// When [`Machine::tick`] is wanted at the latest, [`NEVER`] while nothing is outstanding that has a limit.
    pub fn deadline(&self) -> u64 {
        if !self.alive {
            return NEVER;
        }
        let control = if self.busy.is_some() { self.busy_until } else { NEVER };
        let tx = if self.tx.out > 0 { self.tx.since.saturating_add(TX_TIMEOUT) } else { NEVER };
        let pause = self.rx.deadline(self.now).min(self.tx.deadline(self.now));
        control.min(tx).min(pause).min(self.recovery.deadline()).min(self.silence_ends())
    }

    /// Does what is due.
    pub fn tick(&mut self, now: u64, up: &mut dyn Up) {
        self.now = now;
        if !self.alive {
            return;
        }
        self.control_overdue(up);
        self.transmit_overdue(up);
        self.recovery_due(up);
        self.silence_overdue(up);
        self.kick(up);
    }

    /// Submits everything that can be submitted now, tells what changed.
    fn kick(&mut self, up: &mut dyn Up) {
        if !self.alive {
            self.tell_link(up);
            return;
        }
        self.flush();
        if !self.recovery.is_resetting() {
            self.feed();
            self.listen();
            self.pump_at();
        }
        self.clear_halts();
        self.next_job();
        debug_assert!(self.jobs.len() <= MAX_JOBS, "control requests are bounded");
        if self.tx_owed && self.can_send() && self.tx.out <= self.set.transmit / 2 {
            self.tx_owed = false;
            up.tx_ready();
        }
        self.tell_link(up);
    }

    /// The AT channel has bytes to send or room again.
    pub fn at_changed(&mut self, now: u64, up: &mut dyn Up) {
        self.now = now;
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

    /// How the device was set up.
    pub fn setting(&self) -> &Setting {
        &self.set
    }

    /// Whether the device receives everything.
    pub fn promiscuous(&self) -> bool {
        self.bits & filter::PROMISCUOUS != 0
    }

    /// How multicast frames are chosen, in words.
    pub fn multicast(&self) -> String {
        self.multicast.describe(self.bits, &self.set)
    }

    /// What the device has counted, as far as it was asked. Asks anew unless that is under way.
    pub fn statistics(&mut self, now: u64, up: &mut dyn Up) -> &Statistics {
        self.now = now;
        self.statistics.refresh();
        self.kick(up);
        &self.statistics
    }
}
