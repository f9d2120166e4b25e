//! A DHCPv6 client (RFC 8415): addresses, delegated prefixes, servers for names; or, stateless, the names alone.
//!
//! Pure: [`Client6::input`] takes a message from port 546, [`Client6::tick`] the time; [`Client6::next`] gives what is to be done.
//! Solicit → (advertise, the best server by preference) → Request → Bound → Renew at T1 → Rebind at T2 → from the beginning. Messages
//! go to the group of servers, as RFC 8415 16 has it for all that no server asked to have by unicast (that option is obsolete).
//! Bounded: a message is read up to [`MAX_ITEMS`] addresses, prefixes, servers and domains each.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::Ipv6Addr;
use iopkt_base::{Duration, Instant, Rng};

/// Where clients listen, and servers.
pub const CLIENT_PORT: u16 = 546;
/// See [`CLIENT_PORT`].
pub const SERVER_PORT: u16 = 547;
/// All servers and relays of the link.
pub const ALL_SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
/// Most things of a kind that are taken from a message.
pub const MAX_ITEMS: usize = 16;

/// Lifetimes of this many seconds never end.
const INFINITE: u32 = u32::MAX;

/// Message types.
mod msg {
    pub const SOLICIT: u8 = 1;
    pub const ADVERTISE: u8 = 2;
    pub const REQUEST: u8 = 3;
    pub const RENEW: u8 = 5;
    pub const REBIND: u8 = 6;
    pub const REPLY: u8 = 7;
    pub const RELEASE: u8 = 8;
    pub const DECLINE: u8 = 9;
    pub const INFORM: u8 = 11;
}

/// Option codes.
mod opt {
    pub const CLIENT_ID: u16 = 1;
    pub const SERVER_ID: u16 = 2;
    pub const IA_NA: u16 = 3;
    pub const IA_ADDR: u16 = 5;
    pub const ORO: u16 = 6;
    pub const PREFERENCE: u16 = 7;
    pub const ELAPSED: u16 = 8;
    pub const STATUS: u16 = 13;
    pub const RAPID_COMMIT: u16 = 14;
    pub const DNS: u16 = 23;
    pub const DOMAINS: u16 = 24;
    pub const IA_PD: u16 = 25;
    pub const IA_PREFIX: u16 = 26;
    pub const REFRESH: u16 = 32;
    pub const SOL_MAX_RT: u16 = 82;
}

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Config6 {
    /// Who we are (RFC 8415 11).
    pub duid: Vec<u8>,
    /// The interface's number among ours; the same after a restart.
    pub iaid: u32,
    /// An address.
    pub address: bool,
    /// A prefix, of this length if the server pleases.
    pub prefix: Option<u8>,
    /// The server may answer a Solicit with a lease at once.
    pub rapid: bool,
}

/// An address that was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Given {
    /// The address, or the prefix.
    pub addr: Ipv6Addr,
    /// 128, or the prefix's length.
    pub plen: u8,
    /// Seconds; all ones: for ever.
    pub preferred: u32,
    /// Seconds; all ones: for ever.
    pub valid: u32,
}

/// What a server gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lease6 {
    /// Addresses.
    pub addrs: Vec<Given>,
    /// Prefixes.
    pub prefixes: Vec<Given>,
    /// Servers for names.
    pub dns: Vec<Ipv6Addr>,
    /// Domains to search.
    pub domains: Vec<String>,
    /// Who gave it.
    pub server: Vec<u8>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action6 {
    /// Send to [`ALL_SERVERS`], port [`SERVER_PORT`].
    Send(Vec<u8>),
    /// This is ours now, or still (renewed).
    Bound(Lease6),
    /// It is not ours any more.
    Lost(Lease6),
    /// Names were told (stateless).
    Names(Lease6),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Solicit,
    Request,
    Bound,
    Renew,
    Rebind,
    Inform,
    Told,
    /// A release or decline waits for its reply.
    Giving(u8),
}

/// Retransmission (RFC 8415 section 15): first, most (0: none), how often (0: for ever).
struct Retry {
    first: Duration,
    most: Duration,
    count: u32,
}

impl State {
    fn retry(self, sol_max: Duration) -> Retry {
        let of = |first, most, count| Retry {
            first: Duration::from_secs(first),
            most: Duration::from_secs(most),
            count,
        };
        match self {
            State::Solicit => Retry { most: sol_max, ..of(1, 0, 0) },
            State::Request => of(1, 30, 10),
            State::Renew | State::Rebind => of(10, 600, 0),
            State::Giving(_) => of(1, 0, 4),
            _ => of(1, 3600, 0),
        }
    }
}

