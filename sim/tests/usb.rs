//! The whole way over USB in virtual time: a shard, the machine of devnp-ecm or devnp-ncm, USB/IP bytes in pieces, the
//! simulated modem, a faulty link, another shard. TCP gets through whatever stalls, tears, babbles and is pulled out,
//! and whatever blocks of frames look like.

use iopkt_base::{Duration, Instant, Rng};
use iopkt_ctl::LinkState;
use iopkt_gadget::faults::{Fault, LinkFaults, NtbFault};
use iopkt_gadget::modem::{ModemConfig, NcmConfig};
use iopkt_gadget::{Device, Event, Modem, Outside};
use iopkt_sim::{Faults, Flow, Host, Link, for_seeds, sa};
use iopkt_stack::Config;
use iopkt_usbip::cdc;
use iopkt_usbip::client::{Client, Event as ClientEvent, Limits};
use iopkt_usbip::ncm::{self, Format};
use iopkt_usbip::server::{self, Replies, Request, Session};
use iopkt_usbip::setup::Setup;
use iopkt_usbnet::machine::{Machine, NtbSetting, Setting, Up};
use std::collections::VecDeque;

/// A microframe of high speed: so often the bus moves bytes.
const FRAME: Duration = Duration::from_micros(125);
/// Frames that wait for the driver; more are lost, as in an interface's queue.
const QUEUE: usize = 512;
/// Turns without time passing after which the world is said to spin.
const SPIN: u32 = 10_000;

/// What the machine said since it was last asked.
#[derive(Default)]
struct Heard {
    frames: Vec<Vec<u8>>,
    link: Option<(bool, u64, u64)>,
    ready: bool,
    failed: Option<String>,
}

impl Up for Heard {
    fn frame(&mut self, b: &[u8], _: Option<[u8; 6]>) {
        self.frames.push(b.to_vec());
    }
    fn link(&mut self, up: bool, rx: u64, tx: u64) {
        self.link = Some((up, rx, tx));
    }
    fn tx_ready(&mut self) {
        self.ready = true;
    }
    fn errors(&mut self, _: u64, _: u64) {}
    fn say(&mut self, _: bool, _: String) {}
    fn failed(&mut self, why: String) {
        self.failed = Some(why);
    }
}

/// What the device reaches: the session if there is one, the far side, the bus.
struct Out<'a> {
    replies: Option<&'a mut Replies>,
    far: &'a mut Vec<Vec<u8>>,
    unplugged: &'a mut Option<bool>,
}

impl Outside for Out<'_> {
    fn complete(&mut self, seqnum: u32, status: i32, actual: usize, parts: &[&[u8]]) {
        if let Some(r) = &mut self.replies {
            r.complete(seqnum, status, actual, parts);
        }
    }
    fn frame(&mut self, f: &[u8]) {
        self.far.push(f.to_vec());
    }
    fn event(&mut self, e: Event) {
        if let Event::Unplug { torn } = e {
            *self.unplugged = Some(torn);
        }
    }
}

/// The driver's end of an imported device, and the USB stack's.
struct Plugged {
    m: Machine,
    s: Session,
    bulk: [u8; 3],
}

struct World {
    /// The modem's Ethernet function is an NCM one.
    blocks: bool,
    now: Instant,
    rng: Rng,
    hosts: Vec<Host>,
    device: Device<Modem>,
    plugged: Option<Plugged>,
    /// When it is plugged in again.
    replug: Instant,
    /// When the bus moves bytes next.
    bus: Instant,
    heard: Heard,
    queue: VecDeque<Vec<u8>>,
    full: bool,
    /// From the modem to the far host, and back.
    links: [Link; 2],
    /// Frames that the machine handed up, and bytes that crossed the bus.
    up: u64,
    bytes: u64,
    unplugs: u32,
    idle_turns: u32,
}

/// What fits of one side's bytes, perhaps less, goes to the other.
fn carry(rng: &mut Rng, from: &[u8], space: &mut [u8]) -> usize {
    let most = from.len().min(space.len());
    let n = if rng.chance(0.3) { most.min(1 + rng.below(3000) as usize) } else { most };
    space[..n].copy_from_slice(&from[..n]);
    n
}

