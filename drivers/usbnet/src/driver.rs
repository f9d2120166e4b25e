//! The driver on its control thread: finds devices, attaches them, hears of those that come.

use crate::bus::{Bus, Stream, bad, fill};
use crate::device::Ecm;
use crate::find::other_kind;
use crate::options::Options;
use crate::probe::{Found, Not, is_meant, may_match, probe};
use crate::serial::Serial;
use crate::shared::Shared;
use crate::units::Units;
use iopkt_sdk::{Control, Description, Driver, Fail, Handle, Link, Ready, Stay, errno};
use iopkt_usbip::op::{self, DeviceInfo, WatchEvent};
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Cookie of the hot-plug connection.
const WATCH: u64 = 1;
/// Pause between two looks at the device list, and between two tries of a busy device.
const POLL: Duration = Duration::from_millis(500);
/// Tries of a device that somebody else has: its former owner may be about to let go.
const TRIES: u32 = 10;
/// Failures of a device that stays plugged in, after which it is left alone.
const MAX_FAILURES: u32 = 5;
/// Devices of which something is remembered after they went.
const MAX_REMEMBERED: usize = 64;

/// A device that we attached.
struct Mine {
    cookie: u64,
    busid: String,
    devnum: u32,
    /// What device and driver tell each other.
    shared: Arc<Shared>,
    /// What was announced at its place while we hold it: itself (whoever begins to watch is told of everything that
    /// is there), or the next device that was plugged in before we noticed that this one is gone.
    next: Option<DeviceInfo>,
}

/// A device to try soon.
struct Later {
    dev: DeviceInfo,
    tries: u32,
    /// When, on the clock of [`Handle::now`].
    at: u64,
}

/// How we hear of devices that come.
enum Plug {
    /// We do not.
    Off,
    /// io-usb tells.
    Told(Stream, Vec<u8>),
    /// We look at the device list of a server that does not tell; these were there.
    Look(Vec<DeviceInfo>),
}

/// devnp-ecm, loaded once.
pub struct EcmDriver {
    o: Options,
    bus: Bus,
    mine: Vec<Mine>,
    next: u64,
    plug: Plug,
    /// Devices to try again.
    later: Vec<Later>,
    /// Devices whose interface the user destroyed: not taken again before they have been unplugged.
    left: Vec<(String, u32)>,
    /// Devices that failed while they were plugged in, and how often.
    failed: Vec<(String, u32, u32)>,
    /// Numbers that devices had: who comes back gets his name back.
    units: Units,
}

impl Driver for EcmDriver {
    fn load(ctl: &Control<'_>, options: &iopkt_sdk::Options) -> Result<Self, Fail> {
        EcmDriver::open(ctl, Options::read(options)?)
    }

    fn fd(&mut self, ctl: &Control<'_>, cookie: u64, _: Ready) {
        if cookie == WATCH
            && let Err(e) = self.told(ctl)
        {
            ctl.warn(&format!(
                "hot-plug events of {} ended: {e}; looking at its device list instead",
                self.bus
            ));
            self.look_instead(ctl);
        }
    }

    fn timer(&mut self, ctl: &Control<'_>) {
        if let Plug::Look(_) = self.plug {
            self.look(ctl);
        }
        let now = ctl.now();
        let (due, rest) = std::mem::take(&mut self.later).into_iter().partition(|l: &Later| l.at <= now);
        self.later = rest;
        for l in due {
            self.attempt(ctl, &l.dev, l.tries);
        }
        self.set_timer(ctl);
    }

    fn gone(&mut self, ctl: &Control<'_>, cookie: u64) {
        let Some(i) = self.mine.iter().position(|m| m.cookie == cookie) else { return };
        let m = self.mine.remove(i);
        if !self.o.pnp || ctl.stopping() {
            return;
        }
        if !m.shared.ended() {
            // The user destroyed a working interface. He means it, until the device is plugged in anew.
            bounded_push(&mut self.left, (m.busid, m.devnum));
            return;
        }
        let failed = m.shared.failed();
        if failed && self.gives_up(ctl, &m.busid, m.devnum) {
            bounded_push(&mut self.left, (m.busid, m.devnum));
            return;
        }
        if let Plug::Look(old) = &mut self.plug {
            old.retain(|d| d.busid != m.busid);
        }
        // What came meanwhile, at once. Or the device itself, if only its connection ended: the word that it was
        // unplugged may still be on its way.
        if let Some(dev) = m.next {
            let wait = if dev.devnum == m.devnum { POLL.as_nanos() as u64 } else { 0 };
            self.later.push(Later { dev, tries: TRIES, at: ctl.now() + wait });
        }
        self.set_timer(ctl);
    }
}

