//! Garbage, floods, programs that do not read, limits: only the culprit suffers.

mod common;
use common::{Rig, Watchdog, connected, sa};
use iopkt_client::{Session, TcpListener, TcpStream};
use iopkt_sockhost::ServiceConfig;
use iopkt_sockproto::linux::{AF_INET, SOCK_STREAM};
use iopkt_sockproto::{HDR_LEN, Op, Rep, Req};
use iopkt_stack::Config;
use iopkt_sys::unix;
use rustix::net::{RecvFlags, SendFlags, SocketType, recv, send};
use std::io::{IoSlice, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};

fn raw(rig: &Rig) -> OwnedFd {
    unix::connect_to(&rig.path, SocketType::SEQPACKET).unwrap()
}

fn ends(fd: &OwnedFd) -> bool {
    matches!(recv(fd, &mut [0; 256][..], RecvFlags::empty()), Ok((_, 0)) | Err(rustix::io::Errno::CONNRESET))
}

fn works(s: &Session) {
    let (mut a, mut b) = connected(s);
    a.write_all(b"fine").unwrap();
    b.read_exact(&mut [0; 4]).unwrap();
}

#[test]
fn garbage_ends_that_session_with_a_line_in_the_log() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    let mut other = Req::new(Op::Hello, 1).encode();
    other[4] = 77;
    let not_hello = Req::new(Op::Info, 1).encode();
    let mut long = Req::new(Op::Hello, 1).encode();
    long[12] = 200;
    let cases: [(&[u8], &str); 5] = [
        (b"GET / HTTP/1.0\r\n\r\n", "18 bytes"),
        (&[0xff; 500], "not a message"),
        (&other, "version 77"),
        (&not_hello, "hello"),
        (&long, "64 bytes"),
    ];
    for (msg, word) in cases {
        let c = raw(&rig);
        send(&c, msg, SendFlags::NOSIGNAL).unwrap();
        assert!(ends(&c));
        rig.until(word, |s| s.log.iter().any(|l| l.contains(word) && l.contains("process")));
    }
    let c = raw(&rig);
    send(&c, &vec![1; 100_000], SendFlags::NOSIGNAL).unwrap();
    assert!(ends(&c));
    works(&s);
}

#[test]
fn descriptors_where_none_belong_are_closed() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let c = raw(&rig);
    let (keep, give) = unix::pair(SocketType::STREAM).unwrap();
    let hello = Req::new(Op::Hello, 1).encode();
    unix::send_fds(&c, &[IoSlice::new(&hello)], &[give.as_fd(), give.as_fd(), give.as_fd()]).unwrap();
    let n = recv(&c, &mut [0; 256][..], RecvFlags::empty()).unwrap().0;
    assert!(n > HDR_LEN);
    drop(give);
    // The server kept no copy: the other end sees the end of file.
    let mut p = [rustix::event::PollFd::new(&keep, rustix::event::PollFlags::IN)];
    rustix::event::poll(&mut p, Some(&rustix::event::Timespec { tv_sec: 10, tv_nsec: 0 })).unwrap();
    assert_eq!(recv(&keep, &mut [0; 8][..], RecvFlags::empty()).unwrap().0, 0);
}

#[test]
fn requests_about_nothing_are_refused_politely() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    for op in
        [Op::Bind, Op::Connect, Op::Listen, Op::Accept, Op::Getsockname, Op::Getsockopt, Op::Info, Op::Ioctl]
    {
        let e = s.call(Req::new(op, 0), &[], None).unwrap_err();
        assert_eq!(e.raw_os_error(), Some(libc::EBADF), "{op:?}");
    }
    let mut r = Req::new(Op::Socket, 0);
    r.args = [AF_INET, SOCK_STREAM | 1 << 20, 0, 0, 0];
    assert_eq!(s.call(r, &[], None).unwrap_err().raw_os_error(), Some(libc::EINVAL));
    r.args = [1, SOCK_STREAM, 0, 0, 0];
    assert_eq!(s.call(r, &[], None).unwrap_err().raw_os_error(), Some(libc::EAFNOSUPPORT));
    r.args = [AF_INET, 13, 0, 0, 0];
    assert_eq!(s.call(r, &[], None).unwrap_err().raw_os_error(), Some(libc::EINVAL));
    r.args = [AF_INET, libc::SOCK_DCCP, 0, 0, 0];
    assert_eq!(s.call(r, &[], None).unwrap_err().raw_os_error(), Some(libc::ESOCKTNOSUPPORT));
    r.args = [AF_INET, SOCK_STREAM, 1000, 0, 0];
    assert_eq!(s.call(r, &[], None).unwrap_err().raw_os_error(), Some(libc::EINVAL));
    r.args = [AF_INET, SOCK_STREAM, libc::IPPROTO_UDP, 0, 0];
    assert_eq!(s.call(r, &[], None).unwrap_err().raw_os_error(), Some(libc::EPROTONOSUPPORT));
    works(&s);
}

