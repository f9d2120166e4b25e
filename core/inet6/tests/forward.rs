//! A router: what goes on, what is told to its source, redirects, what a router does not believe.

mod common;

use common::*;
use iopkt_base::zone;
use iopkt_ctl::{AddrState, LinkState};
use iopkt_inet6::Tunables;
use iopkt_stack::{IfAddr, IfAttach, Life, Why};
use iopkt_wire::icmp6::ty;
use iopkt_wire::nd::{self, RouterAdvert, opt};
use iopkt_wire::{icmp6, ipv6};
use std::net::{IpAddr, Ipv6Addr};

/// The second interface.
const FAR: u32 = 3;
/// Neighbours: of the first link, of the second.
const NEAR: (&str, [u8; 6]) = ("2001:db8:1::9", [2, 0, 0, 0, 0, 9]);
const THERE: (&str, [u8; 6]) = ("2001:db8:2::9", [2, 0, 0, 0, 1, 9]);

struct Router {
    w: Wire,
}

impl Router {
    fn new() -> Router {
        let mut w = Wire::new(vec![Host::with(1, Tunables { forwarding: true, ..Tunables::default() })]);
        let h = &mut w.hosts[0];
        let far = IfAttach { link: LinkState::Up, ..IfAttach::ethernet("far", [2, 0, 0, 0, 1, 1]) };
        assert_eq!(h.s.attach(far).unwrap(), FAR);
        h.up();
        h.addr("2001:db8:1::1", 64);
        let a = IfAddr {
            addr: a6("2001:db8:2::1").into(),
            plen: 64,
            broadcast: None,
            peer: None,
            state: AddrState::Valid,
            life: Life { nodad: true, ..Life::default() },
        };
        h.s.net.add_addr(&mut h.s.cx, FAR, a).unwrap();
        h.s.tell_changes();
        w.run(3000);
        let mut r = Router { w };
        for (i, (a, mac)) in [(ETH, NEAR), (FAR, THERE)] {
            let h = &mut r.w.hosts[0];
            assert!(h.s.net.neigh.set(&mut h.s.cx, (i, a6(a).into()), mac, true, false).is_some());
        }
        let _ = r.far();
        r.w.log.clear();
        r
    }

    /// Sends a packet from the first link; what came out there and at the second one.
    fn pass(&mut self, src: &str, dst: &str, hops: u8, payload: usize) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let f = frame([2, 0, 0, 0, 0, 1], a6(src), a6(dst), hops, 253, &vec![7; payload]);
        self.raw(f)
    }

    fn raw(&mut self, f: Vec<u8>) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        self.w.inject(0, f);
        self.w.run(10);
        let near = self.w.log.drain(..).map(|(_, f)| f).collect();
        (near, self.far())
    }

    fn far(&mut self) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        self.w.hosts[0].s.take_frames(FAR, &mut out);
        out.into_iter()
            .map(|m| {
                let b = m.as_slice().to_vec();
                self.w.hosts[0].s.cx.mbufs.free(m);
                b
            })
            .collect()
    }

    /// The one error that came back: type, code, last word.
    #[track_caller]
    fn told(&mut self, (near, far): (Vec<Vec<u8>>, Vec<Vec<u8>>)) -> (u8, u8, u32) {
        assert!(far.is_empty() && near.len() == 1, "{near:?} {far:?}");
        assert_eq!(near[0][..6], NEAR.1);
        let b = icmp_of(&near[0][14..]).expect("an ICMPv6 message");
        let h = icmp6::Header::parse_unchecked(b).unwrap();
        (h.ty, h.code, h.word())
    }
}

#[test]
fn a_packet_for_another_link_goes_on() {
    // [RFC8200 3a] [RFC6437 3d] [RFC8200 4.5a]
    let mut r = Router::new();
    let (near, far) = r.pass(NEAR.0, THERE.0, 64, 100);
    assert!(near.is_empty() && far.len() == 1);
    assert_eq!((&far[0][..6], &far[0][6..12]), (&THERE.1[..], &[2, 0, 0, 0, 1, 1][..]));
    let p = &far[0][14..];
    assert_eq!((p[7], &p[8..24], &p[24..40]), (63, &a6(NEAR.0).octets()[..], &a6(THERE.0).octets()[..]));
    assert_eq!(p[40..140], [7; 100]);
    // To the router itself it still comes.
    let (near, far) = r.pass(NEAR.0, "2001:db8:2::1", 64, 10);
    assert!(far.is_empty() && near.len() == 1, "protocol 253 is not known: told");
    r.w.end();
}

