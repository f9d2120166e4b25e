//! Prefixes and default routers: `ndp -p`, `-r`.

use super::nd;
use super::neighbours::period;
use crate::addr;
use crate::tool::{Outcome, Stack, odd, print, print_json};
use iopkt_ctl::{NdPrefix, NdReply, NdRequest, NdRouter, Reply};
use std::fmt::Write;

pub(super) fn prefixes(s: &mut dyn Stack, json: bool) -> Outcome {
    match nd(s, "prefixes", NdRequest::Prefixes)? {
        NdReply::Prefixes(l) if json => print_json(&l),
        NdReply::Prefixes(l) => print(&l.iter().map(prefix).collect::<String>()),
        r => Err(odd(&Reply::Nd(r))),
    }
}

pub(super) fn prefix(p: &NdPrefix) -> String {
    let life = |s: Option<u32>| s.map_or_else(|| "infinity".into(), |s| s.to_string());
    // L and A as advertised; O: there is a route to it by the link.
    let flags: String =
        [(p.on_link, 'L'), (p.autonomous, 'A'), (p.on_link && !p.detached, 'O'), (p.detached, 'D')]
            .iter()
            .filter(|f| f.0)
            .map(|f| f.1)
            .collect();
    let expire = match p.expires {
        None => "Never".into(),
        Some(0) => "expired".into(),
        Some(s) => period(s),
    };
    let mut o = format!("{}/{} if={}\n", p.prefix, p.prefix_len, p.ifname);
    let (v, l) = (life(p.valid), life(p.preferred));
    let _ = writeln!(o, "flags={flags} vltime={v}, pltime={l}, expire={expire}, ref={}", p.refs);
    if p.routers.is_empty() {
        o += "  No advertising router\n";
    } else {
        o += "  advertised by\n";
        for r in &p.routers {
            let _ = writeln!(o, "    {}", addr::zoned((*r).into(), Some(&p.ifname)));
        }
    }
    o
}

pub(super) fn routers(s: &mut dyn Stack, json: bool) -> Outcome {
    match nd(s, "default routers", NdRequest::Routers)? {
        NdReply::Routers(l) if json => print_json(&l),
        NdReply::Routers(l) => print(&l.iter().map(router).collect::<String>()),
        r => Err(odd(&Reply::Nd(r))),
    }
}

pub(super) fn router(r: &NdRouter) -> String {
    let flags = format!("{}{}", if r.managed { "M" } else { "" }, if r.other { "O" } else { "" });
    let expire = r.expires.map_or_else(|| "Never".into(), period);
    let who = addr::zoned(r.addr.into(), Some(&r.ifname));
    format!("{who} if={}, flags={flags}, pref={}, expire={expire}\n", r.ifname, r.preference)
}
