//! The words after `ifconfig IF`: what they ask the stack to do.

use crate::addr;
use crate::tool::Failure;
use iopkt_ctl::{AddrInfo, AddrState, IFCAP_IP4CSUM, IFCAP_TCP4CSUM, IFCAP_TCP6CSUM, IFCAP_TSO4, IFCAP_TSO6};
use iopkt_ctl::{IFCAP_UDP4CSUM, IFCAP_UDP6CSUM, Request, iff};
use std::net::IpAddr;

/// Capability changes, applied to what is enabled now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapChange {
    /// Receive bits to enable and disable.
    pub rx: (u32, u32),
    /// Transmit bits to enable and disable.
    pub tx: (u32, u32),
}

/// What a command line asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Requests in order.
    pub requests: Vec<Request>,
    /// Capability changes, if any word asked for them.
    pub caps: Option<CapChange>,
}

/// Words that need what this build does not have; refused by name.
const NOT_HERE: &[&str] = &[
    "vlan",
    "vlanif",
    "-vlanif",
    "agrport",
    "-agrport",
    "tunnel",
    "deletetunnel",
    "advbase",
    "advskew",
    "carpdev",
    "pass",
    "state",
    "vhid",
    "ssid",
    "nwid",
    "nwkey",
    "-nwkey",
    "bssid",
    "-bssid",
    "chan",
    "-chan",
    "powersave",
    "-powersave",
    "powersavesleep",
    "frag",
    "hidessid",
    "-hidessid",
    "apbridge",
    "-apbridge",
    "anycast",
    "-anycast",
    "deprecated",
    "-deprecated",
    "tentative",
    "-tentative",
    "eui64",
    "pltime",
    "vltime",
    "mode",
    "instance",
];

fn cap_bits(word: &str) -> Option<(u32, bool, bool)> {
    let (name, rx, tx) = match (word.strip_suffix("-rx"), word.strip_suffix("-tx")) {
        (Some(n), _) => (n, true, false),
        (_, Some(n)) => (n, false, true),
        _ => (word, true, true),
    };
    let bit = match name {
        "ip4csum" => IFCAP_IP4CSUM,
        "tcp4csum" => IFCAP_TCP4CSUM,
        "udp4csum" => IFCAP_UDP4CSUM,
        "tcp6csum" => IFCAP_TCP6CSUM,
        "udp6csum" => IFCAP_UDP6CSUM,
        "tso4" if name == word => return Some((IFCAP_TSO4, false, true)),
        "tso6" if name == word => return Some((IFCAP_TSO6, false, true)),
        _ => return None,
    };
    Some((bit, rx, tx))
}

/// The address part of a line, built up word by word.
#[derive(Default)]
struct Address {
    addr: Option<IpAddr>,
    len: Option<u8>,
    broadcast: Option<IpAddr>,
    peer: Option<IpAddr>,
    alias: bool,
    delete: bool,
}

