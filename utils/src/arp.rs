//! `arp`: shows and changes the ARP table.

use crate::addr;
use crate::getopt;
use crate::tool::{Failure, Outcome, Stack, ask, odd, print, print_json};
use iopkt_ctl::{ArpEntry, Reply, Request};

/// Usage, as `--help` prints it.
pub const USAGE: &str = "usage: arp [-n] [--json] host
       arp [-nv] [--json] -a
       arp [-v] -d -a
       arp [-v] -d host
       arp -s host ether [temp] [pub]
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
    if let Some(file) = f.value('f') {
        return from_file(s, file);
    }
    if f.has('s') {
        return set(s, &f.rest);
    }
    if f.has('d') {
        let ip = match f.rest.first() {
            None if f.has('a') => None,
            None => return Err(Failure::usage("-d needs a host or -a", USAGE)),
            Some(h) => Some(host(h)?),
        };
        let what = f.rest.first().cloned().unwrap_or_else(|| "all".into());
        ask(s, &what, &Request::DelArp { ip })?;
        return match ip {
            Some(ip) => print(&format!("{ip} ({ip}) deleted\n")),
            None => Ok(0),
        };
    }
    let Reply::Arp(mut list) = ask(s, "arp table", &Request::Arp)? else {
        return Err(Failure::new("unexpected answer"));
    };
    if !f.has('a') {
        let h = f.rest.first().ok_or_else(|| Failure::usage("a host or -a is needed", USAGE))?;
        let ip = host(h)?;
        list.retain(|e| e.ip == ip);
        if list.is_empty() {
            return Err(Failure::new(format!("{h} ({ip}) -- no entry")));
        }
    }
    if f.has('J') { print_json(&list) } else { print(&list.iter().map(line).collect::<String>()) }
}

fn host(h: &str) -> Result<std::net::Ipv4Addr, Failure> {
    addr::inet_aton(h).ok_or_else(|| Failure::new(format!("{h}: bad address")))
}

fn set(s: &mut dyn Stack, words: &[String]) -> Outcome {
    let [h, ether, rest @ ..] = words else {
        return Err(Failure::usage("-s needs a host and an address", USAGE));
    };
    let mac =
        addr::parse_mac(ether).ok_or_else(|| Failure::new(format!("{ether}: bad link-level address")))?;
    let (mut temp, mut published) = (false, false);
    for w in rest {
        match w.as_str() {
            "temp" => temp = true,
            "pub" => published = true,
            _ => return Err(Failure::usage(format!("{w}: unknown word"), USAGE)),
        }
    }
    let e =
        ArpEntry { ip: host(h)?, mac: Some(mac), ifname: None, permanent: !temp, published, expires: None };
    match ask(s, h, &Request::AddArp(e))? {
        Reply::Ok => Ok(0),
        r => Err(odd(&r)),
    }
}

fn from_file(s: &mut dyn Stack, file: &str) -> Outcome {
    let text = std::fs::read_to_string(file).map_err(|e| Failure::new(format!("{file}: {e}")))?;
    for (n, l) in text.lines().enumerate() {
        let words: Vec<String> =
            l.split('#').next().unwrap_or("").split_whitespace().map(str::to_string).collect();
        if !words.is_empty() {
            set(s, &words).map_err(|e| Failure::new(format!("{file}:{}: {}", n + 1, e.message)))?;
        }
    }
    Ok(0)
}

/// One entry: `? (10.0.0.1) at 02:00:00:00:00:01 on ecm0`.
fn line(e: &ArpEntry) -> String {
    let at = e.mac.map_or_else(|| "(incomplete)".to_string(), |m| addr::mac(&m));
    let mut o = format!("? ({}) at {at}", e.ip);
    if let Some(i) = &e.ifname {
        o += &format!(" on {i}");
    }
    if e.permanent {
        o += " permanent";
    }
    if e.published {
        o += " published";
    }
    o + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::fake::Fake;

    fn entry() -> ArpEntry {
        ArpEntry {
            ip: "10.0.0.1".parse().expect("address"),
            mac: Some([2, 0, 0, 0, 0, 1]),
            ifname: Some("ecm0".into()),
            permanent: false,
            published: false,
            expires: Some(1200),
        }
    }

    #[test]
    fn entries_in_bsd_words() {
        assert_eq!(line(&entry()), "? (10.0.0.1) at 02:00:00:00:00:01 on ecm0\n");
        let e = ArpEntry { mac: None, permanent: true, published: true, ..entry() };
        assert_eq!(line(&e), "? (10.0.0.1) at (incomplete) on ecm0 permanent published\n");
    }

    #[test]
    fn set_delete_and_no_entry() {
        let go =
            |f: &mut Fake, l: &str| run(f, &l.split_whitespace().map(str::to_string).collect::<Vec<_>>());
        let mut f = Fake::default();
        assert_eq!(go(&mut f, "-s 10.7 2:0:0:0:0:7 temp"), Ok(0));
        assert!(matches!(&f.asked[0], Request::AddArp(e) if !e.permanent && e.ip.octets() == [10, 0, 0, 7]));
        assert_eq!(go(&mut f, "-d -a"), Ok(0));
        assert_eq!(f.asked[1], Request::DelArp { ip: None });
        let mut f = Fake::with([Reply::Arp(vec![entry()])]);
        assert_eq!(go(&mut f, "10.9").unwrap_err().message, "10.9 (10.0.0.9) -- no entry");
        assert!(go(&mut f, "-s 10.7").is_err() && go(&mut f, "-d").is_err() && go(&mut f, "").is_err());
    }
}
