//! Two (or more) hosts on one Ethernet, on a virtual clock: real shards joined by the simulator's links, which
//! delay, lose, duplicate and reorder as a seed says.
#![allow(dead_code)] // each test uses its part

use iopkt_base::{Duration, Instant};
use iopkt_ctl::{AddrInfo, AddrState, LinkState, Reply, Request};
use iopkt_inet::Inet;
use iopkt_mbuf::{Mbuf, Pool, PoolConfig};
pub use iopkt_sim::Faults;
use iopkt_sim::Link;
use iopkt_stack::sockets::{SendOpts, SockId, SockType};
use iopkt_stack::{Config, Family, IfAttach, Shard, Why};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

pub fn ip(s: &str) -> IpAddr {
    s.parse().unwrap()
}

pub fn sa(s: &str) -> SocketAddr {
    s.parse().unwrap()
}

pub struct Host {
    pub s: Shard,
    pub pool: Pool,
    /// The Ethernet interface.
    pub eth: u32,
    pub mac: [u8; 6],
}

impl Host {
    /// A host with one Ethernet interface and no address.
    pub fn bare(n: u8) -> Host {
        Host::with(n, Config::default())
    }

    pub fn with(n: u8, cfg: Config) -> Host {
        let pool = Pool::new(PoolConfig { max_clusters: 4096, ..PoolConfig::default() });
        let mut s = Shard::new(
            Instant::from_millis(1000),
            cfg,
            u64::from(n) + 1,
            [n; 16],
            pool.cache(64),
            vec![Box::new(Inet::new())],
        );
        let mac = [2, 0, 0, 0, 0, n];
        let eth = s.attach(IfAttach { link: LinkState::Up, ..IfAttach::ethernet("eth", mac) }).unwrap();
        Host { s, pool, eth, mac }
    }

    /// A host with 10.0.0.`n`/24.
    pub fn new(n: u8) -> Host {
        let mut h = Host::bare(n);
        h.addr(&format!("10.0.0.{n}"), 24);
        h
    }

    pub fn addr(&mut self, a: &str, plen: u8) {
        assert_eq!(
            self.ctl(Request::AddAddr { name: "eth0".into(), addr: addr_info(a, plen), replace: false }),
            Reply::Ok
        );
    }

    pub fn ctl(&mut self, r: Request) -> Reply {
        self.s.ctl(&r).expect("the shard answers this")
    }

    pub fn mbuf(&mut self, b: &[u8]) -> Mbuf {
        self.s.cx.mbufs.copy_of(b).unwrap()
    }

    pub fn drops(&self, w: Why) -> u64 {
        self.s.cx.counters.drops(w)
    }

    pub fn udp(&mut self, bind: &str) -> SockId {
        let s = self.s.sockets.socket(&mut self.s.cx, Family::V4, SockType::Dgram, 17).unwrap();
        self.s.sockets.bind(&mut self.s.cx, &self.s.net, s, sa(bind)).unwrap();
        s
    }

    pub fn raw(&mut self, proto: u8) -> SockId {
        self.s.sockets.socket(&mut self.s.cx, Family::V4, SockType::Raw, proto).unwrap()
    }

    pub fn send(&mut self, s: SockId, to: &str, data: &[u8]) -> iopkt_base::Result<()> {
        let m = self.mbuf(data);
        let o = SendOpts::default();
        self.s.sockets.send_to(&mut self.s.cx, &mut self.s.net, s, Some(sa(to)), &o, m)
    }

    /// The next datagram's sender and payload.
    pub fn recv(&mut self, s: SockId) -> Option<(SocketAddr, Vec<u8>)> {
        let d = self.s.sockets.recv_from(&mut self.s.cx, s)?;
        let r = (d.from, d.m.as_slice().to_vec());
        self.s.cx.mbufs.free(d.m);
        Some(r)
    }

    /// Runs a turn at `now`; returns the frames for the Ethernet.
    pub fn turn(&mut self, now: Instant, input: &mut Vec<Mbuf>) -> Vec<Vec<u8>> {
        self.s.begin(now);
        let eth = self.eth;
        self.s.input(eth, input);
        self.s.turn();
        let mut out = Vec::new();
        self.s.take_frames(eth, &mut out);
        out.drain(..)
            .map(|m| {
                let b = m.as_slice().to_vec();
                self.s.cx.mbufs.free(m);
                b
            })
            .collect()
    }

    /// One frame in, the frames out.
    pub fn feed(&mut self, now: Instant, frame: &[u8]) -> Vec<Vec<u8>> {
        let m = self.mbuf(frame);
        self.turn(now, &mut vec![m])
    }

    /// Ends the host: everything it held is back in the pool.
    pub fn end(self) {
        let Host { s, pool, .. } = self;
        drop(s);
        let st = pool.stats();
        assert_eq!((st.out, st.big_bytes), (0, 0), "buffers leaked");
    }
}

pub fn addr_info(a: &str, plen: u8) -> AddrInfo {
    AddrInfo { addr: ip(a), prefix_len: plen, broadcast: None, peer: None, state: AddrState::Valid }
}

/// Frames take a millisecond, and nothing happens to them.
pub fn clean() -> Faults {
    Faults { delay: Duration::from_millis(1), ..Faults::default() }
}

