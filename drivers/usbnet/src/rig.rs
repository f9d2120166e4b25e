//! The rig of the tests: the machine and the simulated modem, in memory and in virtual time.

use crate::find::{self, Want};
use crate::machine::{Machine, Setting, Up};
use iopkt_base::{Duration, Instant};
use iopkt_gadget::faults::{Fault, parse};
use iopkt_gadget::modem::{ModemConfig, Odd};
use iopkt_gadget::{Device, Event, Modem, Outside};
use iopkt_usbip::cdc;
use iopkt_usbip::client::{Client, Event as ClientEvent, Limits};
use iopkt_usbip::server::{self, Replies, Request, Session};
use iopkt_usbip::setup::Setup;

/// What the machine said.
#[derive(Default)]
pub(crate) struct Heard {
    pub(crate) frames: Vec<Vec<u8>>,
    pub(crate) dst: Vec<Option<[u8; 6]>>,
    pub(crate) link: Option<(bool, u64, u64)>,
    pub(crate) ready: u32,
    pub(crate) errors: (u64, u64),
    pub(crate) said: Vec<String>,
    pub(crate) failed: Option<String>,
}

impl Up for Heard {
    fn frame(&mut self, b: &[u8], dst: Option<[u8; 6]>) {
        self.frames.push(b.to_vec());
        self.dst.push(dst);
    }
    fn link(&mut self, up: bool, rx: u64, tx: u64) {
        self.link = Some((up, rx, tx));
    }
    fn tx_ready(&mut self) {
        self.ready += 1;
    }
    fn errors(&mut self, rx: u64, tx: u64) {
        self.errors.0 += rx;
        self.errors.1 += tx;
    }
    fn say(&mut self, _: bool, text: String) {
        self.said.push(text);
    }
    fn failed(&mut self, why: String) {
        self.failed = Some(why);
    }
}

pub(crate) struct Out<'a> {
    replies: &'a mut Replies,
    pub(crate) far: &'a mut Vec<Vec<u8>>,
    pub(crate) unplugged: &'a mut bool,
}

impl Outside for Out<'_> {
    fn complete(&mut self, seqnum: u32, status: i32, actual: usize, parts: &[&[u8]]) {
        self.replies.complete(seqnum, status, actual, parts);
    }
    fn frame(&mut self, f: &[u8]) {
        self.far.push(f.to_vec());
    }
    fn event(&mut self, e: Event) {
        *self.unplugged |= matches!(e, Event::Unplug { .. });
    }
}

pub(crate) struct Rig {
    pub(crate) m: Machine,
    pub(crate) s: Session,
    pub(crate) d: Device<Modem>,
    pub(crate) now: Instant,
    pub(crate) heard: Heard,
    pub(crate) far: Vec<Vec<u8>>,
    pub(crate) unplugged: bool,
}

/// Everything that one side wrote reaches the other.
pub(crate) fn carry(from: &[u8], space: &mut [u8]) -> usize {
    let n = from.len().min(space.len());
    space[..n].copy_from_slice(&from[..n]);
    n
}

impl Rig {
    pub(crate) fn new(transmit: usize, acm: bool) -> Rig {
        Rig::odd(&[], acm, |s| s.transmit = transmit)
    }

    /// With a modem that has these oddities, and a setting changed from the default.
    pub(crate) fn odd(odd: &[Odd], acm: bool, change: impl FnOnce(&mut Setting)) -> Rig {
        let d = Modem::device(ModemConfig { odd: odd.to_vec(), ..ModemConfig::default() });
        let mut s = Session::new(server::Limits::default());
        let mut c = Client::import("1-1", Limits::default());
        c_to_s(&mut c, &mut s);
        let info = d.info("/sim", "1-1", 1, 2);
        match s.poll().expect("good stream") {
            Some((Request::Import(id), r)) if id == "1-1" => r.imported(Ok(&info)),
            other => panic!("{:?}", other.map(|o| o.0)),
        }
        s_to_c(&mut s, &mut c);
        assert!(matches!(c.poll(), Ok(Some(ClientEvent::Imported(_)))));
        let description = d.describe();
        let config = description.configs().next().expect("one configuration").to_vec();
        let found = find::function(&config, &Want::cdc(cdc::SUBCLASS_ECM)).expect("usable");
        let ecm = found.expect("an ECM function").function;
        let serial = cdc::functions(&config, cdc::SUBCLASS_ACM).next().filter(|_| acm);
        c.control(99, Setup::set_configuration(ecm.config), &[]).expect("room");
        let mut set = Setting { receive: 8, mac: d.function().mac(), ..Setting::new(ecm, serial) };
        change(&mut set);
        let mut r = Rig {
            m: Machine::new(c, set),
            s,
            d,
            now: Instant::from_millis(1),
            heard: Heard::default(),
            far: Vec::new(),
            unplugged: false,
        };
        r.m.begin(r.now.as_nanos(), &mut r.heard);
        r.run();
        r
    }

