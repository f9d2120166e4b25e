//! Listeners: backlog, overflow, SYN cookies, deferred accept, SO_REUSEPORT, closing with connections inside.

mod world;

use iopkt_base::{Duration, Errno};
use iopkt_stack::Why;
use iopkt_stack::sockets::{SockId, ev};
use world::*;

const MINUTE: Duration = Duration::from_secs(60);

fn connects(w: &mut World, n: usize, port: u16) -> Vec<SockId> {
    (0..n)
        .map(|_| {
            let c = w.tcp(A);
            assert_eq!(w.connect(A, c, sa(B, port)), Err(Errno::EINPROGRESS));
            c
        })
        .collect()
}

fn accept_all(w: &mut World, l: SockId) -> Vec<SockId> {
    core::iter::from_fn(|| w.accept(B, l).ok().map(|x| x.0)).collect()
}

#[test]
fn the_accept_queue_is_bounded_and_drains() {
    // [RFC9293 MUST-42]
    let mut w = World::new(1);
    let l = w.listener(80, 3);
    connects(&mut w, 20, 80);
    w.settle();
    assert_eq!(w.hosts[B].sockets.accept_waiting(l), 4, "backlog + 1, as Linux has it");
    let (shown, _) = w.hosts[B].sockets.list(0, 100);
    let shown: Vec<_> = shown.iter().filter(|s| s.state == "LISTEN").map(|s| (s.recv_q, s.send_q)).collect();
    assert_eq!(shown, [(4, 0)], "what waits to be accepted; a listener has nothing to send");
    assert!(counter(&w, B, "{} listen queue overflows") > 0);
    assert!(w.hosts[B].cx.counters.drops(Why::ListenOverflow) > 0);
    let mut got = accept_all(&mut w, l).len();
    assert_eq!(got, 4);
    assert!(w.run_until(MINUTE * 3, |w| {
        got += accept_all(w, l).len();
        got == 20
    }));
}

#[test]
fn accept_tells_eagain_and_events_name_the_listener() {
    let mut w = World::new(2);
    let l = w.listener(80, 8);
    assert_eq!(w.accept(B, l), Err(Errno::EAGAIN));
    connects(&mut w, 3, 80);
    w.settle();
    assert!(w.saw(B, l, ev::ACCEPT));
    assert_eq!(accept_all(&mut w, l).len(), 3);
    assert_eq!(w.accept(B, l), Err(Errno::EAGAIN));
    let c = w.tcp(B);
    assert_eq!(w.accept(B, c), Err(Errno::EINVAL));
    assert_eq!(w.connect(B, l, sa(A, 1)), Err(Errno::EISCONN));
}

/// SYNs of a flood: their senders never answer.
fn flood(w: &mut World, n: usize) {
    let port = 80;
    connects(w, n, port).into_iter().for_each(|c| {
        // The SYN has to leave before the socket goes without a word.
        w.run(Duration::ZERO);
        w.close(A, c);
    });
}

#[test]
fn cookies_let_connections_through_a_flood() {
    // [RFC4987 3.4]
    let mut w = World::new(3);
    let l = w.listener(80, 4);
    // Handshakes that cannot end: B's answers are lost.
    w.loss_from(B, 1.0);
    connects(&mut w, 128, 80);
    w.run(Duration::from_millis(500));
    w.loss_from(B, 0.0);
    assert_eq!(w.hosts[B].sockets.accept_waiting(l), 0);
    let c = w.tcp(A);
    assert_eq!(w.connect(A, c, sa(B, 80)), Err(Errno::EINPROGRESS));
    assert!(w.run_until(Duration::from_millis(100), |w| w.saw(A, c, ev::CONNECTED)));
    assert_eq!(counter(&w, B, "{} SYN cookies sent"), 1);
    w.write(A, c, b"through the flood").expect("write");
    let mut got = Vec::new();
    w.run_until(Duration::from_millis(200), |w| {
        got.extend(accept_all(w, l));
        !got.is_empty()
    });
    assert_eq!(counter(&w, B, "{} SYN cookies accepted"), 1);
    assert_eq!(w.hosts[B].sockets.peer_addr(got[0]), w.hosts[A].sockets.local_addr(c));
    w.run(Duration::from_millis(100));
    assert_eq!(w.read(B, got[0]), b"through the flood");
    let mut n = 0;
    w.write(B, got[0], &[3; 50_000]).expect("write");
    assert!(w.run_until(MINUTE, |w| {
        n += w.read(A, c).len();
        n == 50_000
    }));
}

#[test]
fn half_open_connections_time_out() {
    let mut w = World::new(4);
    let l = w.listener(80, 4);
    w.loss_from(B, 1.0);
    flood(&mut w, 100);
    w.run(Duration::from_millis(50));
    assert!(w.hosts[B].sockets.len() > 90);
    w.run(MINUTE * 10);
    assert_eq!(w.hosts[B].sockets.len(), 1);
    w.close(B, l);
    assert_eq!(w.out(), 0);
}

#[test]
fn closing_a_listener_resets_what_waits() {
    let mut w = World::new(5);
    let l = w.listener(80, 8);
    let cs = connects(&mut w, 5, 80);
    w.settle();
    assert_eq!(w.hosts[B].sockets.accept_waiting(l), 5);
    w.close(B, l);
    w.settle();
    assert_eq!(w.hosts[B].sockets.len(), 0);
    for c in cs {
        assert_eq!(w.err(A, c), Some(Errno::ECONNRESET));
        w.close(A, c);
    }
    assert_eq!(w.out(), 0);
}

