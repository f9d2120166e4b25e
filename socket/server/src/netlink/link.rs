//! Interfaces as RTM_NEWLINK tells them.

use super::msg::{Head, Out, find_attr, word};
use crate::ioctl::linux_flags;
use alloc::string::String;
use alloc::vec::Vec;
use iopkt_base::{Errno, Result};
use iopkt_ctl::{IfKind, Ifconf, LinkState, Reply, Request, iff};
use iopkt_stack::Shard;

/// IFLA_IFNAME and IFLA_ALT_IFNAME.
const IFNAME: u16 = 3;
const ALT_IFNAME: u16 = 53;
/// Length of `struct ifinfomsg`.
pub(super) const IFINFO: usize = 16;

pub(super) fn link(h: Head, i: &Ifconf) -> Vec<u8> {
    let kind: u16 = match i.kind {
        IfKind::Ethernet => 1,
        IfKind::Loopback => 772,
        IfKind::PointToPoint => 512,
    };
    let up = i.flags & iff::UP != 0;
    let carrier = up && i.link != LinkState::Down;
    let lower = if carrier { 0x1_0000 } else { 0 };
    let mut o = Out::begin(h);
    o.raw(&[0, 0]).raw(&kind.to_ne_bytes()).raw(&i.index.to_ne_bytes());
    let running = if carrier { u32::MAX } else { !0x40 };
    o.raw(&((u32::from(linux_flags(i.flags)) & running) | lower).to_ne_bytes()).raw(&[0xff; 4]);
    o.text(IFNAME, &i.name).u32(13, 1000).attr(16, &[if carrier { 6 } else { 2 }]).attr(17, &[0]);
    o.u32(4, i.mtu).u32(27, 0).attr(33, &[carrier.into()]).text(6, "noqueue");
    if i.kind == IfKind::Ethernet {
        o.attr(1, &i.mac).attr(2, &[0xff; 6]);
    } else if i.kind == IfKind::Loopback {
        o.attr(1, &[0; 6]).attr(2, &[0; 6]);
    }
    let c = &i.counters;
    let n = [
        c.ipackets,
        c.opackets,
        c.ibytes,
        c.obytes,
        c.ierrors,
        c.oerrors,
        c.iqdrops,
        c.oqdrops,
        c.imcasts,
        c.collisions,
    ];
    let (mut s64, mut s32) = ([0u8; 24 * 8], [0u8; 24 * 4]);
    for (at, v) in n.iter().enumerate() {
        s64[at * 8..][..8].copy_from_slice(&v.to_ne_bytes());
        s32[at * 4..][..4].copy_from_slice(&(*v as u32).to_ne_bytes());
    }
    o.attr(23, &s64).attr(7, &s32);
    o.end()
}

/// RTM_DELLINK.
pub(super) fn gone(h: Head, index: u32, name: &str) -> Vec<u8> {
    let mut o = Out::begin(h);
    o.raw(&[0; 4]).raw(&index.to_ne_bytes()).raw(&[0; 4]).raw(&[0xff; 4]).text(IFNAME, name);
    o.end()
}

pub(super) fn interfaces(shard: &mut Shard, name: Option<String>) -> Result<Vec<Ifconf>> {
    match shard.ctl(&Request::Interfaces { name }) {
        Some(Reply::Interfaces(l)) => Ok(l),
        _ => Err(Errno::ENODEV),
    }
}

/// The name in a request.
pub(super) fn name_in(body: &[u8]) -> Option<String> {
    find_attr(body, IFINFO, IFNAME).or_else(|| find_attr(body, IFINFO, ALT_IFNAME)).map(|n| {
        let end = n.iter().position(|b| *b == 0).unwrap_or(n.len());
        String::from_utf8_lossy(&n[..end]).into_owned()
    })
}

/// The link that a request names by index or name.
pub(super) fn one(shard: &mut Shard, body: &[u8]) -> Result<Ifconf> {
    let list = match (word(body, 4), name_in(body)) {
        (0, None) => return Err(Errno::EINVAL),
        (0, Some(n)) => interfaces(shard, Some(n))?,
        (i, _) => interfaces(shard, None)?.into_iter().filter(|x| x.index == i).collect(),
    };
    list.into_iter().next().ok_or(Errno::ENODEV)
}
