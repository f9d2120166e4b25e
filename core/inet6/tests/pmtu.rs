//! Path MTU discovery (RFC 8201): whose reports are believed, how far, and how long.

mod common;

use common::*;
use iopkt_base::Errno;
use iopkt_stack::sockets::SockType;
use iopkt_wire::icmp6::ty;
use std::net::Ipv6Addr;

fn me() -> Ipv6Addr {
    a6("2001:db8::1")
}

fn far() -> Ipv6Addr {
    a6("2001:db8::77")
}

fn one() -> Wire {
    let mut w = Wire::new(vec![Host::new(1)]);
    w.hosts[0].up();
    w.hosts[0].addr("2001:db8::1", 64);
    w.run(3000);
    w
}

/// A report of `said` bytes about a packet of ours of this protocol and first bytes.
fn too_big(w: &mut Wire, said: u32, proto: u8, head: &[u8]) {
    let mut b = vec![ty::TOO_BIG, 0, 0, 0];
    b.extend(said.to_be_bytes());
    b.extend(&frame([0; 6], me(), far(), 64, proto, head)[14..]);
    let router = a6("2001:db8::ff");
    let f = frame(w.hosts[0].mac, router, me(), 64, 58, &summed(b, router, me()));
    w.inject(0, f);
    w.run(10);
}

fn mtu(w: &Wire) -> u32 {
    w.hosts[0].s.net.path(far().into(), None, 0).unwrap().mtu
}

#[test]
fn a_report_about_what_nobody_sent_leaves_no_trace() {
    // [RFC8201 4]
    let mut w = one();
    let datagram = [0, 5, 0, 9, 0, 9, 0, 0, 1];
    too_big(&mut w, 1300, 17, &datagram);
    assert_eq!((mtu(&w), w.hosts[0].s.net.pmtu.len()), (1500, 0));
    let u = w.hosts[0].udp("[::]:6");
    too_big(&mut w, 1300, 17, &datagram);
    assert_eq!(w.hosts[0].s.net.pmtu.len(), 0, "another port");
    // A stream whose numbers nobody can guess, a protocol that is not here, a later piece.
    let l = w.hosts[0].socket(SockType::Stream, 6);
    let h = &mut w.hosts[0].s;
    h.sockets.bind(&mut h.cx, &h.net, l, "[::]:80".parse().unwrap()).unwrap();
    h.sockets.listen(&mut h.cx, l, 5).unwrap();
    too_big(&mut w, 1300, 6, &[0, 80, 0, 9, 0, 0, 0, 1, 0, 0, 0, 0]);
    too_big(&mut w, 1300, 99, &[0; 12]);
    too_big(&mut w, 1300, 44, &[17, 0, 0x05, 0xa8, 0, 0, 0, 9, 0, 6, 0, 9, 0, 0, 0, 0]);
    assert_eq!(w.hosts[0].s.net.pmtu.len(), 0);
    too_big(&mut w, 1300, 17, &[0, 6, 0, 9, 0, 9, 0, 0, 1]);
    assert_eq!(mtu(&w), 1300);
    let _ = u;
    w.end();
}

#[test]
fn a_report_about_a_long_answer_to_an_echo_is_believed() {
    let mut w = one();
    // Nobody asked yet.
    too_big(&mut w, 1300, 58, &[129, 0, 0, 0, 0, 1, 0, 2]);
    assert_eq!(mtu(&w), 1500);
    let mut ask = |len: usize| {
        let mut b = vec![128, 0, 0, 0, 0, 1, 0, 2];
        b.resize(len, 7);
        let f = frame(w.hosts[0].mac, far(), me(), 64, 58, &summed(b, far(), me()));
        w.inject(0, f);
        w.run(10);
        too_big(&mut w, 1300, 58, &[129, 0, 0, 0, 0, 1, 0, 2]);
        mtu(&w)
    };
    assert_eq!(ask(64), 1500, "that one fits every link");
    assert_eq!(ask(1400), 1300);
    w.end();
}

#[test]
fn the_smallest_mtu_of_links_is_the_smallest_of_paths_and_all_of_them_end() {
    // [RFC8201 4b] [RFC8201 5.2] [RFC8200 5a] [RFC4443 3.2b]
    // [RFC8201 4] [RFC8201 5.3]
    let mut w = one();
    let u = w.hosts[0].udp("[::]:5");
    let datagram = [0, 5, 0, 9, 0, 9, 0, 0, 1];
    too_big(&mut w, 1279, 17, &datagram);
    too_big(&mut w, 0, 17, &datagram);
    too_big(&mut w, 9000, 17, &datagram);
    assert_eq!(mtu(&w), 1500);
    too_big(&mut w, 1280, 17, &datagram);
    assert_eq!(mtu(&w), 1280);
    too_big(&mut w, 1400, 17, &datagram);
    assert_eq!(mtu(&w), 1280, "a report only lowers it");
    // Larger datagrams are cut to it; whoever does not want that hears the size.
    let key = (ETH, far().into());
    let h = &mut w.hosts[0].s;
    h.net.neigh.set(&mut h.cx, key, [2, 0, 0, 0, 0, 0xee], true, false).unwrap();
    w.log.clear();
    w.hosts[0].send(u, far(), 9, &[0; 1400]).unwrap();
    w.run(10);
    assert!(w.log.len() == 2 && w.log.iter().all(|(_, f)| f.len() <= 1280 + 14));
    let h = &mut w.hosts[0].s;
    h.sockets.setsockopt(&mut h.cx, &mut h.net, u, 41, 62, &1i32.to_ne_bytes()).unwrap();
    assert_eq!(w.hosts[0].send(u, far(), 9, &[0; 1400]), Err(Errno::EMSGSIZE));
    w.run(599_000);
    assert_eq!(mtu(&w), 1280);
    w.run(2000);
    assert_eq!(mtu(&w), 1500, "after ten minutes, not before five");
    w.end();
}
