//! IGMP, the host's side: versions 1, 2 and 3 (RFC 1112, RFC 2236, RFC 9776).
//!
//! The version spoken on an interface is 3 until an older querier is heard there, and again after it was silent
//! for 260 s (RFC 9776 8.12). Source filters of programs are told in version 3 only: their changes by the records of RFC 9776
//! 5.1, and to queries what is heard now, of a group-and-source query those of its sources that are (5.2).
//!
//! Joining is told at once and repeated once; so are leaving (in versions 2 and 3) and changes of a filter. All-hosts is never reported,
//! loopback interfaces not at all. Bounded by the groups of the interfaces.

use crate::{ALL_HOSTS, Inet};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};
use iopkt_base::{Duration, Instant};
use iopkt_mbuf::{Mbuf, flags};
use iopkt_stack::{Cx, GroupFilter, Hop, HopKind, IpInfo, Layers, Stat, Why};
use iopkt_wire::igmp::{self, Bad, LEN, Message, Query, Record, record, ty};
use iopkt_wire::ipv4::{HEADER_LEN, Header, opt, proto};

const ALL_ROUTERS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 2);
const V3_ROUTERS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 22);
/// Robustness variable: each change is told this often (RFC 9776 8.1).
const ROBUSTNESS: u8 = 2;
/// Unsolicited report interval: version 3 (RFC 9776 8.11), versions 1 and 2 (RFC 2236 8.10).
const V3_INTERVAL: Duration = Duration::from_secs(1);
const V2_INTERVAL: Duration = Duration::from_secs(10);
/// Older version querier present timeout: robustness × 125 s + 10 s.
const OLD_QUERIER: Duration = Duration::from_secs(260);
/// Longest report written, bytes.
const MAX_REPORT: usize = 1448;
/// Sources of queries that are remembered for a group until the answer.
const MAX_ASKED: usize = 64;
/// IP option "router alert" (RFC 2113).
const ROUTER_ALERT: [u8; 4] = [opt::ROUTER_ALERT, 4, 0, 0];

/// What is to be told about a group.
struct Group {
    /// State changes still to tell, and which (join or leave).
    changes: u8,
    joined: bool,
    change_at: Instant,
    /// What version 3 tells of the change.
    records: Vec<(u8, Vec<Ipv4Addr>)>,
    /// What is heard of it.
    filter: GroupFilter,
    /// An answer to a query is due.
    answer_at: Instant,
    /// The query asked for these sources only.
    asked: Option<Vec<Ipv4Addr>>,
    /// The last report on the link was ours: only then a version 2 leave is sent.
    reporter: bool,
}

#[derive(Default)]
struct Link {
    v1_until: Option<Instant>,
    v2_until: Option<Instant>,
    /// An answer to a general version 3 query is due.
    answer_all: Option<Instant>,
    groups: BTreeMap<Ipv4Addr, Group>,
}

impl Link {
    fn version(&self, now: Instant) -> u8 {
        if self.v1_until.is_some_and(|t| t > now) {
            1
        } else if self.v2_until.is_some_and(|t| t > now) {
            2
        } else {
            3
        }
    }

    fn deadline(&self) -> Instant {
        let g = self.groups.values().map(|g| g.change_at.min(g.answer_at)).min().unwrap_or(Instant::FAR);
        g.min(self.answer_all.unwrap_or(Instant::FAR))
    }
}

/// IGMP's state.
#[derive(Default)]
pub(crate) struct Igmp {
    links: BTreeMap<u32, Link>,
}

impl Igmp {
    pub fn deadline(&self) -> Instant {
        self.links.values().map(Link::deadline).min().unwrap_or(Instant::FAR)
    }

    pub fn detach(&mut self, ifindex: u32) {
        self.links.remove(&ifindex);
    }
}

fn random(cx: &mut Cx, max: Duration) -> Instant {
    let ms = u32::try_from(max.as_millis()).unwrap_or(u32::MAX);
    cx.now + Duration::from_millis(u64::from(cx.rng.below(ms.max(1))))
}

impl Inet {
    pub(crate) fn igmp_joined(&mut self, l: &mut Layers<'_>, ifindex: u32, g: Ipv4Addr) {
        if !reports(l, ifindex, g) {
            return;
        }
        let usable = l.net.iface(ifindex).is_some_and(|i| i.is_usable());
        let at = if usable { l.cx.now } else { Instant::FAR };
        let filter = l.net.group_filter(ifindex, IpAddr::V4(g)).clone();
        let link = self.igmp.links.entry(ifindex).or_default();
        link.groups.insert(
            g,
            Group {
                changes: ROBUSTNESS,
                joined: true,
                change_at: at,
                records: change(&GroupFilter::NONE, &filter),
                filter,
                answer_at: Instant::FAR,
                asked: None,
                reporter: false,
            },
        );
        self.igmp_tick(l);
    }

