//! dhcp.client: with the simulated modem's own server, and with busybox's udhcpd behind a TAP.

use iopkt_tests::netns::Netns;
use iopkt_tests::{Lab, Proc};
use std::process::Command;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

/// Ends the client of an interface, and waits until it is gone.
fn end(lab: &Lab, signal: &str, name: &str) {
    lab.sh(&format!(
        "read pid < $IO_PKT_ROOT/run/dhcp.client.{name}.pid; kill -{signal} $pid; while kill -0 $pid 2>/dev/null; do sleep 0.05; done"
    ));
}

#[test]
fn a_modem_gives_address_route_and_names() {
    let mut lab = Lab::new("dhcpmodem");
    lab.spawn("io-usb --foreground -d sim");
    lab.spawn("io-pkt-v4-hc --foreground -d ecm pnp");
    lab.wait(MINUTE, "if_up -p -r 1 ecm0");
    lab.sh("dhcp.client -u -i ecm0 -h laptop");
    let shown = lab.sh("ifconfig ecm0");
    assert!(shown.contains("inet 10.0.0.") && shown.contains("netmask 0xff000000"), "{shown}");
    assert!(
        lab.sh("netstat -rn").lines().any(|l| l.starts_with("default") && l.contains("10.0.0.1")),
        "default route"
    );
    assert!(lab.sh("cat $IO_PKT_ROOT/etc/resolv.conf").contains("nameserver 10.0.0.1"));
    assert!(lab.sh("ping -c 1 10.0.0.1").contains("1 packets received"));
    // A second one is told of the first.
    let (_, text) = lab.sh_fails("dhcp.client -u -i ecm0");
    assert!(text.contains("is at work on it already"), "{text}");
    // It gives everything back.
    end(&lab, "TERM", "ecm0");
    let shown = lab.sh("ifconfig ecm0");
    assert!(!shown.contains("inet "), "{shown}");
    assert!(!lab.sh("netstat -rn").contains("default"));
    lab.sh("test ! -e $IO_PKT_ROOT/etc/resolv.conf");
    // SIGPWR: it ends, the address stays.
    lab.sh("dhcp.client -u -n -R");
    end(&lab, "PWR", "ecm0");
    assert!(lab.sh("ifconfig ecm0").contains("inet 10.0.0."));
    assert!(!lab.sh("netstat -rn").contains("default"), "-R");
    lab.sh("test ! -e $IO_PKT_ROOT/etc/resolv.conf");
}

/// A stack with a TAP whose other end is in a namespace, with a udhcpd there.
fn with_udhcpd(lab: &mut Lab, more: &str) -> (Netns, Proc) {
    let ns = Netns::new();
    lab.spawn(&format!("io-pkt-v4-hc --foreground -d tap ifname=k0,netns=/run/netns/{}", ns.name));
    lab.wait(MINUTE, "if_up -p -r 1 tapk0");
    ns.exec("ip addr add 10.7.0.1/24 dev k0 && ip link set k0 up");
    let work = lab.work().display().to_string();
    let conf = format!(
        "start 10.7.0.50\nend 10.7.0.59\ninterface k0\nlease_file {work}/leases\npidfile {work}/udhcpd.pid\n\
         option subnet 255.255.255.0\noption router 10.7.0.1\noption dns 10.7.0.1 10.7.0.9\noption domain example.org\n\
         option lease 120\nmin_lease 60\n{more}"
    );
    std::fs::write(format!("{work}/udhcpd.conf"), conf).expect("write udhcpd.conf");
    std::fs::write(format!("{work}/leases"), "").expect("write leases");
    let mut c = Command::new("ip");
    c.args(["netns", "exec", &ns.name, "busybox", "udhcpd", "-f", &format!("{work}/udhcpd.conf")]);
    let server = Proc::start(c, &lab.work().join("udhcpd.out"));
    (ns, server)
}

