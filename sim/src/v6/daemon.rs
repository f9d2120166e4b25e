//! What a router says of itself: a small advertising daemon on a node's raw socket, as `rtadvd` is one.

use super::node::Node;
use super::packet::ALL_NODES;
use iopkt_base::{Duration, Instant, Rng, zone};
use iopkt_stack::sockets::{SendOpts, SockId, SockType};
use iopkt_wire::icmp6::ty;
use iopkt_wire::nd::{self, Preference, Prefix, RouterAdvert, opt};
use std::net::Ipv6Addr;

/// Most that a solicitation waits for its answer (RFC 4861 10: MAX_RA_DELAY_TIME), milliseconds.
const ANSWER_MS: u32 = 500;
/// Least time between two advertisements to all (MIN_DELAY_BETWEEN_RAS).
const LEAST: Duration = Duration::from_secs(3);

/// What it says.
#[derive(Clone, Debug)]
pub struct Says {
    /// Lifetime, preference and what else the head says.
    pub head: RouterAdvert,
    /// Prefixes.
    pub prefixes: Vec<Prefix>,
    /// More specific routes: prefix, length, preference, seconds.
    pub routes: Vec<(Ipv6Addr, u8, Preference, u32)>,
    /// Name servers, and their seconds.
    pub servers: (u32, Vec<Ipv6Addr>),
    /// MTU of the link, 0 to say nothing.
    pub mtu: u32,
    /// Seconds between advertisements: from a third of it to all of it.
    pub every: u32,
}

impl Default for Says {
    fn default() -> Says {
        Says {
            head: RouterAdvert { lifetime: 1800, ..RouterAdvert::default() },
            prefixes: Vec::new(),
            routes: Vec::new(),
            servers: (0, Vec::new()),
            mtu: 0,
            every: 30,
        }
    }
}

/// A /64 whose hosts are on the link and may make addresses of it.
pub fn prefix(p: &str, valid: u32, preferred: u32) -> Prefix {
    Prefix { prefix: super::a6(p), plen: 64, on_link: true, autonomous: true, valid, preferred }
}

/// The daemon of one interface.
pub struct Daemon {
    /// Its node.
    pub node: usize,
    /// Its interface there.
    pub ifindex: u32,
    /// What it says; may be changed at any time.
    pub says: Says,
    /// It says nothing, and does not answer.
    pub silent: bool,
    sock: SockId,
    next: Instant,
    last: Option<Instant>,
    rng: Rng,
}

impl Daemon {
    pub(super) fn new(node: usize, n: &mut Node, ifindex: u32, says: Says, seed: u64) -> Daemon {
        let sock = n.socket(SockType::Raw, 58);
        // IPV6_MULTICAST_LOOP: what it says is for others.
        n.option(sock, 19, &0i32.to_ne_bytes());
        let next = n.shard.cx.now;
        Daemon { node, ifindex, says, silent: false, sock, next, last: None, rng: Rng::new(seed) }
    }

    /// Says what it has to say at once: as soon as what it said last cannot be overtaken any more.
    pub fn now(&mut self, now: Instant) {
        self.next = self.last.map_or(now, |t| now.max(t + Duration::from_millis(300)));
    }

    pub(super) fn deadline(&self) -> Instant {
        if self.silent { Instant::FAR } else { self.next }
    }

    /// Reads solicitations, and speaks when it is time.
    pub(super) fn turn(&mut self, n: &mut Node, now: Instant) {
        while let Some((_, m)) = n.recv(self.sock) {
            if m.first() == Some(&ty::ROUTER_SOLICIT) && !self.silent {
                let soon = now + Duration::from_millis(self.rng.below(ANSWER_MS).into());
                self.next = self.next.min(self.last.map_or(soon, |t| soon.max(t + LEAST)));
            }
        }
        if self.deadline() > now {
            return;
        }
        let every = self.says.every.max(1);
        let wait = every / 3 + self.rng.below(every - every / 3 + 1);
        self.next = now + Duration::from_secs(wait.max(1).into());
        // Before its link-local address is good, it is nobody.
        let Some(from) = n.link_local(self.ifindex) else {
            self.next = now + Duration::from_millis(200);
            return;
        };
        self.last = Some(now);
        let b = self.message(n.macs[(self.ifindex - super::ETH) as usize]);
        let o = SendOpts { src: Some(from.into()), oif: self.ifindex, ttl: Some(255), ..SendOpts::default() };
        let to = super::node::sa6(zone::embed(ALL_NODES, self.ifindex), 0);
        // A link that is down refuses it; so be it.
        let _ = n.send_with(self.sock, to, &o, &b);
    }

    fn message(&self, mac: [u8; 6]) -> Vec<u8> {
        let s = &self.says;
        let mut b = s.head.emit();
        nd::push_link(&mut b, opt::SOURCE_LINK, mac);
        if s.mtu != 0 {
            nd::push_mtu(&mut b, s.mtu);
        }
        s.prefixes.iter().for_each(|p| nd::push_prefix(&mut b, p));
        s.routes.iter().for_each(|r| nd::push_route(&mut b, r.0, r.1, r.2, r.3));
        if !s.servers.1.is_empty() {
            nd::push_rdnss(&mut b, s.servers.0, &s.servers.1);
        }
        b
    }
}
