//! Start, second instance, end, kill and restart; the names on disk.

mod common;

use common::{Dir, Stack, text, until};
use iopkt_client::{Session, TcpListener, TcpStream};
use iopkt_ctl::{Reply, Request};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{Read, Write};

#[test]
fn it_answers_and_serves_loopback() {
    let s = Stack::start("");
    assert_eq!(s.names(), ["lo0"]);
    let Reply::Stack(info) = s.ctl(&Request::Stack) else { panic!() };
    assert_eq!((info.variant.as_str(), info.pid, info.instance), ("io-pkt-v4-hc", s.child.id(), None));
    assert!(info.limits.iter().any(|l| l.0 == "somaxconn" && l.1 == "4096"));
    let session = s.session();
    let l = TcpListener::bind(&session, "127.0.0.1:0".parse().unwrap(), 5).unwrap();
    let mut c = TcpStream::connect(&session, l.local_addr().unwrap()).unwrap();
    let (mut a, _) = l.accept().unwrap();
    c.write_all(b"hello").unwrap();
    let mut buf = [0; 5];
    a.read_exact(&mut buf).unwrap();
    assert_eq!(&buf, b"hello");
    assert!(s.dir.logged("tcpip starting") && s.dir.logged("pseudo random generator"));
}

#[test]
fn the_background_start_ends_when_the_stack_is_there() {
    let d = Dir::new();
    let out = d.run("-i3 -ptcpip prefix=/alt,random");
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert_eq!((text(&out.stdout), text(&out.stderr)), (String::new(), String::new()));
    // No waiting: the socket is there, and names the daemon.
    let session = d.session("/alt");
    let Reply::Stack(info) = session.ctl(&Request::Stack).unwrap() else { panic!() };
    assert_eq!((info.pid, info.instance, info.prefix.as_str()), (d.pid("/alt"), Some(3), "/alt"));
    let at = iopkt_sys::paths::instance_socket(&d.root(), "io-pkt3").unwrap();
    assert_eq!(at, d.socket("/alt").join("2"));
    // It has let go of our terminal.
    for fd in 0..3 {
        let path = std::fs::read_link(format!("/proc/{}/fd/{fd}", info.pid)).unwrap();
        assert_eq!(path.to_str(), Some("/dev/null"));
    }
    assert_eq!(session.ctl(&Request::Shutdown).unwrap(), Reply::Ok);
    until("its names are gone", || !d.socket("/alt").exists() && !d.root().path("/proc/io-pkt3").exists());
}

#[test]
fn a_second_one_of_the_same_name_is_refused() {
    let s = Stack::start("");
    for words in ["", "--foreground", "-i9"] {
        let out = s.dir.run(words);
        assert_eq!(out.status.code(), Some(1));
        let e = text(&out.stderr);
        assert!(e.contains(&format!("another io-pkt (process {})", s.child.id())), "{e}");
        assert!(e.contains("prefix=") && e.lines().count() == 1, "{e}");
    }
    // The first one is as it was.
    assert_eq!(s.names(), ["lo0"]);
    // With a prefix, and with another instance number, there is room.
    let d = &s.dir;
    assert!(d.run("-i1 -ptcpip prefix=/alt").status.success());
    let out = d.run("-i1 -ptcpip prefix=/third");
    assert!(text(&out.stderr).contains("instance 1 is taken"), "{out:?}");
    assert_eq!(d.session("/alt").ctl(&Request::Shutdown).unwrap(), Reply::Ok);
    until("the second has ended", || !d.socket("/alt").exists());
}

#[test]
fn signals_end_it_in_good_order() {
    for signal in [Signal::TERM, Signal::INT] {
        let s = Stack::start("");
        let session = s.session();
        let l = TcpListener::bind(&session, "127.0.0.1:0".parse().unwrap(), 5).unwrap();
        let mut c = TcpStream::connect(&session, l.local_addr().unwrap()).unwrap();
        let (status, dir) = s.end(signal);
        assert_eq!(status.code(), Some(0));
        assert!(!dir.socket("").exists());
        assert!(iopkt_sys::paths::instance_socket(&dir.root(), "io-pkt").is_err());
        assert!(dir.logged(&format!("signal {}", signal.as_raw())) && dir.logged("ended"));
        // Programs see it.
        let e = c.read(&mut [0; 1]);
        assert!(matches!(&e, Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset), "{e:?}");
    }
}

