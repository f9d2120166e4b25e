//! Counters. Every packet that is not delivered or sent ends in exactly one drop reason.

pub use crate::stats::Stat;
use alloc::format;
use alloc::vec::Vec;
use iopkt_ctl::Counter;

/// ICMP types that are counted one by one (BSD's `ICMP_MAXTYPE + 1`).
const ICMP_TYPES: usize = 19;

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
    SocketFilter = "socket filter",
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
    ListenerFull = "receive queue of a stack module full",
    BadOffload = "offload marks of the driver contradict the packet",
}

/// Counters of a shard, by drop reason and by protocol event.
#[derive(Clone, Debug)]
pub struct Counters {
    drops: [u64; Why::ALL.len()],
    stats: [u64; Stat::ALL.len()],
    icmp_in: [u64; ICMP_TYPES],
    icmp_out: [u64; ICMP_TYPES],
}

impl Default for Counters {
    fn default() -> Self {
        Counters {
            drops: [0; Why::ALL.len()],
            stats: [0; Stat::ALL.len()],
            icmp_in: [0; ICMP_TYPES],
            icmp_out: [0; ICMP_TYPES],
        }
    }
}

impl Counters {
    /// Counts one ended packet.
    #[inline]
    pub fn dropped(&mut self, why: Why) {
        self.drops[why as usize] += 1;
    }

    /// Packets that ended for this reason.
    pub fn drops(&self, why: Why) -> u64 {
        self.drops[why as usize]
    }

    /// Counts one event.
    #[inline]
    pub fn inc(&mut self, s: Stat) {
        self.stats[s as usize] += 1;
    }

    /// Counts `n` events.
    #[inline]
    pub fn add(&mut self, s: Stat, n: u64) {
        self.stats[s as usize] += n;
    }

    /// Events counted.
    pub fn get(&self, s: Stat) -> u64 {
        self.stats[s as usize]
    }

    /// Counts an ICMP message by type, for netstat's histograms.
    pub fn icmp(&mut self, ty: u8, out: bool) {
        let h = if out { &mut self.icmp_out } else { &mut self.icmp_in };
        if let Some(c) = h.get_mut(usize::from(ty)) {
            *c += 1;
        }
    }

    /// ICMP messages of a type.
    pub fn icmp_count(&self, ty: u8, out: bool) -> u64 {
        let h = if out { &self.icmp_out } else { &self.icmp_in };
        h.get(usize::from(ty)).copied().unwrap_or(0)
    }

    /// All of them as data, in netstat's order: protocol counters, then the drop reasons that occurred.
    pub fn report(&self) -> Vec<Counter> {
        let mut v: Vec<Counter> = Stat::ALL
            .iter()
            .map(|(s, group, text)| Counter {
                group: (*group).into(),
                text: (*text).into(),
                value: self.get(*s),
            })
            .collect();
        for (out, what) in [(true, "output"), (false, "input")] {
            for ty in 0..ICMP_TYPES as u8 {
                let value = self.icmp_count(ty, out);
                if value != 0 {
                    let text = format!("{what} histogram: {}: {{}}", icmp_name(ty));
                    v.push(Counter { group: "icmp".into(), text, value });
                }
            }
        }
        v.extend(Why::ALL.iter().filter(|w| self.drops(w.0) != 0).map(|(w, text)| Counter {
            group: "drop".into(),
            text: format!("{{}} {text}"),
            value: self.drops(*w),
        }));
        v
    }
}

/// netstat's name of an ICMP type.
fn icmp_name(ty: u8) -> &'static str {
    use iopkt_wire::icmp4::ty as t;
    match ty {
        t::ECHO_REPLY => "echo reply",
        t::UNREACHABLE => "destination unreachable",
        t::SOURCE_QUENCH => "source quench",
        t::REDIRECT => "routing redirect",
        t::ECHO => "echo",
        t::ROUTER_ADVERT => "router advertisement",
        t::ROUTER_SOLICIT => "router solicitation",
        t::TIME_EXCEEDED => "time exceeded",
        t::PARAM_PROBLEM => "parameter problem",
        t::TIMESTAMP => "time stamp",
        t::TIMESTAMP_REPLY => "time stamp reply",
        t::INFO_REQUEST => "information request",
        t::INFO_REPLY => "information request reply",
        t::MASK_REQUEST => "address mask request",
        t::MASK_REPLY => "address mask reply",
        _ => "unknown",
    }
}
