//! `netstat -r`, `route show`: the routing table.

use crate::addr::{mask_of, network6, zoned};
use crate::names::Names;
use iopkt_ctl::{RTV_MTU, RouteInfo, rtf};
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};

/// A destination as `netstat -r` writes it: `default`, a host in full, a network with its length and without
/// its trailing zero bytes (`10/8`, `192.168.1/24`).
pub fn destination(r: &RouteInfo, names: &Names) -> String {
    match r.dst {
        IpAddr::V4(a) if r.prefix_len == 0 && a.is_unspecified() => "default".into(),
        IpAddr::V4(a) if r.prefix_len == 32 => names.host(a.into()),
        IpAddr::V4(a) => {
            let o = Ipv4Addr::from(u32::from(a) & mask_of(r.prefix_len)).octets();
            let keep = (usize::from(r.prefix_len).div_ceil(8)).max(1);
            let parts: Vec<String> = o[..keep].iter().map(u8::to_string).collect();
            format!("{}/{}", parts.join("."), r.prefix_len)
        }
        IpAddr::V6(a) if r.prefix_len == 0 && a.is_unspecified() => "default".into(),
        IpAddr::V6(a) => {
            let of = zoned(network6(a, r.prefix_len).into(), r.zone.as_deref().or(r.ifname.as_deref()));
            if r.prefix_len == 128 { of } else { format!("{of}/{}", r.prefix_len) }
        }
    }
}

/// What `netstat -r` was asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look {
    /// 4 or 6, `None` for both.
    pub family: Option<u8>,
    /// A space for each flag that is not set (`route -S`).
    pub spaces: bool,
    /// No entries of link level (-L).
    pub no_link: bool,
    /// Source address, metrics and origin below each route (-v).
    pub verbose: bool,
    /// A column of labels, which no route has here (-T).
    pub tags: bool,
    /// Names of the entries in a column (-A).
    pub addresses: bool,
}

/// The table of both families, or the one asked for.
pub fn route_table(list: &[RouteInfo], family: Option<u8>, names: &Names, spaces: bool) -> String {
    table(list, Look { family, spaces, ..Look::default() }, names)
}

/// The table, with all that may be asked for.
pub fn table(list: &[RouteInfo], look: Look, names: &Names) -> String {
    let mut o = String::from("Routing tables\n");
    for (v, title) in [(4, "Internet"), (6, "Internet6")] {
        let of: Vec<&RouteInfo> = list
            .iter()
            .filter(|r| r.dst.is_ipv4() == (v == 4) && !(look.no_link && r.flags & rtf::LLINFO != 0))
            .collect();
        if look.family.map_or(of.is_empty() && v == 6, |f| f != v) {
            continue;
        }
        let w = if v == 4 { (18, 18) } else { (34, 26) };
        let _ = write!(o, "\n{title}:\n");
        if look.addresses {
            o += "Entry    ";
        }
        let _ = write!(
            o,
            "{:<a$} {:<b$} {:<6} {:>6} {:>8} {:>6}  ",
            "Destination",
            "Gateway",
            "Flags",
            "Refs",
            "Use",
            "Mtu",
            a = w.0,
            b = w.1
        );
        o += if look.tags { "Tag    Interface\n" } else { "Interface\n" };
        for (n, r) in of.iter().enumerate() {
            if look.addresses {
                let _ = write!(o, "{n:<8x} ");
            }
            line(&mut o, r, look, names, w);
        }
    }
    o
}

fn line(o: &mut String, r: &RouteInfo, look: Look, names: &Names, w: (usize, usize)) {
    let flags: String = rtf::LETTERS
        .iter()
        .filter_map(|l| if r.flags & l.0 != 0 { Some(l.1) } else { look.spaces.then_some(' ') })
        .collect();
    let gw = match (r.gateway, r.link) {
        (Some(g @ IpAddr::V6(_)), _) => zoned(g, r.ifname.as_deref()),
        (Some(g), _) => names.host(g),
        (None, Some(mac)) => crate::addr::mac(&mac),
        (None, None) => format!("link#{}", r.ifindex),
    };
    let mtu = if r.mtu == 0 { "-".to_string() } else { r.mtu.to_string() };
    // NetBSD's mark of a metric that the network may not change.
    let lock = if r.locks & RTV_MTU != 0 { 'L' } else { ' ' };
    let name = r.ifname.as_deref().unwrap_or("");
    let tag = if look.tags { "-      " } else { "" };
    let text = format!(
        "{:<a$} {gw:<b$} {flags:<6} {:>6} {:>8} {mtu:>6}{lock} {tag}{name}",
        destination(r, names),
        r.refs,
        r.used,
        a = w.0,
        b = w.1
    );
    let _ = writeln!(o, "{}", text.trim_end());
    if look.verbose {
        let src = r.src.map_or_else(|| "-".into(), |s| s.to_string());
        let names: Vec<&str> = rtf::NAMES.iter().filter(|f| r.flags & f.0 != 0).map(|f| f.1).collect();
        let _ = writeln!(o, "\tsource {src}, interface {}, flags <{}>", r.ifindex, names.join(","));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(dst: &str, len: u8, gw: Option<&str>, flags: u32) -> RouteInfo {
        RouteInfo {
            gateway: gw.map(|g| g.parse().expect("address")),
            ifname: Some("ecm0".into()),
            flags,
            refs: 1,
            used: 12,
            ifindex: 2,
            ..RouteInfo::to(dst.parse().expect("address"), len)
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
        let t = route_table(&l, None, &Names::new(true), false);
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
    fn zones_are_those_of_the_destination() {
        let names = Names::new(true);
        let mut own = route("fe80::ff:fe00:1", 128, None, rtf::UP | rtf::HOST);
        (own.ifname, own.zone) = (Some("lo0".into()), Some("ecm0".into()));
        assert_eq!(destination(&own, &names), "fe80::ff:fe00:1%ecm0");
        assert_eq!(destination(&route("fe80::", 64, None, rtf::UP), &names), "fe80::%ecm0/64");
        assert_eq!(destination(&route("2001:db8::5", 32, None, rtf::UP), &names), "2001:db8::/32");
        assert_eq!(destination(&route("::", 0, Some("fe80::1"), rtf::UP), &names), "default");
        let t =
            route_table(&[route("::", 0, Some("fe80::1"), rtf::UP | rtf::GATEWAY)], Some(6), &names, false);
        assert!(t.contains("fe80::1%ecm0") && t.starts_with("Routing tables\n\nInternet6:\n"), "{t}");
    }

    #[test]
    fn what_more_may_be_asked_for() {
        let names = Names::new(true);
        let mut l = [
            route("10.0.0.0", 8, None, rtf::UP),
            route("10.0.0.9", 32, None, rtf::UP | rtf::HOST | rtf::LLINFO),
        ];
        (l[0].mtu, l[0].locks) = (1280, RTV_MTU);
        let look = Look {
            no_link: true,
            verbose: true,
            tags: true,
            addresses: true,
            spaces: true,
            ..Look::default()
        };
        let t = table(&l, look, &names);
        assert!(t.contains("Tag    Interface") && t.contains("Entry") && t.contains("1280L"), "{t}");
        assert!(t.contains("\tsource -, interface 2, flags <UP>") && !t.contains("10.0.0.9"), "{t}");
        let t = table(&l, Look { family: Some(6), ..Look::default() }, &names);
        assert!(t.contains("Internet6:") && !t.contains("Internet:"), "{t}");
    }
}
