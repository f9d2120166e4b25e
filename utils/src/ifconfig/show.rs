//! `ifconfig`'s listing, byte for byte as BSD and QNX print it.

use super::media;
use crate::addr::{mac, mask_of};
use iopkt_ctl::{AddrInfo, AddrState, IFCAP_NAMES, IfCounters, Ifconf, LinkState, iff, in6};
use std::fmt::Write;
use std::net::IpAddr;

/// What to add to the plain listing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extra {
    /// -v, -z: counters.
    pub counters: bool,
    /// -h: byte counts for people.
    pub human: bool,
    /// -m: supported media.
    pub media: bool,
    /// -L: lifetimes of inet6 addresses.
    pub lifetimes: bool,
    /// inet addresses.
    pub inet: bool,
    /// inet6 addresses.
    pub inet6: bool,
    /// The link-level address.
    pub link: bool,
}

/// `flags=8843<UP,BROADCAST,...>`: hexadecimal value and names of the bits.
pub fn bits(value: u32, names: &[(u32, &str)]) -> String {
    let list: Vec<&str> = names.iter().filter(|n| value & n.0 != 0).map(|n| n.1).collect();
    if list.is_empty() { format!("{value:x}") } else { format!("{value:x}<{}>", list.join(",")) }
}

/// The block of one interface, ended by a newline.
pub fn block(i: &Ifconf, x: Extra) -> String {
    let mut o = format!("{}: flags={}", i.name, bits(i.flags, iff::NAMES));
    if i.metric != 0 {
        let _ = write!(o, " metric {}", i.metric);
    }
    let _ = writeln!(o, " mtu {}", i.mtu);
    if i.caps_rx | i.caps_tx != 0 {
        let _ = writeln!(o, "\tcapabilities rx={}", bits(i.caps_rx, IFCAP_NAMES));
        let _ = writeln!(o, "\tcapabilities tx={}", bits(i.caps_tx, IFCAP_NAMES));
        if i.enabled_rx | i.enabled_tx == 0 {
            o.push_str("\tenabled=0\n");
        } else {
            let _ = writeln!(o, "\tenabled rx={}", bits(i.enabled_rx, IFCAP_NAMES));
            let _ = writeln!(o, "\tenabled tx={}", bits(i.enabled_tx, IFCAP_NAMES));
        }
    }
    if x.link && i.mac != [0; 6] {
        let _ = writeln!(o, "\taddress: {}", mac(&i.mac));
    }
    if i.media {
        let _ = writeln!(o, "\tmedia: {}", media_line(i));
        if let Some(s) = status(i) {
            let _ = writeln!(o, "\tstatus: {s}");
        }
        if x.media {
            o.push_str("\tsupported Ethernet media:\n");
            for w in media::words(i) {
                let _ = writeln!(o, "\t\t{}", media::selection(w));
            }
        }
    }
    for family in [4, 6] {
        let wanted = if family == 4 { x.inet } else { x.inet6 };
        let mine = i.addrs.iter().filter(|a| a.addr.is_ipv4() == (family == 4));
        for (n, a) in mine.enumerate().filter(|_| wanted) {
            o.push_str(&address(i, a, n > 0, x.lifetimes));
        }
    }
    if x.counters {
        counters(&mut o, &i.counters, x.human);
    }
    o
}

/// `Ethernet autoselect (1000baseT full-duplex)`: what is selected, and what is active where that differs.
fn media_line(i: &Ifconf) -> String {
    let selected = media::name(media::now(i));
    match media::active(i) {
        Some(a) if a != selected => format!("Ethernet {selected} ({a})"),
        _ => format!("Ethernet {selected}"),
    }
}

/// The status: line's word; `None` when the driver cannot tell.
pub fn status(i: &Ifconf) -> Option<&'static str> {
    match i.link {
        LinkState::Up => Some("active"),
        LinkState::Down => Some("no carrier"),
        LinkState::Unknown => None,
    }
}

