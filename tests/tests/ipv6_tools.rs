//! The tools of IPv6 as a user types them, with Linux's kernel and radvd at the other end of a TAP.

use iopkt_tests::netns::Netns;
use iopkt_tests::{Lab, Proc};
use std::process::Command;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

/// io-pkt-v6-hc with devnp-tap, whose other end is `k0` of a fresh namespace: fe80::1 and 2001:db8::1 there, tapk0 up here.
fn start(lab: &mut Lab) -> Netns {
    let ns = Netns::new();
    lab.spawn(&format!("io-pkt-v6-hc --foreground -d tap ifname=k0,netns=/run/netns/{}", ns.name));
    lab.wait(MINUTE, "if_up -p -r 1 tapk0");
    ns.exec(
        "sysctl -qw net.ipv6.conf.k0.accept_dad=0 net.ipv6.conf.all.forwarding=1; \
         ip addr add fe80::1/64 dev k0 nodad && ip addr add 2001:db8::1/64 dev k0 nodad && ip link set k0 up",
    );
    lab.sh("ifconfig tapk0 up");
    lab.wait(MINUTE, "ifconfig tapk0 | grep 'inet6 fe80' > a; grep -q prefixlen a && ! grep -q tentative a");
    ns
}

/// Router advertisements from this interface, by radvd.
fn radvd(lab: &Lab, ns: &Netns, dev: &str, conf: &str) -> Proc {
    let (file, pid) = (lab.work().join("radvd.conf"), lab.work().join("radvd.pid"));
    std::fs::write(&file, format!("interface {dev} {{ AdvSendAdvert on; {conf} }};\n")).expect("radvd.conf");
    let mut c = Command::new("ip");
    c.args(["netns", "exec", &ns.name, "radvd", "-n", "-m", "stderr"]);
    c.arg("-C").arg(&file).arg("-p").arg(&pid);
    Proc::start(c, &lab.work().join("radvd.out"))
}

#[test]
fn ifconfig_takes_the_words_of_inet6() {
    let mut lab = Lab::new("v6ifconfig");
    let ns = start(&mut lab);
    let line = |lab: &Lab, a: &str| {
        let all = lab.sh("ifconfig -L tapk0");
        let found = all.lines().find(|l| l.contains(&format!("inet6 {a} ")));
        found.unwrap_or_else(|| panic!("{a}: {all}")).trim().to_string()
    };
    lab.sh("ifconfig tapk0 inet6 2001:db8::5 prefixlen 48 pltime 10000 vltime 20000 -tentative");
    let text = line(&lab, "2001:db8::5");
    assert!(
        text.starts_with("inet6 2001:db8::5 prefixlen 48 pltime 9") && text.contains(" vltime 19"),
        "{text}"
    );
    lab.sh("ifconfig tapk0 inet6 2001:db8::6 anycast alias");
    assert_eq!(line(&lab, "2001:db8::6"), "inet6 2001:db8::6 prefixlen 64 anycast pltime infty vltime infty");
    lab.sh("ifconfig tapk0 inet6 2001:db8::5 prefixlen 48 deprecated");
    assert!(line(&lab, "2001:db8::5").contains(" prefixlen 48 deprecated pltime 0 vltime infty"));
    lab.sh("ifconfig tapk0 inet6 2001:db8:5:: eui64");
    let ll = lab.sh("ifconfig tapk0 | sed -n 's/.*inet6 fe80::\\([^%]*\\)%.*/\\1/p'");
    assert!(line(&lab, &format!("2001:db8:5:0:{}", ll.trim())).contains("prefixlen 64"));
    let j = lab.sh("ifconfig --json tapk0 inet6");
    assert!(j.contains("\"preferred_lifetime\": 0") && j.contains("\"anycast\""), "{j}");
    // The kernel finds the anycast one, too.
    assert!(ns.exec("ping -6 -c 1 -W 30 2001:db8::6").contains(" 0% packet loss"));
    lab.sh("ifconfig tapk0 inet6 2001:db8::6 -alias && ifconfig tapk0 inet6 2001:db8::5 delete");
    assert!(!lab.sh("ifconfig tapk0").contains("2001:db8::6"));
    let (_, why) = lab.sh_fails("ifconfig tapk0 inet6 2001:db8::7 pltime 20 vltime 10");
    assert!(why.contains("cannot be preferred for longer"), "{why}");
    // A duplicate is said to be one, and never used.
    lab.sh("ifconfig tapk0 inet6 2001:db8::1");
    lab.wait(MINUTE, "ifconfig tapk0 | grep -q '2001:db8::1 prefixlen 64 duplicated'");
}

