//! `ifwatchd`: runs scripts when addresses come and go, when links gain and lose their carrier, and when
//! interfaces arrive and depart.

use crate::conn::Conn;
use crate::getopt;
use crate::tool::{Failure, Outcome, Stack, print};
use iopkt_base::zone;
use iopkt_client::RouteSocket;
use iopkt_client::rtmsg::{LINK_STATE_DOWN, LINK_STATE_UP, RtBody, RtMsg, rtm};
use iopkt_ctl::{AddrInfo, Ifconf, LinkState, Reply, Request, iff, in6};
use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::process::{Command, Stdio};

/// Usage, as `--help` prints it.
pub const USAGE: &str = "usage: ifwatchd [-hiqv] [-A arrival-script] [-D departure-script]
                [-c carrier-script] [-n no-carrier-script]
                [-u up-script] [-d down-script] interface ...
  -i   do not run the up script for addresses that are there at the start
  -q   be quiet about interfaces that do not exist
  -v   verbose, and in the foreground
Scripts are run with: interface tty speed address destination
SOCK=/prefix selects the stack.";

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Event {
    Arrival,
    Departure,
    Up,
    Down,
    Carrier,
    NoCarrier,
}

/// The options.
#[derive(Debug, Default)]
struct Options {
    scripts: HashMap<Event, String>,
    names: Vec<String>,
    inhibit: bool,
    quiet: bool,
    verbose: bool,
}

/// A script to run: event, interface, address, destination.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Job {
    event: Event,
    name: String,
    addr: String,
    dest: String,
}

impl Job {
    fn new(event: Event, name: &str) -> Job {
        Job { event, name: name.into(), addr: String::new(), dest: String::new() }
    }

    /// Arguments of the script (NetBSD's ifwatchd(8)): there is no line behind an interface here.
    fn args(&self) -> [&str; 5] {
        [&self.name, "/dev/null", "9600", &self.addr, &self.dest]
    }
}

impl Options {
    fn parse(args: &[String]) -> Result<Option<Options>, Failure> {
        let f = getopt::parse("A:c:D:d:hin:qu:v", args).map_err(|e| Failure::usage(e, USAGE))?;
        if f.has('h') || f.has('?') {
            return Ok(None);
        }
        if f.rest.is_empty() {
            return Err(Failure::usage("an interface is needed", USAGE));
        }
        let letters = [
            ('A', Event::Arrival),
            ('D', Event::Departure),
            ('u', Event::Up),
            ('d', Event::Down),
            ('c', Event::Carrier),
            ('n', Event::NoCarrier),
        ];
        let scripts: HashMap<Event, String> =
            letters.iter().filter_map(|(c, e)| Some((*e, f.value(*c)?.to_string()))).collect();
        for s in scripts.values() {
            if std::fs::metadata(s).is_err() {
                return Err(Failure::new(format!("{s}: no such script")));
            }
        }
        Ok(Some(Options {
            scripts,
            names: f.rest.clone(),
            inhibit: f.has('i'),
            quiet: f.has('q'),
            verbose: f.has('v'),
        }))
    }
}

/// What is known of the watched interfaces.
#[derive(Debug, Default)]
struct Watch {
    /// Names given; an enXX alias means the interface that has it now.
    names: Vec<String>,
    /// By index: name and carrier.
    known: HashMap<u16, (String, Option<bool>)>,
}

impl Watch {
    fn wants(&self, i: &Ifconf) -> bool {
        self.names.iter().any(|n| *n == i.name || Some(n) == i.alias.as_ref())
    }

    /// What is there at the start.
    fn begin(&mut self, list: &[Ifconf], inhibit: bool) -> Vec<Job> {
        let mut jobs = Vec::new();
        for i in list {
            if !self.wants(i) {
                continue;
            }
            let carrier = match i.link {
                LinkState::Up => Some(true),
                LinkState::Down => Some(false),
                LinkState::Unknown => None,
            };
            self.known.insert(i.index as u16, (i.name.clone(), carrier));
            if !inhibit && i.flags & iff::UP != 0 {
                let ready = |a: &&AddrInfo| i.life(&a.addr).is_none_or(|l| l.flags & in6::NOT_READY == 0);
                jobs.extend(i.addrs.iter().filter(ready).map(|a| up_down(true, &i.name, a.addr, a.peer)));
            }
        }
        jobs
    }

