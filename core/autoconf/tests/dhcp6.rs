//! The DHCPv6 client against a server made of a few lines, on a virtual clock.

use iopkt_autoconf::dhcp6::{Action6, Client6, Config6, Lease6};
use iopkt_base::{Duration, Instant, Rng};
use proptest::prelude::*;
use std::net::Ipv6Addr;

const DUID: [u8; 10] = [0, 3, 0, 1, 2, 0, 0, 0, 0, 1];

fn a(s: &str) -> Ipv6Addr {
    s.parse().unwrap()
}

fn config(address: bool, prefix: Option<u8>) -> Config6 {
    Config6 {
        duid: DUID.to_vec(),
        iaid: 7,
        addresses: address.into(),
        prefixes: prefix.into_iter().collect(),
        rapid: false,
    }
}

fn put(v: &mut Vec<u8>, code: u16, b: &[u8]) {
    v.extend(code.to_be_bytes());
    v.extend((b.len() as u16).to_be_bytes());
    v.extend(b);
}

/// An option of a message, if it has it.
fn find(mut b: &[u8], code: u16) -> Option<&[u8]> {
    while b.len() >= 4 {
        let n = usize::from(u16::from_be_bytes([b[2], b[3]]));
        if u16::from_be_bytes([b[0], b[1]]) == code {
            return Some(&b[4..4 + n]);
        }
        b = &b[4 + n..];
    }
    None
}

