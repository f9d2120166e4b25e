//! Taps: who looks at the frames of interfaces without being their receiver (BPF devices, packet sockets, captures).
//!
//! # Theory of operation
//!
//! Every frame passes one of two places: [`Shard::input`] when it comes from a device, before anybody judged it, and
//! the transmit path when it is given to one, with its headers complete. (A frame on a loopback interface is seen once, as received.)
//! At both a tap that is interested takes a copy of as many bytes as its program ([`iopkt_bpf`]) and its snap length want, into a
//! queue of bounded size, from which its owner takes it; what finds no room is counted as dropped. The
//! frames themselves go their way unchanged and unhindered.
//!
//! As long as no tap is open, both places work on whole batches without asking for each frame.
//!
//! A tap with [`TapConfig::fate`] also hears why the stack dropped a received frame, if it did: a frame climbs by
//! plain calls, so the counter of drop reasons that moved while it did so tells.

use crate::counters::Why;
use crate::cx::Cx;
use crate::iface::Interface;
use crate::net::{LO0, Net};
use crate::shard::Shard;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use iopkt_base::{Errno, Instant, Result};
use iopkt_bpf::{Aux, Program};
use iopkt_ctl::IfKind;
use iopkt_mbuf::{Mbuf, flags};
use iopkt_wire::ethernet::{self, HEADER_LEN, TYPE_IPV4, TYPE_IPV6};
use slab::Slab;

/// Most taps of a stack.
pub const MAX_TAPS: usize = 256;
/// What a frame in a queue costs beside its bytes.
const OVERHEAD: usize = 64;

/// Whose frame it is: Linux's `PACKET_*` numbers (packet(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Towards {
    /// Us.
    Host = 0,
    /// Everybody.
    Broadcast = 1,
    /// A group.
    Multicast = 2,
    /// Somebody else.
    Other = 3,
    /// Sent by us.
    Out = 4,
}

/// The link-level header that a tap is shown on interfaces that are not Ethernet; on those it is the frame's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Link {
    /// What is there: none.
    #[default]
    Own,
    /// BSD's `DLT_NULL`: the protocol family, 4 bytes in the machine's order.
    Null,
    /// As Linux shows its loopback: an Ethernet header without addresses. Only for loopback interfaces.
    Ethernet,
    /// No link-level header, on Ethernet neither.
    Cooked,
}

/// What a tap wants.
#[derive(Clone, Debug)]
pub struct TapConfig {
    /// The interface; 0: all of them.
    pub ifindex: u32,
    /// Takes nothing while it is false.
    pub on: bool,
    /// Frames that we send, too.
    pub sent: bool,
    /// Frames that we receive, too.
    pub received: bool,
    /// Link-level header.
    pub link: Link,
    /// Only this Ethernet type; 0: all.
    pub protocol: u16,
    /// Most bytes of a frame.
    pub snap: u32,
    /// Most bytes that wait, with an overhead of 64 for each frame.
    pub room: usize,
    /// Chooses frames.
    pub program: Option<Program>,
    /// Tells why received frames were dropped.
    pub fate: bool,
}

impl Default for TapConfig {
    fn default() -> Self {
        TapConfig {
            ifindex: 0,
            on: false,
            sent: true,
            received: true,
            link: Link::Own,
            protocol: 0,
            snap: u32::MAX,
            room: 256 << 10,
            program: None,
            fate: false,
        }
    }
}

/// What is known of a frame that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// When.
    pub at: Instant,
    /// Where.
    pub ifindex: u32,
    /// Kind of the interface.
    pub kind: IfKind,
    /// Whose it is.
    pub towards: Towards,
    /// Ethernet type.
    pub protocol: u16,
    /// Sender's link-level address, zeros without one.
    pub from: [u8; 6],
    /// Length of the whole frame with the header that the tap is shown, bytes.
    pub wire_len: u32,
    /// Bytes of it that were taken.
    pub len: u32,
    /// Where the network header begins in them.
    pub net: u16,
    /// Its checksum was left for the device to complete.
    pub csum_pending: bool,
    /// Why it was dropped.
    pub why: Option<Why>,
}

/// Counters of a tap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TapStats {
    /// Frames that passed it.
    pub seen: u64,
    /// Frames that it wanted.
    pub matched: u64,
    /// Of those: frames that found no room.
    pub dropped: u64,
}

