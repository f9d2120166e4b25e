//! What RFC 9293 asks of the layer between TCP, IP and programs: addresses, ICMP, what a program may set.

mod world;

use iopkt_base::{Duration, Errno, Instant};
use iopkt_stack::sockets::{SockId, ev};
use iopkt_stack::{IcmpErr, IpOut};
use iopkt_wire::tcp::{Flags, Header};
use std::net::SocketAddr;
use world::*;

const TCP: i32 = 6;

/// What host `h` hands down now, taken before it goes anywhere.
fn sent(w: &mut World, h: usize) -> Vec<IpOut> {
    let now = w.now;
    let h = &mut w.hosts[h];
    h.begin(now);
    h.sockets.output(&mut h.cx, &mut h.net);
    h.cx.down.drain(..).collect()
}

/// Gives a packet to B as if it had come from the network.
fn arrives(w: &mut World, o: IpOut) -> Vec<IpOut> {
    w.deliver(B, o);
    sent(w, B)
}

fn connecting(w: &mut World) -> SockId {
    let c = w.tcp(A);
    assert_eq!(w.connect(A, c, sa(B, 80)), Err(Errno::EINPROGRESS));
    c
}

#[test]
fn sums_are_made_and_looked_at() {
    // [RFC9293 MUST-2] [RFC9293 MUST-3]
    let mut w = World::new(1);
    w.listener(80, 5);
    connecting(&mut w);
    let mut syn = sent(&mut w, A).remove(0);
    let bytes = syn.m.as_slice().to_vec();
    let mut sum = iopkt_wire::checksum::pseudo(syn.src, syn.dst, 6, bytes.len() as u32);
    sum.add(&bytes);
    assert!(sum.is_valid());
    // One bit is enough.
    syn.m.as_mut_slice()[5] ^= 4;
    assert!(arrives(&mut w, syn).is_empty());
    assert_eq!(counter(&w, B, "bad checksums"), 1);
}

#[test]
fn addresses_that_nobody_can_have_are_refused_or_ignored() {
    // [RFC9293 MUST-46] [RFC9293 MUST-57] [RFC9293 MUST-63]
    let mut w = World::new(2);
    w.listener(80, 5);
    let (nobody, groups): (&[&str], [&str; 2]) = match Via::now() {
        Via::V6 => (&["ff05::5", "ff0e::1"], ["ff05::5", "ff02::1"]),
        Via::V4 | Via::Mapped => {
            (&["224.0.0.5", "255.255.255.255", "10.0.0.255"], ["10.0.0.255", "224.0.0.1"])
        }
    };
    for to in nobody {
        let c = w.tcp(A);
        let ip = Via::now().outside(to.parse().unwrap());
        assert_eq!(w.connect(A, c, SocketAddr::new(ip, 80)), Err(Errno::ENETUNREACH), "{to}");
    }
    let syn = |w: &mut World| {
        let c = connecting(w);
        let o = sent(w, A).remove(0);
        w.close(A, c);
        o
    };
    for dst in groups {
        let mut o = syn(&mut w);
        o.dst = dst.parse().unwrap();
        assert!(arrives(&mut w, o).is_empty(), "no answer to a SYN to {dst}");
    }
    let mut o = syn(&mut w);
    o.src = groups[1].parse().unwrap();
    assert!(arrives(&mut w, o).is_empty());
}

#[test]
fn listeners_and_connections_share_a_port() {
    // [RFC9293 MUST-41] [RFC9293 MUST-42]
    let mut w = World::new(3);
    let l = w.listener(80, 5);
    let (c, s) = w.pair(l, 80);
    let (d, t) = w.pair(l, 80);
    let m = w.tcp(B);
    w.set(B, m, 1, 2, 1).unwrap();
    w.bind(B, m, any(81)).unwrap();
    w.listen(B, m, 5).unwrap();
    for (a, b, text) in [(c, s, b"one"), (d, t, b"two")] {
        assert_eq!(w.write(A, a, text), Ok(3));
        w.settle();
        assert_eq!(w.read(B, b), text);
    }
}

