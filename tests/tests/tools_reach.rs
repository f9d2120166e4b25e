//! ping and traceroute through Linux as a router, and names by DNS asked through the stack.

use iopkt_tests::netns::Netns;
use iopkt_tests::{Lab, Proc};
use std::process::Command;
use std::time::Duration;

/// The stack (10.7.0.2) on a TAP, behind it a router (10.7.0.1, 10.8.0.1), behind that a host (10.8.0.2).
struct Way {
    lab: Lab,
    router: Netns,
    _far: Netns,
}

fn way(name: &str) -> Way {
    let mut lab = Lab::new(name);
    let (router, far) = (Netns::new(), Netns::new());
    lab.spawn(&format!("io-pkt-v4-hc --foreground -d tap ifname=k0,netns=/run/netns/{}", router.name));
    lab.sh("if_up -p -r 600 -m 100 tapk0");
    router.exec(&format!("ip link add r0 type veth peer name f0 netns {}", far.name));
    router.exec("ip addr add 10.7.0.1/24 dev k0 && ip link set k0 up && ip addr add 10.8.0.1/24 dev r0 && ip link set r0 up");
    router.exec("sysctl -qw net.ipv4.ip_forward=1 net.ipv4.icmp_ratelimit=0 net.ipv4.icmp_msgs_per_sec=100000 net.ipv4.icmp_msgs_burst=100000");
    router.exec("ip route add unreachable 10.99.1.0/24 && ip route add prohibit 10.99.2.0/24 && ip link set r0 mtu 1400");
    far.exec("ip addr add 10.8.0.2/24 dev f0 && ip link set f0 up && ip route add default via 10.8.0.1");
    far.exec("sysctl -qw net.ipv4.icmp_ratelimit=0 net.ipv4.icmp_msgs_per_sec=100000 net.ipv4.icmp_msgs_burst=100000");
    lab.sh("ifconfig tapk0 10.7.0.2 netmask 255.255.255.0 && if_up -l -r 600 -m 100 tapk0 && route add default 10.7.0.1");
    Way { lab, router, _far: far }
}

#[test]
fn ping_tells_what_the_way_says() {
    let w = way("wping");
    let lab = &w.lab;
    let p = lab.sh("ping -c 3 -i 0.2 -w 60 10.8.0.2");
    assert!(
        p.starts_with(
            "PING 10.8.0.2 (10.8.0.2): 56 data bytes\n64 bytes from 10.8.0.2: icmp_seq=0 ttl=63 time="
        ),
        "{p}"
    );
    assert!(
        p.contains(
            "3 packets transmitted, 3 packets received, 0% packet loss\nround-trip min/avg/max/stddev = "
        ),
        "{p}"
    );
    // Errors on the way: who says it, what, about which request; nobody answered.
    let run = |line: &str| {
        let o = lab.sh_for(Duration::from_secs(60), line);
        (o.status.code(), String::from_utf8_lossy(&o.stdout).into_owned())
    };
    let (code, out) = run("ping -n -c 1 -W 30 -t 1 10.8.0.2");
    assert!(out.contains("92 bytes from 10.7.0.1: Time to live exceeded for icmp_seq=0\n"), "{out}");
    assert!(code == Some(1) && out.contains(", +1 errors, 100% packet loss"), "{out}");
    let (_, out) = run("ping -n -c 1 -W 30 -v -T 1 10.8.0.2");
    assert!(
        out.contains("Vr HL TOS  Len   ID Flg  off TTL Pro  cks      Src      Dst Data\n 4  5  00 0054 "),
        "{out}"
    );
    for (line, want) in [
        // Linux tells of an unreachable destination once a second.
        ("-c 3 -i 1.1 -W 2 10.99.1.1", "from 10.7.0.1: Destination Host Unreachable for icmp_seq="),
        (
            "-c 3 -i 1.1 -W 2 10.99.2.1",
            "from 10.7.0.1: Communication Administratively Prohibited for icmp_seq=",
        ),
        (
            "-c 1 -W 30 -D -s 1450 10.8.0.2",
            "from 10.7.0.1: frag needed and DF set. Next MTU=1400 for icmp_seq=0\n",
        ),
        ("-c 1 -W 30 -Q -t 1 10.8.0.2", "data bytes\n\n----"),
    ] {
        let (code, out) = run(&format!("ping -n {line}"));
        assert!(code == Some(1) && out.contains(want), "{line}: {out}\n{}", lab.log());
    }
    // The recorded way there and back.
    let (_, out) = run("ping -n -R -c 2 -i 0.2 -w 60 10.8.0.2");
    assert!(out.contains("\nRR: \t10.8.0.1\n\t10.8.0.2\n") && out.contains("\t(same route)\n"), "{out}");
    // Ends and ways to run.
    assert_eq!(run("ping -o -w 60 10.8.0.2").0, Some(0));
    assert!(
        run("ping -f -c 200 -w 60 -q 10.8.0.2").1.contains("200 packets transmitted, 200 packets received")
    );
    assert!(
        run("ping -c 1 -p a5 -s 1300 -I tapk0 -S 10.7.0.2 -z 16 -w 60 10.8.0.2")
            .1
            .starts_with("PATTERN: 0xa5\n")
    );
    assert_eq!(run("ping -r -c 1 -W 1 10.8.0.2").0, Some(2), "only to hosts on the link");
    assert_eq!(
        lab.sh_fails("ping -c 1 -S 9.9.9.9 10.8.0.2").1,
        "ping: bind to 9.9.9.9: Can't assign requested address\n"
    );
    assert_eq!(
        lab.sh_fails("ping -c 1 -I nope0 10.8.0.2"),
        (2, "ping: nope0: Device not configured\n".into())
    );
    let (code, out) = run("ping 10.8.0.2 & p=$!; sleep 1; kill -QUIT $p; sleep 0.3; kill -INT $p; wait $p");
    assert!(code == Some(0) && out.contains(" packets received, 0% packet loss\n"), "{out}");
    lab.sh("route delete default 10.7.0.1");
    assert_eq!(
        lab.sh_fails("ping -c 1 -W 1 10.8.0.2"),
        (2, "ping: sendto 10.8.0.2: Network is unreachable\n".into())
    );
}

