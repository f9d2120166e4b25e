//! Loss: fast retransmit with and without SACK, time-outs, limited transmit, windows after loss.

mod common;
use common::{Faults, Net, bad, clean, pattern};
use iopkt_base::{Duration, Errno};
use iopkt_tcp::{CcKind, Config, State};
use iopkt_wire::tcp::Flags;

/// Drops the data segments with these numbers (first data segment of end 0 is 0), first transmissions only.
fn drop_nth(which: &'static [usize]) -> Option<common::Filter> {
    let (mut k, mut top) = (0, None::<u32>);
    Some(Box::new(move |from, h, len| {
        if from != 0 || len == 0 || top.is_some_and(|t| (h.seq.wrapping_sub(t) as i32) < 0) {
            return false;
        }
        top = Some(h.seq.wrapping_add(len as u32));
        k += 1;
        which.contains(&(k - 1))
    }))
}

/// Without SACK there are no tail loss probes: the retransmission timer is alone.
fn without_probes() -> Config {
    Config { sack: false, ..Config::default() }
}

fn lose(cfg: Config, which: &'static [usize]) -> Net {
    let mut n = Net::connected(1, cfg);
    n.filter = drop_nth(which);
    let data = pattern(200_000, 1);
    n.send(0, &data);
    assert!(n.run_until(Duration::from_secs(60), |n| n.ends[1].got.len() == 200_000));
    assert_eq!(n.ends[1].got, data);
    n
}

#[test]
fn one_loss_is_repaired_without_a_timeout() {
    // [RFC6582 3.2-2] [RFC6675 4-NextSeg-2]
    // [RFC5681 3.2]
    // [RFC6675 5]
    for (sack, cc) in
        [(true, CcKind::Cubic), (false, CcKind::Cubic), (true, CcKind::NewReno), (false, CcKind::NewReno)]
    {
        let mut n = lose(Config { sack, cc, ..Config::default() }, &[20]);
        let s = *n.tcb(0).stats();
        assert_eq!((s.timeouts, s.recoveries, s.retransmits), (0, 1, 1), "sack {sack}");
        let now = n.now;
        assert!(n.tcb(0).info(now).ssthresh < 100_000);
    }
}

#[test]
fn sack_repairs_many_losses_of_a_window_at_once() {
    // [RFC6675 4-NextSeg-1]
    // [RFC2018 5]
    let mut n = lose(Config::default(), &[20, 22, 24, 26, 28, 29]);
    let s = *n.tcb(0).stats();
    assert_eq!((s.timeouts, s.retransmits), (0, 6));
    // All within two round trips of 20 ms.
    let t: Vec<_> = n.seen.iter().filter(|s| s.dropped).map(|s| s.h.seq).collect();
    let again: Vec<_> =
        n.seen.iter().filter(|s| !s.dropped && s.from == 0 && t.contains(&s.h.seq)).map(|s| s.at).collect();
    assert_eq!(again.len(), 6);
    assert!(again[5].since(again[0]) <= Duration::from_millis(40), "{again:?}");
}

#[test]
fn newreno_repairs_one_loss_a_round_trip() {
    // [RFC6582 4-timer] [RFC2018 2]
    // [RFC6582 3.2-3-partial]
    // [RFC6582 3.2-3-full]
    // [RFC6582 3.2-1]
    let mut n = lose(Config { sack: false, cc: CcKind::NewReno, ..Config::default() }, &[20, 22, 24]);
    let s = *n.tcb(0).stats();
    assert_eq!((s.timeouts, s.recoveries, s.retransmits), (0, 1, 3));
    assert!(n.seen.iter().all(|s| s.h.options.sack.is_empty()), "not permitted");
}