/// Turns the words after the interface name into a plan.
///
/// # Errors
/// A word is unknown, lacks its value, has a bad one, or asks for something that this build has not.
pub fn plan(name: &str, words: &[String]) -> Result<Plan, Failure> {
    let mut p = Plan::default();
    let mut a = Address::default();
    let (mut set, mut clear) = (0u32, 0u32);
    let mut v6 = false;
    let mut it = words.iter().map(String::as_str).peekable();
    match it.peek() {
        Some(&"inet") => {
            it.next();
        }
        Some(&"inet6") => {
            it.next();
            v6 = true;
        }
        Some(&"link") => {
            return Err(Failure::new("link: changing link-level addresses is not in this build"));
        }
        _ => {}
    }
    let mut first = true;
    while let Some(w) = it.next() {
        let mut value = || it.next().ok_or_else(|| Failure::new(format!("{w}: value is missing")));
        let mut flag = |bit: u32, on: bool| {
            if on {
                (set, clear) = (set | bit, clear & !bit);
            } else {
                (set, clear) = (set & !bit, clear | bit);
            }
        };
        match w {
            "up" => flag(iff::UP, true),
            "down" => flag(iff::UP, false),
            "arp" => flag(iff::NOARP, false),
            "-arp" => flag(iff::NOARP, true),
            "debug" => flag(iff::DEBUG, true),
            "-debug" => flag(iff::DEBUG, false),
            "link0" => flag(iff::LINK0, true),
            "-link0" => flag(iff::LINK0, false),
            "link1" => flag(iff::LINK1, true),
            "-link1" => flag(iff::LINK1, false),
            "link2" => flag(iff::LINK2, true),
            "-link2" => flag(iff::LINK2, false),
            "promisc" => flag(iff::PROMISC, true),
            "-promisc" => flag(iff::PROMISC, false),
            "alias" | "add" => a.alias = true,
            "-alias" | "delete" | "remove" => a.delete = true,
            "netmask" => a.len = Some(parse_mask(value()?)?),
            "prefixlen" => {
                let v = value()?;
                let max = if v6 { 128 } else { 32 };
                a.len = Some(v.parse().ok().filter(|n| *n <= max).ok_or_else(|| bad("prefixlen", v))?);
            }
            "broadcast" => {
                let v = value()?;
                a.broadcast = Some(addr::inet_aton(v).map(IpAddr::V4).ok_or_else(|| bad("broadcast", v))?);
            }
            "metric" => {
                let v = value()?;
                let metric = v.parse().map_err(|_| bad("metric", v))?;
                p.requests.push(Request::SetMetric { name: name.into(), metric });
            }
            "mtu" => {
                let v = value()?;
                let mtu = v.parse().ok().filter(|m| *m > 0).ok_or_else(|| bad("mtu", v))?;
                p.requests.push(Request::SetMtu { name: name.into(), mtu });
            }
            "media" => {
                let v = value()?;
                if !["autoselect", "auto"].contains(&v) {
                    return Err(Failure::new(format!("media {v}: the driver offers only autoselect")));
                }
            }
            "mediaopt" | "-mediaopt" => {
                let v = value()?;
                return Err(Failure::new(format!("{w} {v}: the driver offers no media options")));
            }
            "create" | "plumb" => p.requests.push(Request::Create { name: name.into() }),
            "destroy" | "unplumb" => p.requests.push(Request::Destroy { name: name.into() }),
            _ if NOT_HERE.contains(&w) => return Err(Failure::new(format!("{w}: not in this build"))),
            _ => {
                let (word, on) = w.strip_prefix('-').map_or((w, true), |s| (s, false));
                if let Some((bit, rx, tx)) = cap_bits(word) {
                    let c = p.caps.get_or_insert_default();
                    for (wanted, side) in [(rx, &mut c.rx), (tx, &mut c.tx)] {
                        if wanted {
                            let (s, u) = if on { (bit, 0) } else { (0, bit) };
                            *side = ((side.0 | s) & !u, (side.1 | u) & !s);
                        }
                    }
                } else if first || a.addr.is_none() {
                    parse_address(w, v6, &mut a)?;
                } else if a.peer.is_none() {
                    a.peer = Some(addr::parse(w).ok_or_else(|| bad("address", w))?);
                } else {
                    return Err(Failure::new(format!("{w}: bad value")));
                }
            }
        }
        first = false;
    }
    finish_address(name, a, v6, &mut p)?;
    if set | clear != 0 {
        p.requests.push(Request::SetFlags { name: name.into(), set, clear });
    }
    Ok(p)
}

fn bad(what: &str, v: &str) -> Failure {
    Failure::new(format!("{what} {v}: bad value"))
}

fn parse_mask(v: &str) -> Result<u8, Failure> {
    addr::netmask(v).ok_or_else(|| bad("netmask", v))
}

fn parse_address(w: &str, v6: bool, a: &mut Address) -> Result<(), Failure> {
    let (ip, len) = w.split_once('/').map_or((w, None), |(i, l)| (i, Some(l)));
    let parsed = if v6 { ip.parse().ok().map(IpAddr::V6) } else { addr::inet_aton(ip).map(IpAddr::V4) };
    a.addr = Some(parsed.ok_or_else(|| Failure::new(format!("{w}: bad value")))?);
    if let Some(l) = len {
        let max = if v6 { 128 } else { 32 };
        a.len = Some(l.parse().ok().filter(|n| *n <= max).ok_or_else(|| bad("prefix length", l))?);
    }
    Ok(())
}

