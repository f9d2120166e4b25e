//! poll, select, epoll (level and edge), and what the kernel gives for nothing: peek, time-outs, counts.

mod common;
use common::{Rig, Watchdog, connected};
use iopkt_sockproto::linux::*;
use iopkt_sockproto::{Op, Req};
use iopkt_sys::{Epoll, Interest};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

fn now(fd: impl AsFd) -> PollFlags {
    wait(fd, 0)
}

fn wait(fd: impl AsFd, secs: i64) -> PollFlags {
    let mut p = [PollFd::new(&fd, PollFlags::IN | PollFlags::OUT | PollFlags::RDHUP)];
    poll(&mut p, Some(&Timespec { tv_sec: secs, tv_nsec: 0 })).unwrap();
    p[0].revents()
}

fn wait_in(fd: impl AsFd) {
    let mut p = [PollFd::new(&fd, PollFlags::IN)];
    assert_eq!(poll(&mut p, Some(&Timespec { tv_sec: 10, tv_nsec: 0 })), Ok(1));
}

fn ioctl(s: &iopkt_client::Session, fd: impl AsFd, what: u32) -> i32 {
    let mut r = Req::new(Op::Ioctl, 0);
    r.args[0] = what as i32;
    s.call(r, &[], Some(fd.as_fd())).unwrap().rep.val[0]
}

#[test]
fn readable_writable_and_the_end() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    let (mut a, mut b) = connected(&s);
    assert_eq!(now(&a), PollFlags::OUT);
    b.write_all(b"x").unwrap();
    wait_in(&a);
    a.read_exact(&mut [0]).unwrap();
    assert_eq!(now(&a), PollFlags::OUT);
    b.shutdown(std::net::Shutdown::Write).unwrap();
    wait_in(&a);
    assert_eq!(now(&a), PollFlags::IN | PollFlags::OUT | PollFlags::RDHUP);
    a.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(now(&a).contains(PollFlags::HUP));
}

#[test]
fn full_is_not_writable_until_the_peer_reads() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    let (mut a, mut b) = connected(&s);
    a.set_nonblocking(true).unwrap();
    let epoll = Epoll::new().unwrap();
    epoll.add(&a, 1, Interest::WRITE.edge()).unwrap();
    let mut sent = 0;
    // Everything is full when nothing moves for a while.
    loop {
        match a.write(&[7; 65_536]) {
            Ok(n) => sent += n,
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                let mut p = [PollFd::new(&a, PollFlags::OUT)];
                if poll(&mut p, Some(&Timespec { tv_sec: 0, tv_nsec: 500_000_000 })).unwrap() == 0 {
                    break;
                }
            }
            Err(e) => panic!("{e}"),
        }
    }
    assert!(sent > 200_000 && sent < 40 << 20, "bounded: {sent}");
    let mut evs = Vec::new();
    epoll.wait(&mut evs, 4, Some(Duration::ZERO)).unwrap();
    evs.clear();
    let mut buf = vec![0; sent];
    b.read_exact(&mut buf).unwrap();
    assert!(buf.iter().all(|x| *x == 7));
    epoll.wait(&mut evs, 4, Some(Duration::from_secs(10))).unwrap();
    assert!(evs[0].write, "an edge");
}

#[test]
fn every_arrival_is_an_edge() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    let (a, mut b) = connected(&s);
    let epoll = Epoll::new().unwrap();
    epoll.add(&a, 1, Interest::READ.edge()).unwrap();
    for i in 1..4u64 {
        b.write_all(b"x").unwrap();
        let mut evs = Vec::new();
        epoll.wait(&mut evs, 4, Some(Duration::from_secs(10))).unwrap();
        assert!(evs[0].read);
        assert_eq!(rustix::io::ioctl_fionread(&a).unwrap(), i);
    }
}

#[test]
fn select_works() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    let (a, mut b) = connected(&s);
    b.write_all(b"x").unwrap();
    let raw = a.as_fd().as_raw_fd();
    let mut t = libc::timeval { tv_sec: 10, tv_usec: 0 };
    let none = std::ptr::null_mut();
    // SAFETY: an all-zero fd_set is the empty set; `raw` is open and below FD_SETSIZE (a test has few
    // descriptors); the pointers are to locals that live through the call.
    let (n, is_set) = unsafe {
        let mut set: libc::fd_set = std::mem::zeroed();
        libc::FD_SET(raw, &mut set);
        let n = libc::select(raw + 1, &mut set, none, none, &mut t);
        (n, libc::FD_ISSET(raw, &set))
    };
    assert!(n == 1 && is_set);
}

#[test]
fn peek_and_wait_for_all_are_the_kernels() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    let (a, mut b) = connected(&s);
    b.write_all(b"abc").unwrap();
    let mut buf = [0; 6];
    wait_in(&a);
    let n = recv(&a, &mut buf[..], RecvFlags::PEEK).unwrap().0;
    assert_eq!(buf[0], b'a');
    assert!(n >= 1);
    let t = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        b.write_all(b"def").unwrap();
        b
    });
    assert_eq!(recv(&a, &mut buf[..], RecvFlags::WAITALL).unwrap().0, 6);
    assert_eq!(&buf, b"abcdef");
    t.join().unwrap();
}

