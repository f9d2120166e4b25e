//! Pipes: what is kept outstanding on each endpoint, and how a stalled one is used again.

use super::{Job, Machine, Tok, Up};
use iopkt_usbip::desc::Endpoint;
use iopkt_usbip::hdr::HDR_LEN;

/// One bulk pipe.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    /// URBs outstanding.
    pub(super) out: usize,
    /// Stalled: nothing is submitted until the halt is cleared.
    pub(super) halted: bool,
    /// What is outstanding was cancelled: nothing is submitted until it has ended.
    pub(super) draining: bool,
    /// Errors in a row.
    pub(super) errors: u32,
    /// When it moved last.
    pub(super) since: u64,
    /// Nothing is submitted before: a burst of noise passes sooner than 64 errors come.
    pub(super) pause: u64,
    paused: u32,
}

/// Errors in a row after which a pipe pauses, and for how long (nanoseconds).
const PAUSE_AFTER: u32 = 8;
const PAUSE: u64 = 10_000_000;

impl Pipe {
    fn works(&self, now: u64) -> bool {
        !self.halted && !self.draining && now >= self.pause
    }

    /// Pauses after some more errors.
    pub(super) fn pace(&mut self, now: u64) {
        if self.errors >= PAUSE_AFTER && now >= self.pause && self.errors / PAUSE_AFTER != self.paused {
            (self.paused, self.pause) = (self.errors / PAUSE_AFTER, now + PAUSE);
        }
        if self.errors == 0 {
            self.paused = 0;
        }
    }

    /// When its pause ends.
    pub(super) fn deadline(&self, now: u64) -> u64 {
        if self.pause > now { self.pause } else { super::NEVER }
    }

    /// A URB ended.
    pub(super) fn ended(&mut self) {
        self.out = self.out.saturating_sub(1);
        self.draining &= self.out > 0;
    }
}

/// A notification endpoint.
#[derive(Debug, Default)]
pub(super) struct Note {
    /// A URB is outstanding.
    pub(super) out: bool,
    pub(super) halted: bool,
    pub(super) errors: u32,
    /// It fails all the time: not listened to any more.
    pub(super) dead: bool,
    /// The beginning of a notification that comes in several packets.
    pub(super) half: Vec<u8>,
}

impl Machine {
    /// Sends a frame; false when the queue is full or the device not ready ([`Up::tx_ready`] follows). While the device cannot send (down,
    /// unplugged) frames are taken and counted as errors, as a cable that was pulled would do.
    pub fn send(&mut self, now: u64, frame: &[u8], up: &mut dyn Up) -> bool {
        self.now = now;
        if !self.alive || !self.up || frame.len() > usize::from(self.set.max_segment) {
            up.errors(0, 1);
            return true;
        }
        if self.ntb.is_some() {
            return self.send_in_block(frame, up);
        }
        let mps = usize::from(self.set.ecm.bulk_out.max_packet()).max(1);
        let len = frame.len() + if self.set.fcs { 4 } else { 0 };
        let full = len.is_multiple_of(mps);
        // A zero-length packet is a URB of its own: every server understands that, whatever it makes of flags.
        let zlp = full && !self.set.pad;
        let room = self.tx.out + usize::from(zlp) < self.set.transmit.max(2);
        if !self.can_send() || !room || !self.client.has_room(len + 1 + 2 * HDR_LEN) {
            self.tx_owed = true;
            return false;
        }
        let data = if self.set.fcs || (full && self.set.pad) {
            self.scratch.clear();
            self.scratch.extend_from_slice(frame);
            if self.set.fcs {
                self.scratch.extend_from_slice(&iopkt_usbip::ncm::crc32(frame).to_le_bytes());
            }
            if full && self.set.pad {
                self.scratch.push(0);
            }
            &self.scratch
        } else {
            frame
        };
        let ep = self.set.ecm.bulk_out;
        if self.client.submit_out(&ep, Tok::Tx as u32, data, 0).is_err() {
            self.tx_owed = true;
            return false;
        }
        if self.tx.out == 0 {
            self.tx.since = now;
        }
        self.tx.out += 1;
        if zlp && self.client.submit_out(&ep, Tok::Zlp as u32, &[], 0).is_ok() {
            self.tx.out += 1;
        }
        true
    }

