//! Endpoints: where transfers of the host and packets of the device meet.
//!
//! An IN endpoint has two queues: URBs that wait for data, and transfers that wait for URBs. The device cuts a
//! transfer into packets of the endpoint's size; a URB ends when it is full or when a packet is shorter than
//! that size. A transfer that ends on a packet boundary is closed by a zero-length packet; without it the next
//! transfer runs into the same URB, which is what real devices that forget it do. A packet that is larger than
//! the room left in the URB is babble.
//!
//! An OUT endpoint takes packets at once and puts transfers together by the same rule. Both are bounded.

use crate::Outside;
use crate::faults::Until;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use iopkt_base::Instant;
use iopkt_usbip::desc::{Endpoint, Transfer};
use iopkt_usbip::hdr::{Submit, URB_SHORT_NOT_OK, URB_ZERO_PACKET, status};

/// Most URBs that wait on an endpoint; more are refused with ENOMEM.
pub const MAX_URBS: usize = 4096;
/// Most bytes that an OUT transfer is put together from; more make it oversized.
const MAX_OUT: usize = 65_536;
/// Most buffers kept for the next transfers.
const SPARES: usize = 64;

#[derive(Clone, Copy, Debug)]
struct Urb {
    seqnum: u32,
    length: usize,
    flags: u32,
}

#[derive(Debug)]
struct Item {
    data: Vec<u8>,
    pos: usize,
    /// A zero-length packet ends it if it fills its last packet.
    zlp: bool,
}

/// An IN endpoint.
#[derive(Debug)]
pub struct InPipe {
    packet: usize,
    /// Transfers are ended by a zero-length packet where they need one. Messages on interrupt endpoints are not:
    /// the host asks for as much as one packet.
    ends: bool,
    limit: usize,
    enabled: bool,
    halted: bool,
    urbs: VecDeque<Urb>,
    queue: VecDeque<Item>,
    /// Received by the first URB so far.
    part: Vec<u8>,
    spare: Vec<Vec<u8>>,
    /// Nothing moves before this time.
    hold: Instant,
    /// The next so many transfers go without their zero-length packet.
    pub(crate) omit_zlp: u32,
    /// The next so many transfers babble.
    pub(crate) babble: u32,
    /// The next so many transfers end with a bus error.
    pub(crate) noise: u32,
}

impl InPipe {
    /// The pipe of an endpoint that queues up to `limit` transfers.
    pub fn new(e: &Endpoint, limit: usize) -> InPipe {
        InPipe {
            packet: usize::from(e.max_packet().max(1)),
            ends: e.transfer() != Transfer::Interrupt,
            limit,
            enabled: false,
            halted: false,
            urbs: VecDeque::new(),
            queue: VecDeque::new(),
            part: Vec::new(),
            spare: Vec::new(),
            hold: Instant::ZERO,
            omit_zlp: 0,
            babble: 0,
            noise: 0,
        }
    }

    /// Whether a setting that has the endpoint is selected.
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Whether it answers STALL.
    pub fn is_halted(&self) -> bool {
        self.halted
    }

    /// Room for transfers.
    pub fn room(&self) -> usize {
        if self.enabled { self.limit - self.queue.len().min(self.limit) } else { 0 }
    }

    /// URBs that wait.
    pub fn waiting(&self) -> usize {
        self.urbs.len()
    }

    /// Takes or loses the endpoint with a setting: what was queued is lost, URBs end with ESHUTDOWN.
    pub fn set_enabled(&mut self, on: bool, out: &mut dyn Outside) {
        self.flush(status::ESHUTDOWN, out);
        self.clear();
        self.enabled = on;
    }

    /// Halts (every URB gets EPIPE) or goes on; going on forgets what was in the middle of a transfer.
    pub fn set_halted(&mut self, on: bool, out: &mut dyn Outside) {
        self.halted = on;
        if on {
            self.flush(status::EPIPE, out);
            if self.queue.front().is_some_and(|i| i.pos > 0) {
                self.pop();
            }
        }
    }

    /// Nothing moves before `t`.
    pub fn hold_until(&mut self, t: Instant) {
        self.hold = t;
    }

    /// When held data may move, [`Instant::FAR`] when there is none.
    pub fn deadline(&self) -> Instant {
        let stuck = self.hold > Instant::ZERO && !self.urbs.is_empty() && !self.queue.is_empty();
        if stuck { self.hold } else { Instant::FAR }
    }

