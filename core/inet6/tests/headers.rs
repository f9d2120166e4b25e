//! Extension headers and fragments, good and bad, and the answers that RFC 8200 and RFC 4443 want.

mod common;

use common::*;
use iopkt_stack::Why;
use iopkt_wire::icmp6::{param, ty};
use iopkt_wire::ipv6::{Fragment, next};

fn one() -> Wire {
    let mut w = Wire::new(vec![Host::new(1)]);
    w.hosts[0].up();
    w.hosts[0].addr("2001:db8::1", 64);
    w.run(3000);
    let h = &mut w.hosts[0].s;
    let key = (ETH, a6("2001:db8::77").into());
    h.net.neigh.set(&mut h.cx, key, [2, 0, 0, 0, 0, 0xee], true, false).unwrap();
    w
}

fn send(w: &mut Wire, next: u8, payload: &[u8]) {
    let mac = w.hosts[0].mac;
    w.inject(0, frame(mac, a6("2001:db8::77"), a6("2001:db8::1"), 64, next, payload));
    w.run(10);
}

fn echo() -> Vec<u8> {
    summed(vec![128, 0, 0, 0, 0, 1, 0, 2], a6("2001:db8::77"), a6("2001:db8::1"))
}

/// The parameter problems told so far: code and pointer.
fn problems(w: &Wire) -> Vec<(u8, u8)> {
    w.sent(0, ty::PARAM_PROBLEM).iter().map(|p| (p[41], p[47])).collect()
}

#[test]
fn what_may_be_there_is_walked_over() {
    // [RFC8200 4a] [RFC8200 4.1] [RFC8200 4.2b] [RFC8200 4.4a]
    let mut w = one();
    let mut b = vec![next::DEST_OPTS, 0, 5, 2, 0, 0, 1, 0]; // hop-by-hop: router alert
    b.extend([next::ROUTING, 0, 0x1e, 4, 0, 0, 0, 0]); // an option to skip
    b.extend([next::ICMP6, 0, 4, 0, 0, 0, 0, 0]); // no segments left
    b.extend(echo());
    send(&mut w, next::HOP_BY_HOP, &b);
    assert_eq!(w.sent(0, ty::ECHO_REPLY).len(), 1);
    send(&mut w, next::NONE, &[]);
    assert_eq!(problems(&w), []);
    w.end();
}

#[test]
fn what_may_not_be_there_is_told_with_its_place() {
    // [RFC8200 4b] [RFC8200 4c] [RFC8200 4.2a] [RFC8200 4.4b] [RFC4443 3.4a]
    let mut w = one();
    let after = |head: [u8; 8]| {
        let mut b = head.to_vec();
        b.extend(echo());
        b
    };
    send(&mut w, next::DEST_OPTS, &after([next::ICMP6, 5, 1, 4, 0, 0, 0, 0]));
    assert_eq!(problems(&w).pop(), Some((param::HEADER, 41)), "longer than the packet");
    send(&mut w, next::DEST_OPTS, &after([next::HOP_BY_HOP, 0, 1, 4, 0, 0, 0, 0]));
    assert_eq!(problems(&w).pop(), Some((param::NEXT_HEADER, 40)), "hop-by-hop not at the start");
    send(&mut w, next::DEST_OPTS, &after([next::ICMP6, 0, 0x80, 0, 1, 2, 0, 0]));
    assert_eq!(problems(&w).pop(), Some((param::OPTION, 42)));
    send(&mut w, next::DEST_OPTS, &after([next::ICMP6, 0, 1, 0, 0xc1, 0, 1, 0]));
    assert_eq!(problems(&w).pop(), Some((param::OPTION, 44)));
    send(&mut w, next::ROUTING, &after([next::ICMP6, 0, 0, 1, 0, 0, 0, 0]));
    assert_eq!(problems(&w).pop(), Some((param::HEADER, 42)), "segments left (RFC 5095)");
    send(&mut w, 253, &[0; 8]);
    assert_eq!(problems(&w).pop(), Some((param::NEXT_HEADER, 6)));
    let n = problems(&w).len();
    send(&mut w, next::DEST_OPTS, &after([next::ICMP6, 0, 0x40, 0, 1, 2, 0, 0]));
    send(&mut w, next::DEST_OPTS, &[next::ICMP6; 1]);
    assert_eq!(problems(&w).len(), n + 1, "discarded silently; and a header that is cut off");
    assert_eq!(w.sent(0, ty::ECHO_REPLY).len(), 0);
    w.end();
}

