//! Packets as bytes: what the script describes is built, what the stack sent is read.

use crate::ast::Opt;
use crate::ends::Ends;
use iopkt_wire::checksum::{Sum, pseudo};
use std::net::IpAddr;

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMP6: u8 = 58;

/// A segment on the wire, in the wire's numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Live {
    pub tos: u8,
    pub ttl: u8,
    pub sport: u16,
    pub dport: u16,
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    pub win: u16,
    pub urg: u16,
    pub options: Vec<Opt>,
    pub len: u32,
}

/// What the stack sent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Sent {
    Tcp(Live),
    Udp { sport: u16, dport: u16, len: u16, tos: u8, ttl: u8 },
    Other(u8),
}

fn option_bytes(opts: &[Opt]) -> Result<Vec<u8>, String> {
    let mut b = Vec::new();
    for o in opts {
        match o {
            Opt::Nop => b.push(1),
            Opt::Eol => b.push(0),
            Opt::Mss(m) => b.extend([2, 4, (m >> 8) as u8, *m as u8]),
            Opt::Scale(s) => b.extend([3, 3, *s]),
            Opt::SackOk => b.extend([4, 2]),
            Opt::Sack(v) => {
                b.extend([5, 2 + 8 * v.len() as u8]);
                for (l, r) in v {
                    b.extend(l.to_be_bytes());
                    b.extend(r.to_be_bytes());
                }
            }
            Opt::Ts(v, e) => {
                b.extend([8, 10]);
                b.extend(v.to_be_bytes());
                b.extend(e.to_be_bytes());
            }
            Opt::FastOpen(false, c) => {
                b.extend([34, 2 + c.len() as u8]);
                b.extend(c);
            }
            Opt::FastOpen(true, c) => {
                b.extend([254, 4 + c.len() as u8, 0xf9, 0x89]);
                b.extend(c);
            }
        }
    }
    // What a script leaves open at the end is padded as the real ones do.
    while b.len() % 4 != 0 {
        b.push(0);
    }
    if b.len() > 40 { Err(format!("options of {} bytes; there is room for 40", b.len())) } else { Ok(b) }
}

fn options_of(mut b: &[u8]) -> Vec<Opt> {
    let mut v = Vec::new();
    while let Some(k) = b.first() {
        if *k < 2 {
            v.push(if *k == 0 { Opt::Eol } else { Opt::Nop });
            b = &b[1..];
            continue;
        }
        let Some(n) = b.get(1).map(|n| usize::from(*n)).filter(|n| *n >= 2 && *n <= b.len()) else { break };
        let (o, rest) = b.split_at(n);
        b = rest;
        let w = |at: usize| o.get(at..at + 4).and_then(|x| x.try_into().ok()).map_or(0, u32::from_be_bytes);
        v.push(match (o[0], n) {
            (2, 4) => Opt::Mss(u16::from_be_bytes([o[2], o[3]])),
            (3, 3) => Opt::Scale(o[2]),
            (4, 2) => Opt::SackOk,
            (5, n) => Opt::Sack((2..n).step_by(8).map(|at| (w(at), w(at + 4))).collect()),
            (8, 10) => Opt::Ts(w(2), w(6)),
            (254, 4..) if o[2..4] == [0xf9, 0x89] => Opt::FastOpen(true, o[4..].to_vec()),
            _ => Opt::FastOpen(false, o[2..].to_vec()),
        });
    }
    v
}

/// An IPv4 or IPv6 header.
fn header(src: IpAddr, dst: IpAddr, proto: u8, tos: u8, ttl: u8, len: u16) -> Vec<u8> {
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let mut p = vec![0x45, tos, 0, 0, 0, 0, 0x40, 0, ttl, proto, 0, 0];
            p[2..4].copy_from_slice(&len.saturating_add(20).to_be_bytes());
            p.extend(src.octets());
            p.extend(dst.octets());
            let sum = Sum::of(&p).finish();
            p[10..12].copy_from_slice(&sum.to_be_bytes());
            p
        }
        (src, dst) => {
            let mut p = vec![0x60 | tos >> 4, tos << 4, 0, 0];
            p.extend(len.to_be_bytes());
            p.extend([proto, ttl]);
            for a in [src, dst] {
                p.extend(if let IpAddr::V6(a) = a { a.octets() } else { [0; 16] });
            }
            p
        }
    }
}

