//! The stack on packet thread 0: the shard, the socket server, and the devices as the shard sees them.

use crate::device::Slot;
use crate::env::Env;
use crate::msg::{Ends, RING, Said, Ticket, ToControl, ToPacket};
use crate::packet::{FIRST_DEVICE, TAG_SERVER};
use crate::spin::Answers;
use iopkt_base::{Errno, Instant, Rng};
use iopkt_ctl::{IfKind, LinkState, Reply};
use iopkt_loader::{Device, Inlet, Link, changed};
use iopkt_mbuf::Mbuf;
use iopkt_slog::Severity;
use iopkt_sockhost::{Service, ServiceConfig};
use iopkt_stack::{DevOp, IfAttach, Note, Shard, Why};
use iopkt_sys::{Epoll, Event};
use rtrb::{Consumer, Producer, RingBuffer};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Packets taken out of one ring in a turn.
const PULL: usize = 256;
/// Events taken at a look for answers.
const ANSWERS: usize = 64;

/// A device as the shard sees it.
struct Ref {
    num: u32,
    ifindex: u32,
    thread: usize,
    far: Option<Far>,
}

/// The shard's half of what joins it to a device on another thread.
struct Far {
    rx: Consumer<Mbuf>,
    tx: Producer<Mbuf>,
    starved: Arc<AtomicBool>,
}

/// An interface that has been made for a device.
pub(crate) struct Made {
    pub num: u32,
    pub ifindex: u32,
    pub name: String,
    /// For a device of another thread.
    pub ends: Option<Ends>,
}

/// The stack.
pub(crate) struct Stack {
    shard: Shard,
    service: Service,
    refs: Vec<Ref>,
    next: u32,
    /// Take fresh randomness in every turn (`random`).
    reseed: bool,
    rx: Vec<Mbuf>,
    /// Stack modules.
    modules: Vec<Inlet>,
    /// By packet thread: it has something to send.
    wake: Vec<bool>,
    more: bool,
    answers: Answers,
}

impl Stack {
    /// The shard, serving programs that connect to `listener`; `epoll` is that of packet thread 0.
    pub(crate) fn new(
        shard: Shard,
        listener: OwnedFd,
        epoll: &Epoll,
        reseed: bool,
        threads: usize,
        recv: usize,
    ) -> std::io::Result<Stack> {
        let cfg = ServiceConfig { recv, ..ServiceConfig::default() };
        let service = Service::new(listener, epoll, TAG_SERVER, cfg)?;
        Ok(Stack {
            shard,
            service,
            refs: Vec::new(),
            next: FIRST_DEVICE,
            reseed,
            rx: Vec::new(),
            modules: Vec::new(),
            wake: vec![false; threads],
            more: true,
            answers: Answers::default(),
        })
    }

    /// Device nodes get names in this directory.
    pub(crate) fn nodes_in(&mut self, env: &Env, dir: std::path::PathBuf) {
        let shown = dir.display().to_string();
        if let Err(e) = self.service.nodes_in(dir) {
            env.log(Severity::Warning, &format!("no device nodes (bpf, tun, tap) in {shown}: {e}"));
        }
    }

    /// An event of the socket server's.
    pub(crate) fn event(&mut self, e: &Event) {
        self.service.event(e);
    }