#[test]
fn too_many_headers_or_options_end_silently() {
    let mut w = one();
    let mut b: Vec<u8> = std::iter::repeat_n([next::DEST_OPTS, 0, 1, 4, 0, 0, 0, 0], 15).flatten().collect();
    b.extend([next::ICMP6, 0, 1, 4, 0, 0, 0, 0]);
    b.extend(echo());
    send(&mut w, next::DEST_OPTS, &b);
    let mut b = vec![next::ICMP6, 3, 0x1e, 0];
    b.extend([0x1e, 0].repeat(14));
    b.extend(echo());
    send(&mut w, next::DEST_OPTS, &b);
    assert_eq!((w.sent(0, ty::ECHO_REPLY).len(), problems(&w).len()), (0, 0));
    assert_eq!(w.hosts[0].drops(Why::BadIpHeader), 2);
    w.end();
}

/// A piece of an echo request with 32 bytes.
fn piece(offset: usize, more: bool, id: u32, content: &[u8]) -> Vec<u8> {
    let mut b = Fragment { next: next::ICMP6, offset, more, id }.emit().to_vec();
    b.extend_from_slice(content);
    b
}

fn long_echo() -> Vec<u8> {
    let mut b = vec![128, 0, 0, 0, 0, 1, 0, 2];
    b.extend(0..24);
    summed(b, a6("2001:db8::77"), a6("2001:db8::1"))
}

#[test]
fn pieces_in_any_order_make_a_whole_and_overlaps_end_it() {
    // [RFC8200 4.5e] [RFC8200 4.5f] [RFC8200 4.5j] [RFC8200 4.5k] [RFC8200 4.5l]
    let mut w = one();
    let e = long_echo();
    for (id, order) in [[0, 1, 2], [2, 0, 1], [1, 2, 0]].into_iter().enumerate() {
        for i in order {
            let content = &e[[0..8, 8..24, 24..32][i].clone()];
            send(&mut w, next::FRAGMENT, &piece([0, 8, 24][i], i != 2, id as u32, content));
        }
        assert_eq!(w.sent(0, ty::ECHO_REPLY).len(), id + 1, "{order:?}");
    }
    // A piece twice changes nothing; one that overlaps ends all (RFC 5722).
    send(&mut w, next::FRAGMENT, &piece(0, true, 9, &e[..16]));
    send(&mut w, next::FRAGMENT, &piece(0, true, 9, &e[..16]));
    send(&mut w, next::FRAGMENT, &piece(16, false, 9, &e[16..]));
    assert_eq!(w.sent(0, ty::ECHO_REPLY).len(), 4);
    send(&mut w, next::FRAGMENT, &piece(0, true, 10, &e[..16]));
    send(&mut w, next::FRAGMENT, &piece(8, true, 10, &e[8..24]));
    send(&mut w, next::FRAGMENT, &piece(16, false, 10, &e[16..]));
    w.run(61_000);
    assert_eq!(w.sent(0, ty::ECHO_REPLY).len(), 4);
    // An atomic fragment is whole by itself (RFC 6946), also beside pieces of the same identification.
    send(&mut w, next::FRAGMENT, &piece(0, true, 11, &e[..16]));
    send(&mut w, next::FRAGMENT, &piece(0, false, 11, &e));
    assert_eq!(w.sent(0, ty::ECHO_REPLY).len(), 5);
    w.run(61_000);
    let late = w.sent(0, ty::TIME_EXCEEDED);
    assert_eq!((late.len(), late[0][41]), (1, 1), "reassembly took too long");
    w.end();
}

