//! ping's command line.

use crate::addr::inet_aton;
use crate::getopt;
use crate::tool::Failure;
use std::net::Ipv4Addr;
use std::time::Duration;

/// Usage, as `--help` prints it.
pub const USAGE: &str =
    "usage: ping [-46aDfLnoPqQRrv] [-c count] [-I interface | address] [-i seconds] [-l preload]
            [-p pattern] [-S address] [-s bytes] [-T ttl] [-t ttl] [-W seconds] [-w seconds]
            [-z tos] host
  -c  stop after so many requests        -o  stop after the first answer
  -i  time between two (default 1)       -w  stop after so many seconds in all
  -W  wait so long for the last answer (default 2)
  -s  bytes of data (default 56)         -p  fill them with this pattern (hexadecimal)   -P  at random
  -t, -T  time to live                   -z  type of service
  -I  send through this interface, or from this address   -S  from this address
  -D  don't fragment                     -R  record the route
  -r  only to hosts on the link          -L  multicast not back to ourselves
  -f  flood: as fast as answers come, or a hundred a second   -l  so many at once first
  -q  only the summary   -Q  no ICMP errors   -v  all ICMP that comes, errors with the header they quote
  -n  no names, only addresses   -a  a bell for each answer   -4  IPv4
  -6  as its first option, or an IPv6 address as host: ping6, with its options (ping6 --help)
Exit 0 when an answer came, 1 when none did, 2 on errors. SIGQUIT (^\\) prints what was counted so far.
SOCK=/prefix selects the stack.";

/// What the user asked for.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools)] // BSD's ping has that many
pub struct Options {
    /// Requests, `None` for ever.
    pub count: Option<u64>,
    /// Time between two.
    pub interval: Duration,
    /// Requests sent at once at the start.
    pub preload: u64,
    /// Data bytes.
    pub size: usize,
    /// Data is filled with this, again and again; empty for 0, 1, 2 ...
    pub pattern: Vec<u8>,
    /// Data is filled with random bytes.
    pub random: bool,
    /// Time to live.
    pub ttl: Option<u8>,
    /// Type of service.
    pub tos: Option<u8>,
    /// How long to wait for the last answer.
    pub wait: Duration,
    /// How long to run at most.
    pub deadline: Option<Duration>,
    /// Stop after the first answer.
    pub once: bool,
    /// Only the summary.
    pub quiet: bool,
    /// No lines about ICMP errors.
    pub no_errors: bool,
    /// All ICMP, errors with the header they quote.
    pub verbose: bool,
    /// Flood.
    pub flood: bool,
    /// A bell for each answer.
    pub bell: bool,
    /// Only numbers.
    pub numeric: bool,
    /// Don't fragment.
    pub df: bool,
    /// Record route.
    pub record: bool,
    /// Only to hosts on the link.
    pub dontroute: bool,
    /// Multicast is not looped back.
    pub noloop: bool,
    /// Interface to send through.
    pub interface: Option<String>,
    /// Address to send from.
    pub source: Option<Ipv4Addr>,
    /// Whom to ask.
    pub host: String,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            count: None,
            interval: Duration::from_secs(1),
            preload: 0,
            size: 56,
            pattern: Vec::new(),
            random: false,
            ttl: None,
            tos: None,
            wait: Duration::from_secs(2),
            deadline: None,
            once: false,
            quiet: false,
            no_errors: false,
            verbose: false,
            flood: false,
            bell: false,
            numeric: false,
            df: false,
            record: false,
            dontroute: false,
            noloop: false,
            interface: None,
            source: None,
            host: String::new(),
        }
    }
}

