//! traceroute's command line.

use crate::addr::inet_aton;
use crate::getopt;
use crate::tool::Failure;
use std::net::Ipv4Addr;
use std::time::Duration;

/// Usage, as `--help` prints it.
pub const USAGE: &str =
    "usage: traceroute [-4FIlnrv] [-f first_ttl] [-i interface] [-m max_ttl] [-p port] [-q probes]
                  [-s address] [-t tos] [-w seconds] [-z milliseconds] [--json] host [packetlen]
  -f  begin with this time to live (default 1)    -m  end with it (default 64)
  -q  probes for each (default 3)   -w  wait so long for an answer (default 5)
  -z  pause between probes          -p  first UDP port (default 33434)
  -I  ICMP echo instead of UDP      -F  don't fragment
  -s  from this address   -i  through this interface   -r  only to hosts on the link
  -t  type of service     -l  show the time to live of answers
  -n  no names, only addresses      -v  show other ICMP that comes   -4  IPv4 (always)
Behind a time: !H !N !P host, network, protocol unreachable, !F needs fragments, !S source route failed,
!X !Z !U !W !I !A !T prohibited or unknown (as BSD has them), !<n> another code, ! a TTL of 1 or less.
SOCK=/prefix selects the stack.";

/// Shortest packet: IPv4 and UDP header.
pub const HEADERS: usize = 28;

/// What the user asked for.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::struct_excessive_bools)] // BSD's traceroute has that many
pub struct Options {
    /// First and last time to live.
    pub ttl: (u8, u8),
    /// Probes for each.
    pub probes: u32,
    /// How long to wait for an answer.
    pub wait: Duration,
    /// Time between probes.
    pub pause: Duration,
    /// UDP port of the first probe.
    pub port: u16,
    /// ICMP echo instead of UDP.
    pub icmp: bool,
    /// Don't fragment.
    pub df: bool,
    /// Address to send from.
    pub source: Option<Ipv4Addr>,
    /// Interface to send through.
    pub interface: Option<String>,
    /// Only to hosts on the link.
    pub dontroute: bool,
    /// Type of service.
    pub tos: Option<u8>,
    /// Show the TTL of answers.
    pub show_ttl: bool,
    /// Only numbers.
    pub numeric: bool,
    /// Show other ICMP.
    pub verbose: bool,
    /// One JSON document instead of lines.
    pub json: bool,
    /// Where to.
    pub host: String,
    /// Bytes of a probe, IPv4 header included.
    pub len: usize,
}

impl Options {
    /// Reads the command line; `None` when help was asked for.
    ///
    /// # Errors
    /// Wrong usage.
    pub fn parse(args: &[String]) -> Result<Option<Options>, Failure> {
        let f = getopt::parse("46dFf:g:i:Ilm:np:q:rs:t:vw:z:", args).map_err(usage)?;
        if f.has('?') {
            return Ok(None);
        }
        let mut o = Options {
            ttl: (1, 64),
            probes: 3,
            wait: Duration::from_secs(5),
            pause: Duration::ZERO,
            port: 33_434,
            icmp: f.has('I'),
            df: f.has('F'),
            source: None,
            interface: None,
            dontroute: f.has('r'),
            tos: None,
            show_ttl: f.has('l'),
            numeric: f.has('n'),
            verbose: f.has('v'),
            json: f.has('J'),
            host: String::new(),
            len: 40,
        };
        for (c, v) in &f.flags {
            o.flag(*c, v.as_deref().unwrap_or(""))?;
        }
        let (host, len) = match f.rest.as_slice() {
            [h] => (h, None),
            [h, n] => (h, Some(n)),
            [] => return Err(usage("no host")),
            [_, _, more, ..] => return Err(usage(format!("{more}: not expected"))),
        };
        o.host.clone_from(host);
        if let Some(n) = len {
            let good = n.parse().ok().filter(|n| (HEADERS..=65_535).contains(n));
            o.len = good.ok_or_else(|| usage(format!("packetlen {n}: not from {HEADERS} to 65535")))?;
        }
        if o.ttl.0 > o.ttl.1 {
            return Err(usage(format!("-f {} is more than -m {}", o.ttl.0, o.ttl.1)));
        }
        let last = u32::from(o.port) + o.probes * u32::from(o.ttl.1 - o.ttl.0 + 1);
        if !o.icmp && last > 65_536 {
            return Err(usage(format!("-p {}: the probes would go beyond port 65535", o.port)));
        }
        Ok(Some(o))
    }