/// A server's message of this type to a client's.
struct Say {
    ty: u8,
    server: u8,
    preference: Option<u8>,
    address: Option<(&'static str, u32, u32)>,
    prefix: Option<(&'static str, u8)>,
    times: (u32, u32),
    status: Option<u16>,
    rest: Vec<u8>,
}

impl Say {
    fn new(ty: u8) -> Say {
        Say {
            ty,
            server: 1,
            preference: None,
            address: Some(("2001:db8::100", 300, 600)),
            prefix: None,
            times: (0, 0),
            status: None,
            rest: Vec::new(),
        }
    }

    fn to(&self, m: &[u8]) -> Vec<u8> {
        let mut v = vec![self.ty, m[1], m[2], m[3]];
        put(&mut v, 1, find(&m[4..], 1).unwrap());
        put(&mut v, 2, &[0, 3, 0, 1, self.server]);
        if let Some(p) = self.preference {
            put(&mut v, 7, &[p]);
        }
        let head = || [7u32.to_be_bytes(), self.times.0.to_be_bytes(), self.times.1.to_be_bytes()].concat();
        if let Some((addr, preferred, valid)) = self.address {
            let mut ia = head();
            put(
                &mut ia,
                5,
                &[&a(addr).octets()[..], &preferred.to_be_bytes(), &valid.to_be_bytes()].concat(),
            );
            put(&mut v, 3, &ia);
        }
        if let Some((addr, plen)) = self.prefix {
            let mut ia = head();
            let life = [300u32.to_be_bytes(), 600u32.to_be_bytes()].concat();
            put(&mut ia, 26, &[&life[..], &[plen], &a(addr).octets()].concat());
            put(&mut v, 25, &ia);
        }
        if let Some(s) = self.status {
            put(&mut v, 13, &s.to_be_bytes());
        }
        v.extend(&self.rest);
        v
    }
}

struct World {
    c: Client6,
    now: Instant,
    /// What was done besides sending.
    done: Vec<Action6>,
}

impl World {
    fn new(cfg: Config6) -> World {
        let now = Instant::from_millis(1000);
        World { c: Client6::new(cfg, Rng::new(7), now), now, done: Vec::new() }
    }

    /// The next message that is sent within so many seconds.
    fn sent(&mut self, secs: u64) -> Option<Vec<u8>> {
        let end = self.now + Duration::from_secs(secs);
        loop {
            while let Some(x) = self.c.next() {
                match x {
                    Action6::Send(m) => return Some(m),
                    x => self.done.push(x),
                }
            }
            let next = self.c.deadline();
            if next > end {
                self.now = end;
                return None;
            }
            self.now = self.now.max(next);
            self.c.tick(self.now);
        }
    }

    #[track_caller]
    fn asks(&mut self, secs: u64, ty: u8) -> Vec<u8> {
        let m = self.sent(secs).expect("a message");
        assert_eq!(m[0], ty);
        assert_eq!(find(&m[4..], 1), Some(&DUID[..]));
        m
    }

    fn say(&mut self, m: &[u8]) {
        self.c.input(self.now, m);
        while self.c.deadline() <= self.now {
            self.c.tick(self.now);
        }
    }

    fn take(&mut self) -> Vec<Action6> {
        assert_eq!(self.sent(0), None);
        std::mem::take(&mut self.done)
    }

    /// Up to the lease.
    fn bound(cfg: Config6) -> (World, Lease6) {
        let mut w = World::new(cfg);
        let m = w.asks(2, 1);
        w.say(&Say { preference: Some(255), ..Say::new(2) }.to(&m));
        let m = w.asks(0, 3);
        w.say(&Say::new(7).to(&m));
        let Some(Action6::Bound(l)) = w.take().pop() else { panic!("no lease") };
        (w, l)
    }
}

#[test]
fn solicit_advertise_request_reply_renew_rebind_lost() {
    let (mut w, l) = World::bound(config(true, None));
    assert_eq!((l.addrs[0].addr, l.addrs[0].plen, l.addrs[0].valid), (a("2001:db8::100"), 128, 600));
    assert_eq!(w.c.lease(), Some(&l));
    // T1 is half of the preferred lifetime, T2 four fifths.
    assert_eq!(w.sent(149), None);
    let m = w.asks(2, 5);
    assert_eq!(find(&m[4..], 2), Some(&[0, 3, 0, 1, 1][..]));
    assert!(find(&m[4..], 3).unwrap().windows(16).any(|x| x == a("2001:db8::100").octets()));
    w.say(&Say::new(7).to(&m));
    assert!(matches!(w.take().as_slice(), [Action6::Bound(_)]));
    // Nobody answers any more.
    let mut kinds = Vec::new();
    while let Some(m) = w.sent(1000) {
        kinds.push(m[0]);
        if m[0] == 1 {
            break;
        }
    }
    assert!(
        kinds.contains(&5) && kinds.contains(&6) && kinds.is_sorted_by_key(|k| if *k == 1 { 9 } else { *k }),
        "{kinds:?}"
    );
    assert!(w.done.iter().any(|d| matches!(d, Action6::Lost(x) if x.addrs[0].addr == a("2001:db8::100"))));
}

#[test]
fn the_best_server_is_taken_and_only_it_is_listened_to() {
    let mut w = World::new(config(true, None));
    let m = w.asks(2, 1);
    w.say(&Say { server: 1, preference: Some(5), ..Say::new(2) }.to(&m));
    w.say(&Say { server: 2, preference: Some(9), ..Say::new(2) }.to(&m));
    w.say(&Say { server: 3, preference: Some(200), address: None, ..Say::new(2) }.to(&m));
    w.say(&Say { server: 4, preference: Some(201), status: Some(2), ..Say::new(2) }.to(&m));
    let m = w.asks(2, 3);
    assert_eq!(find(&m[4..], 2), Some(&[0, 3, 0, 1, 2][..]));
    let mut other = Say::new(7).to(&m);
    w.say(&other);
    other[1] ^= 1;
    w.say(&other);
    assert!(w.take().is_empty(), "another server, another transaction");
    w.say(&Say { server: 2, ..Say::new(7) }.to(&m));
    assert_eq!(w.take().len(), 1);
}

#[test]
fn questions_get_rarer_and_a_dead_server_is_given_up() {
    let mut w = World::new(config(true, None));
    let mut at = Vec::new();
    for _ in 0..8 {
        w.asks(4000, 1);
        at.push(w.now);
    }
    for p in at.windows(3) {
        let (x, y) = ((p[1] - p[0]).as_millis() as f64, (p[2] - p[1]).as_millis() as f64);
        assert!((1.6..2.5).contains(&(y / x)), "{at:?}");
    }
    let m = w.asks(4000, 1);
    w.say(&Say::new(2).to(&m));
    let mut n = 0;
    while w.sent(4000).expect("a message")[0] == 3 {
        n += 1;
    }
    assert_eq!(n, 10);
}

#[test]
fn prefixes_rapid_commit_and_names() {
    let mut cfg = config(true, Some(56));
    cfg.rapid = true;
    let mut w = World::new(cfg);
    let m = w.asks(2, 1);
    assert!(find(&m[4..], 14).is_some());
    assert_eq!(find(find(&m[4..], 25).map(|ia| &ia[12..]).unwrap(), 26).unwrap()[8], 56);
    let mut rest = Vec::new();
    put(&mut rest, 23, &a("2001:db8::53").octets());
    put(&mut rest, 24, b"\x07example\x03com\0");
    w.say(&Say { prefix: Some(("2001:db8:5500::", 56)), rest: rest.clone(), ..Say::new(7) }.to(&m));
    assert!(w.take().is_empty(), "not said to be one");
    put(&mut rest, 14, &[]);
    w.say(&Say { prefix: Some(("2001:db8:5500::", 56)), rest, ..Say::new(7) }.to(&m));
    let Some(Action6::Bound(l)) = w.take().pop() else { panic!() };
    assert_eq!((l.prefixes[0].addr, l.prefixes[0].plen), (a("2001:db8:5500::"), 56));
    assert_eq!((l.dns, l.domains), (vec![a("2001:db8::53")], vec!["example.com".to_string()]));
    // Given back.
    w.c.release(w.now);
    let m = w.asks(0, 8);
    assert!(find(&m[4..], 25).is_some());
    w.say(&Say { address: None, ..Say::new(7) }.to(&m));
    assert!(w.c.is_idle());
}

#[test]
fn names_alone() {
    let mut w = World::new(config(false, None));
    let m = w.asks(2, 11);
    assert!(find(&m[4..], 3).is_none());
    let mut rest = Vec::new();
    put(&mut rest, 23, &a("2001:db8::53").octets());
    put(&mut rest, 32, &700u32.to_be_bytes());
    w.say(&Say { address: None, rest, ..Say::new(7) }.to(&m));
    assert!(matches!(w.take().as_slice(), [Action6::Names(l)] if l.dns == [a("2001:db8::53")]));
    assert_eq!(w.sent(699), None);
    w.asks(2, 11);
}

#[test]
fn a_duplicate_is_declined_and_asked_for_again() {
    let (mut w, _) = World::bound(config(true, None));
    w.c.decline(w.now, &[a("2001:db8::99")]);
    assert!(w.take().is_empty(), "that is none of ours");
    w.c.decline(w.now, &[a("2001:db8::100")]);
    let m = w.asks(0, 9);
    assert!(w.c.lease().is_none());
    w.say(&Say { address: None, ..Say::new(7) }.to(&m));
    assert!(matches!(w.take().as_slice(), [Action6::Lost(_)]));
    w.asks(2, 1);
}

/// An association: kind (3 or 25), number, status, items with length and lifetime.
type Ia<'a> = (u16, u32, u16, &'a [(&'a str, u8, u32)]);

/// A reply with associations as given.
fn reply(ty: u8, m: &[u8], ias: &[Ia<'_>]) -> Vec<u8> {
    let mut v = vec![ty, m[1], m[2], m[3]];
    put(&mut v, 1, &DUID);
    put(&mut v, 2, &[0, 3, 0, 1, 1]);
    for (code, iaid, status, items) in ias {
        let mut ia = [&iaid.to_be_bytes()[..], &[0; 8]].concat();
        for (addr, plen, valid) in *items {
            let life = [(valid / 2).to_be_bytes(), valid.to_be_bytes()].concat();
            if *code == 3 {
                put(&mut ia, 5, &[&a(addr).octets()[..], &life].concat());
            } else {
                put(&mut ia, 26, &[&life[..], &[*plen], &a(addr).octets()].concat());
            }
        }
        if *status != 0 {
            put(&mut ia, 13, &status.to_be_bytes());
        }
        put(&mut v, *code, &ia);
    }
    v
}

/// Numbers of the associations of a kind in a message.
fn numbers(mut b: &[u8], code: u16) -> Vec<u32> {
    let mut out = Vec::new();
    while b.len() >= 4 {
        let n = usize::from(u16::from_be_bytes([b[2], b[3]]));
        if u16::from_be_bytes([b[0], b[1]]) == code {
            out.push(u32::from_be_bytes([b[4], b[5], b[6], b[7]]));
        }
        b = &b[4 + n..];
    }
    out
}

fn several() -> Config6 {
    Config6 { addresses: 2, prefixes: vec![56, 60], ..config(true, None) }
}

#[test]
fn several_associations_and_what_is_missing_is_asked_for_again() {
    let mut w = World::new(several());
    let m = w.asks(2, 1);
    assert_eq!((numbers(&m[4..], 3), numbers(&m[4..], 25)), (vec![7, 8], vec![7, 8]));
    let some: &[Ia<'_>] = &[
        (3, 7, 0, &[("2001:db8::7", 128, 1000)]),
        (3, 8, 2, &[]),
        (25, 7, 0, &[("2001:db8:5500::", 56, 1000)]),
        (25, 99, 0, &[("2001:db8:6600::", 56, 1000)]),
    ];
    w.say(&reply(2, &m, some));
    let m = w.asks(2, 3);
    w.say(&reply(7, &m, some));
    let Some(Action6::Bound(l)) = w.take().pop() else { panic!("no lease") };
    assert_eq!((l.addrs.len(), l.prefixes.len()), (1, 1), "an association that is not ours is none");
    // The renewal asks for all four; the second address comes now, the first one is not mentioned and stays.
    let m = w.asks(300, 5);
    assert_eq!((numbers(&m[4..], 3), numbers(&m[4..], 25)), (vec![7, 8], vec![7, 8]));
    w.say(&reply(
        7,
        &m,
        &[(3, 8, 0, &[("2001:db8::8", 128, 2000)]), (25, 7, 0, &[("2001:db8:5500::", 56, 2000)])],
    ));
    let Some(Action6::Bound(l)) = w.take().pop() else { panic!("no lease") };
    assert_eq!((l.addrs.len(), l.prefixes.len()), (2, 1));
    // Each ends by itself.
    while !w.done.iter().any(|d| matches!(d, Action6::Bound(l) if l.addrs.len() == 1)) {
        w.sent(100);
        assert!(w.now < Instant::from_millis(1_500_000), "{:?}", w.done);
    }
    assert_eq!(w.c.lease().map(|l| l.addrs[0].addr), Some(a("2001:db8::8")));
}

#[test]
fn a_server_that_forgot_is_asked_anew_and_one_that_takes_back_ends_it() {
    let (mut w, _) = World::bound(config(true, None));
    let m = w.asks(200, 5);
    w.say(&reply(7, &m, &[(3, 7, 3, &[])]));
    let m = w.asks(0, 3);
    assert!(find(&m[4..], 3).unwrap().windows(16).any(|x| x == a("2001:db8::100").octets()));
    assert!(w.c.lease().is_some(), "it is ours until it ends");
    w.say(&reply(7, &m, &[(3, 7, 0, &[("2001:db8::100", 128, 600)])]));
    assert!(matches!(w.take().as_slice(), [Action6::Bound(_)]));
    // It goes on knowing nothing: asked again and again, and never taken for an answer.
    let m = w.asks(400, 5);
    w.say(&reply(7, &m, &[(3, 7, 3, &[])]));
    let m = w.asks(0, 3);
    w.say(&reply(7, &m, &[(3, 7, 3, &[])]));
    assert!(w.take().is_empty());
    let m = w.asks(20, 3);
    // The cable goes meanwhile: what is held is asked about, not forgotten.
    w.c.link_up(w.now);
    let _ = m;
    let m = w.asks(2, 4);
    w.say(&reply(7, &m, &[]));
    assert!(w.c.lease().is_some());
    let (mut w, _) = World::bound(config(true, None));
    // Refused for now: the same again, in its time.
    let m = w.asks(400, 5);
    let mut fail = reply(7, &m, &[]);
    put(&mut fail, 13, &[0, 1]);
    w.say(&fail);
    let m = w.asks(20, 5);
    w.say(&reply(7, &m, &[(3, 7, 0, &[("2001:db8::100", 128, 0)])]));
    assert!(matches!(w.take().as_slice(), [Action6::Lost(_)]));
    w.asks(2, 1);
}

#[test]
fn what_is_left_when_a_server_takes_one_back_is_renewed_again() {
    let mut w = World::new(several());
    let m = w.asks(2, 1);
    let both: &[Ia<'_>] =
        &[(3, 7, 0, &[("2001:db8::7", 128, 1000)]), (3, 8, 0, &[("2001:db8::8", 128, 1000)])];
    w.say(&reply(2, &m, both));
    let m = w.asks(2, 3);
    w.say(&reply(7, &m, both));
    assert_eq!(w.take().len(), 1);
    let m = w.asks(300, 5);
    w.say(&reply(7, &m, &[(3, 7, 0, &[("2001:db8::7", 128, 0)])]));
    assert!(matches!(w.take().as_slice(), [Action6::Bound(l)] if l.addrs.len() == 1));
    let m = w.asks(60, 5);
    w.say(&reply(7, &m, &[(3, 8, 0, &[("2001:db8::8", 128, 1000)])]));
    assert!(matches!(w.take().as_slice(), [Action6::Bound(l)] if l.addrs[0].addr == a("2001:db8::8")));
    w.asks(300, 5);
}

#[test]
fn the_link_comes_back() {
    // The same link.
    let (mut w, _) = World::bound(config(true, None));
    w.c.link_up(w.now);
    let m = w.asks(2, 4);
    assert!(find(&m[4..], 2).is_none() && find(&m[4..], 6).is_none(), "to any server, for nothing else");
    w.say(&reply(7, &m, &[]));
    assert!(w.take().is_empty() && w.c.lease().is_some());
    // Nobody answers: it holds, and is asked for ten seconds.
    w.c.link_up(w.now);
    let mut n = 0;
    while let Some(m) = w.sent(11) {
        assert_eq!(m[0], 4);
        n += 1;
    }
    assert!((3..=5).contains(&n) && w.c.lease().is_some(), "{n}");
    // Another one.
    w.c.link_up(w.now);
    let m = w.asks(2, 4);
    let mut no = reply(7, &m, &[]);
    put(&mut no, 13, &[0, 4]);
    w.say(&no);
    assert!(matches!(w.take().as_slice(), [Action6::Lost(_)]));
    w.asks(2, 1);
    // With a prefix it is a Rebind.
    let mut w = World::new(config(false, Some(56)));
    let m = w.asks(2, 1);
    w.say(&reply(2, &m, &[(25, 7, 0, &[("2001:db8:5500::", 56, 1000)])]));
    let m = w.asks(2, 3);
    w.say(&reply(7, &m, &[(25, 7, 0, &[("2001:db8:5500::", 56, 1000)])]));
    assert_eq!(w.take().len(), 1);
    w.c.link_up(w.now);
    w.asks(2, 6);
    // Names alone are asked for again.
    let mut w = World::new(config(false, None));
    let m = w.asks(2, 11);
    w.say(&reply(7, &m, &[]));
    assert_eq!(w.take().len(), 1);
    w.c.link_up(w.now);
    w.asks(2, 11);
}

#[test]
fn limits_of_servers_hold_and_odd_ones_do_not() {
    for (said, most) in [(60u32, 66), (59, 3960), (86_401, 3960)] {
        let mut w = World::new(config(true, None));
        let m = w.asks(2, 1);
        // Nothing is offered, but what it says of the times counts (18.2.9).
        let mut v = reply(2, &m, &[]);
        put(&mut v, 82, &said.to_be_bytes());
        w.say(&v);
        let mut last = w.now;
        for _ in 0..14 {
            w.asks(4000, 1);
            let wait = (w.now - last).as_secs();
            assert!(wait <= most, "{said}: {wait}");
            last = w.now;
        }
        w.asks(4000, 1);
        assert!((w.now - last).as_secs() >= most / 2, "{said}");
    }
    // For ever is for ever.
    let mut w = World::new(config(true, None));
    let m = w.asks(2, 1);
    w.say(&Say { preference: Some(255), ..Say::new(2) }.to(&m));
    let m = w.asks(0, 3);
    let forever = Say { address: Some(("2001:db8::100", u32::MAX, u32::MAX)), ..Say::new(7) };
    w.say(&forever.to(&m));
    assert_eq!(w.take().len(), 1);
    assert_eq!(w.c.deadline(), Instant::FAR);
    // A message that orders to ask again is none that we take (section 20), nor one with T1 behind T2.
    let mut x = Say::new(10).to(&m);
    x[0] = 10;
    w.say(&x);
    assert_eq!((w.c.deadline(), w.take().len()), (Instant::FAR, 0));
}

#[test]
fn one_of_two_addresses_is_declined() {
    let cfg = Config6 { addresses: 2, ..config(true, None) };
    let mut w = World::new(cfg);
    let two: &[Ia<'_>] =
        &[(3, 7, 0, &[("2001:db8::7", 128, 1000)]), (3, 8, 0, &[("2001:db8::8", 128, 1000)])];
    let m = w.asks(2, 1);
    w.say(&reply(2, &m, two));
    let m = w.asks(2, 3);
    w.say(&reply(7, &m, two));
    w.take();
    w.c.decline(w.now, &[a("2001:db8::8")]);
    let m = w.asks(0, 9);
    assert_eq!(numbers(&m[4..], 3), [8]);
    assert!(matches!(w.take().as_slice(), [Action6::Bound(l)] if l.addrs.len() == 1));
    w.say(&reply(7, &m, &[]));
    // Another one in its place.
    let m = w.asks(0, 5);
    assert_eq!(numbers(&m[4..], 3), [7, 8]);
    w.say(&reply(7, &m, &[(3, 8, 0, &[("2001:db8::9", 128, 1000)])]));
    assert!(matches!(w.take().as_slice(), [Action6::Bound(l)] if l.addrs.len() == 2));
}

proptest! {
    #[test]
    fn any_bytes_are_safe(b in proptest::collection::vec(any::<u8>(), 0..300), ty in 0u8..12) {
        let mut w = World::new(config(true, Some(64)));
        let m = w.asks(2, 1);
        let mut x = vec![ty, m[1], m[2], m[3]];
        x.extend(&b);
        w.c.input(w.now, &x);
        w.c.input(w.now, &b);
    }
}
