//! `dhcp.client`'s command line (QNX 6.6).

use crate::getopt;
use crate::tool::Failure;
use std::net::Ipv4Addr;
use std::time::Duration;

/// Usage, as `--help` prints it.
pub const USAGE: &str = "usage: dhcp.client [-abdHknRru] [-A num] [-D ident] [-h host] [-I num] [-i if] [-P port] [-p port]
                   [-s host] [-T secs] [-t num]
  -A  offered addresses that may be in use before it gives up (5; 0: do not ask by ARP)
  -a  add the address as an alias         -b  ask for unicast replies
  -D  client identifier (the hardware address)
  -d  log and print what happens          -h  host name that the server is told
  -H  do not pass the server's host name to the script
  -I  looks for an interface, 2 s apart (5; exit code 2 if there is none)
  -i  interface (the first one)           -k  no domain in resolv.conf
  -n  leave resolv.conf alone             -P, -p  port of the server (67), of the client (68)
  -R, -r  set no routes                   -s  only this server
  -T  seconds without an answer           -t  minutes without an answer, after which it ends (never)
  -u  wait until the interface is configured (exit code 3 if no server answers)
The address is given back when it ends (SIGTERM, SIGINT), and kept after SIGPWR. SOCK=/prefix selects the stack.";

/// What the command line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// `-A`
    pub conflicts: u32,
    /// `-a`
    pub alias: bool,
    /// `-b`
    pub unicast: bool,
    /// `-D`
    pub ident: Option<String>,
    /// `-d`
    pub debug: bool,
    /// `-h`
    pub host_name: Option<String>,
    /// `-H`
    pub no_host_name: bool,
    /// `-I`
    pub polls: u32,
    /// `-i`
    pub interface: Option<String>,
    /// `-k`
    pub no_domain: bool,
    /// `-n`
    pub no_resolv: bool,
    /// `-R`, `-r`
    pub no_routes: bool,
    /// `-P`
    pub server_port: u16,
    /// `-p`
    pub client_port: u16,
    /// `-s`
    pub server: Option<Ipv4Addr>,
    /// The shorter of `-T` and `-t`.
    pub limit: Option<Duration>,
    /// `-u`
    pub wait: bool,
}

impl Options {
    /// `None` for `--help`.
    ///
    /// # Errors
    /// Usage.
    pub fn parse(args: &[String]) -> Result<Option<Options>, Failure> {
        let f =
            getopt::parse("A:abD:dHh:I:i:kmnP:p:Rrs:T:t:u", args).map_err(|e| Failure::usage(e, USAGE))?;
        if f.has('?') {
            return Ok(None);
        }
        if f.has('m') {
            let why = "-m: Linux has no configuration strings; name servers go into resolv.conf (or nowhere, with -n)";
            return Err(Failure::new(why));
        }
        if let Some(word) = f.rest.first() {
            return Err(Failure::usage(
                format!("{word}: not expected; an interface is named with -i"),
                USAGE,
            ));
        }
        let number = |c: char, otherwise: u32, min: u32, max: u32| match f.value(c) {
            None => Ok(otherwise),
            Some(v) => match v.parse::<u32>() {
                Ok(n) if (min..=max).contains(&n) => Ok(n),
                _ => Err(Failure::usage(format!("-{c} {v}: give a number from {min} to {max}"), USAGE)),
            },
        };
        let text = |c: char, most: usize| match f.value(c) {
            Some(v) if v.is_empty() || v.len() > most => {
                Err(Failure::usage(format!("-{c} {v}: 1 to {most} characters are possible"), USAGE))
            }
            v => Ok(v.map(str::to_string)),
        };
        let server = match f.value('s') {
            None => None,
            Some(v) => Some(v.parse().map_err(|_| {
                Failure::usage(
                    format!("-s {v}: give an IPv4 address; without one no name can be asked for"),
                    USAGE,
                )
            })?),
        };
        let seconds = |n: u32, unit: u64| (n > 0).then(|| Duration::from_secs(u64::from(n) * unit));
        let (total, minutes) = (number('T', 0, 1, u32::MAX)?, number('t', 0, 1, u32::MAX)?);
        Ok(Some(Options {
            conflicts: number('A', 5, 0, 1000)?,
            alias: f.has('a'),
            unicast: f.has('b'),
            ident: text('D', 254)?,
            debug: f.has('d'),
            host_name: text('h', 255)?,
            no_host_name: f.has('H'),
            polls: number('I', 5, 0, 1_000_000)?,
            interface: f.value('i').map(str::to_string),
            no_domain: f.has('k'),
            no_resolv: f.has('n'),
            no_routes: f.has('R') || f.has('r'),
            server_port: number('P', 67, 1, 65535)? as u16,
            client_port: number('p', 68, 1, 65535)? as u16,
            server,
            limit: [seconds(total, 1), seconds(minutes, 60)].into_iter().flatten().min(),
            wait: f.has('u'),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_string).collect();
        Options::parse(&words).map(Option::unwrap).map_err(|f| f.message)
    }

    #[test]
    fn defaults_and_every_letter() {
        let o = parse("").unwrap();
        assert_eq!((o.conflicts, o.polls, o.server_port, o.client_port, o.limit), (5, 5, 67, 68, None));
        let o =
            parse("-abdHknru -A0 -D me -h box -I 9 -i ecm0 -P 6700 -p6800 -s 10.0.0.1 -T 90 -t 2").unwrap();
        assert!(
            o.alias
                && o.unicast
                && o.debug
                && o.no_host_name
                && o.no_domain
                && o.no_resolv
                && o.no_routes
                && o.wait
        );
        assert_eq!((o.conflicts, o.polls, o.server_port, o.client_port), (0, 9, 6700, 6800));
        assert_eq!(
            (o.ident.as_deref(), o.host_name.as_deref(), o.interface.as_deref()),
            (Some("me"), Some("box"), Some("ecm0"))
        );
        assert_eq!((o.server, o.limit), (Some(Ipv4Addr::new(10, 0, 0, 1)), Some(Duration::from_secs(90))));
        assert_eq!(parse("-t 1 -T 90").unwrap().limit, Some(Duration::from_secs(60)));
    }

    #[test]
    fn mistakes_are_named() {
        for (line, says) in [
            ("-m", "no configuration strings"),
            ("ecm0", "with -i"),
            ("-T 0", "-T 0"),
            ("-A x", "-A x"),
            ("-P 65536", "1 to 65535"),
            ("-s modem", "-s modem"),
            ("-z", "z"),
        ] {
            let text = parse(line).unwrap_err();
            assert!(text.contains(says), "{line}: {text}");
        }
    }
}