#[test]
fn limited_transmit_sends_new_data_on_the_first_two_duplicates() {
    // [RFC3042 2]
    let mut n = Net::connected(3, Config { sack: false, init_cwnd: 4, ..Config::default() });
    // The first ACK of data changes the window (that of a SYN is not scaled) and is no duplicate.
    n.send(0, b"x");
    n.run(Duration::from_millis(100));
    n.filter = drop_nth(&[0]);
    let before = n.seen.len();
    n.send(0, &pattern(20_000, 1));
    // Four segments go, three duplicate ACKs come: two bring new segments out, the third the lost one.
    n.run(Duration::from_millis(25));
    let sent: Vec<u32> =
        n.seen[before..].iter().filter(|s| s.from == 0 && s.len > 0).map(|s| s.h.seq).collect();
    assert_eq!(sent.len(), 7, "{sent:?}");
    assert_eq!(sent[6], sent[0]);
    assert_eq!(n.tcb(0).stats().timeouts, 0);
}

#[test]
fn a_lost_tail_is_found_by_the_timer() {
    // [RFC6298 5.4]
    // [RFC6298 5.1]
    // [RFC6298 5.6]
    let mut n = Net::connected(4, without_probes());
    n.filter = drop_nth(&[1]);
    n.send(0, &pattern(2000, 1));
    assert!(n.run_until(Duration::from_secs(5), |n| n.ends[1].got.len() == 2000));
    assert_eq!(n.tcb(0).stats().timeouts, 1);
    let now = n.now;
    let i = n.tcb(0).info(now);
    // [RFC5681 3.1-rto]
    assert!(i.cwnd <= 2 * 1448, "{}", i.cwnd);
}

#[test]
fn timeouts_double_and_end_the_connection() {
    // [RFC9293 MUST-19] [RFC9293 SHLD-11]
    // [RFC9293 MUST-20]
    // [RFC6298 5.5]
    let mut n = Net::connected(5, without_probes());
    n.links[0].faults = Faults { loss: 1.0, ..clean() };
    let start = n.now;
    n.send(0, b"into the void");
    n.run(Duration::from_secs(3600));
    assert_eq!(n.ends[0].error, Some(Errno::ETIMEDOUT));
    let t: Vec<u64> = n
        .seen
        .iter()
        .filter(|s| s.from == 0 && s.len > 0)
        .map(|s| s.at.since(start).as_millis() as u64)
        .collect();
    // A round trip (20 ms) and the floor of the variance (200 ms), doubling.
    assert_eq!(t[..6], [0, 220, 660, 1540, 3300, 6820]);
    assert_eq!(t.len(), 16);
    // The end is told to the peer, should it hear.
    assert!(n.seen.last().expect("some").h.flags.has(Flags::RST));
}

#[test]
fn the_user_timeout_ends_it_earlier() {
    // [RFC9293 MUST-21]
    // [RFC5482 3.1]
    let mut n = Net::connected(6, Config::default());
    n.tcb(0).set_user_timeout(Duration::from_secs(10));
    n.links[0].faults = Faults { loss: 1.0, ..clean() };
    let start = n.now;
    n.send(0, b"into the void");
    n.run_until(Duration::from_secs(100), |n| n.ends[0].error.is_some());
    assert_eq!(n.ends[0].error, Some(Errno::ETIMEDOUT));
    let t = n.now.since(start).as_millis();
    assert!((9_990..10_300).contains(&t), "{t}");
}

#[test]
fn karn_without_timestamps() {
    // [RFC9293 MUST-18]
    // [RFC6298 3]
    // [RFC6298 5-karn]
    // The path's delay jumps to 2 s: with the old time-out every segment would be sent twice for ever.
    let cfg = Config { timestamps: false, ..Config::default() };
    let mut n = Net::connected(7, cfg);
    n.send(0, b"x");
    n.run(Duration::from_secs(1));
    n.set_links(Faults { delay: Duration::from_secs(1), ..clean() });
    for _ in 0..10 {
        n.send(0, b"x");
        n.run(Duration::from_secs(20));
    }
    let now = n.now;
    assert!(n.tcb(0).info(now).rto >= Duration::from_secs(2));
    let before = n.tcb(0).stats().retransmits;
    n.send(0, b"x");
    n.run(Duration::from_secs(20));
    assert_eq!(n.tcb(0).stats().retransmits, before, "the new round-trip time was learned");
}

