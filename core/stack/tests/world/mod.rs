//! Two hosts with sockets and no network layer: what one hands down arrives at the other after a delay, unless the
//! link loses it. Deterministic: one seed, one virtual clock.
#![allow(dead_code)] // each test file uses a part of it

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use iopkt_base::{Duration, Errno, Instant, Rng};
use iopkt_ctl::{AddrState, LinkState, iff};
use iopkt_mbuf::{Mbuf, Pool, flags};
pub use iopkt_sim::Faults;
#[allow(unused_imports)] // not every file runs again
pub use iopkt_sim::family::{Via, again};
use iopkt_sim::{Item, Link};
use iopkt_stack::sockets::{Datagram, Event, SendOpts, SockId, SockType, ev};
use iopkt_stack::{Config, Family, IcmpErr, IfAddr, IfAttach, IpInfo, IpOut, Life, Shard};

/// A packet under way: what a transport handed down, its bytes outside the pool.
#[derive(Clone)]
struct Packet {
    src: IpAddr,
    dst: IpAddr,
    proto: u8,
    ttl: u8,
    tos: u8,
    flags: u32,
    bytes: Vec<u8>,
}

impl Item for Packet {
    fn size(&self) -> usize {
        self.bytes.len()
    }
    fn damage(&mut self, at: usize, bit: u32) {
        self.bytes.damage(at, bit);
    }
}

pub struct World {
    pub pool: Pool,
    pub hosts: Vec<Shard>,
    pub now: Instant,
    pub rng: Rng,
    /// From a host to the other, and to itself (which takes no time and loses nothing).
    links: [Link<Packet>; 2],
    own: [Link<Packet>; 2],
    /// Answers UDP to closed ports with ICMP port unreachable.
    pub icmp: bool,
    pub events: Vec<(usize, Event)>,
    pub sent: u64,
    /// A router between the hosts marks ECT packets (RFC 3168).
    pub marks: bool,
    /// TOS of each packet sent: (host, TOS, payload of the transport's packet included).
    pub toses: Vec<(usize, u8, usize)>,
}

pub use iopkt_mbuf::PoolConfig;

pub const A: usize = 0;
pub const B: usize = 1;

/// A host's address as its sockets have it (`IO_PKT_FAMILY`).
pub fn addr(host: usize) -> IpAddr {
    let via = Via::now();
    via.outside(via.wire(1 + host as u8))
}

/// A host's address as its packets have it.
pub fn wire(host: usize) -> IpAddr {
    Via::now().wire(1 + host as u8)
}

/// A counter whose text has this in it, of the family of this run.
pub fn counter(w: &World, h: usize, text: &str) -> u64 {
    let all = w.hosts[h].sockets.stats();
    let is = |c: &&iopkt_ctl::Counter| c.text.contains(text) && Via::now().counts(&c.group);
    all.iter().find(is).expect("a counter of this text").value
}

pub fn sa(host: usize, port: u16) -> SocketAddr {
    SocketAddr::new(addr(host), port)
}

pub fn any(port: u16) -> SocketAddr {
    SocketAddr::new(Via::now().any(), port)
}

impl World {
    pub fn new(seed: u64) -> World {
        World::with(seed, Config::default())
    }

    pub fn with(seed: u64, cfg: Config) -> World {
        World::with_pool(seed, cfg, PoolConfig::default())
    }

    pub fn with_pool(seed: u64, cfg: Config, pool: PoolConfig) -> World {
        let pool = Pool::new(pool);
        let hosts = (0..2).map(|i| host(i, seed, cfg.clone(), &pool)).collect();
        World {
            pool,
            hosts,
            now: Instant::from_millis(1),
            rng: Rng::new(seed),
            links: [1, 2].map(|i| Link::new(clean(), seed ^ i << 32)),
            own: [3, 4].map(|i| Link::new(Faults::default(), i)),
            icmp: true,
            events: Vec::new(),
            sent: 0,
            marks: false,
            toses: Vec::new(),
        }
    }

    /// One turn of both hosts at the present time; true when something was handed over.
    fn turn(&mut self) -> bool {
        let mut busy = false;
        for i in 0..2 {
            let h = &mut self.hosts[i];
            h.begin(self.now);
            if h.sockets.deadline() <= self.now {
                h.sockets.tick(&mut h.cx, &mut h.net);
            }
            h.sockets.output(&mut h.cx, &mut h.net);
            while let Some(o) = self.hosts[i].cx.down.pop_front() {
                busy = true;
                self.send(i, o);
            }
            while let Some(e) = self.hosts[i].cx.events.pop_front() {
                busy = true;
                self.events.push((i, e));
            }
        }
        busy
    }

