//! TCP Fast Open (RFC 7413): data in the SYN, and what happens when somebody does not like it.

mod common;

use common::*;
use iopkt_base::{Duration, Errno};
use iopkt_tcp::{Config, FastOpen, FastOpenFail, Learned, State};
use iopkt_wire::tcp::Flags;

fn cookie() -> FastOpen {
    FastOpen::cookie(&[1, 2, 3, 4, 5, 6, 7, 8], false).unwrap()
}

/// A client that uses `with`, a server whose cookie is `theirs`; the client has written `data`.
fn open(with: FastOpen, theirs: Option<FastOpen>, data: &[u8]) -> Net {
    let client = Config { fast_open: Some(with), fast_open_mss: 1460, ..Config::default() };
    let mut n = Net::new(1, client, Config::default());
    n.ends[1].listening = true;
    n.ends[1].cookie = theirs;
    n.prepare(0);
    n.send(0, data);
    n
}

fn fail(n: &mut Net) -> FastOpenFail {
    let now = n.now;
    n.tcb(0).info(now).fast_open.1
}

#[test]
fn a_cookie_is_asked_for_and_learnt() {
    // [RFC7413 4.1.3a] [RFC7413 4.2.1d] [RFC7413 4.2.2b]
    let mut n = open(FastOpen::request(false), Some(cookie()), b"hello");
    let syn = n.seen[0].clone();
    assert_eq!((syn.h.options.fast_open, syn.len), (Some(FastOpen::request(false)), 0));
    assert!(n.run_until(Duration::from_secs(5), |n| n.ends[1].got == b"hello"));
    let l = n.tcb(0).fast_open_learned().unwrap();
    assert_eq!(l, Learned { cookie: Some(cookie()), mss: 1460, dropped: false, refused: None });
    assert_eq!(n.tcb(0).fast_open_learned(), None, "told once");
    assert_eq!(fail(&mut n), FastOpenFail::NoCookie);
    // The SYN-ACK acknowledges the SYN alone.
    let syn_ack = n.seen.iter().find(|s| s.from == 1).unwrap();
    assert_eq!(syn_ack.h.options.fast_open, Some(cookie()));
}

#[test]
fn a_peer_that_knows_nothing_of_it_refuses_the_request() {
    let mut n = open(FastOpen::request(false), None, b"hello");
    assert!(n.run_until(Duration::from_secs(5), |n| n.ends[1].got == b"hello"));
    let l = n.tcb(0).fast_open_learned().unwrap();
    assert_eq!((l.cookie, l.dropped, l.refused), (None, false, Some(FastOpen::request(false))));
}

#[test]
fn data_arrives_with_the_syn_and_the_answer_before_the_handshake_ends() {
    // [RFC7413 4.2.1a] [RFC7413 4.2.1e] [RFC7413 4.2.2c] [RFC7413 4.2.2d]
    let mut n = open(cookie(), Some(cookie()), b"GET /");
    assert_eq!((n.seen[0].h.flags, n.seen[0].len), (Flags::SYN, 5));
    assert!(n.run_until(Duration::from_secs(5), |n| n.ends[1].got == b"GET /"));
    assert_eq!(n.state(1), State::SynReceived);
    assert!(n.tcb(1).is_fast_child());
    // The answer goes at once: it is there one round trip after the SYN.
    let start = n.seen[0].at;
    n.send(1, &pattern(3000, 1));
    assert!(n.run_until(Duration::from_secs(5), |n| n.ends[0].got.len() == 3000));
    assert_eq!(n.now.since(start), Duration::from_millis(20));
    n.run(Duration::from_secs(1));
    assert!(n.established());
    assert_eq!(n.count(0, |s| s.len > 0), 1, "the data went once");
    assert_eq!(n.count(1, |s| s.len > 0), 3);
    let now = n.now;
    assert_eq!(n.tcb(0).info(now).fast_open, (true, FastOpenFail::None));
    assert_eq!(n.tcb(1).info(now).fast_open, (true, FastOpenFail::None));
    assert_eq!(n.tcb(0).unsent_or_unacked(), 0);
    // The first sample is of the SYN-ACK, not of the data behind it.
    assert_eq!(n.tcb(1).info(now).rtt.2, Duration::from_millis(20));
    n.check_prefixes();
}

