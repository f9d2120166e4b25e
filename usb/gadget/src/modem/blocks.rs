//! The Ethernet function as NCM: frames in blocks (NTBs), and what can be made wrong with those.
//!
//! Frames from the network collect in a block, which leaves when the next one does not fit, or with the device's
//! next tick, which is due at once: what came together leaves together, and nothing waits for more.

use super::descriptors::{ECM_IN, ECM_OUT, MAX_SEGMENT, PACKET};
use super::ethernet::Counters;
use crate::device::{Answer, Io};
use crate::faults::NtbFault;
use alloc::vec::Vec;
use iopkt_base::Instant;
use iopkt_usbip::ncm::{Block, Builder, Format, MIN_NTB, Parameters, Shape, cap, req};
use iopkt_usbip::setup::Setup;

/// What an NCM function says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NcmConfig {
    /// Answer to GET_NTB_PARAMETERS.
    pub params: Parameters,
    /// `bmNetworkCapabilities`: [`cap`].
    pub caps: u8,
}

impl Default for NcmConfig {
    fn default() -> NcmConfig {
        let caps = cap::PACKET_FILTER
            | cap::ENCAPSULATED
            | cap::MAX_DATAGRAM_SIZE
            | cap::CRC_MODE
            | cap::NTB_INPUT_SIZE_8;
        NcmConfig { params: Parameters::default(), caps }
    }
}

/// What an NCM function counts, since power-on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockCounters {
    /// Blocks to the host.
    pub to_host: u64,
    /// Most frames in one of them.
    pub to_host_most: u64,
    /// Blocks from the host.
    pub from_host: u64,
    /// Most frames in one of them.
    pub from_host_most: u64,
    /// Blocks from the host that could not be read, were longer than allowed or held too many frames.
    pub bad: u64,
    /// Blocks from the host whose sequence number was not the next.
    pub gaps: u64,
}

#[derive(Debug)]
pub(super) struct Blocks {
    cfg: NcmConfig,
    format: Format,
    crc: bool,
    input_size: u32,
    max_datagram: u16,
    builder: Builder,
    block: Vec<u8>,
    /// When the block under way leaves.
    due: Instant,
    expect: Option<u16>,
    fault: Option<(NtbFault, u32)>,
    pub(super) counters: BlockCounters,
}

impl Blocks {
    pub(super) fn new(cfg: NcmConfig) -> Blocks {
        let input_size = cfg.params.in_max;
        Blocks {
            cfg,
            format: Format::Ntb16,
            crc: false,
            input_size,
            max_datagram: MAX_SEGMENT,
            builder: Builder::new(Shape::input(&cfg.params, Format::Ntb16, false, input_size, PACKET)),
            block: Vec::new(),
            due: Instant::FAR,
            expect: None,
            fault: None,
            counters: BlockCounters::default(),
        }
    }

    /// The data setting was left or entered. Leaving it resets what the host has set.
    pub(super) fn select(&mut self, on: bool) {
        let old = core::mem::replace(self, Blocks::new(self.cfg));
        (self.counters, self.fault) = (old.counters, old.fault);
        if on {
            (self.format, self.crc) = (old.format, old.crc);
            (self.input_size, self.max_datagram) = (old.input_size, old.max_datagram);
            let shape = Shape::input(&self.cfg.params, self.format, self.crc, self.input_size, PACKET);
            self.builder = Builder::new(shape);
        }
    }

    /// A transfer of the host's that is as long as a block may be ends without a short packet.
    pub(super) fn prepare(&self, io: &mut Io<'_>) {
        if let Some(p) = io.pipes.output(ECM_OUT) {
            p.whole = self.cfg.params.out_max as usize;
        }
    }