#[test]
fn receive_time_outs_are_the_kernels() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    let (mut a, _b) = connected(&s);
    a.set_read_timeout(Some(Duration::from_millis(30))).unwrap();
    let e = a.read(&mut [0]).unwrap_err();
    assert_eq!(e.raw_os_error(), Some(libc::EAGAIN));
    let v = a.option(SOL_SOCKET, SO_RCVTIMEO_OLD, 16).unwrap();
    assert_eq!(v, [0i64.to_ne_bytes(), 30_000i64.to_ne_bytes()].concat());
}

#[test]
fn urgent_data_by_the_stack_has_its_mark_at_the_other_program() {
    // [RFC9293 MUST-32] [RFC9293 MUST-33] [RFC6093 6a]
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    let (a, mut b) = connected(&s);
    let urgent = |data: &[u8]| {
        let mut r = Req::new(Op::Send, 0);
        r.args[0] = MSG_OOB;
        s.call(r, data, Some(a.as_fd())).map(|r| r.rep.val[0]).unwrap()
    };
    assert_eq!(ioctl(&s, &b, SIOCATMARK), 0);
    send(&a, b"ab", SendFlags::NOSIGNAL).unwrap();
    assert_eq!(urgent(b"cU"), 2);
    send(&a, b"de", SendFlags::NOSIGNAL).unwrap();
    let mut p = [PollFd::new(&b, PollFlags::PRI)];
    assert_eq!(poll(&mut p, Some(&Timespec { tv_sec: 60, tv_nsec: 0 })).unwrap(), 1);
    let mut buf = [0; 3];
    let n = recv(&b, &mut buf[..1], RecvFlags::OOB).unwrap().0;
    assert_eq!((n, buf[0]), (1, b'U'));
    b.read_exact(&mut buf).unwrap();
    assert_eq!(&buf, b"abc");
    assert_eq!(ioctl(&s, &b, SIOCATMARK), 1);
    b.read_exact(&mut buf[..2]).unwrap();
    assert_eq!(&buf[..2], b"de");
    // In line; and behind more than the pair's other side takes at once, each in its place.
    b.set_option(SOL_SOCKET, SO_OOBINLINE, &1i32.to_ne_bytes()).unwrap();
    let bulk = vec![7; 300_000];
    let mut want = Vec::new();
    std::thread::scope(|t| {
        t.spawn(|| {
            for i in 0..8 {
                let mut at = 0;
                while at < bulk.len() {
                    at += send(&a, &bulk[at..], SendFlags::NOSIGNAL).unwrap();
                }
                assert_eq!(urgent(&[b'0' + i]), 1);
            }
        });
        for i in 0..8 {
            want.extend_from_slice(&bulk);
            want.push(b'0' + i);
        }
        let mut got = vec![0; want.len()];
        b.read_exact(&mut got).unwrap();
        assert!(got == want);
    });
}

#[test]
fn bytes_waiting_and_bytes_not_acknowledged() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    let (mut a, b) = connected(&s);
    assert_eq!(ioctl(&s, &a, SIOCOUTQ), 0);
    a.write_all(&[1; 1000]).unwrap();
    let end = std::time::Instant::now() + Duration::from_secs(10);
    while ioctl(&s, &b, SIOCINQ) != 1000 || ioctl(&s, &a, SIOCOUTQ) != 0 {
        assert!(std::time::Instant::now() < end);
    }
    assert_eq!(rustix::io::ioctl_fionread(&b).unwrap(), 1000);
    // Nobody reads: what cannot leave is counted.
    a.set_nonblocking(true).unwrap();
    let mut last = 0;
    loop {
        while a.write(&[1; 65_536]).is_ok() {}
        std::thread::sleep(Duration::from_millis(100));
        let q = ioctl(&s, &a, SIOCOUTQ);
        if q == last && q > 0 {
            break;
        }
        last = q;
    }
    assert!(last > 10_000, "{last}");
}

#[test]
fn options_are_the_stacks() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    let (a, _b) = connected(&s);
    let int = |v: Vec<u8>| i32::from_ne_bytes(v.try_into().unwrap());
    assert_eq!(int(a.option(SOL_SOCKET, SO_TYPE, 4).unwrap()), SOCK_STREAM);
    assert_eq!(int(a.option(SOL_SOCKET, SO_DOMAIN, 4).unwrap()), AF_INET);
    assert_eq!(int(a.option(SOL_SOCKET, SO_PROTOCOL, 4).unwrap()), IPPROTO_TCP);
    assert_eq!(int(a.option(SOL_SOCKET, SO_ERROR, 4).unwrap()), 0);
    let nodelay = libc::TCP_NODELAY;
    a.set_option(IPPROTO_TCP, nodelay, &1i32.to_ne_bytes()).unwrap();
    assert_eq!(int(a.option(IPPROTO_TCP, nodelay, 4).unwrap()), 1);
    assert_eq!(a.option(SOL_SOCKET, SO_TYPE, 2).unwrap().len(), 2, "cut to the caller's size");
    let e = a.set_option(SOL_SOCKET, 9999, &[0; 4]).unwrap_err();
    assert_eq!(e.raw_os_error(), Some(libc::ENOPROTOOPT));
    let e = a.set_option(SOL_SOCKET, SO_TYPE, &[0; 5000]).unwrap_err();
    assert_eq!(e.raw_os_error(), Some(libc::EINVAL));
}
