//! The neighbour cache: who has which link-level address. One for both families; ARP and Neighbour Discovery
//! are the domains' ways to ask.
//!
//! States are RFC 4861's (7.3.2): Incomplete → Reachable → Stale → Delay → Probe; IPv4 knows no Delay. What IPv4 needs beside
//! RFC 826 is in RFC 1122 2.3.2: entries are flushed when out of date (here by unicast polls of a stale entry
//! that is used, and by age), a flood of requests is prevented (one per second and address), and at least the
//! latest packet to an unresolved address is held.
//!
//! The cache never sends. It queues [`Solicit`]s and [`Unreachable`]s that the domain of the family takes with
//! [`Neighbours::next_solicit`] and [`Neighbours::next_unreachable`].
//!
//! Limits: entries (`Config::max_neighbours`), half of them unresolved at most, and who goes when they are reached (`room.rs`);
//! packets held per entry (`Config::neighbour_hold`) and altogether (four per entry allowed).

mod list;
mod nd;
mod proxy;
mod room;
mod timers;
mod times;

pub use list::Listed;
pub use times::{DELAY, KEEP, NdTimes, REACHABLE, RETRY, TRIES};

use crate::counters::{Stat, Why};
use crate::cx::Cx;
use crate::hash::{KeyedMap, KeyedState};
use crate::packet::Family;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::net::IpAddr;
use iopkt_base::{Duration, Instant, Keyed};
use iopkt_mbuf::{Mbuf, flags};
use room::{RANKS, Rank};

/// How long the answer about the neighbour that was asked for last is given again without a look at the table: what
/// `used` of its entry may lag behind.
const RECENT: Duration = Duration::from_secs(1);

/// Interface and address.
pub type Key = (u32, IpAddr);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Incomplete,
    Reachable,
    Stale,
    Delay,
    Probe,
}

/// An entry of the cache.
#[derive(Debug)]
pub(crate) struct Entry {
    pub state: State,
    pub mac: [u8; 6],
    pub permanent: bool,
    published: bool,
    pub confirmed: Instant,
    pub used: Instant,
    /// When it was entered: what is used later is used by us, not only answered.
    born: Instant,
    tries: u8,
    /// It has answered us at least once.
    proven: bool,
    /// When its timer fires; it is in the timers of this rank with this time.
    timer: Instant,
    rank: Rank,
    pub held: VecDeque<Mbuf>,
}

/// A question for the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Solicit {
    /// Interface.
    pub ifindex: u32,
    /// Whose address is wanted.
    pub target: IpAddr,
    /// Ask only this station (an entry that is polled); `None`: everybody.
    pub unicast: Option<[u8; 6]>,
}

/// A packet whose next hop did not answer.
#[derive(Debug)]
pub struct Unreachable {
    /// Interface.
    pub ifindex: u32,
    /// The next hop.
    pub target: IpAddr,
    /// The packet, without link header.
    pub m: Mbuf,
}

/// How something was learnt about a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learn {
    /// It answered us: confirms, updates, never creates.
    Answer,
    /// It asked for us: we'll talk to it soon. Creates an entry while there is room.
    Asked,
    /// It told everybody (gratuitous ARP): updates an entry that exists.
    Announced,
}

/// What learning did.
#[derive(Debug, Default)]
pub struct Learned {
    /// Packets that waited for the address.
    pub held: VecDeque<Mbuf>,
    /// The station that had the address before, when it changed.
    pub moved_from: Option<[u8; 6]>,
    /// The entry is permanent and says otherwise: refused.
    pub refused: bool,
}

/// The cache.
pub struct Neighbours {
    pub(crate) map: KeyedMap<Key, Entry>,
    /// By rank; entries that never go are in none.
    timers: [BTreeSet<(Instant, Key)>; RANKS],
    solicits: VecDeque<Solicit>,
    unreachable: VecDeque<Unreachable>,
    lost: VecDeque<Key>,
    pub(crate) held: usize,
    /// The neighbour that was asked for last, its address, and until when that holds if no entry changes.
    pub(crate) recent: Option<(Key, [u8; 6], Instant)>,
    /// Entries that are only answered for.
    proxies: BTreeMap<Key, [u8; 6]>,
    /// Links of IPv6 whose times are not the usual ones.
    times: BTreeMap<u32, NdTimes>,
}

