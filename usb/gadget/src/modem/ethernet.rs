//! The Ethernet function: filters, counters, and the faults of its link.

use super::blocks::{BlockCounters, Blocks, NcmConfig};
use super::descriptors::{ECM_IN, MAX_SEGMENT, MC_FILTERS};
use super::odd::Odd;
use crate::device::{Answer, Io};
use crate::faults::{Fault, Link, LinkFaults, NtbFault};
use alloc::vec::Vec;
use iopkt_base::Instant;
use iopkt_usbip::cdc::{self, filter, req, stat};
use iopkt_usbip::ncm;
use iopkt_usbip::setup::Setup;

/// What the function counts, since power-on. "To the host" is what the host receives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames put into the endpoint's queue.
    pub to_host: u64,
    /// Frames that the host's filter did not want.
    pub filtered: u64,
    /// Frames lost because the host does not fetch them.
    pub no_buffer: u64,
    /// Frames too short or too long, from the far side.
    pub to_host_errors: u64,
    /// Frames from the host.
    pub from_host: u64,
    /// Transfers from the host that are no frame.
    pub from_host_errors: u64,
    /// Frames from the host while the call was down.
    pub no_carrier: u64,
}

const HEADER: usize = 14;

#[derive(Debug)]
pub(super) struct Ethernet {
    mac: [u8; 6],
    on: bool,
    filter: u16,
    multicast: Vec<[u8; 6]>,
    pub(super) counters: Counters,
    down: Link,
    up: Link,
    short: u32,
    /// The next so many frames to the host are too long.
    oversize: u32,
    odd: Vec<Odd>,
    /// Wake-up patterns.
    pub(super) power: [Option<Vec<(u8, bool)>>; 2],
    /// Frames travel in blocks (NCM).
    blocks: Option<Blocks>,
}

/// What ECM 1.2 leaves to the device until the first SET_ETHERNET_PACKET_FILTER.
const DEFAULT_FILTER: u16 = filter::DIRECTED | filter::BROADCAST | filter::ALL_MULTICAST;

impl Ethernet {
    pub(super) fn new(mac: [u8; 6], seed: u64, ncm: Option<NcmConfig>, odd: &[Odd]) -> Ethernet {
        Ethernet {
            mac,
            odd: odd.to_vec(),
            oversize: 0,
            power: [const { None }; 2],
            on: false,
            filter: DEFAULT_FILTER,
            multicast: Vec::new(),
            counters: Counters::default(),
            down: Link::new(seed),
            up: Link::new(seed ^ 0x5555_5555),
            short: 0,
            blocks: ncm.map(Blocks::new),
        }
    }

    pub(super) fn block_counters(&self) -> Option<BlockCounters> {
        self.blocks.as_ref().map(|b| b.counters)
    }

    /// Frames that it would still queue for the host.
    pub(super) fn room(&self, io: &mut Io<'_>) -> usize {
        let room = io.room(ECM_IN);
        if self.blocks.is_some() { Blocks::room(room) } else { room }
    }

    pub(super) fn is_on(&self) -> bool {
        self.on
    }

    /// The host selected the setting with the endpoints, or the other one, which resets the function.
    pub(super) fn select(&mut self, on: bool) {
        self.on = on;
        if let Some(b) = &mut self.blocks {
            b.select(on);
        }
        if !on {
            self.filter = DEFAULT_FILTER;
            self.multicast.clear();
        }
    }

    /// The endpoints of the data setting are on.
    pub(super) fn opened(&self, io: &mut Io<'_>) {
        if let Some(b) = &self.blocks {
            b.prepare(io);
        }
    }

