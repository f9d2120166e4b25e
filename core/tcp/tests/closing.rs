//! Half-close, FIN exchange, orphans, TIME-WAIT.

mod common;
use common::{Net, bad, pattern, plain, raw};
use iopkt_base::Duration;
use iopkt_tcp::{Config, Seq, State, Tcb, what};
use iopkt_wire::tcp::{Flags, Timestamps};

#[test]
fn half_close_lets_the_other_direction_flow() {
    // [RFC9293 3.10.4a]
    // [RFC9293 3.10.7.4g]
    // [RFC9293 3.10.7.4g]
    let mut n = Net::connected(1, Config::default());
    n.send(0, b"request");
    n.shutdown(0);
    n.run(Duration::from_millis(100));
    assert_eq!((n.state(0), n.state(1)), (State::FinWait2, State::CloseWait));
    assert_ne!(n.ends[1].what & what::FIN, 0);
    assert!(n.tcb(1).at_eof() && !n.tcb(0).at_eof());
    assert_eq!(n.tcb(0).write(b"x"), Err(iopkt_base::Errno::EPIPE));
    n.send(1, &pattern(100_000, 5));
    n.run(Duration::from_secs(5));
    assert_eq!(n.ends[0].got.len(), 100_000);
    n.shutdown(1);
    assert_eq!(n.state(1), State::LastAck);
    n.run(Duration::from_millis(100));
    assert_eq!(n.state(0), State::TimeWait);
    assert!(n.ends[1].gone);
}

#[test]
fn the_fin_waits_for_all_data() {
    let mut n = Net::connected(2, Config::default());
    let data = pattern(300_000, 1);
    n.ends[0].close_after = true;
    n.send(0, &data);
    n.run(Duration::from_secs(10));
    assert_eq!(n.ends[1].got, data);
    assert!(n.tcb(1).at_eof());
    assert_eq!(n.count(0, |s| s.h.flags.has(Flags::FIN)), 1);
}

#[test]
fn lost_fins_are_sent_again() {
    for seed in 0..30 {
        let mut n = Net::connected(seed, Config::default());
        n.set_links(bad(0.4));
        n.shutdown(0);
        n.shutdown(1);
        let over = |n: &Net| (0..2).all(|i| matches!(n.state(i), State::Closed | State::TimeWait));
        assert!(n.run_until(Duration::from_secs(600), over), "seed {seed}");
    }
}

#[test]
fn time_wait_lasts_two_lifetimes_and_answers_old_fins() {
    // [RFC9293 MUST-13]
    // [RFC9293 3.10.7.4h]
    let mut n = Net::connected(3, plain());
    n.shutdown(0);
    n.shutdown(1);
    n.run(Duration::from_millis(100));
    assert_eq!(n.state(0), State::TimeWait);
    n.run(Duration::from_secs(50));
    let fin = n.seen.iter().find(|s| s.from == 1 && s.h.flags.has(Flags::FIN)).expect("fin").h;
    let acks = n.count(0, |s| s.h.flags == Flags::ACK);
    n.inject(1, &raw(Seq(fin.seq), Seq(fin.ack), Flags::FIN | Flags::ACK));
    n.run(Duration::from_millis(100));
    assert_eq!(n.count(0, |s| s.h.flags == Flags::ACK), acks + 1);
    // The FIN started the time anew.
    n.run(Duration::from_secs(50));
    assert_eq!(n.state(0), State::TimeWait);
    n.run(Duration::from_secs(11));
    assert!(n.ends[0].gone);
}

#[test]
fn time_wait_gives_way_to_a_later_syn_only() {
    // [RFC6191 2a] [RFC9293 MAY-2] [RFC9293 SHLD-4]
    let mut n = Net::connected(4, Config::default());
    n.shutdown(0);
    n.shutdown(1);
    n.run(Duration::from_millis(100));
    let (rcv_nxt, last) = {
        let s = n.seen.iter().rfind(|s| s.from == 1).expect("some");
        (Seq(s.h.seq + 1), s.h.options.timestamps.expect("ts").val)
    };
    let mut syn = raw(rcv_nxt - 5000, Seq(0), Flags::SYN);
    syn.options.timestamps = Some(Timestamps { val: last.wrapping_sub(10), ecr: 0 });
    n.inject(1, &syn);
    n.run(Duration::from_millis(50));
    assert_eq!(n.ends[0].what & what::REUSE, 0);
    syn.options.timestamps = Some(Timestamps { val: last.wrapping_add(10), ecr: 0 });
    n.inject(1, &syn);
    n.run(Duration::from_millis(50));
    assert_ne!(n.ends[0].what & what::REUSE, 0);
}

#[test]
fn an_orphan_in_fin_wait_2_does_not_wait_for_ever() {
    let mut n = Net::connected(5, Config::default());
    n.close(0);
    n.run(Duration::from_millis(100));
    assert_eq!((n.state(0), n.state(1)), (State::FinWait2, State::CloseWait));
    n.run(Duration::from_secs(61));
    assert!(n.ends[0].gone);
}

#[test]
fn an_orphan_answers_new_data_with_reset() {
    // [RFC9293 SHLD-3]
    let mut n = Net::connected(6, Config::default());
    n.close(0);
    n.run(Duration::from_millis(100));
    n.send(1, b"anybody there?");
    n.run(Duration::from_millis(100));
    assert!(n.ends[0].gone);
    assert_eq!(n.ends[1].error, Some(iopkt_base::Errno::ECONNRESET));
}

#[test]
fn close_with_unread_data_resets() {
    // [RFC9293 SHLD-3] [RFC9293 MAY-1]
    // [RFC2525 2.17]
    let mut n = Net::connected(7, Config::default());
    n.ends[1].reads = false;
    n.send(0, b"never read");
    n.run(Duration::from_millis(100));
    n.close(1);
    n.run(Duration::from_millis(100));
    assert_eq!(n.ends[0].error, Some(iopkt_base::Errno::ECONNRESET));
    assert!(n.ends[0].gone && n.ends[1].gone);
}

#[test]
fn an_orphan_still_delivers_what_was_written() {
    let mut n = Net::connected(8, Config::default());
    let data = pattern(100_000, 3);
    n.ends[0].to_write = data.clone();
    n.send(0, &[]);
    n.close(0);
    n.set_links(bad(0.05));
    assert!(n.run_until(Duration::from_secs(300), |n| n.ends[1].got.len() == 100_000));
    assert_eq!(n.ends[1].got, data);
}

#[test]
fn closing_gives_all_memory_back() {
    let mut n = Net::connected(9, Config::default());
    n.ends[1].reads = false;
    n.filter = Some(Box::new({
        let mut k = 0;
        move |from, _, len| {
            k += u32::from(from == 0 && len > 0);
            from == 0 && k == 3 && len > 0
        }
    }));
    n.send(0, &pattern(50_000, 3));
    n.run(Duration::from_millis(15));
    assert!(n.tcb(1).readable() > 0);
    let o = n.tcb(1).abort(drop);
    assert_ne!(o.what & what::CLOSED, 0);
    n.output(1);
    n.run(Duration::from_secs(1));
    n.cache = n.pool.cache(0);
    assert_eq!(n.pool.stats().out, 0, "buffers in use");
}

#[test]
fn a_tcb_is_compact() {
    // 200,000 idle connections are 208 MB.
    assert!(size_of::<Tcb>() <= 1040, "{} bytes", size_of::<Tcb>());
}
