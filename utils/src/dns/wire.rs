//! DNS messages (RFC 1035): one question out, an answer taken apart. Nothing here can panic: every length is checked
//! before it is used, compression pointers only lead back and are followed a bounded number of times.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Record types.
pub const A: u16 = 1;
pub const AAAA: u16 = 28;
const CNAME: u16 = 5;
/// Names of addresses.
pub const PTR: u16 = 12;
const CLASS_IN: u16 = 1;
/// Aliases that are followed in one answer.
const MAX_ALIASES: usize = 16;

/// What a server says to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The name exists; the addresses (may be none), or for PTR the name.
    Found(Vec<Ipv4Addr>, Option<String>, Vec<Ipv6Addr>),
    /// No such name (NXDOMAIN).
    NoName,
    /// The server could not or would not tell (its response code).
    Refused(u8),
    /// The answer did not fit: ask again by TCP.
    Truncated,
}

/// A question. `None` when the name cannot be one: an empty or too long label, too long as a whole.
pub fn question(id: u16, name: &str, ty: u16) -> Option<Vec<u8>> {
    let name = name.strip_suffix('.').unwrap_or(name);
    // Recursion desired; one question.
    let mut q = id.to_be_bytes().to_vec();
    q.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        let n = u8::try_from(label.len()).ok().filter(|n| (1..64).contains(n))?;
        q.push(n);
        q.extend_from_slice(label.as_bytes());
    }
    q.push(0);
    if q.len() - 12 > 255 {
        return None;
    }
    q.extend_from_slice(&ty.to_be_bytes());
    q.extend_from_slice(&CLASS_IN.to_be_bytes());
    Some(q)
}

/// Takes an answer to `question` apart; `None` when it is none (another id, another question, garbage).
pub fn answer(question: &[u8], m: &[u8]) -> Option<Answer> {
    let (head, asked) = (m.get(..12)?, question.get(12..)?);
    let flags = u16::from_be_bytes([head[2], head[3]]);
    let count = |at: usize| usize::from(u16::from_be_bytes([head[at], head[at + 1]]));
    if head[..2] != question[..2] || flags & 0x8000 == 0 || count(4) != 1 {
        return None;
    }
    let (mut owner, at) = name(m, 12)?;
    let (want, _) = name(question, 12)?;
    let tail = asked.get(asked.len().checked_sub(4)?..)?;
    if !owner.eq_ignore_ascii_case(&want) || m.get(at..at + 4)? != tail {
        return None;
    }
    match (flags & 15) as u8 {
        3 => return Some(Answer::NoName),
        0 => {}
        code => return Some(Answer::Refused(code)),
    }
    if flags & 0x0200 != 0 {
        return Some(Answer::Truncated);
    }
    let ty = u16::from_be_bytes([tail[0], tail[1]]);
    let records = records(m, at + 4, count(6));
    // Aliases may stand in any order.
    for _ in 0..MAX_ALIASES {
        let alias = records.iter().find(|r| r.ty == CNAME && r.owner.eq_ignore_ascii_case(&owner));
        let Some((target, _)) = alias.and_then(|r| name(m, r.data)) else { break };
        owner = target;
    }
    let mine = || records.iter().filter(|r| r.ty == ty && r.owner.eq_ignore_ascii_case(&owner));
    let addrs = mine().filter(|_| ty == A).filter_map(|r| m.get(r.data..r.data + r.len)?.try_into().ok());
    let names = mine().filter(|_| ty == PTR).find_map(|r| name(m, r.data));
    let six = mine().filter(|_| ty == AAAA).filter_map(|r| m.get(r.data..r.data + r.len)?.try_into().ok());
    Some(Answer::Found(
        addrs.map(|b: [u8; 4]| b.into()).collect(),
        names.map(|n| n.0),
        six.map(|b: [u8; 16]| b.into()).collect(),
    ))
}

struct Record {
    owner: String,
    ty: u16,
    /// Where its data begins, and how long it is.
    data: usize,
    len: usize,
}

/// As many records of class IN as can be read.
fn records(m: &[u8], mut at: usize, count: usize) -> Vec<Record> {
    let mut v = Vec::new();
    for _ in 0..count {
        let Some((owner, next)) = name(m, at) else { break };
        let Some(h) = m.get(next..next + 10) else { break };
        let (ty, class) = (u16::from_be_bytes([h[0], h[1]]), u16::from_be_bytes([h[2], h[3]]));
        let (data, len) = (next + 10, usize::from(u16::from_be_bytes([h[8], h[9]])));
        if data + len > m.len() {
            break;
        }
        if class == CLASS_IN {
            v.push(Record { owner, ty, data, len });
        }
        at = data + len;
    }
    v
}

