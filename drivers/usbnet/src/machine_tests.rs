//! The machine against the simulated modem, in memory and in virtual time: what a real bus does, in any order
//! of events, one step at a time.

use crate::machine::{Machine, Setting, Up};
use iopkt_base::{Duration, Instant};
use iopkt_gadget::faults::{Fault, parse};
use iopkt_gadget::modem::ModemConfig;
use iopkt_gadget::{Device, Event, Modem, Outside};
use iopkt_usbip::cdc;
use iopkt_usbip::client::{Client, Event as ClientEvent, Limits};
use iopkt_usbip::server::{self, Replies, Request, Session};
use iopkt_usbip::setup::Setup;

/// What the machine said.
#[derive(Default)]
struct Heard {
    frames: Vec<Vec<u8>>,
    link: Option<(bool, u64, u64)>,
    ready: u32,
    errors: (u64, u64),
    said: Vec<String>,
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

struct Out<'a> {
    replies: &'a mut Replies,
    far: &'a mut Vec<Vec<u8>>,
    unplugged: &'a mut bool,
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

struct Rig {
    m: Machine,
    s: Session,
    d: Device<Modem>,
    now: Instant,
    heard: Heard,
    far: Vec<Vec<u8>>,
    unplugged: bool,
}

/// Everything that one side wrote reaches the other.
fn carry(from: &[u8], space: &mut [u8]) -> usize {
    let n = from.len().min(space.len());
    space[..n].copy_from_slice(&from[..n]);
    n
}

impl Rig {
    fn new(transmit: usize, acm: bool) -> Rig {
        let d = Modem::device(ModemConfig::default());
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
        let ecm = cdc::functions(&config, cdc::SUBCLASS_ECM).next().expect("an ECM function");
        let serial = cdc::functions(&config, cdc::SUBCLASS_ACM).next().filter(|_| acm);
        c.control(99, Setup::set_configuration(ecm.config), &[]).expect("room");
        let set = Setting { receive: 8, transmit, ..Setting::new(ecm, serial) };
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

    fn up() -> Rig {
        let mut r = Rig::new(64, true);
        r.m.start(r.now.as_nanos(), &mut r.heard);
        r.run();
        r
    }

    /// Moves bytes both ways until nothing moves; timers of the device fire as far as `now` goes.
    fn run(&mut self) {
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
            if !moved && self.m.tx().is_empty() {
                return;
            }
        }
        panic!("it does not come to rest");
    }

