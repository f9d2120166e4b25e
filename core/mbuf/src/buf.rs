//! One packet buffer.

use crate::pool::Inner;
use core::ptr::NonNull;

/// Header of a packet buffer, shared with drivers through the plug-in ABI (`struct iopkt_mbuf`).
///
/// All numbers are in host byte order. The bytes of the packet are `buf[off..off + len]`; `off` is the
/// headroom in front of them.
#[repr(C)]
#[derive(Debug)]
pub struct MbufHdr {
    /// Link for whoever owns the buffer (free lists, driver queues); meaningless across a hand-over.
    pub next: *mut MbufHdr,
    pub(crate) pool: *const Inner,
    /// First byte of the storage.
    pub buf: *mut u8,
    /// Size of the storage in bytes.
    pub cap: u32,
    /// Offset of the first byte of the packet.
    pub off: u32,
    /// Length of the packet in bytes; `off + len <= cap`.
    pub len: u32,
    /// Interface it came in by, 0 for none.
    pub ifindex: u32,
    /// [`flags`].
    pub flags: u32,
    /// With [`flags::CSUM_PARTIAL`]: checksum from here (bytes from the start of the packet) to its end ...
    pub csum_start: u16,
    /// ... and store it this many bytes after `csum_start`.
    pub csum_offset: u16,
    /// Payload bytes per segment when `gso_type` is not 0.
    pub gso_size: u16,
    /// [`gso`].
    pub gso_type: u8,
    /// Priority in an interface's queue, 0 (what there usually is) to 7 (SO_TXPRIO).
    pub priority: u8,
}

/// Bits of [`MbufHdr::flags`].
pub mod flags {
    /// Sent to a link-level broadcast address.
    pub const BCAST: u32 = 0x1;
    /// Sent to a link-level multicast address.
    pub const MCAST: u32 = 0x2;
    /// The driver has verified the transport checksum.
    pub const CSUM_OK: u32 = 0x4;
    /// The transport checksum is to be completed from `csum_start` (transmit), or was left partial (receive
    /// from a local peer: its content is good).
    pub const CSUM_PARTIAL: u32 = 0x8;
    /// Came over the loopback interface.
    pub const LOOP: u32 = 0x10;
    /// Received in promiscuous mode: addressed to somebody else.
    pub const PROMISC: u32 = 0x20;
    /// Its transport has heard from the other end since it sent last: the neighbour that it goes by can be reached.
    pub const PROGRESS: u32 = 0x40;
    pub(crate) const BIG: u32 = 0x8000_0000;
}

/// Values of [`MbufHdr::gso_type`].
pub mod gso {
    /// Not a super-segment.
    pub const NONE: u8 = 0;
    /// TCP over IPv4.
    pub const TCP4: u8 = 1;
    /// TCP over IPv6.
    pub const TCP6: u8 = 4;
    /// UDP.
    pub const UDP: u8 = 5;
    /// Beside TCP4 or TCP6: CWR stands in the first segment only (RFC 3168).
    pub const ECN: u8 = 0x80;
}

/// An owned packet buffer; dropping it returns the storage to its pool.
#[repr(transparent)]
pub struct Mbuf(NonNull<MbufHdr>);

// SAFETY: an Mbuf is the only handle to its storage, and the pool it returns to may be used from any thread.
unsafe impl Send for Mbuf {}
// SAFETY: `&Mbuf` only gives `&[u8]` and copies of plain fields.
unsafe impl Sync for Mbuf {}

impl Mbuf {
    pub(crate) fn from_hdr(h: NonNull<MbufHdr>) -> Self {
        Mbuf(h)
    }

    /// Gives up ownership to a driver; [`Mbuf::from_raw`] takes it back.
    pub fn into_raw(self) -> NonNull<MbufHdr> {
        let h = self.0;
        core::mem::forget(self);
        h
    }

    /// Takes ownership of a buffer.
    ///
    /// # Safety
    /// `h` came from [`Mbuf::into_raw`], is owned by the caller, and still satisfies `off + len <= cap` with
    /// `buf`, `cap` and the pool unchanged.
    pub unsafe fn from_raw(h: NonNull<MbufHdr>) -> Self {
        Mbuf(h)
    }

    /// Whether the header's lengths are consistent; what a driver hands over is asked this first.
    pub fn is_sane(&self) -> bool {
        let h = self.hdr();
        u64::from(h.off) + u64::from(h.len) <= u64::from(h.cap)
    }

    fn hdr(&self) -> &MbufHdr {
        // SAFETY: the header lives as long as the Mbuf, and nobody else refers to it.
        unsafe { self.0.as_ref() }
    }

    fn hdr_mut(&mut self) -> &mut MbufHdr {
        // SAFETY: as above, and `&mut self` excludes other borrows.
        unsafe { self.0.as_mut() }
    }

    /// Read access to the shared fields.
    pub fn meta(&self) -> &MbufHdr {
        self.hdr()
    }

