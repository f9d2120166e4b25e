//! Unmodified programs on the stack: dynamic, static, Go; clients and servers.

use iopkt_tests::{Lab, modem, nginx};
use std::time::Duration;

const BYTES: &str = "5000000";

/// MD5 of the first N bytes that the modem's far side serves, fetched once by the plainest client.
fn md5_of(lab: &Lab, cmd: &str) -> String {
    lab.sh(&format!("{cmd} | md5sum | cut -d' ' -f1")).trim().to_string()
}

#[test]
fn http_clients_agree_on_every_byte() {
    let mut lab = Lab::new("clients");
    modem::start(&mut lab, "io-pkt-v4-hc", "");
    let url = format!("http://10.0.0.1/bytes/{BYTES}");
    let want = md5_of(&lab, &format!("io-pkt-run curl -sS {url}"));
    for client in [
        format!("wget -qO- {url}"),
        format!("busybox wget -qO- {url}"),
        format!("curl -sS --http1.0 {url}"),
        format!(
            "python3 -c \"import urllib.request,sys;sys.stdout.buffer.write(urllib.request.urlopen('{url}').read())\""
        ),
    ] {
        assert_eq!(md5_of(&lab, &format!("io-pkt-run {client}")), want, "{client}");
    }
    let nc = lab.sh("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | io-pkt-run nc -q 1 -w 5 10.0.0.1 80");
    assert!(nc.starts_with("HTTP/1."), "{nc}");
    let up = lab.sh("head -c 3000000 /dev/urandom > up; io-pkt-run curl -sS -T up http://10.0.0.1/sink");
    assert!(up.contains("3000000"), "{up}");
}

#[test]
fn exit_codes_and_refusals_are_the_programs_own() {
    let mut lab = Lab::new("refused");
    modem::start(&mut lab, "io-pkt-v4-hc", "");
    assert_eq!(lab.sh_fails("io-pkt-run curl -sS http://10.0.0.1:81/").0, 7, "curl: connection refused");
    assert_eq!(lab.sh_fails("io-pkt-run curl -sS -m 2 http://10.9.9.9/").0, 28, "curl: timed out");
    let (_, err) = lab.sh_fails("SOCK=/nowhere io-pkt-run curl -sS http://10.0.0.1/");
    assert!(err.contains("/nowhere"), "{err}");
}

#[test]
fn names_are_resolved_through_the_stack() {
    let mut lab = Lab::new("names");
    modem::start(&mut lab, "io-pkt-v4-hc", "");
    // A resolv.conf of the test's own, seen only inside the mount namespace of the program.
    lab.sh("echo 'nameserver 10.0.0.1' > resolv.conf");
    let page = lab.sh(
        "unshare -m sh -c 'mount --bind resolv.conf /etc/resolv.conf && io-pkt-run curl -sS http://modem.test/'",
    );
    assert!(page.contains("io-pkt"), "{page}");
}

#[test]
fn servers_and_clients_meet_on_loopback() {
    let mut lab = Lab::new("servers");
    modem::loopback(&mut lab, "io-pkt-v4-hc");
    lab.sh("head -c 2000000 /dev/urandom > blob");
    let want = lab.sh("md5sum < blob | cut -d' ' -f1");
    lab.spawn("io-pkt-run python3 -m http.server 8000 --bind 127.0.0.1");
    lab.wait(Duration::from_secs(60), "io-pkt-run curl -sS -o /dev/null http://127.0.0.1:8000/");
    assert_eq!(lab.sh("io-pkt-run curl -sS http://127.0.0.1:8000/blob | md5sum | cut -d' ' -f1"), want);
    lab.spawn("io-pkt-run iperf3 -s -1 -p 5201");
    lab.wait(Duration::from_secs(60), "netstat -an | grep -q '5201.*LISTEN'");
    let out = lab.sh("io-pkt-run iperf3 -c 127.0.0.1 -p 5201 -t 2 -J");
    assert!(out.contains("\"bits_per_second\"") && !out.contains("\"error\""), "{out}");
}

