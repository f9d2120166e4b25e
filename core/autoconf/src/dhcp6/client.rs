//! The machine of one interface's client.

use super::message::Making;
use super::reply::Reply;
use super::retry::State;
use super::{Action6, Config6, Given, INFINITE, Lease6, MAX_ITEMS, msg, status};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::Ipv6Addr;
use iopkt_base::{Duration, Instant, Rng};

/// IRT_DEFAULT and IRT_MINIMUM: seconds after which names are asked for again (21.23).
const REFRESH: u32 = 86_400;
const LEAST_REFRESH: u32 = 600;
/// SOL_MAX_DELAY, INF_MAX_DELAY, CNF_MAX_DELAY: all hosts of a link may have started together.
const MAX_DELAY_MS: u32 = 1000;

/// An advertisement that was heard, and how good it is: whole, the server's preference, so many associations.
struct Offer {
    worth: (bool, u8, usize),
    lease: Lease6,
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
    best: Option<Offer>,
    /// What the chosen server offered; what goes, while it is given away.
    asked: Lease6,
    lease: Lease6,
    t1: Instant,
    t2: Instant,
    sol_max: Duration,
    inf_max: Duration,
    out: VecDeque<Action6>,
}

impl Client6 {
    /// A client that asks soon.
    pub fn new(cfg: Config6, rng: Rng, now: Instant) -> Client6 {
        let hour = Duration::from_secs(3600);
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
            asked: Lease6::default(),
            lease: Lease6::default(),
            t1: Instant::FAR,
            t2: Instant::FAR,
            sol_max: hour,
            inf_max: hour,
            out: VecDeque::new(),
        };
        c.restart(now);
        c
    }

    /// Associations that are wanted.
    fn wanted(&self) -> usize {
        self.cfg.addresses as usize + self.cfg.prefixes.len()
    }

    fn restart(&mut self, now: Instant) {
        self.best = None;
        (self.lease, self.asked) = (Lease6::default(), Lease6::default());
        self.begin_soon(now, if self.wanted() > 0 { State::Solicit } else { State::Inform });
    }

    fn begin(&mut self, now: Instant, s: State) {
        self.state = s;
        self.xid = self.rng.next_u32() & 0x00ff_ffff;
        (self.began, self.sent, self.rt, self.next) = (None, 0, Duration::ZERO, now);
    }

    fn begin_soon(&mut self, now: Instant, s: State) {
        self.begin(now, s);
        self.next = now + Duration::from_millis(u64::from(1 + self.rng.below(MAX_DELAY_MS)));
    }

    /// What is to be done next.
    #[allow(clippy::should_implement_trait)] // not an iterator: more comes with time
    pub fn next(&mut self) -> Option<Action6> {
        self.out.pop_front()
    }

    /// When [`Client6::tick`] wants to be called.
    pub fn deadline(&self) -> Instant {
        let end = self.lease.all().map(|g| g.until).min().unwrap_or(Instant::FAR);
        let own = match self.state {
            State::Bound => self.t1.min(self.t2),
            State::Renew => self.next.min(self.t2),
            State::Idle => Instant::FAR,
            _ => self.next.min(self.whole()),
        };
        if self.state == State::Idle { own } else { own.min(end) }
    }

    /// When the exchange is over in any case.
    fn whole(&self) -> Instant {
        let r = self.state.retry(self.sol_max, self.inf_max);
        match self.began {
            Some(t) if r.in_all != Duration::ZERO => t + r.in_all,
            _ => Instant::FAR,
        }
    }

    /// The lease in force.
    pub fn lease(&self) -> Option<&Lease6> {
        (self.state.has_lease() || self.state == State::Request && !self.lease.is_empty())
            .then_some(&self.lease)
    }

    /// Whether nothing more will come of it (a release that was answered or given up).
    pub fn is_idle(&self) -> bool {
        self.state == State::Idle
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Instant) {
        if self.expire(now) {
            return;
        }
        // Nobody says that the link is another one: what we have holds on (18.2.3).
        if matches!(self.state, State::Confirm | State::Check) && self.whole() <= now {
            self.state = State::Bound;
        }
        match self.state {
            State::Bound | State::Renew if self.t2 <= now => self.begin(now, State::Rebind),
            State::Bound if self.t1 <= now => self.begin(now, State::Renew),
            State::Told if self.next <= now => self.begin(now, State::Inform),
            _ => {}
        }
        if self.next > now || matches!(self.state, State::Idle | State::Bound | State::Told) {
            return;
        }
        let r = self.state.retry(self.sol_max, self.inf_max);
        if let (State::Solicit, Some(offer)) = (self.state, self.best.take()) {
            // The first interval is over: the best that was heard it is (18.2.9).
            self.asked = offer.lease;
            self.begin(now, State::Request);
        } else if r.count != 0 && self.sent >= r.count {
            return self.give_up(now);
        }
        self.send(now);
    }

    /// Takes out what has ended; true when nothing is left of a lease, and all begins anew.
    fn expire(&mut self, now: Instant) -> bool {
        if self.state == State::Idle || self.lease.all().all(|g| g.until > now) {
            return false;
        }
        let old = self.lease.clone();
        self.lease.addrs.retain(|g| g.until > now);
        self.lease.prefixes.retain(|g| g.until > now);
        if !self.lease.is_empty() {
            self.out.push_back(Action6::Bound(self.lease.clone()));
            return false;
        }
        self.out.push_back(Action6::Lost(old));
        if matches!(self.state, State::Giving(_)) {
            return false;
        }
        self.restart(now);
        true
    }

    /// A server did not answer so many times.
    fn give_up(&mut self, now: Instant) {
        match self.state {
            State::Giving(msg::DECLINE) => self.declined(now),
            State::Giving(_) => self.state = State::Idle,
            // It did not want to make up what it had lost; the rest is good still.
            _ if !self.lease.is_empty() => {
                self.state = State::Bound;
                self.tick(now);
            }
            // Perhaps another one answers.
            _ => self.restart(now),
        }
    }

    fn send(&mut self, now: Instant) {
        let r = self.state.retry(self.sol_max, self.inf_max);
        self.rt = r.following(self.rt, self.state == State::Solicit, &mut self.rng);
        self.next = now + self.rt;
        self.sent += 1;
        let began = *self.began.get_or_insert(now);
        let mut lease = match self.state {
            State::Giving(_) => self.asked.clone(),
            _ => self.lease.clone(),
        };
        if self.state == State::Request {
            let add = |to: &mut Vec<Given>, more: &[Given]| {
                let new: Vec<Given> =
                    more.iter().filter(|m| !to.iter().any(|t| t.iaid == m.iaid)).copied().collect();
                to.extend(new);
            };
            add(&mut lease.addrs, &self.asked.addrs);
            add(&mut lease.prefixes, &self.asked.prefixes);
        }
        let server = match self.state {
            State::Request | State::Giving(_) => &self.asked.server,
            _ => &self.lease.server,
        };
        let m = Making {
            cfg: &self.cfg,
            kind: self.state.message(),
            xid: self.xid,
            elapsed: now.since(began),
            server,
            lease: &lease,
        };
        self.out.push_back(Action6::Send(m.emit()));
    }

    /// A message that came to port [`super::CLIENT_PORT`].
    pub fn input(&mut self, now: Instant, b: &[u8]) {
        let Some(r) = Reply::parse(b, &self.cfg, now) else { return };
        if r.xid != self.xid || r.client != self.cfg.duid || r.server.is_empty() || self.sent == 0 {
            return;
        }
        if let Some(s) = r.sol_max {
            self.sol_max = Duration::from_secs(s.into());
        }
        if let Some(s) = r.inf_max {
            self.inf_max = Duration::from_secs(s.into());
        }
        match (r.kind, self.state) {
            (msg::ADVERTISE, State::Solicit) => self.advertised(now, r),
            (msg::REPLY, State::Solicit) if r.rapid && self.cfg.rapid && r.filled() > 0 => {
                self.replied(now, r)
            }
            // Another server's answer to what was asked of one is none.
            (msg::REPLY, State::Request) if r.server != self.asked.server => {}
            (msg::REPLY, State::Renew) if r.server != self.lease.server => {}
            (msg::REPLY, State::Confirm) => match r.status {
                status::SUCCESS => self.state = State::Bound,
                status::NOT_ON_LINK => self.lost(now),
                _ => {}
            },
            (msg::REPLY, State::Request | State::Renew | State::Rebind | State::Check) => {
                self.replied(now, r)
            }
            (msg::REPLY, State::Inform) => self.informed(now, &r),
            (msg::REPLY, State::Giving(msg::DECLINE)) => self.declined(now),
            (msg::REPLY, State::Giving(_)) => self.state = State::Idle,
            _ => {}
        }
    }

    fn lost(&mut self, now: Instant) {
        let old = core::mem::take(&mut self.lease);
        self.out.push_back(Action6::Lost(old));
        self.restart(now);
    }

    fn informed(&mut self, now: Instant, r: &Reply) {
        let refresh = r.refresh.unwrap_or(REFRESH).max(LEAST_REFRESH);
        self.state = State::Told;
        self.next = after(now, refresh);
        let (dns, domains) = (r.dns.clone(), r.domains.clone());
        self.out.push_back(Action6::Names(Lease6 { dns, domains, refresh, ..Lease6::default() }));
    }

    fn advertised(&mut self, now: Instant, r: Reply) {
        // One without anything is passed over (18.2.9).
        if r.filled() == 0 || r.status != status::SUCCESS {
            return;
        }
        let worth = (r.filled() >= self.wanted(), r.preference, r.filled());
        if self.best.as_ref().is_none_or(|b| worth > b.worth) {
            let (addrs, prefixes) = (r.given(false).copied().collect(), r.given(true).copied().collect());
            let lease = Lease6 { addrs, prefixes, server: r.server, ..Lease6::default() };
            self.best = Some(Offer { worth, lease });
        }
        // The highest preference, or a Solicit that was sent before: at once.
        if r.preference == 255 || self.sent > 1 {
            self.next = now;
            self.tick(now);
        }
    }

    /// RFC 8415 18.2.10.1.
    fn replied(&mut self, now: Instant, r: Reply) {
        match r.status {
            // It is asked again, in its time.
            status::UNSPEC_FAIL | status::USE_MULTICAST => return,
            status::NOT_ON_LINK if self.state == State::Request && self.lease.is_empty() => {
                return self.restart(now);
            }
            status::NOT_ON_LINK => return self.lost(now),
            _ => {}
        }
        let old = self.lease.clone();
        for a in &r.ias {
            let list = if a.prefix { &mut self.lease.prefixes } else { &mut self.lease.addrs };
            // What the server does not mention is as it was.
            list.retain(|x| !a.given.iter().any(|g| (g.addr, g.plen) == (x.addr, x.plen)));
            list.extend(a.given.iter().filter(|g| g.valid > 0));
            list.drain(..list.len().saturating_sub(MAX_ITEMS));
        }
        let unknown = r.ias.iter().any(|a| a.status == status::NO_BINDING);
        if r.filled() == 0 && !unknown {
            if self.state == State::Request && self.lease.is_empty() {
                return self.restart(now);
            }
            if self.lease.is_empty() {
                // All of it was taken back.
                self.lease = old;
                return self.lost(now);
            }
            if self.lease != old {
                // Some of it was taken back; the rest is asked for again, in its time.
                self.out.push_back(Action6::Bound(self.lease.clone()));
            }
            return;
        }
        if unknown && r.filled() == 0 && self.state == State::Request {
            // It knows nothing of what was asked of it: again, in its time.
            return;
        }
        self.lease.server.clone_from(&r.server);
        (self.lease.dns, self.lease.domains) = (r.dns.clone(), r.domains.clone());
        if unknown && matches!(self.state, State::Renew | State::Rebind | State::Check) {
            // It knows nothing of them: they are asked for as at first, from this one.
            self.asked = self.lease.clone();
            return self.begin(now, State::Request);
        }
        let (t1, t2) = r.times();
        (self.t1, self.t2) = (after(now, t1), after(now, t2));
        self.best = None;
        self.state = State::Bound;
        self.out.push_back(Action6::Bound(self.lease.clone()));
    }

    /// Gives the lease back; [`Client6::is_idle`] when that is done.
    pub fn release(&mut self, now: Instant) {
        if self.lease().is_none() {
            self.state = State::Idle;
            return;
        }
        self.asked = core::mem::take(&mut self.lease);
        self.begin(now, State::Giving(msg::RELEASE));
        self.send(now);
    }

    /// These addresses are somebody else's. Others are asked for.
    pub fn decline(&mut self, now: Instant, taken: &[Ipv6Addr]) {
        if self.lease().is_none() || !self.lease.addrs.iter().any(|g| taken.contains(&g.addr)) {
            return;
        }
        let old = self.lease.clone();
        self.lease.addrs.retain(|g| !taken.contains(&g.addr));
        self.asked = Lease6 { server: old.server.clone(), ..Lease6::default() };
        self.asked.addrs.extend(old.addrs.iter().filter(|g| taken.contains(&g.addr)));
        self.begin(now, State::Giving(msg::DECLINE));
        self.send(now);
        let now_ours =
            if self.lease.is_empty() { Action6::Lost(old) } else { Action6::Bound(self.lease.clone()) };
        self.out.push_back(now_ours);
    }

    fn declined(&mut self, now: Instant) {
        if self.lease.is_empty() {
            return self.restart(now);
        }
        // The association is empty now: a renewal asks for another address in it.
        self.begin(now, State::Renew);
        self.tick(now);
    }

    /// The link was away and is there again: perhaps it is another one (18.2.12).
    pub fn link_up(&mut self, now: Instant) {
        match self.state {
            s if s.has_lease() && !self.lease.prefixes.is_empty() => self.begin_soon(now, State::Check),
            s if s.has_lease() => self.begin_soon(now, State::Confirm),
            State::Request if !self.lease.prefixes.is_empty() => self.begin_soon(now, State::Check),
            State::Request if !self.lease.is_empty() => self.begin_soon(now, State::Confirm),
            State::Solicit | State::Request => self.restart(now),
            State::Inform | State::Told => self.begin_soon(now, State::Inform),
            _ => {}
        }
    }
}

fn after(now: Instant, secs: u32) -> Instant {
    if secs == INFINITE { Instant::FAR } else { now + Duration::from_secs(secs.into()) }
}
