//! What programs say of their IPv6 packets and hear of others' (RFC 3542), on the wire: extension headers, flow labels, fragments,
//! raw sockets' checksums and filters, path MTUs, groups with sources.

mod common;

use common::*;
use iopkt_base::Errno;
use iopkt_stack::sockets::{Datagram, Ext6, SendOpts, SockId, SockType, mtu_info};
use iopkt_wire::ipv6::{self, HEADER_LEN, next};
use std::net::Ipv6Addr;

const IPV6: i32 = 41;
const HOP: u8 = 0;
const DST: u8 = 3;
/// An option header of 8 bytes whose option is passed over by who does not know it (type 0x1e).
const OPTIONS: [u8; 8] = [0, 0, 0x1e, 4, 1, 2, 3, 4];

/// Two hosts with addresses 2001:db8::1 and ::2, and a socket on each; the second's port is 7.
fn pair() -> (Wire, SockId, SockId) {
    let mut w = Wire::pair();
    for (i, a) in [(0, "2001:db8::1"), (1, "2001:db8::2")] {
        w.hosts[i].addr(a, 64);
    }
    w.run(2000);
    let a = w.hosts[0].udp("[::]:5");
    let b = w.hosts[1].udp("[::]:7");
    w.log.clear();
    (w, a, b)
}

fn far() -> Ipv6Addr {
    a6("2001:db8::2")
}

fn set(w: &mut Wire, h: usize, s: SockId, name: i32, v: &[u8]) -> Result<(), Errno> {
    at(w, h, s, IPV6, name, v)
}

fn at(w: &mut Wire, h: usize, s: SockId, level: i32, name: i32, v: &[u8]) -> Result<(), Errno> {
    let x = &mut w.hosts[h].s;
    x.sockets.setsockopt(&mut x.cx, &mut x.net, s, level, name, v)
}

fn on(w: &mut Wire, h: usize, s: SockId, name: i32) {
    set(w, h, s, name, &1i32.to_ne_bytes()).unwrap_or_else(|e| panic!("option {name}: {e:?}"));
}

fn send(w: &mut Wire, s: SockId, o: &SendOpts, to: Ipv6Addr, data: &[u8]) -> Result<(), Errno> {
    let h = &mut w.hosts[0].s;
    let m = h.cx.mbufs.copy_of(data).unwrap();
    h.sockets.send_to(&mut h.cx, &mut h.net, s, Some(outside(to, 7)), o, m)
}

fn get(w: &mut Wire, h: usize, s: SockId) -> Option<Datagram> {
    let x = &mut w.hosts[h].s;
    x.sockets.recv_from(&mut x.cx, s)
}

fn free(w: &mut Wire, h: usize, d: Datagram) {
    w.hosts[h].s.cx.mbufs.free(d.m);
}

/// The IPv6 packets that the first host has sent, Neighbour Discovery and MLD apart.
fn packets(w: &Wire) -> Vec<Vec<u8>> {
    let plain = |f: &Vec<u8>| icmp_of(&f[14..]).is_none_or(|m| m[0] < 130);
    let sent = w.log.iter().filter(|(h, f)| *h == 0 && f[12..14] == [0x86, 0xdd] && plain(f));
    sent.map(|(_, f)| f[14..].to_vec()).collect()
}

fn headers(list: &[(u8, [u8; 8])]) -> Vec<(u8, Vec<u8>)> {
    list.iter().map(|(k, h)| (*k, h.to_vec())).collect()
}

