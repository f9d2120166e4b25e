//! What holds on an interface: `ndp -i`, `-I`.

use super::{USAGE, nd};
use crate::tool::{Failure, Outcome, Stack, ask, odd, print, print_json};
use iopkt_ctl::{NdIface, NdReply, NdRequest, Reply, Request, nd6};

/// `-i IF [flag ...]`: changes what is asked for, then shows what holds.
pub(super) fn settings(s: &mut dyn Stack, name: &str, words: &[String], json: bool) -> Outcome {
    if !words.is_empty() {
        match ask(s, name, &Request::Nd(change(name, words)?))? {
            Reply::Ok => {}
            r => return Err(odd(&r)),
        }
    }
    match nd(s, name, NdRequest::Interfaces { name: Some(name.into()) })? {
        NdReply::Interfaces(l) if json => print_json(&l),
        NdReply::Interfaces(l) => print(&l.iter().map(interface).collect::<String>()),
        r => Err(odd(&Reply::Nd(r))),
    }
}

/// What words ask for: flags to set and (with a dash) to clear, values.
fn change(name: &str, words: &[String]) -> Result<NdRequest, Failure> {
    let (mut set, mut clear, mut base_reachable, mut retrans, mut hop_limit) = (0, 0, None, None, None);
    for w in words {
        if let Some((what, v)) = w.split_once('=') {
            let n = v.parse::<u32>().map_err(|_| Failure::new(format!("{w}: {v} is no number")))?;
            match what {
                "basereachable" => base_reachable = Some(n),
                "retrans" => retrans = Some(n),
                "curhlim" => {
                    let n = u8::try_from(n).ok().filter(|n| *n > 0);
                    hop_limit = Some(n.ok_or_else(|| Failure::new(format!("{w}: from 1 to 255")))?);
                }
                _ => return Err(Failure::usage(format!("{what}: unknown value"), USAGE)),
            }
            continue;
        }
        let (word, on) = w.strip_prefix('-').map_or((w.as_str(), true), |x| (x, false));
        if let Some(why) = NOT_HERE.iter().find(|n| n.0 == word).map(|n| n.1) {
            return Err(Failure::new(format!("{word}: {why}")));
        }
        let Some((bit, _)) = nd6::NAMES.iter().find(|n| n.1 == word) else {
            return Err(Failure::usage(format!("{w}: unknown flag"), USAGE));
        };
        let (a, b) = if on { (&mut set, &mut clear) } else { (&mut clear, &mut set) };
        *a |= bit;
        *b &= !bit;
    }
    Ok(NdRequest::Set { name: name.into(), set, clear, base_reachable, retrans, hop_limit })
}

/// Flags of BSDs that this stack has not: each with the way to what it is for.
const NOT_HERE: &[(&str, &str)] = &[
    ("dont_set_ifroute", "prefixes of this stack always have their route; advertise them without L instead"),
    (
        "no_radr",
        "routers of an interface are not believed without their routes; -accept_rtadv turns both off",
    ),
    ("no_dad", "duplicate detection is net.inet6.ip6.dad_count's (0 turns it off)"),
    ("no_prefer_iface", "addresses are chosen by RFC 6724; prefer_source prefers an interface's"),
    ("ignorena", "a link without neighbour discovery is one with -arp (ifconfig)"),
];

pub(super) fn interface(i: &NdIface) -> String {
    let ms = |v: u32| format!("{}s{}ms", v / 1000, v % 1000);
    let words: String =
        nd6::NAMES.iter().filter(|n| i.flags & n.0 != 0).map(|n| format!("{} ", n.1)).collect();
    format!(
        "linkmtu={}, maxmtu={}, curhlim={}, basereachable={}, reachable={}s, retrans={}\nFlags: {words}\n",
        i.link_mtu,
        i.max_mtu,
        i.hop_limit,
        ms(i.base_reachable),
        i.reachable / 1000,
        ms(i.retrans)
    )
}

pub(super) fn default_interface(s: &mut dyn Stack, words: &[String]) -> Outcome {
    let name = match words {
        [] => None,
        [w] if w == "delete" => Some(String::new()),
        [w] => Some(w.clone()),
        [_, w, ..] => return Err(Failure::usage(format!("{w}: not expected"), USAGE)),
    };
    let what = name.clone().filter(|n| !n.is_empty()).unwrap_or_else(|| "default interface".into());
    match ask(s, &what, &Request::Nd(NdRequest::Default { name }))? {
        Reply::Ok => Ok(0),
        Reply::Nd(NdReply::Default(n)) if n.is_empty() => print("No default interface.\n"),
        Reply::Nd(NdReply::Default(n)) => print(&format!("ND default interface = {n}\n")),
        r => Err(odd(&r)),
    }
}
