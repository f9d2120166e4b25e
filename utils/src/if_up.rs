//! `if_up`: waits until interfaces are there, configured, or have link.

use crate::getopt;
use crate::tool::{Failure, Outcome, Stack, print};
use iopkt_ctl::{Ifconf, LinkState, Reply, Request, iff};
use std::time::Duration;

/// Usage, as `--help` prints it.
pub const USAGE: &str = "usage: if_up [-alp] [-m ms] [-r retries] [-s seconds] interface...
  -a  wait for all interfaces (one is enough without it)
  -l  wait for link    -p  wait for presence only
  -m  pause between tries, ms (default 1000)    -s  the same in seconds
  -r  tries (default 5)
Without -l and -p: until up and with an address. Exit 0 when it is so, 1 when the tries are over.
SOCK=/prefix selects the stack.";

/// Runs the tool. A stack that is not there yet counts as a failed try: scripts start both at once.
///
/// # Errors
/// Usage.
pub fn run(connect: &mut dyn FnMut() -> Result<Box<dyn Stack>, String>, args: &[String]) -> Outcome {
    let f = getopt::parse("alm:pr:s:", args).map_err(|e| Failure::usage(e, USAGE))?;
    if f.has('?') {
        return print(&format!("{USAGE}\n"));
    }
    if f.rest.is_empty() {
        return Err(Failure::usage("no interface", USAGE));
    }
    let number = |c: char, v: &Option<String>| -> Result<u64, Failure> {
        let v = v.as_deref().unwrap_or("");
        v.parse().map_err(|_| Failure::usage(format!("-{c} {v}: not a number"), USAGE))
    };
    let (mut pause, mut tries) = (Duration::from_millis(1000), 5);
    for (c, v) in &f.flags {
        match c {
            'm' => pause = Duration::from_millis(number('m', v)?),
            's' => pause = Duration::from_secs(number('s', v)?),
            'r' => tries = number('r', v)?.max(1),
            _ => {}
        }
    }
    let good = |i: &Ifconf| {
        let up = i.flags & iff::UP != 0 && !i.addrs.is_empty();
        if f.has('l') {
            i.link == LinkState::Up && (f.has('p') || i.flags & iff::UP != 0)
        } else {
            f.has('p') || up
        }
    };
    let mut stack: Option<Box<dyn Stack>> = None;
    let mut last = String::new();
    for n in 0..tries {
        if n > 0 {
            std::thread::sleep(pause);
        }
        if stack.is_none() {
            match connect() {
                Ok(s) => stack = Some(s),
                Err(e) => last = e,
            }
        }
        let Some(s) = stack.as_mut() else { continue };
        match s.ask(&Request::Interfaces { name: None }) {
            Ok(Reply::Interfaces(l)) => {
                last.clear();
                let ok =
                    |w: &String| l.iter().any(|i| (i.name == *w || i.alias.as_ref() == Some(w)) && good(i));
                if if f.has('a') { f.rest.iter().all(ok) } else { f.rest.iter().any(ok) } {
                    return Ok(0);
                }
            }
            Ok(_) => return Err(Failure::new("unexpected answer of the stack")),
            Err(e) => (stack, last) = (None, e),
        }
    }
    if last.is_empty() { Ok(1) } else { Err(Failure::new(last)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::fake::Fake;
    use iopkt_ctl::{IfCounters, IfKind};

    fn iface(name: &str, flags: u32, link: LinkState) -> Ifconf {
        Ifconf {
            name: name.into(),
            alias: Some("en0".into()),
            index: 2,
            kind: IfKind::Ethernet,
            flags,
            mtu: 1500,
            metric: 0,
            caps_rx: 0,
            caps_tx: 0,
            enabled_rx: 0,
            enabled_tx: 0,
            mac: [2; 6],
            link,
            speed_rx: 0,
            speed_tx: 0,
            media: true,
            media_words: Vec::new(),
            media_now: iopkt_ctl::IFM_ETHER,
            full_duplex: true,
            driver: String::new(),
            addrs: Vec::new(),
            lives: Vec::new(),
            counters: IfCounters::default(),
        }
    }

    fn go(line: &str, answers: Vec<Vec<Ifconf>>) -> Outcome {
        let args: Vec<String> = line.split_whitespace().map(str::to_string).collect();
        let mut a = answers.into_iter();
        let mut connect = || {
            let l: Vec<Reply> = a.by_ref().map(Reply::Interfaces).collect();
            Ok(Box::new(Fake::with(l)) as Box<dyn Stack>)
        };
        run(&mut connect, &args)
    }

    #[test]
    fn presence_link_and_alias() {
        let down = iface("ecm0", 0, LinkState::Down);
        let up = iface("ecm0", iff::UP, LinkState::Up);
        assert_eq!(go("-p -r 1 -m 0 ecm0", vec![vec![down.clone()]]), Ok(0));
        assert_eq!(go("-p -r 1 en0", vec![vec![down.clone()]]), Ok(0));
        assert_eq!(go("-l -r 1 ecm0", vec![vec![down.clone()]]), Ok(1));
        assert_eq!(go("-l -r 3 -m 0 ecm0", vec![vec![], vec![down.clone()], vec![up.clone()]]), Ok(0));
        assert_eq!(go("-r 1 ecm0", vec![vec![up.clone()]]), Ok(1), "no address yet");
        assert_eq!(go("-ap -r 1 ecm0 ecm1", vec![vec![up.clone()]]), Ok(1));
        assert_eq!(go("-p -r 1 ecm0 ecm1", vec![vec![up]]), Ok(0), "one is enough without -a");
    }

    #[test]
    fn the_last_pause_counts() {
        // An hour would be the wrong one.
        let down = iface("ecm0", 0, LinkState::Down);
        assert_eq!(
            go("-s 3600 -m 0 -l -r 3 ecm0", vec![vec![down.clone()], vec![down.clone()], vec![down.clone()]]),
            Ok(1)
        );
        assert_eq!(go("-m 3600000 -s 0 -l -r 2 ecm0", vec![vec![down.clone()], vec![down]]), Ok(1));
        for bad in ["-m x ecm0", "-r -1 ecm0", "-6 ecm0", "-i ecm0", "-s"] {
            assert!(go(bad, vec![]).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_stack_is_said() {
        let mut connect = || Err::<Box<dyn Stack>, _>("no stack at /x".to_string());
        let e = run(&mut connect, &["-r".into(), "2".into(), "-m".into(), "0".into(), "ecm0".into()])
            .unwrap_err();
        assert_eq!(e, Failure::new("no stack at /x"));
        assert!(run(&mut connect, &[]).is_err());
    }
}
