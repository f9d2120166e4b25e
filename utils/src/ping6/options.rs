//! ping6's command line: NetBSD's, and FreeBSD's -D and -z.

use crate::getopt;
use crate::tool::Failure;
use iopkt_wire::nodeinfo::{flag, qtype};
use std::net::Ipv6Addr;
use std::time::Duration;

/// Usage, as `--help` prints it.
pub const USAGE: &str =
    "usage: ping6 [-DdfHmNnoqtvWw] [-a addrtype] [-b bufsiz] [-c count] [-h hoplimit] [-I interface]
             [-i wait] [-l preload] [-p pattern] [-S sourceaddr] [-s packetsize] [-X deadline]
             [-x maxwait] [-z tclass] host
  -c  stop after so many requests        -o  stop after the first answer
  -i  seconds between two (default 1)    -x  wait so long for the last answer (default 2)
  -X  stop after so many seconds in all
  -s  bytes of data (default 56)         -p  fill them with this pattern (hexadecimal)
  -h  hop limit                          -z  traffic class
  -I  send through this interface        -S  from this address
  -D  don't cut what is too long for the way   -m  don't cut for an MTU of 1280 (always so)
  -f  flood: as fast as answers come, or a hundred a second   -l  so many at once first
  -q  only the summary   -v  all ICMPv6 that comes   -d  SO_DEBUG   -b  size of the socket's buffers
  -H  names for addresses in answers   -n  no names (the default)
instead of an echo, by a node information query (RFC 4620):
  -w  the node's name   -W  the same in the older form   -t  what queries it answers
  -a  its addresses: l link-local, s site-local, g global, c of IPv4, A anycast, a of all interfaces
  -N  host is a name: asks the group of the nodes with that name, twice: the older group
host is an address, fe80::1%ecm0 for one of an interface, or a name.
Exit 0 when an answer came, 1 when none did, 2 on errors. SOCK=/prefix selects the stack.";

/// Options of other ping6s that this one has not, and why.
const REFUSED: &[(char, &str)] = &[
    ('g', "the stack has no IPV6_NEXTHOP; add a route for the host (route add -inet6 -host HOST GATEWAY)"),
    ('P', "this stack has no IPsec"),
    ('R', "reachability is what answers confirm; nothing else is believed"),
    ('E', "this stack has no IPsec"),
    ('Z', "this stack has no IPsec"),
];

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An echo request.
    Echo,
    /// A node information query: type, flags, and whether it is the older form without a subject.
    Query(u16, u16, bool),
}

/// What the user asked for.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools)] // ping6 has that many
pub struct Options {
    pub(super) kind: Kind,
    pub(super) count: Option<u64>,
    pub(super) interval: Duration,
    pub(super) preload: u64,
    pub(super) wait: Duration,
    pub(super) deadline: Option<Duration>,
    pub(super) size: usize,
    pub(super) pattern: Vec<u8>,
    pub(super) hops: Option<u8>,
    pub(super) class: Option<u8>,
    pub(super) buffers: Option<i32>,
    pub(super) df: bool,
    pub(super) debug: bool,
    /// Interface to send through.
    pub interface: Option<String>,
    pub(super) source: Option<Ipv6Addr>,
    pub(super) once: bool,
    pub(super) quiet: bool,
    pub(super) flood: bool,
    pub(super) verbose: bool,
    /// Names for addresses.
    pub names: bool,
    /// -N: 1 the group of the name, 2 the older one.
    pub group: u8,
    /// Whom to ask, as it was written.
    pub host: String,
}

impl Options {
    /// Reads the command line; `None` when help was asked for.
    ///
    /// # Errors
    /// Wrong usage.
    pub fn parse(args: &[String]) -> Result<Option<Options>, Failure> {
        let f = getopt::parse("a:b:c:DdEfg:Hh:I:i:l:mNnoP:p:qRS:s:tvWwX:x:Z:z:", args).map_err(usage)?;
        if f.has('?') {
            return Ok(None);
        }
        if let Some((c, why)) = REFUSED.iter().find(|r| f.has(r.0)) {
            return Err(Failure { code: 2, ..Failure::new(format!("-{c}: {why}")) });
        }
        let [host] = f.rest.as_slice() else {
            return Err(usage(if f.rest.is_empty() {
                "no host"
            } else {
                "one host, please (a way by hops is refused: RFC 5095 took the routing header away)"
            }));
        };
        let mut o = Options::to(host);
        for (c, v) in &f.flags {
            o.flag(*c, v.as_deref().unwrap_or(""))?;
        }
        let asked = f.flags.iter().filter(|x| matches!(x.0, 'a' | 't' | 'w' | 'W')).count();
        if asked > 1 {
            return Err(usage("one of -a, -t, -w, -W"));
        }
        if o.group > 0 && host.parse::<Ipv6Addr>().is_ok() {
            return Err(usage("-N: host must be a name, which the group is made of"));
        }
        if o.flood && f.has('i') {
            return Err(usage("-f and -i exclude each other"));
        }
        Ok(Some(o))
    }