#[test]
fn a_connection_that_was_reset_before_accept_is_still_handed_out() {
    let mut w = World::new(6);
    let l = w.listener(80, 8);
    let c = connects(&mut w, 1, 80)[0];
    w.settle();
    let v: Vec<u8> = [1i32, 0].iter().flat_map(|x| x.to_ne_bytes()).collect();
    w.set_bytes(A, c, 1, 13, &v).expect("SO_LINGER");
    w.close(A, c);
    w.settle();
    let (s, _) = w.accept(B, l).expect("Linux hands it out");
    assert_eq!(w.err(B, s), Some(Errno::ECONNRESET));
    assert!(w.at_eof(B, s));
    w.close(B, s);
    w.close(B, l);
    assert_eq!(w.hosts[B].sockets.len(), 0);
}

#[test]
fn deferred_accept_waits_for_data_or_its_time() {
    let mut w = World::new(7);
    let l = w.listener(80, 8);
    w.set(B, l, 6, 9, 5).expect("TCP_DEFER_ACCEPT");
    let cs = connects(&mut w, 2, 80);
    w.settle();
    assert!(w.saw(A, cs[0], ev::CONNECTED));
    assert_eq!(w.accept(B, l), Err(Errno::EAGAIN));
    w.write(A, cs[1], b"now").expect("write");
    w.run(Duration::from_millis(500));
    let (s, from) = w.accept(B, l).expect("data came");
    assert_eq!(Ok(from), w.hosts[A].sockets.local_addr(cs[1]));
    assert_eq!(w.read(B, s), b"now");
    assert_eq!(w.accept(B, l), Err(Errno::EAGAIN));
    w.run(Duration::from_secs(5));
    assert!(w.accept(B, l).is_ok(), "5 s are over");
}

#[test]
fn reuseport_listeners_share_connections() {
    let mut w = World::new(8);
    let ls: Vec<SockId> = (0..4)
        .map(|_| {
            let l = w.tcp(B);
            w.set(B, l, 1, 15, 1).expect("SO_REUSEPORT");
            w.bind(B, l, any(80)).expect("bind");
            w.listen(B, l, 100).expect("listen");
            l
        })
        .collect();
    connects(&mut w, 200, 80);
    w.settle();
    let counts: Vec<usize> = ls.iter().map(|l| w.hosts[B].sockets.accept_waiting(*l)).collect();
    assert_eq!(counts.iter().sum::<usize>(), 200);
    assert!(counts.iter().all(|n| *n > 20), "{counts:?}");
}

#[test]
fn listening_twice_on_a_port_needs_reuseport() {
    let mut w = World::new(9);
    let _l = w.listener(80, 8);
    let m = w.tcp(B);
    assert_eq!(w.bind(B, m, any(80)), Err(Errno::EADDRINUSE));
    w.set(B, m, 1, 2, 1).expect("SO_REUSEADDR");
    assert_eq!(w.bind(B, m, any(80)), Err(Errno::EADDRINUSE), "Linux: not while one listens");
    // Both bound before either listens: the second listen fails.
    let (x, y) = (w.tcp(B), w.tcp(B));
    for s in [x, y] {
        w.set(B, s, 1, 2, 1).expect("SO_REUSEADDR");
        assert_eq!(w.bind(B, s, any(90)), Ok(()));
    }
    assert_eq!(w.listen(B, x, 1), Ok(()));
    assert_eq!(w.listen(B, y, 1), Err(Errno::EADDRINUSE));
}

#[test]
fn a_server_restarts_over_its_old_connections_with_reuseaddr_only() {
    let mut w = World::new(10);
    let l = w.listener(80, 8);
    let (c, s) = w.pair(l, 80);
    // The server closes first: its side ends in TIME-WAIT.
    w.close(B, s);
    w.settle();
    w.close(A, c);
    w.settle();
    w.close(B, l);
    assert_eq!(w.hosts[B].sockets.len(), 1, "TIME-WAIT");
    let m = w.tcp(B);
    assert_eq!(w.bind(B, m, any(80)), Err(Errno::EADDRINUSE));
    w.set(B, m, 1, 2, 1).expect("SO_REUSEADDR");
    assert_eq!(w.bind(B, m, any(80)), Ok(()));
    assert_eq!(w.listen(B, m, 1), Ok(()));
}

#[test]
fn a_new_syn_may_follow_a_time_wait() {
    // [RFC6191 2c]
    let mut w = World::new(11);
    let l = w.listener(80, 8);
    let open = |w: &mut World| {
        let c = w.tcp(A);
        w.set(A, c, 1, 2, 1).expect("SO_REUSEADDR");
        w.bind(A, c, any(5000)).expect("bind");
        assert_eq!(w.connect(A, c, sa(B, 80)), Err(Errno::EINPROGRESS));
        w.settle();
        (c, w.accept(B, l).expect("accept").0)
    };
    let (c, s) = open(&mut w);
    w.close(B, s);
    w.settle();
    w.close(A, c);
    w.settle();
    // A's side is gone, B's is in TIME-WAIT: the same four ends are used again.
    let (c, s) = open(&mut w);
    w.write(A, c, b"again").expect("write");
    w.settle();
    assert_eq!(w.read(B, s), b"again");
}

#[test]
fn over_ipv6_and_by_mapped_addresses() {
    again(&[], &[]);
}
