//! Limits: where each comes from.

use crate::cmdline::Tcpip;
use iopkt_mbuf::{BATCH, Pool, PoolConfig};
use iopkt_stack::Config;

/// Raises the limit of open descriptors as far as it goes; returns what it is then. Every socket needs one.
pub(crate) fn raise_files() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    let most = now.maximum.unwrap_or(1 << 20);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: now.maximum });
    getrlimit(Resource::Nofile).current.unwrap_or(1 << 20)
}

/// Packet memory: `mclbytes`; the number of buffers shrinks as they grow, so that the total stays at 64 MB,
/// as long as 4096 are left.
pub(crate) fn pool(t: &Tcpip) -> PoolConfig {
    let d = PoolConfig::default();
    let cluster = t.mclbytes.unwrap_or(d.cluster);
    let max_clusters = (d.max_clusters * d.cluster / cluster).max(4096);
    PoolConfig { cluster, max_clusters, ..d }
}

/// Buffers that the shard's thread keeps: `pkt_cache`, `mbuf_cache`.
pub(crate) fn keep(t: &Tcpip) -> usize {
    t.pkt_cache.unwrap_or(8 * BATCH)
}

/// The shard's configuration.
pub(crate) fn stack(t: &Tcpip, files: u64) -> Config {
    let d = Config::default();
    // What sessions, drivers and the process itself need comes off.
    let sockets = usize::try_from(files.saturating_sub(files / 8).max(64)).unwrap_or(usize::MAX);
    Config {
        somaxconn: t.somaxconn.unwrap_or(d.somaxconn),
        reuseport_unicast: t.reuseport_unicast,
        enmap: !t.no_enmap,
        max_sockets: d.max_sockets.min(sockets),
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
