//! `ping`: ICMP echo, in BSD's words.
//!
//! A request carries the time it was sent in its first 8 bytes of data; the rest is a pattern that is compared. An
//! answer is recognised by identifier and number. ICMP errors are ours when the packet they quote is.

mod options;
mod socket;
mod tally;
mod text;

use crate::dns::text_of;
use crate::tool::{Failure, Outcome, print};
pub(crate) use options::pattern;
pub use options::{Options, USAGE, ping6};
pub(crate) use socket::set;
pub use socket::{Icmp, packet};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};
pub(crate) use tally::Tally;
pub use text::{icmp as icmp_text, quoted, quotes};

/// A received ICMP message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Sender.
    pub from: Ipv4Addr,
    /// TTL that it arrived with, where it is known.
    pub ttl: Option<u8>,
    /// The ICMP message.
    pub icmp: Vec<u8>,
    /// Options of its IP header.
    pub options: Vec<u8>,
}

/// What ping needs of a socket.
pub trait EchoSocket {
    /// Whether all ICMP messages come, not just answers to this socket's requests.
    fn hears_all(&self) -> bool;

    /// Sends an ICMP message.
    ///
    /// # Errors
    /// What sendto(2) says.
    fn send(&mut self, to: Ipv4Addr, icmp: &[u8]) -> std::io::Result<()>;

    /// The next message, `None` when the time is over.
    ///
    /// # Errors
    /// What recvfrom(2) says; that a request could not be sent shows here, too.
    fn recv(&mut self, wait: Duration) -> std::io::Result<Option<Message>>;
}

/// What the user does meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-C: the end.
    Stop,
    /// Ctrl-\: print what was counted so far.
    Status,
}

/// What a run needs beside the socket.
pub struct World<'a> {
    /// The user's wish, once.
    pub signal: &'a mut dyn FnMut() -> Option<Signal>,
    /// `name (address)` or the address, for messages about routers.
    pub name: &'a mut dyn FnMut(Ipv4Addr) -> String,
    /// Data for `-P`.
    pub random: &'a mut dyn FnMut(&mut [u8]),
}

/// A run.
struct Run<'a> {
    s: &'a mut dyn EchoSocket,
    o: &'a Options,
    to: Ipv4Addr,
    id: u16,
    start: Instant,
    t: Tally,
    seen: Vec<bool>,
    /// What every request carries behind the time.
    data: Vec<u8>,
    last_route: Vec<Ipv4Addr>,
    /// What is to be printed.
    out: String,
}

/// Runs until the count, the deadline or the user ends it.
///
/// # Errors
/// The stack is gone (a request that cannot be sent is reported and counts as lost).
pub fn run(s: &mut dyn EchoSocket, o: &Options, name: &str, to: Ipv4Addr, w: &mut World<'_>) -> Outcome {
    let mut data: Vec<u8> = match o.pattern.as_slice() {
        [] => (0..o.size).map(|i| i as u8).collect(),
        p => p.iter().copied().cycle().take(o.size).collect(),
    };
    if o.random {
        (w.random)(&mut data);
    }
    let id = std::process::id() as u16;
    let (start, t, seen) = (Instant::now(), Tally::default(), vec![false; 65_536]);
    let mut r = Run { s, o, to, id, start, t, seen, data, last_route: Vec::new(), out: String::new() };
    if !o.pattern.is_empty() {
        let hex: String = o.pattern.iter().map(|b| format!("{b:02x}")).collect();
        print(&format!("PATTERN: 0x{hex}\n"))?;
    }
    print(&format!("PING {name} ({to}): {} data bytes\n", o.size))?;
    r.go(w)?;
    print(&r.t.summary(name, r.timed()))?;
    let hopeless = r.t.unsent > 0 && r.t.unsent >= r.t.sent;
    Ok(if r.t.received > 0 { 0 } else { 1 + i32::from(hopeless) })
}

