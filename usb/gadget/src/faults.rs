//! Faults on demand.
//!
//! Faults of the bus hit the USB side of a device (stalls, late or short transfers, missing zero-length packets,
//! babble, unplugging); faults of the link hit Ethernet frames between the modem and its network (loss,
//! reordering, duplication, damage). They are set by text commands, so that a person, a script and a test say
//! the same thing.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use iopkt_base::{Instant, Rng};

/// A fault as commanded.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// Halt this endpoint address; 0: stall the next `count` class requests.
    Stall {
        /// Endpoint address, 0 for control.
        ep: u8,
        /// Control requests to stall.
        count: u32,
    },
    /// Hold everything from the device back for this long, once (`count` control requests too).
    Late {
        /// How long.
        delay: Duration,
        /// Control requests to hold back.
        count: u32,
    },
    /// Cut the next `count` frames towards the host to half.
    Short(u32),
    /// Leave the zero-length packet away after the next `count` frames that need one.
    NoZlp(u32),
    /// Send more than asked for in the next `count` transfers.
    Babble(u32),
    /// Make the next `count` frames to the host longer than the host was told they can be.
    Oversize(u32),
    /// The next `count` transfers on this endpoint end with a bus error.
    Noise {
        /// Endpoint address.
        ep: u8,
        /// Transfers.
        count: u32,
    },
    /// This OUT endpoint takes nothing any more.
    Hang {
        /// Endpoint address.
        ep: u8,
        /// What makes it work again.
        until: Until,
    },
    /// The whole device is silent for this long, as a suspended one.
    Suspend(Duration),
    /// Say this on the notification endpoint, so many times, whether it is true or not.
    Notify(Remark, u32),
    /// Something wrong with the next `count` blocks of an NCM function.
    Ntb(NtbFault, u32),
    /// Chances on the link, each in `0.0..=1.0`.
    Link(LinkFaults),
    /// Pull the plug after `after` more URBs have been submitted, in the middle of a message when `torn`.
    Unplug {
        /// URBs from now.
        after: u32,
        /// Leave the last message incomplete.
        torn: bool,
    },
    /// No more faults.
    Clear,
}

/// What makes an endpoint that hangs work again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Until {
    /// Selecting a setting of its interface.
    Setting,
    /// Setting the configuration, or a reset.
    Reset,
    /// Pulling the plug.
    Unplug,
}

const UNTIL: [(&str, Until); 3] =
    [("setting", Until::Setting), ("reset", Until::Reset), ("unplug", Until::Unplug)];

/// A notification without a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remark {
    /// NETWORK_CONNECTION, connected.
    Connect,
    /// NETWORK_CONNECTION, disconnected.
    Disconnect,
    /// CONNECTION_SPEED_CHANGE.
    Speed,
    /// RESPONSE_AVAILABLE, although there is none.
    Response,
    /// A code that nobody knows.
    Unknown,
    /// Bytes that are no notification.
    Garbage,
}

const REMARKS: [(&str, Remark); 6] = [
    ("connect", Remark::Connect),
    ("disconnect", Remark::Disconnect),
    ("speed", Remark::Speed),
    ("response", Remark::Response),
    ("unknown", Remark::Unknown),
    ("garbage", Remark::Garbage),
];

fn word<T: Copy>(table: &[(&str, T)], name: &str, value: &str) -> Result<T, String> {
    table.iter().find(|t| t.0 == value).map(|t| t.1).ok_or_else(|| {
        let all: Vec<&str> = table.iter().map(|t| t.0).collect();
        format!("{name} is one of {}", all.join(", "))
    })
}

/// What can be wrong with a block (NTB) to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NtbFault {
    /// The header's signature.
    Header,
    /// The sequence number.
    Sequence,
    /// The block's length: longer than the transfer.
    Length,
    /// The table's place: behind the end.
    Table,
    /// The table is its own successor.
    Chain,
    /// A frame lies behind the end.
    Place,
    /// A frame shorter than an Ethernet header.
    Datagram,
    /// A bit of a frame is changed: seen where CRC mode is on.
    Crc,
    /// Half of the block is missing.
    Short,
    /// The block is longer than the host has allowed.
    Oversize,
}

