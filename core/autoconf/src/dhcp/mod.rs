//! A DHCP client (RFC 2131, options of RFC 2132 and 3442), one interface.
//!
//! Theory of operation. DISCOVER is broadcast until a server offers an address; REQUEST asks that server for it; its ACK makes a
//! lease. Before the address is used it is asked for by ARP: if somebody answers, the lease is declined and all begins anew after
//! ten seconds. Half-way through the lease (T1) its server is asked to renew it, at seven eighths (T2) any server; when it
//! ends without an answer, or a server says NAK, the address is lost and all begins anew.
//!
//! Messages are UDP payloads, port 68 to 67. What the owner broadcasts comes from 0.0.0.0 while there is no lease.

mod lease;

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use core::time::Duration;

use iopkt_base::{Instant, Rng};
use iopkt_wire::arp;
use iopkt_wire::dhcp::{Builder, Header, Message, msg, op, opt};
use lease::{lease, usable};

/// First pause before a message is sent again; it doubles up to [`LAST_PAUSE`] (RFC 2131 4.1).
pub const FIRST_PAUSE: Duration = Duration::from_secs(4);
/// See [`FIRST_PAUSE`].
pub const LAST_PAUSE: Duration = Duration::from_secs(64);
/// REQUESTs without an answer after which it begins anew.
pub const REQUESTS: u32 = 4;
/// Shortest pause between REQUESTs for a lease that is to be kept (RFC 2131 4.4.5).
pub const RENEW_PAUSE: Duration = Duration::from_secs(60);
/// Pause after a DECLINE (RFC 2131 3.1.5).
pub const DECLINE_PAUSE: Duration = Duration::from_secs(10);
/// ARP probes for an address. RFC 5227 has a second and more between them; a server has checked the address already.
pub const PROBES: u8 = 3;
/// Pause after each.
pub const PROBE_PAUSE: Duration = Duration::from_millis(300);
/// Longest message that is made, and that servers are told we take.
const MAX_MESSAGE: usize = 1400;
/// Most routers, name servers and routes that are kept of a lease.
const MOST: usize = 16;

/// Option codes beyond those of [`opt`].
const CLASSLESS_ROUTES: u8 = 121;
const PARAMETERS: &[u8] = &[
    opt::SUBNET_MASK,
    CLASSLESS_ROUTES, // before the routers that it replaces (RFC 3442)
    opt::ROUTER,
    opt::DNS,
    opt::HOST_NAME,
    opt::DOMAIN_NAME,
    opt::MTU,
    opt::BROADCAST,
    opt::LEASE_TIME,
    opt::RENEWAL_TIME,
    opt::REBINDING_TIME,
];

/// What the owner decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The interface's hardware address.
    pub mac: [u8; 6],
    /// Client identifier with its type; empty for none (the server then goes by `mac`).
    pub client_id: Vec<u8>,
    /// Host name that the server is told.
    pub host_name: Option<String>,
    /// The only server that is listened to.
    pub server: Option<Ipv4Addr>,
    /// Ask for broadcast replies.
    pub broadcast: bool,
    /// How many offered addresses may turn out to be in use before it gives up; 0: addresses are not asked for by ARP.
    pub conflicts: u32,
}

/// A route of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Destination.
    pub to: Ipv4Addr,
    /// Length of its prefix.
    pub prefix_len: u8,
    /// Gateway; unspecified for "on the link".
    pub gateway: Ipv4Addr,
}

