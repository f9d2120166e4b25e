//! ARP (RFC 826) with address conflict detection (RFC 5227).
//!
//! A new address is used at once, as BSD does for one that a person sets; meanwhile it is probed
//! (`net.inet.ip.dad_count` times) and then announced twice. Any ARP packet that claims an address of ours for
//! another station is a conflict: it is counted, logged (once in ten seconds and address) and defended with
//! one announcement per ten seconds (RFC 5227 2.4 (c)). A probe that is answered ends without announcing, so
//! that nobody's cache is turned towards us.
//!
//! What is asked, held and forgotten about others is the neighbour cache's matter ([`iopkt_stack::neigh`]).

use crate::Inet;
use alloc::collections::BTreeMap;
use alloc::format;
use core::net::{IpAddr, Ipv4Addr};
use iopkt_base::{Duration, Instant};
use iopkt_ctl::{IfKind, iff};
use iopkt_mbuf::Mbuf;
use iopkt_stack::neigh::Learn;
use iopkt_stack::{Family, Layers, Stat, Why, ether, prefix};
use iopkt_wire::arp::{LEN, Packet, REPLY, REQUEST};
use iopkt_wire::ethernet::{BROADCAST, TYPE_ARP, is_multicast};

/// Between probes (RFC 5227 PROBE_MIN to PROBE_MAX; without jitter, the address is in use already).
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// Between announcements (RFC 5227 ANNOUNCE_INTERVAL).
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(2);
/// Announcements of a new address (RFC 5227 ANNOUNCE_NUM).
const ANNOUNCE_NUM: u32 = 2;
/// Between defences of an address (RFC 5227 DEFEND_INTERVAL).
const DEFEND_INTERVAL: Duration = Duration::from_secs(10);

/// What we do for an address of ours.
struct Own {
    probes: u32,
    announces: u32,
    next: Instant,
    defended: Option<Instant>,
}

/// State of ARP: what our own addresses still have to say.
#[derive(Default)]
pub(crate) struct Arp {
    own: BTreeMap<(u32, Ipv4Addr), Own>,
}

impl Arp {
    pub fn deadline(&self) -> Instant {
        self.own.values().map(|o| o.next).min().unwrap_or(Instant::FAR)
    }

    pub fn forget(&mut self, ifindex: u32, a: Ipv4Addr) {
        self.own.remove(&(ifindex, a));
    }

    pub fn detach(&mut self, ifindex: u32) {
        self.own.retain(|k, _| k.0 != ifindex);
    }
}

impl Inet {
    /// An interface got an address.
    pub(crate) fn arp_address(&mut self, l: &mut Layers<'_>, ifindex: u32, a: Ipv4Addr) {
        let Some(i) = l.net.iface(ifindex) else { return };
        if i.kind != IfKind::Ethernet || i.flags & iff::NOARP != 0 {
            return;
        }
        let next = if i.is_usable() { l.cx.now } else { Instant::FAR };
        let o = Own { probes: self.t.dad_count, announces: ANNOUNCE_NUM, next, defended: None };
        self.arp.own.insert((ifindex, a), o);
        self.arp_tick(l);
    }

    /// An interface or its link went up or down: what was to be said is said once the link carries it, and
    /// again after every loss of the link (RFC 5227 2.1: whenever it may be connected to another network).
    pub(crate) fn arp_link(&mut self, l: &mut Layers<'_>, ifindex: u32) {
        let usable = l.net.iface(ifindex).is_some_and(|i| i.is_usable());
        for (_, o) in self.arp.own.iter_mut().filter(|(k, _)| k.0 == ifindex) {
            if usable {
                if o.next == Instant::FAR && o.probes + o.announces > 0 {
                    o.next = l.cx.now;
                }
            } else {
                (o.next, o.probes, o.announces) = (Instant::FAR, self.t.dad_count, ANNOUNCE_NUM);
            }
        }
        self.arp_tick(l);
    }