#[test]
fn what_cannot_go_on_is_told() {
    // [RFC4861 7.2.2e]
    // [RFC4443 3.1a] [RFC4443 3.2a] [RFC4443 3.3a]
    let mut r = Router::new();
    let got = r.pass(NEAR.0, THERE.0, 1, 10);
    assert_eq!(r.told(got), (ty::TIME_EXCEEDED, 0, 0));
    let got = r.pass(NEAR.0, "2001:db8:99::1", 64, 10);
    assert_eq!(r.told(got), (ty::UNREACHABLE, 0, 0));
    r.w.hosts[0].s.net.iface_mut(FAR).unwrap().mtu = 1280;
    let got = r.pass(NEAR.0, THERE.0, 64, 1300);
    assert_eq!(r.told(got), (ty::TOO_BIG, 0, 1280));
    let (near, far) = r.pass(NEAR.0, THERE.0, 64, 1240);
    assert_eq!((near.len(), far.len()), (0, 1), "just fits");
    // A neighbour that does not answer: after three questions.
    let (near, _) = r.pass(NEAR.0, "2001:db8:2::77", 64, 10);
    assert!(near.is_empty());
    r.w.run(5000);
    let near: Vec<_> = r.w.log.drain(..).map(|(_, f)| f).collect();
    assert_eq!(r.told((near, Vec::new())), (ty::UNREACHABLE, 3, 0));
    let _ = r.far();
    // A link-local source, on its way to another link.
    let h = &mut r.w.hosts[0];
    let who = zone::embed(a6("fe80::9"), ETH);
    assert!(h.s.net.neigh.set(&mut h.s.cx, (ETH, who.into()), NEAR.1, true, false).is_some());
    let got = r.pass("fe80::9", THERE.0, 64, 10);
    assert_eq!(r.told(got), (ty::UNREACHABLE, 2, 0));
    r.w.end();
}

#[test]
fn what_never_goes_on() {
    let mut r = Router::new();
    for dst in ["ff0e::99", "fe80::77", "ff02::99", "::1"] {
        let (near, far) = r.pass(NEAR.0, dst, 64, 10);
        assert!(near.is_empty() && far.is_empty(), "{dst}");
    }
    let (near, far) = r.pass("::", THERE.0, 64, 10);
    assert!(near.is_empty() && far.is_empty());
    // In a frame to a group.
    let f = frame([0x33, 0x33, 0, 0, 0, 1], a6(NEAR.0), a6(THERE.0), 64, 253, &[1; 10]);
    let (near, far) = r.raw(f);
    assert!(near.is_empty() && far.is_empty());
    // A blackhole is silent.
    let dead = iopkt_ctl::RouteInfo {
        gateway: Some(IpAddr::V6(Ipv6Addr::LOCALHOST)),
        flags: iopkt_ctl::rtf::BLACKHOLE | iopkt_ctl::rtf::UP,
        ..iopkt_ctl::RouteInfo::to(a6("2001:db8:dead::").into(), 48)
    };
    assert_eq!(r.w.hosts[0].ctl(iopkt_ctl::Request::AddRoute(dead.clone())), iopkt_ctl::Reply::Ok);
    let (near, far) = r.pass(NEAR.0, "2001:db8:dead::1", 64, 10);
    assert!(near.is_empty() && far.is_empty());
    r.w.end();
}

