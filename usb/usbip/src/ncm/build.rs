//! Writes NTBs: header, datagrams as they come, and the table behind them, so that a datagram is written once,
//! to where it leaves from; only the header's two numbers are filled in at the end.

use super::{Format, MAX_NTB16, Parameters, crc32};
use alloc::vec::Vec;

/// Where a block is written.
pub trait Sink {
    /// Bytes of the block so far.
    fn len(&self) -> usize;
    /// Whether nothing was written yet.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Appends.
    fn push(&mut self, b: &[u8]);
    /// Overwrites bytes that were appended before.
    fn patch(&mut self, at: usize, b: &[u8]);
}

impl Sink for Vec<u8> {
    fn len(&self) -> usize {
        Vec::len(self)
    }
    fn push(&mut self, b: &[u8]) {
        self.extend_from_slice(b);
    }
    fn patch(&mut self, at: usize, b: &[u8]) {
        if let Some(t) = self.get_mut(at..at + b.len()) {
            t.copy_from_slice(b);
        }
    }
}

/// What blocks must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Width of numbers.
    pub format: Format,
    /// Each datagram is followed by its CRC.
    pub crc: bool,
    /// Longest block, bytes.
    pub size: usize,
    /// Most datagrams.
    pub datagrams: usize,
    /// `(offset of the payload behind the Ethernet header) % divisor == remainder` (NCM 1.0, 3.3.4).
    pub divisor: usize,
    /// See `divisor`.
    pub remainder: usize,
    /// Alignment of the table, a power of two.
    pub alignment: usize,
    /// Packet size of the endpoint, bytes.
    pub packet: usize,
}

/// Bytes of an Ethernet header, which alignment leaves out.
const ETHER: usize = 14;
/// Most datagrams in a block of ours: what a table of moderate size holds.
pub const MAX_DATAGRAMS: usize = 256;

impl Shape {
    /// Blocks from the host, no longer than `limit`. Numbers that make no sense are replaced by the least that
    /// the specification allows.
    pub fn out(p: &Parameters, format: Format, crc: bool, limit: u32, packet: u16) -> Shape {
        Shape::new(
            format,
            crc,
            p.out_max.min(limit),
            p.out_datagrams,
            (p.out_divisor, p.out_remainder, p.out_alignment),
            packet,
        )
    }

    /// Blocks to the host, of the `size` that it set.
    pub fn input(p: &Parameters, format: Format, crc: bool, size: u32, packet: u16) -> Shape {
        Shape::new(format, crc, size, 0, (p.in_divisor, p.in_remainder, p.in_alignment), packet)
    }

    fn new(
        format: Format,
        crc: bool,
        size: u32,
        datagrams: u16,
        align: (u16, u16, u16),
        packet: u16,
    ) -> Shape {
        let size = if format == Format::Ntb16 { size.min(MAX_NTB16) } else { size } as usize;
        let (divisor, remainder, alignment) = align;
        // What Linux's driver does: nonsense means 4.
        let sane = |v: u16| if (4..=size / 8).contains(&usize::from(v)) { usize::from(v) } else { 4 };
        let divisor = sane(divisor);
        let alignment = if alignment.is_power_of_two() { sane(alignment) } else { 4 };
        Shape {
            format,
            crc,
            size,
            datagrams: if datagrams == 0 { MAX_DATAGRAMS } else { usize::from(datagrams).min(MAX_DATAGRAMS) },
            divisor,
            remainder: usize::from(remainder) % divisor,
            alignment,
            packet: usize::from(packet).max(1),
        }
    }

    /// Where a datagram goes that is written at `pos` or behind.
    fn place(&self, pos: usize) -> usize {
        let have = (pos + ETHER) % self.divisor;
        pos + (self.remainder + self.divisor - have) % self.divisor
    }

    /// Bytes of a table with `n` datagrams and the end mark.
    fn table(&self, n: usize) -> usize {
        self.format.table() + (n + 1) * self.format.entry()
    }

    /// Length of a block that has `pos` bytes and `n` datagrams, with one more of `len` bytes.
    fn end(&self, pos: usize, n: usize, len: usize) -> usize {
        let data = self.place(pos) + len + if self.crc { 4 } else { 0 };
        data.next_multiple_of(self.alignment) + self.table(n + 1)
    }

    /// Longest datagram that a block can hold.
    pub fn longest(&self) -> usize {
        self.size.saturating_sub(self.end(self.format.header(), 0, 0) + self.alignment)
    }
}