impl Neighbours {
    /// An empty cache.
    pub fn new(secret: &Keyed) -> Neighbours {
        Neighbours {
            map: KeyedMap::with_hasher(KeyedState::new(secret, "neighbours")),
            timers: Default::default(),
            solicits: VecDeque::new(),
            unreachable: VecDeque::new(),
            lost: VecDeque::new(),
            held: 0,
            recent: None,
            proxies: BTreeMap::new(),
            times: BTreeMap::new(),
        }
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Packets that wait for an answer.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Whether [`Neighbours::next_solicit`] has something for either family.
    #[inline]
    pub fn asks(&self) -> bool {
        !self.solicits.is_empty()
    }

    /// The address of the neighbour that was asked for last, if that is this one: as long as this is the answer,
    /// [`Neighbours::resolve`] gives it too, and does nothing else.
    #[inline]
    pub fn recent(&self, now: Instant, ifindex: u32, ip: IpAddr) -> Option<[u8; 6]> {
        let (k, mac, until) = self.recent?;
        (k == (ifindex, ip) && now < until).then_some(mac)
    }

    /// Where to send `m`. `None`: it is held (or, at a limit, ended) and will come back from
    /// [`Neighbours::learn`] or [`Neighbours::next_unreachable`].
    #[inline]
    pub fn resolve(&mut self, cx: &mut Cx, ifindex: u32, ip: IpAddr, m: Mbuf) -> Option<([u8; 6], Mbuf)> {
        // [RFC4861 7.3.3a]
        let key = (ifindex, ip);
        if let Some(mac) = self.recent(cx.now, ifindex, ip) {
            return Some((mac, m));
        }
        let t = self.times_of(&key);
        if m.flags() & flags::PROGRESS != 0 {
            self.confirm(cx.now, key);
        }
        if let Some(e) = self.map.get_mut(&key)
            && e.state != State::Incomplete
        {
            e.used = cx.now;
            if !t.nud {
                return Some((e.mac, m));
            }
            if e.state == State::Delay {
                return Some((e.mac, m));
            }
            let old = e.state == State::Stale || cx.now.since(e.confirmed) >= t.reachable;
            if ip.is_ipv6() && !e.permanent && e.state != State::Probe && old {
                // Used, and perhaps gone: what is sent now may be answered by a transport (RFC 4861 7.3.3).
                e.state = State::Delay;
                let mac = e.mac;
                self.arm(key, cx.now + t.delay);
                return Some((mac, m));
            }
            if !e.permanent && e.state != State::Probe && cx.now.since(e.confirmed) >= t.reachable {
                // Used and out of date: poll it (RFC 1122 2.3.2.1 (2)), and go on using it meanwhile.
                e.state = State::Probe;
                e.tries = 1;
                let mac = e.mac;
                self.solicits.push_back(Solicit { ifindex, target: ip, unicast: Some(mac) });
                self.arm(key, cx.now + t.retry);
                return Some((mac, m));
            }
            let stale =
                if e.permanent || e.state == State::Probe { Instant::FAR } else { e.confirmed + t.reachable };
            self.recent = Some((key, e.mac, stale.min(cx.now + RECENT)));
            return Some((e.mac, m));
        }
        self.hold(cx, key, m);
        None
    }

    fn hold(&mut self, cx: &mut Cx, key: Key, m: Mbuf) {
        // [RFC4861 7.2.2b] [RFC6583 6.1]
        if !self.map.contains_key(&key) {
            if !self.room_to_ask(cx) {
                cx.drop(m, Why::HoldQueueFull);
                return;
            }
            self.begin(cx, key);
        }
        let full = self.held >= cx.cfg.max_neighbours.saturating_mul(4);
        let Some(e) = self.map.get_mut(&key) else { return cx.drop(m, Why::HoldQueueFull) };
        if e.held.len() >= cx.cfg.neighbour_hold.max(1) || (full && !e.held.is_empty()) {
            // The latest packets are kept (RFC 1122 2.3.2.2).
            if let Some(old) = e.held.pop_front() {
                cx.drop(old, Why::HoldQueueFull);
                self.held -= 1;
            }
        } else if full {
            cx.drop(m, Why::HoldQueueFull);
            return;
        }
        e.held.push_back(m);
        self.held += 1;
        cx.counters.inc(Stat::ArpHeld);
    }

    pub(crate) fn insert(&mut self, key: Key, now: Instant, state: State) {
        let e = Entry {
            state,
            mac: [0; 6],
            permanent: false,
            published: false,
            confirmed: now,
            used: now,
            born: now,
            tries: 1,
            proven: false,
            timer: Instant::FAR,
            rank: Rank::Heard,
            held: VecDeque::new(),
        };
        self.map.insert(key, e);
    }

    /// A neighbour's address was heard.
    pub fn learn(&mut self, cx: &mut Cx, ifindex: u32, ip: IpAddr, mac: [u8; 6], how: Learn) -> Learned {
        self.recent = None;
        let key = (ifindex, ip);
        let mut out = Learned::default();
        if !self.map.contains_key(&key) {
            // An answer that nobody asked for makes no entry.
            if how != Learn::Asked || !self.room_to_hear(cx) {
                return out;
            }
            self.insert(key, cx.now, State::Stale);
        }
        let Some(e) = self.map.get_mut(&key) else { return out };
        if e.permanent {
            out.refused = e.mac != mac;
            return out;
        }
        let changed = e.state != State::Reachable || e.mac != mac;
        if e.state != State::Incomplete && e.mac != mac && e.mac != [0; 6] {
            out.moved_from = Some(e.mac);
        }
        // Who has another address now is another until it answers.
        e.proven = how == Learn::Answer || (e.proven && e.mac == mac);
        e.mac = mac;
        e.confirmed = cx.now;
        e.state = State::Reachable;
        out.held = core::mem::take(&mut e.held);
        self.held -= out.held.len();
        let at = e.used.max(cx.now) + KEEP;
        self.arm(key, at);
        if changed {
            self.tell(cx, key);
        }
        out
    }

    /// A transport heard from an IPv6 neighbour what could only come of its having heard us: as good as an answer (RFC 4861 7.3.1).
    fn confirm(&mut self, now: Instant, key: Key) {
        // [RFC4861 7.3.1]
        if let Some(e) = self.map.get_mut(&key)
            && !e.permanent
            && matches!(e.state, State::Reachable | State::Stale | State::Delay | State::Probe)
        {
            e.confirmed = now;
            e.proven = true;
            e.state = State::Reachable;
            let at = now + KEEP;
            self.arm(key, at);
        }
    }

    /// Sets an entry by hand. `permanent`: no age and no update from the network.
    pub fn set(
        &mut self,
        cx: &mut Cx,
        key: Key,
        mac: [u8; 6],
        permanent: bool,
        published: bool,
    ) -> Option<Learned> {
        if !self.map.contains_key(&key) {
            if !self.make_room(cx) {
                return None;
            }
            self.insert(key, cx.now, State::Stale);
        }
        let e = self.map.get_mut(&key)?;
        e.permanent = false;
        let out = self.learn(cx, key.0, key.1, mac, Learn::Answer);
        let e = self.map.get_mut(&key)?;
        e.permanent = permanent;
        e.published = published;
        if permanent {
            self.arm(key, Instant::FAR);
        }
        self.tell(cx, key);
        Some(out)
    }

    /// Whether there is an entry, resolved or not.
    pub fn knows(&self, ifindex: u32, ip: IpAddr) -> bool {
        self.map.contains_key(&(ifindex, ip))
    }

    /// Asks who has an address that nobody sends to yet; nothing when the answer is known, asked for, or there is no room.
    pub fn ask(&mut self, cx: &mut Cx, key: Key) {
        if !self.map.contains_key(&key) && self.room_to_ask(cx) {
            self.begin(cx, key);
        }
    }

    /// An entry for an address that is asked for from now on.
    fn begin(&mut self, cx: &Cx, key: Key) {
        self.insert(key, cx.now, State::Incomplete);
        self.solicits.push_back(Solicit { ifindex: key.0, target: key.1, unicast: None });
        let t = self.times_of(&key);
        self.arm(key, cx.now + t.retry);
    }

    /// Link-level address of an entry that is resolved.
    pub fn get(&self, ifindex: u32, ip: IpAddr) -> Option<[u8; 6]> {
        self.map.get(&(ifindex, ip)).filter(|e| e.state != State::Incomplete).map(|e| e.mac)
    }

    /// Removes an entry; what it held ends with `why`. False when there is none.
    pub fn remove(&mut self, cx: &mut Cx, key: Key, why: Why) -> bool {
        self.recent = None;
        let Some(e) = self.map.remove(&key) else { return false };
        if e.timer != Instant::FAR {
            self.timers[e.rank as usize].remove(&(e.timer, key));
        }
        self.held -= e.held.len();
        for m in e.held {
            cx.drop(m, why);
        }
        self.tell(cx, key);
        true
    }

    /// Removes the entries for which `f(key, permanent)` is true, in order of key.
    pub fn remove_if(&mut self, cx: &mut Cx, why: Why, f: impl Fn(&Key, bool) -> bool) {
        let mut gone: Vec<Key> =
            self.map.iter().filter(|(k, e)| f(k, e.permanent)).map(|(k, _)| *k).collect();
        gone.sort_unstable();
        for k in gone {
            self.remove(cx, k, why);
        }
    }

    /// The next question to send for this family.
    pub fn next_solicit(&mut self, family: Family) -> Option<Solicit> {
        let at = self.solicits.iter().position(|s| Family::of(&s.target) == family)?;
        self.solicits.remove(at)
    }

    /// The next packet of this family whose next hop did not answer.
    pub fn next_unreachable(&mut self, family: Family) -> Option<Unreachable> {
        let at = self.unreachable.iter().position(|s| Family::of(&s.target) == family)?;
        self.unreachable.remove(at)
    }

    /// The next IPv6 neighbour that was known and does not answer any more.
    pub fn next_lost(&mut self) -> Option<Key> {
        self.lost.pop_front()
    }
}
