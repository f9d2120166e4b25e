//! Neighbour Discovery: solicitations, advertisements, unreachability, duplicate detection.

mod common;

use common::*;
use iopkt_base::zone;
use iopkt_wire::icmp6::ty;
use iopkt_wire::nd::{AdvertFlags, neighbor_advert, neighbor_solicit, opt, push_link, push_nonce};

const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 0x77];

fn one() -> Wire {
    let mut w = Wire::new(vec![Host::new(1)]);
    w.hosts[0].up();
    w.hosts[0].addr("2001:db8::1", 64);
    w.run(3000);
    w
}

fn advert(target: &str, f: AdvertFlags, mac: Option<[u8; 6]>) -> Vec<u8> {
    let mut b = neighbor_advert(a6(target), f);
    if let Some(m) = mac {
        push_link(&mut b, opt::TARGET_LINK, m);
    }
    b
}

#[test]
fn a_solicitation_is_answered_and_only_one_that_can_be_believed() {
    // [RFC4861 7.1.1] [RFC4861 7.2.3a] [RFC4861 7.2.4a] [RFC4861 7.2.4b]
    let mut w = one();
    let mac = w.hosts[0].mac;
    let ask = |target: &str, link: bool| {
        let mut b = neighbor_solicit(a6(target));
        if link {
            push_link(&mut b, opt::SOURCE_LINK, OTHER);
        }
        b
    };
    w.inject(0, nd(mac, "2001:db8::77", "2001:db8::1", ask("2001:db8::1", true)));
    w.run(10);
    let said = w.sent(0, ty::NEIGHBOR_ADVERT);
    assert_eq!(said.len(), 1);
    // Solicited and overriding, from the target itself, with our address.
    assert_eq!((said[0][44], &said[0][8..24]), (0x60, &a6("2001:db8::1").octets()[..]));
    assert_eq!(said[0][64..72], [2, 1, 2, 0, 0, 0, 0, 1]);
    // Not believed: a group as target, another hop limit, an option from nobody, nobody asking the address itself.
    w.inject(0, nd(mac, "2001:db8::77", "2001:db8::1", ask("ff02::1", true)));
    w.inject(0, nd(mac, "::", "ff02::1:ff00:1", ask("2001:db8::1", true)));
    w.inject(0, nd(mac, "::", "2001:db8::1", ask("2001:db8::1", false)));
    let (src, dst) = (a6("2001:db8::77"), a6("2001:db8::1"));
    w.inject(0, frame(mac, src, dst, 254, 58, &summed(ask("2001:db8::1", true), src, dst)));
    let mut cut = ask("2001:db8::1", true);
    cut[25] = 0; // an option without length
    w.inject(0, nd(mac, "2001:db8::77", "2001:db8::1", cut));
    w.run(10);
    assert_eq!(w.sent(0, ty::NEIGHBOR_ADVERT).len(), 1);
    // Nobody asks (duplicate detection of another): all nodes are told.
    w.inject(0, nd([0x33, 0x33, 0xff, 0, 0, 1], "::", "ff02::1:ff00:1", ask("2001:db8::1", false)));
    w.run(10);
    let said = w.sent(0, ty::NEIGHBOR_ADVERT);
    assert_eq!((said.len(), said[1][44], &said[1][24..40]), (2, 0x20, &a6("ff02::1").octets()[..]));
    w.end();
}

#[test]
fn three_questions_then_the_packet_is_given_up() {
    // [RFC4861 7.2.2a] [RFC4861 7.2.2e] [RFC6583 7.2]
    let mut w = one();
    let before = w.sent(0, ty::NEIGHBOR_SOLICIT).len();
    let s = w.hosts[0].udp("[::]:0");
    w.hosts[0].send(s, a6("2001:db8::99"), 7, b"x").unwrap();
    w.run(10_000);
    let asked = w.sent(0, ty::NEIGHBOR_SOLICIT);
    assert_eq!(asked.len() - before, 3);
    assert_eq!(asked[before][24..40], a6("ff02::1:ff00:99").octets());
    assert_eq!(w.hosts[0].drops(iopkt_stack::Why::NoNeighbour), 1);
    w.end();
}

#[test]
fn an_advertisement_does_what_its_flags_say() {
    // [RFC4861 7.1.2] [RFC4861 7.2.5a] [RFC4861 7.2.5b]
    let mut w = one();
    let mac = w.hosts[0].mac;
    let known = |w: &Wire| w.hosts[0].s.net.neigh.get(ETH, a6("2001:db8::77").into());
    let say = |w: &mut Wire, solicited, over, link| {
        let f = AdvertFlags { router: false, solicited, over };
        w.inject(0, nd(mac, "2001:db8::77", "2001:db8::1", advert("2001:db8::77", f, link)));
        w.run(1);
    };
    // Nobody asked: no entry.
    say(&mut w, true, true, Some(OTHER));
    assert_eq!(known(&w), None);
    let s = w.hosts[0].udp("[::]:0");
    w.hosts[0].send(s, a6("2001:db8::77"), 7, b"x").unwrap();
    w.run(1);
    say(&mut w, true, false, Some(OTHER));
    assert_eq!(known(&w), Some(OTHER), "asked for");
    let new = [2, 0, 0, 0, 0, 0x78];
    say(&mut w, true, false, Some(new));
    assert_eq!(known(&w), Some(OTHER), "no override flag");
    say(&mut w, false, true, Some(new));
    assert_eq!(known(&w), Some(new), "override");
    // To a group it cannot be solicited.
    let f = AdvertFlags { router: false, solicited: true, over: true };
    w.inject(
        0,
        nd([0x33, 0x33, 0, 0, 0, 1], "2001:db8::77", "ff02::1", advert("2001:db8::77", f, Some(OTHER))),
    );
    w.run(1);
    assert_eq!(known(&w), Some(new));
    w.end();
}

