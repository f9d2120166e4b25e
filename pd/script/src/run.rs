//! The runner: one event after the other.

use crate::ast::{Action, Body, Event, Expr, Packet, Script, Segment, Time};
use crate::calls::{Files, Made, PORT, verify};
use crate::conn::{Conn, show};
use crate::ends::{Ends, Variant};
use crate::wire::{self, Live, Sent};
use crate::{assert, check, parse};
use iopkt_base::{Duration, Errno, Instant};
use iopkt_world::{Answer, Pending, Setup, World};
use std::collections::VecDeque;
use std::fmt;
use std::net::IpAddr;

const SYN: u8 = 2;
const ACK: u8 = 16;
/// How long a packet at any time is waited for, microseconds: longer than any keepalive.
const ANY: i64 = 3 * 3600 * 1_000_000;
/// First port of the peer.
const PEER_PORT: u16 = 40_000;

/// Settings of a run.
#[derive(Clone, Debug)]
pub struct Options {
    /// By how much a time may be off, microseconds. `--tolerance_usecs` of a script changes it.
    pub tolerance: i64,
    /// Seed of the stack's randomness.
    pub seed: u64,
    /// Tell each event on stderr.
    pub verbose: bool,
    /// With which addresses.
    pub variant: Variant,
}

impl Default for Options {
    fn default() -> Self {
        Options { tolerance: 4000, seed: 1, verbose: false, variant: Variant::V4 }
    }
}

/// Where and how the stack did something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Line of the script.
    pub line: u32,
    /// In words, on as many lines as it takes.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.line, self.what)
    }
}

/// A call that waits.
struct Blocked {
    line: u32,
    name: String,
    args: Vec<Expr>,
    result: Expr,
    errno: Option<String>,
    pending: Pending,
    /// When it must return, microseconds of the script; `None` is not said.
    until: Option<i64>,
}

struct Runner {
    world: World,
    ends: Ends,
    files: Files,
    conns: Vec<Conn>,
    /// The last socket that was made or accepted: assertions are about it.
    subject: Option<i32>,
    start: Instant,
    opts: Options,
    blocked: Option<Blocked>,
    /// Packets of the stack that the script has not met yet, with their times.
    sent: VecDeque<(i64, Sent)>,
}

type Done = Result<(), String>;

/// The only variant that a script is for (`--ip_version` at its top); `None`: it is for all.
pub fn only(text: &str) -> Option<Variant> {
    let s = parse::script(text).ok()?;
    s.options.iter().find(|o| o.0 == "ip_version").and_then(|o| Variant::named(&o.1))
}

/// Carries a script out.
///
/// # Errors
/// The first line at which the stack did something else, or that makes no sense.
pub fn run(text: &str, opts: &Options) -> Result<(), Failure> {
    let script = parse::script(text).map_err(|e| Failure { line: e.line, what: e.what })?;
    let mut r = Runner::new(&script, opts).map_err(|what| Failure { line: 1, what })?;
    for e in &script.events {
        r.event(e).map_err(|what| Failure { line: e.line, what })?;
    }
    let last = script.events.last().map_or(1, |e| e.line);
    r.end().map_err(|what| Failure { line: last, what })
}

impl Runner {
    fn new(s: &Script, opts: &Options) -> Result<Runner, String> {
        let ends = opts.variant.ends();
        let mut setup = Setup { seed: opts.seed, ..Setup::default() };
        match ends.local {
            IpAddr::V4(a) => setup.local = a,
            IpAddr::V6(a) => setup.local6 = a,
        }
        let mut opts = opts.clone();
        for (n, v) in &s.options {
            let bad = |_| format!("--{n}={v} is not a number");
            match n.as_str() {
                "mtu" => setup.mtu = v.parse().map_err(bad)?,
                "tolerance_usecs" => opts.tolerance = v.parse().map_err(bad)?,
                // What the real one is told of addresses makes no difference here.
                "ip_version" if v == opts.variant.name() => {}
                "ip_version" => {
                    return Err(format!("--ip_version={v}: the script is run as {}", opts.variant.name()));
                }
                "local_ip" | "remote_ip" | "gateway_ip" | "netmask_ip" => {}
                _ => return Err(format!("--{n}={v}: that option is not known here")),
            }
        }
        if ends.local.is_ipv6() {
            setup.mtu += 20;
        }
        let world = World::new(&setup)?;
        Ok(Runner {
            start: world.now(),
            world,
            ends,
            files: Files::new(opts.variant),
            conns: Vec::new(),
            subject: None,
            opts,
            blocked: None,
            sent: VecDeque::new(),
        })
    }

