//! `ndp`: the neighbour cache of IPv6, routers and prefixes, settings of interfaces; in KAME's layout.

use crate::addr;
use crate::getopt::{self, Parsed};
use crate::resolve;
use crate::tool::{Failure, Outcome, Stack, ask, each_line, odd, pages, print, print_json};
use iopkt_ctl::{NdEntry, NdIface, NdPrefix, NdReply, NdRequest, NdRouter, NdState, Reply, Request, nd6};
use std::fmt::Write;
use std::net::Ipv6Addr;

/// Usage, as `--help` prints it.
pub const USAGE: &str = "usage: ndp [-nt] [--json] hostname
       ndp [-nlt] [--json] -a | -A wait
       ndp [-nt] -c | -d hostname [%interface]
       ndp [-n] [--json] -p | -r
       ndp -P | -R | -H
       ndp -f filename
       ndp [--json] -i interface [flag ...]
       ndp -I [interface | delete]
       ndp -s nodename ether_addr [temp] [proxy]
  -a  all neighbours   -A  again every wait seconds   -c  forget what was learnt
  -p  prefixes   -r  default routers   -P, -R  forget them   -H  routes as the list of routers has them
  -i  settings: [-]nud [-]accept_rtadv [-]prefer_source [-]disabled [-]auto_linklocal [-]override_rtadv
      basereachable=ms (behind -- where the first begins with a dash)
  -I  everybody is taken to be on this interface's link when there is no router
  -n  no names   -l  full addresses   -t  the time before each listing
SOCK=/prefix selects the stack.";

/// Runs the tool.
///
/// # Errors
/// Usage, no stack, no such entry or interface, not permitted.
pub fn run(s: &mut dyn Stack, args: &[String]) -> Outcome {
    let f = getopt::parse("aA:cdf:HIi:lnPprRst", args).map_err(|e| Failure::usage(e, USAGE))?;
    if f.has('?') {
        return print(&format!("{USAGE}\n"));
    }
    let modes: Vec<char> = f.flags.iter().map(|x| x.0).filter(|c| !"lntJ".contains(*c)).collect();
    if let [a, b, ..] = modes.as_slice() {
        return Err(Failure::usage(format!("-{a} does not go with -{b}"), USAGE));
    }
    let mode = modes.first().copied();
    let none = || match f.rest.first() {
        Some(w) => Err(Failure::usage(format!("{w}: not expected"), USAGE)),
        None => Ok(()),
    };
    match mode {
        None => one(s, &f),
        Some('s') => set(s, &f.rest),
        Some('d') => delete(s, &f.rest),
        Some('f') => none().and_then(|()| each_line("ndp", f.value('f').unwrap_or(""), |w| set(s, w))),
        Some('i') => settings(s, f.value('i').unwrap_or(""), &f.rest, f.has('J')),
        Some('I') => default_interface(s, &f.rest),
        Some(m) => {
            none()?;
            match m {
                'a' => list(s, &f),
                'A' => again(s, &f),
                'c' => forget(s),
                'p' => prefixes(s, f.has('J')),
                'r' => routers(s, f.has('J')),
                'P' => order(s, NdRequest::Flush { routers: false, prefixes: true }),
                'R' => order(s, NdRequest::Flush { routers: true, prefixes: false }),
                // The table follows the list at every change; asking for it proves that somebody does.
                _ => nd(s, "default routers", NdRequest::Routers).map(|_| 0),
            }
        }
    }
}

/// Asks about IPv6.
///
/// # Errors
/// As [`ask`].
pub fn nd(s: &mut dyn Stack, what: &str, r: NdRequest) -> Result<NdReply, Failure> {
    match ask(s, what, &Request::Nd(r))? {
        Reply::Nd(n) => Ok(n),
        r => Err(odd(&r)),
    }
}

