//! The tool against a stack that answers from a script.

use super::lists::{prefix, router};
use super::neighbours::{Look, period, table};
use super::settings::interface;
use super::*;
use crate::tool::fake::Fake;
use iopkt_ctl::{NdEntry, NdIface, NdPrefix, NdRouter, NdState, nd6};
use proptest::prelude::*;
use std::net::Ipv6Addr;

fn go(f: &mut Fake, l: &str) -> Outcome {
    run(f, &l.split_whitespace().map(str::to_string).collect::<Vec<_>>())
}

fn a(s: &str) -> Ipv6Addr {
    s.parse().expect("address")
}

fn router_entry() -> NdEntry {
    NdEntry {
        ip: a("fe80::1"),
        mac: Some([2, 0, 0, 0, 0, 1]),
        ifname: Some("ecm0".into()),
        state: NdState::Stale,
        permanent: false,
        proxy: false,
        router: true,
        own: false,
        expires: Some(86_398),
        asked: 0,
    }
}

#[test]
fn the_table_in_kames_layout() {
    let e = router_entry();
    let own = NdEntry {
        own: true,
        permanent: true,
        router: false,
        expires: None,
        state: NdState::Reachable,
        ..e.clone()
    };
    let ask = NdEntry {
        mac: None,
        router: false,
        state: NdState::Incomplete,
        expires: Some(1),
        asked: 2,
        ..e.clone()
    };
    let want = "Neighbor                             Linklayer Address  Netif Expire    S Flags\n\
         fe80::1%ecm0                         02:00:00:00:00:01   ecm0 23h59m58s S R\n\
         fe80::1%ecm0                         02:00:00:00:00:01   ecm0 permanent R\n\
         fe80::1%ecm0                         (incomplete)        ecm0 1s        I  2\n\
         2001:db8:1111:2222:3333:4444:5555:6666 (incomplete)      ecm0 1s        I  2\n";
    let long = NdEntry { ip: a("2001:db8:1111:2222:3333:4444:5555:6666"), ..ask.clone() };
    let flags = |l: &str| getopt::parse("nt", &[l.to_string()]).expect("flags");
    assert_eq!(table(&[e.clone(), own, ask, long], Look::of(&flags("-n"))), want);
    let timed = table(&[e], Look::of(&flags("-nt")));
    assert!(timed.lines().count() == 1 && timed[15..].starts_with(" fe80::1%ecm0 "), "{timed}");
    assert_eq!((period(90_061), period(60), period(0)), ("1d1h1m1s".into(), "1m0s".into(), "0s".into()));
}

#[test]
fn prefixes_routers_and_interfaces() {
    let p = NdPrefix {
        prefix: a("2001:db8::"),
        prefix_len: 64,
        ifname: "ecm0".into(),
        on_link: true,
        autonomous: true,
        detached: false,
        valid: Some(2_592_000),
        preferred: None,
        expires: Some(60),
        refs: 1,
        routers: vec![a("fe80::1")],
    };
    let want = "2001:db8::/64 if=ecm0\nflags=LAO vltime=2592000, pltime=infinity, expire=1m0s, ref=1\n  advertised by\n    fe80::1%ecm0\n";
    assert_eq!(prefix(&p), want);
    let r = NdRouter {
        addr: a("fe80::1"),
        ifname: "ecm0".into(),
        managed: false,
        other: true,
        preference: "medium".into(),
        expires: Some(1798),
    };
    assert_eq!(router(&r), "fe80::1%ecm0 if=ecm0, flags=O, pref=medium, expire=29m58s\n");
    let i = NdIface {
        ifname: "ecm0".into(),
        link_mtu: 1500,
        max_mtu: 1500,
        hop_limit: 64,
        base_reachable: 30_000,
        reachable: 31_500,
        retrans: 1000,
        flags: nd6::NUD | nd6::ACCEPT_RTADV,
        adverts: 0,
    };
    let want = "linkmtu=1500, maxmtu=1500, curhlim=64, basereachable=30s0ms, reachable=31s, retrans=1s0ms\nFlags: nud accept_rtadv \n";
    assert_eq!(interface(&i), want);
}

#[test]
fn what_is_asked_of_the_stack() {
    let shown = || Reply::Nd(NdReply::Interfaces(Vec::new()));
    let mut f = Fake::with([Reply::Ok, Reply::Ok, shown(), Reply::Ok, shown()]);
    assert_eq!(go(&mut f, "-s fe80::7%ecm0 2:0:0:0:0:7 temp proxy"), Ok(0));
    assert!(
        matches!(&f.asked[0], Request::Nd(NdRequest::Add(e)) if !e.permanent && e.proxy && e.ifname.as_deref() == Some("ecm0"))
    );
    assert_eq!(go(&mut f, "-i ecm0 accept_rtadv -nud basereachable=5000 curhlim=9"), Ok(0));
    let want = NdRequest::Set {
        name: "ecm0".into(),
        set: nd6::ACCEPT_RTADV,
        clear: nd6::NUD,
        base_reachable: Some(5000),
        retrans: None,
        hop_limit: Some(9),
    };
    assert_eq!(f.asked[1], Request::Nd(want));
    assert_eq!(go(&mut f, "-i ecm0 -- -disabled"), Ok(0));
    assert!(matches!(f.asked[3], Request::Nd(NdRequest::Set { clear: nd6::DISABLED, .. })));
    assert_eq!(go(&mut f, "-d 2001:db8::1"), Ok(0));
    assert_eq!(go(&mut f, "-I delete"), Ok(0));
    assert_eq!(f.asked[6], Request::Nd(NdRequest::Default { name: Some(String::new()) }));
    let mut f = Fake::with([Reply::Nd(NdReply::Neighbours { list: vec![router_entry()], next: 0 })]);
    assert_eq!(go(&mut f, "fe80::2").unwrap_err().message, "fe80::2 (fe80::2) -- no entry");
    let mut f = Fake::default();
    for bad in [
        "",
        "-s",
        "-s fe80::1 x",
        "-a -p",
        "-a x",
        "-i ecm0 bogus",
        "-i ecm0 no_radr",
        "-i ecm0 curhlim=0",
        "-i ecm0 retrans=x",
        "-i ecm0 linkmtu=1400",
        "-A 0",
        "-d",
        "10.0.0.1",
        "-I a b",
        "-s fe80::1 2:0:0:0:0:1 pub",
    ] {
        assert!(go(&mut f, bad).is_err() && f.asked.is_empty(), "{bad}");
    }
}

proptest! {
    #[test]
    fn no_words_make_it_panic(words in prop::collection::vec("(-?[a-zA-Z0-9.:%=]{0,6}|\\PC{0,4})", 0..6)) {
        prop_assume!(!words.iter().any(|w| w.starts_with("-") && (w.contains('A') || w.contains('f'))));
        let _ = run(&mut Fake::default(), &words);
    }
}
