//! The words after `ifconfig IF`: what they ask the stack to do.

#[cfg(test)]
mod tests;

use super::media;
use crate::addr;
use crate::resolve;
use crate::tool::Failure;
use iopkt_ctl::{AddrInfo, AddrState, IFCAP_IP4CSUM, IFCAP_TCP4CSUM, IFCAP_TCP6CSUM, IFCAP_TSO4, IFCAP_TSO6};
use iopkt_ctl::{AddrLife, NdRequest, in6};
use iopkt_ctl::{IFCAP_LRO, IFCAP_UDP4CSUM, IFCAP_UDP6CSUM, IFCAP_USO4, IFCAP_USO6, Request, iff};
use std::net::IpAddr;

/// Capability changes, applied to what is enabled now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CapChange {
    /// Receive bits to enable and disable.
    pub rx: (u32, u32),
    /// Transmit bits to enable and disable.
    pub tx: (u32, u32),
    /// The words that enable something, each with its receive and transmit bits, for the message.
    pub wanted: Vec<(String, u32, u32)>,
}

/// What a command line asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Requests in order: create, limits, addresses, flags, destroy.
    pub requests: Vec<Request>,
    /// Capability changes, if any word asked for them.
    pub caps: Option<CapChange>,
    /// Media changes, if any word asked for them.
    pub media: Option<media::Change>,
    /// The low half of the IPv6 address is that of the interface's link-local one (`eui64`).
    pub eui64: bool,
}

/// Words that need what this build does not have, and what that is; refused by name.
const NOT_HERE: &[(&str, &[&str])] = &[
    ("VLAN", &["vlan", "-vlan", "vlanif", "-vlanif"]),
    ("link aggregation (agr)", &["agrport", "-agrport"]),
    ("a tunnel interface (gif, gre)", &["tunnel", "deletetunnel"]),
    ("CARP", &["advbase", "advskew", "carpdev", "-carpdev", "pass", "state", "vhid"]),
    (
        "802.11",
        &[
            "ssid",
            "-ssid",
            "nwid",
            "-nwid",
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
            "-frag",
            "hidessid",
            "-hidessid",
            "apbridge",
            "-apbridge",
            "list",
        ],
    ),
];

/// What the stack says of an IPv6 address, and nobody else.
const SAID: &[&str] = &["autoconf", "temporary", "detached", "duplicated", "optimistic"];

/// Address families that ifconfig knows by name and this stack does not.
const NO_FAMILY: &[&str] = &["atalk", "appletalk", "iso", "ns", "xns", "ipx"];

fn cap_bits(word: &str) -> Option<(u32, u32)> {
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
        "tso4" if name == word => return Some((0, IFCAP_TSO4)),
        "tso6" if name == word => return Some((0, IFCAP_TSO6)),
        "lro" if name == word => return Some((IFCAP_LRO, 0)),
        "uso4" => IFCAP_USO4,
        "uso6" => IFCAP_USO6,
        _ => return None,
    };
    Some((if rx { bit } else { 0 }, if tx { bit } else { 0 }))
}

/// Flag words with their bits.
const FLAGS: &[(&str, u32)] = &[
    ("debug", iff::DEBUG),
    ("link0", iff::LINK0),
    ("link1", iff::LINK1),
    ("link2", iff::LINK2),
    ("promisc", iff::PROMISC),
];

/// The address part of a line, built up word by word.
#[derive(Default)]
struct Address {
    v6: bool,
    addr: Option<IpAddr>,
    len: Option<u8>,
    broadcast: Option<IpAddr>,
    peer: Option<IpAddr>,
    alias: bool,
    delete: bool,
    /// The word that needs an address beside it.
    needs: Option<String>,
    /// Flags of an IPv6 address to set and to clear.
    flags: (u32, u32),
    /// Its lifetimes, seconds.
    preferred: Option<u32>,
    valid: Option<u32>,
}

/// A line as it is taken apart.
struct Line<'a> {
    name: &'a str,
    a: Address,
    set: u32,
    clear: u32,
    create: bool,
    destroy: bool,
    p: Plan,
}

/// Turns the words after the interface name into a plan.
///
/// # Errors
/// A word is unknown, lacks its value, has a bad one, or asks for something that this build has not.
pub fn plan(name: &str, words: &[String]) -> Result<Plan, Failure> {
    let (a, p) = (Address::default(), Plan::default());
    let mut l = Line { name, a, set: 0, clear: 0, create: false, destroy: false, p };
    let mut it = words.iter().map(String::as_str).peekable();
    match it.peek().copied() {
        Some("inet") => drop(it.next()),
        Some("inet6") => {
            it.next();
            l.a.v6 = true;
        }
        Some("link") => {
            return Err(Failure::new(
                "link: the drivers of this build cannot change their link-level address",
            ));
        }
        Some(f) if NO_FAMILY.contains(&f) => return Err(Failure::new(format!("{f}: not in this build"))),
        _ => {}
    }
    while let Some(w) = it.next() {
        let mut value = || it.next().ok_or_else(|| Failure::new(format!("{w}: value is missing")));
        if !l.word(w, &mut value)? {
            l.other(w)?;
        }
    }
    l.finish()
}