    /// Microseconds since the start.
    fn now(&self) -> i64 {
        self.micros(self.world.now())
    }

    fn micros(&self, t: Instant) -> i64 {
        (t.as_nanos() / 1000) as i64 - (self.start.as_nanos() / 1000) as i64
    }

    fn at(&self, us: i64) -> Instant {
        self.start + Duration::from_micros(us.max(0) as u64)
    }

    /// Takes what the stack sent, and looks after the call that waits.
    fn look(&mut self) -> Done {
        while let Some((t, p)) = self.world.sent() {
            let t = self.micros(t);
            let p = wire::read(&p).map_err(|e| format!("the stack sent a broken packet: {e}"))?;
            self.sent.push_back((t, p));
        }
        let Some(mut b) = self.blocked.take() else { return Ok(()) };
        match self.world.attempt(&mut b.pending) {
            None => {
                self.blocked = Some(b);
                Ok(())
            }
            Some(r) => {
                let line = b.line;
                self.returned(b, &r).map_err(|e| format!("the call of line {line} {e}"))?;
                self.look()
            }
        }
    }

    /// A call that waited has returned.
    fn returned(&mut self, b: Blocked, r: &Result<Answer, Errno>) -> Done {
        let now = self.now();
        if let Some(u) = b.until
            && (now - u).abs() > self.opts.tolerance
        {
            return Err(format!(
                "{}: expected to return at {}, but it did at {}",
                b.name,
                secs(u),
                secs(now)
            ));
        }
        self.result(&b.name, &b.args, &b.result, b.errno.as_deref(), r)
    }

    fn result(
        &mut self,
        name: &str,
        args: &[Expr],
        want: &Expr,
        errno: Option<&str>,
        r: &Result<Answer, Errno>,
    ) -> Done {
        verify(name, args, want, errno, r).map_err(|e| format!("{name}: {e}"))?;
        if let (Ok(a), "socket" | "accept" | "epoll_create", Expr::Int(n)) = (r, name, want) {
            self.files.made(*n, a.ret);
            if name != "epoll_create" {
                self.subject = Some(a.ret as i32);
            }
            if name == "accept"
                && let Some(c) = self.conns.iter_mut().find(|c| !c.owned)
            {
                c.owned = true;
            }
        }
        Ok(())
    }

    /// Lets the clock run to `us`; with `packet` it stops when one was sent.
    fn run_to(&mut self, us: i64, packet: bool) -> Done {
        self.look()?;
        let end = self.at(us);
        while !packet || self.sent.is_empty() {
            let due = self.blocked.as_ref().map_or(Instant::FAR, |b| b.pending.until);
            let more = self.world.step(end.min(due.max(self.world.now())));
            self.look()?;
            if !more && self.world.now() >= end {
                break;
            }
        }
        Ok(())
    }

    /// The times between which an event is to happen; relative ones count from now.
    fn window(&self, t: Time) -> (i64, i64) {
        let now = self.now();
        match t {
            Time::Any => (now, now + ANY),
            Time::At(a, rel) => {
                let a = if rel { now + a } else { a };
                (a, a)
            }
            Time::Range(a, b, rel) => {
                let base = if rel { now } else { 0 };
                (base + a, base + b)
            }
        }
    }

    fn event(&mut self, e: &Event) -> Done {
        let (from, to) = self.window(e.time);
        if self.opts.verbose {
            eprintln!("{:>12} line {}", secs(self.now()), e.line);
        }
        if let Action::Out(p) = &e.action {
            return self.outbound(p, from, to);
        }
        if from > self.now() {
            self.run_to(from, false)?;
        }
        if self.now() > to + self.opts.tolerance {
            return Err(format!("expected at {}, but it is {} already", secs(to), secs(self.now())));
        }
        match &e.action {
            Action::In(p) => self.inbound(p),
            Action::Out(_) => Ok(()),
            Action::Call { name, args, result, errno, until } => {
                let relative = matches!(e.time, Time::At(_, true) | Time::Range(_, _, true));
                let base = match e.time {
                    Time::At(a, true) | Time::Range(a, _, true) => from - a,
                    _ => 0,
                };
                let until = until.map(|u| if relative { base + u } else { u });
                self.call(e.line, name, args, result, errno.as_deref(), until)
            }
            Action::Command(c) => self.command(c),
            Action::Code(c) => {
                let fd = self.subject.ok_or("there is no socket to assert something about")?;
                let info =
                    self.world.getsockopt(fd, 6, 11, 512).map_err(|e| format!("TCP_INFO: {}", e.text()))?;
                assert::check(c, &info)
            }
        }?;
        self.look()
    }