impl EcmDriver {
    /// Loads with these options: waits for the USB stack, takes the devices that match.
    ///
    /// # Errors
    /// No USB stack, or no device without `pnp`.
    pub fn open(ctl: &Control<'_>, o: Options) -> Result<EcmDriver, Fail> {
        let bus = Bus::parse(&o.path, &ctl.root());
        let list = wait_for_stack(ctl, &bus, o.wait)?;
        let mut d = EcmDriver {
            o,
            bus,
            mine: Vec::new(),
            next: 1,
            plug: Plug::Off,
            later: Vec::new(),
            left: Vec::new(),
            failed: Vec::new(),
            units: Units::default(),
        };
        if d.o.pnp {
            ctl.stay(Stay { removed: true, destroyed: false });
            d.begin_watch(ctl, &list);
        }
        let mut reasons = Vec::new();
        for dev in &list {
            if let Err(why) = d.take(ctl, dev) {
                reasons.push(why);
            }
        }
        if d.mine.is_empty() && !d.o.pnp {
            let what = match d.o.select.is_any() {
                true => format!("no {} device", d.o.kind()),
                false => format!("no {} device with {}", d.o.kind(), d.o.select),
            };
            let detail =
                if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join("; ")) };
            let why = format!("{what} at {}{detail}; plug one in, or use pnp to wait for one", d.bus);
            return Err(Fail::new(errno::ENODEV, why));
        }
        Ok(d)
    }

    /// Attaches `dev` if it is one for us; a line when it should have worked.
    fn take(&mut self, ctl: &Control<'_>, dev: &DeviceInfo) -> Result<(), String> {
        if !is_meant(dev, &self.o) {
            return Ok(());
        }
        if !may_match(dev, &self.o) {
            let what = dev.interfaces.iter().find_map(|i| other_kind(*i));
            return what.map_or(Ok(()), |w| Err(format!("USB device {} is {w}", dev.busid)));
        }
        let random = || {
            let mut m = [0; 6];
            ctl.random(&mut m);
            m
        };
        match probe(&self.bus, dev, &self.o, random) {
            Ok(f) => self.attach(ctl, dev, f).map_err(|e| {
                let line = format!("USB device {}: {e}", dev.busid);
                ctl.error(&line);
                line
            }),
            Err(Not::Ours(None)) => Ok(()),
            Err(Not::Ours(Some(what))) => Err(format!("USB device {} is {what}", dev.busid)),
            Err(Not::Gone | Not::Stale) => Ok(()),
            Err(Not::Busy) => {
                if self.o.pnp {
                    let at = ctl.now() + POLL.as_nanos() as u64;
                    self.later.push(Later { dev: dev.clone(), tries: TRIES, at });
                }
                Err(format!("USB device {} is in use by somebody else", dev.busid))
            }
            Err(Not::Working(why)) => {
                let line =
                    format!("USB device {} ({:04x}:{:04x}): {why}", dev.busid, dev.vendor, dev.product);
                ctl.error(&line);
                Err(line)
            }
        }
    }

    fn attach(&mut self, ctl: &Control<'_>, dev: &DeviceInfo, f: Found) -> Result<(), Fail> {
        for what in &f.odd {
            ctl.warn(&format!("USB device {}: {what}", dev.busid));
        }
        let serial = Serial::new().map_err(|e| ctl.warn(&format!("no AT port: {e}"))).ok();
        let path = serial.as_ref().map(|s| s.path().to_string());
        let cookie = self.next;
        self.next += 1;
        let (key, devnum) = (f.identity(), f.info.devnum);
        let shared = Arc::new(Shared::default());
        let mtu_max = u32::from(f.max_segment) - 14;
        let d = Description {
            cookie,
            mtu: mtu_max.min(1500),
            mtu_max,
            media: true,
            multicast: true,
            link: Link::down(),
            unit: self.units.of(&key),
            ..Description::ether(f.name.clone(), f.mac)
        };
        let text = format!(
            "{} at bus {} device {}: control interface {}, data interface {} (setting {}), endpoints {:#04x} and {:#04x} of {} bytes",
            f.name,
            f.info.busnum,
            f.info.devnum,
            f.ecm.control,
            f.ecm.data,
            f.ecm.data_alt,
            f.ecm.bulk_in.addr,
            f.ecm.bulk_out.addr,
            f.ecm.bulk_out.max_packet()
        );
        let blocks = f.blocks;
        let mut device = Ecm::new(f, &self.o, serial, shared.clone());
        if let Some(b) = blocks {
            device.use_blocks(b);
        }
        let at = ctl.attach(d, device)?;
        self.units.remember(key, &at.name);
        if self.o.verbose {
            ctl.info(&format!("{}: {text}", at.name));
        }
        if let Some(name) = path.and_then(|p| name_terminal(ctl, self.o.ncm.is_some(), &at.name, &p)) {
            shared.set_port_name(Some(name));
            at.handle.wake();
        }
        self.mine.push(Mine { cookie, busid: dev.busid.clone(), devnum, shared, next: None });
        Ok(())
    }

    /// Asks io-usb to tell of devices; looks at the list of a server that does not know the request.
    fn begin_watch(&mut self, ctl: &Control<'_>, list: &[DeviceInfo]) {
        let start = || -> io::Result<Stream> {
            let mut s = self.bus.connect()?;
            s.write_all(&op::request(op::REQ_WATCH))?;
            let mut b = Vec::new();
            loop {
                match op::parse_watch(&b).map_err(bad)? {
                    Some((Ok(()), used)) if used == b.len() => return Ok(s),
                    Some((Ok(()), _)) => return Err(io::Error::other("early event")),
                    Some((Err(_), _)) => return Err(io::Error::other("refused")),
                    None => fill_exactly(&mut s, &mut b)?,
                }
            }
        };
        match start() {
            Ok(s) if s.blocking(None).is_ok() && ctl.watch(&s, Ready::READ, WATCH).is_ok() => {
                self.plug = Plug::Told(s, Vec::new());
            }
            _ => {
                self.plug = Plug::Look(list.to_vec());
                self.set_timer(ctl);
            }
        }
    }

    /// Reads hot-plug events.
    fn told(&mut self, ctl: &Control<'_>) -> io::Result<()> {
        let Plug::Told(s, b) = &mut self.plug else { return Ok(()) };
        match fill(s, b) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            r => r?,
        }
        let mut events = Vec::new();
        while let Some((e, n)) = WatchEvent::parse(b).map_err(bad)? {
            b.drain(..n);
            events.push(e);
        }
        for e in events {
            match e {
                WatchEvent::Added(dev) => self.attempt(ctl, &dev, TRIES),
                WatchEvent::Removed(dev) => self.forget(&dev.busid),
                WatchEvent::Settled => {}
            }
        }
        self.set_timer(ctl);
        Ok(())
    }

    fn look_instead(&mut self, ctl: &Control<'_>) {
        if let Plug::Told(s, _) = &self.plug {
            let _ = ctl.unwatch(s);
        }
        self.plug = Plug::Look(Vec::new());
        self.set_timer(ctl);
    }

    /// Compares the device list with the last one. A USB stack that went away and came back is taken up again.
    fn look(&mut self, ctl: &Control<'_>) {
        let Plug::Look(old) = &self.plug else { return };
        let Ok(list) = self.bus.devices() else {
            self.plug = Plug::Look(Vec::new());
            return;
        };
        let same = |a: &DeviceInfo, b: &DeviceInfo| a.busid == b.busid && a.devnum == b.devnum;
        let new: Vec<DeviceInfo> = list.iter().filter(|d| !old.iter().any(|o| same(o, d))).cloned().collect();
        self.plug = Plug::Look(list.clone());
        if !new.is_empty() {
            self.begin_watch(ctl, &list);
        }
        let gone: Vec<String> = (self.left.iter().map(|l| &l.0).chain(self.failed.iter().map(|f| &f.0)))
            .filter(|b| !list.iter().any(|d| d.busid == **b))
            .cloned()
            .collect();
        gone.iter().for_each(|b| self.forget(b));
        for d in new {
            self.attempt(ctl, &d, TRIES);
        }
    }

    /// The device at `busid` was unplugged: what was held against it is forgotten.
    fn forget(&mut self, busid: &str) {
        self.later.retain(|l| l.dev.busid != busid);
        self.left.retain(|l| l.0 != busid);
        self.failed.retain(|f| f.0 != busid);
        if let Some(m) = self.mine.iter_mut().find(|m| m.busid == busid) {
            m.next = None;
        }
    }

    /// Counts a failure of a device that stayed plugged in; true when there have been too many.
    fn gives_up(&mut self, ctl: &Control<'_>, busid: &str, devnum: u32) -> bool {
        let count = match self.failed.iter_mut().find(|f| f.0 == busid && f.1 == devnum) {
            Some(f) => {
                f.2 += 1;
                f.2
            }
            None => {
                bounded_push(&mut self.failed, (busid.to_string(), devnum, 1));
                1
            }
        };
        if count == MAX_FAILURES {
            ctl.error(&format!(
                "USB device {busid} failed {count} times: left alone until it is plugged in anew"
            ));
        }
        count >= MAX_FAILURES
    }

    /// Takes a device that came, or tries it again soon.
    fn attempt(&mut self, ctl: &Control<'_>, dev: &DeviceInfo, tries: u32) {
        if ctl.stopping() || self.left.iter().any(|l| l.0 == dev.busid && l.1 == dev.devnum) {
            return;
        }
        if let Some(m) = self.mine.iter_mut().find(|m| m.busid == dev.busid) {
            m.next = Some(dev.clone());
            return;
        }
        self.later.retain(|l| l.dev.busid != dev.busid);
        let _ = self.take(ctl, dev);
        if let Some(l) = self.later.iter_mut().find(|l| l.dev.busid == dev.busid) {
            l.tries = tries - 1;
            if l.tries == 0 {
                ctl.warn(&format!("USB device {} stays in use by somebody else: left to them", dev.busid));
            }
        }
        self.later.retain(|l| l.tries > 0);
    }

    fn set_timer(&self, ctl: &Control<'_>) {
        let look = matches!(self.plug, Plug::Look(_)).then(|| ctl.now() + POLL.as_nanos() as u64);
        ctl.timer(self.later.iter().map(|l| l.at).chain(look).min());
    }
}

