//! `route`: shows and changes the routing table.

pub mod monitor;
mod words;

use crate::addr::{network6, zoned};
use crate::getopt;
use crate::names::Names;
use crate::netstat::routes::route_table;
use crate::tool::{Failure, Outcome, Stack, ask, odd, pages, print, print_json};
use iopkt_ctl::{RTV_MTU, Reply, Request, RouteInfo, rtf};
use std::fmt::Write;
use std::net::{IpAddr, Ipv6Addr};
use words::{Words, parse};

/// Usage, as `--help` prints it.
pub const USAGE: &str = "usage: route [-dfnqSstv] [--json] command [[modifiers] args]
commands: add [-net|-host] DEST [-netmask MASK | -prefixlen N] GATEWAY | -interface IF
          change (as add)     delete [-net|-host] DEST [GATEWAY]
          get DEST            flush [inet|inet6]
          show [inet|inet6]   monitor
modifiers: -inet -inet6 -link -iface -reject -blackhole -proto1 -proto2 -static -nostatic
           -mtu N -lock -lockrest -ifa ADDR -ifp IF
DEST may be `default`, ADDR, ADDR/LEN or a name. SOCK=/prefix selects the stack.";

/// Flags in front of the command.
#[derive(Clone, Copy, Debug, Default)]
struct Flags {
    quiet: bool,
    verbose: bool,
    /// -t, -d: nothing is changed.
    dry: bool,
    /// -s: only the gateway.
    short: bool,
    /// -S: flags in columns.
    spaces: bool,
    json: bool,
}

/// Runs the tool, `monitor` apart.
///
/// # Errors
/// Usage, no stack, no such route, not permitted.
pub fn run(s: &mut dyn Stack, args: &[String]) -> Outcome {
    let f = getopt::parse("dfnqSstv", args).map_err(|e| Failure::usage(e, USAGE))?;
    if f.has('?') {
        return print(&format!("{USAGE}\n"));
    }
    let names = Names::new(f.has('n'));
    let o = Flags {
        quiet: f.has('q'),
        verbose: f.has('v'),
        dry: f.has('t') || f.has('d'),
        short: f.has('s'),
        spaces: f.has('S'),
        json: f.has('J'),
    };
    // `show --json` reads as well as `--json show`.
    let mut rest = f.rest.clone();
    let o = Flags { json: o.json || rest.iter().any(|w| w == "--json"), ..o };
    rest.retain(|w| w != "--json");
    if f.has('f') {
        flush(s, &[], o, &names)?;
    }
    let Some((cmd, words)) = rest.split_first() else {
        return if f.has('f') { Ok(0) } else { Err(Failure::usage("no command", USAGE)) };
    };
    match cmd.as_str() {
        "add" | "change" | "delete" => edit(s, cmd, words, o),
        "get" => get(s, words, o, &names),
        "flush" => flush(s, words, o, &names),
        "show" => {
            let list = all(s)?;
            let family = family(words)?;
            if o.json {
                print_json(&list.iter().filter(|r| of(r, family)).collect::<Vec<_>>())
            } else {
                print(&route_table(&list, family, &names, o.spaces))
            }
        }
        "monitor" if words.is_empty() => monitor::run(&names, o.json),
        "monitor" => Err(Failure::usage(format!("{}: too many words", words[0]), USAGE)),
        _ => Err(Failure::usage(format!("{cmd}: unknown command"), USAGE)),
    }
}

/// The whole table, page by page.
///
/// # Errors
/// No stack.
pub fn all(s: &mut dyn Stack) -> Result<Vec<RouteInfo>, Failure> {
    pages(
        s,
        "routes",
        |cursor| Request::Routes { cursor },
        |r| match r {
            Reply::Routes { list, next } => Ok((list, next)),
            other => Err(other),
        },
    )
}

/// `inet`, `inet6`, with or without a dash.
fn family(words: &[String]) -> Result<Option<u8>, Failure> {
    match words {
        [] => Ok(None),
        [w] => match w.trim_start_matches('-') {
            "inet" => Ok(Some(4)),
            "inet6" => Ok(Some(6)),
            _ => Err(Failure::new(format!("{w}: unknown address family"))),
        },
        [_, w, ..] => Err(Failure::usage(format!("{w}: too many words"), USAGE)),
    }
}

fn of(r: &RouteInfo, family: Option<u8>) -> bool {
    family.is_none_or(|f| (f == 4) == r.dst.is_ipv4())
}

