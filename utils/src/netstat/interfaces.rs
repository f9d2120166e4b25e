//! `netstat -i`, `-I`, `-w`: interfaces and what passed them.

use super::routes::destination;
use crate::addr::zoned;
use crate::names::Names;
use iopkt_ctl::{GroupInfo, IfCounters, Ifconf, RouteInfo};
use std::fmt::Write;
use std::net::IpAddr;

/// Lines between two headings of `-w`.
const SCREEN: usize = 21;

/// Which columns.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look {
    /// Bytes instead of packets (-b).
    pub bytes: bool,
    /// Dropped packets (-d).
    pub drops: bool,
}

/// `netstat -i`; `groups` (with -a): multicast addresses too.
pub fn table(list: &[Ifconf], groups: &[GroupInfo], look: Look, names: &Names) -> String {
    let (a, b) = if look.bytes { ("Ibytes", "Obytes") } else { ("Ipkts", "Opkts") };
    let drops = if look.drops { "  Drops" } else { "" };
    let mut o = format!(
        "{:<6} {:<6} {:<14} {:<20} {a:>10} {:>6} {b:>10} {:>6} {:>6}{drops}\n",
        "Name", "Mtu", "Network", "Address", "Ierrs", "Oerrs", "Colls"
    );
    for i in list {
        let c = &i.counters;
        let (rx, tx) = if look.bytes { (c.ibytes, c.obytes) } else { (c.ipackets, c.opackets) };
        let mut row = |net: &str, addr: &str| {
            let _ = write!(
                o,
                "{:<6} {:<6} {net:<14} {addr:<20} {rx:>10} {:>6} {tx:>10} {:>6} {:>6}",
                i.name, i.mtu, c.ierrors, c.oerrors, c.collisions
            );
            if look.drops {
                let _ = write!(o, " {:>6}", c.iqdrops + c.oqdrops);
            }
            o.push('\n');
        };
        row("<Link>", &if i.mac == [0; 6] { String::new() } else { crate::addr::mac(&i.mac) });
        for ad in &i.addrs {
            let mut r = RouteInfo::to(ad.addr, ad.prefix_len);
            r.zone = Some(i.name.clone());
            row(&destination(&r, names), &names.zoned(ad.addr, Some(&i.name)));
        }
        for g in groups.iter().filter(|g| g.ifname == i.name) {
            let _ = writeln!(o, "{:<28} {:<19} (refs: {})", "", zoned(g.group, Some(&i.name)), g.refs);
        }
    }
    o
}

/// `netstat -g`: the groups that interfaces listen to, and of which sources (by IGMP and MLD).
pub fn groups(list: &[GroupInfo]) -> String {
    let mut o = String::from("Multicast groups\n");
    let _ = writeln!(o, "{:<10} {:>6} Group", "Interface", "Refs");
    for g in list {
        let group = zoned(g.group, Some(&g.ifname));
        let _ = write!(o, "{:<10} {:>6} {group}", g.ifname, g.refs);
        if !g.exclude || !g.sources.is_empty() {
            let sources: Vec<String> = g.sources.iter().map(IpAddr::to_string).collect();
            let _ =
                write!(o, " {} {{{}}}", if g.exclude { "exclude" } else { "include" }, sources.join(", "));
        }
        o.push('\n');
    }
    o
}

/// `netstat -w`: a line for each interval, the interface (or the busiest) beside the total.
#[derive(Debug, Default)]
pub struct Sideways {
    last: (IfCounters, IfCounters),
    lines: usize,
}

