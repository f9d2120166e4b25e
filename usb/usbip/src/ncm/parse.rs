//! Reads NTBs. What a device sends is hostile until shown otherwise.
//!
//! Both widths and both table signatures are taken whatever was negotiated: devices exist that ignore
//! SET_NTB_FORMAT, and the signature says what is there. Tables of an unknown kind are passed over, as the
//! specification wants. Overlapping datagrams, chains of tables in a circle and tables that name the same bytes
//! again and again end the block: what comes out of it is never more than what came in.

use super::{Format, crc32};

/// Most tables in a block.
const MAX_TABLES: u32 = 64;
/// Shortest datagram: an Ethernet header.
const MIN_DATAGRAM: u32 = 14;

/// What is wrong with a block or a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// No header, or one of another kind.
    Header,
    /// The block is longer than the transfer, or shorter than its own header.
    BlockLength,
    /// A table lies outside of the block, is misaligned, or has a length that makes no sense.
    Table,
    /// Too many tables: a circle.
    Chain,
    /// A datagram lies outside of the block.
    Place,
    /// A datagram is shorter than an Ethernet header or longer than was agreed on.
    Length,
    /// The datagrams and table entries are longer, together, than the block that holds them.
    Overlap,
    /// A datagram's CRC is wrong.
    Crc,
}

/// A block with a good header.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    data: &'a [u8],
    format: Format,
    first: u32,
    /// `wSequence`.
    pub sequence: u16,
}

fn le16(b: &[u8], at: usize) -> Option<u32> {
    Some(u32::from(u16::from_le_bytes(*b.get(at..)?.first_chunk()?)))
}

fn le32(b: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*b.get(at..)?.first_chunk()?))
}

impl Format {
    /// A number of the format's width.
    fn word(self, b: &[u8], at: usize) -> Option<u32> {
        match self {
            Format::Ntb16 => le16(b, at),
            Format::Ntb32 => le32(b, at),
        }
    }

    const fn width(self) -> usize {
        self.entry() / 2
    }
}

impl<'a> Block<'a> {
    /// Reads the header of a transfer.
    ///
    /// # Errors
    /// [`Bad::Header`], [`Bad::BlockLength`]; nothing of the transfer can be used.
    pub fn parse(transfer: &'a [u8]) -> Result<Block<'a>, Bad> {
        let format = match transfer.first_chunk() {
            Some(b"NCMH") => Format::Ntb16,
            Some(b"ncmh") => Format::Ntb32,
            _ => return Err(Bad::Header),
        };
        let header = || {
            let len = le16(transfer, 4)?;
            let sequence = le16(transfer, 6)?;
            let block = format.word(transfer, 8)?;
            let first = format.word(transfer, 8 + format.width())?;
            Some((len as usize, sequence as u16, block as usize, first))
        };
        let (len, sequence, block, first) = header().ok_or(Bad::Header)?;
        if len != format.header() {
            return Err(Bad::Header);
        }
        // 0: the end of the transfer is the end of the block (NCM 1.0, table 3-1).
        let block = if block == 0 { transfer.len() } else { block };
        if block < len || block > transfer.len() {
            return Err(Bad::BlockLength);
        }
        Ok(Block { data: &transfer[..block], format, first, sequence })
    }

    /// Width of its numbers.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Its datagrams, the longest of which may be `max` bytes (without CRC). An error that is a datagram's own
    /// does not end the iteration.
    pub fn datagrams(&self, max: usize) -> Datagrams<'a> {
        Datagrams {
            data: self.data,
            format: self.format,
            max: u32::try_from(max).unwrap_or(u32::MAX),
            table: self.first,
            entry: 0,
            end: 0,
            crc: false,
            tables: 0,
            sum: 0,
        }
    }
}

