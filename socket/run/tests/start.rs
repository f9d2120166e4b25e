//! Starting a program: exit status, signals, standard files, messages.

// kill(2) and waitpid(2) on processes that the test has started.
#![allow(clippy::undocumented_unsafe_blocks)]

mod support;

/// For [`support`].
const ON_IO_PKT: bool = false;

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use support::{FakeStack, eventually, finish, output};

/// Both shapes: the started process becomes the program, or stays in front of it.
const SHAPES: [&[&str]; 2] = [&[], &["--front"]];

fn with(shape: &[&'static str], args: &[&'static str]) -> Vec<&'static str> {
    [shape, args].concat()
}

#[test]
fn exit_status_is_the_programs() {
    let s = FakeStack::start();
    for shape in SHAPES {
        for n in [0, 1, 42, 255] {
            let script: &'static str = Box::leak(format!("exit {n}").into_boxed_str());
            let (_, err, status) = output(&mut s.run(&with(shape, &["sh", "-c", script])));
            assert_eq!(status.code(), Some(n), "{shape:?} {err}");
        }
    }
}

#[test]
fn death_by_signal_is_mirrored() {
    let s = FakeStack::start();
    for shape in SHAPES {
        for (name, number) in [
            ("TERM", libc::SIGTERM),
            ("KILL", libc::SIGKILL),
            ("SEGV", libc::SIGSEGV),
            ("PIPE", libc::SIGPIPE),
        ] {
            let script: &'static str = Box::leak(format!("ulimit -c 0; kill -{name} $$").into_boxed_str());
            let (_, err, status) = output(&mut s.run(&with(shape, &["sh", "-c", script])));
            assert_eq!(status.signal(), Some(number), "{shape:?} {err}");
        }
    }
}

#[test]
fn signals_reach_the_program() {
    let s = FakeStack::start();
    for shape in SHAPES {
        for (name, number) in [
            ("TERM", libc::SIGTERM),
            ("HUP", libc::SIGHUP),
            ("USR1", libc::SIGUSR1),
            ("WINCH", libc::SIGWINCH),
        ] {
            let script: &'static str = Box::leak(
                format!("trap 'echo got; exit 7' {name}; echo ready; while :; do sleep 0.05; done")
                    .into_boxed_str(),
            );
            let mut child =
                s.run(&with(shape, &["sh", "-c", script])).stdout(Stdio::piped()).spawn().unwrap();
            let mut out = child.stdout.take().unwrap();
            let mut line = [0u8; 6];
            std::io::Read::read_exact(&mut out, &mut line).unwrap();
            unsafe { libc::kill(child.id() as i32, number) };
            child.stdout = Some(out);
            let (out, _, status) = finish(child, std::time::Duration::from_secs(30));
            assert_eq!((out.as_str(), status.code()), ("got\n", Some(7)), "{shape:?} {name}");
        }
    }
}

#[test]
fn stopping_and_continuing_are_mirrored() {
    let s = FakeStack::start();
    for shape in SHAPES {
        let child = s.run(&with(shape, &["sh", "-c", "kill -STOP $$; exit 3"])).spawn().unwrap();
        let mut status = 0;
        unsafe {
            assert_eq!(libc::waitpid(child.id() as i32, &raw mut status, libc::WUNTRACED), child.id() as i32);
            assert!(libc::WIFSTOPPED(status), "{shape:?}: {status:#x}");
            libc::kill(child.id() as i32, libc::SIGCONT);
        }
        let (_, _, status) = finish(child, std::time::Duration::from_secs(30));
        assert_eq!(status.code(), Some(3), "{shape:?}");
    }
}

#[test]
fn killing_the_front_kills_the_program() {
    let s = FakeStack::start();
    for shape in SHAPES {
        let mut child = s
            .run(&with(shape, &["sh", "-c", "echo $$; exec sleep 1000"]))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        std::io::BufRead::read_line(&mut out, &mut line).unwrap();
        let pid: i32 = line.trim().parse().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        eventually("the program is gone", || unsafe { libc::kill(pid, 0) } < 0);
    }
}

