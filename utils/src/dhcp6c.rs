//! `dhcp6c`: configures an interface by DHCPv6. The machine is [`iopkt_autoconf::dhcp6`]; this is its place in the world.

use crate::dns::text_of;
use crate::getopt;
use crate::resolvconf::{Entry, Part, Place, Source, Told};
use crate::tool::{Failure, Outcome, Stack, ask, odd};
use iopkt_autoconf::dhcp6::{
    ALL_SERVERS, Action6, CLIENT_PORT, Client6, Config6, Given, Lease6, SERVER_PORT,
};
use iopkt_base::{Instant, Rng};
use iopkt_client::{Session, UdpSocket};
use iopkt_ctl::{AddrInfo, AddrLife, AddrState, IfKind, Ifconf, NdRequest, Reply, Request, in6};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

/// Usage, as `--help` prints it.
pub const USAGE: &str = "usage: dhcp6c [-1dfinr] [-P length] [-x interface] interface
  -i  names alone (stateless)   -P  a prefix too, of this length (0: as the server likes)
  -x  give that interface the first network of the prefix (may be repeated: the next one)
  -N  no address, only what else is asked for   -R  a server may answer at once (rapid commit)
  -n  leave resolv.conf alone   -r  keep the lease at the end, do not give it back
  -1  end when it has what it asked for   -d  say what is done   -f  (always so) stay in the foreground
SOCK=/prefix selects the stack.";

/// The command line.
pub struct Options {
    once: bool,
    talk: bool,
    names_only: bool,
    no_address: bool,
    no_resolv: bool,
    keep: bool,
    rapid: bool,
    prefix: Option<u8>,
    downstream: Vec<String>,
    interface: String,
}

impl Options {
    /// Reads the command line; `None` when help was asked for.
    ///
    /// # Errors
    /// Wrong usage.
    pub fn parse(args: &[String]) -> Result<Option<Options>, Failure> {
        let f = getopt::parse("1dfinNP:rRx:", args).map_err(|e| Failure::usage(e, USAGE))?;
        if f.has('?') {
            return Ok(None);
        }
        let [interface] = f.rest.as_slice() else {
            return Err(Failure::usage("one interface, please", USAGE));
        };
        let bad = |v: &str| Failure::usage(format!("-P {v}: a length is 0 to 64"), USAGE);
        let prefix = match f.value('P') {
            Some(v) => Some(v.parse().ok().filter(|n| *n <= 64).ok_or_else(|| bad(v))?),
            None => None,
        };
        let downstream: Vec<String> =
            f.flags.iter().filter(|x| x.0 == 'x').filter_map(|x| x.1.clone()).collect();
        if !downstream.is_empty() && prefix.is_none() {
            return Err(Failure::usage("-x needs a prefix (-P)", USAGE));
        }
        if f.has('i') && (prefix.is_some() || f.has('N') || f.has('R')) {
            return Err(Failure::usage("-i asks for names alone", USAGE));
        }
        if f.has('N') && prefix.is_none() {
            return Err(Failure::usage("-N leaves nothing to ask for without -P (or -i)", USAGE));
        }
        Ok(Some(Options {
            once: f.has('1'),
            talk: f.has('d'),
            names_only: f.has('i'),
            no_address: f.has('N'),
            no_resolv: f.has('n'),
            keep: f.has('r'),
            rapid: f.has('R'),
            prefix,
            downstream,
            interface: interface.clone(),
        }))
    }
}

fn interface(s: &mut dyn Stack, name: &str) -> Result<Ifconf, Failure> {
    match ask(s, name, &Request::Interfaces { name: Some(name.into()) })? {
        Reply::Interfaces(mut l) if l.len() == 1 => Ok(l.remove(0)),
        r => Err(odd(&r)),
    }
}

/// The link-local address, once it is good.
fn link_local(i: &Ifconf) -> Option<Ipv6Addr> {
    i.addrs.iter().find_map(|a| match a.addr {
        IpAddr::V6(x) if x.segments()[0] & 0xffc0 == 0xfe80 => {
            let f = i.life(&a.addr).map_or(0, |l| l.flags);
            (f & (in6::TENTATIVE | in6::DUPLICATED) == 0).then_some(x)
        }
        _ => None,
    })
}

