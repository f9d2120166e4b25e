//! The URBs of one endpoint of a real device.
//!
//! USB/IP submits and cancels URBs one by one. `nusb` gives an endpoint a queue in which everything is done in order
//! and can be cancelled only as a whole, takes IN lengths in whole packets only, and knows no transfer flags. This queue
//! makes one of the other:
//!
//! - To cancel some URBs, all are; those that were not meant are submitted again, in order, with what they
//!   have moved already counted, once the last has come back. What the bus sees is a pause.
//! - An IN length is rounded up to whole packets; a device that sends more than was asked for gets EOVERFLOW,
//!   as it would from the kernel.
//! - URB_ZERO_PACKET becomes an empty transfer behind the data, URB_SHORT_NOT_OK a look at the length.
//!
//! Every URB ends once: by its transfer, by its unlink, or by [`Queue::flush`].

use iopkt_usbip::hdr::{Submit, URB_SHORT_NOT_OK, URB_ZERO_PACKET, status};
use iopkt_usbip::server::Replies;
use std::collections::VecDeque;

/// One transfer on a pipe.
#[derive(Debug, PartialEq, Eq)]
pub enum Transfer {
    /// These bytes to the device.
    Out(Vec<u8>),
    /// So many bytes from it, a multiple of the packet size.
    In(usize),
}

/// The end of a transfer.
#[derive(Debug, PartialEq, Eq)]
pub struct Ended {
    /// [`status`]; ECONNRESET when it was cancelled.
    pub status: i32,
    /// Bytes moved.
    pub actual: usize,
    /// What was received.
    pub data: Vec<u8>,
}

/// What does transfers, in order.
pub trait Pipe: Send {
    /// Starts one behind those that are under way.
    fn submit(&mut self, t: Transfer);
    /// The end of the oldest one, when it has come.
    fn next(&mut self) -> Option<Ended>;
    /// Cancels all that are under way; each still ends.
    fn cancel_all(&mut self);
}

#[derive(Debug)]
struct Urb {
    seqnum: u32,
    length: usize,
    flags: u32,
    /// OUT: all of it. IN: what has come.
    data: Vec<u8>,
    /// OUT: what has gone.
    sent: usize,
    /// Transfers of it that are under way.
    pieces: u8,
    /// The first error of its transfers.
    status: i32,
    /// It must be submitted again.
    again: bool,
    /// The unlink that waits for it.
    unlink: Option<u32>,
}

/// The URBs of one endpoint.
pub struct Queue<P> {
    /// The transfers below.
    pub pipe: P,
    is_in: bool,
    packet: usize,
    urbs: VecDeque<Urb>,
    /// Transfers under way.
    pieces: usize,
    cancelling: bool,
}

impl<P: Pipe> Queue<P> {
    /// A queue over `pipe`, whose packets have at most `packet` bytes.
    pub fn new(pipe: P, is_in: bool, packet: usize) -> Queue<P> {
        Queue { pipe, is_in, packet: packet.max(1), urbs: VecDeque::new(), pieces: 0, cancelling: false }
    }

    /// URBs that have not ended.
    pub fn len(&self) -> usize {
        self.urbs.len()
    }

    /// A URB of the client, with the data of an OUT transfer.
    pub fn submit(&mut self, s: &Submit, data: &[u8]) {
        let data = if self.is_in { Vec::new() } else { data.to_vec() };
        self.urbs.push_back(Urb {
            seqnum: s.seqnum,
            length: s.length as usize,
            flags: s.flags,
            data,
            sent: 0,
            pieces: 0,
            status: status::OK,
            again: true,
            unlink: None,
        });
        if !self.cancelling {
            self.start();
        }
    }