/// Appends; the oldest of many goes.
fn bounded_push<T>(v: &mut Vec<T>, x: T) {
    if v.len() >= MAX_REMEMBERED {
        v.remove(0);
    }
    v.push(x);
}

/// Reads what is missing of the reply to a watch, and not a byte of the events behind it.
fn fill_exactly(s: &mut Stream, b: &mut Vec<u8>) -> io::Result<()> {
    use std::io::Read;
    let mut one = [0; op::OP_LEN];
    let n = op::OP_LEN.saturating_sub(b.len()).max(1);
    match s.read(&mut one[..n])? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        n => {
            b.extend_from_slice(&one[..n]);
            Ok(())
        }
    }
}

/// Waits for the USB stack, at most `wait`; returns its devices.
fn wait_for_stack(ctl: &Control<'_>, bus: &Bus, wait: Duration) -> Result<Vec<DeviceInfo>, Fail> {
    let end = Instant::now() + wait;
    let mut said = false;
    loop {
        match bus.devices() {
            Ok(l) => return Ok(l),
            Err(e) if Instant::now() >= end || ctl.stopping() => {
                let why = format!(
                    "no USB stack at {bus} after {} s: {e}; start one (io-usb -d sim) or name it with path=",
                    wait.as_secs()
                );
                return Err(Fail::new(errno::ENXIO, why));
            }
            Err(e) => {
                if !std::mem::replace(&mut said, true) {
                    ctl.info(&format!("waiting for the USB stack at {bus} ({e})"));
                }
            }
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Gives the terminal its name: the interface's number, or the next free one (ecm0 and wan0 may both be there).
fn name_terminal(ctl: &Control<'_>, ncm: bool, ifname: &str, target: &str) -> Option<String> {
    let prefix = if ncm { "serncm" } else { "serecm" };
    let digits = ifname.trim_start_matches(|c: char| !c.is_ascii_digit());
    let first: u32 = digits.parse().unwrap_or(0);
    for n in (first..).take(64) {
        let name = format!("/dev/{prefix}{n}");
        match ctl.name_add(&name, target) {
            Ok(()) => {
                Handle::info(ctl.handle(), &format!("{ifname}: AT port {name}"));
                return Some(name);
            }
            Err(e) if e.errno == errno::EEXIST => {}
            Err(e) => {
                ctl.warn(&format!("{ifname}: no AT port: {name}: {e}"));
                return None;
            }
        }
    }
    None
}
