//! Multicast groups: `/proc/net/igmp`, `/proc/net/igmp6` and, by link-level address, `/proc/net/dev_mcast`, which `ip maddr` and net-tools'
//! netstat -g read.

use super::{LINES, hex6, word};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;
use core::net::IpAddr;
use iopkt_ctl::{GroupInfo, IfKind, Reply, Request};
use iopkt_stack::Shard;

/// The groups with the indices of their interfaces.
fn list(shard: &mut Shard, v4: bool) -> Vec<(u32, GroupInfo)> {
    let all = match shard.ctl(&Request::Groups) {
        Some(Reply::Groups(l)) => l,
        _ => Vec::new(),
    };
    let of = all.into_iter().filter(|g| g.group.is_ipv4() == v4).take(LINES);
    let mut v: Vec<(u32, GroupInfo)> = of.map(|g| (shard.net.ifindex_of(&g.ifname), g)).collect();
    v.sort_by_key(|(i, _)| *i);
    v
}

/// A line for each interface, below it one for each of its groups.
pub(super) fn igmp(shard: &mut Shard) -> String {
    let all = list(shard, true);
    let mut s = String::from("Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n");
    for of in all.chunk_by(|a, b| a.0 == b.0) {
        let (index, first) = &of[0];
        let _ = writeln!(s, "{index}\t{:<10}: {:5}      V3", first.ifname, of.len());
        for (_, g) in of {
            let IpAddr::V4(a) = g.group else { continue };
            let _ = writeln!(s, "\t\t\t\t{:08X} {:5} 0:{:08X}\t\t0", word(a), g.refs, 0);
        }
    }
    s
}

pub(super) fn igmp6(shard: &mut Shard) -> String {
    // MAF_LOADED and MAF_NOREPORT's neighbours, as Linux has them once a group was reported.
    let flags = 0xc;
    list(shard, false).into_iter().fold(String::new(), |s, (index, g)| {
        let IpAddr::V6(a) = g.group else { return s };
        s + &format!("{index:<4} {:<15} {} {:5} {flags:08X} 0\n", g.ifname, hex6(&a), g.refs)
    })
}

/// The link-level groups that an Ethernet interface hears because of them (RFC 1112 6.4, RFC 2464 7).
pub(super) fn dev_mcast(shard: &mut Shard) -> String {
    let mut s = String::new();
    for (index, g) in [list(shard, true), list(shard, false)].concat() {
        if shard.net.iface(index).is_none_or(|i| i.kind != IfKind::Ethernet) {
            continue;
        }
        let mac = match g.group {
            IpAddr::V4(a) => {
                let [_, b, c, d] = a.octets();
                format!("01005e{:02x}{c:02x}{d:02x}", b & 0x7f)
            }
            IpAddr::V6(a) => format!("3333{}", &hex6(&a)[24..]),
        };
        let _ = writeln!(s, "{index:<4} {:<15} {:<5} {:<5} {mac}", g.ifname, g.refs, 0);
    }
    s
}
