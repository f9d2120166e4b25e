//! Both ends at once: open and close.

mod common;
use common::{Net, pattern};
use iopkt_base::Duration;
use iopkt_tcp::{Config, State};
use iopkt_wire::tcp::Flags;

#[test]
fn open() {
    // [RFC9293 MUST-11]
    // [RFC9293 MUST-10]
    for (seed, ts) in [(1, true), (2, false)] {
        let cfg = Config { timestamps: ts, ..Config::default() };
        let mut n = Net::new(seed, cfg, cfg);
        n.connect(0);
        n.connect(1);
        assert!(n.run_until(Duration::from_secs(1), |n| n.established()));
        assert_eq!(n.count(0, |s| s.h.flags == Flags::SYN | Flags::ACK), 1);
        let (x, y) = (pattern(30_000, 1), pattern(30_000, 2));
        n.send(0, &x);
        n.send(1, &y);
        assert!(n.run_until(Duration::from_secs(5), |n| n.all_read()));
        n.check_prefixes();
    }
}

#[test]
fn open_with_losses() {
    for seed in 0..20 {
        let mut n = Net::new(seed, Config::default(), Config::default());
        n.set_links(common::bad(0.3));
        n.connect(0);
        n.connect(1);
        assert!(n.run_until(Duration::from_secs(300), |n| n.established()), "seed {seed}");
    }
}

#[test]
fn close() {
    // [RFC9293 MUST-13]
    let mut n = Net::connected(3, Config::default());
    n.shutdown(0);
    n.shutdown(1);
    assert_eq!((n.state(0), n.state(1)), (State::FinWait1, State::FinWait1));
    n.run(Duration::from_millis(11));
    assert_eq!((n.state(0), n.state(1)), (State::Closing, State::Closing));
    n.run(Duration::from_millis(20));
    assert_eq!((n.state(0), n.state(1)), (State::TimeWait, State::TimeWait));
    n.run(Duration::from_secs(61));
    assert!(n.ends[0].gone && n.ends[1].gone);
}