/// A tap.
#[derive(Debug)]
pub struct Tap {
    /// What it wants.
    pub cfg: TapConfig,
    /// Counters.
    pub stats: TapStats,
    /// It has put its interface into promiscuous mode.
    promisc: bool,
    /// Its interface is gone.
    pub gone: bool,
    /// The frame that passed last is the newest in the queue.
    fresh: bool,
    queue: VecDeque<Seen>,
    bytes: Vec<u8>,
    start: usize,
}

/// Name of a tap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TapId(usize);

impl Tap {
    /// The oldest frame.
    pub fn first(&self) -> Option<(&Seen, &[u8])> {
        let s = self.queue.front()?;
        Some((s, self.bytes.get(self.start..self.start + s.len as usize).unwrap_or(&[])))
    }

    /// Ends the oldest frame.
    pub fn pop(&mut self) {
        let Some(s) = self.queue.pop_front() else { return };
        self.start += s.len as usize;
        if self.queue.is_empty() {
            self.bytes.clear();
            self.start = 0;
        }
    }

    /// Frames that wait.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Forgets what waits.
    pub fn flush(&mut self) {
        self.queue.clear();
        self.bytes.clear();
        self.start = 0;
    }

    fn interested(&self, f: &Frame<'_>) -> bool {
        let c = &self.cfg;
        c.on && (c.ifindex == 0 || c.ifindex == f.ifindex)
            && if f.towards == Towards::Out { c.sent } else { c.received }
            && (c.protocol == 0 || c.protocol == f.protocol)
    }

    /// Looks at a frame and takes of it what is wanted.
    fn look(&mut self, now: Instant, f: &Frame<'_>, scratch: &mut Vec<u8>) {
        let mut head = [0; HEADER_LEN];
        let (head, body, net): (&[u8], &[u8], usize) = match (f.kind, self.cfg.link) {
            (IfKind::Ethernet, Link::Cooked) => (&[], f.bytes.get(HEADER_LEN..).unwrap_or(&[]), 0),
            (IfKind::Ethernet, _) => (&[], f.bytes, HEADER_LEN),
            (_, Link::Null) => {
                // BSD's numbers of the families.
                let af: u32 = if f.protocol == TYPE_IPV6 { 24 } else { 2 };
                head[..4].copy_from_slice(&af.to_ne_bytes());
                (&head[..4], f.bytes, 4)
            }
            (IfKind::Loopback, Link::Ethernet) => {
                head[12..].copy_from_slice(&f.protocol.to_be_bytes());
                (&head, f.bytes, HEADER_LEN)
            }
            _ => (&[], f.bytes, 0),
        };
        self.stats.seen += 1;
        let wire_len = (head.len() + body.len()) as u32;
        let all = if head.is_empty() {
            body
        } else {
            scratch.clear();
            scratch.extend_from_slice(head);
            scratch.extend_from_slice(body);
            scratch
        };
        let wanted = match &self.cfg.program {
            None => u32::MAX,
            Some(p) => {
                let hatype = match f.kind {
                    IfKind::Ethernet => 1,
                    IfKind::Loopback => 772,
                    IfKind::PointToPoint => 65534,
                };
                let aux = Aux {
                    protocol: f.protocol,
                    pkttype: f.towards as u8,
                    ifindex: f.ifindex,
                    hatype,
                    net: net as u32,
                };
                p.run(all, wire_len, &aux)
            }
        };
        if wanted == 0 {
            return;
        }
        self.stats.matched += 1;
        let len = wanted.min(self.cfg.snap).min(wire_len) as usize;
        let used = self.bytes.len() - self.start + self.queue.len() * OVERHEAD;
        if used + len + OVERHEAD > self.cfg.room {
            self.stats.dropped += 1;
            return;
        }
        if self.start > 0 && self.bytes.len() + len > self.cfg.room {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(&all[..len]);
        self.queue.push_back(Seen {
            at: now,
            ifindex: f.ifindex,
            kind: f.kind,
            towards: f.towards,
            protocol: f.protocol,
            from: f.from,
            wire_len,
            len: len as u32,
            net: net as u16,
            csum_pending: f.csum_pending,
            why: f.why,
        });
    }
}

/// A frame at one of the two places.
struct Frame<'a> {
    ifindex: u32,
    kind: IfKind,
    towards: Towards,
    protocol: u16,
    from: [u8; 6],
    csum_pending: bool,
    bytes: &'a [u8],
    why: Option<Why>,
}

