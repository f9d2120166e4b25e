//! `-p tcpip`: every option by name, what its value may be, which variants have it, what it does here.

use super::{Refused, Variant, number, refuse};

/// What `-p tcpip` says. `None` and `false` are "not given".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tcpip {
    /// `prefix=`: put before `/dev/socket`, and selected by clients with `SOCK`. Empty, or begins with a
    /// slash and does not end with one.
    pub prefix: String,
    /// `somaxconn=`.
    pub somaxconn: Option<u32>,
    /// `reuseport_unicast`.
    pub reuseport_unicast: bool,
    /// `enmap`: no mapping of enXX names.
    pub no_enmap: bool,
    /// `mclbytes=`: cluster size in bytes.
    pub mclbytes: Option<usize>,
    /// `pkt_cache=` and `mbuf_cache=` (the larger): buffers that a thread keeps. A buffer is always header
    /// and cluster in one here, so both options mean the one cache.
    pub pkt_cache: Option<usize>,
    /// `random`: fresh randomness from the kernel in every turn.
    pub random: bool,
    /// `rx_prio=`, `rx_pulse_prio=`: QNX priority of the packet threads.
    pub rx_prio: Option<u8>,
    /// `timer_pulse_prio=`: QNX priority of the thread that runs the stack's timers.
    pub timer_prio: Option<u8>,
    /// `pagesize=`: quantum of packet memory in bytes; the system's page when not given.
    pub pagesize: Option<usize>,
    /// `bigpage_strict`: for all pools.
    pub bigpage_strict: bool,
    /// `cache=0`: threads keep no free buffers.
    pub no_cache: bool,
    /// `pkt_typed_mem=`: memory of packet buffers.
    pub typed_mem: Option<String>,
    /// `forward6`: packets of IPv6 go on from interface to interface.
    pub forward6: bool,
    /// `recv_ctxt=`: bytes read from a program at a time.
    pub recv_ctxt: Option<usize>,
    /// `confstr_monitor`: follow the host's name.
    pub confstr_monitor: bool,
    /// `so_txprio_enable`.
    pub so_txprio: bool,
    /// `stacksize=`: bytes of a pool thread's stack.
    pub stacksize: Option<usize>,
    /// `threads_min=`.
    pub threads_min: Option<usize>,
    /// `threads_max=`.
    pub threads_max: Option<usize>,
    /// `threads_incr=`.
    pub threads_incr: Option<usize>,
    /// Options that nobody knows: said in the log, otherwise without effect.
    pub unknown: Vec<String>,
}

/// Defaults of the thread pool, and of `recv_ctxt`.
pub(crate) const THREADS_MIN: usize = 15;
pub(crate) const THREADS_MAX: usize = 200;
pub(crate) const THREADS_INCR: usize = 25;
pub(crate) const STACKSIZE: usize = 4096;
pub(crate) const RECV_CTXT: usize = 65_536;

/// Which variants have an option.
#[derive(Clone, Copy, PartialEq, Eq)]
enum In {
    All,
    Hc,
    V6,
}

/// What an option's value may be.
#[derive(Clone, Copy)]
enum Value {
    /// No value.
    None,
    /// A number in this range.
    Num(u64, u64),
    /// A power of two in this range.
    Pow2(u64, u64),
    /// Text that is not empty, without control characters.
    Text,
    /// An absolute path without `..`.
    Prefix,
}

/// What an option does in this build.
#[derive(Clone, Copy)]
enum Effect {
    /// Known, without effect yet: refused.
    NotYet,
    Set(fn(&mut Tcpip, &str, u64)),
}

struct Opt {
    name: &'static str,
    value: Value,
    variants: In,
    effect: Effect,
    about: &'static str,
}

const PRIO: Value = Value::Num(1, super::MAX_PRIORITY as u64);
/// SOMAXCONN of the system's headers, which is also the least that may be asked for.
pub(super) const SOMAXCONN: u64 = 4096;

const fn not_yet(name: &'static str, value: Value, variants: In, about: &'static str) -> Opt {
    Opt { name, value, variants, effect: Effect::NotYet, about }
}

const fn set(name: &'static str, value: Value, about: &'static str, f: fn(&mut Tcpip, &str, u64)) -> Opt {
    Opt { name, value, variants: In::All, effect: Effect::Set(f), about }
}

const fn rx_prio(name: &'static str) -> Opt {
    set(name, PRIO, "priority of the packet threads (1 to 63)", |t, _, n| t.rx_prio = Some(n as u8))
}

