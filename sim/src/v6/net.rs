//! Segments, and the clock that drives the nodes on them.

use super::check::Watch;
use super::daemon::{Daemon, Says};
use super::node::{ETH, Node, Spec};
use super::packet::Packet;
use crate::link::{Faults, Link};
use crate::pcap::Pcap;
use iopkt_base::{Duration, Instant, Rng};
use std::collections::BTreeSet;
use std::net::Ipv6Addr;

/// Turns at one instant after which the nodes are said to spin.
const SPIN: u32 = 100_000;

/// An interface on a segment.
struct Port {
    node: usize,
    ifindex: u32,
    /// What the others send comes to it this way.
    link: Link,
    /// Only those of the same side hear each other.
    side: u8,
}

/// An Ethernet on which everybody hears everybody.
#[derive(Default)]
pub struct Segment {
    ports: Vec<Port>,
    /// What one sends comes back to it too (RFC 7527 section 1).
    pub echo: bool,
    /// Addresses of which somebody spoke and was not heard by all: two may have one then.
    pub unheard: BTreeSet<Ipv6Addr>,
}

impl Segment {
    /// Nodes and interfaces that are on it, with their sides.
    pub(super) fn ports(&self) -> impl Iterator<Item = (usize, u32, u8)> {
        self.ports.iter().map(|p| (p.node, p.ifindex, p.side))
    }

    fn send(&mut self, now: Instant, from: (usize, u32), f: &[u8]) {
        let about = Packet::of(f).and_then(|p| p.target());
        let side = self.ports.iter().find(|p| (p.node, p.ifindex) == from).map(|p| p.side);
        for p in &mut self.ports {
            let own = (p.node, p.ifindex) == from;
            if own && !self.echo {
                continue;
            }
            let lost = side.is_some_and(|s| s != p.side) || !p.link.send(now, f.to_vec());
            if let (true, Some(a)) = (lost, about) {
                self.unheard.insert(a);
            }
        }
    }
}

/// Nodes, segments, and the daemons of routers.
pub struct Net {
    /// Present time.
    pub now: Instant,
    /// Nodes.
    pub nodes: Vec<Node>,
    /// Segments.
    pub segments: Vec<Segment>,
    /// The daemons of routers.
    pub daemons: Vec<Daemon>,
    /// When there: every frame that a node (its index) sends is put here too.
    pub seen: Option<Vec<(usize, Vec<u8>)>>,
    /// Everything that was sent.
    pub pcap: Pcap,
    /// Frames sent.
    pub frames: u64,
    /// Chances of the run itself: what a test does when.
    pub rng: Rng,
    seed: u64,
    faults: Faults,
    watch: Watch,
    at_once: u32,
}

impl Net {
    /// An empty network; links of this kind join whoever comes.
    pub fn new(seed: u64, faults: Faults) -> Net {
        Net {
            now: Instant::from_millis(1000),
            nodes: Vec::new(),
            segments: Vec::new(),
            daemons: Vec::new(),
            seen: None,
            pcap: Pcap::default(),
            frames: 0,
            rng: Rng::new(seed ^ 0x6e65_7436),
            seed,
            faults,
            watch: Watch::default(),
            at_once: 0,
        }
    }

    /// Adds a node with an interface on each of these segments, which are made where they are not there; down.
    pub fn add(&mut self, spec: Spec, segments: &[usize]) -> usize {
        let i = self.nodes.len();
        let node = Node::new(i as u8 + 1, segments.len() as u8, self.seed, self.now, spec);
        self.nodes.push(node);
        for (port, s) in segments.iter().enumerate() {
            while self.segments.len() <= *s {
                self.segments.push(Segment::default());
            }
            let seed = self.seed.wrapping_mul(0x1_0001) ^ (i as u64) << 16 ^ (port as u64) << 8;
            let link = Link::new(self.faults, seed);
            self.segments[*s].ports.push(Port { node: i, ifindex: ETH + port as u32, link, side: 0 });
        }
        i
    }

    /// The same, and brings it up.
    pub fn join(&mut self, spec: Spec, segments: &[usize]) -> usize {
        let i = self.add(spec, segments);
        self.nodes[i].up();
        i
    }

    /// A router with this address on each segment, its interfaces up; and its daemon on the first of them if it says something.
    pub fn router(&mut self, spec: Spec, ports: &[(usize, Ipv6Addr)], says: Option<Says>) -> usize {
        let segments: Vec<usize> = ports.iter().map(|p| p.0).collect();
        let i = self.join(spec, &segments);
        for (port, (_, a)) in ports.iter().enumerate() {
            self.nodes[i].addr(ETH + port as u32, *a, iopkt_stack::Life::default());
        }
        if let Some(s) = says {
            self.advertise(i, ETH, s);
        }
        i
    }

    /// Starts a daemon on an interface of a node; its index.
    pub fn advertise(&mut self, node: usize, ifindex: u32, says: Says) -> usize {
        let seed = self.seed ^ 0xda ^ (node as u64) << 8;
        self.daemons.push(Daemon::new(node, &mut self.nodes[node], ifindex, says, seed));
        self.daemons.len() - 1
    }

    /// Changes every link.
    pub fn set_faults(&mut self, f: Faults) {
        self.faults = f;
        self.segments.iter_mut().flat_map(|s| &mut s.ports).for_each(|p| p.link.faults = f);
    }

    /// Says on which side of a segment the interfaces are, in the order in which they came; those that are not named are on side 0.
    pub fn cut(&mut self, segment: usize, sides: &[u8]) {
        for (i, p) in self.segments[segment].ports.iter_mut().enumerate() {
            p.side = sides.get(i).copied().unwrap_or(0);
        }
    }