/// Writes blocks of one direction.
#[derive(Debug)]
pub struct Builder {
    shape: Shape,
    /// Offsets and lengths of the block's datagrams.
    entries: Vec<(u32, u32)>,
    sequence: u16,
}

impl Builder {
    /// A builder whose first block has sequence number 0. Allocates here, not for blocks.
    pub fn new(shape: Shape) -> Builder {
        Builder { shape, entries: Vec::with_capacity(shape.datagrams), sequence: 0 }
    }

    /// What blocks look like.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Datagrams in the block so far.
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    /// Whether a datagram of `len` bytes fits a block that is `pos` bytes long (0: a new one).
    pub fn fits(&self, pos: usize, len: usize) -> bool {
        let n = self.entries.len();
        n < self.shape.datagrams
            && self.shape.end(pos.max(self.shape.format.header()), n, len) <= self.shape.size
    }

    /// Appends a datagram that [`Builder::fits`].
    pub fn add(&mut self, out: &mut impl Sink, frame: &[u8]) {
        if out.is_empty() {
            self.header(out);
        }
        let pos = out.len();
        let at = self.shape.place(pos);
        fill(out, at - pos);
        out.push(frame);
        let mut len = frame.len();
        if self.shape.crc {
            out.push(&crc32(frame).to_le_bytes());
            len += 4;
        }
        self.entries.push((at as u32, len as u32));
    }

    fn header(&mut self, out: &mut impl Sink) {
        self.entries.clear();
        let mut h = [0; 16];
        let n = self.shape.format.header();
        h[..4].copy_from_slice(match self.shape.format {
            Format::Ntb16 => b"NCMH",
            Format::Ntb32 => b"ncmh",
        });
        h[4..6].copy_from_slice(&(n as u16).to_le_bytes());
        h[6..8].copy_from_slice(&self.sequence.to_le_bytes());
        self.sequence = self.sequence.wrapping_add(1);
        out.push(&h[..n]);
    }

    /// Ends the block: writes the table, and the byte that makes the last packet a short one where the transfer
    /// would otherwise seem to go on (a block of the full size needs none: NCM 1.0, 3.2.2). Returns how many
    /// datagrams it has.
    pub fn finish(&mut self, out: &mut impl Sink) -> usize {
        let s = self.shape;
        let pos = out.len();
        let at = pos.next_multiple_of(s.alignment);
        fill(out, at - pos);
        self.write_table(out);
        let len = out.len();
        if len.is_multiple_of(s.packet) && len < s.size {
            fill(out, 1);
        }
        let len = out.len() as u32;
        match s.format {
            Format::Ntb16 => {
                out.patch(8, &(len as u16).to_le_bytes());
                out.patch(10, &(at as u16).to_le_bytes());
            }
            Format::Ntb32 => {
                out.patch(8, &len.to_le_bytes());
                out.patch(12, &(at as u32).to_le_bytes());
            }
        }
        let n = self.entries.len();
        self.entries.clear();
        n
    }

    fn write_table(&mut self, out: &mut impl Sink) {
        let s = self.shape;
        let length = (s.table(self.entries.len()) as u16).to_le_bytes();
        let mut head = [0; 16];
        head[..4].copy_from_slice(match (s.format, s.crc) {
            (Format::Ntb16, false) => b"NCM0",
            (Format::Ntb16, true) => b"NCM1",
            (Format::Ntb32, false) => b"ncm0",
            (Format::Ntb32, true) => b"ncm1",
        });
        head[4..6].copy_from_slice(&length);
        out.push(&head[..s.format.table()]);
        for (at, len) in self.entries.iter().copied().chain([(0, 0)]) {
            match s.format {
                Format::Ntb16 => {
                    let (a, l) = ((at as u16).to_le_bytes(), (len as u16).to_le_bytes());
                    out.push(&[a[0], a[1], l[0], l[1]]);
                }
                Format::Ntb32 => {
                    out.push(&at.to_le_bytes());
                    out.push(&len.to_le_bytes());
                }
            }
        }
    }

    /// Counts from 0 again, as after a reset of the function; a block under way is forgotten.
    pub fn reset(&mut self) {
        self.sequence = 0;
        self.entries.clear();
    }
}

fn fill(out: &mut impl Sink, mut n: usize) {
    const ZEROS: [u8; 64] = [0; 64];
    while n > 0 {
        let k = n.min(ZEROS.len());
        out.push(&ZEROS[..k]);
        n -= k;
    }
}
