//! The DHCP client against a small server, in virtual time.

use iopkt_autoconf::dhcp::{Action, Client, Config, Lease, Route, Why};
use iopkt_base::Instant;
use iopkt_wire::arp;
use iopkt_wire::dhcp::{Builder, Header, Message, msg, op, opt};
use proptest::prelude::*;
use std::net::Ipv4Addr;
use std::time::Duration;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const ADDR: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 100);

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn config() -> Config {
    Config {
        mac: MAC,
        client_id: [&[1][..], &MAC].concat(),
        host_name: Some("modem".into()),
        server: None,
        broadcast: true,
        conflicts: 5,
    }
}

/// What was sent, as the server sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    at: Duration,
    kind: u8,
    xid: u32,
    secs: u16,
    ciaddr: Ipv4Addr,
    requested: Option<Ipv4Addr>,
    server: Option<Ipv4Addr>,
    unicast: bool,
}

struct World {
    now: Instant,
    client: Client,
    asked: Vec<Asked>,
    arps: Vec<arp::Packet>,
    rest: Vec<(Duration, Action)>,
    /// Options of its replies beside type and server.
    options: Vec<(u8, Vec<u8>)>,
    answers: bool,
    naks: bool,
}

impl World {
    fn new(config: Config, seed: u64) -> World {
        let mut client = Client::new(config, seed);
        client.start(Instant::ZERO);
        let options = vec![
            (opt::SUBNET_MASK, vec![255, 255, 255, 0]),
            (opt::LEASE_TIME, 3600u32.to_be_bytes().to_vec()),
        ];
        let (asked, arps, rest) = Default::default();
        World { now: Instant::ZERO, client, asked, arps, rest, options, answers: true, naks: false }
    }

    fn option(mut self, code: u8, value: &[u8]) -> World {
        self.options.retain(|o| o.0 != code);
        self.options.push((code, value.to_vec()));
        self
    }

    fn reply(&self, to: &Asked, kind: u8, yiaddr: Ipv4Addr) -> Vec<u8> {
        let zero = Ipv4Addr::UNSPECIFIED;
        let h = Header {
            op: op::REPLY,
            hops: 0,
            xid: to.xid,
            secs: 0,
            broadcast: false,
            ciaddr: to.ciaddr,
            yiaddr,
            siaddr: zero,
            giaddr: zero,
            chaddr: MAC,
        };
        let mut out = vec![0; 1400];
        let mut b = Builder::new(&mut out, &h, kind).unwrap().addr(opt::SERVER_ID, SERVER);
        if kind != msg::NAK {
            for (code, value) in &self.options {
                b = b.option(*code, value);
            }
        }
        let n = b.finish().unwrap();
        out.truncate(n);
        out
    }

    fn act(&mut self, actions: Vec<Action>) {
        let at = self.now.since(Instant::ZERO);
        for a in actions {
            let (bytes, unicast) = match &a {
                Action::Broadcast(b) => (b.clone(), false),
                Action::Unicast(to, b) => {
                    assert_eq!(*to, SERVER);
                    (b.clone(), true)
                }
                Action::Arp(p) => {
                    self.arps.push(*p);
                    continue;
                }
                _ => {
                    self.rest.push((at, a));
                    continue;
                }
            };
            let m = Message::parse(&bytes).expect("a message");
            assert_eq!((m.header.op, m.header.chaddr), (op::REQUEST, MAC));
            assert_eq!(m.option(opt::CLIENT_ID).unwrap()[1..], MAC);
            let q = Asked {
                at,
                kind: m.kind().unwrap(),
                xid: m.header.xid,
                secs: m.header.secs,
                ciaddr: m.header.ciaddr,
                requested: m.addr(opt::REQUESTED_IP),
                server: m.addr(opt::SERVER_ID),
                unicast,
            };
            self.asked.push(q.clone());
            if !self.answers {
                continue;
            }
            match q.kind {
                msg::DISCOVER => self.give(&self.reply(&q, msg::OFFER, ADDR)),
                msg::REQUEST if self.naks => self.give(&self.reply(&q, msg::NAK, 0.into())),
                msg::REQUEST => self.give(&self.reply(&q, msg::ACK, ADDR)),
                _ => {}
            }
        }
    }

