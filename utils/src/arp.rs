//! `arp`: shows and changes the ARP table.

use crate::addr;
use crate::getopt;
use crate::names::Names;
use crate::resolve;
use crate::tool::{Failure, Outcome, Stack, ask, each_line, odd, print, print_json};
use iopkt_ctl::{ArpEntry, Reply, Request};
use std::net::Ipv4Addr;

/// Usage, as `--help` prints it.
pub const USAGE: &str = "usage: arp [-n] [--json] host
       arp [-nv] [--json] -a
       arp [-v] -d -a
       arp [-v] -d host [pro [interface]]
       arp -s host ether [temp] [pub [pro [interface]]]
       arp -f file
SOCK=/prefix selects the stack.";

/// Runs the tool.
///
/// # Errors
/// Usage, no stack, no such entry, not permitted.
pub fn run(s: &mut dyn Stack, args: &[String]) -> Outcome {
    let f = getopt::parse("adf:nsv", args).map_err(|e| Failure::usage(e, USAGE))?;
    if f.has('?') {
        return print(&format!("{USAGE}\n"));
    }
    // getopt ends at the first operand; BSD's synopsis has `-d -a` and `-a -d`.
    let names = Names::new(f.has('n'));
    if let Some(file) = f.value('f') {
        return each_line("arp", file, |w| set(s, w));
    }
    if f.has('s') {
        return set(s, &f.rest);
    }
    if f.has('d') {
        return delete(s, &f.rest, f.has('a'), &names);
    }
    let mut list = all(s)?;
    if f.has('a') {
        if let Some(w) = f.rest.first() {
            return Err(Failure::usage(format!("{w}: -a takes no host"), USAGE));
        }
    } else {
        let [h] = f.rest.as_slice() else { return Err(Failure::usage("one host or -a is needed", USAGE)) };
        let ip = host(h)?;
        list.retain(|e| e.ip == ip);
        if list.is_empty() {
            return Err(Failure::new(format!("{h} ({ip}) -- no entry")));
        }
    }
    if f.has('J') {
        return print_json(&list);
    }
    print(&list.iter().map(|e| line(e, f.has('v'), &names)).collect::<String>())
}

fn all(s: &mut dyn Stack) -> Result<Vec<ArpEntry>, Failure> {
    match ask(s, "arp table", &Request::Arp)? {
        Reply::Arp(l) => Ok(l),
        r => Err(odd(&r)),
    }
}

fn host(h: &str) -> Result<Ipv4Addr, Failure> {
    addr::inet_aton(h)
        .or_else(|| resolve::hosts(h))
        .ok_or_else(|| Failure::new(format!("{h}: bad address, and no name in /etc/hosts")))
}

/// `NAME (IP)`, the name `?` where there is none.
fn who(ip: Ipv4Addr, names: &Names) -> String {
    let n = names.host(ip.into());
    if n == ip.to_string() { format!("? ({ip})") } else { format!("{n} ({ip})") }
}

fn delete(s: &mut dyn Stack, words: &[String], all_of_them: bool, names: &Names) -> Outcome {
    if all_of_them {
        if let Some(w) = words.first() {
            return Err(Failure::usage(format!("{w}: -a takes no host"), USAGE));
        }
        let mut o = String::new();
        for e in all(s)? {
            let r = Request::DelArp { ip: Some(e.ip), ifname: e.ifname.clone(), proxy: e.proxy };
            // One that went meanwhile is gone, too.
            if let Reply::Ok = s.ask(&r).map_err(Failure::new)? {
                o += &format!("{} deleted\n", who(e.ip, names));
            }
        }
        return print(&o);
    }
    let (h, proxy, ifname) = match words {
        [] => return Err(Failure::usage("-d needs a host or -a", USAGE)),
        [h] => (h, false, None),
        [h, pro] if is_pro(pro) => (h, true, None),
        [h, pro, i] if is_pro(pro) => (h, true, Some(i.clone())),
        [_, w, ..] => return Err(Failure::usage(format!("{w}: unknown word"), USAGE)),
    };
    let ip = host(h)?;
    match ask(s, h, &Request::DelArp { ip: Some(ip), ifname, proxy })? {
        Reply::Ok => print(&format!("{h} ({ip}) deleted\n")),
        r => Err(odd(&r)),
    }
}

fn is_pro(w: &str) -> bool {
    matches!(w, "pro" | "proxy")
}

fn set(s: &mut dyn Stack, words: &[String]) -> Outcome {
    let e = entry(words)?;
    match ask(s, &words[0], &Request::AddArp(e))? {
        Reply::Ok => Ok(0),
        r => Err(odd(&r)),
    }
}