    /// Sends the probes and announcements that are due.
    pub(crate) fn arp_tick(&mut self, l: &mut Layers<'_>) {
        if self.arp.deadline() > l.cx.now {
            return;
        }
        let now = l.cx.now;
        for ((ifindex, a), o) in self.arp.own.iter_mut().filter(|(_, o)| o.next <= now) {
            if l.net.iface(*ifindex).is_some_and(|i| i.flags & iff::NOARP != 0) {
                // ARP was switched off meanwhile: nothing more is said of the address.
                (o.probes, o.announces, o.next) = (0, 0, Instant::FAR);
            } else if o.probes > 0 {
                o.probes -= 1;
                o.next = now + PROBE_INTERVAL;
                send(l, *ifindex, REQUEST, Ipv4Addr::UNSPECIFIED, [0; 6], *a, BROADCAST);
            } else if o.announces > 0 {
                o.announces -= 1;
                o.next = if o.announces > 0 { now + ANNOUNCE_INTERVAL } else { Instant::FAR };
                send(l, *ifindex, REQUEST, *a, [0; 6], *a, BROADCAST);
            } else {
                o.next = Instant::FAR;
            }
        }
    }

    /// A received ARP packet.
    pub(crate) fn arp_input(&mut self, l: &mut Layers<'_>, m: Mbuf) {
        let Some(p) = Packet::parse(m.as_slice()) else { return l.cx.drop(m, Why::BadArp) };
        l.cx.counters.inc(Stat::ArpReceived);
        let why = self.arp_packet(l, m.ifindex(), &p);
        l.cx.drop(m, why);
    }

    fn arp_packet(&mut self, l: &mut Layers<'_>, ifindex: u32, p: &Packet) -> Why {
        let Some(i) = l.net.iface(ifindex) else { return Why::IfDown };
        let (our_mac, noarp) = (i.mac, i.flags & iff::NOARP != 0);
        if noarp || i.kind != IfKind::Ethernet {
            return Why::Handled;
        }
        match p.op {
            REQUEST => l.cx.counters.inc(Stat::ArpRequestsReceived),
            REPLY => l.cx.counters.inc(Stat::ArpRepliesReceived),
            _ => return Why::BadArp,
        }
        if is_multicast(&p.sha) || p.sha == [0; 6] {
            l.cx.counters.inc(Stat::ArpMulticastSource);
            return Why::BadArp;
        }
        if p.sha == our_mac {
            return Why::Handled; // our own, come back
        }
        let (spa, tpa) = (IpAddr::V4(p.spa), IpAddr::V4(p.tpa));
        if l.net.is_local(spa, ifindex) {
            self.conflict(l, ifindex, p);
            return Why::Handled;
        }
        if p.spa.is_multicast()
            || p.spa.is_broadcast()
            || p.spa.is_loopback()
            || l.net.is_broadcast(spa, ifindex)
        {
            return Why::BadArp;
        }
        let ours = l.net.is_local(tpa, ifindex) && !p.tpa.is_loopback();
        if !p.spa.is_unspecified() {
            self.hear(l, ifindex, p, ours);
        }
        if p.op == REQUEST {
            let answer = if ours { Some(our_mac) } else { self.proxied(l, ifindex, p) };
            if let Some(mac) = answer {
                reply(l, ifindex, mac, p);
            }
        }
        Why::Handled
    }

    /// A published entry answers for another host, but never for the very host that asks.
    fn proxied(&self, l: &Layers<'_>, ifindex: u32, p: &Packet) -> Option<[u8; 6]> {
        l.net.neigh.published(ifindex, IpAddr::V4(p.tpa)).filter(|mac| *mac != p.sha && p.spa != p.tpa)
    }

