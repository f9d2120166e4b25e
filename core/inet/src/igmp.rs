//! IGMP, the host's side: versions 1, 2 and 3 (RFC 1112, RFC 2236, RFC 9776).
//!
//! The version spoken on an interface is 3 until an older querier is heard there, and again after it was silent
//! for 260 s (RFC 9776 8.12). All memberships are "exclude nothing": source filters are not offered to programs,
//! so group-and-source queries are answered for the group.
//!
//! Joining is told at once and repeated once; so is leaving (in versions 2 and 3). All-hosts is never reported,
//! loopback interfaces not at all. Bounded by the groups of the interfaces.

use crate::{ALL_HOSTS, Inet};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};
use iopkt_base::{Duration, Instant};
use iopkt_mbuf::{Mbuf, flags};
use iopkt_stack::{Cx, Hop, HopKind, IpInfo, Layers, Stat, Why};
use iopkt_wire::igmp::{self, Bad, LEN, Message, Query, RECORD_LEN, record, ty};
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
/// IP option "router alert" (RFC 2113).
const ROUTER_ALERT: [u8; 4] = [opt::ROUTER_ALERT, 4, 0, 0];

/// What is to be told about a group.
struct Group {
    /// State changes still to tell, and which (join or leave).
    changes: u8,
    joined: bool,
    change_at: Instant,
    /// An answer to a query is due.
    answer_at: Instant,
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
        let link = self.igmp.links.entry(ifindex).or_default();
        link.groups.insert(
            g,
            Group {
                changes: ROBUSTNESS,
                joined: true,
                change_at: at,
                answer_at: Instant::FAR,
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
        (x.joined, x.changes, x.change_at, x.answer_at) =
            (false, if version == 3 { ROBUSTNESS } else { 1 }, now, Instant::FAR);
        self.igmp_tick(l);
    }

    /// The link came back (perhaps to another network): everything is told again.
    pub(crate) fn igmp_link(&mut self, l: &mut Layers<'_>, ifindex: u32) {
        let usable = l.net.iface(ifindex).is_some_and(|i| i.is_usable());
        let Some(link) = self.igmp.links.get_mut(&ifindex) else { return };
        link.groups.retain(|_, g| g.joined);
        link.answer_all = None;
        for g in link.groups.values_mut() {
            g.changes = ROBUSTNESS;
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
        let mut list: Vec<(u8, Ipv4Addr)> = Vec::new();
        let all = link.answer_all.is_some_and(|t| t <= now);
        if all {
            link.answer_all = None;
        }
        for (a, g) in &mut link.groups {
            if g.change_at <= now && g.changes > 0 {
                list.push((if g.joined { record::CHANGE_TO_EXCLUDE } else { record::CHANGE_TO_INCLUDE }, *a));
                g.changes -= 1;
                g.reporter = true;
                g.change_at = if g.changes > 0 { random(l.cx, V3_INTERVAL) } else { Instant::FAR };
            }
            if g.joined && (all || g.answer_at <= now) {
                list.push((record::MODE_IS_EXCLUDE, *a));
                g.answer_at = Instant::FAR;
            }
        }
        let mtu = l.net.iface(ifindex).map_or(576, |i| i.mtu as usize);
        let per = (mtu.saturating_sub(HEADER_LEN + ROUTER_ALERT.len() + LEN) / RECORD_LEN).clamp(1, 180);
        for part in list.chunks(per) {
            let mut b = [0; LEN + 180 * RECORD_LEN];
            if let Some(n) = igmp::v3_report(part, &mut b) {
                self.igmp_send(l, ifindex, V3_ROUTERS, &b[..n]);
            }
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
                    self.igmp_query(l.cx, info.ifindex, &q);
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

    fn igmp_query(&mut self, cx: &mut Cx, ifindex: u32, q: &Query) {
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
                // A timer that runs out earlier stays (RFC 2236 section 3).
                let at = random(cx, max);
                if g.answer_at == Instant::FAR || g.answer_at > cx.now + max {
                    g.answer_at = at;
                }
            }
        }
    }
}

/// Whether memberships of this group are told on this interface.
fn reports(l: &Layers<'_>, ifindex: u32, g: Ipv4Addr) -> bool {
    IpAddr::V4(g) != ALL_HOSTS && l.net.iface(ifindex).is_some_and(|i| !i.is_loopback())
}
