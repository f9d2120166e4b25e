//! Counters. Every packet that is not delivered or sent ends in exactly one drop reason.

macro_rules! reasons {
    ($($name:ident = $text:literal,)*) => {
        /// Why a packet ended.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs)] // the text beside each is its documentation
        pub enum Why { $($name,)* }

        impl Why {
            /// All reasons with their texts.
            pub const ALL: &'static [(Why, &'static str)] = &[$((Why::$name, $text),)*];
        }
    };
}

reasons! {
    ShortFrame = "frame shorter than its headers",
    OtherHost = "link-level address of another host",
    UnknownEtherType = "unknown ethertype",
    IfDown = "interface down",
    NoMemory = "no packet memory",
    BadIpHeader = "bad IP header",
    BadIpChecksum = "bad IP header checksum",
    BadLength = "length field larger than the packet",
    NotForUs = "not addressed to this host",
    NoRoute = "no route to host",
    NoNeighbour = "neighbour did not answer",
    HoldQueueFull = "neighbour hold queue full",
    BadAddress = "source or destination address not allowed",
    BadFragment = "malformed or overlapping fragment",
    ReassemblyTimeout = "reassembly timed out",
    ReassemblyLimit = "reassembly queue full",
    TtlExpired = "TTL expired",
    NeedsFragmenting = "too big and don't-fragment set",
    NoProtocol = "no protocol for it",
    BadTransportHeader = "bad transport header",
    BadTransportChecksum = "bad transport checksum",
    NoSocket = "no socket for it",
    SocketFull = "socket receive buffer full",
    ListenOverflow = "listen queue overflow",
    BadArp = "bad ARP packet",
    BadIcmp = "bad ICMP packet",
    BadIgmp = "bad IGMP packet",
    RateLimited = "answer suppressed by rate limit",
    TxQueueFull = "transmit queue full",
    Handled = "consumed by the protocol itself",
    TcpOld = "TCP segment outside the window or duplicate",
    TcpBadState = "TCP segment not acceptable in this state",
    HookDenied = "refused by a filter",
}

/// Counters of a shard, by drop reason and by protocol event.
#[derive(Clone, Debug)]
pub struct Counters {
    drops: [u64; Why::ALL.len()],
}

impl Default for Counters {
    fn default() -> Self {
        Counters { drops: [0; Why::ALL.len()] }
    }
}

impl Counters {
    /// Counts one ended packet.
    pub fn dropped(&mut self, why: Why) {
        self.drops[why as usize] += 1;
    }

    /// Packets that ended for this reason.
    pub fn drops(&self, why: Why) -> u64 {
        self.drops[why as usize]
    }
}
