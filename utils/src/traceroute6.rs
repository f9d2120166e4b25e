//! `traceroute6`: the routers on the way to an IPv6 host, by probes whose hop limit runs out there; in KAME's layout.
//!
//! A probe is a UDP datagram to a port that nobody has, a new one for each, or (-I) an ICMPv6 echo request. What comes back quotes it,
//! which tells the probes apart.

use crate::addr;
use crate::dns::{self, text_of, text_of_if};
use crate::getopt;
use crate::ping6::scope;
use crate::resolve;
use crate::tool::{Failure, Outcome, print, print_json};
use iopkt_client::{Meta, RawSocket, Session, UdpSocket};
use iopkt_wire::icmp6::{self, ty, unreach};
use iopkt_wire::ipv6::{self, Chain};
use std::io::{self, ErrorKind};
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::{Duration, Instant};

/// Usage, as `--help` prints it.
pub const USAGE: &str = "usage: traceroute6 [-dIlnrUv] [-f firsthop] [-i interface] [-m hoplimit] [-p port] [-q probes]
                   [-s source] [-t tclass] [-w seconds] [--json] host [datalen]
  -f  begin with this hop limit (default 1)   -m  end with it (default 30)
  -q  probes for each (default 3)   -w  wait so long for an answer (default 5)
  -p  first UDP port (default 33434)   -I  ICMPv6 echo instead of UDP   -U  UDP (the default)
  -s  from this address   -i  through this interface   -r  only to hosts on the link
  -v  show other ICMPv6 that comes   -n  addresses, not names   -l  both   -t  traffic class   -d  SO_DEBUG
Behind a time: !N no route, !P prohibited, !S beyond the scope, !A address unreachable, !B too big, !H next header not known,
!<n> another code, ! a hop limit of 1 or less.
SOCK=/prefix selects the stack.";

const UDP: u8 = 17;

/// What the user asked for.
#[derive(Clone, Debug)]
pub struct Options {
    hops: (u8, u8),
    probes: u32,
    wait: Duration,
    port: u16,
    icmp: bool,
    source: Option<Ipv6Addr>,
    interface: Option<String>,
    dontroute: bool,
    debug: bool,
    class: Option<u8>,
    numeric: bool,
    /// Names with their addresses.
    both: bool,
    verbose: bool,
    json: bool,
    len: usize,
    host: String,
}

impl Options {
    /// Reads the command line; `None` when help was asked for.
    ///
    /// # Errors
    /// Wrong usage.
    pub fn parse(args: &[String]) -> Result<Option<Options>, Failure> {
        let f = getopt::parse("df:g:Ii:lm:np:q:rs:t:Uvw:", args).map_err(|e| Failure::usage(e, USAGE))?;
        if f.has('?') {
            return Ok(None);
        }
        if f.has('g') {
            return Err(Failure::new("-g: routing headers of type 0 are not sent (RFC 5095)"));
        }
        if f.has('I') && f.has('U') {
            return Err(Failure::usage("-I and -U exclude each other", USAGE));
        }
        let (host, len) = match f.rest.as_slice() {
            [h] => (h, None),
            [h, n] => (h, Some(n)),
            [] => return Err(Failure::usage("no host", USAGE)),
            [_, _, w, ..] => return Err(Failure::usage(format!("{w}: not expected"), USAGE)),
        };
        let bad = |c: char, v: &str| Failure::usage(format!("-{c} {v}: bad value"), USAGE);
        let number = |c: char, usual: u32, max: u32| match f.value(c) {
            None => Ok(usual),
            Some(v) => v.parse::<u32>().ok().filter(|n| (1..=max).contains(n)).ok_or_else(|| bad(c, v)),
        };
        let wait = match f.value('w') {
            None => 5.0,
            Some(v) => v.parse::<f64>().ok().filter(|w| *w > 0.0 && *w < 1e6).ok_or_else(|| bad('w', v))?,
        };
        let source = match f.value('s') {
            None => None,
            Some(v) => Some(addr::parse6(v).ok_or_else(|| bad('s', v))?.0),
        };
        let len = match len {
            None => 12,
            Some(v) => v
                .parse()
                .ok()
                .filter(|n| *n <= 65_000)
                .ok_or_else(|| Failure::usage(format!("{v}: bad length"), USAGE))?,
        };
        let o = Options {
            hops: (number('f', 1, 255)? as u8, number('m', 30, 255)? as u8),
            probes: number('q', 3, 100)?,
            wait: Duration::from_secs_f64(wait),
            port: number('p', 33_434, 65_535)? as u16,
            icmp: f.has('I'),
            source,
            interface: f.value('i').map(str::to_string),
            dontroute: f.has('r'),
            debug: f.has('d'),
            class: match f.value('t') {
                None => None,
                Some(v) => Some(v.parse().map_err(|_| bad('t', v))?),
            },
            numeric: f.has('n'),
            both: f.has('l'),
            verbose: f.has('v'),
            json: f.has('J'),
            len,
            host: host.clone(),
        };
        if o.hops.0 > o.hops.1 {
            return Err(Failure::usage("the first hop limit is larger than the last", USAGE));
        }
        Ok(Some(o))
    }
}