    fn send(&mut self, from: usize, mut o: IpOut) {
        let local = self.hosts[from].net.is_local(o.dst, 0);
        let IpOut { src, dst, proto, ttl, tos, .. } = o;
        let marked = if self.marks && tos & 3 != 0 { tos | 3 } else { tos };
        let links = if local { &mut self.own } else { &mut self.links };
        let mut next = Some(o.m);
        while let Some(m) = next {
            self.sent += 1;
            self.toses.push((from, tos, m.len()));
            let p =
                Packet { src, dst, proto, ttl, tos: marked, flags: m.flags(), bytes: m.as_slice().to_vec() };
            links[from].send(self.now, p);
            next = o.rest.pop();
        }
    }

    fn arrive(&mut self) -> bool {
        let mut any = false;
        for to in 0..2 {
            while let Some(p) = self.own[to].recv(self.now).or_else(|| self.links[1 - to].recv(self.now)) {
                any = true;
                let h = &mut self.hosts[to];
                // Out of memory is a drop, as in a driver.
                let Some(mut m) = h.cx.mbufs.copy_of(&p.bytes) else { continue };
                m.set_flags(p.flags);
                let Packet { src, dst, proto, ttl, tos, .. } = p;
                // The rest is for the layer that is missing here.
                let (df, oif, dontroute, hdrincl, options, mcast_loop, rest) = Default::default();
                let o = IpOut {
                    src,
                    dst,
                    proto,
                    ttl,
                    tos,
                    df,
                    oif,
                    dontroute,
                    hdrincl,
                    options,
                    mcast_loop,
                    m,
                    rest,
                };
                self.deliver(to, o);
            }
        }
        any
    }

    /// Hands a packet up at a host, with a 20-byte header in front as IPv4 would have.
    pub fn deliver(&mut self, to: usize, o: IpOut) {
        let now = self.now;
        let h = &mut self.hosts[to];
        h.begin(now);
        let mut m = o.m;
        let partial = m.flags() & flags::CSUM_PARTIAL != 0;
        let payload = m.as_slice().to_vec();
        let head = m.prepend(20).expect("headroom");
        head.fill(0);
        head[0] = 0x45;
        let multi = o.dst.is_multicast() || o.dst == IpAddr::V4(Ipv4Addr::new(10, 0, 0, 255));
        let info = IpInfo {
            src: o.src,
            dst: o.dst,
            proto: o.proto,
            ttl: o.ttl,
            tos: o.tos,
            ifindex: 2,
            multicast: multi,
            hdr_len: 20,
            csum_ok: partial,
        };
        let Some(m) = h.sockets.input(&mut h.cx, &mut h.net, &info, m) else { return };
        h.cx.mbufs.free(m);
        if self.icmp && o.proto == 17 && !multi {
            let mut head = [0u8; 8];
            head.copy_from_slice(&payload[..8]);
            let from = &mut self.hosts[1 - to];
            from.begin(now);
            let e = IcmpErr {
                dst: o.dst,
                src: o.src,
                proto: 17,
                head,
                errno: Errno::ECONNREFUSED,
                mtu: 0,
                hard: true,
                from: o.dst,
                icmp: (3, 3),
            };
            from.sockets.icmp_error(&mut from.cx, &mut from.net, &e);
        }
    }

