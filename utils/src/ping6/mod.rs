//! `ping6`: ICMPv6 echo and node information queries, in KAME's words.

mod node;
mod options;
mod socket;
#[cfg(test)]
mod tests;
mod text;

use crate::addr;
use crate::dns::text_of;
use crate::ping::Tally;
use crate::tool::{Failure, Outcome, print};
use iopkt_base::zone;
use iopkt_client::{RawSocket, Session};
use iopkt_wire::icmp6::ty;
use iopkt_wire::nodeinfo;
use options::Kind;
pub use options::{Options, USAGE};
use socket::Socket;
use std::io::{self, ErrorKind};
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::{Duration, Instant};

/// Whom -N asks: the group of the nodes with the name.
///
/// # Errors
/// The name has no first label.
pub fn group_of(o: &Options) -> Result<Ipv6Addr, String> {
    nodeinfo::group(&o.host, o.group > 1).ok_or_else(|| format!("{}: no name of a node", o.host))
}

/// What a run needs beside the socket.
pub struct World<'a> {
    /// The user wants the end.
    pub stop: &'a mut dyn FnMut() -> bool,
    /// The name of an address (-H).
    pub name: &'a mut dyn FnMut(Ipv6Addr) -> Option<String>,
}

/// A run.
struct Run<'a> {
    o: &'a Options,
    sock: Socket,
    at: SocketAddr,
    ifname: Option<&'a str>,
    id: u16,
    key: [u8; 6],
    start: Instant,
    t: Tally,
    seen: Vec<bool>,
}

/// Runs until the count, the deadline or the user ends it. `to`: the address, its zone by name and by number (0 for none).
///
/// # Errors
/// The stack refuses the socket or an option, or is gone.
pub fn run(
    session: &Session,
    o: &Options,
    (to, ifname, scope): (Ipv6Addr, Option<&str>, u32),
    w: &mut World<'_>,
) -> Outcome {
    let fail = |message: String| Failure { message, code: 2 };
    let sock = Socket::open(session, o, ifname).map_err(fail)?;
    let at = SocketAddr::V6(SocketAddrV6::new(to, 0, 0, scope));
    let id = std::process::id() as u16;
    let mut key = [0; 6];
    // Nobody shall answer what he did not hear.
    if iopkt_sys::random::fill(&mut key).is_err() {
        key[..2].copy_from_slice(&id.to_be_bytes());
    }
    let (start, t, seen) = (Instant::now(), Tally::default(), vec![false; 65_536]);
    let mut r = Run { o, sock, at, ifname, id, key, start, t, seen };
    // The way there is asked for by a socket of its own: connected, ours would hear nobody but a group's address.
    let from = RawSocket::ping(session, true)
        .and_then(|p| p.connect(Some(at)).and_then(|()| p.local_addr()))
        .map_err(|e| fail(format!("{}: {}", o.host, text_of(&e))))?;
    let SocketAddr::V6(from) = from else { return Err(fail("the stack has no IPv6".into())) };
    let source = r.shown(o.source.unwrap_or(*from.ip()));
    let size = if o.kind == Kind::Echo { 8 + o.size } else { r.request(0).len() };
    let data = if o.kind == Kind::Echo { o.size } else { size - nodeinfo::HEADER_LEN };
    print(&format!("PING6({}=40+{}+{data} bytes) {source} --> {}\n", 40 + size, size - data, r.shown(to)))?;
    r.go(w)?;
    print(&r.t.summary6(&o.host, r.timed()))?;
    let hopeless = r.t.unsent > 0 && r.t.unsent >= r.t.sent;
    Ok(if r.t.received > 0 { 0 } else { 1 + i32::from(hopeless) })
}

