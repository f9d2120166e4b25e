//! Packets, owned and safe; batches of them.

use crate::handle::{Handle, host};
use iopkt_abi as abi;
use std::ptr::NonNull;

/// What a packet says of its checksum, and whether it is many in one; see `iopkt/driver.h`, capabilities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// The transport checksum has been verified.
    pub verified: bool,
    /// The checksum is to be completed: sum from here (bytes from the packet's start) to the end, store it so far behind.
    pub partial: Option<(u16, u16)>,
    /// Kind (`GSO_`, 0 for none) and segment size of a super-segment.
    pub gso: (u8, u16),
}

impl Marks {
    fn of(h: &abi::Mbuf) -> Marks {
        Marks {
            verified: h.flags & abi::M_CSUM_OK != 0,
            partial: (h.flags & abi::M_CSUM_PARTIAL != 0).then_some((h.csum_start, h.csum_offset)),
            gso: (h.gso_type, h.gso_size),
        }
    }

    /// Nothing to be done, nothing known.
    pub fn is_plain(&self) -> bool {
        *self == Marks::default()
    }
}

/// An owned packet. Dropping it gives the buffer back; [`Batch::free`] does so for many at once.
#[derive(Debug)]
pub struct Mbuf {
    raw: NonNull<abi::Mbuf>,
    port: Handle,
}

// SAFETY: an Mbuf is the only handle to its buffer, and the ABI lets any thread give buffers back.
unsafe impl Send for Mbuf {}
// SAFETY: `&Mbuf` gives only `&[u8]` and copies of plain fields.
unsafe impl Sync for Mbuf {}

impl Mbuf {
    /// # Safety
    /// The driver owns `raw`.
    pub(crate) unsafe fn from_raw(raw: NonNull<abi::Mbuf>, port: Handle) -> Mbuf {
        Mbuf { raw, port }
    }

    pub(crate) fn into_raw(self) -> *mut abi::Mbuf {
        let r = self.raw.as_ptr();
        std::mem::forget(self);
        r
    }

    fn hdr(&self) -> &abi::Mbuf {
        // SAFETY: owned, so nobody else refers to it.
        unsafe { self.raw.as_ref() }
    }

    fn hdr_mut(&mut self) -> &mut abi::Mbuf {
        // SAFETY: as above, with `&mut self`.
        unsafe { self.raw.as_mut() }
    }

    /// Length of the packet in bytes.
    pub fn len(&self) -> usize {
        self.hdr().len as usize
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.hdr().len == 0
    }

    /// Free bytes in front.
    pub fn headroom(&self) -> usize {
        self.hdr().off as usize
    }

    /// Free bytes behind.
    pub fn tailroom(&self) -> usize {
        let h = self.hdr();
        (h.cap - h.off - h.len) as usize
    }

    /// The packet.
    pub fn as_slice(&self) -> &[u8] {
        let h = self.hdr();
        // SAFETY: off + len <= cap; the host's storage is initialised.
        unsafe { std::slice::from_raw_parts(h.buf.add(h.off as usize), h.len as usize) }
    }

    /// The packet, writable.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        let h = self.hdr_mut();
        // SAFETY: as above, and unique by `&mut self`.
        unsafe { std::slice::from_raw_parts_mut(h.buf.add(h.off as usize), h.len as usize) }
    }

    /// The free bytes behind the packet, to read into; [`Mbuf::grow`] then takes them in.
    pub fn spare(&mut self) -> &mut [u8] {
        let n = self.tailroom();
        let h = self.hdr_mut();
        // SAFETY: off + len + tailroom = cap; unique by `&mut self`.
        unsafe { std::slice::from_raw_parts_mut(h.buf.add((h.off + h.len) as usize), n) }
    }

    /// Adds the first `n` bytes of [`Mbuf::spare`] to the packet (at most all of them).
    pub fn grow(&mut self, n: usize) {
        let n = n.min(self.tailroom()) as u32;
        self.hdr_mut().len += n;
    }

    /// Appends a copy; false, and no change, without room.
    pub fn extend_from_slice(&mut self, b: &[u8]) -> bool {
        if b.len() > self.tailroom() {
            return false;
        }
        self.spare()[..b.len()].copy_from_slice(b);
        self.grow(b.len());
        true
    }

    /// Grows the packet by `n` bytes in front and returns them (with old content).
    pub fn prepend(&mut self, n: usize) -> Option<&mut [u8]> {
        if n > self.headroom() {
            return None;
        }
        let h = self.hdr_mut();
        h.off -= n as u32;
        h.len += n as u32;
        Some(&mut self.as_mut_slice()[..n])
    }

    /// Drops `n` bytes from the front.
    pub fn trim_front(&mut self, n: usize) {
        let n = n.min(self.len()) as u32;
        let h = self.hdr_mut();
        h.off += n;
        h.len -= n;
    }

    /// Shortens the packet to `n` bytes.
    pub fn truncate(&mut self, n: usize) {
        let n = n.min(self.len()) as u32;
        self.hdr_mut().len = n;
    }

    /// Index of the interface that it came in by (of frames that a module hears).
    pub fn ifindex(&self) -> u32 {
        self.hdr().ifindex
    }

    /// `M_` bits.
    pub fn flags(&self) -> u32 {
        self.hdr().flags & abi::M_MASK
    }

    /// Adds `M_` bits.
    pub fn set_flags(&mut self, f: u32) {
        self.hdr_mut().flags |= f & abi::M_MASK;
    }

    /// With `M_CSUM_PARTIAL`: where the sum starts, and where it goes behind that.
    pub fn csum(&self) -> (u16, u16) {
        (self.hdr().csum_start, self.hdr().csum_offset)
    }

    /// What it says of itself.
    pub fn marks(&self) -> Marks {
        Marks::of(self.hdr())
    }

    /// Replaces that.
    pub fn set_marks(&mut self, m: Marks) {
        let h = self.hdr_mut();
        h.flags &= !(abi::M_CSUM_OK | abi::M_CSUM_PARTIAL);
        if m.verified {
            h.flags |= abi::M_CSUM_OK;
        }
        if let Some((start, offset)) = m.partial {
            h.flags |= abi::M_CSUM_PARTIAL;
            (h.csum_start, h.csum_offset) = (start, offset);
        }
        (h.gso_type, h.gso_size) = m.gso;
    }

    /// Kind (`GSO_`) and segment size of a super-segment.
    pub fn gso(&self) -> (u8, u16) {
        (self.hdr().gso_type, self.hdr().gso_size)
    }
}

