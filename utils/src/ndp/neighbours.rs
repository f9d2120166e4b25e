//! The neighbour cache: `ndp -a`, `-A`, `-c`, `-d`, `-s`, and of one host.

use super::USAGE;
use crate::addr;
use crate::getopt::Parsed;
use crate::names::Names;
use crate::resolve;
use crate::tool::{Failure, Outcome, Stack, ask, odd, pages, print, print_json};
use iopkt_ctl::{NdEntry, NdReply, NdRequest, NdState, Reply, Request};
use std::fmt::Write;
use std::net::Ipv6Addr;

pub(super) fn all(s: &mut dyn Stack) -> Result<Vec<NdEntry>, Failure> {
    pages(
        s,
        "neighbours",
        |cursor| Request::Nd(NdRequest::Neighbours { cursor }),
        |r| match r {
            Reply::Nd(NdReply::Neighbours { list, next }) => Ok((list, next)),
            other => Err(other),
        },
    )
}

/// The address that is meant, and the interface behind it.
fn host(h: &str) -> Result<(Ipv6Addr, Option<String>), Failure> {
    if let Some((a, z)) = addr::parse6(h) {
        return Ok((a, z.map(str::to_string)));
    }
    let a = resolve::hosts6(h);
    a.map(|a| (a, None))
        .ok_or_else(|| Failure::new(format!("{h}: no IPv6 address, and no name in /etc/hosts")))
}

/// The time of day, as KAME has it before each entry (-t): the lines can be sorted among tcpdump's.
fn stamp() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let s = now.as_secs() % 86_400;
    format!("{:02}:{:02}:{:02}.{:06} ", s / 3600, s / 60 % 60, s % 60, now.subsec_micros())
}

pub(super) fn one(s: &mut dyn Stack, f: &Parsed) -> Outcome {
    let [h] = f.rest.as_slice() else { return Err(Failure::usage("one host or -a is needed", USAGE)) };
    let (ip, zone) = host(h)?;
    let mut l = all(s)?;
    l.retain(|e| e.ip == ip && zone.as_ref().is_none_or(|z| e.ifname.as_ref() == Some(z)));
    if l.is_empty() {
        return Err(Failure::new(format!("{h} ({ip}) -- no entry")));
    }
    if f.has('J') { print_json(&l) } else { print(&table(&l, Look::of(f))) }
}

pub(super) fn list(s: &mut dyn Stack, f: &Parsed) -> Outcome {
    let l = all(s)?;
    if f.has('J') { print_json(&l) } else { print(&table(&l, Look::of(f))) }
}

/// -A: until it is interrupted.
pub(super) fn again(s: &mut dyn Stack, f: &Parsed) -> Outcome {
    let v = f.value('A').unwrap_or("");
    let secs: u64 = v
        .parse()
        .ok()
        .filter(|n| *n > 0)
        .ok_or_else(|| Failure::new(format!("-A {v}: a number of seconds is needed")))?;
    let mut look = Look::of(f);
    loop {
        let l = all(s)?;
        print(&format!("{}\n", table(&l, look)))?;
        look.heading = false;
        std::thread::sleep(std::time::Duration::from_secs(secs));
    }
}

/// `23h59m58s`.
pub(super) fn period(mut s: u32) -> String {
    let mut o = String::new();
    for (unit, n) in [('d', 86_400), ('h', 3600), ('m', 60)] {
        if s >= n || !o.is_empty() {
            let _ = write!(o, "{}{unit}", s / n);
            s %= n;
        }
    }
    o + &format!("{s}s")
}

/// How the table is to be shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    heading: bool,
    times: bool,
    numeric: bool,
}

impl Look {
    /// With -t there is no heading, but the time before each entry.
    pub fn of(f: &Parsed) -> Look {
        Look { heading: !f.has('t'), times: f.has('t'), numeric: f.has('n') }
    }
}

