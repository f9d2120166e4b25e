//! CDC-NCM on the machine: many frames in a transfer.
//!
//! What differs from ECM: before its data interface is switched on the function is told width, size and CRC
//! mode (switching it off resets them, so that this is done each time); what comes in is taken apart by
//! [`Block`]; what goes out is put together by [`Builder`] right in the buffer that is written to the USB stack.
//! A block is sent when the frames that the interface's queue held at that moment are in it, or when the next one
//! does not fit: a single frame is never held back for company.

use super::jobs::Job;
use super::{Machine, Tok, Up};
use iopkt_usbip::client::{Client, Full};
use iopkt_usbip::ncm::{self, Block, Builder, Format, Parameters, Shape, Sink, cap};

/// Longest block that we ask for and send: what Linux and its gadget use, ten full frames.
pub const BLOCK: u32 = 16_384;

/// Longest receive URB that the USB stack is asked for.
const MAX_URB: u32 = 65_536;

/// How an NCM function is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NtbSetting {
    /// What GET_NTB_PARAMETERS answered.
    pub params: Parameters,
    /// `bmNetworkCapabilities`.
    pub caps: u8,
    /// Wanted width; NTB-16 where the function does not have it.
    pub format: Format,
    /// Wanted CRC mode; off where the function does not have it.
    pub crc: bool,
    /// Most frames in a block to the device, 0: what fits.
    pub frames: usize,
    /// Longest block each way, bytes.
    pub block: u32,
}

/// What has passed in blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NtbCounts {
    /// Blocks sent.
    pub tx_blocks: u64,
    /// Frames in them.
    pub tx_frames: u64,
    /// Most in one.
    pub tx_most: u64,
    /// Blocks received.
    pub rx_blocks: u64,
    /// Frames in them.
    pub rx_frames: u64,
    /// Most in one.
    pub rx_most: u64,
    /// Blocks that could not be used.
    pub bad_blocks: u64,
    /// Frames in good blocks that could not.
    pub bad_frames: u64,
    /// Blocks whose sequence number was neither the next nor, as with devices that do not count, the same.
    pub gaps: u64,
}

/// A step of the negotiation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Format,
    Crc,
    InputSize,
    MaxDatagram,
}

/// State of the blocks of one device.
pub(super) struct Ntb {
    set: NtbSetting,
    builder: Builder,
    packet: u16,
    format: Format,
    crc: bool,
    /// Blocks to us that the function was told, bytes.
    input: u32,
    /// Sequence number of the last block.
    last: Option<u16>,
    counts: NtbCounts,
}

impl Ntb {
    fn new(set: NtbSetting, packet: u16) -> Ntb {
        let format = if set.params.formats & set.format.bit() != 0 { set.format } else { Format::Ntb16 };
        let crc = set.crc && set.caps & cap::CRC_MODE != 0;
        let input = set.params.in_max.min(set.block);
        let builder = Builder::new(shape(&set, format, crc, packet));
        Ntb { set, builder, packet, format, crc, input, last: None, counts: NtbCounts::default() }
    }

    /// What the function must be told while it is off.
    fn steps(&self) -> impl Iterator<Item = Step> {
        let p = &self.set.params;
        let choice = p.formats & Format::Ntb32.bit() != 0 && p.formats & Format::Ntb16.bit() != 0;
        let list = [
            (Step::Format, choice),
            (Step::Crc, self.set.caps & cap::CRC_MODE != 0),
            (Step::InputSize, self.input != p.in_max),
            (Step::MaxDatagram, self.set.caps & cap::MAX_DATAGRAM_SIZE != 0),
        ];
        list.into_iter().filter(|s| s.1).map(|s| s.0)
    }

    /// The function is on, as after a reset.
    pub(super) fn opened(&mut self) {
        self.builder.reset();
        self.last = None;
    }

    /// Length of receive URBs: a block never fills more.
    fn urb(&self, packet: usize) -> usize {
        (self.input as usize).next_multiple_of(packet.max(1))
    }

    /// Takes a transfer apart; frames that `wanted` does not want are dropped.
    pub(super) fn received(
        &mut self,
        transfer: &[u8],
        max: usize,
        wanted: &mut dyn FnMut(&[u8]) -> bool,
        up: &mut dyn Up,
    ) {
        if transfer.is_empty() {
            return; // ended the block before it
        }
        let block = match Block::parse(transfer) {
            Ok(b) => b,
            Err(e) => {
                self.counts.bad_blocks += 1;
                up.say(true, format!("bad block of {} bytes: {e:?}", transfer.len()));
                return up.errors(1, 0);
            }
        };
        // Linux's gadget says 0 each time: that is no gap.
        let follows = |last: u16| [last, last.wrapping_add(1)].contains(&block.sequence);
        if !self.last.is_none_or(follows) {
            self.counts.gaps += 1;
        }
        self.last = Some(block.sequence);
        let (mut good, mut bad) = (0, 0);
        for d in block.datagrams(max) {
            match d {
                Ok(f) => {
                    good += 1;
                    if wanted(f) {
                        up.frame(f, None);
                    }
                }
                Err(e) => {
                    if bad == 0 {
                        up.say(true, format!("bad frame in a block: {e:?}"));
                    }
                    bad += 1;
                }
            }
        }
        let c = &mut self.counts;
        c.rx_blocks += 1;
        c.rx_frames += good;
        c.rx_most = c.rx_most.max(good);
        c.bad_frames += bad;
        if bad > 0 {
            up.errors(bad, 0);
        }
    }

