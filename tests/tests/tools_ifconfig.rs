//! ifconfig, nicinfo, if_up, mount, umount and waitfor as a user types them, on the simulated modem.

use iopkt_tests::{Lab, modem};
use std::time::Duration;

const LO0: &str =
    "lo0: flags=8049<UP,LOOPBACK,RUNNING,MULTICAST> mtu 33192\n\tinet 127.0.0.1 netmask 0xff000000\n";

/// ecm0 with these flags, metric, status and address lines.
fn ecm0(head: &str, media: &str, status: &str, inet: &str) -> String {
    format!(
        "ecm0: flags={head} mtu 1500\n\taddress: 02:50:00:00:00:01\n\tmedia: Ethernet autoselect ({media})\n\
         \tstatus: {status}\n{inet}"
    )
}

const UP: &str = "8843<UP,BROADCAST,RUNNING,SIMPLEX,MULTICAST>";
const DOWN: &str = "8802<BROADCAST,SIMPLEX,MULTICAST>";
const INET: &str = "\tinet 10.0.0.184 netmask 0xff000000 broadcast 10.255.255.255\n";

#[test]
fn listings_byte_for_byte() {
    let mut lab = Lab::new("ifshow");
    modem::start(&mut lab, "io-pkt-v4-hc", "");
    let up = ecm0(UP, "100baseTX full-duplex", "active", INET);
    assert_eq!(lab.sh("ifconfig -a"), format!("{LO0}{up}"));
    assert_eq!(lab.sh("ifconfig"), lab.sh("ifconfig -a"));
    assert_eq!(lab.sh("ifconfig en0"), up, "the alias is accepted, the real name shown");
    assert_eq!(lab.sh("ifconfig -ab"), up);
    assert_eq!(lab.sh("ifconfig -ad"), "");
    assert_eq!(lab.sh("ifconfig ecm0 link"), up.replace(INET, ""));
    assert_eq!(
        lab.sh("ifconfig ecm0 inet6"),
        up.replace(INET, "").replace("\taddress: 02:50:00:00:00:01\n", "")
    );
    assert_eq!(lab.sh("ifconfig -l"), "lo0 ecm0\n");
    assert_eq!(lab.sh("ifconfig -lb; ifconfig -l -u; ifconfig -ld"), "ecm0\nlo0 ecm0\n\n");
    assert!(lab.sh("ifconfig -C").split_whitespace().any(|c| c == "lo"));
    let m = lab.sh("ifconfig -m ecm0");
    assert!(
        m.contains("\tstatus: active\n\tsupported Ethernet media:\n\t\tmedia autoselect\n\tinet "),
        "{m}"
    );
    assert_eq!(lab.sh("ifconfig -L ecm0"), up, "an IPv4 address has no lifetime");
    let json = lab.sh("ifconfig --json ecm0");
    for want in
        ["\"name\": \"ecm0\"", "\"alias\": \"en0\"", "\"status\": \"active\"", "\"netmask\": \"0xff000000\""]
    {
        assert!(json.contains(want), "{want}: {json}");
    }
    assert!(lab.sh("ifconfig --json -l").contains("\"lo0\""));
}

#[test]
fn down_takes_the_link_down() {
    let mut lab = Lab::new("ifdown");
    modem::start(&mut lab, "io-pkt-v4-hc", "");
    assert_eq!(lab.sh("ifconfig -s ecm0 && echo carrier"), "carrier\n");
    lab.sh("ifconfig ecm0 down");
    assert_eq!(lab.sh("ifconfig ecm0"), ecm0(DOWN, "none", "no carrier", INET));
    assert_eq!(lab.sh_fails("ifconfig -s ecm0"), (1, String::new()));
    assert_eq!(lab.sh("ifconfig -ls"), "lo0\n");
    assert_eq!(lab.sh_fails("if_up -l -r 2 -m 10 ecm0").0, 1);
    assert_eq!(lab.sh_fails("if_up -r 2 -m 10 ecm0").0, 1, "not up");
    lab.sh("if_up -p ecm0 && ifconfig ecm0 up && if_up -l -r 600 -m 100 ecm0 && if_up -a ecm0 lo0");
    assert_eq!(lab.sh("ifconfig ecm0"), ecm0(UP, "100baseTX full-duplex", "active", INET));
    lab.sh("ping -c 1 -w 30 10.1");
}