fn address(i: &Ifconf, a: &AddrInfo, alias: bool, lifetimes: bool) -> String {
    let mut o = String::new();
    match a.addr {
        IpAddr::V4(ip) => {
            let _ = write!(o, "\tinet {}{ip}", if alias { "alias " } else { "" });
            if let Some(p) = a.peer {
                let _ = write!(o, " -> {p}");
            }
            let _ = write!(o, " netmask 0x{:08x}", mask_of(a.prefix_len));
            if let Some(b) = a.broadcast.filter(|_| i.flags & iff::BROADCAST != 0) {
                let _ = write!(o, " broadcast {b}");
            }
        }
        IpAddr::V6(ip) => {
            let scoped = ip.segments()[0] & 0xffc0 == 0xfe80;
            let zone = if scoped { format!("%{}", i.name) } else { String::new() };
            let _ = write!(o, "\tinet6 {ip}{zone} prefixlen {}", a.prefix_len);
            if let Some(p) = a.peer {
                let _ = write!(o, " -> {p}");
            }
            for word in words(i, a) {
                let _ = write!(o, " {word}");
            }
            if scoped {
                let _ = write!(o, " scopeid 0x{:x}", i.index);
            }
            if let Some(l) = i.life(&a.addr).filter(|_| lifetimes) {
                let _ = write!(o, " pltime {} vltime {}", seconds(l.preferred), seconds(l.valid));
            }
        }
    }
    o.push('\n');
    o
}

/// What is special about an address, in ifconfig's words.
pub fn words(i: &Ifconf, a: &AddrInfo) -> Vec<&'static str> {
    let state = match a.state {
        AddrState::Valid => 0,
        AddrState::Tentative => in6::TENTATIVE,
        AddrState::Duplicated => in6::DUPLICATED,
    };
    let flags = i.life(&a.addr).map_or(state, |l| l.flags);
    in6::NAMES.iter().filter(|n| flags & n.0 != 0).map(|n| n.1).collect()
}

fn seconds(s: Option<u32>) -> String {
    s.map_or_else(|| "infty".into(), |s| s.to_string())
}

fn plural(n: u64, one: &str) -> String {
    format!("{n} {one}{}", if n == 1 { "" } else { "s" })
}

/// Bytes as they are, or (-h) as humanize_number(3) has them: `3.0M bytes`.
fn bytes(n: u64, human: bool) -> String {
    if !human || n < 1024 {
        return plural(n, "byte");
    }
    let (mut v, mut unit) = (n as f64 / 1024.0, 0);
    while v >= 1023.5 && unit < 5 {
        v /= 1024.0;
        unit += 1;
    }
    let digits = usize::from(v < 9.95);
    format!("{v:.digits$}{} bytes", ["K", "M", "G", "T", "P", "E"][unit])
}

fn counters(o: &mut String, c: &IfCounters, human: bool) {
    let _ = write!(o, "\tinput: {}, {}", plural(c.ipackets, "packet"), bytes(c.ibytes, human));
    for (n, what) in [(c.imcasts, "multicast"), (c.ierrors, "error"), (c.iqdrops, "queue drop")] {
        if n > 0 {
            let _ = write!(o, ", {}", plural(n, what));
        }
    }
    if c.noproto > 0 {
        let _ = write!(o, ", {} unknown protocol", c.noproto);
    }
    let _ = write!(o, "\n\toutput: {}, {}", plural(c.opackets, "packet"), bytes(c.obytes, human));
    for (n, what) in [(c.omcasts, "multicast"), (c.oerrors, "error"), (c.collisions, "collision")] {
        if n > 0 {
            let _ = write!(o, ", {}", plural(n, what));
        }
    }
    o.push('\n');
}

/// Whether `-b -d -u -s` let the interface through.
pub fn passes(i: &Ifconf, flags: &crate::getopt::Parsed) -> bool {
    let up = i.flags & iff::UP != 0;
    (!flags.has('b') || i.flags & iff::BROADCAST != 0)
        && (!flags.has('d') || !up)
        && (!flags.has('u') || up)
        && (!flags.has('s') || i.link != LinkState::Down)
}

