//! Programs that race both families (RFC 8305), unmodified: a name whose address of one family leads nowhere is had by the other, whether the
//! network is silent, refuses, or has no way; and glibc's order of addresses (RFC 6724) follows the stack's, not the kernel's.

use iopkt_tests::netns::Netns;
use iopkt_tests::{Lab, Proc};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// The ways in by which a program's own libc asks the stack, too.
const WAYS: [&str; 2] = ["--seccomp-only", ""];

/// io-pkt-v6-hc on a TAP with both families and default routes; a web server on both in the namespace, behind whose router
/// 2001:db8:dead::/48 and 10.66.0.0/16 are silent.
fn start(lab: &mut Lab) -> (Netns, Proc) {
    let ns = Netns::new();
    lab.spawn(&format!("io-pkt-v6-hc --foreground -d tap ifname=k0,netns=/run/netns/{}", ns.name));
    lab.wait(LIMIT, "if_up -p -r 1 tapk0");
    ns.exec("sysctl -qw net.ipv6.conf.k0.accept_dad=0 net.ipv6.conf.all.forwarding=1 net.ipv4.ip_forward=1");
    ns.exec("ip addr add 2001:db8::1/64 dev k0 nodad && ip addr add 10.7.0.1/24 dev k0 && ip link set k0 up");
    ns.exec("ip -6 route add blackhole 2001:db8:dead::/48 && ip route add blackhole 10.66.0.0/16");
    lab.sh(
        "ifconfig tapk0 inet6 2001:db8::2 prefixlen 64 && ifconfig tapk0 10.7.0.2/24 && ifconfig tapk0 up",
    );
    lab.wait(LIMIT, "ifconfig tapk0 | grep inet6 > a; grep -q fe80 a && ! grep -q tentative a");
    lab.sh("route add -inet6 default 2001:db8::1 && route add default 10.7.0.1");
    let mut c = std::process::Command::new("ip");
    c.args(["netns", "exec", &ns.name, "python3", "-m", "http.server", "--bind", "::", "8000"]);
    let server = Proc::start(c, &lab.work().join("httpd.out"));
    lab.wait(LIMIT, "io-pkt-run curl -gsS -o /dev/null 'http://[2001:db8::1]:8000/'");
    std::fs::write(lab.work().join("hosts"), HOSTS).expect("write hosts");
    (ns, server)
}

/// What each name is about: its address of the family that the other answers for comes first (RFC 6724).
const HOSTS: &str = "2001:db8::1 both.test\n10.7.0.1 both.test\n\
    2001:db8:dead::1 silent6.test\n10.7.0.1 silent6.test\n\
    2001:db8::2 refused6.test\n10.7.0.1 refused6.test\n\
    10.66.0.1 silent4.test\n2001:db8::1 silent4.test\n\
    fd00::1 ula.test\n10.7.0.1 ula.test\n2002:c000:201::1 ula.test\n2001:db8::1 ula.test\n";

const ASYNCIO: &str = "
import asyncio, sys
async def main():
    r, w = await asyncio.wait_for(asyncio.open_connection(sys.argv[1], 8000, happy_eyeballs_delay=0.25), 50)
    print(w.get_extra_info('peername')[0])
    w.close()
asyncio.run(main())
";

const NODE: &str = "
const s = require('net').connect({ host: process.argv[2], port: 8000, autoSelectFamily: true });
s.on('connect', () => { console.log(s.remoteAddress); process.exit(0); });
s.on('error', e => { console.log(e); process.exit(1); });
";

const GO: &str = r#"package main

import (
	"fmt"
	"net"
	"os"
	"time"
)

func main() {
	d := net.Dialer{Timeout: 50 * time.Second}
	c, err := d.Dial("tcp", net.JoinHostPort(os.Args[1], "8000"))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(c.RemoteAddr().(*net.TCPAddr).IP)
}
"#;