    fn give(&mut self, bytes: &[u8]) {
        let mut actions = Vec::new();
        self.client.receive(self.now, bytes, &mut |a| actions.push(a));
        self.act(actions);
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.client.deadline() <= end {
            self.now = self.now.max(self.client.deadline());
            let mut actions = Vec::new();
            self.client.tick(self.now, &mut |a| actions.push(a));
            self.act(actions);
        }
        self.now = end;
    }

    fn kinds(&self) -> Vec<u8> {
        self.asked.iter().map(|q| q.kind).collect()
    }

    fn lease(&self) -> &Lease {
        self.client.lease().expect("a lease")
    }
}

#[test]
fn discover_offer_request_ack_probe_bound() {
    let mut w = World::new(config(), 1);
    w.run(secs(5));
    assert_eq!(w.kinds(), [msg::DISCOVER, msg::REQUEST]);
    let (d, r) = (&w.asked[0], &w.asked[1]);
    assert!(d.at < secs(1));
    assert_eq!((d.requested, d.server, d.ciaddr), (None, None, 0.into()));
    assert_eq!((r.requested, r.server, r.ciaddr, r.xid), (Some(ADDR), Some(SERVER), 0.into(), d.xid));
    assert_eq!(w.arps.len(), 3);
    assert!(w.arps.iter().all(|p| p.tpa == ADDR && p.spa.is_unspecified() && p.op == arp::REQUEST));
    let l = w.lease().clone();
    assert_eq!((l.addr, l.prefix_len, l.server), (ADDR, 24, SERVER));
    let asked = Instant::ZERO + r.at;
    assert_eq!((l.renew, l.rebind, l.end), (asked + secs(1800), asked + secs(3150), asked + secs(3600)));
    assert_eq!(w.rest, [(r.at + Duration::from_millis(900), Action::Bound(l))]);
}

#[test]
fn nobody_answers() {
    for seed in 0..50 {
        let mut w = World::new(config(), seed);
        w.answers = false;
        w.run(secs(600));
        assert!(w.asked.iter().all(|q| q.kind == msg::DISCOVER && q.xid == w.asked[0].xid));
        let gaps: Vec<_> = w.asked.windows(2).map(|p| (p[1].at - p[0].at).as_secs_f64()).collect();
        for (gap, want) in gaps.iter().zip([4., 8., 16., 32., 64., 64., 64.]) {
            assert!((gap - want).abs() <= 1., "{gaps:?}");
        }
        assert!(w.asked.windows(2).all(|p| p[1].secs >= p[0].secs) && w.asked.last().unwrap().secs > 500);
        assert_eq!(w.client.lease(), None);
    }
}

#[test]
fn a_lease_is_renewed_with_its_server() {
    let mut w = World::new(config(), 1);
    w.run(secs(100));
    let first = w.lease().clone();
    w.run(secs(1800));
    let q = w.asked.last().unwrap().clone();
    assert_eq!((q.kind, q.unicast, q.ciaddr, q.requested, q.server), (msg::REQUEST, true, ADDR, None, None));
    assert_eq!(q.at, first.renew.since(Instant::ZERO));
    assert_eq!(w.lease().end, first.renew + secs(3600));
    assert!(matches!(&w.rest[1].1, Action::Renewed(l) if l.addr == ADDR));
    assert_ne!(q.xid, w.asked[0].xid);
    // A day later it still has it.
    w.run(secs(86_400));
    assert_eq!(w.lease().addr, ADDR);
    assert!(!w.rest.iter().any(|r| matches!(r.1, Action::Lost(..))));
}

