//! Other people's tools over IPv6, unmodified, by either launcher: what they do with raw sockets and error queues.

use iopkt_tests::Lab;
use iopkt_tests::netns::Netns;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
const WAYS: [&str; 2] = ["--preload-only", "--seccomp-only"];

/// io-pkt-v6-hc with devnp-tap, whose other end is `k0` of a fresh namespace: 2001:db8::1 and 10.7.0.1 there, .2 here.
fn start(lab: &mut Lab) -> Netns {
    let ns = Netns::new();
    lab.spawn(&format!("io-pkt-v6-hc --foreground -d tap ifname=k0,netns=/run/netns/{}", ns.name));
    lab.wait(LIMIT, "if_up -p -r 1 tapk0");
    ns.exec("sysctl -qw net.ipv6.conf.k0.accept_dad=0; ip addr add 2001:db8::1/64 dev k0 nodad && ip addr add 10.7.0.1/24 dev k0 && ip link set k0 up");
    lab.sh(
        "ifconfig tapk0 inet6 2001:db8::2 prefixlen 64 && ifconfig tapk0 10.7.0.2/24 && ifconfig tapk0 up",
    );
    lab.wait(LIMIT, "ifconfig tapk0 | grep inet6 > a; grep -q fe80 a && ! grep -q tentative a");
    ns
}

#[test]
fn ping_and_traceroutes_of_iputils_and_ndisc6() {
    let mut lab = Lab::new("v6tools");
    let _ns = start(&mut lab);
    // Not ours, which are first on PATH.
    let ping = lab.sh("which -a ping | sed -n 2p");
    let ping = ping.trim();
    for way in WAYS {
        let run = |line: &str| {
            let o = lab.sh_for(LIMIT, &format!("io-pkt-run {way} {line} 2>&1"));
            String::from_utf8_lossy(&o.stdout).into_owned()
        };
        let out = run(&format!("{ping} -6 -c 2 -i 0.2 -s 3000 2001:db8::1"));
        assert!(out.contains("3008 bytes from 2001:db8::1: icmp_seq=2 ttl=64"), "{way} {out}");
        // What may not be fragmented is told by the error queue, of an echo socket and of a raw one.
        for (to, word) in [("-6 -c 1 2001:db8::1", "mtu: 1500"), ("-4 -c 1 10.7.0.1", "mtu=1500")] {
            let out = run(&format!("{ping} -s 3000 -M do {to}"));
            assert!(
                out.contains("local error: message too long, ") && out.contains(word),
                "{way} {to}: {out}"
            );
        }
        // Its checksum's place may be said again, as ping -N does.
        let out = run(&format!("{ping} -N name -c 1 -W 1 2001:db8::1"));
        assert!(out.contains("1 packets transmitted") && !out.contains("setsockopt"), "{way} {out}");
        // It begins with a datagram that is longer than any, to hear the MTU.
        for to in ["2001:db8::1", "10.7.0.1"] {
            let out = run(&format!("tracepath -n {to}"));
            assert!(out.contains("pmtu 1500") && out.contains("reached"), "{way} {out}");
        }
        // A raw TCP socket with IPV6_CHECKSUM hears the reset, though the other end of the TAP left its checksum to us.
        let out = run("tcptraceroute6 -n 2001:db8::1 9");
        assert!(out.contains(" 1  2001:db8::1") && out.contains("[closed]"), "{way} {out}");
        let out = run("ndisc6 -1 -n 2001:db8::1 tapk0");
        assert!(
            out.contains("Target link-layer address: ") && out.contains(" from 2001:db8::1"),
            "{way} {out}"
        );
    }
}
