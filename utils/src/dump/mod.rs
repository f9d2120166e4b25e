//! `io-pkt-dump`: writes the packets of the stack's interfaces to a pcapng file, with what only the stack knows: why it
//! dropped them. Also Wireshark's way to these interfaces (extcap).

mod capture;
mod extcap;
mod filter;
pub mod pcapng;

use crate::getopt;
use crate::tool::{Failure, Outcome, Stack, ask, odd, print};
use iopkt_client::Session;
use iopkt_ctl::{IfKind, Ifconf, Reply, Request, iff};

/// Usage, as `--help` prints it.
pub const USAGE: &str = "usage: io-pkt-dump [-pU] [-i interface]... [-w file] [-s snaplen] [-c count] [-Q direction] [-F file] [--drops]
                   [expression]
       io-pkt-dump -D [--json]
Writes packets of the stack's interfaces to a pcapng file.
  -i       interface; may be repeated; \"any\": all that are up (default)
  -w       file; \"-\" is standard output, which must not be a terminal (default)
  -s       most bytes of a packet (default 0: all)
  -c       ends after so many packets
  -p       not in promiscuous mode
  -Q       in, out or inout (default)
  -U       each packet is written at once
  -F       a compiled filter, as tcpdump -ddd prints it; an expression is compiled by tcpdump
  --drops  comments on received packets that the stack drops, with the reason
  -D       lists the interfaces
Wireshark finds its interfaces when this program (or a link to it) lies in its extcap directory.";

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `-i`.
    pub interfaces: Vec<String>,
    /// `-w`; empty: standard output.
    pub file: String,
    /// `-s`.
    pub snap: u32,
    /// `-c`.
    pub count: u64,
    /// Not `-p`.
    pub promiscuous: bool,
    /// `-Q`: received, sent.
    pub directions: (bool, bool),
    /// `-U`.
    pub unbuffered: bool,
    /// `--drops`.
    pub drops: bool,
    /// The filter's expression.
    pub expression: String,
    /// `-F`: what the file holds.
    pub program: Option<String>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Command {
    Help,
    List { json: bool },
    Interfaces,
    Dlts(String),
    Config,
    Verify { interface: String, expression: String },
    Capture(Options),
}

fn parse(args: &[String]) -> Result<Command, Failure> {
    let bad = |e: String| Failure::usage(e, USAGE);
    let (mut short, mut long) = (Vec::new(), Vec::new());
    let mut it = args.iter();
    while let Some(a) = it.next() {
        match a.strip_prefix("--").filter(|l| !l.is_empty()) {
            Some(l) => {
                let (name, value) = l.split_once('=').map_or((l, None), |(n, v)| (n, Some(v.to_string())));
                let wants = ["fifo", "extcap-interface", "extcap-capture-filter"].contains(&name);
                let value = if wants && value.is_none() { it.next().cloned() } else { value };
                long.push((name.to_string(), value));
            }
            None => short.push(a.clone()),
        }
    }
    let has = |n: &str| long.iter().any(|l| l.0 == n);
    let value = |n: &str| long.iter().find(|l| l.0 == n).and_then(|l| l.1.clone());
    const KNOWN: &[&str] = &[
        "help",
        "json",
        "drops",
        "capture",
        "fifo",
        "extcap-interfaces",
        "extcap-interface",
        "extcap-dlts",
        "extcap-config",
        "extcap-capture-filter",
        "extcap-version",
        "extcap-cleanup-postkill",
    ];
    if let Some(l) = long.iter().find(|l| !KNOWN.contains(&l.0.as_str())) {
        return Err(bad(format!("--{}: unknown option", l.0)));
    }
    let interface = || {
        let i = value("extcap-interface").ok_or_else(|| bad("--extcap-interface is missing".into()))?;
        Ok::<_, Failure>(i.strip_prefix(extcap::PREFIX).unwrap_or(&i).to_string())
    };
    let expression = value("extcap-capture-filter").unwrap_or_default();
    if has("help") {
        return Ok(Command::Help);
    }
    if has("extcap-interfaces") {
        return Ok(Command::Interfaces);
    }
    if has("extcap-dlts") {
        return Ok(Command::Dlts(interface()?));
    }
    if has("extcap-config") {
        interface()?;
        return Ok(Command::Config);
    }
    if has("extcap-capture-filter") && !has("capture") {
        return Ok(Command::Verify { interface: interface()?, expression });
    }
    let f = getopt::parse("pUDi:w:s:c:Q:F:", &short).map_err(bad)?;
    if f.has('?') {
        return Ok(Command::Help);
    }
    if f.has('D') {
        return Ok(Command::List { json: has("json") });
    }
    let number = |c: char| match f.value(c) {
        None => Ok(0),
        Some(v) => v.parse::<u64>().map_err(|_| bad(format!("-{c} {v}: not a number"))),
    };
    let mut o = Options {
        interfaces: f.flags.iter().filter(|f| f.0 == 'i').filter_map(|f| f.1.clone()).collect(),
        file: f.value('w').filter(|w| *w != "-").unwrap_or("").to_string(),
        snap: u32::try_from(number('s')?).map_err(|_| bad("-s: too large".into()))?,
        count: number('c')?,
        promiscuous: !f.has('p'),
        directions: match f.value('Q').unwrap_or("inout") {
            "in" => (true, false),
            "out" => (false, true),
            "inout" => (true, true),
            d => return Err(bad(format!("-Q {d}: in, out or inout"))),
        },
        unbuffered: f.has('U'),
        drops: has("drops") && value("drops").is_none_or(|v| v != "false"),
        expression: f.rest.join(" "),
        program: None,
    };
    if let Some(path) = f.value('F') {
        if !o.expression.is_empty() {
            return Err(bad("-F and an expression exclude each other".into()));
        }
        let text = std::fs::read_to_string(path).map_err(|e| Failure::new(format!("{path}: {e}")))?;
        o.program = Some(text);
    }
    if has("capture") {
        o.interfaces = vec![interface()?];
        o.file = value("fifo").ok_or_else(|| bad("--fifo is missing".into()))?;
        (o.expression, o.unbuffered) = (expression, true);
    }
    Ok(Command::Capture(o))
}