impl Run<'_> {
    fn timed(&self) -> bool {
        self.o.size >= 8
    }

    fn over(&self) -> bool {
        self.o.count.is_some_and(|c| self.t.sent >= c)
    }

    fn go(&mut self, w: &mut World<'_>) -> Result<(), Failure> {
        for _ in 0..self.o.preload {
            if !self.over() {
                self.request();
            }
        }
        let mut next = Instant::now();
        let mut last_sent = next;
        loop {
            match (w.signal)() {
                Some(Signal::Stop) => return Ok(()),
                Some(Signal::Status) => eprintln!("{}", self.t.line(self.timed())),
                None => {}
            }
            let now = Instant::now();
            let late = self.o.deadline.is_some_and(|d| now >= self.start + d);
            if late || (self.o.once && self.t.received > 0) {
                return Ok(());
            }
            if self.over() {
                // Whoever said that a request is lost need not be waited for.
                let heard = self.t.received + self.t.errors + self.t.unsent;
                if heard >= self.t.sent || now >= last_sent + self.o.wait {
                    return Ok(());
                }
            } else if now >= next {
                self.request();
                last_sent = now;
                // After a pause (a stopped process) requests are not made up for.
                next = (next + self.o.interval).max(now);
            }
            let end = if self.over() { last_sent + self.o.wait } else { next };
            let end = self.o.deadline.map_or(end, |d| end.min(self.start + d));
            // In slices, so that the user is heard soon.
            let wait = end.saturating_duration_since(Instant::now()).min(Duration::from_millis(100));
            let before = self.t.received;
            match self.s.recv(wait) {
                Ok(Some(m)) => self.message(&m, w),
                Ok(None) => {}
                Err(e) if e.raw_os_error().is_some_and(passing) => self.refused(&e),
                Err(e) => return Err(Failure { message: format!("{}: {}", self.to, text_of(&e)), code: 2 }),
            }
            if self.o.flood && self.t.received > before {
                next = Instant::now();
            }
            if !self.out.is_empty() {
                print(&std::mem::take(&mut self.out))?;
            }
        }
    }

    fn request(&mut self) {
        let seq = self.t.sent as u16;
        self.seen[usize::from(seq)] = false;
        self.t.sent += 1;
        let p = request(self.id, seq, self.start, &self.data);
        match self.s.send(self.to, &p) {
            Err(e) => self.refused(&e),
            Ok(()) if self.o.flood && !self.o.quiet => self.out.push('.'),
            Ok(()) => {}
        }
    }

    /// A request that the stack did not send.
    fn refused(&mut self, e: &std::io::Error) {
        self.t.unsent += 1;
        if !self.o.quiet {
            eprintln!("ping: sendto {}: {}", self.to, text_of(e));
        }
    }

    fn message(&mut self, m: &Message, w: &mut World<'_>) {
        let Some(&ty) = m.icmp.first() else { return };
        match ty {
            0 => self.reply(m),
            _ if self.about_us(&m.icmp) => self.error(m, w),
            8 => {}
            _ if self.o.verbose => self.line_of(m, w),
            _ => {}
        }
    }

    /// Whether an ICMP error quotes a request of ours.
    fn about_us(&self, p: &[u8]) -> bool {
        let Some((len, ip)) = quoted(p).filter(|_| quotes(p[0])) else { return false };
        let to = self.to.octets();
        ip[9] == 1
            && ip[16..20] == to
            && ip.get(len..len + 6).is_some_and(|i| i[0] == 8 && i[4..6] == self.id.to_be_bytes())
    }

    fn error(&mut self, m: &Message, w: &mut World<'_>) {
        self.t.errors += u64::from(m.icmp[0] != 5);
        if self.o.flood && !self.o.quiet {
            self.out += "\x08E";
        } else if !self.o.quiet && !self.o.no_errors {
            self.line_of(m, w);
        }
    }

    /// `36 bytes from gw (10.0.0.1): Time to live exceeded for icmp_seq=2`.
    fn line_of(&mut self, m: &Message, w: &mut World<'_>) {
        if self.o.quiet {
            return;
        }
        let Some(what) = icmp_text(&m.icmp) else { return };
        let from = if self.o.numeric { m.from.to_string() } else { (w.name)(m.from) };
        self.out += &format!("{} bytes from {from}: {what}", m.icmp.len());
        if let Some((len, ip)) = quoted(&m.icmp).filter(|_| self.about_us(&m.icmp))
            && let Some(s) = ip.get(len + 6..len + 8)
        {
            self.out += &format!(" for icmp_seq={}", u16::from_be_bytes([s[0], s[1]]));
        }
        self.out.push('\n');
        if self.o.verbose && quotes(m.icmp[0]) {
            self.out += &text::header(&m.icmp);
        }
    }

    /// An echo reply: counted and printed if it is an answer to a request of ours.
    fn reply(&mut self, m: &Message) {
        let p = &m.icmp;
        let Some(h) = p.first_chunk::<8>() else { return };
        let (id, seq) = (u16::from_be_bytes([h[4], h[5]]), u16::from_be_bytes([h[6], h[7]]));
        if self.s.hears_all() && id != self.id || u64::from(seq) >= self.t.sent && self.t.sent < 65_536 {
            return;
        }
        let again = std::mem::replace(&mut self.seen[usize::from(seq)], true);
        if again {
            self.t.duplicates += 1;
        } else {
            self.t.received += 1;
        }
        let mut line = format!("{} bytes from {}: icmp_seq={seq}", p.len(), m.from);
        if let Some(t) = m.ttl {
            line += &format!(" ttl={t}");
        }
        if let Some(b) = p.get(8..16).filter(|_| self.timed()) {
            let sent = u64::from_be_bytes(b.try_into().unwrap_or_default());
            let ms = (self.start.elapsed().as_micros() as u64).saturating_sub(sent) as f64 / 1000.0;
            if !again {
                self.t.round_trip(ms);
            }
            line += &format!(" time={ms:.3} ms");
        }
        if again {
            line += " DUP!";
        }
        line += &self.damage(p);
        line += &self.route(&m.options);
        if self.o.quiet {
            return;
        }
        if self.o.flood {
            self.out += if again { "D" } else { "\x08 \x08" };
        } else {
            self.out += &line;
            self.out.push('\n');
        }
        if self.o.bell && !again {
            self.out.push('\x07');
        }
    }

    /// What is wrong with the data of an answer.
    fn damage(&self, p: &[u8]) -> String {
        if p.len() != 8 + self.o.size {
            return " (wrong data length)".into();
        }
        // The time is the request's own.
        let skip = if self.timed() { 8 } else { 0 };
        match (skip..self.o.size).find(|i| p[8 + i] != self.data[*i]) {
            Some(i) => {
                format!("\nwrong data byte #{i} should be 0x{:02x} but was 0x{:02x}", self.data[i], p[8 + i])
            }
            None => String::new(),
        }
    }

    /// The recorded route, where it is another one than last time.
    fn route(&mut self, options: &[u8]) -> String {
        let Some(r) = text::route(options).filter(|_| self.o.record) else { return String::new() };
        if r == self.last_route && !r.is_empty() {
            return "\t(same route)".into();
        }
        let list: Vec<String> = r.iter().map(Ipv4Addr::to_string).collect();
        self.last_route = r;
        format!("\nRR: \t{}", list.join("\n\t"))
    }
}

