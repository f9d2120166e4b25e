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

use crate::at::At;
use iopkt_usbip::cdc::{self, Function, Notification, filter};
use iopkt_usbip::client::{Client, Completion, Event};
use iopkt_usbip::desc::Endpoint;
use iopkt_usbip::setup::Setup;
use iopkt_usbip::{Dir, ProtoError, status};
use std::collections::VecDeque;

/// Transient errors in a row on one endpoint after which the device counts as failed.
pub const MAX_ERRORS: u32 = 64;

/// Most control requests that wait. A device that announces and stalls without end, or never completes a
/// request, costs no more than this.
const MAX_JOBS: usize = 32;
/// Most [`Job::Response`]s among them; a device that announces more responses has no AT channel that works.
const MAX_RESPONSES: usize = 16;

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

/// A control request that waits or is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Job {
    /// Select an alternate setting of the data interface.
    Alt(u8),
    /// SET_ETHERNET_PACKET_FILTER.
    Filter(u16),
    /// SET_ETHERNET_MULTICAST_FILTERS with these addresses.
    Groups(Vec<u8>),
    /// CLEAR_FEATURE(ENDPOINT_HALT).
    ClearHalt(u8),
    /// SEND_ENCAPSULATED_COMMAND with an AT command.
    Command(Vec<u8>),
    /// GET_ENCAPSULATED_RESPONSE.
    Response,
    /// SET_LINE_CODING of the serial function.
    LineCoding,
    /// SET_CONTROL_LINE_STATE of the serial function.
    LineState,
}