#[test]
fn the_local_address_is_given_or_found_and_stays() {
    // [RFC9293 MUST-43] [RFC9293 MUST-44] [RFC9293 MUST-45]
    let mut w = World::new(4);
    let l = w.listener(80, 5);
    let (c, _) = w.pair(l, 80);
    assert_eq!(w.hosts[A].sockets.local_addr(c).unwrap().ip(), addr(A));
    let d = w.tcp(A);
    w.bind(A, d, sa(A, 4321)).unwrap();
    assert_eq!(w.connect(A, d, sa(B, 80)), Err(Errno::EINPROGRESS));
    let out = sent(&mut w, A);
    assert!(out.iter().all(|o| o.src == wire(A)));
    assert_eq!(w.hosts[A].sockets.local_addr(d).unwrap(), sa(A, 4321));
    let e = w.tcp(A);
    assert_eq!(w.bind(A, e, sa(98, 5)), Err(Errno::EADDRNOTAVAIL));
}

#[test]
fn programs_set_ttl_and_dscp_also_later() {
    // [RFC9293 MUST-48] [RFC9293 MUST-49] [RFC9293 SHLD-21] [RFC9293 SHLD-22]
    let mut w = World::new(5);
    let l = w.listener(80, 5);
    let (c, _) = w.pair(l, 80);
    for (ttl, tos) in [(9, 0xb8), (77, 0x20)] {
        w.set(A, c, 0, 2, ttl).unwrap();
        w.set(A, c, 0, 1, tos).unwrap();
        assert_eq!(w.write(A, c, b"x"), Ok(1));
        let o = sent(&mut w, A).remove(0);
        assert_eq!((i32::from(o.ttl), i32::from(o.tos & 0xfc)), (ttl, tos));
        w.deliver(B, o);
        w.settle();
    }
}

#[test]
fn programs_give_ip_options_and_segments_leave_room_for_them() {
    // [RFC9293 MUST-16]
    let mut w = World::new(6);
    let l = w.listener(80, 5);
    let c = w.tcp(A);
    let loose = [131, 7, 4, 10, 0, 0, 2, 0];
    assert_eq!(w.set_bytes(A, c, 0, 4, &loose), Err(Errno::EPERM), "no source routes");
    let route = [7, 7, 4, 0, 0, 0, 0, 0];
    w.set_bytes(A, c, 0, 4, &route).unwrap();
    assert_eq!(w.connect(A, c, sa(B, 80)), Err(Errno::EINPROGRESS));
    let syn = sent(&mut w, A).remove(0);
    assert_eq!(syn.options, route);
    let (h, _) = Header::parse(syn.m.as_slice()).unwrap();
    assert_eq!(h.options.mss, Some(1460 - 8));
    w.deliver(B, syn);
    w.settle();
    assert!(w.accept(B, l).is_ok());
}

fn icmp(w: &mut World, c: SockId, code: u8, errno: Errno, hard: bool) {
    let (l, r) = {
        let s = &w.hosts[A].sockets;
        (s.local_addr(c).unwrap(), s.peer_addr(c).unwrap())
    };
    // About the segment that goes next.
    assert_eq!(w.write(A, c, b"?"), Ok(1));
    let o = sent(w, A).remove(0);
    let mut head = [0; 8];
    head.copy_from_slice(&o.m.as_slice()[..8]);
    let e = IcmpErr {
        dst: r.ip().to_canonical(),
        src: l.ip().to_canonical(),
        proto: 6,
        head,
        errno,
        mtu: 0,
        hard,
        from: wire(98),
        icmp: (3, code),
    };
    let h = &mut w.hosts[A];
    h.sockets.icmp_error(&mut h.cx, &mut h.net, &e);
}

#[test]
fn icmp_ends_no_connection_but_is_told_to_who_asks() {
    // [RFC9293 MUST-54] [RFC9293 MUST-56] [RFC9293 SHLD-25] [RFC9293 MUST-47] [RFC9293 SHLD-20]
    let mut w = World::new(7);
    let l = w.listener(80, 5);
    let (c, s) = w.pair(l, 80);
    w.set(A, c, TCP, 1, 1).unwrap();
    for code in [0, 1, 5] {
        icmp(&mut w, c, code, Errno::EHOSTUNREACH, false);
        assert_eq!(w.err(A, c), None, "not asked for");
    }
    w.set(A, c, 0, 11, 1).unwrap();
    icmp(&mut w, c, 1, Errno::EHOSTUNREACH, false);
    assert_eq!(w.err(A, c), Some(Errno::EHOSTUNREACH));
    w.run(Duration::from_secs(10));
    assert_eq!(w.read(B, s), b"????", "what was reported lost came through");
    assert!(!w.saw(A, c, ev::CLOSED));
}

