//! `dhcp6c`: configures an interface by DHCPv6. The machine is [`iopkt_autoconf::dhcp6`]; this is its place in the world: a socket,
//! the interface that comes and goes, signals. [`world`] does with a lease what the options say, [`duid`] is who we are.

mod duid;
mod world;

use crate::dns::text_of;
use crate::getopt;
use crate::tool::{Failure, Outcome, Stack, ask, odd};
use iopkt_autoconf::dhcp6::{ALL_SERVERS, Action6, CLIENT_PORT, Client6, Config6, MAX_ITEMS, SERVER_PORT};
use iopkt_base::{Instant, Rng};
use iopkt_client::{Session, UdpSocket};
use iopkt_ctl::{IfKind, Ifconf, LinkState, Reply, Request, iff, in6};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;
use world::{Downstream, World};

/// Between two looks at the interface.
const LOOK: Duration = Duration::from_millis(500);
/// Between two looks at the signals.
const WAIT: Duration = Duration::from_millis(200);

/// Usage, as `--help` prints it.
pub const USAGE: &str = "usage: dhcp6c [-1dfiNnRr] [-A count] [-P length] [-x interface[:subnet]] interface
  -i  names alone (stateless)   -A  so many addresses (1)
  -P  a prefix too, of this length (0: as the server likes); repeated: another one
  -x  give that interface a network of each prefix: the subnet of this number (0x for hexadecimal), without: the next one
  -N  no address, only what else is asked for   -R  a server may answer at once (rapid commit)
  -n  leave resolv.conf alone   -r  keep the lease at the end, do not give it back
  -1  end when it has what it asked for   -d  say what is done   -f  (always so) stay in the foreground
SOCK=/prefix selects the stack.";

/// The command line.
pub struct Options {
    once: bool,
    talk: bool,
    addresses: u32,
    no_resolv: bool,
    keep: bool,
    rapid: bool,
    prefixes: Vec<u8>,
    downstream: Vec<Downstream>,
    interface: String,
}

