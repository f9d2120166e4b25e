//! The whole product over devnp-afp: a veth, whose other end is Linux's stack in a namespace of its own.

use iopkt_tests::Lab;
use iopkt_tests::netns::Netns;
use std::process::Command;
use std::time::Duration;

/// A stack on `va` (10.7.0.2) in one namespace, the kernel on `vb` (10.7.0.1) in another.
fn start(lab: &mut Lab) -> (Netns, Netns) {
    let (ours, theirs) = (Netns::new(), Netns::new());
    ours.exec(&format!("ip link add name va type veth peer name vb netns {}", theirs.name));
    theirs.exec("ip addr add 10.7.0.1/24 dev vb && ip link set vb up");
    lab.spawn(&format!("io-pkt-v4-hc --foreground -d afp ifname=va,up,netns=/run/netns/{}", ours.name));
    lab.wait(Duration::from_secs(60), "if_up -p -r 1 afp0");
    lab.sh("ifconfig afp0 10.7.0.2 netmask 255.255.255.0 && if_up -l -r 50 -m 100 afp0");
    (ours, theirs)
}

#[test]
fn bytes_both_ways_with_and_without_offloads() {
    let mut lab = Lab::new("afp");
    let (ours, theirs) = start(&mut lab);
    assert!(theirs.exec("ping -c 3 -i 0.2 -W 10 10.7.0.2").contains(" 0% packet loss"));
    assert!(theirs.exec("ping -c 2 -i 0.2 -W 10 -s 20000 10.7.0.2").contains(" 0% packet loss"), "fragments");
    lab.sh("head -c 8000000 /dev/urandom > blob");
    let want = lab.sh("md5sum < blob | cut -d' ' -f1");
    lab.spawn("io-pkt-run python3 -m http.server 8000");
    let work = lab.work().display().to_string();
    let mut c = Command::new("ip");
    c.args(["netns", "exec", &theirs.name, "busybox", "httpd", "-f", "-p", "10.7.0.1:80", "-h", &work]);
    let _server = iopkt_tests::Proc::start(c, &lab.work().join("httpd.out"));
    let get = "curl -sS --retry 20 --retry-connrefused --retry-delay 1";
    for offloads in [true, false] {
        if !offloads {
            // The kernel cuts and sums itself, on both sides.
            let off = "tx off tso off gso off gro off";
            theirs.exec(&format!("ethtool -K vb {off}"));
            ours.exec(&format!("ethtool -K va {off}"));
            lab.sh("ifconfig afp0 -tso4 -tcp4csum");
        }
        let sent = format!("{get} http://10.7.0.2:8000/blob | md5sum | cut -d' ' -f1");
        assert_eq!(theirs.exec(&sent), want, "we send, offloads {offloads}");
        let received = format!("io-pkt-run {get} http://10.7.0.1/blob | md5sum | cut -d' ' -f1");
        assert_eq!(lab.sh(&received), want, "we receive, offloads {offloads}");
    }
    assert!(lab.sh("nicinfo afp0").contains("packet socket on va"));
}

/// Who may not gets told what it takes.
#[test]
fn without_the_right_it_says_which() {
    let mut lab = Lab::new("afpright");
    let ns = Netns::new();
    ns.exec("ip link add name va type veth peer name vb");
    lab.spawn(&format!(
        "setpriv --bounding-set=-net_raw --inh-caps=-net_raw io-pkt-v4-hc --foreground -d afp ifname=va,netns=/run/netns/{}",
        ns.name
    ));
    let said = iopkt_tests::until(Duration::from_secs(60), || {
        let log = lab.log();
        log.contains("it takes CAP_NET_RAW").then_some(log)
    });
    assert!(said.is_some(), "the log says what is missing:\n{}", lab.log());
}
