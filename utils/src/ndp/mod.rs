//! `ndp`: the neighbour cache of IPv6, routers and prefixes, settings of interfaces; in KAME's layout.

mod lists;
mod neighbours;
mod settings;
#[cfg(test)]
mod tests;

use crate::getopt;
use crate::tool::{Failure, Outcome, Stack, ask, each_line, odd, print};
use iopkt_ctl::{NdReply, NdRequest, Reply, Request};
use lists::{prefixes, routers};
use neighbours::{again, delete, forget, list, one, set};
use settings::{default_interface, settings as of_interface};

/// Usage, as `--help` prints it.
pub const USAGE: &str = "usage: ndp [-nt] [--json] hostname
       ndp [-nlt] [--json] -a | -A wait
       ndp [-nt] -c | -d hostname [%interface]
       ndp [-n] [--json] -p | -r
       ndp -P | -R | -H
       ndp -f filename
       ndp [--json] -i interface [flag ...]
       ndp -I [interface | delete]
       ndp -s nodename ether_addr [temp] [proxy]
  -a  all neighbours   -A  again every wait seconds   -c  forget what was learnt
  -p  prefixes   -r  default routers   -P, -R  forget them   -H  routes as the list of routers has them
  -i  settings: [-]nud [-]accept_rtadv [-]prefer_source [-]disabled [-]auto_linklocal [-]override_rtadv
      basereachable=ms retrans=ms curhlim=hops (behind -- where the first begins with a dash)
  -I  everybody is taken to be on this interface's link when there is no router
  -n  no names   -l  full addresses (always so)   -t  the time before each entry
SOCK=/prefix selects the stack.";

/// Runs the tool.
///
/// # Errors
/// Usage, no stack, no such entry or interface, not permitted.
pub fn run(s: &mut dyn Stack, args: &[String]) -> Outcome {
    let f = getopt::parse("aA:cdf:HIi:lnPprRst", args).map_err(|e| Failure::usage(e, USAGE))?;
    if f.has('?') {
        return print(&format!("{USAGE}\n"));
    }
    let modes: Vec<char> = f.flags.iter().map(|x| x.0).filter(|c| !"lntJ".contains(*c)).collect();
    if let [a, b, ..] = modes.as_slice() {
        return Err(Failure::usage(format!("-{a} does not go with -{b}"), USAGE));
    }
    let mode = modes.first().copied();
    let none = || match f.rest.first() {
        Some(w) => Err(Failure::usage(format!("{w}: not expected"), USAGE)),
        None => Ok(()),
    };
    match mode {
        None => one(s, &f),
        Some('s') => set(s, &f.rest),
        Some('d') => delete(s, &f.rest),
        Some('f') => none().and_then(|()| each_line("ndp", f.value('f').unwrap_or(""), |w| set(s, w))),
        Some('i') => of_interface(s, f.value('i').unwrap_or(""), &f.rest, f.has('J')),
        Some('I') => default_interface(s, &f.rest),
        Some(m) => {
            none()?;
            match m {
                'a' => list(s, &f),
                'A' => again(s, &f),
                'c' => forget(s),
                'p' => prefixes(s, f.has('J')),
                'r' => routers(s, f.has('J')),
                'P' => order(s, NdRequest::Flush { routers: false, prefixes: true }),
                'R' => order(s, NdRequest::Flush { routers: true, prefixes: false }),
                // The table follows the list at every change; asking for it proves that somebody does.
                _ => nd(s, "default routers", NdRequest::Routers).map(|_| 0),
            }
        }
    }
}

/// Asks about IPv6.
///
/// # Errors
/// As [`ask`].
pub fn nd(s: &mut dyn Stack, what: &str, r: NdRequest) -> Result<NdReply, Failure> {
    match ask(s, what, &Request::Nd(r))? {
        Reply::Nd(n) => Ok(n),
        r => Err(odd(&r)),
    }
}

fn order(s: &mut dyn Stack, r: NdRequest) -> Outcome {
    match ask(s, "neighbour discovery", &Request::Nd(r))? {
        Reply::Ok => Ok(0),
        r => Err(odd(&r)),
    }
}