impl World {
    fn new(seed: u64, blocks: bool) -> World {
        let now = Instant::from_millis(1000);
        let mut w = World {
            now,
            rng: Rng::new(seed ^ 0x05b),
            hosts: (1..=2).map(|n| Host::new(n, seed, now, Config::default())).collect(),
            device: Modem::device(ModemConfig {
                mac: [2, 0, 0, 0, 0, 1],
                seed,
                ncm: blocks.then(NcmConfig::default),
                ..ModemConfig::default()
            }),
            blocks,
            plugged: None,
            replug: now,
            bus: now,
            heard: Heard::default(),
            queue: VecDeque::new(),
            full: false,
            links: [1, 2].map(|i| Link::new(good(), seed ^ i << 40)),
            up: 0,
            bytes: 0,
            unplugs: 0,
            idle_turns: 0,
        };
        w.link(LinkState::Down, 0);
        w
    }

    fn link(&mut self, s: LinkState, speed: u64) {
        let h = &mut self.hosts[0];
        h.shard.begin(self.now);
        h.shard.link_changed(h.eth, s, (speed, speed), true);
    }

    /// Imports and configures the device, as the driver's control thread does, and starts the machine.
    fn plug(&mut self) {
        self.replug = Instant::FAR;
        let mut s = Session::new(server::Limits::default());
        let mut c = Client::import("1-1", Limits::default());
        let whole = &mut Rng::new(0);
        let n = carry(whole, c.tx(), s.space());
        c.tx_done(n);
        s.commit(n);
        let info = self.device.info("/sim", "1-1", 1, 2);
        match s.poll().expect("good stream") {
            Some((Request::Import(id), r)) if id == "1-1" => r.imported(Ok(&info)),
            other => panic!("{:?}", other.map(|o| o.0)),
        }
        while !s.tx().is_empty() {
            let n = carry(whole, s.tx(), c.space());
            s.tx_done(n);
            c.commit(n);
        }
        assert!(matches!(c.poll(), Ok(Some(ClientEvent::Imported(_)))));
        let description = self.device.describe();
        let config = description.configs().next().expect("one configuration").to_vec();
        let subclass = if self.blocks { ncm::SUBCLASS_NCM } else { cdc::SUBCLASS_ECM };
        let ecm = cdc::functions(&config, subclass).next().expect("an Ethernet function");
        let acm = cdc::functions(&config, cdc::SUBCLASS_ACM).next().filter(|_| self.rng.chance(0.5));
        c.control(99, Setup::set_configuration(ecm.config), &[]).expect("room");
        let (receive, transmit) = (1 + self.rng.below(16) as usize, 2 + self.rng.below(16) as usize);
        let set = Setting { receive, transmit, mc_filters: 0, ..Setting::new(ecm, acm) };
        let bulk = [ecm.bulk_in.addr, ecm.bulk_out.addr, ecm.notify.map_or(0, |n| n.addr)];
        let mut m = Machine::new(c, set);
        if self.blocks {
            let (params, caps) = (NcmConfig::default().params, NcmConfig::default().caps);
            let format = if self.rng.chance(0.5) { Format::Ntb16 } else { Format::Ntb32 };
            let (crc, frames, block) =
                (self.rng.chance(0.5), self.rng.below(20) as usize, 2048 + self.rng.below(20_000));
            m.use_blocks(NtbSetting { params, caps, format, crc, frames, block });
        }
        m.begin(self.now.as_nanos(), &mut self.heard);
        m.start(self.now.as_nanos(), &mut self.heard);
        self.full = false;
        self.plugged = Some(Plugged { m, s, bulk });
    }

