//! `traceroute`: the routers on the way, by probes whose time to live runs out there.
//!
//! A probe is a UDP datagram to a port that nobody has, a new one for each, or (-I) an ICMP echo request. The router
//! that drops it says so (ICMP time exceeded) and quotes it, which tells the probes apart; the target answers with
//! port unreachable or an echo reply.

mod net;
mod options;

use crate::dns::text_of;
use crate::ping::{Message, icmp_text, quoted, quotes};
use crate::tool::{Failure, Outcome, print, print_json};
pub use net::Net;
pub use options::{Options, USAGE};
use serde::Serialize;
use std::io;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// What traceroute needs of the network.
pub trait Prober {
    /// Sends probe `seq` with this time to live.
    ///
    /// # Errors
    /// What sendto(2) says.
    fn send(&mut self, ttl: u8, seq: u16) -> io::Result<()>;

    /// The next ICMP message, `None` when the time is over.
    ///
    /// # Errors
    /// What recvfrom(2) says; that a probe could not be sent shows here, too.
    fn recv(&mut self, wait: Duration) -> io::Result<Option<Message>>;

    /// What identifies the probes: UDP source port, or identifier of the echo requests.
    fn ident(&self) -> u16;
}

/// What became of a probe.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Probe {
    /// Who answered.
    pub address: String,
    /// Its name, if it was looked up and has one.
    pub name: Option<String>,
    /// Round trip in milliseconds.
    pub ms: f64,
    /// Time to live of the answer.
    pub ttl: Option<u8>,
    /// `!H` ..., empty for a plain answer.
    pub flag: String,
}

/// The probes of one time to live, `None` for those without answer.
#[derive(Debug, Serialize)]
struct Hop {
    ttl: u8,
    probes: Vec<Option<Probe>>,
}

#[derive(Serialize)]
struct Document<'a> {
    host: &'a str,
    address: String,
    hops: Vec<Hop>,
}

/// What an ICMP message says of a probe of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    /// Dropped on the way.
    Exceeded,
    /// The target has it.
    Arrived,
    /// Cannot be delivered: code and next MTU.
    Unreachable(u8, u16),
}

/// Recognises an answer to probe `seq`.
fn said(m: &Message, o: &Options, to: Ipv4Addr, ident: u16, seq: u16) -> Option<Said> {
    let p = &m.icmp;
    let (ty, code) = (*p.first()?, *p.get(1)?);
    let number = |at: usize, b: &[u8]| b.get(at..at + 2).map(|b| u16::from_be_bytes([b[0], b[1]]));
    if ty == 0 {
        let ours = o.icmp && number(4, p)? == ident && number(6, p)? == seq;
        return ours.then_some(Said::Arrived);
    }
    let (len, ip) = quoted(p).filter(|_| ty == 3 || ty == 11)?;
    let inner = ip.get(len..)?;
    let ours = ip[16..20] == to.octets()
        && if o.icmp {
            ip[9] == 1 && *inner.first()? == 8 && number(4, inner)? == ident && number(6, inner)? == seq
        } else {
            ip[9] == 17 && number(0, inner)? == ident && number(2, inner)? == o.port.wrapping_add(seq)
        };
    match (ty, code) {
        _ if !ours => None,
        (11, 0) => Some(Said::Exceeded),
        (3, 3) if !o.icmp => Some(Said::Arrived),
        (3, _) => Some(Said::Unreachable(code, number(6, p)?)),
        _ => None,
    }
}

/// BSD's mark of an unreachable code.
fn mark(code: u8, mtu: u16) -> String {
    match code {
        0 => "!N",
        1 => "!H",
        2 => "!P",
        3 => "!",
        4 if mtu != 0 => return format!("!F-{mtu}"),
        4 => "!F",
        5 => "!S",
        6 => "!U",
        7 => "!W",
        8 => "!I",
        9 => "!A",
        10 => "!Z",
        11 => "!Q",
        12 => "!T",
        13 => "!X",
        14 => "!V",
        15 => "!C",
        c => return format!("!<{c}>"),
    }
    .into()
}

/// A run.
struct Run<'a> {
    p: &'a mut dyn Prober,
    o: &'a Options,
    to: Ipv4Addr,
    name: &'a mut dyn FnMut(Ipv4Addr) -> Option<String>,
}