    /// Lets time pass.
    fn pass(&mut self, d: Duration) {
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

    fn far_sends(&mut self, f: &[u8]) {
        let Rig { s, d, far, unplugged, now, .. } = self;
        d.frame(*now, f, &mut Out { replies: s.replies(), far, unplugged });
        self.run();
    }

    fn fault(&mut self, words: &str) {
        let words: Vec<&str> = words.split_whitespace().collect();
        let f: Fault = parse(&words).expect("a fault");
        let Rig { s, d, far, unplugged, now, .. } = self;
        d.fault(*now, &f, &mut Out { replies: s.replies(), far, unplugged }).expect("taken");
        self.run();
    }
}

fn c_to_s(c: &mut Client, s: &mut Session) {
    let n = carry(c.tx(), s.space());
    c.tx_done(n);
    s.commit(n);
}

fn s_to_c(s: &mut Session, c: &mut Client) {
    let n = carry(s.tx(), c.space());
    s.tx_done(n);
    c.commit(n);
}

fn frame(len: usize, mark: u8) -> Vec<u8> {
    let mut f = vec![mark; len];
    f[..6].copy_from_slice(&[0xff; 6]);
    f
}

#[test]
fn link_and_speed_follow_notifications_and_the_interface() {
    let mut r = Rig::new(64, true);
    assert_eq!(r.heard.link.map(|l| l.0), Some(false), "down while the interface is down");
    r.m.start(r.now.as_nanos(), &mut r.heard);
    r.pass(Duration::from_secs(1));
    assert_eq!(r.heard.link, Some((true, 100_000_000, 50_000_000)));
    r.m.stop(r.now.as_nanos(), &mut r.heard);
    r.run();
    assert_eq!(r.heard.link.map(|l| l.0), Some(false));
    r.far_sends(&frame(60, 1));
    assert!(r.heard.frames.is_empty(), "nothing is received while down");
    r.m.start(r.now.as_nanos(), &mut r.heard);
    r.pass(Duration::from_secs(1));
    r.far_sends(&frame(60, 2));
    assert_eq!(r.heard.frames, [frame(60, 2)]);
}

#[test]
fn every_length_passes_both_ways_zero_length_packets_included() {
    let mut r = Rig::up();
    for len in [60, 511, 512, 513, 1023, 1024, 1025, 1513, 1514] {
        r.far_sends(&frame(len, len as u8));
        assert_eq!(r.heard.frames.pop().map(|f| f.len()), Some(len), "received {len}");
        assert!(r.m.send(r.now.as_nanos(), &frame(len, len as u8), &mut r.heard));
        r.run();
        assert_eq!(r.far.pop().map(|f| f.len()), Some(len), "sent {len}");
    }
    assert_eq!((r.heard.errors, r.far.len(), r.heard.frames.len()), ((0, 0), 0, 0));
}

#[test]
fn many_frames_keep_their_order() {
    let mut r = Rig::up();
    for i in 0..500u32 {
        let mut f = frame(60 + (i as usize * 7) % 1400, 0);
        f[14..18].copy_from_slice(&i.to_be_bytes());
        r.far_sends(&f);
        assert!(r.m.send(r.now.as_nanos(), &f, &mut r.heard));
        r.run();
        assert_eq!((r.heard.frames.pop(), r.far.pop()), (Some(f.clone()), Some(f)));
    }
}

#[test]
fn a_full_queue_says_so_and_goes_on() {
    let mut r = Rig::new(4, true);
    r.m.start(r.now.as_nanos(), &mut r.heard);
    r.run();
    let mut taken = 0;
    while r.m.send(r.now.as_nanos(), &frame(100, 1), &mut r.heard) {
        taken += 1;
        assert!(taken < 100, "the queue is bounded");
    }
    assert!((1..=4).contains(&taken));
    r.run();
    assert!(r.heard.ready > 0, "room is told");
    assert_eq!(r.far.len(), taken);
    assert!(r.m.send(r.now.as_nanos(), &frame(100, 1), &mut r.heard));
}

#[test]
fn while_down_frames_are_lost_and_counted() {
    let mut r = Rig::new(64, true);
    assert!(r.m.send(r.now.as_nanos(), &frame(60, 1), &mut r.heard));
    assert_eq!(r.heard.errors, (0, 1));
}

#[test]
fn stalls_are_cleared_and_traffic_goes_on() {
    let mut r = Rig::up();
    let (i, o) = (r.set_ep(true), r.set_ep(false));
    for ep in [i, o] {
        r.fault(&format!("stall ep={ep:#x}"));
        // What meets the stall may be lost; what follows must pass.
        r.m.send(r.now.as_nanos(), &frame(60, 1), &mut r.heard);
        r.far_sends(&frame(60, 1));
        r.pass(Duration::from_millis(100));
        (r.far, r.heard.frames) = (Vec::new(), Vec::new());
        assert!(r.m.send(r.now.as_nanos(), &frame(70, 2), &mut r.heard));
        r.far_sends(&frame(80, 3));
        r.pass(Duration::from_millis(100));
        assert_eq!(r.far.last().map(Vec::len), Some(70), "endpoint {ep:#x}: {:?}", r.heard.said);
        assert_eq!(r.heard.frames.last().map(Vec::len), Some(80), "endpoint {ep:#x}");
    }
    assert_eq!(r.heard.failed, None);
}

#[test]
fn babble_short_and_missing_zlp_cost_frames_not_the_link() {
    for fault in ["babble", "short", "nozlp"] {
        let mut r = Rig::up();
        r.fault(fault);
        r.far_sends(&frame(512, 1));
        r.far_sends(&frame(512, 2));
        r.pass(Duration::from_millis(200));
        r.heard.frames.clear();
        r.far_sends(&frame(90, 3));
        r.pass(Duration::from_millis(200));
        assert_eq!(r.heard.frames, [frame(90, 3)], "after {fault}: {:?} {:?}", r.heard.said, r.heard.failed);
    }
}

#[test]
fn a_refused_packet_filter_does_not_stop_the_device() {
    let mut r = Rig::new(64, true);
    r.fault("stall");
    r.m.filter(r.now.as_nanos(), false, true, &[], &mut r.heard);
    r.m.start(r.now.as_nanos(), &mut r.heard);
    r.pass(Duration::from_secs(1));
    // The stalled request may have been the setting or the filter; only the first is fatal.
    if r.heard.failed.is_none() {
        r.far_sends(&frame(60, 1));
        assert_eq!(r.heard.frames.len(), 1);
    }
}

#[test]
fn at_commands_pass_the_serial_function() {
    let mut r = Rig::new(64, true);
    r.m.at.typed(b"ATE0\rAT+CGMI\r");
    r.m.at_changed(r.now.as_nanos(), &mut r.heard);
    r.pass(Duration::from_secs(1));
    let text = String::from_utf8_lossy(r.m.at.waiting()).into_owned();
    assert!(text.matches("OK").count() == 2, "{text:?}");
}

#[test]
fn at_commands_pass_as_encapsulated_commands() {
    let mut r = Rig::new(64, false);
    r.m.at.typed(b"AT+CGMI\r");
    r.m.at_changed(r.now.as_nanos(), &mut r.heard);
    r.pass(Duration::from_secs(1));
    let text = String::from_utf8_lossy(r.m.at.waiting()).into_owned();
    assert!(text.contains("OK"), "{text:?}");
    r.m.at.written(1000);
    r.m.at.typed(b"AT+NOSUCH\r");
    r.m.at_changed(r.now.as_nanos(), &mut r.heard);
    r.pass(Duration::from_secs(1));
    assert!(String::from_utf8_lossy(r.m.at.waiting()).contains("ERROR"));
}

#[test]
fn the_end_of_the_connection_ends_everything_once() {
    let mut r = Rig::up();
    r.pass(Duration::from_secs(1));
    while r.m.send(r.now.as_nanos(), &frame(100, 1), &mut r.heard) {}
    let ready = r.heard.ready;
    r.m.gone(&mut r.heard);
    assert_eq!(r.heard.link.map(|l| l.0), Some(false));
    assert_eq!(r.heard.ready, ready + 1, "who waits for room hears that there is nothing to wait for");
    assert!(r.m.send(r.now.as_nanos(), &frame(100, 1), &mut r.heard), "taken and counted as lost");
    r.m.stop(r.now.as_nanos(), &mut r.heard);
    r.m.gone(&mut r.heard);
    assert!(r.m.tx().is_empty() && !r.m.alive());
}

#[test]
fn garbage_from_the_usb_stack_is_an_error_not_a_panic() {
    let mut seed = iopkt_base::Rng::new(7);
    for _ in 0..200 {
        let mut r = Rig::up();
        let space = r.m.space();
        let n = space.len().min(400);
        for b in &mut space[..n] {
            *b = seed.next_u64() as u8;
        }
        if seed.chance(0.5) {
            space[..4].copy_from_slice(&3u32.to_be_bytes());
        }
        r.m.commit(n);
        if r.m.process(r.now.as_nanos(), &mut r.heard).is_err() {
            r.m.gone(&mut r.heard);
        }
    }
}

impl Rig {
    fn set_ep(&self, is_in: bool) -> u8 {
        let d = self.d.describe();
        let c = d.configs().next().expect("one configuration").to_vec();
        let f = cdc::functions(&c, cdc::SUBCLASS_ECM).next().expect("an ECM function");
        if is_in { f.bulk_in.addr } else { f.bulk_out.addr }
    }
}

/// Found by fuzzing: lines piled up as requests behind one that the modem never completed.
#[test]
fn a_modem_that_takes_no_commands_holds_the_terminal_back() {
    let mut r = Rig::new(64, false);
    // The modem is not run: nothing completes.
    for _ in 0..2000 {
        let n = r.m.at.room().min(4);
        r.m.at.typed(&b"ATI\r"[..n]);
        r.m.at_changed(r.now.as_nanos(), &mut r.heard);
    }
    assert_eq!(r.m.at.room(), 0);
}

/// A user who changes his mind while the device is silent leaves one request of a kind behind.
#[test]
fn requests_do_not_add_up_while_the_device_is_silent() {
    let mut r = Rig::up();
    for i in 0..1000 {
        r.m.start(r.now.as_nanos(), &mut r.heard);
        r.m.filter(r.now.as_nanos(), i % 2 == 0, false, &[], &mut r.heard);
        r.m.stop(r.now.as_nanos(), &mut r.heard);
    }
    // Bounded by an assertion in the machine itself; then the device answers, and the last word counts.
    r.m.start(r.now.as_nanos(), &mut r.heard);
    r.run();
    assert_eq!(r.heard.link.map(|l| l.0), Some(true));
}
