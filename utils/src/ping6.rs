//! `ping6`: ICMPv6 echo, in KAME's words.
//!
//! By a ping socket (icmp(7)), which any user may have: it hears the answers to its own requests, and of errors that there was one.

use crate::addr;
use crate::dns::{text_of, text_of_if};
use crate::getopt;
use crate::ping::Tally;
use crate::tool::{Failure, Outcome, print};
use iopkt_base::zone;
use iopkt_client::{RawSocket, Session};
use std::io::{self, ErrorKind};
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::{Duration, Instant};

/// Usage, as `--help` prints it.
pub const USAGE: &str = "usage: ping6 [-nqo] [-c count] [-h hoplimit] [-I interface] [-i wait] [-p pattern]
             [-S sourceaddr] [-s packetsize] [-W seconds] [-z tclass] host
  -c  stop after so many requests        -o  stop after the first answer
  -i  seconds between two (default 1)    -W  wait so long for the last answer (default 2)
  -s  bytes of data (default 56)         -p  fill them with this pattern (hexadecimal)
  -h  hop limit                          -z  traffic class
  -I  send through this interface        -S  from this address
  -q  only the summary                   -n  no names (there are none)
host is an address, fe80::1%ecm0 for one of an interface, or a name.
Exit 0 when an answer came, 1 when none did, 2 on errors. SOCK=/prefix selects the stack.";

const ECHO: u8 = 128;
const ECHO_REPLY: u8 = 129;

/// What the user asked for.
#[derive(Clone, Debug)]
pub struct Options {
    count: Option<u64>,
    interval: Duration,
    wait: Duration,
    size: usize,
    pattern: Vec<u8>,
    hops: Option<u8>,
    class: Option<u8>,
    /// Interface to send through.
    pub interface: Option<String>,
    source: Option<Ipv6Addr>,
    once: bool,
    quiet: bool,
    /// Whom to ask, as it was written.
    pub host: String,
}

impl Options {
    /// Reads the command line; `None` when help was asked for.
    ///
    /// # Errors
    /// Wrong usage.
    pub fn parse(args: &[String]) -> Result<Option<Options>, Failure> {
        let f = getopt::parse("c:h:I:i:nop:qS:s:W:z:", args).map_err(usage)?;
        if f.has('?') {
            return Ok(None);
        }
        let [host] = f.rest.as_slice() else {
            return Err(usage(if f.rest.is_empty() { "no host" } else { "one host, please" }));
        };
        let mut o = Options {
            count: None,
            interval: Duration::from_secs(1),
            wait: Duration::from_secs(2),
            size: 56,
            pattern: Vec::new(),
            hops: None,
            class: None,
            interface: None,
            source: None,
            once: false,
            quiet: false,
            host: host.clone(),
        };
        for (c, v) in &f.flags {
            o.flag(*c, v.as_deref().unwrap_or(""))?;
        }
        Ok(Some(o))
    }

    fn flag(&mut self, c: char, v: &str) -> Result<(), Failure> {
        let bad = || usage(format!("-{c} {v}: bad value"));
        let seconds = || {
            let s = v.parse::<f64>().ok().filter(|s| s.is_finite() && (0.0..1e6).contains(s));
            s.map(Duration::from_secs_f64).ok_or_else(bad)
        };
        match c {
            'c' => self.count = Some(v.parse().ok().filter(|n| *n > 0).ok_or_else(bad)?),
            'i' => self.interval = seconds()?.max(Duration::from_millis(1)),
            'W' => self.wait = seconds()?,
            // A datagram of 65,535 bytes has the ICMP header in it.
            's' => self.size = v.parse().ok().filter(|n| *n <= 65_527).ok_or_else(bad)?,
            'p' => self.pattern = crate::ping::pattern(v).ok_or_else(bad)?,
            'h' => self.hops = Some(v.parse().ok().filter(|n| *n > 0).ok_or_else(bad)?),
            'z' => self.class = Some(v.parse().map_err(|_| bad())?),
            'I' if v.is_empty() => return Err(bad()),
            'I' => self.interface = Some(v.into()),
            'S' => self.source = Some(v.parse().map_err(|_| bad())?),
            'o' => self.once = true,
            'q' => self.quiet = true,
            _ => {}
        }
        Ok(())
    }
}

fn usage(why: impl std::fmt::Display) -> Failure {
    Failure { code: 2, ..Failure::usage(why, USAGE) }
}

