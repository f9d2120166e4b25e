//! IGMP versions 1 to 3 (RFC 1112 appendix I, RFC 2236, RFC 9776).

use crate::checksum::{Sum, checksum};
use core::net::Ipv4Addr;

/// Message types.
#[allow(missing_docs)]
pub mod ty {
    pub const QUERY: u8 = 0x11;
    pub const V1_REPORT: u8 = 0x12;
    pub const V2_REPORT: u8 = 0x16;
    pub const V2_LEAVE: u8 = 0x17;
    pub const V3_REPORT: u8 = 0x22;
}

/// Types of a version 3 group record (RFC 9776 section 4.2.13).
#[allow(missing_docs)]
pub mod record {
    pub const MODE_IS_INCLUDE: u8 = 1;
    pub const MODE_IS_EXCLUDE: u8 = 2;
    pub const CHANGE_TO_INCLUDE: u8 = 3;
    pub const CHANGE_TO_EXCLUDE: u8 = 4;
    pub const ALLOW_NEW_SOURCES: u8 = 5;
    pub const BLOCK_OLD_SOURCES: u8 = 6;
}

/// Length of a version 1 or 2 message, and of the fixed part of a version 3 report.
pub const LEN: usize = 8;
/// Length of the fixed part of a version 3 query.
pub const V3_QUERY_LEN: usize = 12;
/// Length of a group record without sources.
pub const RECORD_LEN: usize = 8;

/// A membership query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// Version of the querier: 1, 2 or 3.
    pub version: u8,
    /// Most time until the answer, in tenths of a second.
    pub max_resp: u32,
    /// Group asked for; 0.0.0.0 for all (a general query).
    pub group: Ipv4Addr,
    /// Number of sources asked for (version 3).
    pub sources: u16,
    /// Querier's robustness variable, 0 when not given (version 3).
    pub robustness: u8,
    /// Querier's query interval in seconds, 0 when not given (version 3).
    pub interval: u32,
}

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// A query.
    Query(Query),
    /// A version 1 or 2 report.
    Report {
        /// 1 or 2.
        version: u8,
        /// Group.
        group: Ipv4Addr,
    },
    /// A version 2 leave.
    Leave {
        /// Group.
        group: Ipv4Addr,
    },
    /// A version 3 report with this many records; their layout was checked.
    V3Report {
        /// Group records.
        records: u16,
    },
    /// Something else.
    Other(u8),
}

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// Shorter than it says, or than a message can be.
    Short,
    /// The checksum does not match.
    Checksum,
    /// A field has a value that it cannot have.
    Field,
}

/// The value of an 8-bit floating-point code (RFC 9776 section 4.1.1).
pub const fn float8(c: u8) -> u32 {
    if c < 128 {
        return c as u32;
    }
    (((c & 15) | 16) as u32) << (((c >> 4) & 7) + 3)
}

impl Message {
    /// Reads a whole message and checks its checksum.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(b: &[u8]) -> Result<Message, Bad> {
        let h: &[u8; LEN] = b.first_chunk().ok_or(Bad::Short)?;
        if !Sum::of(b).is_valid() {
            return Err(Bad::Checksum);
        }
        let group = Ipv4Addr::new(h[4], h[5], h[6], h[7]);
        let multicast = |m| if group.is_multicast() { Ok(m) } else { Err(Bad::Field) };
        match h[0] {
            ty::QUERY => Query::parse(b, h[1], group).map(Message::Query),
            ty::V1_REPORT => multicast(Message::Report { version: 1, group }),
            ty::V2_REPORT => multicast(Message::Report { version: 2, group }),
            ty::V2_LEAVE => multicast(Message::Leave { group }),
            ty::V3_REPORT => {
                let records = u16::from_be_bytes([h[6], h[7]]);
                let mut rest = &b[LEN..];
                for _ in 0..records {
                    let r: &[u8; RECORD_LEN] = rest.first_chunk().ok_or(Bad::Short)?;
                    let n = RECORD_LEN
                        + usize::from(r[1]) * 4
                        + usize::from(u16::from_be_bytes([r[2], r[3]])) * 4;
                    rest = rest.get(n..).ok_or(Bad::Short)?;
                }
                Ok(Message::V3Report { records })
            }
            t => Ok(Message::Other(t)),
        }
    }
}

