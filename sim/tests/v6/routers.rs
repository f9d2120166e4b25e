//! Routers that come and go, lose their rank, fall silent and are back; what goes through them goes on (RFC 4861 6.3, 7.3; RFC 4191).

use super::{busy, clean, lossy, secs, seeds};
use iopkt_base::{Duration, Instant, Rng, zone};
use iopkt_sim::v6::{ETH, Net, Says, Spec, a6, prefix};
use iopkt_sim::{Faults, Flow};
use iopkt_stack::sockets::SockId;
use iopkt_wire::nd::{Preference, RouterAdvert};

/// A host (0) on segment 0, two routers (1, 2) to segment 1, a server (3) there.
struct Site {
    net: Net,
    host: usize,
    routers: [usize; 2],
    server: usize,
}

const SERVER: &str = "2001:db8:2::53";
/// What finding a dead neighbour takes: reachable time at most one and a half of 30 s, the delay of 5 s, three questions, and the
/// second in which the answer about the last one is given again.
const NUD: Duration = Duration::from_secs(45 + 5 + 3 + 2);

fn says(preference: Preference, lifetime: u16) -> Says {
    Says {
        head: RouterAdvert { lifetime, preference, ..RouterAdvert::default() },
        prefixes: vec![prefix("2001:db8:1::", 86_400, 43_200)],
        ..Says::default()
    }
}

impl Site {
    fn new(seed: u64, faults: Faults) -> Site {
        let mut net = Net::new(seed, faults);
        let host = net.join(Spec::host(), &[0]);
        let router = |net: &mut Net, n: u8, p| {
            let on = |s: u8| a6(&format!("2001:db8:{s}::{n}"));
            net.router(Spec::router(), &[(0, on(1)), (1, on(2))], Some(says(p, 1800)))
        };
        let routers = [router(&mut net, 1, Preference::High), router(&mut net, 2, Preference::Low)];
        let server = net.join(Spec::default(), &[1]);
        net.nodes[server].addr(ETH, a6(SERVER), iopkt_stack::Life::default());
        net.pass(secs(30));
        let mut site = Site { net, host, routers, server };
        site.way_back(0);
        site
    }

    /// The server's way back is by this router (its own link-local address on segment 1).
    fn way_back(&mut self, which: usize) {
        let gw = self.net.nodes[self.routers[which]].link_local(ETH + 1).expect("a router's address");
        let gw = zone::strip(gw);
        let n = &mut self.net.nodes[self.server];
        n.ctl(&iopkt_ctl::Request::FlushRoutes);
        n.route(a6("::"), 0, gw, ETH);
    }

    /// The router that the host sends by.
    fn via(&self) -> Option<usize> {
        let next = zone::strip(self.net.nodes[self.host].way(a6(SERVER))?.0);
        let is = |r: &&usize| self.net.nodes[**r].link_local(ETH).is_some_and(|a| zone::strip(a) == next);
        self.routers.iter().find(is).copied()
    }

    /// A stream from the host to the server, of so many bytes.
    fn stream(&mut self, seed: u64, bytes: u64) -> Flow {
        let l = self.net.nodes[self.server].listen(80);
        let near = self.net.nodes[self.host].connect(a6(SERVER), 80).expect("there is a way");
        let mut far: Option<SockId> = None;
        let server = self.server;
        let made = self.net.run(secs(300), |net| {
            let s = &mut net.nodes[server].shard;
            far = far.or_else(|| s.sockets.accept(&mut s.cx, l).ok().map(|x| x.0));
            far.is_some()
        });
        assert!(made, "no connection");
        self.net.nodes[server].close(l);
        Flow::new((self.host, near), (server, far.expect("it was made")), seed, bytes)
    }
}

