//! `rtadvd`: advertises this stack as a router (RFC 4861 section 6.2, RFC 4191, RFC 8106) on the interfaces that are named.
//!
//! By one raw ICMPv6 socket. Advertisements go out at random times between two limits, the first three soon, never two within three
//! seconds; who asks with an address of its own is answered alone. Interfaces, their addresses and the switch of forwarding are looked at
//! every second: what changed is told, what went is taken back. SIGHUP reads the configuration again, SIGTERM takes back what was said.

mod conf;
mod link;
mod message;
mod peers;

use crate::dns::text_of;
use crate::getopt;
use crate::tool::{Failure, Outcome, Stack, ask, odd};
use conf::parse;
use iopkt_client::{Meta, RawSocket, Session};
use iopkt_ctl::{IfKind, Ifconf, Reply, Request};
use iopkt_sys::paths::Root;
use iopkt_wire::nd::{self, RouterAdvert};
use link::{FINAL, Link, source};
use message::{Saying, shown};
use std::fmt::Write;
use std::io::ErrorKind;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Usage, as `--help` prints it.
pub const USAGE: &str = "usage: rtadvd [-DdfRs] [-c file] [-M interface] [-p pidfile] interface ...
  -c  configuration (etc/rtadvd.conf under the stack's root, else /etc/rtadvd.conf; without: defaults)
  -d, -D  say what is done   -f  (always so) stay in the foreground   -p  write the process's number there
  -s  only the prefixes of the configuration, none of the interface's addresses
  -R, -M  router renumbering: is not done; a warning
SIGHUP: read the configuration again; SIGUSR1: write what is advertised to run/rtadvd.dump. SOCK=/prefix selects the stack.";

const ICMPV6: u8 = 58;
const ROUTER_SOLICIT: u8 = 133;
const ROUTER_ADVERT: u8 = 134;
/// `netinet/icmp6.h`.
const ICMP6_FILTER: i32 = 1;
/// Between two of the last ones.
const FINAL_DELAY: Duration = Duration::from_millis(100);
/// Between two looks at the interfaces.
const LOOK: Duration = Duration::from_secs(1);
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// SIGTERM, SIGINT.
    End,
    /// SIGHUP.
    Reload,
    /// SIGUSR1.
    Dump,
}

/// The command line.
pub struct Options {
    file: Option<String>,
    pidfile: Option<String>,
    talk: bool,
    fixed: bool,
    renumber: bool,
    interfaces: Vec<String>,
}

fn place(name: &str) -> PathBuf {
    Root::find().with_prefix(std::env::var_os("SOCK").unwrap_or_default(), name)
}

impl Options {
    /// Reads the command line; `None` when help was asked for.
    ///
    /// # Errors
    /// Wrong usage.
    pub fn parse(args: &[String]) -> Result<Option<Options>, Failure> {
        let f = getopt::parse("c:DdfM:p:Rs", args).map_err(|e| Failure::usage(e, USAGE))?;
        if f.has('?') {
            return Ok(None);
        }
        if f.rest.is_empty() {
            return Err(Failure::usage("no interface", USAGE));
        }
        Ok(Some(Options {
            file: f.value('c').map(str::to_string),
            pidfile: f.value('p').map(str::to_string),
            talk: f.has('d') || f.has('D'),
            fixed: f.has('s'),
            renumber: f.has('R') || f.has('M'),
            interfaces: f.rest,
        }))
    }

    fn text(&self) -> Result<String, Failure> {
        let own = place("/etc/rtadvd.conf");
        let path = match &self.file {
            Some(f) => PathBuf::from(f),
            None if own.is_file() => own,
            None => "/etc/rtadvd.conf".into(),
        };
        match std::fs::read_to_string(&path) {
            Ok(t) => Ok(t),
            Err(e) if self.file.is_none() && e.kind() == ErrorKind::NotFound => Ok(String::new()),
            Err(e) => Err(Failure::new(format!("{}: {e}", path.display()))),
        }
    }
}

