//! Where buffers come from: a shared pool, a cache per thread.

use crate::buf::{Mbuf, MbufHdr, flags};
use alloc::alloc::{Layout, alloc_zeroed, dealloc};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cell::UnsafeCell;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// Buffers that move between a thread's cache and the shared pool at a time, and the batch size of the whole
/// system: one call across the driver boundary carries at most this many.
pub const BATCH: usize = 32;

/// Storage and header are aligned to a cache line.
const ALIGN: usize = 64;
const HDR: usize = core::mem::size_of::<MbufHdr>().next_multiple_of(ALIGN);

/// Sizes and limits of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    /// Bytes of storage in a cluster (`mclbytes`), headroom included.
    pub cluster: usize,
    /// Most clusters that may exist.
    pub max_clusters: usize,
    /// Most bytes that big buffers may hold together.
    pub max_big_bytes: usize,
    /// Headroom of a fresh buffer: room for link, IP and transport headers.
    pub headroom: usize,
}

impl Default for PoolConfig {
    fn default() -> Self {
        PoolConfig { cluster: 2048, max_clusters: 32 * 1024, max_big_bytes: 32 << 20, headroom: 192 }
    }
}

/// What a pool holds, for `netstat -m` and for the tests that balance buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct PoolStats {
    /// Clusters that exist.
    pub clusters: usize,
    /// Clusters that are not in the shared part: in use or in a thread's cache.
    pub out: usize,
    /// Bytes of big buffers in use.
    pub big_bytes: usize,
    /// Requests that the limits refused.
    pub denied: u64,
}

struct Depot {
    head: *mut MbufHdr,
    free: usize,
    chunks: Vec<(NonNull<u8>, Layout)>,
    clusters: usize,
}

pub(crate) struct Inner {
    cfg: PoolConfig,
    lock: AtomicBool,
    depot: UnsafeCell<Depot>,
    /// Handles plus clusters outside the depot plus big buffers: memory is released when it reaches 0, so a
    /// buffer that outlives its pool's last handle is still good.
    refs: AtomicUsize,
    big_bytes: AtomicUsize,
    denied: AtomicU64,
}

impl Inner {
    /// Runs `f` on the shared part. The lock is a spin lock because the crate has no operating system; it
    /// is held for moving at most a batch of list links (or, rarely, for carving a new chunk).
    fn with_depot<R>(&self, f: impl FnOnce(&mut Depot) -> R) -> R {
        while self.lock.compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            core::hint::spin_loop();
        }
        // SAFETY: the lock gives exclusive access until the store below; `f` cannot reach `self` again,
        // because every caller is in this file and passes leaf code.
        let r = f(unsafe { &mut *self.depot.get() });
        self.lock.store(false, Ordering::Release);
        r
    }

    /// Returns one buffer to where it came from.
    ///
    /// # Safety
    /// `h` is owned by the caller and came from a pool.
    pub(crate) unsafe fn give_back(h: NonNull<MbufHdr>) {
        // SAFETY: owned by the caller, so readable.
        let (pool, fl, cap) = unsafe { (h.as_ref().pool, h.as_ref().flags, h.as_ref().cap) };
        // SAFETY: `refs` counts this buffer, so the pool is alive.
        let inner = unsafe { &*pool };
        if fl & flags::BIG != 0 {
            inner.big_bytes.fetch_sub(cap as usize, Ordering::Relaxed);
            // SAFETY: allocated in `alloc_big` with this very layout.
            unsafe { dealloc(h.as_ptr().cast(), big_layout(cap as usize)) };
        } else {
            inner.with_depot(|d| {
                // SAFETY: we own the buffer and give it to the list.
                unsafe { (*h.as_ptr()).next = d.head };
                d.head = h.as_ptr();
                d.free += 1;
            });
        }
        // SAFETY: releases the reference of this buffer, once.
        unsafe { Inner::release(pool, 1) };
    }

    /// # Safety
    /// The caller owns `n` references and gives them up.
    unsafe fn release(this: *const Inner, n: usize) {
        // SAFETY: the caller's references keep it alive up to here.
        let left = unsafe { (*this).refs.fetch_sub(n, Ordering::AcqRel) } - n;
        if left == 0 {
            // SAFETY: nobody else has a reference; `this` came from Box::into_raw.
            let inner = unsafe { Box::from_raw(this.cast_mut()) };
            for (p, l) in &inner.depot.into_inner().chunks {
                // SAFETY: allocated in `grow` with this layout; all its buffers are home.
                unsafe { dealloc(p.as_ptr(), *l) };
            }
        }
    }

    /// Carves a chunk of up to a batch of clusters; false at the limit or without memory.
    fn grow(&self, d: &mut Depot, pool: *const Inner) -> bool {
        let n = BATCH.min(self.cfg.max_clusters - d.clusters);
        if n == 0 {
            return false;
        }
        let each = HDR + self.cfg.cluster;
        let Ok(layout) = Layout::from_size_align(each * n, ALIGN) else { return false };
        // SAFETY: the size is not zero.
        let Some(chunk) = NonNull::new(unsafe { alloc_zeroed(layout) }) else { return false };
        for i in 0..n {
            // SAFETY: i * each stays inside the chunk, and each is a multiple of ALIGN.
            unsafe {
                let at = chunk.as_ptr().add(i * each);
                let h = at.cast::<MbufHdr>();
                h.write(fresh(d.head, pool, at.add(HDR), self.cfg.cluster, 0));
                d.head = h;
            }
        }
        d.free += n;
        d.clusters += n;
        d.chunks.push((chunk, layout));
        true
    }
}