#[test]
fn a_syn_without_data_but_with_the_cookie_is_enough() {
    // [RFC7413 4.2.2c]
    let mut n = open(cookie(), Some(cookie()), b"");
    n.run_until(Duration::from_secs(1), |n| n.ends[1].tcb.is_some());
    assert!(n.tcb(1).is_fast_child());
    n.send(1, b"banner");
    assert!(n.run_until(Duration::from_secs(1), |n| n.ends[0].got == b"banner"));
}

#[test]
fn more_than_the_syn_holds_follows_the_handshake() {
    // [RFC7413 4.2.1a]
    let data = pattern(20_000, 2);
    let mut n = open(cookie(), Some(cookie()), &data);
    assert_eq!(n.seen[0].len, 1420, "40 bytes are left for options");
    assert!(n.run_until(Duration::from_secs(5), |n| n.ends[1].got.len() == 20_000));
    assert_eq!(n.ends[1].got, data);
    assert_eq!(n.tcb(0).stats().retransmits, 0);
}

#[test]
fn without_knowledge_of_the_mss_the_syn_is_small() {
    let client = Config { fast_open: Some(cookie()), ..Config::default() };
    let mut n = Net::new(1, client, Config::default());
    n.ends[1].listening = true;
    n.prepare(0);
    n.send(0, &pattern(3000, 3));
    assert_eq!(n.seen[0].len, 536 - 40);
}

#[test]
fn an_old_cookie_costs_a_round_trip_and_brings_a_new_one() {
    // [RFC7413 4.2.2b] [RFC7413 4.2.1e]
    let old = FastOpen::cookie(&[9; 8], false).unwrap();
    let mut n = open(old, Some(cookie()), b"once");
    assert!(n.run_until(Duration::from_secs(5), |n| n.ends[1].got == b"once"));
    assert_eq!(fail(&mut n), FastOpenFail::NotAcked);
    let l = n.tcb(0).fast_open_learned().unwrap();
    assert_eq!((l.cookie, l.dropped), (Some(cookie()), false));
    assert_eq!(n.count(0, |s| s.len > 0), 2, "in the SYN and again");
}

#[test]
fn a_lost_syn_with_data_is_followed_by_a_plain_one() {
    // [RFC7413 4.1.3b] [RFC7413 4.2.1c]
    let mut n = open(cookie(), Some(cookie()), b"again");
    let dropped = n.seen.len();
    n.links[0] = Link::new(clean(), 5); // forgets what is under way
    assert!(n.run_until(Duration::from_secs(5), |n| n.ends[1].got == b"again"));
    let second = n.seen[dropped..].iter().find(|s| s.from == 0).unwrap();
    assert_eq!((second.h.flags, second.len, second.h.options.fast_open), (Flags::SYN, 0, None));
    assert_eq!(fail(&mut n), FastOpenFail::SynLost);
    assert!(n.tcb(0).fast_open_learned().unwrap().dropped);
}

#[test]
fn a_lost_syn_ack_repeats_neither_the_delivery_nor_the_answer() {
    // [RFC7413 4.2.2e]
    let mut n = open(cookie(), Some(cookie()), b"one");
    let mut lost = 0;
    n.filter = Some(Box::new(move |from, _, _| {
        lost += usize::from(from == 1);
        from == 1 && lost <= 2
    }));
    assert!(n.run_until(Duration::from_secs(1), |n| n.ends[1].got == b"one"));
    n.send(1, b"answer");
    assert!(n.run_until(Duration::from_secs(20), |n| n.established()));
    assert!(n.run_until(Duration::from_secs(20), |n| n.ends[0].got == b"answer"));
    n.run(Duration::from_secs(5));
    n.check_prefixes();
    // Before the handshake ended only SYN-ACKs were repeated.
    let end = n.seen.iter().position(|s| s.from == 0 && !s.h.flags.has(Flags::SYN)).unwrap();
    let early = n.seen[..end].iter().filter(|s| s.from == 1 && s.len > 0).count();
    assert_eq!(early, 1);
}

