//! The descriptor in other hands: dup, fork and exec, SCM_RIGHTS, other sessions.

mod common;
use common::{Rig, Watchdog, connected};
use iopkt_client::TcpStream;
use iopkt_sys::unix;
use rustix::net::SocketType;
use std::io::{IoSlice, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};

#[test]
fn a_program_started_with_it_uses_it() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    let (a, mut b) = connected(&s);
    // fork and exec: a program that nobody here wrote echoes the connection.
    let fd: OwnedFd = a.into();
    let copy = fd.try_clone().unwrap();
    let mut cat = Command::new("cat").stdin(Stdio::from(fd)).stdout(Stdio::from(copy)).spawn().unwrap();
    b.write_all(b"through another program").unwrap();
    b.shutdown(std::net::Shutdown::Write).unwrap();
    let mut got = Vec::new();
    b.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"through another program");
    assert!(cat.wait().unwrap().success());
    drop((b, s));
    rig.until_empty();
}

#[test]
fn the_last_copy_closes() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    let (a, mut b) = connected(&s);
    let copy = a.as_fd().try_clone_to_owned().unwrap();
    drop(a);
    rustix::io::write(&copy, b"still open").unwrap();
    b.read_exact(&mut [0; 10]).unwrap();
    drop(copy);
    assert_eq!(b.read(&mut [0]).unwrap(), 0);
}

#[test]
fn passed_by_scm_rights_and_asked_about_from_another_session() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    let (a, mut b) = connected(&s);
    let (left, right) = unix::pair(SocketType::STREAM).unwrap();
    let local = a.local_addr().unwrap();
    unix::send_fds(&left, &[IoSlice::new(b"!")], &[a.as_fd()]).unwrap();
    // In flight and nowhere else: the connection lives.
    drop(a);
    drop(s);
    b.write_all(b"x").unwrap();
    let mut fds = Vec::new();
    unix::recv_fds(&right, &mut [0; 8], &mut fds).unwrap();
    let other = rig.session();
    let mut a = TcpStream::from_fd(&other, fds.pop().unwrap());
    assert_eq!(a.local_addr().unwrap(), local);
    a.read_exact(&mut [0]).unwrap();
    assert!(other.owns(&a));
}

#[test]
fn lost_in_flight_is_closed() {
    let _w = Watchdog::new(60);
    let rig = Rig::new();
    let s = rig.session();
    let (a, mut b) = connected(&s);
    let (left, right) = unix::pair(SocketType::STREAM).unwrap();
    unix::send_fds(&left, &[IoSlice::new(b"!")], &[a.as_fd()]).unwrap();
    drop(a);
    drop((left, right));
    assert_eq!(b.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_foreign_descriptor_is_no_socket_of_ours() {
    let _w = Watchdog::new(60);
    let (rig, other) = (Rig::new(), Rig::new());
    let (s, o) = (rig.session(), other.session());
    let errno = |fd: OwnedFd| TcpStream::from_fd(&s, fd).local_addr().unwrap_err().raw_os_error().unwrap();
    assert_eq!(errno(unix::pair(SocketType::STREAM).unwrap().0), libc::ENOTSOCK);
    assert_eq!(errno(std::fs::File::open("/dev/null").unwrap().into()), libc::ENOTSOCK);
    let (theirs, _keep) = connected(&o);
    assert!(o.owns(&theirs) && !s.owns(&theirs));
    assert_eq!(errno(theirs.into()), libc::ENOTSOCK);
}

#[test]
fn killed_programs_leave_nothing() {
    let _w = Watchdog::new(120);
    let rig = Rig::new();
    let s = rig.session();
    for _ in 0..20 {
        let (a, mut b) = connected(&s);
        let fd: OwnedFd = a.into();
        let copy = fd.try_clone().unwrap();
        let mut child = Command::new("dd")
            .args(["if=/dev/zero", "bs=64k"])
            .stdin(Stdio::from(copy))
            .stdout(Stdio::from(fd))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // It is in the middle of writing without end.
        b.read_exact(&mut [0; 100_000]).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let mut rest = Vec::new();
        b.read_to_end(&mut rest).unwrap();
    }
    drop(s);
    rig.until_empty();
}
