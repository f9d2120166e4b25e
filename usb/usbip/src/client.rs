//! The importing side of a connection, without I/O.
//!
//! ```text
//! read(fd, client.space()) -> client.commit(n) -> while let Some(e) = client.poll()? { ... }
//! client.submit_out(..), client.submit_in(..), client.control(..), client.unlink(..)
//! write(fd, client.tx()) -> client.tx_done(n)
//! ```
//!
//! Every URB has a *token*, the caller's own number, which comes back with its [`Completion`]; what a token means
//! (which buffer, which queue) is the caller's business. Replies come in any order. Each URB ends exactly once:
//! with the device's answer, with the answer to its unlink, or, when the connection ends, through
//! [`Client::abort`]. Data of IN transfers is lent from the receive buffer, so a driver copies it once, to where
//! it wants it.

use crate::desc::Endpoint;
use crate::fifo::Fifo;
use crate::hdr::{Dir, HDR_LEN, ProtoError, Reply, RetSubmit, RetUnlink, Submit, Unlink, status};
use crate::op::{self, DeviceInfo};
use crate::setup::Setup;
use alloc::vec::Vec;

/// Most URBs that [`Limits::urbs`] may ask for.
pub const MAX_URBS: usize = 4095;

// A sequence number is the slot + 1 in the low bits (so that it is never 0) and the slot's use count above.
const SLOT_BITS: u32 = 12;

/// Bounds of a client.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most URBs outstanding, at most [`MAX_URBS`]; unlinks that wait for their answer count too.
    pub urbs: usize,
    /// Longest transfer in bytes.
    pub transfer: usize,
    /// Bytes that may wait in [`Client::tx`]; a URB that does not fit is refused with [`Full`].
    pub tx: usize,
    /// Bytes read at once.
    pub rx: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { urbs: 512, transfer: 65_536, tx: 1 << 20, rx: 256 * 1024 }
    }
}

/// A URB cannot be taken now: too many are outstanding, or too much waits to be written. Try again after
/// completions or after writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// The end of a URB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion<'a> {
    /// The caller's number.
    pub token: u32,
    /// Endpoint number.
    pub ep: u8,
    /// Direction.
    pub dir: Dir,
    /// [`status`]; negative is an error.
    pub status: i32,
    /// Bytes moved; for IN transfers the length of `data`.
    pub actual: usize,
    /// What was received.
    pub data: &'a [u8],
}

/// What [`Client::poll`] tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The import succeeded: URBs may be submitted.
    Imported(DeviceInfo),
    /// The import was refused, with [`op::st`]. The connection is of no more use.
    Refused(u32),
    /// A URB ended.
    Done(Completion<'a>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Free,
    Urb,
    /// An unlink; the slot of its victim and that slot's use count.
    Unlink(u16, u32),
    /// A URB that was completed by its unlink while its own reply may still come.
    Zombie,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    what: Use,
    generation: u32,
    token: u32,
    length: u32,
    ep: u8,
    dir: Dir,
    unlinking: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Importing,
    Ready,
    Dead,
}

/// One imported device.
#[derive(Debug)]
pub struct Client {
    limits: Limits,
    state: State,
    devid: u32,
    rx: Fifo,
    /// Bytes at the front of `rx` that the last event lent.
    lent: usize,
    tx: Fifo,
    slots: Vec<Slot>,
    free: Vec<u16>,
    /// An OUT transfer that is being written.
    open: Option<Open>,
}

/// An OUT transfer that is being written at the end of `tx`: its data is made in place.
#[derive(Clone, Copy, Debug)]
struct Open {
    hdr: Submit,
    slot: u16,
    /// Bytes in `tx`, the header's included.
    len: usize,
}

/// Writes the data of an open transfer: [`Client::open_out`].
#[derive(Debug)]
pub struct Writer<'a> {
    tx: &'a mut Fifo,
    open: &'a mut Open,
}

impl crate::ncm::Sink for Writer<'_> {
    fn len(&self) -> usize {
        self.open.len - HDR_LEN
    }

    fn push(&mut self, b: &[u8]) {
        self.tx.push(b);
        self.open.len += b.len();
    }

    fn patch(&mut self, at: usize, b: &[u8]) {
        let data = &mut self.tx.last_mut(self.open.len)[HDR_LEN..];
        if let Some(t) = data.get_mut(at..at + b.len()) {
            t.copy_from_slice(b);
        }
    }
}

impl Client {
    /// A client that begins with importing `busid`.
    pub fn import(busid: &str, limits: Limits) -> Client {
        let mut c = Client::new(limits, State::Importing, 0);
        c.tx.push(&op::request_busid(op::REQ_IMPORT, busid));
        c
    }

