//! A device of another server, given on: the URBs of a [`Session`](crate::server::Session) go to that server,
//! its replies come back. Without I/O.
//!
//! ```text
//! relay.submit(..), relay.unlink(..)  -> write(fd, relay.tx()) -> relay.tx_done(n)
//! read(fd, relay.space()) -> relay.commit(n) -> while relay.poll(&mut replies)? {}
//! ```
//!
//! Sequence numbers stay the client's own, the device id becomes the one that the other server gave. A reply does not say which
//! way its URB went, so the relay remembers every open one; that also lets it end them all when the other
//! server goes away, and refuse a reply that nobody waits for. Isochronous transfers pass as they are.
//!
//! The relay also looks over the client's shoulder: what GET_DESCRIPTOR brings is kept ([`Relay::learned`]),
//! because a stock server has no operation that shows the descriptors of a device in use.

use crate::desc;
use crate::fifo::Fifo;
use crate::hdr::{Dir, HDR_LEN, ISO_DESC_LEN, ProtoError, Reply, RetSubmit, Submit, Unlink, status};
use crate::op::Description;
use crate::server::Replies;
use crate::setup::{Setup, req};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Most URBs and unlinks that may be open; a client that wants more has lost its way.
pub const MAX_OPEN: usize = 8192;
/// Bytes that may wait for the other server before [`Relay::is_congested`] says so.
const MAX_TX: usize = 1 << 20;
/// Most bytes of descriptors that are kept: as many as an answer takes.
const MAX_LEARNED: usize = crate::op::MAX_BODY as usize;

/// An open sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Urb {
        dir: Dir,
        length: u32,
        packets: u32,
        /// Descriptor type and index that it asks for.
        descriptor: Option<(u8, u8)>,
    },
    /// An unlink of this URB.
    Unlink(u32),
}

/// One imported device on its way through.
#[derive(Debug)]
pub struct Relay {
    devid: u32,
    rx: Fifo,
    tx: Fifo,
    open: BTreeMap<u32, Open>,
    learned: Description,
}

impl Relay {
    /// A relay over a connection whose import was done; `devid` is the other server's
    /// ([`DeviceInfo::devid`](crate::op::DeviceInfo::devid)).
    pub fn new(devid: u32) -> Relay {
        let (rx, tx) = (Fifo::new(64 * 1024), Fifo::new(64 * 1024));
        Relay { devid, rx, tx, open: BTreeMap::new(), learned: Description::default() }
    }

    /// Room for bytes received from the other server.
    pub fn space(&mut self) -> &mut [u8] {
        self.rx.space(64 * 1024)
    }

    /// `n` bytes were received into [`Relay::space`].
    pub fn commit(&mut self, n: usize) {
        self.rx.commit(n);
    }

    /// Bytes to send to the other server.
    pub fn tx(&self) -> &[u8] {
        self.tx.data()
    }

    /// The first `n` bytes of [`Relay::tx`] were sent.
    pub fn tx_done(&mut self, n: usize) {
        self.tx.consume(n);
    }

    /// So much waits for the other server that the client should not be read from.
    pub fn is_congested(&self) -> bool {
        self.tx.len() >= MAX_TX
    }

    /// URBs and unlinks whose answer has not come.
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// The descriptors that have passed.
    pub fn learned(&self) -> &Description {
        &self.learned
    }

    /// Passes a URB on; `payload` is what followed its header.
    ///
    /// # Errors
    /// The client reuses a sequence number that is open, or has too many: end its connection.
    pub fn submit(&mut self, s: &Submit, payload: &[u8]) -> Result<(), ProtoError> {
        let descriptor = (s.ep == 0).then(|| asked(&Setup::from_bytes(&s.setup))).flatten();
        self.enter(s.seqnum, Open::Urb { dir: s.dir, length: s.length, packets: s.packets, descriptor })?;
        self.tx.push(&Submit { devid: self.devid, ..*s }.to_bytes());
        self.tx.push(payload);
        Ok(())
    }

    /// Passes an unlink on.
    ///
    /// # Errors
    /// As [`Relay::submit`].
    pub fn unlink(&mut self, u: &Unlink) -> Result<(), ProtoError> {
        self.enter(u.seqnum, Open::Unlink(u.victim))?;
        self.tx.push(&Unlink { devid: self.devid, ..*u }.to_bytes());
        Ok(())
    }

