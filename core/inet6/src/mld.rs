//! Multicast listener discovery, the host's side: versions 1 and 2 (RFC 2710, RFC 3810).
//!
//! Version 2 is spoken until a querier of version 1 is heard, and again after that was silent for as long as its queries may be apart (260 s, if no querier says otherwise). Source filters of programs are
//! told in version 2 only: their changes by the records of RFC 3810 6.1, and to queries what is heard now, of a query about sources
//! those of them that are (6.2). Joining is told at once and again after a second; so are leaving and changes of a filter.
//! All-nodes and groups of interface-local scope are never reported (RFC 3810 6). Bounded by the groups of the interfaces.

use crate::input::Packet;
use crate::{ALL_NODES, ALL_ROUTERS, Inet6, Stat6, slaac};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};
use iopkt_base::{Duration, Instant, zone};
use iopkt_ctl::{AddrState, IfKind};
use iopkt_mbuf::Mbuf;
use iopkt_stack::{GroupFilter, Hop, HopKind, Layers};
use iopkt_wire::icmp6::{Header, ty};
use iopkt_wire::ipv6::{self, next};
use iopkt_wire::mld::{self, ALL_MLD2_ROUTERS, Query, record};

/// Each change is told this often where no querier says otherwise (RFC 3810 9.1).
const ROBUSTNESS: u8 = 2;
/// Between them: version 2 (9.11), version 1 (RFC 2710 7.10).
const V2_INTERVAL: Duration = Duration::from_secs(1);
const V1_INTERVAL: Duration = Duration::from_secs(10);
/// Between general queries where no querier says (9.2).
const QUERY_INTERVAL: Duration = Duration::from_secs(125);
/// Longest message of a report: what fits the smallest MTU with the headers before it.
const ROOM: usize = ipv6::MIN_MTU - ipv6::HEADER_LEN - 8;
/// Sources of queries that are remembered for a group until the answer.
const MAX_ASKED: usize = 64;
/// A hop-by-hop header with the router alert for MLD (RFC 2711), padded.
const ROUTER_ALERT: [u8; 8] = [next::ICMP6, 0, 5, 2, 0, 0, 1, 0];

/// A record of a report: its type, and sources.
type Said = (u8, Vec<Ipv6Addr>);

struct Group {
    /// Changes still to tell, and which (join or leave).
    changes: u8,
    joined: bool,
    change_at: Instant,
    /// What version 2 tells of the change.
    records: Vec<Said>,
    /// What is heard of it.
    filter: GroupFilter,
    /// A query asked for these sources only.
    asked: Option<Vec<Ipv6Addr>>,
    /// An answer to a query is due.
    answer_at: Instant,
    /// The last version 1 report on the link was ours.
    reporter: bool,
}

struct Link {
    /// What the querier that was heard last says of itself (5.1.8, 5.1.9).
    robustness: u8,
    interval: Duration,
    v1_until: Option<Instant>,
    /// An answer to a general version 2 query is due.
    answer_all: Option<Instant>,
    groups: BTreeMap<Ipv6Addr, Group>,
}

impl Default for Link {
    fn default() -> Link {
        let groups = BTreeMap::new();
        Link { robustness: ROBUSTNESS, interval: QUERY_INTERVAL, v1_until: None, answer_all: None, groups }
    }
}

impl Link {
    /// The link changed to the other version: what was to be said is not said any more (8.2.1).
    fn forget_answers(&mut self) {
        self.answer_all = None;
        for x in self.groups.values_mut() {
            (x.answer_at, x.asked) = (Instant::FAR, None);
            if x.joined {
                (x.changes, x.change_at) = (0, Instant::FAR);
            }
        }
    }
}

/// MLD's state.
#[derive(Default)]
pub(crate) struct Mld {
    links: BTreeMap<u32, Link>,
}

impl Mld {
    pub fn deadline(&self) -> Instant {
        let of = |k: &Link| {
            let g = k.groups.values().map(|g| g.change_at.min(g.answer_at)).min().unwrap_or(Instant::FAR);
            g.min(k.answer_all.unwrap_or(Instant::FAR))
        };
        self.links.values().map(of).min().unwrap_or(Instant::FAR)
    }

    pub fn detach(&mut self, ifindex: u32) {
        self.links.remove(&ifindex);
    }
}

/// Whether memberships of this group are told on this interface.
fn reports(l: &Layers<'_>, ifindex: u32, g: Ipv6Addr) -> bool {
    // [RFC3810 6]
    let wire = zone::strip(g);
    let ethernet = l.net.iface(ifindex).is_some_and(|i| i.kind == IfKind::Ethernet);
    ethernet && wire != ALL_NODES && wire.segments()[0] & 15 > 1
}