#[test]
fn a_fin_waits_for_the_end_of_the_handshake() {
    let mut n = open(cookie(), Some(cookie()), b"bye");
    assert!(n.run_until(Duration::from_secs(1), |n| n.ends[1].got == b"bye"));
    n.send(1, b"so long");
    n.shutdown(1);
    assert_eq!(n.state(1), State::SynReceived);
    assert!(n.run_until(Duration::from_secs(1), |n| n.ends[0].got == b"so long"));
    assert!(n.run_until(Duration::from_secs(1), |n| n.state(0) == State::CloseWait));
    n.shutdown(0);
    assert!(n.run_until(Duration::from_secs(1), |n| n.state(1) == State::TimeWait));
}

#[test]
fn a_client_that_vanishes_is_told_to_who_holds_the_connection() {
    let mut n = open(cookie(), Some(cookie()), b"x");
    assert!(n.run_until(Duration::from_secs(1), |n| n.ends[1].got == b"x"));
    n.filter = Some(Box::new(|_, _, _| true));
    n.ends[0].tcb = None;
    n.links[1] = Link::new(clean(), 6);
    assert!(n.run_until(Duration::from_secs(600), |n| n.ends[1].error.is_some()));
    assert_eq!(n.ends[1].error, Some(Errno::ETIMEDOUT));
}

#[test]
fn a_held_syn_goes_with_the_first_write() {
    let client = Config { fast_open: Some(cookie()), fast_open_mss: 1460, ..Config::default() };
    let mut n = Net::new(1, client, Config::default());
    n.ends[1].listening = true;
    n.ends[1].cookie = Some(cookie());
    n.prepare(0);
    assert!(n.tcb(0).hold_syn());
    n.output(0);
    n.run(Duration::from_secs(30));
    assert!(n.seen.is_empty() && !n.tcb(0).wants_output());
    n.tcb(0).release_syn();
    n.send(0, b"now");
    assert_eq!(n.seen[0].len, 3);
    assert!(n.run_until(Duration::from_secs(1), |n| n.ends[1].got == b"now"));
    // Without a cookie there is nothing to wait for.
    let mut plain = Net::new(
        1,
        Config { fast_open: Some(FastOpen::request(true)), ..Config::default() },
        Config::default(),
    );
    plain.prepare(0);
    assert!(!plain.tcb(0).hold_syn());
}

#[test]
fn text_in_a_syn_ack_is_taken() {
    // [RFC9293 3.10.7.3a]
    let mut n = Net::new(1, plain(), plain());
    n.connect(0);
    let syn = n.seen[0].h;
    let body = *b"early";
    let mut s = raw(iopkt_tcp::Seq(5000), iopkt_tcp::Seq(syn.seq + 1), Flags::SYN | Flags::ACK | Flags::FIN);
    s.payload = (&body, &[]);
    n.inject(1, &s);
    n.run(Duration::from_millis(15));
    assert_eq!(n.ends[0].got, b"early");
    assert_eq!(n.state(0), State::CloseWait);
    assert_eq!(n.seen.last().unwrap().h.ack, 5000 + 1 + 5 + 1);
}

#[test]
fn lossy_paths_deliver_exactly_once() {
    for seed in 0..40 {
        let client = Config { fast_open: Some(cookie()), fast_open_mss: 1460, ..Config::default() };
        let mut n = Net::new(seed, client, Config::default());
        n.set_links(bad(0.2));
        n.ends[1].listening = true;
        n.ends[1].cookie = Some(cookie());
        n.prepare(0);
        n.send(0, &pattern(5000, seed));
        assert!(n.run_until(Duration::from_secs(300), |n| n.ends[1].tcb.is_some()));
        n.send(1, &pattern(4000, seed + 1));
        assert!(n.run_until(Duration::from_secs(300), |n| n.established() && n.all_read()), "seed {seed}");
        n.check_prefixes();
    }
}
