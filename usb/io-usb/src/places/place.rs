//! One device that is not simulated: whose it is, what is going on with it, and where its URBs go.

use crate::remote::Link;
use crate::usbfs::{self, Device, Found};
use iopkt_usbip::hdr::{ProtoError, Submit, Unlink, status};
use iopkt_usbip::op::{Description, DeviceInfo};
use iopkt_usbip::server::Replies;

/// Where a device really is.
pub(super) enum Origin {
    /// Here.
    Local(Box<Found>),
    /// At a remote server: which one, and its bus id there.
    Remote(usize, String),
}

/// What is going on with a device.
pub(super) enum State {
    Free,
    /// A thread opens (or imports) it.
    Opening,
    Local(Box<Device>),
    Remote(Box<Link>),
    /// A thread gives it back.
    Closing,
    /// It is to be given back as soon as the thread that has it is done.
    Unwanted(Box<Device>),
}

/// A device that is there.
pub struct Place {
    /// Never used again.
    pub id: u64,
    /// Under our numbers.
    pub info: DeviceInfo,
    /// Connection (by its id) that has it, or waits for it.
    pub owner: Option<u64>,
    /// It is not there any more; it goes when the state allows.
    pub(super) gone: bool,
    pub(super) origin: Origin,
    pub(super) state: State,
    /// What a client has read of its descriptors (remote ones).
    pub(super) learned: Description,
    /// Lists of a stock server in a row that did not have it.
    pub(super) absent: u8,
    /// Why the last import failed: a client that keeps asking does not fill the log.
    pub(super) complaint: String,
    /// Version of its link, as the loop's epoll has it.
    pub watched: Option<(bool, bool)>,
}

/// What was open when a device went.
pub enum Leftover {
    /// Nothing.
    Nothing,
    /// A device of this machine.
    Local(Box<Device>),
    /// A connection to a remote server.
    Remote(Box<Link>),
}

impl Leftover {
    /// Ends every open URB.
    pub fn abort(self, replies: &mut Replies) {
        match self {
            Leftover::Nothing => {}
            Leftover::Local(mut d) => {
                d.abort(replies);
                drop(d.close());
            }
            Leftover::Remote(mut l) => l.relay.abort(replies),
        }
    }
}

impl Place {
    /// A URB of its client, with what followed the header.
    ///
    /// # Errors
    /// The client does what it must not: end its connection.
    pub fn submit(&mut self, s: &Submit, payload: &[u8], replies: &mut Replies) -> Result<(), ProtoError> {
        match &mut self.state {
            State::Local(d) => d.submit(s, payload, replies),
            State::Remote(l) => l.relay.submit(s, payload)?,
            _ => replies.complete(s.seqnum, status::ESHUTDOWN, 0, &[]),
        }
        Ok(())
    }

    /// A request to cancel one.
    ///
    /// # Errors
    /// As [`Place::submit`].
    pub fn unlink(&mut self, u: &Unlink, replies: &mut Replies) -> Result<(), ProtoError> {
        match &mut self.state {
            State::Local(d) => d.unlink(u, replies),
            State::Remote(l) => l.relay.unlink(u)?,
            _ => replies.unlinked(u.seqnum, false),
        }
        Ok(())
    }

    /// The open device of this machine.
    pub fn local(&mut self) -> Option<&mut Device> {
        match &mut self.state {
            State::Local(d) => Some(d),
            _ => None,
        }
    }

    /// The open device of a remote server.
    pub fn link(&mut self) -> Option<&mut Link> {
        match &mut self.state {
            State::Remote(l) => Some(l),
            _ => None,
        }
    }

    /// Whether its client should not be read from.
    pub fn is_congested(&self) -> bool {
        match &self.state {
            State::Local(d) => d.is_congested(),
            State::Remote(l) => l.relay.is_congested(),
            _ => false,
        }
    }

    /// A device that waited for a change to end goes on to be given back.
    pub fn settled_unwanted(&mut self, b: usbfs::Back) {
        self.state = match std::mem::replace(&mut self.state, State::Free) {
            State::Unwanted(mut d) => {
                d.settled_unwanted(b);
                match d.close() {
                    Ok(()) => State::Closing,
                    Err(d) => State::Unwanted(d),
                }
            }
            other => other,
        };
    }
}