/// One bulk pipe.
#[derive(Default)]
struct Pipe {
    /// URBs outstanding.
    out: usize,
    /// Stalled: nothing is submitted until the halt is cleared.
    halted: bool,
    /// Errors in a row.
    errors: u32,
}

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
        self.client.unlink(|t, _, _| t == Tok::Rx as u32 || t == Tok::Tx as u32);
        if self.set.ecm.has_alts {
            self.jobs.retain(|j| !matches!(j, Job::Alt(_)));
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

    /// Handles what was read.
    ///
    /// # Errors
    /// The stream is no USB/IP any more: end it with [`Machine::gone`].
    pub fn process(&mut self, up: &mut dyn Up) -> Result<(), ProtoError> {
        // Refills and control requests collect behind the loop: one burst of submissions per read.
        let mut todo = Todo::default();
        while let Some(e) = self.client.poll()? {
            let Event::Done(c) = e else { continue };
            match TOKENS.iter().find(|t| **t as u32 == c.token) {
                Some(Tok::Rx) => {
                    self.rx.out -= 1;
                    let fits = (14..=usize::from(self.set.max_segment)).contains(&c.data.len());
                    match c.status {
                        status::OK | status::EREMOTEIO if fits => {
                            self.rx.errors = 0;
                            if self.open {
                                up.frame(c.data);
                            }
                        }
                        // A zero-length packet that ended an earlier frame.
                        status::OK | status::EREMOTEIO if c.data.is_empty() => {}
                        status::OK | status::EREMOTEIO => up.errors(1, 0),
                        st => todo.pipe_error(&mut self.rx, st, self.set.ecm.bulk_in, true),
                    }
                }
                Some(Tok::Tx) => {
                    self.tx.out -= 1;
                    match c.status {
                        status::OK => self.tx.errors = 0,
                        st => todo.pipe_error(&mut self.tx, st, self.set.ecm.bulk_out, false),
                    }
                }
                Some(Tok::Note) => {
                    self.note_out = false;
                    todo.note(&c, self.set.ecm.control, self.set.ecm.notify);
                }
                Some(Tok::AtNote) => {
                    self.at_note_out = false;
                    if let Some(a) = self.set.acm {
                        todo.note(&c, a.control, a.notify);
                    }
                }
                Some(Tok::Control) => todo.control = Some((c.status, c.data.to_vec())),
                Some(Tok::AtIn) => {
                    self.at.urb_in(c.status, c.data);
                    todo.at_halt |= c.status == status::EPIPE;
                }
                Some(Tok::AtOut) => {
                    self.at.urb_out(c.status);
                    todo.at_out_halt |= c.status == status::EPIPE;
                }
                None => {}
            }
            // A control completion decides what comes next; handle it before others.
            if let Some((st, data)) = todo.control.take() {
                let job = self.busy.take();
                self.job_done(job, st, &data, up);
            }
        }
        self.apply(todo, up);
        self.kick(up);
        Ok(())
    }

    fn apply(&mut self, todo: Todo, up: &mut dyn Up) {
        if todo.rx_errors + todo.tx_errors > 0 {
            up.errors(todo.rx_errors, todo.tx_errors);
        }
        for n in todo.notes {
            match n {
                Notification::NetworkConnection(on) => self.connected = on,
                Notification::SpeedChange { down, up } => self.speed = (u64::from(down), u64::from(up)),
                Notification::ResponseAvailable => self.want(Job::Response),
                Notification::SerialState(_) | Notification::Other(_) => {}
            }
        }
        for ep in todo.halts {
            // The other URBs of the pipe end first; the halt is cleared when the pipe is empty.
            let rx = ep == self.set.ecm.bulk_in.addr;
            let tok = if rx { Tok::Rx } else { Tok::Tx } as u32;
            self.client.unlink(|t, _, _| t == tok);
            up.say(true, format!("endpoint {ep:#04x} stalled, clearing it"));
        }
        if let Some(ep) = todo.note_halt {
            self.want(Job::ClearHalt(ep));
        }
        if let Some(a) = self.set.acm {
            for (halt, ep) in [(todo.at_halt, a.bulk_in), (todo.at_out_halt, a.bulk_out)] {
                if halt {
                    self.want(Job::ClearHalt(ep.addr));
                }
            }
        }
        for (pipe, what) in [(&self.rx, "receive"), (&self.tx, "transmit")] {
            if pipe.errors == MAX_ERRORS {
                up.failed(format!("{MAX_ERRORS} {what} errors in a row"));
            }
        }
    }

    fn job_done(&mut self, job: Option<Job>, st: i32, data: &[u8], up: &mut dyn Up) {
        let Some(job) = job else { return };
        let ok = st == status::OK || st == status::EREMOTEIO;
        match job {
            Job::Alt(alt) => {
                self.open = ok && self.up && alt == self.set.ecm.data_alt;
                if !ok {
                    up.failed(format!("SET_INTERFACE failed (status {st})"));
                }
                if alt != self.set.ecm.data_alt {
                    // The halts went with the setting.
                    (self.rx.halted, self.tx.halted) = (false, false);
                }
            }
            // Met in the field: devices that stall the filter requests and receive what they like.
            Job::Filter(bits) if !ok => {
                up.say(false, format!("packet filter {bits:#x} refused (status {st}); going on without"))
            }
            Job::Groups(_) if !ok => {
                up.say(false, format!("multicast filter refused (status {st}); taking all multicast"));
                self.set.mc_filters = 0;
                self.bits = (self.bits & !filter::MULTICAST) | filter::ALL_MULTICAST;
                self.want(Job::Filter(self.bits));
            }
            Job::ClearHalt(ep) => {
                if ep == self.set.ecm.bulk_in.addr {
                    self.rx.halted = false;
                } else if ep == self.set.ecm.bulk_out.addr {
                    self.tx.halted = false;
                }
            }
            Job::Command(_) if !ok => {
                up.say(true, format!("encapsulated command refused (status {st})"));
                self.at.refuse();
            }
            Job::Response if ok => self.at.response(data),
            _ => {}
        }
    }

    /// Queues a control request that does not add up: what one of its kind that still waits will do is not
    /// asked for twice.
    fn want(&mut self, job: Job) {
        match &job {
            Job::Filter(_) => self.jobs.retain(|j| !matches!(j, Job::Filter(_))),
            Job::Response if self.jobs.iter().filter(|j| **j == Job::Response).count() >= MAX_RESPONSES => {
                return;
            }
            Job::Response => {}
            _ if self.jobs.contains(&job) => return,
            _ => {}
        }
        self.jobs.push_back(job);
    }

    /// Submits everything that can be submitted now, tells what changed.
    fn kick(&mut self, up: &mut dyn Up) {
        if !self.alive {
            self.tell_link(up);
            return;
        }
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

    /// A stalled pipe that has run dry gets its halt cleared.
    fn recover(&mut self) {
        for (pipe, ep) in [(&self.rx, self.set.ecm.bulk_in.addr), (&self.tx, self.set.ecm.bulk_out.addr)] {
            let job = Job::ClearHalt(ep);
            if pipe.halted && pipe.out == 0 && !self.jobs.contains(&job) && self.busy.as_ref() != Some(&job) {
                self.jobs.push_back(job);
            }
        }
    }

    /// Keeps a URB on each notification endpoint.
    fn listen(&mut self) {
        for (out, ep, tok) in [
            (&mut self.note_out, self.set.ecm.notify, Tok::Note),
            (&mut self.at_note_out, self.set.acm.and_then(|a| a.notify), Tok::AtNote),
        ] {
            if let Some(ep) = ep.filter(|_| !*out) {
                // Longer than the longest notification (16 bytes), in whole packets.
                let len = 16usize.next_multiple_of(usize::from(ep.max_packet()).max(1));
                *out = self.client.submit_in(&ep, tok as u32, len).is_ok();
            }
        }
    }

    fn pump_at(&mut self) {
        if let Some(a) = self.set.acm {
            while let Some(len) = self.at.wants_in() {
                if self.client.submit_in(&a.bulk_in, Tok::AtIn as u32, len).is_err() {
                    break;
                }
                self.at.in_submitted();
            }
            if let Some(bytes) = self.at.wants_out()
                && self.client.submit_out(&a.bulk_out, Tok::AtOut as u32, bytes, 0).is_ok()
            {
                self.at.out_submitted();
            }
        } else if !self.jobs.iter().any(|j| matches!(j, Job::Command(_)))
            && let Some(line) = self.at.command()
        {
            // One at a time: what the modem does not take stays in the terminal's bounded buffer.
            self.jobs.push_back(Job::Command(line));
        }
    }

    fn submit_job(&mut self, job: &Job) -> Result<(), iopkt_usbip::client::Full> {
        let f = &self.set.ecm;
        let (setup, data): (Setup, &[u8]) = match job {
            Job::Alt(alt) => (Setup::set_interface(f.data, *alt), &[]),
            Job::Filter(bits) => (cdc::set_packet_filter(f.control, *bits), &[]),
            Job::Groups(list) => (cdc::set_multicast_filters(f.control, (list.len() / 6) as u16), list),
            Job::ClearHalt(ep) => (Setup::clear_halt(*ep), &[]),
            Job::Command(line) => (cdc::send_encapsulated(f.control, line.len() as u16), line),
            Job::Response => (cdc::get_encapsulated(f.control, self.at.response_len()), &[]),
            Job::LineCoding => {
                let c = self.set.acm.map_or(0, |a| a.control);
                return self.client.control(
                    Tok::Control as u32,
                    cdc::set_line_coding(c),
                    &cdc::line_coding(115_200),
                );
            }
            Job::LineState => {
                let c = self.set.acm.map_or(0, |a| a.control);
                (cdc::set_control_line_state(c, true, true), &[])
            }
        };
        self.client.control(Tok::Control as u32, setup, data)
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

/// What a round of completions asks for.
#[derive(Default)]
struct Todo {
    notes: Vec<Notification>,
    halts: Vec<u8>,
    note_halt: Option<u8>,
    at_halt: bool,
    at_out_halt: bool,
    control: Option<(i32, Vec<u8>)>,
    rx_errors: u64,
    tx_errors: u64,
}

impl Todo {
    fn pipe_error(&mut self, pipe: &mut Pipe, st: i32, ep: Endpoint, rx: bool) {
        // Unlinked by us, or the end of the connection, which shows by itself.
        if [status::ECONNRESET, status::ENOENT, status::ESHUTDOWN, status::ENODEV].contains(&st) {
            return;
        }
        if rx {
            self.rx_errors += 1;
        } else {
            self.tx_errors += 1;
        }
        if st == status::EPIPE && !pipe.halted {
            pipe.halted = true;
            self.halts.push(ep.addr);
        }
        if TRANSIENT.contains(&st) {
            pipe.errors += 1;
        }
    }

    fn note(&mut self, c: &Completion<'_>, control: u8, ep: Option<Endpoint>) {
        if c.status == status::EPIPE {
            self.note_halt = ep.map(|e| e.addr);
        }
        if c.dir == Dir::In
            && c.status == status::OK
            && let Some((interface, n)) = Notification::parse(c.data)
            && interface == u16::from(control)
        {
            self.notes.push(n);
        }
    }
}