#[test]
fn addresses_flags_and_limits() {
    let mut lab = Lab::new("ifset");
    modem::start(&mut lab, "io-pkt-v4-hc", "");
    lab.sh("ifconfig ecm0 192.168.7.1/24 alias && ifconfig ecm0 inet 172.16.0.1 netmask 255.255.255.0 broadcast 172.16.0.255 alias");
    let more = "\tinet alias 192.168.7.1 netmask 0xffffff00 broadcast 192.168.7.255\n\
                \tinet alias 172.16.0.1 netmask 0xffffff00 broadcast 172.16.0.255\n";
    assert!(lab.sh("ifconfig ecm0").ends_with(&format!("{INET}{more}")), "{}", lab.sh("ifconfig ecm0"));
    // Without alias the first one is replaced; delete takes the first, -alias the named one.
    lab.sh("ifconfig ecm0 10.0.0.185 prefixlen 16 && ifconfig ecm0 172.16.0.1 -alias");
    let want = "\tinet 10.0.0.185 netmask 0xffff0000 broadcast 10.0.255.255\n\
                \tinet alias 192.168.7.1 netmask 0xffffff00 broadcast 192.168.7.255\n";
    assert!(lab.sh("ifconfig ecm0").ends_with(want), "{}", lab.sh("ifconfig ecm0"));
    lab.sh("ifconfig ecm0 delete");
    assert!(
        lab.sh("ifconfig ecm0").ends_with("\tinet 192.168.7.1 netmask 0xffffff00 broadcast 192.168.7.255\n")
    );
    lab.sh("ifconfig ecm0 metric 3 mtu 1400 link0 link2 debug media auto");
    let head =
        "ecm0: flags=d847<UP,BROADCAST,DEBUG,RUNNING,SIMPLEX,LINK0,LINK2,MULTICAST> metric 3 mtu 1400\n";
    assert!(lab.sh("ifconfig ecm0").starts_with(head), "{}", lab.sh("ifconfig ecm0"));
    // With debug the log says what the driver is told, and the driver says more itself.
    lab.sh("ifconfig ecm0 promisc && ifconfig ecm0 -promisc");
    lab.wait(Duration::from_secs(60), "sloginfo | grep -q 'ecm0: debug: Filter.*promisc: true'");
    // nicinfo is asked behind what was ordered before, on the driver's own thread.
    lab.sh("ifconfig ecm0 metric 0 mtu 1500 -link0 -link2 -debug && nicinfo ecm0");
    let lines = lab.log().matches("ecm0: debug: ").count();
    lab.sh("ifconfig ecm0 promisc && ifconfig ecm0 -promisc && nicinfo ecm0");
    assert_eq!(lab.log().matches("ecm0: debug: ").count(), lines, "silent again\n{}", lab.log());
    assert!(lab.sh("ifconfig ecm0").starts_with(&format!("ecm0: flags={UP} mtu 1500\n")));
}

#[test]
fn counters_are_shown_and_zeroed() {
    let mut lab = Lab::new("ifcount");
    modem::start(&mut lab, "io-pkt-v4-hc", "");
    lab.sh("ping -c 3 -i 0.1 -w 30 10.1");
    let v = lab.sh("ifconfig -v ecm0");
    let line = |what: &str| v.lines().find(|l| l.starts_with(&format!("\t{what}: "))).map(str::to_string);
    let (input, output) = (line("input").expect("input line"), line("output").expect("output line"));
    assert!(
        input.contains(" packets, ") && input.contains(" bytes") && !input.contains(": 0 packets"),
        "{v}"
    );
    assert!(output.contains(" packets, ") && !output.contains(": 0 packets"), "{v}");
    assert!(!lab.sh("ifconfig -z ecm0").contains(": 0 packets"), "shows what it zeroes");
    let v = lab.sh("ifconfig -v lo0 && ifconfig -z lo0 >/dev/null && ifconfig -v lo0");
    assert!(v.ends_with("\tinput: 0 packets, 0 bytes\n\toutput: 0 packets, 0 bytes\n"), "{v}");
    lab.sh("ping -c 1 -s 20000 -w 30 127.1");
    assert!(lab.sh("ifconfig -vh lo0").contains("K bytes\n"), "{}", lab.sh("ifconfig -vh lo0"));
}

