//! `ss`, unmodified, shows the stack's sockets (NETLINK_SOCK_DIAG) in the words in which it shows the kernel's.

use iopkt_tests::Lab;
use iopkt_tests::netns::Netns;
use std::time::Duration;

/// Sockets of every kind; says when they are there, and stays.
const SOCKETS: &str = r#"
import socket, sys, time
def listen(family, at, port, only=0):
    l = socket.socket(family)
    l.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6: l.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
    l.bind((at, port)); l.listen(5)
    return l
def connect(family, at, own, port):
    c = socket.socket(family); c.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    c.bind((at, own)); c.connect((at, port))
    return c
def udp(family, at, port, to=0):
    u = socket.socket(family, socket.SOCK_DGRAM); u.bind((at, port))
    if to: u.connect((at, to))
    return u
six, four = socket.AF_INET6, socket.AF_INET
both, only, l4 = listen(six, '::', 5000), listen(six, '::1', 5001, 1), listen(four, '127.0.0.1', 5002)
keep = [connect(six, '::1', 6000, 5000), connect(four, '127.0.0.1', 6001, 5000), connect(four, '127.0.0.1', 6002, 5002)]
keep += [both.accept()[0], both.accept()[0]]
keep += [udp(six, '::', 5353), udp(six, '::1', 5354, 9), udp(four, '127.0.0.1', 5355), socket.socket(six, socket.SOCK_RAW, 99)]
print('up', flush=True)
time.sleep(300)
"#;

/// What `ss` says, without what no two systems have alike.
const LOOKS: [&str; 7] = [
    "-tanH",
    "-6 -tanH",
    "-4 -tlnH",
    "-uanH",
    "-wanH",
    "-tnH state established dst [::1]",
    "-tlnH sport = :5001",
];

/// Sorted lines with one space between words.
fn lines(text: &str) -> Vec<String> {
    let mut v: Vec<String> = text
        .lines()
        .map(|l| l.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|l| !l.is_empty())
        .collect();
    v.sort();
    v
}

#[test]
fn ss_shows_the_stacks_sockets() {
    let mut lab = Lab::new("ss");
    let ns = Netns::new();
    let w = lab.work().display().to_string();
    std::fs::write(lab.work().join("sockets.py"), SOCKETS).expect("write sockets.py");
    let limit = Duration::from_secs(60);
    lab.spawn(&format!("ip netns exec {} python3 {w}/sockets.py", ns.name));
    lab.wait(limit, "grep -q up out0");
    lab.spawn("io-pkt-v6-hc --foreground");
    lab.wait(limit, "ifconfig lo0 | grep -q 'inet6 ::1'");
    lab.spawn("io-pkt-run python3 sockets.py");
    lab.wait(limit, "grep -q up out2");
    for way in ["--preload-only", "--seccomp-only"] {
        for look in LOOKS {
            let kernel = lines(&ns.exec(&format!("ss {look}")));
            let ours = lines(&lab.sh(&format!("io-pkt-run {way} ss {look}")));
            assert!(!kernel.is_empty());
            assert_eq!(ours, kernel, "{way} ss {look}");
        }
        // Who has it, what its timer is, and what TCP_INFO tells.
        let all = lab.sh(&format!("io-pkt-run {way} ss -tanopieH"));
        let one = |head: &str| {
            let at = all.find(head).unwrap_or_else(|| panic!("{head}: {all}"));
            all[at..].lines().take(2).collect::<Vec<_>>().join(" ")
        };
        let client = one("[::1]:6000");
        for word in ["users:((\"python3\",pid=", "timer:(keepalive,119min,0)", "cubic", "mss:33", "ino:"] {
            assert!(client.contains(word), "{word}: {client}");
        }
        assert!(all.contains("*:5000") && one("*:5000").contains("v6only:0"), "{all}");
        assert!(one("[::1]:5001").contains("v6only:1"), "{all}");
        // What is not the stack's is the kernel's: sockets of AF_UNIX.
        assert!(!lab.sh(&format!("io-pkt-run {way} ss -xanH")).is_empty());
    }
    // One socket by its name, as netlink has it without NLM_F_DUMP: the client's, with the cookie it was told; with another cookie not.
    std::fs::write(lab.work().join("one.py"), ONE).expect("write one.py");
    for way in ["--preload-only", "--seccomp-only"] {
        assert_eq!(
            lab.sh(&format!("io-pkt-run {way} python3 one.py")),
            "20 10 1 6000 5000\n20 10 1 6000 5000\n2 -2\n",
            "{way}"
        );
    }
}

const ONE: &str = r#"
import socket, struct
n = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4)
def ask(cookie):
    one = bytes(15) + b'\1'
    req = struct.pack('=BBBBI', 10, 6, 0, 0, 0xffffffff) + struct.pack('!HH', 6000, 5000) + one + one + struct.pack('=I', 0) + cookie
    n.send(struct.pack('=IHHII', 16 + len(req), 20, 1, 7, 0) + req)
    m = n.recv(8192)
    ty = struct.unpack('=H', m[4:6])[0]
    if ty == 2:
        print(2, struct.unpack('=i', m[16:20])[0])
        return
    family, state = m[16], m[17]
    print(ty, family, state, *struct.unpack('!HH', m[20:24]))
    return m[60:68]
c = ask(b'\xff' * 8)
ask(c)
ask(bytes(b ^ 1 for b in c))
"#;