#[test]
fn traceroute_finds_the_way() {
    let w = way("wtrace");
    let lab = &w.lab;
    for how in ["", "-I", "-F", "-s 10.7.0.2 -i tapk0 -t 16"] {
        let t = lab.sh(&format!("traceroute -n {how} 10.8.0.2 2>head"));
        let l: Vec<&str> = t.lines().collect();
        assert!(
            l.len() == 2 && l[0].starts_with(" 1  10.7.0.1  ") && l[1].starts_with(" 2  10.8.0.2  "),
            "{how}: {t}"
        );
        assert!(l.iter().all(|l| l.matches(" ms").count() == 3), "{how}: {t}");
        assert_eq!(lab.sh("cat head"), "traceroute to 10.8.0.2 (10.8.0.2), 64 hops max, 40 byte packets\n");
    }
    let only = |line: &str| lab.sh(&format!("traceroute -n {line} 2>/dev/null"));
    assert!(only("-f 2 -q 1 10.8.0.2").starts_with(" 2  10.8.0.2  "));
    assert_eq!(only("-m 1 -q 1 10.8.0.2").lines().count(), 1);
    assert!(
        only("-q 1 -w 2 -m 9 10.99.1.1").trim_end().ends_with(" ms !H"),
        "{}",
        only("-q 1 -w 2 -m 9 10.99.1.1")
    );
    assert!(only("-q 1 -w 2 -m 9 10.99.2.1").trim_end().ends_with(" ms !X"));
    assert!(only("-q 2 -F 10.8.0.2 1450").contains(" !F-1400"));
    assert!(only("-l -q 1 10.8.0.2").contains(" ms (63)"));
    let json = lab.sh("traceroute --json -n -q 1 10.8.0.2");
    assert!(json.contains("\"ttl\": 2") && json.contains("\"address\": \"10.7.0.1\""), "{json}");
    // Nobody there: stars, to the end.
    assert_eq!(only("-q 2 -m 2 -w 0.2 -f 2 10.8.0.77").split_whitespace().collect::<Vec<_>>()[0], "2");
    lab.sh("route delete default 10.7.0.1");
    assert_eq!(
        lab.sh_fails("traceroute 10.8.0.2"),
        (1, "traceroute: 10.8.0.2: Network is unreachable\n".into())
    );
}

