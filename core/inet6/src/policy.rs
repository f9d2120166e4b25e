//! The policy table of address selection (RFC 6724 section 2.1): a label and a precedence for each prefix, as the default has it or as a
//! person set it (`ip6addrctl`).

use alloc::format;
use alloc::vec::Vec;
use core::net::Ipv6Addr;
use core::sync::atomic::{AtomicUsize, Ordering};
use iopkt_base::{Errno, zone};
use iopkt_ctl::{NdPolicy, Reply};

/// Most rows.
const MAX: usize = 256;

/// A row, and how often it decided.
struct Row {
    prefix: Ipv6Addr,
    plen: u8,
    precedence: u32,
    label: u32,
    used: AtomicUsize,
}

/// The table, longest prefixes first.
pub(crate) struct Policy(Vec<Row>);

/// RFC 6724 section 2.1: prefix, length, precedence, label.
/// [RFC6724 2.1]
const DEFAULT: [(Ipv6Addr, u8, u32, u32); 9] = [
    (Ipv6Addr::LOCALHOST, 128, 50, 0),
    (Ipv6Addr::UNSPECIFIED, 0, 40, 1),
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96, 35, 4),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, 30, 2),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32, 5, 5),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, 3, 13),
    (Ipv6Addr::UNSPECIFIED, 96, 1, 3),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, 1, 11),
    (Ipv6Addr::new(0x3ffe, 0, 0, 0, 0, 0, 0, 0), 16, 1, 12),
];

/// Bits that two addresses begin with in common.
pub(crate) fn common(a: &Ipv6Addr, b: &Ipv6Addr) -> u8 {
    (u128::from(zone::strip(*a)) ^ u128::from(zone::strip(*b))).leading_zeros() as u8
}

impl Default for Policy {
    fn default() -> Policy {
        let row = |&(prefix, prefix_len, precedence, label): &_| NdPolicy {
            prefix,
            prefix_len,
            precedence,
            label,
            used: 0,
        };
        Policy::of(&DEFAULT.iter().map(row).collect::<Vec<_>>())
    }
}

impl Policy {
    fn of(list: &[NdPolicy]) -> Policy {
        let row = |p: &NdPolicy| Row {
            prefix: p.prefix,
            plen: p.prefix_len,
            precedence: p.precedence,
            label: p.label,
            used: AtomicUsize::new(p.used as usize),
        };
        let mut rows: Vec<Row> = list.iter().map(row).collect();
        rows.sort_by_key(|r| core::cmp::Reverse(r.plen));
        Policy(rows)
    }

    fn row(&self, a: &Ipv6Addr) -> Option<&Row> {
        self.0.iter().find(|r| common(&r.prefix, a) >= r.plen)
    }

    /// Label of an address; without a row for it, that of all others.
    pub fn label(&self, a: &Ipv6Addr) -> Option<u32> {
        let r = self.row(a)?;
        r.used.fetch_add(1, Ordering::Relaxed);
        Some(r.label)
    }

    /// Precedence of an address; the least without a row for it.
    pub fn precedence(&self, a: &Ipv6Addr) -> u32 {
        self.row(a).map_or(0, |r| r.precedence)
    }

    /// The table as it is shown: highest precedence first.
    pub fn list(&self) -> Vec<NdPolicy> {
        let of = |r: &Row| NdPolicy {
            prefix: r.prefix,
            prefix_len: r.plen,
            precedence: r.precedence,
            label: r.label,
            used: r.used.load(Ordering::Relaxed) as u64,
        };
        let mut v: Vec<NdPolicy> = self.0.iter().map(of).collect();
        v.sort_by_key(|p| core::cmp::Reverse(p.precedence));
        v
    }