    pub(crate) fn igmp_left(&mut self, l: &mut Layers<'_>, ifindex: u32, g: Ipv4Addr) {
        let now = l.cx.now;
        let usable = l.net.iface(ifindex).is_some_and(|i| i.is_usable());
        let Some(link) = self.igmp.links.get_mut(&ifindex) else { return };
        let version = link.version(now);
        let Some(x) = link.groups.get_mut(&g) else { return };
        if !usable || version == 1 || (version == 2 && !x.reporter) {
            link.groups.remove(&g);
            return;
        }
        x.records = change(&x.filter, &GroupFilter::NONE);
        (x.joined, x.changes, x.change_at, x.answer_at) =
            (false, if version == 3 { ROBUSTNESS } else { 1 }, now, Instant::FAR);
        self.igmp_tick(l);
    }

    /// The programs of a group hear other sources of it.
    pub(crate) fn igmp_filtered(&mut self, l: &mut Layers<'_>, ifindex: u32, g: Ipv4Addr) {
        let now = l.cx.now;
        let usable = l.net.iface(ifindex).is_some_and(|i| i.is_usable());
        let filter = l.net.group_filter(ifindex, IpAddr::V4(g)).clone();
        let Some(link) = self.igmp.links.get_mut(&ifindex) else { return };
        let version = link.version(now);
        let Some(x) = link.groups.get_mut(&g).filter(|x| x.joined && x.filter != filter) else { return };
        // A change that is still being told is overtaken by the whole new filter (RFC 9776 5.1 would have them merged).
        x.records = if x.changes > 0 { whole(&filter) } else { change(&x.filter, &filter) };
        x.filter = filter;
        if version == 3 {
            (x.changes, x.change_at) = (ROBUSTNESS, if usable { now } else { Instant::FAR });
            self.igmp_tick(l);
        }
    }

    /// The link came back (perhaps to another network): everything is told again.
    pub(crate) fn igmp_link(&mut self, l: &mut Layers<'_>, ifindex: u32) {
        let usable = l.net.iface(ifindex).is_some_and(|i| i.is_usable());
        let Some(link) = self.igmp.links.get_mut(&ifindex) else { return };
        link.groups.retain(|_, g| g.joined);
        link.answer_all = None;
        for g in link.groups.values_mut() {
            g.changes = ROBUSTNESS;
            g.records = change(&GroupFilter::NONE, &g.filter);
            g.change_at = if usable { l.cx.now } else { Instant::FAR };
            g.answer_at = Instant::FAR;
        }
        if !usable {
            (link.v1_until, link.v2_until) = (None, None);
        }
        self.igmp_tick(l);
    }

    /// Sends what is due.
    pub(crate) fn igmp_tick(&mut self, l: &mut Layers<'_>) {
        let now = l.cx.now;
        if self.igmp.deadline() > now {
            return;
        }
        let mut links = core::mem::take(&mut self.igmp.links);
        for (ifindex, link) in links.iter_mut().filter(|(_, k)| k.deadline() <= now) {
            if link.version(now) == 3 {
                self.tick_v3(l, *ifindex, link);
            } else {
                self.tick_v2(l, *ifindex, link);
            }
            link.groups.retain(|_, g| g.joined || g.changes > 0);
        }
        self.igmp.links = links;
    }

    fn tick_v3(&mut self, l: &mut Layers<'_>, ifindex: u32, link: &mut Link) {
        let now = l.cx.now;
        let mut list: Vec<(u8, Ipv4Addr, Vec<Ipv4Addr>)> = Vec::new();
        let all = link.answer_all.is_some_and(|t| t <= now);
        if all {
            link.answer_all = None;
        }
        for (a, g) in &mut link.groups {
            if g.change_at <= now && g.changes > 0 {
                list.extend(g.records.iter().map(|(kind, sources)| (*kind, *a, sources.clone())));
                g.changes -= 1;
                g.reporter = true;
                g.change_at = if g.changes > 0 { random(l.cx, V3_INTERVAL) } else { Instant::FAR };
            }
            if g.joined && (all || g.answer_at <= now) {
                list.extend(
                    answer(&g.filter, g.asked.take().filter(|_| !all)).map(|(kind, s)| (kind, *a, s)),
                );
                g.answer_at = Instant::FAR;
            }
        }
        let mtu = l.net.iface(ifindex).map_or(576, |i| i.mtu as usize);
        let room = mtu.saturating_sub(HEADER_LEN + ROUTER_ALERT.len()).min(MAX_REPORT);
        let (mut part, mut used) = (Vec::new(), LEN);
        for (kind, group, sources) in &list {
            let r = Record { kind: *kind, group: *group, sources };
            if used + r.wire_len() > room && !part.is_empty() {
                self.igmp_report(l, ifindex, &part);
                (part, used) = (Vec::new(), LEN);
            }
            used += r.wire_len();
            part.push(r);
        }
        if !part.is_empty() {
            self.igmp_report(l, ifindex, &part);
        }
    }

