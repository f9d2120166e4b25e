//! Counters: `/proc/net/snmp6`, `/proc/net/sockstat` and `/proc/net/sockstat6`.
//!
//! What IPv6 counts has the words of netstat(1); here each has the name of RFC 4293 that Linux uses. What is not counted is left out,
//! as Linux does with what a kernel does not have.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;
use iopkt_ctl::{Counter, Reply, Request, SockInfo};
use iopkt_stack::Shard;

/// Linux's name, and the counters whose sum it is: group and words.
const SNMP6: &[(&str, &[(&str, &str)])] = &[
    ("Ip6InReceives", &[("ip6", "{} total packets received")]),
    (
        "Ip6InHdrErrors",
        &[
            ("ip6", "{} with data size < data length"),
            ("ip6", "{} with incorrect version number"),
            ("ip6", "{} with bad options"),
            ("ip6", "{} packets with too many headers"),
        ],
    ),
    ("Ip6InAddrErrors", &[("ip6", "{} packets that violated scope rules")]),
    ("Ip6InTruncatedPkts", &[("ip6", "{} with size smaller than minimum")]),
    ("Ip6InDelivers", &[("ip6", "{} packets for this host")]),
    ("Ip6OutForwDatagrams", &[("ip6", "{} packets forwarded")]),
    (
        "Ip6OutRequests",
        &[("ip6", "{} packets sent from this host"), ("ip6", "{} packets sent with fabricated ip header")],
    ),
    ("Ip6OutDiscards", &[("ip6", "{} output packets dropped due to no bufs, etc.")]),
    ("Ip6OutNoRoutes", &[("ip6", "{} output packets discarded due to no route")]),
    ("Ip6ReasmTimeout", &[("ip6", "{} fragments dropped after timeout")]),
    ("Ip6ReasmReqds", &[("ip6", "{} fragments received")]),
    ("Ip6ReasmOKs", &[("ip6", "{} packets reassembled ok")]),
    (
        "Ip6ReasmFails",
        &[
            ("ip6", "{} fragments dropped (dup or out of space)"),
            ("ip6", "{} overlapping fragments dropped"),
            ("ip6", "{} fragments dropped after timeout"),
        ],
    ),
    ("Ip6FragOKs", &[("ip6", "{} output datagrams fragmented")]),
    ("Ip6FragFails", &[("ip6", "{} datagrams that can't be fragmented")]),
    ("Ip6FragCreates", &[("ip6", "{} fragments created")]),
    (
        "Icmp6InErrors",
        &[
            ("icmp6", "{} messages with bad code fields"),
            ("icmp6", "{} messages < minimum length"),
            ("icmp6", "{} messages with bad length"),
            ("icmp6", "{} bad checksums"),
        ],
    ),
    ("Icmp6InCsumErrors", &[("icmp6", "{} bad checksums")]),
    ("Icmp6OutRateLimitHost", &[("icmp6", "{} errors not generated because rate limitation")]),
    ("Udp6InDatagrams", &[("udp6", "{} delivered")]),
    ("Udp6NoPorts", &[("udp6", "{} dropped due to no socket")]),
    ("Udp6InErrors", &[("udp6", "{} with incomplete header"), ("udp6", "{} with bad checksum")]),
    ("Udp6OutDatagrams", &[("udp6", "{} datagrams output")]),
    ("Udp6RcvbufErrors", &[("udp6", "{} dropped due to full socket buffers")]),
    ("Udp6InCsumErrors", &[("udp6", "{} with bad checksum")]),
];

/// Linux's names of ICMPv6's messages, with netstat's.
const MESSAGES: [(&str, &str); 15] = [
    ("DestUnreachs", "unreach"),
    ("PktTooBigs", "packet too big"),
    ("TimeExcds", "time exceed"),
    ("ParmProblems", "parameter problem"),
    ("Echos", "echo"),
    ("EchoReplies", "echo reply"),
    ("GroupMembQueries", "multicast listener query"),
    ("GroupMembResponses", "multicast listener report"),
    ("GroupMembReductions", "multicast listener done"),
    ("RouterSolicits", "router solicitation"),
    ("RouterAdvertisements", "router advertisement"),
    ("NeighborSolicits", "neighbor solicitation"),
    ("NeighborAdvertisements", "neighbor advertisement"),
    ("Redirects", "redirect"),
    ("MLDv2Reports", "MLDv2 listener report"),
];

fn counters(shard: &mut Shard) -> Vec<Counter> {
    match shard.ctl(&Request::Stats) {
        Some(Reply::Stats(s)) => s.counters,
        _ => Vec::new(),
    }
}

pub(super) fn snmp6(shard: &mut Shard) -> String {
    let all = counters(shard);
    let one = |(group, text): &(&str, &str)| {
        all.iter().find(|c| c.group == *group && c.text == *text).map(|c| c.value)
    };
    let mut s = String::new();
    for (name, of) in SNMP6 {
        let sum: Option<u64> = of.iter().map(one).sum();
        if let Some(n) = sum {
            let _ = writeln!(s, "{name:<32}\t{n}");
        }
    }
    // What went and came of each kind; a kind that did not occur has no counter.
    for (way, title) in [("In", "input histogram: "), ("Out", "output histogram: ")] {
        let of: Vec<(&str, u64)> = all
            .iter()
            .filter(|c| c.group == "icmp6")
            .filter_map(|c| Some((c.text.strip_prefix(title)?.strip_suffix(": {}")?, c.value)))
            .collect();
        let _ = writeln!(s, "{:<32}\t{}", format!("Icmp6{way}Msgs"), of.iter().map(|c| c.1).sum::<u64>());
        for (name, text) in MESSAGES {
            let n = of.iter().find(|c| c.0 == text).map_or(0, |c| c.1);
            let _ = writeln!(s, "{:<32}\t{n}", format!("Icmp6{way}{name}"));
        }
    }
    s
}

/// How many sockets of each protocol a family has.
pub(super) fn sockstat(all: &[SockInfo], v4: bool) -> String {
    let (family, six) = if v4 { (4, "") } else { (6, "6") };
    let count = |proto: &str, f: &dyn Fn(&SockInfo) -> bool| {
        all.iter().filter(|i| i.proto == proto && i.family == family && f(i)).count()
    };
    let bound = |i: &SockInfo| i.local.port() != 0;
    let tcp = count("tcp", &|i| i.state != "CLOSED" && i.state != "TIME_WAIT");
    let mut s = String::new();
    if v4 {
        let waits = all.iter().filter(|i| i.proto == "tcp" && i.state == "TIME_WAIT").count();
        let orphan = all.iter().filter(|i| i.proto == "tcp" && i.ino == 0 && i.state != "TIME_WAIT").count();
        let alloc = all.iter().filter(|i| i.proto == "tcp" && i.state != "TIME_WAIT").count();
        let _ = writeln!(s, "sockets: used {}", all.len());
        let _ = writeln!(s, "TCP: inuse {tcp} orphan {orphan} tw {waits} alloc {alloc} mem 0");
        let _ = writeln!(s, "UDP: inuse {} mem 0", count("udp", &bound));
    } else {
        let _ = writeln!(s, "TCP6: inuse {tcp}\nUDP6: inuse {}", count("udp", &bound));
    }
    let raw = count("raw", &|_| true);
    let _ = writeln!(s, "UDPLITE{six}: inuse 0\nRAW{six}: inuse {raw}\nFRAG{six}: inuse 0 memory 0");
    s
}