/// Runs until it is told to end. `random` is below its argument.
///
/// # Errors
/// No stack, no such interface, forwarding is off, the configuration is wrong, no permission.
pub fn run(
    s: &mut dyn Stack,
    session: &Session,
    o: &Options,
    signal: &mut dyn FnMut() -> Option<Order>,
    random: &mut dyn FnMut(u32) -> u32,
) -> Outcome {
    let text = o.text()?;
    let mut links = Vec::new();
    for n in &o.interfaces {
        let conf = parse(&text, n).map_err(Failure::new)?;
        let i = interface(s, n)?;
        if i.kind != IfKind::Ethernet {
            return Err(Failure::new(format!("{n}: is no Ethernet interface")));
        }
        if !forwarding(s)? && conf.lifetime() != 0 {
            return Err(Failure::new(format!(
                "{n}: the stack does not forward, so it is no default router: sysctl -w net.inet6.ip6.forwarding=1, or rltime#0"
            )));
        }
        links.push(Link::new(n, conf, Instant::now()));
    }
    if o.renumber {
        eprintln!("rtadvd: -R, -M: router renumbering (RFC 2894) is not done");
    }
    let sock = open(session).map_err(Failure::new)?;
    if let Some(p) = &o.pidfile {
        std::fs::write(p, format!("{}\n", std::process::id()))
            .map_err(|e| Failure::new(format!("{p}: {e}")))?;
    }
    let mut d = Daemon { s, sock, o, links, forwards: true, looked: None };
    let r = d.serve(signal, random);
    if let Some(p) = &o.pidfile {
        let _ = std::fs::remove_file(p);
    }
    r.map(|()| 0)
}

struct Daemon<'a> {
    s: &'a mut dyn Stack,
    sock: RawSocket,
    o: &'a Options,
    links: Vec<Link>,
    /// The stack forwards.
    forwards: bool,
    looked: Option<Instant>,
}

