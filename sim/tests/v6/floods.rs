//! Floods: thousands of strangers who ask, tell, advertise and redirect; networks that are scanned through a router (RFC 6583).
//! Who was known is reached all the while, who is new is found after, nothing grows.

use super::{clean, secs, seeds};
use iopkt_base::{Duration, Rng, zone};
use iopkt_ctl::Reply;
use iopkt_inet6::Tunables;
use iopkt_sim::v6::{ALL_NODES, ETH, Net, Says, Spec, a6, header, nd_frame, prefix, solicited_node};
use iopkt_stack::Config;
use iopkt_stack::route::Origin;
use iopkt_wire::nd::{self, AdvertFlags, Preference, Prefix, RouterAdvert, opt};
use std::net::Ipv6Addr;

/// Neighbours that a node remembers: few, so that a flood is one soon.
const NEIGHBOURS: usize = 256;

fn small(t: Tunables) -> Spec {
    let cfg = Config { max_neighbours: NEIGHBOURS, ..Config::default() };
    Spec { t, cfg, ..Spec::default() }
}

fn stranger(rng: &mut Rng) -> (Ipv6Addr, [u8; 6]) {
    let who = Ipv6Addr::from(u128::from(a6("fe80::")) | u128::from(rng.next_u64()));
    let mac = rng.next_u64().to_be_bytes();
    (who, [2, mac[1], mac[2], mac[3], mac[4], mac[5]])
}

/// One message of somebody whom nobody knows, of any kind, to a node or to all.
fn noise(rng: &mut Rng, victim: Ipv6Addr, mac: [u8; 6]) -> Vec<u8> {
    let (who, own) = stranger(rng);
    let net = Ipv6Addr::from(u128::from(a6("2001:db8::")) | u128::from(rng.next_u64()) << 64);
    let flags = AdvertFlags { router: rng.chance(0.5), solicited: rng.chance(0.5), over: rng.chance(0.5) };
    let (kind, mut b, link, dst) = match rng.below(6) {
        0 => (0, nd::neighbor_solicit(victim), opt::SOURCE_LINK, victim),
        1 => (1, nd::neighbor_solicit(victim), opt::SOURCE_LINK, solicited_node(victim)),
        2 => (2, nd::neighbor_advert(who, flags), opt::TARGET_LINK, victim),
        3 => (
            3,
            nd::neighbor_advert(who, AdvertFlags { solicited: false, ..flags }),
            opt::TARGET_LINK,
            ALL_NODES,
        ),
        4 => {
            let mut b = RouterAdvert { lifetime: 1800, ..RouterAdvert::default() }.emit();
            let p = Prefix {
                prefix: net,
                plen: 64,
                on_link: true,
                autonomous: true,
                valid: 9000,
                preferred: 4000,
            };
            nd::push_prefix(&mut b, &p);
            nd::push_route(&mut b, net, 64, Preference::High, 1800);
            nd::push_rdnss(&mut b, 600, &[who]);
            (4, b, opt::SOURCE_LINK, ALL_NODES)
        }
        _ => (5, nd::redirect(who, net), opt::TARGET_LINK, victim),
    };
    if kind != 1 || rng.chance(0.8) {
        nd::push_link(&mut b, link, own);
    }
    nd_frame(mac, own, who, dst, b)
}

#[test]
fn strangers_fill_nothing_and_hide_nobody() {
    // [RFC6583 6.2] [RFC6583 7.1]
    seeds(6, |seed| {
        let mut rng = Rng::new(seed);
        let mut net = Net::new(seed, clean(&mut rng));
        let t = Tunables { accept_rtadv: true, ..Tunables::default() };
        let victim = net.join(small(t), &[0]);
        let known = net.join(Spec::default(), &[0]);
        net.pass(secs(5));
        let me = zone::strip(net.nodes[victim].link_local(ETH).expect("an address"));
        let mac = net.nodes[victim].macs[0];
        let far = net.nodes[known].link_local(ETH).expect("an address");
        let (s, sink) = (net.nodes[victim].udp(7000), net.nodes[known].udp(7001));
        let reached = |net: &mut Net| {
            let _ = net.nodes[victim].send(s, far, 7001, b"still");
            let ok = net.run(secs(1), |net| net.nodes[known].recv(sink).is_some());
            while net.nodes[known].recv(sink).is_some() {}
            ok
        };
        assert!(reached(&mut net));
        for round in 0..10 {
            for _ in 0..500 {
                let f = noise(&mut net.rng, me, mac);
                net.inject(0, &f);
            }
            net.pass_about(20, 400);
            assert!(reached(&mut net), "round {round}: the neighbour that was known is not reached");
        }
        // Routers, prefixes and addresses stay within what net.inet6.ip6.maxifdefrouters and maxifprefixes say.
        let n = &mut net.nodes[victim];
        assert!(n.routers().len() <= 32 && n.globals(ETH).len() <= 32, "{}", n.routers().len());
        assert!(n.dns().len() <= 16);
        // What is new is found when the flood is over.
        net.pass(secs(60));
        let new = net.join(Spec::default(), &[0]);
        net.pass(secs(5));
        let sink = net.nodes[new].udp(7002);
        let to = net.nodes[new].link_local(ETH).expect("an address");
        let _ = net.nodes[victim].send(s, to, 7002, b"new");
        assert!(net.run(secs(5), |net| net.nodes[new].recv(sink).is_some()), "one that is new is not found");
        net.end();
    });
}

