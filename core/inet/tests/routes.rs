//! Routes: connected, default, host, reject, blackhole, duplicates, changes, what goes with an address.

mod common;
use common::*;
use iopkt_base::{Errno, Instant};
use iopkt_ctl::{AddrInfo, Reply, Request, RouteInfo, iff, rtf};
use iopkt_stack::{RtKind, RtNote, Shard, Why};

fn route(dst: &str, plen: u8, gw: Option<&str>) -> RouteInfo {
    RouteInfo { gateway: gw.map(ip), ..RouteInfo::to(ip(dst), plen) }
}

fn errno(r: Reply) -> Option<Errno> {
    match r {
        Reply::Ok => None,
        Reply::Err { errno, .. } => Some(errno),
        other => panic!("{other:?}"),
    }
}

fn add(h: &mut Host, r: RouteInfo) -> Option<Errno> {
    let reply = h.ctl(Request::AddRoute(r));
    errno(reply)
}

fn del(h: &mut Host, r: RouteInfo) -> Option<Errno> {
    let reply = h.ctl(Request::DelRoute(r));
    errno(reply)
}

fn get(h: &mut Host, dst: &str) -> Option<RouteInfo> {
    match h.ctl(Request::GetRoute { dst: ip(dst) }) {
        Reply::Routes { mut list, .. } => list.pop(),
        Reply::Err { errno: Errno::ESRCH, .. } => None,
        other => panic!("{other:?}"),
    }
}

fn list(h: &mut Host) -> Vec<String> {
    let (mut out, mut cursor) = (Vec::new(), 0);
    loop {
        let Reply::Routes { list, next } = h.ctl(Request::Routes { cursor }) else { panic!() };
        out.extend(list.iter().map(|r| {
            let fl: String = rtf::LETTERS.iter().filter(|l| r.flags & l.0 != 0).map(|l| l.1).collect();
            let gw = r.gateway.map_or(format!("link#{}", r.ifindex), |g| g.to_string());
            format!("{}/{} {gw} {fl} {}", r.dst, r.prefix_len, r.ifname.as_deref().unwrap_or("-"))
        }));
        match next {
            0 => return out,
            n => cursor = n,
        }
    }
}

#[test]
fn the_table_of_a_configured_host() {
    let mut h = Host::new(1);
    assert_eq!(add(&mut h, route("0.0.0.0", 0, Some("10.0.0.254"))), None);
    assert_eq!(
        list(&mut h),
        [
            "0.0.0.0/0 10.0.0.254 UGS eth0",
            "10.0.0.0/24 link#2 UC eth0",
            "10.0.0.1/32 127.0.0.1 UH lo0",
            "127.0.0.0/8 127.0.0.1 UGRS lo0",
            "127.0.0.1/32 127.0.0.1 UH lo0",
        ]
    );
    h.end();
}

#[test]
fn the_longest_prefix_wins_and_use_is_counted() {
    let mut h = Host::new(1);
    assert_eq!(add(&mut h, route("0.0.0.0", 0, Some("10.0.0.254"))), None);
    assert_eq!(add(&mut h, route("192.0.2.0", 24, Some("10.0.0.253"))), None);
    assert_eq!(add(&mut h, route("192.0.2.7", 32, Some("10.0.0.252"))), None);
    for (dst, gw) in [
        ("192.0.2.7", Some("10.0.0.252")),
        ("192.0.2.8", Some("10.0.0.253")),
        ("8.8.8.8", Some("10.0.0.254")),
        ("10.0.0.9", None),
    ] {
        assert_eq!(get(&mut h, dst).unwrap().gateway, gw.map(ip), "{dst}");
        let p = h.s.net.path(ip(dst), None, 0).unwrap();
        assert_eq!((p.src, p.on_link, p.local), (ip("10.0.0.1"), gw.is_none(), false));
    }
    let s = h.udp("10.0.0.1:1");
    for _ in 0..3 {
        h.send(s, "192.0.2.9:1", b"x").unwrap();
    }
    h.turn(Instant::from_millis(5000), &mut vec![]);
    assert_eq!(get(&mut h, "192.0.2.9").unwrap().used, 3);
    h.end();
}

