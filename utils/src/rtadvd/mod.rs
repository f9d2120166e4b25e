//! `rtadvd`: advertises this stack as a router (RFC 4861 section 6.2, RFC 4191, RFC 8106) on the interfaces that are named.
//!
//! By one raw ICMPv6 socket. Advertisements go out at random times between two limits, the first three soon; solicitations are
//! answered to everybody, so that a flood of them makes one answer every three seconds at most. SIGTERM takes back what was said.

mod conf;

use crate::dns::text_of;
use crate::getopt;
use crate::tool::{Failure, Outcome, Stack, ask, odd};
use conf::{Config, Prefix, parse};
use iopkt_client::{Meta, RawSocket, Session};
use iopkt_ctl::{IfKind, Ifconf, Reply, Request, iff, in6};
use iopkt_wire::nd::{self, RouterAdvert, opt};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::{Duration, Instant};

/// Usage, as `--help` prints it.
pub const USAGE: &str = "usage: rtadvd [-Ddfs] [-c file] interface ...
  -c  configuration (etc/rtadvd.conf under the stack's root, else /etc/rtadvd.conf; without: defaults)
  -d, -D  say what is done   -f  (always so) stay in the foreground
  -s  only the prefixes of the configuration, none of the interface's addresses
SOCK=/prefix selects the stack.";

const ICMPV6: u8 = 58;
const ROUTER_SOLICIT: u8 = 133;
/// RFC 4861 section 10.
const INITIAL: u32 = 3;
const INITIAL_INTERVAL: u64 = 16;
/// MAX_FINAL_RTR_ADVERTISEMENTS (RFC 4861 6.2.5): one may be lost.
const FINAL: u32 = 3;
/// Between two of them.
const FINAL_DELAY: Duration = Duration::from_millis(100);
const MIN_DELAY: Duration = Duration::from_secs(3);
const MAX_RA_DELAY_MS: u32 = 500;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// The command line.
pub struct Options {
    file: Option<String>,
    talk: bool,
    fixed: bool,
    interfaces: Vec<String>,
}

impl Options {
    /// Reads the command line; `None` when help was asked for.
    ///
    /// # Errors
    /// Wrong usage.
    pub fn parse(args: &[String]) -> Result<Option<Options>, Failure> {
        let f = getopt::parse("c:Ddfs", args).map_err(|e| Failure::usage(e, USAGE))?;
        if f.has('?') {
            return Ok(None);
        }
        if f.rest.is_empty() {
            return Err(Failure::usage("no interface", USAGE));
        }
        Ok(Some(Options {
            file: f.value('c').map(str::to_string),
            talk: f.has('d') || f.has('D'),
            fixed: f.has('s'),
            interfaces: f.rest,
        }))
    }

    fn text(&self) -> Result<String, Failure> {
        let own = iopkt_sys::paths::Root::find()
            .with_prefix(std::env::var_os("SOCK").unwrap_or_default(), "/etc/rtadvd.conf");
        let path = match &self.file {
            Some(f) => std::path::PathBuf::from(f),
            None if own.is_file() => own,
            None => "/etc/rtadvd.conf".into(),
        };
        match std::fs::read_to_string(&path) {
            Ok(t) => Ok(t),
            Err(e) if self.file.is_none() && e.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
            Err(e) => Err(Failure::new(format!("{}: {e}", path.display()))),
        }
    }
}

/// One interface.
struct Link {
    name: String,
    index: u32,
    conf: Config,
    sent: u32,
    last: Option<Instant>,
    next: Instant,
}

/// Runs until `stop` says so. `random` is below its argument.
///
/// # Errors
/// No stack, no such interface, forwarding is off, the configuration is wrong, no permission.
pub fn run(
    s: &mut dyn Stack,
    session: &Session,
    o: &Options,
    stop: &mut dyn FnMut() -> bool,
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
        if conf.lifetime() > 0 && !forwarding(s)? {
            return Err(Failure::new(format!(
                "{n}: who does not forward is no default router: sysctl -w net.inet6.ip6.forwarding=1, or rltime#0"
            )));
        }
        links.push(Link { name: n.clone(), index: i.index, conf, sent: 0, last: None, next: Instant::now() });
    }
    let sock = open(session, &links).map_err(Failure::new)?;
    let mut buf = vec![0; 2048];
    while !stop() {
        let now = Instant::now();
        for l in links.iter_mut().filter(|l| l.next <= now) {
            if let Err(e) = advertise(s, &sock, l, o, false) {
                // The interface may be down, or have no good address yet: the next one will go.
                eprintln!("rtadvd: {}: {}", l.name, e.message);
            }
            l.sent += 1;
            l.last = Some(now);
            let spread =
                u64::from(l.conf.min) * 1000 + u64::from(random((l.conf.max - l.conf.min) * 1000 + 1));
            let most = if l.sent < INITIAL { INITIAL_INTERVAL * 1000 } else { u64::MAX };
            l.next = now + Duration::from_millis(spread.min(most));
        }
        let next = links.iter().map(|l| l.next).min().unwrap_or(now);
        let wait =
            next.saturating_duration_since(now).clamp(Duration::from_millis(1), Duration::from_millis(200));
        sock.set_read_timeout(Some(wait)).map_err(|e| Failure::new(text_of(&e)))?;
        match sock.recv_meta(&mut buf) {
            Ok((n, m)) => solicited(&mut links, &buf[..n], &m, o, random),
            Err(e) if crate::ping::passing(e.raw_os_error().unwrap_or(0)) => {}
            Err(e)
                if matches!(
                    e.kind(),
                    std::io::ErrorKind::WouldBlock
                        | std::io::ErrorKind::TimedOut
                        | std::io::ErrorKind::Interrupted
                ) => {}
            Err(e) => return Err(Failure::new(text_of(&e))),
        }
    }
    // What is over is said (6.2.5).
    for n in 0..FINAL {
        if n > 0 {
            std::thread::sleep(FINAL_DELAY);
        }
        for l in &links {
            if let Err(e) = advertise(s, &sock, l, o, true) {
                eprintln!("rtadvd: {}: {}", l.name, e.message);
            }
        }
    }
    Ok(0)
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

fn open(session: &Session, links: &[Link]) -> Result<RawSocket, String> {
    let s = RawSocket::new(session, true, ICMPV6).map_err(|e| match e.kind() {
        std::io::ErrorKind::PermissionDenied => {
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
    for l in links {
        let mut req = ALL_ROUTERS.octets().to_vec();
        req.extend(l.index.to_ne_bytes());
        s.set_option(level, libc::IPV6_ADD_MEMBERSHIP, &req)
            .map_err(|e| format!("{}: IPV6_JOIN_GROUP: {}", l.name, text_of(&e)))?;
    }
    Ok(s)
}

/// A message came: a solicitation makes the next advertisement come sooner (6.2.6).
fn solicited(links: &mut [Link], b: &[u8], m: &Meta, o: &Options, random: &mut dyn FnMut(u32) -> u32) {
    let Some(SocketAddr::V6(from)) = m.peer else { return };
    let ifindex = if m.ifindex != 0 { m.ifindex } else { from.scope_id() };
    let good = b.len() >= 8
        && b[0] == ROUTER_SOLICIT
        && b[1] == 0
        && m.ttl == Some(255)
        && nd::options(&b[8..])
            .all(|x| x.is_ok_and(|x| !matches!(x, nd::Opt::SourceLink(_)) || !from.ip().is_unspecified()));
    let Some(l) = links.iter_mut().find(|l| good && l.index == ifindex) else { return };
    if o.talk {
        eprintln!("rtadvd: {}: {} asks", l.name, from.ip());
    }
    let soon = Instant::now() + Duration::from_millis(random(MAX_RA_DELAY_MS).into());
    let least = l.last.map_or(soon, |t| soon.max(t + MIN_DELAY));
    l.next = l.next.min(least);
}

/// Sends an advertisement to everybody on a link; `last`: that we are no router any more.
fn advertise(s: &mut dyn Stack, sock: &RawSocket, l: &Link, o: &Options, last: bool) -> Result<(), Failure> {
    let i = interface(s, &l.name)?;
    if i.flags & iff::UP == 0 {
        return Err(Failure::new("the interface is down"));
    }
    let usable = |a: &&iopkt_ctl::AddrInfo| {
        matches!(a.addr, IpAddr::V6(x) if x.segments()[0] & 0xffc0 == 0xfe80)
            && i.life(&a.addr).is_none_or(|f| f.flags & (in6::TENTATIVE | in6::DUPLICATED) == 0)
    };
    let from = i.addrs.iter().find(usable).map(|a| a.addr);
    let from = from.ok_or_else(|| Failure::new("has no link-local address that is good"))?;
    let b = message(&l.conf, &i, if o.fixed { Vec::new() } else { own(&i, &l.conf) }, last);
    let m = Meta {
        peer: Some(SocketAddr::V6(SocketAddrV6::new(ALL_NODES, 0, 0, l.index))),
        local: Some(from),
        ifindex: l.index,
        ttl: Some(255),
        ..Meta::default()
    };
    sock.send_meta(&b, &m).map_err(|e| Failure::new(text_of(&e)))?;
    if o.talk {
        eprintln!("rtadvd: {}: advertised {} bytes", l.name, b.len());
    }
    Ok(())
}

/// The networks of the interface's own addresses, for as long as those are good.
fn own(i: &Ifconf, c: &Config) -> Vec<Prefix> {
    let mut out: Vec<Prefix> = Vec::new();
    for a in &i.addrs {
        let IpAddr::V6(x) = a.addr else { continue };
        let Some(life) = i.life(&a.addr) else { continue };
        let never = in6::AUTOCONF | in6::DUPLICATED | in6::DETACHED;
        if life.flags & never != 0 || x.segments()[0] & 0xffc0 == 0xfe80 || a.prefix_len == 128 {
            continue;
        }
        let mask = if a.prefix_len == 0 { 0 } else { u128::MAX << (128 - u32::from(a.prefix_len)) };
        let addr = Ipv6Addr::from(u128::from(x) & mask);
        let valid = life.valid.unwrap_or(u32::MAX).min(c.own.valid);
        let preferred = life.preferred.unwrap_or(u32::MAX).min(c.own.preferred).min(valid);
        if !out.iter().any(|p| p.addr == addr && p.plen == a.prefix_len) {
            out.push(Prefix { addr, plen: a.prefix_len, valid, preferred, ..c.own.clone() });
        }
    }
    out
}

fn message(c: &Config, i: &Ifconf, own: Vec<Prefix>, last: bool) -> Vec<u8> {
    let ra = RouterAdvert {
        hop_limit: c.hop_limit,
        managed: c.managed,
        other: c.other,
        preference: c.preference,
        lifetime: if last { 0 } else { c.lifetime() },
        reachable: c.reachable,
        retrans: c.retrans,
    };
    let mut b = ra.emit();
    nd::push_link(&mut b, opt::SOURCE_LINK, i.mac);
    if c.mtu != 0 {
        nd::push_mtu(&mut b, c.mtu.min(i.mtu));
    }
    let list = if c.prefixes.is_empty() { &own } else { &c.prefixes };
    for p in list {
        nd::push_prefix(
            &mut b,
            &nd::Prefix {
                prefix: p.addr,
                plen: p.plen,
                on_link: p.on_link,
                autonomous: p.autonomous,
                valid: p.valid,
                preferred: p.preferred,
            },
        );
    }
    for r in &c.routes {
        nd::push_route(&mut b, r.addr, r.plen, r.preference, if last { 0 } else { r.lifetime });
    }
    let names = if last { 0 } else { c.names() };
    if !c.servers.is_empty() {
        nd::push_rdnss(&mut b, names, &c.servers);
    }
    if !c.domains.is_empty() {
        push_domains(&mut b, names, &c.domains);
    }
    b
}

/// RFC 8106 5.2: names as DNS writes them, padded with zeros.
fn push_domains(b: &mut Vec<u8>, lifetime: u32, domains: &[String]) {
    let mut names = Vec::new();
    for d in domains {
        for l in d.split('.') {
            names.push(l.len() as u8);
            names.extend(l.bytes());
        }
        names.push(0);
    }
    names.resize(names.len().next_multiple_of(8), 0);
    b.extend([opt::DNSSL, (1 + names.len() / 8) as u8, 0, 0]);
    b.extend(lifetime.to_be_bytes());
    b.extend(names);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line() {
        let p = |s: &str| Options::parse(&s.split_whitespace().map(str::to_string).collect::<Vec<_>>());
        let o = p("-ds -c x ecm0 ecm1").ok().flatten().expect("good");
        assert!(o.talk && o.fixed && o.file.as_deref() == Some("x") && o.interfaces.len() == 2);
        for bad in ["", "-x ecm0", "-c"] {
            assert!(p(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_message_says_what_the_configuration_says() {
        let i = crate::ifconfig::tests::wm0();
        let c = parse("x:addr=\"2001:db8::\":rdnss=\"2001:db8::53\":dnssl=\"lan\":mtu#1400:rtprefix=\"2001:db8:9::\":rtplen#48:", "x")
            .expect("good");
        let read = |b: &[u8]| {
            let (ra, rest) = RouterAdvert::parse([b[4], b[5], b[6], b[7]], &b[8..]).expect("one");
            let o: Vec<String> = nd::options(rest).map(|o| format!("{:?}", o.expect("good"))).collect();
            (ra, o.join("\n"))
        };
        let b = message(&c, &i, Vec::new(), false);
        let (ra, o) = read(&b);
        assert_eq!((ra.lifetime, ra.hop_limit), (1800, 64));
        for want in [
            "SourceLink",
            "Mtu(1400)",
            "prefix: 2001:db8::, plen: 64",
            "Route { prefix: 2001:db8:9::, plen: 48",
            "Rdnss { lifetime: 900",
            "Dnssl { lifetime: 900",
        ] {
            assert!(o.contains(want), "{want}: {o}");
        }
        let b = message(&c, &i, Vec::new(), true);
        let (ra, o) = read(&b);
        assert!(ra.lifetime == 0 && o.contains("Rdnss { lifetime: 0"), "{o}");
    }
}
