//! Address selection by its tool, and redirects beside Linux's kernel: it sends them to us as a router and takes ours as a host.

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
    got.unwrap_or_else(|| {
        panic!("`{line}` never printed anything; {}", ns.exec("ip -6 addr; ip -6 route; ip -6 neigh"))
    })
}

fn tap(ns: &Netns, k: &str) -> String {
    format!("-d tap ifname={k},netns=/run/netns/{}", ns.name)
}

#[test]
fn the_policy_table_by_its_tool() {
    let mut lab = Lab::new("v6pol");
    let ns = Netns::new();
    lab.spawn(&format!("io-pkt-v6-hc --foreground {}", tap(&ns, "kp0")));
    lab.wait(MINUTE, "if_up -p -r 1 tapk0");
    let shown = lab.sh("ip6addrctl");
    assert!(
        shown.starts_with(
            "Prefix                          Prec Label      Use\n::1/128                           50     0"
        ),
        "{shown}"
    );
    assert_eq!(shown.lines().count(), 10);
    for a in ["2001:db8:1::1", "2001:db8:2::1"] {
        lab.sh(&format!("ifconfig tapk0 inet6 {a} prefixlen 64 -tentative"));
    }
    lab.sh("route add -inet6 default 2001:db8:1::ff");
    // Which source a program gets is what glibc's getaddrinfo asks too: connect and getsockname.
    let source = |to: &str| {
        lab.sh(&format!(
            "io-pkt-run -- python3 -c 'import socket; s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.connect((\"{to}\", 9)); print(s.getsockname()[0])'"
        ))
    };
    assert_eq!(source("2001:db8:1:8::1").trim(), "2001:db8:1::1");
    lab.sh("ip6addrctl add 2001:db8:1:8::/64 20 77; ip6addrctl add 2001:db8:2::/64 40 77");
    assert_eq!(source("2001:db8:1:8::1").trim(), "2001:db8:2::1");
    assert!(lab.sh_fails("ip6addrctl add 2001:db8:2::/64 40 77").1.contains("there twice"));
    lab.sh("ip6addrctl delete 2001:db8:2::/64");
    assert!(lab.sh_fails("ip6addrctl delete 2001:db8:2::/64").1.contains("no such row"));
    lab.sh("ip6addrctl flush");
    assert_eq!(lab.sh("ip6addrctl --json").trim(), "[]");
    std::fs::write(lab.work().join("policy"), "# the standard's first two\n::1/128 50 0\n::/0 40 1\n")
        .expect("written");
    lab.sh("ip6addrctl install policy");
    assert_eq!(lab.sh("ip6addrctl show").lines().count(), 3);
}

/// A kernel's host: one address, one default router, redirects taken.
fn kernel_host(ns: &Netns, k: &str, addr: &str, router: &str) {
    ns.exec(&format!(
        "sysctl -qw net.ipv6.conf.{k}.accept_dad=0 net.ipv6.conf.{k}.accept_redirects=1; ip link set {k} up; \
         ip addr add {addr}/64 dev {k} nodad; ip -6 route add default via {router} dev {k}"
    ));
}