/// What an answer says of a probe of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Exceeded,
    Arrived,
    /// Cannot be delivered: the mark.
    Dead(&'static str, u8),
}

/// Recognises an answer to the probe with this number. `ident`: source port, or identifier of the echo requests.
fn said(b: &[u8], o: &Options, to: Ipv6Addr, ident: u16, seq: u16) -> Option<Said> {
    let h = icmp6::Header::parse_unchecked(b)?;
    let pair = |b: &[u8]| {
        Some((u16::from_be_bytes([*b.first()?, *b.get(1)?]), u16::from_be_bytes([*b.get(2)?, *b.get(3)?])))
    };
    if h.ty == ty::ECHO_REPLY {
        return (o.icmp && pair(&h.rest) == Some((ident, seq))).then_some(Said::Arrived);
    }
    let quoted = b.get(8..)?;
    let q = ipv6::Header::parse_unchecked(quoted)?;
    let mut chain = Chain::new(quoted, q.next);
    if !chain.by_ref().all(|e| e.is_ok()) {
        return None;
    }
    let u = chain.upper();
    let inner = quoted.get(u.at..)?;
    let ours = q.dst == to
        && match u.proto {
            UDP => !o.icmp && pair(inner) == Some((ident, o.port.wrapping_add(seq))),
            ipv6::next::ICMP6 => o.icmp && pair(inner.get(4..)?) == Some((ident, seq)),
            _ => false,
        };
    match (h.ty, h.code) {
        _ if !ours => None,
        (ty::TIME_EXCEEDED, 0) => Some(Said::Exceeded),
        (ty::UNREACHABLE, unreach::PORT) if !o.icmp => Some(Said::Arrived),
        (ty::UNREACHABLE, c) => Some(Said::Dead(
            match c {
                unreach::NO_ROUTE => "!N",
                unreach::PROHIBITED => "!P",
                unreach::SCOPE => "!S",
                unreach::ADDRESS => "!A",
                _ => "",
            },
            c,
        )),
        (ty::TOO_BIG, c) => Some(Said::Dead("!B", c)),
        (ty::PARAM_PROBLEM, 1) => Some(Said::Dead("!H", 1)),
        _ => None,
    }
}

enum Out {
    Udp(UdpSocket),
    Icmp,
}

struct Net {
    out: Out,
    icmp: RawSocket,
    at: SocketAddrV6,
    ident: u16,
    source: Ipv6Addr,
}

fn open(session: &Session, o: &Options, at: SocketAddrV6, ifname: Option<&str>) -> Result<Net, String> {
    let from = SocketAddr::new(o.source.unwrap_or(Ipv6Addr::UNSPECIFIED).into(), 0);
    let out = UdpSocket::bind(session, SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0))
        .map_err(|e| format!("socket: {}", text_of(&e)))?;
    let icmp = RawSocket::new(session, true, ipv6::next::ICMP6).map_err(|e| match e.kind() {
        ErrorKind::PermissionDenied => "raw sockets are for root and the user that io-pkt runs as".into(),
        _ => format!("socket: {}", text_of(&e)),
    })?;
    if let Some(i) = o.interface.as_deref().or(ifname) {
        for r in [
            out.set_option(libc::SOL_SOCKET, libc::SO_BINDTODEVICE, i.as_bytes()),
            icmp.set_option(libc::SOL_SOCKET, libc::SO_BINDTODEVICE, i.as_bytes()),
        ] {
            r.map_err(|e| format!("{i}: {}", text_of_if(&e)))?;
        }
    }
    let (sock, v6) = (libc::SOL_SOCKET, libc::IPPROTO_IPV6);
    for (what, level, name, v) in [
        ("SO_DONTROUTE", sock, libc::SO_DONTROUTE, o.dontroute.then_some(1)),
        ("SO_DEBUG", sock, libc::SO_DEBUG, o.debug.then_some(1)),
        ("IPV6_TCLASS", v6, libc::IPV6_TCLASS, o.class.map(i32::from)),
    ] {
        let Some(v) = v.map(i32::to_ne_bytes) else { continue };
        for r in [out.set_option(level, name, &v), icmp.set_option(level, name, &v)] {
            r.map_err(|e| format!("{what}: {}", text_of(&e)))?;
        }
    }
    // What has no route fails here, not three probes later.
    let look =
        UdpSocket::bind(session, from).map_err(|e| format!("bind to {}: {}", from.ip(), text_of(&e)))?;
    look.connect(Some(SocketAddr::V6(at))).map_err(|e| format!("{}: {}", at.ip(), text_of(&e)))?;
    let source = match look.local_addr() {
        Ok(SocketAddr::V6(a)) => *a.ip(),
        _ => return Err("the stack has no IPv6".into()),
    };
    let port = out.local_addr().map_err(|e| text_of(&e))?.port();
    let (out, ident) =
        if o.icmp { (Out::Icmp, std::process::id() as u16 | 0x8000) } else { (Out::Udp(out), port) };
    Ok(Net { out, icmp, at, ident, source })
}