#[test]
fn who_floods_and_never_reads_is_not_read() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    let c = raw(&rig);
    rustix::io::ioctl_fionbio(&c, true).unwrap();
    send(&c, &Req::new(Op::Hello, 1).encode(), SendFlags::NOSIGNAL).unwrap();
    let mut r = Req::new(Op::Socket, 2);
    r.args = [AF_INET, SOCK_STREAM, 0, 0, 0];
    let mut sent = 0;
    let mut idle = 0;
    while idle < 50 {
        r.id += 1;
        match send(&c, &r.encode(), SendFlags::NOSIGNAL) {
            Ok(_) => (sent, idle) = (sent + 1, 0),
            Err(rustix::io::Errno::AGAIN) => {
                idle += 1;
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            Err(e) => panic!("{e}"),
        }
    }
    // What it asked for is bounded by the two queues of its session.
    assert!(sent < 2000, "{sent}");
    works(&s);
    // It may come back to its senses.
    rustix::io::ioctl_fionbio(&c, false).unwrap();
    let (mut got, mut buf) = (0, [0; 256]);
    while got < sent + 1 {
        let mut fds = Vec::new();
        let n = unix::recv_fds(&c, &mut buf, &mut fds).unwrap().len;
        let (rep, _) = Rep::decode(&buf[..n]).unwrap();
        assert_eq!(rep.status, 0);
        assert_eq!(fds.len(), usize::from(rep.op == Op::Socket));
        got += 1;
    }
    drop((c, s));
    rig.until_empty();
}

#[test]
fn a_stream_nobody_reads_holds_up_nobody_else() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    let (mut a, b) = connected(&s);
    a.set_nonblocking(true).unwrap();
    for _ in 0..200 {
        let _ = a.write(&[0; 65_536]);
    }
    for _ in 0..20 {
        works(&s);
    }
    drop((a, b, s));
    rig.until_empty();
}

#[test]
fn the_limit_of_sockets_is_told_and_recovers() {
    let _w = Watchdog::new(60);
    let rig = Rig::with(ServiceConfig::default(), Config { max_sockets: 10, ..Config::default() });
    let s = rig.session();
    let make = || s.socket(AF_INET, SOCK_STREAM, 0, 0);
    let mut held: Vec<_> = (0..10).map(|_| make().unwrap()).collect();
    assert_eq!(make().unwrap_err().raw_os_error(), Some(libc::ENFILE));
    held.pop();
    rig.until("one is free", |s| s.held.sockets == 9);
    make().unwrap();
}

#[test]
fn the_limit_of_sessions_is_told() {
    let _w = Watchdog::new(60);
    let rig = Rig::with(ServiceConfig { max_sessions: 3, ..ServiceConfig::default() }, Config::default());
    let held: Vec<_> = (0..3).map(|_| rig.session()).collect();
    let e = Session::open_at(&rig.path).unwrap_err();
    assert!(e.to_string().contains("no session"), "{e}");
    rig.until("a line in the log", |s| s.log.iter().any(|l| l.contains("3 sessions is the limit")));
    drop(held);
    rig.until_empty();
    rig.session();
}

#[test]
fn dead_sockets_are_remembered_within_bounds() {
    let _w = Watchdog::new(60);
    let rig = Rig::with(ServiceConfig { max_tombs: 5, ..ServiceConfig::default() }, Config::default());
    let s = rig.session();
    for _ in 0..20 {
        drop(s.socket(AF_INET, SOCK_STREAM, 0, 0).unwrap());
    }
    rig.until("closed", |s| s.held.sockets == 0);
    assert!(rig.seen.lock().unwrap().held.tombs <= 5);
}

#[test]
fn sessions_killed_in_the_middle_leave_nothing() {
    let _w = Watchdog::new(120);
    let rig = Rig::new();
    let s = rig.session();
    let l = TcpListener::bind(&s, sa("127.0.0.1:0"), 50).unwrap();
    for round in 0..10 {
        // A child that inherits a listener, a connecting and a connected socket, and a session, and is killed.
        let c = TcpStream::connect_begin(&s, l.local_addr().unwrap()).unwrap();
        let (a, _b) = connected(&s);
        let session = raw(&rig);
        send(&session, &Req::new(Op::Hello, 1).encode(), SendFlags::NOSIGNAL).unwrap();
        let mut child = Command::new("sleep")
            .arg("1000")
            .stdin(Stdio::from(OwnedFd::from(c)))
            .stdout(Stdio::from(OwnedFd::from(a)))
            .stderr(Stdio::from(session))
            .spawn()
            .unwrap();
        if round % 2 == 0 {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    drop((l, s));
    rig.until_empty();
    rig.until("the stack's sockets end too", |s| s.sockets < 40);
}