#[test]
fn a_kernel_s_router_shows_us_the_better_way() {
    // A bridge: the kernel's router, the kernel's other router with what is behind it, and we.
    let mut lab = Lab::new("v6redir");
    let (r1, r2) = (Netns::new(), Netns::new());
    lab.spawn(&format!("io-pkt-v6-hc --foreground {}", tap(&r1, "kh0")));
    lab.wait(MINUTE, "if_up -p -r 1 tapk0");
    r1.exec(&format!(
        "sysctl -qw net.ipv6.conf.all.forwarding=1 net.ipv6.conf.default.accept_dad=0; ip link add br0 type bridge forward_delay 0; \
         ip link add v0 type veth peer name v1 netns {}; ip link set v0 master br0; ip link set kh0 master br0; \
         ip link set v0 up; ip link set kh0 up; ip link set br0 up; ip addr add fe80::a/64 dev br0 nodad; \
         ip addr add 2001:db8:1::a/64 dev br0 nodad; ip -6 route add 2001:db8:7::/64 via fe80::b dev br0",
        r2.name
    ));
    r2.exec(
        "sysctl -qw net.ipv6.conf.all.forwarding=1 net.ipv6.conf.default.accept_dad=0; ip link set lo up; ip link set v1 up; \
         ip addr add fe80::b/64 dev v1 nodad; ip addr add 2001:db8:1::b/64 dev v1 nodad; ip addr add 2001:db8:7::1/128 dev lo",
    );
    lab.sh("ifconfig tapk0 inet6 2001:db8:1::1 prefixlen 64 -tentative");
    lab.sh("route add -inet6 default fe80::a%tapk0");
    let text = lab.sh("ping6 -c 3 2001:db8:7::1");
    assert!(text.contains(" 0% packet loss") || text.contains(" 0.0% packet loss"), "{text}");
    let route = until(MINUTE, || {
        Some(lab.sh("ping6 -c 1 2001:db8:7::1; netstat -rn -f inet6"))
            .filter(|t| t.lines().any(|l| l.starts_with("2001:db8:7::1") && l.contains("fe80::b")))
    });
    let route = route.unwrap_or_else(|| {
        panic!("no route by the redirect: {}", lab.sh("netstat -rn -f inet6; netstat -s -f inet6"))
    });
    assert!(route.lines().any(|l| l.starts_with("2001:db8:7::1") && l.contains('D')), "dynamic: {route}");
    // An own neighbour that the router takes for far away: on the link itself.
    r1.exec("ip -6 route add 2001:db8:8::/64 dev br0");
    r2.exec("ip addr add 2001:db8:8::8/64 dev v1 nodad");
    let near = until(MINUTE, || {
        Some(lab.sh("ping6 -c 1 2001:db8:8::8; netstat -rn -f inet6"))
            .filter(|t| t.lines().any(|l| l.starts_with("2001:db8:8::8") && !l.contains("fe80::")))
    });
    assert!(near.is_some(), "{}", lab.sh("netstat -rn -f inet6"));
}

#[test]
fn our_router_shows_a_kernel_the_better_way() {
    let mut lab = Lab::new("v6redirs");
    let (host, other) = (Netns::new(), Netns::new());
    lab.spawn(&format!("io-pkt-v6-hc --foreground {} -p tcpip forward6", tap(&host, "kr0")));
    lab.wait(MINUTE, "if_up -p -r 1 tapk0");
    lab.sh("ifconfig tapk0 inet6 fe80::a prefixlen 64 -tentative; ifconfig tapk0 inet6 2001:db8:1::a prefixlen 64 -tentative");
    // The kernel's host has the bridge that carries our link, and behind it the better router.
    host.exec(&format!(
        "ip link add br0 type bridge forward_delay 0; ip link add v0 type veth peer name v1 netns {}; ip link set v0 master br0; \
         ip link set kr0 master br0; ip link set v0 up; ip link set kr0 up",
        other.name
    ));
    kernel_host(&host, "br0", "2001:db8:1::1", "fe80::a");
    other.exec(
        "sysctl -qw net.ipv6.conf.all.forwarding=1 net.ipv6.conf.default.accept_dad=0; ip link set lo up; ip link set v1 up; \
         ip addr add fe80::b/64 dev v1 nodad; ip addr add 2001:db8:1::b/64 dev v1 nodad; ip addr add 2001:db8:7::1/128 dev lo",
    );
    lab.sh("route add -inet6 2001:db8:7::/64 fe80::b%tapk0");
    let text = host.exec("ping -6 -c 3 -i 0.3 -W 30 2001:db8:7::1");
    assert!(text.contains(" 0% packet loss"), "{text}");
    let way = wait(
        &host,
        "ping -6 -c 1 -W 30 2001:db8:7::1 > /dev/null; ip -6 route get 2001:db8:7::1 | grep 'via fe80::b'",
    );
    assert!(way.contains("fe80::b"), "{way}");
    let s = lab.sh("netstat -s -f inet6");
    assert!(s.contains(" redirects sent") && !s.contains("\t0 redirects sent"), "{s}");
}
