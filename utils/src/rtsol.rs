//! `rtsol`, `rtsold`: ask for routers. The stack asks and listens itself; this starts it at will, waits for the answer and (`rtsold`)
//! keeps the stack's resolv.conf as routers tell it (RFC 8106).

use crate::getopt;
use crate::ndp::nd;
use crate::tool::{Failure, Outcome, Stack, ask, odd, print};
use iopkt_ctl::{NdDns, NdReply, NdRequest, Reply, Request};
use std::fmt::Write;
use std::time::{Duration, Instant};

/// Usage of rtsol, as `--help` prints it.
pub const USAGE: &str = "usage: rtsol [-aDd] [interface ...]
  -a  all Ethernet interfaces that are up   -d, -D  say what is done
Asks for routers up to three times and waits for an answer; exit 1 when none came.
SOCK=/prefix selects the stack.";

/// Usage of rtsold, as `--help` prints it.
pub const USAGE_D: &str = "usage: rtsold [-aDdf1m] [interface ...]
  -a  all Ethernet interfaces that are up   -1  end when every interface has heard a router
  -d, -D  say what is done   -f  (always so) stay in the foreground   -m  (always so) watch the link
Asks for routers, and keeps etc/resolv.conf under the stack's root as they tell it (RFC 8106).
SOCK=/prefix selects the stack.";

/// How long rtsol waits: three solicitations, four seconds apart (RFC 4861 section 10), and detection of duplicates before.
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

/// Runs `rtsol`. `pause` sleeps a moment; false ends the waiting.
///
/// # Errors
/// Usage, no stack, an interface that does not listen to routers, not permitted.
pub fn run(s: &mut dyn Stack, args: &[String], pause: &mut dyn FnMut() -> bool) -> Outcome {
    let f = getopt::parse("aDd", args).map_err(|e| Failure::usage(e, USAGE))?;
    if f.has('?') {
        return print(&format!("{USAGE}\n"));
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

/// What a resolver file says; nothing when routers told no server.
fn resolv(list: &[NdDns]) -> Option<String> {
    let mut o = String::from("# told by IPv6 routers (rtsold)\n");
    let domains: Vec<&str> = list.iter().filter_map(|d| d.domain.as_deref()).collect();
    if !domains.is_empty() {
        let _ = writeln!(o, "search {}", domains.join(" "));
    }
    let servers: Vec<String> =
        list.iter().filter_map(|d| d.server.map(|s| crate::addr::zoned(s.into(), Some(&d.ifname)))).collect();
    for n in &servers {
        let _ = writeln!(o, "nameserver {n}");
    }
    (!servers.is_empty()).then_some(o)
}

/// Runs `rtsold` until `pause` says no. `write` puts a text into the stack's resolv.conf.
///
/// # Errors
/// Usage, no stack, an interface that does not listen to routers, not permitted.
pub fn run_daemon(
    s: &mut dyn Stack,
    args: &[String],
    pause: &mut dyn FnMut() -> bool,
    write: &mut dyn FnMut(&str) -> std::io::Result<()>,
) -> Outcome {
    let f = getopt::parse("aDdf1m", args).map_err(|e| Failure::usage(e, USAGE_D))?;
    if f.has('?') {
        return print(&format!("{USAGE_D}\n"));
    }
    let names = interfaces(s, f.has('a'), &f.rest, USAGE_D)?;
    let talk = f.has('d') || f.has('D');
    let mut open: Vec<(String, u64)> = Vec::new();
    for n in &names {
        open.push((n.clone(), adverts(s, n)?));
        solicit(s, n)?;
    }
    let mut shown = None;
    loop {
        let mut left = Vec::new();
        for (n, before) in open {
            if adverts(s, &n)? == before {
                left.push((n, before));
            } else if talk {
                eprintln!("rtsold: {n}: a router answered");
            }
        }
        open = left;
        let NdReply::Dns(list) = nd(s, "names", NdRequest::Dns)? else {
            return Err(Failure::new("unexpected answer"));
        };
        let mine: Vec<NdDns> = list.into_iter().filter(|d| names.contains(&d.ifname)).collect();
        let text = resolv(&mine);
        if text != shown {
            if let Some(t) = &text {
                write(t).map_err(|e| Failure::new(format!("etc/resolv.conf: {e}")))?;
                if talk {
                    eprintln!("rtsold: wrote etc/resolv.conf");
                }
            }
            shown = text;
        }
        if f.has('1') && open.is_empty() || !pause() {
            return Ok(0);
        }
    }
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
    fn the_daemon_writes_what_routers_tell() {
        let dns = |server: Option<&str>, domain: Option<&str>| NdDns {
            ifname: "ecm0".into(),
            router: "fe80::1".parse().expect("address"),
            server: server.map(|s| s.parse().expect("address")),
            domain: domain.map(str::to_string),
            expires: None,
        };
        let told = vec![dns(Some("2001:db8::53"), None), dns(Some("fe80::53"), None), dns(None, Some("lan"))];
        let mut f = Fake::with([state(0), Reply::Ok, state(1), Reply::Nd(NdReply::Dns(told))]);
        let mut text = String::new();
        let r = run_daemon(&mut f, &["-1".into(), "ecm0".into()], &mut || true, &mut |t| {
            text = t.into();
            Ok(())
        });
        assert_eq!(r, Ok(0));
        assert_eq!(
            text,
            "# told by IPv6 routers (rtsold)\nsearch lan\nnameserver 2001:db8::53\nnameserver fe80::53%ecm0\n"
        );
    }
}
