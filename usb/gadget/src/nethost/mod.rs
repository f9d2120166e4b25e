//! A small host: what is behind a simulated modem unless the user says otherwise.
//!
//! It is a whole [`Shard`] of our own stack with one Ethernet interface, so ARP, ping, fragments and everything else
//! that a host does come from there. On it run a DHCP server ([`dhcp`]), a DNS server ([`dns`]) and an HTTP server
//! ([`http`]), which are enough to bring an interface up and to move data both ways.
//!
//! Frames go in by [`Host::input`], are worked on by [`Host::turn`] and come out by [`Host::take`]. What the
//! taker does not take waits in the interface's queue, which is bounded.

pub mod dhcp;
pub mod dns;
pub mod http;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use iopkt_base::{Instant, Result};
use iopkt_ctl::{AddrInfo, AddrState, LinkState, Reply, Request, iff};
use iopkt_inet::Inet;
use iopkt_mbuf::{Mbuf, Pool, PoolConfig};
use iopkt_stack::sockets::{SendOpts, SockId, SockType};
use iopkt_stack::{Config, Family, IfAttach, Shard, Why};

/// What a host is.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// Its address.
    pub addr: Ipv4Addr,
    /// Prefix length of its network.
    pub prefix: u8,
    /// First address that it gives away.
    pub lease: Ipv4Addr,
    /// Its Ethernet address.
    pub mac: [u8; 6],
    /// Seed of what may be predicted.
    pub seed: u64,
    /// Key of what must not be.
    pub key: [u8; 16],
}

/// The host.
pub struct Host {
    shard: Shard,
    pool: Pool,
    ifindex: u32,
    rx: Vec<Mbuf>,
    tx: Vec<Mbuf>,
    dhcp: (SockId, dhcp::Server),
    dns: (SockId, dns::Server),
    http: http::Server,
}

/// Rounds of services and stack in one turn; what is left is done in the next.
const ROUNDS: usize = 4;
/// Packet memory: clusters of 2 KiB.
const CLUSTERS: usize = 16 * 1024;
/// Frames that wait to be worked on; more are lost.
const MAX_RX: usize = 4096;

const SOL_SOCKET: i32 = 1;
const SO_BROADCAST: i32 = 6;

impl Host {
    /// A host that is up.
    ///
    /// # Errors
    /// The stack refuses the configuration (an address that is none).
    pub fn new(now: Instant, c: &HostConfig) -> Result<Host> {
        let pool = Pool::new(PoolConfig { max_clusters: CLUSTERS, ..PoolConfig::default() });
        let cfg = Config { host: vec![("kern.hostname".into(), "modem".into())], ..Config::default() };
        let mut shard = Shard::new(now, cfg, c.seed, c.key, pool.cache(64), vec![Box::new(Inet::new())]);
        let mut attach = IfAttach::ethernet("en", c.mac);
        attach.link = LinkState::Up;
        let ifindex = shard.attach(attach)?;
        let name: String = shard.net.ifname(ifindex).unwrap_or("en0").into();
        let addr = AddrInfo {
            addr: c.addr.into(),
            prefix_len: c.prefix,
            broadcast: None,
            peer: None,
            state: AddrState::Valid,
        };
        ask(&mut shard, &Request::SetFlags { name: name.clone(), set: iff::UP, clear: 0 })?;
        ask(&mut shard, &Request::AddAddr { name, addr, replace: true })?;
        let dhcp = udp(&mut shard, dhcp::PORT)?;
        let on = 1i32.to_ne_bytes();
        shard.sockets.setsockopt(&mut shard.cx, &mut shard.net, dhcp, SOL_SOCKET, SO_BROADCAST, &on)?;
        let dns = udp(&mut shard, dns::PORT)?;
        let http = http::Server::new(&mut shard)?;
        shard.turn();
        Ok(Host {
            shard,
            pool,
            ifindex,
            rx: Vec::new(),
            tx: Vec::new(),
            dhcp: (dhcp, dhcp::Server::new(c.addr, c.prefix, c.lease)),
            dns: (dns, dns::Server::new(c.addr)),
            http,
        })
    }

    /// A frame for the host; it is worked on by the next [`Host::turn`].
    pub fn input(&mut self, frame: &[u8]) {
        if self.rx.len() < MAX_RX
            && let Some(m) = self.shard.cx.mbufs.copy_of(frame)
        {
            self.rx.push(m);
        }
    }