impl Options {
    /// Reads the command line; `None` when help was asked for.
    ///
    /// # Errors
    /// Wrong usage.
    pub fn parse(args: &[String]) -> Result<Option<Options>, Failure> {
        let f = getopt::parse("46aDdE:fg:I:i:c:Ll:nop:PqQRrS:s:T:t:vW:w:z:", args).map_err(usage)?;
        if f.has('?') {
            return Ok(None);
        }
        let mut o = Options::default();
        for (c, v) in &f.flags {
            o.flag(*c, v.as_deref().unwrap_or(""))?;
        }
        if o.flood && !f.has('i') {
            o.interval = Duration::from_millis(10);
        }
        if o.random && !o.pattern.is_empty() {
            return Err(usage("-p and -P exclude each other"));
        }
        match f.rest.as_slice() {
            [h] => o.host.clone_from(h),
            [] => return Err(usage("no host")),
            [_, more, ..] => return Err(usage(format!("{more}: not expected"))),
        }
        Ok(Some(o))
    }

    fn flag(&mut self, c: char, v: &str) -> Result<(), Failure> {
        let bad = || usage(format!("-{c} {v}: bad value"));
        let seconds = || {
            v.parse::<f64>()
                .ok()
                .filter(|s| s.is_finite() && (0.0..1e6).contains(s))
                .map(Duration::from_secs_f64)
                .ok_or_else(bad)
        };
        match c {
            'c' => self.count = Some(v.parse().ok().filter(|n| *n > 0).ok_or_else(bad)?),
            'i' => self.interval = seconds()?.max(Duration::from_millis(1)),
            'l' => self.preload = v.parse().ok().filter(|n| *n <= 65_535).ok_or_else(bad)?,
            's' => self.size = v.parse().ok().filter(|n| *n <= 65_507).ok_or_else(bad)?,
            't' | 'T' => self.ttl = Some(v.parse().ok().filter(|n| *n > 0).ok_or_else(bad)?),
            'z' => self.tos = Some(number(v).ok_or_else(bad)?),
            'W' => self.wait = seconds()?,
            'w' => self.deadline = Some(seconds()?),
            'p' => self.pattern = pattern(v).ok_or_else(bad)?,
            'P' => self.random = true,
            'S' => self.source = Some(inet_aton(v).ok_or_else(bad)?),
            'I' => match inet_aton(v) {
                Some(a) => self.source = Some(a),
                None if v.is_empty() => return Err(bad()),
                None => self.interface = Some(v.to_string()),
            },
            'o' => self.once = true,
            'q' => self.quiet = true,
            'Q' => self.no_errors = true,
            'v' => self.verbose = true,
            'f' => self.flood = true,
            'a' => self.bell = true,
            'n' => self.numeric = true,
            'D' => self.df = true,
            'R' => self.record = true,
            'r' => self.dontroute = true,
            'L' => self.noloop = true,
            'd' => return Err(refused("-d: the stack keeps no debug trace of sockets (SO_DEBUG)")),
            'g' => return Err(refused("-g: the stack refuses source routes (RFC 6274 3.13.2.3)")),
            'E' => return Err(refused("-E: IPsec is not in this build")),
            '6' => return Err(refused("-6: stands before all other options, which are then ping6's")),
            _ => {}
        }
        Ok(())
    }
}

/// The arguments of the ping6 that is meant: `-6` is the first option, or the host is an IPv6 address.
pub fn ping6(args: &[String]) -> Option<Vec<String>> {
    if let Some(rest) = args.first().and_then(|a| a.strip_prefix("-6")) {
        let more = (!rest.is_empty()).then(|| format!("-{rest}"));
        return Some(more.into_iter().chain(args[1..].iter().cloned()).collect());
    }
    let host = args.last().filter(|h| !h.starts_with('-'))?;
    crate::addr::parse6(host).map(|_| args.to_vec())
}

/// 0 to 255, decimal or 0x.
fn number(v: &str) -> Option<u8> {
    match v.strip_prefix("0x") {
        Some(h) => u8::from_str_radix(h, 16).ok().filter(|_| !h.starts_with('+')),
        None => v.parse().ok().filter(|_| !v.starts_with('+')),
    }
}

