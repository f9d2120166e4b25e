//! `route`: shows and changes the routing table.

use crate::addr;
use crate::getopt;
use crate::netstat::route_table;
use crate::tool::{Failure, Outcome, Stack, ask, odd, pages, print, print_json};
use iopkt_ctl::{Reply, Request, RouteInfo, rtf};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Usage, as `--help` prints it.
pub const USAGE: &str = "usage: route [-nqv] [--json] command [[modifiers] args]
commands: add [-net|-host] DEST [-netmask MASK | -prefixlen N] GATEWAY | -interface IF
          change (as add)     delete [-net|-host] DEST [GATEWAY]
          get DEST            flush            show
DEST may be `default`, ADDR or ADDR/LEN; -inet and -inet6 choose the family.
SOCK=/prefix selects the stack.";

/// Runs the tool.
///
/// # Errors
/// Usage, no stack, no such route, not permitted.
pub fn run(s: &mut dyn Stack, args: &[String]) -> Outcome {
    let f = getopt::parse("dfnqSstv", args).map_err(|e| Failure::usage(e, USAGE))?;
    if f.has('?') {
        return print(&format!("{USAGE}\n"));
    }
    let Some((cmd, words)) = f.rest.split_first() else { return Err(Failure::usage("no command", USAGE)) };
    let quiet = f.has('q');
    match cmd.as_str() {
        "add" | "change" | "delete" => {
            let d = parse(words)?;
            if cmd != "delete" && d.route.gateway.is_none() && d.route.ifname.is_none() {
                return Err(Failure::usage("a gateway or -interface is needed", USAGE));
            }
            let r = d.route.clone();
            let request = match cmd.as_str() {
                "add" => Request::AddRoute(r),
                "change" => Request::ChangeRoute(r),
                _ => Request::DelRoute(r),
            };
            ask(s, &d.text, &request)?;
            if quiet { Ok(0) } else { print(&format!("{cmd} {}\n", d.text)) }
        }
        "get" => {
            let [w] = words else { return Err(Failure::usage("get needs one destination", USAGE)) };
            let dst = addr::parse(w).ok_or_else(|| Failure::new(format!("{w}: bad value")))?;
            match ask(s, w, &Request::GetRoute { dst })? {
                Reply::Routes { list, .. } if f.has('J') => print_json(&list),
                Reply::Routes { list, .. } => print(&list.iter().map(|r| got(&dst, r)).collect::<String>()),
                r => Err(odd(&r)),
            }
        }
        "flush" => {
            ask(s, "flush", &Request::FlushRoutes)?;
            Ok(0)
        }
        "show" => {
            let list = all(s)?;
            if f.has('J') { print_json(&list) } else { print(&route_table(&list, None)) }
        }
        "monitor" => Err(Failure::new("monitor: not in this build (it needs routing sockets)")),
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

struct Parsed {
    route: RouteInfo,
    /// `net default: gateway A`, `host H: gateway G`: how BSD confirms.
    text: String,
}

fn parse(words: &[String]) -> Result<Parsed, Failure> {
    let (mut net, mut host, mut v6, mut iface) = (false, false, false, false);
    let mut len: Option<u8> = None;
    let mut flags = rtf::UP | rtf::STATIC;
    let mut plain: Vec<&str> = Vec::new();
    let mut it = words.iter().map(String::as_str);
    while let Some(w) = it.next() {
        let mut value = || it.next().ok_or_else(|| Failure::usage(format!("{w}: value is missing"), USAGE));
        match w {
            "-net" => net = true,
            "-host" => host = true,
            "-inet" => v6 = false,
            "-inet6" => v6 = true,
            "-interface" | "-iface" => iface = true,
            "-reject" => flags |= rtf::REJECT,
            "-blackhole" => flags |= rtf::BLACKHOLE,
            "-static" => {}
            "-netmask" => {
                let v = value()?;
                len = Some(addr::netmask(v).ok_or_else(|| Failure::new(format!("netmask {v}: bad value")))?);
            }
            "-prefixlen" => {
                let v = value()?;
                len = Some(
                    v.parse()
                        .ok()
                        .filter(|n| *n <= if v6 { 128 } else { 32 })
                        .ok_or_else(|| Failure::new(format!("prefixlen {v}: bad value")))?,
                );
            }
            w if w.starts_with('-') && w.len() > 1 => {
                return Err(Failure::usage(format!("{w}: unknown modifier"), USAGE));
            }
            w => plain.push(w),
        }
    }
    let dest = *plain.first().ok_or_else(|| Failure::usage("no destination", USAGE))?;
    if plain.len() > 3 {
        return Err(Failure::usage(format!("{}: too many words", plain[3]), USAGE));
    }
    let (dst, mut prefix_len) = destination(dest, net, host, v6, len)?;
    if let Some(m) = plain.get(2) {
        prefix_len = addr::netmask(m).ok_or_else(|| Failure::new(format!("netmask {m}: bad value")))?;
    }
    let (mut gateway, mut ifname) = (None, None);
    match plain.get(1) {
        Some(g) if iface => ifname = Some((*g).to_string()),
        Some(g) => {
            gateway = Some(addr::parse(g).ok_or_else(|| Failure::new(format!("{g}: bad value")))?);
            flags |= rtf::GATEWAY;
        }
        None => {}
    }
    let is_host = prefix_len == if dst.is_ipv4() { 32 } else { 128 };
    if is_host {
        flags |= rtf::HOST;
    }
    let shown = if prefix_len == 0 { "default".to_string() } else { dest.to_string() };
    let mut text = format!("{} {shown}", if is_host { "host" } else { "net" });
    if let Some(g) = plain.get(1) {
        text += &format!(": gateway {g}");
    }
    let route = RouteInfo {
        dst,
        prefix_len,
        gateway,
        ifname,
        flags,
        mtu: 0,
        refs: 0,
        used: 0,
        src: None,
        ifindex: 0,
        link: None,
        locks: 0,
    };
    Ok(Parsed { route, text })
}

/// BSD's reading of a destination: `default`; with -net missing parts are on the right; without -net or -host
/// an address whose host part (by class) is zero is a network.
fn destination(w: &str, net: bool, host: bool, v6: bool, len: Option<u8>) -> Result<(IpAddr, u8), Failure> {
    if w == "default" {
        let any = if v6 { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
        return Ok((any, 0));
    }
    let bad = || Failure::new(format!("{w}: bad value"));
    let (ip, slash) = match w.split_once('/') {
        Some((ip, l)) => (ip, Some(l.parse::<u8>().map_err(|_| bad())?)),
        None => (w, None),
    };
    let len = slash.or(len);
    if v6 || ip.contains(':') {
        let a: Ipv6Addr = ip.parse().map_err(|_| bad())?;
        let l = len.unwrap_or(128);
        return if l <= 128 { Ok((IpAddr::V6(a), l)) } else { Err(bad()) };
    }
    let netlike = net || slash.is_some();
    let a =
        if netlike { addr::inet_network(ip).or_else(|| addr::inet_aton(ip)) } else { addr::inet_aton(ip) };
    let a = a.ok_or_else(bad)?;
    let class = if a.is_unspecified() { 0 } else { addr::class_prefix(a) };
    let is_net = netlike || (!host && u32::from(a) & !addr::mask_of(class) == 0);
    let l = len.unwrap_or(if is_net { class } else { 32 });
    if l > 32 { Err(bad()) } else { Ok((IpAddr::V4(a), l)) }
}

/// `route get`'s answer.
fn got(dst: &IpAddr, r: &RouteInfo) -> String {
    let mut o = format!("   route to: {dst}\n");
    let d = if r.prefix_len == 0 { "default".into() } else { format!("{}/{}", r.dst, r.prefix_len) };
    o += &format!("destination: {d}\n");
    if let Some(g) = r.gateway {
        o += &format!("    gateway: {g}\n");
    }
    if let Some(src) = r.src {
        o += &format!(" local addr: {src}\n");
    }
    if let Some(i) = &r.ifname {
        o += &format!("  interface: {i}\n");
    }
    let names: Vec<&str> = [
        (rtf::UP, "UP"),
        (rtf::GATEWAY, "GATEWAY"),
        (rtf::HOST, "HOST"),
        (rtf::REJECT, "REJECT"),
        (rtf::BLACKHOLE, "BLACKHOLE"),
        (rtf::STATIC, "STATIC"),
        (rtf::CLONING, "CLONING"),
        (rtf::LLINFO, "LLINFO"),
    ]
    .iter()
    .filter(|f| r.flags & f.0 != 0)
    .map(|f| f.1)
    .collect();
    o += &format!("      flags: <{}>\n", names.join(","));
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
        (f.asked.remove(0), parse(&w[2..]).map(|p| p.text).unwrap_or_default())
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