    /// Pulls the plug; `torn` leaves a message incomplete. The interface stays, as with `ign_remove`.
    fn unplug(&mut self, torn: bool) {
        let Some(Plugged { mut m, s, .. }) = self.plugged.take() else { return };
        self.unplugs += 1;
        let tx = s.tx();
        let n = if torn && !tx.is_empty() { self.rng.below(tx.len() as u32) as usize } else { tx.len() };
        let n = n.min(m.space().len());
        m.space()[..n].copy_from_slice(&tx[..n]);
        m.commit(n);
        m.process(self.now.as_nanos(), &mut self.heard).expect("what came is whole as far as it goes");
        m.gone(&mut self.heard);
        assert!(!m.alive());
        self.device.detach();
        self.replug = self.now + Duration::from_millis(u64::from(self.rng.below(4000)));
    }

    /// The device does what was asked of it and what is due.
    fn serve(&mut self) {
        let World { device, plugged, links, now, .. } = self;
        let (mut far, mut unplugged) = (Vec::new(), None);
        if let Some(p) = plugged {
            while let Some((req, replies)) = p.s.poll().expect("the machine speaks USB/IP") {
                let mut out = Out { replies: Some(replies), far: &mut far, unplugged: &mut unplugged };
                match req {
                    Request::Submit(u, data) => device.submit(*now, &u, data, &mut out),
                    Request::Unlink(u) => {
                        let cancelled = device.unlink(u.victim);
                        replies.unlinked(u.seqnum, cancelled);
                    }
                    other => panic!("{other:?}"),
                }
                if unplugged.is_some() {
                    break;
                }
            }
        }
        let replies = plugged.as_mut().map(|p| p.s.replies());
        let mut out = Out { replies, far: &mut far, unplugged: &mut unplugged };
        if device.deadline() <= *now {
            device.tick(*now, &mut out);
        }
        let mut back = Vec::new();
        while let Some(f) = links[1].recv(*now) {
            back.push(f);
        }
        for f in back {
            device.frame(*now, &f, &mut out);
        }
        for f in far {
            links[0].send(*now, f);
        }
        if let Some(torn) = unplugged {
            self.unplug(torn);
        }
    }

    /// Bytes cross the bus both ways.
    fn cross(&mut self) {
        let World { plugged, rng, heard, bytes, now, .. } = self;
        let Some(Plugged { m, s, .. }) = plugged else { return };
        let n = carry(rng, m.tx(), s.space());
        m.tx_done(n);
        s.commit(n);
        *bytes += n as u64;
        let n = carry(rng, s.tx(), m.space());
        s.tx_done(n);
        m.commit(n);
        *bytes += n as u64;
        m.process(now.as_nanos(), heard).expect("the device speaks USB/IP");
    }

    /// The packet thread's turn at the near host.
    fn near(&mut self) {
        let heard = std::mem::take(&mut self.heard);
        self.full &= !heard.ready;
        if let Some((up, down, _)) = heard.link {
            self.link(if up { LinkState::Up } else { LinkState::Down }, down);
        }
        self.up += heard.frames.len() as u64;
        let World { hosts, queue, now, .. } = self;
        hosts[0].turn(*now, &heard.frames, |f| {
            assert!((60..=1514).contains(&f.len()), "a frame of {} bytes", f.len());
            if queue.len() < QUEUE {
                queue.push_back(f.to_vec());
            }
        });
        match &mut self.plugged {
            Some(p) => {
                if p.m.deadline() <= self.now.as_nanos() {
                    p.m.tick(self.now.as_nanos(), &mut self.heard);
                }
                while !self.full && !self.queue.is_empty() {
                    if p.m.send(self.now.as_nanos(), &self.queue[0], &mut self.heard) {
                        self.queue.pop_front();
                    } else {
                        self.full = true;
                    }
                }
                p.m.flush();
            }
            None => self.queue.clear(),
        }
        if heard.failed.is_some() {
            self.unplug(false);
        }
    }

    fn far(&mut self) {
        let World { hosts, links, now, .. } = self;
        let mut input = Vec::new();
        while let Some(f) = links[0].recv(*now) {
            input.push(f);
        }
        hosts[1].turn(*now, &input, |f| {
            links[1].send(*now, f.to_vec());
        });
    }

    fn waiting(&self) -> bool {
        self.plugged.as_ref().is_some_and(|p| !p.m.tx().is_empty() || !p.s.tx().is_empty())
    }