/// Up to 16 bytes in hexadecimal; a digit alone is a byte.
pub(crate) fn pattern(v: &str) -> Option<Vec<u8>> {
    if v.is_empty() || v.len() > 32 || !v.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    v.as_bytes().chunks(2).map(|c| u8::from_str_radix(std::str::from_utf8(c).ok()?, 16).ok()).collect()
}

fn usage(why: impl std::fmt::Display) -> Failure {
    Failure { code: 2, ..Failure::usage(why, USAGE) }
}

fn refused(why: &str) -> Failure {
    Failure { message: why.into(), code: 2 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn p(s: &str) -> Result<Option<Options>, Failure> {
        Options::parse(&s.split_whitespace().map(str::to_string).collect::<Vec<_>>())
    }

    fn good(s: &str) -> Options {
        p(s).expect("good").expect("no help")
    }

    #[test]
    fn options() {
        let o = good("-c3 -i 0.2 -s 1000 -t 5 -q 10.1");
        assert_eq!(
            (o.count, o.size, o.ttl, o.quiet, o.host.as_str()),
            (Some(3), 1000, Some(5), true, "10.1")
        );
        assert_eq!(o.interval, Duration::from_millis(200));
        assert_eq!(good("-T 7 x").ttl, Some(7));
        assert_eq!(good("-z 0x10 x").tos, Some(16));
        assert_eq!(good("-f x").interval, Duration::from_millis(10));
        assert_eq!(good("-f -i 0.5 x").interval, Duration::from_millis(500));
        assert_eq!(good("-p ff0 x").pattern, [0xff, 0]);
        assert_eq!(good("-I ecm0 x").interface.as_deref(), Some("ecm0"));
        assert_eq!(good("-I 10.184 x").source, Some(Ipv4Addr::new(10, 0, 0, 184)));
        assert_eq!(good("-S 10.1 x").source, good("-I 10.1 x").source);
        let o = good("-4aDLnoQRrv -l 3 -w 9 -W 1.5 x");
        assert!(o.bell && o.df && o.noloop && o.numeric && o.once && o.no_errors && o.record && o.dontroute);
        assert_eq!(
            (o.preload, o.deadline, o.wait),
            (3, Some(Duration::from_secs(9)), Duration::from_millis(1500))
        );
        assert!(p("--help").expect("good").is_none());
    }

    #[test]
    fn bad_ones() {
        for bad in [
            "",
            "-c 0 x",
            "-s 65508 x",
            "-t 256 x",
            "-i nan x",
            "a b",
            "-j x",
            "-p xyz x",
            "-p 0123456789abcdef0123456789abcdef0 x",
            "-z +5 x",
            "-S name x",
            "-p 1 -P x",
            "-l 70000 x",
            "-w -1 x",
        ] {
            assert_eq!(p(bad).map(|_| ()).unwrap_err().code, 2, "{bad}");
        }
        for (line, want) in [
            ("-g 10.1 x", "source routes"),
            ("-E ipsec x", "IPsec"),
            ("-d x", "SO_DEBUG"),
            ("-n6 x", "stands before"),
        ] {
            assert!(p(line).unwrap_err().message.contains(want), "{line}");
        }
    }

    #[test]
    fn ping6_is_meant_by_its_option_or_by_its_address() {
        let p = |s: &str| {
            let w: Vec<String> = s.split(' ').map(str::to_owned).collect();
            ping6(&w).map(|w| w.join(" "))
        };
        assert_eq!(p("-6 -c 1 host").as_deref(), Some("-c 1 host"));
        assert_eq!(p("-6c1 host").as_deref(), Some("-c1 host"));
        assert_eq!(p("-c 1 fe80::1%ecm0").as_deref(), Some("-c 1 fe80::1%ecm0"));
        assert_eq!((p("-c 1 10.1"), p("host"), p("-q")), (None, None, None));
    }

    proptest! {
        #[test]
        fn no_words_make_it_panic(words in prop::collection::vec("(-?[a-zA-Z0-9.]{0,6}|\\PC{0,4})", 0..6)) {
            let _ = Options::parse(&words);
        }
    }
}