impl Net {
    fn send(&self, o: &Options, hops: u8, seq: u16) -> io::Result<usize> {
        let mut at = self.at;
        let local = o.source.map(Into::into);
        let m = |at| Meta { peer: Some(SocketAddr::V6(at)), local, ttl: Some(hops), ..Meta::default() };
        match &self.out {
            Out::Udp(s) => {
                at.set_port(o.port.wrapping_add(seq));
                s.send_meta(&vec![0; o.len], &m(at))
            }
            Out::Icmp => {
                let mut p = vec![ty::ECHO, 0, 0, 0];
                p.extend(self.ident.to_be_bytes());
                p.extend(seq.to_be_bytes());
                p.resize(8 + o.len, 0);
                self.icmp.send_meta(&p, &m(at))
            }
        }
    }

    fn recv(&self, buf: &mut [u8], wait: Duration) -> io::Result<Option<(usize, Meta)>> {
        self.icmp.set_read_timeout(Some(wait.max(Duration::from_millis(1))))?;
        match self.icmp.recv_meta(buf) {
            Ok(x) => Ok(Some(x)),
            Err(e)
                if [ErrorKind::WouldBlock, ErrorKind::TimedOut, ErrorKind::Interrupted]
                    .contains(&e.kind()) =>
            {
                Ok(None)
            }
            Err(e) if crate::ping::passing(e.raw_os_error().unwrap_or(0)) => Ok(None),
            Err(e) => Err(e),
        }
    }
}

