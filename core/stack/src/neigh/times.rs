//! Times of the neighbour cache, and those of a link of IPv6 that are other ones.

use super::{Key, Neighbours};
use core::net::IpAddr;
use iopkt_base::Duration;

/// Between two solicitations for one address (RFC 1122 2.3.2.1; RFC 4861 RETRANS_TIMER).
pub const RETRY: Duration = Duration::from_secs(1);
/// Solicitations before giving up (RFC 4861 MAX_MULTICAST_SOLICIT and MAX_UNICAST_SOLICIT).
pub const TRIES: u8 = 3;
/// An entry counts as reachable this long after it was confirmed (RFC 4861 REACHABLE_TIME).
pub const REACHABLE: Duration = Duration::from_secs(30);
/// How long an upper layer has to confirm an IPv6 neighbour before it is polled (RFC 4861 DELAY_FIRST_PROBE_TIME).
pub const DELAY: Duration = Duration::from_secs(5);
/// An entry that nobody uses is forgotten (BSD's `arpt_keep`).
pub const KEEP: Duration = Duration::from_secs(1200);

/// Times of Neighbour Discovery on a link (RFC 4861 6.3.2), and whether neighbours are polled there at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NdTimes {
    /// An entry counts as reachable this long after it was confirmed.
    pub reachable: Duration,
    /// Between two solicitations.
    pub retry: Duration,
    /// Neighbours that are used are polled (NUD).
    pub nud: bool,
    /// How long an upper layer has to confirm a neighbour before it is polled.
    pub delay: Duration,
    /// Solicitations to a neighbour, and to everybody, before it is given up.
    pub tries: (u8, u8),
}

/// What holds for IPv4, and for IPv6 where nothing else was said.
pub(super) const USUAL: NdTimes =
    NdTimes { reachable: REACHABLE, retry: RETRY, nud: true, delay: DELAY, tries: (TRIES, TRIES) };

impl Default for NdTimes {
    fn default() -> NdTimes {
        USUAL
    }
}

/// Without confirmation for this long, a neighbour that was polled is gone. An IPv6 entry may be stale from the start: what
/// counts is that nothing came while it was polled.
pub(super) fn silence(ip: &IpAddr, t: NdTimes) -> Duration {
    if ip.is_ipv6() { t.retry * u32::from(t.tries.0) } else { REACHABLE }
}

impl Neighbours {
    /// The times of a link from now on.
    pub fn set_times(&mut self, ifindex: u32, t: NdTimes) {
        self.recent = None;
        if t == USUAL {
            self.times.remove(&ifindex);
        } else {
            self.times.insert(ifindex, t);
        }
    }

    /// The times of a link of IPv6.
    pub fn times(&self, ifindex: u32) -> NdTimes {
        self.times.get(&ifindex).copied().unwrap_or(USUAL)
    }

    pub(super) fn times_of(&self, key: &Key) -> NdTimes {
        if self.times.is_empty() || key.1.is_ipv4() { USUAL } else { self.times(key.0) }
    }
}
