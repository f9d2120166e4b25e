//! Frames from the kernel.
//!
//! One read takes a frame with its header into three places: the header, a buffer of the usual size, and behind that a large one.
//! Most frames end in the second, and the third is there for the next read; of a super-segment the second's
//! bytes are copied in front of the third's, so that it is one contiguous packet again. So a large buffer is
//! used only by who needs it, and what is copied is never more than a small frame.

use iopkt_linuxif::vnet;
use iopkt_sdk::{Batch, Marks, Mbuf, Port};
use rustix::io::Errno;
use std::io::IoSliceMut;
use std::os::fd::AsFd;

/// Ethernet header and a VLAN tag.
const HEADER: usize = 18;
/// The largest packet.
const LARGE: usize = 65_535 + HEADER;

/// Buffers for the next reads.
#[derive(Default)]
pub(crate) struct Reader {
    spare: Option<Batch>,
    large: Option<Mbuf>,
}

/// What a read brought.
pub(crate) enum Got {
    Frame(Mbuf),
    /// One that is shorter or longer than any good one, or whose header makes no sense.
    Bad,
    /// One that had to be thrown away for want of memory.
    NoMemory,
    /// Nothing more.
    None(Errno),
}

impl Reader {
    /// Gives the buffers back.
    pub(crate) fn clear(&mut self) {
        *self = Reader::default();
    }

    /// Reads a frame; `more` is how many may follow.
    pub(crate) fn read(&mut self, tun: impl AsFd, port: &Port<'_>, mtu: u32, kind: Kind, more: usize) -> Got {
        // One byte more than any good frame: a longer one fills it and is seen.
        let room = mtu.max(1500) as usize + HEADER + 1;
        let spare = self.spare.get_or_insert_with(|| port.batch());
        if spare.is_empty() && spare.fill(more.clamp(1, 32), room) == 0 {
            // Take the frame from the kernel all the same, or it would wake us at once.
            return match rustix::io::read(tun, &mut [0u8; 1][..]) {
                Ok(_) => Got::NoMemory,
                Err(e) => Got::None(e),
            };
        }
        let Some(mut m) = spare.pop() else { return Got::NoMemory };
        let large = match kind {
            Kind::Large => {
                self.large = self.large.take().or_else(|| large(port, room));
                self.large.as_mut()
            }
            _ => None,
        };
        let mut head = [0; vnet::LEN];
        let header = if kind == Kind::Plain { 0 } else { vnet::LEN };
        let n = {
            let behind: &mut [u8] = match large {
                Some(l) => l.spare(),
                None => &mut [],
            };
            let mut v = [
                IoSliceMut::new(&mut head[..header]),
                IoSliceMut::new(&mut m.spare()[..room]),
                IoSliceMut::new(behind),
            ];
            match rustix::io::readv(tun, &mut v) {
                Ok(n) => n,
                Err(e) => {
                    let _ = spare.push(m);
                    return Got::None(e);
                }
            }
        };
        let marks = if header == 0 { Some(Marks::default()) } else { vnet::parse(&head) };
        let (Some(n), Some(marks)) = (n.checked_sub(header).filter(|n| *n >= 14), marks) else {
            return Got::Bad;
        };
        let mut m = if n < room {
            m.grow(n);
            m
        } else {
            m.grow(room);
            match self.large.take().and_then(|l| join(l, &m, n - room)) {
                Some(l) if n > room => l,
                // Longer than any good one, and nothing said that it would come.
                _ => return if kind == Kind::Large { Got::NoMemory } else { Got::Bad },
            }
        };
        m.set_marks(marks);
        Got::Frame(m)
    }
}

/// What comes in front of a frame, and how large it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// No header, no frame longer than the MTU.
    Plain,
    /// A header.
    Marked,
    /// A header, and super-segments.
    Large,
}

/// A buffer for the rest of a super-segment, with as much headroom as the front of it needs.
fn large(port: &Port<'_>, front: usize) -> Option<Mbuf> {
    let mut l = port.alloc(front + LARGE)?;
    l.grow(front);
    l.trim_front(front);
    Some(l)
}

/// The packet whose first bytes are `front`, and whose next `n` have been read into `l`.
fn join(mut l: Mbuf, front: &Mbuf, n: usize) -> Option<Mbuf> {
    l.grow(n);
    l.prepend(front.len())?.copy_from_slice(front.as_slice());
    Some(l)
}