impl Daemon<'_> {
    fn serve(
        &mut self,
        signal: &mut dyn FnMut() -> Option<Order>,
        random: &mut dyn FnMut(u32) -> u32,
    ) -> Result<(), Failure> {
        let mut buf = vec![0; 2048];
        loop {
            match signal() {
                Some(Order::End) => break,
                Some(Order::Reload) => self.reload(),
                Some(Order::Dump) => self.dump(),
                None => {}
            }
            if self.looked.is_none_or(|t| t.elapsed() >= LOOK) {
                self.looked = Some(Instant::now());
                self.look()?;
            }
            self.speak(random);
            self.hear(&mut buf, random)?;
        }
        // What is over is said (6.2.5).
        for n in 0..FINAL {
            if n > 0 {
                std::thread::sleep(FINAL_DELAY);
            }
            for k in 0..self.links.len() {
                if self.links[k].up {
                    self.say(k, ALL_NODES, true);
                }
            }
        }
        Ok(())
    }

    /// What is due.
    fn speak(&mut self, random: &mut dyn FnMut(u32) -> u32) {
        let now = Instant::now();
        for k in 0..self.links.len() {
            if !self.links[k].up {
                continue;
            }
            if self.links[k].next <= now {
                self.say(k, ALL_NODES, false);
                self.links[k].went(now, random);
            }
            for to in self.links[k].answers(now) {
                self.say(k, to, false);
            }
        }
    }

    /// Looks at the interfaces, and whether we forward.
    fn look(&mut self) -> Result<(), Failure> {
        let on = forwarding(self.s)?;
        if on != std::mem::replace(&mut self.forwards, on) {
            // Who does not forward is no default router (6.2.5).
            eprintln!("rtadvd: forwarding is {}", if on { "on" } else { "off: lifetime 0 is advertised" });
            self.links.iter_mut().for_each(|l| l.hurry(Instant::now()));
        }
        for k in 0..self.links.len() {
            let i = interface(self.s, &self.links[k].name).ok();
            if let Some(i) = &i
                && i.index != self.links[k].index
            {
                // New, or one that came back: groups go with an interface.
                self.join(i).map_err(Failure::new)?;
                self.links[k].index = i.index;
            }
            let l = &mut self.links[k];
            if i.is_none() {
                l.index = 0;
            }
            if l.look(i.as_ref(), self.o.fixed, Instant::now()) {
                let why = match (&i, l.up) {
                    (_, true) => "advertising",
                    (None, _) => "it is gone",
                    _ => "it is down, or has no good link-local address yet",
                };
                eprintln!("rtadvd: {}: {why}", l.name);
            }
        }
        Ok(())
    }

    fn join(&self, i: &Ifconf) -> Result<(), String> {
        let mut req = ALL_ROUTERS.octets().to_vec();
        req.extend(i.index.to_ne_bytes());
        self.sock
            .set_option(libc::IPPROTO_IPV6, libc::IPV6_ADD_MEMBERSHIP, &req)
            .map_err(|e| format!("{}: IPV6_JOIN_GROUP: {}", i.name, text_of(&e)))
    }

    /// SIGHUP. What is wrong is said, and the old configuration holds for that interface.
    fn reload(&mut self) {
        let text = match self.o.text() {
            Ok(t) => t,
            Err(e) => return eprintln!("rtadvd: {}; nothing is changed", e.message),
        };
        for l in &mut self.links {
            match parse(&text, &l.name) {
                Ok(c) => {
                    let i = interface(self.s, &l.name).ok();
                    l.reconfigure(c, i.as_ref(), self.o.fixed, Instant::now());
                    eprintln!("rtadvd: {}: configured anew", l.name);
                }
                Err(e) => eprintln!("rtadvd: {e}; the old configuration of {} holds", l.name),
            }
        }
    }

    /// SIGUSR1: what is advertised, for a person.
    fn dump(&self) {
        let mut t = String::new();
        for l in &self.links {
            let c = &l.conf;
            let _ = writeln!(
                t,
                "{}:\n  {}, {} advertisements sent, {} solicitations heard, {} advertisements of others\n  \
                 interval {} to {} s, chlim {}, lifetime {}, M {}, O {}, preference {:?}, mtu {:?}",
                l.name,
                if l.up { "up" } else { "down" },
                l.sent,
                l.heard.0,
                l.heard.1,
                c.min,
                c.max,
                c.hop_limit,
                if self.forwards { c.lifetime() } else { 0 },
                c.managed,
                c.other,
                c.preference,
                c.mtu
            );
            for p in shown(c, &l.own) {
                let _ =
                    writeln!(t, "  prefix {}/{} vltime {} pltime {}", p.addr, p.plen, p.valid, p.preferred);
            }
            for p in &l.gone.prefixes {
                let _ = writeln!(t, "  prefix {}/{} taken back", p.addr, p.plen);
            }
            for r in &c.routes {
                let _ = writeln!(t, "  route {}/{} ltime {}", r.addr, r.plen, r.lifetime);
            }
            for (what, list) in [
                ("rdnss", c.servers.iter().map(Ipv6Addr::to_string).collect::<Vec<_>>()),
                ("dnssl", c.domains.clone()),
            ] {
                if !list.is_empty() {
                    let _ = writeln!(t, "  {what} {}, {} s", list.join(" "), c.names());
                }
            }
        }
        let path = place("/run/rtadvd.dump");
        let written =
            path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::write(&path, t));
        if let Err(e) = written {
            eprintln!("rtadvd: {}: {e}", path.display());
        }
    }

    /// Sends an advertisement; what goes wrong is said, and the next one is due in its time.
    fn say(&mut self, k: usize, to: Ipv6Addr, last: bool) {
        if let Err(e) = self.advertise(k, to, last) {
            eprintln!("rtadvd: {}: {e}", self.links[k].name);
        }
    }

    fn advertise(&mut self, k: usize, to: Ipv6Addr, last: bool) -> Result<(), String> {
        let l = &self.links[k];
        let i = interface(self.s, &l.name).map_err(|e| e.message)?;
        let from = source(&i).ok_or("has no link-local address that is good")?;
        let b = Saying {
            conf: &l.conf,
            iface: &i,
            own: &l.own,
            gone: &l.gone,
            since: l.since,
            no_router: last || !self.forwards,
            last,
        }
        .emit();
        if b.len() + 40 > i.mtu as usize {
            return Err(format!(
                "{} bytes do not fit a packet, and must not be cut (RFC 6980): say less",
                b.len()
            ));
        }
        let m = Meta {
            peer: Some(SocketAddr::V6(SocketAddrV6::new(
                to,
                0,
                0,
                if iopkt_base::zone::is_scoped(&to) { i.index } else { 0 },
            ))),
            local: Some(from),
            ifindex: i.index,
            ttl: Some(255),
            ..Meta::default()
        };
        self.sock.send_meta(&b, &m).map_err(|e| text_of(&e))?;
        if self.o.talk {
            eprintln!("rtadvd: {}: advertised {} bytes to {to}", l.name, b.len());
        }
        Ok(())
    }

    /// Waits for a message until something is due.
    fn hear(&mut self, buf: &mut [u8], random: &mut dyn FnMut(u32) -> u32) -> Result<(), Failure> {
        let now = Instant::now();
        let next = self.links.iter().filter(|l| l.up).map(Link::deadline).min().unwrap_or(now + LOOK);
        let wait =
            next.saturating_duration_since(now).clamp(Duration::from_millis(1), Duration::from_millis(200));
        self.sock.set_read_timeout(Some(wait)).map_err(|e| Failure::new(text_of(&e)))?;
        match self.sock.recv_meta(buf) {
            Ok((n, m)) => {
                self.input(&buf[..n], &m, random);
                Ok(())
            }
            Err(e) if crate::ping::passing(e.raw_os_error().unwrap_or(0)) => Ok(()),
            Err(e)
                if [ErrorKind::WouldBlock, ErrorKind::TimedOut, ErrorKind::Interrupted]
                    .contains(&e.kind()) =>
            {
                Ok(())
            }
            Err(e) => Err(Failure::new(text_of(&e))),
        }
    }

    fn input(&mut self, b: &[u8], m: &Meta, random: &mut dyn FnMut(u32) -> u32) {
        let Some(SocketAddr::V6(from)) = m.peer else { return };
        let ifindex = if m.ifindex != 0 { m.ifindex } else { from.scope_id() };
        let Some(l) = self.links.iter_mut().find(|l| l.up && l.index == ifindex) else { return };
        if b.len() < 8 || b[1] != 0 || m.ttl != Some(255) {
            return;
        }
        let who = from.ip();
        match b[0] {
            ROUTER_SOLICIT => {
                // From nobody, nothing may be said of who it is (6.1.1).
                let odd = |x: Result<nd::Opt<'_>, ()>| {
                    x.map_or(true, |x| matches!(x, nd::Opt::SourceLink(_)) && who.is_unspecified())
                };
                if !nd::options(&b[8..]).any(odd) {
                    if self.o.talk {
                        eprintln!("rtadvd: {}: {who} asks", l.name);
                    }
                    l.asked(*who, Instant::now(), random);
                }
            }
            ROUTER_ADVERT if who.segments()[0] & 0xffc0 == 0xfe80 => {
                let Some((ra, rest)) = RouterAdvert::parse([b[4], b[5], b[6], b[7]], &b[8..]) else { return };
                l.heard.1 += 1;
                let all = peers::differences(&l.conf, shown(&l.conf, &l.own), l.since, &ra, rest);
                for d in all {
                    let line = format!("{}: router {who} says otherwise: {d}", l.name);
                    if l.is_news(&line) {
                        eprintln!("rtadvd: {line}");
                    }
                }
            }
            _ => {}
        }
    }
}

