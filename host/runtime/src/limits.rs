//! Limits: where each comes from.

use crate::cmdline::{Tcpip, tcpip};
use crate::workers::{STACK_BASE, Sizes};
use iopkt_mbuf::{BATCH, Memory, Pool, PoolConfig};
use iopkt_stack::Config;
use iopkt_sys::memory::Region;
use std::alloc::Layout;
use std::ptr::NonNull;

/// How much a variant takes at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Bytes of packet buffers (clusters).
    pub buffers: usize,
    /// Bytes of large buffers.
    pub large: usize,
    /// Sockets.
    pub sockets: usize,
    /// Neighbours.
    pub neighbours: usize,
}

impl Size {
    /// For machines of today.
    pub const FULL: Size = Size { buffers: 64 << 20, large: 32 << 20, sockets: 262_144, neighbours: 4096 };
    /// For small ones: an eighth of the memory, and tables to match.
    pub const SMALL: Size = Size { buffers: 8 << 20, large: 4 << 20, sockets: 4096, neighbours: 512 };
}

/// Raises the limit of open descriptors as far as it goes; returns what it is then. Every socket needs one.
pub(crate) fn raise_files() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    let most = now.maximum.unwrap_or(1 << 20);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: now.maximum });
    getrlimit(Resource::Nofile).current.unwrap_or(1 << 20)
}

/// Packet memory: `mclbytes`; the number of buffers shrinks as they grow, so that the total stays what the
/// variant has, as long as 1024 are left. `pagesize`, `bigpage_strict`, `cache`, `pkt_cache` and `mbuf_cache`.
pub(crate) fn pool(t: &Tcpip, size: Size) -> PoolConfig {
    let d = PoolConfig::default();
    let cluster = t.mclbytes.unwrap_or(d.cluster);
    let max_clusters = (size.buffers / cluster).max(1024);
    PoolConfig {
        cluster,
        max_clusters,
        max_big_bytes: size.large,
        page: t.pagesize.unwrap_or_else(iopkt_sys::process::page_size),
        strict: t.bigpage_strict,
        caching: !t.no_cache,
        keep: t.pkt_cache.unwrap_or(d.keep),
        ..d
    }
    .tidy()
}

/// The pool, in the memory that `pkt_typed_mem` names, and what that is.
///
/// # Errors
/// The object does not exist, is too small, or cannot be mapped: one line.
pub(crate) fn memory(t: &Tcpip, cfg: PoolConfig) -> Result<(Pool, String), String> {
    let name = t.typed_mem.as_deref().unwrap_or("sysram");
    let big = if cfg.strict { cfg.max_big_bytes.next_multiple_of(cfg.page) } else { 0 };
    let region = Region::named(name, cfg.cluster_bytes() + big)
        .map_err(|e| format!("-p tcpip: pkt_typed_mem: {e}"))?;
    let Some(region) = region else { return Ok((Pool::new(cfg), "sysram (heap)".into())) };
    if region.bytes() < cfg.chunk() {
        return Err(format!(
            "-p tcpip: pkt_typed_mem={name}: {} bytes are less than the {} that packet buffers are taken in; give a larger object or a smaller pagesize",
            region.bytes(),
            cfg.chunk()
        ));
    }
    let what = format!("{name} ({}, {} bytes)", region.what(), region.bytes());
    Ok((Pool::with_memory(cfg, Some(Box::new(Mapped(region)))), what))
}

struct Mapped(Region);

// SAFETY: a region hands out parts that are its own, apart from each other, aligned to 64 bytes or more, mapped (so
// initialised) until it is dropped, which is when the pool's last buffer is home.
unsafe impl Memory for Mapped {
    fn take(&self, layout: Layout) -> Option<NonNull<u8>> {
        self.0.take(layout)
    }

    unsafe fn give(&self, at: NonNull<u8>, layout: Layout) {
        // SAFETY: as our caller says.
        unsafe { self.0.give(at, layout) }
    }
}

/// Buffers that the shard's thread keeps: `pkt_cache`, `mbuf_cache`.
pub(crate) fn keep(t: &Tcpip) -> usize {
    t.pkt_cache.unwrap_or(8 * BATCH)
}

/// The thread pool.
pub(crate) fn workers(t: &Tcpip) -> Sizes {
    let max = t.threads_max.unwrap_or_else(|| tcpip::THREADS_MAX.max(t.threads_min.unwrap_or(0)));
    Sizes {
        min: t.threads_min.unwrap_or(tcpip::THREADS_MIN).min(max),
        max,
        incr: t.threads_incr.unwrap_or(tcpip::THREADS_INCR),
        stack: t.stacksize.unwrap_or(tcpip::STACKSIZE),
    }
}

/// `recv_ctxt`.
pub(crate) fn recv(t: &Tcpip) -> usize {
    t.recv_ctxt.unwrap_or(tcpip::RECV_CTXT)
}

/// Makes the heap follow `pagesize` (`bigpage_strict`).
pub(crate) fn heap(t: &Tcpip) {
    if t.bigpage_strict
        && let Some(page) = t.pagesize
    {
        iopkt_sys::process::heap_step(page);
    }
}

/// The shard's configuration.
pub(crate) fn stack(t: &Tcpip, size: Size, files: u64) -> Config {
    let d = Config::default();
    // What sessions, drivers and the process itself need comes off.
    let sockets = usize::try_from(files.saturating_sub(files / 8).max(64)).unwrap_or(usize::MAX);
    Config {
        somaxconn: t.somaxconn.unwrap_or(d.somaxconn),
        reuseport_unicast: t.reuseport_unicast,
        enmap: !t.no_enmap,
        max_sockets: size.sockets.min(sockets),
        max_neighbours: size.neighbours,
        txprio: t.so_txprio,
        host: vec![
            ("kern.hostname".into(), iopkt_sys::process::hostname()),
            (crate::privilege::DROPROOT.into(), "0x0".into()),
        ],
        ..d
    }
}

/// All limits by name, for `-v` and for tools.
pub(crate) fn report(
    t: &Tcpip,
    memory: &str,
    pool: &Pool,
    c: &Config,
    threads: usize,
    files: u64,
) -> Vec<(String, String)> {
    let w = workers(t);
    let p = pool.config();
    [
        ("packet threads", threads.to_string()),
        ("threads_min", w.min.to_string()),
        ("threads_max", w.max.to_string()),
        ("threads_incr", w.incr.to_string()),
        ("stacksize", format!("{} (and {STACK_BASE} for Linux)", w.stack)),
        ("recv_ctxt", recv(t).to_string()),
        ("pkt_typed_mem", memory.to_owned()),
        ("pagesize", p.page.to_string()),
        ("bytes of packet buffers taken at a time", p.chunk().to_string()),
        ("packet buffers kept by a thread", if p.caching { keep(t).to_string() } else { "0".into() }),
        ("mclbytes", p.cluster.to_string()),
        ("packet buffers", p.max_clusters.to_string()),
        ("bytes in large buffers", p.max_big_bytes.to_string()),
        ("open descriptors", files.to_string()),
        ("sockets", c.max_sockets.to_string()),
        ("somaxconn", c.somaxconn.to_string()),
        ("neighbours", c.max_neighbours.to_string()),
        ("packets held per neighbour", c.neighbour_hold.to_string()),
        ("datagrams in reassembly", c.max_reassembly.to_string()),
    ]
    .map(|(n, v)| (n.to_owned(), v))
    .into()
}
