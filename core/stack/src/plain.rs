//! What a family remembers of the packet that came last.

use crate::domain::Layers;
use iopkt_mbuf::{Mbuf, flags};

/// What is known of the ends of the packet that came last: that they are good, and that it is for us alone. Trains of
/// packets between the same ends are judged once, as long as nothing changes that the judgement came from.
pub struct Plain<A> {
    version: u64,
    ifindex: u32,
    flags: u32,
    /// Source and destination, as on the wire.
    ends: Option<(A, A)>,
}

impl<A> Default for Plain<A> {
    fn default() -> Plain<A> {
        Plain { version: 0, ifindex: 0, flags: 0, ends: None }
    }
}

/// The marks of a packet that the judgement looks at.
const LINK: u32 = flags::BCAST | flags::MCAST | flags::LOOP;

impl<A: PartialEq> Plain<A> {
    /// The judgement of a packet with these ends.
    pub fn of(l: &Layers<'_>, src: A, dst: A, m: &Mbuf) -> Plain<A> {
        let (version, ends) = (l.net.version(), Some((src, dst)));
        Plain { version, ifindex: m.ifindex(), flags: m.flags() & LINK, ends }
    }

    /// Whether it holds for this packet.
    #[inline]
    pub fn is(&self, l: &Layers<'_>, src: A, dst: A, m: &Mbuf) -> bool {
        self.ends == Some((src, dst))
            && self.ifindex == m.ifindex()
            && self.flags == m.flags() & LINK
            && self.version == l.net.version()
    }
}
