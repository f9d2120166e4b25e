//! Streams between two hosts: open, transfer, close, refuse, reset, orphans.

mod world;

use iopkt_base::{Duration, Errno};
use iopkt_stack::sockets::{SockId, ev};
use world::*;

const MINUTE: Duration = Duration::from_secs(60);

/// Sends `n` bytes from A to B and from B to A at once, and compares.
fn transfer(w: &mut World, c: SockId, s: SockId, n: usize) {
    let data: Vec<u8> = (0..n).map(|i| (i * 7 + i / 251) as u8).collect();
    let (mut up, mut down) = (Vec::new(), Vec::new());
    let (mut sent_up, mut sent_down) = (0, 0);
    let ok = w.run_until(MINUTE * 10, |w| {
        let room = (n - sent_up).min(30_000);
        sent_up += w.write(A, c, &data[sent_up..sent_up + room]).unwrap_or(0);
        let room = (n - sent_down).min(30_000);
        sent_down += w.write(B, s, &data[sent_down..sent_down + room]).unwrap_or(0);
        up.extend(w.read(B, s));
        down.extend(w.read(A, c));
        up.len() == n && down.len() == n
    });
    assert!(ok, "sent {sent_up} and {sent_down}, got {} and {} of {n}", up.len(), down.len());
    assert!(up == data && down == data);
}

#[test]
fn connect_transfer_close() {
    // [RFC9293 MUST-44]
    let mut w = World::new(1);
    let l = w.listener(80, 5);
    let (c, s) = w.pair(l, 80);
    assert_eq!(w.write(A, c, b"hello"), Ok(5));
    w.settle();
    assert_eq!(w.read(B, s), b"hello");
    assert_eq!(w.write(B, s, b"good day"), Ok(8));
    w.settle();
    assert_eq!(w.read(A, c), b"good day");
    assert_eq!(w.hosts[A].sockets.peer_addr(c), Ok(sa(B, 80)));
    assert_eq!(w.hosts[B].sockets.local_addr(s), Ok(sa(B, 80)));
    assert_eq!(w.hosts[B].sockets.peer_addr(s), w.hosts[A].sockets.local_addr(c));
    w.close(A, c);
    w.settle();
    assert!(w.at_eof(B, s));
    w.close(B, s);
    w.settle();
    w.close(B, l);
    w.run(Duration::from_secs(70));
    assert_eq!((w.hosts[A].sockets.len(), w.hosts[B].sockets.len()), (0, 0));
    assert_eq!(w.out(), 0);
}

#[test]
fn bulk_both_ways() {
    let mut w = World::new(2);
    let l = w.listener(80, 5);
    let (c, s) = w.pair(l, 80);
    transfer(&mut w, c, s, 3_000_000);
    w.settle();
    assert_eq!(w.hosts[A].sockets.queued(c), (0, 0));
    w.close(A, c);
    w.close(B, s);
    w.close(B, l);
    w.run(MINUTE * 2);
    assert_eq!((w.hosts[A].sockets.len(), w.hosts[B].sockets.len()), (0, 0));
    assert_eq!(w.out(), 0);
}

#[test]
fn loss_reordering_and_duplicates_do_not_show() {
    for seed in 0..12 {
        let mut w = World::new(1000 + seed);
        w.set_links(Faults {
            loss: 0.01 * (seed % 5) as f64,
            reorder: 0.05 * (seed % 3) as f64,
            duplicate: 0.02 * (seed % 4) as f64,
            ..clean()
        });
        let l = w.listener(80, 5);
        let (c, s) = w.pair(l, 80);
        transfer(&mut w, c, s, 300_000);
        w.close(A, c);
        w.close(B, s);
        w.close(B, l);
        w.run(MINUTE * 20);
        assert_eq!((w.hosts[A].sockets.len(), w.hosts[B].sockets.len()), (0, 0), "seed {seed}");
        assert_eq!(w.out(), 0, "seed {seed}");
    }
}

#[test]
fn half_close_lets_the_other_way_go_on() {
    let mut w = World::new(3);
    let l = w.listener(80, 5);
    let (c, s) = w.pair(l, 80);
    assert_eq!(w.write(A, c, b"request"), Ok(7));
    assert_eq!(w.shutdown(A, c, 1), Ok(()));
    assert_eq!(w.write(A, c, b"more"), Err(Errno::EPIPE));
    w.settle();
    assert!(!w.at_eof(B, s));
    assert_eq!(w.read(B, s), b"request");
    assert!(w.at_eof(B, s) && w.saw(B, s, ev::READ));
    for _ in 0..10 {
        assert_eq!(w.write(B, s, &[9; 1000]), Ok(1000));
        w.settle();
    }
    assert_eq!(w.read(A, c).len(), 10_000);
    assert_eq!(w.shutdown(B, s, 1), Ok(()));
    w.settle();
    assert!(w.at_eof(A, c) && w.saw(A, c, ev::CLOSED));
}

