//! IPv4 link-local addresses (RFC 3927), one interface.
//!
//! Theory of operation. While the link is up the machine picks an address at random (from a generator that its owner seeds
//! with the hardware address, so that a host tends to get the same address again), asks for it by three ARP probes, waits, and
//! if nobody claims it takes it and announces it twice. From then on it listens: who else uses the address is a conflict. The
//! first one in ten seconds is answered by an announcement (the address is defended), a second one gives the address up; with
//! [`Config::abandon`] the first one does. After ten conflicts a new address is tried once a minute only.

use core::net::Ipv4Addr;
use core::time::Duration;

use iopkt_base::{Instant, Rng};
use iopkt_wire::arp;

/// Longest random wait before the first probe.
pub const PROBE_WAIT: Duration = Duration::from_secs(1);
/// Number of probes.
pub const PROBE_NUM: u8 = 3;
/// Shortest and longest time between probes.
pub const PROBE_MIN: Duration = Duration::from_secs(1);
/// See [`PROBE_MIN`].
pub const PROBE_MAX: Duration = Duration::from_secs(2);
/// Silence after the last probe that makes the address ours.
pub const ANNOUNCE_WAIT: Duration = Duration::from_secs(2);
/// Number of announcements.
pub const ANNOUNCE_NUM: u8 = 2;
/// Time between them.
pub const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(2);
/// Conflicts after which addresses are tried slowly.
pub const MAX_CONFLICTS: u32 = 10;
/// How slowly.
pub const RATE_LIMIT_INTERVAL: Duration = Duration::from_secs(60);
/// A conflict this soon after another is not defended against.
pub const DEFEND_INTERVAL: Duration = Duration::from_secs(10);
/// First and last address that is chosen: the first and last 256 of 169.254/16 are reserved (RFC 3927 2.1).
pub const FIRST: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 0);
/// See [`FIRST`].
pub const LAST: Ipv4Addr = Ipv4Addr::new(169, 254, 254, 255);
/// Length of the network's prefix.
pub const PREFIX_LEN: u8 = 16;

/// What the owner decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The interface's hardware address.
    pub mac: [u8; 6],
    /// The address to try first, of [`FIRST`] to [`LAST`].
    pub first: Option<Ipv4Addr>,
    /// Give the address up at the first conflict instead of defending it.
    pub abandon: bool,
    /// Silence after the last probe: [`ANNOUNCE_WAIT`] unless the owner knows better.
    pub announce_wait: Duration,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Broadcast this ARP packet.
    Send(arp::Packet),
    /// Give the interface this address with [`PREFIX_LEN`].
    Assign(Ipv4Addr),
    /// Take it away again.
    Remove(Ipv4Addr),
    /// Nothing; for the log: somebody else has or wants the address.
    Conflict(Ipv4Addr, [u8; 6]),
    /// Nothing; for the log: the address is ours, and is defended against this one.
    Defended(Ipv4Addr, [u8; 6]),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The link is down.
    Down,
    /// Waits before the first probe.
    Waiting,
    /// Has sent this many probes.
    Probing(u8),
    /// The address is ours; this many announcements have been sent.
    Bound(u8),
}

/// The machine.
#[derive(Debug)]
pub struct LinkLocal {
    config: Config,
    rng: Rng,
    state: State,
    addr: Ipv4Addr,
    deadline: Instant,
    conflicts: u32,
    /// When the address was last defended.
    defended: Option<Instant>,
}

impl LinkLocal {
    /// A machine on a link that is down. `seed` decides the addresses: made of the hardware address it gives the same one
    /// after a restart, made of more it gives another one to each instance.
    pub fn new(config: Config, seed: u64) -> LinkLocal {
        let mut m = LinkLocal {
            config,
            rng: Rng::new(seed),
            state: State::Down,
            addr: FIRST,
            deadline: Instant::FAR,
            conflicts: 0,
            defended: None,
        };
        m.addr = config.first.unwrap_or_else(|| m.pick());
        m
    }

    /// The address that it has, if it has one.
    pub fn address(&self) -> Option<Ipv4Addr> {
        matches!(self.state, State::Bound(_)).then_some(self.addr)
    }