    /// Runs until `done` or until nothing is left to do before `limit` from now.
    pub fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&mut World) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            if done(self) {
                return true;
            }
            let busy = self.turn() | self.arrive();
            if busy {
                continue;
            }
            let next = self.links.iter().chain(&self.own).map(Link::deadline).min().unwrap_or(Instant::FAR);
            let next = self.hosts.iter().map(|h| h.sockets.deadline()).fold(next, Instant::min);
            if next > end || next == Instant::FAR {
                self.now = end;
                return done(self);
            }
            self.now = next.max(self.now);
        }
    }

    /// Changes what both links do.
    pub fn set_links(&mut self, f: Faults) {
        self.links.iter_mut().for_each(|l| l.faults = f);
    }

    pub fn set_loss(&mut self, p: f64) {
        self.links.iter_mut().for_each(|l| l.faults.loss = p);
    }

    pub fn loss_from(&mut self, h: usize, p: f64) {
        self.links[h].faults.loss = p;
    }

    pub fn run(&mut self, limit: Duration) {
        self.run_until(limit, |_| false);
    }

    /// Runs for 2 s: enough for every exchange on a good link.
    pub fn settle(&mut self) {
        self.run(Duration::from_secs(2));
    }

    pub fn socket(&mut self, h: usize, ty: SockType, proto: u8) -> SockId {
        let h = &mut self.hosts[h];
        h.sockets.socket(&mut h.cx, Via::now().family(), ty, proto).expect("socket")
    }

    pub fn udp(&mut self, h: usize) -> SockId {
        self.socket(h, SockType::Dgram, 0)
    }

    pub fn tcp(&mut self, h: usize) -> SockId {
        self.socket(h, SockType::Stream, 0)
    }

    pub fn bind(&mut self, h: usize, s: SockId, a: SocketAddr) -> Result<(), Errno> {
        let h = &mut self.hosts[h];
        h.sockets.bind(&mut h.cx, &h.net, s, a)
    }

    pub fn connect(&mut self, h: usize, s: SockId, a: SocketAddr) -> Result<(), Errno> {
        let h = &mut self.hosts[h];
        h.sockets.connect(&mut h.cx, &mut h.net, s, Some(a))
    }

    pub fn disconnect(&mut self, h: usize, s: SockId) -> Result<(), Errno> {
        let h = &mut self.hosts[h];
        h.sockets.connect(&mut h.cx, &mut h.net, s, None)
    }

    pub fn listen(&mut self, h: usize, s: SockId, n: u32) -> Result<(), Errno> {
        let h = &mut self.hosts[h];
        h.sockets.listen(&mut h.cx, s, n)
    }

    pub fn accept(&mut self, h: usize, s: SockId) -> Result<(SockId, SocketAddr), Errno> {
        let h = &mut self.hosts[h];
        h.sockets.accept(&mut h.cx, s)
    }

    pub fn close(&mut self, h: usize, s: SockId) {
        let h = &mut self.hosts[h];
        h.sockets.close(&mut h.cx, &mut h.net, s, false);
    }

    pub fn shutdown(&mut self, h: usize, s: SockId, how: u8) -> Result<(), Errno> {
        let h = &mut self.hosts[h];
        h.sockets.shutdown(&mut h.cx, s, how)
    }

    pub fn mbuf(&mut self, h: usize, b: &[u8]) -> Mbuf {
        self.hosts[h].cx.mbufs.copy_of(b).expect("memory")
    }

    pub fn send_to(&mut self, h: usize, s: SockId, to: Option<SocketAddr>, b: &[u8]) -> Result<(), Errno> {
        self.send_opts(h, s, to, b, &SendOpts::default())
    }

    pub fn send_opts(
        &mut self,
        h: usize,
        s: SockId,
        to: Option<SocketAddr>,
        b: &[u8],
        o: &SendOpts,
    ) -> Result<(), Errno> {
        let m = self.mbuf(h, b);
        let h = &mut self.hosts[h];
        h.sockets.send_to(&mut h.cx, &mut h.net, s, to, o, m)
    }

    pub fn recv(&mut self, h: usize, s: SockId) -> Option<(Vec<u8>, SocketAddr)> {
        self.recv_full(h, s).map(|d| (d.m.as_slice().to_vec(), d.from))
    }

    pub fn recv_full(&mut self, h: usize, s: SockId) -> Option<Datagram> {
        let h = &mut self.hosts[h];
        h.sockets.recv_from(&mut h.cx, s)
    }

    pub fn set(&mut self, h: usize, s: SockId, level: i32, name: i32, v: i32) -> Result<(), Errno> {
        let (level, name) = option(level, name);
        self.set_bytes(h, s, level, name, &v.to_ne_bytes())
    }

    pub fn set_bytes(&mut self, h: usize, s: SockId, level: i32, name: i32, v: &[u8]) -> Result<(), Errno> {
        let h = &mut self.hosts[h];
        h.sockets.setsockopt(&mut h.cx, &mut h.net, s, level, name, v)
    }

    pub fn get(&mut self, h: usize, s: SockId, level: i32, name: i32) -> Result<i32, Errno> {
        let mut b = [0u8; 4];
        let (level, name) = option(level, name);
        let n = self.get_bytes(h, s, level, name, &mut b)?;
        assert_eq!(n, 4);
        Ok(i32::from_ne_bytes(b))
    }

    pub fn get_bytes(
        &mut self,
        h: usize,
        s: SockId,
        level: i32,
        name: i32,
        b: &mut [u8],
    ) -> Result<usize, Errno> {
        let h = &mut self.hosts[h];
        h.sockets.getsockopt(&mut h.cx, &h.net, s, level, name, b)
    }

    pub fn write(&mut self, h: usize, s: SockId, b: &[u8]) -> Result<usize, Errno> {
        let h = &mut self.hosts[h];
        h.sockets.write(&mut h.cx, s, b)
    }

    /// Reads everything that is there.
    pub fn read(&mut self, h: usize, s: SockId) -> Vec<u8> {
        let h = &mut self.hosts[h];
        let mut all = Vec::new();
        loop {
            let mut v: [&[u8]; 16] = [&[]; 16];
            let n = h.sockets.peek(s, &mut v).expect("a stream");
            let before = all.len();
            v[..n].iter().for_each(|x| all.extend_from_slice(x));
            if all.len() == before {
                return all;
            }
            let took = all.len() - before;
            h.sockets.consume(&mut h.cx, s, took);
        }
    }

    pub fn at_eof(&self, h: usize, s: SockId) -> bool {
        self.hosts[h].sockets.at_eof(s)
    }

    pub fn err(&mut self, h: usize, s: SockId) -> Option<Errno> {
        self.hosts[h].sockets.take_error(s)
    }

    /// Whether this was told about a socket so far.
    pub fn saw(&self, h: usize, s: SockId, bits: u8) -> bool {
        self.events.iter().any(|(i, e)| *i == h && e.id == s && e.what & bits != 0)
    }

    /// A listener on B at `port`.
    pub fn listener(&mut self, port: u16, backlog: u32) -> SockId {
        let l = self.tcp(B);
        self.set(B, l, 1, 2, 1).expect("SO_REUSEADDR");
        self.bind(B, l, any(port)).expect("bind");
        self.listen(B, l, backlog).expect("listen");
        l
    }

    /// A connection from A to a listener on B.
    pub fn pair(&mut self, l: SockId, port: u16) -> (SockId, SockId) {
        let c = self.tcp(A);
        assert_eq!(self.connect(A, c, sa(B, port)), Err(Errno::EINPROGRESS));
        let mut got = None;
        assert!(self.run_until(Duration::from_secs(60), |w| {
            got = w.accept(B, l).ok();
            got.is_some()
        }));
        let ok = self.run_until(Duration::from_secs(60), |w| w.saw(A, c, ev::CONNECTED));
        assert!(ok, "the client was told");
        (c, got.expect("accepted").0)
    }

    /// Buffers in use, when the caches are emptied.
    pub fn out(mut self) -> usize {
        self.hosts.clear();
        self.pool.stats().out + self.pool.stats().big_bytes
    }
}

