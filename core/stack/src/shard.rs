//! The shard: owner of all layer 2 to 4 state of one thread.
//!
//! A turn, as the runtime runs it: [`Shard::begin`] with the time; [`Shard::input`] for each device that has
//! frames; user calls on [`Shard::sockets`] and [`Shard::ctl`]; [`Shard::turn`] once; then
//! [`Shard::take_frames`] for the interfaces that [`Shard::tx_ready`] names, `cx.events`, `cx.dev_ops` and
//! `cx.notes`; then sleep until [`Shard::deadline`]. Within a turn the order is fixed: input in order of
//! call, timers (neighbours, domains in order of registration, sockets), output of sockets, packets down
//! through the domains, frames to devices, loopback. The same input at the same times gives the same output.

use crate::counters::Why;
use crate::cx::{Config, Cx};
use crate::domain::{Domain, Layers};
use crate::ether;
use crate::iface::{IfAttach, Interface, TX_LIMIT};
use crate::listen::Listeners;
use crate::net::{LO0, Net};
use crate::packet::Family;
use crate::sockets::Sockets;
use crate::sysctl::LoopTune;
use crate::tap::Taps;
use crate::{gso, rows};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use iopkt_base::{Instant, Result};
use iopkt_ctl::{IFCAP_TCP4CSUM, IfKind, LinkState};
use iopkt_mbuf::{Cache, Mbuf, flags};
use iopkt_wire::ethernet::{MIN_FRAME, TYPE_IPV4, TYPE_IPV6};

/// Packets over loopback in one turn; the rest waits for the next, so that a turn ends.
const LOOP_BUDGET: usize = 256;

/// All layer 2 to 4 state, owned by one packet thread.
pub struct Shard {
    /// Context.
    pub cx: Cx,
    /// Interfaces, routes, neighbours.
    pub net: Net,
    /// Sockets.
    pub sockets: Sockets,
    /// The families that this variant has.
    pub domains: Vec<Box<dyn Domain>>,
    /// Ethernet type → place in `domains`.
    types: Vec<(u16, usize)>,
    loopq: VecDeque<Mbuf>,
    pub(crate) looped: LoopTune,
    pub(crate) joins: crate::join::JoinTune,
    /// Stack modules that hear frames.
    pub listeners: Listeners,
    /// Who looks at frames without being their receiver.
    pub taps: Taps,
}

impl Shard {
    /// A shard with lo0 and these families. `seed` is for randomness that may be seen on the wire, `key` for
    /// what must not be predicted; both come from the operating system in a process.
    pub fn new(
        now: Instant,
        cfg: Config,
        seed: u64,
        key: [u8; 16],
        mbufs: Cache,
        domains: Vec<Box<dyn Domain>>,
    ) -> Shard {
        let cx = Cx::new(now, cfg, seed, key, mbufs);
        let net = Net::new(&cx.secret, cx.cfg.enmap);
        let mut sockets = Sockets::new(&cx.secret, cx.cfg.max_sockets);
        let mut types = Vec::new();
        for (i, d) in domains.iter().enumerate() {
            sockets.add_family(d.family());
            types.extend(d.ethertypes().iter().map(|t| (*t, i)));
        }
        let mut s = Shard {
            cx,
            net,
            sockets,
            domains,
            types,
            loopq: VecDeque::new(),
            looped: LoopTune::default(),
            joins: Default::default(),
            listeners: Listeners::default(),
            taps: Taps::default(),
        };
        s.tell_changes();
        s
    }

    /// Whether the variant speaks this family.
    pub fn has_family(&self, f: Family) -> bool {
        self.domains.iter().any(|d| d.family() == f)
    }

    /// Begins a turn: sets its time, which never goes back.
    pub fn begin(&mut self, now: Instant) {
        self.cx.now = self.cx.now.max(now);
    }

    /// Adds an interface; returns its index. Its name is then [`Net::ifname`].
    ///
    /// # Errors
    /// As [`Net::attach`].
    pub fn attach(&mut self, a: IfAttach) -> Result<u32> {
        let i = self.net.attach(&mut self.cx, a)?;
        self.tell_changes();
        Ok(i)
    }

    /// Removes an interface with its addresses, routes, neighbours and queued frames.
    ///
    /// # Errors
    /// As [`Net::detach`].
    pub fn detach(&mut self, ifindex: u32) -> Result<()> {
        self.net.detach(&mut self.cx, ifindex)?;
        self.taps_detached(ifindex);
        self.tell_changes();
        Ok(())
    }

    /// What a driver says about its link; see [`Net::link_changed`].
    pub fn link_changed(&mut self, ifindex: u32, link: LinkState, speed: (u64, u64), full_duplex: bool) {
        self.net.link_changed(&mut self.cx, ifindex, link, speed, full_duplex);
        self.tell_changes();
    }

