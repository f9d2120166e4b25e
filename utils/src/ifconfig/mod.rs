//! `ifconfig`: shows and changes interfaces.

mod json;
mod media;
mod show;
#[cfg(test)]
pub(crate) mod tests;
mod words;

use crate::getopt::{self, Parsed};
use crate::tool::{Failure, Outcome, Stack, ask, odd, print, print_json};
use iopkt_ctl::{Ifconf, LinkState, NdRequest, Reply, Request};
use show::Extra;
use std::net::IpAddr;

/// Usage, as `--help` prints it.
pub const USAGE: &str = "usage: ifconfig [-hLmvz] [--json] interface [protocol_family]
       ifconfig interface [protocol_family] [address [dest_address]] [parameters]
       ifconfig -a [-bdhLmsuvz] [--json] [protocol_family]
       ifconfig -l [-b] [-d] [-s] [-u] [--json]
       ifconfig -s interface
       ifconfig -C [--json]
       ifconfig interface create | destroy
  -a  all interfaces (also without arguments)      -l  only names, in one line
  -b  only those with broadcast   -d  down   -u  up   -s  not without carrier
  -s  with an interface: exit 1 when it has no carrier, else 0
  -v  counters   -z  the same, and zero them   -h  byte counts for people
  -m  supported media   -L  lifetimes of IPv6 addresses   -C  interfaces that can be created
protocol_family: inet (default), inet6, link
parameters: up down alias -alias delete netmask MASK prefixlen N broadcast ADDR [-]arp
            metric N mtu N media TYPE [-]mediaopt OPTION[,...] mode MODE instance N
            [-]link0 [-]link1 [-]link2 [-]debug [-]promisc
            [-]{ip4csum,tcp4csum,udp4csum,tcp6csum,udp6csum}[-rx|-tx] [-]tso4 [-]tso6
of inet6:   [-]anycast [-]deprecated [-]tentative [-]pltime N [-]vltime N eui64
SOCK=/prefix selects the stack.";

/// Runs the tool.
///
/// # Errors
/// Usage, no stack, no such interface, not permitted.
pub fn run(s: &mut dyn Stack, args: &[String]) -> Outcome {
    let f = getopt::parse("abCdhLlmsuvz", args).map_err(|e| Failure::usage(e, USAGE))?;
    if f.has('?') {
        return print(&format!("{USAGE}\n"));
    }
    let alone = |with: &str, c: char| {
        let other = f.flags.iter().find(|x| x.0 != c && !with.contains(x.0));
        match (other, f.rest.first()) {
            (Some(o), _) => Err(Failure::usage(format!("-{c} does not go with -{}", o.0), USAGE)),
            (None, Some(w)) => Err(Failure::usage(format!("-{c}: {w}: not expected"), USAGE)),
            (None, None) => Ok(()),
        }
    };
    if f.has('C') {
        alone("J", 'C')?;
        return cloners(s, f.has('J'));
    }
    if f.has('l') {
        alone("bdsuJ", 'l')?;
        let names: Vec<String> =
            interfaces(s, None)?.into_iter().filter(|i| show::passes(i, &f)).map(|i| i.name).collect();
        return if f.has('J') { print_json(&names) } else { print(&format!("{}\n", names.join(" "))) };
    }
    let (name, rest) = match f.rest.as_slice() {
        [n, rest @ ..] if !f.has('a') => (Some(n.clone()), rest),
        all => (None, all),
    };
    if f.has('s') && !f.has('a') {
        return carrier(s, &f);
    }
    let family = match rest {
        [] => Some(None),
        [w] if ["inet", "inet6", "link"].contains(&w.as_str()) => Some(Some(w.as_str())),
        _ => None,
    };
    match (family, name) {
        (Some(family), name) => list(s, &f, name, family),
        (None, None) => {
            Err(Failure::usage(format!("{}: no protocol family, and -a takes no parameters", rest[0]), USAGE))
        }
        (None, Some(n)) => match f.flags.first() {
            Some((c, _)) => {
                Err(Failure::usage(format!("-{c} goes with a listing, not with parameters"), USAGE))
            }
            None => change(s, &n, rest),
        },
    }
}

fn cloners(s: &mut dyn Stack, json: bool) -> Outcome {
    match ask(s, "cloners", &Request::Cloners)? {
        Reply::Names(n) if json => print_json(&n),
        Reply::Names(n) => print(&format!("{}\n", n.join(" "))),
        r => Err(odd(&r)),
    }
}

/// `-s IF`: the exit code tells.
fn carrier(s: &mut dyn Stack, f: &Parsed) -> Outcome {
    let [name] = f.rest.as_slice() else {
        return Err(Failure::usage("-s needs one interface (or -a, or -l)", USAGE));
    };
    if let Some((c, _)) = f.flags.iter().find(|x| x.0 != 's') {
        return Err(Failure::usage(format!("-s does not go with -{c}"), USAGE));
    }
    Ok(interfaces(s, Some(name.clone()))?.iter().any(|i| i.link == LinkState::Down).into())
}