#[cfg(test)]
mod tests {
    use super::super::tests::wm0;
    use super::*;

    const ALL: Extra = Extra {
        counters: false,
        human: false,
        media: false,
        lifetimes: false,
        inet: true,
        inet6: true,
        link: true,
    };

    #[test]
    fn the_documented_ethernet_block() {
        let want = "wm0: flags=8843<UP,BROADCAST,RUNNING,SIMPLEX,MULTICAST> mtu 1500\n\
            \tcapabilities rx=7<IP4CSUM,TCP4CSUM,UDP4CSUM>\n\
            \tcapabilities tx=3f<IP4CSUM,TCP4CSUM,UDP4CSUM,TCP6CSUM,UDP6CSUM,TSO4>\n\
            \tenabled=0\n\
            \taddress: 52:54:00:5d:43:bb\n\
            \tmedia: Ethernet autoselect (1000baseT full-duplex)\n\
            \tstatus: active\n\
            \tinet 192.168.56.101 netmask 0xffffff00 broadcast 192.168.56.255\n\
            \tinet6 fe80::5054:ff:fe5d:43bb%wm0 prefixlen 64 scopeid 0x11\n";
        assert_eq!(block(&wm0(), ALL), want);
    }

    #[test]
    fn the_documented_loopback_block() {
        let mut i = wm0();
        (i.name, i.flags, i.mtu, i.caps_rx, i.caps_tx) = ("lo0".into(), 0x8049, 33192, 0, 0);
        (i.mac, i.media, i.link) = ([0; 6], false, LinkState::Unknown);
        i.addrs = vec![AddrInfo {
            addr: "127.0.0.1".parse().expect("address"),
            prefix_len: 8,
            broadcast: None,
            peer: None,
            state: AddrState::Valid,
        }];
        let want =
            "lo0: flags=8049<UP,LOOPBACK,RUNNING,MULTICAST> mtu 33192\n\tinet 127.0.0.1 netmask 0xff000000\n";
        assert_eq!(block(&i, ALL), want);
    }

    #[test]
    fn what_is_special_about_an_ipv6_address() {
        let mut i = wm0();
        let a = i.addrs.last().expect("an IPv6 address").addr;
        let flags = in6::AUTOCONF | in6::DEPRECATED | in6::TENTATIVE;
        i.lives = vec![iopkt_ctl::AddrLife { addr: a, flags, preferred: Some(0), valid: None }];
        let s = block(&i, Extra { lifetimes: true, ..ALL });
        let want = " prefixlen 64 tentative deprecated autoconf scopeid 0x11 pltime 0 vltime infty\n";
        assert!(s.ends_with(want), "{s}");
        assert!(block(&i, ALL).ends_with(" autoconf scopeid 0x11\n"));
    }

    #[test]
    fn aliases_metric_counters_and_silence() {
        let mut i = wm0();
        i.addrs[1].addr = "10.0.0.1".parse().expect("address");
        i.addrs[1].prefix_len = 8;
        (i.metric, i.link, i.enabled_tx) = (2, LinkState::Down, 1);
        let s = block(&i, Extra { counters: true, ..ALL });
        assert!(s.contains("> metric 2 mtu 1500\n"));
        assert!(s.contains("\tenabled rx=0\n\tenabled tx=1<IP4CSUM>\n"));
        assert!(s.contains("\tmedia: Ethernet autoselect (none)\n\tstatus: no carrier\n"));
        assert!(s.contains("\tinet alias 10.0.0.1 netmask 0xff000000\n"));
        assert!(s.ends_with("\tinput: 1 packet, 60 bytes\n\toutput: 0 packets, 3145728 bytes\n"));
        assert!(block(&i, Extra { counters: true, human: true, ..ALL }).ends_with("0 packets, 3.0M bytes\n"));
        assert!(!block(&i, Extra { inet: false, ..ALL }).contains("inet "));
    }
}
