//! What the process gives up, and what a client of another user can and cannot do; docs/privilege.md says the same in
//! words. Most of it needs user 0.

mod common;

use common::{Dir, Stack, build, until};
use iopkt_base::Errno;
use iopkt_client::{RawSocket, Session, TcpListener, TcpStream, UdpSocket};
use iopkt_ctl::{Reply, Request, iff};
use rustix::process::{Gid, Signal, Uid};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;

/// A process that does not outlive its test.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Somebody who is not root and started nothing.
const STRANGER: u32 = 65_534;
/// Somebody else.
const OTHER: u32 = 65_533;

fn root() -> bool {
    let yes = rustix::process::geteuid().is_root();
    if !yes {
        eprintln!("*** SKIPPED: needs user 0 ***");
    }
    yes
}

/// Does something as another user: the ids of one thread change, and a session shows those of the thread that opens it.
fn as_user<R: Send>(uid: u32, f: impl FnOnce() -> R + Send) -> R {
    std::thread::scope(|s| {
        let t = s.spawn(move || {
            let (u, g) = (Uid::from_raw(uid), Gid::from_raw(uid));
            rustix::thread::set_thread_groups(&[]).unwrap();
            rustix::thread::set_thread_res_gid(g, g, g).unwrap();
            rustix::thread::set_thread_res_uid(u, u, u).unwrap();
            f()
        });
        t.join().unwrap()
    })
}

/// Lines of /proc/PID/status, of every thread.
fn status(pid: u32, field: &str) -> Vec<String> {
    let mut out = Vec::new();
    for t in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten() {
        let Ok(text) = std::fs::read_to_string(t.path().join("status")) else { continue };
        let line = text.lines().find_map(|l| l.strip_prefix(field)).unwrap_or("").trim_start_matches(':');
        out.push(line.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    assert!(!out.is_empty());
    out.sort();
    out.dedup();
    out
}

/// A line of the calling thread's own.
fn mine(field: &str) -> String {
    let text = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix(field)).unwrap();
    line.trim_start_matches(':').trim().to_owned()
}

fn refusal(r: Reply) -> (Errno, String) {
    match r {
        Reply::Err { errno, why } => (errno, why),
        other => panic!("{other:?}"),
    }
}

fn write_variable(s: &Session, value: &str) -> Reply {
    s.ctl(&Request::Sysctl { name: "qnx.kern.droproot".into(), value: Some(value.into()) }).unwrap()
}

fn variable(s: &Session) -> String {
    match s.ctl(&Request::Sysctl { name: "qnx.kern.droproot".into(), value: None }).unwrap() {
        Reply::Sysctl(l) => l[0].1.clone(),
        other => panic!("{other:?}"),
    }
}

/// Bytes go through a connection of the stack to itself.
fn talk(s: &Session) {
    let l = TcpListener::bind(s, "127.0.0.1:0".parse().unwrap(), 5).unwrap();
    let mut c = TcpStream::connect(s, l.local_addr().unwrap()).unwrap();
    let (mut a, _) = l.accept().unwrap();
    c.write_all(b"good day").unwrap();
    let mut got = [0; 8];
    a.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"good day");
}

fn tries() -> String {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tries.c");
    build(&source, "devnp-tries.so").to_str().unwrap().to_owned()
}

fn tried(s: &Stack) -> BTreeMap<String, i32> {
    let text = std::fs::read_to_string(s.dir.0.join("tried")).unwrap();
    text.lines().filter_map(|l| l.split_once(' ')).map(|(n, e)| (n.to_owned(), e.parse().unwrap())).collect()
}

