//! A host: a real shard with Ethernet interfaces.

use crate::family::Via;
use iopkt_base::{Errno, Instant};
use iopkt_ctl::{AddrInfo, AddrState, LinkState, Reply, Request};
use iopkt_inet::Inet;
use iopkt_inet6::{Inet6, Tunables};
use iopkt_mbuf::{Mbuf, Pool, PoolConfig};
use iopkt_sockserver::Server;
use iopkt_sockserver::mem::MemHost;
use iopkt_stack::sockets::{SockId, SockType};
use iopkt_stack::{Config, Domain, IfAttach, Note, Shard};
use std::net::SocketAddr;

/// A socket address of host `n`, as the sockets of this run have it ([`Via`]): 10.0.0.`n`:`port`.
pub fn sa(n: u8, port: u16) -> SocketAddr {
    let via = Via::now();
    SocketAddr::new(via.outside(via.wire(n)), port)
}

/// A host on the network.
pub struct Host {
    /// What it is called in failures.
    pub name: String,
    /// Its stack.
    pub shard: Shard,
    /// Its packet memory.
    pub pool: Pool,
    /// Its Ethernet interface.
    pub eth: u32,
    /// Its socket server, whose programs are in memory; see [`World::serve`](crate::World::serve).
    pub server: Option<Server<MemHost>>,
    /// What the stack wanted to be logged.
    pub log: Vec<String>,
    /// Frames handed to the shard.
    pub input: u64,
    /// Frames that arrived when there was no buffer for them.
    pub no_memory: u64,
    /// The server wants another turn at once.
    busy: bool,
    batch: Vec<Mbuf>,
}

impl AsMut<Shard> for Host {
    fn as_mut(&mut self) -> &mut Shard {
        &mut self.shard
    }
}

impl Host {
    /// Host `n` with 10.0.0.`n`/24, or what [`Via::wire`] says.
    ///
    /// # Panics
    /// The stack refuses a plain Ethernet interface or address: a bug.
    pub fn new(n: u8, seed: u64, now: Instant, cfg: Config) -> Host {
        Host::with_memory(n, seed, now, cfg, 8192)
    }

    /// The same with so many clusters of packet memory.
    ///
    /// # Panics
    /// As [`Host::new`].
    pub fn with_memory(n: u8, seed: u64, now: Instant, cfg: Config, max_clusters: usize) -> Host {
        let pool = Pool::new(PoolConfig { max_clusters, ..PoolConfig::default() });
        let key = (u128::from(seed) << 8 | u128::from(n)).to_le_bytes();
        let via = Via::now();
        let mut domains: Vec<Box<dyn Domain>> = vec![Box::new(Inet::new())];
        if via == Via::V6 {
            // Addresses are good at once, as IPv4's are.
            domains.push(Box::new(Inet6::with(Tunables { dad_count: 0, ..Tunables::default() })));
        }
        let mut shard = Shard::new(now, cfg, seed ^ u64::from(n), key, pool.cache(64), domains);
        shard.sockets.add_family(via.family());
        let a = IfAttach { link: LinkState::Up, ..IfAttach::ethernet("eth", [2, 0, 0, 0, 0, n]) };
        let eth = shard.attach(a).expect("an Ethernet interface");
        let addr = AddrInfo {
            addr: via.wire(n),
            prefix_len: via.plen(),
            broadcast: None,
            peer: None,
            state: AddrState::Valid,
        };
        let r = Request::AddAddr { name: "eth0".into(), addr, replace: true };
        assert_eq!(shard.ctl(&r), Some(Reply::Ok));
        Host {
            name: format!("host {n}"),
            shard,
            pool,
            eth,
            server: None,
            log: Vec::new(),
            input: 0,
            no_memory: 0,
            busy: false,
            batch: Vec::new(),
        }
    }

    /// A TCP socket that listens on `port`.
    ///
    /// # Panics
    /// The port is taken.
    pub fn listen(&mut self, port: u16) -> SockId {
        let s = &mut self.shard;
        let id = s.sockets.socket(&mut s.cx, Via::now().family(), SockType::Stream, 0).expect("a socket");
        let any = SocketAddr::new(Via::now().any(), port);
        s.sockets.bind(&mut s.cx, &s.net, id, any).expect("a free port");
        s.sockets.listen(&mut s.cx, id, 64).expect("listen");
        id
    }

    /// A TCP socket that connects to `to`.
    ///
    /// # Panics
    /// The connect is refused at once.
    pub fn connect(&mut self, to: SocketAddr) -> SockId {
        let id = self.open();
        self.connect_to(id, to);
        id
    }

    /// A TCP socket.
    ///
    /// # Panics
    /// There are too many.
    pub fn open(&mut self) -> SockId {
        let s = &mut self.shard;
        s.sockets.socket(&mut s.cx, Via::now().family(), SockType::Stream, 0).expect("a socket")
    }

    /// Connects it.
    ///
    /// # Panics
    /// The connect is refused at once.
    pub fn connect_to(&mut self, id: SockId, to: SocketAddr) {
        let s = &mut self.shard;
        let r = s.sockets.connect(&mut s.cx, &mut s.net, id, Some(to));
        assert_eq!(r, Err(Errno::EINPROGRESS));
    }

    /// Closes a socket as a program that read everything does.
    pub fn close(&mut self, id: SockId) {
        let s = &mut self.shard;
        s.sockets.close(&mut s.cx, &mut s.net, id, false);
    }

    /// When it wants to run again.
    pub fn deadline(&self) -> Instant {
        let events = !self.shard.cx.events.is_empty();
        let served = self.server.as_ref().is_some_and(|s| self.busy || events || s.host.is_ready());
        if served { Instant::ZERO } else { self.shard.deadline() }
    }

    /// One turn with these frames; what it sends goes to `out`.
    pub fn turn(&mut self, now: Instant, input: &[Vec<u8>], mut out: impl FnMut(&[u8])) {
        self.shard.begin(now);
        for f in input {
            // Out of memory is a drop, as in a driver.
            match self.shard.cx.mbufs.copy_of(f) {
                Some(m) => self.batch.push(m),
                None => self.no_memory += 1,
            }
        }
        self.input += self.batch.len() as u64;
        self.shard.input(self.eth, &mut self.batch);
        self.busy = match &mut self.server {
            Some(s) => s.turn(&mut self.shard),
            None => false,
        };
        self.shard.turn();
        for n in self.shard.cx.notes.drain(..) {
            if let Note::Log(_, text) = n {
                self.log.push(text);
            }
        }
        self.shard.take_frames(self.eth, &mut self.batch);
        for m in self.batch.drain(..) {
            out(m.as_slice());
            self.shard.cx.mbufs.free(m);
        }
    }
}