#[test]
fn a_router_configures_the_interface() {
    let mut lab = Lab::new("v6router");
    let ns = start(&mut lab);
    let (_, why) = lab.sh_fails("rtsol tapk0");
    assert!(why.contains("accept_rtadv=1"), "{why}");
    lab.sh("sysctl -w net.inet6.ip6.accept_rtadv=1 net.inet6.ip6.use_tempaddr=1");
    let _radvd = radvd(
        &lab,
        &ns,
        "k0",
        "MinRtrAdvInterval 3; MaxRtrAdvInterval 4; AdvReachableTime 20000; AdvRetransTimer 1500; AdvLinkMTU 1400; \
         AdvCurHopLimit 61; AdvOtherConfigFlag on; AdvDefaultPreference high; AdvDefaultLifetime 1800; \
         prefix 2001:db8:7::/64 { AdvValidLifetime 60000; AdvPreferredLifetime 30000; }; \
         route 2001:db8:99::/48 { AdvRoutePreference low; }; \
         RDNSS 2001:db8::53 { AdvRDNSSLifetime 1000; }; DNSSL example.com { };",
    );
    lab.wait(MINUTE, "rtsol -d tapk0");
    lab.wait(MINUTE, "ndp -r | grep -q 'fe80::.*%tapk0 if=tapk0, flags=O, pref=high, expire='");
    let p = lab.sh("ndp -p");
    assert!(p.contains("2001:db8:7::/64 if=tapk0\nflags=LAO vltime=60000, pltime=30000, expire=16h"), "{p}");
    assert!(p.contains("  advertised by\n    fe80::") && p.contains(", ref=2\n"), "{p}");
    let i = lab.sh("ndp -i tapk0");
    assert!(i.starts_with("linkmtu=1400, maxmtu=1500, curhlim=61, basereachable=20s0ms, reachable="), "{i}");
    assert!(i.ends_with("retrans=1s500ms\nFlags: nud accept_rtadv auto_linklocal \n"), "{i}");
    lab.wait(MINUTE, "ifconfig -L tapk0 | grep -q '2001:db8:7:.* prefixlen 64 autoconf pltime'");
    lab.wait(MINUTE, "ifconfig -L tapk0 | grep -q '2001:db8:7:.* prefixlen 64 autoconf temporary pltime'");
    let routes = lab.sh("netstat -rn -f inet6");
    assert!(routes.contains("2001:db8:99::/48") && routes.contains("UGD"), "{routes}");
    let get = lab.sh("route -n get -inet6 2001:db8:99::1");
    assert!(get.contains("gateway: fe80::") && get.contains("%tapk0\n"), "{get}");
    ns.exec("ip addr add 2001:db8:7::1/64 dev k0 nodad");
    lab.sh("ping6 -c 1 2001:db8:7::1");
    assert!(lab.sh("ndp -an").contains("%tapk0"), "the router is known");
    assert!(lab.sh("netstat -s -f inet6").contains(" router advertisements received"));
    assert!(lab.sh("netstat -s -p icmp6").contains("\tInput histogram:\n\t\techo reply: 1\n"));
    let one = lab.sh("netstat -s -I tapk0");
    assert!(one.contains("ip6 on tapk0:\n") && one.contains("\t\trouter advertisement: "), "{one}");
    let own = lab.sh("ifconfig tapk0 | sed -n 's/.*inet6 \\(fe80::[^ ]*\\) .*/\\1/p'");
    assert!(routes.contains(&format!("\n{} ", own.trim())), "{own} {routes}");
    assert!(lab.sh("netstat -g").contains(" ff02::1%tapk0\n"));
    assert!(lab.sh("netstat -ian").contains(" fe80::%tapk0/64 "));
    lab.sh("rtsold -1 tapk0");
    let conf = std::fs::read_to_string(lab.root().join("etc/resolv.conf")).expect("resolv.conf");
    assert!(conf.contains("search example.com\nnameserver 2001:db8::53\n"), "{conf}");
    // Forgotten on order (while nobody is believed, or the next advertisement brings it back), and learnt again.
    lab.sh("ndp -i tapk0 -- -accept_rtadv && ndp -P");
    assert_eq!(lab.sh("ndp -p"), "");
    lab.sh("ndp -i tapk0 accept_rtadv");
    lab.wait(MINUTE, "ndp -p | grep -q 2001:db8:7");
    lab.sh("ndp -i tapk0 -- -accept_rtadv && ndp -R && ndp -P");
    assert!(!lab.sh("ndp -i tapk0").contains(" accept_rtadv"));
    assert_eq!(lab.sh("ndp -r"), "");
}