/// A name server: `far.test` is 10.8.0.2, `big.test` too but only by TCP; 10.7.0.1 is `router.test`.
const NAMED: &str = r#"
import socket, struct, threading
A = {b'far': (10,8,0,2), b'big': (10,8,0,2)}
def answer(q, tcp):
    at, labels = 12, []
    while q[at]:
        labels.append(q[at+1:at+1+q[at]].lower()); at += 1 + q[at]
    question, ty = q[12:at+5], struct.unpack('!H', q[at+1:at+3])[0]
    rr, code, tc = b'', 3, 0
    if ty == 1 and labels[1:] == [b'test'] and labels[0] in A:
        rr, code = b'\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4' + bytes(A[labels[0]]), 0
        if labels[0] == b'big' and not tcp: rr, tc = b'', 2
    if ty == 12 and labels[:4] == [b'1', b'0', b'7', b'10']:
        rr, code = b'\xc0\x0c\0\x0c\0\1\0\0\0\x3c\0\x0d\6router\4test\0', 0
    return q[:2] + bytes([0x81 | tc, 0x80 | code]) + struct.pack('!HHHH', 1, 1 if rr else 0, 0, 0) + question + rr
def tcp():
    while True:
        c, _ = t.accept(); n = struct.unpack('!H', c.recv(2))[0]; m = answer(c.recv(n), True)
        c.sendall(struct.pack('!H', len(m)) + m); c.close()
t = socket.socket(); t.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); t.bind(('10.7.0.1', 53)); t.listen()
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(('10.7.0.1', 53))
threading.Thread(target=tcp, daemon=True).start()
print('ready', flush=True)
while True:
    q, a = u.recvfrom(512); u.sendto(answer(q, False), a)
"#;

#[test]
fn names_are_asked_for_through_the_stack() {
    let w = way("wdns");
    let lab = &w.lab;
    std::fs::write(lab.work().join("named.py"), NAMED).expect("write");
    let mut c = Command::new("ip");
    c.args(["netns", "exec", &w.router.name, "python3", "-u"]).arg(lab.work().join("named.py"));
    let server = Proc::start(c, &lab.work().join("named.out"));
    let ready = || server.output().contains("ready").then_some(());
    assert!(iopkt_tests::until(Duration::from_secs(60), ready).is_some(), "{}", server.output());
    // The file under the stack's root goes before the system's.
    lab.sh("mkdir -p $IO_PKT_ROOT/etc && printf 'nameserver 10.7.0.1\\nsearch test\\noptions timeout:10\\n' > $IO_PKT_ROOT/etc/resolv.conf");
    for name in ["far.test", "far", "far.test.", "big"] {
        let p = lab.sh(&format!("ping -c 1 -w 60 {name}"));
        assert!(p.starts_with(&format!("PING {name} (10.8.0.2): 56 data bytes\n")), "{p}");
    }
    let t = lab.sh("traceroute -q 1 far 2>/dev/null");
    assert!(t.starts_with(" 1  router.test (10.7.0.1)  "), "{t}");
    assert!(lab.sh("traceroute -n -q 1 far 2>/dev/null").starts_with(" 1  10.7.0.1  "));
    let o = lab.sh_for(Duration::from_secs(60), "ping -c 1 -W 30 -t 1 far");
    let out = String::from_utf8_lossy(&o.stdout).into_owned();
    assert!(out.contains("bytes from router.test (10.7.0.1): Time to live exceeded"), "{out}");
    assert_eq!(
        lab.sh_fails("ping -c 1 nosuch"),
        (2, "ping: Cannot resolve \"nosuch\" (Unknown host)\n".into())
    );
    assert_eq!(
        lab.sh_fails("traceroute nosuch.test"),
        (1, "traceroute: Cannot resolve \"nosuch.test\" (Unknown host)\n".into())
    );
    lab.sh("echo > $IO_PKT_ROOT/etc/resolv.conf");
    let e = lab.sh_fails("ping -c 1 far").1;
    assert!(e.contains("not in /etc/hosts") && e.contains("names no name server"), "{e}");
}