    /// A URB of the host.
    pub fn submit(&mut self, now: Instant, s: &Submit, out: &mut dyn Outside) {
        let refuse = if !self.enabled {
            status::ENOENT
        } else if self.halted {
            status::EPIPE
        } else if self.noise > 0 {
            self.noise -= 1;
            status::EPROTO
        } else if self.urbs.len() >= MAX_URBS {
            status::ENOMEM
        } else {
            self.urbs.push_back(Urb { seqnum: s.seqnum, length: s.length as usize, flags: s.flags });
            return self.pump(now, out);
        };
        out.complete(s.seqnum, refuse, 0, &[]);
    }

    /// Forgets a URB; false when it does not wait here.
    pub fn unlink(&mut self, seqnum: u32) -> bool {
        let Some(i) = self.urbs.iter().position(|u| u.seqnum == seqnum) else { return false };
        self.urbs.remove(i);
        if i == 0 {
            self.part.clear();
        }
        true
    }

    /// Sends a transfer: at once when a URB waits, else from the queue. False (and it is lost) when the endpoint
    /// is off or the queue is full.
    pub fn send(&mut self, now: Instant, data: &[u8], out: &mut dyn Outside) -> bool {
        if !self.enabled || self.queue.len() >= self.limit {
            return false;
        }
        let plain = self.queue.is_empty() && self.part.is_empty() && !self.halted && now >= self.hold;
        if plain && self.babble == 0 && self.omit_zlp == 0 && self.ends {
            // The common case, without a copy: the whole transfer with its end fits the URB that waits.
            if let Some(u) = self.urbs.front().copied()
                && data.len() <= u.length
                && (!data.len().is_multiple_of(self.packet) || data.len() < u.length || data.is_empty())
            {
                self.urbs.pop_front();
                finish(&u, status::OK, data, out);
                return true;
            }
        }
        let mut buf = self.spare.pop().unwrap_or_default();
        buf.extend_from_slice(data);
        let needs = !data.is_empty() && data.len().is_multiple_of(self.packet);
        let omit = needs && self.omit_zlp > 0;
        self.omit_zlp -= u32::from(omit);
        let zlp = self.ends && !omit;
        self.queue.push_back(Item { data: buf, pos: 0, zlp });
        self.pump(now, out);
        true
    }

    /// Moves what can be moved.
    pub fn pump(&mut self, now: Instant, out: &mut dyn Outside) {
        if now < self.hold || self.halted {
            return;
        }
        self.hold = Instant::ZERO;
        while let (Some(u), Some(item)) = (self.urbs.front().copied(), self.queue.front_mut()) {
            if self.babble > 0 && item.pos == 0 {
                self.babble -= 1;
                self.pop();
                self.end(&u, status::EOVERFLOW, out);
                continue;
            }
            let left = item.data.len() - item.pos;
            let room = u.length - self.part.len();
            let whole = room / self.packet * self.packet;
            if left <= room {
                // All of it, with its end if that has a packet of its own or is a short one.
                self.part.extend_from_slice(&item.data[item.pos..]);
                let short = left % self.packet != 0 || left == 0;
                if short || (item.zlp && left < room) {
                    self.pop();
                    self.end(&u, status::OK, out);
                } else if left == room {
                    // The URB is full; the zero-length packet, if any, goes into the next one.
                    item.pos = item.data.len();
                    if !item.zlp {
                        self.pop();
                    }
                    self.end(&u, status::OK, out);
                } else {
                    self.pop();
                }
            } else if room == whole {
                self.part.extend_from_slice(&item.data[item.pos..item.pos + room]);
                item.pos += room;
                self.end(&u, status::OK, out);
            } else {
                // The next packet is larger than what is left of the URB.
                self.part.extend_from_slice(&item.data[item.pos..item.pos + room]);
                item.pos += whole + self.packet.min(left - whole);
                if item.pos == item.data.len() {
                    self.pop();
                }
                self.end(&u, status::EOVERFLOW, out);
            }
        }
    }

    fn end(&mut self, u: &Urb, status: i32, out: &mut dyn Outside) {
        self.urbs.pop_front();
        finish(u, status, &self.part, out);
        self.part.clear();
    }

    fn pop(&mut self) {
        if let Some(mut i) = self.queue.pop_front()
            && self.spare.len() < SPARES
        {
            i.data.clear();
            self.spare.push(i.data);
        }
    }

    /// Ends every URB.
    fn flush(&mut self, status: i32, out: &mut dyn Outside) {
        while let Some(u) = self.urbs.pop_front() {
            out.complete(u.seqnum, status, 0, &[]);
        }
        self.part.clear();
    }

    /// Forgets everything, as after a reset of the bus.
    pub fn clear(&mut self) {
        self.urbs.clear();
        while !self.queue.is_empty() {
            self.pop();
        }
        self.part.clear();
        self.enabled = false;
        self.halted = false;
        self.hold = Instant::ZERO;
    }
}