#[test]
fn half_open_connections_are_bounded_and_then_nothing_is_kept() {
    // [RFC4987 3.4] [RFC4987 3.6a]
    let mut w = World::new(8);
    let l = w.listener(80, 5);
    let before = w.hosts[B].sockets.len();
    let c = connecting(&mut w);
    let syn = sent(&mut w, A).remove(0);
    let bytes = syn.m.as_slice().to_vec();
    w.close(A, c);
    for i in 0..1000u32 {
        let mut m = w.mbuf(A, &bytes);
        // Another source port each: the sum is mended by the sequence number's upper half.
        let b = m.as_mut_slice();
        let port = (1025 + i) as u16;
        let old = u16::from_be_bytes([b[0], b[1]]);
        let seq = u16::from_be_bytes([b[4], b[5]]);
        let (new, mended) = (port, ones(seq, old, port));
        b[..2].copy_from_slice(&new.to_be_bytes());
        b[4..6].copy_from_slice(&mended.to_be_bytes());
        let IpOut { src, dst, proto, ttl, tos, df, oif, dontroute, hdrincl, mcast_loop, .. } = syn;
        let (options, rest) = Default::default();
        let o =
            IpOut { src, dst, proto, ttl, tos, df, oif, dontroute, hdrincl, options, mcast_loop, m, rest };
        let out = arrives(&mut w, o);
        let (h, _) = Header::parse(out[0].m.as_slice()).unwrap();
        assert_eq!(h.flags, Flags::SYN | Flags::ACK, "everybody gets an answer");
    }
    assert!(w.hosts[B].sockets.len() - before <= 128);
    assert_eq!(w.hosts[B].sockets.accept_waiting(l), 0);
}

/// `word` plus `old` less `new` in one's complement.
fn ones(word: u16, old: u16, new: u16) -> u16 {
    let s = u32::from(word) + u32::from(old) + u32::from(!new);
    let s = (s & 0xffff) + (s >> 16);
    ((s & 0xffff) + (s >> 16)) as u16
}

#[test]
fn the_maximum_and_retries_act_on_connections() {
    // [RFC9293 MUST-21] [RFC9293 MUST-22]
    let mut w = World::new(9);
    let l = w.listener(80, 5);
    let (c, _) = w.pair(l, 80);
    w.set(A, c, TCP, 2, 200).unwrap();
    assert_eq!(w.write(A, c, &[7; 2000]), Ok(2000));
    assert!(sent(&mut w, A).iter().all(|o| o.m.as_slice().len() <= 20 + 200));
    // A connect under way is given up earlier.
    w.loss_from(A, 1.0);
    let d = connecting(&mut w);
    w.run(Duration::from_millis(500));
    w.set(A, d, TCP, 7, 1).unwrap();
    let start: Instant = w.now;
    assert!(w.run_until(Duration::from_secs(300), |w| w.saw(A, d, ev::ERROR)));
    assert!(w.now.since(start) < Duration::from_secs(10));
    assert_eq!(w.err(A, d), Some(Errno::ETIMEDOUT));
}

#[test]
fn time_wait_lasts_as_long_as_the_variable_says() {
    // [RFC9293 MUST-13]
    let mut w = World::new(10);
    for h in [A, B] {
        assert!(w.hosts[h].sockets.set_tunable("net.inet.tcp.msl", 5));
    }
    let l = w.listener(80, 5);
    let (c, s) = w.pair(l, 80);
    w.close(A, c);
    w.settle();
    w.close(B, s);
    w.settle();
    assert_eq!(w.hosts[A].sockets.len(), 1);
    w.run(Duration::from_secs(5));
    assert_eq!(w.hosts[A].sockets.len(), 1);
    w.run(Duration::from_secs(4));
    assert_eq!(w.hosts[A].sockets.len(), 0);
}

#[test]
fn over_ipv6_and_by_mapped_addresses() {
    again(&["programs_give_ip_options"], &[]);
}
