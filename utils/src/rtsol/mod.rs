//! `rtsol`, `rtsold`: ask for routers. The stack asks and listens itself (RFC 4861 6.3.7, RFC 7559); this starts it at will and waits for
//! the answer. [`daemon`] keeps what routers tell of names (RFC 8106) in the stack's resolv.conf, and calls scripts.

pub mod daemon;

use crate::getopt;
use crate::ndp::nd;
use crate::tool::{Failure, Outcome, Stack, ask, odd, print};
use iopkt_ctl::{NdReply, NdRequest, Reply, Request};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Usage of rtsol, as `--help` prints it.
pub const USAGE: &str = "usage: rtsol [-aDdF] [-M script] [-O script] [-R script] [interface ...]
  -a  all Ethernet interfaces that are up   -d, -D  say what is done
  -F  make the stack a host: forwarding off, advertisements believed
  -M, -O  run script with the interface's name when a router says that addresses, or other things, are to be had by DHCPv6
  -R  hand the name servers that routers told to script (as resolvconf(8) takes them)
Asks for routers and waits 15 seconds for an answer; exit 1 when none came. SOCK=/prefix selects the stack.";

/// How long rtsol waits: three solicitations (after 0, 4 and 12 seconds), and detection of duplicates before.
const PATIENCE: Duration = Duration::from_secs(15);

/// The interfaces that are meant.
fn interfaces(s: &mut dyn Stack, all: bool, words: &[String], usage: &str) -> Result<Vec<String>, Failure> {
    match (all, words) {
        (true, []) => {}
        (false, [_, ..]) => return Ok(words.to_vec()),
        (true, [w, ..]) => return Err(Failure::usage(format!("{w}: -a takes no interface"), usage)),
        (false, []) => return Err(Failure::usage("an interface or -a is needed", usage)),
    }
    let Reply::Interfaces(l) = ask(s, "interfaces", &Request::Interfaces { name: None })? else {
        return Err(Failure::new("unexpected answer"));
    };
    let up =
        |i: &iopkt_ctl::Ifconf| i.kind == iopkt_ctl::IfKind::Ethernet && i.flags & iopkt_ctl::iff::UP != 0;
    let names: Vec<String> = l.into_iter().filter(up).map(|i| i.name).collect();
    if names.is_empty() { Err(Failure::new("no Ethernet interface is up")) } else { Ok(names) }
}

fn adverts(s: &mut dyn Stack, name: &str) -> Result<u64, Failure> {
    match nd(s, name, NdRequest::Interfaces { name: Some(name.into()) })? {
        NdReply::Interfaces(l) => Ok(l.first().map_or(0, |i| i.adverts)),
        r => Err(odd(&Reply::Nd(r))),
    }
}

fn solicit(s: &mut dyn Stack, name: &str) -> Result<(), Failure> {
    match ask(s, name, &Request::Nd(NdRequest::Solicit { name: name.into() }))? {
        Reply::Ok => Ok(()),
        r => Err(odd(&r)),
    }
}

/// A router answered: scripts hear of it.
fn answered(s: &mut dyn Stack, scripts: &Scripts, ifname: &str) -> Result<(), Failure> {
    if scripts.managed.is_some() || scripts.other.is_some() {
        let (managed, other) = flags(s, ifname)?;
        if let Some(x) = scripts.of_flags(managed, other) {
            call("rtsol", x, &[ifname], "");
        }
    }
    if let Some(x) = &scripts.names {
        let told = daemon::told(s, ifname)?;
        if told != crate::resolvconf::Told::default() {
            call("rtsol", x, &["-a", &format!("{ifname}:slaac")], &daemon::plain(&told));
        }
    }
    Ok(())
}

/// Runs `rtsol`. `pause` sleeps a moment; false ends the waiting.
///
/// # Errors
/// Usage, no stack, an interface that does not listen to routers, not permitted.
pub fn run(s: &mut dyn Stack, args: &[String], pause: &mut dyn FnMut() -> bool) -> Outcome {
    let f = getopt::parse("aDdFM:O:R:", args).map_err(|e| Failure::usage(e, USAGE))?;
    if f.has('?') {
        return print(&format!("{USAGE}\n"));
    }
    let scripts = Scripts::of(&f, USAGE)?;
    if f.has('F') {
        be_a_host(s)?;
    }
    let names = interfaces(s, f.has('a'), &f.rest, USAGE)?;
    let talk = f.has('d') || f.has('D');
    let mut open = Vec::new();
    for n in names {
        let before = adverts(s, &n)?;
        solicit(s, &n)?;
        if talk {
            eprintln!("rtsol: {n}: soliciting");
        }
        open.push((n, before));
    }
    let start = Instant::now();
    while !open.is_empty() && start.elapsed() < PATIENCE {
        let mut left = Vec::new();
        for (n, before) in open {
            if adverts(s, &n)? > before {
                if talk {
                    eprintln!("rtsol: {n}: a router answered");
                }
                answered(s, &scripts, &n)?;
            } else {
                left.push((n, before));
            }
        }
        open = left;
        if !open.is_empty() && !pause() {
            break;
        }
    }
    if open.is_empty() {
        return Ok(0);
    }
    let who: Vec<String> = open.into_iter().map(|o| o.0).collect();
    Err(Failure::new(format!("{}: no router answered", who.join(", "))))
}