#[test]
fn the_better_router_is_used_while_it_lives_and_again_when_it_is_back() {
    // [RFC4861 6.3.6a] [RFC4191 3.2a]
    seeds(12, |seed| {
        let mut rng = Rng::new(seed);
        let mut s = Site::new(seed, busy(&mut rng));
        let [high, low] = s.routers;
        assert_eq!(s.via(), Some(high));
        let talk = s.net.nodes[s.host].udp(0);
        let mut died: Option<Instant> = None;
        for round in 0..3 {
            // It dies without a word: within the time of NUD nothing goes there any more.
            s.net.kill(high, true);
            let at = s.net.now;
            died.get_or_insert(at);
            for _ in 0..120 {
                let _ = s.net.nodes[s.host].send(talk, a6(SERVER), 7, b"x");
                s.net.pass(secs(1));
                let late = s.net.now.since(at) > NUD;
                assert!(
                    !late || s.via() == Some(low),
                    "round {round}: by the dead {:?} later",
                    s.net.now.since(at)
                );
            }
            assert_eq!(s.via(), Some(low));
            // It is back, and says so.
            s.net.kill(high, false);
            s.net.pass(secs(70));
            assert_eq!(s.via(), Some(high), "round {round}: {:?}", s.net.nodes[s.host].routers());
        }
        s.net.end();
    });
}

#[test]
fn a_router_that_resigns_is_left_at_once() {
    // [RFC4861 6.3.4d] [RFC4861 6.3.5]
    seeds(12, |seed| {
        let mut rng = Rng::new(seed);
        let mut s = Site::new(seed, clean(&mut rng));
        let [high, low] = s.routers;
        let now = s.net.now;
        s.net.daemons[0].says.head.lifetime = 0;
        s.net.daemons[0].now(now);
        s.net.pass(secs(1));
        assert_eq!(s.via(), Some(low));
        // The other one too: nobody is left, and then the second comes back.
        let now = s.net.now;
        s.net.daemons[1].says.head.lifetime = 0;
        s.net.daemons[1].now(now);
        s.net.pass(secs(1));
        assert_eq!((s.via(), s.net.nodes[s.host].routers().len()), (None, 0));
        let now = s.net.now;
        s.net.daemons[0].says = says(Preference::Medium, 60);
        s.net.daemons[0].now(now);
        s.net.pass(secs(1));
        assert_eq!(s.via(), Some(high));
        // Silent: it holds as long as it said.
        s.net.daemons[0].silent = true;
        s.net.pass(secs(58));
        assert_eq!(s.via(), Some(high));
        s.net.pass(secs(3));
        assert_eq!(s.via(), None);
        s.net.end();
    });
}

#[test]
fn a_more_specific_route_wins_over_the_better_router() {
    // [RFC4191 2.3b] [RFC4191 3.2a]
    seeds(12, |seed| {
        let mut rng = Rng::new(seed);
        let mut s = Site::new(seed, busy(&mut rng));
        let [high, low] = s.routers;
        let route = |life| vec![(a6("2001:db8:2::"), 48, Preference::Low, life)];
        let say = |s: &mut Site, life| {
            let now = s.net.now;
            s.net.daemons[1].says.routes = route(life);
            s.net.daemons[1].now(now);
            s.net.pass(secs(1));
        };
        assert_eq!(s.via(), Some(high));
        say(&mut s, 600);
        assert_eq!(s.via(), Some(low), "the longest prefix");
        say(&mut s, 0);
        assert_eq!(s.via(), Some(high), "taken back");
        say(&mut s, 600);
        // It dies: what was specific is unreachable, the default is not.
        let talk = s.net.nodes[s.host].udp(0);
        s.net.kill(low, true);
        for _ in 0..60 {
            let _ = s.net.nodes[s.host].send(talk, a6(SERVER), 7, b"x");
            s.net.pass(secs(1));
        }
        assert_eq!(s.via(), Some(high));
        s.net.end();
    });
}