#[test]
fn a_scan_through_a_router_stops_nobody_else() {
    // [RFC6583 6.1] [RFC6583 6.2]
    seeds(5, |seed| {
        let mut rng = Rng::new(seed);
        let mut net = Net::new(seed, clean(&mut rng));
        let t = Tunables { forwarding: true, ..Tunables::default() };
        let ports = [(0, a6("2001:db8:1::1")), (1, a6("2001:db8:2::1"))];
        let says = Says { prefixes: vec![prefix("2001:db8:1::", 86_400, 43_200)], ..Says::default() };
        let router = net.router(small(t), &ports, Some(says));
        let outside = net.join(Spec::default(), &[1]);
        let inside = net.join(Spec::host(), &[0]);
        net.nodes[outside].addr(ETH, a6("2001:db8:2::9"), iopkt_stack::Life::default());
        net.pass(secs(20));
        let gw = zone::strip(net.nodes[router].link_local(ETH + 1).expect("an address"));
        net.nodes[outside].route(a6("::"), 0, gw, ETH);
        let to = net.nodes[inside].globals(ETH)[0].0;
        let (s, sink) = (net.nodes[outside].udp(0), net.nodes[inside].udp(7001));
        let reached = |net: &mut Net| {
            let _ = net.nodes[outside].send(s, to, 7001, b"x");
            net.run(secs(2), |net| net.nodes[inside].recv(sink).is_some())
        };
        assert!(reached(&mut net));
        let scan = net.nodes[outside].udp(0);
        let asked = |net: &Net| net.frames;
        for round in 0..8 {
            let before = asked(&net);
            for _ in 0..600 {
                let id = u128::from(net.rng.next_u64());
                let dst = Ipv6Addr::from(u128::from(a6("2001:db8:1::")) | id);
                let _ = net.nodes[outside].send(scan, dst, 9, b"scan");
            }
            net.pass(Duration::from_millis(300));
            assert!(reached(&mut net), "round {round}: a neighbour that was known is not reached");
            // A question for each new one while half of the table is free, not more.
            assert!(asked(&net) - before < 600 * 3, "{} frames", asked(&net) - before);
        }
        // Over: what is unresolved is forgotten, the scanner was told.
        net.pass(secs(10));
        let left = net.nodes[router].shard.net.neigh.len();
        assert!(left <= 16, "{left} neighbours are left of the scan");
        assert!(net.nodes[router].count("icmp6", "{} calls to icmp6_error") > 0);
        let late = net.join(Spec::host(), &[0]);
        net.pass(secs(10));
        let sink = net.nodes[late].udp(7003);
        let to = net.nodes[late].globals(ETH)[0].0;
        let _ = net.nodes[outside].send(s, to, 7003, b"x");
        assert!(net.run(secs(5), |net| net.nodes[late].recv(sink).is_some()), "a new one is not found");
        net.end();
    });
}

#[test]
fn redirects_of_strangers_lead_nowhere_and_those_of_the_router_are_bounded() {
    // [RFC4861 8.1]
    seeds(5, |seed| {
        let mut rng = Rng::new(seed);
        let mut net = Net::new(seed, clean(&mut rng));
        let mut spec = Spec::host();
        spec.t.maxdynroutes = 256;
        let host = net.join(spec, &[0]);
        let says = Says { prefixes: vec![prefix("2001:db8:1::", 86_400, 43_200)], ..Says::default() };
        let router = net.router(Spec::router(), &[(0, a6("2001:db8:1::1"))], Some(says));
        net.pass(secs(20));
        let (mac, me) = (net.nodes[host].macs[0], net.nodes[host].globals(ETH)[0].0);
        let gw = zone::strip(net.nodes[router].link_local(ETH).expect("an address"));
        let redirect = |net: &mut Net, from: Ipv6Addr| {
            let dst = Ipv6Addr::from(u128::from(a6("2001:4860::")) | u128::from(net.rng.next_u64()));
            let (target, own) = stranger(&mut net.rng);
            let mut b = nd::redirect(target, dst);
            nd::push_link(&mut b, opt::TARGET_LINK, own);
            let f = nd_frame(mac, own, from, me, b);
            net.inject(0, &f);
        };
        for _ in 0..500 {
            let from = stranger(&mut net.rng).0;
            redirect(&mut net, from);
        }
        net.pass(secs(1));
        assert_eq!(net.nodes[host].routes(Origin::Redirect), 0, "not from whom we do not send by");
        for _ in 0..1000 {
            redirect(&mut net, gw);
        }
        net.pass(secs(1));
        let n = net.nodes[host].routes(Origin::Redirect);
        assert!((1..=256).contains(&n), "{n} routes");
        // They end.
        net.pass(secs(700));
        assert_eq!(net.nodes[host].routes(Origin::Redirect), 0);
        net.end();
    });
}