/// All options, by name.
const OPTIONS: &[Opt] = &[
    set(
        "bigpage_strict",
        Value::None,
        "pagesize for all pools, large packets and the heap too",
        |t, _, _| {
            t.bigpage_strict = true;
        },
    ),
    set("cache", Value::Num(0, 0), "=0: threads keep no free packet buffers (to find bugs)", |t, _, _| {
        t.no_cache = true;
    }),
    set("confstr_monitor", Value::None, "follow changes of the host name", |t, _, _| {
        t.confstr_monitor = true
    }),
    set("enmap", Value::None, "do not map enXX names onto the real interfaces", |t, _, _| t.no_enmap = true),
    not_yet("fastforward", Value::Num(0, 1), In::All, "flow-cache forwarding"),
    not_yet("forward", Value::None, In::All, "forward IPv4 between interfaces"),
    Opt {
        name: "forward6",
        value: Value::None,
        variants: In::V6,
        effect: Effect::Set(|t, _, _| t.forward6 = true),
        about: "forward IPv6 between interfaces",
    },
    not_yet("ipsec", Value::None, In::Hc, "enable IPsec"),
    set("mbuf_cache", Value::Num(0, 65_536), "packet buffers that a thread keeps", Tcpip::cache),
    set("mclbytes", Value::Pow2(2048, 65_536), "size of a packet buffer in bytes (2048)", |t, _, n| {
        t.mclbytes = Some(n as usize);
    }),
    set(
        "pagesize",
        Value::Pow2(4096, 1 << 24),
        "least memory taken at a time for packets (system page)",
        |t, _, n| {
            t.pagesize = Some(n as usize);
        },
    ),
    not_yet("pfil_ipsec", Value::None, In::Hc, "packet filters before encryption"),
    set("pkt_cache", Value::Num(0, 65_536), "the same cache as mbuf_cache", Tcpip::cache),
    set("pkt_typed_mem", Value::Text, "packet buffers from sysram, ram/dma, memfd or a file", |t, s, _| {
        t.typed_mem = Some(s.to_owned());
    }),
    set("prefix", Value::Prefix, "prepended to /dev/socket; clients choose it with SOCK", |t, s, _| {
        t.prefix = tidy(s);
    }),
    set("random", Value::None, "fresh randomness from the kernel in every turn", |t, _, _| t.random = true),
    set("recv_ctxt", Value::Num(2048, 1 << 20), "bytes read from a program at a time (65536)", |t, _, n| {
        t.recv_ctxt = Some(n as usize);
    }),
    set("reuseport_unicast", Value::None, "unicast UDP to every SO_REUSEPORT socket of a port", |t, _, _| {
        t.reuseport_unicast = true;
    }),
    rx_prio("rx_prio"),
    rx_prio("rx_prio_pulse"),
    rx_prio("rx_pulse_prio"),
    set("so_txprio_enable", Value::None, "permit SO_TXPRIO", |t, _, _| t.so_txprio = true),
    set(
        "somaxconn",
        Value::Num(SOMAXCONN, 1 << 20),
        "cap of listen backlogs (4096, also the minimum)",
        |t, _, n| {
            t.somaxconn = Some(n as u32);
        },
    ),
    set(
        "stacksize",
        Value::Num(4096, 1 << 28),
        "stack of each thread in bytes (4096), above what Linux needs",
        |t, _, n| {
            t.stacksize = Some(n as usize);
        },
    ),
    set("threads_incr", Value::Num(1, 65_536), "growth step of the thread pool (25)", |t, _, n| {
        t.threads_incr = Some(n as usize);
    }),
    set("threads_max", Value::Num(4, 65_536), "ceiling of the thread pool (200)", |t, _, n| {
        t.threads_max = Some(n as usize);
    }),
    set("threads_min", Value::Num(4, 65_536), "floor of the thread pool (15, at least 4)", |t, _, n| {
        t.threads_min = Some(n as usize);
    }),
    set("timer_pulse_prio", PRIO, "priority of the thread with the stack's timers (1 to 63)", |t, _, n| {
        t.timer_prio = Some(n as u8);
    }),
];

impl Tcpip {
    fn cache(&mut self, _: &str, n: u64) {
        self.pkt_cache = Some(self.pkt_cache.unwrap_or(0).max(n as usize));
    }

    /// Takes one option list. Later options win over earlier ones.
    pub(super) fn apply(&mut self, variant: &Variant, list: &str) -> Result<(), Refused> {
        if list.is_empty() {
            return Ok(());
        }
        for item in list.split(',') {
            self.one(variant, item)?;
        }
        Ok(())
    }

    /// Checks what several options mean together.
    pub(super) fn whole(&self) -> Result<(), Refused> {
        if let (Some(min), Some(max)) = (self.threads_min, self.threads_max)
            && max < min
        {
            return refuse(format!("-p tcpip: 'threads_max={max}' is less than 'threads_min={min}'"));
        }
        Ok(())
    }