    /// Frames received by an interface; all are taken.
    pub fn input(&mut self, ifindex: u32, batch: &mut Vec<Mbuf>) {
        if self.taps.is_open() {
            self.input_tapped(ifindex, batch);
        } else {
            self.input_rows(ifindex, batch);
        }
        self.tell_changes();
    }

    /// Frames that nobody looks at on their way: rows of segments go up together.
    fn input_rows(&mut self, ifindex: u32, batch: &mut Vec<Mbuf>) {
        let i = self.net.iface(ifindex).filter(|i| i.kind == IfKind::Ethernet);
        let believed = i.is_some_and(|i| i.enabled_rx & IFCAP_TCP4CSUM != 0);
        let rows = i.is_some() && self.listeners.is_empty() && batch.len() > 1;
        let mut frames = batch.drain(..);
        let mut next = frames.next();
        while let Some(m) = next {
            match Some(&m).filter(|_| rows).and_then(|m| rows::Head::of(m, believed)) {
                Some(mut head) => {
                    self.cx.train_skip = head.skip;
                    next = None;
                    for f in frames.by_ref() {
                        if !head.takes(&f) {
                            next = Some(f);
                            break;
                        }
                        self.cx.train.push(f);
                    }
                }
                None => next = frames.next(),
            }
            self.input_one(ifindex, m);
            // What was not taken goes up by itself, with those behind it as its row.
            while let Some(m) = self.cx.train.pop() {
                self.input_one(ifindex, m);
            }
        }
    }

    /// One frame. Inlined where nobody looks on, so that taps cost that path nothing.
    #[inline(always)]
    pub(crate) fn input_one(&mut self, ifindex: u32, mut m: Mbuf) {
        m.set_ifindex(ifindex);
        let (kind, caps) = match self.net.iface_io(ifindex) {
            Some(i) if i.is_up() => (i.kind, i.enabled_rx),
            _ => return self.cx.drop(m, Why::IfDown),
        };
        if m.flags() & (flags::CSUM_OK | flags::CSUM_PARTIAL) != 0 || m.meta().gso_type != 0 {
            m = match self.marked(ifindex, kind == IfKind::Ethernet, caps, m) {
                Some(m) => m,
                None => return,
            };
        }
        match kind {
            IfKind::Ethernet => {
                let Some(i) = self.net.iface_io(ifindex) else { return };
                if let Some((ty, m)) = ether::input(&mut self.cx, i, m) {
                    self.deliver(ifindex, ty, m, ether::HEADER_LEN);
                }
            }
            IfKind::PointToPoint | IfKind::Loopback => self.raw_input(ifindex, m),
        }
    }

    /// A frame whose driver says something of its checksum or that it is a super-segment. `None`: it ended, or went on in
    /// pieces.
    fn marked(&mut self, ifindex: u32, ether: bool, caps: u32, mut m: Mbuf) -> Option<Mbuf> {
        if gso::check(&mut m, ether).is_err() {
            if let Some(i) = self.net.iface_io(ifindex) {
                i.counters.ierrors += 1;
            }
            self.cx.drop(m, Why::BadOffload);
            return None;
        }
        if m.flags() & flags::CSUM_OK != 0 && caps & gso::verified_cap(&m, ether) == 0 {
            m.clear_flags(flags::CSUM_OK);
        }
        if m.meta().gso_type != iopkt_mbuf::gso::UDP {
            return Some(m);
        }
        // Sockets want datagrams. The checksums stay partial: they were never wrong.
        let mut v = Vec::new();
        let cx = &mut self.cx;
        let done = gso::cut(&m, ether, u32::MAX, |n| cx.mbufs.alloc_len(n), |p| v.push(p));
        if done != Ok(gso::whole(&m, ether)) {
            cx.counters.dropped(Why::NoMemory);
        }
        cx.mbufs.free(m);
        for p in v {
            self.input_one(ifindex, p);
        }
        None
    }

    /// A packet without link header: its version names the family.
    fn raw_input(&mut self, ifindex: u32, m: Mbuf) {
        if let Some(i) = self.net.iface_io(ifindex) {
            i.counters.ipackets += 1;
            i.counters.ibytes += m.len() as u64;
        }
        let ty = match m.as_slice().first().map(|b| b >> 4) {
            Some(4) => TYPE_IPV4,
            Some(6) => TYPE_IPV6,
            _ => 0,
        };
        self.deliver(ifindex, ty, m, 0);
    }

    /// To the modules that listen, then to the domain.
    #[inline]
    fn deliver(&mut self, ifindex: u32, ty: u16, m: Mbuf, header: usize) {
        let m = if self.listeners.is_empty() { Some(m) } else { self.overhear(ifindex, ty, m, header) };
        if let Some(m) = m {
            self.demux(ifindex, ty, m);
        }
    }