impl Inet6 {
    pub(crate) fn mld_joined(&mut self, l: &mut Layers<'_>, ifindex: u32, g: Ipv6Addr) {
        // [RFC3810 6.1a]
        if !reports(l, ifindex, g) {
            return;
        }
        let usable = l.net.iface(ifindex).is_some_and(|i| i.is_usable());
        let change_at = if usable { l.cx.now } else { Instant::FAR };
        let filter = l.net.group_filter(ifindex, g.into()).clone();
        let k = self.mld.links.entry(ifindex).or_default();
        let x = Group {
            changes: k.robustness,
            joined: true,
            change_at,
            records: change(&GroupFilter::NONE, &filter),
            filter,
            asked: None,
            answer_at: Instant::FAR,
            reporter: false,
        };
        k.groups.insert(g, x);
        self.mld_tick(l);
    }

    pub(crate) fn mld_left(&mut self, l: &mut Layers<'_>, ifindex: u32, g: Ipv6Addr) {
        // [RFC3810 6.1a]
        let now = l.cx.now;
        let usable = l.net.iface(ifindex).is_some_and(|i| i.is_usable());
        let Some(k) = self.mld.links.get_mut(&ifindex) else { return };
        let v1 = k.v1_until.is_some_and(|t| t > now);
        let Some(x) = k.groups.get_mut(&g) else { return };
        if !usable || (v1 && !x.reporter) {
            k.groups.remove(&g);
            return;
        }
        let changes = if v1 { 1 } else { k.robustness };
        x.records = change(&x.filter, &GroupFilter::NONE);
        (x.changes, x.joined, x.change_at, x.answer_at) = (changes, false, now, Instant::FAR);
        self.mld_tick(l);
    }

    /// The programs of a group hear other sources of it.
    pub(crate) fn mld_filtered(&mut self, l: &mut Layers<'_>, ifindex: u32, g: Ipv6Addr) {
        // [RFC3810 6.1a]
        let now = l.cx.now;
        let usable = l.net.iface(ifindex).is_some_and(|i| i.is_usable());
        let filter = l.net.group_filter(ifindex, g.into()).clone();
        let Some(k) = self.mld.links.get_mut(&ifindex) else { return };
        let v1 = k.v1_until.is_some_and(|t| t > now);
        let Some(x) = k.groups.get_mut(&g).filter(|x| x.joined && x.filter != filter) else { return };
        // A change that is still being told is overtaken by the whole new filter (RFC 3810 6.1 would have them merged).
        x.records = if x.changes > 0 { whole(&filter) } else { change(&x.filter, &filter) };
        x.filter = filter;
        if !v1 {
            (x.changes, x.change_at) = (k.robustness, if usable { now } else { Instant::FAR });
            self.mld_tick(l);
        }
    }

    /// The link came: everything is told anew; it went: nothing is.
    pub(crate) fn mld_link(&mut self, l: &mut Layers<'_>, ifindex: u32, usable: bool) {
        let now = l.cx.now;
        let Some(k) = self.mld.links.get_mut(&ifindex) else { return };
        if usable {
            for x in
                k.groups.values_mut().filter(|x| x.change_at == Instant::FAR && x.answer_at == Instant::FAR)
            {
                (x.changes, x.change_at) = (k.robustness, now);
                x.records = change(&GroupFilter::NONE, &x.filter);
            }
        } else {
            (k.v1_until, k.answer_all) = (None, None);
            k.groups.retain(|_, x| x.joined);
            for x in k.groups.values_mut() {
                (x.change_at, x.answer_at) = (Instant::FAR, Instant::FAR);
            }
        }
        self.mld_tick(l);
    }

