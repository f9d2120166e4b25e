//! Packets as a script writes them: `< [ect0] P. 1:1001(1000) ack 1 win 257 <nop,nop,TS val 1 ecr 2>`.

use crate::ast::{Body, Opt, Packet, Segment};
use crate::lex::Kind;
use crate::parse::{Parser, Result, int};

/// The letters of flags, in the order of their bits.
pub(crate) const FLAGS: &[(char, u8)] =
    &[('F', 1), ('S', 2), ('R', 4), ('P', 8), ('.', 16), ('U', 32), ('E', 64), ('W', 128)];

/// Names of ICMP types with codes: name, type, and its codes.
const UNREACHABLE: &[(&str, u8)] = &[
    ("net_unreachable", 0),
    ("host_unreachable", 1),
    ("protocol_unreachable", 2),
    ("port_unreachable", 3),
    ("frag_needed", 4),
    ("source_route_failed", 5),
    ("net_unknown", 6),
    ("host_unknown", 7),
    ("net_prohibited", 9),
    ("host_prohibited", 10),
    ("admin_prohibited", 13),
];

impl Parser {
    /// A packet; `inbound` ones may leave out less.
    pub(crate) fn packet(&mut self, inbound: bool) -> Result<Packet> {
        let mut p = Packet { ecn: None, tos: None, ttl: None, ports: None, body: Body::Udp(0) };
        if self.is('[') {
            self.ip_info(&mut p)?;
        }
        if self.take_word("icmp") {
            p.body = self.icmp()?;
            return Ok(p);
        }
        if self.take_word("udp") {
            self.ports(&mut p)?;
            self.need('(')?;
            p.body = Body::Udp(self.number("a length")?);
            self.need(')')?;
            return Ok(p);
        }
        self.ports(&mut p)?;
        p.body = Body::Tcp(self.segment(inbound)?);
        Ok(p)
    }

    fn ip_info(&mut self, p: &mut Packet) -> Result<()> {
        self.need('[')?;
        while !self.take(']') {
            match self.word("ect0, ect1, ce, noecn, tos or ttl")?.as_str() {
                "noecn" => p.ecn = Some(0),
                "ect1" => p.ecn = Some(1),
                "ect0" => p.ecn = Some(2),
                "ce" => p.ecn = Some(3),
                "tos" => p.tos = Some(self.number("a TOS")?),
                "ttl" => p.ttl = Some(self.number("a TTL")?),
                w => return self.fail(format!("{w} is nothing of an IP header")),
            }
            if !self.is(']') {
                self.need(',')?;
            }
        }
        Ok(())
    }

    fn ports(&mut self, p: &mut Packet) -> Result<()> {
        if self.peek_at(1) == Some(&Kind::Sign('>'))
            && matches!(self.peek(), Some(Kind::Word(w)) if int(w).is_some())
        {
            let from = self.number("a port")?;
            self.need('>')?;
            p.ports = Some((from, self.number("a port")?));
        }
        Ok(())
    }

    fn icmp(&mut self) -> Result<Body> {
        let kind = match self.word("an ICMP type")?.as_str() {
            "unreachable" => {
                let w = self.word("a code")?;
                let Some(c) = UNREACHABLE.iter().find(|c| c.0 == w) else {
                    return self.fail(format!("{w} is no code of unreachable"));
                };
                (3, c.1)
            }
            "source_quench" => (4, 0),
            "time_exceeded" => (11, 0),
            "parameter_problem" => (12, 0),
            w => return self.fail(format!("icmp {w}: that type is not known")),
        };
        let mtu = if self.take_word("mtu") { self.number("an MTU")? } else { 0 };
        let mut about = None;
        if self.take('[') {
            let (seq, len) = self.range()?;
            about = Some((seq, u16::try_from(len).unwrap_or(u16::MAX)));
            self.need(']')?;
        }
        Ok(Body::Icmp { kind, mtu, about })
    }

    /// `1:1001(1000)`
    fn range(&mut self) -> Result<(u32, u32)> {
        let from: u32 = self.number("a sequence number")?;
        self.need(':')?;
        let to: u32 = self.number("a sequence number")?;
        self.need('(')?;
        let len: u32 = self.number("a length")?;
        self.need(')')?;
        if to.wrapping_sub(from) != len {
            return self.fail(format!("{from}:{to} is not {len} bytes"));
        }
        if len > 1 << 20 {
            return self.fail("a segment of more than a megabyte");
        }
        Ok((from, len))
    }

