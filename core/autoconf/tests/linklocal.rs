//! RFC 3927 in virtual time: several hosts on one link.

use iopkt_autoconf::linklocal::{self, Action, Config, LinkLocal};
use iopkt_base::Instant;
use iopkt_wire::arp;
use proptest::prelude::*;
use std::net::Ipv4Addr;
use std::time::Duration;

/// Hosts on a link that delivers at once.
struct Link {
    now: Instant,
    hosts: Vec<LinkLocal>,
    /// Time, host, action.
    log: Vec<(Duration, usize, Action)>,
}

fn config(n: u8, first: Option<Ipv4Addr>) -> Config {
    Config { mac: [2, 0, 0, 0, 0, n], first, abandon: false, announce_wait: linklocal::ANNOUNCE_WAIT }
}

impl Link {
    fn new(hosts: Vec<LinkLocal>) -> Link {
        Link { now: Instant::ZERO, hosts, log: Vec::new() }
    }

    fn up(&mut self, host: usize, up: bool) {
        let now = self.now;
        self.at(host, |h, mut act| h.link(now, up, &mut act));
    }

    /// Lets one host act and gives what it sends to the others, and so on.
    fn at(&mut self, host: usize, f: impl FnOnce(&mut LinkLocal, &mut dyn FnMut(Action))) {
        let mut actions = Vec::new();
        f(&mut self.hosts[host], &mut |a| actions.push(a));
        for a in actions {
            self.log.push((self.now.since(Instant::ZERO), host, a));
            if let Action::Send(p) = a {
                self.send(host, p);
            }
        }
    }

