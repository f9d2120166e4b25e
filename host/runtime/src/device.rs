//! A device on its packet thread.

use crate::crash;
use crate::env::Env;
use crate::lanes::Seat;
use crate::msg::{Ends, Said, ToPacket};
use iopkt_base::Errno;
use iopkt_base::Instant;
use iopkt_ctl::{NicInfo, iff};
use iopkt_loader::{Bound, Device, Effects, Gone, Place};
use iopkt_mbuf::Mbuf;
use iopkt_slog::{Severity, major};
use iopkt_stack::{DevOp, gso};
use iopkt_sys::{Epoll, Event};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Frames taken out of a ring at a time.
const PULL: usize = 64;

/// One device and what joins it to the shard.
pub(crate) struct Slot {
    /// Number of the device; also the upper half of its event tokens.
    pub num: u32,
    pub ifindex: u32,
    pub name: String,
    pub dev: Box<Device>,
    /// Its place on this thread.
    pub seat: Seat,
    /// The watch knows its name.
    named: crate::watch::Named,
    /// Quiets the hardware when the process crashes.
    quiet: Option<crash::Registered>,
    /// Thread 0 knows that it has left.
    pub leaving: bool,
    /// The driver has no room for frames.
    pub full: bool,
    /// On the shard's own thread there is nothing between.
    pub ends: Option<Ends>,
    /// The device can finish checksums or cut: frames may come with that left to do.
    checksums: bool,
    /// Frames from the ring that the driver has not taken yet.
    queue: VecDeque<Mbuf>,
    fx: Effects,
    /// What the driver has refused, to be told with the rest.
    refused: Said,
    /// Received packets that the ring had no room for, to be told with the rest.
    lost: u64,
    /// `ifconfig IF debug`.
    debug: bool,
}

impl Slot {
    pub(crate) fn new(
        num: u32,
        ifindex: u32,
        name: String,
        dev: Box<Device>,
        seat: Seat,
        ends: Option<Ends>,
    ) -> Slot {
        Slot {
            num,
            ifindex,
            named: crate::watch::Named::new(num, &name),
            name,
            checksums: dev.description().caps_tx != 0,
            dev,
            seat,
            quiet: None,
            leaving: false,
            full: false,
            ends,
            queue: VecDeque::new(),
            fx: Effects::default(),
            refused: Said::default(),
            lost: 0,
            debug: false,
        }
    }

    /// Whether an event is this device's.
    pub(crate) fn owns(&self, e: &Event) -> bool {
        (e.token >> 32) as u32 == self.num
    }

    /// Binds the device to the calling thread.
    pub(crate) fn bind(&mut self, epoll: &Arc<Epoll>) -> Result<Bound, Errno> {
        let place = Place { epoll, token: self.num, ifindex: self.ifindex, name: &self.name };
        let b = crash::blame(self.num, &self.name, || self.dev.bind(place))?;
        self.quiet = self.dev.quiesce().and_then(|(f, dev)| crash::register(f, dev));
        Ok(b)
    }

    /// Ends the device: the driver gets it back.
    pub(crate) fn detach(self, why: Gone) {
        let Slot { num, name, dev, quiet, seat, named, .. } = self;
        drop((quiet, seat));
        crash::blame(num, &name, || dev.detach(why));
        drop(named);
    }

    /// One of its descriptors is ready.
    pub(crate) fn ready(&mut self, e: &Event) {
        crash::blame(self.num, &self.name, || self.dev.ready(e));
    }

    /// Runs its timer if it is due.
    pub(crate) fn tick(&mut self, now: Instant) {
        if self.deadline() <= now {
            crash::blame(self.num, &self.name, || self.dev.tick(now));
        }
    }

    /// An order of the shard.
    pub(crate) fn order(&mut self, env: &Env, op: &DevOp) {
        let (what, r) = crash::blame(self.num, &self.name, || match op {
            DevOp::Start(_) => {
                self.full = false;
                ("start", self.dev.start())
            }
            DevOp::Stop(_) => {
                self.dev.stop();
                self.full = false;
                self.queue.clear();
                ("stop", Ok(()))
            }
            DevOp::Filter { promisc, allmulti, groups, .. } => {
                ("receive filter", self.dev.filter(*promisc, *allmulti, groups))
            }
            DevOp::Mtu(_, mtu) => ("mtu", self.dev.set_mtu(*mtu)),
            DevOp::Caps { rx, tx, .. } => {
                let r = self.dev.set_caps(*rx, *tx);
                self.refused.caps = r.is_err().then(|| self.dev.caps());
                ("capabilities", r)
            }
            DevOp::Media(_, media) => {
                let r = self.dev.set_media(*media);
                self.refused.media = r.is_err().then(|| self.dev.media());
                ("media", r)
            }
            DevOp::Flags(_, flags) => {
                self.debug = flags & iff::DEBUG != 0;
                self.dev.set_flags(*flags);
                ("flags", Ok(()))
            }
        });
        if let Err(e) = r {
            let text = format!("{}: {what}: the driver says {e}", self.name);
            env.sink.write(Severity::Error, major::NETWORK, 0, &text);
        } else if self.debug {
            // `ifconfig IF debug`: what the driver is told shows in the log.
            let text = format!("{}: debug: {op:?}", self.name);
            env.sink.write(Severity::Debug1, major::NETWORK, 0, &text);
        }
    }

