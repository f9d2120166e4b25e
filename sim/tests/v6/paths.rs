//! Ways through chains of routers: MTUs that fall and rise (RFC 8201), redirects, loops, links that are cut.

use super::{busy, clean, lossy, secs, seeds};
use iopkt_base::{Duration, Rng, zone};
use iopkt_sim::v6::{ETH, Net, Says, Spec, a6, prefix};
use iopkt_sim::{Faults, Flow};
use iopkt_stack::route::Origin;
use std::net::Ipv6Addr;

/// Host 0 on segment 0, so many routers in a row, host 1 on the last segment; static routes both ways.
struct Chain {
    net: Net,
    near: usize,
    far: usize,
    routers: Vec<usize>,
}

/// A link of so many milliseconds. (A way that loses says now and then that a neighbour is unreachable, which ends a connect.)
fn slow(ms: u64, f: Faults) -> Faults {
    Faults { delay: Duration::from_millis(ms), ..f }
}

fn on(segment: usize, host: u16) -> Ipv6Addr {
    a6(&format!("2001:db8:{segment:x}::{host:x}"))
}

impl Chain {
    /// `mtus`: of each segment.
    fn new(seed: u64, faults: Faults, mtus: &[u32]) -> Chain {
        let mut net = Net::new(seed, faults);
        let last = mtus.len() - 1;
        let near = net.join(Spec { mtu: mtus[0], ..Spec::default() }, &[0]);
        let far = net.join(Spec { mtu: mtus[last], ..Spec::default() }, &[last]);
        net.nodes[near].addr(ETH, on(0, 100), iopkt_stack::Life::default());
        net.nodes[far].addr(ETH, on(last, 100), iopkt_stack::Life::default());
        let mut routers = Vec::new();
        for i in 0..last {
            let r = net.router(Spec::router(), &[(i, on(i, 1)), (i + 1, on(i + 1, 2))], None);
            for (port, mtu) in [(0, mtus[i]), (1, mtus[i + 1])] {
                let name = net.nodes[r].shard.net.ifname(ETH + port).expect("an interface").to_string();
                let m = iopkt_ctl::Request::SetMtu { name, mtu };
                assert_eq!(net.nodes[r].ctl(&m), iopkt_ctl::Reply::Ok);
            }
            routers.push(r);
        }
        for (i, r) in routers.iter().enumerate() {
            for s in 0..=last {
                if s > i + 1 {
                    net.nodes[*r].route(on(s, 0), 64, on(i + 1, 1), ETH + 1);
                } else if s < i {
                    net.nodes[*r].route(on(s, 0), 64, on(i, 2), ETH);
                }
            }
        }
        net.nodes[near].route(a6("::"), 0, on(0, 1), ETH);
        net.nodes[far].route(a6("::"), 0, on(last, 2), ETH);
        net.pass(secs(10));
        Chain { net, near, far, routers }
    }

    fn stream(&mut self, seed: u64, bytes: u64) -> Flow {
        let l = self.net.nodes[self.far].listen(80);
        let to = self.net.nodes[self.far].globals(ETH)[0].0;
        let near = self.net.nodes[self.near].connect(to, 80).expect("a way");
        let (mut conn, far) = (None, self.far);
        let made = self.net.run(secs(300), |net| {
            let s = &mut net.nodes[far].shard;
            conn = conn.or_else(|| s.sockets.accept(&mut s.cx, l).ok().map(|x| x.0));
            conn.is_some()
        });
        assert!(made, "no connection");
        self.net.nodes[far].close(l);
        Flow::new((self.near, near), (far, conn.expect("made")), seed, bytes)
    }

    fn finish(&mut self, f: &mut Flow) {
        let done = self.net.run(secs(1200), |net| {
            f.step(&mut net.nodes);
            f.done()
        });
        assert!(done, "stuck: {f:?}");
        self.net.nodes[self.near].close(f.from.1);
        self.net.nodes[self.far].close(f.to.1);
        self.net.set_faults(Faults::default());
        self.net.pass(secs(300));
    }
}

#[test]
fn a_path_whose_mtu_falls_at_every_router_is_found() {
    seeds(12, |seed| {
        let mut rng = Rng::new(seed);
        let mut mtus = vec![1500];
        for _ in 0..2 + rng.below(4) {
            let last = *mtus.last().expect("one");
            mtus.push(last - rng.below((last - 1280).min(80) + 1));
        }
        let least = *mtus.iter().min().expect("one");
        // The far end's own link is a wide one: its segment size says nothing of the way.
        mtus.push(1500);
        let mut c = Chain::new(seed, slow(3, busy(&mut rng)), &mtus);
        let mut f = c.stream(seed, 200_000);
        c.net.set_faults(slow(3, lossy(&mut rng, 0.02)));
        c.finish(&mut f);
        let too_big: u64 =
            c.routers.clone().iter().map(|r| c.net.nodes[*r].count("icmp6", "{} calls to icmp6_error")).sum();
        assert!(too_big > 0 || least == 1500, "nobody said that it was too big: {mtus:?}");
        let to = c.net.nodes[c.far].globals(ETH)[0].0;
        let mtu = c.net.nodes[c.near].shard.net.hop(to.into(), 0, false).expect("a way").mtu;
        assert!(mtu >= least, "{mtu} of {mtus:?}");
        c.net.end();
    });
}

