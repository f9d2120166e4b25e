//! DHCPv6 with dnsmasq in Linux's kernel as the server, over a TAP.

use iopkt_tests::netns::Netns;
use iopkt_tests::{Lab, Proc};
use std::process::Command;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

/// io-pkt-v6-hc, tapk0 up, fe80::1 and 2001:db8::1 at the other end.
fn start(lab: &mut Lab) -> Netns {
    let ns = Netns::new();
    lab.spawn(&format!("io-pkt-v6-hc --foreground -d tap ifname=k0,netns=/run/netns/{}", ns.name));
    lab.wait(MINUTE, "if_up -p -r 1 tapk0");
    ns.exec(
        "sysctl -qw net.ipv6.conf.k0.accept_dad=0; ip addr add fe80::1/64 dev k0 nodad && \
         ip addr add 2001:db8::1/64 dev k0 nodad && ip link set k0 up",
    );
    lab.sh("ifconfig tapk0 up");
    ns
}

fn dnsmasq(lab: &Lab, ns: &Netns, range: &str) -> Proc {
    let leases = lab.work().join("leases");
    let mut c = Command::new("ip");
    c.args([
        "netns",
        "exec",
        &ns.name,
        "dnsmasq",
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--port=0",
    ]);
    c.args(["--user=root", "--log-facility=-", "--log-dhcp", "--interface=k0", "--bind-interfaces"]);
    c.arg(format!("--dhcp-leasefile={}", leases.display()))
        .arg(format!("--pid-file={}", lab.work().join("dnsmasq.pid").display()));
    c.arg(format!("--dhcp-range={range}"));
    c.args([
        "--dhcp-option=option6:dns-server,[2001:db8::53]",
        "--dhcp-option=option6:domain-search,example.com",
    ]);
    Proc::start(c, &lab.work().join("dnsmasq.out"))
}

fn resolv(lab: &Lab) -> String {
    std::fs::read_to_string(lab.root().join("etc/resolv.conf")).unwrap_or_default()
}

#[test]
fn a_server_gives_an_address_and_names() {
    let mut lab = Lab::new("v6dhcp");
    let ns = start(&mut lab);
    let server = dnsmasq(&lab, &ns, "2001:db8::100,2001:db8::1ff,64,10m");
    let client = lab.spawn("dhcp6c -d tapk0");
    lab.wait(
        MINUTE,
        "ifconfig -L tapk0 | grep -q 'inet6 2001:db8::1[0-9a-f][0-9a-f] prefixlen 128 pltime [1-9]'",
    );
    assert!(resolv(&lab).contains("search example.com\nnameserver 2001:db8::53\n"), "{}", resolv(&lab));
    let leases = std::fs::read_to_string(lab.work().join("leases")).unwrap_or_default();
    assert!(leases.contains("2001:db8::1"), "{leases}\n{}", server.output());
    // It works: the kernel reaches us by it.
    lab.wait(MINUTE, "! ifconfig tapk0 | grep -q tentative");
    let a = lab.sh("ifconfig tapk0 | sed -n 's/.*inet6 \\(2001:db8::1[0-9a-f]*\\) .*/\\1/p'");
    lab.sh("route add -inet6 2001:db8::/64 -interface tapk0");
    assert!(ns.exec(&format!("ping -6 -c 1 -W 30 {}", a.trim())).contains(" 0% packet loss"));
    // Given back at the end.
    lab.proc(client).signal(15);
    assert!(lab.proc(client).wait(MINUTE).is_some_and(|s| s.success()), "{}", lab.proc(client).output());
    assert!(!lab.sh("ifconfig tapk0").contains(a.trim()));
    assert!(server.output().contains("DHCPRELEASE"), "{}", server.output());
}

#[test]
fn names_alone_and_who_does_not_answer() {
    let mut lab = Lab::new("v6dhcpi");
    let ns = start(&mut lab);
    let _server = dnsmasq(&lab, &ns, "2001:db8::,ra-stateless");
    lab.sh("timeout 50 dhcp6c -1 -i tapk0");
    assert!(resolv(&lab).contains("nameserver 2001:db8::53\n"), "{}", resolv(&lab));
    let (_, why) = lab.sh_fails("dhcp6c lo0");
    assert!(why.contains("no Ethernet"), "{why}");
    // Nobody gives addresses here.
    assert_eq!(lab.sh_fails("timeout -s INT 3 dhcp6c tapk0").0, 124);
}