fn fresh(next: *mut MbufHdr, pool: *const Inner, buf: *mut u8, cap: usize, fl: u32) -> MbufHdr {
    MbufHdr {
        next,
        pool,
        buf,
        cap: cap as u32,
        off: 0,
        len: 0,
        ifindex: 0,
        flags: fl,
        csum_start: 0,
        csum_offset: 0,
        gso_size: 0,
        gso_type: 0,
        reserved: 0,
    }
}

fn big_layout(cap: usize) -> Layout {
    // Cannot fail: `alloc_big` made the same layout successfully, or refused.
    Layout::from_size_align(HDR + cap, ALIGN).unwrap_or(Layout::new::<u64>())
}

/// Handle to shared packet memory; clones refer to the same memory.
pub struct Pool(NonNull<Inner>);

// SAFETY: all shared state of `Inner` is atomic or behind its lock.
unsafe impl Send for Pool {}
// SAFETY: as above.
unsafe impl Sync for Pool {}

impl Pool {
    /// A pool with these sizes; memory is taken as it is needed.
    pub fn new(mut cfg: PoolConfig) -> Pool {
        cfg.cluster = cfg.cluster.clamp(256, 1 << 20).next_multiple_of(ALIGN);
        cfg.headroom = cfg.headroom.min(cfg.cluster / 2);
        let inner = Box::new(Inner {
            cfg,
            lock: AtomicBool::new(false),
            depot: UnsafeCell::new(Depot {
                head: core::ptr::null_mut(),
                free: 0,
                chunks: Vec::new(),
                clusters: 0,
            }),
            refs: AtomicUsize::new(1),
            big_bytes: AtomicUsize::new(0),
            denied: AtomicU64::new(0),
        });
        // SAFETY: Box::into_raw is never null.
        Pool(unsafe { NonNull::new_unchecked(Box::into_raw(inner)) })
    }

    fn inner(&self) -> &Inner {
        // SAFETY: this handle is one of `refs`.
        unsafe { self.0.as_ref() }
    }

    /// Sizes and limits.
    pub fn config(&self) -> PoolConfig {
        self.inner().cfg
    }

    /// What the pool holds now. `out` counts the buffers that sit in caches too.
    pub fn stats(&self) -> PoolStats {
        let i = self.inner();
        let (clusters, out) = i.with_depot(|d| (d.clusters, d.clusters - d.free));
        PoolStats {
            clusters,
            out,
            big_bytes: i.big_bytes.load(Ordering::Relaxed),
            denied: i.denied.load(Ordering::Relaxed),
        }
    }

    /// A cache for one thread that keeps up to `keep` free clusters for itself.
    pub fn cache(&self, keep: usize) -> Cache {
        Cache { pool: self.clone(), free: Vec::with_capacity(keep + 2 * BATCH), keep }
    }

    fn take_batch(&self, into: &mut Vec<NonNull<MbufHdr>>) {
        let i = self.inner();
        let got = i.with_depot(|d| {
            if d.free == 0 && !i.grow(d, self.0.as_ptr()) {
                return 0;
            }
            let n = BATCH.min(d.free);
            for _ in 0..n {
                // SAFETY: `free` says that the list has this many links, and each is a valid header.
                unsafe {
                    let h = NonNull::new_unchecked(d.head);
                    d.head = h.as_ref().next;
                    into.push(h);
                }
            }
            d.free -= n;
            n
        });
        i.refs.fetch_add(got, Ordering::Relaxed);
    }