/// `host ether [temp] [pub [pro [interface]]]`.
fn entry(words: &[String]) -> Result<ArpEntry, Failure> {
    let [h, ether, rest @ ..] = words else {
        return Err(Failure::usage("-s needs a host and an address", USAGE));
    };
    let mac =
        addr::parse_mac(ether).ok_or_else(|| Failure::new(format!("{ether}: bad link-level address")))?;
    let mut e = ArpEntry {
        ip: host(h)?,
        mac: Some(mac),
        ifname: None,
        permanent: true,
        published: false,
        proxy: false,
        expires: None,
    };
    let mut it = rest.iter();
    while let Some(w) = it.next() {
        match w.as_str() {
            "temp" => e.permanent = false,
            "pub" => e.published = true,
            w if is_pro(w) && e.published => {
                e.proxy = true;
                e.ifname = it.next().cloned();
            }
            _ => return Err(Failure::usage(format!("{w}: unknown word"), USAGE)),
        }
    }
    Ok(e)
}

/// One entry: `? (10.0.0.1) at 02:00:00:00:00:01 on ecm0`.
fn line(e: &ArpEntry, verbose: bool, names: &Names) -> String {
    let at = e.mac.map_or_else(|| "(incomplete)".to_string(), |m| addr::mac(&m));
    let mut o = format!("{} at {at}", who(e.ip, names));
    if let Some(i) = &e.ifname {
        o += &format!(" on {i}");
    }
    if e.permanent {
        o += " permanent static";
    }
    match (e.published, e.proxy) {
        (_, true) => o += " published (proxy only)",
        (true, false) => o += " published",
        _ => {}
    }
    if let Some(s) = e.expires.filter(|_| verbose) {
        o += &format!(" expires in {s} s");
    }
    o + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::fake::Fake;

    fn one() -> ArpEntry {
        ArpEntry {
            ip: "10.0.0.1".parse().expect("address"),
            mac: Some([2, 0, 0, 0, 0, 1]),
            ifname: Some("ecm0".into()),
            permanent: false,
            published: false,
            proxy: false,
            expires: Some(1200),
        }
    }

    fn go(f: &mut Fake, l: &str) -> Outcome {
        run(f, &l.split_whitespace().map(str::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn entries_in_bsd_words() {
        let n = Names::new(true);
        assert_eq!(line(&one(), false, &n), "? (10.0.0.1) at 02:00:00:00:00:01 on ecm0\n");
        assert_eq!(line(&one(), true, &n), "? (10.0.0.1) at 02:00:00:00:00:01 on ecm0 expires in 1200 s\n");
        let e =
            ArpEntry { mac: None, permanent: true, published: true, proxy: false, expires: None, ..one() };
        assert_eq!(line(&e, true, &n), "? (10.0.0.1) at (incomplete) on ecm0 permanent static published\n");
        let e = ArpEntry { proxy: true, ..e };
        assert!(line(&e, true, &n).ends_with(" published (proxy only)\n"));
    }

    #[test]
    fn set_delete_and_no_entry() {
        let mut f = Fake::default();
        assert_eq!(go(&mut f, "-s 10.7 2:0:0:0:0:7 temp"), Ok(0));
        assert!(matches!(&f.asked[0], Request::AddArp(e) if !e.permanent && e.ip.octets() == [10, 0, 0, 7]));
        assert_eq!(go(&mut f, "-s 10.7 2:0:0:0:0:7 pub pro ecm0"), Ok(0));
        assert!(
            matches!(&f.asked[1], Request::AddArp(e) if e.permanent && e.published && e.proxy && e.ifname.as_deref() == Some("ecm0"))
        );
        assert_eq!(go(&mut f, "-d 10.7 pro ecm0"), Ok(0));
        let ip = "10.0.0.7".parse().ok();
        assert_eq!(f.asked[2], Request::DelArp { ip, ifname: Some("ecm0".into()), proxy: true });
        let mut f = Fake::with([Reply::Arp(vec![one()])]);
        assert_eq!(go(&mut f, "-d -a"), Ok(0));
        let ip = "10.0.0.1".parse().ok();
        assert_eq!(f.asked[1], Request::DelArp { ip, ifname: Some("ecm0".into()), proxy: false });
        let mut f = Fake::with([Reply::Arp(vec![one()])]);
        assert_eq!(go(&mut f, "10.9").unwrap_err().message, "10.9 (10.0.0.9) -- no entry");
        for bad in
            ["-s 10.7", "-d", "", "-s 10.7 2:0:0:0:0:7 pro", "-s 10.7 x", "-d 10.7 bogus", "-d -a 10.7"]
        {
            assert!(go(&mut f, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_line_of_a_file_is_tried() {
        let path = std::env::temp_dir().join(format!("iopkt-arp-{}", std::process::id()));
        std::fs::write(&path, "# comment\n10.1 2:0:0:0:0:1\n\n10.2 bogus\n10.3 2:0:0:0:0:3 pub # x\n")
            .expect("a file");
        let mut f = Fake::default();
        let e = go(&mut f, &format!("-f {}", path.display())).unwrap_err();
        std::fs::remove_file(&path).expect("to be there");
        assert!(e.message.contains(":4: bogus: bad link-level address"), "{}", e.message);
        assert_eq!(f.asked.len(), 2);
    }
}
