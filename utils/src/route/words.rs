//! The words of a route command: modifiers and addresses.

use super::USAGE;
use crate::addr;
use crate::resolve;
use crate::tool::Failure;
use iopkt_ctl::{RTV_MTU, RouteInfo, rtf};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A route as the words name it.
#[derive(Debug)]
pub struct Words {
    /// For the request.
    pub route: RouteInfo,
    /// `net default`, `host 10.9.9.9`: the destination in BSD's confirmation.
    pub dest: String,
    /// The gateway as it was written.
    pub gateway: Option<String>,
}

impl Words {
    /// `net default: gateway 10.0.0.1`.
    pub fn text(&self) -> String {
        match &self.gateway {
            Some(g) => format!("{}: gateway {g}", self.dest),
            None => self.dest.clone(),
        }
    }
}

/// Metrics of route(8) that this stack does not keep.
const NO_METRICS: &[&str] =
    &["-hopcount", "-expire", "-recvpipe", "-sendpipe", "-ssthresh", "-rtt", "-rttvar"];

#[derive(Default)]
struct Modifiers {
    net: bool,
    host: bool,
    v6: bool,
    iface: bool,
    len: Option<u8>,
    flags: u32,
    mtu: u32,
    lock: bool,
    lock_rest: bool,
    ifa: Option<IpAddr>,
    ifp: Option<String>,
}

/// Reads the words behind `add`, `change`, `delete` and `get`.
///
/// # Errors
/// An unknown modifier, a bad value, too many words.
pub fn parse(words: &[String]) -> Result<Words, Failure> {
    let mut m = Modifiers { flags: rtf::UP | rtf::STATIC, ..Modifiers::default() };
    let mut plain: Vec<&str> = Vec::new();
    let mut it = words.iter().map(String::as_str);
    while let Some(w) = it.next() {
        if w.starts_with('-') && w.len() > 1 {
            m.take(w, &mut it)?;
        } else {
            plain.push(w);
        }
    }
    let dest = *plain.first().ok_or_else(|| Failure::usage("no destination", USAGE))?;
    if plain.len() > 3 {
        return Err(Failure::usage(format!("{}: too many words", plain[3]), USAGE));
    }
    if m.net && m.host {
        return Err(Failure::usage("-net and -host exclude each other", USAGE));
    }
    let (dst, mut prefix_len, zone) = match dest.split_once('%') {
        // `fe80::%ecm0/64`, `ff02::1%ecm0`.
        Some((a, rest)) => {
            let (zone, len) =
                rest.split_once('/').map_or((rest, String::new()), |(z, l)| (z, format!("/{l}")));
            let (dst, len) = destination(&format!("{a}{len}"), &m)?;
            (dst, len, Some(zone.to_string()))
        }
        None => destination(dest, &m).map(|(d, l)| (d, l, None))?,
    };
    if let Some(n) = plain.get(2) {
        prefix_len = mask(n)?;
    }
    let (mut gateway, mut ifname) = (None, m.ifp.clone().or(zone.clone()));
    match plain.get(1) {
        // BSD takes an address of the interface here, or its name.
        Some(g) if m.iface => match addr::parse(g) {
            Some(a) if !g.bytes().any(|b| b.is_ascii_alphabetic() && b != b'x') || g.contains(':') => {
                gateway = Some(a)
            }
            _ => ifname = Some((*g).to_string()),
        },
        Some(g) => {
            let (a, zone) = a_host(g, m.v6)?;
            (gateway, ifname) = (Some(a), ifname.or(zone));
            m.flags |= rtf::GATEWAY;
        }
        None => {}
    }
    if gateway.is_some_and(|g| g.is_ipv4() != dst.is_ipv4()) {
        return Err(Failure::new(format!("{}: not of the destination's family", plain[1])));
    }
    if dst.is_ipv6() && (1..1280).contains(&m.mtu) {
        return Err(Failure::new(format!("mtu {}: bad value (1280 to 65535 for IPv6, RFC 8200)", m.mtu)));
    }
    let is_host = prefix_len == if dst.is_ipv4() { 32 } else { 128 };
    if is_host {
        m.flags |= rtf::HOST;
    }
    let shown = if prefix_len == 0 { "default" } else { dest };
    let route = RouteInfo {
        gateway,
        ifname,
        flags: m.flags,
        mtu: m.mtu,
        src: m.ifa,
        locks: if m.lock || m.lock_rest { RTV_MTU } else { 0 },
        zone,
        ..RouteInfo::to(dst, prefix_len)
    };
    let dest = format!("{} {shown}", if is_host { "host" } else { "net" });
    Ok(Words { route, dest, gateway: plain.get(1).map(|g| (*g).to_string()) })
}

