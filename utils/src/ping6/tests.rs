//! The command line, requests, and answers in words.

use super::options::Kind;
use super::*;
use iopkt_wire::nodeinfo::{Message, code, flag, name, qtype, subject};
use proptest::prelude::*;

fn p(s: &str) -> Result<Option<Options>, Failure> {
    Options::parse(&s.split_whitespace().map(str::to_string).collect::<Vec<_>>())
}

fn good(s: &str) -> Options {
    p(s).expect("good words").expect("no help")
}

#[test]
fn the_command_line() {
    let o = good("-c 3 -i 0.2 -s 1000 -h 5 -q -I ecm0 -S fe80::1 -x 3 -X 9 -mm -b 9000 -l 2 fe80::2%ecm0");
    assert_eq!((o.count, o.size, o.hops, o.quiet), (Some(3), 1000, Some(5), true));
    assert_eq!((o.interface.as_deref(), o.host.as_str()), (Some("ecm0"), "fe80::2%ecm0"));
    assert_eq!((o.wait, o.deadline), (Duration::from_secs(3), Some(Duration::from_secs(9))));
    assert_eq!((o.buffers, o.preload), (Some(9000), 2));
    assert!(p("--help").expect("good words").is_none());
    for bad in [
        "",
        "a b",
        "-c 0 x",
        "-h 256 x",
        "-h 0 x",
        "-s 65528 x",
        "-S 10.1 x",
        "-I",
        "-w -t x",
        "-a x",
        "-a lz x",
        "-N ::1",
        "-f -i 2 x",
        "-b 0 x",
        "-x y x",
    ] {
        assert_eq!(p(bad).map(|_| ()).expect_err(bad).code, 2, "{bad}");
    }
    for (refused, why) in [("-g ::1 x", "IPV6_NEXTHOP"), ("-P y x", "IPsec"), ("-R x", "reachability")] {
        let e = p(refused).expect_err(refused);
        assert!(e.code == 2 && e.message.contains(why), "{}", e.message);
    }
}

#[test]
fn requests_carry_number_time_and_pattern() {
    let r = request(7, 0x1234, Duration::from_micros(5), &good("-s 12 -p ff00 ::1"));
    assert_eq!(r, [128, 0, 0, 0, 0, 7, 0x12, 0x34, 0, 0, 0, 0, 0, 0, 0, 5, 0xff, 0, 0xff, 0]);
    let o = good("-s 3 ::1");
    assert_eq!(request(0, 1, Duration::ZERO, &o)[8..], [0, 1, 2]);
    assert_eq!(
        damage(&[129, 0, 0, 0, 0, 0, 0, 0, 0, 1, 9], &o),
        "\nwrong data byte #2 should be 0x2 but was 0x9"
    );
    assert_eq!(damage(&[129, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2], &o), "");
    assert_eq!(damage(&[129, 0, 0, 0, 0, 0, 0, 0], &o), " (wrong data length)");
}

#[test]
fn queries_and_what_answers_them() {
    let to: Ipv6Addr = "fe80::2".parse().expect("address");
    let key = [1, 2, 3, 4, 5, 6];
    let o = good("-a agl fe80::2%ecm0");
    assert_eq!(o.kind, Kind::Query(qtype::ADDRESSES, flag::ALL | flag::GLOBAL | flag::LINK_LOCAL, false));
    let b = node::query(&o, to, 7, key);
    let q = Message::parse(&b).expect("a query");
    assert_eq!((q.ty, q.code, q.qtype, q.data), (139, subject::IPV6, qtype::ADDRESSES, &to.octets()[..]));
    assert_eq!(node::answers(&b, key), None, "a query is no answer");
    let data = [&[0xff; 4][..], &to.octets(), &9u32.to_be_bytes(), &to.octets()].concat();
    let r = Message { ty: 140, code: code::GOOD, data: &data, flags: flag::TRUNCATED, ..q };
    assert_eq!(node::answers(&r.emit(), key), Some(7));
    assert_eq!(node::answers(&r.emit(), [0; 6]), None, "somebody else's");
    let want = "\n  fe80::2 (TTL=infty)\n  fe80::2 (TTL=9)\n  and more, which did not fit";
    assert_eq!(node::text(&r.emit()), want);
    assert_eq!(node::text(&Message { code: code::REFUSED, ..r }.emit()), "refused");
    let says = |data: &[u8]| node::text(&Message { qtype: qtype::NAME, data, flags: 0, ..r }.emit());
    assert_eq!(
        says(&[&[0; 4][..], &name("probe.example.com").expect("a name")].concat()),
        "probe.example.com"
    );
    assert_eq!(says(&[&[0; 4][..], &name("probe").expect("a name")].concat()), "probe");
    assert_eq!(says(b"\0\0\0\0\x05probe"), "probe");
    assert_eq!(says(b"\0\0\0\0\x03a\x1bb\0"), "a?b");
    let t = Message { qtype: qtype::SUPPORTED, data: &0b1101u32.to_be_bytes(), flags: 0, ..r };
    assert_eq!(node::text(&t.emit()), "answers NOOP, DNS name, node addresses");
    let o = good("-N -w probe");
    let q = node::query(&o, to, 0, key);
    assert_eq!(
        Message::parse(&q).map(|q| (q.code, q.data.to_vec())),
        Some((subject::NAME, name("probe").expect("a name")))
    );
    assert_eq!(group_of(&o), Ok(iopkt_wire::nodeinfo::group("probe", false).expect("a group")));
}

#[test]
fn messages_in_words() {
    assert_eq!(text::message(&[1, 4, 0, 0, 0, 0, 0, 0]).as_deref(), Some("Destination Port Unreachable"));
    assert_eq!(text::message(&[2, 0, 0, 0, 0, 0, 5, 0]).as_deref(), Some("Packet too big mtu = 1280"));
    assert_eq!(text::message(&[128, 0, 0, 0, 0, 0, 0, 0]), None);
    assert_eq!(text::message(&[200, 0, 0, 0, 0, 0, 0, 0]).as_deref(), Some("ICMPv6 type 200"));
}

proptest! {
    #[test]
    fn no_words_make_it_panic(words in prop::collection::vec("(-?[a-zA-Z0-9.:%]{0,6}|\\PC{0,4})", 0..6)) {
        let _ = Options::parse(&words);
    }

    #[test]
    fn no_answer_makes_it_panic(b in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = (node::text(&b), node::answers(&b, [0; 6]), text::message(&b));
    }
}