/// The client of one interface.
pub struct Client6 {
    cfg: Config6,
    rng: Rng,
    state: State,
    xid: u32,
    /// When the exchange began.
    began: Option<Instant>,
    sent: u32,
    rt: Duration,
    next: Instant,
    /// The best advertisement yet, with its preference.
    best: Option<(u8, Lease6)>,
    lease: Lease6,
    t1: Instant,
    t2: Instant,
    end: Instant,
    sol_max: Duration,
    out: VecDeque<Action6>,
}

impl Client6 {
    /// A client that asks soon.
    pub fn new(cfg: Config6, rng: Rng, now: Instant) -> Client6 {
        let mut c = Client6 {
            cfg,
            rng,
            state: State::Idle,
            xid: 0,
            began: None,
            sent: 0,
            rt: Duration::ZERO,
            next: now,
            best: None,
            lease: Lease6::default(),
            t1: Instant::FAR,
            t2: Instant::FAR,
            end: Instant::FAR,
            sol_max: Duration::from_secs(3600),
            out: VecDeque::new(),
        };
        c.restart(now);
        c
    }

    fn stateful(&self) -> bool {
        self.cfg.address || self.cfg.prefix.is_some()
    }

    fn restart(&mut self, now: Instant) {
        self.best = None;
        self.begin(now, if self.stateful() { State::Solicit } else { State::Inform });
        // All hosts of a link may have started together (RFC 8415 18.2.1).
        self.next = now + Duration::from_millis(u64::from(self.rng.below(1000)));
    }

    fn begin(&mut self, now: Instant, s: State) {
        self.state = s;
        self.xid = self.rng.next_u32() & 0x00ff_ffff;
        (self.began, self.sent, self.rt, self.next) = (None, 0, Duration::ZERO, now);
    }

    /// What is to be done next.
    #[allow(clippy::should_implement_trait)] // not an iterator: more comes with time
    pub fn next(&mut self) -> Option<Action6> {
        self.out.pop_front()
    }

    /// When [`Client6::tick`] wants to be called.
    pub fn deadline(&self) -> Instant {
        match self.state {
            State::Bound => self.t1.min(self.end),
            State::Renew => self.next.min(self.t2),
            State::Rebind => self.next.min(self.end),
            State::Idle => Instant::FAR,
            _ => self.next,
        }
    }

    /// The lease in force.
    pub fn lease(&self) -> Option<&Lease6> {
        let has = matches!(self.state, State::Bound | State::Renew | State::Rebind);
        has.then_some(&self.lease)
    }

    /// Whether nothing more will come of it (a release that was answered or given up).
    pub fn is_idle(&self) -> bool {
        self.state == State::Idle
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Instant) {
        match self.state {
            State::Bound | State::Renew | State::Rebind if self.end <= now => {
                let old = core::mem::take(&mut self.lease);
                self.out.push_back(Action6::Lost(old));
                return self.restart(now);
            }
            State::Bound if self.t1 <= now => self.begin(now, State::Renew),
            State::Renew if self.t2 <= now => self.begin(now, State::Rebind),
            State::Told if self.next <= now => self.begin(now, State::Inform),
            _ => {}
        }
        if self.next > now || matches!(self.state, State::Idle | State::Bound | State::Told) {
            return;
        }
        let r = self.state.retry(self.sol_max);
        if let (State::Solicit, Some((_, offer))) = (self.state, self.best.take()) {
            // The first interval is over: the best that was heard it is (RFC 8415 18.2.9).
            self.lease = offer;
            self.begin(now, State::Request);
        } else if r.count != 0 && self.sent >= r.count {
            match self.state {
                State::Giving(msg::DECLINE) => return self.restart(now),
                State::Giving(_) => return self.state = State::Idle,
                // This server does not answer: perhaps another does.
                _ => {
                    self.lease = Lease6::default();
                    return self.restart(now);
                }
            }
        }
        self.send(now);
    }

