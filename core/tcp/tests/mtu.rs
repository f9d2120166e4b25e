//! Paths that swallow what is too large for them, and say nothing (RFC 8899).

mod common;

use common::*;
use iopkt_base::Duration;
use iopkt_tcp::Config;

/// A pair whose data segments of more than `most` bytes of TCP header and payload vanish on the way from the first end.
fn hole(seed: u64, cfg: Config, most: usize) -> Net {
    let mut n = Net::connected(seed, cfg);
    n.filter = Some(Box::new(move |from, h, len| from == 0 && len > 0 && h.len() + len > most));
    n
}

fn mss(n: &mut Net) -> u32 {
    let now = n.now;
    n.tcb(0).info(now).snd_mss
}

#[test]
fn a_black_hole_is_noticed_and_the_size_searched_upwards() {
    // [RFC8899 3a] [RFC8899 4.3] [RFC8899 5.2]
    let mut n = hole(1, Config { mtu_probing: 1, ..Config::default() }, 20 + 1300);
    let data = pattern(2_000_000, 1);
    n.send(0, &data);
    assert!(n.run_until(Duration::from_secs(60), |n| n.ends[1].got.len() == data.len()), "stuck");
    assert_eq!(n.ends[1].got, data);
    let s = *n.tcb(0).stats();
    assert_eq!((s.black_holes, s.timeouts), (1, 3), "{s:?}");
    assert!(s.mtu_probes >= 3);
    // 1300 less 12 bytes of timestamps; the search stops some bytes before.
    let now = mss(&mut n);
    assert!((1270..=1288).contains(&now), "{now}");
}

#[test]
fn a_lost_probe_is_no_congestion() {
    // [RFC8899 4.1]
    let cfg = Config { mtu_probing: 2, ..Config::default() };
    let mut n = hole(2, cfg, 20 + 1200);
    n.send(0, &pattern(3_000_000, 2));
    assert!(n.run_until(Duration::from_secs(60), |n| n.ends[1].got.len() == 3_000_000));
    let s = *n.tcb(0).stats();
    assert_eq!((s.timeouts, s.recoveries, s.black_holes), (0, 0, 0), "{s:?}");
    let lost = n.count(0, |s| s.dropped);
    assert!(lost > 0 && s.mtu_probes as usize > lost);
    let now = mss(&mut n);
    assert!((1170..=1188).contains(&now), "{now}");
}

#[test]
fn from_the_start_where_that_is_asked_for() {
    // [RFC8899 5.1.2] [RFC8899 5.2]
    let cfg = Config { mtu_probing: 2, ..Config::default() };
    let mut n = Net::connected(3, cfg);
    assert_eq!(mss(&mut n), 1024 - 12);
    n.send(0, &pattern(2_000_000, 3));
    assert!(n.run_until(Duration::from_secs(60), |n| n.ends[1].got.len() == 2_000_000));
    assert!(mss(&mut n) > 1420, "what the interface carries");
}

#[test]
fn narrower_paths_are_found_by_halves() {
    // [RFC8899 5.1.2]
    let mut n = hole(4, Config { mtu_probing: 1, ..Config::default() }, 20 + 300);
    n.send(0, &pattern(20_000, 4));
    assert!(n.run_until(Duration::from_secs(120), |n| n.ends[1].got.len() == 20_000), "stuck");
    assert!(mss(&mut n) <= 288);
}

#[test]
fn the_search_begins_again_after_ten_minutes() {
    // [RFC8899 5.3]
    // A probe needs data that waits: a send buffer of more than the window.
    let mut n = hole(5, Config { mtu_probing: 1, sndbuf: 1 << 20, ..Config::default() }, 20 + 1300);
    n.send(0, &pattern(1_000_000, 5));
    assert!(n.run_until(Duration::from_secs(60), |n| n.ends[1].got.len() == 1_000_000));
    assert!(mss(&mut n) < 1300);
    n.filter = None;
    n.send(0, &pattern(1_000_000, 6));
    n.run(Duration::from_secs(60));
    assert!(mss(&mut n) < 1300);
    n.run(Duration::from_secs(600));
    n.send(0, &pattern(1_000_000, 7));
    n.run(Duration::from_secs(60));
    assert!(mss(&mut n) > 1420);
    n.check_prefixes();
}

#[test]
fn without_it_a_black_hole_swallows_the_connection() {
    let cfg = Config::default();
    let mut n = hole(6, cfg, 20 + 1300);
    n.send(0, &pattern(10_000, 8));
    assert!(!n.run_until(Duration::from_secs(120), |n| n.ends[1].got.len() == 10_000));
    assert_eq!(mss(&mut n), 1448);
}

#[test]
fn a_dead_peer_is_no_black_hole_of_small_segments() {
    let mut n = Net::connected(7, Config { mtu_probing: 1, ..Config::default() });
    n.filter = Some(Box::new(|_, _, _| true));
    n.send(0, b"small");
    n.run(Duration::from_secs(60));
    assert_eq!(n.tcb(0).stats().black_holes, 0, "what is lost fits anywhere");
}

#[test]
fn a_maximum_set_by_the_program_acts_at_once() {
    // [RFC9293 MUST-16]
    let mut n = Net::connected(8, Config::default());
    n.tcb(0).set_max_segment(Some(500));
    let first = n.seen.len();
    n.send(0, &pattern(5_000, 1));
    n.run(Duration::from_secs(1));
    assert!(n.seen[first..].iter().all(|s| s.len <= 488));
    n.tcb(0).set_max_segment(None);
    assert_eq!(mss(&mut n), 1448);
}
