//! Opening: options agreed, lost SYNs, refusals, wrong answers.

mod common;
use common::{Faults, Net, clean, plain, raw};
use iopkt_base::{Duration, Errno};
use iopkt_tcp::{Config, Seq, State, what};
use iopkt_wire::tcp::Flags;

#[test]
fn three_segments_and_the_agreed_options() {
    // [RFC9293 MUST-4] [RFC9293 MAY-3] [RFC9293 SHLD-5] [RFC9293 MUST-65]
    // [RFC9293 3.10.1]
    // RFC 9293 section 3.10.7.3
    // [RFC9293 3.10.7.4c]
    let n = Net::connected(1, Config::default());
    let f: Vec<_> = n.seen.iter().map(|s| (s.from, s.h.flags)).collect();
    assert_eq!(f[..3], [(0, Flags::SYN), (1, Flags::SYN | Flags::ACK), (0, Flags::ACK)]);
    let o = n.seen[0].h.options;
    assert_eq!((o.mss, o.window_scale, o.sack_permitted), (Some(1460), Some(7), true));
    assert!(o.timestamps.is_some() && n.seen[1].h.options.timestamps.is_some());
    assert!(n.seen[2].h.options.timestamps.is_some() && n.seen[2].h.options.mss.is_none());
    assert_eq!((n.state(0), n.state(1)), (State::Established, State::Established));
}

#[test]
fn a_syn_ack_offers_only_what_the_syn_offered() {
    // [RFC7323 2.2]
    let cfg = Config { timestamps: false, sack: false, window_scaling: false, ..Config::default() };
    let mut n = Net::new(2, cfg, Config::default());
    n.ends[1].listening = true;
    n.connect(0);
    assert!(n.run_until(Duration::from_secs(2), |n| n.established()));
    let o = n.seen[1].h.options;
    assert_eq!((o.window_scale, o.sack_permitted, o.timestamps), (None, false, None));
    n.send(0, &[7; 5000]);
    n.run(Duration::from_secs(1));
    assert_eq!(n.ends[1].got.len(), 5000);
}

#[test]
fn the_mss_is_the_smaller_of_peer_and_path() {
    // [RFC9293 SHLD-6] [RFC9293 MUST-67]
    // [RFC9293 MUST-14] [RFC9293 MUST-15] [RFC9293 MUST-16]
    // [RFC6691 2]
    let a = Config { mss_in: 1460, mss_path: 1000, ..Config::default() };
    let b = Config { mss_in: 700, mss_path: 1460, ..Config::default() };
    let mut n = Net::new(3, a, b);
    n.ends[1].listening = true;
    n.connect(0);
    n.run(Duration::from_secs(1));
    n.send(0, &[1; 20_000]);
    n.send(1, &[2; 20_000]);
    n.run(Duration::from_secs(2));
    // Less the 12 bytes of the timestamps option.
    assert_eq!(n.seen.iter().filter(|s| s.from == 0).map(|s| s.len).max(), Some(688));
    assert_eq!(n.seen.iter().filter(|s| s.from == 1).map(|s| s.len).max(), Some(1448));
}

#[test]
fn lost_syns_are_sent_again_with_growing_pauses() {
    // [RFC6298 2.1]
    // [RFC6298 5.5]
    let mut n = Net::new(4, Config::default(), Config::default());
    n.links[0].faults = Faults { loss: 1.0, ..clean() };
    n.connect(0);
    n.run(Duration::from_secs(20));
    let t: Vec<u64> = n.seen.iter().map(|s| s.at.as_millis() - 1000).collect();
    assert_eq!(t, [0, 1000, 3000, 7000, 15000]);
    assert!(n.seen.iter().all(|s| s.h.flags == Flags::SYN && s.h.seq == n.seen[0].h.seq));
}

#[test]
fn a_silent_host_is_given_up_after_three_minutes() {
    // [RFC9293 MUST-22] [RFC9293 MUST-23]
    // [RFC9293 MUST-20]
    let mut n = Net::new(5, Config::default(), Config::default());
    n.links[0].faults = Faults { loss: 1.0, ..clean() };
    n.connect(0);
    n.run(Duration::from_secs(180));
    assert_eq!(n.ends[0].error, None);
    n.run(Duration::from_secs(120));
    assert_eq!(n.ends[0].error, Some(Errno::ETIMEDOUT));
    assert!(n.ends[0].gone);
    assert_eq!(n.next_event(), iopkt_base::Instant::FAR);
}

#[test]
fn a_closed_port_refuses() {
    // [RFC9293 3.10.7.1]
    // [RFC9293 3.10.7.3c]
    let mut n = Net::new(6, Config::default(), Config::default());
    n.connect(0);
    n.run(Duration::from_secs(1));
    assert_eq!(n.ends[0].error, Some(Errno::ECONNREFUSED));
    assert_eq!(n.ends[0].what & what::CONNECTED, 0);
    assert!(n.ends[0].gone);
}

#[test]
fn a_blind_reset_does_not_end_an_attempt() {
    // [RFC9293 3.10.7.3c]
    let mut n = Net::new(7, plain(), plain());
    n.connect(0);
    n.inject(1, &raw(Seq(5), Seq(0), Flags::RST));
    n.inject(1, &raw(Seq(5), n.ends[0].iss + 77, Flags::RST | Flags::ACK));
    n.filter = Some(Box::new(|from, _, _| from == 1));
    n.run(Duration::from_millis(100));
    assert_eq!(n.state(0), State::SynSent);
}

#[test]
fn an_ack_of_something_never_sent_is_reset() {
    // [RFC9293 3.10.7.3b]
    // [RFC9293 3.5.2a]
    let mut n = Net::new(8, plain(), plain());
    n.filter = Some(Box::new(|from, h, _| from == 0 && h.flags.has(Flags::SYN)));
    n.connect(0);
    let wrong = n.ends[0].iss + 4711;
    n.inject(1, &raw(Seq(5), wrong, Flags::SYN | Flags::ACK));
    n.run(Duration::from_millis(100));
    let r = n.seen.iter().find(|s| s.from == 0 && s.h.flags == Flags::RST).expect("a reset");
    assert_eq!(r.h.seq, wrong.0);
    assert_eq!(n.state(0), State::SynSent);
}

#[test]
fn a_lost_last_ack_is_healed_by_data_or_by_the_syn_ack_again() {
    let mut n = Net::pair(9, Config::default());
    let mut k = 0;
    n.filter = Some(Box::new(move |from, h, _| {
        k += u32::from(from == 0 && h.flags == Flags::ACK);
        from == 0 && h.flags == Flags::ACK && k == 1
    }));
    assert!(n.run_until(Duration::from_secs(5), |n| n.established()));
    assert!(n.count(1, |s| s.h.flags.has(Flags::SYN)) >= 2);
}

#[test]
fn a_repeated_syn_gets_the_syn_ack_again() {
    let mut n = Net::pair(10, plain());
    n.filter = Some(Box::new(|from, _, _| from == 1));
    n.run(Duration::from_millis(1500));
    assert_eq!(n.state(1), State::SynReceived);
    // One for each SYN that came, and its own retransmission.
    assert!(n.count(1, |s| s.h.flags == Flags::SYN | Flags::ACK) >= 2);
}
