//! lsm-autoip in two stacks on one link: a bridge of a namespace of the test's own.

use iopkt_tests::Lab;
use iopkt_tests::netns::Netns;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

/// Two stacks whose TAPs are ports of one bridge: the plain one with tapk0, the one with SOCK=/alt has its own tapk0.
fn start(lab: &mut Lab) -> Netns {
    let ns = Netns::new();
    ns.exec("ip link add br0 type bridge forward_delay 0 && ip link set br0 up");
    let tap = |n: u8| format!("-d tap ifname=k{n},netns=/run/netns/{}", ns.name);
    lab.spawn(&format!("io-pkt-v4-hc --foreground {}", tap(0)));
    lab.spawn(&format!("io-pkt-v4-hc --foreground -i1 -ptcpip prefix=/alt {}", tap(1)));
    lab.wait(MINUTE, "if_up -p -r 1 tapk0 && SOCK=/alt if_up -p -r 1 tapk0");
    ns.exec("for k in k0 k1; do ip link set $k master br0; ip link set $k up; done");
    ns
}

fn address(lab: &Lab, sock: &str, name: &str) -> String {
    let line =
        format!("SOCK={sock} ifconfig {name} | sed -n 's/.*inet \\(alias \\)*\\(169.254[0-9.]*\\) .*/\\2/p'");
    lab.wait(MINUTE, &format!("test -n \"$({line})\""));
    lab.sh(&line).trim().to_string()
}

#[test]
fn two_that_want_one_address_get_two() {
    let mut lab = Lab::new("autoip");
    let ns = start(&mut lab);
    // The first keeps its own address beside it.
    lab.sh("ifconfig tapk0 10.7.0.2 netmask 255.255.255.0");
    lab.sh("mount -T io-pkt -o if=tapk0,ip=169.254.7.7,delay=500,debug lsm-autoip.so");
    assert_eq!(address(&lab, "", "tapk0"), "169.254.7.7");
    assert!(
        lab.sh("ifconfig tapk0")
            .contains("inet alias 169.254.7.7 netmask 0xffff0000 broadcast 169.254.255.255")
    );
    assert!(lab.sh("ifconfig tapk0").contains("inet 10.7.0.2 netmask 0xffffff00"));
    lab.sh("SOCK=/alt mount -Tio-pkt1 -o if=tapk0,ip=169.254.7.7,delay=500 lsm-autoip.so");
    let other = address(&lab, "/alt", "tapk0");
    assert_ne!(other, "169.254.7.7");
    assert!(lab.log().contains("169.254.7.7 is used by "), "{}", lab.log());
    assert!(lab.sh(&format!("ping -c 2 -i 0.2 {other}")).contains("2 packets received"));
    // Somebody claims it: it is defended once, then given up.
    let claim = "import socket,struct\ns=socket.socket(socket.AF_PACKET,socket.SOCK_RAW);s.bind(('br0',0))\n\
                 m=bytes([2,9,9,9,9,9]);a=socket.inet_aton('169.254.7.7')\n\
                 s.send(b'\\xff'*6+m+struct.pack('!HHHBBH',0x806,1,0x800,6,4,1)+m+a+bytes(6)+a+bytes(18))\n";
    std::fs::write(lab.work().join("claim.py"), claim).expect("write claim.py");
    let claim = format!("python3 {}/claim.py", lab.work().display());
    ns.exec(&claim);
    lab.wait(MINUTE, "sloginfo | grep -q '169.254.7.7 is ours, said to 02:09:09:09:09:09'");
    ns.exec(&claim);
    lab.wait(MINUTE, "sloginfo | grep -q 'tapk0 no longer has 169.254.7.7'");
    let third = address(&lab, "", "tapk0");
    assert!(third != other && third != "169.254.7.7", "{third}");
    // Unloading takes the address along, and nothing else.
    lab.sh("umount lsm-autoip.so");
    lab.wait(MINUTE, "! ifconfig tapk0 | grep -q 169.254");
    assert!(lab.sh("ifconfig tapk0").contains("10.7.0.2"));
}

#[test]
fn mistakes_are_named() {
    let mut lab = Lab::new("autoipbad");
    lab.spawn("io-pkt-v4-hc --foreground");
    lab.wait(MINUTE, "waitfor /dev/socket");
    for (options, says) in [
        ("if=ecm7", "ecm7"),
        ("if=lo0", "not an Ethernet interface"),
        ("if=lo0,ip=10.0.0.1", "169.254.1.0 to 169.254.254.255"),
        ("if=lo0,delay=9000", "delay=9000"),
        ("if=lo0,old", "not in this build"),
        ("if=lo0,quickly", "quickly"),
    ] {
        let (_, text) = lab.sh_fails(&format!("mount -T io-pkt -o {options} lsm-autoip.so"));
        let all = text + &lab.log();
        assert!(all.contains(says), "{options}: {all}");
    }
}
