//! Invariants of a world: every frame is accounted for, on the links and in the stacks.
//!
//! The sums follow a frame up: what links deliver is what hosts take in; what an interface counts went to a
//! protocol or was dropped for a counted reason; what IP counts is broken, another's, or delivered; what is
//! delivered was received by a transport.

use crate::host::Host;
use crate::world::World;
use iopkt_ctl::{Counter, Reply, Request};
use iopkt_stack::{LO0, Stat, Why};

impl World {
    /// Checks every sum that holds between events.
    ///
    /// # Panics
    /// One does not.
    pub fn check(&mut self) {
        for l in self.links.iter().flatten().chain(self.necks.iter().flatten()) {
            let on_it = l.delivered + l.under_way() as u64;
            assert_eq!(l.sent + l.doubled, l.lost + on_it, "frames on a link");
        }
        for (i, h) in self.hosts.iter_mut().enumerate() {
            let links = || self.links.iter().map(|l| l[i].delivered).sum();
            h.check(self.necks[i].as_ref().map_or_else(links, |n| n.delivered));
        }
    }
}

impl Host {
    /// Checks that each of the `arrived` frames is accounted for.
    ///
    /// # Panics
    /// One is not.
    pub fn check(&mut self, arrived: u64) {
        assert_eq!(arrived, self.input + self.no_memory, "frames that arrived at {}", self.name);
        let counters = match self.shard.ctl(&Request::Stats) {
            Some(Reply::Stats(s)) => s.counters,
            r => panic!("{r:?}"),
        };
        check_host(self, &counters);
    }
}

fn check_host(h: &Host, all: &[Counter]) {
    let (i, c) = (&h.name, &h.shard.cx.counters);
    let iface = |n| h.shard.net.iface(n).map(|i| i.counters).expect("the interface");
    let (eth, lo) = (iface(h.eth), iface(LO0));
    // An interface that is down counts nothing itself; what it was to send ends for the same reason.
    let taken = eth.ipackets + eth.ierrors;
    let given = taken..=taken + c.drops(Why::IfDown);
    assert!(given.contains(&h.input), "{i}: {} frames given to its interface, {given:?} taken", h.input);

    // A frame goes to a protocol or ends at the link layer.
    let of = |group: &str, text: &str| {
        all.iter().find(|c| c.group == group && c.text == text).map_or(0, |c| c.value)
    };
    let total6 = of("ip6", "{} total packets received");
    let up = c.get(Stat::IpTotal) + total6 + c.get(Stat::ArpReceived);
    let ended = c.drops(Why::OtherHost) + c.drops(Why::UnknownEtherType);
    let rest = (eth.ipackets + lo.ipackets).checked_sub(up + ended);
    // Both reasons are used further up too, so there is no equality here.
    let most = c.drops(Why::BadArp) + c.drops(Why::BadAddress);
    assert!(rest.is_some_and(|r| r <= most), "{i}: {rest:?} frames are gone, {most} may be");

    // A packet is broken, for somebody else, kept as a fragment, or delivered.
    let broken = [
        Stat::IpBadChecksum,
        Stat::IpTooShort,
        Stat::IpBadLength,
        Stat::IpBadHeaderLen,
        Stat::IpBadVersion,
        Stat::IpBadOptions,
        Stat::IpBadAddress,
        Stat::IpCantForward,
    ];
    let ended: u64 = broken.iter().map(|s| c.get(*s)).sum();
    if c.get(Stat::IpFragments) == 0 {
        let ip = (c.get(Stat::IpTotal), ended + c.get(Stat::IpDelivered));
        assert_eq!(ip.0, ip.1, "{i}: IP packets in, and ended or delivered");
    }

    check_ip6(i, total6, &of);

    // What was delivered, a transport has received.
    let sockets = h.shard.sockets.stats();
    let received = |group: &str, text: &str| {
        let n = sockets.iter().find(|c| c.group == group && c.text == text).map(|c| c.value);
        n.unwrap_or_else(|| panic!("no counter {group}: {text}"))
    };
    let icmp: u64 = (0..=255).map(|t| c.icmp_count(t, false)).sum();
    let taken = received("tcp", "{} packets received")
        + received("udp", "{} datagrams received")
        + c.get(Stat::IgmpReceived)
        + c.get(Stat::IpNoProto)
        + icmp
        + c.get(Stat::IcmpTooShort)
        + c.get(Stat::IcmpBadChecksum);
    assert_eq!(c.get(Stat::IpDelivered), taken, "{i}: delivered, and received by a transport");
}

/// The same of IPv6's packets. Messages of ICMPv6 have no sum of their own.
fn check_ip6(host: &str, total: u64, of: &dyn Fn(&str, &str) -> u64) {
    let broken = [
        "{} with size smaller than minimum",
        "{} with data size < data length",
        "{} with incorrect version number",
        "{} with bad options",
        "{} packets that violated scope rules",
        "{} packets with too many headers",
        "{} packets not forwardable",
    ];
    let delivered = of("ip6", "{} packets for this host");
    if of("ip6", "{} fragments received") == 0 {
        let ended: u64 = broken.iter().map(|t| of("ip6", t)).sum();
        assert_eq!(total, ended + delivered, "{host}: IPv6 packets in, and ended or delivered");
    }
    let transports = of("tcp6", "{} packets received") + of("udp6", "{} datagrams received");
    assert!(transports <= delivered, "{host}: {transports} to transports, {delivered} delivered");
}