/// KAME's columns: a long address takes the room of what follows.
pub(super) fn table(l: &[NdEntry], look: Look) -> String {
    let mut o = String::new();
    if look.heading {
        let (to, at, on, end) = ("Neighbor", "Linklayer Address", "Netif", "Expire");
        let _ = writeln!(o, "{to:<36} {at:<17} {on:>6} {end:<9} S Flags");
    }
    let names = Names::new(look.numeric);
    for e in l {
        if look.times {
            o += &stamp();
        }
        let host = names.zoned(e.ip.into(), e.ifname.as_deref());
        let at = e.mac.map_or_else(|| "(incomplete)".into(), |m| addr::mac(&m));
        let on = e.ifname.as_deref().unwrap_or("");
        let end = match e.expires {
            _ if e.permanent => "permanent".into(),
            Some(0) | None => "expired".into(),
            Some(s) => period(s),
        };
        let w = host.len().max(36);
        let w_at = (36 + 17usize).saturating_sub(w).max(at.len());
        let w_on = (36 + 17 + 6usize).saturating_sub(w + w_at).max(on.len());
        let flags = format!("{}{}", if e.router { "R" } else { "" }, if e.proxy { "p" } else { "" });
        let _ = write!(o, "{host:<w$} {at:<w_at$} {on:>w_on$} {end:<9} {} {flags}", e.state.letter());
        if e.asked > 0 {
            let _ = write!(o, " {}", e.asked);
        }
        o.truncate(o.trim_end().len());
        o.push('\n');
    }
    o
}

/// -c: what was learnt, one after the other, as KAME does it.
pub(super) fn forget(s: &mut dyn Stack) -> Outcome {
    let mut o = String::new();
    for e in all(s)?.into_iter().filter(|e| !e.permanent) {
        let r = Request::Nd(NdRequest::Delete { ip: Some(e.ip), ifname: e.ifname.clone() });
        // One that went meanwhile is gone, too.
        if let Reply::Ok = s.ask(&r).map_err(Failure::new)? {
            let n = addr::zoned(e.ip.into(), e.ifname.as_deref());
            let _ = writeln!(o, "{n} ({n}) deleted");
        }
    }
    print(&o)
}

pub(super) fn delete(s: &mut dyn Stack, words: &[String]) -> Outcome {
    let [h] = words else { return Err(Failure::usage("-d needs one host", USAGE)) };
    let (ip, ifname) = host(h)?;
    match ask(s, h, &Request::Nd(NdRequest::Delete { ip: Some(ip), ifname: ifname.clone() }))? {
        Reply::Ok => print(&format!("{h} ({}) deleted\n", addr::zoned(ip.into(), ifname.as_deref()))),
        r => Err(odd(&r)),
    }
}

/// `host[%IF] ether [temp] [proxy]`.
pub(super) fn entry(words: &[String]) -> Result<NdEntry, Failure> {
    let [h, ether, rest @ ..] = words else {
        return Err(Failure::usage("-s needs a host and an address", USAGE));
    };
    let mac =
        addr::parse_mac(ether).ok_or_else(|| Failure::new(format!("{ether}: bad link-level address")))?;
    let (ip, ifname) = host(h)?;
    let state = NdState::Reachable;
    let mut e = NdEntry {
        ip,
        mac: Some(mac),
        ifname,
        state,
        permanent: true,
        proxy: false,
        router: false,
        own: false,
        expires: None,
        asked: 0,
    };
    for w in rest {
        match w.as_str() {
            "temp" => e.permanent = false,
            "proxy" => e.proxy = true,
            w => return Err(Failure::usage(format!("{w}: unknown word"), USAGE)),
        }
    }
    Ok(e)
}

pub(super) fn set(s: &mut dyn Stack, words: &[String]) -> Outcome {
    let e = entry(words)?;
    match ask(s, &words[0], &Request::Nd(NdRequest::Add(e)))? {
        Reply::Ok => Ok(0),
        r => Err(odd(&r)),
    }
}
