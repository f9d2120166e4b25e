//! What holds for all connections: variables of `net.inet.tcp` that no socket option overrides.
//!
//! Names are NetBSD's where it has them, else Linux's without the `tcp_`; the meanings and defaults are Linux's
//! (tcp(7), `ip-sysctl`), whose programs run here.

use super::Sockets;
use super::tcp::{MAX_ORPHANS, MAX_TIME_WAIT};

/// The variables, in the order of [`Policy`]'s fields.
pub(crate) const NAMES: [&str; 18] = [
    "net.inet.tcp.fastopen",
    "net.inet.tcp.msl",
    "net.inet.tcp.rstppslimit",
    "net.inet.tcp.max_tw_buckets",
    "net.inet.tcp.max_orphans",
    "net.inet.tcp.retries2",
    "net.inet.tcp.syncookies",
    "net.inet.tcp.tw_reuse",
    "net.inet.tcp.invalid_ratelimit",
    "net.inet.tcp.mtu_probing",
    "net.inet.tcp.base_mss",
    "net.inet.tcp.tolerate_missing_ts",
    "net.inet.tcp.min_tso_segs",
    "net.inet.tcp.max_ack_delay",
    "net.inet.tcp.bare_probes",
    "net.inet.tcp.unreach_ends_syn_received",
    "net.inet.tcp.sndbuf_overhead",
    "net.inet.tcp.reduce_cwnd",
];

/// Linux keeps them as int.
const INT_MAX: u32 = i32::MAX as u32;

/// Settings of the stack.
pub(crate) struct Policy {
    /// Maximum segment lifetime, seconds: TIME-WAIT lasts twice that.
    pub msl: u32,
    /// Most resets a second to segments that belong to nothing.
    pub rst_pps: u32,
    /// Most connections in TIME-WAIT.
    pub max_tw: u32,
    /// Most connections without a program.
    pub max_orphans: u32,
    /// Retransmissions of the same data before a connection is given up (R2 of RFC 9293).
    pub retries2: u8,
    /// 0: never, 1: when too many handshakes are under way, 2: always.
    pub syncookies: u8,
    /// A connect may take the ends of a TIME-WAIT with timestamps. 0: never, 1: yes, 2: only to this host itself.
    pub tw_reuse: u8,
    /// Shortest time between two answers to what is not acceptable, milliseconds.
    pub invalid_ms: u32,
    /// Path MTU by probing: 0 never, 1 where segments vanish, 2 always.
    pub mtu_probing: u8,
    /// Where probing begins, bytes.
    pub base_mss: u16,
    /// Segments without the timestamps that were agreed on are taken.
    pub missing_ts: bool,
    /// Segments that a super-segment has at least.
    pub min_tso: u8,
    /// What a receiver may keep an ACK for a single segment back, milliseconds: a tail loss probe waits for it.
    pub ack_delay: u16,
    /// Window probes carry no byte.
    pub bare_probes: bool,
    /// "Unreachable" ends a connection whose handshake a peer has begun, too.
    pub unreach_ends: bool,
    /// A loss reduces the window, not what is in flight of it.
    pub reduce_cwnd: bool,
    /// What each buffer of Linux's costs besides its payload, where SO_SNDBUF is to count them; 0: it does not. Bytes.
    pub sndbuf_overhead: u16,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            msl: 30,
            rst_pps: 1000,
            max_tw: MAX_TIME_WAIT as u32,
            max_orphans: MAX_ORPHANS as u32,
            retries2: 15,
            syncookies: 1,
            tw_reuse: 1,
            invalid_ms: 500,
            mtu_probing: 0,
            base_mss: 1024,
            missing_ts: false,
            min_tso: 2,
            ack_delay: 50,
            bare_probes: false,
            unreach_ends: false,
            reduce_cwnd: false,
            sndbuf_overhead: 0,
        }
    }
}

/// Sets a field to a value of its range.
fn put<T: TryFrom<u32>>(place: &mut T, v: u32, range: core::ops::RangeInclusive<u32>) -> bool {
    match T::try_from(v) {
        Ok(x) if range.contains(&v) => {
            *place = x;
            true
        }
        _ => false,
    }
}

