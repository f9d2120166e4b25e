//! Destination address selection (RFC 6724 section 6): which of the addresses of a name is tried first.
//!
//! Each address is judged with the source that the stack itself would send from. Rules 4 (home addresses) and 7 (native transport) have no
//! meaning here. Of IPv4 the longest common prefix counts within the source's own network only: elsewhere it says nothing of nearness and
//! would undo what name servers do to share a load.

use crate::Inet6;
use crate::policy::common;
use crate::select::{fresh, scope};
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::net::{IpAddr, Ipv6Addr};
use iopkt_stack::{IfAddr, Layers, prefix};

/// Most addresses that are put into order; those behind stay there.
const MAX: usize = 64;

/// An address with what decides.
struct Judged {
    at: IpAddr,
    /// Source that it would be sent from.
    source: Option<IpAddr>,
    fits_scope: bool,
    fresh: bool,
    fits_label: bool,
    precedence: u32,
    scope: u8,
    common: u8,
}

/// As RFC 6724 section 3.2 has it: IPv4 addresses are mapped ones.
fn six(a: IpAddr) -> Ipv6Addr {
    match a {
        IpAddr::V4(a) => a.to_ipv6_mapped(),
        IpAddr::V6(a) => a,
    }
}

impl Inet6 {
    /// These addresses, best first.
    pub(crate) fn order(&self, l: &Layers<'_>, list: &[IpAddr]) -> Vec<IpAddr> {
        let (head, tail) = list.split_at(list.len().min(MAX));
        let mut v: Vec<Judged> = Vec::with_capacity(head.len());
        // By insertion: the rules are no order in the strict sense (9 holds within a family only), which a sort would insist on.
        for a in head {
            let j = self.judge(l, *a);
            let at = v.iter().rposition(|o| before(&j, o) != Ordering::Greater).map_or(0, |n| n + 1);
            v.insert(at, j);
        }
        v.into_iter().map(|j| j.at).chain(tail.iter().copied()).collect()
    }

    fn judge(&self, l: &Layers<'_>, at: IpAddr) -> Judged {
        let source = l.net.path(at, None, 0).ok().map(|p| p.src).filter(|s| !s.is_unspecified());
        let (d, s) = (six(at), source.map(six));
        let own: Option<IfAddr> = source.and_then(|s| {
            let i = l.net.iface(l.net.if_with_addr(s))?;
            i.addrs.iter().find(|a| a.addr == s).copied()
        });
        let policy = &self.select.policy;
        let near = match (source, own) {
            (Some(IpAddr::V4(_)), Some(a)) if !prefix::contains(a.addr, a.plen, at) => 0,
            (Some(_), Some(a)) => {
                let most = if at.is_ipv4() { 96 + a.plen } else { a.plen };
                s.map_or(0, |s| common(&d, &s)).min(most)
            }
            _ => 0,
        };
        Judged {
            at,
            source,
            fits_scope: s.is_some_and(|s| scope(&s) == scope(&d)),
            fresh: own.is_none_or(|a| fresh(&a)),
            fits_label: s.is_some_and(|s| policy.label(&s) == policy.label(&d)),
            precedence: policy.precedence(&d),
            scope: scope(&d),
            common: near,
        }
    }
}

/// `Greater` when `a` is tried before `b`.
fn before(a: &Judged, b: &Judged) -> Ordering {
    let yes = |x: bool, y: bool| x.cmp(&y);
    // [RFC6724 6]
    yes(a.source.is_some(), b.source.is_some())
        .then(yes(a.fits_scope, b.fits_scope))
        .then(yes(a.fresh, b.fresh))
        .then(yes(a.fits_label, b.fits_label))
        .then(a.precedence.cmp(&b.precedence))
        .then(b.scope.cmp(&a.scope))
        .then(if a.at.is_ipv4() == b.at.is_ipv4() { a.common.cmp(&b.common) } else { Ordering::Equal })
}