#[test]
fn options_for_every_node_are_looked_at() {
    // [RFC8200 4.3]
    let mut r = Router::new();
    // Hop-by-hop with an option whose type says: discard and tell.
    let body = |o: u8| [253, 0, o, 2, 0, 0, 1, 0, 9, 9, 9, 9].to_vec();
    let send = |r: &mut Router, o| {
        let f = frame([2, 0, 0, 0, 0, 1], a6(NEAR.0), a6(THERE.0), 64, ipv6::next::HOP_BY_HOP, &body(o));
        r.raw(f)
    };
    let got = send(&mut r, 0x9e);
    assert_eq!(r.told(got), (ty::PARAM_PROBLEM, 2, 42));
    let (near, far) = send(&mut r, 0x1e);
    assert_eq!((near.len(), far.len()), (0, 1));
    let (near, far) = send(&mut r, 0x5e);
    assert_eq!((near.len(), far.len()), (0, 0));
    r.w.end();
}

#[test]
fn neighbours_hear_of_better_first_hops() {
    // [RFC4861 8.2a] [RFC4861 8.2b] [RFC6980 5a]
    let mut r = Router::new();
    // Somebody of the same link; and a network behind another router of it.
    let (near, far) = r.pass(NEAR.0, "2001:db8:1::8", 64, 100);
    assert!(far.is_empty());
    let of = |l: &[Vec<u8>], t: u8| {
        l.iter().find(|f| icmp_of(&f[14..]).is_some_and(|m| m[0] == t)).map(|f| f[14..].to_vec())
    };
    let p = of(&near, ty::REDIRECT).expect("a redirect");
    assert_eq!((p[7], &p[24..40]), (255, &a6(NEAR.0).octets()[..]));
    let m = icmp_of(&p).unwrap();
    assert_eq!(
        (&m[8..24], &m[24..40]),
        (&a6("2001:db8:1::8").octets()[..], &a6("2001:db8:1::8").octets()[..])
    );
    let o: Vec<_> = nd::options(&m[40..]).map(Result::unwrap).collect();
    assert!(o.iter().any(|o| matches!(o, nd::Opt::Redirected(b) if b.len() >= 136)), "{o:?}");
    // Of a large one what fits.
    let (near, _) = r.pass(NEAR.0, "2001:db8:1::8", 64, 1400);
    let p = of(&near, ty::REDIRECT).expect("a redirect");
    assert!((1200..=1280).contains(&p.len()) && p[8..10] == [0xfe, 0x80], "{} bytes", p.len());
    r.w.hosts[0].sysctl("net.inet6.ip6.redirect", "0");
    let (near, _) = r.pass(NEAR.0, "2001:db8:1::8", 64, 100);
    assert!(of(&near, ty::REDIRECT).is_none());
    r.w.end();
}

#[test]
fn a_router_says_so_and_believes_nobody() {
    // [RFC4861 6.2.2] [RFC4861 7.2.4a]
    let mut r = Router::new();
    r.w.hosts[0].sysctl("net.inet6.ip6.accept_rtadv", "1");
    let mut b = RouterAdvert { lifetime: 1800, ..RouterAdvert::default() }.emit();
    nd::push_link(&mut b, opt::SOURCE_LINK, [2, 0, 0, 0, 0, 9]);
    r.raw(nd([0x33, 0x33, 0, 0, 0, 1], "fe80::9", "ff02::1", b));
    assert!(r.w.hosts[0].learnt().is_empty());
    let mut b = nd::neighbor_solicit(a6("2001:db8:1::1"));
    nd::push_link(&mut b, opt::SOURCE_LINK, NEAR.1);
    let (near, _) = r.raw(nd([0x33, 0x33, 0xff, 0, 0, 1], NEAR.0, "ff02::1:ff00:1", b));
    let m = icmp_of(&near[0][14..]).unwrap();
    assert_eq!((m[0], m[4] & 0x80), (ty::NEIGHBOR_ADVERT, 0x80));
    let member = |r: &Router| r.w.hosts[0].s.net.is_member(ETH, zone::embed(a6("ff02::2"), ETH).into());
    assert!(member(&r));
    r.w.hosts[0].sysctl("net.inet6.ip6.forwarding", "0");
    assert!(!member(&r));
    // That it left the groups is told twice.
    r.w.run(5000);
    r.w.log.clear();
    let _ = r.far();
    let before = r.w.hosts[0].drops(Why::NotForUs);
    let (near, far) = r.pass(NEAR.0, THERE.0, 64, 100);
    assert!(near.is_empty() && far.is_empty() && r.w.hosts[0].drops(Why::NotForUs) == before + 1);
    r.w.end();
}