/// What a server gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The address.
    pub addr: Ipv4Addr,
    /// Length of its network's prefix.
    pub prefix_len: u8,
    /// Broadcast address, if it was named.
    pub broadcast: Option<Ipv4Addr>,
    /// Routes: the default one by each router, or those of RFC 3442 in their place.
    pub routes: Vec<Route>,
    /// Name servers.
    pub dns: Vec<Ipv4Addr>,
    /// Domain name: letters, digits, dots, hyphens.
    pub domain: Option<String>,
    /// Host name, as `domain`.
    pub host_name: Option<String>,
    /// MTU of the link.
    pub mtu: Option<u16>,
    /// The server.
    pub server: Ipv4Addr,
    /// When its server is asked for more time.
    pub renew: Instant,
    /// When any server is.
    pub rebind: Instant,
    /// When it ends; [`Instant::FAR`] for never.
    pub end: Instant,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Broadcast this message on the link, from the unspecified address (or, with a lease, from its address).
    Broadcast(Vec<u8>),
    /// Send this message to a server.
    Unicast(Ipv4Addr, Vec<u8>),
    /// Broadcast this ARP packet.
    Arp(arp::Packet),
    /// The interface has this lease from now on.
    Bound(Lease),
    /// The lease has got more time, and maybe other values.
    Renewed(Lease),
    /// The address is no longer ours.
    Lost(Ipv4Addr, Why),
    /// Nothing; for the log.
    Conflict(Ipv4Addr, [u8; 6]),
    /// Too many conflicts: the machine has stopped.
    GaveUp,
}

/// Why an address was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its time was over.
    Expired,
    /// A server said so.
    Refused,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Stopped,
    /// Before the next DISCOVER.
    Waiting,
    Selecting,
    Requesting {
        addr: Ipv4Addr,
        server: Ipv4Addr,
    },
    /// Asks by ARP whether somebody has the address; probes sent.
    Probing(u8),
    Bound,
    Renewing,
    Rebinding,
}

/// The machine.
#[derive(Debug)]
pub struct Client {
    config: Config,
    rng: Rng,
    state: State,
    lease: Option<Lease>,
    xid: u32,
    began: Instant,
    /// Messages of this exchange that were sent.
    sent: u32,
    /// When the last REQUEST was sent: a lease counts from there.
    asked: Instant,
    conflicts: u32,
    deadline: Instant,
}

impl Client {
    /// A machine that has not begun.
    pub fn new(config: Config, seed: u64) -> Client {
        Client {
            config,
            rng: Rng::new(seed),
            state: State::Stopped,
            lease: None,
            xid: 0,
            began: Instant::ZERO,
            sent: 0,
            asked: Instant::ZERO,
            conflicts: 0,
            deadline: Instant::FAR,
        }
    }

    /// Begins; DISCOVER follows within a second (a network may have just come back for all hosts).
    pub fn start(&mut self, now: Instant) {
        let pause = Duration::from_millis(self.rng.below(1000).into());
        self.restart(now, pause);
    }

    /// The lease that is in use.
    pub fn lease(&self) -> Option<&Lease> {
        let used = matches!(self.state, State::Bound | State::Renewing | State::Rebinding);
        self.lease.as_ref().filter(|_| used)
    }

    /// When [`tick`](Client::tick) is to be called; [`Instant::FAR`] for never.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Stops; gives the RELEASE for a lease that is in use, and its server.
    pub fn release(&mut self, now: Instant) -> Option<(Ipv4Addr, Vec<u8>)> {
        let lease = self.lease().cloned();
        self.stop();
        let l = lease?;
        self.xid = self.rng.next_u32();
        let h = Header { ciaddr: l.addr, ..self.header(now) };
        Some((l.server, self.message(&h, msg::RELEASE, &[], Some(l.server), None)))
    }

    /// Stops without a word.
    pub fn stop(&mut self) {
        self.state = State::Stopped;
        self.lease = None;
        self.deadline = Instant::FAR;
    }

    fn restart(&mut self, now: Instant, pause: Duration) {
        self.state = State::Waiting;
        self.lease = None;
        self.sent = 0;
        self.deadline = now + pause;
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant, act: &mut impl FnMut(Action)) {
        if now < self.deadline {
            return;
        }
        match self.state.clone() {
            State::Stopped => self.deadline = Instant::FAR,
            State::Waiting => {
                self.xid = self.rng.next_u32();
                self.began = now;
                self.state = State::Selecting;
                self.discover(now, act);
            }
            State::Selecting => self.discover(now, act),
            State::Requesting { .. } if self.sent >= REQUESTS => self.restart(now, Duration::ZERO),
            State::Requesting { addr, server } => self.request(now, addr, server, act),
            State::Probing(n) if n < PROBES => self.probe(now, n + 1, act),
            State::Probing(_) => {
                if let Some(l) = self.lease.clone() {
                    self.bind(act, l);
                }
            }
            State::Bound | State::Renewing | State::Rebinding => self.keep(now, act),
        }
    }

