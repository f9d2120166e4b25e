//! Completions: what each URB that ended means, and what it asks for.

use super::pipes::Note;
use super::{MAX_ERRORS, Machine, Pipe, TOKENS, TRANSIENT, Tok, Up};
use iopkt_usbip::cdc::Notification;
use iopkt_usbip::client::{Completion, Event};
use iopkt_usbip::{Dir, ProtoError, status};

/// Oversized frames after which no more are logged.
const SAY_OVERSIZE: u32 = 3;

impl Machine {
    /// Handles what was read.
    ///
    /// # Errors
    /// The stream is no USB/IP any more: end it with [`Machine::gone`].
    pub fn process(&mut self, now: u64, up: &mut dyn Up) -> Result<(), ProtoError> {
        self.now = now;
        // Refills and control requests collect behind the loop: one burst of submissions per read.
        let mut todo = Todo::default();
        while let Some(e) = self.client.poll()? {
            let Event::Done(c) = e else { continue };
            match TOKENS.iter().find(|t| **t as u32 == c.token) {
                Some(Tok::Rx) => {
                    self.rx.ended();
                    let good = c.status == status::OK || c.status == status::EREMOTEIO;
                    if let Some(n) = self.ntb.as_mut().filter(|_| good) {
                        self.rx.errors = 0;
                        self.recovery.good(Tok::Rx);
                        todo.frames += 1;
                        if self.open {
                            let m = &mut self.multicast;
                            n.received(c.data, usize::from(self.set.max_segment), &mut |f| m.accepts(f), up);
                        }
                    } else if good {
                        let end = if self.set.fcs { c.data.len().saturating_sub(4) } else { c.data.len() };
                        let data = &c.data[..end];
                        if (14..=usize::from(self.set.max_segment)).contains(&end) {
                            self.rx.errors = 0;
                            self.recovery.good(Tok::Rx);
                            todo.frames += 1;
                            if self.open && self.multicast.accepts(data) {
                                let odd = self.set.fix_dst && data[0] & 3 == 2 && data[..6] != self.set.mac;
                                up.frame(data, odd.then_some(self.set.mac));
                            }
                        } else if !c.data.is_empty() {
                            // Empty: a zero-length packet that ended an earlier frame.
                            todo.bad_length(end, self.set.max_segment);
                        }
                    } else {
                        todo.pipe_error(&mut self.rx, c.status, self.open, true);
                    }
                }
                Some(tok @ (Tok::Tx | Tok::Zlp)) => {
                    self.tx.ended();
                    match c.status {
                        status::OK => {
                            (self.tx.errors, self.tx.since) = (0, now);
                            self.recovery.good(Tok::Tx);
                            todo.frames += 1;
                        }
                        st => {
                            let real = todo.pipe_error(&mut self.tx, st, self.open, false);
                            todo.no_zlp |= real && *tok == Tok::Zlp;
                        }
                    }
                }
                Some(Tok::Note) => note(&mut self.note, &c, &mut todo, true),
                Some(Tok::AtNote) => note(&mut self.at_note, &c, &mut todo, false),
                Some(Tok::Control) => todo.control = Some((c.status, c.data.to_vec())),
                Some(Tok::AtIn) => {
                    self.at.urb_in(c.status, c.data);
                    todo.serial(c.status, &mut self.at_errors, true);
                }
                Some(Tok::AtOut) => {
                    self.at.urb_out(c.status);
                    todo.serial(c.status, &mut self.at_errors, false);
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
        if todo.frames > 0 {
            self.frame_seen();
            self.statistics.traffic(self.now);
        }
        if let Some(n) = todo.oversize
            && self.oversize < SAY_OVERSIZE
        {
            self.oversize += 1;
            up.say(
                false,
                format!("a frame of {n} bytes dropped: wMaxSegmentSize is {}", self.set.max_segment),
            );
        }
        for n in todo.notes {
            self.notified(n);
        }
        if todo.no_zlp && !self.set.pad {
            self.set.pad = true;
            up.say(
                false,
                "a zero-length packet failed: ending frames by a byte of padding from now on".into(),
            );
        }
        for rx in todo.halts {
            // The other URBs of the pipe end first; the halt is cleared when the pipe is empty.
            let f = &self.set.ecm;
            let ep = if rx { f.bulk_in.addr } else { f.bulk_out.addr };
            up.say(true, format!("endpoint {ep:#04x} stalled, clearing it"));
        }
        if let Some(a) = self.set.acm {
            for (halt, ep) in [(todo.at_halt, a.bulk_in), (todo.at_out_halt, a.bulk_out)] {
                if halt && !self.at_halted.contains(&ep.addr) {
                    self.at_halted.push(ep.addr);
                    self.want(super::Job::ClearHalt(ep.addr));
                }
            }
        }
        if self.at_errors == MAX_ERRORS {
            self.at_errors += 1;
            up.say(false, format!("AT port given up: {MAX_ERRORS} errors in a row"));
        }
        if self.note.errors == MAX_ERRORS {
            (self.note.dead, self.note.errors) = (true, 0);
            up.say(
                false,
                format!("{MAX_ERRORS} errors in a row on the notification endpoint: taking the link as up"),
            );
        }
        self.at_note.dead |= self.at_note.errors >= MAX_ERRORS;
        for (tok, what) in [(Tok::Rx, "receive"), (Tok::Tx, "transmit")] {
            let pipe = if tok == Tok::Rx { &mut self.rx } else { &mut self.tx };
            pipe.pace(self.now);
            if pipe.errors >= MAX_ERRORS {
                pipe.errors = 0;
                self.recover(tok, &format!("{MAX_ERRORS} {what} errors in a row"), up);
            }
        }
    }
}

/// What a round of completions asks for.
#[derive(Default)]
struct Todo {
    frames: u64,
    notes: Vec<Notification>,
    /// Pipes that stalled: receive or not.
    halts: Vec<bool>,
    at_halt: bool,
    at_out_halt: bool,
    no_zlp: bool,
    oversize: Option<usize>,
    control: Option<(i32, Vec<u8>)>,
    rx_errors: u64,
    tx_errors: u64,
}

impl Todo {
    fn bad_length(&mut self, len: usize, max: u16) {
        self.rx_errors += 1;
        if len > usize::from(max) {
            self.oversize = Some(len);
        }
    }

    /// Counts what went wrong on a bulk pipe; false when nothing did: cancelled by us, or the end of the
    /// connection, which shows by itself.
    fn pipe_error(&mut self, pipe: &mut Pipe, st: i32, open: bool, rx: bool) -> bool {
        let ended = [status::ECONNRESET, status::ENOENT, status::ESHUTDOWN].contains(&st);
        if st == status::ENODEV || (ended && (pipe.draining || pipe.halted || !open)) {
            return false;
        }
        if rx {
            self.rx_errors += 1;
        } else {
            self.tx_errors += 1;
        }
        if st == status::EPIPE && !pipe.halted {
            pipe.halted = true;
            self.halts.push(rx);
        }
        // An endpoint that is not there any more: the device has lost its setting.
        if st == status::EPIPE || ended || TRANSIENT.contains(&st) {
            pipe.errors += 1;
        }
        true
    }

    fn serial(&mut self, st: i32, errors: &mut u32, is_in: bool) {
        match st {
            status::OK | status::EREMOTEIO => {
                *errors = (*errors).min(MAX_ERRORS + 1) * u32::from(*errors > MAX_ERRORS)
            }
            status::ECONNRESET => {}
            st => {
                *errors = errors.saturating_add(u32::from(*errors < MAX_ERRORS));
                if st == status::EPIPE {
                    if is_in {
                        self.at_halt = true;
                    } else {
                        self.at_out_halt = true;
                    }
                }
            }
        }
    }
}

/// A URB of a notification endpoint ended. What stands in wIndex is not looked at: devices put any interface
/// there, and the endpoint says which function it is.
fn note(n: &mut Note, c: &Completion<'_>, todo: &mut Todo, ours: bool) {
    n.out = false;
    match c.status {
        status::OK | status::EREMOTEIO if c.dir == Dir::In => n.errors = 0,
        status::ECONNRESET | status::ENODEV => return,
        st => {
            n.halted |= st == status::EPIPE;
            n.errors = n.errors.saturating_add(1);
            return;
        }
    }
    if !ours {
        return; // states of the serial line: nobody asks for them
    }
    // CONNECTION_SPEED_CHANGE has 16 bytes, more than a packet of some endpoints, and devices are known that send
    // it as two messages.
    let mut whole = std::mem::take(&mut n.half);
    if !whole.is_empty() && c.data.first() == Some(&0xa1) {
        whole.clear(); // the rest never came
    }
    whole.extend_from_slice(c.data);
    let wanted = match *whole.as_slice() {
        [0xa1, _, _, _, _, _, low, high, ..] => 8 + usize::from(u16::from_le_bytes([low, high])),
        _ => 0,
    };
    if whole.len() < wanted.min(16) {
        n.half = whole;
    } else {
        todo.notes.extend(Notification::parse(&whole).map(|p| p.1));
    }
}