    /// What the sender says of itself goes into the neighbour cache, if it may live on this link.
    fn hear(&mut self, l: &mut Layers<'_>, ifindex: u32, p: &Packet, ours: bool) {
        let spa = IpAddr::V4(p.spa);
        let on_link = l.net.iface(ifindex).is_some_and(|i| {
            i.addrs.iter().any(|a| prefix::contains(a.addr, a.plen, spa) || a.peer == Some(spa))
        });
        let how = match (p.op, ours) {
            (REPLY, true) => Learn::Answer,
            (REQUEST, true) if on_link => Learn::Asked,
            _ => Learn::Announced,
        };
        let got = l.net.neigh.learn(l.cx, ifindex, spa, p.sha, how);
        if got.refused {
            let line = format!(
                "arp: {} tried to overwrite the permanent entry for {} on {}",
                mac(&p.sha),
                p.spa,
                l.net.ifname(ifindex).unwrap_or("?")
            );
            l.cx.log(4, line);
        }
        if let Some(old) = got.moved_from {
            let line = format!(
                "arp info overwritten for {}: {} by {} on {}",
                p.spa,
                mac(&old),
                mac(&p.sha),
                l.net.ifname(ifindex).unwrap_or("?")
            );
            l.cx.log(5, line);
        }
        for m in got.held {
            self.ether_output(l, ifindex, p.sha, m);
        }
    }

    /// Another station says that it has an address of ours.
    fn conflict(&mut self, l: &mut Layers<'_>, ifindex: u32, p: &Packet) {
        l.cx.counters.inc(Stat::ArpConflicts);
        let now = l.cx.now;
        let o = self.arp.own.entry((ifindex, p.spa)).or_insert(Own {
            probes: 0,
            announces: 0,
            next: Instant::FAR,
            defended: None,
        });
        let asked_first = o.probes > 0 || (o.announces == ANNOUNCE_NUM && o.next != Instant::FAR);
        if o.defended.is_some_and(|d| now.since(d) < DEFEND_INTERVAL) {
            return;
        }
        o.defended = Some(now);
        let line = format!(
            "duplicate IP address {} on {}: sent from link address {}",
            p.spa,
            l.net.ifname(ifindex).unwrap_or("?"),
            mac(&p.sha)
        );
        l.cx.log(2, line);
        if asked_first && p.op == REPLY {
            // The answer to our probe: it was there first.
            (o.probes, o.announces, o.next) = (0, 0, Instant::FAR);
        } else {
            send(l, ifindex, REQUEST, p.spa, [0; 6], p.spa, BROADCAST);
        }
    }

    /// Asks what the neighbour cache wants to know.
    pub(crate) fn send_solicits(&mut self, l: &mut Layers<'_>) {
        while let Some(s) = l.net.neigh.next_solicit(Family::V4) {
            let IpAddr::V4(target) = s.target else { continue };
            let Some(i) = l.net.iface(s.ifindex) else { continue };
            if i.flags & iff::NOARP != 0 {
                continue;
            }
            let from = match l.net.source_for(s.ifindex, s.target) {
                Some(IpAddr::V4(a)) => a,
                _ => Ipv4Addr::UNSPECIFIED,
            };
            send(l, s.ifindex, REQUEST, from, [0; 6], target, s.unicast.unwrap_or(BROADCAST));
        }
    }
}

fn mac(m: &[u8; 6]) -> alloc::string::String {
    format!("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", m[0], m[1], m[2], m[3], m[4], m[5])
}

fn reply(l: &mut Layers<'_>, ifindex: u32, sha: [u8; 6], to: &Packet) {
    let p = Packet { op: REPLY, sha, spa: to.tpa, tha: to.sha, tpa: to.spa };
    l.cx.counters.inc(Stat::ArpRepliesSent);
    emit(l, ifindex, &p, to.sha);
}

fn send(l: &mut Layers<'_>, ifindex: u32, op: u16, spa: Ipv4Addr, tha: [u8; 6], tpa: Ipv4Addr, to: [u8; 6]) {
    let Some(sha) = l.net.iface(ifindex).map(|i| i.mac) else { return };
    l.cx.counters.inc(Stat::ArpRequestsSent);
    emit(l, ifindex, &Packet { op, sha, spa, tha, tpa }, to);
}

fn emit(l: &mut Layers<'_>, ifindex: u32, p: &Packet, to: [u8; 6]) {
    let Some(mut m) = l.cx.mbufs.alloc_len(LEN) else { return };
    m.extend_from_slice(&p.emit());
    match l.net.iface(ifindex) {
        Some(i) => ether::output(l.cx, i, to, TYPE_ARP, m),
        None => l.cx.mbufs.free(m),
    }
}
