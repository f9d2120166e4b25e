//! Linux's kernel as IPv6 neighbour, over TAP in a namespace of the test's own.

use iopkt_tests::Lab;
use iopkt_tests::netns::Netns;
use std::time::Duration;

/// io-pkt-v6-hc with devnp-tap, whose other end is `k0` of a fresh namespace: 2001:db8::1 there, 2001:db8::2 here.
fn start(lab: &mut Lab) -> Netns {
    let ns = Netns::new();
    lab.spawn(&format!("io-pkt-v6-hc --foreground -d tap ifname=k0,netns=/run/netns/{}", ns.name));
    lab.wait(Duration::from_secs(60), "if_up -p -r 1 tapk0");
    ns.exec("sysctl -qw net.ipv6.conf.k0.accept_dad=0; ip addr add 2001:db8::1/64 dev k0 nodad && ip link set k0 up");
    lab.sh("ifconfig tapk0 inet6 2001:db8::2 prefixlen 64 && ifconfig tapk0 up");
    // Duplicate address detection takes a second.
    lab.wait(Duration::from_secs(60), "ifconfig tapk0 | grep -q 'inet6 fe80.*%tapk0 prefixlen 64 scopeid'");
    lab.wait(Duration::from_secs(60), "ifconfig tapk0 | grep inet6 > a; ! grep -q tentative a");
    ns
}

#[test]
fn neighbours_answer_each_other() {
    let mut lab = Lab::new("v6ping");
    let ns = start(&mut lab);
    assert!(ns.exec("ping -6 -c 3 -i 0.2 -W 5 2001:db8::2").contains(" 0% packet loss"));
    assert!(
        ns.exec("ping -6 -c 2 -i 0.2 -W 5 -s 20000 2001:db8::2").contains(" 0% packet loss"),
        "fragments"
    );
    let ll = lab.sh("ifconfig tapk0 | sed -n 's/.*inet6 \\(fe80[^%]*\\)%.*/\\1/p'");
    assert!(ns.exec(&format!("ping -6 -c 2 -i 0.2 -W 5 {}%k0", ll.trim())).contains(" 0% packet loss"));
    assert!(ns.exec("ip -6 neigh show dev k0").contains("2001:db8::2 lladdr"));
    assert!(lab.sh("netstat -rn -f inet6").contains("fe80::%tapk0/64"));
    let text = lab.sh("ping6 -c 2 -i 0.2 2001:db8::1");
    assert!(text.starts_with("PING6(104=40+8+56 bytes) 2001:db8::2 --> 2001:db8::1\n64 bytes from 2001:db8::1, icmp_seq=0 hlim=64 time="), "{text}");
    assert!(text.contains("\n--- 2001:db8::1 ping6 statistics ---\n2 packets transmitted, 2 packets received, 0.0% packet loss\n"), "{text}");
    // The kernel's own link-local address, and everybody on the link.
    let far = ns.exec("ip -6 -o addr show dev k0 scope link | sed 's/.*inet6 \\(fe80[^/]*\\).*/\\1/'");
    let far = format!("{}%tapk0", far.trim());
    let text = lab.sh(&format!("ping6 -c 2 -i 0.2 -s 2000 {far}"));
    assert!(text.contains(&format!("2008 bytes from {far}, icmp_seq=1")), "{text}");
    let text = lab.sh("ping6 -c 2 -i 0.2 -I tapk0 ff02::1");
    assert!(text.contains(&far), "{text}");
    let (code, why) = lab.sh_fails("ping6 -c 1 fe80::77");
    assert!(code == 2 && why.contains("which interface?"), "{code} {why}");
    assert_eq!(lab.sh_fails("ping6 -c 1 -x 1 -q 2001:db8::99").0, 1);
    // A port that is closed, both ways.
    let probe = "import socket,sys\ns=socket.socket(socket.AF_INET6,socket.SOCK_DGRAM)\ns.settimeout(5)\n\
                 s.connect((sys.argv[1],9))\ns.send(b'x')\n\
                 try:\n s.recv(1)\nexcept ConnectionRefusedError:\n print('refused')\n";
    std::fs::write(lab.work().join("probe.py"), probe).expect("write probe.py");
    assert_eq!(lab.sh("io-pkt-run python3 probe.py 2001:db8::1").trim(), "refused");
    assert_eq!(ns.exec(&format!("python3 {}/probe.py 2001:db8::2", lab.work().display())).trim(), "refused");
}

#[test]
fn programs_meet_over_ipv6() {
    let mut lab = Lab::new("v6prog");
    let ns = start(&mut lab);
    lab.sh("head -c 3000000 /dev/urandom > blob");
    let want = lab.sh("md5sum < blob | cut -d' ' -f1");
    let work = lab.work().display().to_string();
    // Our server, that listens for both families; the kernel's client, by a global and a link-local address.
    lab.spawn("io-pkt-run python3 -m http.server --bind :: 8000");
    let ll = lab.sh("ifconfig tapk0 | sed -n 's/.*inet6 \\(fe80[^%]*\\)%.*/\\1/p'");
    for at in ["2001:db8::2".to_string(), format!("{}%25k0", ll.trim())] {
        let get = format!(
            "curl -6 -gsS --retry 20 --retry-connrefused --retry-delay 1 'http://[{at}]:8000/blob' | md5sum | cut -d' ' -f1"
        );
        assert_eq!(ns.exec(&get), want, "{at}");
    }
    let four = "io-pkt-run curl -4 -sS http://127.0.0.1:8000/blob | md5sum | cut -d' ' -f1";
    assert_eq!(lab.sh(four), want, "IPv4 on a socket of IPv6");
    // The kernel's server, our clients: dynamic and static.
    let mut c = std::process::Command::new("ip");
    c.args(["netns", "exec", &ns.name, "python3", "-m", "http.server", "--bind", "::", "-d", &work, "80"]);
    let _server = iopkt_tests::Proc::start(c, &lab.work().join("httpd.out"));
    for client in [
        "curl -6 -gsS --retry 20 --retry-connrefused --retry-delay 1",
        "busybox wget -qO-",
        "--seccomp-only curl -6 -gsS",
    ] {
        assert_eq!(
            lab.sh(&format!("io-pkt-run {client} 'http://[2001:db8::1]/blob' | md5sum | cut -d' ' -f1")),
            want,
            "{client}"
        );
    }
}
