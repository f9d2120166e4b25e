//! A network gets another number: what is old fades, what is new is used, what runs goes on (RFC 4862 5.5, 8981, 8106).

use super::{busy, secs, seeds};
use iopkt_base::{Rng, zone};
use iopkt_inet6::Tunables;
use iopkt_sim::Flow;
use iopkt_sim::v6::{ETH, Net, Node, Says, Spec, a6, prefix};
use iopkt_stack::IfAddr;
use std::net::Ipv6Addr;

const A: &str = "2001:db8:a::";
const B: &str = "2001:db8:b::";
const SERVER: &str = "2001:db8:2::53";

fn of(n: &Node, net: &str) -> Vec<(Ipv6Addr, IfAddr)> {
    let high = |a: Ipv6Addr| u128::from(a) >> 64;
    n.addrs(ETH).into_iter().filter(|x| high(zone::strip(x.0)) == high(a6(net))).collect()
}

/// A host (0), a router (1) with a daemon, a server (2) behind it that knows the way to both networks.
fn site(seed: u64, t: Tunables, valid: u32, preferred: u32) -> Net {
    let mut rng = Rng::new(seed);
    let mut net = Net::new(seed, busy(&mut rng));
    net.join(Spec { t: Tunables { accept_rtadv: true, ..t }, ..Spec::default() }, &[0]);
    let says = Says { prefixes: vec![prefix(A, valid, preferred)], ..Says::default() };
    let both = [(0, a6("2001:db8:a::1")), (1, a6("2001:db8:2::1"))];
    let router = net.router(Spec::router(), &both, Some(says));
    net.nodes[router].addr(ETH, a6("2001:db8:b::1"), iopkt_stack::Life::default());
    let server = net.join(Spec::default(), &[1]);
    net.nodes[server].addr(ETH, a6(SERVER), iopkt_stack::Life::default());
    net.pass(secs(20));
    let gw = net.nodes[router].link_local(ETH + 1).expect("a router's address");
    net.nodes[server].route(a6("::"), 0, zone::strip(gw), ETH);
    net
}

/// A connection from the host to the server's port; its flow and its source.
fn connect(net: &mut Net, port: u16, seed: u64) -> (Flow, Ipv6Addr) {
    let l = net.nodes[2].listen(port);
    let near = net.nodes[0].connect(a6(SERVER), port).expect("a way");
    let mut far = None;
    let made = net.run(secs(120), |net| {
        let s = &mut net.nodes[2].shard;
        far = far.or_else(|| s.sockets.accept(&mut s.cx, l).ok());
        far.is_some()
    });
    assert!(made, "no connection");
    net.nodes[2].close(l);
    let (far, from) = far.expect("it was made");
    let std::net::IpAddr::V6(from) = from.ip() else { panic!("{from}") };
    (Flow::new((0, near), (2, far), seed, 0), from)
}

/// Sends some more by it, and sees it arrive.
fn more(net: &mut Net, f: &mut Flow) {
    f.total += 20_000;
    let total = f.total;
    let done = net.run(secs(300), |net| {
        f.more(&mut net.nodes[0]);
        f.read(&mut net.nodes[2]);
        f.read == total
    });
    assert!(done, "stuck: {f:?}");
}

#[test]
fn prefix_a_fades_and_b_is_used() {
    // [RFC4862 5.5.3e3] [RFC4862 5.5.3e4] [RFC4862 5.5.4a] [RFC4862 5.5.4b] [RFC4862 5.5.4c]
    seeds(16, |seed| {
        let mut net = site(seed, Tunables::default(), 86_400, 43_200);
        let (mut old, from) = connect(&mut net, 80, seed);
        assert_eq!(from, of(&net.nodes[0], A)[0].0);
        more(&mut net, &mut old);
        // A is taken back wholly, B comes: two hours remain of A (5.5.3 e), and nothing new begins with it.
        let now = net.now;
        net.daemons[0].says.prefixes = vec![prefix(A, 0, 0), prefix(B, 86_400, 43_200)];
        net.daemons[0].now(now);
        net.pass(secs(5));
        let a = of(&net.nodes[0], A);
        assert!(a.len() == 1 && a[0].1.life.deprecated, "{a:?}");
        let (mut new, from) = connect(&mut net, 81, seed + 1);
        assert_eq!(from, of(&net.nodes[0], B)[0].0);
        for _ in 0..6 {
            more(&mut net, &mut old);
            more(&mut net, &mut new);
            net.pass(secs(1100));
        }
        assert_eq!(of(&net.nodes[0], A).len(), 1, "two hours are not over");
        net.pass(secs(1300));
        assert!(of(&net.nodes[0], A).is_empty(), "{:?}", of(&net.nodes[0], A));
        more(&mut net, &mut new);
        net.pass(secs(600));
        net.end();
    });
}

