//! What the IPv6 variant has beyond the others.

use iopkt_client::Session;
use iopkt_ctl::{Reply, Request};
use iopkt_sys::Root;
use std::net::IpAddr;
use std::process::{Command, Output};

fn run(root: &Root, words: &str) -> Output {
    let mut c = Command::new(env!("CARGO_BIN_EXE_io-pkt-v6-hc"));
    c.args(words.split_whitespace()).env("IO_PKT_ROOT", root.dir()).output().unwrap()
}

#[test]
fn it_speaks_both_families() {
    let root = Root::at(std::env::temp_dir().join(format!("iopkt-v6-{}", std::process::id())));
    assert!(run(&root, "-p tcpip forward6").status.success());
    let s = Session::open_at(&root.path("/dev/socket")).unwrap();
    for family in ["1", "2", "17", "24"] {
        Session::open_at(&root.path("/dev/socket").join(family)).unwrap();
    }
    // AF_INET6: a stream, a datagram socket; AF_INET beside it.
    for (family, ty) in [(10, 1), (10, 2), (2, 1)] {
        assert!(s.socket(family, ty, 0, 0).is_ok(), "{family} {ty}");
    }
    let Reply::Interfaces(list) = s.ctl(&Request::Interfaces { name: Some("lo0".into()) }).unwrap() else {
        panic!("no interfaces")
    };
    let has: Vec<IpAddr> = list[0].addrs.iter().map(|a| a.addr).collect();
    // As it is on the wire: the interface is the zone.
    assert_eq!(has, ["127.0.0.1", "::1", "fe80::1"].map(|a| a.parse::<IpAddr>().unwrap()));
    // The tree of IPv6, to read and to write.
    let name = || "net.inet6.ip6.hlim".to_string();
    let hlim = |want: &str| {
        let r = s.ctl(&Request::Sysctl { name: name(), value: None }).unwrap();
        assert_eq!(r, Reply::Sysctl(vec![(name(), want.to_string())]));
    };
    hlim("64");
    assert_eq!(s.ctl(&Request::Sysctl { name: name(), value: Some("65".into()) }).unwrap(), Reply::Ok);
    hlim("65");
    let name = "net.inet6.ip6.forwarding".to_string();
    let r = s.ctl(&Request::Sysctl { name: name.clone(), value: None }).unwrap();
    assert_eq!(r, Reply::Sysctl(vec![(name, "1".to_string())]), "forward6");
    assert_eq!(s.ctl(&Request::Shutdown).unwrap(), Reply::Ok);
    while root.path("/dev/socket").exists() {
        std::thread::yield_now();
    }
    std::fs::remove_dir_all(root.dir()).unwrap();
}

#[test]
fn it_carries_ipv6() {
    // What the other variants' tests look for is there to be found.
    let b = std::fs::read(env!("CARGO_BIN_EXE_io-pkt-v6-hc")).unwrap();
    assert!(b.windows(13).any(|w| w == b"11iopkt_inet6"));
}
