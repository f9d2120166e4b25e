//! A link's life, by seeds: many who want one address, routers that come and go, networks that get other numbers, floods.

mod common;

use common::*;
use iopkt_base::{Rng, zone};
use iopkt_ctl::{NdReply, NdRequest, Reply, Request};
use iopkt_inet6::Tunables;
use iopkt_wire::nd::{self, Prefix, RouterAdvert, opt};
use std::net::{IpAddr, Ipv6Addr};

const ALL: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];

fn prefix(p: &str, valid: u32, preferred: u32) -> Prefix {
    Prefix { prefix: a6(p), plen: 64, on_link: true, autonomous: true, valid, preferred }
}

fn router(id: u8) -> String {
    format!("fe80::{id:x}")
}

fn advertise(w: &mut Wire, id: u8, lifetime: u16, rest: impl Fn(&mut Vec<u8>)) {
    let mut b = RouterAdvert { lifetime, ..RouterAdvert::default() }.emit();
    nd::push_link(&mut b, opt::SOURCE_LINK, [2, 0, 0, 0, 1, id]);
    rest(&mut b);
    w.inject(0, nd(ALL, &router(id), "ff02::1", b));
    w.run(10);
}

fn listener() -> Wire {
    let mut w = Wire::new(vec![Host::with(1, Tunables { accept_rtadv: true, ..Tunables::default() })]);
    w.hosts[0].up();
    w.run(3000);
    w
}

#[test]
fn of_many_who_want_an_address_one_has_it_at_most() {
    for seed in 0..30 {
        let mut rng = Rng::new(seed);
        let n = 2 + rng.below(6) as u8;
        let mut w = Wire::new((1..=n).map(Host::new).collect());
        // They come one after the other or together, and all want the same address.
        for i in 0..usize::from(n) {
            w.hosts[i].up();
            w.hosts[i].addr("2001:db8::1", 64);
            w.run(rng.below(2500).into());
        }
        w.run(20_000);
        let has = |h: &Host| h.addrs().iter().filter(|a| *a == "2001:db8::1/64").count();
        let owners: usize = w.hosts.iter().map(has).sum();
        let told: usize =
            w.hosts.iter().map(|h| h.addrs().iter().filter(|a| a.ends_with("1/64 duplicated")).count()).sum();
        assert!(owners <= 1 && owners + told == usize::from(n), "seed {seed}: {owners} of {n}, {told} told");
        // Who was there first, and had looked, keeps it.
        w.end();
    }
}

#[test]
fn routers_come_and_go() {
    for seed in 0..10 {
        let mut rng = Rng::new(seed);
        let mut w = listener();
        let s = w.hosts[0].udp("[::]:7000");
        for _ in 0..60 {
            let id = 10 + rng.below(4) as u8;
            let lifetime = [0, 60, 1800][rng.below(3) as usize];
            let p = format!("2001:db8:{id}::");
            advertise(&mut w, id, lifetime, |b| nd::push_prefix(b, &prefix(&p, 7200, 3600)));
            let _ = w.hosts[0].send(s, a6("2001:4860::1"), 9, b"x");
            w.run(u64::from(rng.below(120_000)));
        }
        // Everything is within its bounds, and what is used is what was told.
        let addrs = w.hosts[0].addrs();
        assert!(addrs.len() <= 5 && addrs.iter().all(|a| !a.contains("tentative")), "seed {seed}: {addrs:?}");
        let Reply::Nd(NdReply::Routers(l)) = w.hosts[0].ctl(Request::Nd(NdRequest::Routers)) else {
            panic!()
        };
        let way = w.hosts[0].s.net.hop(a6("2001:4860::1").into(), 0, false).ok();
        match way.map(|h| h.next) {
            Some(IpAddr::V6(g)) => assert!(l.iter().any(|r| r.addr == zone::strip(g)), "seed {seed}"),
            _ => assert!(l.is_empty(), "seed {seed}: {l:?}"),
        }
        // All is over some day.
        w.run(8_000_000);
        assert_eq!((w.hosts[0].addrs().len(), w.hosts[0].learnt().len()), (1, 0), "seed {seed}");
        w.end();
    }
}