/// A packet from the peer.
fn ip(e: &Ends, proto: u8, tos: u8, ttl: u8, body: &[u8]) -> Vec<u8> {
    let mut p = header(e.remote, e.local, proto, tos, ttl, body.len() as u16);
    p.extend(body);
    p
}

fn summed(e: &Ends, proto: u8, body: &mut [u8], at: usize) {
    let mut s = pseudo(e.remote, e.local, proto, body.len() as u32);
    s.add(body);
    let sum = s.finish();
    body[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

impl Live {
    fn header(&self) -> Result<Vec<u8>, String> {
        let opts = option_bytes(&self.options)?;
        let mut b = Vec::new();
        b.extend(self.sport.to_be_bytes());
        b.extend(self.dport.to_be_bytes());
        b.extend(self.seq.to_be_bytes());
        b.extend(self.ack.to_be_bytes());
        b.extend([((20 + opts.len()) as u8 / 4) << 4, self.flags]);
        b.extend(self.win.to_be_bytes());
        b.extend([0, 0]);
        b.extend(self.urg.to_be_bytes());
        b.extend(opts);
        Ok(b)
    }

    /// The packet from the peer.
    pub fn bytes(&self, e: &Ends) -> Result<Vec<u8>, String> {
        let mut b = self.header()?;
        b.resize(b.len() + self.len as usize, 0);
        if b.len() > 65_515 {
            return Err("a packet of more than 65535 bytes".into());
        }
        summed(e, TCP, &mut b, 16);
        Ok(ip(e, TCP, self.tos, self.ttl, &b))
    }
}

/// A datagram from the peer.
pub(crate) fn udp(e: &Ends, sport: u16, dport: u16, len: u16) -> Vec<u8> {
    let n = usize::from(len).min(65_507);
    let mut b = vec![0; 8 + n];
    b[..2].copy_from_slice(&sport.to_be_bytes());
    b[2..4].copy_from_slice(&dport.to_be_bytes());
    let total = (b.len() as u16).to_be_bytes();
    b[4..6].copy_from_slice(&total);
    summed(e, UDP, &mut b, 6);
    ip(e, UDP, 0, 64, &b)
}

/// An ICMP error about a segment that the stack sent with these ports, this number and length. `kind` and `mtu` are IPv4's; the
/// error is what ICMPv6 has for it, and its MTU the one that makes segments of the same size.
pub(crate) fn icmp(
    e: &Ends,
    kind: (u8, u8),
    mtu: u16,
    ports: (u16, u16),
    seq: u32,
    len: u16,
) -> Result<Vec<u8>, String> {
    let six = e.local.is_ipv6();
    let (ty, code) = if six { icmp6_of(kind).ok_or("ICMPv6 has no such error")? } else { kind };
    let mut b = vec![ty, code, 0, 0, 0, 0];
    b.extend(if six && ty == PACKET_TOO_BIG { mtu.saturating_add(20) } else { mtu }.to_be_bytes());
    b.extend(header(e.local, e.remote, TCP, 0, 64, len.saturating_add(20)));
    b.extend(ports.0.to_be_bytes());
    b.extend(ports.1.to_be_bytes());
    b.extend(seq.to_be_bytes());
    b.extend([0; 4]);
    b.extend([0x50, 0x10, 0, 0, 0, 0, 0, 0]);
    if six {
        summed(e, ICMP6, &mut b, 2);
        return Ok(ip(e, ICMP6, 0, 64, &b));
    }
    let sum = Sum::of(&b).finish();
    b[2..4].copy_from_slice(&sum.to_be_bytes());
    Ok(ip(e, ICMP, 0, 64, &b))
}

/// Type of ICMPv6's "packet too big" (RFC 4443 section 3.2).
const PACKET_TOO_BIG: u8 = 2;

/// What RFC 4443 section 3 has in place of an error of RFC 792.
fn icmp6_of(kind: (u8, u8)) -> Option<(u8, u8)> {
    Some(match kind {
        (3, 4) => (PACKET_TOO_BIG, 0),
        (3, 0 | 5 | 6) => (1, 0),
        (3, 9 | 10 | 13) => (1, 1),
        (3, 1 | 7) => (1, 3),
        (3, 3) => (1, 4),
        // A protocol that is not there is a next header that is not known.
        (3, 2) => (4, 1),
        (11, c) => (3, c),
        (12, _) => (4, 0),
        _ => return None,
    })
}

/// What the IP header says: TOS, TTL, protocol, both addresses, and the rest of the packet.
type Ip<'a> = (u8, u8, u8, IpAddr, IpAddr, &'a [u8]);

fn open(b: &[u8]) -> Result<Ip<'_>, String> {
    let wrong = "the IP header's lengths are wrong";
    if b.first().is_some_and(|v| v >> 4 == 6) {
        let h: &[u8; 40] = b.first_chunk().ok_or("shorter than an IPv6 header")?;
        let len = usize::from(u16::from_be_bytes([h[4], h[5]]));
        let addr = |at: usize| h[at..at + 16].first_chunk::<16>().map_or([0; 16], |a| *a).into();
        let body = b.get(40..40 + len).ok_or(wrong)?;
        return Ok((h[0] << 4 | h[1] >> 4, h[7], h[6], addr(8), addr(24), body));
    }
    let h: &[u8; 20] = b.first_chunk().ok_or("shorter than an IP header")?;
    let n = usize::from(h[0] & 15) * 4;
    let body = b.get(n..usize::from(u16::from_be_bytes([h[2], h[3]]))).ok_or(wrong)?;
    if !Sum::of(&b[..n]).is_valid() {
        return Err("the IP header's checksum is wrong".into());
    }
    let addr = |at: usize| IpAddr::from([h[at], h[at + 1], h[at + 2], h[at + 3]]);
    Ok((h[1], h[8], h[9], addr(12), addr(16), body))
}

