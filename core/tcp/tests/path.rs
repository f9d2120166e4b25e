//! The path: MTU that shrinks, super-segments, and a stack without memory.

mod common;
use common::{Faults, Net, clean, pattern};
use iopkt_base::Duration;
use iopkt_tcp::{Config, SegOut};

#[test]
fn a_smaller_path_mtu_cuts_what_is_in_flight_anew() {
    // [RFC1191 6.4]
    let mut n = Net::connected(1, Config::default());
    let data = pattern(100_000, 1);
    n.links[0].faults = Faults { max_frame: 1020, ..clean() };
    n.send(0, &data);
    let first = n.seen.iter().find(|s| s.from == 0 && s.len > 0).expect("sent").h.seq;
    let cwnd = {
        let now = n.now;
        n.tcb(0).info(now).cwnd
    };
    // The router's answer.
    n.run(Duration::from_millis(5));
    n.tcb(0).set_path_mss(1000, Some(iopkt_tcp::Seq(first)));
    n.output(0);
    let now = n.now;
    assert_eq!(n.tcb(0).info(now).cwnd, cwnd);
    assert!(n.run_until(Duration::from_secs(30), |n| n.ends[1].got.len() == 100_000));
    assert_eq!(n.ends[1].got, data);
    assert_eq!(n.tcb(0).stats().timeouts, 0);
    assert_eq!(n.seen.iter().filter(|s| s.from == 0 && !s.dropped).map(|s| s.len).max(), Some(988));
}

#[test]
fn a_forged_report_about_nothing_in_flight_is_ignored() {
    // [RFC1191 6.5]
    // [RFC5927 4.1]
    let mut n = Net::connected(2, Config::default());
    let iss = n.ends[0].iss;
    n.tcb(0).set_path_mss(100, Some(iss + 5000));
    let now = n.now;
    assert_eq!(n.tcb(0).info(now).snd_mss, 1448);
}

#[test]
fn a_super_segment_is_of_whole_segments_but_for_the_end_of_the_data() {
    let cfg = Config { tso_max: 8_000, ..Config::default() };
    let mut n = Net::connected(3, cfg);
    let mut sizes = Vec::new();
    n.tcb(0).write(&pattern(14_000, 1)).expect("room");
    let now = n.now;
    n.tcb(0).output(now, &mut |s: &SegOut<'_>| {
        sizes.push((s.payload_len(), s.gso_size));
        true
    });
    // Five whole ones would fit into 8000 bytes, but ten in a round trip of milliseconds make two of a portion; the short end goes
    // with the full one in front of it.
    let two = (1448 * 2, 1448);
    assert_eq!(sizes, [two, two, two, two, (14_000 - 1448 * 8, 1448)]);
    // Behind a small segment that is not acknowledged, Nagle keeps the next one's small end back.
    n.tcb(0).write(&pattern(3_000, 2)).expect("room");
    sizes.clear();
    n.tcb(0).output(now, &mut |s: &SegOut<'_>| {
        sizes.push((s.payload_len(), s.gso_size));
        true
    });
    assert!(sizes.iter().all(|s| s.0 % 1448 == 0), "{sizes:?}");
}

#[test]
fn without_memory_nothing_is_lost_only_late() {
    let mut n = Net::connected(4, Config::default());
    let data = pattern(20_000, 1);
    n.tcb(0).write(&data).expect("room");
    let now = n.now;
    n.tcb(0).output(now, &mut |_: &SegOut<'_>| false);
    assert!(n.tcb(0).wants_output());
    assert!(n.tcb(0).deadline() <= now + Duration::from_millis(5));
    // Every third segment finds no memory, the machine's own timer brings it back.
    n.ends[0].to_write = data.clone();
    n.ends[0].written = data.len();
    assert!(n.run_until(Duration::from_secs(10), |n| n.ends[1].got.len() == data.len()));
    assert_eq!(n.ends[1].got, data);
    assert_eq!(n.tcb(0).stats().retransmits, 0);
}

#[test]
fn many_single_byte_segments_are_bounded() {
    let mut n = Net::connected(5, Config { nodelay: true, init_cwnd: 255, ..Config::default() });
    n.links[0].faults = Faults { loss: 1.0, ..clean() };
    for _ in 0..5000 {
        n.send(0, b"x");
    }
    assert_eq!(n.count(0, |s| s.len > 0), 256, "records in flight: 2 per KiB of send buffer");
}
