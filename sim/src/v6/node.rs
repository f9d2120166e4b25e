//! A node of an IPv6 network: a real dual-stack shard with one or more Ethernet interfaces.

use iopkt_base::{Duration, Errno, Instant, zone};
use iopkt_ctl::{AddrState, LinkState, NdDns, NdReply, NdRequest, NdRouter, Reply, Request, RouteInfo, iff};
use iopkt_inet::Inet;
use iopkt_inet6::{Inet6, Tunables};
use iopkt_mbuf::{Mbuf, Pool, PoolConfig};
use iopkt_stack::route::Origin;
use iopkt_stack::sockets::{SendOpts, SockId, SockType};
use iopkt_stack::{Config, Domain, Family, IfAddr, IfAttach, Life, Note, Shard};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// Index of a node's first Ethernet interface; the others follow.
pub const ETH: u32 = 2;

/// An address, as people write it.
///
/// # Panics
/// It is none.
pub fn a6(s: &str) -> Ipv6Addr {
    s.parse().expect("an IPv6 address")
}

/// What a node is made of.
#[derive(Clone, Debug, Default)]
pub struct Spec {
    /// Settings of its IPv6.
    pub t: Tunables,
    /// Settings of its stack.
    pub cfg: Config,
    /// Last bytes of its first interface's link-level address when they are not its number: twins.
    pub mac: Option<u16>,
    /// `net.inet6.ip6.stable_secret`: addresses by RFC 7217.
    pub secret: Option<String>,
    /// Bytes of a frame that its interfaces carry, 0 for 1500.
    pub mtu: u32,
}

impl Spec {
    /// A host that believes routers.
    pub fn host() -> Spec {
        Spec { t: Tunables { accept_rtadv: true, ..Tunables::default() }, ..Spec::default() }
    }

    /// A router.
    pub fn router() -> Spec {
        Spec { t: Tunables { forwarding: true, ..Tunables::default() }, ..Spec::default() }
    }
}

/// A node.
pub struct Node {
    /// What it is called in failures.
    pub name: String,
    /// Its stack.
    pub shard: Shard,
    /// Its packet memory.
    pub pool: Pool,
    /// Its settings as it began.
    pub spec: Spec,
    /// Link-level addresses of its interfaces, from [`ETH`] on.
    pub macs: Vec<[u8; 6]>,
    /// It is gone, without a word: neither hears nor says anything.
    pub dead: bool,
    /// What the stack wanted to be logged.
    pub log: Vec<String>,
    /// Frames handed to the shard.
    pub input: u64,
    /// Frames that arrived when there was no buffer for them.
    pub no_memory: u64,
    batch: Vec<Mbuf>,
}

impl AsMut<Shard> for Node {
    fn as_mut(&mut self) -> &mut Shard {
        &mut self.shard
    }
}

impl Node {
    /// Node `n` with so many interfaces, which are down.
    ///
    /// # Panics
    /// The stack refuses a plain Ethernet interface: a bug.
    pub fn new(n: u8, ports: u8, seed: u64, now: Instant, spec: Spec) -> Node {
        let pool = Pool::new(PoolConfig { max_clusters: 8192, ..PoolConfig::default() });
        let key = (u128::from(seed) << 8 | u128::from(n)).to_le_bytes();
        let domains: Vec<Box<dyn Domain>> =
            vec![Box::new(Inet::new()), Box::new(Inet6::with(spec.t.clone()))];
        let mut shard =
            Shard::new(now, spec.cfg.clone(), seed ^ u64::from(n) << 32, key, pool.cache(64), domains);
        let mut macs = Vec::new();
        for port in 0..ports {
            let [hi, lo] = spec.mac.filter(|_| port == 0).unwrap_or(n.into()).to_be_bytes();
            let mac = [2, 0, 0, port, hi, lo];
            let mut a = IfAttach { link: LinkState::Up, ..IfAttach::ethernet("eth", mac) };
            if spec.mtu != 0 {
                (a.mtu, a.max_mtu) = (spec.mtu, spec.mtu);
            }
            assert_eq!(shard.attach(a), Ok(ETH + u32::from(port)), "an Ethernet interface");
            macs.push(mac);
        }
        let mut node = Node {
            name: format!("node {n}"),
            shard,
            pool,
            spec,
            macs,
            dead: false,
            log: Vec::new(),
            input: 0,
            no_memory: 0,
            batch: Vec::new(),
        };
        if let Some(s) = node.spec.secret.clone() {
            node.sysctl("net.inet6.ip6.stable_secret", &s);
        }
        node
    }

    /// Brings its interfaces up.
    ///
    /// # Panics
    /// One does not come.
    pub fn up(&mut self) {
        for i in 0..self.macs.len() as u32 {
            let s = &mut self.shard;
            s.net.set_flags(&mut s.cx, ETH + i, iff::UP, 0).expect("an interface");
        }
        self.shard.tell_changes();
    }