#[test]
fn a_silent_server_is_asked_again_then_anybody_then_the_address_is_lost() {
    let mut w = World::new(config(), 1);
    w.run(secs(10));
    let l = w.lease().clone();
    w.answers = false;
    let before = w.asked.len();
    w.run(secs(3700));
    let later = &w.asked[before..];
    let at = |i: Instant| i.since(Instant::ZERO);
    let renewing: Vec<_> = later.iter().filter(|q| q.unicast).map(|q| q.at).collect();
    let any: Vec<_> = later.iter().filter(|q| !q.unicast && q.kind == msg::REQUEST).map(|q| q.at).collect();
    assert_eq!((renewing[0], any[0]), (at(l.renew), at(l.rebind)));
    assert!(renewing.len() >= 4 && any.len() >= 2, "{renewing:?} {any:?}");
    assert!(renewing.windows(2).chain(any.windows(2)).all(|p| p[1] - p[0] >= secs(60)));
    assert_eq!(w.rest[1], (at(l.end), Action::Lost(ADDR, Why::Expired)));
    assert_eq!(later.last().unwrap().kind, msg::DISCOVER);
    w.answers = true;
    w.run(secs(200));
    assert_eq!(w.lease().addr, ADDR);
}

#[test]
fn refusals() {
    // In the beginning: all begins anew.
    let mut w = World::new(config(), 1);
    w.naks = true;
    w.run(secs(10));
    assert!(w.asked.len() > 4 && w.kinds().starts_with(&[msg::DISCOVER, msg::REQUEST, msg::DISCOVER]));
    w.naks = false;
    w.run(secs(10));
    assert_eq!(w.lease().addr, ADDR);
    // For a lease in use: it is lost at once.
    w.naks = true;
    w.run(secs(1810));
    assert!(w.rest.iter().any(|r| r.1 == Action::Lost(ADDR, Why::Refused)));
}

#[test]
fn a_server_that_offers_and_vanishes() {
    let mut w = World::new(config(), 1);
    w.run(Duration::ZERO);
    w.answers = false;
    while w.asked.is_empty() {
        w.run(Duration::from_millis(10));
    }
    let offer = w.reply(&w.asked[0].clone(), msg::OFFER, ADDR);
    w.give(&offer);
    w.run(secs(300));
    let kinds = w.kinds();
    assert_eq!(
        kinds[..6],
        [msg::DISCOVER, msg::REQUEST, msg::REQUEST, msg::REQUEST, msg::REQUEST, msg::DISCOVER]
    );
}

#[test]
fn an_address_in_use_is_declined_and_the_client_gives_up_in_the_end() {
    let mut w = World::new(Config { conflicts: 3, ..config() }, 1);
    for n in 1..=3 {
        let arps = w.arps.len();
        while w.arps.len() == arps {
            w.run(Duration::from_millis(50));
        }
        let now = w.now;
        let mut actions = Vec::new();
        let sha = [6; 6];
        w.client.arp(
            now,
            &arp::Packet { op: arp::REPLY, sha, spa: ADDR, tha: MAC, tpa: 0.into() },
            &mut |a| actions.push(a),
        );
        w.act(actions);
        let d = w.asked.last().unwrap().clone();
        assert_eq!((d.kind, d.requested, d.server), (msg::DECLINE, Some(ADDR), Some(SERVER)));
        assert_eq!(
            w.rest.iter().filter(|r| matches!(r.1, Action::Conflict(a, [6, ..]) if a == ADDR)).count(),
            n
        );
        if n < 3 {
            let at = w.client.deadline().since(now);
            assert_eq!(at, secs(10));
        }
    }
    assert_eq!(w.rest.last().unwrap().1, Action::GaveUp);
    let sent = w.asked.len();
    w.run(secs(10_000));
    assert_eq!(w.asked.len(), sent);
}

#[test]
fn without_probes_it_is_bound_at_once() {
    let mut w = World::new(Config { conflicts: 0, ..config() }, 1);
    w.run(secs(2));
    assert!(w.arps.is_empty());
    assert_eq!(w.lease().addr, ADDR);
}