fn order(s: &mut dyn Stack, r: NdRequest) -> Outcome {
    match ask(s, "neighbour discovery", &Request::Nd(r))? {
        Reply::Ok => Ok(0),
        r => Err(odd(&r)),
    }
}

fn all(s: &mut dyn Stack) -> Result<Vec<NdEntry>, Failure> {
    pages(
        s,
        "neighbours",
        |cursor| Request::Nd(NdRequest::Neighbours { cursor }),
        |r| match r {
            Reply::Nd(NdReply::Neighbours { list, next }) => Ok((list, next)),
            other => Err(other),
        },
    )
}

/// The address that is meant, and the interface behind it.
fn host(h: &str) -> Result<(Ipv6Addr, Option<String>), Failure> {
    if let Some((a, z)) = addr::parse6(h) {
        return Ok((a, z.map(str::to_string)));
    }
    let a = resolve::hosts6(h);
    a.map(|a| (a, None))
        .ok_or_else(|| Failure::new(format!("{h}: no IPv6 address, and no name in /etc/hosts")))
}

/// The time of day, as KAME has it before a listing.
fn stamp(f: &Parsed) -> String {
    if !f.has('t') {
        return String::new();
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let s = now.as_secs() % 86_400;
    format!("{:02}:{:02}:{:02}.{:06} UTC\n", s / 3600, s / 60 % 60, s % 60, now.subsec_micros())
}

fn one(s: &mut dyn Stack, f: &Parsed) -> Outcome {
    let [h] = f.rest.as_slice() else { return Err(Failure::usage("one host or -a is needed", USAGE)) };
    let (ip, zone) = host(h)?;
    let mut l = all(s)?;
    l.retain(|e| e.ip == ip && zone.as_ref().is_none_or(|z| e.ifname.as_ref() == Some(z)));
    if l.is_empty() {
        return Err(Failure::new(format!("{h} ({ip}) -- no entry")));
    }
    if f.has('J') { print_json(&l) } else { print(&format!("{}{}", stamp(f), table(&l, f.has('l')))) }
}

fn list(s: &mut dyn Stack, f: &Parsed) -> Outcome {
    let l = all(s)?;
    if f.has('J') { print_json(&l) } else { print(&format!("{}{}", stamp(f), table(&l, f.has('l')))) }
}

/// -A: until it is interrupted.
fn again(s: &mut dyn Stack, f: &Parsed) -> Outcome {
    let v = f.value('A').unwrap_or("");
    let secs: u64 = v
        .parse()
        .ok()
        .filter(|n| *n > 0)
        .ok_or_else(|| Failure::new(format!("-A {v}: a number of seconds is needed")))?;
    loop {
        let l = all(s)?;
        print(&format!("{}{}\n", stamp(f), table(&l, f.has('l'))))?;
        std::thread::sleep(std::time::Duration::from_secs(secs));
    }
}

/// `23h59m58s`.
fn period(mut s: u32) -> String {
    let mut o = String::new();
    for (unit, n) in [('d', 86_400), ('h', 3600), ('m', 60)] {
        if s >= n || !o.is_empty() {
            let _ = write!(o, "{}{unit}", s / n);
            s %= n;
        }
    }
    o + &format!("{s}s")
}

fn table(l: &[NdEntry], long: bool) -> String {
    let name = |e: &NdEntry| addr::zoned(e.ip.into(), e.ifname.as_deref());
    let w = if long { l.iter().map(|e| name(e).len()).max().unwrap_or(0).max(36) } else { 36 };
    let mut o = format!(
        "{:<w$} {:<17} {:>6} {:<9} S Flgs Prbs\n",
        "Neighbor", "Linklayer Address", "Netif", "Expire"
    );
    for e in l {
        let at = e.mac.map_or_else(|| "(incomplete)".into(), |m| addr::mac(&m));
        let end = match e.expires {
            _ if e.permanent => "permanent".into(),
            Some(0) | None => "expired".into(),
            Some(s) => period(s),
        };
        let flags = format!("{}{}", if e.router { "R" } else { "" }, if e.proxy { "p" } else { "" });
        let asked = if e.asked > 0 { format!(" {}", e.asked) } else { String::new() };
        let line = format!(
            "{:<w$} {at:<17} {:>6} {end:<9} {} {flags:<4}{asked}",
            name(e),
            e.ifname.as_deref().unwrap_or(""),
            e.state.letter()
        );
        let _ = writeln!(o, "{}", line.trim_end());
    }
    o
}

/// -c: what was learnt, one after the other, as KAME does it.
fn forget(s: &mut dyn Stack) -> Outcome {
    let mut o = String::new();
    for e in all(s)?.into_iter().filter(|e| !e.permanent) {
        let r = Request::Nd(NdRequest::Delete { ip: Some(e.ip), ifname: e.ifname.clone() });
        // One that went meanwhile is gone, too.
        if let Reply::Ok = s.ask(&r).map_err(Failure::new)? {
            let n = addr::zoned(e.ip.into(), e.ifname.as_deref());
            let _ = writeln!(o, "{n} ({n}) deleted");
        }
    }
    print(&o)
}

fn delete(s: &mut dyn Stack, words: &[String]) -> Outcome {
    let [h] = words else { return Err(Failure::usage("-d needs one host", USAGE)) };
    let (ip, ifname) = host(h)?;
    match ask(s, h, &Request::Nd(NdRequest::Delete { ip: Some(ip), ifname: ifname.clone() }))? {
        Reply::Ok => print(&format!("{h} ({}) deleted\n", addr::zoned(ip.into(), ifname.as_deref()))),
        r => Err(odd(&r)),
    }
}

/// `host[%IF] ether [temp] [proxy]`.
fn entry(words: &[String]) -> Result<NdEntry, Failure> {
    let [h, ether, rest @ ..] = words else {
        return Err(Failure::usage("-s needs a host and an address", USAGE));
    };
    let mac =
        addr::parse_mac(ether).ok_or_else(|| Failure::new(format!("{ether}: bad link-level address")))?;
    let (ip, ifname) = host(h)?;
    let state = NdState::Reachable;
    let mut e = NdEntry {
        ip,
        mac: Some(mac),
        ifname,
        state,
        permanent: true,
        proxy: false,
        router: false,
        own: false,
        expires: None,
        asked: 0,
    };
    for w in rest {
        match w.as_str() {
            "temp" => e.permanent = false,
            "proxy" => e.proxy = true,
            w => return Err(Failure::usage(format!("{w}: unknown word"), USAGE)),
        }
    }
    Ok(e)
}

fn set(s: &mut dyn Stack, words: &[String]) -> Outcome {
    let e = entry(words)?;
    match ask(s, &words[0], &Request::Nd(NdRequest::Add(e)))? {
        Reply::Ok => Ok(0),
        r => Err(odd(&r)),
    }
}

fn prefixes(s: &mut dyn Stack, json: bool) -> Outcome {
    match nd(s, "prefixes", NdRequest::Prefixes)? {
        NdReply::Prefixes(l) if json => print_json(&l),
        NdReply::Prefixes(l) => print(&l.iter().map(prefix).collect::<String>()),
        r => Err(odd(&Reply::Nd(r))),
    }
}

fn prefix(p: &NdPrefix) -> String {
    let life = |s: Option<u32>| s.map_or_else(|| "infinity".into(), |s| s.to_string());
    let flags: String = [(p.on_link, 'L'), (p.autonomous, 'A'), (p.detached, 'D')]
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

fn routers(s: &mut dyn Stack, json: bool) -> Outcome {
    match nd(s, "default routers", NdRequest::Routers)? {
        NdReply::Routers(l) if json => print_json(&l),
        NdReply::Routers(l) => print(&l.iter().map(router).collect::<String>()),
        r => Err(odd(&Reply::Nd(r))),
    }
}

fn router(r: &NdRouter) -> String {
    let flags = format!("{}{}", if r.managed { "M" } else { "" }, if r.other { "O" } else { "" });
    let expire = r.expires.map_or_else(|| "Never".into(), period);
    let who = addr::zoned(r.addr.into(), Some(&r.ifname));
    format!("{who} if={}, flags={flags}, pref={}, expire={expire}\n", r.ifname, r.preference)
}

/// `-i IF [flag ...]`.
fn settings(s: &mut dyn Stack, name: &str, words: &[String], json: bool) -> Outcome {
    if !words.is_empty() {
        let (set, clear, base_reachable) = flags(words)?;
        let r = NdRequest::Set { name: name.into(), set, clear, base_reachable };
        return match ask(s, name, &Request::Nd(r))? {
            Reply::Ok => Ok(0),
            r => Err(odd(&r)),
        };
    }
    match nd(s, name, NdRequest::Interfaces { name: Some(name.into()) })? {
        NdReply::Interfaces(l) if json => print_json(&l),
        NdReply::Interfaces(l) => print(&l.iter().map(interface).collect::<String>()),
        r => Err(odd(&Reply::Nd(r))),
    }
}

/// Bits to set, bits to clear, the new base of the reachable time.
fn flags(words: &[String]) -> Result<(u32, u32, Option<u32>), Failure> {
    let (mut set, mut clear, mut base) = (0, 0, None);
    for w in words {
        if let Some(v) = w.strip_prefix("basereachable=") {
            base = Some(v.parse().map_err(|_| Failure::new(format!("{w}: not a number of milliseconds")))?);
            continue;
        }
        let (word, on) = w.strip_prefix('-').map_or((w.as_str(), true), |x| (x, false));
        let Some((bit, _)) = nd6::NAMES.iter().find(|n| n.1 == word) else {
            return Err(Failure::usage(format!("{w}: unknown flag"), USAGE));
        };
        let (a, b) = if on { (&mut set, &mut clear) } else { (&mut clear, &mut set) };
        *a |= bit;
        *b &= !bit;
    }
    Ok((set, clear, base))
}

fn interface(i: &NdIface) -> String {
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

fn default_interface(s: &mut dyn Stack, words: &[String]) -> Outcome {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::fake::Fake;
    use proptest::prelude::*;

    fn go(f: &mut Fake, l: &str) -> Outcome {
        run(f, &l.split_whitespace().map(str::to_string).collect::<Vec<_>>())
    }

    fn a(s: &str) -> Ipv6Addr {
        s.parse().expect("address")
    }

    fn router_entry() -> NdEntry {
        NdEntry {
            ip: a("fe80::1"),
            mac: Some([2, 0, 0, 0, 0, 1]),
            ifname: Some("ecm0".into()),
            state: NdState::Stale,
            permanent: false,
            proxy: false,
            router: true,
            own: false,
            expires: Some(86_398),
            asked: 0,
        }
    }

    #[test]
    fn the_table_in_kames_layout() {
        let e = router_entry();
        let own = NdEntry {
            own: true,
            permanent: true,
            router: false,
            expires: None,
            state: NdState::Reachable,
            ..e.clone()
        };
        let ask = NdEntry {
            mac: None,
            router: false,
            state: NdState::Incomplete,
            expires: Some(1),
            asked: 2,
            ..e.clone()
        };
        let want = "Neighbor                             Linklayer Address  Netif Expire    S Flgs Prbs\n\
             fe80::1%ecm0                         02:00:00:00:00:01   ecm0 23h59m58s S R\n\
             fe80::1%ecm0                         02:00:00:00:00:01   ecm0 permanent R\n\
             fe80::1%ecm0                         (incomplete)        ecm0 1s        I      2\n";
        assert_eq!(table(&[e, own, ask], false), want);
        assert_eq!((period(90_061), period(60), period(0)), ("1d1h1m1s".into(), "1m0s".into(), "0s".into()));
    }

    #[test]
    fn prefixes_routers_and_interfaces() {
        let p = NdPrefix {
            prefix: a("2001:db8::"),
            prefix_len: 64,
            ifname: "ecm0".into(),
            on_link: true,
            autonomous: true,
            detached: false,
            valid: Some(2_592_000),
            preferred: None,
            expires: Some(60),
            refs: 1,
            routers: vec![a("fe80::1")],
        };
        let want = "2001:db8::/64 if=ecm0\nflags=LA vltime=2592000, pltime=infinity, expire=1m0s, ref=1\n  advertised by\n    fe80::1%ecm0\n";
        assert_eq!(prefix(&p), want);
        let r = NdRouter {
            addr: a("fe80::1"),
            ifname: "ecm0".into(),
            managed: false,
            other: true,
            preference: "medium".into(),
            expires: Some(1798),
        };
        assert_eq!(router(&r), "fe80::1%ecm0 if=ecm0, flags=O, pref=medium, expire=29m58s\n");
        let i = NdIface {
            ifname: "ecm0".into(),
            link_mtu: 1500,
            max_mtu: 1500,
            hop_limit: 64,
            base_reachable: 30_000,
            reachable: 31_500,
            retrans: 1000,
            flags: nd6::NUD | nd6::ACCEPT_RTADV,
            adverts: 0,
        };
        let want = "linkmtu=1500, maxmtu=1500, curhlim=64, basereachable=30s0ms, reachable=31s, retrans=1s0ms\nFlags: nud accept_rtadv \n";
        assert_eq!(interface(&i), want);
    }

    #[test]
    fn what_is_asked_of_the_stack() {
        let mut f = Fake::default();
        assert_eq!(go(&mut f, "-s fe80::7%ecm0 2:0:0:0:0:7 temp proxy"), Ok(0));
        assert!(
            matches!(&f.asked[0], Request::Nd(NdRequest::Add(e)) if !e.permanent && e.proxy && e.ifname.as_deref() == Some("ecm0"))
        );
        assert_eq!(go(&mut f, "-i ecm0 accept_rtadv -nud basereachable=5000"), Ok(0));
        let want = NdRequest::Set {
            name: "ecm0".into(),
            set: nd6::ACCEPT_RTADV,
            clear: nd6::NUD,
            base_reachable: Some(5000),
        };
        assert_eq!(f.asked[1], Request::Nd(want));
        assert_eq!(go(&mut f, "-i ecm0 -- -disabled"), Ok(0));
        assert!(matches!(f.asked[2], Request::Nd(NdRequest::Set { clear: nd6::DISABLED, .. })));
        assert_eq!(go(&mut f, "-d 2001:db8::1"), Ok(0));
        assert_eq!(go(&mut f, "-I delete"), Ok(0));
        assert_eq!(f.asked[4], Request::Nd(NdRequest::Default { name: Some(String::new()) }));
        let mut f = Fake::with([Reply::Nd(NdReply::Neighbours { list: vec![router_entry()], next: 0 })]);
        assert_eq!(go(&mut f, "fe80::2").unwrap_err().message, "fe80::2 (fe80::2) -- no entry");
        let mut f = Fake::default();
        for bad in [
            "",
            "-s",
            "-s fe80::1 x",
            "-a -p",
            "-a x",
            "-i ecm0 bogus",
            "-A 0",
            "-d",
            "10.0.0.1",
            "-I a b",
            "-s fe80::1 2:0:0:0:0:1 pub",
        ] {
            assert!(go(&mut f, bad).is_err() && f.asked.is_empty(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_words_make_it_panic(words in prop::collection::vec("(-?[a-zA-Z0-9.:%=]{0,6}|\\PC{0,4})", 0..6)) {
            prop_assume!(!words.iter().any(|w| w.starts_with("-") && (w.contains('A') || w.contains('f'))));
            let _ = run(&mut Fake::default(), &words);
        }
    }
}