#[test]
fn a_killed_one_leaves_nothing_in_the_way() {
    let mut dir = Dir::new();
    for _ in 0..3 {
        let s = Stack::start_in(dir, "-i4");
        let session = s.session();
        let l = TcpListener::bind(&session, "127.0.0.1:80".parse().unwrap(), 5).unwrap();
        let mut c = TcpStream::connect(&session, l.local_addr().unwrap()).unwrap();
        let (status, d) = s.end(Signal::KILL);
        assert_eq!(status.code(), None);
        assert!(d.socket("").exists(), "a killed process cannot clean up");
        let e = c.read(&mut [0; 1]).unwrap_err();
        assert_eq!(e.kind(), std::io::ErrorKind::ConnectionReset);
        dir = d;
    }
}

#[test]
fn a_start_that_fails_says_why_and_fails() {
    let d = Dir::new();
    std::fs::write(&d.0, "in the way").unwrap();
    let out = d.run("");
    assert_eq!(out.status.code(), Some(1));
    let e = text(&out.stderr);
    assert!(e.contains(d.0.to_str().unwrap()), "{e}");
    std::fs::remove_file(&d.0).unwrap();
    let out = d.run("-p tcpip ipsec");
    assert_eq!((out.status.code(), d.0.exists()), (Some(2), false));
    assert!(text(&out.stderr).starts_with("io-pkt-v4-hc: -p tcpip: option 'ipsec'"));
    assert!(text(&d.run("--help").stdout).contains("usage: io-pkt-v4-hc"));
    assert!(text(&d.run("--version").stdout).starts_with("io-pkt-v4-hc "));
}

#[test]
fn a_socket_path_that_is_too_long_is_named() {
    let mut d = Dir::new();
    d.0 = d.0.join("x".repeat(90));
    let out = d.run("");
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out.stderr).contains("cannot listen on"), "{}", text(&out.stderr));
    std::fs::remove_dir_all(d.0.parent().unwrap()).unwrap();
}

#[test]
fn idle_means_asleep() {
    let s = Stack::start("-t2 -d sample devices=2");
    s.wait_interfaces(3).iter().for_each(|n| s.up(n));
    // Whatever the start had to do (group membership reports are sent twice within 10 s) has an end.
    let mut last = s.switches();
    let mut quiet = 0;
    until("it sleeps for a second", || {
        std::thread::sleep(std::time::Duration::from_millis(500));
        let now = s.switches();
        quiet = if now == last { quiet + 1 } else { 0 };
        last = now;
        quiet == 2
    });
    assert!(Session::open_at(&s.dir.socket("")).is_ok());
    until("the counter counts", || s.switches() != last);
}

#[test]
fn crashes_are_logged_and_end_the_process() {
    let s = Stack::start("");
    let (status, dir) = s.end(Signal::SEGV);
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(status.signal(), Some(Signal::SEGV.as_raw()));
    assert!(dir.logged("crash: signal 11"), "{:?}", dir.log());
    // With -S the signal is left alone.
    let s = Stack::start_in(dir, "-S");
    let before = s.dir.log().len();
    let pid = Pid::from_child(&s.child);
    kill_process(pid, Signal::SEGV).unwrap();
    let (status, dir) = s.end(Signal::KILL);
    assert!(status.signal().is_some());
    assert!(dir.log()[before..].iter().all(|l| !l.contains("crash")), "{:?}", dir.log());
}

#[test]
fn priorities_take_effect_or_are_said_not_to() {
    let s = Stack::start("-t2 -P 8 -ptcpip rx_prio=9");
    let nice = |thread: &str| {
        for t in std::fs::read_dir(format!("/proc/{}/task", s.child.id())).unwrap().flatten() {
            let stat = std::fs::read_to_string(t.path().join("stat")).unwrap();
            // proc_pid_stat(5): the name stands in parentheses, the nice value is field 19.
            let (name, rest) = stat.split_once('(').unwrap().1.rsplit_once(')').unwrap();
            if name == thread {
                return rest.split_whitespace().nth(16).unwrap().parse::<i32>().ok();
            }
        }
        None // a thread names itself when it first runs
    };
    // Below 10, the priority of ordinary programs, everybody may go.
    until("the threads have theirs", || nice("packet0") == Some(1) && nice("packet1") == Some(1));
    until("so has the main thread", || nice("io-pkt-v4-hc") == Some(2));
    let (_, dir) = s.end(Signal::TERM);
    assert!(dir.logged("main thread: priority 8: nice value 2"), "{:?}", dir.log());
    let s = Stack::start_in(dir, "-P 63");
    let (_, dir) = s.end(Signal::TERM);
    let said = [
        "main thread: priority 63: real time",
        "main thread: priority 63: nice",
        "priority 63 is not permitted",
    ];
    assert!(said.iter().any(|t| dir.logged(t)), "{:?}", dir.log());
}