    /// Carrier of an interface comes or goes.
    pub fn link(&mut self, ifindex: u32, up: bool) {
        let state = if up { LinkState::Up } else { LinkState::Down };
        self.shard.link_changed(ifindex, state, (0, 0), true);
    }

    /// A request that the stack answers.
    ///
    /// # Panics
    /// It does not know it.
    pub fn ctl(&mut self, r: &Request) -> Reply {
        self.shard.ctl(r).expect("a request that the shard answers")
    }

    /// Writes a variable.
    ///
    /// # Panics
    /// It is refused.
    pub fn sysctl(&mut self, name: &str, v: &str) {
        let r = self.ctl(&Request::Sysctl { name: name.into(), value: Some(v.into()) });
        assert_eq!(r, Reply::Ok, "{name}");
    }

    /// Gives an interface an address, /64.
    ///
    /// # Panics
    /// It is refused.
    pub fn addr(&mut self, ifindex: u32, a: Ipv6Addr, life: Life) {
        let a = IfAddr {
            addr: zone::embed(a, ifindex).into(),
            plen: 64,
            broadcast: None,
            peer: None,
            state: AddrState::Valid,
            life,
        };
        let s = &mut self.shard;
        s.net.add_addr(&mut s.cx, ifindex, a).expect("an address");
        s.tell_changes();
    }

    /// A static route.
    ///
    /// # Panics
    /// It is refused.
    pub fn route(&mut self, dst: Ipv6Addr, plen: u8, gateway: Ipv6Addr, ifindex: u32) {
        let mut r = RouteInfo::to(dst.into(), plen);
        r.gateway = Some(gateway.into());
        r.ifname = Some(self.shard.net.ifname(ifindex).expect("an interface").into());
        assert_eq!(self.ctl(&Request::AddRoute(r)), Reply::Ok);
    }

    /// The IPv6 addresses of an interface, with their zones.
    pub fn addrs(&self, ifindex: u32) -> Vec<(Ipv6Addr, IfAddr)> {
        let v6 = |a: &IfAddr| if let IpAddr::V6(x) = a.addr { Some((x, *a)) } else { None };
        self.shard.net.iface(ifindex).map_or_else(Vec::new, |i| i.addrs.iter().filter_map(v6).collect())
    }

    /// Those of global scope that are good.
    pub fn globals(&self, ifindex: u32) -> Vec<(Ipv6Addr, IfAddr)> {
        let good = |a: &(Ipv6Addr, IfAddr)| !zone::is_scoped(&a.0) && a.1.state == AddrState::Valid;
        self.addrs(ifindex).into_iter().filter(good).collect()
    }

    /// Its link-local address, with its zone.
    pub fn link_local(&self, ifindex: u32) -> Option<Ipv6Addr> {
        let good = |a: &(Ipv6Addr, IfAddr)| zone::is_scoped(&a.0) && a.1.state == AddrState::Valid;
        self.addrs(ifindex).into_iter().find(good).map(|a| a.0)
    }

    /// Who is next on the way to a destination, and with which source.
    pub fn way(&self, to: Ipv6Addr) -> Option<(Ipv6Addr, Ipv6Addr)> {
        let h = self.shard.net.hop(to.into(), 0, false).ok()?;
        match (h.next, h.src) {
            (IpAddr::V6(n), Some(IpAddr::V6(s))) => Some((n, s)),
            _ => None,
        }
    }

    /// How many IPv6 routes were learnt that way.
    pub fn routes(&self, origin: Origin) -> usize {
        self.shard.net.routes.sorted().iter().filter(|r| r.origin == origin && r.dst.is_ipv6()).count()
    }

    /// The default routers that it knows.
    ///
    /// # Panics
    /// The stack does not answer.
    pub fn routers(&mut self) -> Vec<NdRouter> {
        match self.ctl(&Request::Nd(NdRequest::Routers)) {
            Reply::Nd(NdReply::Routers(l)) => l,
            r => panic!("{r:?}"),
        }
    }

    /// The name servers that it knows.
    ///
    /// # Panics
    /// The stack does not answer.
    pub fn dns(&mut self) -> Vec<NdDns> {
        match self.ctl(&Request::Nd(NdRequest::Dns)) {
            Reply::Nd(NdReply::Dns(l)) => l,
            r => panic!("{r:?}"),
        }
    }

    /// A counter in netstat's words, 0 when there is none.
    ///
    /// # Panics
    /// The stack does not answer.
    pub fn count(&mut self, group: &str, text: &str) -> u64 {
        let Reply::Stats(s) = self.ctl(&Request::Stats) else { panic!("no counters") };
        s.counters.iter().find(|c| c.group == group && c.text == text).map_or(0, |c| c.value)
    }

    /// A socket of IPv6.
    ///
    /// # Panics
    /// There are too many.
    pub fn socket(&mut self, ty: SockType, proto: u8) -> SockId {
        let s = &mut self.shard;
        s.sockets.socket(&mut s.cx, Family::V6, ty, proto).expect("a socket")
    }

