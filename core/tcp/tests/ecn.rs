//! Explicit congestion notification (RFC 3168): negotiation, marks, echoes, one reduction per window.

mod common;
use common::{Net, pattern};
use iopkt_base::{Duration, Errno};
use iopkt_tcp::{Config, Ecn};
use iopkt_wire::tcp::Flags;

const SETUP: Flags = Flags(Flags::ECE.0 | Flags::CWR.0);

fn with(ecn: Ecn) -> Config {
    Config { ecn, ..Config::default() }
}

/// An asking end and one that agrees.
fn pair() -> Net {
    let mut n = Net::new(1, with(Ecn::Request), with(Ecn::Accept));
    n.ends[1].listening = true;
    n.connect(0);
    assert!(n.run_until(Duration::from_secs(20), |n| n.established()));
    n
}

fn bits(f: Flags) -> Flags {
    Flags(f.0 & SETUP.0)
}

#[test]
fn both_ends_must_want_it() {
    // [RFC9293 SHLD-8]
    // [RFC3168 5a] [RFC3168 6.1.1a] [RFC3168 6.1.1b] [RFC3168 6.1.4a]
    for (a, b, want) in [
        (Ecn::Request, Ecn::Accept, true),
        (Ecn::Request, Ecn::Request, true),
        (Ecn::Request, Ecn::Off, false),
        (Ecn::Accept, Ecn::Accept, false),
        (Ecn::Off, Ecn::Request, false),
    ] {
        let mut n = Net::new(1, with(a), with(b));
        n.ends[1].listening = true;
        n.connect(0);
        assert!(n.run_until(Duration::from_secs(5), |n| n.established()));
        assert_eq!((n.tcb(0).ecn(), n.tcb(1).ecn()), (want, want), "{a:?} {b:?}");
        let syn = bits(n.seen[0].h.flags);
        assert_eq!(syn, if a == Ecn::Request { SETUP } else { Flags::NONE });
        assert_eq!(bits(n.seen[1].h.flags), if want { Flags::ECE } else { Flags::NONE });
        // [RFC3168 6.1.1e]
        assert!(n.seen.iter().all(|s| !s.ect), "neither SYNs nor pure ACKs are ECT");
        n.send(0, b"data");
        assert_eq!(n.seen.last().expect("some").ect, want);
    }
}

#[test]
fn an_answer_with_both_flags_is_no_agreement() {
    // [RFC3168 6.1.1c]
    let mut n = Net::new(2, with(Ecn::Request), Config::default());
    n.connect(0);
    let mut s = common::raw(iopkt_tcp::Seq(77), n.ends[0].iss + 1, Flags::SYN | Flags::ACK | SETUP);
    s.options.mss = Some(1460);
    n.inject(1, &s);
    n.run(Duration::from_millis(20));
    assert!(!n.tcb(0).ecn());
    assert_eq!(n.state(0), iopkt_tcp::State::Established);
}

#[test]
fn a_syn_that_is_ect_is_not_agreed_with() {
    // [RFC3168 6.1.1d]
    let mut n = Net::new(3, Config::default(), Config::default());
    n.ends[1].listening = true;
    let s = iopkt_tcp::SegOut {
        ect: true,
        ..common::raw(iopkt_tcp::Seq(5), iopkt_tcp::Seq(0), Flags::SYN | SETUP)
    };
    n.inject(0, &s);
    n.run(Duration::from_millis(15));
    let answer = n.seen.iter().find(|s| s.from == 1).expect("SYN-ACK");
    assert_eq!(bits(answer.h.flags), Flags::NONE);
}

#[test]
fn a_lost_asking_syn_is_followed_by_a_plain_one() {
    // [RFC3168 6.1.1.1b]
    let mut n = Net::new(4, with(Ecn::Request), with(Ecn::Accept));
    n.ends[1].listening = true;
    n.filter = Some(Box::new(|_, h, _| h.flags.has(Flags::SYN) && bits(h.flags) == SETUP));
    n.connect(0);
    assert!(n.run_until(Duration::from_secs(10), |n| n.established()));
    assert_eq!(n.count(0, |s| s.h.flags.has(Flags::SYN)), 2);
    assert!(!n.tcb(0).ecn() && !n.tcb(1).ecn());
}

#[test]
fn a_refused_asking_syn_is_followed_by_a_plain_one() {
    // [RFC3168 6.1.1.1a]
    let mut n = Net::new(5, with(Ecn::Request), Config::default());
    n.connect(0);
    let rst = common::raw(iopkt_tcp::Seq(0), n.ends[0].iss + 1, Flags::RST | Flags::ACK);
    n.inject(1, &rst);
    n.run_until(Duration::from_millis(15), |n| n.count(0, |_| true) == 2);
    assert_eq!(bits(n.seen.last().expect("some").h.flags), Flags::NONE, "asked again without");
    assert_eq!(n.ends[0].error, None);
    n.inject(1, &rst);
    n.run(Duration::from_millis(15));
    assert_eq!(n.ends[0].error, Some(Errno::ECONNREFUSED), "the second refusal is one");
}

