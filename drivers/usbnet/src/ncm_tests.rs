//! The machine with an NCM function, against the simulated one: negotiation, aggregation, the ends of transfers,
//! hostile blocks.

use crate::machine::{Machine, NtbSetting, Setting, Up};
use iopkt_base::{Duration, Instant};
use iopkt_gadget::faults::parse;
use iopkt_gadget::modem::{ModemConfig, NcmConfig};
use iopkt_gadget::{Device, Event, Modem, Outside};
use iopkt_usbip::cdc;
use iopkt_usbip::client::{Client, Event as ClientEvent, Limits};
use iopkt_usbip::ncm::{self, Format, Parameters, cap};
use iopkt_usbip::server::{self, Replies, Request, Session};
use iopkt_usbip::setup::Setup;

#[derive(Default)]
struct Heard {
    frames: Vec<Vec<u8>>,
    up: bool,
    ready: u32,
    errors: (u64, u64),
    said: Vec<String>,
    failed: Option<String>,
}

impl Up for Heard {
    fn frame(&mut self, b: &[u8], _: Option<[u8; 6]>) {
        self.frames.push(b.to_vec());
    }
    fn link(&mut self, up: bool, _: u64, _: u64) {
        self.up = up;
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
}

impl Outside for Out<'_> {
    fn complete(&mut self, seqnum: u32, status: i32, actual: usize, parts: &[&[u8]]) {
        self.replies.complete(seqnum, status, actual, parts);
    }
    fn frame(&mut self, f: &[u8]) {
        self.far.push(f.to_vec());
    }
    fn event(&mut self, _: Event) {}
}

struct Rig {
    m: Machine,
    s: Session,
    d: Device<Modem>,
    now: Instant,
    heard: Heard,
    far: Vec<Vec<u8>>,
}

fn carry(from: &[u8], space: &mut [u8]) -> usize {
    let n = from.len().min(space.len());
    space[..n].copy_from_slice(&from[..n]);
    n
}

/// What the driver wants of a function.
#[derive(Clone, Copy)]
struct Want {
    format: Format,
    crc: bool,
    frames: usize,
    block: u32,
}

const PLAIN: Want = Want { format: Format::Ntb16, crc: false, frames: 0, block: 16_384 };

impl Rig {
    /// An interface that is up on a function like `cfg`.
    fn up(cfg: NcmConfig, want: Want, transmit: usize) -> Rig {
        let mut r = Rig::new(cfg, want, transmit);
        r.m.start(r.now.as_nanos(), &mut r.heard);
        r.run();
        assert!(r.heard.failed.is_none() && r.heard.up, "{:?}", r.heard.said);
        r
    }

    fn new(cfg: NcmConfig, want: Want, transmit: usize) -> Rig {
        let d = Modem::device(ModemConfig { ncm: Some(cfg), ..ModemConfig::default() });
        let mut s = Session::new(server::Limits::default());
        let mut c = Client::import("1-1", Limits::default());
        let n = carry(c.tx(), s.space());
        c.tx_done(n);
        s.commit(n);
        match s.poll().expect("good stream") {
            Some((Request::Import(_), r)) => r.imported(Ok(&d.info("/sim", "1-1", 1, 2))),
            other => panic!("{:?}", other.map(|o| o.0)),
        }
        let n = carry(s.tx(), c.space());
        s.tx_done(n);
        c.commit(n);
        assert!(matches!(c.poll(), Ok(Some(ClientEvent::Imported(_)))));
        let config = d.describe().configs().next().expect("one configuration").to_vec();
        assert!(cdc::functions(&config, cdc::SUBCLASS_ECM).next().is_none());
        let f = cdc::functions(&config, ncm::SUBCLASS_NCM).next().expect("an NCM function");
        assert_eq!(ncm::function_capabilities(&config, f.control), cfg.caps);
        c.control(99, Setup::set_configuration(f.config), &[]).expect("room");
        let set = Setting { receive: 8, transmit, ..Setting::new(f, None) };
        let mut m = Machine::new(c, set);
        let Want { format, crc, frames, block } = want;
        m.use_blocks(NtbSetting { params: cfg.params, caps: cfg.caps, format, crc, frames, block });
        let (now, heard) = (Instant::from_millis(1), Heard::default());
        let mut r = Rig { m, s, d, now, heard, far: Vec::new() };
        r.m.begin(r.now.as_nanos(), &mut r.heard);
        r.run();
        r
    }

