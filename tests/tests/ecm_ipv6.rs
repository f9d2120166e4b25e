//! The whole of it over devnp-ecm: a modem is plugged in, its network configures the stack, a name is resolved and a page fetched over
//! IPv6; the modem is pulled out and nothing of it is left; plugged in again, all is there again. The daemons live through it.
//! The network is dnsmasq (advertisements, DHCPv6 for other things, names) and Python's web server behind the simulated modem.

use iopkt_tests::netns::Netns;
use iopkt_tests::{Lab, Proc, until};
use std::process::Command;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

fn inside(ns: &Netns) -> Command {
    let mut c = Command::new("ip");
    c.args(["netns", "exec", &ns.name]);
    c
}

/// The modem's network: t0 with 2001:db8:7::1.
fn network(lab: &Lab, ns: &Netns) -> (Proc, Proc) {
    let work = lab.work().display().to_string();
    let mut c = inside(ns);
    c.args(["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--log-facility=-"]);
    c.args(["--log-dhcp", "--log-queries", "--interface=t0", "--bind-dynamic", "--no-resolv", "--no-hosts"]);
    c.args(["--enable-ra", "--ra-param=t0,4,1800", "--dhcp-range=2001:db8:7::,ra-stateless,64"]);
    c.args(["--dhcp-option=option6:dns-server,[2001:db8:7::1]", "--dhcp-option=option6:domain-search,test"]);
    c.args(["--address=/www.test/2001:db8:7::1"]);
    c.arg(format!("--pid-file={work}/dnsmasq.pid")).arg(format!("--dhcp-leasefile={work}/leases"));
    let names = Proc::start(c, &lab.work().join("dnsmasq.out"));
    std::fs::create_dir_all(lab.work().join("www")).expect("www");
    std::fs::write(lab.work().join("www/index.html"), "a page over IPv6\n").expect("page");
    let mut c = inside(ns);
    c.args(["python3", "-m", "http.server", "--bind", "::", "-d", &format!("{work}/www"), "80"]);
    (names, Proc::start(c, &lab.work().join("httpd.out")))
}

/// Everything is there: address, router, prefix, names from both sources, a name resolved, a page.
#[track_caller]
fn all_there(lab: &Lab, say: &dyn Fn() -> String) {
    let wait = |line: &str| {
        let ok = until(MINUTE, || lab.sh_for(MINUTE, line).status.success().then_some(()));
        let state = || lab.sh("ifconfig -a; ndp -r; ndp -p; cat $IO_PKT_ROOT/etc/resolv.conf || true");
        assert!(ok.is_some(), "`{line}`\n{}\n{}\n{}", state(), say(), lab.log());
    };
    wait("ifconfig ecm0 | grep 'inet6 fe80::' > a && ! grep -q tentative a");
    wait("ndp -r | grep -q 'fe80::.*%ecm0 if=ecm0, flags=O,'");
    wait("ifconfig ecm0 | grep autoconf > a; grep -q 2001:db8:7: a && ! grep -q tentative a");
    wait("netstat -rn -f inet6 | grep '^default' | grep -q ecm0");
    wait("grep -q 'from dhcp6c on ecm0, rtsold on ecm0' $IO_PKT_ROOT/etc/resolv.conf");
    wait("grep -q '^nameserver 2001:db8:7::1$' $IO_PKT_ROOT/etc/resolv.conf");
    assert!(lab.sh("ping6 -c 1 www").contains(" 0.0% packet loss"), "a name of the domain that was told");
    let page = lab.sh("io-pkt-run curl -6 -sS -m 50 http://www.test/");
    assert_eq!(page, "a page over IPv6\n", "{}", say());
    // What the system's resolver says of the short name, by the search list.
    assert!(lab.sh("io-pkt-run getent ahostsv6 www").contains("2001:db8:7::1"), "{}", say());
}

#[test]
fn plugged_in_pulled_out_and_plugged_in_again() {
    let mut lab = Lab::new("v6plug");
    let ns = Netns::new();
    lab.spawn(&format!("ip netns exec {} io-usb --foreground -d sim far=tap:t0", ns.name));
    lab.wait(MINUTE, "test -S $IO_PKT_ROOT/dev/usb");
    let far = "sysctl -qw net.ipv6.conf.t0.accept_dad=0 net.ipv6.conf.all.forwarding=1; \
               ip addr add 2001:db8:7::1/64 dev t0 nodad; ip link set t0 up";
    ns.exec(far);
    let (names, _pages) = network(&lab, &ns);
    lab.spawn("io-pkt-v6-hc --foreground -d ecm pnp -ptcpip");
    lab.wait(MINUTE, "if_up -p -r 1 ecm0");
    std::fs::write(lab.work().join("other"), "#!/bin/sh\necho $1 >> other.out\n").expect("script");
    lab.sh("chmod +x other && sysctl -w net.inet6.ip6.accept_rtadv=1 && ifconfig ecm0 up");
    let ra = lab.spawn("rtsold -d -O $PWD/other ecm0");
    let six = lab.spawn("dhcp6c -d -i ecm0");
    let outputs = |lab: &mut Lab| format!("{}{}", lab.proc(ra).output(), lab.proc(six).output());
    for round in 1..=2 {
        let text = outputs(&mut lab);
        all_there(&lab, &|| format!("round {round}: {text}{}", names.output()));
        // The flag O was heard, once a time.
        lab.wait(MINUTE, &format!("test \"$(grep -c '^ecm0$' other.out)\" = {round}"));
        lab.sh("io-usb -c unplug");
        // Nothing of it is left.
        lab.wait(MINUTE, "test \"$(ifconfig -l)\" = lo0");
        lab.wait(MINUTE, "test ! -e $IO_PKT_ROOT/etc/resolv.conf");
        assert_eq!(lab.sh("ndp -r; ndp -p"), "", "round {round}");
        let routes = lab.sh("netstat -rn -f inet6");
        assert!(!routes.contains("ecm0") && !routes.contains("default"), "{routes}");
        assert_ne!(
            lab.sh_for(MINUTE, "io-pkt-run curl -6 -sS -m 5 'http://[2001:db8:7::1]/'").status.code(),
            Some(0)
        );
        lab.sh("io-usb -c plug");
        lab.wait(MINUTE, "if_up -p -r 1 ecm0");
        ns.exec(far);
        lab.sh("ifconfig ecm0 up");
    }
    let text = outputs(&mut lab);
    all_there(&lab, &|| format!("at the end: {text}{}", names.output()));
    for p in [ra, six] {
        lab.proc(p).signal(15);
        assert!(lab.proc(p).wait(MINUTE).is_some(), "{}", lab.proc(p).output());
    }
    lab.sh("test ! -e $IO_PKT_ROOT/etc/resolv.conf");
}