/// Runs the tool.
///
/// # Errors
/// Usage, no stack, no such interface, a bad filter, what writing says.
pub fn run(stack: &mut dyn Stack, args: &[String]) -> Outcome {
    match parse(args)? {
        Command::Help => print(&format!("{USAGE}\n")),
        Command::List { json } => list(stack, json),
        Command::Interfaces => {
            // Wireshark asks at its start, also where no stack runs: then there are none.
            let all = stack.ask(&Request::Interfaces { name: None });
            let all = if let Ok(Reply::Interfaces(l)) = all { l } else { Vec::new() };
            print(&extcap::interfaces(&all, &std::env::var("SOCK").unwrap_or_default()))
        }
        Command::Dlts(name) => print(&extcap::dlts(&one(stack, &name)?)),
        Command::Config => print(extcap::CONFIG),
        Command::Verify { interface, expression } => {
            let raw = one(stack, &interface).is_ok_and(|i| i.kind == IfKind::PointToPoint);
            extcap::verify(&expression, raw)
        }
        Command::Capture(o) => {
            let chosen = choose(stack, &o)?;
            let session = Session::open().map_err(|e| Failure::new(e.to_string()))?;
            capture::run(&session, &o, &chosen)
        }
    }
}

fn all(stack: &mut dyn Stack) -> Result<Vec<Ifconf>, Failure> {
    match ask(stack, "interfaces", &Request::Interfaces { name: None })? {
        Reply::Interfaces(l) => Ok(l),
        r => Err(odd(&r)),
    }
}

fn one(stack: &mut dyn Stack, name: &str) -> Result<Ifconf, Failure> {
    let found = |i: &Ifconf| i.name == name || i.alias.as_deref() == Some(name);
    let list = all(stack)?;
    list.iter().find(|i| found(i)).cloned().ok_or_else(|| {
        let names: Vec<&str> = list.iter().map(|i| i.name.as_str()).collect();
        Failure::new(format!("{name}: no such interface; there are: {}", names.join(" ")))
    })
}

fn choose(stack: &mut dyn Stack, o: &Options) -> Result<Vec<Ifconf>, Failure> {
    if o.interfaces.is_empty() || o.interfaces.iter().any(|i| i == "any") {
        return Ok(all(stack)?.into_iter().filter(|i| i.flags & iff::UP != 0).collect());
    }
    o.interfaces.iter().map(|n| one(stack, n)).collect()
}

fn list(stack: &mut dyn Stack, json: bool) -> Outcome {
    let all = all(stack)?;
    if json {
        let v: Vec<_> = all
            .iter()
            .map(|i| {
                serde_json::json!({
                    "name": i.name,
                    "up": i.flags & iff::UP != 0,
                    "link": if i.kind == IfKind::PointToPoint { "RAW" } else { "EN10MB" },
                })
            })
            .collect();
        return print(&format!("{}\n", serde_json::Value::from(v)));
    }
    let mut s = String::new();
    for (n, i) in all.iter().enumerate() {
        let up = if i.flags & iff::UP != 0 { " [Up]" } else { "" };
        s.push_str(&format!("{}.{}{up}\n", n + 1, i.name));
    }
    print(&s)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(s: &str) -> Vec<String> {
        s.split_whitespace().map(str::to_string).collect()
    }

    #[test]
    fn command_lines() {
        let Ok(Command::Capture(o)) =
            parse(&words("-i a0 -i b0 -w f -s 64 -c 5 -p -Q in --drops tcp port 80"))
        else {
            panic!()
        };
        assert_eq!((o.interfaces.len(), o.file.as_str(), o.snap, o.count), (2, "f", 64, 5));
        assert_eq!((o.promiscuous, o.directions, o.drops), (false, (true, false), true));
        assert_eq!(o.expression, "tcp port 80");
        for bad in ["-Q up", "-s x", "--frob", "--capture", "--extcap-dlts", "-z"] {
            assert!(parse(&words(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn extcap_words() {
        assert_eq!(parse(&words("--extcap-interfaces --extcap-version=4.0")), Ok(Command::Interfaces));
        let dlts = parse(&words("--extcap-dlts --extcap-interface io-pkt-ecm0"));
        assert_eq!(dlts, Ok(Command::Dlts("ecm0".into())));
        let v = parse(&["--extcap-interface=io-pkt-lo0".into(), "--extcap-capture-filter=tcp port 1".into()]);
        assert_eq!(v, Ok(Command::Verify { interface: "lo0".into(), expression: "tcp port 1".into() }));
        let line = "--capture --extcap-interface io-pkt-ecm0 --fifo /f --drops -s 0 -Q out";
        let mut args = words(line);
        args.extend(["--extcap-capture-filter".into(), "udp or arp".into()]);
        let Ok(Command::Capture(o)) = parse(&args) else { panic!() };
        assert_eq!(
            (o.interfaces, o.file.as_str(), o.expression.as_str()),
            (vec!["ecm0".into()], "/f", "udp or arp")
        );
        assert!(o.unbuffered && o.drops && o.directions == (false, true));
    }
}