#[test]
fn several_routes_to_one_destination_in_order_of_insertion() {
    // Reference 5.4: allowed if the gateway differs; delete must then name it.
    let mut h = Host::new(1);
    assert_eq!(add(&mut h, route("0.0.0.0", 0, Some("10.0.0.254"))), None);
    assert_eq!(add(&mut h, route("0.0.0.0", 0, Some("10.0.0.253"))), None);
    assert_eq!(add(&mut h, route("0.0.0.0", 0, Some("10.0.0.253"))), Some(Errno::EEXIST));
    assert_eq!(get(&mut h, "8.8.8.8").unwrap().gateway, Some(ip("10.0.0.254")));
    assert_eq!(del(&mut h, route("0.0.0.0", 0, None)), Some(Errno::EINVAL));
    assert_eq!(del(&mut h, route("0.0.0.0", 0, Some("10.0.0.254"))), None);
    assert_eq!(get(&mut h, "8.8.8.8").unwrap().gateway, Some(ip("10.0.0.253")));
    assert_eq!(del(&mut h, route("0.0.0.0", 0, None)), None);
    assert_eq!(del(&mut h, route("0.0.0.0", 0, None)), Some(Errno::ESRCH));
    assert_eq!(get(&mut h, "8.8.8.8"), None);
    h.end();
}

#[test]
fn wrong_routes_are_refused() {
    let mut h = Host::new(1);
    assert_eq!(add(&mut h, route("0.0.0.0", 0, Some("192.168.1.1"))), Some(Errno::ENETUNREACH));
    assert_eq!(add(&mut h, route("0.0.0.0", 0, Some("10.0.0.255"))), Some(Errno::EINVAL));
    assert_eq!(add(&mut h, route("0.0.0.0", 0, Some("224.0.0.1"))), Some(Errno::EINVAL));
    assert_eq!(add(&mut h, route("0.0.0.0", 33, Some("10.0.0.2"))), Some(Errno::EINVAL));
    assert_eq!(add(&mut h, route("0.0.0.0", 0, None)), Some(Errno::EINVAL));
    assert_eq!(add(&mut h, route("0.0.0.0", 0, Some("fe80::1"))), Some(Errno::EINVAL));
    let mut r = route("1.0.0.0", 8, None);
    r.ifname = Some("nosuch0".into());
    assert_eq!(add(&mut h, r.clone()), Some(Errno::ENXIO));
    r.ifname = Some("eth0".into());
    r.src = Some(ip("10.0.0.77"));
    assert_eq!(add(&mut h, r), Some(Errno::EADDRNOTAVAIL));
    assert_eq!(del(&mut h, route("10.0.0.1", 32, None)), Some(Errno::EPERM));
    h.end();
}

#[test]
fn reject_and_blackhole() {
    let mut h = Host::new(1);
    let mut r = route("192.0.2.0", 24, Some("127.0.0.1"));
    r.flags = rtf::REJECT;
    assert_eq!(add(&mut h, r), None);
    let mut b = route("198.51.100.0", 24, Some("127.0.0.1"));
    b.flags = rtf::BLACKHOLE;
    assert_eq!(add(&mut h, b), None);
    assert_eq!(h.s.net.path(ip("192.0.2.1"), None, 0), Err(Errno::EHOSTUNREACH));
    let s = h.udp("10.0.0.1:1");
    assert_eq!(h.send(s, "192.0.2.1:1", b"x"), Err(Errno::EHOSTUNREACH));
    h.send(s, "198.51.100.1:1", b"x").unwrap();
    let before = h.drops(Why::NoRoute);
    let out = h.turn(Instant::from_millis(1000), &mut vec![]);
    assert!(out.iter().all(|f| f[12..14] == [8, 6]), "silently");
    assert_eq!(h.drops(Why::NoRoute), before + 1);
    h.end();
}

#[test]
fn change_keeps_the_place_and_flush_the_network() {
    let mut h = Host::new(1);
    add(&mut h, route("0.0.0.0", 0, Some("10.0.0.254")));
    let r = h.ctl(Request::ChangeRoute(route("0.0.0.0", 0, Some("10.0.0.250"))));
    assert_eq!(errno(r), None);
    assert_eq!(get(&mut h, "8.8.8.8").unwrap().gateway, Some(ip("10.0.0.250")));
    let r = h.ctl(Request::ChangeRoute(route("9.0.0.0", 8, Some("10.0.0.250"))));
    assert_eq!(errno(r), Some(Errno::ESRCH));
    assert_eq!(h.ctl(Request::FlushRoutes), Reply::Ok);
    assert_eq!(get(&mut h, "8.8.8.8"), None);
    assert!(get(&mut h, "10.0.0.9").is_some(), "connected networks stay");
    assert!(h.s.net.path(ip("127.0.0.1"), None, 0).unwrap().local);
    h.end();
}

