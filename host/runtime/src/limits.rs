//! Limits: where each comes from.

use crate::cmdline::Tcpip;
use iopkt_mbuf::{BATCH, Pool, PoolConfig};
use iopkt_stack::Config;

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
/// variant has, as long as 1024 are left.
pub(crate) fn pool(t: &Tcpip, size: Size) -> PoolConfig {
    let d = PoolConfig::default();
    let cluster = t.mclbytes.unwrap_or(d.cluster);
    let max_clusters = (size.buffers / cluster).max(1024);
    PoolConfig { cluster, max_clusters, max_big_bytes: size.large, ..d }
}

/// Buffers that the shard's thread keeps: `pkt_cache`, `mbuf_cache`.
pub(crate) fn keep(t: &Tcpip) -> usize {
    t.pkt_cache.unwrap_or(8 * BATCH)
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
        hostname: iopkt_sys::process::hostname(),
        ..d
    }
}

/// All limits by name, for `-v` and for tools.
pub(crate) fn report(pool: &Pool, c: &Config, threads: usize, files: u64) -> Vec<(String, String)> {
    let p = pool.config();
    [
        ("packet threads", threads.to_string()),
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