    /// A UDP socket with this port.
    ///
    /// # Panics
    /// The port is taken.
    pub fn udp(&mut self, port: u16) -> SockId {
        let id = self.socket(SockType::Dgram, 17);
        self.bind(id, port);
        id
    }

    /// A TCP socket that listens on this port.
    ///
    /// # Panics
    /// The port is taken.
    pub fn listen(&mut self, port: u16) -> SockId {
        let id = self.socket(SockType::Stream, 6);
        self.bind(id, port);
        let s = &mut self.shard;
        s.sockets.listen(&mut s.cx, id, 64).expect("listen");
        id
    }

    fn bind(&mut self, id: SockId, port: u16) {
        let any = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
        let s = &mut self.shard;
        s.sockets.bind(&mut s.cx, &s.net, id, any).expect("a free port");
    }

    /// A TCP socket that connects to `to`.
    ///
    /// # Errors
    /// The connect is refused at once (ENETUNREACH).
    pub fn connect(&mut self, to: Ipv6Addr, port: u16) -> Result<SockId, Errno> {
        let id = self.socket(SockType::Stream, 6);
        let s = &mut self.shard;
        match s.sockets.connect(&mut s.cx, &mut s.net, id, Some(sa6(to, port))) {
            Err(Errno::EINPROGRESS) | Ok(()) => Ok(id),
            Err(e) => {
                self.close(id);
                Err(e)
            }
        }
    }

    /// Closes a socket.
    pub fn close(&mut self, id: SockId) {
        let s = &mut self.shard;
        s.sockets.close(&mut s.cx, &mut s.net, id, false);
    }

    /// Sends a datagram.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn send(&mut self, id: SockId, to: Ipv6Addr, port: u16, data: &[u8]) -> Result<(), Errno> {
        self.send_with(id, sa6(to, port), &SendOpts::default(), data)
    }

    /// The same with what a control message can say.
    ///
    /// # Errors
    /// As [`Node::send`], and ENOBUFS.
    pub fn send_with(&mut self, id: SockId, to: SocketAddr, o: &SendOpts, data: &[u8]) -> Result<(), Errno> {
        let s = &mut self.shard;
        let m = s.cx.mbufs.copy_of(data).ok_or(Errno::ENOBUFS)?;
        s.sockets.send_to(&mut s.cx, &mut s.net, id, Some(to), o, m)
    }

    /// The next datagram.
    pub fn recv(&mut self, id: SockId) -> Option<(SocketAddr, Vec<u8>)> {
        let d = self.shard.sockets.recv_from(&mut self.shard.cx, id)?;
        let r = (d.from, d.m.as_slice().to_vec());
        self.shard.cx.mbufs.free(d.m);
        Some(r)
    }

    /// Lets a socket hear a group.
    ///
    /// # Panics
    /// It may not.
    pub fn join(&mut self, id: SockId, group: Ipv6Addr, ifindex: u32) {
        let mut v = group.octets().to_vec();
        v.extend(ifindex.to_ne_bytes());
        self.option(id, 20, &v);
    }

    /// Sets an option of level IPPROTO_IPV6.
    ///
    /// # Panics
    /// It is refused.
    pub fn option(&mut self, id: SockId, name: i32, v: &[u8]) {
        let s = &mut self.shard;
        let r = s.sockets.setsockopt(&mut s.cx, &mut s.net, id, 41, name, v);
        assert_eq!(r, Ok(()), "option {name}");
        s.tell_changes();
    }

    /// One turn with these frames, each with the interface it came by; what it sends goes to `out` with that it leaves by.
    pub fn turn(&mut self, now: Instant, input: Vec<(u32, Vec<u8>)>, mut out: impl FnMut(u32, &[u8])) {
        self.shard.begin(now);
        for (ifindex, f) in input {
            // Out of memory is a drop, as in a driver.
            match self.shard.cx.mbufs.copy_of(&f) {
                Some(m) => {
                    self.input += 1;
                    self.batch.push(m);
                    self.shard.input(ifindex, &mut self.batch);
                }
                None => self.no_memory += 1,
            }
        }
        self.shard.turn();
        for n in self.shard.cx.notes.drain(..) {
            if let Note::Log(_, text) = n {
                self.log.push(text);
            }
        }
        for port in 0..self.macs.len() as u32 {
            self.shard.take_frames(ETH + port, &mut self.batch);
            for m in self.batch.drain(..) {
                out(ETH + port, m.as_slice());
                self.shard.cx.mbufs.free(m);
            }
        }
    }

    /// When it wants to run again.
    pub fn deadline(&self) -> Instant {
        if self.dead { Instant::FAR } else { self.shard.deadline() }
    }

    /// How long ago something was.
    pub fn since(&self, t: Instant) -> Duration {
        self.shard.cx.now.since(t)
    }
}

/// An address of the stack as a program writes it: its zone is the scope.
pub fn sa6(a: Ipv6Addr, port: u16) -> SocketAddr {
    SocketAddrV6::new(zone::strip(a), port, 0, zone::of(&a)).into()
}