#[test]
fn routes_go_with_their_address_and_interface() {
    let mut h = Host::new(1);
    add(&mut h, route("0.0.0.0", 0, Some("10.0.0.254")));
    let r = h.ctl(Request::DelAddr { name: "eth0".into(), addr: None });
    assert_eq!(errno(r), None);
    assert_eq!(list(&mut h), ["127.0.0.0/8 127.0.0.1 UGRS lo0", "127.0.0.1/32 127.0.0.1 UH lo0"]);
    // Two addresses of one network: the network stays with the other.
    h.addr("10.0.0.1", 24);
    h.addr("10.0.0.5", 24);
    add(&mut h, route("0.0.0.0", 0, Some("10.0.0.254")));
    let r = h.ctl(Request::DelAddr { name: "eth0".into(), addr: Some(ip("10.0.0.1")) });
    assert_eq!(errno(r), None);
    assert_eq!(h.s.net.path(ip("10.0.0.9"), None, 0).unwrap().src, ip("10.0.0.5"));
    assert!(get(&mut h, "8.8.8.8").is_some());
    let eth = h.eth;
    h.s.detach(eth).unwrap();
    assert_eq!(list(&mut h).len(), 2);
    assert_eq!(h.s.net.path(ip("10.0.0.9"), None, 0), Err(Errno::ENETUNREACH));
    h.end();
}

#[test]
fn an_interface_that_is_down_carries_nothing() {
    let mut h = Host::new(1);
    let r = h.ctl(Request::SetFlags { name: "eth0".into(), set: 0, clear: iff::UP });
    assert_eq!(errno(r), None);
    assert_eq!(h.s.net.path(ip("10.0.0.9"), None, 0), Err(Errno::ENETDOWN));
    assert_eq!(h.s.net.path(ip("10.0.0.9"), None, h.eth), Err(Errno::ENETDOWN));
    assert!(h.s.net.path(ip("10.0.0.1"), None, 0).unwrap().local, "our own address still answers");
    let r = h.ctl(Request::SetFlags { name: "eth0".into(), set: iff::UP, clear: 0 });
    assert_eq!(errno(r), None);
    assert!(h.s.net.path(ip("10.0.0.9"), None, 0).is_ok());
    h.end();
}

#[test]
fn a_second_gateway_takes_over_when_the_first_ones_link_is_down() {
    let mut h = Host::new(1);
    let other = h.s.attach(iopkt_stack::IfAttach::ethernet("ecm", [2, 0, 0, 0, 1, 1])).unwrap();
    let a = AddrInfo { ..addr_info("10.9.0.1", 24) };
    assert_eq!(h.ctl(Request::AddAddr { name: "ecm0".into(), addr: a, replace: true }), Reply::Ok);
    add(&mut h, route("0.0.0.0", 0, Some("10.0.0.254")));
    add(&mut h, route("0.0.0.0", 0, Some("10.9.0.254")));
    assert_eq!(h.s.net.path(ip("8.8.8.8"), None, 0).unwrap().src, ip("10.0.0.1"));
    // SO_BINDTODEVICE
    assert_eq!(h.s.net.path(ip("8.8.8.8"), None, other).unwrap().src, ip("10.9.0.1"));
    let eth = h.eth;
    h.s.link_changed(eth, iopkt_ctl::LinkState::Down, (0, 0), true);
    assert_eq!(h.s.net.path(ip("8.8.8.8"), None, 0).unwrap().src, ip("10.9.0.1"));
    assert!(h.s.net.path(ip("10.0.0.9"), None, 0).is_ok(), "its own network waits for the link");
    h.end();
}

#[test]
fn an_address_that_is_not_ours_cannot_be_a_source() {
    let h = Host::new(1);
    assert_eq!(h.s.net.path(ip("10.0.0.9"), Some(ip("10.0.0.3")), 0), Err(Errno::EADDRNOTAVAIL));
    assert_eq!(h.s.net.path(ip("10.0.0.9"), Some(ip("0.0.0.0")), 0).unwrap().src, ip("10.0.0.1"));
    assert!(h.s.net.path(ip("10.0.0.255"), None, 0).unwrap().broadcast);
    h.end();
}

#[test]
fn a_large_table_is_listed_in_pages() {
    let mut h = Host::new(1);
    for i in 0..1000u32 {
        let dst = std::net::Ipv4Addr::from(0x0b00_0000 + (i << 8)).to_string();
        assert_eq!(add(&mut h, route(&dst, 24, Some("10.0.0.254"))), None);
    }
    let l = list(&mut h);
    assert_eq!(l.len(), 1004);
    let mut sorted = l.clone();
    sorted.dedup();
    assert_eq!(sorted.len(), 1004);
    h.end();
}

