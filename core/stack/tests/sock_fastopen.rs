//! TCP Fast Open by Linux's socket options: cookies asked for, kept and used; limits; keys.

mod world;

use iopkt_base::{Duration, Errno};
use iopkt_stack::sockets::{SockId, ev};
use world::*;

const TCP: i32 = 6;
const FASTOPEN: i32 = 23;
const CONNECT: i32 = 30;
const KEY: i32 = 33;
const NO_COOKIE: i32 = 34;
const INFO: i32 = 11;

/// Both hosts with Fast Open switched on, and a listener on B with room for `qlen`.
fn world(seed: u64, qlen: i32) -> (World, SockId) {
    let mut w = World::new(seed);
    for h in [A, B] {
        assert!(w.hosts[h].sockets.set_tunable("net.inet.tcp.fastopen", 3));
    }
    let l = w.listener(80, 64);
    w.set(B, l, TCP, FASTOPEN, qlen).unwrap();
    (w, l)
}

/// sendto(2) with MSG_FASTOPEN.
fn send(w: &mut World, s: SockId, data: &[u8]) -> Result<usize, Errno> {
    let now = w.now;
    let h = &mut w.hosts[A];
    h.begin(now);
    h.sockets.connect_sending(&mut h.cx, &mut h.net, s, sa(B, 80), data)
}

/// Gets a cookie.
fn prime(w: &mut World, l: SockId) {
    let c = w.tcp(A);
    assert_eq!(send(w, c, b"first"), Err(Errno::EINPROGRESS), "no cookie yet");
    w.settle();
    assert!(w.saw(A, c, ev::CONNECTED));
    let (s, _) = w.accept(B, l).unwrap();
    w.close(A, c);
    w.close(B, s);
    w.settle();
}

/// tcpi_options, tcpi_fastopen_client_fail.
fn info(w: &mut World, h: usize, s: SockId) -> (u8, u8) {
    let mut b = [0; 248];
    w.get_bytes(h, s, TCP, INFO, &mut b).unwrap();
    (b[5], b[7] >> 1 & 3)
}

#[test]
fn the_second_connection_carries_its_data_in_the_syn() {
    // [RFC7413 4.1.2] [RFC7413 4.1.3a] [RFC7413 4.2.2a]
    let (mut w, l) = world(1, 5);
    prime(&mut w, l);
    let c = w.tcp(A);
    assert_eq!(send(&mut w, c, b"hello"), Ok(5));
    // One way is enough: accepted and readable before the handshake ends.
    assert!(w.run_until(Duration::from_micros(1500), |w| w.hosts[B].sockets.accept_waiting(l) == 1));
    let (s, _) = w.accept(B, l).unwrap();
    assert_eq!(w.read(B, s), b"hello");
    assert_eq!(w.write(B, s, b"hi"), Ok(2));
    w.settle();
    assert!(w.saw(A, c, ev::CONNECTED));
    assert_eq!(w.read(A, c), b"hi");
    let ((oc, fc), (os, _)) = (info(&mut w, A, c), info(&mut w, B, s));
    assert_eq!((oc & 32, fc, os & 32), (32, 0, 32), "TCPI_OPT_SYN_DATA");
    assert_eq!(counter(&w, A, "opened with data"), 1);
    assert_eq!(counter(&w, B, "accepted with data"), 1);
    // Linux: the first such call after a connect that did not wait finds out that it is over, and sends.
    assert_eq!(send(&mut w, c, b"x"), Ok(1));
    assert_eq!(send(&mut w, c, b"x"), Err(Errno::EISCONN));
    w.close(A, c);
    w.close(B, s);
    w.close(B, l);
    w.run(Duration::from_secs(120));
    assert_eq!((w.hosts[A].sockets.len(), w.hosts[B].sockets.len()), (0, 0));
    assert_eq!(w.out(), 0);
}