#[test]
fn extension_headers_and_flow_labels_go_and_come() {
    let (mut w, a, b) = pair();
    // IPV6_RECVHOPOPTS, IPV6_RECVDSTOPTS, IPV6_FLOWINFO.
    for name in [53, 58, 11] {
        on(&mut w, 1, b, name);
    }
    set(&mut w, 0, a, 59, &OPTIONS).expect("IPV6_DSTOPTS");
    let ext = Ext6 { flow: Some(0x1_2345), headers: headers(&[(HOP, OPTIONS)]) };
    let o = SendOpts { ext: Some(Box::new(ext)), ttl: Some(9), tos: Some(0x20), ..SendOpts::default() };
    send(&mut w, a, &o, far(), b"with all").expect("send");
    w.run(100);
    let d = get(&mut w, 1, b).expect("a datagram");
    assert_eq!((d.m.as_slice(), d.ttl, d.tos), (&b"with all"[..], 9, 0x20));
    let e = d.ext.as_ref().expect("extension headers");
    let (mut hop, mut dst) = (OPTIONS, OPTIONS);
    (hop[0], dst[0]) = (next::DEST_OPTS, next::UDP);
    assert_eq!(e.headers, headers(&[(HOP, hop), (DST, dst)]));
    assert_eq!(e.flow, Some(0x0201_2345 & 0x0fff_ffff), "traffic class and label");
    free(&mut w, 1, d);
    // The socket's own go with each; without them and without a wish nothing is kept.
    send(&mut w, a, &SendOpts::default(), far(), b"sticky").expect("send");
    set(&mut w, 0, a, 59, &[]).expect("none");
    send(&mut w, a, &SendOpts::default(), far(), b"plain").expect("send");
    w.run(100);
    for want in [1, 0] {
        let d = get(&mut w, 1, b).expect("a datagram");
        assert_eq!(d.ext.as_ref().map(|e| e.headers.len()), Some(want));
        free(&mut w, 1, d);
    }
    let p = packets(&w);
    let label = |p: &[u8]| ipv6::Header::parse(p).unwrap().flow_label;
    assert_eq!(label(&p[0]), 0x1_2345);
    assert_ne!(label(&p[1]), 0, "the stack's own choice");
    w.end();
}

#[test]
fn streams_carry_sticky_headers() {
    let (mut w, ..) = pair();
    let l = w.hosts[1].socket(SockType::Stream, 0);
    let s = w.hosts[0].socket(SockType::Stream, 0);
    let h = &mut w.hosts[1].s;
    h.sockets.bind(&mut h.cx, &h.net, l, "[::]:80".parse().unwrap()).unwrap();
    h.sockets.listen(&mut h.cx, l, 5).unwrap();
    set(&mut w, 0, s, 59, &OPTIONS).expect("IPV6_DSTOPTS");
    let h = &mut w.hosts[0].s;
    let r = h.sockets.connect(&mut h.cx, &mut h.net, s, Some(outside(far(), 80)));
    assert_eq!(r, Err(Errno::EINPROGRESS));
    w.run(1000);
    let h = &mut w.hosts[1].s;
    assert!(h.sockets.accept(&mut h.cx, l).is_ok());
    let p = packets(&w);
    assert!(!p.is_empty() && p.iter().all(|p| p[6] == next::DEST_OPTS && p[HEADER_LEN] == next::TCP));
    // Room for them is left in segments.
    let mss = {
        let h = &mut w.hosts[0].s;
        let mut out = [0; 4];
        h.sockets.getsockopt(&mut h.cx, &h.net, s, 6, 2, &mut out).unwrap();
        i32::from_ne_bytes(out)
    };
    assert_eq!(mss, 1500 - 60 - 8 - 12);
}

#[test]
fn hop_by_hop_options_stand_in_each_fragment() {
    let (mut w, a, b) = pair();
    on(&mut w, 1, b, 53);
    set(&mut w, 0, a, 54, &OPTIONS).expect("IPV6_HOPOPTS");
    let data: Vec<u8> = (0..4000u32).map(|i| i as u8).collect();
    send(&mut w, a, &SendOpts::default(), far(), &data).expect("send");
    w.run(100);
    let p = packets(&w);
    assert_eq!(p.len(), 3);
    for p in &p {
        let kinds: Vec<u8> = ipv6::Chain::new(p, p[6]).map(|e| e.unwrap().kind).collect();
        assert_eq!(kinds, [next::HOP_BY_HOP, next::FRAGMENT]);
        assert!(p.len() <= 1500);
    }
    let d = get(&mut w, 1, b).expect("put together");
    assert_eq!(d.m.as_slice(), data);
    assert_eq!(d.ext.as_ref().map(|e| e.headers.len()), Some(1));
    free(&mut w, 1, d);
    w.end();
}

