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
    fn datagram_header(flags: u16, ttl: u8, tos: u8, peer in addr(), local in addr(), ifindex: u32, err: i32, stamp: u64, key: u64, icmp: (u8, u8), link: [u8; 20], payload in prop::collection::vec(any::<u8>(), 0..300)) {
        // Either a local address or a link-level one stands in one place.
        let packet = flags & df::PACKET != 0;
        let (local, link) = if packet { (Addr::NONE, link) } else { (local, [0; 20]) };
        let h = DgramHdr { flags, ttl, tos, peer, local, ifindex, err, stamp, len: payload.len() as u32, icmp, extra: stamp as u16, link };
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
    fn name(instance: u64, letter in 0..4, number: u64) {
        let family = [PairFamily::Inet, PairFamily::Inet, PairFamily::Route, PairFamily::Netlink][letter as usize];
        let n = PairName { instance, stream: letter == 0, family, number };
        let (b, len) = n.encode();
        prop_assert!(len <= NAME_LEN && b[0] == 0);
        prop_assert_eq!(PairName::decode(&b[..len]), Some(n));
    }

    #[test]
    fn sockaddr(a in addr()) {
        let (b, len) = a.to_sockaddr();
        if a != Addr::NONE {
            prop_assert_eq!(Addr::from_sockaddr(&b[..len]), Ok(a));
            prop_assert_eq!(Addr::from_sockaddr(&b[..8]), Err(if len == 16 { Errno::EINVAL } else { Errno::EAFNOSUPPORT }));
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

mod routing {
    use super::*;
    use iopkt_sockproto::rtmsg::*;

    fn ip(v4: bool) -> BoxedStrategy<IpAddr> {
        if v4 {
            any::<[u8; 4]>().prop_map(IpAddr::from).boxed()
        } else {
            any::<[u8; 16]>().prop_map(IpAddr::from).boxed()
        }
    }

    fn link() -> impl Strategy<Value = LinkAddr> {
        ("[a-z]{1,10}[0-9]{1,3}", any::<u16>(), any::<u8>(), any::<Option<[u8; 6]>>())
            .prop_map(|(n, index, ty, mac)| LinkAddr { index, ty, name: if_name(&n), mac })
    }

    fn addrs() -> impl Strategy<Value = Addrs> {
        any::<bool>().prop_flat_map(|v4| {
            let o = move || proptest::option::of(ip(v4));
            let gw = prop_oneof![ip(v4).prop_map(Sa::Ip), link().prop_map(Sa::Link)];
            let most = if v4 { 32u8 } else { 128 };
            (
                ip(v4),
                proptest::option::of(gw),
                proptest::option::of(0..=most),
                proptest::option::of(link()),
                o(),
                o(),
                o(),
            )
                .prop_map(|(dst, gateway, netmask, ifp, ifa, author, brd)| Addrs {
                    dst: Some(dst),
                    gateway,
                    netmask,
                    ifp,
                    ifa,
                    author,
                    brd,
                })
        })
    }

    fn msg() -> impl Strategy<Value = RtMsg> {
        let route =
            (1u8..=8, any::<[u16; 1]>(), any::<[u32; 2]>(), any::<[i32; 3]>(), any::<[u64; 4]>(), addrs())
                .prop_map(
                    |(ty, [index], [flags, used], [pid, seq, errno], [inits, locks, mtu, expire], a)| {
                        RtMsg::route(
                            ty,
                            RouteMsg { index, flags, pid, seq, errno, used, inits, locks, mtu, expire },
                            a,
                        )
                    },
                );
        let info = (any::<u16>(), any::<u32>(), any::<[u8; 3]>(), any::<u32>(), any::<[u64; 14]>(), link())
            .prop_map(|(index, flags, [ty, addrlen, hdrlen], link_state, numbers, l)| RtMsg {
                ty: rtm::IFINFO,
                body: RtBody::IfInfo {
                    index,
                    flags,
                    data: IfData { ty, addrlen, hdrlen, link_state, numbers },
                },
                addrs: Addrs { ifp: Some(l), ..Addrs::default() },
            });
        let addr = (any::<bool>(), any::<u16>(), any::<[u32; 3]>(), addrs()).prop_map(
            |(new, index, [flags, metric, addr_flags], a)| RtMsg {
                ty: if new { rtm::NEWADDR } else { rtm::DELADDR },
                body: RtBody::Addr { index, flags, metric, addr_flags },
                addrs: a,
            },
        );
        let ann =
            ("[a-z]{1,10}[0-9]{1,3}", any::<u16>(), any::<bool>()).prop_map(|(n, index, arrived)| RtMsg {
                ty: rtm::IFANNOUNCE,
                body: RtBody::Announce { index, name: if_name(&n), arrived },
                addrs: Addrs::default(),
            });
        prop_oneof![route, info, addr, ann]
    }

    proptest! {
        #[test]
        fn messages(m in msg(), tail in prop::collection::vec(any::<u8>(), 0..40)) {
            let b = m.encode();
            let mut all = b.bytes().to_vec();
            all.extend(&tail);
            prop_assert_eq!(RtMsg::decode(&all), Some((m, &tail[..])));
            // Cut anywhere, it is no message.
            for n in 0..b.bytes().len() {
                prop_assert_eq!(RtMsg::decode(&b.bytes()[..n]), None);
            }
        }

        #[test]
        fn garbage_is_read_without_harm(mut b in prop::collection::vec(any::<u8>(), 0..500), ty in 0u8..18) {
            let _ = RtMsg::decode(&b);
            if b.len() > 4 {
                let n = b.len() as u16;
                b[..2].copy_from_slice(&n.to_ne_bytes());
                (b[2], b[3]) = (RTM_VERSION, ty);
                let _ = RtMsg::decode(&b);
            }
        }
    }

    #[test]
    fn masks_as_bsd_cuts_them() {
        let a = Addrs { dst: Some(IpAddr::from([10, 2, 0, 0])), netmask: Some(16), ..Addrs::default() };
        let b = RtMsg::route(rtm::ADD, RouteMsg::default(), a).encode();
        let mut m = b.bytes().to_vec();
        // The mask of 10.2/16 as BSD tools send it: 6 bytes, no family.
        m.truncate(RT_HDR + 16);
        m.extend([6, 0, 0, 0, 255, 255, 0, 0]);
        let n = m.len() as u16;
        m[..2].copy_from_slice(&n.to_ne_bytes());
        assert_eq!(RtMsg::decode(&m).unwrap().0.addrs, a);
        // The default route's: nothing at all.
        m.truncate(RT_HDR + 16);
        m.extend([0; 8]);
        assert_eq!(RtMsg::decode(&m).unwrap().0.addrs.netmask, Some(0));
        // One with a hole is none.
        m.truncate(RT_HDR + 16);
        m.extend([7, 0, 0, 0, 255, 0, 255, 0]);
        assert_eq!(RtMsg::decode(&m), None);
    }
}
