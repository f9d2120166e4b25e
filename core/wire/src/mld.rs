//! Multicast Listener Discovery, versions 1 and 2 (RFC 2710, RFC 3810). A message is what stands behind the four bytes type, code,
//! checksum of the ICMPv6 header.

use alloc::vec::Vec;
use core::net::Ipv6Addr;
use iopkt_base::Duration;

/// Record types of version 2 (RFC 3810 5.2.12).
#[allow(missing_docs)]
pub mod record {
    pub const IS_INCLUDE: u8 = 1;
    pub const IS_EXCLUDE: u8 = 2;
    pub const TO_INCLUDE: u8 = 3;
    pub const TO_EXCLUDE: u8 = 4;
    pub const ALLOW: u8 = 5;
    pub const BLOCK: u8 = 6;
}

/// All nodes that speak version 2 of MLD on the router's side: where reports go (RFC 3810 5.2.14).
pub const ALL_MLD2_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);

/// A query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// 1 or 2, by its length (RFC 3810 8.1).
    pub version: u8,
    /// How long an answer may take.
    pub max_response: Duration,
    /// The group; unspecified for all.
    pub group: Ipv6Addr,
    /// Sources asked for (version 2).
    pub sources: Vec<Ipv6Addr>,
    /// The querier's robustness variable, 0 when it does not say (5.1.8).
    pub robustness: u8,
    /// The time between its general queries, 0 when it does not say (5.1.9).
    pub interval: Duration,
}

impl Query {
    /// Reads a query: the ICMPv6 message from its type on. `None` when it is too short for what it says.
    pub fn parse(m: &[u8]) -> Option<Query> {
        let b: &[u8; 24] = m.first_chunk()?;
        let code = u16::from_be_bytes([b[4], b[5]]);
        let group = Ipv6Addr::from(*b[8..].first_chunk::<16>()?);
        // Neither as long as version 1 has it nor as version 2 (8.1).
        if (25..28).contains(&m.len()) {
            return None;
        }
        if m.len() < 28 {
            let max_response = Duration::from_millis(code.into());
            let (robustness, interval) = (0, Duration::ZERO);
            return Some(Query {
                version: 1,
                max_response,
                group,
                sources: Vec::new(),
                robustness,
                interval,
            });
        }
        let n = usize::from(u16::from_be_bytes([m[26], m[27]]));
        let list = m.get(28..28 + n * 16)?;
        let sources =
            list.chunks_exact(16).filter_map(|c| Some(Ipv6Addr::from(*c.first_chunk::<16>()?))).collect();
        Some(Query {
            version: 2,
            max_response: Duration::from_millis(response(code)),
            group,
            sources,
            robustness: m[24] & 7,
            interval: Duration::from_secs(interval(m[25])),
        })
    }
}

/// Maximum response code in milliseconds (RFC 3810 5.1.3).
const fn response(code: u16) -> u64 {
    if code < 0x8000 {
        return code as u64;
    }
    let (exp, mant) = ((code >> 12 & 7) as u64, (code & 0xfff) as u64);
    (mant | 0x1000) << (exp + 3)
}

/// Querier's query interval code in seconds (RFC 3810 5.1.9).
const fn interval(code: u8) -> u64 {
    if code < 0x80 {
        return code as u64;
    }
    let (exp, mant) = ((code >> 4 & 7) as u64, (code & 0xf) as u64);
    (mant | 0x10) << (exp + 3)
}

/// A version 1 report or done message from its type on, checksum zero.
pub fn v1(ty: u8, group: Ipv6Addr) -> Vec<u8> {
    let mut v = alloc::vec![ty, 0, 0, 0, 0, 0, 0, 0];
    v.extend(group.octets());
    v
}

/// Group of a version 1 report.
pub fn v1_group(m: &[u8]) -> Option<Ipv6Addr> {
    Some(Ipv6Addr::from(*m.get(8..)?.first_chunk::<16>()?))
}

/// A version 2 report from its type on, checksum zero; add records with [`push_record`].
pub fn v2() -> Vec<u8> {
    alloc::vec![crate::icmp6::ty::MLD2_REPORT, 0, 0, 0, 0, 0, 0, 0]
}

/// Appends a record to a version 2 report.
pub fn push_record(v: &mut Vec<u8>, ty: u8, group: Ipv6Addr, sources: &[Ipv6Addr]) {
    v.extend([ty, 0]);
    v.extend((sources.len() as u16).to_be_bytes());
    v.extend(group.octets());
    sources.iter().for_each(|s| v.extend(s.octets()));
    let n = u16::from_be_bytes([v[6], v[7]]) + 1;
    v[6..8].copy_from_slice(&n.to_be_bytes());
}

/// The records of a version 2 report: type and group; auxiliary data is skipped, what is cut off ends the list.
pub fn records(m: &[u8]) -> impl Iterator<Item = (u8, Ipv6Addr)> {
    let n = m.get(6..8).map_or(0, |b| usize::from(u16::from_be_bytes([b[0], b[1]])));
    let mut at = 8;
    (0..n).map_while(move |_| {
        let r = m.get(at..)?.first_chunk::<20>()?;
        at += 20 + usize::from(u16::from_be_bytes([r[2], r[3]])) * 16 + usize::from(r[1]) * 4;
        Some((r[0], Ipv6Addr::from(*r[4..].first_chunk::<16>()?)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn queries_of_both_versions() {
        let g: Ipv6Addr = "ff02::5".parse().unwrap();
        let mut q = v1(crate::icmp6::ty::MLD_QUERY, g);
        q[4..6].copy_from_slice(&10_000u16.to_be_bytes());
        let v = Query::parse(&q).unwrap();
        assert_eq!((v.version, v.max_response, v.group), (1, Duration::from_secs(10), g));
        q.extend([2, 125, 0, 1]);
        assert_eq!(Query::parse(&q), None);
        q.extend(g.octets());
        let v = Query::parse(&q).unwrap();
        assert_eq!((v.version, v.sources), (2, alloc::vec![g]));
        assert_eq!((response(0x7fff), response(0x8000), response(0xffff)), (32767, 32768, 8_387_584));
    }

    #[test]
    fn a_report_counts_its_records() {
        let g: Ipv6Addr = "ff02::5".parse().unwrap();
        let mut v = v2();
        push_record(&mut v, record::TO_EXCLUDE, g, &[]);
        push_record(&mut v, record::ALLOW, g, &[Ipv6Addr::LOCALHOST]);
        assert_eq!(records(&v).collect::<Vec<_>>(), [(record::TO_EXCLUDE, g), (record::ALLOW, g)]);
        assert_eq!(records(&v[..40]).count(), 1);
    }

    proptest! {
        #[test]
        fn any_bytes_are_safe(b in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Query::parse(&b);
            let _ = v1_group(&b);
            prop_assert!(records(&b).count() <= b.len() / 20);
        }
    }
}