fn flag(place: &mut bool, v: u32) -> bool {
    if v <= 1 {
        *place = v == 1;
    }
    v <= 1
}

impl Sockets {
    /// The value of a variable; `None` for one that is not here.
    pub(super) fn policy(&self, name: &str) -> Option<u32> {
        let p = &self.policy;
        Some(match name {
            "net.inet.tcp.fastopen" => self.fast.bits,
            "net.inet.tcp.msl" => p.msl,
            "net.inet.tcp.rstppslimit" => p.rst_pps,
            "net.inet.tcp.max_tw_buckets" => p.max_tw,
            "net.inet.tcp.max_orphans" => p.max_orphans,
            "net.inet.tcp.retries2" => p.retries2.into(),
            "net.inet.tcp.syncookies" => p.syncookies.into(),
            "net.inet.tcp.tw_reuse" => p.tw_reuse.into(),
            "net.inet.tcp.invalid_ratelimit" => p.invalid_ms,
            "net.inet.tcp.mtu_probing" => p.mtu_probing.into(),
            "net.inet.tcp.base_mss" => p.base_mss.into(),
            "net.inet.tcp.min_tso_segs" => p.min_tso.into(),
            "net.inet.tcp.tolerate_missing_ts" => p.missing_ts.into(),
            "net.inet.tcp.max_ack_delay" => p.ack_delay.into(),
            "net.inet.tcp.bare_probes" => p.bare_probes.into(),
            "net.inet.tcp.reduce_cwnd" => p.reduce_cwnd.into(),
            "net.inet.tcp.sndbuf_overhead" => p.sndbuf_overhead.into(),
            "net.inet.tcp.unreach_ends_syn_received" => p.unreach_ends.into(),
            _ => return None,
        })
    }

    /// Changes a variable; false when there is none of this name or the value is out of its range.
    pub(super) fn set_policy(&mut self, name: &str, v: u32) -> bool {
        let p = &mut self.policy;
        match name {
            "net.inet.tcp.fastopen" => self.fast.set_bits(v),
            "net.inet.tcp.msl" => put(&mut p.msl, v, 1..=600),
            "net.inet.tcp.rstppslimit" => put(&mut p.rst_pps, v, 0..=INT_MAX),
            "net.inet.tcp.max_tw_buckets" => put(&mut p.max_tw, v, 0..=INT_MAX),
            "net.inet.tcp.max_orphans" => put(&mut p.max_orphans, v, 0..=INT_MAX),
            // RFC 9293 wants at least 3.
            "net.inet.tcp.retries2" => put(&mut p.retries2, v, 3..=255),
            "net.inet.tcp.syncookies" => put(&mut p.syncookies, v, 0..=2),
            "net.inet.tcp.tw_reuse" => put(&mut p.tw_reuse, v, 0..=2),
            "net.inet.tcp.invalid_ratelimit" => put(&mut p.invalid_ms, v, 0..=60_000),
            "net.inet.tcp.mtu_probing" => put(&mut p.mtu_probing, v, 0..=2),
            "net.inet.tcp.base_mss" => put(&mut p.base_mss, v, 48..=65_495),
            "net.inet.tcp.min_tso_segs" => put(&mut p.min_tso, v, 1..=255),
            "net.inet.tcp.sndbuf_overhead" => put(&mut p.sndbuf_overhead, v, 0..=4096),
            "net.inet.tcp.max_ack_delay" => put(&mut p.ack_delay, v, 0..=500),
            "net.inet.tcp.tolerate_missing_ts" => flag(&mut p.missing_ts, v),
            "net.inet.tcp.reduce_cwnd" => flag(&mut p.reduce_cwnd, v),
            "net.inet.tcp.bare_probes" => flag(&mut p.bare_probes, v),
            "net.inet.tcp.unreach_ends_syn_received" => flag(&mut p.unreach_ends, v),
            _ => false,
        }
    }
}