impl Query {
    fn parse(b: &[u8], code: u8, group: Ipv4Addr) -> Result<Query, Bad> {
        if !group.is_unspecified() && !group.is_multicast() {
            return Err(Bad::Field);
        }
        // The length tells the version (RFC 9776 section 7.1); between 8 and 12 bytes it is none.
        if b.len() == LEN {
            let version = if code == 0 { 1 } else { 2 };
            // A version 1 router waits 10 seconds (RFC 2236 section 4).
            let max_resp = if code == 0 { 100 } else { u32::from(code) };
            return Ok(Query { version, max_resp, group, sources: 0, robustness: 0, interval: 0 });
        }
        let q: &[u8; V3_QUERY_LEN] = b.first_chunk().ok_or(Bad::Short)?;
        let sources = u16::from_be_bytes([q[10], q[11]]);
        if b.len() < V3_QUERY_LEN + usize::from(sources) * 4 {
            return Err(Bad::Short);
        }
        if group.is_unspecified() && sources != 0 {
            return Err(Bad::Field);
        }
        Ok(Query {
            version: 3,
            max_resp: float8(code),
            group,
            sources,
            robustness: q[8] & 7,
            interval: float8(q[9]),
        })
    }
}

/// A version 1 or 2 message (report, leave, query) with its checksum.
pub fn v2(ty: u8, code: u8, group: Ipv4Addr) -> [u8; LEN] {
    let g = group.octets();
    let mut b = [ty, code, 0, 0, g[0], g[1], g[2], g[3]];
    let c = checksum(&b);
    b[2..4].copy_from_slice(&c.to_be_bytes());
    b
}

/// A version 3 query with its checksum; codes are given in their 8-bit form.
pub fn v3_query(code: u8, group: Ipv4Addr, robustness: u8, interval_code: u8) -> [u8; V3_QUERY_LEN] {
    let g = group.octets();
    let mut b = [ty::QUERY, code, 0, 0, g[0], g[1], g[2], g[3], robustness & 7, interval_code, 0, 0];
    let c = checksum(&b);
    b[2..4].copy_from_slice(&c.to_be_bytes());
    b
}

/// A record of a version 3 report: what is said of a group (see [`record`]) and of which sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Kind.
    pub kind: u8,
    /// Group.
    pub group: Ipv4Addr,
    /// Sources; at most 65535.
    pub sources: &'a [Ipv4Addr],
}

impl Record<'_> {
    /// Its length in a report, bytes.
    pub fn wire_len(&self) -> usize {
        RECORD_LEN + 4 * self.sources.len()
    }
}