pub(crate) fn marks_of(h: &abi::Mbuf) -> Marks {
    Marks::of(h)
}

impl Drop for Mbuf {
    fn drop(&mut self) {
        if let Some(f) = host().and_then(|h| h.mbuf_free) {
            let mut v = [self.raw.as_ptr()];
            // SAFETY: one buffer that we own and give up.
            unsafe { f(self.port.0, v.as_mut_ptr(), 1) };
        }
    }
}

/// Up to 32 packets, as they cross the boundary: first in, first out.
pub struct Batch {
    port: Handle,
    v: [*mut abi::Mbuf; abi::BATCH],
    start: usize,
    end: usize,
}

// SAFETY: owns its buffers, as Mbuf does.
unsafe impl Send for Batch {}

impl Batch {
    /// An empty batch for this port.
    pub fn new(port: Handle) -> Batch {
        Batch { port, v: [std::ptr::null_mut(); abi::BATCH], start: 0, end: 0 }
    }

    /// Packets in it.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Whether there is no room for another.
    pub fn is_full(&self) -> bool {
        self.len() == abi::BATCH
    }

    /// Adds a packet at the end; gives it back when there is no room.
    ///
    /// # Errors
    /// The packet.
    pub fn push(&mut self, m: Mbuf) -> Result<(), Mbuf> {
        if self.is_full() {
            return Err(m);
        }
        if self.end == abi::BATCH {
            self.v.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        self.v[self.end] = m.into_raw();
        self.end += 1;
        Ok(())
    }

    /// Takes the first packet.
    pub fn pop(&mut self) -> Option<Mbuf> {
        if self.is_empty() {
            return None;
        }
        let raw = NonNull::new(self.v[self.start])?;
        self.start += 1;
        // SAFETY: the batch owned it.
        Some(unsafe { Mbuf::from_raw(raw, self.port) })
    }

    /// Allocates until there are `n` packets (at most 32) with room for `len` bytes each; returns how many
    /// there are now.
    pub fn fill(&mut self, n: usize, len: usize) -> usize {
        let n = n.min(abi::BATCH);
        if self.len() < n {
            self.v.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            if let Some(f) = host().and_then(|h| h.mbuf_alloc) {
                let want = (n - self.end) as u32;
                let len = u32::try_from(len).unwrap_or(u32::MAX);
                // SAFETY: the array has room for `want` pointers behind `end`.
                let got = unsafe { f(self.port.0, len, self.v.as_mut_ptr().add(self.end), want) };
                self.end += got.min(want) as usize;
            }
        }
        self.len()
    }

    /// Gives all buffers back.
    pub fn free(&mut self) {
        if let Some((v, n)) = self.take()
            && let Some(f) = host().and_then(|h| h.mbuf_free)
        {
            // SAFETY: n buffers that the batch owned.
            unsafe { f(self.port.0, v, n) };
        }
    }

    /// The buffers as the host takes them; the batch is empty afterwards.
    pub(crate) fn take(&mut self) -> Option<(*mut *mut abi::Mbuf, u32)> {
        if self.is_empty() {
            return None;
        }
        let out = (self.v[self.start..].as_mut_ptr(), self.len() as u32);
        self.start = 0;
        self.end = 0;
        Some(out)
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.free();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TxQueue;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    static OUT: AtomicUsize = AtomicUsize::new(0);
    static ONE: Mutex<()> = Mutex::new(());

    unsafe extern "C" fn alloc(_p: *mut abi::Port, len: u32, v: *mut *mut abi::Mbuf, n: u32) -> u32 {
        for i in 0..n {
            let cap = len + 64;
            let buf = Box::into_raw(vec![0u8; cap as usize].into_boxed_slice()).cast();
            let m = abi::Mbuf {
                next: std::ptr::null_mut(),
                pool: std::ptr::null(),
                buf,
                cap,
                off: 64,
                len: 0,
                ifindex: 0,
                flags: 0x8000_0000,
                csum_start: 0,
                csum_offset: 0,
                gso_size: 0,
                gso_type: 0,
                priority: 0,
            };
            // SAFETY: the caller has room for n.
            unsafe { v.add(i as usize).write(Box::into_raw(Box::new(m))) };
        }
        OUT.fetch_add(n as usize, Ordering::Relaxed);
        n
    }

    unsafe extern "C" fn free(_p: *mut abi::Port, v: *mut *mut abi::Mbuf, n: u32) {
        for i in 0..n as usize {
            // SAFETY: made by alloc above, given back once.
            unsafe {
                let m = Box::from_raw(*v.add(i));
                drop(Box::from_raw(std::ptr::slice_from_raw_parts_mut(m.buf, m.cap as usize)));
            }
        }
        OUT.fetch_sub(n as usize, Ordering::Relaxed);
    }

    fn port() -> Handle {
        // SAFETY: abi::Host is a head and optional functions: zero is a valid value.
        let mut h: abi::Host = unsafe { std::mem::zeroed() };
        h.head = abi::Head::of::<abi::Host>();
        h.mbuf_alloc = Some(alloc);
        h.mbuf_free = Some(free);
        static HOST: std::sync::OnceLock<abi::Host> = std::sync::OnceLock::new();
        // SAFETY: a table that lives for ever.
        assert!(unsafe { crate::handle::set_host(HOST.get_or_init(|| h)) });
        Handle(std::ptr::null_mut())
    }

    #[test]
    fn a_batch_is_a_queue_that_loses_nothing() {
        let _one = ONE.lock().unwrap_or_else(|e| e.into_inner());
        let p = port();
        let mut b = Batch::new(p);
        assert_eq!(b.fill(99, 100), 32);
        assert!(b.is_full());
        let extra = p.alloc(1).unwrap();
        let extra = b.push(extra).unwrap_err();
        for i in 0..20u8 {
            let mut m = b.pop().unwrap();
            assert!(m.extend_from_slice(&[i]));
            b.push(m).unwrap(); // round and round
        }
        assert_eq!(b.len(), 32);
        for _ in 0..12 {
            assert!(b.pop().unwrap().is_empty());
        }
        for i in 0..20u8 {
            assert_eq!(b.pop().unwrap().as_slice(), [i]);
        }
        assert!(b.pop().is_none());
        assert_eq!(b.fill(5, 10), 5);
        assert_eq!(b.fill(3, 10), 5, "never fewer");
        drop((b, extra));
        assert_eq!(OUT.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_packet_grows_and_shrinks_within_its_buffer() {
        let _one = ONE.lock().unwrap_or_else(|e| e.into_inner());
        let mut m = port().alloc(10).unwrap();
        assert_eq!((m.headroom(), m.len(), m.tailroom()), (64, 0, 10));
        m.spare()[..3].copy_from_slice(b"abc");
        m.grow(3);
        assert!(!m.extend_from_slice(&[0; 8]), "no room for 8");
        assert!(m.extend_from_slice(b"defghij"));
        m.grow(99);
        assert_eq!(m.as_slice(), b"abcdefghij");
        assert!(m.prepend(65).is_none());
        m.prepend(2).unwrap().copy_from_slice(b"<>");
        m.trim_front(3);
        m.truncate(4);
        assert_eq!(m.as_slice(), b"bcde");
        m.truncate(99);
        m.as_mut_slice()[0] = b'B';
        m.set_flags(u32::MAX);
        assert_eq!(m.flags(), abi::M_MASK);
        m.trim_front(99);
        assert!(m.is_empty());
        drop(m);
        assert_eq!(OUT.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_transmit_queue_gives_what_is_taken() {
        let _one = ONE.lock().unwrap_or_else(|e| e.into_inner());
        let p = port();
        let mut raw: Vec<_> = (0..4u8)
            .map(|i| {
                let mut m = p.alloc(1).unwrap();
                m.extend_from_slice(&[i]);
                m.into_raw()
            })
            .collect();
        let mut q = TxQueue::new(&mut raw, p);
        assert_eq!(q.peek(), Some(&[0][..]));
        assert_eq!(q.pop().unwrap().as_slice(), [0]);
        assert_eq!(q.pop().unwrap().as_slice(), [1]);
        assert_eq!((q.len(), q.taken(), q.peek()), (2, 2, Some(&[2][..])));
        assert_eq!(OUT.load(Ordering::Relaxed), 2, "the rest is the host's");
        for r in &raw[2..] {
            // SAFETY: not taken, so still ours; given back once.
            drop(unsafe { Mbuf::from_raw(NonNull::new(*r).unwrap(), p) });
        }
        assert_eq!(OUT.load(Ordering::Relaxed), 0);
    }
}