#[test]
fn a_neighbour_that_is_used_and_silent_is_polled_and_forgotten() {
    // [RFC4861 7.3.3a] [RFC4861 7.3.3b]
    let mut w = Wire::pair();
    let to = w.hosts[1].link_local();
    let (c, s) = (w.hosts[0].udp("[::]:0"), w.hosts[1].udp("[::]:7"));
    w.hosts[0].send(c, to, 7, b"x").unwrap();
    w.run(100);
    assert!(w.hosts[1].recv(s).is_some());
    w.run(40_000);
    let before = w.sent(0, ty::NEIGHBOR_SOLICIT).len();
    w.hosts[0].send(c, to, 7, b"y").unwrap();
    // Five seconds of delay, then a unicast question, which is answered.
    w.run(4900);
    assert_eq!(w.sent(0, ty::NEIGHBOR_SOLICIT).len(), before);
    w.run(1000);
    let asked = w.sent(0, ty::NEIGHBOR_SOLICIT);
    assert_eq!((asked.len(), &asked[before][24..40]), (before + 1, &zone::strip(to).octets()[..]));
    assert!(w.hosts[0].s.net.neigh.get(ETH, to.into()).is_some());
    // Now the other one is away.
    w.hosts[1].link(false);
    w.run(40_000);
    w.hosts[0].send(c, to, 7, b"z").unwrap();
    w.run(9500);
    assert_eq!(w.sent(0, ty::NEIGHBOR_SOLICIT).len(), before + 1 + 3);
    assert!(w.hosts[0].s.net.neigh.get(ETH, to.into()).is_none());
}

#[test]
fn a_duplicate_is_found_whoever_was_first() {
    // [RFC4861 7.2.3a] [RFC4862 5.4d] [RFC4862 5.4.3a] [RFC4862 5.4.4] [RFC7527 4.1] [RFC7527 4.2b]
    // Another has it, and says so.
    let mut w = Wire::new(vec![Host::new(1)]);
    w.hosts[0].up();
    w.run(2500);
    w.hosts[0].addr("2001:db8::5", 64);
    w.run(500);
    let f = AdvertFlags { over: true, ..AdvertFlags::default() };
    let all = [0x33, 0x33, 0, 0, 0, 1];
    w.inject(0, nd(all, "2001:db8::5", "ff02::1", advert("2001:db8::5", f, Some(OTHER))));
    w.run(3000);
    assert!(
        w.hosts[0].addrs().contains(&"2001:db8::5/64 duplicated".to_string()),
        "{:?}",
        w.hosts[0].addrs()
    );
    // Another asks for it at the same time.
    w.hosts[0].addr("2001:db8::6", 64);
    w.run(500);
    let ask = |nonce: Option<[u8; 6]>| {
        let mut b = neighbor_solicit(a6("2001:db8::6"));
        if let Some(n) = nonce {
            push_nonce(&mut b, n);
        }
        nd([0x33, 0x33, 0xff, 0, 0, 6], "::", "ff02::1:ff00:6", b)
    };
    // Our own question that came back is not another's (RFC 7527).
    let own = w.sent(0, ty::NEIGHBOR_SOLICIT).pop().unwrap();
    let nonce: [u8; 6] = own[66..72].try_into().unwrap();
    w.inject(0, ask(Some(nonce)));
    w.run(100);
    assert!(w.hosts[0].addrs().contains(&"2001:db8::6/64 tentative".to_string()));
    w.inject(0, ask(Some([9; 6])));
    w.run(3000);
    assert!(w.hosts[0].addrs().contains(&"2001:db8::6/64 duplicated".to_string()));
    // What is nobody's for sure is no source, and does not answer.
    let s = w.hosts[0].udp("[::]:7");
    let mac = w.hosts[0].mac;
    w.inject(0, frame(mac, a6("2001:db8::77"), a6("2001:db8::6"), 64, 17, &[0, 9, 0, 7, 0, 8, 0, 0]));
    w.run(10);
    assert!(w.hosts[0].recv(s).is_none());
    w.end();
}

#[test]
fn after_a_loss_of_the_link_addresses_are_asked_for_again() {
    let mut w = one();
    let before = w.sent(0, ty::NEIGHBOR_SOLICIT).len();
    w.hosts[0].link(false);
    w.run(1000);
    w.hosts[0].link(true);
    w.run(10);
    assert!(w.hosts[0].addrs().iter().all(|a| a.ends_with("tentative")), "{:?}", w.hosts[0].addrs());
    w.run(3000);
    assert_eq!(w.sent(0, ty::NEIGHBOR_SOLICIT).len() - before, 2);
    assert_eq!(w.hosts[0].addrs(), ["fe80::ff:fe00:1/64", "2001:db8::1/64"]);
    w.end();
}