    fn deadline(&self) -> Instant {
        let heard = &self.heard;
        if heard.link.is_some() || !heard.frames.is_empty() || (heard.ready && !self.queue.is_empty()) {
            return self.now;
        }
        let bus = if self.waiting() { self.bus } else { Instant::FAR };
        let bus = self.plugged.as_ref().map_or(bus, |p| bus.min(Instant::from_nanos(p.m.deadline())));
        let hosts = self.hosts.iter().map(Host::deadline);
        let links = self.links.iter().map(Link::deadline);
        let all = hosts.chain(links).min().unwrap_or(Instant::FAR);
        all.min(bus).min(self.replug).min(self.device.deadline()).max(self.now)
    }

    /// Goes on until `each` says so, for at most `span`.
    fn run(&mut self, span: Duration, mut each: impl FnMut(&mut World) -> bool) -> bool {
        let end = self.now + span;
        loop {
            if each(self) {
                return true;
            }
            if self.replug <= self.now {
                self.plug();
            }
            if self.bus <= self.now {
                self.cross();
                self.bus = self.now + FRAME;
            }
            self.serve();
            self.near();
            self.far();
            let next = self.deadline();
            if next > end {
                self.now = end;
                return each(self);
            }
            self.idle_turns = if next > self.now { 0 } else { self.idle_turns + 1 };
            assert!(self.idle_turns < SPIN, "the world spins at {:?}", self.now);
            self.now = next;
        }
    }

    fn fault(&mut self, f: &Fault) {
        let World { device, plugged, links, now, .. } = self;
        let (mut far, mut unplugged) = (Vec::new(), None);
        let replies = plugged.as_mut().map(|p| p.s.replies());
        // An endpoint that is not selected now cannot be stalled: no harm.
        let _ = device.fault(*now, f, &mut Out { replies, far: &mut far, unplugged: &mut unplugged });
        for f in far {
            links[0].send(*now, f);
        }
        if let Some(torn) = unplugged {
            self.unplug(torn);
        }
    }

    /// Something goes wrong on the bus or on the link.
    fn mishap(&mut self) {
        let bulk = self.plugged.as_ref().map_or([0; 3], |p| p.bulk);
        let some = 1 + self.rng.below(3);
        if self.blocks && self.rng.chance(0.4) {
            let what = BAD[self.rng.below(BAD.len() as u32) as usize];
            return self.fault(&Fault::Ntb(what, some));
        }
        let f = match self.rng.below(14) {
            n @ 0..=2 => Fault::Stall { ep: bulk[n as usize], count: 1 },
            3 => Fault::Stall { ep: 0, count: some },
            4 => {
                Fault::Late { delay: Duration::from_millis(u64::from(1 + self.rng.below(300))), count: some }
            }
            5 => Fault::Short(some),
            6 => Fault::NoZlp(some),
            7 => Fault::Babble(some),
            8 | 9 => {
                let mut p = || f64::from(self.rng.below(40)) / 1000.0;
                let (drop, dup, reorder, corrupt) = (p(), p(), p(), p());
                Fault::Link(LinkFaults {
                    drop,
                    dup,
                    reorder,
                    corrupt,
                    delay: Duration::from_millis(some.into()),
                })
            }
            10 => Fault::Unplug { after: self.rng.below(40), torn: self.rng.chance(0.5) },
            11 => {
                let torn = self.rng.chance(0.5);
                return self.unplug(torn);
            }
            12 => {
                let f = Faults {
                    delay: Duration::from_millis(1 + u64::from(self.rng.below(30))),
                    loss: f64::from(self.rng.below(50)) / 1000.0,
                    corrupt: f64::from(self.rng.below(20)) / 1000.0,
                    reorder: f64::from(self.rng.below(50)) / 1000.0,
                    duplicate: f64::from(self.rng.below(50)) / 1000.0,
                    ..good()
                };
                return self.links.iter_mut().for_each(|l| l.faults = f);
            }
            _ => Fault::Clear,
        };
        self.fault(&f);
    }

    fn heal(&mut self) {
        self.fault(&Fault::Clear);
        self.fault(&Fault::Link(LinkFaults::default()));
        self.links.iter_mut().for_each(|l| l.faults = good());
    }