/// Runs to the target, a dead end or the last hop limit.
///
/// # Errors
/// No such host, no way there, no permission, a probe cannot be sent.
pub fn run(session: &Session, o: &Options) -> Outcome {
    let (to, zone) = resolve::host6(&mut dns::Net(session), &o.host).map_err(Failure::new)?;
    let ifname = zone.as_deref().or(o.interface.as_deref());
    let index = scope(session, to, ifname).map_err(Failure::new)?;
    let net = open(session, o, SocketAddrV6::new(to, 0, 0, index), ifname).map_err(Failure::new)?;
    let shown = |a: Ipv6Addr| addr::zoned(a.into(), ifname);
    if !o.json {
        let (s, len) = (o.source.unwrap_or(net.source), o.len + 8 * usize::from(o.icmp));
        let (t, s) = (shown(to), shown(s));
        eprintln!("traceroute6 to {} ({t}) from {s}, {} hops max, {len} byte packets", o.host, o.hops.1);
    }
    let say = |t: &str| if o.json { Ok(()) } else { print(t).map(drop) };
    let mut names = resolve::Names::new(session, o.numeric);
    let (mut buf, mut seq, mut doc) = (vec![0; 65_536], 0u16, Vec::new());
    for hops in o.hops.0..=o.hops.1 {
        say(&format!("{hops:2} "))?;
        let (mut last, mut there, mut dead, mut probes) = (None, false, 0, Vec::new());
        for _ in 0..o.probes {
            let start = Instant::now();
            net.send(o, hops, seq).map_err(|e| Failure::new(format!("sendto {to}: {}", text_of(&e))))?;
            let end = start + o.wait;
            let got = loop {
                let left = end.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break None;
                }
                let fail = |e: io::Error| Failure::new(text_of(&e));
                let Some((n, m)) = net.recv(&mut buf, left.min(Duration::from_millis(200))).map_err(fail)?
                else {
                    continue;
                };
                let Some(SocketAddr::V6(from)) = m.peer else { continue };
                match said(&buf[..n], o, to, net.ident, seq) {
                    Some(s) => break Some((s, *from.ip(), m.ttl, start.elapsed().as_secs_f64() * 1000.0)),
                    None if o.verbose => {
                        say(&format!(
                            "\n{n} bytes from {}: icmp type {} code {}\n",
                            from.ip(),
                            buf[0],
                            buf[1]
                        ))?;
                    }
                    None => {}
                }
            };
            seq = seq.wrapping_add(1);
            let Some((what, from, ttl, ms)) = got else {
                say(" *")?;
                probes.push(serde_json::Value::Null);
                continue;
            };
            if last != Some(from) {
                last = Some(from);
                say(&match names.name(from.into()) {
                    Some(n) if o.both => format!(" {n} ({})", shown(from)),
                    Some(n) => format!(" {n}"),
                    None => format!(" {}", shown(from)),
                })?;
            }
            let flag = match what {
                Said::Exceeded => String::new(),
                Said::Arrived => ttl.filter(|t| *t <= 1).map_or(String::new(), |_| "!".into()),
                Said::Dead("", c) => format!("!<{c}>"),
                Said::Dead(f, _) => f.to_string(),
            };
            there |= what == Said::Arrived;
            dead += u32::from(matches!(what, Said::Dead(..)));
            let space = if flag.is_empty() { "" } else { " " };
            say(&format!("  {ms:.3} ms{space}{flag}"))?;
            probes.push(serde_json::json!({ "address": shown(from), "name": names.name(from.into()), "ms": ms, "ttl": ttl, "flag": flag }));
        }
        say("\n")?;
        doc.push(serde_json::json!({ "ttl": hops, "probes": probes }));
        if there || (dead > 0 && dead + 1 >= o.probes) {
            break;
        }
    }
    if o.json {
        return print_json(&serde_json::json!({ "host": o.host, "address": shown(to), "hops": doc }));
    }
    Ok(0)
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
        let o = p("-I -f 2 -m 9 -q 1 -w 0.5 -p 4000 -s fe80::1%ecm0 -i ecm0 -t 32 -l -d ::1 100")
            .ok()
            .flatten()
            .expect("good");
        assert_eq!((o.hops, o.probes, o.port, o.icmp, o.len), ((2, 9), 1, 4000, true, 100));
        assert_eq!((o.class, o.both, o.debug, o.numeric), (Some(32), true, true, false));
        for bad in [
            "",
            "-f 0 x",
            "-m 256 x",
            "-f 9 -m 8 x",
            "x y",
            "x 1 2",
            "-s 10.1 x",
            "-w 0 x",
            "-g x y",
            "-I -U x",
            "-t 256 x",
        ] {
            assert!(p(bad).is_err(), "{bad}");
        }
        assert!(matches!(p("--help"), Ok(None)));
    }

    /// An ICMPv6 error about a UDP datagram from port 7 to `port` of `dst`.
    fn error(ty: u8, code: u8, dst: Ipv6Addr, port: u16) -> Vec<u8> {
        let mut v = vec![ty, code, 0, 0, 0, 0, 0, 0];
        let h = ipv6::Header {
            traffic_class: 0,
            flow_label: 0,
            payload_len: 8,
            next: UDP,
            hop_limit: 1,
            src: Ipv6Addr::LOCALHOST,
            dst,
        };
        let mut b = [0; ipv6::HEADER_LEN];
        h.emit(&mut b);
        v.extend(b);
        v.extend(7u16.to_be_bytes());
        v.extend(port.to_be_bytes());
        v.extend([0, 8, 0, 0]);
        v
    }

    #[test]
    fn answers_are_told_apart() {
        let o = p("2001:db8::1").ok().flatten().expect("good");
        let to: Ipv6Addr = "2001:db8::1".parse().expect("address");
        let of = |ty, code, dst, port| said(&error(ty, code, dst, port), &o, to, 7, 3);
        assert_eq!(of(ty::TIME_EXCEEDED, 0, to, 33_437), Some(Said::Exceeded));
        assert_eq!(of(ty::UNREACHABLE, unreach::PORT, to, 33_437), Some(Said::Arrived));
        assert_eq!(of(ty::UNREACHABLE, unreach::NO_ROUTE, to, 33_437), Some(Said::Dead("!N", 0)));
        assert_eq!(of(ty::TIME_EXCEEDED, 0, to, 33_438), None, "another probe");
        assert_eq!(of(ty::TIME_EXCEEDED, 0, Ipv6Addr::LOCALHOST, 33_437), None, "another's");
        let o = Options { icmp: true, ..o };
        assert_eq!(said(&[129, 0, 0, 0, 0, 7, 0, 3], &o, to, 7, 3), Some(Said::Arrived));
        assert_eq!(said(&[129, 0, 0, 0, 0, 7, 0, 4], &o, to, 7, 3), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_safe(b in proptest::collection::vec(any::<u8>(), 0..200)) {
            let o = p("::1").ok().flatten().expect("good");
            let _ = said(&b, &o, Ipv6Addr::LOCALHOST, 7, 3);
        }
    }
}
