//! `ifconfig`: shows and changes interfaces.

mod show;
mod words;

use crate::getopt;
use crate::tool::{Failure, Outcome, Stack, ask, odd, print, print_json};
use iopkt_ctl::{Ifconf, LinkState, Reply, Request};
use show::Extra;

/// Usage, as `--help` prints it.
pub const USAGE: &str = "usage: ifconfig [-hLmvz] [--json] interface [protocol_family]
       ifconfig interface [protocol_family] [address [dest_address]] [parameters]
       ifconfig -a [-bdhLmsuvz] [--json] [protocol_family]
       ifconfig -l [-b] [-d] [-s] [-u]
       ifconfig -s interface
       ifconfig -C
       ifconfig interface create | destroy
parameters: up down alias -alias delete netmask MASK prefixlen N broadcast ADDR arp -arp
            metric N mtu N media autoselect link0..link2 debug promisc
            [-]{ip4csum,tcp4csum,udp4csum,tcp6csum,udp6csum}[-rx|-tx] [-]tso4 [-]tso6
SOCK=/prefix selects the stack.";

/// Runs the tool.
///
/// # Errors
/// Usage, no stack, no such interface, not permitted.
pub fn run(s: &mut dyn Stack, args: &[String]) -> Outcome {
    let f = getopt::parse("abCdhLlmsuvz", args).map_err(|e| Failure::usage(e, USAGE))?;
    if f.has('?') {
        return print(&format!("{USAGE}\n"));
    }
    if f.has('C') {
        let Reply::Names(n) = ask(s, "cloners", &Request::Cloners)? else { return Ok(1) };
        return print(&format!("{}\n", n.join(" ")));
    }
    if f.has('l') {
        let names: Vec<String> =
            interfaces(s, None)?.into_iter().filter(|i| show::passes(i, &f)).map(|i| i.name).collect();
        return print(&format!("{}\n", names.join(" ")));
    }
    let mut rest = f.rest.as_slice();
    let name = if f.has('a') || rest.is_empty() { None } else { Some(rest[0].clone()) };
    if name.is_some() {
        rest = &rest[1..];
    }
    if f.has('s') && !f.has('a') {
        let n = name.ok_or_else(|| Failure::usage("-s needs an interface", USAGE))?;
        return Ok(interfaces(s, Some(n))?.iter().any(|i| i.link == LinkState::Down).into());
    }
    let family = match rest {
        [] => Some(None),
        [w] if ["inet", "inet6", "link"].contains(&w.as_str()) => Some(Some(w.as_str())),
        _ => None,
    };
    let Some(family) = family else {
        let Some(n) = name else { return Err(Failure::usage("-a takes no parameters", USAGE)) };
        return change(s, &n, rest);
    };
    let extra = Extra {
        counters: f.has('v') || f.has('z'),
        human: f.has('h'),
        media: f.has('m'),
        inet: family.is_none_or(|w| w == "inet"),
        inet6: family.is_none_or(|w| w == "inet6"),
        link: family.is_none_or(|w| w == "link"),
    };
    let named = name.is_some();
    let list: Vec<Ifconf> =
        interfaces(s, name)?.into_iter().filter(|i| named || show::passes(i, &f)).collect();
    if f.has('z') {
        for i in &list {
            ask(s, &i.name, &Request::ZeroCounters { name: i.name.clone() })?;
        }
    }
    if f.has('J') {
        return print_json(&list);
    }
    print(&list.iter().map(|i| show::block(i, extra)).collect::<String>())
}

fn interfaces(s: &mut dyn Stack, name: Option<String>) -> Result<Vec<Ifconf>, Failure> {
    let what = name.clone().unwrap_or_else(|| "interfaces".into());
    match ask(s, &what, &Request::Interfaces { name })? {
        Reply::Interfaces(l) => Ok(l),
        r => Err(odd(&r)),
    }
}

fn change(s: &mut dyn Stack, name: &str, words: &[String]) -> Outcome {
    let plan = words::plan(name, words)?;
    if let Some(c) = plan.caps {
        let now = interfaces(s, Some(name.to_string()))?;
        let i = now.first().ok_or_else(|| Failure::new(format!("{name}: Device not configured")))?;
        let rx = (i.enabled_rx | c.rx.0) & !c.rx.1;
        let tx = (i.enabled_tx | c.tx.0) & !c.tx.1;
        ask(s, name, &Request::SetCaps { name: name.to_string(), rx, tx })?;
    }
    for r in &plan.requests {
        ask(s, name, r)?;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::fake::Fake;
    use iopkt_base::Errno;

    fn go(fake: &mut Fake, line: &str) -> Outcome {
        let args: Vec<String> = line.split_whitespace().map(str::to_string).collect();
        run(fake, &args)
    }

    #[test]
    fn changes_are_asked_for() {
        let mut f = Fake::default();
        assert_eq!(go(&mut f, "ecm0 down"), Ok(0));
        assert_eq!(f.asked, [Request::SetFlags { name: "ecm0".into(), set: 0, clear: 1 }]);
    }

    #[test]
    fn a_missing_interface_is_device_not_configured() {
        let mut f = Fake::with([Reply::err(Errno::ENXIO)]);
        assert_eq!(go(&mut f, "nope0"), Err(Failure::new("nope0: Device not configured")));
    }

    #[test]
    fn usage_errors_do_not_reach_the_stack() {
        let mut f = Fake::default();
        assert!(
            go(&mut f, "-x").is_err() && go(&mut f, "-a mtu 5").is_err() && go(&mut f, "ecm0 mtu").is_err()
        );
        assert!(f.asked.is_empty());
    }
}