    /// Whether frames wait to be worked on.
    pub fn has_input(&self) -> bool {
        !self.rx.is_empty()
    }

    /// Works: input, timers, services, output.
    pub fn turn(&mut self, now: Instant) {
        self.shard.begin(now);
        self.shard.input(self.ifindex, &mut self.rx);
        for _ in 0..ROUNDS {
            self.shard.sockets.flush_events(&mut self.shard.cx);
            let idle = self.shard.cx.events.is_empty();
            self.serve();
            self.shard.turn();
            if idle && self.shard.cx.events.is_empty() {
                break;
            }
        }
        // What the stack says to a runtime: here is no device to order about and nobody reads a log.
        self.shard.cx.dev_ops.clear();
        self.shard.cx.notes.clear();
    }

    fn serve(&mut self) {
        let Host { shard, dhcp, dns, http, ifindex, .. } = self;
        while let Some(e) = shard.cx.events.pop_front() {
            if e.id == dhcp.0 {
                datagrams(shard, dhcp.0, |from, data, now| {
                    let reply = dhcp.1.input(now, data)?;
                    // Who has no address yet hears only broadcasts.
                    let to = if reply.broadcast { Ipv4Addr::BROADCAST.into() } else { from.ip() };
                    let opts = SendOpts { oif: *ifindex, ..SendOpts::default() };
                    Some((SocketAddr::new(to, dhcp::CLIENT_PORT), opts, reply.bytes))
                });
            } else if e.id == dns.0 {
                datagrams(shard, dns.0, |from, data, _| {
                    Some((from, SendOpts::default(), dns.1.input(from.ip(), data)?))
                });
            } else {
                http.event(shard, &e);
            }
        }
        http.tick(shard);
    }

    /// Takes at most `max` frames from the host.
    pub fn take(&mut self, max: usize, mut deliver: impl FnMut(&[u8])) -> usize {
        self.shard.take_frames_max(self.ifindex, max, &mut self.tx);
        let n = self.tx.len();
        for m in self.tx.drain(..) {
            deliver(m.as_slice());
            self.shard.cx.mbufs.free(m);
        }
        n
    }

    /// Whether frames wait to be taken.
    pub fn has_output(&self) -> bool {
        self.shard.tx_ready().any(|i| i == self.ifindex)
    }

    /// When [`Host::turn`] is wanted next without input.
    pub fn deadline(&self) -> Instant {
        if self.has_input() { Instant::ZERO } else { self.shard.deadline().min(self.http.deadline()) }
    }

    /// The stack, for those who want to look.
    pub fn shard(&self) -> &Shard {
        &self.shard
    }

    /// Its packet memory.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }
}

impl core::fmt::Debug for Host {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Host(..)")
    }
}

fn ask(shard: &mut Shard, r: &Request) -> Result<()> {
    match shard.ctl(r) {
        Some(Reply::Err { errno, .. }) => Err(errno),
        Some(_) => Ok(()),
        None => Err(iopkt_base::Errno::EOPNOTSUPP),
    }
}

fn udp(shard: &mut Shard, port: u16) -> Result<SockId> {
    let s = shard.sockets.socket(&mut shard.cx, Family::V4, SockType::Dgram, 0)?;
    let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
    shard.sockets.bind(&mut shard.cx, &shard.net, s, any)?;
    Ok(s)
}

/// Answers the datagrams that wait on a socket.
fn datagrams(
    shard: &mut Shard,
    id: SockId,
    mut answer: impl FnMut(SocketAddr, &[u8], Instant) -> Option<(SocketAddr, SendOpts, Vec<u8>)>,
) {
    let Shard { cx, net, sockets, .. } = shard;
    while let Some(d) = sockets.recv_from(cx, id) {
        let reply = answer(d.from, d.m.as_slice(), cx.now);
        cx.mbufs.free(d.m);
        let Some((to, opts, bytes)) = reply else { continue };
        match cx.mbufs.copy_of(&bytes) {
            // A reply that cannot be sent is lost like any datagram; the client asks again.
            Some(m) => drop(sockets.send_to(cx, net, id, Some(to), &opts, m)),
            None => cx.counters.dropped(Why::NoMemory),
        }
    }
}
