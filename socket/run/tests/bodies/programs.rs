//! Programs that nobody here wrote, servers and clients, on the stack's loopback.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::support::{FakeStack, eventually, finish, output};

/// A server that is ended with the test.
struct Server(Child);

impl Server {
    /// Starts it and waits until it serves `port`.
    fn start(s: &FakeStack, port: u16, args: &[&str]) -> Server {
        let mut command = s.run(args);
        command.current_dir(&s.root).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Server(command.spawn().unwrap());
        eventually(&format!("{args:?} serves"), || s.is_served(port));
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        unsafe { libc::kill(self.0.id() as i32, libc::SIGTERM) };
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        while self.0.try_wait().is_ok_and(|s| s.is_none()) && std::time::Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// 1 MiB of bytes that repeat nowhere soon.
fn noise(n: usize) -> Vec<u8> {
    let mut x = 0x9e37_79b9_7f4a_7c15u64;
    (0..n)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            x as u8
        })
        .collect()
}

fn exists(program: &str) -> bool {
    let found =
        ["/usr/bin", "/bin", "/usr/sbin", "/sbin"].iter().any(|d| Path::new(d).join(program).exists());
    if !found {
        eprintln!("{program} is not installed: not tried");
    }
    found
}

#[test]
fn http_clients_fetch_a_file() {
    let s = FakeStack::start();
    let data = noise(1 << 20);
    std::fs::write(s.root.join("file"), &data).unwrap();
    let _server = Server::start(&s, 8000, &["python3", "-m", "http.server", "--bind", "127.0.0.1", "8000"]);
    let copy = s.root.join("copy");
    let to = copy.to_str().unwrap();
    let url = "http://127.0.0.1:8000/file";
    let clients: [&[&str]; 6] = [
        &["curl", "-sS", "-o", to, url],
        &["--seccomp-only", "curl", "-sS", "-o", to, url],
        &["--preload-only", "curl", "-sS", "-o", to, url],
        &["--front", "curl", "-sS", "-o", to, url],
        &["wget", "-q", "-O", to, url],
        &["busybox", "wget", "-q", "-O", to, url],
    ];
    for client in clients {
        let program = client.iter().find(|a| !a.starts_with('-')).unwrap();
        if !exists(program) {
            continue;
        }
        let _ = std::fs::remove_file(&copy);
        let (_, err, status) = output(&mut s.run(client));
        assert!(status.success(), "{client:?}: {err}");
        assert!(std::fs::read(&copy).unwrap() == data, "{client:?}: the bytes differ");
    }
}

#[test]
fn names_are_resolved_without_the_kernels_interfaces() {
    // glibc asks a route socket and connects datagram sockets to sort addresses; both must not lead to the kernel.
    let s = FakeStack::start();
    let _server = Server::start(&s, 8000, &["python3", "-m", "http.server", "--bind", "127.0.0.1", "8000"]);
    let (_, err, status) = output(&mut s.run(&["curl", "-sS", "-o", "/dev/null", "http://localhost:8000/"]));
    assert!(status.success(), "{err}");
}

#[test]
fn a_daemon_is_supervised_after_its_parent_ended() {
    if !exists("nginx") {
        return;
    }
    for shape in [&[][..], &["--front"], &["--seccomp-only"]] {
        let s = FakeStack::start();
        let root = s.root.display();
        std::fs::write(s.root.join("index.html"), "served by a worker\n").unwrap();
        let conf = format!(
            "pid {root}/pid; error_log {root}/log; worker_processes 2; events {{ worker_connections 64; }}\n\
             http {{ access_log off; client_body_temp_path {root}/t; proxy_temp_path {root}/t; fastcgi_temp_path {root}/t;\n\
             uwsgi_temp_path {root}/t; scgi_temp_path {root}/t;\n\
             server {{ listen 127.0.0.1:8080; root {root}; }} }}\n"
        );
        std::fs::write(s.root.join("conf"), conf).unwrap();
        let conf = s.root.join("conf");
        let mut args = shape.to_vec();
        args.extend(["nginx", "-c", conf.to_str().unwrap()]);
        let (_, err, status) = output(&mut s.run(&args));
        assert!(status.success(), "{err}");
        let mut pid = 0;
        eventually("nginx has written its pid", || {
            let text = std::fs::read_to_string(s.root.join("pid")).unwrap_or_default();
            pid = text.trim().parse().unwrap_or(0);
            pid > 0
        });
        for _ in 0..5 {
            let (out, err, status) = output(&mut s.run(&["curl", "-sS", "http://127.0.0.1:8080/"]));
            let log = std::fs::read_to_string(s.root.join("log")).unwrap_or_default();
            assert!(status.success() && out == "served by a worker\n", "{shape:?}: {out} {err} {log}");
        }
        unsafe { libc::kill(pid, libc::SIGTERM) };
        eventually("nginx is gone", || unsafe { libc::kill(pid, 0) } < 0);
        eventually("its sockets are closed", || s.open_sockets() == 0);
    }
}

