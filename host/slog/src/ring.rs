//! The layout of the file: header and records as bytes.

use crate::Severity;
use iopkt_base::Duration;

/// Size of the ring in bytes, unless slogger(1) made it another.
pub const CAPACITY: u64 = 256 * 1024;
/// Smallest and largest ring.
pub const CAPACITIES: std::ops::RangeInclusive<u64> = 4096..=16 << 20;
/// Longest text of a record in bytes; more is cut off at a character's end.
pub const MAX_TEXT: usize = 1000;

pub(crate) const HEADER: u64 = 64;
pub(crate) const RECORD: usize = 40;
const MAGIC: [u8; 8] = *b"IOPKTSLG";
const VERSION: u32 = 1;
const MARK: u32 = 0x534c_4f47;
/// No log gets so long: positions and numbers up to here can be counted on without overflow.
const MAX_HEAD: u64 = u64::MAX / 2;
/// Records begin at multiples of this.
pub(crate) const ALIGN: usize = 8;

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Number of the record, counted from 1 since the log was made.
    pub seq: u64,
    /// Time since 1970-01-01 00:00 UTC.
    pub time: Duration,
    /// Severity.
    pub severity: Severity,
    /// Major code: which part of the system ([`crate::major`]).
    pub major: u16,
    /// Minor code: the source's own.
    pub minor: u32,
    /// Process that wrote it.
    pub pid: u32,
    /// The message, without control characters.
    pub text: String,
}

/// What the header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Size of the ring.
    pub capacity: u64,
    /// Position of the oldest record.
    pub tail: u64,
    /// Position after the newest record.
    pub head: u64,
    /// Records ever written.
    pub seq: u64,
}

impl Header {
    pub(crate) const EMPTY: Header = Header { capacity: CAPACITY, tail: 0, head: 0, seq: 0 };

    pub(crate) fn encode(&self) -> [u8; HEADER as usize] {
        let mut b = [0; HEADER as usize];
        b[..8].copy_from_slice(&MAGIC);
        b[8..12].copy_from_slice(&VERSION.to_ne_bytes());
        b[12..16].copy_from_slice(&(self.capacity as u32).to_ne_bytes());
        b[16..24].copy_from_slice(&self.tail.to_ne_bytes());
        b[24..32].copy_from_slice(&self.head.to_ne_bytes());
        b[32..40].copy_from_slice(&self.seq.to_ne_bytes());
        let sum = checksum(&[&b[..40]]);
        b[40..44].copy_from_slice(&sum.to_ne_bytes());
        b
    }

    /// `None` for what is no header of this version, or makes no sense.
    pub(crate) fn decode(b: &[u8; HEADER as usize]) -> Option<Header> {
        let capacity = u64::from(u32_at(b, 12)?);
        let h = Header { capacity, tail: u64_at(b, 16)?, head: u64_at(b, 24)?, seq: u64_at(b, 32)? };
        let ok = b[..8] == MAGIC
            && u32_at(b, 8)? == VERSION
            && CAPACITIES.contains(&capacity)
            && capacity.is_multiple_of(ALIGN as u64)
            && u32_at(b, 40)? == checksum(&[&b[..40]])
            && h.tail <= h.head
            && h.head <= MAX_HEAD
            && h.seq <= MAX_HEAD
            && h.head - h.tail <= capacity
            && h.tail.is_multiple_of(ALIGN as u64)
            && h.head.is_multiple_of(ALIGN as u64);
        ok.then_some(h)
    }
}

fn u32_at(b: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(b.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(b: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(b.get(at..at + 8)?.try_into().ok()?))
}

/// FNV-1a: tells damage from data, no more is asked of it.
fn checksum(parts: &[&[u8]]) -> u32 {
    parts
        .iter()
        .flat_map(|p| p.iter())
        .fold(0x811c_9dc5, |h, b| (h ^ u32::from(*b)).wrapping_mul(0x0100_0193))
}

/// Bytes that a record with `text` bytes of text takes in the ring.
pub(crate) fn size(text: usize) -> usize {
    (RECORD + text).next_multiple_of(ALIGN)
}

/// A record as bytes. `text` has at most [`MAX_TEXT`] bytes.
pub(crate) fn encode(r: &Record, out: &mut Vec<u8>) {
    out.clear();
    out.resize(size(r.text.len()), 0);
    let total = out.len() as u32;
    out[0..4].copy_from_slice(&MARK.to_ne_bytes());
    out[8..12].copy_from_slice(&total.to_ne_bytes());
    out[12..14].copy_from_slice(&(r.text.len() as u16).to_ne_bytes());
    out[14..16].copy_from_slice(&r.major.to_ne_bytes());
    out[16..24].copy_from_slice(&r.seq.to_ne_bytes());
    out[24..32].copy_from_slice(&u64::try_from(r.time.as_nanos()).unwrap_or(u64::MAX).to_ne_bytes());
    // Severities need 3 bits, minor codes are small: they share a word.
    let word = (u32::from(r.severity as u8) << 29) | (r.minor & 0x1fff_ffff);
    out[32..36].copy_from_slice(&word.to_ne_bytes());
    out[36..40].copy_from_slice(&r.pid.to_ne_bytes());
    out[RECORD..RECORD + r.text.len()].copy_from_slice(r.text.as_bytes());
    let sum = checksum(&[&out[8..]]);
    out[4..8].copy_from_slice(&sum.to_ne_bytes());
}

/// The record at the start of `b` and its size, `None` when there is no whole and undamaged one.
pub(crate) fn decode(b: &[u8]) -> Option<(Record, usize)> {
    if u32_at(b, 0)? != MARK {
        return None;
    }
    let total = u32_at(b, 8)? as usize;
    let len = usize::from(u16::from_ne_bytes(b.get(12..14)?.try_into().ok()?));
    if len > MAX_TEXT || total != size(len) || b.len() < total || u32_at(b, 4)? != checksum(&[&b[8..total]]) {
        return None;
    }
    let word = u32_at(b, 32)?;
    let r = Record {
        seq: u64_at(b, 16)?,
        time: Duration::from_nanos(u64_at(b, 24)?),
        severity: Severity::of((word >> 29) as u8),
        major: u16::from_ne_bytes(b.get(14..16)?.try_into().ok()?),
        minor: word & 0x1fff_ffff,
        pid: u32_at(b, 36)?,
        text: String::from_utf8_lossy(b.get(RECORD..RECORD + len)?).into_owned(),
    };
    Some((r, total))
}

/// A message as it goes into the log: control characters become blanks (a driver's text must not drive a
/// reader's terminal), trailing blanks go, and what is too long is cut.
pub(crate) fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(MAX_TEXT));
    for c in text.trim_end().chars() {
        let c = if c.is_control() { ' ' } else { c };
        if out.len() + c.len_utf8() > MAX_TEXT {
            break;
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found by fuzzing: a header with a good checksum and positions at the end of the number range.
    #[test]
    fn a_header_that_counting_would_overflow_is_none() {
        let end = !(ALIGN as u64 - 1);
        for h in [
            Header { capacity: CAPACITY, tail: end - 64, head: end, seq: 1 },
            Header { capacity: CAPACITY, tail: 0, head: 0, seq: u64::MAX },
        ] {
            assert_eq!(Header::decode(&h.encode()), None);
        }
        let good = Header { capacity: CAPACITY, tail: 1 << 40, head: (1 << 40) + 64, seq: 7 };
        assert_eq!(Header::decode(&good.encode()), Some(good));
    }
}
