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

/// Storage of big buffers that are kept for reuse, and how many of each: what large sends, super-segments and received ones take.
/// A fresh one is zeroed memory, which costs more than filling it.
const KEPT: [(usize, usize); 2] = [(16 << 10, 64), (66 << 10, 64)];

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
    /// Smallest amount of memory taken at a time, in bytes (`pagesize`): a chunk of clusters holds at least a [`BATCH`] and
    /// is a multiple of this.
    pub page: usize,
    /// Big buffers follow `page` too (`bigpage_strict`): each takes a multiple of it. Otherwise they have the size they need.
    pub strict: bool,
    /// Threads keep free clusters (off: `cache=0`): without it each buffer comes from the shared part and goes back to it at once,
    /// which shows who uses one that it gave away.
    pub caching: bool,
    /// Free clusters that the thread of a device keeps (`pkt_cache`, `mbuf_cache`); see [`Pool::cache`].
    pub keep: usize,
}

impl Default for PoolConfig {
    fn default() -> Self {
        PoolConfig {
            cluster: 2048,
            max_clusters: 32 * 1024,
            max_big_bytes: 32 << 20,
            headroom: 192,
            page: 4096,
            strict: false,
            caching: true,
            keep: 2 * BATCH,
        }
    }
}

impl PoolConfig {
    /// Bytes of a chunk of clusters.
    pub fn chunk(&self) -> usize {
        (BATCH * (HDR + self.cluster)).max(self.page).next_multiple_of(self.page)
    }

    /// Bytes that the clusters take at most: what memory of one's own must have for them. Big buffers come on top if
    /// they are `strict`.
    pub fn cluster_bytes(&self) -> usize {
        let each = HDR + self.cluster;
        self.max_clusters.div_ceil(self.chunk() / each) * self.chunk()
    }

    /// As the pool will use it: sizes made whole.
    pub fn tidy(mut self) -> PoolConfig {
        self.cluster = self.cluster.clamp(256, 1 << 20).next_multiple_of(ALIGN);
        self.headroom = self.headroom.min(self.cluster / 2);
        self.page = self.page.clamp(ALIGN, 1 << 30).next_power_of_two();
        self
    }
}

/// Where a pool takes its memory from, if not from the allocator (`pkt_typed_mem`).
///
/// # Safety
/// What `take` returns is zeroed the first time, aligned to and as large as asked for, and nobody else's until it is given back. It
/// stays readable and writable until the value is dropped.
pub unsafe trait Memory: Send + Sync {
    /// Memory; `None` when there is no more.
    fn take(&self, layout: Layout) -> Option<NonNull<u8>>;
    /// Takes it back.
    ///
    /// # Safety
    /// `at` came from `take` with this layout, and is not used any more.
    unsafe fn give(&self, at: NonNull<u8>, layout: Layout);
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
    /// Big buffers that wait to be used again, by their place in [`KEPT`], and how many.
    kept: [(*mut MbufHdr, usize); KEPT.len()],
}

pub(crate) struct Inner {
    cfg: PoolConfig,
    memory: Option<Box<dyn Memory>>,
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
            if inner.keep_big(h, cap as usize) {
                // SAFETY: releases the reference of this buffer, once; what is kept is freed with the pool.
                return unsafe { Inner::release(pool, 1) };
            }
            let from = inner.memory.as_deref().filter(|_| inner.cfg.strict);
            // SAFETY: taken in `alloc_big` from there with this very layout.
            unsafe { give(from, h.cast(), big_layout(cap as usize)) };
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
            let mut inner = unsafe { Box::from_raw(this.cast_mut()) };
            for (mut at, _) in core::mem::replace(&mut inner.depot.get_mut().kept, EMPTY) {
                while let Some(h) = NonNull::new(at) {
                    // SAFETY: a header of the list, owned by the pool, taken from the allocator with this layout.
                    unsafe {
                        at = h.as_ref().next;
                        give(None, h.cast(), big_layout(h.as_ref().cap as usize));
                    }
                }
            }
            for (p, l) in &inner.depot.into_inner().chunks {
                // SAFETY: taken in `grow` from there with this layout; all its buffers are home.
                unsafe { give(inner.memory.as_deref(), *p, *l) };
            }
        }
    }

    /// Keeps a big buffer for reuse, if it has one of the usual sizes and there is room.
    fn keep_big(&self, h: NonNull<MbufHdr>, cap: usize) -> bool {
        let Some(class) = KEPT.iter().position(|k| k.0 == cap).filter(|_| self.reuses()) else {
            return false;
        };
        self.with_depot(|d| {
            let (head, n) = &mut d.kept[class];
            if *n >= KEPT[class].1 {
                return false;
            }
            // SAFETY: the caller owns the buffer and gives it to the list.
            unsafe { (*h.as_ptr()).next = *head };
            (*head, *n) = (h.as_ptr(), *n + 1);
            true
        })
    }

    /// A kept buffer of this storage.
    fn kept_big(&self, cap: usize) -> Option<NonNull<MbufHdr>> {
        let class = KEPT.iter().position(|k| k.0 == cap).filter(|_| self.reuses())?;
        self.with_depot(|d| {
            let (head, n) = &mut d.kept[class];
            let h = NonNull::new(*head)?;
            // SAFETY: a header of the list.
            (*head, *n) = (unsafe { h.as_ref().next }, *n - 1);
            Some(h)
        })
    }

    /// Big buffers are used again: not with memory of one's own, nor where each use is to be seen by itself.
    fn reuses(&self) -> bool {
        self.cfg.caching && !self.cfg.strict
    }

    /// Carves a chunk of clusters; false at the limit or without memory.
    fn grow(&self, d: &mut Depot, pool: *const Inner) -> bool {
        let each = HDR + self.cfg.cluster;
        let n = (self.cfg.chunk() / each).min(self.cfg.max_clusters - d.clusters);
        if n == 0 {
            return false;
        }
        let Ok(layout) = Layout::from_size_align(self.cfg.chunk(), ALIGN) else { return false };
        let Some(chunk) = take(self.memory.as_deref(), layout) else { return false };
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

const EMPTY: [(*mut MbufHdr, usize); KEPT.len()] = [(core::ptr::null_mut(), 0); KEPT.len()];

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
        priority: 0,
    }
}

