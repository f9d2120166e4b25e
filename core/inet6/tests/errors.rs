//! ICMPv6 errors (RFC 4443): how many, how long, and those of kinds that are not known.

mod common;

use common::*;
use iopkt_base::Errno;
use iopkt_stack::sockets::SockType;
use iopkt_wire::icmp6::ty;

fn one() -> Wire {
    let mut w = Wire::new(vec![Host::new(1)]);
    w.hosts[0].up();
    w.hosts[0].addr("2001:db8::1", 64);
    w.run(3000);
    let h = &mut w.hosts[0].s;
    let key = (ETH, a6("2001:db8::77").into());
    h.net.neigh.set(&mut h.cx, key, [2, 0, 0, 0, 0, 0xee], true, false).unwrap();
    w.log.clear();
    w
}

/// A datagram of this length to a port that nobody has.
fn knock(w: &mut Wire, len: usize) {
    let (src, dst) = (a6("2001:db8::77"), a6("2001:db8::1"));
    let mut d = vec![0, 9, 0, 8, 0, 0, 0, 0];
    d[4..6].copy_from_slice(&(len as u16).to_be_bytes());
    d.resize(len, 0x55);
    let mut sum = iopkt_wire::checksum::pseudo(src.into(), dst.into(), 17, len as u32);
    sum.add(&d);
    d[6..8].copy_from_slice(&sum.finish().to_be_bytes());
    let f = frame(w.hosts[0].mac, src, dst, 64, 17, &d);
    w.inject(0, f);
}

#[test]
fn so_many_in_a_second_and_as_long_as_fits_every_link() {
    // [RFC4443 2.4c] [RFC4443 2.4f] [RFC4443 3.1c]
    let mut w = one();
    knock(&mut w, 1400);
    w.run(10);
    let e = w.sent(0, ty::UNREACHABLE);
    assert_eq!((e.len(), e[0][41], e[0].len()), (1, 4, 1280));
    w.run(2000);
    w.log.clear();
    for _ in 0..300 {
        knock(&mut w, 20);
    }
    w.run(500);
    assert_eq!(w.sent(0, ty::UNREACHABLE).len(), 100, "net.inet6.icmp6.errppslimit");
    w.run(1000);
    knock(&mut w, 20);
    w.run(10);
    assert_eq!(w.sent(0, ty::UNREACHABLE).len(), 101);
    w.end();
}

#[test]
fn an_error_of_a_kind_that_is_not_known_reaches_who_sent_and_other_kinds_nobody() {
    // [RFC4443 2.4a] [RFC4443 2.4b] [RFC4443 2.4d]
    let mut w = one();
    let (me, he) = (a6("2001:db8::1"), a6("2001:db8::77"));
    let s = w.hosts[0].udp("[::]:5");
    let h = &mut w.hosts[0].s;
    h.sockets.setsockopt(&mut h.cx, &mut h.net, s, 41, 25, &1i32.to_ne_bytes()).unwrap();
    for (kind, want) in [(100, Some(Errno::EPROTO)), (200, None)] {
        let mut b = vec![kind, 0, 0, 0, 0, 0, 0, 0];
        b.extend(&frame([0; 6], me, he, 64, 17, &[0, 5, 0, 9, 0, 9, 0, 0, 1])[14..]);
        let f = frame(w.hosts[0].mac, he, me, 64, 58, &summed(b, he, me));
        w.inject(0, f);
        w.run(10);
        assert_eq!(w.hosts[0].s.sockets.take_error(s), want, "type {kind}");
    }
    assert!(w.log.is_empty(), "and none is answered");
    w.end();
}