fn list(s: &mut dyn Stack, f: &Parsed, name: Option<String>, family: Option<&str>) -> Outcome {
    if let (Some(_), Some((c, _))) = (&name, f.flags.iter().find(|x| "bdu".contains(x.0))) {
        return Err(Failure::usage(format!("-{c} goes with -a and -l"), USAGE));
    }
    let extra = Extra {
        counters: f.has('v') || f.has('z'),
        human: f.has('h'),
        media: f.has('m'),
        lifetimes: f.has('L'),
        inet: family.is_none_or(|w| w == "inet"),
        inet6: family.is_none_or(|w| w == "inet6"),
        link: family.is_none_or(|w| w == "link"),
    };
    let named = name.is_some();
    let mut list = interfaces(s, name)?;
    list.retain(|i| named || show::passes(i, f));
    if f.has('z') {
        // What was zeroed is shown, not what was read a moment before.
        for i in &mut list {
            match ask(s, &i.name, &Request::ZeroCounters { name: i.name.clone() })? {
                Reply::Interfaces(mut l) if l.len() == 1 => *i = l.remove(0),
                r => return Err(odd(&r)),
            }
        }
    }
    if f.has('J') {
        return print_json(&list.iter().map(|i| json::interface(i, extra)).collect::<Vec<_>>());
    }
    print(&list.iter().map(|i| show::block(i, extra)).collect::<String>())
}

fn interfaces(s: &mut dyn Stack, name: Option<String>) -> Result<Vec<Ifconf>, Failure> {
    let what = name.clone().unwrap_or_else(|| "interfaces".into());
    match ask(s, &what, &Request::Interfaces { name })? {
        Reply::Interfaces(l) => Ok(l),
        r => Err(odd(&r)),
    }
}

fn change(s: &mut dyn Stack, name: &str, words: &[String]) -> Outcome {
    let plan = words::plan(name, words)?;
    let mut requests = plan.requests.into_iter().peekable();
    // What is created here must be there before anything is asked about it.
    if let Some(r) = requests.next_if(|r| matches!(r, Request::Create { .. })) {
        ask(s, name, &r)?;
    }
    if plan.caps.is_some() || plan.media.is_some() {
        let now = interfaces(s, Some(name.to_string()))?;
        let i = now.first().ok_or_else(|| Failure::new(format!("{name}: Device not configured")))?;
        if let Some(c) = plan.caps {
            ask(s, name, &capabilities(i, &c)?)?;
        }
        if let Some(m) = plan.media
            && let Some(r) = select(i, m.apply(i)?)
        {
            ask(s, name, &r)?;
        }
    }
    for mut r in requests {
        if let (true, Request::Nd(NdRequest::AddAddr { addr, life, .. })) = (plan.eui64, &mut r) {
            addr.addr = eui64(s, name, addr.addr)?;
            life.addr = addr.addr;
        }
        ask(s, name, &r)?;
    }
    Ok(0)
}

/// The network of `net` with the identifier of the interface's link-local address, as BSD's ifconfig makes it.
fn eui64(s: &mut dyn Stack, name: &str, net: IpAddr) -> Result<IpAddr, Failure> {
    let low =
        interfaces(s, Some(name.to_string()))?.iter().flat_map(|i| &i.addrs).find_map(|a| match a.addr {
            IpAddr::V6(x) if x.segments()[0] & 0xffc0 == 0xfe80 => Some(u128::from(x) as u64),
            _ => None,
        });
    let low = low.ok_or_else(|| Failure::new(format!("{name}: eui64: has no link-local address")))?;
    match net {
        IpAddr::V6(n) if u128::from(n) as u64 == 0 => {
            Ok(IpAddr::V6((u128::from(n) | u128::from(low)).into()))
        }
        _ => Err(Failure::new(format!("{net}: eui64: the low 64 bits are to be zero"))),
    }
}

/// The new enabled set; what the hardware lacks is refused by the word that asked for it.
fn capabilities(i: &Ifconf, c: &words::CapChange) -> Result<Request, Failure> {
    if let Some((w, ..)) = c.wanted.iter().find(|(_, rx, tx)| rx & !i.caps_rx | tx & !i.caps_tx != 0) {
        let list = |v| show::bits(v, iopkt_ctl::IFCAP_NAMES);
        return Err(Failure::new(format!(
            "{}: {w}: the hardware cannot do that (capabilities rx={} tx={})",
            i.name,
            list(i.caps_rx),
            list(i.caps_tx)
        )));
    }
    let rx = (i.enabled_rx | c.rx.0) & !c.rx.1;
    let tx = (i.enabled_tx | c.tx.0) & !c.tx.1;
    Ok(Request::SetCaps { name: i.name.clone(), rx, tx })
}

/// The request that selects a medium; none when it is selected already.
fn select(i: &Ifconf, media: u32) -> Option<Request> {
    (media != i.media_now).then(|| Request::SetMedia { name: i.name.clone(), media })
}
