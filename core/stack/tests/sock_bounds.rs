//! Connections without a program are bounded: orphans, and TIME-WAITs.

mod world;

use iopkt_base::{Duration, Errno};
use iopkt_stack::Config;
use iopkt_stack::sockets::SockId;
use world::*;

#[test]
fn the_oldest_time_wait_goes_first() {
    let mut w = World::with(1, Config { max_sockets: 40, ..Config::default() });
    let l = w.listener(80, 8);
    for _ in 0..60 {
        let (c, s) = w.pair(l, 80);
        w.close(A, c);
        w.run(Duration::from_millis(10));
        w.close(B, s);
        w.run(Duration::from_millis(10));
        assert!(w.hosts[A].sockets.len() <= 20);
    }
    assert_eq!(w.hosts[A].sockets.len(), 20, "half of the table");
    assert_eq!(counter(&w, A, "{} TIME_WAIT connections recycled"), 40);
    w.run(Duration::from_secs(70));
    assert_eq!(w.hosts[A].sockets.len(), 0);
}

#[test]
fn more_orphans_than_the_limit_are_reset_at_once() {
    let mut w = World::new(2);
    let l = w.listener(80, 4096);
    let mut conns: Vec<SockId> = Vec::new();
    while conns.len() < 8200 {
        for _ in 0..100 {
            let c = w.tcp(A);
            assert_eq!(w.connect(A, c, sa(B, 80)), Err(Errno::EINPROGRESS));
            conns.push(c);
        }
        w.run(Duration::from_millis(20));
        while w.accept(B, l).is_ok() {}
        w.events.clear();
    }
    w.set_loss(1.0);
    for c in conns {
        w.write(A, c, b"never arrives").expect("write");
        w.close(A, c);
    }
    assert_eq!(counter(&w, A, "{} connections without a process"), 8192);
    assert_eq!(w.hosts[A].sockets.len(), 8192);
    w.run(Duration::from_secs(3600));
    assert_eq!(w.hosts[A].sockets.len(), 0);
    assert_eq!(counter(&w, A, "{} connections without a process"), 0);
}

#[test]
fn over_ipv6_and_by_mapped_addresses() {
    again(&[], &[]);
}