#[test]
fn standard_files_and_arguments_arrive() {
    let s = FakeStack::start();
    for shape in SHAPES {
        let mut child = s
            .run(&with(shape, &["sh", "-c", "cat; echo \"$0|$1|$2\" >&2", "a b", "", "*"]))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(b"through").unwrap();
        let (out, err, status) = finish(child, std::time::Duration::from_secs(30));
        assert_eq!(
            (out.as_str(), err.as_str(), status.code()),
            ("through", "a b||*\n", Some(0)),
            "{shape:?}"
        );
    }
}

#[test]
fn no_pipe_is_kept_open() {
    // The reader of a pipe sees its end as soon as the program closed it, not when the supervisor ends.
    let s = FakeStack::start();
    for shape in SHAPES {
        let mut child = s
            .run(&with(shape, &["sh", "-c", "echo x; exec >&- 2>&-; read line; exit 5"]))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut child.stdout.take().unwrap(), &mut text).unwrap();
        assert_eq!(text, "x\n");
        child.stdin.take().unwrap().write_all(b"go\n").unwrap();
        let (_, _, status) = finish(child, std::time::Duration::from_secs(30));
        assert_eq!(status.code(), Some(5), "{shape:?}");
    }
}

#[test]
fn what_cannot_be_run_is_said() {
    let s = FakeStack::start();
    let (_, err, status) = output(&mut s.run(&["no-such-program"]));
    assert_eq!(status.code(), Some(127));
    assert!(err.contains("no-such-program") && err.contains("not found"), "{err}");
    let (_, err, status) = output(&mut s.run(&["/etc/passwd"]));
    assert_eq!(status.code(), Some(126));
    assert!(err.contains("/etc/passwd"), "{err}");
    let (_, err, status) = output(&mut s.run(&["--preload-only", "--seccomp-only", "true"]));
    assert_eq!(status.code(), Some(64));
    assert!(err.contains("--help"), "{err}");
    let (out, _, status) = output(&mut s.run(&["--help"]));
    assert_eq!(status.code(), Some(0));
    assert!(out.starts_with("usage: io-pkt-run"), "{out}");
}

#[test]
fn no_stack_is_said_with_path_and_remedy() {
    let s = FakeStack::start();
    let (_, err, status) = output(s.run(&["true"]).env("SOCK", "/alt"));
    assert_eq!(status.code(), Some(69));
    let path = s.root.join("alt/dev/socket/2");
    assert!(err.contains(path.to_str().unwrap()) && err.contains("prefix=/alt"), "{err}");
    // A socket file that nobody serves any more.
    std::fs::remove_file(s.root.join("dev/socket/2")).unwrap();
    std::os::unix::net::UnixDatagram::bind(s.root.join("dev/socket/2")).unwrap();
    let (_, err, status) = output(&mut s.run(&["true"]));
    assert_eq!(status.code(), Some(69), "{err}");
}