    /// A query or somebody's report. False when it is none to be believed (RFC 3810 6.2: from a link-local address, with hop limit
    /// 1; a report also from nobody).
    pub(crate) fn mld_input(
        &mut self,
        l: &mut Layers<'_>,
        p: &Packet,
        h: &Header,
        hl: usize,
        m: &Mbuf,
    ) -> bool {
        // [RFC3810 6.2a] [RFC3810 6.2b] [RFC3810 8.2.1b] [RFC3810 9.1]
        let b = &m.as_slice()[hl..];
        let ifindex = m.ifindex();
        if h.ty != ty::MLD_QUERY {
            self.stats.inc(Stat6::MldReportsIn);
            if let (ty::MLD_REPORT, Some(g)) = (h.ty, mld::v1_group(b)) {
                self.heard_report(l.cx.now, ifindex, zone::embed(g, ifindex));
            }
            return true;
        }
        self.stats.inc(Stat6::MldQueries);
        let q = Query::parse(b).filter(|_| p.h.hop_limit == 1 && slaac::is_link_local(&p.src.into()));
        let Some(q) = q else {
            self.stats.inc(Stat6::MldBadQueries);
            return false;
        };
        let now = l.cx.now;
        let Some(k) = self.mld.links.get_mut(&ifindex) else { return true };
        let was = k.v1_until.is_some_and(|t| t > now);
        if q.version == 1 {
            // Older version querier present timeout (9.12).
            k.v1_until = Some(now + k.interval * u32::from(k.robustness) + q.max_response);
        } else {
            k.robustness = if q.robustness == 0 { ROBUSTNESS } else { q.robustness };
            k.interval = if q.interval.is_zero() { QUERY_INTERVAL } else { q.interval };
        }
        let v1 = k.v1_until.is_some_and(|t| t > now);
        if v1 != was {
            k.forget_answers();
        }
        let ms = u32::try_from(q.max_response.as_millis()).unwrap_or(u32::MAX).max(1);
        if q.group.is_unspecified() && !v1 {
            let at = now + Duration::from_millis(l.cx.rng.below(ms).into());
            k.answer_all = Some(k.answer_all.map_or(at, |t| t.min(at)));
        } else {
            let asked = zone::embed(q.group, ifindex);
            for (_, x) in
                k.groups.iter_mut().filter(|(g, x)| x.joined && (q.group.is_unspecified() || **g == asked))
            {
                // An answer for the whole group that is due anyway says more (RFC 3810 6.2).
                let idle = x.answer_at == Instant::FAR;
                x.asked = match x.asked.take() {
                    Some(mut old) if !q.sources.is_empty() => {
                        old.extend(q.sources.iter().take(MAX_ASKED.saturating_sub(old.len())));
                        Some(old)
                    }
                    None if idle && !q.sources.is_empty() => {
                        Some(q.sources.iter().copied().take(MAX_ASKED).collect())
                    }
                    _ => None,
                };
                let at = now + Duration::from_millis(l.cx.rng.below(ms).into());
                x.answer_at = x.answer_at.min(at);
            }
        }
        self.reckon();
        true
    }

    /// Somebody of version 1 answered for a group: we need not (RFC 2710 4).
    fn heard_report(&mut self, now: Instant, ifindex: u32, g: Ipv6Addr) {
        let Some(k) = self.mld.links.get_mut(&ifindex) else { return };
        if let Some(x) = k.groups.get_mut(&g) {
            if k.v1_until.is_some_and(|t| t > now) {
                x.answer_at = Instant::FAR;
            }
            x.reporter = false;
        }
    }

    /// Sends what is due.
    pub(crate) fn mld_tick(&mut self, l: &mut Layers<'_>) {
        // [RFC3810 5b] [RFC3810 8.2.1a]
        let now = l.cx.now;
        let links: Vec<u32> = self.mld.links.keys().copied().collect();
        for ifindex in links {
            let Some(k) = self.mld.links.get_mut(&ifindex) else { continue };
            let v1 = k.v1_until.is_some_and(|t| t > now);
            let all = k.answer_all.take_if(|t| *t <= now).is_some();
            // What is to be said of each group, by one report or by one each.
            let mut said: Vec<(Ipv6Addr, Said)> = Vec::new();
            let mut v1_said: Vec<(Ipv6Addr, bool)> = Vec::new();
            for (g, x) in &mut k.groups {
                if x.change_at <= now {
                    said.extend(x.records.iter().map(|r| (*g, r.clone())));
                    v1_said.push((*g, x.joined));
                    x.changes -= 1;
                    let gap = if v1 { V1_INTERVAL } else { V2_INTERVAL };
                    x.change_at = if x.changes == 0 { Instant::FAR } else { now + gap };
                } else if x.joined && (all || x.answer_at <= now) {
                    said.extend(answer(&x.filter, x.asked.take().filter(|_| !all)).map(|r| (*g, r)));
                    v1_said.push((*g, true));
                    x.answer_at = Instant::FAR;
                } else {
                    continue;
                }
                x.reporter = true;
            }
            k.groups.retain(|_, x| x.joined || x.changes > 0);
            if v1 {
                for (g, joined) in v1_said {
                    let g = zone::strip(g);
                    let (t, to) = if joined { (ty::MLD_REPORT, g) } else { (ty::MLD_DONE, ALL_ROUTERS) };
                    self.mld_send(l, ifindex, to, mld::v1(t, g));
                }
            } else {
                // As many records as fit the smallest MTU.
                let mut b = mld::v2();
                for (g, (kind, sources)) in said {
                    for part in parts(kind, &sources) {
                        if b.len() + 20 + part.len() * 16 > ROOM {
                            let full = core::mem::replace(&mut b, mld::v2());
                            self.mld_send(l, ifindex, ALL_MLD2_ROUTERS, full);
                        }
                        mld::push_record(&mut b, kind, zone::strip(g), part);
                    }
                }
                if b.len() > mld::v2().len() {
                    self.mld_send(l, ifindex, ALL_MLD2_ROUTERS, b);
                }
            }
        }
    }