/// Runs until the count is reached or `stop` says so. `scope` is the index of the zone's interface, 0 for none.
///
/// # Errors
/// The stack refuses the socket or an option, or is gone.
pub fn run(
    session: &Session,
    o: &Options,
    (to, ifname, scope): (Ipv6Addr, Option<&str>, u32),
    stop: &mut dyn FnMut() -> bool,
) -> Outcome {
    let fail = |message: String| Failure { message, code: 2 };
    let s = open(session, o, ifname).map_err(fail)?;
    let at = SocketAddr::V6(SocketAddrV6::new(to, 0, 0, scope));
    // The way there is asked for by a socket of its own: connected, this one would hear nobody but a group's address.
    let from = RawSocket::ping(session, true)
        .and_then(|p| p.connect(Some(at)).and_then(|()| p.local_addr()))
        .map_err(|e| fail(format!("{}: {}", o.host, text_of(&e))))?;
    let shown = |a: Ipv6Addr| addr::zoned(a.into(), ifname.or(o.interface.as_deref()));
    let SocketAddr::V6(from) = from else { return Err(fail("the stack has no IPv6".into())) };
    let source = shown(o.source.unwrap_or(*from.ip()));
    print(&format!("PING6({}=40+8+{} bytes) {source} --> {}\n", 48 + o.size, o.size, shown(to)))?;
    let (start, mut t) = (Instant::now(), Tally::default());
    let (mut seen, mut buf) = (vec![false; 65_536], vec![0; 65_536]);
    let mut next = start;
    let mut last = start;
    while !(stop() || o.once && t.received > 0) {
        let now = Instant::now();
        let over = o.count.is_some_and(|c| t.sent >= c);
        if over && (t.received + t.unsent >= t.sent || now >= last + o.wait) {
            break;
        }
        if !over && now >= next {
            seen[usize::from(t.sent as u16)] = false;
            let p = request(t.sent as u16, start.elapsed(), o);
            t.sent += 1;
            if let Err(e) = s.send_to(&p, at) {
                refused(&mut t, o, &e);
            }
            last = now;
            next = (next + o.interval).max(now);
        }
        let end = if over { last + o.wait } else { next };
        let wait = end.saturating_duration_since(Instant::now());
        // In slices, so that the user is heard soon; zero would mean "for ever".
        let wait = wait.clamp(Duration::from_millis(1), Duration::from_millis(100));
        s.set_read_timeout(Some(wait)).map_err(|e| fail(text_of(&e)))?;
        match s.recv_meta(&mut buf) {
            Ok((n, m)) => {
                if let Some(SocketAddr::V6(peer)) = m.peer {
                    reply(&mut t, &mut seen, o, (&buf[..n], m.ttl), &shown(*peer.ip()), start)?;
                }
            }
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) => {}
            Err(e) if crate::ping::passing(e.raw_os_error().unwrap_or(0)) => refused(&mut t, o, &e),
            Err(e) => return Err(fail(format!("{}: {}", o.host, text_of(&e)))),
        }
    }
    print(&t.summary6(&o.host, o.size >= 8))?;
    let hopeless = t.unsent > 0 && t.unsent >= t.sent;
    Ok(if t.received > 0 { 0 } else { 1 + i32::from(hopeless) })
}

fn open(session: &Session, o: &Options, zone: Option<&str>) -> Result<RawSocket, String> {
    let s = RawSocket::ping(session, true).map_err(|e| format!("socket: {}", text_of(&e)))?;
    if let Some(i) = o.interface.as_deref().or(zone) {
        s.set_option(libc::SOL_SOCKET, libc::SO_BINDTODEVICE, i.as_bytes())
            .map_err(|e| format!("{i}: {}", text_of_if(&e)))?;
    }
    if let Some(a) = o.source {
        // Bound to an interface, a link-local address is that interface's.
        s.bind_to(SocketAddr::new(a.into(), 0)).map_err(|e| format!("bind to {a}: {}", text_of(&e)))?;
    }
    let level = libc::IPPROTO_IPV6;
    let hops = o.hops.map(i32::from);
    let wanted = [
        ("IPV6_UNICAST_HOPS", libc::IPV6_UNICAST_HOPS, hops),
        ("IPV6_MULTICAST_HOPS", libc::IPV6_MULTICAST_HOPS, hops),
        ("IPV6_TCLASS", libc::IPV6_TCLASS, o.class.map(i32::from)),
        ("IPV6_RECVHOPLIMIT", libc::IPV6_RECVHOPLIMIT, Some(1)),
        ("IPV6_RECVERR", libc::IPV6_RECVERR, Some(1)),
    ];
    for (what, name, v) in wanted {
        if let Some(v) = v {
            crate::ping::set(&s, what, level, name, v)?;
        }
    }
    Ok(s)
}