#[test]
fn connect_waits_for_the_first_write_once_there_is_a_cookie() {
    let (mut w, l) = world(2, 5);
    let c = w.tcp(A);
    w.set(A, c, TCP, CONNECT, 1).unwrap();
    assert_eq!(w.get(A, c, TCP, CONNECT), Ok(1));
    assert_eq!(w.connect(A, c, sa(B, 80)), Err(Errno::EINPROGRESS), "this one asks for it");
    w.settle();
    assert_eq!(info(&mut w, A, c).1, 1, "TFO_COOKIE_UNAVAILABLE");
    w.accept(B, l).unwrap();
    let c = w.tcp(A);
    w.set(A, c, TCP, CONNECT, 1).unwrap();
    assert_eq!(w.connect(A, c, sa(B, 80)), Ok(()));
    let sent = w.sent;
    w.run(Duration::from_secs(20));
    assert_eq!(w.sent, sent, "nothing goes");
    assert!(w.saw(A, c, ev::WRITE));
    assert_eq!(w.connect(A, c, sa(B, 80)), Err(Errno::EISCONN));
    assert!(w.hosts[A].sockets.write_room(c).unwrap() > 1000);
    assert_eq!(w.write(A, c, b"GET"), Ok(3));
    assert_eq!(w.write(A, c, b" /"), Err(Errno::EAGAIN), "until the handshake ends");
    w.settle();
    let (s, _) = w.accept(B, l).unwrap();
    assert_eq!(w.read(B, s), b"GET");
    assert_eq!(w.write(A, c, b" /"), Ok(2));
    w.settle();
    assert_eq!(w.read(B, s), b" /");
    // A socket that only shuts down opens all the same.
    let c = w.tcp(A);
    w.set(A, c, TCP, CONNECT, 1).unwrap();
    assert_eq!(w.connect(A, c, sa(B, 80)), Ok(()));
    w.shutdown(A, c, 1).unwrap();
    w.settle();
    let (s, _) = w.accept(B, l).unwrap();
    assert!(w.at_eof(B, s));
    // And one that is closed before its first write leaves nothing.
    let (before, c) = (w.hosts[A].sockets.len(), w.tcp(A));
    w.set(A, c, TCP, CONNECT, 1).unwrap();
    assert_eq!(w.connect(A, c, sa(B, 80)), Ok(()));
    w.close(A, c);
    assert_eq!(w.hosts[A].sockets.len(), before);
}

#[test]
fn the_listeners_limit_falls_back_to_the_handshake() {
    // [RFC7413 5.1a] [RFC7413 5.1b]
    let (mut w, l) = world(3, 2);
    prime(&mut w, l);
    // The client's ACKs do not arrive: the handshakes do not end.
    let mut clients = Vec::new();
    for _ in 0..3 {
        let c = w.tcp(A);
        assert_eq!(send(&mut w, c, b"x"), Ok(1));
        clients.push(c);
    }
    w.run(Duration::from_micros(1200));
    assert_eq!(w.hosts[B].sockets.accept_waiting(l), 2, "the third one waits for its handshake");
    assert_eq!(counter(&w, B, "full queue"), 1);
    w.settle();
    assert_eq!(w.hosts[B].sockets.accept_waiting(l), 3);
    // The places are free again.
    let c = w.tcp(A);
    assert_eq!(send(&mut w, c, b"x"), Ok(1));
    w.run(Duration::from_micros(1200));
    assert_eq!(w.hosts[B].sockets.accept_waiting(l), 4);
}

#[test]
fn a_reset_before_the_handshake_ends_counts_for_a_minute() {
    // [RFC7413 5.1a]
    let (mut w, l) = world(4, 1);
    prime(&mut w, l);
    let c = w.tcp(A);
    assert_eq!(send(&mut w, c, b"x"), Ok(1));
    w.run(Duration::from_micros(1200));
    let (s, _) = w.accept(B, l).unwrap();
    // The client vanishes: the SYN-ACK finds nobody and is reset.
    w.close(A, c);
    w.settle();
    assert_eq!(w.write(B, s, b"y"), Err(Errno::ECONNRESET));
    w.close(B, s);
    let fast = |w: &mut World| {
        let c = w.tcp(A);
        assert_eq!(send(w, c, b"x"), Ok(1));
        w.run(Duration::from_micros(1200));
        let fast = w.hosts[B].sockets.accept_waiting(l) == 1;
        w.settle();
        let (s, _) = w.accept(B, l).unwrap();
        assert_eq!(w.read(B, s), b"x", "it arrives in any case");
        fast
    };
    assert!(!fast(&mut w));
    w.run(Duration::from_secs(60));
    assert!(fast(&mut w));
}

#[test]
fn keys_make_cookies_and_an_old_key_is_still_good() {
    // [RFC7413 4.1.2] [RFC7413 4.2.2a] [RFC7413 4.2.2b]
    let (mut w, l) = world(5, 5);
    let mut b = [0; 64];
    assert_eq!(w.get_bytes(B, l, TCP, KEY, &mut b), Ok(16));
    assert_eq!(w.set_bytes(B, l, TCP, KEY, &[1; 15]), Err(Errno::EINVAL));
    w.set_bytes(B, l, TCP, KEY, &[1; 16]).unwrap();
    prime(&mut w, l);
    let opened = |w: &mut World, n: u64| {
        let c = w.tcp(A);
        assert_eq!(send(w, c, b"x"), Ok(1));
        w.settle();
        let (s, _) = w.accept(B, l).unwrap();
        assert_eq!(w.read(B, s), b"x");
        assert_eq!(counter(w, B, "accepted with data"), n);
    };
    opened(&mut w, 1);
    // A new key, the old one behind it: the client gets a new cookie and loses nothing.
    let mut both = [2; 32];
    both[16..].fill(1);
    w.set_bytes(B, l, TCP, KEY, &both).unwrap();
    assert_eq!(w.get_bytes(B, l, TCP, KEY, &mut b), Ok(32));
    assert_eq!(b[..32], both);
    opened(&mut w, 2);
    w.set_bytes(B, l, TCP, KEY, &[2; 16]).unwrap();
    opened(&mut w, 3);
    // A key that the client has no cookie of: one round trip more, once.
    w.set_bytes(B, l, TCP, KEY, &[3; 16]).unwrap();
    opened(&mut w, 3);
    assert_eq!(counter(&w, B, "bad Fast Open cookies"), 1);
    opened(&mut w, 4);
}