#[test]
fn malformed_pieces_are_told() {
    // [RFC8200 4.5g] [RFC8200 4.5h] [RFC8200 4.5i] [RFC7112 5b]
    let mut w = one();
    let e = long_echo();
    send(&mut w, next::FRAGMENT, &piece(0, true, 1, &e[..15]));
    assert_eq!(problems(&w).pop(), Some((param::HEADER, 4)), "no multiple of 8");
    send(&mut w, next::FRAGMENT, &piece(65_528, false, 2, &e[..16]));
    assert_eq!(problems(&w).pop(), Some((param::HEADER, 42)), "beyond 65,535");
    let mut b = Fragment { next: next::DEST_OPTS, offset: 0, more: true, id: 3 }.emit().to_vec();
    b.extend([next::ICMP6, 1, 1, 4, 0, 0, 0, 0]);
    send(&mut w, next::FRAGMENT, &b);
    assert_eq!(problems(&w).pop(), Some((param::FIRST_FRAGMENT, 0)), "not all headers (RFC 7112)");
    let late = |more, id| {
        let mut b = Fragment { next: next::HOP_BY_HOP, offset: 0, more, id }.emit().to_vec();
        b.extend([next::ICMP6, 0, 1, 4, 0, 0, 0, 0]);
        b.extend(&e);
        b
    };
    for (id, more) in [(4, true), (5, false)] {
        send(&mut w, next::FRAGMENT, &late(more, id));
        assert_eq!(problems(&w).pop(), Some((param::NEXT_HEADER, 40)), "hop-by-hop options in a fragment");
    }
    assert_eq!(w.sent(0, ty::ECHO_REPLY).len(), 0);
    w.end();
}

#[test]
fn no_error_about_what_no_error_may_be_sent_about() {
    // [RFC4443 2.4e1] [RFC4443 2.4e2] [RFC4443 2.4e3]
    let mut w = one();
    let n = |w: &Wire| [1, 2, 3, 4].iter().map(|t| w.sent(0, *t).len()).sum::<usize>();
    let (all, mac) = ([0x33, 0x33, 0, 0, 0, 1], w.hosts[0].mac);
    // To a group; from a group; from nobody; in a frame to a group.
    w.inject(0, frame(all, a6("2001:db8::77"), a6("ff02::1"), 64, 253, &[0; 8]));
    w.inject(0, frame(mac, a6("ff02::5"), a6("2001:db8::1"), 64, 253, &[0; 8]));
    w.inject(0, frame(mac, a6("::"), a6("2001:db8::1"), 64, 253, &[0; 8]));
    w.inject(0, frame(all, a6("2001:db8::77"), a6("2001:db8::1"), 64, 253, &[0; 8]));
    w.run(10);
    assert_eq!(n(&w), 0);
    // But an option that asks for it, also to a group.
    let mut b = vec![next::ICMP6, 0, 0x80, 0, 1, 2, 0, 0];
    b.extend(echo());
    w.inject(0, frame(all, a6("2001:db8::77"), a6("ff02::1"), 64, next::DEST_OPTS, &b));
    w.run(10);
    assert_eq!(n(&w), 1);
    // Not more than the limit.
    for _ in 0..300 {
        w.inject(0, frame(mac, a6("2001:db8::77"), a6("2001:db8::1"), 64, 253, &[0; 8]));
    }
    w.run(10);
    assert_eq!(n(&w), 100);
    w.end();
}

#[test]
fn addresses_that_no_honest_packet_has() {
    let mut w = one();
    let s = w.hosts[0].udp("[::]:7");
    let mac = w.hosts[0].mac;
    for (src, dst) in [
        ("::1", "2001:db8::1"),
        ("2001:db8::77", "::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("::ffff:1.2.3.4", "2001:db8::1"),
        ("fe80:2::77", "2001:db8::1"),
        ("2001:db8::77", "ff01::1"),
        ("2001:db8::77", "ff00::1"),
        ("2001:db8::77", "2001:db8::2"),
    ] {
        let mut b = vec![0, 9, 0, 7, 0, 8, 0, 0];
        let mut sum = iopkt_wire::checksum::pseudo(a6(src).into(), a6(dst).into(), 17, 8);
        sum.add(&b);
        b[6..8].copy_from_slice(&sum.finish().to_be_bytes());
        w.inject(0, frame(mac, a6(src), a6(dst), 64, 17, &b));
        w.run(5);
        assert!(w.hosts[0].recv(s).is_none(), "{src} -> {dst}");
    }
    w.end();
}