    /// Ends the block under way, if there is one.
    fn flush(&mut self, client: &mut Client) {
        let Some(mut w) = client.writer() else { return };
        let n = self.builder.finish(&mut w) as u64;
        client.close_out();
        self.counts.tx_blocks += 1;
        self.counts.tx_frames += n;
        self.counts.tx_most = self.counts.tx_most.max(n);
    }
}

fn shape(set: &NtbSetting, format: Format, crc: bool, packet: u16) -> Shape {
    let mut s = Shape::out(&set.params, format, crc, set.block, packet);
    if set.frames > 0 {
        s.datagrams = s.datagrams.min(set.frames);
    }
    s
}

impl Machine {
    /// The function carries blocks (NCM) instead of single frames. Before [`Machine::begin`].
    pub fn use_blocks(&mut self, set: NtbSetting) {
        let n = Ntb::new(set, self.set.ecm.bulk_out.max_packet());
        self.rx_len = n.urb(usize::from(self.set.ecm.bulk_in.max_packet()));
        self.ntb = Some(n);
    }

    /// What has passed in blocks; `None` for a function without them.
    pub fn block_counts(&self) -> Option<NtbCounts> {
        self.ntb.as_ref().map(|n| n.counts)
    }

    /// How blocks are written: width, CRC mode, longest one; `None` for a function without them.
    pub fn block_form(&self) -> Option<(Format, bool, usize)> {
        self.ntb.as_ref().map(|n| (n.format, n.crc, n.builder.shape().size))
    }

    /// Queues what the function must be told before it is switched on.
    pub(super) fn negotiate(&mut self) {
        self.jobs.retain(|j| !matches!(j, Job::Ntb(_)));
        if let Some(n) = &self.ntb {
            self.jobs.extend(n.steps().map(Job::Ntb));
        }
    }

    pub(super) fn submit_step(&mut self, step: Step) -> Result<(), Full> {
        let control = self.set.ecm.control;
        let Some(n) = &self.ntb else { return Ok(()) };
        let (setup, data) = match step {
            Step::Format => (ncm::set_format(control, n.format), [0; 8]),
            Step::Crc => (ncm::set_crc_mode(control, n.crc), [0; 8]),
            Step::InputSize => ncm::set_input_size(control, n.set.caps, n.input),
            Step::MaxDatagram => {
                let (s, [a, b]) = ncm::set_max_datagram(control, self.set.max_segment);
                (s, [a, b, 0, 0, 0, 0, 0, 0])
            }
        };
        self.client.control(Tok::Control as u32, setup, &data)
    }

    /// The answer to a step. A function that refuses keeps its default, which we know.
    pub(super) fn step_done(&mut self, step: Step, ok: bool, up: &mut dyn Up) {
        let Some(n) = &mut self.ntb else { return };
        if ok {
            return;
        }
        match step {
            Step::Format => n.format = Format::Ntb16,
            Step::Crc => n.crc = false,
            Step::InputSize => {
                n.input = n.set.params.in_max;
                if n.input > MAX_URB {
                    let (set, max) = (n.set.block, n.input);
                    up.failed(format!("it refuses blocks of {set} bytes, and its own are {max}: too long"));
                }
                self.rx_len = n.urb(usize::from(self.set.ecm.bulk_in.max_packet()));
            }
            Step::MaxDatagram => {}
        }
        n.builder = Builder::new(shape(&n.set, n.format, n.crc, n.packet));
        up.say(true, format!("{step:?} refused; going on with the device's own"));
    }

    /// [`Machine::send`] into a block.
    pub(super) fn send_in_block(&mut self, frame: &[u8], up: &mut dyn Up) -> bool {
        if !self.can_send() {
            self.tx_owed = true;
            return false;
        }
        let Machine { ntb: Some(n), client, tx, .. } = self else { return true };
        if frame.len() > n.builder.shape().longest() {
            up.errors(0, 1);
            return true;
        }
        if let Some(mut w) = client.writer() {
            if n.builder.fits(w.len(), frame.len()) {
                n.builder.add(&mut w, frame);
                return true;
            }
            n.flush(client);
        }
        let max = n.builder.shape().size;
        let ep = self.set.ecm.bulk_out;
        let full = tx.out >= self.set.transmit;
        if full || client.open_out(&ep, Tok::Tx as u32, max).is_err() {
            self.tx_owed = true;
            return false;
        }
        if tx.out == 0 {
            tx.since = self.now;
        }
        tx.out += 1;
        if let Some(mut w) = client.writer() {
            n.builder.add(&mut w, frame);
        }
        true
    }

    /// Sends the block under way: the queue that fed [`Machine::send`] is empty.
    pub fn flush(&mut self) {
        if let Some(n) = &mut self.ntb {
            n.flush(&mut self.client);
        }
    }
}
