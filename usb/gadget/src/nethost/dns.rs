//! A DNS server (RFC 1035) that knows everything and nothing: every name is this host.
//!
//! A: `localhost` is 127.0.0.1, `you.modem` is who asks, `anything.invalid` does not exist (RFC 6761), every other
//! name is this host. AAAA and other types: the name exists and has no such record. PTR: `host.modem`. One
//! question in a message; recursion is claimed, zones are not; no TCP, no EDNS.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};

/// Server port.
pub const PORT: u16 = 53;

const A: u16 = 1;
const PTR: u16 = 12;
const ANY: u16 = 255;
const IN: u16 = 1;
const TTL: u32 = 60;
const HEADER: usize = 12;

const FORMERR: u8 = 1;
const NXDOMAIN: u8 = 3;
const NOTIMP: u8 = 4;

/// The server.
#[derive(Debug)]
pub struct Server {
    addr: Ipv4Addr,
}

impl Server {
    /// A server whose answer is `addr`.
    pub fn new(addr: Ipv4Addr) -> Server {
        Server { addr }
    }

    /// A query from `from`: its answer; `None` for what is no query.
    pub fn input(&self, from: IpAddr, b: &[u8]) -> Option<Vec<u8>> {
        let header = b.first_chunk::<HEADER>()?;
        if header[2] & 0x80 != 0 {
            return None; // a response: answering it would start a loop
        }
        let opcode = header[2] >> 3 & 15;
        let one = header[4..6] == [0, 1];
        let question = one.then(|| Question::parse(&b[HEADER..])).flatten();
        let Some(q) = question else {
            return Some(reply(header, if opcode == 0 { FORMERR } else { NOTIMP }, &[], None));
        };
        if opcode != 0 {
            return Some(reply(header, NOTIMP, q.bytes, None));
        }
        if q.ends_with(b"invalid") {
            return Some(reply(header, NXDOMAIN, q.bytes, None));
        }
        let data = match (q.class, q.kind) {
            (IN | ANY, A | ANY) => Some((A, self.lookup(&q, from).octets().to_vec())),
            (IN | ANY, PTR) => Some((PTR, b"\x04host\x05modem\x00".to_vec())),
            _ => None,
        };
        Some(reply(header, 0, q.bytes, data))
    }

    fn lookup(&self, q: &Question<'_>, from: IpAddr) -> Ipv4Addr {
        match from {
            _ if q.is(b"\x09localhost\x00") => Ipv4Addr::LOCALHOST,
            IpAddr::V4(a) if q.is(b"\x03you\x05modem\x00") => a,
            _ => self.addr,
        }
    }
}

struct Question<'a> {
    /// The whole question.
    bytes: &'a [u8],
    /// Its name, labels with lengths, the root's zero included.
    name: &'a [u8],
    kind: u16,
    class: u16,
}

impl<'a> Question<'a> {
    fn parse(b: &'a [u8]) -> Option<Question<'a>> {
        let mut at = 0;
        loop {
            match *b.get(at)? {
                0 => break,
                // A question has no earlier name to point to.
                len if len >= 64 => return None,
                len => at += 1 + usize::from(len),
            }
            if at > 254 {
                return None;
            }
        }
        let (name, rest) = b.split_at(at + 1);
        let t = rest.first_chunk::<4>()?;
        let (kind, class) = (u16::from_be_bytes([t[0], t[1]]), u16::from_be_bytes([t[2], t[3]]));
        Some(Question { bytes: &b[..at + 5], name, kind, class })
    }

    fn is(&self, name: &[u8]) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// Whether the last label is `label`.
    fn ends_with(&self, label: &[u8]) -> bool {
        let n = self.name.len().checked_sub(label.len() + 2);
        n.is_some_and(|n| {
            usize::from(self.name[n]) == label.len()
                && self.name[n + 1..self.name.len() - 1].eq_ignore_ascii_case(label)
        })
    }
}

fn reply(h: &[u8; HEADER], rcode: u8, question: &[u8], data: Option<(u16, Vec<u8>)>) -> Vec<u8> {
    let mut b = Vec::with_capacity(HEADER + question.len() + 32);
    // Response, opcode and RD as asked; recursion available.
    b.extend_from_slice(&[h[0], h[1], 0x80 | h[2] & 0x79, 0x80 | rcode]);
    b.extend_from_slice(&[0, u8::from(!question.is_empty()), 0, u8::from(data.is_some()), 0, 0, 0, 0]);
    b.extend_from_slice(question);
    if let Some((kind, data)) = data {
        b.extend_from_slice(&[0xc0, HEADER as u8]); // the name in the question
        b.extend_from_slice(&kind.to_be_bytes());
        b.extend_from_slice(&IN.to_be_bytes());
        b.extend_from_slice(&TTL.to_be_bytes());
        b.extend_from_slice(&(data.len() as u16).to_be_bytes());
        b.extend_from_slice(&data);
    }
    b
}