impl<'a> Frame<'a> {
    fn new(i: &Interface, m: &'a Mbuf, out: bool) -> Frame<'a> {
        let bytes = m.as_slice();
        let mut f = Frame {
            ifindex: i.index,
            kind: i.kind,
            towards: if out { Towards::Out } else { Towards::Host },
            protocol: if bytes.first().is_some_and(|b| b >> 4 == 6) { TYPE_IPV6 } else { TYPE_IPV4 },
            from: [0; 6],
            csum_pending: m.flags() & flags::CSUM_PARTIAL != 0,
            bytes,
            why: None,
        };
        if i.kind == IfKind::Ethernet {
            f.protocol = 0;
            if let Some(h) = ethernet::Header::parse(bytes) {
                (f.protocol, f.from) = (h.ethertype, h.src);
                if !out {
                    f.towards = match h.dst {
                        ethernet::BROADCAST => Towards::Broadcast,
                        d if ethernet::is_multicast(&d) => Towards::Multicast,
                        d if d == i.mac => Towards::Host,
                        _ => Towards::Other,
                    };
                }
            }
        }
        f
    }
}

/// All taps of a shard.
#[derive(Debug, Default)]
pub struct Taps {
    list: Slab<Tap>,
    scratch: Vec<u8>,
}

impl Taps {
    /// Whether any tap is there.
    #[inline]
    pub fn is_open(&self) -> bool {
        !self.list.is_empty()
    }

    /// Whether a tap is there that may look at the packets of loopback interfaces.
    pub fn see_loopback(&self, net: &Net) -> bool {
        let lo = |i| i == 0 || net.iface(i).is_some_and(|i| i.is_loopback());
        self.list.iter().any(|(_, t)| lo(t.cfg.ifindex))
    }

    /// A tap.
    pub fn get(&self, id: TapId) -> Option<&Tap> {
        self.list.get(id.0)
    }

    /// A tap, to change.
    pub fn get_mut(&mut self, id: TapId) -> Option<&mut Tap> {
        self.list.get_mut(id.0)
    }

    /// Shows a frame to all of them; true when one wants to know what becomes of it.
    fn show(&mut self, now: Instant, f: &Frame<'_>) -> bool {
        let mut fate = false;
        for (_, t) in &mut self.list {
            t.fresh = false;
            if t.interested(f) {
                let before = t.queue.len();
                t.look(now, f, &mut self.scratch);
                t.fresh = t.cfg.fate && t.queue.len() > before;
                fate |= t.fresh;
            }
        }
        fate
    }

    /// The frame that was shown last was dropped.
    fn dropped(&mut self, why: Why) {
        for (_, t) in &mut self.list {
            if let Some(s) = t.queue.back_mut().filter(|_| t.fresh) {
                s.why = Some(why);
            }
        }
    }
}

impl Shard {
    /// Opens a tap.
    ///
    /// # Errors
    /// ENOBUFS at the limit.
    pub fn tap_open(&mut self, cfg: TapConfig) -> Result<TapId> {
        if self.taps.list.len() >= MAX_TAPS {
            return Err(Errno::ENOBUFS);
        }
        let tap = Tap {
            cfg,
            stats: TapStats::default(),
            promisc: false,
            gone: false,
            fresh: false,
            queue: VecDeque::new(),
            bytes: Vec::new(),
            start: 0,
        };
        Ok(TapId(self.taps.list.insert(tap)))
    }

    /// Closes a tap.
    pub fn tap_close(&mut self, id: TapId) {
        self.tap_promisc(id, false);
        self.taps.list.try_remove(id.0);
    }

    /// Joins a tap to another interface (0: to all); it leaves promiscuous mode.
    ///
    /// # Errors
    /// ENXIO without such an interface.
    pub fn tap_attach(&mut self, id: TapId, ifindex: u32) -> Result<()> {
        if ifindex != 0 && self.net.iface(ifindex).is_none() {
            return Err(Errno::ENXIO);
        }
        self.tap_promisc(id, false);
        if let Some(t) = self.taps.get_mut(id) {
            t.cfg.ifindex = ifindex;
            t.gone = false;
        }
        Ok(())
    }