    fn igmp_report(&mut self, l: &mut Layers<'_>, ifindex: u32, part: &[Record<'_>]) {
        let mut b = [0; MAX_REPORT];
        if let Some(n) = igmp::v3_report(part, &mut b) {
            self.igmp_send(l, ifindex, V3_ROUTERS, &b[..n]);
        }
    }

    fn tick_v2(&mut self, l: &mut Layers<'_>, ifindex: u32, link: &mut Link) {
        let now = l.cx.now;
        let v1 = link.version(now) == 1;
        link.answer_all = None;
        for (a, g) in &mut link.groups {
            let change = g.change_at <= now && g.changes > 0;
            if !change && g.answer_at > now {
                continue;
            }
            if change {
                g.changes -= 1;
                g.change_at = if g.changes > 0 { random(l.cx, V2_INTERVAL) } else { Instant::FAR };
            }
            g.answer_at = Instant::FAR;
            if g.joined {
                g.reporter = true;
                let t = if v1 { ty::V1_REPORT } else { ty::V2_REPORT };
                self.igmp_send(l, ifindex, *a, &igmp::v2(t, 0, *a));
            } else {
                g.changes = 0;
                if !v1 {
                    self.igmp_send(l, ifindex, ALL_ROUTERS, &igmp::v2(ty::V2_LEAVE, 0, *a));
                }
            }
        }
    }

    /// Sends a message: TTL 1, router alert, and never looped back.
    fn igmp_send(&mut self, l: &mut Layers<'_>, ifindex: u32, dst: Ipv4Addr, body: &[u8]) {
        let src = match l.net.source_for(ifindex, IpAddr::V4(dst)) {
            Some(IpAddr::V4(a)) => a,
            // RFC 9776 4.2.13: 0.0.0.0 while the interface has no address.
            _ => Ipv4Addr::UNSPECIFIED,
        };
        let hl = HEADER_LEN + ROUTER_ALERT.len();
        let Some(mut m) = l.cx.mbufs.alloc_len(hl + body.len()) else { return };
        let hdr = Header {
            header_len: hl,
            tos: 0xc0,
            total_len: hl + body.len(),
            id: l.cx.rng.next_u16(),
            df: false,
            mf: false,
            frag: 0,
            ttl: 1,
            proto: proto::IGMP,
            src,
            dst,
        };
        let Some(to) = m.append(hl) else { return };
        hdr.emit(to, &ROUTER_ALERT);
        m.extend_from_slice(body);
        l.cx.counters.inc(Stat::IgmpReportsSent);
        l.cx.counters.inc(Stat::IpOutLocal);
        let next = IpAddr::V4(dst);
        let hop = Hop { ifindex, next, src: None, mtu: u32::MAX, kind: HopKind::Multicast, route: None };
        self.link_output(l, &hop, m);
    }

    pub(crate) fn igmp_input(&mut self, l: &mut Layers<'_>, info: &IpInfo, m: Mbuf) {
        l.cx.counters.inc(Stat::IgmpReceived);
        let b = &m.as_slice()[usize::from(info.hdr_len)..];
        match Message::parse(b) {
            Err(bad) => {
                l.cx.counters.inc(match bad {
                    Bad::Short => Stat::IgmpTooShort,
                    Bad::Checksum => Stat::IgmpBadChecksum,
                    Bad::Field if b.first() == Some(&ty::QUERY) => Stat::IgmpBadQueries,
                    Bad::Field => Stat::IgmpBadReports,
                });
                return l.cx.drop(m, Why::BadIgmp);
            }
            Ok(Message::Query(q)) => {
                l.cx.counters.inc(Stat::IgmpQueries);
                // Queries are of the link only: a larger TTL has come from somewhere else (RFC 9776 4.).
                let local = info.ttl == 1 && m.flags() & flags::LOOP == 0;
                let general_to_all = !q.group.is_unspecified() || q.version == 1 || info.dst == ALL_HOSTS;
                if local && general_to_all {
                    let sources = igmp::query_sources(b).collect();
                    self.igmp_query(l.cx, info.ifindex, &q, sources);
                    self.igmp_tick(l);
                    self.reckon();
                } else {
                    l.cx.counters.inc(Stat::IgmpBadQueries);
                }
            }
            Ok(Message::Report { group, .. }) => {
                l.cx.counters.inc(Stat::IgmpReports);
                let ours = m.flags() & flags::LOOP != 0 || l.net.is_local(info.src, 0);
                let link = self.igmp.links.get_mut(&info.ifindex);
                if !ours
                    && let Some(link) = link
                    && link.version(l.cx.now) != 3
                    && let Some(g) = link.groups.get_mut(&group)
                {
                    // Somebody else told the router (RFC 2236 section 3).
                    l.cx.counters.inc(Stat::IgmpOurReports);
                    (g.answer_at, g.reporter) = (Instant::FAR, false);
                    self.reckon();
                }
            }
            Ok(Message::V3Report { .. }) => l.cx.counters.inc(Stat::IgmpReports),
            Ok(Message::Leave { .. } | Message::Other(_)) => {}
        }
        // Raw sockets (routing daemons) see all of it.
        if let Some(m) = l.sockets.input(l.cx, l.net, info, m) {
            l.cx.drop(m, Why::Handled);
        }
    }

    fn igmp_query(&mut self, cx: &mut Cx, ifindex: u32, q: &Query, sources: Vec<Ipv4Addr>) {
        let link = self.igmp.links.entry(ifindex).or_default();
        match q.version {
            1 => link.v1_until = Some(cx.now + OLD_QUERIER),
            2 => link.v2_until = Some(cx.now + OLD_QUERIER),
            _ => {}
        }
        let max = Duration::from_millis(u64::from(q.max_resp) * 100);
        if link.version(cx.now) == 3 && q.group.is_unspecified() {
            let at = random(cx, max);
            link.answer_all = Some(link.answer_all.map_or(at, |t| t.min(at)));
            return;
        }
        for (a, g) in &mut link.groups {
            if g.joined && (q.group.is_unspecified() || q.group == *a) {
                // An answer for the whole group that is due anyway says more (RFC 9776 5.2).
                let idle = g.answer_at == Instant::FAR;
                g.asked = match g.asked.take() {
                    Some(mut old) if !sources.is_empty() => {
                        old.extend(sources.iter().take(MAX_ASKED.saturating_sub(old.len())));
                        Some(old)
                    }
                    None if idle && !sources.is_empty() => {
                        Some(sources.iter().copied().take(MAX_ASKED).collect())
                    }
                    _ => None,
                };
                // A timer that runs out earlier stays (RFC 2236 section 3).
                let at = random(cx, max);
                if g.answer_at == Instant::FAR || g.answer_at > cx.now + max {
                    g.answer_at = at;
                }
            }
        }
    }
}