/// Hosts on one wire: a link from each to each.
pub struct Wire {
    pub now: Instant,
    pub hosts: Vec<Host>,
    links: Vec<Vec<Link>>,
    /// Every frame that was sent: host, bytes.
    pub log: Vec<(usize, Vec<u8>)>,
}

impl Wire {
    pub fn new(hosts: Vec<Host>) -> Wire {
        Wire { now: Instant::from_millis(1000), hosts, links: Vec::new(), log: Vec::new() }
            .seeded(42, clean())
    }

    /// 10.0.0.1 and 10.0.0.2.
    pub fn pair() -> Wire {
        Wire::new(vec![Host::new(1), Host::new(2)])
    }

    pub fn seeded(mut self, seed: u64, f: Faults) -> Wire {
        let n = self.hosts.len() as u64;
        let link = |i, j| Link::new(f, seed.wrapping_mul(0x1_0001) ^ (i << 8 | j));
        self.links = (0..n).map(|i| (0..n).map(|j| link(i, j)).collect()).collect();
        self
    }

    pub fn set_faults(&mut self, f: Faults) {
        self.links.iter_mut().flatten().for_each(|l| l.faults = f);
    }

    fn launch(&mut self, from: usize, frame: Vec<u8>) {
        assert!(frame.len() >= 60, "short frame on the wire");
        for to in (0..self.hosts.len()).filter(|t| *t != from) {
            self.links[from][to].send(self.now, frame.clone());
        }
        self.log.push((from, frame));
    }

    /// Runs every host once at the present time.
    pub fn settle(&mut self) {
        let now = self.now;
        for i in 0..self.hosts.len() {
            let mut batch: Vec<Mbuf> = Vec::new();
            for l in &mut self.links {
                let due = std::iter::from_fn(|| l[i].recv(now));
                batch.extend(due.filter_map(|f| self.hosts[i].s.cx.mbufs.copy_of(&f)));
            }
            for f in self.hosts[i].turn(now, &mut batch) {
                self.launch(i, f);
            }
        }
    }

    /// Lets `ms` milliseconds pass.
    pub fn run(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        let mut guard = 0;
        loop {
            self.settle();
            guard += 1;
            assert!(guard < 1_000_000, "does not come to rest");
            let links = self.links.iter().flatten().map(Link::deadline);
            let next = links.chain(self.hosts.iter().map(|h| h.s.deadline())).min();
            let next = next.unwrap_or(Instant::FAR).max(self.now);
            if next > end {
                break;
            }
            self.now = next;
        }
        self.now = end;
    }

    /// Frames of a host with this Ethernet type since the start.
    pub fn sent(&self, host: usize, ethertype: u16) -> Vec<&[u8]> {
        self.log
            .iter()
            .filter(|(h, f)| *h == host && f[12..14] == ethertype.to_be_bytes())
            .map(|(_, f)| f.as_slice())
            .collect()
    }

    /// Ends all hosts, checking that nothing leaked.
    pub fn end(self) {
        for h in self.hosts {
            h.end();
        }
    }
}

/// An IPv4 packet in an Ethernet frame.
pub fn frame(dst: [u8; 6], src: [u8; 6], ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut f = vec![0; 14];
    iopkt_wire::ethernet::Header { dst, src, ethertype }.emit(&mut f);
    f.extend_from_slice(payload);
    if f.len() < 60 {
        f.resize(60, 0);
    }
    f
}

/// An IPv4 packet.
pub fn packet(src: &str, dst: &str, proto: u8, payload: &[u8]) -> Vec<u8> {
    packet_with(src, dst, proto, payload, &[], |_| {})
}

/// An IPv4 packet with options and a changed header.
pub fn packet_with(
    src: &str,
    dst: &str,
    proto: u8,
    payload: &[u8],
    options: &[u8],
    f: impl FnOnce(&mut iopkt_wire::ipv4::Header),
) -> Vec<u8> {
    let hl = 20 + options.len();
    let mut h = iopkt_wire::ipv4::Header {
        header_len: hl,
        tos: 0,
        total_len: hl + payload.len(),
        id: 7,
        df: false,
        mf: false,
        frag: 0,
        ttl: 64,
        proto,
        src: src.parse::<Ipv4Addr>().unwrap(),
        dst: dst.parse::<Ipv4Addr>().unwrap(),
    };
    f(&mut h);
    let mut b = vec![0; hl];
    h.emit(&mut b, options).unwrap();
    b.extend_from_slice(payload);
    b
}

/// An ICMP message.
pub fn icmp(ty: u8, code: u8, rest: [u8; 4], data: &[u8]) -> Vec<u8> {
    let mut b = vec![0; 8];
    b.extend_from_slice(data);
    iopkt_wire::icmp4::Header { ty, code, rest }.emit(&mut b);
    b
}

/// A UDP datagram without checksum.
pub fn udp(src: u16, dst: u16, data: &[u8]) -> Vec<u8> {
    let mut b = vec![0; 8];
    iopkt_wire::udp::Header { src, dst, len: (8 + data.len()) as u16, checksum: 0 }.emit(&mut b);
    b.extend_from_slice(data);
    b
}