fn finish_address(name: &str, a: Address, v6: bool, p: &mut Plan) -> Result<(), Failure> {
    if a.delete {
        p.requests.insert(0, Request::DelAddr { name: name.into(), addr: a.addr });
        return Ok(());
    }
    let Some(addr) = a.addr else {
        if a.len.is_some() || a.broadcast.is_some() || a.alias {
            return Err(Failure::new("netmask, prefixlen, broadcast and alias need an address"));
        }
        return Ok(());
    };
    let prefix_len = a.len.unwrap_or(match addr {
        IpAddr::V4(ip) => addr::class_prefix(ip),
        IpAddr::V6(_) => 64,
    });
    let info = AddrInfo { addr, prefix_len, broadcast: a.broadcast, peer: a.peer, state: AddrState::Valid };
    // `ifconfig IF ADDR` sets the primary address; IPv6 addresses always add.
    p.requests.push(Request::AddAddr { name: name.into(), addr: info, replace: !a.alias && !v6 });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Plan {
        let words: Vec<String> = line.split_whitespace().map(str::to_string).collect();
        plan("ecm0", &words).expect("good line")
    }

    fn refused(line: &str) -> String {
        let words: Vec<String> = line.split_whitespace().map(str::to_string).collect();
        plan("ecm0", &words).expect_err("bad line").message
    }

    #[test]
    fn the_documented_short_address() {
        let Request::AddAddr { addr, replace, .. } = &of("10.184").requests[0] else { panic!("no address") };
        assert_eq!((addr.addr.to_string().as_str(), addr.prefix_len, *replace), ("10.0.0.184", 8, true));
    }

    #[test]
    fn masks_aliases_and_peers() {
        let p = of("inet 192.168.1.2 netmask 0xffffff80 broadcast 192.168.1.127 alias mtu 1400 up");
        let Request::SetMtu { mtu: 1400, .. } = p.requests[0] else { panic!("{p:?}") };
        let Request::AddAddr { addr, replace: false, .. } = &p.requests[1] else { panic!("{p:?}") };
        assert_eq!((addr.prefix_len, addr.broadcast.is_some()), (25, true));
        assert_eq!(p.requests[2], Request::SetFlags { name: "ecm0".into(), set: 1, clear: 0 });
        let p = of("10.0.0.1 10.0.0.2");
        assert!(matches!(&p.requests[0], Request::AddAddr { addr, .. } if addr.peer.is_some()));
        assert_eq!(of("10.1/24"), of("10.1 prefixlen 24"));
        assert_eq!(of("delete").requests, [Request::DelAddr { name: "ecm0".into(), addr: None }]);
        assert!(matches!(&of("10.1 -alias").requests[0], Request::DelAddr { addr: Some(_), .. }));
    }

    #[test]
    fn flags_and_capabilities() {
        assert_eq!(of("up down").requests, [Request::SetFlags { name: "ecm0".into(), set: 0, clear: 1 }]);
        assert_eq!(of("ip4csum-tx -tso4").caps, Some(CapChange { rx: (0, 0), tx: (1, 0x20) }));
        assert_eq!(of("udp4csum -udp4csum-rx").caps, Some(CapChange { rx: (0, 4), tx: (4, 0) }));
        assert_eq!(of("destroy").requests, [Request::Destroy { name: "ecm0".into() }]);
    }

    #[test]
    fn bad_lines_say_what() {
        assert_eq!(refused("netmask"), "netmask: value is missing");
        assert_eq!(refused("10.1 netmask 255.0.255.0"), "netmask 255.0.255.0: bad value");
        assert_eq!(refused("mtu 0"), "mtu 0: bad value");
        assert_eq!(refused("bogus"), "bogus: bad value");
        assert_eq!(refused("10.1 10.2 10.3"), "10.3: bad value");
        assert_eq!(refused("vlan 10"), "vlan: not in this build");
        assert_eq!(refused("10.1/33"), "prefix length 33: bad value");
        assert!(refused("netmask 255.0.0.0").contains("need an address"));
    }
}