fn edit(s: &mut dyn Stack, cmd: &str, words: &[String], o: Flags) -> Outcome {
    let d = parse(words)?;
    if cmd != "delete" && d.route.gateway.is_none() && d.route.ifname.is_none() {
        return Err(Failure::usage("a gateway or -interface is needed", USAGE));
    }
    let r = d.route.clone();
    let request = match cmd {
        "add" => Request::AddRoute(r),
        "change" => Request::ChangeRoute(r),
        _ => Request::DelRoute(r),
    };
    if o.verbose || o.dry {
        print(&sent(cmd, &d))?;
    }
    if !o.dry {
        match ask(s, &d.text(), &request)? {
            Reply::Ok => {}
            r => return Err(odd(&r)),
        }
    }
    if o.quiet { Ok(0) } else { print(&format!("{cmd} {}\n", d.text())) }
}

/// -v: what is asked for.
fn sent(cmd: &str, d: &Words) -> String {
    let r = &d.route;
    let names: Vec<&str> = rtf::NAMES.iter().filter(|n| r.flags & n.0 != 0).map(|n| n.1).collect();
    let via = match (&r.gateway, &r.ifname) {
        (Some(g), n) => format!(" gateway {}", zoned(*g, n.as_deref())),
        (None, Some(i)) => format!(" interface {i}"),
        (None, None) => String::new(),
    };
    format!("{cmd}: {}/{}{via} flags <{}>\n", r.dst, r.prefix_len, names.join(","))
}

fn get(s: &mut dyn Stack, words: &[String], o: Flags, names: &Names) -> Outcome {
    let d = parse(words)?;
    if d.gateway.is_some() {
        return Err(Failure::usage("get needs one destination", USAGE));
    }
    let mut dst = d.route.dst;
    if let (Some(zone), IpAddr::V6(a)) = (&d.route.zone, dst) {
        let r = ask(s, zone, &Request::Interfaces { name: Some(zone.clone()) })?;
        let Reply::Interfaces(l) = r else { return Err(odd(&r)) };
        // The stack's own form of an address and its link.
        dst = l.first().map_or(dst, |i| iopkt_base::zone::embed(a, i.index).into());
    }
    let shown = zoned(d.route.dst, d.route.zone.as_deref());
    match ask(s, &words[words.len() - 1], &Request::GetRoute { dst })? {
        Reply::Routes { list, .. } if o.json => print_json(&list),
        // -s: nothing but the gateway that would be used.
        Reply::Routes { list, .. } if o.short => {
            let via = |r: &RouteInfo| match r.gateway {
                Some(g) => zoned(g, r.ifname.as_deref()) + "\n",
                None => format!("{shown}\n"),
            };
            print(&list.iter().map(via).collect::<String>())
        }
        Reply::Routes { list, .. } => print(
            &list.iter().map(|r| got((d.route.dst, d.route.zone.as_deref()), r, names)).collect::<String>(),
        ),
        r => Err(odd(&r)),
    }
}

/// Deletes every route that has a gateway and was not made by an interface, and says so for each.
fn flush(s: &mut dyn Stack, words: &[String], o: Flags, names: &Names) -> Outcome {
    let family = family(words)?;
    let list = all(s)?;
    let gone = list.iter().filter(|r| of(r, family) && flushable(r));
    let mut done = Vec::new();
    for r in gone {
        if !o.dry {
            let to = RouteInfo { src: None, ..r.clone() };
            match ask(s, &names.host(r.dst), &Request::DelRoute(to))? {
                Reply::Ok => {}
                r => return Err(odd(&r)),
            }
        }
        done.push(r.clone());
    }
    if o.json {
        return print_json(&done);
    }
    if o.quiet {
        return Ok(0);
    }
    let line = |r: &RouteInfo| {
        let gw = r.gateway.map_or_else(String::new, |g| names.zoned(g, r.ifname.as_deref()));
        let to = crate::netstat::routes::destination(r, names);
        // BSD's columns; an IPv6 address that is cut off names nothing.
        if r.dst.is_ipv4() {
            format!("{to:<20.20} {gw:<20.20} done\n")
        } else {
            format!("{to:<20} {gw:<20} done\n")
        }
    };
    print(&done.iter().map(line).collect::<String>())
}

fn flushable(r: &RouteInfo) -> bool {
    r.gateway.is_some()
        && r.flags & rtf::GATEWAY != 0
        && r.flags & (rtf::STATIC | rtf::DYNAMIC) != 0
        // The reject route of the loopback network comes with its address.
        && r.src != r.gateway
}