    /// A client on a connection whose import has been done; `devid` is [`DeviceInfo::devid`].
    pub fn attached(devid: u32, limits: Limits) -> Client {
        Client::new(limits, State::Ready, devid)
    }

    fn new(mut limits: Limits, state: State, devid: u32) -> Client {
        limits.urbs = limits.urbs.clamp(1, MAX_URBS);
        let slot = Slot {
            what: Use::Free,
            generation: 0,
            token: 0,
            length: 0,
            ep: 0,
            dir: Dir::Out,
            unlinking: false,
        };
        let n = limits.urbs;
        Client {
            limits,
            state,
            devid,
            rx: Fifo::new(limits.rx + limits.transfer + HDR_LEN),
            lent: 0,
            tx: Fifo::new(limits.tx.min(256 * 1024)),
            slots: alloc::vec![slot; n],
            free: (0..n as u16).rev().collect(),
            open: None,
        }
    }

    /// Room for received bytes.
    pub fn space(&mut self) -> &mut [u8] {
        self.release();
        let min = self.limits.rx.min(self.rx.capacity() - self.rx.len()).max(1);
        self.rx.space(min)
    }

    /// `n` bytes were received into [`Client::space`].
    pub fn commit(&mut self, n: usize) {
        self.rx.commit(n);
    }

    /// Bytes to send; not those of a transfer that is still being written.
    pub fn tx(&self) -> &[u8] {
        let b = self.tx.data();
        &b[..b.len() - self.open.map_or(0, |o| o.len)]
    }

    /// The first `n` bytes of [`Client::tx`] were sent.
    pub fn tx_done(&mut self, n: usize) {
        self.tx.consume(n);
    }

    /// URBs (and unlinks) outstanding.
    pub fn outstanding(&self) -> usize {
        self.limits.urbs - self.free.len()
    }

    /// Whether a URB with `len` bytes of OUT data would be taken.
    pub fn has_room(&self, len: usize) -> bool {
        let ready = self.state == State::Ready && self.open.is_none() && !self.free.is_empty();
        ready && self.tx.len() + HDR_LEN + len <= self.limits.tx
    }