    /// Asks for promiscuous mode on the tap's interface, or gives it back.
    pub fn tap_promisc(&mut self, id: TapId, on: bool) {
        let Some(t) = self.taps.get_mut(id) else { return };
        if t.promisc == on || t.gone || on && t.cfg.ifindex == 0 {
            return;
        }
        t.promisc = on;
        let ifindex = t.cfg.ifindex;
        self.net.promisc_users(&mut self.cx, ifindex, on);
    }

    /// An interface is gone: so is what its taps look at.
    pub(crate) fn taps_detached(&mut self, ifindex: u32) {
        for (_, t) in &mut self.taps.list {
            if t.cfg.ifindex == ifindex {
                (t.gone, t.cfg.on, t.promisc) = (true, false, false);
            }
        }
    }

    /// A received frame; true when somebody wants to know what becomes of it.
    pub(crate) fn tap_in(&mut self, ifindex: u32, m: &Mbuf) -> bool {
        let Shard { cx, net, taps, .. } = self;
        let Some(i) = net.iface(ifindex) else { return false };
        taps.show(cx.now, &Frame::new(i, m, false))
    }

    /// As [`Shard::input`], with taps open.
    #[cold]
    #[inline(never)]
    pub(crate) fn input_tapped(&mut self, ifindex: u32, batch: &mut Vec<Mbuf>) {
        for m in batch.drain(..) {
            self.input_looked_at(ifindex, m);
        }
    }

    fn input_looked_at(&mut self, ifindex: u32, m: Mbuf) {
        if !self.tap_in(ifindex, &m) {
            return self.input_one(ifindex, m);
        }
        let before = self.cx.counters.clone();
        self.input_one(ifindex, m);
        let moved = |w: &&(Why, &str)| self.cx.counters.drops(w.0) != before.drops(w.0);
        // What a protocol has consumed was not lost.
        if let Some((why, _)) = Why::ALL.iter().filter(|w| w.0 != Why::Handled).find(moved) {
            self.taps.dropped(*why);
        }
    }

    /// A frame on its way to a device. `why`: it will not get there.
    pub(crate) fn tap_out(taps: &mut Taps, cx: &Cx, i: &Interface, m: &Mbuf, why: Option<Why>) {
        taps.show(cx.now, &Frame { why, ..Frame::new(i, m, true) });
    }
}

impl Net {
    /// One user of promiscuous mode more, or one less.
    pub fn promisc_users(&mut self, cx: &mut Cx, ifindex: u32, more: bool) {
        let Some(i) = self.iface_mut(ifindex) else { return };
        let before = crate::ether::wants_everything(i);
        i.promisc_users = if more { i.promisc_users + 1 } else { i.promisc_users.saturating_sub(1) };
        if crate::ether::wants_everything(i) != before {
            self.push_filter(cx, ifindex);
        }
    }
}

/// Sends a frame as it is (BPF's write(2), packet sockets).
impl Shard {
    /// Queues a frame for transmission by an interface: with its Ethernet header there, bare on others.
    ///
    /// # Errors
    /// ENXIO without such an interface, ENETDOWN when it is down, EMSGSIZE, EINVAL for a frame without a whole header, ENOBUFS
    /// without memory.
    pub fn inject(&mut self, ifindex: u32, frame: &[u8]) -> Result<()> {
        let i = self.net.iface(ifindex).ok_or(Errno::ENXIO)?;
        if !i.is_up() {
            return Err(Errno::ENETDOWN);
        }
        let header = if i.kind == IfKind::Ethernet { HEADER_LEN } else { 0 };
        if frame.len() > i.mtu as usize + header {
            return Err(Errno::EMSGSIZE);
        }
        if frame.len() < header.max(1) {
            return Err(Errno::EINVAL);
        }
        let mut m = self.cx.mbufs.copy_of(frame).ok_or(Errno::ENOBUFS)?;
        if ifindex == LO0 {
            m.set_ifindex(ifindex);
        }
        self.cx.frames.push_back((ifindex, m));
        Ok(())
    }
}