#[test]
fn it_keeps_what_it_needs_and_no_more() {
    if !root() {
        return;
    }
    let s = Stack::start("-t2");
    let pid = s.child.id();
    // DAC_READ_SEARCH, NET_ADMIN, NET_RAW, SYS_RAWIO, SYS_NICE.
    for field in ["CapPrm", "CapEff", "CapBnd"] {
        let mask = u64::from_str_radix(&mine("CapEff"), 16).unwrap() & 0x0082_3004;
        assert_eq!(status(pid, field), [format!("{mask:016x}")], "{field}");
    }
    assert_eq!(status(pid, "NoNewPrivs"), ["1"]);
    assert_eq!(status(pid, "Seccomp"), ["2"]);
    let Reply::Stack(info) = s.ctl(&Request::Stack) else { panic!() };
    let by = &info.limits.iter().find(|l| l.0 == "confined by").unwrap().1;
    assert!(by.contains("seccomp") && by.contains("capabilities"), "{by}");
    drop(s);
    // -I: without raw input and output.
    let s = Stack::start("-I");
    let have = u64::from_str_radix(&status(s.child.id(), "CapPrm")[0], 16).unwrap();
    assert_eq!(have & 1 << 17, 0);
    drop(s);
    let s = Stack::start("--no-confine");
    assert_eq!(status(s.child.id(), "Seccomp"), ["0"]);
    assert_eq!(status(s.child.id(), "CapPrm"), [mine("CapPrm")]);
    assert!(s.dir.logged("--no-confine"));
}

#[test]
fn a_driver_cannot_leave_and_can_do_what_drivers_do() {
    let s = Stack::start("");
    assert!(matches!(s.load(&tries(), ""), Reply::Names(_)), "{:?}", s.dir.log());
    let t = tried(&s);
    for what in ["fork", "exec", "mount", "unshare"] {
        assert_eq!(t[what], Errno::EPERM.0, "{what}: {t:?}");
    }
    assert_eq!(t["io_uring"], Errno::ENOSYS.0);
    if s.dir.logged("landlock (an old kernel") {
        eprintln!("*** SKIPPED: this kernel has no landlock ***");
    } else {
        for what in ["outside", "symlink_outside"] {
            assert_eq!(t[what], Errno::EACCES.0, "{what}: {t:?}");
        }
    }
    for what in ["inside", "read", "pty", "null", "unix", "inet", "thread", "code"] {
        assert_eq!(t[what], 0, "{what}: {t:?}");
    }
    if rustix::process::geteuid().is_root() {
        // AF_ALG may be missing in the kernel, but must not be refused.
        assert_eq!((t["packet"], t["tun"]), (0, 0), "{t:?}");
        assert!([0, Errno::EAFNOSUPPORT.0].contains(&t["alg"]), "{t:?}");
    }
    assert!(!Path::new("/tmp/io-pkt-tries").exists() && !Path::new("/tmp/io-pkt-tries-link").exists());
}

#[test]
fn droproot_makes_it_the_user_of_the_command_line() {
    if !root() {
        return;
    }
    let mut s = Stack::start(&format!("-t2 -i5 -U{STRANGER}:{STRANGER},7,9"));
    let pid = s.child.id();
    let session = s.session();
    assert!(matches!(s.load(&tries(), ""), Reply::Names(_)));
    assert_eq!((variable(&session).as_str(), status(pid, "Uid")), ("0x0", vec!["0 0 0 0".to_owned()]));
    // Not anybody's to write, and only bits that there are.
    let other = as_user(OTHER, || Session::open_at(&s.dir.socket("")).unwrap());
    assert_eq!(refusal(write_variable(&other, "0x1")).0, Errno::EPERM);
    for bad in ["", "x", "0x100", "-1"] {
        assert_eq!(refusal(write_variable(&session, bad)).0, Errno::EINVAL, "{bad}");
    }
    assert_eq!(
        write_variable(&session, "0"),
        Reply::Sysctl(vec![("qnx.kern.droproot".into(), "0x0".into())])
    );
    assert_eq!(status(pid, "Uid"), ["0 0 0 0"]);

    assert!(matches!(write_variable(&session, "0x3"), Reply::Sysctl(_)));
    // Every thread, for good.
    assert_eq!(status(pid, "Uid"), [format!("{STRANGER} {STRANGER} {STRANGER} {STRANGER}")]);
    assert_eq!(status(pid, "Gid"), [format!("{STRANGER} {STRANGER} {STRANGER} {STRANGER}")]);
    assert_eq!(status(pid, "Groups"), ["7 9"]);
    for field in ["CapPrm", "CapEff", "CapInh", "CapAmb"] {
        assert_eq!(status(pid, field), ["0000000000000000"], "{field}");
    }
    assert_eq!(variable(&session), "0x3");
    assert!(s.dir.logged("now user 65534") && s.dir.logged("bits 0x2 have no counterpart"));
    let (e, why) = refusal(write_variable(&session, "0x1"));
    assert_eq!((e, why.contains("no way back")), (Errno::EPERM, true));
    // No more code comes in; what is there works.
    let (e, why) = refusal(s.load("devnp-sample.so", ""));
    assert_eq!((e, why.contains("bit 0x10")), (Errno::EPERM, true), "{why}");
    talk(&session);
    s.up("tr0");
    assert_eq!(s.ctl(&Request::Destroy { name: "tr0".into() }), Reply::Ok);
    // Its new user has no more to say than anybody: root decides.
    let same = as_user(STRANGER, || Session::open_at(&s.dir.socket("")).unwrap());
    assert_eq!(refusal(same.ctl(&Request::Shutdown).unwrap()).0, Errno::EPERM);
    // It can take its names away, but not those of others.
    let dev = s.dir.0.join("dev");
    let m = std::fs::metadata(&dev).unwrap();
    assert_eq!((m.uid(), m.gid(), m.mode() & 0o7777), (0, STRANGER, 0o1775));
    assert_eq!(session.ctl(&Request::Shutdown).unwrap(), Reply::Ok);
    until("it has ended", || s.child.try_wait().unwrap().is_some());
    for gone in ["dev/socket", "dev/bpf", "proc/io-pkt5"] {
        assert!(!s.dir.0.join(gone).exists(), "{gone}");
    }
    assert!(dev.join("slog").exists());
}