fn take(from: Option<&dyn Memory>, layout: Layout) -> Option<NonNull<u8>> {
    match from {
        Some(m) => m.take(layout),
        // SAFETY: no layout here has the size zero.
        None => NonNull::new(unsafe { alloc_zeroed(layout) }),
    }
}

/// # Safety
/// `at` came from [`take`] with the same place and layout, and is not used any more.
unsafe fn give(to: Option<&dyn Memory>, at: NonNull<u8>, layout: Layout) {
    match to {
        // SAFETY: as the caller says.
        Some(m) => unsafe { m.give(at, layout) },
        // SAFETY: as the caller says.
        None => unsafe { dealloc(at.as_ptr(), layout) },
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
    pub fn new(cfg: PoolConfig) -> Pool {
        Pool::with_memory(cfg, None)
    }

    /// A pool whose clusters (and, if `strict`, big buffers) lie in memory of the caller's.
    pub fn with_memory(cfg: PoolConfig, memory: Option<Box<dyn Memory>>) -> Pool {
        let inner = Box::new(Inner {
            cfg: cfg.tidy(),
            memory,
            lock: AtomicBool::new(false),
            depot: UnsafeCell::new(Depot {
                head: core::ptr::null_mut(),
                free: 0,
                chunks: Vec::new(),
                clusters: 0,
                kept: EMPTY,
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
        let keep = if self.inner().cfg.caching { keep } else { 0 };
        Cache { pool: self.clone(), free: Vec::with_capacity(keep + 2 * BATCH), keep }
    }

    fn take_batch(&self, into: &mut Vec<NonNull<MbufHdr>>) {
        let i = self.inner();
        let most = if i.cfg.caching { BATCH } else { 1 };
        let got = i.with_depot(|d| {
            if d.free == 0 && !i.grow(d, self.0.as_ptr()) {
                return 0;
            }
            let n = most.min(d.free);
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
        let cap = match (len.checked_add(i.cfg.headroom)?, i.cfg.strict) {
            (n, false) => match KEPT.iter().find(|k| n <= k.0 && n > k.0 / 4 && i.reuses()) {
                Some(k) => k.0,
                None => n.checked_next_multiple_of(ALIGN)?,
            },
            (n, true) => n.checked_add(HDR)?.checked_next_multiple_of(i.cfg.page)? - HDR,
        };
        if cap > i.cfg.max_big_bytes || cap > u32::MAX as usize {
            return deny();
        }
        if i.big_bytes.fetch_add(cap, Ordering::Relaxed) + cap > i.cfg.max_big_bytes {
            i.big_bytes.fetch_sub(cap, Ordering::Relaxed);
            return deny();
        }
        if let Some(h) = i.kept_big(cap) {
            i.refs.fetch_add(1, Ordering::Relaxed);
            let mut m = Mbuf::from_hdr(h);
            m.reset(i.cfg.headroom);
            return Some(m);
        }
        let layout = big_layout(cap);
        let Some(at) = take(i.memory.as_deref().filter(|_| i.cfg.strict), layout) else {
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
        if !here || m.meta().flags & flags::BIG != 0 || !self.pool.inner().cfg.caching {
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