#[test]
fn only_the_named_server_counts() {
    let mut w = World::new(Config { server: Some(Ipv4Addr::new(10, 0, 0, 2)), ..config() }, 1);
    w.run(secs(100));
    assert!(w.kinds().iter().all(|k| *k == msg::DISCOVER));
    let mut w = World::new(Config { server: Some(SERVER), ..config() }, 1);
    w.run(secs(5));
    assert_eq!(w.lease().server, SERVER);
}

#[test]
fn release_tells_the_server_once() {
    let mut w = World::new(config(), 1);
    assert_eq!(w.client.release(w.now), None);
    w = World::new(config(), 1);
    w.run(secs(5));
    let (to, bytes) = w.client.release(w.now).unwrap();
    let m = Message::parse(&bytes).unwrap();
    assert_eq!(
        (to, m.kind(), m.header.ciaddr, m.addr(opt::SERVER_ID)),
        (SERVER, Some(msg::RELEASE), ADDR, Some(SERVER))
    );
    assert_eq!((w.client.lease(), w.client.deadline()), (None, Instant::FAR));
    assert_eq!(w.client.release(w.now), None);
}

#[test]
fn everything_that_a_lease_may_hold() {
    let mut w = World::new(config(), 1)
        .option(opt::ROUTER, &[10, 0, 0, 1, 10, 0, 0, 2])
        .option(opt::DNS, &[10, 0, 0, 3, 0, 0, 0, 0, 8, 8, 8, 8])
        .option(opt::DOMAIN_NAME, b"example.org\0")
        .option(opt::HOST_NAME, b"box; rm -rf /")
        .option(opt::MTU, &1400u16.to_be_bytes())
        .option(opt::BROADCAST, &[10, 0, 0, 255])
        .option(opt::LEASE_TIME, &u32::MAX.to_be_bytes());
    w.run(secs(5));
    let l = w.lease();
    let default = |g| Route { to: 0.into(), prefix_len: 0, gateway: g };
    assert_eq!(l.routes, [default(SERVER), default(Ipv4Addr::new(10, 0, 0, 2))]);
    assert_eq!(l.dns, [Ipv4Addr::new(10, 0, 0, 3), Ipv4Addr::new(8, 8, 8, 8)]);
    assert_eq!((l.domain.as_deref(), l.host_name.as_deref(), l.mtu), (Some("example.org"), None, Some(1400)));
    assert_eq!((l.broadcast, l.end), (Some(Ipv4Addr::new(10, 0, 0, 255)), Instant::FAR));
    assert_eq!(w.client.deadline(), Instant::FAR);
    // RFC 3442: routes in the routers' place.
    let mut w = World::new(config(), 1)
        .option(opt::ROUTER, &[10, 0, 0, 1])
        .option(121, &[24, 192, 168, 7, 10, 0, 0, 9, 0, 10, 0, 0, 8, 9, 172, 255, 0, 0, 0, 0]);
    w.run(secs(5));
    let route = |to: [u8; 4], prefix_len, g: [u8; 4]| Route { to: to.into(), prefix_len, gateway: g.into() };
    let want = [
        route([192, 168, 7, 0], 24, [10, 0, 0, 9]),
        route([0; 4], 0, [10, 0, 0, 8]),
        route([172, 128, 0, 0], 9, [0; 4]),
    ];
    assert_eq!(w.lease().routes, want);
    // One that is malformed counts as none.
    let mut w = World::new(config(), 1).option(opt::ROUTER, &[10, 0, 0, 1]).option(121, &[33, 1, 2, 3]);
    w.run(secs(5));
    assert_eq!(w.lease().routes, [default(SERVER)]);
}

