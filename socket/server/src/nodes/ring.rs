//! Receive rings of packet sockets: memory that program and stack share (the kernel's `packet_mmap.rst`).
//!
//! # Theory of operation
//!
//! The ring is blocks of equal size. TPACKET_V2: a block holds whole frames of equal size, each with its header, and a status word
//! that says whose it is; the stack fills them in order and hands each over. TPACKET_V3: a block is filled with frames of their own
//! length, and handed over when the next one has no room or when it has been open for a time that the program chose. Program and stack
//! never write the same unit: the status word is the lock. What finds the next unit still with the program is dropped and counted.
//!
//! Behind the ring lies one page of our own: where the status word of the unit filled last is, so that the preload library sees
//! whether the descriptor should be readable (that unit is the program's) as poll(2) of the kernel's own sockets does.

use super::packet::RETIRE;
use crate::Host;
use crate::host::RingId;
use iopkt_base::{Duration, Errno, Instant, Result};
use iopkt_stack::tap::Seen;

/// Largest ring, bytes. libpcap tries smaller ones when told ENOMEM.
const MAX_RING: usize = 64 << 20;
const PAGE: usize = 4096;

const STATUS_USER: u32 = 1;
const STATUS_LOSING: u32 = 4;
const STATUS_CSUM_NOT_READY: u32 = 8;
const STATUS_TIMED_OUT: u32 = 1 << 5;
const STATUS_TS_SOFTWARE: u32 = 1 << 29;

/// `struct tpacket2_hdr`, `struct tpacket3_hdr`; a `struct sockaddr_ll` follows the aligned header.
const V2_HDR: usize = 32;
const V3_HDR: usize = 48;
const SOCKADDR_LL: usize = 20;
/// `struct tpacket_block_desc`.
const BLOCK_HDR: usize = 48;
const BLOCK_STATUS: usize = 8;

/// Layout of a ring; the numbers are PACKET_VERSION's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// The first: no ring of this kind is made here.
    V1 = 0,
    V2 = 1,
    V3 = 2,
}

impl Version {
    pub fn of(n: i32) -> Result<Version> {
        match n {
            0 => Ok(Version::V1),
            1 => Ok(Version::V2),
            2 => Ok(Version::V3),
            _ => Err(Errno::EINVAL),
        }
    }
}

/// A ring.
pub(crate) struct Ring {
    pub id: RingId,
    v3: bool,
    len: usize,
    /// Length of a unit (V2: frame, V3: block) and how many there are; V2: frames in a block, for the gap at its end.
    unit: usize,
    units: u32,
    block: usize,
    per_block: u32,
    /// Bytes before the frame's own in a unit, and where the network header stands if the link-level one is shorter.
    reserve: usize,
    raw: bool,
    /// The unit that is filled now.
    head: u32,
    /// V3: where the next frame goes, 0 while the block is not open; where the last one is; how many there are.
    at: usize,
    last: usize,
    count: u32,
    first_stamp: u64,
    opened: Instant,
    private: usize,
    retire: Duration,
    sequence: u64,
    lost: u32,
    frozen: u32,
    losing: bool,
}

fn align(n: usize, to: usize) -> usize {
    n.next_multiple_of(to)
}

impl Ring {
    /// By a `struct tpacket_req` or `tpacket_req3`.
    pub fn new<H: Host>(host: &mut H, v: Version, reserve: u32, raw: bool, req: &[u8]) -> Result<Ring> {
        let n = |i: usize| {
            let b = req.get(4 * i..4 * i + 4).and_then(|b| b.try_into().ok());
            b.map(u32::from_ne_bytes).ok_or(Errno::EINVAL)
        };
        let (block, blocks, frame, frames) = (n(0)? as usize, n(1)?, n(2)? as usize, n(3)?);
        let v3 = match v {
            Version::V1 => return Err(Errno::EINVAL),
            Version::V2 => false,
            Version::V3 => true,
        };
        let header = if v3 { V3_HDR } else { V2_HDR } + SOCKADDR_LL + reserve as usize;
        if block == 0 || block % PAGE != 0 || frame < header || frame % 16 != 0 {
            return Err(Errno::EINVAL);
        }
        let per_block = u32::try_from(block / frame).map_err(|_| Errno::EINVAL)?;
        if per_block == 0 || per_block.checked_mul(blocks) != Some(frames) {
            return Err(Errno::EINVAL);
        }
        let len = block.checked_mul(blocks as usize).filter(|l| *l <= MAX_RING).ok_or(Errno::ENOMEM)?;
        let (retire, private) = if v3 { (n(4)?, n(5)? as usize) } else { (0, 0) };
        if v3 && (private > block / 2 || block < align(BLOCK_HDR + private, 8) + header + 64) {
            return Err(Errno::EINVAL);
        }
        let id = host.ring_new(len + PAGE)?;
        let ring = Ring {
            id,
            v3,
            len,
            unit: if v3 { block } else { frame },
            units: if v3 { blocks } else { frames },
            block,
            per_block,
            reserve: reserve as usize,
            raw,
            head: 0,
            at: 0,
            last: 0,
            count: 0,
            first_stamp: 0,
            opened: Instant::ZERO,
            private: align(private, 8),
            retire: if retire == 0 { RETIRE } else { Duration::from_millis(retire.into()) },
            sequence: 0,
            lost: 0,
            frozen: 0,
            losing: false,
        };
        host.ring_store(id, len + 4, ring.status_at(ring.units - 1) as u32);
        Ok(ring)
    }

