//! Packets as bytes: what the script describes is built, what the stack sent is read.

use crate::ast::Opt;
use iopkt_wire::checksum::{Sum, pseudo};
use std::net::{IpAddr, Ipv4Addr};

/// The stack's address.
pub(crate) const LOCAL: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 1);
/// The peer's.
pub(crate) const REMOTE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;

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

fn ip(proto: u8, tos: u8, ttl: u8, body: &[u8]) -> Vec<u8> {
    let mut p = vec![0x45, tos, 0, 0, 0, 0, 0, 0, ttl, proto, 0, 0];
    let n = (20 + body.len()) as u16;
    p[2..4].copy_from_slice(&n.to_be_bytes());
    p.extend(REMOTE.octets());
    p.extend(LOCAL.octets());
    let sum = Sum::of(&p).finish();
    p[10..12].copy_from_slice(&sum.to_be_bytes());
    p.extend(body);
    p
}

fn summed(proto: u8, body: &mut [u8], at: usize) {
    let mut s = pseudo(IpAddr::V4(REMOTE), IpAddr::V4(LOCAL), proto, body.len() as u32);
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
    pub fn bytes(&self) -> Result<Vec<u8>, String> {
        let mut b = self.header()?;
        b.resize(b.len() + self.len as usize, 0);
        if b.len() > 65_515 {
            return Err("a packet of more than 65535 bytes".into());
        }
        summed(TCP, &mut b, 16);
        Ok(ip(TCP, self.tos, self.ttl, &b))
    }
}

/// A datagram from the peer.
pub(crate) fn udp(sport: u16, dport: u16, len: u16) -> Vec<u8> {
    let n = usize::from(len).min(65_507);
    let mut b = vec![0; 8 + n];
    b[..2].copy_from_slice(&sport.to_be_bytes());
    b[2..4].copy_from_slice(&dport.to_be_bytes());
    let total = (b.len() as u16).to_be_bytes();
    b[4..6].copy_from_slice(&total);
    summed(UDP, &mut b, 6);
    ip(UDP, 0, 64, &b)
}

/// An ICMP error about a segment that the stack sent with these ports, this number and length.
pub(crate) fn icmp(kind: (u8, u8), mtu: u16, ports: (u16, u16), seq: u32, len: u16) -> Vec<u8> {
    let mut b = vec![kind.0, kind.1, 0, 0, 0, 0];
    b.extend(mtu.to_be_bytes());
    let mut q = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, TCP, 0, 0];
    q[2..4].copy_from_slice(&len.saturating_add(40).to_be_bytes());
    q.extend(LOCAL.octets());
    q.extend(REMOTE.octets());
    let sum = Sum::of(&q).finish();
    q[10..12].copy_from_slice(&sum.to_be_bytes());
    b.extend(q);
    b.extend(ports.0.to_be_bytes());
    b.extend(ports.1.to_be_bytes());
    b.extend(seq.to_be_bytes());
    b.extend([0; 4]);
    b.extend([0x50, 0x10, 0, 0, 0, 0, 0, 0]);
    let sum = Sum::of(&b).finish();
    b[2..4].copy_from_slice(&sum.to_be_bytes());
    ip(ICMP, 0, 64, &b)
}

/// Reads a packet of the stack; the error says what is wrong with it.
pub(crate) fn read(b: &[u8]) -> Result<Sent, String> {
    let h: &[u8; 20] = b.first_chunk().ok_or("shorter than an IP header")?;
    let n = usize::from(h[0] & 15) * 4;
    let body =
        b.get(n..usize::from(u16::from_be_bytes([h[2], h[3]]))).ok_or("the IP header's lengths are wrong")?;
    if !Sum::of(&b[..n]).is_valid() {
        return Err("the IP header's checksum is wrong".into());
    }
    let (tos, ttl) = (h[1], h[8]);
    let (src, dst) = (Ipv4Addr::new(h[12], h[13], h[14], h[15]), Ipv4Addr::new(h[16], h[17], h[18], h[19]));
    let mut s = pseudo(src.into(), dst.into(), h[9], body.len() as u32);
    s.add(body);
    let port = |at: usize| body.get(at..at + 2).map_or(0, |p| u16::from_be_bytes([p[0], p[1]]));
    match h[9] {
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