    /// A table of these rows.
    ///
    /// # Errors
    /// The answer: what of it cannot be.
    pub fn install(list: &[NdPolicy]) -> Result<Policy, Reply> {
        if list.len() > MAX {
            return Err(Reply::why(Errno::ENOSPC, format!("the policy table has room for {MAX} rows")));
        }
        for (n, p) in list.iter().enumerate() {
            let (net, len) = (p.prefix, p.prefix_len);
            let host = len > 128 || (len < 128 && u128::from(net) << len != 0);
            if host {
                return Err(Reply::why(Errno::EINVAL, format!("{net}/{len} is no prefix")));
            }
            if list[..n].iter().any(|o| (o.prefix, o.prefix_len) == (net, len)) {
                return Err(Reply::why(Errno::EEXIST, format!("{net}/{len}: there twice")));
            }
        }
        Ok(Policy::of(list))
    }

    /// The same table.
    pub fn again(&self) -> Policy {
        Policy::of(&self.list())
    }

    /// The table with one more row.
    ///
    /// # Errors
    /// As [`Policy::install`]; EEXIST when there is one for the prefix.
    pub fn with(&self, p: &NdPolicy) -> Result<Policy, Reply> {
        let mut all = self.list();
        all.push(NdPolicy { used: 0, ..*p });
        Policy::install(&all)
    }

    /// The table without the row of a prefix.
    ///
    /// # Errors
    /// ESRCH when there is none.
    pub fn without(&self, prefix: Ipv6Addr, plen: u8) -> Result<Policy, Reply> {
        let mut all = self.list();
        let before = all.len();
        all.retain(|r| (r.prefix, r.prefix_len) != (prefix, plen));
        if all.len() == before {
            return Err(Reply::why(Errno::ESRCH, format!("{prefix}/{plen}: no such row")));
        }
        Ok(Policy::of(&all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a(s: &str) -> Ipv6Addr {
        s.parse().unwrap()
    }

    #[test]
    fn labels_are_those_of_the_longest_prefix() {
        // [RFC6724 2.1]
        let p = Policy::default();
        for (s, label, precedence) in [
            ("::1", 0, 50),
            ("2001:db8::1", 1, 40),
            ("2002::1", 2, 30),
            ("::2", 3, 1),
            ("::ffff:1.2.3.4", 4, 35),
            ("2001::1", 5, 5),
            ("fec0::1", 11, 1),
            ("3ffe::1", 12, 1),
            ("fd00::1", 13, 3),
        ] {
            assert_eq!((p.label(&a(s)), p.precedence(&a(s))), (Some(label), precedence), "{s}");
        }
        assert_eq!(p.list().iter().map(|r| r.used).sum::<u64>(), 9);
        assert_eq!(common(&a("fe80:5::1"), &a("fe80::1")), 128, "a zone is not part of the address");
    }

    #[test]
    fn rows_come_and_go_and_nonsense_does_not() {
        let row = |prefix, prefix_len| NdPolicy { prefix, prefix_len, precedence: 60, label: 9, used: 0 };
        let p = Policy::default().with(&row(a("2001:db8::"), 32)).unwrap_or_else(|_| panic!());
        assert_eq!((p.label(&a("2001:db8::1")), p.precedence(&a("2001:db8::1"))), (Some(9), 60));
        assert_eq!(p.list()[0].prefix, a("2001:db8::"));
        assert!(p.with(&row(a("2001:db8::"), 32)).is_err(), "there already");
        for (prefix, plen) in [("2001:db8::1", 32), ("::", 129), ("8000::", 0)] {
            assert!(p.with(&row(a(prefix), plen)).is_err(), "{prefix}/{plen}");
        }
        let p = p.without(a("2001:db8::"), 32).unwrap_or_else(|_| panic!());
        assert_eq!(p.label(&a("2001:db8::1")), Some(1));
        assert!(p.without(a("2001:db8::"), 32).is_err());
        let none = Policy::install(&[]).unwrap_or_else(|_| panic!());
        assert_eq!((none.label(&a("::1")), none.precedence(&a("::1"))), (None, 0));
        let many: Vec<NdPolicy> = (0..257u16).map(|n| row(Ipv6Addr::from(u128::from(n)), 128)).collect();
        assert!(Policy::install(&many).is_err());
    }
}