    fn send(&mut self, from: usize, p: arp::Packet) {
        let now = self.now;
        for to in (0..self.hosts.len()).filter(|h| *h != from) {
            self.at(to, |h, mut act| h.receive(now, &p, &mut act));
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(host) = (0..self.hosts.len()).min_by_key(|h| self.hosts[*h].deadline()) {
            if self.hosts[host].deadline() > end {
                break;
            }
            self.now = self.hosts[host].deadline();
            let now = self.now;
            self.at(host, |h, mut act| h.tick(now, &mut act));
        }
        self.now = end;
    }

    fn of(&self, host: usize) -> Vec<(Duration, Action)> {
        self.log.iter().filter(|l| l.1 == host).map(|l| (l.0, l.2)).collect()
    }
}

const SECOND: Duration = Duration::from_secs(1);

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn a_lonely_host_probes_three_times_and_announces_twice() {
    for seed in 0..200 {
        let mut l = Link::new(vec![LinkLocal::new(config(1, None), seed)]);
        l.up(0, true);
        l.run(secs(30));
        let log = l.of(0);
        let a = l.hosts[0].address().unwrap();
        assert!((linklocal::FIRST..=linklocal::LAST).contains(&a));
        let sent = |i: usize| match log[i].1 {
            Action::Send(p) => p,
            other => panic!("{other:?}"),
        };
        assert_eq!(log.len(), 6, "{log:?}");
        for i in 0..3 {
            let p = sent(i);
            assert_eq!((p.op, p.spa, p.tpa, p.tha), (arp::REQUEST, Ipv4Addr::UNSPECIFIED, a, [0; 6]));
        }
        assert_eq!(log[3].1, Action::Assign(a));
        for i in [4, 5] {
            assert_eq!((sent(i).spa, sent(i).tpa), (a, a));
        }
        assert!(log[0].0 <= SECOND);
        for i in [1, 2] {
            assert!((SECOND..=secs(2)).contains(&(log[i].0 - log[i - 1].0)));
        }
        assert_eq!([log[3].0 - log[2].0, log[5].0 - log[4].0], [secs(2); 2]);
        assert_eq!(l.hosts[0].deadline(), Instant::FAR);
    }
}

#[test]
fn who_comes_later_takes_another_address() {
    let want = Ipv4Addr::new(169, 254, 7, 7);
    let mut l = Link::new((1..=2).map(|n| LinkLocal::new(config(n, Some(want)), n.into())).collect());
    l.up(0, true);
    l.run(secs(30));
    assert_eq!(l.hosts[0].address(), Some(want));
    // The stack of the owner answers the probe as any ARP request; here the test does.
    l.up(1, true);
    let before = l.log.len();
    l.run(SECOND);
    assert!(l.log[before..].iter().any(|e| matches!(e.2, Action::Send(p) if p.tpa == want)));
    let answer = arp::Packet {
        op: arp::REPLY,
        sha: [2, 0, 0, 0, 0, 1],
        spa: want,
        tha: [2, 0, 0, 0, 0, 2],
        tpa: 0.into(),
    };
    l.send(0, answer);
    l.run(secs(30));
    let other = l.hosts[1].address().unwrap();
    assert_ne!(other, want);
    assert_eq!(l.hosts[0].address(), Some(want));
}

#[test]
fn simultaneous_probes_for_one_address_end_with_two_addresses() {
    let want = Ipv4Addr::new(169, 254, 7, 7);
    for seed in 0..300u64 {
        let hosts =
            (1..=4).map(|n| LinkLocal::new(config(n, Some(want)), seed * 10 + u64::from(n))).collect();
        let mut l = Link::new(hosts);
        (0..4).for_each(|h| l.up(h, true));
        l.run(secs(120));
        let mut got: Vec<_> = l.hosts.iter().map(|h| h.address().unwrap()).collect();
        got.sort();
        got.dedup();
        assert_eq!(got.len(), 4, "seed {seed}");
    }
}

fn claim(a: Ipv4Addr) -> arp::Packet {
    arp::Packet { op: arp::REQUEST, sha: [2, 9, 9, 9, 9, 9], spa: a, tha: [0; 6], tpa: a }
}

#[test]
fn a_conflict_is_defended_once_in_ten_seconds() {
    let mut l = Link::new(vec![LinkLocal::new(config(1, None), 3)]);
    l.up(0, true);
    l.run(secs(30));
    let a = l.hosts[0].address().unwrap();
    l.log.clear();
    l.send(9, claim(a));
    assert_eq!(l.of(0).iter().map(|x| x.1).collect::<Vec<_>>()[0], Action::Defended(a, [2, 9, 9, 9, 9, 9]));
    assert!(matches!(l.log[1].2, Action::Send(p) if p.spa == a && p.tpa == a));
    // Eleven seconds later it is defended again; nine seconds after that it is given up.
    l.run(secs(11));
    l.send(9, claim(a));
    assert_eq!(l.hosts[0].address(), Some(a));
    l.run(secs(9));
    l.send(9, claim(a));
    assert_eq!(l.hosts[0].address(), None);
    assert_eq!(l.log.last().unwrap().2, Action::Remove(a));
    l.run(secs(30));
    assert_ne!(l.hosts[0].address().unwrap(), a);
}

#[test]
fn with_abandon_the_first_conflict_ends_it() {
    let mut l = Link::new(vec![LinkLocal::new(Config { abandon: true, ..config(1, None) }, 3)]);
    l.up(0, true);
    l.run(secs(30));
    let a = l.hosts[0].address().unwrap();
    l.send(9, claim(a));
    assert_eq!(l.hosts[0].address(), None);
}

#[test]
fn after_ten_conflicts_it_tries_once_a_minute() {
    let mut l = Link::new(vec![LinkLocal::new(config(1, None), 5)]);
    l.up(0, true);
    let mut probes = Vec::new();
    for _ in 0..3000 {
        let before = l.log.len();
        l.run(Duration::from_millis(100));
        let wanted = l.log[before..].iter().find_map(|e| match e.2 {
            Action::Send(p) => Some((e.0, p.tpa)),
            _ => None,
        });
        // Somebody has every address.
        if let Some((t, a)) = wanted {
            probes.push(t);
            l.send(9, claim(a));
        }
    }
    assert!(probes[9] < secs(20), "{probes:?}");
    assert!(probes.len() <= 10 + 5, "{probes:?}");
    assert!(probes[10..].windows(2).all(|w| w[1] - w[0] >= secs(60)), "{probes:?}");
}

#[test]
fn the_link_decides() {
    let mut l = Link::new(vec![LinkLocal::new(config(1, None), 5)]);
    l.run(secs(100));
    assert!(l.log.is_empty());
    l.up(0, true);
    l.run(secs(2));
    l.up(0, false);
    l.run(secs(100));
    assert!(l.of(0).iter().all(|a| matches!(a.1, Action::Send(p) if p.spa.is_unspecified())));
    l.up(0, true);
    l.up(0, true);
    l.run(secs(30));
    let a = l.hosts[0].address().unwrap();
    l.up(0, false);
    assert_eq!(l.log.last().unwrap().2, Action::Remove(a));
    // Back on the link the same address is tried first.
    l.up(0, true);
    l.run(secs(30));
    assert_eq!(l.hosts[0].address(), Some(a));
}

#[test]
fn what_does_not_concern_it_is_no_conflict() {
    let mut l = Link::new(vec![LinkLocal::new(config(1, None), 5)]);
    l.up(0, true);
    l.run(secs(30));
    let a = l.hosts[0].address().unwrap();
    l.log.clear();
    // Our own packet come back; a question about our address; a probe for it (the stack answers); another address.
    let own = arp::Packet { sha: [2, 0, 0, 0, 0, 1], ..claim(a) };
    for p in [
        own,
        arp::Packet { spa: 1.into(), ..claim(a) },
        arp::Packet { spa: 0.into(), ..claim(a) },
        claim(5.into()),
    ] {
        l.send(9, p);
    }
    assert!(l.log.is_empty(), "{:?}", l.log);
}

proptest! {
    /// Whatever comes, what it sends is its own, and it has an address of the range or none.
    #[test]
    fn any_packets_and_times(seed: u64, steps in proptest::collection::vec((0u64..5000, any::<u16>(), any::<u32>(), any::<bool>(), 0u8..10), 0..200)) {
        let mut l = Link::new(vec![LinkLocal::new(config(1, None), seed)]);
        l.up(0, true);
        for (ms, op, from, ours, kind) in steps {
            l.run(Duration::from_millis(ms));
            let target = l.hosts[0].address().unwrap_or(linklocal::FIRST);
            match kind {
                0 => l.up(0, false),
                1 => l.up(0, true),
                _ => {
                    let spa = if ours { target } else { from.into() };
                    l.send(9, arp::Packet { op, sha: [4; 6], spa, tha: [0; 6], tpa: target });
                }
            }
        }
        let mut has = None;
        for (_, _, a) in &l.log {
            match *a {
                Action::Assign(a) => { prop_assert!(has.is_none()); has = Some(a); }
                Action::Remove(a) => { prop_assert_eq!(has, Some(a)); has = None; }
                Action::Send(p) => {
                    prop_assert_eq!(p.sha, [2, 0, 0, 0, 0, 1]);
                    prop_assert!((linklocal::FIRST..=linklocal::LAST).contains(&p.tpa));
                    prop_assert!(p.spa.is_unspecified() || Some(p.spa) == has);
                }
                Action::Conflict(..) | Action::Defended(..) => {}
            }
        }
        prop_assert_eq!(has, l.hosts[0].address());
    }
}