#[test]
fn times_that_make_no_sense_are_put_right() {
    let n = |s: u32| s.to_be_bytes();
    for (t, t1, t2) in [(100, 200, 300), (0, 0, 0), (100, 90, 50), (1, 1, 1), (u32::MAX - 1, 5, u32::MAX)] {
        let mut w = World::new(config(), 1)
            .option(opt::LEASE_TIME, &n(t))
            .option(opt::RENEWAL_TIME, &n(t1))
            .option(opt::REBINDING_TIME, &n(t2));
        w.run(secs(3));
        let l = w.lease();
        assert!(l.renew <= l.rebind && l.rebind <= l.end, "{l:?}");
        w.answers = false;
        let before = w.asked.len();
        w.run(secs(60));
        assert!(w.asked.len() - before < 20, "{t} {t1} {t2}: it does not babble");
    }
    // A mask with holes, or none: the class's.
    let mut w = World::new(config(), 1).option(opt::SUBNET_MASK, &[255, 0, 255, 0]);
    w.run(secs(3));
    assert_eq!(w.lease().prefix_len, 8);
}

#[test]
fn what_is_not_for_us_is_ignored() {
    let mut w = World::new(config(), 1);
    w.answers = false;
    while w.asked.is_empty() {
        w.run(Duration::from_millis(10));
    }
    let q = w.asked[0].clone();
    let offer = w.reply(&q, msg::OFFER, ADDR);
    let mut other_mac = offer.clone();
    other_mac[28] = 9;
    let other_xid = w.reply(&Asked { xid: q.xid ^ 1, ..q.clone() }, msg::OFFER, ADDR);
    let request = {
        let mut b = offer.clone();
        b[0] = op::REQUEST;
        b
    };
    let nothing = w.reply(&q, msg::OFFER, 0.into());
    let early = w.reply(&q, msg::ACK, ADDR);
    for b in [other_mac, other_xid, request, nothing, early, offer[..200].to_vec(), Vec::new()] {
        w.give(&b);
        assert_eq!(w.asked.len(), 1);
    }
    w.give(&offer);
    assert_eq!(w.asked.len(), 2);
}

proptest! {
    /// Whatever a server sends: no panic, an address only after an ACK, no storm of messages.
    #[test]
    fn any_server(seed: u64, steps in proptest::collection::vec((0u64..20_000, 0u8..8, any::<u32>(), proptest::collection::vec((any::<u8>(), proptest::collection::vec(any::<u8>(), 0..20)), 0..6), any::<bool>()), 0..60)) {
        let mut w = World::new(config(), seed);
        w.answers = false;
        for (ms, kind, addr, options, right) in steps {
            w.run(Duration::from_millis(ms));
            let Some(q) = w.asked.last().cloned() else { continue };
            w.options = options.into_iter().filter(|o| !matches!(o.0, 0 | 255 | 53 | 54)).collect();
            if right {
                w.options.push((opt::LEASE_TIME, addr.to_be_bytes().to_vec()));
            }
            let bytes = w.reply(&q, kind, addr.into());
            w.give(&bytes);
        }
        let time = w.now.since(Instant::ZERO).as_secs();
        prop_assert!((w.asked.len() as u64) < 130 + time);
        let bound = w.rest.iter().filter(|r| matches!(r.1, Action::Bound(_))).count();
        let lost = w.rest.iter().filter(|r| matches!(r.1, Action::Lost(..))).count();
        prop_assert_eq!(bound - lost, usize::from(w.client.lease().is_some()));
    }

    #[test]
    fn any_bytes(seed: u64, bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let mut w = World::new(config(), seed);
        w.answers = false;
        w.run(secs(2));
        w.give(&bytes);
        let mut b = bytes;
        if b.len() > 240 {
            b[0] = 2; b[1] = 1; b[2] = 6;
            b[4..8].copy_from_slice(&w.asked[0].xid.to_be_bytes());
            b[28..34].copy_from_slice(&MAC);
            b[236..240].copy_from_slice(&[99, 130, 83, 99]);
            w.give(&b);
        }
    }
}