    /// An empty buffer with room for `len` bytes behind the usual headroom, whatever its size.
    pub fn alloc_big(&self, len: usize) -> Option<Mbuf> {
        let i = self.inner();
        let deny = || {
            i.denied.fetch_add(1, Ordering::Relaxed);
            None
        };
        let cap = len.checked_add(i.cfg.headroom)?.checked_next_multiple_of(ALIGN)?;
        if cap > i.cfg.max_big_bytes || cap > u32::MAX as usize {
            return deny();
        }
        if i.big_bytes.fetch_add(cap, Ordering::Relaxed) + cap > i.cfg.max_big_bytes {
            i.big_bytes.fetch_sub(cap, Ordering::Relaxed);
            return deny();
        }
        let layout = big_layout(cap);
        // SAFETY: the size is not zero.
        let Some(at) = NonNull::new(unsafe { alloc_zeroed(layout) }) else {
            i.big_bytes.fetch_sub(cap, Ordering::Relaxed);
            return deny();
        };
        i.refs.fetch_add(1, Ordering::Relaxed);
        let h = at.cast::<MbufHdr>();
        // SAFETY: fresh memory of HDR + cap bytes, aligned for the header.
        unsafe {
            h.as_ptr().write(fresh(
                core::ptr::null_mut(),
                self.0.as_ptr(),
                at.as_ptr().add(HDR),
                cap,
                flags::BIG,
            ));
        }
        let mut m = Mbuf::from_hdr(h);
        m.reset(i.cfg.headroom);
        Some(m)
    }
}

impl Clone for Pool {
    fn clone(&self) -> Self {
        self.inner().refs.fetch_add(1, Ordering::Relaxed);
        Pool(self.0)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: gives up this handle's reference.
        unsafe { Inner::release(self.0.as_ptr(), 1) }
    }
}

/// One thread's way to packet memory: most calls touch nothing shared.
pub struct Cache {
    pool: Pool,
    free: Vec<NonNull<MbufHdr>>,
    keep: usize,
}

// SAFETY: the buffers in `free` are owned by the cache alone.
unsafe impl Send for Cache {}

impl Cache {
    /// The pool behind it.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// An empty cluster with the usual headroom; `None` at the limit (counted in [`PoolStats::denied`]).
    pub fn alloc(&mut self) -> Option<Mbuf> {
        if self.free.is_empty() {
            self.pool.take_batch(&mut self.free);
        }
        let Some(h) = self.free.pop() else {
            self.pool.inner().denied.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        let mut m = Mbuf::from_hdr(h);
        m.reset(self.pool.inner().cfg.headroom);
        Some(m)
    }

    /// An empty buffer with room for `len` bytes behind the usual headroom: a cluster when it fits, else a
    /// big buffer.
    pub fn alloc_len(&mut self, len: usize) -> Option<Mbuf> {
        let c = &self.pool.inner().cfg;
        if len <= c.cluster - c.headroom { self.alloc() } else { self.pool.alloc_big(len) }
    }

    /// A buffer that holds a copy of `bytes`.
    pub fn copy_of(&mut self, bytes: &[u8]) -> Option<Mbuf> {
        let mut m = self.alloc_len(bytes.len())?;
        m.extend_from_slice(bytes);
        Some(m)
    }

    /// Gives a buffer back, keeping it for this thread where it can.
    pub fn free(&mut self, m: Mbuf) {
        let here = core::ptr::eq(m.meta().pool, self.pool.0.as_ptr());
        if !here || m.meta().flags & flags::BIG != 0 {
            return; // drops
        }
        self.free.push(m.into_raw());
        if self.free.len() >= self.keep + 2 * BATCH {
            self.spill(BATCH);
        }
    }

    /// Returns `n` clusters to the shared part under one lock.
    fn spill(&mut self, n: usize) {
        let n = n.min(self.free.len());
        if n == 0 {
            return;
        }
        let from = self.free.len() - n;
        let inner = self.pool.inner();
        inner.with_depot(|d| {
            for h in self.free.drain(from..) {
                // SAFETY: the cache owned it and gives it to the list.
                unsafe { (*h.as_ptr()).next = d.head };
                d.head = h.as_ptr();
            }
            d.free += n;
        });
        // SAFETY: n clusters went home; the handle in `pool` keeps it alive.
        unsafe { Inner::release(self.pool.0.as_ptr(), n) };
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.spill(self.free.len());
    }
}