    /// Gives the pipe what waits.
    fn start(&mut self) {
        for u in self.urbs.iter_mut().filter(|u| u.again) {
            u.again = false;
            if self.is_in {
                let left = (u.length - u.data.len()).div_ceil(self.packet).max(1) * self.packet;
                self.pipe.submit(Transfer::In(left));
                u.pieces = 1;
            } else {
                let zero =
                    u.flags & URB_ZERO_PACKET != 0 && u.length > 0 && u.length.is_multiple_of(self.packet);
                // Only what has not gone yet; the empty packet may be all that is left.
                if u.sent < u.length || !zero {
                    self.pipe.submit(Transfer::Out(u.data[u.sent..].to_vec()));
                    u.pieces += 1;
                }
                if zero {
                    self.pipe.submit(Transfer::Out(Vec::new()));
                    u.pieces += 1;
                }
            }
            self.pieces += usize::from(u.pieces);
        }
    }

    /// Cancels a URB for the unlink `seqnum`; false when it is not ours (it has ended, or never was).
    pub fn unlink(&mut self, seqnum: u32, victim: u32, replies: &mut Replies) -> bool {
        let Some(i) = self.urbs.iter().position(|u| u.seqnum == victim) else { return false };
        let u = &mut self.urbs[i];
        if u.pieces == 0 {
            self.urbs.remove(i);
            replies.unlinked(seqnum, true);
            return true;
        }
        if u.unlink.is_some() {
            // A second unlink of the same URB finds nothing to do.
            replies.unlinked(seqnum, false);
            return true;
        }
        u.unlink = Some(seqnum);
        if !self.cancelling {
            self.cancelling = true;
            self.pipe.cancel_all();
        }
        true
    }

    /// Takes what has ended; true when something has.
    pub fn poll(&mut self, replies: &mut Replies) -> bool {
        let mut any = false;
        while let Some(e) = (self.pieces > 0).then(|| self.pipe.next()).flatten() {
            any = true;
            self.pieces -= 1;
            self.ended(e, replies);
            if self.pieces == 0 && self.cancelling {
                self.cancelling = false;
                self.start();
            }
        }
        any
    }

    fn ended(&mut self, e: Ended, replies: &mut Replies) {
        let (is_in, cancelling) = (self.is_in, self.cancelling);
        let Some(i) = self.urbs.iter().position(|u| u.pieces > 0) else { return };
        let u = &mut self.urbs[i];
        u.pieces -= 1;
        if is_in {
            u.data.extend_from_slice(&e.data);
        } else {
            u.sent = (u.sent + e.actual).min(u.length);
        }
        let cancelled = e.status == status::ECONNRESET && cancelling;
        if cancelled {
            // Both pieces of one with a zero packet come here; the state is that of the later one.
            u.again = true;
        } else if e.status != status::OK && u.status == status::OK {
            u.status = e.status;
        }
        if u.pieces > 0 {
            return;
        }
        if u.again && u.status == status::OK {
            match u.unlink.take() {
                Some(seqnum) => {
                    self.urbs.remove(i);
                    replies.unlinked(seqnum, true);
                }
                // All of it had come when the cancel did.
                None if is_in && u.length > 0 && u.data.len() >= u.length => self.complete(i, replies),
                None => {}
            }
            return;
        }
        self.complete(i, replies);
    }

    fn complete(&mut self, i: usize, replies: &mut Replies) {
        let Some(mut u) = self.urbs.remove(i) else { return };
        let mut actual = u.sent;
        if self.is_in {
            if u.data.len() > u.length {
                u.data.truncate(u.length);
                u.status = status::EOVERFLOW;
            }
            actual = u.data.len();
            if u.status == status::OK && actual < u.length && u.flags & URB_SHORT_NOT_OK != 0 {
                u.status = status::EREMOTEIO;
            }
        }
        let data: &[u8] = if self.is_in { &u.data } else { &[] };
        replies.complete(u.seqnum, u.status, actual, &[data]);
        if let Some(seqnum) = u.unlink {
            replies.unlinked(seqnum, false);
        }
    }

    /// Ends every URB with `status`; what the pipe still says is not listened to. The queue is of no more use.
    pub fn flush(&mut self, status: i32, replies: &mut Replies) {
        self.pipe.cancel_all();
        for u in self.urbs.drain(..) {
            match u.unlink {
                Some(seqnum) => replies.unlinked(seqnum, true),
                None => replies.complete(u.seqnum, status, 0, &[]),
            }
        }
    }
}