    fn mld_send(&mut self, l: &mut Layers<'_>, ifindex: u32, to: Ipv6Addr, b: Vec<u8>) {
        // [RFC3810 5a]
        // From nobody while the link-local address is not good yet (RFC 3590).
        let own = l.net.iface(ifindex).and_then(|i| {
            let good =
                |a: &&iopkt_stack::IfAddr| slaac::is_link_local(&a.addr) && a.state == AddrState::Valid;
            i.addrs.iter().find(good).map(|a| a.addr)
        });
        let from = match own {
            Some(IpAddr::V6(a)) => a,
            _ => Ipv6Addr::UNSPECIFIED,
        };
        let Some(m) = self.packet(l, ifindex, (from, to), 1, b) else { return };
        let Some(m) = with_alert(l, m) else { return };
        self.stats.inc(Stat6::MldReportsOut);
        let mtu = l.net.iface(ifindex).map_or(0, |i| i.mtu);
        let next = zone::embed(to, ifindex).into();
        self.link_output(l, &Hop { ifindex, next, src: None, mtu, kind: HopKind::Multicast, route: None }, m);
    }
}

/// The sources of a record in parts that fit a report each. An "exclude" cannot be told in parts: it is cut off, and so more is let
/// through than is heard (RFC 3810 5.2.15).
fn parts(kind: u8, sources: &[Ipv6Addr]) -> impl Iterator<Item = &[Ipv6Addr]> {
    const MOST: usize = (ROOM - 8 - 20) / 16;
    let exclude = matches!(kind, record::IS_EXCLUDE | record::TO_EXCLUDE);
    let most = if exclude { sources.len().min(MOST) } else { sources.len() };
    let empty: Option<&[Ipv6Addr]> = sources.is_empty().then_some(&[]);
    empty.into_iter().chain(sources[..most].chunks(MOST))
}

/// Sources of a filter, as they are on the wire.
fn v6<'a>(s: impl Iterator<Item = &'a IpAddr>) -> Vec<Ipv6Addr> {
    let v6 = |a: &IpAddr| if let IpAddr::V6(a) = a { Some(zone::strip(*a)) } else { None };
    s.filter_map(v6).collect()
}

/// The records that tell the change of a filter (RFC 3810 section 6.1).
fn change(old: &GroupFilter, new: &GroupFilter) -> Vec<Said> {
    // [RFC3810 6.1c]
    if old.exclude != new.exclude {
        return whole(new);
    }
    let only = |a: &GroupFilter, b: &GroupFilter| v6(a.sources.iter().filter(|s| !b.sources.contains(s)));
    let (gone, come) = (only(old, new), only(new, old));
    let (allow, block) = if new.exclude { (gone, come) } else { (come, gone) };
    let both = [(record::ALLOW, allow), (record::BLOCK, block)];
    both.into_iter().filter(|(_, s)| !s.is_empty()).collect()
}

/// The record that tells all of a new filter.
fn whole(f: &GroupFilter) -> Vec<Said> {
    let kind = if f.exclude { record::TO_EXCLUDE } else { record::TO_INCLUDE };
    Vec::from([(kind, v6(f.sources.iter()))])
}

/// The answer to a query about a group or, of these sources, to one about them (RFC 3810 section 6.2): nothing when none of them
/// is heard.
fn answer(f: &GroupFilter, asked: Option<Vec<Ipv6Addr>>) -> Option<Said> {
    // [RFC3810 6.2c]
    let Some(asked) = asked else {
        let kind = if f.exclude { record::IS_EXCLUDE } else { record::IS_INCLUDE };
        return Some((kind, v6(f.sources.iter())));
    };
    let heard: Vec<_> = asked.into_iter().filter(|s| f.hears(IpAddr::V6(*s))).collect();
    if heard.is_empty() { None } else { Some((record::IS_INCLUDE, heard)) }
}

/// The packet with the router alert behind its header.
fn with_alert(l: &mut Layers<'_>, m: Mbuf) -> Option<Mbuf> {
    let mut out = l.cx.mbufs.alloc_len(m.len() + ROUTER_ALERT.len());
    if let Some(o) = &mut out {
        let (head, rest) = m.as_slice().split_at(ipv6::HEADER_LEN);
        o.extend_from_slice(head);
        o.extend_from_slice(&ROUTER_ALERT);
        o.extend_from_slice(rest);
        let b = o.as_mut_slice();
        let len = (b.len() - ipv6::HEADER_LEN) as u16;
        b[4..6].copy_from_slice(&len.to_be_bytes());
        b[6] = next::HOP_BY_HOP;
    }
    l.cx.mbufs.free(m);
    out
}