/// Writes a version 3 report into `out`; returns its length. `None` (nothing useful written) when it does not fit.
pub fn v3_report(records: &[Record<'_>], out: &mut [u8]) -> Option<usize> {
    let n = LEN + records.iter().map(Record::wire_len).sum::<usize>();
    let out = out.get_mut(..n)?;
    out[..LEN].copy_from_slice(&[ty::V3_REPORT, 0, 0, 0, 0, 0, 0, 0]);
    out[6..8].copy_from_slice(&u16::try_from(records.len()).ok()?.to_be_bytes());
    let mut rest = &mut out[LEN..];
    for r in records {
        let (head, after) = rest.split_at_mut(RECORD_LEN);
        head[..2].copy_from_slice(&[r.kind, 0]);
        head[2..4].copy_from_slice(&u16::try_from(r.sources.len()).ok()?.to_be_bytes());
        head[4..].copy_from_slice(&r.group.octets());
        let (list, after) = after.split_at_mut(4 * r.sources.len());
        for (to, s) in list.chunks_exact_mut(4).zip(r.sources) {
            to.copy_from_slice(&s.octets());
        }
        rest = after;
    }
    let c = checksum(out);
    out[2..4].copy_from_slice(&c.to_be_bytes());
    Some(n)
}

/// The records of a version 3 report that [`Message::parse`] accepted: kind and group.
pub fn records(report: &[u8]) -> impl Iterator<Item = (u8, Ipv4Addr)> {
    let mut left = report.get(6..8).map_or(0, |n| u16::from_be_bytes([n[0], n[1]]));
    let mut rest = report.get(LEN..).unwrap_or(&[]);
    core::iter::from_fn(move || {
        left = left.checked_sub(1)?;
        let r: &[u8; RECORD_LEN] = rest.first_chunk()?;
        let n = RECORD_LEN + usize::from(r[1]) * 4 + usize::from(u16::from_be_bytes([r[2], r[3]])) * 4;
        let out = (r[0], Ipv4Addr::new(r[4], r[5], r[6], r[7]));
        rest = rest.get(n..)?;
        Some(out)
    })
}

/// The sources that a version 3 query asks about, as many as are there of those that it announces.
pub fn query_sources(query: &[u8]) -> impl Iterator<Item = Ipv4Addr> {
    let n = query.get(10..12).map_or(0, |n| usize::from(u16::from_be_bytes([n[0], n[1]])));
    let list = query.get(12..).unwrap_or(&[]).chunks_exact(4).take(n);
    list.map(|a| Ipv4Addr::new(a[0], a[1], a[2], a[3]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    #[test]
    fn versions_by_length() {
        let g = Ipv4Addr::UNSPECIFIED;
        let q = |b: &[u8]| match Message::parse(b) {
            Ok(Message::Query(q)) => (q.version, q.max_resp),
            other => panic!("{other:?}"),
        };
        assert_eq!(q(&v2(ty::QUERY, 0, g)), (1, 100));
        assert_eq!(q(&v2(ty::QUERY, 50, g)), (2, 50));
        assert_eq!(q(&v3_query(0x80, g, 2, 125)), (3, 128));
        assert_eq!(float8(0xff), 31 << 10);
        let mut b = v3_query(0, g, 0, 0);
        b[2..4].copy_from_slice(&[0, 0]);
        let c = checksum(&b[..10]);
        b[2..4].copy_from_slice(&c.to_be_bytes());
        assert_eq!(Message::parse(&b[..10]), Err(Bad::Short));
        assert_eq!(Message::parse(&v2(ty::V2_REPORT, 0, Ipv4Addr::LOCALHOST)), Err(Bad::Field));
    }

    proptest! {
        #[test]
        fn reports_round_trip(groups in proptest::collection::vec((1u8..=6, any::<u32>()), 0..50)) {
            let list: Vec<_> = groups.into_iter().map(|(k, g)| (k, Ipv4Addr::from(0xe000_0000 | g & 0x0fff_ffff))).collect();
            let mut b = [0; 2000];
            let sources = [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)];
            let told: Vec<_> = list
                .iter()
                .map(|(kind, group)| Record { kind: *kind, group: *group, sources: &sources[..usize::from(kind % 3)] })
                .collect();
            let n = v3_report(&told, &mut b).unwrap();
            prop_assert_eq!(Message::parse(&b[..n]), Ok(Message::V3Report { records: list.len() as u16 }));
            prop_assert_eq!(records(&b[..n]).collect::<Vec<_>>(), list);
        }

        #[test]
        fn any_bytes_are_safe(mut b in proptest::collection::vec(any::<u8>(), 0..60), t in 0usize..8) {
            let _ = Message::parse(&b);
            if b.len() >= 8 {
                b[0] = [0x11, 0x12, 0x16, 0x17, 0x22, 0x22, 0x11, 0][t];
                b[2..4].copy_from_slice(&[0, 0]);
                let c = checksum(&b);
                b[2..4].copy_from_slice(&c.to_be_bytes());
                prop_assert_ne!(Message::parse(&b), Err(Bad::Checksum));
                if let Ok(Message::V3Report { records: n }) = Message::parse(&b) {
                    prop_assert_eq!(records(&b).count(), usize::from(n));
                }
            }
            let _ = records(&b).count();
        }
    }
}
