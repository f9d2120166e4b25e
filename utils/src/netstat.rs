//! `netstat`: routes, interfaces, sockets, counters, in BSD's layout.

use crate::addr::mask_of;
use crate::getopt;
use crate::tool::{Failure, Outcome, Stack, ask, pages, print, print_json};
use iopkt_ctl::{Ifconf, ProtoStats, Reply, Request, RouteInfo, SockInfo, rtf};
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Usage, as `--help` prints it.
pub const USAGE: &str = "usage: netstat [-an] [-f family] [--json]        sockets
       netstat -r [-n] [-f family] [--json]     routing table
       netstat -i [-n] [-b] [--json]            interfaces
       netstat -s [-p protocol] [--json]        counters
       netstat -m [--json]                      packet memory
families: inet inet6.  SOCK=/prefix selects the stack.";

/// Runs the tool.
///
/// # Errors
/// Usage, no stack.
pub fn run(s: &mut dyn Stack, args: &[String]) -> Outcome {
    let f = getopt::parse("Aabdgf:F:iI:LmnP:p:rsTvw:", args).map_err(|e| Failure::usage(e, USAGE))?;
    if f.has('?') {
        return print(&format!("{USAGE}\n"));
    }
    for c in ['A', 'd', 'g', 'F', 'L', 'P', 'T', 'w'] {
        if f.has(c) {
            return Err(Failure::new(format!("-{c}: not in this build")));
        }
    }
    if let Some(w) = f.rest.first() {
        return Err(Failure::usage(format!("{w}: not expected"), USAGE));
    }
    let family = match f.value('f') {
        None => None,
        Some("inet") => Some(4),
        Some("inet6") => Some(6),
        Some(o) => return Err(Failure::new(format!("{o}: unknown address family"))),
    };
    let json = f.has('J');
    if f.has('r') {
        let l = crate::route::all(s)?;
        return if json { print_json(&l) } else { print(&route_table(&l, family)) };
    }
    if f.has('i') || f.has('I') {
        let name = f.value('I').map(str::to_string);
        let Reply::Interfaces(l) =
            ask(s, name.clone().as_deref().unwrap_or("interfaces"), &Request::Interfaces { name })?
        else {
            return Err(Failure::new("unexpected answer"));
        };
        return if json { print_json(&l) } else { print(&interface_table(&l, f.has('b'))) };
    }
    if f.has('s') || f.has('m') {
        let Reply::Stats(st) = ask(s, "statistics", &Request::Stats)? else {
            return Err(Failure::new("unexpected answer"));
        };
        let only = if f.has('m') { Some("mbuf") } else { f.value('p') };
        let st = match only {
            Some(p) => ProtoStats { counters: st.counters.into_iter().filter(|c| c.group == p).collect() },
            None => st,
        };
        if let Some(p) = only.filter(|_| st.counters.is_empty()) {
            return Err(Failure::new(format!("{p}: unknown or uninstrumented protocol")));
        }
        return if json { print_json(&st) } else { print(&stats(&st)) };
    }
    let mut l = sockets(s)?;
    l.retain(|k| family.is_none_or(|v| v == k.family) && f.value('p').is_none_or(|p| p == k.proto));
    if !f.has('a') {
        l.retain(|k| k.state != "LISTEN" && (k.proto == "tcp" || k.remote.is_some()));
    }
    if json { print_json(&l) } else { print(&socket_table(&l, f.has('a'))) }
}