/// Scripts that are called when routers say something.
#[derive(Default)]
struct Scripts {
    managed: Option<String>,
    other: Option<String>,
    names: Option<String>,
}

impl Scripts {
    fn of(f: &getopt::Parsed, usage: &str) -> Result<Scripts, Failure> {
        let one = |c: char| match f.value(c) {
            Some(v) if !Path::new(v).is_absolute() => {
                Err(Failure::usage(format!("-{c} {v}: the whole path, please"), usage))
            }
            v => Ok(v.map(str::to_string)),
        };
        Ok(Scripts { managed: one('M')?, other: one('O')?, names: one('R')? })
    }

    /// Which of the flags' scripts is due: M's, else O's (rtsold(8): not both).
    fn of_flags(&self, managed: bool, other: bool) -> Option<&str> {
        match (managed, other) {
            (true, _) => self.managed.as_deref(),
            (_, true) => self.other.as_deref(),
            _ => None,
        }
    }
}

/// Runs a script to its end with `text` as its input; what goes wrong is told.
fn call(tool: &str, script: &str, args: &[&str], text: &str) {
    use std::io::Write;
    let run = || -> std::io::Result<std::process::ExitStatus> {
        let mut c = Command::new(script).args(args).stdin(Stdio::piped()).spawn()?;
        if let Some(mut i) = c.stdin.take() {
            // One that does not read its input is none the worse.
            let _ = i.write_all(text.as_bytes());
        }
        c.wait()
    };
    match run() {
        Ok(s) if s.success() => {}
        Ok(s) => eprintln!("{tool}: {script} {}: {s}", args.join(" ")),
        Err(e) => eprintln!("{tool}: {script}: {e}"),
    }
}

/// `-F`: makes the stack a host.
fn be_a_host(s: &mut dyn Stack) -> Result<(), Failure> {
    for (name, v) in [("net.inet6.ip6.forwarding", "0"), ("net.inet6.ip6.accept_rtadv", "1")] {
        ask(s, name, &Request::Sysctl { name: name.into(), value: Some(v.into()) })?;
    }
    Ok(())
}

/// Whether routers of an interface say M, and O.
fn flags(s: &mut dyn Stack, ifname: &str) -> Result<(bool, bool), Failure> {
    let NdReply::Routers(l) = nd(s, "routers", NdRequest::Routers)? else {
        return Err(Failure::new("unexpected answer"));
    };
    let mine = || l.iter().filter(|r| r.ifname == ifname);
    Ok((mine().any(|r| r.managed), mine().any(|r| r.other)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::fake::Fake;
    use iopkt_ctl::NdIface;

    fn state(adverts: u64) -> Reply {
        Reply::Nd(NdReply::Interfaces(vec![NdIface {
            ifname: "ecm0".into(),
            link_mtu: 1500,
            max_mtu: 1500,
            hop_limit: 64,
            base_reachable: 30_000,
            reachable: 30_000,
            retrans: 1000,
            flags: 3,
            adverts,
        }]))
    }

    #[test]
    fn it_waits_for_an_advertisement() {
        let mut f = Fake::with([state(4), Reply::Ok, state(4), state(5)]);
        let mut slept = 0;
        assert_eq!(
            run(&mut f, &["ecm0".into()], &mut || {
                slept += 1;
                true
            }),
            Ok(0)
        );
        assert_eq!((slept, f.asked.len()), (1, 4));
        let mut f = Fake::with([state(4), Reply::Ok, state(4)]);
        let e = run(&mut f, &["ecm0".into()], &mut || false).unwrap_err();
        assert_eq!(e.message, "ecm0: no router answered");
        for bad in [vec![], vec!["-a".to_string(), "ecm0".into()], vec!["-x".into()]] {
            let mut f = Fake::default();
            assert!(run(&mut f, &bad, &mut || false).is_err() && f.asked.is_empty(), "{bad:?}");
        }
    }

    #[test]
    fn a_script_gets_its_words_and_its_input() {
        let out = std::env::temp_dir().join(format!("iopkt-rtsol-{}", std::process::id()));
        let line = format!("(echo \"$@\"; cat) > {}", out.display());
        call("rtsol", "/bin/sh", &["-c", &line, "sh", "-a", "ecm0:slaac"], "nameserver fe80::1%ecm0\n");
        assert_eq!(std::fs::read_to_string(&out).expect("out"), "-a ecm0:slaac\nnameserver fe80::1%ecm0\n");
        std::fs::remove_file(out).expect("removed");
        // One that is not there is told of, and no more.
        call("rtsol", "/nonexistent/script", &[], "");
    }
}
