//! Streams arrive exact and complete, whatever the link does.

mod common;
use common::{Faults, Net, bad, clean, pattern};
use iopkt_base::Duration;
use iopkt_tcp::{CcKind, Config, State};

fn transfer(seed: u64, cfg: Config, link: Faults, n: usize, both: bool) -> Net {
    let mut net = Net::pair(seed, cfg);
    net.set_links(link);
    for i in 0..if both { 2 } else { 1 } {
        net.ends[i].to_write = pattern(n, seed + i as u64);
    }
    for e in &mut net.ends {
        e.close_after = true;
    }
    let done = net.run_until(Duration::from_secs(36_000), |n| {
        (0..2).all(|i| matches!(n.state(i), State::Closed | State::TimeWait)) && n.all_read()
    });
    net.check_prefixes();
    assert!(
        done,
        "seed {seed}: {:?}/{:?}, read {} and {} of {n}, errors {:?} {:?}\n{:?}\n{:?}",
        net.state(0),
        net.state(1),
        net.ends[0].got.len(),
        net.ends[1].got.len(),
        net.ends[0].error,
        net.ends[1].error,
        net.ends[0].tcb,
        net.ends[1].tcb
    );
    net
}

#[test]
fn clean_link_both_ways() {
    let net = transfer(1, Config::default(), clean(), 1_000_000, true);
    for i in 0..2 {
        assert!(net.ends[i].error.is_none());
    }
    // Nothing was lost, so nothing was sent twice.
    let sent: usize = net.seen.iter().filter(|s| s.from == 0).map(|s| s.len).sum();
    assert_eq!(sent, 1_000_000);
}

#[test]
fn lossy_links_many_seeds() {
    for seed in 0..60 {
        let loss = [0.005, 0.02, 0.1][seed as usize % 3];
        transfer(100 + seed, Config::default(), bad(loss), 60_000, seed % 2 == 0);
    }
}

#[test]
fn without_any_option() {
    for seed in 0..30 {
        let cfg = Config {
            sack: false,
            timestamps: false,
            window_scaling: false,
            cc: CcKind::NewReno,
            ..Config::default()
        };
        transfer(500 + seed, cfg, bad(0.03), 60_000, seed % 2 == 0);
    }
}

#[test]
fn every_mix_of_options() {
    for mix in 0..32u64 {
        let cfg = Config {
            sack: mix & 1 != 0,
            timestamps: mix & 2 != 0,
            window_scaling: mix & 4 != 0,
            cc: if mix & 8 != 0 { CcKind::NewReno } else { CcKind::Cubic },
            nodelay: mix & 16 != 0,
            ..Config::default()
        };
        transfer(900 + mix, cfg, bad(0.05), 40_000, true);
    }
}

#[test]
fn tiny_buffers() {
    for seed in 0..10 {
        let cfg = Config { sndbuf: 1000, rcvbuf: 700, ..Config::default() };
        transfer(1500 + seed, cfg, bad(0.03), 8_000, true);
    }
}

#[test]
fn super_segments_are_exact_too() {
    for seed in 0..10 {
        let cfg = Config { tso_max: 20_000, ..Config::default() };
        transfer(2000 + seed, cfg, bad(0.03), 200_000, true);
    }
}
