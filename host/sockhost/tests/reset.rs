//! Ends that are not in good order: RST, linger, unread data, death of the stack.

mod common;
use common::{Rig, Watchdog, connected, sa};
use iopkt_client::{TcpStream, UdpSocket};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{Read, Write};

fn read_errno(s: &mut TcpStream) -> i32 {
    loop {
        match s.read(&mut [0; 4096]) {
            Ok(0) => return 0,
            Ok(_) => {}
            Err(e) => return e.raw_os_error().unwrap(),
        }
    }
}

#[test]
fn linger_0_resets() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    let (a, mut b) = connected(&s);
    a.set_abort_on_close(true).unwrap();
    drop(a);
    assert_eq!(read_errno(&mut b), libc::ECONNRESET);
    drop((b, s));
    rig.until_empty();
}

#[test]
fn closing_with_unread_bytes_resets() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    let (mut a, mut b) = connected(&s);
    a.write_all(b"never read").unwrap();
    let mut p = [PollFd::new(&b, PollFlags::IN)];
    poll(&mut p, Some(&Timespec { tv_sec: 10, tv_nsec: 0 })).unwrap();
    let _ = b.set_nonblocking(false);
    drop(b);
    assert_eq!(read_errno(&mut a), libc::ECONNRESET);
    b = connected(&s).1;
    drop((a, b, s));
    rig.until_empty();
}

#[test]
fn bytes_before_a_reset_are_read_first() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    let (mut a, mut b) = connected(&s);
    a.write_all(b"last words").unwrap();
    let mut one = [0];
    b.read_exact(&mut one).unwrap();
    a.set_abort_on_close(true).unwrap();
    drop(a);
    let mut got = Vec::new();
    let e = b.read_to_end(&mut got).unwrap_err();
    assert_eq!(got, b"ast words");
    assert_eq!(e.raw_os_error(), Some(libc::ECONNRESET));
}

#[test]
fn writing_to_a_closed_peer_ends_in_reset_then_pipe() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    let (mut a, b) = connected(&s);
    drop(b);
    assert_eq!(a.read(&mut [0; 8]).unwrap(), 0, "a FIN first");
    // The first write is answered by RST.
    let _ = a.write(b"x");
    let mut p = [PollFd::new(&a, PollFlags::empty())];
    poll(&mut p, Some(&Timespec { tv_sec: 10, tv_nsec: 0 })).unwrap();
    assert!(p[0].revents().intersects(PollFlags::ERR | PollFlags::HUP));
    let e = a.write(b"y").unwrap_err().raw_os_error().unwrap();
    assert!(e == libc::EPIPE || e == libc::ECONNRESET, "{e}");
    assert_eq!(a.write(b"y").unwrap_err().raw_os_error(), Some(libc::EPIPE));
}

#[test]
fn death_of_the_stack_is_a_reset() {
    let _w = Watchdog::new(60);
    let mut rig = Rig::new();
    let s = rig.session();
    let (mut a, mut b) = connected(&s);
    a.write_all(b"some").unwrap();
    b.read_exact(&mut [0; 4]).unwrap();
    let u = UdpSocket::bind(&s, sa("127.0.0.1:0")).unwrap();
    rig.stop();
    assert_eq!(read_errno(&mut a), libc::ECONNRESET);
    assert_eq!(read_errno(&mut b), libc::ECONNRESET);
    assert_eq!(u.recv_meta(&mut [0; 8]).unwrap_err().raw_os_error(), Some(libc::ECONNRESET));
    let e = a.local_addr().unwrap_err();
    assert!(e.to_string().contains("is gone"), "{e}");
}

#[test]
fn the_end_of_file_after_both_sides_are_done_is_no_error() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    let (mut a, mut b) = connected(&s);
    a.write_all(b"1").unwrap();
    b.read_exact(&mut [0]).unwrap();
    b.write_all(b"tail").unwrap();
    a.shutdown(std::net::Shutdown::Write).unwrap();
    b.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(b.read(&mut [0; 8]).unwrap(), 0);
    // Both directions are shut: the server has let go, and what was delivered is still there.
    rig.until("both let go", |s| s.held.sockets == 0);
    let mut got = Vec::new();
    a.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"tail");
    assert_eq!(a.take_error().unwrap().map(|e| e.to_string()), None);
    a.local_addr().unwrap();
}

#[test]
fn who_waits_to_write_hears_of_a_reset_though_bytes_are_unread() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    let (mut a, mut b) = connected(&s);
    for x in [&a, &b] {
        x.set_nonblocking(true).unwrap();
    }
    // Both write until nothing more is taken, and neither reads: more has come for each than its pair holds.
    let mut quiet = 0;
    while quiet < 50 {
        let wrote = [&mut a, &mut b].into_iter().filter_map(|x| x.write(&[7; 65_536]).ok()).count();
        quiet = if wrote == 0 { quiet + 1 } else { 0 };
        if wrote == 0 {
            let mut p = [PollFd::new(&a, PollFlags::OUT), PollFd::new(&b, PollFlags::OUT)];
            poll(&mut p, Some(&Timespec { tv_sec: 0, tv_nsec: 10_000_000 })).unwrap();
        }
    }
    b.set_abort_on_close(true).unwrap();
    drop(b);
    let e = loop {
        match a.write(&[7; 65_536]) {
            Ok(_) => {}
            Err(e) if e.raw_os_error() == Some(libc::EAGAIN) => {
                let mut p = [PollFd::new(&a, PollFlags::OUT)];
                poll(&mut p, Some(&Timespec { tv_sec: 60, tv_nsec: 0 })).unwrap();
            }
            Err(e) => break e.raw_os_error().unwrap(),
        }
    };
    assert!(e == libc::EPIPE || e == libc::ECONNRESET, "{e}");
    // What had come before is still there, and then the reset.
    a.set_nonblocking(false).unwrap();
    let mut got = Vec::new();
    let e = a.read_to_end(&mut got).unwrap_err();
    assert!(got.len() > 65_536, "{}", got.len());
    assert_eq!(e.raw_os_error(), Some(libc::ECONNRESET));
    drop((a, s));
    rig.until_empty();
}
