//! BSD's words for ICMP messages.

use std::fmt::Write;
use std::net::Ipv4Addr;

/// What an ICMP message that is no echo reply says; `None` for echo requests (our own, on loopback).
pub fn icmp(p: &[u8]) -> Option<String> {
    let (ty, code) = (*p.first()?, *p.get(1)?);
    let mtu = p.get(6..8).map_or(0, |b| u16::from_be_bytes([b[0], b[1]]));
    let gateway = || p.get(4..8).map_or(String::new(), |b| Ipv4Addr::new(b[0], b[1], b[2], b[3]).to_string());
    Some(match ty {
        0 => "Echo Reply".into(),
        3 => unreachable(code, mtu),
        4 => "Source Quench".into(),
        5 => {
            let what = ["Network", "Host", "Type of Service and Network", "Type of Service and Host"];
            let what = what.get(usize::from(code)).copied().unwrap_or("Bad Code");
            format!("Redirect {what} (New addr: {})", gateway())
        }
        8 => return None,
        9 => "Router Advertisement".into(),
        10 => "Router Solicitation".into(),
        11 if code == 0 => "Time to live exceeded".into(),
        11 if code == 1 => "Frag reassembly time exceeded".into(),
        11 => format!("Time exceeded, Bad Code: {code}"),
        12 => format!("Parameter problem: pointer = {}", p.get(4).copied().unwrap_or(0)),
        13 => "Timestamp".into(),
        14 => "Timestamp Reply".into(),
        17 => "Address Mask Request".into(),
        18 => "Address Mask Reply".into(),
        _ => format!("Bad ICMP type: {ty}"),
    })
}

fn unreachable(code: u8, mtu: u16) -> String {
    match code {
        0 => "Destination Net Unreachable",
        1 => "Destination Host Unreachable",
        2 => "Destination Protocol Unreachable",
        3 => "Destination Port Unreachable",
        4 if mtu != 0 => return format!("frag needed and DF set. Next MTU={mtu}"),
        4 => "frag needed and DF set",
        5 => "Source Route Failed",
        6 => "Destination Network Unknown",
        7 => "Destination Host Unknown",
        8 => "Source Host Isolated",
        9 => "Destination Net Administratively Prohibited",
        10 => "Destination Host Administratively Prohibited",
        11 => "Destination Net Unreachable for TOS",
        12 => "Destination Host Unreachable for TOS",
        13 => "Communication Administratively Prohibited",
        14 => "Host Precedence Violation",
        15 => "Precedence Cutoff in effect",
        c => return format!("Dest Unreachable, Bad Code: {c}"),
    }
    .into()
}

/// Whether a message is an error about a packet, which it quotes.
pub fn quotes(ty: u8) -> bool {
    matches!(ty, 3 | 4 | 5 | 11 | 12)
}

/// The IPv4 packet that an error quotes: its header's length, and the packet.
pub fn quoted(p: &[u8]) -> Option<(usize, &[u8])> {
    let ip = p.get(8..)?;
    let len = usize::from(ip.first()? & 15) * 4;
    (ip[0] >> 4 == 4 && len >= 20 && ip.len() >= len).then_some((len, ip))
}

/// The quoted header, as -v prints it.
pub fn header(p: &[u8]) -> String {
    let Some((len, h)) = quoted(p) else { return String::new() };
    let word = |at: usize| u16::from_be_bytes([h[at], h[at + 1]]);
    let addr = |at: usize| Ipv4Addr::new(h[at], h[at + 1], h[at + 2], h[at + 3]);
    let mut o = String::from("Vr HL TOS  Len   ID Flg  off TTL Pro  cks      Src      Dst Data\n");
    let _ = write!(
        o,
        " {:x}  {:x}  {:02x} {:04x} {:04x}   {:x} {:04x}  {:02x}  {:02x} {:04x} {} {}",
        h[0] >> 4,
        h[0] & 15,
        h[1],
        word(2),
        word(4),
        h[6] >> 5,
        word(6) & 0x1fff,
        h[8],
        h[9],
        word(10),
        addr(12),
        addr(16)
    );
    for b in &h[20..len] {
        let _ = write!(o, " {b:02x}");
    }
    o.push('\n');
    o
}

/// The option that asks routers to write down their address: 9 places (RFC 791 3.1), padded to 40 bytes.
pub fn record_route() -> Vec<u8> {
    let mut o = vec![0; 40];
    (o[0], o[1], o[2]) = (7, 39, 4);
    o
}

/// The recorded route in the options of a received header; `None` without one.
pub fn route(options: &[u8]) -> Option<Vec<Ipv4Addr>> {
    let mut at = 0;
    while at < options.len() {
        match options[at] {
            0 => return None,
            1 => at += 1,
            ty => {
                let len = usize::from(*options.get(at + 1)?);
                let o = options.get(at..at + len).filter(|_| len >= 2)?;
                if ty == 7 {
                    let used = usize::from(*o.get(2)?).saturating_sub(4).min(len.saturating_sub(3));
                    return Some(
                        o.get(3..3 + used)?
                            .chunks_exact(4)
                            .map(|b| Ipv4Addr::new(b[0], b[1], b[2], b[3]))
                            .collect(),
                    );
                }
                at += len;
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words() {
        for (p, want) in [
            ([3, 1, 0, 0, 0, 0, 0, 0], "Destination Host Unreachable"),
            ([3, 4, 0, 0, 0, 0, 5, 0x78], "frag needed and DF set. Next MTU=1400"),
            ([11, 0, 0, 0, 0, 0, 0, 0], "Time to live exceeded"),
            ([5, 1, 0, 0, 10, 0, 0, 9], "Redirect Host (New addr: 10.0.0.9)"),
            ([12, 0, 0, 0, 20, 0, 0, 0], "Parameter problem: pointer = 20"),
            ([99, 0, 0, 0, 0, 0, 0, 0], "Bad ICMP type: 99"),
        ] {
            assert_eq!(icmp(&p).as_deref(), Some(want));
        }
        assert_eq!(icmp(&[8, 0, 0, 0, 0, 0, 0, 0]), None);
    }

    #[test]
    fn a_recorded_route() {
        let mut o = record_route();
        assert_eq!(route(&o), Some(vec![]));
        o[2] = 12;
        o[3..11].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        let want = vec![Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)];
        assert_eq!(route(&o), Some(want.clone()));
        assert_eq!(route(&[&[1u8, 1][..], &o].concat()), Some(want));
        assert_eq!(route(&[0, 7, 39, 4]), None);
    }

    proptest! {
        #[test]
        fn garbage_does_no_harm(p in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = (icmp(&p), header(&p), route(&p));
        }
    }
}