#[test]
fn a_closed_port_refuses() {
    let mut w = World::new(4);
    let c = w.tcp(A);
    assert_eq!(w.connect(A, c, sa(B, 81)), Err(Errno::EINPROGRESS));
    assert_eq!(w.connect(A, c, sa(B, 81)), Err(Errno::EALREADY));
    w.settle();
    assert!(w.saw(A, c, ev::ERROR) && w.saw(A, c, ev::CLOSED) && !w.saw(A, c, ev::CONNECTED));
    assert_eq!(w.err(A, c), Some(Errno::ECONNREFUSED));
    assert_eq!(w.err(A, c), None);
    // The same socket may try again (Linux).
    let l = w.listener(81, 1);
    assert_eq!(w.connect(A, c, sa(B, 81)), Err(Errno::ECONNABORTED));
    assert_eq!(w.connect(A, c, sa(B, 81)), Err(Errno::EINPROGRESS));
    w.settle();
    assert!(w.accept(B, l).is_ok());
    assert_eq!(w.connect(A, c, sa(B, 81)), Ok(()));
    assert_eq!(w.connect(A, c, sa(B, 81)), Err(Errno::EISCONN));
}

#[test]
fn unread_data_and_linger_zero_reset() {
    for linger in [false, true] {
        let mut w = World::new(5);
        let l = w.listener(80, 5);
        let (c, s) = w.pair(l, 80);
        if linger {
            let v: Vec<u8> = [1i32, 0].iter().flat_map(|x| x.to_ne_bytes()).collect();
            w.set_bytes(B, s, 1, 13, &v).expect("SO_LINGER");
        } else {
            w.write(A, c, b"never read").expect("write");
        }
        w.settle();
        w.close(B, s);
        w.settle();
        assert_eq!(w.err(A, c), Some(Errno::ECONNRESET));
        assert!(w.saw(A, c, ev::CLOSED));
        assert_eq!(w.write(A, c, b"x"), Err(Errno::EPIPE));
        assert_eq!(w.hosts[B].sockets.len(), 1, "only the listener is left");
        w.close(A, c);
        assert_eq!(w.hosts[A].sockets.len(), 0);
    }
}

#[test]
fn a_silent_peer_times_out() {
    let mut w = World::new(6);
    w.set_loss(1.0);
    let c = w.tcp(A);
    w.set(A, c, 6, 7, 2).expect("TCP_SYNCNT");
    assert_eq!(w.connect(A, c, sa(B, 80)), Err(Errno::EINPROGRESS));
    assert!(w.run_until(MINUTE, |w| w.saw(A, c, ev::CLOSED)));
    assert_eq!(w.err(A, c), Some(Errno::ETIMEDOUT));
    w.close(A, c);
    assert_eq!(w.out(), 0);
}

#[test]
fn an_orphan_ends_by_itself_when_the_peer_is_gone() {
    let mut w = World::new(7);
    let l = w.listener(80, 5);
    let (c, _s) = w.pair(l, 80);
    // The peer never closes: FIN-WAIT-2 has a time limit.
    w.close(A, c);
    w.settle();
    assert_eq!(w.hosts[A].sockets.len(), 1);
    w.run(Duration::from_secs(120));
    assert_eq!(w.hosts[A].sockets.len(), 0);
    // And one whose data is never acknowledged.
    let (c, _s) = w.pair(l, 80);
    w.write(A, c, b"lost").expect("write");
    w.set_loss(1.0);
    w.close(A, c);
    w.run(MINUTE * 30);
    assert_eq!(w.hosts[A].sockets.len(), 0);
}

#[test]
fn keepalive_notices_a_dead_peer() {
    let mut w = World::new(8);
    let l = w.listener(80, 5);
    let (c, _s) = w.pair(l, 80);
    w.set(A, c, 6, 4, 10).expect("TCP_KEEPIDLE");
    w.set(A, c, 6, 5, 1).expect("TCP_KEEPINTVL");
    w.set(A, c, 6, 6, 3).expect("TCP_KEEPCNT");
    w.set(A, c, 1, 9, 1).expect("SO_KEEPALIVE");
    w.run(MINUTE);
    assert!(!w.saw(A, c, ev::CLOSED), "a live peer answers");
    w.set_loss(1.0);
    assert!(w.run_until(MINUTE, |w| w.saw(A, c, ev::CLOSED)));
    assert_eq!(w.err(A, c), Some(Errno::ETIMEDOUT));
}

#[test]
fn a_full_receiver_stops_the_sender_and_reading_starts_it_again() {
    let mut w = World::new(9);
    let l = w.listener(80, 5);
    let (c, s) = w.pair(l, 80);
    let mut sent = 0;
    for _ in 0..2000 {
        sent += w.write(A, c, &[5; 10_000]).unwrap_or(0);
        w.run(Duration::from_millis(20));
    }
    let (queued, _) = w.hosts[B].sockets.queued(s);
    assert!((200_000..=213_000).contains(&queued), "the receive buffer is full: {queued}");
    assert!(sent < 500_000, "the sender was stopped: {sent}");
    assert_eq!(w.hosts[A].sockets.write_space(c), 0);
    w.events.clear();
    let mut got = 0;
    assert!(w.run_until(MINUTE * 5, |w| {
        got += w.read(B, s).len();
        got == sent
    }));
    assert!(w.saw(A, c, ev::WRITE));
}

