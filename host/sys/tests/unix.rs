//! Descriptors and identity over Unix sockets; locks.

use iopkt_sys::{lock::LockFile, unix};
use rustix::net::SocketType;
use std::io::IoSlice;
use std::os::fd::AsFd;

#[test]
fn a_descriptor_keeps_its_identity_on_its_way() {
    let (a, b) = unix::pair(SocketType::SEQPACKET).unwrap();
    let (x, y) = unix::pair(SocketType::STREAM).unwrap();
    unix::bind_abstract(&y, format!("io-pkt-test/{}", std::process::id()).as_bytes()).unwrap();
    assert_eq!(unix::send_fds(&a, &[IoSlice::new(b"hello")], &[x.as_fd()]).unwrap(), 5);
    let (mut buf, mut fds) = ([0; 3], Vec::new());
    let got = unix::recv_fds(&b, &mut buf, &mut fds).unwrap();
    assert!(got.len == 3 && got.truncated && !got.fds_lost && fds.len() == 1);
    assert_eq!(unix::file_id(&fds[0]).unwrap(), unix::file_id(&x).unwrap());
    assert_ne!(unix::file_id(&fds[0]).unwrap(), unix::file_id(&y).unwrap());
    assert!(unix::peer_abstract(&fds[0]).unwrap().starts_with(b"io-pkt-test/"));
    assert_eq!(unix::peer_abstract(&a), None);
    assert_eq!(unix::peer_cred(&a).unwrap().pid, std::process::id());
}

#[test]
fn no_room_is_eagain_and_no_peer_is_epipe() {
    let (a, b) = unix::pair(SocketType::SEQPACKET).unwrap();
    let big = [0; 4096];
    let full = loop {
        if let Err(e) = unix::send_fds(&a, &[IoSlice::new(&big)], &[]) {
            break e;
        }
    };
    assert_eq!(full.kind(), std::io::ErrorKind::WouldBlock);
    drop(b); // with messages unread
    let e = unix::send_fds(&a, &[IoSlice::new(&big)], &[]).unwrap_err();
    assert_eq!(e.kind(), std::io::ErrorKind::ConnectionReset);
    let e = unix::send_fds(&a, &[IoSlice::new(&big)], &[]).unwrap_err();
    assert_eq!(e.kind(), std::io::ErrorKind::BrokenPipe);
}

#[test]
fn a_lock_has_one_holder_and_ends_with_it() {
    let path = std::env::temp_dir().join(format!("iopkt-lock-{}", std::process::id()));
    let first = LockFile::take(&path).unwrap().unwrap();
    assert_eq!(LockFile::take(&path).unwrap().unwrap_err(), std::process::id());
    drop(first);
    assert!(LockFile::take(&path).unwrap().is_ok());
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_listener_names_the_path_it_cannot_have() {
    let long = std::env::temp_dir().join("x".repeat(120));
    let e = unix::listener(&long, SocketType::SEQPACKET, 1, 0o600).unwrap_err();
    assert!(e.to_string().contains("xxxx"), "{e}");
}