    fn send(&mut self, now: Instant) {
        let r = self.state.retry(self.sol_max);
        // RT doubles, blurred by a tenth; the first of a Solicit is never shorter (RFC 8415 18.2.1).
        let mut rt = if self.sent == 0 { r.first } else { self.rt * 2 };
        if r.most != Duration::ZERO && rt > r.most {
            rt = r.most;
        }
        let tenth = (rt.as_millis() / 10) as u32;
        let longer = Duration::from_millis(u64::from(self.rng.below(tenth.max(1) * 2)));
        let least = if self.state == State::Solicit && self.sent == 0 {
            rt
        } else {
            rt.saturating_sub(Duration::from_millis(u64::from(tenth)))
        };
        self.rt = least + longer;
        self.next = now + self.rt;
        self.sent += 1;
        let began = *self.began.get_or_insert(now);
        let m = self.message(now.since(began));
        self.out.push_back(Action6::Send(m));
    }

    fn message(&self, elapsed: Duration) -> Vec<u8> {
        let kind = match self.state {
            State::Solicit => msg::SOLICIT,
            State::Request => msg::REQUEST,
            State::Renew => msg::RENEW,
            State::Rebind => msg::REBIND,
            State::Giving(k) => k,
            _ => msg::INFORM,
        };
        let mut v = (u32::from(kind) << 24 | self.xid).to_be_bytes().to_vec();
        put(&mut v, opt::CLIENT_ID, &self.cfg.duid);
        if matches!(kind, msg::REQUEST | msg::RENEW | msg::RELEASE | msg::DECLINE) {
            put(&mut v, opt::SERVER_ID, &self.lease.server);
        }
        let hundredths = (elapsed.as_millis() / 10).min(0xffff) as u16;
        put(&mut v, opt::ELAPSED, &hundredths.to_be_bytes());
        let ends = matches!(kind, msg::RELEASE | msg::DECLINE);
        if !ends {
            let mut oro = Vec::new();
            for o in [opt::DNS, opt::DOMAINS, opt::SOL_MAX_RT] {
                oro.extend(o.to_be_bytes());
            }
            if kind == msg::INFORM {
                oro.extend(opt::REFRESH.to_be_bytes());
            }
            put(&mut v, opt::ORO, &oro);
        }
        if kind == msg::SOLICIT && self.cfg.rapid {
            put(&mut v, opt::RAPID_COMMIT, &[]);
        }
        if kind == msg::INFORM {
            return v;
        }
        if self.cfg.address {
            let mut ia = head(self.cfg.iaid);
            for a in &self.lease.addrs {
                let mut b = a.addr.octets().to_vec();
                b.extend([0; 8]);
                put(&mut ia, opt::IA_ADDR, &b);
            }
            put(&mut v, opt::IA_NA, &ia);
        }
        if let (Some(hint), true) = (self.cfg.prefix, kind != msg::DECLINE) {
            let mut ia = head(self.cfg.iaid);
            let wish = Given { addr: Ipv6Addr::UNSPECIFIED, plen: hint, preferred: 0, valid: 0 };
            let list = if self.lease.prefixes.is_empty() && !ends && hint != 0 {
                core::slice::from_ref(&wish)
            } else {
                &self.lease.prefixes
            };
            for p in list {
                let mut b = alloc::vec![0; 8];
                b.push(p.plen);
                b.extend(p.addr.octets());
                put(&mut ia, opt::IA_PREFIX, &b);
            }
            put(&mut v, opt::IA_PD, &ia);
        }
        v
    }

    /// A message that came to port [`CLIENT_PORT`].
    pub fn input(&mut self, now: Instant, b: &[u8]) {
        let Some(r) = Reply::parse(b, self.cfg.iaid) else { return };
        if r.xid != self.xid || r.client != self.cfg.duid || r.server.is_empty() {
            return;
        }
        if let Some(s) = r.sol_max {
            self.sol_max = Duration::from_secs(s.into());
        }
        match (r.kind, self.state) {
            (msg::ADVERTISE, State::Solicit) => self.advertised(now, r),
            (msg::REPLY, State::Solicit) if r.rapid && self.cfg.rapid => self.replied(now, r),
            // Another server's answer to what was asked of one is none.
            (msg::REPLY, State::Request | State::Renew) if r.server != self.lease.server => {}
            (msg::REPLY, State::Request | State::Renew | State::Rebind) => self.replied(now, r),
            (msg::REPLY, State::Inform) => {
                let refresh = r.refresh.unwrap_or(86_400).max(600);
                self.state = State::Told;
                self.next = if refresh == INFINITE {
                    Instant::FAR
                } else {
                    now + Duration::from_secs(refresh.into())
                };
                self.out.push_back(Action6::Names(r.lease()));
            }
            (msg::REPLY, State::Giving(msg::DECLINE)) => self.restart(now),
            (msg::REPLY, State::Giving(_)) => self.state = State::Idle,
            _ => {}
        }
    }

