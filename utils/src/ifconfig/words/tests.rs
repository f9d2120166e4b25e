//! Lines and what they ask for.

use super::*;

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_string).collect()
}

fn of(line: &str) -> Plan {
    plan("ecm0", &words(line)).unwrap_or_else(|e| panic!("{line}: {}", e.message))
}

fn refused(line: &str) -> String {
    plan("ecm0", &words(line)).expect_err(line).message
}

#[test]
fn the_documented_short_address() {
    let Request::AddAddr { addr, replace, .. } = &of("10.184").requests[0] else { panic!("no address") };
    assert_eq!((addr.addr.to_string().as_str(), addr.prefix_len, *replace), ("10.0.0.184", 8, true));
}

#[test]
fn masks_aliases_and_peers() {
    let p = of("inet 192.168.1.2 netmask 0xffffff80 broadcast 192.168.1.127 alias mtu 1400 up");
    let Request::SetMtu { mtu: 1400, .. } = p.requests[0] else { panic!("{p:?}") };
    let Request::AddAddr { addr, replace: false, .. } = &p.requests[1] else { panic!("{p:?}") };
    assert_eq!((addr.prefix_len, addr.broadcast.is_some()), (25, true));
    assert_eq!(p.requests[2], Request::SetFlags { name: "ecm0".into(), set: 1, clear: 0 });
    let p = of("10.0.0.1 10.0.0.2");
    assert!(
        matches!(&p.requests[0], Request::AddAddr { addr, .. } if addr.peer.is_some() && addr.prefix_len == 8)
    );
    assert_eq!(of("10.1/24"), of("10.1 prefixlen 24"));
    assert_eq!(of("10.1 netmask 255.255.255.0"), of("10.1 netmask 0xffffff00"));
    assert_eq!(of("delete").requests, [Request::DelAddr { name: "ecm0".into(), addr: None }]);
    for l in ["10.1 -alias", "10.1 delete", "delete 10.1", "inet 10.1 remove", "-alias 10.1"] {
        assert!(matches!(&of(l).requests[0], Request::DelAddr { addr: Some(_), .. }), "{l}");
    }
    assert!(
        matches!(&of("inet6 fe80::1 -alias").requests[0], Request::DelAddr { addr: Some(a), .. } if a.is_ipv6())
    );
}

#[test]
fn flags_and_capabilities() {
    let flags = |set, clear| vec![Request::SetFlags { name: "ecm0".into(), set, clear }];
    assert_eq!(of("up down").requests, flags(0, 1));
    assert_eq!(of("-arp debug link0 -link1").requests, flags(0x1084, 0x2000));
    assert_eq!(of("arp -debug link2 -link0").requests, flags(0x4000, 0x1084));
    let caps = |l: &str| of(l).caps.map(|c| (c.rx, c.tx));
    assert_eq!(caps("ip4csum-tx -tso4"), Some(((0, 0), (1, 0x20))));
    assert_eq!(caps("udp4csum -udp4csum-rx"), Some(((0, 4), (4, 0))));
    assert_eq!(caps("tcp6csum udp6csum tcp4csum tso6"), Some(((0x1a, 0), (0x5a, 0))));
    assert_eq!(caps("up"), None);
}

#[test]
fn the_words_of_inet6() {
    let of6 = |l: &str| match of(l).requests.remove(0) {
        Request::Nd(NdRequest::AddAddr { addr, life, clear, .. }) => (addr, life, clear),
        r => panic!("{l}: {r:?}"),
    };
    let (a, life, clear) = of6("inet6 2001:db8::1 prefixlen 48 alias anycast deprecated pltime 9 vltime 10");
    assert_eq!((a.addr.to_string().as_str(), a.prefix_len), ("2001:db8::1", 48));
    assert_eq!((life.flags, clear), (in6::ANYCAST | in6::DEPRECATED, 0));
    assert_eq!((life.preferred, life.valid), (Some(9), Some(10)));
    let (a, life, clear) = of6("inet6 2001:db8::1/64 -tentative -anycast -deprecated pltime infty -vltime");
    assert_eq!((a.prefix_len, life.flags), (64, in6::NODAD));
    assert_eq!(clear, in6::TENTATIVE | in6::ANYCAST | in6::DEPRECATED);
    assert_eq!((life.preferred, life.valid), (None, None));
    assert!(of("inet6 2001:db8:: eui64").eui64);
    assert_eq!(of6("inet6 2001:db8::1 tentative").1.flags, in6::TENTATIVE);
}