#[test]
fn droproot_with_loading_kept_and_by_name() {
    if !root() {
        return;
    }
    let s = Stack::start("-U nobody");
    let session = s.session();
    assert!(matches!(write_variable(&session, "0x11"), Reply::Sysctl(_)), "{:?}", s.dir.log());
    assert!(status(s.child.id(), "Uid")[0].starts_with("65534 "));
    assert!(matches!(s.load(&tries(), ""), Reply::Err { .. }), "its file cannot be written by this user");
    assert!(matches!(s.load("devnp-sample.so", ""), Reply::Names(_)), "{:?}", s.dir.log());
    talk(&session);
}

#[test]
fn droproot_needs_a_user_to_become() {
    if !root() {
        return;
    }
    let s = Stack::start("");
    let (e, why) = refusal(write_variable(&s.session(), "0x1"));
    assert_eq!((e, why.contains("start it with -U")), (Errno::EINVAL, true), "{why}");
    let d = Dir::new();
    for (u, says) in [("nosuchuser", "there is no user of this name"), ("4294967294", "4294967294:GID")] {
        let out = d.run(&format!("-U {u}"));
        assert_eq!(out.status.code(), Some(1));
        let text = common::text(&out.stderr);
        assert!(text.contains(says), "{text}");
    }
}

/// The table of docs/privilege.md: a client of another user.
#[test]
fn what_a_stranger_can_and_cannot_do() {
    if !root() {
        return;
    }
    let s = Stack::start("-d sample");
    s.wait_interfaces(2);
    let path = s.dir.socket("");
    as_user(STRANGER, || {
        let me = Session::open_at(&path).unwrap();
        // Sockets, and looking.
        talk(&me);
        UdpSocket::bind(&me, "0.0.0.0:1024".parse().unwrap()).unwrap();
        RawSocket::ping(&me, false).unwrap();
        for look in [
            Request::Stack,
            Request::Interfaces { name: None },
            Request::Routes { cursor: 0 },
            Request::Arp,
            Request::Sockets { cursor: 0 },
            Request::Stats,
            Request::NicInfo { name: None },
            Request::Loaded,
            Request::Cloners,
            Request::Sysctl { name: String::new(), value: None },
        ] {
            let r = me.ctl(&look).unwrap();
            assert!(!matches!(r, Reply::Err { .. }), "{look:?}: {r:?}");
        }
        // Nothing that changes the stack, or speaks in its name.
        let name = || "sam0".to_owned();
        for change in [
            Request::SetFlags { name: "lo0".into(), set: 0, clear: iff::UP },
            Request::DelAddr { name: "lo0".into(), addr: None },
            Request::SetMtu { name: name(), mtu: 1400 },
            Request::SetMetric { name: name(), metric: 1 },
            Request::Create { name: "lo1".into() },
            Request::Destroy { name: name() },
            Request::ZeroCounters { name: name() },
            Request::FlushRoutes,
            Request::DelArp { ip: None, ifname: None, proxy: false },
            Request::Load { object: "devnp-sample.so".into(), options: String::new() },
            Request::Unload { what: "sample".into() },
            Request::Sysctl { name: "net.inet.ip.ttl".into(), value: Some("1".into()) },
            Request::Sysctl { name: "kern.hostname".into(), value: Some("x".into()) },
            Request::Shutdown,
        ] {
            let (e, why) = refusal(me.ctl(&change).unwrap());
            assert_eq!(e, Errno::EPERM, "{change:?}: {why}");
            assert!(why.contains("only root and user 0 may change"), "{why}");
        }
        let e = RawSocket::new(&me, false, 1).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::PermissionDenied);
        for port in [1, 80, 1023] {
            let at = format!("0.0.0.0:{port}").parse().unwrap();
            let e = TcpListener::bind(&me, at, 5).unwrap_err();
            assert_eq!(e.raw_os_error(), Some(Errno::EACCES.0), "{port}");
            let e = UdpSocket::bind(&me, at).unwrap_err();
            assert_eq!(e.raw_os_error(), Some(Errno::EACCES.0), "{port}");
        }
        // Nor by the names on disk.
        assert!(std::fs::remove_file(path.join("2")).is_err());
        assert!(std::fs::write(s.dir.0.join("dev/x"), "").is_err());
    });
    // Root can all of it.
    TcpListener::bind(&s.session(), "0.0.0.0:80".parse().unwrap(), 5).unwrap();
    RawSocket::new(&s.session(), false, 1).unwrap();
}

