//! Buffers grow with the path, up to their limits, and not where they were told a size.

mod common;
use common::{Faults, Net, clean, pattern};
use iopkt_base::Duration;
use iopkt_tcp::Config;

fn cfg(snd: u32, rcv: u32) -> Config {
    Config {
        sndbuf: 64 << 10,
        rcvbuf: 64 << 10,
        rcvbuf_max: 8 << 20,
        sndbuf_auto: snd,
        rcvbuf_auto: rcv,
        ..Config::default()
    }
}

/// Milliseconds that 8 MB take over a path of 100 ms and 100 Mbit/s, whose bandwidth-delay product is 1.25 MB.
fn long(c: Config) -> (u64, Net) {
    let mut n = Net::new(1, c, c);
    n.ends[1].listening = true;
    n.set_links(Faults { delay: Duration::from_millis(50), rate: 100_000_000, queue: 2000, ..clean() });
    n.connect(0);
    assert!(n.run_until(Duration::from_secs(5), |n| n.established()));
    let start = n.now;
    n.send(0, &pattern(8_000_000, 1));
    assert!(n.run_until(Duration::from_secs(600), |n| n.ends[1].got.len() == 8_000_000));
    (n.now.since(start).as_millis() as u64, n)
}

#[test]
fn a_long_fat_path_is_filled_only_with_buffers_that_grow() {
    let (slow, mut n) = long(cfg(0, 0));
    assert_eq!((n.tcb(0).buffers().0, n.tcb(1).buffers().1), (64 << 10, 64 << 10));
    let (fast, mut n) = long(cfg(4 << 20, 6 << 20));
    assert!(fast * 4 < slow, "{fast} ms, {slow} ms without");
    let (snd, rcv) = (n.tcb(0).buffers().0, n.tcb(1).buffers().1);
    assert!(snd > 1 << 20 && snd <= 4 << 20, "{snd}");
    assert!(rcv > 1 << 20 && rcv <= 6 << 20, "{rcv}");
    // Either alone is not enough.
    let (send_only, _) = long(cfg(4 << 20, 0));
    assert!(send_only > fast * 3, "{send_only}");
}

#[test]
fn without_timestamps_the_round_trip_is_the_smoothed_one() {
    let c = Config { timestamps: false, ..cfg(4 << 20, 6 << 20) };
    let (ms, mut n) = long(c);
    assert!(ms < 5_000, "{ms}");
    assert!(n.tcb(1).buffers().1 > 1 << 20);
}

#[test]
fn limits_hold() {
    let (_, mut n) = long(cfg(300_000, 200_000));
    assert!(n.tcb(0).buffers().0 <= 300_000);
    assert_eq!(n.tcb(1).buffers().1, 200_000);
    n.tcb(1).set_auto(0, 0);
}

#[test]
fn who_does_not_read_gets_no_more_room() {
    let c = cfg(4 << 20, 6 << 20);
    let mut n = Net::connected(2, c);
    n.ends[1].reads = false;
    n.send(0, &pattern(1_000_000, 1));
    n.run(Duration::from_secs(10));
    assert!(n.tcb(1).readable() <= 64 << 10, "{}", n.tcb(1).readable());
    assert_eq!(n.tcb(1).buffers().1, 64 << 10);
    // Nor who reads slowly: what is read in a round trip is little.
    for _ in 0..200 {
        n.read(1, 1000);
        n.run(Duration::from_millis(10));
    }
    assert_eq!(n.tcb(1).buffers().1, 64 << 10);
}