    pub(super) fn control(&mut self, s: &Setup, data: &[u8]) -> Answer {
        if let Some(a) = self.blocks.as_mut().and_then(|b| b.control(s, data, self.on)) {
            return a;
        }
        let is = |o| self.odd.contains(&o);
        match (s.request, s.is_in()) {
            (req::SET_ETHERNET_PACKET_FILTER, false) if is(Odd::NoFilter) => return Answer::Stall,
            (req::SET_ETHERNET_MULTICAST_FILTERS, false) if is(Odd::BadMulticast) || is(Odd::NoMulticast) => {
                return Answer::Stall;
            }
            (req::SET_ETHERNET_PM_PATTERN, false) if is(Odd::Power) && s.value < 2 => {
                let pattern = cdc::parse_power_pattern(data);
                if pattern.is_none() && !data.is_empty() {
                    return Answer::Stall;
                }
                self.power[usize::from(s.value)] = pattern.filter(|p| !p.is_empty());
            }
            (req::GET_ETHERNET_PM_PATTERN, true) if is(Odd::Power) && s.value < 2 => {
                let on = self.power[usize::from(s.value)].is_some();
                return Answer::Data(alloc::vec![u8::from(on), 0]);
            }
            (req::SET_ETHERNET_PACKET_FILTER, false) => self.filter = s.value & 0x1f,
            (req::SET_ETHERNET_MULTICAST_FILTERS, false) => {
                let n = usize::from(s.value);
                if s.value > MC_FILTERS || data.len() != n * 6 {
                    return Answer::Stall;
                }
                self.multicast.clear();
                self.multicast.extend(data.as_chunks::<6>().0);
            }
            (req::GET_ETHERNET_STATISTIC, true) => {
                let c = &self.counters;
                let v = match s.value {
                    stat::XMIT_OK => c.from_host,
                    stat::RCV_OK => c.to_host,
                    stat::XMIT_ERROR => c.from_host_errors + c.no_carrier,
                    stat::RCV_ERROR => c.to_host_errors,
                    stat::RCV_NO_BUFFER => c.no_buffer,
                    _ => return Answer::Stall,
                };
                return Answer::Data((v as u32).to_le_bytes().to_vec());
            }
            _ => return Answer::Stall,
        }
        Answer::Done
    }

    /// Whether the multicast filter takes `dst` for `m`: a hash table of eight buckets mixes them up.
    fn same(&self, m: &[u8; 6], dst: &[u8]) -> bool {
        m[..] == *dst || (self.odd.contains(&Odd::Hashed) && m[5] & 7 == dst[5] & 7)
    }

    fn wants(&self, dst: &[u8]) -> bool {
        let on = |bit| self.filter & bit != 0;
        on(filter::PROMISCUOUS)
            || match dst {
                [0xff, 0xff, 0xff, 0xff, 0xff, 0xff] => on(filter::BROADCAST),
                [first, ..] if first & 1 == 1 => {
                    on(filter::ALL_MULTICAST)
                        || (on(filter::MULTICAST) && self.multicast.iter().any(|m| self.same(m, dst)))
                }
                _ => on(filter::DIRECTED) && (*dst == self.mac || self.odd.iter().any(|o| o.hides_mac())),
            }
    }

    pub(super) fn down_to_host(&mut self, io: &mut Io<'_>, frame: &[u8]) {
        if !self.on {
            return;
        }
        if frame.len() < HEADER || frame.len() > usize::from(MAX_SEGMENT) {
            self.counters.to_host_errors += 1;
        } else if !self.wants(&frame[..6]) {
            self.counters.filtered += 1;
        } else if self.odd.contains(&Odd::Fcs) || self.odd.contains(&Odd::BogusDst) || self.oversize > 0 {
            let f = self.odd_frame(frame);
            deliver(io, &mut self.counters, &mut self.short, &mut self.blocks, &f);
        } else if self.down.is_clean() {
            deliver(io, &mut self.counters, &mut self.short, &mut self.blocks, frame);
        } else {
            let (c, short, blocks) = (&mut self.counters, &mut self.short, &mut self.blocks);
            self.down.pass(io.now, frame, |f| deliver(io, c, short, blocks, f));
        }
    }

    fn odd_frame(&mut self, frame: &[u8]) -> Vec<u8> {
        let mut f = frame.to_vec();
        if self.oversize > 0 {
            self.oversize -= 1;
            f.resize(usize::from(MAX_SEGMENT) + 3, 0xee);
        }
        if self.odd.contains(&Odd::BogusDst) && f[0] & 1 == 0 {
            f[..6].copy_from_slice(&[0x02, 0xde, 0xad, 0xbe, 0xef, 0x00]);
        }
        if self.odd.contains(&Odd::Fcs) {
            let sum = ncm::crc32(&f).to_le_bytes();
            f.extend_from_slice(&sum);
        }
        f
    }

