//! Delayed ACKs, Nagle, keepalive, duplicate reports.

mod common;
use common::{Faults, Net, clean, pattern};
use iopkt_base::{Duration, Errno};
use iopkt_tcp::{Config, State};
use iopkt_wire::tcp::Flags;

fn pure_acks(n: &Net, i: usize) -> usize {
    n.count(i, |s| s.len == 0 && s.h.flags == Flags::ACK)
}

/// Every ACK may be delayed, the first ones too.
fn slow_acks() -> Config {
    Config { quick_acks: 0, ..Config::default() }
}

#[test]
fn the_first_data_is_acknowledged_segment_by_segment() {
    let mut n = Net::connected(5, Config::default());
    let before = pure_acks(&n, 1);
    n.send(0, &pattern(1448 * 10, 1));
    n.run(Duration::from_millis(11));
    assert_eq!(pure_acks(&n, 1), before + 10);
    // The 16 are used up, and the pause is short: back to every second one.
    n.send(0, &pattern(1448 * 6, 1));
    n.run(Duration::from_millis(25));
    let before = pure_acks(&n, 1);
    n.send(0, &pattern(1448 * 6, 1));
    n.run(Duration::from_millis(25));
    assert_eq!(pure_acks(&n, 1), before + 3);
}

#[test]
fn after_a_pause_the_first_data_is_acknowledged_at_once_unless_we_answer() {
    let mut n = Net::connected(6, Config::default());
    n.send(0, &pattern(1448 * 17, 1));
    n.run(Duration::from_secs(20));
    let before = pure_acks(&n, 1);
    n.send(0, b"hello");
    n.run(Duration::from_millis(11));
    assert_eq!(pure_acks(&n, 1), before + 1);
    n.send(1, b"answer");
    n.run(Duration::from_secs(20));
    let before = pure_acks(&n, 1);
    n.send(0, b"hello");
    n.run(Duration::from_millis(30));
    assert_eq!(pure_acks(&n, 1), before, "the answer may carry it");
}

#[test]
fn one_segment_waits_for_the_delayed_ack() {
    // [RFC9293 SHLD-18] [RFC9293 MUST-40]
    let mut n = Net::connected(1, slow_acks());
    // The first data makes the window grow beyond what a SYN-ACK can say, which is told at once.
    n.send(0, b"hello");
    n.run(Duration::from_millis(100));
    let before = pure_acks(&n, 1);
    n.send(0, b"hello");
    n.run(Duration::from_millis(49));
    assert_eq!(pure_acks(&n, 1), before);
    n.run(Duration::from_millis(2));
    assert_eq!(pure_acks(&n, 1), before + 1);
}

#[test]
fn every_second_segment_is_acknowledged_at_once() {
    // [RFC9293 SHLD-19] [RFC9293 MUST-58]
    // [RFC5681 4.2-second]
    let mut n = Net::connected(2, slow_acks());
    let before = pure_acks(&n, 1);
    n.send(0, &pattern(1448 * 10, 1));
    n.run(Duration::from_millis(11));
    assert_eq!(pure_acks(&n, 1), before + 5);
}

#[test]
fn answers_carry_the_ack() {
    let mut n = Net::connected(3, Config::default());
    n.send(0, b"ping");
    n.run(Duration::from_millis(12));
    let before = pure_acks(&n, 1);
    n.send(1, b"pong");
    n.run(Duration::from_millis(60));
    assert_eq!(pure_acks(&n, 1), before);
}

#[test]
fn no_delay_when_asked() {
    let mut n = Net::connected(4, Config { delack: Duration::ZERO, ..Config::default() });
    let before = pure_acks(&n, 1);
    for _ in 0..5 {
        n.send(0, b"x");
        n.run(Duration::from_millis(30));
    }
    assert_eq!(pure_acks(&n, 1), before + 5);
}

#[test]
fn segments_out_of_order_and_gap_fillers_are_acknowledged_at_once() {
    // [RFC9293 MAY-13] [RFC9293 SHLD-31] [RFC9293 MUST-59]
    // [RFC2018 4-all]
    // [RFC5681 4.2-ooo]
    // [RFC5681 4.2]
    let mut n = Net::connected(5, Config::default());
    let mut first = true;
    n.filter = Some(Box::new(move |from, _, len| from == 0 && len > 0 && core::mem::take(&mut first)));
    let before = pure_acks(&n, 1);
    n.send(0, &pattern(1448 * 3, 1));
    n.run(Duration::from_millis(11));
    assert_eq!(pure_acks(&n, 1), before + 2);
    let sack = n.seen.last().expect("ack").h.options.sack;
    assert_eq!(sack.as_slice().len(), 1);
    assert!(n.run_until(Duration::from_secs(2), |n| n.ends[1].got.len() == 1448 * 3));
    assert!(n.seen.last().expect("ack").h.options.sack.is_empty());
}

#[test]
fn a_duplicate_is_reported_once() {
    // [RFC2883 4] [RFC2883 4-partial]
    let mut n = Net::connected(6, Config::default());
    n.links[0].faults.duplicate = 1.0;
    n.send(0, &pattern(1448, 1));
    n.run(Duration::from_millis(100));
    let reports: Vec<_> =
        n.seen.iter().filter(|s| s.from == 1 && !s.h.options.sack.is_empty()).map(|s| s.h).collect();
    assert_eq!(reports.len(), 1);
    let (l, r) = reports[0].options.sack.as_slice()[0];
    assert_eq!((r.wrapping_sub(l), r), (1448, reports[0].ack));
}