#[test]
fn a_delegated_prefix_reaches_the_hosts_behind_us() {
    let mut lab = Lab::new("v6pd");
    let (ns, behind) = (Netns::new(), Netns::new());
    let tap = |ns: &Netns, k: &str| format!("-d tap ifname={k},netns=/run/netns/{}", ns.name);
    lab.spawn(&format!(
        "io-pkt-v6-hc --foreground {} {} -p tcpip forward6",
        tap(&ns, "k0"),
        tap(&behind, "k1")
    ));
    lab.wait(MINUTE, "if_up -p -r 1 tapk0 && if_up -p -r 1 tapk1");
    ns.exec(
        "sysctl -qw net.ipv6.conf.k0.accept_dad=0; ip addr add fe80::1/64 dev k0 nodad && \
         ip addr add 2001:db8::1/64 dev k0 nodad && ip link set k0 up",
    );
    behind.exec("sysctl -qw net.ipv6.conf.k1.accept_dad=0; ip link set k1 up");
    lab.sh("ifconfig tapk0 up && ifconfig tapk1 up");
    // ISC's server: dnsmasq delegates nothing.
    let (conf, leases) = (lab.work().join("dhcpd.conf"), lab.work().join("dhcpd.leases"));
    std::fs::write(
        &conf,
        "default-lease-time 600;\nsubnet6 2001:db8::/64 { prefix6 2001:db8:5500:: 2001:db8:55f0:: /56; }\n",
    )
    .expect("dhcpd.conf");
    std::fs::write(&leases, "").expect("dhcpd.leases");
    let mut c = Command::new("ip");
    c.args([
        "netns", "exec", &ns.name, "dhcpd", "-6", "-f", "-d", "-user", "root", "-group", "root", "--no-pid",
        "-cf",
    ]);
    c.arg(&conf).arg("-lf").arg(&leases).arg("k0");
    c.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let server = Proc::start(c, &lab.work().join("dhcpd.out"));
    lab.spawn("dhcp6c -d -N -P 56 -x tapk1 tapk0");
    lab.wait(MINUTE, "ifconfig tapk1 | grep -q 'inet6 2001:db8:55..::1 prefixlen 64'");
    std::fs::write(lab.work().join("rtadvd.conf"), "default:maxinterval#4:mininterval#3:rltime#600:\n")
        .expect("conf");
    lab.spawn("rtadvd -c rtadvd.conf tapk1");
    let has = || behind.exec("ip -6 -o addr show dev k1 scope global").contains("2001:db8:55");
    assert!(iopkt_tests::until(MINUTE, || has().then_some(())).is_some(), "{}", server.output());
}

/// Kea in the namespace: addresses, two pools of prefixes, one with a part that is excluded (RFC 6603).
fn kea(lab: &Lab, ns: &Netns) -> Proc {
    let work = lab.work().display().to_string();
    let conf = format!(
        r#"{{ "Dhcp6": {{
  "interfaces-config": {{ "interfaces": [ "k0" ] }},
  "lease-database": {{ "type": "memfile", "persist": true, "name": "{work}/kea.leases", "lfc-interval": 0 }},
  "server-id": {{ "type": "LL", "persist": false }},
  "renew-timer": 2, "rebind-timer": 2000, "preferred-lifetime": 3000, "valid-lifetime": 4000,
  "option-data": [ {{ "name": "dns-servers", "data": "2001:db8::53" }} ],
  "subnet6": [ {{ "subnet": "2001:db8::/64", "interface": "k0", "rapid-commit": true,
    "pools": [ {{ "pool": "2001:db8::100-2001:db8::1ff" }} ],
    "pd-pools": [ {{ "prefix": "2001:db8:5500::", "prefix-len": 40, "delegated-len": 56,
                    "excluded-prefix": "2001:db8:5500::", "excluded-prefix-len": 64 }} ] }} ],
  "loggers": [ {{ "name": "kea-dhcp6", "severity": "DEBUG", "debuglevel": 50, "output_options": [ {{ "output": "stdout" }} ] }} ]
}} }}"#
    );
    std::fs::write(lab.work().join("kea.conf"), conf).expect("kea.conf");
    let mut c = Command::new("ip");
    c.args(["netns", "exec", &ns.name, "kea-dhcp6", "-c", &format!("{work}/kea.conf")]);
    c.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("KEA_PIDFILE_DIR", &work)
        .env("KEA_LOCKFILE_DIR", &work);
    Proc::start(c, &lab.work().join("kea.out"))
}

