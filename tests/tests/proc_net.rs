//! `/proc/net` under io-pkt-run: the stack's interfaces, routes and sockets, in Linux's columns.

use iopkt_tests::Lab;
use iopkt_tests::netns::Netns;
use std::time::Duration;

/// Opens sockets, prints what the files say of them, without what no two systems have alike: slot, inode, what follows it.
const LOOK: &str = r#"
import ctypes, socket, re
def tcp(family, at, port):
    l = socket.socket(family, socket.SOCK_STREAM)
    l.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6: l.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    l.bind((at, port)); l.listen(5)
    c = socket.socket(family, socket.SOCK_STREAM)
    c.bind((at, port + 1)); c.connect((at, port))
    return l, c, l.accept()[0]
def udp(family, at, port):
    s = socket.socket(family, socket.SOCK_DGRAM); s.bind((at, port))
    t = socket.socket(family, socket.SOCK_DGRAM); t.bind((at, port + 1)); t.connect((at, port))
    return s, t
raw = [socket.socket(socket.AF_INET, socket.SOCK_RAW, 99), socket.socket(socket.AF_INET6, socket.SOCK_RAW, 99)]
keep = [tcp(socket.AF_INET, '127.0.0.1', 5000), tcp(socket.AF_INET6, '::1', 5000),
        udp(socket.AF_INET, '127.0.0.1', 5000), udp(socket.AF_INET6, '::1', 5000)]
inodes = 0
for name in ['tcp', 'tcp6', 'udp', 'udp6', 'raw', 'raw6']:
    with open('/proc/net/' + name) as f: lines = f.read().split('\n')
    assert lines.pop() == '', name
    print(name, repr(lines[0]))
    for l in sorted(lines[1:], key=lambda l: l.split()[1:4]):
        t = l.split()
        inodes += t[9] != '0'
        width = len(l) if name[-1] != '6' else 0
        print(name, ' '.join(t[1:9]), width, l.index(':'))
print('inodes', inodes)
for name in ['dev', 'route', 'arp']:
    text = open('/proc/self/net/' + name).read()
    print(name, repr(text[:text.index('\n')]))
assert open('/proc/net/dev').read().count('|') == 4
c = ctypes.CDLL(None)
c.fopen.restype = ctypes.c_void_p
f = ctypes.c_void_p(c.fopen(b'/proc/net/if_inet6', b'r'))
b = ctypes.create_string_buffer(4096)
n = c.fread(b, 1, 4096, f)
lo = [l for l in b.raw[:n].decode().split('\n') if l.startswith('0' * 31 + '1 ')]
print('if_inet6', re.sub('  lo$', ' lo0', lo[0]))
"#;

#[test]
fn sockets_and_interfaces_stand_in_linux_s_columns() {
    let mut lab = Lab::new("procnet");
    let ns = Netns::new();
    ns.exec("ip link set lo up");
    std::fs::write(lab.work().join("look.py"), LOOK).expect("write look.py");
    let kernel = ns.exec(&format!("python3 {}/look.py", lab.work().display()));
    lab.spawn("io-pkt-v6-hc --foreground");
    lab.wait(Duration::from_secs(60), "ifconfig lo0 | grep -q 'inet6 ::1'");
    let ours = lab.sh("io-pkt-run python3 look.py");
    assert_eq!(ours.trim(), kernel.trim());
    // Interfaces and routes are the stack's own.
    let dev = lab.sh("io-pkt-run cat /proc/net/dev");
    let names: Vec<&str> = dev.lines().skip(2).map(|l| l.trim().split(':').next().unwrap_or("")).collect();
    assert_eq!(names, ["lo0"]);
    assert!(dev.lines().skip(2).all(|l| l.split_whitespace().count() == 17), "{dev}");
    lab.sh("route add 10.3.0.0/16 127.0.0.1");
    let word = |b: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(b));
    // A gateway that is an address of our own means the interface.
    let want = format!("lo0\t{}\t00000000\t0001\t", word([10, 3, 0, 0]));
    let route = lab.sh("io-pkt-run cat /proc/net/route");
    let line = route.lines().find(|l| l.starts_with(&want)).unwrap_or_else(|| panic!("{want}: {route}"));
    assert_eq!(line.split('\t').nth(7), Some(word([255, 255, 0, 0]).as_str()));
    assert_eq!(line.len(), 127);
    let route6 = lab.sh("io-pkt-run cat /proc/net/ipv6_route");
    assert!(route6.lines().all(|l| l.split_whitespace().count() == 10), "{route6}");
    // Groups and counters.
    let groups = lab.sh("io-pkt-run ip maddr show dev lo0");
    assert!(groups.contains("inet  224.0.0.1\n") && groups.contains("inet6 ff02::1\n"), "{groups}");
    assert!(lab.sh("io-pkt-run cat /proc/net/igmp").starts_with("Idx\tDevice"));
    let names = |text: &str| -> Vec<String> {
        text.lines().filter_map(|l| l.split_whitespace().next()).map(str::to_string).collect()
    };
    let known = names(&ns.exec("cat /proc/net/snmp6"));
    lab.sh("ping6 -c 1 ::1");
    let snmp6 = lab.sh("io-pkt-run cat /proc/net/snmp6");
    let ours = names(&snmp6);
    assert!(ours.iter().all(|n| known.contains(n)) && ours.len() == 57, "{} {ours:?}", ours.len());
    for counted in ["Ip6InReceives", "Icmp6InEchos", "Icmp6OutEchoReplies"] {
        let line = snmp6.lines().find(|l| l.starts_with(counted)).unwrap_or_default();
        assert!(!line.is_empty() && !line.ends_with("\t0"), "{snmp6}");
    }
    let stat = lab.sh("io-pkt-run cat /proc/net/sockstat /proc/net/sockstat6");
    assert!(stat.starts_with("sockets: used ") && stat.contains("\nTCP6: inuse "), "{stat}");
    // What it has not is the kernel's, and nobody writes.
    assert!(lab.sh("io-pkt-run head -1 /proc/net/unix").starts_with("Num"));
    assert!(lab.sh_fails("io-pkt-run sh -c 'echo > /proc/net/tcp'").0 != 0);
}

/// SIOCGIFCONF: first how long the list is, then the list (netdevice(7)), as Java does.
const IFCONF: &str = r#"
import array, fcntl, socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
ask = lambda n, at: struct.unpack('iiQ', fcntl.ioctl(s, 0x8912, struct.pack('iiQ', n, 0, at)))[0]
n = ask(0, 0)
for room in (n, n + 100, n - 1):
    a = array.array('B', b'\0' * (n + 100))
    m = ask(room, a.buffer_info()[0])
    print(n, room, m, bytes(a[:m]).replace(b'lo0\0', b'lo\0\0').hex())
"#;

#[test]
fn the_list_of_interfaces_tells_its_length_first() {
    let mut lab = Lab::new("ifconf");
    let ns = Netns::new();
    ns.exec("ip link set lo up");
    std::fs::write(lab.work().join("ifconf.py"), IFCONF).expect("write ifconf.py");
    let kernel = ns.exec(&format!("python3 {}/ifconf.py", lab.work().display()));
    assert!(kernel.starts_with("40 40 40 6c6f0000"), "{kernel}");
    lab.spawn("io-pkt-v4 --foreground");
    lab.wait(Duration::from_secs(60), "ifconfig lo0 | grep -q 'inet 127.0.0.1'");
    for how in ["", "--seccomp-only", "--preload-only"] {
        assert_eq!(lab.sh(&format!("io-pkt-run {how} python3 ifconf.py")).trim(), kernel.trim(), "{how}");
    }
}