#[test]
fn slow_start_restarts_after_idle() {
    // [RFC5681 4.1]
    let mut n = Net::connected(8, Config::default());
    n.send(0, &pattern(500_000, 1));
    n.run(Duration::from_secs(2));
    let now = n.now;
    assert!(n.tcb(0).info(now).cwnd > 60_000);
    n.run(Duration::from_secs(60));
    let before = n.seen.len();
    n.send(0, &pattern(100_000, 2));
    let burst = n.seen[before..].iter().filter(|s| s.from == 0 && s.len > 0).count();
    assert_eq!(burst, 10);
}

#[test]
fn the_window_starts_at_ten_segments_and_doubles() {
    // [RFC9293 MUST-19]
    // [RFC5681 3.1-iw]
    // [RFC6928 2]
    // [RFC5681 3.1]
    let mut n = Net::connected(9, Config::default());
    n.send(0, &pattern(128_000, 1));
    assert_eq!(n.count(0, |s| s.len > 0), 10);
    n.run(Duration::from_millis(21));
    assert!((28..=31).contains(&n.count(0, |s| s.len > 0)), "{}", n.count(0, |s| s.len > 0));
}

#[test]
fn holes_near_the_end_go_again_without_new_data() {
    // [RFC6675 4-NextSeg-3]
    // Above the second loss only two segments arrive: not enough to call it lost, but there is nothing else.
    let mut n = Net::connected(12, Config::default());
    n.filter = drop_nth(&[2, 7]);
    n.send(0, &pattern(1448 * 10, 1));
    assert!(n.run_until(Duration::from_secs(5), |n| n.ends[1].got.len() == 14_480));
    let s = n.tcb(0).stats();
    assert_eq!((s.timeouts, s.retransmits), (0, 2));
}

#[test]
fn after_a_timeout_all_that_is_missing_goes_again_and_nothing_else() {
    // [RFC6675 5.1]
    let mut n = Net::connected(13, Config::default());
    n.filter = drop_nth(&[0, 1, 2, 3, 4, 5, 6, 7]);
    n.send(0, &pattern(1448 * 10, 1));
    let last = n.seen.last().expect("sent").h.seq;
    // Two are SACKed; the fast retransmissions of the others are lost to the last.
    n.run(Duration::from_millis(5));
    n.filter = Some(Box::new(|from, _, len| from == 0 && len > 0));
    n.run(Duration::from_millis(100));
    assert_eq!(n.tcb(0).stats().recoveries, 1);
    n.filter = None;
    assert!(n.run_until(Duration::from_secs(5), |n| n.ends[1].got.len() == 14_480));
    assert_eq!(n.tcb(0).stats().timeouts, 1);
    assert_eq!(n.count(0, |s| s.h.seq.wrapping_add(1448) == last), 1, "SACKed ones are not repeated");
    assert_eq!(n.count(0, |s| s.h.seq == last), 1);
}

#[test]
fn only_pure_repeated_acks_are_duplicates() {
    // [RFC5681 2-duplicate]
    let cfg = Config { sack: false, ..common::plain() };
    let mut n = Net::connected(14, cfg);
    n.send(0, b"x");
    n.run(Duration::from_millis(100));
    n.links[0].faults = Faults { loss: 1.0, ..clean() };
    n.send(0, &pattern(20_000, 1));
    let (seq, ack) = (n.ends[1].iss + 1, n.ends[0].iss + 2);
    let last = n.seen.iter().rfind(|s| s.from == 1).expect("some").h.window;
    let ack_of = |window: u16| iopkt_tcp::SegOut { window, ..common::raw(seq, ack, Flags::ACK) };
    for _ in 0..4 {
        n.inject(1, &iopkt_tcp::SegOut { payload: (b"", &[]), ..ack_of(last - 1) });
        n.run(Duration::from_millis(11));
        n.inject(1, &ack_of(last));
        n.run(Duration::from_millis(11));
    }
    assert_eq!(n.tcb(0).stats().dup_acks, 0, "the window changed every time");
    for _ in 0..3 {
        n.inject(1, &ack_of(last));
    }
    n.run(Duration::from_millis(11));
    let s = n.tcb(0).stats();
    assert_eq!((s.dup_acks, s.recoveries), (3, 1));
}