    fn enough(&self, r: &Reply) -> bool {
        let addr = !self.cfg.address || r.addrs.iter().any(|a| a.valid > 0);
        let prefix = self.cfg.prefix.is_none() || r.prefixes.iter().any(|a| a.valid > 0);
        r.status == 0 && addr && prefix
    }

    fn advertised(&mut self, now: Instant, r: Reply) {
        if !self.enough(&r) {
            return;
        }
        let preference = r.preference;
        if self.best.as_ref().is_none_or(|b| preference > b.0) {
            self.best = Some((preference, r.lease()));
        }
        // The highest preference, or a Solicit that was sent before: at once (RFC 8415 18.2.9).
        if preference == 255 || self.sent > 1 {
            self.next = now;
            self.tick(now);
        }
    }

    fn replied(&mut self, now: Instant, r: Reply) {
        if !self.enough(&r) {
            // What we have is not known there, or nothing is to be had: from the beginning, in a while (18.2.10.1).
            match self.state {
                State::Renew | State::Rebind if r.status == 3 => {
                    self.lease.server = r.server;
                    self.begin(now, State::Request);
                }
                State::Renew | State::Rebind if r.addrs.is_empty() && r.prefixes.is_empty() => {}
                State::Request => {
                    self.lease = Lease6::default();
                    self.restart(now);
                }
                _ => {}
            }
            return;
        }
        let (t1, t2) = r.times();
        let after = |s: u32| if s == INFINITE { Instant::FAR } else { now + Duration::from_secs(s.into()) };
        let all = r.addrs.iter().chain(&r.prefixes);
        let end = all.map(|a| a.valid).max().unwrap_or(0);
        (self.t1, self.t2, self.end) = (after(t1), after(t2), after(end));
        self.lease = r.lease();
        self.lease.addrs.retain(|a| a.valid > 0);
        self.lease.prefixes.retain(|a| a.valid > 0);
        self.best = None;
        self.state = State::Bound;
        self.next = Instant::FAR;
        self.out.push_back(Action6::Bound(self.lease.clone()));
    }

    /// Gives the lease back; [`Client6::is_idle`] when that is done.
    pub fn release(&mut self, now: Instant) {
        if self.lease().is_none() {
            self.state = State::Idle;
            return;
        }
        self.begin(now, State::Giving(msg::RELEASE));
        self.send(now);
    }

    /// The addresses are somebody else's; then from the beginning.
    pub fn decline(&mut self, now: Instant) {
        if self.lease().is_none() {
            return;
        }
        self.begin(now, State::Giving(msg::DECLINE));
        self.send(now);
        let old = self.lease.clone();
        self.lease.addrs.clear();
        self.out.push_back(Action6::Lost(old));
    }
}

fn put(v: &mut Vec<u8>, code: u16, b: &[u8]) {
    v.extend(code.to_be_bytes());
    v.extend((b.len().min(0xffff) as u16).to_be_bytes());
    v.extend(&b[..b.len().min(0xffff)]);
}

/// An identity association without its content: number, T1 and T2 as the server likes.
fn head(iaid: u32) -> Vec<u8> {
    let mut v = iaid.to_be_bytes().to_vec();
    v.extend([0; 8]);
    v
}

/// The options in a piece of a message, up to one that is cut off.
fn options(mut b: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    core::iter::from_fn(move || {
        let (h, rest) = b.split_first_chunk::<4>()?;
        let n = usize::from(u16::from_be_bytes([h[2], h[3]]));
        let (body, rest) = rest.split_at_checked(n)?;
        b = rest;
        Some((u16::from_be_bytes([h[0], h[1]]), body))
    })
}

/// A server's message.
#[derive(Default)]
struct Reply {
    kind: u8,
    xid: u32,
    client: Vec<u8>,
    server: Vec<u8>,
    preference: u8,
    rapid: bool,
    /// The worst status code of the message and of what it gives.
    status: u16,
    addrs: Vec<Given>,
    prefixes: Vec<Given>,
    /// The least T1 and T2 that are said.
    t1: u32,
    t2: u32,
    dns: Vec<Ipv6Addr>,
    domains: Vec<String>,
    refresh: Option<u32>,
    sol_max: Option<u32>,
}