    fn enter(&mut self, seqnum: u32, o: Open) -> Result<(), ProtoError> {
        if self.open.len() >= MAX_OPEN {
            return Err(ProtoError::TooLong(self.open.len() as u32));
        }
        match self.open.insert(seqnum, o) {
            None => Ok(()),
            Some(old) => {
                self.open.insert(seqnum, old);
                Err(ProtoError::Sequence(seqnum))
            }
        }
    }

    /// Passes one reply of the other server back; false when more bytes are needed.
    ///
    /// # Errors
    /// What comes is not USB/IP, or no answer to what was asked: close the connection and [`Relay::abort`].
    pub fn poll(&mut self, replies: &mut Replies) -> Result<bool, ProtoError> {
        let Some(h) = self.rx.data().first_chunk::<HDR_LEN>() else { return Ok(false) };
        match Reply::parse(h)? {
            Reply::Submit(r) => {
                let Some(&Open::Urb { dir, length, packets, descriptor }) = self.open.get(&r.seqnum) else {
                    return Err(ProtoError::Sequence(r.seqnum));
                };
                if r.actual > length {
                    return Err(ProtoError::Actual { asked: length, got: r.actual });
                }
                if r.packets > packets {
                    return Err(ProtoError::TooLong(r.packets));
                }
                let data = if dir == Dir::In { r.actual as usize } else { 0 };
                let all = HDR_LEN + data + r.packets as usize * ISO_DESC_LEN;
                let Some(payload) = self.rx.data().get(HDR_LEN..all) else { return Ok(false) };
                replies.forward(&r, payload);
                if let (Some(what), true) = (descriptor, r.status == status::OK && data > 0) {
                    learn(&mut self.learned, what, payload);
                }
                self.open.remove(&r.seqnum);
                self.rx.consume(all);
            }
            Reply::Unlink(r) => {
                let Some(&Open::Unlink(victim)) = self.open.get(&r.seqnum) else {
                    return Err(ProtoError::Sequence(r.seqnum));
                };
                self.open.remove(&r.seqnum);
                // Any status but 0 means that the URB will not be heard of again.
                if r.status != status::OK && matches!(self.open.get(&victim), Some(Open::Urb { .. })) {
                    self.open.remove(&victim);
                }
                replies.forward_unlinked(r);
                self.rx.consume(HDR_LEN);
            }
        }
        Ok(true)
    }

    /// The other server is gone: every open URB ends with [`status::ESHUTDOWN`].
    pub fn abort(&mut self, replies: &mut Replies) {
        for (seqnum, o) in core::mem::take(&mut self.open) {
            match o {
                Open::Urb { .. } => {
                    let status = status::ESHUTDOWN;
                    let r = RetSubmit { seqnum, status, actual: 0, start_frame: 0, packets: 0, errors: 0 };
                    replies.forward(&r, &[]);
                }
                // Its URB has just been ended.
                Open::Unlink(_) => replies.unlinked(seqnum, false),
            }
        }
        self.tx.clear();
        self.rx.clear();
    }
}

/// Type and index of the descriptor that a control request asks for.
fn asked(s: &Setup) -> Option<(u8, u8)> {
    (s.request_type == 0x80 && s.request == req::GET_DESCRIPTOR)
        .then_some(((s.value >> 8) as u8, s.value as u8))
}

/// Keeps a descriptor that came whole.
fn learn(to: &mut Description, (ty, index): (u8, u8), bytes: &[u8]) {
    let whole = match ty {
        desc::DEVICE => desc::Device::parse(bytes).is_some(),
        desc::CONFIG => desc::Config::parse(bytes).is_some_and(|c| usize::from(c.total_len) == bytes.len()),
        desc::STRING => bytes.first().is_some_and(|n| usize::from(*n) == bytes.len()),
        _ => false,
    };
    if !whole {
        return;
    }
    to.records.retain(|r| (r.0, r.1) != (ty, index));
    let had: usize = to.records.iter().map(|r| r.2.len() + 4).sum();
    if had + bytes.len() + 4 <= MAX_LEARNED {
        to.records.push((ty, index, Vec::from(bytes)));
    }
}