    /// Begins a turn.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.shard.begin(now);
        self.more = false;
        if self.reseed {
            // Without fresh randomness the stream goes on from where it is.
            if let Ok(seed) = iopkt_sys::random::u64() {
                self.shard.cx.rng = Rng::new(seed);
            }
        }
    }

    /// Microseconds that packet threads may look before they sleep; the others are told.
    pub(crate) fn busy_poll(&self, env: &Env) -> u32 {
        let us = self.shard.busy_poll();
        env.busy_poll.store(us, Ordering::Relaxed);
        us
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.shard.deadline().min(self.service.deadline())
    }

    /// Packets that a device received.
    pub(crate) fn input(&mut self, ifindex: u32, rx: &mut Vec<Mbuf>) {
        if !rx.is_empty() {
            self.shard.input(ifindex, rx);
        }
    }

    /// What a driver said.
    pub(crate) fn heard(&mut self, ifindex: u32, said: Option<Said>) {
        let Some(s) = said else { return };
        if let Some(i) = self.shard.net.iface_mut(ifindex) {
            i.counters.ierrors += s.ierrors;
            i.counters.iqdrops += s.iqdrops;
            i.counters.oerrors += s.oerrors;
            i.counters.collisions += s.collisions;
            if let Some(caps) = s.caps {
                (i.enabled_rx, i.enabled_tx) = caps;
            }
            if let Some(media) = s.media {
                i.media_now = media;
            }
        }
        if let Some(l) = s.link {
            self.shard.link_changed(ifindex, state(&l), (l.speed_rx, l.speed_tx), l.full_duplex);
        }
    }

    /// Makes an interface for a device.
    pub(crate) fn attach(&mut self, env: &Env, d: &Device, thread: usize) -> Result<Made, Errno> {
        let ifindex = self.shard.attach(describe(d))?;
        let name = self.shard.net.ifname(ifindex).unwrap_or("").to_owned();
        let num = self.next;
        self.next += 1;
        let (far, ends) = if thread == 0 { (None, None) } else { join() };
        self.refs.push(Ref { num, ifindex, thread, far });
        env.log(Severity::Info, &format!("{name}: {} (packet thread {thread})", d.description().text));
        Ok(Made { num, ifindex, name, ends })
    }

    /// Takes a device's interface away; returns its packet thread.
    pub(crate) fn forget(&mut self, env: &Env, num: u32) -> Option<usize> {
        let i = self.refs.iter().position(|r| r.num == num)?;
        let r = self.refs.remove(i);
        let name = self.shard.net.ifname(r.ifindex).unwrap_or("").to_owned();
        if let Err(e) = self.shard.detach(r.ifindex) {
            env.log(Severity::Error, &format!("{name}: detach: {e}"));
        }
        Some(r.thread)
    }

    /// Number and packet thread of the device behind an interface name (or alias).
    pub(crate) fn device_of(&self, name: &str) -> Option<(u32, usize)> {
        let ifindex = self.shard.net.ifindex_of(name);
        self.refs.iter().find(|r| r.ifindex == ifindex).map(|r| (r.num, r.thread))
    }

    fn find(&self, num: u32) -> Option<&Ref> {
        self.refs.iter().find(|r| r.num == num)
    }

    /// A message that is the stack's.
    pub(crate) fn message(&mut self, env: &Env, slots: &mut [Slot], m: ToPacket) {
        match m {
            ToPacket::BindFailed { num } => {
                self.forget(env, num);
            }
            ToPacket::Said { num, said } => {
                if let Some(ifindex) = self.find(num).map(|r| r.ifindex) {
                    self.heard(ifindex, Some(said));
                }
            }
            ToPacket::NicInfo { name, ticket } => self.nicinfo(env, slots, name, ticket),
            ToPacket::Variable { name, value } => self.shard.set_host_variable(name, value),
            ToPacket::Answer { ticket, reply } => self.service.answer(ticket, &reply),
            ToPacket::Ask { request, reply } => {
                let r = self.shard.ctl(&request).unwrap_or_else(|| Reply::err(Errno::ENOSYS));
                let _ = reply.send(r);
            }
            ToPacket::Listen { inlet, ifindex, ethertype, on, reply } => {
                let (l, who) = (&mut self.shard.listeners, inlet.id().0);
                let r = if on { l.add(who, ifindex, ethertype) } else { l.remove(who, ifindex, ethertype) };
                let _ = reply.send(r);
            }
            ToPacket::Module { inlet, arrives } => {
                self.shard.listeners.remove_all(inlet.id().0);
                self.modules.retain(|m| m.id() != inlet.id());
                if arrives {
                    self.modules.push(inlet);
                }
            }
            ToPacket::Output { inlet, ifindex, frames } => {
                inlet.sent(frames.len());
                self.shard.cx.frames.extend(frames.into_iter().map(|m| (ifindex, m)));
            }
            _ => {}
        }
    }

    fn nicinfo(&mut self, env: &Env, slots: &mut [Slot], name: Option<String>, ticket: Ticket) {
        let want = name.as_deref().map(|n| self.shard.net.ifindex_of(n));
        let list: Vec<&Ref> = self.refs.iter().filter(|r| want.is_none_or(|w| w == r.ifindex)).collect();
        if let (Some(name), true) = (name, list.is_empty()) {
            return env.tell_control(ToControl::NoDevice { name, ticket });
        }
        env.tell_control(ToControl::NicInfoCount { ticket, count: list.len() });
        for r in list {
            let name = self.shard.net.ifname(r.ifindex).unwrap_or("").to_owned();
            if r.thread != 0 {
                env.tell_packet(r.thread, ToPacket::NicInfoOf { num: r.num, name, ticket });
                continue;
            }
            let info = slots.iter_mut().find(|s| s.num == r.num).and_then(|s| s.nicinfo(name));
            env.tell_control(ToControl::NicInfo { ticket, info });
        }
    }

    /// The stack's part of a turn: what other threads received, requests and data of programs, timers, output.
    /// Says whether there is more to do at once. Events of devices that it comes across go to `late`.
    pub(crate) fn turn(
        &mut self,
        env: &Env,
        slots: &mut [Slot],
        epoll: &Epoll,
        late: &mut Vec<Event>,
    ) -> std::io::Result<bool> {
        self.pull();
        self.more |= self.service.turn(&mut self.shard);
        if self.service.gave() && self.answers.looks() {
            self.look_for_answers(epoll, late)?;
        }
        self.shard.turn();
        // What the turn brought goes to its programs at once, and their answers out: another round through
        // the kernel for it would be a wait that finds nothing. Once only, so that a turn ends.
        if !self.shard.cx.events.is_empty() {
            self.more |= self.service.turn(&mut self.shard);
            self.shard.turn();
        }
        self.more |= self.service.frames(&mut self.shard);
        while let Some((ticket, request)) = self.service.next_asked() {
            env.tell_control(ToControl::Ctl { ticket, request: Box::new(request) });
        }
        self.more |= !self.shard.cx.events.is_empty();
        self.orders(env, slots);
        self.notes(env);
        self.overheard();
        self.push(slots);
        self.more |= self.service.settle();
        for (n, w) in self.wake.iter_mut().enumerate() {
            if std::mem::take(w) {
                env.packet[n].waker.wake();
            }
        }
        Ok(std::mem::take(&mut self.more))
    }

    /// Takes what programs have written since they were given something in this turn.
    fn look_for_answers(&mut self, epoll: &Epoll, late: &mut Vec<Event>) -> std::io::Result<()> {
        epoll.wait(late, ANSWERS, Some(std::time::Duration::ZERO))?;
        let before = late.len();
        late.retain(|e| {
            let ours = (e.token >> 56) as u8 == TAG_SERVER;
            if ours {
                self.service.event(e);
            }
            !ours
        });
        let any = late.len() < before;
        self.answers.found(any);
        if any {
            self.more |= self.service.turn(&mut self.shard);
            // Said once; what is given now is for the next turn.
            let _ = self.service.gave();
        }
        Ok(())
    }

    /// Packets that other threads received.
    fn pull(&mut self) {
        for r in &mut self.refs {
            let Some(far) = &mut r.far else { continue };
            while self.rx.len() < PULL {
                match far.rx.pop() {
                    Ok(m) => self.rx.push(m),
                    Err(_) => break,
                }
            }
            self.more |= !far.rx.is_empty();
            if !self.rx.is_empty() {
                self.shard.input(r.ifindex, &mut self.rx);
            }
        }
    }

    /// Orders for devices.
    fn orders(&mut self, env: &Env, slots: &mut [Slot]) {
        for op in self.shard.cx.dev_ops.drain(..) {
            let ifindex = match &op {
                DevOp::Start(i) | DevOp::Stop(i) | DevOp::Mtu(i, _) => *i,
                DevOp::Media(i, _) | DevOp::Flags(i, _) => *i,
                DevOp::Filter { ifindex, .. } | DevOp::Caps { ifindex, .. } => *ifindex,
            };
            let Some(r) = self.refs.iter().find(|r| r.ifindex == ifindex) else { continue };
            if r.thread != 0 {
                env.tell_packet(r.thread, ToPacket::Order { num: r.num, op });
            } else if let Some(s) = slots.iter_mut().find(|s| s.num == r.num) {
                s.order(env, &op);
                self.more = true; // it may have spoken
            }
        }
    }

    fn notes(&mut self, env: &Env) {
        for n in self.shard.cx.notes.drain(..) {
            let (ifindex, what) = match n {
                Note::Log(severity, text) => {
                    env.log(Severity::of(severity), &text);
                    continue;
                }
                Note::IfInfo(i) => (i, changed::STATE),
                Note::NewAddr(i) | Note::DelAddr(i) => (i, changed::ADDRS),
                Note::IfAnnounce(i, true) => (i, changed::ARRIVED),
                Note::IfAnnounce(i, false) => (i, changed::DEPARTED),
            };
            self.modules.iter().for_each(|m| m.changed(ifindex, what));
        }
    }

    /// Frames that modules listen to.
    fn overheard(&mut self) {
        while let Some((who, m)) = self.shard.cx.heard.pop_front() {
            if let Some(to) = self.modules.iter().find(|m| m.id().0 == who)
                && let Err(m) = to.deliver(m)
            {
                self.shard.cx.drop(m, Why::ListenerFull);
            }
        }
    }

    /// Frames to the devices, as far as they have room.
    fn push(&mut self, slots: &mut [Slot]) {
        for r in &mut self.refs {
            let Some(i) = self.shard.net.iface_mut(r.ifindex).filter(|i| !i.tx.is_empty()) else { continue };
            match &mut r.far {
                None => {
                    if let Some(s) = slots.iter_mut().find(|s| s.num == r.num) {
                        self.more |= s.transmit(&mut i.tx);
                    }
                }
                Some(far) => {
                    while let Some(m) = i.tx.pop_front() {
                        if far.tx.is_full() {
                            far.starved.store(true, Ordering::Release);
                            if far.tx.is_full() {
                                i.tx.push_front(m);
                                break;
                            }
                        }
                        if let Err(rtrb::PushError::Full(m)) = far.tx.push(m) {
                            i.tx.push_front(m);
                            break;
                        }
                    }
                    self.wake[r.thread] = true;
                }
            }
        }
    }
}