#[test]
fn redis_answers() {
    if !exists("redis-server") {
        return;
    }
    let s = FakeStack::start();
    let _server =
        Server::start(&s, 6379, &["redis-server", "--port", "6379", "--bind", "127.0.0.1", "--save", ""]);
    let (out, err, _) = output(&mut s.run(&["redis-cli", "-h", "127.0.0.1", "set", "key", "value"]));
    assert_eq!(out.trim(), "OK", "{err}");
    let (out, err, _) = output(&mut s.run(&["redis-cli", "-h", "127.0.0.1", "get", "key"]));
    assert_eq!(out.trim(), "value", "{err}");
}

#[test]
fn iperf3_measures() {
    if !exists("iperf3") {
        return;
    }
    for way in [&[][..], &["--seccomp-only"]] {
        let s = FakeStack::start();
        let with = |args: &[&'static str]| [way, args].concat();
        let _server = Server::start(&s, 5201, &with(&["iperf3", "-s", "-4", "-B", "127.0.0.1"]));
        for direction in [&[][..], &["-R"]] {
            let client = ["timeout", "10", "iperf3", "-4", "-c", "127.0.0.1", "-n", "8M"];
            let args = [&with(&client), direction].concat();
            // The server listens anew after each client, the probe being one: for a moment it refuses, and who came to the
            // listener that it closes is reset, or sees the end, or waits for it to begin.
            eventually(&format!("a client was served {way:?} {direction:?}"), || {
                let last = output(&mut s.run(&args));
                last.0.contains("receiver")
            });
        }
    }
}

#[test]
fn netcat_carries_bytes_both_ways() {
    if !exists("nc") {
        return;
    }
    let s = FakeStack::start();
    let mut listen = s.run(&["nc", "-l", "127.0.0.1", "7777"]);
    let mut server = listen.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    // nc serves one connection only, so it is the client that tries until it is served; it reads nothing before.
    let client = "until nc -N 127.0.0.1 7777; do sleep 0.1; done";
    let mut client =
        s.run(&["sh", "-c", client]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    use std::io::Write;
    client.stdin.take().unwrap().write_all(b"to the server\n").unwrap();
    server.stdin.take().unwrap().write_all(b"to the client\n").unwrap();
    let (out, _, _) = finish(client, Duration::from_secs(30));
    assert_eq!(out, "to the client\n");
    let (out, _, _) = finish(server, Duration::from_secs(30));
    assert_eq!(out, "to the server\n");
}

#[test]
fn static_go_programs_talk() {
    if !exists("go") {
        return;
    }
    let s = FakeStack::start();
    let exe = s.root.join("gohttp");
    let build = std::process::Command::new("go")
        .args(["build", "-o"])
        .arg(&exe)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bodies/gohttp.go"))
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-mod=mod")
        .env("GOCACHE", std::env::temp_dir().join("io-pkt-run-gocache"))
        .output()
        .unwrap();
    assert!(build.status.success(), "{}", String::from_utf8_lossy(&build.stderr));
    let exe = exe.to_str().unwrap();
    let _server = Server::start(&s, 8090, &[exe, "serve", "127.0.0.1:8090"]);
    for shape in [&[][..], &["--front"]] {
        let args = [shape, &[exe, "get", "http://127.0.0.1:8090/"]].concat();
        let (out, err, status) = output(&mut s.run(&args));
        assert!(status.success() && out.starts_with("hello from go to 127.0.0.1:"), "{out} {err}");
    }
    let (out, err, _) = output(&mut s.run(&["curl", "-sS", "http://127.0.0.1:8090/"]));
    assert!(out.starts_with("hello from go"), "{err}");
    let (out, err, _) = output(&mut s.run(&[exe, "udp", "127.0.0.1:0"]));
    assert_eq!(out, "echo: a datagram\n", "{err}");
    let (out, _, _) = output(&mut s.run(&["--preload-only", exe, "get", "http://127.0.0.1:8090/"]));
    assert!(out.is_empty(), "a static program must not run on the kernel's network: {out}");
}

/// Whether the tests may make namespaces and change users.
fn is_root() -> bool {
    unsafe { libc::geteuid() == 0 }
}

#[test]
fn sshd_serves_a_shell_and_its_programs() {
    if !exists("sshd") || !is_root() {
        return;
    }
    let s = FakeStack::start();
    let root = s.root.display().to_string();
    let run = |args: &[&str]| {
        assert!(std::process::Command::new(args[0]).args(&args[1..]).status().unwrap().success())
    };
    run(&["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", &format!("{root}/host")]);
    run(&["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", &format!("{root}/user")]);
    run(&["mkdir", "-p", "/run/sshd"]);
    std::fs::copy(s.root.join("user.pub"), s.root.join("authorized")).unwrap();
    let conf = format!(
        "Port 2222\nListenAddress 127.0.0.1\nHostKey {root}/host\nAuthorizedKeysFile {root}/authorized\nStrictModes no\n\
         PidFile {root}/sshd.pid\nUsePAM no\nPermitRootLogin yes\n"
    );
    std::fs::write(s.root.join("conf"), conf).unwrap();
    let web = Server::start(&s, 8000, &["python3", "-m", "http.server", "--bind", "127.0.0.1", "8000"]);
    let _server = Server::start(&s, 2222, &["/usr/sbin/sshd", "-D", "-f", &format!("{root}/conf")]);
    let key = format!("{root}/user");
    // What is run in the session has a new environment, so only the supervisor reaches it.
    let remote = "echo in the session; curl -sS -o /dev/null -w '%{http_code}\\n' http://127.0.0.1:8000/";
    let known = format!("UserKnownHostsFile={root}/known");
    let args = [
        "ssh",
        "-i",
        &key,
        "-p",
        "2222",
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        &known,
        "-o",
        "BatchMode=yes",
        "root@127.0.0.1",
        remote,
    ];
    let (out, err, status) = output(&mut s.run(&args));
    assert!(status.success() && out == "in the session\n200\n", "{out}\n{err}");
    drop(web);
}

#[test]
fn names_are_asked_for_by_datagrams_of_libc() {
    // glibc's resolver makes its socket, connects it and sends with calls that no preload library sees.
    if !is_root() {
        return;
    }
    let s = FakeStack::start();
    std::fs::write(s.root.join("resolv.conf"), "nameserver 127.0.0.1\noptions timeout:5\n").unwrap();
    std::fs::write(s.root.join("nsswitch.conf"), "hosts: dns\n").unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bodies/nameserver.py");
    let ready = s.root.join("ready");
    let mut server = s.run(&["python3", script, ready.to_str().unwrap()]);
    let _server = Server(server.spawn().unwrap());
    eventually("the name server is bound", || ready.exists());
    for way in [&[][..], &["--seccomp-only"], &["--front"]] {
        let root = s.root.display().to_string();
        let mut args = vec!["-m", "sh", "-c"];
        let script = format!(
            "mount --bind {root}/resolv.conf /etc/resolv.conf && mount --bind {root}/nsswitch.conf /etc/nsswitch.conf && exec \"$@\""
        );
        args.extend([script.as_str(), "sh", env!("CARGO_BIN_EXE_io-pkt-run")]);
        args.extend(way);
        args.extend(["getent", "ahosts", "some.example"]);
        let mut c = std::process::Command::new("unshare");
        c.args(&args).env("IO_PKT_ROOT", &s.root).env("IO_PKT_PRELOAD", crate::support::preload());
        let (out, err, _) = output(&mut c);
        assert!(out.starts_with("10.20.30.40 "), "{way:?}: {out} {err}");
    }
}

#[test]
fn it_works_without_root() {
    if !is_root() {
        return; // then every test here is this one
    }
    let s = FakeStack::start();
    std::fs::write(s.root.join("file"), "without root\n").unwrap();
    let _server = Server::start(&s, 8000, &["python3", "-m", "http.server", "--bind", "127.0.0.1", "8000"]);
    // The binaries may lie where nobody else may look: a copy does not.
    let bin = s.root.join("io-pkt-run");
    let lib = s.root.join("libiopkt_preload.so");
    for (from, to) in [(env!("CARGO_BIN_EXE_io-pkt-run").into(), &bin), (crate::support::preload(), &lib)] {
        // By a process of its own: a child forked by another test meanwhile would keep the file open for writing.
        assert!(std::process::Command::new("cp").arg(from).arg(to).status().unwrap().success());
    }
    for way in [&[][..], &["--seccomp-only"], &["--front"], &["--front", "--seccomp-only"]] {
        let mut args = vec!["--reuid=65534", "--regid=65534", "--clear-groups", bin.to_str().unwrap()];
        args.extend(way);
        args.extend(["curl", "-sS", "http://127.0.0.1:8000/file"]);
        let mut c = std::process::Command::new("setpriv");
        c.args(&args).env("IO_PKT_ROOT", &s.root).env_remove("IO_PKT_PRELOAD");
        let (out, err, _) = output(&mut c);
        assert_eq!(out, "without root\n", "{way:?}: {err}");
    }
}
