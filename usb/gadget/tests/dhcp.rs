//! The DHCP server, message by message.

use iopkt_base::{Duration, Instant};
use iopkt_gadget::nethost::dhcp::Server;
use proptest::prelude::*;
use std::net::Ipv4Addr;

const US: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const FIRST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 184);

fn message(client: u8, kind: u8, options: &[(u8, &[u8])], ciaddr: Ipv4Addr) -> Vec<u8> {
    let mut b = vec![0; 236];
    b[..3].copy_from_slice(&[1, 1, 6]);
    b[4..8].copy_from_slice(&[0xde, 0xad, 0xbe, client]);
    b[12..16].copy_from_slice(&ciaddr.octets());
    b[28..34].copy_from_slice(&[2, 0, 0, 0, 0, client]);
    b.extend_from_slice(&[99, 130, 83, 99, 53, 1, kind]);
    for (code, v) in options {
        b.extend_from_slice(&[*code, v.len() as u8]);
        b.extend_from_slice(v);
    }
    b.push(255);
    b
}

/// Type, address and options of a reply.
fn read(r: &[u8]) -> (u8, Ipv4Addr, Vec<(u8, Vec<u8>)>) {
    assert!(r.len() >= 300 && r[0] == 2);
    let yours = Ipv4Addr::new(r[16], r[17], r[18], r[19]);
    let mut options = Vec::new();
    let mut at = 240;
    while r[at] != 255 {
        let len = usize::from(r[at + 1]);
        options.push((r[at], r[at + 2..at + 2 + len].to_vec()));
        at += 2 + len;
    }
    (options.iter().find(|o| o.0 == 53).unwrap().1[0], yours, options)
}

const NONE: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

#[test]
fn discover_offer_request_ack() {
    let mut s = Server::new(US, 8, FIRST);
    let t = Instant::from_millis(1);
    let offer = s.input(t, &message(7, 1, &[], NONE)).unwrap();
    assert!(offer.broadcast);
    assert_eq!(offer.bytes[4..8], [0xde, 0xad, 0xbe, 7], "the client knows its transaction");
    let (kind, addr, options) = read(&offer.bytes);
    assert_eq!((kind, addr), (2, FIRST));
    let value = |c: u8| options.iter().find(|o| o.0 == c).map(|o| o.1.clone());
    assert_eq!(value(54), Some(US.octets().to_vec()));
    assert_eq!(value(1), Some(vec![255, 0, 0, 0]));
    assert_eq!((value(3), value(6)), (Some(US.octets().to_vec()), Some(US.octets().to_vec())));
    assert_eq!(value(51), Some(3600u32.to_be_bytes().to_vec()));
    let wanted = FIRST.octets();
    let ack = s.input(t, &message(7, 3, &[(50, &wanted), (54, &US.octets())], NONE)).unwrap();
    assert_eq!(read(&ack.bytes).0, 5);
    // Another client gets another address; the first keeps its own.
    let other = s.input(t, &message(8, 1, &[(50, &wanted)], NONE)).unwrap();
    assert_eq!(read(&other.bytes).1, Ipv4Addr::new(10, 0, 0, 185));
    let again = s.input(t, &message(7, 1, &[], NONE)).unwrap();
    assert_eq!(read(&again.bytes).1, FIRST);
    // It renews by unicast.
    let renewed = s.input(t, &message(7, 3, &[], FIRST)).unwrap();
    assert!(!renewed.broadcast && read(&renewed.bytes).0 == 5);
}

#[test]
fn refusals_and_ends() {
    let mut s = Server::new(US, 8, FIRST);
    let t = Instant::from_millis(1);
    for bad in [Ipv4Addr::new(192, 168, 0, 1), US, Ipv4Addr::new(10, 255, 255, 255)] {
        let nak = s.input(t, &message(7, 3, &[(50, &bad.octets())], NONE)).unwrap();
        assert_eq!((read(&nak.bytes).0, nak.broadcast), (6, true), "{bad}");
    }
    let theirs = Ipv4Addr::new(10, 0, 0, 2).octets();
    assert_eq!(s.input(t, &message(7, 3, &[(50, &FIRST.octets()), (54, &theirs)], NONE)), None);
    assert_eq!(s.input(t, &message(7, 3, &[], NONE)), None);
    // Declined by one, it is nobody's for a while.
    assert_eq!(s.input(t, &message(7, 4, &[(50, &FIRST.octets())], NONE)), None);
    let next = Ipv4Addr::new(10, 0, 0, 185);
    assert_eq!(read(&s.input(t, &message(8, 1, &[], NONE)).unwrap().bytes).1, next);
    let later = t + Duration::from_secs(4000);
    assert_eq!(read(&s.input(later, &message(9, 1, &[], NONE)).unwrap().bytes).1, FIRST);
    // Released, it is free.
    assert_eq!(s.input(later, &message(9, 7, &[], FIRST)), None);
    assert_eq!(read(&s.input(later, &message(10, 1, &[], NONE)).unwrap().bytes).1, FIRST);
    let inform = s.input(later, &message(11, 8, &[], Ipv4Addr::new(10, 9, 9, 9))).unwrap();
    let (kind, yours, options) = read(&inform.bytes);
    assert_eq!((kind, yours), (5, NONE));
    assert!(options.iter().all(|o| o.0 != 51), "no lease time in an answer to INFORM");
}

#[test]
fn a_full_range_offers_nothing() {
    let mut s = Server::new(US, 8, FIRST);
    let t = Instant::from_millis(1);
    let got: Vec<_> =
        (0..100).filter_map(|c| s.input(t, &message(c, 1, &[], NONE))).map(|r| read(&r.bytes).1).collect();
    let mut distinct = got.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!((got.len(), distinct.len()), (64, 64));
}

proptest! {
    #[test]
    fn garbage_is_harmless(mut b in proptest::collection::vec(any::<u8>(), 230..400), like in any::<bool>()) {
        let mut s = Server::new(US, 8, FIRST);
        if like && b.len() > 244 {
            b[..3].copy_from_slice(&[1, 1, 6]);
            b[24..28].fill(0);
            b[236..240].copy_from_slice(&[99, 130, 83, 99]);
        }
        if let Some(r) = s.input(Instant::from_millis(1), &b) {
            prop_assert!(r.bytes.len() >= 300);
        }
    }
}