    /// When [`tick`](LinkLocal::tick) is to be called; [`Instant::FAR`] for never.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The link came up or went down. An address is kept over a short interruption only as a candidate: after the link
    /// comes back it is probed for again (RFC 3927 2.2.1), first of all.
    pub fn link(&mut self, now: Instant, up: bool, act: &mut impl FnMut(Action)) {
        match (up, self.state) {
            (true, State::Down) => {
                self.conflicts = 0;
                self.begin(now);
            }
            (false, State::Bound(_)) => {
                act(Action::Remove(self.addr));
                self.rest();
            }
            (false, _) => self.rest(),
            (true, _) => {}
        }
    }

    fn rest(&mut self) {
        self.state = State::Down;
        self.deadline = Instant::FAR;
    }

    /// An ARP packet came in.
    pub fn receive(&mut self, now: Instant, p: &arp::Packet, act: &mut impl FnMut(Action)) {
        if p.sha == self.config.mac {
            return; // our own, as some links give it back
        }
        match self.state {
            // RFC 3927 2.2.1: whoever uses it, and whoever probes for it at the same time.
            State::Probing(_) | State::Waiting => {
                if p.contests(self.addr) {
                    act(Action::Conflict(self.addr, p.sha));
                    self.another(now);
                }
            }
            State::Bound(_) if p.spa == self.addr => self.contested(now, p, act),
            State::Bound(_) | State::Down => {}
        }
    }

    /// Somebody else sends from our address (RFC 3927 2.5).
    fn contested(&mut self, now: Instant, p: &arp::Packet, act: &mut impl FnMut(Action)) {
        let recently = self.defended.is_some_and(|t| now.since(t) < DEFEND_INTERVAL);
        if self.config.abandon || recently {
            act(Action::Conflict(self.addr, p.sha));
            act(Action::Remove(self.addr));
            self.another(now);
        } else {
            self.defended = Some(now);
            act(Action::Defended(self.addr, p.sha));
            act(Action::Send(self.announcement()));
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant, act: &mut impl FnMut(Action)) {
        if now < self.deadline {
            return;
        }
        match self.state {
            State::Down => self.deadline = Instant::FAR,
            State::Waiting => self.probe(now, 1, act),
            State::Probing(n) if n < PROBE_NUM => self.probe(now, n + 1, act),
            State::Probing(_) => {
                self.conflicts = 0;
                self.defended = None;
                act(Action::Assign(self.addr));
                self.announce(now, 1, act);
            }
            State::Bound(n) => self.announce(now, n + 1, act),
        }
    }

    fn probe(&mut self, now: Instant, n: u8, act: &mut impl FnMut(Action)) {
        act(Action::Send(arp::Packet::probe(self.config.mac, self.addr)));
        self.state = State::Probing(n);
        let pause = if n < PROBE_NUM {
            PROBE_MIN + self.random(PROBE_MAX - PROBE_MIN)
        } else {
            self.config.announce_wait
        };
        self.deadline = now + pause;
    }

    fn announcement(&self) -> arp::Packet {
        arp::Packet { op: arp::REQUEST, sha: self.config.mac, spa: self.addr, tha: [0; 6], tpa: self.addr }
    }

    fn announce(&mut self, now: Instant, n: u8, act: &mut impl FnMut(Action)) {
        act(Action::Send(self.announcement()));
        self.state = State::Bound(n);
        self.deadline = if n < ANNOUNCE_NUM { now + ANNOUNCE_INTERVAL } else { Instant::FAR };
    }

    /// Begins with the address that stands.
    fn begin(&mut self, now: Instant) {
        self.state = State::Waiting;
        self.deadline = now + self.random(PROBE_WAIT);
    }

    /// Begins with another address after a conflict.
    fn another(&mut self, now: Instant) {
        self.conflicts = self.conflicts.saturating_add(1);
        let old = self.addr;
        while self.addr == old {
            self.addr = self.pick();
        }
        self.begin(now);
        if self.conflicts >= MAX_CONFLICTS {
            self.deadline = now + RATE_LIMIT_INTERVAL;
        }
    }

    fn pick(&mut self) -> Ipv4Addr {
        let (first, last) = (u32::from(FIRST), u32::from(LAST));
        Ipv4Addr::from(first + self.rng.below(last - first + 1))
    }

    fn random(&mut self, most: Duration) -> Duration {
        Duration::from_millis(u64::from(self.rng.below(most.as_millis() as u32 + 1)))
    }
}