#[test]
fn neighbour_discovery_in_fragments_is_not_believed() {
    // [RFC6980 5b]
    seeds(4, |seed| {
        let mut rng = Rng::new(seed);
        let mut net = Net::new(seed, clean(&mut rng));
        let host = net.join(Spec::host(), &[0]);
        net.pass(secs(5));
        let (mac, me) = (net.nodes[host].macs[0], zone::strip(net.nodes[host].link_local(ETH).expect("one")));
        net.seen = Some(Vec::new());
        // Whole behind a fragment header (an atomic fragment), and in two pieces; every kind of message.
        for kind in 0..5 {
            for cut in [0, 1] {
                let (who, own) = stranger(&mut net.rng);
                let (mut b, dst) = match kind {
                    0 => (nd::neighbor_solicit(me), me),
                    1 => (RouterAdvert { lifetime: 1800, ..RouterAdvert::default() }.emit(), ALL_NODES),
                    2 => (nd::neighbor_advert(me, AdvertFlags::default()), ALL_NODES),
                    3 => (nd::redirect(a6("2001:db8::1"), a6("2001:db8::1")), me),
                    _ => (nd::router_solicit(), me),
                };
                nd::push_link(&mut b, if kind == 2 { opt::TARGET_LINK } else { opt::SOURCE_LINK }, own);
                let whole = nd_frame(mac, own, who, dst, b);
                let message = &whole[54..54 + usize::from(u16::from_be_bytes([whole[18], whole[19]]))];
                let at = if cut == 0 { message.len() } else { 8 };
                let id = net.rng.next_u32().to_be_bytes();
                let piece = |offset: usize, more: bool, data: &[u8]| {
                    let word = (offset as u16 | u16::from(more)).to_be_bytes();
                    let mut p = vec![58, 0, word[0], word[1], id[0], id[1], id[2], id[3]];
                    p.extend(data);
                    iopkt_sim::v6::frame(
                        mac,
                        own,
                        &iopkt_wire::ipv6::Header { next: 44, ..header(who, dst, 255) },
                        &p,
                    )
                };
                let first = piece(0, at < message.len(), &message[..at]);
                net.inject(0, &first);
                if at < message.len() {
                    let last = piece(at, false, &message[at..]);
                    net.inject(0, &last);
                }
                net.pass(secs(2));
            }
        }
        let n = &mut net.nodes[host];
        assert_eq!((n.routers().len(), n.shard.net.neigh.len(), n.log.len()), (0, 0, 0), "{:?}", n.log);
        let said = net.seen.take().unwrap_or_default();
        let ours = said.iter().filter(|(i, f)| *i == host && f[54] == 136).count();
        assert_eq!(ours, 0, "it answers");
        net.end();
    });
}

#[test]
fn a_variable_bounds_what_routers_may_tell() {
    let mut net = Net::new(1, iopkt_sim::Faults::default());
    let host = net.join(Spec::host(), &[0]);
    net.nodes[host].sysctl("net.inet6.ip6.maxifprefixes", "4");
    net.nodes[host].sysctl("net.inet6.ip6.maxifdefrouters", "3");
    net.nodes[host].spec.t.maxifprefixes = 4;
    net.nodes[host].spec.t.maxifdefrouters = 3;
    net.pass(secs(5));
    for _ in 0..200 {
        let (me, mac) = (a6("fe80::1"), net.nodes[host].macs[0]);
        let f = noise(&mut net.rng, me, mac);
        net.inject(0, &f);
        net.pass(Duration::from_millis(5));
    }
    let n = &mut net.nodes[host];
    assert!(n.routers().len() <= 3 && n.globals(ETH).len() <= 4);
    assert!(matches!(n.ctl(&iopkt_ctl::Request::Stats), Reply::Stats(_)));
    net.end();
}