impl Run<'_> {
    fn shown(&self, a: Ipv6Addr) -> String {
        addr::zoned(a.into(), self.ifname.or(self.o.interface.as_deref()))
    }

    fn timed(&self) -> bool {
        self.o.kind == Kind::Echo && self.o.size >= 8
    }

    fn go(&mut self, w: &mut World<'_>) -> Result<(), Failure> {
        let fail = |message: String| Failure { message, code: 2 };
        let mut buf = vec![0; 65_536];
        let mut last = self.start;
        let mut next = self.start;
        for _ in 0..self.o.preload.min(self.o.count.unwrap_or(u64::MAX)) {
            self.send()?;
        }
        loop {
            let now = Instant::now();
            let late = self.o.deadline.is_some_and(|d| now >= self.start + d);
            let over = self.o.count.is_some_and(|c| self.t.sent >= c);
            let all = self.t.received + self.t.unsent >= self.t.sent;
            if (w.stop)()
                || late
                || self.o.once && self.t.received > 0
                || over && (all || now >= last + self.o.wait)
            {
                return Ok(());
            }
            if !over && now >= next {
                self.send()?;
                last = now;
                next = (next + self.o.interval).max(now);
            }
            let end = if over { last + self.o.wait } else { next };
            let end = self.o.deadline.map_or(end, |d| end.min(self.start + d));
            let wait = end.saturating_duration_since(Instant::now());
            // In slices, so that the user is heard soon; zero would mean "for ever".
            let wait = wait.clamp(Duration::from_millis(1), Duration::from_millis(100));
            self.sock.s.set_read_timeout(Some(wait)).map_err(|e| fail(text_of(&e)))?;
            let before = self.t.received;
            match self.sock.s.recv_meta(&mut buf) {
                Ok((n, m)) => {
                    if let Some(SocketAddr::V6(peer)) = m.peer {
                        self.message(&buf[..n], m.ttl, *peer.ip(), w)?;
                    }
                }
                Err(e)
                    if matches!(
                        e.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    ) => {}
                Err(e) if crate::ping::passing(e.raw_os_error().unwrap_or(0)) => self.refused(&e),
                Err(e) => return Err(fail(format!("{}: {}", self.o.host, text_of(&e)))),
            }
            if self.o.flood && self.t.received > before {
                next = Instant::now();
            }
        }
    }

    fn request(&self, seq: u16) -> Vec<u8> {
        match (self.o.kind, self.at) {
            (Kind::Query(..), SocketAddr::V6(to)) => node::query(self.o, *to.ip(), seq, self.key),
            _ => {
                // A ping socket's identifier is written by the stack, as is the checksum of both (icmp(7), RFC 3542 3.1).
                let id = if self.sock.raw { self.id } else { 0 };
                request(id, seq, self.start.elapsed(), self.o)
            }
        }
    }

    fn send(&mut self) -> Result<(), Failure> {
        let seq = self.t.sent as u16;
        self.seen[usize::from(seq)] = false;
        let p = self.request(seq);
        self.t.sent += 1;
        match self.sock.s.send_to(&p, self.at) {
            Err(e) => self.refused(&e),
            Ok(_) if self.o.flood && !self.o.quiet => return print(".").map(drop),
            Ok(_) => {}
        }
        Ok(())
    }

    fn refused(&mut self, e: &io::Error) {
        self.t.unsent += 1;
        if !self.o.quiet {
            eprintln!("ping6: sendmsg {}: {}", self.o.host, text_of(e));
        }
    }

    /// The number of the request that a message answers.
    fn answers(&self, p: &[u8]) -> Option<u16> {
        match self.o.kind {
            Kind::Query(..) => node::answers(p, self.key),
            Kind::Echo => {
                let h = p.first_chunk::<8>().filter(|h| h[0] == ty::ECHO_REPLY)?;
                let ours = !self.sock.raw || h[4..6] == self.id.to_be_bytes();
                ours.then(|| u16::from_be_bytes([h[6], h[7]]))
            }
        }
    }

    /// `16 bytes from fe80::1%ecm0, icmp_seq=0 hlim=64 time=0.047 ms`.
    fn message(
        &mut self,
        p: &[u8],
        hops: Option<u8>,
        from: Ipv6Addr,
        w: &mut World<'_>,
    ) -> Result<(), Failure> {
        let mut shown = || {
            let name = if self.o.names { (w.name)(from) } else { None };
            name.unwrap_or_else(|| self.shown(from))
        };
        let Some(seq) = self.answers(p) else {
            // What others ask and answer is only worth a line to who wants all.
            let line = if self.o.verbose && !self.o.quiet { text::message(p) } else { None };
            return line
                .map_or(Ok(()), |t| print(&format!("{} bytes from {}: {t}\n", p.len(), shown())).map(drop));
        };
        let from = shown();
        if u64::from(seq) >= self.t.sent && self.t.sent < 65_536 {
            return Ok(());
        }
        let again = std::mem::replace(&mut self.seen[usize::from(seq)], true);
        if again {
            self.t.duplicates += 1;
        } else {
            self.t.received += 1;
        }
        let line = if self.o.kind == Kind::Echo {
            self.reply(p, seq, hops, &from, again)
        } else {
            format!("{} bytes from {from}: {}", p.len(), node::text(p))
        };
        match (self.o.quiet, self.o.flood) {
            (true, _) => Ok(()),
            (_, true) => print(if again { "D" } else { "\x08 \x08" }).map(drop),
            _ => print(&format!("{line}\n")).map(drop),
        }
    }

    fn reply(&mut self, p: &[u8], seq: u16, hops: Option<u8>, from: &str, again: bool) -> String {
        let mut line = format!("{} bytes from {from}, icmp_seq={seq}", p.len());
        if let Some(n) = hops {
            line += &format!(" hlim={n}");
        }
        if let Some(sent) = p.get(8..16).and_then(|b| b.try_into().ok()).map(u64::from_be_bytes) {
            let ms = (self.start.elapsed().as_micros() as u64).saturating_sub(sent) as f64 / 1000.0;
            if !again {
                self.t.round_trip(ms);
            }
            line += &format!(" time={ms:.3} ms");
        }
        if again {
            line += "(DUP!)";
        }
        line + &damage(p, self.o)
    }
}

/// What is wrong with the data of an answer.
fn damage(p: &[u8], o: &Options) -> String {
    if p.len() != 8 + o.size {
        return " (wrong data length)".into();
    }
    // The time is the request's own.
    let skip = if o.size >= 8 { 8 } else { 0 };
    match (skip..o.size).find(|i| p[8 + i] != filled(o, *i)) {
        Some(i) => format!("\nwrong data byte #{i} should be 0x{:x} but was 0x{:x}", filled(o, i), p[8 + i]),
        None => String::new(),
    }
}

/// The byte of a request's data.
fn filled(o: &Options, i: usize) -> u8 {
    if o.pattern.is_empty() { i as u8 } else { o.pattern[i % o.pattern.len()] }
}

/// An echo request without its checksum. The time sent is in its first 8 bytes of data.
fn request(id: u16, seq: u16, at: Duration, o: &Options) -> Vec<u8> {
    let mut p = vec![ty::ECHO, 0, 0, 0];
    p.extend(id.to_be_bytes());
    p.extend(seq.to_be_bytes());
    p.extend((0..o.size).map(|i| filled(o, i)));
    if let Some(b) = p.get_mut(8..16) {
        b.copy_from_slice(&(at.as_micros() as u64).to_be_bytes());
    }
    p
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