#[test]
fn without_arp_nobody_is_asked() {
    let mut lab = Lab::new("noarp");
    modem::start(&mut lab, "io-pkt-v4-hc", "");
    lab.sh("ifconfig ecm0 -arp");
    assert!(lab.sh("ifconfig ecm0").contains("NOARP"));
    let sent = |lab: &Lab| {
        let s = lab.sh("netstat -s -p arp");
        let l = s.lines().find(|l| l.contains("arp requests sent")).unwrap_or("0 -");
        l.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0)
    };
    let before = sent(&lab);
    assert_eq!(lab.sh_fails("ping -c 1 -W 1 10.1").0, 1);
    assert_eq!(sent(&lab), before, "no request went out");
    lab.sh("ifconfig ecm0 arp && ping -c 2 -w 60 -o 10.1");
    assert!(sent(&lab) > before);
}

#[test]
fn errors_name_the_interface_and_the_fix() {
    let mut lab = Lab::new("iferr");
    modem::start(&mut lab, "io-pkt-v4-hc", "");
    for (line, want) in [
        ("ifconfig nope0", "ifconfig: nope0: Device not configured\n"),
        ("ifconfig nope0 10.1", "ifconfig: nope0: Device not configured\n"),
        ("ifconfig -s nope0", "ifconfig: nope0: Device not configured\n"),
        ("ifconfig lo1 create && ifconfig lo1 create", "ifconfig: lo1: File exists\n"),
        (
            "ifconfig lo0 destroy",
            "ifconfig: lo0: Operation not permitted (lo0 is a part of the stack and cannot be destroyed)\n",
        ),
        (
            "ifconfig ecm0 mtu 9000",
            "ifconfig: ecm0: Invalid argument (an MTU of 9000 is outside 68..=1500)\n",
        ),
        (
            "ifconfig ecm0 tso4",
            "ifconfig: ecm0: tso4: the hardware cannot do that (capabilities rx=0 tx=0)\n",
        ),
        (
            "ifconfig ecm0 media 1000baseT",
            "ifconfig: ecm0: media 1000baseT: the driver does not offer it; it offers: media autoselect\n",
        ),
        ("ifconfig ecm0 vlan 5 vlanif lo0", "ifconfig: vlan: VLAN is not in this build\n"),
        (
            "ifconfig ecm0 10.1 10.2",
            "ifconfig: ecm0: Invalid argument (is no point-to-point link, so an address has no peer)\n",
        ),
        ("ifconfig ecm0 bogus", "ifconfig: bogus: bad value\n"),
        ("ifconfig ecm0 -alias", "ifconfig: -alias: needs an address\n"),
        (
            "nicinfo lo0",
            "nicinfo: lo0: Device not configured (no such interface of a driver; ifconfig -a lists what there is)\n",
        ),
    ] {
        assert_eq!(lab.sh_fails(line), (1, want.to_string()), "{line}");
    }
    let e = lab.sh_fails("ifconfig ecm0 inet6 fe80::1").1;
    assert!(e.starts_with("ifconfig: ecm0: Address family not supported by protocol family"), "{e}");
    let e = lab.sh_fails("umount ecm0").1;
    assert!(e.contains("ifconfig ecm0 destroy"), "{e}");
    let e = lab.sh_fails("mount -T io-pkt devnp-nothere.so").1;
    assert!(
        e.starts_with("mount: devnp-nothere.so: No such file or directory (no devnp-nothere.so in "),
        "{e}"
    );
    lab.sh("ifconfig lo1 127.0.0.9 up && ifconfig lo1 destroy");
    assert_eq!(lab.sh("ifconfig -l"), "lo0 ecm0\n");
}

