//! ECN's bits on their way between the TCP machine and the IP header, and the variables that switch it (RFC 3168).

mod world;

use world::*;

const TCP: i32 = 6;
const IP: i32 = 0;

/// TCPI_OPT_ECN (8) and TCPI_OPT_ECN_SEEN (16) of a socket.
fn ecn(w: &mut World, h: usize, s: iopkt_stack::sockets::SockId) -> u8 {
    let mut info = [0; 104];
    w.get_bytes(h, s, TCP, 11, &mut info).unwrap();
    info[5] & 24
}

fn enable(w: &mut World, h: usize, v: u32) {
    assert!(w.hosts[h].sockets.set_tunable("net.inet.tcp.ecn.enable", v));
}

#[test]
fn by_default_it_is_agreed_to_and_not_asked_for() {
    let mut w = World::new(1);
    assert_eq!(w.hosts[A].sockets.tunable("net.inet.tcp.ecn.enable"), Some(2));
    let l = w.listener(80, 5);
    let (plain, _) = w.pair(l, 80);
    enable(&mut w, A, 1);
    let (c, s) = w.pair(l, 80);
    enable(&mut w, B, 0);
    let (off, _) = w.pair(l, 80);
    assert_eq!([plain, c, off].map(|s| ecn(&mut w, A, s)), [0, 8, 0]);
    assert_eq!(ecn(&mut w, B, s), 8);
    assert!(!w.hosts[A].sockets.set_tunable("net.inet.tcp.ecn.enable", 3));
}

#[test]
fn data_is_ect_beside_the_programs_tos_and_marks_come_up() {
    // [RFC3168 6.1.1e] [RFC3168 6.1.2a]
    let mut w = World::new(2);
    enable(&mut w, A, 1);
    let l = w.listener(80, 5);
    let (c, s) = w.pair(l, 80);
    // The two bits are not the program's.
    w.set(A, c, IP, 1, 0x12 | 1).unwrap();
    w.toses.clear();
    w.marks = true;
    w.write(A, c, &[7; 30_000]).unwrap();
    w.settle();
    assert_eq!(w.read(B, s).len(), 30_000);
    let right = |(h, t, len): &(usize, u8, usize)| *t == if *h == A && *len > 32 { 0x12 } else { *t & 0xfc };
    assert!(w.toses.iter().all(right), "{:?}", w.toses);
    assert!(w.toses.contains(&(A, 0x12, 1500 - Via::now().header())), "{:?}", w.toses);
    assert!(
        w.toses.iter().all(|(h, t, len)| *len > 40 || (t & 3 == 0 && (*h == B || *t == 0x10))),
        "pure ACKs are not"
    );
    assert_eq!(ecn(&mut w, B, s), 24, "B saw marks");
    let mut info = [0; 104];
    w.get_bytes(A, c, TCP, 11, &mut info).unwrap();
    let ssthresh = u32::from_ne_bytes(info[76..80].try_into().unwrap());
    assert!(ssthresh < 20, "A slowed down: {ssthresh}");
}

#[test]
fn over_ipv6_and_by_mapped_addresses() {
    again(&[], &[]);
}
