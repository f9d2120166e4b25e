//! io-pkt-v6-hc as a router between two links, with Linux's kernel as the hosts: forwarding, rtadvd, what cannot go on.

use iopkt_tests::netns::Netns;
use iopkt_tests::{Lab, until};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

/// Waits until a shell line in the namespace prints something; that.
#[track_caller]
fn wait(ns: &Netns, line: &str) -> String {
    let got = until(MINUTE, || {
        Some(ns.exec(&format!("{line} || true")).trim().to_string()).filter(|s| !s.is_empty())
    });
    got.unwrap_or_else(|| panic!("`{line}` never printed anything; {}", ns.exec("ip -6 addr; ip -6 route")))
}

/// A host behind interface `kN`: its address that it made of our prefix.
fn address(ns: &Netns, dev: &str) -> String {
    wait(
        ns,
        &format!(
            "ip -6 -o addr show dev {dev} scope global -tentative | sed -n 's/.*inet6 \\(2001[^/]*\\).*/\\1/p' | head -1"
        ),
    )
}

#[test]
fn hosts_of_two_links_reach_each_other() {
    let mut lab = Lab::new("v6fwd");
    let (a, b) = (Netns::new(), Netns::new());
    let tap = |ns: &Netns, k: &str| format!("-d tap ifname={k},netns=/run/netns/{}", ns.name);
    lab.spawn(&format!("io-pkt-v6-hc --foreground {} {} -p tcpip forward6", tap(&a, "k0"), tap(&b, "k1")));
    for (ns, k, net) in [(&a, "k0", 1), (&b, "k1", 2)] {
        lab.wait(MINUTE, &format!("if_up -p -r 1 tap{k}"));
        ns.exec(&format!(
            "sysctl -qw net.ipv6.conf.{k}.accept_dad=0 net.ipv6.conf.{k}.accept_ra=1; ip link set {k} up"
        ));
        lab.sh(&format!("ifconfig tap{k} inet6 2001:db8:{net}::1 prefixlen 64 -tentative"));
    }
    std::fs::write(
        lab.work().join("rtadvd.conf"),
        "default:maxinterval#4:mininterval#3:rltime#1800:chlim#33:\n",
    )
    .expect("conf");
    let daemon = lab.spawn("rtadvd -d -c rtadvd.conf tapk0 tapk1");
    let (there, _here) = (address(&b, "k1"), address(&a, "k0"));
    assert!(there.starts_with("2001:db8:2:"), "{there}");
    assert!(wait(&a, "ip -6 route show default | grep 'proto ra'").contains("via fe80::"));
    assert_eq!(a.exec("cat /proc/sys/net/ipv6/conf/k0/hop_limit").trim(), "33");
    // Through us, one hop less; fragments too.
    let text = a.exec(&format!("ping -6 -c 3 -i 0.2 -W 30 {there}"));
    assert!(text.contains(" 0% packet loss") && text.contains("ttl=32"), "{text}");
    assert!(a.exec(&format!("ping -6 -c 1 -W 30 -s 20000 {there}")).contains(" 0% packet loss"));
    // A stream, both ways, in the kernel's large segments.
    let work = lab.work().display().to_string();
    lab.sh("head -c 3000000 /dev/urandom > blob");
    let mut c = std::process::Command::new("ip");
    c.args(["netns", "exec", &b.name, "python3", "-m", "http.server", "--bind", "::", "-d", &work, "80"]);
    let _server = iopkt_tests::Proc::start(c, &lab.work().join("httpd.out"));
    let get = |mtu: &str| {
        let line = "curl -6 -gsS --retry 20 --retry-connrefused --retry-delay 1 -m 60";
        let sum = a.exec(&format!("{line} 'http://[{there}]/blob' | md5sum"));
        assert_eq!(sum.trim(), lab.sh("md5sum < blob").trim(), "{mtu}");
    };
    get("1500");
    // What is too big is told, and the next one fits.
    lab.sh("ifconfig tapk0 mtu 1280");
    let text = b.exec(&format!("ping -6 -c 2 -i 0.2 -W 30 -M do -s 1400 $(ip netns exec {} ip -6 -o addr show dev k0 scope global | sed -n 's/.*inet6 \\(2001[^/]*\\).*/\\1/p' | head -1) 2>&1 || true", a.name));
    assert!(
        text.contains("mtu: 1280") || text.contains("mtu=1280") || text.contains("Packet too big"),
        "{text}"
    );
    get("1280");
    lab.sh("ifconfig tapk0 mtu 1500");
    // No hops left; no route; nobody there.
    let text = a.exec(&format!("ping -6 -c 1 -W 30 -t 1 {there} || true"));
    assert!(text.contains("Time exceeded"), "{text}");
    let text = a.exec("ping -6 -c 1 -W 30 2001:db8:99::1 || true");
    assert!(text.contains("Destination unreachable: No route"), "{text}");
    let text = a.exec("ping -6 -c 1 -W 30 2001:db8:2::77 || true");
    assert!(text.contains("Destination unreachable: Address unreachable"), "{text}");
    let s = lab.sh("netstat -s -f inet6");
    assert!(s.contains(" packets forwarded") && !s.contains("\t0 packets forwarded"), "{s}");
    // It ends: the hosts have no default route any more.
    lab.proc(daemon).signal(15);
    assert!(lab.proc(daemon).wait(MINUTE).is_some_and(|s| s.success()));
    wait(&a, "ip -6 route show default | grep -q . || echo gone");
    // Who does not forward is no default router.
    lab.sh("sysctl -w net.inet6.ip6.forwarding=0");
    assert!(lab.sh_fails("rtadvd tapk0").1.contains("forwarding=1"));
}