#[test]
fn who_may_not_fragment_hears_the_path_mtu() {
    let (mut w, a, b) = pair();
    let long = vec![1; 2000];
    let dont = SendOpts { dontfrag: true, ..SendOpts::default() };
    assert_eq!(send(&mut w, a, &dont, far(), &long), Err(Errno::EMSGSIZE), "control message IPV6_DONTFRAG");
    // IPV6_RECVPATHMTU, IPV6_DONTFRAG, IPV6_RECVERR.
    for name in [60, 62, 25] {
        on(&mut w, 0, a, name);
    }
    assert_eq!(send(&mut w, a, &SendOpts::default(), far(), &long), Err(Errno::EMSGSIZE));
    let d = get(&mut w, 0, a).expect("word of the path MTU");
    assert_eq!((d.m.len(), d.mtu, d.from.ip()), (0, 1500, far().into()));
    free(&mut w, 0, d);
    let e = w.hosts[0].s.sockets.take_queued_error(a).expect("in the queue of errors, too");
    assert_eq!((e.errno, e.info, e.origin), (Errno::EMSGSIZE, 1500, 1));
    set(&mut w, 0, a, 62, &[0; 4]).unwrap();
    send(&mut w, a, &SendOpts::default(), far(), &long).expect("in fragments");
    // IPV6_PATHMTU.
    let h = &mut w.hosts[0].s;
    let mut out = [0; 32];
    let r = h.sockets.getsockopt(&mut h.cx, &h.net, a, IPV6, 61, &mut out);
    assert_eq!(r, Err(Errno::ENOTCONN));
    h.sockets.connect(&mut h.cx, &mut h.net, a, Some(outside(far(), 7))).unwrap();
    assert_eq!(h.sockets.getsockopt(&mut h.cx, &h.net, a, IPV6, 61, &mut out), Ok(32));
    assert_eq!(out, mtu_info(outside(far(), 7), 1500));
    w.run(100);
    let d = get(&mut w, 1, b).expect("the fragments");
    free(&mut w, 1, d);
    w.end();
}

#[test]
fn the_source_and_the_interface_may_be_said() {
    let (mut w, a, b) = pair();
    w.hosts[0].addr("2001:db8::11", 64);
    w.run(2000);
    let src = |s: &str| SendOpts { src: Some(a6(s).into()), ..SendOpts::default() };
    assert_eq!(send(&mut w, a, &src("2001:db8::77"), far(), b"x"), Err(Errno::EINVAL), "not ours");
    assert_eq!(send(&mut w, a, &src("fe80::1"), far(), b"x"), Err(Errno::EINVAL), "whose link?");
    send(&mut w, a, &src("2001:db8::11"), far(), b"by control message").expect("send");
    // IPV6_PKTINFO as an option holds for all of them.
    let info = [&a6("2001:db8::11").octets()[..], &2i32.to_ne_bytes()].concat();
    assert_eq!(set(&mut w, 0, a, 50, &info[..19]), Err(Errno::EINVAL));
    set(&mut w, 0, a, 50, &info).expect("IPV6_PKTINFO");
    send(&mut w, a, &SendOpts::default(), far(), b"by option").expect("send");
    set(&mut w, 0, a, 50, &[0; 20]).expect("none");
    send(&mut w, a, &SendOpts::default(), far(), b"by choice").expect("send");
    w.run(100);
    for want in ["2001:db8::11", "2001:db8::11", ""] {
        let d = get(&mut w, 1, b).expect("a datagram");
        assert!(want.is_empty() || d.from.ip() == a6(want), "{} for {want}", d.from);
        free(&mut w, 1, d);
    }
    // IPV6_UNICAST_IF of a link that does not lead there.
    set(&mut w, 0, a, 76, &1u32.to_be_bytes()).expect("lo0");
    let h = &mut w.hosts[0].s;
    let mut out = [0; 4];
    assert_eq!(h.sockets.getsockopt(&mut h.cx, &h.net, a, IPV6, 76, &mut out), Ok(4));
    assert_eq!(out, 1u32.to_be_bytes());
    assert_eq!(set(&mut w, 0, a, 76, &9u32.to_be_bytes()), Err(Errno::EADDRNOTAVAIL));
    w.end();
}

