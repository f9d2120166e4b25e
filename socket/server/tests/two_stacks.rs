//! Programs on two stacks talk, with a host that cuts, refuses and runs out, and a link that loses.

mod common;
use common::{World, sa};
use iopkt_base::{Duration, Errno};
use iopkt_sockproto::linux::*;
use iopkt_sockproto::{Addr, DgramHdr, Op};

fn byte(i: usize) -> u8 {
    (i.wrapping_mul(2_654_435_761) >> 11) as u8
}

/// Sends `n` bytes from one to the other, then shuts the sender down; checks every byte.
fn transfer(seed: u64, loss: u32, short: u8, again: u8, n: usize) {
    let mut w = World::new(seed);
    let (p, q) = (w.program(0), w.program(1));
    let (a, b) = w.connected(&p, &q);
    w.set_loss(f64::from(loss) / 256.0);
    w.host_faults(seed, short, again, 0);
    let (mut sent, mut got, mut shut) = (0, 0, false);
    let mut buf = [0; 5000];
    w.until("the end of the stream", |_| {
        while sent < n {
            let len = (n - sent).min(3001);
            let part: Vec<u8> = (sent..sent + len).map(byte).collect();
            match a.write(&part) {
                Ok(m) => sent += m,
                Err(Errno::EAGAIN) => break,
                Err(e) => panic!("write: {e}"),
            }
        }
        if sent == n && !shut {
            a.shutdown(1);
            shut = true;
        }
        loop {
            match b.read(&mut buf) {
                Ok(0) => return true,
                Ok(m) => {
                    assert!(buf[..m].iter().enumerate().all(|(i, x)| *x == byte(got + i)), "at {got}");
                    got += m;
                }
                Err(Errno::EAGAIN) => return false,
                Err(e) => panic!("read: {e}"),
            }
        }
    });
    assert_eq!(got, n);
    drop((a, b, p, q));
    w.set_loss(0.0);
    w.end();
}

#[test]
fn a_stream_arrives_whole() {
    transfer(1, 0, 0, 0, 3_000_000);
}

#[test]
fn a_stream_arrives_whole_through_a_host_that_cuts() {
    for seed in 2..6 {
        transfer(seed, 0, 128, 64, 300_000);
    }
}

