//! What sockets may keep when packet memory gets scarce.
//!
//! Data that waits for slow programs lies in the same buffers that devices receive into. Each socket has its own
//! limit, but many sockets together could take everything, and then nothing would come in any more, not even for
//! those who would read at once. So with less memory free, sockets keep less: first those with a lot waiting
//! lose what comes (TCP's peers send it again), in the end everybody whose program does not read. Whoever reads
//! promptly notices nothing.

use iopkt_mbuf::Pool;

/// Received packets after which the pool is looked at again within a turn.
pub(crate) const EVERY: u32 = 32;

/// How much of the pool's clusters is in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pressure {
    /// Under a half.
    #[default]
    None,
    /// A half.
    Some,
    /// Three quarters.
    High,
    /// Seven eighths.
    Critical,
}

impl Pressure {
    pub fn of(pool: &Pool) -> Pressure {
        let (out, max) = (pool.stats().out, pool.config().max_clusters);
        match () {
            () if out < max / 2 => Pressure::None,
            () if out < max / 4 * 3 => Pressure::Some,
            () if out < max / 8 * 7 => Pressure::High,
            () => Pressure::Critical,
        }
    }

    /// Most bytes that may wait in a stream for more to be taken.
    pub fn stream_max(self) -> usize {
        match self {
            Pressure::None => usize::MAX,
            Pressure::Some => 64 * 1024,
            Pressure::High => 8 * 1024,
            Pressure::Critical => 0,
        }
    }

    /// Most datagrams that may wait in a socket for one more to be taken.
    pub fn datagram_max(self) -> usize {
        match self {
            Pressure::None => usize::MAX,
            Pressure::Some => 32,
            Pressure::High => 4,
            Pressure::Critical => 0,
        }
    }
}
