//! rtadvd while things change: the configuration, the interface's addresses, forwarding, other routers of the link. Linux's kernel is
//! the host, rdisc6 asks, radvd is the other router.

use iopkt_tests::netns::Netns;
use iopkt_tests::{Lab, Proc, until};
use std::process::Command;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

/// io-pkt-v6-hc that forwards, tapk0 up with 2001:db8:1::1; a host at the other end.
fn start(lab: &mut Lab) -> Netns {
    let ns = Netns::new();
    let tap = format!("-d tap ifname=k0,netns=/run/netns/{}", ns.name);
    lab.spawn(&format!("io-pkt-v6-hc --foreground {tap} -p tcpip forward6"));
    lab.wait(MINUTE, "if_up -p -r 1 tapk0");
    ns.exec(
        "sysctl -qw net.ipv6.conf.k0.accept_dad=0 net.ipv6.conf.k0.accept_ra=2 net.ipv6.conf.k0.accept_ra_rt_info_max_plen=64; \
         ip link set k0 up",
    );
    lab.sh("ifconfig tapk0 inet6 2001:db8:1::1 prefixlen 64 -tentative");
    ns
}

/// Waits until a shell line in the namespace succeeds.
#[track_caller]
fn wait(lab: &Lab, ns: &Netns, line: &str) {
    let ok =
        until(MINUTE, || ns.exec(&format!("if {line}; then echo yes; fi")).contains("yes").then_some(()));
    assert!(ok.is_some(), "`{line}`: {}\n{}", ns.exec("ip -6 addr; ip -6 route"), lab.log());
}

fn conf(lab: &Lab, text: &str) {
    std::fs::write(lab.work().join("rtadvd.conf"), format!("default:maxinterval#4:mininterval#3:\n{text}"))
        .expect("conf");
}

#[test]
fn a_new_configuration_takes_back_what_went() {
    let mut lab = Lab::new("v6reload");
    let ns = start(&mut lab);
    conf(
        &lab,
        "tapk0:addr=\"2001:db8:a::\":rdnss=\"2001:db8::53\":dnssl=\"a.test\":rtprefix=\"2001:db8:99::\":rtplen#48:mtu#1400:\n",
    );
    let d = lab.spawn("rtadvd -c rtadvd.conf -p pid tapk0");
    wait(&lab, &ns, "ip -6 addr show dev k0 | grep -q 'inet6 2001:db8:a:'");
    wait(&lab, &ns, "ip -6 route | grep -q '^2001:db8:99::/48 via fe80'");
    // As another program sees it.
    let seen = ns.exec("rdisc6 -1 -r 20 k0");
    for want in [
        "2001:db8:a::/64",
        "Recursive DNS server     : 2001:db8::53",
        "a.test",
        "1400 bytes",
        "Router lifetime           :           12",
    ] {
        assert!(seen.contains(want), "{want}: {seen}");
    }
    // A mistake is told, and nothing changes.
    conf(&lab, "tapk0:bogus#1:\n");
    lab.sh("kill -HUP $(cat pid)");
    let told = until(MINUTE, || lab.proc(d).output().contains("unknown field").then_some(()));
    assert!(told.is_some(), "{}", lab.proc(d).output());
    assert!(ns.exec("rdisc6 -1 -r 20 k0").contains("2001:db8:a::/64"));
    conf(&lab, "tapk0:addr=\"2001:db8:b::\":\n");
    lab.sh("kill -HUP $(cat pid)");
    wait(&lab, &ns, "ip -6 addr show dev k0 | grep -q 'inet6 2001:db8:b:'");
    wait(&lab, &ns, "ip -6 addr show dev k0 | grep 'inet6 2001:db8:a:' | grep -q deprecated");
    wait(&lab, &ns, "! ip -6 route | grep -q '^2001:db8:99::'");
    let seen = ns.exec("rdisc6 -1 -r 20 k0");
    assert!(seen.contains("2001:db8:b::/64") && !seen.contains("1400 bytes"), "{seen}");
    // What is advertised, on request.
    lab.sh("kill -USR1 $(cat pid)");
    lab.wait(MINUTE, "grep -q 'prefix 2001:db8:b::/64 vltime 2592000' $IO_PKT_ROOT/run/rtadvd.dump");
    // Who stops forwarding is no default router from then on.
    wait(&lab, &ns, "ip -6 route | grep -q '^default via fe80'");
    lab.sh("sysctl -w net.inet6.ip6.forwarding=0");
    wait(&lab, &ns, "! ip -6 route | grep -q '^default'");
    lab.sh("sysctl -w net.inet6.ip6.forwarding=1");
    wait(&lab, &ns, "ip -6 route | grep -q '^default via fe80'");
    lab.proc(d).signal(15);
    assert!(lab.proc(d).wait(MINUTE).is_some_and(|s| s.success()), "{}", lab.proc(d).output());
    wait(&lab, &ns, "! ip -6 route | grep -q '^default'");
    lab.sh("test ! -e pid");
}

#[test]
fn the_interface_s_networks_and_other_routers() {
    let mut lab = Lab::new("v6own");
    let ns = start(&mut lab);
    conf(&lab, "tapk0:chlim#61:mtu=auto:\n");
    let d = lab.spawn("rtadvd -c rtadvd.conf tapk0");
    wait(&lab, &ns, "ip -6 addr show dev k0 | grep -q 'inet6 2001:db8:1:'");
    assert!(ns.exec("rdisc6 -1 -r 20 k0").contains("1500 bytes"));
    // The network is renumbered.
    lab.sh("ifconfig tapk0 inet6 2001:db8:2::1 prefixlen 64 -tentative && ifconfig tapk0 inet6 2001:db8:1::1 delete");
    wait(&lab, &ns, "ip -6 addr show dev k0 | grep -q 'inet6 2001:db8:2:'");
    wait(&lab, &ns, "ip -6 addr show dev k0 | grep 'inet6 2001:db8:1:' | grep -q deprecated");
    // Down and up: it is not said to nobody, and goes on.
    lab.sh("ifconfig tapk0 down");
    let is = |lab: &mut Lab, what: &str| {
        until(MINUTE, || lab.proc(d).output().contains(what).then_some(())).is_some()
    };
    assert!(is(&mut lab, "it is down"));
    lab.sh("ifconfig tapk0 up");
    wait(&lab, &ns, "rdisc6 -1 -r 3 -w 2000 k0 | grep -q 2001:db8:2::/64");
    // Another router of the link says otherwise.
    let (file, pid) = (lab.work().join("radvd.conf"), lab.work().join("radvd.pid"));
    let text = "interface k0 { AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4; AdvCurHopLimit 32; AdvManagedFlag on; \
                prefix 2001:db8:2::/64 { AdvValidLifetime 9000; AdvPreferredLifetime 8000; }; };\n";
    std::fs::write(&file, text).expect("radvd.conf");
    let mut c = Command::new("ip");
    c.args(["netns", "exec", &ns.name, "radvd", "-n", "-m", "stderr", "-C"]).arg(&file).arg("-p").arg(&pid);
    let radvd = Proc::start(c, &lab.work().join("radvd.out"));
    for what in [
        "the hop limit (chlim) is 32 there, 61 here",
        "the flag M (raflags) is true there, false here",
        "the valid lifetime of 2001:db8:2::/64 is 9000 there, 2592000 here",
    ] {
        assert!(is(&mut lab, what), "{what}: {}\n{}", lab.proc(d).output(), radvd.output());
    }
}