    /// Length of the packet in bytes.
    pub fn len(&self) -> usize {
        self.hdr().len as usize
    }

    /// Whether the packet has no bytes.
    pub fn is_empty(&self) -> bool {
        self.hdr().len == 0
    }

    /// Free bytes in front of the packet.
    pub fn headroom(&self) -> usize {
        self.hdr().off as usize
    }

    /// Free bytes behind the packet.
    pub fn tailroom(&self) -> usize {
        let h = self.hdr();
        (h.cap - h.off - h.len) as usize
    }

    /// The bytes of the packet.
    pub fn as_slice(&self) -> &[u8] {
        let h = self.hdr();
        // SAFETY: off + len <= cap, storage of cap initialised bytes (pools zero fresh memory) owned by self.
        unsafe { core::slice::from_raw_parts(h.buf.add(h.off as usize), h.len as usize) }
    }

    /// The bytes of the packet, writable.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        let h = self.hdr_mut();
        // SAFETY: as in as_slice, and `&mut self` makes it unique.
        unsafe { core::slice::from_raw_parts_mut(h.buf.add(h.off as usize), h.len as usize) }
    }

    /// Grows the packet by `n` bytes at the front and returns them (with old content); `None` without headroom.
    pub fn prepend(&mut self, n: usize) -> Option<&mut [u8]> {
        if n > self.headroom() {
            return None;
        }
        let h = self.hdr_mut();
        h.off -= n as u32;
        h.len += n as u32;
        Some(&mut self.as_mut_slice()[..n])
    }

    /// Grows the packet by `n` bytes at the end and returns them (with old content); `None` without tailroom.
    pub fn append(&mut self, n: usize) -> Option<&mut [u8]> {
        if n > self.tailroom() {
            return None;
        }
        let old = self.len();
        self.hdr_mut().len += n as u32;
        Some(&mut self.as_mut_slice()[old..])
    }

    /// Appends a copy of `bytes`; false (and no change) without tailroom.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) -> bool {
        match self.append(bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                true
            }
            None => false,
        }
    }

    /// Drops `n` bytes from the front (all of them when `n` exceeds the length).
    pub fn trim_front(&mut self, n: usize) {
        let h = self.hdr_mut();
        let n = (n as u64).min(u64::from(h.len)) as u32;
        h.off += n;
        h.len -= n;
    }

    /// Shortens the packet to `n` bytes; longer than it is: no change.
    pub fn truncate(&mut self, n: usize) {
        let h = self.hdr_mut();
        h.len = h.len.min(u32::try_from(n).unwrap_or(u32::MAX));
    }

    /// Empties the packet and puts its start `headroom` bytes into the storage (at most the whole of it).
    pub fn reset(&mut self, headroom: usize) {
        let h = self.hdr_mut();
        h.off = (headroom as u64).min(u64::from(h.cap)) as u32;
        h.len = 0;
        h.ifindex = 0;
        h.flags &= flags::BIG;
        h.gso_type = gso::NONE;
        h.gso_size = 0;
        h.priority = 0;
    }

    /// Priority in an interface's queue, 0 to 7.
    pub fn priority(&self) -> u8 {
        self.hdr().priority
    }

    /// Sets it.
    pub fn set_priority(&mut self, p: u8) {
        self.hdr_mut().priority = p;
    }

    /// Interface it came in by, 0 for none.
    pub fn ifindex(&self) -> u32 {
        self.hdr().ifindex
    }

    /// Sets the interface it came in by.
    pub fn set_ifindex(&mut self, i: u32) {
        self.hdr_mut().ifindex = i;
    }

    /// The [`flags`] of the packet.
    pub fn flags(&self) -> u32 {
        self.hdr().flags & !flags::BIG
    }

    /// Adds [`flags`].
    pub fn set_flags(&mut self, f: u32) {
        self.hdr_mut().flags |= f & !flags::BIG;
    }

    /// Removes [`flags`].
    pub fn clear_flags(&mut self, f: u32) {
        self.hdr_mut().flags &= !(f & !flags::BIG);
    }

    /// Asks whoever sends it to checksum from `start` to the end and store it at `start + offset`.
    pub fn set_csum_partial(&mut self, start: u16, offset: u16) {
        let h = self.hdr_mut();
        h.csum_start = start;
        h.csum_offset = offset;
        h.flags |= flags::CSUM_PARTIAL;
    }

    /// Marks it as a super-segment that the sender cuts into `size`-byte payloads.
    pub fn set_gso(&mut self, kind: u8, size: u16) {
        let h = self.hdr_mut();
        h.gso_type = kind;
        h.gso_size = size;
    }
}

impl Drop for Mbuf {
    fn drop(&mut self) {
        // SAFETY: we own the buffer; its pool outlives it (see `Inner::refs`).
        unsafe { Inner::give_back(self.0) }
    }
}

impl core::fmt::Debug for Mbuf {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Mbuf({} bytes, if {})", self.len(), self.ifindex())
    }
}