    /// What a message means.
    fn hear(&mut self, m: &RtMsg) -> Vec<Job> {
        match &m.body {
            RtBody::Announce { index, name, arrived } => {
                let end = name.iter().position(|b| *b == 0).unwrap_or(name.len());
                let name = String::from_utf8_lossy(&name[..end]).into_owned();
                if *arrived {
                    if !self.names.contains(&name) {
                        return Vec::new();
                    }
                    self.known.insert(*index, (name.clone(), None));
                    return vec![Job::new(Event::Arrival, &name)];
                }
                let gone = self.known.remove(index);
                gone.map(|(n, _)| vec![Job::new(Event::Departure, &n)]).unwrap_or_default()
            }
            // An address is up when duplicate detection found nobody; of its end another message tells.
            RtBody::Addr { addr_flags, .. } if m.ty == rtm::NEWADDR && addr_flags & in6::NOT_READY != 0 => {
                Vec::new()
            }
            RtBody::Addr { index, .. } => {
                let (Some((name, _)), Some(a)) = (self.known.get(index), m.addrs.ifa) else {
                    return Vec::new();
                };
                let broadcast = m.addrs.netmask.is_some_and(|n| is_broadcast(a, n, m.addrs.brd));
                let peer = m.addrs.brd.filter(|_| !broadcast);
                vec![up_down(m.ty == rtm::NEWADDR, name, a, peer)]
            }
            RtBody::IfInfo { index, data, .. } => {
                let Some((name, was)) = self.known.get_mut(index) else { return Vec::new() };
                let now = match data.link_state {
                    LINK_STATE_UP => Some(true),
                    LINK_STATE_DOWN => Some(false),
                    _ => None,
                };
                // Flags and MTU are told the same way: only a change of the carrier counts.
                if *was == now {
                    return Vec::new();
                }
                *was = now;
                let event = match now {
                    Some(true) => Event::Carrier,
                    Some(false) => Event::NoCarrier,
                    None => return Vec::new(),
                };
                vec![Job::new(event, name)]
            }
            RtBody::Route(_) => Vec::new(),
        }
    }
}

/// Whether what stands in the message's last place is the broadcast address and not a peer.
fn is_broadcast(a: IpAddr, len: u8, brd: Option<IpAddr>) -> bool {
    match (a, brd) {
        (IpAddr::V4(a), Some(IpAddr::V4(b))) => {
            let mask = crate::addr::mask_of(len);
            len < 31 && u32::from(b) == u32::from(a) | !mask
        }
        _ => false,
    }
}

fn up_down(up: bool, name: &str, a: IpAddr, peer: Option<IpAddr>) -> Job {
    let shown = |a: IpAddr| crate::addr::zoned(zone::strip_ip(a), Some(name));
    Job {
        event: if up { Event::Up } else { Event::Down },
        name: name.into(),
        addr: shown(a),
        dest: peer.map_or_else(String::new, shown),
    }
}

/// Runs the tool.
///
/// # Errors
/// Usage, no stack, the stack ended.
pub fn run(args: &[String]) -> Outcome {
    let Some(o) = Options::parse(args)? else { return print(&format!("{USAGE}\n")) };
    // Everything that can fail at the start fails in front.
    drop(Conn::open().map_err(Failure::new)?);
    let mut started = if o.verbose {
        iopkt_sys::process::Started::nobody()
    } else {
        iopkt_sys::process::background().map_err(|e| Failure::new(format!("background: {e}")))?
    };
    let r = serve(&o, &mut started);
    if let Err(f) = &r {
        eprintln!("ifwatchd: {}", f.message);
        started.failed(1);
    }
    r.map_err(|f| Failure { message: f.message, code: f.code })
}

fn serve(o: &Options, started: &mut iopkt_sys::process::Started) -> Outcome {
    let mut conn = Conn::open().map_err(Failure::new)?;
    // First listen, then look: what happens between is seen twice rather than never.
    let mut s =
        RouteSocket::open(conn.session()).map_err(|e| Failure::new(format!("routing socket: {e}")))?;
    let list = match conn.ask(&Request::Interfaces { name: None }).map_err(Failure::new)? {
        Reply::Interfaces(l) => l,
        r => return Err(crate::tool::odd(&r)),
    };
    let mut w = Watch { names: o.names.clone(), ..Watch::default() };
    for n in &o.names {
        let there = list.iter().any(|i| i.name == *n || i.alias.as_ref() == Some(n));
        if !there && !o.quiet {
            eprintln!("ifwatchd: {n}: no such interface yet; waiting for it to arrive");
        }
    }
    started.ok().map_err(|e| Failure::new(format!("/dev/null: {e}")))?;
    for j in w.begin(&list, o.inhibit) {
        carry_out(o, &j);
    }
    loop {
        match s.recv() {
            Ok(m) => {
                for j in w.hear(&m) {
                    carry_out(o, &j);
                }
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) if e.kind() == ErrorKind::ConnectionReset => {
                return Err(Failure::new("the stack is gone"));
            }
            Err(e) => return Err(Failure::new(format!("routing socket: {e}"))),
        }
    }
}

