//! The stack, its wire and its clock.

use crate::fds::Fds;
use iopkt_base::{Duration, Instant};
use iopkt_ctl::{AddrInfo, AddrState, IfKind, LinkState, Reply, Request, RouteInfo};
use iopkt_inet::Inet;
use iopkt_inet6::Inet6;
use iopkt_mbuf::{Mbuf, Pool, PoolConfig};
use iopkt_stack::{Config, IfAttach, Note, Shard};
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Turns at one instant after which the stack is said to spin.
const SPIN: u32 = 10_000;

/// How a world begins.
#[derive(Clone, Debug)]
pub struct Setup {
    /// IPv4 address of `tun0`.
    pub local: Ipv4Addr,
    /// Its prefix length, bits.
    pub plen: u8,
    /// IPv6 address of `tun0`; its prefix is of 64 bits.
    pub local6: Ipv6Addr,
    /// MTU of `tun0`, bytes.
    pub mtu: u32,
    /// Seed of the stack's randomness, seen and secret.
    pub seed: u64,
    /// The time of day at the clock's zero, microseconds since 1970: what timestamps of control messages are counted from.
    pub epoch: u64,
}

impl Default for Setup {
    /// What packetdrill's own scripts are run with.
    fn default() -> Self {
        Setup {
            local: Ipv4Addr::new(192, 168, 0, 1),
            plen: 16,
            local6: Ipv6Addr::new(0xfd3d, 0xa0b, 0x17d6, 0, 0, 0, 0, 1),
            mtu: 1500,
            seed: 1,
            epoch: 0,
        }
    }
}

/// One stack, one program, one wire, one clock.
pub struct World {
    /// Present time. Begins late enough that "long ago" can be told from "never".
    pub(crate) now: Instant,
    pub(crate) shard: Shard,
    pub(crate) tun: u32,
    pub(crate) fds: Fds,
    /// The time of day at the clock's zero, microseconds.
    pub(crate) epoch: u64,
    /// What the stack sent and nobody has taken yet, with the time.
    out: VecDeque<(Instant, Vec<u8>)>,
    /// Log lines of the stack.
    pub log: Vec<String>,
    batch: Vec<Mbuf>,
    /// The memory of all packets; the shard's cache draws on it.
    pool: Pool,
}

impl World {
    /// A world whose stack is up.
    ///
    /// # Errors
    /// What the stack refuses, in words (an address that is none, an MTU out of range).
    pub fn new(s: &Setup) -> Result<World, String> {
        let now = Instant::from_millis(1_000_000);
        let pool = Pool::new(PoolConfig { max_clusters: 16_384, ..PoolConfig::default() });
        let key = (u128::from(s.seed) << 64 | 0x5eed).to_le_bytes();
        let domains: Vec<Box<dyn iopkt_stack::Domain>> = vec![Box::new(Inet::new()), Box::new(Inet6::new())];
        let mut shard = Shard::new(now, Config::default(), s.seed, key, pool.cache(64), domains);
        let a = IfAttach {
            kind: IfKind::PointToPoint,
            link: LinkState::Up,
            mtu: s.mtu,
            max_mtu: s.mtu.max(65_535),
            media: false,
            ..IfAttach::ethernet("tun", [0; 6])
        };
        let tun = shard.attach(a).map_err(|e| format!("tun0: {e:?}"))?;
        let mut w = World {
            now,
            shard,
            tun,
            fds: Fds::default(),
            epoch: s.epoch,
            out: VecDeque::new(),
            log: Vec::new(),
            batch: Vec::new(),
            pool,
        };
        w.shard.sockets.hand_messages();
        w.add_address(s.local.into(), s.plen)?;
        w.add_address(s.local6.into(), 64)?;
        w.default_route(Ipv4Addr::UNSPECIFIED.into())?;
        w.default_route(Ipv6Addr::UNSPECIFIED.into())?;
        w.settle();
        w.out.clear();
        Ok(w)
    }

    fn default_route(&mut self, dst: IpAddr) -> Result<(), String> {
        let r = RouteInfo { ifname: Some("tun0".into()), ..RouteInfo::to(dst, 0) };
        self.control(&Request::AddRoute(r))
    }