/// `route get`'s answer.
fn got((dst, zone): (IpAddr, Option<&str>), r: &RouteInfo, names: &Names) -> String {
    let mut o = format!("   route to: {}\n", names.zoned(dst, zone));
    let of = r.zone.as_deref().or(r.ifname.as_deref());
    let d = if r.prefix_len == 0 { "default".into() } else { names.zoned(r.dst, of) };
    let _ = writeln!(o, "destination: {d}");
    if r.flags & rtf::HOST == 0 {
        let mask = match r.dst {
            _ if r.prefix_len == 0 => "default".to_string(),
            IpAddr::V4(_) => std::net::Ipv4Addr::from(crate::addr::mask_of(r.prefix_len)).to_string(),
            IpAddr::V6(_) => network6(Ipv6Addr::from_bits(u128::MAX), r.prefix_len).to_string(),
        };
        let _ = writeln!(o, "       mask: {mask}");
    }
    if let Some(g) = r.gateway {
        let _ = writeln!(o, "    gateway: {}", names.zoned(g, r.ifname.as_deref()));
    }
    if let Some(src) = r.src {
        let _ = writeln!(o, " local addr: {}", names.zoned(src, of));
    }
    if let Some(i) = &r.ifname {
        let _ = writeln!(o, "  interface: {i}");
    }
    let flags: Vec<&str> = rtf::NAMES.iter().filter(|f| r.flags & f.0 != 0).map(|f| f.1).collect();
    let _ = writeln!(o, "      flags: <{}>", flags.join(","));
    o += " recvpipe  sendpipe  ssthresh  rtt,msec    rttvar  hopcount      mtu     expire\n";
    let lock = if r.locks & RTV_MTU != 0 { 'L' } else { ' ' };
    let _ = writeln!(
        o,
        "{:>8}  {:>8}  {:>8}  {:>8}  {:>8}  {:>8}  {:>6}{lock}   {:>8}",
        0, 0, 0, 0, 0, 0, r.mtu, 0
    );
    o
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::fake::Fake;

    fn asked(line: &str) -> (Request, String) {
        let w: Vec<String> = line.split_whitespace().map(str::to_string).collect();
        let mut f = Fake::default();
        run(&mut f, &w).unwrap_or_else(|e| panic!("{line}: {}", e.message));
        (f.asked.remove(0), parse(&w[2..]).map(|p| p.text()).unwrap_or_default())
    }

    fn dest(line: &str) -> (String, u8, u32) {
        match asked(line).0 {
            Request::AddRoute(r) | Request::DelRoute(r) | Request::ChangeRoute(r) => {
                (r.dst.to_string(), r.prefix_len, r.flags)
            }
            r => panic!("{r:?}"),
        }
    }

    #[test]
    fn destinations_as_bsd_reads_them() {
        let (up_s, g, h) = (rtf::UP | rtf::STATIC, rtf::GATEWAY, rtf::HOST);
        assert_eq!(dest("-q add default 10.0.0.1"), ("0.0.0.0".into(), 0, up_s | g));
        assert_eq!(dest("-q add 0.0.0.0 10.0.0.1"), ("0.0.0.0".into(), 0, up_s | g));
        assert_eq!(dest("-q add 128.32 10.0.0.1"), ("128.0.0.32".into(), 32, up_s | g | h));
        assert_eq!(dest("-q add -net 128.32 10.0.0.1"), ("128.32.0.0".into(), 16, up_s | g));
        assert_eq!(dest("-q add 192.168.5.0 10.0.0.1"), ("192.168.5.0".into(), 24, up_s | g));
        assert_eq!(dest("-q add -host 192.168.5.0 10.0.0.1").1, 32);
        assert_eq!(dest("-q add 10.2/16 10.0.0.1"), ("10.2.0.0".into(), 16, up_s | g));
        assert_eq!(dest("-q add -net 10.2.0.0 -netmask 255.255.0.0 10.0.0.1").1, 16);
        assert_eq!(dest("-q add -net 10.2.0.0 10.0.0.1 255.255.0.0").1, 16);
        assert_eq!(dest("-q delete default"), ("0.0.0.0".into(), 0, up_s));
        assert_eq!(dest("-q add -inet6 default fe80::1").0, "::");
        assert!(
            matches!(asked("-q add 10.3.0.0/16 -interface ecm0").0, Request::AddRoute(r) if r.ifname.is_some())
        );
    }

    #[test]
    fn confirmations() {
        assert_eq!(asked("-q add default 10.0.0.1").1, "net default: gateway 10.0.0.1");
        assert_eq!(asked("-q delete -host 10.9.9.9 10.0.0.1").1, "host 10.9.9.9: gateway 10.0.0.1");
    }

    #[test]
    fn bad_lines_are_refused() {
        for l in [
            "",
            "add",
            "add default",
            "add x 10.0.0.1",
            "bogus",
            "add -bogus 1.2.3.4 5.6.7.8",
            "get",
            "add 10/33 10.1",
        ] {
            let w: Vec<String> = l.split_whitespace().map(str::to_string).collect();
            let mut f = Fake::default();
            assert!(run(&mut f, &w).is_err() && f.asked.is_empty(), "{l}");
        }
    }
}
