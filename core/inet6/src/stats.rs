//! Counters of the domain, in `netstat -s`'s words. They live here and not in the shard, so that a variant without IPv6 does not
//! list them.

use alloc::vec::Vec;
use iopkt_ctl::Counter;

macro_rules! stats {
    ($($name:ident = $group:literal $text:literal,)*) => {
        /// One counter. The text beside each is its documentation; `{}` is where the number goes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs)]
        pub enum Stat6 { $($name,)* }

        const ALL: &[(&str, &str)] = &[$(($group, $text),)*];
    };
}

stats! {
    Total = "ip6" "{} total packets received",
    TooShort = "ip6" "{} with size smaller than minimum",
    BadLength = "ip6" "{} with data size < data length",
    BadVersion = "ip6" "{} with incorrect version number",
    BadOptions = "ip6" "{} with bad options",
    BadScope = "ip6" "{} packets that violated scope rules",
    TooManyHeaders = "ip6" "{} packets with too many headers",
    Fragments = "ip6" "{} fragments received",
    AtomicFragments = "ip6" "{} atomic fragments received",
    FragDropped = "ip6" "{} fragments dropped (dup or out of space)",
    FragOverlap = "ip6" "{} overlapping fragments dropped",
    FragTimeout = "ip6" "{} fragments dropped after timeout",
    Reassembled = "ip6" "{} packets reassembled ok",
    Delivered = "ip6" "{} packets for this host",
    Forwarded = "ip6" "{} packets forwarded",
    CantForward = "ip6" "{} packets not forwardable",
    RedirectsOut = "ip6" "{} redirects sent",
    OutLocal = "ip6" "{} packets sent from this host",
    OutRaw = "ip6" "{} packets sent with fabricated ip header",
    OutNoBufs = "ip6" "{} output packets dropped due to no bufs, etc.",
    OutNoRoute = "ip6" "{} output packets discarded due to no route",
    Fragmented = "ip6" "{} output datagrams fragmented",
    OutFragments = "ip6" "{} fragments created",
    CantFragment = "ip6" "{} datagrams that can't be fragmented",
    IcmpErrors = "icmp6" "{} calls to icmp6_error",
    IcmpNotSent = "icmp6" "{} errors not generated because old message was icmp6 or so",
    IcmpRateLimited = "icmp6" "{} errors not generated because rate limitation",
    IcmpBadCode = "icmp6" "{} messages with bad code fields",
    IcmpTooShort = "icmp6" "{} messages < minimum length",
    IcmpBadChecksum = "icmp6" "{} bad checksums",
    IcmpBadLength = "icmp6" "{} messages with bad length",
    IcmpReflected = "icmp6" "{} message responses generated",
    IcmpPmtuChanges = "icmp6" "{} path MTU changes",
    NdTooManyOptions = "icmp6" "{} messages with too many ND options",
    NdBadOptions = "icmp6" "{} messages with bad ND options",
    BadNs = "icmp6" "{} bad neighbor solicitation messages",
    BadNa = "icmp6" "{} bad neighbor advertisement messages",
    BadRs = "icmp6" "{} bad router solicitation messages",
    BadRa = "icmp6" "{} bad router advertisement messages",
    BadRedirect = "icmp6" "{} bad redirect messages",
    NsIn = "icmp6" "{} neighbor solicitations received",
    NsOut = "icmp6" "{} neighbor solicitations sent",
    NaIn = "icmp6" "{} neighbor advertisements received",
    NaOut = "icmp6" "{} neighbor advertisements sent",
    RsOut = "icmp6" "{} router solicitations sent",
    RaIn = "icmp6" "{} router advertisements received",
    RaDropped = "icmp6" "{} router advertisement routes dropped",
    DadDuplicates = "icmp6" "{} duplicate addresses found",
    MldQueries = "mld" "{} queries received",
    MldBadQueries = "mld" "{} bad queries received",
    MldReportsIn = "mld" "{} reports received",
    MldReportsOut = "mld" "{} reports sent",
}

/// The counters of a domain.
#[derive(Clone, Debug)]
pub struct Stats([u64; ALL.len()]);

impl Default for Stats {
    fn default() -> Stats {
        Stats([0; ALL.len()])
    }
}

impl Stats {
    /// Counts one event.
    #[inline]
    pub fn inc(&mut self, s: Stat6) {
        self.add(s, 1);
    }

    /// Counts `n` events.
    #[inline]
    pub fn add(&mut self, s: Stat6, n: u64) {
        self.0[s as usize] += n;
    }

    /// Events counted.
    pub fn get(&self, s: Stat6) -> u64 {
        self.0[s as usize]
    }

    /// All of them as data, in netstat's order.
    pub fn report(&self) -> Vec<Counter> {
        let row = |((group, text), value): (&(&str, &str), &u64)| Counter {
            group: (*group).into(),
            text: (*text).into(),
            value: *value,
        };
        ALL.iter().zip(&self.0).map(row).collect()
    }
}