/// Iterator over the datagrams of a block.
#[derive(Clone, Debug)]
pub struct Datagrams<'a> {
    data: &'a [u8],
    format: Format,
    max: u32,
    /// The table to open when the entries of this one end; 0 for none.
    table: u32,
    /// The next entry, and where entries end.
    entry: usize,
    end: usize,
    crc: bool,
    tables: u32,
    /// Bytes of datagrams and entries so far.
    sum: u64,
}

impl<'a> Datagrams<'a> {
    /// Opens the next table that has datagrams; `None` when there is none.
    fn open(&mut self) -> Option<Result<(), Bad>> {
        while self.table != 0 {
            self.tables += 1;
            if self.tables > MAX_TABLES {
                self.table = 0;
                return Some(Err(Bad::Chain));
            }
            match self.head() {
                Some(known) if known => return Some(Ok(())),
                Some(_) => {}
                None => {
                    self.table = 0;
                    return Some(Err(Bad::Table));
                }
            }
        }
        None
    }

    /// Reads a table's head and goes on to the next in `table`. Whether it is of a kind that we know; `None` when
    /// it is no table.
    fn head(&mut self) -> Option<bool> {
        let f = self.format;
        let at = self.table as usize;
        let signature: &[u8; 4] = self.data.get(at..)?.first_chunk()?;
        let length = le16(self.data, at + 4)? as usize;
        let next = match f {
            Format::Ntb16 => le16(self.data, at + 6)?,
            Format::Ntb32 => le32(self.data, at + 8)?,
        };
        let end = at.checked_add(length)?;
        if at < f.header() || !at.is_multiple_of(4) || end > self.data.len() || length < f.table() + f.entry()
        {
            return None;
        }
        self.table = next;
        self.crc = match (f, signature) {
            (Format::Ntb16, b"NCM0") | (Format::Ntb32, b"ncm0") => false,
            (Format::Ntb16, b"NCM1") | (Format::Ntb32, b"ncm1") => true,
            _ => return Some(false),
        };
        (self.entry, self.end) = (at + f.table(), end);
        Some(true)
    }

    /// Bytes of the block that an entry or a datagram stands for. More of them than the block has end it.
    fn spend(&mut self, n: usize) -> Result<(), Bad> {
        self.sum += n as u64;
        if self.sum > self.data.len() as u64 {
            (self.entry, self.end, self.table) = (0, 0, 0);
            return Err(Bad::Overlap);
        }
        Ok(())
    }

    fn datagram(&mut self, index: u32, length: u32) -> Result<&'a [u8], Bad> {
        let tail = if self.crc { 4 } else { 0 };
        let at = index as usize;
        let bytes = at
            .checked_add(length as usize)
            .filter(|_| at >= self.format.header())
            .and_then(|end| self.data.get(at..end))
            .ok_or(Bad::Place)?;
        self.spend(length as usize)?;
        if !(MIN_DATAGRAM + tail..=self.max.saturating_add(tail)).contains(&length) {
            return Err(Bad::Length);
        }
        let Some((frame, sum)) = bytes.split_last_chunk::<4>().filter(|_| self.crc) else { return Ok(bytes) };
        if crc32(frame) != u32::from_le_bytes(*sum) {
            return Err(Bad::Crc);
        }
        Ok(frame)
    }
}

impl<'a> Iterator for Datagrams<'a> {
    type Item = Result<&'a [u8], Bad>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let f = self.format;
            if self.entry + f.entry() > self.end {
                match self.open()? {
                    Ok(()) => continue,
                    Err(e) => return Some(Err(e)),
                }
            }
            let index = f.word(self.data, self.entry)?;
            let length = f.word(self.data, self.entry + f.width())?;
            self.entry += f.entry();
            if let Err(e) = self.spend(f.entry()) {
                return Some(Err(e));
            }
            // The list ends with zeros; one of them is enough (NCM 1.0, 3.3.1).
            if index == 0 || length == 0 {
                (self.entry, self.end) = (0, 0);
                continue;
            }
            return Some(self.datagram(index, length));
        }
    }
}
