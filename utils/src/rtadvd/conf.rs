//! rtadvd.conf(5): entries in termcap's form, `ecm0:addr="2001:db8::":prefixlen#64:`, lines joined by a backslash; the entry `default` is
//! read first, and `tc=` takes in another one. What is not known, or not done here, is refused by its name.

use iopkt_wire::nd::{INFINITE, Preference};
use std::net::Ipv6Addr;

/// A prefix to advertise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Prefix {
    pub addr: Ipv6Addr,
    pub plen: u8,
    pub on_link: bool,
    pub autonomous: bool,
    pub valid: u32,
    pub preferred: u32,
    /// The lifetimes run from the moment that the configuration was read.
    pub valid_runs: bool,
    pub preferred_runs: bool,
}

/// A more specific route (RFC 4191).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub addr: Ipv6Addr,
    pub plen: u8,
    pub preference: Preference,
    pub lifetime: u32,
}

/// The MTU that is advertised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mtu {
    /// None.
    Unsaid,
    /// The interface's.
    Auto,
    /// This.
    Of(u32),
}

/// What is advertised on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Config {
    /// Seconds between advertisements: most and least.
    pub max: u32,
    pub min: u32,
    pub hop_limit: u8,
    pub managed: bool,
    pub other: bool,
    pub preference: Preference,
    /// Seconds as default router; `None`: three times the longest interval.
    pub lifetime: Option<u16>,
    /// Milliseconds.
    pub reachable: u32,
    pub retrans: u32,
    pub mtu: Mtu,
    /// Our link-level address is not said.
    pub no_link_address: bool,
    /// Seconds by which other routers' clocks may differ where lifetimes run; 0: those are not compared.
    pub skew: u32,
    /// None: those of the interface's addresses, as `own` has the rest.
    pub prefixes: Vec<Prefix>,
    /// How prefixes of the interface's own addresses are advertised.
    pub own: Prefix,
    pub routes: Vec<Route>,
    pub servers: Vec<Ipv6Addr>,
    pub domains: Vec<String>,
    /// Seconds that servers and domains are good; `None`: three halves of the longest interval (RFC 8106 5.1).
    pub names: Option<u32>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            max: 600,
            min: 200,
            hop_limit: 64,
            managed: false,
            other: false,
            preference: Preference::Medium,
            lifetime: None,
            reachable: 0,
            retrans: 0,
            mtu: Mtu::Unsaid,
            no_link_address: false,
            skew: 0,
            prefixes: Vec::new(),
            own: Prefix {
                addr: Ipv6Addr::UNSPECIFIED,
                plen: 64,
                on_link: true,
                autonomous: true,
                valid: 2_592_000,
                preferred: 604_800,
                valid_runs: false,
                preferred_runs: false,
            },
            routes: Vec::new(),
            servers: Vec::new(),
            domains: Vec::new(),
            names: None,
        }
    }
}

impl Config {
    /// Seconds that we are a default router.
    pub fn lifetime(&self) -> u16 {
        self.lifetime.unwrap_or((self.max * 3).min(9000) as u16)
    }

    /// Seconds that names are good.
    pub fn names(&self) -> u32 {
        self.names.unwrap_or(self.max * 3 / 2)
    }
}

/// The entry of an interface in a file's text; what `default` says holds where it says nothing.
///
/// # Errors
/// What is wrong, and in which field.
pub(super) fn parse(text: &str, ifname: &str) -> Result<Config, String> {
    let mut c = Config::default();
    let all: Vec<Vec<String>> = entries(text).iter().map(|e| fields(e)).collect();
    for name in ["default", ifname] {
        for e in all.iter().filter(|e| named_so(e, name)) {
            let mut list = Vec::new();
            expand(&all, e, &mut list, 0).map_err(|e| format!("{name}: {e}"))?;
            entry(&mut c, &list).map_err(|e| format!("{name}: {e}"))?;
        }
    }
    if !(4..=1800).contains(&c.max) || !(3..=c.max).contains(&c.min) {
        return Err(format!(
            "{ifname}: maxinterval is 4 to 1800 seconds, mininterval 3 to maxinterval (RFC 4861 6.2.1)"
        ));
    }
    Ok(c)
}