#[test]
fn an_ack_of_new_data_restarts_the_timer_and_of_all_data_stops_it() {
    // [RFC6298 5.2]
    // [RFC6298 5.3]
    let mut n = Net::connected(15, without_probes());
    n.send(0, b"x");
    n.run(Duration::from_millis(100));
    n.links[0].faults.rate = 240_000;
    let start = n.now;
    n.send(0, &pattern(1448 * 10, 1));
    let first = n.tcb(0).deadline();
    assert_eq!(first.since(start), Duration::from_millis(220), "a round trip and the floor of the variance");
    // The last segment arrives after half a second; no time-out meanwhile.
    assert!(n.run_until(Duration::from_secs(5), |n| n.ends[1].got.len() == 14_481));
    assert!(n.now.since(start) > Duration::from_millis(480));
    assert_eq!(n.tcb(0).stats().timeouts, 0);
    n.run(Duration::from_millis(100));
    assert_eq!(n.tcb(0).deadline(), iopkt_base::Instant::FAR);
}

#[test]
fn timestamps_measure_retransmissions_too() {
    // [RFC7323 4.1]
    let mut n = Net::connected(16, Config::default());
    n.send(0, b"x");
    n.run(Duration::from_secs(1));
    n.set_links(Faults { delay: Duration::from_secs(1), ..clean() });
    n.send(0, b"x");
    n.run(Duration::from_secs(20));
    let now = n.now;
    let srtt = n.tcb(0).info(now).rtt.0;
    assert!(srtt > Duration::from_millis(250), "the sample of the retransmitted segment counts: {srtt:?}");
}

#[test]
fn a_lost_syn_makes_the_start_slow() {
    // [RFC5681 3.1-syn-lost]
    let mut n = Net::new(17, Config::default(), Config::default());
    n.ends[1].listening = true;
    let mut first = true;
    n.filter = Some(Box::new(move |_, _, _| core::mem::take(&mut first)));
    n.connect(0);
    assert!(n.run_until(Duration::from_secs(5), |n| n.established()));
    n.send(0, &pattern(20_000, 1));
    assert_eq!(n.count(0, |s| s.len > 0), 1);
}

#[test]
fn duplicates_do_not_reduce_the_window() {
    let mut n = Net::connected(10, Config::default());
    n.links[0].faults.duplicate = 1.0;
    n.send(0, &pattern(300_000, 1));
    n.run(Duration::from_secs(3));
    assert_eq!(n.ends[1].got.len(), 300_000);
    let s = *n.tcb(0).stats();
    assert_eq!((s.retransmits, s.recoveries), (0, 0));
}

#[test]
fn a_reneging_receiver_is_survived() {
    // [RFC2018 8]
    // The SACKs are forged: the receiver never had that data. Everything arrives all the same, by the timer.
    let mut n = Net::connected(11, common::plain());
    n.filter = drop_nth(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    let data = pattern(14_600, 1);
    n.send(0, &data);
    let mut s = common::raw(n.ends[1].iss + 1, n.ends[0].iss + 1, Flags::ACK);
    let base = n.ends[0].iss + 1;
    s.options.sack.push((base + 1460).0, (base + 14_600).0);
    n.inject(1, &s);
    assert!(n.run_until(Duration::from_secs(60), |n| n.ends[1].got.len() == 14_600));
    assert_eq!(n.ends[1].got, data);
    assert_eq!(n.state(0), State::Established);
}

#[test]
fn half_the_packets_lost_is_slow_but_exact() {
    for seed in 0..5 {
        let mut n = Net::connected(20 + seed, Config::default());
        n.set_links(bad(0.4));
        let data = pattern(20_000, seed);
        n.send(0, &data);
        assert!(n.run_until(Duration::from_secs(36_000), |n| n.ends[1].got.len() == 20_000), "seed {seed}");
        assert_eq!(n.ends[1].got, data);
    }
}