    fn one(&mut self, variant: &Variant, item: &str) -> Result<(), Refused> {
        let (name, value) = match item.split_once('=') {
            Some((n, v)) => (n, Some(v)),
            None => (item, None),
        };
        if name.is_empty() {
            return refuse("-p tcpip: empty option; the list is name[=value],name[=value],...");
        }
        let Some(o) = OPTIONS.iter().find(|o| o.name == name) else {
            // As QNX's: said in the log, and the stack goes on.
            self.unknown.push(format!("-p tcpip: unknown option '{}'{}", name.escape_debug(), suggest(name)));
            return Ok(());
        };
        let there = match o.variants {
            In::All => true,
            In::Hc => variant.hc,
            In::V6 => variant.v6,
        };
        if !there {
            let who = if o.variants == In::V6 { "io-pkt-v6-hc" } else { "io-pkt-v4-hc or io-pkt-v6-hc" };
            return refuse(format!("-p tcpip: option '{name}' is not in {}; use {who}", variant.name));
        }
        let n = o.check(value)?;
        match o.effect {
            Effect::NotYet => {
                refuse(format!("-p tcpip: option '{name}' ({}) is not in this build; leave it out", o.about))
            }
            Effect::Set(f) => {
                f(self, value.unwrap_or(""), n);
                Ok(())
            }
        }
    }
}

impl Opt {
    /// Checks the value; returns it as a number where it is one.
    fn check(&self, value: Option<&str>) -> Result<u64, Refused> {
        let bad = |what: String| {
            let given = value.map_or_else(|| self.name.to_owned(), |v| format!("{}={v}", self.name));
            refuse(format!("-p tcpip: '{given}': {what}"))
        };
        let range = |min: u64, max: u64| {
            if min == max {
                format!("needs the value {min}")
            } else {
                format!("needs a number from {min} to {max}")
            }
        };
        match (self.value, value) {
            (Value::None, None) => Ok(0),
            (Value::None, Some(_)) => bad("takes no value".into()),
            (Value::Num(min, max), v) => match v.and_then(number) {
                Some(n) if (min..=max).contains(&n) => Ok(n),
                _ => bad(range(min, max)),
            },
            (Value::Pow2(min, max), v) => match v.and_then(number) {
                Some(n) if (min..=max).contains(&n) && n.is_power_of_two() => Ok(n),
                _ => bad(format!("{} that is a power of two", range(min, max))),
            },
            (Value::Text, v) => {
                if v.is_some_and(|v| !v.is_empty() && !v.contains(char::is_control)) {
                    Ok(0)
                } else {
                    bad("needs a value".into())
                }
            }
            (Value::Prefix, v) => match v {
                Some(v) if v.is_empty() || is_prefix(v) => Ok(0),
                _ => bad("needs an absolute path of at most 64 bytes without '..', such as /alt".into()),
            },
        }
    }
}

fn is_prefix(v: &str) -> bool {
    let clean = |c: char| !c.is_control();
    v.starts_with('/') && v.len() <= 64 && v.chars().all(clean) && v.split('/').all(|part| part != "..")
}

/// A prefix with single slashes, none at its end: `/alt//` → `/alt`, `/` → ``.
fn tidy(v: &str) -> String {
    v.split('/').filter(|p| !p.is_empty() && *p != ".").fold(String::new(), |s, p| s + "/" + p)
}

/// A word about an option that is like `name`.
fn suggest(name: &str) -> String {
    let near = OPTIONS.iter().map(|o| (distance(name, o.name), o.name)).min();
    match near {
        Some((d, near)) if d <= 2 => format!("; did you mean '{near}'?"),
        _ => "; --help lists them".into(),
    }
}

/// Levenshtein distance, for short words.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(40).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(40).enumerate() {
        let mut diag = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let next = (diag + usize::from(x != *y)).min(row[j] + 1).min(row[j + 1] + 1);
            diag = std::mem::replace(&mut row[j + 1], next);
        }
    }
    row[b.len()]
}

/// Lines about the options for `--help`: those with an effect, then the names of the others.
pub(super) fn help(variant: &Variant) -> String {
    let here = |o: &&Opt| match o.variants {
        In::All => true,
        In::Hc => variant.hc,
        In::V6 => variant.v6,
    };
    let mut out = String::new();
    for o in OPTIONS.iter().filter(|o| matches!(o.effect, Effect::Set(_))) {
        let value = match o.value {
            Value::None => "",
            Value::Num(..) | Value::Pow2(..) => "=N",
            Value::Text => "=OBJECT",
            Value::Prefix => "=PATH",
        };
        out += &format!("      {:<20}{}\n", format!("{}{value}", o.name), o.about);
    }
    let rest: Vec<_> =
        OPTIONS.iter().filter(here).filter(|o| matches!(o.effect, Effect::NotYet)).map(|o| o.name).collect();
    out += "    known, but not in this build:\n";
    let mut line = String::from("     ");
    for name in rest {
        if line.len() + name.len() > 90 {
            out += &line;
            out.push('\n');
            line = String::from("     ");
        }
        line += &format!(" {name}");
    }
    out + &line + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_unique() {
        assert!(OPTIONS.windows(2).all(|w| w[0].name < w[1].name));
    }

    #[test]
    fn distances() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("random", "random"), 0);
    }
}