impl Options {
    /// Reads the command line; `None` when help was asked for.
    ///
    /// # Errors
    /// Wrong usage.
    pub fn parse(args: &[String]) -> Result<Option<Options>, Failure> {
        let f = getopt::parse("1A:dfinNP:rRx:", args).map_err(|e| Failure::usage(e, USAGE))?;
        if f.has('?') {
            return Ok(None);
        }
        let [interface] = f.rest.as_slice() else {
            return Err(Failure::usage("one interface, please", USAGE));
        };
        let all = |c: char| f.flags.iter().filter(move |x| x.0 == c).filter_map(|x| x.1.as_deref());
        let wrong = |c: char, v: &str, why: &str| Failure::usage(format!("-{c} {v}: {why}"), USAGE);
        let length = |v: &str| {
            let n = v.parse().ok().filter(|n| *n <= 64);
            n.ok_or_else(|| wrong('P', v, "a length is 0 to 64"))
        };
        let prefixes = all('P').map(length).collect::<Result<Vec<u8>, _>>()?;
        let inner =
            |v: &str| Downstream::parse(v).ok_or_else(|| wrong('x', v, "an interface, or interface:number"));
        let downstream = all('x').map(inner).collect::<Result<Vec<_>, _>>()?;
        if !downstream.is_empty() && prefixes.is_empty() {
            return Err(Failure::usage("-x needs a prefix (-P)", USAGE));
        }
        if f.has('i') && (!prefixes.is_empty() || ['A', 'N', 'R'].iter().any(|c| f.has(*c))) {
            return Err(Failure::usage("-i asks for names alone", USAGE));
        }
        if f.has('N') && prefixes.is_empty() {
            return Err(Failure::usage("-N leaves nothing to ask for without -P (or -i)", USAGE));
        }
        if f.has('N') && f.has('A') {
            return Err(Failure::usage("-N and -A exclude each other", USAGE));
        }
        let most = MAX_ITEMS as u32;
        let addresses = match f.value('A') {
            _ if f.has('N') || f.has('i') => 0,
            Some(v) => {
                let n = v.parse().ok().filter(|n| (1..=most).contains(n));
                n.ok_or_else(|| wrong('A', v, "1 to 16 addresses"))?
            }
            None => 1,
        };
        if prefixes.len() > MAX_ITEMS {
            return Err(Failure::usage("-P: at most 16", USAGE));
        }
        Ok(Some(Options {
            once: f.has('1'),
            talk: f.has('d'),
            addresses,
            no_resolv: f.has('n'),
            keep: f.has('r'),
            rapid: f.has('R'),
            prefixes,
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

/// The interface, unless it is not there; only a stack that is gone is an error.
fn there(s: &mut dyn Stack, name: &str) -> Result<Option<Ifconf>, Failure> {
    match s.ask(&Request::Interfaces { name: Some(name.into()) }).map_err(Failure::new)? {
        Reply::Interfaces(mut l) if l.len() == 1 => Ok(Some(l.remove(0))),
        _ => Ok(None),
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

fn usable(i: &Ifconf) -> bool {
    i.flags & iff::UP != 0 && i.link != LinkState::Down
}

/// How a turn on the interface ended.
enum End {
    /// The program ends with this code.
    Code(i32),
    /// The interface is gone, or has another link-local address.
    Gone,
}

/// Runs until `stop` says so. `now` is the clock.
///
/// # Errors
/// No stack, no such interface at the beginning, no permission for the port.
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
    let duid = duid::of_this_stack(i.mac);
    let mut rng = Rng::new(seed);
    let mut w = World::new(o);
    loop {
        // Its first address must be good; after an unplugging, the interface must be there again.
        let i = loop {
            match there(s, &o.interface)? {
                Some(i) if link_local(&i).is_some() && usable(&i) => break i,
                _ if stop() => return Ok(1),
                _ => std::thread::sleep(Duration::from_millis(100)),
            }
        };
        let cfg = Config6 {
            duid: duid.clone(),
            iaid: duid::iaid(&o.interface),
            addresses: o.addresses,
            prefixes: o.prefixes.clone(),
            rapid: o.rapid,
        };
        let c = Client6::new(cfg, Rng::new(rng.next_u64()), now());
        let mut turn = Turn::open(s, session, &mut w, &i, c, now)?;
        match turn.run(stop)? {
            End::Code(n) => return Ok(n),
            End::Gone => {
                eprintln!("dhcp6c: {}: it is gone", o.interface);
                w.undo(s);
            }
        }
    }
}

/// The client while the interface is there.
struct Turn<'a, 'b> {
    s: &'a mut dyn Stack,
    w: &'a mut World<'b>,
    c: Client6,
    now: &'a dyn Fn() -> Instant,
    sock: UdpSocket,
    own: Ipv6Addr,
    to: SocketAddr,
    index: u32,
    up: bool,
    looked: Instant,
    /// What we have is given back.
    ending: bool,
}

impl<'a, 'b> Turn<'a, 'b> {
    fn open(
        s: &'a mut dyn Stack,
        session: &Session,
        w: &'a mut World<'b>,
        i: &Ifconf,
        c: Client6,
        now: &'a dyn Fn() -> Instant,
    ) -> Result<Turn<'a, 'b>, Failure> {
        let own = link_local(i).unwrap_or(Ipv6Addr::UNSPECIFIED);
        let at = SocketAddr::V6(SocketAddrV6::new(own, CLIENT_PORT, 0, i.index));
        let sock = UdpSocket::bind(session, at)
            .map_err(|e| Failure::new(format!("port {CLIENT_PORT} of {own}%{}: {}", i.name, text_of(&e))))?;
        let to = SocketAddr::V6(SocketAddrV6::new(ALL_SERVERS, SERVER_PORT, 0, i.index));
        let looked = now();
        Ok(Turn { s, w, c, now, sock, own, to, index: i.index, up: true, looked, ending: false })
    }

    fn run(&mut self, stop: &mut dyn FnMut() -> bool) -> Result<End, Failure> {
        let o = self.w.o;
        let mut buf = vec![0; 2048];
        loop {
            if !self.ending && (stop() || o.once && self.w.ready) {
                let code = i32::from(!self.w.ready);
                if o.keep || o.once {
                    self.w.leave();
                    return Ok(End::Code(code));
                }
                if self.c.lease().is_none() {
                    self.w.undo(self.s);
                    return Ok(End::Code(code));
                }
                self.ending = true;
                self.c.release((self.now)());
                self.w.undo(self.s);
            }
            self.c.tick((self.now)());
            self.act()?;
            if self.ending && self.c.is_idle() {
                return Ok(End::Code(0));
            }
            if !self.ending && self.look()? {
                return Ok(End::Gone);
            }
            self.hear(&mut buf)?;
        }
    }

    fn act(&mut self) -> Result<(), Failure> {
        while let Some(a) = self.c.next() {
            match a {
                Action6::Send(m) => {
                    if let Err(e) = self.sock.send_to(&m, self.to) {
                        // It goes again, in its time.
                        eprintln!("dhcp6c: {}: {}", self.w.o.interface, text_of(&e));
                    }
                }
                a => self.w.act(self.s, a)?,
            }
        }
        Ok(())
    }

    /// Looks at the interface: link, duplicates. True when it is gone.
    fn look(&mut self) -> Result<bool, Failure> {
        let now = (self.now)();
        if now.since(self.looked) < LOOK {
            return Ok(false);
        }
        self.looked = now;
        let name = &self.w.o.interface;
        let Some(i) = there(self.s, name)? else { return Ok(true) };
        if i.index != self.index || !i.addrs.iter().any(|a| a.addr == IpAddr::V6(self.own)) {
            return Ok(true);
        }
        let taken = self.w.duplicated(&i);
        if !taken.is_empty() {
            eprintln!("dhcp6c: {name}: the address is somebody else's: declined");
            self.c.decline(now, &taken);
        }
        // The address is looked for again after each change of the link, also after one that was too short to be seen.
        let up = usable(&i) && link_local(&i) == Some(self.own);
        if up && !std::mem::replace(&mut self.up, up) {
            if self.w.o.talk {
                eprintln!("dhcp6c: {name}: the link is there again");
            }
            self.c.link_up(now);
        }
        self.up = up;
        self.w.tick();
        Ok(false)
    }

    fn hear(&mut self, buf: &mut [u8]) -> Result<(), Failure> {
        let wait = self.c.deadline().since((self.now)()).clamp(Duration::from_millis(1), WAIT);
        self.sock.set_read_timeout(Some(wait)).map_err(|e| Failure::new(text_of(&e)))?;
        match self.sock.recv_meta(buf) {
            Ok((n, m)) if m.peer.is_some_and(|p| p.port() == SERVER_PORT) => {
                self.c.input((self.now)(), &buf[..n]);
                Ok(())
            }
            Ok(_) => Ok(()),
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line() {
        let p = |s: &str| Options::parse(&s.split_whitespace().map(str::to_string).collect::<Vec<_>>());
        let o = p("-d1 -A 2 -P 56 -P 0 -x ecm1 -x ecm2:0x1f ecm0").ok().flatten().expect("good");
        assert_eq!((o.prefixes, o.downstream.len(), o.once, o.addresses), (vec![56, 0], 2, true, 2));
        assert_eq!(p("-i a").ok().flatten().expect("good").addresses, 0);
        for bad in [
            "",
            "a b",
            "-P 65 a",
            "-x b a",
            "-i -P 0 a",
            "-N a",
            "-z a",
            "-A 0 a",
            "-A 17 a",
            "-P 0 -x b:z a",
            "-i -A 1 a",
        ] {
            assert!(p(bad).is_err(), "{bad}");
        }
    }
}