#[test]
fn neighbours_by_hand() {
    let mut lab = Lab::new("v6ndp");
    let ns = start(&mut lab);
    lab.sh("ifconfig tapk0 inet6 2001:db8::2 prefixlen 64 -tentative");
    lab.sh("ping6 -c 1 2001:db8::1");
    let mac = ns.exec("cat /sys/class/net/k0/address");
    let a = lab.sh("ndp -a");
    assert!(
        a.starts_with("Neighbor                             Linklayer Address  Netif Expire    S Flags"),
        "{a}"
    );
    let of = |who: &str| {
        a.lines().find(|l| l.starts_with(&format!("{who} "))).unwrap_or_else(|| panic!("{who}: {a}"))
    };
    assert!(of("2001:db8::1").contains(mac.trim()) && of("2001:db8::2").contains("permanent R"), "{a}");
    assert_eq!(lab.sh("ndp -d 2001:db8::1"), "2001:db8::1 (2001:db8::1) deleted\n");
    assert_eq!(lab.sh_fails("ndp 2001:db8::1").1, "ndp: 2001:db8::1 (2001:db8::1) -- no entry\n");
    // A neighbour that answers no question, found by what is set by hand.
    ns.exec("ip addr add 2001:db8::77/128 dev lo");
    lab.sh(&format!("ndp -s 2001:db8::77 {}", mac.trim()));
    lab.sh("ping6 -c 1 2001:db8::77");
    assert!(lab.sh("ndp 2001:db8::77").contains("permanent"));
    // Answered for: the kernel finds it, although it is not ours.
    lab.sh("ndp -s 2001:db8::99 2:0:0:0:0:99 proxy");
    ns.exec("ping -6 -c 1 -W 1 2001:db8::99 || true");
    assert!(ns.exec("ip -6 neigh show 2001:db8::99 dev k0").contains("lladdr 02:00:00:00:00:99"));
    lab.sh("ndp -c");
    let a = lab.sh("ndp --json -a");
    assert!(a.contains("\"2001:db8::77\"") && a.contains("\"2001:db8::99\""), "{a}");
    assert_eq!(lab.sh_fails("ndp -s fe80::5 2:0:0:0:0:5").0, 1, "which link?");
    assert_eq!(lab.sh_fails("ndp -i nope0").0, 1);
    let (_, why) = lab.sh_fails("ndp -i tapk0 bogus");
    assert!(why.contains("bogus: unknown flag"), "{why}");
}