/// A link that takes a millisecond and does nothing else.
pub fn clean() -> Faults {
    Faults { delay: Duration::from_millis(1), ..Faults::default() }
}

/// IP_TOS, IP_TTL and IP_RECVERR by the names that IPv6 has for them.
fn option(level: i32, name: i32) -> (i32, i32) {
    match (Via::now(), level, name) {
        (Via::V6, 0, 1) => (41, 67),
        (Via::V6, 0, 2) => (41, 16),
        (Via::V6, 0, 11) => (41, 25),
        _ => (level, name),
    }
}

fn host(i: usize, seed: u64, cfg: Config, pool: &Pool) -> Shard {
    let mut s =
        Shard::new(Instant::ZERO, cfg, seed + i as u64, [7 + i as u8; 16], pool.cache(64), Vec::new());
    s.sockets.add_family(Family::V4);
    if Via::now() != Via::V4 {
        s.sockets.add_family(Family::V6);
    }
    let mut a = IfAttach::ethernet("en", [2, 0, 0, 0, 0, 1 + i as u8]);
    a.link = LinkState::Up;
    let index = s.attach(a).expect("attach");
    assert_eq!(index, 2);
    s.net.set_flags(&mut s.cx, 2, iff::UP, 0).expect("up");
    let wire = wire(i);
    let a = IfAddr {
        addr: wire,
        plen: Via::now().plen(),
        broadcast: None,
        peer: None,
        state: AddrState::Valid,
        life: Life::default(),
    };
    s.net.add_addr(&mut s.cx, 2, a).expect("address");
    s.net.set_addr_state(&mut s.cx, 2, wire, AddrState::Valid);
    if Via::now() == Via::V6 {
        let lo = IfAddr { addr: Via::V6.loopback(), plen: 128, ..a };
        s.net.add_addr(&mut s.cx, iopkt_stack::LO0, lo).expect("::1");
    }
    s
}
