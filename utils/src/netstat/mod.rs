//! `netstat`: routes, interfaces, sockets, counters, in BSD's layout.

pub mod interfaces;
pub mod routes;
pub mod sockets;
pub mod stats;

use crate::getopt::{self, Parsed};
use crate::names::Names;
use crate::tool::{Failure, Outcome, Stack, ask, odd, pages, print, print_json};
use iopkt_ctl::{GroupInfo, Ifconf, ProtoStats, Reply, Request, SockInfo};
use std::time::Duration;

/// Usage, as `--help` prints it.
pub const USAGE: &str = "usage: netstat [-Aan] [-f family] [--json]            sockets
       netstat -r [-AnLTv] [-f family] [-F fib] [--json]  routing table
       netstat -i | -I interface [-abdn] [--json]      interfaces
       netstat -w seconds [-bd] [-I interface] [--json]  their traffic as it passes
       netstat -s[s] [-f family] [-p protocol] [--json]  counters
       netstat -p protocol [--json]                    counters of one protocol
       netstat -s -I interface [-p protocol] [--json]  IPv6's counters of one interface
       netstat -m [--json]                             packet memory
       netstat -g [--json]                             multicast groups
       netstat -P pcb [--json]                         one socket (-A names them)
families: inet inet6 local unix arp.  SOCK=/prefix selects the stack.";

/// What `-f` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Inet,
    Inet6,
    Local,
    Arp,
}

impl Family {
    fn number(self) -> u8 {
        match self {
            Family::Inet => 4,
            Family::Inet6 => 6,
            Family::Local | Family::Arp => 0,
        }
    }
}

/// Runs the tool.
///
/// # Errors
/// Usage, no stack.
pub fn run(s: &mut dyn Stack, args: &[String]) -> Outcome {
    let f = getopt::parse("Aabdgf:F:iI:LmnP:p:rsTvw:", args).map_err(|e| Failure::usage(e, USAGE))?;
    if f.has('?') {
        return print(&format!("{USAGE}\n"));
    }
    if let Some(w) = f.rest.first() {
        return Err(Failure::usage(format!("{w}: not expected"), USAGE));
    }
    let family = match f.value('f') {
        None => None,
        Some("inet") => Some(Family::Inet),
        Some("inet6") => Some(Family::Inet6),
        Some("local" | "unix") => Some(Family::Local),
        Some("arp") => Some(Family::Arp),
        Some(o) => return Err(Failure::new(format!("{o}: unknown address family"))),
    };
    let fib = fib(f.value('F'))?;
    let routes = f.has('r') || fib.is_some();
    for (c, needs) in [('T', "-r"), ('L', "-r"), ('F', "-r")] {
        if f.has(c) && !routes {
            return Err(Failure::usage(format!("-{c} goes with {needs}"), USAGE));
        }
    }
    let traffic = f.has('i') || f.has('I') || f.has('w');
    for c in ['b', 'd'] {
        if f.has(c) && !traffic {
            return Err(Failure::usage(format!("-{c} goes with -i, -I or -w"), USAGE));
        }
    }
    let names = Names::new(f.has('n'));
    match () {
        () if routes => show_routes(s, &f, family, fib.flatten(), &names),
        () if f.has('w') => watch(s, &f),
        () if f.has('s') && f.has('I') => show_interface_stats(s, &f, family),
        () if traffic => show_interfaces(s, &f, &names),
        () if f.has('g') => show_groups(s, &f),
        () if f.has('s') || f.has('m') || f.has('p') => show_stats(s, &f, family),
        () if f.has('P') => show_one(s, &f),
        () => show_sockets(s, &f, family, &names),
    }
}

/// -F: 0 to 15 or `a`. This stack has one table, number 0: `Some(None)` stands for another one, which is empty.
fn fib(v: Option<&str>) -> Result<Option<Option<u8>>, Failure> {
    match v {
        None => Ok(None),
        Some("a") => Ok(Some(Some(0))),
        Some(v) => match v.parse::<u8>() {
            Ok(0) => Ok(Some(Some(0))),
            Ok(1..=15) => Ok(Some(None)),
            _ => Err(Failure::new(format!("{v}: a FIB is 0 to 15, or a for all"))),
        },
    }
}