impl Sideways {
    /// The next line, with a heading when it is time for one. The first line counts from the start of the stack.
    pub fn line(&mut self, list: &[Ifconf], name: Option<&str>, look: Look) -> String {
        let mut total = IfCounters::default();
        for i in list {
            add(&mut total, &i.counters);
        }
        let busiest = || list.iter().max_by_key(|i| i.counters.ipackets + i.counters.opackets);
        let of = match name {
            Some(n) => list.iter().find(|i| i.name == n || i.alias.as_deref() == Some(n)),
            None => busiest(),
        };
        let (shown, one) = of.map_or(("-", IfCounters::default()), |i| (i.name.as_str(), i.counters));
        let mut o = String::new();
        if self.lines.is_multiple_of(SCREEN) {
            heading(&mut o, shown, look);
        }
        self.lines += 1;
        for (now, last) in [(one, self.last.0), (total, self.last.1)] {
            numbers(&mut o, &since(&now, &last), look);
        }
        self.last = (one, total);
        o.trim_end().to_string() + "\n"
    }
}

fn heading(o: &mut String, name: &str, look: Look) {
    for n in [name, "total"] {
        let _ = write!(o, "{n:>7.7} in {:8} {n:>6.6} out {:5}  ", "", "");
    }
    *o = o.trim_end().to_string() + "\n";
    let what = if look.bytes { "bytes" } else { "packets" };
    for _ in 0..2 {
        let _ = write!(o, "{what:>8.8} {:>5.5} {what:>8.8} {:>5.5} {:>5.5} ", "errs", "errs", "colls");
        if look.drops {
            o.push_str("drops ");
        }
        o.push(' ');
    }
    *o = o.trim_end().to_string() + "\n";
}

fn numbers(o: &mut String, c: &IfCounters, look: Look) {
    let (rx, tx) = if look.bytes { (c.ibytes, c.obytes) } else { (c.ipackets, c.opackets) };
    let _ = write!(o, "{rx:>8} {:>5} {tx:>8} {:>5} {:>5} ", c.ierrors, c.oerrors, c.collisions);
    if look.drops {
        let _ = write!(o, "{:>5} ", c.iqdrops + c.oqdrops);
    }
    o.push(' ');
}

fn each(a: &mut IfCounters, b: &IfCounters, f: impl Fn(u64, u64) -> u64) {
    for (x, y) in [
        (&mut a.ipackets, b.ipackets),
        (&mut a.ibytes, b.ibytes),
        (&mut a.ierrors, b.ierrors),
        (&mut a.iqdrops, b.iqdrops),
        (&mut a.opackets, b.opackets),
        (&mut a.obytes, b.obytes),
        (&mut a.oerrors, b.oerrors),
        (&mut a.oqdrops, b.oqdrops),
        (&mut a.collisions, b.collisions),
    ] {
        *x = f(*x, y);
    }
}

fn add(a: &mut IfCounters, b: &IfCounters) {
    each(a, b, u64::wrapping_add);
}

/// What was counted since; counters that were zeroed meanwhile begin anew.
fn since(now: &IfCounters, last: &IfCounters) -> IfCounters {
    let mut d = *now;
    each(&mut d, last, |x, y| if x >= y { x - y } else { x });
    d
}

#[cfg(test)]
mod tests {
    use super::*;
    use iopkt_ctl::{AddrInfo, AddrState, IfKind, LinkState};

    fn ifc(name: &str, ipackets: u64) -> Ifconf {
        Ifconf {
            name: name.into(),
            alias: None,
            index: 2,
            kind: IfKind::Ethernet,
            flags: 0,
            mtu: 1500,
            metric: 0,
            caps_rx: 0,
            caps_tx: 0,
            enabled_rx: 0,
            enabled_tx: 0,
            mac: [2, 0, 0, 0, 0, 1],
            link: LinkState::Up,
            speed_rx: 0,
            speed_tx: 0,
            media: true,
            media_words: Default::default(),
            media_now: Default::default(),
            full_duplex: true,
            driver: "ecm".into(),
            addrs: vec![AddrInfo {
                addr: "10.0.0.5".parse().expect("address"),
                prefix_len: 24,
                broadcast: None,
                peer: None,
                state: AddrState::Valid,
            }],
            lives: Vec::new(),
            counters: IfCounters { ipackets, ibytes: ipackets * 100, iqdrops: 3, ..IfCounters::default() },
        }
    }