    /// The next thing that happened, `None` when more bytes are needed.
    ///
    /// # Errors
    /// The stream is not USB/IP (or not ours): close the connection and [`Client::abort`].
    pub fn poll(&mut self) -> Result<Option<Event<'_>>, ProtoError> {
        self.release();
        match self.state {
            State::Dead => Ok(None),
            State::Importing => self.poll_import(),
            State::Ready => match self.next_reply() {
                Ok(Some((c, len))) => {
                    self.lent = HDR_LEN + len;
                    let data = &self.rx.data()[HDR_LEN..HDR_LEN + len];
                    Ok(Some(Event::Done(Completion { data, ..c })))
                }
                Ok(None) => Ok(None),
                Err(e) => {
                    self.state = State::Dead;
                    Err(e)
                }
            },
        }
    }

    fn poll_import(&mut self) -> Result<Option<Event<'_>>, ProtoError> {
        match op::parse_import(self.rx.data()) {
            Ok(None) => Ok(None),
            Ok(Some((Ok(info), used))) => {
                self.rx.consume(used);
                self.state = State::Ready;
                self.devid = info.devid();
                Ok(Some(Event::Imported(info)))
            }
            Ok(Some((Err(status), _))) => {
                self.state = State::Dead;
                Ok(Some(Event::Refused(status)))
            }
            Err(e) => {
                self.state = State::Dead;
                Err(e)
            }
        }
    }

    /// The next completion and the length of its data, which still stands behind the header in `rx`.
    fn next_reply(&mut self) -> Result<Option<(Completion<'static>, usize)>, ProtoError> {
        loop {
            let Some(h) = self.rx.data().first_chunk::<HDR_LEN>() else { return Ok(None) };
            match Reply::parse(h)? {
                Reply::Submit(r) => {
                    let i = self.slot_of(r.seqnum)?;
                    let s = self.slots[i];
                    let len = match s.dir {
                        Dir::In => r.actual as usize,
                        Dir::Out => 0,
                    };
                    if r.actual > s.length {
                        return Err(ProtoError::Actual { asked: s.length, got: r.actual });
                    }
                    if self.rx.len() < HDR_LEN + len {
                        return Ok(None);
                    }
                    match s.what {
                        Use::Urb => {
                            self.free_slot(i);
                            return Ok(Some((done(&s, &r), len)));
                        }
                        Use::Zombie => {
                            self.free_slot(i);
                            self.rx.consume(HDR_LEN + len);
                        }
                        Use::Free | Use::Unlink(..) => return Err(ProtoError::Sequence(r.seqnum)),
                    }
                }
                Reply::Unlink(r) => {
                    let ended = self.unlinked(&r)?;
                    if let Some(c) = ended {
                        return Ok(Some((c, 0)));
                    }
                    self.rx.consume(HDR_LEN);
                }
            }
        }
    }

    /// The answer to an unlink: the completion of its victim, if that is still outstanding.
    fn unlinked(&mut self, r: &RetUnlink) -> Result<Option<Completion<'static>>, ProtoError> {
        let i = self.slot_of(r.seqnum)?;
        let Use::Unlink(victim, generation) = self.slots[i].what else {
            return Err(ProtoError::Sequence(r.seqnum));
        };
        self.free_slot(i);
        let v = usize::from(victim);
        let s = self.slots[v];
        if s.what != Use::Urb || s.generation != generation {
            return Ok(None); // it had ended before
        }
        let status = if r.status == status::OK {
            // "Too late", yet its reply has not come. It may still: keep the number taken until then.
            self.slots[v].what = Use::Zombie;
            status::ECONNRESET
        } else {
            self.free_slot(v);
            r.status
        };
        Ok(Some(Completion { token: s.token, ep: s.ep, dir: s.dir, status, actual: 0, data: &[] }))
    }

    fn slot_of(&self, seqnum: u32) -> Result<usize, ProtoError> {
        let i = (seqnum & ((1 << SLOT_BITS) - 1)).wrapping_sub(1) as usize;
        match self.slots.get(i) {
            Some(s) if s.what != Use::Free && seq(i, s.generation) == seqnum => Ok(i),
            _ => Err(ProtoError::Sequence(seqnum)),
        }
    }

    fn free_slot(&mut self, i: usize) {
        let s = &mut self.slots[i];
        s.what = Use::Free;
        s.generation = s.generation.wrapping_add(1);
        s.unlinking = false;
        self.free.push(i as u16);
    }

    fn release(&mut self) {
        if self.lent > 0 {
            self.rx.consume(core::mem::take(&mut self.lent));
        }
    }

    /// Submits a transfer to the device (bulk or interrupt). `flags` are those of [`crate::hdr`]:
    /// [`crate::hdr::URB_ZERO_PACKET`] ends a transfer that fills its last packet.
    ///
    /// # Errors
    /// [`Full`]; nothing was queued then.
    pub fn submit_out(&mut self, ep: &Endpoint, token: u32, data: &[u8], flags: u32) -> Result<(), Full> {
        let urb = Want {
            ep: ep.number(),
            dir: Dir::Out,
            token,
            length: data.len(),
            flags,
            interval: 0,
            setup: [0; 8],
        };
        self.submit(urb, data)
    }

    /// Submits a transfer of at most `length` bytes from the device (bulk or interrupt).
    ///
    /// # Errors
    /// [`Full`]; nothing was queued then.
    pub fn submit_in(&mut self, ep: &Endpoint, token: u32, length: usize) -> Result<(), Full> {
        let interval = match ep.transfer() {
            crate::desc::Transfer::Interrupt => u32::from(ep.interval),
            _ => 0,
        };
        self.submit(
            Want { ep: ep.number(), dir: Dir::In, token, length, flags: 0, interval, setup: [0; 8] },
            &[],
        )
    }

    /// Submits a control request. `data` is the data stage of an OUT request and must be `setup.length` bytes
    /// (it is cut or the length lowered otherwise); an IN request asks for `setup.length` bytes.
    ///
    /// # Errors
    /// [`Full`]; nothing was queued then.
    pub fn control(&mut self, token: u32, mut setup: Setup, data: &[u8]) -> Result<(), Full> {
        let (dir, data) = if setup.is_in() {
            (Dir::In, &[][..])
        } else {
            let n = data.len().min(usize::from(setup.length));
            setup.length = n as u16;
            (Dir::Out, &data[..n])
        };
        let length = usize::from(setup.length);
        self.submit(Want { ep: 0, dir, token, length, flags: 0, interval: 0, setup: setup.to_bytes() }, data)
    }

    fn submit(&mut self, w: Want, data: &[u8]) -> Result<(), Full> {
        if !self.has_room(data.len()) || w.length > self.limits.transfer {
            return Err(Full);
        }
        let Some(i) = self.free.pop() else { return Err(Full) };
        let i = usize::from(i);
        let s = &mut self.slots[i];
        (s.what, s.token, s.ep, s.dir, s.length) = (Use::Urb, w.token, w.ep, w.dir, w.length as u32);
        let hdr = Submit {
            seqnum: seq(i, s.generation),
            devid: self.devid,
            dir: w.dir,
            ep: w.ep,
            flags: w.flags,
            length: w.length as u32,
            start_frame: 0,
            packets: 0,
            interval: w.interval,
            setup: w.setup,
        };
        self.tx.push(&hdr.to_bytes());
        self.tx.push(data);
        Ok(())
    }

    /// Begins a transfer to the device whose data, at most `max` bytes, is written in place by [`Client::writer`];
    /// [`Client::close_out`] submits it. Until then nothing else can be submitted.
    ///
    /// # Errors
    /// [`Full`]; nothing was begun then.
    pub fn open_out(&mut self, ep: &Endpoint, token: u32, max: usize) -> Result<(), Full> {
        if !self.has_room(max) || max > self.limits.transfer {
            return Err(Full);
        }
        let slot = self.free.pop().ok_or(Full)?;
        let i = usize::from(slot);
        let s = &mut self.slots[i];
        (s.what, s.token, s.ep, s.dir, s.length) = (Use::Urb, token, ep.number(), Dir::Out, 0);
        let hdr = Submit {
            seqnum: seq(i, s.generation),
            devid: self.devid,
            dir: Dir::Out,
            ep: ep.number(),
            flags: 0,
            length: 0,
            start_frame: 0,
            packets: 0,
            interval: 0,
            setup: [0; 8],
        };
        self.tx.push(&hdr.to_bytes());
        self.open = Some(Open { hdr, slot, len: HDR_LEN });
        Ok(())
    }

    /// Where the open transfer's data goes; `None` when there is none.
    pub fn writer(&mut self) -> Option<Writer<'_>> {
        let Client { tx, open, .. } = self;
        open.as_mut().map(|open| Writer { tx, open })
    }

    /// Submits the open transfer as it is; false when there is none.
    pub fn close_out(&mut self) -> bool {
        let Some(mut o) = self.open.take() else { return false };
        o.hdr.length = (o.len - HDR_LEN) as u32;
        self.slots[usize::from(o.slot)].length = o.hdr.length;
        self.tx.last_mut(o.len)[..HDR_LEN].copy_from_slice(&o.hdr.to_bytes());
        true
    }

    /// Asks to cancel every outstanding URB that `pick` (token, endpoint, direction) chooses. Each still ends by
    /// a [`Completion`], with [`status::ECONNRESET`] unless the device was faster. Returns how many were asked
    /// for; those for which there was no room can be asked for again.
    pub fn unlink(&mut self, mut pick: impl FnMut(u32, u8, Dir) -> bool) -> usize {
        let mut n = 0;
        for v in 0..self.slots.len() {
            let s = self.slots[v];
            if s.what != Use::Urb || s.unlinking || !pick(s.token, s.ep, s.dir) {
                continue;
            }
            if !self.has_room(0) {
                break;
            }
            let Some(i) = self.free.pop() else { break };
            let i = usize::from(i);
            self.slots[v].unlinking = true;
            self.slots[i].what = Use::Unlink(v as u16, s.generation);
            let seqnum = seq(i, self.slots[i].generation);
            let u = Unlink { seqnum, devid: self.devid, victim: seq(v, s.generation) };
            self.tx.push(&u.to_bytes());
            n += 1;
        }
        n
    }

    /// The connection is gone: ends every outstanding URB with [`status::ESHUTDOWN`], and takes no more.
    pub fn abort(&mut self, mut ended: impl FnMut(Completion<'_>)) {
        self.state = State::Dead;
        self.open = None;
        self.release();
        self.tx.clear();
        self.rx.clear();
        for i in 0..self.slots.len() {
            let s = self.slots[i];
            if s.what == Use::Free {
                continue;
            }
            self.free_slot(i);
            if s.what == Use::Urb {
                let status = status::ESHUTDOWN;
                ended(Completion { token: s.token, ep: s.ep, dir: s.dir, status, actual: 0, data: &[] });
            }
        }
    }
}

struct Want {
    ep: u8,
    dir: Dir,
    token: u32,
    length: usize,
    flags: u32,
    interval: u32,
    setup: [u8; 8],
}

fn seq(slot: usize, generation: u32) -> u32 {
    generation << SLOT_BITS | (slot as u32 + 1)
}

fn done(s: &Slot, r: &RetSubmit) -> Completion<'static> {
    let actual = r.actual as usize;
    Completion { token: s.token, ep: s.ep, dir: s.dir, status: r.status, actual, data: &[] }
}