#[test]
fn nobody_takes_an_address_away_in_less_than_two_hours() {
    // [RFC4862 5.5.3e1] [RFC4862 5.5.3e2]
    seeds(16, |seed| {
        let mut net = site(seed, Tunables::default(), 86_400, 43_200);
        net.daemons[0].says.every = 600;
        let began = net.now;
        // Short lifetimes, again and again, of any length below two hours.
        while net.now.since(began) < secs(6700) {
            let now = net.now;
            let short = net.rng.below(300);
            net.daemons[0].says.prefixes = vec![prefix(A, short, short.min(net.rng.below(300)))];
            net.daemons[0].now(now);
            net.pass_about(1000, 400_000);
            assert_eq!(of(&net.nodes[0], A).len(), 1, "gone after {:?}", net.now.since(began));
        }
        // What lengthens is believed at once.
        let now = net.now;
        net.daemons[0].says.prefixes = vec![prefix(A, 80_000, 40_000)];
        net.daemons[0].now(now);
        net.pass(secs(10_000));
        assert!(of(&net.nodes[0], A).iter().all(|a| !a.1.life.deprecated));
        net.end();
    });
}

#[test]
fn temporary_addresses_come_anew_and_connections_keep_theirs() {
    // [RFC8981 3.1] [RFC8981 3.3] [RFC8981 3.5]
    seeds(8, |seed| {
        let t =
            Tunables { use_tempaddr: true, temppltime: 3600, tempvltime: 3 * 3600, ..Tunables::default() };
        let mut net = site(seed, t, 400_000, 300_000);
        let (mut first, from) = connect(&mut net, 80, seed);
        let temporary =
            |net: &Net, a: Ipv6Addr| of(&net.nodes[0], A).iter().any(|x| x.0 == a && x.1.life.temporary);
        assert!(temporary(&net, from), "{from} is not one");
        let mut seen = vec![from];
        for hour in 0..8u16 {
            net.pass(secs(3600));
            let l = of(&net.nodes[0], A);
            let fresh: Vec<_> = l.iter().filter(|x| x.1.life.temporary && !x.1.life.deprecated).collect();
            assert_eq!(fresh.len(), 1, "hour {hour}: {l:?}");
            assert!(l.len() <= 8, "{l:?}");
            let (f, from) = connect(&mut net, 81 + hour, seed);
            assert_eq!(from, fresh[0].0);
            if !seen.contains(&from) {
                seen.push(from);
            }
            net.nodes[0].close(f.from.1);
            net.nodes[2].close(f.to.1);
            if hour < 2 {
                // What began with the first one goes on with it while it is valid.
                more(&mut net, &mut first);
            }
        }
        assert!(seen.len() >= 4, "they do not change: {seen:?}");
        assert!(!temporary(&net, seen[0]), "none outlives what it was made for");
        net.end();
    });
}

#[test]
fn name_servers_live_as_long_as_was_said() {
    // [RFC8106 5.1a] [RFC8106 5.1b] [RFC8106 6.1] [RFC8106 6.2]
    seeds(10, |seed| {
        let mut net = site(seed, Tunables::default(), 86_400, 43_200);
        let many: Vec<Ipv6Addr> = (1..=12).map(|i| a6(&format!("2001:db8::{i:x}"))).collect();
        let say = |net: &mut Net, life, l: &[Ipv6Addr]| {
            let now = net.now;
            net.daemons[0].says.servers = (life, l.to_vec());
            net.daemons[0].now(now);
            net.pass(secs(1));
        };
        say(&mut net, 300, &many[..3]);
        assert_eq!(net.nodes[0].dns().len(), 3);
        // One is taken back.
        say(&mut net, 0, &many[..1]);
        assert_eq!(net.nodes[0].dns().len(), 2);
        // A flood of them is bounded.
        say(&mut net, 300, &many);
        assert!(net.nodes[0].dns().len() <= 8);
        net.daemons[0].silent = true;
        net.pass(secs(290));
        assert!(net.nodes[0].dns().len() >= 3);
        net.pass(secs(20));
        assert_eq!(net.nodes[0].dns(), []);
        net.end();
    });
}