#[test]
fn bytes_held_downstream_close_the_window() {
    let mut w = World::new(10);
    let l = w.listener(80, 5);
    let (c, s) = w.pair(l, 80);
    let (mut sent, mut held) = (0usize, 0u32);
    for _ in 0..200 {
        sent += w.write(A, c, &[5; 10_000]).unwrap_or(0);
        w.run(Duration::from_millis(20));
        held += w.read(B, s).len() as u32;
        w.hosts[B].sockets.set_held(s, held);
    }
    assert!((200_000..214_000).contains(&held), "{held}");
    w.hosts[B].sockets.set_held(s, 0);
    let mut got = held as usize;
    assert!(w.run_until(MINUTE, |w| {
        got += w.read(B, s).len();
        got == sent
    }));
}

#[test]
fn a_connection_to_oneself_works() {
    let mut w = World::new(11);
    let l = w.listener(80, 5);
    let c = w.tcp(B);
    assert_eq!(
        w.connect(B, c, std::net::SocketAddr::new(Via::now().loopback(), 80)),
        Err(Errno::EINPROGRESS)
    );
    w.settle();
    let (s, from) = w.accept(B, l).expect("accept");
    assert_eq!(from, w.hosts[B].sockets.local_addr(c).expect("name"));
    assert_eq!(w.write(B, c, &[1; 100_000]), Ok(100_000));
    let mut got = 0;
    assert!(w.run_until(MINUTE, |w| {
        got += w.read(B, s).len();
        got == 100_000
    }));
    // Both ends of one socket: a simultaneous open with itself.
    let me = w.tcp(A);
    w.bind(A, me, sa(A, 4000)).expect("bind");
    assert_eq!(w.connect(A, me, sa(A, 4000)), Err(Errno::EINPROGRESS));
    w.settle();
    assert!(w.saw(A, me, ev::CONNECTED));
    assert_eq!(w.write(A, me, b"echo"), Ok(4));
    w.settle();
    assert_eq!(w.read(A, me), b"echo");
}

#[test]
fn ports_in_time_wait_serve_again_after_a_second() {
    // [RFC6191 2b]
    let mut w = World::new(13);
    w.hosts[A].sockets.set_port_range(60_000, 60_002);
    let l = w.listener(80, 8);
    for round in 0..20 {
        let (c, s) = w.pair(l, 80);
        w.write(A, c, b"x").expect("write");
        w.run(Duration::from_millis(10));
        assert_eq!(w.read(B, s), b"x");
        w.close(A, c);
        w.run(Duration::from_millis(10));
        w.close(B, s);
        w.run(Duration::from_millis(600));
        assert!(w.hosts[A].sockets.len() <= 3, "round {round}");
    }
    // Faster than that there is none.
    let mut errs = Vec::new();
    for _ in 0..4 {
        let c = w.tcp(A);
        errs.push(w.connect(A, c, sa(B, 80)));
    }
    assert_eq!(errs.last(), Some(&Err(Errno::EADDRNOTAVAIL)), "{errs:?}");
}

#[test]
fn ten_thousand_connections_leave_nothing() {
    let mut w = World::new(12);
    let l = w.listener(80, 64);
    for round in 0..200 {
        let conns: Vec<SockId> = (0..50)
            .map(|_| {
                let c = w.tcp(A);
                assert_eq!(w.connect(A, c, sa(B, 80)), Err(Errno::EINPROGRESS));
                c
            })
            .collect();
        let mut served = Vec::new();
        assert!(
            w.run_until(MINUTE, |w| {
                while let Ok((s, _)) = w.accept(B, l) {
                    served.push(s);
                }
                served.len() == 50
            }),
            "round {round}: {} accepted",
            served.len()
        );
        for (i, (c, s)) in conns.into_iter().zip(served).enumerate() {
            w.write(A, c, b"ping").expect("write");
            if i % 3 == 0 {
                w.close(B, s);
                w.close(A, c);
            } else {
                w.close(A, c);
                w.close(B, s);
            }
        }
        w.events.clear();
        w.run(Duration::from_millis(500));
    }
    w.close(B, l);
    w.run(MINUTE * 3);
    assert_eq!((w.hosts[A].sockets.len(), w.hosts[B].sockets.len()), (0, 0));
    assert_eq!(w.hosts[A].sockets.deadline(), iopkt_base::Instant::FAR);
    assert_eq!(w.out(), 0);
}

#[test]
fn over_ipv6_and_by_mapped_addresses() {
    again(&[], &[]);
}
