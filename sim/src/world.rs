//! Hosts on one Ethernet, and the clock that drives them.

use crate::host::{Host, sa};
use crate::link::{Faults, Link};
use crate::pcap::Pcap;
use iopkt_base::{Duration, Instant};
use iopkt_stack::Config;
use iopkt_stack::sockets::SockId;

/// Turns at one instant after which the hosts are said to spin.
const SPIN: u32 = 100_000;

/// Hosts 1..=n (10.0.0.1, 10.0.0.2, ...), every one joined to every other by a link each way.
pub struct World {
    /// Present time.
    pub now: Instant,
    /// Hosts; index 0 is 10.0.0.1.
    pub hosts: Vec<Host>,
    /// `links[i][j]`: from host `i` to host `j`.
    pub links: Vec<Vec<Link>>,
    /// A queue in front of a host that what all others send to it shares.
    pub necks: Vec<Option<Link>>,
    /// Frames for one host go to that host only.
    pub switched: bool,
    /// When there: every frame that a host (its index) sends is put here too, for who plays along by hand.
    pub seen: Option<Vec<(usize, Vec<u8>)>>,
    /// Everything that was sent.
    pub pcap: Pcap,
    /// Frames sent.
    pub frames: u64,
    seed: u64,
    at_once: u32,
}

impl World {
    /// `n` hosts whose links have these faults; their addresses have been announced when it returns.
    pub fn new(n: u8, seed: u64, faults: Faults) -> World {
        World::with(n, seed, faults, &Config::default())
    }

    /// The same with a configuration.
    pub fn with(n: u8, seed: u64, faults: Faults, cfg: &Config) -> World {
        World::with_memory(n, seed, faults, cfg, 8192)
    }

    /// The same with so many clusters of packet memory in each host.
    pub fn with_memory(n: u8, seed: u64, faults: Faults, cfg: &Config, clusters: usize) -> World {
        let now = Instant::from_millis(1000);
        let hosts = (1..=n).map(|i| Host::with_memory(i, seed, now, cfg.clone(), clusters)).collect();
        let link = |i: u64, j: u64| Link::new(faults, seed.wrapping_mul(0x1_0001) ^ (i << 8 | j));
        let links = (0..u64::from(n)).map(|i| (0..u64::from(n)).map(|j| link(i, j)).collect()).collect();
        let necks = (0..n).map(|_| None).collect();
        World {
            now,
            hosts,
            links,
            necks,
            switched: false,
            seen: None,
            pcap: Pcap::default(),
            frames: 0,
            seed,
            at_once: 0,
        }
    }

    /// Puts a queue in front of host `i`.
    pub fn set_neck(&mut self, i: usize, f: Faults) {
        self.necks[i] = Some(Link::new(f, self.seed ^ 0xbeef << 16 ^ i as u64));
    }

    /// A connection from host `a` to a port of host `b`; both ends.
    ///
    /// # Panics
    /// It is not made in ten minutes.
    pub fn connect(&mut self, a: usize, b: usize, port: u16) -> (SockId, SockId) {
        let l = self.hosts[b].listen(port);
        let near = self.hosts[a].connect(sa(b as u8 + 1, port));
        (near, self.accepted(b, l))
    }

    /// The first connection of a listener, which is closed after it.
    ///
    /// # Panics
    /// None comes in ten minutes.
    pub fn accepted(&mut self, host: usize, l: SockId) -> SockId {
        let mut far = None;
        self.run(Duration::from_secs(600), |w| {
            let s = &mut w.hosts[host].shard;
            far = far.or_else(|| s.sockets.accept(&mut s.cx, l).ok().map(|x| x.0));
            far.is_some()
        });
        self.hosts[host].close(l);
        far.expect("the connection is made in the end")
    }

    /// Changes every link.
    pub fn set_faults(&mut self, f: Faults) {
        self.links.iter_mut().flatten().for_each(|l| l.faults = f);
    }

    /// Pulls or plugs every cable.
    pub fn set_down(&mut self, down: bool) {
        self.links.iter_mut().flatten().for_each(|l| l.down = down);
    }

    /// When something happens next.
    pub fn deadline(&self) -> Instant {
        let links = self.links.iter().flatten().map(Link::deadline);
        let necks = self.necks.iter().flatten().map(Link::deadline);
        let hosts = self.hosts.iter().map(Host::deadline);
        links.chain(necks).chain(hosts).min().unwrap_or(Instant::FAR).max(self.now)
    }

    /// One turn of every host at the present time.
    ///
    /// # Panics
    /// An invariant is broken.
    pub fn turn(&mut self) {
        for i in 0..self.hosts.len() {
            let mut input = Vec::new();
            for j in 0..self.hosts.len() {
                while let Some(f) = self.links[j][i].recv(self.now) {
                    match &mut self.necks[i] {
                        Some(n) => drop(n.send(self.now, f)),
                        None => input.push(f),
                    }
                }
            }
            if let Some(n) = &mut self.necks[i] {
                input.extend(std::iter::from_fn(|| n.recv(self.now)));
            }
            let World { now, hosts, links, switched, seen, pcap, frames, .. } = self;
            hosts[i].turn(*now, &input, |f| {
                assert!((60..=1518).contains(&f.len()), "a frame of {} bytes on an Ethernet", f.len());
                pcap.frame(*now, f);
                *frames += 1;
                if let Some(s) = seen {
                    s.push((i, f.to_vec()));
                }
                // Host `n` has the Ethernet address 02:00:00:00:00:n.
                let only = (*switched && f[0] & 1 == 0).then(|| usize::from(f[5]).wrapping_sub(1));
                for (j, l) in links[i].iter_mut().enumerate() {
                    if j != i && only.is_none_or(|o| o == j) {
                        l.send(*now, f.to_vec());
                    }
                }
            });
        }
    }

    /// Advances to the next event, at most to `end`; false when nothing happens before it.
    ///
    /// # Panics
    /// The hosts spin: they want to run again and again without time passing.
    pub fn step(&mut self, end: Instant) -> bool {
        self.turn();
        let next = self.deadline();
        if next > end {
            self.now = end;
            return false;
        }
        self.at_once = if next > self.now { 0 } else { self.at_once + 1 };
        assert!(self.at_once < SPIN, "the hosts spin at {:?}", self.now);
        self.now = self.now.max(next);
        true
    }

    /// Runs, calling `each` between events, until it says true or `limit` has passed; returns what it said last.
    pub fn run(&mut self, limit: Duration, mut each: impl FnMut(&mut World) -> bool) -> bool {
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

    /// The network comes to rest within `limit`: no frame is sent for as long again.
    ///
    /// # Panics
    /// It does not.
    pub fn assert_goes_idle(&mut self, limit: Duration) {
        self.pass(limit);
        let before = self.frames;
        self.pass(limit);
        assert_eq!(self.frames, before, "an idle network still sends");
    }

    /// Ends the world: every buffer is back in its pool.
    ///
    /// # Panics
    /// One is not.
    pub fn end(mut self) {
        for h in std::mem::take(&mut self.hosts) {
            let Host { shard, pool, .. } = h;
            drop(shard);
            let s = pool.stats();
            assert_eq!((s.out, s.big_bytes), (0, 0), "buffers leaked");
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let path = std::env::temp_dir().join(format!("iopkt-sim-seed-{}.pcap", self.seed));
            if self.pcap.save(&path).is_ok() {
                eprintln!("*** at {:?}, {} frames; capture in {} ***", self.now, self.frames, path.display());
            }
        }
    }
}