    /// Takes what the driver has said. Received packets are appended to `rx`; the rest comes back, if any.
    pub(crate) fn collect(&mut self, rx: &mut Vec<Mbuf>) -> Option<Said> {
        self.dev.take_effects(&mut self.fx);
        let fx = &mut self.fx;
        rx.append(&mut fx.rx);
        if std::mem::take(&mut fx.tx_ready) {
            self.full = false;
        }
        let said = Said {
            link: fx.link.take(),
            ierrors: std::mem::take(&mut fx.ierrors),
            iqdrops: std::mem::take(&mut fx.iqdrops) + std::mem::take(&mut self.lost),
            oerrors: std::mem::take(&mut fx.oerrors),
            collisions: std::mem::take(&mut fx.collisions),
            caps: self.refused.caps.take(),
            media: self.refused.media.take(),
        };
        let refused = said.caps.is_some() || said.media.is_some();
        let news = refused
            || said.link.is_some()
            || said.ierrors + said.iqdrops + said.oerrors + said.collisions > 0;
        news.then_some(said)
    }

    /// Gives frames of `q` to the driver while it takes them. True when it has become full: it may have said
    /// in the same call that it has room again, so look at it once more.
    pub(crate) fn transmit(&mut self, q: &mut VecDeque<Mbuf>) -> bool {
        let before = self.full;
        if self.checksums {
            self.finish_offloads(q);
        }
        while !self.full && !q.is_empty() {
            let sent = crash::blame(self.num, &self.name, || self.dev.transmit(q));
            self.full = sent.full;
            if sent.packets == 0 {
                break;
            }
        }
        self.full && !before
    }

    /// Frames that wait since before a capability was disabled (or until it is enabled) still count on it.
    fn finish_offloads(&self, q: &mut VecDeque<Mbuf>) {
        let ((_, tx), ether) = (self.dev.caps(), self.dev.description().ether);
        if q.iter().all(|m| gso::takes(tx, m, ether)) {
            return;
        }
        let mut cache = self.dev.pool().cache(0);
        for mut m in std::mem::take(q) {
            if m.meta().gso_type != 0 && !gso::takes(tx, &m, ether) {
                // A piece for which there is no memory is lost like any other frame.
                let _ = gso::cut(&m, ether, tx, |n| cache.alloc_len(n), |p| q.push_back(p));
                continue;
            }
            if !gso::takes(tx, &m, ether) {
                iopkt_stack::Cx::finish_checksum(&mut m);
            }
            q.push_back(m);
        }
    }

    /// Whether the user may destroy it.
    pub(crate) fn may_destroy(&mut self) -> Result<(), (Errno, String)> {
        crash::blame(self.num, &self.name, || self.dev.may_destroy())
    }

    /// On another thread than the shard's: hands received packets over and sends what the shard has put
    /// into the ring. Says whether the shard must be woken, and whether frames are left that could go on.
    pub(crate) fn exchange(&mut self, rx: &mut Vec<Mbuf>) -> (bool, bool) {
        let Some(ends) = &mut self.ends else { return (false, false) };
        let mut wake = !rx.is_empty();
        for m in rx.drain(..) {
            if ends.rx.push(m).is_err() {
                self.lost += 1;
            }
        }
        let lost = self.lost > 0; // another turn tells it
        let mut more = lost;
        if !self.full {
            while self.queue.len() < PULL {
                match ends.tx.pop() {
                    Ok(m) => self.queue.push_back(m),
                    Err(_) => break,
                }
            }
            more = lost || !ends.tx.is_empty();
            if ends.starved.swap(false, Ordering::AcqRel) {
                wake = true;
            }
            let mut q = std::mem::take(&mut self.queue);
            let filled = self.transmit(&mut q);
            self.queue = q;
            more = lost || filled || (more && !self.full);
        }
        (wake, more)
    }

    /// When the driver's timer runs out.
    pub(crate) fn deadline(&self) -> Instant {
        self.dev.deadline()
    }

    /// What the driver knows of the hardware.
    pub(crate) fn nicinfo(&mut self, name: String) -> Option<NicInfo> {
        let fields = match crash::blame(self.num, &self.name, || self.dev.nicinfo()) {
            Ok(f) => f,
            Err(Errno::EOPNOTSUPP) => Vec::new(),
            Err(_) => return None,
        };
        Some(NicInfo { ifname: name, description: self.dev.description().text.clone(), fields })
    }
}

/// Tells thread 0 what a driver on another thread said.
pub(crate) fn forward(env: &Env, num: u32, said: Option<Said>, departs: bool) {
    if let Some(said) = said {
        env.tell_packet(0, ToPacket::Said { num, said });
    }
    if departs {
        env.tell_packet(0, ToPacket::Departed { num });
    }
}