/// An echo request; the stack writes identifier and checksum (icmp(7)). The time sent is in its first 8 bytes of data.
fn request(seq: u16, at: Duration, o: &Options) -> Vec<u8> {
    let mut p = vec![ECHO, 0, 0, 0, 0, 0];
    p.extend(seq.to_be_bytes());
    let fill: &[u8] = if o.pattern.is_empty() { &[0] } else { &o.pattern };
    let counted = |i: usize| if o.pattern.is_empty() { i as u8 } else { fill[i % fill.len()] };
    p.extend((0..o.size).map(counted));
    if let Some(b) = p.get_mut(8..16) {
        b.copy_from_slice(&(at.as_micros() as u64).to_be_bytes());
    }
    p
}

fn refused(t: &mut Tally, o: &Options, e: &io::Error) {
    t.unsent += 1;
    if !o.quiet {
        eprintln!("ping6: sendmsg {}: {}", o.host, text_of(e));
    }
}

/// `16 bytes from fe80::1%ecm0, icmp_seq=0 hlim=64 time=0.047 ms`.
fn reply(
    t: &mut Tally,
    seen: &mut [bool],
    o: &Options,
    (p, hops): (&[u8], Option<u8>),
    from: &str,
    start: Instant,
) -> Result<(), Failure> {
    let Some(h) = p.first_chunk::<8>().filter(|h| h[0] == ECHO_REPLY) else { return Ok(()) };
    let seq = u16::from_be_bytes([h[6], h[7]]);
    let again = std::mem::replace(&mut seen[usize::from(seq)], true);
    if again {
        t.duplicates += 1;
    } else {
        t.received += 1;
    }
    let mut line = format!("{} bytes from {from}, icmp_seq={seq}", p.len());
    if let Some(n) = hops {
        line += &format!(" hlim={n}");
    }
    if let Some(sent) = p.get(8..16).and_then(|b| b.try_into().ok()).map(u64::from_be_bytes) {
        let ms = (start.elapsed().as_micros() as u64).saturating_sub(sent) as f64 / 1000.0;
        if !again {
            t.round_trip(ms);
        }
        line += &format!(" time={ms:.3} ms");
    }
    if again {
        line += "(DUP!)";
    }
    if p.len() != 8 + o.size {
        line += " (wrong data length)";
    }
    if o.quiet { Ok(()) } else { print(&format!("{line}\n")).map(drop) }
}

/// The index of the interface that is an address's zone, by its name.
///
/// # Errors
/// There is no such interface, or the address needs one and has none.
pub fn scope(session: &Session, to: Ipv6Addr, ifname: Option<&str>) -> Result<u32, String> {
    use iopkt_ctl::{Reply, Request};
    let Some(n) = ifname else {
        return if zone::is_scoped(&to) && !to.is_multicast() {
            Err(format!("{to}: which interface? write {to}%ecm0, or -I ecm0"))
        } else {
            Ok(0)
        };
    };
    match session.ctl(&Request::Interfaces { name: Some(n.into()) }) {
        Ok(Reply::Interfaces(l)) if l.len() == 1 => Ok(if zone::is_scoped(&to) { l[0].index } else { 0 }),
        Ok(_) => Err(format!("{n}: Device not configured")),
        Err(e) => Err(text_of(&e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn p(s: &str) -> Result<Option<Options>, Failure> {
        Options::parse(&s.split_whitespace().map(str::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn the_command_line() {
        let o = p("-c 3 -i 0.2 -s 1000 -h 5 -q -I ecm0 -S fe80::1 fe80::2%ecm0").unwrap().unwrap();
        assert_eq!((o.count, o.size, o.hops, o.quiet), (Some(3), 1000, Some(5), true));
        assert_eq!((o.interface.as_deref(), o.host.as_str()), (Some("ecm0"), "fe80::2%ecm0"));
        assert!(p("--help").unwrap().is_none());
        for bad in ["", "a b", "-c 0 x", "-h 256 x", "-h 0 x", "-s 65528 x", "-S 10.1 x", "-I", "-R x"] {
            assert_eq!(p(bad).map(|_| ()).unwrap_err().code, 2, "{bad}");
        }
    }

    #[test]
    fn requests_carry_number_time_and_pattern() {
        let o = p("-s 12 -p ff00 ::1").unwrap().unwrap();
        let r = request(0x1234, Duration::from_micros(5), &o);
        assert_eq!(r, [128, 0, 0, 0, 0, 0, 0x12, 0x34, 0, 0, 0, 0, 0, 0, 0, 5, 0xff, 0, 0xff, 0]);
        assert_eq!(request(1, Duration::ZERO, &p("-s 3 ::1").unwrap().unwrap())[8..], [0, 1, 2]);
    }

    proptest! {
        #[test]
        fn no_words_make_it_panic(words in prop::collection::vec("(-?[a-zA-Z0-9.:%]{0,6}|\\PC{0,4})", 0..6)) {
            let _ = Options::parse(&words);
        }
    }
}