    pub(crate) fn up() -> Rig {
        let mut r = Rig::new(64, true);
        r.m.start(r.now.as_nanos(), &mut r.heard);
        r.run();
        r
    }

    /// Moves bytes both ways until nothing moves; timers of the device fire as far as `now` goes.
    pub(crate) fn run(&mut self) {
        for _ in 0..1000 {
            let mut moved = false;
            let n = carry(self.m.tx(), self.s.space());
            self.m.tx_done(n);
            self.s.commit(n);
            moved |= n > 0;
            let Rig { s, d, far, unplugged, now, .. } = self;
            while let Some((req, replies)) = s.poll().expect("the machine speaks USB/IP") {
                let mut out = Out { replies, far, unplugged };
                match req {
                    Request::Submit(u, data) => d.submit(*now, &u, data, &mut out),
                    Request::Unlink(u) => {
                        let cancelled = d.unlink(u.victim);
                        out.replies.unlinked(u.seqnum, cancelled);
                    }
                    other => panic!("{other:?}"),
                }
            }
            if d.deadline() <= *now {
                d.tick(*now, &mut Out { replies: s.replies(), far, unplugged });
            }
            let n = carry(self.s.tx(), self.m.space());
            self.s.tx_done(n);
            self.m.commit(n);
            moved |= n > 0;
            self.m.process(self.now.as_nanos(), &mut self.heard).expect("the device speaks USB/IP");
            // A device that has failed is ended by its surroundings.
            if self.heard.failed.is_some() || (!moved && self.m.tx().is_empty()) {
                return;
            }
        }
        panic!("it does not come to rest");
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, d: Duration) {
        let end = self.now + d;
        loop {
            let m = self.m.deadline();
            let next = self.d.deadline().min(Instant::from_nanos(m));
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            if m <= self.now.as_nanos() {
                self.m.tick(self.now.as_nanos(), &mut self.heard);
            }
            self.run();
        }
        self.now = end;
        self.run();
    }

    pub(crate) fn far_sends(&mut self, f: &[u8]) {
        let Rig { s, d, far, unplugged, now, .. } = self;
        d.frame(*now, f, &mut Out { replies: s.replies(), far, unplugged });
        self.run();
    }

    pub(crate) fn fault(&mut self, words: &str) {
        let words: Vec<&str> = words.split_whitespace().collect();
        let f: Fault = parse(&words).expect("a fault");
        let Rig { s, d, far, unplugged, now, .. } = self;
        d.fault(*now, &f, &mut Out { replies: s.replies(), far, unplugged }).expect("taken");
        self.run();
    }
}

pub(crate) fn c_to_s(c: &mut Client, s: &mut Session) {
    let n = carry(c.tx(), s.space());
    c.tx_done(n);
    s.commit(n);
}

pub(crate) fn s_to_c(s: &mut Session, c: &mut Client) {
    let n = carry(s.tx(), c.space());
    s.tx_done(n);
    c.commit(n);
}

pub(crate) fn frame(len: usize, mark: u8) -> Vec<u8> {
    let mut f = vec![mark; len];
    f[..6].copy_from_slice(&[0xff; 6]);
    f
}

impl Rig {
    pub(crate) fn set_ep(&self, is_in: bool) -> u8 {
        let d = self.d.describe();
        let c = d.configs().next().expect("one configuration").to_vec();
        let f = cdc::functions(&c, cdc::SUBCLASS_ECM).next().expect("an ECM function");
        if is_in { f.bulk_in.addr } else { f.bulk_out.addr }
    }
}
