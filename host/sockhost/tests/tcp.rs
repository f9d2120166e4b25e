//! Streams: bytes through the whole way, both ways, half-close.

mod common;
use common::{Rig, Watchdog, connected, megabytes_each_way, sa};
use iopkt_client::TcpListener;
use std::io::{Read, Write};

#[test]
fn a_few_bytes_each_way() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    let (mut a, mut b) = connected(&s);
    a.write_all(b"hello").unwrap();
    let mut buf = [0; 5];
    b.read_exact(&mut buf).unwrap();
    assert_eq!(&buf, b"hello");
    b.write_all(b"world").unwrap();
    a.read_exact(&mut buf).unwrap();
    assert_eq!(&buf, b"world");
    assert_eq!(a.peer_addr().unwrap(), b.local_addr().unwrap());
    drop((a, b, s));
    rig.until_empty();
}

#[test]
fn megabytes_each_way_at_once_arrive_whole() {
    let _w = Watchdog::new(120);
    let rig = Rig::new();
    let s = rig.session();
    let (a, b) = connected(&s);
    megabytes_each_way(&a, &b);
    drop((a, b, s));
    rig.until_empty();
}

#[test]
fn half_close_lets_the_other_half_live() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    let (mut a, mut b) = connected(&s);
    a.write_all(b"request").unwrap();
    // The kernel's own shutdown, without asking the stack.
    rustix::net::shutdown(&a, rustix::net::Shutdown::Write).unwrap();
    let mut got = Vec::new();
    b.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"request");
    b.write_all(b"answer").unwrap();
    drop(b);
    got.clear();
    a.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"answer");
    drop((a, s));
    rig.until_empty();
}

#[test]
fn what_was_written_before_close_arrives() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    let (mut a, mut b) = connected(&s);
    let data = vec![0xa5; 3 << 20];
    let t = std::thread::spawn(move || {
        a.write_all(&data).unwrap();
        drop(a);
    });
    let mut got = Vec::new();
    b.read_to_end(&mut got).unwrap();
    t.join().unwrap();
    assert_eq!(got.len(), 3 << 20);
    drop((b, s));
    rig.until_empty();
}

#[test]
fn names_are_those_of_the_stack() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    let l = TcpListener::bind(&s, sa("127.0.0.1:4711"), 5).unwrap();
    assert_eq!(l.local_addr().unwrap(), sa("127.0.0.1:4711"));
    let e = TcpListener::bind(&s, sa("127.0.0.1:4711"), 5).unwrap_err();
    assert_eq!(e.raw_os_error(), Some(libc::EADDRINUSE));
    let e = TcpListener::bind(&s, sa("10.1.2.3:0"), 5).unwrap_err();
    assert_eq!(e.raw_os_error(), Some(libc::EADDRNOTAVAIL));
    assert!(s.owns(&l));
}

#[test]
fn sendfile_never_stalls() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    let (a, mut b) = connected(&s);
    let path = rig.path.with_extension("data");
    let data: Vec<u8> = (0..5 << 20).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    std::fs::write(&path, &data).unwrap();
    let file = std::fs::File::open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    a.set_nonblocking(true).unwrap();
    let len = data.len();
    let t = std::thread::spawn(move || {
        let mut off = 0;
        while (off as usize) < len {
            match rustix::fs::sendfile(&a, &file, Some(&mut off), 1 << 20) {
                Ok(0) => panic!("the file ends early"),
                Ok(_) => {}
                Err(rustix::io::Errno::AGAIN) => {
                    use rustix::event::{PollFd, PollFlags, Timespec, poll};
                    let ts = Timespec { tv_sec: 20, tv_nsec: 0 };
                    assert_eq!(
                        poll(&mut [PollFd::new(&a, PollFlags::OUT)], Some(&ts)),
                        Ok(1),
                        "stalled at {off}"
                    );
                }
                Err(e) => panic!("{e}"),
            }
        }
    });
    let mut got = Vec::new();
    b.read_to_end(&mut got).unwrap();
    t.join().unwrap();
    assert!(got == data);
}