#[test]
fn streams_outlive_their_routers() {
    // [RFC4862 5.4d]
    seeds(16, |seed| {
        let mut rng = Rng::new(seed);
        let slow = |f| Faults { delay: Duration::from_millis(10), ..f };
        let mut s = Site::new(seed, slow(busy(&mut rng)));
        let bytes = 300_000;
        let mut f = s.stream(seed, bytes);
        s.net.set_faults(slow(lossy(&mut rng, 0.03)));
        let step = |s: &mut Site, f: &mut Flow, d: Duration, share: u64| {
            s.net.run(d, |net| {
                f.step(&mut net.nodes);
                f.read >= bytes * share / 10
            })
        };
        assert!(step(&mut s, &mut f, secs(600), 3), "{f:?}");
        match seed % 3 {
            // The router in use falls silent; both ends find the other one.
            0 => {
                let dead = s.via().expect("a router");
                s.net.kill(dead, true);
                s.way_back(1 - s.routers.iter().position(|r| *r == dead).expect("one of them"));
            }
            // It resigns.
            1 => {
                let now = s.net.now;
                s.net.daemons[0].says.head.lifetime = 0;
                s.net.daemons[0].now(now);
                // What it says may be lost; it says it again.
                let left = (0..120).any(|_| {
                    s.net.pass(secs(1));
                    s.via() == Some(s.routers[1])
                });
                assert!(left, "by the router that resigned");
            }
            // The host's cable is out for a while: its addresses are asked for anew, and are the same.
            _ => {
                s.net.carrier(s.host, ETH, false);
                s.net.pass_about(1000, 20_000);
                s.net.carrier(s.host, ETH, true);
            }
        }
        assert!(step(&mut s, &mut f, secs(1800), 10), "the stream does not go on: {f:?}, by {:?}", s.via());
        let (host, server) = (s.host, s.server);
        s.net.run(secs(60), |net| {
            f.step(&mut net.nodes);
            f.done()
        });
        assert!(f.done() && f.error.is_none(), "{f:?}");
        s.net.nodes[host].close(f.from.1);
        s.net.nodes[server].close(f.to.1);
        s.net.set_faults(Faults::default());
        s.net.pass(secs(300));
        s.net.end();
    });
}

#[test]
fn flaps_by_chance_leave_no_router_that_is_not_there() {
    // [RFC4861 6.3.6b]
    seeds(20, |seed| {
        let mut rng = Rng::new(seed);
        let mut s = Site::new(seed, lossy(&mut rng, 0.05));
        let talk = s.net.nodes[s.host].udp(0);
        let mut dead: [Option<Instant>; 2] = [None; 2];
        let mut used = (usize::MAX, s.net.now);
        for _ in 0..40 {
            let which = s.net.rng.below(2) as usize;
            let (now, router) = (s.net.now, s.routers[which]);
            match s.net.rng.below(5) {
                0 => {
                    s.net.kill(router, true);
                    dead[which] = dead[which].or(Some(now));
                }
                1 => {
                    s.net.kill(router, false);
                    dead[which] = None;
                    s.net.daemons[which].now(now);
                }
                2 => s.net.daemons[which].says.head.lifetime = [0, 90, 1800][s.net.rng.below(3) as usize],
                3 => {
                    let p = [Preference::Low, Preference::Medium, Preference::High];
                    s.net.daemons[which].says.head.preference = p[s.net.rng.below(3) as usize];
                }
                _ => s.net.daemons[which].now(now),
            }
            for _ in 0..s.net.rng.below(90) {
                let _ = s.net.nodes[s.host].send(talk, a6(SERVER), 7, b"x");
                s.net.pass(secs(1));
                // Of two that are known, a dead one is not used for longer than it takes to find out. What asks may be lost, too.
                let Some(via) = s.via().and_then(|v| s.routers.iter().position(|r| *r == v)) else {
                    continue;
                };
                if used.0 != via {
                    used = (via, s.net.now);
                }
                let long = dead[via].is_some_and(|t| s.net.now.since(t.max(used.1)) > NUD + secs(10));
                let other = s.routers[1 - via];
                let host = s.host;
                let gw = s.net.nodes[other].link_local(ETH).map(zone::strip);
                let known = s.net.nodes[host].routers().iter().any(|r| Some(r.addr) == gw);
                let alive = dead[1 - via].is_none();
                assert!(!(long && known && alive), "by a router that is dead since {:?}", dead[via]);
            }
        }
        // In the end nobody says anything, and nothing is left of it.
        for d in &mut s.net.daemons {
            d.silent = true;
        }
        s.net.pass(secs(1900));
        assert_eq!((s.net.nodes[s.host].routers().len(), s.via()), (0, None));
        s.net.end();
    });
}