    fn to(host: &str) -> Options {
        Options {
            kind: Kind::Echo,
            count: None,
            interval: Duration::from_secs(1),
            preload: 0,
            wait: Duration::from_secs(2),
            deadline: None,
            size: 56,
            pattern: Vec::new(),
            hops: None,
            class: None,
            buffers: None,
            df: false,
            debug: false,
            interface: None,
            source: None,
            once: false,
            quiet: false,
            flood: false,
            verbose: false,
            names: false,
            group: 0,
            host: host.into(),
        }
    }

    fn flag(&mut self, c: char, v: &str) -> Result<(), Failure> {
        let bad = || usage(format!("-{c} {v}: bad value"));
        let seconds = || {
            let s = v.parse::<f64>().ok().filter(|s| s.is_finite() && (0.0..1e6).contains(s));
            s.map(Duration::from_secs_f64).ok_or_else(bad)
        };
        match c {
            'a' => self.kind = Kind::Query(qtype::ADDRESSES, addresses(v).ok_or_else(bad)?, false),
            't' => self.kind = Kind::Query(qtype::SUPPORTED, 0, false),
            'w' => self.kind = Kind::Query(qtype::NAME, 0, false),
            'W' => self.kind = Kind::Query(qtype::NAME, 0, true),
            'b' => self.buffers = Some(v.parse().ok().filter(|n| *n > 0).ok_or_else(bad)?),
            'c' => self.count = Some(v.parse().ok().filter(|n| *n > 0).ok_or_else(bad)?),
            'i' => self.interval = seconds()?.max(Duration::from_millis(1)),
            'l' => self.preload = v.parse().ok().filter(|n| *n <= 65_535).ok_or_else(bad)?,
            'x' => self.wait = seconds()?,
            'X' => self.deadline = Some(seconds()?),
            // A datagram of 65,535 bytes has the ICMP header in it.
            's' => self.size = v.parse().ok().filter(|n| *n <= 65_527).ok_or_else(bad)?,
            'p' => self.pattern = crate::ping::pattern(v).ok_or_else(bad)?,
            'h' => self.hops = Some(v.parse().ok().filter(|n| *n > 0).ok_or_else(bad)?),
            'z' => self.class = Some(v.parse().map_err(|_| bad())?),
            'I' if v.is_empty() => return Err(bad()),
            'I' => self.interface = Some(v.into()),
            'S' => self.source = Some(v.parse().map_err(|_| bad())?),
            // The stack cuts for the MTU of the way, never for the smallest: what -m asks for is so.
            'm' => {}
            'N' => self.group += 1,
            'D' => self.df = true,
            'd' => self.debug = true,
            'f' => {
                self.flood = true;
                self.interval = Duration::from_millis(10);
            }
            'H' => self.names = true,
            'n' => self.names = false,
            'o' => self.once = true,
            'q' => self.quiet = true,
            'v' => self.verbose = true,
            _ => {}
        }
        Ok(())
    }
}

/// The flags of a question for addresses.
fn addresses(v: &str) -> Option<u16> {
    let bit = |c| match c {
        'a' => Some(flag::ALL),
        'c' => Some(flag::COMPATIBLE),
        'g' => Some(flag::GLOBAL),
        's' => Some(flag::SITE_LOCAL),
        'l' => Some(flag::LINK_LOCAL),
        'A' => Some(flag::ANYCAST),
        _ => None,
    };
    v.chars().try_fold(0, |all, c| Some(all | bit(c)?)).filter(|f| *f != 0)
}

pub(super) fn usage(why: impl std::fmt::Display) -> Failure {
    Failure { code: 2, ..Failure::usage(why, USAGE) }
}
