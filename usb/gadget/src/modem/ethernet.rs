//! The Ethernet function: filters, counters, and the faults of its link.

use super::descriptors::{ECM_IN, MAX_SEGMENT, MC_FILTERS};
use crate::device::{Answer, Io};
use crate::faults::{Fault, Link, LinkFaults};
use alloc::vec::Vec;
use iopkt_base::Instant;
use iopkt_usbip::cdc::{filter, req, stat};
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
}

/// What ECM 1.2 leaves to the device until the first SET_ETHERNET_PACKET_FILTER.
const DEFAULT_FILTER: u16 = filter::DIRECTED | filter::BROADCAST | filter::ALL_MULTICAST;

impl Ethernet {
    pub(super) fn new(mac: [u8; 6], seed: u64) -> Ethernet {
        Ethernet {
            mac,
            on: false,
            filter: DEFAULT_FILTER,
            multicast: Vec::new(),
            counters: Counters::default(),
            down: Link::new(seed),
            up: Link::new(seed ^ 0x5555_5555),
            short: 0,
        }
    }

    pub(super) fn is_on(&self) -> bool {
        self.on
    }

    /// The host selected the setting with the endpoints, or the other one, which resets the function.
    pub(super) fn select(&mut self, on: bool) {
        self.on = on;
        if !on {
            self.filter = DEFAULT_FILTER;
            self.multicast.clear();
        }
    }

    pub(super) fn control(&mut self, s: &Setup, data: &[u8]) -> Answer {
        match (s.request, s.is_in()) {
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

    fn wants(&self, dst: &[u8]) -> bool {
        let on = |bit| self.filter & bit != 0;
        on(filter::PROMISCUOUS)
            || match dst {
                [0xff, 0xff, 0xff, 0xff, 0xff, 0xff] => on(filter::BROADCAST),
                [first, ..] if first & 1 == 1 => {
                    on(filter::ALL_MULTICAST)
                        || (on(filter::MULTICAST) && self.multicast.iter().any(|m| m[..] == *dst))
                }
                _ => on(filter::DIRECTED) && *dst == self.mac,
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
        } else if self.down.is_clean() {
            deliver(io, &mut self.counters, &mut self.short, frame);
        } else {
            let (c, short) = (&mut self.counters, &mut self.short);
            self.down.pass(io.now, frame, |f| deliver(io, c, short, f));
        }
    }

    pub(super) fn up_from_host(&mut self, io: &mut Io<'_>, frame: &[u8], link: bool) {
        if !self.on || frame.is_empty() {
            return; // an empty transfer only ends the one before
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
        let (c, short) = (&mut self.counters, &mut self.short);
        self.down.tick(io.now, |f| deliver(io, c, short, f));
        self.up.tick(io.now, |f| io.out.frame(f));
    }

    pub(super) fn deadline(&self) -> Instant {
        self.down.deadline().min(self.up.deadline())
    }

    pub(super) fn link_faults(&self) -> LinkFaults {
        self.down.faults
    }

    pub(super) fn fault(&mut self, f: &Fault) -> bool {
        match f {
            Fault::Short(n) => self.short = *n,
            Fault::Link(l) => (self.down.faults, self.up.faults) = (*l, *l),
            Fault::Clear => {
                self.short = 0;
                (self.down.faults, self.up.faults) = (LinkFaults::default(), LinkFaults::default());
            }
            _ => return false,
        }
        true
    }
}

fn deliver(io: &mut Io<'_>, c: &mut Counters, short: &mut u32, frame: &[u8]) {
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