const NTB_FAULTS: [(&str, NtbFault); 10] = [
    ("header", NtbFault::Header),
    ("sequence", NtbFault::Sequence),
    ("length", NtbFault::Length),
    ("table", NtbFault::Table),
    ("chain", NtbFault::Chain),
    ("place", NtbFault::Place),
    ("datagram", NtbFault::Datagram),
    ("crc", NtbFault::Crc),
    ("short", NtbFault::Short),
    ("oversize", NtbFault::Oversize),
];

/// What frames between the modem and its network meet with; chances are in `0.0..=1.0`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LinkFaults {
    /// Lost.
    pub drop: f64,
    /// Delivered twice.
    pub dup: f64,
    /// Delivered after the frame that follows it.
    pub reorder: f64,
    /// One bit changed.
    pub corrupt: f64,
    /// Not a chance: every frame takes this long.
    pub delay: Duration,
}

impl LinkFaults {
    /// Whether nothing can happen.
    pub fn is_none(&self) -> bool {
        *self == LinkFaults::default()
    }
}

/// The grammar of [`parse`], for help texts.
pub const HELP: &str = "\
stall [ep=ADDR] [count=N]      halt an endpoint until CLEAR_FEATURE; ep=0: stall the next N class requests
late ms=N [count=N]            hold back what the device sends for N ms; the next `count` control answers too
short [count=N]                cut the next N frames to the host to half
nozlp [count=N]                no zero-length packet after the next N frames that need one
oversize [count=N]             the next N frames to the host are longer than it was told
noise ep=ADDR [count=N]        the next N transfers on this endpoint end with a bus error
hang ep=ADDR [until=setting|reset|unplug]
                               the OUT endpoint takes nothing until then
suspend ms=N                   the device is silent for N ms
notify say=connect|disconnect|speed|response|unknown|garbage [count=N]
                               a notification, true or not, N times
babble [count=N]               the next N transfers to the host are larger than was asked for
ntb bad=WHAT [count=N]         the next N blocks to the host (NCM) have a bad header, sequence, length, table,
                               chain, place, datagram, crc, or are short or oversize
link [drop=P] [dup=P] [reorder=P] [corrupt=P] [delay=MS]
                               chances in percent for each frame between the modem and its network, and
                               the time that it takes
unplug [after=N] [torn]        pull the plug after N more URBs; torn: in the middle of a message
clear                          no more faults";

