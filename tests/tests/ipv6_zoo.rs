//! Extension headers and fragments as scapy makes them, answered as the RFCs have it.

use iopkt_tests::Lab;
use iopkt_tests::netns::Netns;
use std::time::Duration;

#[test]
fn scapys_zoo_of_headers() {
    let mut lab = Lab::new("v6zoo");
    let ns = Netns::new();
    lab.spawn(&format!("io-pkt-v6-hc --foreground -d tap ifname=k0,netns=/run/netns/{}", ns.name));
    lab.wait(Duration::from_secs(60), "if_up -p -r 1 tapk0");
    ns.exec("sysctl -qw net.ipv6.conf.k0.accept_dad=0; ip addr add 2001:db8::1/64 dev k0 nodad && ip link set k0 up");
    lab.sh("ifconfig tapk0 inet6 2001:db8::2 prefixlen 64 -tentative && sysctl -w net.inet6.icmp6.errppslimit=-1");
    lab.sh("ping6 -c 1 2001:db8::1");
    let mac = lab.sh("ifconfig tapk0 | sed -n 's/.*address: //p'");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/zoo.py");
    let rounds = if std::env::var_os("IO_PKT_LONG").is_some() { 500 } else { 20 };
    let out = ns.exec(&format!(
        "timeout 300 /usr/bin/python3 {script} {} 2001:db8::1 2001:db8::2 7 {rounds}",
        mac.trim()
    ));
    assert!(out.trim().starts_with("ok "), "{out}");
    assert!(lab.sh("netstat -m").contains("mbuf"), "it still answers");
}