    /// Gives `tun0` one more address; one that it has is no error.
    ///
    /// # Errors
    /// What the stack says against it.
    pub fn add_address(&mut self, a: IpAddr, plen: u8) -> Result<(), String> {
        if self.has_address(a) {
            return Ok(());
        }
        let addr =
            AddrInfo { addr: a, prefix_len: plen, broadcast: None, peer: None, state: AddrState::Valid };
        self.control(&Request::AddAddr { name: "tun0".into(), addr, replace: false })
    }

    /// A configuration request of the stack.
    ///
    /// # Errors
    /// Why not, in words.
    pub fn control(&mut self, r: &Request) -> Result<(), String> {
        match self.shard.ctl(r) {
            Some(Reply::Err { errno, why }) => Err(format!("{r:?}: {errno:?} {why}")),
            Some(_) => Ok(()),
            None => Err(format!("{r:?}: the stack alone cannot do it")),
        }
    }

    /// Whether an address is the stack's own.
    pub fn has_address(&self, a: IpAddr) -> bool {
        self.shard.net.is_local(a, 0)
    }

    /// Present time since the clock's zero.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// When the stack, or a call that waits with a limit, wants to go on.
    pub fn deadline(&self) -> Instant {
        self.shard.deadline().max(self.now)
    }

    /// A packet for the stack, beginning with its IP header.
    pub fn inject(&mut self, packet: &[u8]) {
        self.shard.begin(self.now);
        if let Some(m) = self.shard.cx.mbufs.copy_of(packet) {
            self.batch.push(m);
            self.shard.input(self.tun, &mut self.batch);
        }
        self.settle();
    }

    /// The oldest packet that the stack sent, with its time; IP header first.
    pub fn sent(&mut self) -> Option<(Instant, Vec<u8>)> {
        self.out.pop_front()
    }

    /// Whether a packet waits in [`World::sent`].
    pub fn has_sent(&self) -> bool {
        !self.out.is_empty()
    }

    /// Lets time pass to the next thing that happens, at most to `end`; false when nothing happens before it.
    pub fn step(&mut self, end: Instant) -> bool {
        let next = self.deadline();
        if next > end {
            self.now = self.now.max(end);
            self.shard.begin(self.now);
            return false;
        }
        self.now = next;
        self.settle();
        true
    }

    /// Lets time pass to `end`, but stops behind an event after which `stop` says true; returns whether it did.
    pub fn advance(&mut self, end: Instant, mut stop: impl FnMut(&mut World) -> bool) -> bool {
        while self.step(end) {
            if stop(self) {
                return true;
            }
        }
        false
    }

    /// Moves the clock without a look at anything that becomes due meanwhile (reading a clock takes time, too).
    pub fn tick(&mut self, d: Duration) {
        let end = self.now + d;
        if self.deadline() <= end {
            self.advance(end, |_| false);
        }
        self.now = self.now.max(end);
    }

    /// Runs the stack until it has nothing more to do at this instant.
    ///
    /// # Panics
    /// It never comes to rest: a bug of the stack.
    pub fn settle(&mut self) {
        for _ in 0..SPIN {
            self.shard.begin(self.now);
            self.shard.turn();
            self.collect();
            if self.shard.deadline() > self.now {
                return;
            }
        }
        panic!("the stack spins at {:?}", self.now);
    }

    fn collect(&mut self) {
        for n in self.shard.cx.notes.drain(..) {
            if let Note::Log(_, text) = n {
                self.log.push(text);
            }
        }
        self.shard.cx.dev_ops.clear();
        let wires: Vec<u32> = self.shard.tx_ready().collect();
        for i in wires {
            self.shard.take_frames(i, &mut self.batch);
            for m in self.batch.drain(..) {
                self.out.push_back((self.now, m.as_slice().to_vec()));
                self.shard.cx.mbufs.free(m);
            }
        }
        while let Some(e) = self.shard.cx.events.pop_front() {
            self.fds.happened(e);
        }
    }

    /// Packet buffers in use: 0 when all sockets are gone.
    pub fn buffers(&self) -> usize {
        self.pool.stats().out
    }
}
