//! Slow readers must not take the packet memory from those who read.

mod world;

use iopkt_base::{Duration, Errno};
use iopkt_stack::Config;
use iopkt_stack::sockets::SockId;
use world::*;

fn small_pool(seed: u64) -> World {
    World::with_pool(seed, Config::default(), PoolConfig { max_clusters: 4096, ..PoolConfig::default() })
}

/// A fresh connection from A to B moves half a megabyte.
fn still_works(w: &mut World, l: SockId) {
    // What bursts of the test's own making were refused does not count: packets under way fill the same pool.
    let denied = w.pool.stats().denied;
    let (c, s) = w.pair(l, 80);
    let (mut sent, mut got) = (0, 0);
    let n = 500_000;
    let ok = w.run_until(Duration::from_secs(120), |w| {
        sent += w.write(A, c, &vec![1; n - sent]).unwrap_or(0);
        got += w.read(B, s).len();
        got == n
    });
    assert!(ok, "{got} of {n}");
    assert_eq!(w.pool.stats().denied, denied, "nobody was refused memory");
}

#[test]
fn streams_that_nobody_reads() {
    let mut w = small_pool(1);
    let l = w.listener(80, 200);
    // 4096 clusters are some 6 MB of full segments; this could hold 40 MB.
    let slow: Vec<(SockId, SockId)> = (0..200).map(|_| w.pair(l, 80)).collect();
    for _ in 0..40 {
        for (c, _) in &slow {
            let _ = w.write(A, *c, &[7; 30_000]);
        }
        w.run(Duration::from_millis(50));
    }
    still_works(&mut w, l);
    // When they do read, everything is there.
    w.run(Duration::from_secs(1));
    let mut got = vec![0; slow.len()];
    w.run_until(Duration::from_secs(600), |w| {
        for (i, (_, s)) in slow.iter().enumerate() {
            got[i] += w.read(B, *s).len();
        }
        slow.iter().all(|(c, _)| w.hosts[A].sockets.queued(*c).1 == 0)
    });
    for (i, (c, s)) in slow.iter().enumerate() {
        got[i] += w.read(B, *s).len();
        assert_eq!(w.hosts[A].sockets.queued(*c).1, 0);
        assert!(got[i] >= 200_000, "{}", got[i]);
        w.close(A, *c);
        w.close(B, *s);
    }
}

#[test]
fn datagrams_that_nobody_reads() {
    let mut w = small_pool(2);
    let l = w.listener(80, 5);
    let c = w.udp(A);
    let slow: Vec<SockId> = (0..200)
        .map(|i| {
            let s = w.udp(B);
            w.bind(B, s, any(1000 + i)).expect("bind");
            s
        })
        .collect();
    for _ in 0..100 {
        for i in 0..slow.len() {
            match w.send_to(A, c, Some(sa(B, 1000 + i as u16)), &[1; 1400]) {
                Ok(()) => {}
                Err(e) => {
                    assert_eq!(e, Errno::ENOBUFS);
                    w.run(Duration::ZERO);
                }
            }
        }
        w.run(Duration::from_millis(2));
    }
    still_works(&mut w, l);
}

#[test]
fn over_ipv6_and_by_mapped_addresses() {
    again(&[], &[]);
}