    fn run(&mut self) {
        for _ in 0..1000 {
            let n = carry(self.m.tx(), self.s.space());
            self.m.tx_done(n);
            self.s.commit(n);
            let mut moved = n > 0;
            let Rig { s, d, far, now, .. } = self;
            while let Some((req, replies)) = s.poll().expect("the machine speaks USB/IP") {
                let mut out = Out { replies, far };
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
                d.tick(*now, &mut Out { replies: s.replies(), far });
                moved = true;
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

    fn pass(&mut self, d: Duration) {
        let end = self.now + d;
        while self.d.deadline() <= end {
            self.now = self.now.max(self.d.deadline());
            self.run();
        }
        self.now = end;
        self.run();
    }

    /// The network sends these at once.
    fn far_sends(&mut self, list: &[Vec<u8>]) {
        let Rig { s, d, far, now, .. } = self;
        for f in list {
            d.frame(*now, f, &mut Out { replies: s.replies(), far });
        }
        self.run();
    }

    /// The interface's queue holds these.
    fn sends(&mut self, list: &[Vec<u8>]) -> usize {
        let n = list.iter().take_while(|f| self.m.send(self.now.as_nanos(), f, &mut self.heard)).count();
        self.m.flush();
        n
    }

    fn fault(&mut self, text: &str) {
        let f = parse(&text.split_whitespace().collect::<Vec<_>>()).expect("a fault");
        let Rig { s, d, far, now, .. } = self;
        d.fault(*now, &f, &mut Out { replies: s.replies(), far }).expect("taken");
        self.run();
    }

    fn counts(&self) -> crate::machine::NtbCounts {
        self.m.block_counts().expect("blocks")
    }
}

fn frame(len: usize, mark: usize) -> Vec<u8> {
    let mut f: Vec<u8> = (0..len).map(|i| (i * 3 + mark) as u8).collect();
    f[..6].copy_from_slice(&[0xff; 6]);
    f
}

fn frames(lens: impl IntoIterator<Item = usize>) -> Vec<Vec<u8>> {
    lens.into_iter().enumerate().map(|(i, n)| frame(n, i)).collect()
}

#[test]
fn what_the_queue_holds_leaves_together() {
    let mut r = Rig::up(NcmConfig::default(), PLAIN, 64);
    let one = frames([60]);
    assert_eq!(r.sends(&one), 1);
    let waits = r.m.tx().len();
    assert!((60 + 48..60 + 48 + 64).contains(&waits), "a single frame leaves at once, {waits} bytes");
    r.run();
    assert_eq!(r.far, one);
    let many = frames([1514; 25]);
    r.far.clear();
    assert_eq!(r.sends(&many), 25);
    r.run();
    assert_eq!(r.far, many);
    // 10 full frames are what 16 KiB hold.
    let c = r.counts();
    assert_eq!((c.tx_blocks, c.tx_frames, c.tx_most), (1 + 3, 1 + 25, 10));
    let g = r.d.function().block_counters().expect("blocks");
    assert_eq!((g.from_host, g.from_host_most, g.bad, g.gaps), (4, 10, 0, 0));
    // And what the network sends at once comes together.
    r.far_sends(&many);
    assert_eq!(r.heard.frames, many);
    let c = r.counts();
    assert_eq!((c.rx_blocks, c.rx_frames, c.rx_most, c.gaps), (3, 25, 10, 0));
    assert_eq!(r.heard.errors, (0, 0));
}

#[test]
fn every_length_passes_in_every_form() {
    let (mut crc_off, mut small) = (NcmConfig::default(), NcmConfig::default());
    crc_off.caps = 0;
    small.params = Parameters { in_max: 2048, out_max: 2048, out_datagrams: 1, ..small.params };
    let mut odd = NcmConfig::default();
    odd.params = Parameters {
        out_divisor: 32,
        out_remainder: 18,
        out_alignment: 64,
        in_divisor: 16,
        in_remainder: 2,
        in_alignment: 8,
        formats: 1,
        ..odd.params
    };
    for cfg in [NcmConfig::default(), crc_off, small, odd] {
        for (format, crc) in
            [(Format::Ntb16, false), (Format::Ntb16, true), (Format::Ntb32, false), (Format::Ntb32, true)]
        {
            let mut r = Rig::up(cfg, Want { format, crc, ..PLAIN }, 64);
            let have = r.m.block_form().expect("blocks");
            assert_eq!(have.0, if cfg.params.formats == 1 { Format::Ntb16 } else { format });
            assert_eq!(have.1, crc && cfg.caps & cap::CRC_MODE != 0);
            // Single frames of lengths around the packet size: with header and table the block's end falls
            // on every place of a packet, so that each rule of its end is met.
            for len in (60..640).chain(960..1100).chain([1513, 1514]) {
                let f = [frame(len, len)];
                assert_eq!(r.sends(&f), 1);
                r.run();
                assert_eq!(r.far, f, "sent {len}, {have:?}");
                r.far.clear();
                r.far_sends(&f);
                assert_eq!(r.heard.frames, f, "received {len}, {have:?}");
                r.heard.frames.clear();
            }
            assert_eq!(r.heard.errors, (0, 0));
        }
    }
}

/// A block of exactly the longest length ends without a short packet, both ways.
#[test]
fn the_longest_block_ends_by_its_length() {
    let mut cfg = NcmConfig::default();
    cfg.params = Parameters { in_max: 2048, out_max: 2048, out_divisor: 4, out_remainder: 2, ..cfg.params };
    cfg.params.in_remainder = 2;
    let mut r = Rig::up(cfg, PLAIN, 64);
    // Header 12 bytes, frames at 12 and 1028, table of 3 entries (two frames and the end) 20 bytes: the second frame
    // may be 1000 bytes.
    for extra in 0..40 {
        let list = frames([1014, 982 + extra]);
        let blocks = r.counts().tx_blocks;
        r.sends(&list);
        r.run();
        assert_eq!(std::mem::take(&mut r.far), list, "{extra}");
        r.far_sends(&list);
        assert_eq!(std::mem::take(&mut r.heard.frames), list, "{extra}");
        assert_eq!(r.counts().tx_blocks, blocks + if extra <= 18 { 1 } else { 2 }, "{extra}");
    }
    assert_eq!((r.heard.errors, r.counts().bad_blocks, r.counts().gaps), ((0, 0), 0, 0));
}

#[test]
fn limits_of_device_and_user_are_kept() {
    let mut cfg = NcmConfig::default();
    cfg.params.out_datagrams = 5;
    let mut r = Rig::up(cfg, PLAIN, 64);
    r.sends(&frames([60; 23]));
    r.run();
    assert_eq!((r.far.len(), r.counts().tx_most), (23, 5));
    let mut r = Rig::up(cfg, Want { frames: 3, ..PLAIN }, 64);
    r.sends(&frames([60; 23]));
    r.run();
    assert_eq!((r.far.len(), r.counts().tx_most), (23, 3));
    let mut r = Rig::up(NcmConfig::default(), Want { block: 4096, ..PLAIN }, 64);
    r.sends(&frames([1500; 20]));
    r.far_sends(&frames([1500; 20]));
    assert_eq!((r.far.len(), r.heard.frames.len(), r.counts().tx_most, r.counts().rx_most), (20, 20, 2, 2));
}

#[test]
fn a_full_queue_says_so_and_goes_on() {
    let mut r = Rig::up(NcmConfig::default(), PLAIN, 4);
    let list = frames([1514; 200]);
    let taken = r.sends(&list);
    assert_eq!(taken, 40, "four blocks of ten");
    r.run();
    assert!(r.heard.ready > 0);
    assert_eq!(r.far, list[..40]);
    assert_eq!(r.sends(&list[40..60]), 20);
    r.run();
    assert_eq!(r.far, list[..60]);
}

#[test]
fn settings_survive_down_and_up() {
    let mut r = Rig::up(NcmConfig::default(), Want { format: Format::Ntb32, crc: true, ..PLAIN }, 64);
    for i in 0..3 {
        r.sends(&frames([100, 200]));
        r.m.stop(r.now.as_nanos(), &mut r.heard);
        r.run();
        assert!(!r.heard.up);
        r.m.start(r.now.as_nanos(), &mut r.heard);
        r.run();
        assert!(r.heard.up, "round {i}");
        (r.far, r.heard.frames) = (Vec::new(), Vec::new());
        r.sends(&frames([300]));
        r.far_sends(&frames([400]));
        assert_eq!((r.far.len(), r.heard.frames.len()), (1, 1), "round {i}");
    }
    assert_eq!((r.counts().gaps, r.d.function().block_counters().map(|b| b.gaps)), (0, Some(0)));
}

#[test]
fn a_function_that_refuses_keeps_its_defaults() {
    // The first requests of the negotiation stall, one more each time; the rest must fit what is left.
    for n in 1..5 {
        let mut r = Rig::new(
            NcmConfig::default(),
            Want { format: Format::Ntb32, crc: true, block: 8192, frames: 0 },
            64,
        );
        r.fault(&format!("stall count={n}"));
        r.m.start(r.now.as_nanos(), &mut r.heard);
        r.pass(Duration::from_secs(1));
        let list = frames([1514; 30]);
        r.sends(&list);
        r.far_sends(&list);
        assert_eq!((&r.far, &r.heard.frames), (&list, &list), "{n} refused: {:?}", r.heard.said);
    }
}

#[test]
fn bad_blocks_cost_frames_not_the_link() {
    let bad =
        ["header", "sequence", "length", "table", "chain", "place", "datagram", "crc", "short", "oversize"];
    for (format, crc) in [(Format::Ntb16, false), (Format::Ntb32, true)] {
        for what in bad {
            let mut r = Rig::up(NcmConfig::default(), Want { format, crc, ..PLAIN }, 64);
            r.fault(&format!("ntb bad={what} count=2"));
            for _ in 0..2 {
                r.far_sends(&frames([200, 300, 400]));
                r.pass(Duration::from_millis(10));
            }
            let (got, errors, c) = (r.heard.frames.len(), r.heard.errors.0, r.counts());
            match what {
                // Everything is there, only the number is wrong.
                "sequence" => assert_eq!((got, errors), (6, 0), "{c:?}"),
                "place" | "datagram" => assert_eq!((got, c.bad_frames), (4, 2), "{what} {c:?}"),
                "crc" if crc => assert_eq!((got, c.bad_frames), (4, 2), "{c:?}"),
                "crc" => assert_eq!(got, 6),
                // It says the same again until the block has said more than it holds.
                "chain" => assert!(errors > 0 && got >= 6, "{c:?}"),
                _ => assert!(errors >= 2 && got <= 6, "{what} {got} {errors} {c:?}"),
            }
            r.heard.frames.clear();
            r.far_sends(&frames([500; 5]));
            r.pass(Duration::from_millis(10));
            // One that was longer than allowed runs into the next.
            if what == "oversize" {
                r.heard.frames.clear();
                r.far_sends(&frames([500; 5]));
            }
            assert_eq!(r.heard.frames, frames([500; 5]), "after {what}: {:?}", r.heard.said);
            if what == "sequence" {
                assert_eq!(r.counts().gaps, 1);
            }
            assert_eq!(r.heard.failed, None);
        }
    }
}

#[test]
fn stalls_and_babble_are_recovered() {
    for fault in ["stall ep=0x81", "stall ep=0x01", "babble", "nozlp count=2", "late ms=5"] {
        let mut r = Rig::up(NcmConfig::default(), PLAIN, 64);
        r.fault(fault);
        r.sends(&frames([60, 61]));
        r.far_sends(&frames([60, 61]));
        r.pass(Duration::from_millis(200));
        (r.far, r.heard.frames) = (Vec::new(), Vec::new());
        r.sends(&frames([70, 71]));
        r.far_sends(&frames([80, 81]));
        r.pass(Duration::from_millis(200));
        assert_eq!((r.far.len(), r.heard.frames.len()), (2, 2), "{fault}: {:?}", r.heard.said);
    }
}

#[test]
fn the_end_of_the_connection_leaves_no_half_block() {
    let mut r = Rig::up(NcmConfig::default(), PLAIN, 64);
    assert!(r.m.send(r.now.as_nanos(), &frame(100, 1), &mut r.heard));
    r.m.gone(&mut r.heard);
    assert!(r.m.tx().is_empty() && !r.m.alive());
    assert!(r.m.send(r.now.as_nanos(), &frame(100, 1), &mut r.heard), "taken and counted as lost");
    r.m.flush();
    assert!(r.m.tx().is_empty());
}