    /// Exponential pause with up to a second more or less (RFC 2131 4.1).
    fn pause(&mut self) -> Duration {
        let doubled = FIRST_PAUSE * (1 << self.sent.saturating_sub(1).min(4));
        doubled.min(LAST_PAUSE) - Duration::from_secs(1) + Duration::from_millis(self.rng.below(2001).into())
    }

    fn header(&self, now: Instant) -> Header {
        Header {
            op: op::REQUEST,
            hops: 0,
            xid: self.xid,
            secs: u16::try_from(now.since(self.began).as_secs()).unwrap_or(u16::MAX),
            broadcast: self.config.broadcast,
            ciaddr: Ipv4Addr::UNSPECIFIED,
            yiaddr: Ipv4Addr::UNSPECIFIED,
            siaddr: Ipv4Addr::UNSPECIFIED,
            giaddr: Ipv4Addr::UNSPECIFIED,
            chaddr: self.config.mac,
        }
    }

    fn message(
        &self,
        h: &Header,
        kind: u8,
        parameters: &[u8],
        server: Option<Ipv4Addr>,
        requested: Option<Ipv4Addr>,
    ) -> Vec<u8> {
        let mut out = vec![0; MAX_MESSAGE];
        let Some(mut b) = Builder::new(&mut out, h, kind) else { return Vec::new() };
        if !self.config.client_id.is_empty() {
            b = b.option(opt::CLIENT_ID, &self.config.client_id);
        }
        if let Some(a) = requested {
            b = b.addr(opt::REQUESTED_IP, a);
        }
        if let Some(a) = server {
            b = b.addr(opt::SERVER_ID, a);
        }
        if !parameters.is_empty() {
            b = b
                .option(opt::MAX_SIZE, &(MAX_MESSAGE as u16).to_be_bytes())
                .option(opt::PARAM_LIST, parameters);
            if let Some(n) = self.config.host_name.as_ref().filter(|n| !n.is_empty()) {
                b = b.option(opt::HOST_NAME, n.as_bytes());
            }
        }
        let n = b.finish().unwrap_or(0);
        out.truncate(n);
        out
    }

    fn discover(&mut self, now: Instant, act: &mut impl FnMut(Action)) {
        self.sent += 1;
        act(Action::Broadcast(self.message(&self.header(now), msg::DISCOVER, PARAMETERS, None, None)));
        self.deadline = now + self.pause();
    }

    fn request(&mut self, now: Instant, addr: Ipv4Addr, server: Ipv4Addr, act: &mut impl FnMut(Action)) {
        self.sent += 1;
        self.asked = now;
        let m = self.message(&self.header(now), msg::REQUEST, PARAMETERS, Some(server), Some(addr));
        act(Action::Broadcast(m));
        self.deadline = now + self.pause();
    }

    fn probe(&mut self, now: Instant, n: u8, act: &mut impl FnMut(Action)) {
        let Some(l) = &self.lease else { return };
        act(Action::Arp(arp::Packet::probe(self.config.mac, l.addr)));
        self.state = State::Probing(n);
        self.deadline = now + PROBE_PAUSE;
    }

    fn bind(&mut self, act: &mut impl FnMut(Action), l: Lease) {
        self.state = State::Bound;
        self.deadline = l.renew;
        self.lease = Some(l.clone());
        act(Action::Bound(l));
    }

