//! Urgent data: the pointer, the mark, and when the news goes (RFC 9293 section 3.8.5, RFC 6093).

mod common;

use common::*;
use iopkt_base::Duration;
use iopkt_tcp::{Config, Seq, what};
use iopkt_wire::tcp::Flags;

#[test]
fn urgent_data_stays_in_line_with_a_mark() {
    // [RFC9293 MUST-30] [RFC9293 MUST-32] [RFC9293 MUST-33] [RFC6093 6a]
    let mut n = Net::connected(6, Config::default());
    n.ends[1].reads = false;
    n.tcb(0).write(b"abc").expect("room");
    n.tcb(0).write_urgent(b"X").expect("room");
    n.tcb(0).write(b"def").expect("room");
    n.output(0);
    n.run(Duration::from_millis(100));
    assert_ne!(n.ends[1].what & what::URGENT, 0);
    assert_eq!(n.tcb(1).readable(), 7);
    assert_eq!(n.tcb(1).urgent_mark(), Some(4));
    n.read(1, 4);
    assert_eq!(n.tcb(1).urgent_mark(), Some(0));
    n.read(1, 1);
    assert_eq!(n.tcb(1).urgent_mark(), None);
    assert_eq!(n.ends[1].got, b"abcXd");
}

#[test]
fn the_pointer_stands_behind_the_last_urgent_byte_in_every_segment_before_it() {
    // [RFC9293 MUST-62] [RFC9293 MUST-31] [RFC6093 3.1] [RFC6093 3.4]
    let mut n = Net::connected(7, plain());
    let first = n.seen.len();
    let mut data = pattern(100_000, 1);
    assert_eq!(n.tcb(0).write_urgent(&data).unwrap(), 100_000);
    let end = {
        let una = n.seen.iter().rev().find(|s| s.from == 0).unwrap().h.seq;
        una.wrapping_add(100_000)
    };
    n.output(0);
    n.run(Duration::from_secs(5));
    for s in n.seen[first..].iter().filter(|s| s.from == 0 && s.len > 0) {
        assert!(s.h.flags.has(Flags::URG));
        assert_eq!(u32::from(s.h.urgent), end.wrapping_sub(s.h.seq).min(65535));
    }
    // What follows is ordinary again.
    let first = n.seen.len();
    n.send(0, b"calm");
    n.run(Duration::from_secs(1));
    assert!(n.seen[first..].iter().all(|s| !s.h.flags.has(Flags::URG)));
    data.extend_from_slice(b"calm");
    assert_eq!(n.ends[1].got, data);
}

#[test]
fn a_shut_window_holds_the_data_back_but_not_the_news() {
    // [RFC9293 MUST-66] [RFC9293 MUST-30]
    let cfg = Config { rcvbuf: 4000, rcvbuf_max: 4000, ..Config::default() };
    let mut n = Net::connected(8, cfg);
    n.ends[1].reads = false;
    n.send(0, &pattern(4000, 1));
    n.run(Duration::from_secs(1));
    n.ends[1].what = 0;
    let first = n.seen.len();
    n.tcb(0).write_urgent(b"!").unwrap();
    n.output(0);
    n.run(Duration::from_millis(15));
    assert_eq!((n.seen[first].len, n.seen[first].h.flags.has(Flags::URG)), (0, true));
    assert_ne!(n.ends[1].what & what::URGENT, 0);
    assert_eq!(n.tcb(1).urgent_mark(), Some(4001));
    n.ends[1].reads = true;
    n.read(1, 4000);
    n.run(Duration::from_secs(2));
    assert_eq!(n.ends[1].got.len(), 4001);
}

#[test]
fn a_pointer_of_zero_means_the_first_byte_and_old_ones_nothing() {
    // [RFC9293 MUST-62] [RFC6093 3.1]
    let mut n = Net::connected(9, plain());
    n.ends[1].reads = false;
    let h = n.seen.iter().rev().find(|s| s.from == 0).unwrap().h;
    let mut s = raw(Seq(h.seq), Seq(h.ack), Flags::ACK | Flags::URG);
    let body = *b"ab";
    s.payload = (&body, &[]);
    n.inject(0, &s);
    n.run(Duration::from_millis(50));
    assert_eq!(n.tcb(1).urgent_mark(), Some(1));
    // The same again, and one that points below what was received.
    n.ends[1].what = 0;
    n.inject(0, &s);
    s.seq = Seq(h.seq) + 2;
    s.payload = (&[], &[]);
    s.urgent = 1;
    s.seq = Seq(h.seq);
    n.inject(0, &s);
    n.run(Duration::from_millis(50));
    assert_eq!(n.ends[1].what & what::URGENT, 0);
}

#[test]
fn nagle_does_not_hold_urgent_bytes() {
    // [RFC9293 MUST-32]
    let mut n = Net::connected(10, plain());
    n.send(0, b"a");
    n.send(0, b"b");
    assert_eq!(n.count(0, |s| s.len > 0), 1, "the second waits");
    n.tcb(0).write_urgent(b"U").unwrap();
    n.output(0);
    assert_eq!(n.count(0, |s| s.len > 0), 2);
    n.run(Duration::from_secs(1));
    assert_eq!(n.ends[1].got, b"abU");
}
