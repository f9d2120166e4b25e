//! Unmodified programs over IPv6: clients and servers on ::1, and what falls back to IPv4.

use iopkt_tests::{Lab, modem, nginx};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// The launchers, each alone and both.
const WAYS: [&str; 3] = ["--preload-only", "--seccomp-only", ""];

#[test]
fn web_servers_and_clients_of_both_families() {
    let mut lab = Lab::new("web6");
    modem::loopback(&mut lab, "io-pkt-v6-hc");
    let nginx = nginx::configure(&lab, "listen [::1]:8080; listen [::]:8081 ipv6only=off;");
    lab.sh("head -c 2000000 /dev/urandom > blob; echo '127.0.0.1 both.test\n::1 both.test' > hosts");
    let want = lab.sh("md5sum < blob | cut -d' ' -f1");
    for server in WAYS {
        let i = lab.spawn(&format!("io-pkt-run {server} {nginx}"));
        lab.wait(LIMIT, "io-pkt-run curl -6 -sS -o /dev/null 'http://[::1]:8080/blob'");
        for way in WAYS {
            for url in ["http://[::1]:8080/blob", "http://[::1]:8081/blob", "http://127.0.0.1:8081/blob"] {
                let got = lab.sh(&format!("io-pkt-run {way} curl -g -sS {url} | md5sum | cut -d' ' -f1"));
                assert_eq!(got, want, "nginx {server}, curl {way} {url}");
            }
        }
        lab.proc(i).signal(libc::SIGTERM);
        assert!(lab.proc(i).wait(LIMIT).is_some(), "nginx ends");
    }
    // A name with both addresses: what does not answer over IPv6 is had over IPv4 (RFC 8305), and the other way round.
    lab.spawn("io-pkt-run python3 -m http.server 8000 --bind 127.0.0.1");
    lab.spawn("io-pkt-run python3 -m http.server 8001 --bind ::1");
    let ask = |way: &str, port: u16| {
        format!(
            "unshare -m sh -c 'mount --bind hosts /etc/hosts && io-pkt-run {way} curl -sS http://both.test:{port}/blob' | md5sum | cut -d' ' -f1"
        )
    };
    lab.wait(LIMIT, "io-pkt-run curl -sS -o /dev/null http://127.0.0.1:8000/");
    lab.wait(LIMIT, "io-pkt-run curl -g -sS -o /dev/null http://[::1]:8001/");
    for way in ["", "--seccomp-only"] {
        for port in [8000, 8001] {
            assert_eq!(lab.sh(&ask(way, port)), want, "{way} {port}");
        }
    }
}

#[test]
fn ssh_and_a_static_go_program() {
    let mut lab = Lab::new("ssh6");
    modem::loopback(&mut lab, "io-pkt-v6-hc");
    let w = lab.work().display().to_string();
    lab.sh("ssh-keygen -q -t ed25519 -N '' -f host && ssh-keygen -q -t ed25519 -N '' -f user && mkdir -p /run/sshd && chmod 755 .");
    std::fs::write(
        lab.work().join("sshd_config"),
        format!(
            "ListenAddress ::1\nHostKey {w}/host\nAuthorizedKeysFile {w}/user.pub\nStrictModes no\n\
             PidFile none\nUsePAM no\nPermitRootLogin yes\n"
        ),
    )
    .expect("write sshd_config");
    lab.sh("head -c 2000000 /dev/urandom > blob");
    let want = lab.sh("md5sum < blob | cut -d' ' -f1");
    for (n, server) in WAYS.iter().enumerate() {
        let port = 2222 + n;
        lab.spawn(&format!("io-pkt-run {server} /usr/sbin/sshd -D -e -p {port} -f {w}/sshd_config"));
        let ssh = format!(
            "ssh -6 -F none -i user -p {port} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR root@::1"
        );
        lab.wait(LIMIT, &format!("io-pkt-run {ssh} true"));
        for way in WAYS {
            let got = lab.sh(&format!("io-pkt-run {way} {ssh} \"md5sum | cut -d' ' -f1\" < blob"));
            assert_eq!(got, want, "sshd {server}, ssh {way}");
        }
    }
    std::fs::write(
        lab.work().join("main.go"),
        r#"package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
)

func main() {
	switch os.Args[1] {
	case "serve":
		http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, "blob") })
		fmt.Println(http.ListenAndServe(os.Args[2], nil))
		os.Exit(1)
	case "addrs":
		list, err := net.InterfaceAddrs()
		fmt.Println(list, err)
	default:
		r, err := http.Get(os.Args[2])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		io.Copy(os.Stdout, r.Body)
	}
}
"#,
    )
    .expect("write main.go");
    lab.sh("CGO_ENABLED=0 GOCACHE=$PWD/cache GOFLAGS=-mod=mod GO111MODULE=off go build -o prog main.go && ! ldd prog");
    // ":port" is one socket for both families.
    // Go calls the kernel itself, which the supervisor alone sees.
    for (n, server) in ["--seccomp-only", ""].iter().enumerate() {
        let port = 8090 + n;
        lab.spawn(&format!("io-pkt-run {server} ./prog serve :{port}"));
        lab.wait(LIMIT, &format!("io-pkt-run ./prog get 'http://[::1]:{port}/' >/dev/null"));
        for url in [format!("http://[::1]:{port}/"), format!("http://127.0.0.1:{port}/")] {
            for way in ["--seccomp-only", ""] {
                let got = lab.sh(&format!("io-pkt-run {way} ./prog get '{url}' | md5sum | cut -d' ' -f1"));
                assert_eq!(got, want, "{server} serves {way} {url}");
            }
            let got = lab.sh(&format!("io-pkt-run curl -g -sS '{url}' | md5sum | cut -d' ' -f1"));
            assert_eq!(got, want, "curl {url}");
        }
    }
    let addrs = lab.sh("io-pkt-run ./prog addrs");
    assert!(addrs.contains("127.0.0.1/8 ::1/128 fe80::1/64"), "{addrs}");
    let ip = lab.sh("io-pkt-run ip -6 -o addr show");
    assert!(ip.contains("inet6 ::1/128") && ip.contains("inet6 fe80::1/64 scope link"), "{ip}");
}