/// Reads a fault: a word of [`HELP`] and its arguments.
///
/// # Errors
/// What is wrong with it, in words.
pub fn parse(words: &[&str]) -> Result<Fault, String> {
    let (kind, args) = words
        .split_first()
        .ok_or("which fault? One of stall, late, short, nozlp, oversize, noise, hang, suspend, notify, babble, ntb, link, unplug, clear")?;
    let mut a = Args::new(args)?;
    let fault = match *kind {
        "stall" => Fault::Stall {
            ep: a.number("ep", 0)?.try_into().map_err(|_| "ep= is 0 to 255")?,
            count: a.number("count", 1)?,
        },
        "late" => {
            let ms = a.number("ms", 0)?;
            if ms == 0 || ms > 3_600_000 {
                return Err("late needs ms=N with N from 1 to 3600000".into());
            }
            Fault::Late { delay: Duration::from_millis(u64::from(ms)), count: a.number("count", 0)? }
        }
        "short" => Fault::Short(a.number("count", 1)?),
        "nozlp" => Fault::NoZlp(a.number("count", 1)?),
        "oversize" => Fault::Oversize(a.number("count", 1)?),
        "noise" => Fault::Noise { ep: a.endpoint()?, count: a.number("count", 1)? },
        "hang" => {
            let until = a.take("until").flatten().unwrap_or("setting");
            Fault::Hang { ep: a.endpoint()?, until: word(&UNTIL, "until=", until)? }
        }
        "suspend" => {
            let ms = a.number("ms", 0)?;
            if ms == 0 || ms > 3_600_000 {
                return Err("suspend needs ms=N with N from 1 to 3600000".into());
            }
            Fault::Suspend(Duration::from_millis(u64::from(ms)))
        }
        "notify" => {
            let say = a.take("say").flatten().unwrap_or_default();
            Fault::Notify(word(&REMARKS, "notify needs say=; it", say)?, a.number("count", 1)?.min(10_000))
        }
        "babble" => Fault::Babble(a.number("count", 1)?),
        "ntb" => {
            let bad = a.take("bad").flatten().unwrap_or_default();
            let f = NTB_FAULTS.iter().find(|f| f.0 == bad).ok_or_else(|| {
                let names: Vec<&str> = NTB_FAULTS.iter().map(|f| f.0).collect();
                format!("ntb needs bad=WHAT, one of {}", names.join(", "))
            })?;
            Fault::Ntb(f.1, a.number("count", 1)?)
        }
        "link" => Fault::Link(LinkFaults {
            drop: a.percent("drop")?,
            dup: a.percent("dup")?,
            reorder: a.percent("reorder")?,
            corrupt: a.percent("corrupt")?,
            delay: Duration::from_millis(u64::from(a.number("delay", 0)?.min(60_000))),
        }),
        "unplug" => Fault::Unplug { after: a.number("after", 0)?, torn: a.flag("torn") },
        "clear" => Fault::Clear,
        other => {
            return Err(format!(
                "unknown fault \"{other}\"; there are stall, late, short, nozlp, oversize, noise, hang, suspend, notify, babble, ntb, link, unplug, clear"
            ));
        }
    };
    a.finish(kind)?;
    Ok(fault)
}

/// `name=value` words that must all be used.
struct Args<'a> {
    list: Vec<(&'a str, Option<&'a str>)>,
}

impl<'a> Args<'a> {
    fn new(words: &[&'a str]) -> Result<Args<'a>, String> {
        let mut list = Vec::new();
        for w in words {
            let (k, v) = match w.split_once('=') {
                Some((k, v)) => (k, Some(v)),
                None => (*w, None),
            };
            if list.iter().any(|(name, _)| *name == k) {
                return Err(format!("\"{k}\" is given twice"));
            }
            list.push((k, v));
        }
        Ok(Args { list })
    }

    fn take(&mut self, name: &str) -> Option<Option<&'a str>> {
        let i = self.list.iter().position(|(k, _)| *k == name)?;
        Some(self.list.swap_remove(i).1)
    }

    fn flag(&mut self, name: &str) -> bool {
        self.take(name).is_some()
    }

    fn number(&mut self, name: &str, default: u32) -> Result<u32, String> {
        match self.take(name) {
            None => Ok(default),
            Some(v) => v
                .and_then(number)
                .ok_or_else(|| format!("{name}= needs a number (decimal, or hexadecimal after 0x)")),
        }
    }

    fn endpoint(&mut self) -> Result<u8, String> {
        match self.number("ep", 0)? {
            0 => Err("ep= needs an endpoint address, such as 0x81".into()),
            n => n.try_into().map_err(|_| "ep= is 1 to 255".into()),
        }
    }

    fn percent(&mut self, name: &str) -> Result<f64, String> {
        match self.take(name) {
            None => Ok(0.0),
            Some(v) => v
                .map(|v| v.trim_end_matches('%'))
                .and_then(|v| v.parse::<f64>().ok())
                .filter(|p| (0.0..=100.0).contains(p))
                .map(|p| p / 100.0)
                .ok_or_else(|| format!("{name}= needs a percentage from 0 to 100")),
        }
    }

    fn finish(self, kind: &str) -> Result<(), String> {
        match self.list.first() {
            None => Ok(()),
            Some((k, _)) => Err(format!("\"{k}\" is no argument of {kind}")),
        }
    }
}

fn number(s: &str) -> Option<u32> {
    match s.strip_prefix("0x").or_else(|| s.strip_prefix("0X")) {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => s.parse().ok(),
    }
}

/// One direction of a faulty link.
#[derive(Debug)]
pub struct Link {
    /// Chances.
    pub faults: LinkFaults,
    rng: Rng,
    /// Frames on their way, in the order in which they arrive.
    way: VecDeque<(Instant, Vec<u8>)>,
    /// The frame that lets the next one pass, and for how long.
    held: Option<(Instant, Vec<u8>)>,
    spare: Vec<Vec<u8>>,
}

/// How long a frame that another one should overtake waits for it.
const REORDER_WAIT: Duration = Duration::from_millis(5);
/// Most frames on their way; more are lost.
const MAX_WAY: usize = 16_384;

impl Link {
    /// A link without faults; what happens later follows from `seed`.
    pub fn new(seed: u64) -> Link {
        let (way, spare) = (VecDeque::new(), Vec::new());
        Link { faults: LinkFaults::default(), rng: Rng::new(seed), way, held: None, spare }
    }