#[test]
fn nagle_gathers_small_writes() {
    // [RFC9293 MAY-16]
    // [RFC9293 SHLD-7]
    let mut n = Net::connected(7, Config::default());
    for _ in 0..100 {
        n.send(0, b"0123456789");
    }
    assert_eq!(n.count(0, |s| s.len > 0), 1);
    n.run(Duration::from_millis(200));
    assert_eq!(n.ends[1].got.len(), 1000);
    assert_eq!(n.count(0, |s| s.len > 0), 2);
}

#[test]
fn the_tail_of_a_large_write_does_not_wait() {
    // [RFC9293 SHLD-7]
    let mut n = Net::connected(14, Config::default());
    n.send(0, &pattern(1448 * 5 + 100, 1));
    assert_eq!(n.count(0, |s| s.len == 100), 1);
    // The next small one does.
    n.send(0, b"x");
    assert_eq!(n.count(0, |s| s.len == 1), 0);
}

#[test]
fn only_the_last_segment_of_a_write_pushes() {
    // [RFC9293 SHLD-27] [RFC9293 SHLD-28] [RFC9293 MUST-60]
    // [RFC9293 MUST-61]
    let mut n = Net::connected(15, Config::default());
    n.send(0, &pattern(1448 * 4, 1));
    let p: Vec<bool> =
        n.seen.iter().filter(|s| s.from == 0 && s.len > 0).map(|s| s.h.flags.has(Flags::PSH)).collect();
    assert_eq!(p, [false, false, false, true]);
}

#[test]
fn nodelay_sends_each_at_once() {
    // [RFC9293 MUST-17]
    let mut n = Net::connected(8, Config { nodelay: true, ..Config::default() });
    for _ in 0..10 {
        n.send(0, b"0123456789");
    }
    assert_eq!(n.count(0, |s| s.len == 10), 10);
    n.tcb(0).set_nodelay(false);
    n.send(0, b"0123456789");
    assert_eq!(n.count(0, |s| s.len == 10), 10);
}

#[test]
fn a_fin_takes_the_last_small_write_along() {
    let mut n = Net::connected(9, Config::default());
    n.send(0, b"first");
    n.tcb(0).write(b"second").expect("room");
    n.shutdown(0);
    let last = n.seen.last().expect("some");
    assert_eq!((last.len, last.h.flags.has(Flags::FIN)), (6, true));
}

fn keep(n: &mut Net) {
    let now = n.now;
    n.tcb(0).set_keepalive(now, true, Duration::from_secs(100), Duration::from_secs(10), 5);
}

#[test]
fn keepalives_keep_a_living_connection() {
    // [RFC9293 SHLD-12] [RFC9293 MUST-24] [RFC9293 MUST-27]
    // [RFC9293 MAY-5] [RFC9293 MUST-26]
    let mut n = Net::connected(10, Config::default());
    keep(&mut n);
    let before = n.count(0, |_| true);
    n.run(Duration::from_secs(1005));
    assert_eq!((n.state(0), n.state(1)), (State::Established, State::Established));
    let k = n.count(0, |_| true) - before;
    assert!((9..=10).contains(&k), "{k}");
    let probe = n.seen.iter().rev().find(|s| s.from == 0).expect("probe");
    assert_eq!((probe.len, probe.h.seq), (0, n.ends[0].iss.0));
}

#[test]
fn keepalives_find_a_dead_peer() {
    // [RFC9293 MUST-29]
    // [RFC9293 MAY-5] [RFC9293 MUST-26]
    let mut n = Net::connected(11, Config::default());
    keep(&mut n);
    n.links[1].faults = Faults { loss: 1.0, ..clean() };
    let start = n.now;
    n.run_until(Duration::from_secs(3600), |n| n.ends[0].error.is_some());
    assert_eq!(n.ends[0].error, Some(Errno::ETIMEDOUT));
    let t = n.now.since(start).as_secs();
    assert!((149..=151).contains(&t), "{t}");
}

#[test]
fn a_user_timeout_decides_when_keepalives_give_up() {
    // [RFC5482 4.1]
    for (user, end) in [(300, 299..=311), (120, 119..=131)] {
        let mut n = Net::connected(11, Config::default());
        keep(&mut n);
        n.tcb(0).set_user_timeout(Duration::from_secs(user));
        n.links[1].faults = Faults { loss: 1.0, ..clean() };
        let start = n.now;
        n.run_until(Duration::from_secs(3600), |n| n.ends[0].error.is_some());
        assert_eq!(n.ends[0].error, Some(Errno::ETIMEDOUT));
        let t = n.now.since(start).as_secs();
        assert!(end.contains(&t), "{user}: {t}");
    }
}

#[test]
fn traffic_postpones_keepalives() {
    let mut n = Net::connected(12, Config::default());
    keep(&mut n);
    for _ in 0..20 {
        n.send(1, b"x");
        n.run(Duration::from_secs(50));
    }
    assert_eq!(n.count(0, |s| s.h.seq == n.ends[0].iss.0 && s.h.flags == Flags::ACK), 0);
}

#[test]
fn an_idle_connection_without_keepalive_has_no_timer() {
    // [RFC9293 MUST-25]
    let mut n = Net::connected(13, Config::default());
    n.send(0, &pattern(10_000, 1));
    n.run(Duration::from_secs(5));
    assert_eq!(n.next_event(), iopkt_base::Instant::FAR);
}

#[test]
fn keepalives_are_off_until_asked_for_and_then_two_hours_apart() {
    // [RFC9293 MUST-25] [RFC9293 MUST-28]
    let c = Config::default();
    assert!(!c.keepalive);
    assert_eq!(c.keep_idle, Duration::from_secs(7200));
}