fn join() -> (Option<Far>, Option<Ends>) {
    let (rx_in, rx_out) = RingBuffer::new(RING);
    let (tx_in, tx_out) = RingBuffer::new(RING);
    let starved = Arc::new(AtomicBool::new(false));
    let far = Far { rx: rx_out, tx: tx_in, starved: starved.clone() };
    (Some(far), Some(Ends { rx: rx_in, tx: tx_out, starved }))
}

fn state(l: &Link) -> LinkState {
    match l.up {
        Some(true) => LinkState::Up,
        Some(false) => LinkState::Down,
        None => LinkState::Unknown,
    }
}

/// A device in the shard's words.
fn describe(d: &Device) -> IfAttach {
    let (desc, driver) = (d.description(), d.driver());
    IfAttach {
        prefix: desc.prefix.clone(),
        name: driver.options().name.clone(),
        unit: driver.options().unit.or(desc.unit),
        kind: if desc.ether { IfKind::Ethernet } else { IfKind::PointToPoint },
        mac: desc.mac,
        mtu: desc.mtu,
        max_mtu: desc.mtu_max,
        caps_rx: desc.caps_rx,
        caps_tx: desc.caps_tx,
        caps_on: desc.caps_on,
        media: desc.media,
        media_words: desc.media_words.clone(),
        shim: desc.legacy,
        link: state(&desc.link),
        speed_rx: desc.link.speed_rx,
        speed_tx: desc.link.speed_tx,
        full_duplex: desc.link.full_duplex,
        driver: driver.info().name.clone(),
    }
}