#[test]
fn the_way_to_a_host() {
    let mut lab = Lab::new("v6trace");
    let (ns, far) = (start(&mut lab), Netns::new());
    ns.exec(&format!(
        "ip link add v0 type veth peer name v1 netns {0} && ip addr add 2001:db8:6::1/64 dev v0 nodad && ip link set v0 up && \
         ip -n {0} addr add 2001:db8:6::2/64 dev v1 nodad && ip -n {0} link set v1 up && \
         ip -n {0} -6 route add default via 2001:db8:6::1 && \
         sysctl -qw net.ipv6.icmp.ratelimit=0 && ip netns exec {0} sysctl -qw net.ipv6.icmp.ratelimit=0",
        far.name
    ));
    lab.sh(
        "ifconfig tapk0 inet6 2001:db8::2 prefixlen 64 -tentative && route add -inet6 default 2001:db8::1",
    );
    // The neighbours have to find each other first.
    lab.wait(MINUTE, "ping6 -c 1 2001:db8:6::2");
    for flags in ["", "-I"] {
        let out = lab.sh(&format!("traceroute6 {flags} -w 20 2001:db8:6::2 2> head; cat head"));
        let head = "traceroute6 to 2001:db8:6::2 (2001:db8:6::2) from 2001:db8::2, 30 hops max, ";
        assert!(out.contains(head), "{out}");
        assert!(out.starts_with(" 1  2001:db8::1  ") && out.contains("\n 2  2001:db8:6::2  "), "{out}");
    }
    let j = lab.sh("traceroute6 --json -q 1 -w 20 2001:db8:6::2");
    assert!(j.contains("\"address\": \"2001:db8::1\"") && j.contains("\"hops\""), "{j}");
    let out = lab.sh("traceroute6 -q 2 -w 20 2001:db8:7777::1");
    assert!(out.contains(" 1  2001:db8::1  ") && out.contains(" ms !N"), "{out}");
    let (_, why) = lab.sh_fails("traceroute6 fe80::77");
    assert!(why.contains("which interface?"), "{why}");
}

#[test]
fn route_as_a_user_calls_it_for_ipv6() {
    let mut lab = Lab::new("v6route");
    let ns = start(&mut lab);
    lab.sh("ifconfig tapk0 inet6 2001:db8::2 prefixlen 64 -tentative");
    assert_eq!(lab.sh("route add -inet6 default fe80::1%tapk0"), "add net default: gateway fe80::1%tapk0\n");
    let get = lab.sh("route -n get -inet6 2001:4860::1");
    let want =
        "   route to: 2001:4860::1\ndestination: default\n       mask: default\n    gateway: fe80::1%tapk0\n";
    assert!(get.starts_with(want) && get.contains("  interface: tapk0\n"), "{get}");
    let get = lab.sh("route -n get -inet6 fe80::77%tapk0");
    let want = "   route to: fe80::77%tapk0\ndestination: fe80::%tapk0\n       mask: ffff:ffff:ffff:ffff::\n";
    assert!(get.starts_with(want), "{get}");
    assert_eq!(lab.sh("route -s get -inet6 2001:4860::1"), "fe80::1%tapk0\n");
    lab.sh("route add -inet6 2001:db8:9:: -prefixlen 48 2001:db8::1 -mtu 1300");
    lab.sh(
        "route add -inet6 -host 2001:db8:a::1 -reject ::1 && route add -inet6 2001:db8:b::/48 ::1 -blackhole",
    );
    let r = lab.sh("route -n show -inet6");
    assert!(
        r.contains("2001:db8:9::/48 ") && r.contains(" 1300  ") && r.contains(" UGHRS ") && r.contains("B"),
        "{r}"
    );
    assert_eq!(lab.sh_fails("ping6 -c 1 2001:db8:a::1").0, 2);
    lab.sh("route change -inet6 2001:db8:9:: -prefixlen 48 fe80::1%tapk0");
    assert!(lab.sh("route -n get -inet6 2001:db8:9::5").contains("gateway: fe80::1%tapk0"));
    for (words, why) in [
        ("add -inet6 2001:db8:c::/48 2001:db8::1 -mtu 1000", "1280"),
        ("add -inet6 2001:db8:c::/48 2001:db8::1 -hopcount 3", "no such metric"),
        ("add -inet6 2001:db8:c::/129 2001:db8::1", "bad value"),
        ("add -inet6 2001:db8:c::/48 10.0.0.1", "not of the destination's family"),
        ("add -inet6 2001:db8:c::/48 fe80::1%nope0", "Device not configured"),
        ("get -inet6 fe80::1%nope0", "Device not configured"),
    ] {
        let (code, text) = lab.sh_fails(&format!("route {words}"));
        assert!(code == 1 && text.contains(why), "{words}: {text}");
    }
    assert_eq!(lab.sh("route delete -inet6 2001:db8:9::/48"), "delete net 2001:db8:9::/48\n");
    let gone = lab.sh("route -n flush -inet6");
    assert!(gone.contains("default              fe80::1%tapk0        done\n"), "{gone}");
    // What programs see, and a socket on a link-local address.
    let own = lab.sh("ifconfig tapk0 | sed -n 's/.*inet6 \\(fe80::[^ ]*\\) .*/\\1/p'");
    let _ = ns;
    lab.spawn(&format!("io-pkt-run python3 -m http.server 8080 --bind {}", own.trim()));
    lab.wait(MINUTE, &format!("netstat -an -f inet6 | grep -q 'tcp6 .* {}.8080 .*LISTEN'", own.trim()));
    assert!(lab.sh("sockstat -6 -l -n -p 8080").contains(&format!(" {}.8080 ", own.trim())));
    let j = lab.sh("netstat -an -f inet6 --json");
    assert!(j.contains("\"zone\": \"tapk0\""), "{j}");
}

