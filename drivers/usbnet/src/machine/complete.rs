//! Completions: what each URB that ended means, and what it asks for.

use super::{Job, MAX_ERRORS, Machine, Pipe, TOKENS, TRANSIENT, Tok, Up};
use iopkt_usbip::cdc::Notification;
use iopkt_usbip::client::{Completion, Event};
use iopkt_usbip::desc::Endpoint;
use iopkt_usbip::{Dir, ProtoError, status};

impl Machine {
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
                        status::OK | status::EREMOTEIO if self.ntb.is_some() => {
                            self.rx.errors = 0;
                            if let Some(n) = self.ntb.as_mut().filter(|_| self.open) {
                                n.received(c.data, usize::from(self.set.max_segment), up);
                            }
                        }
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