#[test]
fn mounting_tells_what_came_of_it() {
    let mut lab = Lab::new("ifmount");
    lab.spawn("io-usb --foreground -d sim");
    lab.sh("waitfor -t 60 /dev/usb");
    modem::loopback(&mut lab, "io-pkt-v4-hc");
    lab.sh("waitfor -t 60 /dev/socket && waitfor -t 1 /dev/socket/2 && waitfor /dev/socket/17 1");
    assert_eq!(lab.sh_fails("waitfor -t 0 /dev/serecm0").0, 1);
    assert_eq!(lab.sh("mount -v -T io-pkt -o verbose,name=wan devnp-ecm.so"), "devnp-ecm.so: wan0\n");
    lab.sh("waitfor -t 60 /dev/serecm0 && if_up -p -r 100 -m 100 wan0");
    let n = lab.sh("nicinfo wan0");
    let l: Vec<&str> = n.lines().collect();
    assert_eq!((l[0], &l[2][..19]), ("wan0:", "  Physical Node ID "), "{n}");
    assert!(l[2].ends_with(".. 025000 000001"), "{n}");
    let column = |l: &&&str| l.contains(" ..").then(|| l.rfind(".. ").unwrap_or(0));
    let columns: Vec<usize> = l.iter().filter_map(|l| column(&l)).collect();
    assert!(columns.len() > 10 && columns.iter().all(|c| *c == columns[0]), "values in one column: {n}");
    assert!(lab.sh("nicinfo --json en0").contains("\"label\": \"Current Operation Rate\""));
    // The names of a stack that was killed do not count.
    let pid = lab.proc(1).pid();
    lab.sh(&format!("kill -9 {pid}"));
    lab.proc(1).wait(Duration::from_secs(60)).expect("killed");
    assert_eq!(lab.sh_fails("waitfor -t 0 /dev/socket").0, 1);
    let (code, e) = lab.sh_fails("ping -c 1 127.1");
    assert!(code == 2 && e.contains("nobody answers at "), "not the kernel's answer: {e}");
}

#[test]
fn only_the_permitted_may_change() {
    let mut lab = Lab::new("ifperm");
    modem::loopback(&mut lab, "io-pkt-v4-hc");
    // Everybody may reach the root's names, as /run/io-pkt lets everybody; the tool lies where nobody can run it.
    lab.sh("chmod 755 $IO_PKT_ROOT $IO_PKT_ROOT/.. $IO_PKT_ROOT/dev && mkdir -p -m 755 any && chmod 755 . && cp -L $(command -v iopkt-utils) any/ifconfig && chmod 755 any/ifconfig");
    let other = "setpriv --reuid 65534 --regid 65534 --clear-groups any/ifconfig";
    assert_eq!(lab.sh(&format!("{other} -a")), LO0);
    for change in ["lo0 metric 1", "lo1 create", "lo0 10.1 alias", "lo0 down"] {
        let e = lab.sh_fails(&format!("{other} {change}"));
        let name = change.split(' ').next().expect("name");
        assert_eq!(
            (e.0, e.1.starts_with(&format!("ifconfig: {name}: Operation not permitted"))),
            (1, true),
            "{change}: {}",
            e.1
        );
    }
    assert_eq!(lab.sh("ifconfig -a"), LO0);
    // Without a raw socket ping still asks and hears; what needs one says so.
    lab.sh("cp any/ifconfig any/ping && cp any/ifconfig any/traceroute");
    let other = "setpriv --reuid 65534 --regid 65534 --clear-groups any";
    assert!(lab.sh(&format!("{other}/ping -c 1 -w 60 127.1")).contains("1 packets received, 0% packet loss"));
    let only = "only root and the user that io-pkt runs as may do that\n";
    assert_eq!(lab.sh_fails(&format!("{other}/ping -f 127.1")), (2, format!("ping: -f: {only}")));
    assert_eq!(lab.sh_fails(&format!("{other}/ping -R 127.1")), (2, format!("ping: -R: {only}")));
    assert!(lab.sh_fails(&format!("{other}/traceroute 127.1")).1.contains("raw sockets are for root"));
}