    #[test]
    fn a_line_for_the_link_and_one_for_each_address() {
        let names = Names::new(true);
        let t = table(&[ifc("ecm0", 7)], &[], Look::default(), &names);
        let l: Vec<Vec<&str>> = t.lines().map(|l| l.split_whitespace().collect()).collect();
        assert_eq!(l[0], ["Name", "Mtu", "Network", "Address", "Ipkts", "Ierrs", "Opkts", "Oerrs", "Colls"]);
        assert_eq!(l[1], ["ecm0", "1500", "<Link>", "02:00:00:00:00:01", "7", "0", "0", "0", "0"]);
        assert_eq!(l[2], ["ecm0", "1500", "10.0.0/24", "10.0.0.5", "7", "0", "0", "0", "0"]);
        let g = GroupInfo {
            ifname: "ecm0".into(),
            group: "224.0.0.1".parse().expect("address"),
            refs: 1,
            exclude: true,
            sources: vec![],
        };
        let t = table(&[ifc("ecm0", 7)], std::slice::from_ref(&g), Look { bytes: true, drops: true }, &names);
        assert!(
            t.contains("Ibytes") && t.contains("Drops") && t.contains("700") && t.contains("224.0.0.1"),
            "{t}"
        );
        assert_eq!(groups(&[g]), "Multicast groups\nInterface    Refs Group\necm0            1 224.0.0.1\n");
    }

    #[test]
    fn rows_of_ipv6_have_their_zones() {
        let names = Names::new(true);
        let mut i = ifc("ecm0", 7);
        i.addrs[0] = AddrInfo { addr: "fe80::1".parse().expect("address"), prefix_len: 64, ..i.addrs[0] };
        let g = GroupInfo {
            ifname: "ecm0".into(),
            group: "ff02::fb".parse().expect("address"),
            refs: 2,
            exclude: false,
            sources: vec!["2001:db8::1".parse().expect("address")],
        };
        let t = table(&[i], std::slice::from_ref(&g), Look::default(), &names);
        assert!(
            t.contains(" fe80::%ecm0/64 fe80::1%ecm0 ") && t.contains(" ff02::fb%ecm0       (refs: 2)\n"),
            "{t}"
        );
        assert_eq!(
            groups(&[g]),
            "Multicast groups\nInterface    Refs Group\necm0            2 ff02::fb%ecm0 include {2001:db8::1}\n"
        );
    }

    #[test]
    fn intervals_count_what_is_new() {
        let mut s = Sideways::default();
        let first = s.line(&[ifc("ecm0", 7), ifc("lo0", 1)], None, Look::default());
        let l: Vec<Vec<&str>> = first.lines().map(|l| l.split_whitespace().collect()).collect();
        assert_eq!(l[0], ["ecm0", "in", "ecm0", "out", "total", "in", "total", "out"]);
        assert_eq!(l[1][..5], ["packets", "errs", "packets", "errs", "colls"]);
        assert_eq!((l[2][0], l[2][5]), ("7", "8"));
        let next = s.line(&[ifc("ecm0", 17), ifc("lo0", 1)], Some("ecm0"), Look::default());
        assert_eq!(next.split_whitespace().collect::<Vec<_>>()[0], "10");
        // Zeroed meanwhile.
        let next = s.line(&[ifc("ecm0", 2), ifc("lo0", 1)], Some("ecm0"), Look::default());
        assert!(next.trim_start().starts_with("2 "), "{next}");
        for _ in 3..SCREEN {
            s.line(&[ifc("ecm0", 2)], None, Look::default());
        }
        assert!(s.line(&[ifc("ecm0", 2)], None, Look { drops: true, ..Look::default() }).contains("drops"));
    }
}