#[test]
fn ping6_as_its_manual_says() {
    let mut lab = Lab::new("v6ping6");
    let _ns = start(&mut lab);
    lab.sh("ifconfig tapk0 inet6 2001:db8::2 prefixlen 64 -tentative");
    lab.wait(MINUTE, "ping6 -c 1 2001:db8::1");
    let created = |lab: &Lab| lab.sh("netstat -s -p ip6 | sed -n 's/^.\\([0-9]*\\) fragments created/\\1/p'");
    for line in ["ping -6 -c 1 2001:db8::1", "ping -6c1 2001:db8::1", "ping -c 1 2001:db8::1"] {
        assert!(lab.sh(line).contains("bytes from 2001:db8::1, icmp_seq=0"), "{line}");
    }
    // Cut for the way, never for the smallest MTU.
    assert!(
        lab.sh("ping6 -m -c 1 -s 1300 2001:db8::1")
            .contains("1308 bytes from 2001:db8::1, icmp_seq=0 hlim=64")
    );
    assert_eq!(created(&lab), "0\n");
    lab.sh("ping6 -c 1 -s 2000 2001:db8::1");
    assert_eq!(created(&lab), "2\n");
    let (code, out) = lab.sh_fails("ping6 -D -c 1 -s 2000 -q 2001:db8::1 2>&1");
    assert!(code == 2 && !out.contains("bytes from"), "{code} {out}");
    assert!(lab.sh("ping6 -l 3 -c 3 -q 2001:db8::1").contains("3 packets transmitted, 3 packets received"));
    assert!(lab.sh("ping6 -f -c 20 2001:db8::1").contains("20 packets transmitted, 20 packets received"));
    assert!(lab.sh("ping6 -d -b 30000 -h 3 -z 32 -o 2001:db8::1").contains("1 packets received"));
    // The deadline counts all in all.
    let (code, _) = lab.sh_fails("ping6 -X 1 -q 2001:db8::77");
    assert!(code == 1 || code == 2);
    for (words, why) in [
        ("-g 2001:db8::9 ::1", "IPV6_NEXTHOP"),
        ("-P x ::1", "IPsec"),
        ("-R ::1", "reachability"),
        ("2001:db8::9 ::1", "RFC 5095"),
        ("-c 0 ::1", "bad value"),
    ] {
        let (code, text) = lab.sh_fails(&format!("ping6 {words}"));
        assert!(code == 2 && text.contains(why), "{words}: {text}");
    }
}

