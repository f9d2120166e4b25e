//! Readiness, wake-ups, timers.

use iopkt_sys::{Epoll, Interest, Timer, Waker, clock, unix};
use rustix::net::SocketType;
use std::time::Duration;

#[test]
fn a_waker_wakes_once_per_drain() {
    let (ep, w) = (Epoll::new().unwrap(), Waker::new().unwrap());
    ep.add(&w, 7, Interest::READ).unwrap();
    let mut out = Vec::new();
    assert_eq!(ep.wait(&mut out, 8, Some(Duration::ZERO)).unwrap(), 0);
    let w2 = w.clone();
    std::thread::spawn(move || {
        w2.wake();
        w2.wake();
    })
    .join()
    .unwrap();
    assert_eq!(ep.wait(&mut out, 8, None).unwrap(), 1);
    assert!(out[0].token == 7 && out[0].read && !out[0].hup);
    assert!(w.drain());
    assert!(!w.drain());
    assert_eq!(ep.wait(&mut out, 8, Some(Duration::ZERO)).unwrap(), 0);
}

#[test]
fn hang_up_and_half_close_are_told_apart() {
    let ep = Epoll::new().unwrap();
    let (a, b) = unix::pair(SocketType::STREAM).unwrap();
    ep.add(&a, 1, Interest::READ).unwrap();
    let mut out = Vec::new();
    rustix::net::shutdown(&b, rustix::net::Shutdown::Write).unwrap();
    ep.wait(&mut out, 8, None).unwrap();
    assert!(out[0].rdhup && !out[0].hup);
    drop(b);
    out.clear();
    ep.wait(&mut out, 8, None).unwrap();
    assert!(out[0].hup);
}

#[test]
fn the_wait_is_never_short_of_its_timeout() {
    let ep = Epoll::new().unwrap();
    for us in [1u64, 300, 1500] {
        let before = clock::monotonic();
        ep.wait(&mut Vec::new(), 1, Some(Duration::from_micros(us))).unwrap();
        assert!(clock::monotonic().since(before) >= Duration::from_micros(us));
    }
}

#[test]
fn a_timer_runs_out_once() {
    let (ep, t) = (Epoll::new().unwrap(), Timer::new().unwrap());
    ep.add(&t, 1, Interest::READ).unwrap();
    t.set(Some(Duration::ZERO)).unwrap();
    assert_eq!(ep.wait(&mut Vec::new(), 1, None).unwrap(), 1);
    assert!(t.drain());
    assert_eq!(ep.wait(&mut Vec::new(), 1, Some(Duration::from_millis(2))).unwrap(), 0);
    t.set(Some(Duration::from_secs(3600))).unwrap();
    t.set(None).unwrap();
    assert!(!t.drain());
}