#[test]
fn what_goes_round_ends() {
    seeds(10, |seed| {
        let mut rng = Rng::new(seed);
        let mut c = Chain::new(seed, clean(&mut rng), &[1500, 1500, 1500]);
        // Two routers, each of which takes the other one for the way.
        let (a, b) = (c.routers[0], c.routers[1]);
        c.net.nodes[a].route(a6("2001:db8:dead::"), 48, on(1, 1), ETH + 1);
        c.net.nodes[b].route(a6("2001:db8:dead::"), 48, on(1, 2), ETH);
        let s = c.net.nodes[c.near].udp(0);
        let before = c.net.frames;
        for _ in 0..10 {
            let _ = c.net.nodes[c.near].send(s, a6("2001:db8:dead::1"), 9, b"round");
        }
        c.net.pass(secs(30));
        let frames = c.net.frames - before;
        // 64 hops each, what says that they are over, questions for neighbours.
        assert!(frames < 10 * 64 + 200, "{frames} frames");
        let over = c.net.nodes[a].count("icmp6", "{} calls to icmp6_error")
            + c.net.nodes[b].count("icmp6", "{} calls to icmp6_error");
        assert_eq!(over, 10, "each is told");
        let idle = c.net.frames;
        c.net.pass(secs(60));
        assert!(c.net.frames - idle < 20, "{} frames of an idle network", c.net.frames - idle);
        c.net.end();
    });
}

#[test]
fn a_better_first_hop_is_told_and_taken() {
    // [RFC4861 8.2a] [RFC4861 8.3a]
    seeds(10, |seed| {
        let mut rng = Rng::new(seed);
        let mut net = Net::new(seed, busy(&mut rng));
        let host = net.join(Spec::host(), &[0]);
        let says = Says { prefixes: vec![prefix("2001:db8:0::", 86_400, 43_200)], ..Says::default() };
        let first = net.router(Spec::router(), &[(0, on(0, 1))], Some(says));
        let second = net.router(Spec::router(), &[(0, on(0, 2)), (1, on(1, 1))], None);
        let server = net.join(Spec::default(), &[1]);
        net.nodes[server].addr(ETH, on(1, 9), iopkt_stack::Life::default());
        net.pass(secs(20));
        let ll =
            |net: &Net, n: usize, port: u32| zone::strip(net.nodes[n].link_local(ETH + port).expect("one"));
        let (gw, back) = (ll(&net, second, 0), ll(&net, second, 1));
        net.nodes[first].route(on(1, 0), 64, gw, ETH);
        net.nodes[server].route(a6("::"), 0, back, ETH);
        let (s, sink) = (net.nodes[host].udp(0), net.nodes[server].udp(7000));
        for _ in 0..4 {
            let _ = net.nodes[host].send(s, on(1, 9), 7000, b"x");
            net.pass(secs(2));
        }
        assert!(net.nodes[server].recv(sink).is_some());
        assert_eq!(net.nodes[host].way(on(1, 9)).map(|w| zone::strip(w.0)), Some(gw));
        assert_eq!(net.nodes[host].routes(Origin::Redirect), 1);
        let told = net.nodes[first].count("ip6", "{} redirects sent");
        for _ in 0..10 {
            let _ = net.nodes[host].send(s, on(1, 9), 7000, b"x");
            net.pass(secs(1));
        }
        assert_eq!(net.nodes[first].count("ip6", "{} redirects sent"), told, "what was told is done");
        net.end();
    });
}

#[test]
fn a_stream_goes_on_when_the_middle_of_its_path_was_cut() {
    seeds(10, |seed| {
        let mut rng = Rng::new(seed);
        let mut c = Chain::new(seed, slow(5, busy(&mut rng)), &[1500; 3]);
        let mut f = c.stream(seed, 200_000);
        c.net.set_faults(slow(5, lossy(&mut rng, 0.02)));
        c.net.run(secs(600), |net| {
            f.step(&mut net.nodes);
            f.read > 60_000
        });
        c.net.cut(1, &[0, 1]);
        c.net.run(secs(20 + seed % 20 * 3), |net| {
            f.step(&mut net.nodes);
            false
        });
        assert!(f.error.is_none(), "the stream ended: {f:?}");
        c.net.cut(1, &[]);
        c.finish(&mut f);
        c.net.end();
    });
}
