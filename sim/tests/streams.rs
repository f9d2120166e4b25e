//! TCP over links that lose, delay, reorder, duplicate and damage: every byte arrives, once and in order.

use iopkt_base::{Duration, Rng};
use iopkt_sim::{Faults, Flow, World, for_seeds};
use iopkt_stack::sockets::SockId;

fn random_faults(rng: &mut Rng) -> Faults {
    let chance = |rng: &mut Rng, max: f64| {
        if rng.chance(0.5) { f64::from(rng.below(1000)) / 1000.0 * max } else { 0.0 }
    };
    Faults {
        delay: Duration::from_micros(u64::from(rng.below(60_000))),
        jitter: Duration::from_micros(u64::from(rng.below(3_000))),
        loss: chance(rng, 0.08),
        reorder: chance(rng, 0.1),
        duplicate: chance(rng, 0.1),
        corrupt: chance(rng, 0.05),
        ..Faults::default()
    }
}

#[test]
fn both_ways_at_once_over_any_link() {
    for_seeds(60, |seed| {
        let mut rng = Rng::new(seed ^ 0x5eed);
        let mut w = World::new(2, seed, random_faults(&mut rng));
        let (a, b) = w.connect(0, 1, 80);
        let total = 20_000 + u64::from(rng.below(200_000));
        let mut up = Flow::new((0, a), (1, b), seed, total);
        let mut down = Flow::new((1, b), (0, a), !seed, total / 2);
        let done = w.run(Duration::from_secs(3600), |w| {
            up.step(&mut w.hosts);
            down.step(&mut w.hosts);
            up.done() && down.done()
        });
        assert!(done, "stuck: {up:?} {down:?}");
        w.hosts[0].close(a);
        w.hosts[1].close(b);
        w.set_faults(Faults::default());
        w.assert_goes_idle(Duration::from_secs(300));
        assert!(w.hosts.iter().all(|h| h.shard.sockets.is_empty()), "sockets are left");
        w.end();
    });
}

#[test]
fn a_pulled_cable_is_survived() {
    for_seeds(20, |seed| {
        let mut w = World::new(2, seed, Faults { delay: Duration::from_millis(5), ..Faults::default() });
        let (a, b) = w.connect(0, 1, 80);
        let mut f = Flow::new((0, a), (1, b), seed, 400_000);
        w.run(Duration::from_millis(40 + seed * 3), |w| {
            f.step(&mut w.hosts);
            false
        });
        w.set_down(true);
        w.run(Duration::from_secs(20 + seed), |w| {
            f.step(&mut w.hosts);
            false
        });
        w.set_down(false);
        assert!(
            w.run(Duration::from_secs(300), |w| {
                f.step(&mut w.hosts);
                f.done()
            }),
            "the stream does not go on after the cable is back: {f:?}"
        );
        w.hosts[0].close(a);
        w.hosts[1].close(b);
        w.assert_goes_idle(Duration::from_secs(300));
        w.end();
    });
}

#[test]
fn many_connections_share_a_narrow_link() {
    for_seeds(5, |seed| {
        let narrow =
            Faults { delay: Duration::from_millis(10), rate: 10_000_000, queue: 50, ..Faults::default() };
        let mut w = World::new(2, seed, narrow);
        let flows: Vec<(SockId, SockId)> = (0..8).map(|i| w.connect(0, 1, 80 + i)).collect();
        let total = 300_000;
        let mut flows: Vec<Flow> = flows
            .iter()
            .enumerate()
            .map(|(i, (a, b))| Flow::new((0, *a), (1, *b), seed + i as u64, total))
            .collect();
        let start = w.now;
        let mut half = None;
        let done = w.run(Duration::from_secs(600), |w| {
            flows.iter_mut().for_each(|f| f.step(&mut w.hosts));
            let read: Vec<u64> = flows.iter().map(|f| f.read).collect();
            if half.is_none() && read.iter().sum::<u64>() >= total * 4 {
                half = Some(read);
            }
            flows.iter().all(Flow::done)
        });
        assert!(done, "stuck: {flows:?}");
        // 2.4 MB at 10 Mbit/s are 1.92 s; slow start, losses and headers may take some, not many times that.
        assert!(w.now - start < Duration::from_secs(6), "goodput: {:?}", w.now - start);
        // Jain's index when half was through: nobody was starved.
        let x = half.expect("half-way was passed");
        let (s, q) = x.iter().fold((0.0, 0.0), |(s, q), v| (s + *v as f64, q + (*v as f64).powi(2)));
        let jain = s * s / (x.len() as f64 * q);
        assert!(jain > 0.6, "fairness {jain:.2}: {x:?}");
        w.end();
    });
}

#[test]
fn an_idle_connection_costs_no_frame() {
    let mut w = World::new(2, 1, Faults::default());
    let _ends = w.connect(0, 1, 80);
    w.assert_goes_idle(Duration::from_secs(1800));
}

#[test]
fn over_ipv6_and_by_mapped_addresses() {
    iopkt_sim::family::again(&[], &[]);
}