impl Line<'_> {
    fn flag(&mut self, bit: u32, on: bool) {
        if on {
            (self.set, self.clear) = (self.set | bit, self.clear & !bit);
        } else {
            (self.set, self.clear) = (self.set & !bit, self.clear | bit);
        }
    }

    /// Takes a parameter; false when it is none.
    fn word<'w>(
        &mut self,
        w: &str,
        value: &mut dyn FnMut() -> Result<&'w str, Failure>,
    ) -> Result<bool, Failure> {
        let name = || self.name.to_string();
        match w {
            "up" => self.flag(iff::UP, true),
            "down" => self.flag(iff::UP, false),
            "arp" => self.flag(iff::NOARP, false),
            "-arp" => self.flag(iff::NOARP, true),
            "alias" | "add" => {
                self.a.alias = true;
                self.a.needs = Some(w.into());
            }
            "-alias" | "remove" => {
                self.a.delete = true;
                self.a.needs = Some(w.into());
            }
            "delete" => self.a.delete = true,
            "netmask" => {
                let v = value()?;
                let net = || resolve::network(v).and_then(|n| addr::netmask(&n.to_string()));
                self.a.len = Some(addr::netmask(v).or_else(net).ok_or_else(|| bad("netmask", v))?);
                self.a.needs = Some(w.into());
            }
            "prefixlen" => {
                let v = value()?;
                let max = if self.a.v6 { 128 } else { 32 };
                self.a.len = Some(v.parse().ok().filter(|n| *n <= max).ok_or_else(|| bad("prefixlen", v))?);
                self.a.needs = Some(w.into());
            }
            "broadcast" => {
                let v = value()?;
                self.a.broadcast =
                    Some(addr::inet_aton(v).map(IpAddr::V4).ok_or_else(|| bad("broadcast", v))?);
                self.a.needs = Some(w.into());
            }
            w if self.a.v6 && self.v6_word(w, value)? => self.a.needs = Some(w.into()),
            "metric" => {
                let v = value()?;
                let metric =
                    v.parse().ok().filter(|m| *m <= i32::MAX as u32).ok_or_else(|| bad("metric", v))?;
                self.p.requests.push(Request::SetMetric { name: name(), metric });
            }
            "mtu" => {
                let v = value()?;
                let mtu = v.parse().ok().filter(|m| *m > 0).ok_or_else(|| bad("mtu", v))?;
                self.p.requests.push(Request::SetMtu { name: name(), mtu });
            }
            "media" => self.p.media.get_or_insert_default().media(value()?)?,
            "mediaopt" | "-mediaopt" => {
                self.p.media.get_or_insert_default().options(value()?, w == "mediaopt")?;
            }
            "mode" => self.p.media.get_or_insert_default().mode(value()?)?,
            "instance" => self.p.media.get_or_insert_default().instance(value()?)?,
            "create" | "plumb" => self.create = true,
            "destroy" | "unplumb" => self.destroy = true,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// A word about an IPv6 address; false when it is none.
    fn v6_word<'w>(
        &mut self,
        w: &str,
        value: &mut dyn FnMut() -> Result<&'w str, Failure>,
    ) -> Result<bool, Failure> {
        let (word, on) = w.strip_prefix('-').map_or((w, true), |s| (s, false));
        let mut flag = |set: u32, clear: u32| {
            let (s, c) = if on { (set, clear) } else { (clear, set) };
            self.a.flags = ((self.a.flags.0 | s) & !c, (self.a.flags.1 | c) & !s);
        };
        // FOREVER is what BSD's all ones mean.
        let mut seconds = |of: &str| match on {
            false => Ok(None),
            true => {
                let v = value()?;
                let n = if v == "infty" { Some(u32::MAX) } else { v.parse().ok() };
                Ok(Some(n.ok_or_else(|| bad(of, v))?).filter(|n| *n != u32::MAX))
            }
        };
        match word {
            "anycast" => flag(in6::ANYCAST, 0),
            "deprecated" => flag(in6::DEPRECATED, 0),
            // What is not to be looked for is used at once.
            "tentative" => flag(in6::TENTATIVE, in6::NODAD),
            "pltime" => self.a.preferred = seconds("pltime")?,
            "vltime" => self.a.valid = seconds("vltime")?,
            "eui64" if on => self.p.eui64 = true,
            _ if SAID.contains(&word) => {
                return Err(Failure::new(format!("{w}: the stack says so of an address; it cannot be set")));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// A flag, a capability, something that is not here, or an address.
    fn other(&mut self, w: &str) -> Result<(), Failure> {
        let (word, on) = w.strip_prefix('-').map_or((w, true), |s| (s, false));
        if let Some((_, bit)) = FLAGS.iter().find(|f| f.0 == word) {
            self.flag(*bit, on);
            return Ok(());
        }
        if let Some((rx, tx)) = cap_bits(word) {
            let c = self.p.caps.get_or_insert_default();
            for (bit, side) in [(rx, &mut c.rx), (tx, &mut c.tx)] {
                let (s, u) = if on { (bit, 0) } else { (0, bit) };
                *side = ((side.0 | s) & !u, (side.1 | u) & !s);
            }
            if on {
                c.wanted.push((w.into(), rx, tx));
            }
            return Ok(());
        }
        if let Some((what, _)) = NOT_HERE.iter().find(|n| n.1.contains(&w)) {
            return Err(Failure::new(format!("{w}: {what} is not in this build")));
        }
        if w.starts_with('-') {
            return Err(Failure::new(format!("{w}: unknown parameter")));
        }
        if self.a.addr.is_none() {
            return self.address(w);
        }
        if self.a.peer.is_some() || self.a.delete {
            return Err(Failure::new(format!("{w}: bad value")));
        }
        self.a.peer =
            Some(host(w, self.a.v6, self.name).ok_or_else(|| Failure::new(format!("{w}: bad value")))?);
        Ok(())
    }

    fn address(&mut self, w: &str) -> Result<(), Failure> {
        let (ip, len) = w.split_once('/').map_or((w, None), |(i, l)| (i, Some(l)));
        self.a.addr =
            Some(host(ip, self.a.v6, self.name).ok_or_else(|| Failure::new(format!("{w}: bad value")))?);
        if let Some(l) = len {
            let max = if self.a.v6 { 128 } else { 32 };
            self.a.len = Some(l.parse().ok().filter(|n| *n <= max).ok_or_else(|| bad("prefix length", l))?);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Plan, Failure> {
        if self.destroy {
            let alone = self.p == Plan::default() && self.set | self.clear == 0 && !self.create;
            if !alone || self.a.addr.is_some() || self.a.delete || self.a.needs.is_some() {
                return Err(Failure::new("destroy: goes with no other parameter"));
            }
            self.p.requests.push(Request::Destroy { name: self.name.into() });
            return Ok(self.p);
        }
        if self.create {
            self.p.requests.insert(0, Request::Create { name: self.name.into() });
        }
        if let Some(r) = self.address_request()? {
            self.p.requests.push(r);
        }
        if self.set | self.clear != 0 {
            let (name, set, clear) = (self.name.into(), self.set, self.clear);
            self.p.requests.push(Request::SetFlags { name, set, clear });
        }
        Ok(self.p)
    }

    fn address_request(&self) -> Result<Option<Request>, Failure> {
        let (a, name) = (&self.a, self.name.to_string());
        match (a.addr, &a.needs) {
            (None, Some(w)) => return Err(Failure::new(format!("{w}: needs an address"))),
            (None, None) if a.delete && a.v6 => {
                return Err(Failure::new("delete: name the IPv6 address (inet6 ADDRESS -alias)"));
            }
            (None, None) if a.delete => return Ok(Some(Request::DelAddr { name, addr: None })),
            (None, None) => return Ok(None),
            _ => {}
        }
        let Some(ip) = a.addr else { return Ok(None) };
        if a.delete && a.alias {
            return Err(Failure::new("alias and delete exclude each other"));
        }
        if a.delete {
            return Ok(Some(Request::DelAddr { name, addr: a.addr }));
        }
        let prefix_len = a.len.unwrap_or(match ip {
            IpAddr::V4(ip) => addr::class_prefix(ip),
            IpAddr::V6(_) => 64,
        });
        let info =
            AddrInfo { addr: ip, prefix_len, broadcast: a.broadcast, peer: a.peer, state: AddrState::Valid };
        if a.v6 {
            // IPv6 addresses stand beside each other; giving one again changes lifetimes and flags.
            let (flags, clear) = a.flags;
            let life = AddrLife { addr: ip, flags, preferred: a.preferred, valid: a.valid };
            return Ok(Some(Request::Nd(NdRequest::AddAddr { name, addr: info, life, clear })));
        }
        // `ifconfig IF ADDR` sets the primary address.
        Ok(Some(Request::AddAddr { name, addr: info, replace: !a.alias }))
    }
}

fn bad(what: &str, v: &str) -> Failure {
    Failure::new(format!("{what} {v}: bad value"))
}

/// An address, in numbers or by a name of /etc/hosts. No DNS: there may be no way to a server yet.
fn host(w: &str, v6: bool, ifname: &str) -> Option<IpAddr> {
    if v6 {
        // A zone can only be the interface itself.
        return addr::parse6(w).filter(|(_, z)| z.is_none_or(|z| z == ifname)).map(|(a, _)| IpAddr::V6(a));
    }
    addr::inet_aton(w).or_else(|| resolve::hosts(w)).map(IpAddr::V4)
}