    fn flag(&mut self, c: char, v: &str) -> Result<(), Failure> {
        let bad = || usage(format!("-{c} {v}: bad value"));
        match c {
            'f' => self.ttl.0 = v.parse().ok().filter(|n| *n > 0).ok_or_else(bad)?,
            'm' => self.ttl.1 = v.parse().ok().filter(|n| *n > 0).ok_or_else(bad)?,
            'q' => self.probes = v.parse().ok().filter(|n| (1..=100).contains(n)).ok_or_else(bad)?,
            'p' => self.port = v.parse().ok().filter(|n| *n > 0).ok_or_else(bad)?,
            't' => self.tos = Some(v.parse().map_err(|_| bad())?),
            's' => self.source = Some(inet_aton(v).ok_or_else(bad)?),
            'i' => self.interface = Some(v.to_string()),
            'w' => {
                let s = v.parse::<f64>().ok().filter(|s| s.is_finite() && (0.01..1e5).contains(s));
                self.wait = Duration::from_secs_f64(s.ok_or_else(bad)?);
            }
            'z' => {
                self.pause = Duration::from_millis(v.parse().ok().filter(|n| *n < 3_600_000).ok_or_else(bad)?)
            }
            'g' => return Err(Failure::new("-g: the stack refuses source routes (RFC 6274 3.13.2.3)")),
            'd' => return Err(Failure::new("-d: the stack keeps no debug trace of sockets (SO_DEBUG)")),
            '6' => return Err(Failure::new("-6: IPv6 is not in this build")),
            _ => {}
        }
        Ok(())
    }
}

fn usage(why: impl std::fmt::Display) -> Failure {
    Failure::usage(why, USAGE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn p(s: &str) -> Result<Option<Options>, Failure> {
        Options::parse(&s.split_whitespace().map(str::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn options() {
        let o = p("-nIFlrv -f 2 -m 5 -q 1 -w 0.5 -z 10 -p 40000 -s 10.184 -i ecm0 -t 16 x 100")
            .expect("good")
            .expect("no help");
        assert!(o.numeric && o.icmp && o.df && o.show_ttl && o.dontroute && o.verbose && !o.json);
        assert_eq!((o.ttl, o.probes, o.port, o.len, o.tos), ((2, 5), 1, 40_000, 100, Some(16)));
        assert_eq!((o.wait, o.pause), (Duration::from_millis(500), Duration::from_millis(10)));
        assert_eq!((o.source, o.interface.as_deref()), (Some(Ipv4Addr::new(10, 0, 0, 184)), Some("ecm0")));
        for bad in [
            "",
            "-f 0 x",
            "-m 256 x",
            "-f 9 -m 3 x",
            "-q 0 x",
            "-w 0 x",
            "-w inf x",
            "-p 65500 x",
            "-s name x",
            "x 27",
            "x 28 y",
            "-k x",
            "-g 10.1 x",
            "-6 x",
            "-z -1 x",
        ] {
            assert_eq!(p(bad).map(|_| ()).unwrap_err().code, 1, "{bad}");
        }
        assert!(p("-I -p 65500 x").is_ok() && p("--help").expect("good").is_none());
    }

    proptest! {
        #[test]
        fn no_words_make_it_panic(words in prop::collection::vec("(-?[a-zA-Z0-9.]{0,6}|\\PC{0,4})", 0..6)) {
            let _ = Options::parse(&words);
        }
    }
}