fn sockets(s: &mut dyn Stack) -> Result<Vec<SockInfo>, Failure> {
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

/// A destination as `netstat -r` writes it: `default`, a host in full, a network with its length and without
/// its trailing zero bytes (`10/8`, `192.168.1/24`).
fn destination(r: &RouteInfo) -> String {
    match r.dst {
        IpAddr::V4(a) if r.prefix_len == 0 && a.is_unspecified() => "default".into(),
        IpAddr::V4(a) if r.prefix_len == 32 => a.to_string(),
        IpAddr::V4(a) => {
            let o = Ipv4Addr::from(u32::from(a) & mask_of(r.prefix_len)).octets();
            let keep = (usize::from(r.prefix_len).div_ceil(8)).max(1);
            let parts: Vec<String> = o[..keep].iter().map(u8::to_string).collect();
            format!("{}/{}", parts.join("."), r.prefix_len)
        }
        IpAddr::V6(a) if r.prefix_len == 0 && a.is_unspecified() => "default".into(),
        IpAddr::V6(a) if r.prefix_len == 128 => a.to_string(),
        IpAddr::V6(a) => format!("{a}/{}", r.prefix_len),
    }
}

/// `netstat -r`: both families, or the one asked for.
pub fn route_table(list: &[RouteInfo], family: Option<u8>) -> String {
    let mut o = String::from("Routing tables\n");
    for (v, title) in [(4, "Internet"), (6, "Internet6")] {
        let of: Vec<&RouteInfo> = list.iter().filter(|r| r.dst.is_ipv4() == (v == 4)).collect();
        if family.map_or(of.is_empty() && v == 6, |f| f != v) {
            continue;
        }
        let w = if v == 4 { (18, 18) } else { (34, 26) };
        let _ = writeln!(o, "\n{title}:");
        let _ = writeln!(
            o,
            "{:<a$} {:<b$} {:<6} {:>6} {:>8} {:>6}  Interface",
            "Destination",
            "Gateway",
            "Flags",
            "Refs",
            "Use",
            "Mtu",
            a = w.0,
            b = w.1
        );
        for r in of {
            let flags: String = rtf::LETTERS.iter().filter(|l| r.flags & l.0 != 0).map(|l| l.1).collect();
            let name = r.ifname.clone().unwrap_or_default();
            let gw = match (r.gateway, r.link) {
                (Some(g), _) => g.to_string(),
                (None, Some(mac)) => crate::addr::mac(&mac),
                (None, None) => format!("link#{}", r.ifindex),
            };
            let mtu = if r.mtu == 0 { "-".to_string() } else { r.mtu.to_string() };
            let _ = writeln!(
                o,
                "{:<a$} {gw:<b$} {flags:<6} {:>6} {:>8} {mtu:>6}  {name}",
                destination(r),
                r.refs,
                r.used,
                a = w.0,
                b = w.1
            );
        }
    }
    o
}

/// `netstat -i`; with `-b` bytes instead of packets.
fn interface_table(list: &[Ifconf], bytes: bool) -> String {
    let (a, b) = if bytes { ("Ibytes", "Obytes") } else { ("Ipkts", "Opkts") };
    let mut o = format!(
        "{:<6} {:<6} {:<14} {:<20} {a:>10} {:>6} {b:>10} {:>6} {:>6}\n",
        "Name", "Mtu", "Network", "Address", "Ierrs", "Oerrs", "Colls"
    );
    for i in list {
        let c = &i.counters;
        let (rx, tx) = if bytes { (c.ibytes, c.obytes) } else { (c.ipackets, c.opackets) };
        let mut row = |net: &str, addr: &str| {
            let _ = writeln!(
                o,
                "{:<6} {:<6} {net:<14} {addr:<20} {rx:>10} {:>6} {tx:>10} {:>6} {:>6}",
                i.name, i.mtu, c.ierrors, c.oerrors, c.collisions
            );
        };
        row("<Link>", &if i.mac == [0; 6] { String::new() } else { crate::addr::mac(&i.mac) });
        for ad in &i.addrs {
            let r = RouteInfo {
                dst: ad.addr,
                prefix_len: ad.prefix_len,
                gateway: None,
                ifname: None,
                flags: 0,
                mtu: 0,
                refs: 0,
                used: 0,
                src: None,
                ifindex: 0,
                link: None,
                locks: 0,
            };
            row(&destination(&r), &ad.addr.to_string());
        }
    }
    o
}

/// `10.0.0.5.22`, `*.22`, `*.*`: the port follows the address after a dot.
fn endpoint(a: Option<SocketAddr>) -> String {
    let Some(a) = a else { return "*.*".into() };
    let host = if a.ip().is_unspecified() { "*".to_string() } else { a.ip().to_string() };
    if a.port() == 0 { format!("{host}.*") } else { format!("{host}.{}", a.port()) }
}

fn socket_table(list: &[SockInfo], all: bool) -> String {
    let mut o = format!("Active Internet connections{}\n", if all { " (including servers)" } else { "" });
    let _ = writeln!(
        o,
        "{:<5} {:>6} {:>6}  {:<22} {:<22} State",
        "Proto", "Recv-Q", "Send-Q", "Local Address", "Foreign Address"
    );
    for s in list {
        let proto = if s.family == 6 { format!("{}6", s.proto) } else { s.proto.clone() };
        let line = format!(
            "{proto:<5} {:>6} {:>6}  {:<22} {:<22} {}",
            s.recv_q,
            s.send_q,
            endpoint(Some(s.local)),
            endpoint(s.remote),
            s.state
        );
        let _ = writeln!(o, "{}", line.trim_end());
    }
    o
}

/// `netstat -s`: a title per protocol, an indented line per counter; a histogram (counters whose text begins
/// `... histogram: `) is a title of its own with a line per kind that occurred, as BSD has it.
fn stats(st: &ProtoStats) -> String {
    let mut groups: Vec<&str> = Vec::new();
    for c in &st.counters {
        if !groups.contains(&c.group.as_str()) {
            groups.push(&c.group);
        }
    }
    let mut o = String::new();
    for group in groups {
        let _ = writeln!(o, "{group}:");
        let mut histogram = "";
        for c in st.counters.iter().filter(|c| c.group == group) {
            let (title, text) = c.text.split_once(" histogram: ").unwrap_or(("", &c.text));
            if title != histogram {
                histogram = title;
                if !title.is_empty() {
                    let _ = writeln!(o, "\t{} histogram:", capital(title));
                }
            }
            if title.is_empty() {
                let text = if c.value == 1 {
                    text.replace("packets", "packet").replace("datagrams", "datagram")
                } else {
                    text.to_string()
                };
                let _ = writeln!(o, "\t{}", text.replacen("{}", &c.value.to_string(), 1));
            } else {
                let _ = writeln!(o, "\t\t{}", text.replacen("{}", &c.value.to_string(), 1));
            }
        }
    }
    o
}

/// The first letter made a capital.
fn capital(s: &str) -> String {
    let mut c = s.chars();
    c.next().map_or_else(String::new, |f| f.to_uppercase().chain(c).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use iopkt_ctl::Counter;

    fn route(dst: &str, len: u8, gw: Option<&str>, flags: u32) -> RouteInfo {
        RouteInfo {
            dst: dst.parse().expect("address"),
            prefix_len: len,
            gateway: gw.map(|g| g.parse().expect("address")),
            ifname: Some("ecm0".into()),
            flags,
            mtu: 0,
            refs: 1,
            used: 12,
            src: None,
            ifindex: 2,
            link: None,
            locks: 0,
        }
    }

    #[test]
    fn the_routing_table_in_bsd_layout() {
        let l = [
            route("0.0.0.0", 0, Some("10.0.0.1"), rtf::UP | rtf::GATEWAY | rtf::STATIC),
            route("10.0.0.0", 8, None, rtf::UP | rtf::CLONING),
            route("192.168.1.0", 24, Some("10.0.0.2"), rtf::UP | rtf::GATEWAY),
            route("10.0.0.9", 32, None, rtf::UP | rtf::HOST),
        ];
        let t = route_table(&l, None);
        let lines: Vec<&str> = t.lines().collect();
        assert_eq!(lines[0], "Routing tables");
        assert_eq!(lines[1..3], ["", "Internet:"]);
        assert_eq!(
            lines[3].split_whitespace().collect::<Vec<_>>(),
            ["Destination", "Gateway", "Flags", "Refs", "Use", "Mtu", "Interface"]
        );
        let words = |i: usize| lines[i].split_whitespace().collect::<Vec<_>>();
        assert_eq!(words(4), ["default", "10.0.0.1", "UGS", "1", "12", "-", "ecm0"]);
        assert_eq!(words(5)[..3], ["10/8", "link#2", "UC"]);
        assert_eq!(words(6)[0], "192.168.1/24");
        assert_eq!(words(7)[0], "10.0.0.9");
        assert!(!t.contains("Internet6"));
    }

    #[test]
    fn sockets_show_ports_after_dots() {
        let l = [SockInfo {
            proto: "tcp".into(),
            family: 4,
            recv_q: 0,
            send_q: 5,
            local: "10.0.0.5:22".parse().expect("address"),
            remote: "10.0.0.1:5000".parse().ok(),
            state: "ESTABLISHED".into(),
            pid: 1,
        }];
        let t = socket_table(&l, true);
        assert!(t.starts_with(
            "Active Internet connections (including servers)\nProto Recv-Q Send-Q  Local Address"
        ));
        assert!(t.contains("10.0.0.5.22 ") && t.contains("10.0.0.1.5000 ") && t.ends_with("ESTABLISHED\n"));
        assert_eq!(endpoint("0.0.0.0:80".parse().ok()), "*.80");
        assert_eq!(endpoint(None), "*.*");
    }

    #[test]
    fn counters_read_like_sentences() {
        let c = |g: &str, t: &str, v| Counter { group: g.into(), text: t.into(), value: v };
        let st = ProtoStats {
            counters: vec![c("ip", "{} packets received", 2), c("udp", "{} datagrams received", 1)],
        };
        assert_eq!(stats(&st), "ip:\n\t2 packets received\nudp:\n\t1 datagram received\n");
    }

    #[test]
    fn histograms_stand_in_their_protocols_block() {
        let c = |g: &str, t: &str, v| Counter { group: g.into(), text: t.into(), value: v };
        let st = ProtoStats {
            counters: vec![
                c("icmp", "{} bad checksums", 3),
                c("igmp", "{} messages received", 0),
                c("icmp", "output histogram: echo reply: {}", 2),
                c("icmp", "input histogram: echo: {}", 2),
                c("icmp", "input histogram: redirect: {}", 1),
            ],
        };
        assert_eq!(
            stats(&st),
            "icmp:\n\t3 bad checksums\n\tOutput histogram:\n\t\techo reply: 2\n\tInput histogram:\n\t\techo: 2\n\
             \t\tredirect: 1\nigmp:\n\t0 messages received\n"
        );
    }
}