#[test]
fn raw_sockets_are_summed_and_filtered() {
    let (mut w, ..) = pair();
    let (p, q) = (w.hosts[0].socket(SockType::Raw, 58), w.hosts[1].socket(SockType::Raw, 58));
    // Neighbour Discovery is none of our business here.
    let mut f = [0xff; 32];
    f[16..20].copy_from_slice(&(!3u32).to_ne_bytes());
    for (h, s) in [(0, p), (1, q)] {
        at(&mut w, h, s, 58, 1, &f).expect("ICMP6_FILTER");
    }
    // ICMPv6's checksum is the stack's business, whatever stands there.
    let echo = |id: u8| [128, 0, 0xde, 0xad, 0, id, 0, 1, 7];
    let to = |w: &mut Wire, s, b: &[u8]| {
        let h = &mut w.hosts[0].s;
        let m = h.cx.mbufs.copy_of(b).unwrap();
        h.sockets.send_to(&mut h.cx, &mut h.net, s, Some(outside(far(), 0)), &SendOpts::default(), m)
    };
    to(&mut w, p, &echo(1)).expect("send");
    w.run(100);
    let d = get(&mut w, 1, q).expect("the request: no ICMPv6 header was wrong");
    assert_eq!(d.m.as_slice()[..2], [128, 0]);
    free(&mut w, 1, d);
    let d = get(&mut w, 0, p).expect("the reply");
    assert_eq!(d.m.as_slice()[..2], [129, 0]);
    free(&mut w, 0, d);
    // ICMP6_FILTER: a set bit keeps a type away.
    f[16] |= 2;
    at(&mut w, 0, p, 58, 1, &f).expect("ICMP6_FILTER");
    to(&mut w, p, &echo(2)).expect("send");
    w.run(100);
    assert!(get(&mut w, 0, p).is_none(), "the reply is filtered");
    let d = get(&mut w, 1, q).expect("the request is not");
    free(&mut w, 1, d);
    assert_eq!(to(&mut w, p, &[128]), Err(Errno::EINVAL), "no room for the checksum");
    // IPV6_CHECKSUM of another protocol; who has it hears only what adds up.
    let (x, y) = (w.hosts[0].socket(SockType::Raw, 99), w.hosts[1].socket(SockType::Raw, 99));
    assert_eq!(set(&mut w, 1, y, 7, &3i32.to_ne_bytes()), Err(Errno::EINVAL), "odd");
    set(&mut w, 1, y, 7, &4i32.to_ne_bytes()).expect("IPV6_CHECKSUM");
    to(&mut w, x, &[1; 8]).expect("send");
    set(&mut w, 0, x, 7, &4i32.to_ne_bytes()).expect("IPV6_CHECKSUM");
    to(&mut w, x, &[2; 8]).expect("send");
    w.run(100);
    let d = get(&mut w, 1, y).expect("the second");
    assert_eq!(d.m.as_slice()[..4], [2; 4]);
    free(&mut w, 1, d);
    assert!(get(&mut w, 1, y).is_none());
    w.end();
}

#[test]
fn a_program_may_write_the_header_itself() {
    let (mut w, _, b) = pair();
    let s = w.hosts[0].socket(SockType::Raw, 17);
    on(&mut w, 0, s, 36);
    let (src, dst) = (a6("2001:db8::1"), far());
    let mut udp = vec![0, 9, 0, 7, 0, 12, 0, 0, 1, 2, 3, 4];
    let mut sum = iopkt_wire::checksum::pseudo(src.into(), dst.into(), 17, 12);
    sum.add(&udp);
    udp[6..8].copy_from_slice(&sum.finish().to_be_bytes());
    let f = frame([0; 6], src, dst, 33, 17, &udp);
    let h = &mut w.hosts[0].s;
    for (bytes, want) in [(&f[14..], Ok(())), (&f[14..53], Err(Errno::EINVAL))] {
        let m = h.cx.mbufs.copy_of(bytes).unwrap();
        let to = Some(outside(dst, 0));
        let r = h.sockets.send_to(&mut h.cx, &mut h.net, s, to, &SendOpts::default(), m);
        assert_eq!(r, want);
    }
    w.run(100);
    let d = get(&mut w, 1, b).expect("a datagram");
    assert_eq!((d.m.as_slice(), d.ttl, d.from.port()), (&[1, 2, 3, 4][..], 33, 9));
    free(&mut w, 1, d);
    w.end();
}

