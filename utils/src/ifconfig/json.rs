//! `ifconfig --json`: one object an interface. Names are those of the listing; docs/json.md has the schema.

use super::{media, show};
use crate::addr::{mac, mask_of};
use iopkt_ctl::{AddrInfo, AddrState, IFCAP_NAMES, IfCounters, IfKind, Ifconf, iff};
use serde::Serialize;

#[derive(Serialize)]
struct Sides {
    rx: Vec<&'static str>,
    tx: Vec<&'static str>,
}

#[derive(Serialize)]
struct Media {
    selected: String,
    active: Option<String>,
    supported: Vec<String>,
}

#[derive(Serialize)]
struct Address {
    family: &'static str,
    address: String,
    prefixlen: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    netmask: Option<String>,
    broadcast: Option<String>,
    peer: Option<String>,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flags: Option<Vec<&'static str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    preferred_lifetime: Option<Option<u32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    valid_lifetime: Option<Option<u32>>,
}

/// One interface.
#[derive(Serialize)]
pub struct Interface<'a> {
    name: &'a str,
    alias: Option<&'a str>,
    index: u32,
    kind: &'static str,
    flags: u32,
    flag_names: Vec<&'static str>,
    metric: u32,
    mtu: u32,
    capabilities: Sides,
    enabled: Sides,
    address: Option<String>,
    media: Option<Media>,
    status: Option<&'static str>,
    rx_bits_per_second: Option<u64>,
    tx_bits_per_second: Option<u64>,
    driver: Option<&'a str>,
    addresses: Vec<Address>,
    counters: IfCounters,
}

fn names(v: u32, table: &[(u32, &'static str)]) -> Vec<&'static str> {
    table.iter().filter(|n| v & n.0 != 0).map(|n| n.1).collect()
}

fn some(n: u64) -> Option<u64> {
    (n != 0).then_some(n)
}

fn address(i: &Ifconf, a: &AddrInfo) -> Address {
    let v4 = a.addr.is_ipv4();
    Address {
        family: if v4 { "inet" } else { "inet6" },
        address: a.addr.to_string(),
        prefixlen: a.prefix_len,
        netmask: v4.then(|| format!("0x{:08x}", mask_of(a.prefix_len))),
        broadcast: a.broadcast.map(|b| b.to_string()),
        peer: a.peer.map(|p| p.to_string()),
        state: match a.state {
            AddrState::Valid => "valid",
            AddrState::Tentative => "tentative",
            AddrState::Duplicated => "duplicated",
        },
        scope: match a.addr {
            std::net::IpAddr::V6(x) if x.segments()[0] & 0xffc0 == 0xfe80 => Some(i.index),
            _ => None,
        },
        flags: (!v4).then(|| show::words(i, a)),
        preferred_lifetime: i.life(&a.addr).map(|l| l.preferred),
        valid_lifetime: i.life(&a.addr).map(|l| l.valid),
    }
}

/// The interface as the document has it. What the family filter of the listing leaves out is left out here.
pub fn interface(i: &Ifconf, x: show::Extra) -> Interface<'_> {
    Interface {
        name: &i.name,
        alias: i.alias.as_deref(),
        index: i.index,
        kind: match i.kind {
            IfKind::Loopback => "loopback",
            IfKind::Ethernet => "ethernet",
            IfKind::PointToPoint => "point-to-point",
        },
        flags: i.flags,
        flag_names: names(i.flags, iff::NAMES),
        metric: i.metric,
        mtu: i.mtu,
        capabilities: Sides { rx: names(i.caps_rx, IFCAP_NAMES), tx: names(i.caps_tx, IFCAP_NAMES) },
        enabled: Sides { rx: names(i.enabled_rx, IFCAP_NAMES), tx: names(i.enabled_tx, IFCAP_NAMES) },
        address: (x.link && i.mac != [0; 6]).then(|| mac(&i.mac)),
        media: i.media.then(|| Media {
            selected: media::name(media::now(i)),
            active: media::active(i),
            supported: media::words(i).into_iter().map(media::name).collect(),
        }),
        status: show::status(i),
        rx_bits_per_second: some(i.speed_rx),
        tx_bits_per_second: some(i.speed_tx),
        driver: Some(i.driver.as_str()).filter(|d| !d.is_empty()),
        addresses: i
            .addrs
            .iter()
            .filter(|a| if a.addr.is_ipv4() { x.inet } else { x.inet6 })
            .map(|a| address(i, a))
            .collect(),
        counters: i.counters,
    }
}