#[test]
fn a_network_gets_another_number() {
    let mut w = listener();
    let (old, new) = ("2001:db8:a::ff:fe00:1", "2001:db8:b::ff:fe00:1");
    advertise(&mut w, 10, 1800, |b| nd::push_prefix(b, &prefix("2001:db8:a::", 86_400, 43_200)));
    w.run(3000);
    let source = |w: &Wire| match w.hosts[0].s.net.hop(a6("2001:4860::1").into(), 0, false).unwrap().src {
        Some(IpAddr::V6(a)) => a,
        a => panic!("{a:?}"),
    };
    assert_eq!(source(&w), a6(old));
    // The old one is taken back: nothing new by it, but what runs goes on for two hours (RFC 4862 5.5.3 e).
    for _ in 0..3 {
        advertise(&mut w, 10, 1800, |b| {
            nd::push_prefix(b, &prefix("2001:db8:a::", 0, 0));
            nd::push_prefix(b, &prefix("2001:db8:b::", 86_400, 43_200));
        });
        w.run(3000);
    }
    assert_eq!(source(&w), a6(new));
    let l = w.hosts[0].addrs();
    assert!(l.iter().any(|a| a.starts_with(old) && a.contains("deprecated")), "{l:?}");
    w.run(7_300_000);
    assert!(w.hosts[0].addrs().iter().all(|a| !a.starts_with(old)));
    w.end();
}

#[test]
fn floods_fill_nothing_and_hide_nobody() {
    let mut w = Wire::pair();
    let far = w.hosts[1].link_local();
    let (s, to) = (w.hosts[0].udp("[::]:7000"), w.hosts[1].udp("[::]:7001"));
    w.hosts[0].send(s, far, 7001, b"first").unwrap();
    w.run(100);
    assert!(w.hosts[1].recv(to).is_some());
    w.hosts[0].addr("2001:db8::1", 64);
    w.hosts[1].addr("2001:db8::2", 64);
    w.run(3000);
    let me = zone::strip(w.hosts[0].link_local());
    let limit = w.hosts[0].s.cx.cfg.max_neighbours;
    let mut rng = Rng::new(1);
    for round in 0..20 {
        // Strangers who ask for us, each another one (RFC 6583 7.1), and advertisements that nobody asked for.
        let frames: Vec<Vec<u8>> = (0..1000)
            .map(|_| {
                let who = Ipv6Addr::from(u128::from(a6("fe80::")) | u128::from(rng.next_u64()));
                let mut b = if rng.below(2) == 0 {
                    nd::neighbor_solicit(me)
                } else {
                    nd::neighbor_advert(who, nd::AdvertFlags { over: true, ..nd::AdvertFlags::default() })
                };
                let kind = if b[0] == 135 { opt::SOURCE_LINK } else { opt::TARGET_LINK };
                nd::push_link(&mut b, kind, [2, 9, 9, rng.below(256) as u8, 9, 9]);
                nd([2, 0, 0, 0, 0, 1], &who.to_string(), &me.to_string(), b)
            })
            .collect();
        frames.into_iter().for_each(|f| w.inject(0, f));
        w.run(5);
        // And somebody here who looks for thousands that are not there.
        for _ in 0..300 {
            let dst = Ipv6Addr::from(u128::from(a6("2001:db8::")) | u128::from(rng.next_u64()));
            let _ = w.hosts[0].send(s, dst, 9, b"scan");
        }
        w.run(100);
        assert!(w.hosts[0].s.net.neigh.len() <= limit, "round {round}");
        // The one who was known before is reached all the while.
        w.hosts[0].send(s, far, 7001, b"still").unwrap();
        w.run(100);
        assert!(w.hosts[1].recv(to).is_some(), "round {round}");
        // And so is one of whom nobody had heard.
        if round == 10 {
            w.hosts[0].send(s, a6("2001:db8::2"), 7001, b"new").unwrap();
            w.run(10);
            assert!(w.hosts[1].recv(to).is_some(), "a new neighbour");
        }
        w.log.clear();
    }
    w.end();
}