#[test]
fn nginx_with_workers_and_redis() {
    let mut lab = Lab::new("nginx");
    modem::loopback(&mut lab, "io-pkt-v4-hc");
    let nginx = nginx::configure(&lab, "listen 127.0.0.1:8080;");
    lab.sh("head -c 3000000 /dev/urandom > blob");
    let want = lab.sh("md5sum < blob | cut -d' ' -f1");
    lab.spawn(&format!("io-pkt-run {nginx}"));
    lab.wait(Duration::from_secs(60), "io-pkt-run curl -sS -o /dev/null http://127.0.0.1:8080/blob");
    for _ in 0..5 {
        assert_eq!(lab.sh("io-pkt-run curl -sS http://127.0.0.1:8080/blob | md5sum | cut -d' ' -f1"), want);
    }
    lab.spawn("io-pkt-run redis-server --port 6380 --bind 127.0.0.1 --save '' --appendonly no");
    lab.wait(Duration::from_secs(60), "io-pkt-run redis-cli -p 6380 ping | grep -q PONG");
    assert_eq!(lab.sh("io-pkt-run redis-cli -p 6380 set k v; io-pkt-run redis-cli -p 6380 get k"), "OK\nv\n");
    let bench = lab.sh("io-pkt-run redis-benchmark -p 6380 -q -n 2000 -c 20 -t set,get");
    assert!(bench.contains("requests per second"), "{bench}");
}

#[test]
fn ssh_both_ways() {
    let mut lab = Lab::new("ssh");
    modem::loopback(&mut lab, "io-pkt-v4-hc");
    let w = lab.work().display().to_string();
    lab.sh("ssh-keygen -q -t ed25519 -N '' -f host && ssh-keygen -q -t ed25519 -N '' -f user && mkdir -p /run/sshd && chmod 755 .");
    std::fs::write(
        lab.work().join("sshd_config"),
        format!(
            "ListenAddress 127.0.0.1\nPort 2222\nHostKey {w}/host\nAuthorizedKeysFile {w}/user.pub\nStrictModes no\n\
             PidFile none\nUsePAM no\nPermitRootLogin yes\n"
        ),
    )
    .expect("write sshd_config");
    lab.spawn(&format!("io-pkt-run /usr/sbin/sshd -D -e -f {w}/sshd_config"));
    let ssh = "io-pkt-run ssh -F none -i user -p 2222 -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR root@127.0.0.1";
    lab.wait(Duration::from_secs(60), &format!("{ssh} true"));
    lab.sh("head -c 2000000 /dev/urandom > blob");
    let want = lab.sh("md5sum < blob | cut -d' ' -f1");
    assert_eq!(lab.sh(&format!("{ssh} \"md5sum | cut -d' ' -f1\" < blob")), want);
    assert_eq!(lab.sh_fails(&format!("{ssh} exit 3")).0, 3);
}

#[test]
fn static_go_client_and_server() {
    let mut lab = Lab::new("go");
    modem::loopback(&mut lab, "io-pkt-v4-hc");
    std::fs::write(
        lab.work().join("main.go"),
        r#"package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
)

func main() {
	if os.Args[1] == "serve" {
		http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, "blob") })
		fmt.Println(http.ListenAndServe(os.Args[2], nil))
		os.Exit(1)
	}
	r, err := http.Get(os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	io.Copy(os.Stdout, r.Body)
}
"#,
    )
    .expect("write main.go");
    lab.sh("CGO_ENABLED=0 GOCACHE=$PWD/cache GOFLAGS=-mod=mod GO111MODULE=off go build -o prog main.go && ! ldd prog");
    lab.sh("head -c 2000000 /dev/urandom > blob");
    let want = lab.sh("md5sum < blob | cut -d' ' -f1");
    lab.spawn("io-pkt-run ./prog serve 127.0.0.1:8090");
    lab.wait(Duration::from_secs(60), "io-pkt-run ./prog get http://127.0.0.1:8090/ >/dev/null");
    assert_eq!(lab.sh("io-pkt-run ./prog get http://127.0.0.1:8090/ | md5sum | cut -d' ' -f1"), want);
    assert_eq!(lab.sh("io-pkt-run curl -sS http://127.0.0.1:8090/ | md5sum | cut -d' ' -f1"), want);
    assert_eq!(lab.sh("io-pkt-run busybox wget -qO- http://127.0.0.1:8090/ | md5sum | cut -d' ' -f1"), want);
}