/// Reads a packet of the stack; the error says what is wrong with it.
pub(crate) fn read(b: &[u8]) -> Result<Sent, String> {
    let (tos, ttl, proto, src, dst, body) = open(b)?;
    let mut s = pseudo(src, dst, proto, body.len() as u32);
    s.add(body);
    let port = |at: usize| body.get(at..at + 2).map_or(0, |p| u16::from_be_bytes([p[0], p[1]]));
    match proto {
        TCP | UDP if !s.is_valid() => Err("the transport checksum is wrong".into()),
        TCP => {
            let t: &[u8; 20] = body.first_chunk().ok_or("shorter than a TCP header")?;
            let off = usize::from(t[12] >> 4) * 4;
            let opts = body.get(20..off).ok_or("the TCP data offset is wrong")?;
            let word = |at: usize| u32::from_be_bytes([t[at], t[at + 1], t[at + 2], t[at + 3]]);
            Ok(Sent::Tcp(Live {
                tos,
                ttl,
                sport: port(0),
                dport: port(2),
                seq: word(4),
                ack: word(8),
                flags: t[13],
                win: port(14),
                urg: port(18),
                options: options_of(opts),
                len: (body.len() - off) as u32,
            }))
        }
        UDP => Ok(Sent::Udp { sport: port(0), dport: port(2), len: port(4).saturating_sub(8), tos, ttl }),
        p => Ok(Sent::Other(p)),
    }
}