/// Whether an entry has this name.
fn named_so(e: &[String], name: &str) -> bool {
    e.first().is_some_and(|n| n.split('|').any(|n| n.trim() == name))
}

/// The fields of an entry with those that it takes in by `tc=`; what stands first counts, as termcap(5) has it.
fn expand(all: &[Vec<String>], e: &[String], out: &mut Vec<String>, depth: u32) -> Result<(), String> {
    for f in e.iter().skip(1) {
        let Some(other) = f.strip_prefix("tc=") else {
            let key = |f: &String| f.split(['=', '#']).next().unwrap_or("").to_string();
            if !out.iter().any(|o| key(o) == key(f)) {
                out.push(f.clone());
            }
            continue;
        };
        let there = all.iter().find(|e| named_so(e, other));
        let there = there.ok_or_else(|| format!("tc={other}: no such entry"))?;
        if depth > 8 {
            return Err(format!("tc={other}: leads in a circle"));
        }
        expand(all, there, out, depth + 1)?;
    }
    Ok(())
}

/// Lines without comments, joined where one ends with a backslash.
fn entries(text: &str) -> Vec<String> {
    let (mut out, mut open) = (Vec::new(), String::new());
    for l in text.lines() {
        let l = l.trim();
        if l.starts_with('#') || (l.is_empty() && open.is_empty()) {
            continue;
        }
        match l.strip_suffix('\\') {
            Some(l) => open += l,
            None => {
                open += l;
                out.push(std::mem::take(&mut open));
            }
        }
    }
    if !open.is_empty() {
        out.push(open);
    }
    out
}

/// The parts between colons; those in quotation marks are none.
fn fields(e: &str) -> Vec<String> {
    let (mut out, mut quoted) = (vec![String::new()], false);
    for c in e.chars() {
        match c {
            '"' => quoted = !quoted,
            ':' if !quoted => out.push(String::new()),
            c => {
                if let Some(f) = out.last_mut() {
                    f.push(c);
                }
            }
        }
    }
    out.into_iter().map(|f| f.trim().to_string()).filter(|f| !f.is_empty()).collect()
}