    /// Whether frames may go past [`Link::pass`].
    pub fn is_clean(&self) -> bool {
        self.faults.is_none() && self.held.is_none() && self.way.is_empty()
    }

    /// Puts `frame` on the link; `deliver` gets what arrives at once: nothing, one or two frames.
    pub fn pass(&mut self, now: Instant, frame: &[u8], mut deliver: impl FnMut(&[u8])) {
        let f = self.faults;
        let before = self.held.take();
        if !self.rng.chance(f.drop) {
            let mut copies = 1 + u32::from(self.rng.chance(f.dup));
            if before.is_none() && self.rng.chance(f.reorder) {
                self.held = Some((now + f.delay + REORDER_WAIT, frame.to_vec()));
                copies -= 1;
            }
            for _ in 0..copies {
                if self.rng.chance(f.corrupt) && !frame.is_empty() {
                    let mut bad = frame.to_vec();
                    let at = self.rng.below(bad.len() as u32) as usize;
                    bad[at] ^= 1 << self.rng.below(8);
                    self.carry(now, &bad, &mut deliver);
                } else {
                    self.carry(now, frame, &mut deliver);
                }
            }
        }
        if let Some((_, b)) = before {
            self.carry(now, &b, &mut deliver);
        }
    }

    fn carry(&mut self, now: Instant, frame: &[u8], deliver: &mut impl FnMut(&[u8])) {
        if self.faults.delay.is_zero() && self.way.is_empty() {
            return deliver(frame);
        }
        if self.way.len() >= MAX_WAY {
            return;
        }
        let mut b = self.spare.pop().unwrap_or_default();
        b.clear();
        b.extend_from_slice(frame);
        // A delay that was shortened must not let frames overtake.
        let at = self.way.back().map_or(Instant::ZERO, |w| w.0).max(now + self.faults.delay);
        self.way.push_back((at, b));
    }

    /// Delivers what has arrived by `now`.
    pub fn tick(&mut self, now: Instant, mut deliver: impl FnMut(&[u8])) {
        while self.way.front().is_some_and(|w| w.0 <= now) {
            if let Some((_, b)) = self.way.pop_front() {
                deliver(&b);
                if self.spare.len() < 256 {
                    self.spare.push(b);
                }
            }
        }
        if self.held.as_ref().is_some_and(|h| h.0 <= now)
            && let Some((_, b)) = self.held.take()
        {
            deliver(&b);
        }
    }

    /// When something arrives next.
    pub fn deadline(&self) -> Instant {
        let held = self.held.as_ref().map_or(Instant::FAR, |h| h.0);
        self.way.front().map_or(Instant::FAR, |w| w.0).min(held)
    }
}