fn show_routes(
    s: &mut dyn Stack,
    f: &Parsed,
    family: Option<Family>,
    fib: Option<u8>,
    names: &Names,
) -> Outcome {
    if matches!(family, Some(Family::Local | Family::Arp)) {
        return Err(Failure::new("that family has no routes"));
    }
    let mut l = crate::route::all(s)?;
    if f.has('F') && fib.is_none() {
        l.clear();
    }
    if f.has('J') {
        l.retain(|r| family.is_none_or(|x| (x == Family::Inet) == r.dst.is_ipv4()));
        return print_json(&l);
    }
    let look = routes::Look {
        family: family.map(Family::number),
        no_link: f.has('L'),
        verbose: f.has('v') || f.has('F'),
        tags: f.has('T'),
        addresses: f.has('A'),
        spaces: false,
    };
    print(&routes::table(&l, look, names))
}

fn interfaces(s: &mut dyn Stack, name: Option<&str>) -> Result<Vec<Ifconf>, Failure> {
    match ask(s, name.unwrap_or("interfaces"), &Request::Interfaces { name: name.map(str::to_string) })? {
        Reply::Interfaces(l) => Ok(l),
        r => Err(odd(&r)),
    }
}

fn look(f: &Parsed) -> interfaces::Look {
    interfaces::Look { bytes: f.has('b'), drops: f.has('d') }
}

fn show_interfaces(s: &mut dyn Stack, f: &Parsed, names: &Names) -> Outcome {
    let l = interfaces(s, f.value('I'))?;
    if f.has('J') {
        return print_json(&l);
    }
    let groups = if f.has('a') { all_groups(s)? } else { Vec::new() };
    print(&interfaces::table(&l, &groups, look(f), names))
}

/// Prints until it is interrupted.
fn watch(s: &mut dyn Stack, f: &Parsed) -> Outcome {
    let v = f.value('w').unwrap_or("");
    let secs = v.parse::<f64>().ok().filter(|n| *n > 0.0 && *n <= 86_400.0);
    let secs = secs.ok_or_else(|| Failure::new(format!("{v}: not a number of seconds")))?;
    let name = f.value('I');
    if name.is_some() {
        interfaces(s, name)?;
    }
    let mut w = interfaces::Sideways::default();
    loop {
        let l = interfaces(s, None)?;
        if f.has('J') {
            let shown = l.iter().filter(|i| name.is_none_or(|n| i.name == n));
            let j: Vec<_> =
                shown.map(|i| serde_json::json!({ "name": i.name, "counters": i.counters })).collect();
            print(&format!("{}\n", serde_json::Value::from(j)))?;
        } else {
            print(&w.line(&l, name, look(f)))?;
        }
        std::thread::sleep(Duration::from_secs_f64(secs));
    }
}

fn all_groups(s: &mut dyn Stack) -> Result<Vec<GroupInfo>, Failure> {
    match ask(s, "groups", &Request::Groups)? {
        Reply::Groups(l) => Ok(l),
        r => Err(odd(&r)),
    }
}

fn show_groups(s: &mut dyn Stack, f: &Parsed) -> Outcome {
    if f.has('s') {
        return Err(Failure::new("-gs: multicast routing is not in this build"));
    }
    let l = all_groups(s)?;
    if f.has('J') { print_json(&l) } else { print(&interfaces::groups(&l)) }
}

fn show_stats(s: &mut dyn Stack, f: &Parsed, family: Option<Family>) -> Outcome {
    let Reply::Stats(mut st) = ask(s, "statistics", &Request::Stats)? else {
        return Err(Failure::new("unexpected answer"));
    };
    let only = match (f.has('m'), f.value('p'), family) {
        (true, ..) => Some("mbuf"),
        (_, Some(p), _) => Some(p),
        (_, None, Some(Family::Arp)) => Some("arp"),
        (_, None, Some(Family::Local)) => {
            return Err(Failure::new("no statistics of that family"));
        }
        _ => None,
    };
    if let Some(p) = only {
        st.counters.retain(|c| c.group == p);
        if st.counters.is_empty() {
            return Err(Failure::new(format!("{p}: unknown or uninstrumented protocol")));
        }
    }
    let six = |g: &str| matches!(g, "ip6" | "icmp6" | "mld" | "tcp6" | "udp6" | "raw6");
    match family {
        Some(Family::Inet6) => st.counters.retain(|c| six(&c.group)),
        Some(Family::Inet) => st.counters.retain(|c| !six(&c.group)),
        _ => {}
    }
    if st.counters.is_empty() {
        return Err(Failure::new("no statistics of that family"));
    }
    // Twice: only what happened.
    if f.flags.iter().filter(|x| x.0 == 's').count() > 1 {
        st = ProtoStats { counters: st.counters.into_iter().filter(|c| c.value != 0).collect() };
    }
    if f.has('J') { print_json(&st) } else { print(&stats::stats(&st)) }
}