fn word(b: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*b.get(at..)?.first_chunk()?))
}

impl Reply {
    fn parse(b: &[u8], iaid: u32) -> Option<Reply> {
        let h = word(b, 0)?;
        let mut r = Reply { kind: (h >> 24) as u8, xid: h & 0x00ff_ffff, ..Reply::default() };
        for (code, o) in options(&b[4..]) {
            match code {
                opt::CLIENT_ID => r.client = o.to_vec(),
                opt::SERVER_ID if o.len() <= 130 => r.server = o.to_vec(),
                opt::PREFERENCE => r.preference = *o.first()?,
                opt::RAPID_COMMIT => r.rapid = true,
                opt::STATUS => r.status = r.status.max(status(o)),
                opt::IA_NA | opt::IA_PD if word(o, 0)? == iaid => r.association(code, o)?,
                opt::DNS => {
                    let a = o.as_chunks::<16>().0.iter().map(|a| Ipv6Addr::from(*a));
                    let good = a.filter(|a| !a.is_multicast() && !a.is_unspecified());
                    r.dns.extend(good.take(MAX_ITEMS - r.dns.len().min(MAX_ITEMS)));
                }
                opt::DOMAINS => r.domains = iopkt_wire::domains::domains(o, MAX_ITEMS),
                opt::REFRESH => r.refresh = word(o, 0),
                // RFC 8415 21.24: others are ignored.
                opt::SOL_MAX_RT => r.sol_max = word(o, 0).filter(|s| (60..=86_400).contains(s)),
                _ => {}
            }
        }
        Some(r)
    }

    fn association(&mut self, code: u16, o: &[u8]) -> Option<()> {
        let (t1, t2) = (word(o, 4)?, word(o, 8)?);
        // RFC 8415 21.4: then the whole association is void.
        if t1 > t2 && t2 != 0 {
            return Some(());
        }
        let least = |old: u32, new: u32| if old == 0 || new != 0 && new < old { new } else { old };
        (self.t1, self.t2) = (least(self.t1, t1), least(self.t2, t2));
        for (c, b) in options(o.get(12..)?) {
            let given = match (code, c) {
                (_, opt::STATUS) => {
                    self.status = self.status.max(status(b));
                    continue;
                }
                (opt::IA_NA, opt::IA_ADDR) if b.len() >= 24 => Given {
                    addr: Ipv6Addr::from(*b.first_chunk::<16>()?),
                    plen: 128,
                    preferred: word(b, 16)?,
                    valid: word(b, 20)?,
                },
                (opt::IA_PD, opt::IA_PREFIX) if b.len() >= 25 => Given {
                    addr: Ipv6Addr::from(*b.get(9..)?.first_chunk::<16>()?),
                    plen: b[8],
                    preferred: word(b, 0)?,
                    valid: word(b, 4)?,
                },
                _ => continue,
            };
            let list = if code == opt::IA_NA { &mut self.addrs } else { &mut self.prefixes };
            let odd = given.addr.is_multicast()
                || given.addr.is_unspecified()
                || given.addr.is_loopback()
                || given.plen > 128
                || given.preferred > given.valid;
            if !odd && list.len() < MAX_ITEMS {
                list.push(given);
            }
        }
        Some(())
    }

    /// T1 and T2: as said, or a half and four fifths of the shortest preferred lifetime (RFC 8415 21.4).
    fn times(&self) -> (u32, u32) {
        let all = self.addrs.iter().chain(&self.prefixes);
        let least = all.filter(|a| a.valid > 0).map(|a| a.preferred).min().unwrap_or(INFINITE);
        let part = |n: u64| if least == INFINITE { INFINITE } else { (u64::from(least) * n / 10) as u32 };
        let t1 = if self.t1 == 0 { part(5) } else { self.t1 };
        let t2 = if self.t2 == 0 { part(8) } else { self.t2 };
        // Never in a hurry: a lifetime of seconds would be a flood.
        (t1.max(5), t2.max(t1.max(5)))
    }

    fn lease(&self) -> Lease6 {
        Lease6 {
            addrs: self.addrs.clone(),
            prefixes: self.prefixes.clone(),
            dns: self.dns.clone(),
            domains: self.domains.clone(),
            server: self.server.clone(),
        }
    }
}

fn status(o: &[u8]) -> u16 {
    o.first_chunk().map_or(0, |c| u16::from_be_bytes(*c))
}
