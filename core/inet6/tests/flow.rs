//! Flow labels (RFC 6437): one for each flow, hard to guess, the program's where it names one.

mod common;

use common::*;
use iopkt_stack::sockets::{SockId, SockType};
use iopkt_wire::ipv6;
use std::net::SocketAddrV6;

const AUTOFLOWLABEL: i32 = 70;
const FLOWINFO_SEND: i32 = 33;

fn pair() -> Wire {
    let mut w = Wire::pair();
    w.hosts[0].addr("2001:db8::1", 64);
    w.hosts[1].addr("2001:db8::2", 64);
    w.run(2000);
    let l = w.hosts[1].socket(SockType::Stream, 6);
    let h = &mut w.hosts[1].s;
    h.sockets.bind(&mut h.cx, &h.net, l, "[::]:80".parse().unwrap()).unwrap();
    h.sockets.listen(&mut h.cx, l, 50).unwrap();
    w.hosts[1].udp("[::]:7");
    w.log.clear();
    w
}

/// The labels of what a host has sent of a protocol since.
fn labels(w: &mut Wire, host: usize, proto: u8) -> Vec<u32> {
    w.run(300);
    let of = |(h, f): &(usize, Vec<u8>)| {
        let p = ipv6::Header::parse(f.get(14..)?).ok().filter(|p| *h == host && p.next == proto)?;
        Some(p.flow_label)
    };
    w.log.iter().filter_map(of).collect()
}

fn set(w: &mut Wire, s: SockId, name: i32, v: i32) {
    let h = &mut w.hosts[0].s;
    h.sockets.setsockopt(&mut h.cx, &mut h.net, s, 41, name, &v.to_ne_bytes()).unwrap();
}

fn connect(w: &mut Wire, s: SockId, port: u16, label: u32) {
    let to = SocketAddrV6::new(a6("2001:db8::2"), port, label.to_be(), 0);
    let h = &mut w.hosts[0].s;
    let _ = h.sockets.connect(&mut h.cx, &mut h.net, s, Some(to.into()));
}

#[test]
fn each_connection_has_a_label_of_its_own_in_both_directions() {
    // [RFC6437 3a] [RFC6437 3b]
    let mut w = pair();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..16 {
        w.log.clear();
        let c = w.hosts[0].socket(SockType::Stream, 6);
        connect(&mut w, c, 80, 0);
        w.run(100);
        let h = &mut w.hosts[0].s;
        h.sockets.write(&mut h.cx, c, b"hello").unwrap();
        let (mut a, mut b) = (labels(&mut w, 0, 6), labels(&mut w, 1, 6));
        assert!(a.len() >= 3 && !b.is_empty());
        a.dedup();
        b.dedup();
        assert_eq!((a.len(), b.len()), (1, 1), "SYN, SYN|ACK and data of a flow have one label: {a:?} {b:?}");
        assert!(a[0] != 0 && b[0] != 0 && a[0] != b[0], "nothing is reflected");
        ours.push(a[0]);
        theirs.push(b[0]);
    }
    for mut v in [ours, theirs] {
        let near = v.windows(2).filter(|p| p[0].abs_diff(p[1]) < 1 << 12).count();
        assert!(near < 4, "{v:x?}");
        v.sort_unstable();
        v.dedup();
        assert!(v.len() >= 15, "{v:x?}");
    }
    w.end();
}

#[test]
fn programs_and_the_variable_have_the_say() {
    // [RFC6437 3c] [RFC6437 2a]
    let mut w = pair();
    // Without IPV6_FLOWINFO_SEND what connect names is not looked at.
    let c = w.hosts[0].socket(SockType::Stream, 6);
    connect(&mut w, c, 80, 0x1_2345);
    assert!(labels(&mut w, 0, 6).iter().all(|l| *l != 0x1_2345));
    for (ty, proto, port) in [(SockType::Stream, 6, 80), (SockType::Dgram, 17, 7)] {
        w.log.clear();
        let c = w.hosts[0].socket(ty, proto);
        set(&mut w, c, FLOWINFO_SEND, 1);
        connect(&mut w, c, port, 0x1_2345);
        let h = &mut w.hosts[0].s;
        if proto == 17 {
            let m = h.cx.mbufs.copy_of(b"x").unwrap();
            h.sockets.send_to(&mut h.cx, &mut h.net, c, None, &Default::default(), m).unwrap();
        }
        let l = labels(&mut w, 0, proto);
        assert!(!l.is_empty() && l.iter().all(|l| *l == 0x1_2345), "{proto}: {l:x?}");
    }
    // Off: no label.
    w.log.clear();
    let c = w.hosts[0].socket(SockType::Stream, 6);
    set(&mut w, c, AUTOFLOWLABEL, 0);
    connect(&mut w, c, 80, 0);
    let l = labels(&mut w, 0, 6);
    assert!(!l.is_empty() && l.iter().all(|l| *l == 0));
    w.log.clear();
    w.hosts[0].sysctl("net.inet6.ip6.auto_flowlabel", "0");
    let c = w.hosts[0].socket(SockType::Stream, 6);
    connect(&mut w, c, 80, 0);
    assert!(labels(&mut w, 0, 6).iter().all(|l| *l == 0));
    w.end();
}