fn forwarding(s: &mut dyn Stack) -> Result<bool, Failure> {
    let name = "net.inet6.ip6.forwarding";
    match ask(s, name, &Request::Sysctl { name: name.into(), value: None })? {
        Reply::Sysctl(l) => Ok(l.iter().any(|v| v.1 == "1")),
        r => Err(odd(&r)),
    }
}

fn interface(s: &mut dyn Stack, name: &str) -> Result<Ifconf, Failure> {
    match ask(s, name, &Request::Interfaces { name: Some(name.into()) })? {
        Reply::Interfaces(mut l) if l.len() == 1 => Ok(l.remove(0)),
        r => Err(odd(&r)),
    }
}

fn open(session: &Session) -> Result<RawSocket, String> {
    let s = RawSocket::new(session, true, ICMPV6).map_err(|e| match e.kind() {
        ErrorKind::PermissionDenied => {
            "raw sockets are for root and the user that io-pkt runs as".to_string()
        }
        _ => format!("socket: {}", text_of(&e)),
    })?;
    let level = libc::IPPROTO_IPV6;
    for (what, name, v) in [
        ("IPV6_MULTICAST_HOPS", libc::IPV6_MULTICAST_HOPS, 255),
        ("IPV6_UNICAST_HOPS", libc::IPV6_UNICAST_HOPS, 255),
        ("IPV6_MULTICAST_LOOP", libc::IPV6_MULTICAST_LOOP, 0),
        ("IPV6_RECVHOPLIMIT", libc::IPV6_RECVHOPLIMIT, 1),
        ("IPV6_RECVPKTINFO", libc::IPV6_RECVPKTINFO, 1),
    ] {
        crate::ping::set(&s, what, level, name, v)?;
    }
    // Of all that ICMPv6 says, these two alone; a bit that is set keeps a type out (RFC 3542 3.2).
    let mut filter = [0xff; 32];
    for ty in [ROUTER_SOLICIT, ROUTER_ADVERT] {
        let word = usize::from(ty / 32) * 4;
        let bits = u32::from_ne_bytes([filter[word], filter[word + 1], filter[word + 2], filter[word + 3]]);
        filter[word..word + 4].copy_from_slice(&(bits & !(1 << (ty % 32))).to_ne_bytes());
    }
    s.set_option(ICMPV6.into(), ICMP6_FILTER, &filter)
        .map_err(|e| format!("ICMP6_FILTER: {}", text_of(&e)))?;
    Ok(s)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line() {
        let p = |s: &str| Options::parse(&s.split_whitespace().map(str::to_string).collect::<Vec<_>>());
        let o = p("-ds -c x -p y ecm0 ecm1").ok().flatten().expect("good");
        assert!(o.talk && o.fixed && o.file.as_deref() == Some("x") && o.interfaces.len() == 2);
        assert!(o.pidfile.as_deref() == Some("y") && !o.renumber);
        assert!(p("-R -M ecm0 ecm0").ok().flatten().expect("good").renumber);
        for bad in ["", "-x ecm0", "-c"] {
            assert!(p(bad).is_err(), "{bad}");
        }
    }
}
