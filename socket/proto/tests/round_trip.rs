//! Everything that is encoded is decoded to the same, and what is cut short or garbage is refused, not read.

use core::net::{IpAddr, SocketAddr, SocketAddrV6};
use iopkt_base::Errno;
use iopkt_sockproto::*;
use proptest::prelude::*;

fn addr() -> impl Strategy<Value = Addr> {
    prop_oneof![
        Just(Addr::NONE),
        (any::<[u8; 4]>(), any::<u16>()).prop_map(|(a, p)| Addr(Some(SocketAddr::new(IpAddr::from(a), p)))),
        (any::<[u8; 16]>(), any::<u16>(), any::<u32>(), any::<u32>())
            .prop_map(|(a, p, f, s)| Addr(Some(SocketAddrV6::new(a.into(), p, f, s).into()))),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    (0..Op::ALL.len()).prop_map(|i| Op::ALL[i])
}

proptest! {
    #[test]
    fn request(op in op(), id: u32, args: [i32; 5], addr in addr(), payload in prop::collection::vec(any::<u8>(), 0..300)) {
        let r = Req { op, id, len: payload.len() as u32, args, addr };
        let mut m = r.encode().to_vec();
        m.extend(&payload);
        prop_assert_eq!(Req::decode(&m), Ok((r, &payload[..])));
        // Any other length of message contradicts the length field.
        m.push(0);
        prop_assert!(Req::decode(&m).is_err());
        for n in 0..m.len() - 1 {
            prop_assert!(Req::decode(&m[..n]).is_err());
        }
        let bare = r.encode();
        prop_assert_eq!(Rep::decode(&bare), Err(BadMsg::Magic));
    }

    #[test]
    fn reply(op in op(), id: u32, status: i32, flags: u32, val: [i32; 3], addr in addr(), payload in prop::collection::vec(any::<u8>(), 0..300)) {
        let r = Rep { op, id, len: payload.len() as u32, status, flags, val, addr };
        let mut m = r.encode().to_vec();
        m.extend(&payload);
        prop_assert_eq!(Rep::decode(&m), Ok((r, &payload[..])));
    }

    #[test]
    fn datagram_header(flags: u16, ttl: u8, tos: u8, peer in addr(), local in addr(), ifindex: u32, err: i32, stamp: u64, key: u64, icmp: (u8, u8), payload in prop::collection::vec(any::<u8>(), 0..300)) {
        let h = DgramHdr { flags, ttl, tos, peer, local, ifindex, err, stamp, len: payload.len() as u32, icmp };
        let mut m = h.encode(key).to_vec();
        m.extend(&payload);
        prop_assert_eq!(DgramHdr::decode(&m, key), Some((h, &payload[..])));
        // Who does not know the key cannot make a header.
        prop_assert_eq!(DgramHdr::decode(&m, key ^ 1), None);
        prop_assert_eq!(DgramHdr::decode(&m[..DGRAM_HDR_LEN - 1], key), None);
    }

    #[test]
    fn hello(instance: u64, key: u64, now: u64, pid: u32) {
        let h = Hello { instance, key, now, pid };
        prop_assert_eq!(Hello::decode(&h.encode()), Some(h));
        prop_assert_eq!(Hello::decode(&h.encode()[..31]), None);
    }

    #[test]
    fn name(instance: u64, stream: bool, number: u64) {
        let n = PairName { instance, stream, number };
        let (b, len) = n.encode();
        prop_assert!(len <= NAME_LEN && b[0] == 0);
        prop_assert_eq!(PairName::decode(&b[..len]), Some(n));
    }

    #[test]
    fn sockaddr(a in addr()) {
        let (b, len) = a.to_sockaddr();
        if a != Addr::NONE {
            prop_assert_eq!(Addr::from_sockaddr(&b[..len]), Ok(a));
            prop_assert_eq!(Addr::from_sockaddr(&b[..8]), Err(Errno::EINVAL));
        }
    }

    #[test]
    fn garbage(m in prop::collection::vec(any::<u8>(), 0..400), key: u64) {
        let _ = Req::decode(&m);
        let _ = Rep::decode(&m);
        let _ = DgramHdr::decode(&m, key);
        let _ = Hello::decode(&m);
        let _ = PairName::decode(&m);
        let _ = Addr::decode(&m);
        let _ = Addr::from_sockaddr(&m);
    }

    #[test]
    fn damaged_request(op in op(), at in 0usize..HDR_LEN, with: u8) {
        let mut m = Req::new(op, 7).encode();
        m[at] = with;
        if let Ok((r, p)) = Req::decode(&m) {
            // What still passes is what it says.
            prop_assert_eq!(p.len(), 0);
            if r.addr == Addr::NONE {
                let again = r.encode();
                prop_assert_eq!(Req::decode(&again).map(|x| x.0), Ok(r));
            }
        }
    }
}

#[test]
fn names_of_others_are_not_ours() {
    for n in [
        &b""[..],
        b"\0",
        b"/run/x",
        b"\0io-pkt/",
        b"\0io-pkt/0123456789abcdef",
        b"\0io-pkt/0123456789abcdef/s",
        b"\0io-pkt/0123456789abcdeg/s1",
        b"\0io-pkt/0123456789abcdef/x1",
        b"\0io-pkt/0123456789abcdef/s10000000000000000",
    ] {
        assert_eq!(PairName::decode(n), None, "{n:?}");
    }
}

#[test]
fn a_wrong_version_names_both() {
    let mut m = Req::new(Op::Hello, 1).encode();
    m[4] = 99;
    let e = Req::decode(&m).unwrap_err();
    assert_eq!(e, BadMsg::Version(99));
    assert!(e.to_string().contains("99") && e.to_string().contains(&VERSION.to_string()));
}

#[test]
fn every_operation_has_its_own_number() {
    for o in Op::ALL {
        assert_eq!(Op::from_raw(*o as u16), Some(*o));
    }
    assert_eq!(Op::from_raw(0), None);
    assert_eq!(Op::from_raw(u16::MAX), None);
}

#[test]
fn ipv6_without_scope_is_taken() {
    let a = Addr::from("[fe80::1]:53".parse::<SocketAddr>().unwrap());
    let (b, _) = a.to_sockaddr();
    assert_eq!(Addr::from_sockaddr(&b[..24]), Ok(a));
}