#[test]
fn nodes_are_asked_for_names_and_addresses() {
    let mut lab = Lab::new("v6nodeinfo");
    let _ns = start(&mut lab);
    lab.sh("ifconfig tapk0 inet6 2001:db8::2 prefixlen 64 -tentative");
    let host = lab.sh("sysctl -n kern.hostname");
    let host = host.trim();
    for (form, to) in [("-w", "::1"), ("-W", "::1"), ("-w", "2001:db8::2")] {
        let out = lab.sh(&format!("ping6 -c 1 {form} {to}"));
        assert!(out.contains(&format!(" bytes from {to}: {host}\n")), "{form} {to}: {out}");
    }
    // By the name's group, in both forms.
    for n in ["-N", "-NN"] {
        let out = lab.sh(&format!("ping6 -c 1 {n} -w -I tapk0 {host}"));
        assert!(out.contains("%tapk0: ") && out.contains(&format!(": {host}\n")), "{out}");
    }
    assert!(
        lab.sh("ping6 -c 1 -t ::1").contains(": answers NOOP, supported types, DNS name, node addresses\n")
    );
    assert!(
        lab.sh("ping6 -c 1 -a ag 2001:db8::2").contains(": refused\n"),
        "NetBSD's default tells names alone"
    );
    lab.sh("sysctl -w net.inet6.icmp6.nodeinfo=3");
    assert!(lab.sh("ping6 -c 1 -a ag 2001:db8::2").contains("\n  2001:db8::2 (TTL=infty)\n"));
    assert!(lab.sh("netstat -s -p icmp6").contains("node information reply: "));
    lab.sh("sysctl -w net.inet6.icmp6.nodeinfo=0");
    assert_eq!(lab.sh_fails("ping6 -c 1 -x 1 -w ::1").0, 1);
}

#[test]
fn a_modem_s_network_configures_ecm0() {
    let mut lab = Lab::new("v6ecm");
    let ns = Netns::new();
    lab.spawn(&format!("ip netns exec {} io-usb --foreground -d sim far=tap:t0", ns.name));
    lab.wait(MINUTE, "test -S $IO_PKT_ROOT/dev/usb");
    ns.exec(
        "sysctl -qw net.ipv6.conf.t0.accept_dad=0 net.ipv6.conf.all.forwarding=1; \
         ip addr add fe80::1/64 dev t0 nodad && ip addr add 2001:db8:7::1/64 dev t0 nodad && ip link set t0 up",
    );
    lab.spawn("io-pkt-v6-hc --foreground -d ecm -ptcpip");
    lab.wait(MINUTE, "if_up -p -r 1 ecm0");
    lab.sh("sysctl -w net.inet6.ip6.accept_rtadv=1 && ifconfig ecm0 up");
    let conf = "MinRtrAdvInterval 3; MaxRtrAdvInterval 4; AdvDefaultLifetime 1800; \
                prefix 2001:db8:7::/64 { }; RDNSS 2001:db8:7::53 { AdvRDNSSLifetime 1000; };";
    let _radvd = radvd(&lab, &ns, "t0", conf);
    lab.wait(MINUTE, "rtsol ecm0");
    lab.wait(MINUTE, "ifconfig ecm0 | grep autoconf > a; grep -q 2001:db8:7: a && ! grep -q tentative a");
    assert!(lab.sh("ndp -r").contains("%ecm0 if=ecm0, flags=, pref=medium, expire="));
    assert!(lab.sh("ping6 -c 2 -i 0.2 2001:db8:7::1").contains(" 0.0% packet loss"));
    let a = lab.sh("ifconfig ecm0 | sed -n 's/.*inet6 \\(2001:db8:7:[^ ]*\\) .*/\\1/p'");
    assert!(ns.exec(&format!("ping -6 -c 2 -i 0.2 -W 30 {}", a.trim())).contains(" 0% packet loss"));
    lab.sh("rtsold -1 ecm0");
    let conf = std::fs::read_to_string(lab.root().join("etc/resolv.conf")).expect("resolv.conf");
    assert!(conf.contains("nameserver 2001:db8:7::53\n"), "{conf}");
}

#[test]
fn the_variant_without_ipv6_says_so() {
    let mut lab = Lab::new("v6none");
    lab.spawn("io-pkt-v4-hc --foreground");
    lab.wait(MINUTE, "ifconfig lo0");
    for line in ["ndp -a", "ndp -p", "ndp -i lo0 nud", "ifconfig lo0 inet6 2001:db8::1", "rtsol lo0"] {
        let (code, why) = lab.sh_fails(line);
        assert!(code == 1 && why.contains("this variant does not speak the address family"), "{line}: {why}");
    }
}