/// Runs to the target, a dead end or the last time to live.
///
/// # Errors
/// A probe cannot be sent, or the stack is gone.
pub fn run(
    p: &mut dyn Prober,
    o: &Options,
    to: Ipv4Addr,
    name: &mut dyn FnMut(Ipv4Addr) -> Option<String>,
) -> Outcome {
    if !o.json {
        eprintln!("traceroute to {} ({to}), {} hops max, {} byte packets", o.host, o.ttl.1, o.len);
    }
    let mut r = Run { p, o, to, name };
    let (mut hops, mut seq) = (Vec::new(), 0u16);
    for ttl in o.ttl.0..=o.ttl.1 {
        let (hop, end) = r.hop(ttl, &mut seq)?;
        hops.push(hop);
        if end {
            break;
        }
    }
    if o.json {
        return print_json(&Document { host: &o.host, address: to.to_string(), hops });
    }
    Ok(0)
}

impl Run<'_> {
    /// The probes of one time to live, and whether there is nothing behind.
    fn hop(&mut self, ttl: u8, seq: &mut u16) -> Result<(Hop, bool), Failure> {
        let (mut probes, mut there, mut dead) = (Vec::new(), false, 0);
        let mut last = None;
        self.say(&format!("{ttl:2} "))?;
        for i in 0..self.o.probes {
            if (i > 0 || ttl > self.o.ttl.0) && !self.o.pause.is_zero() {
                std::thread::sleep(self.o.pause);
            }
            let got = self.probe(ttl, *seq)?;
            *seq = seq.wrapping_add(1);
            let Some((m, what, ms)) = got else {
                self.say(" *")?;
                probes.push(None);
                continue;
            };
            there |= what == Said::Arrived;
            dead += u32::from(matches!(what, Said::Unreachable(..)));
            let name = (self.name)(m.from);
            if last != Some(m.from) {
                last = Some(m.from);
                let who = name.as_ref().map_or_else(|| m.from.to_string(), |n| format!("{n} ({})", m.from));
                self.say(&format!(" {who}"))?;
            }
            let flag = match what {
                Said::Exceeded => String::new(),
                // An answer that just made it: its sender copied our time to live into it.
                Said::Arrived => m.ttl.filter(|t| *t <= 1).map_or(String::new(), |_| "!".into()),
                Said::Unreachable(code, mtu) => mark(code, mtu),
            };
            let back = m.ttl.filter(|_| self.o.show_ttl).map_or(String::new(), |t| format!(" ({t})"));
            let space = if flag.is_empty() { "" } else { " " };
            self.say(&format!("  {ms:.3} ms{back}{space}{flag}"))?;
            probes.push(Some(Probe { address: m.from.to_string(), name, ms, ttl: m.ttl, flag }));
        }
        self.say("\n")?;
        Ok((Hop { ttl, probes }, there || (dead > 0 && dead + 1 >= self.o.probes)))
    }

    fn probe(&mut self, ttl: u8, seq: u16) -> Result<Option<(Message, Said, f64)>, Failure> {
        let to = self.to;
        let fail = |e: io::Error| Failure::new(format!("sendto {to}: {}", text_of(&e)));
        let start = Instant::now();
        let end = start + self.o.wait;
        self.p.send(ttl, seq).map_err(fail)?;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let got = self.p.recv(left.min(Duration::from_millis(200))).map_err(fail)?;
            let ms = start.elapsed().as_secs_f64() * 1000.0;
            if let Some(m) = got {
                if let Some(s) = said(&m, self.o, self.to, self.p.ident(), seq) {
                    return Ok(Some((m, s, ms)));
                }
                self.other(&m)?;
            } else if left.is_zero() {
                return Ok(None);
            }
        }
    }

    /// -v: messages that are about something else.
    fn other(&mut self, m: &Message) -> Result<(), Failure> {
        let Some(what) = icmp_text(&m.icmp).filter(|_| self.o.verbose && !self.o.json) else { return Ok(()) };
        let about = quoted(&m.icmp).filter(|_| quotes(m.icmp[0])).map_or(String::new(), |(_, ip)| {
            format!(" (about a packet to {})", Ipv4Addr::new(ip[16], ip[17], ip[18], ip[19]))
        });
        self.say(&format!("\n{} bytes from {}: {what}{about}\n", m.icmp.len(), m.from))
    }

    fn say(&mut self, text: &str) -> Result<(), Failure> {
        if self.o.json { Ok(()) } else { print(text).map(|_| ()) }
    }
}

#[cfg(test)]
mod tests;