    /// Whether a domain takes packets of this type.
    pub(crate) fn knows(&self, ty: u16) -> bool {
        self.types.iter().any(|t| t.0 == ty)
    }

    fn demux(&mut self, ifindex: u32, ty: u16, m: Mbuf) {
        let Some(d) = self.types.iter().find(|t| t.0 == ty).map(|t| t.1) else {
            if let Some(i) = self.net.iface_io(ifindex) {
                i.counters.noproto += 1;
            }
            return self.cx.drop(m, Why::UnknownEtherType);
        };
        let mut l = Layers { cx: &mut self.cx, net: &mut self.net, sockets: &mut self.sockets };
        self.domains[d].input(&mut l, ty, m);
    }

    /// Timers, output, delivery to ourselves. Called once, at the end of a turn.
    pub fn turn(&mut self) {
        self.tick();
        let mut budget = LOOP_BUDGET;
        loop {
            self.sockets.output(&mut self.cx, &mut self.net);
            self.drain();
            if self.loopq.is_empty() || budget == 0 {
                break;
            }
            let n = self.loopq.len().min(budget);
            budget -= n;
            for _ in 0..n {
                let Some(mut m) = self.loopq.pop_front() else { break };
                m.set_flags(flags::LOOP);
                let i = m.ifindex();
                if i == LO0 || self.net.iface(i).is_some_and(|i| i.is_loopback()) {
                    if self.taps.is_open() {
                        self.tap_in(i, &m);
                    }
                    self.raw_input(i, m);
                } else {
                    // The copy of a multicast or broadcast packet of ours: as received by the interface it
                    // left by, without being counted there.
                    let ty =
                        if m.as_slice().first().is_some_and(|b| b >> 4 == 6) { TYPE_IPV6 } else { TYPE_IPV4 };
                    self.demux(i, ty, m);
                }
            }
            self.tell_changes();
        }
    }

    /// Does what is due.
    fn tick(&mut self) {
        let now = self.cx.now;
        if self.net.pmtu.deadline() <= now {
            self.net.pmtu.tick(now);
        }
        let neigh = self.net.neigh.deadline() <= now;
        if neigh {
            self.net.neigh.tick(&mut self.cx);
        }
        let Shard { cx, net, sockets, domains, .. } = self;
        for d in domains.iter_mut() {
            if neigh || d.deadline() <= now {
                d.tick(&mut Layers { cx, net, sockets });
            }
        }
        if self.sockets.deadline() <= now {
            self.sockets.tick(&mut self.cx, &mut self.net);
        }
        self.tell_changes();
    }

    /// Tells the domains what happened to interfaces.
    pub fn tell_changes(&mut self) {
        let Shard { cx, net, sockets, domains, .. } = self;
        // What a domain changes in turn (it joins groups) is told too; the bound is a guard only.
        for _ in 0..100_000 {
            let Some(c) = net.changes.pop_front() else { break };
            for d in domains.iter_mut() {
                d.changed(&mut Layers { cx, net, sockets }, c);
            }
        }
    }

