//! Linux's variables (`net.ipv4.tcp_...`, ip-sysctl) and what they mean to this stack.
//!
//! Scripts set them by their Linux names. [`World::sysctl`] says whether a variable has a counterpart; those that have none (the stack
//! always does it, or never) are named in [`KNOWN`] with what the stack does, so that a difference can be explained.

use crate::stack::World;

/// Names under `net.ipv4` and `net.core` that scripts set.
pub const KNOWN: &[&str] = &[
    "net.core.somaxconn",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
    "net.ipv4.tcp_timestamps",
    "net.ipv4.tcp_window_scaling",
    "net.ipv4.tcp_sack",
    "net.ipv4.tcp_syn_retries",
    "net.ipv4.tcp_synack_retries",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_congestion_control",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_ecn",
    "net.ipv4.tcp_fastopen",
    "net.ipv4.tcp_fastopen_key",
    "net.ipv4.tcp_notsent_lowat",
    "net.ipv4.tcp_retries2",
    "net.ipv4.tcp_mtu_probing",
    "net.ipv4.tcp_base_mss",
    "net.ipv4.tcp_slow_start_after_idle",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_orphan_retries",
    "net.ipv4.tcp_early_retrans",
    "net.ipv4.tcp_recovery",
    "net.ipv4.tcp_frto",
    "net.ipv4.tcp_dsack",
    "net.ipv4.tcp_invalid_ratelimit",
    "net.ipv4.tcp_min_tso_segs",
    "net.ipv4.tcp_comp_sack_nr",
    "net.ipv4.ip_no_pmtu_disc",
];

impl World {
    /// `ip tcp_metrics flush`: forgets what is kept of peers.
    pub fn forget_peers(&mut self) {
        self.shard.sockets.forget_cookies();
    }

    /// Sets a variable of the stack by the stack's own name; false when there is none, or not this value.
    pub fn tunable(&mut self, name: &str, v: u32) -> bool {
        self.shard.sockets.set_tunable(name, v)
    }

    /// Sets a variable; false when the stack has no counterpart or refuses the value.
    pub fn sysctl(&mut self, name: &str, value: &str) -> bool {
        let last = value.split_whitespace().last().and_then(number);
        let nth = |n: usize| value.split_whitespace().nth(n).and_then(number);
        let s = &mut self.shard.sockets;
        let mut set = |n: &str, v: Option<u64>| {
            v.and_then(|v| u32::try_from(v).ok()).is_some_and(|v| s.set_tunable(n, v))
        };
        match name {
            "net.core.somaxconn" => {
                let Some(v) = last else { return false };
                self.shard.cx.cfg.somaxconn = v as u32;
                true
            }
            "net.ipv4.tcp_rmem" => {
                // tcp_adv_win_scale of 1: half of the buffer is window.
                set("net.inet.tcp.recvspace", nth(1)) | set("net.inet.tcp.recvbuf_max", nth(2))
            }
            "net.ipv4.tcp_wmem" => {
                set("net.inet.tcp.sendspace", nth(1)) | set("net.inet.tcp.sendbuf_max", nth(2))
            }
            "net.ipv4.tcp_timestamps" => set("net.inet.tcp.timestamps", last.map(|v| v.min(1))),
            "net.ipv4.tcp_window_scaling" => set("net.inet.tcp.window_scaling", last),
            "net.ipv4.tcp_sack" => set("net.inet.tcp.sack.enable", last),
            "net.ipv4.tcp_syn_retries" => set("net.inet.tcp.syn_retries", last),
            "net.ipv4.tcp_synack_retries" => set("net.inet.tcp.synack_retries", last),
            "net.ipv4.tcp_keepalive_time" => set("net.inet.tcp.keepidle", last.map(|v| v * 2)),
            "net.ipv4.tcp_keepalive_intvl" => set("net.inet.tcp.keepintvl", last.map(|v| v * 2)),
            "net.ipv4.tcp_keepalive_probes" => set("net.inet.tcp.keepcnt", last),
            "net.ipv4.tcp_congestion_control" => {
                let kind = match value.trim() {
                    "cubic" => 0,
                    "reno" => 1,
                    _ => return false,
                };
                set("net.inet.tcp.newreno", Some(kind))
            }
            // The rest are bits that no Linux of today looks at.
            "net.ipv4.tcp_fastopen" => set("net.inet.tcp.fastopen", last.map(|v| v & 0x607)),
            "net.ipv4.tcp_fastopen_key" => match fast_open_key(value) {
                Some(k) => {
                    s.set_fast_open_keys(k, None);
                    true
                }
                None => false,
            },
            "net.ipv4.tcp_ecn" => set("net.inet.tcp.ecn.enable", last),
            _ => match name.strip_prefix("net.ipv4.tcp_") {
                Some(rest) if KNOWN.contains(&name) => set(&format!("net.inet.tcp.{rest}"), last),
                _ => false,
            },
        }
    }
}

/// Four words in hexadecimal; the kernel keeps them in little-endian order. Of two keys the first.
fn fast_open_key(v: &str) -> Option<[u8; 16]> {
    let mut key = [0; 16];
    let mut words = v.trim().split(',').next()?.split('-');
    for to in key.chunks_exact_mut(4) {
        to.copy_from_slice(&u32::from_str_radix(words.next()?, 16).ok()?.to_le_bytes());
    }
    words.next().is_none().then_some(key)
}

fn number(s: &str) -> Option<u64> {
    match s.strip_prefix("0x") {
        Some(h) => u64::from_str_radix(h, 16).ok(),
        None => s.parse().ok(),
    }
}