#[test]
fn scripts_without_a_first_line_run() {
    let s = FakeStack::start();
    let script = s.root.join("script");
    std::fs::write(&script, "echo from $1\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let (out, err, _) = output(&mut s.run(&[script.to_str().unwrap(), "here"]));
    assert_eq!(out, "from here\n", "{err}");
}

#[test]
fn nothing_is_left_behind() {
    let s = FakeStack::start();
    for shape in SHAPES {
        let marker: &'static str =
            Box::leak(format!("IOPKT_TEST_{}_{}", std::process::id(), shape.len()).into_boxed_str());
        output(s.run(&with(shape, &["true"])).env(marker, "1"));
        eventually("no process with our mark is left", || {
            !std::fs::read_dir("/proc").unwrap().flatten().any(|e| {
                std::fs::read(e.path().join("environ"))
                    .is_ok_and(|b| b.windows(marker.len()).any(|w| w == marker.as_bytes()))
            })
        });
    }
}

#[test]
fn inside_itself_it_does_nothing() {
    let s = FakeStack::start();
    let inner = env!("CARGO_BIN_EXE_io-pkt-run");
    for shape in SHAPES {
        let (out, err, status) = output(&mut s.run(&with(shape, &[inner, "sh", "-c", "echo inner; exit 4"])));
        assert_eq!((out.as_str(), status.code()), ("inner\n", Some(4)), "{shape:?} {err}");
    }
    // Another stack cannot be had: the kernel allows one supervisor.
    let other = FakeStack::start();
    let root: &'static str = Box::leak(format!("IO_PKT_ROOT={}", other.root.display()).into_boxed_str());
    let (_, err, status) = output(&mut s.run(&["env", root, inner, "true"]));
    assert_eq!(status.code(), Some(71));
    assert!(err.contains("already runs under io-pkt-run"), "{err}");
    let (_, err, status) = output(&mut s.run(&["env", root, inner, "--preload-only", "true"]));
    assert_eq!(status.code(), Some(0), "{err}");
}

#[test]
fn a_program_that_gives_up_its_rights_keeps_the_stack() {
    if unsafe { libc::geteuid() } != 0 {
        return;
    }
    let s = FakeStack::start();
    // Only root can reach the socket: what the program cannot ask for itself, the supervisor does.
    let dir: std::fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(&s.root, dir).unwrap();
    let script = "\
import encodings.idna, os, socket
os.setgid(65534); os.setuid(65534)
l = socket.socket(); l.bind(('127.0.0.1', 0)); l.listen()
c = socket.create_connection(l.getsockname()); p, a = l.accept()
assert a == c.getsockname()
c.sendall(b'x'); assert p.recv(1) == b'x'
d = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); d.bind(('127.0.0.1', 0))
d.sendto(b'y', d.getsockname()); assert d.recvfrom(9) == (b'y', d.getsockname())
d.sendto(b'z', d.getsockname()); assert d.recv(9) == b'z'
d.sendto(b'w', d.getsockname()); assert os.read(d.fileno(), 9) == b'w'
print('done')";
    for shape in SHAPES {
        let (out, err, _) = output(&mut s.run(&with(shape, &["python3", "-c", script])));
        assert_eq!(out, "done\n", "{shape:?} {err}");
    }
}

#[test]
fn what_a_killed_program_waited_for_is_let_go() {
    let s = FakeStack::start();
    let script = "\
import socket, threading, sys
l = socket.socket(); l.bind(('127.0.0.1', 0)); l.listen()
d = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); d.bind(('127.0.0.1', 0))
threading.Thread(target=l.accept, daemon=True).start()
threading.Thread(target=l.accept, daemon=True).start()
print('ready', flush=True)
d.recvfrom(10)";
    for way in [&["--seccomp-only"][..], &["--seccomp-only", "--front"], &[]] {
        let mut child = s.run(&with(way, &["python3", "-c", script])).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = [0u8; 6];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(100));
        child.kill().unwrap();
        child.wait().unwrap();
        eventually("its sockets are closed", || s.open_sockets() == 0);
    }
}

#[test]
fn the_terminal_controls_the_job() {
    // A shell with job control on a terminal of its own: ^Z stops, fg continues, ^C ends.
    let s = FakeStack::start();
    for shape in ["", "--front"] {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/terminal.py");
        let mut c = std::process::Command::new("python3");
        c.args([script, env!("CARGO_BIN_EXE_io-pkt-run"), shape]).env("IO_PKT_ROOT", &s.root);
        c.env("IO_PKT_PRELOAD", support::preload()).stdin(Stdio::null());
        let (out, err, status) = output(&mut c);
        assert!(status.success() && out.ends_with("all good\n"), "{shape}\n{out}\n{err}");
    }
}