/// Errors of the network, after which the next request may do better; others mean that the stack is gone.
pub(crate) fn passing(errno: i32) -> bool {
    use iopkt_base::Errno as E;
    let net = [
        E::ENETUNREACH,
        E::EHOSTUNREACH,
        E::EHOSTDOWN,
        E::ENETDOWN,
        E::EMSGSIZE,
        E::ENOBUFS,
        E::EACCES,
        E::EADDRNOTAVAIL,
        E::ECONNREFUSED,
        E::EINVAL,
        E::EPERM,
        E::EAGAIN,
        E::EPROTO,
        E::ENOPROTOOPT,
        E::EOPNOTSUPP,
        E::ENODEV,
        E::ENXIO,
    ];
    net.contains(&E(errno))
}

/// An echo request: time sent in the first 8 bytes of data (RFC 792 leaves the data to us).
fn request(id: u16, seq: u16, start: Instant, data: &[u8]) -> Vec<u8> {
    let mut p = vec![8, 0, 0, 0];
    p.extend_from_slice(&id.to_be_bytes());
    p.extend_from_slice(&seq.to_be_bytes());
    p.extend_from_slice(data);
    if data.len() >= 8 {
        p[8..16].copy_from_slice(&(start.elapsed().as_micros() as u64).to_be_bytes());
    }
    let sum = checksum(&p);
    p[2..4].copy_from_slice(&sum.to_be_bytes());
    p
}

/// RFC 1071, for a packet a second.
pub fn checksum(p: &[u8]) -> u16 {
    let sum: u32 = p.chunks(2).map(|c| u32::from(u16::from_be_bytes([c[0], *c.get(1).unwrap_or(&0)]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

#[cfg(test)]
mod tests;