fn entry(c: &mut Config, fields: &[String]) -> Result<(), String> {
    let (mut prefixes, mut routes): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    for f in fields {
        let (key, v) = f.split_once(['=', '#']).unwrap_or((f, ""));
        let bad = || format!("{f}: bad value");
        let num = || {
            let v = v.strip_prefix("0x").map_or_else(|| v.parse(), |h| u32::from_str_radix(h, 16));
            v.map_err(|_| bad())
        };
        // A digit behind the name tells several of a kind apart.
        let (kind, which) = key.split_at(key.trim_end_matches(|c: char| c.is_ascii_digit()).len());
        match kind {
            "maxinterval" => {
                c.max = num()?;
                c.min = (c.max / 3).max(3);
            }
            "mininterval" => c.min = num()?,
            "chlim" => c.hop_limit = u8::try_from(num()?).map_err(|_| bad())?,
            "raflags" => {
                let n = num().unwrap_or(0);
                if n & 0x20 != 0 {
                    return Err(format!("{f}: Mobile IPv6's home agents are not done"));
                }
                (c.managed, c.other) = (n & 0x80 != 0 || v.contains('m'), n & 0x40 != 0 || v.contains('o'));
                c.preference = preference(v, n);
            }
            "rltime" => c.lifetime = Some(u16::try_from(num()?).ok().filter(|n| *n <= 9000).ok_or_else(bad)?),
            "rtime" => c.reachable = Some(num()?).filter(|n| *n <= 3_600_000).ok_or_else(bad)?,
            "retrans" => c.retrans = num()?,
            "mtu" if v == "auto" => c.mtu = Mtu::Auto,
            "mtu" => {
                c.mtu = match num()? {
                    0 => Mtu::Unsaid,
                    n if n >= 1280 => Mtu::Of(n),
                    _ => return Err(bad()),
                }
            }
            "nolladdr" => c.no_link_address = true,
            "clockskew" => c.skew = num()?,
            "addr" => {
                v.parse::<Ipv6Addr>().map_err(|_| bad())?;
                prefixes.push(which.into());
            }
            "rtprefix" => {
                v.parse::<Ipv6Addr>().map_err(|_| bad())?;
                routes.push(which.into());
            }
            "rdnss" => {
                for s in v.split(',') {
                    c.servers.push(s.trim().parse().map_err(|_| bad())?);
                }
            }
            "dnssl" => c.domains.extend(v.split(',').map(|d| d.trim().to_string())),
            "rdnssltime" | "dnsslltime" => c.names = Some(num()?),
            // Read with what they belong to.
            "prefixlen" | "pinfoflags" | "vltime" | "pltime" | "vltimedecr" | "pltimedecr" | "rtplen"
            | "rtflags" | "rtltime" => {}
            "hapref" | "hatime" => return Err(format!("{f}: Mobile IPv6's home agents are not done")),
            _ => return Err(format!("{f}: unknown field")),
        }
    }
    if c.servers.len() > 8 || c.domains.iter().any(|d| !named(d)) {
        return Err("rdnss, dnssl: at most 8 servers, and domains of letters, digits and dashes".into());
    }
    let of = |kind: &str, which: &str| {
        let find = |key: String| fields.iter().find_map(|f| f.strip_prefix(&key)?.strip_prefix(['=', '#']));
        find(format!("{kind}{which}")).or_else(|| find(kind.to_string()))
    };
    let num = |kind: &str, which: &str, usual: u32| match of(kind, which) {
        None => Ok(usual),
        Some(v) if ["infinity", "-1"].contains(&v) => Ok(INFINITE),
        Some(v) => v
            .strip_prefix("0x")
            .map_or_else(|| v.parse(), |h| u32::from_str_radix(h, 16))
            .map_err(|_| format!("{kind}{which}: bad value")),
    };
    let length = |kind: &str, which: &str, usual: u32| match num(kind, which, usual)? {
        n @ 0..=128 => Ok(n as u8),
        _ => Err(format!("{kind}{which}: bad value")),
    };
    let has = |kind: &str, which: &str| fields.iter().any(|f| *f == format!("{kind}{which}") || f == kind);
    let one = |which: &str, own: &Prefix| -> Result<Prefix, String> {
        let flags = of("pinfoflags", which);
        let n = flags.map_or(0xc0, |f| u32::from_str_radix(f.trim_start_matches("0x"), 16).unwrap_or(0));
        let letter =
            |l: char, bit: u32| n & bit != 0 || flags.is_some_and(|f| f.contains(l) && !f.starts_with("0x"));
        Ok(Prefix {
            addr: of("addr", which).and_then(|a| a.parse().ok()).unwrap_or(own.addr),
            plen: length("prefixlen", which, own.plen.into())?,
            on_link: letter('l', 0x80),
            autonomous: letter('a', 0x40),
            valid: num("vltime", which, own.valid)?,
            preferred: num("pltime", which, own.preferred)?,
            valid_runs: own.valid_runs || has("vltimedecr", which),
            preferred_runs: own.preferred_runs || has("pltimedecr", which),
        })
    };
    c.own = one("", &c.own.clone())?;
    c.own.addr = Ipv6Addr::UNSPECIFIED;
    for w in prefixes {
        let p = one(&w, &c.own)?;
        if p.preferred > p.valid {
            return Err(format!("pltime{w}: longer than vltime"));
        }
        c.prefixes.push(p);
    }
    for w in routes {
        let n = num("rtflags", &w, 0).unwrap_or(0);
        c.routes.push(Route {
            addr: of("rtprefix", &w).and_then(|a| a.parse().ok()).unwrap_or(Ipv6Addr::UNSPECIFIED),
            plen: length("rtplen", &w, 64)?,
            preference: preference(of("rtflags", &w).unwrap_or(""), n),
            lifetime: num("rtltime", &w, c.lifetime().into())?,
        });
    }
    Ok(())
}