#[test]
fn create_comes_first_and_destroy_alone() {
    let p = of("127.0.0.2 mtu 1500 create");
    assert!(matches!(p.requests[0], Request::Create { .. }) && p.requests.len() == 3, "{p:?}");
    assert_eq!(of("destroy").requests, [Request::Destroy { name: "ecm0".into() }]);
    for l in [
        "destroy up",
        "10.1 destroy",
        "create destroy",
        "mtu 1500 destroy",
        "destroy delete",
        "media auto destroy",
    ] {
        assert_eq!(refused(l), "destroy: goes with no other parameter", "{l}");
    }
}

#[test]
fn bad_lines_say_what() {
    for (line, want) in [
        ("netmask", "netmask: value is missing"),
        ("10.1 netmask 255.0.255.0", "netmask 255.0.255.0: bad value"),
        ("10.1 netmask nosuchnet", "netmask nosuchnet: bad value"),
        ("mtu 0", "mtu 0: bad value"),
        ("mtu x", "mtu x: bad value"),
        ("metric -1", "metric -1: bad value"),
        ("bogus", "bogus: bad value"),
        ("-bogus", "-bogus: unknown parameter"),
        ("tso4-rx", "tso4-rx: bad value"),
        ("10.1 10.2 10.3", "10.3: bad value"),
        ("10.1/33", "prefix length 33: bad value"),
        ("netmask 255.0.0.0", "netmask: needs an address"),
        ("alias", "alias: needs an address"),
        ("-alias", "-alias: needs an address"),
        ("10.1 alias delete", "alias and delete exclude each other"),
        ("vlan 10 vlanif wm0", "vlan: VLAN is not in this build"),
        ("agrport wm0", "agrport: link aggregation (agr) is not in this build"),
        ("tunnel 10.1 10.2", "tunnel: a tunnel interface (gif, gre) is not in this build"),
        ("vhid 1", "vhid: CARP is not in this build"),
        ("ssid home", "ssid: 802.11 is not in this build"),
        ("-nwkey", "-nwkey: 802.11 is not in this build"),
        ("mediaopt hostap", "mediaopt hostap: 802.11 is not in this build"),
        ("mode 11b", "mode 11b: modes are of 802.11, which is not in this build"),
        ("10.1 anycast", "anycast: bad value"),
        ("inet6 anycast", "anycast: needs an address"),
        ("inet6 2001:db8::1 pltime", "pltime: value is missing"),
        ("inet6 2001:db8::1 vltime x", "vltime x: bad value"),
        ("inet6 2001:db8::1 -eui64", "-eui64: unknown parameter"),
        ("inet6 2001:db8::1 autoconf", "autoconf: the stack says so of an address; it cannot be set"),
        ("inet6 2001:db8::1 tunnel ::1 ::2", "tunnel: a tunnel interface (gif, gre) is not in this build"),
        ("inet6 delete", "delete: name the IPv6 address (inet6 ADDRESS -alias)"),
        ("inet6 10.1", "10.1: bad value"),
        ("media token", "media token: unknown Ethernet medium"),
        ("atalk 1.2", "atalk: not in this build"),
    ] {
        assert_eq!(refused(line), want, "{line}");
    }
    assert!(refused("link 2:0:0:0:0:1").contains("cannot change"));
}
