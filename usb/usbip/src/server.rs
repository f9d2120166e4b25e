//! The exporting side of a connection, without I/O.
//!
//! ```text
//! read(fd, session.space()) -> session.commit(n)
//! while let Some((request, replies)) = session.poll()? { replies.complete(..) ... }
//! session.replies().complete(..)            (later)
//! write(fd, session.tx()) -> session.tx_done(n)
//! ```
//!
//! A session knows which phase it is in and takes only what belongs there. What a URB does is the business of
//! whoever owns the device: it gets the header and the data, and later calls
//! [`Replies::complete`].

use crate::fifo::Fifo;
use crate::hdr::{Command, HDR_LEN, ProtoError, RetSubmit, RetUnlink, Submit, Unlink, status};
use crate::op::{self, Description, DeviceInfo, OP_LEN, WatchEvent};
use alloc::string::String;
use alloc::vec::Vec;

/// Bounds of a session.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest transfer in bytes; a longer one ends the connection.
    pub transfer: usize,
    /// Bytes read at once.
    pub rx: usize,
    /// Bytes that may wait to be written before [`Session::is_congested`] says so.
    pub tx: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { transfer: 1 << 20, rx: 256 * 1024, tx: 1 << 20 }
    }
}

/// What a client wants.
#[derive(Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// A list of the devices: answer with [`Replies::devlist`].
    DevList,
    /// A device: answer with [`Replies::imported`].
    Import(String),
    /// To be told of devices that come and go: [`Replies::watching`], then [`Replies::event`].
    Watch,
    /// The descriptors of a device: answer with [`Replies::description`].
    Describe(String),
    /// A command: answer with [`Replies::control`].
    Control(String),
    /// A URB, with the data of an OUT transfer and behind it the packet descriptors of an isochronous one (16
    /// bytes each): answer, now or later, with [`Replies::complete`].
    Submit(Submit, &'a [u8]),
    /// To cancel a URB: answer with [`Replies::unlinked`].
    Unlink(Unlink),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Operation,
    Imported,
    Watching,
    Dead,
}

/// One connection of a server.
#[derive(Debug)]
pub struct Session {
    limits: Limits,
    rx: Fifo,
    lent: usize,
    out: Replies,
}

/// The sending half of a session.
#[derive(Debug)]
pub struct Replies {
    phase: Phase,
    tx: Fifo,
    /// Bytes of `tx` that [`Session::is_congested`] finds too many.
    limit: usize,
    scratch: Vec<u8>,
}

impl Session {
    /// A connection that was just accepted.
    pub fn new(limits: Limits) -> Session {
        // Most connections ask for a list and go: memory for transfers comes with the import.
        let out =
            Replies { phase: Phase::Operation, tx: Fifo::new(0), limit: limits.tx, scratch: Vec::new() };
        Session { limits, rx: Fifo::new(4096), lent: 0, out }
    }

    /// Room for received bytes.
    pub fn space(&mut self) -> &mut [u8] {
        self.release();
        let min = match self.out.phase {
            Phase::Imported => self.limits.rx,
            _ => 4096,
        };
        self.rx.space(min)
    }

    /// `n` bytes were received into [`Session::space`].
    pub fn commit(&mut self, n: usize) {
        self.rx.commit(n);
    }

    /// Bytes to send.
    pub fn tx(&self) -> &[u8] {
        self.out.tx.data()
    }

    /// The first `n` bytes of [`Session::tx`] were sent.
    pub fn tx_done(&mut self, n: usize) {
        self.out.tx.consume(n);
    }

    /// So much waits to be written that no more should be read or completed until some of it is.
    pub fn is_congested(&self) -> bool {
        self.out.is_congested()
    }

    /// Whether the connection belongs to a device.
    pub fn is_imported(&self) -> bool {
        self.out.phase == Phase::Imported
    }

    /// The sending half.
    pub fn replies(&mut self) -> &mut Replies {
        &mut self.out
    }

    /// Whether the connection is told of events.
    pub fn is_watching(&self) -> bool {
        self.out.phase == Phase::Watching
    }

    /// The next request and where its answer goes, `None` when more bytes are needed.
    ///
    /// # Errors
    /// The stream is not USB/IP or exceeds a limit: close the connection.
    pub fn poll(&mut self) -> Result<Option<(Request<'_>, &mut Replies)>, ProtoError> {
        self.release();
        let r = match self.out.phase {
            Phase::Dead => return Ok(None),
            // A watcher has nothing more to say.
            Phase::Watching if self.rx.is_empty() => return Ok(None),
            Phase::Watching => Err(ProtoError::Operation(0)),
            Phase::Operation => self.operation().map(|o| o.map(|(r, used)| (Parsed::Op(r), used))),
            Phase::Imported => self.command().map(|c| c.map(|(c, used)| (Parsed::Urb(c), used))),
        };
        match r {
            Ok(None) => Ok(None),
            Ok(Some((Parsed::Op(r), used))) => {
                self.rx.consume(used);
                Ok(Some((r, &mut self.out)))
            }
            Ok(Some((Parsed::Urb(c), used))) => {
                self.lent = used;
                let r = match c {
                    Command::Unlink(u) => Request::Unlink(u),
                    Command::Submit(s) => Request::Submit(s, &self.rx.data()[HDR_LEN..used]),
                };
                Ok(Some((r, &mut self.out)))
            }
            Err(e) => {
                self.out.phase = Phase::Dead;
                Err(e)
            }
        }
    }