#[test]
fn without_cookies_when_both_sides_say_so() {
    let (mut w, l) = world(6, 5);
    let c = w.tcp(A);
    w.set(A, c, TCP, NO_COOKIE, 1).unwrap();
    w.set(B, l, TCP, NO_COOKIE, 1).unwrap();
    assert_eq!(send(&mut w, c, b"bare"), Ok(4));
    w.run(Duration::from_micros(1200));
    let (s, _) = w.accept(B, l).unwrap();
    assert_eq!(w.read(B, s), b"bare");
    // By the bits for everybody.
    w.set(B, l, TCP, NO_COOKIE, 0).unwrap();
    assert!(w.hosts[A].sockets.set_tunable("net.inet.tcp.fastopen", 5));
    assert!(w.hosts[B].sockets.set_tunable("net.inet.tcp.fastopen", 0x602));
    w.set(B, l, TCP, FASTOPEN, 0).unwrap();
    let c = w.tcp(A);
    assert_eq!(send(&mut w, c, b"more"), Ok(4));
    w.run(Duration::from_micros(1200));
    let (s, _) = w.accept(B, l).unwrap();
    assert_eq!(w.read(B, s), b"more");
    assert!(!w.hosts[B].sockets.set_tunable("net.inet.tcp.fastopen", 8), "a bit that means nothing");
}

#[test]
fn options_and_their_errors_are_linuxs() {
    let (mut w, l) = world(7, 5);
    assert_eq!(w.get(B, l, TCP, FASTOPEN), Ok(5));
    assert_eq!(w.set(B, l, TCP, FASTOPEN, -1), Err(Errno::EINVAL));
    assert_eq!(w.set(B, l, TCP, FASTOPEN, 1 << 30), Ok(()));
    assert_eq!(w.get(B, l, TCP, FASTOPEN), Ok(4096), "capped by somaxconn");
    assert_eq!(w.set(B, l, TCP, CONNECT, 1), Err(Errno::EINVAL), "not on a listener");
    let c = w.tcp(A);
    assert_eq!(w.set(A, c, TCP, CONNECT, 2), Err(Errno::EINVAL));
    assert_eq!(w.set(A, c, TCP, NO_COOKIE, 2), Err(Errno::EINVAL));
    assert!(w.hosts[A].sockets.set_tunable("net.inet.tcp.fastopen", 0));
    assert_eq!(w.set(A, c, TCP, CONNECT, 1), Err(Errno::EOPNOTSUPP));
    assert_eq!(send(&mut w, c, b"x"), Err(Errno::EOPNOTSUPP));
    let (c, _) = w.pair(l, 80);
    for name in [FASTOPEN, NO_COOKIE] {
        assert_eq!(w.set(A, c, TCP, name, 1), Err(Errno::EINVAL), "connected");
    }
}

#[test]
fn a_server_without_it_gets_the_data_after_the_handshake() {
    let (mut w, l) = world(8, 0);
    let c = w.tcp(A);
    assert_eq!(send(&mut w, c, b"x"), Err(Errno::EINPROGRESS));
    w.settle();
    assert_eq!(w.write(A, c, b"x"), Ok(1));
    w.settle();
    let (s, _) = w.accept(B, l).unwrap();
    assert_eq!(w.read(B, s), b"x");
}

#[test]
fn paths_that_lose_syns_with_data_are_left_alone_for_a_while() {
    // [RFC7413 4.1.3b]
    let (mut w, l) = world(9, 5);
    prime(&mut w, l);
    let open = |w: &mut World, data: Result<usize, Errno>| {
        w.loss_from(A, 1.0);
        let c = w.tcp(A);
        let got = send(w, c, b"x");
        w.run(Duration::from_millis(500));
        w.loss_from(A, 0.0);
        w.run(Duration::from_secs(3));
        assert!(w.saw(A, c, ev::CONNECTED));
        assert_eq!(got, data);
        while w.accept(B, l).is_ok() {}
    };
    open(&mut w, Ok(1));
    open(&mut w, Ok(1));
    open(&mut w, Err(Errno::EINPROGRESS));
    w.run(Duration::from_secs(241));
    open(&mut w, Ok(1));
}

#[test]
fn what_is_kept_of_peers_is_bounded() {
    // [RFC7413 4.1.3d]
    let (mut w, l) = world(10, 5);
    prime(&mut w, l);
    w.hosts[A].sockets.forget_cookies();
    let c = w.tcp(A);
    assert_eq!(send(&mut w, c, b"first"), Err(Errno::EINPROGRESS), "asks again");
}

#[test]
fn over_ipv6_and_by_mapped_addresses() {
    again(&[], &[]);
}