    /// What `Op::Ring` says of it.
    pub fn shape(&self) -> [i32; 3] {
        [self.len as i32, 0, 0]
    }

    /// Where a unit begins.
    fn base(&self, unit: u32) -> usize {
        if self.v3 {
            return unit as usize * self.block;
        }
        (unit / self.per_block) as usize * self.block + (unit % self.per_block) as usize * self.unit
    }

    fn status_at(&self, unit: u32) -> usize {
        self.base(unit) + if self.v3 { BLOCK_STATUS } else { 0 }
    }

    /// Whether the program has something to look at: the unit before the one that is filled now.
    pub fn waits<H: Host>(&self, host: &mut H) -> bool {
        let before = self.head.checked_sub(1).unwrap_or(self.units - 1);
        host.ring_load(self.id, self.status_at(before)) != 0
    }

    /// Frames lost, and times that the program held everything, since it was last asked.
    pub fn take_losses(&mut self) -> (u32, u32) {
        (core::mem::take(&mut self.lost), core::mem::take(&mut self.frozen))
    }

    /// On to the next unit.
    fn advance<H: Host>(&mut self, host: &mut H) {
        // For the library: where the status of the unit that is done lies.
        host.ring_store(self.id, self.len + 4, self.status_at(self.head) as u32);
        self.head = (self.head + 1) % self.units;
    }

    fn lose(&mut self) -> bool {
        self.lost = self.lost.saturating_add(1);
        if !core::mem::replace(&mut self.losing, true) {
            self.frozen = self.frozen.saturating_add(1);
        }
        false
    }

    /// Where network header and frame begin behind the header, by the kernel's rules.
    fn offsets(&self, s: &Seen) -> (usize, usize) {
        let header = align(if self.v3 { V3_HDR } else { V2_HDR }, 16) + SOCKADDR_LL;
        if !self.raw {
            let net = align(header, 16) + 16 + self.reserve;
            return (net, net);
        }
        let mac = usize::from(s.net);
        let net = align(header + mac.max(16), 16) + self.reserve;
        (net, net - mac)
    }

    /// Puts a frame into the ring; true: the program has something new.
    pub fn put<H: Host>(&mut self, host: &mut H, s: &Seen, from: &[u8; 20], bytes: &[u8]) -> bool {
        let (net, mac) = self.offsets(s);
        if self.v3 {
            self.put_v3(host, s, from, bytes, net, mac)
        } else {
            self.put_v2(host, s, from, bytes, net, mac)
        }
    }

    fn put_v2<H: Host>(
        &mut self,
        host: &mut H,
        s: &Seen,
        from: &[u8; 20],
        bytes: &[u8],
        net: usize,
        mac: usize,
    ) -> bool {
        let base = self.base(self.head);
        if host.ring_load(self.id, base) != 0 {
            return self.lose();
        }
        let n = bytes.len().min(self.unit.saturating_sub(mac));
        let (sec, ns) = stamp(host, s);
        let mut h = [0u8; V2_HDR];
        put32(&mut h, 4, s.wire_len);
        put32(&mut h, 8, n as u32);
        put16(&mut h, 12, mac as u16);
        put16(&mut h, 14, net as u16);
        put32(&mut h, 16, sec);
        put32(&mut h, 20, ns);
        // The status word last: with it the frame is the program's.
        host.ring_write(self.id, base + 4, &h[4..]);
        host.ring_write(self.id, base + V2_HDR, from);
        host.ring_write(self.id, base + mac, &bytes[..n]);
        let losing = if core::mem::take(&mut self.losing) { STATUS_LOSING } else { 0 };
        host.ring_store(self.id, base, STATUS_USER | STATUS_TS_SOFTWARE | losing | checksum(s));
        self.advance(host);
        true
    }

