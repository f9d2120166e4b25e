//! RST and SYN in a connection: only exact resets count, the rest is challenged (RFC 5961).

mod common;
use common::{Net, plain, raw};
use iopkt_base::{Duration, Errno};
use iopkt_tcp::{Seq, State};
use iopkt_wire::tcp::Flags;

/// A connected pair, and SND.NXT of the second end.
fn pair(seed: u64) -> (Net, Seq, Seq) {
    let n = Net::connected(seed, plain());
    let (snd, rcv) = (n.ends[1].iss + 1, n.ends[0].iss + 1);
    (n, snd, rcv)
}

#[test]
fn an_exact_reset_ends_it() {
    // [RFC9293 MUST-12]
    let (mut n, seq, _) = pair(1);
    n.inject(1, &raw(seq, Seq(0), Flags::RST));
    n.run(Duration::from_millis(50));
    assert_eq!(n.ends[0].error, Some(Errno::ECONNRESET));
    assert!(n.ends[0].gone);
}

#[test]
fn a_reset_in_the_window_is_challenged() {
    // [RFC9293 MAY-12]
    // [RFC5961 3.2a]
    let (mut n, seq, rcv) = pair(2);
    let before = n.seen.len();
    n.inject(1, &raw(seq + 100, Seq(0), Flags::RST));
    n.run(Duration::from_millis(15));
    assert_eq!(n.state(0), State::Established);
    let c = &n.seen[before + 1];
    assert_eq!((c.from, c.h.flags, c.h.seq, c.h.ack), (0, Flags::ACK, rcv.0, seq.0));
}

#[test]
fn a_reset_outside_the_window_is_ignored() {
    // [RFC5961 3.2b]
    let (mut n, seq, _) = pair(3);
    let before = n.seen.len();
    n.inject(1, &raw(seq - 1, Seq(0), Flags::RST));
    n.inject(1, &raw(seq + 10_000_000, Seq(0), Flags::RST));
    n.run(Duration::from_millis(50));
    assert_eq!(n.state(0), State::Established);
    assert_eq!(n.seen.len(), before + 2, "no answer");
}

#[test]
fn a_syn_is_challenged_wherever_it_lies() {
    // [RFC5961 4.2]
    for off in [0u32, 1, 500, 0u32.wrapping_sub(1), 50_000_000] {
        let (mut n, seq, rcv) = pair(4);
        let before = n.seen.len();
        n.inject(1, &raw(seq + off, rcv, Flags::SYN));
        n.run(Duration::from_millis(15));
        assert_eq!(n.state(0), State::Established);
        let answers: Vec<_> = n.seen[before..].iter().filter(|s| s.from == 0).collect();
        assert_eq!(answers.len(), 1, "offset {off}");
        assert_eq!((answers[0].h.flags, answers[0].h.ack), (Flags::ACK, seq.0));
    }
}

#[test]
fn challenges_are_limited() {
    // [RFC5961 7a] [RFC5961 7b] [RFC5961 10]
    let (mut n, seq, _) = pair(5);
    n.filter = Some(Box::new(|from, _, _| from == 0));
    let rst = raw(seq + 100, Seq(0), Flags::RST);
    for _ in 0..100 {
        n.inject(1, &rst);
    }
    n.run(Duration::from_millis(50));
    assert_eq!(n.count(0, |s| s.dropped), 1);
    n.run(Duration::from_millis(460));
    // ACKs outside the window share the limit; data does not: its sender needs the answer.
    n.inject(1, &rst);
    n.inject(1, &raw(seq - 1, n.ends[0].iss + 1, Flags::ACK));
    n.run(Duration::from_millis(50));
    assert_eq!(n.count(0, |s| s.dropped), 2);
    let body = [7; 10];
    for _ in 0..3 {
        let mut old = raw(seq - 10, n.ends[0].iss + 1, Flags::ACK);
        old.payload = (&body, &[]);
        n.inject(1, &old);
        n.run(Duration::from_millis(20));
    }
    assert_eq!(n.count(0, |s| s.dropped), 5);
}

#[test]
fn a_reset_at_the_edge_of_a_sack_block_counts() {
    // [RFC5961 3.2c]
    let (mut n, seq, rcv) = pair(15);
    let body = [7; 10];
    let mut s = raw(seq + 100, rcv, Flags::ACK);
    s.payload = (&body, &[]);
    n.inject(1, &s);
    n.run(Duration::from_millis(50));
    n.inject(1, &raw(seq + 105, Seq(0), Flags::RST));
    n.run(Duration::from_millis(50));
    assert_eq!(n.state(0), State::Established);
    n.inject(1, &raw(seq + 110, Seq(0), Flags::RST));
    n.run(Duration::from_millis(50));
    assert_eq!(n.state(0), State::Closed);
    assert_eq!(n.ends[0].error, Some(Errno::ECONNRESET));
}