/// Marks the data segment with this number.
fn mark_nth(k: usize) -> Option<common::Filter> {
    let mut seen = 0;
    Some(Box::new(move |from, _, len| {
        seen += usize::from(from == 0 && len > 0);
        from == 0 && len > 0 && seen == k + 1
    }))
}

#[test]
fn a_mark_is_echoed_until_cwr_and_reduces_the_window_once() {
    // [RFC3168 6.1.2a] [RFC3168 6.1.2b] [RFC3168 6.1.2c] [RFC3168 6.1.3a] [RFC3168 6.1.3b]
    let mut n = pair();
    n.marker = mark_nth(25);
    n.send(0, &pattern(300_000, 1));
    assert!(n.run_until(Duration::from_secs(20), |n| n.ends[1].got.len() == 300_000));
    let (s, r) = (*n.tcb(0).stats(), *n.tcb(1).stats());
    assert_eq!(r.ce_in, 1);
    assert!(s.ece_in > 1, "every ACK until CWR: {}", s.ece_in);
    assert_eq!((s.retransmits, s.recoveries, s.timeouts), (0, 0, 0));
    let cwr: Vec<usize> = (0..n.seen.len())
        .filter(|i| n.seen[*i].from == 0 && n.seen[*i].h.flags.has(Flags::CWR) && n.seen[*i].len > 0)
        .collect();
    assert_eq!(cwr.len(), 1, "once, on new data");
    // Half a round trip later the echo ends.
    let t = n.seen[cwr[0]].at + Duration::from_millis(10);
    let late = n.seen.iter().filter(|s| s.from == 1 && s.at > t && s.h.flags.has(Flags::ECE)).count();
    assert_eq!(late, 0);
    let now = n.now;
    let i = n.tcb(0).info(now);
    assert!(i.ssthresh < 60_000, "{}", i.ssthresh);
    // Everything new is ECT, nothing else is.
    assert!(n.seen.iter().skip(3).all(|s| s.ect == (s.len > 0)));
}

#[test]
fn continuous_marks_reduce_once_a_round_trip() {
    // [RFC3168 6.1.2b]
    let mut n = pair();
    n.send(0, &pattern(2_000_000, 1));
    n.run(Duration::from_millis(90));
    n.marker = Some(Box::new(|from, _, len| from == 0 && len > 0));
    let now = n.now;
    let before = n.tcb(0).info(now).in_flight;
    // The echoes of a window's worth of marks are one congestion event.
    n.run(Duration::from_millis(39));
    let now = n.now;
    let i = n.tcb(0).info(now);
    assert!(i.ssthresh > before / 10 * 6 && i.ssthresh < before / 10 * 8, "{before} {}", i.ssthresh);
}

#[test]
fn retransmissions_and_probes_are_not_ect() {
    // [RFC3168 6.1.5a] [RFC3168 6.1.6a]
    let mut n = pair();
    let mut first = true;
    n.filter = Some(Box::new(move |from, _, len| from == 0 && len > 0 && core::mem::take(&mut first)));
    n.send(0, &pattern(50_000, 1));
    assert!(n.run_until(Duration::from_secs(20), |n| n.ends[1].got.len() == 50_000));
    let lost = n.seen.iter().find(|s| s.dropped).expect("one").h.seq;
    let copies: Vec<bool> =
        n.seen.iter().filter(|s| s.from == 0 && s.h.seq == lost && s.len > 0).map(|s| s.ect).collect();
    assert_eq!(copies, [true, false]);
    // A loss is told with CWR too: one signal of congestion for both ends. [RFC3168 6.1.2c]
    assert_eq!(n.count(0, |s| s.h.flags.has(Flags::CWR) && s.len > 0), 1);
    n.ends[1].reads = false;
    n.send(0, &pattern(400_000, 1));
    n.run(Duration::from_secs(30));
    let probes: Vec<_> = n.seen.iter().filter(|s| s.from == 0 && s.len == 1).collect();
    assert!(!probes.is_empty() && probes.iter().all(|s| !s.ect));
}

#[test]
fn marks_on_what_is_outside_the_window_do_not_count() {
    // [RFC3168 6.1.5b]
    let mut n = Net::new(9, Config { ecn: Ecn::Request, ..common::plain() }, common::plain());
    n.ends[1].listening = true;
    n.connect(0);
    assert!(n.run_until(Duration::from_secs(5), |n| n.established()));
    n.send(0, b"0123456789");
    n.run(Duration::from_millis(100));
    let (seq, ack) = (n.ends[0].iss + 1, n.ends[1].iss + 1);
    n.marker = Some(Box::new(|_, _, _| true));
    let old =
        iopkt_tcp::SegOut { ect: true, payload: (b"0123456789", &[]), ..common::raw(seq, ack, Flags::ACK) };
    n.inject(0, &old);
    n.run(Duration::from_millis(100));
    assert_eq!(n.tcb(1).stats().ce_in, 0);
    let new = iopkt_tcp::SegOut { seq: seq + 10, ..old };
    n.inject(0, &new);
    n.run(Duration::from_millis(15));
    assert_eq!(n.tcb(1).stats().ce_in, 1);
    assert!(n.seen.last().expect("some").h.flags.has(Flags::ECE));
}