/// Runs until `stop` says so. `now` is the clock.
///
/// # Errors
/// No stack, no such interface, no permission for the port.
pub fn run(
    s: &mut dyn Stack,
    session: &Session,
    o: &Options,
    seed: u64,
    now: &dyn Fn() -> Instant,
    stop: &mut dyn FnMut() -> bool,
) -> Outcome {
    let i = interface(s, &o.interface)?;
    if i.kind != IfKind::Ethernet {
        return Err(Failure::new(format!("{}: is no Ethernet interface", o.interface)));
    }
    let own = loop {
        match link_local(&interface(s, &o.interface)?) {
            Some(a) => break a,
            None if stop() => return Ok(1),
            None => std::thread::sleep(Duration::from_millis(100)),
        }
    };
    let at = SocketAddr::V6(SocketAddrV6::new(own, CLIENT_PORT, 0, i.index));
    let sock = UdpSocket::bind(session, at)
        .map_err(|e| Failure::new(format!("port {CLIENT_PORT} of {own}%{}: {}", o.interface, text_of(&e))))?;
    // RFC 8415 11.4: of the link-level address, which is the same after a restart.
    let duid = [&[0, 3, 0, 1][..], &i.mac].concat();
    let iaid = u32::from_be_bytes([i.mac[2], i.mac[3], i.mac[4], i.mac[5]]);
    let cfg =
        Config6 { duid, iaid, address: !o.names_only && !o.no_address, prefix: o.prefix, rapid: o.rapid };
    let mut c = Client6::new(cfg, Rng::new(seed), now());
    let to = SocketAddr::V6(SocketAddrV6::new(ALL_SERVERS, SERVER_PORT, 0, i.index));
    let mut w = World { o, held: Lease6::default(), ready: false, names: None };
    let mut buf = vec![0; 2048];
    let mut ending = false;
    loop {
        if !ending && (stop() || o.once && w.ready) {
            if o.keep || o.once || c.lease().is_none() {
                w.leave();
                return Ok(i32::from(!w.ready));
            }
            ending = true;
            c.release(now());
            w.undo(s);
        }
        c.tick(now());
        while let Some(a) = c.next() {
            match a {
                Action6::Send(m) => {
                    if let Err(e) = sock.send_to(&m, to) {
                        eprintln!("dhcp6c: {}: {}", o.interface, text_of(&e));
                    }
                }
                a => w.act(s, a)?,
            }
        }
        if ending && c.is_idle() {
            return Ok(0);
        }
        if !ending && w.duplicated(s)? {
            eprintln!("dhcp6c: {}: the address is somebody else's: declined", o.interface);
            c.decline(now());
            continue;
        }
        let wait = c.deadline().since(now()).clamp(Duration::from_millis(1), Duration::from_millis(200));
        sock.set_read_timeout(Some(wait)).map_err(|e| Failure::new(text_of(&e)))?;
        match sock.recv_meta(&mut buf) {
            Ok((n, m)) => {
                if m.peer.is_some_and(|p| p.port() == SERVER_PORT) {
                    c.input(now(), &buf[..n]);
                }
            }
            Err(e) if crate::ping::passing(e.raw_os_error().unwrap_or(0)) => {}
            Err(e)
                if [ErrorKind::WouldBlock, ErrorKind::TimedOut, ErrorKind::Interrupted]
                    .contains(&e.kind()) => {}
            Err(e) => return Err(Failure::new(text_of(&e))),
        }
    }
}

/// What a lease does to the stack.
struct World<'a> {
    o: &'a Options,
    held: Lease6,
    ready: bool,
    names: Option<Part>,
}