/// By letter (`h`, `l`), or by the two bits.
fn preference(v: &str, n: u32) -> Preference {
    match v {
        v if v.contains('h') => Preference::High,
        v if v.contains('l') => Preference::Low,
        _ => Preference::from_bits((n >> 3) as u8).unwrap_or_default(),
    }
}

/// A domain that may be written in an option.
fn named(d: &str) -> bool {
    let label = |l: &str| {
        !l.is_empty()
            && l.len() < 64
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    d.len() < 254 && d.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn entries_as_bsd_writes_them() {
        let text = "# comment\ndefault:chlim#61:maxinterval#30:\n\
                    ecm0|wm0:\\\n  :addr=\"2001:db8:1::\":prefixlen#64:vltime#100:pltime#50:\\\n  :addr1=\"2001:db8:2::\":pinfoflags1=\"l\":\\\n\
                    :raflags=\"oh\":rltime#90:mtu#1400:rtprefix=\"2001:db8:9::\":rtplen#48:rtflags=\"l\":\\\n\
                    :rdnss=\"2001:db8::53,fe80::53\":dnssl=\"example.com\":\n";
        let c = parse(text, "wm0").unwrap();
        assert_eq!((c.hop_limit, c.max, c.min, c.lifetime(), c.mtu), (61, 30, 10, 90, Mtu::Of(1400)));
        assert_eq!((c.managed, c.other, c.preference), (false, true, Preference::High));
        assert_eq!(c.prefixes.len(), 2);
        let p = &c.prefixes[1];
        assert_eq!(
            (p.addr, p.on_link, p.autonomous, p.valid),
            ("2001:db8:2::".parse().unwrap(), true, false, 100)
        );
        assert_eq!(
            (c.routes[0].plen, c.routes[0].preference, c.routes[0].lifetime),
            (48, Preference::Low, 90)
        );
        assert_eq!(
            (c.servers.len(), c.domains.as_slice(), c.names()),
            (2, &["example.com".to_string()][..], 45)
        );
        let c = parse(text, "tapk0").unwrap();
        assert_eq!((c.hop_limit, c.prefixes.len(), c.lifetime()), (61, 0, 90));
        assert_eq!(parse("", "x").unwrap(), Config::default());
    }

    #[test]
    fn entries_take_in_others_and_flags_hold() {
        let text = "base:chlim#7:mtu=auto:nolladdr:\nx:chlim#9:tc=base:addr=\"2001:db8::\":vltimedecr:clockskew#3:\na:tc=b:\nb:tc=a:\n";
        let c = parse(text, "x").unwrap();
        assert_eq!((c.hop_limit, c.mtu, c.no_link_address, c.skew), (9, Mtu::Auto, true, 3));
        assert!(c.prefixes[0].valid_runs && !c.prefixes[0].preferred_runs);
        assert!(parse(text, "a").unwrap_err().contains("in a circle"));
        assert!(parse("x:tc=y:", "x").unwrap_err().contains("tc=y: no such entry"));
        assert!(parse("x:hapref#1:", "x").unwrap_err().contains("home agents are not done"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, why) in [
            ("x:bogus#1:", "bogus#1: unknown field"),
            ("x:chlim#256:", "chlim#256: bad value"),
            ("x:addr=\"10.0.0.1\":", "bad value"),
            ("x:mtu#1000:", "bad value"),
            ("x:maxinterval#3:", "RFC 4861"),
            ("x:mininterval#700:", "RFC 4861"),
            ("x:addr=\"2001:db8::\":vltime#1:pltime#2:", "longer than vltime"),
            ("x:dnssl=\"a b\":", "domains of letters"),
            ("x:prefixlen#129:", "prefixlen: bad value"),
        ] {
            let e = parse(text, "x").expect_err(text);
            assert!(e.contains(why), "{text}: {e}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_safe(t in "([a-z0-9]{0,9}[:=#\"\\\\|\n]){0,30}") {
            let _ = parse(&t, "x");
        }
    }
}