    /// A class request of NCM's own; `on`: the data setting is selected. `None`: not one of those.
    pub(super) fn control(&mut self, s: &Setup, data: &[u8], on: bool) -> Option<Answer> {
        let has = |bit| self.cfg.caps & bit != 0;
        let supported = |f: Format| self.cfg.params.formats & f.bit() != 0;
        Some(match (s.request, s.is_in()) {
            (req::GET_NTB_PARAMETERS, true) => Answer::Data(self.cfg.params.to_bytes().to_vec()),
            (req::GET_NTB_FORMAT, true) => Answer::Data(self.format.value().to_le_bytes().to_vec()),
            (req::GET_NTB_INPUT_SIZE, true) => Answer::Data(self.input_size.to_le_bytes().to_vec()),
            (req::GET_MAX_DATAGRAM_SIZE, true) if has(cap::MAX_DATAGRAM_SIZE) => {
                Answer::Data(self.max_datagram.to_le_bytes().to_vec())
            }
            (req::GET_CRC_MODE, true) if has(cap::CRC_MODE) => {
                Answer::Data(u16::from(self.crc).to_le_bytes().to_vec())
            }
            // All that follows is for setting 0 (NCM 1.0, 6.2).
            (req::SET_NTB_FORMAT..=req::SET_CRC_MODE, false) if on => Answer::Stall,
            (req::SET_NTB_FORMAT, false) => match s.value {
                0 if supported(Format::Ntb16) => self.set(|b| b.format = Format::Ntb16),
                1 if supported(Format::Ntb32) => self.set(|b| b.format = Format::Ntb32),
                _ => Answer::Stall,
            },
            (req::SET_NTB_INPUT_SIZE, false) => {
                let size = data.first_chunk().map_or(0, |d| u32::from_le_bytes(*d));
                let form = data.len() == 4 || (data.len() == 8 && has(cap::NTB_INPUT_SIZE_8));
                match form && (MIN_NTB..=self.cfg.params.in_max).contains(&size) {
                    true => self.set(|b| b.input_size = size),
                    false => Answer::Stall,
                }
            }
            (req::SET_MAX_DATAGRAM_SIZE, false) if has(cap::MAX_DATAGRAM_SIZE) => match *data {
                [a, b] if (64..=MAX_SEGMENT).contains(&u16::from_le_bytes([a, b])) => {
                    self.set(|k| k.max_datagram = u16::from_le_bytes([a, b]))
                }
                _ => Answer::Stall,
            },
            (req::SET_CRC_MODE, false) if has(cap::CRC_MODE) && s.value <= 1 => {
                let on = s.value == 1;
                self.set(|b| b.crc = on)
            }
            (req::GET_NTB_PARAMETERS..=req::SET_CRC_MODE, _) => Answer::Stall,
            _ => return None,
        })
    }

    fn set(&mut self, f: impl FnOnce(&mut Blocks)) -> Answer {
        f(self);
        Answer::Done
    }

    /// Frames that it would still take, when the endpoint takes `room` transfers.
    pub(super) fn room(room: usize) -> usize {
        // Far fewer blocks than frames: they are as long as ten of them.
        const QUEUE: usize = 64;
        room.saturating_sub(crate::device::IN_QUEUE - QUEUE) * 8
    }

    /// A frame for the host.
    pub(super) fn push(&mut self, io: &mut Io<'_>, c: &mut Counters, frame: &[u8]) {
        if frame.len() > usize::from(self.max_datagram) {
            c.to_host_errors += 1;
            return;
        }
        if !self.block.is_empty() && !self.builder.fits(self.block.len(), frame.len()) {
            self.flush(io, c);
        }
        if !self.builder.fits(self.block.len(), frame.len()) {
            c.to_host_errors += 1;
            return;
        }
        self.builder.add(&mut self.block, frame);
        self.due = io.now;
    }

    /// Sends the block under way.
    pub(super) fn flush(&mut self, io: &mut Io<'_>, c: &mut Counters) {
        self.due = Instant::FAR;
        if self.block.is_empty() {
            return;
        }
        let n = self.builder.finish(&mut self.block) as u64;
        self.spoil();
        let whole = self.block.len() == self.input_size as usize;
        if let Some(p) = io.pipes.input(ECM_IN).filter(|_| whole) {
            // The longest block ends by its length.
            p.omit_zlp += u32::from(self.block.len().is_multiple_of(usize::from(PACKET)));
        }
        match io.send(ECM_IN, &self.block) {
            true => {
                c.to_host += n;
                self.counters.to_host += 1;
                self.counters.to_host_most = self.counters.to_host_most.max(n);
            }
            false => c.no_buffer += n,
        }
        self.block.clear();
    }

