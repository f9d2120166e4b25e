//! Counters of one interface, as `netstat -I IF -s` prints them (those of RFC 2465's ipv6IfStatsTable and RFC 2466's).

use crate::stats::histogram;
use alloc::vec::Vec;
use iopkt_ctl::Counter;

macro_rules! stats {
    ($($name:ident = $text:literal,)*) => {
        /// One counter of an interface.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum IfStat { $($name,)* }

        const ALL: &[&str] = &[$($text,)*];
    };
}

stats! {
    Received = "{} total input datagrams",
    BadHeader = "{} datagrams with invalid header received",
    TooBig = "{} datagrams exceeded MTU received",
    NoRoute = "{} datagrams with no route received",
    BadAddress = "{} datagrams with invalid dst received",
    UnknownProto = "{} datagrams with unknown proto received",
    Delivered = "{} datagrams delivered to an upper layer protocol",
    Forwarded = "{} datagrams forwarded to this interface",
    Sent = "{} datagrams sent from an upper layer protocol",
    Fragmented = "{} output datagrams succeeded on fragmentation",
    CantFragment = "{} output datagrams failed on fragmentation",
    OutFragments = "{} output datagrams fragments created",
    Fragments = "{} fragments received for reassembly",
    Reassembled = "{} datagrams reassembled",
    Multicast = "{} multicast datagrams received",
}

/// Of one interface.
#[derive(Clone, Debug)]
pub(crate) struct IfStats {
    events: [u64; ALL.len()],
    /// ICMPv6 messages by type: that came, that went.
    icmp: [[u64; 256]; 2],
}

/// Of all interfaces, by their numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct PerIf(Vec<IfStats>);

impl PerIf {
    /// Counts `n` events on an interface.
    #[inline]
    pub fn add(&mut self, ifindex: u32, s: IfStat, n: u64) {
        if let Some(x) = self.0.get_mut(ifindex as usize) {
            x.events[s as usize] += n;
        }
    }

    /// Counts an ICMPv6 message.
    #[inline]
    pub fn icmp(&mut self, ifindex: u32, ty: u8, out: bool) {
        if let Some(x) = self.0.get_mut(ifindex as usize) {
            x.icmp[usize::from(out)][usize::from(ty)] += 1;
        }
    }

    /// An interface arrives: all of it is zero.
    pub fn attached(&mut self, ifindex: u32) {
        let zero = IfStats { events: [0; ALL.len()], icmp: [[0; 256]; 2] };
        let at = ifindex as usize;
        if at >= self.0.len() {
            self.0.resize(at + 1, zero);
        } else {
            self.0[at] = zero;
        }
    }

    /// What one has counted, in netstat's order.
    pub fn report(&self, ifindex: u32) -> Vec<Counter> {
        let Some(x) = self.0.get(ifindex as usize) else { return Vec::new() };
        let row = |(text, value): (&&str, &u64)| Counter {
            group: "ip6".into(),
            text: (*text).into(),
            value: *value,
        };
        let mut v: Vec<Counter> = ALL.iter().zip(&x.events).map(row).collect();
        for (title, of) in [("input histogram", &x.icmp[0]), ("output histogram", &x.icmp[1])] {
            histogram(&mut v, "icmp6", title, of, &crate::stats::icmp_name);
        }
        v
    }
}