impl Modifiers {
    fn take<'a>(&mut self, w: &str, it: &mut impl Iterator<Item = &'a str>) -> Result<(), Failure> {
        let mut value = || it.next().ok_or_else(|| Failure::usage(format!("{w}: value is missing"), USAGE));
        match w {
            "-net" => self.net = true,
            "-host" => self.host = true,
            "-inet" => self.v6 = false,
            "-inet6" => self.v6 = true,
            // An address of link level: here only an interface can be meant by one.
            "-interface" | "-iface" | "-link" => self.iface = true,
            "-reject" => self.flags |= rtf::REJECT,
            "-blackhole" => self.flags |= rtf::BLACKHOLE,
            "-proto1" => self.flags |= rtf::PROTO1,
            "-proto2" => self.flags |= rtf::PROTO2,
            "-static" => self.flags |= rtf::STATIC,
            "-nostatic" => self.flags &= !rtf::STATIC,
            "-netmask" => self.len = Some(mask(value()?)?),
            "-prefixlen" => {
                let v = value()?;
                let most = if self.v6 { 128 } else { 32 };
                let n = v.parse().ok().filter(|n| *n <= most);
                self.len = Some(n.ok_or_else(|| Failure::new(format!("prefixlen {v}: bad value")))?);
            }
            "-mtu" => {
                let v = value()?;
                let n = v.parse().ok().filter(|n| (68..=65_535).contains(n));
                self.mtu = n.ok_or_else(|| Failure::new(format!("mtu {v}: bad value (68 to 65535)")))?;
                // -lock is for the next metric, -lockrest for all that follow.
                self.lock |= self.lock_rest;
            }
            "-lock" => self.lock = true,
            "-lockrest" => self.lock_rest = true,
            "-ifa" => {
                let v = value()?;
                self.ifa = Some(a_host(v, self.v6)?.0);
            }
            "-ifp" => self.ifp = Some(value()?.to_string()),
            w if NO_METRICS.contains(&w) => {
                return Err(Failure::new(format!(
                    "{w}: this stack keeps no such metric of a route (only -mtu)"
                )));
            }
            "-cloning" | "-nocloning" | "-llinfo" | "-xresolve" => {
                return Err(Failure::new(format!("{w}: cloning follows from the addresses of interfaces")));
            }
            w => return Err(Failure::usage(format!("{w}: unknown modifier"), USAGE)),
        }
        Ok(())
    }
}

fn mask(v: &str) -> Result<u8, Failure> {
    addr::netmask(v).ok_or_else(|| Failure::new(format!("netmask {v}: bad value")))
}

/// An address, or the name of a host in /etc/hosts; and the interface that is its zone.
fn a_host(w: &str, v6: bool) -> Result<(IpAddr, Option<String>), Failure> {
    if let Some((a, z)) = addr::parse6(w) {
        return Ok((a.into(), z.map(str::to_string)));
    }
    let ip = if v6 { resolve::hosts6(w).map(IpAddr::V6) } else { None };
    let ip = ip.or_else(|| addr::parse(w)).or_else(|| resolve::hosts(w).map(IpAddr::V4));
    ip.map(|a| (a, None)).ok_or_else(|| Failure::new(format!("{w}: bad value")))
}

/// BSD's reading of a destination: `default`; with -net missing parts are on the right; without -net or -host
/// an address whose host part (by class) is zero, or a name of networks(5), is a network.
fn destination(w: &str, m: &Modifiers) -> Result<(IpAddr, u8), Failure> {
    if w == "default" {
        let any = if m.v6 { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
        return Ok((any, 0));
    }
    let bad = || Failure::new(format!("{w}: bad value"));
    let (ip, slash) = match w.split_once('/') {
        Some((ip, l)) => (ip, Some(l.parse::<u8>().map_err(|_| bad())?)),
        None => (w, None),
    };
    let len = slash.or(m.len);
    if m.v6 || ip.contains(':') {
        let a = ip.parse().ok().or_else(|| resolve::hosts6(ip)).ok_or_else(bad)?;
        let l = len.unwrap_or(128);
        return if l <= 128 { Ok((IpAddr::V6(a), l)) } else { Err(bad()) };
    }
    let netlike = m.net || slash.is_some();
    let number =
        if netlike { addr::inet_network(ip).or_else(|| addr::inet_aton(ip)) } else { addr::inet_aton(ip) };
    let (a, named_net) = match number {
        Some(a) => (a, false),
        None if m.host => (resolve::hosts(ip).ok_or_else(bad)?, false),
        None => match (resolve::hosts(ip).filter(|_| !m.net), resolve::network(ip)) {
            (Some(h), _) => (h, false),
            (None, Some(n)) => (n, true),
            _ => return Err(bad()),
        },
    };
    let class = if a.is_unspecified() { 0 } else { addr::class_prefix(a) };
    let is_net = netlike || named_net || (!m.host && u32::from(a) & !addr::mask_of(class) == 0);
    let l = len.unwrap_or(if is_net { class } else { 32 });
    // A mask makes a network of what would have been a host.
    if l > 32 { Err(bad()) } else { Ok((IpAddr::V4(a), l)) }
}