#[test]
fn a_reset_that_does_not_count_the_fin_counts() {
    let (mut n, seq, rcv) = pair(16);
    n.inject(1, &raw(seq, rcv, Flags::ACK | Flags::FIN));
    n.run(Duration::from_millis(50));
    assert_eq!(n.state(0), State::CloseWait);
    n.inject(1, &raw(seq, Seq(0), Flags::RST));
    n.run(Duration::from_millis(50));
    assert_eq!(n.state(0), State::Closed);
}

#[test]
fn acks_out_of_range_are_challenged_not_believed() {
    // [RFC5961 5.2]
    // [RFC9293 3.10.7.4d]
    let (mut n, seq, rcv) = pair(6);
    n.ends[0].reads = true;
    for ack in [rcv + 1, rcv + 1_000_000, rcv - 100_000_000] {
        let mut s = raw(seq, ack, Flags::ACK | Flags::PSH);
        s.payload = (b"evil", &[]);
        let before = n.seen.len();
        n.inject(1, &s);
        n.run(Duration::from_millis(600));
        assert!(n.ends[0].got.is_empty());
        assert!(n.seen[before..].iter().any(|s| s.from == 0 && s.h.flags == Flags::ACK));
    }
    assert_eq!(n.state(0), State::Established);
}

#[test]
fn segments_without_ack_are_dropped() {
    // [RFC9293 3.10.7.4b]
    let (mut n, seq, _) = pair(7);
    let mut s = raw(seq, Seq(0), Flags::PSH);
    s.payload = (b"data", &[]);
    n.inject(1, &s);
    n.run(Duration::from_millis(50));
    assert!(n.ends[0].got.is_empty());
}

#[test]
fn abort_tells_the_peer() {
    // [RFC9293 3.10.5a]
    let (mut n, _, _) = pair(8);
    n.tcb(0).abort(drop);
    n.output(0);
    n.run(Duration::from_millis(50));
    assert_eq!(n.ends[1].error, Some(Errno::ECONNRESET));
    assert!(n.ends[0].gone && n.ends[1].gone);
}

#[test]
fn a_wrong_ack_in_syn_received_is_reset_and_the_handshake_goes_on() {
    // [RFC9293 3.10.7.4c]
    let mut n = Net::pair(9, plain());
    n.run(Duration::from_millis(12));
    assert_eq!(n.state(1), State::SynReceived);
    let (seq, bad) = (n.ends[0].iss + 1, n.ends[1].iss + 99);
    n.inject(0, &raw(seq, bad, Flags::ACK));
    assert!(n.run_until(Duration::from_secs(5), |n| n.established()));
    assert!(n.count(1, |s| s.h.flags == Flags::RST && s.h.seq == bad.0) == 1);
}

#[test]
fn icmp_ends_only_attempts_to_connect() {
    // [RFC9293 MUST-54] [RFC9293 MUST-56]
    // [RFC5927 6]
    // [RFC5927 4.1]
    let (mut n, _, rcv) = pair(10);
    let o = n.tcb(0).icmp(rcv, Errno::ECONNREFUSED, true);
    assert_eq!((o.what, n.state(0)), (0, State::Established));
    let mut n = Net::new(11, plain(), plain());
    n.connect(0);
    let iss = n.ends[0].iss;
    assert_eq!(n.tcb(0).icmp(iss + 9, Errno::EHOSTUNREACH, true).error, None);
    assert_eq!(n.tcb(0).icmp(iss, Errno::EHOSTUNREACH, false).error, None);
    assert_eq!(n.tcb(0).soft_error(), Some(Errno::EHOSTUNREACH));
    assert_eq!(n.tcb(0).icmp(iss, Errno::EHOSTUNREACH, true).error, Some(Errno::EHOSTUNREACH));
}

#[test]
fn a_reset_may_carry_text() {
    // [RFC9293 SHLD-2]
    let (mut n, seq, _) = pair(17);
    let why = *b"no such thing";
    let mut s = raw(seq, Seq(0), Flags::RST);
    s.payload = (&why, &[]);
    n.inject(1, &s);
    n.run(Duration::from_millis(50));
    assert_eq!(n.state(0), State::Closed);
    assert!(n.ends[0].got.is_empty());
}