#[test]
fn a_redirect_of_our_gateway_is_followed_for_a_while() {
    use iopkt_base::Duration;
    use iopkt_wire::icmp4::ty;
    let mut h = Host::new(1);
    add(&mut h, route("0.0.0.0", 0, Some("10.0.0.254")));
    let t = Instant::from_millis(10_000);
    h.turn(t, &mut vec![]);
    let redirect = |from: &str, to: [u8; 4], src: &str| {
        let q = packet(src, "192.0.2.7", 17, &udp(1, 2, b"x"));
        let m = icmp(ty::REDIRECT, 1, to, &q);
        frame([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 254], 0x800, &packet(from, "10.0.0.1", 1, &m))
    };
    // Not from the gateway in use; not to a neighbour; not about a packet of ours; to itself.
    h.feed(t, &redirect("10.0.0.9", [10, 0, 0, 253], "10.0.0.1"));
    h.feed(t, &redirect("10.0.0.254", [192, 168, 1, 1], "10.0.0.1"));
    h.feed(t, &redirect("10.0.0.254", [10, 0, 0, 253], "10.0.0.5"));
    h.feed(t, &redirect("10.0.0.254", [10, 0, 0, 254], "10.0.0.1"));
    h.feed(t, &redirect("10.0.0.254", [10, 0, 0, 1], "10.0.0.1"));
    assert_eq!(get(&mut h, "192.0.2.7").unwrap().gateway, Some(ip("10.0.0.254")));
    assert_eq!(h.s.cx.counters.get(iopkt_stack::Stat::IcmpRedirectsIgnored), 5);
    h.s.cx.rt.wanted = true;
    h.feed(t, &redirect("10.0.0.254", [10, 0, 0, 253], "10.0.0.1"));
    match h.s.cx.rt.pop() {
        Some(RtNote::Route { kind: RtKind::Redirect, route, author, .. }) => {
            assert_eq!((route.gateway, author), (Some(ip("10.0.0.253")), Some(ip("10.0.0.254"))));
        }
        n => panic!("{n:?}"),
    }
    h.s.cx.rt.stop();
    let r = get(&mut h, "192.0.2.7").unwrap();
    assert_eq!((r.gateway, r.prefix_len), (Some(ip("10.0.0.253")), 32));
    assert_eq!(r.flags, rtf::UP | rtf::GATEWAY | rtf::HOST | rtf::DYNAMIC);
    h.turn(t + Duration::from_secs(600), &mut vec![]);
    assert_eq!(get(&mut h, "192.0.2.7").unwrap().gateway, Some(ip("10.0.0.254")));
    let off = Request::Sysctl { name: "net.inet.icmp.rediraccept".into(), value: Some("0".into()) };
    assert_eq!(h.ctl(off), Reply::Ok);
    h.feed(t, &redirect("10.0.0.254", [10, 0, 0, 253], "10.0.0.1"));
    assert_eq!(get(&mut h, "192.0.2.7").unwrap().gateway, Some(ip("10.0.0.254")));
    h.end();
}

#[test]
fn a_connection_without_answers_suspects_its_route() {
    // [RFC9293 SHLD-9] [RFC9293 SHLD-10]
    use iopkt_base::Duration;
    use iopkt_stack::sockets::SockType;
    let mut h = Host::new(1);
    add(&mut h, route("192.0.2.0", 24, Some("10.0.0.254")));
    // The gateway is there, and nothing comes back.
    let there = iopkt_ctl::ArpEntry {
        ip: "10.0.0.254".parse().unwrap(),
        mac: Some([2, 0, 0, 0, 0, 254]),
        ifname: None,
        permanent: true,
        published: false,
        proxy: false,
        expires: None,
    };
    assert_eq!(h.ctl(Request::AddArp(there)), Reply::Ok);
    h.s.cx.rt.wanted = true;
    let mut t = Instant::from_millis(10_000);
    h.turn(t, &mut vec![]);
    while h.s.cx.rt.pop().is_some() {}
    let Shard { cx, net, sockets, .. } = &mut h.s;
    let id = sockets.socket(cx, iopkt_stack::Family::V4, SockType::Stream, 0).unwrap();
    let _ = sockets.connect(cx, net, id, Some(sa("192.0.2.7:80")));
    let mut told = Vec::new();
    for _ in 0..120 {
        t += Duration::from_secs(1);
        h.turn(t, &mut vec![]);
        told.extend(core::iter::from_fn(|| h.s.cx.rt.pop()));
    }
    let losing = told.iter().filter(|n| matches!(n, RtNote::Route { kind: RtKind::Losing, route, .. } if route.gateway == Some(ip("10.0.0.254")))).count();
    assert_eq!(losing, 1, "{told:?}");
}