    pub(super) fn deadline(&self) -> Instant {
        self.due
    }

    /// A block of the host: gives its frames to `deliver`.
    pub(super) fn received(
        &mut self,
        transfer: &[u8],
        c: &mut Counters,
        mut deliver: impl FnMut(&mut Counters, &[u8]),
    ) {
        if transfer.is_empty() {
            return;
        }
        let limit = self.cfg.params.out_max as usize;
        let Some(block) = Block::parse(transfer).ok().filter(|_| transfer.len() <= limit) else {
            self.counters.bad += 1;
            c.from_host_errors += 1;
            return;
        };
        self.counters.gaps += u64::from(self.expect.is_some_and(|e| e != block.sequence));
        self.expect = Some(block.sequence.wrapping_add(1));
        // As strict as Linux's gadget: the width and CRC mode that were agreed on, and aligned datagrams.
        let p = &self.cfg.params;
        let most = if p.out_datagrams == 0 { u64::MAX } else { u64::from(p.out_datagrams) };
        let (divisor, remainder) = (usize::from(p.out_divisor.max(1)), usize::from(p.out_remainder));
        let mut n = 0;
        for d in block.datagrams(usize::from(MAX_SEGMENT)) {
            let at = d.map_or(0, |f| f.as_ptr() as usize - transfer.as_ptr() as usize + 14);
            match d {
                Ok(f) if n < most && at % divisor == remainder % divisor && block.format() == self.format => {
                    n += 1;
                    deliver(c, f);
                }
                _ => c.from_host_errors += 1,
            }
        }
        self.counters.from_host += 1;
        self.counters.from_host_most = self.counters.from_host_most.max(n);
    }

    /// The next `count` blocks to the host get this fault.
    pub(super) fn set_fault(&mut self, f: Option<(NtbFault, u32)>) {
        self.fault = f;
    }

    /// Does to the finished block what a fault wants.
    fn spoil(&mut self) {
        let Some((f, count)) = &mut self.fault else { return };
        let f = *f;
        *count -= 1;
        if *count == 0 {
            self.fault = None;
        }
        let wide = self.format == Format::Ntb32;
        let b = &mut self.block;
        let table_at = if wide { 12 } else { 10 };
        let table = usize::from(u16::from_le_bytes([b[table_at], b[table_at + 1]]));
        let entry = table + self.format.table();
        let mut put = |at: usize, v: &[u8]| b[at..at + v.len()].copy_from_slice(v);
        let far = [0xf0, 0xff];
        match f {
            NtbFault::Header => put(0, b"XXXX"),
            NtbFault::Sequence => put(6, &far),
            NtbFault::Length => put(8, &far),
            NtbFault::Table => put(table_at, &far),
            NtbFault::Chain => put(table + if wide { 8 } else { 6 }, &(table as u16).to_le_bytes()),
            NtbFault::Place => put(entry, &far),
            NtbFault::Datagram => put(entry + if wide { 4 } else { 2 }, &[7, 0]),
            NtbFault::Crc => {
                let at = usize::from(u16::from_le_bytes([b[entry], b[entry + 1]]));
                b[at + 20] ^= 0x10;
            }
            NtbFault::Short => b.truncate(b.len() / 2),
            NtbFault::Oversize => {
                // Said to be, and really, longer than the host has allowed.
                b.resize(self.input_size as usize + 700, 0);
                let n = (b.len() as u32).to_le_bytes();
                b[8..if wide { 12 } else { 10 }].copy_from_slice(&n[..if wide { 4 } else { 2 }]);
            }
        }
    }
}