/// Runs a script to its end: the next event waits, so that scripts see them in order.
fn carry_out(o: &Options, j: &Job) {
    if o.verbose {
        println!("ifwatchd: {}: {:?} {} {}", j.name, j.event, j.addr, j.dest);
    }
    let Some(script) = o.scripts.get(&j.event) else { return };
    let r = Command::new(script).args(j.args()).stdin(Stdio::null()).status();
    match r {
        Ok(s) if s.success() => {}
        Ok(s) if o.verbose => eprintln!("ifwatchd: {script}: {s}"),
        Ok(_) => {}
        Err(e) => eprintln!("ifwatchd: {script}: {e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use iopkt_client::rtmsg::{Addrs, IfData, if_name};

    fn watch(names: &[&str]) -> Watch {
        let mut w = Watch { names: names.iter().map(|n| (*n).to_string()).collect(), ..Watch::default() };
        w.known.insert(2, ("ecm0".into(), None));
        w
    }

    fn addr(ty: u8, index: u16, a: &str, brd: Option<&str>) -> RtMsg {
        let brd = brd.map(|b| b.parse().expect("address"));
        let addrs = Addrs { ifa: a.parse().ok(), netmask: Some(24), brd, ..Addrs::default() };
        RtMsg { ty, body: RtBody::Addr { index, flags: 0, metric: 0, addr_flags: 0 }, addrs }
    }

    fn info(index: u16, link_state: u32) -> RtMsg {
        let data = IfData { link_state, ..IfData::default() };
        RtMsg { ty: rtm::IFINFO, body: RtBody::IfInfo { index, flags: 0, data }, addrs: Addrs::default() }
    }

    fn announce(index: u16, name: &str, arrived: bool) -> RtMsg {
        RtMsg {
            ty: rtm::IFANNOUNCE,
            body: RtBody::Announce { index, name: if_name(name), arrived },
            addrs: Addrs::default(),
        }
    }

    #[test]
    fn events_of_watched_interfaces_only() {
        let mut w = watch(&["ecm0", "ecm1"]);
        let j = w.hear(&addr(rtm::NEWADDR, 2, "10.0.0.5", Some("10.0.0.255")));
        assert_eq!(j[0].args(), ["ecm0", "/dev/null", "9600", "10.0.0.5", ""]);
        assert_eq!(j[0].event, Event::Up);
        // A peer is the fifth argument.
        let j = w.hear(&addr(rtm::DELADDR, 2, "10.0.0.5", Some("10.0.0.6")));
        assert_eq!((j[0].event, j[0].args()[4]), (Event::Down, "10.0.0.6"));
        assert!(w.hear(&addr(rtm::NEWADDR, 3, "10.0.0.5", None)).is_empty());
        // Of IPv6, when nobody else has it; a link-local one with its zone.
        let mut m = addr(rtm::NEWADDR, 2, "fe80:2::1", None);
        let RtBody::Addr { addr_flags, .. } = &mut m.body else { panic!("{m:?}") };
        *addr_flags = in6::TENTATIVE;
        assert!(w.hear(&m).is_empty());
        let j = w.hear(&addr(rtm::NEWADDR, 2, "fe80:2::1", None));
        assert_eq!(j[0].args(), ["ecm0", "/dev/null", "9600", "fe80::1%ecm0", ""]);
        assert_eq!(w.hear(&info(2, LINK_STATE_UP))[0].event, Event::Carrier);
        assert!(w.hear(&info(2, LINK_STATE_UP)).is_empty(), "no change of the carrier");
        assert_eq!(w.hear(&info(2, LINK_STATE_DOWN))[0].event, Event::NoCarrier);
        assert!(w.hear(&announce(7, "lo1", true)).is_empty());
        assert_eq!(w.hear(&announce(7, "ecm1", true)), [Job::new(Event::Arrival, "ecm1")]);
        assert_eq!(w.hear(&announce(7, "ecm1", false)), [Job::new(Event::Departure, "ecm1")]);
        assert!(w.hear(&announce(7, "ecm1", false)).is_empty());
    }

    #[test]
    fn lines_that_are_none() {
        for l in ["", "-u", "-x ecm0", "-u /nonexistent/script ecm0"] {
            let w: Vec<String> = l.split_whitespace().map(str::to_string).collect();
            assert!(Options::parse(&w).is_err(), "{l}");
        }
        let w: Vec<String> = "-iqv -u /bin/true ecm0 ecm1".split_whitespace().map(str::to_string).collect();
        let o = Options::parse(&w).expect("good").expect("no help");
        assert!(o.inhibit && o.quiet && o.verbose && o.names == ["ecm0", "ecm1"]);
        assert_eq!(o.scripts[&Event::Up], "/bin/true");
        assert!(Options::parse(&["-h".into()]).expect("good").is_none());
    }
}