/// IPv4 sources of a filter.
fn v4<'a>(s: impl Iterator<Item = &'a IpAddr>) -> Vec<Ipv4Addr> {
    let v4 = |a: &IpAddr| if let IpAddr::V4(a) = a { Some(*a) } else { None };
    s.filter_map(v4).collect()
}

/// The records that tell the change of a filter (RFC 9776 section 5.1).
fn change(old: &GroupFilter, new: &GroupFilter) -> Vec<(u8, Vec<Ipv4Addr>)> {
    if old.exclude != new.exclude {
        return whole(new);
    }
    let only = |a: &GroupFilter, b: &GroupFilter| v4(a.sources.iter().filter(|s| !b.sources.contains(s)));
    let (gone, come) = (only(old, new), only(new, old));
    let (allow, block) = if new.exclude { (gone, come) } else { (come, gone) };
    let both = [(record::ALLOW_NEW_SOURCES, allow), (record::BLOCK_OLD_SOURCES, block)];
    both.into_iter().filter(|(_, s)| !s.is_empty()).collect()
}

/// The record that tells all of a new filter.
fn whole(f: &GroupFilter) -> Vec<(u8, Vec<Ipv4Addr>)> {
    let kind = if f.exclude { record::CHANGE_TO_EXCLUDE } else { record::CHANGE_TO_INCLUDE };
    Vec::from([(kind, v4(f.sources.iter()))])
}

/// The answer to a query about a group or, of these sources, to a group-and-source one (RFC 9776 section 5.2): nothing when
/// none of them is heard.
fn answer(f: &GroupFilter, asked: Option<Vec<Ipv4Addr>>) -> Option<(u8, Vec<Ipv4Addr>)> {
    let Some(asked) = asked else {
        let kind = if f.exclude { record::MODE_IS_EXCLUDE } else { record::MODE_IS_INCLUDE };
        return Some((kind, v4(f.sources.iter())));
    };
    let heard: Vec<_> = asked.into_iter().filter(|s| f.hears(IpAddr::V4(*s))).collect();
    if heard.is_empty() { None } else { Some((record::MODE_IS_INCLUDE, heard)) }
}

/// Whether memberships of this group are told on this interface.
fn reports(l: &Layers<'_>, ifindex: u32, g: Ipv4Addr) -> bool {
    IpAddr::V4(g) != ALL_HOSTS && l.net.iface(ifindex).is_some_and(|i| !i.is_loopback())
}