    /// Makes a node silent and deaf, or lets it be again.
    pub fn kill(&mut self, node: usize, dead: bool) {
        self.nodes[node].dead = dead;
        let of = self.segments.iter_mut().flat_map(|s| &mut s.ports).filter(|p| p.node == node);
        of.for_each(|p| p.link.down = dead);
    }

    /// Pulls or plugs the cable of an interface; both ends see it.
    pub fn carrier(&mut self, node: usize, ifindex: u32, up: bool) {
        let port = self.segments.iter_mut().flat_map(|s| &mut s.ports);
        for p in port.filter(|p| (p.node, p.ifindex) == (node, ifindex)) {
            p.link.down = !up;
            p.link.clear();
        }
        self.nodes[node].link(ifindex, up);
    }

    /// Puts a frame on a segment as if somebody else had sent it.
    pub fn inject(&mut self, segment: usize, f: &[u8]) {
        self.segments[segment].send(self.now, (usize::MAX, 0), f);
    }

    /// When something happens next.
    pub fn deadline(&self) -> Instant {
        let links = self.segments.iter().flat_map(|s| &s.ports).map(|p| p.link.deadline());
        let nodes = self.nodes.iter().map(Node::deadline);
        let daemons = self.daemons.iter().filter(|d| !self.nodes[d.node].dead).map(Daemon::deadline);
        links.chain(nodes).chain(daemons).min().unwrap_or(Instant::FAR).max(self.now)
    }

    /// One turn of every node at the present time.
    ///
    /// # Panics
    /// What must hold always does not.
    pub fn turn(&mut self) {
        for i in 0..self.nodes.len() {
            let mut input = Vec::new();
            for p in self.segments.iter_mut().flat_map(|s| &mut s.ports).filter(|p| p.node == i) {
                let all = std::iter::from_fn(|| p.link.recv(self.now));
                input.extend(all.map(|f| (p.ifindex, f)));
            }
            let Net { now, nodes, segments, daemons, seen, pcap, frames, watch, .. } = self;
            let node = &mut nodes[i];
            if node.dead {
                continue;
            }
            for d in daemons.iter_mut().filter(|d| d.node == i) {
                d.turn(node, *now);
            }
            let before = watch.before(node, &input);
            let mut out: Vec<(u32, Vec<u8>)> = Vec::new();
            node.turn(*now, input, |ifindex, f| out.push((ifindex, f.to_vec())));
            watch.after(i, node, before, &out);
            for (ifindex, f) in out {
                pcap.frame(*now, &f);
                *frames += 1;
                let on = |s: &&mut Segment| s.ports.iter().any(|p| (p.node, p.ifindex) == (i, ifindex));
                for s in segments.iter_mut().filter(on) {
                    s.send(*now, (i, ifindex), &f);
                }
                if let Some(s) = seen {
                    s.push((i, f));
                }
            }
        }
        // A router's daemon reads what its node has taken in.
        for d in &mut self.daemons {
            let node = &mut self.nodes[d.node];
            if !node.dead {
                d.turn(node, self.now);
            }
        }
        self.unique();
    }

    /// Advances to the next event, at most to `end`; false when nothing happens before it.
    ///
    /// # Panics
    /// The nodes spin: they want to run again and again without time passing.
    pub fn step(&mut self, end: Instant) -> bool {
        self.turn();
        let next = self.deadline();
        if next > end {
            self.now = end;
            self.nodes.iter_mut().filter(|n| !n.dead).for_each(|n| n.shard.begin(end));
            return false;
        }
        self.at_once = if next > self.now { 0 } else { self.at_once + 1 };
        assert!(self.at_once < SPIN, "the nodes spin at {:?}", self.now);
        self.now = self.now.max(next);
        true
    }

    /// Runs, calling `each` between events, until it says true or `limit` has passed; returns what it said last.
    pub fn run(&mut self, limit: Duration, mut each: impl FnMut(&mut Net) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            if each(self) {
                return true;
            }
            if !self.step(end) {
                self.turn();
                return each(self);
            }
        }
    }

    /// Lets time pass.
    pub fn pass(&mut self, d: Duration) {
        self.run(d, |_| false);
    }

    /// Lets so many milliseconds pass, and something more by chance up to so many.
    pub fn pass_about(&mut self, ms: u64, more: u32) {
        let d = ms + u64::from(self.rng.below(more.max(1)));
        self.pass(Duration::from_millis(d));
    }

    /// Ends the network: what was counted fits, and every buffer is back in its pool.
    ///
    /// # Panics
    /// One is not.
    pub fn end(mut self) {
        for s in &self.segments {
            for l in s.ports.iter().map(|p| &p.link) {
                assert_eq!(
                    l.sent + l.doubled,
                    l.lost + l.delivered + l.under_way() as u64,
                    "frames on a link"
                );
            }
        }
        self.nodes.iter_mut().for_each(super::check::account);
        for n in std::mem::take(&mut self.nodes) {
            let Node { shard, pool, name, .. } = n;
            drop(shard);
            let s = pool.stats();
            assert_eq!((s.out, s.big_bytes), (0, 0), "{name}: buffers leaked");
        }
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let path = std::env::temp_dir().join(format!("iopkt-sim6-seed-{}.pcap", self.seed));
            if self.pcap.save(&path).is_ok() {
                eprintln!("*** at {:?}, {} frames; capture in {} ***", self.now, self.frames, path.display());
            }
            for n in &self.nodes {
                eprintln!(
                    "{}: {:?}",
                    n.name,
                    n.addrs(ETH).iter().map(|a| (a.0, a.1.state)).collect::<Vec<_>>()
                );
                n.log.iter().rev().take(5).for_each(|l| eprintln!("  {l}"));
            }
        }
    }
}