/// -I IF -s: IPv6 counts for each interface what it did there.
fn show_interface_stats(s: &mut dyn Stack, f: &Parsed, family: Option<Family>) -> Outcome {
    let name = f.value('I').unwrap_or("");
    if family.is_some_and(|x| x != Family::Inet6) {
        return Err(Failure::new("counters of one interface are IPv6's alone (-f inet6), or -I without -s"));
    }
    let r = ask(s, name, &Request::Nd(iopkt_ctl::NdRequest::Counters { name: name.into() }))?;
    let Reply::Stats(mut st) = r else { return Err(odd(&r)) };
    if let Some(p) = f.value('p') {
        st.counters.retain(|c| c.group == p);
        if st.counters.is_empty() {
            return Err(Failure::new(format!("{p}: no per-interface counters of that protocol")));
        }
    }
    if f.has('J') {
        return print_json(&st);
    }
    for c in &mut st.counters {
        c.group = format!("{} on {name}", c.group);
    }
    print(&stats::stats(&st))
}

/// All sockets, page by page.
///
/// # Errors
/// No stack.
pub fn all_sockets(s: &mut dyn Stack) -> Result<Vec<SockInfo>, Failure> {
    pages(
        s,
        "sockets",
        |cursor| Request::Sockets { cursor },
        |r| match r {
            Reply::Sockets { list, next } => Ok((list, next)),
            other => Err(other),
        },
    )
}

fn show_one(s: &mut dyn Stack, f: &Parsed) -> Outcome {
    let v = f.value('P').unwrap_or("");
    let id = u64::from_str_radix(v.trim_start_matches("0x"), 16)
        .map_err(|_| Failure::new(format!("{v}: not the hexadecimal name of a socket (netstat -A)")))?;
    let l = all_sockets(s)?;
    let k = l.iter().find(|k| k.id == id).ok_or_else(|| Failure::new(format!("{v}: no such socket")))?;
    if f.has('J') { print_json(k) } else { print(&sockets::one(k)) }
}

fn show_sockets(s: &mut dyn Stack, f: &Parsed, family: Option<Family>, names: &Names) -> Outcome {
    let all = f.has('a');
    if family == Some(Family::Local) {
        let l = local_sockets();
        return if f.has('J') { print_json(&l) } else { print(&sockets::local_table(&l, all)) };
    }
    let mut l = if family == Some(Family::Arp) { Vec::new() } else { all_sockets(s)? };
    l.retain(|k| family.is_none_or(|v| v.number() == k.family));
    if !all {
        l.retain(|k| k.state != "LISTEN" && (k.proto == "tcp" || k.remote.is_some()));
    }
    if f.has('J') {
        return print_json(&l);
    }
    let mut o = String::new();
    let six = l.iter().any(|k| k.family == 6);
    if matches!(family, None | Some(Family::Inet)) {
        o += &sockets::table(&l, all, f.has('A'), false, names);
    }
    if family == Some(Family::Inet6) || family.is_none() && six {
        o += &sockets::table(&l, all, f.has('A'), true, names);
    }
    print(&o)
}

/// The AF_LOCAL sockets below the stack's root.
pub fn local_sockets() -> Vec<sockets::Local> {
    let root = iopkt_sys::paths::Root::find();
    let dir = root.with_prefix(std::env::var_os("SOCK").unwrap_or_default(), "/");
    sockets::local(&std::fs::read_to_string("/proc/net/unix").unwrap_or_default(), &dir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::fake::Fake;

    #[test]
    fn what_does_not_go_together_is_refused() {
        for l in [
            "-L", "-T", "-b", "-d -s", "-f x", "-F 16 -r", "-F z", "-w 0", "-w x", "-P zz", "-gs", "-rf arp",
            "x",
        ] {
            let w: Vec<String> = l.split_whitespace().map(str::to_string).collect();
            let mut f = Fake::default();
            assert!(run(&mut f, &w).is_err() && f.asked.is_empty(), "{l}");
        }
    }

    #[test]
    fn the_one_table_is_number_0() {
        assert_eq!(fib(None).ok(), Some(None));
        assert_eq!(fib(Some("0")).ok(), Some(Some(Some(0))));
        assert_eq!(fib(Some("a")).ok(), Some(Some(Some(0))));
        assert_eq!(fib(Some("15")).ok(), Some(Some(None)));
    }
}