#[test]
fn each_kind_reaches_the_program_whose_packet_it_is_about() {
    // [RFC4443 3.1d] [RFC4443 3.2b] [RFC4443 3.3b] [RFC4443 3.4b] [RFC4443 2.3]
    let mut w = one();
    let (me, he) = (a6("2001:db8::1"), a6("2001:db8::77"));
    let s = w.hosts[0].udp("[::]:5");
    let h = &mut w.hosts[0].s;
    h.sockets.setsockopt(&mut h.cx, &mut h.net, s, 41, 25, &1i32.to_ne_bytes()).unwrap();
    let mut say = |kind, code, word: u32, port, good| {
        let mut b = vec![kind, code, 0, 0];
        b.extend(word.to_be_bytes());
        b.extend(&frame([0; 6], me, he, 64, 17, &[0, port, 0, 9, 0, 9, 0, 0, 1])[14..]);
        let mut b = summed(b, he, me);
        b[2] ^= if good { 0 } else { 0x55 };
        let f = frame(w.hosts[0].mac, he, me, 64, 58, &b);
        w.inject(0, f);
        w.run(10);
        w.hosts[0].s.sockets.take_error(s)
    };
    for (kind, code, word, want) in [
        (ty::UNREACHABLE, 0, 0, Errno::ENETUNREACH),
        (ty::UNREACHABLE, 1, 0, Errno::EACCES),
        (ty::UNREACHABLE, 3, 0, Errno::EHOSTUNREACH),
        (ty::UNREACHABLE, 4, 0, Errno::ECONNREFUSED),
        (ty::TOO_BIG, 0, 1400, Errno::EMSGSIZE),
        (ty::TIME_EXCEEDED, 0, 0, Errno::EHOSTUNREACH),
        (ty::PARAM_PROBLEM, 1, 6, Errno::EPROTO),
    ] {
        assert_eq!(say(kind, code, word, 5, true), Some(want), "type {kind} code {code}");
        assert_eq!(say(kind, code, word, 5, false), None, "a wrong checksum");
        assert_eq!(say(kind, code, word, 6, true), None, "another's");
    }
    w.end();
}

#[test]
fn checksums_of_datagrams_are_not_optional() {
    // [RFC8200 8.1a] [RFC8200 8.1b]
    let mut w = one();
    let (me, he) = (a6("2001:db8::1"), a6("2001:db8::77"));
    let s = w.hosts[0].udp("[::]:5");
    let f = frame(w.hosts[0].mac, he, me, 64, 17, &[0, 9, 0, 5, 0, 9, 0, 0, 1]);
    w.inject(0, f);
    w.run(10);
    assert!(w.hosts[0].recv(s).is_none());
    // What would be zero is all ones: the complement of the rest, as data.
    let sum = |w: &mut Wire, data: &[u8]| {
        w.log.clear();
        w.hosts[0].send(s, he, 9, data).unwrap();
        w.run(10);
        [w.log[0].1[60], w.log[0].1[61]]
    };
    let rest = sum(&mut w, &[0, 0]);
    assert_eq!(sum(&mut w, &rest), [0xff, 0xff]);
    w.end();
}

#[test]
fn a_stream_leaves_room_for_the_header_and_follows_the_path() {
    // [RFC8200 8.3] [RFC8201 5.4a]
    let mut w = Wire::pair();
    let (me, he) = (a6("2001:db8::1"), a6("2001:db8::2"));
    w.hosts[0].addr("2001:db8::1", 64);
    w.hosts[1].addr("2001:db8::2", 64);
    w.run(2000);
    w.log.clear();
    let l = w.hosts[1].socket(SockType::Stream, 6);
    let h = &mut w.hosts[1].s;
    h.sockets.bind(&mut h.cx, &h.net, l, "[::]:80".parse().unwrap()).unwrap();
    h.sockets.listen(&mut h.cx, l, 5).unwrap();
    let c = w.hosts[0].socket(SockType::Stream, 6);
    let h = &mut w.hosts[0].s;
    let _ = h.sockets.connect(&mut h.cx, &mut h.net, c, Some(outside(he, 80)));
    w.run(1000);
    let syn = w.log.iter().find(|(h, f)| *h == 0 && f[20] == 6).unwrap();
    assert_eq!(syn.1[74..78], [2, 4, 0x05, 0xa0], "1500 less 60");
    w.log.clear();
    let h = &mut w.hosts[0].s;
    assert_eq!(h.sockets.write(&mut h.cx, c, &[7; 4000]), Ok(4000));
    w.settle();
    let sent: Vec<Vec<u8>> =
        w.log.iter().filter(|(h, f)| *h == 0 && f.len() > 1400).map(|x| x.1.clone()).collect();
    assert!(!sent.is_empty());
    // A router on the way cannot carry it.
    let mut b = vec![ty::TOO_BIG, 0, 0, 0, 0, 0, 0x05, 0x14];
    b.extend(&sent[0][14..14 + 120]);
    let f = frame(w.hosts[0].mac, he, me, 64, 58, &summed(b, he, me));
    w.log.clear();
    w.inject(0, f);
    w.run(2000);
    let again: usize = w.log.iter().filter(|(h, f)| *h == 0 && f[20] == 6 && f.len() > 200).count();
    assert!(again > 0, "sent again");
    let h = &mut w.hosts[0].s;
    assert_eq!(h.sockets.write(&mut h.cx, c, &[8; 4000]), Ok(4000));
    w.run(2000);
    let longest = w.log.iter().filter(|(h, _)| *h == 0).map(|(_, f)| f.len()).max().unwrap();
    assert_eq!(longest, 1300 + 14, "in segments of the path");
    w.end();
}