    /// A transfer of the host: a frame, or a block of them.
    pub(super) fn up_from_host(&mut self, io: &mut Io<'_>, transfer: &[u8], link: bool) {
        if !self.on || transfer.is_empty() {
            return; // an empty transfer only ends the one before
        }
        let Some(mut b) = self.blocks.take() else { return self.frame_from_host(io, transfer, link) };
        let mut c = self.counters;
        b.received(transfer, &mut c, |c, f| {
            core::mem::swap(&mut self.counters, c);
            self.frame_from_host(io, f, link);
            core::mem::swap(&mut self.counters, c);
        });
        (self.counters, self.blocks) = (c, Some(b));
    }

    fn frame_from_host(&mut self, io: &mut Io<'_>, frame: &[u8], link: bool) {
        let mut frame = frame;
        if self.odd.contains(&Odd::Fcs) {
            let (f, sum) = frame.split_at(frame.len().saturating_sub(4));
            if ncm::crc32(f).to_le_bytes() != *sum {
                self.counters.from_host_errors += 1;
                return;
            }
            frame = f;
        }
        // A host without zero-length packets pads with a byte, at most to one byte more than a frame.
        if frame.len() < HEADER || frame.len() > usize::from(MAX_SEGMENT) + 1 {
            self.counters.from_host_errors += 1;
        } else if !link {
            self.counters.no_carrier += 1;
        } else {
            self.counters.from_host += 1;
            if self.up.is_clean() {
                io.out.frame(frame);
            } else {
                self.up.pass(io.now, frame, |f| io.out.frame(f));
            }
        }
    }

    pub(super) fn tick(&mut self, io: &mut Io<'_>) {
        let (c, short, blocks) = (&mut self.counters, &mut self.short, &mut self.blocks);
        self.down.tick(io.now, |f| deliver(io, c, short, blocks, f));
        self.up.tick(io.now, |f| io.out.frame(f));
        if let Some(b) = blocks.as_mut().filter(|b| b.deadline() <= io.now) {
            b.flush(io, c);
        }
    }

    pub(super) fn deadline(&self) -> Instant {
        let block = self.blocks.as_ref().map_or(Instant::FAR, Blocks::deadline);
        self.down.deadline().min(self.up.deadline()).min(block)
    }

    pub(super) fn link_faults(&self) -> LinkFaults {
        self.down.faults
    }

    pub(super) fn fault(&mut self, f: &Fault) -> bool {
        match f {
            Fault::Short(n) => match &mut self.blocks {
                Some(b) => b.set_fault(Some((NtbFault::Short, *n)).filter(|f| f.1 > 0)),
                None => self.short = *n,
            },
            Fault::Ntb(f, n) => match &mut self.blocks {
                Some(b) => b.set_fault(Some((*f, *n)).filter(|f| f.1 > 0)),
                None => return false,
            },
            Fault::Oversize(n) => self.oversize = *n,
            Fault::Link(l) => (self.down.faults, self.up.faults) = (*l, *l),
            Fault::Clear => {
                (self.short, self.oversize) = (0, 0);
                if let Some(b) = &mut self.blocks {
                    b.set_fault(None);
                }
                (self.down.faults, self.up.faults) = (LinkFaults::default(), LinkFaults::default());
            }
            _ => return false,
        }
        true
    }
}

fn deliver(io: &mut Io<'_>, c: &mut Counters, short: &mut u32, blocks: &mut Option<Blocks>, frame: &[u8]) {
    if let Some(b) = blocks {
        return b.push(io, c, frame);
    }
    let mut f = frame;
    if *short > 0 {
        *short -= 1;
        f = &f[..f.len() / 2];
    }
    match io.send(ECM_IN, f) {
        true => c.to_host += 1,
        false => c.no_buffer += 1,
    }
}
