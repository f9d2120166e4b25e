//! Fragments beside what they carry: overlaps that end a datagram for good (RFC 5722), Neighbour Discovery in none (RFC 6980),
//! identifications that nobody foretells (RFC 7739).

mod common;

use common::*;
use iopkt_ctl::NdReply;
use iopkt_ctl::{NdRequest, Reply, Request};
use iopkt_wire::icmp6::ty;
use iopkt_wire::ipv6::{Fragment, next};
use iopkt_wire::nd::{self, Prefix, RouterAdvert, neighbor_solicit, opt, push_link};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xee];

fn one() -> Wire {
    let mut w = Wire::new(vec![Host::new(1)]);
    w.hosts[0].up();
    w.hosts[0].addr("2001:db8::1", 64);
    w.hosts[0].sysctl("net.inet6.ip6.accept_rtadv", "1");
    w.run(3000);
    let h = &mut w.hosts[0].s;
    h.net.neigh.set(&mut h.cx, (ETH, a6("2001:db8::77").into()), MAC, true, false).unwrap();
    w.log.clear();
    w
}

fn piece(offset: usize, more: bool, id: u32, content: &[u8]) -> Vec<u8> {
    let mut b = Fragment { next: next::ICMP6, offset, more, id }.emit().to_vec();
    b.extend_from_slice(content);
    b
}

fn send(w: &mut Wire, payload: &[u8]) {
    let f = frame(w.hosts[0].mac, a6("2001:db8::77"), a6("2001:db8::1"), 64, next::FRAGMENT, payload);
    w.inject(0, f);
    w.run(10);
}

fn long_echo() -> Vec<u8> {
    let mut b = vec![128, 0, 0, 0, 0, 1, 0, 2];
    b.extend(0..24);
    summed(b, a6("2001:db8::77"), a6("2001:db8::1"))
}

#[test]
fn what_follows_an_overlap_is_for_nothing() {
    // [RFC5722 4]
    let mut w = one();
    let e = long_echo();
    send(&mut w, &piece(0, true, 10, &e[..16]));
    send(&mut w, &piece(8, true, 10, &e[8..24]));
    // All of it, once more and without overlaps: it came too late.
    for (at, to) in [(0, 16), (16, 24), (24, 32)] {
        send(&mut w, &piece(at, to != 32, 10, &e[at..to]));
    }
    w.run(61_000);
    assert!(w.sent(0, ty::ECHO_REPLY).is_empty() && w.sent(0, ty::TIME_EXCEEDED).is_empty(), "silently");
    // Under its identification others may come again then, and a whole one may at any time [RFC6946 4].
    send(&mut w, &piece(0, true, 10, &e[..16]));
    send(&mut w, &piece(8, true, 10, &e[8..24]));
    send(&mut w, &piece(0, false, 10, &e));
    assert_eq!(w.sent(0, ty::ECHO_REPLY).len(), 1);
    w.run(61_000);
    send(&mut w, &piece(0, true, 10, &e[..16]));
    send(&mut w, &piece(16, false, 10, &e[16..]));
    assert_eq!(w.sent(0, ty::ECHO_REPLY).len(), 2);
    w.end();
}

#[test]
fn neighbour_discovery_in_fragments_is_not_heard() {
    // [RFC6980 5b]
    let mut w = one();
    let mac = w.hosts[0].mac;
    let mut ns = neighbor_solicit(a6("2001:db8::1"));
    push_link(&mut ns, opt::SOURCE_LINK, MAC);
    let mut ra = RouterAdvert { lifetime: 1800, ..RouterAdvert::default() }.emit();
    let p = Prefix {
        prefix: a6("2001:db8:9::"),
        plen: 64,
        on_link: true,
        autonomous: true,
        valid: 7200,
        preferred: 3600,
    };
    nd::push_prefix(&mut ra, &p);
    let (he, me) = (a6("fe80::77"), a6("2001:db8::1"));
    for (b, dst) in [(ns, me), (ra, a6("ff02::1"))] {
        let to = if dst == me { mac } else { [0x33, 0x33, 0, 0, 0, 1] };
        let b = summed(b, he, dst);
        // Atomic, and in two.
        let whole = piece(0, false, 5, &b);
        w.inject(0, frame(to, he, dst, 255, next::FRAGMENT, &whole));
        w.inject(0, frame(to, he, dst, 255, next::FRAGMENT, &piece(0, true, 6, &b[..24])));
        w.inject(0, frame(to, he, dst, 255, next::FRAGMENT, &piece(24, false, 6, &b[24..])));
        w.run(100);
    }
    assert!(w.sent(0, ty::NEIGHBOR_ADVERT).is_empty());
    assert_eq!(w.hosts[0].learnt(), Vec::<String>::new());
    let Reply::Nd(NdReply::Routers(r)) = w.hosts[0].ctl(Request::Nd(NdRequest::Routers)) else { panic!() };
    assert!(r.is_empty());
    w.end();
}

#[test]
fn identifications_show_no_order() {
    // [RFC8200 4.5b]
    // [RFC7739 4] [RFC7739 5]
    let mut w = one();
    let s = w.hosts[0].udp("[::]:7");
    for _ in 0..64 {
        w.hosts[0].send(s, a6("2001:db8::77"), 9, &[0; 2000]).unwrap();
        w.run(10);
    }
    let of = |f: &[u8]| (f[20] == next::FRAGMENT).then(|| u32::from_be_bytes(f[58..62].try_into().unwrap()));
    let mut ids: Vec<u32> = w.log.iter().filter_map(|(_, f)| of(f)).collect();
    assert_eq!(ids.len(), 128);
    ids.dedup();
    assert_eq!(ids.len(), 64, "both pieces of a datagram have the same");
    let near =
        ids.windows(2).filter(|p| p[1].wrapping_sub(p[0]) < 1 << 24 || p[0].wrapping_sub(p[1]) < 1 << 24);
    assert!(near.count() < 8, "{ids:?}");
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 64);
    w.end();
}

#[test]
fn all_headers_of_what_we_cut_are_in_the_first_piece() {
    // [RFC7112 5a] [RFC8200 4.5d]
    let mut w = one();
    let s = w.hosts[0].udp("[::]:7");
    // Destination options of this many bytes, all padding.
    let options = |w: &mut Wire, len: usize| {
        let mut b = vec![0, (len / 8 - 1) as u8];
        b.resize(len, 0);
        let h = &mut w.hosts[0].s;
        h.sockets.setsockopt(&mut h.cx, &mut h.net, s, 41, 59, &b).unwrap();
    };
    options(&mut w, 1400);
    w.hosts[0].send(s, a6("2001:db8::77"), 9, &[0; 500]).unwrap();
    w.run(10);
    assert_eq!(w.log.len(), 2, "they fit, with the first of the datagram");
    w.log.clear();
    options(&mut w, 1600);
    w.hosts[0].send(s, a6("2001:db8::77"), 9, &[0; 500]).unwrap();
    w.run(10);
    assert!(w.log.is_empty(), "not sent");
    w.end();
}
