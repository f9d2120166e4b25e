//! Ethernet: demultiplexing, the receive filter, headers, padding.
//!
//! Not done here: VLAN tags (an interface kind of its own when it comes) and LLC frames (counted as of an
//! unknown protocol).

use crate::counters::Why;
use crate::cx::Cx;
use crate::domain::Layers;
use crate::iface::Interface;
use crate::path::{Hop, HopKind};
use iopkt_ctl::{IfKind, iff};
use iopkt_mbuf::{Mbuf, flags};
pub(crate) use iopkt_wire::ethernet::HEADER_LEN;
use iopkt_wire::ethernet::{self, Header, MIN_FRAME};

/// Looks at a received frame: checks, filters, counts. Returns its type with the header removed, `None` when
/// the packet ended here.
#[inline(always)] // also beside the path of frames that taps look at
pub fn input(cx: &mut Cx, ifc: &mut Interface, mut m: Mbuf) -> Option<(u16, Mbuf)> {
    let Some(h) = Header::parse(m.as_slice()) else {
        ifc.counters.ierrors += 1;
        cx.drop(m, Why::ShortFrame);
        return None;
    };
    ifc.counters.ipackets += 1;
    ifc.counters.ibytes += m.len() as u64;
    m.clear_flags(flags::BCAST | flags::MCAST | flags::PROMISC | flags::LOOP);
    if ethernet::is_multicast(&h.dst) {
        ifc.counters.imcasts += 1;
        if h.dst == ethernet::BROADCAST {
            m.set_flags(flags::BCAST);
        } else if ifc.wants_group_mac(&h.dst) {
            m.set_flags(flags::MCAST);
        } else {
            cx.drop(m, Why::OtherHost);
            return None;
        }
    } else if h.dst != ifc.mac {
        // Taps see it before this point; the stack itself never takes another host's frame (hearing it in
        // promiscuous mode must not make us answer it).
        cx.drop(m, Why::OtherHost);
        return None;
    }
    if ethernet::is_multicast(&h.src) {
        cx.drop(m, Why::BadAddress);
        return None;
    }
    m.trim_front(HEADER_LEN);
    Some((h.ethertype, m))
}

/// Puts an Ethernet header in front of a packet and queues the frame. Lacking headroom the packet is copied;
/// lacking memory it ends.
#[inline]
pub fn output(cx: &mut Cx, ifc: &Interface, dst: [u8; 6], ethertype: u16, m: Mbuf) {
    let Some(mut m) = cx.prepend(m, HEADER_LEN) else { return };
    Header { dst, src: ifc.mac, ethertype }.emit(m.as_mut_slice());
    cx.frames.push_back((ifc.index, m));
}

/// The link of packets that go to one neighbour one behind the other: what is the same for all of them was asked once.
pub struct Train {
    ifindex: u32,
    header: Header,
}

impl Train {
    /// Of packets of this type by this way; `None` if each must be looked at by itself: by another kind of link or of delivery, or
    /// as long as the neighbour cache has something to do before it answers.
    pub fn to(l: &Layers<'_>, h: &Hop, ethertype: u16) -> Option<Train> {
        let i =
            l.net.iface(h.ifindex).filter(|i| i.kind == IfKind::Ethernet && h.kind == HopKind::Unicast)?;
        let dst = l.net.neigh.recent(l.cx.now, h.ifindex, h.next)?;
        Some(Train { ifindex: h.ifindex, header: Header { dst, src: i.mac, ethertype } })
    }

    /// Puts the link header and `n` bytes of network header, which `put` writes, in front of a packet and queues the frame. False:
    /// there was no memory, the packet ended.
    #[inline]
    pub fn push(&self, cx: &mut Cx, m: Mbuf, n: usize, put: impl FnOnce(&mut [u8])) -> bool {
        let Some(mut m) = cx.prepend(m, HEADER_LEN + n) else { return false };
        let (link, rest) = m.as_mut_slice().split_at_mut(HEADER_LEN);
        self.header.emit(link);
        put(rest);
        cx.frames.push_back((self.ifindex, m));
        true
    }
}

/// Brings a frame that is ready to go to the shortest length that Ethernet allows. The padding is zeros: a
/// buffer's old content must not leave the machine.
#[inline]
pub fn pad(cx: &mut Cx, mut m: Mbuf) -> Option<Mbuf> {
    if m.len() >= MIN_FRAME {
        return Some(m);
    }
    let n = MIN_FRAME - m.len();
    if let Some(tail) = m.append(n) {
        tail.fill(0);
        return Some(m);
    }
    let mut big = cx.realloc(m, 0, n)?;
    if let Some(tail) = big.append(n) {
        tail.fill(0);
    }
    Some(big)
}

/// Counts a frame for transmission.
pub fn count_output(ifc: &mut Interface, m: &Mbuf) {
    ifc.counters.opackets += 1;
    ifc.counters.obytes += m.len() as u64;
    if ifc.kind == iopkt_ctl::IfKind::Ethernet && m.as_slice().first().is_some_and(|b| b & 1 != 0) {
        ifc.counters.omcasts += 1;
    }
}

/// Whether the frame filter of an interface must let everything through.
pub fn wants_everything(ifc: &Interface) -> bool {
    ifc.flags & iff::PROMISC != 0 || ifc.promisc_users > 0
}