#[test]
fn several_addresses_and_prefixes_of_kea() {
    let mut lab = Lab::new("v6kea");
    let ns = start(&mut lab);
    let server = kea(&lab, &ns);
    let ready = iopkt_tests::until(MINUTE, || server.output().contains("DHCP6_STARTED").then_some(()));
    assert!(ready.is_some(), "{}", server.output());
    let client = lab.spawn("dhcp6c -d -R -A 2 -P 56 -P 56 -x lo0:1 tapk0");
    let said = |lab: &mut Lab, what: &str| {
        let ok =
            iopkt_tests::until(MINUTE, || lab.proc(client).output().contains(what).then_some(())).is_some();
        assert!(ok, "{what}: {}\n{}", lab.proc(client).output(), server.output());
    };
    lab.wait(
        MINUTE,
        "test $(ifconfig tapk0 | grep -c 'inet6 2001:db8::1[0-9a-f][0-9a-f] prefixlen 128') = 2",
    );
    // The second subnet of each prefix; the first is excluded.
    lab.wait(
        MINUTE,
        "test $(ifconfig lo0 | grep -c 'inet6 2001:db8:55[0-9a-f]*:[0-9a-f]*1::1 prefixlen 64') = 2",
    );
    said(&mut lab, "2001:db8:55");
    // It is renewed by itself, at T1.
    let renewed = iopkt_tests::until(MINUTE, || server.output().contains("RENEW").then_some(()));
    assert!(renewed.is_some(), "{}", server.output());
    // The same after a restart: the DUID is kept.
    let mine = |lab: &Lab| lab.sh("ifconfig tapk0 | grep -o 'inet6 2001:db8::1[0-9a-f]*' | sort");
    let before = mine(&lab);
    let duid = lab.sh("od -An -tx1 $IO_PKT_ROOT/var/db/dhcp6c_duid");
    lab.proc(client).signal(9);
    assert!(lab.proc(client).wait(MINUTE).is_some());
    lab.sh("for a in $(ifconfig tapk0 | grep -o '2001:db8::1[0-9a-f]*'); do ifconfig tapk0 inet6 $a delete; done");
    let again = lab.spawn("dhcp6c -d -A 2 -P 56 -P 56 -x lo0:1 tapk0");
    lab.wait(
        MINUTE,
        "test $(ifconfig tapk0 | grep -c 'inet6 2001:db8::1[0-9a-f][0-9a-f] prefixlen 128') = 2",
    );
    assert_eq!((mine(&lab), lab.sh("od -An -tx1 $IO_PKT_ROOT/var/db/dhcp6c_duid")), (before, duid));
    // Given back: both kinds, of both interfaces.
    lab.proc(again).signal(15);
    assert!(lab.proc(again).wait(MINUTE).is_some_and(|s| s.success()), "{}", lab.proc(again).output());
    assert!(!lab.sh("ifconfig -a").contains("2001:db8:"), "{}", lab.sh("ifconfig -a"));
}

#[test]
fn the_link_comes_back_and_a_duplicate_is_declined() {
    let mut lab = Lab::new("v6confirm");
    let ns = start(&mut lab);
    // Somebody has the only address but one.
    ns.exec("ip addr add 2001:db8::100/128 dev k0 nodad");
    let server = dnsmasq(&lab, &ns, "2001:db8::100,2001:db8::101,64,10m");
    let heard = |what: &str| {
        let ok = iopkt_tests::until(MINUTE, || server.output().contains(what).then_some(()));
        assert!(ok.is_some(), "{what}: {}", server.output());
    };
    lab.spawn("dhcp6c -d tapk0");
    // Whichever is given first: in the end it is the one that is free.
    lab.wait(MINUTE, "ifconfig tapk0 | grep 'inet6 2001:db8::101 prefixlen 128' > a && ! grep -q 'tentative\\|duplicated' a");
    // The link goes and comes: is it still ours there?
    ns.exec("ip link set k0 down");
    lab.wait(MINUTE, "ifconfig tapk0 | grep -q 'no carrier\\|linkstate: down' || ifconfig --json tapk0 | grep -qi '\"link\": *\"down'");
    ns.exec("ip link set k0 up && ip addr add fe80::1/64 dev k0 nodad; ip addr add 2001:db8::1/64 dev k0 nodad; true");
    heard("DHCPCONFIRM");
    lab.wait(
        MINUTE,
        "ifconfig tapk0 | grep 'inet6 2001:db8::101 prefixlen 128' > a && ! grep -q tentative a",
    );
}
