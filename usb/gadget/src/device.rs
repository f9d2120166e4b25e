//! What every device does: standard requests (USB 2.0, 9.4), settings, halts, unlinks.
//!
//! A [`Device`] wraps a [`Function`], which brings the descriptors and does what its class is for. The device
//! walks the function's configuration once and makes a pipe for each endpoint; an endpoint works while the
//! setting that has it is selected.

use crate::faults::{Fault, Remark, Until};
use crate::pipe::{InPipe, OutPipe, Received};
use crate::{Event, Outside};
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use iopkt_base::Instant;
use iopkt_usbip::desc::{self, Config};
use iopkt_usbip::hdr::{Dir, Submit, status};
use iopkt_usbip::op::{Description, DeviceInfo, speed};
use iopkt_usbip::setup::{ENDPOINT_HALT, LANG_EN_US, Setup, req, rt};

/// Answer to a control request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Done; no data.
    Done,
    /// Done, with this data (cut to what was asked for).
    Data(Vec<u8>),
    /// The request is not known, or not possible now.
    Stall,
}

/// What a function does on its device.
pub trait Function {
    /// The device descriptor.
    fn device(&self) -> desc::Device;
    /// The one configuration, with all that belongs to it.
    fn config(&self) -> &[u8];
    /// Text of a string descriptor.
    fn string(&self, index: u8) -> Option<String>;
    /// A class or vendor request, with the data of an OUT request.
    fn control(&mut self, io: &mut Io<'_>, setup: &Setup, data: &[u8]) -> Answer;
    /// Alternate setting `alt` of `interface` was selected (by SET_INTERFACE, or with the configuration).
    fn selected(&mut self, io: &mut Io<'_>, interface: u8, alt: u8);
    /// A whole transfer came in on endpoint `ep`.
    fn received(&mut self, io: &mut Io<'_>, ep: u8, data: &[u8]);
    /// A transfer on endpoint `ep` was longer than anything that makes sense there.
    fn oversized(&mut self, io: &mut Io<'_>, ep: u8);
    /// The host is gone or has unset the configuration: be as after power-on of the USB side.
    fn reset(&mut self);
    /// Does what is due.
    fn tick(&mut self, io: &mut Io<'_>);
    /// When [`Function::tick`] is wanted next.
    fn deadline(&self) -> Instant;
    /// Says something on its notification endpoint, true or not.
    fn remark(&mut self, io: &mut Io<'_>, what: Remark) {
        let _ = (io, what);
    }
    /// A fault that is the function's own business; false when it has no such thing.
    fn fault(&mut self, f: &Fault) -> bool;
}

/// What a function gets with each call.
pub struct Io<'a> {
    /// Time.
    pub now: Instant,
    /// Endpoints.
    pub pipes: &'a mut Pipes,
    /// The rest of the world.
    pub out: &'a mut dyn Outside,
}

impl Io<'_> {
    /// Sends a transfer on an IN endpoint (by its address); false when it was lost (off, or queue full).
    pub fn send(&mut self, ep: u8, data: &[u8]) -> bool {
        match self.pipes.input(ep) {
            Some(p) => p.send(self.now, data, self.out),
            None => false,
        }
    }

    /// Transfers that an IN endpoint would still take.
    pub fn room(&mut self, ep: u8) -> usize {
        self.pipes.input(ep).map_or(0, |p| p.room())
    }
}

/// The endpoints of a device.
#[derive(Debug, Default)]
pub struct Pipes {
    ins: Vec<(Place, InPipe)>,
    outs: Vec<(Place, OutPipe)>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    addr: u8,
    interface: u8,
    alt: u8,
}

impl Pipes {
    fn new(config: &[u8], limit: usize) -> Pipes {
        let mut p = Pipes::default();
        for s in desc::settings(config) {
            for e in s.endpoints() {
                let place = Place { addr: e.addr, interface: s.interface.number, alt: s.interface.alt };
                match e.is_in() {
                    true => p.ins.push((place, InPipe::new(&e, limit))),
                    false => p.outs.push((place, OutPipe::new(&e))),
                }
            }
        }
        p
    }

    /// An IN endpoint by its address.
    pub fn input(&mut self, addr: u8) -> Option<&mut InPipe> {
        self.ins.iter_mut().find(|(p, _)| p.addr == addr).map(|(_, i)| i)
    }

    /// An OUT endpoint by its address.
    pub fn output(&mut self, addr: u8) -> Option<&mut OutPipe> {
        self.outs.iter_mut().find(|(p, _)| p.addr == addr).map(|(_, o)| o)
    }

    fn select(&mut self, interface: u8, alt: u8, out: &mut dyn Outside) {
        for (place, p) in self.ins.iter_mut().filter(|(p, _)| p.interface == interface) {
            p.set_enabled(place.alt == alt, out);
        }
        for (place, p) in self.outs.iter_mut().filter(|(p, _)| p.interface == interface) {
            p.set_enabled(place.alt == alt);
        }
    }

    fn off(&mut self, out: &mut dyn Outside) {
        self.ins.iter_mut().for_each(|(_, p)| p.set_enabled(false, out));
        self.outs.iter_mut().for_each(|(_, p)| p.set_enabled(false));
    }
}

/// An answer to a control request that is held back.
#[derive(Debug)]
struct Delayed {
    at: Instant,
    seqnum: u32,
    status: i32,
    actual: usize,
    data: Vec<u8>,
}

/// A device with its function.
#[derive(Debug)]
pub struct Device<F> {
    func: F,
    pipes: Pipes,
    config: u8,
    /// Selected settings by interface number.
    alts: Vec<u8>,
    delayed: VecDeque<Delayed>,
    stall_control: u32,
    late_control: (u32, core::time::Duration),
    unplug: Option<(u32, bool)>,
    /// Silent until then; what the host sends meanwhile.
    asleep: Instant,
    missed: VecDeque<(Submit, Vec<u8>)>,
    /// Transfers submitted since power-on.
    submitted: u64,
}

/// Transfers of the host that wait while the device is asleep.
const MAX_MISSED: usize = 8192;

/// Transfers that an IN endpoint queues while the host does not ask for them.
pub const IN_QUEUE: usize = 1024;

impl<F: Function> Device<F> {
    /// A device that was just plugged in.
    pub fn new(func: F) -> Device<F> {
        let pipes = Pipes::new(func.config(), IN_QUEUE);
        let interfaces =
            desc::settings(func.config()).map(|s| usize::from(s.interface.number) + 1).max().unwrap_or(0);
        Device {
            func,
            pipes,
            config: 0,
            alts: alloc::vec![0; interfaces],
            delayed: VecDeque::new(),
            stall_control: 0,
            late_control: (0, core::time::Duration::ZERO),
            unplug: None,
            asleep: Instant::ZERO,
            missed: VecDeque::new(),
            submitted: 0,
        }
    }

    /// Zero-length packets from the host are bus errors, or not.
    pub fn set_no_zlp(&mut self, on: bool) {
        self.pipes.outs.iter_mut().for_each(|(_, p)| p.no_zlp = on);
    }

    /// The function.
    pub fn function(&self) -> &F {
        &self.func
    }

    /// The selected configuration, 0 for none.
    pub fn configuration(&self) -> u8 {
        self.config
    }

    /// URBs submitted since power-on.
    pub fn submitted(&self) -> u64 {
        self.submitted
    }

    /// Calls `f` with the function and what it needs.
    pub fn with<R>(
        &mut self,
        now: Instant,
        out: &mut dyn Outside,
        f: impl FnOnce(&mut F, &mut Io<'_>) -> R,
    ) -> R {
        f(&mut self.func, &mut Io { now, pipes: &mut self.pipes, out })
    }

    /// How lists describe it at this place of the bus.
    pub fn info(&self, path: &str, busid: &str, busnum: u32, devnum: u32) -> DeviceInfo {
        let d = self.func.device();
        let first = |s: &desc::Setting<'_>| s.interface.alt == 0;
        let interfaces: Vec<_> = desc::settings(self.func.config())
            .filter(first)
            .map(|s| [s.interface.class, s.interface.subclass, s.interface.protocol])
            .collect();
        DeviceInfo {
            path: path.into(),
            busid: busid.into(),
            busnum,
            devnum,
            speed: speed::HIGH,
            vendor: d.vendor,
            product: d.product,
            release: d.release,
            class: [d.class, d.subclass, d.protocol],
            config: self.config,
            configs: d.configs,
            num_interfaces: interfaces.len() as u8,
            interfaces,
        }
    }

    /// All descriptors.
    pub fn describe(&self) -> Description {
        let mut records = alloc::vec![
            (desc::DEVICE, 0, self.func.device().to_bytes().to_vec()),
            (desc::CONFIG, 0, self.func.config().to_vec()),
        ];
        for i in 1..=u8::MAX {
            if let Some(s) = self.func.string(i) {
                records.push((desc::STRING, i, desc::string_bytes(&s)));
            }
        }
        Description { records }
    }

    /// A URB of the host, with its data if it is an OUT transfer. It is completed now or later.
    pub fn submit(&mut self, now: Instant, s: &Submit, data: &[u8], out: &mut dyn Outside) {
        self.submitted += 1;
        if let Some((left, torn)) = self.unplug {
            if left == 0 {
                self.unplug = None;
                return out.event(Event::Unplug { torn });
            }
            self.unplug = Some((left - 1, torn));
        }
        if now < self.asleep && self.missed.len() < MAX_MISSED {
            return self.missed.push_back((*s, data.to_vec()));
        }
        self.take(now, s, data, out);
    }

    fn take(&mut self, now: Instant, s: &Submit, data: &[u8], out: &mut dyn Outside) {
        if s.packets > 0 {
            return out.complete(s.seqnum, status::EINVAL, 0, &[]); // no isochronous endpoints here
        }
        match (s.ep, s.dir) {
            (0, _) => self.submit_control(now, s, data, out),
            (ep, Dir::In) => match self.pipes.input(ep | 0x80) {
                Some(p) => p.submit(now, s, out),
                None => out.complete(s.seqnum, status::ENOENT, 0, &[]),
            },
            (ep, Dir::Out) => self.submit_out(now, ep, s, data, out),
        }
    }

    fn submit_out(&mut self, now: Instant, ep: u8, s: &Submit, data: &[u8], out: &mut dyn Outside) {
        // The pipe lends the transfer while the function may use every pipe: take it out for the call.
        let Some(i) = self.pipes.outs.iter().position(|(p, _)| p.addr == ep) else {
            return out.complete(s.seqnum, status::ENOENT, 0, &[]);
        };
        let (place, mut pipe) = self.pipes.outs.swap_remove(i);
        let r = pipe.submit(s, data, out);
        let io = &mut Io { now, pipes: &mut self.pipes, out };
        match r {
            Received::Nothing => {}
            Received::Transfer(t) => self.func.received(io, ep, t),
            Received::Oversized => self.func.oversized(io, ep),
        }
        self.pipes.outs.push((place, pipe));
    }

    fn submit_control(&mut self, now: Instant, s: &Submit, data: &[u8], out: &mut dyn Outside) {
        let setup = Setup::from_bytes(&s.setup);
        let sane = setup.is_in() == (s.dir == Dir::In) || s.length == 0;
        let class = setup.kind() != rt::STANDARD;
        let answer = if !sane {
            Answer::Stall
        } else if setup.is_port_reset() {
            self.detach_pipes(out);
            Answer::Done
        } else if class && self.stall_control > 0 {
            self.stall_control -= 1;
            Answer::Stall
        } else if class {
            let io = &mut Io { now, pipes: &mut self.pipes, out };
            self.func.control(io, &setup, data)
        } else {
            self.standard(now, &setup, out)
        };
        let (status, actual, mut bytes) = match answer {
            Answer::Stall => (status::EPIPE, 0, Vec::new()),
            Answer::Done => (status::OK, data.len(), Vec::new()),
            Answer::Data(d) if setup.is_in() => (status::OK, d.len(), d),
            Answer::Data(_) => (status::OK, data.len(), Vec::new()),
        };
        bytes.truncate(usize::from(setup.length).min(s.length as usize));
        let actual = if setup.is_in() { bytes.len() } else { actual };
        if self.late_control.0 > 0 {
            self.late_control.0 -= 1;
            let at = now + self.late_control.1;
            self.delayed.push_back(Delayed { at, seqnum: s.seqnum, status, actual, data: bytes });
        } else {
            out.complete(s.seqnum, status, actual, &[&bytes]);
        }
    }

    fn standard(&mut self, now: Instant, s: &Setup, out: &mut dyn Outside) -> Answer {
        let index = s.index as u8;
        match (s.request, s.recipient()) {
            (req::GET_DESCRIPTOR, rt::DEVICE) => self.descriptor((s.value >> 8) as u8, s.value as u8),
            (req::GET_STATUS, rt::DEVICE) => Answer::Data(alloc::vec![1, 0]), // self-powered
            (req::GET_STATUS, rt::INTERFACE) if self.has_interface(index) => Answer::Data(alloc::vec![0, 0]),
            (req::GET_STATUS, rt::ENDPOINT) => match self.is_halted(index) {
                Some(h) => Answer::Data(alloc::vec![u8::from(h), 0]),
                None => Answer::Stall,
            },
            (req::CLEAR_FEATURE, rt::ENDPOINT) if s.value == ENDPOINT_HALT => {
                self.set_halt(index, false, out)
            }
            (req::SET_FEATURE, rt::ENDPOINT) if s.value == ENDPOINT_HALT => self.set_halt(index, true, out),
            (req::SET_ADDRESS, rt::DEVICE) => Answer::Done, // the transport has none
            (req::GET_CONFIGURATION, rt::DEVICE) => Answer::Data(alloc::vec![self.config]),
            (req::SET_CONFIGURATION, rt::DEVICE) => self.set_configuration(now, s.value as u8, out),
            (req::GET_INTERFACE, rt::INTERFACE) if self.has_interface(index) => {
                Answer::Data(alloc::vec![self.alts[usize::from(index)]])
            }
            (req::SET_INTERFACE, rt::INTERFACE) => self.set_interface(now, index, s.value as u8, out),
            _ => Answer::Stall,
        }
    }

    fn descriptor(&self, ty: u8, index: u8) -> Answer {
        match (ty, index) {
            (desc::DEVICE, 0) => Answer::Data(self.func.device().to_bytes().to_vec()),
            (desc::CONFIG, 0) => Answer::Data(self.func.config().to_vec()),
            (desc::STRING, 0) => {
                let l = LANG_EN_US.to_le_bytes();
                Answer::Data(alloc::vec![4, desc::STRING, l[0], l[1]])
            }
            (desc::STRING, i) => match self.func.string(i) {
                Some(s) => Answer::Data(desc::string_bytes(&s)),
                None => Answer::Stall,
            },
            (desc::DEVICE_QUALIFIER, 0) => {
                // Not high-speed only: at full speed it would be the same device.
                let d = self.func.device();
                let u = d.usb.to_le_bytes();
                let (c, s, p) = (d.class, d.subclass, d.protocol);
                Answer::Data(alloc::vec![10, ty, u[0], u[1], c, s, p, d.max_packet0, d.configs, 0])
            }
            _ => Answer::Stall,
        }
    }

    fn has_interface(&self, i: u8) -> bool {
        self.config != 0 && usize::from(i) < self.alts.len()
    }

    fn is_halted(&mut self, addr: u8) -> Option<bool> {
        match addr {
            0 | 0x80 => Some(false),
            a if a & 0x80 != 0 => self.pipes.input(a).filter(|p| p.is_enabled()).map(|p| p.is_halted()),
            a => self.pipes.output(a).filter(|p| p.is_enabled()).map(|p| p.is_halted()),
        }
    }

    fn set_halt(&mut self, addr: u8, on: bool, out: &mut dyn Outside) -> Answer {
        if self.is_halted(addr).is_none() {
            return Answer::Stall;
        }
        if let Some(p) = self.pipes.input(addr) {
            p.set_halted(on, out);
        } else if let Some(p) = self.pipes.output(addr) {
            p.set_halted(on);
        }
        Answer::Done
    }

    fn set_configuration(&mut self, now: Instant, value: u8, out: &mut dyn Outside) -> Answer {
        let ours = Config::parse(self.func.config()).map_or(1, |c| c.value);
        if value != 0 && value != ours {
            return Answer::Stall;
        }
        self.pipes.outs.iter_mut().for_each(|(_, p)| p.revive(Until::Reset));
        self.pipes.off(out);
        self.func.reset();
        self.config = value;
        self.alts.fill(0);
        if value != 0 {
            for i in 0..self.alts.len() as u8 {
                self.pipes.select(i, 0, out);
            }
            for i in 0..self.alts.len() as u8 {
                self.func.selected(&mut Io { now, pipes: &mut self.pipes, out }, i, 0);
            }
        }
        Answer::Done
    }

    fn set_interface(&mut self, now: Instant, interface: u8, alt: u8, out: &mut dyn Outside) -> Answer {
        let known = |s: desc::Setting<'_>| s.interface.number == interface && s.interface.alt == alt;
        if !self.has_interface(interface) || !desc::settings(self.func.config()).any(known) {
            return Answer::Stall;
        }
        self.alts[usize::from(interface)] = alt;
        let of = |p: &Place| p.interface == interface;
        self.pipes.outs.iter_mut().filter(|(p, _)| of(p)).for_each(|(_, p)| p.revive(Until::Setting));
        self.pipes.select(interface, alt, out);
        self.func.selected(&mut Io { now, pipes: &mut self.pipes, out }, interface, alt);
        Answer::Done
    }

    /// Forgets a URB; false when it has ended before.
    pub fn unlink(&mut self, seqnum: u32) -> bool {
        if self.pipes.ins.iter_mut().any(|(_, p)| p.unlink(seqnum))
            || self.pipes.outs.iter_mut().any(|(_, p)| p.unlink(seqnum))
        {
            return true;
        }
        let waiting = self.missed.len();
        self.missed.retain(|m| m.0.seqnum != seqnum);
        if self.missed.len() < waiting {
            return true;
        }
        match self.delayed.iter().position(|d| d.seqnum == seqnum) {
            Some(i) => self.delayed.remove(i).is_some(),
            None => false,
        }
    }

    /// The host is gone: outstanding URBs are forgotten and the device is as after a reset.
    pub fn detach(&mut self) {
        self.pipes.ins.iter_mut().for_each(|(_, p)| p.clear());
        self.pipes.outs.iter_mut().for_each(|(_, p)| p.set_enabled(false));
        self.pipes.outs.iter_mut().for_each(|(_, p)| p.hang = None);
        self.delayed.clear();
        self.missed.clear();
        self.config = 0;
        self.alts.fill(0);
        self.func.reset();
    }

    /// The port was reset: every URB ends, the device is as it was plugged in.
    fn detach_pipes(&mut self, out: &mut dyn Outside) {
        self.pipes.outs.iter_mut().for_each(|(_, p)| p.revive(Until::Reset));
        self.pipes.off(out);
        self.config = 0;
        self.alts.fill(0);
        self.func.reset();
    }

    /// Does what is due at `now`.
    pub fn tick(&mut self, now: Instant, out: &mut dyn Outside) {
        if now >= self.asleep {
            for (s, data) in core::mem::take(&mut self.missed) {
                self.take(now, &s, &data, out);
            }
        }
        while self.delayed.front().is_some_and(|d| d.at <= now) {
            if let Some(d) = self.delayed.pop_front() {
                out.complete(d.seqnum, d.status, d.actual, &[&d.data]);
            }
        }
        for (_, p) in &mut self.pipes.ins {
            if p.deadline() <= now {
                p.pump(now, out);
            }
        }
        if self.func.deadline() <= now {
            self.func.tick(&mut Io { now, pipes: &mut self.pipes, out });
        }
    }

    /// When [`Device::tick`] is wanted next.
    pub fn deadline(&self) -> Instant {
        let pipes = self.pipes.ins.iter().map(|(_, p)| p.deadline());
        let delayed = self.delayed.front().map(|d| d.at);
        let awake = (!self.missed.is_empty()).then_some(self.asleep);
        pipes.chain(delayed).chain(awake).fold(self.func.deadline(), Instant::min)
    }

    /// Makes something go wrong.
    ///
    /// # Errors
    /// The fault cannot be had here, in words.
    pub fn fault(&mut self, now: Instant, f: &Fault, out: &mut dyn Outside) -> Result<(), String> {
        match *f {
            Fault::Stall { ep: 0, count } => self.stall_control = count,
            Fault::Stall { ep, .. } => {
                if self.set_halt(ep, true, out) == Answer::Stall {
                    return Err(alloc::format!("endpoint {ep:#04x} does not exist or is not selected now"));
                }
            }
            Fault::Late { delay, count } => {
                self.late_control = (count, delay);
                self.pipes.ins.iter_mut().for_each(|(_, p)| p.hold_until(now + delay));
            }
            Fault::Noise { ep, count } => match (self.pipes.input(ep).is_some(), self.pipes.output(ep)) {
                (true, _) => self.pipes.input(ep).into_iter().for_each(|p| p.noise = count),
                (_, Some(p)) => p.noise = count,
                _ => return Err(alloc::format!("there is no endpoint {ep:#04x}")),
            },
            Fault::Hang { ep, until } => match self.pipes.output(ep) {
                Some(p) => p.hang = Some(until),
                None => return Err(alloc::format!("{ep:#04x} is no OUT endpoint")),
            },
            Fault::Suspend(delay) => {
                self.asleep = now + delay;
                self.pipes.ins.iter_mut().for_each(|(_, p)| p.hold_until(now + delay));
            }
            Fault::Notify(what, n) => {
                let io = &mut Io { now, pipes: &mut self.pipes, out };
                (0..n).for_each(|_| self.func.remark(io, what));
            }
            Fault::NoZlp(n) => self.pipes.ins.iter_mut().for_each(|(_, p)| p.omit_zlp = n),
            Fault::Babble(n) => self.bulk_in(|p| p.babble = n),
            Fault::Unplug { after, torn } => self.unplug = Some((after, torn)),
            Fault::Clear => {
                self.stall_control = 0;
                self.late_control.0 = 0;
                self.unplug = None;
                self.asleep = now;
                self.pipes.outs.iter_mut().for_each(|(_, p)| (p.noise, p.hang) = (0, None));
                for (_, p) in &mut self.pipes.ins {
                    (p.omit_zlp, p.babble, p.noise) = (0, 0, 0);
                    p.hold_until(now);
                    p.pump(now, out);
                }
                self.func.fault(f);
            }
            _ if self.func.fault(f) => {}
            _ => return Err("this device has no such fault".into()),
        }
        Ok(())
    }

    /// The pipes of bulk IN endpoints.
    fn bulk_in(&mut self, mut f: impl FnMut(&mut InPipe)) {
        let bulk: Vec<u8> = desc::settings(self.func.config())
            .flat_map(|s| s.endpoints())
            .filter(|e| e.is_in() && e.transfer() == desc::Transfer::Bulk)
            .map(|e| e.addr)
            .collect();
        self.pipes.ins.iter_mut().filter(|(p, _)| bulk.contains(&p.addr)).for_each(|(_, p)| f(p));
    }
}