#[test]
fn a_stream_arrives_whole_over_a_lossy_link() {
    for seed in 10..14 {
        transfer(seed, 10, 64, 32, 200_000);
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    let run = || {
        let mut w = World::new(99);
        let (p, q) = (w.program(0), w.program(1));
        let (a, b) = w.connected(&p, &q);
        w.host_faults(99, 100, 50, 0);
        w.set_loss(20.0 / 256.0);
        let (mut sent, mut got) = (0, 0);
        w.until("all", |_| {
            while let Ok(n) = a.write(&[7; 999][..(100_000 - sent).min(999)]) {
                sent += n;
                if n == 0 {
                    break;
                }
            }
            while let Ok(n) = b.read(&mut [0; 4096]) {
                got += n;
            }
            got == 100_000
        });
        w.now
    };
    assert_eq!(run(), run());
}

#[test]
fn refused_resets_and_both_ways_of_telling() {
    let mut w = World::new(20);
    let p = w.program(0);
    let a = w.socket(&p, SOCK_STREAM).unwrap();
    assert_eq!(w.at(&p, Op::Connect, "10.0.0.2:9", &a), Err(Errno::EINPROGRESS));
    assert!(!a.poll().writable);
    assert_eq!(w.ask(&p, Op::ConnectStatus, &[], &a), Err(Errno::EINPROGRESS));
    w.until("an answer", |_| a.poll().writable);
    assert!(a.poll().error && a.poll().hup);
    assert_eq!(w.ask(&p, Op::ConnectStatus, &[], &a), Err(Errno::ECONNREFUSED));
    assert_eq!(w.ask(&p, Op::ConnectStatus, &[], &a), Err(Errno::ENOTCONN));
    drop((a, p));
    w.end();
}

#[test]
fn nobody_answers_is_a_time_out() {
    let mut w = World::new(21);
    let p = w.program(0);
    w.set_loss(1.0);
    let a = w.socket(&p, SOCK_STREAM).unwrap();
    assert_eq!(w.at(&p, Op::Connect, "10.0.0.2:9", &a), Err(Errno::EINPROGRESS));
    w.until("it gives up", |_| a.poll().writable);
    let e = w.ask(&p, Op::ConnectStatus, &[], &a).unwrap_err();
    assert!(e == Errno::ETIMEDOUT || e == Errno::EHOSTUNREACH || e == Errno::EHOSTDOWN, "{e:?}");
    drop((a, p));
    w.end();
}

#[test]
fn a_program_that_dies_while_the_link_is_down_leaves_nothing() {
    let mut w = World::new(22);
    let (p, q) = (w.program(0), w.program(1));
    let (a, b) = w.connected(&p, &q);
    while a.write(&[1; 4096]).is_ok() {}
    w.pass(Duration::from_millis(50));
    while a.write(&[1; 4096]).is_ok() {}
    w.set_loss(1.0);
    drop((a, b, p, q));
    w.pass(Duration::from_secs(3));
    w.set_loss(0.0);
    w.end();
}

#[test]
fn a_program_that_dies_for_good_with_nobody_at_the_other_end_leaves_nothing() {
    let mut w = World::new(23);
    let (p, q) = (w.program(0), w.program(1));
    let (a, b) = w.connected(&p, &q);
    while a.write(&[1; 4096]).is_ok() {}
    w.set_loss(1.0);
    drop((a, b, p, q));
    w.end();
}

#[test]
fn out_of_descriptors_an_accept_can_be_tried_again() {
    let mut w = World::new(24);
    let (p, q) = (w.program(0), w.program(1));
    let l = w.listener(&q, "10.0.0.2:80");
    let c = w.socket(&p, SOCK_STREAM).unwrap();
    assert_eq!(w.at(&p, Op::Connect, "10.0.0.2:80", &c), Err(Errno::EINPROGRESS));
    w.until("readable", |_| l.poll().readable);
    w.host_faults(1, 0, 0, 255);
    for _ in 0..3 {
        assert_eq!(w.accept(&q, &l).map(drop), Err(Errno::EMFILE));
        w.settle();
        assert!(l.poll().readable, "it still waits");
    }
    w.no_host_faults();
    let b = w.accept(&q, &l).unwrap();
    assert!(!l.poll().readable);
    c.write(b"hello").unwrap();
    w.until("data", |_| b.poll().readable);
    drop((b, c, l, p, q));
    w.end();
}

#[test]
fn datagrams_both_forms() {
    let mut w = World::new(25);
    let (p, q) = (w.program(0), w.program(1));
    let (a, b) = (w.socket(&p, SOCK_DGRAM).unwrap(), w.socket(&q, SOCK_DGRAM).unwrap());
    w.at(&q, Op::Bind, "10.0.0.2:53", &b).unwrap();
    w.at(&p, Op::Connect, "10.0.0.2:53", &a).unwrap();
    a.write(b"question").unwrap();
    w.until("arrived", |_| b.poll().readable);
    let mut buf = [0; 200];
    let n = b.read(&mut buf).unwrap();
    let (h, data) = DgramHdr::decode(&buf[..n], common::KEY).expect("a header");
    assert_eq!(data, b"question");
    let reply = DgramHdr { peer: h.peer, ..DgramHdr::default() };
    b.write(&[&reply.encode(common::KEY)[..], b"answer"].concat()).unwrap();
    w.until("arrived", |_| a.poll().readable);
    let n = a.read(&mut buf).unwrap();
    assert_eq!(&buf[..n], b"answer");
    // A header is understood on a connected socket too.
    let c = w.socket(&q, SOCK_DGRAM).unwrap();
    w.at(&q, Op::Bind, "10.0.0.2:54", &c).unwrap();
    let other = DgramHdr { peer: Addr(Some(sa("10.0.0.2:54"))), ..DgramHdr::default() };
    a.write(&[&other.encode(common::KEY)[..], b"elsewhere"].concat()).unwrap();
    w.until("arrived", |_| c.poll().readable);
    drop((a, b, c, p, q));
    w.end();
}

#[test]
fn many_datagrams_survive_a_host_that_refuses() {
    let mut w = World::new(26);
    let (p, q) = (w.program(0), w.program(1));
    let (a, b) = (w.socket(&p, SOCK_DGRAM).unwrap(), w.socket(&q, SOCK_DGRAM).unwrap());
    w.at(&q, Op::Bind, "10.0.0.2:53", &b).unwrap();
    w.at(&p, Op::Connect, "10.0.0.2:53", &a).unwrap();
    // The first waits for ARP, whose queue is short.
    a.write(&0u32.to_ne_bytes()).unwrap();
    w.until("the way is known", |_| b.poll().readable);
    w.host_faults(26, 0, 128, 0);
    let (mut sent, mut next) = (1u32, 0u32);
    w.until("all", |_| {
        // Not more than a queue's length ahead: none is lost for want of room.
        while sent < next + 60 && sent < 2000 && a.write(&sent.to_ne_bytes()).is_ok() {
            sent += 1;
        }
        let mut buf = [0; 200];
        while let Ok(n) = b.read(&mut buf) {
            let (_, d) = DgramHdr::decode(&buf[..n], common::KEY).expect("a header");
            assert_eq!(d, next.to_ne_bytes());
            next += 1;
        }
        next == 2000
    });
    drop((a, b, p, q));
    w.end();
}

#[test]
fn a_dead_program_does_not_wait_for_ever_for_a_peer_that_reads_nothing() {
    let mut w = World::new(27);
    let (p, q) = (w.program(0), w.program(1));
    let (a, b) = w.connected(&p, &q);
    // Everything is full on both sides; the reader lives and keeps its window shut.
    let mut idle = 0;
    while idle < 20 {
        idle += 1;
        while a.write(&[1; 4096]).is_ok() {
            idle = 0;
        }
        w.pass(Duration::from_millis(200));
    }
    drop((a, p));
    w.pass(Duration::from_secs(60));
    assert_eq!(w.server(0).held().sockets, 1, "it still tries");
    w.pass(Duration::from_secs(300));
    assert_eq!(w.server(0).held().sockets, 0);
    // The reader gets what there is, then the reset.
    let mut n = 0;
    let end = loop {
        match b.read(&mut [0; 65_536]) {
            Ok(m) if m > 0 => n += m,
            Err(Errno::EAGAIN) => w.advance(),
            r => break r,
        }
    };
    assert!(n > 100_000);
    assert_eq!(end, Err(Errno::ECONNRESET));
    drop((b, q));
    w.end();
}