    fn call(
        &mut self,
        line: u32,
        name: &str,
        args: &[Expr],
        result: &Expr,
        errno: Option<&str>,
        until: Option<i64>,
    ) -> Done {
        if self.blocked.is_some() && until.is_some() {
            return Err("another call waits already".into());
        }
        match self.files.call(&mut self.world, name, args)? {
            Made::Done(r) => {
                if let Some(u) = until
                    && (self.now() - u).abs() > self.opts.tolerance
                {
                    return Err(format!(
                        "{name}: expected to return at {}, but it did at once ({})",
                        secs(u),
                        secs(self.now())
                    ));
                }
                self.result(name, args, result, errno, &r)
            }
            Made::Blocks(pending) => {
                if until.is_none() {
                    return Err(format!(
                        "{name} blocks; a call that does is written with the time of its return: +0...0.2"
                    ));
                }
                let b = Blocked {
                    line,
                    name: name.to_string(),
                    args: args.to_vec(),
                    result: result.clone(),
                    errno: errno.map(str::to_string),
                    pending: *pending,
                    until,
                };
                self.blocked = Some(b);
                Ok(())
            }
        }
    }

    /// sysctl(8), and the scripts that packetdrill's own suites begin with (their settings are the stack's own).
    fn command(&mut self, c: &str) -> Done {
        for line in
            c.replace("\\\n", " ").lines().flat_map(|l| l.split(';')).map(str::trim).filter(|l| !l.is_empty())
        {
            let mut words = line.split_whitespace().peekable();
            match words.next() {
                Some("sysctl") => {
                    let rest = line.strip_prefix("sysctl").unwrap_or("").trim();
                    let rest = rest.trim_start_matches("-q").trim_start_matches("-w").trim();
                    let (n, v) = rest.split_once('=').ok_or(format!("{line}: sysctl NAME=VALUE"))?;
                    let (n, v) = (n.trim(), v.trim().trim_matches('"'));
                    // Linux's names, and the stack's own.
                    let own = n.starts_with("net.inet.") && v.parse().is_ok_and(|v| self.world.tunable(n, v));
                    if !own && !self.world.sysctl(n, v) {
                        return Err(format!("{line}: the stack has no such setting, or not this value"));
                    }
                }
                Some(w) if w.ends_with("defaults.sh") => {}
                _ => return Err(format!("{line}: only sysctl is understood here")),
            }
        }
        Ok(())
    }

    /// The connection that a packet from the peer belongs to.
    fn conn_in(&mut self, p: &Packet, s: &Segment) -> usize {
        // From the peer's side: its port is the first.
        let wanted = p.ports.map(|(from, to)| (to, from));
        let found = match wanted {
            Some(w) => self.conns.iter().rposition(|c| c.ports == w),
            None => self.conns.len().checked_sub(1),
        };
        let fresh = s.flags & (SYN | ACK) == SYN && s.seq == 0 && wanted.is_none();
        match found {
            Some(i) if !(fresh && self.conns[i].owned && self.conns[i].heard) => i,
            _ => {
                let n = self.conns.len();
                let ports = wanted.unwrap_or((PORT, PEER_PORT + n as u16));
                self.conns.push(Conn::new(ports, n as u32));
                n
            }
        }
    }

    fn inbound(&mut self, p: &Packet) -> Done {
        let tos = p.tos.unwrap_or(0) & !3 | p.ecn.unwrap_or(p.tos.unwrap_or(0) & 3);
        let bytes = match &p.body {
            Body::Tcp(s) => {
                let c = self.conn_in(p, s);
                self.conns[c].heard = true;
                self.conns[c].inbound(s, tos, p.ttl.unwrap_or(64)).bytes(&self.ends)?
            }
            Body::Udp(n) => {
                let (from, to) = p.ports.unwrap_or((PORT, PORT));
                wire::udp(&self.ends, from, to, *n)
            }
            Body::Icmp { kind, mtu, about } => {
                let c = self.conns.last().ok_or("an ICMP error about no connection")?;
                let (seq, len) = about.unwrap_or((0, 0));
                let seq = c.local.unwrap_or(0).wrapping_add(seq);
                wire::icmp(&self.ends, *kind, *mtu, c.ports, seq, len)?
            }
        };
        self.world.inject(&bytes);
        Ok(())
    }

    fn next_sent(&mut self, from: i64, to: i64, what: &str) -> Result<(i64, Sent), String> {
        let end = to.saturating_add(self.opts.tolerance);
        self.run_to(end.max(from), true)?;
        self.sent
            .pop_front()
            .ok_or_else(|| format!("nothing was sent until {}; expected {what}", secs(self.now())))
    }