    fn operation(&self) -> Result<Option<(Request<'static>, usize)>, ProtoError> {
        let b = self.rx.data();
        let Some((code, _)) = op::parse_header(b)? else { return Ok(None) };
        let mut r = op::Reader { b, at: OP_LEN };
        let request = match code {
            op::REQ_DEVLIST => Request::DevList,
            op::REQ_WATCH => Request::Watch,
            op::REQ_IMPORT | op::REQ_DESCRIBE => {
                let Some(id) = r.take(op::BUSID_LEN) else { return Ok(None) };
                let id = op::text(id)?;
                if code == op::REQ_IMPORT { Request::Import(id) } else { Request::Describe(id) }
            }
            op::REQ_CONTROL => {
                let Some(t) = r.counted()? else { return Ok(None) };
                let t = core::str::from_utf8(t).map_err(|_| ProtoError::Text)?;
                Request::Control(String::from(t))
            }
            other => return Err(ProtoError::Operation(other)),
        };
        Ok(Some((request, r.at)))
    }

    fn command(&self) -> Result<Option<(Command, usize)>, ProtoError> {
        let b = self.rx.data();
        let Some(h) = b.first_chunk::<HDR_LEN>() else { return Ok(None) };
        let c = Command::parse(h)?;
        let used = match &c {
            Command::Submit(s) if s.length as usize > self.limits.transfer => {
                return Err(ProtoError::TooLong(s.length));
            }
            Command::Submit(s) => HDR_LEN + s.payload_len(),
            Command::Unlink(_) => HDR_LEN,
        };
        Ok(if b.len() < used { None } else { Some((c, used)) })
    }

    fn release(&mut self) {
        if self.lent > 0 {
            self.rx.consume(core::mem::take(&mut self.lent));
        }
    }
}

impl Replies {
    /// So much waits to be written that no more should be completed until some of it is.
    pub fn is_congested(&self) -> bool {
        self.tx.len() >= self.limit
    }

    /// Answers a list request.
    pub fn devlist<'d>(&mut self, devices: impl Iterator<Item = &'d DeviceInfo> + Clone) {
        let n = devices.clone().count() as u32;
        self.reply(op::REQ_DEVLIST, op::st::OK, |out| {
            out.extend_from_slice(&n.to_be_bytes());
            devices.for_each(|d| d.write_with_interfaces(out));
        });
    }

    /// Answers an import: the device (commands follow), or why not ([`op::st`]).
    pub fn imported(&mut self, r: Result<&DeviceInfo, u32>) {
        match r {
            Ok(d) => {
                self.reply(op::REQ_IMPORT, op::st::OK, |out| d.write(out));
                self.phase = Phase::Imported;
                self.tx.space(256 * 1024);
            }
            Err(status) => self.reply(op::REQ_IMPORT, status, |_| {}),
        }
    }

    /// Answers a watch request; call [`Replies::event`] for each device that is there, then with
    /// [`WatchEvent::Settled`].
    pub fn watching(&mut self) {
        self.reply(op::REQ_WATCH, op::st::OK, |_| {});
        self.phase = Phase::Watching;
    }

    /// Tells a watcher; nothing happens in another phase.
    pub fn event(&mut self, e: &WatchEvent) {
        if self.phase == Phase::Watching {
            self.scratch.clear();
            e.write(&mut self.scratch);
            self.tx.push(&self.scratch);
        }
    }

    /// Answers a request for descriptors.
    pub fn description(&mut self, r: Result<&Description, u32>) {
        match r {
            Ok(d) => {
                let body = d.to_bytes();
                self.reply(op::REQ_DESCRIBE, op::st::OK, |out| {
                    out.extend_from_slice(&(body.len() as u32).to_be_bytes());
                    out.extend_from_slice(&body);
                });
            }
            Err(status) => self.reply(op::REQ_DESCRIBE, status, |_| {}),
        }
    }

    /// Answers a command: `Ok` text is its result, `Err` text says why not.
    pub fn control(&mut self, r: Result<&str, &str>) {
        let (status, text) = match r {
            Ok(t) => (op::st::OK, t),
            Err(t) => (op::st::ERROR, t),
        };
        let text = &text.as_bytes()[..text.len().min(op::MAX_BODY as usize)];
        self.reply(op::REQ_CONTROL, status, |out| {
            out.extend_from_slice(&(text.len() as u32).to_be_bytes());
            out.extend_from_slice(text);
        });
    }

    fn reply(&mut self, request: u16, status: u32, body: impl FnOnce(&mut Vec<u8>)) {
        self.scratch.clear();
        self.scratch.extend_from_slice(&op::header(request & !op::REQUEST, status));
        body(&mut self.scratch);
        self.tx.push(&self.scratch);
    }

    /// Ends a URB. `parts`, one after the other, are what an IN transfer moved and are empty for an OUT
    /// transfer, whose `actual` says how much was taken.
    pub fn complete(&mut self, seqnum: u32, status: i32, actual: usize, parts: &[&[u8]]) {
        let r = RetSubmit { seqnum, status, actual: actual as u32, start_frame: 0, packets: 0, errors: 0 };
        self.tx.push(&r.to_bytes());
        parts.iter().for_each(|p| self.tx.push(p));
    }

    /// Ends a URB as another server has: its header and what followed it (data, isochronous packets).
    pub fn forward(&mut self, r: &RetSubmit, payload: &[u8]) {
        self.tx.push(&r.to_bytes());
        self.tx.push(payload);
    }

    /// Answers an unlink as another server has.
    pub fn forward_unlinked(&mut self, r: RetUnlink) {
        self.tx.push(&r.to_bytes());
    }

    /// Answers an unlink: `cancelled` says that the URB was outstanding and that no completion follows.
    pub fn unlinked(&mut self, seqnum: u32, cancelled: bool) {
        let status = if cancelled { status::ECONNRESET } else { status::OK };
        self.tx.push(&RetUnlink { seqnum, status }.to_bytes());
    }
}

enum Parsed {
    Op(Request<'static>),
    Urb(Command),
}