/// A `struct group_source_req` of the Ethernet interface.
fn group_source(group: &str, source: &str) -> Vec<u8> {
    let mut v = vec![0; 264];
    v[..4].copy_from_slice(&ETH.to_ne_bytes());
    for (at, a) in [(8, group), (136, source)] {
        v[at..at + 2].copy_from_slice(&10u16.to_ne_bytes());
        v[at + 8..at + 24].copy_from_slice(&a6(a).octets());
    }
    v
}

#[test]
fn groups_may_be_heard_from_some_sources_only() {
    const GROUP: &str = "ff0e::7";
    let (mut w, a, b) = pair();
    // MCAST_JOIN_SOURCE_GROUP of somebody else, then of the sender.
    set(&mut w, 1, b, 46, &group_source(GROUP, "2001:db8::99")).expect("join");
    on(&mut w, 0, a, 19);
    set(&mut w, 0, a, 17, &ETH.to_ne_bytes()).expect("IPV6_MULTICAST_IF");
    w.run(1000);
    send(&mut w, a, &SendOpts::default(), a6(GROUP), b"unheard").expect("send");
    w.run(100);
    assert!(get(&mut w, 1, b).is_none());
    set(&mut w, 1, b, 46, &group_source(GROUP, "2001:db8::1")).expect("join");
    assert_eq!(set(&mut w, 1, b, 46, &group_source(GROUP, "2001:db8::1")), Err(Errno::EADDRNOTAVAIL));
    send(&mut w, a, &SendOpts::default(), a6(GROUP), b"heard").expect("send");
    w.run(100);
    let d = get(&mut w, 1, b).expect("a datagram");
    assert_eq!((d.m.as_slice(), d.ttl), (&b"heard"[..], 1));
    free(&mut w, 1, d);
    // MCAST_MSFILTER, read: INCLUDE of the two.
    let mut out = [0; 144 + 3 * 128];
    out[..144].copy_from_slice(&group_source(GROUP, "::")[..144]);
    let h = &mut w.hosts[1].s;
    assert_eq!(h.sockets.getsockopt(&mut h.cx, &h.net, b, IPV6, 48, &mut out), Ok(144 + 2 * 128));
    assert_eq!(out[136..144], [1, 0, 0, 0, 2, 0, 0, 0]);
    assert_eq!(out[152..168], a6("2001:db8::99").octets());
    // The last one that leaves ends the membership; ASM sockets block sources.
    for s in ["2001:db8::1", "2001:db8::99"] {
        set(&mut w, 1, b, 47, &group_source(GROUP, s)).expect("leave");
    }
    assert_eq!(set(&mut w, 1, b, 47, &group_source(GROUP, "2001:db8::1")), Err(Errno::EINVAL));
    let all = &group_source(GROUP, "::")[..136];
    set(&mut w, 1, b, 42, all).expect("MCAST_JOIN_GROUP");
    set(&mut w, 1, b, 43, &group_source(GROUP, "2001:db8::1")).expect("MCAST_BLOCK_SOURCE");
    send(&mut w, a, &SendOpts::default(), a6(GROUP), b"blocked").expect("send");
    w.run(100);
    assert!(get(&mut w, 1, b).is_none());
    set(&mut w, 1, b, 44, &group_source(GROUP, "2001:db8::1")).expect("MCAST_UNBLOCK_SOURCE");
    set(&mut w, 1, b, 45, all).expect("MCAST_LEAVE_GROUP");
    assert_eq!(set(&mut w, 1, b, 45, all), Err(Errno::EADDRNOTAVAIL));
    w.end();
}