    fn flags(&mut self) -> Result<u8> {
        if self.take('-') {
            return Ok(0);
        }
        let mut f = 0;
        let mut any = false;
        loop {
            if any && !self.glued() {
                break;
            }
            match self.peek().cloned() {
                Some(Kind::Sign('.')) => f |= 16,
                Some(Kind::Word(w)) => {
                    for c in w.chars() {
                        match FLAGS.iter().find(|x| x.0 == c) {
                            Some(x) => f |= x.1,
                            None => return self.fail(format!("{w}: {c} is no flag of TCP")),
                        }
                    }
                }
                _ => break,
            }
            any = true;
            self.advance();
        }
        if any { Ok(f) } else { self.fail(format!("flags are missing before {}", self.next_word())) }
    }

    fn segment(&mut self, inbound: bool) -> Result<Segment> {
        let flags = self.flags()?;
        let (seq, len) = self.range()?;
        let mut s = Segment { flags, seq, len, options: Some(Vec::new()), ..Segment::default() };
        if self.take_word("ack") {
            s.ack = Some(self.number("an acknowledgment")?);
        }
        if self.take_word("win") {
            s.win = Some(self.number("a window")?);
        } else if inbound && flags & 4 == 0 {
            return self.fail("a packet that comes in has a window: win");
        }
        if self.take_word("urg") {
            s.urg = Some(self.number("an urgent pointer")?);
        }
        if self.is('<') && !self.first() {
            self.advance();
            s.options = self.options()?;
        }
        if s.options.is_none() && inbound {
            return self.fail("<...> is for packets that go out");
        }
        Ok(s)
    }

    fn options(&mut self) -> Result<Option<Vec<Opt>>> {
        if self.peek() == Some(&Kind::Ellipsis) {
            self.advance();
            self.need('>')?;
            return Ok(None);
        }
        let mut v = Vec::new();
        loop {
            v.push(self.option()?);
            if self.take('>') {
                return Ok(Some(v));
            }
            self.need(',')?;
        }
    }

    fn option(&mut self) -> Result<Opt> {
        Ok(match self.word("an option")?.as_str() {
            "nop" => Opt::Nop,
            "eol" => Opt::Eol,
            "mss" => Opt::Mss(self.number("an MSS")?),
            "wscale" => Opt::Scale(self.number("a shift")?),
            "sackOK" => Opt::SackOk,
            "sack" => {
                let mut v = Vec::new();
                while matches!(self.peek(), Some(Kind::Word(_))) {
                    let l = self.number("a sequence number")?;
                    self.need(':')?;
                    v.push((l, self.number("a sequence number")?));
                }
                if v.is_empty() || v.len() > 4 {
                    return self.fail("sack has one to four blocks");
                }
                Opt::Sack(v)
            }
            "TS" => {
                if !self.take_word("val") {
                    return self.fail("TS val N ecr N");
                }
                let val = self.number("a timestamp")?;
                if !self.take_word("ecr") {
                    return self.fail("TS val N ecr N");
                }
                Opt::Ts(val, self.number("a timestamp")?)
            }
            "FO" => Opt::FastOpen(false, self.cookie()?),
            "FOEXP" => Opt::FastOpen(true, self.cookie()?),
            w => return self.fail(format!("{w} is no option that is known")),
        })
    }

    fn cookie(&mut self) -> Result<Vec<u8>> {
        let Some(Kind::Word(w)) = self.peek().cloned() else { return Ok(Vec::new()) };
        self.advance();
        let hex = |s: &[u8]| std::str::from_utf8(s).ok().and_then(|s| u8::from_str_radix(s, 16).ok());
        let v: Option<Vec<u8>> =
            w.as_bytes().chunks(2).map(|c| if c.len() == 2 { hex(c) } else { None }).collect();
        match v.filter(|v| v.len() <= 32) {
            Some(v) => Ok(v),
            None => self.fail(format!("{w} is no cookie: bytes in hexadecimal")),
        }
    }
}