    fn check(&mut self) {
        self.hosts[0].check(self.up);
        self.hosts[1].check(self.links[0].delivered);
        let c = self.device.function().counters();
        let at_far = self.links[0].sent;
        assert!(
            c.from_host >= c.no_carrier && at_far <= 2 * (c.from_host + 1),
            "{c:?} and {at_far} at the far side"
        );
    }
}

/// What can be wrong with a block.
const BAD: [NtbFault; 10] = [
    NtbFault::Header,
    NtbFault::Sequence,
    NtbFault::Length,
    NtbFault::Table,
    NtbFault::Chain,
    NtbFault::Place,
    NtbFault::Datagram,
    NtbFault::Crc,
    NtbFault::Short,
    NtbFault::Oversize,
];

/// What the link is without mishaps: so slow that a transfer meets many of them.
fn good() -> Faults {
    Faults { delay: Duration::from_millis(5), rate: 2_000_000, queue: 100, ..Faults::default() }
}

/// A run; what it came to.
fn play(seed: u64, mishaps: u32, blocks: bool) -> (Instant, u64, u32) {
    let mut w = World::new(seed, blocks);
    let l = w.hosts[1].listen(80);
    w.run(Duration::from_secs(20), |_| false);
    let a = w.hosts[0].connect(sa(2, 80));
    let mut b = None;
    w.run(Duration::from_secs(60), |w| {
        let s = &mut w.hosts[1].shard;
        b = b.or_else(|| s.sockets.accept(&mut s.cx, l).ok().map(|x| x.0));
        b.is_some()
    });
    let b = b.expect("a connection over USB");
    w.hosts[1].close(l);
    let total = 50_000 + u64::from(w.rng.below(400_000));
    let mut flows = [Flow::new((0, a), (1, b), seed, total), Flow::new((1, b), (0, a), !seed, total * 2 / 3)];
    let mut step = |w: &mut World| {
        flows.iter_mut().for_each(|f| f.step(&mut w.hosts));
        flows.iter().all(Flow::done)
    };
    for _ in 0..mishaps {
        w.mishap();
        let ms = 1 + u64::from(w.rng.below(400));
        let done = w.run(Duration::from_millis(ms), &mut step);
        w.check();
        if done {
            break;
        }
    }
    w.heal();
    let done = w.run(Duration::from_secs(900), &mut step);
    assert!(done, "stuck at {:?}: {flows:?}", w.now);
    w.hosts[0].close(a);
    w.hosts[1].close(b);
    w.run(Duration::from_secs(600), |_| false);
    // Nothing to do, nothing done: not a byte crosses the bus.
    let (bytes, frames) = (w.bytes, w.links[0].sent + w.links[1].sent);
    w.run(Duration::from_secs(600), |_| false);
    assert_eq!((w.bytes, w.links[0].sent + w.links[1].sent), (bytes, frames), "an idle bus is used");
    w.check();
    assert!(w.hosts.iter().all(|h| h.shard.sockets.is_empty()), "sockets are left");
    let r = (w.now, w.bytes, w.unplugs);
    for Host { shard, pool, .. } in w.hosts {
        drop(shard);
        let s = pool.stats();
        assert_eq!((s.out, s.big_bytes), (0, 0), "buffers leaked");
    }
    r
}

#[test]
fn tcp_survives_the_bus() {
    let unplugs = std::cell::Cell::new(0);
    for_seeds(60, |seed| unplugs.set(unplugs.get() + play(seed, 40, false).2));
    assert!(unplugs.get() > 0, "nobody pulled the plug");
}

#[test]
fn tcp_survives_the_bus_in_blocks() {
    let unplugs = std::cell::Cell::new(0);
    for_seeds(60, |seed| unplugs.set(unplugs.get() + play(seed, 40, true).2));
    assert!(unplugs.get() > 0, "nobody pulled the plug");
}

#[test]
fn a_seed_is_a_run() {
    assert_eq!(play(3, 10, false), play(3, 10, false));
    assert_eq!(play(3, 10, true), play(3, 10, true));
}