/// The name at `at`, and where what follows it begins. Bytes that are no part of a host name are shown as `?`, so
/// that nobody's terminal is written to.
fn name(m: &[u8], mut at: usize) -> Option<(String, usize)> {
    let (mut out, mut end, mut jumps) = (String::new(), None, 0);
    loop {
        let n = *m.get(at)?;
        match n {
            0 => return Some((out, end.unwrap_or(at + 1))),
            1..64 => {
                if !out.is_empty() {
                    out.push('.');
                }
                let label = m.get(at + 1..at + 1 + usize::from(n))?;
                let good = |b: u8| b.is_ascii_alphanumeric() || b"-_/".contains(&b);
                out.extend(label.iter().map(|b| if good(*b) { char::from(*b) } else { '?' }));
                if out.len() > 255 {
                    return None;
                }
                at += 1 + usize::from(n);
            }
            192.. => {
                let to = usize::from(u16::from_be_bytes([n & 63, *m.get(at + 1)?]));
                end.get_or_insert(at + 2);
                jumps += 1;
                if to >= at || jumps > 64 {
                    return None;
                }
                at = to;
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An answer to `q` with these records; the owner of each is a pointer to the question's name or its own.
    pub fn reply(q: &[u8], flags: u16, records: &[(Option<&str>, u16, Vec<u8>)]) -> Vec<u8> {
        let mut m = q.to_vec();
        m[2..4].copy_from_slice(&(0x8180 | flags).to_be_bytes());
        m[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
        for (owner, ty, data) in records {
            match owner {
                None => m.extend_from_slice(&[0xc0, 12]),
                Some(n) => m.extend_from_slice(&encoded(n)),
            }
            m.extend_from_slice(&ty.to_be_bytes());
            m.extend_from_slice(&[0, 1, 0, 0, 0, 60]);
            m.extend_from_slice(&(data.len() as u16).to_be_bytes());
            m.extend_from_slice(data);
        }
        m
    }

    pub fn encoded(n: &str) -> Vec<u8> {
        let q = question(0, n, A).expect("name");
        q[12..q.len() - 4].to_vec()
    }

    #[test]
    fn addresses_aliases_and_names() {
        let q = question(7, "www.test", A).expect("name");
        let found =
            |a: &[[u8; 4]]| Some(Answer::Found(a.iter().map(|x| (*x).into()).collect(), None, vec![]));
        let m = reply(
            &q,
            0,
            &[(None, A, vec![10, 0, 0, 1]), (None, A, vec![10, 0, 0, 2]), (Some("x"), A, vec![9; 4])],
        );
        assert_eq!(answer(&q, &m), found(&[[10, 0, 0, 1], [10, 0, 0, 2]]));
        let m = reply(&q, 0, &[(Some("b.test"), A, vec![1; 4]), (None, CNAME, encoded("B.test"))]);
        assert_eq!(answer(&q, &m), found(&[[1; 4]]));
        let p = question(7, "1.0.0.10.in-addr.arpa", PTR).expect("name");
        let m = reply(&p, 0, &[(None, PTR, encoded("modem.test"))]);
        assert_eq!(answer(&p, &m), Some(Answer::Found(vec![], Some("modem.test".into()), vec![])));
        // A name is not for the terminal to obey.
        let m = reply(&p, 0, &[(None, PTR, vec![3, 27, b'c', b'x', 0])]);
        assert_eq!(answer(&p, &m), Some(Answer::Found(vec![], Some("?cx".into()), vec![])));
    }

    #[test]
    fn refusals_and_strangers() {
        let q = question(7, "x.test.", A).expect("name");
        assert_eq!(answer(&q, &reply(&q, 3, &[])), Some(Answer::NoName));
        assert_eq!(answer(&q, &reply(&q, 2, &[])), Some(Answer::Refused(2)));
        assert_eq!(answer(&q, &reply(&q, 0x200, &[])), Some(Answer::Truncated));
        assert_eq!(answer(&q, &reply(&q, 0, &[])), Some(Answer::Found(vec![], None, vec![])));
        let other = question(8, "x.test", A).expect("name");
        let elsewhere = question(7, "y.test", A).expect("name");
        assert_eq!(answer(&q, &reply(&other, 0, &[])), None, "another id");
        assert_eq!(answer(&q, &reply(&elsewhere, 0, &[])), None, "another question");
        assert_eq!(answer(&q, &q), None, "a question");
        for bad in ["", ".", "a..b", &"x".repeat(64), &"abc.".repeat(70)] {
            assert_eq!(question(1, bad, A), None, "{bad}");
        }
    }

    #[test]
    fn pointers_cannot_go_in_circles() {
        let q = question(7, "x.test", A).expect("name");
        let mut m = reply(&q, 0, &[]);
        m[7] = 1;
        let at = m.len() as u8;
        m.extend_from_slice(&[0xc0, at, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(answer(&q, &m), Some(Answer::Found(vec![], None, vec![])));
    }

    proptest! {
        #[test]
        fn garbage_is_no_answer_and_no_panic(mut m in prop::collection::vec(any::<u8>(), 0..600), cut in 0usize..200) {
            let q = question(7, "www.example.test", A).expect("name");
            let _ = answer(&q, &m);
            // The same behind a good beginning, so that the records are reached.
            let mut good = reply(&q, 0, &[(None, CNAME, encoded("a.b"))]);
            good[7] = 200;
            good.append(&mut m);
            let _ = answer(&q, &good);
            let _ = answer(&q, &good[..good.len().saturating_sub(cut)]);
        }
    }
}