    fn outbound(&mut self, p: &Packet, from: i64, to: i64) -> Done {
        let seg = match &p.body {
            Body::Tcp(s) => s,
            Body::Udp(n) => return self.outbound_udp(p, *n, from, to),
            Body::Icmp { .. } => return Err("ICMP errors of the stack are not checked here".into()),
        };
        let (t, first) = self.next_sent(from, to, &show(seg))?;
        let Sent::Tcp(mut live) = first else { return Err(format!("expected {}, got {first:?}", show(seg))) };
        while live.len < seg.len {
            // Segments that follow at once may be parts of the one in the script.
            match self.sent.front() {
                Some((_, Sent::Tcp(next))) if check::joins(&live, next) && live.len + next.len <= seg.len => {
                    check::join(&mut live, next);
                    self.sent.pop_front();
                }
                _ => break,
            }
        }
        let c = self.conn_out(&live, seg);
        let elapsed = (self.now() / 1000).max(0) as u64;
        let mut d = check::differences(&self.conns[c], p, seg, &live, elapsed);
        let tol = self.opts.tolerance;
        if t < from - tol || t > to.saturating_add(tol) {
            let when = if from == to { secs(from) } else { format!("{} to {}", secs(from), secs(to)) };
            d.push(format!("time: expected {when}, got {}", secs(t)));
        }
        if d.is_empty() {
            self.learn(c, seg, &live);
            return Ok(());
        }
        let got = self.conns[c].outbound(&live);
        Err(format!(
            "{}\n  script packet: {:>10} {}\n  actual packet: {:>10} {}",
            d.join("; "),
            secs(from),
            show(seg),
            secs(t),
            show(&got)
        ))
    }

    /// The connection of a segment that the stack sent.
    fn conn_out(&mut self, live: &Live, seg: &Segment) -> usize {
        let ports = (live.sport, live.dport);
        let c = self.conns.iter().rposition(|c| c.ports == ports).unwrap_or_else(|| {
            let n = self.conns.len() as u32;
            let mut c = Conn::new(ports, n);
            c.owned = true;
            self.conns.push(c);
            self.conns.len() - 1
        });
        // The first SYN says where the numbers begin. So does a reset that answers what belongs to nobody.
        if live.flags & SYN != 0 && self.conns[c].local.is_none()
            || self.conns[c].local.is_none() && live.flags & 4 != 0
        {
            self.conns[c].local = Some(live.seq.wrapping_sub(seg.seq));
        }
        c
    }

    fn learn(&mut self, c: usize, seg: &Segment, live: &Live) {
        let ts = |o: &Option<Vec<crate::ast::Opt>>| {
            o.iter().flatten().find_map(|o| if let crate::ast::Opt::Ts(v, _) = o { Some(*v) } else { None })
        };
        if let (Some(w), Some(g)) = (ts(&seg.options), ts(&Some(live.options.clone()))) {
            self.conns[c].stamped(w, g);
        }
    }

    fn outbound_udp(&mut self, p: &Packet, n: u16, from: i64, to: i64) -> Done {
        let (t, s) = self.next_sent(from, to, &format!("udp ({n})"))?;
        match s {
            Sent::Udp { len, sport, dport, .. }
                if len == n && p.ports.is_none_or(|w| w == (sport, dport)) =>
            {
                if t < from - self.opts.tolerance || t > to.saturating_add(self.opts.tolerance) {
                    return Err(format!("udp ({n}): expected at {}, sent at {}", secs(from), secs(t)));
                }
                Ok(())
            }
            s => Err(format!("expected udp ({n}), got {s:?}")),
        }
    }

    /// The script is over: nothing is left.
    fn end(&mut self) -> Done {
        self.look()?;
        if let Some(b) = &self.blocked {
            return Err(format!("the script is over, and {} of line {} has not returned", b.name, b.line));
        }
        if let Some((t, s)) = self.sent.pop_front() {
            let what = match &s {
                Sent::Tcp(l) => match self.conns.iter().rfind(|c| c.ports == (l.sport, l.dport)) {
                    Some(c) => show(&c.outbound(l)),
                    None => format!("{l:?}"),
                },
                s => format!("{s:?}"),
            };
            return Err(format!("the script is over, and the stack had sent at {}: {what}", secs(t)));
        }
        self.world.close_all();
        Ok(())
    }
}

fn secs(us: i64) -> String {
    format!("{}{}.{:06}", if us < 0 { "-" } else { "" }, us.abs() / 1_000_000, us.abs() % 1_000_000)
}