    /// Empties the queues that lead down: transport packets through their domains, frames to devices or to
    /// loopback.
    pub fn drain(&mut self) {
        self.tell_changes();
        while let Some(o) = self.cx.down.pop_front() {
            let family = Family::of(&o.dst);
            let Shard { cx, net, sockets, domains, .. } = self;
            match domains.iter_mut().find(|d| d.family() == family) {
                Some(d) => d.output(&mut Layers { cx, net, sockets }, o),
                None => {
                    cx.drop(o.m, Why::NoProtocol);
                    cx.drop_all(o.rest, Why::NoProtocol);
                }
            }
        }
        if self.taps.is_open() {
            self.drain_tapped();
        } else {
            while let Some((ifindex, m)) = self.cx.frames.pop_front() {
                self.transmit::<false>(ifindex, m);
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn drain_tapped(&mut self) {
        while let Some((ifindex, m)) = self.cx.frames.pop_front() {
            self.transmit::<true>(ifindex, m);
        }
    }

    #[inline(always)]
    fn transmit<const TAPPED: bool>(&mut self, ifindex: u32, mut m: Mbuf) {
        let Shard { cx, net, taps, looped, loopq, .. } = self;
        let Some(i) = net.iface_io(ifindex).filter(|i| i.is_up()) else {
            return cx.drop(m, Why::IfDown);
        };
        if i.kind == IfKind::Loopback {
            if m.ifindex() == 0 || m.ifindex() == ifindex {
                m.set_ifindex(ifindex);
                ether::count_output(i, &m);
            }
            if loopq.len() >= looped.limit {
                looped.drops += 1;
                return cx.drop(m, Why::TxQueueFull);
            }
            // One large packet here, whatever a device would have made of it.
            m.set_gso(iopkt_mbuf::gso::NONE, 0);
            looped.checksum(&mut m);
            loopq.push_back(m);
            return;
        }
        if i.tx.len() >= TX_LIMIT || i.link == LinkState::Down {
            i.counters.oqdrops += 1;
            let why = if i.link == LinkState::Down { Why::IfDown } else { Why::TxQueueFull };
            if TAPPED {
                Shard::tap_out(taps, cx, i, &m, Some(why));
            }
            return cx.drop(m, why);
        }
        let ether = i.kind == IfKind::Ethernet;
        if m.flags() & flags::CSUM_PARTIAL != 0 {
            let caps = i.enabled_tx;
            if m.meta().gso_type != 0 {
                if !gso::takes(caps, &m, ether) {
                    return self.transmit_cut::<TAPPED>(ifindex, ether, caps, m);
                }
            } else if caps & gso::checksum_cap(&m, ether) == 0 {
                Cx::finish_checksum(&mut m);
            }
        }
        if ether && m.len() < MIN_FRAME {
            match ether::pad(cx, m) {
                Some(x) => m = x,
                None => return,
            }
        }
        m.set_ifindex(ifindex);
        if TAPPED {
            Shard::tap_out(taps, cx, i, &m, None);
        }
        enqueue(i, m);
    }

    /// Cuts a super-segment that the device does not take. Taps see it whole.
    fn transmit_cut<const TAPPED: bool>(&mut self, ifindex: u32, ether: bool, caps: u32, mut m: Mbuf) {
        m.set_ifindex(ifindex);
        let Shard { cx, net, taps, .. } = self;
        let Some(i) = net.iface_io(ifindex) else { return cx.drop(m, Why::IfDown) };
        if TAPPED {
            Shard::tap_out(taps, cx, i, &m, None);
        }
        let Cx { mbufs, counters, .. } = cx;
        let done = gso::cut(
            &m,
            ether,
            caps,
            |n| mbufs.alloc_len(n.max(MIN_FRAME)),
            |mut p| {
                if ether && p.len() < MIN_FRAME {
                    let n = MIN_FRAME - p.len();
                    p.append(n).into_iter().for_each(|pad| pad.fill(0));
                }
                enqueue(i, p);
            },
        );
        match done {
            Ok(n) if n == gso::whole(&m, ether) => {}
            Ok(_) => counters.dropped(Why::NoMemory),
            Err(_) => counters.dropped(Why::BadOffload),
        }
        cx.mbufs.free(m);
    }

    /// Interfaces that have frames for their device, in order of index.
    pub fn tx_ready(&self) -> impl Iterator<Item = u32> {
        self.net.interfaces().filter(|i| !i.tx.is_empty()).map(|i| i.index)
    }

    /// Moves all frames of an interface to the end of `out`; returns how many.
    pub fn take_frames(&mut self, ifindex: u32, out: &mut Vec<Mbuf>) -> usize {
        self.take_frames_max(ifindex, usize::MAX, out)
    }

    /// As [`Shard::take_frames`], at most `max` of them: the rest waits until the device has room.
    pub fn take_frames_max(&mut self, ifindex: u32, max: usize, out: &mut Vec<Mbuf>) -> usize {
        let Some(i) = self.net.iface_io(ifindex) else { return 0 };
        let n = i.tx.len().min(max);
        if n == i.tx.len() && out.is_empty() {
            // All of them: the two change their memory.
            let full = Vec::from(core::mem::take(&mut i.tx));
            i.tx = VecDeque::from(core::mem::replace(out, full));
        } else {
            out.extend(i.tx.drain(..n));
        }
        n
    }

    /// Packets that wait on loopback.
    pub(crate) fn loop_len(&self) -> usize {
        self.loopq.len()
    }

    /// When [`Shard::turn`] wants to be called next without other cause; a time that is past: at once.
    pub fn deadline(&self) -> Instant {
        let told = self.cx.rt.is_empty();
        if !told || !self.loopq.is_empty() || !self.cx.down.is_empty() || !self.cx.frames.is_empty() {
            return Instant::ZERO;
        }
        let d = self.domains.iter().map(|d| d.deadline()).min().unwrap_or(Instant::FAR);
        d.min(self.net.neigh.deadline()).min(self.net.pmtu.deadline()).min(self.sockets.deadline())
    }
}

/// A frame to the queue of its device. Higher priorities overtake lower ones, within one the order stays. Nearly all
/// have none.
#[inline]
fn enqueue(i: &mut Interface, m: Mbuf) {
    ether::count_output(i, &m);
    let p = m.priority();
    if p == 0 || i.tx.back().is_none_or(|last| last.priority() >= p) {
        return i.tx.push_back(m);
    }
    let at = i.tx.iter().rposition(|x| x.priority() >= p).map_or(0, |x| x + 1);
    i.tx.insert(at, m);
}