fn finish(u: &Urb, mut status: i32, data: &[u8], out: &mut dyn Outside) {
    if status == status::OK && data.len() < u.length && u.flags & URB_SHORT_NOT_OK != 0 {
        status = status::EREMOTEIO;
    }
    out.complete(u.seqnum, status, data.len(), &[data]);
}

/// What came in on an OUT endpoint.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<'a> {
    /// Not the end of a transfer yet, or refused.
    Nothing,
    /// A whole transfer.
    Transfer(&'a [u8]),
    /// The end of a transfer that was too long to keep.
    Oversized,
}

/// An OUT endpoint.
#[derive(Debug)]
pub struct OutPipe {
    packet: usize,
    enabled: bool,
    halted: bool,
    part: Vec<u8>,
    oversized: bool,
    /// `part` was given out with the last transfer.
    given: bool,
    /// A transfer of this many bytes is whole although it ends with a full packet; 0: there is no such length.
    pub(crate) whole: usize,
    /// The next so many transfers end with a bus error.
    pub(crate) noise: u32,
    /// It takes nothing until then.
    pub(crate) hang: Option<Until>,
    /// Zero-length packets are bus errors.
    pub(crate) no_zlp: bool,
    /// URBs that wait while it hangs.
    held: VecDeque<u32>,
}

impl OutPipe {
    /// The pipe of an endpoint.
    pub fn new(e: &Endpoint) -> OutPipe {
        let packet = usize::from(e.max_packet().max(1));
        let part = Vec::new();
        OutPipe {
            packet,
            enabled: false,
            halted: false,
            part,
            oversized: false,
            given: false,
            whole: 0,
            noise: 0,
            hang: None,
            no_zlp: false,
            held: VecDeque::new(),
        }
    }

    /// Whether a setting that has the endpoint is selected.
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Whether it answers STALL.
    pub fn is_halted(&self) -> bool {
        self.halted
    }

    /// Forgets a URB; false when it does not wait here.
    pub fn unlink(&mut self, seqnum: u32) -> bool {
        let n = self.held.len();
        self.held.retain(|s| *s != seqnum);
        self.held.len() < n
    }

    /// Something happens that may make it work again.
    pub(crate) fn revive(&mut self, by: Until) {
        if self.hang.is_some_and(|h| h <= by) {
            self.hang = None;
        }
    }

    /// Takes or loses the endpoint with a setting.
    pub fn set_enabled(&mut self, on: bool) {
        self.held.clear();
        self.enabled = on;
        self.halted = false;
        self.forget();
    }

    /// Halts or goes on.
    pub fn set_halted(&mut self, on: bool) {
        self.halted = on;
        self.forget();
    }

    fn forget(&mut self) {
        self.part.clear();
        self.oversized = false;
        self.given = false;
    }

    /// A URB of the host: completes it and gives the transfer that it ends.
    pub fn submit<'a>(&'a mut self, s: &Submit, data: &'a [u8], out: &mut dyn Outside) -> Received<'a> {
        if !self.enabled || self.halted {
            let why = if self.enabled { status::EPIPE } else { status::ENOENT };
            out.complete(s.seqnum, why, 0, &[]);
            return Received::Nothing;
        }
        if self.hang.is_some() && self.held.len() < MAX_URBS {
            self.held.push_back(s.seqnum);
            return Received::Nothing;
        }
        if self.noise > 0 || (self.no_zlp && data.is_empty()) {
            self.noise = self.noise.saturating_sub(1);
            out.complete(s.seqnum, status::EPROTO, 0, &[]);
            return Received::Nothing;
        }
        out.complete(s.seqnum, status::OK, data.len(), &[]);
        if self.given {
            self.forget();
        }
        let ends = !data.len().is_multiple_of(self.packet)
            || data.is_empty()
            || s.flags & URB_ZERO_PACKET != 0
            || self.part.len() + data.len() == self.whole;
        if ends && self.part.is_empty() && !self.oversized {
            return Received::Transfer(data);
        }
        self.keep(data);
        if !ends {
            return Received::Nothing;
        }
        if core::mem::take(&mut self.oversized) {
            return Received::Oversized;
        }
        self.given = true;
        Received::Transfer(&self.part)
    }

    fn keep(&mut self, data: &[u8]) {
        if self.part.len() + data.len() > MAX_OUT {
            self.oversized = true;
            self.part.clear();
        }
        if !self.oversized {
            self.part.extend_from_slice(data);
        }
    }
}
