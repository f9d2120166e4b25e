//! pcapng files (draft-ietf-opsawg-pcapng): blocks of a type, a length, a body, and the length again.

use std::io::{self, Write};

/// LINKTYPE_ETHERNET and LINKTYPE_RAW.
pub const ETHERNET: u16 = 1;
/// IP packets without a link-level header.
pub const RAW: u16 = 101;

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const STATISTICS: u32 = 5;
const PACKET: u32 = 6;
const MAGIC: u32 = 0x1a2b_3c4d;

/// A block that is put together.
struct Block(Vec<u8>);

impl Block {
    fn new(kind: u32) -> Block {
        let mut b = Block(kind.to_ne_bytes().to_vec());
        b.put(&[0; 4]); // the length, when it is known
        b
    }

    fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn pad(&mut self) {
        let n = self.0.len().next_multiple_of(4);
        self.0.resize(n, 0);
    }

    fn option(&mut self, code: u16, value: &[u8]) {
        self.put(&code.to_ne_bytes());
        self.put(&(value.len().min(0xffff) as u16).to_ne_bytes());
        self.put(&value[..value.len().min(0xffff)]);
        self.pad();
    }

    fn text(&mut self, code: u16, value: &str) {
        if !value.is_empty() {
            self.option(code, value.as_bytes());
        }
    }

    fn end(mut self, out: &mut dyn Write, options: bool) -> io::Result<()> {
        if options {
            self.put(&[0; 4]); // opt_endofopt
        }
        let len = self.0.len() as u32 + 4;
        self.0[4..8].copy_from_slice(&len.to_ne_bytes());
        self.put(&len.to_ne_bytes());
        out.write_all(&self.0)
    }
}

/// What is said of an interface.
#[derive(Clone, Debug, Default)]
pub struct Interface {
    /// Name.
    pub name: String,
    /// What it is.
    pub description: String,
    /// [`ETHERNET`] or [`RAW`].
    pub link: u16,
    /// Snap length, 0 for none.
    pub snap: u32,
    /// Hardware address, zeros for none.
    pub mac: [u8; 6],
    /// Bits per second, 0 for unknown.
    pub speed: u64,
    /// The filter's expression.
    pub filter: String,
}

/// What is said of a packet.
#[derive(Clone, Debug, Default)]
pub struct Packet<'a> {
    /// Number of the interface in the file.
    pub interface: u32,
    /// Nanoseconds since 1970 (UTC).
    pub at: u64,
    /// Length on the wire.
    pub wire_len: u32,
    /// `epb_flags`: direction and kind of reception.
    pub flags: u32,
    /// Remarks.
    pub comments: &'a [String],
    /// Packets of this interface lost before this one since the last one said so.
    pub lost: u64,
}

/// What came of an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Begin and end of the capture, nanoseconds since 1970.
    pub from: u64,
    /// See `from`.
    pub to: u64,
    /// Packets that the filter let through.
    pub accepted: u64,
    /// Of those: lost for want of room.
    pub lost: u64,
    /// Written to the file.
    pub written: u64,
}

/// Begins a section: everything else follows one.
///
/// # Errors
/// What writing says; as of all functions here.
pub fn section(out: &mut dyn Write, application: &str, os: &str) -> io::Result<()> {
    let mut b = Block::new(SECTION);
    b.put(&MAGIC.to_ne_bytes());
    b.put(&1u16.to_ne_bytes());
    b.put(&0u16.to_ne_bytes());
    b.put(&(-1i64).to_ne_bytes());
    b.text(3, os);
    b.text(4, application);
    b.end(out, true)
}

/// Describes the next interface; they are numbered from 0.
#[allow(missing_docs)]
pub fn interface(out: &mut dyn Write, i: &Interface) -> io::Result<()> {
    let mut b = Block::new(INTERFACE);
    b.put(&i.link.to_ne_bytes());
    b.put(&[0; 2]);
    b.put(&i.snap.to_ne_bytes());
    b.text(2, &i.name);
    b.text(3, &i.description);
    if i.mac != [0; 6] {
        b.option(6, &i.mac);
    }
    if i.speed != 0 {
        b.option(8, &i.speed.to_ne_bytes());
    }
    b.option(9, &[9]); // times in nanoseconds
    if !i.filter.is_empty() {
        b.option(11, &[&[0], i.filter.as_bytes()].concat());
    }
    b.end(out, true)
}

/// A packet.
#[allow(missing_docs)]
pub fn packet(out: &mut dyn Write, p: &Packet<'_>, bytes: &[u8]) -> io::Result<()> {
    let mut b = Block::new(PACKET);
    b.put(&p.interface.to_ne_bytes());
    b.put(&((p.at >> 32) as u32).to_ne_bytes());
    b.put(&(p.at as u32).to_ne_bytes());
    b.put(&(bytes.len() as u32).to_ne_bytes());
    b.put(&p.wire_len.max(bytes.len() as u32).to_ne_bytes());
    b.put(bytes);
    b.pad();
    b.option(2, &p.flags.to_ne_bytes());
    if p.lost > 0 {
        b.option(4, &p.lost.to_ne_bytes());
    }
    for c in p.comments {
        b.text(1, c);
    }
    b.end(out, true)
}

/// What came of an interface, at the end.
#[allow(missing_docs)]
pub fn statistics(out: &mut dyn Write, interface: u32, t: &Totals) -> io::Result<()> {
    let mut b = Block::new(STATISTICS);
    let time = |b: &mut Block, ns: u64| {
        b.put(&((ns >> 32) as u32).to_ne_bytes());
        b.put(&(ns as u32).to_ne_bytes());
    };
    b.put(&interface.to_ne_bytes());
    time(&mut b, t.to);
    for (code, ns) in [(2u16, t.from), (3, t.to)] {
        let halves = [((ns >> 32) as u32).to_ne_bytes(), (ns as u32).to_ne_bytes()].concat();
        b.option(code, &halves);
    }
    for (code, n) in [(6u16, t.accepted), (7, t.lost), (8, t.written)] {
        b.option(code, &n.to_ne_bytes());
    }
    b.end(out, true)
}