    /// A lease in use: what is due of renewing, rebinding and its end.
    fn keep(&mut self, now: Instant, act: &mut impl FnMut(Action)) {
        let Some(l) = self.lease.clone() else { return };
        if now >= l.end {
            act(Action::Lost(l.addr, Why::Expired));
            return self.restart(now, Duration::ZERO);
        }
        let state = if now >= l.rebind { State::Rebinding } else { State::Renewing };
        if self.state != state {
            (self.xid, self.began) = (self.rng.next_u32(), now);
        }
        self.asked = now;
        let m = self.message(
            &Header { ciaddr: l.addr, broadcast: false, ..self.header(now) },
            msg::REQUEST,
            PARAMETERS,
            None,
            None,
        );
        let until = if state == State::Renewing {
            act(Action::Unicast(l.server, m));
            l.rebind
        } else {
            act(Action::Broadcast(m));
            l.end
        };
        self.state = state;
        // Half of the time that is left (RFC 2131 4.4.5).
        self.deadline = until.min(now + (until.since(now) / 2).max(RENEW_PAUSE));
    }

    /// An ARP packet came in.
    pub fn arp(&mut self, now: Instant, p: &arp::Packet, act: &mut impl FnMut(Action)) {
        let State::Probing(_) = self.state else { return };
        let Some(l) = &self.lease else { return };
        if p.sha == self.config.mac || !p.contests(l.addr) {
            return;
        }
        let (addr, server) = (l.addr, l.server);
        act(Action::Conflict(addr, p.sha));
        act(Action::Broadcast(self.message(&self.header(now), msg::DECLINE, &[], Some(server), Some(addr))));
        self.conflicts += 1;
        if self.conflicts >= self.config.conflicts {
            self.stop();
            act(Action::GaveUp);
        } else {
            self.restart(now, DECLINE_PAUSE);
        }
    }

    /// A UDP payload came to port 68. What is not an answer to what was asked is ignored.
    pub fn receive(&mut self, now: Instant, bytes: &[u8], act: &mut impl FnMut(Action)) {
        let Some(m) = Message::parse(bytes) else { return };
        let h = &m.header;
        if h.op != op::REPLY || h.xid != self.xid || h.chaddr != self.config.mac {
            return;
        }
        let server = m.addr(opt::SERVER_ID);
        if self.config.server.is_some_and(|only| server != Some(only)) {
            return;
        }
        match (m.kind(), self.state.clone()) {
            (Some(msg::OFFER), State::Selecting) => {
                // An address that is none is no offer.
                let Some(server) = server.filter(|_| usable(h.yiaddr)) else { return };
                self.state = State::Requesting { addr: h.yiaddr, server };
                self.sent = 0;
                self.request(now, h.yiaddr, server, act);
            }
            (Some(msg::ACK), State::Requesting { server: asked, .. })
                if server.is_none_or(|s| s == asked) =>
            {
                let Some(l) = lease(&m, asked, self.asked) else { return };
                if self.config.conflicts == 0 {
                    return self.bind(act, l);
                }
                self.lease = Some(l);
                self.probe(now, 1, act);
            }
            (Some(msg::ACK), State::Renewing | State::Rebinding) => self.renewed(now, &m, server, act),
            (Some(msg::NAK), State::Requesting { .. }) => self.restart(now, Duration::from_secs(1)),
            (Some(msg::NAK), State::Renewing | State::Rebinding) => {
                if let Some(l) = self.lease.take() {
                    act(Action::Lost(l.addr, Why::Refused));
                }
                self.restart(now, Duration::ZERO);
            }
            _ => {}
        }
    }

    fn renewed(
        &mut self,
        now: Instant,
        m: &Message<'_>,
        server: Option<Ipv4Addr>,
        act: &mut impl FnMut(Action),
    ) {
        let Some(old) = &self.lease else { return };
        let Some(l) = lease(m, server.unwrap_or(old.server), self.asked) else { return };
        if l.addr != old.addr {
            // Not what was asked for: as good as a NAK.
            act(Action::Lost(old.addr, Why::Refused));
            return self.restart(now, Duration::ZERO);
        }
        self.state = State::Bound;
        self.deadline = l.renew;
        self.lease = Some(l.clone());
        act(Action::Renewed(l));
    }
}