impl World<'_> {
    fn act(&mut self, s: &mut dyn Stack, a: Action6) -> Result<(), Failure> {
        match a {
            Action6::Bound(l) => {
                let old = std::mem::replace(&mut self.held, l.clone());
                // What is not in it any more goes.
                let gone = Lease6 {
                    addrs: old
                        .addrs
                        .into_iter()
                        .filter(|a| !l.addrs.iter().any(|b| b.addr == a.addr))
                        .collect(),
                    prefixes: old
                        .prefixes
                        .into_iter()
                        .filter(|a| !l.prefixes.iter().any(|b| (b.addr, b.plen) == (a.addr, a.plen)))
                        .collect(),
                    ..Lease6::default()
                };
                self.remove(s, &gone);
                for a in &l.addrs {
                    add(s, &self.o.interface, a.addr, 128, a)?;
                }
                for (ifname, net, p) in networks(&l, &self.o.downstream) {
                    add(s, ifname, Ipv6Addr::from(u128::from(net) | 1), 64, &p)?;
                }
                self.say(&l);
                self.names(&l);
            }
            Action6::Names(l) => {
                self.say(&l);
                self.names(&l);
            }
            Action6::Lost(l) => {
                self.remove(s, &l);
                self.held = Lease6::default();
                self.names = None;
            }
            Action6::Send(_) => {}
        }
        Ok(())
    }

    fn say(&mut self, l: &Lease6) {
        self.ready = true;
        if self.o.talk {
            for a in l.addrs.iter().chain(&l.prefixes) {
                eprintln!("dhcp6c: {}: {}/{} for {} s", self.o.interface, a.addr, a.plen, a.valid);
            }
        }
    }

    /// Our part of resolv.conf(5) of this stack.
    fn names(&mut self, l: &Lease6) {
        if self.o.no_resolv || (l.dns.is_empty() && self.names.is_none()) {
            return;
        }
        let server = |a: &Ipv6Addr| Entry::plain(crate::addr::zoned((*a).into(), Some(&self.o.interface)));
        let told = Told {
            servers: l.dns.iter().map(server).collect(),
            domains: l.domains.iter().map(|d| Entry::plain(d.as_str())).collect(),
        };
        let part = match self.names.take() {
            Some(p) => Ok(p),
            None => Part::take(&Place::find(), &self.o.interface, Source::Dhcp6),
        };
        if let Err(e) = part.and_then(|p| self.names.insert(p).tell(told)) {
            eprintln!("dhcp6c: {e}");
        }
    }

    fn remove(&self, s: &mut dyn Stack, l: &Lease6) {
        let mut del = |name: &str, a: Ipv6Addr| {
            // One that a person took away meanwhile is gone, too.
            let _ = s.ask(&Request::DelAddr { name: name.into(), addr: Some(a.into()) });
        };
        for a in &l.addrs {
            del(&self.o.interface, a.addr);
        }
        for (ifname, net, _) in networks(l, &self.o.downstream) {
            del(ifname, Ipv6Addr::from(u128::from(net) | 1));
        }
    }

    /// The end; what was given is good without us until its time is over.
    fn leave(&mut self) {
        let Some(part) = self.names.take().filter(|_| self.ready) else { return };
        let valid = self.held.addrs.iter().chain(&self.held.prefixes).map(|g| g.valid).max();
        let left = match valid {
            Some(u32::MAX) => None,
            // Names alone: as long as nobody would have asked again (RFC 8415 21.23).
            v => Some(u64::from(v.unwrap_or(86_400))),
        };
        if let Err(e) = part.keep(left) {
            eprintln!("dhcp6c: {e}");
        }
    }

    fn undo(&mut self, s: &mut dyn Stack) {
        self.names = None;
        let l = std::mem::take(&mut self.held);
        self.remove(s, &l);
    }

    /// Whether detection found an address of the lease to be somebody else's.
    fn duplicated(&self, s: &mut dyn Stack) -> Result<bool, Failure> {
        if self.held.addrs.is_empty() {
            return Ok(false);
        }
        let i = interface(s, &self.o.interface)?;
        let bad = |a: &Given| i.life(&IpAddr::V6(a.addr)).is_some_and(|l| l.flags & in6::DUPLICATED != 0);
        Ok(self.held.addrs.iter().any(bad))
    }
}

/// The networks of 64 bits that downstream interfaces get, one after the other.
fn networks<'a>(l: &Lease6, names: &'a [String]) -> Vec<(&'a str, Ipv6Addr, Given)> {
    let Some(p) = l.prefixes.first().filter(|p| p.plen <= 64) else { return Vec::new() };
    let mask = if p.plen == 0 { 0 } else { u128::MAX << (128 - u32::from(p.plen)) };
    let base = u128::from(p.addr) & mask;
    let most = 1u128 << (64 - u32::from(p.plen));
    let of = |(n, name): (usize, &'a String)| (name.as_str(), Ipv6Addr::from(base | (n as u128) << 64), *p);
    names.iter().enumerate().take_while(|(n, _)| (*n as u128) < most).map(of).collect()
}

fn add(s: &mut dyn Stack, name: &str, a: Ipv6Addr, prefix_len: u8, g: &Given) -> Result<(), Failure> {
    let some = |n: u32| (n != u32::MAX).then_some(n);
    let addr = AddrInfo { addr: a.into(), prefix_len, broadcast: None, peer: None, state: AddrState::Valid };
    let life = AddrLife { preferred: some(g.preferred), valid: some(g.valid), ..AddrLife::plain(a.into()) };
    match ask(
        s,
        name,
        &Request::Nd(NdRequest::AddAddr { name: name.into(), addr, life, clear: in6::DEPRECATED }),
    )? {
        Reply::Ok => Ok(()),
        r => Err(odd(&r)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line() {
        let p = |s: &str| Options::parse(&s.split_whitespace().map(str::to_string).collect::<Vec<_>>());
        let o = p("-d1 -P 56 -x ecm1 -x ecm2 ecm0").ok().flatten().expect("good");
        assert_eq!((o.prefix, o.downstream.len(), o.once), (Some(56), 2, true));
        for bad in ["", "a b", "-P 65 a", "-x b a", "-i -P 0 a", "-N a", "-z a"] {
            assert!(p(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_prefix_is_cut_into_networks() {
        let g = Given { addr: "2001:db8:ff00::".parse().expect("address"), plen: 63, preferred: 1, valid: 2 };
        let l = Lease6 { prefixes: vec![g], ..Lease6::default() };
        let names: Vec<String> = ["a", "b", "c"].map(String::from).to_vec();
        let n = networks(&l, &names);
        assert_eq!(n.len(), 2, "a /63 has two");
        assert_eq!((n[1].0, n[1].1.to_string()), ("b", "2001:db8:ff00:1::".into()));
    }
}
