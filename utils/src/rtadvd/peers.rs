//! What other routers of a link advertise, compared with what we do (RFC 4861 6.2.7): who administers the link is told of differences.

use super::conf::{Config, Mtu, Prefix};
use iopkt_wire::nd::{INFINITE, Opt, RouterAdvert, options};
use std::time::Instant;

/// The differences of an advertisement's body (behind the ICMPv6 header) from ours, a line each.
pub(super) fn differences(
    c: &Config,
    shown: &[Prefix],
    since: Instant,
    ra: &RouterAdvert,
    body: &[u8],
) -> Vec<String> {
    let mut out = Vec::new();
    let mut differ = |what: &str, theirs: &dyn std::fmt::Display, ours: &dyn std::fmt::Display| {
        out.push(format!("{what} is {theirs} there, {ours} here"));
    };
    // Zero says nothing.
    for (what, theirs, ours) in [
        ("the hop limit (chlim)", u32::from(ra.hop_limit), u32::from(c.hop_limit)),
        ("the reachable time (rtime)", ra.reachable, c.reachable),
        ("the retransmission time (retrans)", ra.retrans, c.retrans),
    ] {
        if theirs != 0 && ours != 0 && theirs != ours {
            differ(what, &theirs, &ours);
        }
    }
    for (what, theirs, ours) in
        [("the flag M (raflags)", ra.managed, c.managed), ("the flag O (raflags)", ra.other, c.other)]
    {
        if theirs != ours {
            differ(what, &theirs, &ours);
        }
    }
    for o in options(body).flatten() {
        match (o, c.mtu) {
            (Opt::Mtu(theirs), Mtu::Of(ours)) if theirs != ours => differ("the MTU", &theirs, &ours),
            (Opt::Prefix(p), _) => {
                let Some(own) = shown.iter().find(|x| (x.addr, x.plen) == (p.prefix, p.plen)) else {
                    continue;
                };
                for (what, theirs, ours, runs) in [
                    ("valid", p.valid, own.valid, own.valid_runs),
                    ("preferred", p.preferred, own.preferred, own.preferred_runs),
                ] {
                    if !same(theirs, ours, runs.then_some(since), c.skew) {
                        let what = format!("the {what} lifetime of {}/{}", p.prefix, p.plen);
                        differ(&what, &theirs, &ours);
                    }
                }
            }
            _ => {}
        }
    }
    out
}

/// Whether two lifetimes say the same. One that runs (since then) is compared by when it ends, if a skew is allowed at all.
fn same(theirs: u32, ours: u32, runs: Option<Instant>, skew: u32) -> bool {
    match runs {
        Some(_) if skew == 0 => true,
        Some(t) if ours != INFINITE => {
            let left = ours.saturating_sub(t.elapsed().as_secs() as u32);
            theirs.abs_diff(left) <= skew
        }
        _ => theirs == ours,
    }
}

#[cfg(test)]
mod tests {
    use super::super::conf::parse;
    use super::*;
    use iopkt_wire::nd;

    #[test]
    fn differences_are_named_and_silence_is_none() {
        let c =
            parse("x:addr=\"2001:db8::\":vltime#1000:pltime#500:mtu#1400:rtime#30000:", "x").expect("good");
        let look = |ra: RouterAdvert, p: nd::Prefix| {
            let mut b = ra.emit();
            nd::push_mtu(&mut b, 1500);
            nd::push_prefix(&mut b, &p);
            let (ra, rest) = RouterAdvert::parse([b[4], b[5], b[6], b[7]], &b[8..]).expect("one");
            differences(&c, &c.prefixes, Instant::now(), &ra, rest)
        };
        let p = |prefix: &str, valid| nd::Prefix {
            prefix: prefix.parse().expect("address"),
            plen: 64,
            on_link: true,
            autonomous: true,
            valid,
            preferred: 500,
        };
        let ra =
            RouterAdvert { hop_limit: 0, reachable: 0, other: true, lifetime: 9, ..RouterAdvert::default() };
        assert_eq!(
            look(ra, p("2001:db8::", 900)),
            [
                "the flag O (raflags) is true there, false here",
                "the MTU is 1500 there, 1400 here",
                "the valid lifetime of 2001:db8::/64 is 900 there, 1000 here"
            ]
        );
        let ra = RouterAdvert { hop_limit: 32, reachable: 10_000, ..RouterAdvert::default() };
        let d = look(ra, p("2001:db8:1::", 1));
        assert_eq!(d.len(), 3, "{d:?}");
        assert!(d[0].contains("chlim") && d[1].contains("rtime"), "{d:?}");
    }

    #[test]
    fn lifetimes_that_run_are_compared_by_their_end() {
        let since = Some(Instant::now() - std::time::Duration::from_secs(100));
        assert!(same(1, 1000, since, 0), "not asked for");
        assert!(same(903, 1000, since, 5) && !same(1000, 1000, since, 5));
        assert!(same(INFINITE, INFINITE, since, 5) && !same(7, 8, None, 5));
    }
}