    fn put_v3<H: Host>(
        &mut self,
        host: &mut H,
        s: &Seen,
        from: &[u8; 20],
        bytes: &[u8],
        net: usize,
        mac: usize,
    ) -> bool {
        let first = BLOCK_HDR + self.private;
        let n = bytes.len().min(self.block - first - mac);
        let total = align(mac + n, 8);
        let mut ready = false;
        if self.at != 0 && self.at + total > self.block {
            ready = self.close(host, 0);
        }
        if self.at == 0 {
            if host.ring_load(self.id, self.status_at(self.head)) != 0 {
                self.lose();
                return ready;
            }
            (self.at, self.last, self.count, self.opened) = (first, 0, 0, s.at);
        }
        let base = self.base(self.head) + self.at;
        let (sec, ns) = stamp(host, s);
        if self.count == 0 {
            self.first_stamp = u64::from(sec) | u64::from(ns) << 32;
        } else {
            host.ring_store(self.id, self.last, (base - self.last) as u32);
        }
        let mut h = [0u8; V3_HDR];
        put32(&mut h, 4, sec);
        put32(&mut h, 8, ns);
        put32(&mut h, 12, n as u32);
        put32(&mut h, 16, s.wire_len);
        let losing = if core::mem::take(&mut self.losing) { STATUS_LOSING } else { 0 };
        put32(&mut h, 20, STATUS_USER | STATUS_TS_SOFTWARE | losing | checksum(s));
        put16(&mut h, 24, mac as u16);
        put16(&mut h, 26, net as u16);
        host.ring_write(self.id, base, &h);
        host.ring_write(self.id, base + V3_HDR, from);
        host.ring_write(self.id, base + mac, &bytes[..n]);
        self.last = base;
        self.at += total;
        self.count += 1;
        // The block's time of the last frame.
        let mut t = [0u8; 8];
        put32(&mut t, 0, sec);
        put32(&mut t, 4, ns);
        host.ring_write(self.id, self.base(self.head) + 40, &t);
        ready
    }

    /// V3: hands the open block over.
    fn close<H: Host>(&mut self, host: &mut H, why: u32) -> bool {
        let base = self.base(self.head);
        self.sequence += 1;
        let mut h = [0u8; 40];
        put32(&mut h, 0, Version::V3 as u32);
        put32(&mut h, 4, BLOCK_HDR as u32);
        put32(&mut h, 12, self.count);
        put32(&mut h, 16, (BLOCK_HDR + self.private) as u32);
        put32(&mut h, 20, self.at as u32);
        h[24..32].copy_from_slice(&self.sequence.to_ne_bytes());
        put32(&mut h, 32, self.first_stamp as u32);
        put32(&mut h, 36, (self.first_stamp >> 32) as u32);
        host.ring_write(self.id, base, &h[..8]);
        host.ring_write(self.id, base + 12, &h[12..]);
        host.ring_store(self.id, base + BLOCK_STATUS, STATUS_USER | why);
        self.at = 0;
        self.advance(host);
        true
    }

    /// V3: hands the open block over if its time has come. When that will be, and whether it was now.
    pub fn retire<H: Host>(&mut self, host: &mut H, now: Instant) -> (Instant, bool) {
        if self.at == 0 {
            return (Instant::FAR, false);
        }
        let due = self.opened + self.retire;
        if due <= now { (Instant::FAR, self.close(host, STATUS_TIMED_OUT)) } else { (due, false) }
    }
}

fn checksum(s: &Seen) -> u32 {
    if s.csum_pending { STATUS_CSUM_NOT_READY } else { 0 }
}

fn stamp<H: Host>(host: &H, s: &Seen) -> (u32, u32) {
    let t = host.wall(s.at);
    ((t / 1_000_000_000) as u32, (t % 1_000_000_000) as u32)
}

fn put32(b: &mut [u8], at: usize, v: u32) {
    b[at..at + 4].copy_from_slice(&v.to_ne_bytes());
}

fn put16(b: &mut [u8], at: usize, v: u16) {
    b[at..at + 2].copy_from_slice(&v.to_ne_bytes());
}