#[test]
fn it_runs_without_root() {
    if !root() {
        return;
    }
    let dir = Dir::new();
    std::fs::create_dir(&dir.0).unwrap();
    chown(&dir.0, Some(STRANGER), Some(STRANGER)).unwrap();
    std::fs::set_permissions(&dir.0, std::fs::Permissions::from_mode(0o700)).unwrap();
    // The program itself may lie where this user cannot look.
    let exe = dir.0.join("io-pkt-v4-hc");
    // By another process: a descriptor of ours for writing could be alive in a child of another test, and keep it from running.
    let cp =
        std::process::Command::new("cp").arg(env!("CARGO_BIN_EXE_io-pkt-v4-hc")).arg(&exe).status().unwrap();
    assert!(cp.success());
    let mut c = std::process::Command::new(&exe);
    c.args(["--foreground", "-P21", "-ptcpip", "rx_prio=30,pkt_typed_mem=ram/dma"])
        .env("IO_PKT_ROOT", &dir.0)
        .env_remove("SOCK")
        .current_dir("/")
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .uid(STRANGER)
        .gid(STRANGER);
    let mut guard = Ended(c.spawn().unwrap());
    let child = &mut guard.0;
    let path = dir.socket("");
    until("it answers its own user", || {
        assert!(child.try_wait().unwrap().is_none(), "{:?}", dir.log());
        as_user(STRANGER, || Session::open_at(&path).is_ok())
    });
    assert_eq!(status(child.id(), "CapPrm"), ["0000000000000000"]);
    assert_eq!(
        (status(child.id(), "NoNewPrivs"), status(child.id(), "Seccomp")),
        (vec!["1".into()], vec!["2".into()])
    );
    // Its user may do everything, low ports and raw sockets of the stack included: they are no kernel's.
    as_user(STRANGER, || {
        let me = Session::open_at(&path).unwrap();
        TcpListener::bind(&me, "0.0.0.0:80".parse().unwrap(), 5).unwrap();
        RawSocket::new(&me, false, 1).unwrap();
        assert!(matches!(me.ctl(&Request::Create { name: "lo1".into() }).unwrap(), Reply::Names(_)));
        let (e, why) = refusal(write_variable(&me, "0x1"));
        assert_eq!((e, why.contains("runs as user 65534 already")), (Errno::EPERM, true), "{why}");
    });
    // Others do not get in; root does.
    assert!(as_user(OTHER, || Session::open_at(&path).is_err()));
    assert!(Session::open_at(&path).is_ok());
    // Priorities: had, or said.
    let log = dir.log().join("\n");
    assert!(
        log.contains("main thread: priority 21") && log.contains("packet thread 0: priority 30"),
        "{log}"
    );
    rustix::process::kill_process(rustix::process::Pid::from_child(child), Signal::TERM).unwrap();
    until("it ends", || child.try_wait().unwrap().is_some());
    assert!(!path.exists());
}
