//! A link on which THC's tools for attacks on IPv6 work: io-pkt stays what it was, and everybody reaches it.

use iopkt_tests::Lab;
use iopkt_tests::netns::Netns;
use std::time::Duration;

/// The tools and what stands behind the interface's name.
const FLOODS: [(&str, &str); 11] = [
    ("flood_router26", ""),
    ("flood_router26 -F", ""),
    ("flood_advertise6", ""),
    ("flood_solicitate6", "2001:db8::2"),
    ("flood_redir6", "2001:db8::2"),
    ("flood_unreach6", "2001:db8::2"),
    ("flood_mld6", ""),
    ("flood_mld26", ""),
    ("ndpexhaust6", "2001:db8::/64"),
    ("thcsyn6", "2001:db8::2 22"),
    ("randicmp6", "2001:db8::2"),
];

#[test]
fn floods_of_a_link_shut_nobody_out() {
    let mut lab = Lab::new("v6attack");
    let ns = Netns::new();
    lab.spawn(&format!("io-pkt-v6-hc --foreground -d tap ifname=k0,netns=/run/netns/{}", ns.name));
    lab.wait(Duration::from_secs(60), "if_up -p -r 1 tapk0");
    ns.exec(
        "sysctl -qw net.ipv6.conf.k0.accept_dad=0 net.ipv6.conf.k0.accept_ra=0 net.ipv6.conf.k0.accept_redirects=0; \
         ip addr add 2001:db8::1/64 dev k0 nodad && ip link set k0 up",
    );
    // Routers are believed: the worst case.
    lab.sh("sysctl -w net.inet6.ip6.accept_rtadv=1 && ndp -i tapk0 accept_rtadv");
    lab.sh("ifconfig tapk0 inet6 2001:db8::2 prefixlen 64 -tentative && ping6 -c 1 2001:db8::1");
    let longer = if std::env::var_os("IO_PKT_LONG").is_some() { 30 } else { 1 };
    for (i, (tool, args)) in FLOODS.iter().enumerate() {
        let (tool, options) = tool.split_once(' ').unwrap_or((tool, ""));
        let line =
            format!("timeout -s KILL {longer} atk6-{tool} {options} k0 {args} >/dev/null 2>&1; echo $?");
        assert_eq!(ns.exec(&line).trim(), "137", "{tool} floods until it is killed");
        // The kernel has forgotten us, or was told lies about us: it asks anew, and so does one whom nobody knows yet.
        let new = format!("2001:db8::1:{i:x}");
        ns.exec(&format!("ip addr add {new}/128 dev k0 nodad; ip -6 neigh flush dev k0"));
        for from in ["2001:db8::1", new.as_str()] {
            let out = ns.exec(&format!("/bin/ping -6 -I {from} -c 3 -i 0.2 -W 20 2001:db8::2 || true"));
            assert!(
                out.contains(" 0% packet loss"),
                "{tool}, from {from}: {out}\n{}",
                lab.sh("ndp -an | tail -20")
            );
        }
        lab.sh("ping6 -c 1 2001:db8::1");
    }
    let addresses = lab.sh("ifconfig tapk0 | grep -c inet6");
    assert!(addresses.trim().parse::<usize>().is_ok_and(|n| n <= 64), "{addresses}");
    assert!(
        lab.sh("ifconfig tapk0").contains("inet6 2001:db8::2 prefixlen 64"),
        "its own address is untouched"
    );
}
