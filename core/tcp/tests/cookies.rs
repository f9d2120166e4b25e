//! SYN cookies: connections made of nothing but an ACK.

mod common;
use iopkt_base::{Duration, Instant, Keyed};
use iopkt_mbuf::{Pool, PoolConfig};
use iopkt_tcp::{Config, SegOut, Segment, Seq, State, Tcb, cookie, what};
use iopkt_wire::tcp::Flags;
use std::net::SocketAddr;

fn ends() -> (SocketAddr, SocketAddr) {
    ("10.0.0.2:80".parse().expect("address"), "10.0.0.1:4000".parse().expect("address"))
}

fn seg(s: &SegOut<'_>) -> Segment {
    Segment {
        seq: s.seq,
        ack: s.ack,
        flags: s.flags,
        window: s.window,
        options: s.options,
        ..Segment::default()
    }
}

/// Client, its ACK of the cookie, and what the server makes of it after `wait`.
fn shake(cfg: &Config, wait: Duration) -> (Tcb, Segment, Option<Tcb>) {
    let key = Keyed::new([9; 16]);
    let (l, r) = ends();
    let mut cache = Pool::new(PoolConfig::default()).cache(4);
    let mut now = Instant::from_secs_f(1000);
    let mut c = Tcb::connect(now, cfg, Seq(77));
    let mut out = Vec::new();
    c.output(now, &mut |s: &SegOut<'_>| {
        out.push(seg(s));
        true
    });
    let answer = cookie::syn_ack(&key, now, cfg, l, r, &out[0]);
    now += Duration::from_millis(20);
    let o = c.input(now, &seg(&answer), cache.alloc().expect("memory"));
    assert!(o.has(what::CONNECTED));
    out.clear();
    c.output(now, &mut |s: &SegOut<'_>| {
        out.push(seg(s));
        true
    });
    now += wait;
    let s = cookie::check(&key, now, cfg, l, r, &out[0]).map(|(t, o)| {
        assert!(o.has(what::CONNECTED));
        t
    });
    (c, out[0], s)
}

trait Secs {
    fn from_secs_f(s: u64) -> Instant;
}
impl Secs for Instant {
    fn from_secs_f(s: u64) -> Instant {
        Instant::from_millis(s * 1000)
    }
}

#[test]
fn a_cookie_makes_a_connection_with_the_options_agreed() {
    // [RFC4987 3.6b]
    // [RFC4987 3.6a]
    for (timestamps, sack) in [(true, true), (true, false), (false, true)] {
        let cfg = Config { timestamps, sack, ..Config::default() };
        let (mut c, _, s) = shake(&cfg, Duration::from_millis(10));
        let mut s = s.expect("good cookie");
        assert_eq!(s.state(), State::Established);
        let now = Instant::from_millis(1_000_040);
        let (i, j) = (c.info(now), s.info(now));
        assert_eq!((i.timestamps, i.sack, i.scale), (j.timestamps, j.sack, (j.scale.1, j.scale.0)));
        // Without timestamps there is no room for SACK and scaling.
        assert_eq!((j.timestamps, j.sack), (timestamps, sack && timestamps));
        assert!((1400..=1460).contains(&j.snd_mss));
        // Data flows both ways, in spite of the bits in the first timestamp.
        let mut cache = Pool::new(PoolConfig::default()).cache(4);
        for (x, y) in [(0, 1), (1, 0)] {
            let t = [&mut c, &mut s];
            let [a, b] = if x < y {
                t
            } else {
                let [p, q] = t;
                [q, p]
            };
            a.write(b"hello").expect("room");
            let mut out = Vec::new();
            a.output(now, &mut |s: &SegOut<'_>| {
                out.push((seg(s), [s.payload.0, s.payload.1].concat()));
                true
            });
            for (s, p) in out {
                b.input(now, &s, cache.copy_of(&p).expect("memory"));
            }
            assert_eq!(b.readable(), 5);
        }
    }
}

#[test]
fn cookies_age_and_cannot_be_guessed() {
    // [RFC4987 3.6c]
    // [RFC4987 3.6a]
    let cfg = Config::default();
    assert!(shake(&cfg, Duration::from_secs(60)).2.is_some());
    assert!(shake(&cfg, Duration::from_secs(200)).2.is_none());
    let (_, ack, _) = shake(&cfg, Duration::ZERO);
    let (l, r) = ends();
    let now = Instant::from_millis(1_000_030);
    let key = Keyed::new([9; 16]);
    let try_one = |k: &Keyed, l, r, s: &Segment| cookie::check(k, now, &cfg, l, r, s).is_some();
    assert!(try_one(&key, l, r, &ack));
    assert!(!try_one(&Keyed::new([8; 16]), l, r, &ack));
    assert!(!try_one(&key, r, l, &ack));
    assert!(!try_one(&key, l, r, &Segment { ack: ack.ack + 1, ..ack }));
    assert!(!try_one(&key, l, r, &Segment { seq: ack.seq + 1, ..ack }));
    assert!(!try_one(&key, l, r, &Segment { flags: Flags::ACK | Flags::RST, ..ack }));
}