    /// Whether a frame may be submitted.
    pub(super) fn can_send(&self) -> bool {
        self.open && self.tx.works(self.now)
    }

    /// Keeps the receive URBs outstanding.
    pub(super) fn feed(&mut self) {
        let bulk_in = self.set.ecm.bulk_in;
        while self.open && self.rx.works(self.now) && self.rx.out < self.set.receive {
            if self.client.submit_in(&bulk_in, Tok::Rx as u32, self.rx_len).is_err() {
                break;
            }
            self.rx.out += 1;
        }
    }

    /// Has the halt cleared of every stalled endpoint that has run dry.
    pub(super) fn clear_halts(&mut self) {
        let f = &self.set.ecm;
        let acm = self.set.acm.and_then(|a| a.notify);
        let mut dry: Vec<u8> = Vec::new();
        for (pipe, ep, toks) in
            [(&self.rx, f.bulk_in.addr, [Tok::Rx, Tok::Rx]), (&self.tx, f.bulk_out.addr, [Tok::Tx, Tok::Zlp])]
        {
            if pipe.halted && pipe.out == 0 {
                dry.push(ep);
            } else if (pipe.halted || pipe.draining) && pipe.out > 0 {
                // What found no room to be cancelled before; the others are cancelled already.
                self.client.unlink(|t, _, _| toks.iter().any(|x| *x as u32 == t));
            }
        }
        for (note, ep) in [(&self.note, f.notify), (&self.at_note, acm)] {
            dry.extend(ep.filter(|_| note.halted && !note.out).map(|e| e.addr));
        }
        dry.into_iter().for_each(|ep| self.want(Job::ClearHalt(ep)));
    }

    /// The halt of an endpoint was cleared (or not: then it stalls again, and that is counted).
    pub(super) fn halt_cleared(&mut self, ep: u8) {
        let is = |e: Option<Endpoint>| e.is_some_and(|e| e.addr == ep);
        if is(Some(self.set.ecm.bulk_in)) {
            self.rx.halted = false;
        } else if is(Some(self.set.ecm.bulk_out)) {
            self.tx.halted = false;
        } else if is(self.set.ecm.notify) {
            self.note.halted = false;
        } else if is(self.set.acm.and_then(|a| a.notify)) {
            self.at_note.halted = false;
        } else {
            self.at_halted.retain(|e| *e != ep);
        }
    }

    /// Cancels what is outstanding on the data pipes.
    pub(super) fn close_data(&mut self) {
        self.open = false;
        self.flush();
        self.rx.draining = self.rx.out > 0;
        self.tx.draining = self.tx.out > 0;
        self.client.unlink(|t, _, _| [Tok::Rx, Tok::Tx, Tok::Zlp].iter().any(|x| *x as u32 == t));
    }

    /// Has the data interface switched on, and the filters set.
    pub(super) fn open_data(&mut self) {
        self.negotiate();
        if self.set.ecm.has_alts {
            self.want(Job::Alt(self.set.ecm.data_alt));
        } else {
            self.opened();
        }
        self.want(Job::Filter(self.bits));
        if self.multicast.forgotten() && self.bits & iopkt_usbip::cdc::filter::MULTICAST != 0 {
            self.want_groups();
        }
    }

    /// Opens the line of the serial function.
    pub(super) fn open_serial(&mut self) {
        if self.set.acm.is_some() {
            self.want(Job::LineCoding);
            self.want(Job::LineState);
        }
    }

    /// Keeps a URB on each notification endpoint.
    pub(super) fn listen(&mut self) {
        for (note, ep, tok) in [
            (&mut self.note, self.set.ecm.notify, Tok::Note),
            (&mut self.at_note, self.set.acm.and_then(|a| a.notify), Tok::AtNote),
        ] {
            if let Some(ep) = ep.filter(|_| !note.out && !note.halted && !note.dead) {
                // One packet: a message in several would run into the next, where they fill their packets.
                let len = usize::from(ep.max_packet()).max(8);
                note.out = self.client.submit_in(&ep, tok as u32, len).is_ok();
            }
        }
    }

    pub(super) fn pump_at(&mut self) {
        if !self.at_halted.is_empty() || self.at_errors >= super::MAX_ERRORS {
            return;
        }
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
}