#[test]
fn another_server_another_script() {
    let mut lab = Lab::new("dhcpudhcpd");
    let (ns, server) = with_udhcpd(&mut lab, "");
    let dir = lab.root().join("etc/dhcp");
    std::fs::create_dir_all(&dir).expect("make etc/dhcp");
    let out = lab.work().join("script.out").display().to_string();
    let script = format!(
        "#!/bin/sh\necho \"$1 $2 $new_ip_address $new_subnet_mask $new_routers $new_domain_name\" >> {out}\n"
    );
    std::fs::write(dir.join("dhcp-up"), script).expect("write the script");
    lab.sh("chmod +x $IO_PKT_ROOT/etc/dhcp/dhcp-up && ifconfig tapk0 192.168.9.9");
    // As an alias beside an address, by unicast replies, with an identifier and a time limit.
    lab.sh("dhcp.client -u -a -b -D box -T 60 -i tapk0");
    let shown = lab.sh("ifconfig tapk0");
    assert!(shown.contains("inet 192.168.9.9") && shown.contains("inet alias 10.7.0.5"), "{shown}");
    assert!(shown.contains("netmask 0xffffff00"), "{shown}");
    assert!(lab.sh("cat $IO_PKT_ROOT/etc/resolv.conf").ends_with(
        "\n# from dhcp.client on tapk0\nsearch example.org\nnameserver 10.7.0.1\nnameserver 10.7.0.9\n"
    ));
    let ours = lab.sh("ifconfig tapk0 | grep -o '10[.]7[.]0[.]5[0-9] ' | head -1");
    assert!(ns.exec(&format!("ping -c 1 -W 5 {ours}")).contains("1 received"));
    end(&lab, "TERM", "tapk0");
    assert!(!lab.sh("ifconfig tapk0").contains("10.7.0.5"));
    let events = lab.sh(&format!("cat {out}"));
    let lines: Vec<&str> = events.lines().collect();
    assert!(
        lines[0].starts_with("tapk0 BOUND 10.7.0.5")
            && lines[0].ends_with("255.255.255.0 10.7.0.1 example.org"),
        "{events}"
    );
    assert!(lines[1].starts_with("tapk0 RELEASE 10.7.0.5"), "{events}");
    drop(server);
    // Nobody answers.
    let (code, text) = lab.sh_fails("dhcp.client -u -T 2 -i tapk0");
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("no DHCP server has answered"), "{text}");
    // In the background it ends by itself, and says so in the log.
    lab.sh("dhcp.client -T 1 -i tapk0");
    lab.wait(MINUTE, "test $(sloginfo | grep -c 'no DHCP server has answered') -ge 2");
}

#[test]
fn an_address_that_is_in_use_is_declined() {
    let mut lab = Lab::new("dhcpused");
    // The only address is in use, without the server's knowledge.
    let (ns, _server) = with_udhcpd(&mut lab, "end 10.7.0.50\n");
    ns.exec("ip addr add 10.7.0.50/32 dev lo");
    let (code, text) = lab.sh_fails("dhcp.client -u -A 1 -i tapk0");
    assert!(code == 3 && text.contains("in use: given up (-A)"), "{code} {text}");
    assert!(lab.log().contains("10.7.0.50 is used by "), "{}", lab.log());
    assert!(!lab.sh("ifconfig tapk0").contains("inet "));
}

#[test]
fn without_an_interface_it_says_so() {
    let mut lab = Lab::new("dhcpnone");
    let (code, text) = lab.sh_fails("dhcp.client -u");
    assert_eq!(code, 1, "{text}");
    lab.spawn("io-pkt-v4-hc --foreground");
    lab.wait(MINUTE, "waitfor /dev/socket");
    for (line, says) in [
        ("dhcp.client -u -I 0", "no Ethernet interface; load its driver first"),
        ("dhcp.client -I 1 -i ecm0", "ecm0: no such interface"),
        ("dhcp.client -I 0 -i lo0", "lo0: not an Ethernet interface"),
    ] {
        let (code, text) = lab.sh_fails(line);
        assert!(code == 2 && text.contains(says), "{line}: {code} {text}");
    }
}
