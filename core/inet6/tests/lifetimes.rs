//! Lifetimes of temporary addresses (RFC 8981 3.4): as the prefix has them, and never longer than they were made for.

mod common;

use common::*;
use iopkt_ctl::{Reply, Request};
use iopkt_inet6::Tunables;
use iopkt_wire::nd::{self, Prefix, RouterAdvert, opt};

fn advertise(w: &mut Wire, valid: u32, preferred: u32) {
    let mut b = RouterAdvert { lifetime: 1800, ..RouterAdvert::default() }.emit();
    nd::push_link(&mut b, opt::SOURCE_LINK, [2, 0, 0, 0, 1, 0xa]);
    let prefix = a6("2001:db8:1::");
    nd::push_prefix(&mut b, &Prefix { prefix, plen: 64, on_link: true, autonomous: true, valid, preferred });
    w.inject(0, nd([0x33, 0x33, 0, 0, 0, 1], "fe80::a", "ff02::1", b));
    w.run(10);
}

/// Temporary addresses with seconds that they are preferred and valid still.
fn temporary(w: &mut Wire) -> Vec<(String, u32, u32)> {
    let Reply::Interfaces(list) = w.hosts[0].ctl(Request::Interfaces { name: Some("eth0".into()) }) else {
        panic!()
    };
    let eth = list.into_iter().next().unwrap();
    let lives = eth.lives.into_iter().filter(|l| l.flags & iopkt_ctl::in6::TEMPORARY != 0);
    lives.map(|l| (l.addr.to_string(), l.preferred.unwrap(), l.valid.unwrap())).collect()
}

fn host() -> Wire {
    let t = Tunables { accept_rtadv: true, use_tempaddr: true, ..Tunables::default() };
    let mut w = Wire::new(vec![Host::with(1, t)]);
    w.hosts[0].up();
    w.run(3000);
    w
}

#[test]
fn a_prefix_of_short_lifetimes_that_is_told_again_keeps_its_temporary_address() {
    // [RFC8981 3.4b]
    let mut w = host();
    advertise(&mut w, 600, 300);
    let first = temporary(&mut w);
    assert_eq!(first.len(), 1);
    // Told each minute for two hours: the address stays, its times are the prefix's.
    for _ in 0..120 {
        w.run(60_000);
        advertise(&mut w, 600, 300);
    }
    let now = temporary(&mut w);
    assert_eq!(now.iter().map(|t| &t.0).collect::<Vec<_>>(), [&first[0].0]);
    assert!(now[0].1 >= 295 && now[0].2 >= 595, "{now:?}");
    // Nobody tells it any more: it ends with it.
    w.run(700_000);
    assert!(temporary(&mut w).is_empty());
    w.end();
}

#[test]
fn one_that_would_be_due_at_once_is_not_made() {
    let t = Tunables { accept_rtadv: true, use_tempaddr: true, temppltime: 4, ..Tunables::default() };
    let mut w = Wire::new(vec![Host::with(1, t)]);
    w.hosts[0].up();
    w.run(3000);
    advertise(&mut w, 2_592_000, 604_800);
    w.run(10_000);
    assert!(temporary(&mut w).is_empty());
    w.end();
}

#[test]
fn no_advertisement_makes_it_older_than_it_may_get() {
    // [RFC8981 3.4a]
    let mut w = host();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..3 * 24 {
        advertise(&mut w, 2_592_000, 604_800);
        for (a, preferred, valid) in temporary(&mut w) {
            assert!(preferred <= 86_400 && valid <= 172_800, "{a} {preferred} {valid}");
            seen.insert(a);
        }
        w.run(3_600_000);
    }
    // A day each, less up to 0.4 of it.
    assert!((4..=7).contains(&seen.len()), "{seen:?}");
    // Valid for two days: those of the first day have gone.
    assert!(temporary(&mut w).len() < seen.len());
    w.end();
}

#[test]
fn nobody_takes_a_temporary_address_away_at_once() {
    // [RFC8981 3.4d]
    let mut w = host();
    advertise(&mut w, 100_000, 50_000);
    w.run(1000);
    advertise(&mut w, 1, 0);
    w.run(3_600_000);
    let t = temporary(&mut w);
    assert_eq!((t.len(), t[0].1), (1, 0), "two hours (RFC 4862 5.5.3 e), and deprecated");
    w.run(3_700_000);
    assert!(temporary(&mut w).is_empty());
    w.end();
}