#[test]
fn the_family_that_answers_wins() {
    let mut lab = Lab::new("happy");
    let _world = start(&mut lab);
    for (name, text) in [("he.py", ASYNCIO), ("he.js", NODE), ("main.go", GO)] {
        std::fs::write(lab.work().join(name), text).expect("write a program");
    }
    let mut programs =
        vec!["curl -sS -o /dev/null -w '%{remote_ip}' http://NAME:8000/hosts", "python3 he.py NAME"];
    for (program, line) in [("node", "node he.js NAME"), ("go", "./he NAME")] {
        if lab.sh_for(LIMIT, &format!("command -v {program}")).status.success() {
            programs.push(line);
        } else {
            eprintln!("SKIPPED: {program} is not installed: happy eyeballs of {line}");
        }
    }
    if programs.contains(&"./he NAME") {
        let build = "CGO_ENABLED=0 GOCACHE=$PWD/cache GO111MODULE=off go build -o he main.go";
        assert!(lab.sh_for(Duration::from_secs(300), build).status.success(), "go build");
    }
    for way in WAYS {
        for (name, want) in [
            ("both.test", "2001:db8::1"),
            ("silent6.test", "10.7.0.1"),
            ("refused6.test", "10.7.0.1"),
            ("silent4.test", "2001:db8::1"),
        ] {
            for program in &programs {
                let run = program.replace("NAME", name);
                let got = lab.sh(&format!(
                    "unshare -m sh -c \"mount --bind hosts /etc/hosts && io-pkt-run {way} {run}\""
                ));
                assert_eq!(got.trim(), want, "{way} {run}");
            }
        }
    }
    // No way at all to IPv6: nobody waits.
    lab.sh("route delete -inet6 default");
    for program in &programs {
        let run = program.replace("NAME", "silent6.test");
        let got = lab.sh(&format!("unshare -m sh -c \"mount --bind hosts /etc/hosts && io-pkt-run {run}\""));
        assert_eq!(got.trim(), "10.7.0.1", "no route: {run}");
    }
}

/// getaddrinfo(3) puts addresses in an order by asking for the source of each (RFC 6724), and leaves families out that no interface
/// has (AI_ADDRCONFIG).
const ORDER: &str = "
import socket
for flags in (0, socket.AI_ADDRCONFIG):
    for host in ('both.test', 'ula.test'):
        print(host, [x[4][0] for x in socket.getaddrinfo(host, 80, type=socket.SOCK_STREAM, flags=flags)])
";

#[test]
fn glibc_orders_addresses_by_the_stack() {
    let mut lab = Lab::new("gai");
    let (ns, _server) = start(&mut lab);
    std::fs::write(lab.work().join("order.py"), ORDER).expect("write order.py");
    // The kernel has no address of IPv6 here, or it has: the stack's are what counts.
    let alone = Netns::new();
    let run = |ns: &Netns, how: &str| {
        lab.sh(&format!(
            "ip netns exec {} unshare -m sh -c 'mount --bind hosts /etc/hosts && {how} python3 order.py'",
            ns.name
        ))
    };
    let want = "both.test ['2001:db8::1', '10.7.0.1']\n\
        ula.test ['2001:db8::1', '10.7.0.1', 'fd00::1', '2002:c000:201::1']\n";
    let twice = format!("{want}{want}");
    for way in WAYS {
        assert_eq!(run(&ns, &format!("io-pkt-run {way}")), twice, "{way}");
        assert_eq!(run(&alone, &format!("io-pkt-run {way}")), twice, "{way}, in a namespace of lo");
    }
    // Without an address of IPv6 its destinations come last: they cannot be reached.
    lab.sh("ifconfig tapk0 inet6 2001:db8::2 delete");
    let few = run(&alone, "io-pkt-run --seccomp-only");
    assert!(few.starts_with("both.test ['10.7.0.1', '2001:db8::1']\n"), "{few}");
}
