//! Hops of what is sent without saying: the variable's, a router's for its link (RFC 4861 6.3.4), and what sockets say of them.

mod common;

use common::*;
use iopkt_stack::sockets::{SockId, SockType};
use iopkt_wire::nd::{self, RouterAdvert, opt};

const IPV6: i32 = 41;
const UNICAST_HOPS: i32 = 16;

fn far() -> std::net::Ipv6Addr {
    a6("2001:db8::2")
}

fn pair() -> Wire {
    let mut w = Wire::pair();
    w.hosts[0].sysctl("net.inet6.ip6.accept_rtadv", "1");
    w.hosts[0].addr("2001:db8::1", 64);
    w.hosts[1].addr("2001:db8::2", 64);
    w.run(2000);
    w.hosts[1].udp("[::]:7");
    w.log.clear();
    w
}

fn says(w: &mut Wire, hop_limit: u8) {
    let mut b = RouterAdvert { hop_limit, ..RouterAdvert::default() }.emit();
    nd::push_link(&mut b, opt::SOURCE_LINK, [2, 0, 0, 0, 1, 9]);
    w.inject(0, nd([0x33, 0x33, 0, 0, 0, 1], "fe80::9", "ff02::1", b));
    w.run(10);
}

/// The hop limits of what host 0 has sent of a protocol since it was asked last.
fn hops(w: &mut Wire, proto: u8) -> Vec<u8> {
    w.run(300);
    let v = w.log.iter().filter(|(h, f)| *h == 0 && f[12..14] == [0x86, 0xdd] && f[20] == proto);
    let mut v: Vec<u8> = v.filter(|(_, f)| proto != 58 || f[54] < 133).map(|(_, f)| f[21]).collect();
    v.dedup();
    w.log.clear();
    v
}

fn option(w: &mut Wire, s: SockId) -> i32 {
    let h = &mut w.hosts[0].s;
    let mut b = [0; 4];
    h.sockets.getsockopt(&mut h.cx, &h.net, s, IPV6, UNICAST_HOPS, &mut b).unwrap();
    i32::from_ne_bytes(b)
}

fn set(w: &mut Wire, s: SockId, n: i32) {
    let h = &mut w.hosts[0].s;
    h.sockets.setsockopt(&mut h.cx, &mut h.net, s, IPV6, UNICAST_HOPS, &n.to_ne_bytes()).unwrap();
}

#[test]
fn datagrams_raw_packets_and_options_go_by_router_and_variable() {
    // [RFC4861 6.3.4c]
    // RFC 4861 6.3.4, RFC 8504 5.1.
    let mut w = pair();
    let u = w.hosts[0].udp("[::]:5");
    let raw = w.hosts[0].socket(SockType::Raw, 99);
    let connected = w.hosts[0].udp("[::]:0");
    let h = &mut w.hosts[0].s;
    h.sockets.connect(&mut h.cx, &mut h.net, connected, Some(outside(far(), 7))).unwrap();
    for (how, want) in [("first", 64), ("variable", 70), ("router", 33), ("variable under a router", 33)] {
        match how {
            "variable" => w.hosts[0].sysctl("net.inet6.ip6.hlim", "70"),
            "router" => says(&mut w, 33),
            "variable under a router" => {
                w.hosts[0].sysctl("net.inet6.ip6.hlim", "90");
                // 0 says nothing.
                says(&mut w, 0);
            }
            _ => {}
        }
        w.log.clear();
        for s in [u, connected, connected] {
            w.hosts[0].send(s, far(), 7, b"x").unwrap();
        }
        assert_eq!(hops(&mut w, 17), [want], "UDP, {how}");
        w.hosts[0].send(raw, far(), 0, b"xyz").unwrap();
        assert_eq!(hops(&mut w, 99), [want], "raw, {how}");
        assert_eq!(option(&mut w, connected), i32::from(want), "{how}");
    }
    // Without a peer: the stack's own. What the program said stays.
    assert_eq!(option(&mut w, u), 90);
    set(&mut w, u, 5);
    assert_eq!(option(&mut w, u), 5);
    w.hosts[0].send(u, far(), 7, b"x").unwrap();
    assert_eq!(hops(&mut w, 17), [5]);
    set(&mut w, u, -1);
    w.hosts[0].send(u, far(), 7, b"x").unwrap();
    assert_eq!(hops(&mut w, 17), [33]);
    w.end();
}

#[test]
fn connections_take_a_change_over_and_so_do_answers() {
    let mut w = pair();
    says(&mut w, 33);
    let l = w.hosts[0].socket(SockType::Stream, 6);
    let h = &mut w.hosts[0].s;
    h.sockets.bind(&mut h.cx, &h.net, l, "[::]:80".parse().unwrap()).unwrap();
    h.sockets.listen(&mut h.cx, l, 5).unwrap();
    let c = w.hosts[1].socket(SockType::Stream, 6);
    let connect = |w: &mut Wire, c, port| {
        let h = &mut w.hosts[1].s;
        let _ = h.sockets.connect(&mut h.cx, &mut h.net, c, Some(outside(a6("2001:db8::1"), port)));
    };
    connect(&mut w, c, 80);
    assert_eq!(hops(&mut w, 6), [33], "SYN|ACK");
    let h = &mut w.hosts[0].s;
    let (child, _) = h.sockets.accept(&mut h.cx, l).unwrap();
    says(&mut w, 44);
    let h = &mut w.hosts[0].s;
    assert_eq!(h.sockets.write(&mut h.cx, child, b"hello"), Ok(5));
    assert_eq!(hops(&mut w, 6), [44], "data of a connection that was there before");
    // No listener: a reset. No port: an error. An echo.
    let c = w.hosts[1].socket(SockType::Stream, 6);
    connect(&mut w, c, 81);
    assert_eq!(hops(&mut w, 6), [44], "RST");
    // SYN cookies go by the listener's own option.
    w.hosts[0].sysctl("net.inet.tcp.syncookies", "2");
    set(&mut w, l, 77);
    let c = w.hosts[1].socket(SockType::Stream, 6);
    connect(&mut w, c, 80);
    assert!(hops(&mut w, 6).contains(&77), "cookie");
    let u = w.hosts[1].udp("[::]:9");
    w.hosts[1].send(u, a6("2001:db8::1"), 1, b"x").unwrap();
    assert_eq!(hops(&mut w, 58), [44], "port unreachable");
    let echo = summed(vec![128, 0, 0, 0, 0, 1, 0, 2], far(), a6("2001:db8::1"));
    let f = frame(w.hosts[0].mac, far(), a6("2001:db8::1"), 64, 58, &echo);
    w.inject(0, f);
    assert_eq!(hops(&mut w, 58), [44], "echo reply");
    w.end();
}
